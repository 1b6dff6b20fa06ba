//! The certificate and its key in two files, looked at every few seconds.
//!
//! Looked at means read: neither a link that now points elsewhere, nor a rename, nor a write within the grain of the file
//! system's clock is missed. Two files cannot be replaced at one moment. So what is found wrong is called wrong once
//! two looks in a row have found the same.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::open::{Tls, TlsError};
use super::pair::{self, Pair};
use crate::tasks;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Mark = [u8; 32];
type Text = Zeroizing<Vec<u8>>;

/// The two files, and what is known of them.
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: Mutex<Seen>,
}

/// Digests of what was found in the files.
#[derive(Default)]
struct Seen {
    served: Option<Mark>,
    refused: Option<Mark>,
    doubtful: Option<Mark>,
}

/// How a look judges what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is wrong, and told again if it was told before.
    None,
    /// It may be half of a change.
    OneLook,
}

impl Files {
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, seen: Mutex::default() }
    }

    /// Reads the files; `usable` judges a pair that is whole and was not known, and `show` gets it, before anybody else
    /// looks. True where there was one.
    ///
    /// # Errors
    /// What cannot be served, where that was not known.
    pub(super) fn look(
        &self,
        patience: Patience,
        provider: &CryptoProvider,
        usable: impl FnOnce(&Pair) -> Result<(), pair::PairError>,
        show: impl FnOnce(Pair),
    ) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mark, texts) = self.read();
        if seen.served == Some(mark) || (patience == Patience::OneLook && seen.refused == Some(mark)) {
            seen.doubtful = None;
            return Ok(false);
        }
        let usable = |pair: Pair| usable(&pair).map(|()| pair);
        let found = texts.and_then(|(certificate, key)| {
            Pair::parse(&certificate, &key, provider).and_then(usable).map_err(|error| self.wrong(error))
        });
        match found {
            Ok(pair) => {
                *seen = Seen { served: Some(mark), ..Seen::default() };
                show(pair);
                Ok(true)
            }
            Err(_) if patience == Patience::OneLook && seen.doubtful != Some(mark) => {
                seen.doubtful = Some(mark);
                Ok(false)
            }
            Err(error) => {
                seen.refused = Some(mark);
                Err(error)
            }
        }
    }

    /// The texts of certificate and key, and what tells them from others.
    fn read(&self) -> (Mark, Result<(Text, Text), TlsError>) {
        let open =
            |path: &Path| pair::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error));
        let texts = open(&self.certificate).and_then(|certificate| Ok((certificate, open(&self.key)?)));
        let mut mark = Sha256::new();
        match &texts {
            Ok((certificate, key)) => {
                mark.update(certificate.len().to_be_bytes());
                mark.update(&**certificate);
                mark.update(&**key);
            }
            Err(error) => mark.update(error.to_string()),
        }
        (mark.finalize().into(), texts)
    }

    fn wrong(&self, error: pair::PairError) -> TlsError {
        TlsError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), error }
    }
}

/// Looks at the files for as long as `tls` is in use.
pub(super) async fn watch(tls: Weak<Tls>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(tls) = tls.upgrade() else { return };
        drop(tasks::blocking(move || Arc::clone(&tls).look()).await);
    }
}
