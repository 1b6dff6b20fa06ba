//! What is staged for the next commit, in one reused buffer. Never touches a file.

use std::sync::Arc;

use super::envelope;
use super::record::{self, FRAME, Kind, Mark, Seal};
use super::segment::Position;
use crate::clock::Timestamp;
use crate::event::{Event, Sequence};

/// A frame in the buffer that holds an event; `at` is its offset in the batch.
pub(super) struct Staged {
    pub(super) sequence: Sequence,
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) what: What,
}

impl Staged {
    /// True for an event that the journal has not held before.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.what, What::Event { .. })
    }
}

/// New, or copied forward.
pub(super) enum What {
    Event { source: Arc<str>, received_at: Timestamp, held: bool },
    Move { home: Position, flags: u8, when: Timestamp },
}

/// Frames of events, then marks and watermarks that get their frames when the batch is closed.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) frames: Vec<u8>,
    pub(super) staged: Vec<Staged>,
    pub(super) marks: Vec<(Sequence, Mark)>,
    pub(super) raises: Vec<(Arc<str>, Sequence)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.marks.is_empty() && self.raises.is_empty()
    }

    /// Bytes of the event frames.
    pub(super) fn events(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Bytes of a frame with `marks` marks and of one with all raises.
    pub(super) fn notes(&self, marks: usize) -> u64 {
        let raises = self.raises.iter().map(|(source, _)| 12 + source.len()).sum();
        let frame = |head: usize| if head == 0 { 0 } else { record::size_of(head, 0) };
        frame(8 * marks) + frame(raises)
    }

    /// Bytes of the whole batch.
    pub(super) fn len(&self) -> u64 {
        self.events() + self.notes(self.marks.len())
    }

    pub(super) fn append(&mut self, sequence: Sequence, commit: u64, event: &Event) {
        let facts = event.envelope();
        let flags = if facts.held { record::HELD } else { 0 };
        let at = record::begin(&mut self.frames, Kind::Event, flags, sequence, commit);
        envelope::put(&mut self.frames, event);
        record::finish(&mut self.frames, at, event.body());
        let (source, received_at) = (Arc::clone(&facts.source), facts.received_at);
        self.stage(sequence, at, What::Event { source, received_at, held: facts.held });
    }

    /// Stages a copy of an event whose head and body are given, to be the record from now on.
    pub(super) fn relocate(&mut self, sequence: Sequence, commit: u64, what: What, parts: (&[u8], &[u8])) {
        let What::Move { home, flags, when } = what else { return };
        let at = record::begin(&mut self.frames, Kind::Moved, flags, sequence, commit);
        self.frames.extend_from_slice(&home.segment.to_le_bytes());
        self.frames.extend_from_slice(&home.offset.to_le_bytes());
        self.frames.extend_from_slice(&when.millis().to_le_bytes());
        self.frames.extend_from_slice(parts.0);
        record::finish(&mut self.frames, at, parts.1);
        self.stage(sequence, at, what);
    }

    /// Writes the frames of the first `marks` marks and of all raises, and every check, for a write at `place`: the segment and the offset.
    pub(super) fn close(&mut self, marks: usize, next: Sequence, commit: u64, place: (Seal, u64)) {
        if marks > 0 {
            let at = record::begin(&mut self.frames, Kind::Marks, 0, next, commit);
            record::put_marks(&mut self.frames, &self.marks[..marks]);
            record::finish(&mut self.frames, at, &[]);
        }
        if !self.raises.is_empty() {
            put_watermarks(&mut self.frames, next, commit, self.raises.iter().map(|(s, t)| (&**s, *t)));
        }
        place.0.close(&mut self.frames, place.1);
    }

    /// How many marks fit into `free` bytes beside the events and raises; none if those alone do not fit.
    pub(super) fn marks_within(&self, free: u64) -> Option<usize> {
        let left = free.checked_sub(self.events() + self.notes(0))?;
        let fit = left.saturating_sub(FRAME as u64) / 8;
        Some(self.marks.len().min(usize::try_from(fit).unwrap_or(usize::MAX)))
    }

    fn stage(&mut self, sequence: Sequence, at: usize, what: What) {
        let bytes = (self.frames.len() - at) as u64;
        self.staged.push(Staged { sequence, at: at as u64, bytes, what });
    }
}

/// Writes a watermarks frame at the end of `out`.
pub(super) fn put_watermarks<'a>(
    out: &mut Vec<u8>,
    next: Sequence,
    commit: u64,
    lines: impl Iterator<Item = (&'a str, Sequence)>,
) {
    let at = record::begin(out, Kind::Watermarks, 0, next, commit);
    for (source, through) in lines {
        record::put_watermark(out, source, through);
    }
    record::finish(out, at, &[]);
}
