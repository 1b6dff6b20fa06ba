//! A broker that is away while events keep coming: each is answered 2xx, the backlog goes in order and at least three
//! times as fast as it grew once the broker is back, nobody waits for that, the disk is given back, and memory stays flat.
//!
//! `HOOKGATE_IT_OUTAGE` (seconds) and `HOOKGATE_IT_RATE` (a second) make the runs longer. Only with a rate given are the
//! bounds those of a release build on a machine that has nothing else to do; without, only a stall counts:
//! `HOOKGATE_IT_OUTAGE=600 HOOKGATE_IT_RATE=500 cargo test --release --test it outage::a_stopped -- --nocapture`

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, Gateway, Setup, stripe, stripe_event, sum, until};
use crate::load::{Book, Load, digest, drained, number, until_drained, with_rabbitmq};
use crate::services::RabbitMq;

/// How soon the gateway must notice that the broker is back, its pause between tries included.
const NOTICE: Duration = Duration::from_secs(60);
/// Events a second of the source whose answers and lag are measured.
const PROBES: u32 = 50;
/// The backlog must go this many times as fast as it grew.
const FASTER: f64 = 3.0;

fn outage() -> Duration {
    Duration::from_secs(number("HOOKGATE_IT_OUTAGE", 5).into())
}

fn rate() -> u32 {
    number("HOOKGATE_IT_RATE", 300)
}

/// Whether the machine has nothing else to do.
fn is_strict() -> bool {
    std::env::var_os("HOOKGATE_IT_RATE").is_some()
}

/// Bytes of memory that a process has resident.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// One look at the process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    resident: u64,
    files: usize,
    journal: f64,
    pending: f64,
}

/// Looks at the process again and again, until it is told to end.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Watch {
    fn start(gateway: &Gateway, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, pid, admin) = (Arc::clone(&stop), gateway.pid(), gateway.admin());
        let thread = thread::spawn(move || {
            let (begun, mut samples) = (Instant::now(), Vec::new());
            while !stopping.load(Ordering::Relaxed) {
                samples.push(sample(begun, pid, admin));
                sleep(every);
            }
            samples
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn sample(begun: Instant, pid: u32, admin: SocketAddr) -> Sample {
    let scrape = Client::call(admin, "GET", "/metrics", &[], b"").unwrap().text();
    // Of a process that is not dumpable, nobody but root sees the files from outside.
    let files = sum(&scrape, "process_open_fds", &[]) as usize;
    let [journal, pending] =
        ["hookgate_journal_bytes", "hookgate_relay_pending"].map(|name| sum(&scrape, name, &[]));
    Sample { at: begun.elapsed(), resident: resident(pid), files, journal, pending }
}

/// Memory is flat: what the last two thirds of an outage add is what is kept for each event, which is a few bits in
/// the ledger and a filter's share in the index, and what an allocator and full tables of keys take at first.
fn is_flat(samples: &[Sample]) {
    for sample in samples.iter().step_by((samples.len() / 12).max(1)) {
        let Sample { at, resident, files, journal, pending } = sample;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        println!(
            "{:6.1} s: {:6.1} MiB resident, {files} files, journal {:7.1} MiB, {pending} pending",
            at.as_secs_f64(),
            mib(*resident as f64),
            mib(*journal),
        );
    }
    let (early, late) = (samples[samples.len() / 3], samples[samples.len() - 1]);
    let minutes = (late.at - early.at).as_secs_f64() / 60.0;
    let grown = late.resident as f64 - early.resident as f64;
    let slope = grown / f64::from(1 << 20) / minutes;
    println!("resident memory grew by {:.2} MiB, {slope:.2} MiB a minute", grown / f64::from(1 << 20));
    let events = (late.pending - early.pending).max(0.0);
    assert!(grown <= f64::from(24 << 20) + events * 16.0, "{grown} bytes more for {events} events");
    // Each segment is an open file.
    let segments = ((late.journal - early.journal) / f64::from(1 << 20)).max(0.0) as usize;
    assert!(late.files <= early.files + segments + 24, "open files: {}, then {}", early.files, late.files);
}

/// New requests of another source at a steady rate: when each was sent, and how long its answer took.
struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<(Instant, Duration)>, Book)>,
}

