//! A source's own rate, counted after verification, so that nobody without the secret can use it up; and the
//! pace at which its events go out, where more of them are kept than may go.
//!
//! One token bucket a source: its state is one number, whatever arrives. A reload hands a bucket on as it is, where the
//! rate has stayed the same. Addresses have theirs in a table that never grows.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock as PaceClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use crate::addresses::one_party;
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

/// So many in a second, and so many at once after a pause.
pub fn per_second(events: u32, burst: u32) -> Rate {
    let number = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    Rate { events: number(events), per: Duration::from_secs(1), burst: number(burst) }
}

/// Parts of a token in a pace: as finely as that it tells how late somebody came.
const PARTS: u32 = 16;
/// Parts that may be made up for after coming late; by less than one event, so that a burst stays what it is.
const LATE_PARTS: u32 = PARTS / 2;

/// A token bucket: over a source's verified deliveries, or over its events on their way out.
pub struct Limit {
    bucket: RateLimiter<NotKeyed, InMemoryState, Pace, NoOpMiddleware<Nanos>>,
    pace: Pace,
    rate: Rate,
    /// What one event costs in tokens of the bucket.
    cost: NonZeroU32,
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

fn quota(rate: Rate, parts: u32, late: u32) -> Quota {
    let cost = NonZeroU32::new(parts).unwrap_or(NonZeroU32::MIN);
    let tokens = rate.events.saturating_mul(cost);
    let every = rate.per.checked_div(tokens.get()).unwrap_or(rate.per).max(Duration::from_nanos(1));
    // The period is at least a nanosecond, so the quota exists.
    Quota::with_period(every)
        .unwrap_or_else(|| Quota::per_second(tokens))
        .allow_burst(rate.burst.saturating_mul(cost).saturating_add(late))
}

impl Limit {
    /// A full bucket.
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        Self::of(rate, clock, 1, 0)
    }

    /// A full bucket for somebody who waits for the next token each time: coming late for it by up to half of
    /// their distance delays none of those after it, so that the rate is kept exactly.
    pub fn pace(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        Self::of(rate, clock, PARTS, LATE_PARTS)
    }

    fn of(rate: Rate, clock: Arc<dyn Clock>, parts: u32, late: u32) -> Self {
        let cost = NonZeroU32::new(parts).unwrap_or(NonZeroU32::MIN);
        let quota = quota(rate, parts, late);
        let pace = Pace(clock);
        Self { bucket: RateLimiter::direct_with_clock(quota, pace.clone()), pace, rate, cost }
    }

    /// The rate that it holds.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        match self.bucket.check_n(self.cost) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(self.pace.now())),
            // The bucket holds at least one burst, which is at least one event.
            Err(_) => Err(Duration::MAX),
        }
    }
}

/// The limits of sources, by name, as the last configuration has them; cheap to clone, and all clones are one.
#[derive(Clone, Default)]
pub struct Limits(Arc<ArcSwap<HashMap<Arc<str>, Arc<Limit>>>>);

impl Limits {
    /// Puts these in the place of those before.
    pub fn set(&self, limits: impl IntoIterator<Item = (Arc<str>, Arc<Limit>)>) {
        self.0.store(Arc::new(limits.into_iter().collect()));
    }

    /// The limit of a source, where it has one.
    pub fn get(&self, source: &str) -> Option<Arc<Limit>> {
        self.0.load().get(source).map(Arc::clone)
    }

    /// Takes a token of a source's; one without a limit has them all.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, source: &str) -> Result<(), Duration> {
        self.0.load().get(source).map_or(Ok(()), |limit| limit.take())
    }
}

/// Token buckets over addresses, in a table that never grows: an address has the bucket that a keyed hash gives it, which
/// nobody outside can aim at, and shares it with whoever falls there also. Of IPv6, 64 bits are one address: that is
/// what one customer of a network gets.
pub struct AddressLimit {
    buckets: RateLimiter<IpAddr, Buckets, Pace, NoOpMiddleware<Nanos>>,
    pace: Pace,
}

struct Buckets {
    hash: RandomState,
    states: Box<[InMemoryState]>,
}

