//! The file and the searches in it, held against plain lists.

mod courses;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::course;
use super::pending::{Course, Pending, Progress};
use super::schema;
use super::search::{After, Words, events};
use super::store::{Batch, Keep, NewEvent, OpenError, Store, number};
use crate::clock::Timestamp;
use crate::event::{Digest, Envelope, Keys, Sequence};
use crate::operate::{Selection, Status};
use crate::steps::{Cause, Refusal, Step, What};

const JOURNAL: [u8; 16] = [7; 16];
const DAY: i64 = 86_400;
const BEGIN: i64 = 1_800_000_000;

fn digest(n: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Digest(bytes)
}

/// Event `n`: three sources, seven types, an id that every tenth shares, a minute after the one before.
fn envelope(n: u64) -> Envelope {
    Envelope {
        source: format!("source{}", n % 3).into(),
        provider: "stripe".into(),
        keys: Keys { message_id: digest(n), content: None },
        event_id: if n.is_multiple_of(10) { "shared".to_owned() } else { format!("evt_{n}") },
        event_type: format!("type{}", n % 7),
        received_at: Timestamp::from_seconds(BEGIN + 60 * n as i64),
        secret: "live".into(),
        content_type: String::new(),
        headers: Vec::new(),
        source_authenticated: false,
        unauthenticated: false,
        invalid: n.is_multiple_of(50).then(|| "no amount".to_owned()),
        twin_of: n.is_multiple_of(40).then(|| digest(1)),
        held: false,
        redelivery: false,
    }
}

fn status(n: u64) -> Status {
    if n.is_multiple_of(5) { Status::Held } else { Status::Confirmed }
}

/// Writes the events of these numbers, as they came in.
fn fill(store: &mut Store, numbers: std::ops::RangeInclusive<u64>) {
    let through = Sequence(*numbers.end());
    let envelopes: Vec<(u64, Envelope)> = numbers.map(|n| (n, envelope(n))).collect();
    let event = |(n, envelope)| NewEvent {
        sequence: Sequence(n),
        envelope,
        digest: digest(n + 1),
        body_bytes: n,
        text: Some(format!("{{\"word\":\"number{n}\",\"all\":\"every event\"}}")),
        status: status(n),
        progress: Progress { attempts: 1, ..Progress::default() },
    };
    let events = envelopes.iter().map(|(n, envelope)| event((*n, envelope))).collect();
    store.write(&Batch { events, through, ..Batch::default() }).unwrap();
}

/// Event 1 as it comes in: it stands so, and that has been told of it.
fn first(envelope: &Envelope, status: Status, progress: Progress) -> NewEvent<'_> {
    let (sequence, digest) = (Sequence(1), digest(1));
    NewEvent { sequence, envelope, digest, body_bytes: 1, text: None, status, progress }
}

fn found(path: &Path, selection: &Selection, after: Option<After>, max: usize) -> Vec<u64> {
    let connection = schema::open_to_read(path).unwrap();
    events(&connection, (selection, None), after, max).unwrap().iter().map(|row| row.sequence.0).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[derive(Clone, Debug)]
struct Asked {
    selection: Selection,
    page: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let some =
        |text: &'static str, of: u64| proptest::option::of((0..of).prop_map(move |n| format!("{text}{n}")));
    let id = proptest::option::of(prop_oneof![
        Just("shared".to_owned()),
        (1..420_u64).prop_map(|n| format!("evt_{n}"))
    ]);
    let key = proptest::option::weighted(0.2, (1..420_u64).prop_map(digest));
    let time = || proptest::option::of((0..420 * 60_i64).prop_map(|s| Timestamp::from_seconds(BEGIN + s)));
    let states = prop_oneof![
        Just(vec![]),
        Just(vec![Status::Held]),
        Just(vec![Status::Confirmed, Status::Poison]),
        Just(vec![Status::Held, Status::Confirmed])
    ];
    let number = || proptest::option::of((1..420_u64).prop_map(Sequence));
    (some("source", 4), some("type", 8), id, key, (time(), time()), states, (number(), number()), 1..40_usize)
        .prop_map(|(source, event_type, id, key, (since, until), states, (first, last), page)| Asked {
            selection: Selection { source, event_type, id, key, states, first, last, since, until },
            page,
        })
}

fn wanted(selection: &Selection, n: u64) -> bool {
    let envelope = envelope(n);
    let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|text| text == found);
    same(&selection.source, &envelope.source)
        && same(&selection.event_type, &envelope.event_type)
        && same(&selection.id, &envelope.event_id)
        && selection.key.is_none_or(|key| key == envelope.keys.message_id)
        && selection.wants_status(status(n))
        && selection.since.is_none_or(|since| envelope.received_at >= since)
        && selection.until.is_none_or(|until| envelope.received_at < until)
        && selection.first.is_none_or(|first| Sequence(n) >= first)
        && selection.last.is_none_or(|last| Sequence(n) <= last)
}

