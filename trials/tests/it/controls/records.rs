//! Records of a running control plane that somebody edits: heartbeats, usage, enrolments, certificates.

use super::intruder::Intruder;
use super::{Halted, expect_green, expect_red};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use trials::{Options, Site, wait_until};

/// An edit of the database that a check must see, and what takes it back.
struct Edit {
    control: &'static str,
    /// The facts that it breaks.
    facts: &'static [&'static str],
    what: &'static str,
    made: &'static str,
    taken_back: &'static str,
}

const EDITS: [Edit; 7] = [
    Edit {
        control: "METER-2",
        facts: &["counted"],
        what: "usage that was counted twice",
        made: "UPDATE usage_hours SET steps = steps * 2",
        taken_back: "UPDATE usage_hours SET steps = steps / 2",
    },
    Edit {
        control: "METER-2",
        facts: &["stored-gaps"],
        what: "a heartbeat that is gone",
        made: "UPDATE heartbeats SET in_chain = 0 WHERE counter = 2",
        taken_back: "UPDATE heartbeats SET in_chain = 1 WHERE counter = 2",
    },
    Edit {
        control: "METER-2",
        facts: &["stored-counters", "stored-gaps", "stored-chain", "stored-bytes"],
        what: "a counter that came twice",
        made: "INSERT INTO heartbeats SELECT tenant_id, sidecar_id, counter, zeroblob(32), envelope, received_at, \
               accepted, in_chain, reason FROM heartbeats WHERE counter = 2",
        taken_back: "DELETE FROM heartbeats WHERE payload_digest = zeroblob(32)",
    },
    Edit {
        control: "METER-3",
        facts: &["stored-heartbeats"],
        what: "heartbeats that came eight days after their time and were counted",
        made: "UPDATE heartbeats SET received_at = received_at + 691200000 WHERE accepted = 1",
        taken_back: "UPDATE heartbeats SET received_at = received_at - 691200000 WHERE accepted = 1",
    },
    Edit {
        control: "METER-3",
        facts: &["stored-heartbeats"],
        what: "heartbeats that came two minutes before their time and were counted",
        made: "UPDATE heartbeats SET received_at = received_at - 120000 WHERE accepted = 1",
        taken_back: "UPDATE heartbeats SET received_at = received_at + 120000 WHERE accepted = 1",
    },
    Edit {
        control: "METER-4",
        facts: &["second-enrolment"],
        what: "enrolment tokens that work again and again",
        made: "CREATE TRIGGER forgetful AFTER UPDATE OF used_at ON enrolments WHEN NEW.used_at IS NOT NULL \
               BEGIN UPDATE enrolments SET used_at = NULL WHERE digest = NEW.digest; END",
        taken_back: "DROP TRIGGER forgetful",
    },
    Edit {
        control: "DET-4",
        facts: &["certificate/spiffe"],
        what: "a data plane's certificate that nobody renewed, and alarms that are swallowed",
        made: "CREATE TRIGGER silent BEFORE INSERT ON alarms BEGIN SELECT RAISE(IGNORE); END; \
               UPDATE certificates SET not_before = not_before - 79200000, not_after = not_after - 79200000 \
               WHERE spiffe LIKE '%/data-plane'",
        taken_back: "UPDATE certificates SET not_before = not_before + 79200000, not_after = not_after + 79200000 \
                     WHERE spiffe LIKE '%/data-plane'; DROP TRIGGER silent",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_edit_of_what_is_kept_turns_its_check_red_until_it_is_taken_back() -> Result<()> {
    let (site, _sidecar) = metered().await?;
    let intruder = Intruder::into(&site)?;
    for Edit { control, facts, what, made, taken_back } in EDITS {
        expect_green(&site, control, "nothing edited").await?;
        intruder.run(made)?;
        expect_red(&site, control, facts, what).await?;
        intruder.run(taken_back)?;
        expect_green(&site, control, "the edit taken back").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_its_sidecar_did_not_sign_turns_its_checks_red() -> Result<()> {
    let (site, _sidecar) = metered().await?;
    let intruder = Intruder::into(&site)?;
    let newest = ["envelope", "heartbeats", "counter = (SELECT max(counter) FROM heartbeats)"];
    let signed = intruder.edit(newest, with_one_bit_flipped)?;
    expect_unsigned(&site, "one bit of a signature flipped").await?;
    intruder.edit(newest, |_| Ok(signed))?;
    let sidecar = ["public_key", "sidecars", "counter > 0"];
    let enrolled = intruder.edit(sidecar, |_| Ok(vec![7; 32]))?;
    expect_unsigned(&site, "another public key than was enrolled").await?;
    intruder.edit(sidecar, |_| Ok(enrolled))?;
    for control in ["METER-1", "METER-4"] {
        expect_green(&site, control, "both edits taken back").await?;
    }
    Ok(())
}

async fn expect_unsigned(site: &Site, why: &str) -> Result<()> {
    expect_red(site, "METER-1", &["verifies"], why).await?;
    expect_red(site, "METER-4", &["stored heartbeats that do not verify"], why).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecars_private_key_out_of_its_place_turns_its_check_red() -> Result<()> {
    let (site, _sidecar) = metered().await?;
    let folder = site.state_of("meter-")?;
    let (key, copy) = (folder.join("metering.key"), site.state().join("control/backup"));
    std::fs::copy(&key, &copy)?;
    std::fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
    let held = ["private keys held by the control plane"];
    expect_red(&site, "METER-4", &held, "the private key in the control plane's folder").await?;
    std::fs::remove_file(copy)?;
    expect_green(&site, "METER-4", "the copy gone").await?;
    std::fs::set_permissions(&key, Permissions::from_mode(0o644))?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
    expect_red(&site, "METER-4", &["mode of the key file"], "a private key that everybody may read").await?;
    Ok(())
}

/// A site with a few heartbeats and a sidecar that sends no more of them: the newest one stays the newest.
async fn metered() -> Result<(Site, Halted)> {
    let site = Site::up(Options::default()).await?;
    let api = site.api()?;
    let is_metered = async || {
        let beats = api.all::<api::heartbeat::HeartbeatView>("/v1/tenants/demo/heartbeats").await;
        beats.is_ok_and(|beats| beats.len() >= 4)
    };
    ensure!(wait_until(Duration::from_secs(60), is_metered).await, "no heartbeats came");
    let sidecar = Halted::halt(site.pid_of("palisade-meter")?)?;
    Ok((site, sidecar))
}

fn with_one_bit_flipped(envelope: &[u8]) -> Result<Vec<u8>> {
    let mut envelope: serde_json::Value = serde_json::from_slice(envelope)?;
    let signature = envelope.pointer_mut("/signatures/0/sig").context("a signature")?;
    let mut bytes = STANDARD.decode(signature.as_str().context("base64")?)?;
    bytes[10] ^= 1;
    *signature = STANDARD.encode(bytes).into();
    Ok(serde_json::to_vec(&envelope)?)
}
