//! The relay's side of the claims that replicas share: when to publish without Redis, and what Redis still has
//! to be told. Decides; publishes and parks nothing itself.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::dedup::{ClaimsError, Owner, RedisClaims, Shared, Silence};
use crate::event::Digest;
use crate::failpoint::{self, Point};

/// Confirmed events that Redis still has to be told of, at most; 32 bytes each.
const UNTOLD_MAX: usize = 100_000;
/// How many of them it is told at once.
const TOLD_AT_ONCE: usize = 1_024;
/// Pause between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(500);

/// How often this replica says that it lives.
const RENEW: Duration = Duration::from_secs(10);

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

impl Answer {
    fn of(shared: &Shared) -> Self {
        match shared {
            Shared::Mine | Shared::MineAgain { over: false } => Self::Mine,
            Shared::MineAgain { over: true } => Self::TakenOver,
            Shared::Theirs(_) => Self::Theirs,
            Shared::Done(_) => Self::Done,
        }
    }
}

/// The replica that has to give signs of life for this claim to hold.
fn owner(shared: &Shared) -> Option<&Owner> {
    match shared {
        Shared::Theirs(claimant) if matches!(claimant.owner, Owner::Replica { .. }) => Some(&claimant.owner),
        Shared::Theirs(_) | Shared::Mine | Shared::MineAgain { .. } | Shared::Done(_) => None,
    }
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
    /// Which replicas have been silent.
    silence: Silence,
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
            silence: Silence::new(takeover_after),
            renew_at: Duration::ZERO,
        }
    }

    /// Says that this replica lives, where it is time for that.
    pub(super) async fn renew(&mut self, now: Duration) {
        if now >= self.renew_at {
            let renewed = self.redis.renew().await.is_ok();
            failpoint::reach(Point::RedisAliveAfter);
            self.renew_at = now + if renewed { RENEW } else { PAUSE };
        }
    }

    /// Asks for a batch at `now` (monotonic).
    pub(super) async fn ask(&mut self, ids: &[Digest], now: Duration) -> Verdict {
        let asked = match self.redis.claim(ids).await {
            Ok(answers) => self.judge(ids, answers, now).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(answers) => {
                if self.away_since.take().is_some() {
                    tracing::info!("Redis answers again");
                }
                Verdict::Answers(answers)
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

    /// Looks whether others' claims still hold, and takes over those that do not.
    async fn judge(
        &mut self,
        ids: &[Digest],
        mut answers: Vec<Shared>,
        now: Duration,
    ) -> Result<Vec<Answer>, ClaimsError> {
        let owners: HashSet<Owner> = answers.iter().filter_map(owner).cloned().collect();
        let owners: Vec<Owner> = owners.into_iter().collect();
        if !owners.is_empty() {
            for (owner, lives) in owners.iter().zip(self.redis.living(&owners).await?) {
                self.silence.heard(owner, lives, now);
            }
        }
        let (mut places, mut gone) = (Vec::new(), Vec::new());
        for (at, answer) in answers.iter().enumerate() {
            if let Shared::Theirs(claimant) = answer
                && self.silence.is_over(&claimant.owner, now)
            {
                places.push(at);
                gone.push((ids[at], claimant.clone()));
            }
        }
        if gone.is_empty() {
            return Ok(answers.iter().map(Answer::of).collect());
        }
        failpoint::reach(Point::RedisTakeoverBefore);
        let taken = self.redis.take_over(&gone).await?;
        failpoint::reach(Point::RedisTakeoverAfter);
        for (at, answer) in places.into_iter().zip(taken) {
            answers[at] = answer;
        }
        Ok(answers.iter().map(Answer::of).collect())
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
