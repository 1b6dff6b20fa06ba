//! Split records of which workers have parts: which parts are out, done or to be offered again, and when the record ends.
//!
//! Bookkeeping only: reads no journal, grants no lease, writes no mark. A record is here while a part of it is out, and
//! in its lane otherwise, so that lanes and operators see what is offered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::progress::{Progress, Stage};
use crate::event::Sequence;
use crate::journal::Mark;
use crate::lanes::{Back, Taken, Why};

/// A record of which a part is out, or is about to be.
struct Open {
    taken: Taken,
    stages: Vec<Stage>,
    out: BTreeSet<usize>,
}

/// What became of a part that was out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The work is done.
    Done,
    /// It never left for its worker.
    Undone,
    /// It is to be offered as that attempt, not before that time; marked where the work may be done.
    Again { attempt: u32, not_before: Duration, perhaps_done: bool },
    /// It was offered as often as it may be.
    Poison,
}

/// What follows for a record of which nothing is out any more.
#[derive(Debug)]
pub(super) enum Follows {
    /// It goes back to its lane.
    Back(Taken, Back),
    /// All its parts have ended: so does it, by this mark.
    End(Taken, Mark),
}

/// All of them, and what is remembered of those in their lanes.
#[derive(Default)]
pub(super) struct Opened {
    records: BTreeMap<Sequence, Open>,
    progress: Progress,
    /// How many parts the last split record of a source had.
    sizes: HashMap<Arc<str>, usize>,
}

impl Opened {
    /// Takes a record in; a part of it is to be given out at once, or [`Self::close`] called.
    pub(super) fn open(&mut self, taken: Taken, parts: usize) {
        self.sizes.insert(Arc::clone(&taken.source), parts);
        let stages = self.progress.recall(&taken.entry, parts);
        self.records.insert(taken.entry.sequence, Open { taken, stages, out: BTreeSet::new() });
    }

    /// The entry of an open record.
    pub(super) fn taken(&self, sequence: Sequence) -> Option<&Taken> {
        self.records.get(&sequence).map(|open| &open.taken)
    }

    /// Events that a record of this source may be, as far as is known.
    pub(super) fn size(&self, source: &Arc<str>) -> usize {
        self.sizes.get(source).copied().unwrap_or(1)
    }

    /// The open records of a source that have parts to offer at `now`, and how many parts that are.
    pub(super) fn offers(&self, source: &str, now: Duration) -> (Vec<Sequence>, usize) {
        let of = self.records.iter().filter(|(_, open)| *open.taken.source == *source);
        let ready = of.map(|(sequence, open)| (*sequence, open.ready(now).count()));
        ready.filter(|(_, parts)| *parts > 0).fold((Vec::new(), 0), |(mut all, sum), (sequence, parts)| {
            all.push(sequence);
            (all, sum + parts)
        })
    }

    /// The parts of an open record that are to be offered at `now`, with their stages.
    pub(super) fn ready(&self, sequence: Sequence, now: Duration) -> Vec<(usize, Stage)> {
        let open = self.records.get(&sequence);
        open.into_iter().flat_map(|open| open.ready(now).map(|at| (at, open.stages[at]))).collect()
    }

    /// When the next part of an open record of this source is to be offered, after `now`.
    pub(super) fn next(&self, source: &str, now: Duration) -> Option<Duration> {
        let of = self.records.values().filter(|open| *open.taken.source == *source);
        let waiting = of.flat_map(|open| open.idle().map(|at| open.stages[at].not_before));
        waiting.map(|at| at.max(now)).min()
    }

    /// A part goes out.
    pub(super) fn give(&mut self, sequence: Sequence, part: usize) {
        if let Some(open) = self.records.get_mut(&sequence) {
            open.out.insert(part);
        }
    }

    /// A part comes back at `now`; what follows for its record, where nothing of it is out any more.
    pub(super) fn change(
        &mut self,
        (sequence, part): (Sequence, usize),
        change: Change,
        now: Duration,
    ) -> Option<Follows> {
        let open = self.records.get_mut(&sequence)?;
        let stage = open.stages.get_mut(part).filter(|_| open.out.remove(&part))?;
        match change {
            Change::Done => stage.done = true,
            Change::Undone => {}
            Change::Again { attempt, not_before, perhaps_done } => {
                stage.failures = attempt.saturating_sub(1);
                stage.attempted |= perhaps_done;
                stage.not_before = not_before;
            }
            Change::Poison => stage.poison = true,
        }
        self.close(sequence, now)
    }

    /// What follows for a record, if nothing of it is out.
    pub(super) fn close(&mut self, sequence: Sequence, now: Duration) -> Option<Follows> {
        if !self.records.get(&sequence)?.out.is_empty() {
            return None;
        }
        let Open { mut taken, stages, .. } = self.records.remove(&sequence)?;
        if stages.iter().all(|stage| stage.is_over()) {
            let poison = stages.iter().any(|stage| stage.poison);
            return Some(Follows::End(taken, if poison { Mark::Poisoned } else { Mark::Confirmed }));
        }
        let due = stages.iter().filter(|stage| !stage.is_over()).map(|stage| stage.not_before).min();
        let back = match due.filter(|due| *due > now) {
            Some(due) => Back::Aside(due, Why::Delayed),
            None => Back::Untried,
        };
        self.progress.keep(&mut taken.entry, stages);
        Some(Follows::Back(taken, back))
    }
}

impl Open {
    /// Parts that have not ended and are with nobody.
    fn idle(&self) -> impl Iterator<Item = usize> {
        let idle = |(at, stage): (usize, &Stage)| (!stage.is_over() && !self.out.contains(&at)).then_some(at);
        self.stages.iter().enumerate().filter_map(idle)
    }

    fn ready(&self, now: Duration) -> impl Iterator<Item = usize> {
        self.idle().filter(move |at| self.stages[*at].not_before <= now)
    }
}
