//! Times that do not fit: signatures that are right and old, or ahead, and times in another unit.

use super::case::Case;
use super::cause::{Cause, Finding};
use super::signature::list_of;
use crate::clock::Timestamp;
use crate::provider::{TimeSource, TimeUnit, TimestampRule};
use crate::units::ago;
use crate::verify::Verifier;

/// How near to now a time must be once it is read in another unit.
const NEAR_MS: u64 = 24 * 60 * 60 * 1000;

impl Case<'_> {
    /// Why a signature that holds is not fresh.
    pub(super) fn untimely(&self) -> Vec<Finding> {
        let keys = self.keys();
        let scheme = &self.endpoint.scheme;
        let verified =
            Verifier::new(std::sync::Arc::clone(scheme), keys).verify(self.delivery.clone(), self.now);
        let Ok(Some(at)) = verified.map(|verified| verified.signed_at()) else { return Vec::new() };
        let millis = self.now.millis_since(at);
        if let Some(unit) = scheme.timestamp.as_ref().and_then(|rule| self.other_unit(rule, at)) {
            return vec![unit];
        }
        let told = format!("the signature itself is right; it was made at {at}, {}", ago(millis));
        if millis < 0 {
            return vec![Cause::ClockBehind.found(
                told,
                "or a clock is wrong: the sender's, or this machine's; compare both with a time server (NTP)",
            )];
        }
        let name = if self.endpoint.name.is_empty() { "NAME" } else { &self.endpoint.name };
        vec![Cause::Stale.found(
            told,
            format!(
                "it was sent again long after it was signed, queued on the way, or this machine's clock is ahead; \
                 sources.{name}.tolerance = {{ past = \"1h\" }} lets in what is up to an hour old (a capture: `explain --at` \
                 judges it as of when it came)"
            ),
        )]
    }

    /// A time that is near to now once seconds are read as milliseconds, or the other way round.
    fn other_unit(&self, rule: &TimestampRule, at: Timestamp) -> Option<Finding> {
        let (read, meant, name) = match rule.unit {
            TimeUnit::Seconds => (at.millis() / 1000, "milliseconds", "seconds"),
            TimeUnit::Milliseconds => (at.millis().saturating_mul(1000), "seconds", "milliseconds"),
            _ => return None,
        };
        let near = self.now.millis_since(Timestamp::from_millis(read)).unsigned_abs() <= NEAR_MS;
        let found =
            format!("the signature itself is right; its time is in {meant}, and the scheme wants {name}");
        let advice =
            "let the sender sign a time in the scheme's unit, or set timestamp.unit in the provider's file";
        near.then(|| Cause::TimeUnit.found(found, advice))
    }

    /// A time that the scheme cannot read.
    pub(super) fn unreadable_time(&self) -> Vec<Finding> {
        let Some(rule) = &self.endpoint.scheme.timestamp else { return Vec::new() };
        let text = self.time_text(rule).unwrap_or_default();
        let what = shape(rule.unit, text.trim()).map_or_else(String::new, |what| format!(": {what}"));
        let found = format!("the time is not in the scheme's form, {}{what}", rule.unit);
        let advice = "the sender must sign and send the same text in that form; where it is right to write another, set \
                      timestamp.unit in the provider's file";
        vec![Cause::TimeMalformed.found(found, advice)]
    }

    /// The text of the time, where it can be read without the signature.
    fn time_text(&self, rule: &TimestampRule) -> Option<String> {
        let name = match &rule.from {
            TimeSource::Place(place) => return place.read(self.delivery).map(|text| text.into_owned()),
            TimeSource::Signature(name) => name,
        };
        let signature = &self.endpoint.scheme.signature;
        let value = signature.from.read(self.delivery)?;
        let (separator, assign, _) = list_of(&signature.grammar)?;
        let mut named = value.split(separator).filter_map(|item| item.split_once(assign));
        named.find(|(known, _)| known.trim() == name).map(|(_, text)| text.to_owned())
    }
}

/// What a time is like that is not in the scheme's form.
fn shape(unit: TimeUnit, text: &str) -> Option<&'static str> {
    let is_time = |text: String| text.parse::<Timestamp>().is_ok();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = text.split_once('.').is_some_and(|(whole, part)| {
        !whole.is_empty() && [whole, part].concat().bytes().all(|byte| byte.is_ascii_digit())
    });
    let joined = text.replacen(' ', "T", 1);
    let zone = text.len().checked_sub(2).and_then(|at| Some((text.get(..at)?, text.get(at..)?)));
    let of_date = |text: &str| is_time(text.to_owned()) || is_time(format!("{text}Z"));
    match unit {
        _ if text.is_empty() => Some("it is empty"),
        TimeUnit::Rfc3339 if digits => Some("it is a number"),
        TimeUnit::Rfc3339 if is_time(format!("{text}Z")) => {
            Some("it has no zone: Z for UTC, or an offset such as +02:00, must stand at its end")
        }
        TimeUnit::Rfc3339 if is_time(joined.clone()) => {
            Some("a blank stands between date and time, where a T must")
        }
        TimeUnit::Rfc3339 if is_time(format!("{joined}Z")) => {
            Some("it has no zone (Z, or an offset such as +02:00), and a blank where a T must stand")
        }
        TimeUnit::Rfc3339 if zone.is_some_and(|(at, minutes)| is_time(format!("{at}:{minutes}"))) => {
            Some("its offset is without the colon, as in +0200 for +02:00")
        }
        TimeUnit::Rfc3339 if Timestamp::from_rfc2822(text).is_some() => Some("it is a date of HTTP or mail"),
        TimeUnit::Rfc2822 if digits => Some("it is a number"),
        TimeUnit::Rfc2822 if of_date(text) => Some("it is a date of RFC 3339"),
        TimeUnit::Rfc3339 | TimeUnit::Rfc2822 => None,
        _ if fraction => Some("it has a fraction"),
        _ if of_date(&joined) || Timestamp::from_rfc2822(text).is_some() => Some("it is a date"),
        _ if digits => Some("it begins with a zero, or has more digits than any time"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_another_form_is_told_by_what_is_odd_about_it() {
        for (unit, text, told) in [
            (TimeUnit::Rfc3339, "2026-03-01T12:00:00", "no zone"),
            (TimeUnit::Rfc3339, "2026-03-01T12:00:00.123", "no zone"),
            (TimeUnit::Rfc3339, "2026-03-01 12:00:00", "no zone"),
            (TimeUnit::Rfc3339, "2026-03-01 12:00:00Z", "a blank stands"),
            (TimeUnit::Rfc3339, "2026-03-01T12:00:00+0200", "without the colon"),
            (TimeUnit::Rfc3339, "1772366400", "a number"),
            (TimeUnit::Rfc3339, "Sun, 01 Mar 2026 12:00:00 GMT", "of HTTP"),
            (TimeUnit::Rfc2822, "2026-03-01T12:00:00Z", "of RFC 3339"),
            (TimeUnit::Seconds, "1772366400.5", "a fraction"),
            (TimeUnit::Seconds, "2026-03-01 12:00:00", "a date"),
            (TimeUnit::Milliseconds, "01772366400000", "begins with a zero"),
            (TimeUnit::Seconds, "", "empty"),
        ] {
            assert!(
                shape(unit, text).is_some_and(|what| what.contains(told)),
                "{text}: {:?}",
                shape(unit, text)
            );
        }
        assert_eq!(shape(TimeUnit::Rfc3339, "soon"), None);
        assert_eq!(shape(TimeUnit::Seconds, "\u{e9}\u{e9}"), None);
    }
}
