//! The index against a plain map: claims, expiry, flushes, damage, crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use sha2::Digest as _;

use super::*;
use crate::dedup::Forgot;
use crate::dedup::keyfile::PAGE;
use crate::disk::RealDisk;
use crate::event::Keys;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_795_219_200_000;
const WINDOW: Duration = Duration::from_millis(50 * HOUR as u64);

fn digest(of: &str, n: u64) -> Digest {
    Digest(sha2::Sha256::digest(format!("{of}{n}")).into())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn entry(id: u64, content: Option<u64>, sequence: u64, millis: i64) -> KeyEntry {
    let keys = Keys { message_id: digest("id", id), content: content.map(|n| digest("content", n)) };
    KeyEntry { keys, sequence: Sequence(sequence), received_at: at(millis) }
}

fn settings(dir: &Path) -> Settings {
    Settings { inline: true, ..Settings::new(dir, WINDOW) }
}

fn open(dir: &Path, now: i64) -> Index<RealDisk> {
    Index::open(RealDisk, settings(dir), at(now)).unwrap()
}

fn known(sequence: u64) -> Claim {
    Claim::Known { sequence: Sequence(sequence) }
}

const NEW: Claim = Claim::New { twin: None };

fn twin(of: u64, nth: u32) -> Claim {
    Claim::New { twin: Some(Twin { first: digest("id", of), nth }) }
}

/// What the index must answer, said plainly; and the journal, for refilling.
#[derive(Default)]
struct Model {
    journal: Vec<(u64, Option<u64>, i64)>,
    /// Highest sequence and youngest time of each id that is not forgotten.
    ids: BTreeMap<u64, (u64, i64)>,
    contents: BTreeMap<u64, (u64, i64, u32)>,
    forgotten: BTreeMap<u64, u64>,
}

impl Model {
    fn claim(&mut self, id: u64, content: Option<u64>, now: i64) -> Claim {
        let live = |since: i64| since + WINDOW.as_millis() as i64 > now;
        if let Some((sequence, since)) = self.ids.get(&id)
            && live(*since)
        {
            return known(*sequence);
        }
        self.take_in(id, content, now)
    }

    fn take_in(&mut self, id: u64, content: Option<u64>, now: i64) -> Claim {
        let live = |since: i64| since + WINDOW.as_millis() as i64 > now;
        let sequence = self.journal.len() as u64 + 1;
        self.journal.push((id, content, now));
        self.ids.insert(id, (sequence, now));
        let Some(content) = content else { return NEW };
        match self.contents.get_mut(&content) {
            Some((first, since, _)) if live(*since) && *first == id => NEW,
            Some((first, since, twins)) if live(*since) => {
                *twins += 1;
                twin(*first, *twins)
            }
            _ => {
                self.contents.insert(content, (id, now, 0));
                NEW
            }
        }
    }

    /// What is left when the journal loses all beyond `synced`.
    fn cut(&self, synced: u64) -> Self {
        let mut left = Self { forgotten: self.forgotten.clone(), ..Self::default() };
        for (id, content, at) in &self.journal[..synced as usize] {
            left.take_in(*id, *content, *at);
        }
        for (id, through) in &self.forgotten {
            if left.ids.get(id).is_some_and(|(sequence, _)| sequence <= through) {
                left.ids.remove(id);
            }
        }
        left
    }
}

#[derive(Clone, Debug)]
enum Step {
    Claim {
        id: u64,
        content: Option<u64>,
    },
    Pass {
        millis: i64,
    },
    /// The journal has synced all but the last events.
    Maintain {
        unsynced: u64,
    },
    Flush,
    Reopen,
    /// The journal loses what was never said to be synced.
    PowerCut,
    Forget {
        id: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..60_u64, proptest::option::of(0..12_u64)).prop_map(|(id, content)| Step::Claim { id, content }),
        3 => (0..20 * HOUR).prop_map(|millis| Step::Pass { millis }),
        3 => (0..4_u64).prop_map(|unsynced| Step::Maintain { unsynced }),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerCut),
        1 => (0..60_u64).prop_map(|id| Step::Forget { id }),
    ]
}

fn reopen(dir: &Path, model: &Model, now: i64) -> Index<RealDisk> {
    let settings = Settings { budget: 1, ..settings(dir) };
    let mut index = Index::open(RealDisk, settings, at(now)).unwrap();
    assert_eq!(index.damage(), []);
    assert!(index.durable_through().0 <= model.journal.len() as u64);
    for ((id, content, since), sequence) in model.journal.iter().zip(1..) {
        index.refill(entry(*id, *content, sequence, *since)).unwrap();
    }
    index
}

