//! Every metric: name, help, labels. Handles are looked up once, at load, and never per event.

mod confirm;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::Timestamp;
use crate::reject::Reject;

pub use confirm::{Claimed, ConfirmMetrics};

type Float = Gauge<f64, AtomicU64>;
type Int = Gauge<i64, AtomicI64>;

/// Upper bounds of answer times in seconds.
const ANSWER_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of a journal commit in seconds.
const COMMIT_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceOutcome {
    source: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceReason {
    source: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySource {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceSecret {
    source: String,
    secret: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkOutcome {
    sink: String,
    outcome: &'static str,
}

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

/// What became of an attempt to hand an event over; the label `outcome` of `published_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The destination answers for it.
    Confirmed,
    /// No queue is bound for it.
    Returned,
    /// Nacked.
    Refused,
    /// It may have arrived.
    Unknown,
    /// It never left.
    NotSent,
    /// The channel was closed while it was in flight.
    ChannelClosed,
}

impl Published {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Confirmed, "confirmed"),
        (Self::Returned, "returned"),
        (Self::Refused, "refused"),
        (Self::Unknown, "unknown"),
        (Self::NotSent, "not_sent"),
        (Self::ChannelClosed, "channel_closed"),
    ];
}

/// How the lane of a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Events that are neither ended nor held nor poison.
    pub pending: u64,
    /// Events held for an operator.
    pub held: u64,
    /// Events that the broker refused each time.
    pub poisoned: u64,
    /// Events put aside for now.
    pub aside: u64,
    /// When the oldest event that is known to be pending came in.
    pub oldest: Option<Timestamp>,
}

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<SourceOutcome, Counter>,
    rejected: Family<SourceReason, Counter>,
    duration: Family<BySource, Histogram>,
    secrets: Family<SourceSecret, Counter>,
    invalid: Family<BySource, Counter>,
    clock_offset: Family<BySource, Float>,
    dedup: Family<ByResult, Counter>,
    published: Family<SinkOutcome, Counter>,
    confirm: Histogram,
    commit: Histogram,
    pending: Family<BySource, Int>,
    held: Family<BySource, Int>,
    poisoned: Family<BySource, Int>,
    aside: Family<BySource, Int>,
    oldest: Family<BySource, Float>,
    journal_bytes: Int,
    journal_unconfirmed: Int,
    dedup_keys: Int,
    sink_up: Int,
    process: Process,
}

