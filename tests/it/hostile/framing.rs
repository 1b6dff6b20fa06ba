//! Heads that two implementations could read differently: refused, and the connection with them.
//!
//! Each request is signed for every body that somebody could read out of it, so that whoever reads it so accepts it.

use super::battery::{Battery, Case, Expected, post, signature, smuggled};

const MALFORMED: Expected = Expected::Refused(&[400]);
const BODY: &[u8] = b"{\"a\":\"framed\"}";
const ZEROS: &[u8] = b"a length of 0017\n";
const BLANKS: &[u8] = b"length of \\t16\\t";
const OLD: &[u8] = b"sent as in 1996.";
/// What may be accepted of them.
pub const ACCEPTED: &[&[u8]] = &[BODY, ZEROS, BLANKS, OLD];
/// [`BODY`] as a chunk.
const CHUNKED: &[u8] = b"e\r\n{\"a\":\"framed\"}\r\n0\r\n\r\n";

/// Cases of one table: each line of headers with each wire body, signed for each reading.
fn cases(table: &[(&str, &str)], wire: &[u8], readings: &[&[u8]], expected: Expected) -> Vec<Case> {
    let case = |(name, lines): &(&str, &str), reading: &[u8]| {
        let name = format!("{name}, signed for {} bytes", reading.len());
        Case::new(name, post(lines, wire, reading), expected)
    };
    table.iter().flat_map(|line| readings.iter().map(move |reading| case(line, reading))).collect()
}

