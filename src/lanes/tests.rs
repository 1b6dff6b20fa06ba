//! Lanes over a real journal: nothing is lost or given out twice, whatever happens in between.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::lane::{ASIDE_MAX, READY_MAX};
use super::*;
use crate::clock::{Clock, System, Timestamp};
use crate::disk::RealDisk;
use crate::event::{Digest, Envelope, Event, Keys, Sequence};
use crate::journal::{Appended, Journal, Mark, Position, Reader, Room, Settings, State, Upkeep};
use crate::metrics::{LaneStats, Stand};

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
        unauthenticated: false,
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
    Turn { max, bytes: u64::MAX, shared: false, only: None, now }
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
    let ended = Mutex::new(Vec::<Taken>::new());
    let mut order = Vec::with_capacity(EVENTS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Faster than the taker at first, so that the lane spills, and in the end slower.
            for round in 0..EVENTS / 40 {
                let done = std::mem::take(&mut *ended.lock().unwrap());
                done.iter().for_each(|taken| journal.mark(taken.entry.sequence, Mark::Confirmed));
                lanes.push(&append(&mut journal, SHOP, 40));
                done.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, Duration::ZERO));
                if round > EVENTS / 60 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        while order.len() < EVENTS {
            let taken = take(&lanes, &reader, 100);
            order.extend(taken.iter().map(|taken| taken.entry.sequence.0));
            ended.lock().unwrap().extend(taken);
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
    lanes.put_back(first, Back::Aside(at(9), Why::Unroutable), at(0));
    lanes.put_back(second, Back::Retry(at(5)), at(0));
    lanes.put_back(third, Back::Aside(at(7), Why::Delayed), at(0));
    let due: Vec<_> = [0, 5, 7, 9].map(|looked| lanes.next_due(at(looked))).into();
    assert_eq!(due, [Some(at(5)), Some(at(7)), Some(at(9)), None]);
    let given = |now| {
        let taken = lanes.take(&reader, turn(9, at(now)), &mut |_, _| true).unwrap();
        taken.iter().map(|taken| taken.entry.sequence.0).collect::<Vec<_>>()
    };
    assert_eq!([given(4), given(5), given(8), given(9)], [vec![], vec![2], vec![3], vec![1]]);
}

/// Counts appended records as the acceptance thread does.
pub(super) fn push(lanes: &Lanes, appended: &[Appended]) {
    for record in appended {
        let row = lanes.account().row(&record.source);
        lanes.account().recovered(row, if record.held { Stand::Held } else { Stand::Pending }, 1);
    }
    lanes.push(appended);
}

pub(super) fn stood(lanes: &Lanes, stand: Stand) -> u64 {
    lanes.account().standing(lanes.account().row(SHOP)).of(stand)
}

fn sequences(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|taken| taken.entry.sequence.0).collect()
}

#[test]
fn more_aside_than_memory_holds_stop_no_newer_one_and_come_again_later() {
    const MANY: usize = ASIDE_MAX + 1500;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    push(&lanes, &append(&mut journal, SHOP, MANY));
    let later = Duration::from_secs(5);
    let mut tried = 0;
    let aside = |taken: Taken| lanes.put_back(taken, Back::Aside(later, Why::Unroutable), Duration::ZERO);
    while tried < MANY {
        let some = take(&lanes, &reader, 256);
        assert!(!some.is_empty(), "stopped after {tried}");
        tried += some.len();
        some.into_iter().for_each(aside);
    }
    assert_eq!((stood(&lanes, Stand::Unroutable), stood(&lanes, Stand::Pending)), (MANY as u64, 0));
    assert!(lanes.stats()[0].1.oldest.is_some());
    // Newer ones pass all of them.
    push(&lanes, &append(&mut journal, SHOP, 2));
    let newer = take(&lanes, &reader, 10);
    assert_eq!(sequences(&newer), [MANY as u64 + 1, MANY as u64 + 2]);
    newer.iter().for_each(|taken| {
        journal.mark(taken.entry.sequence, Mark::Confirmed);
        lanes.ended(taken, Mark::Confirmed, Duration::ZERO);
    });
    journal.commit().unwrap();
    // One that only the journal knows is dropped meanwhile.
    let dropped = Sequence(ASIDE_MAX as u64 + 7);
    assert!(lanes.withdraw(&SHOP.into(), dropped, Timestamp::default()));
    journal.mark(dropped, Mark::Dropped);
    journal.commit().unwrap();
    lanes.dropped(&SHOP.into(), dropped, State::Pending);
    // All others come again, those in memory first, each once.
    let mut again = Vec::new();
    assert_eq!(lanes.next_due(Duration::ZERO), Some(later));
    assert_eq!(lanes.next_due(later), Some(later + Duration::from_secs(60)));
    let now = later + Duration::from_secs(60);
    while again.len() < MANY - 1 {
        let some = lanes.take(&reader, turn(1000, now), &mut |_, _| true).unwrap();
        assert!(!some.is_empty(), "{} came", again.len());
        some.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, now));
        again.extend(sequences(&some));
    }
    let expected = (1..=MANY as u64).filter(|sequence| *sequence != dropped.0);
    assert!(again.into_iter().eq(expected), "all of them, in order");
    let stands = Stand::ALL.map(|stand| stood(&lanes, stand));
    assert_eq!(stands, [0, 0, 0, 0, 0, MANY as u64 + 1, 0, 1]);
}

