//! Sources beside each other: turns, limits, and one that gets no answers.

use super::*;

#[tokio::test]
async fn many_lanes_take_turns() {
    let rig = Rig::new();
    rig.keep("flood", 3000).await;
    let names: Vec<String> = (0..20).map(|lane| format!("lane{lane}")).collect();
    for name in &names {
        rig.keep(name, 20).await;
    }
    let sink = Script::confirming();
    let (_running, _stop) = rig.relay(&sink, 16);
    rig.all_handed_over().await;
    let seen = sink.seen();
    let last = seen.iter().rposition(|seen| seen.source != "flood").unwrap();
    assert!(last < 2000, "twenty small lanes were through after {last} of 3400");
    for name in names.iter().map(String::as_str).chain(["flood"]) {
        let own: Vec<u64> =
            seen.iter().filter(|seen| seen.source == name).map(|seen| seen.sequence).collect();
        assert!(rising(&own), "{name} is in order");
    }
}

#[tokio::test]
async fn a_limited_source_goes_at_its_rate_and_another_at_once() {
    let rig = Rig::new();
    rig.keep("slow", 500).await;
    rig.keep("fast", 500).await;
    let clock = Arc::clone(&rig.clock);
    let one = |count| NonZeroU32::new(count).unwrap();
    let rate = Rate { events: one(50), per: Duration::from_secs(1), burst: one(1) };
    let sink = Script::confirming();
    let (_running, _stop) = rig.relay_of(&sink, 64, |parts| {
        parts.limits.set([("slow".into(), Arc::new(Limit::new(rate, clock)))]);
    });
    let begun = rig.clock.monotonic();
    let of = |source: &str| sink.seen().iter().filter(|seen| seen.source == source).count();
    rig.until("the fast one", |_| of("fast") == 500).await;
    rig.until("thirty of the slow one", |_| of("slow") >= 30).await;
    let took = (rig.clock.monotonic() - begun).as_millis();
    assert!((560..1500).contains(&took), "30 at 50 a second took {took} ms");
}

/// A sink that never answers for some sources, and for others at once.
fn silent_for(names: &'static [&'static str]) -> Arc<Script> {
    let mut unanswered = Vec::new();
    Script::new(move |seen, answer| {
        if names.contains(&seen.source.as_str()) {
            unanswered.push(answer);
        } else {
            answer.send(Confirmation::Confirmed).unwrap();
        }
    })
}

#[tokio::test]
async fn sources_that_get_no_confirms_delay_no_other() {
    let rig = Rig::new();
    rig.keep("stuck", 2000).await;
    rig.keep("stuck_too", 2000).await;
    let sink = silent_for(&["stuck", "stuck_too"]);
    let (_running, _stop) = rig.relay(&sink, 32);
    rig.until("both have all they get", |_| sink.waiting.load(Ordering::SeqCst) >= 16).await;
    sleep(Duration::from_millis(100)).await;
    let begun = rig.clock.monotonic();
    rig.keep("lively", 1000).await;
    let row = rig.metrics.account().row("lively");
    rig.until("the lively one", |rig| rig.metrics.account().standing(row).of(Stand::Pending) == 0).await;
    let took = rig.clock.monotonic() - begun;
    assert!(sink.waiting.load(Ordering::SeqCst) < 32, "the window was never full");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let own = sink.seen().into_iter().filter(|seen| seen.source == "lively").map(|seen| seen.sequence);
    assert!(rising(&own.collect::<Vec<_>>()));
}

#[tokio::test]
async fn while_one_watermark_is_raised_other_sources_go_on() {
    let rig = Rig::new();
    rig.keep("first", 10).await;
    rig.keep("second", 300).await;
    let sink = Script::confirming();
    let (running, stop) = rig.relay(&sink, 16);
    rig.all_handed_over().await;
    stop.send_replace(true);
    running.await.unwrap();
    // The second's watermark reaches beyond its last event, the first's lies far behind.
    rig.keep("first", 5).await;
    rig.keep("second", 5).await;
    // Nobody runs this one: what it is asked for stays undone.
    let nobody = Acceptor::new();
    let (_running, _stop) = rig.relay_of(&sink, 16, |parts| parts.acceptor = nobody);
    rig.until("the second one's are published", |_| sink.seen().len() == 310 + 5).await;
    assert!(sink.seen()[310..].iter().all(|seen| seen.source == "second"), "the first waits for its own");
}

#[tokio::test]
async fn a_limited_source_wakes_nobody_in_vain() {
    let rig = Rig::new();
    rig.keep("slow", 200).await;
    let one = |count| NonZeroU32::new(count).unwrap();
    let rate = Rate { events: one(10), per: Duration::from_secs(1), burst: one(1) };
    let clock = Arc::new(Counting { clock: System::new(), looks: AtomicUsize::new(0) });
    let sink = Script::confirming();
    let (_running, _stop) = rig.relay_of(&sink, 64, |parts| {
        parts.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        parts.limits.set([("slow".into(), Arc::new(Limit::pace(rate, Arc::clone(&rig.clock))))]);
    });
    rig.until("it is under way", |_| !sink.seen().is_empty()).await;
    let (seen, looks) = (sink.seen().len(), clock.looks.load(Ordering::SeqCst));
    sleep(Duration::from_secs(2)).await;
    let (seen, looks) = (sink.seen().len() - seen, clock.looks.load(Ordering::SeqCst) - looks);
    assert!((19..=21).contains(&seen), "{seen} in two seconds");
    assert!(looks < seen * 60, "{looks} looks at the clock for {seen} events");
}

/// Counts how often somebody wants to know the time.
struct Counting {
    clock: System,
    looks: AtomicUsize,
}

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.monotonic()
    }
}
