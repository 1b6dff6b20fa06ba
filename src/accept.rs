//! Acceptance: the one thread that claims event keys and writes the journal, so that check-and-claim is atomic.
//!
//! Deliveries wait here together; all that came in while the disk was busy share the next sync. A sender is
//! answered only with a receipt, after that sync. [`Core`] is the logic without the thread.

use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::dedup::{Claim, Done, Index, IndexError};
use crate::disk::Disk;
use crate::event::{Event, KeyEntry, Sequence};
use crate::journal::{Journal, JournalError, Mark, Receipt, Room};
use crate::lanes::Lanes;
use crate::metrics::{Ending, Outcome, Request};
use crate::reject::Reject;
use crate::sink::Confirmed;

mod orders;

pub use orders::{Action, Fate, Target};
use orders::{Order, Ordered};

/// Deliveries that may wait for the disk at once.
const OFFERS_MAX: usize = 8192;
/// Bytes of theirs that may.
const OFFER_BYTES_MAX: usize = 48 << 20;
/// Twins of one content that are relayed; more of them are held, or refused where there is no journal to hold them.
pub const TWINS_MAX: u32 = 8;
/// The size of event that health asks room for.
const ROOM_PROBE: u64 = 64 << 10;
/// How often the thread looks after the files when nothing else wakes it.
const IDLE: Duration = Duration::from_millis(250);
/// A step that answered at least so many is followed by a short gathering, …
const BUSY_FROM: usize = 8;
/// … of this length: it makes fewer, larger commits and costs less than one sync.
const GATHER: Duration = Duration::from_micros(80);

/// What a source wants done with special cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Relay a known event again instead of dropping the copy.
    pub forward_duplicates: bool,
    /// Hold every twin, not only those beyond the eighth.
    pub hold_twins: bool,
    /// Answer so, and keep nothing, unless the event is known already.
    pub refuse_unknown: Option<Reject>,
}

/// Why a delivery may be answered 2xx. Each proof is made in one room only.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// Its event is on disk.
    Kept(Receipt),
    /// RabbitMQ confirmed its event.
    Confirmed(Confirmed),
    /// Redis knows its event as published and confirmed.
    Done(Done),
}

/// An accepted delivery: proof that its event is safe, and what it was.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The proof.
    pub proof: Proof,
    /// What it was.
    pub outcome: Outcome,
}

type Reply = oneshot::Sender<Result<Accepted, Reject>>;

/// An event that asks to be kept.
#[derive(Debug)]
struct Offer {
    event: Event,
    policy: Policy,
    reply: Reply,
    /// The request that brought it, to be counted with the commit.
    request: Request,
}

/// What the next step has to do.
#[derive(Debug, Default)]
pub struct Work {
    offers: Vec<Offer>,
    bytes: usize,
    marks: Vec<(Sequence, Mark)>,
    raises: Vec<(Arc<str>, Sequence)>,
    waiters: Vec<oneshot::Sender<()>>,
    orders: Vec<Order>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.waiters.is_empty() && self.orders.is_empty()
    }
}

#[derive(Debug, Default)]
struct Queue {
    work: Work,
    asleep: bool,
    unready: bool,
    stopping: bool,
    failed: bool,
}

impl Queue {
    /// Why an event of so many bytes cannot wait here, if so.
    fn refusal(&self, bytes: usize) -> Option<Reject> {
        let work = &self.work;
        let full = work.offers.len() >= OFFERS_MAX || work.bytes.saturating_add(bytes) > OFFER_BYTES_MAX;
        match (self.failed, self.stopping) {
            (true, _) => Some(Reject::JournalFailed),
            (_, true) => Some(Reject::Stopping),
            _ if full && !work.offers.is_empty() => Some(Reject::Overloaded),
            _ => None,
        }
    }
}

/// The way to the acceptance thread; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    newest: AtomicI64,
    /// How the stores stood, and when that was read (monotonic).
    stores: Mutex<(Stores, Duration)>,
}

/// How journal and index stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes of it that are not confirmed.
    pub unconfirmed_bytes: u64,
    /// Keys in the dedup index.
    pub dedup_keys: u64,
    /// Whether an event of ordinary size would be refused for lack of room.
    pub full: bool,
    /// Whether a fault has ended acceptance.
    pub failed: bool,
    /// Whether the gateway is stopping.
    pub stopping: bool,
}

