//! Evidence in files with one changed byte: `palisade verify` and `palisade audit verify` tell by exit code 7.

use crate::shared::site;
use api::execution::{ExecutionView, SignedPlanView};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::{Path, PathBuf};
use trials::Site;

/// A change of a file's bytes.
type Change = fn(&mut Vec<u8>);

const VERIFIED: i32 = 0;
const UNVERIFIED: i32 = 7;

#[tokio::test]
async fn a_plan_is_verified_offline_and_one_with_a_changed_byte_is_not() {
    let (site, folder) = (site().await, Evidence::new());
    save_plan(site, &folder).await;
    let verify = |issuer: &str| {
        let [token, plan, jwks] = ["plan.jwt", "plan.json", "jwks.json"].map(|name| folder.path(name));
        run(site, &["verify", "plan", &token, &plan, "--jwks", &jwks, "--issuer", issuer])
    };
    assert_eq!(verify(site.url()), VERIFIED);
    assert_eq!(verify("https://elsewhere.example"), UNVERIFIED);

    let rows: [(&str, &str, Change); 7] = [
        ("the header", "plan.jwt", |token| change_part(token, 0)),
        ("the claims", "plan.jwt", |token| change_part(token, 1)),
        ("the signature", "plan.jwt", |token| change_part(token, 2)),
        ("the signature's end", "plan.jwt", |token| token.truncate(token.len() - 2)),
        ("the plan's first value", "plan.json", |plan| change_digit(plan, 0)),
        ("the plan's last value", "plan.json", |plan| change_digit(plan, usize::MAX)),
        ("white space after the plan", "plan.json", |plan| plan.push(b'\n')),
    ];
    for (what, name, change) in rows {
        let whole = folder.change(name, change);
        assert_eq!(verify(site.url()), UNVERIFIED, "{what}");
        folder.save(name, &whole);
    }
    assert_eq!(verify(site.url()), VERIFIED, "the files are whole again");
}

#[tokio::test]
async fn heartbeats_are_verified_offline_and_one_with_a_changed_byte_is_not() {
    let (site, folder) = (site().await, Evidence::new());
    let beats = site.run(&["heartbeat", "list", "--tenant", "demo", "-o", "json"]).unwrap();
    folder.save("beats.json", beats.as_bytes());
    let sidecars = site.run(&["sidecar", "list", "--tenant", "demo", "-o", "json"]).unwrap();
    folder.save("sidecars.json", sidecars.as_bytes());
    let verify = || {
        let [beats, sidecars] = ["beats.json", "sidecars.json"].map(|name| folder.path(name));
        run(site, &["verify", "heartbeat", &beats, "--key", &sidecars])
    };
    assert_eq!(verify(), VERIFIED);

    let rows: [(&str, &str, &str, Change); 5] = [
        ("the payload's first byte", "beats.json", "/0/envelope/payload", |bytes| bytes[0] ^= 1),
        ("a digit of the payload", "beats.json", "/0/envelope/payload", |payload| change_digit(payload, 9)),
        ("the signature's first half", "beats.json", "/0/envelope/signatures/0/sig", |sig| sig[0] ^= 1),
        ("the signature's second half", "beats.json", "/0/envelope/signatures/0/sig", |sig| sig[40] ^= 1),
        ("the signature's length", "beats.json", "/0/envelope/signatures/0/sig", |sig| sig.push(0)),
    ];
    for (what, name, place, change) in rows {
        let whole = folder.change_base64(name, place, change);
        assert_eq!(verify(), UNVERIFIED, "{what}");
        folder.save(name, &whole);
    }
    let whole = folder.change_json("beats.json", |beats| beats[0]["envelope"]["payloadType"] = "text".into());
    assert_eq!(verify(), UNVERIFIED, "the payload's type");
    folder.save("beats.json", &whole);
    assert_eq!(verify(), VERIFIED, "the file is whole again");
}

#[tokio::test]
async fn the_audit_log_is_verified_offline_and_one_with_a_changed_byte_is_not() {
    let (site, folder) = (site().await, Evidence::new());
    let [leaves, checkpoint, key] =
        ["log.leaves", "log.checkpoint", "log.vkey"].map(|name| folder.path(name));
    site.run(&["audit", "verify", "--save", &checkpoint, "--save-leaves", &leaves]).unwrap();
    std::fs::copy(site.state().join("audit.vkey"), &key).unwrap();
    let verify =
        || run(site, &["audit", "verify", "--leaves", &leaves, "--checkpoint", &checkpoint, "--key", &key]);
    assert_eq!(verify(), VERIFIED);

    let rows: [(&str, &str, Change); 11] = [
        ("the first leaf", "log.leaves", |log| change_line(log, 0, |leaf| leaf[3] ^= 1)),
        ("the last leaf", "log.leaves", |log| change_line(log, usize::MAX, |leaf| leaf[3] ^= 1)),
        ("a leaf's end", "log.leaves", |log| change_line(log, 1, |leaf| leaf.push(0))),
        ("a dropped leaf", "log.leaves", |log| change_lines(log, |lines| drop(lines.remove(2)))),
        ("two leaves in another order", "log.leaves", |log| change_lines(log, |lines| lines.swap(1, 2))),
        ("a leaf that stands twice", "log.leaves", |log| {
            change_lines(log, |lines| lines.insert(1, lines[1].clone()));
        }),
        ("the log's name", "log.checkpoint", |note| note[0] ^= 1),
        ("the size", "log.checkpoint", |note| change_digit(note, 0)),
        ("the root", "log.checkpoint", |note| change_letter_of_line(note, 2)),
        ("the signature", "log.checkpoint", |note| change_letter_of_line(note, 4)),
        ("no signature", "log.checkpoint", |note| change_lines(note, |lines| lines.truncate(4))),
    ];
    for (what, name, change) in rows {
        let whole = folder.change(name, change);
        assert_eq!(verify(), UNVERIFIED, "{what}");
        folder.save(name, &whole);
    }
    assert_eq!(verify(), VERIFIED, "the files are whole again");
}

