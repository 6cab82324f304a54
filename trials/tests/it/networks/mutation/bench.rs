//! Holds a table up against another: what comes out where, as whom, and what is counted.

use super::super::by_hand::forget_flows;
use super::super::counters::Counters;
use super::super::probing::{self, Owners, SILENT, can_pass};
use super::super::volley::{End, Ends, Range, Shot};
use super::super::wire::{Load, Packet, SYN};
use super::super::world::{Spot, World};
use super::super::{SOON, set};
use host::network::keeper;
use network::ruleset::{FLOOR_TABLE, Ruleset};
use network::{Expected, Namespace as Place, Origin, Probe, Protocol};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// When a volley is through, at the latest. It takes a few milliseconds; and what is late once is thrown again.
pub(super) const LATE: Duration = Duration::from_millis(300);

/// How often one looks.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// For how long counts must stand still until they are believed.
const STILL: Duration = Duration::from_millis(200);

/// IPv6 speaks of itself: its packets are counted, but never as few as one threw.
const NOISY: &str = "dropped_ipv6";

/// Packets by the name of their counter.
pub(super) type Counts = BTreeMap<String, u64>;

/// What a table does otherwise than it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something came out where nothing should. That is never chance.
    Leak(String),
    /// Something was held back, changed, or counted otherwise.
    Other(String),
}

/// What a table does with a volley.
#[derive(Debug, Clone, Default)]
pub(super) struct Usual {
    pub(super) shots: Vec<Shot>,
    ends: Ends,
    counts: Counts,
}

/// A world in which volleys are thrown, and the place whose table is tried.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) range: Range,
    pub(super) place: Place,
    counters: Counters,
}

/// A host whose tables are tried.
pub(super) trait Tried {
    /// The table that is right.
    fn right(&self) -> &Ruleset;

    /// Where it is tried, and what it does.
    fn bench(&mut self) -> (&mut Bench, &Usual);

    /// Whether `table` does all that the right one does.
    async fn holds(&mut self, table: &Ruleset) -> Result<(), Fault>;
}

impl Bench {
    /// Opens it for the table of the router or of the host.
    pub(super) async fn new(world: World, place: Place) -> Self {
        let range = Range::open(&world).await;
        for spot in world.spots() {
            // Who is not heard says it once: its own repetitions would come in between.
            set(&world.spot(spot).await, "net/ipv4/tcp_synack_retries", "0");
        }
        let counters = Counters::of(&world.namespace(place).await);
        Self { world, range, place, counters }
    }

    /// Loads a table in place of the one that was there. One without a floor takes the floor away.
    pub(super) async fn load(&self, table: &Ruleset) {
        let mut text = table.to_nft();
        if table.floor.is_empty() && self.place == Place::Router {
            text.push_str(&format!("add table {FLOOR_TABLE}\ndelete table {FLOOR_TABLE}\n"));
        }
        self.run(text).await;
        // What an earlier table let through is open still, and this one would have to let it go on.
        for place in [Place::Router, Place::Host] {
            forget_flows(&self.world.namespace(place).await);
        }
    }

    /// Runs a text in the name of the table's owner.
    pub(super) async fn run(&self, text: String) {
        let place = match self.place {
            Place::Router => keeper::Place::Router,
            Place::Host => keeper::Place::Host,
            Place::ControlPlane | Place::Tenant(_) => panic!("{} has no table", self.place),
        };
        self.world.keeper.load(place, text).await.unwrap();
    }

    /// Throws a volley until all of it ends as it should: links that were just switched on are dead for a while, and
    /// neighbours do not know each other.
    pub(super) async fn warm_up(&mut self, shots: &[Shot]) {
        let wanted = Ends::wanted(shots);
        let start = Instant::now();
        loop {
            let first = self.range.throw(shots);
            tokio::time::sleep(SILENT).await;
            let ends = self.range.ends(first, shots.len());
            assert_eq!(ends.leak(&wanted, shots), None);
            let Some(loss) = ends.loss(&wanted, shots) else { return };
            assert!(start.elapsed() < SOON, "{loss}");
        }
    }

