//! `verify heartbeat`: stored envelopes against a sidecar's public key.

use crate::failure::{Failure, Outcome};
use crate::output::{Output, Row, yes_no};
use api::heartbeat::{HeartbeatView, SidecarView};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::files;
use notary::{EnvelopeKey, verify_envelope};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use terms::{Digest, SidecarId, TenantId, Timestamp, Unverified};
use wire::dsse::Envelope;
use wire::heartbeat::{Heartbeat, PAYLOAD_TYPE};

/// The largest file of envelopes: some ten thousand of them.
const FILE_MAX: usize = 32 * 1024 * 1024;

/// The largest file of keys.
const KEY_MAX: usize = 1024 * 1024;

/// Verifies heartbeats: signatures, and that each follows on the one before
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade verify heartbeat heartbeats.json --key sidecar.pub
  palisade verify heartbeat heartbeats.json --key sidecars.json

The first file is one envelope, or what `palisade heartbeat list -o json` wrote. The second is a
public key (32 bytes in base64), or what `palisade sidecar list -o json` wrote. Exits with 7 if one
does not verify.")]
pub(crate) struct Options {
    /// The envelopes, JSON
    file: PathBuf,
    /// The sidecar's public key in base64, or a list of sidecars
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// One verified heartbeat.
#[derive(Debug, Serialize)]
struct Verified {
    verified: bool,
    counter: u64,
    epoch: u64,
    time: Timestamp,
    tenant: TenantId,
    sidecar: SidecarId,
    steps: u64,
    executions: u64,
    /// Whether the heartbeat before it is in the file too, and this one carries its hash.
    follows: bool,
    payload_digest: Digest,
    #[serde(skip)]
    prev: Digest,
}

/// The keys that may have signed.
enum Keys {
    /// One key for all.
    One(EnvelopeKey),
    /// Each sidecar's own.
    Each(BTreeMap<SidecarId, EnvelopeKey>),
}

/// What to do with a heartbeat that does not verify.
const DISTRUST: &str = "do not bill by this heartbeat; check that the key is this sidecar's, and the file as \
                        it was written";

pub(super) fn run(options: &Options, output: &mut Output<'_>) -> Outcome {
    let keys = read_keys(&options.key)?;
    let envelopes = read_envelopes(&options.file)?;
    let mut verified = Vec::new();
    for (number, envelope) in envelopes.into_iter().enumerate() {
        verified.push(verify(&keys, envelope).map_err(|why| {
            Failure::unverified(
                format!("heartbeat {} of the file does not verify: {why}", number + 1),
                DISTRUST,
            )
        })?);
    }
    link(&mut verified)?;
    output.list(&verified)
}

fn verify(keys: &Keys, envelope: Envelope) -> Result<Verified, String> {
    let key = match keys {
        Keys::One(key) => key,
        Keys::Each(keys) => {
            // Only the name of the key to try is taken from the unchecked payload.
            let decoded = envelope.decode(PAYLOAD_TYPE).map_err(|error| error.to_string())?;
            let claimed = Heartbeat::read(&decoded.payload).map_err(|error| error.to_string())?.sidecar;
            keys.get(&claimed).ok_or_else(|| format!("there is no key of sidecar {claimed} in the list"))?
        }
    };
    let payload = verify_envelope(key, Unverified::new(envelope), PAYLOAD_TYPE);
    let payload = payload.map_err(|refusal| format!("{refusal} ({})", refusal.code()))?;
    let beat = Heartbeat::read(&payload).map_err(|error| error.to_string())?;
    Ok(Verified {
        verified: true,
        counter: beat.counter,
        epoch: beat.epoch,
        time: Timestamp::from_unix_s(beat.time),
        tenant: beat.tenant,
        sidecar: beat.sidecar,
        steps: beat.totals.steps,
        executions: beat.totals.executions,
        follows: false,
        payload_digest: Digest::sha256(&payload),
        prev: beat.prev,
    })
}

/// Marks each heartbeat that follows on another one of the file; a neighbour with another hash is an error.
fn link(verified: &mut [Verified]) -> Outcome {
    let known: BTreeMap<(SidecarId, u64), Digest> =
        verified.iter().map(|beat| ((beat.sidecar, beat.counter), beat.payload_digest)).collect();
    for beat in verified {
        let Some(before) = beat.counter.checked_sub(1).and_then(|n| known.get(&(beat.sidecar, n))) else {
            continue;
        };
        if *before != beat.prev {
            let cause = format!(
                "heartbeats {} and {} of sidecar {} are both signed, but do not follow on each other",
                beat.counter - 1,
                beat.counter,
                beat.sidecar
            );
            return Err(Failure::unverified(cause, DISTRUST));
        }
        beat.follows = true;
    }
    Ok(())
}

fn read_envelopes(path: &Path) -> Outcome<Vec<Envelope>> {
    const NEXT: &str = "name an envelope, or what `palisade heartbeat list -o json` wrote";
    let bytes = read(path, FILE_MAX)?;
    if let Ok(envelope) = Envelope::read(&bytes) {
        return Ok(vec![envelope]);
    }
    if let Ok(envelopes) = serde_json::from_slice::<Vec<Envelope>>(&bytes) {
        return Ok(envelopes);
    }
    let views: Vec<HeartbeatView> =
        serde_json::from_slice(&bytes).map_err(|error| Failure::bad_file(path, error, NEXT))?;
    Ok(views.into_iter().map(|view| view.envelope).collect())
}

fn read_keys(path: &Path) -> Outcome<Keys> {
    const NEXT: &str =
        "name a public key (32 bytes in base64), or what `palisade sidecar list -o json` wrote";
    let refused = |why: &dyn core::fmt::Display| Failure::bad_file(path, why, NEXT);
    let bytes = read(path, KEY_MAX)?;
    if let Ok(sidecars) = serde_json::from_slice::<Vec<SidecarView>>(&bytes) {
        let keys = sidecars.iter().map(|sidecar| Ok((sidecar.id, key(&sidecar.public_key)?)));
        return keys.collect::<Result<_, String>>().map(Keys::Each).map_err(|why| refused(&why));
    }
    key(String::from_utf8_lossy(&bytes).trim_end()).map(Keys::One).map_err(|why| refused(&why))
}

fn key(text: &str) -> Result<EnvelopeKey, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| "a public key has 32 bytes".to_owned())?;
    EnvelopeKey::new(bytes).map_err(|error| error.to_string())
}

