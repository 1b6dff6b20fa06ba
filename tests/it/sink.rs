//! The RabbitMQ sink against a real broker: what is confirmed is there, what is not there is never confirmed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hookgate::clock::{System, Timestamp};
use hookgate::event::{Digest, Envelope, Keys, Sequence};
use hookgate::sink::rabbitmq::{CheckError, ExchangeFound, Pace, RabbitMq as RabbitSink, Settings};
use hookgate::sink::{Attempt, Confirmation, Message, Sink, State};
use tokio::time::timeout;

use crate::chaos::{Mode, Proxy};
use crate::services::{self, MESSAGE_BYTES_MAX, RabbitMq};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(40);

fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url, "webhooks", vec!["shop".into(), "code".into()]).unwrap();
    settings.confirm_timeout = Duration::from_secs(3);
    settings.pace = Pace {
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_millis(500),
        refused: Duration::from_millis(700),
        step: Duration::from_secs(3),
    };
    settings
}

fn start(settings: Settings) -> RabbitSink {
    RabbitSink::start(settings, Arc::new(System::new()))
}

fn envelope(source: &str, number: u32) -> Envelope {
    let mut id = [0x5a; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Envelope {
        source: source.into(),
        provider: "shopify".into(),
        keys: Keys { message_id: Digest(id), content: None },
        event_id: format!("evt_{number}"),
        event_type: "orders/create".into(),
        received_at: Timestamp::from_millis(1_795_219_200_123),
        secret: "live".into(),
        content_type: "application/json; charset=utf-8".into(),
        headers: vec![("x-shopify-topic".into(), "orders/create".into())],
        source_authenticated: false,
        unauthenticated: false,
        invalid: None,
        twin_of: None,
        held: false,
        redelivery: false,
    }
}

fn message(source: &str, number: u32) -> Message {
    message_of(&envelope(source, number), body(number))
}

fn message_of(envelope: &Envelope, body: Bytes) -> Message {
    Message::of(envelope, &body, Sequence(1), Attempt::default())
}

/// 1.5 KB that differ by number and are no UTF-8.
fn body(number: u32) -> Bytes {
    let mut body = format!("{{\"n\":{number}}}\0").into_bytes();
    body.resize(1500, 0xfe);
    body.into()
}

async fn ready(sink: &RabbitSink) {
    if timeout(PATIENCE, sink.ready()).await.is_err() {
        panic!("not ready: {:?}", sink.health());
    }
}

async fn publish(sink: &RabbitSink, message: Message) -> Confirmation {
    let pending = timeout(PATIENCE, sink.publish(message)).await.expect("taken");
    timeout(PATIENCE, pending).await.expect("answered")
}

/// Publishes until it is confirmed, as the relay does.
async fn insist(sink: &RabbitSink, number: u32) {
    for _ in 0..20 {
        ready(sink).await;
        if publish(sink, message("shop", number)).await == Confirmation::Confirmed {
            return;
        }
    }
    panic!("never confirmed: {:?}", sink.health());
}

async fn reach(sink: &RabbitSink, what: &str, reached: impl Fn(&State) -> bool) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if reached(&sink.health().state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}: {:?}", sink.health());
}