#[test]
fn every_search_finds_what_a_look_at_each_event_would_in_pages_of_any_size() {
    const EVENTS: u64 = 400;
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    (1..=EVENTS / 100).for_each(|part| fill(&mut store, (part - 1) * 100 + 1..=part * 100));
    proptest!(ProptestConfig::with_cases(600), |(asked in asked())| {
        let Asked { selection, page } = asked;
        let expected: Vec<u64> = (1..=EVENTS).rev().filter(|n| wanted(&selection, *n)).collect();
        let (mut all, mut after) = (Vec::new(), None::<After>);
        loop {
            let some = found(&path, &selection, after, page);
            after = some.last().map(|n| format!("{}.{n}", envelope(*n).received_at.millis()).parse().unwrap());
            let whole = some.len() == page;
            all.extend(some);
            if !whole {
                break;
            }
        }
        prop_assert_eq!(all, expected);
    });
}

/// How many of SQLite's steps a search takes, in hundreds, and what it finds.
fn steps(path: &Path, selection: &Selection) -> (usize, usize) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let mut connection = schema::open_to_read(path).unwrap();
    let count = move || counted.fetch_add(1, Ordering::Relaxed) == usize::MAX;
    connection.progress_handler(100, Some(count)).unwrap();
    let found = events(&connection, (selection, None), None, 20).unwrap().len();
    (steps.load(Ordering::Relaxed), found)
}

#[test]
fn no_search_by_an_id_a_number_a_type_or_a_time_looks_at_every_event() {
    const EVENTS: u64 = 40_000;
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    (0..EVENTS / 1000).for_each(|part| fill(&mut store, part * 1000 + 1..=(part + 1) * 1000));
    let all = Selection::default;
    let time = |n: u64| Some(envelope(n).received_at);
    for (name, selection) in [
        ("id", Selection { id: Some("evt_77".to_owned()), ..all() }),
        ("an id that is not there", Selection { id: Some("evt_x".to_owned()), ..all() }),
        ("key", Selection { key: Some(digest(20_001)), ..all() }),
        ("number", Selection { first: Some(Sequence(9)), last: Some(Sequence(9)), ..all() }),
        (
            "type and time",
            Selection { event_type: Some("type3".to_owned()), since: time(500), until: time(900), ..all() },
        ),
        ("source and time", Selection { source: Some("source1".to_owned()), until: time(900), ..all() }),
        ("time", Selection { since: time(500), until: time(900), ..all() }),
        ("newest", all()),
        ("a type that is not there", Selection { event_type: Some("none".to_owned()), ..all() }),
    ] {
        let (hundreds, found) = steps(&path, &selection);
        // A row with its names takes some two hundred.
        assert!(hundreds <= 60, "{name}: {hundreds} hundred steps for {found} rows of {EVENTS}");
    }
}

#[test]
fn ids_are_found_in_every_stretch_of_numbers() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    let far = 5 << schema::STRETCH_BITS;
    fill(&mut store, 1..=20);
    fill(&mut store, far..=far + 20);
    let id = |id: &str| Selection { id: Some(id.to_owned()), ..Selection::default() };
    let shared: Vec<u64> = (far..=far + 20).chain(1..=20).filter(|n| n % 10 == 0).collect();
    let mut newest_first = shared;
    newest_first.sort_by_key(|n| std::cmp::Reverse(*n));
    assert_eq!(found(&path, &id("shared"), None, 100), newest_first);
    assert_eq!(found(&path, &id("evt_7"), None, 100), [7]);
}

#[test]
fn the_oldest_go_by_age_and_by_bytes_and_are_found_no_more() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    let events = 3 << schema::STRETCH_BITS;
    (0..events / 1024).for_each(|part| fill(&mut store, part * 1024 + 1..=(part + 1) * 1024));
    let prune = |store: &mut Store, days: i64, bytes_max: u64| {
        let since = Timestamp::from_seconds(BEGIN + days * DAY);
        let mut rounds = 0;
        while store.prune(Keep { since, quarantined_since: since, bytes_max }).unwrap() {
            rounds += 1;
            assert!(rounds < 1_000, "it ends");
        }
    };
    prune(&mut store, 10, u64::MAX);
    let all = Selection { until: Some(Timestamp::from_seconds(BEGIN + 11 * DAY)), ..Selection::default() };
    let first = 10 * 1440;
    assert_eq!(found(&path, &all, None, 2_000).last(), Some(&first), "to the minute");
    let id = |n: u64| Selection { id: Some(format!("evt_{n}")), ..Selection::default() };
    assert_eq!(found(&path, &id(first - 1), None, 9), Vec::<u64>::new());
    assert_eq!(found(&path, &id(first + 1), None, 9), [first + 1]);

    let file = std::fs::metadata(&path).unwrap().len();
    let (full, most) = (store.bytes().unwrap(), store.bytes().unwrap() / 2);
    prune(&mut store, 0, most);
    let left = store.bytes().unwrap();
    assert!(left <= most && left > full / 4, "{full} bytes before, {left} after, at most {most}");
    let newest = found(&path, &Selection::default(), None, 1);
    assert_eq!(newest, [events], "the newest stay");
    assert!(std::fs::metadata(&path).unwrap().len() <= file, "the file does not grow");
}

