//! Reads records by position and scans for live ones, beside the writer. Never writes.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::envelope;
use super::error::{IoContext, JournalError};
use super::ledger::{Ledger, Moved, Standing, State};
use super::record::{FRAME, Frame, Kind, MOVE, Seal};
use super::segment::{self, HEADER, Position};
use super::walk::Walk;
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::{Event, Sequence};

/// What is read at first for one record; a longer one takes a second read.
const GUESS: u64 = 4 << 10;
/// Longest stretch of a segment that is read at once for several records, …
const STRETCH: u64 = 64 << 10;
/// … and what may lie between two of them.
const BETWEEN: u64 = 4 << 10;
/// Bytes of a segment that one scan steps over at most.
const STEP: u64 = 8 << 20;
/// Moved records that are looked up at once.
const MOVED: usize = 1024;
/// Events whose states are looked up at once.
const GROUP: usize = 64;

/// How much one scan may return.
#[derive(Clone, Copy, Debug)]
pub struct ScanBudget {
    /// Records at most.
    pub records: usize,
    /// It ends with the record that takes the sum of record bytes to this.
    pub bytes: u64,
}

/// A record whose life has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRecord {
    /// Its number.
    pub sequence: Sequence,
    /// Where to read it; stays valid if it is moved.
    pub position: Position,
    /// Its source.
    pub source: Arc<str>,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// Bytes of the record.
    pub bytes: u64,
    /// Whether it may be relayed.
    pub state: State,
    /// Its life had ended before, and an operator wants it published again.
    pub replayed: bool,
}

/// One page of live records.
#[derive(Clone, Debug)]
pub struct Scan {
    /// In order of sequence, which compaction does not change.
    pub live: Vec<LiveRecord>,
    /// Where the next scan goes on.
    pub next: Position,
    /// True where everything durable has been seen.
    pub at_end: bool,
}

/// Reads what the writer has made durable.
pub struct Reader<D: Disk> {
    pub(super) disk: D,
    dir: Arc<PathBuf>,
    id: [u8; 16],
    ledger: Arc<Mutex<Ledger<D::File>>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            dir: Arc::clone(&self.dir),
            id: self.id,
            ledger: Arc::clone(&self.ledger),
        }
    }
}

impl<D: Disk> Reader<D> {
    pub(super) fn new(disk: D, dir: PathBuf, id: [u8; 16], ledger: Arc<Mutex<Ledger<D::File>>>) -> Self {
        Self { disk, dir: Arc::new(dir), id, ledger }
    }

    /// The journal's own id, random.
    pub fn journal_id(&self) -> [u8; 16] {
        self.id
    }

    /// The event, none where its life has ended and its segment is gone. One whose life has ended can still be
    /// read while its segment is there.
    ///
    /// # Errors
    /// Where the file cannot be read, or what lies there is not that event.
    pub fn read(&self, sequence: Sequence, position: Position) -> Result<Option<Event>, JournalError> {
        let (at, file, end) = {
            let ledger = self.lock();
            let at = ledger.moved(sequence).map_or(position, |moved| moved.at);
            let Some(index) = ledger.index(at.segment) else { return Ok(None) };
            let segment = &ledger.segments[index];
            (at, Arc::clone(&segment.file), segment.end)
        };
        let event = self.load(&file, at, end, sequence).context("read", &self.path(at.segment))?;
        event.map(Some).ok_or_else(|| self.damaged(at))
    }

    /// The events of records, each as [`Reader::read`] gives it. What lies side by side, by its position and size, is read
    /// at once; the bodies of such events share a buffer of 64 KiB at most.
    pub fn read_all(&self, wanted: &[(Sequence, Position, u64)]) -> Vec<Result<Option<Event>, JournalError>> {
        let (mut events, mut rest) = (Vec::with_capacity(wanted.len()), wanted);
        while !rest.is_empty() {
            let (near, further) = rest.split_at(side_by_side(rest));
            let stretch = self.read_stretch(near);
            for (sequence, position, _) in near {
                let event = stretch.as_ref().and_then(|(start, bytes)| {
                    let skip = usize::try_from(position.offset - start).ok()?;
                    let record = bytes.get(skip..).map(|_| bytes.slice(skip..))?;
                    self.event_in(&record, *position, *sequence)
                });
                // Whatever is wrong with it there, it is looked for and judged alone.
                events.push(event.map_or_else(|| self.read(*sequence, *position), |event| Ok(Some(event))));
            }
            rest = further;
        }
        events
    }

    /// The bytes of several records of one segment, and where they begin.
    fn read_stretch(&self, near: &[(Sequence, Position, u64)]) -> Option<(u64, Bytes)> {
        let [(_, first, _), .., (_, last, size)] = near else { return None };
        let (file, end) = {
            let ledger = self.lock();
            let segment = &ledger.segments[ledger.index(first.segment)?];
            (Arc::clone(&segment.file), segment.end)
        };
        let length = last.offset.saturating_add(*size).min(end).checked_sub(first.offset)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.disk.read_at(&file, &mut bytes, first.offset).ok()?;
        Some((first.offset, Bytes::from(bytes)))
    }

