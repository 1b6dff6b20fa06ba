//! The relay: takes from the lanes, publishes in order, and lets a record go only by a durable mark.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{oneshot, watch};

use super::backoff;
use super::shared::{Answer, Claims, Verdict};
use super::step::{self, Next};
use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::dedup::RedisClaims;
use crate::disk::Disk;
use crate::event::{Digest, Event, Sequence};
use crate::journal::{JournalError, Mark, Reader};
use crate::lanes::{Back, Entry, Lanes, Taken, Turn};
use crate::limit::Limit;
use crate::metrics::RelayMetrics;
use crate::sink::{Attempt, Confirmation, Message, Sink};

/// How far beyond what it needs a watermark is raised, in sequence numbers: at most so many events carry a
/// needless duplicate mark after a crash.
pub(super) const WATERMARK_STEP: u64 = 256;
/// Bytes of bodies in flight, beyond which no further event is read.
const BYTES_MAX: u64 = 32 << 20;
/// Pause after the journal could not be read or Redis not be reached.
const FAULT_PAUSE: Duration = Duration::from_millis(500);
/// How long a sink may take to take a message in; beyond that the message goes back to its lane.
const TAKE_IN: Duration = Duration::from_secs(1);
/// How long a stop waits for confirms that are on their way.
const DRAIN: Duration = Duration::from_secs(4);

/// How the relay behaves.
#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// Events published without a durable mark, at most.
    pub max_in_flight: usize,
    /// How long to wait for Redis before publishing with the duplicate mark.
    pub redis_wait: Duration,
    /// How long another replica must have been silent before its claims are taken over.
    pub takeover_after: Duration,
}

/// What the relay works with.
pub struct RelayParts<D: Disk> {
    /// What is pending.
    pub lanes: Arc<Lanes>,
    /// Where the events are.
    pub reader: Reader<D>,
    /// Where marks go.
    pub acceptor: Acceptor,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Claims shared between replicas, if configured.
    pub claims: Option<RedisClaims>,
    /// Sources whose events are relayed at a limited rate.
    pub limits: HashMap<Arc<str>, Limit>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: RelayMetrics,
}

type Flight = FuturesUnordered<BoxFuture<'static, (Taken, Digest, Confirmation)>>;
type Marking = FuturesUnordered<BoxFuture<'static, (Vec<Taken>, Mark, bool)>>;

/// The loop from the journal to the sink.
pub struct Relay<D: Disk> {
    parts: RelayParts<D>,
    settings: RelaySettings,
    flight: Flight,
    marking: Marking,
    /// Published and not yet durably marked.
    in_flight: usize,
    bytes_in_flight: u64,
    /// Events that were in flight when the broker closed the channel: tried one at a time.
    suspects: usize,
    claims: Option<Claims>,
    /// When a source that is over its rate may go on (monotonic).
    limited_until: Option<Duration>,
    /// Nothing is taken before that time (monotonic), after a fault.
    paused_until: Duration,
}

/// An entry with its event, ready to go.
struct Loaded {
    taken: Taken,
    event: Event,
}

impl<D: Disk> Relay<D> {
    /// A relay with nothing in flight.
    pub fn new(mut parts: RelayParts<D>, settings: RelaySettings) -> Self {
        let claims =
            parts.claims.take().map(|redis| Claims::new(redis, settings.redis_wait, settings.takeover_after));
        Self {
            parts,
            settings,
            flight: Flight::new(),
            marking: Marking::new(),
            in_flight: 0,
            bytes_in_flight: 0,
            suspects: 0,
            claims,
            limited_until: None,
            paused_until: Duration::ZERO,
        }
    }

