//! Progress: how far each part of a split record has come, remembered in memory while the record waits in its lane.
//!
//! What is forgotten here is handed over again, marked: an entry of which a part is confirmed counts as attempted. So
//! this is bounded by forgetting, and never asked whether something may be published without a mark.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Sequence;
use crate::lanes::Entry;

/// Parts that are remembered, at most; the oldest records are forgotten first.
const PARTS_MAX: usize = 1 << 19;

/// How far a part has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    /// It is confirmed, or acknowledged by a worker.
    pub(super) done: bool,
    /// It is given up until an operator has looked.
    pub(super) poison: bool,
    /// An earlier attempt may have arrived.
    pub(super) attempted: bool,
    /// How often it failed in a way that makes poison of it.
    pub(super) failures: u32,
    /// It is not to be handed over before that time (monotonic).
    pub(super) not_before: Duration,
}

impl Stage {
    /// Nothing more is to be done with it.
    pub(super) fn is_over(self) -> bool {
        self.done || self.poison
    }
}

/// The stages of records that wait in their lanes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    records: BTreeMap<Sequence, Vec<Stage>>,
    parts: usize,
}

impl Progress {
    /// Takes out how far the parts of a record have come; those of one that is not partial begin anew.
    pub(super) fn recall(&mut self, entry: &Entry, parts: usize) -> Vec<Stage> {
        let known = self.forget(entry.sequence).filter(|stages| entry.partial && stages.len() == parts);
        known.unwrap_or_else(|| vec![Stage { attempted: entry.attempted, ..Stage::default() }; parts])
    }

    /// Notes how far the parts of a record have come, and in its entry what must hold if that is forgotten.
    pub(super) fn keep(&mut self, entry: &mut Entry, stages: Vec<Stage>) {
        entry.attempted |= stages.iter().any(|stage| stage.done || stage.attempted);
        entry.partial = true;
        self.forget(entry.sequence);
        self.parts += stages.len();
        self.records.insert(entry.sequence, stages);
        while self.parts > PARTS_MAX
            && let Some((_, oldest)) = self.records.pop_first()
        {
            self.parts -= oldest.len();
        }
    }

    /// Whatever is published of the record from here on may be a copy.
    pub(super) fn doubt(&mut self, sequence: Sequence) {
        let stages = self.records.get_mut(&sequence);
        stages.into_iter().flatten().for_each(|stage| stage.attempted = true);
    }

    fn forget(&mut self, sequence: Sequence) -> Option<Vec<Stage>> {
        let stages = self.records.remove(&sequence)?;
        self.parts -= stages.len();
        Some(stages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::journal::Position;

    fn entry(sequence: u64) -> Entry {
        let position = Position { segment: 1, offset: 64 };
        Entry::new(Sequence(sequence), position, Timestamp::from_millis(0), 100)
    }

    #[test]
    fn what_is_remembered_comes_back_once_and_to_the_same_life_only() {
        let (mut progress, mut waiting) = (Progress::default(), entry(1));
        let mut stages = progress.recall(&waiting, 2);
        assert_eq!(stages, [Stage::default(); 2]);
        stages[1].done = true;
        progress.keep(&mut waiting, stages.clone());
        assert!(waiting.partial && waiting.attempted, "were it forgotten, all would go out marked");
        assert_eq!(progress.recall(&waiting, 2), stages);
        assert!(progress.recall(&waiting, 2).iter().all(|stage| stage.attempted && !stage.done));
        progress.keep(&mut waiting, stages);
        assert_eq!(
            progress.recall(&entry(1), 2),
            [Stage::default(); 2],
            "an entry out of the journal begins anew"
        );
        assert_eq!(progress.parts, 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let (mut progress, mut first) = (Progress::default(), entry(1));
        progress.keep(&mut first, vec![Stage { done: true, ..Stage::default() }; 1000]);
        for sequence in 2..=(PARTS_MAX as u64 / 1000 + 1) {
            progress.keep(&mut entry(sequence), vec![Stage::default(); 1000]);
        }
        assert!(progress.parts <= PARTS_MAX);
        let stages = progress.recall(&first, 1000);
        assert!(stages.iter().all(|stage| !stage.done && stage.attempted));
    }
}
