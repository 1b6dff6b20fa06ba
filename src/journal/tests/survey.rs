//! Replays and surveys: what has ended is live again by a mark, and everything the journal holds is found.

use super::super::{Mark, Standing, State, Within};
use super::*;

fn survey<D: Disk>(reader: &Reader<D>, within: Within, page: (usize, u64)) -> Vec<(u64, Standing, bool)> {
    let (mut all, mut at) = (Vec::new(), Position::START);
    loop {
        let survey = reader.survey(at, &within, page, &mut |_| true).unwrap();
        assert!(survey.found.len() <= page.0);
        for found in survey.found {
            let read = reader.read(found.sequence, found.position).unwrap().unwrap();
            assert_eq!(read.envelope(), &found.envelope);
            assert_eq!(read.body().len() as u64, found.body_bytes);
            let again = reader.survey(found.position, &within, (1, u64::MAX), &mut |_| true).unwrap();
            assert_eq!(again.found[0].sequence, found.sequence, "a survey from a record begins with it");
            all.push((found.sequence.0, found.standing, found.replayed));
        }
        assert!(survey.at_end || survey.next > at, "a survey goes on");
        at = survey.next;
        if survey.at_end {
            return all;
        }
    }
}

fn filled(disk: &MemDisk, count: u64, bytes: usize) -> Journal<MemDisk> {
    let (mut journal, _) = open(disk, &settings());
    for number in 1..=count {
        append(&mut journal, &event(number, "shop", bytes, number == 5));
        journal.commit().unwrap();
        journal.maintain(NOW, Sequence(0)).unwrap();
    }
    journal
}

fn mark(journal: &mut Journal<MemDisk>, sequence: u64, mark: Mark) {
    journal.mark(Sequence(sequence), mark);
    journal.commit().unwrap();
}

#[test]
fn finds_what_lives_and_what_has_ended_and_how() {
    let disk = MemDisk::default();
    let mut journal = filled(&disk, 8, 100);
    mark(&mut journal, 1, Mark::Confirmed);
    mark(&mut journal, 2, Mark::Superseded);
    mark(&mut journal, 3, Mark::Dropped);
    mark(&mut journal, 4, Mark::Poisoned);
    let expected = [
        (1, Standing::Ended(Mark::Confirmed), false),
        (2, Standing::Ended(Mark::Superseded), false),
        (3, Standing::Ended(Mark::Dropped), false),
        (4, Standing::Live(State::Poisoned), false),
        (5, Standing::Live(State::Held), false),
        (6, Standing::Live(State::Pending), false),
        (7, Standing::Live(State::Pending), false),
        (8, Standing::Live(State::Pending), false),
    ];
    for page in [(1, u64::MAX), (3, 1), (100, u64::MAX)] {
        assert_eq!(survey(&journal.reader(), Within::default(), page), expected);
    }
    let some = Within { first: Sequence(3), last: Sequence(5), ..Within::default() };
    assert_eq!(survey(&journal.reader(), some, (2, u64::MAX)), expected[2..5]);
    let later = Within { since: Some(NOW.plus(Duration::from_secs(1))), ..Within::default() };
    assert_eq!(survey(&journal.reader(), later, (2, u64::MAX)), []);
    drop(journal);
    let (journal, _) = open(&disk, &settings());
    assert_eq!(
        survey(&journal.reader(), Within::default(), (100, u64::MAX)),
        expected,
        "after a restart too"
    );
    assert_eq!(journal.reader().find(Sequence(3)).unwrap().unwrap().sequence, Sequence(3));
    assert_eq!(journal.reader().find(Sequence(9)).unwrap(), None);
}

#[test]
fn a_replay_is_live_again_through_restarts_and_moves_until_it_ends() {
    let disk = MemDisk::default();
    let mut journal = filled(&disk, 300, 1000);
    for sequence in 1..=290 {
        mark(&mut journal, sequence, Mark::Confirmed);
    }
    let before = journal.stats().live_records;
    mark(&mut journal, 7, Mark::Replayed);
    mark(&mut journal, 295, Mark::Replayed);
    mark(&mut journal, 100_000, Mark::Replayed);
    assert_eq!(journal.stats().live_records, before + 1, "only what had ended");
    let replays = |reader: &Reader<MemDisk>| -> Vec<u64> {
        live(reader, ALL).iter().filter(|record| record.replayed).map(|record| record.sequence.0).collect()
    };
    assert_eq!(replays(&journal.reader()), [7]);
    drop(journal);
    let (mut journal, recovery) = open(&disk.crash(0), &settings());
    assert_eq!(recovery.live["shop"].pending.records + recovery.live["shop"].held.records, 11);
    assert_eq!(replays(&journal.reader()), [7]);
    let later = NOW.plus(Duration::from_secs(7200));
    for _ in 0..20 {
        journal.maintain(later, Sequence(300)).unwrap();
    }
    let first = journal.reader().start_of(Sequence(7));
    assert_eq!(first, Position::START, "its segment is gone, and it has moved");
    assert_eq!(replays(&journal.reader()), [7]);
    let found = journal.reader().find(Sequence(7)).unwrap().unwrap();
    assert_eq!((found.standing, found.replayed), (Standing::Live(State::Pending), true));
    assert_eq!(journal.reader().gone(Sequence(1), Sequence(10)), 9);
    mark(&mut journal, 7, Mark::Confirmed);
    assert_eq!(journal.standing(Sequence(7)), None);
    mark(&mut journal, 7, Mark::Replayed);
    assert_eq!(journal.standing(Sequence(7)), None, "what retention removed stays gone");
}

#[test]
fn replays_leave_room_for_what_comes_in() {
    let disk = MemDisk::default();
    let journal = filled(&disk, 10, 1000);
    let live = journal.stats().live_bytes;
    let most = settings().quota() / 4 * 3 - live;
    assert!(journal.replay_room(most) && !journal.replay_room(most + 8));
}
