//! All lanes: their turns, and the journal behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::entry::{Allow, Back, Entry, Taken, Turn};
use super::lane::{Lane, READY_MAX};
use crate::disk::Disk;
use crate::event::Sequence;
use crate::journal::{Appended, JournalError, LiveRecord, Mark, Position, Reader, ScanBudget, State};
use crate::metrics::{Account, LaneStats, Stand};

/// Looks into the journal that one call takes, for whichever lanes need them.
const SCANS_MAX: usize = 8;
/// The same where lanes share a window: the others wait meanwhile.
const SCANS_SHARED_MAX: usize = 2;
/// One look reads at most so much.
const SCAN: ScanBudget = ScanBudget { records: READY_MAX, bytes: 8 << 20 };

/// All lanes of a journal; shared by the acceptor, which fills them, and the relay or inbox, which empties them.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Mutex<Table>,
    filled: Notify,
    account: Arc<Account>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    account: Arc<Account>,
    by_source: HashMap<Arc<str>, Lane>,
    order: Vec<Arc<str>>,
    next: usize,
}

impl Table {
    pub(super) fn lane(&mut self, source: &Arc<str>) -> &mut Lane {
        if !self.by_source.contains_key(source) {
            self.order.push(Arc::clone(source));
        }
        let open = || Lane::new(self.account.row(source));
        self.by_source.entry(Arc::clone(source)).or_insert_with(open)
    }
}

impl Lanes {
    /// Empty lanes with an account of their own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty lanes that keep this account.
    pub fn counted_in(account: &Arc<Account>) -> Self {
        let table = Table { account: Arc::clone(account), ..Table::default() };
        Self { lanes: Mutex::new(table), filled: Notify::new(), account: Arc::clone(account) }
    }

    /// Where everything stands.
    pub fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever empties the lanes.
    pub(super) fn ring(&self) {
        self.filled.notify_one();
    }

    /// Opens the lane of a source, so that it is counted before its first event.
    pub fn open(&self, source: &Arc<str>) {
        self.table().lane(source);
    }

    /// The source of that name, where it has a lane: one that is configured, or was, or of which the journal has events.
    pub fn find(&self, source: &str) -> Option<Arc<str>> {
        self.table().by_source.get_key_value(source).map(|(name, _)| Arc::clone(name))
    }

    /// Takes over a source's records from an earlier process; live ones begin at `from`.
    pub fn recover(&self, source: &Arc<str>, counts: LaneStats, from: Position) {
        let mut table = self.table();
        let lane = table.lane(source);
        if counts.pending > 0 {
            lane.spilled = Some(from);
        }
        let stands =
            [(Stand::Pending, counts.pending), (Stand::Held, counts.held), (Stand::Poison, counts.poisoned)];
        for (stand, events) in stands {
            self.account.recovered(lane.row, stand, events);
        }
    }

