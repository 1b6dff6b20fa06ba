//! Every cut and every flipped bit of a small segment; torn commits; failing changes; a full disk.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::{Mark, Shortage};
use super::*;

/// Twelve events in four commits, marks for two, and a watermark, then a kill.
fn small() -> (MemDisk, PathBuf, Vec<Event>) {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let events: Vec<_> = (1..=12).map(|number| event(number, "shop", 40, number == 5)).collect();
    for commit in events.chunks(3) {
        for event in commit {
            append(&mut journal, event);
        }
        journal.commit().unwrap();
    }
    journal.mark(Sequence(2), Mark::Confirmed);
    journal.mark(Sequence(7), Mark::Poisoned);
    journal.raise("shop", Sequence(9));
    journal.commit().unwrap();
    (disk.crash(0), PathBuf::from("/journal/0000000000000001.segment"), events)
}

/// Opens, and checks that every live record is one that was written; returns their numbers.
fn check(disk: &MemDisk, events: &[Event]) -> (Vec<u64>, Recovery) {
    let (journal, recovery) = open(disk, &settings());
    let reader = journal.reader();
    let found = live(&reader, ALL);
    for record in &found {
        let read = reader.read(record.sequence, record.position).unwrap().unwrap();
        assert_eq!(read, events[record.sequence.0 as usize - 1], "no record is invented");
    }
    let counted: u64 =
        recovery.live.values().map(|c| c.pending.records + c.held.records + c.poisoned.records).sum();
    assert_eq!(counted, found.len() as u64);
    (numbers(&found), recovery)
}

