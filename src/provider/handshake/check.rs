//! From a definition to a checked handshake; every error in the file is found here, at load.

mod answer;
mod computed;

use super::answer::EventAnswer;
use super::conditions::{Asked, Conditions, Pattern, Wanted};
use super::definition::{AnswerDefinition, Expected, HandshakeDefinition, MatchDefinition, Scalar};
use super::handshakes::Handshake;
use super::pattern;
use crate::extract::Pick;
use crate::provider::{Problem, UrlPattern};

/// Places that one handshake reads.
const PLACES_MAX: usize = 16;
/// Keys that `only_keys` may name.
const KEYS_MAX: usize = 64;
/// Methods of handshakes at a path of their own.
const PATH_METHODS: [&str; 2] = ["GET", "HEAD"];

/// The text with a source's settings in it, the second function put over each; `None` where it is an unset one.
pub(in crate::provider) type Fill<'f> = &'f dyn Fn(&str, fn(&str) -> String) -> Option<String>;

/// Checks one handshake of a scheme that has these methods and this algorithm; nothing where it has a problem, or
/// needs a setting that is not set.
pub(super) fn handshake(
    raw: &HandshakeDefinition,
    (sent, algorithm): (&[String], &str),
    fill: Fill<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Handshake> {
    let at = format!("handshakes.{}.", raw.name);
    Check { at, fill, places: Vec::new(), computed: Vec::new(), unset: false, problems }
        .handshake(raw, (sent, algorithm))
}

/// Checks what events are answered with: fixed text.
pub(in crate::provider) fn event_answer(
    raw: &AnswerDefinition,
    fill: Fill<'_>,
    problems: &mut Vec<Problem>,
) -> Option<EventAnswer> {
    let mut check =
        Check { at: String::new(), fill, places: Vec::new(), computed: Vec::new(), unset: false, problems };
    let rule = check.answer(raw)?;
    if !check.places.is_empty() {
        check.add("answer", "a value of the event", "fixed text: nothing of an event is echoed");
    }
    if check.unset {
        return None;
    }
    rule.render("answer", &[], &[]).ok()
}

/// Reads one handshake and collects its problems.
struct Check<'c> {
    /// What the keys of problems begin with.
    at: String,
    fill: Fill<'c>,
    /// Places read so far, each once.
    places: Vec<Asked>,
    /// Names of the computed values, by number.
    computed: Vec<String>,
    /// Whether a setting that it needs is not set.
    unset: bool,
    problems: &'c mut Vec<Problem>,
}

