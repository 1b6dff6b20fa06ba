//! Smuggling: a whole signed request hidden where a front and this gateway could disagree about where a request
//! ends. It is never answered as a request of its own, and never reaches a worker.

use super::battery::{Battery, Case, Expected, post, signature, smuggled, whole};

const HIDDEN: &str = "smuggled";
const REFUSED: Expected = Expected::Refused(&[400]);

fn hidden() -> Vec<u8> {
    smuggled(HIDDEN)
}

/// A POST to `plain` with these lines and the hidden request somewhere in what follows.
fn case(name: &str, lines: &str, wire: &[u8], reading: &[u8], expected: Expected) -> Case {
    Case::new(format!("smuggling: {name}"), post(lines, wire, reading), expected)
}

/// The front goes by the length and this gateway by the chunks, or the other way round.
fn length_against_chunks() -> Vec<Case> {
    let hidden = hidden();
    let behind = [b"0\r\n\r\n".as_slice(), &hidden].concat();
    let within = [format!("{:x}\r\n", hidden.len()).as_bytes(), &hidden, b"\r\n0\r\n\r\n"].concat();
    let codings = [
        "transfer-encoding: chunked",
        "Transfer-Encoding:chunked",
        "transfer-encoding: x\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: x",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding:\r\n chunked",
        " transfer-encoding: chunked",
        "x: x\ntransfer-encoding: chunked",
        "x: x\rtransfer-encoding: chunked",
        "transfer-encoding: 'chunked'",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunk",
        "transfer-encoding:",
        "transfer-encoding: \x00chunked",
    ];
    let mut all = Vec::new();
    for coding in codings {
        let length = |length: usize| format!("content-length: {length}\r\n{coding}\r\n");
        let before = |length: usize| format!("{coding}\r\ncontent-length: {length}\r\n");
        let name = |kind: &str| format!("{kind} {coding:?}");
        all.push(case(&name("length in front"), &length(behind.len()), &behind, b"", REFUSED));
        all.push(case(
            &name("length in front, signed whole"),
            &before(behind.len()),
            &behind,
            &behind,
            REFUSED,
        ));
        let size = format!("{:x}\r\n", hidden.len()).len();
        all.push(case(&name("chunks in front"), &length(size), &within, &within[..size], REFUSED));
        all.push(case(&name("chunks in front, signed whole"), &before(size), &within, &hidden, REFUSED));
        all.push(case(&name("length 0 and chunks"), &length(0), &within, b"", REFUSED));
    }
    all
}

fn lengths_against_lengths() -> Vec<Case> {
    let hidden = hidden();
    let whole = hidden.len();
    let with = |name: &str, lines: &str| case(name, lines, &hidden, b"", REFUSED);
    vec![
        with("two lengths", &format!("content-length: 0\r\ncontent-length: {whole}\r\n")),
        with("two lengths turned", &format!("content-length: {whole}\r\ncontent-length: 0\r\n")),
        with("a list of lengths", &format!("content-length: 0, {whole}\r\n")),
        with("a length with a sign", &format!("content-length: +{whole}\r\n")),
        with("a length with an underscore within", &format!("content-length: {whole}_0\r\n")),
        with("a length before a NUL", &format!("content-length: 0\0{whole}\r\n")),
        with("a length behind a fold", &format!("x: y\r\n content-length: {whole}\r\n")),
        with(
            "a length behind a bare newline",
            &format!("content-length: 0\nx: y\r\ncontent-length: {whole}\r\n"),
        ),
        with("a length with a blank in its name", &format!("content-length : {whole}\r\n")),
        with("a length that is no number", "content-length: x\r\n"),
        with("a length in hexadecimal", &format!("content-length: 0x{whole:x}\r\n")),
    ]
}

