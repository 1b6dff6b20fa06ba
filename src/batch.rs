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
    let unique = verified.scheme().batch.as_ref().is_some_and(|rule| rule.unique);
    let proved = unique && (names.id_signed || !verified.scheme().covers_body());
    let id = if proved { names.id_values.as_slice() } else { &[] };
    let message_id = key.of_element(source, &verified.scheme().name, id, index);
    Part { index, span, message_id, event_id: names.id, event_type: names.event_type }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::{Delivery, Headers};
    use crate::provider::{Definition, Problem, Scheme};
    use crate::verify::{Key, Verifier, sign};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECRET: &[u8] = b"a secret of some length";
    const HMAC: &str = "algorithm = \"hmac-sha256\"\nsigned = [\"{body}\"]";
    const FORM: &str = "algorithm = \"hmac-sha256\"\nsigned = [\"{form_sorted}\"]";

    fn scheme(rules: &str, batch: &str) -> Result<Scheme, Vec<Problem>> {
        let file = format!(
            "name = \"acme\"\ntitle = \"Acme\"\nbatch = {batch}\n[[schemes]]\nname = \"default\"\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"hex\" }}\n{rules}"
        );
        let definition: Definition = toml::from_str(&file).unwrap();
        Scheme::build(&definition, None, &BTreeMap::new())
    }

    fn cut_at(source: &str, (rules, batch): (&str, &str), body: &str, wanted: &[String]) -> Cut {
        let scheme = scheme(rules, batch).unwrap();
        let headers = Headers::default();
        let (method, target, body) =
            ("POST".to_owned(), "/in/x?tenant=t1".to_owned(), body.to_owned().into());
        let mut delivery = Delivery { method, target, headers, body, received_at: NOW };
        sign(&scheme, SECRET, &mut delivery, NOW).unwrap();
        let key = Key::new(&scheme, "live", SECRET).unwrap();
        let verified = Verifier::new(Arc::new(scheme), vec![key]).verify(delivery, NOW).unwrap();
        let key = EventKey::derive(source, &verified);
        cut(source, &verified, &key, wanted).unwrap()
    }

    fn parts_of(rules: (&str, &str), body: &str) -> Vec<Part> {
        match cut_at("shop", rules, body, &[]) {
            Cut::Parts(split) => split.parts,
            other => panic!("{other:?}"),
        }
    }

    fn names(rules: (&str, &str), body: &str) -> Vec<(String, String)> {
        parts_of(rules, body).into_iter().map(|part| (part.event_id, part.event_type)).collect()
    }

    #[test]
    fn ids_and_types_are_values_of_the_element_alone_or_put_together() {
        let body = "[{\"a\":1,\"b\":\"x\",\"k\":\"sale\"},{\"a\":2},\"three\"]";
        let batch = "{ each = \"json:\", id = [\"{item:/a}:{item:/b}\", \"item:/a\", \"item:\"], \
                     type = [\"item:/k\", { when = \"item:/a\", text = \"numbered\" }, \"query:tenant\"] }";
        let pair = |id: &str, kind: &str| (id.to_owned(), kind.to_owned());
        assert_eq!(
            names((HMAC, batch), body),
            [pair("1:x", "sale"), pair("2", "numbered"), pair("three", "t1")]
        );
    }

    #[test]
    fn a_proved_id_is_an_elements_identity_whatever_it_comes_with() {
        let batch = "{ each = \"json:/e\", id = \"{item:/a}:{item:/b}\" }";
        let rules = (HMAC, batch);
        let one = parts_of(rules, "{\"e\":[{\"a\":\"1\",\"b\":\"2:3\"},{\"a\":\"1:2\",\"b\":\"3\"}]}");
        let other = parts_of(rules, "{\"n\":7,\"e\":[{},{\"b\":\"2:3\",\"a\":\"1\"}]}");
        assert_eq!(one[0].event_id, one[1].event_id, "people see the same text");
        assert_ne!(one[0].message_id, one[1].message_id, "and these are two events");
        assert_eq!(one[0].message_id, other[1].message_id, "in whatever batch it comes");
        let elsewhere = cut_at("other", rules, "{\"e\":[{\"a\":\"1\",\"b\":\"2:3\"}]}", &[]);
        assert!(matches!(elsewhere, Cut::Parts(split) if split.parts[0].message_id != one[0].message_id));
    }

    #[test]
    fn without_a_proved_id_the_record_and_the_place_are_the_identity() {
        let json = (HMAC, "{ each = \"json:\" }");
        let one = parts_of(json, "[1,1]");
        assert_ne!(one[0].message_id, one[1].message_id);
        assert_eq!(one, parts_of(json, "[1,1]"));
        assert_ne!(one[0].message_id, parts_of(json, "[1,2]")[0].message_id, "another delivery");
        // The fields of a form are proved as one text: what was taken for the field may have been cut otherwise.
        let form = (FORM, "{ each = \"form:e > json:/l\", id = \"item:/id\" }");
        let one = parts_of(form, "a=1&e=%7B%22l%22%3A[{%22id%22:5}]}");
        let two = parts_of(form, "a=2&e=%7B%22l%22%3A[{%22id%22:5}]}");
        assert_eq!((one[0].event_id.as_str(), two[0].event_id.as_str()), ("5", "5"));
        assert_ne!(one[0].message_id, two[0].message_id);
    }

    #[test]
    fn spans_are_exact_and_what_nobody_wants_keeps_its_place_in_the_count() {
        let rules = (HMAC, "{ each = \"json:/e\", type = \"item:/t\" }");
        let body = " {\"e\" : [ {\"t\":\"a\" } , {\"t\":\"b\"},\n{ \"t\" : \"b\"}]}";
        let Cut::Parts(split) = cut_at("shop", rules, body, &["b".to_owned()]) else { panic!() };
        let text = split.text(&body.to_owned().into());
        let elements: Vec<_> = split.parts.iter().map(|part| Split::element(&text, part)).collect();
        assert_eq!(elements, ["{\"t\":\"b\"}", "{ \"t\" : \"b\"}"]);
        assert_eq!((split.elements, split.parts[0].index, split.parts[1].index), (3, 1, 2));
        assert_eq!(cut_at("shop", rules, body, &["c".to_owned()]), Cut::Unwanted);
    }

    #[test]
    fn what_cannot_be_cut_says_why() {
        let rules = (HMAC, "{ each = \"json:/e\", id = \"item:/i\" }");
        let many = |count: usize| format!("{{\"e\":[{}]}}", vec!["1"; count].join(","));
        let long = format!("{{\"e\":[{{\"i\":\"{}\"}}]}}", "x".repeat(NAMES_BYTES_MAX + 1));
        for (body, why) in [
            ("{}", Unsplit::NoArray),
            ("{\"e\":1}", Unsplit::NoArray),
            ("no json", Unsplit::NoArray),
            ("{\"e\":[]}", Unsplit::Empty),
            (&many(1001), Unsplit::TooMany),
            (&long, Unsplit::LongNames),
        ] {
            assert_eq!(cut_at("shop", rules, body, &[]), Cut::Whole(why));
        }
        assert_eq!(parts_of(rules, &many(1000)).len(), 1000);
    }

    #[test]
    fn a_mistake_in_the_rule_is_found_at_load() {
        for (batch, key) in [
            ("{ each = \"item:/e\" }", "batch.each"),
            ("{ each = \"json:e\" }", "batch.each"),
            ("{ each = \"form: > json:\" }", "batch.each"),
            ("{ each = \"form:a > form:b\" }", "batch.each"),
            ("{ each = \"json:\", id = \"item:a\" }", "batch.id"),
            ("{ each = \"json:\", id = \"{item:/a}:{item:/b\" }", "batch.id"),
            ("{ each = \"json:\", id = \"{}\" }", "batch.id"),
            ("{ each = \"json:\", id = [\"header:X-Id\", \"item:/a\"] }", "batch.id"),
            ("{ each = \"json:\", type = \"cookie:x\" }", "batch.type"),
        ] {
            let problems = scheme(HMAC, batch).unwrap_err();
            assert_eq!(
                problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
                [key],
                "{batch}"
            );
        }
    }
}
