//! `verify plan`: a plan and its token against the published keys.

use crate::failure::{Failure, Outcome};
use crate::output::{Card, Output};
use host::files;
use notary::{Expected, KeySet, SignedPlan, verify_plan};
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::{Digest, ExecutionId, KeyId, PlanId, TenantId, Timestamp, Unverified};
use wire::jwks::Jwks;
use wire::plan::PlanBytes;
use wire::plan_token::{self, PlanToken};

/// Verifies a plan and its token: signature, hash, and that both say the same
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade verify plan plan.jwt plan.json --jwks jwks.json
  palisade verify plan plan.jwt plan.json --jwks jwks.json --issuer https://localhost:8443

The keys come from the control plane's /.well-known/jwks.json. A token lives for five minutes; its
expiry is shown and not judged, so that a plan can be verified years later. Exits with 7 if it does
not verify.")]
pub(crate) struct Options {
    /// The token: a compact JWS
    token: PathBuf,
    /// The plan: its exact bytes
    plan: PathBuf,
    /// The published keys, a JWK Set
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// The issuer that it must be from; otherwise the token's own is shown
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The tenant that it must be for; otherwise the token's own is shown
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Report {
    verified: bool,
    plan: PlanId,
    execution: ExecutionId,
    workflow: String,
    hash: Digest,
    key: KeyId,
    issuer: String,
    tenant: TenantId,
    audience: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// What to do with a plan that does not verify.
const DISTRUST: &str = "do not trust this plan; check that the files are of one plan and byte for byte as \
                        they were sent, and that --jwks is of this issuer";

pub(super) fn run(options: &Options, output: &mut Output<'_>) -> Outcome {
    let token = read(&options.token, plan_token::BYTES_MAX + 1)?;
    let token = String::from_utf8_lossy(&token);
    let plan = PlanBytes::new(read(&options.plan, wire::plan::BYTES_MAX)?);
    let keys = read_keys(&options.jwks)?;
    output.one(&verify(options, token.trim_end(), plan, &keys)?)
}

fn verify(options: &Options, token: &str, plan: PlanBytes, keys: &KeySet) -> Outcome<Report> {
    let refused = |why: &dyn core::fmt::Display, code: &str| {
        Failure::unverified(format!("the plan does not verify: {why} ({code})"), DISTRUST)
    };
    let token = PlanToken::split(token).map_err(|error| refused(&error, "plan.token"))?;
    let kid = token.header().kid.clone();
    // Not believed yet: what the caller did not name is shown, for the caller to compare.
    let claims = token.claims().map_err(|error| refused(&error, "plan.token_claims"))?;
    let expected = Expected {
        issuer: options.issuer.clone().unwrap_or(claims.iss),
        audience: claims.aud,
        tenant: options.tenant.unwrap_or(claims.sub),
    };
    let verified =
        verify_plan(Unverified::new(token), Unverified::new(plan), |kid| keys.find(kid), &expected);
    let verified = verified.map_err(|refusal| refused(&refusal, refusal.code()))?;
    Ok(report(&verified, kid))
}

fn report(signed: &SignedPlan, key: KeyId) -> Report {
    let SignedPlan { claims, plan, bytes } = signed;
    Report {
        verified: true,
        plan: claims.jti,
        execution: plan.execution_id,
        workflow: format!("{} v{}", plan.workflow.name, plan.workflow.version),
        hash: bytes.hash(),
        key,
        issuer: claims.iss.clone(),
        tenant: claims.sub,
        audience: claims.aud.clone(),
        issued_at: Timestamp::from_unix_s(claims.iat),
        expires_at: Timestamp::from_unix_s(claims.exp),
    }
}

fn read_keys(path: &Path) -> Outcome<KeySet> {
    const NEXT: &str = "name a JWK Set such as /.well-known/jwks.json of the control plane";
    let jwks =
        Jwks::read(&read(path, wire::jwks::BOUNDS.bytes)?).map_err(|e| Failure::bad_file(path, e, NEXT))?;
    let (keys, refused) = KeySet::from_jwks(&jwks);
    match (keys.is_empty(), refused.first()) {
        (false, _) => Ok(keys),
        (true, Some(error)) => Err(Failure::bad_file(path, error, NEXT)),
        (true, None) => Err(Failure::bad_file(path, "it holds no key", NEXT)),
    }
}

fn read(path: &Path, max: usize) -> Outcome<Vec<u8>> {
    files::read_bounded(path, max).map_err(|e| Failure::of_file(&e, "check the file's name and permissions"))
}

impl Card for Report {
    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("verified", "yes: this key signed exactly these bytes".to_owned()),
            ("plan", self.plan.to_string()),
            ("execution", self.execution.to_string()),
            ("workflow", self.workflow.clone()),
            ("hash", self.hash.to_string()),
            ("key", self.key.to_string()),
            ("issuer", self.issuer.clone()),
            ("tenant", self.tenant.to_string()),
            ("audience", self.audience.clone()),
            ("issued", self.issued_at.to_string()),
            ("expired", self.expires_at.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::output::Format;
    use notary::PlanSigner;
    use serde_json::value::RawValue;
    use terms::{TrustDomain, WorkflowId};
    use wire::plan::{Limits, Plan, WorkflowVersion};
    use wire::plan_token::{Claims, LIFETIME_S};

    const ISSUER: &str = "https://localhost:8443";
    const IAT: i64 = 1_795_000_000;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        /// A plan that was signed years ago, its token, and the keys of that time.
        fn new() -> Self {
            let files = Self { dir: tempfile::tempdir().unwrap() };
            let (signer, _) = PlanSigner::generate().unwrap();
            let bytes = plan().to_bytes().unwrap();
            files.write("plan.jwt", signer.sign(&claims(&bytes)).unwrap().as_bytes());
            files.write("plan.json", bytes.as_slice());
            files.write("jwks.json", &serde_json::to_vec(&Jwks { keys: vec![signer.jwk()] }).unwrap());
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.path(name), bytes).unwrap();
        }

        fn flip(&self, name: &str, at: usize) {
            let mut bytes = std::fs::read(self.path(name)).unwrap();
            bytes[at] ^= 1;
            self.write(name, &bytes);
        }

        fn options(&self) -> Options {
            Options {
                token: self.path("plan.jwt"),
                plan: self.path("plan.json"),
                jwks: self.path("jwks.json"),
                issuer: None,
                tenant: None,
            }
        }

        fn verify(&self, options: &Options) -> Outcome<serde_json::Value> {
            let mut sink = Vec::new();
            run(options, &mut Output::new(Format::Json, false, &mut sink))?;
            Ok(serde_json::from_slice(&sink).unwrap())
        }
    }

    #[test]
    fn a_plan_verifies_long_after_its_token_expired() {
        let files = Files::new();
        let report = files.verify(&files.options()).unwrap();
        assert_eq!(report["verified"], true);
        assert_eq!(report["issuer"], ISSUER);
        assert_eq!(report["workflow"], "orders v3");
    }

    #[test]
    fn one_flipped_bit_in_plan_or_token_or_key_is_refused() {
        for (name, at) in [("plan.json", 40), ("plan.jwt", 150), ("plan.jwt", 10), ("jwks.json", 60)] {
            let files = Files::new();
            files.flip(name, at);
            assert!(files.verify(&files.options()).is_err(), "{name} {at}");
        }
    }

    #[test]
    fn a_plan_under_another_key_is_a_verification_failure() {
        let files = Files::new();
        let (other, _) = PlanSigner::generate().unwrap();
        files.write("jwks.json", &serde_json::to_vec(&Jwks { keys: vec![other.jwk()] }).unwrap());
        let failure = files.verify(&files.options()).unwrap_err();
        assert_eq!(failure.exit, Exit::Unverified);
        assert!(failure.cause.contains("plan.unknown_key"), "{failure}");
    }

    #[test]
    fn another_issuer_or_tenant_than_the_named_one_is_refused() {
        let files = Files::new();
        let right = Options {
            issuer: Some(ISSUER.into()),
            tenant: Some(TenantId::from_bytes([1; 16])),
            ..files.options()
        };
        assert!(files.verify(&right).is_ok());
        let issuer = Options { issuer: Some("https://elsewhere".into()), ..files.options() };
        let tenant = Options { tenant: Some(TenantId::from_bytes([9; 16])), ..files.options() };
        for (options, code) in [(issuer, "plan.wrong_issuer"), (tenant, "plan.wrong_subject")] {
            assert!(files.verify(&options).unwrap_err().cause.contains(code));
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_not_a_key_set_says_so() {
        let files = Files::new();
        files.write("jwks.json", b"{\"keys\":[]}");
        assert_eq!(files.verify(&files.options()).unwrap_err().code, "file_invalid");
        std::fs::remove_file(files.path("plan.jwt")).unwrap();
        assert_eq!(files.verify(&files.options()).unwrap_err().exit, Exit::NotFound);
    }

    fn plan() -> Plan {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        Plan {
            v: 1,
            plan_id: PlanId::from_bytes([3; 16]),
            execution_id: ExecutionId::from_bytes([4; 16]),
            tenant_id: TenantId::from_bytes([1; 16]),
            issuer: ISSUER.into(),
            workflow: WorkflowVersion {
                id: WorkflowId::from_bytes([5; 16]),
                name: "orders".parse().unwrap(),
                version: 3,
            },
            issued_at: Timestamp::from_unix_s(IAT),
            limits: Limits { wall_time_ms: 1, steps: 1, memory_bytes: 1, output_bytes: 1, http_calls: 1 },
            egress: vec![],
            document: raw("\"do: []\""),
            input: raw("{}"),
        }
    }

    fn claims(bytes: &PlanBytes) -> Claims {
        let domain: TrustDomain = "palisade.internal".parse().unwrap();
        Claims {
            iss: ISSUER.into(),
            sub: TenantId::from_bytes([1; 16]),
            aud: plan_token::audience(&domain, TenantId::from_bytes([1; 16])),
            iat: IAT,
            nbf: IAT,
            exp: IAT + LIFETIME_S,
            jti: PlanId::from_bytes([3; 16]),
            plan_hash: bytes.hash(),
            plan_len: bytes.length(),
        }
    }
}
