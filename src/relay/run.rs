//! The relay: takes from the lanes, publishes in order, and lets a record go only by a durable mark.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

use super::backoff;
use super::parts::Ways;
use super::raise::{Raised, Raising};
use super::settle::Marked;
use super::shared::{Answer, Claims, Verdict};
use super::suspects::Suspects;
use super::yielding::Yielding;
use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::dedup::RedisClaims;
use crate::disk::Disk;
use crate::event::{Digest, Event, Sequence};
use crate::failpoint::{self, Point};
use crate::journal::{JournalError, Mark, Reader};
use crate::lanes::{Back, Entry, Lanes, Taken, Turn, Why};
use crate::limit::Limits;
use crate::metrics::RelayMetrics;
use crate::sink::{Attempt, Confirmation, Message, Sink};
use crate::steps::{Steps, What};

/// How far beyond what it needs a watermark is raised, in sequence numbers: at most so many events carry a
/// needless duplicate mark after a crash.
pub const WATERMARK_STEP: u64 = 256;
/// Bytes of bodies in flight, beyond which no further event is read.
const BYTES_MAX: u64 = 32 << 20;
/// Pause after the journal could not be read or Redis not be reached.
pub(super) const FAULT_PAUSE: Duration = Duration::from_millis(500);
/// How long a sink may take to take a message in; beyond that the message goes back to its lane.
pub(super) const TAKE_IN: Duration = Duration::from_secs(1);
/// How long a stop waits for confirms that are on their way.
const LAST_CONFIRMS: Duration = Duration::from_secs(4);

/// How the relay behaves.
#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// Events published without a durable mark, at most.
    pub max_in_flight: usize,
    /// How long to wait for Redis before publishing with the duplicate mark.
    pub redis_wait: Duration,
    /// How long another replica must have been silent before its claims are taken over.
    pub takeover_after: Duration,
    /// How far beyond what it needs a watermark is raised: [`WATERMARK_STEP`] but where every needless mark counts.
    pub watermark_step: u64,
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
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: RelayMetrics,
    /// Where attempts are told.
    pub steps: Steps,
}

/// An attempt that has come to its end.
pub(super) enum Flown {
    /// Of a whole record, with its identity.
    Whole(Taken, Digest, Confirmation),
    /// Of the part at that place in the split record with that number.
    Part(Sequence, usize, Confirmation),
}
type Flight = FuturesUnordered<BoxFuture<'static, Flown>>;
type Marking = FuturesUnordered<BoxFuture<'static, Marked>>;

/// The loop from the journal to the sink.
pub struct Relay<D: Disk> {
    pub(super) parts: RelayParts<D>,
    settings: RelaySettings,
    pub(super) flight: Flight,
    pub(super) marking: Marking,
    raising: Raising,
    /// Messages without an outcome, and records whose mark is not durable yet.
    pub(super) in_flight: usize,
    /// Split records of which something is on its way or still to be published.
    pub(super) ways: Ways,
    pub(super) bytes_in_flight: u64,
    pub(super) suspects: Suspects,
    yielding: Yielding,
    pub(super) claims: Option<Claims>,
    pub(super) lags: HashMap<Arc<str>, Histogram>,
    /// When a source that is over its rate may go on (monotonic).
    limited_until: Option<Duration>,
    /// Nothing is taken before that time (monotonic), after a fault.
    paused_until: Duration,
}

/// An entry with its event, ready to go.
pub(super) struct Loaded {
    pub(super) taken: Taken,
    pub(super) event: Event,
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
            raising: Raising::by(settings.watermark_step),
            in_flight: 0,
            ways: Ways::default(),
            bytes_in_flight: 0,
            suspects: Suspects::default(),
            yielding: Yielding::default(),
            claims,
            lags: HashMap::new(),
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
            self.yielding.look(self.parts.acceptor.load(), looked);
            let more = (ready && self.fill().await) | self.catch_up(looked).await;
            let wait = self.wait(looked);
            tokio::select! {
                // In a fixed order, so that a simulation repeats; each round looks at all of them again.
                biased;
                Some(raised) = self.raising.next(&lanes) => self.publish_raised(raised).await,
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
        self.last_confirms().await;
    }

