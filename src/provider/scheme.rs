//! Scheme: a provider's scheme in checked form, with a source's settings filled in. Every error in it is found
//! here, at load; what is left at request time can only meet a bad delivery, never a bad provider file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::definition::{
    Definition, EmptyBody, ForwardDefinition, Grammar, Repeated, SchemeDefinition, SignatureDefinition,
    TimestampDefinition,
};
use super::event::EventPlaces;
use super::filler::Filler;
use super::handshake::Handshakes;
use super::origin::Origin;
use super::template::{Piece, Template};
use crate::extract::{Pick, Pointer};

/// A mistake in a provider file, or in the settings that a source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a key path within the file or the source.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}; allowed: {}", self.key, self.found, self.allowed)
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519: a source's secrets are public keys.
    Ed25519,
    /// No signature: the sender shows the secret itself.
    Token,
}

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Hexadecimal digits of either case.
    HexAnyCase,
    /// Canonical, padded base64.
    Base64,
    /// The bytes themselves.
    Text,
}

/// How a key is made from a secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Its UTF-8 bytes, prefixes and all.
    Utf8,
    /// Hexadecimal digits.
    Hex,
    /// Base64, padding optional.
    Base64,
    /// Base64 after an optional `whsec_`, padding optional.
    Whsec,
    /// A public key in base64 after an optional `whpk_`; the private one after `whsk_`.
    Whpk,
    /// A public key as SubjectPublicKeyInfo, the private one as PKCS #8: PEM, or DER in base64.
    Spki,
}

/// A digest of the body inside what is signed: it proves the body.
#[derive(Clone, Debug)]
pub struct BodyDigestRule {
    /// The place, which every template covers.
    pub from: Pick,
    /// Of which hash.
    pub digest: Digest,
    /// How it is written.
    pub encoding: Encoding,
}

/// Where the signature is and how it is written.
#[derive(Clone, Debug)]
pub struct SignatureRule {
    /// The place.
    pub from: Pick,
    /// What a repeated header means.
    pub repeated: Repeated,
    /// How signatures stand in the value.
    pub grammar: Grammar,
    /// How each is written.
    pub encoding: Encoding,
}

/// Where the time of signing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// A named value beside the signature.
    Signature(String),
    /// A place of its own.
    Place(Pick),
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// RFC 3339 with any offset.
    Rfc3339,
}

/// Where the time of signing is and how old it may be.
#[derive(Clone, Debug)]
pub struct TimestampRule {
    /// Where.
    pub from: TimeSource,
    /// How it is written.
    pub unit: TimeUnit,
    /// Oldest age accepted; `None` = any.
    pub past: Option<Duration>,
    /// Farthest future accepted; `None` = any.
    pub future: Option<Duration>,
}

/// A scheme, ready to verify with.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// The provider's name.
    pub provider: String,
    /// The scheme's name.
    pub name: String,
    /// Methods that the provider sends with.
    pub methods: Vec<String>,
    /// How the signature is made.
    pub algorithm: Algorithm,
    /// How the key is made from the secret.
    pub key_form: KeyForm,
    /// What may have been signed; any may match.
    pub signed: Vec<Template>,
    /// Places that must hold a value.
    pub require: Vec<Pick>,
    /// Whether an empty body may be signed.
    pub empty_body: EmptyBody,
    /// The signature.
    pub signature: SignatureRule,
    /// The time of signing.
    pub timestamp: Option<TimestampRule>,
    /// A digest of the body beside the signature.
    pub body_digest: Option<BodyDigestRule>,
    /// The public URL, where a source has one; needed where the URL is signed.
    pub origin: Option<Origin>,
    /// Where the event's id and type are.
    pub event: EventPlaces,
    /// Values left out of the body's digest.
    pub volatile: Vec<Pointer>,
    /// Headers kept and forwarded, lower case.
    pub forward: Vec<String>,
    /// Whether the query is kept and forwarded.
    pub forward_query: bool,
    /// How long the provider retries.
    pub retries: Option<Duration>,
    /// What is answered without an event.
    pub handshakes: Handshakes,
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
        let mut check = Check::default();
        let Some(raw) = select(definition, name, &mut check) else { return Err(check.problems) };
        let filled = Filler::new(&definition.settings, &raw.settings, settings, &mut check);
        let scheme = filled.scheme(raw, definition);
        let built = check.scheme(definition, &scheme);
        let fill = |text: &str, escape: fn(&str) -> String| filled.fill(text, escape);
        let handshakes = Handshakes::build(definition, raw, &fill, &mut check.problems);
        let built = built.map(|scheme| Self { handshakes, ..scheme });
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
        let covers = |template: &Template| template.covers_body() || template.covers_form();
        self.body_digest.is_some() || self.all_templates(covers)
    }

    /// Whether the body is proved as the fields of a form and no further.
    pub fn covers_form_alone(&self) -> bool {
        self.body_digest.is_none() && !self.all_templates(Template::covers_body) && self.covers_body()
    }

    /// Whether the URL is signed, so that the public one must be known.
    pub fn signs_url(&self) -> bool {
        self.signed.iter().any(Template::covers_url)
    }

    /// Whether the secrets of a source are public keys, which cannot sign.
    pub fn has_public_keys(&self) -> bool {
        self.algorithm == Algorithm::Ed25519
    }

    fn all_templates(&self, holds: impl Fn(&Template) -> bool) -> bool {
        !self.signed.is_empty() && self.signed.iter().all(holds)
    }
}

