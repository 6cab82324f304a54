//! A model of what a host holds: whatever is offered, whenever it crashes, what it holds is signed for it and only
//! ever newer.

use node::config::Place;
use node::desired::{Held, Judgement, Whose, open};
use notary::{KeySet, PlanSigner};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use terms::{NodeId, TenantId, Timestamp};
use wire::jwks::Jwks;
use wire::networks::{HostNetworks, Quota, TenantNetwork};

const NODE: NodeId = NodeId::from_bytes([1; 16]);
const ISSUER: &str = "https://palisade.test";

/// A key of the control plane's, and one that is not.
static KEY: LazyLock<PlanSigner> = LazyLock::new(|| PlanSigner::generate().unwrap().0);
static STRANGER: LazyLock<PlanSigner> = LazyLock::new(|| PlanSigner::generate().unwrap().0);

/// What may happen to a host.
#[derive(Debug, Clone)]
enum Step {
    Offer(Offer),
    Restart,
}

/// A document on its way.
#[derive(Debug, Clone)]
struct Offer {
    version: u64,
    content: Content,
    flaw: Flaw,
    crash: Option<Crash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nobody,
    One,
    Two,
    OneNumberTwice,
    NumberNobodyHas,
    NoConnections,
}

#[derive(Debug, Clone, Copy)]
enum Flaw {
    None,
    OtherNode,
    OtherIssuer,
    /// Signed by a stranger.
    Stranger,
    /// One byte, at this place of all, is another.
    Byte(prop::sample::Index),
}

/// When the host crashes, after it has judged.
#[derive(Debug, Clone, Copy)]
enum Crash {
    BeforeItIsKept,
    BeforeItIsHeld,
}

