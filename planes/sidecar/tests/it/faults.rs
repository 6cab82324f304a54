//! One fault at a time.

use crate::disk::Fault;
use crate::world::{ControlPlane, Host, Runtime, SIDECAR, at, beat, deliver, heartbeat, steps};
use api::heartbeat::{Receipt, ReceiptStatus};
use sidecar::JournalError;
use sidecar::metering::{MeteringError, Notice};
use terms::SidecarId;
use wire::counters::Sample;

#[test]
fn a_full_disk_leaves_nothing_to_send_and_the_counter_is_used_once() {
    for fault in [Fault::AppendAfter(0), Fault::AppendAfter(700), Fault::SyncLoses, Fault::SyncLies] {
        let host = Host::new();
        let mut metering = host.start();
        host.disk.fail_next(fault);
        assert!(matches!(beat(&mut metering, at(0)), Err(MeteringError::Journal(JournalError::Disk(_)))));
        assert!(metering.batch(100).unwrap().is_empty(), "{fault:?}");
        metering.observe(&Sample { epoch: 1, totals: steps(5) });
        beat(&mut metering, at(10)).unwrap();
        let sent = metering.batch(100).unwrap();
        assert_eq!((sent.len(), sent[0].counter), (1, 1), "{fault:?}");
        drop(metering);
        assert_eq!(host.start().batch(100).unwrap(), sent, "the same bytes after a restart");
    }
}

#[test]
fn a_restart_sends_what_waits_as_it_was_and_goes_on_counting() {
    let host = Host::new();
    let mut metering = host.start();
    for n in 0..3 {
        beat(&mut metering, at(n * 10)).unwrap();
    }
    let waiting = metering.batch(100).unwrap();
    let mut metering = host.start();
    assert_eq!(metering.batch(100).unwrap(), waiting);
    beat(&mut metering, at(30)).unwrap();
    let last = heartbeat(&metering.batch(100).unwrap()[3]);
    assert_eq!((last.counter, last.epoch, last.spooled), (4, 2, true));
}

#[test]
fn what_was_answered_is_not_sent_again_after_a_restart() {
    let host = Host::new();
    let mut metering = host.start();
    beat(&mut metering, at(0)).unwrap();
    deliver(&mut metering, &mut ControlPlane::new(SIDECAR), at(0)).unwrap();
    drop(metering);
    assert!(host.start().is_settled());
}

#[test]
fn an_answer_that_could_not_be_kept_costs_one_more_delivery() {
    let host = Host::new();
    let mut metering = host.start();
    let mut control_plane = ControlPlane::new(SIDECAR);
    metering.observe(&Sample { epoch: 1, totals: steps(5) });
    beat(&mut metering, at(0)).unwrap();
    host.disk.fail_next(Fault::AppendAfter(9));
    deliver(&mut metering, &mut control_plane, at(0)).unwrap();
    assert!(metering.is_settled());
    let mut metering = host.start();
    assert!(!metering.is_settled());
    deliver(&mut metering, &mut control_plane, at(5)).unwrap();
    assert_eq!(control_plane.usage, steps(5));
}

#[test]
fn a_torn_end_passes_counters_over_and_is_reported() {
    let host = Host::new();
    let mut metering = host.start();
    beat(&mut metering, at(0)).unwrap();
    host.disk.rot(10);
    let (mut metering, notices) = host.open(SIDECAR).unwrap();
    assert!(matches!(notices[..], [Notice::Recovered { within: false, .. }]));
    assert_eq!(beat(&mut metering, at(10)).unwrap(), [], "nothing is sworn before a sample");
    metering.observe(&Sample { epoch: 1, totals: steps(5) });
    beat(&mut metering, at(10)).unwrap();
    assert!(heartbeat(&metering.batch(100).unwrap()[0]).counter > 2);
}

