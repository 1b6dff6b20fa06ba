//! What strangers write is read by operators: no byte of it moves a cursor, ends a line or turns it round.

use std::net::SocketAddr;
use std::time::Duration;

use super::battery::{Battery, shown};
use super::wire::{Wait, Wire, stranger};
use crate::gateway::*;

/// Raw and written in the ways that somebody might undo.
const POISON: &[&str] = &[
    "%1b[31mred",
    "%0d%0a{\"level\":\"ERROR\"}",
    "\\u001b[2J",
    "\\r\\n",
    "%e2%80%aeesrever",
    "%00",
    "${jndi:ldap://a/b}",
    "<script>alert(1)</script>",
    "\"},{\"level\":\"ERROR\",\"x\":\"",
    "%n%s%x",
    "{{7*7}}",
    "\u{202e}esrever",
    "\u{2066}isolate",
    "\u{9b}31mC1",
    "\u{85}next line",
    "\u{2028}separator",
];

fn requests() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let names = [
        "user-agent",
        "x-forwarded-for",
        "x-request-id",
        "content-type",
        "host",
        "stripe-signature",
        "x-signature",
        "traceparent",
        "referer",
        "authorization",
        "content-encoding",
        "expect",
        "x-github-event",
        "x-github-delivery",
    ];
    for poison in POISON {
        for path in ["/in/plain", "/in/git", "/in/shop", "/nobody"] {
            let lines: String = names
                .iter()
                .filter(|name| **name != "host")
                .map(|name| format!("{name}: {poison}\r\n"))
                .collect();
            all.push(
                format!("POST {path}?{poison} HTTP/1.1\r\nhost: a\r\n{lines}content-length: 2\r\n\r\n{{}}")
                    .into_bytes(),
            );
        }
        for name in names {
            all.push(
                format!(
                    "POST /in/plain HTTP/1.1\r\nhost: a\r\n{name}: {poison}\r\ncontent-length: 2\r\n\r\n{{}}"
                )
                .into_bytes(),
            );
        }
        all.push(format!("POST /in/{poison} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes());
        all.push(format!("{poison} / HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes());
        all.push(format!("GET / {poison}\r\nhost: a\r\n\r\n").into_bytes());
        all.push(format!("GET / HTTP/1.1\r\nhost: a\r\n{poison}: x\r\n\r\n").into_bytes());
    }
    let raw: [&[u8]; 6] =
        [b"\x1b[31m", b"\x9b31m", b"\x07\x07", b"\xe2\x80\xae", b"\xff\xfe\xfd", b"\r\x0b\x0c"];
    for bytes in raw {
        let parts: [&[u8]; 5] = [
            b"POST /in/plain HTTP/1.1\r\nhost: a\r\nx-signature: ",
            bytes,
            b"\r\nuser-agent: ",
            bytes,
            b"\r\ncontent-length: 0\r\n\r\n",
        ];
        all.push(parts.concat());
        all.push([b"GET /".as_slice(), bytes, b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat());
    }
    let long = "l".repeat(20_000);
    all.push(format!("POST /in/plain?{long} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").into_bytes());
    for name in ["x-signature", "user-agent", "x-forwarded-for", "host", "content-encoding", "content-type"] {
        all.push(
            format!("POST /in/plain HTTP/1.1\r\nhost: a\r\n{name}: {long}\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        );
    }
    all
}

/// Signed, so that what is in them is told as an event's: a body, a type and an id that are poison.
fn signed_requests() -> Vec<Signed> {
    let bodies = POISON.iter().map(|poison| poison.as_bytes().to_vec());
    let raw = [b"\x1b[31m \x9b \xe2\x80\xae \r\n".to_vec()];
    bodies
        .chain(raw)
        .enumerate()
        .map(|(index, body)| github("git", &format!("\u{202e}{index}%1b[0m"), "push\u{9b}", &body))
        .collect()
}

/// Sends it, whatever becomes of it but an acceptance.
fn write(to: SocketAddr, bytes: &[u8]) {
    let mut wire = Wire::open(stranger(), to).unwrap();
    wire.say(bytes);
    let heard = wire.hear(Wait::Answered, Duration::from_secs(5));
    let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| (400..500).contains(status)), "{statuses:?}: {}", shown(bytes));
    // Slower, and the log tells of more of them.
    std::thread::sleep(Duration::from_millis(20));
}

fn write_to_a_log(format: &str) {
    let ingress = "trusted_proxies = [\"127.0.0.0/8\"]\nhead_timeout = \"2s\"";
    let setup = Setup::new().set("log", &format!("format = \"{format}\"")).set("ingress", ingress);
    let battery = Battery::of(setup);
    let (requests, to) = (requests(), battery.gateway.ingress());
    std::thread::scope(|scope| {
        for part in requests.chunks(requests.len().div_ceil(6)) {
            scope.spawn(move || part.iter().for_each(|bytes| write(to, bytes)));
        }
    });
    for signed in signed_requests() {
        let status = battery.gateway.deliver(&signed).status;
        assert!(status == 200 || status == 400, "{status}");
    }
    let lines = battery.gateway.stderr().lines().count();
    assert!(lines > 20, "{lines} lines tell nothing");
    battery.log_is_clean();
    if format == "json" {
        assert_eq!(battery.gateway.log().len(), lines, "each line is an object");
    }
    let handed = battery.gateway.drain("git", 1);
    assert!(handed.iter().all(|event| event.routing_key.is_ascii()));
    battery.end(&[]);
}

#[test]
fn nothing_that_is_sent_can_write_to_the_log_as_it_likes() {
    std::thread::scope(|scope| {
        for format in ["json", "text"] {
            scope.spawn(move || write_to_a_log(format));
        }
    });
}
