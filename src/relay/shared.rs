//! The relay's side of the claims that replicas share: when to publish without Redis, and what Redis still has
//! to be told. Decides; publishes and parks nothing itself.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::dedup::{RedisClaims, Shared};
use crate::event::Digest;

/// Confirmed events that Redis still has to be told of, at most; 32 bytes each.
const UNTOLD_MAX: usize = 100_000;
/// How many of them it is told at once.
const TOLD_AT_ONCE: usize = 1_024;
/// Pause between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(500);

/// How often this replica says that it lives.
const RENEW: Duration = Duration::from_secs(10);
/// Silent replicas that are watched, at most; there are as many as ever shared this Redis.
const SILENT_MAX: usize = 1_024;

/// What Redis says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This replica publishes it.
    Mine,
    /// So it does, marked: the replica that claimed it has fallen silent, and may have published it (W4).
    TakenOver,
    /// Another replica publishes it: wait.
    Theirs,
    /// It is published and confirmed.
    Done,
}

/// What Redis says about a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer for each event.
    Answers(Vec<Answer>),
    /// It does not answer: wait with all of them.
    Wait,
    /// It has not answered for so long that they are published, marked (W3a).
    Marked,
}

/// Claims, with what is to be caught up on.
pub(super) struct Claims {
    redis: RedisClaims,
    /// How long to wait for Redis before publishing with the duplicate mark.
    wait: Duration,
    /// Since when Redis has not answered a claim (monotonic).
    away_since: Option<Duration>,
    /// Confirmed, and not noted in Redis: other replicas hold their copies until it is.
    untold: VecDeque<Digest>,
    tell_at: Duration,
    /// How long a replica must have been silent before its claims are taken over.
    takeover_after: Duration,
    /// Since when which replica has been silent (monotonic).
    silent: HashMap<String, Duration>,
    renew_at: Duration,
}

impl Claims {
    /// `wait` is how long to do without an answer, `takeover_after` how long another replica may be silent.
    pub(super) fn new(redis: RedisClaims, wait: Duration, takeover_after: Duration) -> Self {
        Self {
            redis,
            wait,
            away_since: None,
            untold: VecDeque::new(),
            tell_at: Duration::ZERO,
            takeover_after,
            silent: HashMap::new(),
            renew_at: Duration::ZERO,
        }
    }

    /// Says that this replica lives, where it is time for that.
    pub(super) async fn renew(&mut self, now: Duration) {
        if now >= self.renew_at {
            let renewed = self.redis.renew().await.is_ok();
            self.renew_at = now + if renewed { RENEW } else { PAUSE };
        }
    }

    /// Looks whether the replicas live that others' claims belong to.
    async fn judge(&mut self, answers: Vec<Shared>, now: Duration) -> Vec<Answer> {
        let owner = |answer: &Shared| match answer {
            Shared::Theirs { owner } => Some(owner.clone()),
            _ => None,
        };
        let owners: BTreeSet<String> = answers.iter().filter_map(owner).collect();
        let names: Vec<&str> = owners.iter().map(String::as_str).collect();
        if let (false, Ok(living)) = (names.is_empty(), self.redis.living(&names).await) {
            for (name, lives) in names.iter().zip(living) {
                if lives {
                    self.silent.remove(*name);
                } else if self.silent.len() < SILENT_MAX && !self.silent.contains_key(*name) {
                    self.silent.insert((*name).to_owned(), now);
                }
            }
        }
        let gone = |owner: &str| {
            self.silent.get(owner).is_some_and(|since| now.saturating_sub(*since) >= self.takeover_after)
        };
        let answer = |shared: &Shared| match shared {
            Shared::Mine | Shared::MineAgain => Answer::Mine,
            Shared::Done => Answer::Done,
            Shared::Theirs { owner } if gone(owner) => Answer::TakenOver,
            Shared::Theirs { .. } => Answer::Theirs,
        };
        answers.iter().map(answer).collect()
    }

    /// Asks for a batch at `now` (monotonic).
    pub(super) async fn ask(&mut self, ids: &[Digest], now: Duration) -> Verdict {
        match self.redis.claim(ids).await {
            Ok(answers) => {
                if self.away_since.take().is_some() {
                    tracing::info!("Redis answers again");
                }
                Verdict::Answers(self.judge(answers, now).await)
            }
            Err(error) => {
                let since = *self.away_since.get_or_insert_with(|| {
                    tracing::warn!(%error, "Redis does not answer; events wait, and go out marked after redis_wait");
                    now
                });
                if now.saturating_sub(since) < self.wait { Verdict::Wait } else { Verdict::Marked }
            }
        }
    }

    /// Tells the other replicas which events are confirmed; what cannot be told is kept for [`Self::catch_up`].
    pub(super) async fn finish(&mut self, done: &[Digest]) {
        if done.is_empty() || (self.untold.is_empty() && self.redis.finish(done).await.is_ok()) {
            return;
        }
        if self.untold.is_empty() {
            tracing::warn!("confirmed events could not be noted in Redis; that is done once it answers");
        }
        let room = UNTOLD_MAX.saturating_sub(self.untold.len());
        if done.len() > room {
            tracing::error!(
                events = done.len() - room,
                "too many confirmed events wait to be noted in Redis: other replicas may publish these again"
            );
        }
        self.untold.extend(done.iter().take(room));
    }

    /// Tells what could not be told before, a part at a time; true where more is left.
    pub(super) async fn catch_up(&mut self, now: Duration) -> bool {
        if self.untold.is_empty() || now < self.tell_at {
            return false;
        }
        let part: Vec<Digest> = self.untold.iter().take(TOLD_AT_ONCE).copied().collect();
        if self.redis.finish(&part).await.is_err() {
            self.tell_at = now + PAUSE;
            return false;
        }
        self.untold.drain(..part.len());
        if self.untold.is_empty() {
            tracing::info!("all confirmed events are noted in Redis");
        }
        !self.untold.is_empty()
    }

    /// When there is something to catch up on (monotonic).
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.untold.is_empty()).then_some(self.tell_at)
    }
}