#[tokio::test]
async fn a_confirmed_event_arrives_byte_for_byte_with_all_it_says() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let sink = start(settings(&broker.url(&vhost)));
    ready(&sink).await;

    let mut twin = envelope("shop", 2);
    twin.twin_of = Some(Digest([1; 32]));
    let attempt = Attempt { possible_duplicate: true, redelivery: true, replay: false };
    let marked = Message::of(&twin, &Bytes::new(), Sequence(u64::MAX >> 1), attempt);
    let mut invalid = envelope("shop", 3);
    invalid.invalid = Some("/amount is missing".into());
    for message in [message("shop", 1), marked, message_of(&invalid, body(3)), message("code", 4)] {
        assert_eq!(publish(&sink, message).await, Confirmation::Confirmed);
    }

    let shop = broker.drain(&vhost, "webhooks.shop").await;
    assert_eq!(shop.len(), 2);
    let first = &shop[0];
    assert_eq!(first.body, body(1));
    assert_eq!(first.routing_key, "shop.orders_create");
    assert_eq!(first.message_id, format!("00000001{}", "5a".repeat(28)));
    assert_eq!(
        (first.event_type.as_str(), first.app_id.as_str(), first.timestamp, first.delivery_mode),
        ("orders/create", "hookgate", 1_795_219_200, 2)
    );
    assert_eq!(first.content_type, "application/json; charset=utf-8");
    let digest = first.headers["hookgate-digest"].clone();
    let expected = [
        ("hookgate-source", "shop"),
        ("hookgate-provider", "shopify"),
        ("hookgate-event-id", "evt_1"),
        ("hookgate-event-type", "orders/create"),
        ("hookgate-received-at", "2026-11-21T00:00:00.123Z"),
        ("hookgate-sequence", "1"),
        ("hookgate-secret", "live"),
        ("hookgate-digest", &digest),
        ("http-x-shopify-topic", "orders/create"),
    ];
    assert_eq!(first.headers, expected.map(|(name, value)| (name.into(), value.into())).into());
    let second: &BTreeMap<_, _> = &shop[1].headers;
    assert!(shop[1].body.is_empty());
    assert_eq!(second["hookgate-sequence"], (u64::MAX >> 1).to_string());
    assert_eq!(second["hookgate-possible-duplicate"], "true");
    assert_eq!(second["hookgate-redelivery"], "true");
    assert_eq!(second["hookgate-twin-of"], "01".repeat(32));

    let invalid = broker.drain(&vhost, "webhooks.invalid").await;
    assert_eq!(invalid.len(), 1);
    assert_eq!(invalid[0].routing_key, "invalid.shop");
    assert_eq!(invalid[0].headers["hookgate-invalid"], "/amount is missing");
    assert_eq!(broker.drain(&vhost, "webhooks.code").await.len(), 1);
    sink.close().await;
    assert_eq!(sink.health().state, State::Closed);
    assert!(matches!(publish(&sink, message("shop", 9)).await, Confirmation::NotSent { .. }));
}

#[tokio::test]
async fn what_a_worker_rejects_goes_to_the_dead_letters() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let sink = start(settings(&broker.url(&vhost)));
    insist(&sink, 1).await;
    let connection = services::connect(&broker.url(&vhost)).await;
    let channel = connection.create_channel().await.unwrap();
    let got = channel.basic_get("webhooks.shop".into(), Default::default()).await.unwrap().unwrap();
    got.delivery.acker.reject(lapin::options::BasicRejectOptions { requeue: false }).await.unwrap();
    let dead = broker.drain(&vhost, "webhooks.dead").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].body, body(1));
}

#[tokio::test]
async fn an_unroutable_event_is_returned_and_only_that_one() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let sink = start(settings(&broker.url(&vhost)));
    ready(&sink).await;
    // Runs of both kinds, pipelined: the broker acknowledges several at once, and lapin then gives some returns
    // to a message that they do not belong to.
    let mut outcomes = FuturesUnordered::new();
    for number in 0..3000 {
        let lost = (number / 5) % 4 != 0;
        let pending = sink.publish(message(if lost { "nowhere" } else { "shop" }, number)).await;
        outcomes.push(async move { (number, lost, pending.await) });
    }
    while let Some((number, lost, outcome)) = timeout(PATIENCE, outcomes.next()).await.unwrap() {
        match outcome {
            Confirmation::Returned { code: 312, reason } if lost => assert_eq!(reason, "NO_ROUTE"),
            Confirmation::Confirmed if !lost => {}
            other => panic!("{number} (unroutable: {lost}): {other:?}"),
        }
    }
    assert_eq!(broker.drain(&vhost, "webhooks.shop").await.len(), 750);
}