fn play(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut index = open(dir.path(), 0);
    let (mut now, mut synced) = (0, 0);
    for step in steps {
        let last = model.journal.len() as u64;
        match step {
            Step::Claim { id, content } => {
                let claimed = index.claim(&entry(id, content, last + 1, now)).unwrap();
                assert_eq!(claimed, model.claim(id, content, now), "id {id} content {content:?} at {now}");
            }
            Step::Pass { millis } => now += millis,
            Step::Maintain { unsynced } => {
                synced = synced.max(last.saturating_sub(unsynced));
                index.maintain(at(now), Sequence(synced)).unwrap();
                assert!(index.durable_through().0 <= synced);
            }
            Step::Flush => {
                synced = last;
                index.flush(Sequence(last)).unwrap();
                assert_eq!(index.durable_through().0, last);
            }
            Step::Reopen => {
                synced = last;
                drop(index);
                index = reopen(dir.path(), &model, now);
            }
            Step::PowerCut => {
                drop(index);
                model = model.cut(synced);
                index = reopen(dir.path(), &model, now);
            }
            Step::Forget { id } => {
                let live = model.ids.get(&id).filter(|(_, since)| since + WINDOW.as_millis() as i64 > now);
                let expected = live.map(|(sequence, _)| Sequence(*sequence));
                if expected.is_some_and(|sequence| sequence.0 > synced) {
                    continue;
                }
                let forgot = expected.map_or(Forgot::Unknown, Forgot::Key);
                assert_eq!(index.forget(&[digest("id", id)], at(now)).unwrap(), [forgot]);
                model.forgotten.extend(expected.map(|sequence| (id, sequence.0)));
                model.ids.remove(&id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_plain_map_does(steps in proptest::collection::vec(step(), 1..150)) {
        play(steps);
    }

    /// With a clock that steps anywhere, a key that was claimed less than a window of real time ago is known.
    #[test]
    fn no_clock_step_shortens_a_life(
        steps in proptest::collection::vec((0..40_u64, 0..6 * HOUR, -90 * HOUR..90 * HOUR, 0..6_u8), 1..80),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = open(dir.path(), 0);
        let (mut real, mut skew, mut sequence) = (0_i64, 0_i64, 0_u64);
        let mut claimed: BTreeMap<u64, i64> = BTreeMap::new();
        for (id, passed, step, what) in steps {
            real += passed;
            if what == 0 {
                skew = step;
            }
            let wall = real + skew;
            index.observe(at(wall), Duration::from_millis(real as u64));
            if what == 1 {
                index.maintain(at(wall), Sequence(sequence)).unwrap();
            }
            if what == 2 {
                index.flush(Sequence(sequence)).unwrap();
            }
            let live = claimed.get(&id).is_some_and(|since| since + (WINDOW.as_millis() as i64) > real);
            match index.claim(&entry(id, None, sequence + 1, wall)).unwrap() {
                Claim::New { .. } => {
                    assert!(!live, "id {id} was claimed within the window");
                    sequence += 1;
                    claimed.insert(id, real);
                }
                Claim::Known { .. } => assert!(claimed.contains_key(&id)),
            }
        }
    }
}

#[test]
fn a_key_lives_for_the_window_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    let window = WINDOW.as_millis() as i64;
    assert_eq!(index.claim(&entry(1, None, 1, 7)).unwrap(), NEW);
    assert_eq!(index.claim(&entry(1, None, 2, 7 + window - 1)).unwrap(), known(1));
    index.flush(Sequence(1)).unwrap();
    assert_eq!(index.claim(&entry(1, None, 2, 7 + window - 1)).unwrap(), known(1));
    assert_eq!(index.claim(&entry(1, None, 2, 7 + window)).unwrap(), NEW);
    assert_eq!(index.claim(&entry(1, None, 3, 7 + window)).unwrap(), known(2));
}

#[test]
fn nothing_beyond_what_the_journal_synced_reaches_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = Index::open(RealDisk, Settings { budget: 1, ..settings(dir.path()) }, at(0)).unwrap();
    (1..=10).for_each(|n| assert_eq!(index.claim(&entry(n, None, n, 0)).unwrap(), NEW));
    index.maintain(at(0), Sequence(9)).unwrap();
    index.flush(Sequence(9)).unwrap();
    assert_eq!((index.durable_through(), index.stats().files), (Sequence(0), 0));
    index.maintain(at(0), Sequence(10)).unwrap();
    assert_eq!((index.durable_through(), index.stats().files), (Sequence(10), 1));
}

#[test]
fn sequences_must_rise() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    index.claim(&entry(1, None, 5, 0)).unwrap();
    let error = index.claim(&entry(2, None, 5, 0)).unwrap_err();
    assert!(matches!(error, IndexError::Order { given: Sequence(5), last: Sequence(5) }), "{error}");
    assert!(matches!(index.claim(&entry(3, None, 6, 0)), Err(IndexError::Stopped)));
}

#[test]
fn twins_are_counted_through_flushes_merges_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    assert_eq!(index.claim(&entry(1, Some(1), 1, 0)).unwrap(), NEW);
    for n in 2..=20 {
        assert_eq!(index.claim(&entry(n, Some(1), n, n as i64)).unwrap(), twin(1, n as u32 - 1));
        match n % 3 {
            0 => index.flush(Sequence(n)).unwrap(),
            1 => index.maintain(at(n as i64), Sequence(n)).unwrap(),
            _ => {
                index.flush(Sequence(n)).unwrap();
                drop(index);
                index = open(dir.path(), n as i64);
            }
        }
    }
    index.flush(Sequence(20)).unwrap();
    index.maintain(at(25 * HOUR), Sequence(20)).unwrap();
    assert_eq!(index.stats().files, 1);
    assert_eq!(index.claim(&entry(99, Some(1), 21, 25 * HOUR)).unwrap(), twin(1, 20));
    assert_eq!(index.claim(&entry(1, Some(1), 22, 25 * HOUR)).unwrap(), known(1));
}

