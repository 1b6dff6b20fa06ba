//! Retention, compaction, removal, readers beside them, the lock, and the real disk with its helper thread.

use super::super::room::Next;
use super::super::{JournalError, Mark, Shortage, State};
use super::*;
use crate::disk::RealDisk;

const LATER: Timestamp = Timestamp::from_seconds(1_800_010_000);

/// Appends `count` events of 900 bytes, committing each tenth.
fn fill(journal: &mut Journal<impl Disk>, count: u64) {
    for _ in 0..count {
        let number = journal.stats().next_sequence.0;
        append(journal, &event(number, ["shop", "bank"][number as usize % 2], 900, number == 3));
        if number.is_multiple_of(10) {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();
}

fn end(journal: &mut Journal<impl Disk>, sequences: impl Iterator<Item = u64>) {
    sequences.for_each(|sequence| journal.mark(Sequence(sequence), Mark::Confirmed));
    journal.commit().unwrap();
}

fn settle(journal: &mut Journal<impl Disk>, now: Timestamp) {
    let keys = journal.stats().durable_through;
    for _ in 0..50 {
        journal.maintain(now, keys).unwrap();
    }
}

#[test]
fn keeps_confirmed_records_until_retention_and_until_their_keys_are_durable() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    fill(&mut journal, 200);
    end(&mut journal, 1..=200);
    let reader = journal.reader();
    let before = journal.stats();
    settle(&mut journal, NOW);
    assert_eq!(journal.stats().segments, before.segments, "not aged");
    journal.maintain(LATER, Sequence(0)).unwrap();
    journal.maintain(LATER, Sequence(0)).unwrap();
    let first = Position { segment: 1, offset: 64 + 40 };
    assert!(reader.read(Sequence(1), first).unwrap().is_some(), "keys are not durable");
    settle(&mut journal, LATER);
    assert_eq!(journal.stats().segments, 1, "the aged current segment was sealed and left too");
    assert_eq!(journal.stats().live_bytes, 0);
    assert_eq!(reader.read(Sequence(1), first).unwrap(), None);
    let (journal, recovery) = {
        drop(journal);
        open(&disk, &settings())
    };
    assert_eq!((recovery.next_sequence, journal.stats().live_records), (Sequence(201), 0));
}

#[test]
fn what_lies_side_by_side_is_read_at_once_and_each_is_judged_alone() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    fill(&mut journal, 30);
    let reader = journal.reader();
    let page = reader.scan(Position::START, ScanBudget { records: 100, bytes: u64::MAX }).unwrap();
    let mut wanted: Vec<_> =
        page.live.iter().map(|record| (record.sequence, record.position, record.bytes)).collect();
    // A record that is not there, a size that is wrong, and a segment that is gone.
    wanted[5].1.offset += 8;
    wanted[10].2 = 8;
    wanted.push((Sequence(7), Position { segment: 99, offset: 64 }, 900));
    let read = reader.read_all(&wanted);
    assert_eq!(read.len(), wanted.len());
    for ((sequence, position, _), read) in wanted.iter().zip(read) {
        match (read, reader.read(*sequence, *position)) {
            (Ok(read), Ok(alone)) => assert_eq!(read, alone),
            (Err(read), Err(alone)) => assert_eq!(read.to_string(), alone.to_string()),
            (read, alone) => panic!("{sequence}: {read:?} and alone {alone:?}"),
        }
    }
}

#[test]
fn moves_pinning_records_forward_in_order_with_their_state_and_across_a_restart() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    fill(&mut journal, 200);
    let kept = [3, 20, 40, 90, 150];
    end(&mut journal, (1..=200).filter(|sequence| !kept.contains(sequence)));
    journal.mark(Sequence(20), Mark::Poisoned);
    journal.raise("shop", Sequence(150));
    journal.commit().unwrap();
    let reader = journal.reader();
    let before = live(&reader, ALL);
    settle(&mut journal, LATER);
    assert!(reader.scan(Position::START, ALL).is_ok());
    assert_eq!(live(&reader, ALL), moved_size(&before), "same order, positions and states");
    let two = ScanBudget { records: 2, bytes: u64::MAX };
    assert_eq!(live(&reader, two), live(&reader, ALL), "pages agree with the whole");
    for record in live(&reader, ALL) {
        let read = reader.read(record.sequence, record.position).unwrap().unwrap();
        let number = record.sequence.0;
        assert_eq!(read, event(number, ["shop", "bank"][number as usize % 2], 900, number == 3));
    }
    assert_eq!(disk.paths().iter().filter(|path| path.ends_with("0000000000000001.segment")).count(), 0);
    let mut keys = Vec::new();
    let crashed = disk.crash(0);
    let (mut journal, recovery) =
        Journal::open(crashed, settings(), LATER, &mut |entry| keys.push(entry.sequence.0)).unwrap();
    assert_eq!(keys.iter().filter(|sequence| kept.contains(sequence)).count(), kept.len());
    assert_eq!(live(&journal.reader(), ALL), moved_size(&before));
    assert_eq!(recovery.watermarks[&Arc::from("shop")], Sequence(150));
    assert_eq!(recovery.live["bank"].held.records, 1);
    assert_eq!(recovery.live["shop"].poisoned.records, 1);
    journal.mark(Sequence(3), Mark::Released);
    journal.mark(Sequence(40), Mark::Dropped);
    journal.commit().unwrap();
    assert_eq!(journal.reader().state(Sequence(3)), Some(State::Pending));
    assert_eq!(numbers(&live(&journal.reader(), ALL)), [3, 20, 90, 150]);
}

