//! Latencies in fixed memory: a log-linear histogram, exact to one part in 128.

/// Buckets per power of two.
const STEPS: u64 = 128;

/// Counts of nanosecond values.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Empty, with room for every `u64`.
    pub fn new() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], count: 0, max: 0 }
    }

    /// Adds one value.
    pub fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exact.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `share` (0 to 1) of all values do not exceed; zero when empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let shift = u64::from((63 - (value | STEPS).leading_zeros()).saturating_sub(7));
    (shift * STEPS + (value >> shift)) as usize
}

fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let mantissa = index - shift * STEPS;
    ((u128::from(mantissa + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}
