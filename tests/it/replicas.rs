//! Replicas with a journal that share one Redis: what a killed one had claimed goes out through the others, once and
//! marked, whether or not it comes back.
//!
//! Here for replicas with a journal; in the folder beside it both modes under kills, outages of Redis, partitions.

mod clocks;
mod kills;
mod outages;
pub mod pair;
mod partitions;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, Gateway, Setup, until};
use crate::load::{Book, drained, until_drained};
use crate::redis::{ask, replica};
use crate::services::{Drained, RabbitMq, Redis};

const MARK: &str = "hookgate-possible-duplicate";
/// How soon a proxy's idle connections notice a change of its mode.
const NOTICE: Duration = Duration::from_millis(50);

fn setup(broker: &RabbitMq, vhost: &str, redis: &Redis) -> Setup {
    replica(broker, vhost, redis).set("dedup", "takeover_after = \"1s\"")
}

fn is_connected(gateway: &Gateway) {
    until("it is connected", Duration::from_secs(20), || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

/// The value of the key of an event.
fn claim(redis: &Redis, id: &str) -> Option<String> {
    ask(redis, &["GET", &format!("hookgate:{id}")])
}

/// Forgets the sign of life of every replica whose claim begins so: its half minute passes.
fn falls_silent(redis: &Redis, value: &str) {
    let replica = value.split(' ').nth(1).unwrap();
    let _: i64 = ask(redis, &["DEL", &format!("hookgate:alive:{replica}")]);
}

/// Forgets every replica's sign of life: those that live give another soon.
fn all_fall_silent(redis: &Redis) {
    for alive in ask::<Vec<String>>(redis, &["KEYS", "hookgate:alive:*"]) {
        let _: i64 = ask(redis, &["DEL", &alive]);
    }
}

/// How many messages there are of each event, and how many of these are marked.
fn copies(messages: &[Drained]) -> BTreeMap<&str, (usize, usize)> {
    let mut copies = BTreeMap::new();
    for message in messages {
        let (all, marked) = copies.entry(message.message_id.as_str()).or_default();
        *all += 1;
        *marked += usize::from(message.headers.contains_key(MARK));
    }
    copies
}

#[test]
fn of_two_replicas_that_wait_for_a_killed_one_only_one_takes_over() {
    const EVENTS: usize = 300;
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let behind = setup(broker, &vhost, &redis).env("AMQP_URL", &broker.url_by(proxy.address(), &vhost));
    // Longer than it takes to send them all, however busy the machine is.
    let mut first = behind.set("sink", "max_in_flight = 1000\nconfirm_timeout = \"60s\"").start();
    let others = [0, 1].map(|_| setup(broker, &vhost, &redis).start());
    is_connected(&first);
    others.iter().for_each(is_connected);
    proxy.set(Mode::BlackHole);
    sleep(NOTICE);
    let mut book = Book::default();
    let mut sender = Client::new(first.ingress());
    let id = |n: usize| format!("evt_{n}");
    (0..EVENTS).for_each(|n| assert!(book.send(&mut sender, "shop", &id(n))));
    until("the first claims them all", Duration::from_secs(10), || {
        book.kept.keys().all(|id| claim(&redis, id).is_some())
    });
    first.kill();
    let value = claim(&redis, book.kept.keys().next().unwrap()).unwrap();
    for gateway in &others {
        let mut sender = Client::new(gateway.ingress());
        (0..EVENTS).for_each(|n| assert!(book.send(&mut sender, "shop", &id(n))));
    }
    // One that is just asking Redis again is not parked for as long.
    until("both wait for all of them while the first counts as living", Duration::from_secs(20), || {
        others.iter().all(|gateway| gateway.metric("hookgate_relay_parked", &[]) == EVENTS as f64)
    });
    falls_silent(&redis, &value);
    others.iter().for_each(until_drained);
    let messages = drained(broker, &vhost, "shop");
    let copies = copies(&messages);
    assert_eq!(copies.len(), EVENTS);
    assert!(copies.values().all(|counts| *counts == (1, 1)), "one message each, marked: {copies:?}");
    assert!(book.kept.keys().all(|id| claim(&redis, id).is_some_and(|value| value.starts_with("done "))));
    // The killed one comes back to what is done; what it had sent before may come late, as the one unmarked copy.
    proxy.restore();
    first.start();
    until_drained(&first);
    let late = drained(broker, &vhost, "shop");
    let late = self::copies(&late);
    assert!(late.values().all(|(all, marked)| all - marked <= 1), "{late:?}");
}

/// A confirmed event that its replica could not note in Redis before it was killed, and another's copy of it.
fn untold_by_a_killed_replica(comes_back: bool) {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let [to_broker, to_redis] = [Proxy::start(broker.address()), Proxy::start(redis.address())];
    let mut first = setup(broker, &vhost, &redis)
        .env("AMQP_URL", &broker.url_by(to_broker.address(), &vhost))
        .env("REDIS_URL", &redis.url_by(to_redis.address()))
        .start();
    let second = setup(broker, &vhost, &redis).start();
    is_connected(&first);
    is_connected(&second);
    to_broker.set(Mode::Delay(Duration::from_millis(700)));
    sleep(NOTICE);
    let mut book = Book::default();
    assert!(book.send(&mut Client::new(first.ingress()), "shop", "evt_untold"));
    let id = book.kept.keys().next().unwrap().clone();
    until("the first claims it", Duration::from_secs(5), || claim(&redis, &id).is_some());
    to_redis.set(Mode::Cut);
    until_drained(&first);
    let value = claim(&redis, &id).unwrap();
    assert!(value.starts_with("claimed "), "Redis was not told: {value}");
    first.kill();
    if comes_back {
        to_redis.restore();
        to_broker.restore();
        first.start();
        let alive = format!("hookgate:alive:{}", value.split(' ').nth(1).unwrap());
        let run = value.split(' ').nth(3).unwrap();
        until("it lives again", Duration::from_secs(5), || {
            ask::<Option<String>>(&redis, &["GET", &alive]).is_some_and(|now| now != run)
        });
    } else {
        falls_silent(&redis, &value);
    }
    assert!(book.send(&mut Client::new(second.ingress()), "shop", "evt_untold"));
    until_drained(&second);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(copies(&messages)[id.as_str()], (2, 1), "W4: the second message is marked");
    assert!(!messages[0].headers.contains_key(MARK));
    assert!(claim(&redis, &id).unwrap().starts_with("done "));
}

#[test]
fn what_a_killed_replica_did_not_tell_redis_is_taken_over_with_a_mark() {
    untold_by_a_killed_replica(false);
}

#[test]
fn what_a_restarted_replica_did_not_tell_redis_is_taken_over_with_a_mark() {
    untold_by_a_killed_replica(true);
}

#[test]
fn a_replica_keeps_its_id_over_restarts_and_another_has_another() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let mut first = setup(broker, &vhost, &redis).start();
    let alive = || ask::<Vec<String>>(&redis, &["KEYS", "hookgate:alive:*"]);
    until("it lives", Duration::from_secs(10), || alive().len() == 1);
    let own = alive().remove(0);
    let run: String = ask(&redis, &["GET", &own]);
    first.kill();
    first.start();
    until("its next run lives", Duration::from_secs(10), || ask::<String>(&redis, &["GET", &own]) != run);
    assert_eq!(alive(), std::slice::from_ref(&own));
    let _second = setup(broker, &vhost, &redis).start();
    until("both live", Duration::from_secs(10), || alive().len() == 2);
    let life: i64 = ask(&redis, &["PTTL", &own]);
    assert!((15_000..=30_000).contains(&life), "{life} ms");
}
