//! Random operations, clean restarts and power losses against a plain model of what a journal promises.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use super::super::{Mark, Standing, State};
use super::*;
use crate::event::KeyEntry;

const SOURCES: [&str; 3] = ["shop", "bank", "crm"];
const MARKS: [Mark; 6] =
    [Mark::Confirmed, Mark::Superseded, Mark::Dropped, Mark::Poisoned, Mark::Released, Mark::Replayed];

#[derive(Clone, Debug)]
enum Op {
    Append {
        source: usize,
        bytes: usize,
        held: bool,
    },
    /// Marks `count` records from the one that is `back` before the newest; some are unknown.
    Mark {
        back: u64,
        count: u64,
        mark: usize,
    },
    Raise {
        source: usize,
        back: u64,
    },
    Commit,
    /// Moves the clock, and lets keys be durable up to `back` before the newest.
    Maintain {
        seconds: u64,
        back: u64,
    },
    Reopen,
    /// A power loss, before it the n-th change fails, and while opening again too.
    Crash {
        fail_at: u64,
        again: u64,
        names: usize,
        seed: u64,
    },
    Scan {
        records: usize,
        bytes: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![8 => 0..1500_usize, 3 => 1500..9000_usize, 1 => 20_000..56_000_usize];
    prop_oneof![
        12 => (0..3_usize, bytes, prop::bool::weighted(0.1))
            .prop_map(|(source, bytes, held)| Op::Append { source, bytes, held }),
        7 => (0..40_u64, 1..30_u64, 0..10_usize)
            .prop_map(|(back, count, mark)| Op::Mark { back, count, mark: mark.saturating_sub(4) }),
        1 => (0..3_usize, 0..9_u64).prop_map(|(source, back)| Op::Raise { source, back }),
        6 => Just(Op::Commit),
        4 => (0..3000_u64, 0..6_u64).prop_map(|(seconds, back)| Op::Maintain { seconds, back }),
        1 => Just(Op::Reopen),
        2 => (1..12_u64, 1..12_u64, 0..4_usize, any::<u64>())
            .prop_map(|(fail_at, again, names, seed)| Op::Crash { fail_at, again, names, seed }),
        2 => (1..20_usize, 1..40_000_u64).prop_map(|(records, bytes)| Op::Scan { records, bytes }),
    ]
}

/// What is promised of one event whose commit went through.
#[derive(Clone, Debug)]
struct Kept {
    event: Event,
    state: Option<State>,
    home: Position,
    /// Its life ended at least once.
    ended: bool,
}

impl Kept {
    fn new(event: Event, home: Position) -> Self {
        let state = Some(first_state(&event));
        Self { event, state, home, ended: false }
    }

    /// A replay needs the home segment to be among the files that are `there`.
    fn mark(&mut self, mark: Mark, there: &BTreeSet<PathBuf>) {
        let is_home = there.contains(&segment_of(self.home));
        self.state = match mark {
            Mark::Poisoned => self.state.and(Some(State::Poisoned)),
            Mark::Released => self.state.and(Some(State::Pending)),
            Mark::Replayed => self.state.or(is_home.then_some(State::Pending)),
            Mark::Confirmed | Mark::Superseded | Mark::Dropped => None,
        };
        self.ended |= self.state.is_none();
    }
}

fn first_state(event: &Event) -> State {
    if event.envelope().held { State::Held } else { State::Pending }
}

#[derive(Default)]
struct Model {
    kept: BTreeMap<Sequence, Kept>,
    watermarks: BTreeMap<&'static str, Sequence>,
    staged: Vec<(Sequence, Event)>,
    marks: Vec<(Sequence, Mark)>,
    raises: BTreeMap<&'static str, Sequence>,
    keys: Sequence,
}

impl Model {
    fn live(&self) -> Vec<(Sequence, State)> {
        self.kept.iter().filter_map(|(sequence, kept)| Some((*sequence, kept.state?))).collect()
    }

    fn forget_staged(&mut self) {
        self.staged.clear();
        self.marks.clear();
        self.raises.clear();
    }
}

/// The journal, its disk, the model and the clock.
struct Bench {
    disk: MemDisk,
    journal: Option<Journal<MemDisk>>,
    model: Model,
    now: Timestamp,
    made: u64,
}

impl Bench {
    fn new() -> Self {
        let disk = MemDisk::default();
        let (journal, _) = open(&disk, &settings());
        Self { disk, journal: Some(journal), model: Model::default(), now: NOW, made: 0 }
    }

