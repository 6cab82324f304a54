//! NET-1 to NET-5 and NET-8: nodes probe their networks through their kernels, and say how they compare.

use super::{Looked, NoMeans, sample};
use crate::app::App;
use crate::networks;
use ::assurance::{DriftWatch, Networks, Observation, ProbedHost, Probes, WatchedHost};
use api::network::{DriftReport, Driver, ProbeRow, ReportProbe};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::{HostNetworksRow, NumberState, Tenant};
use terms::{NodeId, Permit, Timestamp};
use tokio::time::sleep;

/// How long nodes may take to be asked, to probe and to answer: a full matrix takes a host some seconds.
const ANSWERED_WITHIN_MS: i64 = 45_000;

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(100);

/// An alarm about drift may come this much later than the report that shows it.
const ALARM_GRACE_MS: i64 = 2_000;

/// Where active tenants are.
struct Placed {
    /// The hosts with networks that have tenants, with each number and its tenant.
    hosts: BTreeMap<NodeId, Vec<(u8, String)>>,
    /// How many active tenants there are.
    tenants: u64,
    /// Those without a place.
    unplaced: Vec<String>,
}

/// NET-1 to NET-5: what the tenants' networks let through. Answers to a question of this run, which began then,
/// serve all five.
pub(super) async fn probed(app: &App, begun: Timestamp) -> Looked {
    let placed = match placed(app).await? {
        Ok(placed) => placed,
        Err(not_enforced) => return Ok(not_enforced),
    };
    let answers = answers(app, begun).await?;
    let mut hosts = Vec::new();
    for (node, numbers) in placed.hosts {
        let probes = match answers.get(&node) {
            None => Err("its node has not answered".to_owned()),
            Some(report) => whole(app, node, report).await?,
        };
        hosts.push(ProbedHost { node: node.to_string(), numbers, probes });
    }
    Ok(Observation::Networks(Networks { tenants: placed.tenants, unplaced: placed.unplaced, hosts }))
}

/// Where active tenants are; or that one of them is where nothing keeps it apart.
async fn placed(app: &App) -> Result<Result<Placed, Observation>, NoMeans> {
    let permit = sample::permit(app)?;
    let drivers = drivers(app, &permit).await?;
    let tenants = sample::tenants(app).await?;
    if tenants.is_empty() {
        return Err(NoMeans("there is no active tenant".to_owned()));
    }
    let mut placed = Placed { hosts: BTreeMap::new(), tenants: tenants.len() as u64, unplaced: Vec::new() };
    for Tenant { id, name, .. } in tenants {
        let Some(place) = app.store.read().await?.placements().of(&permit, id).await? else {
            placed.unplaced.push(name.to_string());
            continue;
        };
        match drivers.get(&place.node) {
            None => placed.unplaced.push(name.to_string()),
            Some(Driver::Loopback) => {
                let why = format!("tenant `{name}` is on a host that has no networks (driver loopback)");
                return Ok(Err(Observation::NotEnforced(why)));
            }
            Some(Driver::Linux) => drop(placed.hosts.entry(place.node).or_default()),
        }
    }
    for (node, numbers) in &mut placed.hosts {
        let held = app.store.read().await?.placements().numbers(&permit, *node).await?;
        let held = held.into_iter().filter(|row| row.state == NumberState::Held);
        numbers.extend(held.map(|row| (row.number, row.tenant.map(|id| id.to_string()).unwrap_or_default())));
    }
    Ok(Ok(placed))
}

async fn drivers(app: &App, permit: &Permit) -> Result<BTreeMap<NodeId, Driver>, NoMeans> {
    let nodes = app.store.read().await?.nodes().all(permit).await?;
    let driver = |node: &store::Inhabited| networks::driver_of(node.driver.as_deref()?);
    Ok(nodes.iter().filter_map(|node| Some((node.node.id, driver(node)?))).collect())
}

