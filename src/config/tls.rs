//! `[ingress.tls]` and the client certificates of a source: the keys, and what must hold between them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::path::KeyPath;
use super::report::{Report, quoted};
use super::settings::{Ingress, Settings};

/// Where Let's Encrypt gives certificates that browsers and senders trust.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The most names of one certificate, as Let's Encrypt has it.
const DOMAINS_MAX: usize = 100;

/// `[ingress.tls]`: HTTPS at the public listener, with a certificate from two files or by ACME, never both. Without this
/// table the listener speaks plain HTTP, which is for loopback and for what stands behind a proxy.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Tls {
    /// The file of the certificate chain in PEM, the server's own first. It is watched, as the key's is, and another one
    /// shown without a restart. Default: none.
    pub certificate: Option<PathBuf>,
    /// The file of the certificate's private key in PEM. Default: none.
    pub key: Option<PathBuf>,
    /// The oldest version of TLS that is spoken. Default `"1.2"`.
    pub min_version: TlsVersion,
    /// `[ingress.tls.acme]`: an authority that is asked for the certificate. Default: none.
    pub acme: Option<Acme>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum TlsVersion {
    /// 1.2, and 1.3 with those who speak it.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[ingress.tls.acme]`: a certificate that an authority issues by ACME, and renews after two thirds of its time.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Acme {
    /// The DNS names that the certificate is for; all lead to this gateway's port 443. Needed.
    pub domains: Vec<String>,
    /// Mail addresses that the authority may write to. Default `[]`.
    pub contact: Vec<String>,
    /// The URL of the authority's directory. Default `"https://acme-v02.api.letsencrypt.org/directory"`, Let's Encrypt's.
    pub directory: String,
    /// A file of certificates in PEM that the directory's server is trusted by, beside those that Mozilla trusts: for an
    /// authority of your own. Default: none.
    pub ca_file: Option<PathBuf>,
    /// The folder that the account's key and the certificate are kept in, for their owner alone. Default `"data/acme"`.
    pub dir: PathBuf,
    /// How it is proved that the domains lead here: by a handshake of its own kind at this listener, which a proxy in front
    /// must pass on as TCP. Default `"tls-alpn-01"`, all there is.
    pub challenge: Challenge,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            directory: LETS_ENCRYPT.to_owned(),
            ca_file: None,
            dir: PathBuf::from("data/acme"),
            challenge: Challenge::default(),
        }
    }
}

/// How it is proved that a domain leads here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Challenge {
    /// By a handshake (RFC 8737).
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// `client_certificates` of a source: whose certificate a connection must have shown.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { ca_file = \"ca.pem\", subjects = [\"CN=sender\"] }"
)]
pub struct ClientCertificates {
    /// A file of the authorities in PEM that the certificate must come from. Needed.
    pub ca_file: PathBuf,
    /// Names of which the certificate must have one, compared whole: `"O=…,CN=…"` for its subject, or a DNS name, URI,
    /// mail or IP address among its alternative names. Default: any that comes from the authorities.
    pub subjects: Option<Vec<String>>,
}

impl Ingress {
    /// A warning where plain HTTP is spoken to more than this machine, and nobody said that this is meant.
    pub fn exposed(&self) -> Option<String> {
        let local = self.listen.ip().to_canonical().is_loopback();
        let meant = self.plain_http || !self.trusted_proxies.is_empty();
        (self.tls.is_none() && !local && !meant).then(|| {
            format!(
                "ingress.listen = \"{}\" speaks plain HTTP to whoever can reach it: what senders send, tokens among it, \
                 can be read and changed on the way. Set [ingress.tls]; or, behind a proxy that speaks TLS, \
                 ingress.trusted_proxies or ingress.plain_http = true",
                self.listen
            )
        })
    }
}

