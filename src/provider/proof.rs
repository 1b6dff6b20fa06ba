//! What must hold between what a scheme signs and what relies on it: ids, digests of the body, forms of keys.

use super::build::Check;
use super::definition::{BodyDigestDefinition, Places, SchemeDefinition, SignatureDefinition, Texts};
use super::demands::Proof;
use super::event::{EventPlace, NamePart, is_composite};
use super::grammar::Grammar;
use super::rules::{Algorithm, BodyDigestRule, DIGESTS, ENCODINGS, KeyForm, MatchingRule, TimestampRule};
use super::template::{Piece, Template};
use crate::extract::{FormText, Pick};

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

    /// The digest of the body; `signed` is `None` where the file has no templates.
    pub(super) fn body_digest(
        &mut self,
        raw: &BodyDigestDefinition,
        signed: Option<&[Template]>,
    ) -> Option<BodyDigestRule> {
        let from = self.place("body_digest.from", &raw.from);
        let digest = self.one_of("body_digest.algorithm", &raw.algorithm, &DIGESTS);
        let encoding = self.one_of("body_digest.encoding", &raw.encoding, &ENCODINGS[..4]);
        let covered = |pick: &Pick| {
            pick.is_claim() || signed.is_some_and(|all| all.iter().all(|template| template.covers(pick)))
        };
        if from.as_ref().is_some_and(|from| !covered(from)) {
            let allowed = "a place that every template of `signed` covers; a part that is cut out counts where the place \
                           that it is cut out of does";
            self.add("body_digest.from", &format!("{:?}, which is not signed", raw.from), allowed);
        }
        Some(BodyDigestRule { from: from?, digest: digest?, encoding: encoding?, optional: raw.optional })
    }

    /// What is cut out of a signed text is signed only where nobody can move more text to it from what stands beside it.
    pub(super) fn cuts(
        &mut self,
        signed: &[Template],
        matching: &[MatchingRule],
        timestamp: Option<&TimestampRule>,
        digest: Option<&Pick>,
    ) {
        let time = timestamp.map(|rule| rule.from.place());
        let places = [("timestamp.from", time.as_ref()), ("body_digest.from", digest)];
        for (key, place) in places.into_iter().filter_map(|(key, place)| Some((key, place?))) {
            let chain = || std::iter::successors(Some(place), |place| place.outer());
            let cuts = || chain().filter(|place| matches!(place, Pick::Match(..)));
            let Some(cut) = cuts().last() else { continue };
            let ruled = |place: &Pick| matching.iter().any(|rule| rule.place == *place);
            let stated = |template: &Template| {
                key == "timestamp.from" && template.covers_time()
                    || template.contains(place)
                    || template.states(place)
                    || cuts().any(|cut| template.states(cut) && ruled(cut))
            };
            let fixed = std::iter::successors(cut.outer(), |place| place.outer()).any(ruled);
            if let (false, false, false, Some(whole)) =
                (place.is_claim(), fixed, signed.iter().all(stated), cut.outer())
            {
                let found = format!("{place}, cut out of a text whose end somebody else could move");
                let allowed = format!(
                    "a rule of `matching` that says all of {whole}, or {{{place}}} in every template of `signed`"
                );
                self.add(key, &found, &allowed);
            }
        }
    }

    /// How the fields of a sorted form are written.
    pub(super) fn form_text(&mut self, raw: &SchemeDefinition) -> FormText {
        let Some(form) = &raw.form_sorted else { return FormText::default() };
        let written = |text: &String| text.contains("{form_sorted}") || text.contains("{form_sorted:all}");
        if !raw.signed.iter().any(written) {
            let allowed = "{form_sorted} in a template of `signed`, or no such table";
            self.add("form_sorted", "a table, and no {form_sorted} that it could be for", allowed);
        }
        let assign = form.assign.clone().unwrap_or_default();
        if form.assign.is_some() && (form.separator.is_empty() || form.separator == assign) {
            let found = format!("separator {:?} with assign {assign:?}", form.separator);
            self.add(
                "form_sorted.separator",
                &found,
                "one that is not empty and tells fields from their values",
            );
        }
        let odd = |name: &&String| name.is_empty() || Pick::parse(name).is_ok();
        if let Some(odd) = form.except.iter().find(odd) {
            self.add(
                "form_sorted.except",
                &format!("{odd:?}"),
                "names of fields, such as \"sign\", and no places",
            );
        }
        FormText {
            separator: form.separator.clone(),
            assign,
            values_alone: form.assign.is_none(),
            except: form.except.clone(),
            valued_alone: !form.empty,
            repeats: false,
            once: true,
        }
    }

    /// How an algorithm that says so itself writes what it sends, where the file leaves it open.
    pub(super) fn written(&mut self, algorithm: Algorithm, raw: &SignatureDefinition) -> SignatureDefinition {
        let mut signature = raw.clone();
        let own = match algorithm {
            Algorithm::Jwt(_) | Algorithm::Token | Algorithm::Unauthenticated => Some("text"),
            Algorithm::Basic => Some("base64"),
            _ => None,
        };
        let fixed = algorithm != Algorithm::Token && own.is_some_and(|own| raw.encoding != own);
        if fixed && !raw.encoding.is_empty() {
            self.add(
                "signature.encoding",
                &format!("{:?}", raw.encoding),
                "no encoding, with this algorithm",
            );
        }
        if let (true, Some(own)) = (raw.encoding.is_empty(), own) {
            signature.encoding = own.to_owned();
        }
        if algorithm == Algorithm::Basic && raw.from.0.is_empty() {
            signature.from = Texts(vec!["header:Authorization".to_owned()]);
        }
        if algorithm == Algorithm::Basic {
            signature.grammar =
                Grammar::Plain { prefix: "Basic ".to_owned(), ignore_case: true, optional: false };
        }
        if algorithm == Algorithm::Unauthenticated {
            // Nothing is read from there.
            signature.from = Texts(vec!["body".to_owned()]);
        }
        signature
    }

    /// A place of a token is one only with a token, and a token's header names keys and nothing else.
    pub(super) fn token_places(&mut self, algorithm: Algorithm, places: &[(&str, Option<&Pick>)]) {
        for (key, place) in places.iter().filter_map(|(key, place)| Some((key, (*place)?))) {
            let token = place.is_claim() || place.is_token_header();
            if token && !matches!(algorithm, Algorithm::Jwt(_)) {
                self.add(
                    key,
                    &place.to_string(),
                    "no place of a token, without one of the algorithms `jwt-…`",
                );
            } else if place.is_token_header() && *key != "key.id" {
                self.add(key, &place.to_string(), "jwt-header: in key.id alone");
            } else if place.is_claim() && *key == "key.id" {
                self.add(
                    key,
                    &place.to_string(),
                    "jwt-header:/kid, since claims are proved only with the key",
                );
            }
        }
    }

    /// The default of `secret`, by what the algorithm's keys are.
    pub(super) fn secret_form(algorithm: Option<Algorithm>, raw: &str) -> &str {
        match (raw.is_empty(), algorithm.is_some_and(Algorithm::has_public_keys)) {
            (false, _) => raw,
            (true, true) => "public-key",
            (true, false) => "utf8",
        }
    }

    /// Public keys come in forms of their own.
    pub(super) fn key_form(&mut self, algorithm: Algorithm, form: KeyForm, found: &str) {
        let fits = match form {
            KeyForm::Utf8 | KeyForm::Whsec | KeyForm::Nfkd | KeyForm::Sha1 => !algorithm.has_public_keys(),
            KeyForm::Whpk => algorithm == Algorithm::Ed25519,
            KeyForm::PublicKey => algorithm.has_public_keys(),
            KeyForm::Hex | KeyForm::Base64 => !algorithm.has_public_keys() || algorithm == Algorithm::Ed25519,
        };
        if !fits {
            let allowed = match algorithm {
                Algorithm::Ed25519 => "hex, base64, whpk, public-key, with the algorithm `ed25519`",
                _ if algorithm.has_public_keys() => "public-key, with a public-key algorithm",
                _ => "utf8, nfkd, sha1, hex, base64, whsec, with an algorithm that has no public keys",
            };
            self.add("secret", &format!("{found:?}"), allowed);
        }
    }
}
