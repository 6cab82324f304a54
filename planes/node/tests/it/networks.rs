//! A node with networks of its own making: what runs where, who reaches it, and what is told of it.

use crate::control::{Control, ISSUER};
use crate::site::{Running, Site};
use crate::world::{
    ANSWERED, HOST, PROVIDER, SILENT, STRANGER, Served, connect, connect_as, host, in_a_world, link, listen,
    name, named, on_stack,
};
use host::files::{self, Owner};
use host::network::probe::Verdict;
use host::network::{Claim, Namespace, NewRoute};
use node::config::{Linux, Networks, OnDrift, Place};
use node::reset::{Reset, ResetError, reset};
use node::run::End;
use node::{NodeConfig, RunError};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use terms::{NodeId, TenantId, Timestamp};
use trials::{echoes, flow};
use wire::event::{EventKind, EventOutcome};
use wire::networks::{HostNetworks, Quota, TenantNetwork};

const A: TenantId = TenantId::from_bytes([1; 16]);
const B: TenantId = TenantId::from_bytes([2; 16]);

/// Where the data planes of networks 1 and 2 are, and the control plane on the same host.
const A_AT: Ipv4Addr = Ipv4Addr::new(10, 101, 0, 10);
const B_AT: Ipv4Addr = Ipv4Addr::new(10, 102, 0, 10);
const CONTROL_AT: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);

/// Where the keeper's socket is, for a process of this program that is to be one.
const SOCKET_VARIABLE: &str = "PALISADE_TEST_KEEPER_SOCKET";

#[test]
fn two_tenants_come_up_in_their_own_networks_and_reach_only_what_they_should() {
    in_a_world(async |world| {
        let mut node = Node::begin(here()).await;
        let _stranger = world.stranger().await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        for (tenant, url) in [(A, "https://10.101.0.10:5678"), (B, "https://10.102.0.10:5678")] {
            let running = node.site.running(tenant, |_| true).await;
            assert_eq!(running.url, url);
        }
        let (a, b, control) = (named("palisade-t1"), named("palisade-t2"), named("palisade-cp"));
        let in_a = node.site.running(A, |_| true).await;
        for pid in [in_a.pid, in_a.sidecar_pid] {
            assert!(Namespace::of_process(pid).unwrap().is_same_as(&a).unwrap());
        }
        let data = std::fs::read_to_string(node.site.path(&format!("data-{A}/data.toml"))).unwrap();
        for line in
            ["driver = \"linux\"", "listen = \"10.101.0.10:5678\"", "control_plane_addr = \"10.100.0.2:443\""]
        {
            assert!(data.contains(line), "{data}");
        }

        let (_a, _b) = (listen(&a, A_AT, 5_678).await, listen(&b, B_AT, 5_678).await);
        for to in [A_AT, B_AT] {
            assert_eq!(connect(&control, (to, 5_678), ANSWERED).await, Verdict::Connected);
        }
        assert_eq!(connect(&a, (CONTROL_AT, 443), ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(&a, (STRANGER, 443), ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(&a, (B_AT, 5_678), SILENT).await, Verdict::TimedOut);
        assert_eq!(connect(&a, (CONTROL_AT, 5_678), SILENT).await, Verdict::TimedOut);

        let report = node.site.heard.networks(|report| report.applied == 1).await;
        assert_eq!((report.traffic.len(), report.drift.found), (2, 0), "{report:?}");
        assert!(node.site.heard.placements(|report| report.walls.own_networks).await.walls.own_uids);
        node.stop().await;
        assert!(!node.site.path("node/networks.json").exists());
    });
}

#[test]
fn a_suspended_tenant_is_cut_off_at_once_and_comes_back_with_its_network() {
    in_a_world(async |world| {
        let mut node = Node::begin(here()).await;
        let _stranger = world.stranger().await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        let before = node.site.running(A, |_| true).await;
        node.site.running(B, |_| true).await;
        let mut open = flow(&named("palisade-t1"), (STRANGER, 443)).await.unwrap();
        let mut other = flow(&named("palisade-t2"), (STRANGER, 443)).await.unwrap();
        assert!(echoes(&mut open, ANSWERED).await && echoes(&mut other, ANSWERED).await);

        node.want(2, &[(A, 1, false), (B, 2, true)]);
        node.site.heard.networks(|report| report.applied == 2).await;
        assert!(!echoes(&mut open, SILENT).await);
        assert!(echoes(&mut other, ANSWERED).await);
        node.site.heard.placements(|report| report.running.len() == 1).await;

        node.want(3, &[(A, 1, true), (B, 2, true)]);
        node.site.running(A, |running| running.pid != before.pid).await;
        assert_eq!(connect(&named("palisade-t1"), (STRANGER, 443), ANSWERED).await, Verdict::Connected);
        node.stop().await;
    });
}

#[test]
fn a_deleted_tenants_network_goes_and_its_number_is_told_to_be_gone() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        node.site.running(A, |_| true).await;
        node.site.running(B, |_| true).await;
        let report = node.site.heard.networks(|report| report.applied == 1).await;
        assert!(!report.gone.contains(&1) && !report.gone.contains(&2));

        node.site.control.displace(A);
        node.want(2, &[(B, 2, true)]);
        let report = node.site.heard.networks(|report| report.gone.contains(&1)).await;
        assert!(report.applied == 2 && !report.gone.contains(&2));
        assert!(Namespace::open(&name("palisade-t1")).is_err());
        node.site.heard.placements(|report| report.running.iter().all(|running| running.tenant == B)).await;
        node.stop().await;
    });
}

