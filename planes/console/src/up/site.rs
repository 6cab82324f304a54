//! The place where `up` builds: the state directory with its lock, its folders, its key and its token.

use super::state::{Asked, decide};
use super::{DEMO_INTERVAL_MS, Driver, Options, configs, ports, programs, resolvers};
use crate::failure::{Exit, Failure, Outcome};
use crate::state_dir::{DISK, FILE_MAX, Remembered, StateDir, closed_ancestor};
use crate::token;
use core::fmt::Write as _;
use host::files::{self, DirLock, FileError, LockError, Owner};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use terms::Token;
use tokio::net::TcpSocket;
use zeroize::Zeroizing;

/// Everything that is decided before the first process starts.
#[derive(Debug)]
pub(crate) struct Site {
    /// The state directory.
    pub state: StateDir,
    /// What this run is like, and the next one will remember.
    pub chosen: Remembered,
    /// The folder of the programs.
    pub programs: PathBuf,
    /// What kept tenants apart before, if it was something else.
    pub driver_before: Option<Driver>,
    /// With networks: the resolvers that the control plane may ask.
    pub resolvers: Vec<SocketAddrV4>,
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
    /// With networks: holds the host's port that leads to the control plane. Whoever listened there would wait in vain.
    pub(super) _published: Option<TcpSocket>,
    /// Keeps a second `up` out for as long as this one lives.
    pub(super) _lock: Option<DirLock>,
}

/// The control plane's database, by which a state directory in use is told from a new one.
const DATABASE: &str = "palisade.db";

impl Site {
    /// Makes or takes up the state directory, and writes what the processes need to start.
    ///
    /// # Errors
    /// [`Failure`]: another `up` runs there, it belongs to somebody else, a port is taken, or a key is
    /// missing.
    pub(crate) fn prepare(options: &Options, state_dir: Option<&Path>) -> Outcome<Self> {
        let is_root = host::process::is_root();
        let state = StateDir::find(state_dir)?;
        if is_root {
            refuse_unreachable(&state)?;
        }
        make_dir(state.path(), if is_root { 0o711 } else { 0o700 }, Owner::This)?;
        let lock = files::lock_dir(state.path()).map_err(|error| held(&error))?;
        let asked = Asked {
            control_plane_addr: options.control_plane_addr,
            data_plane_port: options.data_plane_port,
            uid_base: options.uid_base,
            driver: options.driver,
            is_root,
        };
        let before = state.recall()?;
        let chosen = decide(before.as_ref(), &asked, &ports::ThisMachine)?;
        let driver = chosen.driver();
        driver.try_out()?;
        let programs = programs::find(&state, chosen.zones_enforced)?;
        let default = if options.demo { DEMO_INTERVAL_MS } else { wire::heartbeat::INTERVAL_MS };
        let interval_ms = options.heartbeat_interval_ms.unwrap_or(default);
        let site = Self {
            driver_before: before.map(|before| before.driver()).filter(|before| *before != driver),
            resolvers: match driver {
                Driver::Linux => resolvers::of_this_machine(),
                Driver::Loopback => Vec::new(),
            },
            _published: match driver {
                Driver::Linux => Some(hold(chosen.control_plane_addr)?),
                Driver::Loopback => None,
            },
            state,
            chosen,
            programs,
            interval_ms,
            _lock: Some(lock),
        };
        site.furnish()?;
        Ok(site)
    }

    /// What keeps tenants apart.
    #[must_use]
    pub(crate) fn driver(&self) -> Driver {
        self.chosen.driver()
    }

    /// The root key's file.
    #[must_use]
    pub(crate) fn root_key(&self) -> PathBuf {
        self.state.control().join("root.key")
    }

    /// The node's one-time token.
    #[must_use]
    pub(crate) fn enrol_token(&self) -> PathBuf {
        self.state.node().join("enrol.token")
    }

    /// The user id that the control plane runs as; none if everything is one user.
    #[must_use]
    pub(crate) fn control_uid(&self) -> Option<u32> {
        self.chosen.zones_enforced.then_some(self.chosen.uid_base)
    }

    fn control_owner(&self) -> Owner {
        self.control_uid().map_or(Owner::This, |uid| Owner::User { uid, gid: uid })
    }

    /// Makes folders, root key and operator token, and remembers the choice before anything uses it.
    fn furnish(&self) -> Outcome {
        make_dir(&self.state.control(), 0o700, self.control_owner())?;
        make_dir(&self.state.node(), 0o700, Owner::This)?;
        self.make_root_key()?;
        let token = self.operator_token()?;
        self.state.remember(&self.chosen)?;
        self.write_for_control("config.toml", &configs::control(self, &token.digest()))?;
        let node = self.state.node().join("config.toml");
        files::write_private_atomically(&node, configs::node(self).as_bytes())
            .map_err(|error| Failure::of_file(&error, DISK))
    }

