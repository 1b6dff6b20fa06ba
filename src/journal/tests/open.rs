//! What opening refuses, and in which words; what it repairs; and batches to the brim.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::{JournalError, Mark};
use super::*;

fn segment_path(number: u64) -> PathBuf {
    PathBuf::from(format!("/journal/{number:016}.segment"))
}

/// A journal of `count` events over several segments, closed.
fn closed(count: u64) -> MemDisk {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    for number in 1..=count {
        append(&mut journal, &event(number, "shop", 900, false));
        journal.commit().unwrap();
    }
    disk
}

fn refusal(disk: &MemDisk) -> JournalError {
    Journal::open(disk.clone(), settings(), NOW, &mut |_| {}).err().unwrap()
}

fn recheck(bytes: &mut [u8]) {
    let check = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&check.to_le_bytes());
}

#[test]
fn refuses_a_format_that_it_does_not_know_and_changes_nothing() {
    let disk = closed(3);
    disk.edit(&segment_path(1), |bytes| {
        bytes[8] = 2;
        recheck(bytes);
    });
    let before = disk.content(&segment_path(1));
    let refused = refusal(&disk);
    assert!(matches!(refused, JournalError::Version { found: 2, known: 1, .. }));
    assert_eq!(
        refused.to_string(),
        "journal: /journal/0000000000000001.segment has format version 2, this program reads version 1; \
         use the version of hookgate that wrote it"
    );
    assert_eq!(disk.content(&segment_path(1)), before);
}

#[test]
fn refuses_a_segment_of_another_journal_or_place_and_changes_nothing() {
    let (disk, other) = (closed(3), closed(3));
    let foreign = other.content(&segment_path(1));
    disk.edit(&segment_path(1), |bytes| *bytes = foreign.to_vec());
    let refused = refusal(&disk).to_string();
    assert!(refused.contains("says that it is segment 1 of journal"), "{refused}");
    assert!(refused.ends_with("was expected there; move the file away"), "{refused}");
    assert_eq!(disk.content(&segment_path(1)), foreign);

    let disk = closed(3);
    let first = disk.content(&segment_path(1));
    disk.edit(&segment_path(2), |bytes| *bytes = first.to_vec());
    let refused = refusal(&disk).to_string();
    assert!(refused.contains("0000000000000002.segment says that it is segment 1 of"), "{refused}");
}

#[test]
fn files_with_other_names_are_no_segments() {
    let disk = closed(3);
    for name in ["18446744073709551615.segment", "1.segment", "+000000000000009.segment", "notes.txt"] {
        disk.create(&Path::new("/journal").join(name)).unwrap();
    }
    let (journal, recovery) = open(&disk, &settings());
    assert_eq!((recovery.next_sequence, journal.stats().live_records), (Sequence(4), 3));
    assert!(disk.paths().contains(&"/journal/18446744073709551615.segment".into()), "left alone");
}

#[test]
fn a_damaged_or_lost_replica_file_is_restored_from_the_segments() {
    let path = Path::new("/journal/replica");
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[0] ^= 1, |bytes| bytes[40] ^= 1, |bytes| bytes.truncate(20), |bytes| bytes.clear()];
    for damage in damages {
        let disk = closed(3);
        let before = disk.content(path);
        disk.edit(path, damage);
        let (journal, recovery) = open(&disk, &settings());
        assert_eq!(disk.content(path), before);
        assert_eq!(journal.replica_id().as_bytes(), &before[..32]);
        assert!(recovery.damaged.is_empty());
        assert_eq!(numbers(&live(&journal.reader(), ALL)), [1, 2, 3]);
    }
    let disk = closed(3);
    disk.remove(path).unwrap();
    assert_eq!(numbers(&live(&open(&disk, &settings()).0.reader(), ALL)), [1, 2, 3]);
}

#[test]
fn two_damaged_segments_cost_their_damaged_records_alone_and_each_is_told() {
    let disk = closed(150);
    let home = |sequence: u64| {
        let (journal, _) = open(&disk.crash(0), &settings());
        let found = live(&journal.reader(), ALL);
        found[sequence as usize - 1].position
    };
    let (one, two) = (home(10), home(100));
    assert!(one.segment < two.segment);
    for at in [one, two] {
        disk.edit(&segment_path(at.segment), |bytes| bytes[at.offset as usize + 600] ^= 4);
    }
    disk.edit(&segment_path(two.segment), |bytes| bytes[20] ^= 1);
    let (journal, recovery) = open(&disk, &settings());
    let places: Vec<_> = recovery.damaged.iter().map(|report| (report.file.clone(), report.offset)).collect();
    let (first, second) = (segment_path(one.segment), segment_path(two.segment));
    assert_eq!(places, [(first, one.offset), (second.clone(), 0), (second, two.offset)]);
    let found = numbers(&live(&journal.reader(), ALL));
    assert!(found.iter().copied().eq((1..=150).filter(|n| *n != 10 && *n != 100)));
    assert_eq!(recovery.next_sequence, Sequence(151));
    drop(journal);
    assert!(open(&disk, &settings()).1.damaged.is_empty(), "repaired once");
}

#[test]
fn a_file_that_cannot_be_read_stops_the_start_with_its_name_and_changes_nothing() {
    for name in ["0000000000000001.segment", "0000000000000002.segment", "replica"] {
        let disk = closed(100);
        let contents = |disk: &MemDisk| -> BTreeMap<PathBuf, Arc<Vec<u8>>> {
            disk.paths().into_iter().map(|path| (path.clone(), disk.content(&path))).collect()
        };
        let before = contents(&disk);
        let path = Path::new("/journal").join(name);
        disk.set_unreadable(&path);
        let refused = refusal(&disk).to_string();
        assert_eq!(refused, format!("journal: cannot read /journal/{name}: Input/output error (os error 5)"));
        let after = disk.crash_by(usize::MAX, || true);
        let changed = before.iter().filter(|(path, bytes)| contents(&after).get(*path) != Some(*bytes));
        assert!(changed.count() <= 2, "the prepared segment is gone, and the last one cut");
        let (journal, _) = open(&after, &settings());
        assert_eq!(journal.stats().live_records, 100, "readable again, nothing is lost");
    }
}

#[test]
fn a_watermark_raised_behind_a_full_batch_still_fits() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    let (large, small) = (event(1, "shop", 20_000, false), event(2, "shop", 0, false));
    for one in [&large, &small] {
        let bytes = Journal::<MemDisk>::record_bytes(one);
        while journal.room(bytes) == Room::Open {
            journal.append(one);
        }
        assert_eq!(journal.room(bytes), Room::Commit);
    }
    for source in ["shop", "bank", "crm"] {
        journal.raise(source, Sequence(1));
    }
    let commit = journal.commit().unwrap();
    assert_eq!((commit.raised.len(), commit.deferred), (3, 0));
}

#[test]
fn a_segment_that_is_live_throughout_does_not_keep_ended_ones_on_disk() {
    let disk = MemDisk::default();
    let (mut journal, _) = open(&disk, &settings());
    for number in 1..=900 {
        let sequence = append(&mut journal, &event(number, "shop", 900, false));
        journal.commit().unwrap();
        if number > 60 {
            journal.mark(sequence, Mark::Confirmed);
            journal.commit().unwrap();
        }
        let keys = journal.durable_through();
        journal.maintain(NOW, keys).unwrap();
        assert!(journal.stats().bytes <= settings().bytes_max + 3 * SEGMENT, "{:?}", journal.stats());
    }
    journal.commit().unwrap();
    assert_eq!(numbers(&live(&journal.reader(), ALL)), (1..=60).collect::<Vec<_>>());
}
