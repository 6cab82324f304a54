//! What may go without anything being seen of it: walls behind walls.

use super::super::{get, set};
use super::bench::Tried;
use network::ruleset::{Ruleset, Weakened};

/// A wall that nothing is seen of for as long as those before it stand.
pub(super) struct Wall {
    /// What [`Ruleset::weakened`] calls its fall.
    pub(super) what: &'static str,
    /// What it calls those of the walls before it.
    pub(super) first: &'static [&'static str],
    /// The kernel's own walls before it: switches, and the value without them.
    pub(super) switches: &'static [(&'static str, &'static str)],
}

// Walls that hide others.
const SPOOFED: &str = "prerouting: without `iifname != \"pup\" iifname . ip saddr != @sources counter name \
                       \"dropped_spoofed\" drop`";
const NO_WAY_BACK: &str =
    "prerouting: without `fib saddr . iif oif missing counter name \"dropped_no_way_back\" drop`";

const TRANSIT: &str = "forward: without `iifname @interfaces counter name \"dropped_transit\" drop`";

/// Linux asks for the way back too, unless it is told not to.
const LINUX_ASKS_BACK: [(&str, &str); 3] = [
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/pup/rp_filter", "0"),
    ("net/ipv4/conf/pt1/rp_filter", "0"),
];

/// The router's.
pub(super) const ROUTER_WALLS: [Wall; 10] = [
    // The last rule drops.
    Wall {
        what: "forward: policy accept",
        first: &["forward: without `counter name \"dropped_invalid\" drop`"],
        switches: &[],
    },
    Wall {
        what: "input: policy accept",
        first: &["input: without `counter name \"dropped_input\" drop`"],
        switches: &[],
    },
    Wall {
        what: "output: policy accept",
        first: &["output: without `counter name \"dropped_output\" drop`"],
        switches: &[],
    },
    // A link that nobody has is spoofed.
    Wall {
        what: "fresh: without `counter name \"dropped_stranger\" drop`",
        first: &[SPOOFED],
        switches: &[],
    },
    Wall {
        what: "fresh: `drop` for `counter name \"dropped_stranger\" drop`",
        first: &[SPOOFED],
        switches: &[],
    },
    Wall {
        what: "fresh: `counter name \"dropped_stranger\" accept` for `counter name \"dropped_stranger\" drop`",
        first: &[SPOOFED],
        switches: &[],
    },
    // By another link, the control plane's address is spoofed, and no way leads back.
    Wall {
        what: "arriving: `ip daddr 10.100.255.1 ip saddr @control_addresses dnat ip to tcp dport map @forwarded` for \
               `iifname \"pup\" ip daddr 10.100.255.1 ip saddr @control_addresses dnat ip to tcp dport map @forwarded`",
        first: &[SPOOFED, NO_WAY_BACK],
        switches: &LINUX_ASKS_BACK,
    },
    // Only what comes from the control plane's addresses is translated.
    Wall {
        what: "from_uplink: `ct status dnat oifname . ip daddr . tcp dport @data_planes ct mark set ip daddr map \
               @tenant_at goto admit` for `ct status dnat ip saddr @control_addresses oifname . ip daddr . tcp dport \
               @data_planes ct mark set ip daddr map @tenant_at goto admit`",
        first: &[
            "arriving: `iifname \"pup\" ip daddr 10.100.255.1 dnat ip to tcp dport map @forwarded` for `iifname \
                  \"pup\" ip daddr 10.100.255.1 ip saddr @control_addresses dnat ip to tcp dport map @forwarded`",
        ],
        switches: &[],
    },
    Wall {
        what: "prerouting: `fib saddr . iif oif missing counter name \"dropped_no_way_back\" accept` for `fib saddr . \
               iif oif missing counter name \"dropped_no_way_back\" drop`",
        first: &[],
        switches: &LINUX_ASKS_BACK,
    },
    // Linux sends nothing to a loopback address by any link, unless it is told to.
    Wall {
        what: "special: without `127.0.0.0/8`",
        first: &[],
        switches: &[("net/ipv4/conf/all/route_localnet", "1")],
    },
];

/// The host's.
pub(super) const HOST_WALLS: [Wall; 4] = [
    // From the router, the control plane's address is spoofed.
    Wall {
        what: "arriving: `fib daddr type local ip saddr @control_addresses dnat ip to tcp dport map @forwarded` for \
               `iifname != \"palisade\" fib daddr type local ip saddr @control_addresses dnat ip to tcp dport map \
               @forwarded`",
        first: &[],
        switches: &[("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/conf/palisade/rp_filter", "0")],
    },
    // The floor stands when the table is gone, and says the same of what only passes through the host.
    Wall {
        what: "forward: `iifname @interfaces counter name \"dropped_transit\" accept` for `iifname @interfaces \
               counter name \"dropped_transit\" drop`",
        first: &["floor forward: without `iifname \"eth0\" oifname != \"palisade\" drop`"],
        switches: &[],
    },
    Wall {
        what: "floor forward: `iifname \"eth0\" oifname != \"palisade\" accept` for `iifname \"eth0\" oifname != \
               \"palisade\" drop`",
        first: &[TRANSIT],
        switches: &[],
    },
    Wall {
        what: "floor forward: without `iifname \"eth0\" oifname != \"palisade\" drop`",
        first: &[TRANSIT],
        switches: &[],
    },
];

impl Wall {
    /// Whether it makes a difference on this host once the walls before it are gone.
    pub(super) async fn is_needed_behind(&self, host: &mut impl Tried) -> bool {
        let mut walls = self.first.iter();
        let mut right = host.right().clone();
        // The floor would hide every other wall.
        if !self.is_about_the_floor() {
            right.floor = Default::default();
        }
        let Some(without) = walls.try_fold(right, |table, what| fallen(&table, what)) else {
            return false;
        };
        let Some(without_both) = fallen(&without, self.what) else { return false };
        let (bench, main) = host.bench();
        let namespace = bench.world.namespace(bench.place).await;
        let before: Vec<String> = self.switches.iter().map(|(path, _)| get(&namespace, path)).collect();
        self.switches.iter().for_each(|(path, value)| set(&namespace, path, value));
        let usual = bench.learn(&without, &main.shots).await;
        bench.load(&without_both).await;
        let done = bench.is_usual(&usual).await;
        for ((path, _), value) in self.switches.iter().zip(before) {
            set(&namespace, path, &value);
        }
        done.is_err()
    }

    fn is_about_the_floor(&self) -> bool {
        self.first.iter().chain([&self.what]).any(|what| what.starts_with("floor "))
    }
}

/// The table with one wall less, if it has that wall.
fn fallen(table: &Ruleset, what: &str) -> Option<Ruleset> {
    table.weakened().into_iter().find(|weak| weak.what == what).map(|Weakened { ruleset, .. }| ruleset)
}
