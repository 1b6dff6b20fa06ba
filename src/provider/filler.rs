//! A source's settings put in the place of `${name}` in a provider file's texts.

use std::collections::BTreeMap;

use super::build::Check;
use super::definition::{
    BatchDefinition, Definition, EventDefinition, PlaceDefinition, Places, SchemeDefinition,
    SettingDefinition, Texts,
};
use super::event::is_composite;
use super::grammar::Grammar;
use super::key::{FetchDefinition, KeyDefinition};
use super::template::Template;

/// Puts a source's settings in the place of `${name}`.
pub(super) struct Filler {
    values: BTreeMap<String, Option<String>>,
}

impl Filler {
    pub(super) fn new(
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
    pub(super) fn fill(&self, text: &str, escape: fn(&str) -> String) -> Option<String> {
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

    /// The places without those that are nothing but an unset setting.
    fn places(&self, places: &Places) -> Places {
        let place = |place: &PlaceDefinition| {
            let escape: fn(&str) -> String =
                if is_composite(&place.when.replace("${", "")) { Template::escape } else { str::to_owned };
            let when = self.fill(&place.when, escape)?;
            Some(PlaceDefinition { when, text: place.text.clone() })
        };
        Places(places.0.iter().filter_map(place).collect())
    }

    fn event(&self, event: &EventDefinition) -> EventDefinition {
        EventDefinition {
            id: self.places(&event.id),
            event_type: self.places(&event.event_type),
            volatile: event.volatile.iter().map(|pointer| self.text(pointer)).collect(),
            unique: event.unique,
        }
    }

    /// A place and what may stand there, without values that are nothing but an unset setting; nothing where none
    /// is left.
    fn equal(&self, place: &str, wanted: &Texts) -> Option<(String, Texts)> {
        let filled: Vec<String> = wanted.0.iter().filter_map(|text| self.fill(text, str::to_owned)).collect();
        (!filled.is_empty() || wanted.0.is_empty()).then(|| (self.text(place), Texts(filled)))
    }

    fn grammar(&self, grammar: &mut Grammar) {
        let fill = |text: &mut String| *text = self.text(text);
        match grammar {
            Grammar::Plain { prefix, .. } => fill(prefix),
            Grammar::Pairs(pairs) | Grammar::Sets { pairs, .. } => pairs.keys.iter_mut().for_each(fill),
            Grammar::Versions { keys, .. } => keys.iter_mut().for_each(fill),
            Grammar::Pattern { pattern } => *pattern = self.fill(pattern, regex::escape).unwrap_or_default(),
            Grammar::Choices { choices } => {
                *choices = choices.iter().map(|(prefix, how)| (self.text(prefix), self.text(how))).collect();
            }
            Grammar::Positional { .. } => {}
        }
    }

    fn key(&self, key: &KeyDefinition) -> KeyDefinition {
        let text = |text: &String| self.text(text);
        let fetch = |fetch: &FetchDefinition| FetchDefinition {
            url: fetch.url.as_ref().map(text),
            from: fetch.from.as_ref().map(text),
            pattern: fetch.pattern.as_ref().and_then(|pattern| self.fill(pattern, regex::escape)),
            form: fetch.form.clone(),
            pointer: fetch.pointer.as_ref().map(text),
        };
        KeyDefinition { id: key.id.as_ref().map(text), fetch: key.fetch.as_ref().map(fetch) }
    }

    pub(super) fn scheme(&self, raw: &SchemeDefinition, definition: &Definition) -> SchemeDefinition {
        let mut scheme = raw.clone();
        scheme.algorithm = self.text(&raw.algorithm);
        scheme.secret = self.text(&raw.secret);
        scheme.signed =
            raw.signed.iter().map(|text| self.fill(text, Template::escape).unwrap_or_default()).collect();
        scheme.each = raw.each.as_ref().map(|text| self.text(text));
        scheme.require = raw.require.iter().map(|text| self.text(text)).collect();
        scheme.equal = raw.equal.iter().filter_map(|(place, wanted)| self.equal(place, wanted)).collect();
        let pattern = |text: &String| self.fill(text, regex::escape).unwrap_or_default();
        scheme.matching =
            raw.matching.iter().map(|(place, text)| (self.text(place), pattern(text))).collect();
        scheme.signature.from = Texts(raw.signature.from.0.iter().map(|text| self.text(text)).collect());
        scheme.signature.encoding = self.text(&raw.signature.encoding);
        self.grammar(&mut scheme.signature.grammar);
        if let Some(timestamp) = &mut scheme.timestamp {
            timestamp.from = self.text(&timestamp.from);
        }
        if let Some(digest) = &mut scheme.body_digest {
            digest.from = self.text(&digest.from);
        }
        scheme.jwt = raw.jwt.filled(&|text| self.fill(text, str::to_owned));
        scheme.known_secrets = raw.known_secrets.clone();
        scheme.key = self.key(&raw.key);
        let batch = |batch: &BatchDefinition| BatchDefinition {
            each: self.text(&batch.each),
            id: self.places(&batch.id),
            event_type: self.places(&batch.event_type),
            unique: batch.unique,
        };
        scheme.batch = raw.batch.as_ref().or(definition.batch.as_ref()).map(batch);
        scheme.event = Some(self.event(raw.event.as_ref().unwrap_or(&definition.event)));
        scheme
    }
}