    /// Throws a volley through the table that was loaded just now, and says what became of it.
    pub(super) async fn usual(&mut self, shots: Vec<Shot>) -> Usual {
        let first = self.range.throw(&shots);
        let start = Instant::now();
        let mut last = (self.counts(), Instant::now());
        while last.1.elapsed() < STILL {
            let counts = self.counts();
            if counts != last.0 {
                last = (counts, Instant::now());
            }
            assert!(start.elapsed() < SOON, "the counts never stand still");
            tokio::time::sleep(LOOK).await;
        }
        let mut counts = last.0;
        let of_ipv6 = shots.iter().filter(|shot| shot.packet.source.is_ipv6()).count();
        counts.entry(NOISY.to_owned()).and_modify(|count| *count = u64::try_from(of_ipv6).unwrap());
        Usual { ends: self.range.ends(first, shots.len()), shots, counts }
    }

    /// Says what `table` does with a volley, as soon as it does the same twice: whom nobody could reach, routers answer
    /// seconds later.
    pub(super) async fn learn(&mut self, table: &Ruleset, shots: &[Shot]) -> Usual {
        let start = Instant::now();
        loop {
            self.load(table).await;
            let usual = self.usual(shots.to_vec()).await;
            self.load(table).await;
            let Err(fault) = self.is_usual(&usual).await else { return usual };
            assert!(start.elapsed() < SOON, "what is the same always differs: {fault}");
        }
    }

    /// Whether all is as usual once the same volley is thrown through the table that is loaded now.
    pub(super) async fn is_usual(&mut self, usual: &Usual) -> Result<(), Fault> {
        let Usual { shots, ends: wanted, counts: usual } = usual;
        let first = self.range.throw(shots);
        let start = Instant::now();
        loop {
            let counts = self.counts();
            let ends = self.range.ends(first, shots.len());
            if let Some(leak) = ends.leak(wanted, shots) {
                return Err(Fault::Leak(leak));
            }
            let told = |name: &String| format!("{name} counts {}, not {}", counts[name], usual[name]);
            let more = usual.keys().find(|name| *name != NOISY && counts[*name] > usual[*name]);
            if let Some(more) = more.map(told) {
                return Err(Fault::Other(more));
            }
            let less = || usual.keys().find(|name| counts[*name] < usual[*name]).map(told);
            let Some(missing) = ends.loss(wanted, shots).or_else(less) else { return Ok(()) };
            if start.elapsed() > LATE {
                return Err(Fault::Other(missing));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was counted since the table was loaded.
    pub(super) fn counts(&self) -> Counts {
        self.counters.packets()
    }

    /// The matrix as packets; what the kernel itself would not let through is left out.
    pub(super) fn matrix(&self, probes: &[Probe]) -> Vec<Shot> {
        probes.iter().filter(|probe| can_pass(probe)).map(|probe| self.shot(probe)).collect()
    }

    fn shot(&self, probe: &Probe) -> Shot {
        let attempt = probing::attempt(&self.world, probe);
        let load = match probe.protocol {
            Protocol::Tcp => Load::Tcp { port: attempt.to.port(), flags: SYN },
            Protocol::Udp => Load::Udp { port: attempt.to.port() },
            Protocol::Icmp => Load::Echo,
        };
        let packet = Packet { source: attempt.from.unwrap(), destination: attempt.to.ip(), load };
        let end = match probe.expected {
            Expected::Denied => End::Nowhere,
            Expected::Allowed => End::Answered(self.end(probe)),
        };
        let what = format!("{:?} to {} by {:?} {}", probe.from, probe.to, probe.protocol, probe.port);
        Shot::new(what, probing::spot(probe.from), packet, end)
    }

    /// Where a probe comes out that gets through.
    fn end(&self, probe: &Probe) -> Spot {
        let numbers = self.world.desired.tenants().iter().map(|tenant| tenant.number);
        match (probe.from, probe.port) {
            (Origin::Outside(_) | Origin::Host, 443) => Spot::Of(Place::ControlPlane),
            (Origin::Outside(_) | Origin::Host, port) => {
                let number = numbers.into_iter().find(|number| number.forwarded_port() == port).unwrap();
                Spot::Of(Place::Tenant(number))
            }
            _ => Owners::of(&self.world).place(probe.to).map_or(Spot::Internet, Spot::Of),
        }
    }
}

impl Usual {
    /// Sees that this is what should become of the shots.
    pub(super) fn is_right(&self) {
        let wanted = Ends::wanted(&self.shots);
        let faults = (self.ends.leak(&wanted, &self.shots), self.ends.loss(&wanted, &self.shots));
        assert_eq!(faults, (None, None));
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leak(what) | Self::Other(what) => f.write_str(what),
        }
    }
}
