//! A tenant's folders on this host, who owns them, and the configurations in them.

use crate::config::{EgressAllow, NodeConfig};
use crate::known::Slot;
use crate::seat::Seat;
use crate::supervise::Role;
use host::files::{self, FileError, Owner};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use terms::TenantId;

/// One tenant's folders and users.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) data: PathBuf,
    pub(crate) meter: PathBuf,
    pub(crate) run: PathBuf,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane_addr: Option<SocketAddr>,
    control_plane_ca_file: &'a Path,
    enrol_token_file: PathBuf,
    listen: SocketAddr,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane_addr: Option<SocketAddr>,
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
            data: folder(DATA),
            meter: folder(METER),
            run: folder(RUN),
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
        seat: &Seat,
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
                    control_plane_addr: seat.control_plane(),
                    control_plane_ca_file: ca_file,
                    enrol_token_file: own.join(TOKEN),
                    listen: seat.listen(),
                    metering_socket,
                    sidecar_uid: self.meter_uid.unwrap_or_else(this),
                    driver: seat.driver(),
                    egress_allow: &config.loopback.egress_allow,
                };
                ("data.toml", toml::to_string(&data)?)
            }
            Role::Sidecar => {
                let meter = MeterConfig {
                    state_dir: own,
                    tenant,
                    control_plane_url: url,
                    control_plane_addr: seat.control_plane(),
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
            Role::DataPlane => DATA,
            Role::Sidecar => METER,
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

/// Whether a folder of the state directory is one of a tenant's.
pub(crate) fn is_zone(name: &str) -> bool {
    [DATA, METER, RUN].iter().any(|part| tenant_of(name, part).is_some())
}

/// The tenant whose data plane a folder of the state directory belongs to.
pub(crate) fn tenant_of_data(name: &str) -> Option<TenantId> {
    tenant_of(name, DATA)
}

fn tenant_of(name: &str, part: &str) -> Option<TenantId> {
    name.strip_prefix(part)?.strip_prefix('-')?.parse().ok()
}

const DATA: &str = "data";
const METER: &str = "meter";
const RUN: &str = "run";

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
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use terms::NodeId;

    const ROLES: [Role; 2] = [Role::DataPlane, Role::Sidecar];
    const TENANT: TenantId = TenantId::from_bytes([2; 16]);
    const LOOPBACK: Seat = Seat::Loopback { port: 5_678 };

    #[test]
    fn each_process_owns_a_private_folder_and_lets_others_through_to_the_socket_only() {
        let site = Site::new();
        site.make_all();
        let (data, meter) = (site.folders.data_uid, site.folders.meter_uid);
        let this = host::process::own_uid();
        for (folder, mode, uid) in [
            (&site.folders.data, 0o700, data),
            (&site.folders.meter, 0o700, meter),
            (&site.folders.run, 0o711, data),
        ] {
            let seen = folder.metadata().unwrap();
            assert_eq!((seen.mode() & 0o777, seen.uid()), (mode, uid.unwrap_or(this)), "{folder:?}");
        }
        for role in ROLES {
            let (own, uid) = site.folders.own(role);
            let seen = own.join(TOKEN).metadata().unwrap();
            assert_eq!((seen.mode() & 0o777, seen.uid()), (0o600, uid.unwrap_or(this)));
        }
    }

    #[test]
    fn user_ids_differ_for_all_processes_of_all_slots_and_from_the_control_planes() {
        let site = Site::new();
        let uids = [1, 2, 3].into_iter().flat_map(|number| {
            let folders = Folders::of(&site.config, TENANT, slot(number));
            [folders.data_uid, folders.meter_uid]
        });
        let given: Vec<_> = uids.flatten().collect();
        let base = site.config.uid_base;
        let expected = if host::process::is_root() { (base + 2..base + 8).collect() } else { Vec::new() };
        assert_eq!(given, expected);
    }

    #[test]
    fn the_configurations_say_what_data_planes_and_sidecars_read_and_nothing_else() {
        let site = Site::new();
        site.make_all();
        let both = ["control_plane_ca_file", "control_plane_url", "enrol_token_file", "state_dir", "tenant"];
        let data = ["driver", "egress_allow", "listen", "metering_socket", "sidecar_uid"];
        let meter = ["data_plane_uid", "interval_ms", "metering_socket"];
        for (seat, address) in [(LOOPBACK, None), (own(), Some("control_plane_addr"))] {
            for (role, own) in ROLES.into_iter().zip([&data[..], &meter[..]]) {
                let table = site.configured(role, &seat);
                let mut expected = [&both[..], own, address.as_slice()].concat();
                expected.sort_unstable();
                let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
                keys.sort_unstable();
                assert_eq!(keys, expected);
                assert_eq!(table["tenant"].as_str().unwrap(), TENANT.to_string());
            }
        }
    }

    #[test]
    fn a_data_plane_listens_where_its_seat_is_and_both_reach_the_control_plane_from_there() {
        let site = Site::new();
        site.make_all();
        let listen = |seat| site.configured(Role::DataPlane, seat)["listen"].as_str().unwrap().to_owned();
        assert_eq!(
            (listen(&LOOPBACK).as_str(), listen(&own()).as_str()),
            ("127.0.0.1:5678", "10.107.0.10:5678")
        );
        for role in ROLES {
            let table = site.configured(role, &own());
            assert_eq!(table["control_plane_addr"].as_str(), Some("10.100.0.2:443"));
        }
    }

    #[test]
    fn a_link_in_a_folders_place_is_neither_used_nor_followed() {
        for role in ROLES {
            let site = Site::new();
            symlink(site.outside.path(), site.folders.own(role).0).unwrap();
            assert!(matches!(site.folders.make(role), Err(FolderError::File(FileError::NotAFolder(_)))));
            assert!(site.folders.give_token(role, "palisade_enrol_x").is_err());
            assert!(site.folders.configure(&site.config, TENANT, role, &LOOPBACK).is_err());
            site.folders.remove().unwrap();
            assert!(site.folders.own(role).0.symlink_metadata().is_err(), "the link is gone");
            assert_eq!(site.kept(), ["kept"], "what it led to is not");
        }
    }

    #[test]
    fn a_link_in_a_files_place_is_replaced_not_followed() {
        let site = Site::new();
        site.folders.make(Role::DataPlane).unwrap();
        symlink(site.outside.path().join("kept"), site.folders.data.join(TOKEN)).unwrap();
        site.folders.give_token(Role::DataPlane, "palisade_enrol_x").unwrap();
        assert_eq!(std::fs::read(site.outside.path().join("kept")).unwrap(), b"x");
    }

    #[test]
    fn a_tenants_folders_are_removed_whole_without_following_links_and_again_without_harm() {
        let site = Site::new();
        site.make_all();
        symlink(site.outside.path(), site.folders.data.join("link")).unwrap();
        std::fs::create_dir(site.folders.data.join("journal")).unwrap();
        for role in ROLES {
            std::fs::write(site.folders.log(role), b"x").unwrap();
        }
        for _ in 0..2 {
            site.folders.remove().unwrap();
            let left = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
            assert_eq!(
                (left(&site.config.state_dir), left(&site.config.state_dir.join("node/logs"))),
                (1, 0)
            );
        }
        assert_eq!(site.kept(), ["kept"]);
    }

    struct Site {
        _dir: tempfile::TempDir,
        outside: tempfile::TempDir,
        config: NodeConfig,
        folders: Folders,
    }

    impl Site {
        fn new() -> Self {
            let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            std::fs::write(outside.path().join("kept"), b"x").unwrap();
            let state = dir.path().join("state");
            std::fs::create_dir_all(state.join("node").join(LOGS)).unwrap();
            let config = NodeConfig::with_defaults(state, "https://localhost:1".into(), "token".into());
            let folders = Folders::of(&config, TENANT, slot(1));
            Self { _dir: dir, outside, config, folders }
        }

        fn make_all(&self) {
            for role in ROLES {
                self.folders.make(role).unwrap();
                self.folders.give_token(role, "palisade_enrol_x").unwrap();
            }
        }

        fn configured(&self, role: Role, seat: &Seat) -> toml::Table {
            let path = self.folders.configure(&self.config, TENANT, role, seat).unwrap();
            toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        }

        fn kept(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.outside.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn own() -> Seat {
        let here = network::ControlPlane::Here { published: None, reach: Vec::new() };
        let namespace = host::network::Namespace::own().unwrap();
        Seat::own(namespace, network::NetworkNumber::try_from(7).unwrap(), &here, None).unwrap()
    }

    fn slot(number: u32) -> Slot {
        Slot { slot: number, node: NodeId::from_bytes([1; 16]), port: 0 }
    }
}
