//! The state directory of `palisade up`: where everything lies, and what is remembered between two runs.

use crate::failure::{Exit, Failure, Outcome};
use crate::up::Driver;
use host::files;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The state directory's name, in the folder where the command runs.
pub(crate) const DEFAULT_NAME: &str = "palisade-state";

/// Where root keeps state if its zones could not reach the folder where the command runs.
const SYSTEM_WIDE: &str = "/var/lib/palisade";

/// The largest file of the state directory that is read here.
pub(crate) const FILE_MAX: usize = 64 * 1024;

/// The permission to pass through a folder, for everybody.
const PASS_THROUGH: u32 = 0o001;

/// A state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

/// What `up` remembers, in `up.json`. It holds no secret, so that anyone may read where the API is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    /// The form of this file: [`Remembered::VERSION`].
    pub version: u32,
    /// Where the control plane listens.
    pub control_plane_addr: SocketAddr,
    /// The issuer of every plan token. It was chosen once and stays, wherever the control plane listens
    /// later.
    pub public_url: String,
    /// Where clients on this host reach the API.
    pub control_plane_url: String,
    /// Where the first data plane listens; 0 for any port.
    pub data_plane_port: u16,
    /// The first user id of the zones.
    pub uid_base: u32,
    /// Whether each zone has its own user id, which only root can give.
    pub zones_enforced: bool,
    /// What keeps tenants apart; absent where an earlier release ran, which kept nothing apart.
    #[serde(default)]
    pub driver: Option<Driver>,
}

impl Remembered {
    /// The only version so far.
    pub(crate) const VERSION: u32 = 1;

    /// What keeps tenants apart.
    #[must_use]
    pub(crate) fn driver(&self) -> Driver {
        self.driver.unwrap_or(Driver::Loopback)
    }
}

impl StateDir {
    /// The state directory at `path`.
    #[cfg(test)]
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The one that was asked for, or the default: `./palisade-state`. Root's zones run as users of their
    /// own,
    /// who cannot pass through a folder such as `/root`; there the default is `/var/lib/palisade`.
    ///
    /// # Errors
    /// When the folder where the command runs is gone.
    pub(crate) fn find(asked: Option<&Path>) -> Outcome<Self> {
        let here = std::env::current_dir().map_err(|error| {
            Failure::new(
                Exit::Failure,
                "file",
                format!("the current folder cannot be used: {error}"),
                "change to another folder, or name a state directory: --state-dir DIR",
            )
        })?;
        if let Some(asked) = asked {
            return Ok(Self(here.join(asked)));
        }
        let local = here.join(DEFAULT_NAME);
        let is_hidden_from_zones = host::process::is_root() && closed_ancestor(&local).is_some();
        if is_hidden_from_zones && !local.join(UP).exists() {
            return Ok(Self(PathBuf::from(SYSTEM_WIDE)));
        }
        Ok(Self(local))
    }

    /// The folder itself.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What to add to a command so that it finds this state directory; nothing for the default.
    #[must_use]
    pub(crate) fn flag(&self) -> String {
        let is_default = Self::find(None).is_ok_and(|default| default == *self);
        if is_default { String::new() } else { format!(" --state-dir {}", self.0.display()) }
    }

    /// The control plane's own folder.
    #[must_use]
    pub(crate) fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// The node's own folder.
    #[must_use]
    pub(crate) fn node(&self) -> PathBuf {
        self.0.join("node")
    }

    /// What the node says of the networks that it built; there while they stand.
    #[must_use]
    pub(crate) fn networks(&self) -> PathBuf {
        self.node().join("networks.json")
    }

