//! What a reload swaps for the calls: all of it, as one configuration has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::guard::Guard;
use crate::capture::Capture;
use crate::mask::Mask;
use crate::sample::Hand;
use crate::source::Source;

/// What a reload swaps for the calls.
#[derive(Default)]
pub struct Known {
    /// Who may call.
    pub guard: Guard,
    /// All sources, by name.
    pub sources: BTreeMap<String, Arc<Source>>,
    /// What is shown of each besides.
    pub facts: BTreeMap<String, SourceFacts>,
    /// What signs samples of each.
    pub hands: BTreeMap<String, Arc<Hand>>,
    /// Sources that can be armed, by name.
    pub captures: BTreeMap<String, Arc<Capture>>,
    /// A lease, where the worker names none.
    pub lease: Duration,
    /// What is shown of the configuration as a whole.
    pub shown: Arc<Shown>,
}

/// What is in force of it; cheap to clone, and all clones are one.
pub type Live = Arc<ArcSwap<Known>>;

/// Who looks at what senders wrote.
pub(super) struct Eyes {
    known: Arc<Known>,
    /// Whether they may see all of it.
    all: bool,
}

impl Eyes {
    pub(super) fn of(known: Arc<Known>, all: bool) -> Self {
        Self { known, all }
    }

    /// What they may not see of a source's bodies; `None` where that is not known, since it is configured no more.
    pub(super) fn mask(&self, source: &str) -> Option<Mask> {
        if self.all { Some(Mask::default()) } else { Some(self.known.sources.get(source)?.mask.clone()) }
    }
}

/// What is shown of the configuration as a whole.
#[derive(Debug, Default)]
pub struct Shown {
    /// The URL that senders reach the gateway by, without a slash at its end.
    pub public_url: Option<String>,
    /// What a 2xx waits for: `journal` or `confirm`.
    pub ack: &'static str,
    /// The kind of sink.
    pub sink: &'static str,
    /// All providers that a source can have.
    pub providers: Vec<ProviderFacts>,
    /// Every value, with where it was given.
    pub values: Vec<ConfigValue>,
    /// What is allowed but odd.
    pub warnings: Vec<String>,
}

/// What the configuration says of a source, and a running source does not tell.
#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// The rate above which its `on_limit` applies.
    pub limit: Option<LimitFacts>,
    /// Its configured secrets.
    pub secrets: Vec<ConfiguredSecret>,
}

/// A rate, and what may come at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitFacts {
    /// So many in a unit of time.
    #[schema(examples("500/s"))]
    pub rate: String,
    /// So many at once.
    pub burst: u32,
}

/// A secret by all that is known of it but itself.
#[derive(Clone, Debug)]
pub struct ConfiguredSecret {
    /// The name it is counted under.
    pub label: String,
    /// Eight digits of its SHA-256 digest.
    pub fingerprint: String,
    /// It verifies nothing before this time (RFC 3339).
    pub not_before: Option<String>,
    /// It verifies nothing from this time on (RFC 3339).
    pub not_after: Option<String>,
}

/// A value in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigValue {
    /// Its key.
    #[schema(examples("ingress.listen"))]
    pub key: String,
    /// As it would be written; `null` for what is not set and has no default. A secret is shown by where it is kept.
    pub value: Value,
    /// The file and line, the variable or the flag that it was given in; `null` for a default.
    #[schema(examples("hookgate.toml:3"))]
    pub origin: Option<String>,
}

/// A provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderFacts {
    /// The name that sources use.
    pub name: String,
    /// The name that people use.
    pub title: String,
    /// Where it documents its signatures.
    pub docs: Option<String>,
    /// Whether its file is the operator's own.
    pub own: bool,
    /// Names of its schemes; the first is the default.
    pub schemes: Vec<String>,
    /// What they are signed by.
    pub signed_by: Vec<String>,
    /// How long it retries.
    #[schema(examples("3d"))]
    pub retries: Option<String>,
    /// Names of its handshakes.
    pub handshakes: Vec<String>,
}
