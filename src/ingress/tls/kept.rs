//! What is kept of an authority: the account's key and the certificate with its key, in files that the owner alone reads.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_acme::{AccountCache, CertCache};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::acme::AcmeSettings;
use super::pair;
use crate::disk::{self, Disk, RealDisk};

type Text = Zeroizing<Vec<u8>>;

/// The files. Their names tell the directory, the domains and the contact apart, so that other settings order anew.
pub(super) struct Kept {
    dir: PathBuf,
    account: PathBuf,
    certificate: PathBuf,
}

impl Kept {
    pub(super) fn new(settings: &AcmeSettings) -> Self {
        let name = |parts: &[String]| {
            let mut digest = Sha256::new();
            for part in std::iter::once(&settings.directory).chain(parts) {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
            hex::encode(&digest.finalize()[..8])
        };
        let dir = settings.dir.clone();
        let account = dir.join(format!("account-{}.key", name(&settings.contact)));
        let certificate = dir.join(format!("certificate-{}.pem", name(&settings.domains)));
        Self { dir, account, certificate }
    }

    /// The key of the account, where there is one.
    pub(super) fn account(&self) -> io::Result<Option<Text>> {
        found(pair::read(&self.account))
    }

    /// The certificate with its key, where there is one.
    pub(super) fn certificate(&self) -> io::Result<Option<Text>> {
        found(pair::read(&self.certificate))
    }

    pub(super) fn keep_account(&self, text: &[u8]) -> io::Result<()> {
        self.write(&self.account, text)
    }

    pub(super) fn keep_certificate(&self, text: &[u8]) -> io::Result<()> {
        self.write(&self.certificate, text)
    }

    /// Puts `text` in the file's place; when this returns, it is there for good.
    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let undone = path.with_extension("undone");
        RealDisk.create_dir(&self.dir)?;
        disk::write_anew(&RealDisk, &undone, text)?;
        RealDisk.rename(&undone, path)?;
        RealDisk.sync_dir(&self.dir)
    }
}

fn found(read: io::Result<Text>) -> io::Result<Option<Text>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an order takes with it and brings back, in memory: files are no matter of the order's.
#[derive(Clone)]
pub(super) struct Stash(Arc<Mutex<Held>>);

struct Held {
    account: Option<Text>,
    made_account: bool,
    certificate: Option<Text>,
}

impl Stash {
    pub(super) fn new(account: Option<Text>) -> Self {
        Self(Arc::new(Mutex::new(Held { account, made_account: false, certificate: None })))
    }

    /// The account's key, where the order made it; and the certificate, where one came.
    pub(super) fn take(&self) -> (Option<Text>, Option<Text>) {
        let mut held = self.held();
        let made = held.made_account;
        (held.account.take().filter(|_| made), held.certificate.take())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Done<T> = Pin<Box<Ready<Result<T, Infallible>>>>;

fn done<T>(value: T) -> Done<T> {
    Box::pin(ready(Ok(value)))
}

/// A certificate that is kept is never asked for here: an order is placed only where another is due.
impl CertCache for Stash {
    type EC = Infallible;

    fn load_cert<'a, 'b, 'c, 'd>(
        &'a self,
        _domains: &'b [String],
        _directory: &'c str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Infallible>> + Send + 'd>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
    {
        done(None)
    }

    fn store_cert<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        _domains: &'b [String],
        _directory: &'c str,
        certificate: &'d [u8],
    ) -> Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        self.held().certificate = Some(Zeroizing::new(certificate.to_vec()));
        done(())
    }
}

impl AccountCache for Stash {
    type EA = Infallible;

    fn load_account<'a, 'b, 'c, 'd>(
        &'a self,
        _contact: &'b [String],
        _directory: &'c str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Infallible>> + Send + 'd>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
    {
        done(self.held().account.as_ref().map(|account| account.to_vec()))
    }

    fn store_account<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        _contact: &'b [String],
        _directory: &'c str,
        account: &'d [u8],
    ) -> Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        let mut held = self.held();
        held.account = Some(Zeroizing::new(account.to_vec()));
        held.made_account = true;
        done(())
    }
}
