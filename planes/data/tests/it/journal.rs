//! The journal: whatever a crash leaves, nothing that was told is lost, and nothing else is ever believed.

use crate::rig::{START, World, copy_dir, private_dir, tenant};
use bytes::Bytes;
use data::journal::record::{Accepted, Answered, CallUsage, Ended, Head, Record, Step};
use data::journal::{Fate, Journal, JournalError, Known, Recovered};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use terms::{Digest, ExecutionId, PlanId, Timestamp};
use wire::outcome::{Outcome, Reason, Status};

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let world = World::new();
    let (journal, recovered) = world.open(world.dir.path());
    assert_eq!((recovered.fate, recovered.began_at), (Fate::New, START));
    journal.append(vec![accepted(1, b"plan one")]).await.unwrap();
    journal.append(vec![accepted(2, b"plan two"), intent(2, 1)]).await.unwrap();
    journal.append(vec![ended(1, b"output one")]).await.unwrap();
    journal.close().await;

    let (journal, recovered) = world.open(world.dir.path());
    assert_eq!(recovered.fate, Fate::Whole);
    assert_eq!(recovered.live, [id(2)]);
    assert_eq!(recovered.tickets.len(), 2);
    assert_eq!(recovered.outcomes.iter().map(|o| o.execution_id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(journal.ended(id(1)).await.unwrap().1, "output one");
    let run = journal.run(id(2)).await.unwrap();
    assert_eq!((run[0].body.as_ref(), run.len()), (b"plan two".as_slice(), 2));
}

#[tokio::test]
async fn a_torn_tail_of_any_length_is_cut_back_and_nothing_acknowledged_is_lost() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    journal.append(vec![accepted(1, b"first"), ended(1, b"output")]).await.unwrap();
    journal.close().await;
    let durable = std::fs::read(segment(world.dir.path())).unwrap().len();
    let (journal, _) = world.open(world.dir.path());
    journal.note(accepted(2, b"second")).await.unwrap();
    journal.note(accepted(3, b"third")).await.unwrap();
    journal.close().await;
    let whole = std::fs::read(segment(world.dir.path())).unwrap();

    let mut seen = BTreeMap::new();
    for length in durable..=whole.len() {
        let copy = world.crash();
        std::fs::write(segment(copy.path()), &whole[..length]).unwrap();
        let (journal, recovered) = world.open(copy.path());
        assert_eq!(journal.known(id(1)), Some(Known::Ended), "{length}");
        let known: Vec<_> = [2, 3].into_iter().filter(|n| journal.known(id(*n)).is_some()).collect();
        assert!([vec![], vec![2], vec![2, 3]].contains(&known), "{length}: {known:?}");
        assert_eq!(journal.sample().totals.executions, 1 + known.len() as u64);
        *seen.entry(known.len()).or_insert(0) += 1;
        // And what was cut back takes records again.
        journal.append(vec![accepted(4, b"fourth")]).await.unwrap();
        journal.close().await;
        let (journal, again) = world.open(copy.path());
        assert_eq!(again.fate, Fate::Whole, "{length} after {:?}", recovered.fate);
        assert!(journal.known(id(4)).is_some());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn no_flipped_bit_is_believed_and_none_loses_an_acknowledged_record() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    journal.append(vec![accepted(1, b"first")]).await.unwrap();
    journal.append(vec![ended(1, b"output"), accepted(2, b"second")]).await.unwrap();
    journal.close().await;
    let whole = std::fs::read(segment(world.dir.path())).unwrap();
    let mut refused = 0;
    for at in 0..whole.len() {
        let copy = world.crash();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(segment(copy.path()), &flipped).unwrap();
        match Journal::open(copy.path(), tenant(), true, START) {
            Ok((journal, recovered)) => {
                // Only the vouchers at the very end may go.
                assert_eq!((recovered.tickets.len(), recovered.outcomes.len()), (2, 1), "byte {at}");
                assert_eq!(journal.ended(id(1)).await.unwrap().1, "output", "byte {at}");
            }
            Err(error) => {
                assert!(matches!(error, JournalError::Damaged { .. }), "byte {at}: {error}");
                assert!(error.to_string().contains("backup"), "it says what to do: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > whole.len() - 100, "{refused} of {}", whole.len());
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_named_and_changes_nothing() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    journal.append(vec![accepted(1, b"first")]).await.unwrap();
    journal.close().await;
    let key = world.dir.path().join("root.key");
    let right = std::fs::read(&key).unwrap();

    host::files::write_private_atomically(&key, "00".repeat(32).as_bytes()).unwrap();
    assert!(matches!(open(world.dir.path()), Err(JournalError::WrongKey(_))));
    host::files::write_private_atomically(&key, b"no hex").unwrap();
    assert!(matches!(open(world.dir.path()), Err(JournalError::WrongKey(_))));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(open(world.dir.path()), Err(JournalError::NoKey(_))));
    let manifest = world.dir.path().join("journal/journal.json");
    let text = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    assert!(matches!(open(world.dir.path()), Err(JournalError::NoManifest(_))));

    host::files::write_private_atomically(&key, &right).unwrap();
    host::files::write_private_atomically(&manifest, &text).unwrap();
    let (journal, recovered) = open(world.dir.path()).unwrap();
    assert_eq!((recovered.fate, journal.len()), (Fate::Whole, 1));
}

#[tokio::test]
async fn records_of_another_journal_or_in_another_order_do_not_open() {
    let (one, other) = (World::new(), World::new());
    for world in [&one, &other] {
        let (journal, _) = world.open(world.dir.path());
        journal.append(vec![accepted(1, b"first")]).await.unwrap();
        journal.close().await;
    }
    std::fs::copy(segment(other.dir.path()), segment(one.dir.path())).unwrap();
    assert!(matches!(open(one.dir.path()), Err(JournalError::Damaged { .. })));
}

#[tokio::test]
async fn nothing_of_a_plan_or_an_output_is_readable_on_disk() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    let secret = b"jane@example.com, a marker that is easy to find";
    journal.append(vec![accepted(1, secret), ended(1, secret)]).await.unwrap();
    journal.close().await;
    for entry in std::fs::read_dir(world.dir.path().join("journal")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == &secret[..16]));
    }
}

#[tokio::test]
async fn segments_that_nothing_needs_are_removed_and_totals_stay() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    let plan = vec![b'x'; 1 << 20];
    for number in 1..=40 {
        journal.append(vec![accepted(number, &plan), ended(number, b"{}")]).await.unwrap();
    }
    // One that runs on is needed whole, wherever it began.
    journal.append(vec![accepted(100, b"runs on")]).await.unwrap();
    assert!(segments(world.dir.path()).len() >= 3);
    let acknowledged = (1..=40).map(id).collect();
    journal.append(vec![Record::new(Head::Acknowledged(acknowledged))]).await.unwrap();
    let later = START.plus_ms(26 * 3_600_000);
    let forgotten = journal.sweep(later).await.unwrap();
    assert_eq!(forgotten, Some(START.plus_ms(300_000)));
    assert_eq!(segments(world.dir.path()).len(), 1);
    let before = journal.sample();
    assert_eq!((before.totals.executions, before.totals.outcomes), (41, 40));
    journal.close().await;

    let (journal, recovered) = open(world.dir.path()).unwrap();
    assert_eq!((recovered.fate, recovered.live), (Fate::Whole, vec![id(100)]));
    assert_eq!(journal.sample(), before);
    assert_eq!(journal.run(id(100)).await.unwrap()[0].body, "runs on");
}

