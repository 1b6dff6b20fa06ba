//! One source's queue: what is ready, what waits aside, what is out, and from where on the journal has more.
//! Knows no other lane, and never reads the journal itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::entry::{Back, Entry, Turn, Why};
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::journal::Position;
use crate::metrics::{Account, Row, Stand};

/// Entries that a lane keeps in memory ahead of the relay.
pub(super) const READY_MAX: usize = 2048;
/// Entries that a lane keeps in memory aside (unroutable, parked, delayed); more are left to the journal.
pub(super) const ASIDE_MAX: usize = 4096;
/// How long those left to the journal wait at least: they are many, and each is read and tried again.
const SET_BACK: Duration = Duration::from_secs(60);
/// What a lane may have out of a shared window before its answers have earned it more. RabbitMQ stops reading a
/// whole connection once a quorum queue owes it 32 of them, and then the others wait with this one; so only a lane
/// that could use more, and whose answers come, gets more.
const OWN_WINDOW: usize = 24;
/// No window is larger.
const EARNED_MAX: usize = 1 << 16;
/// A lane that has something out, and has had no answer for so long, gets no more out of a shared window.
const SILENT: Duration = Duration::from_secs(1);

/// Entries that wait and are not in memory.
#[derive(Debug)]
struct SetBack {
    first: Sequence,
    last: Sequence,
    from: Position,
    until: Duration,
    oldest: Timestamp,
    unroutable: u64,
    parked: u64,
}

impl SetBack {
    /// Whether it may be among these.
    fn has(&self, sequence: Sequence) -> bool {
        (self.first..=self.last).contains(&sequence) && self.unroutable + self.parked > 0
    }

