//! One kept-alive HTTP/1.1 connection: a request out, an answer in, never two at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::signer::Signed;

/// Answers are short; a head beyond this is no answer of a webhook receiver.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The request a connection waits for.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What was sent.
    pub signed: Signed,
    /// When it was due (open loop) or sent (closed loop), in nanoseconds of the run.
    pub due: u64,
    /// When it was sent.
    pub sent: u64,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// True where the server closes the connection after it.
    pub close: bool,
}

/// A connection that is open or waits to be opened again.
pub struct Connection {
    /// The socket; none between a failure and the next try.
    pub stream: Option<TcpStream>,
    /// The request under way.
    pub waiting: Option<Waiting>,
    /// The bytes of the request.
    pub request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Connection {
    /// Not open yet.
    pub fn closed() -> Self {
        Self {
            stream: None,
            waiting: None,
            request: Vec::with_capacity(4096),
            sent: 0,
            answer: Vec::with_capacity(1024),
        }
    }

    /// Opens it, non-blocking and without Nagle's delay.
    pub fn open(&mut self, address: SocketAddr) -> io::Result<&TcpStream> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.answer.clear();
        Ok(self.stream.insert(stream))
    }

    /// Starts sending `request`.
    pub fn start(&mut self, waiting: Waiting) -> io::Result<()> {
        self.waiting = Some(waiting);
        self.sent = 0;
        self.flush()
    }

    /// Sends as much as the socket takes; the rest goes when it is writable again.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.waiting.is_some() && self.sent < self.request.len() {
            match stream.write(&self.request[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; an answer once it is whole. `hung_up` says that the other side closed, so
    /// that reading goes on to the end.
    pub fn receive(&mut self, scratch: &mut [u8], hung_up: bool) -> io::Result<Option<Answer>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match stream.read(scratch) {
                Ok(0) => return self.take().map(|answer| answer.map(|a| Answer { close: true, ..a })),
                Ok(got) => self.answer.extend_from_slice(&scratch[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                return Err(ErrorKind::FileTooLarge.into());
            }
            // A short read means that the socket is empty: one call less per answer.
            if !hung_up && self.answer.len() < scratch.len() {
                break;
            }
        }
        self.take()
    }

    fn take(&mut self) -> io::Result<Option<Answer>> {
        match parse(&self.answer)? {
            Some((answer, length)) if length == self.answer.len() => {
                self.answer.clear();
                Ok(Some(answer))
            }
            Some(_) => Err(io::Error::new(ErrorKind::InvalidData, "bytes after the answer")),
            None => Ok(None),
        }
    }
}

/// The answer in `bytes` and its length, once whole. Framing is by `Content-Length`, as every receiver of
/// webhooks answers; anything else is an error.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let text = std::str::from_utf8(&bytes[..head]).map_err(|_| invalid("an answer's head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid("no HTTP/1.1 status line"))?;
    let (mut length, mut close) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = match (length, status) {
        (_, 204 | 304) => 0,
        (Some(length), _) => length,
        (None, _) => return Err(invalid("an answer without Content-Length")),
    };
    let whole = head + 4 + length;
    Ok((bytes.len() >= whole).then_some((Answer { status, close }, whole)))
}