#[test]
fn what_was_not_signed_for_this_host_or_is_older_than_what_it_has_changes_nothing_and_is_told_once() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(3, &[(A, 1, true)]);
        node.site.heard.networks(|report| report.applied == 3).await;
        let control = &node.site.control;
        let signed = |networks: &HostNetworks| control.signer.sign_networks(networks).unwrap();
        let good = networks(control, 9, &[(A, 1, true)]);
        let stranger = notary::PlanSigner::generate().unwrap().0.sign_networks(&good).unwrap();
        let mut bent = signed(&good);
        let at = String::from_utf8_lossy(&bent).find("\"sig\":\"").unwrap() + 10;
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        let refused = [
            ("networks.version_back", signed(&networks(control, 2, &[(B, 2, true)]))),
            ("networks.two_contents", signed(&networks(control, 3, &[(B, 2, true)]))),
            (
                "networks.other_node",
                signed(&HostNetworks { node: NodeId::from_bytes([9; 16]), ..good.clone() }),
            ),
            ("networks.other_issuer", signed(&HostNetworks { issuer: "https://x".into(), ..good.clone() })),
            ("networks.unsound", signed(&networks(control, 9, &[(A, 1, true), (B, 1, true)]))),
            ("networks.unknown_key", stranger),
            ("networks.bad_signature", bent),
            ("networks.envelope", b"{".to_vec()),
        ];
        for (reason, envelope) in refused {
            node.site.control.want_signed(9, envelope);
            let event = node.site.event(reason).await;
            assert_eq!((event.kind, event.outcome), (EventKind::NetworkChanged, EventOutcome::Denied));
        }
        assert!(Namespace::open(&name("palisade-t2")).is_err(), "nothing of it came to be");
        node.site.heard.placements(|report| !report.walls.own_networks).await;
        node.want(10, &[(A, 1, true)]);
        node.site.heard.networks(|report| report.applied == 10).await;
        node.site.heard.placements(|report| report.walls.own_networks).await;
        node.stop().await;
    });
}

