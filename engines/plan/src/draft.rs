//! Drafts: what the control plane puts into a plan, and what the plan's token says about it.

use serde_json::value::RawValue;
use terms::{ExecutionId, HostPattern, PlanId, TenantId, Timestamp};
use wire::plan::{Limits, Plan, PlanBytes, PlanError, WorkflowVersion};
use wire::plan_token::{Claims, LIFETIME_S};

/// The version of the plan format that this release writes.
const VERSION: u8 = 1;

/// What goes into a plan.
///
/// The same draft gives the same bytes, so that a plan whose answer was lost can be sent again.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The plan: new for each issue.
    pub plan_id: PlanId,
    /// The execution: the same for each issue.
    pub execution_id: ExecutionId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The control plane's public URL.
    pub issuer: String,
    /// Which workflow.
    pub workflow: WorkflowVersion,
    /// When the plan is issued.
    pub issued_at: Timestamp,
    /// What the execution may consume.
    pub limits: Limits,
    /// Hosts that it may call.
    pub egress: Vec<HostPattern>,
    /// The workflow document, as it was applied.
    pub document: Box<RawValue>,
    /// The input.
    pub input: Box<RawValue>,
}

impl Draft {
    /// Makes the plan. Its `issued_at` is cut to whole seconds, which is all that a token's `iat` holds.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        Plan {
            v: VERSION,
            plan_id: self.plan_id,
            execution_id: self.execution_id,
            tenant_id: self.tenant_id,
            issuer: self.issuer,
            workflow: self.workflow,
            issued_at: Timestamp::from_unix_s(self.issued_at.unix_s()),
            limits: self.limits,
            egress: self.egress,
            document: self.document,
            input: self.input,
        }
    }
}

/// Writes `plan`, once, and makes sure that a data plane reads it: what it would refuse is never signed.
///
/// # Errors
/// [`PlanError`] for a plan that is too large, too deep, or allows too many hosts.
pub fn write(plan: &Plan) -> Result<PlanBytes, PlanError> {
    let bytes = plan.to_bytes()?;
    Plan::read(bytes.as_slice())?;
    Ok(bytes)
}

/// What the token says about `plan`, whose bytes are `bytes`, to the data plane `audience` (a SPIFFE id).
#[must_use]
pub fn claims(bytes: &PlanBytes, plan: &Plan, audience: String) -> Claims {
    let issued_at = plan.issued_at.unix_s();
    Claims {
        iss: plan.issuer.clone(),
        sub: plan.tenant_id,
        aud: audience,
        iat: issued_at,
        nbf: issued_at,
        exp: issued_at.saturating_add(LIFETIME_S),
        jti: plan.plan_id,
        plan_hash: bytes.hash(),
        plan_len: bytes.length(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_repeat_the_plan_and_live_for_five_minutes() {
        let plan = draft("{}").into_plan();
        let bytes = write(&plan).unwrap();
        let claims = claims(&bytes, &plan, "spiffe://d/x".into());
        assert_eq!((claims.iat, claims.nbf, claims.exp), (1_700_000_000, 1_700_000_000, 1_700_000_300));
        assert_eq!(plan.issued_at, Timestamp::from_unix_s(claims.iat));
        assert_eq!((claims.jti, claims.sub, &claims.iss), (plan.plan_id, plan.tenant_id, &plan.issuer));
        assert_eq!((claims.plan_hash, claims.plan_len), (bytes.hash(), bytes.as_slice().len() as u64));
    }

    #[test]
    fn the_same_draft_gives_the_same_bytes() {
        let document = "{ \"b\": 1.0, \"a\": 12345678901234567890 }";
        let (one, two) = (draft(document).into_plan(), draft(document).into_plan());
        assert_eq!(write(&one).unwrap(), write(&two).unwrap());
        assert_eq!(one.document.get(), document);
    }

    #[test]
    fn a_plan_that_no_data_plane_reads_is_not_written() {
        let deep = format!("{}{}", "[".repeat(80), "]".repeat(80));
        let twice = "{\"a\":1,\"a\":2}";
        for document in [deep.as_str(), twice] {
            assert!(matches!(write(&draft(document).into_plan()), Err(PlanError::Json(_))), "{document}");
        }
        let hosts = vec!["api.example.com".parse().unwrap(); wire::plan::EGRESS_MAX + 1];
        let broad = Draft { egress: hosts, ..draft("{}") }.into_plan();
        assert_eq!(write(&broad).err(), Some(PlanError::Egress(wire::plan::EGRESS_MAX + 1)));
    }

    fn draft(document: &str) -> Draft {
        Draft {
            plan_id: PlanId::from_bytes([1; 16]),
            execution_id: ExecutionId::from_bytes([2; 16]),
            tenant_id: TenantId::from_bytes([3; 16]),
            issuer: "https://localhost:8443".into(),
            workflow: WorkflowVersion {
                id: terms::WorkflowId::from_bytes([4; 16]),
                name: "orders".parse().unwrap(),
                version: 1,
            },
            issued_at: Timestamp::from_unix_ms(1_700_000_000_999),
            limits: Limits { wall_time_ms: 1, steps: 1, memory_bytes: 1, output_bytes: 1, http_calls: 1 },
            egress: vec![],
            document: RawValue::from_string(document.into()).unwrap(),
            input: RawValue::from_string("null".into()).unwrap(),
        }
    }
}
