//! `palisade up`: one command from nothing to a running system.
//!
//! It makes the state directory, keys and tokens, starts the control plane and the node as processes of their
//! own, and stays in the foreground. Once they run, it speaks to them through the API like any other client.

mod base;
mod configs;
mod demo;
mod driver;
mod health;
mod ports;
mod processes;
mod programs;
mod resolvers;
mod site;
mod state;
mod summary;

pub(crate) use driver::Driver;

use crate::client::{Call, Client};
use crate::connection::{self, connect_to_state};
use crate::data_plane;
use crate::failure::{Exit, Failure, Outcome};
use crate::node;
use crate::output::Output;
use crate::progress::Progress;
use api::data_plane::DataPlaneView;
use api::tenant::{TenantState, TenantView};
use core::pin::{Pin, pin};
use core::time::Duration;
use host::files;
use processes::Processes;
use site::Site;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use summary::{Networks, Summary};
use terms::{TenantId, Timestamp};

/// How often a state that is waited for is asked for.
const POLL: Duration = Duration::from_millis(50);

/// How long any one step may take: far more than it does, so that only a real fault meets it.
const PATIENCE_MS: i64 = 60_000;

/// Milliseconds between heartbeats in a demonstration, so that a newcomer sees usage counted at once.
const DEMO_INTERVAL_MS: u64 = 2_000;

/// Most data planes that are waited for: as many as a host can run.
const DATA_PLANES_MAX: u32 = 155;

/// Brings the whole system up on this machine and stays in the foreground until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade up --demo
  palisade up --state-dir /var/lib/palisade --control-plane-addr 127.0.0.1:9443
  palisade up --demo --control-plane-addr 127.0.0.1:0 --ready-file ready.json
  palisade up --demo --driver loopback --data-plane-port 0

As root each part runs as a user of its own, and each tenant in a network of its own. Not as root
everything is one user on this machine's own network, and `up` says which walls are missing. A second `up` on the same state directory resumes where the first one
stopped. Root's zones cannot pass through a folder such as /root; there the default state directory is
/var/lib/palisade.")]
pub(crate) struct Options {
    /// Makes a tenant `demo`, applies a sample workflow and runs it
    #[arg(long)]
    demo: bool,
    /// What keeps tenants apart [default: that of the last time; at first linux as root, loopback otherwise]
    #[arg(long, value_enum)]
    driver: Option<Driver>,
    /// Where the control plane is reached; port 0 takes any [default: 127.0.0.1:8443, any port if taken]
    #[arg(long, value_name = "ADDR")]
    control_plane_addr: Option<SocketAddr>,
    /// With driver loopback, where the first data plane listens; 0 takes any [default: 5678, any port if taken]
    #[arg(long, value_name = "PORT")]
    data_plane_port: Option<u16>,
    /// Writes where everything is to this file, JSON, once all of it is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// As root: the first of the user ids that the parts run as [default: 63000]
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    uid_base: Option<u32>,
    /// Milliseconds between heartbeats [default: 10000; 2000 with --demo]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    heartbeat_interval_ms: Option<u64>,
}

/// Brings everything up, shows what runs, and stays until it is told to stop.
///
/// # Errors
/// [`Failure`]; whatever was started by then is stopped.
pub(crate) async fn run(
    options: Options,
    at: &connection::Options,
    output: &mut Output<'_>,
) -> Outcome<Exit> {
    if at.names_a_control_plane() {
        return Err(Failure::usage(
            "`up` starts a control plane of its own",
            "leave out --url, --ca-file and --token-file; --state-dir says where it keeps its state",
        ));
    }
    host::process::harden_self().map_err(|error| {
        let cause = format!("this process cannot protect its memory: {error}");
        Failure::new(
            Exit::Failure,
            "not_hardened",
            cause,
            "check what limits this process (prctl, setrlimit)",
        )
    })?;
    let mut stopped = pin!(host::signals::stop_signal());
    let progress = Progress::spinner("preparing the state directory");
    refuse_lost_ready_file(&options)?;
    let site = Site::prepare(&options, at.state_dir.as_deref())?;
    remove_ready_file(&options)?;
    announce(&site, &progress);
    let mut processes = Processes::default();
    let outcome = until_stopped(&options, &site, &mut processes, stopped.as_mut(), &progress, output).await;
    processes.stop(&site, &Progress::spinner("stopping")).await;
    let removed = remove_ready_file(&options);
    outcome.and(removed).map(|()| Exit::Success)
}

async fn until_stopped(
    options: &Options,
    site: &Site,
    processes: &mut Processes,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    progress: &Progress,
    output: &mut Output<'_>,
) -> Outcome {
    let summary = tokio::select! {
        biased;
        () = stopped.as_mut() => return Ok(()),
        summary = bring_up(options, site, processes, progress) => summary?,
    };
    if let Some(path) = &options.ready_file {
        write_ready_file(path, &summary)?;
    }
    progress.finish();
    summary.show(output)?;
    output.flush()?;
    tokio::select! {
        biased;
        () = stopped => Ok(()),
        failure = processes.keep_running(site, progress) => Err(failure),
    }
}

