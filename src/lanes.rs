//! Lanes: what is still to be handed over, a queue for each source, of bounded length in memory.
//!
//! The acceptor pushes every durable event to its lane. A lane that is full stops taking and remembers from
//! where on it must read the journal again; so a backlog of any length costs no memory, and one source's
//! backlog never stands in another's way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::journal::{Appended, JournalError, LiveRecord, Position, Reader, ScanBudget, State};
use crate::metrics::LaneStats;

/// Entries that a lane keeps in memory ahead of the relay.
const READY_MAX: usize = 2048;
/// Entries that a lane may hold back at once (unroutable, parked, delayed) before it stops giving out others.
const WAITING_MAX: usize = 4096;
/// Looks into the journal that one turn of a lane takes before others get theirs.
const SCANS_MAX: usize = 8;
/// One look reads at most so much.
const SCAN: ScanBudget = ScanBudget { records: READY_MAX, bytes: 8 << 20 };

/// A record that is to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub sequence: Sequence,
    /// Where it lies.
    pub position: Position,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// Attempts made by this process.
    pub attempts: u32,
    /// Whether an attempt, of this process or an earlier one, may have arrived.
    pub attempted: bool,
    /// Whether the broker closed the channel while it was in flight.
    pub suspect: bool,
    /// How often it did so with nothing else in flight.
    pub closings: u32,
    /// Its size in the journal.
    pub bytes: u64,
    /// An operator wants it published again.
    pub replay: bool,
}

impl Entry {
    /// A record that this process has not tried yet.
    pub fn new(sequence: Sequence, position: Position, received_at: Timestamp, bytes: u64) -> Self {
        Self {
            sequence,
            position,
            received_at,
            attempts: 0,
            attempted: false,
            suspect: false,
            closings: 0,
            bytes,
            replay: false,
        }
    }
}

/// An entry taken out of its lane, until it ends or is put back.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Whose.
    pub source: Arc<str>,
    /// What.
    pub entry: Entry,
}

/// Why an entry goes back to its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// It goes first again, and the lane gives out nothing newer before that time (monotonic).
    Retry(Duration),
    /// It waits until that time; newer ones may pass it.
    Aside(Duration),
}

#[derive(Debug, Default)]
struct Lane {
    ready: BTreeMap<Sequence, Entry>,
    aside: BTreeMap<Sequence, (Duration, Entry)>,
    /// Everything in `ready`, in `aside` or taken, and when it came in: a scan that meets it again skips it.
    outstanding: BTreeMap<Sequence, Timestamp>,
    /// From here on the journal has live records that are not in memory.
    spilled: Option<Position>,
    /// Where it was set back to while a scan was under way.
    rewound: Option<Position>,
    /// Counts pushes that went past a spilled lane, so that a scan knows whether it has seen them.
    skipped: u64,
    paused_until: Duration,
    /// Durable: no record beyond it was ever attempted.
    attempted_through: Sequence,
    /// What earlier processes may have attempted.
    inherited_through: Sequence,
    pending: u64,
    held: u64,
    poisoned: u64,
    replayed: u64,
    dropped: u64,
}

impl Lane {
    fn add(&mut self, mut entry: Entry) {
        if self.outstanding.insert(entry.sequence, entry.received_at).is_none() {
            entry.attempted = entry.sequence <= self.inherited_through;
            self.ready.insert(entry.sequence, entry);
        }
    }

    fn wake_aside(&mut self, now: Duration) {
        let due: Vec<Sequence> = self
            .aside
            .iter()
            .filter(|(_, (until, _))| *until <= now)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in due {
            if let Some((_, entry)) = self.aside.remove(&sequence) {
                self.ready.insert(sequence, entry);
            }
        }
    }

    fn has_work(&self, now: Duration) -> bool {
        self.paused_until <= now
            && self.aside.len() < WAITING_MAX
            && (!self.ready.is_empty() || self.spilled.is_some())
    }
}

/// All lanes of a journal; shared by the acceptor, which fills them, and the relay or inbox, which empties them.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Mutex<Table>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_source: HashMap<Arc<str>, Lane>,
    order: Vec<Arc<str>>,
    next: usize,
}

