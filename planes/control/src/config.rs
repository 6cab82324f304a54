//! The control plane's configuration file.

use crate::networks;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use terms::{Digest, TrustDomain};
use wire::plan::Limits;

/// What one execution may consume at most, unless configured: an hour, ten thousand steps, 64 MiB of memory,
/// 8 MiB of output, a thousand calls.
const LIMITS: Limits = Limits {
    wall_time_ms: 3_600_000,
    steps: 10_000,
    memory_bytes: 64 << 20,
    output_bytes: 8 << 20,
    http_calls: 1_000,
};

/// The longest that a number may rest: with it, a host runs through its 155 numbers in a year.
const QUARANTINE_MS_MAX: i64 = 365 * 24 * 3_600_000;

/// The configuration, as written in TOML. An unknown key is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder that belongs to this process alone.
    pub state_dir: PathBuf,
    /// The URL by which everybody calls the API, and `iss` of plan tokens. No trailing slash.
    pub public_url: String,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the public URL leads from this process: a namespace of its own knows no way to the host's address.
    #[serde(default)]
    pub public_addr: Option<SocketAddr>,
    /// Where `/metrics` listens.
    #[serde(default = "any_loopback_port")]
    pub metrics_listen: SocketAddr,
    /// The trust domain of SPIFFE ids.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// The root key's file: 64 hex digits, 0600. Best kept outside the state directory.
    pub root_key_file: PathBuf,
    /// Whether each zone on this host has its own user id.
    #[serde(default)]
    pub zones_enforced: bool,
    /// SHA-256 of each operator token, 64 hex digits. The tokens themselves never come here.
    pub operator_token_sha256: Vec<String>,
    /// The database.
    #[serde(default)]
    pub database: Database,
    /// The server's own certificate; without it the internal authority issues one.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Metering.
    #[serde(default)]
    pub metering: Metering,
    /// What one execution may consume at most.
    #[serde(default = "default_limits")]
    pub limits: Limits,
    /// How fast callers may ask.
    #[serde(default)]
    pub rates: Rates,
    /// Rotation of plan-signing keys.
    #[serde(default)]
    pub keys: Keys,
    /// Who is asked what names stand for, on behalf of data planes; absent: this host's own name servers, over TCP.
    #[serde(default)]
    pub names: Option<Names>,
    /// Tenant networks.
    #[serde(default)]
    pub networks: Networks,
}

/// Where the data is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// A file with a `postgres://` URL, 0600; absent: a SQLCipher file in the state directory.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
}

/// A certificate of one's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The PEM chain, leaf first.
    pub certificate_file: PathBuf,
    /// The PEM key, 0600.
    pub key_file: PathBuf,
}

/// Metering.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metering {
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
}

impl Default for Metering {
    fn default() -> Self {
        Self { interval_ms: wire::heartbeat::INTERVAL_MS }
    }
}

/// How fast callers may ask, in requests per second; bursts are twice that.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Each authenticated caller.
    pub per_caller: u32,
    /// Each address, on public routes.
    pub per_address: u32,
    /// Each address, for credentials that are refused.
    pub refused_credentials: u32,
    /// Each tenant's data plane, for names.
    pub names: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { per_caller: 5_000, per_address: 200, refused_credentials: 20, names: 100 }
    }
}

/// Rotation of plan-signing keys, in hours and minutes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// A key older than this many days is replaced; at most 90.
    pub max_age_days: u32,
    /// Seconds that a new key is served before it signs.
    pub publish_s: u32,
    /// Seconds that a key is served after it last signed.
    pub retire_s: u32,
}

impl Default for Keys {
    fn default() -> Self {
        Self { max_age_days: 30, publish_s: 300, retire_s: 4_200 }
    }
}

/// Name servers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// Where they are, such as `9.9.9.9:53`. They are asked over TCP, never UDP.
    pub upstreams: Vec<SocketAddr>,
    /// The name that each of them proves over TLS (RFC 7858); absent: they are asked in the clear.
    #[serde(default)]
    pub tls_name: Option<String>,
}

impl Names {
    /// The most name servers: more than are ever asked for one name.
    const UPSTREAMS_MAX: usize = 8;

    /// The name that the servers prove.
    pub(crate) fn server_name(&self) -> Result<Option<ServerName<'static>>, ConfigFault> {
        let fault = |_| ConfigFault::NameServers("`names.tls_name` is not a DNS name");
        self.tls_name.clone().map(|name| ServerName::try_from(name).map_err(fault)).transpose()
    }

    fn check(&self) -> Result<(), ConfigFault> {
        self.server_name()?;
        let is_count = (1..=Self::UPSTREAMS_MAX).contains(&self.upstreams.len());
        if is_count && self.upstreams.iter().all(|upstream| upstream.port() != 0) {
            return Ok(());
        }
        Err(ConfigFault::NameServers(
            "`names.upstreams` needs 1 to 8 addresses with their ports, such as 9.9.9.9:53",
        ))
    }
}

