//! The dead letters as an operator has them: one call at a time, each of them bounded in letters, bytes and time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::call::Call;
use super::letter::Letter;
use crate::clock::Clock;
use crate::sink::rabbitmq::dial::Line;
use crate::sink::rabbitmq::{CheckError, Settings};

/// How long a call waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Deadline of each step of a call; an operator waits for it.
const STEP: Duration = Duration::from_secs(5);
/// Ids that are told; more are counted.
const IDS_TOLD: usize = 5;

/// Which letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those of this source.
    Source(String),
    /// Those with these message ids.
    Ids(BTreeSet<String>),
}

impl Which {
    /// Whether this one is.
    pub(super) fn means(&self, letter: &Letter) -> bool {
        match self {
            Self::All => true,
            Self::Source(source) => letter.source.as_ref() == Some(source),
            Self::Ids(ids) => letter.id.as_ref().is_some_and(|id| ids.contains(id)),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Source(source) => f.write_str(source),
            Self::Ids(ids) => {
                let told: Vec<&str> = ids.iter().take(IDS_TOLD).map(String::as_str).collect();
                write!(f, "ids {}", told.join(", "))?;
                match ids.len().saturating_sub(IDS_TOLD) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

/// What is done with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Back to the queue in which each died.
    Requeue,
    /// Given up for good.
    Drop,
}

impl Verb {
    /// The outcome of a letter with which it was done.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Requeue => "requeued",
            Self::Drop => "dropped",
        }
    }

    /// The outcome of a letter of which the broker did not say that it is done with: one that is to be put back may be there
    /// twice, one that is to be dropped may be gone.
    pub const fn undecided(self) -> &'static str {
        match self {
            Self::Requeue => "unconfirmed",
            Self::Drop => "unanswered",
        }
    }
}

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What was listed, oldest first.
    pub letters: Vec<Letter>,
    /// How many letters were meant.
    pub selected: u64,
    /// How many came to what: [`Verb::done`], or why they stay where they are (`no_queue`: it is not known where they
    /// died, `unroutable`: that queue is gone, `refused`: it is full), or [`Verb::undecided`].
    pub outcomes: BTreeMap<&'static str, u64>,
    /// There are letters that were not looked at, or not listed.
    pub more: bool,
    /// Letters in the queue when the call began.
    pub ready: u64,
    /// Why it ended early, if it did.
    pub stopped: Option<String>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeadError {
    /// The one before it is not done.
    #[error("another call has the dead letters in hand; try again in some seconds")]
    Busy,
    /// No connection, or no queue, or no rights.
    #[error(transparent)]
    Broker(#[from] CheckError),
    /// Letters could be read and not be looked after.
    #[error("the dead letters were not listed: {0}")]
    Stopped(String),
}

/// What a call is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    List { limit: usize },
    Act { verb: Verb, dry_run: bool },
}

/// The queue of dead letters; cheap to clone.
#[derive(Clone)]
pub struct DeadLetters(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Arc<dyn Clock>,
    one: Mutex<()>,
}

impl DeadLetters {
    /// Those of the exchange in `settings`; connects with each call.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let mut settings = settings;
        settings.pace.step = settings.pace.step.min(STEP);
        Self(Arc::new(Inner { settings, clock, one: Mutex::new(()) }))
    }

    /// Lists at most `limit` of them, oldest first.
    ///
    /// # Errors
    /// Where another call is under way, or the broker cannot be reached, refuses, or breaks off.
    pub async fn list(&self, which: &Which, limit: usize) -> Result<Found, DeadError> {
        let found = self.call(which, Task::List { limit }).await?;
        match found.stopped {
            Some(why) => Err(DeadError::Stopped(why)),
            None => Ok(found),
        }
    }

    /// Puts letters back, or gives them up; with `dry_run` they are only counted. What goes wrong once letters are in
    /// hand is told in [`Found::stopped`]; no letter is ended before it is where it belongs. To be awaited to its end.
    ///
    /// # Errors
    /// Where another call is under way, or the broker cannot be reached or refuses.
    pub async fn act(&self, verb: Verb, which: &Which, dry_run: bool) -> Result<Found, DeadError> {
        self.call(which, Task::Act { verb, dry_run }).await
    }

    async fn call(&self, which: &Which, task: Task) -> Result<Found, DeadError> {
        let Inner { settings, clock, one } = &*self.0;
        let Ok(_alone) = timeout(PATIENCE, one.lock()).await else { return Err(DeadError::Busy) };
        let line = Line::open(settings).await.map_err(CheckError::of)?;
        let call = Call::open(&line, settings, clock.as_ref()).await;
        let found = match call {
            Ok(call) => call.run(which, task).await,
            Err(trouble) => Err(trouble),
        };
        line.close().await;
        Ok(found.map_err(CheckError::of)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_told_in_a_few_words() {
        let ids = |count: usize| Which::Ids((0..count).map(|n| format!("i{n}")).collect());
        assert_eq!(ids(2).to_string(), "ids i0, i1");
        assert_eq!(ids(7).to_string(), "ids i0, i1, i2, i3, i4 and 2 more");
        assert_eq!(
            [Which::All, Which::Source("shop".to_owned())].map(|one| one.to_string()),
            ["all", "shop"]
        );
        let letter = Letter { id: Some("i1".to_owned()), ..Letter::default() };
        assert!(ids(2).means(&letter) && !ids(1).means(&letter) && Which::All.means(&letter));
        assert!(!Which::Source(String::new()).means(&letter), "a letter of nobody is nobody's");
    }
}
