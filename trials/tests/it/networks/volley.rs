//! Many packets at once, from anywhere to anywhere, and where each of them comes out.
//!
//! A connection takes two ends that wait for each other. A packet takes microseconds: so the whole matrix can be tried
//! again for every table that is not quite the one that it should be.

use super::wire::{self, ICMP, ICMPV6, ODD, Packet, TCP, UDP, Word};
use super::world::{HOST, Spot, World, inside};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

/// Room for what is heard between two looks: a whole volley.
const EAR_BYTES: usize = 16 * 1_024 * 1_024;

/// How many packets go out between two looks.
const BETWEEN_LOOKS: usize = 64;

/// One packet to be thrown.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    pub(super) what: String,
    pub(super) from: Spot,
    pub(super) packet: Packet,
    /// The next hop, where the kernel would not let the packet out to its destination.
    pub(super) by: Option<IpAddr>,
    /// What is to become of it.
    pub(super) end: End,
    /// As whom it is to arrive.
    pub(super) seen_as: IpAddr,
}

impl Shot {
    /// A packet that is thrown as any other. What goes out to the internet takes the host's address, all else keeps
    /// its own.
    pub(super) fn new(what: impl Into<String>, from: Spot, packet: Packet, end: End) -> Self {
        let goes_out = matches!(end, End::At(Spot::Internet) | End::Answered(Spot::Internet));
        let seen_as = if goes_out { HOST.into() } else { packet.source };
        Self { what: what.into(), from, packet, by: None, end, seen_as }
    }

    /// The same, by a next hop of its own.
    pub(super) fn by(self, hop: Ipv4Addr) -> Self {
        Self { by: Some(hop.into()), ..self }
    }

    /// The same, arriving as somebody else.
    pub(super) fn seen_as(self, source: Ipv4Addr) -> Self {
        Self { seen_as: source.into(), ..self }
    }
}

/// Where a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Nowhere,
    /// It arrives there.
    At(Spot),
    /// It arrives there, and an answer comes back.
    Answered(Spot),
}

/// What became of a volley, by the places of its shots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) arrived: BTreeSet<(usize, Spot)>,
    pub(super) answered: BTreeSet<usize>,
    /// As whom each came.
    pub(super) sources: BTreeMap<usize, IpAddr>,
}

/// Sockets in every place of a world that write and hear whole packets.
pub(super) struct Range {
    mouths: BTreeMap<Spot, [OwnedFd; 2]>,
    ears: Vec<Ear>,
    next: u32,
    /// What was heard since the last throw, and who was answered.
    arrived: BTreeMap<(u32, Spot), Heard>,
    answered: BTreeSet<u32>,
}

/// A packet as it arrived, with its IP header, which IPv6 does not show.
struct Heard {
    source: Option<Ipv4Addr>,
    packet: Vec<u8>,
}

struct Ear {
    spot: Spot,
    protocol: u8,
    ipv6: bool,
    socket: OwnedFd,
}

impl Range {
    /// Opens the sockets. It holds the router's namespace, which ends with its keeper once this is dropped.
    pub(super) async fn open(world: &World) -> Self {
        let (arrived, answered) = (BTreeMap::new(), BTreeSet::new());
        let mut range = Self { mouths: BTreeMap::new(), ears: vec![], next: 1, arrived, answered };
        for spot in world.spots() {
            let (mouths, ears) = inside(&world.spot(spot).await, |_| {
                let mouth = |ipv6| socket(ipv6, ipproto::RAW);
                let ear = |(ipv6, protocol): (bool, u8)| {
                    let socket = socket(ipv6, Protocol::from_raw(u32::from(protocol).try_into().unwrap()));
                    sockopt::set_socket_recv_buffer_size_force(&socket, EAR_BYTES).unwrap();
                    Ear { spot, protocol, ipv6, socket }
                };
                let ipv4 = [TCP, UDP, ICMP, ODD].map(|protocol| (false, protocol));
                let ipv6 = [TCP, ICMPV6].map(|protocol| (true, protocol));
                let ears = ipv4.into_iter().chain(ipv6).map(ear);
                ([mouth(false), mouth(true)], ears.collect::<Vec<_>>())
            });
            range.mouths.insert(spot, mouths);
            range.ears.extend(ears);
        }
        range
    }

    /// The number of the next packet, or of a part of a stream.
    pub(super) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Throws them all, and gives the number of the first.
    pub(super) fn throw(&mut self, shots: &[Shot]) -> u32 {
        self.hear();
        self.arrived.clear();
        self.answered.clear();
        let first = self.next;
        for (place, shot) in shots.iter().enumerate() {
            let number = self.number();
            self.send(shot, number);
            if place % BETWEEN_LOOKS == 0 {
                self.hear();
            }
        }
        first
    }