impl Probe {
    fn start(gateway: &Gateway) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, ingress) = (Arc::clone(&stop), gateway.ingress());
        let thread = thread::spawn(move || {
            let (mut client, mut book, mut times) = (Client::new(ingress), Book::default(), Vec::new());
            for event in 0_u32.. {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let sent = Instant::now();
                assert!(book.send(&mut client, "quiet", &format!("evt_quiet_{event}")), "{:?}", book.refused);
                times.push((sent, sent.elapsed()));
                sleep((Duration::from_secs(1) / PROBES).saturating_sub(sent.elapsed()));
            }
            (times, book)
        });
        Self { stop, thread }
    }

    fn finish(self) -> (Vec<(Instant, Duration)>, Book) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The 99th percentile of the answers to what was sent in between.
fn p99(times: &[(Instant, Duration)], from: Instant, to: Instant) -> Duration {
    let within = times.iter().filter(|(sent, _)| (from..to).contains(sent));
    let mut took: Vec<Duration> = within.map(|(_, took)| *took).collect();
    took.sort();
    took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

fn setup(url: &str) -> Setup {
    // Confirmed records are let go of as soon as the outage is over.
    with_rabbitmq(url)
        .set("journal", "segment_bytes = \"1MiB\"\nbytes_max = \"2GiB\"\nretention = \"1s\"")
        .source("shop", "stripe", "")
        .source("quiet", "stripe", "")
}

fn is_connected(gateway: &Gateway) {
    until("the gateway is connected", NOTICE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

fn pending(gateway: &Gateway, source: &str) -> f64 {
    gateway.metric("hookgate_relay_pending", &[("source", source)])
}

/// How a backlog was drained.
struct Drain {
    begun: Instant,
    ended: Instant,
    rate: f64,
}

/// Follows the drain of a source to its end, while more of it comes in. The other source must be through before.
fn follow(gateway: &Gateway, before: f64) -> Drain {
    let confirmed = |scrape: &str| sum(scrape, "hookgate_events_confirmed_total", &[("source", "shop")]);
    let waiting = |scrape: &str, source| sum(scrape, "hookgate_relay_pending", &[("source", source)]);
    // From the last look at which nothing had gone: all of it may be gone at the next.
    let mut begun = Instant::now();
    until("the backlog begins to go", NOTICE, || {
        let looked = Instant::now();
        let waits = confirmed(&gateway.metrics()) <= before;
        if waits {
            begun = looked;
        }
        !waits
    });
    let (mut through, mut late, mut last) = (None, Vec::new(), 0.0);
    until("the backlog is gone", outage().max(NOTICE), || {
        let scrape = gateway.metrics();
        last = confirmed(&scrape);
        if waiting(&scrape, "quiet") < f64::from(PROBES) / 5.0 && through.is_none() {
            through = Some(begun.elapsed());
        }
        if through.is_some() {
            late.push(sum(&scrape, "hookgate_relay_oldest_age_seconds", &[("source", "quiet")]));
        }
        waiting(&scrape, "shop") < f64::from(rate()) / 5.0
    });
    let (ended, worst) = (Instant::now(), late.iter().copied().fold(0.0, f64::max));
    println!("the other source is through after {through:?}, then its oldest waits {worst:.3} s at most");
    assert!(through.is_some(), "the other source waits for the backlog");
    assert!(worst < if is_strict() { 0.25 } else { 5.0 }, "the other source waits {worst} s");
    Drain { begun, ended, rate: (last - before) / (ended - begun).as_secs_f64() }
}

/// An outage from its begin to the last of its traces. `away` ends the broker's service, `back` restores it.
fn ridden_out<B>(
    gateway: &Gateway,
    broker: &mut B,
    away: impl FnOnce(&mut B),
    back: impl FnOnce(&mut B),
) -> [Book; 2] {
    is_connected(gateway);
    let (probe, load) = (Probe::start(gateway), Load::start(&[gateway.ingress()], "shop", "outage", rate()));
    sleep(Duration::from_secs(2));
    let confirmed = || gateway.metric("hookgate_events_confirmed_total", &[("source", "shop")]);
    let (idle, gone) = (Instant::now() - Duration::from_millis(1500), Instant::now());
    away(broker);
    let watch = Watch::start(gateway, (outage() / 20).min(Duration::from_secs(5)));
    until("the backlog grows", NOTICE, || pending(gateway, "shop") > f64::from(rate()));
    sleep(outage().saturating_sub(gone.elapsed()));
    let (backlog, before) = (pending(gateway, "shop"), confirmed());
    let samples = watch.finish();
    let returned = Instant::now();
    back(broker);
    let drain = follow(gateway, before);
    let (times, quiet) = probe.finish();
    let book = load.finish();
    is_flat(&samples);
    let [idle, during, drained] =
        [(idle, gone), (gone, returned), (drain.begun, drain.ended)].map(|(from, to)| p99(&times, from, to));
    println!(
        "{backlog} pending after {:.1} s at {}/s; drained at {:.0}/s; p99 of an answer: before {idle:?}, while away \
         {during:?}, while it drained {drained:?}",
        (returned - gone).as_secs_f64(),
        rate(),
        drain.rate,
    );
    for book in [&book, &quiet] {
        assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    }
    // Where others use the cores, neither the senders nor the broker reach their rate.
    let grown = backlog / (returned - gone).as_secs_f64();
    let least = if is_strict() { FASTER * f64::from(rate()) } else { grown };
    assert!(drain.rate >= least, "drained at {:.0}/s, grown at {grown:.0}/s", drain.rate);
    let bound = Duration::from_millis(if is_strict() { 25 } else { 2000 });
    assert!(during.max(drained) <= (idle * 3).max(bound), "answers wait for the relay");
    until_drained(gateway);
    let peak = samples.iter().map(|sample| sample.journal).fold(0.0, f64::max);
    until("the journal gives its space back", NOTICE, || {
        gateway.metric("hookgate_journal_bytes", &[]) <= f64::from(4 << 20)
    });
    println!("the journal had {:.1} MiB, and gave them back", peak / f64::from(1 << 20));
    [book, quiet]
}

/// All of it is there, in order, and only what was in flight is marked.
fn audited(broker: &RabbitMq, vhost: &str, gateway: &Gateway, [book, quiet]: &[Book; 2]) {
    for (book, source) in [(book, "shop"), (quiet, "quiet")] {
        let audit = book.audit(&drained(broker, vhost, source));
        println!("{source}: {audit:?}");
        assert_eq!(audit.events, book.kept.len());
        assert!(audit.marked <= 256, "at most what was in flight: {audit:?}");
    }
    assert_eq!(gateway.stderr().matches("\"ready\"").count(), 1, "no restart");
}

#[test]
fn a_stopped_brokers_backlog_goes_in_order_fast_and_at_nobodys_expense() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = setup(&broker.url(&vhost)).start();
    let books = ridden_out(&gateway, &mut *broker, RabbitMq::stop, RabbitMq::restart);
    audited(&broker, &vhost, &gateway, &books);
}

#[test]
fn a_frozen_brokers_backlog_goes_in_order_fast_and_at_nobodys_expense() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = setup(&broker.url(&vhost)).start();
    let books = ridden_out(&gateway, &mut *broker, |broker| broker.pause(), |broker| broker.resume());
    audited(&broker, &vhost, &gateway, &books);
}

#[test]
fn the_backlog_of_a_memory_alarm_goes_in_order_fast_and_at_nobodys_expense() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = setup(&broker.url(&vhost)).start();
    let watermark = |value: &'static str| {
        move |broker: &mut RabbitMq| {
            let call = format!("vm_memory_monitor:set_vm_memory_high_watermark({value}).");
            drop(broker.rabbitmqctl(&["eval", &call]));
        }
    };
    let (away, back) = (watermark("0.0"), watermark("{absolute, 2147483648}"));
    let books = ridden_out(&gateway, &mut *broker, away, back);
    audited(&broker, &vhost, &gateway, &books);
}