#[tokio::test]
async fn a_missing_segment_is_not_taken_for_a_shorter_journal() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    let plan = vec![b'x'; 3 << 20];
    for number in 1..=20 {
        journal.append(vec![accepted(number, &plan)]).await.unwrap();
    }
    journal.close().await;
    let all = segments(world.dir.path());
    assert!(all.len() >= 3);
    for gone in &all[..all.len() - 1] {
        let copy = world.crash();
        std::fs::remove_file(copy.path().join("journal").join(gone.file_name().unwrap())).unwrap();
        assert!(matches!(open(copy.path()), Err(JournalError::Missing(_))), "{gone:?}");
    }
}

#[tokio::test]
async fn a_long_run_moves_whole_when_the_journal_is_pressed() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    journal.append(vec![accepted(1, b"long"), intent(1, 1), done(1, 1, b"answer")]).await.unwrap();
    let plan = vec![b'x'; 8 << 20];
    for number in 2..=40 {
        journal.append(vec![accepted(number, &plan), ended(number, b"{}")]).await.unwrap();
    }
    let before = (journal.run(id(1)).await.unwrap(), journal.sample());
    let kept = journal.ended(id(2)).await.unwrap();
    let first = segments(world.dir.path())[0].clone();
    journal.sweep(START).await.unwrap();
    assert!(!first.exists(), "the oldest segment was freed");
    assert_eq!((journal.run(id(1)).await.unwrap(), journal.sample()), before);
    assert_eq!(journal.ended(id(2)).await.unwrap(), kept);
    journal.append(vec![intent(1, 2)]).await.unwrap();
    journal.close().await;

    let (journal, recovered) = open(world.dir.path()).unwrap();
    assert_eq!(recovered.live, [id(1)]);
    assert_eq!(recovered.tickets.iter().filter(|ticket| ticket.execution_id == id(1)).count(), 1);
    let run = journal.run(id(1)).await.unwrap();
    assert_eq!((&run[..3], run.len()), (before.0.as_slice(), 4));
    assert_eq!(journal.ended(id(2)).await.unwrap(), kept);
    assert_eq!((recovered.tickets.len(), recovered.outcomes.len()), (40, 39));
    assert_eq!(journal.sample(), before.1);
}

