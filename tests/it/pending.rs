//! A start with a journal full of events that nobody has taken: the first delivery is answered 2xx within three seconds,
//! whatever becomes of the broker, and memory is not what the journal has.
//!
//! `HOOKGATE_IT_PENDING` makes the journal larger; the line to meet is 1000000 with a release build. And one event that
//! cannot leave, among many that do: it keeps no more of the disk than itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::gateway::{Client, Gateway, Setup, stripe, stripe_event, until};
use crate::load::{Book, drained, number, with_rabbitmq};
use crate::outage::resident;
use crate::services::{RabbitMq, free_port};

/// Connections that fill a journal.
const SENDERS: u32 = 16;
/// The promise for the first answer after a start.
const FIRST: Duration = Duration::from_secs(3);
/// Memory at that moment, for a million events: what is kept for each is some bits, and its key for a while.
const MEMORY: u64 = 384 << 20;
const SOURCES: [&str; 3] = ["shop", "bank", "post"];

fn setup(setup: Setup) -> Setup {
    let setup = setup.set("journal", "segment_bytes = \"64MiB\"\nbytes_max = \"8GiB\"");
    SOURCES.iter().fold(setup, |setup, source| setup.source(source, "stripe", ""))
}

/// Has events of these sources kept, in turn, and kills the gateway.
fn fill(gateway: &mut Gateway, count: u32, sources: &[&str]) {
    gateway.start();
    let (next, ingress) = (AtomicU32::new(0), gateway.ingress());
    let sender = || {
        let mut client = Client::new(ingress);
        loop {
            let event = next.fetch_add(1, Ordering::Relaxed);
            if event >= count {
                return;
            }
            let source = sources[event as usize % sources.len()];
            let answer = client.deliver(&stripe(source, &stripe_event(&format!("evt_{event}"))));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    scope(|scope| (0..SENDERS).for_each(|_| drop(scope.spawn(sender))));
    gateway.kill();
}

/// Starts a gateway on a full journal: how long until the first 2xx, and its memory then.
fn first_answer(gateway: &mut Gateway, count: u32) {
    let body = stripe_event("evt_first");
    let begun = Instant::now();
    gateway.launch();
    let answer = loop {
        if let Some(answer) = Client::new(gateway.ingress()).try_deliver(&stripe("shop", &body)) {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no answer:\n{}", gateway.stderr());
        sleep(Duration::from_millis(2));
    };
    let (took, memory) = (begun.elapsed(), resident(gateway.pid()));
    println!("{count} pending: first answer after {took:?}, {} MiB resident", memory >> 20);
    assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{}", answer.text());
    assert!(took <= FIRST, "the first answer took {took:?}");
    assert!(memory <= MEMORY, "{memory} bytes resident");
    // The listener of operators may be some moments later.
    until("the metrics are there", FIRST, || {
        Client::call(gateway.admin(), "GET", "/livez", &[], b"").is_some()
    });
    assert_eq!(gateway.metric("hookgate_events_recovered_total", &[]), f64::from(count));
    assert_eq!(gateway.metric("hookgate_relay_pending", &[]), f64::from(count) + 1.0);
}

#[test]
fn a_start_with_a_large_backlog_answers_within_three_seconds_and_hands_it_out_in_order() {
    let count = number("HOOKGATE_IT_PENDING", 20_000);
    let mut gateway = setup(Setup::new()).prepare();
    fill(&mut gateway, count, &["shop"]);
    first_answer(&mut gateway, count);
    let handed = gateway.claim("shop", 500);
    let sequences = handed.iter().map(|event| event.header("hookgate-sequence").parse::<u64>().unwrap());
    assert!(sequences.eq(1..=500) && handed.iter().all(|event| event.body.starts_with(b"{")));
}

#[test]
fn a_start_with_a_large_backlog_of_three_sources_needs_no_broker() {
    let count = number("HOOKGATE_IT_PENDING", 20_000);
    let nobody = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let mut gateway = setup(with_rabbitmq(&nobody)).prepare();
    fill(&mut gateway, count, &SOURCES);
    first_answer(&mut gateway, count);
    for source in SOURCES {
        let pending = gateway.metric("hookgate_relay_pending", &[("source", source)]);
        assert!((pending - f64::from(count) / 3.0).abs() <= 2.0, "{source}: {pending}");
    }
}

#[test]
fn one_old_event_without_a_route_keeps_no_segment_of_confirmed_ones() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = with_rabbitmq(&broker.url(&vhost))
        .set("journal", "segment_bytes = \"256KiB\"\nbytes_max = \"1MiB\"\nretention = \"1s\"")
        .set("ingress", "body_bytes_max = \"64KiB\"")
        .source("lost", "stripe", "body_bytes_max = \"64KiB\"")
        .source("shop", "stripe", "body_bytes_max = \"64KiB\"")
        .start();
    let soon = Duration::from_secs(60);
    until("it is connected", soon, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    // With `declare` the gateway would put the queue back.
    gateway.change(|setup| setup.set("sink", "declare = false"));
    gateway.restart();
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.lost"]);
    let (mut lost, mut shop, mut client) = (Book::default(), Book::default(), Client::new(gateway.ingress()));
    assert!(lost.send(&mut client, "lost", "evt_old"));
    until("it has no route", soon, || gateway.metric("hookgate_relay_unroutable", &[]) == 1.0);
    // Several times what the journal may keep.
    for event in 0..4000 {
        let id = format!("evt_{event}");
        until("there is room", soon, || shop.send(&mut client, "shop", &id));
    }
    assert!(shop.refused.len() < 400, "{} were told to come again", shop.refused.len());
    until("they are confirmed", soon, || gateway.metric("hookgate_relay_pending", &[]) == 0.0);
    until("their space is free", soon, || {
        gateway.metric("hookgate_journal_bytes", &[]) <= f64::from(1 << 20)
    });
    assert_eq!(gateway.metric("hookgate_relay_unroutable", &[]), 1.0);
    gateway.change(|setup| setup.set("sink", "declare = true"));
    gateway.restart();
    until("the old one goes", soon, || {
        gateway.metric("hookgate_relay_unroutable", &[]) + gateway.metric("hookgate_relay_pending", &[])
            == 0.0
    });
    assert_eq!(lost.audit(&drained(broker, &vhost, "lost")).events, 1);
    assert_eq!(shop.audit(&drained(broker, &vhost, "shop")).events, shop.kept.len());
}