    /// Makes a root key for a new state directory. A database whose key is gone must not get another one: it
    /// could never be read again, and the loss would look like a fault of the database.
    fn make_root_key(&self) -> Outcome {
        if self.root_key().symlink_metadata().is_ok() {
            return Ok(());
        }
        if self.state.control().join(DATABASE).exists() {
            return Err(Failure::new(
                Exit::Failure,
                "root_key_missing",
                format!("the database is there, but its key `{}` is not", self.root_key().display()),
                "put the key back from your backup; without it the data cannot be read by anyone",
            ));
        }
        let key = Zeroizing::new(host::entropy::bytes::<32>()?);
        // The whole length at once: growing would leave pieces of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * key.len()));
        for byte in key.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        self.write_for_control("root.key", &text)
    }

    fn operator_token(&self) -> Outcome<Token> {
        let path = self.state.operator_token();
        if path.symlink_metadata().is_ok() { token::read(&path) } else { token::mint(&path) }
    }

    fn write_for_control(&self, name: &str, text: &str) -> Outcome {
        let path = self.state.control().join(name);
        files::write_atomically(&path, text.as_bytes(), 0o600, self.control_owner())
            .map_err(|error| Failure::of_file(&error, DISK))
    }

    /// Takes over what the control plane made before it was ready, for every client on this host: its CA.
    ///
    /// # Errors
    /// When its certificates cannot be read, or the state directory not be written.
    pub(crate) fn control_plane_is_ready(&self) -> Outcome {
        let ca = self.state.control().join("ca.pem");
        let bytes = files::read_bounded(&ca, FILE_MAX).map_err(|error| Failure::of_file(&error, DISK))?;
        let certificates = certificates_only(&String::from_utf8_lossy(&bytes));
        let Some(certificates) = certificates else {
            let next = "look at the log of the control plane, beside this file";
            return Err(Failure::bad_file(&ca, "it holds no certificate", next));
        };
        files::write_atomically(&self.state.ca(), certificates.as_bytes(), 0o644, Owner::This)
            .map_err(|error| Failure::of_file(&error, DISK))
    }
}

/// Binds `address`, at which nobody listens: connections to it are led to the control plane before they would
/// arrive.
fn hold(address: SocketAddr) -> Outcome<TcpSocket> {
    let held = || {
        let socket = TcpSocket::new_v4()?;
        // What ended here a moment ago is no hindrance; whoever comes from now on is.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.set_reuseaddr(false)?;
        Ok(socket)
    };
    held().map_err(|error: std::io::Error| {
        let cause = format!("{address} cannot be held for the control plane: {error}");
        Failure::new(Exit::Failure, "port_taken", cause, "choose another: --control-plane-addr 127.0.0.1:0")
    })
}

fn make_dir(path: &Path, mode: u32, owner: Owner) -> Outcome {
    files::create_dir(path, mode, owner).map_err(|error| {
        let next = match &error {
            FileError::ForeignOwner { .. } => {
                "run `palisade up` as the user who made it, or choose another: --state-dir DIR"
            }
            _ => DISK,
        };
        Failure::of_file(&error, next)
    })
}

#[cfg(test)]
impl Site {
    /// A site that nobody prepared.
    pub(super) fn for_tests(state: StateDir, chosen: Remembered) -> Self {
        Self {
            state,
            chosen,
            programs: "/opt/palisade".into(),
            driver_before: None,
            resolvers: Vec::new(),
            interval_ms: 2_000,
            _published: None,
            _lock: None,
        }
    }
}

fn refuse_unreachable(state: &StateDir) -> Outcome {
    let Some(closed) = closed_ancestor(state.path()) else { return Ok(()) };
    Err(Failure::new(
        Exit::Failure,
        "state_unreachable",
        format!(
            "as root each zone runs as a user of its own, and those cannot pass through `{}`",
            closed.display()
        ),
        format!(
            "choose a place that they can reach: --state-dir /var/lib/palisade (or: chmod o+x '{}')",
            closed.display()
        ),
    ))
}

fn held(error: &LockError) -> Failure {
    let (code, next) = match error {
        LockError::Held { .. } => {
            ("state_in_use", "use the one that runs, stop it with Ctrl-C, or choose another: --state-dir DIR")
        }
        LockError::System { .. } => ("file", DISK),
    };
    Failure::new(Exit::Failure, code, error.to_string(), next)
}

