//! Who may connect to whom.

use crate::site::{HOUR_MS, Served, Site, data_plane, loopback, now, spiffe};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::Method;
use serve::ca::Use;
use serve::identity::{ControlPlane, ControlPlaneAt};
use serve::tls::{self, ClientAuth, Identity, TlsError};
use serve::{CallError, Client, ClientError, ClientOptions, ListenerLimits, Peer};
use terms::Workload;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_handler_sees_which_workload_calls_and_until_when() {
    let site = Site::new();
    let served = site.serve(&ClientAuth::Required(site.roots()), router()).await;
    let identity = site.identity(data_plane(), Use::Client);
    let seen: Seen = get_json(&site.client_as(&identity), &served).await.unwrap();
    assert_eq!(seen.0, Some(spiffe(data_plane()).to_string()));
    assert_eq!(seen.1, identity.not_after().map(|at| at.unix_ms()));
    let metrics = served.stop().await;
    assert_eq!(metrics.handshakes_failed("no_certificate"), 0);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_only_where_it_is_optional() {
    let site = Site::new();
    let open = site.serve(&ClientAuth::Optional(site.roots()), router()).await;
    assert_eq!(get_json::<Seen>(&site.client(), &open).await.unwrap(), (None, None));
    let closed = site.serve(&ClientAuth::Required(site.roots()), router()).await;
    assert_not_served(get_json::<Seen>(&site.client(), &closed).await);
    assert_eq!(closed.stop().await.handshakes_failed("no_certificate"), 1);
}

#[tokio::test]
async fn foreign_expired_and_server_certificates_are_no_client_identities() {
    let site = Site::new();
    let long_ago = now().plus_ms(-3 * HOUR_MS);
    let bad = [
        Site::new().identity(data_plane(), Use::Client),
        site.identity_from(long_ago, data_plane(), Use::Client),
        site.identity(data_plane(), Use::Server),
    ];
    for clients in [ClientAuth::Optional(site.roots()), ClientAuth::Required(site.roots())] {
        for identity in &bad {
            let served = site.serve(&clients, router()).await;
            assert_not_served(get_json::<Seen>(&site.client_as(identity), &served).await);
            assert_eq!(served.stop().await.handshakes_failed("bad_certificate"), 1);
        }
    }
}

#[tokio::test]
async fn a_workload_is_known_by_its_spiffe_id_and_not_by_its_name() {
    let site = Site::new();
    let served = site.serve(&ClientAuth::None, router()).await;
    get_json::<Seen>(&site.client_for(Workload::ControlPlane), &served).await.unwrap();
    let error = get_json::<Seen>(&site.client_for(data_plane()), &served).await.unwrap_err();
    let (found, expected) = (spiffe(Workload::ControlPlane), spiffe(data_plane()));
    assert!(error.to_string().contains(&format!("the peer is `{found}`, not `{expected}`")), "{error}");
    assert!(matches!(error, CallError::Unreachable(ClientError::Untrusted { .. })));
}

#[tokio::test]
async fn foreign_expired_and_client_certificates_are_no_server_identities() {
    let site = Site::new();
    let long_ago = now().plus_ms(-3 * HOUR_MS);
    let bad = [
        (Site::new().identity(Workload::ControlPlane, Use::Server), "not trusted"),
        (site.identity_from(long_ago, Workload::ControlPlane, Use::Server), "expired"),
        (site.identity(Workload::ControlPlane, Use::Client), ""),
    ];
    for (identity, why) in bad {
        let served = serve_as(&identity).await;
        for client in [site.client(), site.client_for(Workload::ControlPlane)] {
            let error = get_json::<Seen>(&client, &served).await.unwrap_err();
            let untrusted = matches!(error, CallError::Unreachable(ClientError::Untrusted { .. }));
            assert!(untrusted && error.to_string().contains(why), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_called_by_a_name_it_has_not_is_refused() {
    let site = Site::new();
    let served = serve_as(&site.named("elsewhere.example")).await;
    let by_address = format!("https://127.0.0.1:{}/who", served.addr.port());
    site.client().json::<Seen>(Method::GET, &by_address, None, None::<&()>, 1_000).await.unwrap();
    let refused = get_json::<Seen>(&site.client(), &served).await;
    assert!(matches!(refused, Err(CallError::Unreachable(ClientError::Untrusted { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_reached_at_an_address_still_has_to_prove_the_name_in_the_url() {
    let site = Site::new();
    let served = serve_as(&site.named("elsewhere.invalid")).await;
    let config = tls::client_config(&site.roots(), None).unwrap();
    let client = Client::at_address(config, ClientOptions::default(), served.addr);
    let ask = async |url| client.json::<Seen>(Method::GET, url, None, None::<&()>, 1_000).await;
    // The name stands for nothing, and nobody is at the port that the URL names.
    ask("https://elsewhere.invalid:1/who").await.unwrap();
    for other in ["https://localhost/who", "https://other.invalid/who", "https://127.0.0.2/who"] {
        let refused = ask(other).await;
        let untrusted = matches!(refused, Err(CallError::Unreachable(ClientError::Untrusted { .. })));
        assert!(untrusted, "{other}: {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_reached_at_an_address_is_asked_for_the_host_of_the_url() {
    let site = Site::new();
    let host = |headers: HeaderMap| async move {
        Json(headers.get("host").and_then(|host| host.to_str().ok()).map(ToOwned::to_owned))
    };
    let (identity, router) = (site.named("elsewhere.invalid"), Router::new().route("/host", get(host)));
    let served = Served::start(&identity, &ClientAuth::None, router, ListenerLimits::default()).await;
    let at = ControlPlaneAt::new("https://elsewhere.invalid", site.authority.certificate_pem()).unwrap();
    let control_plane = ControlPlane::anonymous(&at.at_address(served.addr)).unwrap();
    let heard: String = control_plane.get("/host", 1_000).await.unwrap();
    assert_eq!(heard, "elsewhere.invalid");
}

#[tokio::test]
async fn a_replaced_identity_is_shown_from_the_next_handshake_on() {
    let (old, new) = (Site::new(), Site::new());
    let identity = old.identity(Workload::ControlPlane, Use::Server);
    let served = serve_as(&identity).await;
    let kept = old.client();
    get_json::<Seen>(&kept, &served).await.unwrap();

    let (chain, key) = new.pem_from(now(), Workload::ControlPlane, Use::Server);
    let (other_chain, _) = new.pem_from(now(), Workload::ControlPlane, Use::Server);
    assert!(matches!(identity.replace(&other_chain, &key), Err(TlsError::Mismatch)));
    get_json::<Seen>(&old.client(), &served).await.expect("a refused replacement changes nothing");

    identity.replace(&chain, &key).unwrap();
    get_json::<Seen>(&new.client(), &served).await.unwrap();
    get_json::<Seen>(&old.client(), &served).await.unwrap_err();
    get_json::<Seen>(&kept, &served).await.expect("open connections go on");
}

#[tokio::test]
async fn a_client_shows_its_replaced_identity_too() {
    let site = Site::new();
    let served = site.serve(&ClientAuth::Required(site.roots()), router()).await;
    let identity = site.identity_from(now().plus_ms(-3 * HOUR_MS), data_plane(), Use::Client);
    let client = site.client_as(&identity);
    assert_not_served(get_json::<Seen>(&client, &served).await);
    let (chain, key) = site.pem_from(now(), data_plane(), Use::Client);
    identity.replace(&chain, &key).unwrap();
    get_json::<Seen>(&client, &served).await.unwrap();
}

#[tokio::test]
async fn peers_without_tls13_and_without_tls_have_their_own_reasons() {
    // What a server answers that has TLS 1.2 only: an alert, or a hello of that version.
    let alert = [21, 3, 3, 0, 2, 2, 70].to_vec();
    let hello12 = [
        [22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3].as_slice(),
        &[9; 32],
        // No session, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
        &[0, 0xc0, 0x2b, 0],
    ]
    .concat();
    let plain = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    for (answer, expected) in [(alert, "tls12"), (hello12, "tls12"), (plain, "plain")] {
        let port = answer_once(answer).await;
        let authority = format!("localhost:{port}");
        let url = format!("https://{authority}/");
        let error =
            Site::new().client().json::<()>(Method::GET, &url, None, None::<&()>, 10).await.unwrap_err();
        let CallError::Unreachable(error) = error else { panic!("{error}") };
        match expected {
            "tls12" => assert_eq!(error, ClientError::NoTls13(authority)),
            _ => assert_eq!(error, ClientError::NotTls(authority)),
        }
        assert!(error.never_sent());
    }
}

#[tokio::test]
async fn a_client_without_tls13_is_refused_with_the_alert_for_it() {
    let site = Site::new();
    let served = site.serve(&ClientAuth::None, router()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(&tls12_hello()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // A fatal `protocol_version`.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let metrics = served.stop().await;
    assert_eq!((metrics.handshakes_failed("no_tls13"), metrics.handshakes_failed("not_tls")), (1, 1));
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let site = Site::new();
    let identity = site.identity(Workload::ControlPlane, Use::Server);
    let limits = ListenerLimits { max_connections_per_client: 2, ..ListenerLimits::default() };
    let served = Served::start(&identity, &ClientAuth::None, router(), limits).await;
    let held = [site.client(), site.client()];
    for client in &held {
        get_json::<Seen>(client, &served).await.unwrap();
    }
    get_json::<Seen>(&site.client(), &served).await.unwrap_err();
    get_json::<Seen>(&held[0], &served).await.expect("those that are in stay in");
    assert_eq!(served.stop().await.refused("per_client"), 1);
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let site = Site::new();
    let served = site.serve(&ClientAuth::None, router()).await;
    let error = serve::Listener::bind(served.addr).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("`{}` is taken", served.addr)), "{error}");
    let elsewhere = serve::Listener::bind("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
    assert!(elsewhere.to_string().starts_with("cannot listen on `192.0.2.1:0`"), "{elsewhere}");
}

#[test]
fn keys_and_chains_that_cannot_be_used_say_which() {
    let site = Site::new();
    let (chain, key) = site.pem_from(now(), data_plane(), Use::Both);
    assert!(matches!(Identity::from_pem("", &key), Err(TlsError::Chain(_))));
    assert!(matches!(Identity::from_pem(&chain, ""), Err(TlsError::Key(_))));
    assert!(matches!(Identity::from_pem(&chain, &chain), Err(TlsError::Key(_))));
    assert!(matches!(Identity::from_pem(&chain.repeat(6), &key), Err(TlsError::Chain(_))));
    assert!(matches!(serve::tls::Roots::from_pem(""), Err(TlsError::Roots(_))));
    assert!(matches!(serve::tls::Roots::from_pem(&key), Err(TlsError::Roots(_))));
}

type Seen = (Option<String>, Option<i64>);

fn router() -> Router {
    let who = |Extension(peer): Extension<Peer>| async move {
        let seen: Seen = (peer.spiffe.map(|id| id.to_string()), peer.leaf_not_after.map(|at| at.unix_ms()));
        axum::Json(seen)
    };
    Router::new().route("/who", get(who))
}

async fn serve_as(identity: &Identity) -> Served {
    Served::start(identity, &ClientAuth::None, router(), ListenerLimits::default()).await
}

async fn get_json<T: serde::de::DeserializeOwned>(client: &Client, served: &Served) -> Result<T, CallError> {
    client.json(Method::GET, &served.url("/who"), None, None::<&()>, 1_000).await
}

/// The server's refusal may be lost when it closes first; that nothing was served may not.
#[track_caller]
fn assert_not_served(answer: Result<Seen, CallError>) {
    match answer {
        Err(CallError::Unreachable(ClientError::Handshake { .. } | ClientError::Broken(_))) => {}
        other => panic!("{other:?}"),
    }
}

/// A server that answers one client's first bytes with `answer`.
async fn answer_once(answer: Vec<u8>) -> u16 {
    let socket = TcpListener::bind(loopback()).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        // Until the client closes, in whatever way.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    port
}

/// The smallest hello of a client that has TLS 1.2 and no more (RFC 5246, section 7.4.1.2).
fn tls12_hello() -> Vec<u8> {
    let extensions = [
        // Groups: P-256. Signatures: ECDSA with P-256.
        [0, 10, 0, 4, 0, 2, 0, 23].as_slice(),
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 11, 0, 2, 1, 0],
    ]
    .concat();
    let body =
        [[3, 3].as_slice(), &[5; 32], &[0], &[0, 2, 0xc0, 0x2b], &[1, 0], &[0, 22], &extensions].concat();
    let message = [[1, 0, 0, u8::try_from(body.len()).unwrap()].as_slice(), &body].concat();
    [[22, 3, 1, 0, u8::try_from(message.len()).unwrap()].as_slice(), &message].concat()
}
