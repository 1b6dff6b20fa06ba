//! Every metric that is no part of the account: name, help, labels; and the text of a scrape.

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

use super::account::Account;
use super::fetches::{KeyFetch, KeyFetchMetrics, Visit, VisitMetrics};
use super::notices::NoticeMetrics;
use super::reloads::ReloadMetrics;
use super::scrape::Scrape;
use super::series::Series;
use super::tls::TlsFamilies;
use super::way_in::{Handles, SourceMetrics};
use super::way_out::{Published, RelayMetrics};
use crate::reject::Reject;

pub(super) type Float = Gauge<f64, AtomicU64>;
pub(super) type Int = Gauge<i64, AtomicI64>;

/// Upper bounds of answer times in seconds.
const ANSWER_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of a journal commit in seconds.
const COMMIT_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// Upper bounds of relay lags in seconds: some milliseconds where all is well, hours after an outage.
const LAG_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 21_600.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceReason {
    source: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceOutcome {
    source: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByOutcome {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByReason {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByVersion {
    pub(super) version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceCause {
    source: String,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct BySource {
    pub(super) source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceSecret {
    source: String,
    secret: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByResult {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkOutcome {
    sink: String,
    outcome: &'static str,
}

/// Relay lags by source.
#[derive(Clone, Debug)]
pub(super) struct Lags(Family<BySource, Histogram>);

impl Lags {
    pub(super) fn of(&self, source: &str) -> Histogram {
        self.0.get_or_create(&BySource { source: source.to_owned() }).clone()
    }
}

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Metrics {
    pub(super) registry: Registry,
    account: Arc<Account>,
    series: Series,
    rejected: Family<SourceReason, Counter>,
    causes: Family<SourceCause, Counter>,
    duration: Family<BySource, Histogram>,
    secrets: Family<SourceSecret, Counter>,
    invalid: Family<BySource, Counter>,
    unsplit: Family<BySource, Counter>,
    clock_offset: Family<BySource, Float>,
    key_fetches: Family<SourceOutcome, Counter>,
    visits: Family<ByOutcome, Counter>,
    reloads: ReloadMetrics,
    pub(super) notices: NoticeMetrics,
    untrusted_proxy: Int,
    pub(super) tls: TlsFamilies,
    dedup: Family<ByResult, Counter>,
    published: Family<SinkOutcome, Counter>,
    confirm: Histogram,
    commit: Histogram,
    lags: Lags,
    oldest: Family<BySource, Float>,
    journal_bytes: Int,
    journal_unconfirmed: Int,
    dedup_keys: Int,
    history_bytes: Int,
    history_behind: Int,
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
            account: Arc::default(),
            series: Series::default(),
            rejected: Family::default(),
            causes: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(ANSWER_BUCKETS)),
            secrets: Family::default(),
            invalid: Family::default(),
            unsplit: Family::default(),
            clock_offset: Family::default(),
            key_fetches: Family::default(),
            visits: Family::default(),
            reloads: ReloadMetrics::default(),
            notices: NoticeMetrics::default(),
            untrusted_proxy: Int::default(),
            tls: TlsFamilies::default(),
            dedup: Family::default(),
            published: Family::default(),
            confirm: Histogram::new(ANSWER_BUCKETS),
            commit: Histogram::new(COMMIT_BUCKETS),
            lags: Lags(Family::new_with_constructor(|| Histogram::new(LAG_BUCKETS))),
            oldest: Family::default(),
            journal_bytes: Int::default(),
            journal_unconfirmed: Int::default(),
            dedup_keys: Int::default(),
            history_bytes: Int::default(),
            history_behind: Int::default(),
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
        registry.register_collector(Box::new(Scrape(Arc::clone(&self.account))));
        registry.register("rejected", "Requests refused, by exact reason", self.rejected.clone());
        let help = "Refused deliveries that were looked at, by the cause that was found";
        registry.register("reject_causes", help, self.causes.clone());
        let help = "Time from the last byte of a request's head to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.duration.clone());
        let help = "Verified deliveries, by label of the secret that verified them";
        registry.register("secret_used", help, self.secrets.clone());
        let help = "Verified deliveries whose payload is not valid by its schema";
        registry.register("invalid", help, self.invalid.clone());
        let help = "Deliveries of a source that splits, relayed whole because they hold no array of 1 to 1000 elements";
        registry.register("unsplit", help, self.unsplit.clone());
        let help = "This clock minus the signed time of the last delivery with a good signature";
        registry.register_with_unit("clock_offset", help, Unit::Seconds, self.clock_offset.clone());
        let help = "Whether nearly all requests come by a proxy that ingress.trusted_proxies does not name";
        registry.register("untrusted_proxy", help, self.untrusted_proxy.clone());
        let help = "Fetches of keys, by what came of them";
        registry.register("key_fetches", help, self.key_fetches.clone());
        let help = "Visits that verified handshakes asked for, by what came of them";
        registry.register("visits", help, self.visits.clone());
        self.tls.register(registry);
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
        registry.register_with_unit("history", "History on disk", Unit::Bytes, self.history_bytes.clone());
        let help = "Events of the journal that are not in the history yet";
        registry.register("history_behind_events", help, self.history_behind.clone());
    }

    fn register_way_out(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("hookgate");
        let help = "Time from the reception of an event to its confirm";
        registry.register_with_unit("relay_lag", help, Unit::Seconds, self.lags.0.clone());
        let help = "Age of the oldest event that is not confirmed";
        registry.register_with_unit("relay_oldest_age", help, Unit::Seconds, self.oldest.clone());
        registry.register(
            "published",
            "Attempts to publish a message, by outcome; a split delivery is several messages",
            self.published.clone(),
        );
        let help = "Time from a publish to its confirm";
        registry.register_with_unit("publish_confirm_duration", help, Unit::Seconds, self.confirm.clone());
        registry.register("sink_up", "Whether the sink is connected and takes events", self.sink_up.clone());
        self.reloads.register(registry);
        self.notices.register(registry);
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
        let reason = |reject: Reject| {
            let labels = SourceReason { source: source.to_owned(), reason: reject.row().reason };
            self.rejected.get_or_create(&labels).clone()
        };
        let dedup = |result| self.dedup.get_or_create(&ByResult { result }).clone();
        let used = |secret: Arc<str>| {
            let labels = SourceSecret { source: source.to_owned(), secret: secret.to_string() };
            (secret, self.secrets.get_or_create(&labels).clone())
        };
        SourceMetrics(Arc::new(Handles {
            account: Arc::clone(&self.account),
            row: self.account.row(source),
            invalid: self.invalid.get_or_create(&BySource { source: source.to_owned() }).clone(),
            unsplit: self.unsplit.get_or_create(&BySource { source: source.to_owned() }).clone(),
            reasons: Reject::ALL.map(|reject| (reject, reason(reject))).into(),
            dedup: [dedup("new"), dedup("twin"), dedup("held"), dedup("duplicate")],
            secrets: secrets.map(used).collect(),
            untrusted_proxy: self.untrusted_proxy.clone(),
            clock_offset: self.clock_offset.get_or_create(&BySource { source: source.to_owned() }).clone(),
            duration: self.duration.get_or_create(&BySource { source: source.to_owned() }).clone(),
            times: Arc::clone(&self.series.times),
            last_proven: self.account.last_proven(source),
        }))
    }

    /// No source has a secret of that label any more: its series ends, or daily rotation would make endless ones.
    pub fn forget_secret(&self, source: &str, secret: &str) {
        self.secrets.remove(&SourceSecret { source: source.to_owned(), secret: secret.to_owned() });
    }

    /// The counts of reloads.
    pub fn reloads(&self) -> ReloadMetrics {
        self.reloads.clone()
    }

    /// A refused delivery of `source` was looked at, and this cause found.
    pub fn explained(&self, source: &str, cause: &'static str) {
        self.causes.get_or_create(&SourceCause { source: source.to_owned(), cause }).inc();
    }

    /// The counts of a source whose keys are fetched.
    pub fn key_fetches(&self, source: &str) -> KeyFetchMetrics {
        let count = |(fetch, outcome)| {
            let labels = SourceOutcome { source: source.to_owned(), outcome };
            (fetch, self.key_fetches.get_or_create(&labels).clone())
        };
        KeyFetchMetrics(KeyFetch::ALL.map(count).into())
    }

    /// The counts of visits.
    pub fn visits(&self) -> VisitMetrics {
        let count = |(visit, outcome)| (visit, self.visits.get_or_create(&ByOutcome { outcome }).clone());
        VisitMetrics(Visit::ALL.map(count).into())
    }

    /// Where every delivery and event stands.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// How the last hour went.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The relay's handles.
    pub fn relay(&self, sink: &str) -> RelayMetrics {
        let outcome = |(published, outcome)| {
            let labels = SinkOutcome { sink: sink.to_owned(), outcome };
            (published, self.published.get_or_create(&labels).clone())
        };
        RelayMetrics {
            outcomes: Published::ALL.map(outcome).into(),
            duration: self.confirm.clone(),
            lags: self.lags.clone(),
        }
    }

    /// The histogram of journal commits.
    pub fn commit(&self) -> Histogram {
        self.commit.clone()
    }

    /// Sets the age of the oldest event of a source that is not confirmed.
    pub fn set_oldest(&self, source: &str, age: Duration) {
        self.oldest.get_or_create(&BySource { source: source.to_owned() }).set(age.as_secs_f64());
    }

    /// Sets the gauges of the stores.
    pub fn set_stores(&self, journal_bytes: u64, unconfirmed_bytes: u64, dedup_keys: u64) {
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.journal_bytes.set(int(journal_bytes));
        self.journal_unconfirmed.set(int(unconfirmed_bytes));
        self.dedup_keys.set(int(dedup_keys));
    }

    /// Sets how far the history is.
    pub fn set_history(&self, bytes: u64, behind: u64) {
        self.history_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.history_behind.set(i64::try_from(behind).unwrap_or(i64::MAX));
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

#[cfg(test)]
mod tests {
    use super::super::way_in::{Ending, Outcome};
    use super::*;

    #[test]
    fn names_have_prefix_unit_and_total() {
        let metrics = Metrics::new();
        let source = metrics.source("shop", ["live".into()].into_iter());
        let end = |ending| source.begin().end(ending);
        end(Ending::Kept(Outcome::New));
        end(Ending::Kept(Outcome::Duplicate));
        end(Ending::Duplicate);
        end(Ending::Handshake);
        end(Ending::Refused(Reject::Stale));
        end(Ending::Refused(Reject::JournalFull));
        drop(source.begin());
        let mut waiting = source.begin();
        let handed = waiting.hand_over();
        drop(waiting);
        source.verified("live", crate::clock::Timestamp::from_seconds(7));
        source.answered(Duration::from_millis(1));
        metrics.relay("rabbitmq").lag("shop").observe(0.07);
        let text = metrics.encode();
        drop(handed);
        for line in [
            "hookgate_requests_received_total{source=\"shop\"} 8",
            "hookgate_requests_in_progress{source=\"shop\"} 1",
            "hookgate_requests_total{source=\"shop\",outcome=\"handshake\"} 1",
            "hookgate_requests_total{source=\"shop\",outcome=\"accepted\"} 2",
            "hookgate_requests_total{source=\"shop\",outcome=\"duplicate\"} 1",
            "hookgate_requests_total{source=\"shop\",outcome=\"rejected\"} 2",
            "hookgate_requests_total{source=\"shop\",outcome=\"fault\"} 1",
            "hookgate_relay_pending{source=\"shop\"} 2",
            "hookgate_events_confirmed_total{source=\"shop\"} 0",
            "hookgate_rejected_total{source=\"shop\",reason=\"stale\"} 1",
            "hookgate_rejected_total{source=\"shop\",reason=\"body_incomplete\"} 1",
            "hookgate_secret_used_total{source=\"shop\",secret=\"live\"} 1",
            "hookgate_request_duration_seconds_count{source=\"shop\"} 1",
            "hookgate_relay_lag_seconds_bucket{le=\"0.1\",source=\"shop\"} 1",
            "hookgate_dedup_total{result=\"new\"} 1",
            "hookgate_dedup_total{result=\"duplicate\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let after = metrics.encode();
        assert!(after.contains("hookgate_requests_in_progress{source=\"shop\"} 0"), "{after}");
    }
}
