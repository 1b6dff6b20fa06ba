//! What `hookgate providers show` says of a handshake: what its request looks like, and what is answered. From the file
//! as it is written, settings and all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::detail::line;
use crate::provider::{AnswerDefinition, Expected, HandshakeDefinition, Scalar};

fn scalar(value: &Scalar) -> Value {
    match value {
        Scalar::Text(text) => Value::from(text.as_str()),
        Scalar::Number(number) => Value::from(*number),
        Scalar::Flag(flag) => Value::from(*flag),
    }
}

/// The values of which one must stand at a place.
fn wanted(expected: &Expected) -> Vec<Value> {
    match expected {
        Expected::One(value) => vec![scalar(value)],
        Expected::Any(values) => values.iter().map(scalar).collect(),
    }
}

/// One on a line.
pub(super) fn text(handshake: &HandshakeDefinition) -> String {
    let HandshakeDefinition { name, conditions, verify, answer, computed, capture, visit } = handshake;
    let equal = |(place, expected): (&String, &Expected)| {
        let values: Vec<String> = wanted(expected).iter().map(Value::to_string).collect();
        format!("{place} = {}", values.join(" or "))
    };
    let matching = |(place, pattern): (&String, &String)| format!("{place} ~ {pattern}");
    let made = computed
        .iter()
        .map(|(name, made)| format!("{name} = {} of {:?} in {}", made.algorithm, made.of, made.encoding));
    let flag = |flag: bool, text: &str| if flag { text.to_owned() } else { String::new() };
    let there = [
        flag(*verify, "signed"),
        flag(!*verify, "unsigned"),
        conditions.methods.join("/"),
        flag(conditions.empty_body, "empty body"),
    ];
    let head: Vec<String> = there.into_iter().filter(|text| !text.is_empty()).collect();
    let rest = line(&[
        ("at", conditions.path.clone().unwrap_or_default()),
        ("content type", conditions.content_type.clone().unwrap_or_default()),
        ("where", conditions.equal.iter().map(equal).collect::<Vec<_>>().join(", ")),
        ("present", conditions.present.join(", ")),
        ("matching", conditions.matching.iter().map(matching).collect::<Vec<_>>().join(", ")),
        ("keys exactly", conditions.only_keys.join(", ")),
        ("computed", made.collect::<Vec<_>>().join(", ")),
        ("answer", answer_text(answer)),
        ("captures the secret at", capture.clone().unwrap_or_default()),
        (
            "then calls",
            visit.as_ref().map(|visit| format!("{} ~ {}", visit.from, visit.pattern)).unwrap_or_default(),
        ),
    ]);
    format!("{name} ({}): {rest}", head.join(", "))
}

/// Status, headers and body of an answer.
pub(super) fn answer_text(answer: &AnswerDefinition) -> String {
    let json = answer.json.as_ref().and_then(|json| serde_json::to_string(json).ok());
    let body = answer.text.clone().or(json).unwrap_or_default();
    let headers: Vec<String> =
        answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let facts = [answer.status.to_string(), headers.join(", "), body];
    facts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The same as data.
pub(super) fn answer_json(answer: &AnswerDefinition) -> Value {
    json!({
        "status": answer.status,
        "headers": answer.headers,
        "text": answer.text,
        "json": answer.json,
    })
}

/// One as data.
pub(super) fn to_json(handshake: &HandshakeDefinition) -> Value {
    let HandshakeDefinition { name, conditions, verify, answer, computed, capture, visit } = handshake;
    let equal: BTreeMap<&String, Vec<Value>> =
        conditions.equal.iter().map(|(place, expected)| (place, wanted(expected))).collect();
    let computed: BTreeMap<&String, Value> = computed
        .iter()
        .map(|(name, made)| {
            (name, json!({ "algorithm": made.algorithm, "of": made.of, "encoding": made.encoding }))
        })
        .collect();
    json!({
        "name": name,
        "verified": verify,
        "methods": conditions.methods,
        "match": {
            "path": conditions.path,
            "content_type": conditions.content_type,
            "empty_body": conditions.empty_body,
            "equal": equal,
            "present": conditions.present,
            "matching": conditions.matching,
            "only_keys": conditions.only_keys,
        },
        "computed": computed,
        "answer": answer_json(answer),
        "capture": capture,
        "visit": visit.as_ref().map(|visit| json!({ "from": visit.from, "pattern": visit.pattern })),
    })
}
