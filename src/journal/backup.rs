//! A copy of a journal's segments, made while a gateway writes them or without one. Takes no lock, and changes nothing
//! where it reads.
//!
//! Segments are appended to, and leave oldest first once nothing in them lives: what lives was copied forward before. So
//! they are copied oldest first, each after it was ended; whatever was durable when the copy began is then in it, be it
//! where it was or where it went. Of the one that is being written, the frames are taken that are whole, and nothing
//! behind them. Where one leaves meanwhile, those before it have left too, and so do their copies.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::error::{IoContext, JournalError};
use super::folder;
use super::record::{ALIGN, Seal};
use super::segment::{self, HEADER};
use super::walk::Walk;
use crate::disk::{Disk, ReadOnly, RealDisk};

/// In a folder: it is a copy, and what lives in it may have been published since it was made.
pub const RESTORED: &str = "restored";
/// Bytes of one read.
const PIECE: u64 = 1 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// Segments.
    pub segments: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Copies the segments of the folder `from` into `to`, which has none, and notes there that it is a copy.
///
/// # Errors
/// Where `from` holds no journal, or the file system fails.
pub fn back_up(from: &Path, to: &Path) -> Result<BackedUp, JournalError> {
    note_restored(to)?;
    let first = segment::numbers(&ReadOnly::default(), from)?;
    let id = folder::known_identity(&ReadOnly::default(), from, &first)?;
    let (mut made, mut next) = (Vec::new(), first.first().copied());
    let mut cut = None;
    while let Some(number) = next {
        let sealed = begun_after(from, number)?;
        let copied = match copy((from, to), number, &id, sealed.is_some()) {
            // What was prepared behind its last frame was given back since it was measured, which is done once.
            Err(error) if error.is_cut() && cut != Some(number) => {
                cut = Some(number);
                continue;
            }
            copied => copied?,
        };
        let Some(bytes) = copied else {
            // It may be there by half.
            for gone in made.drain(..).map(|(gone, _)| gone).chain([number]) {
                let path = segment::path(to, gone);
                match RealDisk.remove(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.context("remove", &path)?,
                }
            }
            next = after(from, number)?;
            continue;
        };
        next = match sealed {
            Some(following) => {
                made.push((number, bytes));
                Some(following)
            }
            // Ended while it was copied: once more, all of it.
            None if begun_after(from, number)?.is_some() => Some(number),
            None => {
                made.push((number, bytes));
                None
            }
        };
    }
    RealDisk.sync_dir(to).context("sync", to)?;
    Ok(BackedUp { segments: made.len() as u64, bytes: made.iter().map(|(_, bytes)| bytes).sum() })
}

/// Notes in a folder that it is a copy.
fn note_restored(dir: &Path) -> Result<(), JournalError> {
    let path = dir.join(RESTORED);
    let file = RealDisk.create(&path).context("create", &path)?;
    RealDisk.sync(&file).context("sync", &path)
}

/// Whether a folder is noted to be a copy.
pub fn is_restored(dir: &Path) -> bool {
    dir.join(RESTORED).exists()
}

/// Takes that note away.
///
/// # Errors
/// Where the file system fails.
pub fn note_taken_in(dir: &Path) -> Result<(), JournalError> {
    let path = dir.join(RESTORED);
    RealDisk.remove(&path).context("remove", &path)?;
    RealDisk.sync_dir(dir).context("sync", dir)
}

fn after(dir: &Path, number: u64) -> Result<Option<u64>, JournalError> {
    Ok(segment::numbers(&ReadOnly::default(), dir)?.into_iter().find(|later| *later > number))
}

/// The next segment that was begun: the one of this number is ended then.
fn begun_after(dir: &Path, number: u64) -> Result<Option<u64>, JournalError> {
    let mut number = number;
    while let Some(later) = after(dir, number)? {
        if is_begun(dir, later)? {
            return Ok(Some(later));
        }
        number = later;
    }
    Ok(None)
}

/// A prepared segment is all zeroes; a damaged header is none.
fn is_begun(dir: &Path, number: u64) -> Result<bool, JournalError> {
    let path = segment::path(dir, number);
    let Some(file) = opened(&path)? else { return Ok(false) };
    let mut header = [0; HEADER as usize];
    match ReadOnly::default().read_at(&file, &mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.context("read", &path).map(|()| header.iter().any(|byte| *byte != 0)),
    }
}

fn opened(path: &Path) -> Result<Option<File>, JournalError> {
    match ReadOnly::default().open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.context("open", path).map(Some),
    }
}

/// Copies one segment, whole where it is `sealed`; yields the bytes of its frames, or nothing where it is gone.
fn copy(
    (from, to): (&Path, &Path),
    number: u64,
    id: &[u8; 16],
    sealed: bool,
) -> Result<Option<u64>, JournalError> {
    let (source, target) = (segment::path(from, number), segment::path(to, number));
    let Some(file) = opened(&source)? else { return Ok(None) };
    let disk = ReadOnly::default();
    let len = disk.len(&file).context("measure", &source)?;
    let mut walk = Walk::new(&disk, &file, Seal::of(id, number), len);
    let end = if sealed { walk.written(0) } else { whole_frames(&mut walk) }.context("read", &source)?;
    let made = match RealDisk.create(&target) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => RealDisk.open(&target),
        made => made,
    };
    let made = made.context("create", &target)?;
    RealDisk.set_len(&made, 0).context("cut", &target)?;
    let mut at = 0;
    while at < end {
        let mut piece = vec![0; PIECE.min(end - at) as usize];
        disk.read_at(&file, &mut piece, at).context("read", &source)?;
        RealDisk.write_at(&made, &piece, at).context("write", &target)?;
        at += piece.len() as u64;
    }
    RealDisk.set_len(&made, len).context("lengthen", &target)?;
    RealDisk.sync(&made).context("sync", &target)?;
    Ok(Some(end))
}

/// Where the frames end of a segment that is being written: what was damaged before lies within, what is half written
/// does not.
fn whole_frames(walk: &mut Walk<'_, ReadOnly>) -> std::io::Result<u64> {
    let mut at = HEADER;
    loop {
        walk.renew();
        while let Some(frame) = walk.whole(at)? {
            at += frame.size();
        }
        // One that became whole just now has others behind it, and is none that is damaged.
        let behind = walk.resync(at + ALIGN, 0)?;
        walk.renew();
        match (walk.whole(at)?, behind) {
            (Some(_), _) => {}
            (None, Some(whole)) => at = whole,
            (None, None) => return Ok(at),
        }
    }
}
