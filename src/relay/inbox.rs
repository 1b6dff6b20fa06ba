//! The inbox: workers take events themselves, over HTTP, where there is no broker.
//!
//! A claim leases an event to a worker; an acknowledgement ends its life and is answered once the mark is
//! durable. A lease that runs out brings the event back, marked: its worker may have done the work (W5).

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::run::WATERMARK_STEP;
use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::event::{Event, Sequence};
use crate::journal::{JournalError, Mark, Reader};
use crate::lanes::{Back, Entry, Lanes, Taken, Turn};
use crate::limit::Limit;
use crate::sink::inbox::{Again, Leases, Token};
use crate::sink::{Attempt, Message};
use crate::tasks;

/// Leases that may run at once.
const LEASES_MAX: usize = 10_000;
/// Bytes of bodies in one answer, beyond its first event.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Why a call cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    /// The gateway is ending: nothing was changed durably.
    #[error("the gateway is stopping")]
    Stopping,
}

/// An event out with a worker.
#[derive(Debug)]
pub struct Leased {
    /// What the worker must send back.
    pub token: Token,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The event as workers see it.
    pub message: Message,
}

/// What became of tokens that a worker sent back, in their order: true where they counted.
pub type Counted = Vec<bool>;

/// Entries between lane and lease: a worker that hangs up meanwhile takes none of them along.
struct Held<'l> {
    lanes: &'l Lanes,
    taken: Vec<Taken>,
    now: Duration,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for taken in self.taken.drain(..) {
            self.lanes.put_back(taken, Back::Retry(self.now));
        }
    }
}

struct Out {
    leases: Leases,
    /// The entries behind the leases.
    entries: HashMap<Sequence, Taken>,
}

impl Out {
    /// Whether the token is for an event of `source`: a worker answers for the source that it calls only.
    fn belongs(&self, token: Token, source: &str) -> bool {
        self.entries.get(&token.sequence()).is_some_and(|taken| *taken.source == *source)
    }
}