#[tokio::test]
async fn a_segment_that_a_crash_kept_from_being_removed_is_removed_at_the_next_start() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    let plan = vec![b'x'; 3 << 20];
    for number in 1..=20 {
        journal.append(vec![accepted(number, &plan), ended(number, b"{}")]).await.unwrap();
    }
    journal.append(vec![Record::new(Head::Acknowledged((1..=20).map(id).collect()))]).await.unwrap();
    let before = world.crash();
    journal.sweep(START.plus_ms(26 * 3_600_000)).await.unwrap();
    let sample = journal.sample();
    journal.close().await;
    let last_removed = segments(before.path()).into_iter().rev().nth(1).unwrap();
    let back = world.dir.path().join("journal").join(last_removed.file_name().unwrap());
    std::fs::copy(last_removed, &back).unwrap();

    let (journal, recovered) = open(world.dir.path()).unwrap();
    assert_eq!((recovered.fate, journal.sample()), (Fate::Whole, sample));
    assert!(!back.exists());
}

#[tokio::test]
async fn a_full_disk_refuses_and_later_takes_the_same_records() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    // A record over the bound stands for a write that the system refuses: it is known not to be there.
    let huge = vec![0; 65 << 20];
    assert!(journal.append(vec![accepted(1, &huge)]).await.is_err());
    assert_eq!(journal.known(id(1)), None);
    journal.append(vec![accepted(1, b"small")]).await.unwrap();
    journal.close().await;
    let (_, recovered) = open(world.dir.path()).unwrap();
    assert_eq!((recovered.fate, recovered.live), (Fate::Whole, vec![id(1)]));
}

