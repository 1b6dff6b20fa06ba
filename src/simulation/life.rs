//! One process of the gateway, from its start on what the disk holds to its end: everything that the composition root
//! puts together between the listeners and the broker, without threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

use super::broker::Broker;
use super::clock::SimClock;
use super::disk::SimDisk;
use super::random::Random;
use super::sender::{self, SOURCES};
use crate::accept::{Acceptor, Core, Fault, Policy};
use crate::clock::Clock;
use crate::dedup::{self, Index};
use crate::delivery::Delivery;
use crate::journal::{self, Journal, Reader, Recovery, Upkeep};
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::metrics::{Ending, LaneStats, Metrics};
use crate::pipeline::{Answer, Pipeline};
use crate::reject::Refused;
use crate::relay::{Inbox, InboxParts, Relay, RelayParts, RelaySettings};
use crate::sink::Sink;
use crate::source::Source;

/// Few: a mark that is missing must not hide behind needless ones.
pub(super) const WATERMARK_STEP: u64 = 8;
/// Polls that a relay may need until it has nothing to do.
const POLLS_MAX: usize = 500;

/// What the seed has configured.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub segment_bytes: u64,
    pub bytes_max: u64,
    pub retention: Duration,
    pub window: Duration,
    pub budget: usize,
    pub max_in_flight: usize,
    pub policies: [Policy; SOURCES.len()],
    pub inbox: bool,
    pub large: bool,
}

impl Terms {
    pub(super) fn choose(random: &mut Random) -> Self {
        let policy =
            |forward, hold| Policy { forward_duplicates: forward, hold_twins: hold, ..Policy::default() };
        // The journal of a few dozen events fills some segments; the longest of them fits into one.
        let large = random.chance(20);
        let segment_bytes = if large { 32 << 10 } else { 8 << 10 };
        Self {
            segment_bytes,
            bytes_max: segment_bytes * *random.pick(&[4, 6, 16]),
            retention: Duration::from_secs(*random.pick(&[60, 480, 3600])),
            window: Duration::from_secs(*random.pick(&[400, 7200, 604_800])),
            budget: *random.pick(&[64, 400, 8 << 20]),
            max_in_flight: *random.pick(&[1, 4, 256]),
            policies: [
                policy(random.chance(10), false),
                policy(random.chance(10), random.chance(20)),
                policy(random.chance(40), random.chance(20)),
                policy(random.chance(20), false),
            ],
            inbox: random.chance(20),
            large,
        }
    }
}

/// Remembers a wake.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls once with nobody to wake.
pub(super) fn poll<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// A request until its answer.
pub(super) type Request = BoxFuture<'static, Result<Answer, Refused>>;

/// A running gateway.
pub(super) struct Life {
    pub acceptor: Acceptor,
    pub reader: Reader<SimDisk>,
    pub lanes: Arc<Lanes>,
    pub inbox: Option<Arc<Inbox<SimDisk>>>,
    core: Core<SimDisk>,
    clock: Arc<SimClock>,
    sources: Vec<Arc<Source>>,
    pipeline: Pipeline,
    relay: Option<BoxFuture<'static, ()>>,
    woken: Arc<Woken>,
    stop: watch::Sender<bool>,
    commit: Histogram,
    _metrics: Metrics,
}

impl Life {
    /// Recovers what the disk holds, and starts.
    pub(super) fn start(
        disk: &SimDisk,
        clock: &Arc<SimClock>,
        broker: &Arc<Broker>,
        terms: &Terms,
    ) -> Result<(Self, Recovery), String> {
        let metrics = Metrics::new();
        let lanes = Arc::new(Lanes::counted_in(metrics.account()));
        let acceptor = Acceptor::new();
        let (journal, index, recovery) = stores(disk, clock, terms)?;
        acceptor.recovered(recovery.newest_received_at);
        recover_lanes(&lanes, &recovery);
        let reader = journal.reader();
        let sources =
            (0..SOURCES.len()).map(|at| Arc::new(sender::source(at, terms.policies[at], &metrics))).collect();
        let time: Arc<dyn Clock> = Arc::clone(clock) as _;
        let pipeline = Pipeline::new(Keeper::Journal(acceptor.clone()), Arc::clone(&time));
        let (stop, stopping) = watch::channel(false);
        let inbox = terms.inbox.then(|| {
            let parts = InboxParts {
                lanes: Arc::clone(&lanes),
                reader: reader.clone(),
                acceptor: acceptor.clone(),
                limits: Default::default(),
                clock: Arc::clone(&time),
                steps: Default::default(),
            };
            Arc::new(Inbox::new(parts, 20))
        });
        let relay = inbox.is_none().then(|| {
            let parts = RelayParts {
                lanes: Arc::clone(&lanes),
                reader: reader.clone(),
                acceptor: acceptor.clone(),
                sink: Arc::clone(broker) as Arc<dyn Sink>,
                claims: None,
                limits: Default::default(),
                clock: Arc::clone(&time),
                metrics: metrics.relay("simulated"),
                steps: Default::default(),
            };
            let settings = RelaySettings {
                max_in_flight: terms.max_in_flight,
                redis_wait: Duration::ZERO,
                takeover_after: Duration::ZERO,
                watermark_step: WATERMARK_STEP,
            };
            Relay::new(parts, settings).run(stopping).boxed()
        });
        let mut core = Core::new(journal, index, Arc::clone(&lanes));
        acceptor.show(&mut core);
        core.observe(clock.now(), clock.monotonic());
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let (commit, clock) = (Histogram::new([1.0]), Arc::clone(clock));
        let life = Self {
            acceptor,
            reader,
            lanes,
            inbox,
            core,
            clock,
            sources,
            pipeline,
            relay,
            woken,
            stop,
            commit,
            _metrics: metrics,
        };
        Ok((life, recovery))
    }

