//! Room for one more record: the quota, the space that marks keep, and the change to the prepared segment.

use std::sync::Arc;
use std::time::Duration;

use super::batch::put_watermarks;
use super::commit::{Current, Journal, Settings};
use super::error::{IoContext, JournalError};
use super::helper::{Done, Job};
use super::ledger::Segment;
use super::record::Seal;
use super::segment::{self, HEADER, Header};
use crate::clock::Timestamp;
use crate::disk::{self, Disk};
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// How long a caller with nothing staged waits for a segment that is being prepared.
const WAIT: Duration = Duration::from_secs(2);
/// This part of a segment is kept free for the watermarks of one batch.
const RAISES: u64 = 32;

/// Bytes of a segment, at least. Where journals are simulated by the thousand, small ones are soon full.
const SEGMENT_MIN: u64 = if cfg!(test) { 8 << 10 } else { 64 << 10 };

/// Whether one more record may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It may; the commit will not lack space for it.
    Open,
    /// Commit what is staged, then ask again.
    Commit,
    /// Not until records are confirmed or the disk has space: answer 503.
    Full(Shortage),
    /// It can never be: it is longer than [`Settings::record_max`].
    TooLarge,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Unconfirmed records have reached their quota.
    Quota,
    /// The disk has no space for another segment, and what is left is kept for marks.
    Disk,
    /// The journal has failed.
    Fault,
}

/// The segment that will be written next.
pub(super) enum Next<F> {
    Missing,
    Underway {
        bytes: u64,
    },
    Ready {
        number: u64,
        file: F,
        bytes: u64,
    },
    /// The system had no more of something; `space` where removing segments would help.
    Failed {
        retry_at: Option<Timestamp>,
        space: bool,
    },
}

impl<F> Next<F> {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Underway { bytes, .. } | Self::Ready { bytes, .. } => *bytes,
            Self::Missing | Self::Failed { .. } => 0,
        }
    }
}

impl Settings {
    /// The longest record, in bytes as [`Journal::record_bytes`] counts them.
    pub fn record_max(&self) -> u64 {
        self.segment_bytes - self.segment_bytes / 8
    }

    /// Bytes that unconfirmed records may take: `bytes_max` less what is kept for marks and moves.
    pub fn quota(&self) -> u64 {
        self.bytes_max - (self.bytes_max / 16).max(self.segment_bytes)
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        let (segment, all) = (self.segment_bytes, self.bytes_max);
        if !(SEGMENT_MIN..=segment::LONGEST).contains(&segment) || !segment.is_multiple_of(8) {
            let text = format!("segment_bytes is {segment}; use 64 KiB to 1 GiB, a multiple of 8");
            return Err(JournalError::Settings(text));
        }
        if all < 4 * segment {
            let text = format!("bytes_max is {all}; use at least four segments, {}", 4 * segment);
            return Err(JournalError::Settings(text));
        }
        Ok(())
    }
}

impl<D: Disk> Journal<D> {
    /// Bytes that unconfirmed records may take.
    pub fn quota(&self) -> u64 {
        self.settings.quota()
    }

    /// Whether a record of `bytes` may be appended. Waits only with nothing staged, and at most two seconds,
    /// where the next segment is still being prepared.
    pub fn room(&mut self, bytes: u64) -> Room {
        self.poll(Duration::ZERO);
        if self.fault.is_some() {
            return Room::Full(Shortage::Fault);
        }
        if bytes > self.settings.record_max() {
            return Room::TooLarge;
        }
        let live = self.ledger().live_bytes;
        if live + self.batch.events() + bytes > self.settings.quota() {
            return Room::Full(Shortage::Quota);
        }
        if self.fits(bytes) {
            return Room::Open;
        }
        match self.next {
            Next::Ready { .. } if self.batch.is_empty() => Room::TooLarge,
            Next::Ready { .. } => Room::Commit,
            Next::Underway { .. } if !self.batch.is_empty() => Room::Commit,
            _ => self.wait_for_room(bytes),
        }
    }

    fn wait_for_room(&mut self, bytes: u64) -> Room {
        if matches!(self.next, Next::Missing) {
            self.prepare_next();
        }
        if matches!(self.next, Next::Underway { .. }) {
            self.pace.hurry();
            self.poll(WAIT);
        }
        if self.fits(bytes) { Room::Open } else { Room::Full(Shortage::Disk) }
    }

