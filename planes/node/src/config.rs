//! What a node is told: by its configuration file, or by its command line.

mod networks;

pub use networks::{Linux, Networks, OnDrift, Place};

use network::addresses::HTTPS_PORT;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The first user id that is given away, unless configured: above those of systems and people, below those that
/// container managers map (subuid(5) ranges begin at 100 000).
const UID_BASE: u32 = 63_000;

/// The port of the first tenant's data plane, unless configured.
const DATA_PLANE_PORT: u16 = 5_678;

/// How often the control plane is asked, in milliseconds, unless configured.
const POLL_MS: u64 = 500;

/// The bounds of [`NodeConfig::poll_ms`]: a busy loop helps nobody, and within a minute a tenant must be stopped.
const POLL_BOUNDS_MS: core::ops::RangeInclusive<u64> = 50..=60_000;

/// The bounds of [`NodeConfig::interval_ms`]: from what tests need to what a bill can bear to lose sight of.
const INTERVAL_BOUNDS_MS: core::ops::RangeInclusive<u64> = 100..=3_600_000;

/// A node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The state directory of the host.
    pub state_dir: PathBuf,
    /// Where the control plane is.
    pub control_plane_url: String,
    /// The roots that the control plane's certificate comes from.
    pub control_plane_ca_file: PathBuf,
    /// The one-time token's file.
    pub enrol_token_file: PathBuf,
    /// The port of the first tenant's data plane on the host's loopback; 0 is any, and so are all later ones.
    #[serde(default = "data_plane_port")]
    pub data_plane_port: u16,
    /// The first user id that may be given to processes. Needs root.
    #[serde(default = "uid_base")]
    pub uid_base: u32,
    /// How often the control plane is asked, in milliseconds.
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
    /// Milliseconds between heartbeats.
    #[serde(default = "interval_ms")]
    pub interval_ms: u64,
    /// The folder of `palisade-data` and `palisade-meter`; beside this program, unless configured.
    #[serde(default)]
    pub bin_dir: Option<PathBuf>,
    /// What keeps tenants apart.
    #[serde(default)]
    pub networks: Networks,
    /// Exceptions for data planes that run on the host's own network.
    #[serde(default)]
    pub loopback: Loopback,
}

/// Exceptions for data planes that run on the host's own network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loopback {
    /// Addresses that plans alone could not reach.
    #[serde(default)]
    pub egress_allow: Vec<EgressAllow>,
}

/// One address that plans alone could not reach. The data plane judges it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressAllow {
    /// The host name that workflows call.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where the name may lead.
    pub cidr: String,
    /// The roots of its certificate, PEM, in a file that data planes may read; the public web's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Says why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is out of bounds.
    #[error("`{key}` must be from {min} to {max}")]
    OutOfBounds {
        /// Which one.
        key: &'static str,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// Networks cannot be made.
    #[error(
        "tenant networks need root: run the node as root, or choose the driver `loopback`, which keeps no tenant from another"
    )]
    NetworksNeedRoot,
    /// A tenant's network lets its data plane out to one port only.
    #[error(
        "`{url}` is not on port {HTTPS_PORT}, the only one that data planes may call: let the control plane listen there, or choose the driver `loopback`"
    )]
    ControlPlanePort {
        /// The control plane's URL.
        url: String,
    },
    /// Exceptions would do nothing.
    #[error(
        "`loopback.egress_allow` is for the driver `loopback` only: a tenant's network lets nothing of it through"
    )]
    ExceptionsWithNetworks,
}

impl NodeConfig {
    /// A configuration with the defaults, for a node whose command line says the rest.
    #[must_use]
    pub fn with_defaults(state_dir: PathBuf, control_plane_url: String, enrol_token_file: PathBuf) -> Self {
        Self {
            control_plane_ca_file: state_dir.join("ca.pem"),
            state_dir,
            control_plane_url,
            enrol_token_file,
            data_plane_port: DATA_PLANE_PORT,
            uid_base: UID_BASE,
            poll_ms: POLL_MS,
            interval_ms: wire::heartbeat::INTERVAL_MS,
            bin_dir: None,
            networks: Networks::Loopback,
            loopback: Loopback::default(),
        }
    }

