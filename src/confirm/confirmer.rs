//! The front of confirm mode: lets a bounded number of events in, and answers each of those who wait for one.
//!
//! An event's way goes on to its end on the gateway's own runtime, though its sender be gone: a claim is never left
//! because a connection was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::attempt::Desk;
use crate::accept::{Accepted, Policy, Proof, SharedTaking, Taking};
use crate::clock::{Clock, Timestamp};
use crate::dedup::RedisClaims;
use crate::event::Event;
use crate::metrics::{ConfirmMetrics, Ending, RelayMetrics, Request};
use crate::reject::{Refused, Reject};
use crate::sink::Sink;
use crate::tasks::Runtime;

/// Events that may be on their way at once, those that wait for room or for another's claim included.
const ADMITTED_MAX: u32 = 4_096;
/// Bytes of bodies of theirs that may.
const BYTES_MAX: u32 = 48 << 20;
/// How long a stop waits for the answers under way.
const LAST_ANSWERS: Duration = Duration::from_secs(4);
/// How long it then waits for Redis to be told what it has not been told.
const LAST_NOTES: Duration = Duration::from_secs(1);

/// How confirm mode behaves.
#[derive(Clone, Copy, Debug)]
pub struct ConfirmSettings {
    /// Events published and not yet confirmed, at most.
    pub max_in_flight: usize,
    /// How long claim, publish and confirm may take together; the lease ends a little later.
    pub confirm_timeout: Duration,
    /// How long a replica with a journal must have been silent before its claims are taken over.
    pub takeover_after: Duration,
}

/// What confirm mode works with.
pub struct ConfirmParts {
    /// Where events are claimed.
    pub redis: RedisClaims,
    /// Where they go.
    pub sink: Arc<dyn Sink>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts of publishes.
    pub published: RelayMetrics,
    /// Counts of claims.
    pub claims: ConfirmMetrics,
}

/// The way to RabbitMQ's confirm; cheap to clone.
#[derive(Clone)]
pub struct Confirmer {
    desk: Arc<Desk>,
    runtime: Runtime,
    gate: Arc<Gate>,
}

/// Who is let in.
struct Gate {
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Who is taken in.
    taking: SharedTaking,
    /// Takes nobody in any more.
    stopping: AtomicBool,
    /// Turns true when those who still wait are to be told that we are stopping.
    ending: watch::Sender<bool>,
    /// The newest delivery whose event was confirmed.
    newest: AtomicI64,
}

/// Room for one event, until it is dropped.
struct Admitted {
    _event: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Gate {
    fn admit(&self, bytes: usize) -> Result<Admitted, Reject> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Reject::Stopping);
        }
        // A body beyond the bound takes all of it: alone, it goes through.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, BYTES_MAX);
        let event = Arc::clone(&self.events).try_acquire_owned().map_err(|_| Reject::Overloaded)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| Reject::Overloaded)?;
        // Looked at with its room taken: once nobody is, whoever has none yet gets none.
        if self.taking.get() == Taking::Nothing {
            return Err(Reject::Draining);
        }
        Ok(Admitted { _event: event, _bytes: bytes })
    }
}

impl Confirmer {
    /// A way that is open; to be called within the runtime that its events are to go on in.
    pub fn start(parts: ConfirmParts, settings: ConfirmSettings) -> Self {
        let gate = Gate {
            events: Arc::new(Semaphore::new(ADMITTED_MAX as usize)),
            bytes: Arc::new(Semaphore::new(BYTES_MAX as usize)),
            taking: SharedTaking::default(),
            stopping: AtomicBool::new(false),
            ending: watch::channel(false).0,
            newest: AtomicI64::new(0),
        };
        let runtime = Runtime::current();
        let desk = Arc::new(Desk::new(parts, settings));
        let telling = Arc::clone(&desk);
        drop(runtime.task(async move { telling.keep_telling().await }));
        Self { desk, runtime, gate: Arc::new(gate) }
    }

    /// Claims the event, publishes it and waits for the confirm, or for the word that all this is done already.
    ///
    /// # Errors
    /// Why there is neither; the event's key is not burnt, and to send it again is safe.
    pub async fn keep(&self, event: Event, policy: Policy, request: Request) -> Result<Accepted, Refused> {
        let admitted = match self.gate.admit(event.body().len()) {
            Ok(admitted) => admitted,
            Err(reject) => {
                request.end(Ending::Refused(reject));
                return Err(reject.into());
            }
        };
        let (reply, answer) = oneshot::channel();
        let (desk, gate) = (Arc::clone(&self.desk), Arc::clone(&self.gate));
        drop(self.runtime.task(async move {
            let received_at = event.envelope().received_at;
            let told = desk.take(event, policy).await;
            if told.is_ok() {
                gate.newest.fetch_max(received_at.millis(), Ordering::Relaxed);
            }
            request.end(ending(&told));
            // The sender may be gone; its event went its way all the same.
            drop(reply.send(told));
            drop(admitted);
        }));
        let mut ending = self.gate.ending.subscribe();
        tokio::select! {
            biased;
            told = answer => told.unwrap_or_else(|_| Err(Reject::Unconfirmed.into())),
            _ = ending.wait_for(|ending| *ending) => {
                Err(Reject::Stopping.because("stopped before RabbitMQ's confirm"))
            }
        }
    }

    /// When the newest event came in that this process had confirmed: an honest clock shows no earlier time.
    pub fn newest(&self) -> Timestamp {
        Timestamp::from_millis(self.gate.newest.load(Ordering::Relaxed))
    }

    /// Whether a stop has begun.
    pub fn stopping(&self) -> bool {
        self.gate.stopping.load(Ordering::Relaxed)
    }

    /// Who is taken in.
    pub fn taking(&self) -> Taking {
        self.gate.taking.get()
    }

    /// From now on these are.
    pub fn take(&self, taking: Taking) {
        self.gate.taking.set(taking);
    }

    /// Whether Redis answered the last command; it is asked every few seconds at least.
    pub fn redis_connected(&self) -> bool {
        self.desk.redis().connected()
    }

    /// Events of which Redis has not been told what became of them.
    pub fn untold(&self) -> usize {
        self.desk.untold()
    }

    /// Events that are on their way.
    pub fn in_progress(&self) -> usize {
        (ADMITTED_MAX as usize).saturating_sub(self.gate.events.available_permits())
    }

    /// Takes nobody in any more, waits a few seconds for the answers under way, refuses those that are left, and tells
    /// Redis what it has not been told.
    pub async fn close(&self) {
        self.gate.stopping.store(true, Ordering::Relaxed);
        match tokio::time::timeout(LAST_ANSWERS, self.gate.events.acquire_many(ADMITTED_MAX)).await {
            Ok(_) => {}
            Err(_) => {
                tracing::warn!("stopped before RabbitMQ confirmed all that waits; it is refused with 503")
            }
        }
        self.gate.ending.send_replace(true);
        if tokio::time::timeout(LAST_NOTES, self.desk.tell_all()).await.is_err() || self.untold() > 0 {
            tracing::warn!(
                events = self.untold(),
                "stopped before Redis knew what became of all events; copies may go out again"
            );
        }
    }
}

/// How the account calls it.
fn ending(told: &Result<Accepted, Refused>) -> Ending {
    match told {
        Ok(Accepted { proof: Proof::Done(_), .. }) => Ending::Duplicate,
        Ok(Accepted { outcome, .. }) => Ending::Confirmed(*outcome),
        Err(refused) => Ending::Refused(refused.reject),
    }
}