#[test]
fn the_backlog_of_a_black_hole_goes_in_order_fast_and_at_nobodys_expense() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut proxy = Proxy::start(broker.address());
    let gateway = setup(&broker.url_by(proxy.address(), &vhost)).start();
    let back = |proxy: &mut Proxy| {
        // What was swallowed stays so: the old connection must not come back to life.
        proxy.set(Mode::Reset);
        sleep(Duration::from_millis(300));
        proxy.restore();
    };
    let books = ridden_out(&gateway, &mut proxy, |proxy| proxy.set(Mode::BlackHole), back);
    audited(broker, &vhost, &gateway, &books);
}

#[test]
fn events_that_no_worker_comes_for_cost_disk_and_no_memory() {
    let journal = "segment_bytes = \"1MiB\"\nbytes_max = \"2GiB\"\nretention = \"1s\"";
    let gateway = Setup::new().set("journal", journal).source("shop", "stripe", "").start();
    let watch = Watch::start(&gateway, (outage() / 20).min(Duration::from_secs(5)));
    let load = Load::start(&[gateway.ingress()], "shop", "alone", rate());
    sleep(outage());
    let (samples, book) = (watch.finish(), load.finish());
    assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    is_flat(&samples);
    let (mut left, begun, mut last) = (book.kept.clone(), Instant::now(), 0);
    while !left.is_empty() && begun.elapsed() < outage().max(NOTICE) {
        let events = gateway.claim("shop", 500);
        for event in &events {
            assert_eq!(left.remove(&event.message_id), Some(digest(&event.body)), "once, and whole");
            let sequence: u64 = event.header("hookgate-sequence").parse().unwrap();
            assert!(sequence > last, "in order");
            last = sequence;
        }
        assert!(events.is_empty() || gateway.ack("shop", &events).status == 200);
    }
    let faster = book.kept.len() as f64 / begun.elapsed().as_secs_f64() / f64::from(rate());
    println!("{} events drained by one worker, {faster:.1} times as fast as they came", book.kept.len());
    let least = if is_strict() { FASTER } else { 1.0 };
    assert!(left.is_empty() && faster >= least, "{} left, {faster:.1} times as fast", left.len());
}

