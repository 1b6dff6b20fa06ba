//! A certificate from an authority that speaks ACME (RFC 8555), proved by TLS-ALPN-01 (RFC 8737) on the ingress's own port.
//!
//! `rustls_acme` places one order at a time; when to order, how long to wait, where to keep what came, and which
//! certificate is shown is decided here.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::{AcmeConfig, EventError, EventOk, UseChallenge};

use super::kept::{Kept, Stash};
use super::open::{Tls, TlsError};
use super::pair::{self, Pair};
use crate::clock::Timestamp;
use crate::metrics::CertificateReload;
use crate::tasks;

/// The longest time for an order, from its first request to the certificate.
const ORDER_MAX: Duration = Duration::from_secs(600);
/// How long after a failed order the next one is placed: five seconds, four times as long each time, an hour at most. That
/// is below what Let's Encrypt allows in an hour.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How often it is asked whether a certificate is due; a machine that slept finds out soon.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Characters of an authority's words that the log shows.
const SHOWN_CHARS_MAX: usize = 400;

/// How a certificate is ordered.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The DNS names that it is for.
    pub domains: Vec<String>,
    /// Where the authority writes to: `mailto:` URLs.
    pub contact: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// Certificates in PEM that the directory's server is trusted by, beside those that Mozilla trusts.
    pub ca_file: Option<PathBuf>,
    /// The folder of the account's key and the certificate.
    pub dir: PathBuf,
}

/// An authority, and the challenge that is under way.
pub(super) struct Acme {
    settings: AcmeSettings,
    kept: Kept,
    client: Arc<ClientConfig>,
    challenge: ArcSwapOption<ServerConfig>,
}

impl Acme {
    /// # Errors
    /// Where the authorities' file cannot be used.
    pub(super) fn open(settings: AcmeSettings, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            roots.add(root.clone())?;
        }
        if let Some(path) = &settings.ca_file {
            let text = pair::read(path).map_err(|error| TlsError::Unreadable(path.clone(), error))?;
            let unusable = || TlsError::NoAuthority(path.clone());
            let before = roots.len();
            for own in CertificateDer::pem_slice_iter(&text) {
                roots.add(own.map_err(|_| unusable())?).map_err(|_| unusable())?;
            }
            if roots.len() == before {
                return Err(unusable());
            }
        }
        let client = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let kept = Kept::new(&settings);
        Ok(Self { settings, kept, client: Arc::new(client), challenge: ArcSwapOption::empty() })
    }

    /// The certificate that an earlier order brought, where it is still there.
    pub(super) fn kept(&self, provider: &CryptoProvider) -> Option<Pair> {
        let text = match self.kept.certificate() {
            Ok(text) => text?,
            Err(error) => {
                tracing::warn!(%error, "the kept TLS certificate cannot be read; another is ordered");
                return None;
            }
        };
        let pair = Pair::parse(&text, &text, provider);
        pair.inspect_err(
            |error| tracing::warn!(%error, "the kept TLS certificate cannot be used; another is ordered"),
        )
        .ok()
    }

    /// What a challenge is answered with, where one is under way and this is it.
    pub(super) fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let challenge = self.challenge.load();
        challenge.as_ref().filter(|_| rustls_acme::is_tls_alpn_challenge(hello)).cloned()
    }

    /// Orders a certificate, and keeps what comes.
    async fn order(&self, provider: Arc<CryptoProvider>) -> Result<Pair, String> {
        let account = self.kept.account().map_err(|error| format!("the account's key: {error}"))?;
        let stash = Stash::new(account);
        let domains = &self.settings.domains;
        let mut state = AcmeConfig::new_with_client_config(domains, Arc::clone(&self.client))
            .directory(&self.settings.directory)
            .contact(&self.settings.contact)
            .challenge_type(UseChallenge::TlsAlpn01)
            .cache(stash.clone())
            .state();
        let challenge = state.challenge_rustls_config_with_provider(Arc::clone(&provider));
        self.challenge.store(Some(challenge));
        let ordered = tokio::time::timeout(ORDER_MAX, async {
            loop {
                match state.next().await {
                    Some(Ok(EventOk::CertCacheStore)) => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(told(&error)),
                    None => return Err("it ended without a certificate".to_owned()),
                }
            }
        });
        let ordered =
            ordered.await.unwrap_or_else(|_| Err(format!("not done within {} s", ORDER_MAX.as_secs())));
        self.challenge.store(None);
        let (account, certificate) = stash.take();
        if let Some(account) = account {
            self.keep("the account's key", self.kept.keep_account(&account));
        }
        ordered?;
        let text = certificate.ok_or("it ended without a certificate")?;
        let pair = Pair::parse(&text, &text, &provider).map_err(|error| error.to_string())?;
        self.keep("the certificate", self.kept.keep_certificate(&text));
        Ok(pair)
    }

    /// What could not be kept is served all the same; the next start orders again.
    fn keep(&self, what: &str, kept: std::io::Result<()>) {
        if let Err(error) = kept {
            let dir = self.settings.dir.display();
            tracing::error!(%dir, %error, "{what} could not be kept; every start will order a certificate");
        }
    }
}