    /// Runs until `stop` turns true; then waits a few seconds for what is on its way.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let lanes = Arc::clone(&self.parts.lanes);
        let sink = Arc::clone(&self.parts.sink);
        let mut ready = false;
        while !*stop.borrow() {
            let looked = self.parts.clock.monotonic();
            let more = (ready && self.fill().await) | self.catch_up(looked).await;
            let wait = self.wait(looked);
            tokio::select! {
                Some(outcome) = self.flight.next() => self.settle(outcome).await,
                Some(marked) = self.marking.next() => self.marked(marked),
                () = tokio::task::yield_now(), if more => {}
                () = lanes.filled(), if ready && self.has_room() => {}
                () = sink.ready(), if !ready => {}
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {}
            }
            ready = sink.ready().now_or_never().is_some();
        }
        self.drain().await;
    }

    async fn drain(&mut self) {
        let work = async {
            while self.in_flight > 0 {
                tokio::select! {
                    Some(outcome) = self.flight.next() => self.settle(outcome).await,
                    Some(marked) = self.marking.next() => self.marked(marked),
                    else => break,
                }
            }
            while self.catch_up(self.parts.clock.monotonic()).await {}
        };
        if tokio::time::timeout(DRAIN, work).await.is_err() {
            tracing::warn!(
                "stopped with unconfirmed events; they are published again, marked, at the next start"
            );
        }
    }

    /// How long nothing will happen by itself, after what was due at `looked` has been done.
    fn wait(&self, looked: Duration) -> Duration {
        let now = self.parts.clock.monotonic();
        let lanes = self.parts.lanes.next_due(looked);
        let claims = self.claims.as_ref().and_then(Claims::due);
        let limited = self.limited_until.filter(|at| *at > looked);
        let due = lanes.into_iter().chain(claims).chain(limited).min();
        let due = due.unwrap_or(now + Duration::from_secs(1)).max(self.paused_until);
        due.saturating_sub(now).clamp(Duration::from_millis(2), Duration::from_secs(1))
    }

    /// True where there is more to tell Redis at once.
    async fn catch_up(&mut self, now: Duration) -> bool {
        let Some(claims) = &mut self.claims else { return false };
        claims.renew(now).await;
        claims.catch_up(now).await
    }

    fn window(&self) -> usize {
        if self.suspects > 0 { 1 } else { self.settings.max_in_flight }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.window()
            && self.bytes_in_flight < BYTES_MAX
            && self.paused_until <= self.parts.clock.monotonic()
    }

    /// Publishes once what the window has room for; true where there may be more at once.
    async fn fill(&mut self) -> bool {
        // What failed goes back first, so that nothing newer of its source overtakes it.
        self.settle_what_is_ready().await;
        if !self.has_room() {
            return false;
        }
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be read; the relay tries again");
                self.paused_until = self.parts.clock.monotonic() + FAULT_PAUSE;
                return false;
            }
        };
        if loaded.is_empty() {
            return false;
        }
        let loaded = self.claimed(loaded).await;
        let Some(loaded) = self.raised(loaded).await else { return false };
        self.publish_all(loaded).await
    }

    /// False where the sink takes nothing in: the rest goes back.
    async fn publish_all(&mut self, loaded: Vec<Loaded>) -> bool {
        let mut rest = loaded.into_iter();
        for one in rest.by_ref() {
            if let Err(taken) = self.publish(one).await {
                let now = self.parts.clock.monotonic();
                let left = rest.map(|one| one.taken);
                for taken in std::iter::once(taken).chain(left) {
                    self.parts.lanes.put_back(taken, Back::Retry(now + FAULT_PAUSE));
                }
                return false;
            }
        }
        true
    }

    /// Takes entries and reads their events.
    fn load(&mut self) -> Result<Vec<Loaded>, JournalError> {
        let now = self.parts.clock.monotonic();
        let room = self.window().saturating_sub(self.in_flight);
        let turn = Turn { max: room, each: room.div_ceil(2).max(1), only: None, now };
        let (limits, mut bytes) = (&self.parts.limits, self.bytes_in_flight);
        let mut limited = None;
        let mut allow = |source: &Arc<str>, entry: &Entry| {
            if bytes >= BYTES_MAX {
                return false;
            }
            if let Some(Err(wait)) = limits.get(source).map(Limit::take) {
                limited = limited.into_iter().chain([now + wait]).min();
                return false;
            }
            bytes += entry.bytes;
            true
        };
        let taken = self.parts.lanes.take(&self.parts.reader, turn, &mut allow)?;
        self.limited_until = limited;
        let mut loaded = Vec::with_capacity(taken.len());
        for taken in taken {
            match self.parts.reader.read(taken.entry.sequence, taken.entry.position) {
                Ok(Some(event)) => loaded.push(Loaded { taken, event }),
                Ok(None) => {
                    self.cleared(&taken);
                    self.parts.lanes.ended(&taken.source, taken.entry.sequence);
                }
                Err(error) => {
                    self.parts.lanes.put_back(taken, Back::Aside(now + backoff::slow(1)));
                    tracing::error!(%error, "a record cannot be read; it is put aside");
                }
            }
        }
        Ok(loaded)
    }

    /// Nothing is known against this entry any longer.
    fn cleared(&mut self, taken: &Taken) {
        self.suspects = self.suspects.saturating_sub(usize::from(taken.entry.suspect));
    }

    /// With Redis: keeps what this replica may publish; parks what another one claims; ends what is done.
    async fn claimed(&mut self, loaded: Vec<Loaded>) -> Vec<Loaded> {
        let Some(claims) = &mut self.claims else { return loaded };
        let ids: Vec<Digest> = loaded.iter().map(|one| one.event.envelope().keys.message_id).collect();
        let now = self.parts.clock.monotonic();
        let answers = match claims.ask(&ids, now).await {
            Verdict::Answers(answers) => answers,
            Verdict::Wait => {
                for one in loaded {
                    self.parts.lanes.put_back(one.taken, Back::Retry(now + FAULT_PAUSE));
                }
                self.paused_until = now + FAULT_PAUSE;
                return Vec::new();
            }
            Verdict::Marked => {
                return loaded
                    .into_iter()
                    .map(|mut one| {
                        one.taken.entry.attempted = true;
                        one
                    })
                    .collect();
            }
        };
        let mut mine = Vec::with_capacity(loaded.len());
        let mut superseded = Vec::new();
        for (mut one, answer) in loaded.into_iter().zip(answers) {
            match answer {
                // A copy that the source or an operator wants published is no second claim on the event.
                _ if one.event.envelope().redelivery || one.taken.entry.replay => mine.push(one),
                Answer::Mine => mine.push(one),
                Answer::TakenOver => {
                    one.taken.entry.attempted = true;
                    mine.push(one);
                }
                Answer::Done => superseded.push(one.taken),
                Answer::Theirs => {
                    let mut taken = one.taken;
                    taken.entry.attempts = taken.entry.attempts.saturating_add(1);
                    let until = now + backoff::soon(taken.entry.attempts);
                    self.parts.lanes.put_back(taken, Back::Aside(until));
                }
            }
        }
        superseded.iter().for_each(|taken| self.cleared(taken));
        self.in_flight += superseded.len();
        self.mark(superseded, Mark::Superseded);
        mine
    }

    /// Makes the watermarks durable that these entries need; `None` where the gateway is ending.
    async fn raised(&mut self, loaded: Vec<Loaded>) -> Option<Vec<Loaded>> {
        let mut needed: HashMap<Arc<str>, Sequence> = HashMap::new();
        for Loaded { taken, .. } in &loaded {
            if let Some(through) = self.parts.lanes.watermark_needed(taken, WATERMARK_STEP) {
                let highest = needed.entry(Arc::clone(&taken.source)).or_default();
                *highest = through.max(*highest);
            }
        }
        if needed.is_empty() {
            return Some(loaded);
        }
        let raises: Vec<_> = needed.into_iter().collect();
        if self.parts.acceptor.raise(raises.clone()).await.is_err() {
            let later = self.parts.clock.monotonic() + FAULT_PAUSE;
            loaded.into_iter().for_each(|one| self.parts.lanes.put_back(one.taken, Back::Retry(later)));
            return None;
        }
        for (source, through) in raises {
            self.parts.lanes.raised(&source, through);
        }
        Some(loaded)
    }

    /// Gives the entry back where the sink takes nothing in.
    async fn publish(&mut self, Loaded { taken, event }: Loaded) -> Result<(), Taken> {
        let attempt = Attempt {
            possible_duplicate: taken.entry.attempted,
            redelivery: event.envelope().redelivery,
            replay: taken.entry.replay,
        };
        let message = Message::new(&event, taken.entry.sequence, attempt);
        let id = event.envelope().keys.message_id;
        let started = self.parts.clock.monotonic();
        let sink = Arc::clone(&self.parts.sink);
        let Ok(pending) = tokio::time::timeout(TAKE_IN, sink.publish(message)).await else {
            return Err(taken);
        };
        self.in_flight += 1;
        self.bytes_in_flight += taken.entry.bytes;
        let (clock, metrics) = (Arc::clone(&self.parts.clock), self.parts.metrics.clone());
        self.flight.push(Box::pin(async move {
            let confirmation = pending.await;
            metrics.published(step::published(&confirmation), clock.monotonic().saturating_sub(started));
            (taken, id, confirmation)
        }));
        Ok(())
    }

    /// Deals with one outcome and all others that are there already, so that marks share a commit.
    async fn settle(&mut self, first: (Taken, Digest, Confirmation)) {
        let mut outcomes = vec![first];
        while let Some(Some(outcome)) = self.flight.next().now_or_never() {
            outcomes.push(outcome);
        }
        self.settle_all(outcomes).await;
    }

    async fn settle_what_is_ready(&mut self) {
        if let Some(Some(outcome)) = self.flight.next().now_or_never() {
            self.settle(outcome).await;
        }
        while let Some(Some(marked)) = self.marking.next().now_or_never() {
            self.marked(marked);
        }
    }

    async fn settle_all(&mut self, outcomes: Vec<(Taken, Digest, Confirmation)>) {
        let alone = self.in_flight == 1;
        let now = self.parts.clock.monotonic();
        let (mut confirmed, mut poisoned, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for (mut taken, id, confirmation) in outcomes {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(taken.entry.bytes);
            self.cleared(&taken);
            match step::judge(&mut taken.entry, &confirmation, alone) {
                Next::Mark(Mark::Poisoned) => {
                    tracing::error!(source = %taken.source, sequence = %taken.entry.sequence, ?confirmation,
                        "the broker closes the channel on this event each time: it is poison, kept and not retried");
                    poisoned.push(taken);
                }
                Next::Mark(_) => {
                    done.push(id);
                    confirmed.push(taken);
                }
                Next::Retry(wait) => self.again(taken, Back::Retry(now + wait)),
                Next::Aside(wait) => self.again(taken, Back::Aside(now + wait)),
            }
        }
        if let Some(claims) = &mut self.claims {
            claims.finish(&done).await;
        }
        self.mark(confirmed, Mark::Confirmed);
        self.mark(poisoned, Mark::Poisoned);
    }

    fn again(&mut self, taken: Taken, back: Back) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.suspects += usize::from(taken.entry.suspect);
        self.parts.lanes.put_back(taken, back);
    }

    fn mark(&mut self, ended: Vec<Taken>, mark: Mark) {
        if ended.is_empty() {
            return;
        }
        let marks = ended.iter().map(|taken| (taken.entry.sequence, mark)).collect();
        let durable: oneshot::Receiver<()> = self.parts.acceptor.mark(marks);
        self.marking.push(Box::pin(async move { (ended, mark, durable.await.is_ok()) }));
    }

    /// Lanes let go only of what is durably marked: they may read the journal again at any time.
    fn marked(&mut self, (ended, mark, durable): (Vec<Taken>, Mark, bool)) {
        self.in_flight = self.in_flight.saturating_sub(ended.len());
        for taken in ended.into_iter().filter(|_| durable) {
            match mark {
                Mark::Poisoned => self.parts.lanes.poisoned(&taken.source, taken.entry.sequence),
                _ => self.parts.lanes.ended(&taken.source, taken.entry.sequence),
            }
        }
    }
}
