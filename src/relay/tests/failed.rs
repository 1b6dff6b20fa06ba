//! What fails, comes back or is poison: it goes again in its place, and holds up nothing else.

use super::*;

#[tokio::test]
async fn what_failed_goes_again_before_anything_newer() {
    let rig = Rig::new();
    rig.keep("shop", 300).await;
    let mut tries = BTreeMap::new();
    let sink = Script::new(move |seen, answer| {
        let tried = tries.entry(seen.sequence).or_insert(0);
        *tried += 1;
        // From the 20th on, each fails once.
        let cause = String::new();
        let told = match (seen.sequence, *tried) {
            (20..40, 1) => Confirmation::NotSent { cause },
            (40..60, 1) => Confirmation::Unknown { cause },
            _ => Confirmation::Confirmed,
        };
        answer.send(told).unwrap();
    });
    let (_running, _stop) = rig.relay(&sink, 1);
    rig.all_handed_over().await;
    let twice = |sequence| 1 + usize::from((20..60).contains(&sequence));
    let expected: Vec<u64> = (1..=300).flat_map(|sequence| vec![sequence; twice(sequence)]).collect();
    assert_eq!(sink.sequences(), expected);
    let marked = sink.seen().into_iter().filter(|seen| seen.marked).map(|seen| seen.sequence);
    assert_eq!(marked.collect::<Vec<_>>(), (40..60).collect::<Vec<u64>>(), "only what may have arrived");
}

#[tokio::test]
async fn what_was_returned_is_passed_by_newer_ones() {
    let rig = Rig::new();
    rig.keep("shop", 100).await;
    let sink = Script::new(|seen, answer| {
        let told = match seen.sequence {
            7 => Confirmation::Returned { code: 312, reason: "NO_ROUTE".into() },
            _ => Confirmation::Confirmed,
        };
        answer.send(told).unwrap();
    });
    let (_running, _stop) = rig.relay(&sink, 4);
    rig.until("all but one", |rig| rig.pending() == 1).await;
    assert_eq!(rig.lanes.stats()[0].1.aside, 1);
    assert!(rig.lanes.stats()[0].1.oldest.is_some());
    assert!(rising(&sink.sequences()));
}

#[tokio::test]
async fn poison_is_found_alone_and_everything_else_arrives() {
    const POISON: u64 = 37;
    let rig = Rig::new();
    rig.keep("shop", 60).await;
    rig.keep("other", 60).await;
    let (sink, alone, broker) = closing_on(|seen| seen.sequence == POISON);
    let (_running, _stop) = rig.relay(&sink, 16);
    rig.all_handed_over().await;
    broker.abort();
    assert_eq!(alone.load(Ordering::SeqCst), 3, "three closes with nothing beside it");
    let poisoned: u64 = rig.lanes.stats().iter().map(|(_, stats)| stats.poisoned).sum();
    assert_eq!(poisoned, 1);
    let live = rig.recovered().live;
    let left = live.iter().map(|(source, live)| (&**source, live.pending.records, live.poisoned.records));
    assert_eq!(left.collect::<Vec<_>>(), [("shop", 0, 1)]);
    let seen = sink.seen();
    let others = || (1..=120).filter(|sequence| *sequence != POISON);
    assert!(others().all(|sequence| seen.iter().any(|seen| seen.sequence == sequence)));
}
