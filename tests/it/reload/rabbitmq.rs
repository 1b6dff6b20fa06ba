//! Reloads with a real broker: queues of other sources on the connection that is there, and events of those that are
//! none any more.

use std::time::Duration;

use super::applied;
use crate::chaos::{Mode, Proxy};
use crate::gateway::*;
use crate::load::{Book, DRAIN, Load, drained, until_drained, with_rabbitmq};
use crate::services::{RabbitMq, Redis};

/// A gateway with one source, connected, that a source `late` may be added to.
fn connected(url: &str) -> Gateway {
    let gateway = with_rabbitmq(url).source("shop", "stripe", "").env("SECRET_LATE", &secret("late")).start();
    until("it is connected", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    gateway
}

#[test]
fn a_further_source_has_its_queue_before_its_first_delivery_and_no_connection_ends_for_it() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = connected(&broker.url(&vhost));
    let load = Load::start(&[gateway.ingress()], "shop", "under", 400);
    gateway.change(|setup| setup.source("late", "stripe", ""));
    let told = applied(&gateway);
    assert_eq!(told["warnings"], serde_json::json!([]), "{told}");
    let mut late = Book::default();
    let mut client = Client::new(gateway.ingress());
    (0..20).for_each(|n| assert!(late.send(&mut client, "late", &format!("evt_{n}"))));
    for other in 0..5 {
        gateway.change(|setup| setup.source(&format!("other{other}"), "stripe", ""));
        let name = format!("SECRET_OTHER{other}");
        gateway.change(|setup| {
            setup.set(&format!("sources.other{other}"), "secrets = [{ env = \"SECRET_SHOP\" }]")
        });
        assert_eq!(applied(&gateway)["warnings"], serde_json::json!([]), "{name}");
    }
    std::thread::sleep(Duration::from_secs(1));
    let connected = gateway.log().iter().filter(|line| line["message"] == "rabbitmq: connected").count();
    assert_eq!(connected, 1, "it is the connection of the start");
    let book = load.finish();
    assert_eq!((book.refused.len(), book.unanswered), (0, 0));
    until_drained(&gateway);
    for outcome in ["unroutable", "unknown", "not_sent", "nacked", "channel_closed"] {
        assert_eq!(gateway.metric("hookgate_published_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for (source, book) in [("late", &late), ("shop", &book)] {
        let audit = book.audit(&drained(broker, &vhost, source));
        assert_eq!((audit.events, audit.copies, audit.marked), (book.kept.len(), 0, 0), "{source}");
    }
}

#[test]
fn while_the_broker_is_away_a_further_source_is_served_and_its_queue_comes_with_the_next_connection() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let mut gateway = with_rabbitmq(&broker.url_by(proxy.address(), &vhost))
        .source("shop", "stripe", "")
        .env("SECRET_LATE", &secret("late"))
        .start();
    until("it is connected", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    proxy.set(Mode::Cut);
    until("it is away", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 0.0);
    gateway.change(|setup| setup.source("late", "stripe", ""));
    let told = applied(&gateway);
    assert!(told["warnings"][0].as_str().unwrap().contains("with the next connection"), "{told}");
    let mut book = Book::default();
    assert!(book.send(&mut Client::new(gateway.ingress()), "late", "evt_1"));
    proxy.set(Mode::Forward);
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "late"));
    assert_eq!((audit.events, audit.copies, audit.marked), (1, 0, 0));
}

#[test]
fn a_source_that_is_gone_is_answered_404_and_what_it_had_goes_out() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let mut gateway = with_rabbitmq(&broker.url_by(proxy.address(), &vhost))
        .source("shop", "stripe", "")
        .source("going", "stripe", "")
        .start();
    until("it is connected", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    proxy.set(Mode::Cut);
    let (mut book, mut client) = (Book::default(), Client::new(gateway.ingress()));
    (0..50).for_each(|n| assert!(book.send(&mut client, "going", &format!("evt_{n}"))));
    gateway.change(|setup| setup.without("sources.going"));
    assert_eq!(applied(&gateway)["sources"]["removed"], serde_json::json!(["going"]));
    assert_eq!(gateway.deliver(&stripe("going", &stripe_event("evt_x"))).status, 404);
    proxy.set(Mode::Forward);
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "going"));
    assert_eq!(audit.events, 50);
}

#[test]
fn in_confirm_mode_a_further_source_is_answered_2xx_at_once() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let mut gateway = with_rabbitmq(&broker.url(&vhost))
        .source("shop", "stripe", "")
        .env("REDIS_URL", &redis.url())
        .env("SECRET_LATE", &secret("late"))
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }")
        .set("journal", "ack = \"confirm\"")
        .start();
    until("it is ready", DRAIN, || gateway.ready().1.starts_with("ready\n"));
    gateway.change(|setup| setup.source("late", "stripe", ""));
    assert!(!applied(&gateway)["warnings"].to_string().contains("rabbitmq"));
    let (mut book, mut client) = (Book::default(), Client::new(gateway.ingress()));
    (0..20).for_each(|n| assert!(book.send(&mut client, "late", &format!("evt_{n}")), "{:?}", book.refused));
    let audit = book.audit(&drained(broker, &vhost, "late"));
    assert_eq!((audit.events, audit.copies, audit.marked), (20, 0, 0));
}

#[test]
fn a_queue_that_cannot_be_declared_ends_no_connection_and_is_told_of() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = connected(&broker.url(&vhost));
    // Of another kind: RabbitMQ refuses with 406.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = crate::services::connect(&broker.url(&vhost)).await;
        let channel = connection.create_channel().await.unwrap();
        let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare("webhooks.late".into(), options, Default::default()).await.unwrap();
    });
    gateway.change(|setup| setup.source("late", "stripe", ""));
    let told = applied(&gateway);
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.contains("406"), "{told}");
    let mut book = Book::default();
    (0..50)
        .for_each(|n| assert!(book.send(&mut Client::new(gateway.ingress()), "shop", &format!("evt_{n}"))));
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (50, 0, 0));
    let connected = gateway.log().iter().filter(|line| line["message"] == "rabbitmq: connected").count();
    assert_eq!(connected, 1, "it is the connection of the start");
}
