//! Steps through the frames of one segment file with large reads. Writes nothing but copies of what it has read, never trusts a
//! length unchecked.

use std::io;
use std::ops::Range;

use super::record::{ALIGN, FRAME, Frame, Kind, Seal};
use crate::disk::Disk;

/// Bytes of one read; a body that is longer than what is left of it is skipped, not read.
const CHUNK: u64 = 256 << 10;
const NARROW: u64 = 4 << 10;
/// What comes behind the last frame, compared in pieces of this size.
const ZEROES: [u8; 256] = [0; 256];

/// A window over a file's first `end` bytes.
pub(super) struct Walk<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    seal: Seal,
    end: u64,
    read: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a, D: Disk> Walk<'a, D> {
    pub(super) fn new(disk: &'a D, file: &'a D::File, seal: Seal, end: u64) -> Self {
        Self { disk, file, seal, end, read: CHUNK, chunk: Vec::new(), chunk_at: 0 }
    }

    /// For one frame alone, with small reads.
    pub(super) fn narrow(disk: &'a D, file: &'a D::File, seal: Seal, end: u64) -> Self {
        Self { read: NARROW, ..Self::new(disk, file, seal, end) }
    }

    /// Forgets what has been read, where the file may have changed.
    pub(super) fn renew(&mut self) {
        self.chunk.clear();
    }

    /// `len` bytes from `at`, or fewer where the end comes first.
    pub(super) fn bytes(&mut self, at: u64, len: u64) -> io::Result<&[u8]> {
        let stop = at.saturating_add(len).min(self.end);
        if at >= stop {
            return Ok(&[]);
        }
        if at < self.chunk_at || stop > self.chunk_at + self.chunk.len() as u64 {
            let read = len.max(self.read).min(self.end - at);
            self.chunk.resize(read as usize, 0);
            self.chunk_at = at;
            self.disk.read_at(self.file, &mut self.chunk, at)?;
        }
        let from = (at - self.chunk_at) as usize;
        Ok(&self.chunk[from..from + (stop - at) as usize])
    }

    /// The frame at `at` if its fixed part and its head are whole and its body ends inside the file.
    pub(super) fn frame(&mut self, at: u64) -> io::Result<Option<Frame>> {
        let seed = self.seal.at(at);
        let Some(frame) = Frame::parse(self.bytes(at, FRAME as u64)?, seed) else { return Ok(None) };
        if at + frame.content() > self.end {
            return Ok(None);
        }
        // From the frame's start on: a window that began at its head would have to be read again for all of it.
        self.bytes(at, FRAME as u64 + u64::from(frame.head))?;
        let whole = frame.head_holds(self.head(at, &frame)?, seed);
        Ok(whole.then_some(frame))
    }

    /// The frame at `at` if all of it is whole; it is then in the window, head and body.
    pub(super) fn whole(&mut self, at: u64) -> io::Result<Option<Frame>> {
        let Some(frame) = self.frame(at)? else { return Ok(None) };
        let seed = self.seal.at(at);
        self.bytes(at, frame.content())?;
        let holds = frame.body_holds(self.body(at, &frame)?, seed);
        Ok(holds.then_some(frame))
    }

    /// The head of the frame at `at`.
    pub(super) fn head(&mut self, at: u64, frame: &Frame) -> io::Result<&[u8]> {
        self.bytes(at + FRAME as u64, frame.head.into())
    }

    /// The body of the frame at `at`.
    pub(super) fn body(&mut self, at: u64, frame: &Frame) -> io::Result<&[u8]> {
        self.bytes(at + FRAME as u64 + u64::from(frame.head), frame.body.into())
    }

    /// The same where its check holds.
    pub(super) fn whole_body(&mut self, at: u64, frame: &Frame) -> io::Result<Option<&[u8]>> {
        let seed = self.seal.at(at);
        let body = self.body(at, frame)?;
        Ok(frame.body_holds(body, seed).then_some(body))
    }

    /// The first whole frame at or after `at` that no commit before `commit` wrote.
    pub(super) fn resync(&mut self, at: u64, commit: u64) -> io::Result<Option<u64>> {
        let mut at = at.next_multiple_of(ALIGN);
        let stop = self.written(at)?;
        while at < stop && at + FRAME as u64 <= self.end {
            if let Some(frame) = self.whole(at)?
                && frame.commit >= commit
            {
                return Ok(Some(at));
            }
            at += ALIGN;
        }
        Ok(None)
    }

    /// What a header that is lost said, as far as the frames tell that are whole from `first` on: the number of the first
    /// event behind it, 0 where they name none, and a commit that is no later than the first.
    pub(super) fn origin(&mut self, first: u64) -> io::Result<(u64, u64)> {
        let (mut at, mut commit) = (Some(first), None);
        while let Some(place) = at {
            let Some(frame) = self.whole(place)? else { break };
            let commit = *commit.get_or_insert(frame.commit);
            // A moved event has the number that it got in its home.
            if frame.kind != Kind::Moved {
                return Ok((frame.sequence.0, commit));
            }
            at = self.resync(place + frame.size(), commit)?;
        }
        Ok((0, commit.unwrap_or_default()))
    }

    /// True where every byte is zero.
    pub(super) fn is_blank(&mut self) -> io::Result<bool> {
        let mut at = 0;
        while at < self.end {
            let bytes = self.bytes(at, CHUNK)?;
            if used(bytes) > 0 {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Writes a range of it to a file in which `base` is the first byte.
    pub(super) fn copy(&mut self, range: Range<u64>, to: &D::File, base: u64) -> io::Result<()> {
        let (disk, mut at) = (self.disk, range.start);
        while at < range.end {
            let bytes = self.bytes(at, (range.end - at).min(CHUNK))?;
            if bytes.is_empty() {
                break;
            }
            disk.write_at(to, bytes, at - base)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Where the last byte that is not zero ends, at or after `from`; `from` where all are zero.
    pub(super) fn written(&mut self, from: u64) -> io::Result<u64> {
        let (mut at, mut last) = (from, from);
        while at < self.end {
            let bytes = self.bytes(at, CHUNK)?;
            let (len, used) = (bytes.len() as u64, used(bytes) as u64);
            if used > 0 {
                last = at + used;
            }
            at += len;
        }
        Ok(last)
    }
}

/// Where the last byte that is not zero ends.
fn used(bytes: &[u8]) -> usize {
    let zeroes = bytes.rchunks(ZEROES.len()).take_while(|piece| **piece == ZEROES[..piece.len()]);
    let rest = &bytes[..bytes.len().saturating_sub(zeroes.count() * ZEROES.len())];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |index| index + 1)
}
