//! Time spans in nanoseconds, less what reading the clock takes.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use crate::histogram::Histogram;

/// The clock is read this often to find out what that takes.
const READINGS: usize = 100_000;

/// How long calls take.
pub struct Timed {
    clock_nanos: u64,
    spans: Histogram,
}

impl Timed {
    /// Measures the clock itself: its median is taken off every span.
    pub fn new() -> Self {
        let mut clock = Histogram::new();
        for _ in 0..READINGS {
            let began = Instant::now();
            clock.record(nanos(black_box(began)));
        }
        Self { clock_nanos: clock.quantile(0.5), spans: Histogram::new() }
    }

    /// Calls and notes how long that took.
    pub fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let value = black_box(call());
        self.spans.record(nanos(began).saturating_sub(self.clock_nanos));
        value
    }
}

impl fmt::Display for Timed {
    /// Five cells of a table: how many calls, p50, p99, p99.9 and the longest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| micros(self.spans.quantile(share)));
        write!(f, "{} | ", self.spans.count())?;
        write!(f, "{p50:.2} µs | {p99:.2} µs | {p999:.2} µs | {:.0} µs", micros(self.spans.max()))
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
