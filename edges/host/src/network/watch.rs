//! Whether anything of a namespace changed: counted by the kernel's own notices, so that looking costs nothing.

use super::namespace::Inside;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// What is told: links, IPv4 and IPv6 addresses, routes, routing rules, and switches such as forwarding
/// (`RTNLGRP_..` of `linux/rtnetlink.h`). Not neighbours, which come and go with traffic.
const GROUPS: [u32; 9] = [1, 5, 7, 8, 9, 11, 19, 24, 25];

/// Counts the changes of links, addresses, routes and switches of one namespace. While it is open, that namespace
/// lives: close it before the namespace is to go, and leave the router's to its keeper.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    changes: u64,
}

impl Watch {
    /// Begins to count.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open(_inside: &Inside) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let groups = GROUPS.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, changes: 0 })
    }

    /// How many there were. The same number twice means that nothing changed between, undone changes included; a new
    /// number means that it is worth a look.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn changes(&mut self) -> io::Result<u64> {
        loop {
            match rustix::net::recv(&self.socket, &mut [0; 1], RecvFlags::empty()) {
                // More happened than the kernel keeps.
                Ok(_) | Err(Errno::NOBUFS) => self.changes += 1,
                Err(Errno::AGAIN) => return Ok(self.changes),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
