//! The one thread that fills the file: reads behind the journal's durable end, takes what has been told, writes both in
//! one transaction, and then rests for as long as that took. It has the lowest priority that there is: nothing waits for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::pending::Pending;
use super::store::{self, Batch, Keep, NewEvent, OpenError, Store};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::journal::{Found, JournalError, Position, Reader, Within};
use crate::operate::Status;
use crate::steps::{Cause, Quarantined, Refusal, Steps, Told};

/// Events written at once, and bytes of the journal read for them.
const EVENTS_MAX: usize = 512;
const BYTES_MAX: u64 = 16 << 20;
/// How long it waits for more when there is none.
const PAUSE: Duration = Duration::from_millis(250);
/// And after the file could not be written.
const FAULT_PAUSE: Duration = Duration::from_secs(5);
/// From one look for what is to be let go to the next, where there was nothing.
const UPKEEP: Duration = Duration::from_secs(30);
/// Refusals that wait to be written, at most.
const REFUSALS_MAX: usize = 4_096;
/// The lowest priority of a thread.
const NICE: i32 = 19;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long after it came in.
    pub retention: Duration,
    /// The same of a request in quarantine.
    pub quarantine: Duration,
    /// Bytes of the file, nearly.
    pub bytes_max: u64,
}

/// What of bodies can be searched for; asked at each event, since a reload may change it.
pub trait Texts: Send + Sync {
    /// On what terms bodies of each source are read; sources of which none is are left out.
    fn terms(&self) -> BTreeMap<String, String>;
    /// What of a body of that source can be searched for.
    fn text(&self, source: &str, body: &[u8]) -> Option<String>;
}

/// What it works with.
pub struct FillerParts<D: Disk> {
    /// The file.
    pub path: PathBuf,
    /// How much of it is kept.
    pub terms: Terms,
    /// Where the events are.
    pub reader: Reader<D>,
    /// Where it is told of what becomes of them.
    pub steps: Steps,
    /// What of bodies can be searched for.
    pub texts: Arc<dyn Texts>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// How far the file is filled; read by whoever searches in it.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// All events up to that one.
    pub(super) through: AtomicU64,
    /// Raised whenever the file is made anew: whoever has it open holds one that is gone.
    pub(super) file: AtomicU64,
    /// Bytes of it.
    pub(super) bytes: AtomicU64,
    /// Set by a search that finds it damaged.
    pub(super) damaged: AtomicBool,
}

/// Fills the file.
pub struct Filler<D: Disk> {
    parts: FillerParts<D>,
    filled: Arc<Filled>,
    store: Option<Store>,
    /// Where the journal is read on.
    at: Option<Position>,
    pending: Pending,
    refusals: Vec<Refusal>,
    causes: Vec<Cause>,
    quarantined: Vec<Quarantined>,
    /// On what terms bodies are read, and those that the file was made to agree with.
    terms: BTreeMap<String, String>,
    agreed: Option<BTreeMap<String, String>>,
    /// From here on events are asked how they stand; none where all that are told of is known.
    asking: Option<Sequence>,
    upkeep_at: Duration,
    failing: bool,
}

/// What one round came to.
enum Round {
    /// There may be more at once.
    More,
    /// There is nothing more for now.
    Done,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the file: {0}")]
    File(#[from] rusqlite::Error),
    #[error("the file: {0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    Journal(#[from] JournalError),
}

impl<D: Disk> Filler<D> {
    pub(super) fn new(parts: FillerParts<D>, filled: Arc<Filled>) -> Self {
        Self {
            parts,
            filled,
            store: None,
            at: None,
            pending: Pending::default(),
            refusals: Vec::new(),
            causes: Vec::new(),
            quarantined: Vec::new(),
            terms: BTreeMap::new(),
            agreed: None,
            asking: Some(Sequence(0)),
            upkeep_at: Duration::ZERO,
            failing: false,
        }
    }

    /// Opens the file, so that whoever searches finds one; where that fails, it is tried again by [`Filler::run`].
    pub fn begin(&mut self) {
        match self.open() {
            Ok(store) => self.store = Some(store),
            Err(fault) => drop(self.failed(&fault)),
        }
    }

