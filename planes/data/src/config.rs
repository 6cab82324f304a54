//! The configuration file of a data plane.

use crate::egress::Exception;
use ipnet::IpNet;
use serde::Deserialize;
use serve::identity::{ControlPlaneAt, IdentityError};
use serve::tls::{Roots, TlsError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use terms::{HostPattern, TenantId};
use wire::plan::Limits;

/// The largest file of roots.
const ROOTS_MAX: usize = 1024 * 1024;

/// A data plane's configuration. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The data plane's own folder (0700).
    pub state_dir: PathBuf,
    /// Whose data plane it is.
    pub tenant: TenantId,
    /// The control plane's URL, without a trailing slash.
    pub control_plane_url: String,
    /// Where the control plane is reached, if its URL's host is not to be resolved: a tenant's network knows one
    /// address of it, and no name.
    #[serde(default)]
    pub control_plane_addr: Option<SocketAddr>,
    /// The roots of the control plane's certificate, PEM.
    pub control_plane_ca_file: PathBuf,
    /// The one-time enrolment token's file.
    pub enrol_token_file: PathBuf,
    /// Where to take plans; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where the sidecar reads the counters.
    pub metering_socket: PathBuf,
    /// Who the sidecar is.
    pub sidecar_uid: u32,
    /// How the tenant's network is made.
    pub driver: Driver,
    /// What no execution gets more of, whatever its plan allows.
    #[serde(default)]
    pub limits: LocalLimits,
    /// Hosts beside the public internet that plans may call; with the loopback driver only.
    #[serde(default)]
    pub egress_allow: Vec<EgressAllow>,
}

/// How the tenant's network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// It is not: everything is on this host's loopback. For demonstrations and tests.
    Loopback,
    /// A network namespace with its own firewall.
    Linux,
}

/// The operator's own limits. What is left out is as the plan says.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalLimits {
    /// Milliseconds from start to end.
    pub wall_time_ms: Option<u64>,
    /// Task executions.
    pub steps: Option<u64>,
    /// Bytes of data that the interpreter may hold.
    pub memory_bytes: Option<u64>,
    /// Bytes of output.
    pub output_bytes: Option<u64>,
    /// HTTP calls.
    pub http_calls: Option<u64>,
}

/// One host that plans may call beside the public internet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressAllow {
    /// The host.
    pub host: HostPattern,
    /// The port.
    pub port: u16,
    /// The addresses that it may stand for.
    #[serde(deserialize_with = "read_cidr")]
    pub cidr: IpNet,
    /// The roots of its certificate, PEM; the public web's if left out.
    pub ca_file: Option<PathBuf>,
}

/// Says why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Exceptions are for the loopback driver alone.
    #[error("`egress_allow` needs `driver = \"loopback\"`; a tenant's network lets nothing of it through")]
    ExceptionsWithoutLoopback,
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] host::files::FileError),
    /// A file holds no roots.
    #[error("`{}`: {source}", .path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TlsError,
    },
    /// The control plane's URL or roots cannot be used.
    #[error(transparent)]
    ControlPlane(#[from] IdentityError),
    /// A file is no text.
    #[error("`{}` is not PEM text", .0.display())]
    NotText(PathBuf),
}

/// Bytes of memory, output and so on that no plan gets more of unless the operator says so.
const BUILT_IN: Limits = Limits {
    wall_time_ms: 30 * 24 * 3_600_000,
    steps: 10_000_000,
    memory_bytes: 256 * 1024 * 1024,
    output_bytes: 32 * 1024 * 1024,
    http_calls: 100_000,
};

impl Config {
    /// The operator's exceptions, with their roots read.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn exceptions(&self) -> Result<Vec<Exception>, ConfigError> {
        if self.driver != Driver::Loopback && !self.egress_allow.is_empty() {
            return Err(ConfigError::ExceptionsWithoutLoopback);
        }
        self.egress_allow.iter().map(EgressAllow::exception).collect()
    }

    /// Where the control plane is.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn control_plane(&self) -> Result<ControlPlaneAt, ConfigError> {
        let roots = read_text(&self.control_plane_ca_file)?;
        let at = ControlPlaneAt::new(&self.control_plane_url, &roots)?;
        Ok(match self.control_plane_addr {
            Some(addr) => at.at_address(addr),
            None => at,
        })
    }
}

impl EgressAllow {
    fn exception(&self) -> Result<Exception, ConfigError> {
        let roots = |path: &PathBuf| {
            let pem = read_text(path)?;
            Roots::from_pem(&pem).map_err(|source| ConfigError::Roots { path: path.clone(), source })
        };
        Ok(Exception {
            host: self.host.clone(),
            port: self.port,
            cidr: self.cidr,
            roots: self.ca_file.as_ref().map(roots).transpose()?,
        })
    }
}

impl LocalLimits {
    /// The limits, each at most what is built in: memory and output have to fit this process and its journal.
    #[must_use]
    pub fn policy(self) -> Limits {
        let given = Limits {
            wall_time_ms: self.wall_time_ms.unwrap_or(u64::MAX),
            steps: self.steps.unwrap_or(u64::MAX),
            memory_bytes: self.memory_bytes.unwrap_or(u64::MAX),
            output_bytes: self.output_bytes.unwrap_or(u64::MAX),
            http_calls: self.http_calls.unwrap_or(u64::MAX),
        };
        given.min(BUILT_IN)
    }
}

fn read_cidr<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("not a CIDR, such as 127.0.0.0/8"))
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = host::files::read_bounded(path, ROOTS_MAX)?;
    String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))
}
