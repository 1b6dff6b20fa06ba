//! Whether a delivery is a handshake: method, media type, keys and the values at its places, all read in one pass.

use std::borrow::Cow;

use regex::Regex;
use subtle::ConstantTimeEq;

use super::keys;
use crate::delivery::Delivery;
use crate::extract::{self, Pick, Pointer};

/// What a request must look like, with every place that its conditions and its answer read.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    /// HTTP methods, upper case.
    pub methods: Vec<String>,
    /// Media type of the body, lower case, no parameters.
    pub content_type: Option<String>,
    /// Whether the body is empty.
    pub empty_body: bool,
    /// The keys of the JSON object that the body is, sorted; empty for any body.
    pub only_keys: Vec<String>,
    /// Places, each once.
    pub places: Vec<Asked>,
}

/// A place, and what must stand there; a value of whatever kind but nothing where nothing more is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub pick: Pick,
    /// Whether `match` names it; the others are read for the answer alone.
    pub matched: bool,
    /// The values of which one must stand there; empty for any.
    pub wanted: Vec<Wanted>,
    /// What the whole value must match.
    pub pattern: Option<Pattern>,
}

/// A regular expression over a whole value.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As the file has it, settings filled in.
    pub text: String,
    pub whole: Regex,
}

/// A value that a condition asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its text.
    pub text: String,
    /// Whether a JSON body has it as a string: `"1"` is not `1`.
    pub string: bool,
}

/// A value of a delivery.
#[derive(Clone, Debug)]
struct Seen<'d> {
    text: Cow<'d, str>,
    /// Whether it is a JSON string, where it is JSON at all.
    string: Option<bool>,
}

impl Seen<'_> {
    /// Compares every byte: a condition may hold a token that the caller must know.
    fn is(&self, wanted: &Wanted) -> bool {
        let same = bool::from(self.text.as_bytes().ct_eq(wanted.text.as_bytes()));
        same && self.string.is_none_or(|string| string == wanted.string)
    }
}

impl Asked {
    /// The value, where it is what is asked for.
    fn fulfilled<'d>(&self, seen: Option<Seen<'d>>) -> Option<Cow<'d, str>> {
        let seen = seen.filter(|seen| !seen.text.is_empty())?;
        let equal = self.wanted.is_empty() || self.wanted.iter().any(|wanted| seen.is(wanted));
        let matches = self.pattern.as_ref().is_none_or(|pattern| pattern.whole.is_match(&seen.text));
        (equal && matches).then_some(seen.text)
    }
}

impl Conditions {
    /// The values at all places, in order, where `delivery` fulfils every condition.
    pub(super) fn values<'d>(&self, delivery: &'d Delivery) -> Option<Vec<Cow<'d, str>>> {
        if !self.head_fits(delivery) {
            return None;
        }
        let read = self.read(delivery).into_iter().zip(&self.places);
        let values = read.map(|(seen, asked)| asked.fulfilled(seen)).collect::<Option<Vec<_>>>()?;
        keys::only(&self.only_keys, &delivery.body).then_some(values)
    }

    /// Whether `delivery` fulfils what `match` says, whatever the answer would need.
    pub(super) fn fit(&self, delivery: &Delivery) -> bool {
        let mut read = self.read(delivery).into_iter().zip(&self.places);
        self.head_fits(delivery)
            && read.all(|(seen, asked)| !asked.matched || asked.fulfilled(seen).is_some())
            && keys::only(&self.only_keys, &delivery.body)
    }

    fn head_fits(&self, delivery: &Delivery) -> bool {
        self.methods.contains(&delivery.method)
            && (!self.empty_body || delivery.body.is_empty())
            && self.content_type.as_ref().is_none_or(|wanted| media_type(delivery).as_ref() == Some(wanted))
    }

    /// Reads every place; a JSON body is walked once, and only where its head fits.
    fn read<'d>(&self, delivery: &'d Delivery) -> Vec<Option<Seen<'d>>> {
        let pointers: Vec<&Pointer> = self.places.iter().filter_map(|asked| pointer(&asked.pick)).collect();
        let found = if pointers.is_empty() { Vec::new() } else { extract::find(&delivery.body, &pointers) };
        let mut found = found.into_iter();
        let mut read = |pick: &Pick| {
            if pointer(pick).is_none() {
                return pick.read(delivery).map(|text| Seen { text, string: None });
            }
            let value = found.next().flatten()?;
            let string = delivery.body.get(value.span.start) == Some(&b'"');
            value.text().map(|text| Seen { text, string: Some(string) })
        };
        self.places.iter().map(|asked| read(&asked.pick)).collect()
    }
}

fn pointer(pick: &Pick) -> Option<&Pointer> {
    match pick {
        Pick::Json(pointer) => Some(pointer),
        _ => None,
    }
}

/// The body's media type without parameters, in lower case.
fn media_type(delivery: &Delivery) -> Option<String> {
    let text = std::str::from_utf8(delivery.headers.first("content-type")?).ok()?;
    let essence = text.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}
