//! Every way in which a scheme can be failed, each planted alone in a request that is right otherwise: what is about
//! the secret, the signature, the body, the time and the address. What else a scheme allows or demands is in `several`
//! and `beside`.

use std::time::Duration;

use super::case::{Case, slug};
use super::draft::{Draft, NOW, companions, time_place};
use super::edit;
use super::keys::Pair;
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::Pick;
use crate::provider::{Algorithm, Encoding, Grammar, Piece};
use crate::sample::tamper;

/// Shortest run of digits that is a signature.
const DIGITS_MIN: usize = 16;
/// Methods that providers send nothing with.
const STRANGE_METHODS: [&str; 3] = ["PATCH", "DELETE", "TRACE"];

/// All cases of a draft: what is accepted, and every mistake that fits its scheme.
///
/// # Errors
/// Where nobody can sign for this scheme here.
pub(super) fn cases(draft: &Draft<'_>) -> Result<Vec<Case>, Stop> {
    let signed = draft.signed(NOW)?;
    let mut cases = Cases { draft, signed, found: Vec::new() };
    cases.accepted();
    if draft.scheme.algorithm != Algorithm::Unauthenticated {
        cases.secrets();
        cases.signature();
    }
    cases.body();
    cases.companions();
    cases.time()?;
    cases.address();
    Ok(cases.found)
}

struct Cases<'d, 's> {
    draft: &'d Draft<'s>,
    signed: Delivery,
    found: Vec<Case>,
}

impl Cases<'_, '_> {
    fn accept(&mut self, name: &str, secrets: Vec<Pair>, delivery: Delivery) {
        self.found.push(Case::accepted(name, secrets, delivery));
    }

    fn reject(&mut self, name: impl Into<String>, why: impl Into<String>, delivery: Option<Delivery>) {
        let secrets = self.draft.held();
        self.found.extend(delivery.map(|delivery| Case::refused(name, why, secrets, delivery)));
    }

    fn accepted(&mut self) {
        let secrets = self.draft.held();
        self.accept("accepted", secrets, self.signed.clone());
    }

    fn secrets(&mut self) {
        let (right, other) = (&self.draft.secret, &self.draft.other);
        let both = vec![other.clone(), right.clone()];
        self.accept("accepted-with-the-second-secret", both, self.signed.clone());
        let (secrets, delivery) = (vec![other.clone()], self.signed.clone());
        self.found.push(Case::refused("other-secret", "the source has another secret", secrets, delivery));
    }

    fn signature(&mut self) {
        let Some(place) = tamper::signature_places(&self.draft.scheme).into_iter().next() else { return };
        let with = |new: &dyn Fn(&str) -> Option<String>| edit::at(&self.signed, &place, new);
        let hex = matches!(self.draft.scheme.signature.encoding, Encoding::Hex);
        let prefix = match &self.draft.scheme.signature.grammar {
            Grammar::Plain { prefix, .. } => prefix.as_str(),
            // What stands before it is a name or an item, and nothing to be left out alone.
            Grammar::Pairs(_)
            | Grammar::Sets { .. }
            | Grammar::Positional { .. }
            | Grammar::Pattern { .. }
            | Grammar::Choices { .. }
            | Grammar::Versions { .. } => "",
        };
        let made = [
            ("missing-signature", "the signature is missing", with(&|_| None)),
            ("empty-signature", "the signature is empty", with(&|_| Some(String::new()))),
            ("malformed-signature", "no signature", with(&|_| Some("made-up".to_owned()))),
            ("truncated-signature", "its last character is missing", with(&truncated)),
            ("lengthened-signature", "a character too many", with(&|text| Some(format!("{text}0")))),
            ("altered-signature", "one character of it differs", with(&altered)),
            ("quoted-signature", "in quotes", with(&|text| Some(format!("\"{text}\"")))),
            ("repeated-signature", "its header stands there twice", edit::twice(&self.signed, &place)),
        ];
        let unprefixed = (!prefix.is_empty())
            .then(|| with(&|text| text.strip_prefix(prefix).map(str::to_owned)))
            .flatten();
        let upper = if hex { with(&upper_case) } else { None };
        made.into_iter().for_each(|(name, why, delivery)| self.reject(name, why, delivery));
        self.reject("signature-without-prefix", "what stands before the signature is missing", unprefixed);
        self.reject("upper-case-signature", "its digits are in upper case", upper);
    }

    fn body(&mut self) {
        let body = |body| Some(Delivery { body, ..self.signed.clone() });
        if !self.draft.scheme.covers_body() {
            return;
        }
        let altered = tamper::body(&self.draft.scheme, &self.signed.body).ok().and_then(body);
        let longer = body([&self.signed.body[..], b"\n"].concat().into());
        let cut = body(self.signed.body.slice(..self.signed.body.len().saturating_sub(1)));
        let empty = body(bytes::Bytes::new());
        self.reject("altered-body", "one byte of the body differs", altered);
        self.reject("newline-after-body", "the body has a newline at its end that was not signed", longer);
        self.reject("truncated-body", "the last byte of the body is missing", cut);
        self.reject("empty-body", "the body is missing", empty);
    }

