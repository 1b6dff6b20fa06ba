//! Requests of the handshakes that a provider file has: each as the file says that it looks, and with every condition of
//! it unfulfilled. What each is answered with is found by the code that serves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::case::{Case, Verdict, slug};
use super::draft::{Draft, MADE, NOW, companions, delivered, demanded, fitting, is_own};
use super::keys::Pair;
use super::{edit, least};
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{Pick, put, put_number};
use crate::provider::{Expected, HandshakeDefinition, Scalar, Scheme};
use crate::sample::made_up;

/// Methods of handshakes at a path of their own, where the file names none.
const PATH_METHODS: [&str; 2] = ["GET", "HEAD"];
/// What stands in JSON for a boolean until the whole is written.
const FLAG: &str = "made-flag-";

/// The handshakes of the draft's scheme, and the settings under which all of them are asked.
pub(super) struct Questions<'d, 's> {
    draft: &'d Draft<'s>,
    scheme: Scheme,
    /// The settings of the draft, and made-up ones that only handshakes need.
    pub settings: BTreeMap<String, String>,
}

impl<'d, 's> Questions<'d, 's> {
    /// Those of a draft; `None` where its scheme has none.
    ///
    /// # Errors
    /// Where the scheme cannot be built under the settings that they need.
    pub(super) fn of(draft: &'d Draft<'s>) -> Result<Option<Self>, Stop> {
        let all: Vec<&HandshakeDefinition> = definitions(draft).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let texts: Vec<String> = all.into_iter().flat_map(texts).collect();
        let mut settings = draft.settings.clone();
        for (name, setting) in draft.definition.settings.iter().chain(&draft.raw.settings) {
            let needed = texts.iter().any(|text| text.contains(&format!("${{{name}}}")));
            if needed && !settings.contains_key(name) {
                settings.insert(name.clone(), made_up(name, setting));
            }
        }
        let scheme = draft.scheme_under(&settings)?;
        Ok(Some(Self { draft, scheme, settings }))
    }

    /// Every request of every handshake.
    pub(super) fn cases(&self) -> Vec<Case> {
        definitions(self.draft).flat_map(|raw| Question { all: self, raw }.cases()).collect()
    }

    /// `text` with the settings in it.
    fn filled(&self, text: &str) -> String {
        let set = self.settings.iter();
        set.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    }
}

/// The handshakes of the scheme, its own first.
fn definitions<'s>(draft: &Draft<'s>) -> impl Iterator<Item = &'s HandshakeDefinition> {
    draft.raw.handshakes.iter().chain(&draft.definition.handshakes)
}

/// Every text of a handshake in which a setting or a place can stand.
fn texts(raw: &HandshakeDefinition) -> Vec<String> {
    let mut texts = answered(raw);
    texts.extend(raw.conditions.path.clone());
    texts.extend(raw.conditions.equal.values().flat_map(wanted).map(|value| match value {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(_) | Scalar::Flag(_) => String::new(),
    }));
    texts.extend(raw.conditions.matching.values().cloned());
    texts.extend(raw.visit.iter().map(|visit| visit.pattern.clone()));
    texts
}

/// The texts that make the answer.
fn answered(raw: &HandshakeDefinition) -> Vec<String> {
    let computed = raw.computed.values().map(|computed| computed.of.clone());
    let json = raw.answer.json.iter().flat_map(strings);
    computed.chain(raw.answer.text.clone()).chain(raw.answer.headers.values().cloned()).chain(json).collect()
}

