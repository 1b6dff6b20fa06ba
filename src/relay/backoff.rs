//! How long to wait before another attempt: doubling, with a ceiling.

use std::time::Duration;

/// First wait after an outcome that a retry may cure at once.
const SOON: Duration = Duration::from_millis(100);
/// Longest such wait.
const SOON_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a full queue: workers may have made room at any time, and should not find it empty.
const FULL_MAX: Duration = Duration::from_secs(2);
/// First wait where somebody has to change something before a retry helps.
const SLOW: Duration = Duration::from_secs(5);
/// Longest such wait.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// The wait after `attempts` that might succeed next time.
pub(super) fn soon(attempts: u32) -> Duration {
    doubled(SOON, attempts, SOON_MAX)
}

/// The wait after `attempts` at a queue that takes nothing for the moment.
pub(super) fn full(attempts: u32) -> Duration {
    doubled(SOON, attempts, FULL_MAX)
}

/// The wait after `attempts` that will hardly succeed by themselves.
pub(super) fn slow(attempts: u32) -> Duration {
    doubled(SLOW, attempts, SLOW_MAX)
}

fn doubled(first: Duration, attempts: u32, max: Duration) -> Duration {
    let times = 1_u32.checked_shl(attempts.saturating_sub(1).min(16)).unwrap_or(1);
    first.saturating_mul(times).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_ceiling() {
        let waits: Vec<u128> = [0, 1, 2, 3, 8, 40, u32::MAX].map(|n| soon(n).as_millis()).to_vec();
        assert_eq!(waits, [100, 100, 200, 400, 10_000, 10_000, 10_000]);
        assert_eq!((full(1), full(9), slow(u32::MAX)), (SOON, FULL_MAX, SLOW_MAX));
    }
}
