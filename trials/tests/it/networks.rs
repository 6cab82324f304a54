//! Tenant networks through the real kernel: the engine's rules and links, and a real keeper that holds them.

mod guard;
mod probing;
mod reading;
mod world;

use host::network::probe::{self, Attempt, Listener, Verdict};
use host::network::{Namespace, NewRoute, Nft, sysctl};
use ipnet::IpNet;
use network::ruleset::{self, Chain, Ruleset, Verdict as Fate};
use network::{
    Addresses, Beyond, Change, ControlPlane, Desired, DropReason, Expected, Namespace as Place,
    NetworkNumber, Probe, Table, TenantNetwork, Uplink, matrix,
};
use probing::{ANSWERED, Owners, SILENT, arrivals, can_pass, listen, passed};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use terms::TenantId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trials::wait_until;
use world::{HOST, HOST_INTERFACE, World, inside, link, on_stack};

/// Somebody on the internet.
const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// A database that the control plane may reach.
const DATABASE: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 40);
/// A control plane on another host.
const CONTROL: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);

/// How long a state may take to come.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn with_the_control_plane_here_the_kernel_does_what_the_policy_says_and_open_rules_let_all_through() {
    matrix_holds("networks: the matrix, control plane here", here(&[1, 3])).await;
}

#[tokio::test]
async fn with_the_control_plane_elsewhere_the_kernel_does_what_the_policy_says_and_open_rules_let_all_through()
 {
    let elsewhere = ControlPlane::Elsewhere { addresses: vec![CONTROL] };
    matrix_holds("networks: the matrix, control plane elsewhere", desired(elsewhere, &[1, 3])).await;
}

async fn matrix_holds(trial: &str, desired: Desired) {
    let Some(world) = World::build(trial, desired).await else { return };
    let probes = probes(&world);
    world.decoys(Owners::of(&world).beyond(&probes));
    world.lead_strangers_in();
    let listeners = listen(&world, &probes, None).await;
    let is_allowed = |probe: &&Probe| probe.expected == Expected::Allowed;
    let (allowed, denied): (Vec<_>, Vec<_>) = probes.iter().cloned().partition(|probe| is_allowed(&probe));
    assert!(allowed.len() >= 8 && denied.len() > 1_000, "{} and {}", allowed.len(), denied.len());

    assert_eq!(missing(&allowed, &passed(&world, &allowed, ANSWERED).await), []);
    let before = arrivals(&listeners);
    assert_eq!(passed(&world, &denied, SILENT).await, BTreeSet::new());
    assert_eq!(arrivals(&listeners), before, "no answer came back, but something arrived");

    world.load(&opened(ruleset::write(&world.desired)), &opened(ruleset::write_host(&world.desired))).await;
    let (can, cannot): (Vec<_>, Vec<_>) = denied.into_iter().partition(can_pass);
    assert_eq!(missing(&can, &passed(&world, &can, ANSWERED).await), []);
    assert_eq!(passed(&world, &cannot, SILENT).await, BTreeSet::new(), "these pass: so they prove something");
}

