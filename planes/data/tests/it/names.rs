//! What names stand for, by what the control plane answers: well, badly, slowly, or not at all.

use crate::rig::{START, host};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use data::egress::{Egress, Failure, Names, Outgoing};
use data::journal::record::CallUsage;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use host::clock::{self, Clock};
use serve::ca::{Authority, Subject, Use};
use serve::client::NoAddress;
use serve::identity::{ControlPlane, ControlPlaneAt};
use serve::tls::{self, ClientAuth, Identity};
use serve::{Listener, ListenerLimits};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use terms::{ExecutionId, SpiffeId, TrustDomain, Workload};
use workflow::{HttpCall, HttpOutput};

const PUBLIC: [u8; 4] = [93, 184, 216, 34];
const MESSAGE: &str = "application/dns-message";

#[tokio::test]
async fn a_name_is_asked_for_once_while_its_answer_holds() {
    let control = DnsOverHttps::start(|asked| message(&answer(asked, 60, &[PUBLIC]))).await;
    let names = control.names();
    for _ in 0..3 {
        assert_eq!(names.look_up("api.example.com").await, Ok(vec![IpAddr::from(PUBLIC)]));
    }
    assert_eq!(control.asked(), 1);
    control.clock.advance(59_000);
    names.look_up("API.example.com").await.unwrap();
    assert_eq!(control.asked(), 1);
    control.clock.advance(1_000);
    names.look_up("api.example.com").await.unwrap();
    names.look_up("other.example.com").await.unwrap();
    assert_eq!(control.asked(), 3);
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_is_asked_for_each_time() {
    let control = DnsOverHttps::start(|asked| message(&answer(asked, 0, &[PUBLIC]))).await;
    let names = control.names();
    for _ in 0..3 {
        names.look_up("api.example.com").await.unwrap();
    }
    assert_eq!(control.asked(), 3);
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_gives_no_address() {
    let rows: [(&str, Script); 13] = [
        ("no such name", |asked| message(&code(asked, ResponseCode::NXDomain))),
        ("no address", |asked| message(&answer(asked, 60, &[]))),
        ("nobody knows", |asked| message(&code(asked, ResponseCode::ServFail))),
        ("not implemented", |asked| message(&code(asked, ResponseCode::NotImp))),
        ("too fast", |_| StatusCode::TOO_MANY_REQUESTS.into_response()),
        ("overloaded", |_| StatusCode::SERVICE_UNAVAILABLE.into_response()),
        ("another status", |asked| {
            (StatusCode::CREATED, message(&answer(asked, 60, &[PUBLIC]))).into_response()
        }),
        ("another media type", |asked| answer(asked, 60, &[PUBLIC]).to_vec().unwrap().into_response()),
        ("no message", |_| ([("content-type", MESSAGE)], "no message").into_response()),
        ("too large", |_| ([("content-type", MESSAGE)], vec![0; 4_097]).into_response()),
        ("cut off", |asked| changed(asked, |message| message.metadata.truncation = true)),
        ("another id", |asked| changed(asked, |message| message.metadata.id = 7)),
        ("another question", |asked| {
            changed(asked, |message| message.queries[0].name = Name::from_ascii("evil.example.").unwrap())
        }),
    ];
    for (what, script) in rows {
        let control = DnsOverHttps::start(script).await;
        let names = control.names();
        for _ in 0..2 {
            let looked_up = names.look_up("api.example.com").await;
            assert!(matches!(looked_up, Err(NoAddress::Unknown(_))), "{what}: {looked_up:?}");
        }
        assert_eq!(control.asked(), 2, "{what}: what failed is not kept");
    }
}

#[tokio::test]
async fn a_name_that_the_control_plane_refuses_may_not_be_called() {
    let control = DnsOverHttps::start(|asked| message(&code(asked, ResponseCode::Refused))).await;
    assert_eq!(control.names().look_up("db.example.com").await, Err(NoAddress::Refused));
    let (answer, usage) = call(control.names(), "db.example.com").await;
    assert_eq!((answer, usage), (Failure::AddressDenied, CallUsage::default()));
}

#[tokio::test]
async fn what_is_no_hosts_full_name_is_not_even_asked_for() {
    let control = DnsOverHttps::start(|asked| message(&answer(asked, 60, &[PUBLIC]))).await;
    for name in ["localhost", "metadata", "a..b", "*.example.com", "10.0.0.1"] {
        assert_eq!(control.names().look_up(name).await, Err(NoAddress::Refused), "{name}");
    }
    assert_eq!(control.asked(), 0);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_denied_whoever_answers_it() {
    let control = DnsOverHttps::start(|asked| message(&answer(asked, 60, &[PUBLIC, [10, 100, 0, 2]]))).await;
    let (answer, usage) = call(control.names(), "api.example.com").await;
    assert_eq!((answer, usage), (Failure::AddressDenied, CallUsage::default()));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_host_that_cannot_be_reached() {
    let control = DnsOverHttps::start(|asked| message(&code(asked, ResponseCode::NXDomain))).await;
    let (answer, usage) = call(control.names(), "gone.example.com").await;
    assert_eq!((answer, usage), (Failure::Connect, CallUsage::default()));
}

#[tokio::test]
async fn a_control_plane_that_cannot_be_reached_knows_no_name() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let names = DnsOverHttps::start(|_| Response::default())
        .await
        .names_at(&format!("https://localhost:{}", gone.port()));
    assert!(matches!(names.look_up("api.example.com").await, Err(NoAddress::Unknown(_))));
}

type Script = fn(&Message) -> Response;

/// A control plane that answers names, and nothing else.
struct DnsOverHttps {
    url: String,
    authority: Authority,
    clock: Clock,
    asked: Arc<AtomicUsize>,
}

impl DnsOverHttps {
    async fn start(script: Script) -> Self {
        let domain: TrustDomain = "palisade.internal".parse().unwrap();
        let authority = Authority::create(clock::now(), &domain, 3_600_000).unwrap();
        let spiffe = SpiffeId::new(domain, Workload::ControlPlane);
        let subject = Subject {
            spiffe: &spiffe,
            dns_names: &["localhost".to_owned()],
            ips: &[],
            usage: Use::Server,
            now: clock::now(),
            lifetime_ms: 3_600_000,
        };
        let (certificate, key) = authority.issue_with_key(&subject).unwrap();
        let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let router =
            Router::new().route("/dns-query", post(dns_query)).with_state((Arc::clone(&asked), script));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().port());
        let config = tls::server_config(&identity, &ClientAuth::None).unwrap();
        tokio::spawn(listener.serve(config, router, ListenerLimits::default(), std::future::pending()));
        Self { url, authority, clock: Clock::fixed(START), asked }
    }

    fn names(&self) -> Names {
        self.names_at(&self.url)
    }

    fn names_at(&self, url: &str) -> Names {
        let at = ControlPlaneAt::new(url, self.authority.certificate_pem()).unwrap();
        Names::new(Arc::new(ControlPlane::anonymous(&at).unwrap()), self.clock.clone())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn dns_query(
    State((asked, script)): State<(Arc<AtomicUsize>, Script)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(
        (&headers["content-type"], &headers["accept"]),
        (&MESSAGE.parse().unwrap(), &MESSAGE.parse().unwrap())
    );
    script(&Message::from_vec(&body).unwrap())
}

/// Calls a host that the plan lists, and gives why that failed.
async fn call(names: Names, name: &str) -> (Failure, CallUsage) {
    let call = HttpCall {
        method: "GET".to_owned(),
        url: format!("https://{name}/"),
        headers: vec![],
        body: None,
        output: HttpOutput::Content,
        timeout_ms: 10_000,
        step: 1,
        task: "/do/0".to_owned(),
    };
    let allowed = [host(name)];
    let execution_id = ExecutionId::from_bytes([1; 16]);
    let outgoing = Outgoing { call: &call, allowed: &allowed, execution_id, number: 1, answer_max: 1_000 };
    let (answer, usage) = Egress::with_names(names).unwrap().call(&outgoing).await;
    (answer.unwrap_err(), usage)
}

fn answer(asked: &Message, ttl: u32, addresses: &[[u8; 4]]) -> Message {
    let mut message = Message::response(asked.id, asked.op_code);
    message.add_queries(asked.queries.clone());
    let name = &asked.queries[0].name;
    let record =
        |address: &[u8; 4]| Record::from_rdata(name.clone(), ttl, RData::A(A(Ipv4Addr::from(*address))));
    message.add_answers(addresses.iter().map(record));
    message
}

fn code(asked: &Message, code: ResponseCode) -> Message {
    let mut message = answer(asked, 60, &[]);
    message.metadata.response_code = code;
    message
}

fn changed(asked: &Message, change: fn(&mut Message)) -> Response {
    let mut changed = answer(asked, 60, &[PUBLIC]);
    change(&mut changed);
    message(&changed)
}

fn message(message: &Message) -> Response {
    ([("content-type", MESSAGE)], message.to_vec().unwrap()).into_response()
}