#[test]
fn what_was_left_to_the_journal_and_is_read_early_is_counted_once() {
    const LEFT: usize = 500;
    const MANY: usize = ASIDE_MAX + LEFT;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    push(&lanes, &append(&mut journal, SHOP, MANY + 1));
    let later = Duration::from_secs(5);
    let first = take(&lanes, &reader, 1).remove(0);
    journal.mark(first.entry.sequence, Mark::Confirmed);
    journal.commit().unwrap();
    lanes.ended(&first, Mark::Confirmed, Duration::ZERO);
    let mut aside = 0;
    while aside < MANY {
        let some = take(&lanes, &reader, 256);
        aside += some.len();
        let wait = |taken| lanes.put_back(taken, Back::Aside(later, Why::Unroutable), Duration::ZERO);
        some.into_iter().for_each(wait);
    }
    // A replay of what lies before them makes the lane read them all again, long before their time.
    journal.mark(first.entry.sequence, Mark::Replayed);
    journal.commit().unwrap();
    lanes.again(&SHOP.into(), Again { replayed: 1, ..Again::none(first.entry.position) });
    let stands = || [Stand::Unroutable, Stand::Pending, Stand::Confirmed].map(|stand| stood(&lanes, stand));
    let mut out = Vec::new();
    while out.len() <= LEFT {
        let some = take(&lanes, &reader, 256);
        assert!(!some.is_empty(), "{} came", out.len());
        out.extend(some);
    }
    assert!(take(&lanes, &reader, 256).is_empty());
    assert_eq!(stands(), [ASIDE_MAX as u64, LEFT as u64 + 1, 1]);
    out.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, Duration::ZERO));
    assert_eq!(stands(), [ASIDE_MAX as u64, 0, LEFT as u64 + 2]);
    let rest = lanes.take(&reader, turn(MANY, later), &mut |_, _| true).unwrap();
    assert_eq!(rest.len(), ASIDE_MAX);
    rest.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, later));
    assert_eq!(stands(), [0, 0, MANY as u64 + 2]);
}

/// Three lanes with enough for every window.
fn three(journal: &mut Journal<RealDisk>) -> (Lanes, [Arc<str>; 3]) {
    let (lanes, names) = (Lanes::new(), ["a", "b", "c"].map(Arc::from));
    for name in &names {
        push(&lanes, &append(journal, name, 500));
    }
    (lanes, names)
}

fn shared(max: usize, now: Duration) -> Turn<'static> {
    Turn { shared: true, ..turn(max, now) }
}

#[test]
fn lanes_without_confirms_leave_room_in_the_window_for_the_others() {
    const WINDOW: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, [_, _, lively]) = three(&mut journal);
    let reader = journal.reader();
    // Two lanes get no confirm for anything; the third gets all of them at once.
    let (mut out, mut through) = (0, 0);
    for turn in 0..100 {
        let now = Duration::from_millis(turn);
        for taken in lanes.take(&reader, shared(WINDOW - out, now), &mut |_, _| true).unwrap() {
            if taken.source == lively {
                lanes.ended(&taken, Mark::Confirmed, now);
                through += 1;
            } else {
                out += 1;
            }
        }
    }
    assert_eq!(through, 500, "{out} of {WINDOW} are taken by others");
    assert!((40..=WINDOW * 3 / 4).contains(&out), "{out} of {WINDOW}");
}

#[test]
fn large_events_without_confirms_leave_bytes_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, [_, _, lively]) = three(&mut journal);
    let reader = journal.reader();
    let (mut bytes, mut through) = (0, 0);
    for turn in 0..200 {
        let now = Duration::from_millis(turn);
        let turn = Turn { bytes: 10_000 - bytes, ..shared(256, now) };
        for taken in lanes.take(&reader, turn, &mut |_, _| true).unwrap() {
            if taken.source == lively {
                lanes.ended(&taken, Mark::Confirmed, now);
                through += 1;
            } else {
                bytes += taken.entry.bytes;
            }
        }
    }
    assert_eq!(through, 500, "{bytes} of 10000 are taken by others");
}

