//! A stage: gateways, senders, drain, watch, reapers and faults at work together, then the comparison.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread::{Scope, scope, sleep};
use std::time::{Duration, Instant};

use crate::check::{Blind, Broken, Checker, Incident, Marked, Message, Violation};
use crate::events::SOURCES;
use crate::ledger::Ledger;
use crate::options::{Options, PROGRESS};
use crate::plan::{Plan, Stage};
use crate::services::{RabbitMq, Redis};
use crate::tally::Tally;
use crate::topology::Unit;
use crate::{drain, fault, reaper, sender, watch, workers};

/// Copies that may follow a crash or a lost connection of one gateway: `max_in_flight` and a watermark step.
pub const COPIES: u32 = 256 + 256;
/// How long a backlog may take, and a stage beyond what its rate takes.
const DRAIN: Duration = Duration::from_secs(120);
/// Nothing came for so long: nothing comes.
const QUIET: Duration = Duration::from_millis(1_500);

/// What all threads of a stage share.
pub struct Site<'a> {
    pub seed: u64,
    pub stage: &'a Stage,
    pub tally: &'a Tally,
    pub trace: bool,
    pub broker: &'a Mutex<RabbitMq>,
    pub redis: &'a Mutex<Redis>,
    pub units: Vec<Unit>,
    pub vhost: String,
    /// Of the virtual host, not through a proxy.
    pub url: String,
    pub ledger: Ledger,
    pub checker: Mutex<Checker>,
    /// Events answered 2xx, or given up by senders that never try again.
    pub progress: AtomicU32,
    /// Gateways that have started.
    pub started: AtomicUsize,
    /// Reapers and faults that have something to come.
    pub lanes: AtomicUsize,
    /// Held by who must not meet a starting gateway.
    pub calm: RwLock<()>,
    /// Messages that a deleted queue took along.
    pub deleted: AtomicU32,
    /// Which message that was put behind all others of a queue has come out last.
    pub behind: AtomicU64,
    incidents: Mutex<Vec<Incident>>,
    blind: Mutex<Vec<Blind>>,
    last: AtomicU64,
    stop: AtomicBool,
    begun: Instant,
    end: Instant,
}

impl Site<'_> {
    /// Milliseconds of the stage.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Tells what happens, where that was asked for.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>8} ms  {}", self.now(), what());
        }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether the stage has taken longer than anything can account for.
    pub fn over_time(&self) -> bool {
        Instant::now() > self.end
    }

    pub fn take(&self, message: &Message) {
        self.last.store(self.now(), Ordering::SeqCst);
        self.checker.lock().unwrap().take(message);
    }

    pub fn incident(&self, copies: u32) {
        self.incidents.lock().unwrap().push(Incident { at: self.now(), copies });
    }

    /// Redis is away; the number by which to end it.
    pub fn blind(&self, blind: Blind) -> usize {
        let mut all = self.blind.lock().unwrap();
        all.push(blind);
        all.len() - 1
    }

    pub fn sees_again(&self, number: usize, to: u64) {
        self.blind.lock().unwrap()[number].to = to;
    }

    /// The order of a source is not promised from here on.
    pub fn unordered(&self, source: usize) {
        self.checker.lock().unwrap().unordered.push(source);
    }

    pub fn tell(&self, broken: Broken, case: String) {
        self.checker.lock().unwrap().violations.push(Violation { broken, case });
    }

    pub fn stuck(&self, case: String) {
        self.tell(Broken::Stuck, case);
    }

    /// A gateway has answered 2xx.
    pub fn first_2xx(&self, gateway: usize) {
        let reborn = self.units[gateway].reborn.swap(0, Ordering::SeqCst);
        if reborn > 0 {
            self.tally.first_2xx.lock().unwrap().push(self.now().saturating_sub(reborn));
        }
    }

    fn until(&self, what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + limit;
        while !done() {
            if Instant::now() > end {
                self.stuck(format!("{what}: not within {limit:?}"));
                return false;
            }
            sleep(Duration::from_millis(50));
        }
        true
    }

    fn waiting(&self) -> f64 {
        let waiting = |unit: &Unit| watch::scrape(unit.admin).map_or(1.0, |text| watch::waiting(&text));
        self.units.iter().map(waiting).sum()
    }
}