    /// Values that must be there, each missing; and those that are signed, each changed.
    fn companions(&mut self) {
        let scheme = &self.draft.scheme;
        let pieces = scheme.signed.iter().flat_map(|template| &template.pieces);
        let signed: Vec<&Pick> = pieces
            .filter_map(|piece| match piece {
                Piece::Value(pick) => Some(pick),
                _ => None,
            })
            .collect();
        let digest = scheme.body_digest.as_ref().map(|rule| rule.from.clone());
        for place in companions(scheme).into_iter().chain(digest) {
            let missing = edit::at(&self.signed, &place, &|_| None);
            let name = slug(&place.to_string());
            self.reject(format!("missing-{name}"), format!("{place} is missing"), missing);
            if signed.contains(&&place) {
                let changed = edit::at(&self.signed, &place, &|text| Some(format!("{text}2")));
                self.reject(format!("altered-{name}"), format!("{place} differs"), changed);
            }
        }
    }

    fn time(&mut self) -> Result<(), Stop> {
        let Some(rule) = &self.draft.scheme.timestamp else { return Ok(()) };
        let own = time_place(rule);
        let spelled = |at: Timestamp| {
            [at.millis().to_string(), at.seconds().to_string(), at.to_string(), at.to_http_date()]
        };
        let (written, later) = (spelled(NOW), spelled(NOW.plus(Duration::from_secs(1))));
        let place = own.unwrap_or(&self.draft.scheme.signature.from);
        let with = |change: &dyn Fn(&str, &str) -> String| {
            let new = |text: &str| {
                let at = written.iter().position(|time| text.contains(time.as_str()))?;
                Some(text.replace(written.get(at)?, &change(written.get(at)?, later.get(at)?)))
            };
            edit::at(&self.signed, place, &new)
        };
        let made = [
            ("altered-time", "the time is not the signed one", with(&|_, later| later.to_owned())),
            ("malformed-time", "no time", with(&|_, _| "yesterday".to_owned())),
            ("empty-time", "the time is empty", with(&|_, _| String::new())),
            (
                "missing-time",
                "the time is missing",
                own.and_then(|own| edit::at(&self.signed, own, &|_| None)),
            ),
        ];
        made.into_iter().for_each(|(name, why, delivery)| self.reject(name, why, delivery));
        let second = Duration::from_secs(1);
        let held = self.draft.held();
        if let Some(past) = rule.past {
            self.accept("accepted-at-the-oldest", held.clone(), self.draft.signed(NOW.minus(past))?);
            self.reject("stale", "signed too long ago", Some(self.draft.signed(NOW.minus(past + second))?));
        }
        if let Some(future) = rule.future {
            self.accept("accepted-at-the-farthest", held.clone(), self.draft.signed(NOW.plus(future))?);
            self.reject(
                "premature",
                "signed too far ahead",
                Some(self.draft.signed(NOW.plus(future + second))?),
            );
        }
        Ok(())
    }

    /// Another URL, where it is signed, and a method that is not the provider's.
    fn address(&mut self) {
        let to = |target: String| Some(Delivery { target, ..self.signed.clone() });
        if self.draft.scheme.covers_target() || self.draft.scheme.token.request_digest.is_some() {
            let mark = if self.signed.target.contains('?') { '&' } else { '?' };
            let other = self.signed.target.replacen(self.signed.path(), "/in/elsewhere", 1);
            let (other, more) = (to(other), to(format!("{}{mark}more=1", self.signed.target)));
            self.reject("other-path", "another path than the signed one", other);
            self.reject("longer-query", "a parameter that was not signed", more);
        }
        let strange = STRANGE_METHODS.iter().find(|method| !self.draft.scheme.takes(method));
        let other = strange.map(|method| Delivery { method: (*method).to_owned(), ..self.signed.clone() });
        self.reject("other-method", "a method that is not the provider's", other);
    }
}

fn truncated(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    text.pop();
    Some(text)
}

fn altered(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = bytes.len().saturating_sub(tamper::FROM_END);
    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = tamper::other(*byte));
    String::from_utf8(bytes).ok()
}

/// With the digits at its end in upper case; nothing where none of them is a letter.
fn upper_case(text: &str) -> Option<String> {
    let head = text.trim_end_matches(|c: char| c.is_ascii_hexdigit());
    let digits = text.get(head.len()..).filter(|digits| digits.len() >= DIGITS_MIN)?;
    Some(format!("{head}{}", digits.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_changed_in_one_way_each() {
        assert_eq!(upper_case("sha256=00ff00ff00ff00ff").as_deref(), Some("sha256=00FF00FF00FF00FF"));
        assert_eq!(upper_case("abc"), None);
        assert_eq!(altered("aaaaaaaaaaaa").as_deref(), Some("aaaabaaaaaaa"));
    }
}