impl StateStore for Buckets {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, address: &IpAddr, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let index = self.hash.hash_one(one_party(*address)) % self.states.len() as u64;
        self.states[index as usize].measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

impl AddressLimit {
    /// Full buckets, `count` of them (at least one).
    pub fn new(rate: Rate, count: usize, clock: Arc<dyn Clock>) -> Self {
        let states = (0..count.max(1)).map(|_| InMemoryState::default()).collect();
        let pace = Pace(clock);
        let buckets = Buckets { hash: RandomState::new(), states };
        Self { buckets: RateLimiter::new(quota(rate, 1, 0), buckets, pace.clone()), pace }
    }

    /// Takes a token of this address.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, address: IpAddr) -> Result<(), Duration> {
        self.buckets.check_key(&address).map_err(|until| until.wait_time_from(self.pace.now()))
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

    /// What a taker gets in half a minute who looks again at the time it is told, and comes late by so much.
    fn taken_when_late_by(late: Duration, limit: &Limit, clock: &Manual) -> u32 {
        let end = clock.monotonic() + Duration::from_secs(30);
        let mut taken = 0;
        while clock.monotonic() < end {
            match limit.take() {
                Ok(()) => taken += 1,
                // Timers wait for whole milliseconds.
                Err(wait) => clock.advance(Duration::from_millis(wait.as_millis() as u64 + 1) + late),
            }
        }
        taken
    }

    #[test]
    fn a_pace_is_exact_for_whoever_comes_late_and_a_plain_bucket_is_not() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let rate = Rate {
            events: NonZeroU32::new(10).unwrap(),
            per: Duration::from_secs(1),
            burst: NonZeroU32::new(1).unwrap(),
        };
        for late in [0, 3, 20, 40] {
            let late = Duration::from_millis(late);
            let taken = taken_when_late_by(late, &Limit::pace(rate, clock.clone()), &clock);
            assert!((299..=302).contains(&taken), "{taken} in 30 s, {late:?} late each time");
        }
        let late = Duration::from_millis(20);
        assert!(taken_when_late_by(late, &Limit::new(rate, clock.clone()), &clock) < 260);
    }

    #[test]
    fn a_pace_lets_no_larger_burst_pass() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let rate = Rate {
            events: NonZeroU32::new(10).unwrap(),
            per: Duration::from_secs(1),
            burst: NonZeroU32::new(5).unwrap(),
        };
        let limit = Limit::pace(rate, clock.clone());
        for _ in 0..3 {
            assert_eq!((0..1000).take_while(|_| limit.take().is_ok()).count(), 5);
            clock.advance(Duration::from_secs(60));
        }
    }

    #[test]
    fn addresses_have_buckets_of_their_own_and_a_network_of_ipv6_has_one() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let limit = AddressLimit::new(per_second(1, 3), 64 * 1024, clock.clone());
        let taken = |address: &str| (0..10).filter(|_| limit.take(address.parse().unwrap()).is_ok()).count();
        assert_eq!((taken("192.0.2.1"), taken("::ffff:192.0.2.1"), taken("192.0.2.2")), (3, 0, 3));
        assert_eq!((taken("2001:db8::1"), taken("2001:db8::2"), taken("2001:db8:0:1::1")), (3, 0, 3));
        clock.advance(Duration::from_secs(2));
        assert_eq!(taken("192.0.2.1"), 2);
    }

    #[test]
    fn limits_are_replaced_as_a_whole_and_kept_buckets_stay_as_empty_as_they_are() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let rate = Rate { events: NonZeroU32::MIN, per: Duration::from_secs(60), burst: NonZeroU32::MIN };
        let limits = Limits::default();
        let shop: Arc<str> = "shop".into();
        assert!(limits.take("shop").is_ok() && limits.get("shop").is_none());
        limits.set([(Arc::clone(&shop), Arc::new(Limit::new(rate, clock.clone())))]);
        assert!(limits.take("shop").is_ok());
        let kept = limits.get("shop").unwrap();
        assert_eq!(kept.rate(), rate);
        limits.set([(shop, kept), ("other".into(), Arc::new(Limit::new(rate, clock)))]);
        assert!(limits.take("shop").is_err() && limits.take("other").is_ok());
        limits.set([]);
        assert!(limits.take("shop").is_ok());
    }
}
