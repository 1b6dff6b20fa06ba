//! The body's exact bytes, under a byte limit, a deadline and a cap on all bodies together. Nothing is decoded.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::sleep;

use super::connection::State;
use super::memory::{Memory, Room};
use crate::clock::Clock;
use crate::reject::{Refused, Reject};

/// How bodies are read.
pub(super) struct Reading {
    /// Time for a body …
    pub timeout: Duration,
    /// … and a second more for each so many bytes of it.
    pub bytes_per_second: u64,
    /// Room for those that come in pieces.
    pub memory: Arc<Memory>,
    /// What time is told by.
    pub clock: Arc<dyn Clock>,
}

impl Reading {
    /// Reads the whole body, of at most `bytes_max`; one that came in one piece is not copied, and needs no room. What
    /// room it needs comes back beside it, to be held as long as the bytes are.
    ///
    /// # Errors
    /// `BodyTooLarge` as soon as that is known, `BodyTooSlow`, `BodyIncomplete`, `Overloaded`.
    pub(super) async fn whole(
        &self,
        payload: &mut Payload,
        declared: Option<u64>,
        bytes_max: usize,
        connection: Option<&State>,
    ) -> Result<(Bytes, Option<Room>), Refused> {
        if declared.is_some_and(|declared| declared > bytes_max as u64) {
            return Err(too_large(bytes_max));
        }
        let began = self.clock.monotonic();
        let mut alarm = pin!(sleep(self.timeout));
        let mut body = Body { bytes_max, declared, first: Bytes::new(), whole: Vec::new(), room: None };
        loop {
            let notice = async {
                match &body.room {
                    Some(room) => room.notice().await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                next = payload.next() => next,
                () = notice => return Err(crowded()),
                () = &mut alarm => {
                    let allowed = self.allowed(body.len());
                    let took = self.clock.monotonic().saturating_sub(began);
                    if took >= allowed {
                        let detail = format!("{} bytes after {} ms", body.len(), took.as_millis());
                        return Err(Reject::BodyTooSlow.because(detail));
                    }
                    alarm.set(sleep(allowed - took));
                    continue;
                }
            };
            match next {
                Some(Ok(chunk)) => body.push(chunk, &self.memory).await?,
                Some(Err(_)) => return Err(broken(connection)),
                None => return Ok(body.end()),
            }
        }
    }

    /// How long so many bytes may take.
    fn allowed(&self, bytes: usize) -> Duration {
        let more = (bytes as u64).saturating_mul(1000) / self.bytes_per_second.max(1);
        self.timeout + Duration::from_millis(more)
    }
}

/// A body as far as it has come.
struct Body {
    bytes_max: usize,
    declared: Option<u64>,
    first: Bytes,
    /// All of it, once there is more than one piece.
    whole: Vec<u8>,
    room: Option<Room>,
}

impl Body {
    fn len(&self) -> usize {
        self.first.len().max(self.whole.len())
    }

    async fn push(&mut self, chunk: Bytes, memory: &Arc<Memory>) -> Result<(), Refused> {
        let length = self.len() + chunk.len();
        if length > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        if length == chunk.len() {
            self.first = chunk;
            return Ok(());
        }
        let room = self.room.get_or_insert_with(|| memory.begin());
        if length > self.whole.capacity() {
            // Twice as much each time, and no more than was announced or may come.
            let most = self.declared.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(self.bytes_max);
            let capacity = (2 * self.whole.capacity()).min(most).max(length);
            if !room.grow(capacity - self.whole.capacity()).await {
                return Err(crowded());
            }
            self.whole.reserve_exact(capacity - self.whole.len());
        }
        if self.whole.is_empty() {
            self.whole.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.whole.extend_from_slice(&chunk);
        Ok(())
    }

    fn end(mut self) -> (Bytes, Option<Room>) {
        if let Some(room) = &mut self.room {
            room.arrive();
            return (Bytes::from(self.whole), self.room);
        }
        (self.first, None)
    }
}

fn broken(connection: Option<&State>) -> Refused {
    let detail = connection.and_then(State::broken);
    Reject::BodyIncomplete.because(detail.unwrap_or("the connection ended before the body's end"))
}

fn crowded() -> Refused {
    Reject::Overloaded.because("the bodies on their way in take more than bodies_in_flight_max")
}

fn too_large(bytes_max: usize) -> Refused {
    Reject::BodyTooLarge.because(format!("more than body_bytes_max = {bytes_max}"))
}
