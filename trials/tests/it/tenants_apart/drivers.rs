//! Which driver `up` takes, what it needs, and what is said when another one comes.

use super::home::{self, Apart, SOON};
use anyhow::Result;
use std::process::{Command, Stdio};
use trials::{Options, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_means_for_networks_nothing_starts_and_the_way_out_is_named() {
    let Some(mut apart) = Apart::prepare("networks: without the means", Options::default()) else { return };
    let (code, said) = up_without(&apart, "net_admin").unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error[driver_unavailable]"), "{said}");
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("--driver loopback"), "{said}");
    assert_eq!(apart.site.processes(), []);
    apart.nothing_is_left().await;
    // The refusal is remembered by nobody.
    apart.site.again().await.unwrap();
    assert_eq!(apart.site.driver(), "linux");
    apart.end().await;
}

/// Runs `up` as root without a capability, and says how it ended.
fn up_without(apart: &Apart, capability: &str) -> Result<(Option<i32>, String)> {
    let up = apart.site.up_command();
    let mut less = Command::new("setpriv");
    less.args(["--bounding-set", &format!("-{capability}"), "--"]).arg(up.get_program()).args(up.get_args());
    let output = less.stdin(Stdio::null()).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_driver_on_the_same_state_is_said_and_takes_the_tenants_along() {
    let Some(mut apart) = Apart::up("networks: another driver").await else { return };
    apart.site.set_arguments(&["--driver", "loopback"]);
    apart.site.again().await.unwrap();
    for said in ["NET-1 to NET-5, which held here, are not enforced any more", "walls that are missing here"]
    {
        let is_said = async || apart.site.said().contains(said);
        assert!(wait_until(SOON, is_said).await, "{said}: {}", apart.site.said());
    }
    assert_eq!(apart.site.driver(), "loopback");
    assert_eq!(apart.site.not_enforced(), ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5"]);
    apart.runs_a_plan("demo");
    let data_plane = home::data_plane(&apart.site, "demo").unwrap();
    assert_eq!(data_plane["networks_enforced"], false);
    let hosts = apart.json(&["network", "drift"]);
    assert_eq!(hosts[0]["driver"], "loopback", "{hosts}");
    let probe = apart.site.palisade(&["network", "probe"]).output().unwrap();
    assert_eq!(probe.status.code(), Some(8), "{probe:?}");

    // Remembered, until another one is asked for.
    apart.site.set_arguments(&[]);
    apart.site.again().await.unwrap();
    assert_eq!(apart.site.driver(), "loopback");
    apart.site.set_arguments(&["--driver", "linux"]);
    apart.site.again().await.unwrap();
    assert!(apart.site.said().contains("moves into a network of its own"), "{}", apart.site.said());
    assert_eq!((apart.site.driver(), apart.site.not_enforced()), ("linux", &[][..]));
    apart.runs_a_plan("demo");
    let probed = apart.site.run(&["network", "probe"]).unwrap();
    assert!(probed.contains("all hold: "), "{probed}");
    apart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_where_the_control_plane_is_reached() {
    let bare = Options { demo: false, any_port: false, ..Options::default() };
    let Some(mut apart) = Apart::prepare("networks: the port that is published", bare) else { return };
    let machine = apart.site.machine().unwrap();
    let taken =
        machine.namespace().enter_blocking(|_| std::net::TcpListener::bind("127.0.0.1:9443")).unwrap();
    apart.site.set_arguments(&["--control-plane-addr", "127.0.0.1:9443"]);
    let (code, said) = apart.site.up_fails().await.unwrap();
    assert!(code == 1 && said.contains("error[port_taken]"), "{said}");
    drop(taken);
    apart.site.again().await.unwrap();
    let machine = apart.site.machine().unwrap();
    let second =
        machine.namespace().enter_blocking(|_| std::net::TcpListener::bind("127.0.0.1:9443")).unwrap();
    assert!(second.is_err(), "somebody listens where nothing ever arrives");
    apart.end().await;
}
