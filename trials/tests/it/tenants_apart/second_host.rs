//! A host without the control plane: it takes the signed networks by 443, and plans come to it by forwarded ports.

use super::home::{ANSWERED, Apart, SILENT, SOON, connect, data_plane, found, json, runs_a_plan};
use host::network::probe::Verdict;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Stdio};
use trials::{Machine, Options, Site, program, signal, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn tenants_live_on_a_second_host_and_plans_come_to_it_from_the_control_plane_alone() {
    let trial = "networks: a second host";
    let bare = Options { any_port: false, demo: false, ..Options::default() };
    let Some(mut apart) = Apart::prepare(trial, bare) else { return };
    let address = apart.site.machine().unwrap().address();
    apart.site.set_arguments(&["--control-plane-addr", &format!("{address}:443")]);
    apart.site.again().await.unwrap();
    let second = Second::start(&mut apart).await;
    let names = ["one", "two", "three", "four"];
    for name in names {
        found(&apart.site, name).await;
    }
    let networks = json(&apart.site, &["network", "list"]);
    let hosts: BTreeSet<&str> =
        networks.as_array().unwrap().iter().map(|network| network["node"].as_str().unwrap()).collect();
    assert_eq!(hosts.len(), 2, "all tenants are on one host: {networks}");
    for name in names {
        runs_a_plan(&apart.site, name);
    }
    let probed = apart.site.run(&["network", "probe"]).unwrap();
    assert!(probed.contains("all hold: ") && probed.contains("2 of 2 hosts answered"), "{probed}");

    // The forwarded port opens to the control plane's host, and to nobody else on the internet.
    let elsewhere = names.iter().find(|name| second.has(&apart.site, name)).unwrap();
    let url = data_plane(&apart.site, elsewhere).unwrap()["url"].as_str().unwrap().to_owned();
    let port: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(url.starts_with(&format!("https://{}:", second.machine.address())), "{url}");
    let at = (second.machine.address(), port);
    assert_eq!(connect(apart.site.machine().unwrap().namespace(), at, ANSWERED).await, Verdict::Connected);
    let stranger = connect(apart.internet.namespace(), at, SILENT).await;
    assert_ne!(stranger, Verdict::Connected, "a stranger gets to a data plane");

    // Drained, it is left, and can be taken out.
    let node = second.node(&apart.site);
    apart.site.run(&["node", "drain", &node]).unwrap();
    let is_empty = async || {
        let nodes = json(&apart.site, &["node", "list"]);
        nodes.as_array().unwrap().iter().any(|found| found["id"] == *node && found["tenants"] == 0)
    };
    assert!(wait_until(SOON, is_empty).await, "{}", apart.site.run(&["node", "list"]).unwrap());
    for name in names {
        let runs = async || data_plane(&apart.site, name).is_some() && !second.has(&apart.site, name);
        assert!(wait_until(SOON, runs).await, "{name} did not come over");
        runs_a_plan(&apart.site, name);
    }
    second.end().await;
    apart.site.run(&["node", "remove", &node]).unwrap();
    apart.end().await;
}

/// The second host: its machine and its node.
struct Second {
    machine: Machine,
    node: Child,
    /// Owns the folder, and clears away what still runs in it.
    folder: Site,
}

impl Second {
    async fn start(apart: &mut Apart) -> Self {
        let folder = Site::prepare(Options::default()).unwrap();
        let machine = apart.internet.machine(folder.folder()).unwrap();
        let token = folder.folder().join("enrol.token");
        apart.site.run(&["node", "enroll", &token.to_string_lossy()]).unwrap();
        let log = File::create(folder.folder().join("node.log")).unwrap();
        let mut node = machine.command(&program("palisade-node"), folder.folder());
        node.args(["--control-plane", apart.site.url(), "--ca-file"]).arg(apart.site.ca_file());
        node.arg("--enroll-token-file").arg(&token).arg("--state-dir").arg(folder.state());
        let node = node.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let second = Self { machine, node, folder };
        let joined = async || json(&apart.site, &["node", "list"]).as_array().unwrap().len() == 2;
        assert!(wait_until(SOON, joined).await, "{}", second.said());
        second
    }

    /// The node's id: the one that is not on the control plane's host.
    fn node(&self, site: &Site) -> String {
        let hosts = site.palisade(&["network", "drift", "-o", "json"]).output().unwrap();
        let hosts: Value = serde_json::from_slice(&hosts.stdout).unwrap();
        let elsewhere = hosts.as_array().unwrap().iter().find(|host| host["place"] == "elsewhere");
        elsewhere.unwrap_or_else(|| panic!("{hosts}\n{}", self.said()))["node"].as_str().unwrap().to_owned()
    }

    /// Whether a tenant lives here.
    fn has(&self, site: &Site, tenant: &str) -> bool {
        json(site, &["network", "show", tenant])["node"] == *self.node(site)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.folder().join("node.log")).unwrap_or_default()
    }

    /// Stops its node and takes off the host what it made, after which nothing is left.
    async fn end(mut self) {
        signal(self.node.id(), "TERM").unwrap();
        let ended = wait_until(SOON, async || matches!(self.node.try_wait(), Ok(Some(_)))).await;
        assert!(ended && self.node.wait().unwrap().success(), "{}", self.said());
        let mut reset = self.machine.command(&program("palisade-node"), self.folder.folder());
        let reset = reset.args(["reset", "--state-dir"]).arg(self.folder.state()).output().unwrap();
        assert!(reset.status.success(), "{reset:?}");
        self.machine.is_clean(SOON).await.unwrap();
    }
}
