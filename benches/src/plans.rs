//! Plan tokens: issue and verify, against the raw signature.

use crate::limits::{Compared, compare};
use crate::report::Report;
use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use core::hint::black_box;
use notary::{Expected, KeySet, PlanSigner, verify_plan};
use terms::{ExecutionId, PlanId, TenantId, Timestamp, Unverified, WorkflowId};
use wire::jwks::Jwks;
use wire::plan::{Limits, Plan, PlanBytes, WorkflowVersion};
use wire::plan_token::{PlanToken, audience};

/// Measures both.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let (signer, pkcs8) = PlanSigner::generate()?;
    let tenant = TenantId::from_bytes([1; 16]);
    let plan = sample(tenant)?;
    let bytes = plan::write(&plan)?;
    let audience = audience(&"palisade.internal".parse()?, tenant);
    let claims = plan::claims(&bytes, &plan, audience.clone());
    let token = signer.sign(&claims)?;

    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)?;
    let random = SystemRandom::new();
    let message = PlanToken::split(&token)?.signing_input().to_vec();
    let issue = compare(
        || {
            black_box(signer.sign(black_box(&claims))).ok();
        },
        || {
            black_box(pair.sign(&random, &message)).ok();
        },
    );
    tell(report, "plan token issue", "raw ES256 sign", &issue, 0.80);

    let (keys, refused) = KeySet::from_jwks(&Jwks { keys: vec![signer.jwk()] });
    anyhow::ensure!(refused.is_empty(), "our own key is refused");
    let expected = Expected { issuer: plan.issuer.clone(), audience, tenant };
    let raw_key =
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).ok().context("key")?;
    let signature = *PlanToken::split(&token)?.signature();
    let body = bytes.as_slice().to_vec();
    let verify = compare(
        || {
            let Ok(token) = PlanToken::split(black_box(&token)) else { return };
            let bytes = PlanBytes::new(body.clone());
            let find = |kid: &terms::KeyId| keys.find(kid);
            black_box(verify_plan(Unverified::new(token), Unverified::new(bytes), find, &expected)).ok();
        },
        || {
            black_box(raw_key.verify_sig(&message, &signature)).ok();
        },
    );
    let what = format!("plan token verify, with hash and parse of a {} B plan", body.len());
    tell(report, &what, "raw ES256 verify", &verify, 0.85);
    Ok(())
}

fn tell(report: &mut Report, what: &str, limit: &str, compared: &Compared, least: f64) {
    let Compared { ours, limit: at_most, ratio } = compared;
    report.line(
        what,
        format!("{ours:.0}/s, ratio {ratio:.2}"),
        format!("{limit} {at_most:.0}/s"),
        format!("ratio >= {least:.2}"),
        *ratio >= least,
    );
}

fn sample(tenant_id: TenantId) -> Result<Plan> {
    let limits = Limits { wall_time_ms: 1, steps: 1, memory_bytes: 1, output_bytes: 1, http_calls: 1 };
    let workflow =
        WorkflowVersion { id: WorkflowId::from_bytes([2; 16]), name: "bench".parse()?, version: 1 };
    Ok(plan::Draft {
        plan_id: PlanId::from_bytes([3; 16]),
        execution_id: ExecutionId::from_bytes([4; 16]),
        tenant_id,
        issuer: "https://localhost:8443".to_owned(),
        workflow,
        issued_at: Timestamp::from_unix_s(1_795_507_200),
        limits,
        egress: Vec::new(),
        document: serde_json::from_str(r#"{"document":{"dsl":"1.0.0"},"do":[{"a":{"set":{"x":1}}}]}"#)?,
        input: serde_json::from_str(r#"{"orders":[1,2,3]}"#)?,
    }
    .into_plan())
}
