//! Copies of every event to two replicas at once, one of which is killed: nothing lost, no copy without its mark.
//!
//! `HOOKGATE_IT_EVENTS` makes the run longer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::{MARK, counted, event, refused, setup, start, turn, unread};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Client, until};
use crate::load::{Book, digest, drained, number, until_drained};
use crate::redis::ask;
use crate::services::{Drained, RabbitMq, Redis};

/// Sends every event to both replicas at once, again and again until each has answered 2xx.
fn to_both(gateways: [SocketAddr; 2], events: u32, pace: &AtomicU32) -> Book {
    const SENDERS: u32 = 16;
    let book = Mutex::new(Book::default());
    let next = AtomicU32::new(0);
    scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut clients = gateways.map(Client::new);
                let mut own = Book::default();
                let more = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|event| *event < events);
                while let Some(event) = more() {
                    both(&mut clients, &mut own, &format!("evt_both_{event}"));
                    pace.fetch_add(1, Ordering::Relaxed);
                }
                book.lock().unwrap().add(own);
            });
        }
    });
    book.into_inner().unwrap()
}

fn both(clients: &mut [Client; 2], book: &mut Book, id: &str) {
    let end = Instant::now() + Duration::from_secs(120);
    let insist = |client: &mut Client| {
        let mut own = Book::default();
        while !own.send(client, "shop", id) {
            assert!(Instant::now() < end, "{id} is never answered 2xx: {:?}", own.refused.last());
            sleep(Duration::from_millis(50));
        }
        own
    };
    let books: Vec<Book> = scope(|scope| {
        let both: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| insist(client))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    books.into_iter().for_each(|own| book.add(own));
}

/// Every event was answered 2xx in the end, is there byte for byte, and has one message at most without the mark.
/// Messages, and how many of them are marked.
fn audit(book: &Book, messages: &[Drained], events: u32) -> (usize, usize) {
    assert_eq!(book.kept.len(), events as usize);
    let other: BTreeSet<u16> = book.refused.iter().map(|(status, _)| *status).filter(|s| *s != 503).collect();
    assert!(other.is_empty(), "{other:?}");
    let mut by_id: BTreeMap<&str, Vec<&Drained>> = BTreeMap::new();
    messages.iter().for_each(|message| by_id.entry(&message.message_id).or_default().push(message));
    for (id, copies) in &by_id {
        let unmarked = copies.iter().filter(|message| !message.headers.contains_key(MARK)).count();
        assert!(unmarked <= 1, "{id}: {unmarked} unmarked copies of {}", copies.len());
        assert!(copies.iter().all(|message| book.kept[*id] == digest(&message.body)), "{id}: other bytes");
    }
    let drained: BTreeSet<&str> = by_id.keys().copied().collect();
    let answered: BTreeSet<&str> = book.kept.keys().map(String::as_str).collect();
    assert!(drained == answered, "answered {}, drained {}", answered.len(), drained.len());
    counted(messages)
}

#[test]
fn a_replica_killed_five_times_under_copies_to_both_loses_and_doubles_nothing() {
    let events = number("HOOKGATE_IT_EVENTS", 1500);
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let steady = start(setup(&broker.url(&vhost), &redis.url()));
    let mut killed = start(setup(&broker.url(&vhost), &redis.url()));
    let addresses = [steady.ingress(), killed.ingress()];
    let (pace, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    let book = scope(|scope| {
        let sending = scope.spawn(|| {
            let book = to_both(addresses, events, &pace);
            ended.store(true, Ordering::Relaxed);
            book
        });
        for kill in 1..=5 {
            until("a sixth more is sent", Duration::from_secs(300), || {
                pace.load(Ordering::Relaxed) >= events / 6 * kill || ended.load(Ordering::Relaxed)
            });
            assert!(!ended.load(Ordering::Relaxed), "the load outlasts the kills");
            killed.kill();
            sleep(Duration::from_millis(100));
            killed.start();
        }
        sending.join().unwrap()
    });
    let (all, marked) = audit(&book, &drained(broker, &vhost, "shop"), events);
    println!(
        "{events} events, {} answers 2xx, {} refused, {} cut off: {all} messages, {marked} of them marked",
        book.answers,
        book.refused.len(),
        book.unanswered
    );
    assert!(marked <= 5 * 16 * 2, "only what a kill caught is marked: {marked}");
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
    const EVENTS: u32 = 600;
    let (mut broker, mut redis) = (RabbitMq::own(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    let addresses = gateways.each_ref().map(|gateway| gateway.ingress());
    let pace = AtomicU32::new(0);
    let book = scope(|scope| {
        let sending = scope.spawn(|| to_both(addresses, EVENTS, &pace));
        let sent = |part: u32| {
            until("more is sent", Duration::from_secs(60), || {
                pace.load(Ordering::Relaxed) >= EVENTS / 4 * part
            });
        };
        sent(1);
        redis.kill();
        sent(2);
        redis.restart();
        sent(3);
        // In good order: RabbitMQ 3.10 killed right after a declaration can lose the queue's leader for good.
        broker.stop();
        broker.restart();
        sending.join().unwrap()
    });
    assert!(!book.refused.is_empty(), "the load ran into the outage");
    let (all, marked) = audit(&book, &drained(&broker, &vhost, "shop"), EVENTS);
    assert!(marked > 0, "Redis was away for a while: {marked} of {all}");
}