#[tokio::test]
async fn evidence_under_a_strangers_keys_is_not_verified() {
    let (site, other, folder) = (site().await, crate::shared::bare_site().await, Evidence::new());
    save_plan(site, &folder).await;
    let jwks: Value = other.api().unwrap().get(wire::jwks::PATH).await.unwrap();
    folder.save("jwks.json", jwks.to_string().as_bytes());
    let [token, plan, jwks] = ["plan.jwt", "plan.json", "jwks.json"].map(|name| folder.path(name));
    assert_eq!(run(site, &["verify", "plan", &token, &plan, "--jwks", &jwks]), UNVERIFIED);

    other.run(&["audit", "verify"]).unwrap();
    let key = other.state().join("audit.vkey").display().to_string();
    assert_eq!(run(site, &["audit", "verify", "--key", &key]), UNVERIFIED);
}

/// Saves the sample's plan, its token and the published keys.
async fn save_plan(site: &Site, folder: &Evidence) {
    let api = site.api().unwrap();
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    let path = format!("/v1/tenants/demo/executions/{}/plan", executions.last().unwrap().id);
    let signed: SignedPlanView = api.get(&path).await.unwrap();
    let jwks: Value = api.get(wire::jwks::PATH).await.unwrap();
    folder.save("plan.jwt", signed.token.as_bytes());
    folder.save("plan.json", &STANDARD.decode(signed.plan).unwrap());
    folder.save("jwks.json", jwks.to_string().as_bytes());
}

fn run(site: &Site, arguments: &[&str]) -> i32 {
    site.palisade(arguments).output().unwrap().status.code().unwrap()
}

/// A folder of saved files.
struct Evidence(tempfile::TempDir);

impl Evidence {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    /// Changes a file and gives what it was.
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let whole = std::fs::read(self.file(name)).unwrap();
        let mut changed = whole.clone();
        change(&mut changed);
        assert_ne!(changed, whole, "nothing was changed");
        self.save(name, &changed);
        whole
    }

    fn change_json(&self, name: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        self.change(name, |bytes| {
            let mut value = serde_json::from_slice(bytes).unwrap();
            change(&mut value);
            *bytes = serde_json::to_vec(&value).unwrap();
        })
    }

    /// Changes the bytes that stand in base64 at a place of a JSON file.
    fn change_base64(&self, name: &str, place: &str, change: Change) -> Vec<u8> {
        self.change_json(name, |value| {
            let text = value.pointer_mut(place).unwrap();
            let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
            change(&mut bytes);
            *text = STANDARD.encode(bytes).into();
        })
    }
}

/// Changes one letter in the middle of a token's part.
fn change_part(token: &mut [u8], part: usize) {
    let begins = token.split(|byte| *byte == b'.').take(part).map(|part| part.len() + 1).sum::<usize>();
    let length = token[begins..].split(|byte| *byte == b'.').next().unwrap().len();
    change_letter(&mut token[begins + length / 2]);
}

/// Changes the digit number `at`, or the last one.
fn change_digit(bytes: &mut [u8], at: usize) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
    let digit = &mut bytes[digits[at.min(digits.len() - 1)]];
    *digit = if *digit == b'1' { b'2' } else { b'1' };
}

fn change_letter(letter: &mut u8) {
    *letter = if *letter == b'A' { b'B' } else { b'A' };
}

/// Changes a letter well inside of a line, before its end.
fn change_letter_of_line(bytes: &mut Vec<u8>, number: usize) {
    change_lines(bytes, |lines| {
        let middle = lines[number].len() - 8;
        change_letter(&mut lines[number][middle]);
    });
}

fn change_lines(bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    *bytes = lines.join(&b'\n');
}

/// Changes the bytes that a line, or the last one, holds in base64.
fn change_line(bytes: &mut Vec<u8>, number: usize, change: Change) {
    change_lines(bytes, |lines| {
        // After the last line end stands an empty one.
        let number = number.min(lines.len() - 2);
        let mut leaf = STANDARD.decode(&lines[number]).unwrap();
        change(&mut leaf);
        lines[number] = STANDARD.encode(leaf).into_bytes();
    });
}
