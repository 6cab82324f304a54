//! A data plane without a network: its rooms, a control plane's key, and an uplink that remembers.

use api::execution::Delivered;
use bytes::Bytes;
use data::egress::{Egress, Exception};
use data::events::Events;
use data::gate::{Gate, GateRefusal};
use data::journal::{Fate, Journal, Recovered};
use data::keys::PlanKeys;
use data::outcome;
use data::runtime::{Parts, Runtime};
use data::uplink::{Uplink, UplinkError};
use futures_util::future::BoxFuture;
use host::clock::Clock;
use notary::{Expected, PlanSigner};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use terms::{ExecutionId, HostPattern, PlanId, TenantId, Timestamp, WorkflowId};
use wire::event::{EventKind, SecurityEvent};
use wire::jwks::Jwks;
use wire::outcome::Outcome;
use wire::plan::{Limits, Plan, WorkflowVersion};
use workflow::Checks;

pub(crate) const ISSUER: &str = "https://control.example";
pub(crate) const AUDIENCE: &str =
    "spiffe://palisade.internal/tenant/01010101-0101-0101-0101-010101010101/data-plane";
pub(crate) const START: Timestamp = Timestamp::from_unix_s(1_800_000_000);

/// What every plan here may consume.
pub(crate) const LIMITS: Limits = Limits {
    wall_time_ms: 3_600_000,
    steps: 1_000,
    memory_bytes: 1 << 20,
    output_bytes: 1 << 16,
    http_calls: 10,
};

pub(crate) fn tenant() -> TenantId {
    TenantId::from_bytes([1; 16])
}

/// A control plane that remembers what it was told.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) jwks: Mutex<Option<Jwks>>,
    pub(crate) outcomes: Mutex<Vec<Outcome>>,
    pub(crate) events: Mutex<Vec<SecurityEvent>>,
    pub(crate) fetches: AtomicUsize,
    pub(crate) is_down: AtomicBool,
}

impl Heard {
    fn answer<T>(&self, value: T) -> Result<T, UplinkError> {
        if self.is_down.load(Ordering::SeqCst) { Err(UplinkError::Status(503)) } else { Ok(value) }
    }
}

impl Uplink for Heard {
    fn plan_keys(&self) -> BoxFuture<'_, Result<Jwks, UplinkError>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { self.answer(self.jwks.lock().unwrap().clone().unwrap()) })
    }

    fn outcomes(&self, outcomes: Vec<Outcome>) -> BoxFuture<'_, Result<Delivered, UplinkError>> {
        Box::pin(async move {
            let new = outcomes.len() as u64;
            self.answer(())?;
            self.outcomes.lock().unwrap().extend(outcomes);
            Ok(Delivered { new, known: 0, refused: 0 })
        })
    }

    fn events(&self, events: Vec<SecurityEvent>) -> BoxFuture<'_, Result<Delivered, UplinkError>> {
        Box::pin(async move {
            let new = events.len() as u64;
            self.answer(())?;
            self.events.lock().unwrap().extend(events);
            Ok(Delivered { new, known: 0, refused: 0 })
        })
    }
}

/// A data plane's folder, its control plane and the time: what outlives a crash.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) signer: PlanSigner,
    pub(crate) heard: Arc<Heard>,
    pub(crate) clock: Clock,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) policy: Limits,
    pub(crate) expected: Expected,
    next: AtomicUsize,
}

/// A data plane that runs.
pub(crate) struct Plane {
    pub(crate) gate: Gate,
    pub(crate) runtime: Runtime,
    pub(crate) journal: Journal,
    pub(crate) events: Events,
    pub(crate) fate: Fate,
    pub(crate) heard: Arc<Heard>,
}

/// A plan with its token, as the control plane sends them.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) token: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) execution_id: ExecutionId,
}

impl World {
    pub(crate) fn new() -> Self {
        let (signer, _) = PlanSigner::generate().unwrap();
        let jwks = Mutex::new(Some(Jwks { keys: vec![signer.jwk()] }));
        Self {
            dir: private_dir(),
            signer,
            heard: Arc::new(Heard { jwks, ..Heard::default() }),
            clock: Clock::fixed(START),
            exceptions: vec![],
            policy: LIMITS,
            expected: Expected { issuer: ISSUER.into(), audience: AUDIENCE.into(), tenant: tenant() },
            next: AtomicUsize::new(1),
        }
    }

    pub(crate) fn open(&self, dir: &Path) -> (Journal, Recovered) {
        Journal::open(dir, tenant(), false, self.clock.now()).unwrap()
    }

    /// Starts the data plane on its folder.
    pub(crate) async fn start(&self) -> Plane {
        self.start_in(self.dir.path(), false).await
    }

