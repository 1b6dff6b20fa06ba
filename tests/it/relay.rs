//! The way out of the real binary: every event answered 2xx is in RabbitMQ, once, whole and in order, whatever
//! becomes of the broker meanwhile.
//!
//! `HOOKGATE_IT_EVENTS` and `HOOKGATE_IT_OUTAGE` (seconds) make the runs longer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, Gateway, stripe, stripe_event, until};
use crate::load::{Book, DRAIN, Load, digest, drained, number, until_drained, with_rabbitmq};
use crate::services::{Drained, RabbitMq};

/// How soon the gateway must notice what changed at the broker.
const NOTICE: Duration = Duration::from_secs(30);

fn outage() -> Duration {
    Duration::from_secs(number("HOOKGATE_IT_OUTAGE", 5).into())
}

fn one(gateway: &Gateway, book: &mut Book, source: &str, id: &str) {
    assert!(book.send(&mut Client::new(gateway.ingress()), source, id), "{:?}", book.refused);
}

fn is_ready(gateway: &Gateway) {
    until("the gateway is ready", NOTICE, || {
        let (status, text) = gateway.ready();
        status == 200 && !text.contains("FAILED")
    });
}

fn is_degraded(gateway: &Gateway) {
    until("the gateway is degraded", NOTICE, || {
        let (status, text) = gateway.ready();
        status == 200 && text.contains("sink: FAILED")
    });
}

#[test]
fn ids_answered_2xx_are_the_ids_drained_and_none_comes_twice() {
    let events = number("HOOKGATE_IT_EVENTS", 4000);
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let next = AtomicU32::new(0);
    let books: Vec<Book> = scope(|scope| {
        let sender = || {
            let (mut client, mut book) = (Client::new(gateway.ingress()), Book::default());
            loop {
                let event = next.fetch_add(1, Ordering::Relaxed);
                if event >= events {
                    return book;
                }
                // Every twentieth repeats an earlier one.
                let id = if event % 20 == 19 { event - 10 } else { event };
                assert!(book.send(&mut client, "shop", &format!("evt_{id}")));
            }
        };
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(sender)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let mut book = Book::default();
    books.into_iter().for_each(|some| book.add(some));
    assert_eq!(book.answers, events as usize);
    assert_eq!(book.kept.len(), (events - events / 20) as usize);
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    let audit = book.audit(&messages);
    assert_eq!((audit.events, audit.copies, audit.marked), (book.kept.len(), 0, 0));
    assert_eq!(messages.len(), book.kept.len());
    messages.iter().for_each(is_whole);
    let duplicates = gateway.metric("hookgate_requests_total", &[("outcome", "duplicate")]);
    assert_eq!(duplicates, f64::from(events / 20));
}

/// Everything that a message promises to say.
fn is_whole(message: &Drained) {
    let header = |name: &str| message.headers[name].as_str();
    assert_eq!(message.message_id.len(), 64);
    assert_eq!((message.app_id.as_str(), message.delivery_mode), ("hookgate", 2));
    assert_eq!(
        (message.event_type.as_str(), message.content_type.as_str()),
        ("charge.captured", "application/json")
    );
    assert_eq!(message.routing_key, "shop.charge.captured");
    assert!(message.timestamp > 1_700_000_000);
    assert_eq!((header("hookgate-source"), header("hookgate-provider")), ("shop", "stripe"));
    let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(header("hookgate-event-id"), body["id"].as_str().unwrap());
    assert_eq!(header("hookgate-event-type"), "charge.captured");
    assert_eq!(header("hookgate-secret"), "live");
    assert_eq!(header("hookgate-digest"), digest(&message.body));
    assert!(header("hookgate-received-at").ends_with('Z'));
    assert!(header("hookgate-sequence").parse::<u64>().unwrap() > 0);
    assert!(header("http-stripe-signature").starts_with("t="), "the proof goes along");
    assert!(message.headers.keys().all(|name| !name.starts_with("x-")));
}

/// Load at 600 events a second, begun a second ago.
fn under_load(gateway: &Gateway) -> Load {
    is_ready(gateway);
    let load = Load::start(&[gateway.ingress()], "shop", "outage", 600);
    sleep(Duration::from_secs(1));
    load
}

/// A second after an outage: every answer was a 2xx, and everything is there, by the same process.
fn ridden_out(load: Load, broker: &RabbitMq, vhost: &str, gateway: &Gateway) {
    sleep(Duration::from_secs(1));
    let book = load.finish();
    assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    until_drained(gateway);
    let audit = book.audit(&drained(broker, vhost, "shop"));
    assert_eq!(audit.events, book.kept.len());
    assert!(audit.marked <= 256, "at most what was in flight: {audit:?}");
    is_ready(gateway);
    assert_eq!(gateway.stderr().matches("\"ready\"").count(), 1, "no restart");
}

#[test]
fn a_broker_that_stops_under_load_costs_no_event_no_order_and_no_restart() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let load = under_load(&gateway);
    broker.stop();
    sleep(outage());
    is_degraded(&gateway);
    broker.restart();
    ridden_out(load, &broker, &vhost, &gateway);
}

#[test]
fn a_broker_killed_under_load_costs_no_event_no_order_and_no_restart() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let load = under_load(&gateway);
    broker.kill();
    broker.restart();
    ridden_out(load, &broker, &vhost, &gateway);
}