#[test]
fn twins_are_counted_where_a_file_lies_between_those_that_were_merged() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    assert_eq!(index.claim(&entry(1, Some(1), 1, 0)).unwrap(), NEW);
    index.flush(Sequence(1)).unwrap();
    assert_eq!(index.claim(&entry(2, Some(1), 2, 0)).unwrap(), twin(1, 1));
    (3..=40).for_each(|n| assert_eq!(index.claim(&entry(n, None, n, 0)).unwrap(), NEW));
    index.flush(Sequence(40)).unwrap();
    for n in 41..=46 {
        assert_eq!(index.claim(&entry(n, None, n, 0)).unwrap(), NEW);
        index.flush(Sequence(n)).unwrap();
    }
    assert_eq!(index.stats().files, upkeep::RUNS_PER_DAY as u64);
    index.maintain(at(0), Sequence(46)).unwrap();
    assert_eq!(index.stats().files, 2, "the small ones became one, the large one stays");
    assert_eq!(index.claim(&entry(47, Some(1), 47, 0)).unwrap(), twin(1, 2));
}

#[test]
fn a_refilled_twin_finds_the_content_that_it_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    assert_eq!(index.claim(&entry(1, Some(1), 1, 0)).unwrap(), NEW);
    assert_eq!(index.claim(&entry(2, Some(1), 2, 42 * HOUR)).unwrap(), twin(1, 1));
    index.maintain(at(50 * HOUR), Sequence(1)).unwrap();
    drop(index);
    let mut index = open(dir.path(), 50 * HOUR);
    index.refill(entry(2, Some(1), 2, 42 * HOUR)).unwrap();
    assert_eq!(index.claim(&entry(3, Some(1), 3, 50 * HOUR)).unwrap(), NEW, "the first one's window is over");
}

#[test]
fn a_start_under_a_clock_that_is_far_ahead_keeps_every_key_until_a_window_has_passed() {
    const AHEAD: i64 = 40 * 24 * HOUR;
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    assert_eq!(index.claim(&entry(1, None, 1, 0)).unwrap(), NEW);
    index.flush(Sequence(1)).unwrap();
    drop(index);
    let mut index = open(dir.path(), AHEAD);
    index.observe(at(AHEAD), Duration::ZERO);
    index.maintain(at(AHEAD), Sequence(1)).unwrap();
    assert_eq!(index.claim(&entry(1, None, 2, AHEAD)).unwrap(), known(1));
    drop(index);
    // The clock is mended, and the key is still there.
    let mut index = open(dir.path(), HOUR);
    index.observe(at(HOUR), Duration::ZERO);
    assert_eq!(index.claim(&entry(1, None, 2, HOUR)).unwrap(), known(1));
}

#[test]
fn a_day_that_is_over_becomes_one_file_and_an_aged_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    for n in 1..=500 {
        index.claim(&entry(n, None, n, n as i64)).unwrap();
        if n % 10 == 0 {
            index.flush(Sequence(n)).unwrap();
            index.maintain(at(n as i64), Sequence(n)).unwrap();
            assert!(index.stats().files < upkeep::RUNS_PER_DAY as u64);
        }
    }
    index.maintain(at(24 * HOUR), Sequence(500)).unwrap();
    assert_eq!((index.stats().files, index.stats().keys), (1, 500));
    assert!((1..=500).all(|n| index.claim(&entry(n, None, 501, HOUR)).unwrap() == known(n)));

    index.maintain(at(500 + WINDOW.as_millis() as i64), Sequence(500)).unwrap();
    assert_eq!((index.stats().files, index.stats().keys), (1, 0));
    drop(index);
    let mut index = open(dir.path(), 100 * HOUR);
    assert_eq!(index.durable_through(), Sequence(500));
    assert_eq!(index.claim(&entry(1, None, 501, 100 * HOUR)).unwrap(), NEW);
    index.flush(Sequence(501)).unwrap();
    index.maintain(at(100 * HOUR), Sequence(501)).unwrap();
    assert_eq!((index.stats().files, index.stats().keys), (1, 1));
}