/// What came of a run, or of a stage.
#[derive(Debug, Default)]
pub struct Total {
    pub tally: Tally,
    pub rows: Vec<Row>,
    pub violations: Vec<(u32, Violation)>,
    /// What this machine cannot lend.
    pub not_run: Vec<String>,
    pub took: Duration,
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    pub stage: u32,
    pub topology: String,
    pub sent: usize,
    pub kept: usize,
    pub messages: u64,
    pub copies: u64,
    /// Handed out by the broker twice.
    pub again: u64,
    pub marked: Marked,
    pub violations: usize,
    pub seconds: u64,
}

/// All stages, one after the other, with services that outlive them.
pub fn run_all(plan: &Plan, options: &Options) -> Total {
    let begun = Instant::now();
    let (broker, redis) = (Mutex::new(RabbitMq::start()), Mutex::new(Redis::start()));
    let mut total = Total::default();
    let stages = plan.stages.iter().filter(|stage| options.stage.is_none_or(|only| only == stage.number));
    for stage in stages {
        let (row, violations) = run(stage, options, &total.tally, (&broker, &redis));
        println!(
            "{:>5} s  stage {} {}: {} answered 2xx, {} messages, {} violations",
            begun.elapsed().as_secs(),
            row.stage,
            row.topology,
            row.kept,
            row.messages,
            row.violations
        );
        total.violations.extend(violations.into_iter().map(|violation| (stage.number, violation)));
        total.rows.push(row);
    }
    total.took = begun.elapsed();
    total
}

fn run(
    stage: &Stage,
    options: &Options,
    tally: &Tally,
    (broker, redis): (&Mutex<RabbitMq>, &Mutex<Redis>),
) -> (Row, Vec<Violation>) {
    let (vhost, url, units) = {
        let (broker, redis) = (broker.lock().unwrap(), redis.lock().unwrap());
        let vhost = if stage.topology.has_services() { broker.vhost() } else { String::new() };
        let unit = |_| Unit::new(stage, (&broker, &redis, &vhost));
        let units = (0..stage.topology.gateways()).map(unit).collect::<Vec<_>>();
        let url = broker.url(&vhost);
        (vhost, url, units)
    };
    let begun = Instant::now();
    // Outages stall some topologies; a broker's new start takes seconds.
    let allowed =
        Duration::from_secs(u64::from(stage.events / options.rate) * 3 + 20 * stage.steps.len() as u64)
            + DRAIN;
    let site = Site {
        seed: options.seed,
        stage,
        tally,
        trace: options.trace,
        broker,
        redis,
        units,
        vhost,
        url,
        ledger: Ledger::default(),
        checker: Mutex::default(),
        progress: AtomicU32::new(0),
        started: AtomicUsize::new(0),
        lanes: AtomicUsize::new(stage.topology.gateways() + 1),
        calm: RwLock::new(()),
        deleted: AtomicU32::new(0),
        behind: AtomicU64::new(0),
        incidents: Mutex::default(),
        blind: Mutex::default(),
        last: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        begun,
        end: begun + allowed,
    };
    if stage.topology.gateways() > 1 {
        // Sequences of two journals say nothing about each other.
        (0..SOURCES.len()).for_each(|source| site.unordered(source));
    }
    scope(|scope| {
        at_work(&site, options, scope);
        site.stop.store(true, Ordering::SeqCst);
    });
    finish(&site)
}

