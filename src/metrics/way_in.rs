//! The way in: the handles of one source, and a request from its first count to its last.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::account::{Account, End, Row, Stand, Standing};
use super::families::{Float, Int};
use super::series::AnswerTimes;
use crate::clock::Timestamp;
use crate::reject::Reject;
use crate::telemetry::trace;

/// What an accepted delivery turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An event not seen before.
    New,
    /// An event that repeats another's content under a new id or type.
    Twin,
    /// Such a one, kept for an operator's decision.
    Held,
    /// A copy of a known event.
    Duplicate,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A question about the endpoint itself, answered.
    Handshake,
    /// Verified, and of a type that the source does not want.
    Filtered,
    /// Refused, or a fault of ours.
    Refused(Reject),
    /// A copy of a known event, dropped.
    Duplicate,
    /// Kept in the journal, to be relayed or held; a copy of a known event where that is forwarded.
    Kept(Outcome),
    /// Confirmed by the broker before its answer.
    Confirmed(Outcome),
}

impl Ending {
    fn accounted(self) -> (End, Option<Stand>) {
        match self {
            Self::Handshake => (End::Handshake, None),
            Self::Filtered => (End::Filtered, None),
            Self::Refused(reject) if reject.row().fault => (End::Fault, None),
            Self::Refused(_) => (End::Rejected, None),
            Self::Duplicate => (End::Duplicate, None),
            Self::Kept(Outcome::Held) => (End::Accepted, Some(Stand::Held)),
            Self::Kept(_) => (End::Accepted, Some(Stand::Pending)),
            Self::Confirmed(_) => (End::Accepted, Some(Stand::Confirmed)),
        }
    }
}

/// The handles of one source; cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceMetrics(pub(super) Arc<Handles>);

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) account: Arc<Account>,
    pub(super) row: Row,
    pub(super) invalid: Counter,
    pub(super) unsplit: Counter,
    pub(super) reasons: Vec<(Reject, Counter)>,
    pub(super) dedup: [Counter; 4],
    pub(super) secrets: Vec<(Arc<str>, Counter)>,
    pub(super) clock_offset: Float,
    pub(super) duration: Histogram,
    pub(super) times: Arc<AnswerTimes>,
    /// When a delivery was verified last, in milliseconds since the epoch; 0 before one was.
    pub(super) last_proven: Arc<AtomicI64>,
    pub(super) untrusted_proxy: Int,
}

impl Handles {
    fn count(&self, ending: Ending) {
        let [new, twin, held, duplicate] = &self.dedup;
        match ending {
            Ending::Handshake | Ending::Filtered => {}
            Ending::Refused(reject) => {
                if let Some((_, counter)) = self.reasons.iter().find(|(known, _)| *known == reject) {
                    counter.inc();
                }
            }
            Ending::Duplicate => drop(duplicate.inc()),
            Ending::Kept(outcome) | Ending::Confirmed(outcome) => {
                match outcome {
                    Outcome::New => new.inc(),
                    Outcome::Twin => twin.inc(),
                    Outcome::Held => held.inc(),
                    Outcome::Duplicate => duplicate.inc(),
                };
            }
        }
    }
}

impl SourceMetrics {
    /// A request has come in.
    pub fn begin(&self) -> Request {
        self.0.account.begin(self.0.row);
        Request { metrics: Some(self.clone()), trace: None }
    }

    /// A payload that is not valid by its schema, whatever became of it.
    pub fn invalid(&self) {
        self.0.invalid.inc();
    }

    /// A delivery that is relayed whole though its source splits.
    pub fn unsplit(&self) {
        self.0.unsplit.inc();
    }

    /// What was counted so far.
    pub fn seen(&self) -> SourceSeen {
        let Handles { account, row, clock_offset, secrets, .. } = &*self.0;
        let secrets = secrets.iter().map(|(label, counter)| (Arc::clone(label), counter.get())).collect();
        SourceSeen { standing: account.standing(*row), clock_offset: clock_offset.get(), secrets }
    }

