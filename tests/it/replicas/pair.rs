//! Two replicas in either mode, a fault proxy on each of their links, senders that give every event to both, and the
//! comparison of what was answered with what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::MARK;
use crate::chaos::Proxy;
use crate::gateway::{Client, Gateway, Setup, until};
use crate::load::{Book, digest, drained, number, until_drained};
use crate::redis::replica;
use crate::services::{Drained, RabbitMq, Redis};

/// Connections to each replica.
const SENDERS: u32 = 16;
/// How long an event may be refused before the test fails; the slowest CI machine takes a third of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a 2xx waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Journal,
    Confirm,
}

/// Runs a test in either mode, both at once: most of it is waiting.
pub fn in_both_modes(test: fn(Ack)) {
    at_once([Ack::Journal, Ack::Confirm].map(|ack| move || test(ack)));
}

/// Runs parts of a test at once.
pub fn at_once<const N: usize>(parts: [impl FnOnce() + Send; N]) {
    scope(|scope| {
        for part in parts.map(|part| scope.spawn(part)) {
            part.join().unwrap();
        }
    });
}

/// Two replicas, each with its own ways to RabbitMQ and Redis.
pub struct Pair {
    pub broker: &'static RabbitMq,
    pub vhost: String,
    pub gateways: [Gateway; 2],
    pub to_broker: [Proxy; 2],
    pub to_redis: [Proxy; 2],
    ack: Ack,
}

impl Pair {
    /// Two replicas that are ready; leases of six seconds, claims taken over after one second of silence.
    pub fn start(ack: Ack, redis: &Redis) -> Self {
        Self::with(ack, redis, |_, setup| setup)
    }

    /// The same, each configured further by its number.
    pub fn with(ack: Ack, redis: &Redis, change: impl Fn(usize, Setup) -> Setup) -> Self {
        let broker = RabbitMq::shared();
        let vhost = broker.vhost();
        let to_broker = [0, 1].map(|_| Proxy::start(broker.address()));
        let to_redis = [0, 1].map(|_| Proxy::start(redis.address()));
        let gateways = [0, 1].map(|number| {
            let setup = replica(broker, &vhost, redis)
                .source("git", "github", "")
                .set("dedup", "takeover_after = \"1s\"")
                .env("AMQP_URL", &broker.url_by(to_broker[number].address(), &vhost))
                .env("REDIS_URL", &redis.url_by(to_redis[number].address()));
            let setup = match ack {
                Ack::Journal => setup,
                Ack::Confirm => {
                    setup.set("journal", "ack = \"confirm\"").set("sink", "confirm_timeout = \"1s\"")
                }
            };
            change(number, setup).start()
        });
        let pair = Self { broker, vhost, gateways, to_broker, to_redis, ack };
        pair.gateways.iter().for_each(is_ready);
        pair
    }

    /// Where deliveries go.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.gateways.each_ref().map(Gateway::ingress)
    }

    /// Whether a 2xx waits for a journal.
    pub fn has_journals(&self) -> bool {
        self.ack == Ack::Journal
    }

    /// Waits until nothing is left to be handed over.
    pub fn settle(&self) {
        if self.has_journals() {
            self.gateways.iter().for_each(until_drained);
        }
    }

    /// All that has come out since the last call, once nothing is left to be handed over.
    pub fn messages(&self) -> Vec<Drained> {
        self.settle();
        drained(self.broker, &self.vhost, "shop")
    }
}

