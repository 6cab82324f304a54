//! The attack table: every forged plan against a running data plane, and what it is refused with.

use anyhow::{Context as _, Result, ensure};
use api::assurance::{Findings, RunAssurance};
use std::collections::BTreeMap;
use trials::{Options, Site};

/// What is tried on the plan gate with the control plane's own certificate, and the answer.
pub(crate) const ATTACKS: [(&str, &str); 19] = [
    ("valid", "ok"),
    ("alg-none", "plan.wrong_algorithm"),
    ("hs256-with-public-key", "plan.wrong_algorithm"),
    ("other-curve", "plan.signature_length"),
    ("foreign-kid", "plan.unknown_key"),
    ("kid-as-url", "plan.token_header"),
    ("kid-as-path", "plan.token_header"),
    ("expired", "plan.expired"),
    ("not-yet-valid", "plan.not_yet_valid"),
    ("other-issuer", "plan.wrong_issuer"),
    ("other-tenant", "plan.wrong_subject"),
    ("other-audience", "plan.wrong_audience"),
    ("other-type", "plan.wrong_type"),
    ("flipped-byte-in-plan", "plan.hash_mismatch"),
    ("flipped-byte-in-header", "plan.unknown_key"),
    ("flipped-byte-in-signature", "plan.bad_signature"),
    ("duplicate-claims", "plan.token_claims"),
    ("oversized-token", "plan.token_too_large"),
    ("nothing-admitted", "ok"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_forged_plan_is_refused_with_its_own_code_by_a_data_plane_that_just_began() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let only = RunAssurance { control: Some("PLAN-3".to_owned()) };
    let findings: Findings = site.api()?.post("/v1/assurance/runs", &only).await?;
    let seen = &findings.findings.first().context("a finding")?.facts;
    let expected: BTreeMap<_, _> = ATTACKS.map(|(name, code)| (name.to_owned(), code.to_owned())).into();
    ensure!(*seen == expected, "{seen:#?}");
    Ok(())
}
