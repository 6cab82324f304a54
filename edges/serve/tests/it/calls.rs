//! What a call answers, and what a caller is told when it does not.

use crate::site::{Site, loopback};
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serve::client::{AddressRule, LookUp, NoAddress};
use serve::tls::{self, ClientAuth};
use serve::{CallError, Client, ClientError, ClientOptions, Problem};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use terms::Token;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_call_carries_its_token_and_body_and_brings_back_what_it_asked_for() {
    let (site, served) = site().await;
    let token = Token::mint("operator", &[3; 32]);
    let echoed: (String, Vec<u8>) = site
        .client()
        .json(Method::POST, &served.url("/echo"), Some(&token), Some(&[1, 2]), 1_000)
        .await
        .unwrap();
    assert_eq!(echoed, (format!("Bearer {}", token.expose()), b"[1,2]".to_vec()));
    site.client().json::<()>(Method::GET, &served.url("/nothing"), None, None::<&()>, 0).await.unwrap();
}

#[tokio::test]
async fn a_problem_comes_out_whole() {
    let (site, served) = site().await;
    let error = get_json(&site.client(), &served.url("/problem"), 1_000).await.unwrap_err();
    let CallError::Problem(problem, status) = error else { panic!("{error}") };
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(*problem, api::Problem::new(api::Code::TenantSuspended).detail("tenant `demo`"));
}

#[tokio::test]
async fn an_answer_of_another_shape_or_size_is_refused() {
    let (site, served) = site().await;
    let client = site.client();
    let large = get_json(&client, &served.url("/large"), 99).await;
    assert!(matches!(large, Err(CallError::TooLarge(99))), "{large:?}");
    for path in ["/html", "/absent"] {
        let answer = get_json(&client, &served.url(path), 10_000).await;
        assert!(matches!(answer, Err(CallError::Malformed { .. })), "{path}: {answer:?}");
    }
    let broken = get_json(&client, &served.url("/broken"), 10_000).await;
    assert!(matches!(broken, Err(CallError::Unreachable(ClientError::Broken(_)))), "{broken:?}");
}

