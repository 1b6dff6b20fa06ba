//! The operator's calls. Events are found in pages beside the writer, on a thread that may block; each page is an order
//! to the acceptance thread, so that a million events hold up nobody and take no more memory than a page.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::selection::{Selection, Status};
use super::tail::Tails;
use crate::accept::{Acceptor, Action, Fate, Target};
use crate::clock::{Clock, Timestamp};
use crate::dedup::{ClaimsError, RedisClaims};
use crate::disk::Disk;
use crate::event::{Digest, Event, Sequence};
use crate::journal::{Found, JournalError, Position, Reader};
use crate::lanes::Lanes;
use crate::tasks;

/// Events of one order: what the acceptance thread does between two commits.
const PAGE: usize = 1024;
/// Events that one call acts on; the caller goes on from the cursor.
const CALL: u64 = 10_000;
/// Bytes of the journal that one call reads.
pub(super) const BUDGET: u64 = 256 << 20;
/// Calls that read the journal at once; others wait.
const READERS: usize = 2;

/// Why a call could not be served.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The journal cannot be read there.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Redis could not be told; nothing was changed by this page.
    #[error("{0}; nothing more was forgotten, call again")]
    Redis(#[from] ClaimsError),
    /// The gateway is ending: what this page asked for may or may not have been done.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Where a call goes on, and up to which event: what comes in meanwhile is not chased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) position: Position,
    pub(super) through: Sequence,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.position.segment, self.position.offset, self.through)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(3, '-').map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok).ok_or(());
        let position = Position { segment: next()?, offset: next()? };
        Ok(Self { position, through: Sequence(next()?) })
    }
}

/// An event as an operator sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The record.
    pub found: Found,
    /// How it stands.
    pub status: Status,
}

/// Some events, in order of sequence.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events.
    pub events: Vec<Seen>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// An action asked for.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to do.
    pub action: Action,
    /// To which events.
    pub selection: Selection,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// Only count.
    pub dry_run: bool,
}

/// What a call came to.
#[derive(Clone, Debug, Default)]
pub struct Acted {
    /// Events that the selection meant.
    pub selected: u64,
    /// What became of them; for a dry run, what would become of them.
    pub fates: BTreeMap<Fate, u64>,
    /// Where to go on; none when all are done.
    pub next: Option<Cursor>,
    /// True where the call ended for lack of room: go on after a while.
    pub wait: bool,
    /// When the oldest event came in that the journal still holds, where older ones were asked for.
    pub begins: Option<Timestamp>,
}

/// What the operator works with.
pub struct OperatorParts<D: Disk> {
    /// Where the events are.
    pub reader: Reader<D>,
    /// Who carries out.
    pub acceptor: Acceptor,
    /// What is pending.
    pub lanes: Arc<Lanes>,
    /// Claims shared between replicas, if configured.
    pub claims: Option<RedisClaims>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Lists events and acts on them.
pub struct Operator<D: Disk> {
    pub(super) parts: OperatorParts<D>,
    readers: Semaphore,
    pub(super) tails: Tails,
}

/// What one look at the journal came to.
pub(super) struct Look {
    pub(super) events: Vec<Seen>,
    /// Where the next goes on.
    pub(super) at: Position,
    /// What is left of the bytes that may be read.
    left: u64,
    /// Nothing is left to be seen.
    pub(super) at_end: bool,
}

impl<D: Disk> Operator<D> {
    /// An operator of these parts.
    pub fn new(parts: OperatorParts<D>) -> Self {
        Self { parts, readers: Semaphore::new(READERS), tails: Tails::default() }
    }

    /// Wall time, by which a choice is read.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Up to `max` events of a selection; the page may be short, or empty, and still have a cursor.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn list(
        &self,
        selection: &Selection,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<Page, OperatorError> {
        let from = after.unwrap_or_else(|| self.begin(selection));
        Ok(self.page(selection, from, (max, BUDGET)).await?.0)
    }

