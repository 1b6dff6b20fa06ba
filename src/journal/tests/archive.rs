//! A bystander's reading against what recovery does: they see the same damage, and the bystander changes nothing.

use std::fs;
use std::path::Path;

use super::super::{Archive, Kept, Mark, Standing, State, salvage};
use super::*;
use crate::disk::RealDisk;

fn on_disk(dir: &Path) -> Settings {
    Settings { dir: dir.to_owned(), ..settings() }
}

/// Three segments: events of two sources, all kinds of marks, a moved record, then a kill.
fn written(dir: &Path) -> Vec<Event> {
    let (mut journal, _) = open(&RealDisk, &on_disk(dir));
    let mut events = Vec::new();
    for number in 1..=120 {
        let source = if number % 3 == 0 { "bank" } else { "shop" };
        events.push(event(number, source, 1000, number == 5));
        append(&mut journal, &events[number as usize - 1]);
        journal.commit().unwrap();
    }
    for sequence in 6..=110 {
        journal.mark(Sequence(sequence), Mark::Confirmed);
    }
    journal.mark(Sequence(1), Mark::Dropped);
    journal.mark(Sequence(2), Mark::Poisoned);
    journal.mark(Sequence(3), Mark::Superseded);
    journal.mark(Sequence(100), Mark::Replayed);
    journal.raise("shop", Sequence(118));
    journal.commit().unwrap();
    for _ in 0..20 {
        journal.maintain(NOW.plus(Duration::from_secs(7200)), Sequence(60)).unwrap();
    }
    events
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

fn all(archive: &mut Archive) -> Vec<Kept> {
    let mut all = Vec::new();
    archive
        .each::<()>(&mut |kept| {
            all.push(kept);
            Ok(())
        })
        .unwrap()
        .unwrap();
    all
}

#[test]
fn reads_what_the_journal_holds_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let events = written(dir.path());
    let content = |dir: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    };
    let before = content(dir.path());
    let mut archive = Archive::read(dir.path()).unwrap();
    let kept = all(&mut archive);
    let facts = archive.facts().clone();
    assert_eq!(content(dir.path()), before);
    assert!(facts.damaged.is_empty() && facts.unsynced == 0 && facts.aside.is_empty());
    assert_eq!((facts.next, facts.watermarks["shop"]), (Sequence(121), Sequence(118)));
    for kept in &kept {
        assert_eq!(kept.event, events[kept.sequence.0 as usize - 1]);
    }
    let (journal, recovery) = open(&RealDisk, &on_disk(dir.path()));
    assert_eq!(facts.id, journal.replica_id());
    assert!(recovery.damaged.is_empty());
    let survey =
        journal.reader().survey(Position::START, &Default::default(), (1000, u64::MAX), &mut |_| true);
    let found: Vec<_> =
        survey.unwrap().found.into_iter().map(|found| (found.sequence, found.standing)).collect();
    assert_eq!(kept.iter().map(|kept| (kept.sequence, kept.standing)).collect::<Vec<_>>(), found);
    assert!(found.contains(&(Sequence(2), Standing::Live(State::Poisoned))), "it has moved");
    assert!(found.contains(&(Sequence(100), Standing::Live(State::Pending))), "it is a replay");
    let live: u64 = facts.segments.iter().map(|segment| segment.live).sum();
    assert_eq!(live, journal.stats().live_records);
}

#[test]
fn sees_each_damage_that_recovery_sets_aside_and_reads_what_was_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let events = written(dir.path());
    let mut numbers = super::super::segment::numbers(&RealDisk, dir.path()).unwrap();
    numbers.pop();
    let mut salvaged = 0;
    for number in numbers {
        let len = fs::metadata(super::super::segment::path(dir.path(), number)).unwrap().len() as usize;
        for at in (3..len.min(60_000)).step_by(4999) {
            let copy = copy(dir.path());
            let path = super::super::segment::path(copy.path(), number);
            let mut bytes = fs::read(&path).unwrap();
            let sound = bytes[at];
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            let seen = Archive::read(copy.path()).unwrap().facts().clone();
            let (journal, recovery) = open(&RealDisk, &on_disk(copy.path()));
            drop(journal);
            let ranges = |damaged: &[(PathBuf, u64, u64)]| -> Vec<(PathBuf, u64, u64)> { damaged.to_vec() };
            let expected: Vec<_> =
                recovery.damaged.iter().map(|d| (d.file.clone(), d.offset, d.bytes)).collect();
            let found: Vec<_> = seen.damaged.iter().map(|d| (d.file.clone(), d.offset, d.bytes)).collect();
            assert_eq!(ranges(&found), expected, "byte {at} of {number}, {sound:#x}");
            let told = seen.unsynced > 0 || !found.is_empty();
            assert_eq!(told, recovery.truncated_bytes > 0 || !expected.is_empty(), "byte {at} of {number}");
            let after = Archive::read(copy.path()).unwrap();
            assert!(after.facts().damaged.is_empty(), "set aside, not passed over");
            assert_eq!(after.facts().aside.len(), expected.len());
            for file in &after.facts().aside {
                for record in salvage(file).unwrap() {
                    let written = &events[record.sequence.0 as usize - 1];
                    assert_eq!(record.event.envelope(), written.envelope());
                    assert_eq!(record.body_whole, record.event.body() == written.body());
                    salvaged += 1;
                }
            }
        }
    }
    assert!(salvaged > 5, "{salvaged} envelopes read from what was set aside");
}

#[test]
fn a_segment_that_is_missing_between_others_is_told() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let numbers = super::super::segment::numbers(&RealDisk, dir.path()).unwrap();
    assert!(numbers.len() >= 3, "{numbers:?}");
    fs::remove_file(super::super::segment::path(dir.path(), numbers[1])).unwrap();
    let archive = Archive::read(dir.path()).unwrap();
    assert!(archive.facts().damaged.iter().any(|damaged| damaged.what == "commits behind it are missing"));
    assert!(Archive::read(tempfile::tempdir().unwrap().path()).is_err(), "an empty folder is no journal");
}

#[test]
fn a_file_of_any_length_is_told_and_read_as_far_as_a_segment_goes() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let sound = Archive::read(dir.path()).unwrap().facts().clone();
    let first = super::super::segment::path(dir.path(), sound.segments[0].number);
    fs::OpenOptions::new().write(true).open(first).unwrap().set_len(1 << 40).unwrap();
    let facts = Archive::read(dir.path()).unwrap().facts().clone();
    assert_eq!(facts.damaged.len(), 1, "{:?}", facts.damaged);
    assert_eq!(facts.damaged[0].what, "the file is longer than any segment");
    let records =
        |facts: &super::super::Facts| facts.segments.iter().map(|segment| segment.records).sum::<u64>();
    assert_eq!(records(&facts), records(&sound));
}
