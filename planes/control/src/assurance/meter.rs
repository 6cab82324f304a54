//! METER-1 to METER-4: stored heartbeats verified offline, the counter rule tried on live state, keys where they belong.

mod drill;
mod envelope;
mod history;
mod keys;

use super::{Looked, NoMeans, sample};
use crate::app::App;
use crate::heartbeat::{chain_of, is_sworn};
use ::assurance::{Counting, HeartbeatSignature, Observation, Row, SidecarKey};
use envelope::Opened;
use history::{History, Reported};
use notary::EnvelopeKey;
use std::collections::BTreeSet;
use store::{LIMIT_MAX, Page, SidecarRow, StoredBeat};
use terms::{TenantId, Timestamp};
use wire::event::EventKind;
use wire::heartbeat::Totals;

/// Most tenants whose heartbeats are looked at.
const TENANTS_MAX: usize = 20;

/// Most pages of heartbeats of one tenant: half an hour and more at the usual interval.
const PAGES_MAX: usize = 2;

/// How often sidecars and usage are read again because a heartbeat came in between.
const TRIES_MAX: usize = 5;

/// A sidecar and its newest heartbeats.
struct Metered {
    sidecar: SidecarRow,
    beats: Vec<StoredBeat>,
}

/// METER-1: the newest heartbeat, verified with raw Ed25519; and one bit of each part changed, offered to what takes
/// heartbeats.
pub(super) async fn meter_1(app: &App) -> Looked {
    let metered = metered(app).await?;
    let beats = metered.iter().flat_map(|m| m.beats.iter().map(move |beat| (&m.sidecar, beat)));
    let newest = beats.max_by_key(|(_, beat)| beat.received_at);
    let (sidecar, beat) = newest.ok_or_else(none_stored)?;
    let opened =
        Opened::new(&beat.envelope).ok_or_else(|| NoMeans::new("the newest heartbeat is no envelope"))?;
    let key = EnvelopeKey::new(sidecar.public_key).map_err(NoMeans::new)?;
    let (flips_tried, flips_accepted) = opened.flips(|flipped| is_sworn(&key, flipped));
    Ok(Observation::HeartbeatSignature(HeartbeatSignature {
        length: opened.signature.len(),
        is_base64: opened.is_base64,
        verifies: opened.verifies(&sidecar.public_key),
        flips_tried,
        flips_accepted,
    }))
}

/// METER-2: the rule on every live sidecar's state, the stored chains, and usage against what was sworn.
pub(super) async fn meter_2(app: &App) -> Looked {
    let (metered, counted) = standing_still(app).await?;
    let live = metered.iter().max_by_key(|m| m.sidecar.last_received).ok_or_else(none_stored)?;
    let mut rows =
        drill::counter_rows(&chain_of(&live.sidecar), app.clock.now(), app.config.metering.interval_ms);
    let gaps = reported_gaps(app).await?;
    let mut sworn = Totals::default();
    for Metered { sidecar, beats } in &metered {
        let history = History::new(sidecar, beats);
        sworn = add(sworn, history.last_sworn());
        rows.extend(history.rows(&gaps));
    }
    let (sworn, counted) = (sum(&sworn), sum(&counted));
    if sworn == 0 && counted == 0 {
        return Err(NoMeans::new("nothing was metered yet: run a workflow first"));
    }
    Ok(Observation::Counting(Counting { rows, sworn, counted }))
}

/// METER-3: both sides of each bound on live state, and the window of every stored heartbeat.
pub(super) async fn meter_3(app: &App) -> Looked {
    let metered = metered(app).await?;
    let live = metered.iter().max_by_key(|m| m.sidecar.last_received).ok_or_else(none_stored)?;
    let interval_ms = app.config.metering.interval_ms;
    let mut rows = drill::window_rows(&chain_of(&live.sidecar), app.clock.now(), interval_ms);
    for Metered { sidecar, beats } in &metered {
        rows.push(History::new(sidecar, beats).window_row(interval_ms));
    }
    Ok(Observation::Window(rows))
}

/// METER-4: an enrolment token used twice, keys where they must not be, every stored heartbeat verified.
pub(super) async fn meter_4(app: &App) -> Looked {
    let metered = metered(app).await?;
    let first = metered.first().ok_or_else(none_stored)?;
    let (mut stored_heartbeats, mut unverifiable_heartbeats) = (0, 0);
    for Metered { sidecar, beats } in &metered {
        stored_heartbeats += beats.len() as u64;
        let verifies = |beat: &&StoredBeat| {
            Opened::new(&beat.envelope).is_some_and(|opened| opened.verifies(&sidecar.public_key))
        };
        unverifiable_heartbeats += (beats.len() - beats.iter().filter(verifies).count()) as u64;
    }
    let public_keys: BTreeSet<[u8; 32]> = metered.iter().map(|m| m.sidecar.public_key).collect();
    let tenants: BTreeSet<TenantId> = metered.iter().map(|m| m.sidecar.tenant).collect();
    let second = keys::second_enrolment(app, first.sidecar.tenant, &first.sidecar.public_key).await?;
    Ok(Observation::SidecarKey(SidecarKey {
        second_enrolment: row("second-enrolment", "enrolment_refused", &second),
        private_keys_held: keys::held(app, &public_keys).await?,
        key_file_mode: keys::file_mode(&app.config.state_dir, &tenants),
        stored_heartbeats,
        unverifiable_heartbeats,
    }))
}

