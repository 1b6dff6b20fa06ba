//! The handshakes of a scheme: which one a delivery is, if any, and its answer. Nothing is kept of such a delivery.

use std::sync::Arc;

use super::answer::{AnswerRule, HandshakeAnswer};
use super::check::{Fill, handshake};
use super::conditions::Conditions;
use crate::delivery::Delivery;
use crate::provider::Problem;
use crate::provider::definition::{Definition, SchemeDefinition};
use crate::reject::Refused;
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
    pub conditions: Conditions,
    pub answer: AnswerRule,
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
        let all = scheme.handshakes.iter().chain(&definition.handshakes);
        Self { list: all.filter_map(|raw| handshake(raw, sent, fill, problems)).collect() }
    }

    /// Whether a handshake comes with this method.
    pub fn take(&self, method: &str) -> bool {
        self.methods().any(|known| known == method)
    }

    /// The methods that handshakes come with; one may stand there twice.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flat_map(|handshake| &handshake.conditions.methods).map(String::as_str)
    }

    /// The answer to a delivery that needs no proof, by the file's word, to be answered.
    ///
    /// # Errors
    /// `ChallengeRefused`.
    pub fn unverified(&self, delivery: &Delivery) -> Result<Option<HandshakeAnswer>, Refused> {
        self.answer(false, delivery)
    }

    /// The answer to a delivery whose signature held; the caller has judged its age.
    ///
    /// # Errors
    /// `ChallengeRefused`.
    pub fn verified(&self, verified: &Verified) -> Result<Option<HandshakeAnswer>, Refused> {
        self.answer(true, verified.delivery())
    }

    fn answer(&self, verify: bool, delivery: &Delivery) -> Result<Option<HandshakeAnswer>, Refused> {
        for handshake in self.list.iter().filter(|handshake| handshake.verify == verify) {
            if let Some(values) = handshake.conditions.values(delivery) {
                return handshake.answer.render(&handshake.name, &values).map(Some);
            }
        }
        Ok(None)
    }
}
