//! Forged plan tokens: each wrong in one way, everything else right and signed with the real key where that helps
//! an attacker.

use super::super::NoMeans;
use crate::app::App;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::PlanSigner;
use plan::Draft;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use terms::{ExecutionId, PlanId, TenantId, Timestamp, TrustDomain, WorkflowId};
use wire::plan::{Limits, Plan, WorkflowVersion};
use wire::plan_token::{BYTES_MAX, LIFETIME_S, audience};

/// How far ahead of its time a plan is sent: well over the skew between two planes, and soon over.
const AHEAD_MS: i64 = 60_000;

/// How long ago a plan expired: over the skew as well, or a data plane whose clock is behind would be right to take it.
const BEHIND_MS: i64 = plan::SKEW_MS + 1_000;

/// A workflow that does nothing, should a forged plan get through.
const NOTHING: &str = r#"{"document":{"dsl":"1.0.0","namespace":"palisade","name":"probe","version":"1.0.0"},"do":[{"nothing":{"set":{}}}]}"#;

/// The least that a plan can be allowed.
const LIMITS: Limits =
    Limits { wall_time_ms: 1_000, steps: 1, memory_bytes: 1 << 20, output_bytes: 1_024, http_calls: 1 };

/// A forged plan, and the code that it must be refused with.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
    pub(super) token: String,
    pub(super) plan: Vec<u8>,
    pub(super) execution: ExecutionId,
}

/// Forges tokens with the key that signs real ones.
pub(super) struct Forge {
    key: EcdsaKeyPair,
    kid: String,
    issuer: String,
    domain: TrustDomain,
    tenant: TenantId,
    now: Timestamp,
}

/// A plan that was never sent, and the claims that are right for it.
struct Blank {
    plan: Vec<u8>,
    claims: Value,
    execution: ExecutionId,
}

/// A plan that does nothing.
pub(super) fn canary(issued_at: Timestamp, tenant_id: TenantId, issuer: &str) -> Result<Plan, NoMeans> {
    let entropy = || host::entropy::bytes::<10>().map_err(NoMeans::new);
    let draft = Draft {
        plan_id: PlanId::mint(issued_at, entropy()?),
        execution_id: ExecutionId::mint(issued_at, entropy()?),
        tenant_id,
        issuer: issuer.to_owned(),
        workflow: WorkflowVersion {
            id: WorkflowId::mint(issued_at, entropy()?),
            name: "probe".parse().map_err(NoMeans::new)?,
            version: 1,
        },
        issued_at,
        limits: LIMITS,
        egress: Vec::new(),
        document: raw(NOTHING)?,
        input: raw("null")?,
    };
    Ok(draft.into_plan())
}

impl Forge {
    /// A forge against `tenant`'s data plane, with the active key.
    pub(super) async fn new(app: &App, tenant: TenantId) -> Result<Self, NoMeans> {
        let active = app.signers.active().ok_or_else(|| NoMeans::new("no key is active"))?;
        let rows = app.store.read().await?.signing_keys().list().await?;
        let row = rows.into_iter().find(|row| row.kid == *active.kid());
        let row = row.ok_or_else(|| NoMeans::new("the active key is not stored"))?;
        Ok(Self {
            key: pair(&ECDSA_P256_SHA256_FIXED_SIGNING, &row.private)?,
            kid: row.kid.to_string(),
            issuer: app.config.public_url.clone(),
            domain: app.domain.clone(),
            tenant,
            now: app.clock.now(),
        })
    }

    /// Every attack of PLAN-3, each on an execution of its own.
    pub(super) fn attacks(&self) -> Result<Vec<Attack>, NoMeans> {
        let attacks =
            [self.headers()?, self.keys()?, self.times()?, self.strangers()?, self.flips()?, self.shapes()?];
        Ok(attacks.into_iter().flatten().collect())
    }

    /// Other bytes under the id of `plan`, as validly signed as it was.
    pub(super) fn other_bytes(&self, plan: &[u8]) -> Result<Attack, NoMeans> {
        let mut other = Plan::read(plan).map_err(NoMeans::new)?;
        other.limits.steps = other.limits.steps.saturating_add(1);
        let blank = self.claimed(&other)?;
        let token = self.token(&self.header(), &blank.claims)?;
        Ok(blank.attack("same-id-other-plan", "plan.conflict", token))
    }