fn select<'d>(
    definition: &'d Definition,
    name: Option<&str>,
    check: &mut Check,
) -> Option<&'d SchemeDefinition> {
    let found = match name {
        None => definition.schemes.first(),
        Some(name) => definition.schemes.iter().find(|scheme| scheme.name == name),
    };
    if found.is_none() {
        let names: Vec<&str> = definition.schemes.iter().map(|scheme| scheme.name.as_str()).collect();
        check.add("scheme", &format!("{:?}", name.unwrap_or("none")), &names.join(", "));
    }
    found
}

/// Collects the problems while the parts are read.
#[derive(Default)]
pub(super) struct Check {
    problems: Vec<Problem>,
}

impl Check {
    pub(super) fn add(&mut self, key: &str, found: &str, allowed: &str) {
        self.problems.push(Problem {
            key: key.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        });
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, value: &str, table: &[(&str, T)]) -> Option<T> {
        let found = table.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            self.add(key, &format!("{value:?}"), &names.join(", "));
        }
        found
    }

    fn read<T>(&mut self, key: &str, found: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|allowed| self.add(key, &format!("{found:?}"), &allowed)).ok()
    }

    pub(super) fn place(&mut self, key: &str, text: &str) -> Option<Pick> {
        self.read(key, text, Pick::parse(text))
    }

    fn scheme(&mut self, definition: &Definition, raw: &SchemeDefinition) -> Option<Scheme> {
        let algorithm = self.one_of("algorithm", &raw.algorithm, &ALGORITHMS);
        let key_form = self.one_of("secret", &raw.secret, &KEY_FORMS);
        let signed: Vec<Template> =
            raw.signed.iter().filter_map(|text| self.read("signed", text, Template::parse(text))).collect();
        let require = raw.require.iter().filter_map(|text| self.place("require", text)).collect();
        let signature = self.signature(&raw.signature);
        let timestamp = raw.timestamp.as_ref().map(|timestamp| self.timestamp(timestamp, &raw.signature));
        let body_digest = raw.body_digest.as_ref().map(|digest| self.body_digest(digest, &signed));
        let event = raw.event.clone().unwrap_or_default();
        let covered = |pick: &Pick| match &raw.body_digest {
            Some(_) if pick.is_in_body() => true,
            _ => !signed.is_empty() && signed.iter().all(|template| template.covers(pick)),
        };
        let ids = self.places("event.id", &event.id, &covered);
        self.signed_first(&ids);
        let types = self.places("event.type", &event.event_type, &covered);
        let volatile = event
            .volatile
            .iter()
            .filter_map(|text| self.read("event.volatile", text, Pointer::parse(text)))
            .collect();
        let (algorithm, key_form) = (algorithm?, key_form?);
        self.key_form(algorithm, key_form, &raw.secret);
        self.coverage(algorithm, &signed, timestamp.as_ref().and_then(Option::as_ref));
        if algorithm == Algorithm::Token {
            self.kept_secret(&definition.forward, signature.as_ref().map(|rule| &rule.from));
        }
        Some(Scheme {
            provider: definition.name.clone(),
            name: raw.name.clone(),
            methods: raw.methods.as_ref().unwrap_or(&definition.methods).clone(),
            algorithm,
            key_form,
            signed,
            require,
            empty_body: raw.empty_body,
            signature: signature?,
            timestamp: timestamp.flatten(),
            body_digest: body_digest.flatten(),
            origin: None,
            event: EventPlaces::new(ids, types),
            volatile,
            forward: definition.forward.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            forward_query: definition.forward.query,
            retries: definition.sender.retries.map(|span| span.duration()),
            handshakes: Handshakes::default(),
        })
    }

    fn signature(&mut self, raw: &SignatureDefinition) -> Option<SignatureRule> {
        let from = self.place("signature.from", &raw.from);
        let encoding = self.one_of("signature.encoding", &raw.encoding, &ENCODINGS);
        if let Grammar::Pairs { separator, assign, keys } | Grammar::Versions { separator, assign, keys } =
            &raw.grammar
            && (separator.is_empty() || assign.is_empty() || keys.is_empty())
        {
            self.add("signature.grammar", "an empty part", "a separator, an assign and at least one key");
        }
        Some(SignatureRule {
            from: from?,
            repeated: raw.repeated,
            grammar: raw.grammar.clone(),
            encoding: encoding?,
        })
    }

    fn timestamp(
        &mut self,
        raw: &TimestampDefinition,
        signature: &SignatureDefinition,
    ) -> Option<TimestampRule> {
        let unit = self.one_of("timestamp.unit", &raw.unit, &TIME_UNITS);
        let from = match raw.from.strip_prefix("signature:") {
            Some(name) if matches!(signature.grammar, Grammar::Pairs { .. }) => {
                Some(TimeSource::Signature(name.to_owned()))
            }
            Some(_) => {
                self.add(
                    "timestamp.from",
                    &format!("{:?}", raw.from),
                    "`signature:` needs the grammar `pairs`",
                );
                None
            }
            None => self.place("timestamp.from", &raw.from).map(TimeSource::Place),
        };
        Some(TimestampRule {
            from: from?,
            unit: unit?,
            past: raw.past.map(|span| span.duration()),
            future: raw.future.map(|span| span.duration()),
        })
    }

    /// A token is the secret itself: where it stands goes to no journal and to no worker.
    fn kept_secret(&mut self, forward: &ForwardDefinition, token: Option<&Pick>) {
        let leaks = match token {
            Some(Pick::Header(name)) => forward.headers.iter().any(|line| line.eq_ignore_ascii_case(name)),
            Some(Pick::Query(_)) => forward.query,
            Some(Pick::Inside(outer, _)) => return self.kept_secret(forward, Some(outer)),
            Some(Pick::Json(_) | Pick::Form(_)) | None => false,
        };
        if let (true, Some(place)) = (leaks, token) {
            self.add("forward", &place.to_string(), "nothing that carries the secret itself");
        }
    }

    /// A MAC needs something to cover, a token has nothing; a time that is not signed proves no freshness.
    fn coverage(&mut self, algorithm: Algorithm, signed: &[Template], timestamp: Option<&TimestampRule>) {
        match (algorithm, signed.is_empty()) {
            (Algorithm::Token, false) => {
                self.add("signed", "a template", "nothing, with the algorithm `token`")
            }
            (Algorithm::Token, true) => {}
            (_, true) => {
                self.add("signed", "nothing", "at least one template such as \"{timestamp}.{body}\"")
            }
            (_, false) => {}
        }
        let covered = |template: &Template| match timestamp.map(|rule| &rule.from) {
            None => true,
            Some(TimeSource::Signature(_)) => template.pieces.contains(&Piece::Timestamp),
            Some(TimeSource::Place(pick)) => {
                template.pieces.contains(&Piece::Timestamp) || template.covers(pick)
            }
        };
        let dated = |template: &Template| template.pieces.contains(&Piece::Timestamp);
        if timestamp.is_none() && signed.iter().any(dated) {
            self.add("signed", "{timestamp}", "a table `timestamp` that says where the time is");
        }
        if timestamp.is_some() && !signed.iter().all(covered) {
            self.add(
                "timestamp.from",
                "a time that is not signed",
                "a time that every template of `signed` covers",
            );
        }
    }
}

const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha384", Algorithm::HmacSha384),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("ed25519", Algorithm::Ed25519),
    ("token", Algorithm::Token),
];
pub(super) const ENCODINGS: [(&str, Encoding); 4] = [
    ("hex", Encoding::Hex),
    ("hex-any-case", Encoding::HexAnyCase),
    ("base64", Encoding::Base64),
    ("text", Encoding::Text),
];
const KEY_FORMS: [(&str, KeyForm); 6] = [
    ("utf8", KeyForm::Utf8),
    ("hex", KeyForm::Hex),
    ("base64", KeyForm::Base64),
    ("whsec", KeyForm::Whsec),
    ("whpk", KeyForm::Whpk),
    ("spki", KeyForm::Spki),
];
const TIME_UNITS: [(&str, TimeUnit); 3] = [
    ("seconds", TimeUnit::Seconds),
    ("milliseconds", TimeUnit::Milliseconds),
    ("rfc3339", TimeUnit::Rfc3339),
];