    fn journal(&mut self) -> &mut Journal<MemDisk> {
        self.journal.as_mut().unwrap()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Append { source, bytes, held } => self.append(SOURCES[source], bytes, held),
            Op::Mark { back, count, mark } => self.mark(back, count, MARKS[mark]),
            Op::Raise { source, back } => self.raise(SOURCES[source], back),
            Op::Commit => self.commit(),
            Op::Maintain { seconds, back } => self.maintain(seconds, back),
            Op::Reopen => {
                self.journal = None;
                self.model.forget_staged();
                self.reopen();
            }
            Op::Crash { fail_at, again, names, seed } => self.crash((fail_at, again), names, seed),
            Op::Scan { records, bytes } => self.scan(ScanBudget { records, bytes }),
        }
    }

    fn append(&mut self, source: &str, bytes: usize, held: bool) {
        self.made += 1;
        let event = event(self.made, source, bytes, held);
        let size = Journal::<MemDisk>::record_bytes(&event);
        if self.journal().room(size) == Room::Commit {
            self.commit();
        }
        if self.journal().room(size) == Room::Open {
            let next = self.journal().next_sequence();
            let sequence = self.journal().append(&event);
            assert_eq!(sequence, next);
            assert_eq!(self.journal().receipt(sequence), None, "not durable");
            self.model.staged.push((sequence, event));
        }
    }

    fn mark(&mut self, back: u64, count: u64, mark: Mark) {
        let next = self.journal().next_sequence().0;
        for sequence in (next.saturating_sub(back)..).take(count as usize).map(Sequence) {
            // A commit that failed may have left a record that the model does not know, and it may have ended.
            if mark == Mark::Replayed && !self.model.kept.contains_key(&sequence) {
                continue;
            }
            self.journal().mark(sequence, mark);
            if sequence.0 < next {
                self.model.marks.push((sequence, mark));
            }
        }
    }

    fn raise(&mut self, source: &'static str, back: u64) {
        let through = Sequence(self.journal().next_sequence().0.saturating_sub(back));
        self.journal().raise(source, through);
        let staged = self.model.raises.entry(source).or_default();
        *staged = through.max(*staged);
    }

    fn commit(&mut self) {
        // Upkeep removes files, a commit does not.
        let there: BTreeSet<PathBuf> = self.disk.paths().into_iter().collect();
        let commit = self.journal().commit().unwrap();
        let Model { kept, staged, marks, .. } = &mut self.model;
        let is_staged = |sequence| staged.iter().any(|(staged, _)| *staged == sequence);
        let mut revived = BTreeSet::new();
        marks.retain(|(s, mark)| {
            let ended = kept.get(s).filter(|kept| kept.state.is_none());
            if *mark == Mark::Replayed && ended.is_some_and(|kept| there.contains(&segment_of(kept.home))) {
                revived.insert(*s);
            }
            let lives = kept.get(s).is_some_and(|kept| kept.state.is_some());
            is_staged(*s) || lives || revived.contains(s)
        });
        let deferred = marks.split_off(commit.marks);
        assert_eq!(commit.deferred, deferred.len());
        assert!(deferred.is_empty() || commit.bytes > SEGMENT / 2, "there is space for marks");
        assert_eq!(commit.appended.len(), self.model.staged.len());
        let staged = std::mem::take(&mut self.model.staged);
        for (appended, (sequence, event)) in commit.appended.iter().zip(staged) {
            assert_eq!((appended.sequence, &*appended.source), (sequence, &*event.envelope().source));
            assert_eq!(appended.bytes, Journal::<MemDisk>::record_bytes(&event));
            assert_eq!(commit.receipt(sequence), self.journal().receipt(sequence));
            assert_eq!(self.journal().receipt(sequence).unwrap().sequence(), sequence);
            self.model.kept.insert(sequence, Kept::new(event, appended.position));
        }
        for (sequence, mark) in std::mem::take(&mut self.model.marks) {
            self.model.kept.entry(sequence).and_modify(|kept| kept.mark(mark, &there));
        }
        self.model.marks = deferred;
        for (source, through) in std::mem::take(&mut self.model.raises) {
            let durable = self.model.watermarks.entry(source).or_default();
            *durable = through.max(*durable);
        }
        for (source, through) in &commit.raised {
            assert_eq!(self.model.watermarks[&**source], *through, "raised is durable, and no lower");
        }
        assert_eq!(self.journal().stats().live_records, self.model.live().len() as u64);
    }

    fn maintain(&mut self, seconds: u64, back: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let keys = Sequence(self.journal().durable_through().0.saturating_sub(back));
        self.model.keys = keys.max(self.model.keys);
        let now = self.now;
        for _ in 0..3 {
            self.journal().maintain(now, keys).unwrap();
        }
        self.check_removals();
        self.check_live();
    }

    /// With all keys durable, upkeep comes to rest within the disk that it may use.
    fn settle(&mut self) {
        self.commit();
        for _ in 0..40 {
            self.maintain(0, 0);
        }
        let (stats, most) = (self.journal().stats(), settings().bytes_max + 2 * SEGMENT);
        assert!(stats.bytes <= most, "{stats:?}");
    }

