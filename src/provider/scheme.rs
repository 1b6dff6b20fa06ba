//! Scheme: a provider's scheme in checked form, with a source's settings filled in. Every error in it is found
//! at load; what is left at request time can only meet a bad delivery, never a bad provider file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::body_form::BodyForm;
use super::build::{Check, Problem, blamed, select};
use super::definition::{Definition, EmptyBody};
use super::demands::within;
use super::event::EventPlaces;
use super::filler::Filler;
use super::handshake::{EventAnswer, Handshakes, event_answer};
use super::key::KeyRule;
use super::origin::Origin;
use super::rules::{
    Algorithm, BodyDigestRule, Digest, EqualRule, KeyForm, MatchingRule, SignatureRule, TimestampRule,
};
use super::template::{Piece, Template};
use super::token::TokenRule;
use crate::extract::{FormText, Pick, Pointer, Spelling};

/// A scheme, ready to verify with.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The scheme's name.
    pub name: String,
    /// Methods that the provider sends with.
    pub methods: Vec<String>,
    /// How the signature is made.
    pub algorithm: Algorithm,
    /// How the key is made from the secret.
    pub key_form: KeyForm,
    /// Which key signed, and where keys are fetched from.
    pub key: KeyRule,
    /// What may have been signed; any may match.
    pub signed: Vec<Template>,
    /// The array of which every element is judged by itself.
    pub each: Option<Pick>,
    /// Every place in `signed`, once.
    pub values: Vec<Pick>,
    /// Places that must hold a value.
    pub require: Vec<Pick>,
    /// Places that must hold one of some values.
    pub equal: Vec<EqualRule>,
    /// Places that must hold a value of some form.
    pub matching: Vec<MatchingRule>,
    /// Whether an empty body may be signed.
    pub empty_body: EmptyBody,
    /// The signature.
    pub signature: SignatureRule,
    /// The time of signing.
    pub timestamp: Option<TimestampRule>,
    /// What a token's claims must say.
    pub token: TokenRule,
    /// Where a delivery names the key that it was signed with.
    /// Public secrets for tests, which no source may have.
    pub known_secrets: Vec<String>,
    /// How the fields of a sorted form are written.
    pub form_text: FormText,
    /// A digest of the body beside the signature.
    pub body_digest: Option<BodyDigestRule>,
    /// The public URL, where a source has one; needed where the URL is signed.
    pub origin: Option<Origin>,
    /// Where the event's id and type are.
    pub event: EventPlaces,
    /// Values left out of the body's digest.
    pub volatile: Vec<Pointer>,
    /// Whether no two events have one id.
    pub unique_ids: bool,
    /// Where the events are in a request that holds several.
    pub batch: Option<Batch>,
    /// Headers kept and forwarded, lower case.
    pub forward: Vec<String>,
    /// Whether the query is kept and forwarded.
    pub forward_query: bool,
    /// How long the provider retries.
    pub retries: Option<Duration>,
    /// What is answered without an event.
    pub handshakes: Handshakes,
    /// What accepted events are answered with; `None` for the gateway's own words.
    pub answer: Option<EventAnswer>,
}

