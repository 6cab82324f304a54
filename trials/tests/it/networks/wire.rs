//! Packets as they stand on the wire, byte by byte: what no honest program sends too.

use std::net::IpAddr;

/// The flags of TCP (RFC 9293).
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;

/// Protocol numbers (IANA).
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
/// For experiments (RFC 3692): nobody speaks it.
pub(super) const ODD: u8 = 253;

/// What ICMP calls an unreachable destination, and one that needs a smaller packet (RFC 792).
pub(super) const UNREACHABLE: u8 = 3;
pub(super) const FRAGMENTATION_NEEDED: u8 = 4;

/// What the last bytes of each packet of ours begin with; its number follows.
const MAGIC: [u8; 4] = *b"PLSD";

/// How much of a packet an error about it repeats: its header and 8 bytes (RFC 792).
const QUOTED: usize = 28;

/// A packet.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) load: Load,
}

/// What it carries.
#[derive(Debug, Clone)]
pub(super) enum Load {
    /// A segment of TCP to this port, with these flags.
    Tcp { port: u16, flags: u8 },
    /// A datagram to this port.
    Udp { port: u16 },
    /// An echo request.
    Echo,
    /// An error about another packet.
    Error { kind: u8, code: u8, about: Vec<u8> },
    /// Anything else.
    Odd,
}

/// What a packet that was heard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It is ours, of this number.
    Arrived(u32),
    /// It answers the one of ours of this number.
    Answered(u32),
}

/// The last bytes of the packet, or of the part of a stream, of this number.
pub(super) fn trailer(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_be_bytes();
    let [w, x, y, z] = MAGIC;
    [w, x, y, z, a, b, c, d]
}

/// Reads what stands behind the IP header.
pub(super) fn read(protocol: u8, transport: &[u8]) -> Option<Word> {
    let ours = transport.len().checked_sub(8).and_then(|at| {
        let number = u32::from_be_bytes(transport[at + 4..].try_into().unwrap());
        (transport[at..at + 4] == MAGIC).then_some(number)
    });
    match (protocol, ours) {
        (ICMP, Some(number)) if transport[0] == 0 => Some(Word::Answered(number)),
        (ICMPV6, Some(number)) if transport[0] == 129 => Some(Word::Answered(number)),
        (_, Some(number)) => Some(Word::Arrived(number)),
        (TCP, None) => answered(transport).map(Word::Answered),
        (_, None) => None,
    }
}

/// The number of the SYN that a segment takes or refuses.
fn answered(segment: &[u8]) -> Option<u32> {
    let flags = segment.get(13)?;
    let acknowledged = u32::from_be_bytes(segment[8..12].try_into().unwrap());
    (flags & ACK != 0 && flags & (SYN | RST) != 0).then_some(acknowledged >> 8)
}

impl Packet {
    /// The packet of this number. Two of different numbers never belong to one flow, as long as the numbers are less
    /// than 60 000 apart.
    pub(super) fn bytes(&self, number: u32) -> Vec<u8> {
        let from_port = 2_048 + u16::try_from(number % 60_000).unwrap();
        let (protocol, transport) = match &self.load {
            Load::Tcp { port, flags } => (TCP, self.segment(from_port, *port, *flags, number)),
            Load::Udp { port } => (UDP, self.datagram(from_port, *port, number)),
            Load::Echo if self.source.is_ipv4() => (ICMP, echo(8, from_port, number)),
            Load::Echo => (ICMPV6, self.summed(ICMPV6, echo(128, from_port, number), 2)),
            Load::Error { kind, code, about } => (ICMP, error(*kind, *code, about, number)),
            Load::Odd => (ODD, trailer(number).to_vec()),
        };
        self.header(protocol, transport.len()).into_iter().chain(transport).collect()
    }

    /// The sequence number says which packet it is, so that whoever answers says it again.
    fn segment(&self, from_port: u16, port: u16, flags: u8, number: u32) -> Vec<u8> {
        let mut bytes = [from_port, port].map(u16::to_be_bytes).concat();
        bytes.extend([number << 8, 0].map(u32::to_be_bytes).concat());
        // Five words of header, a window, no checksum yet, nothing urgent.
        bytes.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(trailer(number));
        self.summed(TCP, bytes, 16)
    }

    fn datagram(&self, from_port: u16, port: u16, number: u32) -> Vec<u8> {
        let mut bytes = [from_port, port, 16, 0].map(u16::to_be_bytes).concat();
        bytes.extend(trailer(number));
        self.summed(UDP, bytes, 6)
    }

    /// Puts the checksum over the addresses, the protocol and the bytes into the bytes.
    fn summed(&self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let mut all = octets(self.source);
        all.extend(octets(self.destination));
        all.extend([0, protocol]);
        all.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        all.extend(&bytes);
        bytes[at..at + 2].copy_from_slice(&checksum(&all));
        bytes
    }

    fn header(&self, protocol: u8, length: usize) -> Vec<u8> {
        let length = u16::try_from(length).unwrap();
        let mut bytes = if self.source.is_ipv4() {
            let [high, low] = (length + 20).to_be_bytes();
            // Not to be fragmented; the kernel counts, and sums up.
            vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]
        } else {
            let [high, low] = length.to_be_bytes();
            vec![0x60, 0, 0, 0, high, low, protocol, 64]
        };
        bytes.extend(octets(self.source));
        bytes.extend(octets(self.destination));
        bytes
    }
}

fn echo(kind: u8, identifier: u16, number: u32) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    let mut bytes = vec![kind, 0, 0, 0, high, low, 0, 1];
    bytes.extend(trailer(number));
    if kind == 8 {
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum);
    }
    bytes
}

fn error(kind: u8, code: u8, about: &[u8], number: u32) -> Vec<u8> {
    // Its last half word is how large a packet may be, of all that ask for smaller ones.
    let mut bytes = vec![kind, code, 0, 0, 0, 0, 0x05, 0xdc];
    bytes.extend(&about[..QUOTED]);
    bytes.extend(trailer(number));
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