#[test]
fn a_full_quota_is_told_with_a_time_to_come_again_and_ends_with_the_outage() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = setup(&broker.url_by(proxy.address(), &vhost))
        .set("journal", "segment_bytes = \"256KiB\"\nbytes_max = \"1MiB\"")
        .set("ingress", "body_bytes_max = \"64KiB\"")
        .source("shop", "stripe", "body_bytes_max = \"64KiB\"")
        .source("quiet", "stripe", "body_bytes_max = \"64KiB\"")
        .start();
    is_connected(&gateway);
    let (mut client, mut book) = (Client::new(gateway.ingress()), Book::default());
    assert!(book.send(&mut client, "shop", "evt_first"));
    until_drained(&gateway);
    proxy.set(Mode::Cut);
    let sent = (0..5000).find(|event| !book.send(&mut client, "shop", &format!("evt_{event}")));
    assert!(sent.is_some_and(|sent| sent > 100), "{sent:?} fit into the quota");
    let refused = client.deliver(&stripe("shop", &stripe_event("evt_over")));
    assert_eq!(
        (refused.status, refused.header("retry-after").is_empty()),
        (503, false),
        "{}",
        refused.text()
    );
    let bytes: u64 = std::fs::read_dir(gateway.journal())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum();
    // One segment is prepared ahead, and one with nothing but confirmed events may wait for its keys.
    assert!(bytes <= (1 << 20) + 2 * (256 << 10), "{bytes} bytes on disk");
    // There is room for the marks of all of them, and for the watermark before the first.
    proxy.restore();
    until("it takes events again", NOTICE, || book.send(&mut client, "shop", "evt_over"));
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(book.audit(&messages).events, book.kept.len());
    assert_eq!(gateway.stderr().matches("\"ready\"").count(), 1, "no restart");
}
