//! Freshness: how old a signed time may be, and how far ahead of ours. A pure function.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::reject::{Refused, Reject};

/// The age window, past and future apart; `None` = any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Oldest age that is fresh, inclusive.
    pub past: Option<Duration>,
    /// Farthest future that is fresh, inclusive.
    pub future: Option<Duration>,
}

/// Judges a signed time.
///
/// # Errors
/// `Stale` or `Premature`, with the age in seconds for the log.
pub fn judge(signed_at: Timestamp, now: Timestamp, tolerance: Tolerance) -> Result<(), Refused> {
    let age_ms = now.millis_since(signed_at);
    let beyond = |bound: Option<Duration>, ms: i64| {
        bound.is_some_and(|bound| ms > 0 && u128::from(ms.unsigned_abs()) > bound.as_millis())
    };
    if beyond(tolerance.past, age_ms) {
        return Err(Reject::Stale.because(format!("signed {} s ago", age_ms / 1000)));
    }
    if beyond(tolerance.future, age_ms.saturating_neg()) {
        return Err(
            Reject::Premature.because(format!("signed {} s ahead of this machine's clock", -age_ms / 1000))
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(signed_at_ms: i64, past: Option<u64>, future: Option<u64>) -> Option<Reject> {
        let tolerance =
            Tolerance { past: past.map(Duration::from_secs), future: future.map(Duration::from_secs) };
        judge(Timestamp::from_millis(signed_at_ms), Timestamp::from_seconds(1000), tolerance)
            .err()
            .map(|refused| refused.reject)
    }

    #[test]
    fn past_and_future_have_bounds_of_their_own() {
        assert_eq!(outcome(700_000, Some(300), Some(60)), None);
        assert_eq!(outcome(699_999, Some(300), Some(60)), Some(Reject::Stale));
        assert_eq!(outcome(1_060_000, Some(300), Some(60)), None);
        assert_eq!(outcome(1_060_001, Some(300), Some(60)), Some(Reject::Premature));
        assert_eq!(outcome(1_000_001, Some(300), Some(0)), Some(Reject::Premature));
        assert_eq!(outcome(i64::MAX, Some(300), None), None);
        assert_eq!(outcome(i64::MIN, None, Some(60)), None);
        assert_eq!(outcome(i64::MIN, Some(300), None), Some(Reject::Stale));
    }
}