#[derive(Debug, Default)]
struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Int,
    open_fds: Int,
    start: Float,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them, registered.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            rejected: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(ANSWER_BUCKETS)),
            secrets: Family::default(),
            invalid: Family::default(),
            clock_offset: Family::default(),
            dedup: Family::default(),
            published: Family::default(),
            confirm: Histogram::new(ANSWER_BUCKETS),
            commit: Histogram::new(COMMIT_BUCKETS),
            pending: Family::default(),
            held: Family::default(),
            poisoned: Family::default(),
            aside: Family::default(),
            oldest: Family::default(),
            journal_bytes: Int::default(),
            journal_unconfirmed: Int::default(),
            dedup_keys: Int::default(),
            sink_up: Int::default(),
            process: Process::default(),
        };
        metrics.register_way_in();
        metrics.register_way_out();
        metrics.register_process();
        metrics
    }

    fn register_way_in(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("hookgate");
        registry.register(
            "requests",
            "Requests answered, by what they turned out to be",
            self.requests.clone(),
        );
        registry.register("rejected", "Requests refused, by exact reason", self.rejected.clone());
        let help = "Time from the last byte of a request's head to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.duration.clone());
        let help = "Verified deliveries, by label of the secret that verified them";
        registry.register("secret_used", help, self.secrets.clone());
        let help = "Verified deliveries whose payload is not valid by its schema";
        registry.register("invalid", help, self.invalid.clone());
        let help = "This clock minus the signed time of the last delivery with a good signature";
        registry.register_with_unit("clock_offset", help, Unit::Seconds, self.clock_offset.clone());
        registry.register("dedup", "Verified deliveries, by what the dedup index knew", self.dedup.clone());
        registry.register("dedup_keys", "Event keys in the dedup index", self.dedup_keys.clone());
        let help = "Time of a journal commit: one write and one sync for all that wait";
        registry.register_with_unit("journal_commit_duration", help, Unit::Seconds, self.commit.clone());
        registry.register_with_unit("journal", "Journal on disk", Unit::Bytes, self.journal_bytes.clone());
        let help = "Journal records that are not confirmed yet; they count towards the quota";
        registry.register_with_unit(
            "journal_unconfirmed",
            help,
            Unit::Bytes,
            self.journal_unconfirmed.clone(),
        );
    }

    fn register_way_out(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("hookgate");
        registry.register("relay_pending", "Events accepted and not yet confirmed", self.pending.clone());
        registry.register("relay_held", "Events held for an operator", self.held.clone());
        registry.register("relay_poison", "Events that the broker refused each time", self.poisoned.clone());
        let help = "Pending events put aside for now: unroutable, or claimed by another replica";
        registry.register("relay_aside", help, self.aside.clone());
        let help = "Age of the oldest event that is not confirmed";
        registry.register_with_unit("relay_oldest_age", help, Unit::Seconds, self.oldest.clone());
        registry.register("published", "Attempts to publish, by outcome", self.published.clone());
        let help = "Time from a publish to its confirm";
        registry.register_with_unit("publish_confirm_duration", help, Unit::Seconds, self.confirm.clone());
        registry.register("sink_up", "Whether the sink is connected and takes events", self.sink_up.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this binary", build);
    }

    fn register_process(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("process");
        let cpu = self.process.cpu.clone();
        registry.register_with_unit("cpu", "User and system CPU time", Unit::Seconds, cpu);
        let resident = self.process.resident.clone();
        registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, resident);
        registry.register("open_fds", "Open file descriptors", self.process.open_fds.clone());
        let help = "Start of the process since the Unix epoch";
        registry.register_with_unit("start_time", help, Unit::Seconds, self.process.start.clone());
    }

    /// The text that Prometheus scrapes.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// The handles of one source; `source` is empty for requests that belong to none.
    pub fn source(&self, source: &str, secrets: impl Iterator<Item = Arc<str>>) -> SourceMetrics {
        let outcome = |outcome| {
            let labels = SourceOutcome { source: source.to_owned(), outcome };
            self.requests.get_or_create(&labels).clone()
        };
        let reason = |reject: Reject| {
            let labels = SourceReason { source: source.to_owned(), reason: reject.row().reason };
            self.rejected.get_or_create(&labels).clone()
        };
        let dedup = |result| self.dedup.get_or_create(&ByResult { result }).clone();
        let used = |secret: Arc<str>| {
            let labels = SourceSecret { source: source.to_owned(), secret: secret.to_string() };
            (secret, self.secrets.get_or_create(&labels).clone())
        };
        SourceMetrics {
            accepted: outcome("accepted"),
            duplicate: outcome("duplicate"),
            filtered: outcome("filtered"),
            invalid: self.invalid.get_or_create(&BySource { source: source.to_owned() }).clone(),
            rejected: outcome("rejected"),
            fault: outcome("fault"),
            reasons: Reject::ALL.map(|reject| (reject, reason(reject))).into(),
            dedup: [dedup("new"), dedup("twin"), dedup("held"), dedup("duplicate")],
            secrets: secrets.map(used).collect(),
            clock_offset: self.clock_offset.get_or_create(&BySource { source: source.to_owned() }).clone(),
            duration: self.duration.get_or_create(&BySource { source: source.to_owned() }).clone(),
        }
    }

    /// The relay's handles.
    pub fn relay(&self, sink: &str) -> RelayMetrics {
        let outcome = |(published, outcome)| {
            let labels = SinkOutcome { sink: sink.to_owned(), outcome };
            (published, self.published.get_or_create(&labels).clone())
        };
        RelayMetrics { outcomes: Published::ALL.map(outcome).into(), duration: self.confirm.clone() }
    }

    /// The histogram of journal commits.
    pub fn commit(&self) -> Histogram {
        self.commit.clone()
    }

    /// Sets the gauges of one source's lane.
    pub fn set_lane(&self, source: &str, stats: &LaneStats, oldest_age: Duration) {
        let labels = BySource { source: source.to_owned() };
        let set = |family: &Family<BySource, Int>, value: u64| {
            family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.pending, stats.pending);
        set(&self.held, stats.held);
        set(&self.poisoned, stats.poisoned);
        set(&self.aside, stats.aside);
        self.oldest.get_or_create(&labels).set(oldest_age.as_secs_f64());
    }

    /// Sets the gauges of the stores.
    pub fn set_stores(&self, journal_bytes: u64, unconfirmed_bytes: u64, dedup_keys: u64) {
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.journal_bytes.set(int(journal_bytes));
        self.journal_unconfirmed.set(int(unconfirmed_bytes));
        self.dedup_keys.set(int(dedup_keys));
    }

    /// Sets whether the sink takes events.
    pub fn set_sink(&self, up: bool) {
        self.sink_up.set(i64::from(up));
    }

    /// Sets what the system says about this process.
    pub fn set_process(&self, cpu: Duration, resident_bytes: u64, open_fds: u64, started_seconds: i64) {
        let more = cpu.as_secs_f64() - self.process.cpu.get();
        if more > 0.0 {
            self.process.cpu.inc_by(more);
        }
        self.process.resident.set(i64::try_from(resident_bytes).unwrap_or(i64::MAX));
        self.process.open_fds.set(i64::try_from(open_fds).unwrap_or(i64::MAX));
        self.process.start.set(started_seconds as f64);
    }
}