    pub(crate) async fn start_in(&self, dir: &Path, ran_before: bool) -> Plane {
        let (journal, recovered) = Journal::open(dir, tenant(), ran_before, self.clock.now()).unwrap();
        let events = Events::new(tenant(), self.clock.clone());
        let (outbox, waiting) = outcome::outbox();
        for outcome in &recovered.outcomes {
            outbox.send(*outcome).unwrap();
        }
        let runtime = Runtime::new(Parts {
            tenant: tenant(),
            journal: journal.clone(),
            egress: Egress::new(self.exceptions.clone()).unwrap(),
            outbox,
            events: events.clone(),
            clock: self.clock.clone(),
            policy: self.policy,
            checks: Checks { any_port: true },
        });
        let uplink: Arc<dyn Uplink> = self.heard.clone();
        let keys = PlanKeys::new(uplink, self.clock.clone());
        let gate = Gate::new(
            keys,
            self.expected.clone(),
            data::admission(&recovered),
            runtime.clone(),
            events.clone(),
            self.clock.clone(),
        );
        let (heard, delivering) = (self.heard.clone(), journal.clone());
        tokio::spawn(async move { waiting.deliver(heard.as_ref(), &delivering).await });
        runtime.resume(recovered.live).await;
        Plane { gate, runtime, journal, events, fate: recovered.fate, heard: self.heard.clone() }
    }

    /// From now on data planes talk to a control plane that was told nothing yet.
    pub(crate) fn forget_heard(&mut self) {
        let jwks = Mutex::new(Some(Jwks { keys: vec![self.signer.jwk()] }));
        self.heard = Arc::new(Heard { jwks, ..Heard::default() });
    }

    /// A copy of the folder as it is on disk now: what a crash at this moment would leave.
    pub(crate) fn crash(&self) -> TempDir {
        let copy = private_dir();
        copy_dir(self.dir.path(), copy.path());
        copy
    }

    pub(crate) fn plan(&self, document: Value) -> Plan {
        let number = self.next.fetch_add(1, Ordering::SeqCst) as u64;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Plan {
            v: 1,
            plan_id: PlanId::from_bytes(id),
            execution_id: ExecutionId::from_bytes(id),
            tenant_id: tenant(),
            issuer: ISSUER.to_owned(),
            workflow: WorkflowVersion {
                id: WorkflowId::from_bytes([3; 16]),
                name: "demo".parse().unwrap(),
                version: 1,
            },
            issued_at: Timestamp::from_unix_s(self.clock.now().unix_s()),
            limits: LIMITS,
            egress: vec![],
            document: serde_json::value::to_raw_value(&document).unwrap(),
            input: serde_json::value::to_raw_value(&json!({"n": 20})).unwrap(),
        }
    }

    pub(crate) fn send(&self, plan: &Plan) -> Sent {
        let bytes = ::plan::write(plan).unwrap();
        let claims = ::plan::claims(&bytes, plan, AUDIENCE.to_owned());
        let token = self.signer.sign(&claims).unwrap();
        Sent { token, bytes: bytes.into_bytes(), execution_id: plan.execution_id }
    }
}

impl Plane {
    /// Takes a plan as the routes do.
    pub(crate) async fn take(&self, token: &str, bytes: &[u8]) -> Result<bool, GateRefusal> {
        let from = "192.0.2.7".parse().unwrap();
        let taken = match Gate::split(Some(token.as_bytes())) {
            Ok(token) => self.gate.take(token, Bytes::copy_from_slice(bytes), from).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &taken {
            self.gate.refuse(refusal, from);
        }
        taken.map(|accepted| accepted.replayed)
    }

    pub(crate) async fn take_sent(&self, sent: &Sent) -> Result<bool, GateRefusal> {
        self.take(&sent.token, &sent.bytes).await
    }

    /// The outcome of an execution, once the control plane has it.
    pub(crate) async fn outcome(&self, id: ExecutionId) -> Outcome {
        until(|| self.heard.outcomes.lock().unwrap().iter().find(|o| o.execution_id == id).copied()).await
    }

    /// As [`Plane::outcome`], while time goes on.
    pub(crate) async fn outcome_in_time(&self, id: ExecutionId, clock: &Clock) -> Outcome {
        let look = || {
            clock.advance(1);
            self.heard.outcomes.lock().unwrap().iter().find(|o| o.execution_id == id).copied()
        };
        until(look).await
    }

    /// What was said as security events since the last look.
    pub(crate) async fn said(&self) -> Vec<(EventKind, String, u64)> {
        self.events.flush(self.heard.as_ref()).await;
        let events = core::mem::take(&mut *self.heard.events.lock().unwrap());
        events.into_iter().map(|event| (event.kind, event.reason, event.count)).collect()
    }
}

/// Looks again and again until there is something; a test that would wait for ever fails.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it happens within 30 s")
}

/// As [`until`], with a look that takes its time.
pub(crate) async fn until_async<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it happens within 30 s")
}

/// A throw-away folder that only its owner may enter.
pub(crate) fn private_dir() -> TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            host::files::create_private_dir(&target).unwrap();
            copy_dir(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A workflow of these tasks.
pub(crate) fn document(tasks: Value) -> Value {
    json!({
        "document": {"dsl": "1.0.0", "namespace": "demo", "name": "demo", "version": "1.0.0"},
        "do": tasks,
    })
}

/// Three steps that touch nothing outside.
pub(crate) fn local() -> Value {
    document(json!([
        {"double": {"set": {"n": "${ .n * 2 }"}}},
        {"more": {"set": {"n": "${ .n + 1 }"}}},
        {"named": {"set": {"answer": "${ .n }"}}},
    ]))
}

pub(crate) fn host(text: &str) -> HostPattern {
    text.parse().unwrap()
}