impl Check<'_> {
    fn add(&mut self, key: &str, found: &str, allowed: &str) {
        let key = format!("{}{key}", self.at);
        self.problems.push(Problem { key, found: found.to_owned(), allowed: allowed.to_owned() });
    }

    fn handshake(
        &mut self,
        raw: &HandshakeDefinition,
        (sent, algorithm): (&[String], &str),
    ) -> Option<Handshake> {
        let path = raw.conditions.path.as_ref().map(|path| self.path(path));
        let methods = self.methods(&raw.conditions, path.is_some(), sent);
        self.conditions(&raw.conditions);
        let computed = self.computed(&raw.computed);
        let answer = self.answer(&raw.answer);
        let capture = raw.capture.as_ref().and_then(|place| self.place("capture", place));
        let visit = raw.visit.as_ref().and_then(|visit| {
            let (place, pattern) = (self.place("visit.from", &visit.from), self.url(&visit.pattern));
            Some((place?, pattern?))
        });
        self.selects(raw, &methods, sent);
        self.proofs(raw, &methods);
        let shapes = self.shapes(raw.verify, algorithm, &computed);
        if self.places.len() > PLACES_MAX {
            self.add("match", &format!("{} places", self.places.len()), &format!("at most {PLACES_MAX}"));
        }
        let answer = answer?;
        let mut taken: Vec<usize> = answer.texts().flat_map(|text| text.echoed()).collect();
        taken.extend(computed.iter().flat_map(|computed| computed.of.echoed()));
        taken.extend(capture.iter().chain(visit.iter().map(|(place, _)| place)));
        let conditions = Conditions {
            methods,
            content_type: raw.conditions.content_type.as_ref().map(|text| text.to_ascii_lowercase()),
            empty_body: raw.conditions.empty_body,
            only_keys: self.only_keys(&raw.conditions.only_keys),
            places: std::mem::take(&mut self.places),
        };
        let (name, verify) = (raw.name.as_str().into(), raw.verify);
        let handshake =
            Handshake { name, verify, path, conditions, computed, shapes, answer, taken, capture, visit };
        (!self.unset).then_some(handshake)
    }

    fn methods(&mut self, raw: &MatchDefinition, own_path: bool, sent: &[String]) -> Vec<String> {
        let methods = match (&raw.methods, own_path) {
            (none, true) if none.is_empty() => PATH_METHODS.map(str::to_owned).to_vec(),
            (none, false) if none.is_empty() => sent.to_vec(),
            (methods, _) => methods.clone(),
        };
        if methods.iter().any(|method| method.is_empty() || method.bytes().any(|b| !b.is_ascii_uppercase())) {
            self.add("match.methods", &format!("{methods:?}"), "HTTP methods in upper case, such as GET");
        }
        if own_path && methods.iter().any(|method| !PATH_METHODS.contains(&method.as_str())) {
            self.add("match.methods", &format!("{methods:?}"), "GET and HEAD, with `match.path`");
        }
        methods
    }

    /// All that `match` says of places.
    fn conditions(&mut self, raw: &MatchDefinition) {
        for (place, expected) in &raw.equal {
            let wanted = self.wanted(expected);
            self.equal(place, wanted);
        }
        for (place, pattern) in &raw.matching {
            let pattern = self.pattern("match.matching", pattern);
            if let Some(number) = self.place("match.matching", place) {
                if self.places[number].pattern.is_some() {
                    self.add("match.matching", &format!("{place:?} twice"), "each place once");
                }
                self.places[number].pattern = pattern;
            }
        }
        for place in &raw.present {
            self.place("match.present", place);
        }
        self.places.iter_mut().for_each(|asked| asked.matched = true);
    }

    /// A path of the listener, as a request has it.
    fn path(&mut self, text: &str) -> String {
        let path = self.fill(text, str::to_owned);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"<>{}".contains(&byte);
        if !path.starts_with('/') || path.len() > 256 || !path.bytes().all(plain) {
            let allowed =
                "a path of at most 256 bytes, such as \"/.well-known/x\", without query and escapes";
            self.add("match.path", &format!("{path:?}"), allowed);
        }
        path
    }

    fn only_keys(&mut self, raw: &[String]) -> Vec<String> {
        let mut keys = raw.to_vec();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() < raw.len() || raw.len() > KEYS_MAX {
            let allowed = format!("at most {KEYS_MAX} keys, each once");
            self.add("match.only_keys", &format!("{} keys", raw.len()), &allowed);
        }
        keys
    }

    fn pattern(&mut self, key: &str, text: &str) -> Option<Pattern> {
        let text = self.fill(text, regex::escape);
        match pattern::whole(&text) {
            Ok(whole) => Some(Pattern { text, whole }),
            Err(allowed) => {
                self.add(key, &format!("{text:?}"), &allowed);
                None
            }
        }
    }

    /// The pattern of a URL that may be called: its host is the file's word.
    fn url(&mut self, text: &str) -> Option<UrlPattern> {
        UrlPattern::parse(text)
            .map_err(|allowed: String| self.add("visit.pattern", &format!("{text:?}"), &allowed))
            .ok()
    }

    /// What must be proved before it is done, and what cannot be.
    fn proofs(&mut self, raw: &HandshakeDefinition, methods: &[String]) {
        if raw.visit.is_some() && !raw.verify {
            self.add("visit", "`verify = false`", "`visit` only where the request is verified");
        }
        if raw.conditions.path.is_some() && raw.verify {
            self.add("match.path", "`verify = true`", "`verify = false` with `match.path`");
        }
        if raw.conditions.path.is_some() && raw.capture.is_some() {
            self.add("capture", "with `match.path`", "`capture` at the source's own path");
        }
        if raw.capture.is_some() && methods.iter().any(|method| method == "GET" || method == "HEAD") {
            self.add(
                "match.methods",
                &format!("{methods:?}"),
                "no GET or HEAD with `capture`: it changes something",
            );
        }
    }

    /// A handshake that every event would be is a mistake, and would lose them all.
    fn selects(&mut self, raw: &HandshakeDefinition, methods: &[String], sent: &[String]) {
        let own_method = !methods.iter().any(|method| sent.contains(method));
        let own_path = raw.conditions.path.is_some();
        let own_body = raw.conditions.empty_body || !raw.conditions.only_keys.is_empty();
        if !own_method && !own_path && !own_body && self.places.is_empty() {
            let allowed =
                "a method that no event comes with, `empty_body`, `only_keys`, or at least one place";
            self.add("match", "what every event is", allowed);
        }
    }

    fn wanted(&mut self, expected: &Expected) -> Vec<Wanted> {
        let values = match expected {
            Expected::One(one) => std::slice::from_ref(one),
            Expected::Any(any) => any,
        };
        if values.is_empty() {
            self.add("match.equal", "an empty list", "at least one value");
        }
        values.iter().map(|value| self.scalar(value)).collect()
    }

    fn scalar(&mut self, value: &Scalar) -> Wanted {
        match value {
            Scalar::Text(text) => Wanted { text: self.fill(text, str::to_owned), string: true },
            Scalar::Number(number) => Wanted { text: number.to_string(), string: false },
            Scalar::Flag(flag) => Wanted { text: flag.to_string(), string: false },
        }
    }

    /// `text` with its settings. Each must have a value: a condition on half a text would hold for too many.
    fn fill(&mut self, text: &str, escape: fn(&str) -> String) -> String {
        for (name, _) in text.split("${").skip(1).filter_map(|rest| rest.split_once('}')) {
            let setting = format!("${{{name}}}");
            match (self.fill)(&setting, escape) {
                Some(same) if same == setting => {
                    self.add("settings", &setting, "a setting that the file declares")
                }
                Some(value) if !value.is_empty() => {}
                _ => self.unset = true,
            }
        }
        (self.fill)(text, escape).unwrap_or_default()
    }

    /// Adds a condition on the value at a place.
    fn equal(&mut self, text: &str, wanted: Vec<Wanted>) {
        let Some(number) = self.place("match.equal", text) else { return };
        if !self.places[number].wanted.is_empty() {
            self.add("match.equal", &format!("{text:?} twice"), "each place once");
        }
        self.places[number].wanted = wanted;
    }

    /// The number of a place that the file names.
    fn place(&mut self, key: &str, text: &str) -> Option<usize> {
        match of_delivery(text) {
            Ok(pick) => Some(self.number(&pick)),
            Err(allowed) => {
                self.add(key, &format!("{text:?}"), &allowed);
                None
            }
        }
    }

    /// The number of a place; one read for the first time must hold a value, whatever else is asked of it.
    fn number(&mut self, pick: &Pick) -> usize {
        let known = self.places.iter().position(|asked| asked.pick == *pick);
        known.unwrap_or_else(|| {
            self.places.push(Asked { pick: pick.clone(), matched: false, wanted: Vec::new(), pattern: None });
            self.places.len() - 1
        })
    }
}

/// A place that a question has: it is no event, so nothing is read beside its signature.
pub(super) fn of_delivery(text: &str) -> Result<Pick, String> {
    let own = "a place of the delivery itself: header:, query:, json:, form:, xml:, body";
    Pick::parse(text).and_then(|pick| if pick.is_of_delivery() { Ok(pick) } else { Err(own.to_owned()) })
}