    /// True where the batch and `bytes` more fit into the current segment or the prepared one, with space for
    /// watermarks that are raised until the commit: unlike marks these cannot wait for the next one.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let staged = self.batch.len() + bytes;
        match self.next {
            Next::Ready { bytes: next, .. } => {
                staged + next / RAISES + HEADER + self.snapshot_bytes() <= next
            }
            _ => staged + self.current.capacity / 4 <= self.current.capacity - self.current.end,
        }
    }

    /// Starts to prepare the next segment, if that has not been done.
    pub(super) fn prepare_next(&mut self) {
        if matches!(self.next, Next::Missing | Next::Failed { .. }) {
            let (number, bytes) = (self.current.number + 1, self.settings.segment_bytes);
            self.next = Next::Underway { bytes };
            self.helper.submit(Job::Prepare { number, bytes });
            self.poll(Duration::ZERO);
        }
    }

    /// Takes in the helper's outcomes; waits at most `wait` for the first.
    pub(super) fn poll(&mut self, wait: Duration) {
        let mut wait = wait;
        while let Some(done) = self.helper.outcome(std::mem::take(&mut wait)) {
            match done {
                Done::Prepared(number, Ok(file)) => {
                    self.next = Next::Ready { number, file, bytes: self.next.bytes() };
                }
                Done::Prepared(_, Err(JournalError::Io { source, .. })) if disk::is_full(&source) => {
                    self.next = Next::Failed { retry_at: None, space: disk::lacks_space(&source) };
                }
                Done::Prepared(_, Err(fault)) | Done::Failed(fault) => {
                    self.fault.get_or_insert(fault);
                }
            }
        }
    }

    /// Changes to the prepared segment: header and watermarks are written, the next commit syncs them.
    pub(super) fn roll(&mut self) -> Result<(), JournalError> {
        let Next::Ready { number, file, bytes } = std::mem::replace(&mut self.next, Next::Missing) else {
            return Ok(());
        };
        failpoint::reach(Point::JournalRollBefore);
        let old = std::mem::replace(
            &mut self.current,
            Current {
                number,
                file: Arc::new(file),
                seal: Seal::of(&self.id, number),
                end: HEADER,
                capacity: bytes,
            },
        );
        self.open_current()?;
        failpoint::reach(Point::JournalRollAfter);
        self.ledger().resize(old.number, old.end);
        self.helper.submit(Job::Cut { file: old.file, number: old.number, len: old.end });
        self.prepare_next();
        Ok(())
    }

    /// Writes the start of the current segment, which holds nothing yet.
    pub(super) fn open_current(&mut self) -> Result<(), JournalError> {
        let base = Sequence(self.first_staged());
        let commit = self.last_commit + 1;
        // No segment is so long that this does not fit.
        let before = self.ledger().segments.back().map_or(0, |before| before.end as u32);
        let header = Header { journal: self.id, number: self.current.number, base, commit, before };
        let mut start = Vec::new();
        put_watermarks(&mut start, base, commit, self.watermarks.iter().map(|(s, t)| (&**s, *t)));
        self.current.seal.close(&mut start, HEADER);
        start.splice(..0, header.encode());
        let path = segment::path(&self.settings.dir, self.current.number);
        self.disk.write_at(&self.current.file, &start, 0).context("write", &path)?;
        self.current.end = start.len() as u64;
        self.pace.written(self.current.end, self.current.capacity);
        let Current { number, ref file, end, capacity, .. } = self.current;
        let mut segment = Segment::new(number, Arc::clone(file), base, capacity);
        segment.end = end;
        self.ledger().open_segment(segment);
        Ok(())
    }

    fn first_staged(&self) -> u64 {
        let new = self.batch.staged.iter().find(|staged| staged.is_new());
        new.map_or(self.next_sequence, |staged| staged.sequence.0)
    }

    fn snapshot_bytes(&self) -> u64 {
        let lines: usize = self.watermarks.keys().map(|source| 12 + source.len()).sum();
        super::record::size_of(lines, 0)
    }
}
