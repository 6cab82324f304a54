//! A tenant's folders on this host, who owns them, and the configurations in them.

use crate::config::{EgressAllow, NodeConfig};
use crate::known::Slot;
use crate::supervise::Role;
use host::files::{self, FileError, Owner};
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::TenantId;

/// One tenant's folders and users.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) data: PathBuf,
    pub(crate) meter: PathBuf,
    run: PathBuf,
    logs: PathBuf,
    tenant: TenantId,
    pub(crate) data_uid: Option<u32>,
    pub(crate) meter_uid: Option<u32>,
}

/// The data plane's configuration, as it reads it.
#[derive(Serialize)]
struct DataConfig<'a> {
    state_dir: &'a Path,
    tenant: TenantId,
    control_plane_url: &'a str,
    control_plane_ca_file: &'a Path,
    enrol_token_file: PathBuf,
    listen: String,
    metering_socket: PathBuf,
    sidecar_uid: u32,
    driver: &'static str,
    egress_allow: &'a [EgressAllow],
}

/// The sidecar's configuration, as it reads it.
#[derive(Serialize)]
struct MeterConfig<'a> {
    state_dir: &'a Path,
    tenant: TenantId,
    control_plane_url: &'a str,
    control_plane_ca_file: &'a Path,
    enrol_token_file: PathBuf,
    metering_socket: PathBuf,
    data_plane_uid: u32,
    interval_ms: u64,
}

/// Says why a process's folder cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// A folder or file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// A configuration cannot be written.
    #[error("a configuration cannot be written: {0}")]
    Config(#[from] toml::ser::Error),
    /// Something else than a folder of ours is there.
    #[error("`{0}` cannot be removed: {1}")]
    Remove(PathBuf, std::io::Error),
}

impl Folders {
    /// The folders of `tenant`; a typed id, so that no path leads elsewhere.
    pub(crate) fn of(config: &NodeConfig, tenant: TenantId, slot: Slot) -> Self {
        let folder = |part: &str| config.state_dir.join(format!("{part}-{tenant}"));
        let first = config.uid_base.saturating_add(slot.slot.saturating_mul(2));
        let uid = |uid: u32| host::process::is_root().then_some(uid);
        Self {
            data: folder("data"),
            meter: folder("meter"),
            run: folder("run"),
            logs: config.state_dir.join("node").join(LOGS),
            tenant,
            data_uid: uid(first),
            meter_uid: uid(first.saturating_add(1)),
        }
    }

    /// The folder and user of one process.
    pub(crate) fn own(&self, role: Role) -> (&Path, Option<u32>) {
        match role {
            Role::DataPlane => (&self.data, self.data_uid),
            Role::Sidecar => (&self.meter, self.meter_uid),
        }
    }

    /// Makes the folders of one process.
    pub(crate) fn make(&self, role: Role) -> Result<(), FolderError> {
        let (own, uid) = self.own(role);
        files::create_dir(own, 0o700, owner(uid))?;
        if let Role::DataPlane = role {
            // The sidecar has to reach the socket in it; who connects is checked there.
            files::create_dir(&self.run, 0o711, owner(self.data_uid))?;
        }
        Ok(())
    }

    /// Writes a one-time token into a process's folder.
    pub(crate) fn give_token(&self, role: Role, token: &str) -> Result<(), FolderError> {
        let (own, uid) = self.own(role);
        Ok(files::write_atomically(&own.join(TOKEN), token.as_bytes(), 0o600, owner(uid))?)
    }

    /// Writes a process's configuration and gives its path.
    pub(crate) fn configure(
        &self,
        config: &NodeConfig,
        tenant: TenantId,
        role: Role,
        port: u16,
    ) -> Result<PathBuf, FolderError> {
        let (own, uid) = self.own(role);
        let metering_socket = self.run.join("meter.sock");
        let (url, ca_file) = (config.control_plane_url.as_str(), config.control_plane_ca_file.as_path());
        // Without root, everything runs as one user.
        let this = host::process::own_uid;
        let (name, text) = match role {
            Role::DataPlane => {
                let data = DataConfig {
                    state_dir: own,
                    tenant,
                    control_plane_url: url,
                    control_plane_ca_file: ca_file,
                    enrol_token_file: own.join(TOKEN),
                    listen: format!("127.0.0.1:{port}"),
                    metering_socket,
                    sidecar_uid: self.meter_uid.unwrap_or_else(this),
                    driver: "loopback",
                    egress_allow: &config.loopback.egress_allow,
                };
                ("data.toml", toml::to_string(&data)?)
            }
            Role::Sidecar => {
                let meter = MeterConfig {
                    state_dir: own,
                    tenant,
                    control_plane_url: url,
                    control_plane_ca_file: ca_file,
                    enrol_token_file: own.join(TOKEN),
                    metering_socket,
                    data_plane_uid: self.data_uid.unwrap_or_else(this),
                    interval_ms: config.interval_ms,
                };
                ("meter.toml", toml::to_string(&meter)?)
            }
        };
        let path = own.join(name);
        files::write_atomically(&path, text.as_bytes(), 0o600, owner(uid))?;
        Ok(path)
    }

    /// Where a process's log goes: a folder of the node's own. In the process's folder, it could put a link where
    /// the node, as root, would then write for it.
    pub(crate) fn log(&self, role: Role) -> PathBuf {
        let part = match role {
            Role::DataPlane => "data",
            Role::Sidecar => "meter",
        };
        self.logs.join(format!("{part}-{}.log", self.tenant))
    }

    /// Removes everything that the tenant had here. Symbolic links are removed, never followed.
    pub(crate) fn remove(&self) -> Result<(), FolderError> {
        let removed = |path: &Path, result: std::io::Result<()>| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FolderError::Remove(path.to_owned(), error))
            }
            Ok(()) | Err(_) => Ok(()),
        };
        for folder in [&self.data, &self.meter, &self.run] {
            removed(folder, std::fs::remove_dir_all(folder))?;
        }
        for log in [self.log(Role::DataPlane), self.log(Role::Sidecar)] {
            removed(&log, std::fs::remove_file(&log))?;
        }
        Ok(())
    }
}

/// The folder of logs in the node's folder.
pub(crate) const LOGS: &str = "logs";

/// The token's file in a process's folder.
const TOKEN: &str = "enrol.token";

fn owner(uid: Option<u32>) -> Owner {
    uid.map_or(Owner::This, |uid| Owner::User { uid, gid: uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::NodeId;

    #[test]
    fn a_tenants_folders_are_made_configured_and_removed_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), b"x").unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let config = NodeConfig::with_defaults(state, "https://localhost:1".into(), "token".into());
        let slot = Slot { slot: 1, node: NodeId::from_bytes([1; 16]), port: 0 };
        let tenant = TenantId::from_bytes([2; 16]);
        let folders = Folders::of(&config, tenant, slot);
        for role in [Role::DataPlane, Role::Sidecar] {
            folders.make(role).unwrap();
            folders.give_token(role, "palisade_enrol_x").unwrap();
            let text =
                std::fs::read_to_string(folders.configure(&config, tenant, role, 5_678).unwrap()).unwrap();
            assert!(text.contains(&tenant.to_string()) && text.contains("meter.sock"), "{text}");
        }
        std::os::unix::fs::symlink(outside.path(), folders.data.join("link")).unwrap();
        folders.remove().unwrap();
        assert!(!folders.data.exists() && outside.path().join("kept").exists());
    }
}
