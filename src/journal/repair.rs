//! What recovery does about bytes that are no whole frame: copies them to a file of their own, reports them, closes
//! the place, and cuts a tail that was never synced. Never drops a whole record.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::error::{IoContext, JournalError};
use super::record::{ALIGN, FRAME, Seal};
use super::recover::{DamageReport, Rebuild};
use super::segment::{self, HEADER, Header, Position};
use super::walk::Walk;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::failpoint::{self, Point};

impl<D: Disk> Rebuild<'_, D> {
    /// Handles a header that is not whole; false where nothing in the file is.
    pub(super) fn restore_header(
        &mut self,
        walk: &mut Walk<'_, D>,
        (number, last): (u64, bool),
        file: &D::File,
    ) -> Result<bool, JournalError> {
        let path = self.path(number);
        let start = Position { segment: number, offset: 0 };
        let written = walk.written(0).context("read", &path)?;
        let Some(first) = walk.resync(HEADER, self.commit).context("read", &path)? else {
            if last {
                self.found.truncated_bytes += written;
            } else {
                self.set_aside(walk, start, written, "nothing in the segment is whole")?;
            }
            self.unread += written / FRAME as u64 + 1;
            self.remove(number)?;
            return Ok(false);
        };
        self.set_aside(walk, start, HEADER, "the header of the segment, written anew from its records")?;
        let (base, commit) = walk.origin(first).context("read", &path)?;
        self.next = self.next.max(base);
        // What lacks before the first whole frame is told here: the next start must not tell it again.
        let commit = if self.ledger.segments.is_empty() { commit } else { self.commit + 1 };
        let header = Header { journal: self.id, number, base: Sequence(self.next), commit, before: 0 };
        self.disk.write_at(file, &header.encode(), 0).context("write", &path)?;
        self.disk.sync(file).context("sync", &path)?;
        Ok(true)
    }

    /// Commits rise by one over all segments, and a segment knows where the one before it ended. Where something lacks
    /// between the two, the place is reported, and closed by a gap with the number of the commit before this segment's
    /// first, so that the next start has nothing to report.
    pub(super) fn report_missing(&mut self, header: &Header) -> Result<(), JournalError> {
        let Some(before) = self.ledger.segments.back().filter(|back| header.lacks(self.commit, back.end))
        else {
            return Ok(());
        };
        let (file, at) = (Arc::clone(&before.file), before.end.next_multiple_of(ALIGN));
        let place = Position { segment: before.number, offset: at };
        let (path, seal) = (self.path(place.segment), Seal::of(&self.id, place.segment));
        if !self.is_told(&path, at) {
            self.set_aside(&mut Walk::new(self.disk, &file, seal, at), place, at, segment::MISSING)?;
        }
        let through = header.commit.saturating_sub(1).max(self.commit);
        let end = (at + FRAME as u64).max(u64::from(header.before).min(segment::LONGEST));
        let gap = seal.gap(at, (end - at) as u32, Sequence(self.next), through);
        self.disk.set_len(&file, end).context("extend", &path)?;
        self.disk.write_at(&file, &gap, at).context("write", &path)?;
        self.disk.sync(&file).context("sync", &path)?;
        self.commit = through;
        self.ledger.resize(place.segment, end);
        if let Some(before) = self.ledger.segments.back_mut() {
            before.end = end;
        }
        Ok(())
    }

    /// Whether the damage at the end of a segment has been reported by this start.
    fn is_told(&self, path: &Path, end: u64) -> bool {
        self.found.damaged.iter().any(|told| told.file == path && told.offset.next_multiple_of(ALIGN) == end)
    }

    /// Cuts the file behind its last whole frame. What is cut from any but the last segment had been synced.
    pub(super) fn cut(
        &mut self,
        walk: &mut Walk<'_, D>,
        (at, len): (Position, u64),
        last: bool,
        file: &D::File,
    ) -> Result<(), JournalError> {
        let path = self.path(at.segment);
        let written = walk.written(at.offset).context("read", &path)?;
        if written > at.offset {
            let bytes = written - at.offset;
            if last {
                self.found.truncated_bytes += bytes;
            } else {
                self.set_aside(walk, at, written, "the end of a synced segment")?;
            }
            self.unread += bytes / FRAME as u64 + 1;
        }
        let end = at.offset.min(len);
        if len > end {
            self.disk.set_len(file, end).context("cut", &path)?;
            failpoint::reach(Point::JournalRecoverCut);
            self.disk.sync(file).context("sync", &path)?;
        }
        self.ledger.resize(at.segment, end);
        if let Some(segment) = self.ledger.segments.back_mut() {
            segment.end = end;
        }
        Ok(())
    }

    /// Copies a damaged range to a file of its own, durably, and reports it.
    pub(super) fn set_aside(
        &mut self,
        walk: &mut Walk<'_, D>,
        from: Position,
        to: u64,
        what: &'static str,
    ) -> Result<(), JournalError> {
        let file = self.path(from.segment);
        let aside = segment::aside(&self.settings.dir, from.segment, from.offset);
        let copy = match self.disk.create(&aside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.disk.open(&aside),
            created => created,
        };
        let copy = copy.context("create", &aside)?;
        walk.copy(from.offset..to, &copy, from.offset).context("write", &aside)?;
        failpoint::reach(Point::JournalRecoverCopied);
        self.disk.sync(&copy).context("sync", &aside)?;
        self.disk.sync_dir(&self.settings.dir).context("sync", &self.settings.dir)?;
        let bytes = to - from.offset;
        self.found.damaged.push(DamageReport { file, offset: from.offset, bytes, what, aside });
        Ok(())
    }
}
