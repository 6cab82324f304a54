//! The configuration files that `up` writes for the processes it starts.

use super::driver::Driver;
use super::site::Site;
use network::addresses::{CONTROL_PLANE, HTTPS_PORT};
use std::net::SocketAddr;
use std::path::Path;
use terms::Digest;

/// The control plane's configuration.
#[must_use]
pub(crate) fn control(site: &Site, operator_token: &Digest) -> String {
    let chosen = &site.chosen;
    let dir = site.state.control();
    let mut text = String::from(WRITTEN_BY);
    text.push_str(&path("state_dir", &dir));
    text.push_str(&line("public_url", &chosen.public_url));
    text.push_str(&line("listen", &listen(site).to_string()));
    if site.driver() == Driver::Linux {
        // Its namespace has no way to where the host publishes it.
        text.push_str(&line("public_addr", &listen(site).to_string()));
    }
    text.push_str(&line("metrics_listen", "127.0.0.1:0"));
    text.push_str(&path("root_key_file", &site.root_key()));
    text.push_str(&format!("zones_enforced = {}\n", chosen.zones_enforced));
    text.push_str(&format!("operator_token_sha256 = [{}]\n", quoted(&operator_token.to_string())));
    text.push_str(&format!("\n[metering]\ninterval_ms = {}\n", site.interval_ms));
    if !site.resolvers.is_empty() {
        text.push_str(&format!("\n[names]\nupstreams = {}\n", list(&site.resolvers)));
    }
    text
}

/// The node's configuration.
#[must_use]
pub(crate) fn node(site: &Site) -> String {
    let chosen = &site.chosen;
    let mut text = String::from(WRITTEN_BY);
    text.push_str(&path("state_dir", site.state.path()));
    text.push_str(&line("control_plane_url", &chosen.control_plane_url));
    text.push_str(&path("control_plane_ca_file", &site.state.ca()));
    text.push_str(&path("enrol_token_file", &site.enrol_token()));
    text.push_str(&format!("data_plane_port = {}\n", chosen.data_plane_port));
    text.push_str(&format!("uid_base = {}\n", chosen.uid_base));
    text.push_str(&format!("interval_ms = {}\n", site.interval_ms));
    text.push_str(&path("bin_dir", &site.programs));
    text.push_str(&networks(site));
    text
}

/// Where the control plane listens: in its own namespace, if it has one.
fn listen(site: &Site) -> SocketAddr {
    match site.driver() {
        Driver::Linux => (CONTROL_PLANE, HTTPS_PORT).into(),
        Driver::Loopback => site.chosen.control_plane_addr,
    }
}

fn networks(site: &Site) -> String {
    let mut text = format!("\n[networks]\n{}", line("driver", site.driver().as_str()));
    if site.driver() == Driver::Linux {
        text.push_str(&line("place", "here"));
        text.push_str(&line("published", &site.chosen.control_plane_addr.to_string()));
        text.push_str(&format!("reach = {}\n", list(&site.resolvers)));
    }
    text
}

const WRITTEN_BY: &str = "# Written by `palisade up` at each start.\n";

fn path(key: &str, value: &Path) -> String {
    line(key, &value.to_string_lossy())
}

fn line(key: &str, value: &str) -> String {
    format!("{key} = {}\n", quoted(value))
}

