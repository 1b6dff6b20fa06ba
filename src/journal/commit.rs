//! The single writer: stages events and marks, makes them durable with one write and one sync, mints receipts.
//! After the first failed write or sync it never writes again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::{Batch, Staged, What};
use super::envelope;
use super::error::{IoContext, JournalError};
use super::helper::{Helper, Upkeep};
use super::ledger::{Ledger, Moved, Standing, State};
use super::reader::Reader;
use super::record::{self, Mark, Seal};
use super::room::Next;
use super::segment::{self, Pace, Position};
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::{Event, Sequence};
use crate::failpoint::{self, Point};

/// What the system reads and writes at once.
const PAGE: u64 = 4096;

/// What a journal may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its folder, its own.
    pub dir: PathBuf,
    /// Size of a segment, 64 KiB to 1 GiB; no record is longer than seven eighths of it.
    pub segment_bytes: u64,
    /// Size of all segments together, at least four of them; upkeep may pass it by up to three.
    pub bytes_max: u64,
    /// How long confirmed records are kept at most (and up to an eighth longer).
    pub retention: Duration,
    /// Who prepares and removes files.
    pub upkeep: Upkeep,
}

/// Proof that a record is on disk: covered by a successful sync, or found there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    sequence: Sequence,
}

impl Receipt {
    /// The event that is kept.
    pub fn sequence(self) -> Sequence {
        self.sequence
    }
}

/// An event that a commit made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub sequence: Sequence,
    /// Its source.
    pub source: Arc<str>,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// Where its record lies, for as long as it lives.
    pub position: Position,
    /// Bytes of the record.
    pub bytes: u64,
    /// True where it is not relayed until released.
    pub held: bool,
}

/// What one commit made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The events, in order of sequence.
    pub appended: Vec<Appended>,
    /// The marks that are durable with it.
    pub marks: usize,
    /// The watermarks that are durable with it; publish up to these and no further.
    pub raised: Vec<(Arc<str>, Sequence)>,
    /// Marks that found no space and stay staged; unlike events they never fail.
    pub deferred: usize,
    /// Bytes written.
    pub bytes: u64,
}

impl Commit {
    /// The receipt of an event of this commit.
    pub fn receipt(&self, sequence: Sequence) -> Option<Receipt> {
        let found = self.appended.binary_search_by_key(&sequence, |appended| appended.sequence);
        found.ok().map(|_| Receipt { sequence })
    }
}

/// How much the journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All segments on disk, the prepared one included.
    pub bytes: u64,
    /// Records whose life has not ended; by the average record within a segment.
    pub live_bytes: u64,
    /// How many those are.
    pub live_records: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Everything up to here is on disk.
    pub durable_through: Sequence,
    /// The number that the next event gets.
    pub next_sequence: Sequence,
}

/// The segment that is written.
pub(super) struct Current<F> {
    pub(super) number: u64,
    pub(super) file: Arc<F>,
    pub(super) seal: Seal,
    pub(super) end: u64,
    pub(super) capacity: u64,
}

/// The journal's single writer.
pub struct Journal<D: Disk> {
    // Before the lock: the helper's last work is done when the folder is given up.
    pub(super) helper: Helper<D>,
    pub(super) pace: Arc<Pace>,
    pub(super) disk: D,
    pub(super) settings: Settings,
    pub(super) id: [u8; 16],
    pub(super) replica_id: String,
    pub(super) ledger: Arc<Mutex<Ledger<D::File>>>,
    pub(super) current: Current<D::File>,
    pub(super) next: Next<D::File>,
    pub(super) batch: Batch,
    pub(super) watermarks: BTreeMap<Arc<str>, Sequence>,
    pub(super) next_sequence: u64,
    pub(super) last_commit: u64,
    pub(super) fault: Option<JournalError>,
    pub(super) compact_from: Position,
    pub(super) pinned: u64,
    pub(super) _lock: D::File,
}

impl<D: Disk> Journal<D> {
    /// The journal's own random id, 32 hexadecimal digits, made when its folder was first used.
    pub fn replica_id(&self) -> &str {
        &self.replica_id
    }

