//! The network stack of one namespace, spoken to by netlink (rtnetlink(7)).

use super::name::LinkName;
use super::namespace::Inside;
use super::netlink::{Message, Socket};
use std::io;
use std::marker::PhantomData;

/// The network stack of the namespace that this thread stands in. It changes only links that bear a tag of ours.
#[derive(Debug)]
pub struct Stack<'inside> {
    pub(super) socket: Socket,
    inside: PhantomData<&'inside Inside>,
}

/// Says why a network stack could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// There is no such link.
    #[error("there is no link `{0}`")]
    NoLink(LinkName),
    /// The link bears no tag of ours.
    #[error("the link `{0}` has no tag of ours, so it is left alone")]
    Foreign(LinkName),
    /// The kernel refuses.
    #[error("cannot {deed}: {source}")]
    Refused {
        /// What was tried.
        deed: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel's answer is not what its interface says.
    #[error("the kernel's answer about {0} cannot be read")]
    Unreadable(&'static str),
}

impl<'inside> Stack<'inside> {
    /// Opens the stack of the namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open(_inside: &'inside Inside) -> Result<Self, StackError> {
        let socket = Socket::open(None)
            .map_err(|source| StackError::Refused { deed: "open the network stack".to_owned(), source })?;
        Ok(Self { socket, inside: PhantomData })
    }
}

/// Names what was refused.
pub(super) fn refused(deed: impl Into<String>) -> impl FnOnce(io::Error) -> StackError {
    move |source| StackError::Refused { deed: deed.into(), source }
}

/// Reads every message of a list.
pub(super) fn read_all<T>(
    messages: &[Message],
    what: &'static str,
    read: impl Fn(&Message) -> Option<T>,
) -> Result<Vec<T>, StackError> {
    messages.iter().map(|message| read(message).ok_or(StackError::Unreadable(what))).collect()
}
