//! What `hookgate providers show` says of a signature: where it stands, how it stands in the value there, and how it is
//! written. From the file as it is written, settings and all.

use serde_json::{Value, json};

use super::detail::line;
use crate::provider::{Grammar, PairsForm, Repeated, SchemeDefinition, SignatureDefinition};

/// Its places, in order; none for a scheme without one.
pub(super) fn places(raw: &SchemeDefinition) -> Vec<String> {
    match (raw.signature.from.0.is_empty(), raw.algorithm.as_str()) {
        (true, "basic") => vec!["header:Authorization".to_owned()],
        _ => raw.signature.from.0.clone(),
    }
}

/// Where it stands; empty for a scheme without one.
pub(super) fn place(raw: &SchemeDefinition) -> String {
    let SignatureDefinition { count, slots, repeated, .. } = &raw.signature;
    let mut text = places(raw).join(", then ");
    if let Some(count) = count {
        text.push_str(&format!("; n is 1 to {count}"));
    }
    if *slots {
        text.push_str("; each place has a secret of its own (slots)");
    }
    if *repeated == Repeated::Join {
        text.push_str("; a repeated header is one list");
    }
    text
}

/// How each signature is written; empty where the algorithm has a form of its own.
pub(super) fn encoding(raw: &SchemeDefinition) -> String {
    match (raw.signature.encoding.as_str(), raw.algorithm.as_str()) {
        ("", "token") => "text".to_owned(),
        (encoding, _) => encoding.to_owned(),
    }
}

fn kind(grammar: &Grammar) -> &'static str {
    match grammar {
        Grammar::Plain { .. } => "plain",
        Grammar::Pairs(_) => "pairs",
        Grammar::Sets { .. } => "sets",
        Grammar::Positional { .. } => "positional",
        Grammar::Pattern { .. } => "pattern",
        Grammar::Choices { .. } => "choices",
        Grammar::Versions { .. } => "versions",
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text:?}") }
}

fn pairs(form: &PairsForm) -> String {
    let flags = [
        (form.trim, "blanks around names and values count for nothing"),
        (form.first, "only the first counts"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| text).collect();
    line(&[
        ("separator", quoted(&form.separator)),
        ("assign", quoted(&form.assign)),
        ("keys", form.keys.join(", ")),
        ("and", flags.join(", ")),
    ])
}

/// How signatures stand in the value, with all that the grammar needs.
pub(super) fn text(grammar: &Grammar) -> String {
    let facts = match grammar {
        Grammar::Plain { prefix, ignore_case, optional } => {
            let flags = [(*ignore_case, "in any case"), (*optional, "optional")];
            let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| format!(", {text}"));
            match prefix.is_empty() {
                true => "the whole value".to_owned(),
                false => format!("prefix {prefix:?}{}", flags.collect::<String>()),
            }
        }
        Grammar::Pairs(form) => pairs(form),
        Grammar::Sets { separator, pairs: form } => {
            format!("between sets {separator:?}; within one {}", pairs(form))
        }
        Grammar::Positional { separator, names } => {
            line(&[("separator", quoted(separator)), ("first", names.join(", "))])
        }
        Grammar::Pattern { pattern } => pattern.clone(),
        Grammar::Choices { choices } => {
            let choices = choices.iter().map(|(prefix, algorithm)| format!("{prefix:?} is {algorithm}"));
            choices.collect::<Vec<_>>().join(", ")
        }
        Grammar::Versions { separator, assign, keys } => {
            line(&[("separator", quoted(separator)), ("assign", quoted(assign)), ("keys", keys.join(", "))])
        }
    };
    format!("{}: {facts}", kind(grammar))
}

fn pairs_json(form: &PairsForm) -> Value {
    json!({
        "separator": form.separator,
        "assign": form.assign,
        "keys": form.keys,
        "trim": form.trim,
        "first": form.first,
    })
}

/// The same as data.
pub(super) fn to_json(grammar: &Grammar) -> Value {
    let mut facts = match grammar {
        Grammar::Plain { prefix, ignore_case, optional } => {
            json!({ "prefix": prefix, "ignore_case": ignore_case, "optional": optional })
        }
        Grammar::Pairs(form) => pairs_json(form),
        Grammar::Sets { separator, pairs } => json!({ "separator": separator, "pairs": pairs_json(pairs) }),
        Grammar::Positional { separator, names } => json!({ "separator": separator, "names": names }),
        Grammar::Pattern { pattern } => json!({ "pattern": pattern }),
        Grammar::Choices { choices } => json!({ "choices": choices }),
        Grammar::Versions { separator, assign, keys } => {
            json!({ "separator": separator, "assign": assign, "keys": keys })
        }
    };
    facts["kind"] = kind(grammar).into();
    facts
}
