//! The crate over a tree is what all of this is held against: any schema, any payload.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::Quick;
use crate::clock::{Clock as _, System};
use crate::schema::store::validator;

fn quick(schema: &Value) -> Quick {
    Quick::compile(schema).unwrap_or_else(|why| panic!("{why}: {schema}"))
}

/// What the crate says of the tree.
fn by_tree(schema: &Value, body: &str) -> bool {
    let validator = validator(schema).unwrap();
    serde_json::from_slice(body.as_bytes()).is_ok_and(|payload: Value| validator.is_valid(&payload))
}

/// Both say so.
fn valid(schema: &Value, body: &str) {
    assert!(by_tree(schema, body), "{schema} {body}");
    assert!(quick(schema).surely_valid(body.as_bytes()), "{schema} {body}");
}

/// Neither does.
fn not_valid(schema: &Value, body: &str) {
    assert!(!by_tree(schema, body), "{schema} {body}");
    assert!(!quick(schema).surely_valid(body.as_bytes()), "{schema} {body}");
}

/// The crate says so, or may; the quick look is not sure.
fn unsure(schema: &Value, body: &[u8]) {
    assert!(!quick(schema).surely_valid(body), "{schema} {}", String::from_utf8_lossy(body));
}

/// A schema, what is valid by it and what is not.
type Case = (Value, [&'static str; 5], [&'static str; 2]);

fn on_both_sides<const N: usize>(cases: [Case; N]) {
    for (schema, good, bad) in cases {
        good.into_iter().for_each(|body| valid(&schema, body));
        bad.into_iter().for_each(|body| not_valid(&schema, body));
    }
}

#[test]
fn each_keyword_on_both_sides_of_its_bound() {
    let cases = [
        (json!({"type": "integer"}), ["1", "1.0", "-0", "1e2", "18446744073709551616"], ["1.5", "true"]),
        (json!({"type": ["number", "null"]}), ["1.5", "null", "0", "-1e-9", "1e300"], ["\"1\"", "false"]),
        (json!({"enum": ["a", null, 2, true]}), ["\"\\u0061\"", "null", "2.0", "true", "2"], ["\"b\"", "1"]),
        (
            json!({"const": "é"}),
            ["\"é\"", "\"\\u00e9\"", "\"\\u00E9\"", " \"é\"", "\"é\"\n"],
            ["\"e\"", "null"],
        ),
        (json!({"minimum": 1}), ["1", "1.0", "2", "1e0", "[]"], ["0", "0.9999999999999999"]),
        (json!({"exclusiveMinimum": 1.5}), ["1.6", "2", "9007199254740993", "1e9", "{}"], ["1.5", "-2"]),
        (
            json!({"maximum": -1}),
            ["-1", "-1.0", "-2", "-9223372036854775809", "\"\""],
            ["-0.5", "9007199254740993"],
        ),
        (json!({"exclusiveMaximum": 0}), ["-1", "-0.1", "-1e-300", "null", "-5"], ["0", "-0.0"]),
        (json!({"minLength": 2}), ["\"éé\"", "\"ab\"", "\"abc\"", "1", "\"\\u00e9x\""], ["\"é\"", "\"😀\""]),
        (
            json!({"maxLength": 2}),
            ["\"😀😀\"", "\"\"", "\"ab\"", "[1,2,3]", "\"\\n\\n\""],
            ["\"abc\"", "\"ééé\""],
        ),
        (
            json!({"pattern": "^[a-z]{3}$"}),
            ["\"eur\"", "\"\\u0065ur\"", "1", "null", "[]"],
            ["\"EUR\"", "\"eur\\n\""],
        ),
        (json!({"minItems": 1}), ["[1]", "[[]]", "{}", "0", "[1,2]"], ["[]", "[ ]"]),
        (json!({"maxItems": 1}), ["[]", "[1]", "{}", "\"ab\"", "[[1,2]]"], ["[1,2]", "[1,2,3]"]),
        (
            json!({"items": {"type": "string"}}),
            ["[]", "[\"a\"]", "1", "{}", "[\"a\",\"b\"]"],
            ["[1]", "[\"a\",null]"],
        ),
        (
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "null"}}),
            ["[]", "[\"a\"]", "[\"a\",null]", "{}", "[\"\",null,null]"],
            ["[1]", "[\"a\",1]"],
        ),
    ];
    on_both_sides(cases);
}

