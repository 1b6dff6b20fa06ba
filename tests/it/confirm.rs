//! Confirm mode: no journal, and a 2xx only for what RabbitMQ has confirmed, once, whoever is killed or away.
//!
//! `HOOKGATE_IT_EVENTS` makes the run with kills longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Answer, Client, Gateway, Setup, github, stripe, stripe_event, until};
use crate::load::{Book, digest, drained, number, with_rabbitmq};
use crate::redis::ask;
use crate::services::{Drained, RabbitMq, Redis};

const MARK: &str = "hookgate-possible-duplicate";

/// A replica in confirm mode: three seconds for a confirm, so leases of eight.
fn setup(amqp: &str, redis: &str) -> Setup {
    with_rabbitmq(amqp)
        .source("shop", "stripe", "")
        .source("git", "github", "")
        .env("REDIS_URL", redis)
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nwindow = \"7d\"")
        .set("journal", "ack = \"confirm\"")
}

fn is_ready(gateway: &Gateway) {
    until("the gateway is ready", Duration::from_secs(30), || gateway.ready().1.starts_with("ready\n"));
}

fn start(setup: Setup) -> Gateway {
    let gateway = setup.start();
    is_ready(&gateway);
    gateway
}

fn event(id: &str) -> crate::gateway::Signed {
    stripe("shop", &stripe_event(id))
}

/// Changes a proxy's mode, and waits until its idle connections have noticed.
fn turn(proxy: &Proxy, mode: Mode) {
    proxy.set(mode);
    sleep(Duration::from_millis(50));
}

/// The gateway's refusal, which must say when to come back.
fn refused(answer: &Answer, gateway: &Gateway, reason: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let counted = gateway.metric("hookgate_rejected_total", &[("reason", reason)]);
    assert!(counted > 0.0, "not for {reason}:\n{}", gateway.stderr());
}

fn accepted(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{}", answer.text());
    answer.message_id()
}

/// How many messages there are, and how many of them are marked.
fn counted(messages: &[Drained]) -> (usize, usize) {
    (messages.len(), messages.iter().filter(|message| message.headers.contains_key(MARK)).count())
}

#[test]
fn a_2xx_stands_for_a_confirmed_message_and_no_folder_is_touched() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let [one, two] = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    let signed = event("evt_1");
    let id = accepted(&one.deliver(&signed));
    assert!(ask::<String>(&redis, &["GET", &format!("hookgate:{id}")]).starts_with("done "));
    for gateway in [&two, &one] {
        let again = gateway.deliver(&signed);
        assert_eq!(
            (again.status, again.outcome().as_str(), again.message_id()),
            (200, "duplicate", id.clone())
        );
    }
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (1, 0));
    assert_eq!((&messages[0].message_id, &messages[0].body), (&id, &signed.body));
    assert!(!messages[0].headers.contains_key("hookgate-sequence"), "nothing numbers events");
    assert!(!one.journal().exists() && !one.path("data").exists());
    assert!(one.stderr().contains("journal.segment_bytes has no effect"), "{}", one.stderr());
    let (_, text) = one.ready();
    assert!(text.contains("journal: none") && text.contains("redis: ok"), "{text}");
    assert_eq!(one.metric("hookgate_claims_total", &[("result", "mine")]), 1.0);
    assert_eq!(two.metric("hookgate_claims_total", &[("result", "done")]), 1.0);
    assert_eq!(one.admin_call("POST", "/v1/inbox/shop/claim", &[], b"").status, 404);
    assert_eq!(one.deliver(&event("evt_2").without("stripe-signature")).status, 401);
    assert_eq!(ask::<i64>(&redis, &["DBSIZE"]), 1, "the unverified leave no key");
}

#[test]
fn a_hundred_copies_at_once_over_two_replicas_are_one_message() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    let signed = event("evt_burst");
    let answers: Vec<Answer> = scope(|scope| {
        let send = |copy: usize| {
            let (gateway, signed) = (&gateways[copy % 2], &signed);
            scope.spawn(move || gateway.deliver(signed))
        };
        let senders: Vec<_> = (0..100).map(send).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200), "those that waited saw it done");
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == "accepted").count(), 1);
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0));
}

#[test]
fn twins_are_counted_over_all_replicas_and_refused_beyond_eight() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateways = [0, 1].map(|_| start(setup(&broker.url(&vhost), &redis.url())));
    let twin = |n: usize| github("git", &format!("d-{n}"), "ping", b"{\"zen\":5}");
    let first = accepted(&gateways[0].deliver(&twin(0)));
    for n in 1..=8 {
        accepted(&gateways[n % 2].deliver(&twin(n)));
    }
    for n in 9..12 {
        let answer = gateways[n % 2].deliver(&twin(n));
        assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_twins"));
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(gateways[1].deliver(&twin(4)).outcome(), "duplicate");
    let of_all = |metric: &str, labels: &[(&str, &str)]| -> f64 {
        gateways.iter().map(|gateway| gateway.metric(metric, labels)).sum()
    };
    assert_eq!(of_all("hookgate_rejected_total", &[("reason", "too_many_twins")]), 3.0);
    assert_eq!(of_all("hookgate_dedup_total", &[("result", "twin")]), 8.0);
    let messages = drained(broker, &vhost, "git");
    assert_eq!(counted(&messages), (9, 0));
    assert!(messages[1..].iter().all(|message| message.headers["hookgate-twin-of"] == first));
}

