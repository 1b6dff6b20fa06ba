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

use super::open::{Tls, TlsError};
use super::pair::{self, Pair};
use crate::tasks;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Mark = [u8; 32];

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

/// What a look has found.
pub(super) enum Found {
    /// Nothing that was not known.
    Same,
    /// Another certificate, with its key.
    Other(Pair),
    /// What cannot be served, for the first time.
    Wrong(TlsError),
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

    /// Reads the files; `usable` judges a pair that is whole.
    pub(super) fn look(
        &self,
        patience: Patience,
        provider: &CryptoProvider,
        usable: impl FnOnce(&Pair) -> Result<(), pair::PairError>,
    ) -> Found {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mark, found) = self.read(provider);
        let told = seen.served == Some(mark) || (patience == Patience::OneLook && seen.refused == Some(mark));
        let found = found.and_then(|pair| match usable(&pair) {
            Ok(()) => Ok(pair),
            Err(error) => Err(self.wrong(error)),
        });
        match found {
            _ if told => {
                seen.doubtful = None;
                Found::Same
            }
            Ok(pair) => {
                *seen = Seen { served: Some(mark), ..Seen::default() };
                Found::Other(pair)
            }
            Err(_) if patience == Patience::OneLook && seen.doubtful != Some(mark) => {
                seen.doubtful = Some(mark);
                Found::Same
            }
            Err(error) => {
                seen.refused = Some(mark);
                Found::Wrong(error)
            }
        }
    }

    fn read(&self, provider: &CryptoProvider) -> (Mark, Result<Pair, TlsError>) {
        let open =
            |path: &Path| pair::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error));
        let texts = open(&self.certificate).and_then(|certificate| Ok((certificate, open(&self.key)?)));
        match texts {
            Ok((certificate, key)) => {
                let mut mark = Sha256::new();
                mark.update(certificate.len().to_be_bytes());
                mark.update(&*certificate);
                mark.update(&*key);
                let pair = Pair::parse(&certificate, &key, provider).map_err(|error| self.wrong(error));
                (mark.finalize().into(), pair)
            }
            Err(error) => (Sha256::digest(error.to_string()).into(), Err(error)),
        }
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