/// Waits until a replica has its way to RabbitMQ.
pub fn is_ready(gateway: &Gateway) {
    until("it is connected", Duration::from_secs(30), || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

/// How events are sent to both replicas.
pub struct Copies {
    gateways: [SocketAddr; 2],
    name: &'static str,
    at_least: u32,
    pause: Duration,
    next: AtomicU32,
    stop: AtomicBool,
}

impl Copies {
    /// `HOOKGATE_IT_EVENTS` or `default` events at least; `name` keeps their ids apart from other loads'.
    pub fn to(gateways: [SocketAddr; 2], name: &'static str, default: u32) -> Self {
        let at_least = number("HOOKGATE_IT_EVENTS", default);
        let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { gateways, name, at_least, pause: Duration::ZERO, next, stop }
    }

    /// Lets each of 16 senders pause so long between two events.
    pub fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Events sent so far.
    pub fn sent(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Waits until so many more events are sent.
    pub fn more(&self, events: u32) {
        let through = self.sent() + events;
        until("more is sent", PATIENCE, || self.sent() >= through);
    }

    /// Sends every event to both replicas at once, again and again until each has answered 2xx, for as long as `script`
    /// runs and until there are enough.
    pub fn during(&self, script: impl FnOnce()) -> Book {
        let book = Mutex::new(Book::default());
        scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| book.lock().unwrap().add(self.send()));
            }
            let ends = Ends(&self.stop);
            script();
            drop(ends);
        });
        book.into_inner().unwrap()
    }

    fn send(&self) -> Book {
        let mut clients = self.gateways.map(Client::new);
        let mut own = Book::default();
        loop {
            let event = self.next.fetch_add(1, Ordering::Relaxed);
            if event >= self.at_least && self.stop.load(Ordering::Relaxed) {
                return own;
            }
            both(&mut clients, &mut own, &format!("evt_{}_{event}", self.name));
            sleep(self.pause);
        }
    }
}

/// Tells the senders to end, also where the script panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends an event to both at once, again and again until each has answered 2xx.
pub fn both(clients: &mut [Client; 2], book: &mut Book, id: &str) {
    let books: Vec<Book> = scope(|scope| {
        let both: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| insist(client, id))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    books.into_iter().for_each(|own| book.add(own));
}

/// Sends an event until it is answered 2xx.
pub fn insist(client: &mut Client, id: &str) -> Book {
    let end = Instant::now() + PATIENCE;
    let mut own = Book::default();
    while !own.send(client, "shop", id) {
        assert!(Instant::now() < end, "{id} is never answered 2xx: {:?}", own.refused.last());
        sleep(Duration::from_millis(50));
    }
    own
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// Messages.
    pub all: usize,
    /// Those that carry the mark.
    pub marked: usize,
    /// Events of which more than one message came without the mark: the ids, and how many beyond the first.
    pub doubled: BTreeMap<String, usize>,
}

/// The events answered 2xx and those that came out are the same, byte for byte; counts what came more than once.
pub fn compare(book: &Book, messages: &[Drained]) -> Out {
    let other: BTreeSet<u16> = book.refused.iter().map(|(status, _)| *status).filter(|s| *s != 503).collect();
    assert!(other.is_empty(), "{other:?}");
    let mut out = Out { all: messages.len(), ..Out::default() };
    let mut unmarked: BTreeMap<&str, usize> = BTreeMap::new();
    for message in messages {
        let id = message.message_id.as_str();
        assert_eq!(book.kept.get(id), Some(&digest(&message.body)), "{id}: never answered, or other bytes");
        let marked = message.headers.contains_key(MARK);
        out.marked += usize::from(marked);
        *unmarked.entry(id).or_default() += usize::from(!marked);
    }
    let lost: Vec<&String> = book.kept.keys().filter(|id| !unmarked.contains_key(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} answered 2xx and lost: {:?}", lost.len(), book.kept.len(), lost[0]);
    let beyond = unmarked.into_iter().filter(|(_, count)| *count > 1);
    out.doubled = beyond.map(|(id, count)| (id.to_owned(), count - 1)).collect();
    out
}

/// [`compare`], where nothing may come twice without the mark.
pub fn audit(book: &Book, messages: &[Drained]) -> Out {
    let out = compare(book, messages);
    assert!(out.doubled.is_empty(), "came again without the mark: {:?}", out.doubled);
    println!(
        "{} events, {} answers 2xx, {} refused, {} cut off: {} messages, {} of them marked",
        book.kept.len(),
        book.answers,
        book.refused.len(),
        book.unanswered,
        out.all,
        out.marked
    );
    out
}
