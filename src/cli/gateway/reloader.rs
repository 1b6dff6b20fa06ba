//! Reloads, one at a time: what asks for one, what comes of it, and who is told.
//!
//! The files are loaded and checked beside the requests, by the code that `serve` and `check` start with; whatever is
//! wrong, what is in force stays so, whole. Those who ask while a reload runs get one more together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::changes::Changes;
use super::files::{Stamp, Watch};
use super::fixed::Difference;
use super::live::Live;
use super::outlet::Outlet;
use super::prepared::Prepared;
use crate::admin::{ReloadAnswer, ReloadOrder};
use crate::audit::TARGET;
use crate::cli::assemble;
use crate::cli::check::errors_json;
use crate::cli::supervisor::Supervisor;
use crate::clock::Clock;
use crate::config::{self, Input, Report};
use crate::metrics::{ReloadMetrics, Reloaded};
use crate::tasks;

/// Calls that wait for a reload.
pub(super) const CALLS_MAX: usize = 64;
/// How often files are looked at, at least; a look that takes long makes it rarer.
const LOOK: Duration = Duration::from_secs(2);
/// Share of the time that looks may take.
const LOOK_SHARE: u32 = 20;
/// Errors of a report that stand in the log, a line each; the answer of a call has all.
const ERRORS_LOGGED: usize = 50;

/// What a configuration is loaded again from.
pub(in crate::cli) struct Again {
    input: Input,
    hangups: Signal,
    supervisor: Supervisor,
    watch: Watch,
}

impl Again {
    /// From `input`, which is about to be loaded; `hangups` are SIGHUPs, and `supervisor` may wait for what comes of them.
    pub(in crate::cli) fn new(input: Input, hangups: Signal, supervisor: Supervisor) -> Self {
        let paths = config::watched(&input);
        let stamp = Stamp::of(&paths);
        Self { input, hangups, supervisor, watch: Watch::new(paths, stamp) }
    }
}

/// The one place where reloads are done.
pub(super) struct Reloader {
    pub live: Live,
    pub outlet: Outlet,
    pub again: Again,
    pub calls: mpsc::Receiver<ReloadOrder>,
    pub metrics: ReloadMetrics,
    pub clock: Arc<dyn Clock>,
}

/// What came of a reload.
enum Outcome {
    Applied { changes: Changes, warnings: Vec<String> },
    Unchanged,
    Invalid(Report),
    RestartNeeded(Vec<Difference>),
    Failed(String),
}

/// What was read, and how the files stood before.
struct Read {
    watch: Watch,
    prepared: Result<anyhow::Result<Prepared>, Report>,
}

impl Reloader {
    /// Waits for whoever asks, for ever.
    pub(super) async fn run(mut self) {
        let mut pause = LOOK;
        loop {
            let mut calls = Vec::new();
            let why = tokio::select! {
                call = self.calls.recv() => {
                    calls.extend(call);
                    None
                }
                _ = self.again.hangups.recv() => Some("SIGHUP"),
                () = sleep(pause), if self.live.watches() => {
                    let (settled, took) = self.look().await;
                    pause = LOOK.max(took * LOOK_SHARE);
                    if !settled {
                        continue;
                    }
                    Some("changed files")
                }
            };
            // Whoever asked by now is told of the same reload.
            calls.extend(std::iter::from_fn(|| self.calls.try_recv().ok()));
            let signal = self.again.hangups.recv().now_or_never().map(|_| "SIGHUP");
            let callers = calls.iter().map(|call| format!("POST /v1/reload by {}", call.who));
            let operators: Vec<String> =
                why.or(signal).map(str::to_owned).into_iter().chain(callers).collect();
            let answer = self.reload(&operators.join(", ")).await;
            for call in calls {
                drop(call.answer.send(answer.clone()));
            }
        }
    }

    /// Looks at the files: whether they are others than those that were loaded, and stand still; and how long it took.
    async fn look(&mut self) -> (bool, Duration) {
        let (paths, began) = (self.again.watch.paths(), self.clock.monotonic());
        let stamp = tasks::blocking(move || Stamp::of(&paths)).await;
        let took = self.clock.monotonic().saturating_sub(began);
        (stamp.is_ok_and(|stamp| self.again.watch.seen(stamp)), took)
    }

