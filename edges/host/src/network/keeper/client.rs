//! The node's side: start a keeper or find the one that lives, and speak to it.

use super::protocol::{ANSWER_MAX, Answer, Code, Generation, Generations, PATIENCE, Place, Request};
use crate::network::{Namespace, NamespaceError};
use crate::process::{Lifetime, Spawn, SpawnError};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long a new keeper may take until it answers.
const START_MAX: Duration = Duration::from_secs(10);

/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// How often one that broke off is looked for: a process that was killed is gone by then.
const DYING_LOOKS: u32 = 200;

/// A living keeper. Dropping this leaves it alive.
#[derive(Debug)]
pub struct Keeper {
    socket: Arc<Path>,
    pid: Pid,
    process: AsyncFd<OwnedFd>,
}

/// Every table of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The generation that it shows, or an older one.
    pub generation: Generation,
    /// The JSON of libnftables-json(5).
    pub json: String,
}

/// Says why a keeper could not be found, started or spoken to.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Its process could not be started.
    #[error(transparent)]
    Start(#[from] SpawnError),
    /// Its process ended before it answered; its own output says why.
    #[error("the keeper ended before it answered ({0})")]
    Ended(ExitStatus),
    /// It did not answer in time.
    #[error("the keeper does not answer within {} s", START_MAX.as_secs())]
    Late,
    /// The process that answers is not the one that did before, or not this user's.
    #[error("another process answers in the keeper's place")]
    Replaced,
    /// It refuses, and nothing changed.
    #[error("the keeper refuses: {detail}")]
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        detail: String,
    },
    /// It cannot be spoken to: most likely it is dead.
    #[error("the keeper cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// What it handed over is no namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

