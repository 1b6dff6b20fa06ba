//! The schemas take what the code takes, and refuse what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{files, root, schemas};

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::meta::validate(schema).unwrap();
    jsonschema::validator_for(schema).unwrap()
}

/// TOML as editors hand it to a schema: a time is text.
fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, from_toml(value))).collect(),
        other => serde_json::to_value(other).unwrap(),
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    from_toml(toml::Value::Table(text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
}

/// Places of a file that its schema finds fault with.
fn faults(schema: &Validator, file: &Value) -> BTreeSet<String> {
    schema.iter_errors(file).map(|error| error.instance_path().to_string()).collect()
}

fn assert_valid(schema: &Validator, file: &Value, name: &str) {
    let found: Vec<_> =
        schema.iter_errors(file).map(|error| format!("{}: {error:.300}", error.instance_path())).collect();
    assert!(found.is_empty(), "{name}: {found:#?}");
}

/// Each of these at its place makes a file invalid there or in the table around it.
fn assert_each_refused(schema: &Validator, file: &Value, wrong: &[(&str, Value)]) {
    for (pointer, value) in wrong {
        let (table, key) = pointer.rsplit_once('/').unwrap();
        let mut file = file.clone();
        match file.pointer_mut(table).unwrap_or_else(|| panic!("{pointer}")) {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            table => table[key] = value.clone(),
        }
        let found = faults(schema, &file);
        let inside = |fault: &String| fault == table || fault.starts_with(pointer);
        assert!(found.iter().any(inside), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn every_configuration_of_deploy_is_valid() {
    let schema = validator(&schemas::gateway());
    let mut count = 0;
    for path in files("deploy", ".toml") {
        if path.ends_with("Cargo.toml") {
            continue;
        }
        assert_valid(&schema, &read(&path), &path.display().to_string());
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn every_provider_file_is_valid_and_slips_are_not() {
    let schema = validator(&schemas::provider());
    let all = files("providers", ".toml");
    assert!(all.len() >= 119, "{}", all.len());
    for path in all {
        let file = read(&path);
        assert_valid(&schema, &file, &path.display().to_string());
        let wrong = [
            ("/nmae", json!("a")),
            ("/schemes", json!({})),
            ("/schemes/0/algorithm", json!("hmac-sha3")),
            ("/schemes/0/secret", json!("utf-8")),
            ("/schemes/0/signatur", json!({})),
            ("/schemes/0/signature", json!({"from": "header:x", "encoding": "base32"})),
            ("/schemes/0/timestamp", json!({"from": "header:x", "unit": "days"})),
            ("/schemes/0/timestamp", json!({"from": "header:x", "unit": "seconds", "past": "5 minutes"})),
            ("/sender", json!({"retries": 3})),
        ];
        assert_each_refused(&schema, &file, &wrong);
    }
    let mut nameless = read(&root().join("providers/generic.toml"));
    nameless.as_object_mut().unwrap().remove("name");
    assert!(!schema.is_valid(&nameless));
}

#[test]
fn every_vector_file_is_valid_and_slips_are_not() {
    let schema = validator(&schemas::vector());
    let all = files("tests/vectors", ".json");
    assert!(all.len() >= 119, "{}", all.len());
    for path in all {
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_valid(&schema, &file, &path.display().to_string());
        let wrong = [
            ("/0/expect", json!("refuse")),
            ("/0/expected", json!("reject")),
            ("/0/now", json!("17.5")),
            ("/0/secrets", json!([{"value": "a", "kind": "password"}])),
            ("/0/request/headers", json!([["a", "b", "c"]])),
            ("/0/request/methd", json!("POST")),
        ];
        assert_each_refused(&schema, &file, &wrong);
    }
    assert!(!schema.is_valid(&json!({"id": "a"})), "a file is a list");
}

/// A case of `tests/config`: its files, and what of them is refused, as file, key and words.
struct Case {
    files: BTreeMap<String, String>,
    refused: Vec<(String, String, String)>,
    /// Keys that flags and variables set over the files.
    over: Vec<String>,
}

impl Case {
    fn parse(text: &str) -> Self {
        let (mut files, mut refused, mut over) = (BTreeMap::new(), Vec::new(), Vec::new());
        let key = |line: &str| line.split('=').next().unwrap_or_default().to_ascii_lowercase();
        for section in format!("\n{text}").split("\n--- ").skip(1) {
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            if let Some(name) = head.strip_prefix("file ") {
                files.insert(name.to_owned(), format!("{body}\n"));
            } else if head == "flags" {
                over.extend(body.lines().map(|line| format!("/{}", key(line).replace('.', "/"))));
            } else if head == "env" {
                let own = body.lines().filter_map(|line| line.strip_prefix("HOOKGATE__"));
                over.extend(own.map(|line| format!("/{}", key(line).replace("__", "/"))));
            } else if head == "report" {
                refused.extend(body.lines().filter_map(finding));
            }
        }
        Self { files, refused, over }
    }
}

/// `hookgate.toml:3: log.level: found …`: file, JSON pointer of the key, and the words.
fn finding(line: &str) -> Option<(String, String, String)> {
    let (file, rest) = line.split_once(':')?;
    let (_, rest) = rest.split_once(": ")?;
    let (key, words) = rest.split_once(": ")?;
    // A key in quotes may hold whatever separates keys.
    let key = key.split('"').next().unwrap_or_default().trim_end_matches('.');
    let steps = key.replace('[', ".").replace(']', "");
    let pointer = steps.split('.').filter(|step| !step.is_empty()).map(|step| format!("/{step}")).collect();
    (file.ends_with(".toml") && !key.contains(' ')).then(|| (file.to_owned(), pointer, words.to_owned()))
}

/// What the code refuses by more than a schema says: bits beyond a network's prefix, a prefix longer than an address, a time
/// longer than any.
const BEYOND: [&str; 3] = ["/ingress/trusted_proxies/1", "/ingress/trusted_proxies/2", "/dedup/window"];

#[test]
fn what_the_cases_of_the_configuration_accept_is_valid_and_what_they_refuse_is_told_in_its_place() {
    let schema = validator(&schemas::gateway());
    let (mut valid, mut unknown, mut wrong) = (0, 0, 0);
    for path in files("tests/config", ".test") {
        let case = Case::parse(&fs::read_to_string(&path).unwrap());
        for (name, text) in case.files.iter().filter(|(name, _)| name.ends_with(".toml")) {
            // Fifty digits are none of TOML's; one more than the most that is allowed is refused as well.
            let text = text.replace(&"9".repeat(50), "4294967296");
            let Ok(table) = text.parse::<toml::Table>() else { continue };
            let found = faults(&schema, &from_toml(toml::Value::Table(table)));
            let of_file = |(file, ..): &&(String, String, String)| file == name;
            let told: Vec<_> = case.refused.iter().filter(of_file).collect();
            let place = format!("{}, {name}", path.display());
            for fault in found.iter().filter(|fault| !case.over.contains(fault)) {
                let known =
                    told.iter().any(|(_, key, _)| key.starts_with(fault.as_str()) || fault.starts_with(key));
                assert!(known, "{place}: {fault} is valid, and the schema refuses it");
            }
            valid += usize::from(found.is_empty());
            for (_, key, words) in told {
                let around = key.rsplit_once('/').map_or("", |(table, _)| table);
                let refused = found.contains(key) || found.contains(around);
                if words.starts_with("unknown key") {
                    assert!(refused, "{place}: {key} is unknown, and the schema takes it: {found:?}");
                    unknown += 1;
                } else if path.ends_with("values-of-the-wrong-kind.test")
                    || path.ends_with("values-that-are-not-allowed.test")
                {
                    let beyond = BEYOND.contains(&key.as_str());
                    assert!(refused || beyond, "{place}: {key}: {words}, and the schema takes it: {found:?}");
                    wrong += usize::from(refused);
                }
            }
        }
    }
    assert!(valid >= 20 && unknown >= 10 && wrong >= 38, "{valid} valid, {unknown} unknown, {wrong} wrong");
}