/// What an authority said, as the log shows it: in ASCII, not without end.
fn told(error: &EventError<Infallible, Infallible>) -> String {
    error.to_string().chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect()
}

/// When a certificate of this validity is to be renewed: after two thirds of it.
fn due((begin, end): (Timestamp, Timestamp)) -> Timestamp {
    let third = end.millis_since(begin) / 3;
    Timestamp::from_millis(end.millis().saturating_sub(third))
}

/// How long the certificate that is shown, if any, is not due yet.
fn wait_of(tls: &Tls) -> Duration {
    let now = tls.clock.now();
    let wait = tls.validity().map_or(0, |validity| due(validity).millis_since(now).max(0));
    Duration::from_millis(u64::try_from(wait).unwrap_or(0))
}

/// Has the certificate renewed for as long as `tls` is in use.
pub(super) async fn keep(tls: Weak<Tls>) {
    let mut retry = RETRY_FIRST;
    loop {
        let wait = {
            let Some(tls) = tls.upgrade() else { return };
            tls.warn();
            wait_of(&tls)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(LOOK_EVERY)).await;
            continue;
        }
        let Some(tls) = tls.upgrade() else { return };
        // One that is due as soon as it comes is no better than none: nobody is asked for another without a pause.
        if renew(&tls).await && wait_of(&tls) > Duration::ZERO {
            retry = RETRY_FIRST;
            continue;
        }
        drop(tls);
        tokio::time::sleep(retry).await;
        retry = (retry * 4).min(RETRY_MAX);
    }
}

/// One order; true where its certificate is shown.
async fn renew(tls: &Arc<Tls>) -> bool {
    let Some(acme) = tls.acme() else { return false };
    let (domains, directory) = (acme.settings.domains.join(" "), &acme.settings.directory);
    tracing::info!(domains, directory, "ordering a TLS certificate");
    let ordering = Arc::clone(tls);
    // In a task of its own, so that a panic in it is a failed order.
    let order = tasks::task(async move {
        let acme = ordering.acme().ok_or_else(|| "no authority".to_owned())?;
        acme.order(Arc::clone(&ordering.constant().provider)).await
    });
    match order.await.unwrap_or_else(|_| Err("the order ended by a fault of its own".to_owned())) {
        Ok(pair) => {
            tls.show(pair);
            true
        }
        Err(error) => {
            tls.metrics().reloaded(CertificateReload::NotIssued);
            tracing::error!(domains, directory, error, "no TLS certificate was issued; it is tried again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_time() {
        let at = |day: i64| Timestamp::from_seconds(day * 86_400);
        assert_eq!(due((at(0), at(90))), at(60));
        assert_eq!(due((at(5), at(5))), at(5));
        assert_eq!(due((at(90), at(0))), at(30), "a validity that ends before it begins is over");
    }
}
