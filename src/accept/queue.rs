//! The queue in front of the acceptance thread, and that thread's loop: what came in while the disk was busy shares the
//! next sync. Decides nothing about an event.

use std::mem;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;

use super::answer::{self, Answer};
use super::core::Core;
use super::orders::{Action, Fate, Order, Target};
use super::taking::{SharedTaking, Taking};
use super::terms::{Accepted, Fault, Policy, Stores};
use crate::clock::{Clock, Timestamp};
use crate::disk::Disk;
use crate::event::{Event, Sequence};
use crate::journal::Mark;
use crate::metrics::{Ending, Request};
use crate::reject::Reject;

/// Deliveries that may wait for the disk at once.
const OFFERS_MAX: usize = 8192;
/// Bytes of theirs that may.
const OFFER_BYTES_MAX: usize = 48 << 20;
/// How often the thread looks after the files when nothing else wakes it.
const IDLE: Duration = Duration::from_millis(250);
/// A step that answered at least so many is followed by a short gathering, unless as many wait already, …
const BUSY_FROM: usize = 8;
/// … of at least this length (the system's timer adds some 50 µs): it makes fewer, larger commits and costs less than one
/// sync.
const GATHER: Duration = Duration::from_micros(100);

pub(super) type Reply = answer::Reply<Result<Accepted, Reject>>;

/// An event that asks to be kept.
#[derive(Debug)]
pub(super) struct Offer {
    pub event: Event,
    pub policy: Policy,
    pub reply: Reply,
    /// The request that brought it, to be counted with the commit.
    pub request: Request,
}

/// What the next step has to do.
#[derive(Debug, Default)]
pub struct Work {
    pub(super) offers: Vec<Offer>,
    bytes: usize,
    pub(super) marks: Vec<(Sequence, Mark)>,
    pub(super) raises: Vec<(Arc<str>, Sequence)>,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    pub(super) orders: Vec<Order>,
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

/// What the acceptance thread has done since its start: how many deliveries a commit has tells how busy it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Group commits.
    pub commits: u64,
    /// Deliveries decided in them.
    pub deliveries: u64,
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
    taking: SharedTaking,
    newest: AtomicI64,
    rounds: AtomicU64,
    commits: AtomicU64,
    deliveries: AtomicU64,
    /// How the stores stood, and when that was read (monotonic).
    stores: Mutex<(Stores, Duration)>,
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
    /// `Overloaded`, `Draining`, `Stopping` or `JournalFailed`, at once.
    pub fn offer(
        &self,
        event: Event,
        policy: Policy,
        request: Request,
    ) -> Result<Answer<Result<Accepted, Reject>>, Reject> {
        let (reply, answer) = answer::slot();
        let bytes = event.body().len();
        let refused = self.put(|queue| {
            // Looked at with the queue in hand: whoever asks for a round after `take` waits for all that came before.
            let drained = (self.taking() == Taking::Nothing).then_some(Reject::Draining);
            if let Some(reject) = queue.refusal(bytes).or(drained) {
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

    /// What is taken.
    pub fn taking(&self) -> Taking {
        self.shared.taking.get()
    }

    /// From now on this is taken.
    pub fn take(&self, taking: Taking) {
        self.shared.taking.set(taking);
    }

    /// Waits until whatever was offered before is decided and counted; false where that will never be.
    pub async fn settled(&self) -> bool {
        // A round that ends a segment tells of its first half alone; one that is asked for after it comes after all of it.
        self.mark(Vec::new()).await.is_ok() && self.mark(Vec::new()).await.is_ok()
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

    /// What has been accepted so far.
    pub fn load(&self) -> Load {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Load { commits: of(&self.shared.commits), deliveries: of(&self.shared.deliveries) }
    }

    /// Rounds that the thread has ended: one more within a quarter of a second, unless the disk holds it up.
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
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
        core.observe(clock.now(), clock.monotonic());
        let mut answered = 0;
        while let Some(work) = self.next(answered) {
            answered = work.offers.len();
            self.turn_or_end(&mut core, work, clock, commit)?;
        }
        Ok(())
    }

    /// One round of [`Acceptor::run`] in the caller's thread, with whatever waits.
    #[cfg(test)]
    pub(crate) fn turn_by_hand<D: Disk>(
        &self,
        core: &mut Core<D>,
        clock: &dyn Clock,
        commit: &Histogram,
    ) -> Result<(), Fault> {
        let work = mem::take(&mut self.queue().work);
        self.turn_or_end(core, work, clock, commit)
    }

    /// After a fault nothing is taken any more, and everybody who waits is told.
    fn turn_or_end<D: Disk>(
        &self,
        core: &mut Core<D>,
        work: Work,
        clock: &dyn Clock,
        commit: &Histogram,
    ) -> Result<(), Fault> {
        self.turn(core, work, clock, commit).inspect_err(|_| {
            let mut queue = self.queue();
            queue.failed = true;
            let left = mem::take(&mut queue.work).offers;
            drop(queue);
            left.into_iter().for_each(|offer| {
                offer.request.end(Ending::Refused(Reject::JournalFailed));
                offer.reply.send(Err(Reject::JournalFailed));
            });
        })
    }

    fn turn<D: Disk>(
        &self,
        core: &mut Core<D>,
        work: Work,
        clock: &dyn Clock,
        commit: &Histogram,
    ) -> Result<(), Fault> {
        let (idle, deliveries) = (work.is_empty(), work.offers.len() as u64);
        let started = clock.monotonic();
        // Before any claim: a forward step of the clock must not age the keys that these deliveries are looked up by.
        core.observe(clock.now(), started);
        let newest = core.step(work)?;
        let now = clock.monotonic();
        if !idle {
            commit.observe(now.saturating_sub(started).as_secs_f64());
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
            self.shared.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        }
        if let Some(newest) = newest {
            self.shared.newest.fetch_max(newest.millis(), Ordering::Relaxed);
        }
        core.maintain(clock.now(), now)?;
        self.shared.rounds.fetch_add(1, Ordering::Relaxed);
        let mut stores = self.shared.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if idle || now.saturating_sub(stores.1) >= IDLE {
            *stores = (core.stores(), now);
        }
        Ok(())
    }

    /// Waits for work; an empty one after [`IDLE`]; `None` once stopped and empty.
    fn next(&self, answered: usize) -> Option<Work> {
        let mut queue = self.queue();
        if answered >= BUSY_FROM && queue.work.offers.len() < answered && !queue.stopping {
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
