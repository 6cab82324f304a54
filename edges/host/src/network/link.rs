//! Links: veth pairs across namespaces, their state, their removal.

use super::name::{LinkName, Tag};
use super::namespace::Namespace;
use super::netlink::{Attributes, Body, CREATE, Message, number_at};
use super::stack::{Stack, StackError, read_all, refused};
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Message kinds (`RTM_..`), attributes (`IFLA_..`) and flags (`IFF_..`) of `linux/rtnetlink.h`, `linux/if_link.h`
/// and `linux/if.h`; the C library's Rust names have other types in each place.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PEER_INDEX: u16 = 5;
const ALIAS: u16 = 20;
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const NAMESPACE_FD: u16 = 28;
const VETH_PEER: u16 = 1;
const IS_UP: u32 = 0x1;
const HAS_CARRIER: u32 = 0x1_0000;

/// The size of `struct ifinfomsg`.
const FIXED: usize = 16;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// One end of a veth pair, as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Its name in its namespace.
    pub name: LinkName,
    /// What marks it as ours.
    pub tag: Tag,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// A link, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its number in its namespace.
    pub index: u32,
    /// What kind of link it is (`veth`, `bridge`); none on a loopback or a real device.
    pub kind: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether its other end is on too.
    pub carrier: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its alias: our tag, if it is ours.
    pub alias: Option<String>,
    /// The number of the link that it hangs on, which for a veth end lies in the other end's namespace.
    pub peer_index: Option<u32>,
}

impl Link {
    /// Our tag, if it is ours.
    #[must_use]
    pub fn tag(&self) -> Option<Tag> {
        self.alias.as_deref().and_then(|alias| alias.parse().ok())
    }
}

