//! Lanes over a real journal: nothing is lost or given out twice, whatever happens in between.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::clock::{Clock, System};
use crate::disk::RealDisk;
use crate::event::{Digest, Envelope, Event, Keys};
use crate::journal::{Journal, Mark, Room, Settings, Upkeep};

const SHOP: &str = "shop";

pub(super) fn open(dir: &Path) -> Journal<RealDisk> {
    let settings = Settings {
        dir: dir.to_owned(),
        segment_bytes: 1 << 20,
        bytes_max: 64 << 20,
        retention: Duration::from_secs(3600),
        upkeep: Upkeep::Inline,
    };
    Journal::open(RealDisk, settings, System::new().now(), &mut |_| {}).unwrap().0
}

fn event(source: &str) -> Event {
    let envelope = Envelope {
        source: source.into(),
        provider: "stripe".into(),
        keys: Keys { message_id: Digest([1; 32]), content: None },
        event_id: "evt_1".into(),
        event_type: "charge.succeeded".into(),
        received_at: Timestamp::from_seconds(1_800_000_000),
        secret: "live".into(),
        content_type: "application/json".into(),
        headers: Vec::new(),
        source_authenticated: false,
        invalid: None,
        twin_of: None,
        held: false,
        redelivery: false,
    };
    Event::restore(envelope, Bytes::from_static(&[b'x'; 60]))
}

/// Appends and makes durable; the lanes are not told.
pub(super) fn append(journal: &mut Journal<RealDisk>, source: &str, count: usize) -> Vec<Appended> {
    let event = event(source);
    let mut appended = Vec::new();
    for _ in 0..count {
        if journal.room(Journal::<RealDisk>::record_bytes(&event)) == Room::Commit {
            appended.extend(journal.commit().unwrap().appended);
        }
        journal.append(&event);
    }
    appended.extend(journal.commit().unwrap().appended);
    appended
}

fn turn(max: usize, now: Duration) -> Turn<'static> {
    Turn { max, each: max, only: None, now }
}

pub(super) fn take(lanes: &Lanes, reader: &Reader<RealDisk>, max: usize) -> Vec<Taken> {
    lanes.take(reader, turn(max, Duration::ZERO), &mut |_, _| true).unwrap()
}

#[test]
fn pushes_beside_takes_lose_nothing_and_double_nothing() {
    const EVENTS: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    let ended = Mutex::new(Vec::new());
    let mut order = Vec::with_capacity(EVENTS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Faster than the taker at first, so that the lane spills, and in the end slower.
            for round in 0..EVENTS / 40 {
                let done = std::mem::take(&mut *ended.lock().unwrap());
                done.iter().for_each(|sequence| journal.mark(*sequence, Mark::Confirmed));
                lanes.push(&append(&mut journal, SHOP, 40));
                done.iter().for_each(|sequence| lanes.ended(&SHOP.into(), *sequence));
                if round > EVENTS / 60 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        while order.len() < EVENTS {
            let taken = take(&lanes, &reader, 100);
            let sequences = taken.iter().map(|taken| taken.entry.sequence);
            ended.lock().unwrap().extend(sequences.clone());
            order.extend(sequences.map(|sequence| sequence.0));
        }
    });
    assert_eq!(order, (1..=EVENTS as u64).collect::<Vec<_>>());
    assert!(take(&lanes, &reader, 100).is_empty());
}

#[test]
fn a_lane_that_cannot_be_read_takes_nothing_from_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let appended = append(&mut journal, SHOP, 5);
    let (lanes, reader) = (Lanes::new(), journal.reader());
    lanes.push(&appended);
    let counts = LaneStats { pending: 1, ..LaneStats::default() };
    lanes.recover(&"damaged".into(), counts, Position::START);
    let file = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let segment =
        file.filter(|path| path.is_file() && path.metadata().unwrap().len() == 1 << 20).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[..8192].iter_mut().skip(100).for_each(|byte| *byte ^= 0xff);
    std::fs::write(&segment, bytes).unwrap();
    // Whichever lane comes first, the readable one's entries are given out, each once.
    let mut given = Vec::new();
    for _ in 0..4 {
        if let Ok(taken) = lanes.take(&reader, turn(2, Duration::ZERO), &mut |_, _| true) {
            given.extend(taken.iter().map(|taken| taken.entry.sequence.0));
        }
    }
    assert_eq!(given, [1, 2, 3, 4, 5]);
    assert!(lanes.take(&reader, turn(2, Duration::ZERO), &mut |_, _| true).is_err(), "and it is told");
}

#[test]
fn what_waits_wakes_in_its_time_and_passed_times_wake_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let appended = append(&mut journal, SHOP, 3);
    let (lanes, reader) = (Lanes::new(), journal.reader());
    lanes.push(&appended);
    let at = Duration::from_secs;
    let [first, second, third] = <[Taken; 3]>::try_from(take(&lanes, &reader, 3)).unwrap();
    assert_eq!(lanes.next_due(at(0)), None);
    lanes.put_back(first, Back::Aside(at(9)));
    lanes.put_back(second, Back::Retry(at(5)));
    lanes.put_back(third, Back::Aside(at(7)));
    let due: Vec<_> = [0, 5, 7, 9].map(|looked| lanes.next_due(at(looked))).into();
    assert_eq!(due, [Some(at(5)), Some(at(7)), Some(at(9)), None]);
    let given = |now| {
        let taken = lanes.take(&reader, turn(9, at(now)), &mut |_, _| true).unwrap();
        taken.iter().map(|taken| taken.entry.sequence.0).collect::<Vec<_>>()
    };
    assert_eq!([given(4), given(5), given(8), given(9)], [vec![], vec![2], vec![3], vec![1]]);
}

#[test]
fn a_lane_with_too_many_aside_gives_out_no_more_until_some_wake() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    lanes.push(&append(&mut journal, SHOP, WAITING_MAX + 500));
    let later = Duration::from_secs(60);
    let mut taken = Vec::new();
    loop {
        let some = take(&lanes, &reader, 256);
        if some.is_empty() {
            break;
        }
        taken.extend(some.iter().map(|taken| taken.entry.sequence.0));
        some.into_iter().for_each(|taken| lanes.put_back(taken, Back::Aside(later)));
    }
    assert!((WAITING_MAX..WAITING_MAX + 256).contains(&taken.len()), "{}", taken.len());
    let again = lanes.take(&reader, turn(10, later), &mut |_, _| true).unwrap();
    assert_eq!(
        again.iter().map(|taken| taken.entry.sequence.0).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
}