    /// One that may be among these is none of them from here on; why it waited.
    fn leave(&mut self, sequence: Sequence) -> Option<Why> {
        let has = self.has(sequence);
        let (count, why) = match self.unroutable {
            0 => (&mut self.parked, Why::Parked),
            _ => (&mut self.unroutable, Why::Unroutable),
        };
        has.then(|| {
            *count -= 1;
            why
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) row: Row,
    pub(super) ready: BTreeMap<Sequence, Entry>,
    aside: BTreeMap<Sequence, (Duration, Why, Entry)>,
    /// When which of `aside` wakes.
    wakes: BTreeSet<(Duration, Sequence)>,
    set_back: Option<SetBack>,
    /// Everything in `ready`, in `aside` or out, and when it came in: a scan that meets it again skips it.
    outstanding: BTreeMap<Sequence, Timestamp>,
    /// Messages given out, and their bytes.
    out: usize,
    out_bytes: u64,
    /// How many may be out of a shared window, beyond [`OWN_WINDOW`], and whether it was used up.
    earned: usize,
    used_up: bool,
    /// When the last of those out was answered for, or the first of them given out (monotonic).
    answered_at: Duration,
    /// Something failed and nothing has been answered for since: one entry goes out at a time.
    probing: bool,
    /// From here on the journal has live records that are not in memory.
    pub(super) spilled: Option<Position>,
    /// Where it was set back to while a scan was under way.
    pub(super) rewound: Option<Position>,
    /// Counts pushes that went past a spilled lane, so that a scan knows whether it has seen them.
    pub(super) skipped: u64,
    paused_until: Duration,
    /// Durable: no record beyond it was ever attempted.
    pub(super) attempted_through: Sequence,
    /// What earlier processes may have attempted.
    pub(super) inherited_through: Sequence,
    /// Wakes one who waits for this lane alone.
    pub(super) arrived: Arc<Notify>,
}

impl Lane {
    pub(super) fn new(row: Row) -> Self {
        Self { row, ..Self::default() }
    }

    pub(super) fn add(&mut self, mut entry: Entry) {
        if self.outstanding.insert(entry.sequence, entry.received_at).is_none() {
            entry.attempted |= entry.sequence <= self.inherited_through;
            self.ready.insert(entry.sequence, entry);
        }
    }

    /// A pending record that a scan has met; one that was set back counts as pending from here on, even before its
    /// time: an operator's order may make the lane read what lies before it.
    pub(super) fn found(&mut self, entry: Entry, account: &Account) {
        if !self.outstanding.contains_key(&entry.sequence) {
            self.leave_set_back(entry.sequence, account);
            self.add(entry);
        }
    }

    /// A record that has just become durable.
    pub(super) fn push(&mut self, entry: Entry) {
        self.arrived.notify_one();
        if self.spilled.is_some() {
            self.skipped += 1;
        } else if self.ready.len() >= READY_MAX {
            self.spilled = Some(entry.position);
            self.skipped += 1;
        } else {
            self.add(entry);
        }
    }

    /// Live records from there on are to be looked at again.
    pub(super) fn look_from(&mut self, from: Position) {
        self.spilled = Some(self.spilled.map_or(from, |spilled| spilled.min(from)));
        self.rewound = Some(self.rewound.map_or(from, |rewound| rewound.min(from)));
        self.skipped += 1;
    }

    pub(super) fn wake(&mut self, now: Duration, account: &Account) {
        while let Some((_, sequence)) = self.wakes.first().copied().filter(|(until, _)| *until <= now) {
            self.wakes.pop_first();
            if let Some((_, why, entry)) = self.aside.remove(&sequence) {
                account.shift(self.row, why.stand(), Stand::Pending, 1);
                self.ready.insert(sequence, entry);
            }
        }
        if let Some(set_back) = self.set_back.take_if(|set_back| set_back.until <= now) {
            account.shift(self.row, Stand::Unroutable, Stand::Pending, set_back.unroutable);
            account.shift(self.row, Stand::Parked, Stand::Pending, set_back.parked);
            self.look_from(set_back.from);
        }
    }

    pub(super) fn has_work(&self, now: Duration) -> bool {
        self.paused_until <= now
            && self.aside.len() < 2 * ASIDE_MAX
            && (!self.ready.is_empty() || self.spilled.is_some())
    }

    /// Whether the lane may hold one more out of a window of which so much is left: no more than is left, so that
    /// `n` lanes that give nothing back leave one part in `n + 1` of it.
    fn may_hold_more(&mut self, left: usize, left_bytes: u64, now: Duration) -> bool {
        let silent = now.saturating_sub(self.answered_at) >= SILENT;
        let share = self.out < left && self.out_bytes < left_bytes;
        self.used_up = self.out >= OWN_WINDOW + self.earned;
        self.out == 0 || (share && !self.used_up && !self.probing && !silent)
    }

    /// Gives out the first entry, if there is one, the turn has room and `allow` agrees.
    pub(super) fn give(&mut self, turn: &Turn<'_>, allow: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let room = turn.max > 0 && turn.bytes > 0;
        if !room || !self.has_work(turn.now) {
            return None;
        }
        if turn.shared && !self.may_hold_more(turn.max, turn.bytes, turn.now) {
            return None;
        }
        let first = self.ready.first_entry().filter(|first| allow(first.get()))?;
        if self.out == 0 {
            self.answered_at = turn.now;
        }
        self.out += first.get().messages;
        self.out_bytes += first.get().bytes;
        Some(first.remove())
    }

    /// An entry that is out turns out to be so many messages.
    pub(super) fn weigh(&mut self, entry: &mut Entry, messages: usize) {
        self.out = self.out.saturating_sub(entry.messages) + messages;
        entry.messages = messages;
    }

    fn come_back(&mut self, entry: &Entry, now: Duration) {
        self.out = self.out.saturating_sub(entry.messages);
        self.out_bytes = self.out_bytes.saturating_sub(entry.bytes);
        self.answered_at = self.answered_at.max(now);
        if self.out == 0 && self.ready.is_empty() {
            self.earned = 0;
        }
    }

    /// Takes an entry back; `now` where the destination has said something about it.
    pub(super) fn put_back(&mut self, entry: Entry, back: Back, now: Duration, account: &Account) {
        self.come_back(&entry, now);
        self.arrived.notify_one();
        if !self.outstanding.contains_key(&entry.sequence) {
            return;
        }
        match back {
            Back::Untried => drop(self.ready.insert(entry.sequence, entry)),
            Back::Retry(at) => {
                self.paused_until = self.paused_until.max(at);
                self.probing = true;
                self.earned = 0;
                self.ready.insert(entry.sequence, entry);
            }
            Back::Aside(until, why) => {
                self.probing = false;
                account.shift(self.row, Stand::Pending, why.stand(), 1);
                if self.aside.len() >= ASIDE_MAX && why != Why::Delayed && !entry.attempted {
                    self.set_back(&entry, until, why);
                } else {
                    self.wakes.insert((until, entry.sequence));
                    self.aside.insert(entry.sequence, (until, why, entry));
                }
            }
        }
    }

    /// Leaves an entry to the journal, which has all that is known of it: it was never attempted.
    fn set_back(&mut self, entry: &Entry, until: Duration, why: Why) {
        self.outstanding.remove(&entry.sequence);
        let (sequence, from, oldest) = (entry.sequence, entry.position, entry.received_at);
        let until = until + SET_BACK;
        let none = SetBack { first: sequence, last: sequence, from, until, oldest, unroutable: 0, parked: 0 };
        let set_back = self.set_back.get_or_insert(none);
        set_back.first = set_back.first.min(sequence);
        set_back.last = set_back.last.max(sequence);
        set_back.from = set_back.from.min(from);
        set_back.oldest = set_back.oldest.min(oldest);
        match why {
            Why::Unroutable => set_back.unroutable += 1,
            Why::Parked | Why::Delayed => set_back.parked += 1,
        }
    }

    /// An entry that was out has ended; false where its life had ended by other means before.
    pub(super) fn end(&mut self, entry: &Entry, now: Duration) -> bool {
        self.come_back(entry, now);
        self.probing = false;
        self.earned += if self.used_up && self.earned < EARNED_MAX { entry.messages } else { 0 };
        self.outstanding.remove(&entry.sequence).is_some()
    }

    /// Takes an entry that waits out of the lane, so that nobody is given it; false where somebody has it already,
    /// or the relay goes one at a time until it knows what becomes of it. It counts as pending from here on.
    pub(super) fn withdraw(&mut self, sequence: Sequence, received_at: Timestamp, account: &Account) -> bool {
        let waiting = self.ready.get(&sequence).or(self.aside.get(&sequence).map(|(_, _, entry)| entry));
        if waiting.is_some_and(|entry| entry.suspicions > 0) {
            return false;
        }
        if self.outstanding.contains_key(&sequence) {
            return self.ready.remove(&sequence).is_some() || self.leave_aside(sequence, account).is_some();
        }
        self.leave_set_back(sequence, account);
        self.outstanding.insert(sequence, received_at);
        true
    }

    fn leave_set_back(&mut self, sequence: Sequence, account: &Account) {
        if let Some(why) = self.set_back.as_mut().and_then(|set_back| set_back.leave(sequence)) {
            account.shift(self.row, why.stand(), Stand::Pending, 1);
        }
    }

    fn leave_aside(&mut self, sequence: Sequence, account: &Account) -> Option<Entry> {
        let (until, why, entry) = self.aside.remove(&sequence)?;
        self.wakes.remove(&(until, sequence));
        account.shift(self.row, why.stand(), Stand::Pending, 1);
        Some(entry)
    }

    /// Forgets an entry that was withdrawn.
    pub(super) fn forget(&mut self, sequence: Sequence) {
        self.outstanding.remove(&sequence);
    }

    /// Makes an entry due at once that waits aside, as if it had never been tried; false where it does not wait.
    pub(super) fn hurry(&mut self, sequence: Sequence, account: &Account) -> bool {
        if let Some(entry) = self.leave_aside(sequence, account) {
            self.ready.insert(sequence, Entry { attempts: 0, closings: 0, ..entry });
            return true;
        }
        let in_memory = self.outstanding.contains_key(&sequence);
        let set_back = self.set_back.as_mut().filter(|set_back| !in_memory && set_back.has(sequence));
        // All of them, since the journal alone knows which they are.
        set_back.map(|set_back| set_back.until = Duration::ZERO).is_some()
    }

    /// Whether an entry waits aside in memory.
    pub(super) fn is_aside(&self, sequence: Sequence) -> bool {
        self.aside.contains_key(&sequence)
    }

    /// Whether an entry is in memory or out: its end, if it has come, has not been told yet.
    pub(super) fn is_outstanding(&self, sequence: Sequence) -> bool {
        self.outstanding.contains_key(&sequence)
    }

    /// The first time after `looked` at which there will be work, if only time is missing.
    pub(super) fn due(&self, looked: Duration) -> Option<Duration> {
        let after = |at: &Duration| *at > looked;
        let aside = self.wakes.range((looked, Sequence(u64::MAX))..).map(|(until, _)| *until).find(after);
        let set_back = self.set_back.as_ref().map(|set_back| set_back.until).filter(after);
        let waits = !self.ready.is_empty() || self.spilled.is_some();
        let paused = waits.then_some(self.paused_until).filter(after);
        aside.into_iter().chain(set_back).chain(paused).min()
    }

    /// When it is worth a look: `now` where it has work, later where only time is missing, never where nothing is
    /// there to be handed over.
    pub(super) fn next_look(&self, now: Duration) -> Option<Duration> {
        if self.has_work(now) { Some(now) } else { self.due(now) }
    }

    /// Everything in memory that is not out.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ready.values().chain(self.aside.values().map(|(_, _, entry)| entry))
    }

    /// When the oldest that is known came in.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let set_back = self.set_back.as_ref().map(|set_back| set_back.oldest);
        self.outstanding.values().next().copied().into_iter().chain(set_back).min()
    }
}
