//! Copies of every event to two replicas at once, one of which is killed: nothing lost, no copy without its mark.
//!
//! `HOOKGATE_IT_EVENTS` and `HOOKGATE_IT_KILLS` make the run longer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{counted, event, refused, setup, start, turn, unread};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, until};
use crate::load::{Book, drained, number, until_drained};
use crate::redis::ask;
use crate::replicas::pair::{Copies, audit, both};
use crate::services::{RabbitMq, Redis};

#[test]
fn a_replica_killed_again_and_again_under_copies_to_both_loses_and_doubles_nothing() {
    let (events, kills) = (number("HOOKGATE_IT_EVENTS", 1500), number("HOOKGATE_IT_KILLS", 5));
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let steady = start(setup(&broker.url(&vhost), &redis.url()));
    let mut killed = start(setup(&broker.url(&vhost), &redis.url()));
    let copies = Copies::to([steady.ingress(), killed.ingress()], "both", 1500);
    let book = copies.during(|| {
        for _ in 0..kills {
            copies.more(events / (kills + 1));
            killed.kill();
            sleep(Duration::from_millis(100));
            killed.start();
        }
    });
    let out = audit(&book, &drained(broker, &vhost, "shop"));
    assert!(out.marked <= kills as usize * 16 * 2, "only what a kill caught is marked: {out:?}");
}

#[test]
fn a_killed_replicas_claim_runs_out_and_is_taken_over_with_the_mark() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let mut one = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    let two = start(setup(&broker.url(&vhost), &redis.url()));
    turn(&proxy, Mode::BlackHole);
    let signed = event("evt_killed");
    let _sender = unread(&one, &signed);
    let claims = || ask::<Vec<String>>(&redis, &["KEYS", "hookgate:*"]);
    until("it is claimed", Duration::from_secs(5), || claims().len() == 1);
    one.kill();
    let begun = Instant::now();
    refused(&two.deliver(&signed), &two, "claim_running");
    until("the lease has run out", Duration::from_secs(15), || two.deliver(&signed).status == 200);
    assert!(begun.elapsed() > Duration::from_secs(4), "not before: {:?}", begun.elapsed());
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 1));
}

#[test]
fn replicas_of_both_modes_share_one_redis() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let direct = start(setup(&broker.url(&vhost), &redis.url()));
    let journal = setup(&broker.url(&vhost), &redis.url()).set("journal", "ack = \"journal\"").start();
    let mut book = Book::default();
    let mut clients = [direct.ingress(), journal.ingress()].map(Client::new);
    for n in 0..200 {
        both(&mut clients, &mut book, &format!("evt_mixed_{n}"));
    }
    until_drained(&journal);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (200, 0));
    assert_eq!(book.kept.len(), 200);
}

#[test]
fn a_broker_and_a_redis_restarted_under_load_lose_and_double_nothing() {
    let (mut broker, mut redis) = (RabbitMq::own(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    let addresses = gateways.each_ref().map(|gateway| gateway.ingress());
    let copies = Copies::to(addresses, "restart", 600);
    let book = copies.during(|| {
        copies.more(150);
        redis.kill();
        copies.more(150);
        redis.restart();
        copies.more(150);
        broker.kill();
        broker.restart();
    });
    assert!(!book.refused.is_empty(), "the load ran into the outage");
    let out = audit(&book, &drained(&broker, &vhost, "shop"));
    assert!(out.marked > 0, "Redis was away for a while: {out:?}");
}
