//! Load and audit: senders that keep book of what was answered 2xx, and the comparison with what came out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::gateway::{Client, Gateway, Setup, stripe, stripe_event, sum, until};
use crate::services::{Drained, RabbitMq};

/// Connections of a load.
const SENDERS: u32 = 8;
/// How long a backlog may take to drain; the slowest CI machine takes a third of it.
pub const DRAIN: Duration = Duration::from_secs(60);

/// A number from the environment, so that the large run is the same test.
pub fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// A folder of others' data, which the repository has no copy of.
pub fn of_others(path: &str) -> PathBuf {
    let folder = std::env::var_os("HOOKGATE_TEST_DATA").expect("HOOKGATE_TEST_DATA names the folder");
    PathBuf::from(folder).join(path)
}

/// A gateway's configuration with RabbitMQ as its sink.
pub fn with_rabbitmq(url: &str) -> Setup {
    Setup::new()
        .env("AMQP_URL", url)
        .set("sink", "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }\nconfirm_timeout = \"3s\"")
}

/// The SHA-256 of a body, in hexadecimal.
pub fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// What senders were told.
#[derive(Debug, Default)]
pub struct Book {
    /// Answered 2xx: message id, and digest of the body.
    pub kept: BTreeMap<String, String>,
    /// Any other answer.
    pub refused: Vec<(u16, String)>,
    /// Deliveries whose connection ended instead of an answer.
    pub unanswered: usize,
    /// 2xx answers, duplicates included.
    pub answers: usize,
}

impl Book {
    /// Sends an event and notes the answer; true where it was answered 2xx.
    pub fn send(&mut self, client: &mut Client, source: &str, id: &str) -> bool {
        let body = stripe_event(id);
        match client.try_deliver(&stripe(source, &body)) {
            None => self.unanswered += 1,
            Some(answer) if answer.status / 100 == 2 => {
                self.answers += 1;
                self.kept.insert(answer.message_id(), digest(&body));
                return true;
            }
            Some(answer) => self.refused.push((answer.status, answer.text())),
        }
        false
    }

    /// Takes over another's notes.
    pub fn add(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.refused.extend(other.refused);
        self.unanswered += other.unanswered;
        self.answers += other.answers;
    }

    /// Compares with what a queue held, in its order: nothing lost, every byte equal, no copy without its mark,
    /// sequences rising but for what is marked. Events that nobody was answered for may be there too.
    pub fn audit(&self, drained: &[Drained]) -> Audit {
        let mut audit = Audit::default();
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last = 0;
        for message in drained {
            let marked = message.headers.contains_key("hookgate-possible-duplicate");
            audit.marked += usize::from(marked);
            let seen = copies.entry(&message.message_id).or_default();
            *seen += 1;
            audit.copies += usize::from(*seen > 1);
            assert!(*seen == 1 || marked, "{} came again without its mark", message.message_id);
            assert_eq!(message.headers["hookgate-digest"], digest(&message.body));
            if let Some(sent) = self.kept.get(&message.message_id) {
                assert_eq!(*sent, digest(&message.body), "{} has other bytes", message.message_id);
            } else {
                audit.unanswered += 1;
            }
            // There is none without a journal.
            if let Some(sequence) = message.headers.get("hookgate-sequence") {
                let sequence: u64 = sequence.parse().unwrap();
                assert!(marked || sequence > last, "{sequence} came after {last} without a mark");
                last = if marked { last } else { sequence };
            }
        }
        let lost: Vec<_> = self.kept.keys().filter(|id| !copies.contains_key(id.as_str())).collect();
        assert!(
            lost.is_empty(),
            "{} of {} answered 2xx and lost: {:?}",
            lost.len(),
            self.kept.len(),
            lost[0]
        );
        audit.events = copies.len();
        audit
    }
}

/// What an audit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Distinct events.
    pub events: usize,
    /// Messages beyond the first of their event.
    pub copies: usize,
    /// Messages that carry the duplicate mark.
    pub marked: usize,
    /// Messages of events that nobody was answered for.
    pub unanswered: usize,
}

/// Senders at work, at a steady rate, until they are told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Book>>,
}

impl Load {
    /// Sends `per_second` new events to the gateways in turn; `name` keeps their ids apart from other loads'.
    /// An event that was not answered 2xx is sent again, as providers do.
    pub fn start(gateways: &[SocketAddr], source: &str, name: &str, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU32::new(0));
        let sender = |number: u32| {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            let (source, name) = (source.to_owned(), name.to_owned());
            let gateways = gateways.to_vec();
            let pause = Duration::from_secs(1) * SENDERS / per_second;
            thread::spawn(move || {
                let mut book = Book::default();
                let mut clients: Vec<_> = gateways.into_iter().map(Client::new).collect();
                let mut due = Instant::now() + pause * number / SENDERS;
                while !stop.load(Ordering::Relaxed) {
                    sleep(due.saturating_duration_since(Instant::now()));
                    due = (due + pause).max(Instant::now() - pause * 20);
                    let event = next.fetch_add(1, Ordering::Relaxed);
                    let gateway = event as usize % clients.len();
                    let id = format!("evt_{name}_{event}");
                    insist(&mut book, &mut clients[gateway], &source, &id, &stop);
                }
                book
            })
        };
        let senders = (0..SENDERS).map(sender).collect();
        Self { stop, senders }
    }

    /// Ends the senders; what they noted.
    pub fn finish(self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        let mut book = Book::default();
        self.senders.into_iter().for_each(|sender| book.add(sender.join().unwrap()));
        book
    }
}

/// Sends an event until it is answered 2xx or the load ends.
fn insist(book: &mut Book, client: &mut Client, source: &str, id: &str, stop: &AtomicBool) {
    while !book.send(client, source, id) && !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(20));
    }
}

/// Waits until a gateway has handed over all it accepted.
pub fn until_drained(gateway: &Gateway) {
    until("all is handed over", DRAIN, || {
        let scrape = gateway.metrics();
        let waiting = ["pending", "unroutable", "parked"].map(|term| format!("hookgate_relay_{term}"));
        waiting.iter().all(|name| sum(&scrape, name, &[]) == 0.0)
    });
}

/// Takes everything from the queue of a source.
pub fn drained(broker: &RabbitMq, vhost: &str, source: &str) -> Vec<Drained> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(broker.drain(vhost, &format!("webhooks.{source}")))
}
