//! Chunked bodies: sizes, ends, extensions and trailers that two implementations could read differently.

use super::battery::{Battery, Case, Expected, post, signature, smuggled};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const MALFORMED: Expected = Expected::Refused(&[400]);
/// What may be accepted of them.
pub const ACCEPTED: &[&[u8]] = &[b"abc", b"in capitals.", b"1 2", b"\r\n0\r\n\r"];

fn chunked(name: &str, wire: &[u8], reading: &[u8], expected: Expected) -> Case {
    Case::new(format!("chunks: {name}"), post(CHUNKED, wire, reading), expected)
}

/// What stands where a size should, with three bytes behind it and what a lenient reader makes of them.
fn sizes() -> Vec<Case> {
    let sizes = [
        "",
        " ",
        "0x3",
        "0X3",
        "x3",
        "+3",
        "-3",
        "--3",
        " 3",
        "\t3",
        "3 ",
        "3\t",
        "3 3",
        "3,3",
        "3.0",
        "3_0",
        "3h",
        "g",
        "\"3\"",
        "3\0",
        "\x003",
        "3\x0b",
        "३",
        "10000000000000003",
        "fffffffffffffffff",
        "ffffffffffffffff",
        "8000000000000003",
        "00000000000000000000000000000003",
        "3\r",
        "\r3",
        "\n3",
    ];
    let case = |size: &&str| {
        chunked(
            &format!("size {size:?}"),
            format!("{size}\r\nabc\r\n0\r\n\r\n").as_bytes(),
            b"abc",
            MALFORMED,
        )
    };
    let mut all: Vec<Case> = sizes.iter().map(case).collect();
    all.push(chunked("last size -0", b"3\r\nabc\r\n-0\r\n\r\n", b"abc", MALFORMED));
    all.push(chunked("last size 0x0", b"3\r\nabc\r\n0x0\r\n\r\n", b"abc", MALFORMED));
    all.push(chunked("last size empty", b"3\r\nabc\r\n\r\n\r\n", b"abc", MALFORMED));
    all
}

fn ends() -> Vec<Case> {
    let wires: [(&str, &[u8]); 15] = [
        ("bare newline after the size", b"3\nabc\r\n0\r\n\r\n"),
        ("bare return after the size", b"3\rabc\r\n0\r\n\r\n"),
        ("bare newline after the data", b"3\r\nabc\n0\r\n\r\n"),
        ("bare return after the data", b"3\r\nabc\r0\r\n\r\n"),
        ("nothing after the data", b"3\r\nabc0\r\n\r\n"),
        ("two bytes after the data", b"3\r\nabcxx0\r\n\r\n"),
        ("data longer than its size", b"2\r\nabc\r\n0\r\n\r\n"),
        ("data shorter than its size", b"4\r\nabc\r\n0\r\n\r\n"),
        ("bare newline after the last size", b"3\r\nabc\r\n0\n\r\n"),
        ("bare newline at the end", b"3\r\nabc\r\n0\r\n\n"),
        ("bare return at the end", b"3\r\nabc\r\n0\r\n\rx"),
        ("two returns at the end", b"3\r\nabc\r\n0\r\n\r\r\n"),
        ("only bare newlines", b"3\nabc\n0\n\n"),
        ("an empty line before", b"\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("an empty line between", b"3\r\nabc\r\n\r\n0\r\n\r\n"),
    ];
    wires.iter().map(|(name, wire)| chunked(name, wire, b"abc", MALFORMED)).collect()
}

fn extensions() -> Vec<Case> {
    let bad: [(&str, &[u8]); 6] = [
        ("ended by a bare newline", b"3;a\nabc\r\n0\r\n\r\n"),
        ("ended by a bare return", b"3;a\rabc\r\n0\r\n\r\n"),
        ("with a NUL", b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
        ("with a newline in quotes", b"3;a=\"\n\"\r\nabc\r\n0\r\n\r\n"),
        ("with a return in quotes", b"3;a=\"\r\"\r\nabc\r\n0\r\n\r\n"),
        ("after a space", b"3 ;a\r\nabc\r\n0\r\n\r\n"),
    ];
    let mut all: Vec<Case> = bad
        .iter()
        .map(|(name, wire)| chunked(&format!("extension {name}"), wire, b"abc", MALFORMED))
        .collect();
    // The line's end decides, whatever stands in quotes before it.
    let legal: [(&str, &[u8]); 5] = [
        ("a name", b"3;a\r\nabc\r\n0\r\n\r\n"),
        ("a value", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        ("quotes", b"3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n"),
        ("empty", b"3;\r\nabc\r\n0;\r\n\r\n"),
        ("open quotes", b"3;a=\"\r\nabc\r\n0\r\n\r\n"),
    ];
    let legal = legal.iter();
    all.extend(legal.map(|(name, wire)| {
        chunked(&format!("extension {name}"), wire, b"abc", Expected::AcceptedOrRefused)
    }));
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 << 10));
    all.push(chunked("extension of 64 KiB", long.as_bytes(), b"abc", Expected::Cut));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "y".repeat(8 << 10)).repeat(40));
    all.push(chunked("forty extensions of 8 KiB", many.as_bytes(), &[b'a'; 40], Expected::Cut));
    let endless = format!("3;{}", "z".repeat(2 << 20));
    all.push(chunked("extension without an end", endless.as_bytes(), b"abc", Expected::Cut));
    all.push(chunked("size without an end", "0".repeat(1 << 20).as_bytes(), b"", Expected::Cut));
    all
}