#[tokio::test]
async fn a_deleted_queue_makes_events_unroutable_and_a_deleted_exchange_is_made_again() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let sink = start(settings(&broker.url(&vhost)));
    insist(&sink, 1).await;
    let connection = services::connect(&broker.url(&vhost)).await;
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete("webhooks.shop".into(), Default::default()).await.unwrap();
    let outcome = publish(&sink, message("shop", 2)).await;
    assert!(matches!(outcome, Confirmation::Returned { code: 312, .. }), "{outcome:?}");
    channel.exchange_delete("webhooks".into(), Default::default()).await.unwrap();
    let outcome = publish(&sink, message("code", 3)).await;
    assert!(matches!(outcome, Confirmation::Unknown { .. }), "{outcome:?}");
    insist(&sink, 4).await;
}

#[tokio::test]
async fn a_full_queue_is_a_refusal() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    broker.rabbitmqctl(&["set_policy", "-p", &vhost, "small", "^webhooks.shop$", "{\"max-length\":5}"]);
    let sink = start(settings(&broker.url(&vhost)));
    ready(&sink).await;
    let mut confirmed = 0;
    let mut refused = 0;
    for number in 0..60 {
        match publish(&sink, message("shop", number)).await {
            Confirmation::Confirmed => confirmed += 1,
            Confirmation::Refused => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "the queue takes 5 and some more, not 60");
    assert_eq!(broker.drain(&vhost, "webhooks.shop").await.len(), confirmed, "what it confirmed it has");
}

#[tokio::test]
async fn silence_is_unknown_within_the_deadline_and_the_sink_comes_back_by_itself() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let sink = start(settings(&broker.url_by(proxy.address(), &vhost)));
    insist(&sink, 1).await;
    proxy.set(Mode::BlackHole);
    let begun = Instant::now();
    let outcome = publish(&sink, message("shop", 2)).await;
    assert!(matches!(outcome, Confirmation::Unknown { .. }), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    // From here on it meets a broker that accepts and then says nothing.
    reach(&sink, "connecting", |state| matches!(state, State::Connecting { .. })).await;
    let outcome = publish(&sink, message("shop", 3)).await;
    assert!(matches!(outcome, Confirmation::NotSent { .. }), "{outcome:?}");
    proxy.restore();
    insist(&sink, 4).await;
}

#[tokio::test]
async fn a_broker_that_accepts_and_says_nothing_costs_no_threads() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("amqp://{}", silent.local_addr().unwrap()));
    settings.pace.step = Duration::from_millis(50);
    settings.pace.retry_max = Duration::from_millis(50);
    let sink = start(settings);
    // Accepted sockets are kept, so that nothing but the sink itself can end these connections.
    let mut accepted = Vec::new();
    while accepted.len() < 20 {
        accepted.push(timeout(PATIENCE, silent.accept()).await.unwrap().unwrap().0);
    }
    sink.close().await;
    for stream in accepted {
        timeout(Duration::from_secs(5), ended(&stream)).await.expect("each abandoned connection is closed");
    }
}

/// Resolves when the peer has closed `stream`.
async fn ended(stream: &tokio::net::TcpStream) {
    let mut greeting = [0; 64];
    loop {
        stream.readable().await.unwrap();
        if matches!(stream.try_read(&mut greeting), Ok(0)) {
            return;
        }
    }
}

#[tokio::test]
async fn every_way_to_lose_a_connection_heals_and_loses_nothing() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let sink = start(settings(&broker.url_by(proxy.address(), &vhost)));
    let faults =
        [Mode::Cut, Mode::Reset, Mode::HalfClose, Mode::CutAfter(0), Mode::Delay(Duration::from_millis(30))];
    let mut confirmed = HashSet::new();
    for (round, fault) in (0_u32..).zip(faults) {
        insist(&sink, round * 1000).await;
        confirmed.insert(round * 1000);
        let mut pending = FuturesUnordered::new();
        for number in round * 1000 + 1..round * 1000 + 100 {
            let outcome = sink.publish(message("shop", number)).await;
            pending.push(async move { (number, outcome.await) });
            if number % 1000 == 50 {
                proxy.set(fault);
            }
        }
        while let Some((number, outcome)) = timeout(PATIENCE, pending.next()).await.unwrap() {
            match outcome {
                Confirmation::Confirmed => drop(confirmed.insert(number)),
                Confirmation::Unknown { .. } | Confirmation::NotSent { .. } => {}
                other => panic!("{fault:?}: {other:?}"),
            }
        }
        proxy.restore();
    }
    insist(&sink, 9000).await;
    confirmed.insert(9000);
    let arrived: HashSet<Vec<u8>> =
        broker.drain(&vhost, "webhooks.shop").await.into_iter().map(|drained| drained.body).collect();
    for number in confirmed {
        assert!(arrived.contains(body(number).as_ref()), "{number} was confirmed and is not there");
    }
}

