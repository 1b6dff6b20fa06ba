//! Confirm mode with a sink that does what a test says. Its Redis is never there, so every event goes the way of
//! W3a; what Redis adds is shown against real servers in `tests/it/confirm.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::attempt::Desk;
use super::{ConfirmParts, ConfirmSettings, Confirmer};
use crate::accept::{Accepted, Policy, Proof};
use crate::clock::{System, Timestamp};
use crate::dedup::{RedisClaims, RedisSettings};
use crate::event::{Digest, Envelope, Event, Keys};
use crate::metrics::{Metrics, Outcome, Request};
use crate::reject::{Refused, Reject};
use crate::sink::{Confirmation, Health, Message, Pending, Sink, State};
use crate::tasks;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sink that keeps what it is given until the test answers.
#[derive(Default)]
struct Script {
    asked: Mutex<Vec<(bool, oneshot::Sender<Confirmation>)>>,
    away: bool,
}

impl Script {
    /// The next message, once it is there: whether it is marked, and where its outcome is awaited.
    async fn next(&self) -> (bool, oneshot::Sender<Confirmation>) {
        let next = async {
            loop {
                let asked = self.asked.lock().unwrap().pop();
                match asked {
                    Some(asked) => return asked,
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a message")
    }
}

impl Sink for Script {
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending> {
        let marked = message.headers().iter().any(|(name, _)| name == "hookgate-possible-duplicate");
        assert!(message.headers().iter().all(|(name, _)| name != "hookgate-sequence"));
        let (answer, outcome) = oneshot::channel();
        self.asked.lock().unwrap().push((marked, answer));
        let pending =
            outcome.map(|told| told.unwrap_or(Confirmation::Unknown { cause: "dropped".to_owned() }));
        std::future::ready(pending.boxed()).boxed()
    }

    fn health(&self) -> Health {
        let state = if self.away { State::Connecting { last_error: None } } else { State::Connected };
        Health { state, since: Timestamp::default() }
    }

    fn name(&self) -> &'static str {
        "script"
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

fn parts(sink: &Arc<Script>) -> ConfirmParts {
    let mut metrics = Metrics::new();
    let settings = RedisSettings::new("redis://127.0.0.1:1", "1".repeat(32), Duration::from_secs(60));
    ConfirmParts {
        redis: RedisClaims::new(settings).unwrap(),
        sink: Arc::clone(sink) as Arc<dyn Sink>,
        clock: Arc::new(System::new()),
        claims: metrics.confirm(),
        published: metrics.relay("script"),
    }
}

fn settings(max_in_flight: usize, confirm_timeout: Duration) -> ConfirmSettings {
    ConfirmSettings { max_in_flight, confirm_timeout, takeover_after: Duration::from_secs(600) }
}

fn confirmer(sink: &Arc<Script>, max_in_flight: usize) -> Confirmer {
    Confirmer::start(parts(sink), settings(max_in_flight, PATIENCE))
}

fn event(number: u8, bytes: usize) -> Event {
    let envelope = Envelope {
        source: "shop".into(),
        provider: "stripe".into(),
        keys: Keys { message_id: Digest([number; 32]), content: None },
        event_id: format!("evt_{number}"),
        event_type: "paid".to_owned(),
        received_at: Timestamp::from_seconds(1_795_000_000 + i64::from(number)),
        secret: "live".into(),
        content_type: String::new(),
        headers: Vec::new(),
        source_authenticated: false,
        unauthenticated: false,
        invalid: None,
        twin_of: None,
        held: false,
        redelivery: false,
    };
    Event::restore(envelope, Bytes::from(vec![b'x'; bytes]))
}

type Asked = tokio::task::JoinHandle<Result<Accepted, Refused>>;

fn request() -> Request {
    Metrics::new().source("shop", std::iter::empty()).begin()
}

fn ask(confirmer: &Confirmer, event: Event) -> Asked {
    let confirmer = confirmer.clone();
    tasks::task(async move { confirmer.keep(event, Policy::default(), request()).await })
}

async fn told(asked: Asked) -> Result<Outcome, Reject> {
    let told = timeout(PATIENCE, asked).await.expect("an answer").unwrap();
    told.map(|accepted| accepted.outcome).map_err(|refused| refused.reject)
}

#[tokio::test]
async fn only_a_confirm_is_a_proof() {
    let sink = Arc::new(Script::default());
    let confirmer = confirmer(&sink, 8);
    let others = [
        (Confirmation::Refused, Reject::Unconfirmed),
        (Confirmation::Returned { code: 312, reason: "NO_ROUTE".to_owned() }, Reject::Unconfirmed),
        (Confirmation::Unknown { cause: "lost".to_owned() }, Reject::Unconfirmed),
        (Confirmation::ChannelClosed { code: 406, reason: "too large".to_owned() }, Reject::Unconfirmed),
        (Confirmation::NotSent { cause: "closed".to_owned() }, Reject::SinkAway),
    ];
    for (confirmation, reject) in others {
        assert!(confirmation.proof().is_none(), "{confirmation:?}");
        let asked = ask(&confirmer, event(1, 10));
        let (marked, answer) = sink.next().await;
        assert!(marked, "without Redis, another replica may publish a copy");
        answer.send(confirmation).unwrap();
        assert_eq!(told(asked).await, Err(reject));
    }
    assert_eq!(confirmer.newest(), Timestamp::from_millis(0), "nothing was accepted");
    let asked = ask(&confirmer, event(2, 10));
    sink.next().await.1.send(Confirmation::Confirmed).unwrap();
    let accepted = timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    assert!(matches!(accepted.proof, Proof::Confirmed(_)) && accepted.outcome == Outcome::New);
    assert_eq!(confirmer.newest(), Timestamp::from_seconds(1_795_000_002));
    assert_eq!(confirmer.untold(), 7, "Redis is to be told of each attempt, and that one was confirmed");
}

#[tokio::test]
async fn without_the_sink_nothing_is_tried() {
    let sink = Arc::new(Script { away: true, ..Script::default() });
    let confirmer = confirmer(&sink, 8);
    assert_eq!(told(ask(&confirmer, event(1, 10))).await, Err(Reject::SinkAway));
    assert!(sink.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_confirm_that_does_not_come_in_time_is_refused() {
    let sink = Arc::new(Script::default());
    let confirmer = Confirmer::start(parts(&sink), settings(8, Duration::from_millis(50)));
    let asked = ask(&confirmer, event(1, 10));
    let (_, answer) = sink.next().await;
    assert_eq!(told(asked).await, Err(Reject::Unconfirmed));
    assert!(answer.is_closed(), "a message that still waits to go out is not sent");
}

#[tokio::test]
async fn a_process_that_was_frozen_beyond_its_deadline_publishes_nothing() {
    let sink = Arc::new(Script::default());
    let desk = Desk::new(parts(&sink), settings(8, Duration::ZERO));
    let refused = desk.take(event(1, 10), Policy::default()).await.unwrap_err();
    assert_eq!(refused.reject, Reject::SinkAway);
    assert!(sink.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn those_in_flight_are_bounded_and_others_wait_a_moment() {
    let sink = Arc::new(Script::default());
    let confirmer = confirmer(&sink, 2);
    let first: Vec<Asked> = (0..2).map(|n| ask(&confirmer, event(n, 10))).collect();
    let answers = [sink.next().await.1, sink.next().await.1];
    let (patient, late) = (ask(&confirmer, event(3, 10)), ask(&confirmer, event(4, 10)));
    sleep(Duration::from_millis(300)).await;
    assert!(sink.asked.lock().unwrap().is_empty(), "both wait for a slot");
    let [one, two] = answers;
    one.send(Confirmation::Confirmed).unwrap();
    let third = sink.next().await.1;
    let refused = tokio::select! {
        refused = told(patient) => refused,
        refused = told(late) => refused,
    };
    assert_eq!(refused, Err(Reject::Overloaded));
    two.send(Confirmation::Confirmed).unwrap();
    third.send(Confirmation::Confirmed).unwrap();
    for asked in first {
        assert_eq!(told(asked).await, Ok(Outcome::New));
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_a_huge_one_goes_alone() {
    let sink = Arc::new(Script::default());
    let confirmer = confirmer(&sink, 8);
    let huge = ask(&confirmer, event(1, 64 << 20));
    let answer = sink.next().await.1;
    assert_eq!(told(ask(&confirmer, event(2, 1))).await, Err(Reject::Overloaded));
    answer.send(Confirmation::Confirmed).unwrap();
    assert_eq!(told(huge).await, Ok(Outcome::New));
    let next = ask(&confirmer, event(2, 1));
    sink.next().await.1.send(Confirmation::Confirmed).unwrap();
    assert_eq!(told(next).await, Ok(Outcome::New));
}

#[tokio::test]
async fn whoever_goes_leaves_the_event_on_its_way() {
    let sink = Arc::new(Script::default());
    let confirmer = confirmer(&sink, 8);
    let asked = ask(&confirmer, event(1, 10));
    let answer = sink.next().await.1;
    asked.abort();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(confirmer.in_progress(), 1);
    answer.send(Confirmation::Confirmed).unwrap();
    let ended = async {
        while confirmer.in_progress() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(confirmer.untold(), 2, "it was published, and confirmed");
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_refuses_those_that_do_not_come() {
    let sink = Arc::new(Script::default());
    let confirmer = confirmer(&sink, 8);
    let (quick, slow) = (ask(&confirmer, event(1, 10)), ask(&confirmer, event(2, 10)));
    let (one, two) = (sink.next().await.1, sink.next().await.1);
    let closing = confirmer.clone();
    let closing = tasks::task(async move { closing.close().await });
    sleep(Duration::from_millis(50)).await;
    assert_eq!(told(ask(&confirmer, event(3, 10))).await, Err(Reject::Stopping));
    one.send(Confirmation::Confirmed).unwrap();
    let mut told = [told(quick).await, told(slow).await];
    told.sort_by_key(Result::is_err);
    assert_eq!(told, [Ok(Outcome::New), Err(Reject::Stopping)]);
    drop(two);
    timeout(PATIENCE, closing).await.unwrap().unwrap();
}
