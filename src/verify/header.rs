//! Where signatures are carried: the texts at a scheme's places that hold some.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::delivery::Delivery;
use crate::extract::{Pick, Scene};
use crate::provider::{Repeated, SignatureRule};
use crate::reject::{Refused, Reject};

/// A text that carries signatures.
#[derive(Debug)]
pub(super) struct Carrier<'d> {
    pub(super) text: Cow<'d, str>,
    /// The number of its place, where secrets go with places.
    pub(super) slot: Option<u8>,
}

/// Those of a delivery; nearly all have one.
pub(super) type Carriers<'d> = SmallVec<[Carrier<'d>; 1]>;

/// The texts that carry signatures: of several places those that are there, of numbered ones those before the first
/// that is not.
///
/// # Errors
/// Where none is there, or one is repeated or not text.
pub(super) fn carriers<'d>(rule: &SignatureRule, scene: &Scene<'d>) -> Result<Carriers<'d>, Refused> {
    let mut found = Carriers::new();
    for (at, place) in rule.places().enumerate() {
        let text = match (place, rule.repeated) {
            (Pick::Header(name), repeated) => header(name, repeated, scene.delivery)?,
            (place, _) => place.read_in(scene),
        };
        match text.filter(|text| !text.is_empty()) {
            Some(text) => {
                let slot = if rule.slots { u8::try_from(at).ok() } else { None };
                found.push(Carrier { text, slot });
            }
            None if rule.numbered => break,
            None => {}
        }
    }
    if found.is_empty() {
        let or = if rule.more.is_empty() { "" } else { " (and all that may stand in its place)" };
        return Err(Reject::SignatureMissing.because(format!("{}{or} is missing or empty", rule.from)));
    }
    Ok(found)
}

fn header<'d>(
    name: &str,
    repeated: Repeated,
    delivery: &'d Delivery,
) -> Result<Option<Cow<'d, str>>, Refused> {
    let mut lines = delivery.headers.iter().filter(|(line, _)| *line == name.as_bytes());
    let malformed = || Reject::SignatureMalformed.because(format!("header:{name} is not text"));
    let text = |bytes: &'d [u8]| std::str::from_utf8(bytes).map_err(|_| malformed());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let first = text(first)?;
    let mut joined = Cow::Borrowed(first);
    for (_, next) in lines {
        if repeated == Repeated::Refuse {
            return Err(Reject::SignatureRepeated.because(format!("header:{name} stands more than once")));
        }
        joined.to_mut().push(',');
        joined.to_mut().push_str(text(next)?);
    }
    Ok(Some(joined))
}
