//! The property that the guard exists for: the HTTP library reads what it passes on as the guard does. In tests and
//! under the feature `fuzzing` only.

use actix_http::h1::{Codec, Message};
use bytes::BytesMut;
use tokio::task::LocalSet;
use tokio_util::codec::Decoder;

use super::chunks::Chunks;
use super::frame::{self, Framing, Search};

/// Longest head that is looked for.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a connection: where the guard sees a request, however its bytes are cut, the library sees one of the same
/// length, and never one that ends elsewhere.
pub fn reads_alike(bytes: &[u8]) {
    let Some((head, framing)) = head(bytes) else { return };
    let Some((body, complete)) = body(framing, &bytes[head..]) else { return };
    let mut left = BytesMut::from(&bytes[..head + body]);
    // The library has a task for its clock, which nobody need run.
    let tasks = LocalSet::new();
    let _within = tasks.enter();
    let mut codec = Codec::default();
    let first = codec.decode(&mut left).expect("what the guard passes on is a request");
    assert!(matches!(first, Some(Message::Item(_))), "the head is whole");
    if matches!(framing, Framing::Length(0)) {
        assert!(left.is_empty(), "there is no body");
        return;
    }
    let mut ended = false;
    while let Some(part) = codec.decode(&mut left).expect("what the guard passes on is a body") {
        match part {
            Message::Chunk(Some(_)) => {}
            Message::Chunk(None) => ended = true,
            Message::Item(_) => panic!("another request within the first"),
        }
        if ended {
            break;
        }
    }
    assert_eq!(ended, complete, "both see the end, or neither does");
    assert!(left.is_empty() || !complete, "nothing is left of it");
}

/// The first head, however it is cut.
fn head(bytes: &[u8]) -> Option<(usize, Framing)> {
    let at_once = Search::default().end(bytes, HEAD_BYTES_MAX);
    let mut search = Search::default();
    let step = 1 + bytes.len() / 7;
    let mut piecemeal = Ok(None);
    for cut in (0..bytes.len()).step_by(step).skip(1).chain([bytes.len()]) {
        piecemeal = search.end(&bytes[..cut], HEAD_BYTES_MAX);
        if !matches!(piecemeal, Ok(None)) {
            break;
        }
    }
    assert_eq!(at_once.is_err(), piecemeal.is_err(), "however it is cut");
    let (Ok(Some(head)), Ok(Some(same))) = (at_once, piecemeal) else { return None };
    assert_eq!(head, same, "however it is cut");
    Some((head, frame::framing(&bytes[..head]).ok()?))
}

/// How many of the bytes are its body's, and whether that is all of it.
fn body(framing: Framing, bytes: &[u8]) -> Option<(usize, bool)> {
    match framing {
        Framing::Length(length) => {
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            Some((here, here as u64 == length))
        }
        Framing::Chunked => {
            let mut chunks = Chunks::default();
            let passed = chunks.pass(bytes).ok()?;
            Some((passed, chunks.is_complete()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_senders_send_reads_alike() {
        let chunked =
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\n\r\n";
        for cut in 0..=chunked.len() {
            reads_alike(&chunked.as_bytes()[..cut]);
        }
        reads_alike(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n");
        reads_alike(b"GET /a?b={c}|d HTTP/1.0\r\n\r\n");
    }

    #[test]
    fn every_target_that_passes_is_one_of_the_library() {
        for byte in 0..=u8::MAX {
            let head = [b"GET /a".as_slice(), &[byte], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            reads_alike(&head);
            let name = [b"GET / HTTP/1.1\r\nHost: a\r\nx".as_slice(), &[byte], b": b\r\n\r\n"].concat();
            reads_alike(&name);
            let value = [b"GET / HTTP/1.1\r\nHost: a\r\nx: a".as_slice(), &[byte], b"b\r\n\r\n"].concat();
            reads_alike(&value);
        }
    }

    proptest! {
        #[test]
        fn any_lines_read_alike(
            lines in prop::collection::vec(
                "(Host|Content-Length|Transfer-Encoding|Connection|Expect|X|Upgrade)[ :]{1,2}(chunked|[0-9]{1,2}|a|close|100-continue|[ -~\t\u{e9}]{0,4})", 0..6),
            body in "([0-3;x]{0,3}(\r\n|\n|\r)?[a-c0]{0,4}){0,4}",
        ) {
            let head = format!("POST /a HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n{body}", lines.join("\r\n"));
            reads_alike(head.as_bytes());
        }
    }
}
