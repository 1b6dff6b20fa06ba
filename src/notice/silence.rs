//! How long a source is quiet as a rule, and whether it is quiet for longer now.
//!
//! Learnt is how the time was shared out among gaps of each length: a source that sends by the second all day and nothing at
//! night spends most of its time in the gap of the night, however few of its gaps are that long. Gaps that make up a
//! twentieth of the time are rare (an outage, a holiday); the longest of the others is usual. What lies two weeks back counts
//! half.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Classes of lengths: two for each doubling, from a second to more than a year.
const CLASSES: usize = 50;
/// The part of the time that rare gaps make up.
const RARE: f64 = 0.05;
/// How many times the usual gap is far too long.
const FAR: f64 = 2.0;
/// What is no silence in any case, when it is learnt.
const SHORTEST: Duration = Duration::from_secs(10 * 60);
/// Nothing is usual before so much time, in so many gaps, was seen.
const SEEN: f64 = 24.0 * 3600.0;
const GAPS: u32 = 8;
/// Seconds after which what was learnt counts half.
const HALF_LIFE: f64 = 14.0 * 24.0 * 3600.0;

/// When a source counts as silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SilentAfter {
    /// Far beyond what is usual.
    #[default]
    Usual,
    /// After this time.
    Time(Duration),
    /// Never.
    Never,
}

/// What was learnt of a source; as text, it outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// Seconds spent in gaps of each class; shorter where none was so long.
    seconds: Vec<f64>,
    /// How many gaps.
    gaps: u32,
}

impl Learnt {
    /// A gap has ended that was so long.
    pub(super) fn note(&mut self, gap: Duration) {
        let seconds = gap.as_secs_f64();
        let less = 0.5_f64.powf(seconds / HALF_LIFE);
        self.seconds.iter_mut().for_each(|spent| *spent *= less);
        self.gaps = self.gaps.saturating_add(1);
        let class = class(seconds);
        if self.seconds.len() <= class {
            self.seconds.resize(class + 1, 0.0);
        }
        if let Some(spent) = self.seconds.get_mut(class) {
            *spent += seconds;
        }
    }

    /// The longest gap that is no rare one; none before enough was seen.
    pub(super) fn usual(&self) -> Option<Duration> {
        let all: f64 = self.seconds.iter().sum();
        if all < SEEN || self.gaps < GAPS {
            return None;
        }
        let mut longer = 0.0;
        let is_usual = |(_, spent): &(usize, &f64)| {
            longer += **spent;
            longer > all * RARE
        };
        let (class, _) = self.seconds.iter().enumerate().rev().find(is_usual)?;
        Some(Duration::from_secs_f64(longest(class)))
    }

    /// After which time a source is silent; none where that is not known.
    pub(super) fn limit(&self, after: SilentAfter) -> Option<Duration> {
        match after {
            SilentAfter::Never => None,
            SilentAfter::Time(time) => Some(time),
            SilentAfter::Usual => self.usual().map(|usual| usual.mul_f64(FAR).max(SHORTEST)),
        }
    }

    /// Whether it is what this could have learnt: a file may hold anything.
    pub fn is_sound(&self) -> bool {
        let sound = |value: &f64| value.is_finite() && *value >= 0.0;
        self.seconds.len() <= CLASSES && self.seconds.iter().all(sound)
    }
}

fn class(seconds: f64) -> usize {
    let class = (seconds.max(1.0).log2() * 2.0).floor();
    (class as usize).min(CLASSES - 1)
}

