//! Networks before the node has an identity: what it kept is built, or nothing but a place for the control plane.

use super::task::{Task, TaskError};
use crate::config::{Networks, NodeConfig, Place};
use crate::desired::shelf::Shelf;
use crate::desired::{Held, Judgement, Whose};
use host::clock::Clock;
use host::files::{self, FileError};
use network::addresses::{CONTROL_PLANE, HTTPS_PORT};
use serde::Serialize;
use serve::identity::WorkloadIdentity;
use serve::outbox::Seen;
use std::path::{Path, PathBuf};
use terms::{NodeId, Timestamp, Workload};
use wire::event::{EventKind, EventOutcome};

/// The file by which whoever starts the control plane sees that its network stands.
pub(crate) const SIGN: &str = "networks.json";

/// What stands before anybody asked for it.
pub(crate) struct Ground {
    /// The node's folder.
    pub(super) dir: PathBuf,
    pub(super) place: Place,
    pub(super) task: Task,
    /// What was kept, and for whom.
    kept: Option<(Whose, Recalled)>,
}

/// What the node remembers of the networks that it should have.
pub(super) struct Recalled {
    pub(super) held: Held,
    pub(super) shelf: Shelf,
    /// What is to be told of it.
    pub(super) seen: Vec<Seen>,
}

/// What the sign says.
#[derive(Serialize)]
struct Sign {
    driver: &'static str,
    control_plane_namespace: String,
    control_plane_addr: String,
}

/// Says why no network stands.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// The host cannot have them.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sign cannot be written.
    #[error("the file for whoever starts the control plane cannot be written: {0}")]
    Sign(#[from] serde_json::Error),
}

impl Ground {
    /// Builds what the node kept in its folder `dir`, if its identity is there too; else nothing but what a control
    /// plane on this host needs. None, if the host is to have no networks.
    ///
    /// # Errors
    /// When the host cannot have networks.
    pub(crate) async fn lay(
        config: &NodeConfig,
        dir: &Path,
        clock: &Clock,
    ) -> Result<Option<Self>, GroundError> {
        // One that a crash left says nothing about now.
        remove_sign(dir)?;
        let Networks::Linux(linux) = &config.networks else { return Ok(None) };
        let place = linux.place.clone();
        let kept = last_node(dir).map(|(node, issuer)| {
            let whose = Whose { node, issuer, place: place.clone() };
            let recalled = Recalled::from(dir, &whose, clock.now());
            (whose, recalled)
        });
        let accepted = kept.as_ref().and_then(|(_, recalled)| recalled.held.accepted()).cloned();
        let task = Task::start(config, linux, dir, accepted, clock.clone()).await?;
        if config.networks.is_control_plane_here() {
            put_sign(dir)?;
        }
        Ok(Some(Self { dir: dir.to_owned(), place, task, kept }))
    }

    /// What the node remembers of the networks that `whose` host should have. If that is something else than what
    /// stands, it is built.
    pub(super) fn recall(&mut self, whose: &Whose, now: Timestamp) -> Recalled {
        match self.kept.take() {
            Some((same, recalled)) if same == *whose => recalled,
            Some(_) | None => {
                let recalled = Recalled::from(&self.dir, whose, now);
                match recalled.held.accepted() {
                    Some(accepted) => self.task.apply(accepted),
                    None => self.task.clear(),
                }
                recalled
            }
        }
    }

    /// Takes everything down.
    pub(crate) async fn end(self) {
        end(self.task, &self.dir).await;
    }
}

impl Recalled {
    fn from(dir: &Path, whose: &Whose, now: Timestamp) -> Self {
        let mut held = Held::default();
        match Shelf::load(dir) {
            Ok((shelf, None)) => Self { held, shelf, seen: Vec::new() },
            Ok((shelf, Some(document))) => {
                match held.judge(document, whose) {
                    Ok(Judgement::Newer(accepted)) => held.take(accepted),
                    Ok(Judgement::Known) => {}
                    // Another enrolment's, or this host is set up otherwise by now: what comes next says more.
                    Err(refusal) => tracing::warn!(%refusal, "the networks that were kept are not used"),
                }
                Self { held, shelf, seen: Vec::new() }
            }
            Err(error) => {
                tracing::error!(%error, "the networks that were kept cannot be used; new ones have to come");
                let seen = Seen {
                    time: now,
                    kind: EventKind::NetworkChanged,
                    resource: "network/host".to_owned(),
                    tenant: None,
                    outcome: EventOutcome::Failure,
                    reason: "networks.kept_damaged".to_owned(),
                    count: 1,
                };
                Self { held, shelf: Shelf::empty(dir), seen: vec![seen] }
            }
        }
    }
}

/// Who the node was when it last ran, by its folder, and the control plane that it was enrolled with. One that it
/// does not prove counts no more than no identity.
pub(crate) fn last_node(dir: &Path) -> Option<(NodeId, String)> {
    let identity = WorkloadIdentity::load(dir).ok()??;
    let Workload::Node(node) = identity.spiffe().workload() else { return None };
    Some((node, identity.issuer().to_owned()))
}

/// Takes everything down, and the sign first.
pub(super) async fn end(task: Task, dir: &Path) {
    if let Err(error) = remove_sign(dir) {
        tracing::warn!(%error, "a file stays that says that networks stand");
    }
    task.end().await;
}

fn put_sign(dir: &Path) -> Result<(), GroundError> {
    let sign = Sign {
        driver: "linux",
        control_plane_namespace: network::Namespace::ControlPlane.name().unwrap_or_default(),
        control_plane_addr: format!("{CONTROL_PLANE}:{HTTPS_PORT}"),
    };
    Ok(files::write_private_atomically(&dir.join(SIGN), &serde_json::to_vec(&sign)?)?)
}

fn remove_sign(dir: &Path) -> Result<(), FileError> {
    let path = dir.join(SIGN);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::System { deed: "remove", path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