impl Scheme {
    /// The scheme `name` of `definition` (its first where `None`) under a source's `settings`.
    ///
    /// # Errors
    /// Every problem of the scheme and the settings.
    pub fn build(
        definition: &Definition,
        name: Option<&str>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<Problem>> {
        let built = |settings: &BTreeMap<String, String>| Self::built(definition, name, settings);
        let others = |settings: &BTreeMap<String, String>| built(settings).err().unwrap_or_default();
        built(settings).map_err(|problems| blamed(problems, settings, &others))
    }

    fn built(
        definition: &Definition,
        name: Option<&str>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<Problem>> {
        let mut check = Check::default();
        let Some(raw) = select(definition, name, &mut check) else { return Err(check.problems) };
        let filled = Filler::new(&definition.settings, &raw.settings, settings, &mut check);
        let scheme = filled.scheme(raw, definition);
        let built = check.scheme(definition, &scheme);
        if let Some(scheme) = &built {
            check.reach(scheme);
        }
        let fill = |text: &str, escape: fn(&str) -> String| filled.fill(text, escape);
        let handshakes = Handshakes::build(definition, raw, &fill, &mut check.problems);
        let answer = raw.answer.as_ref().or(definition.answer.as_ref());
        let answer = answer.and_then(|answer| event_answer(answer, &fill, &mut check.problems));
        let built = built.map(|scheme| Self { handshakes, answer, ..scheme });
        if check.problems.is_empty() { built.ok_or_else(Vec::new) } else { Err(check.problems) }
    }

    /// Whether a request of this method can be an event or a handshake.
    pub fn takes(&self, method: &str) -> bool {
        self.sends(method) || self.handshakes.take(method)
    }

    /// Whether the provider sends its events with this method.
    pub fn sends(&self, method: &str) -> bool {
        self.methods.iter().any(|known| known == method)
    }

    /// Every method that a request can have: those of events, then those that only handshakes come with.
    pub fn allowed_methods(&self) -> Vec<&str> {
        let mut methods: Vec<&str> = self.methods.iter().map(String::as_str).collect();
        let more: Vec<&str> = self.handshakes.methods().filter(|method| !self.sends(method)).collect();
        for method in more {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods
    }

    /// The same for a source that senders reach under `public_url`.
    pub fn at(self, public_url: &str) -> Self {
        Self { origin: Some(Origin::new(public_url)), ..self }
    }

    /// Whether the body is proved, and not only the sender.
    pub fn covers_body(&self) -> bool {
        let covers = |template: &Template| template.covers_json() || template.covers_form();
        self.body_digest.is_some() || self.token_is_body() || self.all_templates(covers)
    }

    /// Whether the body is a token, so that its claims are what it says.
    pub fn token_is_body(&self) -> bool {
        matches!(self.algorithm, Algorithm::Jwt(_)) && self.signature.from == Pick::Body
    }

    /// Whether a digest that no delivery may lack proves the body.
    fn proves_digest(&self) -> bool {
        self.body_digest.as_ref().is_some_and(|rule| !rule.optional)
    }

    /// Whether the body is proved as the fields of a form and no further.
    pub fn covers_form_alone(&self) -> bool {
        self.body_digest.is_none()
            && !self.token_is_body()
            && !self.all_templates(Template::covers_json)
            && self.covers_body()
    }

    /// How the body may be spelled otherwise and be signed the same, where no digest proves its bytes.
    pub fn respellings(&self) -> Vec<Spelling> {
        let signed = |spelling: &Spelling| {
            !self.proves_digest() && self.body_forms().any(|form| form.respelled() == Some(*spelling))
        };
        Spelling::ALL.into_iter().filter(signed).collect()
    }

    /// The JSON values that every template signs as they stand there, and of the delivery nothing else but its time and
    /// URL.
    pub fn raw_values(&self) -> Vec<&Pick> {
        let alone = self.signed.iter().all(Template::has_raw_alone) && !self.covers_body();
        let Some((first, others)) = self.signed.split_first().filter(|_| alone) else { return Vec::new() };
        let in_all =
            |pick: &&Pick| others.iter().all(|template| template.raw_values().any(|known| known == *pick));
        first.raw_values().filter(in_all).collect()
    }

    /// Every form in which the body is signed.
    fn body_forms(&self) -> impl Iterator<Item = BodyForm> {
        self.signed.iter().flat_map(|template| &template.pieces).filter_map(|piece| match piece {
            Piece::BodyAs(form) => Some(*form),
            _ => None,
        })
    }

    /// Whether fields that stand twice in a signed form are signed twice.
    pub fn covers_repeats(&self) -> bool {
        self.all_templates(|template| template.pieces.contains(&Piece::FormSortedAll))
    }

    /// The place within an element of [`Self::each`] that `pick` is in one of them.
    pub fn item_of(&self, pick: &Pick) -> Option<Pick> {
        within(self.each.as_ref(), pick)
    }

    /// Whether path and query are proved, with or without the public URL before them.
    pub fn covers_target(&self) -> bool {
        self.all_templates(Template::covers_target)
    }

    /// Whether the URL is signed, so that the public one must be known.
    pub fn signs_url(&self) -> bool {
        self.signed.iter().any(Template::needs_url)
    }

    /// Whether the secrets of a source are public keys, which cannot sign.
    pub fn has_public_keys(&self) -> bool {
        self.algorithm.has_public_keys()
    }

    /// What an operator should know of how this scheme proves, if anything.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let named = self.body_digest.iter().map(|rule| rule.digest);
        let broken = |digest: &Digest| matches!(digest, Digest::Md5 | Digest::Sha1);
        if named.chain(self.body_forms().filter_map(BodyForm::digest)).any(|digest| broken(&digest)) {
            warnings.push(
                "the body is proved by a digest of MD5 or SHA-1, which are broken: whoever writes some of an event can \
                 make two bodies of one digest"
                    .to_owned(),
            );
        }
        let open = |pick: &Pick| !self.matching.iter().any(|rule| rule.place == *pick);
        let touching =
            self.signed.iter().filter_map(Template::neighbours).find(|(one, next)| open(one) && open(next));
        if let Some((one, next)) = touching {
            warnings.push(format!(
                "{one} and {next} are signed with nothing between them: whoever sees one delivery can move text from one to \
                 the other; say by `matching` what each may be"
            ));
        }
        if !self.form_text.assign.is_empty() {
            warnings.push(format!(
                "`form_sorted` proves the fields together: of a value that holds {:?} whoever sees one delivery can make \
                 fields of their own",
                self.form_text.separator
            ));
        }
        if self.form_text.values_alone {
            warnings.push(
                "`form_sorted` without `assign` signs no names: whoever sees one delivery can send its values under others"
                    .to_owned(),
            );
        }
        let Algorithm::Plain(digest) = self.algorithm else { return warnings };
        if digest == Digest::Md5 {
            warnings.push("MD5 is broken; it proves no more than that forging costs some effort".to_owned());
        }
        if digest != Digest::Sha384 && self.signed.iter().any(Template::ends_open) {
            warnings.push(
                "the secret stands before what is signed: whoever sees one delivery can sign longer ones that begin \
                 with it"
                    .to_owned(),
            );
        }
        warnings
    }

    fn all_templates(&self, holds: impl Fn(&Template) -> bool) -> bool {
        !self.signed.is_empty() && self.signed.iter().all(holds)
    }
}
