//! TLS at the ingress: handshakes, and the certificate that is shown. Nothing of it shows in a scrape without TLS.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::families::{ByOutcome, ByReason, ByVersion, Float, Metrics};
use crate::clock::Timestamp;

/// Why a handshake failed; the label `reason` of `tls_handshakes_failed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// A request in plain HTTP.
    PlainHttp,
    /// It took too long.
    Late,
    /// The client went away.
    Closed,
    /// The client speaks no version of TLS that is allowed.
    Version,
    /// No cipher, group or signature in common.
    Cipher,
    /// The client wants another protocol than HTTP/1.1.
    Protocol,
    /// The client's certificate cannot be read, is too long, or is not proven to be its own.
    ClientCertificate,
    /// The client broke it off, most often because it does not trust the certificate.
    Alert,
    /// There is no certificate yet.
    Unserved,
    /// What came is no TLS.
    Malformed,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All of them, with their labels.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::PlainHttp, "plain_http"),
        (Self::Late, "late"),
        (Self::Closed, "closed"),
        (Self::Version, "version"),
        (Self::Cipher, "cipher"),
        (Self::Protocol, "protocol"),
        (Self::ClientCertificate, "client_certificate"),
        (Self::Alert, "alert"),
        (Self::Unserved, "unserved"),
        (Self::Malformed, "malformed"),
        (Self::Other, "other"),
    ];

    /// Its label.
    pub const fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What became of a certificate that was to take another's place; the label `outcome` of
/// `tls_certificate_reloads_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateReload {
    /// It is shown from then on.
    Swapped,
    /// It cannot be used, and the one before stays.
    Refused,
    /// The authority was asked by ACME, and gave none.
    NotIssued,
}

impl CertificateReload {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Swapped, "swapped"), (Self::Refused, "refused"), (Self::NotIssued, "not_issued")];
}

/// The label of where a certificate comes from.
type From = [(&'static str, &'static str); 1];

/// What is registered of TLS.
#[derive(Debug, Default)]
pub(super) struct TlsFamilies {
    handshakes: Family<ByVersion, Counter>,
    failed: Family<ByReason, Counter>,
    reloads: Family<ByOutcome, Counter>,
    expiry: Family<From, Float>,
}

impl TlsFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "TLS handshakes that ended well, by version";
        registry.register("tls_handshakes", help, self.handshakes.clone());
        let help = "TLS handshakes that failed, by reason";
        registry.register("tls_handshakes_failed", help, self.failed.clone());
        let help =
            "Certificates that were to take the place of the one that is shown, by what became of them";
        registry.register("tls_certificate_reloads", help, self.reloads.clone());
        let help = "End of the certificate that is shown, since the Unix epoch";
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            help,
            Unit::Seconds,
            self.expiry.clone(),
        );
    }
}

/// The handles of TLS; cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsMetrics {
    handshakes: [Counter; 2],
    failed: [Counter; HandshakeFailure::ALL.len()],
    reloads: [Counter; CertificateReload::ALL.len()],
    expiry: Family<From, Float>,
}

impl Metrics {
    /// The handles of TLS.
    pub fn tls(&self) -> TlsMetrics {
        let TlsFamilies { handshakes, failed, reloads, expiry } = &self.tls;
        let version = |version| handshakes.get_or_create(&ByVersion { version }).clone();
        let failed = |(_, reason)| failed.get_or_create(&ByReason { reason }).clone();
        let reload = |(_, outcome)| reloads.get_or_create(&ByOutcome { outcome }).clone();
        TlsMetrics {
            handshakes: [version("1.2"), version("1.3")],
            failed: HandshakeFailure::ALL.map(failed),
            reloads: CertificateReload::ALL.map(reload),
            expiry: expiry.clone(),
        }
    }
}

impl TlsMetrics {
    /// A handshake has ended well, by TLS 1.3 or else by 1.2.
    pub fn shaken(&self, tls13: bool) {
        self.handshakes[usize::from(tls13)].inc();
    }

    /// A handshake has failed.
    pub fn failed(&self, failure: HandshakeFailure) {
        self.failed[failure as usize].inc();
    }

    /// A certificate was to take another's place.
    pub fn reloaded(&self, reload: CertificateReload) {
        self.reloads[reload as usize].inc();
    }

    /// A certificate `from` somewhere (a word of the code's own) is shown that ends then.
    pub fn set_end(&self, from: &'static str, end: Timestamp) {
        self.expiry.get_or_create(&[("from", from)]).set(end.seconds() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_index_their_counts() {
        for (index, (failure, label)) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!((failure as usize, failure.label()), (index, label));
        }
        for (index, (reload, _)) in CertificateReload::ALL.into_iter().enumerate() {
            assert_eq!(reload as usize, index);
        }
    }

    #[test]
    fn nothing_shows_before_tls_is_in_use() {
        let metrics = Metrics::new();
        assert!(!metrics.encode().contains("tls"), "{}", metrics.encode());
        let tls = metrics.tls();
        tls.failed(HandshakeFailure::Late);
        tls.set_end("files", Timestamp::from_seconds(1_900_000_000));
        let text = metrics.encode();
        for line in [
            "hookgate_tls_handshakes_failed_total{reason=\"late\"} 1",
            "hookgate_tls_handshakes_total{version=\"1.3\"} 0",
            "hookgate_tls_certificate_reloads_total{outcome=\"refused\"} 0",
            "hookgate_tls_certificate_expiry_timestamp_seconds{from=\"files\"} 1900000000.0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