#[test]
fn a_link_that_swallows_everything_costs_no_event_no_order_and_no_restart() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let url = broker.url_by(proxy.address(), &vhost);
    let gateway = with_rabbitmq(&url).source("shop", "stripe", "").start();
    let load = under_load(&gateway);
    proxy.set(Mode::BlackHole);
    is_degraded(&gateway);
    sleep(outage().saturating_sub(Duration::from_secs(3)));
    // What was swallowed stays so: the old connection must not come back to life.
    proxy.set(Mode::Reset);
    sleep(Duration::from_millis(300));
    proxy.restore();
    ridden_out(load, broker, &vhost, &gateway);
}

#[test]
fn a_link_cut_again_and_again_costs_no_event_and_no_order() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let url = broker.url_by(proxy.address(), &vhost);
    let gateway = with_rabbitmq(&url).source("shop", "stripe", "").start();
    is_ready(&gateway);
    let load = Load::start(&[gateway.ingress()], "shop", "flap", 400);
    let modes = [Mode::Cut, Mode::Reset, Mode::HalfClose, Mode::CutAfter(40_000)];
    for mode in modes.into_iter().cycle().take(8) {
        sleep(Duration::from_millis(250));
        proxy.set(mode);
        sleep(Duration::from_millis(150));
        proxy.restore();
    }
    proxy.set(Mode::Cut);
    sleep(Duration::from_millis(50));
    proxy.restore();
    let book = load.finish();
    assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!(audit.events, book.kept.len());
}

#[test]
fn a_broker_away_at_the_start_is_waited_for() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "");
    let code = |gateway: &Gateway| gateway.run(&["check", "--connect"]).status.code();
    broker.stop();
    let gateway = setup.start();
    is_degraded(&gateway);
    assert_eq!(code(&gateway), Some(69));
    let mut book = Book::default();
    (0..20).for_each(|event| one(&gateway, &mut book, "shop", &format!("evt_{event}")));
    assert_eq!(gateway.metric("hookgate_relay_pending", &[("source", "shop")]), 20.0);
    assert_eq!(gateway.metric("hookgate_sink_up", &[]), 0.0);
    broker.restart();
    until_drained(&gateway);
    let audit = book.audit(&drained(&broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (20, 0, 0));
    assert_eq!(code(&gateway), Some(0));
    assert_eq!(gateway.metric("hookgate_sink_up", &[]), 1.0);
}

#[test]
fn a_memory_alarm_delays_events_and_neither_senders_nor_the_end() {
    let broker = RabbitMq::own();
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "");
    let mut gateway = setup.start();
    is_ready(&gateway);
    let mut book = Book::default();
    one(&gateway, &mut book, "shop", "evt_before");
    until_drained(&gateway);
    broker.rabbitmqctl(&["eval", "vm_memory_monitor:set_vm_memory_high_watermark(0.0)."]);
    let mut client = Client::new(gateway.ingress());
    (0..600).for_each(|event| assert!(book.send(&mut client, "shop", &format!("evt_{event}"))));
    is_degraded(&gateway);
    assert!(gateway.metric("hookgate_relay_pending", &[]) > 300.0);
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0), "{}", gateway.stderr());
    assert!(took < Duration::from_secs(10), "{took:?}");
    gateway.start();
    let mut client = Client::new(gateway.ingress());
    (600..900).for_each(|event| assert!(book.send(&mut client, "shop", &format!("evt_{event}"))));
    broker.rabbitmqctl(&["eval", "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 2147483648})."]);
    until_drained(&gateway);
    let audit = book.audit(&drained(&broker, &vhost, "shop"));
    assert_eq!(audit.events, 901);
    assert!(audit.marked <= 512, "{audit:?}");
}

#[test]
fn a_deleted_queue_makes_events_wait_and_is_put_back() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").source("other", "stripe", "");
    let gateway = setup.start();
    is_ready(&gateway);
    delete(broker, &vhost, "webhooks.shop");
    let (mut book, mut others) = (Book::default(), Book::default());
    one(&gateway, &mut book, "shop", "evt_1");
    until("it is put aside", NOTICE, || {
        gateway.metric("hookgate_relay_unroutable", &[("source", "shop")]) == 1.0
            && gateway.metric("hookgate_published_total", &[("outcome", "returned")]) >= 1.0
    });
    one(&gateway, &mut others, "other", "evt_1");
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (1, 0, 0));
    others.audit(&drained(broker, &vhost, "other"));
}

fn delete(broker: &RabbitMq, vhost: &str, queue: &str) {
    broker.rabbitmqctl(&["delete_queue", "-p", vhost, queue]);
}

