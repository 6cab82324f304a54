//! One owner of a host's networks: a claim that the kernel lets go with its holder.

use super::namespace::Inside;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The name that is taken: abstract, so that each network namespace has its own and nothing stays behind.
const NAME: &str = "palisade-node-networks";

/// The right to change the networks of this namespace, until it is dropped or its process ends in any way.
#[derive(Debug)]
pub struct Claim {
    _socket: UnixDatagram,
}

/// Says why there is no such right.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else has it.
    #[error("another node already has this host's networks: stop it first")]
    Taken,
    /// The system refuses.
    #[error("this host's networks cannot be claimed: {0}")]
    Refused(io::Error),
}

impl Claim {
    /// Claims the networks of the namespace that this thread stands in.
    ///
    /// # Errors
    /// When another process has them.
    pub fn take(_inside: &Inside) -> Result<Self, ClaimError> {
        let bound = SocketAddr::from_abstract_name(NAME).and_then(|name| UnixDatagram::bind_addr(&name));
        match bound {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::Taken),
            Err(error) => Err(ClaimError::Refused(error)),
        }
    }
}