    /// What was removed had ended or had moved, and its keys were durable elsewhere.
    fn check_removals(&mut self) {
        let there: BTreeSet<PathBuf> = self.disk.paths().into_iter().collect();
        let gone = |home: Position| !there.contains(&segment_of(home));
        for (sequence, kept) in self.model.kept.iter().filter(|(_, kept)| gone(kept.home)) {
            assert!(*sequence <= self.model.keys, "{sequence} went before its keys were durable");
            assert!(
                kept.state.is_none() || kept.home.segment < self.journal.as_ref().unwrap().current.number
            );
        }
    }

    /// A full reading: each live record once, in order, whole, and as the model has it.
    fn check_live(&mut self) {
        let reader = self.journal().reader();
        let found = live(&reader, ALL);
        let states: Vec<_> = found.iter().map(|record| (record.sequence, record.state)).collect();
        assert_eq!(states, self.model.live());
        let wanted: Vec<_> =
            found.iter().map(|record| (record.sequence, record.position, record.bytes)).collect();
        for (read, record) in reader.read_all(&wanted).into_iter().zip(&found) {
            assert_eq!(read.unwrap().unwrap(), self.model.kept[&record.sequence].event, "side by side");
        }
        for record in found {
            let kept = &self.model.kept[&record.sequence];
            assert_eq!(reader.read(record.sequence, record.position).unwrap().unwrap(), kept.event);
            assert_eq!(&*record.source, &*kept.event.envelope().source);
            assert_eq!(record.received_at, kept.event.envelope().received_at);
            assert_eq!(record.position, kept.home, "a position stays valid");
            assert_eq!(record.replayed, kept.ended, "a replay is one for as long as it lives");
        }
        for (sequence, kept) in self.model.kept.iter().filter(|(_, kept)| kept.state.is_none()) {
            assert_eq!(reader.state(*sequence), None);
            let is_there = self.disk.paths().contains(&segment_of(kept.home));
            assert_eq!(
                matches!(reader.standing(*sequence), Some(Standing::Ended(_))),
                is_there,
                "{sequence}"
            );
            let read = reader.read(*sequence, kept.home).unwrap();
            assert!(read.is_none_or(|read| read == kept.event));
        }
    }

    fn scan(&mut self, budget: ScanBudget) {
        let found = live(&self.journal().reader(), budget);
        assert!(found.is_sorted_by_key(|record| record.position));
        let states: Vec<_> = found.iter().map(|record| (record.sequence, record.state)).collect();
        assert_eq!(states, self.model.live());
        let page = self.journal().reader().scan(Position::START, budget).unwrap();
        let before_last = page.live.len().saturating_sub(1);
        assert!(page.live.len() <= budget.records);
        assert!(page.live[..before_last].iter().map(|record| record.bytes).sum::<u64>() < budget.bytes);
    }

    /// Opens again after a clean end or a crash and compares what recovery says.
    fn reopen(&mut self) {
        let mut keys: Vec<KeyEntry> = Vec::new();
        let opened = Journal::open(self.disk.clone(), settings(), self.now, &mut |entry| keys.push(entry));
        let (journal, recovery) = opened.unwrap();
        self.journal = Some(journal);
        self.adopt(&recovery);
        assert!(keys.is_sorted_by_key(|entry| entry.sequence) || self.has_moved(&keys));
        let mut told = BTreeMap::new();
        for entry in keys {
            *told.entry(entry.sequence).or_insert(0) += 1;
            if let Some(kept) = self.model.kept.get(&entry.sequence) {
                assert_eq!(entry.keys, kept.event.envelope().keys);
                assert_eq!(entry.received_at, kept.event.envelope().received_at);
            }
        }
        for (sequence, _) in self.model.live() {
            assert_eq!(told.get(&sequence), Some(&1), "the keys of {sequence}");
        }
        for (source, through) in &self.model.watermarks {
            assert!(recovery.watermarks.get(*source).is_some_and(|found| found >= through), "{source}");
        }
        let newest = self.model.kept.last_key_value().map_or(0, |(sequence, _)| sequence.0);
        assert!(recovery.next_sequence.0 > newest);
        assert!(self.model.live().iter().all(|(s, _)| self.model.kept[s].home >= recovery.first_live));
        self.check_tallies(&recovery);
        self.check_live();
    }

    /// Records that moved have lower numbers than those before them.
    fn has_moved(&self, keys: &[KeyEntry]) -> bool {
        let there = self.disk.paths();
        let home = |entry: &KeyEntry| self.model.kept.get(&entry.sequence).map(|kept| kept.home.segment);
        let is_there = |number| there.contains(&super::super::segment::path(&settings().dir, number));
        keys.iter().any(|entry| home(entry).is_some_and(|number| !is_there(number)))
    }

