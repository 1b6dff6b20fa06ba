//! Where a request's head ends and how its body is framed, by one strict reading of RFC 9112.
//!
//! What two implementations could read differently is refused, so that nothing in front of the gateway and nothing
//! behind this file can disagree about where a request ends. Pure: bytes in, verdict out.

use actix_http::Method;

use crate::reject::{Refused, Reject};

/// Most header lines of a request; as many as the HTTP library takes.
const HEADERS_MAX: usize = 96;
/// Longest name of a header.
const NAME_BYTES_MAX: usize = 256;
const END: &[u8] = b"\r\n\r\n";

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; zero where there is no body.
    Length(u64),
    /// Chunks, up to the one without data.
    Chunked,
}

/// The search for a head's end in bytes that arrive piece by piece: each is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    seen: usize,
    first_line: bool,
}

impl Search {
    /// Whether it has seen a byte.
    pub fn is_begun(&self) -> bool {
        self.seen > 0
    }

    /// The length of the head that `bytes` begin with, its empty line included; none while more of it must come.
    /// Later calls get the same bytes and more.
    ///
    /// # Errors
    /// `HeadMalformed` as soon as no further byte could make it a request, `HeadTooLarge` beyond `bytes_max`.
    pub fn end(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Refused> {
        if self.seen == 0 && bytes.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
            return malformed("it does not begin with a method; is this TLS on a plain port?");
        }
        for found in memchr::memchr_iter(b'\n', &bytes[self.seen..]) {
            let end = self.seen + found + 1;
            if !bytes[..end].ends_with(b"\r\n") {
                return malformed("a line ends without a carriage return");
            }
            if !self.first_line {
                let line = &bytes[..end - 2];
                if !line.ends_with(b" HTTP/1.1") && !line.ends_with(b" HTTP/1.0") {
                    return malformed("the first line is none of HTTP/1.1 or HTTP/1.0");
                }
                self.first_line = true;
            }
            if bytes[..end].ends_with(END) {
                return if end > bytes_max { Err(too_large(bytes_max)) } else { Ok(Some(end)) };
            }
        }
        self.seen = bytes.len();
        if self.seen >= bytes_max { Err(too_large(bytes_max)) } else { Ok(None) }
    }
}

/// The framing of the body after a whole head.
///
/// # Errors
/// `HeadMalformed` for a head that is not well-formed or that could be read in two ways, `UpgradeAsked`.
pub fn framing(head: &[u8]) -> Result<Framing, Refused> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return malformed("its end is not where its empty line is"),
        Err(httparse::Error::TooManyHeaders) => return malformed("more than 96 header lines"),
        Err(cause) => return Err(Reject::HeadMalformed.because(cause.to_string())),
    }
    let newer = request.version == Some(1);
    let method = request.method.unwrap_or_default();
    // Of RFC 9110's characters the HTTP library takes all but five, and would answer those itself.
    if Method::from_bytes(method.as_bytes()).is_err() {
        return malformed("its method has one of # $ % & ', which no method in use has");
    }
    let posts = method == Method::POST.as_str();
    target(request.path.unwrap_or_default())?;
    let mut found = Found::default();
    for line in request.headers.iter() {
        found.line(line.name, line.value)?;
    }
    match found.framing(newer)? {
        // RFC 1945, 7.2.2; the HTTP library refuses it too.
        Framing::Length(_) if !newer && posts && found.length.is_none() => {
            malformed("a POST of HTTP/1.0 without Content-Length")
        }
        framing => Ok(framing),
    }
}

/// What of the headers says how the request is framed and where it goes.
#[derive(Default)]
struct Found {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    expect: bool,
}

impl Found {
    fn line(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if name.len() > NAME_BYTES_MAX {
            return malformed("a header's name is longer than 256 bytes");
        }
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            4 if is("host") => {
                if self.host {
                    return malformed("Host stands twice");
                }
                self.host = true;
                host(value)
            }
            6 if is("expect") => {
                self.expect = true;
                if value.eq_ignore_ascii_case(b"100-continue") {
                    Ok(())
                } else {
                    malformed("Expect is not 100-continue")
                }
            }
            7 if is("upgrade") => {
                Err(Reject::UpgradeAsked.because("this endpoint speaks HTTP/1.1 and nothing else"))
            }
            14 if is("content-length") => {
                if self.length.is_some() {
                    return malformed("Content-Length stands twice");
                }
                self.length = Some(length(value)?);
                Ok(())
            }
            17 if is("transfer-encoding") => {
                if self.chunked {
                    return malformed("Transfer-Encoding stands twice");
                }
                self.chunked = true;
                if value.eq_ignore_ascii_case(b"chunked") {
                    Ok(())
                } else {
                    malformed("Transfer-Encoding is not chunked")
                }
            }
            _ => Ok(()),
        }
    }

    fn framing(&self, newer: bool) -> Result<Framing, Refused> {
        match (self.chunked, self.length) {
            _ if newer && !self.host => malformed("Host is missing"),
            (true, _) if !newer => malformed("Transfer-Encoding in HTTP/1.0"),
            (true, Some(_)) => malformed("both Content-Length and Transfer-Encoding"),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// A path with or without a query, in the characters that RFC 3986 has for them and the few more that senders use.
fn target(target: &str) -> Result<(), Refused> {
    if !target.starts_with('/') {
        return malformed("the target is no path");
    }
    let allowed = |byte: u8| {
        matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'`' | b'^')
    };
    if target.bytes().all(allowed) { Ok(()) } else { malformed("the target has a character that no URL has") }
}

/// Digits alone: no sign, no list, no more than a file could have.
fn length(value: &[u8]) -> Result<u64, Refused> {
    let digits = !value.is_empty() && value.len() <= 15 && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.map_or_else(|| malformed("Content-Length is no number of at most 15 digits"), Ok)
}

/// A name, an IPv4 address or an IPv6 address in brackets, with or without a port; or nothing, for a URL without one
/// (RFC 9110, 7.2).
fn host(value: &[u8]) -> Result<(), Refused> {
    if value.is_empty() {
        return Ok(());
    }
    let (name, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    let bracketed = name.starts_with(b"[") && name.ends_with(b"]") && name.len() > 2;
    let inside = if bracketed { &name[1..name.len() - 1] } else { name };
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte) || (bracketed && *byte == b':')
    };
    if !name.is_empty() && inside.iter().all(allowed) && port.iter().all(u8::is_ascii_digit) {
        Ok(())
    } else {
        malformed("Host is no host")
    }
}

