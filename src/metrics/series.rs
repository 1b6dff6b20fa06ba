//! How the last hour went, in steps of some seconds: what a page can draw where nobody scrapes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::account::{Account, End, Stand, Standing};
use crate::clock::Timestamp;

/// From one step to the next.
pub const STEP: Duration = Duration::from_secs(4);
/// Steps that are kept: an hour's.
pub const STEPS_MAX: usize = 900;

/// Buckets to each doubling of a time.
const BUCKETS_PER_OCTAVE: u32 = 8;
/// Doublings of a microsecond that are told apart: up to two minutes.
const OCTAVES: u32 = 27;
const BUCKETS: usize = (OCTAVES * BUCKETS_PER_OCTAVE) as usize;

/// One step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// When it ended.
    pub at: Timestamp,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests that came in.
    pub received: u64,
    /// Requests of which an event was kept.
    pub accepted: u64,
    /// Copies of known events.
    pub duplicate: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests refused for a fault of ours.
    pub fault: u64,
    /// Events that the sink or a worker answered for.
    pub confirmed: u64,
    /// Events that waited to be handed over at its end.
    pub waiting: u64,
    /// Half of the answers took no longer, in milliseconds, an eighth too long at most; `None` without an answer.
    pub p50_ms: Option<f64>,
    /// And all but a hundredth.
    pub p99_ms: Option<f64>,
}

/// How long answers took, since the start.
#[derive(Debug)]
pub(super) struct AnswerTimes(Box<[AtomicU64]>);

impl Default for AnswerTimes {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl AnswerTimes {
    pub(super) fn add(&self, took: Duration) {
        if let Some(bucket) = self.0.get(bucket(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }
}

/// The place of a time: its highest bit, and the three behind.
fn bucket(took: Duration) -> usize {
    let eighths = took.as_micros().saturating_mul(u128::from(BUCKETS_PER_OCTAVE));
    let eighths = u64::try_from(eighths).unwrap_or(u64::MAX).max(u64::from(BUCKETS_PER_OCTAVE));
    let octave = eighths.ilog2() - BUCKETS_PER_OCTAVE.ilog2();
    let within = (eighths >> octave) as usize - BUCKETS_PER_OCTAVE as usize;
    (octave as usize * BUCKETS_PER_OCTAVE as usize + within).min(BUCKETS - 1)
}

/// What no time in a bucket exceeds, in milliseconds.
fn end_of(bucket: usize) -> f64 {
    let per_octave = BUCKETS_PER_OCTAVE as usize;
    let eighths = (per_octave + bucket % per_octave + 1) << (bucket / per_octave);
    eighths as f64 / (f64::from(BUCKETS_PER_OCTAVE) * 1000.0)
}

/// What so large a share of the counts does not exceed, in milliseconds.
fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let reached = counts.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    reached.enumerate().find(|(_, sum)| *sum >= wanted).map(|(bucket, _)| end_of(bucket))
}

/// The steps, and what the next one is reckoned from.
#[derive(Debug, Default)]
pub struct Series {
    pub(super) times: std::sync::Arc<AnswerTimes>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    steps: VecDeque<Step>,
    before: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    elapsed: Duration,
    standing: Standing,
    times: Vec<u64>,
}

impl Series {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called often: ends a step where it is time for that. `elapsed` never goes back.
    pub fn tick(&self, account: &Account, now: Timestamp, elapsed: Duration) {
        let mut kept = self.lock();
        if kept.before.as_ref().is_some_and(|before| elapsed.saturating_sub(before.elapsed) < STEP) {
            return;
        }
        let reading = Reading { elapsed, standing: account.total(), times: self.times.counts() };
        if let Some(before) = &kept.before {
            let step = step(before, &reading, now);
            if kept.steps.len() >= STEPS_MAX {
                kept.steps.pop_front();
            }
            kept.steps.push_back(step);
        }
        kept.before = Some(reading);
    }

    /// The last so many, oldest first.
    pub fn steps(&self, most: usize) -> Vec<Step> {
        let kept = self.lock();
        kept.steps.iter().skip(kept.steps.len().saturating_sub(most)).copied().collect()
    }
}

fn step(before: &Reading, after: &Reading, now: Timestamp) -> Step {
    let more = |read: &dyn Fn(&Standing) -> u64| read(&after.standing).saturating_sub(read(&before.standing));
    let ended = |end| more(&|standing| standing.ended(end));
    let times: Vec<u64> =
        after.times.iter().zip(&before.times).map(|(after, before)| after.saturating_sub(*before)).collect();
    Step {
        at: now,
        seconds: after.elapsed.saturating_sub(before.elapsed).as_secs_f64(),
        received: more(&|standing| standing.received),
        accepted: ended(End::Accepted),
        duplicate: ended(End::Duplicate),
        rejected: ended(End::Rejected),
        fault: ended(End::Fault),
        confirmed: more(&|standing| standing.of(Stand::Confirmed)),
        waiting: after.standing.waiting(),
        p50_ms: quantile(&times, 0.5),
        p99_ms: quantile(&times, 0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_an_eighth_too_long_at_most() {
        for micros in [1, 2, 3, 7, 8, 9, 100, 999, 1_000, 12_345, 999_999, 60_000_000] {
            let told = end_of(bucket(Duration::from_micros(micros)));
            let true_ms = micros as f64 / 1000.0;
            assert!(told > true_ms && told <= true_ms * 1.126, "{micros} µs: {told} ms");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_step_has_what_came_since_the_one_before_and_no_more() {
        let (series, account) = (Series::default(), Account::default());
        let row = account.row("shop");
        let at = |seconds| (Timestamp::from_seconds(seconds), Duration::from_secs(seconds.unsigned_abs()));
        let tick = |seconds| {
            let (now, elapsed) = at(seconds);
            series.tick(&account, now, elapsed);
        };
        account.recovered(row, Stand::Confirmed, 100);
        tick(100);
        assert!(series.steps(10).is_empty(), "what was before the start is no step");
        for millis in (1..=100).rev() {
            account.begin(row);
            account.end(std::iter::once((row, End::Accepted, Some(Stand::Pending))));
            series.times.add(Duration::from_millis(millis));
        }
        tick(102);
        assert!(series.steps(10).is_empty(), "too soon");
        account.shift(row, Stand::Pending, Stand::Confirmed, 60);
        tick(104);
        tick(108);
        let [busy, idle] = series.steps(10)[..] else { panic!("two steps are expected") };
        assert_eq!((busy.received, busy.accepted, busy.confirmed, busy.waiting), (100, 100, 60, 40));
        assert_eq!((busy.at, busy.seconds), (Timestamp::from_seconds(104), 4.0));
        let (p50, p99) = (busy.p50_ms.unwrap(), busy.p99_ms.unwrap());
        assert!((50.0..57.0).contains(&p50) && (99.0..112.0).contains(&p99), "{p50} {p99}");
        assert_eq!((idle.received, idle.confirmed, idle.waiting, idle.p50_ms), (0, 0, 40, None));
        assert_eq!(series.steps(1), [idle]);
    }

    #[test]
    fn an_hour_is_kept() {
        let (series, account) = (Series::default(), Account::default());
        for turn in 0..2_000 {
            series.tick(&account, Timestamp::from_seconds(turn), STEP * u32::try_from(turn).unwrap());
        }
        let steps = series.steps(usize::MAX);
        assert_eq!((steps.len(), steps[STEPS_MAX - 1].at), (STEPS_MAX, Timestamp::from_seconds(1_999)));
    }
}
