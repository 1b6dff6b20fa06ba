//! Senders of three sources that insist and send copies on purpose, workers that note what they are given, and the book
//! that compares both. All of them outlive a gateway that is killed and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::gateway::{Answer, Client, Gateway, Setup, Signed, generic, github, stripe, stripe_event, until};
use crate::load::digest;
use crate::services::{Drained, RabbitMq, connect};

/// Sources of three kinds: the id signed, unsigned, and none at all.
pub const SOURCES: [&str; 3] = ["shop", "git", "plain"];
/// `max_in_flight` and one watermark step: so many events one kill may mark.
pub const MARKED_A_KILL: usize = 256 + 256;

const SENDERS: usize = 8;
const MARK: &str = "hookgate-possible-duplicate";
/// How long until all that was accepted has come out.
const DRAIN: Duration = Duration::from_secs(30);

/// The three sources with their limits; segments as small as they may be, so that each second has some that end.
pub fn tiny(setup: Setup) -> Setup {
    let lines = "body_bytes_max = \"4KiB\"";
    sources(setup, lines)
        .set("ingress", lines)
        .set("journal", "segment_bytes = \"80KiB\"\nbytes_max = \"480KiB\"")
}

/// The three sources, each with these lines.
pub fn sources(setup: Setup, lines: &str) -> Setup {
    setup.source("shop", "stripe", lines).source("git", "github", lines).source("plain", "generic", lines)
}

