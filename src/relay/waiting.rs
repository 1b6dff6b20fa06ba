//! Those who wait at the inbox: in a line for each source, first come first served, so many at most.
//!
//! Only who is first in a line looks at the lane, so an event wakes one worker and not all of them. Knows nothing
//! of events: what is worth a look is the inbox's matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Line, Notify, Semaphore, SemaphorePermit, watch};

/// Workers that may wait at once, in all lines together.
const WAITING_MAX: usize = 1000;

/// The lines.
pub(super) struct Waiting {
    lines: Mutex<HashMap<Arc<str>, Arc<Line<()>>>>,
    places: Semaphore,
    /// A lease has ended: where all were out, one can be granted again.
    pub freed: Notify,
    stopping: watch::Sender<bool>,
}

impl Waiting {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self {
            lines: Mutex::default(),
            places: Semaphore::new(WAITING_MAX),
            freed: Notify::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// A place among those who wait, if there is one; given up when dropped.
    pub(super) fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// The line of a source: whoever holds its lock is first, and the longest waiting one is next.
    pub(super) fn line(&self, source: &Arc<str>) -> Arc<Line<()>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(Arc::clone(source)).or_default())
    }

    /// Sends everybody away, now and from here on.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether everybody is sent away.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Resolves when everybody is sent away.
    pub(super) async fn stopped(&self) {
        // The sender lives as long as `self`, so this ends with a yes only.
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }
}
