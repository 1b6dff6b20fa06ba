//! The certificate that is shown: swapped while connections run, which go on with the one they began with.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;
use crate::clock::Timestamp;
use crate::metrics::TlsMetrics;
use crate::notice::CERTIFICATE_ENDS_WITHIN;

/// What clients are shown; nothing until there is a certificate.
#[derive(Debug)]
pub(super) struct Served {
    pair: ArcSwapOption<Pair>,
    /// Where certificates come from, as the metrics have it.
    from: &'static str,
    metrics: TlsMetrics,
}

impl Served {
    pub(super) fn new(from: &'static str, metrics: TlsMetrics) -> Self {
        Self { pair: ArcSwapOption::empty(), from, metrics }
    }

    /// Shows `pair` from here on.
    pub(super) fn swap(&self, pair: Pair, now: Timestamp) {
        self.metrics.set_end(self.from, pair.not_after);
        tracing::info!(names = pair.names, ends = %pair.not_after, "TLS shows this certificate");
        self.pair.store(Some(Arc::new(pair)));
        self.warn(now);
    }

    /// What is shown.
    pub(super) fn pair(&self) -> Option<Arc<Pair>> {
        self.pair.load_full()
    }

    /// Warns where the end is near.
    pub(super) fn warn(&self, now: Timestamp) {
        let Some(pair) = self.pair() else { return };
        let (names, ends) = (&pair.names, pair.not_after);
        if ends <= now {
            tracing::error!(names, %ends, "the TLS certificate has ended; senders will refuse it: renew it");
        } else if ends <= now.plus(CERTIFICATE_ENDS_WITHIN) {
            tracing::warn!(names, %ends, "the TLS certificate ends within 14 days: renew it");
        } else if pair.not_before > now {
            tracing::warn!(names, begins = %pair.not_before, "the TLS certificate is not valid yet");
        }
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.load().as_ref().map(|pair| Arc::clone(&pair.certified))
    }
}
