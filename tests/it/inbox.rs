//! Workers over HTTP: a claim leases, an ack ends, everything else comes back, marked where it may have been done.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::gateway::*;

const SOON: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Setup::new().source("plain", "generic", "").source("other", "generic", "")
}

fn fill(gateway: &Gateway, count: usize) {
    let mut client = Client::new(gateway.ingress());
    for index in 0..count {
        assert_eq!(client.deliver(&generic("plain", format!("event {index}").as_bytes())).status, 200);
    }
    let full = || gateway.metric("hookgate_relay_pending", &[("source", "plain")]) >= count as f64;
    until("all events are on offer", SOON, full);
}

#[test]
fn events_come_in_order_with_what_workers_need() {
    let gateway = setup().source("shop", "stripe", "").start();
    fill(&gateway, 3);
    let handed = gateway.claim("plain", 2);
    let bodies: Vec<_> = handed.iter().map(|event| event.body.clone()).collect();
    assert_eq!(bodies, [b"event 0".to_vec(), b"event 1".to_vec()]);
    assert!(handed.iter().all(|event| event.attempt == 1 && !event.possible_duplicate()));
    let body = stripe_event("evt_1");
    let before = now();
    let answer = gateway.deliver(&stripe("shop", &body).with("user-agent", "Stripe/1.0"));
    let event = gateway.claim_within("shop", SOON).remove(0);
    assert_eq!(event.message_id, answer.message_id());
    assert!(event.message_id.len() == 64 && event.message_id.bytes().all(|b| b.is_ascii_hexdigit()));
    let texts =
        ["routing_key", "type", "app_id", "content_type"].map(|key| event.json[key].as_str().unwrap());
    assert_eq!(texts, ["shop.charge.captured", "charge.captured", "hookgate", "application/json"]);
    let timestamp = event.json["timestamp"].as_i64().unwrap();
    assert!((before..=now()).contains(&timestamp));
    for (name, value) in [
        ("hookgate-source", "shop"),
        ("hookgate-provider", "stripe"),
        ("hookgate-event-id", "evt_1"),
        ("hookgate-event-type", "charge.captured"),
        ("hookgate-secret", "live"),
        ("http-user-agent", "Stripe/1.0"),
    ] {
        assert_eq!(event.header(name), value, "{name}");
    }
    assert_ne!(event.header("http-stripe-signature"), "");
    let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&body).into();
    assert_eq!(event.header("hookgate-digest"), hex::encode(digest));
    assert!(
        event.header("hookgate-sequence").parse::<u64>().unwrap()
            > handed[1].header("hookgate-sequence").parse().unwrap()
    );
}

#[test]
fn an_acknowledged_event_is_done_even_after_a_kill() {
    let mut gateway = setup().start();
    fill(&gateway, 10);
    let handed = gateway.claim("plain", 10);
    let answer = gateway.ack("plain", &handed[..5]);
    gateway.kill();
    assert_eq!((answer.status, answer.json()["acked"].as_u64()), (200, Some(5)));
    gateway.start();
    let again = gateway.drain("plain", 5);
    let bodies: Vec<_> = again.iter().map(|event| event.body.clone()).collect();
    assert_eq!(bodies, (5..10).map(|index| format!("event {index}").into_bytes()).collect::<Vec<_>>());
    assert!(again.iter().all(Handed::possible_duplicate), "a worker had them before the kill");
}

#[test]
fn after_a_kill_only_what_may_have_been_handed_out_is_marked() {
    let mut gateway = setup().start();
    fill(&gateway, 2);
    assert_eq!(gateway.claim("plain", 1).len(), 1);
    gateway.kill();
    gateway.start();
    // What comes in after the start was never handed out.
    assert_eq!(gateway.deliver(&generic("plain", b"after")).status, 200);
    let handed = gateway.drain("plain", 3);
    assert_eq!((handed.len(), handed[0].possible_duplicate()), (3, true));
    assert_eq!((handed[0].body.as_slice(), handed[2].body.as_slice()), (&b"event 0"[..], &b"after"[..]));
    assert!(!handed[2].possible_duplicate(), "the watermark runs ahead of what there was to hand out");
}

#[test]
fn a_lease_that_runs_out_brings_the_event_back_marked() {
    let gateway = setup().start();
    fill(&gateway, 1);
    let late = gateway.claim_by("plain", "max=1&lease=1s");
    assert_eq!(gateway.claim("plain", 1).len(), 0, "nobody else gets it meanwhile");
    let again = gateway.claim_within("plain", SOON);
    assert_eq!((again.len(), again[0].attempt, again[0].possible_duplicate()), (1, 2, true));
    assert_eq!(again[0].message_id, late[0].message_id);
    let answer = gateway.ack("plain", &late);
    assert_eq!((answer.status, answer.json()["stale"][0].as_str()), (409, Some(late[0].token.as_str())));
    assert_eq!(gateway.ack("plain", &again).status, 200);
    assert_eq!(gateway.ack("plain", &again).status, 409, "an answer counts once");
    assert_eq!(gateway.metric("hookgate_relay_pending", &[("source", "plain")]), 0.0);
}

#[test]
fn an_event_given_back_is_offered_again_after_its_delay() {
    let gateway = setup().start();
    fill(&gateway, 2);
    let handed = gateway.claim("plain", 1);
    assert_eq!(gateway.nack("plain", &handed, "0s").status, 200);
    let again = gateway.claim("plain", 1);
    assert_eq!((again[0].body.as_slice(), again[0].attempt), (b"event 0".as_slice(), 2));
    assert!(!again[0].possible_duplicate(), "the worker said that it did not do it");
    assert_eq!(gateway.nack("plain", &again, "1s").status, 200);
    assert_eq!(gateway.claim("plain", 1)[0].body, b"event 1", "a delayed one stands in nobody's way");
    let third = gateway.claim_within("plain", SOON);
    assert_eq!((third[0].body.as_slice(), third[0].attempt), (b"event 0".as_slice(), 3));
}

