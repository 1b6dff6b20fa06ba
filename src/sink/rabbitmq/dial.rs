//! Opens a connection that can be cut.
//!
//! lapin runs each connection on a thread of its own that waits for its peer without a deadline: against a
//! broker that accepts and then says nothing, every abandoned connect or close would leave a thread and a
//! socket behind. So a second handle of the socket is kept here; shutting that down ends the thread.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::uri::AMQPScheme;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, tcp::OwnedTLSConfig};
use tokio::time::timeout;

use super::Settings;
use super::health::Trouble;

/// How long a polite goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The last byte of an AMQP frame.
const FRAME_END: u8 = 0xce;
/// More than any server's first frame.
const GREETING_BYTES_MAX: usize = 4096;

/// A second handle of a connection's socket; dropping it ends the connection.
#[derive(Default)]
struct Lifeline(Arc<Mutex<Socket>>);

#[derive(Default)]
struct Socket {
    stream: Option<TcpStream>,
    cut: bool,
}

impl Lifeline {
    fn share(&self) -> Arc<Mutex<Socket>> {
        Arc::clone(&self.0)
    }
}

impl Socket {
    /// Keeps the socket of a connection under way; closes it at once where that was given up meanwhile.
    fn hold(&mut self, stream: TcpStream) -> std::io::Result<()> {
        if self.cut {
            stream.shutdown(Shutdown::Both)?;
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn cut(&mut self) {
        self.cut = true;
        if let Some(stream) = self.stream.take() {
            // Fails only where the peer closed first, which is as good.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cut();
    }
}

/// A connection and the means to end it whatever the peer does. Dropping it cuts it off.
pub(super) struct Line {
    connection: Connection,
    _lifeline: Lifeline,
}

impl Line {
    /// Connects, with a deadline on name, TCP and TLS together and one on the AMQP handshake.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Trouble> {
        let lifeline = Lifeline::default();
        let socket = lifeline.share();
        let step = settings.pace.step;
        let properties = ConnectionProperties::default().with_connection_name("hookgate".into());
        let connecting = Connection::connector(
            settings.uri().clone(),
            lapin::runtime::default_runtime().map_err(|error| Trouble::of(&error))?,
            async move |uri, runtime| {
                let reach = async {
                    let host = (uri.authority.host.as_str(), uri.authority.port);
                    let addresses: Vec<_> = tokio::net::lookup_host(host).await?.collect();
                    let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        let handle = TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?);
                        handle.set_nodelay(true)?;
                        socket.lock().unwrap_or_else(PoisonError::into_inner).hold(handle)?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => {
                            stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await
                        }
                    }
                };
                let reached = timeout(step, reach).await.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()));
                reached.map_err(lapin::Error::from)
            },
            properties,
        );
        match timeout(step * 2, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, _lifeline: lifeline }),
            Ok(Err(error)) => Err(Trouble::of(&error)),
            Err(_) => Err(Trouble::Passing(format!("no AMQP handshake within {step:?}"))),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says goodbye, then cuts the line whether or not the broker answered.
    pub(super) async fn close(self) {
        let bye = self.connection.close(200, "OK".into());
        if let Ok(Err(error)) = timeout(GOODBYE, bye).await {
            tracing::debug!(%error, "the broker did not take leave");
        }
    }
}

/// What the server calls itself, read from the first frame of a connection of its own. lapin does not tell it.
/// None over TLS and wherever the answer is not understood.
pub(super) async fn server_version(settings: &Settings) -> Option<String> {
    let uri = settings.uri();
    if uri.scheme != AMQPScheme::AMQP {
        return None;
    }
    let asking = async {
        let stream =
            tokio::net::TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
        stream.writable().await?;
        stream.try_write(b"AMQP\x00\x00\x09\x01")?;
        let mut start = Vec::with_capacity(GREETING_BYTES_MAX);
        while start.len() < GREETING_BYTES_MAX && !start.ends_with(&[FRAME_END]) {
            stream.readable().await?;
            let mut part = [0_u8; GREETING_BYTES_MAX];
            match stream.try_read(&mut part) {
                Ok(0) => break,
                Ok(read) => start.extend_from_slice(&part[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok::<_, std::io::Error>(start)
    };
    let start = timeout(settings.pace.step, asking).await.ok()?.ok()?;
    let version = long_string(&start, b"\x07versionS")?;
    Some(match long_string(&start, b"\x07productS") {
        Some(product) => format!("{product} {version}"),
        None => version,
    })
}

/// A long string in a field table, found by its name and type tag.
fn long_string(frame: &[u8], field: &[u8]) -> Option<String> {
    let at = frame.windows(field.len()).position(|window| window == field)? + field.len();
    let (length, rest) = frame.get(at..)?.split_first_chunk::<4>()?;
    let text = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let printable = text.len() <= 64 && text.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    printable.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_long_string_and_nothing_beyond_the_frame() {
        let frame = b"..\x07versionS\x00\x00\x00\x063.10.8\x08platformS";
        assert_eq!(long_string(frame, b"\x07versionS").as_deref(), Some("3.10.8"));
        assert_eq!(long_string(frame, b"\x07productS"), None);
        assert_eq!(long_string(b"\x07versionS\xff\xff\xff\xffabc", b"\x07versionS"), None);
        assert_eq!(long_string(b"\x07versionS\x00\x00", b"\x07versionS"), None);
        assert_eq!(long_string(b"\x07versionS\x00\x00\x00\x02a\n", b"\x07versionS"), None);
    }
}
