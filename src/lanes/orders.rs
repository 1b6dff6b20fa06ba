//! What an operator does to lanes: records that are pending again, taken out, or due at once. Called by the acceptance
//! thread, which alone makes the marks behind it durable.

use std::sync::Arc;

use super::table::Lanes;
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::journal::{Position, State};
use crate::metrics::Stand;

/// Records of one source that are durably pending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The first of them; the lane reads the journal again from here on.
    pub from: Position,
    /// How many had ended.
    pub replayed: u64,
    /// How many were held.
    pub released: u64,
    /// How many were poison.
    pub requeued: u64,
    /// Up to here they may have been attempted, by this process too.
    pub attempted_through: Sequence,
}

impl Again {
    /// Nothing yet, from there on.
    pub fn none(from: Position) -> Self {
        Self { from, replayed: 0, released: 0, requeued: 0, attempted_through: Sequence(0) }
    }
}

impl Lanes {
    /// Takes in records that are pending again: they follow what the lane has in memory, in order of sequence.
    pub fn again(&self, source: &Arc<str>, again: Again) {
        let mut table = self.table();
        let lane = table.lane(source);
        self.account().replayed(lane.row, again.replayed);
        self.account().shift(lane.row, Stand::Held, Stand::Pending, again.released);
        self.account().shift(lane.row, Stand::Poison, Stand::Pending, again.requeued);
        lane.inherited_through = lane.inherited_through.max(again.attempted_through);
        lane.look_from(again.from);
        lane.arrived.notify_one();
        drop(table);
        self.ring();
    }

    /// Takes a pending record out of its lane, so that nobody is given it from here on; false where somebody has it
    /// already. [`Lanes::dropped`] follows once its end is durable.
    pub fn withdraw(&self, source: &Arc<str>, sequence: Sequence, received_at: Timestamp) -> bool {
        self.table().lane(source).withdraw(sequence, received_at, self.account())
    }

    /// Forgets a record that an operator gave up, durably; `was` is how it stood before.
    pub fn dropped(&self, source: &Arc<str>, sequence: Sequence, was: State) {
        let mut table = self.table();
        let lane = table.lane(source);
        let from = match was {
            State::Pending => {
                lane.forget(sequence);
                Stand::Pending
            }
            State::Held => Stand::Held,
            State::Poisoned => Stand::Poison,
        };
        self.account().shift(lane.row, from, Stand::Dropped, 1);
    }

    /// Makes a record due at once that waits aside, as if it had never been tried; false where it does not wait.
    pub fn hurry(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        let mut table = self.table();
        let lane = table.lane(source);
        let waits = lane.hurry(sequence, self.account());
        if waits {
            lane.arrived.notify_one();
            self.ring();
        }
        waits
    }

    /// Whether a record waits aside: unroutable, parked, or given back by a worker.
    pub fn is_aside(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        self.table().lane(source).is_aside(sequence)
    }

