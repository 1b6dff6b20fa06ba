//! An answer to a worker's claim put together: records as a whole, and parts of split ones, each under a lease.
//!
//! Reads the journal; what may be leased, and what follows when a lease ends, is the inbox's.

use std::time::Duration;

use super::inbox::{Inbox, Leased};
use crate::disk::Disk;
use crate::event::{Event, Sequence, Split};
use crate::failpoint::{self, Point};
use crate::journal::Mark;
use crate::lanes::{Back, Taken, Why};
use crate::sink::inbox::Item;
use crate::sink::{Attempt, Message};

/// Bytes of bodies in one answer, beyond its first event, or its last part of a split one.
pub(super) const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// The answer to one claim, while it is put together.
pub(super) struct Answer {
    pub(super) leased: Vec<Leased>,
    /// Of their bodies.
    pub(super) bytes: u64,
    pub(super) max: usize,
    pub(super) now: Duration,
    pub(super) until: Duration,
}

impl Answer {
    pub(super) fn has_room(&self) -> bool {
        self.leased.len() < self.max && self.bytes < ANSWER_BYTES_MAX
    }

    pub(super) fn add(&mut self, one: Leased) {
        self.bytes += one.message.body().len() as u64;
        self.leased.push(one);
        failpoint::reach(Point::RelayLeaseAfter);
    }
}

impl<D: Disk> Inbox<D> {
    /// Leases parts of split records of which others are out.
    pub(super) fn lease_open(&self, source: &str, answer: &mut Answer) {
        let (open, _) = self.out().opened.offers(source, answer.now);
        for sequence in open {
            let position = self.out().opened.taken(sequence).map(|taken| taken.entry.position);
            let Some(position) = position.filter(|_| answer.has_room()) else { return };
            match self.parts.reader.read(sequence, position) {
                Ok(event) => event.iter().for_each(|event| self.lease_parts(sequence, event, answer)),
                Err(error) => tracing::error!(%error, %sequence, "a record cannot be read; its parts wait"),
            }
        }
    }

    /// Leases a record that was taken out of its lane, or parts of it.
    pub(super) fn lease(&self, taken: Taken, answer: &mut Answer) {
        let (sequence, now) = (taken.entry.sequence, answer.now);
        if !answer.has_room() {
            self.parts.lanes.put_back(taken, Back::Untried, now);
            return;
        }
        match self.parts.reader.read(sequence, taken.entry.position) {
            Ok(Some(event)) => match event.split() {
                None => self.lease_whole(taken, &event, answer),
                Some(split) => {
                    self.out().opened.open(taken, split.parts.len());
                    self.lease_parts(sequence, &event, answer);
                    let follows = self.out().opened.close(sequence, now);
                    self.follow(follows);
                }
            },
            Ok(None) => self.parts.lanes.ended(&taken, Mark::Dropped, now),
            Err(error) => {
                tracing::error!(%error, %sequence, "a record cannot be read; it is put aside");
                self.parts.lanes.put_back(taken, Back::Aside(answer.until, Why::Delayed), now);
            }
        }
    }

    fn lease_whole(&self, taken: Taken, event: &Event, answer: &mut Answer) {
        let sequence = taken.entry.sequence;
        let mut out = self.out();
        let granted = out.grant(sequence.into(), answer.until, taken.entry.attempts.saturating_add(1));
        let Ok((token, attempt)) = granted else {
            drop(out);
            self.parts.lanes.put_back(taken, Back::Untried, answer.now);
            return;
        };
        let kind = Attempt {
            possible_duplicate: taken.entry.attempted,
            redelivery: event.envelope().redelivery,
            replay: taken.entry.replay,
        };
        out.entries.insert(sequence, taken);
        drop(out);
        answer.add(Leased { token, attempt, message: Message::new(event, sequence, kind) });
    }

    /// Leases as many parts of an open record as the answer has room for.
    fn lease_parts(&self, sequence: Sequence, event: &Event, answer: &mut Answer) {
        let Some(split) = event.split() else { return };
        let text = split.text(event.body());
        let ready = self.out().opened.ready(sequence, answer.now);
        let replay = self.out().opened.taken(sequence).is_some_and(|taken| taken.entry.replay);
        for (at, stage) in ready {
            let Some(part) = split.parts.get(at).filter(|_| answer.has_room()) else { return };
            let item = Item { sequence, part: at as u32 + 1 };
            let granted = self.out().grant(item, answer.until, stage.failures.saturating_add(1));
            let Ok((token, attempt)) = granted else { continue };
            let kind = Attempt {
                possible_duplicate: stage.attempted,
                redelivery: event.envelope().redelivery,
                replay,
            };
            let message = Message::part(event, part, &Split::element(&text, part), sequence, kind);
            answer.add(Leased { token, attempt, message });
        }
    }
}
