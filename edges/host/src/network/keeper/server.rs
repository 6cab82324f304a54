//! The keeper's side: hold the namespace, own the table, answer one request at a time.

use super::commands;
use super::protocol::{ANSWER_MAX, Answer, Code, Generation, PATIENCE, REQUEST_MAX, Request};
use super::{FLOOR_TABLE, TABLE};
use crate::confine::{CapabilitySet, keep_thread_capabilities};
use crate::network::name::Tag;
use crate::network::namespace::Inside;
use crate::network::nftables::Nftables;
use crate::network::stack::{Stack, StackError};
use crate::network::{Namespace, NamespaceError, Nft, NftError, Watch};
use rustix::fs::Mode;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::convert::Infallible;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// How long accepting rests after it failed: out of files, most likely, which others must close.
const REST: Duration = Duration::from_millis(100);

/// Says why a keeper did not begin.
#[derive(Debug, thiserror::Error)]
pub enum KeeperFault {
    /// It is not in a namespace of its own: its rules would meet somebody else's packets.
    #[error("the keeper must start in a network namespace of its own, and here the link `{0}` is on")]
    NotAlone(String),
    /// Something else has the name of its socket.
    #[error("the path of the socket is taken by something that is no socket")]
    Taken,
    /// Another keeper answers there.
    #[error("another keeper already listens on the socket")]
    Kept,
    /// Its socket cannot be made.
    #[error("cannot listen on the socket: {0}")]
    Socket(io::Error),
    /// It cannot give up its other powers.
    #[error("cannot drop capabilities: {0}")]
    Capabilities(io::Error),
    /// nftables does not work here.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The kernel has no nftables.
    #[error("the kernel's nftables do not answer: {0}")]
    Nftables(io::Error),
    /// The kernel does not tell of changes.
    #[error("the kernel does not tell of changes of the network: {0}")]
    Watch(io::Error),
    /// The namespace cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The namespace cannot be opened.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// Keeps the namespace that this process started in, until it is killed: tags it, and answers on `socket`.
///
/// Call it in a process of its own that has no other thread and was started in a fresh namespace
/// ([`Network::Fresh`](crate::process::Network::Fresh)). It keeps only the capability to administer that network.
///
/// # Errors
/// When it cannot begin. Once it has begun it never returns, whatever it is asked.
pub fn run(socket: &Path, tag: &Tag) -> Result<Infallible, KeeperFault> {
    let inside = Inside::here();
    let mut stack = Stack::open(&inside)?;
    // A new namespace may have links (some kernels put tunnels into each), but none of them is on, loopback included.
    if let Some(link) = stack.links()?.into_iter().find(|link| link.up) {
        return Err(KeeperFault::NotAlone(link.name));
    }
    stack.tag_loopback(tag)?;
    drop(stack);
    let nft = Nft::open(&inside)?;
    let nftables = Nftables::open(&inside).map_err(KeeperFault::Nftables)?;
    let watch = Watch::open(&inside).map_err(KeeperFault::Watch)?;
    let namespace = Namespace::own()?;
    let listener = listen(socket)?;
    keep_thread_capabilities(CapabilitySet::NET_ADMIN).map_err(KeeperFault::Capabilities)?;
    let mut duty = Duty { nft, nftables, watch, namespace };
    loop {
        match listener.accept() {
            Ok((stream, _)) => duty.serve(stream),
            Err(_) => std::thread::sleep(REST),
        }
    }
}

/// Makes the socket, for its owner alone.
fn listen(path: &Path) -> Result<UnixListener, KeeperFault> {
    if UnixStream::connect(path).is_ok() {
        return Err(KeeperFault::Kept);
    }
    match std::fs::symlink_metadata(path) {
        // A dead keeper's.
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(KeeperFault::Socket)?;
        }
        Ok(_) => return Err(KeeperFault::Taken),
        Err(_) => {}
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path).map_err(KeeperFault::Socket);
    rustix::process::umask(before);
    listener
}

/// What the keeper holds.
struct Duty<'inside> {
    nft: Nft<'inside>,
    nftables: Nftables<'inside>,
    watch: Watch,
    namespace: Namespace,
}

impl Duty<'_> {
    /// Answers the one request of a connection. A connection that breaks is its caller's loss.
    fn serve(&mut self, stream: UnixStream) {
        if let Err(error) = self.try_serve(stream) {
            tracing::debug!(%error, "a request to the keeper broke off");
        }
    }

    fn try_serve(&mut self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != rustix::process::geteuid() {
            return Ok(());
        }
        let answer = match read_line(&mut stream)? {
            Some(line) => self.answer(&line),
            None => refused(Code::Malformed, "the line is too long or never ends"),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        if line.len() > ANSWER_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if matches!(answer, Answer::Namespace) {
            return self.hand_over(&stream, &line);
        }
        stream.write_all(&line)
    }

    fn answer(&mut self, line: &[u8]) -> Answer {
        match serde_json::from_slice(line) {
            Ok(Request::Load { ruleset }) => self.load(&ruleset),
            Ok(Request::List {}) => self.list(),
            Ok(Request::Generation {}) => self.done(),
            Ok(Request::Namespace {}) => Answer::Namespace,
            Err(error) => refused(Code::Malformed, error),
        }
    }

    fn load(&mut self, ruleset: &str) -> Answer {
        if let Err(error) = commands::check(ruleset) {
            return refused(Code::NotARuleset, error);
        }
        if let Err(error) = self.nft.run(ruleset) {
            return refused(Code::Nftables, error);
        }
        match self.nftables.owner(TABLE) {
            Ok(Some(_)) => self.done(),
            Ok(None) => refused(Code::NotOwned, "the ruleset lacks `flags owner`"),
            Err(error) => refused(Code::Kernel, error),
        }
    }

    fn list(&mut self) -> Answer {
        // The number is read first: a change after it shows as a newer number later, never as a missed one.
        match self.generation() {
            Ok(generation) => match self.nft.list(&[TABLE, FLOOR_TABLE]) {
                Ok(json) => Answer::Listing { generation, json },
                Err(error) => refused(Code::Nftables, error),
            },
            Err(error) => refused(Code::Kernel, error),
        }
    }

    fn done(&mut self) -> Answer {
        match self.generation() {
            Ok(generation) => Answer::Done { generation },
            Err(error) => refused(Code::Kernel, error),
        }
    }

    fn generation(&mut self) -> io::Result<Generation> {
        Ok(Generation { tables: self.nftables.generation()?, stack: self.watch.changes()? })
    }

    /// Sends the line together with the namespace.
    fn hand_over(&self, stream: &UnixStream, line: &[u8]) -> io::Result<()> {
        let files = [self.namespace.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("no room for a file"));
        }
        rustix::net::sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn refused(code: Code, why: impl ToString) -> Answer {
    Answer::Refused { code, detail: why.to_string() }
}

/// The caller's line without its end; none if it is longer than a request may be, or ends without one.
fn read_line(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut part = vec![0; 64 * 1_024];
    loop {
        let read = stream.read(&mut part)?;
        line.extend_from_slice(part.get(..read).unwrap_or_default());
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Some(line));
        }
        if read == 0 || line.len() > REQUEST_MAX {
            return Ok(None);
        }
    }
}
