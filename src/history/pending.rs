//! What has been told of events that are not in the file yet, and what that comes to.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::operate::Status;
use crate::steps::{Step, What};

/// Events of which something is remembered until they are in the file, at most.
const EVENTS_MAX: usize = 1 << 15;

/// Of one event's steps the first so many are kept, and the last so many.
pub(super) const FIRST_STEPS: usize = 16;
pub(super) const LAST_STEPS: usize = 48;

/// What steps come to, for one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How it stands after the last of them; none where none of them says so.
    pub(super) status: Option<Status>,
    /// Attempts among them.
    pub(super) attempts: u32,
    /// The last of those.
    pub(super) attempted_at: Option<Timestamp>,
    /// Its end, if that is the last of them.
    pub(super) ended_at: Option<Timestamp>,
    /// Those that are told of one by one: all but an attempt and an end, which the event's own row has.
    pub(super) unusual: Vec<(Timestamp, &'static str, String)>,
}

impl Progress {
    /// Takes in the next step.
    pub(super) fn add(&mut self, Step { at, what, .. }: Step) {
        let (status, name, detail) = match what {
            What::Attempted => {
                self.attempts += 1;
                self.attempted_at = Some(at);
                self.status = Some(Status::Pending);
                self.ended_at = None;
                return;
            }
            What::Confirmed => (Status::Confirmed, None, String::new()),
            What::Failed(failure) => (after(failure.0), Some(failure.0), failure.1),
            What::Superseded => (Status::Superseded, Some("superseded"), String::new()),
            What::Dropped => (Status::Dropped, Some("dropped"), String::new()),
            What::Poisoned => (Status::Poison, Some("poison"), String::new()),
            What::Released => (Status::Pending, Some("released"), String::new()),
            What::Replayed => (Status::Pending, Some("replayed"), String::new()),
        };
        let ends = !matches!(status, Status::Pending | Status::Aside);
        self.ended_at = ends.then_some(at);
        self.status = Some(status);
        if let Some(name) = name {
            self.unusual.push((at, name, detail));
            if self.unusual.len() > FIRST_STEPS + LAST_STEPS {
                self.unusual.remove(FIRST_STEPS);
            }
        }
    }
}

/// How an event stands after a failed attempt: put aside by itself, or still the next of its source.
fn after(outcome: &str) -> Status {
    match outcome {
        "returned" | "given_back" | "lease_expired" => Status::Aside,
        _ => Status::Pending,
    }
}

/// What has been told, by event.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<Sequence, Progress>);

impl Pending {
    /// Takes in steps; beyond its room those of the newest events are forgotten, which the journal tells how they stand
    /// once their turn comes.
    pub(super) fn add(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.0.entry(step.sequence).or_default().add(step);
        }
        while self.0.len() > EVENTS_MAX {
            self.0.pop_last();
        }
    }

    /// What has been told of events up to that one, in their order.
    pub(super) fn take_through(&mut self, through: Sequence) -> BTreeMap<Sequence, Progress> {
        let later = self.0.split_off(&Sequence(through.0 + 1));
        std::mem::replace(&mut self.0, later)
    }

    /// Puts back what could not be written, before what has been told since.
    pub(super) fn put_back(&mut self, taken: BTreeMap<Sequence, Progress>) {
        for (sequence, earlier) in taken {
            self.0.insert(sequence, earlier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(sequence: u64, second: i64, what: What) -> Step {
        Step { sequence: Sequence(sequence), at: Timestamp::from_seconds(second), what }
    }

    #[test]
    fn steps_come_to_how_an_event_stands() {
        let mut pending = Pending::default();
        pending.add(vec![
            step(1, 1, What::Attempted),
            step(2, 1, What::Attempted),
            step(1, 2, What::Failed(Box::new(("returned", "312 NO_ROUTE".to_owned())))),
            step(1, 9, What::Attempted),
            step(1, 10, What::Confirmed),
            step(3, 10, What::Poisoned),
        ]);
        let taken = pending.take_through(Sequence(1));
        let one = &taken[&Sequence(1)];
        let at = |second| Some(Timestamp::from_seconds(second));
        assert_eq!((one.status, one.attempts), (Some(Status::Confirmed), 2));
        assert_eq!((one.attempted_at, one.ended_at), (at(9), at(10)));
        assert_eq!(one.unusual, [(Timestamp::from_seconds(2), "returned", "312 NO_ROUTE".to_owned())]);
        let rest = pending.take_through(Sequence(9));
        assert_eq!(rest[&Sequence(2)].status, Some(Status::Pending));
        assert_eq!((rest[&Sequence(3)].status, rest[&Sequence(3)].ended_at), (Some(Status::Poison), at(10)));
    }

    #[test]
    fn of_an_event_that_fails_for_ever_the_first_and_the_last_steps_are_remembered() {
        let mut pending = Pending::default();
        let failed = |n: i64| step(1, n, What::Failed(Box::new(("given_back", n.to_string()))));
        pending.add((0..5_000).map(failed).collect());
        let unusual = &pending.take_through(Sequence(1))[&Sequence(1)].unusual;
        let told: Vec<&str> = unusual.iter().map(|(_, _, words)| words.as_str()).collect();
        assert_eq!((told.len(), told[15], told[16], told[63]), (64, "15", "4952", "4999"));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_stay() {
        let mut pending = Pending::default();
        pending.add((1..=EVENTS_MAX as u64 + 5).map(|n| step(n, 1, What::Attempted)).collect());
        let taken = pending.take_through(Sequence(u64::MAX - 1));
        assert_eq!((taken.len(), taken.contains_key(&Sequence(1))), (EVENTS_MAX, true));
    }
}
