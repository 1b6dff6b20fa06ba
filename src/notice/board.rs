//! Which notices there are: one begins once it has lasted, and ends when it is found no more; of those that a moment can
//! begin and end, once it has not been found for a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{Found, Subject};
use super::kind::Kind;
use crate::clock::Timestamp;

/// A notice that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What there is to tell.
    pub kind: Kind,
    /// Of what.
    pub subject: Subject,
    /// In a sentence, as it was found last.
    pub text: String,
    /// When it began to be told.
    pub since: Timestamp,
}

impl Notice {
    fn of((kind, subject): &(Kind, Subject), one: &Standing) -> Option<Self> {
        Some(Self { kind: *kind, subject: subject.clone(), text: one.text.clone(), since: one.told? })
    }

    /// As data, for whoever is told of it.
    pub fn to_json(&self) -> Value {
        let Self { kind, subject, text, since } = self;
        json!({
            "notice": kind.label(),
            "source": subject.source.as_deref(),
            "secret": subject.secret.as_deref(),
            "text": text,
            "advice": kind.advice(),
            "since": since.to_string(),
        })
    }
}

/// What has changed by a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A notice stands from here on.
    Began(Notice),
    /// And does no longer.
    Ended(Notice),
}

/// A finding, told or not yet.
struct Standing {
    first_found: Duration,
    last_found: Duration,
    told: Option<Timestamp>,
    text: String,
}

/// The notices that stand; read by whoever shows them.
#[derive(Default)]
pub struct Board(Mutex<BTreeMap<(Kind, Subject), Standing>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Kind, Subject), Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a look at that time has found, on both clocks.
    pub fn update(&self, found: Vec<Found>, now: Timestamp, elapsed: Duration) -> Vec<Change> {
        let mut before = std::mem::take(&mut *self.lock());
        let mut standing = BTreeMap::new();
        let mut changes = Vec::new();
        for Found { kind, subject, text } in found {
            let key = (kind, subject);
            let known = before.remove(&key);
            let mut known = Standing {
                first_found: known.as_ref().map_or(elapsed, |known| known.first_found),
                last_found: elapsed,
                told: known.and_then(|known| known.told),
                text,
            };
            if known.told.is_none() && elapsed.saturating_sub(known.first_found) >= kind.patience() {
                known.told = Some(now);
                changes.extend(Notice::of(&key, &known).map(Change::Began));
            }
            standing.insert(key, known);
        }
        for (key, missing) in before.into_iter().filter(|(_, missing)| missing.told.is_some()) {
            // An event that is being tried once more waits nowhere for a moment.
            if elapsed.saturating_sub(missing.last_found) < key.0.patience() / 2 {
                standing.insert(key, missing);
            } else {
                changes.extend(Notice::of(&key, &missing).map(Change::Ended));
            }
        }
        *self.lock() = standing;
        changes
    }

    /// Those that stand, by kind.
    pub fn notices(&self) -> Vec<Notice> {
        self.lock().iter().filter_map(|(key, one)| Notice::of(key, one)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, source: &str, text: &str) -> Found {
        Found { kind, subject: Subject::source(&source.into()), text: text.to_owned() }
    }

    fn told(changes: &[Change]) -> Vec<(bool, Kind)> {
        let told = |change: &Change| match change {
            Change::Began(notice) => (true, notice.kind),
            Change::Ended(notice) => (false, notice.kind),
        };
        changes.iter().map(told).collect()
    }

    #[test]
    fn a_notice_begins_once_and_ends_once_and_shows_its_latest_text() {
        let board = Board::default();
        let at = |seconds: i64| {
            (Timestamp::from_seconds(1_800_000_000 + seconds), Duration::from_secs(seconds.unsigned_abs()))
        };
        let look = |found: Vec<Found>, seconds| board.update(found, at(seconds).0, at(seconds).1);
        let poison = |text| vec![found(Kind::Poison, "shop", text)];
        assert_eq!(told(&look(poison("one"), 0)), [(true, Kind::Poison)]);
        assert_eq!(look(poison("two"), 2), []);
        let notices = board.notices();
        assert_eq!((notices.len(), &*notices[0].text, notices[0].since), (1, "two", at(0).0));
        assert_eq!(told(&look(Vec::new(), 4)), [(false, Kind::Poison)]);
        assert_eq!((look(Vec::new(), 6), board.notices()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_heals_at_once_is_not_told_of() {
        let board = Board::default();
        let look = |kinds: &[Kind], seconds| {
            let found = kinds.iter().map(|kind| found(*kind, "shop", "x")).collect();
            told(&board.update(found, Timestamp::from_seconds(1), Duration::from_secs(seconds)))
        };
        assert_eq!(look(&[Kind::SinkAway], 0), []);
        assert_eq!(look(&[Kind::SinkAway], 8), []);
        assert_eq!(look(&[], 9), [], "healed");
        assert_eq!(look(&[Kind::SinkAway], 10), []);
        assert_eq!(look(&[Kind::SinkAway], 18), [], "counted from the second time");
        assert!(board.notices().is_empty());
        assert_eq!(look(&[Kind::SinkAway], 20), [(true, Kind::SinkAway)]);
        assert_eq!(look(&[], 22), [], "perhaps for a moment");
        assert_eq!(look(&[Kind::SinkAway], 24), []);
        assert_eq!((look(&[], 28), board.notices().len()), (Vec::new(), 1));
        assert_eq!(look(&[], 29), [(false, Kind::SinkAway)]);
    }

    #[test]
    fn one_source_says_nothing_of_another() {
        let board = Board::default();
        let look = |sources: &[&str], seconds| {
            let found = sources.iter().map(|source| found(Kind::Held, source, "x")).collect();
            told(&board.update(found, Timestamp::from_seconds(1), Duration::from_secs(seconds))).len()
        };
        assert_eq!([look(&["a"], 0), look(&["a", "b"], 2), look(&["b"], 8), look(&["b"], 10)], [1, 1, 1, 0]);
    }
}
