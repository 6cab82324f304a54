//! Plan tokens: issue and verify, against the raw signature.

use crate::limits::per_second;
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
    let raw_sign = per_second(|| {
        black_box(pair.sign(&random, &message)).ok();
    });
    let issue = per_second(|| {
        black_box(signer.sign(black_box(&claims))).ok();
    });
    let ratio = issue / raw_sign;
    report.line(
        "plan token issue",
        rate(issue),
        format!("raw ES256 sign {}", rate(raw_sign)),
        "ratio >= 0.80",
        ratio >= 0.80,
    );
    report.line("... ratio", format!("{ratio:.2}"), "", "", crate::report::Reached::Context);

    let (keys, refused) = KeySet::from_jwks(&Jwks { keys: vec![signer.jwk()] });
    anyhow::ensure!(refused.is_empty(), "our own key is refused");
    let expected = Expected { issuer: plan.issuer.clone(), audience, tenant };
    let raw_key =
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).ok().context("key")?;
    let signature = *PlanToken::split(&token)?.signature();
    let raw_verify = per_second(|| {
        black_box(raw_key.verify_sig(&message, &signature)).ok();
    });
    let body = bytes.as_slice().to_vec();
    let verify = per_second(|| {
        let Ok(token) = PlanToken::split(black_box(&token)) else { return };
        let bytes = PlanBytes::new(body.clone());
        let find = |kid: &terms::KeyId| keys.find(kid);
        black_box(verify_plan(Unverified::new(token), Unverified::new(bytes), find, &expected)).ok();
    });
    let ratio = verify / raw_verify;
    report.line(
        "plan token verify",
        rate(verify),
        format!("raw ES256 verify {}", rate(raw_verify)),
        "ratio >= 0.85",
        ratio >= 0.85,
    );
    let what = format!("{ratio:.2}, with hash and parse of a {} B plan", body.len());
    report.line("... ratio", what, "", "", crate::report::Reached::Context);
    Ok(())
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.0}/s")
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
