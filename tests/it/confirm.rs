//! Confirm mode: no journal, and a 2xx only for what RabbitMQ has confirmed, once, whoever is killed or away.
//!
//! Here in fair weather; `faults` and `kills` beside it have the rest.

mod faults;
mod kills;

use std::thread::{scope, sleep};
use std::time::Duration;

use crate::chaos::{Mode, Proxy};
use crate::gateway::{Answer, Client, Gateway, Setup, Signed, github, stripe, stripe_event, until};
use crate::load::{drained, with_rabbitmq};
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

fn event(id: &str) -> Signed {
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

/// Sends a delivery and reads no answer; the connection lives as long as the value.
fn unread(gateway: &Gateway, signed: &Signed) -> Client {
    let mut sender = Client::new(gateway.ingress());
    let (signature, length) = (signed.header("stripe-signature"), signed.body.len());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nstripe-signature: {signature}\r\ncontent-length: {length}\r\n\r\n",
        signed.path
    );
    sender.send(&[head.as_bytes(), &signed.body].concat());
    sender
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
    assert!(text.contains("journal: ok (none") && text.contains("redis: ok"), "{text}");
    assert_eq!(one.metric("hookgate_claims_total", &[("result", "mine")]), 1.0);
    let check = one.run(&["check", "--connect"]);
    assert_eq!(check.status.code(), Some(0));
    assert!(
        String::from_utf8_lossy(&check.stdout).contains("waits for a claim in Redis and RabbitMQ's confirm")
    );
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
fn an_event_whose_sender_has_gone_goes_its_way() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let gateway = start(setup(&broker.url_by(proxy.address(), &vhost), &redis.url()));
    turn(&proxy, Mode::Delay(Duration::from_millis(300)));
    let signed = event("evt_gone");
    let sender = unread(&gateway, &signed);
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
