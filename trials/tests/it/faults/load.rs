//! Load while something breaks: executions under keys of their own, and what has to be true of them afterwards.

use api::audit::EntryView;
use api::execution::{ExecutionState, ExecutionView};
use api::heartbeat::HeartbeatView;
use api::usage::UsageView;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use terms::{Action, Digest, ExecutionId};
use tokio::task::JoinHandle;
use trials::{Api, READY, Site, wait_until};
use wire::heartbeat::{Heartbeat, PAYLOAD_TYPE, Totals, Unit};

/// Three steps, with a wait in which anything may break.
const WORKFLOW: &str = r"
document: { dsl: '1.0.0', namespace: trial, name: slow, version: '1.0.0' }
do:
  - first: { set: { n: '${ .n + 1 }' } }
  - pause: { wait: { milliseconds: 700 } }
  - last: { set: { n: '${ .n + 1 }' } }
";

/// Steps of one execution, however often it was taken up again.
const STEPS: u64 = 3;

/// The pause between two executions: some twenty wait in the data plane at any moment.
const PACE: Duration = Duration::from_millis(30);

/// How long states are waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Executions of tenant `demo` that are started one after the other until it is enough.
pub(crate) struct Load {
    answered: Arc<Mutex<Vec<ExecutionId>>>,
    enough: Arc<AtomicBool>,
    starting: JoinHandle<()>,
    checkpoint: PathBuf,
}

/// Executions that the control plane answered for; the position is the number in the idempotency key.
pub(crate) struct Answered {
    executions: Vec<ExecutionId>,
    checkpoint: PathBuf,
}

// === impl Load ===

