//! Several replicas and one Redis: copies at both, Redis away or forgetful, and what that may cost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::steps::{NOTICE, SOON, accepted, copies, counted, event, is_connected, outcome, unread};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Gateway, until};
use crate::load::{drained, until_drained};
use crate::redis::{ask, replica};
use crate::services::{RabbitMq, Redis};

#[test]
fn a_copy_at_another_replica_while_the_first_is_claimed_is_parked_and_let_go_once_that_is_done() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let first =
        replica(broker, &vhost, &redis).env("AMQP_URL", &broker.url_by(proxy.address(), &vhost)).start();
    let second = replica(broker, &vhost, &redis).start();
    is_connected(&first);
    is_connected(&second);
    proxy.set(Mode::Mute);
    sleep(NOTICE);
    assert_eq!(outcome(&first, "evt_0"), "accepted");
    until("the first claims it", SOON, || ask::<i64>(&redis, &["EXISTS", &key(&first, "evt_0")]) == 1);
    assert_eq!(outcome(&second, "evt_0"), "accepted", "after its own sync, whatever the first does");
    until("the copy is parked", SOON, || second.metric("hookgate_relay_parked", &[]) == 1.0);
    proxy.restore();
    until_drained(&first);
    until_drained(&second);
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0), "one message, unmarked");
    let superseded = second.metric("hookgate_events_superseded_total", &[("source", "shop")]);
    assert_eq!(superseded, 1.0, "dropped against a done claim");
}

/// Waits until a replica has all that it works with.
fn is_ready(gateway: &Gateway) {
    until("it is ready", SOON, || {
        let (_, text) = gateway.ready();
        text.starts_with("ready\n") && text.contains("redis: ok")
    });
}

/// The key of an event in Redis; its delivery here is a duplicate.
fn key(gateway: &Gateway, id: &str) -> String {
    let answer = gateway.deliver(&event(id));
    assert_eq!(accepted(&answer), "duplicate");
    format!("hookgate:{}", answer.message_id())
}

#[test]
fn a_retry_at_another_replica_than_the_one_killed_before_its_answer_is_one_message() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let setup = replica(broker, &vhost, &redis);
    let mut first = setup.clone().failpoint("journal.sync.after", "return").start();
    let second = setup.start();
    assert!(unread(&first, "evt_0").answer().is_none());
    assert_eq!(first.ended().0, None, "killed with the event on its disk");
    assert_eq!(outcome(&second, "evt_0"), "accepted");
    until_drained(&second);
    first.change(|setup| setup.env("FAILPOINTS", ""));
    first.start();
    until_drained(&first);
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0));
}

#[test]
fn while_redis_is_away_a_2xx_waits_for_nothing_and_copies_go_out_marked_after_redis_wait() {
    const REDIS_WAIT: Duration = Duration::from_secs(2);
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let setup = replica(broker, &vhost, &redis).set("dedup", "redis_wait = \"2s\"");
    let gateways = [0, 1].map(|_| setup.clone().start());
    gateways.iter().for_each(is_ready);
    redis.pause();
    let begun = Instant::now();
    for gateway in &gateways {
        for n in 0..10 {
            let asked = Instant::now();
            assert_eq!(outcome(gateway, &format!("evt_{n}")), "accepted");
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
    }
    for gateway in &gateways {
        until("it is degraded", SOON, || {
            let (status, text) = gateway.ready();
            status == 200 && text.starts_with("degraded\n") && text.contains("redis: FAILED")
        });
    }
    gateways.iter().for_each(until_drained);
    assert!(begun.elapsed() >= REDIS_WAIT, "they wait for Redis first: {:?}", begun.elapsed());
    redis.resume();
    gateways.iter().for_each(is_ready);
    let messages = drained(broker, &vhost, "shop");
    let copies = copies(&messages);
    assert_eq!(copies.len(), 10);
    assert!(copies.values().all(|counts| *counts == (2, 2)), "W3a: every copy is marked: {copies:?}");
}

#[test]
fn claims_that_redis_lost_cost_a_second_message_with_the_same_id_and_never_an_event() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let [first, second] = [0, 1].map(|_| replica(broker, &vhost, &redis).start());
    assert_eq!(outcome(&first, "evt_0"), "accepted");
    until_drained(&first);
    let _: String = ask(&redis, &["FLUSHALL"]);
    assert_eq!(outcome(&first, "evt_0"), "duplicate", "what its own disk knows needs no Redis");
    assert_eq!(outcome(&second, "evt_0"), "accepted");
    until_drained(&second);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(copies(&messages).values().collect::<Vec<_>>(), [&(2, 0)], "W3b: the same id, no mark");
}
