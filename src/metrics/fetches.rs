//! What became of fetches: of keys, and of the visits that handshakes ask for.

use prometheus_client::metrics::counter::Counter;

/// What became of a fetch of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFetch {
    /// Keys came.
    Fetched,
    /// The server says that there are none.
    Missing,
    /// What came holds no key that can be used.
    Unusable,
    /// The server could not be asked, or did not answer as it should.
    Failed,
    /// After one that brought nothing: keys that were fetched before stay in use.
    Stale,
}

impl KeyFetch {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Fetched, "fetched"),
        (Self::Missing, "missing"),
        (Self::Unusable, "unusable"),
        (Self::Failed, "failed"),
        (Self::Stale, "stale"),
    ];
}

/// The counts of a source's fetches of keys; cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyFetchMetrics(pub(super) Vec<(KeyFetch, Counter)>);

impl KeyFetchMetrics {
    /// One more.
    pub fn count(&self, fetch: KeyFetch) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == fetch) {
            counter.inc();
        }
    }
}

/// What became of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Answered 2xx.
    Done,
    /// Not answered so; tried again.
    Retried,
    /// Given up.
    GivenUp,
    /// Not begun: too many wait.
    Dropped,
}

impl Visit {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Done, "done"),
        (Self::Retried, "retried"),
        (Self::GivenUp, "given_up"),
        (Self::Dropped, "dropped"),
    ];
}

/// The counts of visits; cheap to clone.
#[derive(Clone, Debug)]
pub struct VisitMetrics(pub(super) Vec<(Visit, Counter)>);

impl VisitMetrics {
    /// One more.
    pub fn count(&self, visit: Visit) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == visit) {
            counter.inc();
        }
    }
}
