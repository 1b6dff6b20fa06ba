//! Measurements, run by hand: `cargo test --release --lib journal::tests::speed -- --ignored --nocapture`.

use std::path::Path;

use super::super::Mark;
use super::*;
use crate::clock::{Clock, System};
use crate::disk::RealDisk;

/// A folder beside the build's own, on a real file system.
fn folder() -> tempfile::TempDir {
    let target = std::env::current_exe().unwrap();
    tempfile::tempdir_in(target.parent().unwrap()).unwrap()
}

fn real(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        segment_bytes: 64 << 20,
        bytes_max: 8 << 30,
        retention: Duration::from_secs(3600),
        upkeep: Upkeep::Thread,
    }
}

/// An event whose record has 1.9 KB.
fn usual(number: u64) -> Event {
    let event = event(number, "shop", 1544, false);
    assert_eq!(Journal::<RealDisk>::record_bytes(&event) / 100, 18);
    event
}

#[test]
#[ignore = "a measurement, not a test"]
fn commits_of_1_16_64_and_256_events() {
    let clock = System::new();
    for batch in [1_u32, 16, 64, 256] {
        let dir = folder();
        let (mut journal, _) = open(&RealDisk, &real(dir.path()));
        let one = usual(1);
        let (mut times, mut staging, mut marking) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        let begun = clock.monotonic();
        while clock.monotonic() - begun < Duration::from_secs(3) {
            let start = clock.monotonic();
            for _ in 0..batch {
                append(&mut journal, &one);
            }
            let staged = clock.monotonic();
            let appended = journal.commit().unwrap().appended;
            let committed = clock.monotonic();
            appended.iter().for_each(|event| journal.mark(event.sequence, Mark::Confirmed));
            marking += clock.monotonic() - committed;
            staging += staged - start;
            times.push(committed - start);
            journal.maintain(NOW, Sequence(u64::MAX - 1)).unwrap();
        }
        let whole = clock.monotonic() - begun;
        times.sort_unstable();
        let events = times.len() as u32 * batch;
        let rate = u64::from(events) * 1000 / whole.as_millis() as u64;
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let (append, mark) = (staging / events, marking / events);
        println!("commits of {batch}: {rate}/s, p50 {p50:?}, p99 {p99:?}, append {append:?}, mark {mark:?}");
    }
}

#[test]
#[ignore = "a measurement, not a test: two gigabytes"]
fn a_start_with_a_million_pending_records() {
    const RECORDS: u64 = 1_000_000;
    let (clock, dir) = (System::new(), folder());
    let (mut journal, _) = open(&RealDisk, &real(dir.path()));
    for number in 1..=RECORDS {
        append(&mut journal, &usual(number));
        if number.is_multiple_of(2048) {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();
    drop(journal);
    let (mut keys, begun) = (0_u64, clock.monotonic());
    let opened = Journal::open(RealDisk, real(dir.path()), NOW, &mut |_| keys += 1);
    let (mut journal, recovery) = opened.unwrap();
    let open = clock.monotonic() - begun;
    append(&mut journal, &usual(1));
    journal.commit().unwrap();
    let first = clock.monotonic() - begun;
    assert_eq!((keys, recovery.live["shop"].pending.records), (RECORDS, RECORDS));
    let begun = clock.monotonic();
    let page = ScanBudget { records: 1024, bytes: 4 << 20 };
    let found = live(&journal.reader(), page).len();
    let scan = clock.monotonic() - begun;
    println!("{RECORDS} pending: open {open:?}, first commit {first:?}; scan of {found} in pages {scan:?}");
}
