//! PLAN-1 to PLAN-4: a real token taken apart, the key set as data planes fetch it, attacks on a running plan gate.

mod forge;
mod token;

use super::peer::{Peer, Said};
use super::{Looked, NoMeans, own, sample};
use crate::app::App;
use crate::delivery;
use ::assurance::{Observation, PlanKeys, PlanToken, Replay, Row, Seen};
use forge::{Attack, Forge};
use notary::{KeyRecord, KeyState};
use serde_json::Value;
use store::{ExecState, Execution, LIMIT_MAX};
use terms::{Digest, ExecutionId, KeyId, TenantId, Timestamp, TrustDomain};
use token::TakenApart;
use wire::plan::PlanBytes;
use wire::plan_token::LIFETIME_S;

/// PLAN-1: the token of a real plan as it went out, decoded without our own parser. One whose key is archived by now
/// cannot be judged by the keys that are served.
pub(super) async fn plan_1(app: &App) -> Looked {
    let jwks = own::jwks(app, &app.config.public_url).await?;
    let issued = sample::issued(app).await?;
    let (tenant, bytes, token) =
        match issued.filter(|row| row.plan_key.as_ref().is_some_and(|key| serves(served(&jwks), key))) {
            Some(execution) => {
                let (bytes, token) = same_bytes(&execution, delivery::evidence(app, &execution).await?)?;
                (execution.tenant, bytes.into_bytes(), token)
            }
            None => canary(app)?,
        };
    let promised = Promised { issuer: &app.config.public_url, domain: &app.domain, tenant };
    Ok(Observation::PlanToken(promised.beside(&token, &bytes, &jwks)?))
}

/// Whom a token must be from and for.
struct Promised<'a> {
    issuer: &'a str,
    domain: &'a TrustDomain,
    tenant: TenantId,
}

impl Promised<'_> {
    /// What the token for `plan` says, beside what it must say.
    fn beside(&self, token: &str, plan: &[u8], jwks: &Value) -> Result<PlanToken, NoMeans> {
        let taken = TakenApart::new(token).ok_or_else(|| NoMeans::new("the token is not a JWS"))?;
        let Self { issuer, domain, tenant } = self;
        Ok(PlanToken {
            alg: taken.header_text("alg"),
            typ: taken.header_text("typ"),
            signature_ok: taken.is_signed_by(jwks),
            iss: seen(issuer, taken.claim_text("iss")),
            sub: seen(&tenant.to_string(), taken.claim_text("sub")),
            aud: seen(&format!("spiffe://{domain}/tenant/{tenant}/data-plane"), taken.claim_text("aud")),
            lifetime_s: taken.claim_number("exp").saturating_sub(taken.claim_number("iat")),
            hash_len: hex::decode(taken.claim_text("plan_hash")).map_or(0, |hash| hash.len()),
            hash: seen(&Digest::sha256(plan).to_string(), taken.claim_text("plan_hash")),
        })
    }
}