/// The certificates in a PEM text and nothing else, so that a control plane that was taken over cannot make
/// root publish another file's text through a link.
fn certificates_only(pem: &str) -> Option<String> {
    let mut certificates = String::new();
    let mut is_inside = false;
    for line in pem.lines() {
        match (line, is_inside) {
            (BEGIN, false) => is_inside = true,
            (END, true) => is_inside = false,
            (_, true) if is_base64(line) => {}
            (_, true) => return None,
            (_, false) => continue,
        }
        certificates.push_str(line);
        certificates.push('\n');
    }
    (!certificates.is_empty() && !is_inside).then_some(certificates)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

fn is_base64(line: &str) -> bool {
    line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::state::CONTROL_PLANE_ADDR;
    use std::fs;

    #[test]
    fn a_second_run_keeps_the_key_and_the_token_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path());
        site.furnish().unwrap();
        let first = secrets(&site);
        site.furnish().unwrap();
        assert_eq!(secrets(&site), first);
        assert_eq!(first.0.len(), 64);
        assert_eq!(site.state.recall().unwrap().as_ref(), Some(&site.chosen));
    }

    #[test]
    fn the_control_plane_gets_the_tokens_digest_and_never_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path());
        site.furnish().unwrap();
        let config = fs::read_to_string(site.state.control().join("config.toml")).unwrap();
        let (_, text) = secrets(&site);
        let token: Token = text.trim_end().parse().unwrap();
        assert!(config.contains(&token.digest().to_string()) && !config.contains(token.expose()));
    }

    #[test]
    fn a_database_whose_key_is_gone_does_not_get_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path());
        site.furnish().unwrap();
        fs::write(site.state.control().join(DATABASE), "sealed").unwrap();
        fs::remove_file(site.root_key()).unwrap();
        assert_eq!(site.furnish().unwrap_err().code, "root_key_missing");
        assert!(!site.root_key().exists());
    }

    #[test]
    fn a_second_up_on_one_state_directory_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let _first = files::lock_dir(dir.path()).unwrap();
        let failure = held(&files::lock_dir(dir.path()).unwrap_err());
        assert_eq!(failure.code, "state_in_use");
        assert!(failure.cause.contains(&std::process::id().to_string()), "{failure}");
    }

    #[test]
    fn a_folder_that_cannot_be_locked_is_not_said_to_be_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let failure = held(&files::lock_dir(&dir.path().join("gone")).unwrap_err());
        assert_eq!((failure.code.as_str(), failure.next_step.as_str()), ("file", DISK));
    }

    #[test]
    fn a_ca_that_leads_elsewhere_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path());
        site.furnish().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", site.state.control().join("ca.pem")).unwrap();
        assert_eq!(site.control_plane_is_ready().unwrap_err().code, "file_invalid");
        assert!(!site.state.ca().exists());
    }

    #[tokio::test]
    async fn a_port_that_is_held_is_nobody_elses() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let held = hold(free).unwrap();
        assert!(std::net::TcpListener::bind(free).is_err());
        assert!(std::net::TcpStream::connect(free).is_err(), "nobody listens there");
        drop(held);
        assert!(std::net::TcpListener::bind(free).is_ok());
    }

    fn secrets(site: &Site) -> (String, String) {
        let read = |path| fs::read_to_string(path).unwrap();
        (read(site.root_key()), read(site.state.operator_token()))
    }

    fn site(dir: &Path) -> Site {
        let url = "https://localhost:8443".to_owned();
        let chosen = Remembered {
            version: Remembered::VERSION,
            control_plane_addr: CONTROL_PLANE_ADDR,
            public_url: url.clone(),
            control_plane_url: url,
            data_plane_port: 5_678,
            uid_base: 63_000,
            zones_enforced: false,
            driver: Some(Driver::Loopback),
        };
        Site::for_tests(StateDir::new(dir), chosen)
    }

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB+/=\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn only_certificates_pass_from_the_control_plane_to_everybody() {
        assert_eq!(certificates_only(CERTIFICATE).as_deref(), Some(CERTIFICATE));
        let two = format!("{CERTIFICATE}{CERTIFICATE}");
        assert_eq!(certificates_only(&two), Some(two));
        for bad in [
            "",
            "root:$6$abc:19000:0:::::",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nroot:x:0:0\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert_eq!(certificates_only(bad), None, "{bad:?}");
        }
        let hidden = certificates_only(&format!("secret\n{CERTIFICATE}")).unwrap();
        assert!(!hidden.contains("secret"));
    }
}