/// A fault that ends acceptance: nothing is written after it, and the next start decides what is whole.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The journal's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The dedup index's.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Acceptor {
    /// A queue that [`Acceptor::run`] will empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put<T>(&self, add: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue();
        let added = add(&mut queue);
        let wake = mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.shared.wake.notify_one();
        }
        added
    }

    /// Asks for an event to be kept. The receiver yields once the disk has it, or why it has not; the request is
    /// counted at that moment, whether or not anybody still waits.
    ///
    /// # Errors
    /// `Overloaded`, `Stopping` or `JournalFailed`, at once.
    pub fn offer(
        &self,
        event: Event,
        policy: Policy,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Accepted, Reject>>, Reject> {
        let (reply, answer) = oneshot::channel();
        let bytes = event.body().len();
        let refused = self.put(|queue| {
            if let Some(reject) = queue.refusal(bytes) {
                return Some((reject, request));
            }
            queue.work.bytes += bytes;
            queue.work.offers.push(Offer { event, policy, reply, request });
            None
        });
        let Some((reject, request)) = refused else { return Ok(answer) };
        request.end(Ending::Refused(reject));
        Err(reject)
    }

    /// Writes marks; the receiver yields once they are durable, and fails if they never will be.
    pub fn mark(&self, marks: Vec<(Sequence, Mark)>) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.put(|queue| {
            queue.work.marks.extend(marks);
            queue.work.waiters.push(done);
        });
        wait
    }

    /// Raises watermarks; the receiver yields once they are durable.
    pub fn raise(&self, raises: Vec<(Arc<str>, Sequence)>) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.put(|queue| {
            queue.work.raises.extend(raises);
            queue.work.waiters.push(done);
        });
        wait
    }

    /// Has an operator's order carried out between two commits; the receiver yields once all of it is durable, and
    /// fails if it never will be. `now` is wall time.
    pub fn order(
        &self,
        action: Action,
        targets: Vec<Target>,
        now: Timestamp,
    ) -> oneshot::Receiver<Vec<Fate>> {
        let (reply, answer) = oneshot::channel();
        self.put(|queue| {
            // Dropping it tells the caller.
            if !queue.stopping && !queue.failed {
                queue.work.orders.push(Order { action, targets, now, reply });
            }
        });
        answer
    }

    /// Takes no further offers; [`Acceptor::run`] ends once the queue is empty.
    pub fn stop(&self) {
        self.put(|queue| queue.stopping = true);
    }

    /// How the stores stand; at most a quarter of a second old.
    pub fn stores(&self) -> Stores {
        let (stores, _) = *self.shared.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = self.queue();
        Stores { failed: queue.failed, stopping: queue.stopping || queue.unready, ..stores }
    }

    /// Shows health checks the stores of a core that does not run yet.
    pub fn show<D: Disk>(&self, core: &mut Core<D>) {
        self.shared.stores.lock().unwrap_or_else(PoisonError::into_inner).0 = core.stores();
    }

    /// Tells health checks that the end is near; offers are taken until [`Acceptor::stop`].
    pub fn announce_stop(&self) {
        self.queue().unready = true;
    }

    /// Notes what a recovery found: the clock must not show an earlier time.
    pub fn recovered(&self, newest: Option<Timestamp>) {
        let newest = newest.map_or(0, Timestamp::millis);
        self.shared.newest.fetch_max(newest, Ordering::Relaxed);
    }

    /// When the newest record's delivery came in: an honest clock shows no earlier time.
    pub fn newest(&self) -> Timestamp {
        Timestamp::from_millis(self.shared.newest.load(Ordering::Relaxed))
    }

    /// The thread's loop: until [`Acceptor::stop`], or the first failed write, which is final.
    ///
    /// # Errors
    /// The fault; everybody who waits has been told.
    pub fn run<D: Disk>(
        &self,
        mut core: Core<D>,
        clock: &dyn Clock,
        commit: &Histogram,
    ) -> Result<(), Fault> {
        let mut answered = 0;
        while let Some(work) = self.next(answered) {
            answered = work.offers.len();
            if let Err(fault) = self.turn(&mut core, work, clock, commit) {
                let mut queue = self.queue();
                queue.failed = true;
                let left = mem::take(&mut queue.work).offers;
                drop(queue);
                left.into_iter().for_each(|offer| {
                    offer.request.end(Ending::Refused(Reject::JournalFailed));
                    offer.reply.send(Err(Reject::JournalFailed)).ok();
                });
                return Err(fault);
            }
        }
        Ok(())
    }

    fn turn<D: Disk>(
        &self,
        core: &mut Core<D>,
        work: Work,
        clock: &dyn Clock,
        commit: &Histogram,
    ) -> Result<(), Fault> {
        let idle = work.is_empty();
        let started = clock.monotonic();
        let newest = core.step(work)?;
        let now = clock.monotonic();
        if !idle {
            commit.observe(now.saturating_sub(started).as_secs_f64());
        }
        if let Some(newest) = newest {
            self.shared.newest.fetch_max(newest.millis(), Ordering::Relaxed);
        }
        core.maintain(clock.now(), now)?;
        let mut stores = self.shared.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if idle || now.saturating_sub(stores.1) >= IDLE {
            *stores = (core.stores(), now);
        }
        Ok(())
    }

    /// Waits for work; an empty one after [`IDLE`]; `None` once stopped and empty.
    fn next(&self, answered: usize) -> Option<Work> {
        let mut queue = self.queue();
        if answered >= BUSY_FROM && queue.work.offers.len() < answered {
            drop(queue);
            std::thread::sleep(GATHER);
            queue = self.queue();
        }
        if queue.work.is_empty() && !queue.stopping {
            queue.asleep = true;
            let (woken, _) =
                self.shared.wake.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.asleep = false;
        }
        if queue.stopping && queue.work.is_empty() { None } else { Some(mem::take(&mut queue.work)) }
    }
}