/// Values of `[ingress.tls]` that are wrong by themselves.
pub(super) fn single(settings: &Settings, report: &mut Report) {
    let Some(acme) = settings.ingress.tls.as_ref().and_then(|tls| tls.acme.as_ref()) else { return };
    let key = KeyPath::from("ingress.tls.acme");
    for (index, domain) in acme.domains.iter().enumerate().filter(|(_, domain)| !is_domain(domain)) {
        let allowed = "a DNS name in lower case without a wildcard, such as \"hooks.example.com\"";
        report.error(key.key("domains").index(index), quoted(domain), allowed);
    }
    if acme.domains.len() > DOMAINS_MAX {
        let allowed = format!("at most {DOMAINS_MAX}");
        report.error(key.key("domains"), format!("{} names", acme.domains.len()), allowed);
    }
    for (index, contact) in acme.contact.iter().enumerate().filter(|(_, contact)| !is_mail(contact)) {
        let allowed = "a mail address, such as \"ops@example.com\"";
        report.error(key.key("contact").index(index), quoted(contact), allowed);
    }
    if !is_https(&acme.directory) {
        let allowed = "an https:// URL of an ACME directory";
        report.error(key.key("directory"), quoted(&acme.directory), allowed);
    }
    if is_empty(&acme.dir) {
        report.error(key.key("dir"), quoted(""), "the path of a folder");
    }
}

/// A certificate comes from files or by ACME, and who wants those of clients speaks TLS.
pub(super) fn between(settings: &Settings, report: &mut Report) {
    let key = KeyPath::from("ingress.tls");
    match &settings.ingress.tls {
        Some(tls) => {
            from_one_place(tls, report);
            if settings.ingress.plain_http {
                report.error("ingress.plain_http", "true", "false, beside [ingress.tls]");
            }
        }
        None => {
            for name in settings.sources.iter().filter(|(_, source)| source.client_certificates.is_some()) {
                let wanting = KeyPath::from("sources").key(name.0).key("client_certificates");
                let allowed = "nothing without [ingress.tls]: only a TLS connection has a client certificate";
                if !report.tells_of(&key) {
                    report.error(wanting, "a table", allowed);
                }
            }
        }
    }
}

fn from_one_place(tls: &Tls, report: &mut Report) {
    let key = KeyPath::from("ingress.tls");
    let files = [("certificate", &tls.certificate), ("key", &tls.key)];
    match &tls.acme {
        Some(acme) => {
            for (name, _) in files.iter().filter(|(_, file)| file.is_some()) {
                let allowed = "nothing beside [ingress.tls.acme], which gets certificate and key itself";
                report.error(key.key(name), "a file", allowed);
            }
            if acme.domains.is_empty() {
                let allowed = "the DNS names that the certificate is for, such as [\"hooks.example.com\"]";
                report.missing(key.key("acme").key("domains"), allowed);
            }
        }
        None => {
            for (name, file) in files {
                match file {
                    Some(file) if is_empty(file) => {
                        report.error(key.key(name), quoted(""), "the path of a file in PEM");
                    }
                    Some(_) => {}
                    None => report.missing(key.key(name), "the path of a file in PEM; or [ingress.tls.acme]"),
                }
            }
        }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn is_domain(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(legal)
    };
    text.len() <= 253 && text.split('.').all(label) && text.parse::<IpAddr>().is_err()
}

fn is_mail(text: &str) -> bool {
    let parts = text.split_once('@');
    text.bytes().all(|b| b.is_ascii_graphic())
        && parts.is_some_and(|(local, host)| !local.is_empty() && !local.contains(':') && !host.is_empty())
}

fn is_https(text: &str) -> bool {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && !host.contains('@') && rest.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_warned_of_where_nobody_meant_it() {
        let ingress = |change: fn(&mut Ingress)| {
            let mut ingress = Ingress::default();
            change(&mut ingress);
            ingress.exposed().is_some()
        };
        assert!(ingress(|_| ()));
        assert!(ingress(|ingress| ingress.listen = "[2001:db8::1]:80".parse().unwrap()));
        assert!(!ingress(|ingress| ingress.listen = "127.0.0.2:80".parse().unwrap()));
        assert!(!ingress(|ingress| ingress.listen = "[::ffff:127.0.0.1]:80".parse().unwrap()));
        assert!(!ingress(|ingress| ingress.plain_http = true));
        assert!(!ingress(|ingress| ingress.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()]));
        assert!(!ingress(|ingress| ingress.tls = Some(Tls::default())));
    }

    #[test]
    fn domains_are_such_as_a_handshake_can_name() {
        for text in ["hooks.example.com", "a", "xn--bcher-kva.example", "1.example"] {
            assert!(is_domain(text), "{text:?}");
        }
        for text in [
            "",
            "*.a.example",
            "A.example",
            "a..b",
            "a.example.",
            "-a.b",
            "a-.b",
            "192.0.2.1",
            "a_b.c",
            "b\u{fc}cher.example",
        ] {
            assert!(!is_domain(text), "{text:?}");
        }
    }
}
