//! A certificate chain and its key, read from PEM and found to belong together. Nothing of the key is in any error.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::disk::{Disk, ReadOnly};

/// Longest file of a certificate or key, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Names of a certificate that the log shows.
const NAMES_SHOWN: usize = 16;

/// Why a certificate and a key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// There is none.
    #[error("no certificate in PEM in the certificate's file; it holds the chain, the server's own first")]
    NoCertificate,
    /// One of the chain cannot be read.
    #[error("certificate {0} of the chain cannot be read, or its PEM is cut short")]
    Certificate(usize),
    /// There is no key.
    #[error("no private key in PEM in the key's file (PKCS#8, PKCS#1 or SEC1)")]
    NoKey,
    /// The key is encrypted.
    #[error("the private key is encrypted; write it plain, for instance with `openssl pkey`")]
    EncryptedKey,
    /// The key is of no kind that is known.
    #[error("the private key is none of ECDSA P-256, P-384, P-521, RSA of 2048 to 8192 bits, Ed25519")]
    Key,
    /// They do not belong together.
    #[error("the key is not that of the first certificate; the chain begins with the server's own")]
    Mismatch,
    /// The certificate has ended.
    #[error("the certificate ended at {0}")]
    Ended(Timestamp),
}

/// What can be shown to clients.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub certified: Arc<CertifiedKey>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The DNS names and addresses that it is for, some of them.
    pub names: String,
}

impl Pair {
    /// Reads both; the two texts may be the same.
    ///
    /// # Errors
    /// [`PairError`].
    pub(super) fn parse(
        certificate: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, PairError> {
        let chain = chain(certificate)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(_) if contains(key, b"BEGIN ENCRYPTED PRIVATE KEY") => return Err(PairError::EncryptedKey),
            Err(_) => return Err(PairError::NoKey),
        };
        let own = chain.first().ok_or(PairError::NoCertificate)?;
        let (_, own) = X509Certificate::from_der(own).map_err(|_| PairError::Certificate(1))?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp());
        let (not_before, not_after) = (at(own.validity().not_before), at(own.validity().not_after));
        let names = names(&own);
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairError::Mismatch,
            rustls::Error::InvalidCertificate(_) => PairError::Certificate(1),
            _ => PairError::Key,
        })?;
        Ok(Self { certified: Arc::new(certified), not_before, not_after, names })
    }
}

fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let mut chain = Vec::new();
    for (index, found) in CertificateDer::pem_slice_iter(text).enumerate() {
        match found {
            Ok(certificate) => chain.push(certificate),
            Err(pem::Error::NoItemsFound) => {}
            Err(_) => return Err(PairError::Certificate(index + 1)),
        }
    }
    let whole = |certificate: &CertificateDer<'_>| X509Certificate::from_der(certificate).is_ok();
    match chain.iter().position(|certificate| !whole(certificate)) {
        Some(index) => Err(PairError::Certificate(index + 1)),
        None if chain.is_empty() => Err(PairError::NoCertificate),
        None => Ok(chain),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn names(certificate: &X509Certificate<'_>) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let dns = all.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.escape_default().to_string()),
        _ => None,
    });
    dns.take(NAMES_SHOWN).collect::<Vec<_>>().join(" ")
}

/// A file's bytes, wiped when dropped.
///
/// # Errors
/// Where it is no regular file, cannot be read or is too long.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = ReadOnly::default().open(path)?;
    // Longer than any key, so that the text does not move and leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(64 << 10));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}