    /// A reader; there can be any number, in any thread.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.disk.clone(), self.settings.dir.clone(), self.id, Arc::clone(&self.ledger))
    }

    /// Bytes that `event` takes in the journal.
    pub fn record_bytes(event: &Event) -> u64 {
        record::size_of(envelope::size(event), event.body().len())
    }

    /// Stages an event, for which [`Self::room`] must have been open.
    pub fn append(&mut self, event: &Event) -> Sequence {
        let sequence = Sequence(self.next_sequence);
        self.next_sequence += 1;
        self.batch.append(sequence, self.last_commit + 1, event);
        sequence
    }

    /// Stages what became of a record. Marks of numbers that have not been given are ignored, and the commit
    /// drops those of records whose life has ended.
    pub fn mark(&mut self, sequence: Sequence, mark: Mark) {
        if sequence.0 < self.next_sequence {
            self.batch.marks.push((sequence, mark));
        }
        if mark == Mark::Replayed {
            // It may lie behind what has been copied forward of its segment.
            self.compact_from = Position::START;
        }
    }

    /// How a record stands as far as it is durable; none where the journal does not hold it, or no longer.
    pub fn standing(&self, sequence: Sequence) -> Option<Standing> {
        self.ledger().standing(sequence)
    }

    /// Whether `bytes` more may become live by replays: these leave a quarter of the quota to what comes in.
    pub fn replay_room(&self, bytes: u64) -> bool {
        let quota = self.settings.quota();
        self.ledger().live_bytes.saturating_add(bytes) <= quota - quota / 4
    }

    /// Stages the durable watermark up to which `source` may have been attempted; it never falls.
    pub fn raise(&mut self, source: &str, through: Sequence) {
        if self.watermarks.get(source).is_some_and(|durable| *durable >= through) {
            return;
        }
        match self.batch.raises.iter_mut().find(|(staged, _)| &**staged == source) {
            Some((_, staged)) => *staged = through.max(*staged),
            None => self.batch.raises.push((Arc::from(source), through)),
        }
    }

    /// Makes everything staged durable with one write and one sync.
    ///
    /// # Errors
    /// The first failure is final: it, and every later call, is an error, and nothing is written again.
    pub fn commit(&mut self) -> Result<Commit, JournalError> {
        self.guard()?;
        self.drop_late_marks();
        if self.batch.is_empty() {
            return Ok(Commit::default());
        }
        let result = self.write_batch();
        self.keep_fault(result)
    }

    /// The receipt of a record that is on disk, none while its commit is under way.
    pub fn receipt(&self, sequence: Sequence) -> Option<Receipt> {
        let durable = sequence > Sequence(0) && sequence <= self.ledger().durable_through;
        durable.then_some(Receipt { sequence })
    }

    /// The number that the next event gets.
    pub fn next_sequence(&self) -> Sequence {
        Sequence(self.next_sequence)
    }

    /// Everything up to here is on disk.
    pub fn durable_through(&self) -> Sequence {
        self.ledger().durable_through
    }

    /// How much there is.
    pub fn stats(&self) -> Stats {
        let ledger = self.ledger();
        Stats {
            bytes: ledger.bytes + self.next.bytes(),
            live_bytes: ledger.live_bytes,
            live_records: ledger.live_records,
            segments: ledger.segments.len(),
            durable_through: ledger.durable_through,
            next_sequence: Sequence(self.next_sequence),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<D::File>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the helper has done; an error if the journal is poisoned.
    pub(super) fn guard(&mut self) -> Result<(), JournalError> {
        self.poll(Duration::ZERO);
        self.fault.clone().map_or(Ok(()), Err)
    }

    pub(super) fn keep_fault<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(fault) = &result {
            self.fault = Some(fault.clone());
        }
        result
    }

    /// Drops the marks that change nothing, with one look at the ledger: of records whose life ended before this commit,
    /// and replays of those that are gone.
    fn drop_late_marks(&mut self) {
        if self.batch.marks.is_empty() {
            return;
        }
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = ledger.durable_through;
        let mut revived = BTreeSet::new();
        self.batch.marks.retain(|(sequence, mark)| {
            let revives = *mark == Mark::Replayed && ledger.ended(*sequence).is_some();
            if revives {
                revived.insert(*sequence);
            }
            revives || *sequence > durable || ledger.state(*sequence).is_some() || revived.contains(sequence)
        });
    }

    fn write_batch(&mut self) -> Result<Commit, JournalError> {
        if self.batch.len() > self.current.capacity - self.current.end && self.next.is_ready() {
            self.roll()?;
        }
        let free = self.current.capacity - self.current.end;
        let Some(marks) = self.batch.marks_within(free) else {
            if self.batch.staged.is_empty() {
                return Ok(Commit { deferred: self.batch.marks.len(), ..Commit::default() });
            }
            return Err(JournalError::Overfull { bytes: self.batch.len() });
        };
        if self.batch.staged.is_empty() && self.batch.raises.is_empty() && marks == 0 {
            return Ok(Commit { deferred: self.batch.marks.len(), ..Commit::default() });
        }
        let (at, commit) = (self.current.end, self.last_commit + 1);
        self.batch.close(marks, Sequence(self.next_sequence), commit, (self.current.seal, at));
        self.write_out(at)?;
        self.last_commit = commit;
        Ok(self.settle(at, marks))
    }

    fn write_out(&mut self, at: u64) -> Result<(), JournalError> {
        failpoint::reach(Point::JournalWriteBefore);
        let written = self.write_frames(at);
        failpoint::reach(Point::JournalSyncBefore);
        let synced = written
            .map_err(|error| (error, "write"))
            .and_then(|()| self.disk.sync(&self.current.file).map_err(|error| (error, "sync")));
        failpoint::reach(Point::JournalSyncAfter);
        let path = || segment::path(&self.settings.dir, self.current.number);
        synced.or_else(|(error, operation)| Err(error).context(operation, &path()))
    }

    /// Writes the batch, and zeroes to the end of its last page: they stand there already, and written again they spare
    /// the system to read that page.
    fn write_frames(&mut self, at: u64) -> io::Result<()> {
        let bytes = self.batch.frames.len();
        let end = at + bytes as u64;
        let padding = end.next_multiple_of(PAGE).min(self.current.capacity).saturating_sub(end);
        self.batch.frames.resize(bytes + padding as usize, 0);
        let written = self.disk.write_at(&self.current.file, &self.batch.frames, at);
        self.batch.frames.truncate(bytes);
        written
    }

    /// Takes into the ledger what the last write made durable.
    fn settle(&mut self, at: u64, marks: usize) -> Commit {
        let number = self.current.number;
        let mut commit = Commit { marks, bytes: self.batch.frames.len() as u64, ..Commit::default() };
        commit.appended.reserve(self.batch.staged.len());
        self.current.end = at + commit.bytes;
        self.pace.written(self.current.end, self.current.capacity);
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for Staged { sequence, at: offset, bytes, what } in self.batch.staged.drain(..) {
            let position = Position { segment: number, offset: at + offset };
            match what {
                What::Event { source, received_at, held } => {
                    ledger.append(sequence, bytes, received_at, held);
                    commit.appended.push(Appended { sequence, source, received_at, position, bytes, held });
                }
                What::Move { home, flags, when } => {
                    let replayed = flags & record::REPLAYED != 0;
                    let moved = Moved { home, at: position, bytes, replayed };
                    ledger.move_to(sequence, moved, State::of(flags), when);
                }
            }
        }
        for (sequence, mark) in self.batch.marks.drain(..marks) {
            ledger.mark(sequence, mark);
        }
        if let Some(segment) = ledger.segments.back_mut() {
            segment.end = self.current.end;
        }
        ledger.durable_through = Sequence(self.next_sequence - 1);
        drop(ledger);
        commit.deferred = self.batch.marks.len();
        commit.raised = std::mem::take(&mut self.batch.raises);
        for (source, through) in &commit.raised {
            self.watermarks.insert(Arc::clone(source), *through);
        }
        self.batch.frames.clear();
        commit
    }
}