    /// How a record stands; none where the journal does not hold it, or no longer.
    pub fn standing(&self, sequence: Sequence) -> Option<Standing> {
        self.lock().standing(sequence)
    }

    /// The state of a record, none where its life has ended.
    pub fn state(&self, sequence: Sequence) -> Option<State> {
        self.lock().state(sequence)
    }

    /// The live records from `from` on, up to the durable end. A page may be empty before the end.
    ///
    /// # Errors
    /// Where a segment cannot be read or a frame in it is not whole.
    pub fn scan(&self, from: Position, budget: ScanBudget) -> Result<Scan, JournalError> {
        let mut page = Page { live: Vec::new(), bytes: 0, names: Vec::new(), budget };
        let (mut at, mut steps) = (from, STEP);
        while !page.is_full() && steps > 0 {
            let Some(stretch) = self.stretch(at, &page) else {
                return Ok(Scan { live: page.live, next: at, at_end: true });
            };
            at = match stretch {
                Stretch::Moved(moved, end) => self.take_moved(&mut page, &moved, end)?,
                Stretch::Skip(next) => next,
                Stretch::Walk { from, file, end } => {
                    let next =
                        self.take_segment(&mut page, (from, end.min(from.offset + steps)), &file, end)?;
                    steps = steps.saturating_sub(next.offset - from.offset);
                    next
                }
            };
        }
        Ok(Scan { live: page.live, next: at, at_end: self.stretch(at, &Page::none()).is_none() })
    }

    /// What comes next at `at`; none at the durable end.
    fn stretch(&self, at: Position, page: &Page) -> Option<Stretch<D::File>> {
        let ledger = self.lock();
        let index = ledger.segments.partition_point(|segment| segment.number < at.segment);
        let segment = ledger.segments.get(index)?;
        let start = Position { segment: segment.number, offset: HEADER };
        if at < start {
            let moved = ledger.homeless(at, start, page.left().clamp(1, MOVED));
            return Some(match moved.is_empty() {
                true => Stretch::Skip(start),
                false => Stretch::Moved(moved, start),
            });
        }
        let last = index + 1 == ledger.segments.len();
        let next = ledger.segments.get(index + 1);
        if at.offset >= segment.end {
            return next.map(|next| Stretch::Skip(Position { segment: next.number, offset: HEADER }));
        }
        if !last && segment.live == 0 && !ledger.has_moved_from(segment.number) {
            return Some(Stretch::Skip(Position { segment: segment.number, offset: segment.end }));
        }
        Some(Stretch::Walk { from: at, file: Arc::clone(&segment.file), end: segment.end })
    }

    /// Takes records whose home segments are gone.
    fn take_moved(
        &self,
        page: &mut Page,
        moved: &[(Sequence, Moved)],
        end: Position,
    ) -> Result<Position, JournalError> {
        let wanted = page.left().clamp(1, MOVED);
        for (sequence, moved) in moved {
            if page.is_full() {
                return Ok(moved.home);
            }
            let place = {
                let ledger = self.lock();
                // It may have ended, or moved again, since the stretch was taken.
                let now = ledger.moved(*sequence).and_then(|now| Some((now, ledger.index(now.at.segment)?)));
                now.zip(ledger.state(*sequence)).map(|((now, index), state)| {
                    let segment = &ledger.segments[index];
                    (now, state, Arc::clone(&segment.file), segment.end)
                })
            };
            let Some((now, state, file, file_end)) = place else { continue };
            let mut walk = Walk::narrow(&self.disk, &file, self.seal(now.at), file_end);
            let path = || self.path(now.at.segment);
            let frame = walk.frame(now.at.offset).context("read", &path())?;
            let frame = frame.ok_or_else(|| self.damaged(now.at))?;
            let head = walk.head(now.at.offset, &frame).context("read", &path())?;
            let outline = head.get(MOVE..).and_then(envelope::outline).ok_or_else(|| self.damaged(now.at))?;
            let (received_at, source) = (outline.received_at, page.name(outline.source));
            page.push(LiveRecord {
                sequence: *sequence,
                position: now.home,
                source,
                received_at,
                bytes: now.bytes,
                state,
                replayed: now.replayed,
            });
        }
        match moved.last() {
            Some((_, last)) if moved.len() >= wanted => {
                Ok(Position { offset: last.home.offset + 1, ..last.home })
            }
            _ => Ok(end),
        }
    }

    /// Takes live records of one segment, whose originals still show source and size where they moved.
    fn take_segment(
        &self,
        page: &mut Page,
        range: (Position, u64),
        file: &D::File,
        end: u64,
    ) -> Result<Position, JournalError> {
        let (mut at, stop) = range;
        let mut walk = Walk::new(&self.disk, file, self.seal(at), end);
        let mut found = Vec::with_capacity(GROUP);
        while at.offset < stop && !page.is_full() {
            found.clear();
            at.offset = self.events(&mut walk, page, (at, stop), &mut found)?;
            let ledger = self.lock();
            for mut record in found.drain(..) {
                if page.is_full() {
                    return Ok(record.position);
                }
                if let Some(state) = ledger.state(record.sequence) {
                    record.state = state;
                    record.replayed = ledger.is_replay(record.sequence);
                    page.push(record);
                }
            }
        }
        Ok(at)
    }

