//! What a name stands for, and what becomes of servers that are slow, gone, wrong or hostile.

use crate::server::{Said, Script, Server, a, asked_name, cname, name, refusal, reply};
use hickory_proto::op::{Message, ResponseCode};
use names::{ADDRESSES_MAX, Found, HostName, Outcome};
use resolve::{Resolver, Transport, Unanswered};
use serve::ca::{Authority, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use terms::{SpiffeId, TrustDomain, Workload};

const PUBLIC: [u8; 4] = [93, 184, 216, 34];

#[tokio::test]
async fn a_name_stands_for_its_addresses_through_its_aliases() {
    let server = Server::start(|question| {
        let edge = name("edge.example.net");
        let records = vec![cname(asked_name(question), edge.clone()), a(edge, 30, PUBLIC)];
        Said::Message(Box::new(reply(question, records)))
    })
    .await;
    let found = found(resolver(&[server.addr]).resolve(&host()).await);
    assert_eq!((found.addresses(), found.ttl_s()), ([Ipv4Addr::from(PUBLIC)].as_slice(), 30));
}

#[tokio::test]
async fn an_alias_that_leads_out_of_the_answer_is_asked_for() {
    let server = Server::start(|question| {
        let edge = name("edge.example.net");
        let record = match asked_name(question) {
            asked if asked == edge => a(edge, 30, PUBLIC),
            asked => cname(asked, edge),
        };
        Said::Message(Box::new(reply(question, vec![record])))
    })
    .await;
    let found = found(resolver(&[server.addr]).resolve(&host()).await);
    assert_eq!(found.addresses(), [Ipv4Addr::from(PUBLIC)]);
}

#[tokio::test]
async fn a_name_that_is_not_there_and_one_without_addresses_are_no_errors() {
    let rows: [(Script, Outcome); 2] = [
        (|q| Said::Message(Box::new(refusal(q, ResponseCode::NXDomain))), Outcome::NoSuchName),
        (|q| Said::Message(Box::new(reply(q, vec![]))), Outcome::NoAddress),
    ];
    for (script, outcome) in rows {
        let server = Server::start(script).await;
        assert_eq!(resolver(&[server.addr]).resolve(&host()).await, Ok(outcome));
    }
}

#[tokio::test]
async fn servers_that_answer_badly_are_not_believed() {
    let rows: [(&str, Script, Unanswered); 7] = [
        ("an error", |q| Said::Message(Box::new(refusal(q, ResponseCode::ServFail))), Unanswered::Error),
        ("a refusal", |q| Said::Message(Box::new(refusal(q, ResponseCode::Refused))), Unanswered::Error),
        ("no message", |_| Said::Bytes(vec![0xff; 40]), Unanswered::Timeout),
        ("silence", |_| Said::Nothing, Unanswered::Timeout),
        ("another id", |q| Said::Message(Box::new(with_other_id(q))), Unanswered::Timeout),
        ("a closed door", |_| Said::Close, Unanswered::Unreachable),
        ("half an answer", |q| Said::Message(Box::new(cut_off(q))), Unanswered::Senseless),
    ];
    // All at once: some of them are only known by their time running out.
    let asking = rows.map(|(what, script, expected)| async move {
        let server = Server::start(script).await;
        let answered = resolver(&[server.addr]).resolve(&host()).await;
        assert_eq!(answered, Err(expected), "{what}");
    });
    futures_util::future::join_all(asking).await;
}

#[tokio::test]
async fn aliases_in_a_circle_lead_to_no_address() {
    let server = Server::start(|question| {
        let (here, there) = (asked_name(question), name("b.example"));
        let records = vec![cname(here.clone(), there.clone()), cname(there, here)];
        Said::Message(Box::new(reply(question, records)))
    })
    .await;
    let answered = resolver(&[server.addr]).resolve(&host()).await;
    assert!(matches!(answered, Ok(Outcome::NoAddress) | Err(_)), "{answered:?}");
}

#[tokio::test]
async fn the_answer_to_another_question_says_nothing_of_the_name() {
    let server = Server::start(|question| {
        let mut message = reply(question, vec![a(name("other.example"), 60, PUBLIC)]);
        message.queries[0].name = name("other.example");
        Said::Message(Box::new(message))
    })
    .await;
    let answered = resolver(&[server.addr]).resolve(&host()).await;
    assert!(!matches!(answered, Ok(Outcome::Found(_))), "{answered:?}");
}

#[tokio::test]
async fn a_huge_answer_is_cut_to_what_is_kept() {
    let server = Server::start(|question| {
        let many = (0..2_000_u16).map(|n| {
            let [high, low] = n.to_be_bytes();
            a(asked_name(question), 60, [93, 184, high, low])
        });
        Said::Message(Box::new(reply(question, many.collect())))
    })
    .await;
    let found = found(resolver(&[server.addr]).resolve(&host()).await);
    assert_eq!(found.addresses().len(), ADDRESSES_MAX);
}

#[tokio::test]
async fn a_server_that_is_gone_is_made_up_for_by_another() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = Server::start(|_| Said::Nothing).await;
    let good = Server::start(answering).await;
    for servers in [[gone, good.addr], [silent.addr, good.addr]] {
        found(resolver(&servers).resolve(&host()).await);
    }
    let nobody = resolver(&[gone]).resolve(&host()).await;
    assert_eq!(nobody, Err(Unanswered::Unreachable));
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_is_replaced() {
    let server = Server::start(answering).await;
    let resolver_of_one = resolver(&[server.addr]);
    for _ in 0..5 {
        found(resolver_of_one.resolve(&host()).await);
    }
    assert_eq!((server.asked(), server.connections()), (5, 1), "and nothing is kept here");

    let closing = Server::start(|question| match answering(question) {
        Said::Message(message) => Said::Last(message),
        other => other,
    })
    .await;
    let resolver = resolver(&[closing.addr]);
    for _ in 0..5 {
        found(resolver.resolve(&host()).await);
    }
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let server = Server::start(answering).await;
    let resolver = resolver(&[server.addr]);
    let hosts: Vec<HostName> = (0..200).map(|n| format!("n{n}.example.com").parse().unwrap()).collect();
    let answered = futures_util::future::join_all(hosts.iter().map(|host| resolver.resolve(host))).await;
    for outcome in answered {
        found(outcome);
    }
}

#[tokio::test]
async fn nothing_is_ever_asked_over_udp() {
    // The same port, so that a datagram would be seen.
    let server = Server::start(|_| Said::Close).await;
    let datagrams = UdpSocket::bind(server.addr).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    assert!(resolver(&[server.addr]).resolve(&host()).await.is_err());
    assert!(server.asked() > 0);
    assert_eq!(datagrams.recv(&mut [0; 512]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn names_of_this_host_are_none_of_a_tenants_business() {
    let server = Server::start(answering).await;
    let local: HostName = "db.localhost".parse().unwrap();
    let (outcome, dropped) = resolver(&[server.addr]).resolve(&local).await.unwrap().public();
    assert_eq!((outcome, dropped), (Outcome::Refused, 1));
}

#[tokio::test]
async fn over_tls_a_server_has_to_prove_its_name() {
    let (own, other) = (authority(), authority());
    let server = Server::start_tls(answering, server_config(&own, "dns.example")).await;
    let ask = |authority: &Authority, name: &str| {
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        let config = tls::client_config(&roots, None).unwrap();
        let transport = Transport::Tls { name: name.to_owned().try_into().unwrap(), config };
        let resolver = Resolver::new(&[server.addr], &transport).unwrap();
        async move { resolver.resolve(&host()).await }
    };
    found(ask(&own, "dns.example").await);
    let asked = server.asked();
    for (authority, name) in [(&own, "other.example"), (&other, "dns.example")] {
        let refused = ask(authority, name).await;
        assert_eq!(refused, Err(Unanswered::Unreachable), "{name}");
    }
    assert_eq!(server.asked(), asked, "no name was said to a server that is not the right one");
}

fn host() -> HostName {
    "api.example.com".parse().unwrap()
}

fn resolver(servers: &[SocketAddr]) -> Resolver {
    Resolver::new(servers, &Transport::Tcp).unwrap()
}

fn answering(question: &Message) -> Said {
    Said::Message(Box::new(reply(question, vec![a(asked_name(question), 60, PUBLIC)])))
}

fn with_other_id(question: &Message) -> Message {
    let mut message = reply(question, vec![a(asked_name(question), 60, PUBLIC)]);
    message.metadata.id = message.metadata.id.wrapping_add(1);
    message
}

fn cut_off(question: &Message) -> Message {
    let mut message = reply(question, vec![a(asked_name(question), 60, PUBLIC)]);
    message.metadata.truncation = true;
    message
}

#[track_caller]
fn found(outcome: Result<Outcome, Unanswered>) -> Found {
    match outcome {
        Ok(Outcome::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn authority() -> Authority {
    Authority::create(host::clock::now(), &domain(), 3_600_000).unwrap()
}

fn server_config(authority: &Authority, name: &str) -> std::sync::Arc<rustls::ServerConfig> {
    let spiffe = SpiffeId::new(domain(), Workload::ControlPlane);
    let subject = Subject {
        spiffe: &spiffe,
        dns_names: &[name.to_owned()],
        ips: &[],
        usage: Use::Server,
        now: host::clock::now(),
        lifetime_ms: 3_600_000,
    };
    let (certificate, key) = authority.issue_with_key(&subject).unwrap();
    let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
    let mut config = rustls::ServerConfig::clone(&tls::server_config(&identity, &ClientAuth::None).unwrap());
    config.alpn_protocols = vec![b"dot".to_vec()];
    config.into()
}

fn domain() -> TrustDomain {
    "palisade.internal".parse().unwrap()
}
