//! Opening a journal: reads every frame, rebuilds the ledger, cuts a torn tail, sets damage aside.
//! Never skips silently, never invents a record, never drops a whole one.
//!
//! Bytes that are no whole frame and have none behind them, at the end of the last segment that was written,
//! are a write that was never synced: they are cut off. Any others lie before synced data: they are copied to
//! `<segment>.<offset>.damaged`, reported, and covered by a gap frame, so that the next start finds a whole
//! segment. The last segment is first written once more and synced: where a sync failed, the system reads it from
//! its cache and never writes it, and neither a sender nor a key file may hear of that. A record whose mark is lost in a
//! damaged range is live again: at least once, never lost.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::batch::Batch;
use super::commit::{Current, Journal, Settings};
use super::envelope;
use super::error::{IoContext, JournalError};
use super::folder;
use super::helper::Helper;
use super::ledger::{Ledger, Moved, Segment, State};
use super::record::{self, Frame, Kind, MOVE, Seal, u64_at};
use super::room::Next;
use super::segment::{self, HEADER, Pace, Position};
use super::walk::Walk;
use crate::clock::Timestamp;
use crate::disk::{self, Disk};
use crate::event::{KeyEntry, Sequence};
use crate::failpoint::{self, Point};

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub records: u64,
    /// Bytes of them all.
    pub bytes: u64,
}

/// What is live of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// To be relayed.
    pub pending: Tally,
    /// Held back.
    pub held: Tally,
    /// Out of the relay.
    pub poisoned: Tally,
}

/// A range of a segment that was found damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    /// The segment.
    pub file: PathBuf,
    /// Where the range begins.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What that means.
    pub what: &'static str,
    /// The copy of the range.
    pub aside: PathBuf,
}

/// What opening the journal found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The number that the next event gets.
    pub next_sequence: Sequence,
    /// The latest time of reception in the journal.
    pub newest_received_at: Option<Timestamp>,
    /// Live records by source.
    pub live: BTreeMap<Arc<str>, LiveCounts>,
    /// Durable watermarks by source.
    pub watermarks: HashMap<Arc<str>, Sequence>,
    /// Where the scan for live records may start.
    pub first_live: Position,
    /// Bytes of an unsynced write that were cut off.
    pub truncated_bytes: u64,
    /// What was set aside.
    pub damaged: Vec<DamageReport>,
}

impl Recovery {
    /// The number of the last event that was ever given one.
    pub fn last_sequence(&self) -> Sequence {
        Sequence(self.next_sequence.0.saturating_sub(1))
    }
}

impl<D: Disk> Journal<D> {
    /// Opens the journal of a folder, or begins one. `keys` gets every event that is still in it, in order.
    ///
    /// # Errors
    /// Where another process has it, a file belongs elsewhere or has another format, or the file system fails.
    pub fn open(
        disk: D,
        settings: Settings,
        now: Timestamp,
        keys: &mut dyn FnMut(KeyEntry),
    ) -> Result<(Self, Recovery), JournalError> {
        settings.check()?;
        let dir = settings.dir.clone();
        disk.create_dir(&dir).context("create", &dir)?;
        let lock = folder::lock(&disk, &dir)?;
        let numbers = segment::numbers(&disk, &dir)?;
        let Rebuilt { id, mut ledger, recovery, next, commit } = rebuild(&disk, &settings, &numbers, keys)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let (file, capacity) = first_segment(&disk, &settings, number)?;
        ledger.durable_through = Sequence(next - 1);
        let pace = Arc::<Pace>::default();
        let mut journal = Self {
            helper: Helper::start(disk.clone(), dir.clone(), settings.upkeep, Arc::clone(&pace))
                .context("start a thread for", &dir)?,
            pace,
            disk,
            id,
            replica_id: hex::encode(id),
            ledger: Arc::new(Mutex::new(ledger)),
            current: Current {
                number,
                file: Arc::new(file),
                seal: Seal::of(&id, number),
                end: HEADER,
                capacity,
            },
            next: Next::Missing,
            batch: Batch::default(),
            watermarks: recovery.watermarks.iter().map(|(s, t)| (Arc::clone(s), *t)).collect(),
            next_sequence: next,
            last_commit: commit,
            fault: None,
            compact_from: Position::START,
            pinned: 0,
            settings,
            _lock: lock,
        };
        journal.open_current()?;
        failpoint::reach(Point::JournalRecoverOpened);
        journal.disk.sync(&journal.current.file).context("sync", &segment::path(&dir, number))?;
        journal.last_commit += 1;
        journal.prepare_next();
        journal.guard()?;
        failpoint::reach(Point::JournalRecoverAfter);
        let first_live = journal.ledger().first_live();
        let recovery = Recovery { next_sequence: Sequence(journal.next_sequence), first_live, ..recovery };
        tracing::debug!(opened_at = %now, segments = numbers.len(), "journal opened");
        Ok((journal, recovery))
    }
}

