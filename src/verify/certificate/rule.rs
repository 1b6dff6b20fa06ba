//! Whether a connection's certificate is one that a source wants: from one of its authorities, with one of its subjects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::subject::{Names, NoSubject, Subject};
use crate::clock::Timestamp;
use crate::reject::{Refused, Reject, quoted};

/// How long a chain that passed is not looked at again.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What no rule can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The file of authorities has none.
    #[error("no certificate in PEM in it")]
    NoCertificate,
    /// One of them cannot be read.
    #[error("certificate {0} in it cannot be read")]
    Certificate(usize),
    /// A subject is none; its place in the list.
    #[error("{1}")]
    Subject(usize, NoSubject),
}

/// What a connection's client has shown: its own certificate first.
pub type ClientChain = Vec<CertificateDer<'static>>;

/// Whose certificate a source wants.
pub struct ClientRule {
    authorities: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
    subjects: Vec<Subject>,
    /// The last that passed: a sender has few certificates and many requests.
    passed: ArcSwapOption<Passed>,
}

struct Passed {
    chain: ClientChain,
    from: Timestamp,
    until: Timestamp,
}

impl fmt::Debug for ClientRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRule").field("subjects", &self.subjects).finish_non_exhaustive()
    }
}

impl ClientRule {
    /// Certificates from the authorities in `pem`, of these subjects; of any where there are none.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn new(pem: &[u8], subjects: &[String]) -> Result<Self, RuleError> {
        let (mut authorities, mut roots) = (Vec::new(), RootCertStore::empty());
        for (index, found) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let authority = found.map_err(|_| RuleError::Certificate(index + 1))?;
            roots.add(authority.clone()).map_err(|_| RuleError::Certificate(index + 1))?;
            authorities.push(authority);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| RuleError::NoCertificate)?;
        let read = |(index, text): (usize, &String)| {
            Subject::parse(text).map_err(|error| RuleError::Subject(index, error))
        };
        let subjects = subjects.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { authorities, verifier, subjects, passed: ArcSwapOption::empty() })
    }

    /// The authorities, for the handshake.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Whether a connection with this chain, the client's own certificate first, may call at `now`.
    ///
    /// # Errors
    /// `ClientCertificateMissing`, `ClientCertificateRefused`.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>, now: Timestamp) -> Result<(), Refused> {
        let missing = || Reject::ClientCertificateMissing.because("the connection has no client certificate");
        let chain = chain.filter(|chain| !chain.is_empty()).ok_or_else(missing)?;
        let known = self.passed.load();
        if known.as_ref().is_some_and(|passed| passed.holds(chain, now)) {
            return Ok(());
        }
        let until = self.look(chain, now)?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        self.passed.store(Some(Arc::new(Passed { chain, from: now, until })));
        Ok(())
    }

    /// Until when the chain need not be looked at again.
    fn look(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Timestamp, Refused> {
        let refused = |why: String| Reject::ClientCertificateRefused.because(why);
        let (own, others) = chain.split_first().ok_or(Reject::ClientCertificateMissing)?;
        let at = Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
        self.verifier
            .verify_client_cert(own, others, UnixTime::since_unix_epoch(at))
            .map_err(|error| refused(format!("not from an authority of this source: {error}")))?;
        let mut until = now.plus(REMEMBERED);
        for certificate in chain {
            let unreadable = |_| refused("a certificate of the chain cannot be read".to_owned());
            let (_, certificate) = X509Certificate::from_der(certificate).map_err(unreadable)?;
            until = until.min(Timestamp::from_seconds(certificate.validity().not_after.timestamp()));
        }
        if self.subjects.is_empty() {
            return Ok(until);
        }
        let (_, own) = X509Certificate::from_der(own)
            .map_err(|_| refused("the certificate cannot be read".to_owned()))?;
        if self.subjects.iter().any(|subject| subject.is_of(&own)) {
            return Ok(until);
        }
        Err(refused(format!("not one of the subjects of this source: {}", quoted(&Names(&own).to_string()))))
    }
}

impl Passed {
    fn holds(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        self.from <= now && now < self.until && self.chain == chain
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            Self { pem, issuer: Issuer::new(params, key) }
        }

        fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
            let mut params = CertificateParams::default();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
            params.distinguished_name.push(DnType::CommonName, "sender");
            params.subject_alt_names = vec![
                SanType::DnsName("Hooks.sender.example".try_into().unwrap()),
                SanType::URI("spiffe://sender/hooks".try_into().unwrap()),
                SanType::Rfc822Name("ops@sender.example".try_into().unwrap()),
                SanType::IpAddress("192.0.2.7".parse().unwrap()),
            ];
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()]
        }

        fn rule(&self, subjects: &[&str]) -> ClientRule {
            let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
            ClientRule::new(self.pem.as_bytes(), &subjects).unwrap()
        }
    }

    fn reject(found: Result<(), Refused>) -> Option<Reject> {
        found.err().map(|refused| refused.reject)
    }

    #[test]
    fn only_a_certificate_of_the_sources_own_authority_passes() {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let rule = ours.rule(&[]);
        let (own, foreign) = (ours.client(|_| ()), theirs.client(|_| ()));
        assert_eq!(reject(rule.judge(None, NOW)), Some(Reject::ClientCertificateMissing));
        assert_eq!(reject(rule.judge(Some(&[]), NOW)), Some(Reject::ClientCertificateMissing));
        assert_eq!(reject(rule.judge(Some(&foreign), NOW)), Some(Reject::ClientCertificateRefused));
        for _ in 0..2 {
            assert_eq!(reject(rule.judge(Some(&own), NOW)), None);
        }
        assert_eq!(reject(rule.judge(Some(&foreign), NOW)), Some(Reject::ClientCertificateRefused));
        let server = ours.client(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        assert_eq!(reject(rule.judge(Some(&server), NOW)), Some(Reject::ClientCertificateRefused));
    }

    #[test]
    fn what_passed_once_does_not_pass_after_its_end() {
        let ours = Authority::new("ours");
        let own = ours.client(|params| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2027, 1, 2);
        });
        let rule = ours.rule(&[]);
        let end: Timestamp = "2027-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(reject(rule.judge(Some(&own), end.minus(Duration::from_secs(1)))), None);
        assert!(reject(rule.judge(Some(&own), end.plus(Duration::from_secs(1)))).is_some());
        let before: Timestamp = "2025-12-31T23:59:59Z".parse().unwrap();
        assert!(reject(rule.judge(Some(&own), before)).is_some());
    }

    #[test]
    fn a_subject_is_compared_whole() {
        let ours = Authority::new("ours");
        let own = ours.client(|_| ());
        let passes =
            |subject: &str| reject(ours.rule(&["other.example", subject]).judge(Some(&own), NOW)).is_none();
        for subject in [
            "O=Acme\\, Inc.,CN=sender",
            "CN=sender,O=Acme\\, Inc.",
            "hooks.SENDER.example",
            "spiffe://sender/hooks",
            "ops@sender.example",
            "192.0.2.7",
        ] {
            assert!(passes(subject), "{subject}");
        }
        for subject in [
            "CN=sender",
            "O=Acme\\, Inc.",
            "O=Acme\\, Inc.,CN=Sender",
            "sender.example",
            "*.sender.example",
            "sender",
            "spiffe://sender/hook",
            "spiffe://sender/hooks/x",
            "Ops@sender.example",
            "192.0.2.70",
        ] {
            assert!(!passes(subject), "{subject}");
        }
        let refused = ours.rule(&["a.example"]).judge(Some(&own), NOW).unwrap_err();
        assert!(refused.detail.contains("Acme, Inc."), "the log says what was there: {}", refused.detail);
    }

    #[test]
    fn a_rule_says_what_it_cannot_be_made_of() {
        let pem = Authority::new("ours").pem;
        let made = |pem: &str, subject: &str| ClientRule::new(pem.as_bytes(), &[subject.to_owned()]).err();
        assert_eq!(made("", "a.example"), Some(RuleError::NoCertificate));
        assert_eq!(made(&pem[..pem.len() - 40], "a.example"), Some(RuleError::Certificate(1)));
        assert!(matches!(made(&pem, "a b"), Some(RuleError::Subject(0, _))));
        let rule = ClientRule::new(pem.as_bytes(), &[]).unwrap();
        assert_eq!(rule.authorities().len(), 1);
    }
}
