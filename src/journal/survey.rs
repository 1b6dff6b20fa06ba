//! Surveys of all records that the journal holds, those whose life has ended included: what an operator looks at and
//! chooses from. Bounded work per call, beside the writer. Never writes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::envelope::{self, Summary};
use super::error::{IoContext, JournalError};
use super::ledger::{Moved, Standing};
use super::reader::Reader;
use super::record::{Frame, Kind, MOVE};
use super::segment::{HEADER, Position};
use super::walk::Walk;
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::{Digest, Envelope, Sequence};

/// Records whose standing is looked up at once.
const GROUP: usize = 64;
/// Moved records that are looked up at once.
const MOVED: usize = 256;
/// What a look at one record costs of a survey's budget, its bytes aside.
const LOOK: u64 = 64;

/// The records that a survey is about, before it reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// No lower numbers.
    pub first: Sequence,
    /// No higher numbers.
    pub last: Sequence,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    /// Whether bodies are read for their digests.
    pub digests: bool,
}

impl Default for Within {
    fn default() -> Self {
        Self { first: Sequence(0), last: Sequence(u64::MAX), since: None, until: None, digests: false }
    }
}

impl Within {
    /// Whether a time lies in it.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

/// A record as a survey sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub sequence: Sequence,
    /// Where to read it; a survey from here begins with it.
    pub position: Position,
    /// How it stands.
    pub standing: Standing,
    /// Its life had ended before, and an operator wants it published again.
    pub replayed: bool,
    /// Everything but the body.
    pub envelope: Envelope,
    /// Length of the body.
    pub body_bytes: u64,
    /// Its SHA-256, where that is asked for and the body is whole.
    pub digest: Option<Digest>,
    /// Bytes of the record.
    pub bytes: u64,
}

/// One page of records.
#[derive(Clone, Debug)]
pub struct Survey {
    /// In order of sequence.
    pub found: Vec<Found>,
    /// Where the next survey goes on.
    pub next: Position,
    /// True where nothing durable is left to be seen.
    pub at_end: bool,
    /// What is left of the bytes that may be read.
    pub left: u64,
}

