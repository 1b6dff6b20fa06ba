//! `sink.kind = "stdout"`: a line of JSON per event, each event once.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;

fn lines(gateway: &Gateway) -> Vec<Value> {
    let text = fs::read_to_string(gateway.path("stdout")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn events_are_written_as_lines_once_and_in_order() {
    let mut gateway = Setup::new()
        .set("sink", "kind = \"stdout\"")
        .source("plain", "generic", "")
        .source("shop", "stripe", "")
        .start();
    let bodies: [&[u8]; 3] = [b"line one\nline two\r\n", b"\xff\x00", b"{}"];
    let ids: Vec<String> =
        bodies.iter().map(|body| gateway.deliver(&generic("plain", body)).message_id()).collect();
    gateway.deliver(&generic("plain", bodies[0]));
    until("three lines", Duration::from_secs(5), || lines(&gateway).len() >= 3);
    let pending = |gateway: &Gateway| gateway.metric("hookgate_relay_pending", &[("source", "plain")]);
    until("all are marked", Duration::from_secs(5), || pending(&gateway) == 0.0);
    let written = lines(&gateway);
    let of = |key: &str| {
        written.iter().map(|line| line[key].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("message_id"), ids);
    assert_eq!(of("body"), ["line one\nline two\r\n", "", "{}"]);
    assert_eq!(base64_decoded(&of("body_base64")[1]), bodies[1]);
    assert_eq!(
        gateway.metric("hookgate_published_total", &[("sink", "stdout"), ("outcome", "confirmed")]),
        3.0
    );
    gateway.restart();
    gateway.deliver(&stripe("shop", &stripe_event("evt_1")));
    until("a fourth line", Duration::from_secs(5), || lines(&gateway).len() >= 4);
    assert_eq!(gateway.terminate().0, Some(0));
    let written = lines(&gateway);
    assert_eq!((written.len(), written[3]["routing_key"].as_str()), (4, Some("shop.charge.captured")));
    assert!(written.iter().all(|line| line["headers"]["hookgate-possible-duplicate"].is_null()));
}
