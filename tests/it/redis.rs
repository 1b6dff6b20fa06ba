//! Replicas that share their claims in Redis: one message for copies spread over both, and no loss without Redis.
//!
//! `HOOKGATE_IT_OUTAGE` (seconds) makes the outages longer.

use std::collections::BTreeSet;
use std::thread::{scope, sleep};
use std::time::Duration;

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, Gateway, Setup, stripe, stripe_event, until};
use crate::load::{Book, Load, drained, number, until_drained, with_rabbitmq};
use crate::services::{Drained, RabbitMq, Redis};

const WINDOW_MILLIS: i64 = 7 * 24 * 3600 * 1000;

/// A replica that waits one second for Redis.
pub fn replica(broker: &RabbitMq, vhost: &str, redis: &Redis) -> Setup {
    with_rabbitmq(&broker.url(vhost)).source("shop", "stripe", "").env("REDIS_URL", &redis.url()).set(
        "dedup",
        "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nredis_wait = \"1s\"\nwindow = \"7d\"",
    )
}

/// Asks Redis.
pub fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    command.query(&mut connection).unwrap()
}

#[test]
fn a_hundred_copies_spread_over_two_replicas_are_one_message() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| replica(broker, &vhost, &redis).start());
    let signed = stripe("shop", &stripe_event("evt_1"));
    let answers: Vec<(u16, String)> = scope(|scope| {
        let send = |copy: usize| {
            let (gateway, signed) = (&gateways[copy % 2], &signed);
            scope.spawn(move || {
                let answer = gateway.deliver(signed);
                (answer.status, answer.message_id())
            })
        };
        let senders: Vec<_> = (0..100).map(send).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let told: BTreeSet<_> = answers.into_iter().collect();
    assert_eq!(told.len(), 1, "one answer and one id for all: {told:?}");
    let (status, message_id) = told.into_iter().next().unwrap();
    assert_eq!(status, 200);
    gateways.iter().for_each(until_drained);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].message_id, message_id);
    assert!(!messages[0].headers.contains_key("hookgate-possible-duplicate"));
    let key = format!("hookgate:{message_id}");
    assert!(ask::<String>(&redis, &["GET", &key]).starts_with("done "));
    let life: i64 = ask(&redis, &["PTTL", &key]);
    assert!((WINDOW_MILLIS - 60_000..=WINDOW_MILLIS).contains(&life), "{life} ms");
}

#[test]
fn the_claims_of_a_silent_replica_are_taken_over_with_a_mark() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let setup = |url: &str| {
        replica(broker, &vhost, &redis).env("AMQP_URL", url).set("dedup", "takeover_after = \"1s\"")
    };
    let mut first = setup(&broker.url_by(proxy.address(), &vhost)).start();
    let second = setup(&broker.url(&vhost)).start();
    until("the first is connected", Duration::from_secs(20), || first.metric("hookgate_sink_up", &[]) == 1.0);
    proxy.set(Mode::BlackHole);
    let mut book = Book::default();
    assert!(book.send(&mut Client::new(first.ingress()), "shop", "evt_1"));
    let key = format!("hookgate:{}", book.kept.keys().next().unwrap());
    let mut value = None;
    until("the first claims it", Duration::from_secs(5), || {
        value = ask::<Option<String>>(&redis, &["GET", &key]);
        value.is_some()
    });
    let alive = format!("hookgate:alive:{}", value.unwrap().split(' ').nth(1).unwrap());
    let life: i64 = ask(&redis, &["PTTL", &alive]);
    assert!((15_000..=30_000).contains(&life), "it renews its sign of life: {life} ms left");
    first.kill();
    assert!(book.send(&mut Client::new(second.ingress()), "shop", "evt_1"));
    sleep(Duration::from_secs(2));
    assert_eq!(second.metric("hookgate_relay_parked", &[]), 1.0, "parked while the first counts as living");
    // Its half minute passes.
    let _: i64 = ask(&redis, &["DEL", &alive]);
    until_drained(&second);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (1, 0, 1));
    assert!(ask::<String>(&redis, &["GET", &key]).starts_with("done "));
}

