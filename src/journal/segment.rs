//! Segment files: their names, their header, and how they come to be. Never knows what a record means.
//!
//! `0000000000000007.segment`; the header is 64 bytes:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `hookgate` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 16 | the journal's id |
//! | 32 | 8 | number of the segment |
//! | 40 | 8 | base: the sequence of the first event that is appended to it |
//! | 48 | 8 | number of its first commit |
//! | 56 | 4 | where the frames of the segment before it end; 0 where that is not known |
//! | 60 | 4 | CRC-32C of bytes 0..60 |
//!
//! Magic, version, number and check keep their places in every later version. A version reads its own format and every older
//! one (`tests/it/upgrade/` has a folder of each), and refuses a newer one before it changes anything; whatever an older version
//! would misread, in these files or in the key files beside them, takes a new number. A segment is written full of
//! zeroes and synced, with its folder, before its header is: until then it is no part of the journal.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::{IoContext, JournalError};
use super::record::{ALIGN, NUMBER_MAX, u32_at, u64_at};
use crate::disk::{Disk, Zeroes};
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// Length of the header; the first frame lies behind it.
pub(super) const HEADER: u64 = 64;
/// What is wrong where a segment or the end of one is not there.
pub(super) const MISSING: &str = "commits behind it are missing";
/// The longest that a segment can be.
pub(super) const LONGEST: u64 = 1 << 30;
/// The format that this version reads and writes. Whoever raises it lets [`Header::decode`] take the older ones, keeps in the
/// header which it was, and has a header that is restored say that of its segment's records.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"hookgate";
const SUFFIX: &str = ".segment";
const DIGITS: usize = 16;
/// Zeroes are written in pieces of this size, and synced every other piece, so that commits slip in between.
const PIECE: usize = 1 << 18;
const SYNC_EVERY: u64 = 2;
/// Pause after each piece: a commit's sync waits for what the disk has in hand, so that must never be much.
const BREATH: Duration = Duration::from_micros(500);
/// A segment is to be ready when two thirds of the one before it are full: at three quarters the writer may wait for it
/// already (`fits`), and it tells its place only with each commit.
const READY_AT: (u64, u64) = (2, 3);

/// Where a record lies: the number of a segment and an offset in it. Positions order as their records do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Bytes from the start of its file.
    pub offset: u64,
}

impl Position {
    /// Before every record.
    pub const START: Self = Self { segment: 0, offset: 0 };
}

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) journal: [u8; 16],
    pub(super) number: u64,
    pub(super) base: Sequence,
    pub(super) commit: u64,
    pub(super) before: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER as usize] {
        let mut bytes = [0_u8; HEADER as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.journal);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.commit.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.before.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Whether commits lack between the last one known, in a segment whose frames end at `end`, and this segment: either
    /// whole ones, or the end of the last.
    pub(super) fn lacks(&self, commit: u64, end: u64) -> bool {
        self.commit > commit.saturating_add(1) || u64::from(self.before) > end.next_multiple_of(ALIGN)
    }

    /// The header, none where it is damaged, or the version where it is whole but of another format.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, u32> {
        match Self::fields(bytes) {
            Some((_, version)) if version != VERSION => Err(version),
            found => Ok(found.map(|(header, _)| header)),
        }
    }

    fn fields(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..HEADER as usize)?;
        if !bytes.starts_with(MAGIC) || u32_at(bytes, 60)? != crc32c::crc32c(&bytes[..60]) {
            return None;
        }
        let header = Self {
            journal: *bytes.get(16..)?.first_chunk::<16>()?,
            number: u64_at(bytes, 32)?,
            base: Sequence(u64_at(bytes, 40)?),
            commit: u64_at(bytes, 48)?,
            before: u32_at(bytes, 56)?,
        };
        let counts = header.number.max(header.base.0).max(header.commit) <= NUMBER_MAX;
        counts.then_some((header, u32_at(bytes, 8)?))
    }
}

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:0DIGITS$}{SUFFIX}"))
}

/// The file that a damaged range is copied to.
pub(super) fn aside(dir: &Path, number: u64, offset: u64) -> PathBuf {
    dir.join(format!("{number:0DIGITS$}.{offset}.damaged"))
}

