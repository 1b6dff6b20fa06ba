//! A sample on trial: signed with a source's own secret and taken through the very stages that its deliveries pass, at an
//! operator's word. It is an event like any other from there on; its history says that it was a sample.
//!
//! What the listener judges before the stages (addresses, certificates, TLS, rates of addresses) is not on trial: the gateway is
//! no caller of its own.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::{SampleError, Unfit};
use super::event::{Break, Sample, Wanted};
use crate::accept::{Accepted, Proof};
use crate::audit::{self, Audit};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::event::{Digest, Sequence};
use crate::metrics::{Ending, Outcome};
use crate::pipeline::{Answer, Pipeline};
use crate::provider::secret::Secret;
use crate::provider::{Algorithm, Catalog, Definition, Scheme};
use crate::reject::{Refused, Reject, Row};
use crate::source::Source;
use crate::steps::Steps;
use crate::verify::Signer;

/// What signs samples of one source: its secrets, as its sender has them, and its provider's payloads. It has no `Debug`.
pub struct Hand {
    definition: Arc<Definition>,
    secrets: Vec<Secret>,
    events: Vec<String>,
}

/// The secret that signs.
struct Signing {
    bytes: Zeroizing<Vec<u8>>,
    label: String,
    kid: Option<String>,
    slot: Option<u8>,
}

impl Signing {
    fn of(secret: &Secret) -> Self {
        Self {
            bytes: Zeroizing::new(secret.expose().to_vec()),
            label: secret.label().to_owned(),
            kid: secret.kid().map(str::to_owned),
            slot: secret.slot(),
        }
    }

    fn brought(label: &str, text: &str) -> Self {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Self { bytes, label: label.to_owned(), kid: None, slot: None }
    }
}

/// Why there is nothing to take through the stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTrial {
    /// Only the sender has the private key.
    Unsignable(String),
    /// None of the source's secrets is in force.
    NoSecret(String),
    /// There is no such sample.
    NoSample(String),
    /// The sample, or the way in which it was to be broken, does not fit the scheme.
    Unfit(String),
    /// Something of the system's.
    System(String),
}

/// What becomes of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its event is safe.
    Kept {
        /// `accepted`, `held` or `duplicate`.
        outcome: &'static str,
        /// The workers' idempotency key.
        message_id: Digest,
        /// The event's number, where there is a journal.
        sequence: Option<Sequence>,
    },
    /// Of a type that the source does not want.
    Filtered,
    /// Taken for a question about the endpoint.
    Handshake,
    /// Refused, or a fault of ours.
    Refused {
        /// How it shows.
        row: Row,
        /// More of why.
        detail: String,
        /// The id that log and history have it under.
        request: String,
    },
}

/// A sample that was taken through the stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its type.
    pub event: String,
    /// The provider's id of it.
    pub event_id: String,
    /// Label of the secret that signed it; none where nothing is signed.
    pub secret: Option<String>,
    /// Bytes of its body.
    pub bytes: usize,
    /// What became of it.
    pub verdict: Verdict,
}

impl Hand {
    /// That of a source of `provider` with these secrets, the newest first; none where nobody knows the provider.
    pub fn new(catalog: &Catalog, provider: &str, secrets: Vec<Secret>) -> Option<Self> {
        let definition = catalog.shared(provider)?;
        let mut events = Catalog::samples_of(&definition).unwrap_or_default();
        // The usual one first.
        let usual = definition.sample.as_ref().map_or("", |sample| &sample.event);
        events.sort_by_key(|event| event != usual);
        Some(Self { definition, secrets, events })
    }

    /// Event types that there are samples of, the usual one first.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// The newest secret that is in force.
    fn secret(&self, source: &Source, now: Timestamp) -> Result<Option<Signing>, NoTrial> {
        let scheme = source.verifier.scheme();
        if scheme.algorithm == Algorithm::Unauthenticated {
            return Ok(None);
        }
        if scheme.has_public_keys() {
            return Err(NoTrial::Unsignable(format!(
                "scheme {} is proven with public keys, and only the sender has the private one: have the provider send a test event",
                scheme.name
            )));
        }
        let in_force = |secret: &&Secret| {
            secret.not_before().is_none_or(|from| now >= from)
                && secret.not_after().is_none_or(|until| now < until)
        };
        let own = self.secrets.iter().find(in_force).map(Signing::of);
        let brought =
            || source.capture.as_ref()?.secret().map(|(label, text)| Signing::brought(&label, &text));
        let none = if source.capture.is_some() {
            "no handshake has brought the source's secret yet: arm it, and have the provider send the handshake"
        } else {
            "none of the source's secrets is valid now"
        };
        own.or_else(brought).map(Some).ok_or_else(|| NoTrial::NoSecret(none.to_owned()))
    }
}

impl From<SampleError> for NoTrial {
    fn from(error: SampleError) -> Self {
        match error.unfit {
            Unfit::Asked | Unfit::Data => Self::Unfit(error.why),
            Unfit::System => Self::System(error.why),
        }
    }
}

