//! The journal's format, byte by byte: frames, and the proof that a frame is whole. Pure; no file is touched here.
//!
//! All numbers are little endian. A segment file is a 64-byte header (see `segment.rs`) and frames end to
//! end; what follows the last frame is zero. Every frame begins at a multiple of 8:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 2 | magic `A7 68` |
//! | 2 | 1 | kind: 1 event, 2 moved event, 3 marks, 4 watermarks, 5 gap |
//! | 3 | 1 | flags: 1 held, 2 poisoned, 4 replayed (events only, 4 on moved ones only; other bits are zero) |
//! | 4 | 4 | CRC-32C of bytes 0..4 and 8..40 |
//! | 8 | 4 | CRC-32C of the head |
//! | 12 | 4 | CRC-32C of the body |
//! | 16 | 4 | length of the head |
//! | 20 | 4 | length of the body |
//! | 24 | 8 | the event's sequence; in other kinds the sequence that the next event will get |
//! | 32 | 8 | number of the commit that wrote the frame, rising by one for each commit of the journal |
//! | 40 | | head, body, zeroes up to the next multiple of 8 |
//!
//! All three checks start from a seed made of the journal's id, the segment's number and the frame's offset:
//! bytes of another journal, an older use of the same disk blocks, or a frame quoted inside a body never pass.
//! The first covers the lengths, so that a reader can step from frame to frame without reading bodies.
//!
//! Heads: event, see `envelope.rs`; the body is the delivery's. Moved event: home segment (8), home offset
//! (8), time of the move in Unix ms (8), then as event. Marks: 8 bytes each, the mark in the top byte (1
//! confirmed, 2 superseded, 3 dropped, 4 poisoned, 5 released, 6 replayed) and the sequence in the other seven; they
//! count in their order. A replayed mark makes a record live again whose life had ended and whose home segment is
//! still there; on any other it changes nothing. Watermarks: for each source its sequence (8), length of its name (4),
//! name. Gap: no head; its body is what recovery found damaged there, kept as it was and not checked.
//!
//! A commit is one write of whole frames and one sync, and the next commit is written only after it. So
//! a frame with a higher commit number proves that everything before it had been synced.

use std::sync::Arc;

use crate::event::Sequence;

/// Length of a frame before its head.
pub(super) const FRAME: usize = 40;
/// Frames begin at multiples of this.
pub(super) const ALIGN: u64 = 8;
/// State flag: kept but not relayed until released.
pub(super) const HELD: u8 = 1;
/// State flag: kept, taken out of the relay.
pub(super) const POISONED: u8 = 2;
/// Flag of a moved record: its life had ended before, and an operator wants it published again.
pub(super) const REPLAYED: u8 = 4;
/// Bytes of a moved event's head before the event's own head.
pub(super) const MOVE: usize = 24;

const MAGIC: [u8; 2] = [0xA7, 0x68];
/// No whole frame has a higher sequence or commit number: marks have seven bytes for one, and numbers that go
/// on from it stay within them.
pub(super) const NUMBER_MAX: u64 = 1 << 55;
const SEQUENCE_MASK: u64 = (1 << 56) - 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event = 1,
    Moved = 2,
    Marks = 3,
    Watermarks = 4,
    Gap = 5,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The sink confirmed it: its life has ended.
    Confirmed,
    /// Another replica's copy is done: its life has ended.
    Superseded,
    /// An operator gave it up: its life has ended.
    Dropped,
    /// The broker refuses it each time: kept, but out of the relay until released.
    Poisoned,
    /// A held or poisoned record may go.
    Released,
    /// An operator publishes it again: a record whose life had ended is pending once more.
    Replayed,
}

impl Mark {
    const ALL: [Self; 6] =
        [Self::Confirmed, Self::Superseded, Self::Dropped, Self::Poisoned, Self::Released, Self::Replayed];

    /// True where the record need not be kept any longer.
    pub fn ends(self) -> bool {
        matches!(self, Self::Confirmed | Self::Superseded | Self::Dropped)
    }

    fn code(self) -> u64 {
        self as u64 + 1
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    head_check: u32,
    body_check: u32,
    pub(super) head: u32,
    pub(super) body: u32,
    pub(super) sequence: Sequence,
    pub(super) commit: u64,
}

impl Frame {
    /// Reads the fixed part; none where it is not whole or not made for this place.
    pub(super) fn parse(bytes: &[u8], seed: u32) -> Option<Self> {
        let fixed = bytes.get(..FRAME)?;
        if !fixed.starts_with(&MAGIC) || u32_at(fixed, 4)? != fixed_check(fixed, seed) {
            return None;
        }
        let kind = match fixed.get(2)? {
            1 => Kind::Event,
            2 => Kind::Moved,
            3 => Kind::Marks,
            4 => Kind::Watermarks,
            5 => Kind::Gap,
            _ => return None,
        };
        let (sequence, commit) = (u64_at(fixed, 24)?, u64_at(fixed, 32)?);
        (sequence <= NUMBER_MAX && commit <= NUMBER_MAX).then_some(Self {
            kind,
            flags: *fixed.get(3)?,
            head_check: u32_at(fixed, 8)?,
            body_check: u32_at(fixed, 12)?,
            head: u32_at(fixed, 16)?,
            body: u32_at(fixed, 20)?,
            sequence: Sequence(sequence),
            commit,
        })
    }

    /// Bytes up to the end of the body, without the padding.
    pub(super) fn content(&self) -> u64 {
        FRAME as u64 + u64::from(self.head) + u64::from(self.body)
    }

    /// Bytes up to the next frame.
    pub(super) fn size(&self) -> u64 {
        self.content().next_multiple_of(ALIGN)
    }

