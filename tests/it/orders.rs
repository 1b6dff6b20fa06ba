//! An operator's orders at bad moments: for more events than wait in memory, and with a SIGKILL in their midst.
//!
//! `HOOKGATE_IT_KILLS` makes the runs with kills longer.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::{scope, sleep};
use std::time::Duration;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::gateway::*;
use crate::load::{Book, DRAIN, digest, drained, number, until_drained, with_rabbitmq};
use crate::scrape::Scrape;
use crate::services::{Drained, RabbitMq, Redis, connect};

const QUEUE: &str = "webhooks.shop";

/// A gateway in front of an exchange without a queue for its source.
fn without_queue(broker: &RabbitMq, vhost: &str) -> Gateway {
    let setup = with_rabbitmq(&broker.url(vhost)).source("shop", "stripe", "");
    let mut gateway = setup.start();
    until("the queue is declared", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    gateway.change(|setup| setup.set("sink", "declare = false"));
    gateway.restart();
    until("it is connected", DRAIN, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    broker.rabbitmqctl(&["delete_queue", "-p", vhost, QUEUE]);
    gateway
}

/// Binds a queue for the source.
fn bind(broker: &RabbitMq, vhost: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = connect(&broker.url(vhost)).await;
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await.unwrap();
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(QUEUE.into(), "webhooks".into(), "shop.#".into(), options, none).await.unwrap();
        connection.close(200, "OK".into()).await.unwrap();
    });
}

/// Has `count` events accepted, by several senders.
fn send(gateway: &Gateway, name: &str, count: u32) -> Book {
    const SENDERS: u32 = 8;
    let sender = |part: u32| {
        let (mut client, mut book) = (Client::new(gateway.ingress()), Book::default());
        for event in (part..count).step_by(SENDERS as usize) {
            assert!(book.send(&mut client, "shop", &format!("evt_{name}_{event}")), "{:?}", book.refused);
        }
        book
    };
    let mut book = Book::default();
    scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|part| scope.spawn(move || sender(part))).collect();
        senders.into_iter().for_each(|sender| book.add(sender.join().unwrap()));
    });
    book
}

fn stands(gateway: &Gateway) -> [f64; 5] {
    let scrape = Scrape::read(&gateway.metrics());
    scrape.closes();
    ["relay_pending", "relay_unroutable", "relay_poison", "events_confirmed", "events_dropped"]
        .map(|term| scrape.term(term))
}

/// A subcommand of `events`: whether it went well, and its outcome counted.
fn order(gateway: &Gateway, arguments: &[&str]) -> (bool, serde_json::Value) {
    let output = gateway.run(&[&["events"], arguments, &["--output", "json"]].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.success(), told)
}

fn ids(messages: &[Drained]) -> BTreeSet<&str> {
    messages.iter().map(|message| message.message_id.as_str()).collect()
}

#[test]
fn more_unroutable_events_than_memory_holds_are_dropped_or_go_out_when_told_once_each() {
    const EVENTS: u32 = 4700;
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = without_queue(broker, &vhost);
    let book = send(&gateway, "lost", EVENTS);
    until("all are unroutable", DRAIN, || stands(&gateway)[1] == f64::from(EVENTS));
    // The last were left to the journal, where they wait for more than a minute.
    for sequence in ["1", "4690-4699"] {
        let (good, told) = order(&gateway, &["drop", "--source", "shop", "--sequence", sequence, "--yes"]);
        assert!(good && told["outcomes"]["dropped"].as_u64() > Some(0), "{told}");
    }
    assert_eq!(stands(&gateway)[4], 11.0);
    bind(broker, &vhost);
    let (good, told) = order(&gateway, &["requeue", "--source", "shop"]);
    assert!(good, "{told}");
    let left = f64::from(EVENTS - 11);
    until("all the others are confirmed", Duration::from_secs(30), || stands(&gateway)[3] == left);
    assert_eq!(stands(&gateway), [0.0, 0.0, 0.0, left, 11.0]);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!((messages.len(), ids(&messages).len()), ((EVENTS - 11) as usize, (EVENTS - 11) as usize));
    assert!(messages.iter().all(|message| book.kept[&message.message_id] == digest(&message.body)));
}

#[test]
fn a_kill_in_the_midst_of_replays_leaves_each_event_once_or_marked() {
    const EVENTS: u32 = 2000;
    let kills = number("HOOKGATE_IT_KILLS", 4);
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let setup =
        with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").env("REDIS_URL", &redis.url());
    let dedup = "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }";
    let mut gateway = setup.set("dedup", dedup).start();
    let mut book = send(&gateway, "first", EVENTS);
    until_drained(&gateway);
    assert_eq!(drained(broker, &vhost, "shop").len(), EVENTS as usize);
    for kill in 0..kills {
        let replay = gateway.spawn(&["events", "replay", "--source", "shop"]);
        sleep(Duration::from_millis(u64::from(35 + kill * 45 % 200)));
        gateway.kill();
        drop(replay.wait_with_output().unwrap());
        gateway.start();
        book.add(send(&gateway, &format!("new_{kill}"), 50));
        until_drained(&gateway);
        let messages = drained(broker, &vhost, "shop");
        let mut unmarked = BTreeMap::<_, u32>::new();
        for message in &messages {
            assert_eq!(book.kept[&message.message_id], digest(&message.body));
            let marked = message.headers.contains_key("hookgate-possible-duplicate");
            *unmarked.entry(message.message_id.as_str()).or_default() += u32::from(!marked);
        }
        assert!(unmarked.values().all(|count| *count <= 1), "kill {kill}: a second copy without its mark");
        println!("kill {kill}: {} messages of {} events", messages.len(), unmarked.len());
        assert_eq!(stands(&gateway)[..3], [0.0; 3]);
    }
    let (good, told) = order(&gateway, &["replay", "--source", "shop"]);
    assert!(good, "{told}");
    until_drained(&gateway);
    assert_eq!(ids(&drained(broker, &vhost, "shop")).len(), book.kept.len(), "all of them are still there");
}

#[test]
fn a_kill_in_the_midst_of_drops_leaves_each_event_dropped_or_delivered() {
    const EVENTS: u32 = 3000;
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = without_queue(broker, &vhost);
    let book = send(&gateway, "drop", EVENTS);
    until("all are unroutable", DRAIN, || stands(&gateway)[1] == f64::from(EVENTS));
    let mut last = f64::from(EVENTS);
    for kill in 0..number("HOOKGATE_IT_KILLS", 4) {
        let first = kill % 6 * 500 + 1;
        let range = format!("{first}-{}", first + 499);
        let drops = gateway.spawn(&["events", "drop", "--source", "shop", "--sequence", &range, "--yes"]);
        sleep(Duration::from_millis(u64::from(25 + kill * 25 % 125)));
        gateway.kill();
        drop(drops.wait_with_output().unwrap());
        gateway.start();
        let [pending, unroutable, ..] = stands(&gateway);
        println!("kill {kill}: {} left of {last}", pending + unroutable);
        assert!(pending + unroutable <= last, "what was dropped stays dropped");
        last = pending + unroutable;
    }
    bind(broker, &vhost);
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(ids(&messages).len(), last as usize, "all that was not dropped");
    assert!(ids(&messages).iter().all(|id| book.kept.contains_key(*id)));
}