/// The keys of a set as it is served.
fn served(jwks: &Value) -> &[Value] {
    jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn serves(keys: &[Value], kid: &KeyId) -> bool {
    keys.iter().any(|key| key.get("kid").and_then(Value::as_str) == Some(kid.as_str()))
}

/// The plan that an execution was sent with, byte for byte, under a new signature.
async fn signed_anew(app: &App, execution: &Execution) -> Result<(PlanBytes, String), NoMeans> {
    same_bytes(execution, delivery::signed_anew(app, execution).await?)
}

fn same_bytes(execution: &Execution, plan: (PlanBytes, String)) -> Result<(PlanBytes, String), NoMeans> {
    if execution.plan_hash == Some(plan.0.hash()) {
        return Ok(plan);
    }
    Err(NoMeans::new("another release drafted the newest plan: run a workflow first"))
}

fn seen(expected: &str, actual: String) -> Seen {
    Seen { expected: expected.to_owned(), actual }
}

/// A plan that no data plane is sent: signed as all are, of a tenant that is not there.
fn canary(app: &App) -> Result<(TenantId, Vec<u8>, String), NoMeans> {
    let now = app.clock.now();
    let tenant = TenantId::mint(now, app.entropy()?);
    let plan = forge::canary(now, tenant, &app.config.public_url)?;
    let bytes = ::plan::write(&plan).map_err(NoMeans::new)?;
    let signer = app.signers.active().ok_or_else(|| NoMeans::new("no key is active"))?;
    let claims = ::plan::claims(&bytes, &plan, wire::plan_token::audience(&app.domain, tenant));
    let token = signer.sign(&claims).map_err(NoMeans::new)?;
    Ok((tenant, bytes.into_bytes(), token))
}

/// PLAN-2: the key set, fetched over TLS from the address that tokens name as their issuer.
pub(super) async fn plan_2(app: &App) -> Looked {
    // The token comes first: a key that signed once stays served, also if another one takes over meanwhile.
    let (_, _, token) = canary(app)?;
    let taken = TakenApart::new(&token).ok_or_else(|| NoMeans::new("the token is not a JWS"))?;
    let issuer = taken.claim_text("iss");
    let jwks = own::jwks(app, &issuer).await?;
    let keys = served(&jwks);
    let records = app.signers.records();
    let publish_ms = i64::from(app.config.keys.publish_s).saturating_mul(1_000);
    let (orphaned_plans, failed_plans) = casualties(app, keys, &records).await?;
    Ok(Observation::PlanKeys(PlanKeys {
        served: keys.len(),
        sound: keys.iter().filter(|key| token::is_sound(key)).count(),
        active_is_served: taken.is_signed_by(&jwks),
        active_was_served_ahead: was_served_ahead(&records, publish_ms),
        from_issuer: issuer == app.config.public_url,
        orphaned_plans,
        failed_plans,
    }))
}

/// Whether the active key was there for the time of publication before it signed. Before the first key of all there
/// was nobody to wait for.
fn was_served_ahead(records: &[KeyRecord], publish_ms: i64) -> bool {
    let Some(active) = records.iter().find(|record| record.state == KeyState::Active) else {
        return false;
    };
    let is_first = records.iter().all(|record| record.created_at >= active.created_at);
    is_first || active.since.ms_since(active.created_at) >= publish_ms.max(1)
}

/// Plans on their way whose key is no longer served, and executions that were given up for a key since the last
/// rotation began.
async fn casualties(app: &App, keys: &[Value], records: &[KeyRecord]) -> Result<(u64, u64), NoMeans> {
    let is_served = |record: &&KeyRecord| serves(keys, &record.kid);
    let oldest_served = records.iter().filter(is_served).map(|record| record.created_at).min();
    let rotated_at = records.iter().map(|record| record.created_at).max();
    let valid_from = app.clock.now().plus_ms(-LIFETIME_S * 1_000);
    let (mut orphaned, mut failed) = (0, 0);
    for plane in sample::data_planes(app).await? {
        let sent = sample::newest(app, plane.tenant, ExecState::Sent, LIMIT_MAX).await?;
        orphaned += sent.iter().filter(|row| is_orphaned(row, valid_from, oldest_served)).count() as u64;
        let given_up = sample::newest(app, plane.tenant, ExecState::GaveUp, LIMIT_MAX).await?;
        let since = given_up.iter().filter(|row| Some(row.created_at) >= rotated_at);
        failed += since.filter(|row| is_refused_for_its_key(&row.delivery)).count() as u64;
    }
    Ok((orphaned, failed))
}

/// Whether the plan can still be admitted, but every key that is served was made after it was signed.
fn is_orphaned(row: &Execution, valid_from: Timestamp, oldest_served: Option<Timestamp>) -> bool {
    row.plan_issued_at.is_some_and(|issued_at| {
        issued_at > valid_from && oldest_served.is_none_or(|oldest| oldest.unix_s() > issued_at.unix_s())
    })
}

fn is_refused_for_its_key(delivery: &str) -> bool {
    let delivery: Value = serde_json::from_str(delivery).unwrap_or_default();
    let code = delivery.pointer("/stage/given_up/refused").and_then(Value::as_str);
    code.is_some_and(|code| ["plan.bad_signature", "plan.unknown_key"].contains(&code))
}

/// PLAN-3: the attack table against a running data plane. The good row is a plan that has run already, so that
/// nothing runs whatever comes of it; the bad ones carry a plan that does nothing, should one get through.
pub(super) async fn plan_3(app: &App) -> Looked {
    let ended = sample::ended(app).await?;
    let plane = match &ended {
        Some((plane, _)) => plane.clone(),
        None => {
            sample::data_planes(app).await?.pop().ok_or_else(|| NoMeans::new("there is no data plane"))?
        }
    };
    let peer = Peer::new(app, plane)?;
    let mut rows = Vec::new();
    if let Some((_, execution)) = &ended
        && peer.ask(execution.id).await?.known
    {
        let (bytes, token) = signed_anew(app, execution).await?;
        rows.push(row("valid", "ok", peer.post_raw(&token, bytes.as_slice()).await?.code()));
    }
    let forge = Forge::new(app, peer.plane().tenant).await?;
    let attacks = forge.attacks()?;
    for attack in &attacks {
        let said = peer.post_raw(&attack.token, &attack.plan).await?;
        rows.push(row(attack.name, attack.expected, said.code()));
    }
    rows.push(row("nothing-admitted", "ok", admitted(&peer, &attacks).await?));
    Ok(Observation::PlanAttacks(rows))
}

/// `ok` if the data plane knows none of the executions that attacks were for.
async fn admitted(peer: &Peer<'_>, attacks: &[Attack]) -> Result<&'static str, NoMeans> {
    for attack in attacks {
        if peer.ask(attack.execution).await?.known {
            return Ok("admitted");
        }
    }
    Ok("ok")
}

/// PLAN-4: a plan that has run, delivered again: the same bytes under two new signatures, and other bytes under the
/// same id.
pub(super) async fn plan_4(app: &App) -> Looked {
    let ended = sample::ended(app).await?;
    let (plane, execution) =
        ended.ok_or_else(|| NoMeans::new("no execution has ended yet: run a workflow first"))?;
    let peer = Peer::new(app, plane)?;
    if !peer.ask(execution.id).await?.known {
        return Err(NoMeans::new("the data plane has forgotten the newest execution: run a workflow first"));
    }
    let (mut rows, mut runs) = (vec![row("first-delivery", "ok", delivered(&execution))], 1);
    let again = ["same-plan-again", "same-plan-under-another-signature"];
    for name in again {
        let (bytes, token) = signed_anew(app, &execution).await?;
        let said = peer.post_raw(&token, bytes.as_slice()).await?;
        let answer = replayed(&said, execution.id);
        // A delivery that is answered as new has run again.
        runs += u64::from(answer == "ok");
        rows.push(row(name, "replayed", answer));
    }
    let forge = Forge::new(app, execution.tenant).await?;
    let (bytes, _) = signed_anew(app, &execution).await?;
    let other = forge.other_bytes(bytes.as_slice())?;
    let said = peer.post_raw(&other.token, &other.plan).await?;
    rows.push(row(other.name, other.expected, said.code()));
    rows.push(row("outcome-unchanged", "ok", outcome_now(app, &execution).await?));
    Ok(Observation::Replay(Replay { rows, deliveries: 1 + again.len() as u64, runs }))
}

fn delivered(execution: &Execution) -> &'static str {
    if execution.accepted_at.is_some() || execution.outcome.is_some() { "ok" } else { "not accepted" }
}

/// What a second delivery came to: `replayed`, a refusal's code, or `ok` if it was taken for a new one.
fn replayed(said: &Said, execution: ExecutionId) -> &str {
    match said {
        Said::Accepted(accepted) if accepted.replayed && accepted.execution_id == execution => "replayed",
        Said::Accepted(_) => "ok",
        Said::Refused(code) => code,
    }
}

/// `ok` if the execution's outcome is still the one that it was.
async fn outcome_now(app: &App, execution: &Execution) -> Result<&'static str, NoMeans> {
    let permit = sample::permit(app)?;
    let now = app.store.read().await?.executions().find(&permit, execution.id).await?;
    let same = now.is_some_and(|now| now.outcome == execution.outcome && now.state == execution.state);
    Ok(if same { "ok" } else { "changed" })
}