#[test]
fn a_silent_lane_gets_no_more_and_a_failed_one_goes_alone_until_it_is_answered_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, [a, ..]) = three(&mut journal);
    let reader = journal.reader();
    let of_a = |max, seconds| {
        let now = Duration::from_secs(seconds);
        let mut only = |source: &Arc<str>, _: &Entry| *source == a;
        lanes.take(&reader, shared(max, now), &mut only).unwrap()
    };
    let at = Duration::from_secs;
    let mut out = of_a(10, 1);
    assert_eq!(out.len(), 5, "and as many are left");
    assert_eq!(of_a(100, 5).len(), 0, "no answer for four seconds");
    let first = out.remove(0);
    lanes.ended(&first, Mark::Confirmed, at(5));
    assert_eq!(of_a(6, 5).len(), 1, "4 are out, 6 are free");
    out.into_iter().for_each(|taken| lanes.put_back(taken, Back::Retry(at(6)), at(5)));
    assert_eq!(of_a(256, 6).len(), 0, "one is out: the probe");
    let stats = lanes.stats();
    assert_eq!((stats[0].1.pending, stats[0].1.aside), (499, 0));
}

#[test]
fn a_lane_earns_more_of_the_window_by_answers_and_loses_it_by_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, [a, ..]) = three(&mut journal);
    let reader = journal.reader();
    let of_a = |out: &[Taken]| {
        let mut only = |source: &Arc<str>, _: &Entry| *source == a;
        lanes.take(&reader, shared(256 - out.len(), Duration::ZERO), &mut only).unwrap()
    };
    let mut rounds = Vec::new();
    let mut out = of_a(&[]);
    for _ in 0..4 {
        rounds.push(out.len());
        out.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, Duration::ZERO));
        out = of_a(&[]);
    }
    assert_eq!(rounds, [24, 48, 96, 128], "half of the window is the most");
    out.into_iter().for_each(|taken| lanes.put_back(taken, Back::Retry(Duration::ZERO), Duration::ZERO));
    let probe = of_a(&[]);
    assert_eq!(probe.len(), 1);
    lanes.ended(&probe[0], Mark::Confirmed, Duration::ZERO);
    assert_eq!(of_a(&[]).len(), 24);
}

#[test]
fn what_operators_change_is_counted_once_wherever_the_event_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    let shop: Arc<str> = SHOP.into();
    let appended = append(&mut journal, SHOP, 5);
    push(&lanes, &appended);
    lanes.account().recovered(lanes.account().row(SHOP), Stand::Held, 2);
    let mut out = take(&lanes, &reader, 2);
    let (second, first) = (out.pop().unwrap(), out.pop().unwrap());
    let mut drop_one = |sequence: Sequence| {
        let withdrawn = lanes.withdraw(&shop, sequence, Timestamp::default());
        if withdrawn {
            journal.mark(sequence, Mark::Dropped);
            journal.commit().unwrap();
            lanes.dropped(&shop, sequence, State::Pending);
        }
        withdrawn
    };
    // Out, aside, ready, then one that is held.
    assert!(!drop_one(first.entry.sequence));
    lanes.put_back(second, Back::Aside(Duration::from_secs(9), Why::Parked), Duration::ZERO);
    assert!(drop_one(Sequence(2)) && drop_one(Sequence(3)));
    lanes.dropped(&shop, Sequence(90), State::Held);
    assert!(lanes.is_outstanding(&shop, first.entry.sequence));
    lanes.ended(&first, Mark::Confirmed, Duration::ZERO);
    assert!(!lanes.is_outstanding(&shop, first.entry.sequence));
    lanes.again(&shop, Again { released: 1, ..Again::none(appended[0].position) });
    let rest = lanes.take(&reader, turn(10, Duration::from_secs(99)), &mut |_, _| true).unwrap();
    assert_eq!(sequences(&rest), [4, 5]);
    assert_eq!(Stand::ALL.map(|stand| stood(&lanes, stand)), [3, 0, 0, 0, 0, 1, 0, 3]);
}

#[test]
fn a_lane_behind_another_ones_backlog_is_found_in_short_looks() {
    const FOREIGN: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let (lanes, reader) = (Lanes::new(), journal.reader());
    push(&lanes, &append(&mut journal, SHOP, READY_MAX + 1));
    push(&lanes, &append(&mut journal, "flood", FOREIGN));
    push(&lanes, &append(&mut journal, SHOP, 10));
    let mut only = |source: &Arc<str>, _: &Entry| **source == *SHOP;
    let clock = System::new();
    let (mut given, mut longest, mut turns) = (Vec::new(), Duration::ZERO, 0);
    while given.len() < READY_MAX + 11 {
        let begun = clock.monotonic();
        given.extend(lanes.take(&reader, shared(256, Duration::ZERO), &mut only).unwrap());
        longest = longest.max(clock.monotonic() - begun);
        given.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, Duration::ZERO));
        turns += 1;
        assert!(turns < 1000, "{} after {turns} turns", given.len());
    }
    let looks = FOREIGN.div_ceil(READY_MAX);
    println!("{FOREIGN} foreign records in {looks} looks, {turns} turns, the longest took {longest:?}");
    assert!(turns > looks, "no turn reads it all");
    assert!(longest < Duration::from_millis(250), "{longest:?}");
}