fn used(disk: &MemDisk, path: &Path) -> usize {
    let bytes = disk.content(path);
    let zeroes = bytes.rchunks(64).take_while(|piece| **piece == [0; 64]).count() * 64;
    bytes[..bytes.len() - zeroes].iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn keeps_all_and_only_what_was_written_before_any_cut() {
    let (disk, path, events) = small();
    let mut before = 0;
    for len in 0..=used(&disk, &path).next_multiple_of(8) {
        let cut = disk.crash(0);
        cut.edit(&path, |bytes| bytes.truncate(len));
        let (found, recovery) = check(&cut, &events);
        let through = found.last().copied().unwrap_or(0);
        let whole: Vec<u64> = (1..=through).filter(|n| found.len() > 11 || *n != 2 || through < 12).collect();
        assert!(found == whole || found.len() == 11, "{len}: {found:?}");
        assert!(through >= before, "a longer file never holds less");
        assert!(recovery.damaged.is_empty(), "a torn tail is no damage");
        before = through;
    }
    assert_eq!(before, 12);
}

/// Of every 19th bit; `flips` takes each, of a larger segment.
#[test]
fn loses_at_most_the_record_that_a_flipped_bit_hit_and_says_so() {
    let (disk, path, events) = small();
    for bit in (0..used(&disk, &path) * 8).step_by(19) {
        let flipped = disk.crash(0);
        flipped.edit(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (found, recovery) = check(&flipped, &events);
        let told = !recovery.damaged.is_empty() || recovery.truncated_bytes > 0;
        let lost = (1..=12_u64).filter(|n| *n != 2 && !found.contains(n)).count();
        assert!(lost <= usize::from(told), "bit {bit}: {found:?}");
        assert!(told || !found.contains(&2), "bit {bit}: a lost mark is told");
        assert!(recovery.next_sequence > Sequence(12));
        for report in &recovery.damaged {
            assert_eq!(flipped.content(&report.aside).len() as u64, report.bytes);
        }
        let (again, second) = check(&flipped, &events);
        assert_eq!(again, found);
        assert!(second.damaged.is_empty() && second.truncated_bytes == 0, "repaired once");
    }
}

#[test]
fn keeps_the_whole_records_of_a_torn_commit_and_every_earlier_one() {
    let (disk, _, mut events) = small();
    let (mut journal, _) = open(&disk, &settings());
    for number in 13..=16 {
        events.push(event(number, "shop", 60, false));
        append(&mut journal, &events[number as usize - 1]);
    }
    let path = PathBuf::from("/journal/0000000000000003.segment");
    let start = used(&disk, &path);
    journal.commit().unwrap();
    for len in start..used(&disk, &path) {
        let torn = disk.crash(0);
        torn.edit(&path, |bytes| bytes[len..].fill(0));
        let (found, _) = check(&torn, &events);
        assert_eq!(found[..11], [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(found[11..], [13, 14, 15, 16][..found.len() - 11]);
    }
}

#[test]
fn what_a_start_calls_kept_is_synced_though_an_earlier_one_was_killed_at_any_step() {
    for failed_sync in [false, true] {
        for step in 1..40 {
            let disk = MemDisk::default();
            let (mut journal, _) = open(&disk, &settings());
            let events: Vec<_> = (1..=3).map(|number| event(number, "shop", 60, false)).collect();
            append(&mut journal, &events[0]);
            journal.commit().unwrap();
            events[1..].iter().for_each(|event| assert!(append(&mut journal, event) > Sequence(1)));
            // Its write is the first change, its sync the second.
            disk.fail_at(Some(2));
            journal.commit().unwrap_err();
            drop(journal);
            if !failed_sync {
                disk.keep_what_a_sync_lost();
            }
            disk.fail_at(Some(step));
            drop(Journal::open(disk.clone(), settings(), NOW, &mut |_| {}));
            disk.fail_at(None);
            if !failed_sync {
                disk.keep_what_a_sync_lost();
            }
            let (journal, _) = open(&disk, &settings());
            let kept = numbers(&live(&journal.reader(), ALL));
            assert_eq!(kept, [1, 2, 3], "the system's memory has them all");
            assert!(journal.receipt(Sequence(3)).is_some());
            let (found, _) = check(&disk.crash(0), &events);
            assert_eq!(found, [1, 2, 3], "step {step}: a receipt was given for what a power loss takes away");
        }
    }
}

#[test]
fn is_poisoned_by_the_first_failure_and_recovers_all_that_was_acknowledged() {
    for change in 1..200 {
        let disk = MemDisk::default();
        let events: Vec<_> = (1..=400).map(|number| event(number, "shop", 700, false)).collect();
        let (mut journal, _) = open(&disk, &settings());
        disk.fail_at(Some(change));
        let mut kept = 0;
        for event in events.iter() {
            if journal.room(Journal::<MemDisk>::record_bytes(event)) != Room::Open {
                break;
            }
            let sequence = journal.append(event);
            let Ok(commit) = journal.commit() else { break };
            kept = commit.receipt(sequence).unwrap().sequence().0;
        }
        assert!(kept < 400, "the quota or the failure ends it");
        if let Err(fault) = journal.commit() {
            disk.fail_at(None);
            assert_eq!(journal.commit().unwrap_err().to_string(), fault.to_string(), "final");
        }
        assert!(journal.receipt(Sequence(kept + 1)).is_none());
        drop(journal);
        for torn in [0, 1, 500, 5000] {
            let (found, recovery) = check(&disk.crash(torn), &events);
            assert!(found.len() as u64 >= kept && found.iter().copied().eq(1..=found.len() as u64));
            assert!(recovery.damaged.is_empty(), "change {change}, {torn} bytes");
        }
    }
}

#[test]
fn a_full_disk_closes_the_room_before_a_write_fails_and_marks_still_go_through() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let one = event(1, "shop", 900, false);
    let bytes = Journal::<MemDisk>::record_bytes(&one);
    disk.set_full(true);
    let mut count = 0;
    while journal.room(bytes) == Room::Open {
        journal.append(&one);
        journal.commit().unwrap();
        count += 1;
    }
    assert_eq!(journal.room(bytes), Room::Full(Shortage::Disk));
    assert!(count > 60);
    for sequence in 1..=count {
        journal.mark(Sequence(sequence), Mark::Confirmed);
        assert_eq!(journal.commit().unwrap().deferred, 0);
    }
    disk.set_full(false);
    journal.maintain(NOW, Sequence(0)).unwrap();
    assert_eq!(journal.room(bytes), Room::Full(Shortage::Disk), "tried once a second");
    journal.maintain(NOW.plus(Duration::from_secs(1)), Sequence(0)).unwrap();
    assert_eq!(journal.room(bytes), Room::Open);
}

#[test]
fn on_a_full_disk_confirmed_segments_leave_one_by_one_as_space_is_needed() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let one = event(1, "shop", 900, false);
    let bytes = Journal::<MemDisk>::record_bytes(&one);
    let count = fill_until_short(&disk, &mut journal, &one, ErrorKind::StorageFull);
    let before = journal.stats().segments;
    assert!(before >= 3, "{before} segments of eight that are allowed");
    journal.maintain(NOW, Sequence(count)).unwrap();
    assert_eq!(journal.stats().segments, before, "nothing is confirmed");
    confirm(&mut journal, count);
    journal.maintain(NOW, Sequence(0)).unwrap();
    assert_eq!(journal.stats().segments, before, "their keys are not durable");
    assert!(journal.waits_for_keys(NOW, Sequence(0)));
    journal.maintain(NOW, Sequence(count)).unwrap();
    assert_eq!(journal.stats().segments, before - 1, "the oldest has made room");
    disk.set_full(false);
    journal.maintain(NOW, Sequence(count)).unwrap();
    assert_eq!((journal.room(bytes), journal.stats().segments), (Room::Open, before - 1), "the others stay");
}

#[test]
fn where_memory_or_file_descriptors_are_short_no_history_is_given_up() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let one = event(1, "shop", 900, false);
    let bytes = Journal::<MemDisk>::record_bytes(&one);
    let count = fill_until_short(&disk, &mut journal, &one, ErrorKind::OutOfMemory);
    let before = journal.stats().segments;
    confirm(&mut journal, count);
    journal.maintain(NOW, Sequence(count)).unwrap();
    assert_eq!((journal.room(bytes), journal.stats().segments), (Room::Full(Shortage::Disk), before));
    disk.set_short(None);
    journal.maintain(NOW.plus(Duration::from_secs(1)), Sequence(count)).unwrap();
    assert_eq!((journal.room(bytes), journal.stats().segments), (Room::Open, before));
}

/// Fills a journal, from some event on a disk that is short of something, until there is no room: so many events.
fn fill_until_short(disk: &MemDisk, journal: &mut Journal<MemDisk>, one: &Event, of: ErrorKind) -> u64 {
    let bytes = Journal::<MemDisk>::record_bytes(one);
    let mut count = 0;
    while journal.room(bytes) == Room::Open {
        disk.set_short((count > 180).then_some(of));
        journal.append(one);
        journal.commit().unwrap();
        count += 1;
    }
    count
}

fn confirm(journal: &mut Journal<MemDisk>, count: u64) {
    (1..=count).for_each(|sequence| journal.mark(Sequence(sequence), Mark::Confirmed));
    while journal.commit().unwrap().deferred > 0 {}
}
