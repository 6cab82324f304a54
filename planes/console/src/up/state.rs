//! What `up` decides before it starts anything: ports, addresses, user ids, the driver. Pure.

use super::driver::Driver;
use crate::failure::{Exit, Failure, Outcome};
use crate::state_dir::Remembered;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the control plane is reached, unless asked otherwise.
pub(crate) const CONTROL_PLANE_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_443);

/// Where the first data plane listens, unless asked otherwise.
pub(crate) const DATA_PLANE_PORT: u16 = 5_678;

/// The first user id of the zones, unless asked otherwise.
pub(crate) const UID_BASE: u32 = 63_000;

/// What the command line asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Where the control plane shall be reached.
    pub control_plane_addr: Option<SocketAddr>,
    /// Where the first data plane shall listen.
    pub data_plane_port: Option<u16>,
    /// The first user id of the zones.
    pub uid_base: Option<u32>,
    /// What shall keep tenants apart.
    pub driver: Option<Driver>,
    /// Whether `up` runs as root, so that it can give each zone its own user id and each tenant its own network.
    pub is_root: bool,
}

/// What the machine's ports are like.
pub(crate) trait Ports {
    /// Whether somebody could listen at `addr`.
    fn is_free(&self, addr: SocketAddr) -> bool;

    /// Whether what is sent to `addr`, which is free, would come to who listens there: a rule of the host's may lead
    /// it elsewhere.
    fn leads_here(&self, addr: SocketAddr) -> bool;

    /// A free port at `ip`.
    fn any_free(&self, ip: IpAddr) -> Option<u16>;
}

/// Decides what this run is like, from what the one before remembered and what is asked for now.
///
/// A port that nobody asked for gives way if it is taken; one that was asked for is an error. The public URL,
/// once chosen, stays: it is the issuer of every plan token, whatever address the control plane has later.
///
/// # Errors
/// [`Failure`] with what to do next.
pub(crate) fn decide(before: Option<&Remembered>, asked: &Asked, ports: &impl Ports) -> Outcome<Remembered> {
    if let Some(before) = before {
        refuse_other_walls(before, asked)?;
    }
    let driver = Driver::decide(asked.driver, before.and_then(|before| before.driver), asked.is_root)?;
    let addr = control_plane_addr(before, asked, ports)?;
    // With networks it is our own rules that lead what is sent there to the control plane.
    if driver == Driver::Loopback && !ports.leads_here(addr) {
        return Err(led_elsewhere(addr));
    }
    if driver == Driver::Linux && addr.is_ipv6() {
        return Err(Failure::usage(
            format!("tenant networks have no IPv6 yet, so the control plane cannot be published at {addr}"),
            "name an IPv4 address: --control-plane-addr 127.0.0.1:8443",
        ));
    }
    let data_plane_port = data_plane_port(before, asked, ports)?;
    let url = url_of(addr);
    Ok(Remembered {
        version: Remembered::VERSION,
        control_plane_addr: addr,
        public_url: before.map_or_else(|| url.clone(), |before| before.public_url.clone()),
        control_plane_url: url,
        data_plane_port,
        uid_base: asked.uid_base.or(before.map(|before| before.uid_base)).unwrap_or(UID_BASE),
        zones_enforced: asked.is_root,
        driver: Some(driver),
    })
}

/// Files belong to the user ids of the first run: another run as somebody else could not read them, or would
/// give away what was separate.
fn refuse_other_walls(before: &Remembered, asked: &Asked) -> Outcome {
    let elsewhere = "or choose another state directory: --state-dir DIR";
    let refused = |cause: &str, next: String| {
        Err(Failure::new(Exit::Failure, "state_of_other_user", cause, format!("{next}, {elsewhere}")))
    };
    match (before.zones_enforced, asked.is_root) {
        (true, false) => refused(
            "root made this state directory, with a user id for each zone",
            "run `palisade up` as root".to_owned(),
        ),
        (false, true) => refused(
            "an ordinary user made this state directory, with one user id for all zones",
            "run `palisade up` as that user".to_owned(),
        ),
        _ if asked.uid_base.is_some_and(|uid| uid != before.uid_base) => refused(
            "this state directory's files belong to other user ids",
            format!("leave out --uid-base (it is {})", before.uid_base),
        ),
        _ => Ok(()),
    }
}