#[test]
fn a_source_may_have_its_redeliveries_forwarded() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let lines = "on_duplicate = \"forward\"\nduplicate_status = 202";
    let gateway = start(setup(&broker.url(&vhost), &redis.url()).source("shop", "stripe", lines));
    let signed = event("evt_again");
    let id = accepted(&gateway.deliver(&signed));
    let again = gateway.deliver(&signed);
    assert_eq!((again.status, again.outcome().as_str(), again.message_id()), (202, "duplicate", id));
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (2, 0));
    let redelivered = |at: usize| messages[at].headers.contains_key("hookgate-redelivery");
    assert_eq!((redelivered(0), redelivered(1)), (false, true));
}

#[test]
fn beyond_its_rate_a_source_is_answered_429_by_default() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let lines = "limit = { rate = \"1/h\", burst = 2 }";
    let gateway = start(setup(&broker.url(&vhost), &redis.url()).source("shop", "stripe", lines));
    let statuses = [1, 2, 3].map(|n| gateway.deliver(&event(&format!("evt_{n}"))).status);
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (2, 0));
}

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
fn a_copy_waits_for_the_attempt_under_way_and_is_a_duplicate() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let one = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    let two = start(setup(&broker.url(&vhost), &redis.url()));
    turn(&proxy, Mode::Delay(Duration::from_millis(400)));
    let signed = event("evt_slow");
    scope(|scope| {
        let first = scope.spawn(|| one.deliver(&signed));
        sleep(Duration::from_millis(150));
        assert_eq!(two.deliver(&signed).outcome(), "duplicate");
        accepted(&first.join().unwrap());
    });
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0));
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
    let mut sender = Client::new(one.ingress());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nstripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        signed.path,
        signed.header("stripe-signature"),
        signed.body.len()
    );
    sender.send(&[head.as_bytes(), &signed.body].concat());
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
fn an_event_whose_sender_has_gone_goes_its_way() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    turn(&proxy, Mode::Delay(Duration::from_millis(300)));
    let signed = event("evt_gone");
    let mut sender = Client::new(gateway.ingress());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nstripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        signed.path,
        signed.header("stripe-signature"),
        signed.body.len()
    );
    sender.send(&[head.as_bytes(), &signed.body].concat());
    until("it is on its way", Duration::from_secs(5), || {
        gateway.metric("hookgate_confirm_in_progress", &[]) == 1.0
    });
    drop(sender);
    until("its way has ended", Duration::from_secs(5), || {
        gateway.metric("hookgate_confirm_in_progress", &[]) == 0.0
    });
    assert_eq!(gateway.deliver(&signed).outcome(), "duplicate");
    assert_eq!(counted(&drained(broker, &vhost, "shop")), (1, 0));
}

#[test]
fn a_stop_gives_those_who_wait_their_answers_first() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let mut gateway = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    let address = gateway.ingress();
    for (mode, status) in [(Mode::Delay(Duration::from_millis(500)), 200), (Mode::BlackHole, 503)] {
        gateway.change(|setup| setup.set("sink", "confirm_timeout = \"20s\""));
        proxy.restore();
        gateway.restart();
        is_ready(&gateway);
        turn(&proxy, mode);
        let signed = event(&format!("evt_stop_{status}"));
        let (answer, took) = scope(|scope| {
            let waiting = scope.spawn(|| Client::new(address).deliver(&signed));
            sleep(Duration::from_millis(200));
            let (code, took) = gateway.terminate();
            assert_eq!(code, Some(0), "{}", gateway.stderr());
            (waiting.join().unwrap(), took)
        });
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
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

/// Sends every event to both replicas at once, again and again until each has answered 2xx.
fn to_both(gateways: [std::net::SocketAddr; 2], events: u32, pace: &AtomicU32) -> Book {
    const SENDERS: u32 = 16;
    let book = Mutex::new(Book::default());
    let next = AtomicU32::new(0);
    scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut clients = gateways.map(Client::new);
                let mut own = Book::default();
                loop {
                    let event = next.fetch_add(1, Ordering::Relaxed);
                    if event >= events {
                        break;
                    }
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
    let end = Instant::now() + Duration::from_secs(60);
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
    assert_eq!(book.kept.len(), events as usize);
    let other: BTreeSet<u16> = book.refused.iter().map(|(status, _)| *status).filter(|s| *s != 503).collect();
    assert!(other.is_empty(), "{other:?}");
    let messages = drained(broker, &vhost, "shop");
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
    let (all, marked) = counted(&messages);
    println!(
        "{events} events, {} answers 2xx, {} refused, {} cut off: {all} messages, {marked} of them marked",
        book.answers,
        book.refused.len(),
        book.unanswered
    );
    assert!(marked <= 5 * 16 * 2, "only what a kill caught is marked: {marked}");
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
    crate::load::until_drained(&journal);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(counted(&messages), (200, 0));
    assert_eq!(book.kept.len(), 200);
}
