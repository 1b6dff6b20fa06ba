//! The gateway as a whole: `GET /v1` says what runs and how it stands, `GET /v1/stats` how it goes.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::events::{fresh, malformed};
use super::guard::Area;
use super::health::Check;
use super::history::{pairs, unknown};
use super::openapi::Refused;
use super::server::AdminParts;
use crate::metrics::{STEP, STEPS_MAX, Step};
use crate::telemetry;

/// What runs, and how it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    #[schema(examples("hookgate"))]
    name: &'static str,
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// When the process started (RFC 3339).
    started_at: String,
    /// This clock (RFC 3339).
    now: String,
    /// What a 2xx waits for: `journal` or `confirm`.
    ack: &'static str,
    /// Where events go: `inbox`, `rabbitmq` or `stdout`.
    sink: &'static str,
    /// The URL that senders reach the gateway by.
    public_url: Option<String>,
    /// Whether there is a journal.
    journal: bool,
    /// Whether a history is kept.
    history: bool,
    /// `ready`, `degraded` (accepts; what it hands over to is away) or `unready`.
    readiness: &'static str,
    /// What that is judged by.
    checks: Vec<CheckShown>,
}

/// Something that has to be well.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckShown {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// What runs, and how it stands.
#[utoipa::path(get, path = "/v1", tag = "gateway", responses(
    (status = 200, body = About), Refused))]
pub(super) async fn about(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let (known, health) = (parts.live.load(), &parts.health);
    let (readiness, checks) = health.readiness();
    let shown = |Check { name, found }| {
        let (ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        CheckShown { name, ok, detail }
    };
    fresh(StatusCode::OK).json(About {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        started_at: health.started.to_string(),
        now: health.clock.now().to_string(),
        ack: known.shown.ack,
        sink: known.shown.sink,
        public_url: known.shown.public_url.clone(),
        journal: health.stores().is_some(),
        history: parts.history.is_some(),
        readiness: readiness.as_str(),
        checks: checks.into_iter().map(shown).collect(),
    })
}

/// How it goes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stats {
    /// This clock (RFC 3339).
    now: String,
    /// Usual length of a step of the series.
    interval_seconds: u64,
    /// Requests and events by where they stand, of all sources, since the start.
    totals: BTreeMap<&'static str, u64>,
    /// Age of the oldest event that is not handed over; 0 where there is none.
    oldest_pending_seconds: f64,
    /// The journal, where there is one.
    journal: Option<JournalStats>,
    /// The history, where one is kept.
    history: Option<HistoryStats>,
    process: ProcessStats,
    /// Requests refused since the start, of sources in force and of paths that none has, by exact reason, the most frequent first.
    refused: Vec<RefusedFor>,
    /// How the last hour went, oldest step first.
    series: Vec<StepShown>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JournalStats {
    /// On disk.
    bytes: u64,
    /// Of events that are not handed over, and keep their room until they are.
    unconfirmed_bytes: u64,
    /// What these may come to.
    bytes_max: u64,
    /// Whether an event of ordinary size would be refused.
    full: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HistoryStats {
    /// On disk.
    bytes: u64,
    /// Events of the journal that are not in it yet.
    behind_events: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_fds: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefusedFor {
    #[schema(examples("signature_invalid"))]
    reason: &'static str,
    count: u64,
}

/// Some seconds: counts within them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StepShown {
    /// When it ended (RFC 3339).
    at: String,
    /// How long it was.
    seconds: f64,
    received: u64,
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    /// Refused for a fault of the gateway's.
    fault: u64,
    /// Handed over.
    confirmed: u64,
    /// To be handed over at its end.
    waiting: u64,
    /// Half of the answers took no longer, in milliseconds; `null` without an answer.
    p50_ms: Option<f64>,
    /// All but a hundredth took no longer.
    p99_ms: Option<f64>,
}

impl From<Step> for StepShown {
    fn from(step: Step) -> Self {
        let Step { at, seconds, received, accepted, duplicate, rejected, fault, .. } = step;
        let Step { confirmed, waiting, p50_ms, p99_ms, .. } = step;
        Self {
            at: at.to_string(),
            seconds,
            received,
            accepted,
            duplicate,
            rejected,
            fault,
            confirmed,
            waiting,
            p50_ms,
            p99_ms,
        }
    }
}

/// How much is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what the query may hold")]
pub(super) struct StatsQuery {
    /// The last so many steps of the series. Default: all.
    #[param(minimum = 0, maximum = 900)]
    steps: Option<usize>,
}

/// How it goes: counts, stores, and the last hour.
#[utoipa::path(get, path = "/v1/stats", tag = "gateway", params(StatsQuery), responses(
    (status = 200, body = Stats), Refused))]
pub(super) async fn stats(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let mut steps = STEPS_MAX;
    for (name, value) in pairs(&request) {
        match (&*name, value.parse()) {
            ("steps", Ok(found)) if found <= STEPS_MAX => steps = found,
            ("steps", _) => {
                return malformed(&format!("steps {value:?}: expected a number from 0 to {STEPS_MAX}"));
            }
            (name, _) => return malformed(&unknown(name, &["steps"])),
        }
    }
    let (health, process) = (&parts.health, telemetry::process_stats());
    let now = health.clock.now();
    let oldest = health.lanes.stats().into_iter().filter_map(|(_, stats)| stats.oldest).min();
    fresh(StatusCode::OK).json(Stats {
        now: now.to_string(),
        interval_seconds: STEP.as_secs(),
        totals: health.metrics.account().total().counts().collect(),
        oldest_pending_seconds: oldest.map_or(0.0, |oldest| now.millis_since(oldest).max(0) as f64 / 1000.0),
        journal: health.stores().map(|stores| JournalStats {
            bytes: stores.journal_bytes,
            unconfirmed_bytes: stores.unconfirmed_bytes,
            bytes_max: stores.quota_bytes,
            full: stores.full,
        }),
        history: parts
            .history
            .as_ref()
            .map(|history| HistoryStats { bytes: history.bytes(), behind_events: history.behind() }),
        process: ProcessStats {
            cpu_seconds: process.cpu.as_secs_f64(),
            resident_bytes: process.resident_bytes,
            open_fds: process.open_fds,
        },
        refused: refused(&parts),
        series: health.metrics.series().steps(steps).into_iter().map(StepShown::from).collect(),
    })
}

fn refused(parts: &AdminParts) -> Vec<RefusedFor> {
    let known = parts.live.load();
    let strangers = parts.health.metrics.source("", std::iter::empty());
    let sources = known.sources.values().map(|source| &source.metrics);
    let mut counts = BTreeMap::new();
    for (reject, count) in sources.chain([&strangers]).flat_map(|metrics| metrics.refused()) {
        *counts.entry(reject.row().reason).or_insert(0) += count;
    }
    let mut refused: Vec<RefusedFor> =
        counts.into_iter().map(|(reason, count)| RefusedFor { reason, count }).collect();
    refused.sort_by_key(|one| std::cmp::Reverse(one.count));
    refused
}