#[test]
fn a_node_that_starts_again_without_its_control_plane_goes_on_with_what_it_kept() {
    in_a_world(async |world| {
        let mut node = Node::begin(here()).await;
        let _stranger = world.stranger().await;
        node.want(1, &[(A, 1, true), (B, 2, false)]);
        let before = node.site.running(A, |_| true).await;
        let network = inode(&format!("/proc/{}/ns/net", before.pid));
        node.crash().await;
        node.control_plane = None;

        node.start();
        let data = format!("data-{A}/ready.json");
        while !node.site.order().iter().skip(2).any(|line| line.starts_with("data started")) {
            tokio::task::yield_now().await;
        }
        // The stand-in writes it in place: for a moment it is there and empty.
        let ready: serde_json::Value = loop {
            let read = std::fs::read(node.site.path(&data)).unwrap_or_default();
            match serde_json::from_slice(&read) {
                Ok(ready) => break ready,
                Err(_unfinished) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(inode(&format!("/proc/{}/ns/net", ready["pid"])), network, "it is in the same network");
        assert_eq!(connect(&named("palisade-t1"), (STRANGER, 443), ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(&named("palisade-t2"), (STRANGER, 443), SILENT).await, Verdict::TimedOut);

        node.serve().await;
        node.site.running(A, |running| running.pid != before.pid).await;
        node.site.control.want(&networks(&node.site.control, 1, &[(B, 2, true)]));
        node.want(2, &[(A, 1, true), (B, 2, true)]);
        node.site.heard.networks(|report| report.applied == 2).await;
        node.stop().await;
    });
}

#[test]
fn what_somebody_changed_by_hand_is_told_and_repaired() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true)]);
        node.site.running(A, |_| true).await;
        let stray = "10.101.0.99/16".parse().unwrap();
        on_stack(&named("palisade-t1"), |stack| stack.add_address(&link("eth0"), stray).unwrap());
        let event = node.site.event("drift.address").await;
        assert_eq!((event.kind, event.resource.as_str()), (EventKind::NetworkDrift, "network/tenant-1"));
        assert_eq!((event.tenant, event.outcome), (Some(A), EventOutcome::Success));
        let report = node.site.heard.networks(|report| report.drift.repaired > 0).await;
        assert_eq!((report.drift.found, report.drift.open.len()), (report.drift.repaired, 0), "{report:?}");
        let addresses = on_stack(&named("palisade-t1"), |stack| stack.snapshot().unwrap().addresses);
        assert!(addresses.iter().all(|address| address.address != stray));
        node.stop().await;
    });
}

#[test]
fn a_host_that_only_tells_of_drift_leaves_it() {
    in_a_world(async |_world| {
        let Networks::Linux(linux) = here() else { panic!() };
        let mut node = Node::begin(Networks::Linux(Linux { drift: OnDrift::Report, ..linux })).await;
        node.want(1, &[(A, 1, true)]);
        node.site.running(A, |_| true).await;
        let stray = "10.101.0.99/16".parse().unwrap();
        on_stack(&named("palisade-t1"), |stack| stack.add_address(&link("eth0"), stray).unwrap());
        assert_eq!(node.site.event("drift.address").await.outcome, EventOutcome::Failure);
        let report = node.site.heard.networks(|report| report.drift.found > 0).await;
        assert_eq!((report.drift.repaired, report.drift.open[0].code.as_str()), (0, "address"), "{report:?}");
        node.stop().await;
    });
}

#[test]
fn processes_outlive_the_keeper_and_start_again_only_in_a_network_that_was_made_anew() {
    in_a_world(async |world| {
        let mut node = Node::begin(here()).await;
        let _stranger = world.stranger().await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        let (a, b) = (node.site.running(A, |_| true).await, node.site.running(B, |_| true).await);
        let keeper = host::network::keeper::Keeper::attach(node.site.path("node/keeper.sock")).await;
        keeper.unwrap().unwrap().end().await.unwrap();
        assert_eq!(node.site.event("drift.keeper_ended").await.outcome, EventOutcome::Success);
        assert_eq!(connect(&named("palisade-t1"), (STRANGER, 443), ANSWERED).await, Verdict::Connected);
        let is_alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        assert!(is_alive(a.pid) && is_alive(a.sidecar_pid), "its namespace was there all the time");

        Namespace::remove(&name("palisade-t1")).unwrap();
        let again = node.site.running(A, |running| running.pid != a.pid).await;
        assert!(Namespace::of_process(again.pid).unwrap().is_same_as(&named("palisade-t1")).unwrap());
        assert!(is_alive(b.pid), "the other one is left alone");
        node.stop().await;
    });
}

