//! What became of events while Redis did not answer: kept, a bounded number of events, until Redis has been told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::dedup::RedisClaims;
use crate::event::Digest;

/// Events that Redis still has to be told of, at most; 33 bytes each.
const UNTOLD_MAX: usize = 100_000;
/// How many of them it is told at once.
const TOLD_AT_ONCE: usize = 1_024;
/// Pause between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(500);

/// How often Redis is asked for a sign of life.
const LOOK: Duration = Duration::from_secs(5);

/// What Redis is to be told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// It is confirmed.
    Done,
    /// It was published without a claim, and nobody knows whether it arrived.
    Doubtful,
}

/// What Redis has not been told.
#[derive(Debug, Default)]
pub(super) struct Untold {
    notes: Mutex<VecDeque<(Digest, Note)>>,
    added: Notify,
    /// Held by whoever tells.
    telling: tokio::sync::Mutex<()>,
}

impl Untold {
    fn notes(&self) -> MutexGuard<'_, VecDeque<(Digest, Note)>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many notes there are.
    pub(super) fn len(&self) -> usize {
        self.notes().len()
    }

    /// Notes an event as confirmed; what cannot be told at once is kept.
    pub(super) async fn finish(&self, redis: &RedisClaims, event: Digest) {
        if self.len() == 0 && redis.finish(&[event]).await.is_ok() {
            return;
        }
        self.keep(event, Note::Done);
    }

    /// Notes, for when Redis answers, that an event may have been published without a claim.
    pub(super) fn doubt(&self, event: Digest) {
        self.keep(event, Note::Doubtful);
    }

    fn keep(&self, event: Digest, note: Note) {
        let mut notes = self.notes();
        if notes.is_empty() {
            tracing::warn!("what became of events could not be noted in Redis; that is done once it answers");
        }
        if notes.len() >= UNTOLD_MAX {
            tracing::error!(%event, "too many events wait to be noted in Redis: it may be published again");
            return;
        }
        notes.push_back((event, note));
        drop(notes);
        self.added.notify_one();
    }

    /// Tells a part; true where more is left and Redis answers.
    async fn tell(&self, redis: &RedisClaims) -> bool {
        let _alone = self.telling.lock().await;
        let part: Vec<(Digest, Note)> = self.notes().iter().take(TOLD_AT_ONCE).copied().collect();
        let of = |wanted| {
            part.iter().filter(|(_, note)| *note == wanted).map(|(event, _)| *event).collect::<Vec<_>>()
        };
        let (done, doubtful) = (of(Note::Done), of(Note::Doubtful));
        if part.is_empty() || redis.finish(&done).await.is_err() || redis.doubt(&doubtful).await.is_err() {
            return false;
        }
        let mut notes = self.notes();
        notes.drain(..part.len());
        if notes.is_empty() {
            tracing::info!("all that became of events is noted in Redis");
        }
        !notes.is_empty()
    }

    /// Tells all there is, if Redis answers.
    pub(super) async fn tell_all(&self, redis: &RedisClaims) {
        while self.tell(redis).await {}
    }

    /// Tells whatever comes in, for ever; at the start and with nothing to tell it asks for a sign of life, so that
    /// health knows of Redis before an event does.
    pub(super) async fn keep_telling(&self, redis: &RedisClaims) {
        drop(redis.ping().await);
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
