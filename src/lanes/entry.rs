//! An entry of a lane, and the terms on which it is given out and put back.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::journal::Position;
use crate::metrics::Stand;

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
    /// How often the broker closed the channel while it was in flight, since it last answered for it: one of
    /// those in flight is the cause.
    pub suspicions: u32,
    /// How often it did so with nothing else in flight.
    pub closings: u32,
    /// Its size in the journal.
    pub bytes: u64,
    /// An operator wants it published again.
    pub replay: bool,
    /// Some of its parts may be confirmed, and the relay may remember which; if it does not, all of them go out marked.
    pub partial: bool,
    /// Messages that it is, as far as is known: a split record is as many as it has parts.
    pub messages: usize,
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
            suspicions: 0,
            closings: 0,
            bytes,
            replay: false,
            partial: false,
            messages: 1,
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

/// Why an entry goes back to its lane. All times are monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// It goes first again: nothing was done with it.
    Untried,
    /// It goes first again, and the lane gives out nothing newer before that time. Where lanes share a window,
    /// it goes alone then, until the destination has answered for something of this lane.
    Retry(Duration),
    /// It waits until that time; newer ones may pass it.
    Aside(Duration, Why),
}

/// Why an entry waits aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No queue is bound for it.
    Unroutable,
    /// Another replica claims it.
    Parked,
    /// A worker asked for a pause, or it could not be read.
    Delayed,
}

impl Why {
    /// Its term in the account.
    pub(super) fn stand(self) -> Stand {
        match self {
            Self::Unroutable => Stand::Unroutable,
            Self::Parked => Stand::Parked,
            Self::Delayed => Stand::Pending,
        }
    }
}

/// Whether an entry may be taken; a refusal ends its lane's turn.
pub type Allow<'a> = &'a mut dyn FnMut(&Arc<str>, &Entry) -> bool;

/// How much one call of [`Lanes::take`](super::Lanes::take) may take.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'s> {
    /// Entries in all.
    pub max: usize,
    /// Bytes in all, passed by one entry at most.
    pub bytes: u64,
    /// Whether `max` and `bytes` are what is free of a window that all lanes share.
    pub shared: bool,
    /// Only from this source.
    pub only: Option<&'s Arc<str>>,
    /// Monotonic time.
    pub now: Duration,
}
