//! The handshakes of a scheme: which one a delivery is, if any, and its answer. Nothing is kept of such a delivery but
//! the secret that a capturing one brings, and that by others.

use std::borrow::Cow;
use std::sync::Arc;

use regex::bytes::Regex as Shape;

use super::answer::{AnswerRule, Captured, ECHO_BYTES_MAX, HandshakeAnswer};
use super::check::{Fill, handshake};
use super::computed::{Computed, Made, Mint};
use super::conditions::Conditions;
use crate::delivery::Delivery;
use crate::provider::Problem;
use crate::provider::UrlPattern;
use crate::provider::definition::{Definition, SchemeDefinition};
use crate::reject::{Refused, Reject};
use crate::verify::Verified;

/// The handshakes of a scheme, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Handshakes {
    list: Vec<Handshake>,
}

/// A handshake, checked.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    pub name: Arc<str>,
    /// Whether only a verified delivery is answered.
    pub verify: bool,
    /// The path of the listener at which it is answered; `None` for the source's.
    pub path: Option<String>,
    pub conditions: Conditions,
    pub computed: Vec<Computed>,
    /// What it signs for anybody who asks.
    pub shapes: Vec<Shape>,
    pub answer: AnswerRule,
    /// Numbers of the places of which a value is taken.
    pub taken: Vec<usize>,
    /// Number of the place whose value is the source's secret from then on.
    pub capture: Option<usize>,
    /// Number of the place whose value is a URL to call, and what the whole of it must match.
    pub visit: Option<(usize, UrlPattern)>,
}

impl Handshakes {
    /// The handshakes of a scheme: its own before those that all schemes of the provider share. One that needs a
    /// setting which the source does not have is left out, so that no condition on it is.
    pub(in crate::provider) fn build(
        definition: &Definition,
        scheme: &SchemeDefinition,
        fill: Fill<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let sent = scheme.methods.as_ref().unwrap_or(&definition.methods);
        let algorithm = fill(&scheme.algorithm, str::to_owned).unwrap_or_default();
        let all = scheme.handshakes.iter().chain(&definition.handshakes);
        Self { list: all.filter_map(|raw| handshake(raw, (sent, &algorithm), fill, problems)).collect() }
    }

    /// Whether a handshake comes to the source's path with this method.
    pub fn take(&self, method: &str) -> bool {
        self.methods().any(|known| known == method)
    }

    /// The methods that handshakes come to the source's path with; one may stand there twice.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let here = self.list.iter().filter(|handshake| handshake.path.is_none());
        here.flat_map(|handshake| &handshake.conditions.methods).map(String::as_str)
    }

    /// The paths of the listener at which handshakes are answered; one may stand there twice.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|handshake| handshake.path.as_deref())
    }

    /// Whether one takes the source's secret from a request.
    pub fn capture(&self) -> bool {
        self.list.iter().any(|handshake| handshake.capture.is_some())
    }

    /// How values are made with the source's key, each once.
    pub fn keyed(&self) -> Vec<Made> {
        let mut keyed = Vec::new();
        for made in self.list.iter().flat_map(|handshake| &handshake.computed).map(|computed| computed.made) {
            if made.needs_key() && !keyed.contains(&made) {
                keyed.push(made);
            }
        }
        keyed
    }

    /// Whether one signs texts for anybody who asks.
    pub fn sign_for_anybody(&self) -> bool {
        self.list.iter().any(|handshake| !handshake.shapes.is_empty())
    }

    /// Whether these bytes are a text that a handshake signs for anybody who asks: then a signature over them proves
    /// nothing.
    pub fn would_sign(&self, bytes: &[u8]) -> bool {
        self.list.iter().flat_map(|handshake| &handshake.shapes).any(|shape| shape.is_match(bytes))
    }

    /// The answer to a delivery that needs no proof, by the file's word, to be answered.
    ///
    /// # Errors
    /// `ChallengeRefused`; `NoActiveSecret` where the answer needs a key and there is none.
    pub fn unverified(
        &self,
        delivery: &Delivery,
        mint: Mint<'_>,
    ) -> Result<Option<HandshakeAnswer>, Refused> {
        self.answer(|handshake| !handshake.verify && handshake.path.is_none(), delivery, mint)
    }

    /// The answer to a delivery whose signature held; the caller has judged its age.
    ///
    /// # Errors
    /// As [`Self::unverified`].
    pub fn verified(&self, verified: &Verified, mint: Mint<'_>) -> Result<Option<HandshakeAnswer>, Refused> {
        self.answer(|handshake| handshake.verify, verified.delivery(), mint)
    }

    /// The answer to a request at a path of the listener that is the handshake's own.
    ///
    /// # Errors
    /// As [`Self::unverified`].
    pub fn at_path(&self, delivery: &Delivery, mint: Mint<'_>) -> Result<Option<HandshakeAnswer>, Refused> {
        let path = delivery.target.split('?').next().unwrap_or_default();
        self.answer(|handshake| handshake.path.as_deref() == Some(path), delivery, mint)
    }

    /// The status and name of the verified handshake that a delivery would be, were its signature good.
    pub fn if_verified(&self, delivery: &Delivery) -> Option<(u16, &Arc<str>)> {
        let mut verified = self.list.iter().filter(|handshake| handshake.verify);
        let found = verified.find(|handshake| handshake.conditions.fit(delivery))?;
        Some((found.answer.status, &found.name))
    }

    fn answer(
        &self,
        asked: impl Fn(&Handshake) -> bool,
        delivery: &Delivery,
        mint: Mint<'_>,
    ) -> Result<Option<HandshakeAnswer>, Refused> {
        for handshake in self.list.iter().filter(|handshake| asked(handshake)) {
            if let Some(values) = handshake.conditions.values(delivery) {
                return handshake.render(&values, mint).map(Some);
            }
        }
        Ok(None)
    }
}

impl Handshake {
    fn render(&self, values: &[Cow<'_, str>], mint: Mint<'_>) -> Result<HandshakeAnswer, Refused> {
        let name = &self.name;
        let bytes = |place: &usize| values.get(*place).map_or(0, |value| value.len());
        if let Some(long) = self.taken.iter().map(bytes).find(|bytes| *bytes > ECHO_BYTES_MAX) {
            let detail = format!("{name}: a value of {long} bytes to echo; at most {ECHO_BYTES_MAX} are");
            return Err(Reject::ChallengeRefused.because(detail));
        }
        let value = |place: usize| values.get(place).map_or("", |value| &**value);
        let visit = match &self.visit {
            Some((place, pattern)) => Some(pattern.pin(value(*place)).ok_or_else(|| strange_url(name))?),
            None => None,
        };
        let computed: Option<Vec<String>> =
            self.computed.iter().map(|computed| computed.render(values, mint)).collect();
        let keyless = || Reject::NoActiveSecret.because(format!("{name}: no active secret to answer with"));
        let answer = self.answer.render(name, values, &computed.ok_or_else(keyless)?)?;
        Ok(HandshakeAnswer {
            name: Arc::clone(name),
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            visit,
            capture: self.capture.map(|place| Captured::new(value(place))),
        })
    }
}

fn strange_url(name: &str) -> Refused {
    Reject::ChallengeRefused.because(format!("{name}: a URL to visit that `visit.pattern` does not allow"))
}
