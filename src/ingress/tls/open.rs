//! [`Tls`]: opened once, shared by all who accept connections; its certificate changes under it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;

use super::acme::{self, Acme, AcmeSettings};
use super::config::{self, Constant, MinVersion};
use super::files::{self, Files, Patience};
use super::pair::{Pair, PairError};
use super::served::Served;
use crate::clock::{Clock, Timestamp};
use crate::metrics::{CertificateReload, HandshakeFailure, TlsMetrics};
use crate::tasks;
use crate::telemetry::Budget;

/// Failed handshakes logged in a second, of those worth a warning and of others; all are counted.
const FAILURES_LOGGED: u32 = 5;
/// How often the log warns of an end that is near.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateFrom {
    /// Two files in PEM, which are watched.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// The key of the first.
        key: PathBuf,
    },
    /// An authority that speaks ACME.
    Acme(AcmeSettings),
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where the certificate comes from.
    pub certificate: CertificateFrom,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Whose client certificates some source wants: clients are told of them. Without any, none is asked for.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Why TLS cannot be spoken, or another certificate not be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("file {0:?} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// What the files hold cannot be served.
    #[error("certificate {certificate:?} with key {key:?}: {error}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        error: PairError,
    },
    /// The file of authorities whose servers are trusted has none that can be used.
    #[error("file {0:?} holds no certificate in PEM that can be trusted")]
    NoAuthority(PathBuf),
    /// rustls refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What rustls is told, and the authorities of clients in it.
struct Spoken {
    config: Arc<ServerConfig>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Spoken {
    fn new(constant: &Constant, authorities: Vec<CertificateDer<'static>>) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { config: constant.with(&authorities)?, authorities }))
    }
}

enum Origin {
    Files(Files),
    Acme(Box<Acme>),
}

/// TLS at the ingress.
pub struct Tls {
    constant: Constant,
    spoken: ArcSwap<Spoken>,
    served: Arc<Served>,
    origin: Origin,
    metrics: TlsMetrics,
    pub(super) clock: Arc<dyn Clock>,
    log: Budget,
    /// The same for what is nobody's fault here, so that it hides nothing else.
    noise: Budget,
    /// When the log warned last of an end, in seconds since 1970.
    warned: AtomicI64,
}

impl Tls {
    /// Reads the certificate from its files, or what was kept of an authority's; asks nobody.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(
        settings: TlsSettings,
        clock: Arc<dyn Clock>,
        metrics: TlsMetrics,
    ) -> Result<Arc<Self>, TlsError> {
        let from = match settings.certificate {
            CertificateFrom::Files { .. } => "files",
            CertificateFrom::Acme(_) => "acme",
        };
        let served = Arc::new(Served::new(from, metrics.clone()));
        let constant = Constant::new(Arc::clone(&served), Arc::clone(&clock), settings.min_version);
        let spoken = ArcSwap::new(Spoken::new(&constant, settings.authorities)?);
        let origin = match settings.certificate {
            CertificateFrom::Files { certificate, key } => {
                let files = Files::new(certificate, key);
                let show = |pair| served.swap(pair, clock.now());
                files.look(Patience::None, &constant.provider, |_| Ok(()), show)?;
                Origin::Files(files)
            }
            CertificateFrom::Acme(settings) => {
                let acme = Acme::open(settings, &constant.provider)?;
                if let Some(pair) = acme.kept(&constant.provider) {
                    served.swap(pair, clock.now());
                }
                Origin::Acme(Box::new(acme))
            }
        };
        let (log, noise) = (Budget::new(FAILURES_LOGGED), Budget::new(FAILURES_LOGGED));
        let warned = AtomicI64::new(clock.now().seconds());
        Ok(Arc::new(Self { constant, spoken, served, origin, metrics, clock, log, noise, warned }))
    }

