//! What must hold between what a scheme signs and what relies on it: ids, digests of the body, forms of keys.

use super::build::Check;
use super::definition::{BodyDigestDefinition, Places};
use super::demands::Proof;
use super::event::{EventPlace, NamePart, is_composite};
use super::rules::{Algorithm, BodyDigestRule, Digest, ENCODINGS, KeyForm};
use super::template::{Piece, Template};
use crate::extract::Pick;

impl Check {
    /// The places, and which of them the signature covers.
    pub(super) fn places(
        &mut self,
        key: &str,
        places: &Places,
        proof: &dyn Fn(&Pick) -> Proof,
    ) -> Vec<EventPlace> {
        let mut read = Vec::with_capacity(places.0.len());
        for place in &places.0 {
            let composite = is_composite(&place.when);
            let parts = if composite { self.composite(key, &place.when) } else { None };
            let (picks, parts) = match parts {
                Some(composite) => composite,
                None if composite => continue,
                None => (self.place(key, &place.when).into_iter().collect(), Vec::new()),
            };
            let proof = picks.iter().map(proof).min().unwrap_or(Proof::Nothing);
            let (signed, plain) = (proof != Proof::Nothing, proof == Proof::Plain);
            let mut picks = picks.into_iter();
            if let Some(pick) = picks.next() {
                let (more, text) = (picks.collect(), place.text.clone());
                read.push(EventPlace { pick, more, parts, text, signed, plain });
            }
        }
        read
    }

    /// Text with places in it: the places, and what the text is made of.
    fn composite(&mut self, key: &str, text: &str) -> Option<(Vec<Pick>, Vec<NamePart>)> {
        let template = self.read(key, text, Template::parse(text))?;
        let (mut picks, mut parts) = (Vec::new(), Vec::with_capacity(template.pieces.len()));
        for piece in template.pieces {
            match piece {
                Piece::Literal(text) => parts.push(NamePart::Literal(text)),
                Piece::Value(pick) => {
                    parts.push(NamePart::Value(picks.len()));
                    picks.push(pick);
                }
                _ => {
                    self.add(
                        key,
                        &format!("{text:?}"),
                        "text and places, such as \"{json:/id}:{json:/state}\"",
                    );
                    return None;
                }
            }
        }
        if picks.is_empty() {
            self.add(key, &format!("{text:?}"), "a text with at least one place");
        }
        (!picks.is_empty()).then_some((picks, parts))
    }

    /// Whoever can add an unsigned value before a signed one would choose which of them is the identity.
    pub(super) fn signed_first(&mut self, ids: &[EventPlace]) {
        let late = ids.iter().skip_while(|place| place.signed).find(|place| place.signed);
        if let Some(late) = late {
            let found = format!("{} after a place that is not signed", late.pick);
            self.add("event.id", &found, "signed places first");
        }
    }

    pub(super) fn body_digest(
        &mut self,
        raw: &BodyDigestDefinition,
        signed: &[Template],
    ) -> Option<BodyDigestRule> {
        let from = self.place("body_digest.from", &raw.from);
        let digest = self.one_of("body_digest.algorithm", &raw.algorithm, &DIGESTS);
        let encoding = self.one_of("body_digest.encoding", &raw.encoding, &ENCODINGS[..3]);
        let covered = |pick: &Pick| !signed.is_empty() && signed.iter().all(|template| template.covers(pick));
        if from.as_ref().is_some_and(|from| !covered(from)) {
            let allowed = "a place that every template of `signed` covers";
            self.add("body_digest.from", &format!("{:?}, which is not signed", raw.from), allowed);
        }
        Some(BodyDigestRule { from: from?, digest: digest?, encoding: encoding?, optional: raw.optional })
    }

    /// Public keys come in forms of their own.
    pub(super) fn key_form(&mut self, algorithm: Algorithm, form: KeyForm, found: &str) {
        let fits = match form {
            KeyForm::Utf8 | KeyForm::Whsec => algorithm != Algorithm::Ed25519,
            KeyForm::Whpk | KeyForm::Spki => algorithm == Algorithm::Ed25519,
            KeyForm::Hex | KeyForm::Base64 => true,
        };
        if !fits {
            let allowed = match algorithm {
                Algorithm::Ed25519 => "hex, base64, whpk, spki, with the algorithm `ed25519`",
                _ => "utf8, hex, base64, whsec, with an algorithm that has no public keys",
            };
            self.add("secret", &format!("{found:?}"), allowed);
        }
    }
}

const DIGESTS: [(&str, Digest); 3] =
    [("sha1", Digest::Sha1), ("sha256", Digest::Sha256), ("sha512", Digest::Sha512)];
