//! What nftables says of a namespace without any library: its generation, and who owns a table.

use super::namespace::Inside;
use super::netlink::{Body, Message, Socket};
use std::io;
use std::marker::PhantomData;

/// Message kinds and attributes of `linux/netfilter/nf_tables.h`; the high byte is the subsystem.
const SUBSYSTEM: u16 = 10 << 8;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_OWNER: u16 = 7;
const GENERATION_ID: u16 = 1;

/// IPv4 and IPv6 together (`NFPROTO_INET`).
const INET: u8 = 1;

/// A table that sleeps (`NFT_TABLE_F_DORMANT`).
const DORMANT: u32 = 1;

/// The size of `struct nfgenmsg`.
const FIXED: usize = 4;

/// A table, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// Its family, by the name that rulesets use.
    pub family: &'static str,
    /// Its name.
    pub name: String,
    /// Whether its chains sleep.
    pub dormant: bool,
    /// The netlink port of the socket that owns it, if one does.
    pub owner: Option<u32>,
}

/// Reads the state of nftables in the namespace that this thread stands in. While it is open, the namespace lives.
#[derive(Debug)]
pub struct Nftables<'inside> {
    socket: Socket,
    inside: PhantomData<&'inside Inside>,
}

impl<'inside> Nftables<'inside> {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel has no nftables.
    pub fn open(_inside: &'inside Inside) -> io::Result<Self> {
        let socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
        Ok(Self { socket, inside: PhantomData })
    }

    /// The number of the last change of any table here: it only grows (until it wraps), also when a change is undone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn generation(&mut self) -> io::Result<u32> {
        let answer = self.socket.ask(GET_GENERATION, &Body::new(&[0; FIXED]))?;
        let (_, attributes) = answer.split::<FIXED>().ok_or_else(unreadable)?;
        attributes.number(GENERATION_ID).map(u32::from_be).ok_or_else(unreadable)
    }

    /// The netlink port of the socket that owns the table `inet name`; none when nobody does.
    ///
    /// # Errors
    /// When there is no such table ([`io::ErrorKind::NotFound`]), or the kernel refuses.
    pub fn owner(&mut self, name: &str) -> io::Result<Option<u32>> {
        let answer = self.socket.ask(GET_TABLE, &Body::new(&[INET, 0, 0, 0]).text(TABLE_NAME, name))?;
        read_table(&answer).map(|table| table.owner).ok_or_else(unreadable)
    }

    /// Every table here, foreign ones included.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tables(&mut self) -> io::Result<Vec<Table>> {
        let answer = self.socket.list(GET_TABLE, &Body::new(&[0; FIXED]))?;
        let mut tables: Vec<Table> = answer
            .iter()
            .map(|message| read_table(message).ok_or_else(unreadable))
            .collect::<Result<_, _>>()?;
        tables.sort();
        Ok(tables)
    }
}

/// `struct nfgenmsg` and the attributes of a table.
fn read_table(message: &Message) -> Option<Table> {
    let (fixed, attributes) = message.split::<FIXED>()?;
    let [family, ..] = *fixed;
    let flags = attributes.number(TABLE_FLAGS).map_or(0, u32::from_be);
    Some(Table {
        family: family_name(family),
        name: attributes.text(TABLE_NAME)?,
        dormant: flags & DORMANT != 0,
        owner: attributes.number(TABLE_OWNER).map(u32::from_be),
    })
}

/// `NFPROTO_..`.
const fn family_name(number: u8) -> &'static str {
    match number {
        INET => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about nftables cannot be read")
}
