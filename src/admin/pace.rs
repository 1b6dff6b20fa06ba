//! How many calls are taken in a second: a script gone wild is told to wait before it takes the machine from the deliveries.

use std::sync::Arc;
use std::time::Duration;

use super::guard::Area;
use crate::clock::Clock;
use crate::limit::{self, Limit};

/// Calls in a second, and at once: of who may look, of who may do everything, of all others, and for the console's files.
const CALLS: (u32, u32) = (200, 400);

/// The pace of all calls but the workers', which have events to take at whatever rate they come in.
pub struct Pace {
    looks: Limit,
    operations: Limit,
    refused: Limit,
    files: Limit,
}

impl Pace {
    /// The usual one.
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        let limit = || Limit::new(limit::per_second(CALLS.0, CALLS.1), Arc::clone(clock));
        Self { looks: limit(), operations: limit(), refused: limit(), files: limit() }
    }

    /// Takes one call. Those who may not call take nothing from those who may.
    ///
    /// # Errors
    /// Beyond the pace: how long to wait.
    pub(super) fn take(&self, area: Area, may: bool) -> Result<(), Duration> {
        match (area, may) {
            (Area::Inbox, true) => Ok(()),
            // Anybody may have them: who asks for very many keeps others from the page, and from nothing else.
            (Area::Page, true) => self.files.take(),
            // A reader keeps no operator from acting.
            (Area::Look, true) => self.looks.take(),
            (Area::Operation, true) => self.operations.take(),
            (_, false) => self.refused.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Manual, Timestamp};

    #[test]
    fn who_may_not_call_takes_nothing_from_who_may_and_workers_are_not_paced() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1_000)));
        let shared: Arc<dyn Clock> = clock.clone();
        let pace = Pace::new(&shared);
        let taken = |area, may| (0..1_000).filter(|_| pace.take(area, may).is_ok()).count();
        assert_eq!(taken(Area::Look, false), 400);
        assert_eq!(taken(Area::Inbox, false), 0, "a guess is a guess");
        assert_eq!(taken(Area::Look, true), 400);
        assert_eq!((taken(Area::Operation, true), taken(Area::Page, true)), (400, 400));
        assert_eq!(taken(Area::Inbox, true), 1_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!((taken(Area::Look, true), taken(Area::Look, false)), (200, 200));
    }
}