fn row(name: &str, expected: &str, actual: &str) -> Row {
    Row { name: name.to_owned(), expected: expected.to_owned(), actual: actual.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::data_plane::PlanAccepted;
    use notary::PlanSigner;

    #[test]
    fn a_key_that_signed_before_it_was_published_long_enough_is_seen() {
        let (old, new) = (record(0, 1_000, KeyState::Retiring), record(500_000, 800_000, KeyState::Active));
        assert!(was_served_ahead(&[old.clone(), new.clone()], 300_000));
        assert!(!was_served_ahead(&[old.clone(), new.clone()], 300_001));
        let at_once = KeyRecord { since: new.created_at, ..new };
        assert!(!was_served_ahead(&[old.clone(), at_once], 0), "it was never served ahead");
        assert!(!was_served_ahead(&[old], 0), "nothing is active");
        assert!(was_served_ahead(&[record(0, 0, KeyState::Active)], 300_000), "the first key of all");
    }

    #[test]
    fn only_an_execution_that_was_given_up_for_its_key_counts() {
        let given_up = |why: &str| format!(r#"{{"stage":{{"given_up":{why}}}}}"#);
        assert!(is_refused_for_its_key(&given_up(r#"{"refused":"plan.bad_signature"}"#)));
        for other in
            [given_up(r#"{"refused":"plan.malformed"}"#), given_up(r#""undelivered""#), String::new()]
        {
            assert!(!is_refused_for_its_key(&other), "{other}");
        }
    }

    #[test]
    fn only_the_same_execution_marked_as_replayed_is_a_replay() {
        let (own, other) = (ExecutionId::from_bytes([1; 16]), ExecutionId::from_bytes([2; 16]));
        let said = |execution_id, replayed| Said::Accepted(PlanAccepted { execution_id, replayed });
        assert_eq!(replayed(&said(own, true), own), "replayed");
        assert_eq!(replayed(&said(own, false), own), "ok");
        assert_eq!(replayed(&said(other, true), own), "ok");
        assert_eq!(replayed(&Said::Refused("plan.expired".to_owned()), own), "plan.expired");
    }

    fn record(created_ms: i64, since_ms: i64, state: KeyState) -> KeyRecord {
        let jwk = PlanSigner::generate().unwrap().0.jwk();
        let (created_at, since) = (Timestamp::from_unix_ms(created_ms), Timestamp::from_unix_ms(since_ms));
        KeyRecord { kid: jwk.kid.clone(), jwk, state, since, created_at }
    }
}