/// A record that moved is longer by its home.
fn moved_size(before: &[LiveRecord]) -> Vec<LiveRecord> {
    before.iter().cloned().map(|record| LiveRecord { bytes: record.bytes + 24, ..record }).collect()
}

#[test]
fn only_unconfirmed_bytes_fill_the_quota() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let one = event(1, "shop", 900, false);
    let bytes = Journal::<MemDisk>::record_bytes(&one);
    for _ in 0..30 {
        fill(&mut journal, 50);
        let through = journal.stats().durable_through.0;
        end(&mut journal, through - 49..=through);
        settle(&mut journal, NOW);
        assert!(journal.stats().bytes <= 8 * SEGMENT, "oldest first, before retention");
    }
    while journal.room(bytes) == Room::Open {
        journal.append(&one);
        journal.commit().unwrap();
    }
    assert_eq!(journal.room(bytes), Room::Full(Shortage::Quota));
    let through = journal.stats().durable_through.0;
    end(&mut journal, through - 60..=through);
    assert_eq!(journal.room(bytes), Room::Open);
    assert_eq!(journal.room(SEGMENT), Room::TooLarge);
}

#[test]
fn whoever_fills_the_next_segment_is_told_how_far_this_one_is() {
    let (mut journal, _) = open(&MemDisk::default(), &settings());
    let ahead = |journal: &Journal<MemDisk>| {
        [SEGMENT / 4, SEGMENT / 2, SEGMENT * 7 / 8].map(|filled| journal.pace.is_ahead(filled, SEGMENT))
    };
    assert_eq!(ahead(&journal), [true; 3]);
    while journal.current.end <= SEGMENT / 2 {
        fill(&mut journal, 1);
    }
    assert_eq!(ahead(&journal), [false, false, true]);
    while journal.current.number == 1 {
        fill(&mut journal, 1);
    }
    assert_eq!(ahead(&journal), [true; 3], "another one begins");
    let large = SEGMENT * 4 / 5;
    journal.next = Next::Underway { bytes: SEGMENT };
    assert_eq!(journal.room(large), Room::Full(Shortage::Disk), "nobody prepares it here");
    assert_eq!(ahead(&journal), [false; 3], "the writer waits, though its segment has space");
}

#[test]
fn refuses_a_second_writer_and_works_with_a_helper_thread_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { dir: dir.path().join("journal"), upkeep: Upkeep::Thread, ..settings() };
    let (mut journal, _) = open(&RealDisk, &settings);
    let second = Journal::open(RealDisk, settings.clone(), NOW, &mut |_| {});
    assert!(matches!(second.err(), Some(JournalError::Locked { .. })));
    fill(&mut journal, 250);
    let id = journal.replica_id().to_owned();
    end(&mut journal, 1..=100);
    let reader = journal.reader();
    let page = reader.scan(Position::START, ScanBudget { records: 1, bytes: u64::MAX }).unwrap();
    settle(&mut journal, LATER);
    assert_eq!(page.live[0].sequence, Sequence(101));
    assert!(reader.read(Sequence(101), page.live[0].position).unwrap().is_some());
    drop(journal);
    let (journal, recovery) = open(&RealDisk, &settings);
    assert_eq!((id.len(), journal.replica_id()), (32, &*id));
    assert_eq!(recovery.next_sequence, Sequence(251));
    assert_eq!(numbers(&live(&journal.reader(), ALL)), (101..=250).collect::<Vec<_>>());
}
