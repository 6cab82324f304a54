//! Live control checks: a probe looks at the running system, `assurance` judges what it saw, the result is kept.
//!
//! Probes give no verdicts and change nothing that a tenant owns. What they send to provoke a refusal could do no
//! harm if it were let through.

mod data;
mod detection;
mod meter;
mod network;
mod own;
mod peer;
mod plan;
mod practice;
mod sample;

use crate::app::App;
use crate::body::Strict;
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use ::assurance::{
    Catalogue, CheckOutcome, Control, ControlId, Evidence, Finding, Group, Observation, Release, judge,
};
use api::Code;
use api::assurance::{FindingView, Findings, RunAssurance};
use axum::Json;
use core::pin::Pin;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use store::{AssuranceResult, StoreError};
use terms::{Permit, Timestamp};
use wire::audit::AuditEntry;

/// The longest that one probe may take.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// The same where nodes are asked to probe their networks.
const NETWORK_PROBE_TIME: Duration = Duration::from_secs(60);

/// Says why a probe could not look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct NoMeans(String);

/// What a probe saw, or why it could not look.
type Looked = Result<Observation, NoMeans>;

type Looking<'a> = Pin<Box<dyn Future<Output = Looked> + Send + 'a>>;

/// Looks at the running system. The time is when the run began: what was asked for since serves every control of it.
type Probe = for<'a> fn(&'a App, Timestamp) -> Looking<'a>;

/// A probe for every control that this release builds.
const PROBES: [(ControlId, Probe); 19] = [
    (ControlId::Net1, |app, begun| Box::pin(network::probed(app, begun))),
    (ControlId::Net2, |app, begun| Box::pin(network::probed(app, begun))),
    (ControlId::Net3, |app, begun| Box::pin(network::probed(app, begun))),
    (ControlId::Net4, |app, begun| Box::pin(network::probed(app, begun))),
    (ControlId::Net5, |app, begun| Box::pin(network::probed(app, begun))),
    (ControlId::Net8, |app, _| Box::pin(network::compared(app))),
    (ControlId::Plan1, |app, _| Box::pin(plan::plan_1(app))),
    (ControlId::Plan2, |app, _| Box::pin(plan::plan_2(app))),
    (ControlId::Plan3, |app, _| Box::pin(plan::plan_3(app))),
    (ControlId::Plan4, |app, _| Box::pin(plan::plan_4(app))),
    (ControlId::Data1, |app, _| Box::pin(data::data_1(app))),
    (ControlId::Data7, |app, _| Box::pin(data::data_7(app))),
    (ControlId::Meter1, |app, _| Box::pin(meter::meter_1(app))),
    (ControlId::Meter2, |app, _| Box::pin(meter::meter_2(app))),
    (ControlId::Meter3, |app, _| Box::pin(meter::meter_3(app))),
    (ControlId::Meter4, |app, _| Box::pin(meter::meter_4(app))),
    (ControlId::Det4, |app, _| Box::pin(detection::det_4(app))),
    (ControlId::Ops2, |app, _| Box::pin(practice::ops_2(app))),
    (ControlId::Ops3, |app, _| Box::pin(practice::ops_3(app))),
];

/// Runs one control's probe, or all, and keeps what they find.
pub(crate) async fn run(ctx: Ctx, body: Strict<RunAssurance>) -> Answer<Json<Findings>> {
    let permit = ctx.platform()?;
    let wanted = match &body.value.control {
        Some(id) => std::slice::from_ref(Catalogue::find(id).map_err(|_| Code::ControlUnknown)?),
        None => Catalogue::all(),
    };
    let _one_run = ctx.app.probing.lock().await;
    let begun = ctx.app.clock.now();
    let mut findings = Vec::with_capacity(wanted.len());
    let mut kept = Vec::new();
    for control in wanted {
        match control.release {
            Release::NotBuilt => findings.push(never(control, CheckOutcome::NotBuilt)),
            Release::Built => {
                let evidence = check(&ctx.app, control.id, begun).await;
                findings.push(view(&evidence));
                kept.push(evidence);
            }
        }
    }
    keep(&ctx, permit, kept).await?;
    Ok(Json(Findings { findings }))
}

/// Shows what the last checks found, for every control in the order of the catalogue.
pub(crate) async fn results(ctx: Ctx) -> Answer<Json<Findings>> {
    let permit = ctx.platform()?;
    let latest = ctx.app.store.read().await?.assurance_results().latest(&permit).await?;
    let mut latest: BTreeMap<String, AssuranceResult> =
        latest.into_iter().map(|result| (result.control.clone(), result)).collect();
    let findings = Catalogue::all().iter().map(|control| match control.release {
        Release::NotBuilt => never(control, CheckOutcome::NotBuilt),
        Release::Built => match latest.remove(control.id.as_str()) {
            Some(result) => restored(control, result),
            None => never(control, CheckOutcome::NotRun),
        },
    });
    Ok(Json(Findings { findings: findings.collect() }))
}

/// Looks and judges.
async fn check(app: &App, control: ControlId, begun: Timestamp) -> Evidence {
    let time = match control.control().group {
        Group::Net => NETWORK_PROBE_TIME,
        _ => PROBE_TIME,
    };
    let observation = match PROBES.iter().find(|(id, _)| *id == control) {
        None => Observation::NotRun("there is no probe for it".to_owned()),
        Some((_, probe)) => match tokio::time::timeout(time, probe(app, begun)).await {
            Ok(Ok(observation)) => observation,
            Ok(Err(NoMeans(why))) => Observation::NotRun(why),
            Err(_elapsed) => Observation::NotRun(format!("no result within {} s", time.as_secs())),
        },
    };
    Evidence::new(control, app.clock.now(), ordered(judge(control, &observation)))
}

