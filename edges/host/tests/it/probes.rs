//! Probes: each way of not getting through is told apart.

use crate::site::{ANSWERED, SILENT, Site, default_route, inside, link, on_stack, wired};
use host::network::probe::{Attempt, Listener, Outcome, Protocol, Verdict, run};
use host::network::{Namespace, Nft};

#[tokio::test]
async fn a_probe_says_how_it_ended() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    let (_tcp, _udp) = (listen(&right, Protocol::Tcp).await, listen(&right, Protocol::Udp).await);
    let rules =
        "table inet t {\n chain i {\n type filter hook input priority 0;\n th dport 81 drop\n }\n }\n";
    inside(&right, |inside| Nft::open(inside).unwrap().run(rules).unwrap());
    let own = "table inet t {\n chain o {\n type filter hook output priority 0;\n th dport 82 drop\n }\n }\n";
    inside(&left, |inside| Nft::open(inside).unwrap().run(own).unwrap());
    let cases = [
        (Protocol::Tcp, "192.0.2.2:80", Verdict::Connected, None),
        (Protocol::Udp, "192.0.2.2:80", Verdict::Connected, None),
        (Protocol::Tcp, "192.0.2.2:83", Verdict::Refused, Some(libc::ECONNREFUSED)),
        (Protocol::Udp, "192.0.2.2:83", Verdict::Refused, Some(libc::ECONNREFUSED)),
        (Protocol::Udp, "192.0.2.2:82", Verdict::Prevented, Some(libc::EPERM)),
        (Protocol::Icmp, "192.0.2.2:0", Verdict::Connected, None),
        (Protocol::Icmp, "203.0.113.1:0", Verdict::Unreachable, Some(libc::ENETUNREACH)),
        (Protocol::Tcp, "203.0.113.1:80", Verdict::Unreachable, Some(libc::ENETUNREACH)),
        (Protocol::Udp, "[2001:db8::1]:80", Verdict::Unreachable, Some(libc::ENETUNREACH)),
    ];
    let attempts: Vec<_> = cases.iter().map(|(protocol, to, ..)| attempt(*protocol, to)).collect();
    let outcomes = run(&left, &attempts, ANSWERED).await.unwrap();
    for ((protocol, to, verdict, errno), outcome) in cases.iter().zip(outcomes) {
        assert_eq!(outcome, Outcome { verdict: *verdict, errno: *errno }, "{protocol:?} {to}");
    }
    let dropped = [Protocol::Tcp, Protocol::Udp].map(|protocol| attempt(protocol, "192.0.2.2:81"));
    for outcome in run(&left, &dropped, SILENT).await.unwrap() {
        assert_eq!(outcome, Outcome { verdict: Verdict::TimedOut, errno: None });
    }
}

#[tokio::test]
async fn many_probes_run_at_once_and_answer_in_order() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    let listener = listen(&right, Protocol::Tcp).await;
    let attempts: Vec<_> = (0..600)
        .map(|n| attempt(Protocol::Tcp, if n % 3 == 0 { "192.0.2.2:80" } else { "192.0.2.2:83" }))
        .collect();
    let outcomes = run(&left, &attempts, ANSWERED).await.unwrap();
    assert_eq!(outcomes.len(), 600);
    for (place, outcome) in outcomes.iter().enumerate() {
        let expected = if place % 3 == 0 { Verdict::Connected } else { Verdict::Refused };
        assert_eq!(outcome.verdict, expected, "{place}");
    }
    assert_eq!(listener.arrivals(), 200);
}

#[tokio::test]
async fn a_probe_comes_from_the_address_it_is_given() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    let _listener = listen(&right, Protocol::Tcp).await;
    on_stack(&left, |stack| stack.add_address(&link("left0"), "192.0.2.66/24".parse().unwrap()).unwrap());
    let rules = "table inet t {\n chain i {\n type filter hook input priority 0;\n ip saddr 192.0.2.66 drop\n }\n }\n";
    inside(&right, |inside| Nft::open(inside).unwrap().run(rules).unwrap());
    let from = |text: &str| Attempt { from: text.parse().ok(), ..attempt(Protocol::Tcp, "192.0.2.2:80") };
    for (attempt, patience, expected) in [
        (from("192.0.2.1"), ANSWERED, Verdict::Connected),
        (from("192.0.2.66"), SILENT, Verdict::TimedOut),
        (from("192.0.2.200"), ANSWERED, Verdict::Failed),
    ] {
        let outcome = run(&left, std::slice::from_ref(&attempt), patience).await.unwrap()[0];
        assert_eq!(outcome.verdict, expected, "{attempt:?}");
    }
}

#[tokio::test]
async fn nothing_reaches_a_place_that_is_not_wired() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    default_route(&left, "left0", "192.0.2.2");
    drop(right);
    // The host, its metadata service and the internet: beyond the end of the wire.
    let places = ["169.254.169.254:80", "10.0.0.1:443", "198.51.100.9:443"];
    let attempts = places.map(|place| attempt(Protocol::Tcp, place));
    for outcome in run(&left, &attempts, SILENT).await.unwrap() {
        assert_ne!(outcome.verdict, Verdict::Connected);
    }
}

fn attempt(protocol: Protocol, to: &str) -> Attempt {
    Attempt { protocol, to: to.parse().unwrap(), from: None }
}

async fn listen(namespace: &Namespace, protocol: Protocol) -> Listener {
    Listener::open(namespace, protocol, "192.0.2.2:80".parse().unwrap()).await.unwrap()
}
