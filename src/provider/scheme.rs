//! Scheme: a provider's scheme in checked form, with a source's settings filled in. Every error in it is found
//! here, at load; what is left at request time can only meet a bad delivery, never a bad provider file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::definition::{
    Definition, EmptyBody, EventDefinition, Grammar, Repeated, SchemeDefinition, SettingDefinition,
    SignatureDefinition, TimestampDefinition,
};
use super::handshake::Handshakes;
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
    /// No signature: the sender shows the secret itself.
    Token,
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

/// What makes two deliveries of this scheme one event; computed from what the signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An id inside the signed bytes.
    SignedId(Pick),
    /// The signed body's digest, with an id and a type that are not signed beside it.
    Content,
    /// The body is not signed: the id that the authenticated sender declares, else the body's digest.
    Declared,
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
    /// What makes two deliveries one event.
    pub identity: Identity,
    /// Where the event's id is, signed or not.
    pub event_id: Option<Pick>,
    /// Where the event's type is.
    pub event_type: Option<Pick>,
    /// Values left out of the body's digest.
    pub volatile: Vec<Pointer>,
    /// Headers kept and forwarded, lower case.
    pub forward: Vec<String>,
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
        let handshakes = Handshakes::build(definition, &raw.handshakes, &fill, &mut check.problems);
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

    /// Whether the body's bytes are proved, and not only the sender.
    pub fn covers_body(&self) -> bool {
        !self.signed.is_empty() && self.signed.iter().all(Template::covers_body)
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

/// Puts a source's settings in the place of `${name}`.
struct Filler {
    values: BTreeMap<String, Option<String>>,
}

impl Filler {
    fn new(
        common: &BTreeMap<String, SettingDefinition>,
        own: &BTreeMap<String, SettingDefinition>,
        given: &BTreeMap<String, String>,
        check: &mut Check,
    ) -> Self {
        let declared: BTreeMap<&String, &SettingDefinition> = common.iter().chain(own).collect();
        for name in given.keys().filter(|name| !declared.contains_key(name)) {
            let names: Vec<&str> = declared.keys().map(|name| name.as_str()).collect();
            let allowed = if names.is_empty() { "no settings".to_owned() } else { names.join(", ") };
            check.add(&format!("settings.{name}"), "an unknown setting", &allowed);
        }
        let mut values = BTreeMap::new();
        for (name, setting) in declared {
            let value = given.get(name).or(setting.default.as_ref()).cloned();
            match &value {
                Some(value) if !setting.allowed.is_empty() && !setting.allowed.contains(value) => {
                    check.add(
                        &format!("settings.{name}"),
                        &format!("{value:?}"),
                        &setting.allowed.join(", "),
                    );
                }
                None if setting.required => {
                    check.add(&format!("settings.{name}"), "nothing", &setting.help);
                }
                _ => {}
            }
            values.insert(name.clone(), value);
        }
        Self { values }
    }

    /// `text` with its settings; `None` where it is nothing but an unset one.
    fn fill(&self, text: &str, escape: fn(&str) -> String) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else { break };
            out.push_str(before);
            match self.values.get(name) {
                Some(Some(value)) => out.push_str(&escape(value)),
                Some(None) if before.is_empty() && after.is_empty() && out.is_empty() => return None,
                Some(None) => {}
                None => out.push_str(&format!("${{{name}}}")),
            }
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }

    fn text(&self, text: &str) -> String {
        self.fill(text, str::to_owned).unwrap_or_default()
    }

    fn event(&self, event: &EventDefinition) -> EventDefinition {
        let place = |text: &Option<String>| text.as_ref().and_then(|text| self.fill(text, str::to_owned));
        EventDefinition {
            id: place(&event.id),
            event_type: place(&event.event_type),
            volatile: event.volatile.iter().map(|pointer| self.text(pointer)).collect(),
        }
    }

    fn scheme(&self, raw: &SchemeDefinition, definition: &Definition) -> SchemeDefinition {
        let mut scheme = raw.clone();
        scheme.algorithm = self.text(&raw.algorithm);
        scheme.secret = self.text(&raw.secret);
        scheme.signed =
            raw.signed.iter().map(|text| self.fill(text, Template::escape).unwrap_or_default()).collect();
        scheme.require = raw.require.iter().map(|text| self.text(text)).collect();
        scheme.signature.from = self.text(&raw.signature.from);
        scheme.signature.encoding = self.text(&raw.signature.encoding);
        if let Grammar::Plain { prefix, .. } = &mut scheme.signature.grammar {
            *prefix = self.text(prefix);
        }
        if let Some(timestamp) = &mut scheme.timestamp {
            timestamp.from = self.text(&timestamp.from);
        }
        scheme.event = Some(self.event(raw.event.as_ref().unwrap_or(&definition.event)));
        scheme
    }
}

/// Collects the problems while the parts are read.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn add(&mut self, key: &str, found: &str, allowed: &str) {
        self.problems.push(Problem {
            key: key.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        });
    }

    fn one_of<T: Copy>(&mut self, key: &str, value: &str, table: &[(&str, T)]) -> Option<T> {
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

    fn place(&mut self, key: &str, text: &str) -> Option<Pick> {
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
        let event = raw.event.clone().unwrap_or_default();
        let event_id = event.id.as_ref().and_then(|text| self.place("event.id", text));
        let event_type = event.event_type.as_ref().and_then(|text| self.place("event.type", text));
        let volatile = event
            .volatile
            .iter()
            .filter_map(|text| self.read("event.volatile", text, Pointer::parse(text)))
            .collect();
        let algorithm = algorithm?;
        self.coverage(algorithm, &signed, timestamp.as_ref().and_then(Option::as_ref));
        Some(Scheme {
            provider: definition.name.clone(),
            name: raw.name.clone(),
            methods: definition.methods.clone(),
            algorithm,
            key_form: key_form?,
            identity: identity(&signed, event_id.as_ref()),
            signed,
            require,
            empty_body: raw.empty_body,
            signature: signature?,
            timestamp: timestamp.flatten(),
            event_id,
            event_type,
            volatile,
            forward: definition.forward.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
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

fn identity(signed: &[Template], event_id: Option<&Pick>) -> Identity {
    let covered = |pick: &Pick| !signed.is_empty() && signed.iter().all(|template| template.covers(pick));
    match event_id {
        Some(pick) if covered(pick) => Identity::SignedId(pick.clone()),
        _ if !signed.is_empty() && signed.iter().all(Template::covers_body) => Identity::Content,
        _ => Identity::Declared,
    }
}

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha384", Algorithm::HmacSha384),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("token", Algorithm::Token),
];
const ENCODINGS: [(&str, Encoding); 4] = [
    ("hex", Encoding::Hex),
    ("hex-any-case", Encoding::HexAnyCase),
    ("base64", Encoding::Base64),
    ("text", Encoding::Text),
];
const KEY_FORMS: [(&str, KeyForm); 4] =
    [("utf8", KeyForm::Utf8), ("hex", KeyForm::Hex), ("base64", KeyForm::Base64), ("whsec", KeyForm::Whsec)];
const TIME_UNITS: [(&str, TimeUnit); 3] = [
    ("seconds", TimeUnit::Seconds),
    ("milliseconds", TimeUnit::Milliseconds),
    ("rfc3339", TimeUnit::Rfc3339),
];