    fn headers(&self) -> Result<Vec<Attack>, NoMeans> {
        let rows = [
            ("alg-none", "plan.wrong_algorithm", "alg", "none"),
            ("other-type", "plan.wrong_type", "typ", "JWT"),
            ("kid-as-url", "plan.token_header", "kid", "https://example.com/key.json"),
            ("kid-as-path", "plan.token_header", "kid", "../../../etc/passwd"),
        ];
        let attack = |(name, expected, member, value): (&'static str, &'static str, &str, &str)| {
            let blank = self.blank(self.now)?;
            let mut header = self.header();
            set(&mut header, member, json!(value));
            let token = self.token(&header, &blank.claims)?;
            Ok(blank.attack(name, expected, token))
        };
        rows.into_iter().map(attack).collect()
    }

    fn keys(&self) -> Result<Vec<Attack>, NoMeans> {
        let (foreign, foreign_pkcs8) = PlanSigner::generate().map_err(NoMeans::new)?;
        let foreign_key = pair(&ECDSA_P256_SHA256_FIXED_SIGNING, &foreign_pkcs8)?;
        let other_pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new());
        let other_curve =
            pair(&ECDSA_P384_SHA384_FIXED_SIGNING, other_pkcs8.map_err(NoMeans::new)?.as_ref())?;

        let mut header = self.header();
        set(&mut header, "kid", json!(foreign.kid()));
        let unknown = self.blank(self.now)?;
        let token = sign(&foreign_key, &signing_input(&header, &unknown.claims))?;
        let unknown = unknown.attack("foreign-kid", "plan.unknown_key", token);

        let curve = self.blank(self.now)?;
        let token = sign(&other_curve, &signing_input(&self.header(), &curve.claims))?;
        let curve = curve.attack("other-curve", "plan.signature_length", token);

        set(&mut header, "alg", json!("HS256"));
        set(&mut header, "kid", json!(self.kid));
        let shared = self.blank(self.now)?;
        let input = signing_input(&header, &shared.claims);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
        let tag = hmac::sign(&secret, input.as_bytes());
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag));
        Ok(vec![unknown, curve, shared.attack("hs256-with-public-key", "plan.wrong_algorithm", token)])
    }

    /// Both sides of a token's life, by any clock within the skew.
    fn times(&self) -> Result<Vec<Attack>, NoMeans> {
        let rows = [
            ("expired", "plan.expired", self.now.plus_ms(-LIFETIME_S * 1_000 - BEHIND_MS)),
            ("not-yet-valid", "plan.not_yet_valid", self.now.plus_ms(AHEAD_MS)),
        ];
        let attack = |(name, expected, issued_at)| {
            let blank = self.blank(issued_at)?;
            let token = self.token(&self.header(), &blank.claims)?;
            Ok(blank.attack(name, expected, token))
        };
        rows.into_iter().map(attack).collect()
    }

    fn strangers(&self) -> Result<Vec<Attack>, NoMeans> {
        let stranger = TenantId::mint(self.now, host::entropy::bytes().map_err(NoMeans::new)?);
        let issuer = self.claimed(&canary(self.now, self.tenant, "https://example.com")?)?;
        let mut tenant = self.claimed(&canary(self.now, stranger, &self.issuer)?)?;
        set(&mut tenant.claims, "aud", json!(audience(&self.domain, self.tenant)));
        let mut plane = self.blank(self.now)?;
        set(&mut plane.claims, "aud", json!(audience(&self.domain, stranger)));
        let rows = [
            ("other-issuer", "plan.wrong_issuer", issuer),
            ("other-tenant", "plan.wrong_subject", tenant),
            ("other-audience", "plan.wrong_audience", plane),
        ];
        let attack = |(name, expected, blank): (&'static str, &'static str, Blank)| {
            let token = self.token(&self.header(), &blank.claims)?;
            Ok(blank.attack(name, expected, token))
        };
        rows.into_iter().map(attack).collect()
    }

    fn flips(&self) -> Result<Vec<Attack>, NoMeans> {
        let mut plan = self.blank(self.now)?;
        let token = self.token(&self.header(), &plan.claims)?;
        flip(&mut plan.plan);
        let plan = plan.attack("flipped-byte-in-plan", "plan.hash_mismatch", token);

        // Within the key id, so that it is still a header.
        let header = self.blank(self.now)?;
        let token = self.token(&self.header(), &header.claims)?;
        let (head, rest) = token.split_once('.').unwrap_or_default();
        let head =
            String::from_utf8(URL_SAFE_NO_PAD.decode(head).map_err(NoMeans::new)?).map_err(NoMeans::new)?;
        let head = head.replace(&self.kid, &other_kid(&self.kid));
        let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head));
        let header = header.attack("flipped-byte-in-header", "plan.unknown_key", token);

        let signature = self.blank(self.now)?;
        let token = self.token(&self.header(), &signature.claims)?;
        let (signed, end) = token.rsplit_once('.').unwrap_or_default();
        let mut end = URL_SAFE_NO_PAD.decode(end).map_err(NoMeans::new)?;
        flip(&mut end);
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(end));
        Ok(vec![plan, header, signature.attack("flipped-byte-in-signature", "plan.bad_signature", token)])
    }

    fn shapes(&self) -> Result<Vec<Attack>, NoMeans> {
        let twice = self.blank(self.now)?;
        let claims = twice.claims.to_string().replacen('{', &format!(r#"{{"sub":"{}","#, self.tenant), 1);
        let token = sign(&self.key, &encoded_input(&self.header().to_string(), &claims))?;
        let twice = twice.attack("duplicate-claims", "plan.token_claims", token);

        let mut large = self.blank(self.now)?;
        set(&mut large.claims, "padding", json!("x".repeat(BYTES_MAX)));
        let token = self.token(&self.header(), &large.claims)?;
        Ok(vec![twice, large.attack("oversized-token", "plan.token_too_large", token)])
    }

    fn blank(&self, issued_at: Timestamp) -> Result<Blank, NoMeans> {
        self.claimed(&canary(issued_at, self.tenant, &self.issuer)?)
    }

    fn claimed(&self, plan: &Plan) -> Result<Blank, NoMeans> {
        let bytes = ::plan::write(plan).map_err(NoMeans::new)?;
        let claims = ::plan::claims(&bytes, plan, audience(&self.domain, plan.tenant_id));
        let claims = serde_json::to_value(claims).map_err(NoMeans::new)?;
        Ok(Blank { plan: bytes.into_bytes(), claims, execution: plan.execution_id })
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "palisade-plan+jwt", "kid": self.kid })
    }

    fn token(&self, header: &Value, claims: &Value) -> Result<String, NoMeans> {
        sign(&self.key, &signing_input(header, claims))
    }
}

