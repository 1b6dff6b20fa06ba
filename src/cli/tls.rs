//! TLS as the configuration has it: what the ingress is told of it, and the client certificates that sources want.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::clock::Clock;
use crate::config::{self, KeyPath, Loaded, Report, TlsVersion};
use crate::disk::{Disk, ReadOnly};
use crate::ingress::tls::{AcmeSettings, CertificateFrom, MinVersion, Tls, TlsError, TlsSettings};
use crate::metrics::Metrics;
use crate::verify::{ClientChain, ClientRule, RuleError};

/// Longest file of authorities, in bytes.
const CA_BYTES_MAX: u64 = 1 << 20;

/// The client certificates that a source wants; what is wrong goes to `report`.
pub(super) fn client_rule(
    path: &KeyPath,
    wanted: &config::ClientCertificates,
    report: &mut Report,
) -> Option<ClientRule> {
    let path = path.key("client_certificates");
    let file = || path.key("ca_file");
    let allowed = "a file of certificates in PEM, those of the authorities";
    let text = match read(&wanted.ca_file) {
        Ok(text) => text,
        Err(error) => {
            report.error(file(), format!("{:?}, which cannot be read: {error}", wanted.ca_file), allowed);
            return None;
        }
    };
    let subjects = wanted.subjects.as_deref().unwrap_or_default();
    if wanted.subjects.is_some() && subjects.is_empty() {
        // As of a list of addresses: what was emptied by a slip lets nobody new in.
        report.error(
            path.key("subjects"),
            "no name",
            "at least one; without the key any from the authorities",
        );
        return None;
    }
    match ClientRule::new(&text, subjects) {
        Ok(rule) => Some(rule),
        Err(RuleError::Subject(index, error)) => {
            let found = format!("{:?}: {error}", subjects.get(index).map_or("", String::as_str));
            let allowed =
                "\"CN=…\" or \"O=…,CN=…\", the whole subject; or a DNS name, URI, mail or IP address";
            report.error(path.key("subjects").index(index), found, allowed);
            None
        }
        Err(error @ (RuleError::NoCertificate | RuleError::Certificate(_))) => {
            report.error(file(), format!("{:?}: {error}", wanted.ca_file), allowed);
            None
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = ReadOnly::default().open(path)?;
    let len = ReadOnly::default().len(&file)?;
    if len > CA_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
    ReadOnly::default().read_at(&file, &mut text, 0)?;
    Ok(text)
}

/// What the ingress is told of TLS, where it speaks it.
fn settings<'a>(loaded: &Loaded, rules: impl Iterator<Item = &'a ClientRule>) -> Option<TlsSettings> {
    let tls = loaded.settings.ingress.tls.as_ref()?;
    let certificate = match (&tls.acme, &tls.certificate, &tls.key) {
        (Some(acme), ..) => CertificateFrom::Acme(AcmeSettings {
            domains: acme.domains.clone(),
            contact: acme.contact.iter().map(|contact| format!("mailto:{contact}")).collect(),
            directory: acme.directory.clone(),
            ca_file: acme.ca_file.clone(),
            dir: acme.dir.clone(),
        }),
        (None, Some(certificate), Some(key)) => {
            CertificateFrom::Files { certificate: certificate.clone(), key: key.clone() }
        }
        (None, ..) => return None,
    };
    Some(TlsSettings {
        certificate,
        min_version: match tls.min_version {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        },
        authorities: authorities(rules),
    })
}

/// Whose client certificates are asked for in handshakes: each authority once.
pub(super) fn authorities<'a>(rules: impl Iterator<Item = &'a ClientRule>) -> ClientChain {
    let mut all: ClientChain = rules.flat_map(ClientRule::authorities).cloned().collect();
    all.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    all.dedup();
    all
}

/// Whether TLS could be spoken with the files that are there; what is wrong goes to `report`.
pub(super) fn check(loaded: &Loaded, report: &mut Report) {
    let Some(settings) = settings(loaded, std::iter::empty()) else { return };
    let Err(error) = Tls::check(&settings) else { return };
    let tls = loaded.settings.ingress.tls.as_ref();
    let is_key = |path: &Path| tls.and_then(|tls| tls.key.as_deref()) == Some(path);
    let is_certificate = |path: &Path| tls.and_then(|tls| tls.certificate.as_deref()) == Some(path);
    let key = match &error {
        TlsError::Unreadable(path, _) if is_certificate(path) => "ingress.tls.certificate",
        TlsError::Unreadable(path, _) if is_key(path) => "ingress.tls.key",
        TlsError::Unreadable(..) | TlsError::NoAuthority(_) => "ingress.tls.acme.ca_file",
        TlsError::Pair { .. } => "ingress.tls.certificate",
        TlsError::Rustls(_) => "ingress.tls",
    };
    report.error(key, error.to_string(), "files in PEM: a certificate chain, and the key of its first");
}

/// TLS, opened and begun, where the configuration has it; to be called within a Tokio runtime.
pub(super) fn begin<'a>(
    loaded: &Loaded,
    rules: impl Iterator<Item = &'a ClientRule>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> anyhow::Result<Option<Arc<Tls>>> {
    let Some(settings) = settings(loaded, rules) else { return Ok(None) };
    let tls =
        Tls::open(settings, Arc::clone(clock), metrics.tls()).context("[ingress.tls] cannot be served")?;
    tls.begin();
    Ok(Some(tls))
}
