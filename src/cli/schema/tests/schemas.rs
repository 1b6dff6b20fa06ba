//! The schemas: what is derived of the types, put right where the code takes more or less than serde's attributes say.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::cli::vectors::Vector;
use crate::config::Settings;
use crate::provider::{Definition, names};

/// What a type takes, as a JSON Schema of draft 2020-12.
pub(super) fn of<T: JsonSchema>(title: &str, description: &str) -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.insert("description".to_owned(), description.into());
    let mut schema = schema.to_value();
    each(&mut schema, &mut plain);
    schema
}

pub(super) fn gateway() -> Value {
    let mut schema = of::<Settings>(
        "hookgate.toml",
        "The configuration of hookgate: hookgate.toml, and files of sources.d beside it. `hookgate check` knows more: what only \
         holds between values, and what secrets and files hold.",
    );
    each(&mut schema, &mut without_null);
    each(&mut schema, &mut numbers_in_quotes);
    schema["properties"]["sources"]["propertyNames"] =
        json!({"pattern": "^[a-z0-9_-]{1,64}$", "not": {"enum": ["invalid", "dead"]}});
    schema
}

pub(super) fn provider() -> Value {
    let mut schema = of::<Definition>(
        "A provider file of hookgate",
        "How a service signs its webhooks. Text may hold `${name}`, a setting of the source. `hookgate providers show NAME` and \
         `hookgate vectors` judge the whole.",
    );
    each(&mut schema, &mut without_null);
    for (pointer, names) in names() {
        let value = schema.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
        assert_eq!(value.remove("type"), Some("string".into()), "{pointer}");
        value.insert("anyOf".to_owned(), json!([{"enum": names}, {"type": "string", "pattern": "\\$\\{"}]));
        // What is left out depends on other keys.
        value.remove("default");
    }
    // Where nothing is said of other keys, tombi takes none.
    schema["$defs"]["AnswerDefinition"]["properties"]["json"]["additionalProperties"] = true.into();
    schema
}

pub(super) fn vector() -> Value {
    let mut schema = of::<Vec<Vector>>(
        "A vector file of hookgate",
        "Requests with the verdict that each must get, for `hookgate vectors`.",
    );
    let kinds = schema.pointer_mut("/$defs/SecretKind/oneOf").and_then(Value::as_array_mut).unwrap();
    let public = kinds.iter_mut().find(|kind| kind["const"] == "public_key").unwrap();
    let others = ["ed25519-public-key", "rsa-public-key", "ecdsa-p256-public-key"];
    public["enum"] = ["public_key"].into_iter().chain(others).collect();
    public.as_object_mut().unwrap().remove("const");
    schema
}

/// Does something to every schema within one, the inner ones first. What is in `properties` and `$defs` has names of its own.
fn each(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object.iter_mut() {
                match inner {
                    Value::Object(named) if ["properties", "$defs"].contains(&key.as_str()) => {
                        named.values_mut().for_each(|inner| each(inner, change));
                    }
                    inner => each(inner, change),
                }
            }
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

/// Texts on one line, without marks of rustdoc; the largest number in place of a type of Rust; no default that is a table, or
/// that is nothing.
fn plain(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`").split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if schema.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        schema.remove("default");
    }
    let of_rust = schema.get("format").and_then(Value::as_str).is_some_and(|format| format.contains("int"));
    if of_rust && schema.remove("format") == Some("uint32".into()) {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
}

/// TOML has no null: what is not there is left out.
fn without_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|one| *one != json!({"type": "null"}));
        if let [Value::Object(one)] = &any[..] {
            let one = one.clone();
            schema.remove("anyOf");
            one.into_iter().for_each(|(key, value)| {
                schema.entry(key).or_insert(value);
            });
        }
    }
}

/// `on_limit = 429` means what `"429"` means.
fn numbers_in_quotes(schema: &mut Map<String, Value>) {
    let Some(Value::String(text)) = schema.get("const") else { return };
    let Ok(number) = serde_json::from_str::<serde_json::Number>(text) else { return };
    let both = json!([text, number]);
    schema.retain(|key, _| key != "const" && key != "type");
    schema.insert("enum".to_owned(), both);
}
