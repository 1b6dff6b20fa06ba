//! What senders were promised and what the broker got, and the judge of both: each rule over several events is a function
//! here that says what broke it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::broker::Seen;
use super::disk::SimDisk;
use super::life::WATERMARK_STEP;
use super::sender::{Fact, SOURCES};
use crate::accept::{Accepted, Proof};
use crate::clock::Timestamp;
use crate::event::{Digest, Sequence};
use crate::journal::Reader;
use crate::metrics::Outcome;

/// A broken promise.
pub(super) type Broken = String;

/// A moment, as keys age by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub wall: Timestamp,
    /// The latest that the wall clock has shown: a key may have gone then, though the clock was set back since.
    pub latest: Timestamp,
    pub monotonic: Duration,
    pub life: u32,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub facts: Vec<Fact>,
    window: Duration,
    /// A record could not be read at some time: it was put aside, and newer ones passed it.
    pub unreadable: bool,
    /// By identity: the fact and its part, 0 for all of it.
    ids: BTreeMap<Digest, (usize, u32)>,
    id_of: BTreeMap<(usize, u32), Digest>,
    first_told: BTreeMap<usize, Moment>,
    /// Facts whose keys may be past the window.
    renewable: BTreeSet<usize>,
    /// Keys that may be forgotten by command.
    forgotten: BTreeSet<Digest>,
    promised: BTreeMap<Sequence, usize>,
    held: BTreeSet<Sequence>,
    /// Promised, and neither confirmed nor given up.
    open: BTreeSet<Sequence>,
    confirmed: BTreeSet<Sequence>,
    given_up: BTreeSet<Sequence>,
    /// Touched by an operator: their order is not the senders'.
    ordered: BTreeSet<Sequence>,
    /// By event and part.
    attempts: BTreeMap<(Sequence, u32), u32>,
    /// In which life anything of an event was first published, where that was without a mark.
    first_life: BTreeMap<Sequence, u32>,
    life: u32,
    /// Parts that are confirmed.
    parts: BTreeMap<Sequence, BTreeSet<u32>>,
    /// Events that may be on their way at once; of as many a watermark tells that a crash then kept from it.
    in_flight_max: u64,
    /// By source: marked in this life, and never attempted before.
    needless: BTreeMap<String, u64>,
    kept: BTreeMap<usize, Vec<Seen>>,
    last: BTreeMap<String, (Sequence, u32)>,
}

fn name(fact: &Fact) -> String {
    format!("{}/{}", SOURCES[fact.source].0, fact.id)
}

impl Ledger {
    /// Nothing told. `unordered` where nobody promises an order.
    pub(super) fn new(window: Duration, in_flight_max: u64, unordered: bool) -> Self {
        Self { window, in_flight_max, unreadable: unordered, ..Self::default() }
    }

    /// A fact is told, for the first time or again.
    pub(super) fn told(&mut self, fact: usize, now: Moment) {
        let first = self.first_told.entry(fact).or_insert(now);
        first.wall = first.wall.min(now.wall);
        self.age(now);
    }

    /// Notes whose keys may be past the window.
    pub(super) fn age(&mut self, now: Moment) {
        for (fact, first) in &self.first_told {
            let end = first.wall.plus(self.window);
            let truly = now.monotonic.saturating_sub(first.monotonic) >= self.window;
            if (end <= now.wall && (truly || first.life != now.life)) || (end <= now.latest && truly) {
                self.renewable.insert(*fact);
            }
        }
    }

    fn identify(&mut self, (fact, part): (usize, u32), id: Digest) -> Result<(), Broken> {
        let (known, _) = *self.ids.entry(id).or_insert((fact, part));
        let own = *self.id_of.entry((fact, part)).or_insert(id);
        if known != fact {
            let (one, other) = (name(&self.facts[known]), name(&self.facts[fact]));
            return Err(format!("two events share one message_id: {one} and {other}"));
        }
        if own != id {
            return Err(format!("one event has two message_ids: {}", name(&self.facts[fact])));
        }
        Ok(())
    }