#[test]
fn a_tenant_that_the_host_has_no_room_for_stops_nobody_else_and_comes_when_there_is_room() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        let a = node.site.running(A, |_| true).await;
        let b = node.site.running(B, |_| true).await;
        let route = NewRoute { destination: "10.102.7.0/24".parse().unwrap(), via: None, link: link("eth0") };
        on_stack(&host(), |stack| stack.add_route(&route).unwrap());
        node.want(2, &[(A, 1, true), (B, 2, true)]);
        let event = node.site.event("networks.overlap").await;
        assert_eq!((event.tenant, event.outcome), (Some(B), EventOutcome::Failure));
        let report = node.site.heard.networks(|report| report.applied == 2).await;
        assert!(report.routes.iter().any(|route| route.destination == "10.102.7.0/24"), "{report:?}");
        node.site.heard.placements(|report| report.running.len() == 1).await;
        on_stack(&host(), |stack| stack.remove_route(&route).unwrap());
        let again = node.site.running(B, |running| running.pid != b.pid).await;
        assert!(Namespace::of_process(again.pid).unwrap().is_same_as(&named("palisade-t2")).unwrap());
        assert_eq!(node.site.running(A, |_| true).await.pid, a.pid);
        node.stop().await;
    });
}

#[test]
fn networks_that_cannot_be_built_are_told_and_tried_again_while_everything_else_goes_on() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true)]);
        let before = node.site.running(A, |_| true).await;
        // Across what all networks share.
        let route = NewRoute { destination: "10.100.7.0/24".parse().unwrap(), via: None, link: link("eth0") };
        on_stack(&host(), |stack| stack.add_route(&route).unwrap());
        node.want(2, &[(A, 1, true), (B, 2, true)]);
        assert_eq!(node.site.event("networks.not_applied").await.outcome, EventOutcome::Failure);
        node.site.heard.placements(|report| !report.walls.own_networks).await;
        let report = node.site.heard.networks(|report| !report.routes.is_empty()).await;
        assert_eq!(report.applied, 1);
        on_stack(&host(), |stack| stack.remove_route(&route).unwrap());
        node.site.running(B, |_| true).await;
        node.site.heard.placements(|report| report.walls.own_networks).await;
        assert_eq!(node.site.running(A, |_| true).await.pid, before.pid);
        node.stop().await;
    });
}

#[test]
fn somebody_elses_namespace_with_a_tenants_name_is_told_and_nobody_starts_in_it_but_others_in_theirs() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        let by_hand = |verb: &str| {
            let done = Command::new("ip").args(["netns", verb, "palisade-t2"]).status();
            assert!(done.unwrap().success());
        };
        by_hand("add");
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        node.site.running(A, |_| true).await;
        let report = node.site.heard.networks(|report| report.applied == 1).await;
        assert!(report.drift.open.iter().any(|drift| drift.namespace == "tenant-2"), "{report:?}");
        let running = node.site.heard.placements(|report| !report.running.is_empty()).await.running;
        assert!(running.iter().all(|running| running.tenant == A));
        by_hand("delete");
        node.site.running(B, |_| true).await;
        node.stop().await;
    });
}

#[test]
fn kept_networks_that_are_damaged_are_told_and_replaced_by_the_next_ones() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true)]);
        node.site.running(A, |_| true).await;
        node.crash().await;
        files::write_private_atomically(&node.site.path("node/networks.dsse"), b"{").unwrap();
        node.start();
        assert_eq!(node.site.event("networks.kept_damaged").await.outcome, EventOutcome::Failure);
        node.site.event("networks.applied").await;
        node.site.running(A, |_| true).await;
        node.stop().await;
    });
}

