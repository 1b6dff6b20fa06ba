//! Events as they come in. What a caller has not taken stays in the journal: a slow one takes no memory, and one that comes
//! back with the number that it had last misses nothing that retention has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::operator::{BUDGET, Cursor, Operator, OperatorError, Seen};
use super::selection::Selection;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::journal::Position;

/// Tails at once.
const TAILS_MAX: usize = 16;
/// Events of one look.
const EVENTS_MAX: usize = 256;

/// Why there is no tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTail {
    /// As many are followed as may be.
    #[error("{TAILS_MAX} tails are followed already")]
    TooMany,
    /// The gateway is ending.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What all tails share.
pub(super) struct Tails {
    free: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl Default for Tails {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(TAILS_MAX)), stopping: AtomicBool::new(false) }
    }
}

/// A place in the journal, and what is wanted of what comes behind it.
pub struct Tail {
    selection: Selection,
    position: Position,
    told: Sequence,
    _one: OwnedSemaphorePermit,
}

impl Tail {
    /// All that was wanted up to this number has been told.
    pub fn told(&self) -> Sequence {
        self.told
    }
}

impl<D: Disk> Operator<D> {
    /// Follows a selection: from behind `after`, else from where the selection begins, else from now on.
    ///
    /// # Errors
    /// Where too many are followed, or the gateway is stopping.
    pub fn tail(&self, mut selection: Selection, after: Option<Sequence>) -> Result<Tail, NoTail> {
        if self.tails.stopping.load(Ordering::Relaxed) {
            return Err(NoTail::Stopping);
        }
        let one = Arc::clone(&self.tails.free).try_acquire_owned().map_err(|_| NoTail::TooMany)?;
        let now = self.parts.reader.durable_through();
        // A number beyond the newest is of another journal: its events would be waited for, and those that come be missed.
        let after = after.map(|after| after.min(now));
        let begins = selection.first.is_some() || selection.since.is_some();
        let behind = after.or(if begins { None } else { Some(now) });
        if let Some(behind) = behind {
            let next = Sequence(behind.0 + 1);
            selection.first = Some(selection.first.map_or(next, |first| first.max(next)));
        }
        let told = Sequence(selection.first.map_or(0, |first| first.0.saturating_sub(1)).min(now.0));
        let position = self.begin(&selection).position;
        Ok(Tail { selection, position, told, _one: one })
    }

    /// What has come in since, up to a few hundred events; none where nothing has, or nothing that is wanted.
    ///
    /// # Errors
    /// Where the journal cannot be read, or the gateway is stopping.
    pub async fn follow(&self, tail: &mut Tail) -> Result<Vec<Seen>, OperatorError> {
        if self.tails.stopping.load(Ordering::Relaxed) {
            return Err(OperatorError::Stopping);
        }
        let through = self.parts.reader.durable_through();
        if through <= tail.told {
            return Ok(Vec::new());
        }
        let from = Cursor { position: tail.position, through };
        let look = self.look(&tail.selection, from, (EVENTS_MAX, BUDGET)).await?;
        tail.position = look.at;
        tail.told = match look.events.last() {
            _ if look.at_end => through,
            Some(last) => last.found.sequence,
            None => tail.told,
        };
        Ok(look.events)
    }

    /// Ends all tails soon; there are no new ones.
    pub fn end_tails(&self) {
        self.tails.stopping.store(true, Ordering::Relaxed);
    }
}
