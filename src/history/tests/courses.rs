//! What became of an event before its replays.

use super::*;

/// What has been told of event 1: a step a second, from that second on.
fn told(from: i64, steps: &[What]) -> Progress {
    let mut pending = Pending::default();
    let step = |(at, what): (i64, &What)| Step {
        sequence: Sequence(1),
        at: Timestamp::from_seconds(at),
        what: what.clone(),
    };
    pending.add((from..).zip(steps).map(step).collect());
    pending.take_through(Sequence(1)).remove(&Sequence(1)).unwrap()
}

/// The courses before the one under way, and that: number, replayed, attempted, ended.
fn courses(path: &Path) -> Vec<[Option<i64>; 4]> {
    let connection = schema::open_to_read(path).unwrap();
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::seconds);
    let before = course::before(&connection, 1).unwrap().into_iter().map(|course| {
        let [replayed, attempted, ended] =
            [course.replayed_at, course.attempted_at, course.ended_at].map(seconds);
        [Some(course.nth.into()), replayed, attempted, ended]
    });
    let row = &events(&connection, (&Selection::default(), None), None, 1).unwrap()[0];
    let [replayed, attempted, ended] = [row.replayed_at, row.attempted_at, row.ended_at].map(seconds);
    before.chain([[Some(row.replays.into()), replayed, attempted, ended]]).collect()
}

#[test]
fn what_was_before_a_replay_stays_however_the_steps_come_in() {
    let all = [
        What::Attempted,
        What::Confirmed,
        What::Replayed,
        What::Attempted,
        What::Confirmed,
        What::Replayed,
        What::Attempted,
        What::Confirmed,
    ];
    let expected = [
        [Some(0), None, Some(0), Some(1)],
        [Some(1), Some(2), Some(3), Some(4)],
        [Some(2), Some(5), Some(6), Some(7)],
    ];
    let envelope = envelope(1);
    // The first so many with the event itself, and the rest in pieces of so many.
    for (with, piece) in (0..=all.len()).flat_map(|with| (1..=all.len()).map(move |piece| (with, piece))) {
        let folder = folder();
        let path = folder.path().join("history.sqlite");
        let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
        let ended = with == all.len();
        let status = if ended { Status::Confirmed } else { Status::Pending };
        let progress = if with == 0 { Progress::default() } else { told(0, &all[..with]) };
        let event = first(&envelope, status, progress);
        store.write(&Batch { events: vec![event], through: Sequence(1), ..Batch::default() }).unwrap();
        for (n, some) in all[with..].chunks(piece).enumerate() {
            let progress = BTreeMap::from([(Sequence(1), told((with + n * piece) as i64, some))]);
            store.write(&Batch { progress, through: Sequence(1), ..Batch::default() }).unwrap();
        }
        assert_eq!(courses(&path), expected, "{with} with the event, then {piece} at once");
        let connection = schema::open_to_read(&path).unwrap();
        let row = events(&connection, (&Selection::default(), None), None, 1).unwrap().remove(0);
        assert_eq!((row.attempts, row.status), (3, Some(Status::Confirmed)), "{with}, {piece}");
    }
}

#[test]
fn of_many_replays_the_first_course_and_the_last_eight_stay() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    fill(&mut store, 1..=1);
    let mut at = 0;
    for replays in [1, 3, 40, 1] {
        let again: Vec<What> =
            (0..replays).flat_map(|_| [What::Attempted, What::Confirmed, What::Replayed]).collect();
        let progress = BTreeMap::from([(Sequence(1), told(at, &again))]);
        store.write(&Batch { progress, through: Sequence(1), ..Batch::default() }).unwrap();
        at += again.len() as i64;
    }
    let courses = courses(&path);
    let numbers: Vec<i64> = courses.iter().filter_map(|course| course[0]).collect();
    assert_eq!(numbers, [0, 38, 39, 40, 41, 42, 43, 44, 45]);
    assert_eq!(courses[0], [Some(0), None, Some(0), Some(1)]);
    // Each course takes three seconds, and ends with the replay that begins the next.
    for course in &courses[1..8] {
        let from = 3 * course[0].unwrap();
        assert_eq!(course[1..], [Some(from - 1), Some(from), Some(from + 1)], "{courses:?}");
    }
    assert_eq!(courses[8], [Some(45), Some(3 * 45 - 1), None, None]);
    let connection = schema::open_to_read(&path).unwrap();
    let row = events(&connection, (&Selection::default(), None), None, 1).unwrap().remove(0);
    assert_eq!((row.replays, row.attempts, row.status), (45, 46, Some(Status::Pending)));
}
