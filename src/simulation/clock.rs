//! A clock whose wall time can jump while its monotonic time cannot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// 2026-11-21T00:00:00Z.
const START: i64 = 1_795_219_200_000;

pub(super) struct SimClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
    /// The latest that the wall clock has shown.
    latest: AtomicI64,
}

impl SimClock {
    pub(super) fn new() -> Self {
        Self { wall: AtomicI64::new(START), monotonic: AtomicU64::new(1_000), latest: AtomicI64::new(START) }
    }

    /// Lets time pass.
    pub(super) fn advance(&self, millis: u64) {
        self.jump(millis as i64);
        self.monotonic.fetch_add(millis, Ordering::Relaxed);
    }

    /// Steps the wall clock.
    pub(super) fn jump(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::Relaxed);
        self.latest.fetch_max(self.now().millis(), Ordering::Relaxed);
    }

    /// The latest that the wall clock has shown.
    pub(super) fn latest(&self) -> Timestamp {
        Timestamp::from_millis(self.latest.load(Ordering::Relaxed))
    }

    /// Sets the wall clock right where it lies behind `at`.
    pub(super) fn no_earlier_than(&self, at: Timestamp) {
        self.wall.fetch_max(at.millis(), Ordering::Relaxed);
        self.jump(0);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::Relaxed))
    }
}
