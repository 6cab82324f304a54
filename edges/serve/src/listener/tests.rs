//! Every phase of a connection has its deadline. The clock is paused: nothing here waits for real.

use super::connection::Connection;
use super::{ListenerLimits, Peer};
use crate::ca::{Authority, Subject, Use};
use crate::metrics::ListenerMetrics;
use crate::tls::{ClientAuth, Identity, Roots, client_config, server_config};
use axum::body::Body;
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use terms::{SpiffeId, Timestamp, Workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Stream = TlsStream<DuplexStream>;

/// A second more than any deadline is rounded by.
const SLACK_MS: u64 = 1_000;

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_shake_hands_is_let_go() {
    let site = Site::new();
    let (mut silent, server) = duplex(1_024);
    let serving = site.run(server);
    let began = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_after(began, LIMITS.handshake_ms);
    serving.await.unwrap();
    assert_eq!(site.metrics.handshakes_failed("timeout"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_request_is_let_go() {
    let site = Site::new();
    let mut stream = site.connect().await;
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert_after(began, LIMITS.header_ms);
    assert_eq!(site.metrics.closed("no_request"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_drips_its_headers_is_let_go() {
    let site = Site::new();
    let mut stream = site.connect().await;
    let began = Instant::now();
    for part in ["GET / HTTP/1.1\r\n", "host: a\r\n", "x: "] {
        send(&mut stream, part.as_bytes()).await;
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(rest(&mut stream).await, "");
    assert_after(began, LIMITS.header_ms);
}

#[tokio::test(start_paused = true)]
async fn a_later_request_has_its_header_time_from_its_first_byte_on() {
    let site = Site::new();
    let mut stream = site.connect().await;
    ask(&mut stream, "/").await;
    sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    send(&mut stream, b"GET / HT").await;
    assert_eq!(rest(&mut stream).await, "");
    assert_after(began, LIMITS.header_ms);
    assert_eq!(site.metrics.closed("slow_header"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_its_time_and_each_request_renews_it() {
    let site = Site::new();
    let mut stream = site.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_millis(LIMITS.idle_ms - SLACK_MS)).await;
    }
    ask(&mut stream, "/").await;
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert_after(began, LIMITS.idle_ms);
    assert_eq!(site.metrics.closed("idle"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_answered_with_a_problem_and_the_connection_ends() {
    let site = Site::new();
    let mut stream = site.connect().await;
    let began = Instant::now();
    send(&mut stream, b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nfew").await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_too_slow"), "{answer}");
    assert_after(began, LIMITS.body_gap_ms);
    assert_eq!(site.metrics.closed("slow_body"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_below_the_rate_is_cut_though_it_never_stops() {
    let site = Site::new();
    let stream = site.connect().await;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        writing.write_all(b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        while writing.write_all(b"x").await.is_ok() && writing.flush().await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = reading.read_to_end(&mut answer).await;
    dripping.abort();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert_after(began, LIMITS.body_gap_ms);
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_body_is_read_to_its_end() {
    let site = Site::new();
    let mut stream = site.connect().await;
    send(&mut stream, b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 61440\r\n\r\n").await;
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        send(&mut stream, &[b'x'; 1_024]).await;
    }
    assert!(answer(&mut stream).await.ends_with("61440"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_and_its_answer_may_take_their_time() {
    let site = Site::new();
    let mut stream = site.connect().await;
    assert!(ask(&mut stream, "/slow").await.starts_with("HTTP/1.1 200"));
    assert!(ask(&mut stream, "/slow-stream").await.contains("late"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_its_answer_is_let_go() {
    let site = Site::new();
    let mut stream = site.connect().await;
    let began = Instant::now();
    send(&mut stream, b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    site.closes("slow_reader").await;
    // Pieces move on into buffers for as long as there is room, each taken at a look of the watchdog.
    let looks = Duration::from_millis(3 * LIMITS.header_ms);
    assert!(began.elapsed() <= Duration::from_millis(LIMITS.slow_reader_ms) + looks);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_peers_certificate() {
    let site = Site::new();
    let mut stream = site.connect_for(30_000).await;
    assert!(ask(&mut stream, "/who").await.ends_with("spiffe://palisade.internal/control-plane"));
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(began.elapsed() <= Duration::from_secs(31), "{:?}", began.elapsed());
    assert_eq!(site.metrics.closed("certificate_expired"), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_finish_when_the_listener_stops() {
    let mut site = Site::new();
    let mut stream = site.connect().await;
    send(&mut stream, b"GET /five HTTP/1.1\r\nhost: a\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    site.stop.take();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlasts_the_stop_is_cut() {
    let mut site = Site::new();
    let mut stream = site.connect().await;
    send(&mut stream, b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    site.stop.take();
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert_after(began, LIMITS.drain_ms);
    assert_eq!(site.metrics.closed("not_drained"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_answers_500_and_the_connection_goes_on() {
    let site = Site::new();
    let mut stream = site.connect().await;
    let answer = ask(&mut stream, "/panic").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("internal"), "{answer}");
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    assert_eq!(site.metrics.panics.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn headers_may_hold_a_plan_token_and_floods_of_them_are_refused() {
    let site = Site::new();
    for (name, size, count, status) in
        [("a token", 16 * 1_024, 1, "200"), ("a flood", 16 * 1_024, 5, "431"), ("many", 10, 200, "431")]
    {
        let mut stream = site.connect().await;
        let field = format!("x: {}\r\n", "y".repeat(size));
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", field.repeat(count));
        // A flood is answered before it is all sent, and yet taken: a reset could overtake the answer.
        send(&mut stream, request.as_bytes()).await;
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_is_let_go_and_a_new_one_must_send_a_request() {
    let site = Site::new();
    let (mut send, connection) = site.connect_http2().await;
    let ended = tokio::spawn(connection);
    let response = send.send_request(Request::get("https://a/").body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    let began = Instant::now();
    let _closed = ended.await.unwrap();
    assert_after(began, LIMITS.idle_ms);

    let (_send, connection) = site.connect_http2().await;
    let began = Instant::now();
    let _closed = connection.await;
    assert_after(began, LIMITS.header_ms);
    assert_eq!((site.metrics.closed("idle"), site.metrics.closed("no_request")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_http2_peer_that_does_not_take_its_answer_is_let_go() {
    let site = Site::new();
    let (mut send, connection) = site.connect_http2().await;
    let ended = tokio::spawn(connection);
    let request = Request::get("https://a/endless").body(Empty::new()).unwrap();
    // The body is held and never read: its window fills, while pings are still answered.
    let _held = send.send_request(request).await.unwrap();
    let _closed = ended.await.unwrap();
    assert_eq!(site.metrics.closed("slow_reader"), 1);
}

const LIMITS: ListenerLimits = ListenerLimits {
    handshake_ms: 10_000,
    header_ms: 10_000,
    idle_ms: 75_000,
    body_gap_ms: 10_000,
    body_min_bytes_per_s: 1_024,
    slow_reader_ms: 60_000,
    drain_ms: 10_000,
    max_connections: 10,
    max_connections_per_client: 10,
    max_header_bytes: 64 * 1_024,
    max_streams: 10,
};

struct Site {
    authority: Authority,
    spiffe: SpiffeId,
    connection: Connection,
    metrics: ListenerMetrics,
    stop: Option<watch::Sender<()>>,
}

impl Site {
    fn new() -> Self {
        let domain: terms::TrustDomain = "palisade.internal".parse().unwrap();
        let authority = Authority::create(now(), &domain, 86_400_000).unwrap();
        let spiffe = SpiffeId::new(domain, Workload::ControlPlane);
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        let server = identity(&authority, &spiffe, Use::Server, 3_600_000);
        let metrics = ListenerMetrics::default();
        let (stop, stopping) = watch::channel(());
        let connection = Connection {
            acceptor: TlsAcceptor::from(server_config(&server, &ClientAuth::Optional(roots)).unwrap()),
            router: router(),
            limits: LIMITS,
            metrics: metrics.clone(),
            stopping,
        };
        Self { authority, spiffe, connection, metrics, stop: Some(stop) }
    }

    fn run(&self, server: DuplexStream) -> tokio::task::JoinHandle<()> {
        let connection = self.connection.clone();
        tokio::spawn(connection.run(server, "192.0.2.1:50000".parse().unwrap()))
    }

    async fn connect(&self) -> Stream {
        self.shake_hands(None, b"http/1.1").await
    }

    async fn connect_for(&self, lifetime_ms: i64) -> Stream {
        let identity = identity(&self.authority, &self.spiffe, Use::Client, lifetime_ms);
        self.shake_hands(Some(&identity), b"http/1.1").await
    }

    async fn connect_http2(
        &self,
    ) -> (
        hyper::client::conn::http2::SendRequest<Empty<Bytes>>,
        impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) {
        let stream = self.shake_hands(None, b"h2").await;
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap()
    }

    async fn shake_hands(&self, identity: Option<&Identity>, protocol: &[u8]) -> Stream {
        let roots = Roots::from_pem(self.authority.certificate_pem()).unwrap();
        let mut config = Arc::unwrap_or_clone(client_config(&roots, identity).unwrap());
        config.alpn_protocols = vec![protocol.to_vec()];
        let (client, server) = duplex(16 * 1_024);
        self.run(server);
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, client).await.unwrap()
    }

    async fn closes(&self, reason: &'static str) {
        while self.metrics.closed(reason) == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn router() -> Router {
    let after = |seconds, text: &'static str| async move {
        sleep(Duration::from_secs(seconds)).await;
        text
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/slow", get(move || after(300, "slow")))
        .route("/five", get(move || after(5, "five")))
        .route(
            "/slow-stream",
            get(move || async move {
                let late = stream::once(after(300, "late")).map(Ok::<_, Infallible>);
                Body::from_stream(stream::iter([Ok("early")]).chain(late))
            }),
        )
        .route(
            "/endless",
            get(|| async {
                Body::from_stream(stream::repeat_with(|| {
                    Ok::<_, Infallible>(Bytes::from_static(&[0; 8_192]))
                }))
            }),
        )
        .route("/read", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/who",
            get(|Extension(peer): Extension<Peer>| async move { peer.spiffe.unwrap().to_string() }),
        )
        .route(
            "/panic",
            get(|| async {
                assert!(std::hint::black_box(false), "a handler's mistake");
            }),
        )
}

fn identity(authority: &Authority, spiffe: &SpiffeId, usage: Use, lifetime_ms: i64) -> Identity {
    let names = ["localhost".to_owned()];
    let subject = Subject { spiffe, dns_names: &names, ips: &[], usage, now: now(), lifetime_ms };
    let (certificate, key) = authority.issue_with_key(&subject).unwrap();
    Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap()
}

fn now() -> Timestamp {
    host::clock::now()
}

async fn ask(stream: &mut Stream, path: &str) -> String {
    send(stream, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
    answer(stream).await
}

async fn send(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    // The socket may be full; what TLS holds back goes out with the next write or flush only.
    stream.flush().await.unwrap();
}

/// Reads one answer: its head, and as much body as the head says, or chunks to their end.
async fn answer(stream: &mut Stream) -> String {
    let mut text = String::new();
    let mut piece = [0; 4_096];
    loop {
        // How the peer closes does not matter.
        let read = stream.read(&mut piece).await.unwrap_or(0);
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(read, 0, "cut off: `{text}`");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = match length {
            Some(length) => body.len() >= length.parse().unwrap(),
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole || read == 0 {
            return text;
        }
    }
}

/// Everything until the peer closes; how it closes does not matter.
async fn rest(stream: &mut Stream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_after(began: Instant, ms: u64) {
    let elapsed = began.elapsed();
    let (from, to) = (Duration::from_millis(ms - SLACK_MS), Duration::from_millis(ms + SLACK_MS));
    assert!((from..=to).contains(&elapsed), "after {elapsed:?} instead of {ms} ms");
}