    /// Whether a record is in memory or out: where its life has ended, the lane has not been told yet.
    pub fn is_outstanding(&self, source: &Arc<str>, sequence: Sequence) -> bool {
        self.table().lane(source).is_outstanding(sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::thread::scope;
    use std::time::Duration;

    use super::super::tests::{append, open, push, stood, take};
    use super::*;
    use crate::disk::RealDisk;
    use crate::journal::{Journal, Mark};
    use crate::lanes::{Back, Taken, Why};

    const SHOP: &str = "shop";

    fn pending(lanes: &Lanes) -> u64 {
        lanes.stats().iter().map(|(_, stats)| stats.pending).sum()
    }

    fn end(journal: &mut Journal<RealDisk>, lanes: &Lanes, taken: &[Taken]) {
        taken.iter().for_each(|one| journal.mark(one.entry.sequence, Mark::Confirmed));
        journal.commit().unwrap();
        taken.iter().for_each(|one| lanes.ended(one, Mark::Confirmed, Duration::ZERO));
    }

    fn hand_over(journal: &mut Journal<RealDisk>, lanes: &Lanes) -> usize {
        let mut count = 0;
        while pending(lanes) > 0 {
            let taken = take(lanes, &journal.reader(), 700);
            count += taken.len();
            end(journal, lanes, &taken);
        }
        count
    }

    #[test]
    fn replays_beside_takes_come_once_each_while_new_events_go_on() {
        const EVENTS: u64 = 6000;
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, lanes) = (open(dir.path()), Lanes::new());
        let first = append(&mut journal, SHOP, EVENTS as usize);
        push(&lanes, &first);
        assert_eq!(hand_over(&mut journal, &lanes), EVENTS as usize);
        let reader = journal.reader();
        let (journal, source) = (Mutex::new(journal), Arc::<str>::from(SHOP));
        let mut given: BTreeMap<Sequence, (u32, bool)> = BTreeMap::new();
        scope(|scope| {
            let operator = scope.spawn(|| {
                for page in first.chunks(500) {
                    let mut journal = journal.lock().unwrap();
                    page.iter().for_each(|record| journal.mark(record.sequence, Mark::Replayed));
                    journal.commit().unwrap();
                    let replayed = page.len() as u64;
                    lanes.again(&source, Again { replayed, ..Again::none(page[0].position) });
                    push(&lanes, &append(&mut journal, SHOP, 50));
                }
            });
            while !operator.is_finished() || pending(&lanes) > 0 {
                let taken = take(&lanes, &reader, 300);
                for one in &taken {
                    let seen = given.entry(one.entry.sequence).or_insert((0, one.entry.replay));
                    seen.0 += 1;
                }
                end(&mut journal.lock().unwrap(), &lanes, &taken);
            }
        });
        assert!(given.values().all(|(times, _)| *times == 1), "none twice");
        assert_eq!(given.len() as u64, EVENTS + 600, "none lost");
        assert!(given.iter().all(|(sequence, (_, replay))| *replay == (sequence.0 <= EVENTS)));
        assert!(take(&lanes, &reader, 10).is_empty());
    }

    #[test]
    fn what_is_withdrawn_is_given_to_nobody_and_what_is_out_is_not_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, lanes) = (open(dir.path()), Lanes::new());
        let records = append(&mut journal, SHOP, 3000);
        push(&lanes, &records);
        let (reader, source) = (journal.reader(), Arc::<str>::from(SHOP));
        let out = take(&lanes, &reader, 1);
        let withdraw =
            |index: usize| lanes.withdraw(&source, records[index].sequence, records[index].received_at);
        assert!(!withdraw(0), "somebody has it");
        assert!(withdraw(1), "it was in memory");
        assert!(withdraw(2900), "it was on disk only");
        assert!(!withdraw(2900), "once");
        for index in [1, 2900] {
            journal.mark(records[index].sequence, Mark::Dropped);
        }
        let mut rest = Vec::new();
        loop {
            let taken = take(&lanes, &reader, 900);
            if taken.is_empty() {
                break;
            }
            rest.extend(taken);
        }
        assert_eq!(rest.len(), 2997, "withdrawn ones are not found on disk either, before their marks are");
        journal.commit().unwrap();
        for index in [1, 2900] {
            lanes.dropped(&source, records[index].sequence, State::Pending);
        }
        assert_eq!(stood(&lanes, Stand::Dropped), 2);
        end(&mut journal, &lanes, &rest);
        end(&mut journal, &lanes, &out);
        assert_eq!(pending(&lanes), 0);
    }

    #[test]
    fn what_waits_aside_is_due_at_once_and_as_if_never_tried() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, lanes) = (open(dir.path()), Lanes::new());
        push(&lanes, &append(&mut journal, SHOP, 2));
        let (reader, source) = (journal.reader(), Arc::<str>::from(SHOP));
        let mut taken = take(&lanes, &reader, 2);
        taken[0].entry.attempts = 7;
        let sequence = taken[0].entry.sequence;
        lanes.put_back(
            taken.remove(0),
            Back::Aside(Duration::from_secs(900), Why::Unroutable),
            Duration::ZERO,
        );
        assert!(lanes.is_aside(&source, sequence) && take(&lanes, &reader, 2).is_empty());
        assert!(!lanes.hurry(&source, taken[0].entry.sequence), "it is out");
        assert!(lanes.hurry(&source, sequence));
        let again = take(&lanes, &reader, 2);
        assert_eq!((again.len(), again[0].entry.sequence, again[0].entry.attempts), (1, sequence, 0));
    }
}
