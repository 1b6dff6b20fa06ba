//! How a split lies at the end of a record's head. Pure: bytes in, a [`Split`] or nothing out, no panic on any bytes.
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | elements of the array |
//! | 4, 4 | where in the body the JSON lies that holds it: start and end |
//! | 1 | 1 where it is written there as a form's value, else 0 |
//! | 4 | number of parts, then for each: |
//! | 4 | its index in the array |
//! | 4, 4 | where it lies in that JSON once it is decoded: start and end |
//! | 32 | its message id |
//! | 4+ , 4+ | event id and event type, each its length and UTF-8 bytes |
//!
//! A reader of before there were splits takes such a record for damaged, and leaves it where it is: after one has been
//! written, no older version may open the journal.

use std::ops::Range;

use super::envelope::{Texts, put_text};
use super::record::u32_at;
use crate::event::{Digest, Part, Split};

const FIXED: usize = 17;
const PART: usize = 44;

/// Bytes that it takes.
pub(super) fn size(split: &Split) -> usize {
    let part = |part: &Part| PART + 8 + part.event_id.len() + part.event_type.len();
    FIXED + split.parts.iter().map(part).sum::<usize>()
}

/// Writes it at the end of `out`.
pub(super) fn put(out: &mut Vec<u8>, split: &Split) {
    out.extend_from_slice(&split.elements.to_le_bytes());
    put_span(out, &split.text);
    out.push(u8::from(split.encoded));
    out.extend_from_slice(&(split.parts.len() as u32).to_le_bytes());
    for part in &split.parts {
        out.extend_from_slice(&part.index.to_le_bytes());
        put_span(out, &part.span);
        out.extend_from_slice(&part.message_id.0);
        put_text(out, &part.event_id);
        put_text(out, &part.event_type);
    }
}

/// Reads what fills `bytes` from start to end; none where that is no split.
pub(super) fn read(bytes: &[u8]) -> Option<Split> {
    let count = u32_at(bytes, 13)? as usize;
    let encoded = match bytes.get(12)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut rest = bytes.get(FIXED..)?;
    let mut parts = Vec::with_capacity(count.min(rest.len() / (PART + 8)));
    for _ in 0..count {
        let mut texts = Texts(rest.get(PART..)?);
        parts.push(Part {
            index: u32_at(rest, 0)?,
            span: span_at(rest, 4)?,
            message_id: Digest(*rest.get(12..)?.first_chunk::<32>()?),
            event_id: texts.next()?.to_owned(),
            event_type: texts.next()?.to_owned(),
        });
        rest = texts.0;
    }
    let split = Split { elements: u32_at(bytes, 0)?, text: span_at(bytes, 4)?, encoded, parts };
    (rest.is_empty() && !split.parts.is_empty()).then_some(split)
}

fn put_span(out: &mut Vec<u8>, span: &Range<u32>) {
    out.extend_from_slice(&span.start.to_le_bytes());
    out.extend_from_slice(&span.end.to_le_bytes());
}

fn span_at(bytes: &[u8], at: usize) -> Option<Range<u32>> {
    let span = u32_at(bytes, at)?..u32_at(bytes, at + 4)?;
    (span.start <= span.end).then_some(span)
}