#[test]
fn a_control_plane_elsewhere_reaches_data_planes_by_the_hosts_forwarded_ports() {
    in_a_world(async |world| {
        let mut node = Node::new(Networks::elsewhere());
        node.site.config.control_plane_url = format!("https://{STRANGER}");
        node.start();
        let at = SocketAddr::new(STRANGER.into(), 443);
        node.control_plane = Some(Served::inside(world.internet.clone(), &node.site.control, at).await);
        node.want(1, &[(A, 1, true)]);
        let running = node.site.running(A, |_| true).await;
        assert_eq!(running.url, format!("https://{HOST}:20001"));
        let data = std::fs::read_to_string(node.site.path(&format!("data-{A}/data.toml"))).unwrap();
        assert!(data.contains(&format!("control_plane_addr = \"{STRANGER}:443\"")), "{data}");
        let a = named("palisade-t1");
        let _a = listen(&a, A_AT, 5_678).await;
        let forwarded = (HOST, 20_001);
        let as_itself = connect_as(Some(STRANGER), &world.internet, forwarded, ANSWERED).await;
        let as_another = connect_as(Some(PROVIDER), &world.internet, forwarded, SILENT).await;
        assert_eq!((as_itself, as_another), (Verdict::Connected, Verdict::Refused));
        assert_eq!(connect(&a, (STRANGER, 443), ANSWERED).await, Verdict::Connected);
        assert!(!node.site.path("node/networks.json").exists(), "it waits for nobody");
        node.stop().await;
    });
}

#[test]
fn networks_are_probed_once_for_each_question_while_tenants_are_looked_after() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true), (B, 2, true)]);
        let before = node.site.running(A, |_| true).await;
        node.site.running(B, |_| true).await;
        for asked_at in [Timestamp::from_unix_ms(7), Timestamp::from_unix_ms(8)] {
            *node.site.control.probe_asked_at.lock().unwrap() = Some(asked_at);
            let report = node.site.heard.probes.recv().await.unwrap();
            assert_eq!((report.asked_at, report.version, report.failed), (asked_at, 1, None));
            assert!(report.rows.iter().any(|row| row.allowed) && report.rows.iter().any(|row| !row.allowed));
            assert!(report.rows.iter().all(|row| row.held == row.tried), "{:?}", report.rows);
        }
        assert!(node.site.heard.probes.try_recv().is_err(), "no question is answered twice");
        assert_eq!(node.site.running(A, |_| true).await.pid, before.pid);
        node.stop().await;
    });
}

#[test]
fn a_reset_takes_off_the_host_what_a_node_made_of_it_and_not_while_one_runs() {
    in_a_world(async |_world| {
        let mut node = Node::begin(here()).await;
        node.want(1, &[(A, 1, true)]);
        node.site.running(A, |_| true).await;
        let state = node.site.config.state_dir.clone();
        assert!(matches!(reset(&state).await, Err(ResetError::Running(_))));
        node.crash().await;
        node.control_plane = None;
        let removed = reset(&state).await.unwrap().removed.join("\n");
        for part in ["keeper", "`palisade-cp`", "`palisade-t1`", "networks.json", "inet palisade_floor"] {
            assert!(removed.contains(part), "{part}: {removed}");
        }
        assert!(Namespace::list().unwrap().iter().all(|owned| owned.name == name("palisade-trial-internet")));
        assert!(node.site.path("node/networks.dsse").exists(), "what the node knows stays");
        assert_eq!(reset(&state).await.unwrap(), Reset::default());
        assert_eq!(reset(Path::new("/nowhere")).await.unwrap(), Reset::default());
    });
}

