//! What rustls is told: versions, ciphers, tickets, whose client certificates are asked for. The one place that chooses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::asking::Asking;
use super::served::Served;
use crate::clock::Clock;

/// The one protocol that is spoken.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2: ECDHE with AES-GCM or ChaCha20-Poly1305 and nothing else.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The gateway's clock, as rustls asks for it.
struct Told(Arc<dyn Clock>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().millis()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// What stays the same when the authorities of clients change.
pub(super) struct Constant {
    pub provider: Arc<CryptoProvider>,
    served: Arc<Served>,
    clock: Arc<dyn Clock>,
    min_version: MinVersion,
}

/// The provider of every cipher here.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Constant {
    pub(super) fn new(served: Arc<Served>, clock: Arc<dyn Clock>, min_version: MinVersion) -> Self {
        Self { provider: provider(), served, clock, min_version }
    }

    /// A configuration that asks for a client certificate, and insists on none, where there are authorities.
    ///
    /// # Errors
    /// An authority that rustls cannot use; a system that gives no random bytes.
    pub(super) fn with(
        &self,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[_] = match self.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let time = Arc::new(Told(Arc::clone(&self.clock)));
        let builder = ServerConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_protocol_versions(versions)?;
        let builder = if authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone())?;
            }
            let provider = Arc::clone(&self.provider);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(Asking(verifier)))
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.served) as Arc<_>);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // The keys change every six hours and are in no file. A session that began when no certificate was asked for has
        // none: with other authorities none is resumed.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.ignore_client_order = true;
        Ok(Arc::new(config))
    }
}
