//! `call: http`: what is asked for, and what becomes of the answers.

use crate::world::{LIMITS, at, document, parse, start};
use serde_json::{Value, json};
use workflow::{Effect, FaultKind, HttpCall, HttpFailure, HttpOutput, HttpReply, Reply, Run, RunFault};

#[test]
fn a_call_names_everything_that_the_world_needs() {
    let (_, call) = calling(
        "method: post, endpoint: 'https://api.example.com/orders/{order.id}/x?full=1', \
         headers: {X-Trace: '${ $workflow.id }', accept: text/plain, none: null}, \
         query: {q: '${ .q }', n: 3, gone: null}, body: {id: '${ .order.id }'}",
        json!({"order": {"id": "a/b?ä"}, "q": "x y&z"}),
    );
    assert_eq!(
        call,
        HttpCall {
            method: "POST".to_owned(),
            url: "https://api.example.com/orders/a%2Fb%3F%C3%A4/x?full=1&q=x+y%26z&n=3".to_owned(),
            headers: vec![
                ("x-trace".to_owned(), "run-1".to_owned()),
                ("accept".to_owned(), "text/plain".to_owned()),
                ("content-type".to_owned(), "application/json".to_owned()),
            ],
            body: Some(json!({"id": "a/b?ä"})),
            output: HttpOutput::Content,
            timeout_ms: 60_000,
            step: 1,
            task: "/do/0/a".to_owned(),
        }
    );
}