    fn send(&self, shot: &Shot, number: u32) {
        let bytes = shot.packet.bytes(number);
        let [ipv4, ipv6] = &self.mouths[&shot.from];
        let sent = match shot.by.unwrap_or(shot.packet.destination) {
            IpAddr::V4(to) => {
                rustix::net::sendto(ipv4, &bytes, SendFlags::empty(), &SocketAddrV4::new(to, 0))
            }
            IpAddr::V6(to) => {
                rustix::net::sendto(ipv6, &bytes, SendFlags::empty(), &SocketAddrV6::new(to, 0, 0, 0))
            }
        };
        // Its own kernel does not let it out: then it comes out nowhere.
        let kept = [Errno::PERM, Errno::ACCESS, Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ADDRNOTAVAIL];
        assert!(sent.is_ok() || sent.is_err_and(|errno| kept.contains(&errno)), "{}: {sent:?}", shot.what);
    }

    /// What became so far of a volley whose first packet has this number.
    pub(super) fn ends(&mut self, first: u32, count: usize) -> Ends {
        self.hear();
        let place = |number: u32| usize::try_from(number.checked_sub(first)?).ok().filter(|at| *at < count);
        let mut ends = Ends::default();
        for ((number, spot), heard) in &self.arrived {
            let Some(place) = place(*number) else { continue };
            ends.arrived.insert((place, *spot));
            ends.sources.extend(heard.source.map(|source| (place, IpAddr::V4(source))));
        }
        ends.answered.extend(self.answered.iter().filter_map(|number| place(*number)));
        ends
    }

    /// How the packet, or the part of a stream, of this number looked when it arrived there, if it did.
    pub(super) fn arrival(&mut self, number: u32, spot: Spot) -> Option<&[u8]> {
        self.hear();
        self.arrived.get(&(number, spot)).map(|heard| heard.packet.as_slice())
    }

    fn hear(&mut self) {
        let mut packet = [0; 2_048];
        for ear in &self.ears {
            while let Ok((length, _)) = rustix::net::recv(&ear.socket, &mut packet, RecvFlags::empty()) {
                let packet = &packet[..length];
                let header = if ear.ipv6 { 0 } else { usize::from(packet[0] & 0x0f) * 4 };
                match wire::read(ear.protocol, &packet[header..]) {
                    None => (),
                    Some(Word::Answered(number)) => drop(self.answered.insert(number)),
                    Some(Word::Arrived(number)) => {
                        let source = || <[u8; 4]>::try_from(&packet[12..16]).unwrap().into();
                        let heard = Heard { source: (!ear.ipv6).then(source), packet: packet.to_vec() };
                        self.arrived.insert((number, ear.spot), heard);
                    }
                }
            }
        }
    }
}

fn socket(ipv6: bool, protocol: Protocol) -> OwnedFd {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol)).unwrap()
}

impl Ends {
    /// What is to become of these shots.
    pub(super) fn wanted(shots: &[Shot]) -> Self {
        let mut ends = Self::default();
        for (place, shot) in shots.iter().enumerate() {
            let spot = match shot.end {
                End::Nowhere => continue,
                End::At(spot) => spot,
                End::Answered(spot) => {
                    ends.answered.insert(place);
                    spot
                }
            };
            ends.arrived.insert((place, spot));
            ends.sources.insert(place, shot.seen_as);
        }
        ends
    }

    /// The first shot that came out where it should not have.
    pub(super) fn leak(&self, wanted: &Self, shots: &[Shot]) -> Option<String> {
        let (place, spot) = self.arrived.difference(&wanted.arrived).next()?;
        Some(format!("{} arrived at {spot:?}", shots[*place].what))
    }

    /// The first shot that did not come out where or as it should have, or that nobody answered.
    pub(super) fn loss(&self, wanted: &Self, shots: &[Shot]) -> Option<String> {
        let what = |place: &usize| &shots[*place].what;
        if let Some((place, spot)) = wanted.arrived.difference(&self.arrived).next() {
            return Some(format!("{} never arrived at {spot:?}", what(place)));
        }
        if let Some(place) = wanted.answered.difference(&self.answered).next() {
            return Some(format!("{}: no answer", what(place)));
        }
        let other = |(place, source): &(&usize, &IpAddr)| self.sources.get(*place) != Some(*source);
        let (place, source) = wanted.sources.iter().find(other)?;
        Some(format!("{} did not come as {source}", what(place)))
    }
}
