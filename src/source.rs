//! Source: one configured endpoint with everything that its deliveries pass, assembled once at load.

use std::sync::Arc;

use crate::accept::Policy;
use crate::addresses::Addresses;
use crate::batch::{self, Cut};
use crate::capture::Capture;
use crate::dedup::key::EventKey;
use crate::freshness::Tolerance;
use crate::limit::Limit;
use crate::mask::Mask;
use crate::metrics::SourceMetrics;
use crate::notice::SilentAfter;
use crate::provider::HandshakeAnswer;
use crate::reject::{Refused, Reject};
use crate::schema::{Schemas, Verdict};
use crate::telemetry::trace;
use crate::verify::{ClientRule, Verified, Verifier, Visits};

/// What becomes of payloads that are not valid by their schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalid {
    /// Kept, and relayed as `invalid.<source>`.
    #[default]
    Route,
    /// Refused with 422.
    Refuse,
}

/// Statuses of a source's 2xx answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// For an event that was kept (or filtered).
    pub accepted: u16,
    /// For a copy of a known one.
    pub duplicate: u16,
}

/// One configured endpoint.
pub struct Source {
    /// Its name.
    pub name: Arc<str>,
    /// The path that its deliveries come to.
    pub path: String,
    /// Who may send to it; `None` for everybody.
    pub addresses: Option<Addresses>,
    /// Longest body in bytes.
    pub body_bytes_max: usize,
    /// Scheme and keys.
    pub verifier: Verifier,
    /// The secret that its sender brings, where that is how it gets one.
    pub capture: Option<Arc<Capture>>,
    /// The age window.
    pub tolerance: Tolerance,
    /// Its own rate, where deliveries beyond it are refused.
    pub limit: Option<Arc<Limit>>,
    /// Event types that are wanted; empty for all.
    pub events: Vec<String>,
    /// Whether a delivery with several events is handed over in parts.
    pub split: bool,
    /// Schemas of its provider; `None` where the stage is off.
    pub schemas: Option<Arc<Schemas>>,
    /// What becomes of invalid payloads.
    pub on_invalid: OnInvalid,
    /// What becomes of duplicates and twins.
    pub policy: Policy,
    /// Statuses of its 2xx answers.
    pub statuses: Statuses,
    /// What calls the URLs that its handshakes ask for.
    pub visits: Option<Visits>,
    /// The client certificates that its connections must have shown.
    pub client: Option<ClientRule>,
    /// When an operator is told that it is quiet.
    pub silent_after: SilentAfter,
    /// Bytes of requests that are kept after their proof failed, to be judged again; none where none are.
    pub quarantine: Option<u64>,
    /// What of its bodies is not shown to who may only look.
    pub mask: Mask,
    /// Whether the history can be searched for words in its bodies.
    pub capture_bodies: bool,
    /// What a sender's trace is to ours.
    pub traceparent: trace::Sender,
    /// Its counts.
    pub metrics: SourceMetrics,
}

impl Source {
    /// Has the URL called that a verified handshake asks for, if any, soon.
    pub fn visit(&self, answer: &HandshakeAnswer) {
        if let (Some(visits), Some(url)) = (&self.visits, &answer.visit) {
            visits.schedule(&self.name, url.clone());
        }
    }

    /// Whether events of this type are wanted.
    pub fn wants(&self, event_type: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|wanted| wanted == event_type)
    }

    /// Takes one of its own rate, where that refuses.
    ///
    /// # Errors
    /// Beyond it.
    pub fn within_limit(&self) -> Result<(), Refused> {
        let Some(Err(wait)) = self.limit.as_ref().map(|limit| limit.take()) else { return Ok(()) };
        let detail = format!("beyond the source's own rate for {} ms", wait.as_millis());
        Err(Reject::RateLimited.because(detail))
    }

    /// Why the payload is not valid by its schema, if so; a source that refuses such still answers a known event as a
    /// duplicate.
    pub fn judge(&self, verified: &Verified, key: &EventKey) -> (Option<String>, Policy) {
        let judged = |schemas: &Arc<Schemas>| schemas.judge(key.event_type(), &verified.delivery().body);
        let mut policy = self.policy;
        match self.schemas.as_ref().map_or(Verdict::Unchecked, judged) {
            Verdict::Valid | Verdict::Unchecked => (None, policy),
            Verdict::Invalid(reason) => {
                self.metrics.invalid();
                let refuses = self.on_invalid == OnInvalid::Refuse;
                policy.refuse_unknown = refuses.then_some(Reject::SchemaInvalid);
                (Some(reason), policy)
            }
        }
    }

    /// How a body is cut, where this source splits. What cannot be cut counts as wanted: nobody can say what is in it.
    pub fn cut(&self, verified: &Verified, key: &EventKey) -> Option<Cut> {
        let cut = if self.split { batch::cut(&self.name, verified, key, &self.events) } else { None };
        if let Some(Cut::Whole(why)) = cut {
            self.metrics.unsplit();
            tracing::warn!(source = %self.name, message_id = %key.keys().message_id, %why,
                "a delivery is relayed whole though its source splits");
        }
        cut
    }
}
