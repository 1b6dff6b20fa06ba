//! What is live: one bit for each event, and small maps for those that moved, are held or are poison.
//! Shared between the writer, who alone changes it, and the readers. Never touches a file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::record::{HELD, Mark, POISONED};
use super::segment::{HEADER, Position};
use crate::clock::Timestamp;
use crate::event::Sequence;

/// Where a live record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be relayed.
    Pending,
    /// Waits for an operator's word.
    Held,
    /// Out of the relay.
    Poisoned,
}

impl State {
    pub(super) fn flags(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Held => HELD,
            Self::Poisoned => POISONED,
        }
    }

    pub(super) fn of(flags: u8) -> Self {
        match flags {
            flags if flags & POISONED != 0 => Self::Poisoned,
            flags if flags & HELD != 0 => Self::Held,
            _ => Self::Pending,
        }
    }
}

/// How a record stands that the journal still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its life has not ended.
    Live(State),
    /// Its life ended by this mark; it stays until retention removes its segment, and may be replayed.
    Ended(Mark),
}

/// One segment. `bytes` is its size on disk, `end` where its durable frames end.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) number: u64,
    pub(super) file: Arc<F>,
    pub(super) base: u64,
    pub(super) count: u64,
    pub(super) end: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    gone: Vec<u64>,
    /// Two bits for each event: how its life ended last. They stay when it is replayed: a record that is not gone
    /// and has them is a replay.
    ends: Vec<u64>,
    events: u64,
    event_bytes: u64,
    pub(super) live: u64,
    pub(super) moved: u64,
    moved_bytes: u64,
    /// Held or poisoned records that lie here.
    pub(super) aside: u64,
}

impl<F> Segment<F> {
    pub(super) fn new(number: u64, file: Arc<F>, base: Sequence, bytes: u64) -> Self {
        Self {
            number,
            file,
            base: base.0,
            count: 0,
            end: HEADER,
            bytes,
            oldest: None,
            newest: None,
            gone: Vec::new(),
            ends: Vec::new(),
            events: 0,
            event_bytes: 0,
            live: 0,
            moved: 0,
            moved_bytes: 0,
            aside: 0,
        }
    }

    /// Bytes of live records here: exact when all or none are live, else by the average record.
    pub(super) fn live_bytes(&self) -> u64 {
        let average = u128::from(self.event_bytes) * u128::from(self.live) / u128::from(self.events.max(1));
        average as u64 + self.moved_bytes
    }

    fn is_gone(&self, sequence: u64) -> bool {
        let index = sequence.wrapping_sub(self.base);
        let word = self.gone.get((index / 64) as usize);
        index >= self.count || word.is_none_or(|word| word >> (index % 64) & 1 == 1)
    }

    fn push(&mut self, gone: bool) {
        let bit = self.count % 64;
        if bit == 0 {
            self.gone.push(0);
        }
        if let Some(word) = self.gone.last_mut() {
            *word |= u64::from(gone) << bit;
        }
        if self.count.is_multiple_of(32) {
            self.ends.push(0);
        }
        self.count += 1;
    }

    /// How the event's life ended last; none where it never did, or the number was left out.
    fn end_of(&self, sequence: u64) -> Option<Mark> {
        let index = sequence.wrapping_sub(self.base);
        let word = self.ends.get((index / 32) as usize).filter(|_| index < self.count)?;
        match word >> (index % 32 * 2) & 3 {
            1 => Some(Mark::Confirmed),
            2 => Some(Mark::Superseded),
            3 => Some(Mark::Dropped),
            _ => None,
        }
    }

    fn note_end(&mut self, sequence: u64, mark: Mark) {
        let index = sequence.wrapping_sub(self.base);
        let code = match mark {
            Mark::Confirmed => 1_u64,
            Mark::Superseded => 2,
            Mark::Dropped => 3,
            Mark::Poisoned | Mark::Released | Mark::Replayed => return,
        };
        if let Some(word) = self.ends.get_mut((index / 32) as usize).filter(|_| index < self.count) {
            let shift = index % 32 * 2;
            *word = *word & !(3 << shift) | code << shift;
        }
    }

    fn revive(&mut self, sequence: u64) {
        let index = sequence - self.base;
        if let Some(word) = self.gone.get_mut((index / 64) as usize) {
            *word &= !(1 << (index % 64));
        }
        self.live += 1;
    }

    fn leave(&mut self, sequence: u64) {
        let index = sequence - self.base;
        if let Some(word) = self.gone.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
        self.live -= 1;
    }

    fn touch(&mut self, at: Timestamp) {
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
    }
}

