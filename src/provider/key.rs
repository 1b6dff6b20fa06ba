//! `[schemes.key]`: which of a provider's keys signed, and where keys are fetched from.

use std::borrow::Cow;

use serde::Deserialize;

use super::build::Check;
use super::pinned::{PinnedUrl, UrlPattern, UrlTemplate};
use super::rules::Algorithm;
use crate::delivery::Delivery;
use crate::extract::{Pick, Pointer};
use crate::reject::{Refused, Reject, quoted};

/// Which key signed, and where keys come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyDefinition {
    /// The place of the id of the key that signed: only keys with that id are tried.
    pub id: Option<String>,
    /// Where keys are fetched from.
    pub fetch: Option<FetchDefinition>,
}

/// Where keys are fetched from.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FetchDefinition {
    /// An `https` URL; `{id}` in its last path segment stands for the key's id.
    pub url: Option<String>,
    /// In its place: the place of the URL in the delivery, which `pattern` must match as a whole.
    pub from: Option<String>,
    /// What the URL at `from` must be.
    pub pattern: Option<String>,
    /// What is there: `jwks`, `pem`, `json` (PEM at `pointer`), `x509`.
    pub form: String,
    /// Where in the JSON the PEM is.
    pub pointer: Option<String>,
}

/// `[schemes.key]`, checked.
#[derive(Clone, Debug, Default)]
pub struct KeyRule {
    /// The place of the id of the key that signed: its URL, where a delivery has that.
    pub id: Option<Pick>,
    /// Where keys are fetched from.
    pub fetch: Option<FetchRule>,
}

/// Where keys are fetched from, checked.
#[derive(Clone, Debug)]
pub struct FetchRule {
    /// Their URL.
    pub from: KeyUrl,
    /// What is there.
    pub form: KeyDocument,
}

/// The URL of a key.
#[derive(Clone, Debug)]
pub enum KeyUrl {
    /// The provider's file has it.
    Known(UrlTemplate),
    /// The delivery has it, and the provider's file says what it must be.
    Delivered(Pick, UrlPattern),
}

/// What stands at a key's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyDocument {
    /// A set of keys in JSON (RFC 7517).
    Jwks,
    /// One key as PEM.
    Pem,
    /// One key as PEM in a string of a JSON document.
    Json(Pointer),
    /// An X.509 certificate as PEM.
    X509,
}

/// The key that a delivery says it was signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKey {
    /// Where it is.
    pub url: PinnedUrl,
    /// Its id there; `None` for all that are there.
    pub id: Option<String>,
}

impl FetchRule {
    /// Which key the delivery names, where `id` is what it says at `key.id`.
    ///
    /// # Errors
    /// `UntrustedKeyUrl`, `UnknownKey`, `CompanionMissing` where it names none.
    pub fn wanted(&self, id: Option<&str>, delivery: &Delivery) -> Result<WantedKey, Refused> {
        match &self.from {
            KeyUrl::Known(template) => {
                let odd = || {
                    let id = quoted(id.unwrap_or_default());
                    Reject::UnknownKey
                        .because(format!("the key's id {id} is nothing that a key's URL can hold"))
                };
                Ok(WantedKey { url: template.url(id).ok_or_else(odd)?, id: id.map(str::to_owned) })
            }
            KeyUrl::Delivered(place, pattern) => {
                let text = named(place, delivery)?;
                let odd =
                    || Reject::UntrustedKeyUrl.because(format!("the URL at {place} is not one of {pattern}"));
                Ok(WantedKey { url: pattern.pin(&text).ok_or_else(odd)?, id: None })
            }
        }
    }

    /// The one URL of all keys, where there is one.
    pub fn fixed(&self) -> Option<&PinnedUrl> {
        match &self.from {
            KeyUrl::Known(UrlTemplate::Fixed(url)) => Some(url),
            KeyUrl::Known(UrlTemplate::ById(..)) | KeyUrl::Delivered(..) => None,
        }
    }
}

fn named<'d>(place: &Pick, delivery: &'d Delivery) -> Result<Cow<'d, str>, Refused> {
    let missing = || Reject::CompanionMissing.because(format!("{place} does not say which key signed"));
    place.read(delivery).filter(|value| !value.is_empty()).ok_or_else(missing)
}

impl Check {
    pub(super) fn key_rule(&mut self, raw: &KeyDefinition, algorithm: Algorithm) -> KeyRule {
        let id = raw.id.as_ref().and_then(|text| self.place("key.id", text));
        if raw.fetch.is_some() && !algorithm.has_public_keys() {
            self.add("key.fetch", "an algorithm whose keys are secret", "an algorithm with public keys");
        }
        let fetch = raw.fetch.as_ref().and_then(|fetch| self.fetch_rule(fetch, id.as_ref()));
        let url = match fetch.as_ref().map(|fetch| &fetch.from) {
            Some(KeyUrl::Delivered(place, _)) => Some(place.clone()),
            Some(KeyUrl::Known(_)) | None => None,
        };
        KeyRule { id: url.or(id), fetch }
    }