    /// One event, with its body; none where the journal does not hold it.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn show(&self, sequence: Sequence) -> Result<Option<(Seen, Event)>, OperatorError> {
        let (reader, lanes) = (self.parts.reader.clone(), Arc::clone(&self.parts.lanes));
        self.read(move || {
            let Some(found) = reader.find(sequence)? else { return Ok(None) };
            let Some(event) = reader.read(sequence, found.position)? else { return Ok(None) };
            let status = status(&lanes, &found);
            Ok(Some((Seen { found, status }, event)))
        })
        .await
    }

    /// Acts on the events of a selection, at most ten thousand; all that `acted` then has is durable, also where this
    /// ends with an error.
    ///
    /// # Errors
    /// Where the journal cannot be read, Redis not be told, or the gateway is stopping.
    pub async fn act(&self, call: &Call, acted: &mut Acted) -> Result<(), OperatorError> {
        let selection = &call.selection;
        if let (Action::Forget, true, Some(key)) = (call.action, selection.is_key_alone(), selection.key) {
            return self.forget_key(call, key, acted).await;
        }
        let first = call.after.is_none();
        let mut from = call.after.unwrap_or_else(|| self.begin(selection));
        if first {
            self.tell_what_is_gone(selection, from.through, acted);
        }
        let mut left = BUDGET;
        loop {
            let room = CALL.saturating_sub(acted.selected).min(PAGE as u64) as usize;
            let (page, rest) = self.page(selection, from, (room, left)).await?;
            let stopped_at = self.carry_out(call, &page.events, acted).await?;
            acted.next = page.next;
            if let Some(position) = stopped_at {
                acted.next = Some(Cursor { position, ..from });
                acted.wait = true;
                return Ok(());
            }
            left = rest;
            match page.next {
                Some(next) if left > 0 && acted.selected < CALL => from = next,
                _ => return Ok(()),
            }
        }
    }

    /// Acts on a page; where it ended for lack of room, if so.
    async fn carry_out(
        &self,
        call: &Call,
        events: &[Seen],
        acted: &mut Acted,
    ) -> Result<Option<Position>, OperatorError> {
        if events.is_empty() {
            return Ok(None);
        }
        if call.dry_run {
            for seen in events {
                *acted.fates.entry(predicted(call.action, seen.status)).or_default() += 1;
            }
            acted.selected += events.len() as u64;
            return Ok(None);
        }
        let targets: Vec<Target> = events.iter().map(|seen| target(&seen.found)).collect();
        let positions: Vec<Position> = targets.iter().map(|target| target.position).collect();
        let fates = self.order(call.action, targets).await?;
        for (fate, position) in fates.into_iter().zip(positions) {
            if fate == Fate::NoRoom && call.action == Action::Replay {
                return Ok(Some(position));
            }
            acted.selected += 1;
            *acted.fates.entry(fate).or_default() += 1;
        }
        Ok(None)
    }

    async fn order(&self, action: Action, targets: Vec<Target>) -> Result<Vec<Fate>, OperatorError> {
        if let (Action::Forget, Some(claims)) = (action, &self.parts.claims) {
            let keys: Vec<Digest> = targets.iter().map(|target| target.key).collect();
            claims.forget(&keys).await?;
        }
        let answer = self.parts.acceptor.order(action, targets, self.now());
        answer.await.map_err(|_| OperatorError::Stopping)
    }

    /// A key outlives its record: it is forgotten by itself.
    async fn forget_key(&self, call: &Call, key: Digest, acted: &mut Acted) -> Result<(), OperatorError> {
        acted.selected = 1;
        let target = Target {
            sequence: Sequence(0),
            position: Position::START,
            source: Arc::from(""),
            key,
            received_at: self.now(),
            bytes: 0,
        };
        let fate = match call.dry_run {
            true => Fate::Done,
            false => {
                self.order(Action::Forget, vec![target]).await?.first().copied().unwrap_or(Fate::Unknown)
            }
        };
        acted.fates.insert(fate, 1);
        Ok(())
    }

    pub(super) fn begin(&self, selection: &Selection) -> Cursor {
        let reader = &self.parts.reader;
        let start = reader.start_of(selection.first.unwrap_or_default());
        let live = if selection.is_live() { reader.first_live() } else { Position::START };
        Cursor { position: start.max(live), through: reader.durable_through() }
    }

