//! From a provider file's texts to a [`super::Scheme`]: every mistake is found here, and all are collected.

use std::collections::BTreeMap;
use std::fmt;

use super::definition::{
    Definition, ForwardDefinition, SchemeDefinition, SignatureDefinition, TimestampDefinition,
};
use super::demands::{Proof, names_values, proof, values};
use super::event::EventPlaces;
use super::handshake::Handshakes;
use super::rules::{
    ALGORITHMS, Algorithm, ENCODINGS, KEY_FORMS, SignatureRule, TIME_UNITS, TimeSource, TimeUnit,
    TimestampRule,
};
use super::scheme::Scheme;
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

pub(super) fn select<'d>(
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

/// The problems, each that a setting makes in the provider's file under that setting's name: it goes away without the
/// setting. Of one that is refused already, what follows from it is left out.
pub(super) fn blamed(
    problems: Vec<Problem>,
    settings: &BTreeMap<String, String>,
    others: &dyn Fn(&BTreeMap<String, String>) -> Vec<Problem>,
) -> Vec<Problem> {
    let is_sources = |problem: &Problem| problem.key.starts_with("settings.") || problem.key == "scheme";
    if problems.iter().all(is_sources) {
        return problems;
    }
    let without = |name: &String| {
        let mut fewer = settings.clone();
        fewer.remove(name);
        others(&fewer)
    };
    let trials: Vec<(&String, &String, Vec<Problem>)> =
        settings.iter().map(|(name, value)| (name, value, without(name))).collect();
    let (mut told, others): (Vec<Problem>, Vec<Problem>) = problems.into_iter().partition(is_sources);
    for problem in others {
        let guilty = trials.iter().filter(|(_, _, left)| !left.contains(&problem));
        let guilty = guilty.min_by_key(|(_, value, _)| !problem.found.contains(value.as_str()));
        let key = guilty.map_or_else(|| problem.key.clone(), |(name, ..)| format!("settings.{name}"));
        if guilty.is_none() || told.iter().all(|known| known.key != key) {
            told.push(Problem { key, ..problem });
        }
    }
    told
}

/// Templates in which the time is known as such.
fn dated(signed: Vec<Template>, timestamp: Option<&TimestampRule>) -> Vec<Template> {
    match timestamp.map(|rule| rule.from.place()) {
        Some(time) => signed.into_iter().map(|template| template.dated(&time)).collect(),
        None => signed,
    }
}

/// Collects the problems while the parts are read.
#[derive(Default)]
pub(super) struct Check {
    pub(super) problems: Vec<Problem>,
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

