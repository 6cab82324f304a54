//! The counters, told to the sidecar over a Unix socket and to nobody else.
//!
//! Whatever is told is durable before: a restart never takes a counter back.

use crate::events::{Events, Happened};
use crate::journal::record::{Head, Record};
use crate::journal::{AppendError, Journal};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use wire::counters::{REQUEST, Sample};
use wire::event::{EventKind, EventOutcome};
use wire::heartbeat::Totals;

/// Connections at once; the sidecar needs one.
const CONNECTIONS_MAX: usize = 8;

/// How long a connection may be silent: several intervals of a sidecar.
const SILENCE: Duration = Duration::from_secs(60);

/// How long accepting pauses after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the last counters wait for the sidecar, which reads them each second at least.
const LAST_READ: Duration = Duration::from_secs(2);

/// Says why the socket is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{}`: {source}; remove it if nothing else uses it", .path.display())]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

/// What the sidecar is told.
#[derive(Debug)]
pub struct Counters {
    journal: Journal,
    /// Processor time of all earlier runs.
    earlier_us: u64,
    /// What the sidecar was told last.
    told: watch::Sender<Option<Sample>>,
}

/// The socket.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    sidecar_uid: u32,
}

impl Counters {
    /// The counters as the journal has them.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        let earlier_us = journal.sample().totals.cpu_time_us;
        Self { journal, earlier_us, told: watch::Sender::new(None) }
    }

    /// The counters now, durable before this returns.
    ///
    /// # Errors
    /// [`AppendError`] when they cannot be made durable.
    pub async fn sample(&self) -> Result<Sample, AppendError> {
        let own_us = host::usage::cpu_time_us(std::process::id()).unwrap_or(0);
        let us = self.earlier_us.saturating_add(own_us);
        // Never back, also when the kernel did not answer.
        let us = us.max(self.journal.sample().totals.cpu_time_us);
        self.journal.append(vec![Record::new(Head::Processor(us))]).await?;
        Ok(self.journal.sample())
    }

    /// Waits until the sidecar knows all that was counted, or for so long that it is surely gone. A data plane
    /// without a sidecar does not wait.
    pub async fn all_told(&self) {
        let mut told = self.told.subscribe();
        if told.borrow().is_none() {
            return;
        }
        // Processor time goes on for as long as anybody looks.
        let work = |sample: Sample| (sample.epoch, Totals { cpu_time_us: 0, ..sample.totals });
        let counted = work(self.journal.sample());
        let is_all = |told: &Option<Sample>| told.map(work) == Some(counted);
        let _gone = tokio::time::timeout(LAST_READ, told.wait_for(is_all)).await;
    }
}

impl Socket {
    /// Makes the socket at `path`, in place of one that an earlier run left.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path, sidecar_uid: u32) -> Result<Self, SocketError> {
        let failed = |source| SocketError { path: path.to_owned(), source };
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Anybody may connect; who is served is decided by the peer's credentials.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self { listener, sidecar_uid })
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, counters: Arc<Counters>, events: Events) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // A connection beyond the bound is closed at once.
            let Ok(open) = Arc::clone(&connections).try_acquire_owned() else { continue };
            let (counters, events, sidecar_uid) = (Arc::clone(&counters), events.clone(), self.sidecar_uid);
            tokio::spawn(async move {
                if is_sidecar(&stream, sidecar_uid, &events)
                    && let Err(error) = answer(stream, &counters).await
                {
                    tracing::debug!(%error, "a metering connection ended");
                }
                drop(open);
            });
        }
    }
}

/// Whether the peer is the sidecar, as the kernel says; anybody else gets nothing, and is reported.
fn is_sidecar(stream: &UnixStream, sidecar_uid: u32, events: &Events) -> bool {
    let found = host::peer::peer_credentials(stream);
    if found.as_ref().is_ok_and(|peer| peer.uid == sidecar_uid) {
        return true;
    }
    let actor = found.map_or_else(|_| "unknown".to_owned(), |peer| format!("uid/{}", peer.uid));
    events.report(Happened {
        kind: EventKind::AuthenticationFailed,
        outcome: EventOutcome::Denied,
        reason: "metering.foreign_user".to_owned(),
        actor,
        resource: events.own_resource(),
        address: None,
        count: 1,
    });
    false
}

/// Answers requests, one line each, until the peer leaves or says something else.
async fn answer(mut stream: UnixStream, counters: &Counters) -> io::Result<()> {
    loop {
        let mut request = [0; REQUEST.len()];
        match tokio::time::timeout(SILENCE, stream.read_exact(&mut request)).await {
            Ok(Ok(_)) if request == *REQUEST => {}
            Ok(Ok(_)) => return Err(io::ErrorKind::InvalidData.into()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
        let sample = counters.sample().await.map_err(io::Error::other)?;
        let mut line = serde_json::to_vec(&sample).map_err(io::Error::other)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        counters.told.send_replace(Some(sample));
    }
}
