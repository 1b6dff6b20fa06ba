//! Upkeep between commits: the next segment, retention, compaction, removal, strictly oldest first.
//! Never removes a live record, nor one whose keys are not yet durable elsewhere.

use std::time::Duration;

use super::batch::What;
use super::commit::Journal;
use super::error::{IoContext, JournalError};
use super::helper::Job;
use super::ledger::{Segment, State};
use super::record::{Kind, MOVE, REPLAYED, Seal};
use super::room::Next;
use super::segment::{self, HEADER, Position};
use super::walk::Walk;
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// Segments removed in one call.
const REMOVALS: usize = 4;
/// Bytes that one call copies forward (one record more at most), and bytes that it steps over.
const COPY: u64 = 1 << 20;
const STEP: u64 = 16 << 20;
/// A segment preparation that found no space is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// The segment that is written is sealed no sooner than this for its age.
const AGE_MIN: Duration = Duration::from_secs(60);

impl<D: Disk> Journal<D> {
    /// Prepares the next segment, removes what retention or `bytes_max` no longer keeps, and copies the live
    /// records out of a segment that they alone pin. Call it after each commit or every second; it is cheap
    /// where nothing is to do, and copies only while nothing is staged. Events up to `keys_durable_through` have their keys on disk elsewhere.
    ///
    /// # Errors
    /// As [`Self::commit`]: final.
    pub fn maintain(&mut self, now: Timestamp, keys_durable_through: Sequence) -> Result<(), JournalError> {
        self.guard()?;
        self.retry(now);
        let result = self.upkeep(now, keys_durable_through);
        self.keep_fault(result)
    }

    /// True where the oldest segment stays only because the keys of its events are not yet durable elsewhere.
    pub fn waits_for_keys(&self, now: Timestamp, keys_durable_through: Sequence) -> bool {
        let ledger = self.ledger();
        let bytes = ledger.bytes + self.next.bytes();
        let due = |head, keys| self.is_due(head, bytes, now, keys);
        let all = Sequence(self.next_sequence);
        ledger.segments.front().is_some_and(|head| due(head, all) && !due(head, keys_durable_through))
    }

    fn upkeep(&mut self, now: Timestamp, keys: Sequence) -> Result<(), JournalError> {
        if self.batch.is_empty() && self.is_aged(now) && self.next.is_ready() {
            self.roll()?;
            let path = segment::path(&self.settings.dir, self.current.number);
            self.disk.sync(&self.current.file).context("sync", &path)?;
            self.last_commit += 1;
        }
        for _ in 0..REMOVALS {
            if !self.remove_head(now, keys) {
                break;
            }
        }
        if self.batch.is_empty() && self.pins(now, keys) {
            self.compact(now)?;
        }
        Ok(())
    }

    fn retry(&mut self, now: Timestamp) {
        match &mut self.next {
            Next::Missing => self.prepare_next(),
            Next::Failed { retry_at: at @ None, .. } => *at = Some(now.plus(RETRY)),
            // A clock that was set back must not stop the tries.
            Next::Failed { retry_at: Some(at), .. } if *at <= now || *at > now.plus(RETRY) => {
                self.prepare_next();
            }
            Next::Failed { .. } | Next::Underway { .. } | Next::Ready { .. } => {}
        }
    }

    fn is_aged(&self, now: Timestamp) -> bool {
        let age = (self.settings.retention / 8).max(AGE_MIN);
        let oldest = self.ledger().segments.back().and_then(|segment| segment.oldest);
        oldest.is_some_and(|oldest| oldest.plus(age) <= now)
    }

    /// True where the oldest segment should leave, live records aside.
    fn is_due(&self, head: &Segment<D::File>, bytes: u64, now: Timestamp, keys: Sequence) -> bool {
        if head.number == self.current.number || head.base + head.count > keys.0 + 1 && head.count > 0 {
            return false;
        }
        let aged = head.newest.is_none_or(|newest| newest.plus(self.settings.retention) <= now);
        // What bytes_max allows the disk may not have.
        let short = matches!(self.next, Next::Failed { space: true, .. });
        aged || short || bytes >= self.settings.bytes_max / 10 * 9
    }

