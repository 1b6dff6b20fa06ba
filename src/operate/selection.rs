//! Which events are meant: a choice as people write it, read into a selection. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::{NoTime, Timestamp};
use crate::event::{Digest, Sequence};
use crate::journal::{Mark, Standing, State, Summary, Within};
use crate::units::Span;

/// How an event stands, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// To be handed over, or on its way.
    Pending,
    /// Pending, and waiting for another try: unroutable, parked, or given back by a worker.
    Aside,
    /// Waits for an operator's word.
    Held,
    /// Out of the relay: refused each time.
    Poison,
    /// Handed over.
    Confirmed,
    /// Handed over by another replica.
    Superseded,
    /// Given up by an operator.
    Dropped,
}

impl Status {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Pending, "pending"),
        (Self::Aside, "aside"),
        (Self::Held, "held"),
        (Self::Poison, "poison"),
        (Self::Confirmed, "confirmed"),
        (Self::Superseded, "superseded"),
        (Self::Dropped, "dropped"),
    ];

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(status, _)| *status == self).map_or("", |(_, name)| name)
    }

    /// From how a record stands; `aside` is asked of pending ones.
    pub fn of(standing: Standing, aside: impl FnOnce() -> bool) -> Self {
        match standing {
            Standing::Live(State::Pending) if aside() => Self::Aside,
            Standing::Live(State::Pending) => Self::Pending,
            Standing::Live(State::Held) => Self::Held,
            Standing::Live(State::Poisoned) => Self::Poison,
            Standing::Ended(Mark::Superseded) => Self::Superseded,
            Standing::Ended(Mark::Dropped) => Self::Dropped,
            Standing::Ended(_) => Self::Confirmed,
        }
    }

    /// Whether its life has not ended.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Aside | Self::Held | Self::Poison)
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|(_, name)| *name == text);
        known.map(|(status, _)| status).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("state {text:?}: allowed are {}, several with commas between", names.join(", "))
        })
    }
}

/// A choice of events as people write it; what is absent is not asked for, and what is there must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The source's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event type, whole.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The provider's own id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The message id, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// States, commas between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// A number or a range of numbers such as `5-9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// Received at this time or later: a time, or a duration before now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Received before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Choice {
    /// Names of the fields.
    pub const FIELDS: [&str; 8] = ["source", "type", "id", "key", "state", "sequence", "since", "until"];

    /// Sets a field by its name; false where there is none of that name.
    pub fn set(&mut self, name: &str, value: String) -> bool {
        let field = match name {
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "id" => &mut self.id,
            "key" => &mut self.key,
            "state" => &mut self.state,
            "sequence" => &mut self.sequence,
            "since" => &mut self.since,
            "until" => &mut self.until,
            _ => return false,
        };
        *field = Some(value);
        true
    }

    /// Reads it; durations count back from `now`.
    ///
    /// # Errors
    /// A sentence that tells what was found and what is allowed.
    pub fn read(self, now: Timestamp) -> Result<Selection, String> {
        let states = self.state.as_deref().unwrap_or_default();
        let states = states.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse);
        let (first, last) = self.sequence.as_deref().map(numbers).transpose()?.unzip();
        Ok(Selection {
            source: self.source,
            event_type: self.event_type,
            id: self.id,
            key: self.key.as_deref().map(key).transpose()?,
            states: states.collect::<Result<_, _>>()?,
            first,
            last,
            since: self.since.as_deref().map(|text| moment("since", text, now)).transpose()?,
            until: self.until.as_deref().map(|text| moment("until", text, now)).transpose()?,
        })
    }
}

