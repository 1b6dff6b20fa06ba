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
/// Of its courses the first is kept, and those of the last so many replays.
pub(super) const REPLAYS_KEPT: usize = 8;

/// What an event went through from its delivery, or from a replay, up to the next replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// How many replays began it: none where it goes on with what was told before, more than one where those between are
    /// forgotten.
    pub(super) replays: u32,
    /// When the last of them did.
    pub(super) replayed_at: Option<Timestamp>,
    /// How the event stands after the last step; none where none of them says so.
    pub(super) status: Option<Status>,
    /// The last attempt.
    pub(super) attempted_at: Option<Timestamp>,
    /// Its end, if that is the last of them.
    pub(super) ended_at: Option<Timestamp>,
}

/// What steps come to, for one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Attempts among them.
    pub(super) attempts: u32,
    /// Courses that a replay among them ended.
    pub(super) earlier: Vec<Course>,
    /// The course under way.
    pub(super) course: Course,
    /// Those that are told of one by one: all but replays, attempts and ends, which courses have.
    pub(super) unusual: Vec<(Timestamp, &'static str, String)>,
}

impl Progress {
    /// Takes in the next step.
    pub(super) fn add(&mut self, Step { at, what, .. }: Step) {
        let (status, name, detail) = match what {
            What::Attempted => {
                self.attempts += 1;
                self.course.attempted_at = Some(at);
                self.course.status = Some(Status::Pending);
                self.course.ended_at = None;
                return;
            }
            What::Replayed => return self.replayed(at),
            What::Sampled => return self.tell(at, "sample", String::new()),
            What::Confirmed => (Status::Confirmed, None, String::new()),
            What::Failed(failure) => (after(failure.0), Some(failure.0), failure.1),
            What::Superseded => (Status::Superseded, Some("superseded"), String::new()),
            What::Dropped => (Status::Dropped, Some("dropped"), String::new()),
            What::Poisoned => (Status::Poison, Some("poison"), String::new()),
            What::Released => (Status::Pending, Some("released"), String::new()),
        };
        let ends = !matches!(status, Status::Pending | Status::Aside);
        self.course.ended_at = ends.then_some(at);
        self.course.status = Some(status);
        if let Some(name) = name {
            self.tell(at, name, detail);
        }
    }

    fn tell(&mut self, at: Timestamp, name: &'static str, detail: String) {
        self.unusual.push((at, name, detail));
        if self.unusual.len() > FIRST_STEPS + LAST_STEPS {
            self.unusual.remove(FIRST_STEPS);
        }
    }

    fn replayed(&mut self, at: Timestamp) {
        let status = Some(Status::Pending);
        let next = Course { replays: 1, replayed_at: Some(at), status, ..Course::default() };
        self.earlier.push(std::mem::replace(&mut self.course, next));
        if self.earlier.len() > 1 + REPLAYS_KEPT {
            let gone = self.earlier.remove(1).replays;
            self.earlier.iter_mut().skip(1).take(1).for_each(|after| after.replays += gone);
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
        assert_eq!((one.course.status, one.attempts), (Some(Status::Confirmed), 2));
        assert_eq!((one.course.attempted_at, one.course.ended_at), (at(9), at(10)));
        assert_eq!(one.unusual, [(Timestamp::from_seconds(2), "returned", "312 NO_ROUTE".to_owned())]);
        let rest = pending.take_through(Sequence(9));
        assert_eq!(rest[&Sequence(2)].course.status, Some(Status::Pending));
        let three = &rest[&Sequence(3)].course;
        assert_eq!((three.status, three.ended_at), (Some(Status::Poison), at(10)));
    }

    #[test]
    fn a_replay_begins_a_course_and_of_many_the_first_and_the_last_are_remembered() {
        let mut pending = Pending::default();
        let course = |n: i64| [What::Attempted, What::Confirmed, What::Replayed].map(|what| step(1, n, what));
        pending.add((0..30).flat_map(course).collect());
        pending.add(vec![step(1, 30, What::Attempted), step(1, 30, What::Sampled)]);
        let taken = pending.take_through(Sequence(1));
        let one = &taken[&Sequence(1)];
        let at = |second| Some(Timestamp::from_seconds(second));
        assert_eq!((one.attempts, one.earlier.len()), (31, 1 + REPLAYS_KEPT));
        let ended: Vec<_> = one.earlier.iter().map(|course| course.ended_at).collect();
        assert_eq!(ended, [0, 22, 23, 24, 25, 26, 27, 28, 29].map(at));
        let replays: Vec<u32> =
            one.earlier.iter().chain([&one.course]).map(|course| course.replays).collect();
        assert_eq!(replays, [0, 22, 1, 1, 1, 1, 1, 1, 1, 1], "30 in all");
        assert_eq!((one.course.replayed_at, one.course.attempted_at), (at(29), at(30)));
        assert_eq!(one.course.status, Some(Status::Pending), "a sample stands as it stood");
        assert_eq!(one.unusual.len(), 1);
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
