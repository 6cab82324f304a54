//! What a node is told of networks: what keeps tenants apart, and where the control plane is.

use api::network::Driver;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What keeps tenants apart on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Section")]
pub enum Networks {
    /// Nothing: every data plane listens on the host's loopback.
    #[default]
    Loopback,
    /// Network namespaces and nftables. Needs root.
    Linux(Linux),
}

/// Networks of this host's own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// Where the control plane is.
    pub place: Place,
    /// What is done about drift.
    pub drift: OnDrift,
    /// The links through which the host reaches the internet, sorted; those of its default routes unless configured.
    pub interfaces: Option<Vec<String>>,
}

/// Where the control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this host, in a network namespace that this node makes.
    Here {
        /// The host's address and port that lead to it, if any.
        published: Option<SocketAddrV4>,
        /// TCP endpoints that it needs from the start, sorted: its database, resolvers.
        reach: Vec<SocketAddrV4>,
    },
    /// On another host.
    Elsewhere {
        /// Where it reaches this host's forwarded ports; the source address of the default route unless configured.
        address: Option<Ipv4Addr>,
    },
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// It is told and repaired.
    #[default]
    Repair,
    /// It is told.
    Report,
}

/// The section `[networks]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    driver: Driver,
    place: Option<api::network::Place>,
    published: Option<SocketAddrV4>,
    reach: Option<Vec<SocketAddrV4>>,
    drift: Option<OnDrift>,
    interfaces: Option<Vec<String>>,
    address: Option<Ipv4Addr>,
}

/// Says why a section cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("`{key}` is for `{condition}` only")]
    Misplaced { key: &'static str, condition: &'static str },
    #[error(
        "`driver = \"linux\"` needs `place = \"here\"`, if the control plane runs on this host, or `place = \"elsewhere\"`"
    )]
    NoPlace,
    #[error("`{key}` holds {count} entries, and {max} are the most")]
    TooMany { key: &'static str, count: usize, max: usize },
    #[error("`{key}` holds `{value}`, which {why}")]
    Value { key: &'static str, value: String, why: &'static str },
}

const LINUX: &str = "driver = \"linux\"";
const HERE: &str = "place = \"here\"";
const ELSEWHERE: &str = "place = \"elsewhere\"";

// === impl Networks ===

impl Networks {
    /// Networks of this host's own making, for a control plane on another host.
    #[must_use]
    pub const fn elsewhere() -> Self {
        let place = Place::Elsewhere { address: None };
        Self::Linux(Linux { place, drift: OnDrift::Repair, interfaces: None })
    }

    /// Whether this node makes the network that the control plane runs in.
    #[must_use]
    pub const fn is_control_plane_here(&self) -> bool {
        matches!(self, Self::Linux(Linux { place: Place::Here { .. }, .. }))
    }
}

impl TryFrom<Section> for Networks {
    type Error = Unusable;

    fn try_from(section: Section) -> Result<Self, Unusable> {
        match section.driver {
            Driver::Loopback => section.loopback(),
            Driver::Linux => section.linux(),
        }
    }
}

// === impl Section ===

impl Section {
    fn loopback(self) -> Result<Networks, Unusable> {
        let Self { driver: _, place, published, reach, drift, interfaces, address } = self;
        absent("place", place.as_ref(), LINUX)?;
        absent("published", published.as_ref(), LINUX)?;
        absent("reach", reach.as_ref(), LINUX)?;
        absent("drift", drift.as_ref(), LINUX)?;
        absent("interfaces", interfaces.as_ref(), LINUX)?;
        absent("address", address.as_ref(), LINUX)?;
        Ok(Networks::Loopback)
    }

    fn linux(self) -> Result<Networks, Unusable> {
        let place = match self.place.ok_or(Unusable::NoPlace)? {
            api::network::Place::Here => {
                absent("address", self.address.as_ref(), ELSEWHERE)?;
                self.published.iter().try_for_each(|endpoint| has_port("published", endpoint))?;
                let reach = sorted("reach", self.reach.unwrap_or_default(), network::REACH_MAX)?;
                reach.iter().try_for_each(|endpoint| has_port("reach", endpoint))?;
                Place::Here { published: self.published, reach }
            }
            api::network::Place::Elsewhere => {
                absent("published", self.published.as_ref(), HERE)?;
                absent("reach", self.reach.as_ref(), HERE)?;
                self.address.iter().try_for_each(is_reachable)?;
                Place::Elsewhere { address: self.address }
            }
        };
        let interfaces = self.interfaces.map(|names| sorted("interfaces", names, network::INTERFACES_MAX));
        let interfaces = interfaces.transpose()?;
        Ok(Networks::Linux(Linux { place, drift: self.drift.unwrap_or_default(), interfaces }))
    }
}

