//! Names without port 53 (NET-3): the control plane answers data planes, and nobody else, over HTTPS (RFC 8484).

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use serve::tls::{self, Identity, Roots};
use serve::{Client, ClientOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;
use trials::{Options, Python, Site, wait_until};
use wire::event::{EventKind, SecurityEvent};

/// How long anything may take that has to happen by itself.
const SOON: Duration = Duration::from_secs(60);

const MESSAGE: &str = "application/dns-message";

/// A site whose control plane asks a name server of ours.
static SITE: OnceCell<Site> = OnceCell::const_new();

#[tokio::test]
async fn a_client_that_others_wrote_is_answered() {
    let site = site().await;
    let asked = [
        ("api.example.com", "A", "post"),
        ("API.Example.COM", "A", "get edns"),
        ("alias.example.com", "A", "get"),
        ("mixed.example.com", "A", "post edns"),
        ("private.example.com", "A", "post"),
        ("metadata", "A", "get"),
        ("gone.example.com", "A", "get"),
        ("empty.example.com", "A", "post"),
        ("broken.example.com", "A", "post"),
        ("api.example.com", "AAAA", "post edns"),
        ("api.example.com", "TXT", "post"),
        ("api.example.com", "HTTPS", "get"),
    ];
    let told = judge(site, &asked);
    let expected = [
        json!(["NOERROR", ["api.example.com. 60 A 93.184.216.34"]]),
        json!(["NOERROR", ["API.Example.COM. 60 A 93.184.216.34"]]),
        json!([
            "NOERROR",
            ["alias.example.com. 300 CNAME edge.example.net.", "edge.example.net. 30 A 93.184.216.35"]
        ]),
        json!(["NOERROR", ["mixed.example.com. 60 A 93.184.216.34"]]),
        json!(["REFUSED", []]),
        json!(["REFUSED", []]),
        json!(["NXDOMAIN", []]),
        json!(["NOERROR", []]),
        json!(["SERVFAIL", []]),
        json!(["NOERROR", []]),
        json!(["NOTIMP", []]),
        json!(["NOTIMP", []]),
    ];
    for ((asked, told), expected) in asked.iter().zip(&told).zip(expected) {
        assert_eq!(*told, expected, "{asked:?}");
    }
    assert_eq!(told.len(), asked.len());
}

#[tokio::test]
async fn data_planes_may_ask_and_nobody_else() {
    let site = site().await;
    let api = site.api().unwrap();
    for (who, status, code) in [
        (Some("data-"), 200, ""),
        (Some("meter-"), 403, "forbidden"),
        (Some("node"), 403, "forbidden"),
        (None, 401, "unauthenticated"),
    ] {
        let caller = caller(site, who.map(|who| identity(site, who)).as_deref());
        for request in [post(site, &question("api.example.com")), get(site, &question("api.example.com"))] {
            let (answered, body) = send(&caller, request).await;
            assert_eq!(answered, status, "{who:?}");
            assert!(status == 200 || problem(&body) == code, "{who:?}");
        }
    }
    let request = Request::post("/").header("content-type", MESSAGE);
    let (status, body) =
        api.raw_as_operator(request, api::names::PATH, question("api.example.com")).await.unwrap();
    assert_eq!((status, problem(&body).as_str()), (403, "forbidden"), "an operator resolves no names");
}

#[tokio::test]
async fn what_is_no_query_is_refused_with_its_reason() {
    let site = site().await;
    let caller = caller(site, Some(&identity(site, "data-")));
    let query = question("api.example.com");
    let url = |rest: &str| format!("{}{}{rest}", site.url(), api::names::PATH);
    let with = |name: &str, value: &str| {
        let mut request = post(site, &query);
        request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.try_into().unwrap());
        request
    };
    let ask = |rest: &str| Request::get(url(rest)).body(Full::default()).unwrap();
    let put = Request::put(url("")).header("content-type", MESSAGE).body(Full::default()).unwrap();
    let answer = {
        let mut message = Message::from_vec(&query).unwrap();
        message.metadata.message_type = hickory_proto::op::MessageType::Response;
        message.to_vec().unwrap()
    };
    let rows = [
        (post(site, b""), 400, "malformed_request"),
        (post(site, b"no DNS message at all"), 400, "malformed_request"),
        (post(site, &query[..20]), 400, "malformed_request"),
        (post(site, &[&query[..], &[0]].concat()), 400, "malformed_request"),
        (post(site, &answer), 400, "malformed_request"),
        (post(site, &[0; 513]), 413, "body_too_large"),
        (post(site, &vec![0; 5 << 20]), 413, "body_too_large"),
        (with("content-type", "application/json"), 415, "unsupported_media_type"),
        (with("content-type", "application/dns-json"), 415, "unsupported_media_type"),
        (with("accept", "application/json"), 406, "not_acceptable"),
        (with("accept", "application/dns-message;q=0"), 406, "not_acceptable"),
        (ask(""), 400, "malformed_request"),
        (ask("?dns="), 400, "malformed_request"),
        (ask("?dns=AAAA!"), 400, "malformed_request"),
        (ask("?dns=AAA="), 400, "malformed_request"),
        (ask("?name=api.example.com"), 400, "malformed_request"),
        (ask(&format!("?dns={}", "A".repeat(700))), 413, "body_too_large"),
        (put, 405, "method_not_allowed"),
    ];
    for (number, (request, status, code)) in rows.into_iter().enumerate() {
        let (answered, body) = send(&caller, request).await;
        assert_eq!((answered, problem(&body).as_str()), (status, code), "row {number}");
    }
}

