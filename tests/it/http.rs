//! A small HTTP/1.1 client that sends exactly what it is told, and reads answers byte by byte.
//!
//! No library stands between a test and the wire: framing that is wrong on purpose goes out as it is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::senders::Signed;

/// An answer that takes longer is none; the gateway's own deadlines in these tests are far below.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (given in lower case); empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The `code` of a problem document; empty where the answer is none.
    pub fn code(&self) -> String {
        if self.header("content-type") != "application/problem+json" {
            return String::new();
        }
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The `outcome` of a 2xx.
    pub fn outcome(&self) -> String {
        self.json()["outcome"].as_str().unwrap_or_default().to_owned()
    }

    /// The `message_id` of a 2xx.
    pub fn message_id(&self) -> String {
        self.json()["message_id"].as_str().unwrap_or_default().to_owned()
    }

    /// Status, all headers but the date, and body without the id of the request: for answers that must be the same.
    pub fn without_date(&self) -> Self {
        let mut same = self.clone();
        same.headers.retain(|(name, _)| name != "date");
        if same.header("content-type") == "application/problem+json" {
            let mut document = same.json();
            document.as_object_mut().map(|members| members.remove("request_id"));
            same.body = document.to_string().into_bytes();
        }
        same
    }
}

/// One kept-alive connection, made when it is first used.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// How long an answer may take, where a later one is none instead of a failed test.
    limit: Option<Duration>,
    /// Read and not yet part of an answer.
    ahead: Vec<u8>,
}

impl Client {
    /// A client without a connection.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, limit: None, ahead: Vec::new() }
    }

    /// Gives up an answer, and its connection, after that long.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// One request on a connection of its own; nothing where there was no answer.
    pub fn call(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        Self::new(address).request(method, path, headers, body)
    }

    /// One request; nothing where the connection ended instead of an answer.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        self.ask(method, path, headers, body);
        self.answer()
    }

    /// The question alone.
    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        let named = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if named("host") {
            head = format!("{method} {path} HTTP/1.1\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if path == "/metrics" && !named("accept") {
            // The form that `Scrape` reads.
            head.push_str("accept: application/openmetrics-text\r\n");
        }
        if !named("content-length") && !named("transfer-encoding") && method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes);
    }

    /// A signed request, which must be answered.
    pub fn deliver(&mut self, signed: &Signed) -> Answer {
        self.try_deliver(signed).expect("an answer")
    }

    /// A signed request; nothing where the connection ended instead of an answer.
    pub fn try_deliver(&mut self, signed: &Signed) -> Option<Answer> {
        self.request("POST", &signed.path, &signed.pairs(), &signed.body)
    }

    /// A signed request whose sender goes away before the answer.
    pub fn abandon(&mut self, signed: &Signed) {
        self.ask("POST", &signed.path, &signed.pairs(), &signed.body);
        self.stream = None;
    }

    /// Sends bytes as they are. A peer that has closed shows at the next [`Client::answer`].
    pub fn send(&mut self, bytes: &[u8]) {
        let Some(stream) = self.connection() else { return };
        if stream.write_all(bytes).is_err() {
            // What was answered before the connection ended can still be read.
        }
    }

    /// Ends our side of the connection.
    pub fn shut_write(&mut self) {
        if let Some(stream) = &self.stream {
            drop(stream.shutdown(std::net::Shutdown::Write));
        }
    }

    fn connection(&mut self) -> Option<&mut TcpStream> {
        if self.stream.is_none() {
            let (stream, limit) = (TcpStream::connect(self.address).ok()?, self.limit.unwrap_or(PATIENCE));
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(limit)).unwrap();
            stream.set_write_timeout(Some(limit)).unwrap();
            self.ahead.clear();
            self.stream = Some(stream);
        }
        self.stream.as_mut()
    }

    /// The next answer, interim ones left out; nothing where the connection ends before it is whole. A connection
    /// that the answer closes is opened again by the next request.
    pub fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.one_answer();
            if answer.is_none() {
                self.stream = None;
            }
            let answer = answer?;
            if answer.header("connection") == "close" {
                self.stream = None;
            }
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    /// The next answer, interim ones too.
    pub fn one_answer(&mut self) -> Option<Answer> {
        let end = self.read_until(|bytes| bytes.windows(4).position(|four| four == b"\r\n\r\n"))?;
        let head = String::from_utf8(self.ahead.drain(..end + 4).collect()).ok()?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        assert_eq!(answer.header("transfer-encoding"), "", "this client reads sized answers only");
        let length = answer.header("content-length").parse().unwrap_or(0);
        self.read_until(|bytes| (bytes.len() >= length).then_some(length))?;
        answer.body = self.ahead.drain(..length).collect();
        Some(answer)
    }

    fn read_until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        let mut piece = [0_u8; 16 * 1024];
        loop {
            if let Some(at) = found(&self.ahead) {
                return Some(at);
            }
            match self.stream.as_mut()?.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => self.ahead.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.limit.is_none() => {
                    panic!("no answer within {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Whether the connection is still open and silent: what a sender that reuses it relies on.
    pub fn is_open(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let closed = matches!(stream.peek(&mut [0]), Ok(0));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        !closed
    }
}