    /// Whether [`Tls::open`] would do with the files that are there.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(settings: &TlsSettings) -> Result<(), TlsError> {
        let provider = config::provider();
        match &settings.certificate {
            CertificateFrom::Files { certificate, key } => {
                let files = Files::new(certificate.clone(), key.clone());
                files.look(Patience::None, &provider, |_| Ok(()), drop).map(drop)
            }
            CertificateFrom::Acme(acme) => Acme::open(acme.clone(), &provider).map(drop),
        }
    }

    /// Begins to watch the files, or to have the certificate renewed; to be called once, within a Tokio runtime. It
    /// ends when nobody uses the value any more.
    pub fn begin(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        match &self.origin {
            Origin::Files(_) => drop(tasks::task(files::watch(weak))),
            Origin::Acme(_) => drop(tasks::task(acme::keep(weak))),
        }
    }

    /// Reads the files at once: true where another certificate is shown from here on. It blocks for as long as two small
    /// files take. One that an authority gave is not read again: false.
    ///
    /// # Errors
    /// What cannot be served; the certificate of before stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.look_with(Patience::None)
    }

    /// When the certificate that is shown ends, if one is.
    pub fn ends(&self) -> Option<Timestamp> {
        self.served.pair().map(|pair| pair.not_after)
    }

    /// Whose client certificates are asked for in handshakes from here on.
    ///
    /// # Errors
    /// An authority that rustls cannot use; those of before stay.
    pub fn trust(&self, authorities: Vec<CertificateDer<'static>>) -> Result<(), TlsError> {
        if self.spoken.load().authorities != authorities {
            self.spoken.store(Spoken::new(&self.constant, authorities)?);
        }
        Ok(())
    }

    /// Looks at the files, as the watch does.
    pub(super) fn look(&self) {
        // Said already.
        drop(self.look_with(Patience::OneLook));
        self.warn();
    }

    fn look_with(&self, patience: Patience) -> Result<bool, TlsError> {
        let Origin::Files(files) = &self.origin else { return Ok(false) };
        let (usable, show) = (|pair: &Pair| self.usable(pair), |pair| self.show(pair));
        files.look(patience, &self.constant.provider, usable, show).inspect_err(|error| {
            self.metrics.reloaded(CertificateReload::Refused);
            tracing::error!(%error, "the TLS certificate was not changed; the one of before is shown");
        })
    }

    /// What has ended takes the place of nothing that has not.
    fn usable(&self, pair: &Pair) -> Result<(), PairError> {
        let now = self.clock.now();
        let better = self.served.pair().is_some_and(|shown| shown.not_after > now);
        if pair.not_after <= now && better { Err(PairError::Ended(pair.not_after)) } else { Ok(()) }
    }

    /// Shows another certificate from here on.
    pub(super) fn show(&self, pair: Pair) {
        self.served.swap(pair, self.clock.now());
        self.metrics.reloaded(CertificateReload::Swapped);
    }

    /// Warns of an end that is near, once a day.
    pub(super) fn warn(&self) {
        let now = self.clock.now();
        let due = self.warned.load(Ordering::Relaxed).saturating_add(WARN_EVERY.as_secs().cast_signed());
        if now.seconds() >= due {
            self.warned.store(now.seconds(), Ordering::Relaxed);
            self.served.warn(now);
        }
    }

    pub(super) fn metrics(&self) -> &TlsMetrics {
        &self.metrics
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.spoken.load().config)
    }

    pub(super) fn constant(&self) -> &Constant {
        &self.constant
    }

    pub(super) fn is_served(&self) -> bool {
        self.served.pair().is_some()
    }

    /// When the certificate that is shown began and ends.
    pub(super) fn validity(&self) -> Option<(Timestamp, Timestamp)> {
        self.served.pair().map(|pair| (pair.not_before, pair.not_after))
    }

    pub(super) fn acme(&self) -> Option<&Acme> {
        match &self.origin {
            Origin::Acme(acme) => Some(acme),
            Origin::Files(_) => None,
        }
    }

    /// What a challenge of ACME is answered with, where this is one.
    pub(super) fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.acme()?.challenge(hello)
    }

    /// Counts a failed handshake; that of a client's certificate is worth a warning, others are the internet's noise.
    pub(super) fn failed(&self, error: &io::Error, failure: HandshakeFailure) {
        self.metrics.failed(failure);
        let reason = failure.label();
        let noise = !matches!(failure, HandshakeFailure::ClientCertificate | HandshakeFailure::Unserved);
        let budget = if noise { &self.noise } else { &self.log };
        let Some(left_out) = budget.take(self.clock.monotonic()) else { return };
        if noise {
            tracing::debug!(reason, %error, left_out, "a TLS handshake failed");
        } else {
            tracing::warn!(reason, %error, left_out, "a TLS handshake failed");
        }
    }
}
