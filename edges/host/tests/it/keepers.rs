//! The keeper: it alone changes the rules, it outlives the node, and everything ends with it.

use crate::router::{FLOOR, RULES, Router, keeper_process};
use crate::site::{Site, inside, link, on_stack, tag, wired};
use host::network::keeper::{Code, Generation, Keeper, KeeperError, Place};
use host::network::nftables::Nftables;
use host::network::probe::Verdict;
use host::network::{Nft, NftError, StackError};
use host::process::{Network, Output};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for something that comes at once on an idle machine.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_keepers_rules_hold_and_nobody_else_changes_them() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let (_open, _shut) = (router.listen(443).await, router.listen(80).await);
    let tries = async || (router.answer(443).await, router.silence(80).await);
    assert_eq!(tries().await, (Verdict::Connected, Verdict::TimedOut));
    let before = keeper.list(Place::Router).await.unwrap();
    let middle = keeper.namespace().await.unwrap();
    inside(&middle, |inside| {
        let mut other = Nft::open(inside).unwrap();
        for text in ["flush table inet palisade", "insert rule inet palisade forward accept"] {
            let refused = other.run(text);
            assert!(
                matches!(&refused, Err(NftError::Refused(why)) if why.contains("not permitted")),
                "{refused:?}"
            );
        }
        other.run("flush ruleset").unwrap();
    });
    assert_eq!(tries().await, (Verdict::Connected, Verdict::TimedOut));
    assert_eq!(
        keeper.generations().await.unwrap().router.tables,
        before.generation.tables,
        "a refused change is none"
    );
}

#[tokio::test]
async fn the_keeper_loads_whole_rulesets_of_its_tables_and_nothing_else() {
    let Some((_router, keeper)) = Router::with(RULES).await else { return };
    let before = keeper.generations().await.unwrap().router;
    let cases = [
        ("flush ruleset", Code::NotARuleset),
        ("table inet palisade {\n include \"/etc/hostname\"\n}\n", Code::NotARuleset),
        ("table inet other { }\n", Code::NotARuleset),
        ("add rule inet palisade forward nonsense\n", Code::Nftables),
        ("add rule inet palisade absent accept\n", Code::Nftables),
    ];
    for (text, expected) in cases {
        let refused = keeper.load(Place::Router, text.to_owned()).await;
        assert!(matches!(refused, Err(KeeperError::Refused { code, .. }) if code == expected), "{refused:?}");
    }
    assert_eq!(keeper.generations().await.unwrap().router.tables, before.tables);
    assert_eq!(keeper.load(Place::Router, RULES.to_owned()).await.unwrap().tables, before.tables + 1);
    assert!(keeper.list(Place::Router).await.unwrap().json.contains("\"palisade\""));
}

#[tokio::test]
async fn a_change_that_was_undone_shows_in_the_generation_and_traffic_does_not() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let _listener = router.listen(443).await;
    assert_eq!(router.answer(443).await, Verdict::Connected);
    let middle = keeper.namespace().await.unwrap();
    let mut before = quiet(&keeper).await;
    assert_eq!(router.answer(443).await, Verdict::Connected);
    assert_eq!(keeper.generations().await.unwrap().router, before, "traffic is no change");
    inside(&middle, |inside| {
        Nft::open(inside).unwrap().run("add table inet hole\ndelete table inet hole\n").unwrap();
    });
    let after = keeper.generations().await.unwrap().router;
    assert!(after.tables != before.tables && after.stack == before.stack, "{after:?}");
    before = after;
    let address = "192.0.2.99/24".parse().unwrap();
    on_stack(&middle, |stack| {
        stack.add_address(&link("pt1"), address).unwrap();
        stack.remove_address(&link("pt1"), address).unwrap();
    });
    let after = keeper.generations().await.unwrap().router;
    assert!(after.tables == before.tables && after.stack != before.stack, "{after:?}");
}

#[tokio::test]
async fn a_node_that_starts_again_finds_the_keeper_and_no_flow_breaks() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let _listener = router.listen(443).await;
    let mut flow = inside(&router.left, |_| TcpStream::connect("198.51.100.10:443").unwrap());
    flow.set_read_timeout(Some(SOON)).unwrap();
    echoes(&mut flow).await;
    let pid = keeper.pid();
    drop(keeper);
    let found = Keeper::attach(router.socket()).await.unwrap().unwrap();
    assert_eq!(found.pid(), pid);
    found.load(Place::Router, RULES.to_owned()).await.unwrap();
    echoes(&mut flow).await;
}

