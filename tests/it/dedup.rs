//! One event, however often and however it is delivered, is one event; and nothing else is taken for it.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::*;

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source("git", "github", "").source("store", "shopify", "")
}

/// The outcome that the sender reads, with its status checked.
fn outcome(gateway: &Gateway, signed: &Signed) -> String {
    let answer = gateway.deliver(signed);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.outcome()
}

#[test]
fn a_hundred_copies_at_once_are_one_event() {
    let gateway = setup().start();
    let body = stripe_event("evt_burst");
    let (address, body) = (gateway.ingress(), &body);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sender = |_| scope.spawn(move || Client::new(address).deliver(&stripe("shop", body)));
        let senders: Vec<_> = (0..100).map(sender).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == "accepted").count(), 1);
    let ids: HashSet<String> = answers.iter().map(Answer::message_id).collect();
    let handed = gateway.drain("shop", 1);
    assert_eq!((handed.len(), ids.len()), (1, 1));
    assert_eq!((&handed[0].message_id, &handed[0].body), (ids.iter().next().unwrap(), body));
    assert_eq!(gateway.metric("hookgate_dedup_total", &[("result", "duplicate")]), 99.0);
}

#[test]
fn a_copy_after_a_restart_is_a_duplicate() {
    let mut gateway = setup().start();
    let signed = stripe("shop", &stripe_event("evt_restart"));
    let first = gateway.deliver(&signed);
    gateway.restart();
    let second = gateway.deliver(&signed);
    assert_eq!((second.outcome().as_str(), second.message_id()), ("duplicate", first.message_id()));
    assert_eq!(gateway.drain("shop", 1).len(), 1);
    gateway.restart();
    assert_eq!(outcome(&gateway, &signed), "duplicate", "acknowledged events stay known too");
    assert_eq!(gateway.claim("shop", 10).len(), 0);
}

#[test]
fn a_copy_after_a_kill_right_behind_the_2xx_is_a_duplicate() {
    let mut gateway = setup().start();
    for round in 0..5 {
        let signed = stripe("shop", &stripe_event(&format!("evt_kill_{round}")));
        assert_eq!(outcome(&gateway, &signed), "accepted");
        gateway.kill();
        gateway.start();
        assert_eq!(outcome(&gateway, &signed), "duplicate", "round {round}");
    }
    let handed = gateway.drain("shop", 5);
    let ids: HashSet<_> = handed.iter().map(|event| event.header("hookgate-event-id")).collect();
    assert_eq!((handed.len(), ids.len()), (5, 5));
}

#[test]
fn the_same_signed_id_with_another_body_is_a_duplicate() {
    let gateway = setup().start();
    let first = stripe_event("evt_pending");
    let text = String::from_utf8(first.clone()).unwrap();
    let retry = text.replace("\"pending_webhooks\": 1", "\"pending_webhooks\": 0");
    assert_ne!(retry, text);
    assert_eq!(outcome(&gateway, &stripe("shop", &first)), "accepted");
    assert_eq!(
        outcome(&gateway, &stripe_at("shop", &secret("shop"), now() - 200, retry.as_bytes())),
        "duplicate"
    );
    assert_eq!(gateway.drain("shop", 1)[0].body, first, "the first copy's bytes are kept");
}

#[test]
fn the_same_body_under_the_same_unsigned_id_is_a_duplicate() {
    let gateway = setup().start();
    let signed = github("git", "d-1", "ping", b"{\"zen\":1}");
    assert_eq!(outcome(&gateway, &signed), "accepted");
    assert_eq!(outcome(&gateway, &signed), "duplicate");
    let signed = shopify("store", "e-1", "orders/edited", b"{\"id\":1}");
    assert_eq!(outcome(&gateway, &signed), "accepted");
    let retry =
        signed.with("x-shopify-webhook-id", "w-2").with("x-shopify-triggered-at", "2026-11-01T00:00:00Z");
    assert_eq!(outcome(&gateway, &retry), "duplicate", "headers beside the id and the topic decide nothing");
}