#[test]
fn each_keyword_about_members_on_both_sides_of_its_bound() {
    let cases = [
        (json!({"minProperties": 1}), ["{\"a\":1}", "[]", "1", "{\"\":0}", "{\"a\":{}}"], ["{}", " { } "]),
        (
            json!({"maxProperties": 1}),
            ["{}", "{\"a\":1}", "[1,2]", "{\"a\":{\"b\":1,\"c\":2}}", "1"],
            ["{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2,\"c\":3}"],
        ),
        (
            json!({"required": ["a"]}),
            ["{\"a\":null}", "{\"\\u0061\":1}", "[]", "1", "{\"b\":1,\"a\":2}"],
            ["{}", "{\"b\":1}"],
        ),
        (
            json!({"properties": {"a": {"type": "integer"}}}),
            ["{}", "{\"a\":1}", "{\"b\":\"\"}", "[\"a\"]", "{\"a\":1.0,\"b\":{\"a\":\"\"}}"],
            ["{\"a\":\"\"}", "{\"b\":1,\"\\u0061\":null}"],
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            ["{}", "{\"a\":1}", "[]", "1", "{\"a\":{\"b\":1}}"],
            ["{\"b\":1}", "{\"a\":1,\"A\":1}"],
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": {"type": "string"}}),
            ["{}", "{\"a\":1}", "{\"b\":\"\"}", "[]", "{\"b\":\"\",\"a\":{},\"c\":\"x\"}"],
            ["{\"b\":1}", "{\"a\":1,\"c\":null}"],
        ),
    ];
    on_both_sides(cases);
}

#[test]
fn what_follows_from_other_schemas_is_exact_on_both_sides() {
    let branches = json!({
        "properties": {"kind": {"enum": ["a", "b"]}},
        "if": {"required": ["kind"], "properties": {"kind": {"const": "a"}}},
        "then": {"required": ["x"]},
        "else": {"properties": {"x": false}},
    });
    for body in [r#"{"x":1,"kind":"a"}"#, r#"{"kind":"b"}"#, "{}", "[]"] {
        valid(&branches, body);
    }
    for body in [r#"{"kind":"a"}"#, r#"{"x":1,"kind":"b"}"#, r#"{"x":1}"#, r#"{"kind":"c"}"#] {
        not_valid(&branches, body);
    }
    let one = json!({"oneOf": [{"minimum": 2}, {"type": "integer"}, {"not": {"type": "number"}}]});
    ["1", "2.5", "\"\"", "null"].into_iter().for_each(|body| match body {
        "\"\"" | "null" => not_valid(&one, body),
        _ => valid(&one, body),
    });
    not_valid(&one, "2");
    let list = json!({
        "$defs": {"list": {"properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/list"}]}}, "required": ["next"]}},
        "allOf": [{"$ref": "#/$defs/list"}], "type": "object",
    });
    valid(&list, r#"{"next":{"next":{"next":null}}}"#);
    not_valid(&list, r#"{"next":{"next":{}}}"#);
    let beside = json!({"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "minimum": 3});
    valid(&beside, "3");
    not_valid(&beside, "2");
    valid(&json!(true), "[{}]");
    not_valid(&json!(false), "1");
}

#[test]
fn what_a_tree_would_read_otherwise_is_not_decided() {
    let any = json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "integer"}});
    for body in [r#"{"a":1,"a":2}"#, r#"{"a":"","a":2}"#, r#"{"b":1,"b":2}"#, r#"{"b":1,"\u0062":2}"#] {
        assert!(by_tree(&any, body));
        unsure(&any, body.as_bytes());
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for schema in [json!({}), json!({"items": {"$ref": "#"}})] {
        valid(&schema, &deep(127));
        unsure(&schema, deep(128).as_bytes());
        let bodies: [&[u8]; 10] = [
            b"",
            b"1 2",
            b"[1",
            b"\"\xff\"",
            b"\xef\xbb\xbf1",
            b"\"\\ud800\"",
            b"1e999",
            b"{1:2}",
            b"\"\n\"",
            b"01",
        ];
        for body in bodies {
            assert!(serde_json::from_slice::<Value>(body).is_err());
            unsure(&schema, body);
        }
        unsure(&schema, br#"[{"$serde_json::private::RawValue":"1"}]"#);
        unsure(&schema, br#"[{"$serde_json::private::RawValue":"}"}]"#);
    }
    let many = |count: usize| {
        let members: Vec<String> = (0..count).map(|at| format!("\"k{at}\":{at}")).collect();
        format!("{{{}}}", members.join(","))
    };
    valid(&any, &many(64));
    unsure(&any, many(65).as_bytes());
    valid(&json!({"type": "object", "properties": {"k0": {"type": "integer"}}}), &many(1000));
}

#[test]
fn a_schema_with_anything_unknown_is_left_to_the_crate() {
    let unknown = [
        json!({"uniqueItems": true}),
        json!({"properties": {"a": {"patternProperties": {"^a": {}}}}}),
        json!({"items": {"dependentRequired": {"a": ["b"]}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}),
        json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "prefixItems": [{}]}),
        json!({"$defs": {"a": {"$id": "urn:a"}}}),
        json!({"$defs": {"a": {"$anchor": "a"}}, "$ref": "#a"}),
        json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}}),
        json!({"$dynamicRef": "#"}),
        json!({"minimum": 9_007_199_254_740_992_u64}),
        json!({"const": -1e300}),
        json!({"enum": [[1]]}),
        json!({"maxItems": 2.0}),
        json!({"x-other": 1}),
    ];
    for schema in unknown {
        assert!(Quick::compile(&schema).is_err(), "{schema}");
    }
    let itself = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"});
    assert!(Quick::compile(&itself).unwrap_err().contains("itself"));
    let wide = json!({"allOf": (0..80).map(|at| json!({"minimum": at})).collect::<Vec<_>>()});
    assert!(Quick::compile(&wide).unwrap_err().contains("64"));
    // Each level doubles what may apply below it, in any mixture.
    let branch = |name: &str| json!({"properties": {"a": {"$ref": format!("#/$defs/{name}")}, name: {"$ref": "#/$defs/all"}}});
    let names: Vec<String> = (0..14).map(|at| format!("n{at}")).collect();
    let mut defs: Map<String, Value> = names
        .iter()
        .zip(names.iter().cycle().skip(1))
        .map(|(name, next)| (name.clone(), branch(next)))
        .collect();
    let mixed: Vec<Value> = names.iter().map(|name| json!({"$ref": format!("#/$defs/{name}")})).collect();
    defs.insert("all".to_owned(), json!({"anyOf": mixed}));
    let started = System::new();
    let compiled = Quick::compile(&json!({"$ref": "#/$defs/all", "$defs": defs}));
    assert!(started.monotonic() < Duration::from_secs(5), "{compiled:?}");
}