fn control_plane_addr(before: Option<&Remembered>, asked: &Asked, ports: &impl Ports) -> Outcome<SocketAddr> {
    let addr = asked
        .control_plane_addr
        .or(before.map(|before| before.control_plane_addr))
        .unwrap_or(CONTROL_PLANE_ADDR);
    if addr.port() != 0 && ports.is_free(addr) {
        return Ok(addr);
    }
    let is_fixed = asked.control_plane_addr.is_some_and(|asked| asked.port() != 0);
    let any = if is_fixed { None } else { ports.any_free(addr.ip()) };
    any.map(|port| SocketAddr::new(addr.ip(), port)).ok_or_else(|| {
        taken(addr, &format!("--control-plane-addr {} takes any free port", SocketAddr::new(addr.ip(), 0)))
    })
}

fn data_plane_port(before: Option<&Remembered>, asked: &Asked, ports: &impl Ports) -> Outcome<u16> {
    let port =
        asked.data_plane_port.or(before.map(|before| before.data_plane_port)).unwrap_or(DATA_PLANE_PORT);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The node takes another port if this one is taken; only a port that was asked for must be free.
    if asked.data_plane_port.is_some() && port != 0 && !ports.is_free(addr) {
        return Err(taken(addr, "--data-plane-port 0 takes any free port"));
    }
    Ok(port)
}

fn taken(addr: SocketAddr, next: &str) -> Failure {
    let cause = format!("somebody else listens at {addr}, or this user may not");
    let next = format!("stop what listens there (`ss -ltnp` shows it), or choose another: {next}");
    Failure::new(Exit::Failure, "port_taken", cause, next)
}

fn led_elsewhere(addr: SocketAddr) -> Failure {
    let cause = format!("a rule of this host leads connections to {addr} elsewhere");
    let next = "if networks that a killed run left do so: palisade node reset --yes; or choose another: \
                --control-plane-addr 127.0.0.1:0";
    Failure::new(Exit::Failure, "port_taken", cause, next)
}