#[tokio::test]
async fn the_keeper_outlives_a_node_that_is_killed() {
    let Some(_site) = Site::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("keeper.sock");
    let mut node = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keepers::process_of_a_node_that_starts_a_keeper"])
        .env(NODE_VARIABLE, &socket)
        .spawn()
        .unwrap();
    let keeper = appears(&socket).await;
    node.kill().unwrap();
    node.wait().unwrap();
    let again = Keeper::attach(socket.clone()).await.unwrap().unwrap();
    assert_eq!(again.pid(), keeper.pid());
    again.load(Place::Router, RULES.to_owned()).await.unwrap();
    again.end().await.unwrap();
    keeper.ended().await.unwrap();
    assert!(Keeper::attach(socket).await.unwrap().is_none());
}

#[tokio::test]
async fn when_the_keeper_is_killed_every_link_into_its_namespace_is_gone() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let _listener = router.listen(443).await;
    assert_eq!(router.answer(443).await, Verdict::Connected);
    router.kill_keeper();
    tokio::time::timeout(SOON, keeper.ended()).await.unwrap().unwrap();
    for namespace in [&router.left, &router.right] {
        let gone = || {
            let seen = on_stack(namespace, |stack| stack.link(&link("eth0")));
            matches!(seen, Err(StackError::NoLink(_)))
        };
        until(gone).await;
    }
    assert_eq!(router.answer(443).await, Verdict::Unreachable);
    assert!(matches!(keeper.generations().await, Err(KeeperError::Unreachable(_))));
}

#[tokio::test]
async fn nothing_passes_between_the_end_of_the_owned_table_and_of_the_namespace() {
    for (floor, expected) in [(FLOOR, Verdict::TimedOut), ("", Verdict::Connected)] {
        let Some((router, keeper)) = Router::with(&format!("{floor}{RULES}")).await else { return };
        let (_open, _shut) = (router.listen(443).await, router.listen(80).await);
        assert_eq!(router.answer(443).await, Verdict::Connected);
        assert_eq!(router.silence(80).await, Verdict::TimedOut);
        // Whoever holds the namespace stretches the moment in which the table is gone and the links are not.
        let held = keeper.namespace().await.unwrap();
        keeper.end().await.unwrap();
        let owned = || inside(&held, |inside| Nftables::open(inside).unwrap().owner("palisade").is_err());
        until(owned).await;
        // Without the floor the router is open: this is what it stands against.
        assert_eq!(router.silence(80).await, expected);
        assert_eq!(router.silence(443).await, expected);
    }
}

#[tokio::test]
async fn the_keeper_owns_a_table_of_the_host_which_ends_with_it_and_the_floor_beneath_does_not() {
    let Some(mut site) = Site::new() else { return };
    let host = site.namespace();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("keeper.sock");
    let mut spawn = keeper_process(&socket);
    spawn.network = Network::Of(host.clone());
    let keeper = Keeper::start(spawn, socket).await.unwrap();
    let before = keeper.generations().await.unwrap();
    keeper.load(Place::Host, format!("{RULES}{FLOOR}")).await.unwrap();
    let after = keeper.generations().await.unwrap();
    assert!(after.host.tables != before.host.tables && after.router == before.router, "{after:?}");
    let refused = inside(&host, |inside| Nft::open(inside).unwrap().run("delete table inet palisade"));
    assert!(matches!(&refused, Err(NftError::Refused(why)) if why.contains("not permitted")), "{refused:?}");
    assert!(!keeper.list(Place::Router).await.unwrap().json.contains("\"table\""));
    assert!(keeper.list(Place::Host).await.unwrap().json.contains("palisade_floor"));
    keeper.end().await.unwrap();
    let tables = || inside(&host, |inside| Nftables::open(inside).unwrap().tables().unwrap());
    until(|| tables().len() == 1).await;
    assert_eq!(tables()[0].name, "palisade_floor");
}

#[tokio::test]
async fn a_keepers_namespace_is_its_own_wherever_it_starts() {
    let Some(mut site) = Site::new() else { return };
    let (left, _right) = wired(&mut site);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("keeper.sock");
    let mut spawn = keeper_process(&socket);
    spawn.network = Network::Of(left.clone());
    let keeper = Keeper::start(spawn, socket).await.unwrap();
    let router = keeper.namespace().await.unwrap();
    assert!(!router.is_same_as(&left).unwrap());
    assert_eq!(router.tag().unwrap(), Some(tag()));
    assert!(on_stack(&router, |stack| stack.links().unwrap().iter().all(|link| !link.up)));
    keeper.end().await.unwrap();
}

