//! The relay on a real journal and a sink that does what a test says.

mod failed;
mod lanes;
mod split;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Relay, RelayParts, RelaySettings, WATERMARK_STEP};
use crate::accept::{Acceptor, Action, Core, Fate, Policy, Target};
use crate::clock::{Clock, System, Timestamp};
use crate::dedup::{self, Index, RedisClaims, RedisSettings};
use crate::disk::RealDisk;
use crate::event::{Digest, Envelope, Event, Keys};
use crate::journal::{Journal, Mark, Reader, Recovery, Settings, Upkeep};
use crate::lanes::{Entry, Lanes, Taken, Turn};
use crate::limit::{Limit, Rate};
use crate::metrics::{Metrics, SourceMetrics, Stand};
use crate::sink::{Confirmation, HeaderValue, Health, Message, Pending, Sink, State};
use crate::tasks;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message as the sink got it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    source: String,
    sequence: u64,
    /// Which part of the event it is, 0 for all of it.
    part: u32,
    marked: bool,
}

impl Seen {
    fn of(message: &Message) -> Self {
        let header = |name: &str| message.headers().iter().find(|(known, _)| known == name).map(|(_, v)| v);
        let text = |name: &str| match header(name) {
            Some(HeaderValue::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let Some(HeaderValue::Number(sequence)) = header("hookgate-sequence") else { panic!("no sequence") };
        let marked = header("hookgate-possible-duplicate").is_some();
        let part = text("hookgate-part");
        let part = part.split_once('/').map_or(0, |(part, _)| part.parse().unwrap());
        Self { source: text("hookgate-source"), sequence: *sequence, part, marked }
    }
}

/// What becomes of a message, and who is told.
type Answers = Box<dyn FnMut(&Seen, oneshot::Sender<Confirmation>) + Send>;

/// A sink that hands each message to a script.
struct Script {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<Answers>,
    waiting: Arc<AtomicUsize>,
    most: AtomicUsize,
    takes: bool,
}

impl Script {
    fn new(answers: impl FnMut(&Seen, oneshot::Sender<Confirmation>) + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            answers: Mutex::new(Box::new(answers)),
            waiting: Arc::default(),
            most: AtomicUsize::new(0),
            takes: true,
        })
    }

    /// A sink that confirms everything.
    fn confirming() -> Arc<Self> {
        Self::new(|_, answer| answer.send(Confirmation::Confirmed).unwrap())
    }

    /// One that confirms the oldest once so many wait, and all where nothing new comes.
    fn slow(depth: usize) -> Arc<Self> {
        let waiting: Arc<Mutex<VecDeque<oneshot::Sender<Confirmation>>>> = Arc::default();
        let held = Arc::clone(&waiting);
        drop(tasks::task(async move {
            loop {
                sleep(Duration::from_millis(2)).await;
                held.lock()
                    .unwrap()
                    .drain(..)
                    .for_each(|answer| answer.send(Confirmation::Confirmed).unwrap());
            }
        }));
        Self::new(move |_, answer| {
            let mut waiting = waiting.lock().unwrap();
            waiting.push_back(answer);
            if waiting.len() >= depth {
                waiting.pop_front().unwrap().send(Confirmation::Confirmed).unwrap();
            }
        })
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn sequences(&self) -> Vec<u64> {
        self.seen().iter().map(|seen| seen.sequence).collect()
    }
}

impl Sink for Script {
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending> {
        if !self.takes {
            return std::future::pending().boxed();
        }
        let seen = Seen::of(&message);
        let (answer, outcome) = oneshot::channel();
        self.most.fetch_max(self.waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(seen.clone());
        (*self.answers.lock().unwrap())(&seen, answer);
        let waiting = Arc::clone(&self.waiting);
        let pending = async move {
            let told = outcome.await.unwrap_or(Confirmation::Unknown { cause: "dropped".to_owned() });
            waiting.fetch_sub(1, Ordering::SeqCst);
            told
        };
        std::future::ready(pending.boxed()).boxed()
    }

    fn health(&self) -> Health {
        Health { state: State::Connected, since: Timestamp::default() }
    }

    fn name(&self) -> &'static str {
        "script"
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// Journal, index, acceptance thread and lanes; no relay yet.
struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    acceptor: Acceptor,
    lanes: Arc<Lanes>,
    reader: Reader<RealDisk>,
    metrics: Metrics,
    next: AtomicUsize,
}

fn open(dir: &Path) -> (Journal<RealDisk>, Recovery) {
    let settings = Settings {
        dir: dir.to_owned(),
        segment_bytes: 1 << 20,
        bytes_max: 64 << 20,
        retention: Duration::from_secs(3600),
        upkeep: Upkeep::Inline,
    };
    Journal::open(RealDisk, settings, System::new().now(), &mut |_| {}).unwrap()
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(System::new());
        let metrics = Metrics::new();
        let (acceptor, lanes) = (Acceptor::new(), Arc::new(Lanes::counted_in(metrics.account())));
        let (journal, _) = open(&dir.path().join("journal"));
        let keys = dedup::Settings::new(dir.path().join("keys"), Duration::from_secs(3600));
        let index = Index::open(RealDisk, keys, clock.now()).unwrap();
        let reader = journal.reader();
        let core = Core::new(journal, index, Arc::clone(&lanes));
        let (running, time) = (acceptor.clone(), Arc::clone(&clock));
        drop(tasks::thread("accept", move || running.run(core, &*time, &Histogram::new([1.0]))).unwrap());
        Self { dir, clock, acceptor, lanes, reader, metrics, next: AtomicUsize::new(1) }
    }

