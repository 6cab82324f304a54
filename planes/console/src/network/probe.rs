//! `network probe`: every host tries its own walls through its own kernel, and says what held.

use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format, Output, columns, printable, yes_no};
use crate::progress::Progress;
use api::Code;
use api::network::{HostProbe, ProbeRow, ProbeView};
use core::time::Duration;
use terms::{NodeId, Timestamp};

/// How often the answers are asked for.
const POLL: Duration = Duration::from_millis(500);

/// How long hosts are waited for unless asked otherwise: a node polls each half second, and a full host's matrix is a
/// matter of a minute.
const WAIT_S: u32 = 300;

/// Probes every network of every host from inside, and shows what got through and what did not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade network probe
  palisade network probe --wait-s 600 -o json > probes.json

Each host tries connections from every tenant, from the control plane and from itself, those that
have to pass and those that must not, and compares what its kernel did with the policy. Exits with
0 only if every asked host answered and everything held, with 8 otherwise.")]
pub(crate) struct Options {
    /// How many seconds to wait for the hosts
    #[arg(long, value_name = "S", default_value_t = WAIT_S, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    wait_s: u32,
}

/// Asks, waits, shows.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome<Exit> {
    let asked: ProbeView = client.send(Call::to("ask_probes")).await.map_err(unprobed)?;
    let Some(asked_at) = asked.asked_at else {
        let cause = "the control plane did not say when it asked the hosts";
        return Err(Failure::new(
            Exit::Failure,
            "answer_malformed",
            cause,
            "check that both are of one release",
        ));
    };
    let answered = await_hosts(client, asked, asked_at, options.wait_s).await?;
    match output.format() {
        Format::Json => output.json(&answered)?,
        Format::Table => output.text(&text(&answered))?,
    }
    Ok(if hold(&answered) { Exit::Success } else { Exit::Unheld })
}

/// Where nothing can be probed, nothing holds.
fn unprobed(failure: Failure) -> Failure {
    let is_nowhere = failure.code == Code::NetworksNotEnforced.as_str();
    if is_nowhere { Failure { exit: Exit::Unheld, ..failure } } else { failure }
}

/// Waits until every host has answered, or patience ends. Who asks again meanwhile makes the hosts answer again.
async fn await_hosts(
    client: &Client,
    first: ProbeView,
    asked_at: Timestamp,
    wait_s: u32,
) -> Outcome<ProbeView> {
    let began = host::clock::now();
    let patience_ms = i64::from(wait_s) * 1_000;
    let asked = first.waiting.len() + first.hosts.len();
    let progress = Progress::bar("hosts that answered", u64::try_from(asked).unwrap_or(u64::MAX));
    let (mut view, mut seen) = (first, 0);
    loop {
        let answered = view.hosts.len();
        progress.advance(u64::try_from(answered.saturating_sub(seen)).unwrap_or(0));
        seen = seen.max(answered);
        let is_ours = view.asked_at.is_some_and(|at| at >= asked_at);
        if (is_ours && view.waiting.is_empty()) || host::clock::now().ms_since(began) > patience_ms {
            progress.finish();
            return Ok(view);
        }
        tokio::time::sleep(POLL).await;
        view = client.send(Call::to("show_probes")).await?;
    }
}

/// Whether something was proven and nothing disproven. A host that said nothing proved nothing.
fn hold(view: &ProbeView) -> bool {
    let is_proven = |host: &HostProbe| {
        let report = &host.report;
        report.failed.is_none() && !report.rows.is_empty() && report.rows.iter().all(holds)
    };
    view.waiting.is_empty() && !view.hosts.is_empty() && view.hosts.iter().all(is_proven)
}

const fn holds(row: &ProbeRow) -> bool {
    row.tried > 0 && row.held == row.tried
}

fn text(view: &ProbeView) -> String {
    let hosts: String = view.hosts.iter().map(host).collect();
    let silent: String = view.waiting.iter().map(silent).collect();
    format!("{hosts}{silent}{}", summary(view))
}

/// One host's table, and under it whatever did not hold.
fn host(host: &HostProbe) -> String {
    let report = &host.report;
    let mut text = format!("host {}, networks of version {}\n", host.node, report.version);
    if let Some(failed) = &report.failed {
        text.push_str(&printable(&format!("  could not probe: {failed}\n")));
    }
    let header = ["CONTROL", "FROM", "TO", "ALLOWED", "TRIED", "HELD", "WHY"].map(str::to_owned).to_vec();
    let rows = report.rows.iter().map(|row| {
        vec![
            row.control.clone(),
            row.from.clone(),
            row.to.clone(),
            yes_no(row.allowed),
            row.tried.to_string(),
            row.held.to_string(),
            row.why.clone(),
        ]
    });
    let table = columns(&core::iter::once(header).chain(rows).collect::<Vec<_>>());
    text.extend(table.lines().map(|line| format!("  {line}\n")));
    text.extend(report.rows.iter().filter(|row| !holds(row)).map(broken));
    text.push('\n');
    text
}

