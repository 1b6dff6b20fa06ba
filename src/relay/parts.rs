//! Split records on their way to the sink: part after part as the window has room, and one mark when all are confirmed.
//!
//! A part that fails holds up its record as a failed event holds up its lane; the parts that were confirmed are
//! remembered, so that without a crash none is published twice. Nothing of a record is durable but its one mark.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::progress::{Progress, Stage};
use super::run::{FAULT_PAUSE, Flown, Loaded, Relay, TAKE_IN};
use super::step::{self, Next};
use crate::disk::Disk;
use crate::event::{Digest, Event, Sequence, Split};
use crate::failpoint::{self, Point};
use crate::journal::Mark;
use crate::lanes::{Back, Entry, Taken, Why};
use crate::sink::{Attempt, Confirmation, Message};
use crate::steps::What;

/// One split record.
struct Way {
    taken: Taken,
    event: Event,
    split: Arc<Split>,
    /// The JSON that its parts lie in.
    text: Bytes,
    stages: Vec<Stage>,
    /// The first part that has not been looked at in this turn.
    next: usize,
    /// Parts without an outcome.
    out: usize,
    /// No more parts go until the record has been back in its lane.
    halted: bool,
    /// How long it waits there, where the broker has to be given time.
    retry: Option<Duration>,
    /// How long it waits there for a queue to be bound.
    unroutable: Option<Duration>,
    /// The broker closed the channel on a part of it.
    suspected: bool,
}

impl Way {
    fn has_more(&self) -> bool {
        !self.halted && self.next < self.stages.len()
    }

    fn is_over(&self) -> bool {
        self.out == 0 && !self.has_more()
    }
}

/// The split records on their way, in order, and what is known of those that wait.
#[derive(Default)]
pub(super) struct Ways {
    records: BTreeMap<Sequence, Way>,
    progress: Progress,
    /// How many parts the last split record of a source had.
    sizes: HashMap<Arc<str>, usize>,
}

impl Ways {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record of this source has to go on, or go back, before anything newer goes.
    pub(super) fn block(&self, source: &Arc<str>) -> bool {
        self.records.values().any(|way| way.taken.source == *source && (way.halted || way.has_more()))
    }

    /// Whatever is published of that record from here on may be a copy.
    pub(super) fn doubt(&mut self, entry: &mut Entry) {
        entry.attempted = true;
        self.progress.doubt(entry.sequence);
    }

    /// How many messages a record of this source may be.
    pub(super) fn size(&self, source: &Arc<str>) -> usize {
        self.sizes.get(source).copied().unwrap_or(1)
    }
}

impl<D: Disk> Relay<D> {
    /// Publishes the first part of a split record, and as many more as the window has room for beside `reserved` events.
    ///
    /// # Errors
    /// Where the sink takes nothing in; the record is back in its lane then.
    pub(super) async fn set_out(
        &mut self,
        one: Loaded,
        split: Arc<Split>,
        reserved: usize,
    ) -> Result<(), ()> {
        let Loaded { mut taken, event } = one;
        let parts = split.parts.len();
        self.parts.lanes.weigh(&mut taken, parts);
        self.ways.sizes.insert(Arc::clone(&taken.source), parts);
        let stages = self.ways.progress.recall(&taken.entry, parts);
        let (text, sequence) = (split.text(event.body()), taken.entry.sequence);
        self.bytes_in_flight += taken.entry.bytes;
        let way = Way {
            taken,
            event,
            split,
            text,
            stages,
            next: 0,
            out: 0,
            halted: false,
            retry: None,
            unroutable: None,
            suspected: false,
        };
        self.ways.records.insert(sequence, way);
        if self.go_on(sequence, true, reserved).await { Ok(()) } else { Err(()) }
    }

    /// Publishes what the window has room for of records that are on their way; false where the sink takes nothing in.
    pub(super) async fn advance(&mut self) -> bool {
        let waiting = self.ways.records.iter().filter(|(_, way)| way.has_more());
        let waiting: Vec<Sequence> = waiting.map(|(sequence, _)| *sequence).collect();
        for sequence in waiting {
            if !self.go_on(sequence, false, 0).await {
                return false;
            }
        }
        true
    }

    /// Publishes parts of one record while there is room, the first one in any case if it is to.
    async fn go_on(&mut self, sequence: Sequence, mut first: bool, reserved: usize) -> bool {
        loop {
            let (free, any) = (self.room() > reserved, self.suspects.any());
            let Some(way) = self.ways.records.get_mut(&sequence) else { return true };
            while way.stages.get(way.next).is_some_and(|stage| stage.is_over()) {
                way.next += 1;
            }
            // While a cause is looked for, only suspects go, and a record that is none makes way for them.
            way.halted |= !first && any && !self.suspects.allow(&way.taken.entry);
            if !way.has_more() {
                self.give_back_if_over(sequence);
                return true;
            }
            if !first && !free {
                return true;
            }
            if !self.publish_part(sequence).await {
                self.give_back_if_over(sequence);
                return false;
            }
            first = false;
        }
    }