#[test]
fn steps_of_one_event_are_bounded_and_the_first_and_last_stay() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    fill(&mut store, 1..=1);
    for n in 0..300 {
        let unusual = vec![(Timestamp::from_seconds(n), "returned", n.to_string())];
        let progress = Progress { attempts: 1, unusual, ..Progress::default() };
        let progress = BTreeMap::from([(Sequence(1), progress)]);
        store.write(&Batch { progress, through: Sequence(1), ..Batch::default() }).unwrap();
    }
    let connection = schema::open_to_read(&path).unwrap();
    let details = "SELECT detail FROM steps ORDER BY nth";
    let details: Vec<String> = connection
        .prepare(details)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected: Vec<String> = (0..16).chain(252..300).map(|n| n.to_string()).collect();
    assert_eq!(details, expected);
    let attempts: i64 = connection.query_row("SELECT attempts FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(attempts, 301);
}

#[test]
fn refusals_are_bounded_and_a_cause_finds_its_own() {
    let folder = folder();
    let (mut store, _) = Store::open(&folder.path().join("h"), JOURNAL).unwrap();
    let refusal = |n: i64| Refusal {
        at: Timestamp::from_seconds(n),
        request: format!("{n:016x}"),
        source: "shop".to_owned(),
        address: None,
        path: None,
        reason: "signature_mismatch",
        detail: String::new(),
        status: 401,
        left_out: 0,
    };
    for part in 0..102 {
        let refusals: Vec<Refusal> = (part * 1000..(part + 1) * 1000).map(refusal).collect();
        let cause = Cause {
            request: format!("{:016x}", part * 1000 + 500),
            code: "other_secret",
            found: "f".to_owned(),
            advice: "a".to_owned(),
        };
        store.write(&Batch { refusals: &refusals, causes: &[cause], ..Batch::default() }).unwrap();
    }
    let since = Timestamp::from_seconds(0);
    let keep = Keep { since, quarantined_since: since, bytes_max: u64::MAX };
    assert!(!store.prune(keep).unwrap());
    let connection = schema::open_to_read(&folder.path().join("h")).unwrap();
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT COUNT(*) FROM refusals"), 100_000);
    assert_eq!(one("SELECT MIN(at) FROM refusals"), 2_000_000);
    assert_eq!(
        one("SELECT COUNT(*) FROM refusals WHERE cause = 'other_secret' AND at % 1000000 = 500000"),
        100
    );
}

#[test]
fn a_file_of_another_journal_or_of_another_version_is_made_anew() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, anew) = Store::open(&path, JOURNAL).unwrap();
    assert!(!anew);
    fill(&mut store, 1..=3);
    drop(store);
    let (store, anew) = Store::open(&path, JOURNAL).unwrap();
    assert_eq!((store.through().unwrap(), anew), (Sequence(3), false));
    drop(store);
    let (store, anew) = Store::open(&path, [8; 16]).unwrap();
    assert_eq!((store.through().unwrap(), anew), (Sequence(0), true));
    drop(store);
    schema::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let (store, anew) = Store::open(&path, [8; 16]).unwrap();
    assert_eq!((store.through().unwrap(), anew), (Sequence(0), true));
}