#[test]
fn spoilt_bytes_between_records_are_passed_over_and_reported() {
    let host = Host::new();
    let mut metering = host.start();
    for n in 0..3 {
        beat(&mut metering, at(n * 10)).unwrap();
    }
    let size = host.disk.size();
    host.disk.rot(size / 2);
    let (metering, notices) = host.open(SIDECAR).unwrap();
    assert!(matches!(notices[..], [Notice::Recovered { within: true, .. }]));
    let left: Vec<_> = metering.batch(100).unwrap().iter().map(|outgoing| outgoing.counter).collect();
    assert_eq!(left, [1, 3]);
}

#[test]
fn the_journal_stays_small_while_heartbeats_are_answered() {
    let host = Host::new();
    let mut metering = host.start();
    let mut control_plane = ControlPlane::new(SIDECAR);
    let mut largest = 0;
    for n in 0..1_500 {
        beat(&mut metering, at(n * 10)).unwrap();
        deliver(&mut metering, &mut control_plane, at(n * 10)).unwrap();
        largest = largest.max(host.disk.size());
    }
    assert!(largest < 1_100_000, "{largest}");
    assert_eq!(control_plane.state.counter, 1_500);
    drop(metering);
    assert!(host.start().is_settled());
}

#[test]
fn a_fork_stops_metering_for_good() {
    for code in
        ["equivocation", "chain_broken", "epoch_went_back", "totals_went_back", "envelope.bad_signature"]
    {
        let host = Host::new();
        let mut metering = host.start();
        beat(&mut metering, at(0)).unwrap();
        beat(&mut metering, at(10)).unwrap();
        let batch = metering.batch(100).unwrap();
        let receipts = [receipt(ReceiptStatus::Accepted, "ok"), receipt(ReceiptStatus::Refused, code)];
        let stopped = metering.settle(&batch, &receipts, "nonce").unwrap_err();
        assert!(matches!(stopped, MeteringError::Forked(why) if why == code));
        let after = host.open(SIDECAR).unwrap_err();
        assert!(matches!(after, MeteringError::Forked(why) if why == code), "also after a restart");
    }
}

#[test]
fn a_refusal_that_accuses_nobody_is_reported_and_metering_goes_on() {
    let host = Host::new();
    let mut metering = host.start();
    for code in ["foreign", "replay", "stale", "too_old", "from_the_future", "time_went_back", "new_code"] {
        beat(&mut metering, at(0)).unwrap();
        let batch = metering.batch(100).unwrap();
        let refused = [receipt(ReceiptStatus::Refused, code)];
        let notices = metering.settle(&batch, &refused, "nonce").unwrap();
        let counter = batch[0].counter;
        assert_eq!(notices, [Notice::Refused { counter, code: code.to_owned() }]);
        assert!(metering.is_settled());
    }
}

#[test]
fn after_a_stale_heartbeat_the_next_one_does_not_claim_to_be_live() {
    let host = Host::new();
    let mut metering = host.start();
    let mut control_plane = ControlPlane::new(SIDECAR);
    metering.observe(&Sample { epoch: 1, totals: steps(7) });
    beat(&mut metering, at(0)).unwrap();
    deliver(&mut metering, &mut control_plane, at(3_600)).unwrap();
    assert_eq!(control_plane.usage, steps(0), "it was found stale");
    beat(&mut metering, at(3_600)).unwrap();
    assert!(heartbeat(&metering.batch(1).unwrap()[0]).spooled);
    deliver(&mut metering, &mut control_plane, at(3_600)).unwrap();
    assert_eq!(control_plane.usage, steps(7));
    beat(&mut metering, at(3_610)).unwrap();
    assert!(!heartbeat(&metering.batch(1).unwrap()[0]).spooled);
}

