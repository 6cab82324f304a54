//! Fuzz targets: one for each parser of outside bytes.
//!
//! A target takes any bytes and must come back in bounded time and memory, without a panic, with its invariants
//! held. `cargo fuzz run NAME` (with `--sanitizer none` on stable) explores; the corpora replay as plain tests.

use core::fmt::Debug;
use names::{ADDRESSES_MAX, ANSWER_MAX, Ask, HostName, Outcome, Query, TTL_MAX_S};
use notary::KeySet;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serve::ca::{Authority, Subject, Use, leaf_not_after, peer_spiffe};
use std::sync::OnceLock;
use terms::{SpiffeId, TenantId, Timestamp, TrustDomain, Unverified, Workload};
use wire::checkpoint::{Checkpoint, Note};
use wire::counters::Sample;
use wire::dsse::Envelope;
use wire::heartbeat::{Heartbeat, PAYLOAD_TYPE};
use wire::json::{self, Bounds};
use wire::jwks::Jwks;
use wire::networks::{HostNetworks, SignedNetworks};
use wire::plan::Plan;
use wire::plan_token::PlanToken;
use workflow::{Budget, Effect, Expression, Limits, Reply, Run, RuntimeContext, Workflow};

/// A target: takes bytes, panics if an invariant is broken.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus.
pub const TARGETS: [(&str, Target); 15] = [
    ("plan_token", plan_token),
    ("plan", plan),
    ("envelope", envelope),
    ("heartbeat", heartbeat),
    ("host_networks", host_networks),
    ("workflow", workflow),
    ("expression", expression),
    ("note", note),
    ("jwks", jwks),
    ("sample", sample),
    ("signing_request", signing_request),
    ("certificate", certificate),
    ("json", strict_json),
    ("dns_query", dns_query),
    ("dns_answer", dns_answer),
];

const DAY_MS: i64 = 86_400_000;

const BOUNDS: Bounds = Bounds { bytes: 64 * 1024, depth: 64, nodes: 10_000 };

/// The plan token: what is split keeps its bytes, and claims read twice are the same.
pub fn plan_token(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(token) = PlanToken::split(text) else { return };
    assert!(bytes.starts_with(token.signing_input()), "the signed bytes are the ones that came");
    assert_eq!(token.claims(), token.claims());
}

/// The plan: what is read is written and read back as the same plan.
pub fn plan(bytes: &[u8]) {
    let Ok(plan) = Plan::read(bytes) else { return };
    let written = expect(plan.to_bytes(), "a plan that was read is written");
    let again = expect(Plan::read(written.as_slice()), "a plan that was written is read");
    assert_eq!(written, expect(again.to_bytes(), "a plan that was read is written"));
}

/// The envelope: an unsigned one never verifies.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::read(bytes) else { return };
    let _decoded = envelope.decode(PAYLOAD_TYPE);
    // The base point's encoding (RFC 8032): a valid key whose secret half nobody fuzzes into a signature.
    let mut key = [0x66; 32];
    if let Some(first) = key.first_mut() {
        *first = 0x58;
    }
    if let Ok(key) = notary::EnvelopeKey::new(key) {
        let verified = notary::verify_envelope(&key, Unverified::new(envelope), PAYLOAD_TYPE);
        assert!(verified.is_err(), "nobody signed this");
    }
}

/// A host's networks: an envelope opens only for a key that is known, and what is read is written and read back.
pub fn host_networks(bytes: &[u8]) {
    if let Ok(signed) = SignedNetworks::read(bytes) {
        let verified = notary::verify_networks(Unverified::new(signed), |_| None);
        assert!(verified.is_err(), "nobody is known who signed this");
    }
    let Ok(networks) = HostNetworks::read(bytes) else { return };
    let written = expect(networks.write(), "networks that were read are written");
    assert_eq!(networks, expect(HostNetworks::read(&written), "networks that were written are read"));
}

/// The heartbeat: what is read is written and read back as the same heartbeat.
pub fn heartbeat(bytes: &[u8]) {
    let Ok(beat) = Heartbeat::read(bytes) else { return };
    let written = expect(beat.to_bytes(), "a heartbeat that was read is written");
    assert_eq!(Heartbeat::read(&written), Ok(beat));
}

/// The workflow: what is accepted survives its own JSON, and runs within its limits.
pub fn workflow(bytes: &[u8]) {
    let Ok(parsed) = Workflow::parse(bytes) else { return };
    let again = expect(Workflow::from_json(parsed.document()), "an accepted workflow is accepted as JSON");
    assert_eq!(parsed.hosts(), again.hosts());
    let limits = Limits {
        wall_time_ms: 1_000,
        steps: 50,
        memory_bytes: 1 << 20,
        output_bytes: 1 << 16,
        http_calls: 2,
    };
    let context = RuntimeContext { execution_id: "fuzz".to_owned(), started_at: Timestamp::EPOCH };
    let mut run = Run::start(&parsed, serde_json::Value::Null, limits, context);
    let (mut reply, mut now) = (Reply::Start, Timestamp::EPOCH);
    for _ in 0..200 {
        match run.advance(reply, now) {
            Effect::Completed(_) | Effect::Faulted(_) => return,
            Effect::Wait { ms, .. } => {
                now = now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX));
                reply = Reply::Waited;
            }
            Effect::Http(_) => reply = Reply::Http(Err(workflow::HttpFailure { code: "fuzz" })),
        }
        assert!(run.steps() <= 51, "the step limit holds");
    }
}