/// What the segments of a folder hold, once what was torn or damaged in them is put right.
pub(super) struct Rebuilt<D: Disk> {
    id: [u8; 16],
    pub(super) ledger: Ledger<D::File>,
    pub(super) recovery: Recovery,
    pub(super) next: u64,
    commit: u64,
}

/// Reads the segments of these numbers, oldest first, and repairs them.
pub(super) fn rebuild<D: Disk>(
    disk: &D,
    settings: &Settings,
    numbers: &[u64],
    keys: &mut dyn FnMut(KeyEntry),
) -> Result<Rebuilt<D>, JournalError> {
    let id = folder::identity(disk, &settings.dir, numbers)?;
    let mut scan = Rebuild::new(disk, settings, id, keys);
    scan.segments(numbers)?;
    let Rebuild { ledger, found: recovery, next, commit, .. } = scan;
    Ok(Rebuilt { id, ledger, recovery, next, commit })
}

/// The first segment of this run; a smaller one where the disk has no space for a whole one.
fn first_segment<D: Disk>(
    disk: &D,
    settings: &Settings,
    number: u64,
) -> Result<(D::File, u64), JournalError> {
    let mut bytes = settings.segment_bytes;
    loop {
        match segment::prepare(disk, &settings.dir, number, bytes, &Pace::alone()) {
            Err(error) if disk::is_full(&error) && bytes / 4 >= 16 << 10 => bytes = (bytes / 4) & !7,
            made => return Ok((made.context("prepare", &segment::path(&settings.dir, number))?, bytes)),
        }
    }
}

/// The state that grows as segments are read, oldest first.
pub(super) struct Rebuild<'a, D: Disk> {
    pub(super) disk: &'a D,
    pub(super) settings: &'a Settings,
    pub(super) id: [u8; 16],
    keys: &'a mut dyn FnMut(KeyEntry),
    pub(super) ledger: Ledger<D::File>,
    pub(super) found: Recovery,
    pub(super) next: u64,
    pub(super) commit: u64,
    /// As many numbers at most were in ends of segments that cannot be read. If nothing behind them tells how many, they
    /// are left out: none is used again.
    pub(super) unread: u64,
    names: Vec<Arc<str>>,
    /// Source and size of each event from `first` on, for the counts by source; dropped after the start.
    sizes: BTreeMap<u64, Vec<(u32, u32)>>,
    moved_sizes: BTreeMap<Sequence, (u32, u32)>,
}

impl<'a, D: Disk> Rebuild<'a, D> {
    fn new(disk: &'a D, settings: &'a Settings, id: [u8; 16], keys: &'a mut dyn FnMut(KeyEntry)) -> Self {
        Self {
            disk,
            settings,
            id,
            keys,
            ledger: Ledger::new(),
            found: Recovery::default(),
            next: 1,
            commit: 0,
            unread: 0,
            names: Vec::new(),
            sizes: BTreeMap::new(),
            moved_sizes: BTreeMap::new(),
        }
    }