#[tokio::test]
async fn an_answer_says_how_long_it_may_be_kept() {
    let site = site().await;
    let caller = caller(site, Some(&identity(site, "data-")));
    for (name, max_age) in [
        ("api.example.com", "max-age=60"),
        ("alias.example.com", "max-age=30"),
        ("gone.example.com", "max-age=0"),
    ] {
        let response = caller.send(get(site, &question(name))).await.unwrap();
        assert_eq!(response.headers()["cache-control"], max_age, "{name}");
        assert_eq!(response.headers()["content-type"], MESSAGE, "{name}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_counted_and_told_and_no_name_is_written_down() {
    let site = site().await;
    let api = site.api().unwrap();
    let caller = caller(site, Some(&identity(site, "data-")));
    let told = async || {
        let events: Vec<SecurityEvent> = api.all("/v1/events").await.unwrap();
        let is_it = |event: &&SecurityEvent| {
            event.kind == EventKind::EgressDenied && event.reason == "name.not_public"
        };
        events.iter().filter(is_it).map(|event| event.count).sum::<u64>()
    };
    let before = told().await;
    for name in ["private.example.com", "mixed.example.com"] {
        send(&caller, post(site, &question(name))).await;
    }
    assert!(wait_until(SOON, async || told().await >= before + 2).await, "nobody was told");
    send(&caller, post(site, &question("canary-7431.example.com"))).await;
    send(&caller, post(site, &question("broken.canary-7431.example.com"))).await;
    assert_ne!(
        mentions(site.folder(), b"the control plane serves"),
        Vec::<PathBuf>::new(),
        "no log is searched"
    );
    assert_eq!(mentions(site.folder(), b"canary-7431"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_data_plane_that_asks_too_fast_is_slowed_and_others_are_not() {
    const FLOOD: usize = 2_000;
    let site = site().await;
    let api = site.api().unwrap();
    let flooder = api.create_tenant("flooder").await.unwrap();
    let own = site.state().join(format!("data-{}/identity.pem", flooder.id));
    assert!(wait_until(SOON, async || own.is_file()).await, "{}", site.said());
    let caller = caller(site, Some(&own));
    let query = question("api.example.com");
    let mut refused = 0;
    for _ in 0..FLOOD {
        let response = caller.send(post(site, &query)).await.unwrap();
        match response.status().as_u16() {
            200 => {}
            429 => {
                assert!(response.headers().contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("{other}"),
        }
        caller.read(response, 4_096).await.unwrap();
    }
    assert!(refused > 0, "{FLOOD} questions in a row");
    let neighbour = self::caller(site, Some(&identity(site, "data-")));
    assert_eq!(send(&neighbour, post(site, &query)).await.0, 200);
    let slowed = async || {
        let events: Vec<SecurityEvent> = api.all("/v1/events").await.unwrap();
        events.iter().any(|event| event.kind == EventKind::RateLimited)
    };
    assert!(wait_until(SOON, slowed).await, "nobody was told");
}

async fn site() -> &'static Site {
    SITE.get_or_init(async || {
        let site = Site::up(Options::default()).await.unwrap();
        let config = site.state().join("control/config.toml");
        let mut config = std::fs::File::options().append(true).open(config).unwrap();
        // The control plane's next start reads it.
        write!(config, "\n[names]\nupstreams = [\"{}\"]\n", serve_names()).unwrap();
        site.kill_and_wait_for_another("palisade-control").await.unwrap();
        let api = site.api().unwrap();
        let answers = async || api.get::<serde_json::Value>("/v1/keys").await.is_ok();
        assert!(wait_until(SOON, answers).await, "{}", site.said());
        site
    })
    .await
}

/// What dnspython was told to each question: the code and the records.
fn judge(site: &Site, asked: &[(&str, &str, &str)]) -> Vec<serde_json::Value> {
    let facts = json!({
        "url": format!("{}{}", site.url(), api::names::PATH),
        "ca": site.ca_file(),
        "identity": identity(site, "data-"),
        "asked": asked,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("facts.json");
    std::fs::write(&file, facts.to_string()).unwrap();
    let told = Python::find().unwrap().run("names.py", &[&file.display().to_string()]).unwrap();
    serde_json::from_str(&told).unwrap()
}

/// The identity of the demonstration's data plane, of its sidecar or of the node.
fn identity(site: &Site, whose: &str) -> PathBuf {
    let folder = match whose {
        "node" => site.state().join("node"),
        of_tenant => {
            let demo = site.run(&["tenant", "show", "demo", "-o", "json"]).unwrap();
            let demo: serde_json::Value = serde_json::from_str(&demo).unwrap();
            site.state().join(format!("{of_tenant}{}", demo["id"].as_str().unwrap()))
        }
    };
    folder.join("identity.pem")
}

fn caller(site: &Site, identity: Option<&Path>) -> Client {
    let roots = Roots::from_pem(&std::fs::read_to_string(site.ca_file()).unwrap()).unwrap();
    let identity = identity.map(|path| {
        let pem = std::fs::read_to_string(path).unwrap();
        Identity::from_pem(&pem, &pem).unwrap()
    });
    Client::new(tls::client_config(&roots, identity.as_ref()).unwrap(), ClientOptions::default())
}

fn post(site: &Site, query: &[u8]) -> Request<Full<bytes::Bytes>> {
    let url = format!("{}{}", site.url(), api::names::PATH);
    Request::post(url).header("content-type", MESSAGE).body(Full::new(query.to_vec().into())).unwrap()
}

fn get(site: &Site, query: &[u8]) -> Request<Full<bytes::Bytes>> {
    use base64::Engine as _;
    let query = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(query);
    Request::get(format!("{}{}?dns={query}", site.url(), api::names::PATH)).body(Full::default()).unwrap()
}

async fn send(caller: &Client, request: Request<Full<bytes::Bytes>>) -> (u16, bytes::Bytes) {
    let response = caller.send(request).await.unwrap();
    (response.status().as_u16(), caller.read(response, 64 << 10).await.unwrap())
}

/// The code of a problem.
fn problem(body: &[u8]) -> String {
    serde_json::from_slice::<api::Problem>(body).unwrap().code
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(0, hickory_proto::op::MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    message.add_query(hickory_proto::op::Query::query(name, RecordType::A));
    message.to_vec().unwrap()
}

/// Files below `folder` that hold `text`.
fn mentions(folder: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(mentions(&path, text));
        } else if kind.is_file()
            && memchr::memmem::find(&std::fs::read(&path).unwrap_or_default(), text).is_some()
        {
            found.push(path);
        }
    }
    found
}

/// A name server that answers over TCP from threads of its own, for as long as this process lives.
fn serve_names() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || while answer_one(stream.as_ref().unwrap()).is_ok() {});
        }
    });
    addr
}

/// Answers one question on a connection (RFC 1035 section 4.2.2).
fn answer_one(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    let answer = zone(&Message::from_vec(&bytes).unwrap()).to_vec().unwrap();
    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, &answer[..]].concat())
}