    async fn reload(&mut self, operator: &str) -> ReloadAnswer {
        self.again.supervisor.reloading();
        let began = self.clock.monotonic();
        let outcome = self.attempt().await;
        let took = self.clock.monotonic().saturating_sub(began);
        outcome.tell(operator, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.metrics.count(outcome.reloaded(), self.clock.now());
        let name = outcome.reloaded().name();
        self.again.supervisor.ready(&format!("takes deliveries; the last reload: {name}"));
        ReloadAnswer { outcome: outcome.reloaded(), report: outcome.to_json() }
    }

    async fn attempt(&mut self) -> Outcome {
        let input = self.again.input.clone();
        let prepared = match tasks::blocking(move || read(input)).await {
            Ok(read) => {
                self.again.watch = read.watch;
                read.prepared
            }
            Err(_) => return Outcome::Failed("loading ended before it came to anything".to_owned()),
        };
        let prepared = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) => return Outcome::Failed(format!("{error:#}")),
            Err(report) => return Outcome::Invalid(report),
        };
        let forbidden = self.live.forbids(&prepared);
        if !forbidden.is_empty() {
            return Outcome::RestartNeeded(forbidden);
        }
        let mut changes = self.live.changes(&prepared);
        let mut warnings = prepared.warnings.clone();
        if changes.other_sources() {
            // Before they take deliveries: what finds no queue comes back, and waits.
            warnings.extend(self.outlet.serve_sources(prepared.names()).await.err());
        }
        if !changes.is_empty()
            && let Err(error) = self.live.install(prepared)
        {
            return Outcome::Failed(format!("{error:#}"));
        }
        match self.certificate().await {
            Ok(true) => changes.settings.push("ingress.tls.certificate"),
            Ok(false) => {}
            // Nothing else waits for it, a secret that has leaked least of all.
            Err(error) if changes.is_empty() => return Outcome::Failed(error),
            Err(error) => warnings.push(format!("{error}; the certificate of before is shown")),
        }
        if changes.is_empty() { Outcome::Unchanged } else { Outcome::Applied { changes, warnings } }
    }
}

impl Reloader {
    /// Reads the certificate again: true where another is shown from here on. Its files are watched besides.
    async fn certificate(&self) -> Result<bool, String> {
        let Some(tls) = self.live.tls() else { return Ok(false) };
        let read = tasks::blocking(move || tls.reload().map_err(|error| error.to_string()));
        read.await.unwrap_or(Ok(false))
    }
}

/// Loads, checks and prepares; blocks.
fn read(input: Input) -> Read {
    // A file that changes from here on is seen at the next look.
    let stamp = Stamp::of(&config::watched(&input));
    let loaded = config::load_with(input.clone(), assemble::all);
    let watch = Watch::new(config::watched(&input), stamp);
    let prepared = loaded.map(|(loaded, plans)| Prepared::of(Arc::new(loaded), plans));
    Read { watch, prepared }
}

impl Outcome {
    fn reloaded(&self) -> Reloaded {
        match self {
            Self::Applied { .. } => Reloaded::Applied,
            Self::Unchanged => Reloaded::Unchanged,
            Self::Invalid(_) => Reloaded::Invalid,
            Self::RestartNeeded(_) => Reloaded::RestartNeeded,
            Self::Failed(_) => Reloaded::Failed,
        }
    }

    /// The last line tells of the action; those before it, of what an operator has to see to.
    fn tell(&self, operator: &str, milliseconds: u64) {
        let refused = match self {
            Self::Applied { changes, warnings } => {
                warnings.iter().take(ERRORS_LOGGED).for_each(|warning| tracing::warn!("{warning}"));
                return changes.tell(operator, milliseconds);
            }
            Self::Unchanged => {
                tracing::info!(target: TARGET, audit = "action", operator, action = "reload", milliseconds, "reloaded: nothing has changed");
                return;
            }
            Self::Invalid(report) => {
                report.iter().take(ERRORS_LOGGED).for_each(|finding| tracing::error!("{finding}"));
                report.len()
            }
            Self::RestartNeeded(keys) => {
                keys.iter().for_each(|key| tracing::error!("{}", key.sentence()));
                keys.len()
            }
            Self::Failed(why) => {
                tracing::error!("{why}");
                1
            }
        };
        let outcome = self.reloaded().name();
        tracing::error!(
            target: TARGET,
            audit = "action",
            operator,
            action = "reload",
            outcome,
            errors = refused,
            milliseconds,
            "not reloaded: what was in force stays so"
        );
    }

    fn to_json(&self) -> Value {
        let outcome = self.reloaded().name();
        let problem = |status: u16, code: &str, detail: String, errors: Value| {
            json!({
                "type": "about:blank",
                "title": if status == 422 { "Unprocessable Entity" } else { "Service Unavailable" },
                "status": status,
                "code": code,
                "detail": detail,
                "outcome": outcome,
                "errors": errors,
            })
        };
        match self {
            Self::Applied { changes, warnings } => {
                let mut told = changes.to_json();
                told["outcome"] = outcome.into();
                told["warnings"] = warnings.clone().into();
                told
            }
            Self::Unchanged => json!({ "outcome": outcome }),
            Self::Invalid(report) => {
                let detail = format!("what was in force stays so: {} error(s) in the files", report.len());
                problem(422, "invalid_configuration", detail, errors_json(report))
            }
            Self::RestartNeeded(keys) => {
                let sentences: Vec<String> = keys.iter().map(Difference::sentence).collect();
                let detail = format!("what was in force stays so: {}", sentences.join("; "));
                let error =
                    |key: &Difference| json!({ "key": key.key, "running": key.running, "found": key.found });
                problem(422, "restart_needed", detail, keys.iter().map(error).collect())
            }
            Self::Failed(why) => {
                problem(503, "failed", format!("what was in force stays so: {why}"), json!([]))
            }
        }
    }
}