#[test]
fn a_key_is_found_in_each_of_more_files_than_are_probed_at_once() {
    const DAYS: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    let long = Settings { window: WINDOW * DAYS as u32, ..settings(dir.path()) };
    let mut index = Index::open(RealDisk, long, at(0)).unwrap();
    let day = |n: u64| n as i64 * 24 * HOUR;
    for n in 0..DAYS {
        assert_eq!(index.claim(&entry(2 * n, Some(n), 2 * n + 1, day(n))).unwrap(), NEW);
        assert_eq!(index.claim(&entry(2 * n + 1, Some(n), 2 * n + 2, day(n))).unwrap(), twin(2 * n, 1));
        index.flush(Sequence(2 * n + 2)).unwrap();
        index.maintain(at(day(n)), Sequence(2 * n + 2)).unwrap();
    }
    assert_eq!((index.stats().files, index.stats().keys), (DAYS, 2 * DAYS));
    for n in 0..2 * DAYS {
        assert_eq!(index.claim(&entry(n, None, u64::MAX, day(DAYS))).unwrap(), known(n + 1));
    }
    for n in 0..DAYS {
        let (id, sequence) = (1_000 + n, 2 * DAYS + 1 + n);
        assert_eq!(index.claim(&entry(id, Some(n), sequence, day(DAYS))).unwrap(), twin(2 * n, 2));
    }
}

#[test]
fn nothing_that_was_replaced_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    for n in 1..=40 {
        index.claim(&entry(n, None, n, n as i64)).unwrap();
        index.flush(Sequence(n)).unwrap();
        index.maintain(at(n as i64), Sequence(n)).unwrap();
        index.maintain(at(n as i64), Sequence(n)).unwrap();
        assert!(index.spent.is_nothing(), "after event {n}");
    }
    index.maintain(at(25 * HOUR), Sequence(40)).unwrap();
    index.maintain(at(25 * HOUR), Sequence(40)).unwrap();
    assert!(index.spent.is_nothing());
    assert_eq!(index.stats().files, 1);
}

#[test]
fn a_forgotten_key_stays_forgotten_after_a_refill() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    index.claim(&entry(1, None, 1, 0)).unwrap();
    assert_eq!(index.forget(&[digest("id", 1)], at(0)).unwrap(), [Forgot::Key(Sequence(1))]);
    assert_eq!(index.forget(&[digest("id", 1)], at(0)).unwrap(), [Forgot::Unknown]);
    drop(index);
    let mut index = open(dir.path(), 0);
    index.refill(entry(1, None, 1, 0)).unwrap();
    assert_eq!(index.claim(&entry(1, None, 2, 0)).unwrap(), NEW);
    assert_eq!(index.claim(&entry(1, None, 3, 0)).unwrap(), known(2));
}

#[test]
fn a_damaged_list_of_forgotten_keys_is_set_aside_with_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path(), 0);
    index.claim(&entry(1, None, 1, 0)).unwrap();
    index.forget(&[digest("id", 1)], at(0)).unwrap();
    drop(index);
    let path = dir.path().join("forgotten");
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).chain([usize::MAX]) {
        let mut bytes = whole.clone();
        if cut == usize::MAX {
            bytes[20] ^= 1
        } else {
            bytes.truncate(cut)
        }
        fs::write(&path, bytes).unwrap();
        let index = open(dir.path(), 0);
        assert_eq!(index.damage().len(), 1);
        assert!(dir.path().join("forgotten.damaged").exists());
    }
}

#[test]
fn the_background_thread_does_the_same_work() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { inline: false, budget: 4 << 10, ..settings(dir.path()) };
    let mut index = Index::open(RealDisk, settings, at(0)).unwrap();
    for n in 1..=30_000 {
        assert_eq!(index.claim(&entry(n, None, n, n as i64)).unwrap(), NEW);
        if n % 64 == 0 {
            index.maintain(at(n as i64), Sequence(n)).unwrap();
        }
    }
    assert!(index.durable_through() > Sequence(0));
    assert!((1..=30_000).all(|n| index.claim(&entry(n, None, 30_001, HOUR)).unwrap() == known(n)));
    index.flush(Sequence(30_000)).unwrap();
    drop(index);
    let mut index = open(dir.path(), 0);
    assert_eq!(index.durable_through(), Sequence(30_000));
    assert!((1..=30_000).all(|n| index.claim(&entry(n, None, 30_001, HOUR)).unwrap() == known(n)));
}

mod damage;
