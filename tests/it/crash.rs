//! SIGKILL of the gateway under load: nothing answered 2xx is lost, no copy goes without its mark.
//!
//! `HOOKGATE_IT_KILLS` makes the run longer.

use std::thread::sleep;
use std::time::Duration;

use crate::load::{Load, drained, number, until_drained, with_rabbitmq};
use crate::services::RabbitMq;

/// `max_in_flight` and one watermark step.
const MARKED_A_KILL: usize = 256 + 256;

#[test]
fn a_gateway_killed_under_load_loses_nothing_and_marks_every_copy() {
    let kills = number("HOOKGATE_IT_KILLS", 4);
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let load = Load::start(&[gateway.ingress()], "shop", "kill", 600);
    for kill in 0..kills {
        sleep(Duration::from_millis(400 + u64::from(kill * 37 % 200)));
        gateway.kill();
        gateway.start();
    }
    sleep(Duration::from_millis(300));
    let book = load.finish();
    assert!(book.refused.is_empty(), "{:?}", book.refused);
    assert!(book.unanswered > 0, "the load ran into the kills");
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert!(audit.events >= book.kept.len());
    assert!(audit.marked <= kills as usize * MARKED_A_KILL, "{audit:?}");
}

#[test]
fn a_backlog_outlives_a_kill_and_only_what_was_tried_is_marked() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let mut gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let load = Load::start(&[gateway.ingress()], "shop", "backlog", 900);
    sleep(Duration::from_millis(700));
    broker.kill();
    sleep(Duration::from_secs(3));
    gateway.kill();
    gateway.start();
    sleep(Duration::from_millis(500));
    gateway.kill();
    gateway.start();
    broker.restart();
    sleep(Duration::from_millis(500));
    let book = load.finish();
    assert!(book.refused.is_empty(), "{:?}", book.refused);
    assert!(book.kept.len() > 2500, "more than a lane keeps in memory: {}", book.kept.len());
    until_drained(&gateway);
    let audit = book.audit(&drained(&broker, &vhost, "shop"));
    assert!(audit.marked <= MARKED_A_KILL, "a kill while nothing goes out adds no marks: {audit:?}");
}