impl Stack<'_> {
    /// The link `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn link(&mut self, name: &LinkName) -> Result<Link, StackError> {
        let body = fixed(0, 0, 0).text(NAME, name.as_ref());
        let message = self.socket.ask(GET_LINK, &body).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => StackError::NoLink(name.clone()),
            _ => refused(format!("read the link `{name}`"))(error),
        })?;
        read(&message).ok_or(StackError::Unreadable("a link"))
    }

    /// All links, in the order of their names.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn links(&mut self) -> Result<Vec<Link>, StackError> {
        let messages = self.socket.list(GET_LINK, &fixed(0, 0, 0)).map_err(refused("list the links"))?;
        let mut links = read_all(&messages, "links", read)?;
        links.sort();
        Ok(links)
    }

    /// Makes a veth pair, both ends down and tagged: `here` in this namespace, `there` in `other`. An end appears in
    /// `other` only with its tag, and nothing is left behind when it cannot.
    ///
    /// # Errors
    /// When a name is taken, or the kernel refuses.
    pub fn create_veth(
        &mut self,
        here: &VethEnd,
        there: &VethEnd,
        other: &Namespace,
    ) -> Result<(), StackError> {
        // The peer's final name may be taken here: the kernel gives it one until it moves.
        let peer = fixed(0, 0, 0).bytes(ADDRESS, &there.mac.0).number(MTU, there.mtu);
        let data = Body::default().nested(VETH_PEER, &peer);
        let info = Body::default().text(INFO_KIND, "veth").nested(INFO_DATA, &data);
        let body = fixed(0, 0, 0)
            .text(NAME, here.name.as_ref())
            .bytes(ADDRESS, &here.mac.0)
            .number(MTU, here.mtu)
            .nested(INFO, &info);
        let made = self.socket.change(NEW_LINK, CREATE, &body);
        made.map_err(refused(format!("make the link `{}`", here.name)))?;
        let finished = self.tag_and_move(here, there, other);
        if finished.is_err() {
            // Both ends go with one. A second failure would hide the first.
            let _ = self.delete_by_name(&here.name);
        }
        finished
    }

    fn tag_and_move(&mut self, here: &VethEnd, there: &VethEnd, other: &Namespace) -> Result<(), StackError> {
        let link = self.link(&here.name)?;
        let peer = link.peer_index.ok_or(StackError::Unreadable("a pair of links"))?;
        self.set_alias(link.index, &here.name, &here.tag)?;
        self.set_alias(peer, &there.name, &there.tag)?;
        let file = u32::try_from(other.as_fd().as_raw_fd()).map_err(|_| StackError::Unreadable("a file"))?;
        let body = fixed(peer, 0, 0).number(NAMESPACE_FD, file).text(NAME, there.name.as_ref());
        let moved = self.socket.change(SET_LINK, 0, &body);
        moved.map_err(refused(format!("move the link `{}` to its namespace", there.name)))
    }

    /// Switches a link of ours on.
    ///
    /// # Errors
    /// When it is absent or not ours, or the kernel refuses.
    pub fn set_up(&mut self, name: &LinkName) -> Result<(), StackError> {
        let index = self.ours(name)?.index;
        let done = self.socket.change(SET_LINK, 0, &fixed(index, IS_UP, IS_UP));
        done.map_err(refused(format!("switch the link `{name}` on")))
    }

    /// Switches a link of ours off.
    ///
    /// # Errors
    /// When it is absent or not ours, or the kernel refuses.
    pub fn set_down(&mut self, name: &LinkName) -> Result<(), StackError> {
        let index = self.ours(name)?.index;
        let done = self.socket.change(SET_LINK, 0, &fixed(index, 0, IS_UP));
        done.map_err(refused(format!("switch the link `{name}` off")))
    }

    /// Sets the largest packet of a link of ours.
    ///
    /// # Errors
    /// When it is absent or not ours, or the kernel refuses.
    pub fn set_mtu(&mut self, name: &LinkName, mtu: u32) -> Result<(), StackError> {
        let index = self.ours(name)?.index;
        let done = self.socket.change(SET_LINK, 0, &fixed(index, 0, 0).number(MTU, mtu));
        done.map_err(refused(format!("set the MTU of the link `{name}`")))
    }

    /// Sets the hardware address of a link of ours.
    ///
    /// # Errors
    /// When it is absent or not ours, or the kernel refuses.
    pub fn set_mac(&mut self, name: &LinkName, mac: Mac) -> Result<(), StackError> {
        let index = self.ours(name)?.index;
        let done = self.socket.change(SET_LINK, 0, &fixed(index, 0, 0).bytes(ADDRESS, &mac.0));
        done.map_err(refused(format!("set the hardware address of the link `{name}`")))
    }

    /// Removes a link of ours, and so both ends of a pair. Nothing to remove is no error.
    ///
    /// # Errors
    /// When it is not ours, or the kernel refuses.
    pub fn delete_link(&mut self, name: &LinkName) -> Result<(), StackError> {
        match self.ours(name) {
            Ok(_) => self.delete_by_name(name),
            Err(StackError::NoLink(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Removes the link `name`, whoever made it, from a namespace of ours. One that the kernel does not remove, such as
    /// a real device, is switched off. Nothing to remove is no error.
    ///
    /// # Errors
    /// When the namespace is not ours, the link is its loopback, or the kernel refuses.
    pub fn evict(&mut self, name: &str) -> Result<(), StackError> {
        self.in_namespace_of_ours()?;
        let loopback = LinkName::loopback();
        if name == loopback.as_ref() {
            return Err(StackError::Foreign(loopback));
        }
        let body = fixed(0, 0, 0).text(NAME, name);
        let removed = self.socket.change(DELETE_LINK, 0, &body);
        match removed.as_ref().map_err(std::io::Error::raw_os_error) {
            Ok(()) | Err(Some(libc::ENODEV)) => Ok(()),
            Err(Some(libc::EOPNOTSUPP)) => {
                let off = fixed(0, 0, IS_UP).text(NAME, name);
                self.socket
                    .change(SET_LINK, 0, &off)
                    .map_err(refused(format!("switch the link `{name}` off")))
            }
            Err(_) => removed.map_err(refused(format!("remove the link `{name}`"))),
        }
    }

    fn delete_by_name(&mut self, name: &LinkName) -> Result<(), StackError> {
        let body = fixed(0, 0, 0).text(NAME, name.as_ref());
        match self.socket.change(DELETE_LINK, 0, &body) {
            // Gone meanwhile: its other end's namespace ended.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            done => done.map_err(refused(format!("remove the link `{name}`"))),
        }
    }

    /// Marks a namespace that was just made.
    pub(super) fn tag_loopback(&mut self, tag: &Tag) -> Result<(), StackError> {
        let loopback = LinkName::loopback();
        let index = self.link(&loopback)?.index;
        self.set_alias(index, &loopback, tag)
    }

    fn set_alias(&mut self, index: u32, name: &LinkName, tag: &Tag) -> Result<(), StackError> {
        let body = fixed(index, 0, 0).bytes(ALIAS, tag.as_ref().as_bytes());
        let done = self.socket.change(SET_LINK, 0, &body);
        done.map_err(refused(format!("tag the link `{name}`")))
    }

    /// Checks that the namespace bears a tag of ours: whatever is in it is ours to remove.
    pub(super) fn in_namespace_of_ours(&mut self) -> Result<(), StackError> {
        self.ours(&LinkName::loopback()).map(|_| ())
    }

    /// The link `name`, if it bears a tag of ours.
    pub(super) fn ours(&mut self, name: &LinkName) -> Result<Link, StackError> {
        let link = self.link(name)?;
        if link.tag().is_some() { Ok(link) } else { Err(StackError::Foreign(name.clone())) }
    }
}

/// `struct ifinfomsg`: which link, and which of its flags to change.
fn fixed(index: u32, flags: u32, changed: u32) -> Body {
    let words = [0, index, flags, changed].map(u32::to_ne_bytes);
    Body::new(words.as_flattened())
}

fn read(message: &Message) -> Option<Link> {
    let (fixed, attributes) = message.split::<FIXED>()?;
    let flags = number_at(fixed, 8)?;
    let info = Attributes::within(attributes.find(INFO).unwrap_or_default());
    Some(Link {
        name: attributes.text(NAME)?,
        index: number_at(fixed, 4)?,
        kind: info.text(INFO_KIND),
        up: flags & IS_UP != 0,
        carrier: flags & HAS_CARRIER != 0,
        mtu: attributes.number(MTU)?,
        mac: attributes.find(ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
        alias: attributes.text(ALIAS).filter(|alias| !alias.is_empty()),
        peer_index: attributes.number(PEER_INDEX),
    })
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