/// A key that would do nothing is a misunderstanding, and is said to be one.
fn absent<T>(key: &'static str, value: Option<&T>, condition: &'static str) -> Result<(), Unusable> {
    value.map_or(Ok(()), |_| Err(Unusable::Misplaced { key, condition }))
}

fn sorted<T: Ord>(key: &'static str, mut values: Vec<T>, max: usize) -> Result<Vec<T>, Unusable> {
    let count = values.len();
    if count > max {
        return Err(Unusable::TooMany { key, count, max });
    }
    values.sort();
    values.dedup();
    Ok(values)
}

fn has_port(key: &'static str, endpoint: &SocketAddrV4) -> Result<(), Unusable> {
    if endpoint.port() != 0 {
        return Ok(());
    }
    Err(Unusable::Value { key, value: endpoint.to_string(), why: "names no port" })
}

fn is_reachable(address: &Ipv4Addr) -> Result<(), Unusable> {
    let is_one = !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_link_local());
    if is_one {
        return Ok(());
    }
    let why = "another host cannot reach";
    Err(Unusable::Value { key: "address", value: address.to_string(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_and_place_is_read_with_its_own_keys_and_defaults() {
        assert_eq!(read("driver = \"loopback\""), Ok(Networks::Loopback));
        assert_eq!(read("driver = \"linux\"\nplace = \"elsewhere\""), Ok(Networks::elsewhere()));
        let here = Place::Here { published: None, reach: Vec::new() };
        assert_eq!(read("driver = \"linux\"\nplace = \"here\""), Ok(linux(here)));
        let all = "driver = \"linux\"\nplace = \"here\"\npublished = \"0.0.0.0:8443\"\ndrift = \"report\"
            reach = [\"192.0.2.9:5432\", \"192.0.2.8:53\", \"192.0.2.9:5432\"]\ninterfaces = [\"eth1\", \"eth0\"]";
        let place = Place::Here {
            published: Some("0.0.0.0:8443".parse().unwrap()),
            reach: vec!["192.0.2.8:53".parse().unwrap(), "192.0.2.9:5432".parse().unwrap()],
        };
        let interfaces = Some(vec!["eth0".to_owned(), "eth1".to_owned()]);
        let expected = Networks::Linux(Linux { place, drift: OnDrift::Report, interfaces });
        assert_eq!(read(all), Ok(expected));
        let address = Place::Elsewhere { address: Some(Ipv4Addr::new(192, 0, 2, 7)) };
        let told = "driver = \"linux\"\nplace = \"elsewhere\"\naddress = \"192.0.2.7\"";
        assert_eq!(read(told), Ok(linux(address)));
    }

    #[test]
    fn what_would_do_nothing_or_cannot_be_is_refused_by_name() {
        let many =
            format!("place = \"here\"\ninterfaces = [{}]", "\"e\", ".repeat(network::INTERFACES_MAX + 1));
        for (driver, rest, named) in [
            ("loopback", "place = \"here\"", "`place` is for `driver = \"linux\"` only"),
            ("loopback", "published = \"0.0.0.0:8443\"", "`published` is for"),
            ("loopback", "reach = []", "`reach` is for"),
            ("loopback", "drift = \"repair\"", "`drift` is for"),
            ("loopback", "interfaces = []", "`interfaces` is for"),
            ("loopback", "address = \"192.0.2.7\"", "`address` is for"),
            ("linux", "", "needs `place = \"here\"`"),
            (
                "linux",
                "place = \"here\"\naddress = \"192.0.2.7\"",
                "`address` is for `place = \"elsewhere\"`",
            ),
            ("linux", "place = \"elsewhere\"\nreach = []", "`reach` is for `place = \"here\"`"),
            ("linux", "place = \"elsewhere\"\npublished = \"0.0.0.0:1\"", "`published` is for"),
            ("linux", "place = \"elsewhere\"\naddress = \"127.0.0.1\"", "`127.0.0.1`, which another host"),
            ("linux", "place = \"here\"\npublished = \"0.0.0.0:0\"", "`0.0.0.0:0`, which names no port"),
            ("linux", "place = \"here\"\nreach = [\"192.0.2.7:0\"]", "`192.0.2.7:0`, which names no port"),
            ("linux", &many, "`interfaces` holds 17 entries, and 16 are the most"),
            ("linux", "place = \"here\"\nodd = 1", "odd"),
            ("docker", "", "docker"),
        ] {
            let refusal = read(&format!("driver = \"{driver}\"\n{rest}")).unwrap_err();
            assert!(refusal.contains(named), "{rest}: {refusal}");
        }
        assert!(read("place = \"here\"").unwrap_err().contains("driver"));
    }

    fn linux(place: Place) -> Networks {
        Networks::Linux(Linux { place, drift: OnDrift::Repair, interfaces: None })
    }

    fn read(text: &str) -> Result<Networks, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}
