//! The keeper's side: hold the namespace, own the tables, answer one request at a time.

use super::clerk::{Clerk, Order, Remote, refused};
use super::protocol::{ANSWER_MAX, Answer, Code, Generations, PATIENCE, Place, REQUEST_MAX, Request};
use crate::confine::{CapabilitySet, keep_thread_capabilities};
use crate::network::name::Tag;
use crate::network::namespace::{Inside, unshare_network};
use crate::network::stack::{Stack, StackError};
use crate::network::{Namespace, NamespaceError, NftError};
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
    /// It gets no namespace of its own.
    #[error("cannot make a network namespace: {0}")]
    Unshare(io::Error),
    /// Its second thread, for the host's namespace, does not run.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
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

/// Keeps a namespace of its own until it is killed: makes and tags it, and answers on `socket`. The namespace that it
/// starts in is the host's, and it owns a table there too.
///
/// Call it in a process of its own that has no other thread. It keeps only the capability to administer these networks.
///
/// # Errors
/// When it cannot begin. Once it has begun it never returns, whatever it is asked, unless a thread of its own fails.
pub fn run(socket: &Path, tag: &Tag) -> Result<Infallible, KeeperFault> {
    let host = Remote::begin()?;
    unshare_network().map_err(KeeperFault::Unshare)?;
    let inside = Inside::here();
    Stack::open(&inside)?.tag_loopback(tag)?;
    let router = Clerk::open(&inside)?;
    let namespace = Namespace::own_of_thread()?;
    let listener = listen(socket)?;
    keep_thread_capabilities(CapabilitySet::NET_ADMIN).map_err(KeeperFault::Capabilities)?;
    let mut duty = Duty { router, host, namespace };
    loop {
        match listener.accept() {
            Ok((stream, _)) => duty.serve(stream)?,
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
    router: Clerk<'inside>,
    host: Remote,
    namespace: Namespace,
}

impl Duty<'_> {
    /// Answers the one request of a connection. A connection that breaks is its caller's loss.
    fn serve(&mut self, mut stream: UnixStream) -> Result<(), KeeperFault> {
        let answer = match request(&mut stream) {
            Ok(Some(line)) => self.answer(&line)?,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => refused(Code::Malformed, error),
            Err(error) => return broke_off(Err(error)),
        };
        broke_off(self.send(&stream, &answer))
    }

    fn answer(&mut self, line: &[u8]) -> Result<Answer, KeeperFault> {
        match serde_json::from_slice(line) {
            Ok(Request::Load { place, ruleset }) => self.carry_out(place, Order::Load(ruleset)),
            Ok(Request::List { place }) => self.carry_out(place, Order::List),
            Ok(Request::Generations {}) => self.generations(),
            Ok(Request::Namespace {}) => Ok(Answer::Namespace),
            Err(error) => Ok(refused(Code::Malformed, error)),
        }
    }

    fn carry_out(&mut self, place: Place, order: Order) -> Result<Answer, KeeperFault> {
        match place {
            Place::Router => Ok(self.router.carry_out(order)),
            // Without its thread the host's table is gone: this process must not seem well.
            Place::Host => self.host.carry_out(order).map_err(KeeperFault::Thread),
        }
    }

    fn generations(&mut self) -> Result<Answer, KeeperFault> {
        let host = self.carry_out(Place::Host, Order::Generation)?;
        Ok(match (self.router.generation(), host) {
            (Ok(router), Answer::Done { generation }) => {
                Answer::Generations(Generations { router, host: generation })
            }
            (Err(error), _) => refused(Code::Kernel, error),
            (Ok(_), other) => other,
        })
    }

    fn send(&self, mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        if line.len() > ANSWER_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if matches!(answer, Answer::Namespace) {
            return self.hand_over(stream, &line);
        }
        stream.write_all(&line)
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

fn broke_off(sent: io::Result<()>) -> Result<(), KeeperFault> {
    if let Err(error) = sent {
        tracing::debug!(%error, "a request to the keeper broke off");
    }
    Ok(())
}

/// The line of a caller who is this process's user; none of anybody else.
fn request(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = rustix::net::sockopt::socket_peercred(&*stream)?;
    if peer.uid == rustix::process::geteuid() { read_line(stream).map(Some) } else { Ok(None) }
}

/// The caller's line without its end.
fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut part = vec![0; 64 * 1_024];
    loop {
        let read = match stream.read(&mut part) {
            // As after a stop: a wait with a limit is not taken up again by itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        line.extend_from_slice(part.get(..read).unwrap_or_default());
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(line);
        }
        if read == 0 || line.len() > REQUEST_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long or never ends"));
        }
    }
}
