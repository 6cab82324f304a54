//! A small kernel: one packet through a table, as nftables would take it. It knows the statements that our rules
//! are made of, and nothing of what they are for.

use network::ruleset::{Atom, Comparison, Datum, Field, Operand, Rule, Ruleset, Set, Statement, Verdict};
use network::{Route, State};
use std::net::{IpAddr, Ipv4Addr};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// The link of what the router itself sends.
pub(crate) const ITSELF: &str = "itself";

/// A packet, and what conntrack knows of its flow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packet {
    pub(crate) in_link: String,
    pub(crate) ipv6: bool,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    pub(crate) flags: u8,
    pub(crate) icmp: (&'static str, u32),
    pub(crate) state: &'static str,
    pub(crate) mark: u32,
    /// Its own mark; none came with it.
    pub(crate) packet_mark: u32,
    /// Connections that its flow's tenant has open, this one not counted.
    pub(crate) open: u32,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fate {
    pub(crate) passed: bool,
    pub(crate) counted: Vec<String>,
    pub(crate) mark: u32,
    pub(crate) out_link: Option<String>,
    pub(crate) destination: Option<(Ipv4Addr, u16)>,
    pub(crate) masqueraded: bool,
}

impl Packet {
    /// The first packet of a TCP connection.
    pub(crate) fn syn(in_link: &str, source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Self {
        Self {
            in_link: in_link.to_owned(),
            ipv6: false,
            source,
            destination,
            protocol: "tcp",
            port,
            flags: SYN,
            icmp: ("", 0),
            state: "new",
            mark: 0,
            packet_mark: 0,
            open: 0,
        }
    }
}

/// Takes `packet` through the table of a namespace that is in this state.
pub(crate) fn run(table: &Ruleset, state: &State, packet: &Packet) -> Fate {
    let mut walk =
        Walk { table, state, packet: packet.clone(), fate: Fate { mark: packet.mark, ..Fate::default() } };
    let hooks: &[&str] = if packet.in_link == ITSELF {
        &["output", "postrouting"]
    } else if !walk.hook("prerouting") {
        return walk.fate;
    } else if walk.is_local(walk.packet.destination) {
        &["input"]
    } else {
        &["forward", "postrouting"]
    };
    for hook in hooks {
        walk.fate.out_link = if *hook == "input" { None } else { walk.route(walk.packet.destination) };
        if !walk.hook(hook) {
            return walk.fate;
        }
    }
    walk.fate.passed = true;
    walk.fate.destination = Some((walk.packet.destination, walk.packet.port));
    walk.fate
}

struct Walk<'a> {
    table: &'a Ruleset,
    state: &'a State,
    packet: Packet,
    fate: Fate,
}

impl Walk<'_> {
    fn is_local(&self, address: Ipv4Addr) -> bool {
        self.state.addresses.iter().any(|a| a.address.addr() == IpAddr::V4(address))
    }

    /// The link by which the longest matching route leads to `address`.
    fn route(&self, address: Ipv4Addr) -> Option<String> {
        let matching = |route: &&Route| route.destination.contains(&IpAddr::V4(address));
        let longest =
            self.state.routes.iter().filter(matching).max_by_key(|route| route.destination.prefix_len());
        longest.map(|route| route.link.clone())
    }

    /// Whether the packet gets past every chain that hangs there.
    fn hook(&mut self, at: &str) -> bool {
        let table = self.table;
        let mut chains: Vec<_> = table
            .chains
            .values()
            .chain(table.floor.values())
            .filter_map(|chain| chain.hook.as_ref().filter(|hook| hook.at == at).map(|hook| (hook, chain)))
            .collect();
        chains.sort_by_key(|(hook, _)| hook.priority);
        for (hook, chain) in chains {
            // Only the first packet of a flow meets translations.
            if hook.kind == "nat" && self.packet.state != "new" {
                continue;
            }
            let verdict = self.rules(&chain.rules).unwrap_or_else(|| hook.policy.clone());
            if verdict == Verdict::Drop {
                return false;
            }
        }
        true
    }

    /// The verdict of a chain, if it reaches one.
    fn rules(&mut self, rules: &[Rule]) -> Option<Verdict> {
        for rule in rules {
            match self.rule(rule) {
                // `goto` does not come back: a chain that decides nothing leaves it to the policy.
                Some(Verdict::Goto(chain)) => {
                    let rules = &self.table.chains.get(&chain)?.rules;
                    return self.rules(rules);
                }
                Some(verdict) => return Some(verdict),
                None => (),
            }
        }
        None
    }

    fn rule(&mut self, rule: &Rule) -> Option<Verdict> {
        for statement in &rule.0 {
            match statement {
                Statement::Match { fields, comparison, with } => {
                    let key = self.key(fields)?;
                    let equal = match with {
                        Operand::Value(Atom::Address(block)) => {
                            matches!(&key[..], [Atom::Address(address)] if block.contains(address))
                        }
                        Operand::Value(atom) => [atom.clone()] == key[..],
                        Operand::Set(name) => self.holds(self.table.sets.get(name)?, &key),
                    };
                    if equal != (*comparison == Comparison::Is) {
                        return None;
                    }
                }
                Statement::NoWayBack => {
                    if self.route(self.packet.source).as_deref() == Some(&self.packet.in_link) {
                        return None;
                    }
                }
                Statement::ForThisHost if !self.is_local(self.packet.destination) => return None,
                Statement::ForThisHost => (),
                Statement::Translated if self.fate.destination.is_none() => return None,
                Statement::Translated => (),
                Statement::NotBareSyn => {
                    let tested = FIN | SYN | RST | PSH | ACK | URG;
                    if self.packet.protocol != "tcp" || self.packet.flags & tested == SYN {
                        return None;
                    }
                }
                Statement::Dispatch { field, verdicts } => {
                    let [Atom::Word(value)] = &self.key(&[*field])?[..] else { return None };
                    if let Some(verdict) = verdicts.get(value) {
                        return Some(verdict.clone());
                    }
                    return None;
                }
                Statement::SetMark(mark) => self.mark(*mark),
                Statement::SetMarkFrom { field, map } => match self.lookup(&[*field], map)?.as_slice() {
                    [Atom::Number(mark)] => self.mark(*mark),
                    _ => return None,
                },
                Statement::MarkPacket(mark) => self.packet.packet_mark = *mark,
                Statement::Count(counter) => self.count(counter)?,
                Statement::CountFrom { field, map } => match self.lookup(&[*field], map)?.as_slice() {
                    [Atom::Word(counter)] => self.count(counter)?,
                    _ => return None,
                },
                Statement::Translate { fields, map } => match self.lookup(fields, map)?.as_slice() {
                    [Atom::Address(to), Atom::Number(port)] => {
                        self.packet.destination = to.addr();
                        self.packet.port = u16::try_from(*port).unwrap();
                        self.fate.destination = Some((self.packet.destination, self.packet.port));
                        return Some(Verdict::Accept);
                    }
                    _ => return None,
                },
                Statement::Masquerade => {
                    self.fate.masqueraded = true;
                    return Some(Verdict::Accept);
                }
                Statement::Decide(verdict) => return Some(verdict.clone()),
                Statement::Foreign(_) => panic!("not ours: {statement}"),
            }
        }
        None
    }

    fn mark(&mut self, mark: u32) {
        self.packet.mark = mark;
        self.fate.mark = mark;
    }

    fn count(&mut self, counter: &str) -> Option<()> {
        assert!(self.table.counters.contains(counter), "no counter `{counter}`");
        self.fate.counted.push(counter.to_owned());
        Some(())
    }

    /// What the packet says to these fields; nothing if it lacks one.
    fn key(&self, fields: &[Field]) -> Option<Vec<Atom>> {
        let packet = &self.packet;
        let atom = |field: &Field| match field {
            Field::InLink => Some(Atom::word(&packet.in_link)),
            Field::OutLink => self.fate.out_link.as_ref().map(Atom::word),
            Field::Source => (!packet.ipv6).then(|| Atom::address(packet.source)),
            Field::Destination => (!packet.ipv6).then(|| Atom::address(packet.destination)),
            Field::Port => (packet.protocol == "tcp").then(|| Atom::Number(packet.port.into())),
            Field::Family => Some(Atom::word(if packet.ipv6 { "ipv6" } else { "ipv4" })),
            Field::Protocol => Some(Atom::word(packet.protocol)),
            Field::IcmpType => (packet.protocol == "icmp").then(|| Atom::word(packet.icmp.0)),
            Field::IcmpCode => (packet.protocol == "icmp").then_some(Atom::Number(packet.icmp.1)),
            Field::State => Some(Atom::word(packet.state)),
            Field::Mark => Some(Atom::Number(packet.mark)),
            Field::PacketMark => Some(Atom::Number(packet.packet_mark)),
        };
        fields.iter().map(atom).collect()
    }

    fn holds(&self, set: &Set, key: &[Atom]) -> bool {
        match set.elements.get(key) {
            Some(Datum::Cap(max)) => self.packet.open + 1 > *max,
            Some(Datum::Present | Datum::Maps(_)) => true,
            Some(Datum::Foreign(_)) => panic!("foreign"),
            None if set.intervals => {
                let [Atom::Address(address)] = key else { return false };
                set.elements
                    .keys()
                    .any(|block| matches!(&block[..], [Atom::Address(net)] if net.contains(address)))
            }
            None => false,
        }
    }

    fn lookup(&self, fields: &[Field], map: &str) -> Option<Vec<Atom>> {
        match self.table.sets.get(map)?.elements.get(&self.key(fields)?)? {
            Datum::Maps(value) => Some(value.clone()),
            Datum::Present | Datum::Cap(_) | Datum::Foreign(_) => None,
        }
    }
}