fn read(path: &Path, max: usize) -> Outcome<Vec<u8>> {
    files::read_bounded(path, max).map_err(|e| Failure::of_file(&e, "check the file's name and permissions"))
}

impl Row for Verified {
    const COLUMNS: &'static [&'static str] =
        &["VERIFIED", "COUNTER", "TIME", "FOLLOWS", "EXECUTIONS", "STEPS", "SIDECAR"];

    fn cells(&self) -> Vec<String> {
        vec![
            yes_no(self.verified),
            self.counter.to_string(),
            self.time.to_string(),
            yes_no(self.follows),
            self.executions.to_string(),
            self.steps.to_string(),
            self.sidecar.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::output::Format;
    use notary::SidecarKey;
    use wire::heartbeat::{Integrity, Totals};

    struct Sidecar {
        dir: tempfile::TempDir,
        key: SidecarKey,
    }

    impl Sidecar {
        fn new() -> Self {
            let sidecar = Self { dir: tempfile::tempdir().unwrap(), key: SidecarKey::generate().unwrap().0 };
            sidecar.write("key", STANDARD.encode(sidecar.key.public_key()).as_bytes());
            sidecar
        }

        fn beats(&self, count: u64) -> Vec<Envelope> {
            let mut prev = Digest::from_bytes([0; 32]);
            (1..=count)
                .map(|counter| {
                    let payload = beat(counter, prev).to_bytes().unwrap();
                    prev = Digest::sha256(&payload);
                    self.key.sign(PAYLOAD_TYPE, &payload).unwrap()
                })
                .collect()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.path(name), bytes).unwrap();
        }

        fn verify(&self, envelopes: &impl Serialize) -> Outcome<serde_json::Value> {
            self.write("beats", &serde_json::to_vec(envelopes).unwrap());
            let mut sink = Vec::new();
            let options = Options { file: self.path("beats"), key: self.path("key") };
            run(&options, &mut Output::new(Format::Json, false, &mut sink))?;
            Ok(serde_json::from_slice(&sink).unwrap())
        }
    }

    #[test]
    fn one_envelope_or_a_chain_of_them_verifies_in_any_order() {
        let sidecar = Sidecar::new();
        let mut beats = sidecar.beats(3);
        assert_eq!(sidecar.verify(&beats[0]).unwrap()[0]["counter"], 1);
        beats.reverse();
        let report = sidecar.verify(&beats).unwrap();
        assert_eq!(report[0]["follows"], true);
        assert_eq!(report[2]["follows"], false, "nothing comes before the first");
    }

    #[test]
    fn a_changed_payload_another_type_or_another_key_is_refused() {
        let sidecar = Sidecar::new();
        let good = sidecar.beats(1).remove(0);
        let payload = Envelope { payload: STANDARD.encode(b"{}"), ..good.clone() };
        let kind = Envelope { payload_type: "application/json".into(), ..good.clone() };
        for bad in [payload, kind, Sidecar::new().beats(1).remove(0)] {
            assert_eq!(sidecar.verify(&bad).unwrap_err().exit, Exit::Unverified);
        }
    }

    #[test]
    fn two_signed_neighbours_that_do_not_follow_on_each_other_are_refused() {
        let sidecar = Sidecar::new();
        let first = sidecar.beats(1).remove(0);
        let payload = beat(2, Digest::sha256(b"another one")).to_bytes().unwrap();
        let second = sidecar.key.sign(PAYLOAD_TYPE, &payload).unwrap();
        let failure = sidecar.verify(&vec![first, second]).unwrap_err();
        assert!(failure.cause.contains("do not follow"), "{failure}");
    }

    #[test]
    fn a_list_of_sidecars_gives_each_its_own_key() {
        let sidecar = Sidecar::new();
        let view = SidecarView {
            id: SidecarId::from_bytes([2; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            public_key: STANDARD.encode(sidecar.key.public_key()),
            active: true,
            enrolled_at: Timestamp::EPOCH,
            counter: 1,
            epoch: 1,
            last_heartbeat_at: None,
            totals: Totals::default(),
        };
        sidecar.write("key", &serde_json::to_vec(core::slice::from_ref(&view)).unwrap());
        assert!(sidecar.verify(&sidecar.beats(2)).is_ok());
        let other = SidecarView { id: SidecarId::from_bytes([3; 16]), ..view };
        sidecar.write("key", &serde_json::to_vec(&[other]).unwrap());
        assert_eq!(sidecar.verify(&sidecar.beats(1)).unwrap_err().exit, Exit::Unverified);
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let sidecar = Sidecar::new();
        for bad in ["", "AAAA", &STANDARD.encode([0; 32])] {
            sidecar.write("key", bad.as_bytes());
            assert_eq!(sidecar.verify(&sidecar.beats(1)).unwrap_err().code, "file_invalid", "{bad}");
        }
    }

    fn beat(counter: u64, prev: Digest) -> Heartbeat {
        Heartbeat {
            sidecar: SidecarId::from_bytes([2; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            epoch: 1,
            counter,
            time: 1_795_000_000,
            prev,
            totals: Totals::default(),
            release: "0.1.0".into(),
            integrity: Integrity::UNCHECKED,
            nonce: None,
            spooled: false,
        }
    }
}