impl Blank {
    fn attack(self, name: &'static str, expected: &'static str, token: String) -> Attack {
        Attack { name, expected, token, plan: self.plan, execution: self.execution }
    }
}

fn pair(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Result<EcdsaKeyPair, NoMeans> {
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).map_err(NoMeans::new)
}

fn sign(key: &EcdsaKeyPair, input: &str) -> Result<String, NoMeans> {
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).map_err(NoMeans::new)?;
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn signing_input(header: &Value, claims: &Value) -> String {
    encoded_input(&header.to_string(), &claims.to_string())
}

fn encoded_input(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn raw(json: &str) -> Result<Box<RawValue>, NoMeans> {
    RawValue::from_string(json.to_owned()).map_err(NoMeans::new)
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// The key id with another first character of its alphabet.
fn other_kid(kid: &str) -> String {
    let rest: String = kid.chars().skip(1).collect();
    let first = if kid.starts_with('A') { 'B' } else { 'A' };
    format!("{first}{rest}")
}

#[cfg(test)]
mod tests {
    use super::super::Promised;
    use super::*;
    use ::assurance::CheckOutcome::{self, Fail, Pass};
    use ::assurance::{ControlId, Observation, PLAN_ROWS, RequiredRow};
    use notary::{Expected, KeySet, verify_plan};
    use plan::{Admission, Ticket};
    use std::collections::BTreeSet;
    use terms::Unverified;
    use wire::jwks::Jwks;
    use wire::plan::PlanBytes;
    use wire::plan_token::PlanToken;

    #[test]
    fn each_attack_is_refused_by_our_own_rules_with_the_code_that_its_row_expects() {
        let (forge, jwks) = forge();
        for journal_since in [Timestamp::EPOCH, forge.now.plus_ms(-LIFETIME_S * 1_000), forge.now] {
            for attack in forge.attacks().unwrap() {
                let mut admission = Admission::after_loss(journal_since, 0);
                assert_eq!(gate(&forge, &jwks, &mut admission, &attack), attack.expected, "{}", attack.name);
            }
        }
    }

    #[test]
    fn there_is_an_attack_for_every_required_row_but_the_good_one() {
        let attacks = forge().0.attacks().unwrap();
        let names: BTreeSet<_> = attacks.iter().map(|attack| attack.name).collect();
        let refused = PLAN_ROWS.iter().filter(|row| matches!(row, RequiredRow::Refused(_)));
        assert_eq!(names, refused.map(RequiredRow::name).collect());
        let executions: BTreeSet<_> = attacks.iter().map(|attack| attack.execution).collect();
        assert_eq!(executions.len(), attacks.len(), "an execution for each");
    }

    #[test]
    fn other_bytes_under_one_id_are_a_conflict_and_nothing_else() {
        let (forge, jwks) = forge();
        let plan = canary(forge.now, forge.tenant, &forge.issuer).unwrap();
        let good = forge.claimed(&plan).unwrap();
        let token = forge.token(&forge.header(), &good.claims).unwrap();
        let good = good.attack("good", "ok", token);
        let mut admission = Admission::new();
        assert_eq!(gate(&forge, &jwks, &mut admission, &good), "ok");
        let other = forge.other_bytes(&good.plan).unwrap();
        assert_eq!(gate(&forge, &jwks, &mut admission, &other), other.expected);
        assert_eq!(gate(&forge, &jwks, &mut Admission::new(), &other), "ok", "only its id is wrong");
    }

    #[test]
    fn a_token_of_ours_is_as_promised_and_each_forged_claim_is_red() {
        let (forge, jwks) = forge();
        let blank = forge.blank(forge.now).unwrap();
        let token = forge.token(&forge.header(), &blank.claims).unwrap();
        assert_eq!(plan_1(&forge, &token, &blank.plan, &jwks), Pass);
        for (member, value) in [
            ("iss", json!("https://example.com")),
            ("sub", json!(TenantId::from_bytes([8; 16]))),
            ("aud", json!("spiffe://palisade.internal/tenant/other/data-plane")),
            ("exp", json!(forge.now.unix_s() + LIFETIME_S + 1)),
            ("exp", json!(forge.now.unix_s())),
            ("plan_hash", json!("00")),
            ("plan_hash", json!(terms::Digest::sha256(b"another plan"))),
        ] {
            let mut claims = blank.claims.clone();
            set(&mut claims, member, value);
            let token = forge.token(&forge.header(), &claims).unwrap();
            assert_eq!(plan_1(&forge, &token, &blank.plan, &jwks), Fail, "{member}");
        }
        assert_eq!(plan_1(&forge, &token, &blank.plan, &Jwks { keys: vec![] }), Fail, "an unserved key");
        assert_eq!(plan_1(&forge, &token, b"another plan", &jwks), Fail, "another plan");
        for attack in forge.headers().unwrap() {
            assert_eq!(plan_1(&forge, &attack.token, &attack.plan, &jwks), Fail, "{}", attack.name);
        }
    }

    fn plan_1(forge: &Forge, token: &str, plan: &[u8], jwks: &Jwks) -> CheckOutcome {
        let promised = Promised { issuer: &forge.issuer, domain: &forge.domain, tenant: forge.tenant };
        let seen = promised.beside(token, plan, &serde_json::to_value(jwks).unwrap()).unwrap();
        ::assurance::judge(ControlId::Plan1, &Observation::PlanToken(seen)).outcome
    }

    /// A plan gate without a network.
    fn gate(forge: &Forge, jwks: &Jwks, admission: &mut Admission, attack: &Attack) -> &'static str {
        let token = match PlanToken::split(&attack.token) {
            Ok(token) => token,
            Err(error) => return notary::PlanRefusal::Token(error).code(),
        };
        let audience = audience(&forge.domain, forge.tenant);
        let expected = Expected { issuer: forge.issuer.clone(), audience, tenant: forge.tenant };
        let (keys, _) = KeySet::from_jwks(jwks);
        let bytes = Unverified::new(PlanBytes::new(attack.plan.clone()));
        let signed = match verify_plan(Unverified::new(token), bytes, |kid| keys.find(kid), &expected) {
            Ok(signed) => signed,
            Err(refusal) => return refusal.code(),
        };
        let ticket = signed.try_map(|signed| {
            Ok::<_, core::convert::Infallible>(Ticket {
                issuer: signed.claims.iss,
                plan_id: signed.claims.jti,
                execution_id: signed.plan.execution_id,
                plan_hash: signed.claims.plan_hash,
                issued_at: Timestamp::from_unix_s(signed.claims.iat),
                expires_at: Timestamp::from_unix_s(signed.claims.exp),
            })
        });
        let Ok(ticket) = ticket;
        admission.admit(ticket, forge.now).map_or_else(|refusal| refusal.code(), |_| "ok")
    }

    fn forge() -> (Forge, Jwks) {
        let (signer, pkcs8) = PlanSigner::generate().unwrap();
        let forge = Forge {
            key: pair(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap(),
            kid: signer.kid().to_string(),
            issuer: "https://localhost:8443".to_owned(),
            domain: "palisade.internal".parse().unwrap(),
            tenant: TenantId::from_bytes([7; 16]),
            now: Timestamp::from_unix_s(1_795_507_200),
        };
        (forge, Jwks { keys: vec![signer.jwk()] })
    }
}