#[test]
fn the_same_body_under_another_unsigned_id_is_a_twin() {
    let gateway = setup().start();
    let body = b"{\"zen\":2}";
    let first = gateway.deliver(&github("git", "d-1", "ping", body));
    let twin = gateway.deliver(&github("git", "d-2", "ping", body));
    let stripped = gateway.deliver(&github("git", "d-1", "ping", body).without("x-github-delivery"));
    let retyped = gateway.deliver(&github("git", "d-1", "push", body));
    let ids: HashSet<String> = [&first, &twin, &stripped, &retyped].map(Answer::message_id).into();
    assert_eq!(ids.len(), 4);
    assert_eq!(outcome(&gateway, &github("git", "d-2", "ping", body)), "duplicate", "a twin's own copy");
    let handed = gateway.drain("git", 4);
    assert_eq!(handed.len(), 4);
    assert_eq!(handed[0].header("hookgate-twin-of"), "");
    for (event, id) in handed[1..].iter().zip([&twin, &stripped, &retyped]) {
        assert_eq!(event.message_id, id.message_id());
        assert_eq!(event.header("hookgate-twin-of"), first.message_id());
        assert_eq!(event.body, body);
    }
    assert_eq!(gateway.metric("hookgate_dedup_total", &[("result", "twin")]), 3.0);
}

#[test]
fn beyond_eight_twins_are_held_and_still_answered() {
    let mut gateway = setup().start();
    for index in 0..12 {
        let answer = gateway.deliver(&github("git", &format!("d-{index}"), "ping", b"{\"zen\":3}"));
        assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"));
    }
    assert_eq!(gateway.drain("git", 9).len(), 9, "the first and eight twins");
    let held = |gateway: &Gateway| gateway.metric("hookgate_relay_held", &[("source", "git")]);
    assert_eq!((held(&gateway), gateway.metric("hookgate_dedup_total", &[("result", "held")])), (3.0, 3.0));
    gateway.kill();
    gateway.start();
    assert_eq!(held(&gateway), 3.0, "held events are kept over a kill");
    assert_eq!(outcome(&gateway, &github("git", "d-11", "ping", b"{\"zen\":3}")), "duplicate");
    assert_eq!(gateway.claim("git", 10).len(), 0);
}

#[test]
fn twins_are_held_where_the_source_wants_that() {
    let gateway = Setup::new().source("git", "github", "on_twin = \"hold\"").start();
    gateway.deliver(&github("git", "d-1", "ping", b"{}"));
    let answer = gateway.deliver(&github("git", "d-2", "ping", b"{}"));
    assert_eq!(answer.status, 200);
    gateway.deliver(&github("git", "d-3", "ping", b"{\"other\":1}"));
    let handed = gateway.drain("git", 2);
    let ids: Vec<_> = handed.iter().map(|event| event.header("hookgate-event-id")).collect();
    assert_eq!(ids, ["d-1", "d-3"]);
    assert_eq!(gateway.metric("hookgate_relay_held", &[("source", "git")]), 1.0);
}

#[test]
fn a_stolen_id_swallows_nothing() {
    let gateway = setup().start();
    assert_eq!(outcome(&gateway, &github("git", "d-1", "ping", b"{\"attacker\":1}")), "accepted");
    assert_eq!(outcome(&gateway, &github("git", "d-1", "ping", b"{\"victim\":1}")), "accepted");
    let bodies: Vec<_> = gateway.drain("git", 2).into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, [b"{\"attacker\":1}".to_vec(), b"{\"victim\":1}".to_vec()]);
}

#[test]
fn a_forged_delivery_does_not_take_the_id() {
    let gateway = setup().start();
    let signed = stripe("shop", &stripe_event("evt_claimed"));
    for forged in
        [signed.clone().without("stripe-signature"), stripe_at("shop", "wrong", now(), &signed.body)]
    {
        assert_eq!(gateway.deliver(&forged).status, 401);
    }
    assert_eq!(outcome(&gateway, &signed), "accepted");
    assert_eq!(gateway.deliver(&signed.clone().without("stripe-signature")).status, 401, "known or not");
    assert_eq!(gateway.drain("shop", 1).len(), 1);
}