    /// Reads on for a few events, live or not, so that one look at the ledger does for all; where it stopped.
    fn events(
        &self,
        walk: &mut Walk<'_, D>,
        page: &mut Page,
        (mut at, stop): (Position, u64),
        found: &mut Vec<LiveRecord>,
    ) -> Result<u64, JournalError> {
        let (most, path) = (page.left().min(GROUP), self.path(at.segment));
        while at.offset < stop && found.len() < most {
            let frame = walk.frame(at.offset).context("read", &path)?;
            let frame = frame.ok_or_else(|| self.damaged(at))?;
            if frame.kind == Kind::Event {
                let head = walk.head(at.offset, &frame).context("read", &path)?;
                let outline = envelope::outline(head).ok_or_else(|| self.damaged(at))?;
                let (received_at, source) = (outline.received_at, page.name(outline.source));
                let (sequence, bytes, state) = (frame.sequence, frame.size(), State::Pending);
                let replayed = false;
                found.push(LiveRecord {
                    sequence,
                    position: at,
                    source,
                    received_at,
                    bytes,
                    state,
                    replayed,
                });
            }
            at.offset += frame.size();
        }
        Ok(at.offset)
    }

    fn load(&self, file: &D::File, at: Position, end: u64, sequence: Sequence) -> io::Result<Option<Event>> {
        let seed = self.seal(at).at(at.offset);
        let left = end.saturating_sub(at.offset);
        let mut bytes = vec![0; GUESS.min(left) as usize];
        self.disk.read_at(file, &mut bytes, at.offset)?;
        let Some(frame) = Frame::parse(&bytes, seed) else { return Ok(None) };
        if frame.sequence != sequence || frame.content() > left {
            return Ok(None);
        }
        let read = bytes.len();
        bytes.resize(frame.content() as usize, 0);
        if read < bytes.len() {
            self.disk.read_at(file, &mut bytes[read..], at.offset + read as u64)?;
        }
        Ok(self.event_in(&Bytes::from(bytes), at, sequence))
    }

    /// The event in a record that begins with these bytes; none where they are not that record, whole.
    fn event_in(&self, bytes: &Bytes, at: Position, sequence: Sequence) -> Option<Event> {
        let seed = self.seal(at).at(at.offset);
        let frame = Frame::parse(bytes, seed).filter(|frame| frame.sequence == sequence)?;
        let content = bytes.get(..usize::try_from(frame.content()).ok()?)?;
        let (head, body) = content.get(FRAME..)?.split_at_checked(frame.head as usize)?;
        if !frame.head_holds(head, seed) || !frame.body_holds(body, seed) {
            return None;
        }
        let skip = match frame.kind {
            Kind::Event => 0,
            Kind::Moved => MOVE,
            Kind::Marks | Kind::Watermarks | Kind::Gap => return None,
        };
        let body_at = FRAME + frame.head as usize;
        envelope::event(head.get(skip..)?, bytes.slice(body_at..content.len()))
    }

    pub(super) fn seal(&self, at: Position) -> Seal {
        Seal::of(&self.id, at.segment)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        segment::path(&self.dir, number)
    }

    pub(super) fn damaged(&self, at: Position) -> JournalError {
        JournalError::Damaged { path: self.path(at.segment), offset: at.offset }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger<D::File>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many records from the first on lie side by side.
fn side_by_side(records: &[(Sequence, Position, u64)]) -> usize {
    let Some((_, first, _)) = records.first() else { return 0 };
    let follows = |pair: &[(Sequence, Position, u64)]| {
        let [(_, one, size), (_, next, next_size)] = pair else { return false };
        let end = one.offset.saturating_add(*size);
        next.segment == first.segment
            && (end..=end.saturating_add(BETWEEN)).contains(&next.offset)
            && next.offset.saturating_add(*next_size) <= first.offset.saturating_add(STRETCH)
    };
    1 + records.windows(2).take_while(|pair| follows(pair)).count()
}

/// What a scan meets next.
enum Stretch<F> {
    Moved(Vec<(Sequence, Moved)>, Position),
    Skip(Position),
    Walk { from: Position, file: Arc<F>, end: u64 },
}

/// A page that is being filled.
struct Page {
    live: Vec<LiveRecord>,
    bytes: u64,
    names: Vec<Arc<str>>,
    budget: ScanBudget,
}

impl Page {
    fn none() -> Self {
        let budget = ScanBudget { records: 0, bytes: 0 };
        Self { live: Vec::new(), bytes: 0, names: Vec::new(), budget }
    }

    fn is_full(&self) -> bool {
        self.left() == 0 || self.bytes >= self.budget.bytes
    }

    fn left(&self) -> usize {
        self.budget.records.saturating_sub(self.live.len())
    }

    fn push(&mut self, record: LiveRecord) {
        self.bytes += record.bytes;
        self.live.push(record);
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| &***known == name) {
            return Arc::clone(known);
        }
        let new = Arc::<str>::from(name);
        self.names.push(Arc::clone(&new));
        new
    }
}