fn strings(json: &toml::Value) -> Vec<String> {
    match json {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Array(items) => items.iter().flat_map(strings).collect(),
        toml::Value::Table(items) => items.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn wanted(expected: &Expected) -> &[Scalar] {
    match expected {
        Expected::One(one) => std::slice::from_ref(one),
        Expected::Any(any) => any,
    }
}

/// A handshake.
struct Question<'q, 'd, 's> {
    all: &'q Questions<'d, 's>,
    raw: &'q HandshakeDefinition,
}

impl Question<'_, '_, '_> {
    fn cases(&self) -> Vec<Case> {
        let name = format!("handshake-{}", slug(&self.raw.name));
        let mut cases = Vec::new();
        for (number, method) in self.methods().into_iter().enumerate() {
            let asked = self.request(&method);
            let Some(whole) = self.sent(&asked, &self.all.draft.secret, NOW) else { continue };
            let suffix =
                if number == 0 { String::new() } else { format!("-{}", method.to_ascii_lowercase()) };
            let verdict = Verdict::Handshake(self.raw.name.clone());
            let secrets = self.held();
            cases.push(Case { name: format!("{name}{suffix}"), verdict, secrets, delivery: whole.clone() });
            if number == 0 {
                cases.extend(self.unfulfilled(&name, &whole));
                cases.extend(self.unproved(&name, &asked));
            }
        }
        cases
    }

    /// The secrets that the source has; none yet, where one is captured.
    fn held(&self) -> Vec<Pair> {
        if self.raw.capture.is_some() { Vec::new() } else { self.all.draft.held() }
    }

    fn methods(&self) -> Vec<String> {
        match (&self.raw.conditions.methods, &self.raw.conditions.path) {
            (none, Some(_)) if none.is_empty() => PATH_METHODS.map(str::to_owned).to_vec(),
            (none, None) if none.is_empty() => self.all.scheme.methods.clone(),
            (methods, _) => methods.clone(),
        }
    }

    /// As the sender makes it of `asked`: signed, where it signs it.
    fn sent(&self, asked: &Delivery, secret: &Pair, at: Timestamp) -> Option<Delivery> {
        let mut delivery = asked.clone();
        if self.raw.verify {
            secret.signer().sign(&self.all.scheme, &mut delivery, at).ok()?;
        }
        Some(delivery)
    }

    /// With each condition on a value unfulfilled; a proved request is an event then, and no mistake.
    fn unfulfilled(&self, name: &str, whole: &Delivery) -> Vec<Case> {
        let conditions = &self.raw.conditions;
        let mut cases = Vec::new();
        let mut refuse = |name: String, why: String, delivery: Option<Delivery>| {
            cases.extend(delivery.map(|delivery| Case::refused(name, why, self.held(), delivery)));
        };
        let strange = ["PATCH", "DELETE", "TRACE"].into_iter().find(|method| !self.all.scheme.takes(method));
        let other = strange.map(|method| Delivery { method: method.to_owned(), ..whole.clone() });
        refuse(format!("{name}-other-method"), "no request of that method is answered".to_owned(), other);
        if self.raw.verify {
            return cases;
        }
        let said = conditions.equal.keys().chain(conditions.matching.keys());
        for text in said.clone().chain(&conditions.present) {
            let Ok(place) = Pick::parse(text) else { continue };
            let missing = edit::at(whole, &place, &|_| None);
            refuse(format!("{name}-without-{}", slug(text)), format!("{place} is missing"), missing);
        }
        for text in said {
            let Ok(place) = Pick::parse(text) else { continue };
            let other = edit::at(whole, &place, &|text| Some(format!("{text}~")));
            refuse(format!("{name}-other-{}", slug(text)), format!("{place} is not what it must be"), other);
        }
        cases
    }

    /// Where a proof is wanted: without one, with that of another secret, with an old one.
    fn unproved(&self, name: &str, asked: &Delivery) -> Vec<Case> {
        if !self.raw.verify || self.held().is_empty() {
            return Vec::new();
        }
        let other = self.sent(asked, &self.all.draft.other, NOW);
        let past = self.all.scheme.timestamp.as_ref().and_then(|rule| rule.past);
        let old = past.and_then(|past| {
            self.sent(asked, &self.all.draft.secret, NOW.minus(past + Duration::from_secs(1)))
        });
        let made = [
            ("unsigned", "it is not signed", Some(asked.clone())),
            ("of-another-secret", "the source has another secret", other),
            ("stale", "signed too long ago", old),
        ];
        let case = |(what, why, delivery): (&str, &str, Option<Delivery>)| {
            Some(Case::refused(format!("{name}-{what}"), why, self.held(), delivery?))
        };
        made.into_iter().filter_map(case).collect()
    }

    /// The request of that method, as the file says that it looks, not signed.
    fn request(&self, method: &str) -> Delivery {
        let conditions = &self.raw.conditions;
        let target = match &conditions.path {
            Some(path) => self.all.filled(path),
            None => format!("/in/{}", self.all.draft.definition.name),
        };
        let empty = Delivery {
            method: method.to_owned(),
            target,
            headers: Headers::default(),
            body: bytes::Bytes::new(),
            received_at: NOW,
        };
        let mut made = self.values().into_iter().fold(empty, |made, (place, value)| {
            if place.read(&made).is_some_and(|value| !value.is_empty())
                || (conditions.empty_body && place.is_in_body())
            {
                return made;
            }
            let written = match &value {
                Scalar::Text(text) => put(&made, &place, text),
                Scalar::Number(number) => put_number(&made, &place, &number.to_string()),
                Scalar::Flag(flag) => put(&made, &place, &format!("{FLAG}{flag}")),
            };
            written.unwrap_or(made)
        });
        let body = String::from_utf8_lossy(&made.body).into_owned();
        let flags = [true, false].into_iter();
        let body =
            flags.fold(body, |body, flag| body.replace(&format!("\"{FLAG}{flag}\""), &flag.to_string()));
        let guess = match body.bytes().next() {
            Some(b'{' | b'[') => Some("application/json"),
            Some(b'<') => Some("text/xml"),
            Some(_) => Some("application/x-www-form-urlencoded"),
            None => None,
        };
        made.body = body.into();
        if let Some(media) = conditions.content_type.as_deref().or(guess) {
            made.headers.push("content-type", media.as_bytes());
        }
        made
    }

    /// Places, and what must or may stand there: what is asked for, what the answer takes, what the scheme demands.
    fn values(&self) -> Vec<(Pick, Scalar)> {
        let conditions = &self.raw.conditions;
        let pick = |text: &String| Pick::parse(text).ok();
        let text = |text: String| Scalar::Text(text);
        let equal = conditions.equal.iter().filter_map(|(place, expected)| {
            let value = match wanted(expected).first()? {
                Scalar::Text(text) => Scalar::Text(self.all.filled(text)),
                other => other.clone(),
            };
            Some((pick(place)?, value))
        });
        let formed = |place: &String, pattern: &String| {
            Some((pick(place)?, text(least::text(&self.all.filled(pattern))?)))
        };
        let matching = conditions.matching.iter().filter_map(|(place, pattern)| formed(place, pattern));
        let visit = self.raw.visit.iter().filter_map(|visit| formed(&visit.from, &visit.pattern));
        let keys = conditions
            .only_keys
            .iter()
            .map(|key| format!("json:/{}", key.replace('~', "~0").replace('/', "~1")));
        let echoed = answered(self.raw).into_iter().flat_map(|text| places(&text));
        let any =
            conditions.present.iter().cloned().chain(self.raw.capture.clone()).chain(keys).chain(echoed);
        let any = any.filter_map(|place| Some((pick(&place)?, text(MADE.to_owned()))));
        let asked = equal.chain(matching).chain(visit).chain(any);
        let scheme = &self.all.scheme;
        let fits = |place: &Pick| conditions.only_keys.is_empty() || !place.is_in_body();
        let own = demanded(scheme).into_iter().chain(companions(scheme)).filter(fits);
        let own = own.filter(|place| self.raw.verify && !is_own(scheme, place));
        let own = own.filter_map(|place| Some((delivered(scheme, &place)?, text(fitting(scheme, &place)))));
        asked.chain(own).collect()
    }
}

/// What stands in braces in a text of the file, but settings and computed values.
fn places(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let setting = rest.get(..at).is_some_and(|before| before.ends_with('$'));
        let Some((inside, after)) = rest.get(at + 1..).and_then(|inside| inside.split_once('}')) else {
            break;
        };
        if !setting && !inside.starts_with("computed:") {
            found.push(inside.to_owned());
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_text_are_told_from_settings_and_computed_values() {
        let text = "{query:a}${token}|{computed:mac}{header:B}";
        assert_eq!(places(text), ["query:a", "header:B"]);
        assert!(places("{{}").len() <= 1 && places("${x").is_empty());
    }
}