#[test]
fn one_id_at_two_sources_is_two_events() {
    let gateway = setup().source("shop2", "stripe", "").start();
    let body = stripe_event("evt_both");
    let (one, two) = (gateway.deliver(&stripe("shop", &body)), gateway.deliver(&stripe("shop2", &body)));
    assert_eq!((one.outcome().as_str(), two.outcome().as_str()), ("accepted", "accepted"));
    assert_ne!(one.message_id(), two.message_id());
    assert_eq!((gateway.drain("shop", 1).len(), gateway.drain("shop2", 1).len()), (1, 1));
}

#[test]
fn a_source_may_have_its_redeliveries_forwarded() {
    let lines = "on_duplicate = \"forward\"\nduplicate_status = 202";
    let mut gateway = Setup::new().source("shop", "stripe", lines).start();
    let signed = stripe("shop", &stripe_event("evt_again"));
    assert_eq!(gateway.deliver(&signed).status, 200);
    assert_eq!(gateway.drain("shop", 1)[0].header("hookgate-redelivery"), "");
    let again = gateway.deliver(&signed);
    assert_eq!((again.status, again.outcome().as_str()), (202, "duplicate"));
    gateway.kill();
    gateway.start();
    let handed = gateway.drain("shop", 1);
    assert_eq!((handed.len(), &handed[0].message_id), (1, &again.message_id()));
    assert_eq!((handed[0].header("hookgate-redelivery").as_str(), &handed[0].body), ("true", &signed.body));
    assert_eq!(gateway.deliver(&signed).outcome(), "duplicate");
    assert_eq!(gateway.drain("shop", 1).len(), 1);
}

#[test]
fn statuses_of_2xx_are_the_sources_own() {
    let gateway =
        Setup::new().source("shop", "stripe", "success_status = 202\nduplicate_status = 204").start();
    let signed = stripe("shop", &stripe_event("evt_status"));
    assert_eq!(gateway.deliver(&signed).status, 202);
    let again = gateway.deliver(&signed);
    assert_eq!((again.status, again.body.len()), (204, 0));
}

#[test]
fn twins_at_once_and_over_a_kill_are_counted_together() {
    let mut gateway = setup().start();
    let send = |address, from: usize| {
        thread::scope(|scope| {
            for index in from..from + 10 {
                scope.spawn(move || {
                    let signed = github("git", &format!("d-{index}"), "ping", b"{\"zen\":4}");
                    assert_eq!(Client::new(address).deliver(&signed).outcome(), "accepted");
                });
            }
        });
    };
    send(gateway.ingress(), 0);
    gateway.kill();
    gateway.start();
    send(gateway.ingress(), 10);
    let handed = gateway.drain("git", 9);
    assert_eq!(handed.len(), 9, "the first and eight twins");
    let first = &handed[0].message_id;
    assert!(handed[1..].iter().all(|twin| twin.header("hookgate-twin-of") == *first));
    until("eleven are held", Duration::from_secs(5), || {
        gateway.metric("hookgate_relay_held", &[("source", "git")]) == 11.0
    });
}

#[test]
fn after_the_window_a_delivery_is_a_new_event() {
    let gateway = Setup::new().set("dedup", "window = \"1500ms\"").source("plain", "generic", "").start();
    let signed = generic("plain", b"again and again");
    assert_eq!(outcome(&gateway, &signed), "accepted");
    assert_eq!(outcome(&gateway, &signed), "duplicate");
    let begun = Instant::now();
    until("it is a new event", Duration::from_secs(10), || outcome(&gateway, &signed) == "accepted");
    assert!(begun.elapsed() > Duration::from_millis(1000), "{:?}", begun.elapsed());
    let handed = gateway.drain("plain", 2);
    assert_eq!((handed.len(), &handed[0].message_id), (2, &handed[1].message_id), "W2: the same message id");
}
