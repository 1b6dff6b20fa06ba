//! Looks every other second at how the gateway stands, and tells what an operator should know of: in the log, in metrics, on
//! the board that the admin listener shows. Counts what came and went since the last looks. What was learnt of the sources' pace is kept in the journal's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Shared;
use super::letters::Letters;
use super::live::Live;
use crate::admin::Health;
use crate::clock::Clock;
use crate::config::{Ack, Settings};
use crate::disk::{Disk, RealDisk, write_anew};
use crate::ingress;
use crate::ingress::tls::Tls;
use crate::metrics::NoticeMetrics;
use crate::notice::{Board, Change, Judge, Kept, Kind, Notice, Room, Situation, SourceNow};
use crate::source::Source;
use crate::tasks;

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(2);
/// From one writing down of what was learnt to the next.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// How long a stop waits for the last one.
const LAST: Duration = Duration::from_secs(1);
/// Where it is kept, within the journal's folder, and its longest length in bytes.
const FILE: &str = "pace.json";
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The watch, running.
pub(super) struct Watching {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Ends it, and waits a moment for what it writes down.
    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        if timeout(LAST, self.task).await.is_err() {
            tracing::warn!("what was learnt of the sources' pace was not written down in time");
        }
    }
}

/// What is looked at, and what is told.
pub(super) struct Watch {
    health: Arc<Health>,
    sources: ingress::Live,
    tls: Option<Arc<Tls>>,
    board: Arc<Board>,
    judge: Judge,
    metrics: NoticeMetrics,
    clock: Arc<dyn Clock>,
    secret_unused_after: Duration,
    letters: Option<Letters>,
    kept: Option<PathBuf>,
    /// Sources at the last look, and what is in the metrics of each kind and source.
    known: BTreeSet<Arc<str>>,
    shown: BTreeMap<(Kind, String), usize>,
}

impl Watch {
    /// With what an earlier process has learnt, where there is a journal's folder to keep it in. Blocks.
    pub(super) fn new(
        shared: &Shared,
        settings: &Settings,
        live: &Live,
        (health, board): (&Arc<Health>, &Arc<Board>),
        letters: Option<Letters>,
    ) -> Self {
        let kept = match settings.journal.ack {
            Ack::Journal => Some(settings.journal.dir.join(FILE)),
            Ack::Confirm => None,
        };
        let learnt = kept.as_deref().map_or_else(BTreeMap::new, |path| {
            read(path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"),
                    "what was learnt of the sources' pace cannot be read; it is learnt anew");
                BTreeMap::new()
            })
        });
        Self {
            health: Arc::clone(health),
            sources: Arc::clone(&live.table),
            tls: live.tls(),
            board: Arc::clone(board),
            judge: Judge::remembering(learnt),
            metrics: shared.metrics.notices(),
            clock: Arc::clone(&shared.clock),
            secret_unused_after: settings.notices.secret_unused_after.duration(),
            letters,
            kept,
            known: BTreeSet::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Begins; to be called within a Tokio runtime.
    pub(super) fn start(self) -> Watching {
        let (stop, stopping) = watch::channel(false);
        Watching { stop, task: tasks::task(self.run(stopping)) }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut kept_at = self.clock.monotonic();
        while timeout(PAUSE, stop.wait_for(|stop| *stop)).await.is_err() {
            let situation = self.situation();
            let metrics = &self.health.metrics;
            metrics.series().tick(metrics.account(), situation.now, situation.elapsed);
            let found = self.judge.look(&situation);
            let changes = self.board.update(found, situation.now, situation.elapsed);
            changes.iter().for_each(tell);
            if let Some(letters) = &self.letters {
                changes.iter().for_each(|change| letters.tell(change, situation.now));
            }
            self.show(&situation);
            if situation.elapsed.saturating_sub(kept_at) >= KEEP_EVERY {
                kept_at = situation.elapsed;
                self.keep().await;
            }
        }
        drop(self.judge.look(&self.situation()));
        self.keep().await;
    }

    fn situation(&self) -> Situation {
        let now = |source: &Arc<Source>| SourceNow {
            name: Arc::clone(&source.name),
            seen: source.metrics.seen(),
            secrets: source.verifier.secrets().collect(),
            silent_after: source.silent_after,
        };
        let stores = self.health.stores();
        Situation {
            now: self.clock.now(),
            elapsed: self.clock.monotonic(),
            sources: self.sources.load().sources().map(now).collect(),
            room: stores.map(|stores| Room {
                taken: stores.unconfirmed_bytes,
                all: stores.quota_bytes,
                is_full: stores.full,
            }),
            sink_trouble: self.health.hands_over().err(),
            redis_away: self.health.redis_away(),
            draining_since: self.health.drain.since(),
            certificate_ends: self.tls.as_ref().and_then(|tls| tls.ends()),
            secret_unused_after: self.secret_unused_after,
        }
    }

    fn show(&mut self, situation: &Situation) {
        let notices = self.board.notices();
        let mut counts = BTreeMap::new();
        for Notice { kind, subject, .. } in &notices {
            let source = subject.source.as_deref().unwrap_or_default().to_owned();
            *counts.entry((*kind, source)).or_insert(0) += 1;
        }
        let ended = self.shown.keys().filter(|key| !counts.contains_key(*key)).map(|key| (key.clone(), 0));
        let all: BTreeMap<_, _> = ended.chain(counts.clone()).collect();
        all.iter().for_each(|((kind, source), count)| self.metrics.set(kind.label(), source, *count));
        self.shown = counts;
        let sources: BTreeSet<_> = situation.sources.iter().map(|source| Arc::clone(&source.name)).collect();
        for source in &sources {
            let key = (Kind::SourceSilent, source.to_string());
            self.metrics.set_silent(source, self.shown.contains_key(&key));
        }
        self.known.difference(&sources).for_each(|gone| self.metrics.forget(gone));
        self.known = sources;
    }

    /// Writes down what was learnt, beside the tasks.
    async fn keep(&self) {
        let Some(path) = self.kept.clone() else { return };
        let kept = self.judge.keeps(self.clock.monotonic());
        let written = tasks::blocking(move || write(&path, &kept)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(
                error = format!("{error:#}"),
                "what was learnt of the sources' pace is not written down"
            );
        }
    }
}

fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Kept>> {
    match fs::metadata(path) {
        Ok(found) => ensure!(found.len() <= FILE_BYTES_MAX, "longer than {FILE_BYTES_MAX} bytes"),
        Err(_) => return Ok(BTreeMap::new()),
    }
    serde_json::from_slice(&fs::read(path)?).context("not what is written there")
}

fn write(path: &Path, kept: &BTreeMap<String, Kept>) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    write_anew(&RealDisk, &fresh, &serde_json::to_vec(kept)?)?;
    Ok(RealDisk.rename(&fresh, path)?)
}

fn tell(change: &Change) {
    let (Change::Began(notice) | Change::Ended(notice)) = change;
    let label = notice.kind.label();
    let Notice { kind, subject, text, .. } = notice;
    let source = subject.source.as_deref().unwrap_or_default();
    match change {
        Change::Began(_) => tracing::warn!(notice = label, source, advice = kind.advice(), "{text}"),
        Change::Ended(_) => tracing::info!(notice = label, source, "no longer: {text}"),
    }
}
