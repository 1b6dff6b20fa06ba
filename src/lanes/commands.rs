//! What operators change in the lanes, by marks that are durable already. Publishes nothing by itself.

use std::sync::Arc;

use super::entry::Entry;
use super::lane::READY_MAX;
use super::table::Lanes;
use crate::event::Sequence;
use crate::journal::State;
use crate::metrics::Stand;

impl Lanes {
    /// A record that stood so was dropped: it is given out no more. A copy that is on its way may still arrive.
    pub fn dropped(&self, source: &Arc<str>, sequence: Sequence, was: State) {
        let mut table = self.table();
        let lane = table.lane(source);
        let (row, found) = (lane.row, lane.forget(sequence));
        let from = if was == State::Pending { found } else { stand(was) };
        self.account().shift(row, from, Stand::Dropped, 1);
    }

    /// A record that was held or poison is to be relayed.
    pub fn released(&self, source: &Arc<str>, entry: Entry, was: State) {
        let mut table = self.table();
        let lane = table.lane(source);
        self.account().shift(lane.row, stand(was), Stand::Pending, 1);
        if lane.ready.len() < READY_MAX {
            lane.add(entry);
        } else {
            lane.look_from(entry.position);
        }
        drop(table);
        self.ring();
    }
}

fn stand(state: State) -> Stand {
    match state {
        State::Pending => Stand::Pending,
        State::Held => Stand::Held,
        State::Poisoned => Stand::Poison,
    }
}
