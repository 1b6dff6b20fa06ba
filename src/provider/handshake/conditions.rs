//! Whether a delivery is a handshake: method, media type and the values at its places, all read in one pass.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

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
    /// Places, each once, and what must stand there; without any a value of whatever kind but nothing.
    pub places: Vec<(Pick, Vec<Wanted>)>,
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

impl Conditions {
    /// The values at all places, in order, where `delivery` fulfils every condition.
    pub(super) fn values<'d>(&self, delivery: &'d Delivery) -> Option<Vec<Cow<'d, str>>> {
        let fits = self.methods.contains(&delivery.method)
            && (!self.empty_body || delivery.body.is_empty())
            && self.content_type.as_ref().is_none_or(|wanted| media_type(delivery).as_ref() == Some(wanted));
        if !fits {
            return None;
        }
        let fulfilled = |(seen, (_, wanted)): (Option<Seen<'d>>, &(Pick, Vec<Wanted>))| {
            let seen = seen.filter(|seen| !seen.text.is_empty())?;
            (wanted.is_empty() || wanted.iter().any(|wanted| seen.is(wanted))).then_some(seen.text)
        };
        self.read(delivery).into_iter().zip(&self.places).map(fulfilled).collect()
    }

    /// Reads every place; a JSON body is walked once, and only where its head fits.
    fn read<'d>(&self, delivery: &'d Delivery) -> Vec<Option<Seen<'d>>> {
        let pointers: Vec<&Pointer> = self.places.iter().filter_map(|(pick, _)| pointer(pick)).collect();
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
        self.places.iter().map(|(pick, _)| read(pick)).collect()
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