/// Which events are meant. Everything that is set must hold; nothing set means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The source's name.
    pub source: Option<String>,
    /// The event type.
    pub event_type: Option<String>,
    /// The provider's own id.
    pub id: Option<String>,
    /// The message id.
    pub key: Option<Digest>,
    /// States of which one must hold; empty for any.
    pub states: Vec<Status>,
    /// No lower numbers.
    pub first: Option<Sequence>,
    /// No higher numbers.
    pub last: Option<Sequence>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Whether it means all events.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it names nothing but a key.
    pub fn is_key_alone(&self) -> bool {
        self.key.is_some() && *self == Self { key: self.key, ..Self::default() }
    }

    /// Whether only records whose lives have not ended can be meant.
    pub fn is_live(&self) -> bool {
        !self.states.is_empty() && self.states.iter().all(|status| status.is_live())
    }

    /// The part of it by which stretches of the journal are passed over; `through` is the last number that counts.
    pub fn within(&self, through: Sequence) -> Within {
        Within {
            first: self.first.unwrap_or_default(),
            last: self.last.map_or(through, |last| last.min(through)),
            since: self.since,
            until: self.until,
            digests: false,
        }
    }

    /// Whether an event is meant, its state aside.
    pub fn wants(&self, event: &Summary<'_>) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|text| text == found);
        same(&self.source, event.source)
            && same(&self.event_type, event.event_type)
            && same(&self.id, event.event_id)
            && self.key.is_none_or(|key| key == event.message_id)
    }

    /// Whether an event in this state is meant.
    pub fn wants_status(&self, status: Status) -> bool {
        self.states.is_empty() || self.states.contains(&status)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        let mut words = Vec::new();
        let texts = [("source", &self.source), ("type", &self.event_type), ("id", &self.id)];
        words.extend(texts.iter().filter_map(|(name, text)| Some(format!("{name}={:?}", text.as_ref()?))));
        words.extend(self.key.map(|key| format!("key={key}")));
        let states: Vec<&str> = self.states.iter().map(|status| status.as_str()).collect();
        words.extend((!states.is_empty()).then(|| format!("state={}", states.join(","))));
        let (first, last) = (self.first.unwrap_or_default(), self.last.unwrap_or(Sequence(u64::MAX)));
        words.extend(self.first.or(self.last).map(|_| format!("sequence={first}-{last}")));
        words.extend(self.since.map(|since| format!("since={since}")));
        words.extend(self.until.map(|until| format!("until={until}")));
        f.write_str(&words.join(" "))
    }
}

fn key(text: &str) -> Result<Digest, String> {
    let wrong = |_| format!("key {text:?}: expected a message id, 64 hexadecimal digits");
    text.trim().parse().map_err(wrong)
}

fn numbers(text: &str) -> Result<(Sequence, Sequence), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((Sequence(first), Sequence(last))),
        _ => Err(format!("sequence {text:?}: expected a number, or a range such as 5-9")),
    }
}

/// A time as people write it, or a duration before `now`.
///
/// # Errors
/// A sentence that tells what was found and what is allowed.
pub fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(now.minus(span.duration()));
    }
    text.parse()
        .map_err(|error: NoTime| format!("{name} {text:?}: {error}, or a duration before now such as 2h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn read(fields: &[(&str, &str)]) -> Result<Selection, String> {
        let mut choice = Choice::default();
        assert!(fields.iter().all(|(name, value)| choice.set(name, (*value).to_owned())));
        choice.read(NOW)
    }

    #[test]
    fn a_choice_is_read_and_told_back() {
        let key = "ab".repeat(32);
        let selection = read(&[
            ("source", "shop"),
            ("type", "a b"),
            ("state", "held, poison"),
            ("sequence", "5-9"),
            ("since", "2h"),
            ("until", "2027-01-15T08:00:00Z"),
            ("key", &key),
        ])
        .unwrap();
        assert_eq!((selection.first, selection.last), (Some(Sequence(5)), Some(Sequence(9))));
        assert_eq!(selection.since, Some(NOW.minus(std::time::Duration::from_secs(7200))));
        assert_eq!(selection.until, Some(NOW));
        assert!(selection.is_live() && !selection.is_all() && !selection.is_key_alone());
        let told = format!(
            "source=\"shop\" type=\"a b\" key={key} state=held,poison sequence=5-9 \
             since=2027-01-15T06:00:00.000Z until=2027-01-15T08:00:00.000Z"
        );
        assert_eq!(selection.to_string(), told);
        assert!(read(&[("key", &key)]).unwrap().is_key_alone());
        assert_eq!(read(&[]).unwrap().to_string(), "all");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_is_allowed() {
        for (name, value, told) in [
            ("state", "lost", "allowed are pending, aside, held"),
            ("sequence", "9-5", "a range such as 5-9"),
            ("sequence", "x", "a range such as 5-9"),
            ("since", "yesterday", "2026-11-21T07:00:00Z"),
            ("key", "abc", "64 hexadecimal digits"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(told) && error.contains(value), "{error}");
        }
        assert!(!Choice::default().set("sorce", String::new()));
    }
}
