//! More than a gateway takes: refused as soon as that is known, and never decoded or kept.

use std::time::Duration;

use super::battery::{Battery, Case, Expected, post, signature};
use super::wire::{Wait, Wire, stranger};
use crate::gateway::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const TOO_LARGE: Expected = Expected::Cut;

/// A signed request with these lines.
fn with(lines: &str) -> Vec<u8> {
    post(&format!("{lines}content-length: 3\r\n"), b"abc", b"abc")
}

fn heads() -> Vec<Case> {
    let value = |length: usize| with(&format!("x-a: {}\r\n", "v".repeat(length)));
    let target = |length: usize| {
        let head =
            format!("POST /in/plain?{} HTTP/1.1\r\nhost: a\r\n{}", "q".repeat(length), signature(b"abc"));
        format!("{head}content-length: 3\r\n\r\nabc").into_bytes()
    };
    let lines =
        |count: usize| with(&(0..count).map(|number| format!("x-{number}: v\r\n")).collect::<String>());
    vec![
        Case::new("a value of 16 KiB", value(16 * KIB), Expected::Accepted),
        Case::new("a target of 8 KiB", target(8 * KIB), Expected::Accepted),
        Case::new("60 lines", lines(60), Expected::Accepted),
        Case::new("a value of 64 KiB", value(64 * KIB), TOO_LARGE),
        Case::new("a value of 1 MiB", value(MIB), TOO_LARGE),
        Case::new("1000 lines", lines(1000), TOO_LARGE),
        Case::new("100000 lines", lines(100_000), TOO_LARGE),
        Case::new("1000 lines of one name", with(&"x-a: v\r\n".repeat(1000)), TOO_LARGE),
        Case::new("a name of 70 KiB", with(&format!("{}: v\r\n", "n".repeat(70 * KIB))), TOO_LARGE),
        Case::new("a target of 100 KiB", target(100 * KIB), TOO_LARGE),
        Case::new("a method of 64 KiB", format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(64 * KIB)), TOO_LARGE),
        Case::new("a line without an end", "M".repeat(4 * MIB), TOO_LARGE),
        Case::new("a version without an end", format!("GET / HTTP/1.{}", "1".repeat(MIB)), TOO_LARGE),
        Case::new(
            "a host of 64 KiB",
            format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "h".repeat(64 * KIB)),
            TOO_LARGE,
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let large = vec![b'x'; 30 * MIB];
    let length = format!("content-length: {}\r\n", large.len());
    let announced = |bytes: &str| post(&format!("content-length: {bytes}\r\n"), b"", b"");
    let stream = [format!("{MIB:x}\r\n").as_bytes(), &vec![b'y'; MIB], b"\r\n"].concat().repeat(32);
    let head = "POST /in/plain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let unknown = "POST /in/nobody HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let refused = Expected::Refused(&[413]);
    vec![
        Case::new("100 MiB announced, none sent", announced("104857600"), refused),
        Case::new("a terabyte announced", announced("1099511627776"), refused),
        Case::new("a byte more than the limit", announced("524289"), refused),
        Case::new("30 MiB, signed", post(&length, &large, &large), TOO_LARGE),
        Case::new("32 MiB in chunks, unsigned", [head.as_bytes(), &stream].concat(), TOO_LARGE),
        Case::new("32 MiB in chunks to nobody", [unknown.as_bytes(), &stream].concat(), TOO_LARGE),
    ]
}

/// Bits as deflate packs them (RFC 1951, 3.1.1).
struct Bits(Vec<u8>, u32);

impl Bits {
    fn put(&mut self, bit: bool) {
        if self.1.is_multiple_of(8) {
            self.0.push(0);
        }
        let last = self.0.last_mut().expect("there is a byte for it");
        *last |= u8::from(bit) << (self.1 % 8);
        self.1 += 1;
    }

    /// A Huffman code, its first bit first.
    fn code(&mut self, code: &str) {
        code.bytes().for_each(|bit| self.put(bit == b'1'));
    }
}

/// A gzip member of zeros: a literal, then copies of 258 bytes, thirteen bits each.
fn bomb(copies: u32) -> Vec<u8> {
    let mut bits = Bits(b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec(), 0);
    // The last block, with fixed codes; a zero.
    ["1", "10", "00110000"].iter().for_each(|code| bits.code(code));
    for _ in 0..copies {
        bits.code("11000101");
        bits.code("00000");
    }
    bits.code("0000000");
    // Checksum and length, which nobody gets to see.
    [bits.0, vec![0; 8]].concat()
}