impl Load {
    /// Begins. The audit log as it is now is kept, to be found again in what it has become.
    pub(crate) async fn begin(site: &Site) -> Self {
        let checkpoint = site.folder().join("before.checkpoint");
        site.run(&["audit", "verify", "--save", &checkpoint.display().to_string()]).unwrap();
        let api = site.api().unwrap();
        api.apply("demo", WORKFLOW).await.unwrap();
        let (answered, enough) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (answers, until) = (Arc::clone(&answered), Arc::clone(&enough));
        let starting = tokio::spawn(async move {
            for number in 0.. {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                let id = start(&api, number).await;
                answers.lock().unwrap().push(id);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { answered, enough, starting, checkpoint }
    }

    /// Waits until that many more executions were answered for.
    pub(crate) async fn more(&self, count: usize) {
        let wanted = self.count() + count;
        assert!(wait_until(PATIENCE, async || self.count() >= wanted).await, "{} of {wanted}", self.count());
    }

    /// Starts nothing more.
    pub(crate) async fn end(self) -> Answered {
        self.enough.store(true, Ordering::SeqCst);
        self.starting.await.unwrap();
        let executions = self.answered.lock().unwrap().clone();
        Answered { executions, checkpoint: self.checkpoint }
    }

    fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }
}

/// Asks for an execution until there is an answer, each time under the same key, as a client does that knows
/// nothing of what broke.
async fn start(api: &Api, number: usize) -> ExecutionId {
    let (input, key) = (format!("{{\"n\":{number}}}"), format!("load-{number}"));
    let until = Instant::now() + PATIENCE;
    loop {
        match api.start("demo", "slow", &input, &key).await {
            Ok(execution) => return execution.id,
            Err(error) => assert!(Instant::now() < until, "number {number} was never answered: {error:#}"),
        }
        tokio::time::sleep(PACE).await;
    }
}

// === impl Answered ===

impl Answered {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.executions.len()
    }

    /// Whatever broke: nothing of these executions is lost or doubled, and no heartbeat is.
    pub(crate) async fn held(&self, site: &Site) {
        self.are_whole(site).await;
        chain(&site.api().unwrap()).await;
    }

    /// Each execution ended once, has its output, is counted once, and is in the audit log once.
    pub(crate) async fn are_whole(&self, site: &Site) {
        let api = site.api().unwrap();
        self.each_ended_once(&api).await;
        self.each_key_gives_its_execution(&api).await;
        self.each_output_is_there(&api).await;
        usage_is_what_was_consumed(&api).await;
        self.each_start_is_in_the_audit_log(site, &api).await;
    }

    async fn each_ended_once(&self, api: &Api) {
        let path = "/v1/tenants/demo/executions";
        let all_ended = wait_until(READY, async || {
            let all: anyhow::Result<Vec<ExecutionView>> = api.all(path).await;
            all.is_ok_and(|all| all.iter().all(|execution| execution.state.is_final()))
        });
        all_ended.await;
        let mut executions: Vec<ExecutionView> = api.all(path).await.unwrap();
        executions.retain(|execution| execution.workflow.name.as_str() == "slow");
        let ids: BTreeSet<ExecutionId> = executions.iter().map(|execution| execution.id).collect();
        assert_eq!(ids, self.executions.iter().copied().collect(), "what was answered, and nothing else");
        for execution in executions {
            assert_eq!(execution.state, ExecutionState::Completed, "{execution:?}");
            assert_eq!(execution.outcome.map(|outcome| outcome.steps), Some(STEPS), "{execution:?}");
        }
    }

    async fn each_key_gives_its_execution(&self, api: &Api) {
        for (number, id) in self.executions.iter().enumerate() {
            assert_eq!(start(api, number).await, *id, "one idempotency key started two executions");
        }
    }

    async fn each_output_is_there(&self, api: &Api) {
        for (number, id) in self.executions.iter().enumerate() {
            let output: Value = api.get(&format!("/v1/tenants/demo/executions/{id}/output")).await.unwrap();
            assert_eq!(output, json!({ "n": number + 2 }), "{id}");
        }
    }

    async fn each_start_is_in_the_audit_log(&self, site: &Site, api: &Api) {
        site.run(&["audit", "verify", "--against", &self.checkpoint.display().to_string()]).unwrap();
        let entries: Vec<EntryView> = api.all("/v1/audit/entries").await.unwrap();
        // What the system did by itself carries no request.
        let asked = entries.into_iter().filter_map(|view| view.entry).filter(|entry| {
            entry.action == Action::StartExecution.as_str() && entry.request_digest.is_some()
        });
        let started: Vec<String> = asked.map(|entry| entry.resource).collect();
        for id in &self.executions {
            let resource = format!("execution/{id}");
            assert_eq!(started.iter().filter(|entry| **entry == resource).count(), 1, "{resource}");
        }
    }
}

/// What an outcome says of usage, and the sidecar swears to as well, in the order of [`consumed`].
const UNITS: [Unit; 6] = [
    ("executions", |t| t.executions),
    ("outcomes", |t| t.outcomes),
    ("steps", |t| t.steps),
    ("http_calls", |t| t.http_calls),
    ("wall_time_ms", |t| t.wall_time_ms),
    ("output_bytes", |t| t.output_bytes),
];

/// Usage comes to be what the outcomes of all executions add up to, and to the same by the hour.
pub(crate) async fn usage_is_what_was_consumed(api: &Api) {
    let figures = |totals: &Totals| UNITS.map(|(name, figure)| (name, figure(totals)));
    let usage = async || api.get::<UsageView>("/v1/tenants/demo/usage").await;
    let consumed = consumed(api).await;
    wait_until(PATIENCE, async || {
        usage().await.is_ok_and(|usage| figures(&usage.totals) == figures(&consumed))
    })
    .await;
    let usage = usage().await.unwrap();
    assert_eq!(figures(&usage.totals), figures(&consumed), "metered, and consumed");
    let by_hour = usage.hours.iter().fold(Totals::default(), |sum, hour| sum.zip(hour.added, |a, b| a + b));
    assert_eq!(by_hour, usage.totals, "by the hour, and in all");
}

async fn consumed(api: &Api) -> Totals {
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    executions.iter().filter_map(|execution| execution.outcome).fold(Totals::default(), |sum, outcome| {
        let one = Totals {
            executions: 1,
            outcomes: 1,
            steps: outcome.steps,
            http_calls: outcome.http_calls,
            wall_time_ms: outcome.wall_time_ms,
            output_bytes: outcome.output_bytes,
            ..Totals::default()
        };
        sum.zip(one, |a, b| a + b)
    })
}

/// One heartbeat as it was stored and as it was sworn.
pub(crate) struct Beat {
    pub(crate) stored: HeartbeatView,
    pub(crate) sworn: Heartbeat,
}

/// Every heartbeat of the one sidecar, the oldest first: a chain without gap or branch, received in its order.
pub(crate) async fn chain(api: &Api) -> Vec<Beat> {
    let beats = beats(api).await;
    let mut prev = Digest::from_bytes([0; 32]);
    for (counter, beat) in (1..).zip(&beats) {
        assert_eq!((beat.sworn.counter, beat.sworn.prev), (counter, prev), "heartbeat {counter}");
        // One that claims to be live and came late does not count; the next one swears to the same.
        let is_late = beat.stored.code == "stale" && !beat.sworn.spooled;
        assert!(beat.stored.accepted || is_late, "{:?}", beat.stored);
        prev = beat.stored.payload_digest;
    }
    assert!(beats.is_sorted_by_key(|beat| (beat.stored.received_at, beat.sworn.time)));
    beats
}

/// Every heartbeat, the lowest counter first.
pub(crate) async fn beats(api: &Api) -> Vec<Beat> {
    let stored: Vec<HeartbeatView> = api.all("/v1/tenants/demo/heartbeats").await.unwrap();
    let read = |stored: HeartbeatView| {
        let payload = stored.envelope.decode(PAYLOAD_TYPE).unwrap().payload;
        Beat { sworn: Heartbeat::read(&payload).unwrap(), stored }
    };
    let mut beats: Vec<Beat> = stored.into_iter().map(read).collect();
    beats.sort_by_key(|beat| beat.sworn.counter);
    beats
}