/// Tenant networks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// The addresses at which hosts elsewhere reach the control plane on 443, and from which it reaches them; the one
    /// in `public_url` if there are none here.
    pub addresses: Vec<Ipv4Addr>,
    /// Milliseconds for which a network's number rests once its network is gone.
    pub quarantine_ms: i64,
}

impl Default for Networks {
    fn default() -> Self {
        Self { addresses: Vec::new(), quarantine_ms: network::QUARANTINE_MS }
    }
}

/// Says what is wrong with a configuration that could be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// `public_url` is not an https origin.
    #[error("`public_url` must be an https:// URL without path, query or trailing slash, not `{0}`")]
    PublicUrl(String),
    /// `trust_domain` is not a DNS name.
    #[error("`trust_domain` must be a lowercase DNS name, not `{0}`")]
    TrustDomain(String),
    /// No operator could ever sign in.
    #[error("`operator_token_sha256` needs at least one digest: palisade token digest FILE prints it")]
    NoOperator,
    /// Not a digest.
    #[error("`operator_token_sha256` holds something that is not 64 lowercase hex digits")]
    OperatorDigest,
    /// Name servers that cannot be asked.
    #[error("{0}")]
    NameServers(&'static str),
    /// An address that no other host can reach.
    #[error("`networks.addresses`: no other host reaches the control plane at `{0}`")]
    Address(Ipv4Addr),
    /// A number out of its range.
    #[error("`{key}` must be {range}")]
    Range {
        /// Which key.
        key: &'static str,
        /// What is allowed.
        range: &'static str,
    },
}

impl Config {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// The first [`ConfigFault`].
    pub fn check(&self) -> Result<(), ConfigFault> {
        let origin = self.public_url.strip_prefix("https://").filter(|rest| is_authority(rest));
        if origin.is_none() {
            return Err(ConfigFault::PublicUrl(self.public_url.clone()));
        }
        self.domain()?;
        self.operator_digests()?;
        let out_of = |key, range| Err(ConfigFault::Range { key, range });
        if !(100..=3_600_000).contains(&self.metering.interval_ms) {
            return out_of("metering.interval_ms", "100 to 3600000");
        }
        if !(1..=90).contains(&self.keys.max_age_days) {
            return out_of("keys.max_age_days", "1 to 90 (IAM-7)");
        }
        if self.keys.retire_s < 300 {
            return out_of("keys.retire_s", "at least 300, a token's lifetime");
        }
        let rates = self.rates;
        if [rates.per_caller, rates.per_address, rates.refused_credentials, rates.names].contains(&0) {
            return out_of("rates.*", "at least 1");
        }
        self.names.as_ref().map_or(Ok(()), Names::check)?;
        let l = self.limits;
        if [l.wall_time_ms, l.steps, l.memory_bytes, l.output_bytes, l.http_calls].contains(&0) {
            return out_of("limits.*", "at least 1");
        }
        self.check_networks()
    }

    fn check_networks(&self) -> Result<(), ConfigFault> {
        let out_of = |key, range| Err(ConfigFault::Range { key, range });
        let Networks { addresses, quarantine_ms } = &self.networks;
        if !(network::QUARANTINE_MS_MIN..=QUARANTINE_MS_MAX).contains(quarantine_ms) {
            return out_of("networks.quarantine_ms", "10800000 (3 h) to 31536000000 (a year)");
        }
        if addresses.len() > network::CONTROL_ADDRESSES_MAX {
            return out_of("networks.addresses", "at most 16");
        }
        let unusable = |address: &&Ipv4Addr| {
            let [first, ..] = address.octets();
            address.is_loopback() || address.is_link_local() || first == 0 || first >= 224
        };
        match addresses.iter().find(unusable) {
            Some(address) => Err(ConfigFault::Address(*address)),
            None => Ok(()),
        }
    }

