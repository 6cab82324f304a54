//! What the counters of a table say, asked for as often as one likes: a whole listing takes the keeper a thousand times
//! as long.

use super::by_hand::attribute;
use super::world::inside;
use host::network::Namespace;
use rustix::net::netlink::NETFILTER;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// `NFT_MSG_GETOBJ` of nftables' subsystem, and its attributes (`linux/netfilter/nf_tables.h`).
const GET_OBJECTS: u16 = 10 << 8 | 19;
const TABLE: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const DATA: u16 = 4;
const COUNTER: u32 = 1;
const PACKETS: u16 = 2;

/// A list of everything (`NLM_F_REQUEST | NLM_F_DUMP`), and the message at its end.
const LIST: u16 = 0x301;
const DONE: u16 = 3;

/// The counters of the table `inet palisade` of one namespace, which lives as long as this is open.
pub(super) struct Counters(OwnedFd);

impl Counters {
    pub(super) fn of(namespace: &Namespace) -> Self {
        let open = || rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER)).unwrap();
        Self(inside(namespace, |_| open()))
    }

    /// The packets that each counted.
    pub(super) fn packets(&self) -> BTreeMap<String, u64> {
        // `struct nfgenmsg` of the family `inet`.
        let mut body = vec![1, 0, 0, 0];
        body.extend(attribute(TABLE, b"palisade\0"));
        body.extend(attribute(TYPE, &COUNTER.to_be_bytes()));
        let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend([GET_OBJECTS, LIST].map(u16::to_ne_bytes).concat());
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(&self.0, &message, SendFlags::empty()).unwrap();
        let mut found = BTreeMap::new();
        let mut answer = vec![0; 64 * 1_024];
        loop {
            let (length, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty()).unwrap();
            let mut rest = &answer[..length];
            while let Some((head, _)) = rest.split_at_checked(16) {
                let length = usize::try_from(u32::from_ne_bytes(head[..4].try_into().unwrap())).unwrap();
                let kind = u16::from_ne_bytes(head[4..6].try_into().unwrap());
                if kind == DONE {
                    return found;
                }
                let about = attributes(&rest[20..length]);
                let name = String::from_utf8(about[&NAME].to_vec()).unwrap();
                let packets = attributes(about[&DATA])[&PACKETS].try_into().unwrap();
                found.insert(name.trim_end_matches('\0').to_owned(), u64::from_be_bytes(packets));
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}

fn attributes(mut bytes: &[u8]) -> BTreeMap<u16, &[u8]> {
    let mut all = BTreeMap::new();
    while let Some((head, _)) = bytes.split_at_checked(4) {
        let length = usize::from(u16::from_ne_bytes(head[..2].try_into().unwrap()));
        // The two top bits say how a value is written.
        let kind = u16::from_ne_bytes(head[2..].try_into().unwrap()) & 0x3fff;
        all.insert(kind, &bytes[4..length]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    all
}