/// What the inbox works with.
pub struct InboxParts<D: Disk> {
    /// What is pending.
    pub lanes: Arc<Lanes>,
    /// Where the events are.
    pub reader: Reader<D>,
    /// Where marks go.
    pub acceptor: Acceptor,
    /// Sources whose events are handed out at a limited rate.
    pub limits: HashMap<Arc<str>, Limit>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The inbox of all sources.
pub struct Inbox<D: Disk> {
    parts: InboxParts<D>,
    out: Mutex<Out>,
}

impl<D: Disk> Inbox<D> {
    /// An inbox with no leases; an event is offered `max_attempts` times before it is poison.
    pub fn new(parts: InboxParts<D>, max_attempts: u32) -> Self {
        let out = Out { leases: Leases::new(LEASES_MAX, max_attempts), entries: HashMap::new() };
        Self { parts, out: Mutex::new(out) }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases up to `max` events of `source` for `lease`.
    ///
    /// # Errors
    /// Where the journal cannot be read or the gateway is stopping; nothing is leased then.
    pub async fn claim(
        &self,
        source: &Arc<str>,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, InboxError> {
        self.expire();
        let now = self.parts.clock.monotonic();
        let max = max.min(self.out().leases.room());
        let (mut bytes, limit) = (0, self.parts.limits.get(source));
        let mut allow = |_: &Arc<str>, entry: &Entry| {
            let fits = bytes == 0 || bytes + entry.bytes <= ANSWER_BYTES_MAX;
            let allowed = fits && limit.is_none_or(|limit| limit.take().is_ok());
            bytes += entry.bytes;
            allowed
        };
        let turn = Turn { max, each: max, only: Some(source), now };
        let taken = self.parts.lanes.take(&self.parts.reader, turn, &mut allow)?;
        let mut held = Held { lanes: &self.parts.lanes, taken, now };
        self.raise(&held.taken).await?;
        Ok(self.lease(mem::take(&mut held.taken), now + lease))
    }

    /// What may be attempted from here on is durable before a worker sees it.
    async fn raise(&self, taken: &[Taken]) -> Result<(), InboxError> {
        let needed =
            taken.iter().filter_map(|one| self.parts.lanes.watermark_needed(one, WATERMARK_STEP)).max();
        if let (Some(through), Some(first)) = (needed, taken.first()) {
            let raise = vec![(Arc::clone(&first.source), through)];
            self.parts.acceptor.raise(raise).await.map_err(|_| InboxError::Stopping)?;
            self.parts.lanes.raised(&first.source, through);
        }
        Ok(())
    }

    fn lease(&self, taken: Vec<Taken>, until: Duration) -> Vec<Leased> {
        let mut leased = Vec::with_capacity(taken.len());
        for taken in taken {
            let sequence = taken.entry.sequence;
            let event: Event = match self.parts.reader.read(sequence, taken.entry.position) {
                Ok(Some(event)) => event,
                Ok(None) => {
                    self.parts.lanes.ended(&taken.source, sequence);
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, %sequence, "a record cannot be read; it is put aside");
                    self.parts.lanes.put_back(taken, Back::Aside(until));
                    continue;
                }
            };
            let mut out = self.out();
            match out.leases.grant(sequence, until, taken.entry.attempts.saturating_add(1)) {
                Ok(grant) => {
                    let attempt = Attempt {
                        possible_duplicate: taken.entry.attempted,
                        redelivery: event.envelope().redelivery,
                        replay: taken.entry.replay,
                    };
                    out.entries.insert(sequence, taken);
                    let message = Message::new(&event, sequence, attempt);
                    leased.push(Leased { token: grant.token, attempt: grant.attempt, message });
                }
                Err(_) => {
                    drop(out);
                    self.parts.lanes.put_back(taken, Back::Retry(Duration::ZERO));
                }
            }
        }
        leased
    }

    /// Ends the lives of events of `source` whose work is done; yields once that is durable.
    ///
    /// # Errors
    /// `Stopping` where the marks did not become durable: the events may be offered again, marked.
    pub async fn ack(&self, source: &str, tokens: &[Token]) -> Result<Counted, InboxError> {
        let now = self.parts.clock.monotonic();
        let (mut counted, mut ended) = (Vec::with_capacity(tokens.len()), Vec::new());
        {
            let mut out = self.out();
            for token in tokens {
                let acked = if out.belongs(*token, source) { out.leases.ack(*token, now).ok() } else { None };
                let done = acked.and_then(|sequence| out.entries.remove(&sequence));
                counted.push(done.is_some());
                ended.extend(done);
            }
        }
        if ended.is_empty() {
            return Ok(counted);
        }
        let marks = ended.iter().map(|taken| (taken.entry.sequence, Mark::Confirmed)).collect();
        let (durable, lanes) = (self.parts.acceptor.mark(marks), Arc::clone(&self.parts.lanes));
        // A task of its own: the worker may hang up, and the marks are on their way all the same.
        let settled = tasks::task(async move {
            let durable = durable.await.is_ok();
            if durable {
                ended.iter().for_each(|taken| lanes.ended(&taken.source, taken.entry.sequence));
            }
            durable
        });
        if settled.await.unwrap_or(false) { Ok(counted) } else { Err(InboxError::Stopping) }
    }

    /// Brings events of `source` back whose work could not be done; they are offered again after `delay`.
    pub fn nack(&self, source: &str, tokens: &[Token], delay: Duration) -> Counted {
        let now = self.parts.clock.monotonic();
        let mut counted = Vec::with_capacity(tokens.len());
        for token in tokens {
            let mut out = self.out();
            let again =
                if out.belongs(*token, source) { out.leases.nack(*token, delay, now).ok() } else { None };
            drop(out);
            counted.push(again.is_some());
            if let Some(again) = again {
                self.bring_back(again, false);
            }
        }
        counted
    }

    /// Brings back what workers have kept too long. Called before each claim and now and then.
    pub fn expire(&self) {
        let over = self.out().leases.expire(self.parts.clock.monotonic());
        for again in over {
            self.bring_back(again, true);
        }
    }

    /// `perhaps_done` where the worker never answered: it may have done the work.
    fn bring_back(&self, again: Again, perhaps_done: bool) {
        match again {
            Again::Offer { sequence, attempt, not_before } => {
                let Some(mut taken) = self.out().entries.remove(&sequence) else { return };
                taken.entry.attempts = attempt.saturating_sub(1);
                taken.entry.attempted |= perhaps_done;
                self.parts.lanes.put_back(taken, Back::Aside(not_before));
            }
            Again::Poison { sequence, attempts } => {
                let Some(taken) = self.out().entries.remove(&sequence) else { return };
                tracing::error!(source = %taken.source, %sequence, attempts,
                    "workers failed on this event each time: it is poison, kept and not offered");
                let durable = self.parts.acceptor.mark(vec![(sequence, Mark::Poisoned)]);
                let lanes = Arc::clone(&self.parts.lanes);
                // Not before: the lane may read the journal again at any time, and would offer it.
                drop(tasks::task(async move {
                    if durable.await.is_ok() {
                        lanes.poisoned(&taken.source, sequence);
                    }
                }));
            }
        }
    }
}