/// The expression: it ends within its budget.
pub fn expression(bytes: &[u8]) {
    let Ok(code) = core::str::from_utf8(bytes) else { return };
    let Ok(expression) = Expression::compile(code) else { return };
    let budget = Budget { ticks: 10_000, memory_bytes: 1 << 20 };
    let _value_or_fault = expression.evaluate(&serde_json::json!({ "a": [1, "x", null] }), budget);
}

/// The note: what is read is written and read back as the same note.
pub fn note(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(note) = Note::read(text) else { return };
    assert_eq!(Note::read(&note.to_text()), Ok(note.clone()));
    if let Ok(body) = Checkpoint::read(&note.text) {
        assert_eq!(Checkpoint::read(&body.to_text()), Ok(body));
    }
}

/// The key set: each key is taken or refused, none is lost.
pub fn jwks(bytes: &[u8]) {
    let Ok(set) = Jwks::read(bytes) else { return };
    let (keys, refused) = KeySet::from_jwks(&set);
    assert!(keys.is_empty() || refused.len() < set.keys.len());
}

/// The counters on the metering socket: what is read is written and read back as the same sample.
pub fn sample(line: &[u8]) {
    let Ok(sample) = Sample::read(line) else { return };
    let written = expect(serde_json::to_vec(&sample), "a sample that was read is written");
    assert_eq!(Sample::read(&written), Ok(sample));
}

/// The signing request: whatever name it asks for, the certificate has the name that its token was made for.
pub fn signing_request(bytes: &[u8]) {
    static AUTHORITY: OnceLock<(Authority, SpiffeId)> = OnceLock::new();
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let (authority, spiffe) = AUTHORITY.get_or_init(|| {
        let domain: TrustDomain = expect("fuzz.test".parse(), "a trust domain");
        let authority = expect(Authority::create(Timestamp::EPOCH, &domain, DAY_MS), "an authority");
        (authority, SpiffeId::new(domain, Workload::DataPlane(TenantId::from_bytes([7; 16]))))
    });
    let subject = Subject {
        spiffe,
        dns_names: &[],
        ips: &[],
        usage: Use::Client,
        now: Timestamp::EPOCH,
        lifetime_ms: DAY_MS,
    };
    let Ok(issued) = authority.issue_from_csr(text, &subject) else { return };
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).next();
    let leaf = expect(chain.ok_or("none").and_then(|leaf| leaf.map_err(|_| "no PEM")), "a leaf");
    assert_eq!(peer_spiffe(&leaf).ok().as_ref(), Some(spiffe));
}

/// The certificate: who it names is a name that reads back.
pub fn certificate(der: &[u8]) {
    let leaf = CertificateDer::from(der);
    let _until = leaf_not_after(&leaf);
    let Ok(spiffe) = peer_spiffe(&leaf) else { return };
    assert_eq!(spiffe.to_string().parse(), Ok(spiffe));
}

/// Strict JSON: what it accepts, the field's reader accepts too.
pub fn strict_json(bytes: &[u8]) {
    if json::check(bytes, &BOUNDS).is_ok() {
        let read: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
        assert!(read.is_ok(), "strict JSON is JSON");
    }
}

/// The DNS query: what is read is answered within bounds, and a host that it asks for can be asked for.
pub fn dns_query(bytes: &[u8]) {
    let Ok(query) = Query::read(bytes) else { return };
    let answer = expect(query.answer(&Outcome::NoSuchName), "a query that was read is answered");
    assert!(answer.len() <= ANSWER_MAX, "the answer is within its bounds");
    if let Ask::Addresses(host) = query.ask() {
        let asked = expect(names::question(&host), "a host that was asked for can be asked for");
        assert_eq!(Query::read(&asked).map(|query| query.ask()), Ok(Ask::Addresses(host)));
    }
}

/// The DNS answer: what is believed is within bounds, and is believed again when it is passed on.
pub fn dns_answer(bytes: &[u8]) {
    let host: HostName = expect("api.example.com".parse(), "a host's name");
    let Ok(outcome) = names::read_answer(bytes, &host) else { return };
    if let Outcome::Found(found) = &outcome {
        assert!((1..=ADDRESSES_MAX).contains(&found.addresses().len()) && found.ttl_s() <= TTL_MAX_S);
    }
    let query = expect(names::question(&host).map(|asked| Query::read(&asked)), "a question");
    let passed_on = expect(query.map(|query| query.answer(&outcome)), "a query");
    let passed_on = expect(passed_on, "an outcome that was read is written");
    assert_eq!(names::read_answer(&passed_on, &host), Ok(outcome));
}

fn expect<T, E: Debug>(result: Result<T, E>, invariant: &str) -> T {
    match result {
        Ok(value) => value,
        #[expect(clippy::panic, reason = "a fuzz target reports a broken invariant by panicking")]
        Err(error) => panic!("{invariant}: {error:?}"),
    }
}
