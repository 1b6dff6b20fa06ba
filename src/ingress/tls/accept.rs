//! One handshake, from a socket to a stream, before it is late. What it came to is counted here.

use std::io;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::failure;
use super::open::Tls;
use crate::metrics::HandshakeFailure;
use crate::verify::ClientChain;

/// What a plain request is told: TLS could tell it nothing that its sender understands.
const PLAIN_HTTP: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 126\r\n\r\n",
    r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"this port speaks HTTPS, not plain HTTP"}"#
);
/// How much of what a refused client still sends is taken in, so that the answer reaches it.
const REST_BYTES_MAX: u64 = 64 << 10;
/// How long that may take.
const REST: Duration = Duration::from_secs(1);

/// The plain bytes of a connection.
pub type Stream = TlsStream<TcpStream>;

/// A connection whose handshake has ended well.
#[derive(Debug)]
pub struct Accepted {
    /// The plain bytes.
    pub stream: Stream,
    /// The client's certificate and those behind it, where it has shown one. It holds the key; whose it is is not looked
    /// at.
    pub client: Option<ClientChain>,
}

impl Tls {
    /// Shakes hands. `None` for a connection that was a challenge of ACME and has ended.
    ///
    /// # Errors
    /// Whatever ended the handshake; the client has been told so far as it can be. `TimedOut` once `late` has come,
    /// however much came before.
    pub async fn accept(
        &self,
        io: TcpStream,
        late: impl Future<Output = ()>,
    ) -> io::Result<Option<Accepted>> {
        let shaken = tokio::select! {
            biased;
            shaken = self.handshake(io) => shaken,
            () = late => Err((io::ErrorKind::TimedOut.into(), HandshakeFailure::Late)),
        };
        shaken.map_err(|(error, failure)| {
            self.failed(&error, failure);
            error
        })
    }

    async fn handshake(&self, io: TcpStream) -> Result<Option<Accepted>, (io::Error, HandshakeFailure)> {
        let of = |error: io::Error| {
            let failure = failure::class(&error);
            (error, failure)
        };
        let mut first = [0_u8];
        match io.peek(&mut first).await.map_err(of)? {
            0 => return Err(of(io::ErrorKind::UnexpectedEof.into())),
            _ if first[0].is_ascii_uppercase() => return Err(plain_http(io).await),
            _ => {}
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(of)?;
        if let Some(challenge) = self.challenge(&start.client_hello()) {
            let mut stream = start.into_stream(challenge).await.map_err(of)?;
            tracing::info!("answered a challenge of the certificate authority");
            drop(stream.shutdown().await);
            return Ok(None);
        }
        let config = self.config();
        let stream = start.into_stream(config).await.map_err(|error| self.unserved(error))?;
        let (_, connection): (_, &ServerConnection) = stream.get_ref();
        self.metrics().shaken(connection.protocol_version() == Some(ProtocolVersion::TLSv1_3));
        let client = connection.peer_certificates().filter(|chain| !chain.is_empty());
        let client = client.map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect());
        Ok(Some(Accepted { stream, client }))
    }

    /// The class of an error, less blamed on the client where there was nothing to show it.
    fn unserved(&self, error: io::Error) -> (io::Error, HandshakeFailure) {
        let failure = match self.is_served() {
            true => failure::class(&error),
            false => HandshakeFailure::Unserved,
        };
        (error, failure)
    }
}

async fn plain_http(mut io: TcpStream) -> (io::Error, HandshakeFailure) {
    let told = async {
        io.write_all(PLAIN_HTTP.as_bytes()).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut (&mut io).take(REST_BYTES_MAX), &mut tokio::io::sink()).await
    };
    drop(timeout(REST, told).await);
    let error = io::Error::new(io::ErrorKind::InvalidData, "a request in plain HTTP on a port of HTTPS");
    (error, HandshakeFailure::PlainHttp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_answer_has_the_length_that_it_says() {
        let (head, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 400);
    }
}
