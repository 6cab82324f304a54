//! Floods from strangers: too often, too many, too large, too slow (NET-7, OPS-3). Each is refused or let go, and
//! everybody else is served.

use crate::contents::{Contents, audit_log};
use crate::openssl::answer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OnceCell;
use trials::{Api, Options, Raw, Site, is_full, wait_until};
use wire::event::{EventKind, SecurityEvent};

/// How long anything may take that has to happen by itself: far longer than a listener's deadlines.
const SOON: Duration = Duration::from_secs(60);

/// Connections that one address may hold open.
const CONNECTIONS_MAX: usize = 256;

/// A site of these trials' own: nobody else writes to its audit log.
static SITE: OnceCell<Site> = OnceCell::const_new();

async fn site() -> &'static Site {
    SITE.get_or_init(async || Site::up(Options::default()).await.unwrap()).await
}

#[tokio::test]
async fn a_flood_of_refused_credentials_is_slowed_counted_and_not_logged_one_by_one() {
    const FLOOD: usize = 300;
    // A site of its own: here everything is counted.
    let site = Site::up(Options::default()).await.unwrap();
    let (api, flooder) = (site.api().unwrap(), site.raw(Ipv4Addr::new(127, 0, 7, 1)).unwrap());
    let before = everything(&api).await;

    let said = pipelined(&flooder, "GET /v1/tenants", "authorization: Bearer guess\r\n", FLOOD).await;

    let statuses = statuses(&said);
    assert!(statuses.keys().eq(&[401, 429]), "{statuses:?}");
    assert!(said.contains("retry-after: ") && said.contains("\"code\":\"rate_limited\""), "{said}");
    // Whoever has a credential is served even from that address, and whoever has none elsewhere is told so.
    let known = Request::get("/v1/tenants").header("authorization", site.bearer().unwrap());
    assert_eq!(flooder.send(known, "").await.unwrap().status, 200);
    let neighbour = site.raw(Ipv4Addr::new(127, 0, 7, 2)).unwrap();
    assert_eq!(neighbour.send(Request::get("/v1/tenants"), "").await.unwrap().status, 401);
    let counted = async || refused_strangers(&api).await.iter().sum::<u64>();
    let all = FLOOD as u64 + 1;
    assert!(wait_until(SOON, async || counted().await == all).await, "{} of {all} counted", counted().await);
    assert!(refused_strangers(&api).await.len() < FLOOD / 10, "a flood of events");
    assert_eq!(everything(&api).await, before);
}

#[tokio::test]
async fn a_flood_on_public_routes_is_slowed_for_its_address_only() {
    let site = site().await;
    let flooder = site.raw(Ipv4Addr::new(127, 0, 7, 3)).unwrap();

    let said = pipelined(&flooder, "GET /.well-known/jwks.json", "", 3_000).await;

    let statuses = statuses(&said);
    assert!(statuses.keys().eq(&[200, 429]), "{statuses:?}");
    assert!(said.contains("retry-after: ") && said.contains("\"code\":\"rate_limited\""));
    assert_is_served(&site.raw(Ipv4Addr::new(127, 0, 7, 4)).unwrap()).await;
    assert!(wait_until(SOON, async || is_served(&flooder).await).await, "it is shut out for ever");
}

#[tokio::test]
async fn one_address_gets_its_share_of_connections_and_no_more() {
    let site = site().await;
    let greedy = site.raw(Ipv4Addr::new(127, 0, 7, 5)).unwrap();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        held.push(greedy.dial().await.unwrap());
    }

    assert!(greedy.connect().await.is_err(), "it got more than its share");

    assert_is_served(&site.raw(Ipv4Addr::new(127, 0, 7, 6)).unwrap()).await;
    drop(held);
    assert!(wait_until(SOON, async || is_served(&greedy).await).await, "its share does not come back");
}

