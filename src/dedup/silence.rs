//! How long others have been silent: who waits for a claim takes it over once its owner has been gone long enough.
//!
//! Pure: is told who lives, and when. Asks nobody.

use std::collections::HashMap;
use std::time::Duration;

use super::{Life, Owner};

/// Silent owners that are watched, at most; there are as many as ever shared this Redis.
const SILENT_MAX: usize = 1_024;

/// How long a replica that has started again has to make its earlier run's claims its own. What it has not asked
/// for by then, it may never ask for: its record can be marked, though Redis was not told.
const FOLLOWED_FOR: Duration = Duration::from_secs(30);

/// Since when (monotonic) an owner gives no sign, and since when a later run of that replica does.
#[derive(Clone, Copy, Debug)]
struct Since {
    silent: Duration,
    followed: Option<Duration>,
}

/// Since when which owners have been silent.
#[derive(Debug)]
pub struct Silence {
    /// How long an owner must have been silent.
    takeover_after: Duration,
    /// By replica and run.
    since: HashMap<(String, Option<String>), Since>,
}

impl Silence {
    /// Nobody is silent yet.
    pub fn new(takeover_after: Duration) -> Self {
        Self { takeover_after, since: HashMap::new() }
    }

    /// Notes at `now` (monotonic) how an owner is.
    pub fn heard(&mut self, owner: &Owner, life: Life, now: Duration) {
        let Owner::Replica { id, run } = owner else { return };
        let known = (id.clone(), run.clone());
        if life == Life::Lives {
            self.since.remove(&known);
        } else if self.since.contains_key(&known) || self.has_room(now) {
            let since = self.since.entry(known).or_insert(Since { silent: now, followed: None });
            if life == Life::Followed {
                since.followed.get_or_insert(now);
            }
        }
    }

    /// Where no room is left, those go that were taken over long ago: their claims are gone.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.since.len() >= SILENT_MAX {
            let old = self.takeover_after.saturating_mul(2);
            self.since.retain(|_, since| now.saturating_sub(since.silent) < old);
        }
        self.since.len() < SILENT_MAX
    }

    fn is_long(&self, since: &Since, now: Duration) -> bool {
        let for_long = |since: Duration, enough| now.saturating_sub(since) >= enough;
        for_long(since.silent, self.takeover_after)
            || since.followed.is_some_and(|since| for_long(since, FOLLOWED_FOR))
    }

    /// Whether claims of this owner are to be taken over at `now` (monotonic).
    pub fn is_over(&self, owner: &Owner, now: Duration) -> bool {
        match owner {
            Owner::Lease(left) => left.is_zero(),
            Owner::Unknown => false,
            Owner::Replica { id, run } => {
                self.since.get(&(id.clone(), run.clone())).is_some_and(|since| self.is_long(since, now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn replica(run: &str) -> Owner {
        Owner::Replica { id: "one".to_owned(), run: Some(run.to_owned()) }
    }

    #[test]
    fn silence_counts_from_its_first_moment_and_a_word_ends_it() {
        let mut silence = Silence::new(AFTER);
        silence.heard(&replica("a"), Life::Silent, at(10));
        silence.heard(&replica("a"), Life::Silent, at(500));
        assert!(!silence.is_over(&replica("a"), at(609)));
        assert!(silence.is_over(&replica("a"), at(610)));
        assert!(!silence.is_over(&replica("b"), at(610)), "another run is another owner");
        silence.heard(&replica("a"), Life::Lives, at(611));
        silence.heard(&replica("a"), Life::Silent, at(612));
        assert!(!silence.is_over(&replica("a"), at(1211)));
    }

    #[test]
    fn a_run_that_another_follows_is_over_sooner() {
        let mut silence = Silence::new(AFTER);
        silence.heard(&replica("a"), Life::Silent, at(10));
        silence.heard(&replica("a"), Life::Followed, at(100));
        silence.heard(&replica("a"), Life::Followed, at(129));
        assert!(!silence.is_over(&replica("a"), at(129)), "the later run has its time to ask for them");
        assert!(silence.is_over(&replica("a"), at(130)));
        silence.heard(&replica("a"), Life::Silent, at(131));
        assert!(silence.is_over(&replica("a"), at(131)), "the later run's own end brings it not back");
        let mut hasty = Silence::new(at(1));
        hasty.heard(&replica("a"), Life::Followed, at(10));
        assert!(hasty.is_over(&replica("a"), at(11)), "never later than a silent one");
    }

    #[test]
    fn leases_end_by_themselves_and_the_unknown_never() {
        let silence = Silence::new(AFTER);
        assert!(silence.is_over(&Owner::Lease(Duration::ZERO), at(0)));
        assert!(!silence.is_over(&Owner::Lease(at(1)), at(9_999)));
        assert!(!silence.is_over(&Owner::Unknown, at(9_999)));
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let mut silence = Silence::new(AFTER);
        for run in 0..3_000 {
            silence.heard(&replica(&run.to_string()), Life::Silent, at(0));
        }
        assert_eq!(silence.since.len(), SILENT_MAX);
        silence.heard(&replica("late"), Life::Silent, at(1_200));
        assert_eq!(silence.since.len(), 1);
    }
}
