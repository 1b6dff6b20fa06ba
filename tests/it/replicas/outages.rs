//! Redis killed, frozen, cut off, black-holed, slow and full under load: copies to both replicas are never lost, and
//! none comes twice without its mark.
//!
//! `HOOKGATE_IT_EVENTS` makes the runs longer, `HOOKGATE_IT_OUTAGE` (seconds) each fault.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use super::ask;
use super::pair::{Ack, Copies, Pair, audit, compare, in_both_modes, insist};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, until};
use crate::load::{Book, number};
use crate::services::Redis;

/// A little longer than `redis_wait`.
fn outage() -> Duration {
    Duration::from_secs(number("HOOKGATE_IT_OUTAGE", 1).into()) + Duration::from_millis(300)
}

/// Sets some of the ways to Redis to a mode for a while.
fn faulty(proxies: &[Proxy], mode: Mode) {
    proxies.iter().for_each(|proxy| proxy.set(mode));
    sleep(outage());
    proxies.iter().for_each(Proxy::restore);
}

fn in_turn(ack: Ack) {
    let mut redis = Redis::start();
    let pair = Pair::start(ack, &redis);
    let copies = Copies::to(pair.addresses(), "outage", 300).pausing(Duration::from_millis(40));
    let [slow, too_slow] = [100, 400].map(|millis| Mode::Delay(Duration::from_millis(millis)));
    let (one, all) = (&pair.to_redis[1..], &pair.to_redis[..]);
    let mut faults = vec![(one, Mode::Cut), (all, Mode::BlackHole), (one, too_slow)];
    if pair.has_journals() {
        // In confirm mode each costs all senders a lease more.
        faults.extend([(all, Mode::Reset), (one, Mode::BlackHole), (all, slow)]);
    }
    let book = copies.during(|| {
        copies.more(50);
        redis.kill();
        sleep(outage());
        redis.restart();
        copies.more(20);
        redis.pause();
        sleep(outage());
        redis.resume();
        for (proxies, mode) in faults {
            copies.more(20);
            faulty(proxies, mode);
        }
        copies.more(20);
        let _: String = ask(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
        sleep(outage());
        let _: String = ask(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
        copies.more(20);
    });
    let out = audit(&book, &pair.messages());
    assert!(out.marked > 0, "there were outages: {out:?}");
    until("Redis knows of every event", Duration::from_secs(20), || {
        book.kept.keys().all(|id| {
            let value: Option<String> = ask(&redis, &["GET", &format!("hookgate:{id}")]);
            value.is_some_and(|value| value.starts_with("done "))
        })
    });
    // With Redis there again, copies are what they always were.
    let again = Copies::to(pair.addresses(), "after", 50);
    let book = again.during(|| ());
    let out = audit(&book, &pair.messages());
    assert_eq!((out.all, out.marked), (book.kept.len(), 0));
}

#[test]
fn redis_in_every_kind_of_trouble_costs_marks_and_nothing_else() {
    in_both_modes(in_turn);
}

#[test]
fn a_way_to_redis_that_ends_every_connection_soon_is_no_storm_of_new_ones() {
    let redis = Redis::start();
    let pair = Pair::start(Ack::Confirm, &redis);
    let copies = Copies::to(pair.addresses(), "storm", 100);
    let mut connections = [0; 2];
    let book = copies.during(|| {
        let accepted = || pair.to_redis.each_ref().map(Proxy::accepted);
        let before = accepted();
        pair.to_redis.iter().for_each(|proxy| proxy.set(Mode::CutAfter(2_000)));
        sleep(Duration::from_secs(2));
        pair.to_redis.iter().for_each(Proxy::restore);
        connections = [0, 1].map(|n| accepted()[n] - before[n]);
        copies.more(50);
    });
    let out = audit(&book, &pair.messages());
    assert!(out.marked > 0);
    assert!(connections.iter().all(|n| (2..=15).contains(n)), "in two seconds: {connections:?}");
}

#[test]
fn a_replica_under_load_says_in_time_that_it_lives() {
    let redis = Redis::start();
    let pair = Pair::start(Ack::Journal, &redis);
    pair.to_redis.iter().for_each(|proxy| proxy.set(Mode::Delay(Duration::from_millis(60))));
    let copies = Copies::to(pair.addresses(), "alive", 500);
    let mut shortest = i64::MAX;
    let book = copies.during(|| {
        for _ in 0..60 {
            for alive in ask::<Vec<String>>(&redis, &["KEYS", "hookgate:alive:*"]) {
                shortest = shortest.min(ask::<i64>(&redis, &["PTTL", &alive]));
            }
            sleep(Duration::from_millis(200));
        }
    });
    assert!((17_000..=30_000).contains(&shortest), "renewed every 10 s: {shortest} ms were left");
    pair.to_redis.iter().for_each(Proxy::restore);
    assert_eq!(audit(&book, &pair.messages()).marked, 0, "slow is not away");
}

/// Events sent to one replica, and again to the other after Redis lost what it knew of the last of them: exactly
/// these may come again without the mark (W3b).
fn forgotten(pair: &Pair, kept: &[&str], lost: &[&str], fail: impl FnOnce()) {
    let [mut first, mut second] = pair.addresses().map(Client::new);
    let send = |client: &mut Client, ids: &[&str]| {
        let mut book = Book::default();
        ids.iter().for_each(|id| book.add(insist(client, id)));
        pair.settle();
        book
    };
    let mut book = send(&mut first, kept);
    let gap = send(&mut first, lost);
    fail();
    book.add(send(&mut second, kept));
    let again = send(&mut second, lost);
    assert_eq!(again.kept, gap.kept);
    book.add(gap);
    book.add(send(&mut second, &["evt_new"]));
    book.add(send(&mut first, &["evt_new"]));
    let out = compare(&book, &pair.messages());
    let beyond: Vec<_> = out.doubled.keys().collect();
    let allowed: Vec<_> = again.kept.keys().collect();
    assert_eq!(beyond, allowed, "of exactly what was lost there are two: {out:?}");
    assert!(out.doubled.values().all(|beyond| *beyond == 1));
    assert_eq!((out.all, out.marked), (book.kept.len() + lost.len(), 0));
}

const KEPT: [&str; 12] = [
    "evt_k1", "evt_k2", "evt_k3", "evt_k4", "evt_k5", "evt_k6", "evt_k7", "evt_k8", "evt_k9", "evt_ka",
    "evt_kb", "evt_kc",
];
const LOST: [&str; 5] = ["evt_l1", "evt_l2", "evt_l3", "evt_l4", "evt_l5"];

fn without_persistence(ack: Ack) {
    let mut redis = Redis::start_forgetful();
    let pair = Pair::start(ack, &redis);
    forgotten(&pair, &[], &[&KEPT[..], &LOST[..]].concat(), || {
        redis.kill();
        redis.restart();
        until_it_answers(&pair, &redis);
    });
}

/// Waits until both replicas have found Redis again: what they are sent before that is marked.
fn until_it_answers(pair: &Pair, redis: &Redis) {
    // The first command after a cut meets the dead connection, so each needs one.
    pair.gateways.iter().for_each(|gateway| {
        until("it found Redis", Duration::from_secs(20), || {
            let (status, text) = gateway.ready();
            status == 200 && !text.contains("redis: FAILED")
        });
    });
    let living = || ask::<Vec<String>>(redis, &["KEYS", "hookgate:alive:*"]).len();
    if pair.has_journals() {
        until("both say that they live", Duration::from_secs(20), || living() == 2);
    } else {
        sleep(Duration::from_secs(6));
    }
}

#[test]
fn a_redis_that_kept_nothing_lets_again_through_what_it_forgot_and_nothing_else() {
    in_both_modes(without_persistence);
}

/// A failover to a copy that missed the last writes.
fn failed_over(ack: Ack) {
    let primary = Redis::start();
    let between = Proxy::start(primary.address());
    let copy = Redis::start_replica_of(between.address());
    let pair = Pair::start(ack, &primary);
    let [mut first, _] = pair.addresses().map(Client::new);
    let mut book = Book::default();
    KEPT.iter().for_each(|id| book.add(insist(&mut first, id)));
    pair.settle();
    let done = |redis: &Redis, id: &String| {
        ask::<Option<String>>(redis, &["GET", &format!("hookgate:{id}")])
            .is_some_and(|value| value.starts_with("done "))
    };
    until("the copy has these", Duration::from_secs(10), || book.kept.keys().all(|id| done(&copy, id)));
    between.set(Mode::BlackHole);
    sleep(Duration::from_millis(50));
    forgotten(&pair, &KEPT, &LOST, || {
        let keys = |redis: &Redis| ask::<Vec<String>>(redis, &["KEYS", "hookgate:????????????????*"]).len();
        let missed = keys(&primary) - keys(&copy);
        assert_eq!(missed, LOST.len(), "the copy missed these alone");
        copy.promote();
        pair.to_redis.iter().for_each(|proxy| proxy.redirect(copy.address()));
        until_it_answers(&pair, &copy);
    });
}

#[test]
fn a_failover_that_missed_writes_lets_again_through_what_was_missed_and_nothing_else() {
    in_both_modes(failed_over);
}

/// A failover under load: what comes again without the mark is no more than what was noted in the gap.
fn failed_over_under_load(ack: Ack) {
    let primary = Redis::start();
    let between = Proxy::start(primary.address());
    let copy = Redis::start_replica_of(between.address());
    let pair = Pair::start(ack, &primary);
    let copies = Copies::to(pair.addresses(), "failover", 400).pausing(Duration::from_millis(20));
    let mut missed = BTreeSet::new();
    let book = copies.during(|| {
        copies.more(100);
        between.set(Mode::BlackHole);
        copies.more(100);
        let known = all_values(&copy);
        copy.promote();
        pair.to_redis.iter().for_each(|proxy| proxy.redirect(copy.address()));
        copies.more(100);
        // The old one is out of everybody's reach by now.
        missed = &all_values(&primary) - &known;
        copies.more(50);
    });
    let missed: BTreeSet<&str> = missed.iter().map(|(key, _)| key.trim_start_matches("hookgate:")).collect();
    let out = compare(&book, &pair.messages());
    assert!(out.doubled.keys().all(|id| missed.contains(id.as_str())), "{out:?}");
    assert!(out.doubled.values().all(|beyond| *beyond == 1), "{out:?}");
    println!("{} events, of which the copy may have missed {}: {out:?}", book.kept.len(), missed.len());
}

/// Every key and its value.
fn all_values(redis: &Redis) -> BTreeSet<(String, String)> {
    let keys: Vec<String> = ask(redis, &["KEYS", "hookgate:*"]);
    let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let values: Vec<Option<String>> = ask(redis, &words);
    keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
}

#[test]
fn a_failover_under_load_loses_nothing_and_doubles_only_what_was_missed() {
    in_both_modes(failed_over_under_load);
}
