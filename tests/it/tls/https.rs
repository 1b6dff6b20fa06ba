//! A client of HTTPS: one kept-alive connection, with a certificate of its own or none.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::party::{Issued, NAME};
use crate::gateway::{Answer, Signed};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a client speaks, and whom it trusts.
pub struct Caller<'a> {
    pub trusts: &'a str,
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub own: Option<&'a Issued>,
    /// Whether the own certificate is shown whatever authorities the server names.
    pub whoever_asks: bool,
}

impl<'a> Caller<'a> {
    pub fn of(trusts: &'a str) -> Self {
        Self { trusts, versions: rustls::ALL_VERSIONS, own: None, whoever_asks: false }
    }

    pub fn showing(self, own: &'a Issued) -> Self {
        Self { own: Some(own), ..self }
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.trusts.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let Some(own) = self.own else { return Arc::new(builder.with_no_client_auth()) };
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        if !self.whoever_asks {
            return Arc::new(builder.with_client_auth_cert(vec![own.der()], key).unwrap());
        }
        let provider = aws_lc_rs::default_provider();
        let own = rustls::sign::CertifiedKey::from_der(vec![own.der()], key, &provider).unwrap();
        let own = rustls::sign::SingleCertAndKey::from(own);
        Arc::new(builder.with_client_cert_resolver(Arc::new(own)))
    }
}

/// A connection.
pub struct Https {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Https {
    /// Connects and shakes hands; nothing where the server refuses.
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Self> {
        let tcp = TcpStream::connect(address).ok()?;
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection =
            ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME).unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(Self { stream })
    }

    /// The certificate that the server has shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone()
    }

    pub fn version(&self) -> Option<ProtocolVersion> {
        self.stream.conn.protocol_version()
    }

    /// A signed request; nothing where the connection ended instead of an answer.
    pub fn deliver(&mut self, signed: &Signed) -> Option<Answer> {
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {NAME}\r\n", signed.path);
        for (name, value) in signed.pairs() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", signed.body.len()));
        self.stream.write_all(&[head.as_bytes(), &signed.body].concat()).ok()?;
        self.stream.flush().ok()?;
        self.answer()
    }

    /// Asks again and again and takes no answer: how long until the other side ends it, where it does within `limit`.
    pub fn never_reads(mut self, request: &[u8], limit: Duration) -> Option<Duration> {
        let begun = Instant::now();
        self.stream.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while begun.elapsed() < limit {
            let said = self.stream.write(request).and_then(|_| self.stream.flush());
            match said.map_err(|error| error.kind()) {
                Ok(()) | Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Some(begun.elapsed()),
            }
        }
        None
    }

    fn answer(&mut self) -> Option<Answer> {
        let (mut read, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(answer) = whole(&read) {
                return Some(answer);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => read.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer in {PATIENCE:?}"),
                Err(_) => return None,
            }
        }
    }
}

/// The answer, once all of it is there.
fn whole(read: &[u8]) -> Option<Answer> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&read[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let answer = Answer { status, headers: lines.filter_map(header).collect(), body: Vec::new() };
    let length: usize = answer.header("content-length").parse().unwrap_or(0);
    (read.len() >= end + length).then(|| Answer { body: read[end..end + length].to_vec(), ..answer })
}
