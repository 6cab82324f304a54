//! A sidecar's stored heartbeats: does each follow from the one before, and did each come in its window?

use super::envelope::Opened;
use super::row;
use ::assurance::Row;
use meter::{AGE_MAX_MS, AHEAD_MAX_MS, live_ms};
use serde_json::Value;
use std::collections::BTreeSet;
use store::{SidecarRow, StoredBeat};
use terms::{Digest, SidecarId, Timestamp};
use wire::heartbeat::Totals;

/// Gaps that were reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    /// Of which sidecar, and when the heartbeat behind the gap came.
    pub(super) gaps: BTreeSet<(String, Timestamp)>,
    /// Reports from before this were not read.
    pub(super) since: Timestamp,
}

/// The heartbeats that have a place in the chain, oldest first.
pub(super) struct History {
    sidecar: SidecarId,
    totals: Totals,
    links: Vec<Link>,
}

/// One heartbeat, read without our own types.
struct Link {
    counter: u64,
    prev: String,
    digest: Digest,
    stored_digest: Digest,
    time: Timestamp,
    spooled: bool,
    totals: Vec<u64>,
    received_at: Timestamp,
    accepted: bool,
}

impl Default for Reported {
    /// No gap was reported, ever.
    fn default() -> Self {
        Self { gaps: BTreeSet::new(), since: Timestamp::EPOCH }
    }
}

impl Reported {
    fn explains(&self, resource: &str, time: Timestamp) -> bool {
        time < self.since || self.gaps.contains(&(resource.to_owned(), time))
    }
}

impl History {
    pub(super) fn new(sidecar: &SidecarRow, beats: &[StoredBeat]) -> Self {
        let mut links: Vec<Link> = beats.iter().filter(|beat| beat.in_chain).map(Link::new).collect();
        links.sort_by_key(|link| link.counter);
        Self { sidecar: sidecar.id, totals: sidecar.totals, links }
    }

    /// What the last accepted heartbeat swore to; what the row says if none is looked at.
    pub(super) fn last_sworn(&self) -> Totals {
        let last = self.links.iter().rev().find(|link| link.accepted);
        last.map_or(self.totals, |link| read_totals(&link.totals))
    }

    /// What METER-2 wants of the chain.
    pub(super) fn rows(&self, reported: &Reported) -> Vec<Row> {
        let id = self.sidecar;
        let resource = format!("sidecar/{id}");
        let is_reported = |link: &Link| reported.explains(&resource, link.received_at);
        let bytes = self.links.iter().all(|link| link.digest == link.stored_digest);
        let counters = self.pairs().all(|(a, b)| a.counter < b.counter);
        let gaps = self.pairs().all(|(a, b)| b.counter - a.counter == 1 || is_reported(b));
        let follows = |a: &Link, b: &Link| b.counter - a.counter != 1 || b.prev == a.digest.to_string();
        let chain = self.pairs().all(|(a, b)| a.counter < b.counter && follows(a, b));
        let grow = |a: &Link, b: &Link| a.totals.iter().zip(&b.totals).all(|(before, now)| before <= now);
        let totals = self.pairs().all(|(a, b)| a.totals.len() == b.totals.len() && grow(a, b));
        [("bytes", bytes), ("counters", counters), ("gaps", gaps), ("chain", chain), ("totals", totals)]
            .map(|(part, holds)| {
                row(&format!("stored-{part} {id}"), "ok", if holds { "ok" } else { "broken" })
            })
            .to_vec()
    }

    /// What METER-3 wants of the heartbeats that count.
    pub(super) fn window_row(&self, interval_ms: u64) -> Row {
        let outside = self.links.iter().filter(|link| link.accepted && !link.is_timely(interval_ms)).count();
        let back = self.pairs().filter(|(a, b)| a.accepted && b.accepted && b.time < a.time).count();
        let actual =
            if outside + back == 0 { "ok".to_owned() } else { format!("{} outside", outside + back) };
        row(&format!("stored-heartbeats {}", self.sidecar), "ok", &actual)
    }

    fn pairs(&self) -> impl Iterator<Item = (&Link, &Link)> {
        self.links.iter().zip(self.links.iter().skip(1))
    }
}

impl Link {
    /// Reads a stored heartbeat. What cannot be read is zero, and then does not follow from anything.
    fn new(beat: &StoredBeat) -> Self {
        let opened = Opened::new(&beat.envelope);
        let json = opened.as_ref().map(Opened::json).unwrap_or_default();
        let number = |name: &str| json.get(name).and_then(Value::as_u64).unwrap_or_default();
        let total = |(name, _): &(&str, _)| json.pointer(&format!("/totals/{name}")).and_then(Value::as_u64);
        Self {
            counter: number("counter"),
            prev: json.get("prev").and_then(Value::as_str).unwrap_or_default().to_owned(),
            digest: Digest::sha256(opened.as_ref().map_or(&[][..], |opened| &opened.payload)),
            stored_digest: beat.payload_digest,
            time: Timestamp::from_unix_s(json.get("time").and_then(Value::as_i64).unwrap_or_default()),
            spooled: json.get("spooled").and_then(Value::as_bool).unwrap_or_default(),
            totals: Totals::UNITS.iter().filter_map(total).collect(),
            received_at: beat.received_at,
            accepted: beat.accepted,
        }
    }

