//! Every key of the configuration as rows of a table, made of its schema.

use serde_json::{Value, json};

use super::schemas;
use crate::cli::gateway::restarts;
use crate::config::Settings;
use crate::units::{ByteSize, Span};

const HEAD: &str = "| key | type | default | change | meaning |\n| --- | --- | --- | --- | --- |\n";

/// Text for a cell: on one line, with nothing in it that Markdown would take for a tag or the next cell.
pub(super) fn cell(text: &str) -> String {
    let mut code = false;
    let mut out = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        code ^= c == '`';
        match c {
            '|' => out.push_str("\\|"),
            '<' if !code => out.push_str("&lt;"),
            c => out.push(c),
        }
    }
    out
}

/// The sentences of a text; what stands in `…` ends none.
fn sentences(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut code) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        code ^= c == '`';
        if c == '.' && !code && text[at + 1..].starts_with([' ']) {
            found.push(&text[start..=at]);
            start = at + 2;
        }
    }
    found.push(&text[start..]);
    found
}

/// What a description says of the default, and the rest of it; `None` where it does not say so once.
fn default_and_meaning(text: &str) -> Option<(String, String)> {
    let is_default = |sentence: &&str| sentence.starts_with("Default") || sentence.starts_with("Needed.");
    let (defaults, rest): (Vec<&str>, Vec<&str>) = sentences(text).into_iter().partition(is_default);
    let [default] = defaults[..] else { return None };
    let default =
        default.trim_start_matches("Default").trim_start_matches([':', ',', ' ']).trim_end_matches('.');
    Some((default.replace("Needed", "none: it is needed"), rest.join(" ")))
}

/// Whether words name a value, in any of its spellings.
fn names(words: &str, value: &Value) -> bool {
    let same = |word: &str| match value.as_str() {
        Some(text) => {
            let word = word.trim_matches('"');
            word == text
                || word.parse::<Span>().is_ok_and(|span| text.parse() == Ok(span))
                || word.parse::<ByteSize>().is_ok_and(|size| text.parse() == Ok(size))
        }
        None => serde_json::from_str(word).is_ok_and(|word: Value| word == *value),
    };
    words.split(['`', ' ']).map(|word| word.trim_end_matches([':', ';', ','])).any(same)
}

struct Options {
    root: Value,
    restarts: Vec<&'static str>,
    /// Those of `restarts` that a row was found for.
    found: Vec<&'static str>,
    /// What descriptions do not say as they should.
    wrong: Vec<String>,
    out: String,
}

/// Every table of the configuration, with a row for each key.
pub(super) fn options() -> String {
    let root = schemas::gateway();
    let mut options =
        Options { restarts: restarts(), found: Vec::new(), wrong: Vec::new(), out: String::new(), root };
    for name in order(&[]) {
        let below = options.root["properties"][&name].clone();
        match options.followed(&below["additionalProperties"]) {
            Some(each) => {
                let told = below["description"].as_str().unwrap_or_default().to_owned();
                options.table(&format!("{name}.<name>"), &[&name, "x"], &each, &told);
            }
            None => {
                let table = options.followed(&below).unwrap_or(below);
                options.table(&name, &[&name], &table, "");
            }
        }
    }
    let left: Vec<_> = options.restarts.iter().filter(|key| !options.found.contains(key)).collect();
    assert!(left.is_empty(), "no key of the configuration is {left:?}");
    assert!(options.wrong.is_empty(), "{:#?}", options.wrong);
    options.secrets();
    options.out
}

