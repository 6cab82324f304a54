//! A node's networks in a process of its own, which can be killed.

use super::house::House;
use super::tenants::settings;
use api::network::ReportNetworks;
use host::clock::Clock;
use node::networks::Networks;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use tokio::sync::mpsc;
use wire::networks::HostNetworks;

/// Says to a process of this program where its node's folder is.
const FOLDER: &str = "PALISADE_TEST_NODE_FOLDER";

/// What an answer's line begins with: the test harness writes to the same pipe.
const ANSWER: &str = "@";

/// The process. Dropping it kills it.
pub(super) struct Agent {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

#[derive(Serialize, Deserialize)]
enum Order {
    Start(Option<HostNetworks>),
    Apply(HostNetworks),
    Report,
    End,
}

impl Agent {
    /// Starts it, and gives it what it was told last.
    pub(super) fn start(house: &House, kept: Option<&HostNetworks>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hosts::agent::process_of_a_node", "--nocapture", "--test-threads=1"])
            .env(FOLDER, house.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut agent = Self { child, said };
        agent.order(&Order::Start(kept.cloned()));
        agent
    }

    /// Waits until it has started.
    pub(super) fn is_there(&mut self) {
        assert_eq!(self.answer(), "\"done\"");
    }

    /// Tells it what is wanted now, and does not wait.
    pub(super) fn tell(&mut self, document: &HostNetworks) {
        self.order(&Order::Apply(document.clone()));
    }

    /// Tells it what is wanted now, and waits until that is so.
    pub(super) fn apply(&mut self, document: &HostNetworks) {
        self.tell(document);
        self.is_there();
    }

    /// What it reports.
    pub(super) fn report(&mut self) -> ReportNetworks {
        self.order(&Order::Report);
        serde_json::from_str(&self.answer()).unwrap()
    }

    /// Stops it as an operator would.
    pub(super) fn end(mut self) {
        self.order(&Order::End);
        self.is_there();
        assert!(self.child.wait().unwrap().success());
    }

    /// Kills it, without a word.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn order(&mut self, order: &Order) {
        let mut line = serde_json::to_vec(order).unwrap();
        line.push(b'\n');
        self.child.stdin.as_mut().unwrap().write_all(&line).unwrap();
    }

    fn answer(&mut self) -> String {
        for line in self.said.by_ref() {
            if let Some((_, answer)) = line.unwrap().split_once(ANSWER) {
                return answer.to_owned();
            }
        }
        panic!("the node ended");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: trials run it in a process of its own, and kill that.
#[test]
fn process_of_a_node() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (orders, mut received) = mpsc::unbounded_channel::<Order>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            orders.send(serde_json::from_str(&line.unwrap()).unwrap()).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(Order::Start(kept)) = received.recv().await else { return };
        let started = Networks::start(settings(folder, true), Clock::system(), kept.as_ref()).await;
        let mut networks = started.unwrap();
        answer(&"done");
        loop {
            let order = tokio::select! {
                order = received.recv() => order,
                _ = networks.watch() => continue,
            };
            match order {
                Some(Order::Apply(document)) => networks.apply(&document).await.unwrap(),
                Some(Order::Report) => {
                    answer(&networks.report().await.unwrap());
                    continue;
                }
                Some(Order::End) => {
                    networks.end().await;
                    return answer(&"done");
                }
                Some(Order::Start(_)) | None => return,
            }
            answer(&"done");
        }
    });
}

fn answer<T: Serialize>(what: &T) {
    println!("\n{ANSWER}{}", serde_json::to_string(what).unwrap());
}
