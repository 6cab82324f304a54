//! The live checks against the running system: green on a sound one, red on one that is broken.
//!
//! Each control is broken here as an attacker or a fault would break it, from outside: with the site's files and root
//! key ([`intruder`]), or in place of one of its processes ([`stand_in`]). A check that stays green then is no check,
//! and neither is one that is red for another reason.

mod data_plane;
mod intruder;
mod keys;
mod records;
mod stand_in;
mod zones;

use anyhow::{Context as _, Result, ensure};
use api::assurance::{FindingView, Findings, RunAssurance};
use trials::{Options, Site};

/// Every control that this release builds, but for those that hosts without networks cannot hold.
const BUILT: [&str; 13] = [
    "PLAN-1", "PLAN-2", "PLAN-3", "PLAN-4", "DATA-1", "DATA-7", "METER-1", "METER-2", "METER-3", "METER-4",
    "DET-4", "OPS-2", "OPS-3",
];

/// Those: on the loopback driver they say so.
const NETWORKS: [&str; 6] = ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5", "NET-8"];

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_system_is_green_from_the_start_and_what_is_not_built_never_is() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let findings: Findings = site.api()?.post("/v1/assurance/runs", &RunAssurance::default()).await?;
    let green = findings.findings.iter().filter(|finding| finding.outcome == "pass");
    let green: Vec<&str> = green.map(|finding| finding.control.as_str()).collect();
    ensure!(green == BUILT, "green are {green:?}: {:#?}", not_green(&findings));
    let others = findings.findings.iter().filter(|finding| !BUILT.contains(&finding.control.as_str()));
    for other in others {
        let is_of_networks = NETWORKS.contains(&other.control.as_str());
        let expected = if is_of_networks { "not_enforced" } else { "not_built" };
        ensure!(other.outcome == expected, "{} is {}", other.control, other.outcome);
    }
    Ok(())
}

fn not_green(findings: &Findings) -> Vec<&FindingView> {
    let built = findings.findings.iter().filter(|finding| BUILT.contains(&finding.control.as_str()));
    built.filter(|finding| finding.outcome != "pass").collect()
}

/// Runs the check of one control.
async fn check(site: &Site, control: &str) -> Result<FindingView> {
    let only = RunAssurance { control: Some(control.to_owned()) };
    let findings: Findings = site.api()?.post("/v1/assurance/runs", &only).await?;
    findings.findings.into_iter().next().context("a finding")
}

/// Runs the check of one control, which has to be green: `why` says what the system is like.
async fn expect_green(site: &Site, control: &str, why: &str) -> Result<()> {
    let found = check(site, control).await?;
    ensure!(found.outcome == "pass", "{control} is {} with {why}: {:#?}", found.outcome, found.facts);
    Ok(())
}

/// Runs the check of one control, which has to be red, for `facts` and for nothing else: each is the begin of a
/// broken fact's name.
async fn expect_red(site: &Site, control: &str, facts: &[&str], why: &str) -> Result<FindingView> {
    let found = check(site, control).await?;
    ensure!(found.outcome == "fail", "{control} is {} with {why}: {:#?}", found.outcome, found.facts);
    let broken = found.facts.iter().filter(|(_, seen)| seen.contains("(must be "));
    let broken: Vec<&str> = broken.map(|(name, _)| name.as_str()).collect();
    let is_meant = |name: &&str| facts.iter().any(|fact| name.starts_with(fact));
    let is_seen = |fact: &&str| broken.iter().any(|name| name.starts_with(fact));
    ensure!(
        broken.iter().all(is_meant) && facts.iter().all(is_seen),
        "{control} is red for {broken:?}, not for {facts:?}, with {why}: {:#?}",
        found.facts
    );
    Ok(found)
}

/// A process that is halted, so that it neither acts nor is replaced, until this is dropped.
struct Halted(u32);

impl Halted {
    fn halt(pid: u32) -> Result<Self> {
        trials::signal(pid, "STOP")?;
        Ok(Self(pid))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        let _gone = trials::signal(self.0, "CONT");
    }
}