    fn is_timely(&self, interval_ms: u64) -> bool {
        let age_ms = self.received_at.ms_since(self.time);
        (-AHEAD_MAX_MS..=AGE_MAX_MS).contains(&age_ms) && (self.spooled || age_ms <= live_ms(interval_ms))
    }
}

/// Totals in the order of [`Totals::UNITS`].
fn read_totals(units: &[u64]) -> Totals {
    let mut units = units.iter().copied();
    let mut next = || units.next().unwrap_or_default();
    Totals {
        executions: next(),
        outcomes: next(),
        steps: next(),
        http_calls: next(),
        wall_time_ms: next(),
        cpu_time_us: next(),
        output_bytes: next(),
        egress_bytes: next(),
        ingress_bytes: next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meter::{Chain, Made};
    use notary::SidecarKey;
    use terms::TenantId;
    use wire::heartbeat::{Integrity, PAYLOAD_TYPE};

    type Edit = fn(&mut Vec<StoredBeat>);

    #[test]
    fn a_chain_as_a_sidecar_makes_it_holds() {
        let history = History::new(&sidecar(), &chain());
        assert_eq!(broken(&history.rows(&Reported::default())), Vec::<String>::new());
        assert_eq!((history.last_sworn().steps, history.window_row(10_000).actual.as_str()), (4, "ok"));
    }

    #[test]
    fn each_way_to_break_a_chain_is_seen() {
        let edits: [(&str, Edit); 4] = [
            ("gaps", |beats| drop(beats.remove(1))),
            ("bytes", |beats| beats[1].payload_digest = Digest::sha256(b"other")),
            ("counters", |beats| beats.push(beats[1].clone())),
            ("chain", |beats| beats[2].envelope = forged()),
        ];
        for (part, edit) in edits {
            let mut beats = chain();
            edit(&mut beats);
            let broken = broken(&History::new(&sidecar(), &beats).rows(&Reported::default()));
            assert!(
                broken.iter().any(|name| name.starts_with(&format!("stored-{part} "))),
                "{part}: {broken:?}"
            );
        }
    }

    #[test]
    fn a_gap_that_was_reported_is_what_was_promised() {
        let mut beats = chain();
        beats.remove(1);
        let resource = format!("sidecar/{}", sidecar().id);
        let received_at = beats[1].received_at;
        let reported = Reported { gaps: [(resource, received_at)].into(), since: Timestamp::EPOCH };
        let unread = Reported { gaps: BTreeSet::new(), since: received_at.plus_ms(1) };
        for explained in [reported, unread] {
            assert_eq!(broken(&History::new(&sidecar(), &beats).rows(&explained)), Vec::<String>::new());
        }
    }

    #[test]
    fn a_heartbeat_outside_its_window_is_seen_unless_it_did_not_count() {
        for late_ms in [-61_000, 20_001, AGE_MAX_MS] {
            let mut beats = chain();
            beats[3].received_at = beats[3].received_at.plus_ms(late_ms);
            assert_eq!(History::new(&sidecar(), &beats).window_row(10_000).actual, "1 outside", "{late_ms}");
            beats[3].accepted = false;
            assert_eq!(History::new(&sidecar(), &beats).window_row(10_000).actual, "ok", "{late_ms}");
        }
    }

    fn broken(rows: &[Row]) -> Vec<String> {
        rows.iter().filter(|row| row.actual != "ok").map(|row| row.name.clone()).collect()
    }

    fn sidecar() -> SidecarRow {
        let now = Timestamp::from_unix_s(100);
        SidecarRow::enrolled(SidecarId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]), [7; 32], now)
    }

    /// Four heartbeats, ten seconds apart.
    fn chain() -> Vec<StoredBeat> {
        let (key, _) = SidecarKey::generate().unwrap();
        let mut chain = Chain::enrolled(sidecar().id, sidecar().tenant).restarted();
        (1..=4_u8)
            .map(|n| {
                let now = Timestamp::from_unix_s(1_000 + 10 * i64::from(n));
                let link = chain.next(made(now, u64::from(n))).unwrap();
                chain = link.next;
                StoredBeat {
                    sidecar: sidecar().id,
                    counter: link.heartbeat.counter,
                    payload_digest: Digest::sha256(&link.payload),
                    envelope: serde_json::to_vec(&key.sign(PAYLOAD_TYPE, &link.payload).unwrap()).unwrap(),
                    received_at: now,
                    accepted: true,
                    in_chain: true,
                    reason: "ok".to_owned(),
                }
            })
            .collect()
    }

    /// A third heartbeat that follows from nothing.
    fn forged() -> Vec<u8> {
        let (key, _) = SidecarKey::generate().unwrap();
        let mut chain = Chain::enrolled(sidecar().id, sidecar().tenant).restarted();
        chain.counter = 2;
        let link = chain.next(made(Timestamp::from_unix_s(1_030), 3)).unwrap();
        serde_json::to_vec(&key.sign(PAYLOAD_TYPE, &link.payload).unwrap()).unwrap()
    }

    fn made(now: Timestamp, steps: u64) -> Made {
        Made {
            now,
            totals: Totals { steps, ..Totals::default() },
            release: "0.1.0".to_owned(),
            integrity: Integrity::UNCHECKED,
            nonce: None,
            spooled: false,
        }
    }
}