fn both_framings() -> Vec<Case> {
    let table = [
        ("length, then chunked", "content-length: 24\r\ntransfer-encoding: chunked\r\n"),
        ("chunked, then length", "transfer-encoding: chunked\r\ncontent-length: 24\r\n"),
        ("chunked and length 0", "transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
        (
            "chunked and length twice",
            "content-length: 3\r\ntransfer-encoding: chunked\r\ncontent-length: 24\r\n",
        ),
        ("identity and length", "transfer-encoding: identity\r\ncontent-length: 24\r\n"),
        ("unknown coding and length", "transfer-encoding: xchunked\r\ncontent-length: 24\r\n"),
    ];
    cases(&table, CHUNKED, &[b"", BODY, CHUNKED, b"e\r\n"], MALFORMED)
}

fn transfer_encodings() -> Vec<Case> {
    let table = [
        ("chunked, identity", "transfer-encoding: chunked, identity\r\n"),
        ("identity, chunked", "transfer-encoding: identity, chunked\r\n"),
        ("gzip, chunked", "transfer-encoding: gzip, chunked\r\n"),
        ("chunked, chunked", "transfer-encoding: chunked, chunked\r\n"),
        ("chunked and a comma", "transfer-encoding: chunked,\r\n"),
        ("a comma and chunked", "transfer-encoding: ,chunked\r\n"),
        ("xchunked", "transfer-encoding: xchunked\r\n"),
        ("chunkedx", "transfer-encoding: chunkedx\r\n"),
        ("quoted", "transfer-encoding: \"chunked\"\r\n"),
        ("with a parameter", "transfer-encoding: chunked;q=1\r\n"),
        ("identity", "transfer-encoding: identity\r\n"),
        ("gzip", "transfer-encoding: gzip\r\n"),
        ("empty", "transfer-encoding:\r\n"),
        ("vertical tab before", "transfer-encoding: \x0bchunked\r\n"),
        ("form feed after", "transfer-encoding: chunked\x0c\r\n"),
        ("NUL after", "transfer-encoding: chunked\0\r\n"),
        ("two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ("two lines that differ", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        ("two lines, the last chunked", "transfer-encoding: x\r\ntransfer-encoding: chunked\r\n"),
        ("folded", "transfer-encoding:\r\n chunked\r\n"),
        ("folded by a tab", "transfer-encoding: \r\n\tchunked\r\n"),
        ("space before the colon", "transfer-encoding : chunked\r\n"),
        ("tab before the colon", "transfer-encoding\t: chunked\r\n"),
        ("space before the name", " transfer-encoding: chunked\r\n"),
        ("no colon", "transfer-encoding chunked\r\n"),
        ("behind a bare return", "x: y\rtransfer-encoding: chunked\r\n"),
        ("behind a bare newline", "x: y\ntransfer-encoding: chunked\r\n"),
        ("ended by a bare newline", "transfer-encoding: chunked\n"),
    ];
    cases(&table, CHUNKED, &[b"", BODY], MALFORMED)
}

/// Blanks around a value belong to no value (RFC 9110, 5.5), and a coding's name has no case.
fn legal_transfer_encodings() -> Vec<Case> {
    let table = [
        ("chunked", "transfer-encoding: chunked\r\n"),
        ("another case", "Transfer-Encoding: CHUNKed\r\n"),
        ("two spaces before", "transfer-encoding:  chunked\r\n"),
        ("a tab before", "transfer-encoding:\tchunked\r\n"),
        ("a tab after", "transfer-encoding: chunked\t\r\n"),
        ("nothing before", "transfer-encoding:chunked\r\n"),
    ];
    let mut all = cases(&table, CHUNKED, &[BODY], Expected::AcceptedOrRefused);
    let refused = Expected::Answered(&[400, 401]);
    all.extend(cases(&table, CHUNKED, &[b"", CHUNKED], refused));
    all
}

fn lengths() -> Vec<Case> {
    let values = [
        "+14",
        "-14",
        "-0",
        "0x0e",
        "1 4",
        "14 14",
        "14,14",
        "14, 14",
        "14;x",
        "14.0",
        "1e1",
        "",
        "x",
        "\"14\"",
        "١٤",
        "18446744073709551616",
        "18446744073709551630",
        "9223372036854775808",
        "99999999999999999999999999999999",
        "14\0",
        "14\x0b",
    ];
    let line = |value: &&str| {
        Case::new(
            format!("length {value:?}"),
            post(&format!("content-length: {value}\r\n"), BODY, BODY),
            MALFORMED,
        )
    };
    let mut all: Vec<Case> = values.iter().map(line).collect();
    let table = [
        ("length twice, equal", "content-length: 14\r\ncontent-length: 14\r\n"),
        ("length twice, first shorter", "content-length: 3\r\ncontent-length: 14\r\n"),
        ("length twice, second shorter", "content-length: 14\r\ncontent-length: 3\r\n"),
        ("length twice, in two cases", "Content-Length: 14\r\ncontent-length: 0\r\n"),
        ("length folded", "content-length:\r\n 14\r\n"),
        ("length, space before the colon", "content-length : 14\r\n"),
        ("length behind a bare newline", "x: y\ncontent-length: 14\r\n"),
        ("length behind a bare return", "x: y\rcontent-length: 14\r\n"),
    ];
    all.extend(cases(&table, BODY, &[b"", b"{\"a", BODY], MALFORMED));
    // Decimal digits, whatever they begin with: no reading but one.
    all.push(Case::new(
        "length with zeros",
        post("content-length: 0017\r\n", ZEROS, ZEROS),
        Expected::AcceptedOrRefused,
    ));
    all.push(Case::new(
        "length with blanks",
        post("content-length:\t16 \t\r\n", BLANKS, BLANKS),
        Expected::AcceptedOrRefused,
    ));
    all
}

/// A request to `plain` whose every line is given.
fn raw(first: &str, lines: &str) -> Vec<u8> {
    let head = format!("{first}\r\n{lines}{}content-length: {}\r\n\r\n", signature(BODY), BODY.len());
    [head.as_bytes(), BODY].concat()
}

fn hosts() -> Vec<Case> {
    let post = "POST /in/plain HTTP/1.1";
    let hosts = [
        ("absent", ""),
        ("twice, equal", "host: a\r\nhost: a\r\n"),
        ("twice, different", "host: a\r\nHost: b\r\n"),
        ("with a space", "host: a b\r\n"),
        ("with a path", "host: a/b\r\n"),
        ("with a query", "host: a?b\r\n"),
        ("with a fragment", "host: a#b\r\n"),
        ("with a user", "host: u:p@a\r\n"),
        ("with two names", "host: a,b c\r\n"),
        ("with a backslash", "host: a\\b\r\n"),
        ("with markup", "host: <a>\r\n"),
        ("with a port that is none", "host: a:b\r\n"),
        ("with two ports", "host: a:1:2\r\n"),
        ("with half a bracket", "host: [::1\r\n"),
        ("with bytes beyond ASCII", "host: \u{e4}\r\n"),
        ("with a NUL", "host: a\0b\r\n"),
        ("folded", "host: a\r\n b\r\n"),
        ("space before the colon", "host : a\r\n"),
    ];
    hosts.iter().map(|(name, lines)| Case::new(format!("host {name}"), raw(post, lines), MALFORMED)).collect()
}

fn lines() -> Vec<Case> {
    let post = "POST /in/plain HTTP/1.1";
    let lines = [
        ("folded by a space", "x-a: b\r\n c\r\n"),
        ("folded by a tab", "x-a: b\r\n\tc\r\n"),
        ("folded at the start", " x-a: b\r\n"),
        ("space before the colon", "x-a : b\r\n"),
        ("space in the name", "x a: b\r\n"),
        ("no name", ": b\r\n"),
        ("no colon", "x-a\r\n"),
        ("bare newline", "x-a: b\n"),
        ("bare newline within", "x-a: b\nc: d\r\n"),
        ("bare return within", "x-a: b\rc: d\r\n"),
        ("bare return after", "x-a: b\r\r\n"),
        ("NUL in the name", "x\0a: b\r\n"),
        ("NUL in the value", "x-a: b\0c\r\n"),
        ("escape in the value", "x-a: \x1b[31m\r\n"),
        ("backspace in the value", "x-a: b\x08\r\n"),
        ("delete in the value", "x-a: b\x7f\r\n"),
        ("vertical tab in the name", "x\x0ba: b\r\n"),
        ("beyond ASCII in the name", "x-\u{e4}: b\r\n"),
        ("separators in the name", "x(a): b\r\n"),
        ("quotes in the name", "\"x\": b\r\n"),
        ("braces in the name", "x{a}: b\r\n"),
    ];
    let case = |(name, line): &(&str, &str)| {
        Case::new(format!("line {name}"), raw(post, &format!("host: a\r\n{line}")), MALFORMED)
    };
    lines.iter().map(case).collect()
}

fn first_lines() -> Vec<Case> {
    let refused = [
        "POST /in/plain HTTP/1.2",
        "POST /in/plain HTTP/1.10",
        "POST /in/plain HTTP/01.1",
        "POST /in/plain HTTP/0.9",
        "POST /in/plain HTTP/2.0",
        "POST /in/plain HTTP/2",
        "POST /in/plain HTTP/3.0",
        "POST /in/plain http/1.1",
        "POST /in/plain HTTP/1,1",
        "POST /in/plain HTTP/1.1 ",
        "POST /in/plain HTTP/1.1 x",
        "POST /in/plain",
        "POST /in/plain ICAP/1.0",
        "POST  /in/plain HTTP/1.1",
        "POST /in/plain  HTTP/1.1",
        " POST /in/plain HTTP/1.1",
        "POST\t/in/plain HTTP/1.1",
        "POST /in/plain\tHTTP/1.1",
        "POST /in/plain\x0bHTTP/1.1",
        "POST /in/ plain HTTP/1.1",
        "POST /in/pl\0ain HTTP/1.1",
        "POST /in/plain\x1b HTTP/1.1",
        "POST /in/plain\x7f HTTP/1.1",
        "POST /in/pl\u{e4}in HTTP/1.1",
        "POST /in/plain\r HTTP/1.1",
        "POST /in/plain#x HTTP/1.1",
        "POST /in/plain HTTP/1.1\r",
        "PO\0ST /in/plain HTTP/1.1",
        "PO(ST) /in/plain HTTP/1.1",
        "PO#ST /in/plain HTTP/1.1",
        "P\u{d6}ST /in/plain HTTP/1.1",
        "POST http://a/in/plain HTTP/1.1",
        "POST http://b/in/plain HTTP/1.1",
        "POST https://a/in/plain HTTP/1.1",
        "POST //a/in/plain HTTP/1.1\nx: y",
        "POST in/plain HTTP/1.1",
        "POST a:80 HTTP/1.1",
        "POST * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "GET /in/plain?\n HTTP/1.1",
        "/in/plain",
        "POST ? HTTP/1.1",
        "POST @a/in/plain HTTP/1.1",
        "POST \\in\\plain HTTP/1.1",
    ];
    let case =
        |first: &&str| Case::new(format!("first line {first:?}"), raw(first, "host: a\r\n"), MALFORMED);
    let mut all: Vec<Case> = refused.iter().map(case).collect();
    let other = Expected::Answered(&[400, 404, 405]);
    for first in [
        "post /in/plain HTTP/1.1",
        "Post /in/plain HTTP/1.1",
        "TRACE /in/plain HTTP/1.1",
        "GET /in/plain HTTP/1.1",
        "POSTPOST /in/plain HTTP/1.1",
        "CONNECT /in/plain HTTP/1.1",
        "PRI /in/plain HTTP/1.1",
        "QUERY /in/plain HTTP/1.1",
    ] {
        all.push(Case::new(format!("first line {first:?}"), raw(first, "host: a\r\n"), other));
    }
    all
}

fn no_http() -> Vec<Case> {
    let bytes: [(&str, &[u8]); 14] = [
        ("HTTP/0.9", b"GET /in/plain\r\n"),
        ("HTTP/0.9 and an empty line", b"GET /in/plain\r\n\r\n"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        ("SSLv2", b"\x80\x2e\x01\x00\x02"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("SMTP", b"EHLO a.example\r\nMAIL FROM:<a@b>\r\n"),
        ("Redis", b"*1\r\n$4\r\nINFO\r\n"),
        ("AMQP", b"AMQP\0\0\x09\x01\r\n\r\n"),
        ("NULs", b"\0\0\0\0\0\0\0\0\r\n\r\n"),
        ("empty lines", b"\r\n\r\n\r\n\r\n"),
        ("a newline", b"\n"),
        ("PROXY protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("PROXY protocol 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ];
    bytes.iter().map(|(name, bytes)| Case::new(*name, *bytes, Expected::Cut)).collect()
}

fn other_protocols() -> Vec<Case> {
    let upgrades = [
        (
            "h2c",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        ),
        (
            "websocket",
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        ("unknown", "connection: upgrade\r\nupgrade: foo\r\n"),
        ("without connection", "upgrade: h2c\r\n"),
        ("empty", "connection: upgrade\r\nupgrade:\r\n"),
        ("TLS", "connection: upgrade\r\nupgrade: TLS/1.0\r\n"),
    ];
    let mut all = Vec::new();
    for (name, lines) in upgrades {
        let alone = raw("POST /in/plain HTTP/1.1", &format!("host: a\r\n{lines}"));
        let behind = [alone.as_slice(), &smuggled("smuggled behind an upgrade")].concat();
        let frames = [alone.as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"].concat();
        all.push(Case::new(format!("upgrade {name}"), alone, MALFORMED));
        all.push(Case::new(format!("upgrade {name} with a request behind"), behind, MALFORMED));
        all.push(Case::new(format!("upgrade {name} with frames behind"), frames, MALFORMED));
    }
    for (name, value) in
        [("unknown", "200-ok"), ("two", "100-continue, x"), ("empty", ""), ("almost", "100-continue;x")]
    {
        let bytes = raw("POST /in/plain HTTP/1.1", &format!("host: a\r\nexpect: {value}\r\n"));
        all.push(Case::new(format!("expect {name}"), bytes, Expected::Refused(&[400, 417])));
    }
    all
}

fn older() -> Vec<Case> {
    let host = "host: a\r\n";
    let chunked =
        format!("POST /in/plain HTTP/1.0\r\n{host}{}transfer-encoding: chunked\r\n", signature(BODY));
    let kept = format!("{chunked}connection: keep-alive\r\n\r\n");
    let honest = format!("POST /in/plain HTTP/1.0\r\n{}content-length: 16\r\n\r\n", signature(OLD));
    vec![
        Case::new("chunked in HTTP/1.0", [format!("{chunked}\r\n").as_bytes(), CHUNKED].concat(), MALFORMED),
        Case::new("chunked in HTTP/1.0, kept alive", [kept.as_bytes(), CHUNKED].concat(), MALFORMED),
        Case::new(
            "POST of HTTP/1.0 without a length",
            [format!("POST /in/plain HTTP/1.0\r\n{}\r\n", signature(b"")).as_bytes(), BODY].concat(),
            MALFORMED,
        ),
        Case::new("HTTP/1.0", [honest.as_bytes(), OLD].concat(), Expected::Accepted),
    ]
}

fn bodies() -> Vec<Case> {
    [both_framings(), transfer_encodings(), legal_transfer_encodings(), lengths()]
        .into_iter()
        .flatten()
        .collect()
}

fn heads() -> Vec<Case> {
    let tables = [hosts(), lines(), first_lines(), no_http(), other_protocols(), older()];
    tables.into_iter().flatten().collect()
}

/// All of them, for a gateway behind a front.
pub fn all() -> Vec<Case> {
    [bodies(), heads()].into_iter().flatten().collect()
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused_with_its_connection() {
    let battery = Battery::start();
    battery.run(&bodies());
    battery.end(ACCEPTED);
}

#[test]
fn heads_that_are_not_well_formed_are_refused_with_their_connection() {
    let battery = Battery::start();
    battery.run(&heads());
    battery.end(ACCEPTED);
}