#[tokio::test]
async fn a_broker_restart_and_a_kill_need_no_help_and_lose_nothing() {
    let mut broker = RabbitMq::start();
    let sink = start(settings(&broker.url("/")));
    insist(&sink, 1).await;
    broker.stop();
    reach(&sink, "connecting", |state| matches!(state, State::Connecting { .. })).await;
    broker.restart();
    insist(&sink, 2).await;
    broker.kill();
    reach(&sink, "connecting", |state| matches!(state, State::Connecting { .. })).await;
    let outcome = publish(&sink, message("shop", 3)).await;
    assert!(matches!(outcome, Confirmation::NotSent { .. }), "{outcome:?}");
    broker.restart();
    insist(&sink, 4).await;
    broker.pause();
    let outcome = publish(&sink, message("shop", 6)).await;
    assert!(matches!(outcome, Confirmation::Unknown { .. }), "{outcome:?}");
    broker.resume();
    ready(&sink).await;

    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    // The broker says so at the first publish after the alarm.
    let mut held = sink.publish(message("shop", 5)).await;
    reach(&sink, "blocked", |state| matches!(state, State::Blocked { .. })).await;
    assert!(
        timeout(Duration::from_secs(5), &mut held).await.is_err(),
        "an alarm outlasts the confirm timeout"
    );
    assert!(timeout(Duration::from_millis(100), sink.ready()).await.is_err());
    assert!(matches!(sink.health().state, State::Blocked { .. }), "not reconnected: {:?}", sink.health());
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "2GB"]);
    assert_eq!(timeout(PATIENCE, held).await.unwrap(), Confirmation::Confirmed);
    ready(&sink).await;
    let mut bodies: Vec<_> = broker.drain("/", "webhooks.shop").await.into_iter().map(|d| d.body).collect();
    // The one that met the frozen broker may have arrived.
    bodies.retain(|arrived| *arrived != body(6));
    assert_eq!(bodies, [body(1), body(2), body(4), body(5)].map(|b| b.to_vec()));
}

#[tokio::test]
async fn an_oversize_event_is_named_as_a_suspect_and_the_next_ones_go_on() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let sink = start(settings(&broker.url_by(proxy.address(), &vhost)));
    insist(&sink, 1).await;
    let large = message_of(&envelope("shop", 2), vec![b'x'; MESSAGE_BYTES_MAX + 1].into());
    match publish(&sink, large).await {
        Confirmation::ChannelClosed { code: 406, reason } => {
            assert!(reason.contains("size"), "{reason}");
            assert!(!reason.contains("xxxx"), "no body in it");
        }
        other => panic!("{other:?}"),
    }
    insist(&sink, 3).await;
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1), "the connection outlived its channel");
}

#[tokio::test]
async fn without_declare_a_missing_exchange_is_said_clearly_and_found_later() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut undeclared = settings(&broker.url(&vhost));
    undeclared.declare = false;
    let checked = RabbitSink::check(&undeclared).await.unwrap();
    assert_eq!(checked.exchange, ExchangeFound::Missing);
    assert!(checked.server.is_some_and(|server| server.starts_with("RabbitMQ ")));
    assert_eq!(
        RabbitSink::check(&settings(&broker.url(&vhost))).await.unwrap().exchange,
        ExchangeFound::WillBeDeclared
    );
    let sink = start(undeclared.clone());
    reach(&sink, "refused", |state| matches!(state, State::Refused { .. })).await;
    match sink.health().state {
        State::Refused { code: 404, reason } => assert!(
            reason.contains("webhooks") && reason.contains("sink.declare = true"),
            "says what is missing and what to do: {reason}"
        ),
        other => panic!("{other:?}"),
    }
    let helper = start(settings(&broker.url(&vhost)));
    ready(&helper).await;
    insist(&sink, 1).await;
    assert_eq!(RabbitSink::check(&undeclared).await.unwrap().exchange, ExchangeFound::Exists);
}