/// Takes samples through the stages; cheap to clone.
#[derive(Clone)]
pub struct Trials {
    /// The stages.
    pub pipeline: Pipeline,
    /// Where it is told of what was refused, and which events were samples.
    pub steps: Steps,
    /// What writes the audit log.
    pub audit: Audit,
}

impl Trials {
    /// Takes a sample of that type, the usual one where none is named, through the stages of `source`, whole or broken. A refusal is written
    /// down as any other, as that of `caller`.
    ///
    /// # Errors
    /// Where nothing can be signed.
    pub async fn take(
        &self,
        (source, hand): (&Source, &Hand),
        event: Option<String>,
        broken: Option<Break>,
        caller: Option<IpAddr>,
    ) -> Result<Trial, NoTrial> {
        let now = self.pipeline.clock().now();
        if hand.events.is_empty() || event.as_ref().is_some_and(|event| !hand.events.contains(event)) {
            return Err(NoTrial::NoSample(no_sample(hand, event.as_deref())));
        }
        let secret = hand.secret(source, now)?;
        let scheme = as_source(source);
        let wanted = Wanted { event, ..Wanted::default() };
        let sample = Sample::new(&hand.definition, &scheme, wanted, now)?;
        let signer = Signer {
            secret: secret.as_ref().map_or(&[], |secret| &secret.bytes),
            id: secret.as_ref().and_then(|secret| secret.kid.as_deref()),
            slot: secret.as_ref().and_then(|secret| secret.slot),
        };
        let delivery = sample.sign(&source.path, signer, now, broken)?;
        let bytes = delivery.body.len();
        let verdict = match self.receive(source, delivery).await {
            Ok(Answer::Kept { accepted, message_id }) => self.kept(accepted, message_id, now),
            Ok(Answer::Filtered) => Verdict::Filtered,
            Ok(Answer::Handshake(_)) => Verdict::Handshake,
            Err(refused) => self.refused(source, refused, caller),
        };
        let secret = secret.map(|secret| secret.label);
        Ok(Trial { event: sample.event.clone(), event_id: sample.id.clone(), secret, bytes, verdict })
    }

    /// Counted as the listener counts.
    async fn receive(&self, source: &Source, delivery: Delivery) -> Result<Answer, Refused> {
        let mut counted = source.metrics.begin();
        let answer = match delivery.body.len() > source.body_bytes_max {
            true => Err(too_long(&delivery.body, source)),
            false => self.pipeline.receive(source, delivery, &mut counted).await,
        };
        match &answer {
            // Counted with its commit.
            Ok(Answer::Kept { .. }) => {}
            Ok(Answer::Filtered) => counted.end(Ending::Filtered),
            Ok(Answer::Handshake(_)) => counted.end(Ending::Handshake),
            Err(refused) => counted.end(Ending::Refused(refused.reject)),
        }
        answer
    }

    fn kept(&self, accepted: Accepted, message_id: Digest, at: Timestamp) -> Verdict {
        let sequence = match accepted.proof {
            Proof::Kept(receipt) => Some(receipt.sequence()),
            Proof::Confirmed(_) | Proof::Done(_) => None,
        };
        let outcome = match accepted.outcome {
            Outcome::New | Outcome::Twin => "accepted",
            Outcome::Held => "held",
            Outcome::Duplicate => "duplicate",
        };
        if let Some(sequence) = sequence.filter(|_| accepted.outcome != Outcome::Duplicate) {
            self.steps.sampled(sequence, at);
        }
        Verdict::Kept { outcome, message_id, sequence }
    }

    fn refused(&self, source: &Source, refused: Refused, caller: Option<IpAddr>) -> Verdict {
        let request = self.audit.id();
        let refusal = audit::Refusal { request: &request, source: &source.name, address: caller, path: None };
        self.steps.write_down(&self.audit, refusal, &refused);
        Verdict::Refused { row: refused.reject.row(), detail: refused.detail.into_owned(), request }
    }
}

/// The scheme with the source's own tolerance, by which a delivery is made old.
fn as_source(source: &Source) -> Scheme {
    let mut scheme = Scheme::clone(source.verifier.scheme());
    if let Some(rule) = &mut scheme.timestamp {
        rule.past = source.tolerance.past;
    }
    scheme
}

fn no_sample(hand: &Hand, event: Option<&str>) -> String {
    let title = &hand.definition.title;
    match event {
        _ if hand.events.is_empty() => format!(
            "there are no samples of {title}; have the provider send a test event, or send a body of your own with \
             `hookgate send SOURCE --data FILE`"
        ),
        event => {
            let known = hand.events.join(", ");
            format!("no sample of {title} event {:?}; there is: {known}", event.unwrap_or_default())
        }
    }
}

fn too_long(body: &Bytes, source: &Source) -> Refused {
    let detail = format!("the sample has {} bytes; the source takes {}", body.len(), source.body_bytes_max);
    Reject::BodyTooLarge.because(detail)
}