/// Keeps all results of a run in one commit, with an audit entry for each.
async fn keep(ctx: &Ctx, permit: Permit, kept: Vec<Evidence>) -> Answer<()> {
    let entries: Vec<AuditEntry> = kept.iter().map(|evidence| deed(ctx, evidence)).collect();
    let rows = kept.iter().map(row).collect::<Answer<Vec<AssuranceResult>>>()?;
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                for row in &rows {
                    tx.assurance_results().insert(&permit, row).await?;
                }
                for entry in entries {
                    tx.audit(entry);
                }
                Ok::<_, StoreError>(())
            })
        })
        .await?;
    Ok(())
}

fn deed(ctx: &Ctx, evidence: &Evidence) -> AuditEntry {
    let mut entry = ctx.deed(format!("control/{}", evidence.control), None);
    entry.time = evidence.time;
    evidence.outcome.as_str().clone_into(&mut entry.reason);
    entry
}

fn row(evidence: &Evidence) -> Answer<AssuranceResult> {
    Ok(AssuranceResult {
        control: evidence.control.to_string(),
        time: evidence.time,
        outcome: evidence.outcome.to_string(),
        facts: serde_json::to_string(&evidence.detail).map_err(Refusal::internal)?,
        evidence_digest: Some(evidence.digest),
    })
}

/// A kept result as it is shown. One that was edited since proves nothing.
fn restored(control: &Control, row: AssuranceResult) -> FindingView {
    let parts = row.outcome.parse().ok().zip(serde_json::from_str(&row.facts).ok()).zip(row.evidence_digest);
    let evidence = parts.map(|((outcome, detail), digest)| Evidence {
        control: control.id,
        outcome,
        time: row.time,
        detail,
        digest,
    });
    match evidence.filter(Evidence::is_intact) {
        Some(evidence) => view(&evidence),
        None => {
            let mut finding = never(control, CheckOutcome::NotRun);
            finding
                .facts
                .insert("reason".to_owned(), "the kept evidence was edited: run it again".to_owned());
            finding
        }
    }
}

fn view(evidence: &Evidence) -> FindingView {
    FindingView {
        time: Some(evidence.time),
        facts: evidence.detail.iter().cloned().collect(),
        evidence_digest: Some(evidence.digest),
        ..never(evidence.control.control(), evidence.outcome)
    }
}

/// A finding whose facts stand in the order of their names, each name once: as they are kept, shown, and digested.
fn ordered(finding: Finding) -> Finding {
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in finding.facts {
        match facts.entry(name) {
            Entry::Vacant(place) => drop(place.insert(value)),
            Entry::Occupied(mut seen) => seen.get_mut().push_str(&format!(", {value}")),
        }
    }
    Finding { facts: facts.into_iter().collect(), ..finding }
}

/// A finding without evidence.
fn never(control: &Control, outcome: CheckOutcome) -> FindingView {
    FindingView {
        control: control.id.to_string(),
        group: control.group.title().to_owned(),
        promise: control.promise.to_owned(),
        outcome: outcome.to_string(),
        time: None,
        facts: BTreeMap::new(),
        evidence_digest: None,
    }
}

// === impl NoMeans ===

impl NoMeans {
    fn new(why: impl core::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl From<Refusal> for NoMeans {
    fn from(refusal: Refusal) -> Self {
        Self(format!("the control plane answered itself `{}`", refusal.code()))
    }
}

impl From<StoreError> for NoMeans {
    fn from(error: StoreError) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::Timestamp;

    #[test]
    fn every_built_control_has_a_probe_and_no_other_has() {
        let built = Catalogue::all().iter().filter(|control| control.release == Release::Built);
        let built: Vec<_> = built.map(|control| control.id).collect();
        assert_eq!(PROBES.map(|(id, _)| id).to_vec(), built);
    }

    #[test]
    fn a_kept_result_reads_back_as_it_was_shown() {
        let evidence = evidence();
        assert_eq!(restored(ControlId::Plan1.control(), row(&evidence).unwrap()), view(&evidence));
    }

    #[test]
    fn a_kept_result_that_was_edited_proves_nothing() {
        let kept = row(&evidence()).unwrap();
        let edits: [fn(&mut AssuranceResult); 5] = [
            |row| row.outcome = "pass".to_owned(),
            |row| row.outcome = "green".to_owned(),
            |row| row.facts = "[]".to_owned(),
            |row| row.time = row.time.plus_ms(1),
            |row| row.evidence_digest = None,
        ];
        for edit in edits {
            let mut edited = kept.clone();
            edit(&mut edited);
            let finding = restored(ControlId::Plan1.control(), edited);
            assert_eq!((finding.outcome.as_str(), finding.time), ("not_run", None));
        }
    }

    #[test]
    fn facts_of_one_name_are_shown_together() {
        assert_eq!(view(&evidence()).facts.get("found in").map(String::as_str), Some("a, b"));
    }

    fn evidence() -> Evidence {
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let facts = vec![fact("found in", "a"), fact("alg", "ES256"), fact("found in", "b")];
        let finding = Finding { outcome: CheckOutcome::Fail, facts };
        Evidence::new(ControlId::Plan1, Timestamp::from_unix_s(1_795_507_200), ordered(finding))
    }
}