#[test]
fn a_file_that_is_no_history_is_left_as_it_is_and_one_gateway_alone_has_a_history() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
    drop(foreign);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path, JOURNAL), Err(OpenError::Foreign)));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let path = folder.path().join("other.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    assert!(matches!(Store::open(&path, [8; 16]), Err(OpenError::Taken)));
    fill(&mut store, 1..=3);
    for name in ["other.sqlite", "other.sqlite-wal"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    store.put_aside();
    let (store, anew) = Store::open(&path, JOURNAL).unwrap();
    assert_eq!((store.through().unwrap(), anew), (Sequence(0), false));
    let old = rusqlite::Connection::open(folder.path().join("other.sqlite.old")).unwrap();
    let count: i64 = old.query_row("SELECT COUNT(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 3, "what was there can still be looked at");
}

#[test]
fn how_events_stand_is_corrected_and_one_that_waits_aside_goes_on_waiting() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    fill(&mut store, 1..=10);
    assert_eq!(store.unended(Sequence(0), 9).unwrap(), [Sequence(5), Sequence(10)]);
    let course = Course { status: Some(Status::Aside), ..Course::default() };
    let aside = Progress { course, ..Progress::default() };
    let progress = BTreeMap::from([(Sequence(5), aside)]);
    store.write(&Batch { progress, through: Sequence(10), ..Batch::default() }).unwrap();
    store.stand(&[(Sequence(5), Some(Status::Pending)), (Sequence(10), None)]).unwrap();
    let state = |state| Selection { states: vec![state], ..Selection::default() };
    assert_eq!(found(&path, &state(Status::Aside), None, 9), [5]);
    assert_eq!(store.unended(Sequence(0), 9).unwrap(), [Sequence(5)]);
    store.stand(&[(Sequence(5), Some(Status::Confirmed))]).unwrap();
    assert_eq!(store.unended(Sequence(0), 9).unwrap(), []);
    assert_eq!(number(Sequence(u64::MAX)), i64::MAX);
}

#[test]
fn a_batch_that_fails_leaves_nothing() {
    let folder = folder();
    let path = folder.path().join("history.sqlite");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    let other = schema::open(&path).unwrap();
    other.execute_batch("DROP TABLE refusals").unwrap();
    let envelope = envelope(1);
    let event = first(&envelope, Status::Pending, Progress::default());
    let cause = Cause { request: String::new(), code: "", found: String::new(), advice: String::new() };
    let batch = Batch { events: vec![event], through: Sequence(1), causes: &[cause], ..Batch::default() };
    assert!(store.write(&batch).is_err());
    assert_eq!(store.through().unwrap(), Sequence(0));
    assert_eq!(found(&path, &Selection::default(), None, 9), Vec::<u64>::new());
}

#[test]
fn events_are_found_by_words_of_their_bodies_until_they_are_let_go() {
    let folder = folder();
    let path = folder.path().join("history");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    fill(&mut store, 1..=300);
    let with = |words: &str| -> Vec<u64> {
        let connection = schema::open_to_read(&path).unwrap();
        let words = words.parse().unwrap();
        let wanted = (&Selection::default(), Some(&words));
        events(&connection, wanted, None, 1_000).unwrap().iter().map(|row| row.sequence.0).collect()
    };
    assert_eq!(with("number7"), [7]);
    assert_eq!(with("number7 EVENT"), [7]);
    assert_eq!(with("number29*"), (290..=299).rev().chain([29]).collect::<Vec<_>>());
    assert_eq!(with("every event").len(), 300);
    assert_eq!(with("number7\0event"), [7], "a zero byte stands between words, too");
    for none in ["number7 number8", "numbe", "word:other", "every\" OR \"number7", "NEAR(every, 2) -x"] {
        assert_eq!(with(none), Vec::<u64>::new(), "{none:?}");
    }
    let keep = |since| Keep {
        since: Timestamp::from_seconds(since),
        quarantined_since: Timestamp::from_seconds(0),
        bytes_max: u64::MAX,
    };
    while store.prune(keep(BEGIN + 60 * 100)).unwrap() {}
    assert_eq!((with("number99"), with("number100")), (Vec::new(), vec![100]));
    assert_eq!(with("every").len(), 201);
    for wrong in ["", "  ", "***", "ab*", "a b c d e f g h i", &"long".repeat(300)] {
        assert!(wrong.parse::<Words>().is_err(), "{wrong:?}");
    }
}

#[test]
fn words_that_came_in_on_other_terms_are_let_go_and_no_others() {
    let folder = folder();
    let path = folder.path().join("history");
    let (mut store, _) = Store::open(&path, JOURNAL).unwrap();
    let terms = |of: &[(&str, &str)]| -> std::collections::BTreeMap<String, String> {
        of.iter().map(|(source, terms)| ((*source).to_owned(), (*terms).to_owned())).collect()
    };
    let before = terms(&[("source0", ""), ("source1", ""), ("source2", "/all")]);
    assert!(!store.agree(&before).unwrap());
    fill(&mut store, 1..=9_000);
    let with = |source: &str| {
        let connection = schema::open_to_read(&path).unwrap();
        let selection = Selection { source: Some(source.to_owned()), ..Selection::default() };
        let words = "every".parse().unwrap();
        events(&connection, (&selection, Some(&words)), None, 10_000).unwrap().len()
    };
    assert!(!store.agree(&before).unwrap());
    assert_eq!([with("source0"), with("source1"), with("source2")], [3_000; 3]);
    let after = terms(&[("source1", ""), ("source2", "/all\n/word")]);
    let mut rounds = 1;
    while store.agree(&after).unwrap() {
        rounds += 1;
    }
    assert_eq!([with("source0"), with("source1"), with("source2")], [0, 3_000, 0]);
    assert!(rounds > 1, "not all at once");
    assert!(!store.agree(&after).unwrap());
}
