//! Probes of one kind as one row: what was tried, and each that came to something else than it should.

use super::decoy::Decoy;
use api::network::ProbeRow;
use api::network::limits::{MISMATCHES_MAX, PROBE_ROWS_MAX};
use host::network::probe::{Outcome, Verdict};
use network::addresses::{
    CONTROL_GATEWAY, CONTROL_PLANE, SHARED_NETWORK, UPLINK_HOST, UPLINK_NETWORK, UPLINK_ROUTER,
};
use network::{Addresses, Control, Desired, Expected, Namespace, NetworkNumber, Origin, Probe, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One probe, and what came of it.
pub(super) struct Tried {
    pub(super) probe: Probe,
    /// Where it really went.
    pub(super) to: SocketAddr,
    pub(super) outcome: Outcome,
}

/// The rows so far.
pub(super) struct Rows {
    public: [Ipv4Addr; 2],
    host: Vec<Ipv4Addr>,
    tenants: Vec<NetworkNumber>,
    rows: BTreeMap<Kind, Row>,
}

/// What the probes of a row have alike.
type Kind = (Control, String, String, Expected, &'static str);

#[derive(Default)]
struct Row {
    tried: u32,
    held: u32,
    mismatches: Vec<String>,
}

impl Rows {
    pub(super) fn new(desired: &Desired, decoy: &Decoy) -> Self {
        Self {
            public: decoy.public(),
            host: desired.uplink().host_addresses.clone(),
            tenants: desired.tenants().iter().map(|tenant| tenant.number).collect(),
            rows: BTreeMap::new(),
        }
    }

    /// Takes note of a probe.
    pub(super) fn add(&mut self, Tried { probe, to, outcome }: Tried) {
        let Probe { from, to: meant, protocol, expected, control, why, port: _ } = probe;
        let kind = (control, origin(from), self.destination(from, meant), expected, why);
        let row = self.rows.entry(kind).or_default();
        row.tried += 1;
        match mismatch(expected, meant, outcome) {
            None => row.held += 1,
            Some(what) => {
                let shown = match protocol {
                    Protocol::Tcp => format!("tcp {to}"),
                    Protocol::Udp => format!("udp {to}"),
                    Protocol::Icmp => format!("icmp {}", to.ip()),
                };
                row.tell(format!("{shown}: {what}"));
            }
        }
    }

    /// Whatever is denied must not arrive, answered or not.
    pub(super) fn nothing_arrived(&mut self, arrived: u64) {
        let why = "nothing that is denied arrives, answered or not";
        let kind =
            (Control::Net3, "every network".to_owned(), "the internet".to_owned(), Expected::Denied, why);
        let row = self.rows.entry(kind).or_default();
        row.tried += 1;
        if arrived == 0 {
            row.held += 1;
        } else {
            row.tell(format!("{arrived} connections or datagrams arrived"));
        }
    }

    /// Whatever is dropped must be counted: silence of another kind proves nothing.
    pub(super) fn silence_was_counted(&mut self, silent: usize, dropped: u64) {
        let why = "whatever gets no answer was dropped by a rule, and counted";
        let kind =
            (Control::Net3, "every network".to_owned(), "everywhere".to_owned(), Expected::Denied, why);
        let row = self.rows.entry(kind).or_default();
        row.tried += 1;
        if dropped >= silent as u64 {
            row.held += 1;
        } else {
            row.tell(format!("{silent} probes got no answer, and {dropped} packets were dropped"));
        }
    }

    /// All of them.
    pub(super) fn finish(self) -> Vec<ProbeRow> {
        let rows = self.rows.into_iter().take(PROBE_ROWS_MAX);
        rows.map(|((control, from, to, expected, why), row)| ProbeRow {
            control: control.to_string(),
            from,
            to,
            allowed: expected == Expected::Allowed,
            why: why.to_owned(),
            tried: row.tried,
            held: row.held,
            mismatches: row.mismatches,
        })
        .collect()
    }

    /// What kind of place an address is, as seen from an origin.
    fn destination(&self, from: Origin, to: IpAddr) -> String {
        let IpAddr::V4(to) = to else { return "IPv6".to_owned() };
        let own = match from {
            Origin::DataPlane(number) | Origin::Sidecar(number) => Some(number),
            Origin::ControlPlane | Origin::Host | Origin::Outside(_) => None,
        };
        let within = |number: &&NetworkNumber| Addresses::of(**number).network.contains(&to);
        let tenant = self.tenants.iter().find(within).copied();
        let kind = match tenant {
            Some(number) if Addresses::of(number).gateway == to => "gateways",
            Some(number) if Some(number) == own => "its own network",
            Some(_) if own.is_some() => "other tenants",
            Some(_) => "tenants",
            None if to == CONTROL_PLANE => "the control plane",
            None if to == CONTROL_GATEWAY => "gateways",
            None if [UPLINK_ROUTER, UPLINK_HOST].contains(&to) || UPLINK_NETWORK.contains(&to) => {
                "the router"
            }
            None if self.host.contains(&to) => "the host",
            None if SHARED_NETWORK.contains(&to) => "gateways",
            None if self.public.contains(&to) => "the internet",
            None => "addresses that are not public",
        };
        kind.to_owned()
    }
}

impl Row {
    fn tell(&mut self, mismatch: String) {
        if self.mismatches.len() < MISMATCHES_MAX {
            self.mismatches.push(mismatch);
        }
    }
}

fn origin(from: Origin) -> String {
    match from {
        Origin::ControlPlane => "the control plane".to_owned(),
        Origin::DataPlane(number) => format!("{}, data plane", Namespace::Tenant(number)),
        Origin::Sidecar(number) => format!("{}, sidecar", Namespace::Tenant(number)),
        Origin::Host => "the host".to_owned(),
        Origin::Outside(_) => "the internet".to_owned(),
    }
}

/// What is wrong with an outcome, if anything is. A refusal comes from where the probe led, so it got there.
fn mismatch(expected: Expected, to: IpAddr, outcome: Outcome) -> Option<String> {
    let arrived = matches!(outcome.verdict, Verdict::Connected | Verdict::Refused);
    // No packet of it can even begin: no network of ours has IPv6.
    let never = to.is_ipv6();
    let error = outcome.errno.map(|errno| format!(" (error {errno})")).unwrap_or_default();
    match (expected, outcome.verdict) {
        (Expected::Allowed, _) if arrived => None,
        (Expected::Denied, Verdict::TimedOut) => None,
        (Expected::Denied, Verdict::Unreachable | Verdict::Prevented | Verdict::Failed) if never => None,
        (Expected::Denied, Verdict::Connected) => Some("got through".to_owned()),
        (Expected::Denied, Verdict::Refused) => Some(format!("got there, and was refused{error}")),
        (Expected::Allowed, Verdict::TimedOut) => Some("no answer".to_owned()),
        (_, Verdict::Unreachable) => Some(format!("no way there{error}")),
        (_, Verdict::Prevented) => Some(format!("could not be tried{error}")),
        (_, Verdict::Failed) => Some(format!("failed{error}")),
        (Expected::Allowed, Verdict::Connected | Verdict::Refused) => None,
    }
}