    /// A sender has its 2xx.
    pub(super) fn promise(
        &mut self,
        fact: usize,
        accepted: Accepted,
        id: Digest,
        reader: &Reader<SimDisk>,
    ) -> Result<(), Broken> {
        let who = name(&self.facts[fact]);
        let Proof::Kept(receipt) = accepted.proof else {
            return Err(format!("{who} was answered without a receipt"));
        };
        let sequence = receipt.sequence();
        self.identify((fact, 0), id)?;
        self.facts[fact].answered = true;
        let before = self.promised.insert(sequence, fact);
        if before.is_some_and(|before| before != fact) {
            return Err(format!("event {sequence} stands for {who} and for another"));
        }
        let had = self.promised.iter().any(|(other, of)| *of == fact && *other < sequence);
        if accepted.outcome != Outcome::Duplicate && had && !self.may_be_new(fact) {
            return Err(format!("a known event was taken for a new one: {who} as {sequence}"));
        }
        if accepted.outcome == Outcome::Held {
            self.held.insert(sequence);
        }
        if before.is_none() && !self.confirmed.contains(&sequence) && !self.given_up.contains(&sequence) {
            self.open.insert(sequence);
        }
        self.check_kept(reader)
    }

    /// An operator has this order carried out, perhaps.
    pub(super) fn ordered(&mut self, sequence: Sequence, drops: bool) {
        self.ordered.insert(sequence);
        if drops {
            self.given_up.insert(sequence);
        }
    }

    /// An operator has a key forgotten, perhaps.
    pub(super) fn forgotten(&mut self, id: Digest) {
        self.forgotten.insert(id);
    }

    /// Whether the index may have let go of its key.
    fn may_be_new(&self, fact: usize) -> bool {
        let forgotten = self.id_of.get(&(fact, 0)).is_some_and(|id| self.forgotten.contains(id));
        forgotten || self.renewable.contains(&fact)
    }

    /// A message leaves for the broker, or for a worker.
    pub(super) fn published(&mut self, seen: &Seen) -> Result<(), Broken> {
        let sequence = seen.sequence;
        let attempts = self.attempts.entry((sequence, seen.part.0)).or_default();
        *attempts += 1;
        let first_of_part = *attempts == 1;
        let first = !self.first_life.contains_key(&sequence);
        let since =
            *self.first_life.entry(sequence).or_insert(if seen.marked { u32::MAX } else { self.life });
        if self.held.contains(&sequence) && !self.ordered.contains(&sequence) {
            return Err(format!("event {sequence} is held, and was published"));
        }
        if first && seen.marked && !seen.replay && !self.ordered.contains(&sequence) {
            return self.needless(seen);
        }
        let touched = seen.replay || self.ordered.contains(&sequence);
        if !first && first_of_part && since == self.life && seen.marked && !touched {
            return Err(format!(
                "a mark on part {} of event {sequence}, of which nothing says that it arrived",
                seen.part.0
            ));
        }
        Ok(())
    }

    /// A mark on what was never attempted: a watermark tells more than was, by one step beyond what was about to be.
    fn needless(&mut self, seen: &Seen) -> Result<(), Broken> {
        let marks = self.needless.entry(seen.source.clone()).or_default();
        *marks += 1;
        match *marks > self.in_flight_max + WATERMARK_STEP {
            true => Err(format!("{}: {marks} needless duplicate marks after one crash", seen.source)),
            false => Ok(()),
        }
    }

    /// The broker keeps a message, or a worker has done its work.
    pub(super) fn arrived(&mut self, seen: Seen) -> Result<(), Broken> {
        let told = |fact: &Fact| {
            let whole =
                fact.id == seen.event_id && fact.body == seen.body && fact.items.is_empty() && seen.whole;
            let item = fact.items.get(seen.part.0 as usize - 1).filter(|_| !seen.whole);
            let part = item.is_some_and(|item| {
                let of = seen.part.1 as usize == fact.items.len();
                of && item.as_bytes() == seen.body && seen.event_id == format!("{}.{}", fact.id, seen.part.0)
            });
            SOURCES[fact.source].0 == seen.source && (whole || part)
        };
        let sequence = seen.sequence;
        let Some(fact) = self.facts.iter().position(told) else {
            return Err(format!("event {sequence} arrived with bytes that nobody signed: {}", seen.event_id));
        };
        self.identify((fact, if seen.whole { 0 } else { seen.part.0 }), seen.id)?;
        if self.promised.get(&sequence).is_some_and(|promised| *promised != fact) {
            return Err(format!("event {sequence} arrived with another's bytes"));
        }
        self.unmarked_twice(fact, &seen)?;
        self.in_order(&seen)?;
        self.kept.entry(fact).or_default().push(seen);
        Ok(())
    }