/// Whether a record is wanted.
pub type Keep<'a> = &'a mut dyn FnMut(&Summary<'_>) -> bool;

/// What a survey meets next.
enum Stretch<F> {
    Moved(Vec<(Sequence, Moved)>, Position),
    Skip(Position),
    Walk(Arc<F>, u64),
}

impl<D: Disk> Reader<D> {
    /// Where a survey of records from `first` on may start.
    pub fn start_of(&self, first: Sequence) -> Position {
        let ledger = self.lock();
        let index = ledger.range(first);
        index.map_or(Position::START, |index| Position {
            segment: ledger.segments[index].number,
            offset: HEADER,
        })
    }

    /// Everything up to here is on disk.
    pub fn durable_through(&self) -> Sequence {
        self.lock().durable_through
    }

    /// Where the records begin whose lives have not ended.
    pub fn first_live(&self) -> Position {
        self.lock().first_live()
    }

    /// How many of these numbers lie before what the journal still holds.
    pub fn gone(&self, first: Sequence, last: Sequence) -> u64 {
        let ledger = self.lock();
        let begins = ledger.segments.front().map_or(ledger.durable_through.0 + 1, |segment| segment.base);
        let end = begins.min(last.0.saturating_add(1));
        let kept = ledger.moved_between(first, Sequence(end));
        end.saturating_sub(first.0.max(1)).saturating_sub(kept)
    }

    /// The oldest record that has not been removed: its number at least, and when the oldest of its segment came in.
    pub fn oldest(&self) -> (Sequence, Option<Timestamp>) {
        let ledger = self.lock();
        let first = ledger.segments.iter().find(|segment| segment.count > 0);
        let none = (Sequence(ledger.durable_through.0 + 1), None);
        first.map_or(none, |segment| (Sequence(segment.base), segment.oldest))
    }

    /// Up to `max` records from `from` on that lie `within` and that `keep` wants, reading at most `budget` bytes
    /// (and what the record takes that exceeds it). A page may be empty before the end.
    ///
    /// # Errors
    /// Where a segment cannot be read, or `from` is not the place of a record.
    pub fn survey(
        &self,
        from: Position,
        within: &Within,
        (max, budget): (usize, u64),
        keep: Keep<'_>,
    ) -> Result<Survey, JournalError> {
        let mut survey = Survey { found: Vec::new(), next: from, at_end: false, left: budget };
        while survey.found.len() < max && survey.left > 0 && !survey.at_end {
            let Some(stretch) = self.next_stretch(survey.next, within) else {
                survey.at_end = true;
                break;
            };
            match stretch {
                Stretch::Skip(next) => survey.next = next,
                Stretch::Moved(moved, end) => {
                    self.survey_moved(&mut survey, (within, max), &moved, keep)?;
                    let seen = moved.iter().all(|(_, moved)| moved.home < survey.next);
                    if seen && moved.len() < MOVED {
                        survey.next = end;
                    }
                }
                Stretch::Walk(file, end) => {
                    self.survey_segment(&mut survey, (within, max), (&file, end), keep)?;
                }
            }
        }
        Ok(survey)
    }

    /// The record of that number; none where the journal does not hold it, or no longer.
    ///
    /// # Errors
    /// Where a segment cannot be read.
    pub fn find(&self, sequence: Sequence) -> Result<Option<Found>, JournalError> {
        let within = Within { first: sequence, last: sequence, ..Within::default() };
        let from = self.start_of(sequence);
        let survey = self.survey(from, &within, (1, u64::MAX), &mut |_| true)?;
        Ok(survey.found.into_iter().next())
    }

    fn next_stretch(&self, at: Position, within: &Within) -> Option<Stretch<D::File>> {
        let ledger = self.lock();
        let index = ledger.segments.partition_point(|segment| segment.number < at.segment);
        let segment = ledger.segments.get(index)?;
        let start = Position { segment: segment.number, offset: HEADER };
        if at < start {
            let moved = ledger.homeless(at, start, MOVED);
            return Some(match moved.is_empty() {
                true => Stretch::Skip(start),
                false => Stretch::Moved(moved, start),
            });
        }
        if segment.base > within.last.0 {
            return None;
        }
        let outside = segment.base + segment.count <= within.first.0
            || within.since.is_some_and(|since| segment.newest.is_none_or(|newest| newest < since))
            || within.until.is_some_and(|until| segment.oldest.is_none_or(|oldest| oldest >= until));
        if at.offset >= segment.end || outside {
            let next = ledger.segments.get(index + 1)?;
            return Some(Stretch::Skip(Position { segment: next.number, offset: HEADER }));
        }
        Some(Stretch::Walk(Arc::clone(&segment.file), segment.end))
    }

    /// Takes records whose home segments are gone.
    fn survey_moved(
        &self,
        survey: &mut Survey,
        (within, max): (&Within, usize),
        moved: &[(Sequence, Moved)],
        keep: Keep<'_>,
    ) -> Result<(), JournalError> {
        for (sequence, moved) in moved {
            if survey.found.len() >= max {
                return Ok(());
            }
            survey.next = Position { offset: moved.home.offset + 1, ..moved.home };
            survey.left = survey.left.saturating_sub(LOOK);
            if *sequence < within.first || *sequence > within.last {
                continue;
            }
            let place = {
                let ledger = self.lock();
                // It may have ended, or moved again, since the stretch was taken.
                let now = ledger.moved(*sequence).and_then(|now| Some((now, ledger.index(now.at.segment)?)));
                now.zip(ledger.standing(*sequence)).map(|((now, index), standing)| {
                    let segment = &ledger.segments[index];
                    (now, standing, Arc::clone(&segment.file), segment.end)
                })
            };
            let Some((now, standing, file, end)) = place else { continue };
            let mut walk = Walk::narrow(&self.disk, &file, self.seal(now.at), end);
            let path = || self.path(now.at.segment);
            let frame = walk.frame(now.at.offset).context("read", &path())?;
            let frame = frame.ok_or_else(|| self.damaged(now.at))?;
            let head = walk.head(now.at.offset, &frame).context("read", &path())?;
            let head = head.get(MOVE..).ok_or_else(|| self.damaged(now.at))?;
            if let Some(envelope) = chosen(head, within, keep).ok_or_else(|| self.damaged(now.at))? {
                let digest = digest(within, &mut walk, (now.at.offset, &frame)).context("read", &path())?;
                let found = Found { digest, ..found(&frame, now.home, envelope) };
                survey.found.push(Found { standing, replayed: now.replayed, ..found });
            }
        }
        Ok(())
    }

    /// Takes records of one segment.
    fn survey_segment(
        &self,
        survey: &mut Survey,
        (within, max): (&Within, usize),
        (file, end): (&D::File, u64),
        keep: Keep<'_>,
    ) -> Result<(), JournalError> {
        let mut walk = Walk::new(&self.disk, file, self.seal(survey.next), end);
        while survey.next.offset < end && survey.left > 0 && survey.found.len() < max && !survey.at_end {
            let room = (max - survey.found.len()).min(GROUP);
            let group = self.group(survey, (within, room), (&mut walk, end), keep)?;
            let ledger = self.lock();
            survey.found.extend(group.into_iter().filter_map(|found| {
                let standing = ledger.standing(found.sequence)?;
                Some(Found { standing, replayed: ledger.is_replay(found.sequence), ..found })
            }));
        }
        Ok(())
    }

    /// Reads on for a few wanted events, so that one look at the ledger does for all.
    fn group(
        &self,
        survey: &mut Survey,
        (within, room): (&Within, usize),
        (walk, end): (&mut Walk<'_, D>, u64),
        keep: Keep<'_>,
    ) -> Result<Vec<Found>, JournalError> {
        let path = self.path(survey.next.segment);
        let mut group = Vec::new();
        while survey.next.offset < end && survey.left > 0 && group.len() < room {
            let at = survey.next;
            let frame = walk.frame(at.offset).context("read", &path)?;
            let frame = frame.ok_or_else(|| self.damaged(at))?;
            if frame.kind == Kind::Event && frame.sequence > within.last {
                survey.at_end = true;
                break;
            }
            survey.next.offset += frame.size();
            survey.left = survey.left.saturating_sub(frame.size() + LOOK);
            if frame.kind != Kind::Event || frame.sequence < within.first {
                continue;
            }
            let head = walk.head(at.offset, &frame).context("read", &path)?;
            if let Some(envelope) = chosen(head, within, keep).ok_or_else(|| self.damaged(at))? {
                let digest = digest(within, walk, (at.offset, &frame)).context("read", &path)?;
                group.push(Found { digest, ..found(&frame, at, envelope) });
            }
        }
        Ok(group)
    }
}

/// The envelope where it is wanted; the outer none where these bytes are no envelope.
fn chosen(head: &[u8], within: &Within, keep: Keep<'_>) -> Option<Option<Envelope>> {
    let summary = envelope::summary(head)?;
    if !within.holds(summary.received_at) || !keep(&summary) {
        return Some(None);
    }
    Some(Some(envelope::event(head, Bytes::new())?.into_envelope()))
}

/// The digest of a frame's body, where it is asked for and the body is whole.
fn digest<D: Disk>(
    within: &Within,
    walk: &mut Walk<'_, D>,
    (at, frame): (u64, &Frame),
) -> io::Result<Option<Digest>> {
    if !within.digests {
        return Ok(None);
    }
    let body = walk.whole_body(at, frame)?;
    Ok(body.map(|body| Digest(Sha256::digest(body).into())))
}

fn found(frame: &Frame, position: Position, envelope: Envelope) -> Found {
    Found {
        sequence: frame.sequence,
        position,
        standing: Standing::Live(super::State::Pending),
        replayed: false,
        envelope,
        body_bytes: frame.body.into(),
        digest: None,
        bytes: frame.size(),
    }
}
