//! The schema's verdict: it routes or refuses as the source says, and never costs an event silently.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::gateway::*;

#[test]
fn an_invalid_payload_is_kept_and_routed_with_its_reason() {
    let gateway = Setup::new().source("shop", "stripe", "").start();
    let bodies: [&[u8]; 4] = [
        b"{\"id\":\"evt_1\",\"type\":\"charge.captured\"}",
        b"{\"id\":\"evt_2\",\"object\":\"event\",\"type\":\"charge.captured\",\"created\":\"x\",\"livemode\":0,\"data\":{}}",
        b"not JSON at all",
        b"\xff\xfe",
    ];
    for body in bodies {
        let answer = gateway.deliver(&stripe("shop", body));
        assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"));
    }
    gateway.deliver(&stripe("shop", &stripe_event("evt_3")));
    let handed = gateway.drain("shop", 5);
    for (event, body) in handed.iter().zip(bodies) {
        assert_eq!((event.routing_key.as_str(), event.body.as_slice()), ("invalid.shop", body));
        assert_ne!(event.header("hookgate-invalid"), "");
        assert!(!event.header("hookgate-invalid").contains("evt_"), "a reason holds none of the payload");
    }
    assert_eq!(handed[4].routing_key, "shop.charge.captured");
    assert_eq!(handed[4].header("hookgate-invalid"), "");
}

#[test]
fn an_invalid_payload_is_refused_where_the_source_says_so() {
    let gateway = Setup::new().source("shop", "stripe", "on_invalid = \"reject\"").start();
    for body in [b"{\"id\":\"evt_1\"}".as_slice(), b"{", b""] {
        let answer = gateway.deliver(&stripe("shop", body));
        assert_eq!((answer.status, answer.code().as_str()), (422, "schema_invalid"));
    }
    assert_eq!(
        gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(),
        "accepted",
        "nothing was claimed"
    );
    assert_eq!(
        gateway.deliver(&stripe("shop", b"{\"id\":\"evt_1\"}")).outcome(),
        "duplicate",
        "known is known"
    );
    assert_eq!(gateway.drain("shop", 1).len(), 1);
}

#[test]
fn the_schema_stage_can_be_switched_off() {
    let gateway = Setup::new().source("shop", "stripe", "schema = false\non_invalid = \"reject\"").start();
    assert_eq!(gateway.deliver(&stripe("shop", b"not JSON")).outcome(), "accepted");
    assert_eq!(gateway.drain("shop", 1)[0].header("hookgate-invalid"), "");
}

#[test]
fn an_event_type_that_is_not_wanted_is_answered_and_not_kept() {
    let gateway =
        Setup::new().source("shop", "stripe", "events = [\"charge.captured\"]\nsuccess_status = 202").start();
    let unwanted = stripe("shop", &stripe_event_of("evt_1", "charge.failed"));
    for _ in 0..2 {
        let answer = gateway.deliver(&unwanted);
        assert_eq!((answer.status, answer.outcome().as_str()), (202, "filtered"));
    }
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_2"))).outcome(), "accepted");
    assert_eq!(gateway.drain("shop", 1).len(), 1);
    assert_eq!(
        gateway.metric("hookgate_requests_total", &[("source", "shop"), ("outcome", "filtered")]),
        2.0
    );
    until("one key is known", Duration::from_secs(5), || gateway.metric("hookgate_dedup_keys", &[]) == 1.0);
}

#[test]
fn an_operators_own_schema_comes_over_the_built_in_ones() {
    let mut gateway = Setup::new()
        .source("shop", "stripe", "")
        .source("plain", "generic", "settings = { type = \"json:/kind\" }")
        .set("schemas", "dir = \"schemas.d\"")
        .prepare();
    fs::create_dir_all(gateway.path("schemas.d/stripe")).unwrap();
    fs::create_dir_all(gateway.path("schemas.d/generic/order")).unwrap();
    fs::write(gateway.path("schemas.d/stripe/charge.captured.json"), r#"{"required": ["never"]}"#).unwrap();
    fs::write(
        gateway.path("schemas.d/generic/order/made.json"),
        r#"{"required": ["id"], "properties": {"id": {"pattern": "^(a+)+$"}}}"#,
    )
    .unwrap();
    gateway.start();
    gateway.deliver(&stripe("shop", &stripe_event("evt_1")));
    gateway.deliver(&stripe("shop", &stripe_event_of("evt_2", "charge.failed")));
    let keys: Vec<_> = gateway.drain("shop", 2).into_iter().map(|event| event.routing_key).collect();
    assert_eq!(keys, ["invalid.shop", "shop.charge.failed"]);
    let hostile = format!("{{\"kind\":\"order/made\",\"id\":\"{}!\"}}", "a".repeat(50_000));
    let begun = std::time::Instant::now();
    gateway.deliver(&generic("plain", hostile.as_bytes()));
    assert!(begun.elapsed() < Duration::from_secs(2), "a pattern is matched in linear time");
    gateway.deliver(&generic("plain", b"{\"kind\":\"order/made\",\"id\":\"aaa\"}"));
    let keys: Vec<_> = gateway.drain("plain", 2).into_iter().map(|event| event.routing_key).collect();
    assert_eq!(keys, ["invalid.plain", "plain.order_made"]);
}

#[test]
fn a_schema_that_would_fetch_something_stops_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let gateway = Setup::new().source("shop", "stripe", "").set("schemas", "dir = \"schemas.d\"").prepare();
    fs::create_dir_all(gateway.path("schemas.d/stripe")).unwrap();
    let remote = format!("http://{}/x.json", listener.local_addr().unwrap());
    let local = format!("file://{}", gateway.path("secret.json").display());
    fs::write(gateway.path("secret.json"), "{}").unwrap();
    for (name, reference) in [("a", remote.as_str()), ("b", &local), ("c", "other.json")] {
        let text = format!(r#"{{"$ref": "{reference}"}}"#);
        fs::write(gateway.path(&format!("schemas.d/stripe/{name}.json")), text).unwrap();
    }
    fs::write(gateway.path("schemas.d/stripe/d.json"), "{").unwrap();
    for command in ["check", "serve"] {
        let output = gateway.run(&[command]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command}: {told}");
        for file in ["a.json", "b.json", "c.json", "d.json"] {
            assert!(told.contains(&format!("stripe/{file}")), "{command} does not name {file}: {told}");
        }
    }
    assert!(listener.accept().is_err(), "something was fetched");
}