/// A number that looks like chance, the same for the same seed and place.
pub fn chance(seed: u64, place: u64) -> u64 {
    let mut mixed = seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for _ in 0..3 {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    mixed ^ (mixed >> 29)
}

/// The seed of this run, printed so that it can be run again: `HOOKGATE_IT_SEED`.
pub fn seed() -> u64 {
    let seed = u64::from(crate::load::number("HOOKGATE_IT_SEED", 4));
    println!("HOOKGATE_IT_SEED={seed}");
    seed
}

/// An event of a source, signed in this second.
pub fn event(source: &str, id: &str) -> Signed {
    match source {
        "shop" => stripe(source, &stripe_event(id)),
        "git" => {
            let body = format!(r#"{{"ref":"refs/heads/{id}","padding":"{}"}}"#, "g".repeat(1_200));
            github(source, &format!("delivery-{id}"), "push", body.as_bytes())
        }
        _ => generic(source, format!("{id} {}", "p".repeat(1_200)).as_bytes()),
    }
}

/// What senders were told.
#[derive(Debug, Default)]
pub struct Book {
    /// Answered 2xx: message id, and digest of the body.
    pub kept: BTreeMap<String, String>,
    /// Any other answer: how often each status and code.
    pub refused: BTreeMap<(u16, String), usize>,
    /// Deliveries whose connection ended instead of an answer.
    pub unanswered: usize,
}

impl Book {
    /// Sends once and notes what came of it; true for a 2xx.
    pub fn send(&mut self, client: &mut Client, signed: &Signed) -> bool {
        let answer = client.try_deliver(signed);
        self.note(signed, answer.as_ref())
    }

    /// Notes an answer; true for a 2xx.
    pub fn note(&mut self, signed: &Signed, answer: Option<&Answer>) -> bool {
        match answer {
            None => self.unanswered += 1,
            Some(answer) if answer.status / 100 == 2 => {
                self.kept.insert(answer.message_id(), digest(&signed.body));
                return true;
            }
            Some(answer) => *self.refused.entry((answer.status, answer.code())).or_default() += 1,
        }
        false
    }

    /// Takes over another's notes.
    pub fn add(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.unanswered += other.unanswered;
        for (answer, count) in other.refused {
            *self.refused.entry(answer).or_default() += count;
        }
    }

    /// Compares with all that workers were given so far: nothing lost, every byte equal, nobody refused for good, at most
    /// one copy of an event without a mark. How many copies are marked.
    pub fn audit(&self, given: &Given) -> usize {
        let copies = given.copies();
        let mut unmarked: BTreeMap<&str, usize> = BTreeMap::new();
        let mut marked = 0;
        for copy in copies.iter().filter(|copy| !copy.replay) {
            let count = unmarked.entry(&copy.id).or_default();
            *count += usize::from(!copy.marked);
            marked += usize::from(copy.marked);
            assert!(*count <= 1, "{} of {} came again without its mark", copy.id, copy.source);
            assert_eq!(copy.told, copy.digest, "{} has not the bytes that its header tells of", copy.id);
            if let Some(sent) = self.kept.get(&copy.id) {
                assert_eq!(*sent, copy.digest, "{} has other bytes than were sent", copy.id);
            }
        }
        let lost: Vec<_> = self.kept.keys().filter(|id| !unmarked.contains_key(id.as_str())).collect();
        assert!(lost.is_empty(), "{} of {} answered 2xx and lost: {lost:?}", lost.len(), self.kept.len());
        let final_ones: Vec<_> = self.refused.keys().filter(|(status, _)| *status != 503).collect();
        assert!(final_ones.is_empty(), "a fault of ours is a 503: {final_ones:?}");
        marked
    }
}

/// One event as a worker got it, once.
#[derive(Clone, Debug)]
pub struct Copy {
    pub source: String,
    pub id: String,
    /// SHA-256 of the body, and what the header says of it.
    pub digest: String,
    pub told: String,
    pub marked: bool,
    /// An operator asked for it.
    pub replay: bool,
}

impl Copy {
    fn of_message(source: &str, message: Drained) -> Self {
        let header = |name: &str| message.headers.get(name).cloned().unwrap_or_default();
        Self {
            source: source.to_owned(),
            digest: digest(&message.body),
            told: header("hookgate-digest"),
            marked: message.headers.contains_key(MARK),
            replay: message.headers.contains_key("hookgate-replay"),
            id: message.message_id,
        }
    }

    fn of_inbox(source: &str, event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = &event["headers"];
        Self {
            source: source.to_owned(),
            id: text(&event["message_id"]),
            digest: digest(text(&event["body"]).as_bytes()),
            told: text(&headers["hookgate-digest"]),
            marked: headers[MARK] == true,
            replay: headers["hookgate-replay"] == true,
        }
    }
}

/// All that workers were given, in the order in which they got it.
#[derive(Clone, Debug, Default)]
pub struct Given(Arc<Mutex<Vec<Copy>>>);

impl Given {
    /// All of it.
    pub fn copies(&self) -> Vec<Copy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every event of the book has come.
    pub fn until_all(&self, book: &Book) {
        let missing = || {
            let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let there: std::collections::BTreeSet<&str> =
                copies.iter().map(|copy| copy.id.as_str()).collect();
            book.kept.keys().filter(|id| !there.contains(id.as_str())).count()
        };
        let end = std::time::Instant::now() + DRAIN;
        while missing() > 0 && std::time::Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
    }

    fn push(&self, copy: Copy) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
    }
}

/// What a thread does until the flag is set.
type Body<T> = Box<dyn FnOnce(&AtomicBool) -> T + Send>;

/// Threads that end with this value.
pub struct Crew<T> {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Crew<T> {
    fn start(bodies: Vec<Body<T>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |body: Body<T>| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || body(&stop))
        };
        let threads = bodies.into_iter().map(start).collect();
        Self { stop, threads }
    }

    /// Ends them; what each returned.
    pub fn finish(mut self) -> Vec<T> {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads).into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

impl<T> Drop for Crew<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Senders of the sources in turn: each event until it is answered 2xx, every third of them twice.
pub fn senders(ingress: SocketAddr, name: &str, turn: &[&'static str]) -> Crew<Book> {
    let sender = |number: usize| {
        let (name, turn) = (format!("{name}_{number}"), turn.to_vec());
        let body = move |stop: &AtomicBool| {
            let (mut book, mut client) = (Book::default(), Client::new(ingress));
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (source, id) = (turn[(number + n) % turn.len()], format!("evt_{name}_{n}"));
                for _ in 0..1 + usize::from(n % 3 == 0) {
                    insist(&mut book, &mut client, source, &id, stop);
                }
                sleep(Duration::from_millis(2));
            }
            book
        };
        Box::new(body) as Body<Book>
    };
    Crew::start((0..SENDERS).map(sender).collect())
}

/// Sends an event until it is answered 2xx or the senders end.
fn insist(book: &mut Book, client: &mut Client, source: &str, id: &str, stop: &AtomicBool) {
    while !book.send(client, &event(source, id)) && !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(10));
    }
}