/// Why a row does not hold.
fn broken(row: &ProbeRow) -> String {
    let should = if row.allowed { "should pass" } else { "should not pass" };
    let mut text = format!("  does not hold: {} from {} to {} {should}\n", row.control, row.from, row.to);
    text.extend(row.mismatches.iter().map(|mismatch| format!("    {mismatch}\n")));
    let told = u32::try_from(row.mismatches.len()).unwrap_or(u32::MAX);
    match (row.tried, row.tried.saturating_sub(row.held).saturating_sub(told)) {
        (0, _) => text.push_str("    nothing was tried\n"),
        (_, 0) => {}
        (_, more) => text.push_str(&format!("    and {more} more\n")),
    }
    printable(&text)
}

fn silent(node: &NodeId) -> String {
    format!("host {node} has not answered\n\n")
}

fn summary(view: &ProbeView) -> String {
    let rows = || view.hosts.iter().flat_map(|host| &host.report.rows);
    let (tried, held) = rows().fold((0_u64, 0_u64), |(tried, held), row| {
        (tried + u64::from(row.tried), held + u64::from(row.held))
    });
    if view.hosts.is_empty() && view.waiting.is_empty() {
        return "no host has networks of its own: nothing was probed, and NET-1 to NET-5 are not enforced\n"
            .to_owned();
    }
    let word = if hold(view) { "all hold" } else { "NOT all hold" };
    let answered = view.hosts.len();
    let asked = answered + view.waiting.len();
    format!(
        "{word}: {held} of {tried} probes came to what the policy says; {answered} of {asked} hosts answered\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::network::ReportProbe;

    #[test]
    fn what_was_proven_holds_and_nothing_else() {
        let good = view(vec![], vec![probed(vec![row(true, 2, 2), row(false, 40, 40)])]);
        assert!(hold(&good));
        assert!(
            text(&good)
                .ends_with("all hold: 42 of 42 probes came to what the policy says; 1 of 1 hosts answered\n")
        );
        let failed = HostProbe {
            report: ReportProbe { failed: Some("no way in".into()), ..probed(vec![row(true, 1, 1)]).report },
            ..probed(vec![])
        };
        for (bad, said) in [
            (view(vec![], vec![]), "no host has networks of its own"),
            (view(vec![node()], vec![]), "has not answered"),
            (view(vec![node()], good.hosts.clone()), "1 of 2 hosts answered"),
            (view(vec![], vec![probed(vec![])]), "NOT all hold"),
            (
                view(vec![], vec![probed(vec![row(false, 3, 2)])]),
                "tenant-1 should not pass\n    tcp 22: connected\n",
            ),
            (view(vec![], vec![probed(vec![row(true, 30, 2)])]), "and 27 more"),
            (view(vec![], vec![probed(vec![row(true, 0, 0)])]), "nothing was tried"),
            (view(vec![], vec![failed]), "could not probe: no way in"),
        ] {
            assert!(!hold(&bad), "{bad:?}");
            assert!(text(&bad).contains(said), "no `{said}` in:\n{}", text(&bad));
        }
    }

    #[test]
    fn what_a_host_says_cannot_act_on_the_terminal() {
        let mut odd = row(false, 1, 0);
        odd.mismatches = vec!["\u{1b}[2J".into()];
        odd.from = "\u{9b}x".into();
        assert!(!text(&view(vec![], vec![probed(vec![odd])])).contains(['\u{1b}', '\u{9b}']));
    }

    fn view(waiting: Vec<NodeId>, hosts: Vec<HostProbe>) -> ProbeView {
        ProbeView { asked_at: Some(Timestamp::EPOCH), waiting, hosts }
    }

    fn probed(rows: Vec<ProbeRow>) -> HostProbe {
        HostProbe {
            node: node(),
            report: ReportProbe { asked_at: Timestamp::EPOCH, version: 7, failed: None, rows },
        }
    }

    fn row(allowed: bool, tried: u32, held: u32) -> ProbeRow {
        let mismatches = if held < tried { vec!["tcp 22: connected".to_owned()] } else { vec![] };
        ProbeRow {
            control: "NET-1".into(),
            from: "tenant-1".into(),
            to: "tenant-1".into(),
            allowed,
            why: "no other tenant".into(),
            tried,
            held,
            mismatches,
        }
    }

    fn node() -> NodeId {
        NodeId::from_bytes([7; 16])
    }
}