#[test]
fn hostile_bodies_take_time_in_proportion() {
    let schema = json!({
        "properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "s": {"minLength": 1, "maxLength": 9, "pattern": "^(a+)+$"}},
        "additionalProperties": {"type": ["integer", "object"]},
        "maxProperties": 1_000_000,
    });
    let quick = quick(&schema);
    let repeated = |start: &str, middle: &str, end: &str| {
        format!("{start}{}{end}", middle.repeat((1 << 20) / middle.len()))
    };
    let keys: String = (0..100_000).map(|at| format!("\"k{at}\":1,")).collect();
    let bodies = [
        repeated("", "[", ""),
        repeated("", "{\"a\":", ""),
        repeated("{", "\"a\":1,", "\"b\":1}"),
        repeated("{", "\"zz\":1,", "\"b\":1}"),
        repeated("{\"s\":\"", "a", "b\"}"),
        repeated("{\"s\":\"", "\\u0061", "\"}"),
        format!("{{{keys}\"b\":1}}"),
        format!("{{\"o\":{{{keys}\"b\":1}}}}"),
        repeated("{\"o\":{\"p\":[", "{\"a\":[]},", "0]}}"),
        repeated("[", "1e9,", "0]"),
    ];
    for body in bodies {
        let clock = System::new();
        let sure = quick.surely_valid(body.as_bytes());
        let taken = clock.monotonic();
        assert!(taken < Duration::from_secs(2), "{taken:?} for {}", &body[..40]);
        assert!(!sure || by_tree(&schema, &body));
    }
}

const KEYS: [&str; 4] = ["a", "b", "é", "long-enough-for-words"];
const TEXTS: [&str; 8] = ["", "a", "b", "é", "abc", "😀😀", "a b", "a\u{301}c"];
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "1.0",
    "10e-1",
    "0.5",
    "-1",
    "2",
    "2.5",
    "9007199254740991",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e300",
    "5e-324",
    "3",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(&TEXTS).prop_map(Value::from),
        4 => select(&NUMBERS).prop_map(|number| serde_json::from_str(number).unwrap()),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

