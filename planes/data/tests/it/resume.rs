//! Resuming: an execution that is cut off after any record goes on from there, and no call is silently made twice.

use crate::rig::{START, Sent, World, copy_dir, document, host, private_dir, until};
use axum::Router;
use axum::extract::State;
use axum::routing::any;
use data::egress::Exception;
use http::{HeaderMap, Method};
use serde_json::json;
use serve::ca::{Authority, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Listener, ListenerLimits};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use terms::{SpiffeId, Workload};
use tokio::sync::Notify;
use wire::outcome::{Reason, Status};

/// What a test server was asked: method, path, idempotency key.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_goes_on_after_a_crash_behind_every_single_record() {
    let (mut world, asked) = world_with_server().await;
    let sent = world.send(&plan(&world, &asked));
    let plane = world.start().await;
    plane.take_sent(&sent).await.unwrap();
    let outcome = plane.outcome_in_time(sent.execution_id, &world.clock).await;
    assert_eq!(outcome.status, Status::Completed);
    let (_, output) = plane.journal.ended(sent.execution_id).await.unwrap();
    plane.journal.close().await;
    let whole = asked.log.lock().unwrap().clone();
    let calls: Vec<_> = whole.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(calls, ["GET /first", "POST /second", "PUT /third"]);

    let ends = frame_ends(world.dir.path());
    let mut fates = Vec::new();
    for end in &ends {
        asked.log.lock().unwrap().clear();
        let fate = resume(&mut world, &asked.log, *end, &sent, &output, &whole).await;
        fates.push(fate);
    }
    // Began; accepted; GET intent, done; POST intent, done; waiting, woke; PUT intent, done; ended and what follows.
    let expected = [
        "unknown",
        "completed 3",
        "completed 3",
        "completed 2",
        "effect_unknown 0",
        "completed 1",
        "completed 1",
        "completed 1",
        "completed 1",
        "completed 0",
    ];
    assert_eq!(fates[..expected.len()], expected);
    assert!(fates[expected.len()..].iter().all(|fate| fate == "ended"), "{fates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_execution_survives_a_crash_before_it_began_and_a_cancelled_one_stays_cancelled() {
    let mut world = World::new();
    let plane = world.start().await;
    let sent = world.send(&world.plan(document(json!([{"pause": {"wait": {"minutes": 10}}}]))));
    plane.take_sent(&sent).await.unwrap();
    let (copy, other) = (world.crash(), {
        plane.runtime.cancel(sent.execution_id).await.unwrap();
        world.crash()
    });

    world.forget_heard();
    let cancelled = world.start_in(other.path(), true).await;
    assert_eq!(cancelled.outcome(sent.execution_id).await.status, Status::Cancelled);
    world.forget_heard();

    // Its deadline passes while nobody runs it.
    world.clock.advance(600_000);
    let resumed = world.start_in(copy.path(), true).await;
    let outcome = resumed.outcome(sent.execution_id).await;
    assert_eq!((outcome.status, outcome.resumes), (Status::Completed, 1));
    assert_eq!((outcome.accepted_at, outcome.finished_at), (START, START.plus_ms(600_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_whole_and_are_counted() {
    let (world, asked) = world_with_server().await;
    let plane = world.start().await;
    let mut plan = world.plan(document(json!([
        {"ask": {"call": "http", "with": {"method": "get", "endpoint": format!("https://localhost:{}/first", asked.port)}}},
    ])));
    plan.egress = vec![host("localhost")];
    let sent = world.send(&plan);
    plane.take_sent(&sent).await.unwrap();
    let outcome = plane.outcome(sent.execution_id).await;
    assert_eq!((outcome.reason, outcome.http_calls), (Reason::Ok, 1));
    let (_, output) = plane.journal.ended(sent.execution_id).await.unwrap();
    assert_eq!(output, r#"{"path":"/first"}"#);
    let totals = plane.journal.sample().totals;
    assert_eq!(totals.http_calls, 1);
    assert!(totals.egress_bytes > 50 && totals.ingress_bytes > 17, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_memory_limit_and_a_redirect_are_failures() {
    let (world, asked) = world_with_server().await;
    let plane = world.start().await;
    for path in ["large", "redirect"] {
        let endpoint = format!("https://localhost:{}/{path}", asked.port);
        let mut plan = world.plan(document(json!([
            {"ask": {"call": "http", "with": {"method": "get", "endpoint": endpoint}}},
        ])));
        plan.egress = vec![host("localhost")];
        let sent = world.send(&plan);
        plane.take_sent(&sent).await.unwrap();
        assert_eq!(plane.outcome(sent.execution_id).await.reason, Reason::Http, "{path}");
    }
    let paths: Vec<_> = asked.log.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, ["/large", "/redirect"], "the redirect was not followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_comes_to_its_end_before_an_orderly_stop() {
    let (mut world, server) = world_with_server().await;
    let plane = world.start().await;
    let call = |path: &str| json!({"call": "http", "with": {"method": "post", "endpoint": format!("https://localhost:{}/{path}", server.port)}});
    let mut plan = world.plan(document(json!([{"slow": call("slow")}, {"next": call("next")}])));
    plan.egress = vec![host("localhost")];
    let sent = world.send(&plan);
    plane.take_sent(&sent).await.unwrap();
    until(|| (server.log.lock().unwrap().len() == 1).then_some(())).await;
    let release = server.release.clone();
    tokio::join!(plane.runtime.stop(Duration::from_secs(20)), async { release.notify_one() });
    plane.journal.close().await;
    assert_eq!(server.log.lock().unwrap().len(), 1, "no effect begins any more");

    world.forget_heard();
    let plane = world.start_in(world.dir.path(), true).await;
    assert_eq!(plane.outcome(sent.execution_id).await.reason, Reason::Ok);
    let paths: Vec<_> = server.log.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, ["/slow", "/next"]);
}

/// Starts a data plane on what a crash behind `end` would leave, and says what came of the execution.
async fn resume(
    world: &mut World,
    asked: &Asked,
    end: usize,
    sent: &Sent,
    output: &[u8],
    whole: &[(String, String, String)],
) -> String {
    let copy = cut(world.dir.path(), end);
    world.forget_heard();
    let plane = world.start_in(copy.path(), true).await;
    match plane.journal.known(sent.execution_id) {
        None => return "unknown".to_owned(),
        Some(data::journal::Known::Ended) => return "ended".to_owned(),
        Some(data::journal::Known::Live) => {}
    }
    let outcome = plane.outcome_in_time(sent.execution_id, &world.clock).await;
    assert_eq!(outcome.resumes, 1);
    let calls = asked.lock().unwrap().clone();
    for call in &calls {
        assert!(whole.contains(call), "the same call has the same key: {call:?}");
    }
    assert!(whole.ends_with(&calls), "{calls:?}");
    if outcome.status == Status::Completed {
        assert_eq!(plane.journal.ended(sent.execution_id).await.unwrap().1, output);
        return format!("completed {}", calls.len());
    }
    format!("{} {}", outcome.reason.as_str(), calls.len())
}

struct Server {
    port: u16,
    log: Asked,
    /// Lets `/slow` answer.
    release: Arc<Notify>,
}

/// A world whose data planes may call a server on this host.
async fn world_with_server() -> (World, Server) {
    let now = host::clock::now();
    let domain: terms::TrustDomain = "palisade.internal".parse().unwrap();
    let authority = Authority::create(now, &domain, 3_600_000).unwrap();
    let spiffe = SpiffeId::new(domain, Workload::ControlPlane);
    let subject = Subject {
        spiffe: &spiffe,
        dns_names: &["localhost".to_owned()],
        ips: &[],
        usage: Use::Server,
        now,
        lifetime_ms: 3_600_000,
    };
    let (certificate, key) = authority.issue_with_key(&subject).unwrap();
    let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
    let server = tls::server_config(&identity, &ClientAuth::None).unwrap();
    let log = Asked::default();
    let release = Arc::new(Notify::new());
    let router = Router::new().fallback(any(answer)).with_state((log.clone(), release.clone()));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let port = listener.local_addr().port();
    tokio::spawn(listener.serve(server, router, ListenerLimits::default(), std::future::pending()));

    let mut world = World::new();
    let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
    for cidr in ["127.0.0.0/8", "::1/128"] {
        let (host, cidr) = (host("localhost"), cidr.parse().unwrap());
        world.exceptions.push(Exception { host, port, cidr, roots: Some(roots.clone()) });
    }
    (world, Server { port, log, release })
}

async fn answer(
    State((log, release)): State<(Asked, Arc<Notify>)>,
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    log.lock().unwrap().push((method.to_string(), uri.path().to_owned(), key));
    if uri.path() == "/slow" {
        release.notified().await;
    }
    match uri.path() {
        "/large" => vec![b'x'; 2 << 20].into_response(),
        "/redirect" => axum::response::Redirect::temporary("/first").into_response(),
        path => axum::Json(json!({ "path": path })).into_response(),
    }
}

fn plan(world: &World, server: &Server) -> wire::plan::Plan {
    let call = |method: &str, path: &str| json!({"call": "http", "with": {"method": method, "endpoint": format!("https://localhost:{}/{path}", server.port)}});
    let mut plan = world.plan(document(json!([
        {"begin": {"set": {"n": "${ .n }"}}},
        {"first": call("get", "first")},
        {"second": call("post", "second")},
        {"pause": {"wait": {"milliseconds": 5}}},
        {"third": call("put", "third")},
        {"finish": {"set": {"last": "${ .path }"}}},
    ])));
    plan.egress = vec![host("localhost")];
    plan
}

/// The data plane's folder with its only segment cut at `end`.
fn cut(dir: &Path, end: usize) -> TempDir {
    let copy = private_dir();
    copy_dir(dir, copy.path());
    let segment = copy.path().join(SEGMENT);
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..end]).unwrap();
    copy
}

const SEGMENT: &str = "journal/0000000000000001.segment";

/// Where each record of the only segment ends; vouchers are no records.
fn frame_ends(dir: &Path) -> Vec<usize> {
    let bytes = std::fs::read(dir.join(SEGMENT)).unwrap();
    let (mut at, mut ends) = (44, Vec::new());
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        at += 20 + length;
        if length > 0 {
            ends.push(at);
        }
    }
    ends
}
