//! Starting: one sidecar for each folder, a key, an identity, a journal.

use crate::config::{IntervalOutOfBounds, MeterConfig};
use crate::disk::FileDisk;
use crate::key::{self, MeteringKeyError};
use crate::metering::{Metering, MeteringError, Notice};
use host::clock::Clock;
use host::files::{self, DirLock, FileError, LockError};
use serve::identity::{ControlPlane, ControlPlaneAt, Enrolment, IdentityError, WorkloadIdentity};
use std::path::{Path, PathBuf};
use terms::{SidecarId, SpiffeId, TenantId, Workload};

/// The journal's file in the sidecar's folder.
const JOURNAL: &str = "metering.journal";

/// Says why a sidecar does not run, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] IntervalOutOfBounds),
    /// A wall around the sidecar cannot be built.
    #[error(transparent)]
    Confine(#[from] host::confine::ConfineError),
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another sidecar uses the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no metering key.
    #[error(transparent)]
    Key(#[from] MeteringKeyError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity is somebody else's.
    #[error(
        "this folder's identity is `{0}`, not a sidecar of the configured tenant; remove the folder to enrol a new sidecar"
    )]
    Stranger(SpiffeId),
    /// The journal's file cannot be opened.
    #[error("the metering journal cannot be opened: {0}")]
    Journal(#[from] std::io::Error),
    /// The sidecar is enrolled, and its journal is not there.
    #[error(
        "`{}` is missing though this sidecar is enrolled: starting over would repeat its counters, which is how a forgery looks; remove the folder to enrol a new sidecar, which meters the data plane's whole journal anew",
        .0.display()
    )]
    JournalMissing(PathBuf),
    /// Metering cannot go on.
    #[error(transparent)]
    Metering(#[from] MeteringError),
}

/// Everything that a sidecar runs with.
pub(super) struct Started {
    pub(super) lock: DirLock,
    pub(super) metering: Metering<FileDisk>,
    pub(super) notices: Vec<Notice>,
    pub(super) identity: WorkloadIdentity,
    pub(super) enrolment: Enrolment,
    pub(super) control_plane: ControlPlane,
}

/// Gets everything; waits for as long as the control plane cannot be reached or there is no token.
pub(super) async fn start(config: &MeterConfig, clock: &Clock) -> Result<Started, RunError> {
    config.check()?;
    files::create_private_dir(&config.state_dir)?;
    let lock = files::lock_dir(&config.state_dir)?;
    let at = control_plane(config)?;
    let kept = WorkloadIdentity::load(&config.state_dir)?;
    // Key and journal are there before anybody knows this sidecar; from then on they are never made anew.
    let (key, journal) = match kept {
        Some(_) => (key::load(&config.state_dir)?, journal(&config.state_dir)?),
        None => (key::load_or_make(&config.state_dir)?, journal_or_new(&config.state_dir)?),
    };
    let enrolment = Enrolment {
        dir: config.state_dir.clone(),
        at: at.clone(),
        token_file: config.enrol_token_file.clone(),
        public_key: Some(key.public_key()),
    };
    let identity = match kept {
        // An expired one still says who swears: metering goes on while it is renewed.
        Some(expired) if expired.validity().not_after <= clock.now() => expired,
        Some(_) | None => enrolment.await_identity(clock).await?,
    };
    let sidecar = own_id(&identity, config.tenant)?;
    let (metering, notices) = Metering::open(FileDisk::open(&journal)?, key, sidecar, config.tenant)?;
    let control_plane = identity.control_plane(&at)?;
    Ok(Started { lock, metering, notices, identity, enrolment, control_plane })
}

fn control_plane(config: &MeterConfig) -> Result<ControlPlaneAt, IdentityError> {
    let at = ControlPlaneAt::with_roots_file(&config.control_plane_url, &config.control_plane_ca_file)?;
    Ok(match config.control_plane_addr {
        Some(addr) => at.at_address(addr),
        None => at,
    })
}

fn own_id(identity: &WorkloadIdentity, tenant: TenantId) -> Result<SidecarId, RunError> {
    match identity.spiffe().workload() {
        Workload::Sidecar(of, id) if of == tenant => Ok(id),
        Workload::Sidecar(..) | Workload::DataPlane(_) | Workload::Node(_) | Workload::ControlPlane => {
            Err(RunError::Stranger(identity.spiffe().clone()))
        }
    }
}

/// The journal of a sidecar that is enrolled.
fn journal(dir: &Path) -> Result<PathBuf, RunError> {
    let path = dir.join(JOURNAL);
    if path.symlink_metadata().is_ok() { Ok(path) } else { Err(RunError::JournalMissing(path)) }
}

/// The journal of a sidecar that is about to enrol; an empty one if there is none.
fn journal_or_new(dir: &Path) -> Result<PathBuf, RunError> {
    let path = dir.join(JOURNAL);
    if path.symlink_metadata().is_err() {
        files::write_private_atomically(&path, &[])?;
    }
    Ok(path)
}