/// Everything at work until all events are settled, all faults have happened and all is drained.
fn at_work<'s>(site: &'s Site<'s>, options: &Options, scope: &'s Scope<'s, '_>) {
    (0..site.units.len()).for_each(|number| drop(scope.spawn(move || reaper::run(site, number))));
    let up = site.until("all gateways start", DRAIN, || {
        let connected =
            |unit: &Unit| watch::scrape(unit.admin).is_some_and(|text| watch::is_connected(&text));
        let served = site.stage.topology.has_services();
        site.started.load(Ordering::SeqCst) == site.units.len()
            && (!served || site.units.iter().all(connected))
    });
    if !up {
        return;
    }
    if site.stage.topology.has_services() {
        scope.spawn(|| drain::run(site));
    } else {
        (0..SOURCES.len()).for_each(|source| drop(scope.spawn(move || workers::run(site, source))));
    }
    scope.spawn(|| watch::run(site));
    scope.spawn(|| fault::run(site));
    let (senders, rate) = (options.senders, options.rate);
    let sending: Vec<_> =
        (0..senders).map(|number| scope.spawn(move || sender::run(site, number, senders, rate))).collect();
    let mut said = Instant::now();
    while sending.iter().any(|sender| !sender.is_finished()) || site.lanes.load(Ordering::SeqCst) > 0 {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            progress(site);
        }
        if site.over_time() {
            site.stuck(format!("the stage took longer than {:?}", site.end - site.begun));
            return;
        }
        sleep(Duration::from_millis(20));
    }
    let out = site.until("all that was answered 2xx comes out", DRAIN, || {
        let requeued: u64 = site.units.iter().filter_map(|unit| watch::requeue(unit.admin)).sum();
        site.tally.requeued.fetch_add(requeued, Ordering::Relaxed);
        let notes = site.ledger.lock().unwrap();
        let missing = site.checker.lock().unwrap().missing(&notes);
        missing <= site.deleted.load(Ordering::SeqCst) as usize
    });
    if !out && site.stage.topology.has_services() {
        // One that nobody leads takes nothing.
        let states = site.broker.lock().unwrap().rabbitmqctl(&["eval", "ets:tab2list(ra_state)."]);
        site.stuck(format!("RabbitMQ says of its queues: {states}"));
    }
    if !site.until("nothing waits in a gateway", DRAIN, || site.waiting() == 0.0) {
        for (number, unit) in site.units.iter().enumerate() {
            site.stuck(format!(
                "gateway {number}: {:?}",
                watch::scrape(unit.admin).map(|text| watch::standing(&text))
            ));
        }
    }
    let quiet = || u128::from(site.now() - site.last.load(Ordering::SeqCst)) >= QUIET.as_millis();
    site.until("nothing more comes out", DRAIN, quiet);
}

fn progress(site: &Site<'_>) {
    let checker = site.checker.lock().unwrap();
    let settled = site.progress.load(Ordering::SeqCst);
    let kills: u32 = site.tally.kills.lock().unwrap().values().sum();
    println!(
        "         stage {}: {settled} of {} events settled, {} came out, {kills} kills so far, {} violations",
        site.stage.number,
        site.stage.events,
        checker.events(),
        checker.violations.len()
    );
}

/// Everything has stopped: gateways end in good order, and the books are compared.
fn finish(site: &Site<'_>) -> (Row, Vec<Violation>) {
    for unit in &site.units {
        let mut gateway = unit.gateway.lock().unwrap();
        if let Some(status) = gateway.has_ended() {
            site.tell(Broken::Ended, format!("a gateway had ended by itself, {status}"));
        } else if unit.lives.load(Ordering::SeqCst) {
            let (code, _) = gateway.terminate();
            if code != Some(0) {
                site.tell(Broken::Ended, format!("a gateway ended with {code:?} after SIGTERM"));
            }
        }
        let panics: Vec<String> =
            gateway.stderr().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
        panics.into_iter().for_each(|line| site.tell(Broken::Ended, line));
    }
    let notes = site.ledger.lock().unwrap();
    let mut checker = site.checker.lock().unwrap();
    checker.compare(&notes);
    let lost = checker.violations.iter().filter(|violation| violation.broken == Broken::Lost).count();
    if lost <= site.deleted.load(Ordering::SeqCst) as usize {
        checker.violations.retain(|violation| violation.broken != Broken::Lost);
    }
    let marked = checker.marked(&site.incidents.lock().unwrap(), &site.blind.lock().unwrap());
    let row = Row {
        stage: site.stage.number,
        topology: format!("{:?}", site.stage.topology),
        sent: notes.sent.len(),
        kept: notes.kept.len(),
        messages: checker.messages,
        copies: checker.copies,
        again: checker.again,
        marked,
        violations: checker.violations.len(),
        seconds: site.begun.elapsed().as_secs(),
    };
    (row, std::mem::take(&mut checker.violations))
}
