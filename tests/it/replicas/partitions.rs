//! One replica sees what the other does not: Redis, RabbitMQ, or the time of day.

use std::thread::sleep;
use std::time::Duration;

use super::pair::{Ack, Copies, Pair, at_once, audit, in_both_modes, is_ready};
use super::{NOTICE, ask, copies as by_event};
use crate::chaos::Mode;
use crate::gateway::{Client, Signed, github, until};
use crate::load::drained;
use crate::machine::faketime;
use crate::services::Redis;

/// `max_in_flight` of the pair that is cut.
const IN_FLIGHT: usize = 24;

/// The second replica does not see Redis: what it publishes is marked, what the first publishes is not.
fn one_without_redis(ack: Ack) {
    let redis = Redis::start();
    // What a busy broker confirms late is not to be published again.
    let pair = Pair::with(ack, &redis, |_, setup| setup.set("sink", "confirm_timeout = \"30s\""));
    pair.to_redis[1].set(Mode::BlackHole);
    sleep(NOTICE);
    let copies = Copies::to(pair.addresses(), "blind", 60);
    let book = copies.during(|| ());
    let messages = pair.messages();
    let out = audit(&book, &messages);
    let events = book.kept.len();
    assert_eq!((out.all, out.marked), (2 * events, events), "W3a: one copy of each, marked");
    pair.to_redis[1].restore();
    until("the second told Redis", Duration::from_secs(20), || match ack {
        Ack::Journal => pair.gateways[1].stderr().contains("all confirmed events are noted in Redis"),
        Ack::Confirm => pair.gateways[1].get("/readyz").text().contains("redis: ok"),
    });
    let value = |id: &String| ask::<String>(&redis, &["GET", &format!("hookgate:{id}")]);
    assert!(book.kept.keys().all(|id| value(id).starts_with("done ")));
    let book = Copies::to(pair.addresses(), "seeing", 60).during(|| ());
    let out = audit(&book, &pair.messages());
    assert_eq!((out.all, out.marked), (book.kept.len(), 0));
}

#[test]
fn a_replica_that_alone_lost_redis_publishes_with_the_mark() {
    in_both_modes(one_without_redis);
}

/// The first replica does not see RabbitMQ: the second hands over all but what the first holds a claim on.
fn one_without_rabbitmq(ack: Ack, mode: Mode) {
    let redis = Redis::start();
    let lines = format!("max_in_flight = {IN_FLIGHT}");
    let pair = Pair::with(ack, &redis, |_, setup| setup.set("sink", &lines));
    let copies = Copies::to(pair.addresses(), "cut", 300).pausing(Duration::from_millis(10));
    let book = copies.during(|| {
        copies.more(60);
        pair.to_broker[0].set(mode);
        match ack {
            Ack::Journal => copies.more(200),
            // Nothing is answered 2xx there meanwhile.
            Ack::Confirm => sleep(Duration::from_secs(3)),
        }
        pair.to_broker[0].restore();
        is_ready(&pair.gateways[0]);
    });
    let out = audit(&book, &pair.messages());
    assert!(out.all - book.kept.len() <= IN_FLIGHT + 16, "what was in flight at the cut, at most: {out:?}");
}

#[test]
fn rabbitmq_cut_from_one_replica_costs_at_most_what_was_in_flight() {
    let faults = [(Ack::Journal, Mode::Cut), (Ack::Journal, Mode::BlackHole), (Ack::Confirm, Mode::Cut)];
    at_once(faults.map(|(ack, mode)| move || one_without_rabbitmq(ack, mode)));
}

/// A replica whose clock is an hour off, and events whose scheme has no time in it: claims go by Redis's clock and
/// by spans, so the other notices nothing.
fn one_in_another_hour(ack: Ack, offset: &str) {
    let library = faketime().expect("libfaketime is missing; install it with: apt-get install libfaketime");
    let library = library.display().to_string();
    let redis = Redis::start();
    let pair = Pair::with(ack, &redis, |number, setup| match number {
        0 => {
            setup.env("LD_PRELOAD", &library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        }
        _ => setup,
    });
    let event =
        |n: u32| -> Signed { github("git", &format!("d-{n}"), "ping", format!("{{\"n\":{n}}}").as_bytes()) };
    let mut clients = pair.addresses().map(Client::new);
    for n in 0..100 {
        let ids: Vec<String> = clients
            .iter_mut()
            .map(|client| {
                let answer = client.deliver(&event(n));
                assert_eq!(answer.status, 200, "{}", answer.text());
                answer.message_id()
            })
            .collect();
        assert_eq!(ids[0], ids[1]);
    }
    pair.settle();
    let messages = drained(pair.broker, &pair.vhost, "git");
    let counts = by_event(&messages);
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|counts| *counts == (1, 0)), "{counts:?}");
}

#[test]
fn a_replica_whose_clock_is_an_hour_off_shares_its_claims_all_the_same() {
    let offsets =
        [(Ack::Journal, "+3600"), (Ack::Journal, "-3600"), (Ack::Confirm, "+3600"), (Ack::Confirm, "-3600")];
    at_once(offsets.map(|(ack, offset)| move || one_in_another_hour(ack, offset)));
}
