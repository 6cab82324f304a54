//! Verified by tools that others wrote: PyJWT, PyNaCl, hashlib. (What OpenSSL says of the transport is in
//! `transport`.)

use crate::shared::site;
use api::audit::{CheckpointView, EntryView, Leaves, Proof};
use api::execution::{ExecutionView, SignedPlanView};
use api::heartbeat::{HeartbeatView, SidecarView};
use api::page::Page;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trials::{Api, Options, Python, Site};

#[tokio::test]
async fn a_plan_verifies_with_pyjwt() {
    let site = site().await;
    let api = site.api().unwrap();
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    let execution = executions.last().unwrap();
    let path = format!("/v1/tenants/demo/executions/{}/plan", execution.id);
    let plan: SignedPlanView = api.get(&path).await.unwrap();
    let jwks: Value = api.get(wire::jwks::PATH).await.unwrap();
    let hash = execution.outcome.unwrap().plan_hash.to_string();
    judge("plan.py", &json!({ "plan": plan, "jwks": jwks, "issuer": site.url(), "plan_hash": hash }))
        .unwrap();
}

#[tokio::test]
async fn heartbeats_verify_with_pynacl() {
    let api = site().await.api().unwrap();
    let beats: Vec<HeartbeatView> = api.all("/v1/tenants/demo/heartbeats").await.unwrap();
    let sidecars: Page<SidecarView> = api.get("/v1/tenants/demo/sidecars").await.unwrap();
    judge("heartbeat.py", &json!({ "heartbeats": beats, "sidecars": sidecars.items })).unwrap();
}

#[tokio::test]
async fn the_audit_log_verifies_with_hashlib_and_pynacl() {
    let api = site().await.api().unwrap();
    judge("audit.py", &audit_log(&api).await).unwrap();
}

#[tokio::test]
async fn an_audit_log_with_one_changed_byte_verifies_with_nobody() {
    let api = site().await.api().unwrap();
    let log = audit_log(&api).await;
    let note = log["note"].as_str().unwrap().to_owned();
    let (text, signature) = note.rsplit_once(' ').unwrap();
    let rows: [(&str, Value, &str); 8] = [
        ("/leaves/0", flipped(&log["leaves"][0]), "the leaves do not lead to the signed root"),
        ("/leaves/3", log["leaves"][4].clone(), "the leaves do not lead to the signed root"),
        ("/leaves", all_but_the_last(&log["leaves"]), "the log is not as long as it was signed"),
        ("/note", json!(note.replacen('\n', "x\n", 1)), "the note is not signed by this key"),
        (
            "/note",
            json!(format!("{text} {}\n", flipped_text(signature.trim(), 20))),
            "the note is not signed",
        ),
        (
            "/verifier_key",
            json!(another(log["verifier_key"].as_str().unwrap())),
            "the key is not what its id says",
        ),
        ("/proof/0", flipped_hex(&log["proof"][0]), "the proof does not lead to the signed root"),
        ("/entry/leaf", flipped_hex(&log["entry"]["leaf"]), "the entry is not the leaf"),
    ];
    for (place, changed, why) in rows {
        let mut tampered = log.clone();
        *tampered.pointer_mut(place).unwrap() = changed;
        let said = judge("audit.py", &tampered).unwrap_err();
        assert!(said.contains(why), "{place}: {said}");
    }
}

#[tokio::test]
async fn the_audit_log_extends_an_older_checkpoint() {
    let site = Site::up(Options { demo: false, ..Options::default() }).await.unwrap();
    let checkpoint = site.state().join("older.checkpoint").display().to_string();
    site.run(&["audit", "verify", "--save", &checkpoint]).unwrap();
    site.api().unwrap().create_tenant("acme").await.unwrap();
    let said = site.run(&["audit", "verify", "--against", &checkpoint]).unwrap();
    assert!(said.contains("verified"), "{said}");
}

/// Everything that an auditor needs: the sealed leaves, the signed checkpoint over them, and one entry with its
/// proof.
async fn audit_log(api: &Api) -> Value {
    let checkpoint: CheckpointView = api.get("/v1/audit/checkpoint").await.unwrap();
    let size: u64 = checkpoint.note.lines().nth(1).unwrap().parse().unwrap();
    let mut leaves = Vec::new();
    while (leaves.len() as u64) < size {
        let (start, end) = (leaves.len(), size.min(leaves.len() as u64 + api::audit::LEAVES_MAX));
        let some: Leaves = api.get(&format!("/v1/audit/leaves?start={start}&end={end}")).await.unwrap();
        leaves.extend(some.leaves);
    }
    let entries: Page<EntryView> = api.get("/v1/audit/entries?limit=200").await.unwrap();
    let entry = entries.items.into_iter().find(|entry| entry.index < size).unwrap();
    let path = format!("/v1/audit/inclusion?index={}&size={size}", entry.index);
    let proof: Proof = api.get(&path).await.unwrap();
    json!({
        "note": checkpoint.note, "verifier_key": checkpoint.verifier_key, "leaves": leaves,
        "entry": { "index": entry.index, "leaf": entry.leaf }, "proof": proof.hashes,
    })
}

/// Lets a script of `trials/verifiers` judge `facts`.
fn judge(script: &str, facts: &Value) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("facts.json");
    std::fs::write(&file, facts.to_string()).unwrap();
    Python::find().unwrap().run(script, &[&file.display().to_string()]).map_err(|error| error.to_string())
}

/// Base64 with one bit of one byte changed.
fn flipped(base64: &Value) -> Value {
    json!(flipped_text(base64.as_str().unwrap(), 5))
}

fn flipped_text(base64: &str, at: usize) -> String {
    let mut bytes = STANDARD.decode(base64).unwrap();
    bytes[at] ^= 1;
    STANDARD.encode(bytes)
}

fn flipped_hex(digest: &Value) -> Value {
    let text = digest.as_str().unwrap();
    let first = if text.starts_with('0') { "1" } else { "0" };
    json!(format!("{first}{}", &text[1..]))
}

fn all_but_the_last(leaves: &Value) -> Value {
    let leaves = leaves.as_array().unwrap();
    json!(leaves[..leaves.len() - 1])
}

/// A verifier key with another public key under the same id.
fn another(verifier_key: &str) -> String {
    // The key is base64, which has a `+` too.
    let parts: Vec<&str> = verifier_key.splitn(3, '+').collect();
    format!("{}+{}+{}", parts[0], parts[1], flipped_text(parts[2], 7))
}