    /// Takes over a source's watermark: up to it, an earlier process may have attempted any record that it had, the last
    /// of which is `last`. The watermark runs ahead, and what comes in from here on was attempted by nobody.
    pub fn recover_watermark(&self, source: &Arc<str>, attempted_through: Sequence, last: Sequence) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.attempted_through = attempted_through;
        lane.inherited_through = attempted_through.min(last);
    }

    /// Adds records that have just become durable, and are in the account already.
    pub fn push(&self, appended: &[Appended]) {
        if appended.is_empty() {
            return;
        }
        let mut table = self.table();
        for record in appended.iter().filter(|record| !record.held) {
            let entry = Entry::new(record.sequence, record.position, record.received_at, record.bytes);
            table.lane(&record.source).push(entry);
        }
        drop(table);
        self.ring();
    }

    /// Resolves after the next push (at once if one happened since the last call), for one caller.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Wakes one waiter for each push to the lane of `source`, and for each entry put back there; a wake that
    /// nobody waited for is kept for the next one.
    pub fn arrivals(&self, source: &Arc<str>) -> Arc<Notify> {
        Arc::clone(&self.table().lane(source).arrived)
    }

    /// When the lane of `source` is worth a look (monotonic): `now` where it has work, later where only time is
    /// missing, never where nothing is there to be handed over.
    pub fn next_look(&self, source: &Arc<str>, now: Duration) -> Option<Duration> {
        self.table().lane(source).next_look(now)
    }

    /// Takes up to `max` entries, round robin; `allow` is asked for every entry and may refuse it, which ends
    /// that lane's turn. Lanes that have run dry are filled from the journal.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn take<D: Disk>(
        &self,
        reader: &Reader<D>,
        turn: Turn<'_>,
        allow: Allow<'_>,
    ) -> Result<Vec<Taken>, JournalError> {
        let (mut taken, mut left, mut unreadable) = (Vec::new(), turn, None);
        let order = self.turn_order(&turn);
        // A lane that is alone shares with nobody.
        left.shared &= order.len() > 1;
        let mut scans = if left.shared { SCANS_SHARED_MAX } else { SCANS_MAX };
        for source in order {
            if left.max == 0 || left.bytes == 0 {
                break;
            }
            self.table().lane(&source).wake(turn.now, &self.account);
            if let Err(error) = self.refill(&source, reader, &left, &mut scans) {
                unreadable = Some(error);
            }
            let mut table = self.table();
            let lane = table.lane(&source);
            while let Some(entry) = lane.give(&left, |entry| allow(&source, entry)) {
                left.max -= 1;
                left.bytes = left.bytes.saturating_sub(entry.bytes);
                taken.push(Taken { source: Arc::clone(&source), entry });
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
    /// look at a time, and few of them have one in the same turn, so that a lane that lies behind another's
    /// backlog stops nobody; it is called again soon.
    fn refill<D: Disk>(
        &self,
        source: &Arc<str>,
        reader: &Reader<D>,
        turn: &Turn<'_>,
        scans: &mut usize,
    ) -> Result<(), JournalError> {
        loop {
            let (from, skipped) = {
                let mut table = self.table();
                let lane = table.lane(source);
                lane.rewound = None;
                match lane.spilled {
                    Some(from) if lane.ready.is_empty() && lane.has_work(turn.now) => (from, lane.skipped),
                    _ => return Ok(()),
                }
            };
            if *scans == 0 {
                self.ring();
                return Ok(());
            }
            *scans -= 1;
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
                    lane.found(Entry { replay: replayed, ..entry }, &self.account);
                }
            }
            let seen_all = scan.at_end && lane.skipped == skipped;
            let next = lane.rewound.take().map_or(scan.next, |from| from.min(scan.next));
            lane.spilled = if seen_all { None } else { Some(next) };
            if !lane.ready.is_empty() || seen_all {
                return Ok(());
            }
            if turn.shared {
                self.ring();
                return Ok(());
            }
        }
    }

    /// A taken entry turns out to be so many messages: its lane's share of the window is counted in them.
    pub fn weigh(&self, taken: &mut Taken, messages: usize) {
        self.table().lane(&taken.source).weigh(&mut taken.entry, messages);
    }

    /// The watermark that must be durable before `entry` is attempted; `None` where it already is.
    pub fn watermark_needed(&self, taken: &Taken, step: u64) -> Option<Sequence> {
        let mut table = self.table();
        let lane = table.lane(&taken.source);
        (taken.entry.sequence > lane.attempted_through)
            .then(|| Sequence(taken.entry.sequence.0.saturating_add(step)))
    }

    /// How far a source's durable watermark reaches.
    pub fn attempted_through(&self, source: &Arc<str>) -> Sequence {
        self.table().lane(source).attempted_through
    }

    /// Notes that a source's watermark is durable.
    pub fn raised(&self, source: &Arc<str>, through: Sequence) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.attempted_through = lane.attempted_through.max(through);
    }

    /// Whether something older than `sequence` waits to be given out first.
    pub fn is_ready_before(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        self.table().lane(source).ready.first_key_value().is_some_and(|(first, _)| *first < sequence)
    }

    /// The entries in memory that are under suspicion.
    pub fn suspects(&self) -> Vec<Entry> {
        let table = self.table();
        let entries = table.by_source.values().flat_map(Lane::entries);
        entries.filter(|entry| entry.suspicions > 0).copied().collect()
    }

    /// Puts a taken entry back at `now` (monotonic).
    pub fn put_back(&self, taken: Taken, back: Back, now: Duration) {
        self.table().lane(&taken.source).put_back(taken.entry, back, now, &self.account);
    }

    /// A taken entry's life has ended durably at `now` (monotonic), or it is poison and noted as such.
    pub fn ended(&self, taken: &Taken, mark: Mark, now: Duration) {
        let mut table = self.table();
        let lane = table.lane(&taken.source);
        if lane.end(&taken.entry, now) {
            let stand = match mark {
                Mark::Confirmed => Stand::Confirmed,
                Mark::Superseded => Stand::Superseded,
                Mark::Dropped => Stand::Dropped,
                Mark::Poisoned => Stand::Poison,
                Mark::Released | Mark::Replayed => Stand::Pending,
            };
            self.account.shift(lane.row, Stand::Pending, stand, 1);
        }
    }

    /// The first time after `looked` at which a lane will have work, if only time is missing (monotonic).
    pub fn next_due(&self, looked: Duration) -> Option<Duration> {
        self.table().by_source.values().filter_map(|lane| lane.due(looked)).min()
    }

    /// All sources and how they stand.
    pub fn stats(&self) -> Vec<(Arc<str>, LaneStats)> {
        let table = self.table();
        let stats = |source: &Arc<str>| {
            let lane = table.by_source.get(source)?;
            let standing = self.account.standing(lane.row);
            let aside = standing.of(Stand::Unroutable) + standing.of(Stand::Parked);
            let (held, poisoned) = (standing.of(Stand::Held), standing.of(Stand::Poison));
            let stats =
                LaneStats { pending: standing.waiting(), held, poisoned, aside, oldest: lane.oldest() };
            Some((Arc::clone(source), stats))
        };
        table.order.iter().filter_map(stats).collect()
    }
}
