//! The inbox: workers take events themselves, over HTTP, where there is no broker.
//!
//! A claim leases an event to a worker, at once or as soon as one arrives; an acknowledgement ends its life and is answered once the mark is
//! durable. A lease that runs out brings the event back, marked: its worker may have done the work (W5).

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::lease::{ANSWER_BYTES_MAX, Answer};
use super::opened::{Change, Follows, Opened};
use super::run::WATERMARK_STEP;
use super::waiting::Waiting;
use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::failpoint::{self, Point};
use crate::journal::{JournalError, Mark, Reader};
use crate::lanes::{Back, Entry, Lanes, Taken, Turn, Why};
use crate::limit::Limits;
use crate::sink::Message;
use crate::sink::inbox::{Again, Item, Leases, NotGranted, Token};
use crate::steps::{Steps, What};
use crate::tasks;

/// Leases that may run at once.
const LEASES_MAX: usize = 10_000;

/// Longest pause of one who waits before another look, whatever the lanes and leases say.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Shortest one.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// Why a call cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    /// The gateway is ending: nothing was changed durably.
    #[error("the gateway is stopping")]
    Stopping,
    /// As many workers wait as may wait.
    #[error("too many workers wait already; ask again soon, or without wait")]
    Crowded,
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// So many events at most.
    pub max: usize,
    /// For so long they are its own.
    pub lease: Duration,
    /// So long it waits for the first one; zero: not at all.
    pub wait: Duration,
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
            self.lanes.put_back(taken, Back::Untried, self.now);
        }
    }
}

pub(super) struct Out {
    pub(super) leases: Leases,
    /// The entries behind the leases of whole records.
    pub(super) entries: HashMap<Sequence, Taken>,
    /// And behind those of parts.
    pub(super) opened: Opened,
}

impl Out {
    /// Whether the token is for an event of `source`: a worker answers for the source that it calls only.
    fn belongs(&self, token: Token, source: &str) -> bool {
        self.taken(token.item()).is_some_and(|taken| *taken.source == *source)
    }

    /// The entry behind a lease.
    fn taken(&self, item: Item) -> Option<&Taken> {
        match item.part {
            0 => self.entries.get(&item.sequence),
            _ => self.opened.taken(item.sequence),
        }
    }

    /// Grants one lease and notes what is out by it.
    pub(super) fn grant(
        &mut self,
        item: Item,
        until: Duration,
        attempt: u32,
    ) -> Result<(Token, u32), NotGranted> {
        let grant = self.leases.grant(item, until, attempt)?;
        failpoint::reach(Point::RelayLeaseBefore);
        if let Some(at) = place(item) {
            self.opened.give(item.sequence, at);
        }
        Ok((grant.token, grant.attempt))
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
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where attempts are told.
    pub steps: Steps,
}

/// The inbox of all sources.
pub struct Inbox<D: Disk> {
    pub(super) parts: InboxParts<D>,
    out: Mutex<Out>,
    waiting: Waiting,
}

impl<D: Disk> Inbox<D> {
    /// An inbox with no leases; an event is offered `max_attempts` times before it is poison.
    pub fn new(parts: InboxParts<D>, max_attempts: u32) -> Self {
        let out = Out {
            leases: Leases::new(LEASES_MAX, max_attempts),
            entries: HashMap::new(),
            opened: Opened::default(),
        };
        Self { parts, out: Mutex::new(out), waiting: Waiting::new() }
    }

    /// Events and parts of events that are out with workers.
    pub fn leased(&self) -> usize {
        self.out().leases.running()
    }

    pub(super) fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases events of `source`: what is there, or what comes first while the worker waits in line. Empty where
    /// nothing came in time. Whoever does not wait stands in no line.
    ///
    /// # Errors
    /// Where the journal cannot be read, the gateway is stopping, or too many wait; nothing is leased then.
    pub async fn claim(&self, source: &Arc<str>, wanted: Wanted) -> Result<Vec<Leased>, InboxError> {
        if self.waiting.is_stopping() {
            return Err(InboxError::Stopping);
        }
        if wanted.wait.is_zero() {
            return self.take(source, wanted).await.map(|(leased, _)| leased);
        }
        let _place = self.waiting.place().ok_or(InboxError::Crowded)?;
        timeout(wanted.wait, self.wait_for(source, wanted)).await.unwrap_or(Ok(Vec::new()))
    }