#[test]
fn an_event_that_no_worker_can_do_becomes_poison() {
    let mut gateway = setup().set("sink", "max_attempts = 3").start();
    fill(&gateway, 2);
    for attempt in 1..=3 {
        let handed = gateway.claim("plain", 1);
        assert_eq!((handed[0].body.as_slice(), handed[0].attempt), (b"event 0".as_slice(), attempt));
        assert_eq!(gateway.nack("plain", &handed, "0s").status, 200);
    }
    let poison = |gateway: &Gateway| gateway.metric("hookgate_relay_poison", &[("source", "plain")]);
    until("it is durably poison", SOON, || poison(&gateway) == 1.0);
    assert_eq!(gateway.drain("plain", 1)[0].body, b"event 1", "the next one goes on");
    assert!(gateway.log().iter().any(|line| line["level"] == "ERROR" && line["source"] == "plain"));
    gateway.restart();
    assert_eq!(
        (poison(&gateway), gateway.claim("plain", 10).len()),
        (1.0, 0),
        "poison is kept and not offered"
    );
}

#[test]
fn workers_side_by_side_get_disjoint_events() {
    let gateway = setup().start();
    fill(&gateway, 300);
    let gateway = &gateway;
    let work = || {
        let mut mine = Vec::new();
        loop {
            let some = gateway.claim("plain", 7);
            if some.is_empty() {
                return mine;
            }
            assert_eq!(gateway.ack("plain", &some).status, 200);
            mine.extend(some);
        }
    };
    let shares: Vec<Vec<Handed>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let all: Vec<&Handed> = shares.iter().flatten().collect();
    let ids: BTreeSet<&str> = all.iter().map(|event| event.message_id.as_str()).collect();
    assert_eq!((all.len(), ids.len()), (300, 300));
    assert!(all.iter().all(|event| event.attempt == 1));
    assert_eq!(gateway.metric("hookgate_relay_pending", &[("source", "plain")]), 0.0);
}

#[test]
fn calls_that_make_no_sense_change_nothing() {
    let gateway = setup().start();
    fill(&gateway, 1);
    let handed = gateway.claim("plain", 1);
    let call = |path: &str, body: &str| {
        let answer = gateway.admin_call("POST", path, &[], body.as_bytes());
        (answer.status, answer.code())
    };
    let malformed = (400, "malformed".to_owned());
    assert_eq!(call("/v1/inbox/plain/claim?max=x", ""), malformed);
    assert_eq!(call("/v1/inbox/plain/claim?lease=forever", ""), malformed);
    assert_eq!(call("/v1/inbox/plain/claim?leese=1s", ""), malformed);
    assert_eq!(call("/v1/inbox/nobody/claim", ""), (404, "unknown_source".to_owned()));
    for body in ["", "{", "[]", "{\"tokens\":[\"x\"]}", "{\"tokens\":[1]}", "{\"token\":\"1-2\"}"] {
        assert_eq!(call("/v1/inbox/plain/ack", body), malformed, "{body}");
        assert_eq!(call("/v1/inbox/plain/nack", body), malformed, "{body}");
    }
    let misspelt = json!({ "tokens": [handed[0].token], "dealy": "5s" }).to_string();
    let told = gateway.admin_call("POST", "/v1/inbox/plain/nack", &[], misspelt.as_bytes());
    assert!(told.status == 400 && told.text().contains("`dealy`"), "{}", told.text());
    let got = gateway.admin_call("GET", "/v1/inbox/plain/claim", &[], b"");
    assert_eq!((got.status, got.code().as_str(), got.header("allow")), (405, "method_not_allowed", "POST"));
    let guess = json!({ "tokens": ["1-0000000000000000"] }).to_string();
    assert_eq!(call("/v1/inbox/plain/ack", &guess).0, 409);
    let elsewhere = gateway.ack("other", &handed);
    assert_eq!(elsewhere.status, 409, "a token counts at its own source only: {}", elsewhere.text());
    assert_eq!(gateway.ack("plain", &handed).status, 200);
}

#[test]
fn a_backlog_longer_than_memory_comes_whole_and_in_order() {
    let mut gateway = setup().start();
    let address = gateway.ingress();
    thread::scope(|scope| {
        for sender in 0..8 {
            scope.spawn(move || {
                let mut client = Client::new(address);
                for index in 0..400 {
                    let body = format!("{sender}/{index}");
                    assert_eq!(client.deliver(&generic("plain", body.as_bytes())).status, 200);
                }
            });
        }
    });
    let rising = |handed: &[Handed]| {
        let numbers: Vec<u64> =
            handed.iter().map(|event| event.header("hookgate-sequence").parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "sequences do not rise");
    };
    let first = gateway.claim("plain", 1000);
    assert_eq!(gateway.ack("plain", &first).status, 200);
    rising(&first);
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.metric("hookgate_relay_pending", &[("source", "plain")]), 2200.0);
    let rest = gateway.drain("plain", 2200);
    rising(&rest);
    let bodies: BTreeSet<Vec<u8>> = first.iter().chain(&rest).map(|event| event.body.clone()).collect();
    assert_eq!((first.len() + rest.len(), bodies.len()), (3200, 3200));
}