/// What was decided about an offer before the commit.
enum Decision {
    /// Staged under this number.
    Staged(Sequence, Outcome),
    /// Known under this number.
    Known(Sequence),
    /// Not kept.
    Refused(Reject),
}

impl Decision {
    /// How its request is counted; `failed` where the commit did not hold.
    fn ending(&self, failed: Option<Reject>) -> Ending {
        match (failed, self) {
            (Some(reject), _) => Ending::Refused(reject),
            (None, Self::Refused(reject)) => Ending::Refused(*reject),
            (None, Self::Staged(_, outcome)) => Ending::Kept(*outcome),
            (None, Self::Known(_)) => Ending::Duplicate,
        }
    }
}

/// Claims, appends and commits; single-threaded, deterministic, without a clock of its own.
pub struct Core<D: Disk> {
    journal: Journal<D>,
    index: Index<D>,
    lanes: Arc<Lanes>,
    /// Decided, to be answered after the next commit.
    decided: Vec<(Reply, Decision, Request)>,
    /// To be told once every staged mark and watermark is durable.
    waiters: Vec<oneshot::Sender<()>>,
    /// Carried out, to be answered then.
    ordered: Vec<Ordered>,
}

impl<D: Disk> Core<D> {
    /// A journal and the index over its keys; what is appended goes to `lanes` once it is durable.
    pub fn new(journal: Journal<D>, index: Index<D>, lanes: Arc<Lanes>) -> Self {
        Self { journal, index, lanes, decided: Vec::new(), waiters: Vec::new(), ordered: Vec::new() }
    }

    /// One group commit (more, where a segment ends within it): decides every offer, syncs, then answers.
    /// Returns when the newest of the kept deliveries came in.
    ///
    /// # Errors
    /// A fault that is final, after everybody who waits has been told.
    pub fn step(&mut self, work: Work) -> Result<Option<Timestamp>, Fault> {
        work.marks.into_iter().for_each(|(sequence, mark)| self.journal.mark(sequence, mark));
        work.raises.iter().for_each(|(source, through)| self.journal.raise(source, *through));
        self.waiters.extend(work.waiters);
        let (mut newest, mut fault) = (None, None);
        for Offer { event, policy, reply, request } in work.offers {
            let received_at = event.envelope().received_at;
            let decision = self.decide(event, policy).unwrap_or_else(|error| {
                fault.get_or_insert(error);
                Decision::Refused(Reject::JournalFailed)
            });
            if matches!(decision, Decision::Staged(..)) {
                newest = newest.max(Some(received_at));
            }
            self.decided.push((reply, decision, request));
        }
        self.commit()?;
        if fault.is_none() {
            self.carry_out(work.orders)?;
        }
        fault.map_or(Ok(newest), Err)
    }