    /// Checks what the types do not, for a process that `is_root` or is not.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self, is_root: bool) -> Result<(), ConfigError> {
        within("poll_ms", self.poll_ms, &POLL_BOUNDS_MS)?;
        within("interval_ms", self.interval_ms, &INTERVAL_BOUNDS_MS)?;
        // Root must never be given away, nor the user ids of the system.
        within("uid_base", u64::from(self.uid_base), &(1_000..=u64::from(u32::MAX / 2)))?;
        let Networks::Linux(linux) = &self.networks else { return Ok(()) };
        if !is_root {
            return Err(ConfigError::NetworksNeedRoot);
        }
        if !self.loopback.egress_allow.is_empty() {
            return Err(ConfigError::ExceptionsWithNetworks);
        }
        match linux.place {
            // Data planes reach it in its own namespace, whatever it is published as.
            Place::Here { .. } => Ok(()),
            Place::Elsewhere { .. } if port_of(&self.control_plane_url) == Some(HTTPS_PORT) => Ok(()),
            Place::Elsewhere { .. } => {
                Err(ConfigError::ControlPlanePort { url: self.control_plane_url.chars().take(200).collect() })
            }
        }
    }
}

fn within(key: &'static str, value: u64, bounds: &core::ops::RangeInclusive<u64>) -> Result<(), ConfigError> {
    let (min, max) = (*bounds.start(), *bounds.end());
    if bounds.contains(&value) { Ok(()) } else { Err(ConfigError::OutOfBounds { key, min, max }) }
}

/// The port of an https URL.
fn port_of(url: &str) -> Option<u16> {
    let url: http::Uri = url.parse().ok()?;
    url.host()?;
    Some(url.port_u16().unwrap_or(HTTPS_PORT))
}

const fn data_plane_port() -> u16 {
    DATA_PLANE_PORT
}

const fn uid_base() -> u32 {
    UID_BASE
}

const fn poll_ms() -> u64 {
    POLL_MS
}

