//! The thread that fills the history: begun after the journal is open, ended after the last mark.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use crate::admin;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::disk::RealDisk;
use crate::history::{FillerParts, History, Terms, Texts};
use crate::journal::Reader;
use crate::steps::Steps;
use crate::tasks;

/// What is added to the name of the journal's folder, beside which it lies: the folder holds what no event may be lost from, and
/// no more than `journal.bytes_max`.
const ADDED: &str = ".history.sqlite";
/// Bytes of a body that can be searched for.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How long a stop waits for what it writes last.
const LAST: Duration = Duration::from_secs(1);

/// The thread, running.
pub(super) struct Filling {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Steps that are kept where there is a history.
pub(super) fn steps(loaded: &Loaded, clock: &Arc<dyn Clock>) -> Steps {
    if loaded.settings.history.enabled { Steps::kept(Arc::clone(clock)) } else { Steps::default() }
}

impl Shared {
    /// The history, where one is kept, and what fills it.
    ///
    /// # Errors
    /// Where the system refuses another thread.
    pub(super) fn history(
        &self,
        loaded: &Loaded,
        reader: Reader<RealDisk>,
        sources: &admin::Live,
    ) -> anyhow::Result<Option<(History, Filling)>> {
        let (settings, journal) = (&loaded.settings.history, &loaded.settings.journal);
        if !settings.enabled {
            return Ok(None);
        }
        let (retention, window) = (settings.retention.duration(), loaded.settings.dedup.window.duration());
        let quarantine = retention.min(window);
        let terms = Terms { retention, quarantine, bytes_max: settings.bytes_max.bytes() };
        let (history, mut filler) = History::new(FillerParts {
            path: settings.file.clone().unwrap_or_else(|| beside(&journal.dir)),
            terms,
            reader,
            steps: self.steps.clone(),
            texts: Arc::new(OfSources(Arc::clone(sources))),
            clock: Arc::clone(&self.clock),
        });
        filler.begin();
        let (stop, stopping) = channel();
        let thread = tasks::thread("history", move || filler.run(&stopping))?;
        Ok(Some((history, Filling { stop, thread })))
    }
}

/// What the sources in force let be searched for.
struct OfSources(admin::Live);

impl Texts for OfSources {
    fn terms(&self) -> BTreeMap<String, String> {
        let known = self.0.load();
        let wanted = known.sources.iter().filter(|(_, source)| source.capture_bodies);
        wanted.map(|(name, source)| (name.clone(), source.mask.to_string())).collect()
    }

    fn text(&self, source: &str, body: &[u8]) -> Option<String> {
        let shown = self.0.load().sources.get(source)?.mask.applied(body)?;
        let text = std::str::from_utf8(&shown).ok()?;
        // A character that is cut is no word.
        Some(String::from_utf8_lossy(text.as_bytes().get(..TEXT_BYTES_MAX).unwrap_or(&shown)).into_owned())
    }
}

fn beside(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(ADDED);
    folder.with_file_name(name)
}

impl Filling {
    /// Ends it, and waits a moment for what it writes last.
    pub(super) async fn end(self) {
        let Self { stop, thread } = self;
        drop(stop);
        if tokio::time::timeout(LAST, tasks::blocking(move || thread.join())).await.is_err() {
            tracing::warn!(
                "the history was not written to its end in time; it is made up for at the next start"
            );
        }
    }
}
