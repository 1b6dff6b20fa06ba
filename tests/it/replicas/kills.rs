//! Both replicas get every event, and one is killed at a named point while it holds claims: the other takes them
//! over, marked, before it comes back.
//!
//! `HOOKGATE_IT_EVENTS` makes the runs longer.

use std::time::Duration;

use super::pair::{Ack, Copies, Pair, at_once, audit, in_both_modes, is_ready};
use super::{all_fall_silent, ask};
use crate::gateway::{Gateway, until};
use crate::services::Redis;

/// Environment by which a gateway dies at `point`, reached for the `nth` time.
fn dying(point: &str, nth: u32) -> String {
    format!("{point}={}*off->return", nth - 1)
}

fn dies(gateway: &mut Gateway, point: &str) {
    let (code, _) = gateway.ended();
    assert_eq!(code, None, "killed at {point}:\n{}", gateway.stderr());
}

fn comes_back(gateway: &mut Gateway, failpoints: &str) {
    gateway.change(|setup| setup.env("FAILPOINTS", failpoints));
    gateway.start();
}

/// A replica with a journal dies at a point. `takes_over` tells whether Redis then still has claims of its that it
/// cannot end.
fn with_a_journal(point: &str, nth: u32, takes_over: bool) {
    let redis = Redis::start();
    let mut pair = Pair::with(Ack::Journal, &redis, |number, setup| match number {
        0 => setup.env("FAILPOINTS", &dying(point, nth)),
        _ => setup,
    });
    let copies = Copies::to(pair.addresses(), "kill", 200);
    let [killed, steady] = &mut pair.gateways;
    let parked = || steady.metric("hookgate_relay_parked", &[]);
    let book = copies.during(|| {
        dies(killed, point);
        if takes_over {
            until("what it held is parked", Duration::from_secs(20), || parked() > 0.0);
        }
        all_fall_silent(&redis);
        until("all that the other has is out", Duration::from_secs(30), || {
            parked() + steady.metric("hookgate_relay_pending", &[]) == 0.0
        });
        comes_back(killed, "");
    });
    let out = audit(&book, &pair.messages());
    assert!(out.marked > 0 || !takes_over, "{out:?}");
    assert!(out.all <= book.kept.len() + 256, "only what was in flight may come twice: {out:?}");
    let keys = book.kept.keys().map(|id| ask::<String>(&redis, &["GET", &format!("hookgate:{id}")]));
    assert!(keys.into_iter().all(|value| value.starts_with("done ")));
}

#[test]
fn what_a_replica_held_that_was_killed_at_any_point_is_taken_over_with_the_mark() {
    let points = [
        ("redis.claim.after", 6, true),
        ("relay.publish.after", 30, true),
        ("redis.done.before", 6, true),
        ("redis.done.after", 6, false),
    ];
    at_once(points.map(|(point, nth, takes_over)| move || with_a_journal(point, nth, takes_over)));
}

/// A replica in confirm mode dies at a point: its lease runs out.
fn with_a_lease(point: &str) {
    let redis = Redis::start();
    let mut pair = Pair::with(Ack::Confirm, &redis, |number, setup| match number {
        0 => setup.env("FAILPOINTS", &dying(point, 20)),
        _ => setup,
    });
    let copies = Copies::to(pair.addresses(), "lease", 200);
    let [killed, steady] = &mut pair.gateways;
    let book = copies.during(|| {
        dies(killed, point);
        let taken_over = || steady.metric("hookgate_claims_total", &[("result", "taken_over")]);
        until("a lease that ran out is taken over", Duration::from_secs(20), || taken_over() > 0.0);
        comes_back(killed, "");
        is_ready(killed);
    });
    let out = audit(&book, &pair.messages());
    assert!(out.marked > 0 && out.all <= book.kept.len() + 16, "one in flight for each sender: {out:?}");
}

#[test]
fn the_lease_of_a_replica_that_was_killed_at_any_point_is_followed_with_the_mark() {
    let points = ["confirm.claim.after", "confirm.publish.after", "confirm.done.before"];
    at_once(points.map(|point| move || with_a_lease(point)));
}

/// One replica dies at each point in turn and is back at once, then both die together, all under load.
fn in_turn(ack: Ack, points: &[&str]) {
    let redis = Redis::start();
    let mut pair = Pair::with(ack, &redis, |number, setup| match number {
        0 => setup.env("FAILPOINTS", &dying(points[0], 20)),
        _ => setup,
    });
    let copies = Copies::to(pair.addresses(), "turn", 300).pausing(Duration::from_millis(5));
    let book = copies.during(|| {
        let next = points[1..].iter().map(|point| dying(point, 20)).chain([String::new()]);
        for (point, next) in points.iter().zip(next) {
            dies(&mut pair.gateways[0], point);
            comes_back(&mut pair.gateways[0], &next);
        }
        copies.more(30);
        pair.gateways.iter_mut().for_each(Gateway::kill);
        pair.gateways.iter_mut().for_each(Gateway::start);
    });
    audit(&book, &pair.messages());
}

#[test]
fn replicas_killed_at_each_point_in_turn_and_both_at_once_lose_and_double_nothing() {
    in_both_modes(|ack| match ack {
        Ack::Journal => {
            in_turn(
                ack,
                &["redis.claim.after", "relay.publish.after", "redis.done.before", "redis.done.after"],
            );
        }
        Ack::Confirm => {
            in_turn(ack, &["confirm.claim.after", "confirm.publish.after", "confirm.done.before"])
        }
    });
}