    /// The addresses at which hosts elsewhere reach the control plane, sorted.
    pub(crate) fn control_addresses(&self) -> Vec<Ipv4Addr> {
        let mut addresses = self.networks.addresses.clone();
        if addresses.is_empty() {
            addresses = networks::addresses_in(&self.public_url);
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The trust domain.
    ///
    /// # Errors
    /// [`ConfigFault::TrustDomain`].
    pub fn domain(&self) -> Result<TrustDomain, ConfigFault> {
        self.trust_domain.parse().map_err(|_| ConfigFault::TrustDomain(self.trust_domain.clone()))
    }

    /// The digests of the operator tokens.
    ///
    /// # Errors
    /// [`ConfigFault::NoOperator`] or [`ConfigFault::OperatorDigest`].
    pub fn operator_digests(&self) -> Result<Vec<Digest>, ConfigFault> {
        if self.operator_token_sha256.is_empty() {
            return Err(ConfigFault::NoOperator);
        }
        self.operator_token_sha256
            .iter()
            .map(|d| d.parse().map_err(|_| ConfigFault::OperatorDigest))
            .collect()
    }

    /// A file in the state directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.state_dir).join(name)
    }
}

fn is_authority(text: &str) -> bool {
    let legal =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(legal)
}

fn any_loopback_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn default_trust_domain() -> String {
    "palisade.internal".to_owned()
}

const fn default_limits() -> Limits {
    LIMITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Config {
        Config {
            state_dir: "/tmp/x".into(),
            public_url: "https://localhost:8443".into(),
            listen: any_loopback_port(),
            public_addr: None,
            metrics_listen: any_loopback_port(),
            trust_domain: default_trust_domain(),
            root_key_file: "/tmp/root.key".into(),
            zones_enforced: false,
            operator_token_sha256: vec!["0".repeat(64)],
            database: Database::default(),
            tls: None,
            metering: Metering::default(),
            limits: LIMITS,
            rates: Rates::default(),
            keys: Keys::default(),
            names: None,
            networks: Networks::default(),
        }
    }

    #[test]
    fn the_sample_is_accepted() {
        assert_eq!(sample().check(), Ok(()));
    }

    #[test]
    fn a_public_url_that_is_not_an_https_origin_is_refused() {
        for url in [
            "http://localhost",
            "https://",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "https://a?x",
            "HTTPS://a",
        ] {
            let config = Config { public_url: url.into(), ..sample() };
            assert_eq!(config.check(), Err(ConfigFault::PublicUrl(url.into())));
        }
    }

    #[test]
    fn a_configuration_without_an_operator_is_refused() {
        assert_eq!(
            Config { operator_token_sha256: vec![], ..sample() }.check(),
            Err(ConfigFault::NoOperator)
        );
        let bad = Config { operator_token_sha256: vec!["palisade_operator_x".into()], ..sample() };
        assert_eq!(bad.check(), Err(ConfigFault::OperatorDigest));
    }

    #[test]
    fn name_servers_that_cannot_be_asked_are_refused() {
        let with = |upstreams: &[&str], tls_name: Option<&str>| {
            let upstreams = upstreams.iter().map(|upstream| upstream.parse().unwrap()).collect();
            let names = Names { upstreams, tls_name: tls_name.map(ToOwned::to_owned) };
            Config { names: Some(names), ..sample() }.check()
        };
        assert_eq!(with(&["192.0.2.53:53"], None), Ok(()));
        assert_eq!(with(&["192.0.2.53:853", "[2001:db8::53]:853"], Some("dns.example")), Ok(()));
        let nine = ["192.0.2.53:53"; 9];
        for (upstreams, tls_name) in [
            (&[][..], None),
            (&["192.0.2.53:0"], None),
            (&nine, None),
            (&["192.0.2.53:853"], Some("not a name")),
        ] {
            let refused = with(upstreams, tls_name);
            assert!(matches!(refused, Err(ConfigFault::NameServers(_))), "{upstreams:?} {tls_name:?}");
        }
    }

    #[test]
    fn networks_that_could_not_be_are_refused() {
        let with = |networks| Config { networks, ..sample() }.check();
        let (quarantine_ms, default) = (network::QUARANTINE_MS_MIN, Networks::default());
        assert_eq!(with(Networks { quarantine_ms, ..default.clone() }), Ok(()));
        for quarantine_ms in [quarantine_ms - 1, 0, -1, i64::MAX] {
            let refused = with(Networks { quarantine_ms, ..default.clone() });
            assert!(matches!(refused, Err(ConfigFault::Range { key: "networks.quarantine_ms", .. })));
        }
        for address in ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255"] {
            let address: Ipv4Addr = address.parse().unwrap();
            let refused = with(Networks { addresses: vec![address], ..default.clone() });
            assert_eq!(refused, Err(ConfigFault::Address(address)));
        }
        let addresses = vec![[192, 0, 2, 7].into(); 17];
        assert!(matches!(with(Networks { addresses, ..default }), Err(ConfigFault::Range { .. })));
    }

    #[test]
    fn the_addresses_for_hosts_elsewhere_are_sorted_or_the_one_of_the_public_url() {
        let addresses: Vec<Ipv4Addr> =
            vec![[192, 0, 2, 9].into(), [192, 0, 2, 7].into(), [192, 0, 2, 9].into()];
        let named = Config { networks: Networks { addresses, ..Networks::default() }, ..sample() };
        assert_eq!(named.control_addresses(), [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 2, 9)]);
        assert_eq!(sample().control_addresses(), [] as [Ipv4Addr; 0]);
        let literal = Config { public_url: "https://192.0.2.7".into(), ..sample() };
        assert_eq!(literal.control_addresses(), [Ipv4Addr::new(192, 0, 2, 7)]);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let mut zero = sample();
        zero.limits.steps = 0;
        assert!(matches!(zero.check(), Err(ConfigFault::Range { .. })));
        let old = Config { keys: Keys { max_age_days: 91, ..Keys::default() }, ..sample() };
        assert!(matches!(old.check(), Err(ConfigFault::Range { key: "keys.max_age_days", .. })));
    }
}
