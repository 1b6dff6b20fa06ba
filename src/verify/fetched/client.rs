//! One GET by `https`: no redirects, no proxy, no cookies, bounded in size and time, at most eight at once.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ureq::config::Config;
use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use super::address::is_public;
use crate::provider::PinnedUrl;
use crate::tasks;

/// Longest answer, in bytes.
const BODY_BYTES_MAX: u64 = 256 << 10;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Fetches at once.
const AT_ONCE: usize = 8;
/// Of them, those for keys that no delivery has been verified with.
const UNPROVEN_AT_ONCE: usize = 4;
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 8;

/// How keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Longest time for all of a fetch.
    pub timeout: Duration,
    /// Whether addresses that are not of the public internet may be called.
    pub allow_private: bool,
    /// Certificates in PEM that are trusted beside those that Mozilla trusts.
    pub ca: Option<Vec<u8>>,
}

/// Settings that no client can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The file of certificates has none.
    #[error("no certificate in PEM in it")]
    NoCertificate,
    /// A certificate in it cannot be read.
    #[error("certificate {0} in it cannot be read")]
    Certificate(usize),
}

/// Why nothing was fetched: never with what was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The server says that there is no such thing.
    #[error("the server answered {0}")]
    Missing(u16),
    /// Another status than 200; redirects too, which are not followed.
    #[error("the server answered {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("the answer has more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// It took too long.
    #[error("not fetched within {} ms", .0.as_millis())]
    Late(Duration),
    /// No address of the host may be called.
    #[error(
        "the host has no address of the public internet; fetch.allow_private = true lets others be called"
    )]
    Private,
    /// Anything on the way.
    #[error("{0}")]
    Failed(String),
}

/// What came.
pub(super) struct Fetched {
    /// The body.
    pub bytes: Vec<u8>,
    /// How long it may be kept, where the server says so.
    pub max_age: Option<Duration>,
}

/// Whether strangers can have asked for it: what only the configuration or a verified delivery asks for waits for no
/// stranger's fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Proven,
    Unproven,
}

/// The authorities that Mozilla trusts.
fn public_roots() -> Vec<Certificate<'static>> {
    let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    all.map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect()
}

fn believing(roots: Vec<Certificate<'static>>, anybody: bool) -> TlsConfig {
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .disable_verification(anybody)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build()
}

/// How a command of an operator speaks TLS: to hosts that an authority vouches for that Mozilla trusts; or to `anybody`,
/// as fits a listener of one's own that is called by an address and has the certificate of a name.
pub fn operators_tls(anybody: bool) -> TlsConfig {
    believing(public_roots(), anybody)
}

/// Fetches; cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    timeout: Duration,
    all: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the roots that Mozilla trusts and those of the settings.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let mut roots = public_roots();
        if let Some(pem) = &settings.ca {
            roots.extend(own_roots(pem)?);
        }
        let config = Config::builder()
            .tls_config(believing(roots, false))
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections(0)
            .timeout_global(Some(settings.timeout))
            .user_agent(concat!("hookgate/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Addresses { allow_private: settings.allow_private };
        Ok(Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            timeout: settings.timeout,
            all: Arc::new(Semaphore::new(AT_ONCE)),
            unproven: Arc::new(Semaphore::new(UNPROVEN_AT_ONCE)),
        })
    }

    /// Fetches; ends within the time of the settings, waiting for its turn included. To be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// Anything but a status of 200 and a whole body.
    pub(super) async fn get(&self, url: &PinnedUrl, standing: Standing) -> Result<Fetched, FetchError> {
        let call = async {
            let turn = self.turn(standing).await?;
            let (agent, url) = (self.agent.clone(), url.clone());
            // The turn goes with the call: one that outlives its caller still counts.
            let call = tasks::blocking(move || (fetch(&agent, &url), turn));
            let (fetched, turn) = call.await.map_err(|_| stopped())?;
            drop(turn);
            fetched
        };
        let late = |_| FetchError::Late(self.timeout);
        tokio::time::timeout(self.timeout, call).await.map_err(late)?
    }

    async fn turn(&self, standing: Standing) -> Result<Turn, FetchError> {
        let take =
            async |from: &Arc<Semaphore>| Arc::clone(from).acquire_owned().await.map_err(|_| stopped());
        let unproven = match standing {
            Standing::Proven => None,
            Standing::Unproven => Some(take(&self.unproven).await?),
        };
        Ok(Turn { _unproven: unproven, _all: take(&self.all).await? })
    }
}

/// The right to one fetch, until it is dropped.
struct Turn {
    _unproven: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

fn stopped() -> FetchError {
    FetchError::Failed("the gateway is stopping".to_owned())
}

fn own_roots(pem: &[u8]) -> Result<Vec<Certificate<'static>>, ClientError> {
    let mut roots = Vec::new();
    for (index, item) in parse_pem(pem).enumerate() {
        match item {
            Ok(PemItem::Certificate(root))
                if rustls::RootCertStore::empty().add(root.der().into()).is_ok() =>
            {
                roots.push(root);
            }
            Ok(PemItem::PrivateKey(_)) => {}
            Ok(_) | Err(_) => return Err(ClientError::Certificate(index + 1)),
        }
    }
    if roots.is_empty() { Err(ClientError::NoCertificate) } else { Ok(roots) }
}

fn fetch(agent: &Agent, url: &PinnedUrl) -> Result<Fetched, FetchError> {
    let mut response = agent.get(url.as_str()).call().map_err(|error| failed(&error))?;
    match response.status().as_u16() {
        200 => {}
        status @ (404 | 410) => return Err(FetchError::Missing(status)),
        status => return Err(FetchError::Status(status)),
    }
    let max_age = max_age(&response);
    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX);
    let bytes = body.read_to_vec().map_err(|error| failed(&error))?;
    Ok(Fetched { bytes, max_age })
}

fn failed(error: &Error) -> FetchError {
    match error {
        Error::BodyExceedsLimit(_) => FetchError::TooLong,
        Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<NoPublicAddress>()) => {
            FetchError::Private
        }
        other => FetchError::Failed(other.to_string()),
    }
}

/// What `Cache-Control` allows, less the age that the answer has already.
fn max_age(response: &Response<Body>) -> Option<Duration> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let control = text(header::CACHE_CONTROL)?.to_ascii_lowercase();
    let directives = || control.split(',').map(str::trim);
    if directives().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives().find_map(|directive| directive.strip_prefix("max-age="))?.trim_matches('"');
    let age = text(header::AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
    Some(Duration::from_secs(seconds.parse::<u64>().ok()?.saturating_sub(age)))
}

/// Looks names up, and keeps the addresses that may be called: the connection goes to one of these and no other.
#[derive(Debug)]
struct Addresses {
    allow_private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("no address of the public internet")]
struct NoPublicAddress;

impl Resolver for Addresses {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let found = (host, uri.port_u16().unwrap_or(443)).to_socket_addrs()?;
        let (mut allowed, mut refused) = (self.empty(), false);
        for address in found.take(ADDRESSES_MAX) {
            if self.allow_private || is_public(address.ip()) {
                allowed.push(address);
            } else {
                refused = true;
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, true) => Err(Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, NoPublicAddress))),
            (true, false) => Err(Error::HostNotFound),
        }
    }
}