/// One keyword about a value itself.
fn simple() -> impl Strategy<Value = (&'static str, Value)> {
    let types = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
    let counts = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
    let limits = [json!(0), json!(1), json!(-1), json!(1.5), json!(2), json!(9_007_199_254_740_991_u64)];
    let patterns = ["^a", "^[a-c]{3}$", "é", "^\\S*$", "^a$", "^(a|abc)$", "\\w", "."];
    prop_oneof![
        3 => select(types.to_vec()).prop_map(|name| ("type", json!(name))),
        4 => prop::sample::subsequence(types.to_vec(), 2..6).prop_map(|names| ("type", json!(names))),
        2 => vec(scalar(), 2..8).prop_map(|mut values| {
            values.dedup();
            ("enum", Value::Array(values))
        }),
        1 => scalar().prop_map(|value| ("const", value)),
        3 => (select(bounds.to_vec()), select(limits.to_vec())),
        3 => (select(counts.to_vec()), (0..4).prop_map(|count| json!(count))),
        2 => select(patterns.to_vec()).prop_map(|pattern| ("pattern", json!(pattern))),
        2 => vec(select(&KEYS), 1..3).prop_map(|mut keys| {
            keys.sort_unstable();
            keys.dedup();
            ("required", json!(keys))
        }),
        1 => Just(("format", json!("date-time"))),
    ]
}

fn reference(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(names).prop_map(|name| json!({"$ref": name}))
}

/// A keyword with schemas in it: `same` over the same value, `below` over its parts.
fn applied(
    same: BoxedStrategy<Value>,
    below: BoxedStrategy<Value>,
) -> BoxedStrategy<Vec<(&'static str, Value)>> {
    let all = |schemas: Vec<Value>| Value::Array(schemas);
    let some = vec(same.clone(), 1..4);
    prop_oneof![
        6 => prop::collection::hash_map(select(&KEYS), below.clone(), 1..4)
            .prop_map(|map| vec![("properties", map.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect())]),
        2 => below.clone().prop_map(|schema| vec![("additionalProperties", schema)]),
        2 => below.clone().prop_map(|schema| vec![("items", schema)]),
        1 => vec(below, 1..3).prop_map(move |schemas| vec![("prefixItems", all(schemas))]),
        1 => some.clone().prop_map(move |schemas| vec![("allOf", all(schemas))]),
        2 => some.clone().prop_map(move |schemas| vec![("anyOf", all(schemas))]),
        1 => some.prop_map(move |schemas| vec![("oneOf", all(schemas))]),
        1 => same.clone().prop_map(|schema| vec![("not", schema)]),
        2 => (same.clone(), proptest::option::of(same.clone()), proptest::option::of(same)).prop_map(|(test, then, other)| {
            let branches = [("then", then), ("else", other)].into_iter();
            let branches = branches.filter_map(|(name, schema)| Some((name, schema?)));
            std::iter::once(("if", test)).chain(branches).collect()
        }),
    ]
    .boxed()
}

