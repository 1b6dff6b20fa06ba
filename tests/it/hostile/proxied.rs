//! The PROXY protocol: who calls is what a trusted proxy says, and nobody else gets a word in.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::battery::{shown, whole};
use super::wire::{Heard, Wait, Wire, stranger};
use crate::gateway::*;
use crate::services::front::{Front, Kind};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A gateway that takes connections from 127.0.0.1 alone, each with a header.
fn gateway() -> Gateway {
    let ingress = "trusted_proxies = [\"127.0.0.1/32\"]\nproxy_protocol = true\nhead_timeout = \"1s\"";
    Setup::new().set("ingress", ingress).source("plain", "generic", "").start()
}

/// A header for a caller at `from`.
fn header(from: [u8; 4]) -> Vec<u8> {
    let addresses =
        [from.as_slice(), &[127, 0, 0, 1], &4711_u16.to_be_bytes(), &80_u16.to_be_bytes()].concat();
    framed(0x21, 0x11, &addresses)
}

fn framed(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn say(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> Heard {
    let mut wire = Wire::open(from, to).unwrap();
    wire.say(bytes);
    wire.hear(Wait::Answers(1), Duration::from_secs(4))
}

/// Who called, as the log tells of the last request without a valid signature.
fn callers(gateway: &Gateway) -> Vec<String> {
    let log = gateway.log();
    let refused = log.iter().filter(|line| line["source"] == "plain" && line["status"] == 401);
    refused.map(|line| line["address"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_proxy_that_speaks_the_protocol_tells_who_called() {
    let gateway = gateway();
    let front = Front::start(Kind::ProxyProtocol, gateway.ingress());
    for lines in
        ["", "x-forwarded-for: 192.0.2.7\r\n", "x-forwarded-for: 127.0.0.1\r\nforwarded: for=192.0.2.9\r\n"]
    {
        let from = stranger();
        let request = format!(
            "POST /in/plain HTTP/1.1\r\nhost: a\r\n{lines}x-signature: 00\r\ncontent-length: 1\r\n\r\nx"
        );
        assert_eq!(say(from, front.address(), request.as_bytes()).answers[0].status, 401);
        let found = || callers(&gateway).last() == Some(&from.to_string());
        until("the refusal is told", Duration::from_secs(5), found);
    }
    for number in 0..20 {
        let heard = say(stranger(), front.address(), &whole("plain", &format!("through a proxy {number}")));
        assert_eq!(heard.answers[0].status, 200);
    }
    assert_eq!(gateway.drain("plain", 20).len(), 20);
}

#[test]
fn a_header_of_the_protocol_that_is_none_ends_its_connection() {
    let gateway = gateway();
    let (proxy, to) = (IpAddr::from([127, 0, 0, 1]), gateway.ingress());
    let honest = |number: usize| {
        let bytes = [header([192, 0, 2, 1]), whole("plain", &format!("honest {number}"))].concat();
        assert_eq!(say(proxy, to, &bytes).answers[0].status, 200);
    };
    honest(0);
    let request = whole("plain", "behind a wrong header");
    let text = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec();
    let mut turned = header([192, 0, 2, 1]);
    turned[3] ^= 1;
    let headers = [
        ("none", Vec::new()),
        ("version 1", text),
        ("a wrong byte", turned),
        ("version 1 in its number", framed(0x11, 0x11, &[1; 12])),
        ("version 3", framed(0x31, 0x11, &[1; 12])),
        ("an unknown command", framed(0x22, 0x11, &[1; 12])),
        ("UDP", framed(0x21, 0x12, &[1; 12])),
        ("a socket file", framed(0x21, 0x31, &[1; 216])),
        ("no family", framed(0x21, 0x00, &[])),
        ("shorter than its addresses", framed(0x21, 0x11, &[1; 9])),
        ("IPv6, shorter than its addresses", framed(0x21, 0x21, &[1; 33])),
        ("an empty one", framed(0x21, 0x11, &[])),
        ("longer than anybody's", framed(0x21, 0x11, &[1; 40_000])),
        ("an empty line before", [b"\r\n".to_vec(), header([192, 0, 2, 1])].concat()),
    ];
    for (number, (name, header)) in headers.iter().enumerate() {
        let heard = say(proxy, to, &[header.as_slice(), &request].concat());
        assert!(heard.closed && heard.answers.is_empty() && heard.rest.is_empty(), "{name}: {heard:?}");
        honest(number + 1);
    }
    // A second header is no request, and neither is half of one.
    let twice = [header([192, 0, 2, 1]), header([192, 0, 2, 2]), request.clone()].concat();
    let heard = say(proxy, to, &twice);
    assert!(heard.answers.iter().all(|answer| answer.status == 400), "{heard:?}");
    for cut in [1, 12, 15, 16, 20, 27] {
        let begun = Instant::now();
        let mut wire = Wire::open(proxy, to).unwrap();
        wire.say(&header([192, 0, 2, 1])[..cut]);
        let heard = wire.hear(Wait::Closed, Duration::from_secs(8));
        assert!(heard.closed && heard.rest.is_empty(), "after {cut} bytes: {heard:?}");
        assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    }
    let stranger = say(stranger(), to, &[header([192, 0, 2, 1]), request].concat());
    assert!(stranger.answers.is_empty(), "somebody else is believed: {}", shown(&stranger.rest));
    let bodies: Vec<_> =
        gateway.drain("plain", headers.len() + 1).into_iter().map(|event| event.body).collect();
    assert!(bodies.iter().all(|body| body.starts_with(b"honest ")) && bodies.len() == headers.len() + 1);
}
