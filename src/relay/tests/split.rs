//! Split records on a real journal: each part published once, in order, whatever the others meet.

use super::*;
use crate::event::{Part, Split};

/// How a record of a hundred bytes is split.
fn split(number: usize, parts: u32) -> Split {
    let part = |index: u32| {
        let mut id = [0xFF; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id[8..12].copy_from_slice(&index.to_le_bytes());
        let span = index % 100..index % 100 + 1;
        let (event_id, event_type) = (format!("item_{index}"), "item".to_owned());
        Part { index, span, message_id: Digest(id), event_id, event_type }
    };
    Split { elements: parts, text: 0..100, encoded: false, parts: (0..parts).map(part).collect() }
}

impl Rig {
    /// Has records of so many parts kept.
    async fn keep_split(&self, source: &str, sizes: &[u32]) {
        let counts = self.counts(source);
        for parts in sizes {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let event = event(number, source, self.clock.now()).in_parts(Some(split(number, *parts)));
            self.acceptor.offer(event, Policy::default(), counts.begin()).unwrap().await.unwrap().unwrap();
        }
    }
}

/// Event and part of all that was published.
fn places(sink: &Script) -> Vec<(u64, u32)> {
    sink.seen().iter().map(|seen| (seen.sequence, seen.part)).collect()
}

fn all(sizes: &[u32]) -> Vec<(u64, u32)> {
    let parts = |(at, size): (usize, &u32)| (1..=*size).map(move |part| (at as u64 + 1, part));
    sizes.iter().enumerate().flat_map(parts).collect()
}

#[tokio::test]
async fn the_window_counts_messages_and_order_holds_through_records_that_do_not_fit_it() {
    let rig = Rig::new();
    let sizes = [1, 5, 1000, 2, 16, 17, 200, 1];
    rig.keep_split("shop", &sizes).await;
    let sink = Script::slow(16);
    let (_running, _stop) = rig.relay(&sink, 16);
    rig.all_handed_over().await;
    assert_eq!(places(&sink), all(&sizes));
    assert!(sink.seen().iter().all(|seen| !seen.marked));
    let most = sink.most.load(Ordering::SeqCst);
    assert!(most <= 16, "{most} at once");
    assert!(rig.recovered().live.is_empty(), "every mark is durable");
}

#[tokio::test]
async fn parts_that_failed_go_again_alone_and_before_anything_newer() {
    let rig = Rig::new();
    let sizes = [3, 40, 4];
    rig.keep_split("shop", &sizes).await;
    let mut tries = BTreeMap::new();
    let sink = Script::new(move |seen, answer| {
        let tried = tries.entry((seen.sequence, seen.part)).or_insert(0);
        *tried += 1;
        let cause = String::new();
        let told = match (seen.sequence, seen.part, *tried) {
            (2, 10..20, 1) => Confirmation::NotSent { cause },
            (2, 30..33, 1) => Confirmation::Unknown { cause },
            (2, 35, 1) => Confirmation::Refused,
            _ => Confirmation::Confirmed,
        };
        answer.send(told).unwrap();
    });
    let (_running, _stop) = rig.relay(&sink, 1);
    rig.all_handed_over().await;
    let twice = |place: &(u64, u32)| place.0 == 2 && matches!(place.1, 10..20 | 30..33 | 35);
    let expected: Vec<_> =
        all(&sizes).into_iter().flat_map(|place| vec![place; 1 + usize::from(twice(&place))]).collect();
    assert_eq!(places(&sink), expected);
    let marked: Vec<u32> = sink.seen().iter().filter(|seen| seen.marked).map(|seen| seen.part).collect();
    assert_eq!(marked, [30, 31, 32, 35], "only what may have arrived");
}

#[tokio::test]
async fn a_part_that_is_poison_keeps_its_record_and_stops_no_other_part() {
    const POISON: (u64, u32) = (2, 7);
    let rig = Rig::new();
    let sizes = [4, 20, 30, 1];
    rig.keep_split("shop", &sizes).await;
    rig.keep("other", 30).await;
    let (sink, _, broker) = closing_on(|seen| (seen.sequence, seen.part) == POISON);
    let (_running, _stop) = rig.relay(&sink, 16);
    rig.all_handed_over().await;
    broker.abort();
    let live = rig.recovered().live;
    let left = live.iter().map(|(source, live)| (&**source, live.pending.records, live.poisoned.records));
    assert_eq!(left.collect::<Vec<_>>(), [("shop", 0, 1)]);
    let seen = sink.seen();
    for place in all(&sizes) {
        let copies =
            || seen.iter().filter(|seen| seen.source == "shop" && (seen.sequence, seen.part) == place);
        assert!(copies().count() > 0, "{place:?} is published");
        assert!(copies().filter(|seen| !seen.marked).count() <= 1, "{place:?} is unmarked once");
    }
}

#[tokio::test]
async fn a_stop_in_the_midst_of_a_record_publishes_the_rest_of_it() {
    let rig = Rig::new();
    rig.keep_split("shop", &[300]).await;
    let sink = Script::slow(4);
    let (running, stop) = rig.relay(&sink, 4);
    rig.until("some of it is published", |_| sink.seen().len() > 8).await;
    stop.send_replace(true);
    timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(places(&sink), all(&[300]), "so that none of it comes again, marked");
    assert!(rig.recovered().live.is_empty());
}