    fn check_tallies(&self, recovery: &Recovery) {
        let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        for (sequence, state) in self.model.live() {
            let source = &self.model.kept[&sequence].event.envelope().source;
            counts.entry(source).or_default()[state as usize] += 1;
        }
        let found = recovery.live.iter().map(|(source, live)| {
            (&**source, [live.pending.records, live.held.records, live.poisoned.records])
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), counts);
    }

    fn crash(&mut self, (fail_at, again): (u64, u64), names: usize, seed: u64) {
        let mut state = seed | 1;
        let mut coin = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & 4 == 0
        };
        let (now, keys) = (self.now, self.model.keys);
        self.disk.fail_at(Some(fail_at));
        let journal = self.journal.as_mut().unwrap();
        if let Err(fault) = journal.commit() {
            assert_eq!(journal.commit().unwrap_err().to_string(), fault.to_string(), "final");
        } else {
            self.disk.fail_at(None);
            drop(self.journal.take());
            self.disk = self.disk.crash_by(names, &mut coin);
            return self.reopen_with(again, names, &mut coin);
        }
        assert!(journal.maintain(now, keys).is_err());
        drop(self.journal.take());
        self.disk = self.disk.crash_by(names, &mut coin);
        self.reopen_with(again, names, &mut coin);
    }

    /// The power fails while the journal is opened, too.
    fn reopen_with(&mut self, again: u64, names: usize, coin: &mut dyn FnMut() -> bool) {
        self.disk.fail_at(Some(again));
        drop(Journal::open(self.disk.clone(), settings(), self.now, &mut |_| {}));
        self.disk = self.disk.crash_by(names, coin);
        self.reopen();
        self.model.forget_staged();
    }

    /// Takes over what became of staged events and marks that no commit told of: each either way, and whole.
    fn adopt(&mut self, recovery: &Recovery) {
        let found = live(&self.journal().reader(), ALL);
        let found: BTreeMap<_, _> = found.into_iter().map(|record| (record.sequence, record)).collect();
        let there: BTreeSet<PathBuf> = self.disk.paths().into_iter().collect();
        let mut after = self.model.kept.clone();
        for (sequence, event) in &self.model.staged {
            let home = found.get(sequence).map_or(Position::START, |record| record.position);
            after.insert(*sequence, Kept::new(event.clone(), home));
        }
        for (sequence, mark) in &self.model.marks {
            after.entry(*sequence).and_modify(|kept| kept.mark(*mark, &there));
        }
        let staged: BTreeMap<_, _> = std::mem::take(&mut self.model.staged).into_iter().collect();
        for (sequence, event) in &staged {
            if let Some(record) = found.get(sequence) {
                self.model.kept.insert(*sequence, Kept::new(event.clone(), record.position));
            }
        }
        for (sequence, kept) in &mut self.model.kept {
            let replayed = found.get(sequence).is_some_and(|record| record.replayed);
            assert!(!replayed || kept.ended || after[sequence].ended, "{sequence} never ended");
            let found = found.get(sequence).map(|record| record.state);
            kept.ended = replayed || kept.ended && found.is_none();
            let allowed = found == kept.state || found == after[sequence].state;
            assert!(allowed, "{sequence} is {found:?}, not {:?}: {recovery:?}", kept.state);
            kept.state = found;
            kept.ended |= found.is_none();
        }
        for sequence in found.keys() {
            assert!(self.model.kept.contains_key(sequence), "{sequence} is invented");
        }
        for (source, found) in &recovery.watermarks {
            let source = SOURCES.into_iter().find(|name| **name == **source).unwrap();
            let durable = self.model.watermarks.entry(source).or_default();
            let raised = self.model.raises.get(source).copied().unwrap_or_default();
            assert!(found == durable || *found == raised, "{source}: {found}");
            *durable = *found;
        }
        self.model.forget_staged();
    }
}

fn segment_of(home: Position) -> PathBuf {
    super::super::segment::path(&settings().dir, home.segment)
}

fn config(cases: u32) -> Config {
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as Box<_>);
    Config { cases, failure_persistence, max_shrink_iters: 100, ..Config::default() }
}

fn run(cases: u32, ops: usize) {
    proptest!(config(cases), |(ops in prop::collection::vec(op(), 1..ops))| {
        let mut bench = Bench::new();
        ops.into_iter().for_each(|op| bench.run(op));
        bench.run(Op::Scan { records: 3, bytes: u64::MAX });
        bench.settle();
        bench.run(Op::Reopen);
    });
}

#[test]
fn does_what_a_plain_model_does_through_restarts_and_power_losses() {
    run(40, 160);
}

#[test]
#[ignore = "thousands of long runs: minutes"]
fn does_what_a_plain_model_does_for_as_long_as_one_likes() {
    run(1500, 300);
}
