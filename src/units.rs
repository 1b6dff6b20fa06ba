//! Sizes, durations and rates as an operator writes them: [`ByteSize`], [`Span`] and [`Rate`].
//!
//! Each is read from text with its unit, refuses what is out of its range, and prints the canonical
//! spelling of itself. Nothing here knows where a value came from.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// Text that is no size, duration or rate; shows what would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct UnitError {
    /// What is allowed, as a noun phrase with examples.
    pub expected: &'static str,
}

/// A number of bytes, at most [`ByteSize::MAX`]. Written `"1MiB"`, `"64KiB"`, `"1MB"` (decimal), `"1500B"` or
/// as a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Suffixes of sizes, the largest first within its kind; binary ones first, so that they win when printing.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// What text is allowed.
    pub const EXPECTED: &str = "a size such as \"1MiB\", \"64KiB\" or a number of bytes";
    /// The largest size: what fits a signed 64-bit file offset.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// `bytes` as a size; `None` above [`ByteSize::MAX`].
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// `count` times 1,024 bytes.
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// `count` times 1,048,576 bytes.
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes for a length in memory; saturates where `usize` is narrower.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The sum, if it is a size.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0.checked_add(other.0)?)
    }

    /// This size `times` over, if that is a size.
    pub fn checked_mul(self, times: u64) -> Option<Self> {
        Self::new(self.0.checked_mul(times)?)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parse = || {
            let (count, unit) = split_number(text)?;
            let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
            Self::new(count.checked_mul(*factor)?)
        };
        parse().ok_or(UnitError { expected: Self::EXPECTED })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        let (unit, factor) = SIZE_UNITS.into_iter().find(|(_, factor)| fits(*factor)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A length of time in whole milliseconds, at most [`Span::MAX`]. Written `"100ms"`, `"10s"`, `"1h30m"` or
/// `"7d"`: each unit once, the largest first. A number without a unit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Suffixes of durations in milliseconds, the largest first.
const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// What text is allowed.
    pub const EXPECTED: &str = "a duration with its unit, such as \"100ms\", \"10s\", \"1h30m\" or \"7d\"";
    /// The longest span, a hundred years: adding it to any honest time of day cannot overflow.
    pub const MAX: Self = Self(Duration::from_secs(36_500 * 86_400));

    /// `seconds` as a span.
    pub const fn seconds(seconds: u32) -> Self {
        Self(Duration::from_secs(if seconds as u64 > Self::MAX.0.as_secs() {
            Self::MAX.0.as_secs()
        } else {
            seconds as u64
        }))
    }

    /// `days` as a span, at most [`Span::MAX`].
    pub const fn days(days: u16) -> Self {
        Self(Duration::from_secs(if days > 36_500 { 36_500 } else { days as u64 } * 86_400))
    }

    /// `millis` as a span; `None` above [`Span::MAX`].
    pub fn from_millis(millis: u64) -> Option<Self> {
        let span = Self(Duration::from_millis(millis));
        (span <= Self::MAX).then_some(span)
    }

    /// The span as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum, if it is a span.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = Self(self.0.checked_add(other.0)?);
        (sum <= Self::MAX).then_some(sum)
    }

    fn parse(mut text: &str) -> Option<Self> {
        let mut millis = 0_u64;
        let mut units = SPAN_UNITS.iter();
        while !text.is_empty() {
            let (count, rest) = split_number(text)?;
            let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (unit, rest) = rest.split_at(end);
            let (_, factor) = units.find(|(name, _)| *name == unit)?;
            millis = millis.checked_add(count.checked_mul(*factor)?)?;
            text = rest;
        }
        Self::from_millis(millis)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let span = if text.is_empty() { None } else { Self::parse(text) };
        span.ok_or(UnitError { expected: Self::EXPECTED })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in SPAN_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// So many in a unit of time, never none. Written `"500/s"`, `"10/m"`, `"1000/h"` or `"5000/d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    unit: RateUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RateUnit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Rate {
    /// What text is allowed.
    pub const EXPECTED: &str = "a rate of at least one, such as \"500/s\", \"10/m\" or \"1000/h\"";

    /// How many in each [`Rate::period`].
    pub const fn count(self) -> NonZeroU32 {
        self.count
    }

    /// The time in which [`Rate::count`] is allowed.
    pub const fn period(self) -> Duration {
        Duration::from_secs(match self.unit {
            RateUnit::Second => 1,
            RateUnit::Minute => 60,
            RateUnit::Hour => 3_600,
            RateUnit::Day => 86_400,
        })
    }

    /// The time from one to the next when they come evenly; at least a nanosecond, or a quota of it would be
    /// endless.
    pub fn interval(self) -> Duration {
        (self.period() / self.count.get()).max(Duration::from_nanos(1))
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parse = || {
            let (count, unit) = split_number(text)?;
            let count = NonZeroU32::new(u32::try_from(count).ok()?)?;
            let unit = match unit {
                "/s" => RateUnit::Second,
                "/m" => RateUnit::Minute,
                "/h" => RateUnit::Hour,
                "/d" => RateUnit::Day,
                _ => return None,
            };
            Some(Self { count, unit })
        };
        parse().ok_or(UnitError { expected: Self::EXPECTED })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => 's',
            RateUnit::Minute => 'm',
            RateUnit::Hour => 'h',
            RateUnit::Day => 'd',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// The decimal number at the start of `text`, and what follows it; `None` without one or beyond `u64`.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// Reads `T` from text, and from a whole number where `T` makes something of one.
struct Unit<T> {
    expected: &'static str,
    number: fn(u64) -> Option<T>,
}

impl<T: FromStr> Visitor<'_> for Unit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { expected: Self::EXPECTED, number: Self::new })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { expected: Self::EXPECTED, number: |_| None })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { expected: Self::EXPECTED, number: |_| None })
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How long something lasts, about, for people.
pub fn lasting(span: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = span.as_secs();
    let (unit, name) = match seconds {
        0..120 => (1, "s"),
        120..7200 => (MINUTE, "min"),
        7200..172_800 => (HOUR, "h"),
        _ => (DAY, "days"),
    };
    format!("{} {name}", (seconds + unit / 2) / unit)
}

/// An age in milliseconds, negative for what is to come, for people.
pub fn ago(millis: i64) -> String {
    let span = Duration::from_secs(millis.unsigned_abs() / 1000);
    let shown = Span::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let shown = shown.map_or_else(|| format!("{} s", span.as_secs()), |span| span.to_string());
    if millis < 0 { format!("{shown} ahead") } else { format!("{shown} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_said_in_a_unit_that_suits_it() {
        let said = [0, 119, 120, 7199, 7200, 172_799, 172_800, 1_209_600];
        let said = said.map(|seconds| lasting(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "119 s", "2 min", "120 min", "2 h", "48 h", "2 days", "14 days"]);
    }

    fn size(text: &str) -> Option<u64> {
        text.parse::<ByteSize>().ok().map(ByteSize::bytes)
    }

    fn millis(text: &str) -> Option<u64> {
        text.parse::<Span>().ok().map(Span::millis)
    }

    #[test]
    fn sizes_are_binary_or_decimal_by_their_unit() {
        assert_eq!(size("1MiB"), Some(1_048_576));
        assert_eq!(size("1MB"), Some(1_000_000));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("10GiB"), Some(10_737_418_240));
        assert_eq!(size("1500B"), Some(1_500));
        assert_eq!(size("2TB"), Some(2_000_000_000_000));
    }

    #[test]
    fn other_sizes_are_refused() {
        for text in
            ["", "MiB", "1MiBB", "1mib", "1 MiB", "-1MiB", "+1B", "1.5MiB", "1", "8388608TiB", "1MiB "]
        {
            assert_eq!(size(text), None, "{text:?}");
        }
        assert_eq!(size("18446744073709551616B"), None);
        assert_eq!(size("9223372036854775807B"), Some(ByteSize::MAX.bytes()));
        assert_eq!(ByteSize::MAX.checked_add(ByteSize::kib(1)), None);
        assert_eq!(ByteSize::mib(1).checked_mul(u64::MAX), None);
    }

    #[test]
    fn durations_need_a_unit_and_keep_their_order() {
        assert_eq!(millis("10s"), Some(10_000));
        assert_eq!(millis("100ms"), Some(100));
        assert_eq!(millis("5m"), Some(300_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("7d"), Some(604_800_000));
        assert_eq!(millis("1s5ms"), Some(1_005));
        for text in
            ["", "10", "s", "30m1h", "1h1h", "1hour", "-5s", "1.5s", "5 m", "36501d", "99999999999999999999d"]
        {
            assert_eq!(millis(text), None, "{text:?}");
        }
        assert_eq!(millis("36500d"), Some(Span::MAX.millis()));
        assert_eq!(Span::MAX.checked_add(Span::seconds(1)), None);
    }

    #[test]
    fn rates_are_never_zero() {
        let rate: Rate = "500/s".parse().unwrap();
        assert_eq!((rate.count().get(), rate.period()), (500, Duration::from_secs(1)));
        assert_eq!(rate.interval(), Duration::from_millis(2));
        assert_eq!("10/m".parse::<Rate>().unwrap().interval(), Duration::from_secs(6));
        assert_eq!("4294967295/s".parse::<Rate>().unwrap().interval(), Duration::from_nanos(1));
        for text in ["0/s", "/s", "500", "500/", "500/x", "-1/s", "4294967296/s", "500/s "] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn plain_numbers_are_bytes_and_nothing_else() {
        #[derive(serde::Deserialize)]
        struct Size {
            at: ByteSize,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Time {
            #[expect(dead_code, reason = "only its refusal is looked at")]
            at: Span,
        }
        assert_eq!(toml::from_str::<Size>("at = 1500").unwrap().at.bytes(), 1_500);
        assert!(toml::from_str::<Size>("at = -1").is_err());
        assert!(toml::from_str::<Size>("at = 1.5").is_err());
        let error = toml::from_str::<Time>("at = 10").unwrap_err();
        assert!(error.message().contains("a duration with its unit"), "{error}");
    }

    #[test]
    fn the_canonical_spelling_is_the_shortest() {
        for (text, canonical) in [("1024KiB", "1MiB"), ("1000KB", "1MB"), ("1500B", "1500B"), ("0B", "0B")] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), canonical);
        }
        for (text, canonical) in [("90m", "1h30m"), ("75s", "1m15s"), ("0ms", "0s"), ("24h", "1d")] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), canonical);
        }
        assert_eq!("60/m".parse::<Rate>().unwrap().to_string(), "60/m");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes in 0..=ByteSize::MAX.bytes(), ms in 0..=3_153_600_000_000_u64) {
            let size = ByteSize::new(bytes).unwrap();
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
            let span = Span::from_millis(ms).unwrap();
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn what_any_text_means_survives_printing(text in "[0-9]{0,22}[a-zA-Z/ ]{0,4}[0-9]{0,3}\\PC{0,3}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
            }
            if let Ok(span) = text.parse::<Span>() {
                prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            }
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            }
        }
    }
}
