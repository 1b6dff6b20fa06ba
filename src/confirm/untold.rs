//! What became of events while Redis did not answer: kept, a bounded number of events, until Redis has been told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::dedup::{ClaimsError, RedisClaims};
use crate::event::Digest;

/// Notes that Redis still has to be told, at most, two of an event; 33 bytes each.
const UNTOLD_MAX: usize = 200_000;
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
    /// It is published without a claim, and nobody knows whether it arrives; a later note may.
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

    /// Notes, for when Redis answers, that an event may be published without a claim.
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
        self.tell_part(redis).await.is_ok_and(|more| more)
    }

    /// Tells all that is noted at this moment, for who then claims: so no claim of this replica's finds nothing where
    /// it has published before. Does not wait for another who tells.
    ///
    /// # Errors
    /// Where Redis does not know all of it: then nothing is to be claimed.
    pub(super) async fn tell_first(&self, redis: &RedisClaims) -> Result<(), ClaimsError> {
        let Ok(_alone) = self.telling.try_lock() else {
            return Err(ClaimsError::Away("it is being told what was published without it".to_owned()));
        };
        for _ in 0..self.len().div_ceil(TOLD_AT_ONCE) {
            self.tell_part(redis).await?;
        }
        Ok(())
    }

    async fn tell_part(&self, redis: &RedisClaims) -> Result<bool, ClaimsError> {
        let part: Vec<(Digest, Note)> = self.notes().iter().take(TOLD_AT_ONCE).copied().collect();
        let of = |wanted| {
            part.iter().filter(|(_, note)| *note == wanted).map(|(event, _)| *event).collect::<Vec<_>>()
        };
        let (done, doubtful) = (of(Note::Done), of(Note::Doubtful));
        if part.is_empty() {
            return Ok(false);
        }
        redis.finish(&done).await?;
        redis.doubt(&doubtful).await?;
        let mut notes = self.notes();
        notes.drain(..part.len());
        if notes.is_empty() {
            tracing::info!("all that became of events is noted in Redis");
        }
        Ok(!notes.is_empty())
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::dedup::{RedisSettings, Shared};

    /// A Redis of the test's own; it ends with the value.
    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    #[tokio::test]
    async fn what_was_published_without_a_claim_is_told_before_any_claim() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("redis://127.0.0.1:{port}");
        let redis =
            RedisClaims::new(RedisSettings::new(url, "1".repeat(32), Duration::from_secs(60))).unwrap();
        let untold = Untold::default();
        let events: Vec<Digest> = (0..=u8::MAX).map(|n| Digest([n; 32])).collect();
        for _ in 0..TOLD_AT_ONCE / events.len() {
            events.iter().for_each(|event| untold.doubt(*event));
        }
        untold.doubt(Digest([1; 32]));
        untold.finish(&redis, Digest([0; 32])).await;
        assert!(untold.tell_first(&redis).await.is_err(), "Redis is away, so nothing may be claimed");
        let address = ["--port", &port.to_string(), "--bind", "127.0.0.1"].map(str::to_owned);
        let server = Command::new("redis-server")
            .args(address)
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        let _server = Server(server.expect("this test needs redis-server on the PATH"));
        for _ in 0..500 {
            if redis.ping().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        {
            let _other = untold.telling.lock().await;
            assert!(untold.tell_first(&redis).await.is_err(), "another tells, and has not ended");
        }
        untold.tell_first(&redis).await.unwrap();
        assert_eq!(untold.len(), 0);
        let found = redis.claim(&events[..3]).await.unwrap();
        assert!(matches!(found[0], Shared::Done(_)), "a doubt never hides an end: {found:?}");
        assert!(found[1..].iter().all(|one| !matches!(one, Shared::Mine)), "{found:?}");
    }
}