#[test]
fn an_outage_of_six_days_loses_no_heartbeat_and_one_of_eight_no_usage() {
    let (host, mut runtime) = (Host::new(), Runtime::default());
    let mut metering = host.start();
    let mut control_plane = ControlPlane::new(SIDECAR);
    let hour = 3_600;
    let mut expired = 0;
    for n in 0..8 * 24 {
        runtime.consume(10);
        metering.observe(&runtime.sample());
        for notice in beat(&mut metering, at(n * hour)).unwrap() {
            let Notice::Expired { heartbeats } = notice else { panic!("{notice:?}") };
            expired += heartbeats;
        }
        metering.not_delivered();
        assert_eq!(expired > 0, n * hour > 7 * 24 * hour - 60, "hour {n}");
    }
    let end = at(8 * 24 * hour);
    while !metering.is_settled() {
        deliver(&mut metering, &mut control_plane, end).unwrap();
    }
    assert_eq!((control_plane.usage, &control_plane.accusations[..]), (steps(runtime.consumed), &[][..]));
}

#[test]
fn a_sidecar_that_was_enrolled_anew_swears_only_to_what_the_old_one_was_not_credited_with() {
    let (host, mut runtime) = (Host::new(), Runtime::default());
    let mut metering = host.start();
    let mut old = ControlPlane::new(SIDECAR);
    runtime.consume(100);
    metering.observe(&runtime.sample());
    beat(&mut metering, at(0)).unwrap();
    deliver(&mut metering, &mut old, at(0)).unwrap();
    runtime.consume(11);
    metering.observe(&runtime.sample());
    beat(&mut metering, at(10)).unwrap();
    drop(metering);

    let other = SidecarId::from_bytes([9; 16]);
    let (metering, notices) = host.open(other).unwrap();
    assert_eq!(notices, [Notice::TakenOver { heartbeats: 1 }]);
    drop(metering);
    // A crash before the first heartbeat under the new id changes nothing.
    let (mut metering, _) = host.open(other).unwrap();
    let mut new = ControlPlane::new(other);
    runtime.consume(1);
    metering.observe(&runtime.sample());
    beat(&mut metering, at(20)).unwrap();
    deliver(&mut metering, &mut new, at(20)).unwrap();
    assert_eq!((old.usage, new.usage), (steps(100), steps(12)));
    drop(metering);
    let (metering, notices) = host.open(other).unwrap();
    assert_eq!((notices, metering.is_settled()), (vec![], true));
}

#[test]
fn a_heartbeat_that_nobody_reads_is_given_up_and_its_totals_are_in_the_next_one() {
    let host = Host::new();
    let mut metering = host.start();
    metering.observe(&Sample { epoch: 1, totals: steps(5) });
    beat(&mut metering, at(0)).unwrap();
    let batch = metering.batch(1).unwrap();
    let notice = metering.give_up(&batch[0], "malformed_request");
    assert_eq!(notice, Notice::Refused { counter: 1, code: "malformed_request".to_owned() });
    beat(&mut metering, at(10)).unwrap();
    let next = heartbeat(&metering.batch(1).unwrap()[0]);
    assert_eq!((next.totals, next.spooled), (steps(5), true));
}

#[test]
fn a_clock_that_went_back_is_reported() {
    let host = Host::new();
    let mut metering = host.start();
    beat(&mut metering, at(100)).unwrap();
    assert_eq!(beat(&mut metering, at(40)).unwrap(), [Notice::ClockBehind { seconds: 60 }]);
}

#[test]
fn the_nonce_of_the_last_answer_is_in_the_next_heartbeat_unless_it_is_too_long() {
    let host = Host::new();
    let mut metering = host.start();
    for (nonce, expected) in [("abc", Some("abc")), (&*"x".repeat(65), None), ("", None)] {
        beat(&mut metering, at(0)).unwrap();
        let batch = metering.batch(1).unwrap();
        metering.settle(&batch, &[receipt(ReceiptStatus::Accepted, "ok")], nonce).unwrap();
        beat(&mut metering, at(0)).unwrap();
        let batch = metering.batch(1).unwrap();
        assert_eq!(heartbeat(&batch[0]).nonce.as_deref(), expected);
        metering.settle(&batch, &[receipt(ReceiptStatus::Accepted, "ok")], "").unwrap();
    }
}

fn receipt(status: ReceiptStatus, code: &str) -> Receipt {
    Receipt { counter: None, status, code: code.to_owned() }
}
