//! Connections that say exactly what they are told, from an address of their own, and hear everything that comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::gateway::Answer;
use crate::tls::party::NAME;

/// How long silence lasts until nothing more is expected.
const SILENCE: Duration = Duration::from_millis(60);
/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often one looks.
const LOOK: Duration = Duration::from_millis(20);

/// A loopback address that nobody else has: what is counted by address is counted for this caller alone.
pub fn stranger() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, a, b, c] = (number * 4 + 1).to_be_bytes();
    IpAddr::from(Ipv4Addr::new(127, 64 | a, b, c))
}

/// What came back on a connection.
#[derive(Debug)]
pub struct Heard {
    /// Answers, interim ones left out.
    pub answers: Vec<Answer>,
    /// What is no whole answer.
    pub rest: Vec<u8>,
    /// Whether the other side ended the connection.
    pub closed: bool,
    /// From the first byte said to the last heard.
    pub took: Duration,
}

/// When one has heard enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// When the other side ends the connection.
    Closed,
    /// When there was an answer, and nothing more for a while.
    Answered,
    /// When there were so many answers.
    Answers(usize),
}

impl Wait {
    /// Whether silence after these answers is the end. After a 2xx nobody ends a connection.
    fn is_over(self, answers: &[Answer]) -> bool {
        let last = answers.last().map(|answer| answer.status);
        last.is_some_and(|status| match self {
            Self::Closed => status < 300,
            Self::Answered => true,
            // Silence on a busy machine is no answer.
            Self::Answers(_) => false,
        })
    }
}

/// What bytes go over: plain, or under TLS.
trait Carrier: Read + Write + Send {}

impl<T: Read + Write + Send> Carrier for T {}

/// A connection.
pub struct Wire {
    carrier: Box<dyn Carrier>,
    heard: Vec<u8>,
    begun: Instant,
}

impl Wire {
    /// Opens a connection from `from`; nothing where it is refused.
    pub fn open(from: IpAddr, to: SocketAddr) -> Option<Self> {
        // The standard library cannot bind a connection before it is made.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(from, 0)).unwrap();
            socket.connect(to).await
        });
        let stream = stream.ok()?.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        Some(Self { carrier: Box::new(stream), heard: Vec::new(), begun: Instant::now() })
    }

    /// The same under TLS, where the client's configuration is there; nothing where hands are not shaken.
    pub fn under(self, tls: Option<&Arc<ClientConfig>>) -> Option<Self> {
        let Some(tls) = tls else { return Some(self) };
        let name = ServerName::try_from(NAME).unwrap();
        let (mut connection, mut below) =
            (ClientConnection::new(Arc::clone(tls), name).unwrap(), self.carrier);
        while connection.is_handshaking() {
            match connection.complete_io(&mut below) {
                Ok(_) => {}
                Err(error) if is_silence(&error) && self.begun.elapsed() < HANDSHAKE => {}
                Err(_) => return None,
            }
        }
        let carrier = Box::new(StreamOwned::new(connection, below));
        Some(Self { carrier, heard: Vec::new(), begun: Instant::now() })
    }

    /// Says `bytes`; false where the other side no longer takes them.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.carrier.write_all(bytes).and_then(|()| self.carrier.flush()).is_ok()
    }

    /// Reads what is there; false when the other side has ended the connection.
    pub fn listen(&mut self) -> bool {
        let mut piece = [0_u8; 16 * 1024];
        match self.carrier.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.heard.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) => is_silence(&error),
        }
    }

    /// Listens until it has heard enough, at most `limit` long.
    pub fn hear(mut self, wait: Wait, limit: Duration) -> Heard {
        let end = Instant::now() + limit;
        let (mut last, mut closed) = (Instant::now(), false);
        while !closed && Instant::now() < end {
            let before = self.heard.len();
            closed = !self.listen();
            if let Wait::Answers(wanted) = wait
                && answers(&self.heard).0.len() >= wanted
            {
                break;
            }
            if self.heard.len() > before {
                last = Instant::now();
            } else if last.elapsed() > SILENCE && wait.is_over(&answers(&self.heard).0) {
                break;
            }
        }
        let (answers, rest) = answers(&self.heard);
        Heard { answers, rest, closed, took: self.begun.elapsed() }
    }
}

/// Whether nothing came, for a while.
fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The answers in `bytes`, and what follows the last.
fn answers(mut bytes: &[u8]) -> (Vec<Answer>, Vec<u8>) {
    let mut found = Vec::new();
    while let Some((answer, length)) = answer(bytes) {
        bytes = &bytes[length..];
        if answer.status >= 200 {
            found.push(answer);
        }
    }
    (found, bytes.to_vec())
}

fn answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").parse().unwrap_or(0);
    answer.body = bytes.get(end..end + length)?.to_vec();
    Some((answer, end + length))
}