fn malformed<T>(detail: &'static str) -> Result<T, Refused> {
    Err(Reject::HeadMalformed.because(detail))
}

fn too_large(bytes_max: usize) -> Refused {
    Reject::HeadTooLarge.because(format!("the head is longer than head_bytes_max = {bytes_max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Result<Framing, Refused> {
        let mut search = Search::default();
        let end = search.end(head.as_bytes(), 32 * 1024)?.expect("a whole head");
        assert_eq!(end, head.len());
        framing(head.as_bytes())
    }

    fn with(line: &str) -> String {
        format!("POST /in/a?b=c HTTP/1.1\r\nHost: a.example\r\n{line}\r\n")
    }

    #[test]
    fn what_senders_send_is_framed_as_they_say() {
        assert_eq!(of(&with("")), Ok(Framing::Length(0)));
        assert_eq!(of(&with("Content-Length: 007\r\n")), Ok(Framing::Length(7)));
        assert_eq!(of(&with("content-length:\t12 \r\n")), Ok(Framing::Length(12)));
        assert_eq!(of(&with("transfer-encoding: Chunked\r\n")), Ok(Framing::Chunked));
        assert_eq!(of(&with("expect: 100-Continue\r\nContent-Length: 1\r\n")), Ok(Framing::Length(1)));
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(of("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Framing::Length(0)));
        for host in ["a", "a.example:8080", "127.0.0.1", "[::1]:80", "[::1]", "a_b.example", "a:", ""] {
            assert!(of(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let lines = [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding : chunked\r\n",
            "X: a\r\n b\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X: a\x0bb\r\n",
            "X y: a\r\n",
            ": a\r\n",
            "X\r\n",
            "Host: b.example\r\n",
            "Expect: more\r\n",
        ];
        for line in lines {
            let refused = of(&with(line)).expect_err(line);
            assert_eq!(refused.reject, Reject::HeadMalformed, "{line:?}");
        }
        assert_eq!(of(&with("Upgrade: h2c\r\n")).unwrap_err().reject, Reject::UpgradeAsked);
    }

    #[test]
    fn what_is_no_request_of_this_protocol_is_refused() {
        let heads = [
            "POST /a HTTP/1.1\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: :80\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a b\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "POST http://a.example/a HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST  /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a  HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "PO(ST /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "PO#ST /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "PO&STED-AND-MORE-THAN-SIXTEEN /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /a HTTP/1.0\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/0.9\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\r\n\r\n",
        ];
        for head in heads {
            assert_eq!(of(head).expect_err(head).reject, Reject::HeadMalformed, "{head:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let many: String = (0..97).map(|n| format!("x-{n}: 1\r\n")).collect();
        assert!(of(&with(&many)).is_err());
        assert!(of(&with(&format!("{}: 1\r\n", "x".repeat(257)))).is_err());
        let long = with(&format!("x: {}\r\n", "y".repeat(2000)));
        assert_eq!(Search::default().end(long.as_bytes(), 2000).unwrap_err().reject, Reject::HeadTooLarge);
        let (mut search, cut) = (Search::default(), &long.as_bytes()[..1999]);
        assert_eq!(search.end(cut, 2000), Ok(None));
        assert_eq!(search.end(&long.as_bytes()[..2000], 2000).unwrap_err().reject, Reject::HeadTooLarge);
    }

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        let head = with("Content-Length: 3\r\n");
        let whole = format!("{head}abc");
        for cut in 0..head.len() {
            let mut search = Search::default();
            assert_eq!(search.end(&whole.as_bytes()[..cut], 4096), Ok(None), "{cut}");
            assert_eq!(search.end(whole.as_bytes(), 4096), Ok(Some(head.len())), "{cut}");
        }
    }
}