    /// Publishes the next part of a record; false where the sink does not take it in.
    async fn publish_part(&mut self, sequence: Sequence) -> bool {
        let Some(way) = self.ways.records.get_mut(&sequence) else { return true };
        let at = way.next;
        let (Some(part), Some(stage)) = (way.split.parts.get(at), way.stages.get(at)) else { return true };
        let attempt = Attempt {
            possible_duplicate: stage.attempted,
            redelivery: way.event.envelope().redelivery,
            replay: way.taken.entry.replay,
        };
        let body = Split::element(&way.text, part);
        let message = Message::part(&way.event, part, &body, sequence, attempt);
        let started = self.parts.clock.monotonic();
        failpoint::reach(Point::RelayPublishBefore);
        let sink = Arc::clone(&self.parts.sink);
        let Ok(pending) = tokio::time::timeout(TAKE_IN, sink.publish(message)).await else {
            way.halted = true;
            way.retry = way.retry.max(Some(FAULT_PAUSE));
            return false;
        };
        failpoint::reach(Point::RelayPublishAfter);
        if way.out == 0 {
            self.parts.steps.tell([sequence], &What::Attempted);
        }
        (way.next, way.out) = (at + 1, way.out + 1);
        self.in_flight += 1;
        let (clock, metrics) = (Arc::clone(&self.parts.clock), self.parts.metrics.clone());
        self.flight.push(Box::pin(async move {
            let confirmation = pending.await;
            metrics.published(confirmation.counted(), clock.monotonic().saturating_sub(started));
            Flown::Part(sequence, at, confirmation)
        }));
        true
    }

    /// Deals with the outcome of a part; gives the record back where it ends by that, with the mark that ends it.
    pub(super) fn settle_part(
        &mut self,
        (sequence, part): (Sequence, usize),
        confirmation: &Confirmation,
        alone: bool,
    ) -> Option<(Taken, Digest, Mark)> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let way = self.ways.records.get_mut(&sequence)?;
        way.out = way.out.saturating_sub(1);
        step::tell(&self.parts.steps, sequence, confirmation);
        way.judge(part, confirmation, alone);
        if way.is_over() { self.end(sequence) } else { None }
    }

    /// A record of which nothing is out and nothing more goes: it ends if all its parts have, or goes back to its lane.
    fn end(&mut self, sequence: Sequence) -> Option<(Taken, Digest, Mark)> {
        if !self.ways.records.get(&sequence)?.stages.iter().all(|stage| stage.is_over()) {
            self.give_back_if_over(sequence);
            return None;
        }
        let way = self.ways.records.remove(&sequence)?;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(way.taken.entry.bytes);
        self.suspects.remove(&way.taken.entry);
        // Its room of the window is the record's until the mark is durable.
        self.in_flight += 1;
        let id = way.event.envelope().keys.message_id;
        if way.stages.iter().any(|stage| stage.poison) {
            return Some((way.taken, id, Mark::Poisoned));
        }
        self.observe_lag(&way.taken);
        Some((way.taken, id, Mark::Confirmed))
    }

    fn give_back_if_over(&mut self, sequence: Sequence) {
        let Some(way) = self.ways.records.remove(&sequence) else { return };
        if !way.is_over() {
            self.ways.records.insert(sequence, way);
            return;
        }
        let now = self.parts.clock.monotonic();
        let back = way.back(now);
        let Way { mut taken, stages, suspected, .. } = way;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(taken.entry.bytes);
        self.suspects.remove(&taken.entry);
        let entry: &mut Entry = &mut taken.entry;
        entry.attempts = entry.attempts.saturating_add(u32::from(back != Back::Untried));
        match suspected {
            true => entry.suspicions = entry.suspicions.saturating_add(1),
            // What the broker answers for does not close its channel.
            false if back != Back::Untried => entry.suspicions = 0,
            false => {}
        }
        self.ways.progress.keep(entry, stages);
        self.suspects.add(&taken.entry);
        self.parts.lanes.put_back(taken, back, now);
    }
}

impl Way {
    /// Notes what became of a part.
    fn judge(&mut self, at: usize, confirmation: &Confirmation, alone: bool) {
        let Some(stage) = self.stages.get_mut(at) else { return };
        let mut entry = Entry { attempted: stage.attempted, closings: stage.failures, ..self.taken.entry };
        let next = step::judge(&mut entry, confirmation, alone);
        (stage.attempted, stage.failures) = (entry.attempted, entry.closings);
        match next {
            Next::Mark(Mark::Poisoned) => {
                tracing::error!(source = %self.taken.source, sequence = %self.taken.entry.sequence, part = at + 1,
                    ?confirmation, "the broker closes the channel on this part each time: it is poison");
                stage.poison = true;
            }
            Next::Mark(_) => {
                failpoint::reach(Point::RelayConfirmAfter);
                stage.done = true;
                // What gets on is not punished for what other parts met.
                self.taken.entry.attempts = 0;
            }
            Next::Retry(wait) => {
                self.suspected |= matches!(confirmation, Confirmation::ChannelClosed { .. });
                self.retry = self.retry.max(Some(wait));
                self.halted = true;
            }
            Next::Unroutable(wait) => self.unroutable = self.unroutable.max(Some(wait)),
        }
    }

    /// How it goes back to its lane at `now`.
    fn back(&self, now: Duration) -> Back {
        match (self.retry, self.unroutable) {
            (Some(wait), _) => Back::Retry(now + wait),
            // What has not gone yet goes first.
            (None, Some(wait)) if !self.halted => Back::Aside(now + wait, Why::Unroutable),
            (None, _) => Back::Untried,
        }
    }
}
