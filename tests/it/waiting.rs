//! Workers who wait over HTTP: woken by what comes, in their order, and taking nothing along when they go.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::gateway::*;

/// Nothing in these tests takes longer.
const SOON: Duration = Duration::from_secs(20);

pub fn setup() -> Setup {
    Setup::new().source("plain", "generic", "").source("other", "generic", "")
}

pub fn fill(gateway: &Gateway, source: &str, events: std::ops::Range<u32>) {
    let mut client = Client::new(gateway.ingress());
    for event in events {
        assert_eq!(client.deliver(&generic(source, format!("event {event}").as_bytes())).status, 200);
    }
}

pub fn pending(gateway: &Gateway, source: &str) -> f64 {
    gateway.metric("hookgate_relay_pending", &[("source", source)])
}

/// A claim that waits, on a connection of its own that nobody reads yet.
fn waiting(gateway: &Gateway, query: &str) -> Client {
    let mut client = Client::new(gateway.admin());
    let head = format!(
        "POST /v1/inbox/plain/claim?{query} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        gateway.admin()
    );
    client.send(head.as_bytes());
    client
}

/// Bodies in the answer to a claim.
fn bodies(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    json["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["body"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_waiting_worker_gets_the_event_as_it_comes() {
    let gateway = setup().start();
    let begun = Instant::now();
    assert!(gateway.claim_by("plain", "wait=300ms").is_empty(), "nothing came");
    assert!((300..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let mut waits = waiting(&gateway, "wait=20s&lease=5s");
    sleep(Duration::from_millis(200));
    fill(&gateway, "other", 0..1);
    assert!(waits.is_open(), "another source's event is not its own");
    fill(&gateway, "plain", 0..1);
    let delivered = Instant::now();
    let answer = waits.answer().unwrap();
    assert!(delivered.elapsed() < Duration::from_secs(1), "{:?}", delivered.elapsed());
    assert_eq!(
        (bodies(&answer), answer.json()["lease_milliseconds"].as_u64()),
        (vec!["event 0".to_owned()], Some(5000))
    );
    let event = &answer.json()["events"][0];
    assert_eq!(
        (event["attempt"].as_u64(), &event["headers"]["hookgate-possible-duplicate"]),
        (Some(1), &Value::Null)
    );
}

#[test]
fn waiting_workers_are_served_in_their_order_and_none_twice() {
    let gateway = setup().start();
    let mut workers: Vec<Client> = (0..8)
        .map(|_| {
            let client = waiting(&gateway, "wait=20s&max=1");
            sleep(Duration::from_millis(30));
            client
        })
        .collect();
    fill(&gateway, "plain", 0..8);
    let got: Vec<String> = workers.iter_mut().flat_map(|worker| bodies(&worker.answer().unwrap())).collect();
    assert_eq!(got, (0..8).map(|event| format!("event {event}")).collect::<Vec<_>>());
}

#[test]
fn what_comes_back_wakes_a_waiting_worker_at_its_time() {
    let gateway = setup().start();
    fill(&gateway, "plain", 0..2);
    let (given, kept) = (gateway.claim("plain", 1), gateway.claim_by("plain", "max=1&lease=1s"));
    let begun = Instant::now();
    let mut waits = waiting(&gateway, "wait=20s");
    assert_eq!(gateway.nack("plain", &given, "400ms").status, 200);
    assert_eq!(bodies(&waits.answer().unwrap()), ["event 0"]);
    assert!((350..900).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let mut waits = waiting(&gateway, "wait=20s");
    let answer = waits.answer().unwrap();
    assert!((900..2500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let event = &answer.json()["events"][0];
    assert_eq!((event["body"].as_str(), event["attempt"].as_u64()), (Some("event 1"), Some(2)));
    assert_eq!(event["headers"]["hookgate-possible-duplicate"], true, "its lease ran out: it may be done");
    assert_eq!(gateway.ack("plain", &kept).status, 409);
}

#[test]
fn a_worker_that_hangs_up_while_it_waits_takes_nothing_along() {
    let gateway = setup().start();
    for _ in 0..20 {
        let mut gone = waiting(&gateway, "wait=30s&lease=60s&max=100");
        sleep(Duration::from_millis(5));
        gone.shut_write();
        drop(gone);
    }
    let mut stays = waiting(&gateway, "wait=20s&max=100");
    sleep(Duration::from_millis(50));
    fill(&gateway, "plain", 0..10);
    let mut got = bodies(&stays.answer().unwrap());
    got.extend(gateway.drain("plain", 10 - got.len()).iter().map(|event| {
        assert!(event.attempt == 1 && !event.possible_duplicate(), "nobody had it");
        String::from_utf8(event.body.clone()).unwrap()
    }));
    assert_eq!(got, (0..10).map(|event| format!("event {event}")).collect::<Vec<_>>());
}

#[test]
fn more_waiting_workers_than_a_thousand_are_told_to_come_again() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let gateway = setup().start();
    let mut crowd: Vec<Client> = (0..1100).map(|_| waiting(&gateway, "wait=30s")).collect();
    let refused = crowd.last_mut().unwrap().answer().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_waiting"));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(gateway.claim("other", 1).is_empty(), "who does not wait is served");
    drop(crowd);
    until("their places are free again", SOON, || {
        gateway.admin_call("POST", "/v1/inbox/other/claim?wait=10ms", &[], b"").status == 200
    });
}

#[test]
fn a_stop_answers_those_who_wait() {
    let mut gateway = setup().start();
    let mut waits = waiting(&gateway, "wait=60s");
    sleep(Duration::from_millis(100));
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0), "{}", gateway.stderr());
    assert!(took < Duration::from_secs(3), "{took:?}");
    let answer = waits.answer().unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "5"));
}

#[test]
fn a_lease_is_extended_and_each_token_of_a_batch_answered() {
    let gateway = setup().start();
    fill(&gateway, "plain", 0..3);
    let call = |verb: &str, events: &[Handed], mut body: Value| {
        body["tokens"] = events.iter().map(|event| event.token.as_str()).collect();
        let path = format!("/v1/inbox/plain/{verb}");
        gateway.admin_call("POST", &path, &[], body.to_string().as_bytes())
    };
    let mut handed = gateway.claim_by("plain", "max=1&lease=1s");
    handed.extend(gateway.claim_by("plain", "max=1&lease=1s"));
    let longer = call("extend", &handed[..1], json!({"lease": "1m"}));
    assert_eq!((longer.status, longer.json()["extended"].as_u64()), (200, Some(1)));
    sleep(Duration::from_millis(1200));
    let third = gateway.claim("plain", 2);
    assert_eq!(third.len(), 2, "the third event, and the second again");
    let partly = call("ack", &handed, json!({}));
    assert_eq!(partly.status, 409);
    assert_eq!(
        partly.json(),
        json!({"acked": 1, "stale": [handed[1].token], "outcomes": ["acked", "stale"]}),
        "the good one counts all the same"
    );
    assert_eq!(call("extend", &handed[..1], json!({})).json()["outcomes"], json!(["stale"]));
    assert_eq!(gateway.ack("plain", &third).json()["outcomes"], json!(["acked", "acked"]));
    assert_eq!(pending(&gateway, "plain"), 0.0);
    assert_eq!(call("extend", &third, json!({"lease": "forever"})).status, 400);
}

/// Takes and acknowledges until everything is done.
fn work(gateway: &Gateway, query: &str) -> Vec<String> {
    let (mut mine, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    while Instant::now() < end && (mine.is_empty() || pending(gateway, "plain") > 0.0) {
        let some = gateway.claim_by("plain", query);
        if !some.is_empty() {
            assert_eq!(gateway.ack("plain", &some).status, 200);
        }
        mine.extend(some.into_iter().map(|event| String::from_utf8(event.body).unwrap()));
    }
    mine
}

#[test]
fn waiting_and_polling_workers_share_without_loss() {
    let gateway = setup().start();
    let all: Vec<String> = scope(|scope| {
        let worker = |query: &'static str| {
            let gateway = &gateway;
            scope.spawn(move || work(gateway, query))
        };
        let workers = [worker("wait=300ms&max=3"), worker("wait=300ms&max=7"), worker("wait=0s&max=1")];
        fill(&gateway, "plain", 0..400);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).chain(work_rest(&gateway)).collect()
    });
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (400, 400));
}

/// What is left where all workers caught up with the sender and went home early.
fn work_rest(gateway: &Gateway) -> Vec<String> {
    if pending(gateway, "plain") == 0.0 { Vec::new() } else { work(gateway, "wait=1s&max=100") }
}

#[test]
fn half_a_request_line_is_nobodys_place() {
    let gateway = setup().start();
    let mut torn = TcpStream::connect(gateway.admin()).unwrap();
    torn.write_all(b"POST /v1/inbox/plain/claim?wait=30s HTTP/1.1\r\nhost: 127").unwrap();
    drop(torn);
    fill(&gateway, "plain", 0..1);
    assert_eq!(gateway.claim("plain", 1).len(), 1);
}
