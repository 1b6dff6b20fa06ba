//! The journal and the index of a gateway: opened, recovered, and handed to the acceptance thread, once in its life.
//!
//! What a reload swaps is none of this.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Shared;
use crate::accept::{Core, Fault};
use crate::config::Loaded;
use crate::dedup::{self, Index};
use crate::disk::{ReadOnly, RealDisk};
use crate::journal::{self, Journal, Recovery};
use crate::metrics::LaneStats;
use crate::tasks;

/// Folder of the dedup index, within the journal's.
pub(in crate::cli) const KEYS: &str = "keys";

/// Journal and index, recovered.
pub(super) struct Stores {
    pub(super) journal: Journal<RealDisk>,
    index: Index<RealDisk>,
}

impl Stores {
    /// Opens and recovers both.
    pub(super) fn open(loaded: &Loaded, shared: &Shared) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        let now = shared.clock.now();
        journal::check_format(&ReadOnly::default(), &settings.journal.dir)?;
        let keys = dedup::Settings::new(settings.journal.dir.join(KEYS), settings.dedup.window.duration());
        let mut index = Index::open(RealDisk, keys, now)?;
        for damage in index.damage() {
            tracing::error!(path = %damage.path.display(), reason = damage.reason,
                "a dedup key file was damaged and is set aside; its keys come back from the journal");
        }
        let journal_settings = journal::Settings {
            dir: settings.journal.dir.clone(),
            segment_bytes: settings.journal.segment_bytes.bytes(),
            bytes_max: settings.journal.bytes_max.bytes(),
            retention: settings.journal.retention.duration(),
            upkeep: journal::Upkeep::Thread,
        };
        let mut refilled = Ok(());
        let opened = Journal::open(RealDisk, journal_settings, now, &mut |entry| {
            if refilled.is_ok() {
                refilled = index.refill(entry);
            }
        });
        let (mut journal, mut recovery) = opened?;
        refilled?;
        if journal::is_restored(&settings.journal.dir) {
            take_over(&mut journal, &mut recovery, &settings.journal.dir)?;
        }
        let (known, next) = (index.durable_through(), recovery.next_sequence);
        anyhow::ensure!(
            known < next,
            "journal.dir = {:?} lacks segments: its dedup keys reach event {known}, and the journal would go on with \
             {next}; put the segments back, or move the folder {KEYS:?} away to forget what was seen",
            settings.journal.dir
        );
        for damage in &recovery.damaged {
            tracing::error!(
                ?damage,
                "the journal was damaged; the bytes are set aside and what is left is served"
            );
        }
        if recovery.truncated_bytes > 0 {
            tracing::warn!(
                bytes = recovery.truncated_bytes,
                "cut a torn tail that no sender was answered for"
            );
        }
        shared.acceptor.recovered(recovery.newest_received_at);
        recover_lanes(shared, &recovery);
        Ok(Self { journal, index })
    }

    /// Starts the acceptance thread.
    pub(super) fn start(self, shared: &Shared) -> anyhow::Result<oneshot::Receiver<Option<Fault>>> {
        let (done, ended) = oneshot::channel();
        let Shared { clock, metrics, lanes, acceptor, .. } = shared.clone();
        let mut core = Core::new(self.journal, self.index, lanes).telling(shared.steps.clone());
        acceptor.show(&mut core);
        let commit = metrics.commit();
        let thread: JoinHandle<()> = tasks::thread("accept", move || {
            let fault = acceptor.run(core, &*clock, &commit).err();
            drop(done.send(fault));
        })?;
        drop(thread);
        Ok(ended)
    }
}

/// In a copy, whatever lives may have been published by the gateway that was copied: that is made durable, and then the
/// copy is a journal as others are.
fn take_over(journal: &mut Journal<RealDisk>, recovery: &mut Recovery, dir: &Path) -> anyhow::Result<()> {
    let last = recovery.last_sequence();
    for source in recovery.live.keys() {
        journal.raise(source, last);
        recovery.watermarks.insert(Arc::clone(source), last);
    }
    journal.commit()?;
    journal::note_taken_in(dir)?;
    let events: u64 = recovery
        .live
        .values()
        .map(|live| live.pending.records + live.held.records + live.poisoned.records)
        .sum();
    tracing::warn!(events, "this folder is a copy: what lives in it goes out marked as possible duplicates");
    Ok(())
}

fn recover_lanes(shared: &Shared, recovery: &journal::Recovery) {
    for (source, live) in &recovery.live {
        let stats = LaneStats {
            pending: live.pending.records,
            held: live.held.records,
            poisoned: live.poisoned.records,
            ..Default::default()
        };
        shared.lanes.recover(source, stats, recovery.first_live);
    }
    for (source, through) in &recovery.watermarks {
        shared.lanes.recover_watermark(source, *through, recovery.last_sequence());
    }
}