async fn bring_up(
    options: &Options,
    site: &Site,
    processes: &mut Processes,
    progress: &Progress,
) -> Outcome<Summary> {
    let began = host::clock::now();
    if site.driver() == Driver::Linux {
        // The control plane runs inside what the node builds.
        progress.step("building the networks");
        processes.start_node(site).await?;
        progress.done("the networks stand");
    }
    progress.step("starting the control plane");
    processes.start_control(site).await?;
    site.control_plane_is_ready()?;
    let client = connect_to_state(&site.state)?;
    progress.done(&format!("control plane answers at {}", client.url()));

    let demo = match options.demo {
        true => Some(processes.attend(demo::prepare(&client, progress)).await?),
        false => None,
    };
    progress.step("starting the node");
    enrol_node(site, &client).await?;
    if site.driver() == Driver::Loopback {
        processes.start_node(site).await?;
    }
    let wanted = match &demo {
        Some(demo) => vec![demo.tenant.clone()],
        None => active_tenants(&client).await?,
    };
    progress.step("waiting for data planes and sidecars");
    let found = processes.attend(data_planes(&client, &wanted, began)).await?;
    match (&demo, found.missing()) {
        (_, missing) if missing.is_empty() => progress.done(&running(wanted.len())),
        (Some(demo), _) => return Err(processes.node_is_stuck(demo.tenant.name.as_str())),
        (None, missing) => progress.line(&format!("not up yet: data planes of {}", missing.join(", "))),
    }
    let demo = match demo {
        Some(demo) => Some(processes.attend(demo::run(&client, demo, site.interval_ms, progress)).await?),
        None => None,
    };
    let networks = match site.driver() {
        Driver::Linux => processes.attend(Networks::of(&client)).await?,
        Driver::Loopback => Networks::default(),
    };
    Ok(Summary::gather(site, processes, found.running, networks, demo))
}

/// Says what is different from what somebody may expect of this state directory or machine.
fn announce(site: &Site, progress: &Progress) {
    match (site.driver_before, site.driver()) {
        (Some(Driver::Loopback), Driver::Linux) => progress.line(
            "networks: driver linux from now on; each tenant's data plane moves into a network of its own",
        ),
        (Some(Driver::Linux), Driver::Loopback) => progress.line(
            "networks: driver loopback from now on; NET-1 to NET-5, which held here, are not enforced any more",
        ),
        _ => {}
    }
    if site.driver() == Driver::Linux && site.resolvers.is_empty() {
        progress.line(
            "names: /etc/resolv.conf names no resolver that the control plane's network can reach, so workflows \
             can call no names; name one there (by IPv4, not on the loopback) and start again",
        );
    }
}

/// Gives the node a one-time token, if it has no certificate yet or asks for a new one.
async fn enrol_node(site: &Site, client: &Client) -> Outcome {
    if !serve::identity::wants_token(&site.state.node()) {
        return Ok(());
    }
    node::enroll(client, &site.enrol_token()).await.map(drop)
}

fn running(data_planes: usize) -> String {
    match data_planes {
        0 => "the node runs; it starts a data plane for each tenant".to_owned(),
        1 => "a data plane and its sidecar run".to_owned(),
        more => format!("{more} data planes and their sidecars run"),
    }
}

async fn active_tenants(client: &Client) -> Outcome<Vec<TenantView>> {
    let mut tenants: Vec<TenantView> = client.list(Call::to("list_tenants"), DATA_PLANES_MAX).await?;
    tenants.retain(|tenant| tenant.state == TenantState::Active);
    Ok(tenants)
}

/// Which of the wanted data planes run.
struct Found {
    wanted: Vec<(TenantId, String)>,
    running: Vec<DataPlaneView>,
}

impl Found {
    fn missing(&self) -> Vec<String> {
        let runs = |id: &TenantId| self.running.iter().any(|running| running.tenant == *id);
        self.wanted.iter().filter(|(id, _)| !runs(id)).map(|(_, name)| name.clone()).collect()
    }
}

/// Waits until every wanted tenant has a data plane that the node reported since `began`, or patience ends.
async fn data_planes(client: &Client, wanted: &[TenantView], began: Timestamp) -> Outcome<Found> {
    let wanted: Vec<_> = wanted.iter().map(|tenant| (tenant.id, tenant.name.to_string())).collect();
    loop {
        let mut running = data_plane::all(client, DATA_PLANES_MAX).await?;
        running.retain(|running| running.last_seen_at >= began && running.sidecar_pid != 0);
        let found = Found { wanted: wanted.clone(), running };
        if found.missing().is_empty() || host::clock::now().ms_since(began) > PATIENCE_MS {
            return Ok(found);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whoever waits for the file would wait for ever if its folder cannot take it.
fn refuse_lost_ready_file(options: &Options) -> Outcome {
    let Some(path) = &options.ready_file else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if files::is_writable(folder) {
        return Ok(());
    }
    Err(Failure::bad_file(folder, "this folder cannot be written", READY_FILE))
}

/// What to do about a ready file that cannot be written.
const READY_FILE: &str = "name a file in a folder that you can write: --ready-file FILE";

fn write_ready_file(path: &Path, summary: &Summary) -> Outcome {
    let text = format!("{}\n", summary.ready());
    files::write_atomically(path, text.as_bytes(), 0o644, files::Owner::This)
        .map_err(|error| Failure::of_file(&error, READY_FILE))
}

/// A file from an earlier run would tell scripts that everything is ready.
fn remove_ready_file(options: &Options) -> Outcome {
    let Some(path) = &options.ready_file else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::bad_file(path, error, READY_FILE))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
