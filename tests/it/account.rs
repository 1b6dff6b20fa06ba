//! The account of the real binary: both equations add up in every single scrape, per source and in sum, whatever
//! happens meanwhile; and at rest nothing is left on its way.
//!
//! `HOOKGATE_IT_SECONDS` makes each phase longer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::chaos::{Mode, Proxy};
use crate::gateway::*;
use crate::handshake::{challenge, slack};
use crate::load::{number, with_rabbitmq};
use crate::scrape::Scrape;
use crate::services::{RabbitMq, Redis};

/// Sources, and what is special about them.
const SOURCES: [(&str, &str, &str); 5] = [
    ("shop", "stripe", ""),
    ("picky", "stripe", "events = [\"charge.captured\"]"),
    ("again", "stripe", "on_duplicate = \"forward\""),
    ("git", "github", ""),
    ("hold", "github", "on_twin = \"hold\""),
];
/// Different requests, one after the other.
const CASES: usize = 12;
/// Between scrapes: with others' calls fewer than the listener takes.
const PAUSE: Duration = Duration::from_millis(12);
/// No phase and no rest takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn phase() -> Duration {
    Duration::from_secs(number("HOOKGATE_IT_SECONDS", 1).into())
}

fn with_sources(setup: Setup) -> Setup {
    SOURCES.into_iter().fold(setup, |setup, (name, provider, lines)| setup.source(name, provider, lines))
}

/// One request of each kind in turn; `id` is new each time.
fn request(case: usize, id: &str) -> Signed {
    let twin = format!("{{\"zen\":\"{}\"}}", id.len());
    let event = |id: &str| stripe_event(id);
    match case {
        0 | 1 => stripe("shop", &event(id)),
        2 => stripe("shop", &event("evt_known")),
        3 => stripe_at("shop", &secret("other"), now(), &event(id)),
        4 => stripe_at("shop", &secret("shop"), now() - 4000, &event(id)),
        5 => stripe("shop", format!("{{\"id\":\"{id}\",\"type\":\"charge.captured\"}}").as_bytes()),
        6 => stripe("picky", &stripe_event_of(id, "customer.created")),
        7 => stripe("again", &event("evt_known")),
        8 => github("git", id, "ping", format!("{{\"id\":\"{id}\"}}").as_bytes()),
        9 => github("git", id, "ping", twin.as_bytes()),
        10 => github("hold", id, "ping", twin.as_bytes()),
        _ => stripe("nobody", &event(id)),
    }
}

