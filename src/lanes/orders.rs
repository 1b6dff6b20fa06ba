//! What an operator does to lanes: records that are pending again, taken out, or due at once. Called by the acceptance
//! thread, which alone makes the marks behind it durable.

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, Lanes};
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::journal::Position;

/// Records of one source that are durably pending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The first of them; the lane reads the journal again from here on.
    pub from: Position,
    /// How many had ended.
    pub replayed: u64,
    /// How many were held.
    pub released: u64,
    /// How many were poison.
    pub requeued: u64,
    /// Up to here they may have been attempted, by this process too.
    pub attempted_through: Sequence,
}

impl Again {
    /// Nothing yet, from there on.
    pub fn none(from: Position) -> Self {
        Self { from, replayed: 0, released: 0, requeued: 0, attempted_through: Sequence(0) }
    }
}

impl Lane {
    fn rewind(&mut self, from: Position) {
        self.spilled = Some(self.spilled.map_or(from, |spilled| spilled.min(from)));
        self.rewound = Some(self.rewound.map_or(from, |rewound| rewound.min(from)));
        self.skipped += 1;
    }
}

impl Lanes {
    /// Takes in records that are pending again: they follow what the lane has in memory, in order of sequence.
    pub fn again(&self, source: &Arc<str>, again: Again) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.pending += again.replayed + again.released + again.requeued;
        lane.held = lane.held.saturating_sub(again.released);
        lane.poisoned = lane.poisoned.saturating_sub(again.requeued);
        lane.inherited_through = lane.inherited_through.max(again.attempted_through);
        lane.rewind(again.from);
        drop(table);
        self.filled.notify_one();
    }

    /// Takes a pending record out of its lane, so that nobody is given it from here on; false where somebody has it
    /// already. [`Lanes::ended`] follows once its end is durable.
    pub fn withdraw(&self, source: &Arc<str>, sequence: Sequence, received_at: Timestamp) -> bool {
        let mut table = self.table();
        let lane = table.lane(source);
        let entry = lane.ready.get(&sequence).or(lane.aside.get(&sequence).map(|(_, entry)| entry));
        // The relay goes one at a time until it knows what becomes of a suspect.
        if entry.is_some_and(|entry| entry.suspect) {
            return false;
        }
        let waits = lane.ready.remove(&sequence).is_some() || lane.aside.remove(&sequence).is_some();
        waits || lane.outstanding.insert(sequence, received_at).is_none()
    }

    /// Forgets a record that was not pending and whose life has ended durably.
    pub fn dropped(&self, source: &Arc<str>, held: u64, poisoned: u64) {
        let mut table = self.table();
        let lane = table.lane(source);
        lane.held = lane.held.saturating_sub(held);
        lane.poisoned = lane.poisoned.saturating_sub(poisoned);
    }

    /// Makes a record due at once that waits aside, as if it had never been tried; false where it does not wait.
    pub fn hurry(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        let mut table = self.table();
        let waiting = table.lane(source).aside.get_mut(&sequence);
        let waits = waiting.is_some();
        if let Some((until, entry)) = waiting {
            *until = Duration::ZERO;
            entry.attempts = 0;
            entry.closings = 0;
        }
        drop(table);
        if waits {
            self.filled.notify_one();
        }
        waits
    }

    /// Whether a record waits aside: unroutable, parked, or given back by a worker.
    pub fn is_aside(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        let table = self.table();
        table.by_source.get(source).is_some_and(|lane| lane.aside.contains_key(&sequence))
    }
}
