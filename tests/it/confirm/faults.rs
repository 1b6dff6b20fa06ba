//! RabbitMQ and Redis away, hanging, full or without a queue: honest refusals, no key burnt, marks where they are due.

use std::collections::BTreeSet;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::{accepted, counted, event, is_ready, refused, setup, start, turn};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Answer, until};
use crate::load::drained;
use crate::redis::ask;
use crate::services::{RabbitMq, Redis};

#[test]
fn without_rabbitmq_it_is_unready_and_503_burns_no_key() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    let known = event("evt_known");
    accepted(&gateway.deliver(&known));
    proxy.set(Mode::Cut);
    until("it knows", Duration::from_secs(10), || gateway.ready().0 == 503);
    assert!(gateway.ready().1.contains("sink: FAILED"), "{}", gateway.ready().1);
    let signed = event("evt_away");
    for _ in 0..3 {
        refused(&gateway.deliver(&signed), &gateway, "sink_away");
    }
    assert_eq!(gateway.deliver(&known).outcome(), "duplicate", "what is done needs no broker");
    assert_eq!(ask::<i64>(&redis, &["DBSIZE"]), 1);
    proxy.restore();
    is_ready(&gateway);
    accepted(&gateway.deliver(&signed));
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (2, 0), "no mark, for nothing had been sent");
}

#[test]
fn a_confirm_that_never_came_is_503_and_the_next_try_is_marked() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let one = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    let two = start(setup(&broker.url(&vhost), &redis.url()));
    let signed = event("evt_lost");
    turn(&proxy, Mode::BlackHole);
    let begun = Instant::now();
    scope(|scope| {
        let first = scope.spawn(|| one.deliver(&signed));
        sleep(Duration::from_millis(300));
        let copy = two.deliver(&signed);
        refused(&copy, &two, "claim_running");
        let waited = begun.elapsed();
        assert!((2.0..3.0).contains(&waited.as_secs_f64()), "it waited for two seconds: {waited:?}");
        refused(&first.join().unwrap(), &one, "unconfirmed");
    });
    accepted(&two.deliver(&signed));
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (1, 1), "the first may have arrived, so the second is marked");
    assert_eq!(two.metric("hookgate_claims_total", &[("result", "taken_over")]), 1.0);
    assert_eq!(two.deliver(&signed).outcome(), "duplicate");
}

#[test]
fn without_redis_events_are_marked_and_noted_once_it_answers() {
    let (broker, mut redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    redis.stop();
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        for gateway in &gateways {
            ids.insert(accepted(&gateway.deliver(&event(&format!("evt_{n}")))));
        }
    }
    for gateway in &gateways {
        let (status, text) = gateway.ready();
        assert!(status == 200 && text.starts_with("degraded\n") && text.contains("redis: FAILED"), "{text}");
    }
    redis.restart();
    until("Redis knows of every event", Duration::from_secs(15), || {
        ids.iter().all(|id| {
            ask::<Option<String>>(&redis, &["GET", &format!("hookgate:{id}")])
                .is_some_and(|value| value.starts_with("done "))
        })
    });
    gateways.iter().for_each(is_ready);
    assert_eq!(gateways[0].deliver(&event("evt_3")).outcome(), "duplicate");
    accepted(&gateways[1].deliver(&event("evt_later")));
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (41, 40));
}

#[test]
fn redis_that_hangs_costs_a_moment_and_a_mark() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateway = start(setup(&broker.url(&vhost), &redis.url()));
    redis.pause();
    for n in 0..5 {
        let begun = Instant::now();
        accepted(&gateway.deliver(&event(&format!("evt_{n}"))));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    redis.resume();
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (5, 5));
}

#[test]
fn a_full_queue_is_503_and_what_it_refused_goes_through_later_with_the_mark() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateway = start(setup(&broker.url(&vhost), &redis.url()));
    let limit = "{\"max-length\":3,\"overflow\":\"reject-publish\"}";
    broker.rabbitmqctl(&["set_policy", "-p", &vhost, "full", "^webhooks\\.shop$", limit]);
    let mut kept = 0;
    let full = (0..200).find(|n| {
        let answer = gateway.deliver(&event(&format!("evt_{n}")));
        kept += usize::from(answer.status == 200);
        answer.status == 503
    });
    let signed = event(&format!("evt_{}", full.expect("the queue becomes full")));
    refused(&gateway.deliver(&signed), &gateway, "unconfirmed");
    assert_eq!(drained(broker, &vhost, "shop").len(), kept, "what was refused is nowhere");
    until("there is room again", Duration::from_secs(10), || gateway.deliver(&signed).status == 200);
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 1));
}

#[test]
fn what_no_queue_takes_is_503_until_there_is_one() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    start(setup(&broker.url(&vhost), &redis.url()));
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.shop"]);
    let only_checked = setup(&broker.url(&vhost), &redis.url()).set("sink", "declare = false");
    let mut gateway = start(only_checked);
    let signed = event("evt_unroutable");
    for _ in 0..2 {
        refused(&gateway.deliver(&signed), &gateway, "unconfirmed");
    }
    assert_eq!(ask::<i64>(&redis, &["DBSIZE"]), 0, "it is in no queue, so no key is left");
    gateway.change(|setup| setup.set("sink", "declare = true"));
    gateway.restart();
    is_ready(&gateway);
    accepted(&gateway.deliver(&signed));
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0));
}

#[test]
fn beyond_max_in_flight_a_delivery_waits_a_moment_and_is_503() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let amqp = broker.url_by(proxy.address(), &vhost);
    let gateway = start(setup(&amqp, &redis.url()).set("sink", "max_in_flight = 2"));
    turn(&proxy, Mode::BlackHole);
    let events: Vec<_> = (0..6).map(|n| event(&format!("evt_{n}"))).collect();
    let answers: Vec<Answer> = scope(|scope| {
        let senders: Vec<_> = events.iter().map(|signed| scope.spawn(|| gateway.deliver(signed))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 503));
    let of = |reason| gateway.metric("hookgate_rejected_total", &[("reason", reason)]);
    assert_eq!((of("overloaded"), of("unconfirmed")), (4.0, 2.0));
    assert_eq!(ask::<i64>(&redis, &["DBSIZE"]), 2, "those that found no room claimed nothing");
}
