//! Giving way: while deliveries come in as fast as the journal takes them, the relay hands over a little at a time, and
//! the processor is theirs. What waits is handed over afterwards.
//!
//! Counts commits and decides how much; takes nothing and stops nothing. A load that does not end is given way to for a
//! bounded time, and what is given way to never gets everything.

use std::time::Duration;

use crate::accept::Load;

/// How long one look at the load lasts, and how far apart a little is handed over.
const LOOK: Duration = Duration::from_millis(20);
/// So many deliveries a commit make a load: more wait for the disk at any time than it takes one by one.
const LOADED_FROM: u64 = 8;
/// Fewer commits in one look are no load: a single burst, or it is the disk that is busy and not the processor.
const COMMITS_FROM: u64 = 4;
/// What is handed over at a time under load.
const LITTLE: usize = 16;
/// How long one load is given way to.
const LONGEST: Duration = Duration::from_secs(10);
/// What begins within so long of a load's end is the same load.
const PAUSE: Duration = Duration::from_secs(1);

/// How the relay gives way.
#[derive(Debug, Default)]
pub(super) struct Yielding {
    /// What was counted at the last look, and when that was (monotonic).
    seen: Load,
    looked: Duration,
    /// Since when there is a load, and when it was seen last.
    load: Option<(Duration, Duration)>,
    /// Whether way is given, and when a little may be handed over.
    gives_way: bool,
    next: Duration,
}

impl Yielding {
    /// Looks at what has been accepted so far.
    pub(super) fn look(&mut self, counted: Load, now: Duration) {
        if now.saturating_sub(self.looked) < LOOK {
            return;
        }
        let commits = counted.commits.saturating_sub(self.seen.commits);
        let deliveries = counted.deliveries.saturating_sub(self.seen.deliveries);
        (self.seen, self.looked) = (counted, now);
        let loaded = commits >= COMMITS_FROM && deliveries >= LOADED_FROM * commits;
        let same = self.load.filter(|(_, last)| now.saturating_sub(*last) < PAUSE);
        let since = same.map_or(now, |(since, _)| since);
        self.load = if loaded { Some((since, now)) } else { same };
        self.gives_way = loaded && now.saturating_sub(since) < LONGEST;
        if !self.gives_way {
            self.next = now;
        }
    }

    /// How many events may be taken at once.
    pub(super) fn room(&self) -> usize {
        if self.gives_way { LITTLE } else { usize::MAX }
    }

    /// When something may be taken (monotonic).
    pub(super) fn due(&self) -> Duration {
        self.next
    }

    /// Something was taken.
    pub(super) fn took(&mut self, now: Duration) {
        if self.gives_way {
            self.next = now + LOOK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Looks every 20 ms until `until`, with so many deliveries in each of ten commits.
    fn run(yielding: &mut Yielding, (from, until): (u64, u64), deliveries: u64) {
        for millis in (from..until).step_by(20) {
            let seen = yielding.seen;
            let counted = Load { commits: seen.commits + 10, deliveries: seen.deliveries + 10 * deliveries };
            yielding.look(counted, at(millis));
        }
    }

    #[test]
    fn a_load_is_given_way_to_a_little_at_a_time_and_no_longer_than_it_lasts() {
        let mut yielding = Yielding::default();
        run(&mut yielding, (100, 200), LOADED_FROM - 1);
        assert_eq!(yielding.room(), usize::MAX, "commits of a few are no load");
        run(&mut yielding, (200, 300), LOADED_FROM);
        assert_eq!(yielding.room(), LITTLE);
        yielding.took(at(295));
        assert_eq!(yielding.due(), at(315));
        yielding.look(yielding.seen, at(300));
        assert_eq!((yielding.room(), yielding.due()), (usize::MAX, at(300)), "nothing was committed since");
    }

    #[test]
    fn a_load_that_does_not_end_gets_its_share_only() {
        let mut yielding = Yielding::default();
        run(&mut yielding, (100, 10_100), 50);
        assert_eq!(yielding.room(), LITTLE);
        run(&mut yielding, (10_100, 20_000), 50);
        assert_eq!(yielding.room(), usize::MAX);
        run(&mut yielding, (20_000, 20_500), 0);
        run(&mut yielding, (20_500, 20_600), 50);
        assert_eq!(yielding.room(), usize::MAX, "a breath later it is the same load");
        run(&mut yielding, (20_600, 21_700), 0);
        run(&mut yielding, (21_700, 21_800), 50);
        assert_eq!(yielding.room(), LITTLE);
    }
}