/// A TOML array of strings.
fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string. JSON escapes a subset of what TOML's basic strings escape, but for DEL.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;
    use crate::up::state::{Asked, Ports, decide};
    use std::net::{IpAddr, SocketAddr};

    struct Free;

    impl Ports for Free {
        fn is_free(&self, _: SocketAddr) -> bool {
            true
        }

        fn leads_here(&self, _: SocketAddr) -> bool {
            true
        }

        fn any_free(&self, _: IpAddr) -> Option<u16> {
            None
        }
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Control {
        state_dir: String,
        public_url: String,
        listen: SocketAddr,
        public_addr: Option<SocketAddr>,
        metrics_listen: SocketAddr,
        root_key_file: String,
        zones_enforced: bool,
        operator_token_sha256: Vec<Digest>,
        metering: Metering,
        names: Option<Names>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Names {
        upstreams: Vec<SocketAddr>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metering {
        interval_ms: u64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Node {
        state_dir: String,
        control_plane_url: String,
        control_plane_ca_file: String,
        enrol_token_file: String,
        data_plane_port: u16,
        uid_base: u32,
        interval_ms: u64,
        bin_dir: String,
        networks: Networks,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Networks {
        driver: String,
        place: Option<String>,
        published: Option<SocketAddr>,
        reach: Option<Vec<SocketAddr>>,
    }

    #[test]
    fn what_is_written_reads_back_whatever_the_folder_is_called() {
        let odd = "/tmp/a \"b\" \\c\n\u{7f}d\u{e4}";
        let site = site(odd);
        let digest = Digest::sha256(b"x");
        let control: Control = read(&control(&site, &digest));
        assert_eq!(control.state_dir, format!("{odd}/control"));
        assert_eq!(control.root_key_file, format!("{odd}/control/root.key"));
        assert_eq!(control.public_url, "https://localhost:8443");
        assert_eq!((control.listen.port(), control.metrics_listen.port()), (8_443, 0));
        assert_eq!(control.public_addr, None);
        assert!(control.names.is_none());
        assert_eq!((control.zones_enforced, control.metering.interval_ms), (false, 2_000));
        assert_eq!(control.operator_token_sha256, [digest]);
        let node: Node = read(&node(&site));
        assert_eq!((node.state_dir.as_str(), node.bin_dir.as_str()), (odd, "/opt/palisade"));
        assert_eq!(node.control_plane_ca_file, format!("{odd}/ca.pem"));
        assert_eq!(node.enrol_token_file, format!("{odd}/node/enrol.token"));
        assert_eq!((node.data_plane_port, node.uid_base, node.interval_ms), (5_678, 63_000, 2_000));
        assert_eq!(node.control_plane_url, "https://localhost:8443");
        let none = Networks { driver: "loopback".into(), place: None, published: None, reach: None };
        assert_eq!(node.networks, none);
    }

    #[test]
    fn with_networks_the_control_plane_listens_in_its_own_and_is_published_where_it_was_asked_for() {
        let root = Asked { is_root: true, ..Asked::default() };
        let chosen = decide(None, &root, &Free).unwrap();
        let mut site = Site::for_tests(StateDir::new(Path::new("/s")), chosen);
        site.resolvers = vec!["192.0.2.8:53".parse().unwrap(), "192.0.2.9:53".parse().unwrap()];
        let control: Control = read(&control(&site, &Digest::sha256(b"x")));
        assert_eq!(control.listen, "10.100.0.2:443".parse().unwrap());
        assert_eq!(control.public_addr, Some(control.listen));
        let resolvers: Vec<SocketAddr> = site.resolvers.iter().copied().map(SocketAddr::V4).collect();
        assert_eq!(control.names.unwrap().upstreams, resolvers);
        assert_eq!(control.public_url, "https://localhost:8443");
        let node: Node = read(&node(&site));
        let networks = Networks {
            driver: "linux".into(),
            place: Some("here".into()),
            published: Some("127.0.0.1:8443".parse().unwrap()),
            reach: Some(vec!["192.0.2.8:53".parse().unwrap(), "192.0.2.9:53".parse().unwrap()]),
        };
        assert_eq!((node.networks, &*node.control_plane_url), (networks, "https://localhost:8443"));
    }

    fn site(dir: &str) -> Site {
        Site::for_tests(StateDir::new(Path::new(dir)), decide(None, &Asked::default(), &Free).unwrap())
    }

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        host::config::load(&path).unwrap()
    }
}