/// How clients on this host reach the address.
fn url_of(addr: SocketAddr) -> String {
    let port = addr.port();
    match addr.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("https://localhost:{port}"),
        IpAddr::V4(ip) => format!("https://{ip}:{port}"),
        IpAddr::V6(ip) => format!("https://[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every port is free but these; the first free one is always this.
    struct Machine {
        taken: Vec<u16>,
        any: Option<u16>,
        led_elsewhere: Vec<u16>,
    }

    impl Ports for Machine {
        fn is_free(&self, addr: SocketAddr) -> bool {
            !self.taken.contains(&addr.port())
        }

        fn leads_here(&self, addr: SocketAddr) -> bool {
            !self.led_elsewhere.contains(&addr.port())
        }

        fn any_free(&self, _: IpAddr) -> Option<u16> {
            self.any
        }
    }

    const QUIET: Machine = Machine { taken: Vec::new(), any: Some(40_000), led_elsewhere: Vec::new() };

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn first() -> Remembered {
        decide(None, &Asked::default(), &QUIET).unwrap()
    }

    #[test]
    fn a_first_run_takes_the_default_ports() {
        let chosen = first();
        assert_eq!((chosen.control_plane_addr, chosen.data_plane_port), (addr(8_443), 5_678));
        assert_eq!(chosen.public_url, "https://localhost:8443");
        assert_eq!(chosen.control_plane_url, "https://localhost:8443");
        assert_eq!((chosen.uid_base, chosen.zones_enforced), (63_000, false));
    }

    #[test]
    fn a_default_port_that_is_taken_gives_way_to_any_free_one() {
        let busy = Machine { taken: vec![8_443, 5_678], any: Some(40_000), ..QUIET };
        let chosen = decide(None, &Asked::default(), &busy).unwrap();
        assert_eq!(chosen.control_plane_addr, addr(40_000));
        assert_eq!(chosen.public_url, "https://localhost:40000");
        assert_eq!(chosen.data_plane_port, 5_678, "the node gives way itself");
    }

    #[test]
    fn a_port_that_was_asked_for_and_is_taken_is_an_error_with_a_next_step() {
        let busy = Machine { taken: vec![9_443, 6_000], any: Some(40_000), ..QUIET };
        let control = Asked { control_plane_addr: Some(addr(9_443)), ..Asked::default() };
        let data = Asked { data_plane_port: Some(6_000), ..Asked::default() };
        for (asked, flag) in [(control, "--control-plane-addr 127.0.0.1:0"), (data, "--data-plane-port 0")] {
            let failure = decide(None, &asked, &busy).unwrap_err();
            assert_eq!(failure.code, "port_taken");
            assert!(failure.next_step.contains(flag), "{}", failure.next_step);
        }
    }

    #[test]
    fn port_zero_takes_any_and_keeps_it_for_the_next_run() {
        let asked = Asked { control_plane_addr: Some(addr(0)), data_plane_port: Some(0), ..Asked::default() };
        let chosen = decide(None, &asked, &QUIET).unwrap();
        assert_eq!((chosen.control_plane_addr, chosen.data_plane_port), (addr(40_000), 0));
        let later = Machine { taken: vec![], any: Some(50_000), ..QUIET };
        assert_eq!(decide(Some(&chosen), &Asked::default(), &later).unwrap(), chosen);
    }

    #[test]
    fn the_public_url_stays_when_the_address_moves() {
        let moved = Asked { control_plane_addr: Some(addr(9_443)), ..Asked::default() };
        let by_hand = decide(Some(&first()), &moved, &QUIET).unwrap();
        let busy = Machine { taken: vec![8_443], any: Some(40_000), ..QUIET };
        let by_force = decide(Some(&first()), &Asked::default(), &busy).unwrap();
        for (chosen, port) in [(by_hand, 9_443), (by_force, 40_000)] {
            assert_eq!(chosen.public_url, "https://localhost:8443");
            assert_eq!(chosen.control_plane_url, format!("https://localhost:{port}"));
        }
    }

    #[test]
    fn a_port_that_the_hosts_rules_lead_elsewhere_is_of_use_for_networks_alone() {
        let led = Machine { led_elsewhere: vec![8_443], ..QUIET };
        let failure = decide(None, &Asked::default(), &led).unwrap_err();
        assert_eq!(failure.code, "port_taken");
        assert!(failure.next_step.contains("palisade node reset --yes"), "{}", failure.next_step);
        let root = Asked { is_root: true, ..Asked::default() };
        assert_eq!(decide(None, &root, &led).unwrap().control_plane_addr, addr(8_443));
    }

    #[test]
    fn no_free_port_at_all_is_an_error() {
        let full = Machine { taken: vec![8_443], any: None, ..QUIET };
        assert_eq!(decide(None, &Asked::default(), &full).unwrap_err().code, "port_taken");
    }

    #[test]
    fn a_state_directory_stays_with_the_walls_that_it_was_made_with() {
        let root = Asked { is_root: true, ..Asked::default() };
        let by_root = decide(None, &root, &QUIET).unwrap();
        assert!(by_root.zones_enforced);
        let other_uids = Asked { uid_base: Some(70_000), ..root };
        for (before, asked) in [(&by_root, Asked::default()), (&first(), root), (&by_root, other_uids)] {
            let failure = decide(Some(before), &asked, &QUIET).unwrap_err();
            assert_eq!(failure.code, "state_of_other_user");
            assert!(failure.next_step.contains("--state-dir"), "{}", failure.next_step);
        }
        assert!(decide(Some(&by_root), &root, &QUIET).is_ok());
    }

    #[test]
    fn the_driver_is_remembered_and_may_change() {
        let root = Asked { is_root: true, ..Asked::default() };
        let linux = decide(None, &root, &QUIET).unwrap();
        assert_eq!(linux.driver(), Driver::Linux);
        let loopback = Asked { driver: Some(Driver::Loopback), ..root };
        let changed = decide(Some(&linux), &loopback, &QUIET).unwrap();
        assert_eq!(changed, Remembered { driver: Some(Driver::Loopback), ..linux.clone() });
        assert_eq!(decide(Some(&changed), &root, &QUIET).unwrap(), changed);
        let earlier = Remembered { driver: None, ..linux.clone() };
        assert_eq!(decide(Some(&earlier), &root, &QUIET).unwrap(), linux);
        assert_eq!(first().driver(), Driver::Loopback);
    }

    #[test]
    fn networks_are_published_by_ipv4_only() {
        let six = Some("[::1]:8443".parse().unwrap());
        let root = Asked { control_plane_addr: six, is_root: true, ..Asked::default() };
        assert_eq!(decide(None, &root, &QUIET).unwrap_err().exit, Exit::Usage);
        let loopback = Asked { driver: Some(Driver::Loopback), ..root };
        assert!(decide(None, &loopback, &QUIET).is_ok());
    }

    #[test]
    fn urls_name_localhost_for_loopback_and_the_address_for_anything_else() {
        for (addr, url) in [
            ("127.0.0.1:1", "https://localhost:1"),
            ("[::1]:1", "https://localhost:1"),
            ("0.0.0.0:1", "https://localhost:1"),
            ("10.1.2.3:1", "https://10.1.2.3:1"),
            ("[2001:db8::1]:1", "https://[2001:db8::1]:1"),
        ] {
            assert_eq!(url_of(addr.parse().unwrap()), url);
        }
    }
}
