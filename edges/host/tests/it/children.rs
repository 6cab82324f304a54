//! Children that are started in another network.

use crate::site::{Site, wired};
use host::network::Namespace;
use host::process::{Lifetime, Network, Running, Spawn};
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn a_child_of_another_user_runs_in_the_namespace_it_is_given() {
    let Some(mut site) = Site::new() else { return };
    let (left, _right) = wired(&mut site);
    let mut spawn = shell("id -u; id -g; id -G; grep -o left0 /proc/net/dev");
    (spawn.uid, spawn.gid, spawn.network) = (Some(4_242), Some(4_243), Network::Of(left));
    assert_eq!(said(spawn).await, "4242\n4243\n4243\nleft0\n");
}

#[tokio::test]
async fn a_child_in_a_fresh_network_has_none_of_its_parents_links() {
    let Some(_site) = Site::new() else { return };
    let mut spawn = shell("grep -c eth /proc/net/dev; readlink /proc/self/ns/net");
    spawn.network = Network::Fresh;
    let said = said(spawn).await;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "0");
    assert_ne!(lines[1], own.to_str().unwrap());
}

#[tokio::test]
async fn a_namespace_lives_no_longer_than_the_child_it_was_made_for() {
    let Some(_site) = Site::new() else { return };
    let mut spawn = shell("echo up; read x");
    (spawn.network, spawn.stdin_pipe) = (Network::Fresh, true);
    let mut running = start(spawn).await;
    let mut stdout = running.take_stdout().unwrap();
    stdout.read_exact(&mut [0; 3]).await.unwrap();
    let pid = running.pid();
    Namespace::of_process(pid).unwrap();
    running.terminate(0).await.unwrap();
    assert!(Namespace::of_process(pid).is_err());
}

#[tokio::test]
async fn a_child_with_a_lifetime_of_its_own_is_not_killed_with_its_handle() {
    for (lifetime, survives) in [(Lifetime::Own, true), (Lifetime::WithParent, false)] {
        let mut spawn = shell("echo up; sleep 1; echo alive");
        spawn.lifetime = lifetime;
        let mut running = start(spawn).await;
        let mut stdout = running.take_stdout().unwrap();
        stdout.read_exact(&mut [0; 3]).await.unwrap();
        drop(running);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest == "alive\n", survives, "{rest:?}");
    }
}

fn shell(script: &str) -> Spawn {
    let mut spawn = Spawn::new("/bin/sh".into(), "/".into());
    spawn.args = vec!["-c".into(), script.into()];
    spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    spawn.stdout_pipe = true;
    spawn
}

async fn start(spawn: Spawn) -> Running {
    spawn.spawn().await.unwrap()
}

async fn said(spawn: Spawn) -> String {
    let mut running = start(spawn).await;
    let mut text = String::new();
    running.take_stdout().unwrap().read_to_string(&mut text).await.unwrap();
    running.wait().await.unwrap();
    text
}
