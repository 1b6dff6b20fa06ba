//! What was confirmed while Redis did not answer: kept, a bounded number of events, until Redis has been told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::dedup::RedisClaims;
use crate::event::Digest;

/// Events that Redis still has to be told of, at most; 32 bytes each.
const UNTOLD_MAX: usize = 100_000;
/// How many of them it is told at once.
const TOLD_AT_ONCE: usize = 1_024;
/// Pause between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(500);

/// How often Redis is asked for a sign of life.
const LOOK: Duration = Duration::from_secs(5);

/// Confirmed, and not noted in Redis.
#[derive(Debug, Default)]
pub(super) struct Untold {
    events: Mutex<VecDeque<Digest>>,
    added: Notify,
    /// Held by whoever tells.
    telling: tokio::sync::Mutex<()>,
}

impl Untold {
    fn events(&self) -> MutexGuard<'_, VecDeque<Digest>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.events().len()
    }

    /// Notes an event as done; what cannot be told at once is kept.
    pub(super) async fn finish(&self, redis: &RedisClaims, event: Digest) {
        if self.len() == 0 && redis.finish(&[event]).await.is_ok() {
            return;
        }
        let mut events = self.events();
        if events.is_empty() {
            tracing::warn!("confirmed events could not be noted in Redis; that is done once it answers");
        }
        if events.len() >= UNTOLD_MAX {
            tracing::error!(%event, "too many confirmed events wait to be noted in Redis: a copy of this one is \
                published again, marked where its claim stands");
            return;
        }
        events.push_back(event);
        drop(events);
        self.added.notify_one();
    }

    /// Tells a part; true where more is left and Redis answers.
    async fn tell(&self, redis: &RedisClaims) -> bool {
        let _alone = self.telling.lock().await;
        let part: Vec<Digest> = self.events().iter().take(TOLD_AT_ONCE).copied().collect();
        if part.is_empty() || redis.finish(&part).await.is_err() {
            return false;
        }
        let mut events = self.events();
        events.drain(..part.len());
        if events.is_empty() {
            tracing::info!("all confirmed events are noted in Redis");
        }
        !events.is_empty()
    }

    /// Tells all there is, if Redis answers.
    pub(super) async fn tell_all(&self, redis: &RedisClaims) {
        while self.tell(redis).await {}
    }

    /// Tells whatever comes in, for ever; with nothing to tell it asks for a sign of life now and then, so that
    /// health knows of Redis before an event does.
    pub(super) async fn keep_telling(&self, redis: &RedisClaims) {
        loop {
            if self.len() > 0 {
                self.tell_all(redis).await;
                tokio::time::sleep(PAUSE).await;
            } else if tokio::time::timeout(LOOK, self.added.notified()).await.is_err() {
                drop(redis.ping().await);
            }
        }
    }
}