    /// True where `head` is what was written.
    pub(super) fn head_holds(&self, head: &[u8], seed: u32) -> bool {
        crc32c::crc32c_append(seed, head) == self.head_check
    }

    /// True where `body` is what was written; a gap's body is not checked.
    pub(super) fn body_holds(&self, body: &[u8], seed: u32) -> bool {
        self.kind == Kind::Gap || crc32c::crc32c_append(seed, body) == self.body_check
    }
}

/// Where the checks of one segment start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    pub(super) fn of(journal: &[u8; 16], segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(journal), &segment.to_le_bytes()))
    }

    /// The seed for a frame at `offset`.
    pub(super) fn at(self, offset: u64) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_le_bytes())
    }

    /// Fills in the checks of the frames in `batch`, which will be written at `offset`.
    pub(super) fn close(self, batch: &mut [u8], offset: u64) {
        let mut at = 0;
        while let Some(rest) = batch.get_mut(at..).filter(|rest| rest.len() >= FRAME) {
            let seed = self.at(offset + at as u64);
            let head = FRAME + u32_at(rest, 16).unwrap_or_default() as usize;
            let body = head + u32_at(rest, 20).unwrap_or_default() as usize;
            let head_check = crc32c::crc32c_append(seed, &rest[FRAME..head]);
            let body_check = crc32c::crc32c_append(seed, &rest[head..body]);
            rest[8..12].copy_from_slice(&head_check.to_le_bytes());
            rest[12..16].copy_from_slice(&body_check.to_le_bytes());
            let check = fixed_check(rest, seed);
            rest[4..8].copy_from_slice(&check.to_le_bytes());
            at += body.next_multiple_of(ALIGN as usize);
        }
    }

    /// The fixed part of a gap that takes the place of `len` damaged bytes at `offset`.
    pub(super) fn gap(self, offset: u64, len: u32, next: Sequence, commit: u64) -> [u8; FRAME] {
        let mut fixed = fixed(Kind::Gap, 0, next, commit);
        fixed[20..24].copy_from_slice(&len.saturating_sub(FRAME as u32).to_le_bytes());
        fixed[8..12].copy_from_slice(&crc32c::crc32c_append(self.at(offset), &[]).to_le_bytes());
        let check = fixed_check(&fixed, self.at(offset));
        fixed[4..8].copy_from_slice(&check.to_le_bytes());
        fixed
    }
}

/// Begins a frame at the end of `out` and returns its offset there; the head follows.
pub(super) fn begin(out: &mut Vec<u8>, kind: Kind, flags: u8, sequence: Sequence, commit: u64) -> usize {
    let at = out.len();
    out.extend_from_slice(&fixed(kind, flags, sequence, commit));
    at
}

/// Ends the frame that began at `at`, whose head has been written, with `body`.
pub(super) fn finish(out: &mut Vec<u8>, at: usize, body: &[u8]) {
    let head = (out.len() - at - FRAME) as u32;
    out[at + 16..at + 20].copy_from_slice(&head.to_le_bytes());
    out[at + 20..at + 24].copy_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    out.resize(at + (out.len() - at).next_multiple_of(ALIGN as usize), 0);
}

/// Bytes of a frame with this much head and body.
pub(super) fn size_of(head: usize, body: usize) -> u64 {
    ((FRAME + head + body) as u64).next_multiple_of(ALIGN)
}

/// Writes the head of a marks frame.
pub(super) fn put_marks(out: &mut Vec<u8>, marks: &[(Sequence, Mark)]) {
    for (sequence, mark) in marks {
        out.extend_from_slice(&(mark.code() << 56 | sequence.0 & SEQUENCE_MASK).to_le_bytes());
    }
}

/// Reads the head of a marks frame; none where it is not one.
pub(super) fn marks(head: &[u8]) -> Option<Vec<(Sequence, Mark)>> {
    if !head.len().is_multiple_of(8) {
        return None;
    }
    let one = |bytes: &[u8]| {
        let word = u64_at(bytes, 0)?;
        let mark = Mark::ALL.into_iter().find(|mark| mark.code() == word >> 56)?;
        Some((Sequence(word & SEQUENCE_MASK), mark))
    };
    head.chunks_exact(8).map(one).collect()
}

/// Writes one line of a watermarks frame's head.
pub(super) fn put_watermark(out: &mut Vec<u8>, source: &str, through: Sequence) {
    out.extend_from_slice(&through.0.to_le_bytes());
    out.extend_from_slice(&(source.len() as u32).to_le_bytes());
    out.extend_from_slice(source.as_bytes());
}

/// Reads the head of a watermarks frame; none where it is not one.
pub(super) fn watermarks(mut head: &[u8]) -> Option<Vec<(Arc<str>, Sequence)>> {
    let mut lines = Vec::new();
    while !head.is_empty() {
        let through = Sequence(u64_at(head, 0)?);
        let len = u32_at(head, 8)? as usize;
        let rest = head.get(12..)?;
        let name = std::str::from_utf8(rest.get(..len)?).ok()?;
        lines.push((Arc::from(name), through));
        head = rest.get(len..)?;
    }
    Some(lines)
}

/// The number at `at`, or none where the bytes end before it does.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

/// The number at `at`, or none where the bytes end before it does.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*word))
}

fn fixed(kind: Kind, flags: u8, sequence: Sequence, commit: u64) -> [u8; FRAME] {
    let mut fixed = [0_u8; FRAME];
    fixed[..2].copy_from_slice(&MAGIC);
    fixed[2] = kind as u8;
    fixed[3] = flags;
    fixed[24..32].copy_from_slice(&sequence.0.to_le_bytes());
    fixed[32..40].copy_from_slice(&commit.to_le_bytes());
    fixed
}

/// The check over the fixed part, which must be there in full.
fn fixed_check(frame: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &frame[..4]), &frame[8..FRAME])
}