    /// Requests that were refused, by reason; those without one are left out.
    pub fn refused(&self) -> impl Iterator<Item = (Reject, u64)> {
        self.0
            .reasons
            .iter()
            .map(|(reject, counter)| (*reject, counter.get()))
            .filter(|(_, count)| *count > 0)
    }

    /// When a delivery was verified last, since the start.
    pub fn last_proven(&self) -> Option<Timestamp> {
        let millis = self.0.last_proven.load(Ordering::Relaxed);
        (millis != 0).then(|| Timestamp::from_millis(millis))
    }

    /// A delivery was verified with this secret.
    pub fn verified(&self, secret: &str, now: Timestamp) {
        self.0.last_proven.store(now.millis(), Ordering::Relaxed);
        if let Some((_, counter)) = self.0.secrets.iter().find(|(label, _)| **label == *secret) {
            counter.inc();
        }
    }

    /// A signature held, and its time lies so many milliseconds behind this clock.
    pub fn signed(&self, behind_ms: i64) {
        self.0.clock_offset.set(behind_ms as f64 / 1000.0);
    }

    /// Nearly all requests, whatever their source, come by a proxy that nobody trusts.
    pub fn untrusted_proxy(&self) {
        self.0.untrusted_proxy.set(1);
    }

    /// How long the answer took.
    pub fn answered(&self, took: Duration) {
        self.0.duration.observe(took.as_secs_f64());
        self.0.times.add(took);
    }
}

/// What was counted of a source, for who watches it.
#[derive(Clone, Debug, Default)]
pub struct SourceSeen {
    /// Where everything of it stands.
    pub standing: Standing,
    /// This clock less the last signed time, in seconds; 0 before there is one.
    pub clock_offset: f64,
    /// Verified deliveries by label of the secret.
    pub secrets: Vec<(Arc<str>, u64)>,
}

impl SourceSeen {
    /// Requests with proof of their sender, whatever became of them.
    pub fn proven(&self) -> u64 {
        self.secrets.iter().map(|(_, count)| count).sum()
    }
}

/// A request in progress; ends once. Dropped without an end, its sender has gone: it counts as incomplete.
#[derive(Debug)]
pub struct Request {
    metrics: Option<SourceMetrics>,
    trace: Option<trace::Context>,
}

impl Request {
    /// It turned out to be that. Whoever was handed it over ([`Self::hand_over`]) counts instead.
    pub fn end(mut self, ending: Ending) {
        self.finish(ending);
    }

    /// Many that ended at one moment, as by one commit.
    pub fn end_all(requests: Vec<(Self, Ending)>) {
        let ended = |(mut request, ending): (Self, Ending)| Some((request.metrics.take()?.0, ending));
        let ended: Vec<_> = requests.into_iter().filter_map(ended).collect();
        let Some((first, _)) = ended.first() else { return };
        first.account.end(ended.iter().map(|(handles, ending)| {
            let (end, stand) = ending.accounted();
            (handles.row, end, stand)
        }));
        ended.iter().for_each(|(handles, ending)| handles.count(*ending));
    }

    /// It belongs to this trace, if to any.
    pub fn go_in(&mut self, trace: Option<trace::Context>) {
        self.trace = trace;
    }

    /// The trace that it belongs to, if to any.
    pub fn trace(&self) -> Option<trace::Context> {
        self.trace
    }

    /// The request for somebody else to end; what is left behind counts nothing.
    pub fn hand_over(&mut self) -> Self {
        mem::replace(self, Self { metrics: None, trace: self.trace })
    }

    fn finish(&mut self, ending: Ending) {
        if let Some(SourceMetrics(handles)) = self.metrics.take() {
            let (end, stand) = ending.accounted();
            handles.account.end(std::iter::once((handles.row, end, stand)));
            handles.count(ending);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.finish(Ending::Refused(Reject::BodyIncomplete));
    }
}
