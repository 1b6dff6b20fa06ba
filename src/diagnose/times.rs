//! Times that do not fit: signatures that are right and old, or ahead, and times in another unit.

use std::time::Duration;

use super::case::Case;
use super::cause::{Cause, Finding};
use crate::clock::Timestamp;
use crate::provider::{TimeUnit, TimestampRule};
use crate::units::Span;
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
        vec![Cause::Stale.found(
            told,
            "to judge a capture as of when it came, give --at; else it was sent again long after it was signed, queued \
             on the way, or this machine's clock is ahead; a longer tolerance.past lets it in",
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
        let (wanted, others) = match rule.unit {
            TimeUnit::Seconds => ("Unix seconds, ten digits", "milliseconds, a date or a fraction"),
            TimeUnit::Milliseconds => ("Unix milliseconds, thirteen digits", "seconds or a date"),
            _ => ("a date with its time, as its provider writes it", "a number"),
        };
        let found = format!("the time is not in the scheme's form: it wants {wanted}");
        let advice = format!("does the sender write {others}? It must sign and send the same text");
        vec![Cause::TimeMalformed.found(found, advice)]
    }
}

/// An age in milliseconds, for people.
pub(super) fn ago(millis: i64) -> String {
    let span = Duration::from_secs(millis.unsigned_abs() / 1000);
    let shown = Span::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let shown = shown.map_or_else(|| format!("{} s", span.as_secs()), |span| span.to_string());
    if millis < 0 { format!("{shown} ahead") } else { format!("{shown} ago") }
}