fn encodings() -> Vec<Case> {
    let bomb = bomb(160_000);
    let signed = |lines: &str| {
        let lines = format!("{lines}content-length: {}\r\n", bomb.len());
        post(&lines, &bomb, &bomb)
    };
    let encoded = Expected::Answered(&[415]);
    let codings = [
        "gzip",
        "x-gzip",
        "GZIP",
        "deflate",
        "br",
        "zstd",
        "compress",
        "gzip, gzip",
        "identity, gzip",
        "gzip;q=1",
    ];
    let mut all: Vec<Case> = codings
        .iter()
        .map(|coding| {
            Case::new(
                format!("content-encoding: {coding}"),
                signed(&format!("content-encoding: {coding}\r\n")),
                encoded,
            )
        })
        .collect();
    let twice = "content-encoding: identity\r\ncontent-encoding: gzip\r\n";
    all.push(Case::new("content-encoding in two lines", signed(twice), encoded));
    let coded = "transfer-encoding: gzip, chunked\r\n";
    all.push(Case::new(
        "transfer-encoding: gzip, chunked",
        post(coded, b"0\r\n\r\n", b""),
        Expected::Refused(&[400]),
    ));
    // Bytes like others: kept as they are.
    all.push(Case::new(
        "a bomb that nothing calls one",
        signed("content-type: application/gzip\r\n"),
        Expected::Accepted,
    ));
    all
}

#[test]
fn what_is_too_large_is_refused_before_it_costs_anything() {
    let battery = Battery::start();
    battery.run(&heads());
    battery.run(&bodies());
    battery.run(&encodings());
    battery.end(&[b"abc", &bomb(160_000)]);
}

/// Whatever the sizes of head and body, and of those before on the connection: each request is answered.
#[test]
fn on_one_connection_no_size_after_another_leaves_a_request_unanswered() {
    const HEADS: [usize; 10] = [0, 3_500, 8_000, 12_000, 16_000, 17_000, 20_000, 24_000, 28_000, 31 * KIB];
    const BODIES: [usize; 8] = [0, 2_000, 8 * KIB, 16 * KIB, 20_000, 60_000, 200_000, 400_000];
    let gateway = Setup::new().source("plain", "generic", "").start();
    let all: Vec<(usize, usize)> = HEADS.iter().flat_map(|head| BODIES.map(|body| (*head, body))).collect();
    let (mut client, mut told) = (Client::new(gateway.ingress()).within(Duration::from_secs(20)), 0);
    // Each twice in a row, and each behind another.
    for step in [1, 7, 33] {
        for place in 0..all.len() {
            let (head, body) = all[place * step % all.len()];
            for _ in 0..2 {
                told += 1;
                let text = format!("{told} {}", "b".repeat(body));
                let padding = "h".repeat(head);
                let answer =
                    client.try_deliver(&generic("plain", text.as_bytes()).with("x-padding", &padding));
                let status = answer.map(|answer| answer.status);
                assert_eq!(status, Some(200), "request {told}, a head of {head} bytes and a body of {body}");
            }
        }
    }
}

/// Who fills the room for what is on its way in crowds out requests of its own, and nobody else's.
#[test]
fn a_flood_of_long_heads_and_slow_bodies_gives_way_to_others() {
    let battery = Battery::of(Setup::new().set("ingress", "bodies_in_flight_max = \"4MiB\""));
    let (to, attacker) = (battery.gateway.ingress(), stranger());
    let body = vec![b'p'; 100_000];
    let whole = post(&format!("content-length: {}\r\n", body.len()), &body, &body);
    let mut honest = Wire::open(stranger(), to).unwrap();
    assert!(honest.say(&whole[..60_000]), "the first half of an upload");
    let padding: String = (0..80).map(|line| format!("x-{line}: {}\r\n", "h".repeat(370))).collect();
    let head = format!("POST /in/plain HTTP/1.1\r\nhost: a\r\nx-signature: 00\r\n{padding}");
    let slow = [format!("{head}content-length: 400000\r\n\r\n").as_bytes(), &[b'b'; 20_000]].concat();
    // Heads without an end, and heads with a body without one.
    let crowd: Vec<Wire> = (0..500)
        .filter_map(|number| {
            let mut wire = Wire::open(attacker, to)?;
            wire.say(if number % 2 == 0 { head.as_bytes() } else { &slow });
            Some(wire)
        })
        .collect();
    until("some had to go", Duration::from_secs(8), || {
        battery.gateway.metric("hookgate_rejected_total", &[("reason", "overloaded")]) > 100.0
    });
    assert!(honest.say(&whole[60_000..]), "the second half");
    let heard = honest.hear(Wait::Answered, Duration::from_secs(8));
    assert_eq!(heard.answers.first().map(|answer| answer.status), Some(200), "{heard:?}");
    drop(crowd);
    battery.end(&[&body]);
}