/// A body that nobody reads, since the head alone is refused: the hidden request is that body.
fn bodies_of_refused_requests() -> Vec<Case> {
    let hidden = hidden();
    let chunked = [format!("{:x}\r\n", hidden.len()).as_bytes(), &hidden, b"\r\n0\r\n\r\n"].concat();
    let length = format!("content-length: {}\r\n", hidden.len());
    let heads = [
        ("unknown path", "POST /in/nobody HTTP/1.1\r\nhost: a\r\n", 404),
        ("root", "GET / HTTP/1.1\r\nhost: a\r\n", 404),
        ("another method", "GET /in/plain HTTP/1.1\r\nhost: a\r\n", 405),
        ("a deleting method", "DELETE /in/plain HTTP/1.1\r\nhost: a\r\n", 405),
        ("an unknown method", "SMUGGLE /in/plain HTTP/1.1\r\nhost: a\r\n", 405),
        ("an encoded body", "POST /in/plain HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\n", 415),
        ("no signature", "POST /in/plain HTTP/1.1\r\nhost: a\r\n", 401),
        ("a wrong signature", "POST /in/plain HTTP/1.1\r\nhost: a\r\nx-signature: 00\r\n", 401),
        (
            "kept alive",
            "POST /in/nobody HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\nkeep-alive: timeout=99\r\n",
            404,
        ),
        ("waiting for a go-ahead", "POST /in/nobody HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n", 404),
        ("waiting with another method", "PUT /in/plain HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n", 405),
        (
            "waiting with an encoding",
            "POST /in/plain HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-encoding: br\r\n",
            415,
        ),
    ];
    let mut all = Vec::new();
    for (name, head, status) in heads {
        let statuses: &'static [u16] = match status {
            401 => &[401],
            404 => &[404],
            405 => &[405],
            _ => &[415],
        };
        let sized = [head.as_bytes(), length.as_bytes(), b"\r\n", &hidden].concat();
        let pieces = [head.as_bytes(), b"transfer-encoding: chunked\r\n\r\n", &chunked].concat();
        all.push(Case::new(format!("smuggling: {name}, sized"), sized, Expected::Answered(statuses)));
        all.push(Case::new(format!("smuggling: {name}, chunked"), pieces, Expected::Answered(statuses)));
    }
    let head = "POST /in/plain HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n";
    let large = [head.as_bytes(), &hidden].concat();
    all.push(Case::new("smuggling: a body that is too large", large, Expected::Answered(&[413])));
    // The request is the body, whole and signed, also where its sender did not wait for the go-ahead.
    let waited = post(&format!("expect: 100-continue\r\n{length}"), &hidden, &hidden);
    all.push(Case::new("smuggling: expected to be let in", waited, Expected::Accepted));
    all
}

/// A request that is refused for its framing, and a valid one behind it: the connection ends with the first.
fn bad_then_valid() -> Vec<Case> {
    let hidden = hidden();
    let bad = [
        "POST /in/plain HTTP/1.1\r\n\r\n",
        "POST /in/plain HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "POST /in/plain HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
        "POST /in/plain HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
        "POST /in/plain HTTP/1.1\r\nhost: a\r\nx-a: \0\r\n\r\n",
        "POST /in/plain HTTP/1.1\nhost: a\n\n",
        "POST /in/plain\r\n\r\n",
        "POST /in/plain HTTP/2.0\r\nhost: a\r\n\r\n",
        "POST http://a/in/plain HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /in/plain HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /in/nobody HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n0\r\n\r\n",
        "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n0\r\n\r\n",
    ];
    let both = |bad: &&str| [bad.as_bytes(), &hidden].concat();
    let name = |bad: &&str| format!("smuggling: behind {bad:?}");
    bad.iter().map(|bad| Case::new(name(bad), both(bad), Expected::Cut)).collect()
}

/// All of them, for a gateway behind a front.
pub fn all() -> Vec<Case> {
    let tables =
        [length_against_chunks(), lengths_against_lengths(), bodies_of_refused_requests(), bad_then_valid()];
    tables.into_iter().flatten().collect()
}

#[test]
fn a_hidden_request_is_never_a_request_of_its_own() {
    let battery = Battery::start();
    battery.run(&all());
    battery.end(&[&hidden()]);
}

/// Valid requests in one write are answered in order, and what follows them ends the connection.
#[test]
fn valid_then_bad_on_one_connection_is_kept_and_closed() {
    use super::battery::shown;
    use super::wire::{Wait, Wire, stranger};
    use std::time::Duration;

    let battery = Battery::start();
    for (index, bad) in [
        "GARBAGE\r\n\r\n",
        "\0\0\r\n\r\n",
        "POST /in/plain HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
    ]
    .iter()
    .enumerate()
    {
        let body = format!("valid {index}");
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let valid = post("transfer-encoding: chunked\r\n", chunks.as_bytes(), body.as_bytes());
        let mut wire = Wire::open(stranger(), battery.gateway.ingress()).unwrap();
        wire.say(&[valid.as_slice(), bad.as_bytes(), &hidden()].concat());
        let heard = wire.hear(Wait::Closed, Duration::from_secs(5));
        let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
        assert!(
            statuses == [200, 400] || statuses == [200],
            "{bad:?}: {statuses:?}, then {}",
            shown(&heard.rest)
        );
        assert!(heard.closed, "{bad:?}");
        assert_eq!(battery.honest().err(), None);
    }
    battery.end(&[b"valid 0", b"valid 1", b"valid 2"]);
}

/// An honest sender that asks first is told to go on, and the go-ahead is no answer to anybody else.
#[test]
fn a_go_ahead_belongs_to_the_request_that_asked() {
    use super::wire::{Wait, Wire, stranger};
    use std::time::Duration;

    let battery = Battery::start();
    let body = b"let in";
    let head = format!(
        "POST /in/plain HTTP/1.1\r\nhost: a\r\n{}expect: 100-continue\r\ncontent-length: 6\r\n\r\n",
        signature(body)
    );
    let mut wire = Wire::open(stranger(), battery.gateway.ingress()).unwrap();
    wire.say(head.as_bytes());
    std::thread::sleep(Duration::from_millis(100));
    wire.say(&[body.as_slice(), &whole("plain", "pipelined")].concat());
    let heard = wire.hear(Wait::Answered, Duration::from_secs(5));
    let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200]);
    battery.end(&[b"let in", b"pipelined"]);
}
