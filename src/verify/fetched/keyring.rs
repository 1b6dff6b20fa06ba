//! A source's fetched keys: what the cache says is done here. Whoever wants a key that is being fetched waits for that
//! fetch, a bounded time; the fetch belongs to nobody and goes on when they have gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::cache::{Cache, Flight, Look, Outcome};
use super::client::{Client, FetchError, Standing};
use super::document::Document;
use crate::clock::Clock;
use crate::metrics::{KeyFetch, KeyFetchMetrics};
use crate::provider::{FetchRule, PinnedUrl, Scheme, WantedKey};
use crate::reject::{Refused, Reject};
use crate::tasks::Runtime;

/// Longest wait of a delivery for a key.
const PATIENCE: Duration = Duration::from_secs(5);
/// Deliveries of a source that wait for keys at once.
const WAITING_MAX: usize = 256;

/// What a keyring stands on.
pub struct KeyringParts {
    /// The source's name.
    pub source: Arc<str>,
    /// Its scheme.
    pub scheme: Arc<Scheme>,
    /// What fetches.
    pub client: Client,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts of fetches.
    pub metrics: KeyFetchMetrics,
    /// Where fetches run: one that lasts as long as the gateway.
    pub runtime: Runtime,
}

/// The fetched keys of a source; cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    parts: KeyringParts,
    rule: FetchRule,
    cache: Mutex<Cache>,
    waiting: Semaphore,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("source", &self.0.parts.source).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring with no keys yet. `None` where the scheme fetches none.
    pub fn new(parts: KeyringParts) -> Option<Self> {
        let rule = parts.scheme.key.fetch.clone()?;
        let cache = Mutex::new(Cache::new(rule.fixed().is_none()));
        Some(Self(Arc::new(Inner { parts, rule, cache, waiting: Semaphore::new(WAITING_MAX) })))
    }

    /// Begins to fetch what can be known before a delivery comes; waits for nothing.
    pub fn warm(&self) {
        if let Some(url) = self.0.rule.fixed() {
            drop(self.begin(&mut self.0.cache(), url));
        }
    }

    /// The keys of a delivery, fetched where they must be.
    ///
    /// # Errors
    /// `UnknownKey` where there is none, `KeyUnavailable` where that cannot be told.
    pub(super) async fn keys(&self, wanted: &WantedKey) -> Result<Arc<Document>, Refused> {
        let flight = match self.look(wanted, false) {
            Ok(Step::Keys(document)) => return Ok(document),
            Ok(Step::Wait(flight)) => flight,
            Err(reject) => return Err(refused(reject, wanted)),
        };
        self.land(flight).await.map_err(|reject| refused(reject, wanted))?;
        match self.look(wanted, true) {
            Ok(Step::Keys(document)) => Ok(document),
            Ok(Step::Wait(_)) => Err(refused(Reject::KeyUnavailable, wanted)),
            Err(reject) => Err(refused(reject, wanted)),
        }
    }

    /// Other keys than `tried`, where its provider may have put others in their place without another name.
    pub(super) async fn newer(&self, wanted: &WantedKey, tried: &Arc<Document>) -> Option<Arc<Document>> {
        let flight = {
            let mut cache = self.0.cache();
            match cache.look_again(wanted, self.0.now())? {
                Look::Wait(flight) => flight,
                _ => self.begin(&mut cache, &wanted.url)?,
            }
        };
        self.land(flight).await.ok()?;
        match self.look(wanted, true) {
            Ok(Step::Keys(document)) if !Arc::ptr_eq(&document, tried) => Some(document),
            Ok(_) | Err(_) => None,
        }
    }

    /// Notes that a delivery was verified with a key of this URL.
    pub(super) fn prove(&self, url: &PinnedUrl) {
        self.0.cache().prove(url);
    }

    fn look(&self, wanted: &WantedKey, asked: bool) -> Result<Step, Reject> {
        let mut cache = self.0.cache();
        match cache.look(wanted, self.0.now(), asked) {
            Look::Ready { document, refresh } => {
                if refresh {
                    drop(self.begin(&mut cache, &wanted.url));
                }
                Ok(Step::Keys(document))
            }
            Look::Wait(flight) => Ok(Step::Wait(flight)),
            Look::Ask => self.begin(&mut cache, &wanted.url).map(Step::Wait).ok_or(Reject::KeyUnavailable),
            Look::Refuse(reject) => Err(reject),
        }
    }

    /// Starts a fetch, unless one is under way or nothing more can be remembered.
    fn begin(&self, cache: &mut Cache, url: &PinnedUrl) -> Option<Flight> {
        let (landed, flight) = watch::channel(());
        let standing = cache.begin(url, flight.clone())?;
        let landing = Landing {
            inner: Arc::clone(&self.0),
            url: url.clone(),
            outcome: Outcome::Failed,
            _landed: landed,
        };
        drop(self.0.parts.runtime.task(landing.fetch(standing)));
        Some(flight)
    }

    async fn land(&self, mut flight: Flight) -> Result<(), Reject> {
        let _place = self.0.waiting.try_acquire().map_err(|_| Reject::KeyUnavailable)?;
        match tokio::time::timeout(PATIENCE, flight.changed()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Reject::KeyUnavailable),
        }
    }
}