impl Keeper {
    /// Starts a keeper that listens on `socket`: `spawn` must run [`super::run`] with that path, in the host's network.
    /// It outlives this process.
    ///
    /// # Errors
    /// When it cannot be started or ends before it answers.
    pub async fn start(mut spawn: Spawn, socket: PathBuf) -> Result<Self, KeeperError> {
        spawn.lifetime = Lifetime::Own;
        let mut running = spawn.spawn().await?;
        let started = tokio::time::timeout(START_MAX, async {
            loop {
                if let Some(keeper) = Self::attach(socket.clone()).await?
                    && keeper.pid() == running.pid()
                {
                    return Ok(keeper);
                }
                tokio::select! {
                    ended = running.wait() => return Err(KeeperError::Ended(ended?)),
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        });
        match started.await {
            Ok(Ok(keeper)) => Ok(keeper),
            failed => {
                running.terminate(0).await?;
                failed.unwrap_or(Err(KeeperError::Late))
            }
        }
    }

    /// The keeper that answers on `socket`, if one does.
    ///
    /// # Errors
    /// When something answers that is not a keeper of this user.
    pub async fn attach(socket: PathBuf) -> Result<Option<Self>, KeeperError> {
        let socket: Arc<Path> = socket.into();
        let mut looks = DYING_LOOKS;
        let found = loop {
            let path = Arc::clone(&socket);
            match on_thread(move || find(&path)).await {
                Err(KeeperError::Unreachable(error)) if looks > 0 && is_dying(&error) => looks -= 1,
                found => break found?,
            }
            tokio::time::sleep(LOOK).await;
        };
        let Some((pid, process)) = found else { return Ok(None) };
        #[expect(unsafe_code, reason = "the runtime watches the file by its number")]
        // SAFETY: an `OwnedFd` keeps its file and its number until it is dropped.
        let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        let process = process.map_err(io::Error::from)?;
        Ok(Some(Self { socket, pid, process }))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Replaces what the text names, all of it or nothing, and gives the generation after it.
    ///
    /// # Errors
    /// When it refuses or cannot be reached.
    pub async fn load(&self, place: Place, ruleset: String) -> Result<Generation, KeeperError> {
        match self.ask(Request::Load { place, ruleset }).await?.0 {
            Answer::Done { generation } => Ok(generation),
            other => Err(unexpected(other)),
        }
    }

    /// How often things changed, undone changes included.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn generations(&self) -> Result<Generations, KeeperError> {
        match self.ask(Request::Generations {}).await?.0 {
            Answer::Generations(generations) => Ok(generations),
            other => Err(unexpected(other)),
        }
    }

    /// Every table there.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn list(&self, place: Place) -> Result<Listing, KeeperError> {
        match self.ask(Request::List { place }).await?.0 {
            Answer::Listing { generation, json } => Ok(Listing { generation, json }),
            other => Err(unexpected(other)),
        }
    }

    /// The router's namespace. **Let it go soon**: it lives as long as this does, and must end with the keeper.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn namespace(&self) -> Result<Namespace, KeeperError> {
        match self.ask(Request::Namespace {}).await? {
            (Answer::Namespace, Some(file)) => Ok(Namespace::from_file(file, "of the keeper")?),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Waits until it has ended. Safe to cancel and to call again.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub async fn ended(&self) -> io::Result<()> {
        self.process.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Ends it, and with it the router's namespace and every link into it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn end(self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.process.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => self.ended().await,
            Err(errno) => Err(errno.into()),
        }
    }

    async fn ask(&self, request: Request) -> Result<(Answer, Option<OwnedFd>), KeeperError> {
        let (path, pid) = (Arc::clone(&self.socket), self.pid);
        on_thread(move || {
            let stream = UnixStream::connect(&path)?;
            if peer(&stream)? == pid { exchange(stream, &request) } else { Err(KeeperError::Replaced) }
        })
        .await
    }
}

/// The process that answers, if one does.
fn find(path: &Path) -> Result<Option<(Pid, OwnedFd)>, KeeperError> {
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = peer(&stream)?;
            let process = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from)?;
            // Process ids are used again: one that answers now was alive when its file was opened.
            exchange(stream, &Request::Generations {})?;
            Ok(Some((pid, process)))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a process may have ended while it was spoken to: its socket refuses soon then.
fn is_dying(error: &io::Error) -> bool {
    let broke = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
    broke.contains(&error.kind()) || error.raw_os_error() == Some(libc::ESRCH)
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeeperError> + Send + 'static,
) -> Result<T, KeeperError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The process that listens at the other end; it must be of this user.
fn peer(stream: &UnixStream) -> Result<Pid, KeeperError> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(io::Error::from)?;
    if peer.uid == rustix::process::geteuid() { Ok(peer.pid) } else { Err(KeeperError::Replaced) }
}

fn exchange(mut stream: UnixStream, request: &Request) -> Result<(Answer, Option<OwnedFd>), KeeperError> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let (line, file) = receive(&stream)?;
    match serde_json::from_slice(&line).map_err(io::Error::from)? {
        Answer::Refused { code, detail } => Err(KeeperError::Refused { code, detail }),
        answer => Ok((answer, file)),
    }
}

/// The keeper's line, and the file that came with it.
fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut line = Vec::new();
    let mut file = None;
    let mut part = vec![0; 64 * 1_024];
    while line.last() != Some(&b'\n') {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut part)];
        let received = rustix::net::recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = match received {
            // A process that was stopped goes on here: a wait with a limit is not taken up again by itself.
            Err(rustix::io::Errno::INTR) => continue,
            received => received?.bytes,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.last();
            }
        }
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() + received > ANSWER_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        line.extend_from_slice(part.get(..received).unwrap_or_default());
    }
    Ok((line, file))
}

fn unexpected(answer: Answer) -> KeeperError {
    match answer {
        Answer::Refused { code, detail } => KeeperError::Refused { code, detail },
        Answer::Done { .. } | Answer::Generations(_) | Answer::Listing { .. } | Answer::Namespace => {
            KeeperError::Unreachable(io::Error::other("the keeper answers something else"))
        }
    }
}
