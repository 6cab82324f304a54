//! The published contract, every route of it without a credential, and bad input of every kind: refused with a
//! code, nothing changed.

use crate::contents::{Contents, audit_log, deeds};
use crate::openssl::answer;
use crate::shared::bare_site;
use api::Problem;
use http::Request;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tokio::sync::OnceCell;
use trials::{Api, Options, Site};
use wire::audit::AuditEntry;
use wire::event::EventOutcome;

/// A site of these trials' own: they compare what it holds before and after.
static SITE: OnceCell<Site> = OnceCell::const_new();

async fn site() -> &'static Site {
    SITE.get_or_init(async || Site::up(Options::default()).await.unwrap()).await
}

#[tokio::test]
async fn the_contract_that_is_served_is_the_one_that_was_reviewed() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../ground/api/openapi.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!(contract().await, golden);
}

#[tokio::test]
async fn every_route_of_the_contract_but_the_public_ones_asks_for_a_credential() {
    let contract = contract().await;
    let mut public = Vec::new();
    for (number, (method, path, operation)) in operations(&contract).into_iter().enumerate() {
        // From an address of its own: a flood of refused credentials would be slowed.
        let source = Ipv4Addr::new(127, 0, 9, u8::try_from(number + 1).unwrap());
        let raw = bare_site().await.raw(source).unwrap();
        let there = path.replace("{tenant}", "demo").replace("{workflow}", "orders");
        let there = there.replace("{execution}", "0190a000-0000-7000-8000-000000000000");
        let there = there.replace("{node}", "0190a000-0000-7000-8000-000000000000");
        for token in [None, Some("Bearer palisade_operator_x"), Some("Basic YTpi")] {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&there);
            let request = request.header("content-type", "application/json");
            let request =
                token.into_iter().fold(request, |request, token| request.header("authorization", token));
            let answer = raw.send(request, "{}").await.unwrap();
            if operation["security"] == json!([]) {
                assert_eq!(answer.status, 200, "{method} {path}");
                continue;
            }
            let problem = answer.problem().unwrap();
            assert_eq!(
                (answer.status, &*problem.code),
                (401, "unauthenticated"),
                "{method} {path} {token:?}"
            );
        }
        if operation["security"] == json!([]) {
            public.push(path);
        }
    }
    public.sort_unstable();
    assert_eq!(public, ["/.well-known/jwks.json", "/livez", "/readyz", "/v1/openapi.json"]);
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_own_code_and_change_nothing() {
    let api = site().await.api().unwrap();
    let before = (Contents::of(&api).await, deeds(&api).await);
    const JSON: &str = "application/json";
    let start = |input: &str| format!(r#"{{"workflow":"orders","input":{input}}}"#);
    let rows: [(&str, &str, &str, String, &str); 22] = [
        ("POST", "/v1/tenants", JSON, String::new(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, "{".into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, "{\"name\":\"a\"}{\"name\":\"b\"}".into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, r#"{"name":"a","name":"b"}"#.into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, r#"{"name":"a","more":1}"#.into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, r#"{"name":"../x"}"#.into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, r#"{"name":"a\u0000"}"#.into(), "malformed_request"),
        ("POST", "/v1/tenants", JSON, format!(r#"{{"name":"{}"}}"#, "a".repeat(64)), "malformed_request"),
        ("POST", "/v1/tenants", JSON, nested(200), "malformed_request"),
        ("POST", "/v1/tenants", JSON, nested(1_000_000), "malformed_request"),
        ("POST", "/v1/tenants", JSON, format!("[{}1]", "1,".repeat(250_000)), "malformed_request"),
        ("POST", "/v1/tenants", "text/plain", r#"{"name":"a"}"#.into(), "unsupported_media_type"),
        ("POST", "/v1/tenants", JSON, " ".repeat(5 << 20), "body_too_large"),
        ("GET", "/v1/tenants?after=x", JSON, String::new(), "invalid_cursor"),
        ("GET", "/v1/tenants?more=1", JSON, String::new(), "malformed_request"),
        ("GET", "/v1/tenants/%2e%2e%2fdemo", JSON, String::new(), "not_found"),
        ("GET", "/v1/audit/leaves?start=0&end=99999999", JSON, String::new(), "range_invalid"),
        ("PUT", "/v1/tenants", JSON, r#"{"name":"a"}"#.into(), "method_not_allowed"),
        ("POST", "/v2/tenants", JSON, r#"{"name":"a"}"#.into(), "not_found"),
        ("POST", "/v1/tenants/demo/executions", JSON, start("1"), "idempotency_key_missing"),
        ("POST", "/v1/tenants/demo/suspend", JSON, r#"{"reason":"because"}"#.into(), "malformed_request"),
        ("POST", "/v1/tenants/nobody/workflows", JSON, document("do: []"), "not_found"),
    ];
    for (method, path, kind, body, code) in rows {
        let request = Request::builder().method(method).header("content-type", kind);
        let what = format!("{method} {path} {}", body.chars().take(60).collect::<String>());
        assert_eq!(refusal(&api, request, path, body).await.code, code, "{what}");
    }
    assert_eq!((Contents::of(&api).await, deeds(&api).await), before);
}

#[tokio::test]
async fn bad_inputs_start_nothing() {
    let api = site().await.api().unwrap();
    let before = (Contents::of(&api).await, deeds(&api).await);
    let rows = [
        (nested(64), "input_invalid"),
        (nested(100_000), "malformed_request"),
        (format!("\"{}\"", "a".repeat(1 << 20)), "input_invalid"),
        (r#"{"a":1,"a":2}"#.to_owned(), "malformed_request"),
        ("1e999".to_owned(), "malformed_request"),
        ("NaN".to_owned(), "malformed_request"),
        ("\"\u{1}\"".to_owned(), "malformed_request"),
        (r#""\ud800""#.to_owned(), "malformed_request"),
    ];
    for (input, code) in rows {
        let request = Request::builder().method("POST").header("content-type", "application/json");
        let request = request.header(api::execution::IDEMPOTENCY_KEY, "bad-input");
        let body = format!(r#"{{"workflow":"orders","input":{input}}}"#);
        let what = input.chars().take(60).collect::<String>();
        let refused = refusal(&api, request, "/v1/tenants/demo/executions", body).await;
        assert_eq!(refused.code, code, "{what}");
    }
    assert_eq!((Contents::of(&api).await, deeds(&api).await), before);
}

#[tokio::test]
async fn bad_documents_are_refused_with_the_place_of_each_fault() {
    let api = site().await.api().unwrap();
    let before = (Contents::of(&api).await, deeds(&api).await);
    let head = "document: { dsl: '1.0.0', namespace: trial, name: bad, version: '1.0.0' }\n";
    let with = |rest: &str| format!("{head}{rest}");
    let laughs: String = (1..=9).fold("a0: &a0 [lol, lol]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(9))
    });
    let rows = [
        ("do: [a, b".to_owned(), "yaml-syntax"),
        ("a: b: c".to_owned(), "yaml-syntax"),
        (String::new(), "yaml-empty"),
        (laughs, "yaml-anchor"),
        (with("do:\n  - a: { set: &x { b: 1 } }\n"), "yaml-anchor"),
        (with("do:\n  - a: { set: { <<: { b: 1 } } }\n"), "yaml-key"),
        (with("do:\n  - a: { set: !!python/object { b: 1 } }\n"), "yaml-tag"),
        (with("do: []\n---\ndo: []\n"), "yaml-documents"),
        (with("do:\n  - a: { set: { b: 1, b: 2 } }\n"), "yaml-duplicate-key"),
        (with(&format!("do: {}{}", "[".repeat(60), "]".repeat(60))), "too-deep"),
        (with(&format!("do:\n{}", "- ".repeat(10_000))), "too-deep"),
        (with(&format!("do: [{}]", "1, ".repeat(30_000))), "too-large"),
        (with(&format!("# {}\n", "x".repeat(300_000))), "too-large"),
        (with("do:\n  - a: { run: { shell: { command: id } } }\n"), "unsupported"),
        (
            with("do:\n  - a: { call: http, with: { method: get, endpoint: 'http://a.example' } }\n"),
            "endpoint",
        ),
        (with("do:\n  - a: { set: { b: '${ env }' } }\n"), "expression"),
    ];
    for (text, expected) in rows {
        let request = Request::builder().method("POST").header("content-type", "application/json");
        let refused = refusal(&api, request, "/v1/tenants/demo/workflows", document(&text)).await;
        let what = text.chars().skip(70).take(60).collect::<String>();
        assert_eq!((refused.status, &*refused.code), (422, "workflow_invalid"), "{what}");
        let fault = refused.faults.first().unwrap();
        assert!(fault.line > 0 && fault.column > 0, "{fault:?}");
        assert_eq!(fault.code, expected, "{what}: {fault:?}");
    }
    assert_eq!((Contents::of(&api).await, deeds(&api).await), before);
}

#[tokio::test]
async fn what_is_no_envelope_is_not_counted_whoever_sends_it() {
    let site = site().await;
    let sidecar = site.state_of("meter-").unwrap().join("identity.pem");
    let kind = "application/vnd.palisade.heartbeat+json;v=1";
    let envelope = |payload: &str, kind: &str, signature: &str| {
        let signatures = json!([{ "keyid": "x", "sig": signature }]);
        json!({ "payload": payload, "payloadType": kind, "signatures": signatures }).to_string()
    };
    let unsigned = "A".repeat(86) + "==";
    let rows = [
        ("{".to_owned(), "\"malformed_request\""),
        ("[]".to_owned(), "\"malformed_request\""),
        (nested(100_000), "\"malformed_request\""),
        (envelope("!!", kind, &unsigned), "\"envelope.malformed\""),
        (envelope("e30=", kind, "AA=="), "\"envelope.malformed\""),
        (envelope("e30=", "text/plain", &unsigned), "\"envelope."),
        (envelope("e30=", kind, &unsigned), "\"envelope."),
        (envelope(&"e30g".repeat(300_000), kind, &unsigned), "\"envelope."),
    ];
    for (body, code) in rows {
        let head = format!(
            "POST /v1/heartbeats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let said = answer(site.url(), &sidecar, (head + &body).as_bytes());
        assert!(said.contains(code), "{}: {said}", body.chars().take(60).collect::<String>());
        assert!(!said.contains("\"accepted\""), "{said}");
    }
    // The sidecar itself goes on, and all that it swore to follows on each other.
    let beats = site.run(&["heartbeat", "list", "--tenant", "demo", "-o", "json"]).unwrap();
    let sidecars = site.run(&["sidecar", "list", "--tenant", "demo", "-o", "json"]).unwrap();
    let [beats_file, sidecars_file] = ["beats.json", "sidecars.json"].map(|name| site.folder().join(name));
    std::fs::write(&beats_file, beats).unwrap();
    std::fs::write(&sidecars_file, sidecars).unwrap();
    let [beats, sidecars] = [beats_file, sidecars_file].map(|file| file.display().to_string());
    site.run(&["verify", "heartbeat", &beats, "--key", &sidecars]).unwrap();
}

#[tokio::test]
async fn the_refusal_of_a_known_caller_is_in_the_audit_log_before_it_is_answered() {
    let api = site().await.api().unwrap();
    let request = Request::builder().method("POST").header("content-type", "text/plain");
    refusal(&api, request, "/v1/assurance/runs", "{}".to_owned()).await;
    let log = audit_log(&api).await;
    let is_it =
        |entry: &AuditEntry| entry.outcome == EventOutcome::Denied && entry.resource == "route/run_assurance";
    let reasons: Vec<&str> = log
        .iter()
        .filter_map(|view| view.entry.as_ref().filter(|entry| is_it(entry)))
        .map(|entry| &*entry.reason)
        .collect();
    assert_eq!(reasons, ["unsupported_media_type"]);
}

/// Sends a request that has to be refused.
async fn refusal(api: &Api, request: http::request::Builder, path: &str, body: String) -> Problem {
    let (status, answer) = api.raw_as_operator(request, path, body.into_bytes()).await.unwrap();
    let problem: Problem = serde_json::from_slice(&answer)
        .unwrap_or_else(|_| panic!("{status} {}", String::from_utf8_lossy(&answer)));
    assert_eq!(problem.status, status);
    assert!(!problem.title.is_empty() && !problem.next_step.is_empty(), "{problem:?}");
    problem
}

async fn contract() -> Value {
    let raw = bare_site().await.raw(Ipv4Addr::new(127, 0, 8, 1)).unwrap();
    let answer = raw.send(Request::get("/v1/openapi.json"), "").await.unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// Each operation of the contract with its method and path.
fn operations(contract: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = contract["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(|(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

/// A request that applies a document.
fn document(text: &str) -> String {
    json!({ "document": text }).to_string()
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}