/// The handles of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    accepted: Counter,
    duplicate: Counter,
    filtered: Counter,
    invalid: Counter,
    rejected: Counter,
    fault: Counter,
    reasons: Arc<[(Reject, Counter)]>,
    dedup: [Counter; 4],
    secrets: Vec<(Arc<str>, Counter)>,
    clock_offset: Float,
    duration: Histogram,
}

impl SourceMetrics {
    /// A delivery was kept, or known already.
    pub fn kept(&self, outcome: Outcome) {
        let [new, twin, held, duplicate] = &self.dedup;
        match outcome {
            Outcome::New => new.inc(),
            Outcome::Twin => twin.inc(),
            Outcome::Held => held.inc(),
            Outcome::Duplicate => duplicate.inc(),
        };
        match outcome {
            Outcome::Duplicate => self.duplicate.inc(),
            Outcome::New | Outcome::Twin | Outcome::Held => self.accepted.inc(),
        };
    }

    /// An event of a type that the source does not want.
    pub fn filtered(&self) {
        self.filtered.inc();
    }

    /// A payload that is not valid by its schema, whatever became of it.
    pub fn invalid(&self) {
        self.invalid.inc();
    }

    /// A refusal or fault.
    pub fn refused(&self, reject: Reject) {
        if reject.row().fault {
            self.fault.inc()
        } else {
            self.rejected.inc()
        };
        if let Some((_, counter)) = self.reasons.iter().find(|(known, _)| *known == reject) {
            counter.inc();
        }
    }

    /// A delivery was verified with this secret.
    pub fn verified(&self, secret: &str) {
        if let Some((_, counter)) = self.secrets.iter().find(|(label, _)| **label == *secret) {
            counter.inc();
        }
    }

    /// A signature held, and its time lies so many milliseconds behind this clock.
    pub fn signed(&self, behind_ms: i64) {
        self.clock_offset.set(behind_ms as f64 / 1000.0);
    }

    /// How long the answer took.
    pub fn answered(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }
}

/// The relay's handles.
#[derive(Clone, Debug)]
pub struct RelayMetrics {
    outcomes: Arc<[(Published, Counter)]>,
    duration: Histogram,
}

impl RelayMetrics {
    /// An attempt came to its end after that time.
    pub fn published(&self, outcome: Published, took: Duration) {
        if let Some((_, counter)) = self.outcomes.iter().find(|(known, _)| *known == outcome) {
            counter.inc();
        }
        if outcome == Published::Confirmed {
            self.duration.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_prefix_unit_and_total() {
        let metrics = Metrics::new();
        let source = metrics.source("shop", ["live".into()].into_iter());
        source.kept(Outcome::New);
        source.kept(Outcome::Duplicate);
        source.refused(Reject::Stale);
        source.verified("live");
        source.answered(Duration::from_millis(1));
        let text = metrics.encode();
        for line in [
            "hookgate_requests_total{source=\"shop\",outcome=\"accepted\"} 1",
            "hookgate_requests_total{source=\"shop\",outcome=\"duplicate\"} 1",
            "hookgate_requests_total{source=\"shop\",outcome=\"rejected\"} 1",
            "hookgate_rejected_total{source=\"shop\",reason=\"stale\"} 1",
            "hookgate_secret_used_total{source=\"shop\",secret=\"live\"} 1",
            "hookgate_request_duration_seconds_count{source=\"shop\"} 1",
            "hookgate_dedup_total{result=\"new\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
