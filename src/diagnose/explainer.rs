//! Causes in a running gateway: a bounded queue of refused deliveries, one thread, and a budget that no flood exceeds.
//!
//! A worker of the listener only asks whether it is a source's turn, which costs a load or two, and hands a delivery
//! over. A source has at most one delivery in the queue, and a second between two: a flood at one takes no turn of another.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::case::Case;
use super::endpoint::Endpoint;
use crate::audit::TARGET;
use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::metrics::Metrics;
use crate::provider::Catalog;
use crate::reject::{Refused, Reject};
use crate::steps::{self, Steps};
use crate::tasks;

/// Refused deliveries that wait at most.
const QUEUE: usize = 16;
/// Longest body that is held.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Time between two diagnoses of one source.
const SOURCE_PAUSE: Duration = Duration::from_secs(1);
/// Time from one diagnosis to the next: at most five a second.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that the trials of one diagnosis may read.
const EFFORT: u64 = 12 << 20;

/// What is known of all sources and providers.
#[derive(Debug)]
pub struct Surroundings {
    /// All sources.
    pub endpoints: Vec<Endpoint>,
    /// All providers.
    pub catalog: Catalog,
}

/// A refused delivery on its way to the thread.
struct Refusal {
    request: String,
    source: Arc<str>,
    delivery: Delivery,
    refused: Refused,
}

/// Whose turn it is.
#[derive(Debug, Default)]
struct Slot {
    /// Whether a delivery of the source waits or is looked at.
    taken: AtomicBool,
    /// Monotonic milliseconds from which on the next one may come.
    next: AtomicU64,
}

/// Finds causes off the way of requests. Dropped, its thread ends.
pub struct Explainer {
    slots: Arc<HashMap<Arc<str>, Slot>>,
    queue: SyncSender<Refusal>,
    clock: Arc<dyn Clock>,
}

/// A source's turn: a delivery may be handed over.
#[must_use = "a turn that is not used holds the source's place"]
pub struct Turn<'e> {
    explainer: &'e Explainer,
    source: &'e Arc<str>,
}

impl Explainer {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system refuses another thread.
    pub fn start(
        known: Surroundings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        steps: Steps,
    ) -> io::Result<Self> {
        let (queue, refusals) = sync_channel(QUEUE);
        let names =
            known.endpoints.iter().map(|endpoint| (Arc::from(endpoint.name.as_str()), Slot::default()));
        let slots: Arc<HashMap<Arc<str>, Slot>> = Arc::new(names.collect());
        let worker = Worker { known, metrics, clock: Arc::clone(&clock), slots: Arc::clone(&slots), steps };
        drop(tasks::thread("explain", move || worker.run(&refusals))?);
        Ok(Self { slots, queue, clock })
    }

    /// Whether a refusal has a cause that can be looked for, and a body that is held.
    pub fn wants(reject: Reject, body_bytes: usize) -> bool {
        let causes = [
            Reject::SignatureMissing,
            Reject::SignatureMalformed,
            Reject::SignatureRepeated,
            Reject::SignatureMismatch,
            Reject::CompanionMissing,
            Reject::TimestampMissing,
            Reject::TimestampMalformed,
            Reject::Stale,
            Reject::Premature,
            Reject::BodyEmpty,
            Reject::BodyDigestMismatch,
            Reject::FormMalformed,
            Reject::NoActiveSecret,
        ];
        body_bytes <= BODY_BYTES_MAX && causes.contains(&reject)
    }

    /// The turn of a source, where it has one.
    pub fn turn(&self, source: &str) -> Option<Turn<'_>> {
        let (source, slot) = self.slots.get_key_value(source)?;
        let now = millis(self.clock.monotonic());
        if slot.next.load(Ordering::Relaxed) > now || slot.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Turn { explainer: self, source })
    }
}

impl Turn<'_> {
    /// Hands the delivery over, with the id of the request in both log lines; beyond the queue's room it is dropped.
    pub fn take(self, request: String, delivery: Delivery, refused: Refused) {
        let refusal = Refusal { request, source: Arc::clone(self.source), delivery, refused };
        if self.explainer.queue.try_send(refusal).is_err()
            && let Some(slot) = self.explainer.slots.get(self.source)
        {
            slot.taken.store(false, Ordering::Release);
        }
    }
}

/// The thread's part.
struct Worker {
    known: Surroundings,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    slots: Arc<HashMap<Arc<str>, Slot>>,
    steps: Steps,
}

impl Worker {
    fn run(&self, refusals: &Receiver<Refusal>) {
        while let Ok(refusal) = refusals.recv() {
            let began = self.clock.monotonic();
            self.explain(&refusal);
            if let Some(slot) = self.slots.get(&refusal.source) {
                slot.next.store(millis(self.clock.monotonic() + SOURCE_PAUSE), Ordering::Relaxed);
                slot.taken.store(false, Ordering::Release);
            }
            // However long it took, as much time again goes to requests.
            let took = self.clock.monotonic().saturating_sub(began);
            std::thread::sleep(PAUSE.saturating_sub(took).max(took));
        }
    }

    fn explain(&self, refusal: &Refusal) {
        let Some(endpoint) = self.known.endpoints.iter().find(|endpoint| *endpoint.name == *refusal.source)
        else {
            return;
        };
        let case = Case {
            delivery: &refusal.delivery,
            endpoint,
            others: &self.known.endpoints,
            catalog: &self.known.catalog,
            now: refusal.delivery.received_at,
            effort: Cell::new(EFFORT),
        };
        let Some(finding) = case.explain(&refusal.refused).into_iter().next() else { return };
        let (request, source, cause) = (&*refusal.request, &*refusal.source, finding.cause.code());
        self.metrics.explained(source, cause);
        let (found, advice) = (&*finding.found, &*finding.advice);
        tracing::warn!(target: TARGET, audit = "cause", request, source, cause, found, advice, "refused, explained");
        self.steps.explained(steps::Cause {
            request: refusal.request.clone(),
            code: cause,
            found: finding.found,
            advice: finding.advice,
        });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