impl Client {
    /// How many keys a scheme's fixed URL holds, for a check of the configuration. `None` where it has no such URL.
    pub async fn keys_of(&self, scheme: &Scheme) -> Option<Result<usize, CheckError>> {
        let rule = scheme.key.fetch.as_ref()?;
        let url = rule.fixed()?;
        let fetched = self.get(url, Standing::Proven).await;
        let failed = |error: FetchError| CheckError(url.host().to_owned(), error.to_string());
        Some(fetched.map_err(failed).and_then(|fetched| {
            let read = Document::read(scheme, &rule.form, &fetched.bytes);
            read.map(|keys| keys.len()).map_err(|error| CheckError(url.host().to_owned(), error.to_string()))
        }))
    }
}

/// Why a check found no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no keys from {0}: {1}")]
pub struct CheckError(String, String);

enum Step {
    Keys(Arc<Document>),
    Wait(Flight),
}

fn refused(reject: Reject, wanted: &WantedKey) -> Refused {
    let host = wanted.url.host();
    match reject {
        Reject::UnknownKey => reject.because(format!("{host} has no key of this name")),
        other => other.because(format!("the key that signed could not be fetched from {host}")),
    }
}

impl Inner {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }
}

/// A fetch under way. However it ends, what it came to is noted, and then those who wait go on.
struct Landing {
    inner: Arc<Inner>,
    url: PinnedUrl,
    outcome: Outcome,
    _landed: watch::Sender<()>,
}

impl Landing {
    async fn fetch(mut self, standing: Standing) {
        let (source, host) = (&*self.inner.parts.source, self.url.host());
        let count = |fetch| self.inner.parts.metrics.count(fetch);
        match self.inner.parts.client.get(&self.url, standing).await {
            Ok(fetched) => {
                match Document::read(&self.inner.parts.scheme, &self.inner.rule.form, &fetched.bytes) {
                    Ok(document) => {
                        count(KeyFetch::Fetched);
                        tracing::info!(source, host, keys = document.len(), "fetched keys");
                        self.outcome = Outcome::Keys(Arc::new(document), fetched.max_age);
                    }
                    Err(error) => {
                        count(KeyFetch::Unusable);
                        tracing::warn!(source, host, %error, "fetched no keys");
                    }
                }
            }
            Err(error @ FetchError::Missing(_)) => {
                count(KeyFetch::Missing);
                tracing::warn!(source, host, %error, "fetched no keys");
                self.outcome = Outcome::Missing;
            }
            Err(error) => {
                count(KeyFetch::Failed);
                tracing::warn!(source, host, %error, "fetched no keys");
            }
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Failed);
        let stale = self.inner.cache().settle(&self.url, outcome, self.inner.now());
        if stale {
            self.inner.parts.metrics.count(KeyFetch::Stale);
            let (source, host) = (&*self.inner.parts.source, self.url.host());
            tracing::warn!(source, host, "keys that were fetched before stay in use, a day at most");
        }
    }
}