    fn remove_head(&mut self, now: Timestamp, keys: Sequence) -> bool {
        let mut ledger = self.ledger();
        let bytes = ledger.bytes + self.next.bytes();
        let Some(head) = ledger.segments.front() else { return false };
        if !self.is_due(head, bytes, now, keys) || head.live + head.moved > 0 {
            return false;
        }
        let number = head.number;
        ledger.close_head();
        drop(ledger);
        self.helper.submit(Job::Remove { number });
        if matches!(self.next, Next::Failed { space: true, .. }) {
            // There is space for it now, and other segments stay.
            self.next = Next::Missing;
        }
        true
    }

    /// True where the oldest segment is due but for live records, and copying these forward gains space.
    fn pins(&self, now: Timestamp, keys: Sequence) -> bool {
        let ledger = self.ledger();
        let bytes = ledger.bytes + self.next.bytes();
        let Some(head) = ledger.segments.front() else { return false };
        if head.number == self.pinned || !self.is_due(head, bytes, now, keys) {
            return false;
        }
        let live = head.live_bytes();
        let aside_only = head.aside == head.live + head.moved;
        // Live throughout, it may still have ended records behind it, which leave only after it.
        let gains = ledger.live_bytes < bytes / 8 * 7;
        let pressed = bytes > self.settings.bytes_max && (live < head.end / 8 * 7 || gains);
        live < head.end / 2 || pressed || aside_only && gains
    }

    /// Copies some of the oldest segment's live records forward and commits them.
    fn compact(&mut self, now: Timestamp) -> Result<(), JournalError> {
        let (number, file, end) = {
            let ledger = self.ledger();
            let Some(head) = ledger.segments.front() else { return Ok(()) };
            (head.number, std::sync::Arc::clone(&head.file), head.end)
        };
        if self.compact_from.segment != number {
            self.compact_from = Position { segment: number, offset: HEADER };
        }
        let disk = self.disk.clone();
        let mut walk = Walk::new(&disk, &file, Seal::of(&self.id, number), end);
        let stop = self.compact_from.offset.saturating_add(STEP);
        let path = segment::path(&self.settings.dir, number);
        while self.compact_from.offset < end.min(stop) && self.batch.events() < COPY {
            let at = self.compact_from;
            let Some(frame) = walk.frame(at.offset).context("read", &path)? else {
                self.pinned = number;
                break;
            };
            if !self.copy_forward(&mut walk, at, now)? {
                break;
            }
            self.compact_from.offset += frame.size();
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        failpoint::reach(Point::JournalCompactStaged);
        self.commit()?;
        failpoint::reach(Point::JournalCompactAfter);
        Ok(())
    }

    /// Stages a copy of the record at `at` if it is live there; false where it must stay.
    fn copy_forward(
        &mut self,
        walk: &mut Walk<'_, D>,
        at: Position,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let path = segment::path(&self.settings.dir, at.segment);
        let Some(frame) = walk.frame(at.offset).context("read", &path)? else { return Ok(false) };
        let sequence = frame.sequence;
        let (home, skip) = {
            let ledger = self.ledger();
            match (frame.kind, ledger.moved(sequence)) {
                (Kind::Event, None) if ledger.at_home(sequence) => (at, 0),
                (Kind::Moved, Some(moved)) if moved.at == at => (moved.home, MOVE),
                _ => return Ok(true),
            }
        };
        let flags = {
            let ledger = self.ledger();
            let replayed = if ledger.is_replay(sequence) { REPLAYED } else { 0 };
            ledger.state(sequence).map_or(0, State::flags) | replayed
        };
        if !self.fits(frame.size() + MOVE as u64) {
            return Ok(false);
        }
        if walk.whole(at.offset).context("read", &path)?.is_none() {
            // Damaged since the start: it stays where it is, and recovery will set it aside and report it.
            self.pinned = at.segment;
            return Ok(false);
        }
        let head = walk.head(at.offset, &frame).context("read", &path)?.to_vec();
        let body = walk.body(at.offset, &frame).context("read", &path)?;
        let what = What::Move { home, flags, when: now };
        self.batch.relocate(sequence, self.last_commit + 1, what, (&head[skip..], body));
        Ok(true)
    }
}