fn offers() -> impl Strategy<Value = Offer> {
    use Content::{NoConnections, Nobody, NumberNobodyHas, One, OneNumberTwice, Two};
    let content = prop_oneof![
        5 => prop_oneof![Just(Nobody), Just(One), Just(Two)],
        1 => prop_oneof![Just(OneNumberTwice), Just(NumberNobodyHas), Just(NoConnections)],
    ];
    let flaw = prop_oneof![
        6 => Just(Flaw::None),
        2 => prop_oneof![Just(Flaw::OtherNode), Just(Flaw::OtherIssuer), Just(Flaw::Stranger)],
        2 => any::<prop::sample::Index>().prop_map(Flaw::Byte),
    ];
    let crash = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Crash::BeforeItIsKept)),
        1 => Just(Some(Crash::BeforeItIsHeld)),
    ];
    (0..8_u64, content, flaw, crash).prop_map(|(version, content, flaw, crash)| Offer {
        version,
        content,
        flaw,
        crash,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![8 => offers().prop_map(Step::Offer), 1 => Just(Step::Restart)];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn whatever_is_offered_a_host_holds_only_what_was_signed_for_it_and_never_goes_back(steps in steps()) {
        let mut host = Host::default();
        for step in steps {
            match step {
                Step::Offer(offer) => host.offer(&offer),
                Step::Restart => host.restart(),
            }
            host.check();
        }
    }
}

/// The host, and what it should hold.
#[derive(Default)]
struct Host {
    held: Held,
    /// The envelope on disk.
    kept: Option<Vec<u8>>,
    expected: Option<(u64, Content)>,
    highest: u64,
}

impl Host {
    fn offer(&mut self, offer: &Offer) {
        let envelope = envelope(offer);
        let verdict = open(&envelope, &keys()).and_then(|document| self.held.judge(document, &whose()));
        let expected = self.verdict(offer, &envelope);
        match verdict {
            Err(refusal) => {
                assert_eq!(refusal.code(), expected.unwrap_err());
                assert!(!refusal.to_string().is_empty());
            }
            Ok(Judgement::Known) => assert_eq!(expected, Ok(false)),
            Ok(Judgement::Newer(accepted)) => {
                assert_eq!(expected, Ok(true));
                if let Some(Crash::BeforeItIsKept) = offer.crash {
                    return self.restart();
                }
                (self.kept, self.expected) = (Some(envelope), Some((offer.version, offer.content)));
                match offer.crash {
                    Some(_) => self.restart(),
                    None => self.held.take(accepted),
                }
            }
        }
    }

    /// Whether a document is newer or known; or the code under which it is refused.
    fn verdict(&self, offer: &Offer, envelope: &[u8]) -> Result<bool, String> {
        let refused = |code: &str| Err(format!("networks.{code}"));
        match offer.flaw {
            Flaw::None => {}
            Flaw::OtherNode => return refused("other_node"),
            Flaw::OtherIssuer => return refused("other_issuer"),
            Flaw::Stranger => return refused("unknown_key"),
            // Which of the notary's codes depends on the byte.
            Flaw::Byte(_) => return Err(open(envelope, &keys()).unwrap_err().code().to_owned()),
        }
        match self.expected {
            Some((version, content)) if (version, content) == (offer.version, offer.content) => {
                return Ok(false);
            }
            Some((version, _)) if version == offer.version => return refused("two_contents"),
            Some((version, _)) if version > offer.version => return refused("version_back"),
            None if offer.version == 0 => return refused("version_back"),
            Some(_) | None => {}
        }
        match offer.content {
            Content::Nobody | Content::One | Content::Two => Ok(true),
            Content::NumberNobodyHas => refused("number"),
            Content::OneNumberTwice | Content::NoConnections => refused("unsound"),
        }
    }

    fn restart(&mut self) {
        self.held = Held::default();
        let Some(kept) = &self.kept else { return };
        let document = open(kept, &keys()).unwrap();
        let Ok(Judgement::Newer(accepted)) = self.held.judge(document, &whose()) else { panic!() };
        self.held.take(accepted);
    }

    fn check(&mut self) {
        let held = self.held.accepted();
        assert_eq!(held.map(|held| (held.version(), held.tenants().len())), self.expected.map(tenants_of));
        assert!(self.held.version() >= self.highest);
        self.highest = self.held.version();
    }
}

fn tenants_of((version, content): (u64, Content)) -> (u64, usize) {
    (version, document(version, content).tenants.len())
}

fn envelope(offer: &Offer) -> Vec<u8> {
    let mut document = document(offer.version, offer.content);
    match offer.flaw {
        Flaw::OtherNode => document.node = NodeId::from_bytes([2; 16]),
        Flaw::OtherIssuer => document.issuer = "https://elsewhere.test".to_owned(),
        Flaw::None | Flaw::Stranger | Flaw::Byte(_) => {}
    }
    let signer = if let Flaw::Stranger = offer.flaw { &*STRANGER } else { &*KEY };
    let mut envelope = signer.sign_networks(&document).unwrap();
    if let Flaw::Byte(at) = offer.flaw {
        let at = at.index(envelope.len());
        envelope[at] ^= 1;
    }
    envelope
}

fn document(version: u64, content: Content) -> HostNetworks {
    let tenant = |n: u8, number: u8| TenantNetwork {
        tenant: TenantId::from_bytes([n; 16]),
        number,
        live: true,
        quota: Quota {
            connections: if content == Content::NoConnections { 0 } else { 64 },
            ..Quota::default()
        },
    };
    let tenants = match content {
        Content::Nobody => Vec::new(),
        Content::One | Content::NoConnections => vec![tenant(1, 1)],
        Content::Two => vec![tenant(1, 1), tenant(2, 155)],
        Content::OneNumberTwice => vec![tenant(1, 1), tenant(2, 1)],
        Content::NumberNobodyHas => vec![tenant(1, 156)],
    };
    HostNetworks {
        node: NODE,
        issuer: ISSUER.to_owned(),
        version,
        issued_at: Timestamp::EPOCH,
        control_addresses: vec![Ipv4Addr::new(192, 0, 2, 7)],
        data_planes_elsewhere: vec!["192.0.2.8:20001".parse().unwrap()],
        tenants,
    }
}

fn keys() -> KeySet {
    KeySet::from_jwks(&Jwks { keys: vec![KEY.jwk()] }).0
}

fn whose() -> Whose {
    let place = Place::Here { published: None, reach: Vec::new() };
    Whose { node: NODE, issuer: ISSUER.to_owned(), place }
}