/// The length in seconds that no gap of the class reaches.
fn longest(class: usize) -> f64 {
    ((class + 1) as f64 / 2.0).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;

    /// The limit after these gaps in seconds, in hours.
    fn hours(gaps: impl IntoIterator<Item = u64>) -> Option<f64> {
        let mut learnt = Learnt::default();
        gaps.into_iter().for_each(|gap| learnt.note(Duration::from_secs(gap)));
        learnt.limit(SilentAfter::Usual).map(|limit| limit.as_secs_f64() / 3600.0)
    }

    fn each_day(days: usize, day: &[(usize, u64)]) -> Vec<u64> {
        let of = |(count, gap): &(usize, u64)| vec![*gap; *count];
        (0..days).flat_map(|_| day.iter().flat_map(of).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn a_steady_source_is_silent_after_ten_minutes() {
        let limit = hours(each_day(2, &[(43_200, 2)])).unwrap();
        assert_eq!(limit, 1.0 / 6.0);
    }

    #[test]
    fn nights_are_no_silence_though_nearly_all_gaps_are_short() {
        let limit = hours(each_day(14, &[(5 * 3600, 2), (1, 14 * HOUR)])).unwrap();
        assert!((28.0..48.0).contains(&limit), "{limit} h, after nights of 14 h");
        let week = [each_day(5, &[(5 * 3600, 2), (1, 14 * HOUR)]), vec![48 * HOUR]].concat();
        let limit = hours((0..4).flat_map(|_| week.clone())).unwrap();
        assert!((96.0..192.0).contains(&limit), "{limit} h, after weekends of two days");
    }

    #[test]
    fn a_source_that_speaks_once_a_day_or_a_week_is_given_two_or_three_of_them() {
        let limit = hours(vec![DAY; 10]).unwrap() / 24.0;
        assert!((2.0..3.0).contains(&limit), "{limit} days");
        let limit = hours(vec![7 * DAY; 10]).unwrap() / 24.0;
        assert!((14.0..21.0).contains(&limit), "{limit} days");
        assert_eq!(hours(vec![DAY; 7]), None, "too few to tell");
        assert_eq!(hours(vec![2; 40_000]), None, "too short a time to tell");
    }

    #[test]
    fn one_outage_changes_little_and_is_forgotten() {
        let steady = || each_day(14, &[(43_200, 2)]);
        let outage = vec![10 * HOUR];
        assert_eq!(hours([steady(), outage].concat()), Some(1.0 / 6.0), "ten hours in two weeks are rare");
        let long = vec![4 * DAY];
        let after = hours([steady(), long.clone()].concat()).unwrap();
        assert!(after > 96.0, "{after} h");
        let later = hours([steady(), long, each_day(40, &[(43_200, 2)])].concat()).unwrap();
        assert_eq!(later, 1.0 / 6.0, "six weeks later");
    }

    #[test]
    fn another_pace_is_learnt() {
        let minutes = each_day(30, &[(1440, MINUTE)]);
        let daily = vec![DAY; 60];
        let limit = hours([minutes, daily].concat()).unwrap() / 24.0;
        assert!((2.0..3.0).contains(&limit), "{limit} days");
    }

    #[test]
    fn what_is_set_counts_at_once_and_whatever_was_learnt() {
        let learnt = Learnt::default();
        let time = Duration::from_secs(3);
        assert_eq!(learnt.limit(SilentAfter::Time(time)), Some(time));
        assert_eq!(learnt.limit(SilentAfter::Never), None);
        assert_eq!(learnt.limit(SilentAfter::Usual), None);
    }

    #[test]
    fn gaps_of_any_length_are_sound_and_files_may_hold_anything() {
        let mut learnt = Learnt::default();
        for gap in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX, Duration::from_secs(1)] {
            learnt.note(gap);
            assert!(learnt.is_sound(), "{learnt:?}");
        }
        let read = |text: &str| serde_json::from_str::<Learnt>(text).map(|learnt| learnt.is_sound());
        assert!(read(r#"{"seconds":[1.5,0],"gaps":2}"#).unwrap());
        assert!(!read(r#"{"seconds":[-1],"gaps":2}"#).unwrap());
        assert!(!read(&format!("{{\"seconds\":[{}1],\"gaps\":2}}", "1,".repeat(50))).unwrap());
        assert!(read(r#"{"seconds":[1],"gaps":2,"more":3}"#).is_err());
    }
}
