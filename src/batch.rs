//! Batch: cuts a verified body that holds several events into parts, once, when it is accepted.
//!
//! Decides by the provider's rule and never by the body alone; what it decides is kept with the event, so that a later
//! provider file changes nothing for it. Parses for spans and names only: elements are handed over as they stand there.

use crate::dedup::key::EventKey;
use crate::event::{Part, Split};
use crate::extract::{self, NoElements};
use crate::provider::{Batch, ItemNames};
use crate::verify::Verified;

/// Elements that one delivery is split into, at most.
pub const ELEMENTS_MAX: usize = 1_000;
/// Ids and types of all elements together, in bytes: a record has room for so much.
pub const NAMES_BYTES_MAX: usize = 256 << 10;

/// What becomes of a delivery whose source splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is handed over in parts.
    Parts(Split),
    /// It is handed over whole.
    Whole(Unsplit),
    /// No element of it is of a type that the source wants.
    Unwanted,
}

/// Why a delivery is handed over whole though its source splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsplit {
    /// There is no array where the provider's file says.
    #[error("it has no JSON array where the provider's `batch.each` says")]
    NoArray,
    /// The array is empty.
    #[error("its array is empty")]
    Empty,
    /// The array is too long.
    #[error("its array has more than {ELEMENTS_MAX} elements")]
    TooMany,
    /// The ids and types of its elements are too long.
    #[error("the ids and types of its elements do not fit into a record")]
    LongNames,
}

/// Cuts the body of a verified delivery to `source` by its provider's rule, and leaves out what is of none of the
/// wanted types (empty: all are wanted).
pub fn cut(source: &str, verified: &Verified, key: &EventKey, wanted: &[String]) -> Option<Cut> {
    let rule = verified.scheme().batch.as_ref()?;
    Some(parts(source, verified, key, (rule, wanted)).unwrap_or_else(Cut::Whole))
}

fn parts(
    source: &str,
    verified: &Verified,
    key: &EventKey,
    (rule, wanted): (&Batch, &[String]),
) -> Result<Cut, Unsplit> {
    let body = &verified.delivery().body;
    let (span, encoded) = match &rule.field {
        None => (0..body.len(), false),
        Some(field) => (extract::form_field_span(body, field).ok_or(Unsplit::NoArray)?, true),
    };
    let span = u32::try_from(span.start).ok().zip(u32::try_from(span.end).ok());
    let (start, end) = span.ok_or(Unsplit::TooMany)?;
    let mut split = Split { elements: 0, text: start..end, encoded, parts: Vec::new() };
    let text = split.text(body);
    let spans = extract::elements(&text, rule.pointer.as_ref(), ELEMENTS_MAX).map_err(|none| match none {
        NoElements::NoArray => Unsplit::NoArray,
        NoElements::TooMany(_) => Unsplit::TooMany,
    })?;
    if spans.is_empty() {
        return Err(Unsplit::Empty);
    }
    split.elements = spans.len() as u32;
    for (index, span) in spans.into_iter().enumerate() {
        let element = text.get(span.clone()).unwrap_or_default();
        let names = rule.names(verified.delivery(), element);
        if wanted.is_empty() || wanted.contains(&names.event_type) {
            split.parts.push(part(
                source,
                verified,
                key,
                (index as u32, span.start as u32..span.end as u32, names),
            ));
        }
    }
    let names = split.parts.iter().map(|part| part.event_id.len() + part.event_type.len()).sum::<usize>();
    match split.parts.is_empty() {
        true => Ok(Cut::Unwanted),
        false if names > NAMES_BYTES_MAX => Err(Unsplit::LongNames),
        false => Ok(Cut::Parts(split)),
    }
}

fn part(
    source: &str,
    verified: &Verified,
    key: &EventKey,
    (index, span, names): (u32, std::ops::Range<u32>, ItemNames),
) -> Part {
    // As with events: an id that is not signed, where others could have been, is no identity.
    let proved = names.id_signed || !verified.scheme().covers_body();
    let id = if proved { names.id_values.as_slice() } else { &[] };
    let message_id = key.of_element(source, &verified.scheme().name, id, index);
    Part { index, span, message_id, event_id: names.id, event_type: names.event_type }
}