#[tokio::test]
async fn a_peer_that_stalls_is_let_go_wherever_it_does_and_others_are_served_meanwhile() {
    let site = crate::shared::site().await;
    let slow = site.raw(Ipv4Addr::new(127, 0, 7, 7)).unwrap();
    let data_plane =
        Raw::new(&site.data_planes()[0].url, site.ca_file(), Ipv4Addr::new(127, 0, 7, 8)).unwrap();
    let begun_body = format!(
        "POST /v1/tenants HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\
         content-type: application/json\r\ncontent-length: 5000\r\n\r\n{{",
        site.bearer().unwrap()
    );
    let neighbour = site.raw(Ipv4Addr::new(127, 0, 7, 9)).unwrap();

    let (no_handshake, nor_there, no_request, dripped_header, no_body, dripped_body, ()) = tokio::join!(
        let_go(slow.dial().await.unwrap(), "", Then::Silence),
        let_go(data_plane.dial().await.unwrap(), "", Then::Silence),
        let_go(slow.connect().await.unwrap(), "", Then::Silence),
        let_go(slow.connect().await.unwrap(), "GET /livez HTTP/1.1\r\nx: ", Then::Drip),
        let_go(slow.connect().await.unwrap(), &begun_body, Then::Silence),
        let_go(slow.connect().await.unwrap(), &begun_body, Then::Drip),
        assert_is_served(&neighbour),
    );

    for nothing_to_answer in [no_handshake, nor_there, no_request, dripped_header] {
        assert_eq!(nothing_to_answer, "");
    }
    for slow_body in [no_body, dripped_body] {
        let is_told = slow_body.starts_with("HTTP/1.1 408 ") && slow_body.contains("\"request_too_slow\"");
        assert!(is_told, "{slow_body}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_let_go() {
    if !is_full("an idle connection is let go") {
        return;
    }
    let site = crate::shared::site().await;
    let idle = site.raw(Ipv4Addr::new(127, 0, 7, 10)).unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let said = let_go(idle.connect().await.unwrap(), request, Then::Silence).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[tokio::test]
async fn heads_that_are_too_large_or_none_are_refused_before_they_are_understood() {
    let site = site().await;
    let api = site.api().unwrap();
    let before = everything(&api).await;
    let megabyte = "a".repeat(1_000_000);
    let with = |headers: &str| format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let rows = [
        (with(&many), 431),
        (with(&format!("x: {}\r\n", "a".repeat(200_000))), 431),
        (with(&format!("authorization: Bearer {megabyte}\r\n")), 431),
        (with(&format!("palisade-plan-token: {megabyte}\r\n")), 431),
        (format!("GET /{megabyte} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 431),
        (with("no colon\r\n"), 400),
        (with("x y: 1\r\n"), 400),
        (with("content-length: 1\r\ncontent-length: 2\r\n"), 400),
        (with("content-length: -1\r\n"), 400),
        ("\u{16}\u{3}\u{1} this is not HTTP\r\n\r\n".to_owned(), 400),
    ];
    let stranger = site.raw(Ipv4Addr::new(127, 0, 7, 11)).unwrap();
    for (head, status) in rows {
        let said = String::from_utf8(stranger.send_bytes(head.as_bytes()).await.unwrap()).unwrap();
        let what: String = head.chars().take(80).collect();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {said}");
    }
    assert_is_served(&stranger).await;
    assert_eq!(everything(&api).await, before);
}

#[tokio::test]
async fn what_is_no_credential_is_refused_whatever_it_looks_like() {
    let site = site().await;
    let api = site.api().unwrap();
    let before = everything(&api).await;
    let bearer = site.bearer().unwrap();
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let rows = [
        String::new(),
        "authorization:\r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: {bearer}x\r\n"),
        format!("authorization: {}\r\n", &bearer[..bearer.len() - 1]),
        format!("authorization: Basic {}\r\n", &bearer[7..]),
        format!("authorization: {bearer} {bearer}\r\n"),
        format!("authorization: {bearer}\r\nauthorization: Bearer x\r\n"),
        format!("authorization: Bearer {}\r\n", "a".repeat(16_000)),
        format!("authorization: Bearer {}.{}.\r\n", part(r#"{"alg":"none"}"#), part(r#"{"sub":"operator"}"#)),
        "authorization: Bearer \u{ff}\u{fe}\r\n".to_owned(),
        format!("cookie: {bearer}\r\nx-authorization: {bearer}\r\n"),
    ];
    for (number, headers) in rows.into_iter().enumerate() {
        // From an address of its own: a flood of refused credentials would be slowed.
        let stranger = site.raw(Ipv4Addr::new(127, 0, 6, u8::try_from(number + 1).unwrap())).unwrap();
        for ask in ["GET /v1/tenants", "POST /v1/keys/rotate", "GET /v1/audit/entries"] {
            let said = pipelined(&stranger, ask, &headers, 1).await;
            let is_refused = said.starts_with("HTTP/1.1 401 ") && said.contains("\"unauthenticated\"");
            assert!(is_refused, "row {number}, {ask}: {said}");
        }
    }
    assert_eq!(everything(&api).await, before);
}

#[tokio::test]
async fn a_data_plane_takes_no_token_of_a_megabyte_and_goes_on() {
    let site = site().await;
    let (url, sidecar) = (&site.data_planes()[0].url, site.state_of("meter-").unwrap().join("identity.pem"));
    let plan = |token: &str| {
        format!(
            "POST /v1/plans HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             palisade-plan-token: {token}\r\ncontent-length: 2\r\n\r\n{{}}"
        )
    };
    let flood = answer(url, &sidecar, plan(&"a".repeat(1_000_000)).as_bytes());
    assert!(flood.starts_with("HTTP/1.1 431 "), "{flood}");
    let stranger = answer(url, &sidecar, plan("a.b.c").as_bytes());
    assert!(stranger.starts_with("HTTP/1.1 403 ") && stranger.contains("\"forbidden\""), "{stranger}");
}

/// How many refusals of strangers each event stands for.
async fn refused_strangers(api: &Api) -> Vec<u64> {
    let events: Vec<SecurityEvent> = api.all("/v1/events").await.unwrap();
    let is_one = |kind| [EventKind::AuthenticationFailed, EventKind::RateLimited].contains(&kind);
    events.into_iter().filter(|event| is_one(event.kind)).map(|event| event.count).collect()
}

/// What strangers must not be able to change: all that there is, and the log of what happened.
async fn everything(api: &Api) -> (Contents, usize) {
    (Contents::of(api).await, audit_log(api).await.len())
}

async fn is_served(raw: &Raw) -> bool {
    raw.send(Request::get("/livez"), "").await.is_ok_and(|answer| answer.status == 200)
}

async fn assert_is_served(raw: &Raw) {
    assert!(is_served(raw).await);
}

/// Sends the same request many times over one connection, without waiting for answers, and gives all of them.
async fn pipelined(raw: &Raw, ask: &str, headers: &str, times: usize) -> String {
    let one = |last: &str| format!("{ask} HTTP/1.1\r\nhost: localhost\r\n{last}{headers}\r\n");
    let requests = one("").repeat(times - 1) + &one("connection: close\r\n");
    String::from_utf8(raw.send_bytes(requests.as_bytes()).await.unwrap()).unwrap()
}

/// How many answers have each status.
fn statuses(answers: &str) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers.split("HTTP/1.1 ").skip(1) {
        *counts.entry(answer[..3].parse().unwrap()).or_default() += 1;
    }
    counts
}

/// What a peer does after its first words.
#[derive(PartialEq, Eq)]
enum Then {
    Silence,
    /// A byte now and then, for as long as the other side takes it.
    Drip,
}

/// Says something, stalls, and gives what came back until the other side closed.
async fn let_go(stream: impl AsyncRead + AsyncWrite, words: &str, then: Then) -> String {
    let (mut hear, mut say) = tokio::io::split(stream);
    say.write_all(words.as_bytes()).await.unwrap();
    say.flush().await.unwrap();
    let drip = async {
        if then == Then::Drip {
            while say.write_all(b"a").await.is_ok() && say.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut heard = Vec::new();
    tokio::select! {
        // A connection that is reset is let go too.
        _closed_or_reset = hear.read_to_end(&mut heard) => {}
        () = drip => {}
        () = tokio::time::sleep(3 * SOON) => panic!("`{words}` is still waited for"),
    }
    String::from_utf8(heard).unwrap()
}
