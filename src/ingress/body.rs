//! The body's exact bytes, under a byte limit, a deadline and a cap on all bodies together. Nothing is decoded.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::asked::{Asked, declared};
use super::connection::State;
use super::memory::{BLOCK_BYTES, Memory, Room, crowded};
use crate::clock::Clock;
use crate::reject::{Refused, Reject};

/// What its connection and the library hold of a body in pieces beside its blocks: measured, 48 KiB with what any request
/// takes.
const BESIDE_BYTES: usize = 32 * 1024;
/// By how much at most a body in pieces takes more room than its length.
pub const BODY_OVERHEAD: u64 = (BESIDE_BYTES + BLOCK_BYTES) as u64;

/// Longest wait for others to make room: they are told to, and go at once.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// How bodies are read.
pub(super) struct Reading {
    /// Time for a body …
    pub timeout: Duration,
    /// … and a second more for each so many bytes of it.
    pub bytes_per_second: u64,
    /// Room for what comes in pieces.
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
        asked: Asked<'_>,
        bytes_max: usize,
    ) -> Result<(Bytes, Option<Room>), Refused> {
        let read = self.read(payload, asked, bytes_max).await;
        if read.as_ref().is_err_and(|refused| refused.reject == Reject::Overloaded) {
            asked.connection().into_iter().for_each(State::make_way);
        }
        read
    }

    async fn read(
        &self,
        payload: &mut Payload,
        asked: Asked<'_>,
        bytes_max: usize,
    ) -> Result<(Bytes, Option<Room>), Refused> {
        let (declared, connection) = (declared(asked.request), asked.connection());
        if declared.is_some_and(|declared| declared > bytes_max as u64) {
            return Err(too_large(bytes_max));
        }
        let room = connection.and_then(State::take_room);
        let began = self.clock.monotonic();
        let mut alarm = pin!(sleep(self.timeout));
        let mut body = Body { bytes_max, length: 0, first: Bytes::new(), room };
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
                    let allowed = self.allowed(body.length);
                    let took = self.clock.monotonic().saturating_sub(began);
                    if took >= allowed {
                        let detail = format!("{} bytes after {} ms", body.length, took.as_millis());
                        return Err(Reject::BodyTooSlow.because(detail));
                    }
                    alarm.set(sleep(allowed - took));
                    continue;
                }
            };
            match next {
                Some(Ok(chunk)) => {
                    let bytes = chunk.len();
                    body.push(chunk, || self.memory.begin(asked.party())).await?;
                    connection.into_iter().for_each(|connection| connection.take(bytes));
                }
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

/// A body as far as it has come: in one piece, or in its room's blocks, which another's can take the place of.
struct Body {
    bytes_max: usize,
    length: usize,
    first: Bytes,
    room: Option<Room>,
}

impl Body {
    async fn push(&mut self, chunk: Bytes, begin: impl Fn() -> Room) -> Result<(), Refused> {
        let only = self.length == 0;
        self.length += chunk.len();
        if self.length > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        if only {
            self.first = chunk;
            return Ok(());
        }
        let first = mem::take(&mut self.first);
        self.copy(&first, &begin).await?;
        self.copy(&chunk, &begin).await
    }

    async fn copy(&mut self, mut bytes: &[u8], begin: impl Fn() -> Room) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let room = self.room.get_or_insert_with(&begin);
            if room.blocks.last().is_none_or(|block| block.len() == BLOCK_BYTES) {
                let beside = if room.blocks.is_empty() { BESIDE_BYTES } else { 0 };
                if !timeout(ROOM_WAIT, room.grow(beside + BLOCK_BYTES)).await.unwrap_or(false) {
                    return Err(crowded());
                }
                room.add_block();
            }
            let Some(block) = room.blocks.last_mut() else { break };
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - block.len()));
            block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn end(self) -> (Bytes, Option<Room>) {
        let Some(mut room) = self.room else { return (self.first, None) };
        room.arrive();
        let whole = if room.blocks.is_empty() { self.first } else { room.gather(self.length).into() };
        (whole, Some(room))
    }
}

fn broken(connection: Option<&State>) -> Refused {
    let detail = connection.and_then(State::broken);
    Reject::BodyIncomplete.because(detail.unwrap_or("the connection ended before the body's end"))
}

fn too_large(bytes_max: usize) -> Refused {
    Reject::BodyTooLarge.because(format!("more than body_bytes_max = {bytes_max}"))
}