#[test]
fn a_computed_url_keeps_its_origin() {
    let url = |input: Value| {
        calling(r#"method: get, endpoint: '${ "https://api.example.com/x/\(.id)" }'"#, input).1.url
    };
    assert_eq!(url(json!({"id": 7})), "https://api.example.com/x/7");
    assert_eq!(url(json!({"id": "../../y"})), "https://api.example.com/y");
    assert_eq!(url(json!({"id": "@evil.example/"})), "https://api.example.com/x/@evil.example/");
}

#[test]
fn values_that_would_change_where_a_call_goes_fail_the_task() {
    let call = "method: get, endpoint: 'https://api.example.com/{id}'";
    for id in [json!("."), json!(".."), json!("..."), json!(""), json!(null), json!([1]), json!({})] {
        assert_eq!(refused(call, json!({"id": id})).kind, FaultKind::Validation, "{id}");
    }
    assert_eq!(refused(call, json!({})).kind, FaultKind::Validation);
    for (with, input) in [
        (r#"method: get, endpoint: '${ "https://api.example.com/\(.id)" }'"#, json!({"id": "#x"})),
        (
            "method: get, endpoint: 'https://api.example.com/', headers: {x: '${ .id }'}",
            json!({"id": "a\r\nb: c"}),
        ),
        ("method: get, endpoint: 'https://api.example.com/', headers: {x: '${ .id }'}", json!({"id": "ä"})),
        ("method: get, endpoint: 'https://api.example.com/', headers: {x: '${ .id }'}", json!({"id": [1]})),
        ("method: get, endpoint: 'https://api.example.com/', query: {x: '${ .id }'}", json!({"id": {}})),
        ("method: get, endpoint: 'https://api.example.com/{id}'", json!({"id": "x".repeat(9_000)})),
    ] {
        assert_eq!(refused(with, input).kind, FaultKind::Validation, "{with}");
    }
}

#[test]
fn contents_become_json_text_or_base64() {
    let content = |kind: &str, body: &[u8]| answered("", reply(200, kind, body));
    assert_eq!(content("application/json", b"{\"a\": 1}"), Ok(json!({"a": 1})));
    assert_eq!(content("application/problem+json; charset=utf-8", b"[1]"), Ok(json!([1])));
    assert_eq!(content("Application/JSON", b"null"), Ok(Value::Null));
    assert_eq!(content("text/plain", b"{\"a\": 1}"), Ok(json!("{\"a\": 1}")));
    assert_eq!(content("image/png", b"\x89PNG\xff"), Ok(json!("iVBOR/8=")));
    assert_eq!(content("application/json", b""), Ok(Value::Null));
    assert_eq!(content("application/json", b"{").unwrap_err().kind, FaultKind::Http);
    assert_eq!(answered(", output: raw", reply(200, "text/plain", b"hi")), Ok(json!("aGk=")));
}

#[test]
fn a_whole_response_has_request_status_headers_and_content() {
    let response = answered(", output: response", reply(201, "application/json", b"[1]")).unwrap();
    assert_eq!(
        response,
        json!({
            "request": {"method": "GET", "uri": "https://api.example.com/x", "headers": {}},
            "statusCode": 201,
            "headers": {"content-type": "application/json"},
            "content": [1],
        })
    );
}

#[test]
fn anything_but_success_is_a_communication_error() {
    for status in [100, 301, 304, 400, 404, 500, 503] {
        let fault = answered("", reply(status, "text/plain", b"secret words")).unwrap_err();
        assert_eq!((fault.kind, fault.problem.status), (FaultKind::Http, status));
        assert!(!format!("{fault:?}").contains("secret"));
    }
    let fault = answered("", Err(HttpFailure { code: "denied" })).unwrap_err();
    assert_eq!(
        (fault.kind, fault.problem.detail.as_deref()),
        (FaultKind::Http, Some("the call failed: denied"))
    );
    let fault = answered("", Err(HttpFailure { code: HttpFailure::TIMEOUT })).unwrap_err();
    assert_eq!((fault.kind, fault.problem.status), (FaultKind::Timeout, 408));
}

#[test]
fn a_failed_call_is_tried_again_by_policy() {
    let tasks = "do: [{a: {try: [{b: {call: http, with: {method: get, endpoint: 'https://api.example.com/x'}}}], \
                 catch: {errors: {with: {type: 'https://serverlessworkflow.io/spec/1.0.0/errors/communication'}}, \
                 retry: {delay: PT1S, when: $error.status >= 500}}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    assert!(matches!(run.advance(Reply::Start, at(0)), Effect::Http(call) if call.step == 2));
    assert_eq!(run.advance(Reply::Http(reply(503, "", b"")), at(10)), Effect::Wait { ms: 1_000, step: 2 });
    assert!(matches!(run.advance(Reply::Waited, at(1_010)), Effect::Http(call) if call.step == 3));
    let effect = run.advance(Reply::Http(reply(200, "text/plain", b"ok")), at(1_020));
    assert_eq!(effect, Effect::Completed(json!("ok")));
    assert_eq!((run.http_calls(), run.steps()), (2, 3));
}

#[test]
fn a_call_has_no_more_time_than_what_is_around_it() {
    let tasks = "do: [{a: {do: [{b: {call: http, with: {method: get, endpoint: 'https://api.example.com/x'}}}], \
                 timeout: {after: PT3S}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    let Effect::Http(call) = run.advance(Reply::Start, at(0)) else { panic!() };
    assert_eq!(call.timeout_ms, 3_000);
    let Effect::Faulted(fault) = run.advance(Reply::Http(reply(200, "", b"late")), at(3_000)) else {
        panic!()
    };
    assert_eq!(fault.kind, FaultKind::Timeout);
}

type Answer = Result<HttpReply, HttpFailure>;

fn reply(status: u16, kind: &str, body: &[u8]) -> Answer {
    Ok(HttpReply { status, headers: vec![("content-type".to_owned(), kind.to_owned())], body: body.to_vec() })
}

fn begun(with: &str, input: Value) -> (Run, Effect) {
    let tasks = format!("do:\n  - a:\n      call: http\n      with: {{{with}}}\n");
    let mut run = start(&parse(&document(&tasks)), input, LIMITS);
    let effect = run.advance(Reply::Start, at(0));
    (run, effect)
}

fn calling(with: &str, input: Value) -> (Run, HttpCall) {
    match begun(with, input) {
        (run, Effect::Http(call)) => (run, call),
        (_, other) => panic!("{other:?}"),
    }
}

fn refused(with: &str, input: Value) -> RunFault {
    match begun(with, input) {
        (run, Effect::Faulted(fault)) if run.http_calls() == 0 => fault,
        (_, other) => panic!("{other:?}"),
    }
}

fn answered(with: &str, answer: Answer) -> Result<Value, RunFault> {
    let (mut run, _) =
        calling(&format!("method: get, endpoint: 'https://api.example.com/x'{with}"), Value::Null);
    match run.advance(Reply::Http(answer), at(1)) {
        Effect::Completed(value) => Ok(value),
        Effect::Faulted(fault) => Err(fault),
        other => panic!("{other:?}"),
    }
}