fn none_stored() -> NoMeans {
    NoMeans::new("no heartbeat is stored yet: wait for a sidecar")
}

/// The sidecars of active tenants with their newest heartbeats; those without any are left out.
async fn metered(app: &App) -> Result<Vec<Metered>, NoMeans> {
    let permit = sample::permit(app)?;
    let mut metered = Vec::new();
    for tenant in sample::tenants(app).await?.into_iter().take(TENANTS_MAX) {
        let mut reader = app.store.read().await?;
        // Sidecars first: a heartbeat that comes in between is then newer than the state, and is left out.
        let sidecars = reader.sidecars().list(&permit, tenant.id).await?;
        let mut page = Page::first(LIMIT_MAX);
        let mut beats = Vec::new();
        for _ in 0..PAGES_MAX {
            let (found, next) = reader.heartbeats().list(&permit, tenant.id, &page).await?;
            beats.extend(found);
            let Some(after) = next else { break };
            page.after = Some(after);
        }
        metered.extend(sidecars.into_iter().filter_map(|sidecar| {
            let own = |beat: &&StoredBeat| beat.sidecar == sidecar.id && beat.counter <= sidecar.counter;
            let beats: Vec<StoredBeat> = beats.iter().filter(own).cloned().collect();
            (!beats.is_empty()).then_some(Metered { sidecar, beats })
        }));
    }
    Ok(metered)
}

/// Heartbeats and the usage of all hours, read while no heartbeat came in between.
async fn standing_still(app: &App) -> Result<(Vec<Metered>, Totals), NoMeans> {
    let permit = sample::permit(app)?;
    for _ in 0..TRIES_MAX {
        let before = metered(app).await?;
        let mut counted = Totals::default();
        let tenants: BTreeSet<TenantId> = before.iter().map(|m| m.sidecar.tenant).collect();
        let mut silent = Totals::default();
        for tenant in tenants {
            let mut reader = app.store.read().await?;
            let to = app.clock.now().plus_ms(1);
            let usage = reader.heartbeats().usage(&permit, tenant, Timestamp::EPOCH, to).await?;
            counted = usage.hours.iter().fold(counted, |sum, hour| add(sum, hour.added));
            // A sidecar whose heartbeats are older than what is looked at swore to what its row says.
            let looked_at: BTreeSet<_> = before.iter().map(|m| m.sidecar.id).collect();
            let rows = reader.sidecars().list(&permit, tenant).await?;
            let others = rows.iter().filter(|row| !looked_at.contains(&row.id));
            silent = others.fold(silent, |sum, row| add(sum, row.totals));
        }
        let after = metered(app).await?;
        if before.iter().map(place).eq(after.iter().map(place)) {
            return Ok((before, counted.zip(silent, u64::saturating_sub)));
        }
    }
    Err(NoMeans::new("heartbeats come in faster than they can be compared: try again"))
}

fn place(metered: &Metered) -> (terms::SidecarId, u64, u64) {
    (metered.sidecar.id, metered.sidecar.counter, metered.sidecar.accepted)
}

/// The gaps that security events report.
async fn reported_gaps(app: &App) -> Result<Reported, NoMeans> {
    let permit = sample::permit(app)?;
    let mut page = Page::first(LIMIT_MAX);
    let mut reported = Reported::default();
    for _ in 0..PAGES_MAX {
        let (events, next) = app.store.read().await?.events().list(&permit, &page).await?;
        reported.since = events.last().map_or(Timestamp::EPOCH, |event| event.time);
        let of_gaps = events.into_iter().filter(|event| event.kind == EventKind::HeartbeatGap);
        reported.gaps.extend(of_gaps.map(|event| (event.resource, event.time)));
        let Some(after) = next else {
            reported.since = Timestamp::EPOCH;
            break;
        };
        page.after = Some(after);
    }
    Ok(reported)
}

fn add(a: Totals, b: Totals) -> Totals {
    a.zip(b, u64::saturating_add)
}

/// All units in one number: equal sums of equal units, and any unit that is off shows.
fn sum(totals: &Totals) -> u64 {
    Totals::UNITS.iter().fold(0, |sum, (_, unit)| unit(totals).saturating_add(sum))
}

fn row(name: &str, expected: &str, actual: &str) -> Row {
    Row { name: name.to_owned(), expected: expected.to_owned(), actual: actual.to_owned() }
}