/// Every event goes to both replicas, as with a sender that repeats itself; some while Redis is away.
fn twice(gateways: &[Gateway; 2], book: &mut Book, ids: std::ops::Range<u32>) {
    let mut clients = gateways.each_ref().map(|gateway| Client::new(gateway.ingress()));
    for id in ids {
        for client in &mut clients {
            assert!(book.send(client, "shop", &format!("evt_twice_{id}")), "{:?}", book.refused);
        }
    }
}

/// Each message's first copy, and whether every other one, or the first itself, is marked.
fn doubled_only_with_a_mark(messages: &[Drained]) {
    let marked = |message: &&Drained| message.headers.contains_key("hookgate-possible-duplicate");
    let ids: BTreeSet<_> = messages.iter().map(|message| message.message_id.as_str()).collect();
    for id in ids {
        let copies: Vec<_> = messages.iter().filter(|message| message.message_id == id).collect();
        let unmarked = copies.len() - copies.iter().copied().filter(|copy| marked(copy)).count();
        assert!(unmarked <= 1, "{id}: {unmarked} unmarked copies of {}", copies.len());
    }
}

#[test]
fn redis_stopped_under_load_costs_no_answer_and_no_event() {
    let outage = Duration::from_secs(number("HOOKGATE_IT_OUTAGE", 5).into());
    let broker = RabbitMq::shared();
    let mut redis = Redis::start();
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| replica(broker, &vhost, &redis).start());
    let load = Load::start(&gateways.each_ref().map(Gateway::ingress), "shop", "redis", 300);
    let mut book = Book::default();
    twice(&gateways, &mut book, 0..50);
    sleep(Duration::from_millis(500));
    redis.kill();
    twice(&gateways, &mut book, 50..100);
    sleep(outage);
    redis.restart();
    twice(&gateways, &mut book, 100..150);
    book.add(load.finish());
    assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    gateways.iter().for_each(until_drained);
    let messages = drained(broker, &vhost, "shop");
    doubled_only_with_a_mark(&messages);
    let ids: BTreeSet<_> = messages.iter().map(|message| &message.message_id).collect();
    assert!(book.kept.keys().all(|id| ids.contains(id)), "answered 2xx and lost");
    assert_eq!(ids.len(), book.kept.len());
    until_known(&redis, &book);
}

#[test]
fn redis_away_at_the_start_delays_events_by_redis_wait_and_marks_them() {
    let broker = RabbitMq::shared();
    let mut redis = Redis::start();
    let vhost = broker.vhost();
    let setup = replica(broker, &vhost, &redis);
    redis.stop();
    let gateway = setup.start();
    assert_eq!(gateway.run(&["check", "--connect"]).status.code(), Some(69));
    let mut book = Book::default();
    let mut client = Client::new(gateway.ingress());
    (0..20).for_each(|event| assert!(book.send(&mut client, "shop", &format!("evt_{event}"))));
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (20, 0, 20));
    redis.restart();
    assert_eq!(gateway.run(&["check", "--connect"]).status.code(), Some(0));
    sleep(Duration::from_secs(1));
    let mut later = Book::default();
    (20..40).for_each(|event| assert!(later.send(&mut client, "shop", &format!("evt_{event}"))));
    until_drained(&gateway);
    let audit = later.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.marked), (20, 0), "with Redis there, nothing is marked");
    until_known(&redis, &book);
}

/// What was published without Redis is noted there later.
fn until_known(redis: &Redis, book: &Book) {
    until("Redis knows of every event", Duration::from_secs(10), || {
        book.kept.keys().all(|id| {
            ask::<Option<String>>(redis, &["GET", &format!("hookgate:{id}")])
                .is_some_and(|state| state.starts_with("done "))
        })
    });
}