    fn tell_what_is_gone(&self, selection: &Selection, through: Sequence, acted: &mut Acted) {
        if let Some(first) = selection.first {
            let gone = self.parts.reader.gone(first, selection.within(through).last);
            if gone > 0 {
                acted.selected += gone;
                acted.fates.insert(Fate::Gone, gone);
            }
        }
        let (oldest, began) = self.parts.reader.oldest();
        let before = |since: Timestamp| began.is_none_or(|began| since < began);
        if oldest > Sequence(1) && selection.since.is_some_and(before) {
            acted.begins = began;
        }
    }

    /// A page, and what is left of the bytes that may be read.
    async fn page(
        &self,
        selection: &Selection,
        from: Cursor,
        most: (usize, u64),
    ) -> Result<(Page, u64), OperatorError> {
        let Look { events, at, left, at_end } = self.look(selection, from, most).await?;
        let next = (!at_end).then_some(Cursor { position: at, ..from });
        Ok((Page { events, next }, left))
    }

    /// Up to `max` events of a selection, for which at most `budget` bytes are read.
    pub(super) async fn look(
        &self,
        selection: &Selection,
        from: Cursor,
        (max, budget): (usize, u64),
    ) -> Result<Look, OperatorError> {
        let (reader, lanes) = (self.parts.reader.clone(), Arc::clone(&self.parts.lanes));
        let (selection, within) = (selection.clone(), selection.within(from.through));
        self.read(move || {
            let mut look = Look { events: Vec::new(), at: from.position, left: budget, at_end: false };
            while !look.at_end && look.events.len() < max && look.left > 0 {
                let most = (max - look.events.len(), look.left);
                let survey = reader.survey(look.at, &within, most, &mut |event| selection.wants(event))?;
                (look.at, look.left, look.at_end) = (survey.next, survey.left, survey.at_end);
                let seen = survey.found.into_iter().map(|found| {
                    let status = status(&lanes, &found);
                    Seen { found, status }
                });
                look.events.extend(seen.filter(|seen| selection.wants_status(seen.status)));
            }
            Ok(look)
        })
        .await
    }

    /// Reads the journal where that may block.
    async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, OperatorError> {
        let _one = self.readers.acquire().await.map_err(|_| OperatorError::Stopping)?;
        let read = tasks::blocking(body).await.map_err(|_| OperatorError::Stopping)?;
        Ok(read?)
    }
}

fn status(lanes: &Lanes, found: &Found) -> Status {
    Status::of(found.standing, || lanes.is_aside(&found.envelope.source, found.sequence))
}

fn target(found: &Found) -> Target {
    Target {
        sequence: found.sequence,
        position: found.position,
        source: Arc::clone(&found.envelope.source),
        key: found.envelope.keys.message_id,
        received_at: found.envelope.received_at,
        bytes: found.bytes,
    }
}

/// What an action would come to; whether a record is on its way, or a key known, only the action itself can tell.
fn predicted(action: Action, status: Status) -> Fate {
    match (action, status) {
        (Action::Forget, _)
        | (Action::Drop, Status::Pending | Status::Aside | Status::Held | Status::Poison)
        | (Action::Replay, Status::Confirmed | Status::Superseded | Status::Dropped)
        | (Action::Release, Status::Held)
        | (Action::Requeue, Status::Poison | Status::Aside) => Fate::Done,
        (_, Status::Pending | Status::Aside) => Fate::Pending,
        (_, Status::Held) => Fate::Held,
        (_, Status::Poison) => Fate::Poison,
        (_, Status::Confirmed | Status::Superseded | Status::Dropped) => Fate::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_told() {
        let cursor = Cursor { position: Position { segment: 7, offset: 4096 }, through: Sequence(12) };
        assert_eq!(cursor.to_string(), "7-4096-12");
        assert_eq!("7-4096-12".parse(), Ok(cursor));
        for wrong in ["", "7", "7-4096", "7-4096-x", "7-4096-12-1", "-1-1-1"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(()), "{wrong}");
        }
    }
}
