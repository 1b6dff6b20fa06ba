//! G2 and W1: what becomes of events between publish and mark, and while the broker gives no honest confirm.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::steps::{NOTICE, SOON, copies, counted, is_connected, outcome, until_waiting};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, Gateway, Setup, until};
use crate::load::{Book, drained, until_drained, with_rabbitmq};
use crate::services::RabbitMq;

/// How many events are published without a durable mark, at most.
const IN_FLIGHT: usize = 40;
const EVENTS: usize = 120;

fn setup(url: &str) -> Setup {
    let lines = format!("max_in_flight = {IN_FLIGHT}\nconfirm_timeout = \"1s\"");
    with_rabbitmq(url).source("shop", "stripe", "").set("sink", &lines)
}

/// A gateway behind a proxy, connected.
fn behind(proxy: &Proxy, broker: &RabbitMq, vhost: &str) -> Gateway {
    let gateway = setup(&broker.url_by(proxy.address(), vhost)).start();
    is_connected(&gateway);
    gateway
}

fn turn(proxy: &Proxy, mode: Mode) {
    proxy.set(mode);
    sleep(NOTICE);
}

fn send(gateway: &Gateway, events: usize) -> Book {
    send_as(gateway, "evt", events)
}

fn send_as(gateway: &Gateway, name: &str, events: usize) -> Book {
    let (mut book, mut sender) = (Book::default(), Client::new(gateway.ingress()));
    for n in 0..events {
        assert!(book.send(&mut sender, "shop", &format!("{name}_{n}")), "{:?}", book.refused);
    }
    book
}

/// Everything arrives; some of it twice, no more than was in flight, and each copy marked.
fn doubled_within_w1(book: &Book, broker: &RabbitMq, vhost: &str) {
    let audit = book.audit(&drained(broker, vhost, "shop"));
    assert_eq!(audit.events, EVENTS);
    assert!((1..=IN_FLIGHT).contains(&audit.copies), "{audit:?}");
}

#[test]
fn a_kill_between_publish_and_confirm_doubles_at_most_what_was_in_flight_and_marks_it() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let lines = "confirm_timeout = \"30s\"";
    let mut gateway = setup(&broker.url_by(proxy.address(), &vhost)).set("sink", lines).start();
    is_connected(&gateway);
    turn(&proxy, Mode::Mute);
    let book = send(&gateway, EVENTS);
    until_waiting(broker, &vhost, "shop", IN_FLIGHT);
    gateway.kill();
    proxy.restore();
    gateway.start();
    until_drained(&gateway);
    doubled_within_w1(&book, broker, &vhost);
}

#[test]
fn a_kill_between_confirm_and_mark_doubles_at_most_what_was_in_flight_and_marks_it() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    // The first commit has the watermark, or the event with it; marks come after those of the events.
    let mut gateway = setup(&broker.url(&vhost)).failpoint("journal.write.before", "2*off->return").start();
    is_connected(&gateway);
    assert_eq!(outcome(&gateway, "evt_0"), "accepted");
    assert_eq!(gateway.ended().0, None, "killed before the mark was written");
    gateway.change(|setup| setup.env("FAILPOINTS", ""));
    gateway.start();
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (2, 1), "W1: once before the kill, once marked");
    assert_eq!(copies(&messages).len(), 1, "with the same message id");
}

#[test]
fn a_link_cut_between_publish_and_confirm_doubles_at_most_what_was_in_flight_and_marks_it() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = behind(&proxy, broker, &vhost);
    turn(&proxy, Mode::Mute);
    let book = send(&gateway, EVENTS);
    until_waiting(broker, &vhost, "shop", IN_FLIGHT);
    turn(&proxy, Mode::Cut);
    proxy.restore();
    until_drained(&gateway);
    doubled_within_w1(&book, broker, &vhost);
}

#[test]
fn a_confirm_that_never_comes_is_waited_for_no_longer_than_confirm_timeout() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = behind(&proxy, broker, &vhost);
    turn(&proxy, Mode::Mute);
    let begun = Instant::now();
    let book = send(&gateway, 1);
    until("the attempt is given up", SOON, || {
        gateway.metric("hookgate_published_total", &[("outcome", "unknown")]) >= 1.0
    });
    assert!((1.0..4.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert_eq!(gateway.metric("hookgate_relay_pending", &[]), 1.0, "kept");
    proxy.restore();
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    book.audit(&messages);
    assert_eq!(counted(&messages), (2, 1), "published again, marked");
}

#[test]
fn a_confirm_that_comes_late_doubles_nothing_without_its_mark() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = behind(&proxy, broker, &vhost);
    turn(&proxy, Mode::Delay(Duration::from_millis(1300)));
    let book = send(&gateway, 10);
    sleep(Duration::from_secs(3));
    proxy.restore();
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!(audit.events, 10);
    assert!(audit.copies > 0, "the confirms came too late: {audit:?}");
}

#[test]
fn what_no_queue_takes_outlives_a_kill_and_goes_out_once_there_is_one() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    drop(behind(&Proxy::start(broker.address()), broker, &vhost));
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.shop"]);
    let mut gateway = setup(&broker.url(&vhost)).set("sink", "declare = false").start();
    is_connected(&gateway);
    let book = send(&gateway, 5);
    let aside = |gateway: &Gateway| gateway.metric("hookgate_relay_unroutable", &[("source", "shop")]);
    until("they are put aside", SOON, || aside(&gateway) == 5.0);
    gateway.kill();
    gateway.start();
    until("they are aside again", SOON, || aside(&gateway) == 5.0);
    gateway.change(|setup| setup.set("sink", "declare = true"));
    gateway.restart();
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies), (5, 0));
}

#[test]
fn while_the_broker_is_away_events_are_accepted_and_their_age_is_shown() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = behind(&proxy, broker, &vhost);
    for mode in [Mode::Cut, Mode::Reset, Mode::BlackHole] {
        turn(&proxy, mode);
        let book = send_as(&gateway, &format!("evt_{mode:?}"), 20);
        until("it is degraded", SOON, || {
            let (status, text) = gateway.ready();
            status == 200 && text.starts_with("degraded\n") && text.contains("sink: FAILED")
        });
        let age = || gateway.metric("hookgate_relay_oldest_age_seconds", &[("source", "shop")]);
        until("the oldest grows older", SOON, || age() >= 1.0);
        // What was swallowed stays so.
        turn(&proxy, Mode::Reset);
        proxy.restore();
        until_drained(&gateway);
        assert_eq!(book.audit(&drained(broker, &vhost, "shop")).events, 20, "{mode:?}");
        assert_eq!(age(), 0.0);
    }
    assert_eq!(gateway.stderr().matches("\"ready\"").count(), 1, "no restart");
}
