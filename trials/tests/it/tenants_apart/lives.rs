//! A tenant's network over its life: suspended, resumed, deleted; and the neighbour who notices nothing.

use super::home::{ANSWERED, Apart, SILENT, SOON, data_plane, on_stack};
use host::network::Nft;
use host::network::probe::Verdict;
use trials::{Internet, echoes, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenants_open_flows_are_cut_and_a_deleted_ones_network_is_gone() {
    let Some(apart) = Apart::up("networks: a tenant's life").await else { return };
    apart.found("acme").await;
    let _stranger = apart.stranger(443).await;
    let https = (Internet::STRANGER, 443);
    let (mut cut, mut neighbours) = (apart.flow("acme").await, apart.flow("demo").await);
    assert!(echoes(&mut cut, ANSWERED).await && echoes(&mut neighbours, ANSWERED).await);

    apart.site.run(&["tenant", "suspend", "acme", "--reason", "incident"]).unwrap();
    assert!(wait_until(SOON, async || !echoes(&mut cut, SILENT).await).await);
    assert_eq!(apart.connect("acme", https, SILENT).await, Verdict::TimedOut);
    assert!(echoes(&mut neighbours, ANSWERED).await);
    assert_eq!(apart.network("acme")["live"], false);

    apart.site.run(&["tenant", "resume", "acme"]).unwrap();
    assert!(wait_until(SOON, async || data_plane(&apart.site, "acme").is_some()).await);
    let passes = async || apart.connect("acme", https, SILENT).await == Verdict::Connected;
    assert!(wait_until(SOON, passes).await);
    apart.runs_a_plan("acme");
    assert!(!echoes(&mut cut, SILENT).await, "what was cut stays cut");

    let number = apart.number("acme");
    // It would keep the namespace alive.
    drop(cut);
    apart.site.run(&["tenant", "delete", "acme", "--yes"]).unwrap();
    let (name, link) = (format!("palisade-t{number}"), format!("pt{number}"));
    let machine = apart.site.machine().unwrap();
    let is_gone = async || !machine.names().unwrap().contains(&name);
    assert!(wait_until(SOON, is_gone).await, "{:?}", machine.names());
    let router = apart.router();
    let links = on_stack(&router, |stack| stack.links());
    assert!(!links.iter().any(|found| found.name == link), "{links:?}");
    let rules =
        router.enter_blocking(|inside| Nft::open(inside).unwrap().list(&["palisade"]).unwrap()).unwrap();
    assert!(
        !rules.contains(&link) && !rules.contains(&format!("10.{}.0.", 100 + u32::from(number))),
        "{rules}"
    );
    drop(router);
    let rests = async || {
        let networks = apart.json(&["network", "list"]);
        let left = networks.as_array().unwrap().iter().find(|network| network["number"] == number).cloned();
        left.is_some_and(|left| left["state"] == "resting")
    };
    assert!(wait_until(SOON, rests).await, "{}", apart.site.run(&["network", "list"]).unwrap());
    assert!(echoes(&mut neighbours, ANSWERED).await);
    drop(neighbours);

    // Its number is not given again while it rests.
    apart.found("globex").await;
    assert_ne!(apart.number("globex"), number);
    apart.end().await;
}