const fn interval_ms() -> u64 {
    wire::heartbeat::INTERVAL_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::config::ConfigError as FileConfigError;

    /// What `palisade up` writes.
    const WRITTEN: &str = r#"
        state_dir = "/s"
        control_plane_url = "https://localhost:8443"
        control_plane_ca_file = "/s/ca.pem"
        enrol_token_file = "/s/node/enrol.token"
        data_plane_port = 0
        uid_base = 70000
        interval_ms = 2000
        bin_dir = "/opt/palisade"
    "#;

    #[test]
    fn what_up_writes_is_read_and_the_rest_has_defaults() {
        let config = read(WRITTEN).unwrap();
        assert_eq!((config.data_plane_port, config.uid_base, config.interval_ms), (0, 70_000, 2_000));
        assert_eq!(config.bin_dir.as_deref(), Some(std::path::Path::new("/opt/palisade")));
        assert_eq!((config.poll_ms, config.loopback.egress_allow.len()), (POLL_MS, 0));
        config.check(false).unwrap();
    }

    #[test]
    fn the_command_line_alone_gives_the_same_as_a_file_with_nothing_optional() {
        let least = WRITTEN.lines().filter(|line| {
            !["data_plane_port", "uid_base", "interval_ms", "bin_dir"].iter().any(|key| line.contains(key))
        });
        let url = "https://localhost:8443".to_owned();
        let config = NodeConfig::with_defaults("/s".into(), url, "/s/node/enrol.token".into());
        assert_eq!(read(&least.collect::<Vec<_>>().join("\n")).unwrap(), config);
        config.check(false).unwrap();
    }

    #[test]
    fn the_shipped_example_is_one_for_a_host_of_its_own() {
        let config = read(include_str!("../../../deploy/node.example.toml")).unwrap();
        assert_eq!(config.networks, Networks::elsewhere());
        config.check(true).unwrap();
    }

    #[test]
    fn exceptions_for_data_planes_are_read() {
        let allow = "[[loopback.egress_allow]]\nhost = \"a.test\"\nport = 443\ncidr = \"127.0.0.0/8\"";
        let config =
            read(&format!("{WRITTEN}\npoll_ms = 50\n{allow}\n{allow}\nca_file = \"/a.pem\"")).unwrap();
        let public =
            EgressAllow { host: "a.test".into(), port: 443, cidr: "127.0.0.0/8".into(), ca_file: None };
        let private = EgressAllow { ca_file: Some("/a.pem".into()), ..public.clone() };
        assert_eq!((config.poll_ms, config.loopback.egress_allow), (50, vec![public, private]));
    }

    #[test]
    fn an_unknown_key_is_refused_wherever_it_is() {
        for odd in [
            "odd = 1",
            "[networks]\ndriver = \"loopback\"\nodd = 1",
            "[loopback]\nodd = 1",
            "[[loopback.egress_allow]]\nodd = 1",
        ] {
            assert!(
                matches!(read(&format!("{WRITTEN}\n{odd}")), Err(FileConfigError::Invalid { .. })),
                "{odd}"
            );
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        let good = read(WRITTEN).unwrap();
        for (key, bad) in [
            ("poll_ms", NodeConfig { poll_ms: 49, ..good.clone() }),
            ("poll_ms", NodeConfig { poll_ms: 60_001, ..good.clone() }),
            ("interval_ms", NodeConfig { interval_ms: 99, ..good.clone() }),
            ("interval_ms", NodeConfig { interval_ms: 3_600_001, ..good.clone() }),
            ("uid_base", NodeConfig { uid_base: 0, ..good.clone() }),
            ("uid_base", NodeConfig { uid_base: 999, ..good.clone() }),
            ("uid_base", NodeConfig { uid_base: u32::MAX / 2 + 1, ..good.clone() }),
        ] {
            let refusal = bad.check(true).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("`{key}` must be from ")), "{refusal}");
        }
    }

    #[test]
    fn networks_need_root_and_no_exceptions() {
        let loopback = read(WRITTEN).unwrap();
        let linux = NodeConfig { networks: here(), ..loopback.clone() };
        assert_eq!((loopback.check(false), linux.check(true)), (Ok(()), Ok(())));
        assert_eq!(linux.check(false), Err(ConfigError::NetworksNeedRoot));
        let egress_allow =
            vec![EgressAllow { host: "a.test".into(), port: 443, cidr: "127.0.0.0/8".into(), ca_file: None }];
        let linux = NodeConfig { loopback: Loopback { egress_allow }, ..linux };
        assert_eq!(linux.check(true), Err(ConfigError::ExceptionsWithNetworks));
    }

    #[test]
    fn a_control_plane_elsewhere_is_on_the_one_port_that_data_planes_may_call() {
        let good = NodeConfig { networks: Networks::elsewhere(), ..read(WRITTEN).unwrap() };
        let check = |networks: Networks, url: &str| {
            NodeConfig { networks, control_plane_url: url.to_owned(), ..good.clone() }.check(true)
        };
        for url in ["https://cp.example.com", "https://cp.example.com:443", "https://192.0.2.7"] {
            assert_eq!(check(Networks::elsewhere(), url), Ok(()), "{url}");
        }
        for url in ["https://cp.example.com:8443", "https://cp.example.com:80", "", "/"] {
            let refused = Err(ConfigError::ControlPlanePort { url: url.to_owned() });
            assert_eq!(check(Networks::elsewhere(), url), refused, "{url}");
            assert_eq!(check(here(), url), Ok(()), "{url}");
        }
    }

    fn here() -> Networks {
        let place = Place::Here { published: None, reach: Vec::new() };
        Networks::Linux(Linux { place, drift: OnDrift::Repair, interfaces: None })
    }

    fn read(text: &str) -> Result<NodeConfig, FileConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        host::config::load(&path)
    }
}