    pub(super) fn read<T>(&mut self, key: &str, found: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|allowed| self.add(key, &format!("{found:?}"), &allowed)).ok()
    }

    pub(super) fn place(&mut self, key: &str, text: &str) -> Option<Pick> {
        self.read(key, text, Pick::parse(text))
    }

    pub(super) fn scheme(&mut self, definition: &Definition, raw: &SchemeDefinition) -> Option<Scheme> {
        let algorithm = self.one_of("algorithm", &raw.algorithm, &ALGORITHMS);
        let secret = Self::secret_form(algorithm, &raw.secret);
        let key_form = self.one_of("secret", secret, &KEY_FORMS);
        let signed: Vec<Template> =
            raw.signed.iter().filter_map(|text| self.read("signed", text, Template::parse(text))).collect();
        let (equal, matching) = (self.equal(&raw.equal), self.matching(&raw.matching));
        let each = raw.each.as_ref().and_then(|text| self.each(text, &signed));
        let written = algorithm.map(|algorithm| self.written(algorithm, &raw.signature));
        let signature = self.signature(written.as_ref().unwrap_or(&raw.signature));
        let timestamp = raw.timestamp.as_ref().and_then(|time| self.timestamp(time, &raw.signature));
        let signed = dated(signed, timestamp.as_ref());
        let templates = Some(&signed[..]).filter(|_| !raw.signed.is_empty());
        let body_digest = raw.body_digest.as_ref().map(|digest| self.body_digest(digest, templates));
        let event = raw.event.clone().unwrap_or_default();
        let token = algorithm.map(|algorithm| self.token(algorithm, &raw.jwt)).unwrap_or_default();
        let proof = |pick: &Pick| match &raw.body_digest {
            _ if pick.is_claim() => Proof::Whole,
            Some(digest) if pick.is_in_body() && !digest.optional => Proof::Whole,
            _ => proof(&signed, each.as_ref(), pick),
        };
        let ids = self.places("event.id", &event.id, &proof);
        self.signed_first(&ids);
        let types = self.places("event.type", &event.event_type, &proof);
        let volatile = self.pointers("event.volatile", &event.volatile);
        let batch = raw.batch.as_ref().map(|batch| self.batch(batch, &|pick| proof(pick) == Proof::Whole));
        let (algorithm, key_form) = (algorithm?, key_form?);
        self.key_form(algorithm, key_form, secret);
        let key = self.key_rule(&raw.key, algorithm);
        self.any_signed(algorithm, &raw.signed);
        self.coverage(algorithm, &signed, timestamp.as_ref());
        let digest = body_digest.as_ref().and_then(Option::as_ref).map(|rule| &rule.from);
        self.cuts(&signed, &matching, timestamp.as_ref(), digest);
        let places = ids.iter().chain(&types).map(|place| ("event", Some(&place.pick)));
        let named = [("key.id", key.id.as_ref()), ("body_digest.from", digest)];
        self.token_places(algorithm, &places.chain(named).collect::<Vec<_>>());
        self.kept_secret(&definition.forward, signature.as_ref().filter(|_| algorithm.shows_secret()));
        Some(Scheme {
            provider: definition.name.as_str().into(),
            name: raw.name.clone(),
            methods: raw.methods.as_ref().unwrap_or(&definition.methods).clone(),
            algorithm,
            key_form,
            each,
            values: values(&signed),
            key,
            signed,
            require: raw.require.iter().filter_map(|text| self.place("require", text)).collect(),
            equal,
            matching,
            empty_body: raw.empty_body,
            signature: signature?,
            timestamp,
            form_text: self.form_text(raw),
            body_digest: body_digest.flatten(),
            token,
            known_secrets: raw.known_secrets.clone(),
            origin: None,
            event: EventPlaces::new(ids, types),
            volatile,
            unique_ids: event.unique,
            batch: batch.flatten(),
            forward: definition.forward.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            forward_query: definition.forward.query,
            retries: definition.sender.retries.map(|span| span.duration()),
            handshakes: Handshakes::default(),
            answer: None,
        })
    }

    fn pointers(&mut self, key: &str, texts: &[String]) -> Vec<Pointer> {
        texts.iter().filter_map(|text| self.read(key, text, Pointer::parse(text))).collect()
    }

    fn signature(&mut self, raw: &SignatureDefinition) -> Option<SignatureRule> {
        let mut places = self.signature_places(raw).into_iter();
        let encoding = self.one_of("signature.encoding", &raw.encoding, &ENCODINGS);
        let (pattern, choices) = self.grammar(&raw.grammar);
        Some(SignatureRule {
            from: places.next()?,
            repeated: raw.repeated,
            grammar: raw.grammar.clone(),
            encoding: encoding?,
            more: places.collect(),
            numbered: raw.count.is_some(),
            slots: raw.slots,
            pattern,
            choices,
        })
    }

    fn timestamp(
        &mut self,
        raw: &TimestampDefinition,
        signature: &SignatureDefinition,
    ) -> Option<TimestampRule> {
        let unit = self.one_of("timestamp.unit", &raw.unit, &TIME_UNITS);
        let from = match raw.from.strip_prefix("signature:") {
            Some(name) if names_values(&signature.grammar) => Some(TimeSource::Signature(name.to_owned())),
            Some(_) => {
                self.add(
                    "timestamp.from",
                    &format!("{:?}", raw.from),
                    "`signature:` needs a grammar with named values: `pairs`, `sets`, `positional`, `pattern`",
                );
                None
            }
            None => self.place("timestamp.from", &raw.from).map(TimeSource::Place),
        };
        Some(TimestampRule {
            from: from?,
            unit: unit?,
            number: raw.number,
            past: raw.past.map(|span| span.duration()),
            future: raw.future.map(|span| span.duration()),
        })
    }

    /// A token is the secret itself: where it stands goes to no journal and to no worker.
    fn kept_secret(&mut self, forward: &ForwardDefinition, token: Option<&SignatureRule>) {
        let leaks = |place: &&Pick| match place.root() {
            Pick::Header(name) => forward.headers.iter().any(|line| line.eq_ignore_ascii_case(name)),
            Pick::Query(_) => forward.query,
            _ => false,
        };
        if let Some(place) = token.iter().flat_map(|rule| rule.places()).find(leaks) {
            self.add("forward", &place.to_string(), "nothing that carries the secret itself");
        }
    }

    /// A MAC needs something to cover, a token has nothing; a template with a mistake in it counts, as it is told already.
    fn any_signed(&mut self, algorithm: Algorithm, signed: &[String]) {
        match (algorithm.signs_templates(), signed.is_empty()) {
            (false, false) => self.add("signed", "a template", "nothing, with this algorithm"),
            (true, true) => {
                self.add("signed", "nothing", "at least one template such as \"{timestamp}.{body}\"")
            }
            _ => {}
        }
    }

    /// A plain digest has the secret in what it covers, an HMAC may, a public key has none; a time that is not signed
    /// proves no freshness.
    fn coverage(&mut self, algorithm: Algorithm, signed: &[Template], timestamp: Option<&TimestampRule>) {
        match algorithm {
            Algorithm::Plain(_) if !signed.iter().all(Template::always_holds_secret) => {
                let allowed = "{secret} in every template, and not in an {if …}: without it anybody can make the digest";
                self.add("signed", "a template without {secret}", allowed);
            }
            algorithm if algorithm.has_public_keys() && signed.iter().any(Template::holds_secret) => {
                self.add(
                    "signed",
                    "{secret}",
                    "{secret} with a plain digest or an HMAC: here nobody shares one",
                );
            }
            _ => {}
        }
        if let Some(template) = signed.iter().find(|template| !template.covers_something()) {
            let found =
                format!("\"{template}\", which has nothing of a delivery in it: its signature would fit any");
            self.add("signed", &found, "a template with a piece such as {body} or {json:/id} in it");
        }
        let covered = |template: &Template| match timestamp.map(|rule| &rule.from) {
            None => true,
            Some(TimeSource::Signature(_)) => template.covers_time(),
            Some(TimeSource::Place(Pick::Header(_))) if template.lists_header() => true,
            Some(TimeSource::Place(pick)) => template.covers_time() || template.covers(pick),
        };
        let either = timestamp.is_some_and(|rule| rule.unit == TimeUnit::SecondsOrMilliseconds);
        if either && signed.iter().any(Template::time_touches) {
            let allowed = "`seconds` or `milliseconds`, or a sign between the time and what stands beside it";
            self.add("timestamp.unit", "\"seconds-or-milliseconds\" where digits touch the time", allowed);
        }
        let dated = |template: &Template| template.pieces.contains(&Piece::Timestamp);
        if timestamp.is_none() && signed.iter().any(dated) {
            self.add("signed", "{timestamp}", "a table `timestamp` that says where the time is");
        }
        let claim =
            timestamp.is_some_and(|rule| matches!(&rule.from, TimeSource::Place(pick) if pick.is_claim()));
        let proved = match algorithm {
            Algorithm::Jwt(_) => claim,
            _ => !claim && signed.iter().all(covered),
        };
        if let (Some(rule), false) = (timestamp, proved) {
            let together = signed.iter().any(Template::covers_form);
            let of_form =
                matches!(&rule.from, TimeSource::Place(pick) if matches!(pick.root(), Pick::Form(_)));
            let allowed = match together && of_form {
                true => {
                    "a place that stands in `signed` by itself: the fields of a sorted form are proved only together"
                }
                false => {
                    "a place that every template of `signed` covers; a part that is cut out counts where the place \
                          that it is cut out of does"
                }
            };
            self.add("timestamp.from", &format!("{}, which is not signed", rule.from), allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Catalog;

    #[test]
    fn a_setting_is_blamed_for_what_it_makes_in_the_file_and_once() {
        let catalog = Catalog::built_in().unwrap();
        let definition = catalog.get("generic").unwrap();
        let keys = |given: &[(&str, &str)]| {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let problems = Scheme::build(definition, Some("hmac"), &given).unwrap_err();
            problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&[("id", "/id"), ("type", "json:/type")]), ["settings.id"]);
        assert_eq!(keys(&[("algorithm", "hmac-md4")]), ["settings.algorithm"], "refused already");
        assert_eq!(keys(&[("id", "/id"), ("type", "nowhere")]), ["settings.id", "settings.type"]);
        assert_eq!(keys(&[("colour", "blue"), ("header", "a b")]), ["settings.colour", "settings.header"]);
    }

    #[test]
    fn what_no_setting_makes_stays_the_files() {
        let text = "name = \"acme\"\ntitle = \"Acme\"\n[settings.a]\nhelp = \"a\"\n[[schemes]]\nname = \"s\"\n\
                    algorithm = \"hmac-md4\"\nsigned = [\"{body}\"]\nsignature = { from = \"header:x\", encoding = \"hex\" }\n";
        let definition: Definition = toml::from_str(text).unwrap();
        let given = [("a".to_owned(), "b".to_owned())].into();
        let problems = Scheme::build(&definition, None, &given).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["algorithm"]);
    }
}