    /// A request comes in; its future is not polled yet.
    pub(super) fn receive(&self, source: usize, delivery: Delivery) -> Request {
        let (source, pipeline) = (Arc::clone(&self.sources[source]), self.pipeline.clone());
        let mut request = source.metrics.begin();
        async move {
            let answer = pipeline.receive(&source, delivery, &mut request).await;
            // As the listener counts it: what is kept has been counted with its commit.
            match &answer {
                Ok(Answer::Kept { .. }) => {}
                Ok(Answer::Filtered) => request.end(Ending::Filtered),
                Ok(Answer::Handshake(_)) => request.end(Ending::Handshake),
                Err(refused) => request.end(Ending::Refused(refused.reject)),
            }
            answer
        }
        .boxed()
    }

    /// One turn of the acceptance thread.
    pub(super) fn turn(&mut self) -> Result<(), Fault> {
        self.acceptor.turn_by_hand(&mut self.core, &*self.clock, &self.commit)
    }

    /// Lets the relay do what it can; false where it does not come to rest.
    pub(super) fn relay(&mut self) -> bool {
        let Some(relay) = &mut self.relay else { return true };
        for _ in 0..POLLS_MAX {
            if !self.woken.0.swap(false, Ordering::Relaxed) {
                return true;
            }
            let waker = Waker::from(Arc::clone(&self.woken));
            if relay.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.relay = None;
                return true;
            }
        }
        false
    }

    /// Time has passed: the relay's own pause, which is a second at most, may be over.
    pub(super) fn nudge(&self) {
        self.stop.send_modify(|_| {});
    }

    /// Tells the relay to end.
    pub(super) fn stop_relay(&self) {
        self.stop.send_replace(true);
    }

    /// Whether it has ended.
    pub(super) fn is_relay_over(&self) -> bool {
        self.relay.is_none()
    }

    /// The account closes, in every row.
    pub(super) fn check_account(&self) -> Result<(), String> {
        for (source, standing) in self.lanes.account().snapshot() {
            if standing.gaps() != (0, 0) {
                return Err(format!("the account of {source} does not close: {standing:?}"));
            }
        }
        Ok(())
    }
}

/// Index and journal, recovered as the composition root does.
fn stores(
    disk: &SimDisk,
    clock: &SimClock,
    terms: &Terms,
) -> Result<(Journal<SimDisk>, Index<SimDisk>, Recovery), String> {
    let now = clock.now();
    let keys = dedup::Settings::new("/journal/keys", terms.window);
    let keys = dedup::Settings { budget: terms.budget, inline: true, ..keys };
    let mut index = Index::open(disk.clone(), keys, now).map_err(|error| error.to_string())?;
    let settings = journal::Settings {
        dir: "/journal".into(),
        segment_bytes: terms.segment_bytes,
        bytes_max: terms.bytes_max,
        retention: terms.retention,
        upkeep: Upkeep::Inline,
    };
    let mut refilled = Ok(());
    let opened = Journal::open(disk.clone(), settings, now, &mut |entry| {
        if refilled.is_ok() {
            refilled = index.refill(entry);
        }
    });
    let (journal, recovery) = opened.map_err(|error| error.to_string())?;
    refilled.map_err(|error| error.to_string())?;
    if index.durable_through() >= recovery.next_sequence {
        return Err("VIOLATION: key files know events that the journal never had".to_owned());
    }
    Ok((journal, index, recovery))
}

fn recover_lanes(lanes: &Lanes, recovery: &Recovery) {
    for (name, _) in SOURCES {
        lanes.open(&Arc::from(name));
    }
    for (source, live) in &recovery.live {
        let stats = LaneStats {
            pending: live.pending.records,
            held: live.held.records,
            poisoned: live.poisoned.records,
            ..LaneStats::default()
        };
        lanes.recover(source, stats, recovery.first_live);
    }
    for (source, through) in &recovery.watermarks {
        lanes.recover_watermark(source, *through, recovery.last_sequence());
    }
}