/// Something that goes on until it is told to end.
struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    fn start(mut step: impl FnMut() + Send + 'static, end: impl FnOnce() -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                step();
            }
            end()
        });
        Self { stop, thread }
    }

    fn finish(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Sends requests of all kinds; now and then the sender goes before its answer.
fn sender(address: SocketAddr, number: usize) -> Beside<()> {
    let (mut client, mut index) = (Client::new(address), 0);
    let step = move || {
        index += 1;
        let signed = request(index % CASES, &format!("evt_{number}_{index}"));
        if index % 17 == 0 {
            let mut hasty = Client::new(address);
            let head = format!(
                "POST {} HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n",
                signed.path,
                signed.body.len()
            );
            let headers = signed.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let whole = index % 2 == 0;
            let body = if whole { &signed.body[..] } else { &signed.body[..10] };
            let text = format!("{head}{}\r\n", headers.collect::<String>());
            hasty.send(&[text.as_bytes(), body].concat());
        } else if client.try_deliver(&signed).is_none() {
            // The gateway is away.
            client = Client::new(address);
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(1));
    };
    Beside::start(step, || ())
}

/// What a scraper has seen.
#[derive(Default)]
struct Seen {
    scrapes: usize,
    counted: BTreeSet<String>,
    most_in_progress: f64,
    most_unroutable: f64,
}

/// Scrapes as often as the listener takes it of one address; every single one closes.
fn scraper(admin: SocketAddr) -> Beside<Seen> {
    let seen = Arc::new(std::sync::Mutex::new(Seen::default()));
    let kept = Arc::clone(&seen);
    let step = move || {
        let Some(answer) = Client::call(admin, "GET", "/metrics", &[], b"") else {
            return sleep(Duration::from_millis(5));
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let scrape = Scrape::read(&answer.text());
        scrape.closes();
        let mut seen = seen.lock().unwrap();
        seen.scrapes += 1;
        seen.counted.extend(scrape.counted().map(str::to_owned));
        seen.most_in_progress = seen.most_in_progress.max(scrape.term("requests_in_progress"));
        seen.most_unroutable = seen.most_unroutable.max(scrape.term("relay_unroutable"));
        drop(seen);
        sleep(PAUSE);
    };
    Beside::start(step, move || std::mem::take(&mut *kept.lock().unwrap()))
}

fn scrape(gateway: &Gateway) -> Scrape {
    let scrape = Scrape::read(&gateway.metrics());
    scrape.closes();
    scrape
}

fn at_rest(gateway: &Gateway) -> Scrape {
    at_rest_or(gateway, || gateway.metrics())
}

/// The same; `why` is told where it does not come.
fn at_rest_or(gateway: &Gateway, why: impl Fn() -> String) -> Scrape {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = scrape(gateway);
        if seen.is_at_rest() {
            return seen;
        }
        assert!(Instant::now() < end, "not at rest: {}", why());
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_account_closes_in_every_scrape_whatever_happens() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let mut gateway = with_sources(with_rabbitmq(&broker.url(&vhost))).start();
    let (ingress, admin) = (gateway.ingress(), gateway.admin());
    until("it is connected", PATIENCE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    let scraper = scraper(admin);
    let senders: Vec<_> = (0..4).map(|number| sender(ingress, number)).collect();
    sleep(phase());
    broker.kill();
    sleep(phase());
    gateway.kill();
    gateway.start();
    sleep(phase());
    broker.restart();
    until("it is connected again", PATIENCE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    sleep(phase());
    // Not before the kill: a quorum queue whose end is not on the broker's disk yet comes back without a leader.
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.git"]);
    sleep(phase());
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.admin_call("POST", "/v1/reload", &[], b"").status, 200);
    sleep(phase());
    senders.into_iter().for_each(|sender| sender.finish());
    let rest = at_rest_or(&gateway, || {
        let queues =
            broker.rabbitmqctl(&["list_queues", "-p", &vhost, "name", "state", "leader", "messages"]);
        format!("{queues}\n{}", gateway.metrics())
    });
    let seen = scraper.finish();
    println!(
        "{} scrapes, up to {} in progress, up to {} unroutable",
        seen.scrapes, seen.most_in_progress, seen.most_unroutable
    );
    assert!(seen.scrapes > 20 && seen.most_in_progress > 0.0);
    assert!(rest.term("relay_held") > 0.0 && rest.term("events_recovered") > 0.0);
    for outcome in ["rejected", "filtered", "duplicate", "accepted"] {
        assert!(rest.outcome(outcome) > 0.0, "{outcome}");
    }
    // What nobody ever counts has no place in a scrape: these take two replicas, an operator, a source that splits, or a
    // provider whose keys are fetched.
    let elsewhere =
        ["events_superseded", "events_dropped", "events_replayed", "unsplit", "visits", "key_fetches"]
            .map(|name| format!("hookgate_{name}"));
    for (name, family) in &rest.0 {
        let counts = family.kind == "counter" || family.kind == "histogram";
        let counted = seen.counted.contains(name) || elsewhere.contains(name);
        assert!(
            !counts || counted,
            "nothing in this test has {name} count: have `request` or the faults above do it, or name it in `elsewhere` \
             where another test shows it counting"
        );
    }
    // The next process finds what this one leaves, and nothing else.
    let left = rest.term("relay_held") + rest.term("relay_poison");
    gateway.restart();
    assert_eq!(at_rest(&gateway).term("events_recovered"), left);
}

#[test]
fn the_account_closes_in_confirm_mode_whatever_is_away() {
    let (broker, mut redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let mut setup = with_rabbitmq(&broker.url_by(proxy.address(), &vhost))
        .env("REDIS_URL", &redis.url())
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }")
        .set("journal", "ack = \"confirm\"")
        .source("chat", "slack", "");
    // Without a journal there is nowhere to hold anything.
    for (name, provider, lines) in SOURCES.into_iter().filter(|(name, ..)| *name != "hold") {
        setup = setup.source(name, provider, lines);
    }
    let mut gateway = setup.start();
    until("it is connected", PATIENCE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    let scraper = scraper(gateway.admin());
    let senders: Vec<_> = (0..4).map(|number| sender(gateway.ingress(), number)).collect();
    sleep(phase());
    for mode in [Mode::BlackHole, Mode::Cut] {
        proxy.set(mode);
        sleep(phase());
        proxy.restore();
        until("it is connected again", PATIENCE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    }
    redis.kill();
    sleep(phase());
    redis.restart();
    gateway.kill();
    gateway.start();
    until("it is connected once more", PATIENCE, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    assert_eq!(gateway.deliver(&slack("chat", &challenge("here"))).text(), "here");
    proxy.set(Mode::Cut);
    sleep(phase());
    proxy.restore();
    // Everything that is asked for below happens in this process, however slow the machine is.
    let all = ["handshake", "rejected", "fault", "filtered", "duplicate", "accepted"];
    until("each outcome has come", PATIENCE, || {
        let scrape = scrape(&gateway);
        all.iter().all(|outcome| scrape.outcome(outcome) > 0.0)
    });
    senders.into_iter().for_each(|sender| sender.finish());
    let rest = at_rest(&gateway);
    let seen = scraper.finish();
    println!("{} scrapes, up to {} in progress", seen.scrapes, seen.most_in_progress);
    assert!(seen.scrapes > 20 && seen.most_in_progress > 0.0);
    assert_eq!(rest.outcome("accepted"), rest.term("events_confirmed"), "a 2xx is a confirm");
    assert_eq!(rest.term("events_recovered"), 0.0);
}

/// Claims what a source has and acknowledges it, but for about each fourth event, which no attempt ever does: it is given
/// back, or kept until its lease runs out.
fn work(gateway: &Gateway, source: &str, give_back: bool) {
    let (failed, done): (Vec<_>, Vec<_>) = gateway
        .claim(source, 200)
        .into_iter()
        .partition(|event| event.message_id.ends_with(['0', '1', '2', '3']));
    // A lease of a second may have run out on a busy machine.
    let answered = |answer: Answer| assert!([200, 409].contains(&answer.status), "{}", answer.text());
    if !done.is_empty() {
        answered(gateway.ack(source, &done));
    }
    if give_back && !failed.is_empty() {
        answered(gateway.nack(source, &failed, "0s"));
    }
}

#[test]
fn the_account_closes_with_workers_at_the_inbox() {
    let setup = Setup::new().set("sink", "lease = \"1s\"\nmax_attempts = 3");
    let mut gateway = with_sources(setup).start();
    let (ingress, admin) = (gateway.ingress(), gateway.admin());
    let scraper = scraper(admin);
    let senders: Vec<_> = (0..2).map(|number| sender(ingress, number)).collect();
    for round in 0..24 {
        for (source, _, _) in SOURCES {
            work(&gateway, source, round % 2 == 0);
        }
        if round == 12 {
            gateway.kill();
            gateway.start();
        }
        sleep(phase() / 8);
    }
    senders.into_iter().for_each(|sender| sender.finish());
    until("all has ended or is poison", PATIENCE, || {
        SOURCES.iter().for_each(|(source, ..)| work(&gateway, source, true));
        scrape(&gateway).is_at_rest()
    });
    let (rest, seen) = (scrape(&gateway), scraper.finish());
    println!("{} scrapes, {} poison", seen.scrapes, rest.term("relay_poison"));
    assert!(seen.scrapes > 20);
    assert!(rest.term("relay_poison") > 0.0 && rest.term("events_confirmed") > 0.0);
}

#[test]
fn a_sender_that_has_gone_is_counted_by_what_became_of_its_event() {
    let gateway = Setup::new().source("shop", "stripe", "").start();
    for index in 0..50 {
        let signed = stripe("shop", &stripe_event(&format!("evt_{index}")));
        let mut client = Client::new(gateway.ingress());
        let headers: String =
            signed.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = signed.body.len();
        let head =
            format!("POST {} HTTP/1.1\r\nhost: g\r\n{headers}content-length: {length}\r\n\r\n", signed.path);
        client.send(&[head.as_bytes(), &signed.body].concat());
        drop(client);
    }
    until("all are counted", PATIENCE, || {
        let scrape = scrape(&gateway);
        scrape.term("requests_received") == 50.0 && scrape.term("requests_in_progress") == 0.0
    });
    let scrape = scrape(&gateway);
    let kept = scrape.outcome("accepted");
    assert_eq!(kept + scrape.outcome("rejected"), 50.0);
    assert_eq!(gateway.drain("shop", kept as usize).len(), kept as usize, "what is counted is kept");
}