/// What each node found since the run began. Nodes are asked, unless they were.
async fn answers(app: &App, begun: Timestamp) -> Result<BTreeMap<NodeId, ReportProbe>, NoMeans> {
    let permit = sample::permit(app)?;
    let until = app.clock.now().plus_ms(ANSWERED_WITHIN_MS);
    loop {
        let rows = app.store.read().await?.networks().probes(&permit).await?;
        let of_this_run = !rows.is_empty() && rows.iter().all(|row| row.asked_at >= begun);
        if of_this_run && rows.iter().all(|row| row.report.is_some()) || app.clock.now() >= until {
            let answer = |row: store::ProbeRow| {
                let report = serde_json::from_str(&row.report?).ok()?;
                (row.asked_at >= begun).then_some((row.node, report))
            };
            return Ok(rows.into_iter().filter_map(answer).collect());
        }
        if !of_this_run {
            networks::put_question(app, permit.clone(), None, app.clock.now()).await?;
        }
        sleep(LOOK).await;
    }
}

/// A report's probes, if it is of the networks that the host should have.
async fn whole(
    app: &App,
    node: NodeId,
    report: &ReportProbe,
) -> Result<Result<Vec<Probes>, String>, NoMeans> {
    if let Some(why) = &report.failed {
        return Ok(Err(why.clone()));
    }
    let permit = sample::permit(app)?;
    let desired = app.store.read().await?.networks().desired(&permit, node).await?;
    let desired = desired.map_or(0, |row| row.version);
    if report.version < desired {
        return Ok(Err(format!("it probed version {}, and should have {desired}", report.version)));
    }
    Ok(Ok(report.rows.iter().map(probes).collect()))
}

fn probes(row: &ProbeRow) -> Probes {
    Probes {
        control: row.control.clone(),
        way: format!("{} to {}", row.from, row.to),
        allowed: row.allowed,
        tried: row.tried.into(),
        held: row.held.into(),
        mismatches: row.mismatches.clone(),
    }
}

/// NET-8: how each host compares with what it should be, and whether differences are alarmed.
pub(super) async fn compared(app: &App) -> Looked {
    let permit = sample::permit(app)?;
    let placed = match placed(app).await? {
        Ok(placed) => placed,
        Err(not_enforced) => return Ok(not_enforced),
    };
    let mut hosts = Vec::new();
    for node in placed.hosts.into_keys() {
        let reported = app.store.read().await?.networks().host(&permit, node).await?;
        let Some(reported) = reported else {
            return Err(NoMeans(format!("node {node} has not reported its networks")));
        };
        hosts.push(watched(app, reported).await?);
    }
    Ok(Observation::Drift(DriftWatch { hosts }))
}

async fn watched(app: &App, reported: HostNetworksRow) -> Result<WatchedHost, NoMeans> {
    let permit = sample::permit(app)?;
    let now = app.clock.now();
    let drift: DriftReport = serde_json::from_str(&reported.drift).map_err(NoMeans::new)?;
    let desired = app.store.read().await?.networks().desired(&permit, reported.node).await?;
    let alarmed = alarmed(app, &permit, reported.node).await?;
    let is_silent = |namespace: &str| !alarmed.contains(namespace);
    let late = drift.open.iter().filter(|open| now.ms_since(open.found_at) > ALARM_GRACE_MS);
    Ok(WatchedHost {
        node: reported.node.to_string(),
        desired: desired.map_or(0, |row| row.version),
        applied: reported.applied,
        compared_ms_ago: drift.checked_at.map(|at| now.ms_since(at)),
        found: drift.found,
        unalarmed: late.filter(|open| is_silent(&open.namespace)).map(|open| open.detail.clone()).collect(),
        open: drift.open.into_iter().map(|open| open.detail).collect(),
    })
}

/// The namespaces of a host that an open alarm is about.
async fn alarmed(app: &App, permit: &Permit, node: NodeId) -> Result<BTreeSet<String>, NoMeans> {
    let below = format!("node/{node}/network");
    let open = app.store.read().await?.alarms().open_below(permit, networks::DRIFT_ALARM, &below).await?;
    let namespace = |resource: &String| Some(resource.strip_prefix(&below)?.strip_prefix('/')?.to_owned());
    Ok(open.iter().filter_map(namespace).collect())
}