fn zone(asked: &Message) -> Message {
    let mut answer = Message::response(asked.id, asked.op_code);
    answer.metadata.recursion_available = true;
    answer.add_queries(asked.queries.clone());
    let name = asked.queries[0].name.to_lowercase();
    let a = |name: &Name, ttl, address: [u8; 4]| {
        Record::from_rdata(name.clone(), ttl, RData::A(A(Ipv4Addr::from(address))))
    };
    let text = name.to_ascii();
    match text.as_str() {
        "api.example.com." => drop(answer.add_answer(a(&name, 60, [93, 184, 216, 34]))),
        "alias.example.com." => {
            let edge = Name::from_ascii("edge.example.net.").unwrap();
            answer.add_answer(Record::from_rdata(name, 86_400, RData::CNAME(CNAME(edge.clone()))));
            answer.add_answer(a(&edge, 30, [93, 184, 216, 35]));
        }
        "mixed.example.com." => {
            answer.add_answer(a(&name, 60, [10, 101, 0, 10]));
            answer.add_answer(a(&name, 60, [93, 184, 216, 34]));
        }
        "private.example.com." => drop(answer.add_answer(a(&name, 60, [169, 254, 169, 254]))),
        "empty.example.com." => {}
        _ if text.starts_with("broken.") => answer.metadata.response_code = ResponseCode::ServFail,
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}