    /// Has `count` events of a source kept.
    async fn keep(&self, source: &str, count: usize) {
        let (mut answers, counts) = (Vec::new(), self.counts(source));
        for _ in 0..count {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let event = event(number, source, self.clock.now());
            let offer = self.acceptor.offer(event, Policy::default(), counts.begin());
            answers.push(offer.unwrap());
            if answers.len() == 1000 {
                for answer in answers.drain(..) {
                    answer.await.unwrap().unwrap();
                }
            }
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    }

    fn counts(&self, source: &str) -> SourceMetrics {
        self.metrics.source(source, std::iter::empty())
    }

    /// Starts a relay; dropping or setting the sender ends it.
    fn relay(&self, sink: &Arc<Script>, max_in_flight: usize) -> (Running, watch::Sender<bool>) {
        self.relay_of(sink, max_in_flight, |_| {})
    }

    fn relay_of(
        &self,
        sink: &Arc<Script>,
        max_in_flight: usize,
        change: impl FnOnce(&mut RelayParts<RealDisk>),
    ) -> (Running, watch::Sender<bool>) {
        let mut parts = RelayParts {
            lanes: Arc::clone(&self.lanes),
            reader: self.reader.clone(),
            acceptor: self.acceptor.clone(),
            sink: Arc::clone(sink) as Arc<dyn Sink>,
            claims: None,
            limits: Default::default(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.relay("script"),
            steps: Default::default(),
        };
        change(&mut parts);
        let settings = RelaySettings {
            max_in_flight,
            redis_wait: Duration::from_millis(300),
            takeover_after: Duration::from_secs(600),
            watermark_step: WATERMARK_STEP,
        };
        let (stop, stopping) = watch::channel(false);
        (tasks::task(Relay::new(parts, settings).run(stopping)), stop)
    }

    fn pending(&self) -> u64 {
        self.lanes.stats().iter().map(|(_, stats)| stats.pending).sum()
    }

    async fn all_handed_over(&self) {
        self.until("all is handed over", |rig| rig.pending() == 0).await;
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !done(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}: {:?}", self.lanes.stats());
    }

    /// What the next start would find.
    fn recovered(&self) -> Recovery {
        let copy = tempfile::tempdir().unwrap();
        copy_journal(self.dir.path(), copy.path());
        open(copy.path()).1
    }
}

type Running = tokio::task::JoinHandle<()>;

impl Drop for Rig {
    fn drop(&mut self) {
        self.acceptor.stop();
    }
}

fn copy_journal(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from.join("journal")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn event(number: usize, source: &str, received_at: Timestamp) -> Event {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let envelope = Envelope {
        source: source.into(),
        provider: "stripe".into(),
        keys: Keys { message_id: Digest(id), content: None },
        event_id: format!("evt_{number}"),
        event_type: "charge.succeeded".into(),
        received_at,
        secret: "live".into(),
        content_type: "application/json".into(),
        headers: Vec::new(),
        source_authenticated: false,
        unauthenticated: false,
        invalid: None,
        twin_of: None,
        held: false,
        redelivery: false,
    };
    Event::restore(envelope, Bytes::from(vec![b'x'; 100]))
}

/// A broker that sees every few milliseconds to what came in the meantime: it ends the channel for all of it where
/// poison is among it, and confirms it otherwise; with how often poison came alone.
fn closing_on(
    poison: impl Fn(&Seen) -> bool + Send + 'static,
) -> (Arc<Script>, Arc<AtomicUsize>, JoinHandle<()>) {
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::clone(&waiting);
    let alone = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alone);
    let sink = Script::new(move |seen, answer| held.lock().unwrap().push((poison(seen), answer)));
    let broker = tasks::task(async move {
        loop {
            sleep(Duration::from_millis(3)).await;
            let came: Vec<_> = waiting.lock().unwrap().drain(..).collect();
            let closes = came.iter().any(|(is_poison, _)| *is_poison);
            counted.fetch_add(usize::from(closes && came.len() == 1), Ordering::SeqCst);
            for (_, answer) in came {
                let told = match closes {
                    true => Confirmation::ChannelClosed { code: 406, reason: "too large".into() },
                    false => Confirmation::Confirmed,
                };
                answer.send(told).unwrap();
            }
        }
    });
    (sink, alone, broker)
}

fn rising(sequences: &[u64]) -> bool {
    sequences.is_sorted_by(|a, b| a < b)
}

#[tokio::test]
async fn a_backlog_beyond_memory_goes_out_whole_and_in_order_while_more_comes_in() {
    let rig = Rig::new();
    rig.keep("shop", 5000).await;
    let sink = Script::confirming();
    let (_running, _stop) = rig.relay(&sink, 256);
    rig.keep("shop", 3000).await;
    rig.all_handed_over().await;
    assert_eq!(sink.sequences(), (1..=8000).collect::<Vec<u64>>());
    assert!(sink.seen().iter().all(|seen| !seen.marked));
    assert!(sink.most.load(Ordering::SeqCst) <= 256);
    assert!(rig.recovered().live.is_empty(), "every mark is durable");
}

#[tokio::test]
async fn an_order_on_an_end_that_its_lane_has_not_been_told_is_underway() {
    let rig = Rig::new();
    rig.keep("shop", 2).await;
    let turn = || Turn { max: 9, bytes: u64::MAX, shared: false, only: None, now: Duration::ZERO };
    let take = || rig.lanes.take(&rig.reader, turn(), &mut |_, _| true).unwrap();
    let order = async |action, taken: &Taken| {
        let Entry { sequence, position, received_at, bytes, .. } = taken.entry;
        let (source, key) = (Arc::clone(&taken.source), Digest([1; 32]));
        let target = Target { sequence, position, source, key, received_at, bytes };
        rig.acceptor.order(action, vec![target], rig.clock.now()).await.unwrap().remove(0)
    };
    let stands = || {
        let standing = rig.lanes.account().standing(rig.lanes.account().row("shop"));
        [Stand::Pending, Stand::Poison, Stand::Confirmed, Stand::Dropped].map(|stand| standing.of(stand))
    };
    let out = take();
    for (taken, mark) in out.iter().zip([Mark::Poisoned, Mark::Confirmed]) {
        rig.acceptor.mark(vec![(taken.entry.sequence, mark)]).await.unwrap();
    }
    for (action, taken) in [(Action::Requeue, 0), (Action::Drop, 0), (Action::Replay, 1)] {
        assert_eq!(order(action, &out[taken]).await, Fate::Underway, "{action:?}");
    }
    assert_eq!(stands(), [2, 0, 0, 0]);
    rig.lanes.ended(&out[0], Mark::Poisoned, Duration::ZERO);
    rig.lanes.ended(&out[1], Mark::Confirmed, Duration::ZERO);
    assert_eq!(stands(), [0, 1, 1, 0]);
    for (action, taken) in [(Action::Requeue, 0), (Action::Replay, 1)] {
        assert_eq!(order(action, &out[taken]).await, Fate::Done, "{action:?}");
    }
    let again = take();
    assert_eq!(again.iter().map(|taken| taken.entry.sequence.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(stands(), [2, 0, 1, 0]);
    rig.acceptor.mark(vec![(again[0].entry.sequence, Mark::Poisoned)]).await.unwrap();
    rig.lanes.ended(&again[0], Mark::Poisoned, Duration::ZERO);
    assert_eq!(order(Action::Drop, &again[0]).await, Fate::Done);
    assert_eq!(stands(), [1, 0, 1, 1]);
}

#[tokio::test]
async fn the_watermark_is_on_disk_before_anything_is_attempted() {
    let rig = Rig::new();
    rig.keep("shop", 2000).await;
    let path = rig.dir.path().to_owned();
    let mut next_look = 1;
    // Copying a journal at every publish would take long: at the edges of each step is enough.
    let sink = Script::new(move |seen, answer| {
        if seen.sequence >= next_look {
            next_look = seen.sequence + 150;
            let copy = tempfile::tempdir().unwrap();
            copy_journal(&path, copy.path());
            let watermark = open(copy.path()).1.watermarks["shop"];
            assert!(watermark.0 >= seen.sequence, "{} at {watermark}", seen.sequence);
        }
        answer.send(Confirmation::Confirmed).unwrap();
    });
    let (_running, _stop) = rig.relay(&sink, 64);
    rig.all_handed_over().await;
    assert_eq!(sink.seen().len(), 2000);
}

#[tokio::test]
async fn a_stop_waits_for_the_confirms_under_way_and_starts_nothing_new() {
    let rig = Rig::new();
    rig.keep("shop", 100).await;
    let sink = Script::new(|_, answer| {
        drop(tasks::task(async move {
            sleep(Duration::from_millis(300)).await;
            answer.send(Confirmation::Confirmed).unwrap();
        }));
    });
    let (running, stop) = rig.relay(&sink, 8);
    rig.until("it is at work", |_| sink.seen().len() == 8).await;
    stop.send_replace(true);
    timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
    assert_eq!(sink.seen().len(), 8);
    assert_eq!(rig.recovered().live["shop"].pending.records, 92);
}

#[tokio::test]
async fn a_sink_that_takes_nothing_in_does_not_hold_up_a_stop() {
    let rig = Rig::new();
    rig.keep("shop", 100).await;
    let sink = Script::confirming();
    let mut sink = Arc::into_inner(sink).unwrap();
    sink.takes = false;
    let sink = Arc::new(sink);
    let (running, stop) = rig.relay(&sink, 8);
    sleep(Duration::from_millis(200)).await;
    stop.send_replace(true);
    timeout(Duration::from_secs(3), running).await.unwrap().unwrap();
    assert_eq!(rig.pending(), 100);
}

#[tokio::test]
async fn without_redis_events_wait_for_redis_wait_and_then_go_marked() {
    let rig = Rig::new();
    rig.keep("shop", 50).await;
    let settings = RedisSettings::new("redis://127.0.0.1:1/0", "0".repeat(32), Duration::from_secs(60));
    let claims = RedisClaims::new(settings).unwrap();
    let sink = Script::confirming();
    let (_running, _stop) = rig.relay_of(&sink, 64, |parts| parts.claims = Some(claims));
    sleep(Duration::from_millis(250)).await;
    assert_eq!(sink.seen(), []);
    rig.all_handed_over().await;
    let seen = sink.seen();
    assert_eq!(seen.len(), 50);
    assert!(seen.iter().all(|seen| seen.marked));
}