/// The numbers of the segments in `dir`, in order.
pub(super) fn numbers<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, JournalError> {
    let files = disk.list(dir).context("list", dir)?;
    let number = |file: &PathBuf| {
        let digits = file.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let is_ours = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_ours.then(|| digits.parse::<u64>().ok())?
    };
    let mut numbers: Vec<u64> = files.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// How far the writer has come in its segment. Who fills the next one reads it, and pauses after a piece only while it is
/// ahead: a writer that finds no segment ready waits for one, and with it all who sent something.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    const WHOLE: u64 = 1 << 16;

    /// Nobody writes meanwhile: no pauses.
    pub(super) fn alone() -> Self {
        Self(AtomicU64::new(Self::WHOLE))
    }

    /// The writer waits for the segment: no pauses before its next commit.
    pub(super) fn hurry(&self) {
        self.0.store(Self::WHOLE, Ordering::Relaxed);
    }

    /// The writer has come to `end` of `capacity` bytes.
    pub(super) fn written(&self, end: u64, capacity: u64) {
        self.0.store(Self::part(end, capacity), Ordering::Relaxed);
    }

    /// Whether `filled` of `bytes` is enough for now.
    pub(super) fn is_ahead(&self, filled: u64, bytes: u64) -> bool {
        let (ready, at) = READY_AT;
        Self::part(filled, bytes) * ready >= self.0.load(Ordering::Relaxed) * at
    }

    fn part(of: u64, all: u64) -> u64 {
        (of.min(all) * Self::WHOLE).checked_div(all).unwrap_or_default()
    }
}

/// Makes a segment of `bytes` zeroes, durable with its name. A file that could not be filled is removed again.
pub(super) fn prepare<D: Disk>(
    disk: &D,
    dir: &Path,
    number: u64,
    bytes: u64,
    pace: &Pace,
) -> io::Result<D::File> {
    let path = path(dir, number);
    let file = disk.create(&path)?;
    failpoint::reach(Point::JournalPrepareCreated);
    match fill(disk, &file, bytes, pace).and_then(|()| disk.sync_dir(dir)) {
        Ok(()) => {
            failpoint::reach(Point::JournalPrepareAfter);
            Ok(file)
        }
        Err(error) => {
            drop(file);
            disk.remove(&path)?;
            Err(error)
        }
    }
}

fn fill<D: Disk>(disk: &D, file: &D::File, bytes: u64, pace: &Pace) -> io::Result<()> {
    let zeroes = Zeroes::new(PIECE);
    let mut at = 0;
    for piece in 1_u64.. {
        let now = zeroes.first((bytes - at).min(PIECE as u64) as usize);
        disk.write_aside(file, now, at)?;
        at += now.len() as u64;
        if at == bytes || piece.is_multiple_of(SYNC_EVERY) {
            disk.sync(file)?;
        }
        if at == bytes {
            break;
        }
        if pace.is_ahead(at, bytes) {
            std::thread::sleep(BREATH);
        }
    }
    failpoint::reach(Point::JournalPrepareFilled);
    Ok(())
}

/// Writes what is read there once more, and syncs it: a page whose write failed counts as clean, and only a write
/// makes the system try again.
pub(super) fn write_again<D: Disk>(disk: &D, file: &D::File, range: Range<u64>) -> io::Result<()> {
    let mut bytes = vec![0; PIECE.min((range.end - range.start) as usize)];
    for at in range.clone().step_by(PIECE) {
        let bytes = &mut bytes[..(range.end - at).min(PIECE as u64) as usize];
        disk.read_at(file, bytes, at)?;
        disk.write_at(file, bytes, at)?;
    }
    disk.sync(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_pauses_only_while_ahead_of_who_writes() {
        let pace = Pace::default();
        assert!(pace.is_ahead(0, 1_000), "nothing is written yet");
        pace.written(300, 1_000);
        assert!(!pace.is_ahead(440, 1_000) && pace.is_ahead(460, 1_000));
        pace.written(1 << 29, LONGEST);
        assert!(!pace.is_ahead(1_400, 2_000) && pace.is_ahead(1_600, 2_000), "whatever their lengths");
        pace.hurry();
        assert!(!pace.is_ahead(999, 1_000), "somebody waits");
        pace.written(0, 1_000);
        assert!(pace.is_ahead(1, 1_000), "and no longer");
        assert!(!Pace::alone().is_ahead(999, 1_000));
    }
}