#[tokio::test]
async fn a_keeper_takes_no_other_file_for_its_socket() {
    let Some(_site) = Site::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "data").unwrap();
    let said = refused(&precious, Network::Fresh).await;
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
}

#[tokio::test]
async fn a_second_keeper_ends_and_the_first_stays() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let mut second = keeper_process(&router.socket());
    second.stderr = Output::File(router.socket().with_extension("said"));
    let refused = Keeper::start(second, router.socket()).await;
    assert!(matches!(refused, Err(KeeperError::Ended(status)) if !status.success()), "{refused:?}");
    keeper.load(Place::Router, RULES.to_owned()).await.unwrap();
}

#[tokio::test]
async fn the_keeper_keeps_one_capability_and_its_socket_to_itself() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    let mode = std::fs::metadata(router.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // In a process of the test the keeper is two threads of three.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", keeper.pid())).unwrap();
    let kept = tasks.filter(|task| {
        let status = std::fs::read_to_string(task.as_ref().unwrap().path().join("status")).unwrap();
        let only = "0000000000001000";
        ["CapPrm", "CapEff", "CapBnd"].iter().all(|set| status.contains(&format!("{set}:\t{only}\n")))
    });
    assert_eq!(kept.count(), 2, "one for each namespace");
}

#[tokio::test]
async fn a_line_that_is_no_request_is_answered_and_ends_nothing() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    for line in ["\n", "{}\n", "{\"do\":\"load\"}\n", "{\"do\":\"list\",\"more\":1}\n", "\u{7f}"] {
        let mut stream = std::os::unix::net::UnixStream::connect(router.socket()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"malformed\""), "{line:?}: {answer}");
    }
    keeper.generations().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_dead_keeper_left_is_no_keeper_and_is_taken_over() {
    let Some((router, keeper)) = Router::with(RULES).await else { return };
    keeper.end().await.unwrap();
    assert!(router.socket().exists());
    assert!(Keeper::attach(router.socket()).await.unwrap().is_none());
    let next = Keeper::start(keeper_process(&router.socket()), router.socket()).await.unwrap();
    assert_eq!(next.load(Place::Router, RULES.to_owned()).await.unwrap().tables, 2, "a namespace of its own");
    next.end().await.unwrap();
}

const NODE_VARIABLE: &str = "PALISADE_TEST_NODE_SOCKET";

/// Not a test by itself: the one above runs it in a process of its own, and kills that.
#[tokio::test]
async fn process_of_a_node_that_starts_a_keeper() {
    let Some(socket) = std::env::var_os(NODE_VARIABLE).map(PathBuf::from) else { return };
    let keeper = Keeper::start(keeper_process(&socket), socket.clone()).await.unwrap();
    // Longer than the test waits for it.
    tokio::time::timeout(SOON * 2, keeper.ended()).await.unwrap().unwrap();
}

/// Runs a keeper that must not begin, and gives what it said.
async fn refused(socket: &Path, network: Network) -> String {
    let said = socket.with_extension("said");
    let mut spawn = keeper_process(socket);
    (spawn.network, spawn.stderr) = (network, Output::File(said.clone()));
    assert!(!spawn.spawn().await.unwrap().wait().await.unwrap().success());
    std::fs::read_to_string(said).unwrap()
}

async fn appears(socket: &Path) -> Keeper {
    let start = Instant::now();
    loop {
        if let Some(keeper) = Keeper::attach(socket.to_owned()).await.unwrap() {
            return keeper;
        }
        assert!(start.elapsed() < SOON, "no keeper appeared");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The generation once links that were just switched on have settled.
async fn quiet(keeper: &Keeper) -> Generation {
    let mut seen = keeper.generations().await.unwrap().router;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = keeper.generations().await.unwrap().router;
        if now == seen {
            return seen;
        }
        seen = now;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "it never came to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Says something through the flow and hears it again.
async fn echoes(flow: &mut TcpStream) {
    let mut own = flow.try_clone().unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        own.write_all(b"still here").unwrap();
        let mut heard = [0; 10];
        own.read_exact(&mut heard).unwrap();
        heard
    });
    assert_eq!(&heard.await.unwrap(), b"still here");
}
