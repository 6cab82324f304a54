//! Whole command lines against a fake control plane: what is asked, what is printed, how it ends.

mod networks;

use crate::failure::{Exit, Failure};
use crate::fake_api::FakeApi;
use api::audit::{CheckpointView, Leaves};
use api::execution::{ExecutionState, ExecutionView, PlanView};
use api::tenant::{TenantState, TenantView};
use api::{Code, Page, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::{Frontier, leaf_hash};
use notary::NoteSigner;
use serde_json::{Value, json};
use terms::{Digest, ExecutionId, PlanId, TenantId, Timestamp, WorkflowId};
use wire::checkpoint::Checkpoint;
use wire::outcome::{Outcome, Reason, Status};
use wire::plan::{Limits, WorkflowVersion};

const EXECUTION: &str = "04040404-0404-0404-0404-040404040404";

#[tokio::test]
async fn a_list_is_followed_over_its_pages_and_shown_as_a_table() {
    let api = FakeApi::start().await;
    api.on("GET /v1/tenants?limit=200", &Page { items: vec![tenant("a")], next: Some("n/1".into()) });
    api.on("GET /v1/tenants?after=n%2F1&limit=200", &Page { items: vec![tenant("b")], next: None });
    let (outcome, printed) = api.palisade(&["tenant", "list"]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    let rows: Vec<&str> = printed.lines().collect();
    assert!(
        rows[0].starts_with("NAME") && rows[1].starts_with("a ") && rows[2].starts_with("b "),
        "{printed}"
    );
}

#[tokio::test]
async fn a_list_stops_at_its_limit() {
    let api = FakeApi::start().await;
    api.on("GET /v1/tenants?limit=1", &Page { items: vec![tenant("a")], next: Some("more".into()) });
    let (_, printed) = api.palisade(&["tenant", "list", "--limit", "1", "-o", "json"]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_token_travels_as_a_bearer_token_and_is_never_printed() {
    let api = FakeApi::start().await;
    api.on("GET /v1/tenants/acme", &tenant("acme"));
    let (_, printed) = api.palisade(&["tenant", "show", "acme"]).await;
    assert_eq!(api.asked()[0].authorization, format!("Bearer {}", api.token().expose()));
    assert!(!printed.contains(api.token().expose()));
}

#[tokio::test]
async fn the_exit_code_tells_why_a_request_was_refused() {
    let api = FakeApi::start().await;
    for (code, exit) in [
        (Code::NotFound, Exit::NotFound),
        (Code::Unauthenticated, Exit::Refused),
        (Code::Forbidden, Exit::Refused),
        (Code::DataPlaneUnreachable, Exit::Unreachable),
        (Code::Overloaded, Exit::Unreachable),
        (Code::TenantSuspended, Exit::Failure),
        (Code::RateLimited, Exit::Failure),
    ] {
        api.on_problem("GET /v1/tenants/acme", &Problem::new(code));
        let failure = failed(&api, &["tenant", "show", "acme"]).await;
        assert_eq!((failure.exit, failure.code.as_str()), (exit, code.as_str()));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_palisade_is_said_to_be_none() {
    let api = FakeApi::start().await;
    api.on_bytes("GET /v1/tenants/acme", b"<html>hello</html>");
    let failure = failed(&api, &["tenant", "show", "acme"]).await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failure, "answer_malformed"));
}

#[tokio::test]
async fn the_faults_of_a_workflow_are_listed_with_their_places() {
    let api = FakeApi::start().await;
    let fault = api::problem::Fault {
        code: "task_unknown".into(),
        message: "`listen` is not supported".into(),
        pointer: "/do/0/listen".into(),
        line: 4,
        column: 3,
    };
    api.on_problem(
        "POST /v1/tenants/acme/workflows",
        &Problem::new(Code::WorkflowInvalid).faults(vec![fault]),
    );
    let document = api.file("w.yaml", b"document: {}\n");
    let failure = failed(&api, &["workflow", "apply", &document, "--tenant", "acme"]).await;
    assert!(failure.to_text().contains("line 4, column 3: `listen` is not supported"), "{failure:?}");
    assert_eq!(api.asked()[0].body, r#"{"document":"document: {}\n"}"#);
}

#[tokio::test]
async fn a_run_sends_the_input_as_it_is_under_a_key_that_makes_retries_safe() {
    let api = FakeApi::start().await;
    api.on("POST /v1/tenants/acme/executions", &execution(ExecutionState::Queued));
    let input = api.file("in.json", br#"{"b": 1.10, "a": 2}"#);
    let (outcome, printed) = api.palisade(&["run", "orders", "--input", &input, "--tenant", "acme"]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    assert!(printed.contains("queued") && printed.contains(EXECUTION), "{printed}");
    let asked = &api.asked()[0];
    assert!(asked.body.contains(r#""input":{"b": 1.10, "a": 2}"#), "{}", asked.body);
    assert!(asked.idempotency_key.as_ref().unwrap().starts_with("palisade-"));
}

#[tokio::test]
async fn a_run_that_waits_ends_as_the_execution_does() {
    let api = FakeApi::start().await;
    api.on("POST /v1/tenants/acme/executions", &execution(ExecutionState::Sent));
    let arguments = ["run", "orders", "--tenant", "acme", "--wait", "--idempotency-key", "k-1"];
    for (state, exit) in [
        (ExecutionState::Completed, Exit::Success),
        (ExecutionState::Faulted, Exit::Faulted),
        (ExecutionState::GaveUp, Exit::Faulted),
    ] {
        api.on(&format!("GET /v1/tenants/acme/executions/{EXECUTION}?wait_ms=20000"), &execution(state));
        let (outcome, printed) = api.palisade(&arguments).await;
        assert_eq!(outcome, Ok(exit));
        assert!(printed.contains(state.as_str()), "{printed}");
    }
    assert_eq!(api.asked()[0].idempotency_key.as_deref(), Some("k-1"));
}

#[tokio::test]
async fn a_start_that_nobody_answered_says_which_key_makes_the_retry_safe() {
    let api = FakeApi::start().await;
    api.on_problem("POST /v1/tenants/acme/executions", &Problem::new(Code::Unavailable));
    let failure = failed(&api, &["run", "orders", "--tenant", "acme", "--idempotency-key", "k-7"]).await;
    assert!(failure.next_step.contains("--idempotency-key k-7"), "{}", failure.next_step);
}

#[tokio::test]
async fn the_only_tenant_needs_no_name() {
    let api = FakeApi::start().await;
    api.on("GET /v1/tenants?limit=2", &Page { items: vec![tenant("acme")], next: None });
    api.on(&format!("GET /v1/tenants/{}/workflows?limit=200", tenant("acme").id), &json!({ "items": [] }));
    let (outcome, printed) = api.palisade(&["workflow", "list"]).await;
    assert_eq!((outcome, printed.as_str()), (Ok(Exit::Success), "none\n"));
    api.on("GET /v1/tenants?limit=2", &Page { items: vec![tenant("a"), tenant("b")], next: None });
    assert_eq!(failed(&api, &["workflow", "list"]).await.exit, Exit::Usage);
}

#[tokio::test]
async fn an_output_is_passed_on_byte_for_byte() {
    let api = FakeApi::start().await;
    let bytes = br#"{"total": 1.50,   "note": "as it is"}"#;
    api.on_bytes(&format!("GET /v1/tenants/acme/executions/{EXECUTION}/output"), bytes);
    let (_, printed) = api.palisade(&["execution", "output", EXECUTION, "--tenant", "acme"]).await;
    assert_eq!(printed.as_bytes(), bytes);
}

#[tokio::test]
async fn deleting_needs_to_be_meant() {
    let api = FakeApi::start().await;
    assert_eq!(failed(&api, &["tenant", "delete", "acme"]).await.exit, Exit::Usage);
    assert!(api.asked().is_empty(), "nothing was sent");
    api.on_bytes("DELETE /v1/tenants/acme", b"");
    let (outcome, _) = api.palisade(&["tenant", "delete", "acme", "--yes"]).await;
    assert_eq!((outcome, api.asked()[0].line.as_str()), (Ok(Exit::Success), "DELETE /v1/tenants/acme"));
}

#[tokio::test]
async fn a_control_that_fails_fails_the_run_and_is_shown() {
    let api = FakeApi::start().await;
    let finding = |outcome: &str| {
        json!({ "findings": [{ "control": "PLAN-3", "group": "Signed execution plans", "promise": "p",
            "outcome": outcome, "facts": { "refused": "14" } }] })
    };
    for (outcome, exit) in [("fail", Exit::Failure), ("pass", Exit::Success), ("not_run", Exit::Success)] {
        api.on("POST /v1/assurance/runs", &finding(outcome));
        let (ended, printed) = api.palisade(&["assure", "run", "PLAN-3"]).await;
        assert_eq!(ended, Ok(exit));
        assert!(printed.contains(&format!("  {outcome}")) && printed.contains("refused: 14"), "{printed}");
    }
    assert_eq!(api.asked()[0].body, r#"{"control":"PLAN-3"}"#);
}

/// A log of the server's with everything that `audit verify` asks for.
fn serve_log(api: &FakeApi, entries: &[&str], old: usize) {
    let (signer, _) = NoteSigner::generate("palisade.internal/audit").unwrap();
    let checkpoint = |entries: &[&str]| {
        let mut frontier = Frontier::new();
        entries.iter().for_each(|entry| frontier.append(leaf_hash(entry.as_bytes())));
        let origin = "palisade.internal/audit".to_owned();
        let body = Checkpoint { origin, size: frontier.size(), root: frontier.root() };
        signer.sign(&body.to_text()).unwrap().to_text()
    };
    let size = entries.len();
    let leaves: Vec<String> = entries.iter().map(|entry| STANDARD.encode(entry)).collect();
    let view = CheckpointView { note: checkpoint(entries), verifier_key: signer.verifier_key() };
    api.on("GET /v1/audit/checkpoint", &view);
    api.on(&format!("GET /v1/audit/leaves?start=0&end={size}"), &Leaves { start: 0, leaves });
    api.file("old", checkpoint(&entries[..old]).as_bytes());
    api.file("key", signer.verifier_key().as_bytes());
}

#[tokio::test]
async fn a_log_that_the_server_shows_whole_verifies_and_can_be_saved_for_later() {
    let api = FakeApi::start().await;
    serve_log(&api, &["a", "b"], 1);
    // The only hash of either proof is the other half of the tree.
    let sibling = |entry: &str| json!({ "hashes": [leaf_hash(entry.as_bytes())] });
    api.on("GET /v1/audit/inclusion?index=0&size=2", &sibling("b"));
    api.on("GET /v1/audit/consistency?old=1&new=2", &sibling("b"));
    let (old, key) = (api.path("old"), api.path("key"));
    let (old, key) = (old.to_str().unwrap(), key.to_str().unwrap());
    let (saved, leaves) = (api.path("saved"), api.path("leaves"));
    let (saved, leaves) = (saved.to_str().unwrap(), leaves.to_str().unwrap());
    let online =
        ["audit", "verify", "--against", old, "--entry", "0", "--save", saved, "--save-leaves", leaves];
    let (outcome, printed) = api.palisade(&online).await;
    assert_eq!(outcome, Ok(Exit::Success));
    assert!(printed.contains("verified") && printed.contains("older checkpoint of 1 entries"), "{printed}");
    let asked = api.asked().len();
    let offline = ["audit", "verify", "--leaves", leaves, "--checkpoint", saved, "--key", key];
    assert_eq!(api.palisade(&offline).await.0, Ok(Exit::Success));
    assert_eq!(api.asked().len(), asked, "nothing was asked of the server");

    api.on("GET /v1/audit/consistency?old=1&new=2", &sibling("forged"));
    assert_eq!(failed(&api, &["audit", "verify", "--against", old]).await.exit, Exit::Unverified);
}

#[tokio::test]
async fn a_log_that_the_server_changed_or_cut_does_not_verify() {
    let api = FakeApi::start().await;
    let all = "GET /v1/audit/leaves?start=0&end=3";
    for leaves in [
        Leaves { start: 0, leaves: ["a", "x", "c"].map(|entry| STANDARD.encode(entry)).to_vec() },
        Leaves { start: 1, leaves: ["b", "c"].map(|entry| STANDARD.encode(entry)).to_vec() },
        Leaves { start: 0, leaves: vec![] },
        Leaves { start: 0, leaves: vec!["no base64".into()] },
    ] {
        serve_log(&api, &["a", "b", "c"], 1);
        api.on(all, &leaves);
        assert_eq!(failed(&api, &["audit", "verify"]).await.exit, Exit::Unverified, "{leaves:?}");
    }
}

#[tokio::test]
async fn the_newest_audit_entries_come_last() {
    let api = FakeApi::start().await;
    let entry = |index| json!({ "index": index, "leaf": Digest::sha256(b"x") });
    api.on("GET /v1/audit/entries?limit=2", &json!({ "items": [entry(8), entry(7)], "next": "7" }));
    let (_, printed) = api.palisade(&["audit", "tail", "--limit", "2"]).await;
    let indexes: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(indexes, ["7", "8"]);
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_is_refused() {
    let (api, stranger) = (FakeApi::start().await, FakeApi::start().await);
    std::fs::copy(stranger.path("ca.pem"), api.path("ca.pem")).unwrap();
    let failure = failed(&api, &["tenant", "list"]).await;
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.next_step.contains("--ca-file") && api.asked().is_empty(), "{failure:?}");
}

async fn failed(api: &FakeApi, arguments: &[&str]) -> Failure {
    let (outcome, printed) = api.palisade(arguments).await;
    assert_eq!(printed, "", "a failed command prints nothing to stdout");
    outcome.unwrap_err()
}

fn tenant(name: &str) -> TenantView {
    TenantView {
        id: TenantId::from_bytes([1; 16]),
        name: name.parse().unwrap(),
        state: TenantState::Active,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

fn execution(state: ExecutionState) -> ExecutionView {
    let (id, plan) = (ExecutionId::from_bytes([4; 16]), PlanId::from_bytes([3; 16]));
    let outcome = state.is_final().then(|| Outcome {
        execution_id: id,
        tenant_id: TenantId::from_bytes([1; 16]),
        plan_id: plan,
        plan_hash: Digest::sha256(b"plan"),
        status: if state == ExecutionState::Completed { Status::Completed } else { Status::Faulted },
        reason: Reason::Runtime,
        accepted_at: Timestamp::EPOCH,
        finished_at: Timestamp::EPOCH,
        wall_time_ms: 3,
        steps: 4,
        http_calls: 0,
        resumes: 0,
        output_bytes: 10,
        output_digest: Digest::sha256(b"output"),
    });
    ExecutionView {
        id,
        workflow: WorkflowVersion {
            id: WorkflowId::from_bytes([5; 16]),
            name: "orders".parse().unwrap(),
            version: 1,
        },
        state,
        created_at: Timestamp::EPOCH,
        limits: Limits { wall_time_ms: 1, steps: 1, memory_bytes: 1, output_bytes: 1, http_calls: 1 },
        plan: Some(PlanView {
            id: plan,
            hash: Digest::sha256(b"plan"),
            key: None,
            issued_at: Timestamp::EPOCH,
            attempt: 1,
        }),
        outcome,
    }
}