#[tokio::test]
async fn suspending_a_tenant_cuts_its_open_flow_and_no_other() {
    let Some(world) = World::build("networks: a suspended tenant", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    let mut cut = flow(&world, 1).await;
    let mut other = flow(&world, 3).await;
    assert!(echoes(&mut cut, ANSWERED).await && echoes(&mut other, ANSWERED).await);

    change(&world, &here(&[1, 3]), &here(&[3])).await;
    assert!(!echoes(&mut cut, SILENT).await);
    assert!(wait_until(SOON, async || drops(&world, DropReason::Cut).await > 0).await);
    assert!(echoes(&mut other, ANSWERED).await);
    assert_eq!(connect(&world, 1, SILENT).await, Verdict::TimedOut);

    change(&world, &here(&[3]), &here(&[1, 3])).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert!(!echoes(&mut cut, SILENT).await, "what was cut stays cut");
}

#[tokio::test]
async fn nobody_else_changes_the_rules_and_a_floor_that_was_flushed_is_drift() {
    let Some(world) = World::build("networks: another root", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    let before = world.keeper.generation().await.unwrap().tables;
    inside(&world.namespace(Place::Router).await, |inside| {
        let mut other = Nft::open(inside).unwrap();
        for deed in ["flush table", "delete table", "add element inet palisade live { 2 } #"] {
            let refused = other.run(&format!("{deed} inet palisade")).unwrap_err().to_string();
            assert!(refused.contains("Operation not permitted"), "{deed}: {refused}");
        }
    });
    assert_eq!(world.keeper.generation().await.unwrap().tables, before, "a refused change is none");

    let router = world.namespace(Place::Router).await;
    inside(&router, |inside| Nft::open(inside).unwrap().run("flush ruleset").unwrap());
    assert_eq!(told(&world).await, ["table_missing in router: firewall lacks `inet palisade_floor`"]);
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert_eq!(connect(&world, 2, SILENT).await, Verdict::TimedOut);
    world.load(&ruleset::write(&world.desired), &ruleset::write_host(&world.desired)).await;
    assert_eq!(told(&world).await, [""; 0]);
}

#[tokio::test]
async fn when_its_keeper_is_killed_everything_is_closed() {
    let Some(world) = World::build("networks: a killed keeper", here(&[1, 3])).await else { return };
    let probes = probes(&world);
    world.decoys(Owners::of(&world).beyond(&probes));
    // Whoever listens in the router's namespace holds it.
    let listeners = listen(&world, &probes, Some(Place::Router)).await;
    let mut open = flow(&world, 1).await;
    assert!(echoes(&mut open, ANSWERED).await);

    trials::signal(world.keeper.pid(), "KILL").unwrap();
    tokio::time::timeout(SOON, world.keeper.ended()).await.unwrap().unwrap();
    for pair in &world.topology.pairs {
        let (place, name) = &pair.outer;
        let namespace = world.namespace(*place).await;
        let is_gone = || on_stack(&namespace, |stack| stack.link(&link(name))).is_err();
        assert!(wait_until(SOON, async || is_gone()).await, "{place}: the link is still there");
    }
    let before = arrivals(&listeners);
    assert_eq!(passed(&world, &probes, SILENT).await, BTreeSet::new());
    assert_eq!(arrivals(&listeners), before);
    assert!(!echoes(&mut open, SILENT).await);
}

/// What somebody does by hand, what undoes it, and what is to be told of it in between.
struct ByHand {
    place: Place,
    deed: fn(&Namespace),
    undo: fn(&Namespace),
    told: &'static str,
}

#[tokio::test]
async fn drift_sees_what_was_changed_by_hand_and_nothing_in_what_was_asked_for() {
    let Some(world) = World::build("networks: drift", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert_eq!(connect(&world, 2, SILENT).await, Verdict::TimedOut);
    assert_eq!(told(&world).await, [""; 0], "traffic is no drift");
    for ByHand { place, deed, undo, told: expected } in by_hand() {
        let namespace = world.namespace(place).await;
        deed(&namespace);
        assert_eq!(told(&world).await, [expected]);
        undo(&namespace);
        assert_eq!(told(&world).await, [""; 0], "{expected}");
    }
}

fn by_hand() -> [ByHand; 6] {
    [
        ByHand {
            place: Place::Tenant(number(3)),
            deed: |namespace| {
                on_stack(namespace, |stack| stack.add_address(&link("eth0"), address()).unwrap())
            },
            undo: |namespace| {
                on_stack(namespace, |stack| stack.remove_address(&link("eth0"), address()).unwrap());
            },
            told: "address in tenant-3: addresses has `10.103.0.99/16 on eth0`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| on_stack(namespace, |stack| stack.add_route(&detour()).unwrap()),
            undo: |namespace| on_stack(namespace, |stack| stack.remove_route(&detour()).unwrap()),
            told: "route in router: routes has `93.184.216.34/32 through pt3, table 254`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| set(namespace, "net/netfilter/nf_conntrack_tcp_loose", "1"),
            undo: |namespace| set(namespace, "net/netfilter/nf_conntrack_tcp_loose", "0"),
            told: "sysctl in router: net/netfilter/nf_conntrack_tcp_loose should be `0` and is `1`",
        },
        ByHand {
            place: Place::Host,
            deed: |namespace| set(namespace, "net/ipv4/conf/palisade/rp_filter", "0"),
            undo: |namespace| set(namespace, "net/ipv4/conf/palisade/rp_filter", "1"),
            told: "sysctl in host: net/ipv4/conf/palisade/rp_filter should be `1` and is `0`",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| nft(namespace, "add table ip hole"),
            undo: |namespace| nft(namespace, "delete table ip hole"),
            told: "table_foreign in router: firewall has `ip hole`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| nft(namespace, "insert rule inet palisade_floor forward accept"),
            undo: |namespace| {
                nft(
                    namespace,
                    "flush chain inet palisade_floor forward\nadd rule inet palisade_floor forward meta mark 1 accept",
                );
            },
            told: "rule_foreign in router: inet palisade_floor forward has `accept`, which nothing asked for",
        },
    ]
}

fn address() -> IpNet {
    "10.103.0.99/16".parse().unwrap()
}

fn detour() -> NewRoute {
    NewRoute { destination: IpAddr::V4(STRANGER).into(), via: None, link: link("pt3") }
}

fn set(namespace: &Namespace, path: &str, value: &str) {
    inside(namespace, |inside| sysctl::write(inside, &path.parse().unwrap(), value).unwrap());
}

fn nft(namespace: &Namespace, text: &str) {
    inside(namespace, |inside| Nft::open(inside).unwrap().run(text).unwrap());
}

// === what is asked for ===

/// A host with its control plane and three tenants, of which these are live.
fn here(live: &[u32]) -> Desired {
    let reach = vec![std::net::SocketAddrV4::new(DATABASE, 5432)];
    desired(ControlPlane::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach }, live)
}

fn desired(control_plane: ControlPlane, live: &[u32]) -> Desired {
    let tenant = |n: u32| TenantNetwork {
        tenant: TenantId::from_bytes([u8::try_from(n).unwrap(); 16]),
        number: number(n),
        live: live.contains(&n),
        connections_max: 64,
    };
    let uplink = Uplink { interfaces: vec![HOST_INTERFACE.to_owned()], host_addresses: vec![HOST] };
    Desired::new(1, control_plane, uplink, (1..=3).map(tenant).collect(), &[]).unwrap()
}

fn number(n: u32) -> NetworkNumber {
    NetworkNumber::try_from(n).unwrap()
}

fn probes(world: &World) -> Vec<Probe> {
    let beyond = Beyond {
        public: vec![STRANGER],
        ipv6: vec!["2606:4700::1111".parse().unwrap()],
        strangers: vec![STRANGER],
    };
    matrix(&world.desired, &beyond)
}

/// The rules with every filter open. What they do to addresses stays, so that answers find back.
fn opened(mut rules: Ruleset) -> Ruleset {
    let is_translation = |chain: &Chain| chain.hook.as_ref().is_some_and(|hook| hook.kind == "nat");
    let chains = rules.chains.values_mut().chain(rules.floor.values_mut());
    for chain in chains.filter(|chain| !is_translation(chain)) {
        chain.rules.clear();
        if let Some(hook) = &mut chain.hook {
            hook.policy = Fate::Accept;
        }
    }
    rules
}

// === what becomes of it ===

/// The probes that did not get through.
fn missing(all: &[Probe], passed: &BTreeSet<Probe>) -> Vec<Probe> {
    all.iter().filter(|probe| !passed.contains(probe)).cloned().collect()
}

async fn told(world: &World) -> Vec<String> {
    world.drift().await.iter().map(ToString::to_string).collect()
}

async fn drops(world: &World, reason: DropReason) -> u64 {
    let listing = world.keeper.list().await.unwrap().json;
    let drops = Table::read(&[listing]).unwrap().drops();
    drops.get(&reason).map_or(0, |count| count.packets)
}

/// Changes the router's rules as a node does: elements only, so that counts and caps stay.
async fn change(world: &World, before: &Desired, after: &Desired) {
    let change = ruleset::write(after).change_from(&ruleset::write(before));
    let Change::Elements(text) = change else { panic!("{change:?}") };
    world.keeper.load(text).await.unwrap();
}

async fn listen_at(world: &World, address: Ipv4Addr) -> Listener {
    let address = SocketAddr::new(IpAddr::V4(address), 443);
    Listener::open(&world.internet, probe::Protocol::Tcp, address).await.unwrap()
}

/// How a tenant's connection to the stranger ends.
async fn connect(world: &World, tenant: u32, patience: Duration) -> Verdict {
    let to = SocketAddr::new(IpAddr::V4(STRANGER), 443);
    let from = Some(IpAddr::V4(Addresses::of(number(tenant)).data_plane));
    let attempt = Attempt { protocol: probe::Protocol::Tcp, to, from };
    let namespace = world.namespace(Place::Tenant(number(tenant))).await;
    probe::run(&namespace, &[attempt], patience).await.unwrap()[0].verdict
}

/// An open flow of a tenant to the stranger.
async fn flow(world: &World, tenant: u32) -> TcpStream {
    let namespace = world.namespace(Place::Tenant(number(tenant))).await;
    let connect = |_: &_| std::net::TcpStream::connect((STRANGER, 443));
    let stream = namespace.enter(connect).await.unwrap().unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// Whether what is said through the flow is heard again in time.
async fn echoes(flow: &mut TcpStream, patience: Duration) -> bool {
    let exchange = async {
        flow.write_all(b"still here").await?;
        let mut heard = [0; 10];
        flow.read_exact(&mut heard).await?;
        std::io::Result::Ok(&heard == b"still here")
    };
    matches!(tokio::time::timeout(patience, exchange).await, Ok(Ok(true)))
}
