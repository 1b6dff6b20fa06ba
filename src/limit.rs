//! A source's own rate, counted after verification, so that nobody without the secret can use it up.
//!
//! One token bucket a source: its state is one number, whatever arrives.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as PaceClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// How many deliveries a source may bring in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many …
    pub events: NonZeroU32,
    /// … in this time, evenly spread.
    pub per: Duration,
    /// So many at once after a pause.
    pub burst: NonZeroU32,
}

/// A token bucket over a source's verified deliveries.
pub struct Limit {
    bucket: RateLimiter<NotKeyed, InMemoryState, Pace, NoOpMiddleware<Nanos>>,
    pace: Pace,
}

/// The crate's clock in governor's form.
#[derive(Clone)]
struct Pace(Arc<dyn Clock>);

impl PaceClock for Pace {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.monotonic().into()
    }
}

impl Limit {
    /// A full bucket.
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let every = rate.per.checked_div(rate.events.get()).unwrap_or(rate.per).max(Duration::from_nanos(1));
        // The period is at least a nanosecond, so the quota exists.
        let quota = Quota::with_period(every)
            .unwrap_or_else(|| Quota::per_second(rate.events))
            .allow_burst(rate.burst);
        let pace = Pace(clock);
        Self { bucket: RateLimiter::direct_with_clock(quota, pace.clone()), pace }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        self.bucket.check().map_err(|until| until.wait_time_from(self.pace.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Manual, Timestamp};

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let rate = Rate {
            events: NonZeroU32::new(10).unwrap(),
            per: Duration::from_secs(1),
            burst: NonZeroU32::new(5).unwrap(),
        };
        let limit = Limit::new(rate, clock.clone());
        let taken = || (0..1000).take_while(|_| limit.take().is_ok()).count();
        assert_eq!(taken(), 5);
        assert!(limit.take().unwrap_err() <= Duration::from_millis(100));
        clock.advance(Duration::from_millis(200));
        assert_eq!(taken(), 2);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(taken(), 5);
    }
}