#[tokio::test]
async fn only_https_is_called() {
    let client = Site::new().client();
    for url in ["http://localhost:1/", "/path", "ftp://localhost/", "https:///"] {
        let answer = get_json(&client, url, 10).await;
        let refused = matches!(
            answer,
            Err(CallError::Unreachable(ClientError::NotHttps(_) | ClientError::Broken(_))
                | CallError::Request(_))
        );
        assert!(refused, "{url}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_at_an_address_is_said_and_safe_to_retry() {
    let unused = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    let answer = get_json(&Site::new().client(), &format!("https://{unused}/"), 10).await;
    let Err(CallError::Unreachable(error)) = answer else { panic!("{answer:?}") };
    assert!(error.never_sent(), "{error}");
    assert!(error.to_string().starts_with(&format!("`{unused}` cannot be reached")), "{error}");
}

#[tokio::test]
async fn an_address_rule_holds_for_names_and_for_addresses_in_urls() {
    let (site, served) = site().await;
    let config = tls::client_config(&site.roots(), None).unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let rule = Arc::clone(&open);
    let client = Client::with_address_rule(
        config,
        ClientOptions::default(),
        Arc::new(move |host, addr| {
            assert!(["localhost", "127.0.0.1"].contains(&host), "{host}");
            assert!(addr.ip().is_loopback());
            rule.load(Ordering::SeqCst)
        }),
    );
    let by_address = format!("https://127.0.0.1:{}/nothing", served.addr.port());
    for url in [served.url("/nothing"), by_address] {
        let refused = client.send(request(&url)).await.unwrap_err();
        assert!(matches!(refused, ClientError::AddressRefused { .. }) && refused.never_sent(), "{refused}");
        open.store(true, Ordering::SeqCst);
        client.send(request(&url)).await.unwrap();
        open.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn where_names_are_asked_for_elsewhere_the_rule_holds_for_the_answer_and_for_addresses_in_urls() {
    let (site, served) = site().await;
    let config = tls::client_config(&site.roots(), None).unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let names = Arc::clone(&asked);
    let look_up: LookUp = Arc::new(move |name| {
        names.lock().unwrap().push(name.clone());
        let found = match name.as_str() {
            "localhost" => Ok(vec!["127.0.0.1".parse().unwrap()]),
            "mixed.example" => Ok(vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]),
            "none.example" => Ok(vec![]),
            "forbidden.example" => Err(NoAddress::Refused),
            _ => Err(NoAddress::Unknown("nobody knows it".to_owned())),
        };
        Box::pin(async move { found })
    });
    let rule: AddressRule = Arc::new(|_, addr| addr.ip() == Ipv4Addr::LOCALHOST);
    let client = Client::with_names(config, ClientOptions::default(), look_up, rule);
    let ask = async |host: &str| {
        let url = format!("https://{host}:{}/nothing", served.addr.port());
        client.send(request(&url)).await
    };
    for host in ["LOCALHOST", "127.0.0.1"] {
        ask(host).await.unwrap();
    }
    let refused = ask("mixed.example").await.unwrap_err();
    assert!(matches!(refused, ClientError::AddressRefused { .. }) && refused.never_sent(), "{refused}");
    let refused = ask("127.0.0.2").await.unwrap_err();
    assert!(matches!(refused, ClientError::AddressRefused { .. }), "{refused}");
    let refused = ask("forbidden.example").await.unwrap_err();
    assert!(matches!(refused, ClientError::NameRefused(_)) && refused.never_sent(), "{refused}");
    for host in ["none.example", "unknown.example"] {
        let unknown = ask(host).await.unwrap_err();
        assert!(matches!(unknown, ClientError::Unreachable { .. }) && unknown.never_sent(), "{unknown}");
    }
    let names = ["localhost", "mixed.example", "forbidden.example", "none.example", "unknown.example"];
    assert_eq!(*asked.lock().unwrap(), names, "addresses are no names");
}

#[tokio::test]
async fn a_flood_of_headers_or_body_is_refused_with_its_code() {
    let (site, served) = site().await;
    let flood = "x".repeat(1_000_000);
    let request = Request::get(served.url("/nothing")).header("x", flood).body(Full::default());
    let response = site.client().send(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let body = Full::from(vec![b'x'; 5_000_000]);
    let request = Request::post(served.url("/echo")).header("authorization", "x").body(body);
    let response = site.client().send(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (site, served) = site().await;
    let response = site.client().send(request(&served.url("/elsewhere"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_after_the_request_is_not_waited_for() {
    // One that accepts and then says nothing stands for any that hangs before the handshake is done.
    let socket = TcpListener::bind(loopback()).await.unwrap();
    let url = format!("https://{}/", socket.local_addr().unwrap());
    let error = Site::new().client().send(request(&url)).await.unwrap_err();
    assert!(matches!(error, ClientError::ConnectTimeout(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_open_whether_the_request_had_its_effect() {
    let (site, served) = site().await;
    let options = ClientOptions { request_timeout_ms: 1, ..ClientOptions::default() };
    let client = Client::new(tls::client_config(&site.roots(), None).unwrap(), options);
    let error = client.send(request(&served.url("/never"))).await.unwrap_err();
    assert!(error == ClientError::Timeout && !error.never_sent(), "{error}");
}

async fn site() -> (Site, crate::site::Served) {
    let site = Site::new();
    let served = site.serve(&ClientAuth::None, router()).await;
    (site, served)
}

fn router() -> Router {
    let echo = |headers: HeaderMap, body: Bytes| async move {
        let token = headers["authorization"].to_str().unwrap().to_owned();
        Json((token, body.to_vec()))
    };
    let problem = || async { Problem::new(api::Code::TenantSuspended, "tenant `demo`") };
    let broken = || async {
        let pieces = [Ok::<_, std::io::Error>("[1,"), Err(std::io::ErrorKind::Other.into())];
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    let large = || async {
        let pieces = std::iter::repeat_n(Ok::<_, Infallible>("0123456789"), 10);
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    Router::new()
        .route("/echo", post(echo))
        .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
        .route("/problem", get(problem))
        .route("/html", get(|| async { "<html>" }))
        .route("/broken", get(broken))
        .route("/large", get(large))
        .route("/never", get(std::future::pending::<()>))
        .route("/elsewhere", get(|| async { axum::response::Redirect::to("http://192.0.2.1/") }))
}

async fn get_json(client: &Client, url: &str, max: usize) -> Result<Vec<u8>, CallError> {
    client.json(Method::GET, url, None, None::<&()>, max).await
}

fn request(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}