    fn segments(&mut self, numbers: &[u64]) -> Result<(), JournalError> {
        let mut written = numbers.to_vec();
        while let Some(last) = written.last().copied()
            && self.is_unused(last)?
        {
            self.remove(last)?;
            written.pop();
        }
        for number in &written {
            self.segment(*number, Some(number) == written.last())?;
        }
        self.next += self.unread;
        self.count_live();
        Ok(())
    }

    /// True for a segment that was prepared and never written.
    fn is_unused(&self, number: u64) -> Result<bool, JournalError> {
        let path = self.path(number);
        let file = self.disk.open(&path).context("open", &path)?;
        let len = self.disk.len(&file).context("measure", &path)?;
        let mut walk = Walk::new(self.disk, &file, Seal::of(&self.id, number), len);
        walk.is_blank().context("read", &path)
    }

    pub(super) fn remove(&self, number: u64) -> Result<(), JournalError> {
        let path = self.path(number);
        self.disk.remove(&path).context("remove", &path)?;
        failpoint::reach(Point::JournalRecoverUnused);
        self.disk.sync_dir(&self.settings.dir).context("sync", &self.settings.dir)
    }

    fn segment(&mut self, number: u64, last: bool) -> Result<(), JournalError> {
        let path = self.path(number);
        let header = folder::header(self.disk, &self.settings.dir, number)?;
        let file = Arc::new(self.disk.open(&path).context("open", &path)?);
        let len = self.disk.len(&file).context("measure", &path)?;
        if let Some(header) = header.filter(|header| header.journal != self.id || header.number != number) {
            return Err(JournalError::Foreign {
                path,
                found: format!("segment {} of journal {}", header.number, hex::encode(header.journal)),
                expected: format!("segment {number} of journal {}", hex::encode(self.id)),
            });
        }
        let disk = self.disk;
        let seal = Seal::of(&self.id, number);
        let mut walk = Walk::new(disk, &file, seal, len);
        if last {
            // Before its keys are handed out: key files must not outlive their events.
            let written = walk.written(0).context("read", &path)?;
            segment::write_again(disk, &file, 0..written.min(len)).context("write", &path)?;
        }
        if let Some(header) = header {
            self.report_missing(&header)?;
            self.next = self.next.max(header.base.0);
            self.commit = self.commit.max(header.commit);
            self.unread = 0;
        } else if !self.restore_header(&mut walk, (number, last), &file)? {
            return Ok(());
        }
        self.ledger.open_segment(Segment::new(number, Arc::clone(&file), Sequence(self.next), len));
        self.sizes.insert(number, Vec::new());
        let mut at = HEADER;
        loop {
            let place = Position { segment: number, offset: at };
            if let Some(frame) = walk.whole(at).context("read", &path)?
                && self.apply(&mut walk, place, frame).context("read", &path)?
            {
                at += frame.size();
                continue;
            }
            let Some(end) = walk.resync(at + record::ALIGN, self.commit).context("read", &path)? else {
                break;
            };
            self.set_aside(&mut walk, place, end, DAMAGE)?;
            failpoint::reach(Point::JournalRecoverAside);
            let frame = seal.gap(at, (end - at) as u32, Sequence(self.next), self.commit);
            disk.write_at(&file, &frame, at).context("write", &path)?;
            failpoint::reach(Point::JournalRecoverGap);
            disk.sync(&file).context("sync", &path)?;
            at = end;
        }
        self.cut(&mut walk, (Position { segment: number, offset: at }, len), last, &file)
    }

    /// Takes a whole frame in; false where its head cannot be understood.
    fn apply(&mut self, walk: &mut Walk<'_, D>, at: Position, frame: Frame) -> std::io::Result<bool> {
        let head = walk.head(at.offset, &frame)?;
        let understood = match frame.kind {
            Kind::Gap => true,
            Kind::Marks => match record::marks(head) {
                Some(marks) => {
                    for (sequence, mark) in marks {
                        self.ledger.mark(sequence, mark);
                    }
                    true
                }
                None => false,
            },
            Kind::Watermarks => match record::watermarks(head) {
                Some(lines) => {
                    for (source, through) in lines {
                        let known = self.found.watermarks.entry(source).or_default();
                        *known = through.max(*known);
                    }
                    true
                }
                None => false,
            },
            Kind::Event => self.event(head, frame),
            Kind::Moved => self.moved(head, at, frame).is_some(),
        };
        if understood {
            let given = matches!(frame.kind, Kind::Event | Kind::Moved);
            self.next = self.next.max(frame.sequence.0 + u64::from(given));
            self.commit = self.commit.max(frame.commit);
        }
        Ok(understood)
    }