/// The keys of a table in the order in which its type has them, which it tells one who sets another.
fn order(path: &[&str]) -> Vec<String> {
    let nested = |inner, step: &&str| if *step == "[]" { json!([inner]) } else { json!({ *step: inner }) };
    let wrong = path.iter().rev().fold(json!({"?": 1}), nested);
    let told = serde_json::from_value::<Settings>(wrong).unwrap_err().to_string();
    let known = told.split_once("expected").unwrap_or_else(|| panic!("{path:?}: {told}")).1;
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

impl Options {
    /// The definition that a schema refers to.
    fn followed(&self, schema: &Value) -> Option<Value> {
        let at = schema["$ref"].as_str()?;
        self.root.pointer(at.trim_start_matches('#')).cloned()
    }

    fn table(&mut self, name: &str, path: &[&str], schema: &Value, more: &str) {
        let meaning = schema["description"].as_str().unwrap_or_default();
        let meaning = meaning.trim_start_matches(&format!("`[{name}]`: ") as &str);
        let told = format!("{} {more}", capital(meaning));
        self.out.push_str(&format!("### `[{name}]`\n{}\n\n{HEAD}", cell(&told)));
        let inner = self.rows(name, "", path, schema);
        self.out.push('\n');
        for (key, table) in inner {
            let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
            self.table(&format!("{name}.{key}"), &path, &table, "");
        }
    }

    /// The rows of a table; its tables that have a heading of their own come back.
    fn rows(&mut self, table: &str, before: &str, path: &[&str], schema: &Value) -> Vec<(String, Value)> {
        let mut inner = Vec::new();
        for name in order(path) {
            let property = schema["properties"][&name].clone();
            let found = self.followed(&property).unwrap_or_else(|| property.clone());
            let key = format!("{table}.{before}{name}");
            if found["properties"].is_object() {
                let of_type = found["description"].as_str().unwrap_or_default();
                if of_type.starts_with(&format!("`[{key}]`")) {
                    inner.push((name, found));
                    continue;
                }
                self.row(&key, &format!("{before}{name}"), &property, &found);
                let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                let none = self.rows(table, &format!("{before}{name}."), &path, &found);
                assert!(none.is_empty(), "{key}");
            } else {
                self.row(&key, &format!("{before}{name}"), &property, &found);
            }
        }
        inner
    }

    fn row(&mut self, key: &str, shown: &str, property: &Value, found: &Value) {
        let described =
            property["description"].as_str().or(found["description"].as_str()).unwrap_or_default();
        let Some((default, mut meaning)) = default_and_meaning(described) else {
            self.wrong
                .push(format!("{key} is to say once what its default is, or that it is needed: {described}"));
            return;
        };
        // Where nothing is set, some of what is needed is empty.
        let nothing = default.starts_with("none") || property["default"] == "";
        let actual = property.get("default").filter(|_| !nothing);
        if actual.is_some_and(|actual| !names(&default, actual)) {
            self.wrong.push(format!("{key} says that its default is {default}, and it is {actual:?}"));
        }
        for one in found["oneOf"].as_array().into_iter().flatten() {
            let name = if one["const"].is_string() { &one["const"] } else { &one["enum"][0] };
            let what =
                one["description"].as_str().unwrap_or_else(|| panic!("{key}: {name} is not described"));
            meaning.push_str(&format!(" `{name}`: {}", cell(what)));
        }
        let fixed = self.restarts.iter().find(|one| key == **one || key.starts_with(&format!("{one}.")));
        self.found.extend(fixed);
        let change = if fixed.is_some() { "restart" } else { "reload" };
        let (kind, default, meaning) = (self.kind(found), cell(&default), cell(&meaning));
        self.out.push_str(&format!("| `{shown}` | {kind} | {default} | {change} | {meaning} |\n"));
    }

    /// What a value may be, in words.
    fn kind(&self, schema: &Value) -> String {
        let schema = self.followed(schema).unwrap_or_else(|| schema.clone());
        if let Some(title) = schema["title"].as_str() {
            return title.to_owned();
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let name = |one: &Value| {
                if one["const"].is_string() { one["const"].clone() } else { one["enum"][0].clone() }
            };
            return choices.iter().map(|one| format!("`{}`", name(one))).collect::<Vec<_>>().join(", ");
        }
        match schema["type"].as_str() {
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer") => format!("number from {} to {}", schema["minimum"], schema["maximum"]),
            Some("string") => "text".to_owned(),
            Some("array") => format!("list, each: {}", self.kind(&schema["items"])),
            Some("object") if schema["properties"].is_object() => "table".to_owned(),
            Some("object") => format!("table, each: {}", self.kind(&schema["additionalProperties"])),
            _ => panic!("{schema}"),
        }
    }

    /// The keys of a reference to a secret.
    fn secrets(&mut self) {
        let reference = self.root["$defs"]["SecretRef"].clone();
        let table = &reference["anyOf"][0];
        self.out.push_str(&format!(
            "### References to secrets\n{}\n\n| key | meaning |\n| --- | --- |\n",
            cell(reference["description"].as_str().unwrap_or_default())
        ));
        for key in order(&["sources", "x", "secrets", "[]"]) {
            let meaning =
                table["properties"][&key]["description"].as_str().unwrap_or_else(|| panic!("{key}"));
            self.out.push_str(&format!("| `{key}` | {} |\n", cell(meaning)));
        }
        self.out.push('\n');
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}
