//! A small HTTPS server with an authority of its own, from which keys are fetched: it counts what it is asked, and
//! misbehaves where it is told to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What stands at a path.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How long it takes to answer.
    pub delay: Duration,
    /// Whether the body goes on for ever.
    pub endless: bool,
    /// Between two bytes of the body.
    pub drip: Duration,
}

impl Page {
    /// A page with status 200.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// A page with nothing on it.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    asked: Vec<String>,
    connections: usize,
    away: bool,
}

/// The server; it goes on until the test ends.
pub struct Origin {
    address: SocketAddr,
    ca: String,
    state: Arc<Mutex<State>>,
}

impl Origin {
    /// Listens on a free loopback port, as `localhost` and `127.0.0.1`.
    pub fn start() -> Self {
        let (config, ca) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        drop(spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                drop(spawn(move || serve(stream, config, &state)));
            }
        }));
        Self { address, ca, state }
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The certificate of its authority.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Puts a page at a path.
    pub fn put(&self, path: &str, page: Page) {
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// Closes every connection at once, or no longer.
    pub fn away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    /// How often paths that begin so were asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| asked.starts_with(path)).count()
    }

    /// Connections that were opened.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

fn tls() -> (Arc<ServerConfig>, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let pair = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&pair, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config), issuer.pem())
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) {
    {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        if state.away {
            return;
        }
    }
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let Some(path) = asked(&mut stream) else { return };
    let page = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        state.pages.get(&path).cloned().unwrap_or_else(|| Page::status(404))
    };
    sleep(page.delay);
    // A client that has gone is no fault of the server's.
    drop(answer(&mut stream, &page));
}

fn asked(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    head.strip_prefix("GET ")?.split(' ').next().map(str::to_owned)
}

fn answer(stream: &mut impl Write, page: &Page) -> std::io::Result<()> {
    let length = if page.endless { usize::MAX >> 1 } else { page.body.len() };
    let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {length}\r\n", page.status);
    for (name, value) in &page.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if page.drip > Duration::ZERO {
        for byte in &page.body {
            stream.write_all(&[*byte])?;
            stream.flush()?;
            sleep(page.drip);
        }
    }
    if page.endless {
        loop {
            stream.write_all(&[b' '; 16 * 1024])?;
        }
    }
    stream.write_all(&page.body)?;
    stream.flush()
}