impl Table {
    fn lane(&mut self, source: &Arc<str>) -> &mut Lane {
        if !self.by_source.contains_key(source) {
            self.order.push(Arc::clone(source));
        }
        self.by_source.entry(Arc::clone(source)).or_default()
    }
}

impl Lanes {
    /// Empty lanes.
    pub fn new() -> Self {
        Self::default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the lane of a source, so that it is counted before its first event.
    pub fn open(&self, source: &Arc<str>) {
        self.table().lane(source);
    }

    /// Takes over a source's records from an earlier process; live ones begin at `from`.
    pub fn recover(&self, source: &Arc<str>, counts: LaneStats, from: Position) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.pending = counts.pending;
        lane.held = counts.held;
        lane.poisoned = counts.poisoned;
        if counts.pending > 0 {
            lane.spilled = Some(from);
        }
    }

    /// Takes over a source's watermark: up to it, an earlier process may have attempted any record.
    pub fn recover_watermark(&self, source: &Arc<str>, attempted_through: Sequence) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.attempted_through = attempted_through;
        lane.inherited_through = attempted_through;
    }

    /// Adds records that have just become durable.
    pub fn push(&self, appended: &[Appended]) {
        if appended.is_empty() {
            return;
        }
        let mut table = self.table();
        for record in appended {
            let lane = table.lane(&record.source);
            if record.held {
                lane.held += 1;
                continue;
            }
            lane.pending += 1;
            if lane.spilled.is_some() {
                lane.skipped += 1;
            } else if lane.ready.len() >= READY_MAX {
                lane.spilled = Some(record.position);
                lane.skipped += 1;
            } else {
                lane.add(Entry::new(record.sequence, record.position, record.received_at, record.bytes));
            }
        }
        drop(table);
        self.filled.notify_one();
    }

    /// Resolves after the next push (at once if one happened since the last call), for one caller.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes up to `max` entries, `each` at most from one lane, round robin; `allow` is asked for every entry
    /// and may refuse it, which ends that lane's turn. Lanes that have run dry are filled from the journal.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn take<D: Disk>(
        &self,
        reader: &Reader<D>,
        turn: Turn<'_>,
        allow: Allow<'_>,
    ) -> Result<Vec<Taken>, JournalError> {
        let mut taken = Vec::new();
        let mut unreadable = None;
        for source in self.turn_order(&turn) {
            if taken.len() >= turn.max {
                break;
            }
            if let Err(error) = self.refill(&source, reader, turn) {
                unreadable = Some(error);
            }
            let mut table = self.table();
            let lane = table.lane(&source);
            lane.wake_aside(turn.now);
            let mut from_lane = 0;
            while taken.len() < turn.max && from_lane < turn.each && lane.has_work(turn.now) {
                let Some(first) = lane.ready.first_entry() else { break };
                if !allow(&source, first.get()) {
                    break;
                }
                taken.push(Taken { source: Arc::clone(&source), entry: first.remove() });
                from_lane += 1;
            }
        }
        // One lane's trouble holds up no other; it is told when there is nothing else to do.
        unreadable.filter(|_| taken.is_empty()).map_or(Ok(taken), Err)
    }

    fn turn_order(&self, turn: &Turn<'_>) -> Vec<Arc<str>> {
        if let Some(source) = turn.only {
            return vec![Arc::clone(source)];
        }
        let mut table = self.table();
        let count = table.order.len();
        let start = table.next.checked_rem(count).unwrap_or(0);
        table.next = start + 1;
        let (late, early) = table.order.split_at(start);
        early.iter().chain(late).map(Arc::clone).collect()
    }

    /// Reads a spilled lane's next records, once it has none left in memory. Among several lanes each has one
    /// look at a time, so that a lane that lies behind another's backlog stops nobody; it is called again soon.
    fn refill<D: Disk>(
        &self,
        source: &Arc<str>,
        reader: &Reader<D>,
        turn: Turn<'_>,
    ) -> Result<(), JournalError> {
        for _ in 0..SCANS_MAX {
            let (from, skipped) = {
                let mut table = self.table();
                let lane = table.lane(source);
                lane.rewound = None;
                match lane.spilled {
                    Some(from) if lane.ready.is_empty() && lane.has_work(turn.now) => (from, lane.skipped),
                    _ => return Ok(()),
                }
            };
            let scan = reader.scan(from, SCAN)?;
            let mut table = self.table();
            let lane = table.lane(source);
            for LiveRecord { sequence, position, received_at, source: of, state, bytes, replayed } in
                scan.live
            {
                // It may have ended since the scan saw it: the ledger knows that before the lane does.
                let pending = || reader.state(sequence) == Some(State::Pending);
                if of == *source && state == State::Pending && pending() {
                    let entry = Entry::new(sequence, position, received_at, bytes);
                    lane.add(Entry { replay: replayed, ..entry });
                }
            }
            let seen_all = scan.at_end && lane.skipped == skipped;
            let next = lane.rewound.take().map_or(scan.next, |from| from.min(scan.next));
            lane.spilled = if seen_all { None } else { Some(next) };
            if !lane.ready.is_empty() || seen_all {
                return Ok(());
            }
            if turn.only.is_none() {
                self.filled.notify_one();
                return Ok(());
            }
        }
        Ok(())
    }

    /// The watermark that must be durable before `entry` is attempted; `None` where it already is.
    pub fn watermark_needed(&self, taken: &Taken, step: u64) -> Option<Sequence> {
        let mut table = self.table();
        let lane = table.lane(&taken.source);
        (taken.entry.sequence > lane.attempted_through)
            .then(|| Sequence(taken.entry.sequence.0.saturating_add(step)))
    }

    /// Notes that a source's watermark is durable.
    pub fn raised(&self, source: &Arc<str>, through: Sequence) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.attempted_through = lane.attempted_through.max(through);
    }

    /// Puts a taken entry back.
    pub fn put_back(&self, taken: Taken, back: Back) {
        let mut table = self.table();
        let lane = table.lane(&taken.source);
        match back {
            Back::Retry(at) => {
                lane.paused_until = lane.paused_until.max(at);
                lane.ready.insert(taken.entry.sequence, taken.entry);
            }
            Back::Aside(at) => {
                lane.aside.insert(taken.entry.sequence, (at, taken.entry));
            }
        }
    }

    /// Forgets an entry whose life has ended durably.
    pub fn ended(&self, source: &Arc<str>, sequence: Sequence) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.outstanding.remove(&sequence);
        lane.pending = lane.pending.saturating_sub(1);
    }

    /// Moves an entry from pending to poison, durably noted already.
    pub fn poisoned(&self, source: &Arc<str>, sequence: Sequence) {
        self.ended(source, sequence);
        self.table().lane(source).poisoned += 1;
    }

    /// The first time after `looked` at which a lane will have work, if only time is missing (monotonic).
    pub fn next_due(&self, looked: Duration) -> Option<Duration> {
        let table = self.table();
        let due = |lane: &Lane| {
            let aside = lane.aside.values().map(|(until, _)| *until).filter(|at| *at > looked).min();
            let waits = !lane.ready.is_empty() || lane.spilled.is_some();
            let paused = waits.then_some(lane.paused_until).filter(|at| *at > looked);
            aside.into_iter().chain(paused).min()
        };
        table.by_source.values().filter_map(due).min()
    }

    /// All sources and how they stand.
    pub fn stats(&self) -> Vec<(Arc<str>, LaneStats)> {
        let table = self.table();
        let stats = |source: &Arc<str>| {
            let lane = table.by_source.get(source)?;
            Some((
                Arc::clone(source),
                LaneStats {
                    pending: lane.pending,
                    held: lane.held,
                    poisoned: lane.poisoned,
                    aside: lane.aside.len() as u64,
                    replayed: lane.replayed,
                    dropped: lane.dropped,
                    oldest: lane.outstanding.values().next().copied(),
                },
            ))
        };
        table.order.iter().filter_map(stats).collect()
    }
}

/// Whether an entry may be taken; a refusal ends its lane's turn.
pub type Allow<'a> = &'a mut dyn FnMut(&Arc<str>, &Entry) -> bool;

/// How much one call of [`Lanes::take`] may take.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'s> {
    /// In all.
    pub max: usize,
    /// From one lane.
    pub each: usize,
    /// Only from this source.
    pub only: Option<&'s Arc<str>>,
    /// Monotonic time.
    pub now: Duration,
}

mod orders;
#[cfg(test)]
mod tests;

pub use orders::Again;