/// A live record that compaction copied forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) home: Position,
    pub(super) at: Position,
    pub(super) bytes: u64,
    /// Its life had ended before.
    pub(super) replayed: bool,
}

/// All segments and the state of every live record.
#[derive(Debug)]
pub(super) struct Ledger<F> {
    pub(super) segments: VecDeque<Segment<F>>,
    moved: BTreeMap<Sequence, Moved>,
    homes: BTreeMap<Position, Sequence>,
    aside: BTreeMap<Sequence, State>,
    pub(super) durable_through: Sequence,
    pub(super) live_records: u64,
    pub(super) live_bytes: u64,
    pub(super) bytes: u64,
}

impl<F> Ledger<F> {
    pub(super) fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            moved: BTreeMap::new(),
            homes: BTreeMap::new(),
            aside: BTreeMap::new(),
            durable_through: Sequence(0),
            live_records: 0,
            live_bytes: 0,
            bytes: 0,
        }
    }

    pub(super) fn open_segment(&mut self, segment: Segment<F>) {
        self.bytes += segment.bytes;
        self.segments.push_back(segment);
    }

    /// Takes the oldest segment out; nothing in it may be live.
    pub(super) fn close_head(&mut self) -> Option<Segment<F>> {
        let head = self.segments.pop_front()?;
        self.bytes -= head.bytes;
        Some(head)
    }

    pub(super) fn resize(&mut self, number: u64, bytes: u64) {
        if let Some(index) = self.index(number) {
            self.bytes = self.bytes - self.segments[index].bytes + bytes;
            self.segments[index].bytes = bytes;
        }
    }

    /// A new event in the last segment; sequences that were left out before it count as lost.
    pub(super) fn append(&mut self, sequence: Sequence, bytes: u64, received_at: Timestamp, held: bool) {
        let Some(index) = self.segments.len().checked_sub(1) else { return };
        self.adjust(index, |segment| {
            while segment.base + segment.count < sequence.0 {
                segment.push(true);
            }
            segment.push(false);
            segment.touch(received_at);
            segment.events += 1;
            segment.event_bytes += bytes;
            segment.live += 1;
            segment.aside += u64::from(held);
        });
        if held {
            self.aside.insert(sequence, State::Held);
        }
        self.live_records += 1;
    }

    /// A copy of an older record at `moved.at`; from here on it is the record.
    pub(super) fn move_to(&mut self, sequence: Sequence, moved: Moved, state: State, when: Timestamp) {
        self.leave(sequence);
        let Some(index) = self.index(moved.at.segment) else { return };
        self.adjust(index, |segment| {
            segment.touch(when);
            segment.moved += 1;
            segment.moved_bytes += moved.bytes;
            segment.aside += u64::from(state != State::Pending);
        });
        self.moved.insert(sequence, moved);
        self.homes.insert(moved.home, sequence);
        if state != State::Pending {
            self.aside.insert(sequence, state);
        }
        self.live_records += 1;
    }

    /// Applies a mark; false where it changes nothing: the record's life had ended before or, for a replay, has not.
    pub(super) fn mark(&mut self, sequence: Sequence, mark: Mark) -> bool {
        if mark == Mark::Replayed {
            return self.revive(sequence);
        }
        let Some(state) = self.state(sequence) else { return false };
        match mark {
            Mark::Confirmed | Mark::Superseded | Mark::Dropped => {
                if let Some(home) = self.range(sequence) {
                    self.segments[home].note_end(sequence.0, mark);
                }
                self.leave(sequence);
            }
            Mark::Replayed => {}
            Mark::Poisoned => self.set_state(sequence, state, State::Poisoned),
            Mark::Released => self.set_state(sequence, state, State::Pending),
        }
        true
    }

    /// The state of a live record, none where its life has ended.
    pub(super) fn state(&self, sequence: Sequence) -> Option<State> {
        self.place(sequence)?;
        Some(self.aside.get(&sequence).copied().unwrap_or(State::Pending))
    }

    /// How a record stands; none where the journal does not hold it, or no longer.
    pub(super) fn standing(&self, sequence: Sequence) -> Option<Standing> {
        match self.state(sequence) {
            Some(state) => Some(Standing::Live(state)),
            None => self.ended(sequence).map(Standing::Ended),
        }
    }

    /// How the life of a record ended that can be replayed: its home segment is there.
    pub(super) fn ended(&self, sequence: Sequence) -> Option<Mark> {
        let segment = &self.segments[self.range(sequence)?];
        let live = self.moved.contains_key(&sequence) || !segment.is_gone(sequence.0);
        if live { None } else { segment.end_of(sequence.0) }
    }

    /// True for a live record whose life had ended before.
    pub(super) fn is_replay(&self, sequence: Sequence) -> bool {
        match self.moved.get(&sequence) {
            Some(moved) => moved.replayed,
            None => self.home(sequence).is_some_and(|home| self.segments[home].end_of(sequence.0).is_some()),
        }
    }

    /// Where the bytes of a moved record are.
    pub(super) fn moved(&self, sequence: Sequence) -> Option<Moved> {
        self.moved.get(&sequence).copied()
    }

    /// How many live records of these numbers have moved, the last one left out.
    pub(super) fn moved_between(&self, first: Sequence, end: Sequence) -> u64 {
        if first < end { self.moved.range(first..end).count() as u64 } else { 0 }
    }

    /// True where the original in its home segment is the record.
    pub(super) fn at_home(&self, sequence: Sequence) -> bool {
        self.home(sequence).is_some()
    }

    /// The moved records whose homes are in `from..to`, in order, at most `max`.
    pub(super) fn homeless(&self, from: Position, to: Position, max: usize) -> Vec<(Sequence, Moved)> {
        if from >= to {
            return Vec::new();
        }
        let range = self.homes.range(from..to).take(max);
        range.filter_map(|(_, sequence)| Some((*sequence, self.moved(*sequence)?))).collect()
    }

    /// True where a record whose home is segment `number` moved and is live.
    pub(super) fn has_moved_from(&self, number: u64) -> bool {
        let (from, to) =
            (Position { segment: number, offset: 0 }, Position { segment: number + 1, offset: 0 });
        self.homes.range(from..to).next().is_some()
    }

    /// The index of segment `number`.
    pub(super) fn index(&self, number: u64) -> Option<usize> {
        self.segments.binary_search_by_key(&number, |segment| segment.number).ok()
    }

    /// Where the scan for live records may start.
    pub(super) fn first_live(&self) -> Position {
        let home = self.homes.keys().next().copied();
        let first = self.segments.iter().find(|segment| segment.live > 0).or(self.segments.back());
        let first = first.map(|segment| Position { segment: segment.number, offset: HEADER });
        home.into_iter().chain(first).min().unwrap_or_default()
    }

    /// The segment in whose range of numbers this one lies.
    pub(super) fn range(&self, sequence: Sequence) -> Option<usize> {
        self.segments.partition_point(|s| s.base <= sequence.0).checked_sub(1)
    }

    /// Makes a record live again at its home; false where it is live, or not there.
    fn revive(&mut self, sequence: Sequence) -> bool {
        let (Some(index), Some(_)) = (self.range(sequence), self.ended(sequence)) else { return false };
        self.adjust(index, |segment| segment.revive(sequence.0));
        self.live_records += 1;
        true
    }

    fn home(&self, sequence: Sequence) -> Option<usize> {
        let index = self.range(sequence)?;
        (!self.segments[index].is_gone(sequence.0)).then_some(index)
    }

    fn place(&self, sequence: Sequence) -> Option<usize> {
        match self.moved.get(&sequence) {
            Some(moved) => self.index(moved.at.segment),
            None => self.home(sequence),
        }
    }

    /// Takes a live record out of where it lies.
    fn leave(&mut self, sequence: Sequence) {
        let Some(index) = self.place(sequence) else { return };
        let aside = u64::from(self.aside.remove(&sequence).is_some());
        let moved = self.moved.remove(&sequence);
        if let Some(moved) = moved {
            self.homes.remove(&moved.home);
        }
        self.adjust(index, |segment| {
            segment.aside -= aside;
            match moved {
                Some(moved) => {
                    segment.moved -= 1;
                    segment.moved_bytes -= moved.bytes;
                }
                None => segment.leave(sequence.0),
            }
        });
        self.live_records -= 1;
    }

    fn set_state(&mut self, sequence: Sequence, was: State, state: State) {
        let Some(index) = self.place(sequence) else { return };
        let segment = &mut self.segments[index];
        segment.aside = segment.aside + u64::from(state != State::Pending) - u64::from(was != State::Pending);
        match state {
            State::Pending => self.aside.remove(&sequence),
            State::Held | State::Poisoned => self.aside.insert(sequence, state),
        };
    }

    fn adjust(&mut self, index: usize, change: impl FnOnce(&mut Segment<F>)) {
        let segment = &mut self.segments[index];
        let before = segment.live_bytes();
        change(segment);
        self.live_bytes = self.live_bytes - before + segment.live_bytes();
    }
}