/// One step of the model.
#[derive(Debug, Clone)]
enum Action {
    Accept(u8),
    End(u8),
    Note(u8),
    Cancel(u8),
    /// A crash that leaves so much (of 255) of what was never acknowledged.
    Crash(u8),
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1_u8..12).prop_map(Action::Accept),
        3 => (1_u8..12).prop_map(Action::End),
        2 => (1_u8..12).prop_map(Action::Note),
        1 => (1_u8..12).prop_map(Action::Cancel),
        2 => any::<u8>().prop_map(Action::Crash),
        1 => Just(Action::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_what_was_acknowledged_and_at_most_a_prefix_more(
        actions in proptest::collection::vec(action(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(model(actions));
    }
}

/// Runs actions against the journal and against a plain map.
async fn model(actions: Vec<Action>) {
    let world = World::new();
    let mut dir = private_dir();
    copy_dir(world.dir.path(), dir.path());
    let (mut journal, _) = world.open(dir.path());
    // What is durable for certain, and what may be.
    let mut durable: BTreeMap<u8, Known> = BTreeMap::new();
    let mut maybe: Vec<u8> = Vec::new();
    let mut certain_length = length(dir.path());
    for action in actions {
        match action {
            Action::Accept(n) if !durable.contains_key(&n) && !maybe.contains(&n) => {
                journal.append(vec![accepted(n, &[n; 300])]).await.unwrap();
                durable.extend(maybe.drain(..).map(|n| (n, Known::Live)));
                durable.insert(n, Known::Live);
                certain_length = length(dir.path());
            }
            Action::End(n) if durable.get(&n) == Some(&Known::Live) => {
                journal.append(vec![ended(n, &[n; 40])]).await.unwrap();
                durable.extend(maybe.drain(..).map(|n| (n, Known::Live)));
                durable.insert(n, Known::Ended);
                certain_length = length(dir.path());
            }
            Action::Cancel(n) if durable.get(&n) == Some(&Known::Live) => {
                journal.append(vec![Record::new(Head::Cancelled(id(n)))]).await.unwrap();
                durable.extend(maybe.drain(..).map(|n| (n, Known::Live)));
                certain_length = length(dir.path());
            }
            Action::Note(n) if !durable.contains_key(&n) && !maybe.contains(&n) => {
                journal.note(accepted(n, &[n; 300])).await.unwrap();
                maybe.push(n);
            }
            Action::Accept(_) | Action::End(_) | Action::Cancel(_) | Action::Note(_) => {}
            Action::Crash(left) => {
                journal.close().await;
                let whole = length(dir.path());
                let cut = certain_length + (whole - certain_length) * usize::from(left) / 255;
                dir = cut_at(&dir, cut);
                journal = check(&world, dir.path(), &mut durable, &mut maybe).await;
                certain_length = length(dir.path());
            }
            Action::Close => {
                journal.close().await;
                durable.extend(maybe.drain(..).map(|n| (n, Known::Live)));
                journal = check(&world, dir.path(), &mut durable, &mut maybe).await;
                certain_length = length(dir.path());
            }
        }
    }
}

/// Opens and compares; what was only noted may be there, in order.
async fn check(world: &World, dir: &Path, durable: &mut BTreeMap<u8, Known>, maybe: &mut Vec<u8>) -> Journal {
    let (journal, recovered) = world.open(dir);
    for (n, known) in durable.iter() {
        assert_eq!(journal.known(id(*n)), Some(*known), "execution {n}");
        match known {
            Known::Ended => assert_eq!(journal.ended(id(*n)).await.unwrap().1, vec![*n; 40]),
            Known::Live => assert_eq!(journal.run(id(*n)).await.unwrap()[0].body, vec![*n; 300]),
        }
    }
    let there: Vec<u8> = maybe.iter().copied().take_while(|n| journal.known(id(*n)).is_some()).collect();
    assert_eq!(journal.len(), durable.len() + there.len(), "nothing else, and no gaps");
    durable.extend(there.into_iter().map(|n| (n, Known::Live)));
    maybe.clear();
    assert_eq!(recovered.tickets.len(), durable.len());
    let totals = journal.sample().totals;
    let ended = durable.values().filter(|known| **known == Known::Ended).count();
    assert_eq!((totals.executions, totals.outcomes), (durable.len() as u64, ended as u64));
    journal
}

fn cut_at(dir: &TempDir, length: usize) -> TempDir {
    let copy = private_dir();
    copy_dir(dir.path(), copy.path());
    let path = segment(copy.path());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..length]).unwrap();
    copy
}

fn open(dir: &Path) -> Result<(Journal, Recovered), JournalError> {
    Journal::open(dir, tenant(), true, START)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    found.sort();
    found
}

/// The only segment.
fn segment(dir: &Path) -> PathBuf {
    segments(dir).pop().unwrap()
}

fn length(dir: &Path) -> usize {
    usize::try_from(std::fs::metadata(segment(dir)).unwrap().len()).unwrap()
}

fn id(n: u8) -> ExecutionId {
    ExecutionId::from_bytes([n; 16])
}

fn accepted(n: u8, plan: &[u8]) -> Record {
    let accepted = Accepted {
        issuer: "https://control.example".to_owned(),
        plan_id: PlanId::from_bytes([n; 16]),
        execution_id: id(n),
        plan_hash: Digest::sha256(plan),
        issued_at: START,
        expires_at: START.plus_ms(300_000),
        at: START,
    };
    Record { head: Head::Accepted(accepted), body: Bytes::copy_from_slice(plan) }
}

fn step(n: u8, number: u64) -> Step {
    Step { execution_id: id(n), number, at: START }
}

fn intent(n: u8, number: u64) -> Record {
    Record::new(Head::Intent(step(n, number)))
}

fn done(n: u8, number: u64, body: &'static [u8]) -> Record {
    let usage = CallUsage { sent: 1, out: 10, in_: 20 };
    let answered = Answered::Http { status: 200, headers: vec![], usage };
    Record { head: Head::Done(step(n, number), answered), body: Bytes::from_static(body) }
}

fn ended(n: u8, output: &[u8]) -> Record {
    let outcome = Outcome {
        execution_id: id(n),
        tenant_id: tenant(),
        plan_id: PlanId::from_bytes([n; 16]),
        plan_hash: Digest::sha256(b""),
        status: Status::Completed,
        reason: Reason::Ok,
        accepted_at: START,
        finished_at: Timestamp::from_unix_ms(START.unix_ms() + 5),
        wall_time_ms: 5,
        steps: 3,
        http_calls: 0,
        resumes: 0,
        output_bytes: output.len() as u64,
        output_digest: Digest::sha256(output),
    };
    Record { head: Head::Ended(Ended { outcome }), body: Bytes::copy_from_slice(output) }
}