/// A field behind the body counts for nothing, so a body with one is refused.
fn trailers() -> Vec<Case> {
    let trailer = |name: &str, lines: &str| {
        chunked(
            &format!("trailer {name}"),
            format!("3\r\nabc\r\n0\r\n{lines}\r\n").as_bytes(),
            b"abc",
            MALFORMED,
        )
    };
    let proof = signature(b"abc");
    let signed_behind = [
        b"POST /in/plain HTTP/1.1\r\nhost: gateway\r\ntransfer-encoding: chunked\r\ntrailer: x-signature\r\n\r\n3\r\nabc\r\n0\r\n".as_slice(),
        proof.as_bytes(),
        b"\r\n",
    ];
    vec![
        trailer("honest", "x-a: b\r\n"),
        trailer("with a length", "content-length: 0\r\n"),
        trailer("with a framing", "transfer-encoding: chunked\r\n"),
        trailer("with a host", "host: b\r\n"),
        trailer("folded", "x-a: b\r\n c\r\n"),
        trailer("without a colon", "x-a\r\n"),
        trailer("with a bare newline", "x-a: b\n"),
        trailer("with a NUL", "x-a: \0\r\n"),
        trailer("like a request", "POST /in/plain HTTP/1.1\r\nhost: a\r\n"),
        Case::new(
            "chunks: signature in a trailer alone",
            signed_behind.concat(),
            Expected::Refused(&[400, 401]),
        ),
        chunked(
            "trailer of 64 KiB",
            format!("3\r\nabc\r\n0\r\nx-a: {}\r\n\r\n", "b".repeat(64 << 10)).as_bytes(),
            b"abc",
            Expected::Cut,
        ),
        chunked(
            "endless trailers",
            format!("0\r\n{}", "x-a: b\r\n".repeat(100_000)).as_bytes(),
            b"",
            Expected::Cut,
        ),
    ]
}

fn cut_short() -> Vec<Case> {
    let slow = Expected::Refused(&[400, 408]);
    vec![
        chunked("no last chunk", b"3\r\nabc\r\n", b"abc", slow),
        chunked("half the last chunk", b"3\r\nabc\r\n0\r\n", b"abc", slow),
        chunked("no data", b"3\r\n", b"abc", slow),
        chunked("no size", b"", b"", slow),
        chunked("an announced gigabyte", b"40000000\r\nabc", b"abc", Expected::Refused(&[400, 408, 413])),
        chunked(
            "an announced exabyte",
            b"fffffffffffffff\r\nabc",
            b"abc",
            Expected::Refused(&[400, 408, 413]),
        ),
    ]
}

fn legal() -> Vec<Case> {
    vec![
        chunked("one", b"3\r\nabc\r\n0\r\n\r\n", b"abc", Expected::Accepted),
        chunked("capitals", b"0000C\r\nin capitals.\r\n0\r\n\r\n", b"in capitals.", Expected::Accepted),
        chunked("single bytes", b"1\r\n1\r\n1\r\n \r\n1\r\n2\r\n000\r\n\r\n", b"1 2", Expected::Accepted),
        chunked("returns in the data", b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", b"\r\n0\r\n\r", Expected::Accepted),
    ]
}

/// A whole signed request in each place where a lenient reader could take it for one of its own.
fn requests_within() -> Vec<Case> {
    let hidden = smuggled("smuggled within chunks");
    let with = |name: &str, before: &str, after: &str| {
        let wire = [before.as_bytes(), &hidden, after.as_bytes()].concat();
        chunked(name, &wire, b"abc", MALFORMED)
    };
    vec![
        with("request after an empty size", "3\r\nabc\r\n\r\n\r\n", ""),
        with("request in an extension", "3\r\nabc\r\n0;a=", ""),
        with("request behind a bare newline in an extension", "2;\n\r\nxx\r\n3\r\nabc\r\n0\r\n\r\n", ""),
        with("request in a trailer", "3\r\nabc\r\n0\r\n", ""),
        with("request behind a size that overflows", "10000000000000003\r\nabc\r\n0\r\n\r\n", ""),
        with("request behind a size in another notation", "0x3\r\nabc\r\n0\r\n\r\n", ""),
        with("request behind data that is too long", "3\r\nabcde\r\n0\r\n\r\n", ""),
        with("request behind bare newlines", "3\nabc\n0\n\n", ""),
        with("request behind a bare return", "3\r\nabc\r\n0\r\n\r", ""),
    ]
}

/// All of them, for a gateway behind a front.
pub fn all() -> Vec<Case> {
    let tables = [sizes(), ends(), trailers(), requests_within(), extensions(), cut_short(), legal()];
    tables.into_iter().flatten().collect()
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused_with_their_connection() {
    let battery = Battery::start();
    battery.run(&all());
    battery.end(ACCEPTED);
}

#[test]
fn a_body_in_endless_chunks_of_a_byte_ends_at_its_limit() {
    let battery = Battery::start();
    let wire = b"1\r\nx\r\n".repeat(600 << 10);
    let endless = Case::new("chunks of a byte", post(CHUNKED, &wire, b""), Expected::Cut);
    battery.run(&[endless]);
    battery.end(&[]);
}