    /// Copies of the programs, for when their own folder is closed to the zones' users.
    #[must_use]
    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// The roots of the control plane's certificate.
    #[must_use]
    pub(crate) fn ca(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The operator token.
    #[must_use]
    pub(crate) fn operator_token(&self) -> PathBuf {
        self.0.join("operator.token")
    }

    /// The audit log's verifier key, pinned at its first use.
    #[must_use]
    pub(crate) fn audit_key(&self) -> PathBuf {
        self.0.join("audit.vkey")
    }

    /// Reads what `up` remembered; nothing if there never was one.
    ///
    /// # Errors
    /// When the file cannot be read or is not what `up` writes.
    pub(crate) fn recall(&self) -> Outcome<Option<Remembered>> {
        let path = self.0.join(UP);
        if !path.exists() {
            return Ok(None);
        }
        const NEXT: &str = "use the state directory as the user who ran `palisade up`";
        let bytes = files::read_bounded(&path, FILE_MAX).map_err(|e| Failure::of_file(&e, NEXT))?;
        let damaged = "restore it from a backup, or choose another state directory: --state-dir DIR";
        let remembered: Remembered =
            serde_json::from_slice(&bytes).map_err(|error| Failure::bad_file(&path, error, damaged))?;
        if remembered.version != Remembered::VERSION {
            let why = format!("version `{}` is not known to this release", remembered.version);
            return Err(Failure::bad_file(&path, why, "use the release that wrote it, or a newer one"));
        }
        Ok(Some(remembered))
    }

    /// Writes what `up` remembers.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn remember(&self, remembered: &Remembered) -> Outcome {
        let text = serde_json::to_string_pretty(remembered).unwrap_or_default();
        let path = self.0.join(UP);
        files::write_atomically(&path, format!("{text}\n").as_bytes(), 0o644, files::Owner::This)
            .map_err(|error| Failure::of_file(&error, DISK))
    }
}

/// What `up` remembers.
const UP: &str = "up.json";

/// What to do when the state directory cannot be written.
pub(crate) const DISK: &str =
    "check the disk's space and the folder's permissions, or choose another: --state-dir DIR";

/// The first folder on the way to `path` that other users cannot pass through; none if all can. Folders that
/// are not there yet do not count.
#[must_use]
pub(crate) fn closed_ancestor(path: &Path) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    let is_closed =
        |dir: &&Path| dir.metadata().is_ok_and(|metadata| metadata.permissions().mode() & PASS_THROUGH == 0);
    ancestors.into_iter().find(is_closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};

    #[test]
    fn a_folder_closed_to_other_users_is_found_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let open = Permissions::from_mode(0o711);
        set_permissions(dir.path(), open.clone()).unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/inner"));
        create_dir(&outer).unwrap();
        create_dir(&inner).unwrap();
        set_permissions(&outer, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(closed_ancestor(&inner.join("state")), Some(outer.clone()));
        set_permissions(&outer, open).unwrap();
        set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(closed_ancestor(&inner.join("state/deeper")), None);
    }

    #[test]
    fn what_up_remembers_reads_back_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        assert_eq!(state.recall().unwrap(), None);
        state.remember(&remembered()).unwrap();
        assert_eq!(state.recall().unwrap(), Some(remembered()));
        let good = serde_json::to_string(&remembered()).unwrap();
        for bad in [
            "",
            "{}",
            "not json",
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("\"version\":1", "\"version\":1,\"x\":1"),
        ] {
            std::fs::write(dir.path().join(UP), bad).unwrap();
            let failure = state.recall().unwrap_err();
            assert_eq!(failure.code, "file_invalid", "{bad}");
        }
    }

    #[test]
    fn what_an_earlier_release_remembered_reads_too() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let earlier = serde_json::to_string(&remembered()).unwrap().replace(",\"driver\":\"loopback\"", "");
        std::fs::write(dir.path().join(UP), earlier).unwrap();
        assert_eq!(state.recall().unwrap(), Some(Remembered { driver: None, ..remembered() }));
    }

    #[test]
    fn a_state_directory_that_was_asked_for_is_used_as_asked() {
        let state = StateDir::find(Some(Path::new("/x/y"))).unwrap();
        assert_eq!(state.path(), Path::new("/x/y"));
        assert_eq!(state.flag(), " --state-dir /x/y");
    }

    fn remembered() -> Remembered {
        Remembered {
            version: 1,
            control_plane_addr: "127.0.0.1:8443".parse().unwrap(),
            public_url: "https://localhost:8443".into(),
            control_plane_url: "https://localhost:8443".into(),
            data_plane_port: 5678,
            uid_base: 63_000,
            zones_enforced: false,
            driver: Some(Driver::Loopback),
        }
    }
}