#[test]
fn a_full_queue_of_one_source_delays_no_other() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    broker.rabbitmqctl(&["set_policy", "-p", &vhost, "small", "^webhooks.full$", "{\"max-length\":50}"]);
    let setup = with_rabbitmq(&broker.url(&vhost)).source("full", "stripe", "").source("free", "stripe", "");
    let gateway = setup.start();
    is_ready(&gateway);
    let (mut full, mut free) = (Book::default(), Book::default());
    let mut client = Client::new(gateway.ingress());
    (0..300).for_each(|event| assert!(full.send(&mut client, "full", &format!("evt_{event}"))));
    until("the queue refuses", NOTICE, || {
        gateway.metric("hookgate_published_total", &[("outcome", "refused")]) >= 1.0
    });
    for event in 0..100 {
        assert!(free.send(&mut client, "free", &format!("evt_{event}")));
        let waiting = || gateway.metric("hookgate_relay_oldest_age_seconds", &[("source", "free")]);
        assert!(event % 10 != 0 || waiting() < 1.0, "the free source waits");
    }
    until("the free source is through", Duration::from_secs(3), || {
        gateway.metric("hookgate_relay_pending", &[("source", "free")]) == 0.0
    });
    assert!(gateway.metric("hookgate_relay_pending", &[("source", "full")]) > 200.0);
    assert_eq!(free.audit(&drained(broker, &vhost, "free")).copies, 0);
    // Workers make room again and again.
    let mut messages = Vec::new();
    let begun = Instant::now();
    while gateway.metric("hookgate_relay_pending", &[]) > 0.0 && begun.elapsed() < DRAIN {
        messages.extend(drained(broker, &vhost, "full"));
    }
    messages.extend(drained(broker, &vhost, "full"));
    let audit = full.audit(&messages);
    assert_eq!(audit.events, 300);
}

#[test]
fn an_event_over_the_brokers_limit_is_poison_and_the_others_go_on() {
    let broker = RabbitMq::own();
    let vhost = broker.vhost();
    let limit = |bytes: usize| {
        broker.rabbitmqctl(&["eval", &format!("application:set_env(rabbit, max_message_size, {bytes}).")]);
    };
    limit(100_000);
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").source("other", "stripe", "");
    let gateway = setup.start();
    is_ready(&gateway);
    let mut book = Book::default();
    let load = Load::start(&[gateway.ingress()], "other", "beside", 200);
    let mut client = Client::new(gateway.ingress());
    (0..50).for_each(|event| assert!(book.send(&mut client, "shop", &format!("evt_{event}"))));
    let mut large = stripe_event("evt_large");
    large.resize(200_000, b' ');
    assert_eq!(client.deliver(&stripe("shop", &large)).status, 200);
    (50..100).for_each(|event| assert!(book.send(&mut client, "shop", &format!("evt_{event}"))));
    until("it is poison", NOTICE, || gateway.metric("hookgate_relay_poison", &[("source", "shop")]) == 1.0);
    let others = load.finish();
    until_drained(&gateway);
    limit(crate::services::MESSAGE_BYTES_MAX);
    assert_eq!(book.audit(&drained(&broker, &vhost, "shop")).events, 100);
    assert_eq!(others.audit(&drained(&broker, &vhost, "other")).events, others.kept.len());
    assert!(gateway.log().iter().any(|line| line["level"] == "ERROR" && line.to_string().contains("poison")));
}

#[test]
fn a_limited_source_goes_at_its_rate_and_delays_no_other() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost))
        .source("slow", "stripe", "limit = { rate = \"10/s\", burst = 1 }")
        .source("fast", "stripe", "")
        .start();
    is_ready(&gateway);
    let mut slow = Book::default();
    let mut client = Client::new(gateway.ingress());
    (0..500).for_each(|event| assert!(slow.send(&mut client, "slow", &format!("evt_{event}"))));
    let confirmed = || 500.0 - gateway.metric("hookgate_relay_pending", &[("source", "slow")]);
    let (before, begun) = (confirmed(), Instant::now());
    let load = Load::start(&[gateway.ingress()], "fast", "fast", 300);
    let mut lags: Vec<f64> = (0..20)
        .map(|_| {
            sleep(Duration::from_millis(150));
            gateway.metric("hookgate_relay_oldest_age_seconds", &[("source", "fast")])
        })
        .collect();
    lags.sort_by(f64::total_cmp);
    // A busy machine may hold up one; the limit of the other source would hold up most.
    assert!(lags[10] < 0.5 && lags[19] < 2.0, "the fast source waits: {lags:?} s");
    let rate = (confirmed() - before) / begun.elapsed().as_secs_f64();
    assert!((7.0..=11.0).contains(&rate), "{rate} a second");
    let fast = load.finish();
    until("the fast source is through", Duration::from_secs(3), || {
        gateway.metric("hookgate_relay_pending", &[("source", "fast")]) == 0.0
    });
    let audit = fast.audit(&drained(broker, &vhost, "fast"));
    assert_eq!((audit.events, audit.copies, audit.marked), (fast.kept.len(), 0, 0));
}
