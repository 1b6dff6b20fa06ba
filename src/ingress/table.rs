//! What a reload swaps for the listener: which source answers at which path, whose word counts for a caller's address,
//! and what looks for causes. A request looks once and keeps what it found to its end.
//!
//! It never changes in place: a reload puts a whole one in its place. Filled by the composition root, read by `server`.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::peer::TrustedProxies;
use crate::diagnose::Explainer;
use crate::source::Source;

/// The table that is in force; cheap to clone, and all clones are one.
pub type Live = Arc<ArcSwap<Table>>;

/// Everything that requests are told apart by, as one configuration has it.
#[derive(Default)]
pub struct Table {
    /// Sources by exact path.
    routes: HashMap<String, Arc<Source>>,
    /// Sources whose handshakes have a path of their own, by that path.
    asked: HashMap<String, Arc<Source>>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: TrustedProxies,
    /// What looks for the causes of refusals, where that is wanted.
    pub explainer: Option<Explainer>,
}

impl Table {
    /// These sources, each at its path and at those of its handshakes.
    pub fn new(
        sources: impl IntoIterator<Item = Arc<Source>>,
        trusted_proxies: TrustedProxies,
        explainer: Option<Explainer>,
    ) -> Self {
        let mut table = Self { trusted_proxies, explainer, ..Self::default() };
        for source in sources {
            for path in source.verifier.scheme().handshakes.paths() {
                table.asked.insert(path.to_owned(), Arc::clone(&source));
            }
            table.routes.insert(source.path.clone(), source);
        }
        table
    }

    /// The source whose deliveries come to this path.
    pub fn source(&self, path: &str) -> Option<&Arc<Source>> {
        self.routes.get(path)
    }

    /// The source whose handshakes come to this path, which is not that of its deliveries.
    pub fn asked(&self, path: &str) -> Option<&Arc<Source>> {
        self.asked.get(path)
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.routes.values()
    }
}