    async fn last_confirms(&mut self) {
        let work = async {
            while self.in_flight > 0 || !self.ways.is_empty() {
                self.advance().await;
                tokio::select! {
                    biased;
                    Some(outcome) = self.flight.next() => self.settle(outcome).await,
                    Some(marked) = self.marking.next() => self.marked(marked),
                    else => break,
                }
            }
            while self.catch_up(self.parts.clock.monotonic()).await {}
        };
        if tokio::time::timeout(LAST_CONFIRMS, work).await.is_err() {
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
        let yielding = Some(self.yielding.due()).filter(|at| *at > looked);
        let due = lanes.into_iter().chain(claims).chain(limited).chain(yielding).min();
        let due = due.unwrap_or(now + Duration::from_secs(1)).max(self.paused_until);
        due.saturating_sub(now).clamp(Duration::from_millis(2), Duration::from_secs(1))
    }

    /// True where there is more to tell Redis at once.
    async fn catch_up(&mut self, now: Duration) -> bool {
        let Some(claims) = &mut self.claims else { return false };
        claims.renew(now).await;
        claims.catch_up(now).await
    }

    /// How many more events may be taken.
    pub(super) fn room(&self) -> usize {
        let taken = self.in_flight + self.raising.events();
        self.suspects.window(self.settings.max_in_flight).saturating_sub(taken)
    }

    /// How many more bytes.
    fn byte_room(&self) -> u64 {
        BYTES_MAX.saturating_sub(self.bytes_in_flight + self.raising.bytes())
    }

    fn has_room(&self) -> bool {
        let now = self.parts.clock.monotonic();
        self.room() > 0 && self.byte_room() > 0 && self.paused_until <= now && self.yielding.due() <= now
    }

    /// Publishes once what the window has room for; true where there may be more at once.
    async fn fill(&mut self) -> bool {
        // What failed goes back first, so that nothing newer of its source overtakes it.
        self.settle_what_is_ready().await;
        if !self.has_room() || !self.advance().await || !self.has_room() {
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
        self.yielding.took(self.parts.clock.monotonic());
        let loaded = self.claimed(loaded).await;
        let loaded = self.raising.sort(loaded, &self.parts.lanes, &self.parts.acceptor);
        self.publish_all(loaded).await
    }

    /// Publishes what has waited for its watermark, unless something older of its source came back meanwhile.
    async fn publish_raised(&mut self, Raised { loaded, durable }: Raised) {
        let (lanes, now) = (&self.parts.lanes, self.parts.clock.monotonic());
        let first = loaded.iter().rev().map(|one| (Arc::clone(&one.taken.source), one.taken.entry.sequence));
        let first: HashMap<_, _> = first.collect();
        let late: HashSet<_> =
            first.into_iter().filter(|(source, first)| lanes.is_ready_before(source, *first)).collect();
        let late = |source: &Arc<str>| late.iter().any(|(late, _)| late == source);
        let (back, loaded): (Vec<_>, Vec<_>) =
            loaded.into_iter().partition(|one| !durable || late(&one.taken.source));
        let back_as = if durable { Back::Untried } else { Back::Retry(now + FAULT_PAUSE) };
        back.into_iter().for_each(|one| lanes.put_back(one.taken, back_as, now));
        self.publish_all(loaded).await;
    }

    /// False where the sink takes nothing in: the rest goes back.
    async fn publish_all(&mut self, loaded: Vec<Loaded>) -> bool {
        let mut rest = loaded.into_iter();
        while let Some(one) = rest.next() {
            if self.ways.block(&one.taken.source) {
                // Something older of its source goes on first.
                self.parts.lanes.put_back(one.taken, Back::Untried, self.parts.clock.monotonic());
                continue;
            }
            let published = match one.event.split() {
                Some(split) => {
                    let split = Arc::clone(split);
                    self.set_out(one, split, rest.len()).await.map_err(|()| None)
                }
                None => self.publish(one).await.map_err(Some),
            };
            if let Err(taken) = published {
                let now = self.parts.clock.monotonic();
                let left = rest.map(|one| one.taken);
                for taken in taken.into_iter().chain(left) {
                    self.parts.lanes.put_back(taken, Back::Retry(now + FAULT_PAUSE), now);
                }
                return false;
            }
        }
        true
    }

    /// Takes entries out of the lanes. While suspects are about they go alone; where all of them wait, whatever
    /// else there is goes one at a time.
    fn take(&mut self) -> Result<Vec<Taken>, JournalError> {
        let taken = self.take_some(self.room().min(self.yielding.room()), self.suspects.any())?;
        if !taken.is_empty() || !self.suspects.any() || self.in_flight + self.raising.events() > 0 {
            return Ok(taken);
        }
        // An operator may have dropped some.
        self.suspects = Suspects::among(self.parts.lanes.suspects().into_iter());
        self.take_some(self.room().min(1), false)
    }

    fn take_some(&mut self, max: usize, suspects_only: bool) -> Result<Vec<Taken>, JournalError> {
        let now = self.parts.clock.monotonic();
        let turn = Turn { max, bytes: self.byte_room(), shared: true, only: None, now };
        let (limits, raising, suspects) = (&self.parts.limits, &self.raising, &self.suspects);
        let (mut limited, mut messages, ways) = (None, 0, &self.ways);
        let mut allow = |source: &Arc<str>, entry: &Entry| {
            if raising.has(source) || (suspects_only && !suspects.allow(entry)) {
                return false;
            }
            if ways.block(source) || messages >= max {
                return false;
            }
            if let Err(wait) = limits.take(source) {
                limited = limited.into_iter().chain([now.saturating_add(wait)]).min();
                return false;
            }
            messages += ways.size(source);
            true
        };
        let taken = self.parts.lanes.take(&self.parts.reader, turn, &mut allow);
        self.limited_until = limited;
        taken
    }

    /// Takes entries and reads their events.
    fn load(&mut self) -> Result<Vec<Loaded>, JournalError> {
        let taken = self.take()?;
        let now = self.parts.clock.monotonic();
        let mut loaded = Vec::with_capacity(taken.len());
        let wanted: Vec<_> =
            taken.iter().map(|Taken { entry, .. }| (entry.sequence, entry.position, entry.bytes)).collect();
        for (taken, event) in taken.into_iter().zip(self.parts.reader.read_all(&wanted)) {
            match event {
                Ok(Some(event)) => loaded.push(Loaded { taken, event }),
                Ok(None) => {
                    self.suspects.remove(&taken.entry);
                    self.parts.lanes.ended(&taken, Mark::Dropped, now);
                }
                Err(error) => {
                    let later = Back::Aside(now + backoff::slow(1), Why::Delayed);
                    self.parts.lanes.put_back(taken, later, now);
                    tracing::error!(%error, "a record cannot be read; it is put aside");
                }
            }
        }
        Ok(loaded)
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
                    self.parts.lanes.put_back(one.taken, Back::Retry(now + FAULT_PAUSE), now);
                }
                self.paused_until = now + FAULT_PAUSE;
                return Vec::new();
            }
            Verdict::Marked => {
                return loaded
                    .into_iter()
                    .map(|mut one| {
                        self.ways.doubt(&mut one.taken.entry);
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
                    self.ways.doubt(&mut one.taken.entry);
                    mine.push(one);
                }
                Answer::Done => superseded.push(one.taken),
                Answer::Theirs => {
                    let mut taken = one.taken;
                    taken.entry.attempts = taken.entry.attempts.saturating_add(1);
                    let until = now + backoff::soon(taken.entry.attempts);
                    self.parts.lanes.put_back(taken, Back::Aside(until, Why::Parked), now);
                }
            }
        }
        superseded.iter().for_each(|taken| self.suspects.remove(&taken.entry));
        self.in_flight += superseded.len();
        self.mark(superseded, Mark::Superseded);
        mine
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
        failpoint::reach(Point::RelayPublishBefore);
        let sink = Arc::clone(&self.parts.sink);
        let Ok(pending) = tokio::time::timeout(TAKE_IN, sink.publish(message)).await else {
            return Err(taken);
        };
        failpoint::reach(Point::RelayPublishAfter);
        self.parts.steps.tell([taken.entry.sequence], &What::Attempted);
        self.in_flight += 1;
        self.bytes_in_flight += taken.entry.bytes;
        let (clock, metrics) = (Arc::clone(&self.parts.clock), self.parts.metrics.clone());
        self.flight.push(Box::pin(async move {
            let confirmation = pending.await;
            metrics.published(confirmation.counted(), clock.monotonic().saturating_sub(started));
            Flown::Whole(taken, id, confirmation)
        }));
        Ok(())
    }
}
