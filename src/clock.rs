//! Time: the only file that reads a clock.
//!
//! Wall time judges freshness and dates records; monotonic time measures and paces. Both come from one
//! [`Clock`] value, so that tests and `hookgate vectors` bring their own time.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No honest clock shows an earlier time than 2026-01-01T00:00:00Z, before this version was made. Under a clock
/// that does, deliveries are answered 503 instead of honest senders being called stale.
pub const CLOCK_FLOOR: Timestamp = Timestamp(1_767_225_600_000);

/// The first second of the year 0000.
const YEAR_0: i64 = -62_167_219_200;

/// A point in wall time: milliseconds since 1970-01-01T00:00:00Z, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Reads the date of RFC 2822, which that of HTTP is too: `Thu, 09 Oct 2025 08:53:20 GMT`.
    pub fn from_rfc2822(text: &str) -> Option<Self> {
        jiff::fmt::rfc2822::parse(text).ok().map(|at| Self(at.timestamp().as_millisecond()))
    }

    /// As the date of HTTP, which is one of RFC 2822: to the second, in GMT.
    pub fn to_http_date(self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
    }

    /// From whole seconds since the epoch; saturates at the ends of the range.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Signed milliseconds from `earlier` to `self`.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved forward by `by`, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time moved back by `by`, saturating.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; the bare number where it lies outside the calendar.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The text is no time with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-11-21T07:00:00Z")]
pub struct NoTime;

impl FromStr for Timestamp {
    type Err = NoTime;

    /// Reads a `date-time` of RFC 3339 (section 5.6) and nothing else of ISO 8601; what is finer than a millisecond is cut
    /// off. `T` and `Z` may be in lower case. Second 60 counts where a leap second can stand, at the end of a month in
    /// UTC, and is read as the second before it, since Unix time has none.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        date_time(text).ok_or(NoTime)
    }
}

/// A `date-time` of RFC 3339.
fn date_time(text: &str) -> Option<Timestamp> {
    let number = |at: std::ops::Range<usize>| {
        let digits = text.get(at).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<i16>().ok()
    };
    let small = |at: usize, max: i8| {
        let value = i8::try_from(number(at..at + 2)?).ok()?;
        (value <= max).then_some(value)
    };
    let sign = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|found| wanted.contains(found));
    if !(sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt") && sign(13, b":") && sign(16, b":")) {
        return None;
    }
    let (hour, minute, second) = (small(11, 23)?, small(14, 59)?, small(17, 60)?);
    let date = jiff::civil::Date::new(number(0..4)?, small(5, 12)?, small(8, 31)?).ok()?;
    let time = jiff::civil::Time::new(hour, minute, second.min(59), 0).ok()?;
    let (fraction, offset) = fraction(text.get(19..)?)?;
    let offset = i64::from(offset_minutes(offset)?) * 60;
    let local = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    let at = local - offset;
    if second == 60 {
        let next = jiff::Timestamp::from_second(at + 1).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
        (next.day() == 1 && next.time() == jiff::civil::Time::midnight()).then_some(())?;
    }
    // What lies outside of the calendar once it is in UTC could not be written again.
    let written = at >= YEAR_0 && jiff::Timestamp::from_second(at).is_ok();
    written.then(|| Timestamp(at * 1000 + fraction))
}

/// The milliseconds that a fraction of a second begins with, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let rest = text.trim_start_matches(|sign: char| sign.is_ascii_digit());
    let digits = text.get(..text.len() - rest.len()).filter(|digits| !digits.is_empty())?;
    let millis: String = digits.chars().chain("00".chars()).take(3).collect();
    Some((millis.parse().ok()?, rest))
}

/// Minutes that a zone lies east of UTC.
fn offset_minutes(text: &str) -> Option<i16> {
    let (sign, rest) = match text.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => (1, text.get(1..)?),
        [b'-', ..] => (-1, text.get(1..)?),
        _ => return None,
    };
    let two = |text: &str, max: i16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i16>().ok().filter(|value| digits && *value <= max)
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (two(hours, 23)? * 60 + two(minutes, 59)?))
}

/// Where a component gets its time from: the real clock or a test's.
pub trait Clock: Send + Sync {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// Time that never goes back, for intervals and deadlines.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct System {
    started: Instant,
}

impl System {
    /// Starts the monotonic count at zero.
    #[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

/// The system's monotonic clock itself, by which programs on one machine date what they tell each other.
pub fn shared_monotonic() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(at.tv_sec), u32::try_from(at.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct Manual {
    millis: AtomicI64,
}

impl Manual {
    /// Stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self { millis: AtomicI64::new(at.millis()) }
    }

    /// Moves forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Jumps to `at`, which may lie in the past.
    pub fn set(&self, at: Timestamp) {
        self.millis.store(at.millis(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now().millis()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        text.parse::<Timestamp>().ok().map(Timestamp::millis)
    }

    #[test]
    fn a_date_time_of_rfc_3339_is_read_in_each_of_its_spellings() {
        const AT: i64 = 1_772_366_400_000;
        for (text, millis) in [
            ("2026-03-01T12:00:00Z", AT),
            ("2026-03-01t12:00:00z", AT),
            ("2026-03-01T12:00:00-00:00", AT),
            ("2026-03-01T17:30:00+05:30", AT),
            ("2026-02-28T12:01:00-23:59", AT),
            ("2026-03-01T12:00:00.5Z", AT + 500),
            ("2026-03-01T12:00:00.9999999999999999999999Z", AT + 999),
            ("1969-12-31T23:59:59.5Z", -500),
            ("0000-01-01T00:00:00Z", YEAR_0 * 1000),
            ("9999-12-30T00:00:00.999Z", 253_402_128_000_999),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("2017-01-01T05:29:60+05:30", 1_483_228_799_000),
        ] {
            assert_eq!(seconds(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn what_else_iso_8601_has_is_no_date_time_of_rfc_3339() {
        for text in [
            "20260301T120000Z",
            "2026-03-01T120000Z",
            "2026-W09-7T12:00:00Z",
            "2026-060T12:00:00Z",
            "2026-03-01T12:00Z",
            "2026-03-01T12Z",
            "2026-03-01",
            "2026-03-01 12:00:00Z",
            "2026-03-01_12:00:00Z",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00,5Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00+01",
            "2026-03-01T12:00:00+0100",
            "2026-03-01T12:00:00+01:00:00",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T12:00:00+01:60",
            "2026-03-01T12:00:00+1:00",
            "2026-03-01T12:00:00++1:00",
            "2026-03-01T12:00:00\u{2212}01:00",
            "2026-03-01T12:00:00Z[Europe/Paris]",
            "2026-03-01T12:00:00+01:00[Europe/Paris]",
            "2026-03-01T12:00:00Z[u-ca=iso8601]",
            "2026-03-01T12:00:00 Z",
            " 2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00Z\n",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:60:00Z",
            "2026-03-01T12:00:61Z",
            "2026-03-01T12:00:60Z",
            "2026-03-30T23:59:60Z",
            "2016-12-31T23:59:60+05:30",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-3-1T12:00:00Z",
            "+2026-03-01T12:00:00Z",
            "-002026-03-01T12:00:00Z",
            "+002026-03-01T12:00:00Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "1772366400",
            "",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