    /// Stands in line, then looks whenever something may have come.
    async fn wait_for(&self, source: &Arc<str>, wanted: Wanted) -> Result<Vec<Leased>, InboxError> {
        let (line, arrived) = (self.waiting.line(source), self.parts.lanes.arrivals(source));
        let _first = tokio::select! {
            first = line.lock() => first,
            () = self.waiting.stopped() => return Err(InboxError::Stopping),
        };
        loop {
            let freed = self.waiting.freed.notified();
            let (leased, look) = self.take(source, wanted).await?;
            if !leased.is_empty() {
                return Ok(leased);
            }
            tokio::select! {
                () = arrived.notified() => {}
                () = freed => {}
                () = sleep(look) => {}
                () = self.waiting.stopped() => return Err(InboxError::Stopping),
            }
        }
    }

    /// Leases what is there; and where that is nothing, how long until another look is worth it.
    async fn take(&self, source: &Arc<str>, wanted: Wanted) -> Result<(Vec<Leased>, Duration), InboxError> {
        self.expire();
        let now = self.parts.clock.monotonic();
        let (max, open) = {
            let out = self.out();
            (wanted.max.min(out.leases.room()), out.opened.offers(source, now).1)
        };
        // Parts of what is open already are older than anything in the lane.
        let left = max.saturating_sub(open);
        let (mut bytes, mut events, limit) = (0, 0, self.parts.limits.get(source));
        let size = self.out().opened.size(source);
        let mut limited = Ok(());
        let mut allow = |_: &Arc<str>, entry: &Entry| {
            let fits = events < left && (bytes == 0 || bytes + entry.bytes <= ANSWER_BYTES_MAX);
            (bytes, events) = (bytes + entry.bytes, events + size);
            limited = if fits { limit.as_ref().map_or(Ok(()), |limit| limit.take()) } else { Ok(()) };
            fits && limited.is_ok()
        };
        let turn = Turn { max: left, bytes: u64::MAX, shared: false, only: Some(source), now };
        let taken = self.parts.lanes.take(&self.parts.reader, turn, &mut allow)?;
        let mut held = Held { lanes: &self.parts.lanes, taken, now };
        self.raise(&held.taken).await?;
        let mut answer = Answer { leased: Vec::new(), bytes: 0, max, now, until: now + wanted.lease };
        self.lease_open(source, &mut answer);
        mem::take(&mut held.taken).into_iter().for_each(|taken| self.lease(taken, &mut answer));
        self.tell_attempts(&answer);
        let look = match limited {
            Err(pause) => pause,
            Ok(()) => self.next_look(source, now, max == 0),
        };
        Ok((answer.leased, look.clamp(LOOK_MIN, LOOK_MAX)))
    }

    /// Several parts of a record that go out together are one attempt.
    fn tell_attempts(&self, answer: &Answer) {
        if self.parts.steps.are_kept() {
            let leased: BTreeSet<Sequence> =
                answer.leased.iter().map(|one| one.token.item().sequence).collect();
            self.parts.steps.tell(leased, &What::Attempted);
        }
    }

    /// How long until the lane of `source` may have an event; `full` where no lease could be granted for it.
    fn next_look(&self, source: &Arc<str>, now: Duration, full: bool) -> Duration {
        let lane = if full { None } else { self.parts.lanes.next_look(source, now) };
        let out = self.out();
        let part = if full { None } else { out.opened.next(source, now) };
        let next = lane.into_iter().chain(part).chain(out.leases.next_end()).min();
        next.map_or(LOOK_MAX, |at| at.saturating_sub(now))
    }