/// A schema that refers over the same value to `names` alone, so that none can refer to itself there.
fn schema(depth: usize, names: &'static [&'static str]) -> BoxedStrategy<Value> {
    let leaf = vec(simple(), 0..3)
        .prop_map(|keywords| keywords.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    if depth == 0 {
        let bare = prop_oneof![12 => leaf, 1 => any::<bool>().prop_map(Value::from)];
        return if names.is_empty() {
            bare.boxed()
        } else {
            prop_oneof![3 => bare, 1 => reference(names)].boxed()
        };
    }
    let below =
        prop_oneof![5 => schema(depth - 1, &["#", "#/$defs/x", "#/$defs/y"]), 1 => Just(json!({}))].boxed();
    let parts = vec(applied(schema(depth - 1, names), below), 0..3);
    (leaf, parts)
        .prop_map(|(mut schema, parts): (Value, _)| {
            for (name, value) in parts.into_iter().flatten() {
                schema[name] = value;
            }
            schema
        })
        .boxed()
}

/// A whole file; its definitions refer to each other in one direction.
fn file() -> impl Strategy<Value = Value> {
    let unknown =
        [json!({"uniqueItems": true}), json!({"contains": {"type": "string"}}), json!({"multipleOf": 2})];
    let rare = prop_oneof![12 => Just(json!({})), 1 => select(unknown.to_vec())];
    let defs = (schema(1, &["#/$defs/y"]), schema(1, &[]));
    (schema(2, &["#/$defs/x", "#/$defs/y"]), defs, rare).prop_map(|(mut root, (x, y), rare)| {
        root["$defs"] = json!({"x": x, "y": y});
        root.as_object_mut().unwrap().extend(rare.as_object().unwrap().clone());
        root
    })
}

/// A text as some sender might write it.
fn written(text: &str, escaped: u8) -> String {
    let sign = |(at, sign): (usize, char)| {
        let mut units = [0; 2];
        let escape = |unit: &u16| format!("\\u{unit:04x}");
        if escaped >> (at % 8) & 1 == 1 {
            sign.encode_utf16(&mut units).iter().map(escape).collect()
        } else {
            sign.to_string()
        }
    };
    format!("\"{}\"", text.chars().enumerate().map(sign).collect::<String>())
}

/// A payload's text; a key stands twice in it only where `twice`.
fn payload(twice: bool) -> impl Strategy<Value = String> {
    let text = |from: &'static [&'static str]| {
        let escaped = prop_oneof![4 => Just(0), 1 => any::<u8>()];
        (select(from), escaped).prop_map(|(text, escaped)| written(text, escaped))
    };
    let odd =
        ["1e999", "\"\\ud800\"", "\"\\udc00a\"", "", "tru", "{\"$serde_json::private::RawValue\":\"1\"}"];
    let odd = odd.into_iter().filter(move |_| twice).chain(["null"]).collect::<Vec<_>>();
    let leaf = prop_oneof![
        20 => text(&TEXTS),
        20 => select(&NUMBERS).prop_map(str::to_owned),
        8 => select(vec!["null", "true", "false", "[]", "{}"]).prop_map(str::to_owned),
        1 => select(odd).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let member = (select(&KEYS), prop_oneof![4 => Just(0), 1 => any::<u8>()], inner.clone());
        let object = vec(member, 0..5).prop_map(move |mut members| {
            if !twice {
                members.sort_by_key(|(key, ..)| *key);
                members.dedup_by_key(|(key, ..)| *key);
            }
            let members =
                members.iter().map(|(key, escaped, value)| format!("{}:{value}", written(key, *escaped)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" ,"))
        });
        prop_oneof![3 => object, 1 => vec(inner, 0..4).prop_map(|parts| format!("[{}]", parts.join(", ")))]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_surely_valid_the_crate_calls_valid(schema in file(), bodies in vec(payload(true), 8)) {
        if let Ok(quick) = Quick::compile(&schema) {
            let validator = validator(&schema).map_err(TestCaseError::reject)?;
            for body in bodies.iter().filter(|body| quick.surely_valid(body.as_bytes())) {
                let payload = serde_json::from_slice::<Value>(body.as_bytes());
                prop_assert!(payload.is_ok_and(|payload| validator.is_valid(&payload)), "{schema} {body}");
            }
        }
    }

    #[test]
    fn where_no_key_stands_twice_both_say_the_same(schema in file(), bodies in vec(payload(false), 8)) {
        if let Ok(quick) = Quick::compile(&schema) {
            let validator = validator(&schema).map_err(TestCaseError::reject)?;
            for body in &bodies {
                let valid = validator.is_valid(&serde_json::from_str(body).unwrap());
                prop_assert_eq!(quick.surely_valid(body.as_bytes()), valid, "{} {}", schema, body);
            }
        }
    }
}

#[test]
fn what_the_properties_run_over_has_both_answers_in_plenty() {
    let mut runner = TestRunner::deterministic();
    let (mut compiled, mut valid, mut all) = (0, 0, 0);
    for _ in 0..400 {
        let drawn = (file(), vec(payload(false), 8)).new_tree(&mut runner).unwrap().current();
        let Ok(quick) = Quick::compile(&drawn.0) else { continue };
        compiled += 1;
        all += drawn.1.len();
        valid += drawn.1.iter().filter(|body| quick.surely_valid(body.as_bytes())).count();
    }
    assert!((300..400).contains(&compiled), "{compiled} of 400");
    assert!(valid * 10 > all && valid * 10 < all * 9, "{valid} of {all}");
}