    fn fetch_rule(&mut self, raw: &FetchDefinition, id: Option<&Pick>) -> Option<FetchRule> {
        let from = match (&raw.url, &raw.from, &raw.pattern) {
            (Some(url), None, None) => {
                self.read("key.fetch.url", url, UrlTemplate::parse(url)).map(KeyUrl::Known)
            }
            (None, Some(from), Some(pattern)) => {
                let place = self.place("key.fetch.from", from);
                let pattern = self.read("key.fetch.pattern", pattern, UrlPattern::parse(pattern));
                Some(KeyUrl::Delivered(place?, pattern?))
            }
            _ => {
                self.add("key.fetch", "another set of keys", "`url`, or `from` and `pattern`");
                None
            }
        };
        let names_id = matches!(&from, Some(KeyUrl::Known(UrlTemplate::ById(..))));
        if names_id && id.is_none() {
            self.add("key.fetch.url", "`{id}`", "`{id}` with a place in `key.id`");
        }
        if id.is_some() && matches!(&from, Some(KeyUrl::Delivered(..))) {
            self.add("key.id", "a place", "nothing beside `fetch.from`: the id of such a key is its URL");
        }
        let form = self.document(raw);
        Some(FetchRule { from: from?, form: form? })
    }

    fn document(&mut self, raw: &FetchDefinition) -> Option<KeyDocument> {
        let form = match raw.form.as_str() {
            "jwks" => KeyDocument::Jwks,
            "pem" => KeyDocument::Pem,
            "x509" => KeyDocument::X509,
            "json" => {
                let Some(text) = &raw.pointer else {
                    self.add("key.fetch.pointer", "nothing", "a JSON pointer such as \"/config/public_key\"");
                    return None;
                };
                return self.read("key.fetch.pointer", text, Pointer::parse(text)).map(KeyDocument::Json);
            }
            other => {
                self.add("key.fetch.form", &format!("{other:?}"), "jwks, pem, x509, json");
                return None;
            }
        };
        if let Some(text) = &raw.pointer {
            self.add("key.fetch.pointer", &format!("{text:?}"), "nothing, but with the form `json`");
        }
        Some(form)
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::{Definition, Problem, Scheme};

    fn problems(algorithm: &str, key: &str) -> Vec<Problem> {
        let form = if algorithm == "ed25519" { "public-key" } else { "utf8" };
        let text = format!(
            "name = \"a\"\ntitle = \"A\"\n[[schemes]]\nname = \"s\"\nalgorithm = \"{algorithm}\"\nsecret = \"{form}\"\n\
             signed = [\"{{body}}\"]\nsignature = {{ from = \"header:x\", encoding = \"hex\" }}\nkey = {{ {key} }}"
        );
        let definition: Definition = toml::from_str(&text).unwrap();
        Scheme::build(&definition, None, &Default::default()).err().unwrap_or_default()
    }

    #[test]
    fn a_key_comes_from_one_place_in_one_form() {
        let url = "url = \"https://keys.example.com/x\"";
        let from = "from = \"header:u\", pattern = 'https://keys\\.example\\.com/[a-z]+'";
        for right in [
            String::new(),
            format!("id = \"header:k\", fetch = {{ {url}, form = \"jwks\" }}"),
            format!("fetch = {{ {url}, form = \"json\", pointer = \"/a\" }}"),
            format!("fetch = {{ {from}, form = \"x509\" }}"),
        ] {
            assert_eq!(problems("ed25519", &right), [], "{right}");
        }
        for (wrong, key) in [
            (format!("fetch = {{ {url}, {from}, form = \"pem\" }}"), "key.fetch"),
            ("fetch = { form = \"pem\" }".to_owned(), "key.fetch"),
            ("fetch = { from = \"header:u\", form = \"pem\" }".to_owned(), "key.fetch"),
            (format!("fetch = {{ {url}, form = \"xml\" }}"), "key.fetch.form"),
            (format!("fetch = {{ {url}, form = \"json\" }}"), "key.fetch.pointer"),
            (format!("fetch = {{ {url}, form = \"pem\", pointer = \"/a\" }}"), "key.fetch.pointer"),
            (format!("id = \"header:k\", fetch = {{ {from}, form = \"pem\" }}"), "key.id"),
            (
                "fetch = { url = \"https://keys.example.com/{id}\", form = \"pem\" }".to_owned(),
                "key.fetch.url",
            ),
            ("fetch = { url = \"http://keys.example.com/x\", form = \"pem\" }".to_owned(), "key.fetch.url"),
            (
                "fetch = { from = \"header:u\", pattern = 'https://.*', form = \"pem\" }".to_owned(),
                "key.fetch.pattern",
            ),
        ] {
            let found = problems("ed25519", &wrong);
            assert_eq!(
                found.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
                [key],
                "{wrong}"
            );
        }
        let shared = problems("hmac-sha256", &format!("fetch = {{ {url}, form = \"pem\" }}"));
        assert_eq!(shared.len(), 1, "{shared:?}");
    }
}