    /// Answers all who wait, and refuses who comes from here on.
    pub fn stop(&self) {
        self.waiting.stop();
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

    /// What follows for a split record of which nothing is out any more.
    pub(super) fn follow(&self, follows: Option<Follows>) {
        let now = self.parts.clock.monotonic();
        match follows {
            None => {}
            Some(Follows::Back(taken, back)) => self.parts.lanes.put_back(taken, back, now),
            Some(Follows::End(taken, mark)) => self.end(taken, mark),
        }
    }

    /// Ends a record by a mark, which nobody waits for.
    fn end(&self, taken: Taken, mark: Mark) {
        let durable = self.parts.acceptor.mark(vec![(taken.entry.sequence, mark)]);
        let (lanes, now) = (Arc::clone(&self.parts.lanes), self.parts.clock.monotonic());
        // Not before: the lane may read the journal again at any time, and would offer it.
        drop(tasks::task(async move {
            if durable.await.is_ok() {
                lanes.ended(&taken, mark, now);
            }
        }));
    }

    /// Ends the lives of events of `source` whose work is done; yields once that is durable.
    ///
    /// # Errors
    /// `Stopping` where the marks did not become durable: the events may be offered again, marked.
    pub async fn ack(&self, source: &str, tokens: &[Token]) -> Result<Counted, InboxError> {
        let now = self.parts.clock.monotonic();
        let (mut counted, mut ended) = (Vec::with_capacity(tokens.len()), Vec::new());
        let mut follows = Vec::new();
        {
            let mut out = self.out();
            for token in tokens {
                let acked = if out.belongs(*token, source) { out.leases.ack(*token, now).ok() } else { None };
                counted.push(acked.is_some());
                let Some(item) = acked else { continue };
                match place(item) {
                    None => ended.extend(out.entries.remove(&item.sequence)),
                    Some(at) => follows.extend(out.opened.change((item.sequence, at), Change::Done, now)),
                }
            }
        }
        if counted.contains(&true) {
            failpoint::reach(Point::RelayAckBefore);
        }
        for follows in follows {
            match follows {
                Follows::End(taken, Mark::Confirmed) => ended.push(taken),
                other => self.follow(Some(other)),
            }
        }
        if ended.is_empty() {
            self.waiting.freed.notify_waiters();
            return Ok(counted);
        }
        self.waiting.freed.notify_waiters();
        let marks = ended.iter().map(|taken| (taken.entry.sequence, Mark::Confirmed)).collect();
        let (durable, lanes) = (self.parts.acceptor.mark(marks), Arc::clone(&self.parts.lanes));
        // A task of its own: the worker may hang up, and the marks are on their way all the same.
        let settled = tasks::task(async move {
            let durable = durable.await.is_ok();
            if durable {
                failpoint::reach(Point::RelayAckAfter);
                ended.iter().for_each(|taken| lanes.ended(taken, Mark::Confirmed, now));
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

    /// Gives workers longer: each lease of `source` ends `lease` from now.
    pub fn extend(&self, source: &str, tokens: &[Token], lease: Duration) -> Counted {
        let now = self.parts.clock.monotonic();
        let mut out = self.out();
        let mut longer = |token: &Token| {
            out.belongs(*token, source) && out.leases.extend(*token, now + lease, now).is_ok()
        };
        tokens.iter().map(&mut longer).collect()
    }

    /// Takes back what never left for its worker: the attempt does not count, and nothing is marked.
    pub fn undo(&self, tokens: &[Token]) {
        let now = self.parts.clock.monotonic();
        for token in tokens {
            let mut out = self.out();
            let Ok(item) = out.leases.undo(*token, now) else { continue };
            let follows = match place(item) {
                None => out.entries.remove(&item.sequence).map(|taken| Follows::Back(taken, Back::Untried)),
                Some(at) => out.opened.change((item.sequence, at), Change::Undone, now),
            };
            drop(out);
            self.follow(follows);
        }
        self.waiting.freed.notify_waiters();
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
        self.waiting.freed.notify_waiters();
        let now = self.parts.clock.monotonic();
        let (item, change) = match again {
            Again::Offer { item, attempt, not_before } => {
                (item, Change::Again { attempt, not_before, perhaps_done })
            }
            Again::Poison { item, .. } => (item, Change::Poison),
        };
        let outcome = if perhaps_done { "lease_expired" } else { "given_back" };
        self.parts.steps.failed(item.sequence, outcome, "");
        let mut out = self.out();
        let Some(source) = out.taken(item).map(|taken| Arc::clone(&taken.source)) else { return };
        if let Again::Poison { attempts, .. } = again {
            tracing::error!(%source, sequence = %item.sequence, part = item.part, attempts,
                "workers failed on this event each time: it is poison, kept and not offered");
        }
        let follows = match place(item) {
            None => out.entries.remove(&item.sequence).map(|taken| of_whole(taken, change)),
            Some(at) => out.opened.change((item.sequence, at), change, now),
        };
        drop(out);
        self.follow(follows);
        // A part may be offered again while others keep its record out of the lane.
        self.parts.lanes.arrivals(&source).notify_one();
    }
}

/// Which part an item is, from 0; none for a whole record.
fn place(item: Item) -> Option<usize> {
    item.part.checked_sub(1).map(|at| at as usize)
}

/// What follows for a record that was out as a whole.
fn of_whole(mut taken: Taken, change: Change) -> Follows {
    match change {
        Change::Again { attempt, not_before, perhaps_done } => {
            taken.entry.attempts = attempt.saturating_sub(1);
            taken.entry.attempted |= perhaps_done;
            Follows::Back(taken, Back::Aside(not_before, Why::Delayed))
        }
        Change::Undone => Follows::Back(taken, Back::Untried),
        Change::Done => Follows::End(taken, Mark::Confirmed),
        Change::Poison => Follows::End(taken, Mark::Poisoned),
    }
}