    fn unmarked_twice(&self, fact: usize, seen: &Seen) -> Result<(), Broken> {
        if seen.marked || seen.replay {
            return Ok(());
        }
        let (before, who) = (self.kept.get(&fact), name(&self.facts[fact]));
        let before = || before.into_iter().flatten().filter(|kept| kept.part == seen.part);
        if before().any(|kept| kept.sequence == seen.sequence) {
            return Err(format!("an unmarked second message of {who}, event {}", seen.sequence));
        }
        let first = before().find(|kept| !kept.redelivery && !kept.replay);
        match first {
            Some(first) if !seen.redelivery && !self.may_be_new(fact) => Err(format!(
                "an unmarked second message of {who}, event {} after event {}",
                seen.sequence, first.sequence
            )),
            _ => Ok(()),
        }
    }

    fn in_order(&mut self, seen: &Seen) -> Result<(), Broken> {
        let again = self.attempts.get(&(seen.sequence, seen.part.0)).is_none_or(|attempts| *attempts > 1);
        if seen.marked || seen.replay || again || self.unreadable || self.ordered.contains(&seen.sequence) {
            return Ok(());
        }
        let last = self.last.entry(seen.source.clone()).or_default();
        let place = (seen.sequence, seen.part.0);
        if place < *last {
            return Err(format!("{}: event and part {place:?} came after {last:?}", seen.source));
        }
        *last = place;
        Ok(())
    }

    /// The broker has confirmed it, or a worker has acknowledged it.
    pub(super) fn confirmed(&mut self, seen: &Seen) {
        let sequence = seen.sequence;
        let parts = self.parts.entry(sequence).or_default();
        parts.insert(seen.part.0);
        if parts.len() < seen.part.1 as usize {
            return;
        }
        self.confirmed.insert(sequence);
        self.open.remove(&sequence);
    }

    /// A process has ended.
    pub(super) fn crashed(&mut self) {
        self.life += 1;
        self.needless.clear();
    }

    /// Everything promised lives in the journal until it is confirmed or given up.
    pub(super) fn check_kept(&mut self, reader: &Reader<SimDisk>) -> Result<(), Broken> {
        let mut gone = Vec::new();
        for sequence in &self.open {
            if reader.state(*sequence).is_some() {
                continue;
            }
            if !self.given_up.contains(sequence) {
                let who = name(&self.facts[self.promised[sequence]]);
                return Err(format!("answered 2xx, never confirmed, and gone: event {sequence}, {who}"));
            }
            gone.push(*sequence);
        }
        self.open.retain(|sequence| !gone.contains(sequence));
        Ok(())
    }

    /// Facts that somebody still tells.
    pub(super) fn untold(&self) -> Vec<usize> {
        let waits = |at: &usize| self.facts[*at].retries && !self.facts[*at].answered;
        (0..self.facts.len()).filter(waits).collect()
    }

    /// Promised, and neither confirmed nor given up.
    pub(super) fn open(&self) -> Vec<Sequence> {
        self.open.iter().copied().collect()
    }

    /// At the end all that was promised has arrived, unless an operator gave it up.
    pub(super) fn check_arrived(&self) -> Result<(), Broken> {
        for (sequence, fact) in self.promised.iter().filter(|(s, _)| !self.given_up.contains(s)) {
            let kept = || self.kept.get(fact).into_iter().flatten().filter(|seen| seen.sequence == *sequence);
            let parts = 1..=self.facts[*fact].items.len().max(1) as u32;
            if !parts.into_iter().all(|part| kept().any(|seen| seen.part.0 == part)) {
                let who = name(&self.facts[*fact]);
                return Err(format!("answered 2xx and never arrived: event {sequence}, {who}"));
            }
        }
        Ok(())
    }

    /// Marked messages that arrived, and twins, copies and replays.
    pub(super) fn arrivals(&self) -> [u64; 4] {
        let all = || self.kept.values().flatten();
        let count = |test: fn(&Seen) -> bool| all().filter(|seen| test(seen)).count() as u64;
        [count(|s| s.marked), count(|s| s.twin), count(|s| s.redelivery), count(|s| s.replay)]
    }
}
