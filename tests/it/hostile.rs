//! Input made to hurt: it ends nothing, blocks nobody, and leaves no trace that grows (G5).

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::gateway::*;

mod admin;
mod battery;
mod chunks;
mod encrypted;
mod framing;
mod keys;
mod logs;
mod pairs;
mod proxied;
mod routing;
mod signatures;
mod size;
mod slow;
mod smuggling;
mod wire;

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source(
        "plain",
        "generic",
        "settings = { id = \"json:/id\", type = \"json:/type\" }",
    )
}

/// A valid delivery is answered, and soon.
fn serves(gateway: &Gateway, id: &str) {
    let begun = Instant::now();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event(id))).outcome(), "accepted");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn payloads_that_verify_and_are_monstrous_do_no_harm() {
    let gateway = setup().start();
    let keys: String = (0..20_000).map(|index| format!("\"k{index}\":0,")).collect();
    let bodies = [
        "[".repeat(200_000),
        "{\"id\":".repeat(60_000),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{\"id\":1{}}}", "0".repeat(200_000)),
        format!("{{{keys}\"id\":\"last\"}}"),
        format!("{{\"id\":\"{}\"}}", "i".repeat(200_000)),
        "{\"id\":\"a\",\"id\":\"b\",\"type\":\"c\",\"type\":\"d\"}".to_owned(),
        "{\"id\":\"\\u0000\\r\\n\\u001b[31m\",\"type\":\"../../..\"}".to_owned(),
        "{\"id\":\"\\ud800\",\"type\":\"\\udfff\"}".to_owned(),
        "{\"id\":{\"a\":[]},\"type\":1e999}".to_owned(),
        "\u{feff}{\"id\":\"bom\"}".to_owned(),
    ];
    for (index, body) in bodies.iter().enumerate() {
        for signed in [generic("plain", body.as_bytes()), stripe("shop", body.as_bytes())] {
            let answer = gateway.deliver(&signed);
            assert_eq!(answer.status, 200, "body {index} at {}: {}", signed.path, answer.text());
            assert_eq!(gateway.deliver(&signed).outcome(), "duplicate", "body {index} at {}", signed.path);
        }
    }
    serves(&gateway, "evt_alive");
    let handed = gateway.drain("plain", bodies.len());
    assert!(handed.iter().zip(&bodies).all(|(event, body)| event.body == body.as_bytes()));
    let legal =
        |key: &str| key.bytes().all(|byte| b"abcdefghijklmnopqrstuvwxyz0123456789._-".contains(&byte));
    for event in &handed {
        assert!(legal(&event.routing_key) && event.routing_key.len() <= 255, "{}", event.routing_key);
    }
    assert!(!gateway.stderr().contains('\u{1b}'), "a terminal would obey the log");
}

#[test]
fn a_signature_counts_only_where_the_scheme_has_it() {
    let gateway = setup().start();
    let good = stripe("shop", &stripe_event("evt_place"));
    let value = good.header("stripe-signature");
    let bare = good.clone().without("stripe-signature");
    let in_query = Signed { path: format!("/in/shop?stripe-signature={value}"), ..bare.clone() };
    for signed in
        [in_query, bare.clone().with("stripe_signature", &value), bare.with("x-stripe-signature", &value)]
    {
        assert_eq!(gateway.deliver(&signed).code(), "signature_missing", "{:?}", signed.headers);
    }
    let mut client = Client::new(gateway.ingress());
    let head = "POST /in/shop HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\ntrailer: stripe-signature\r\n\r\n";
    client.send(format!("{head}{:x}\r\n", good.body.len()).as_bytes());
    client.send(&good.body);
    client.send(format!("\r\n0\r\nstripe-signature: {value}\r\n\r\n").as_bytes());
    let answer = client.answer();
    assert!(
        answer.is_none_or(|answer| answer.status == 400 || answer.status == 401),
        "a trailer was believed"
    );
    assert_eq!(gateway.deliver(&good).outcome(), "accepted");
}

#[test]
fn paths_and_sources_that_nobody_knows_leave_nothing_behind() {
    let gateway = setup().start();
    let series = || gateway.metrics().lines().count();
    let before = series();
    let mut client = Client::new(gateway.ingress());
    for index in 0..400 {
        let path = format!("/in/{index}/%0d%0a%1b[31m");
        assert_eq!(
            client
                .request(
                    "GET",
                    &path,
                    &[("x-forwarded-for", &format!("10.0.{}.{}", index / 250, index % 250))],
                    b""
                )
                .unwrap()
                .status,
            404
        );
    }
    assert_eq!(series(), before, "metrics grow with what strangers ask for");
    let stderr = gateway.stderr();
    assert!(!stderr.contains('\u{1b}') && stderr.len() < 200_000, "{} bytes of log", stderr.len());
    serves(&gateway, "evt_alive");
}

#[test]
fn what_is_no_http_is_closed_and_nothing_else_happens() {
    let gateway = setup().start();
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    let tls = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".as_slice();
    for bytes in
        [h2, tls, b"\0\0\0\0\r\n\r\n", b"POST\r\n\r\n", b"POST /in/shop HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n"]
    {
        let mut client = Client::new(gateway.ingress());
        client.send(bytes);
        client.shut_write();
        let answer = client.answer();
        assert!(
            answer.as_ref().is_none_or(|answer| (400..=505).contains(&answer.status)),
            "{bytes:?}: {answer:?}"
        );
    }
    let mut client = Client::new(gateway.ingress());
    client
        .send(format!("POST /in/shop HTTP/1.1\r\nhost: g\r\nx: {}\r\n\r\n", "y".repeat(300_000)).as_bytes());
    assert!(client.answer().is_none_or(|answer| (400..500).contains(&answer.status)), "a head of 300 KB");
    serves(&gateway, "evt_alive");
}

#[test]
fn a_slow_head_is_cut_and_an_idle_connection_is_not() {
    let gateway = setup().set("ingress", "head_timeout = \"400ms\"").start();
    let mut idle = Client::new(gateway.ingress());
    idle.deliver(&stripe("shop", &stripe_event("evt_1")));
    let mut slow = Client::new(gateway.ingress());
    slow.send(b"POST /in/shop HTTP/1.1\r\nhost: g\r\nx-slow");
    let begun = Instant::now();
    let answer = slow.answer();
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 408), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    until("the head's time has passed twice", Duration::from_secs(5), || {
        begun.elapsed() > Duration::from_millis(800)
    });
    assert!(idle.is_open());
    assert_eq!(idle.deliver(&stripe("shop", &stripe_event("evt_2"))).outcome(), "accepted");
}

#[test]
fn hundreds_of_stuck_connections_keep_nobody_out() {
    let gateway = setup().set("ingress", "body_timeout = \"20s\"").start();
    let stuck: Vec<TcpStream> = (0..300)
        .map(|index| {
            let mut stream = TcpStream::connect(gateway.ingress()).unwrap();
            let half = b"POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-length: 500000\r\n\r\n{\"half\":";
            stream.write_all(if index % 2 == 0 { half } else { &half[..30] }).unwrap();
            stream
        })
        .collect();
    for index in 0..20 {
        serves(&gateway, &format!("evt_{index}"));
    }
    assert!(gateway.metric("process_resident_memory_bytes", &[]) < 100e6);
    drop(stuck);
}