/// Ends the senders; their notes in one book.
pub fn notes(senders: Crew<Book>) -> Book {
    let mut book = Book::default();
    senders.finish().into_iter().for_each(|notes| book.add(notes));
    book
}

/// Workers that take from the inbox of a gateway, whether it runs or not.
pub fn inbox_workers(admin: SocketAddr, sources: &[&'static str], given: &Given) -> Crew<()> {
    let worker = |&source: &&'static str| {
        let given = given.clone();
        let body = move |stop: &AtomicBool| {
            while !stop.load(Ordering::Relaxed) {
                if !work(admin, source, &given) {
                    sleep(Duration::from_millis(10));
                }
            }
        };
        Box::new(body) as Body<()>
    };
    Crew::start(sources.iter().map(worker).collect())
}

/// Takes what there is and acknowledges it; false where there was nothing, or nobody.
fn work(admin: SocketAddr, source: &str, given: &Given) -> bool {
    let call = |path: String, body: &[u8]| Client::call(admin, "POST", &path, &[], body);
    let Some(claimed) = call(format!("/v1/inbox/{source}/claim?max=50"), b"") else { return false };
    let events = if claimed.status == 200 { claimed.json()["events"].take() } else { Value::Null };
    let Some(events) = events.as_array().filter(|events| !events.is_empty()) else { return false };
    events.iter().for_each(|event| given.push(Copy::of_inbox(source, event)));
    let tokens: Vec<&Value> = events.iter().map(|event| &event["token"]).collect();
    call(format!("/v1/inbox/{source}/ack"), json!({ "tokens": tokens }).to_string().as_bytes()).is_some()
}

/// Workers that take from the queues of a virtual host, which must be there.
pub fn queue_workers(broker: &RabbitMq, vhost: &str, given: &Given) -> Crew<()> {
    let worker = |source: &'static str| {
        let (url, given) = (broker.url(vhost), given.clone());
        let body = move |stop: &AtomicBool| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(consume(&url, source, &given, stop));
        };
        Box::new(body) as Body<()>
    };
    // What a schema does not let pass has a queue of its own.
    Crew::start(SOURCES.into_iter().chain(["invalid"]).map(worker).collect())
}

async fn consume(url: &str, source: &str, given: &Given, stop: &AtomicBool) {
    let connection = connect(url).await;
    let channel = connection.create_channel().await.unwrap();
    let (queue, options) = (format!("webhooks.{source}"), BasicConsumeOptions::default());
    let consumed = channel.basic_consume(queue.into(), "worker".into(), options, FieldTable::default());
    let mut messages = consumed.await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Ok(next) = tokio::time::timeout(Duration::from_millis(50), messages.next()).await else {
            continue;
        };
        let message = next.expect("the broker lives").unwrap();
        message.acker.ack(BasicAckOptions::default()).await.unwrap();
        given.push(Copy::of_message(source, Drained::of(message)));
    }
    connection.close(200, "OK".into()).await.unwrap();
}

/// Waits until a gateway has declared its queues.
pub fn until_connected(gateway: &Gateway) {
    until("the sink is connected", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

/// Waits until everything accepted is handed over and acknowledged.
pub fn until_empty(gateway: &Gateway) {
    until("nothing is pending", DRAIN, || {
        let scrape = gateway.metrics();
        ["pending", "unroutable", "parked"]
            .iter()
            .all(|term| crate::gateway::sum(&scrape, &format!("hookgate_relay_{term}"), &[]) == 0.0)
    });
}

/// Fails where a gateway has said anything of a panic.
pub fn no_panic(gateway: &Gateway) {
    let told = gateway.stderr();
    assert!(!told.contains("panicked"), "{told}");
}