    /// Makes durable what is staged, and answers for it.
    fn commit(&mut self) -> Result<(), Fault> {
        let committed = self.journal.commit();
        let decided = mem::take(&mut self.decided);
        let (mut answers, mut counted) =
            (Vec::with_capacity(decided.len()), Vec::with_capacity(decided.len()));
        for (reply, decision, request) in decided {
            let kept = committed.as_ref().map_err(|_| Reject::JournalFailed);
            let answer = kept.and_then(|_| self.answer(&decision));
            counted.push((request, decision.ending(answer.err())));
            answers.push((reply, answer));
        }
        // An event is counted before anybody can end it, and in the inbox before its sender has the answer.
        Request::end_all(counted);
        if let Ok(committed) = &committed {
            self.lanes.push(&committed.appended);
        }
        for (reply, answer) in answers {
            reply.send(answer).ok();
        }
        if committed?.deferred == 0 {
            mem::take(&mut self.waiters).into_iter().for_each(|waiter| {
                waiter.send(()).ok();
            });
            self.announce();
        }
        Ok(())
    }

    fn answer(&self, decision: &Decision) -> Result<Accepted, Reject> {
        let (sequence, outcome) = match *decision {
            Decision::Staged(sequence, outcome) => (sequence, outcome),
            Decision::Known(sequence) => (sequence, Outcome::Duplicate),
            Decision::Refused(reject) => return Err(reject),
        };
        let receipt = self.journal.receipt(sequence).ok_or(Reject::JournalFailed)?;
        Ok(Accepted { proof: Proof::Kept(receipt), outcome })
    }

    /// Why an event cannot be appended, if so; where the segment ends, what is staged is committed first.
    fn shortage(&mut self, event: &Event) -> Result<Option<Reject>, Fault> {
        let bytes = Journal::<D>::record_bytes(event);
        let mut room = self.journal.room(bytes);
        if room == Room::Commit {
            self.commit()?;
            room = self.journal.room(bytes);
        }
        Ok(match room {
            Room::Open => None,
            Room::Commit | Room::Full(_) => Some(Reject::JournalFull),
            Room::TooLarge => Some(Reject::BodyTooLarge),
        })
    }

    fn decide(&mut self, mut event: Event, policy: Policy) -> Result<Decision, Fault> {
        let (keys, received_at) = (event.envelope().keys, event.envelope().received_at);
        let refusal = self.shortage(&event)?.or(policy.refuse_unknown);
        if let Some(reject) = refusal {
            let known = self.index.known(&keys.message_id, received_at)?;
            return Ok(known.map_or(Decision::Refused(reject), Decision::Known));
        }
        let entry = KeyEntry { keys, sequence: self.journal.next_sequence(), received_at };
        let outcome = match self.index.claim(&entry)? {
            Claim::Known { sequence } if !policy.forward_duplicates => return Ok(Decision::Known(sequence)),
            Claim::Known { .. } => {
                event.set_redelivery();
                Outcome::Duplicate
            }
            Claim::New { twin: None } => Outcome::New,
            Claim::New { twin: Some(twin) } => {
                let held = policy.hold_twins || twin.nth > TWINS_MAX;
                event.set_twin(twin.first, held);
                if held { Outcome::Held } else { Outcome::Twin }
            }
        };
        Ok(Decision::Staged(self.journal.append(&event), outcome))
    }

    /// Looks after segments and key files; cheap when there is nothing to do. `wall` and `monotonic` are read
    /// at one moment.
    ///
    /// # Errors
    /// A fault that is final.
    pub fn maintain(&mut self, wall: Timestamp, monotonic: Duration) -> Result<(), Fault> {
        self.index.observe(wall, monotonic);
        if self.journal.waits_for_keys(wall, self.index.durable_through()) {
            self.index.flush_soon();
        }
        self.index.maintain(wall, self.journal.durable_through())?;
        self.journal.maintain(wall, self.index.durable_through())?;
        Ok(())
    }

    /// How the stores stand.
    fn stores(&mut self) -> Stores {
        let (journal, index) = (self.journal.stats(), self.index.stats());
        Stores {
            journal_bytes: journal.bytes,
            unconfirmed_bytes: journal.live_bytes,
            dedup_keys: index.keys,
            full: matches!(self.journal.room(ROOM_PROBE), Room::Full(_)),
            ..Stores::default()
        }
    }
}