    /// Runs until the other end of `stop` is dropped, and once more then.
    pub fn run(mut self, stop: &Receiver<()>) {
        // A system that refuses leaves it as it is.
        rustix::process::setpriority_process(None, NICE).ok();
        loop {
            let began = self.parts.clock.monotonic();
            let pause = match self.round() {
                Ok(round) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the history is written again");
                    }
                    let took = self.parts.clock.monotonic().saturating_sub(began);
                    if matches!(round, Round::More) { took } else { took.max(PAUSE) }
                }
                Err(fault) => self.failed(&fault),
            };
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
        if let Err(fault) = self.round() {
            self.failed(&fault);
        }
    }

    fn failed(&mut self, fault: &Fault) -> Duration {
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.parts.path.display();
            tracing::warn!(%path, error = %fault,
                "the history is not written; events are accepted and handed over all the same, and it is tried again");
        }
        let damaged = matches!(fault, Fault::File(error) if store::is_damage(error));
        if let Some(store) = self.store.take_if(|_| damaged) {
            store.put_aside();
            self.filled.file.fetch_add(1, Ordering::AcqRel);
        }
        FAULT_PAUSE
    }

    fn round(&mut self) -> Result<Round, Fault> {
        if self.filled.damaged.swap(false, Ordering::AcqRel)
            && let Some(store) = self.store.take()
        {
            tracing::warn!(path = %self.parts.path.display(), "a search found the history damaged; it is made anew from the journal");
            store.put_aside();
            self.filled.file.fetch_add(1, Ordering::AcqRel);
        }
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.open()?,
        };
        let round = self.fill(&mut store);
        self.store = Some(store);
        round
    }

    fn open(&mut self) -> Result<Store, Fault> {
        let FillerParts { path, reader, .. } = &self.parts;
        let (mut store, anew) = Store::open(path, reader.journal_id())?;
        // The journal has been cut, or is a copy of an older day: its numbers are given once more.
        if store.through()? > reader.durable_through() {
            tracing::warn!(path = %path.display(), "the history knows events that the journal does not; it is made anew");
            store.put_aside();
            store = Store::open(path, reader.journal_id())?.0;
            self.filled.file.fetch_add(1, Ordering::AcqRel);
        } else if anew {
            self.filled.file.fetch_add(1, Ordering::AcqRel);
        }
        self.filled.through.store(store.through()?.0, Ordering::Release);
        (self.at, self.asking, self.agreed) = (None, Some(Sequence(0)), None);
        Ok(store)
    }

    fn fill(&mut self, store: &mut Store) -> Result<Round, Fault> {
        let terms = self.parts.texts.terms();
        if self.agreed.as_ref() != Some(&terms) {
            // Words come in on these terms once none of others are left.
            self.terms = BTreeMap::new();
            if store.agree(&terms)? {
                return Ok(Round::More);
            }
            (self.terms, self.agreed) = (terms.clone(), Some(terms));
        }
        self.fetch();
        let more = self.write(store)?;
        let asked = self.ask(store)?;
        let upkept = self.upkeep(store)?;
        Ok(if more || asked || upkept { Round::More } else { Round::Done })
    }

    fn fetch(&mut self) {
        let told = self.parts.steps.fetch();
        let Told {
            steps, steps_lost, refusals, refusals_lost, causes, quarantined, quarantined_lost, ..
        } = told;
        self.pending.add(steps);
        if steps_lost > 0 {
            self.asking = Some(Sequence(0));
        }
        let room = REFUSALS_MAX.saturating_sub(self.refusals.len());
        let mut lost = refusals_lost + refusals.len().saturating_sub(room) as u64;
        for mut refusal in refusals.into_iter().take(room) {
            refusal.left_out += std::mem::take(&mut lost);
            self.refusals.push(refusal);
        }
        // While the file cannot be written, what comes is not piled up on what waits.
        let lost = quarantined_lost + if self.quarantined.is_empty() { 0 } else { quarantined.len() as u64 };
        if self.quarantined.is_empty() {
            self.quarantined = quarantined;
        }
        if lost > 0 {
            tracing::warn!(
                lost,
                "refused requests are not kept in quarantine: more came than can be written"
            );
        }
        self.causes.extend(causes.into_iter().take(REFUSALS_MAX.saturating_sub(self.causes.len())));
    }

    /// Writes what has come in since, and what has been told; true where there is more in the journal.
    fn write(&mut self, store: &mut Store) -> Result<bool, Fault> {
        let before = store.through()?;
        // Where the journal cannot be read, what has been told is written all the same.
        let (read, unread) = match self.read(before) {
            Ok(read) => (read, None),
            Err(fault) => ((Vec::new(), self.at, before), Some(fault)),
        };
        let (found, next, through) = read;
        let mut told = self.pending.take_through(through);
        let again = told.clone();
        let mut events = Vec::with_capacity(found.len());
        for one in &found {
            // What is damaged has no row.
            let Some(digest) = one.digest else { continue };
            events.push(NewEvent {
                sequence: one.sequence,
                envelope: &one.envelope,
                digest,
                body_bytes: one.body_bytes,
                text: self.text(one),
                status: Status::of(one.standing, || false),
                progress: told.remove(&one.sequence).unwrap_or_default(),
            });
        }
        let (refusals, causes, quarantined) = (&self.refusals, &self.causes, &self.quarantined);
        let batch = Batch { events, through, progress: told, refusals, causes, quarantined };
        let idle = through == before
            && batch.progress.is_empty()
            && refusals.is_empty()
            && causes.is_empty()
            && quarantined.is_empty();
        if let Err(error) = if idle { Ok(()) } else { store.write(&batch) } {
            self.pending.put_back(again);
            return Err(error.into());
        }
        self.refusals.clear();
        self.causes.clear();
        self.quarantined.clear();
        self.at = next;
        self.filled.through.store(through.0, Ordering::Release);
        unread.map_or_else(|| Ok(through < self.parts.reader.durable_through()), Err)
    }

    /// The journal's next events, where it goes on behind them, and up to which event all are among them or gone.
    fn read(&self, before: Sequence) -> Result<(Vec<Found>, Option<Position>, Sequence), Fault> {
        let reader = &self.parts.reader;
        let first = Sequence(before.0 + 1);
        let at = self.at.unwrap_or_else(|| reader.start_of(first));
        let end = reader.durable_through();
        if end < first {
            return Ok((Vec::new(), Some(at), before));
        }
        let within = Within { first, last: end, digests: true, ..Within::default() };
        let survey = reader.survey(at, &within, (EVENTS_MAX, BYTES_MAX), &mut |_| true)?;
        let through = match survey.found.last() {
            _ if survey.at_end => end,
            Some(last) => last.sequence,
            None => before,
        };
        Ok((survey.found, Some(survey.next), through))
    }

    /// What of an event's body can be searched for; nothing where the journal has let it go since.
    fn text(&self, found: &Found) -> Option<String> {
        let (source, texts) = (&*found.envelope.source, &self.parts.texts);
        if !self.terms.contains_key(source) {
            return None;
        }
        let event = self.parts.reader.read(found.sequence, found.position).ok()??;
        texts.text(source, event.body())
    }

    /// Asks the journal how some events stand that had not ended; true where there are more of them.
    fn ask(&mut self, store: &mut Store) -> Result<bool, Fault> {
        let Some(after) = self.asking else { return Ok(false) };
        let unended = store.unended(after, EVENTS_MAX)?;
        let Some(last) = unended.last().copied() else {
            self.asking = None;
            return Ok(false);
        };
        let standing = |sequence: &Sequence| {
            let standing = self.parts.reader.standing(*sequence);
            (*sequence, standing.map(|standing| Status::of(standing, || false)))
        };
        store.stand(&unended.iter().map(standing).collect::<Vec<_>>())?;
        self.asking = Some(last);
        Ok(true)
    }

    /// Lets the oldest go, now and then; true where there is more of it.
    fn upkeep(&mut self, store: &mut Store) -> Result<bool, Fault> {
        let now = self.parts.clock.monotonic();
        if now < self.upkeep_at {
            return Ok(false);
        }
        let Terms { retention, quarantine, bytes_max } = self.parts.terms;
        let now_wall = self.parts.clock.now();
        let (since, quarantined_since) = (now_wall.minus(retention), now_wall.minus(quarantine));
        let more = store.prune(Keep { since, quarantined_since, bytes_max })?;
        self.filled.bytes.store(store.bytes()?, Ordering::Relaxed);
        if !more {
            self.upkeep_at = now + UPKEEP;
        }
        Ok(more)
    }
}