#[tokio::test]
async fn a_queue_of_another_kind_and_a_wrong_password_are_refusals() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let connection = services::connect(&broker.url(&vhost)).await;
    let channel = connection.create_channel().await.unwrap();
    channel.queue_declare("webhooks.shop".into(), Default::default(), Default::default()).await.unwrap();
    let sink = start(settings(&broker.url(&vhost)));
    reach(&sink, "refused", |state| matches!(state, State::Refused { code: 406, .. })).await;
    channel.queue_delete("webhooks.shop".into(), Default::default()).await.unwrap();
    insist(&sink, 1).await;

    let wrong = broker.url(&vhost).replace("guest:guest", "guest:hunter2");
    match RabbitSink::check(&settings(&wrong)).await {
        Err(CheckError::Refused { code: 403, reason }) => assert!(!reason.contains("hunter2"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let nobody = format!("amqp://127.0.0.1:{}", services::free_port());
    let unreachable = RabbitSink::check(&settings(&nobody)).await;
    assert!(matches!(unreachable, Err(CheckError::Unreachable(_))), "{unreachable:?}");
}

#[tokio::test]
async fn many_in_flight_keep_their_order_and_their_pace() {
    const EVENTS: u32 = 20_000;
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let sink = start(settings(&broker.url(&vhost)));
    ready(&sink).await;
    let bare = bare_rate(&broker.url(&vhost), EVENTS).await;
    let begun = Instant::now();
    let mut in_flight = FuturesUnordered::new();
    for number in 0..EVENTS {
        if in_flight.len() == 256 {
            assert_eq!(in_flight.next().await, Some(Confirmation::Confirmed));
        }
        in_flight.push(sink.publish(message("shop", number)).await);
    }
    while let Some(outcome) = in_flight.next().await {
        assert_eq!(outcome, Confirmation::Confirmed);
    }
    let rate = f64::from(EVENTS) / begun.elapsed().as_secs_f64();
    println!("{EVENTS} events of 1.5 KB, 256 in flight, quorum queue: {rate:.0}/s; lapin alone {bare:.0}/s");
    let drained = broker.drain(&vhost, "webhooks.shop").await;
    assert!(
        drained.iter().map(|d| &d.body[..]).eq((0..EVENTS)
            .map(body)
            .collect::<Vec<_>>()
            .iter()
            .map(|b| &b[..]))
    );
}

/// What lapin does without a sink around it: messages and headers of the same size to a queue of the same kind,
/// 256 at once.
async fn bare_rate(url: &str, events: u32) -> f64 {
    let connection = services::connect(url).await;
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(Default::default()).await.unwrap();
    let begun = Instant::now();
    let mut in_flight = FuturesUnordered::new();
    for number in 0..events {
        if in_flight.len() == 256 {
            in_flight.next().await.unwrap();
        }
        in_flight.push(bare_publish(channel.clone(), number));
    }
    while in_flight.next().await.is_some() {}
    f64::from(events) / begun.elapsed().as_secs_f64()
}

async fn bare_publish(channel: lapin::Channel, number: u32) {
    let mut headers = lapin::types::FieldTable::default();
    for header in 0..9 {
        let name = format!("hookgate-header-{header}");
        headers.insert(name.into(), lapin::types::AMQPValue::LongString("the value of a header".into()));
    }
    let properties = lapin::BasicProperties::default()
        .with_delivery_mode(2)
        .with_headers(headers)
        .with_message_id("a".repeat(64).into());
    let options = lapin::options::BasicPublishOptions { mandatory: true, immediate: false };
    let [exchange, key] = ["webhooks", "code.x"].map(lapin::types::ShortString::from);
    let confirm = channel.basic_publish(exchange, key, options, &body(number), properties).await.unwrap();
    assert!(confirm.await.unwrap().is_ack());
}
