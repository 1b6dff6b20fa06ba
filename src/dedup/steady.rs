//! The index's own sense of time: wall time in which neither a forward step of the clock makes a key older, nor the time
//! between two runs, which no monotonic clock has measured.
//! Never reads a clock; `embedded` hands it what its caller read.

use std::time::Duration;

use crate::clock::Timestamp;

/// Where both clocks differ by less between two looks, that is rounding and no step: wall time comes in milliseconds, and
/// what is cut off them would add up to real time itself.
const STEP: Duration = Duration::from_millis(100);

/// Counts by how much the wall clock has run ahead of the monotonic one. That much is taken off the time
/// that keys are judged by, until one window has passed: from then on no key from before the step is left.
#[derive(Debug, Default)]
pub(super) struct Steady {
    last: Option<(Timestamp, Duration)>,
    /// The newest event of earlier runs.
    newest: Option<Timestamp>,
    ahead: Duration,
    until: Duration,
}

impl Steady {
    /// Notes when an event of an earlier run was received: the first look at the clocks is measured from the newest.
    pub(super) fn known(&mut self, at: Timestamp) {
        self.newest = self.newest.max(Some(at));
    }

    /// Notes both clocks, read at one moment.
    pub(super) fn observe(&mut self, wall: Timestamp, monotonic: Duration, window: Duration) {
        let first = self.newest.map(|at| (at, monotonic));
        let Some((last_wall, last_monotonic)) = self.last.replace((wall, monotonic)).or(first) else {
            return;
        };
        let elapsed = monotonic.saturating_sub(last_monotonic);
        let step = wall.millis_since(last_wall.plus(elapsed));
        let size = Duration::from_millis(step.unsigned_abs());
        if size < STEP {
            // Nothing has stepped.
        } else if step > 0 {
            self.ahead = self.ahead.saturating_add(size);
            self.until = monotonic.saturating_add(window);
        } else {
            self.ahead = self.ahead.saturating_sub(size);
        }
        if monotonic >= self.until {
            self.ahead = Duration::ZERO;
        }
    }

    /// The time to judge keys by at wall time `now`, which may lie before a backward step that has been noted since.
    pub(super) fn judge(&self, now: Timestamp) -> Timestamp {
        self.last.map_or(now, |(wall, _)| now.min(wall)).minus(self.ahead)
    }

    /// The time from which a key lives that is claimed by what was received at `at`: a step forward since then may have
    /// been hidden from [`Steady::observe`] by one back, and must not make the key that much older.
    pub(super) fn claimed(&self, at: Timestamp) -> Timestamp {
        self.last.map_or(at, |(wall, _)| at.max(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(100);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_forward_step_ages_nothing_and_is_forgotten_after_a_window() {
        let mut steady = Steady::default();
        steady.observe(at(1_000), Duration::from_secs(0), WINDOW);
        steady.observe(at(1_010), Duration::from_secs(10), WINDOW);
        assert_eq!(steady.judge(at(1_010)), at(1_010));
        steady.observe(at(900_015), Duration::from_secs(15), WINDOW);
        assert_eq!(steady.judge(at(900_015)), at(1_015));
        steady.observe(at(900_114), Duration::from_secs(114), WINDOW);
        assert_eq!(steady.judge(at(900_114)), at(1_114));
        steady.observe(at(900_115), Duration::from_secs(115), WINDOW);
        assert_eq!(steady.judge(at(900_115)), at(900_115));
    }

    #[test]
    fn the_time_between_two_runs_ages_nothing_until_a_window_has_passed_in_this_one() {
        let mut steady = Steady::default();
        steady.known(at(900));
        steady.known(at(1_000));
        steady.known(at(800));
        steady.observe(at(900_000), Duration::from_secs(3), WINDOW);
        assert_eq!(steady.judge(at(900_000)), at(1_000));
        steady.observe(at(900_102), Duration::from_secs(105), WINDOW);
        assert_eq!(steady.judge(at(900_102)), at(900_102));
    }

    #[test]
    fn a_start_before_the_newest_event_is_no_step() {
        let mut steady = Steady::default();
        steady.known(at(1_000));
        steady.observe(at(900), Duration::ZERO, WINDOW);
        assert_eq!(steady.judge(at(900)), at(900));
    }

    #[test]
    fn looks_within_one_millisecond_add_up_to_no_step() {
        let mut steady = Steady::default();
        let mut looked = Duration::ZERO;
        for look in 0..400_000_u32 {
            looked = Duration::from_micros(300) * look;
            steady.observe(at(1_000).plus(looked), looked, WINDOW);
        }
        assert_eq!(steady.judge(at(1_000).plus(looked)), at(1_000).plus(looked));
        assert_eq!(steady.ahead, Duration::ZERO);
    }

    #[test]
    fn what_came_in_before_a_backward_step_is_not_judged_by_the_time_from_before_it() {
        let mut steady = Steady::default();
        steady.observe(at(1_000), Duration::from_secs(0), WINDOW);
        steady.observe(at(200_000), Duration::from_secs(0), WINDOW);
        assert_eq!(steady.judge(at(200_000)), at(1_000));
        steady.observe(at(190_001), Duration::from_secs(1), WINDOW);
        assert_eq!(steady.judge(at(200_001)), at(1_001), "it came in just before the step");
    }

    #[test]
    fn a_step_forward_hidden_by_one_back_makes_no_key_old_that_is_claimed_after_both() {
        let mut steady = Steady::default();
        steady.observe(at(9_000), Duration::from_secs(0), WINDOW);
        // To 2,000, a delivery comes in, to 2,500: seen as one step back.
        steady.observe(at(2_501), Duration::from_secs(1), WINDOW);
        assert_eq!(steady.claimed(at(2_000)), at(2_501));
        assert_eq!(steady.claimed(at(2_600)), at(2_600), "it came in before yet another step back");
    }

    #[test]
    fn a_step_there_and_back_leaves_nothing() {
        let mut steady = Steady::default();
        steady.observe(at(1_000), Duration::from_secs(0), WINDOW);
        steady.observe(at(5_000), Duration::from_secs(0), WINDOW);
        steady.observe(at(1_001), Duration::from_secs(1), WINDOW);
        assert_eq!(steady.judge(at(1_001)), at(1_001));
        steady.observe(at(10), Duration::from_secs(1), WINDOW);
        assert_eq!(steady.judge(at(10)), at(10));
    }
}