#[test]
fn a_host_has_one_node() {
    in_a_world(async |_world| {
        let mut first = Node::begin(here()).await;
        let second = Node::new(here());
        let refused = second.site.start().1.await.unwrap().unwrap_err();
        assert!(matches!(refused, RunError::Networks(_)), "{refused}");
        assert!(refused.to_string().contains("another node already has this host's networks"), "{refused}");
        first.stop().await;
    });
}

/// A node, and its control plane in the network that the node makes for it.
struct Node {
    site: Site,
    running: Option<Running>,
    control_plane: Option<Served>,
}

impl Node {
    fn new(networks: Networks) -> Self {
        let mut site = Site::without_control_plane();
        let url = "https://localhost:8443".to_owned();
        site.config = NodeConfig { networks, control_plane_url: url, ..site.config };
        keeper_program(&site.dir.path().join("bin/palisade-node"));
        Self { site, running: None, control_plane: None }
    }

    /// Starts a node and, once it says that there is a place for it, the control plane, which brings its roots then.
    async fn begin(networks: Networks) -> Self {
        let mut node = Self::new(networks);
        let roots = node.site.config.control_plane_ca_file.clone();
        std::fs::remove_file(&roots).unwrap();
        node.start();
        node.site.appears("node/networks.json").await;
        node.serve().await;
        let pem = node.site.control.roots_pem().as_bytes();
        files::write_atomically(&roots, pem, 0o644, Owner::This).unwrap();
        node
    }

    async fn serve(&mut self) {
        let at = SocketAddr::new(CONTROL_AT.into(), 443);
        self.control_plane = Some(Served::inside(named("palisade-cp"), &self.site.control, at).await);
    }

    fn start(&mut self) {
        self.running = Some(self.site.start());
    }

    /// Wants these tenants to be there, and those to run whose flows are to pass.
    fn want(&self, version: u64, tenants: &[(TenantId, u8, bool)]) {
        self.site.control.want(&networks(&self.site.control, version, tenants));
        for (tenant, _, live) in tenants {
            self.site.place(*tenant, *live);
        }
    }

    async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.send(()).unwrap();
        assert_eq!(running.await.unwrap().unwrap(), End::Stopped);
    }

    /// Ends the node and its processes without a last word.
    async fn crash(&mut self) {
        let (_stop, running) = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        // The end of a process would let it go at once.
        while host().enter_blocking(|inside| Claim::take(inside).is_err()).unwrap() {
            tokio::task::yield_now().await;
        }
    }
}

fn here() -> Networks {
    let place = Place::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach: Vec::new() };
    Networks::Linux(Linux { place, drift: OnDrift::Repair, interfaces: None })
}

fn networks(control: &Control, version: u64, tenants: &[(TenantId, u8, bool)]) -> HostNetworks {
    let tenant = |(tenant, number, live): &(TenantId, u8, bool)| TenantNetwork {
        tenant: *tenant,
        number: *number,
        live: *live,
        quota: Quota::default(),
    };
    HostNetworks {
        node: control.node(),
        issuer: ISSUER.to_owned(),
        version,
        issued_at: Timestamp::EPOCH,
        control_addresses: vec![STRANGER],
        data_planes_elsewhere: Vec::new(),
        tenants: tenants.iter().map(tenant).collect(),
    }
}

fn inode(path: &str) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// A program that is `palisade-node keeper`: this one, which knows by a variable where to listen.
fn keeper_program(path: &Path) {
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2\" = 'keeper --socket' ] || exit 1\n{SOCKET_VARIABLE}=$3 exec {} --exact \
         networks::process_of_a_keeper --nocapture --test-threads=1\n",
        this.display()
    );
    files::write_atomically(path, script.as_bytes(), 0o755, Owner::This).unwrap();
}

/// Not a test by itself: the nodes of the tests run it in processes of its own.
#[test]
fn process_of_a_keeper() {
    let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else { return };
    let tag = "palisade restricted=true".parse().unwrap();
    let ended: Result<core::convert::Infallible, _> = host::network::keeper::run(Path::new(&socket), &tag);
    panic!("{}", ended.unwrap_err());
}