    fn event(&mut self, head: &[u8], frame: Frame) -> bool {
        let Some(outline) = envelope::outline(head) else { return false };
        let sequence = frame.sequence;
        let expected = self.ledger.segments.back().map_or(0, |segment| segment.base + segment.count);
        if sequence.0 < expected || sequence.0 - expected > self.settings.segment_bytes {
            return false;
        }
        let source = self.name(outline.source);
        (self.keys)(KeyEntry { keys: outline.keys, sequence, received_at: outline.received_at });
        self.ledger.append(
            sequence,
            frame.size(),
            outline.received_at,
            State::of(frame.flags) == State::Held,
        );
        if let Some(mut sizes) = self.sizes.last_entry() {
            let lost = (sequence.0 - expected) as usize;
            let sizes = sizes.get_mut();
            sizes.resize(sizes.len() + lost, (0, 0));
            sizes.push((source, frame.size() as u32));
        }
        self.found.newest_received_at = self.found.newest_received_at.max(Some(outline.received_at));
        true
    }

    fn moved(&mut self, head: &[u8], at: Position, frame: Frame) -> Option<()> {
        let outline = envelope::outline(head.get(MOVE..)?)?;
        let home = Position { segment: u64_at(head, 0)?, offset: u64_at(head, 8)? };
        if home >= at || home.offset > u64::from(u32::MAX) {
            return None;
        }
        let when = Timestamp::from_millis(u64_at(head, 16)?.cast_signed());
        let sequence = frame.sequence;
        let source = self.name(outline.source);
        let known = self.ledger.moved(sequence).is_some() || self.ledger.index(home.segment).is_some();
        if !known {
            (self.keys)(KeyEntry { keys: outline.keys, sequence, received_at: outline.received_at });
        }
        let replayed = frame.flags & record::REPLAYED != 0;
        let moved = Moved { home, at, bytes: frame.size(), replayed };
        self.ledger.move_to(sequence, moved, State::of(frame.flags), when);
        self.moved_sizes.insert(sequence, (source, frame.size() as u32));
        self.found.newest_received_at = self.found.newest_received_at.max(Some(outline.received_at));
        Some(())
    }

    fn count_live(&mut self) {
        for (number, sizes) in &self.sizes {
            let Some(index) = self.ledger.index(*number) else { continue };
            let base = self.ledger.segments[index].base;
            for (sequence, size) in (base..).map(Sequence).zip(sizes) {
                if self.ledger.at_home(sequence) && self.ledger.moved(sequence).is_none() {
                    tally(&mut self.found, &self.names, *size, self.ledger.state(sequence));
                }
            }
        }
        for (sequence, size) in &self.moved_sizes {
            if self.ledger.moved(*sequence).is_some() {
                tally(&mut self.found, &self.names, *size, self.ledger.state(*sequence));
            }
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        let known = self.names.iter().position(|known| &**known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(Arc::from(name));
            self.names.len() - 1
        });
        index as u32
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        segment::path(&self.settings.dir, number)
    }
}

const DAMAGE: &str =
    "records or marks; if the machine lost power, they may be a commit that nobody was told of";

fn tally(found: &mut Recovery, names: &[Arc<str>], size: (u32, u32), state: Option<State>) {
    let Some(source) = names.get(size.0 as usize) else { return };
    let counts = found.live.entry(Arc::clone(source)).or_default();
    let tally = match state {
        Some(State::Pending) => &mut counts.pending,
        Some(State::Held) => &mut counts.held,
        Some(State::Poisoned) => &mut counts.poisoned,
        None => return,
    };
    tally.records += 1;
    tally.bytes += u64::from(size.1);
}
