//! A schema's keywords as a list of nodes that name each other; a keyword that is not known here ends it.
//!
//! Runs after the crate has compiled the same schema, so what it is made of is well formed. Compiles no tables: that is
//! `shape`'s part.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::check::{Among, Bound, Check, Kind, exact};
use crate::schema::store;

/// A node's place in the list.
pub(super) type NodeId = usize;

/// How a schema follows from others over the same value.
#[derive(Clone, Debug)]
pub(super) enum Rule<T> {
    /// All of them (`allOf`, `$ref`).
    All(Vec<T>),
    /// One at least.
    Any(Vec<T>),
    /// One exactly.
    One(Vec<T>),
    /// Not that.
    Not(T),
    /// `if`, `then`, `else`.
    If(T, Option<T>, Option<T>),
}

impl<T> Rule<T> {
    /// The schemas that it follows from.
    pub(super) fn parts(&self) -> Vec<&T> {
        match self {
            Self::All(parts) | Self::Any(parts) | Self::One(parts) => parts.iter().collect(),
            Self::Not(part) => vec![part],
            Self::If(test, then, other) => {
                [Some(test), then.as_ref(), other.as_ref()].into_iter().flatten().collect()
            }
        }
    }

    /// The same over other names of the schemas.
    pub(super) fn renamed<U>(&self, name: impl Fn(&T) -> U) -> Rule<U> {
        let all = |parts: &Vec<T>| parts.iter().map(&name).collect();
        match self {
            Self::All(parts) => Rule::All(all(parts)),
            Self::Any(parts) => Rule::Any(all(parts)),
            Self::One(parts) => Rule::One(all(parts)),
            Self::Not(part) => Rule::Not(name(part)),
            Self::If(test, then, other) => {
                Rule::If(name(test), then.as_ref().map(&name), other.as_ref().map(&name))
            }
        }
    }
}

/// One schema of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) check: Arc<Check>,
    pub(super) required: Vec<String>,
    pub(super) properties: BTreeMap<String, NodeId>,
    pub(super) additional: Option<NodeId>,
    pub(super) prefix: Vec<NodeId>,
    pub(super) items: Option<NodeId>,
    pub(super) rules: Vec<Rule<NodeId>>,
}

impl Node {
    fn any() -> Self {
        Self {
            check: Arc::new(Check::any()),
            required: Vec::new(),
            properties: BTreeMap::new(),
            additional: None,
            prefix: Vec::new(),
            items: None,
            rules: Vec::new(),
        }
    }

    /// Whether every value is valid by it.
    pub(super) fn is_any(&self) -> bool {
        self.check.is_any()
            && self.required.is_empty()
            && self.properties.is_empty()
            && self.additional.is_none()
            && self.prefix.is_empty()
            && self.items.is_none()
            && self.rules.is_empty()
    }
}

/// All schemas of a file that its root reaches, the root first.
///
/// # Errors
/// What in it the quick look cannot decide.
pub(super) fn nodes(root: &Value) -> Result<Vec<Node>, String> {
    const DRAFTS: [&str; 2] =
        ["https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2019-09/schema"];
    let draft = root.get("$schema").map(|draft| DRAFTS.iter().position(|known| draft == known));
    let prefixes = match draft {
        None | Some(Some(0)) => true,
        Some(Some(_)) => false,
        Some(None) => return Err("`$schema` is none of the two newest drafts".to_owned()),
    };
    no_names(root, true)?;
    let mut reader = Reader { root, prefixes, nodes: Vec::new(), known: HashMap::new(), waiting: Vec::new() };
    reader.node(root);
    while let Some((id, schema)) = reader.waiting.pop() {
        reader.nodes[id] = reader.read(schema)?;
    }
    Ok(reader.nodes)
}

/// Refuses schemas that others could name but by their place, since `$ref` is taken for a place only.
fn no_names(value: &Value, root: bool) -> Result<(), String> {
    const NAMES: [&str; 8] = [
        "$id",
        "$schema",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "$vocabulary",
    ];
    match value {
        Value::Array(values) => values.iter().try_for_each(|value| no_names(value, false)),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            let of_the_file = root && (key == "$id" || key == "$schema");
            if NAMES.contains(&key.as_str()) && !of_the_file {
                return Err(format!("`{key}` below the root"));
            }
            no_names(value, false)
        }),
        _ => Ok(()),
    }
}

struct Reader<'s> {
    root: &'s Value,
    /// Whether the draft has `prefixItems`.
    prefixes: bool,
    nodes: Vec<Node>,
    /// By the address of the schema in the file's tree.
    known: HashMap<usize, NodeId>,
    waiting: Vec<(NodeId, &'s Value)>,
}

impl<'s> Reader<'s> {
    fn node(&mut self, schema: &'s Value) -> NodeId {
        let address = std::ptr::from_ref(schema) as usize;
        *self.known.entry(address).or_insert_with(|| {
            self.nodes.push(Node::any());
            self.waiting.push((self.nodes.len() - 1, schema));
            self.nodes.len() - 1
        })
    }

    fn all(&mut self, schemas: &'s Value) -> Result<Vec<NodeId>, String> {
        let schemas = schemas.as_array().ok_or("a list of schemas is none")?;
        Ok(schemas.iter().map(|schema| self.node(schema)).collect())
    }

    fn read(&mut self, schema: &'s Value) -> Result<Node, String> {
        let mut node = Node::any();
        let mut check = Check::any();
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => check.kinds.clear(),
            Value::Object(keywords) => {
                for (name, value) in keywords {
                    let known = of_value(&mut check, name, value)?
                        || self.of_parts(&mut node, name, value)?
                        || self.of_same(&mut node, name, keywords)?;
                    if !known {
                        return Err(format!("the keyword `{name}`"));
                    }
                }
            }
            _ => return Err("a schema is neither an object nor a boolean".to_owned()),
        }
        node.check = Arc::new(check);
        Ok(node)
    }

    /// Keywords about members and elements.
    fn of_parts(&mut self, node: &mut Node, name: &str, value: &'s Value) -> Result<bool, String> {
        match (name, value) {
            ("properties", Value::Object(properties)) => {
                for (key, schema) in properties {
                    node.properties.insert(key.clone(), self.node(schema));
                }
            }
            ("required", Value::Array(keys)) => {
                let keys = keys.iter().map(|key| key.as_str().map(str::to_owned));
                node.required = keys.collect::<Option<_>>().ok_or("a `required` key is no text")?;
            }
            ("additionalProperties", _) => node.additional = Some(self.node(value)),
            ("items", Value::Object(_) | Value::Bool(_)) => node.items = Some(self.node(value)),
            ("prefixItems", _) if self.prefixes => node.prefix = self.all(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keywords that bring other schemas to bear on the same value, and those that ask nothing.
    fn of_same(&mut self, node: &mut Node, name: &str, all: &'s Map<String, Value>) -> Result<bool, String> {
        let value = &all[name];
        let rule = match name {
            "$ref" => {
                let target = self.target(value)?;
                Rule::All(vec![self.node(target)])
            }
            "allOf" => Rule::All(self.all(value)?),
            "anyOf" => Rule::Any(self.all(value)?),
            "oneOf" => Rule::One(self.all(value)?),
            "not" => Rule::Not(self.node(value)),
            "if" => {
                let [then, other] = ["then", "else"].map(|part| all.get(part).map(|part| self.node(part)));
                Rule::If(self.node(value), then, other)
            }
            // Those two are read with their `if`; `format` is an annotation in these drafts.
            "then" | "else" | "format" | "$schema" | "$id" | "$defs" | "definitions" | "$comment"
            | "title" | "description" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" => {
                return Ok(true);
            }
            _ => return Ok(false),
        };
        node.rules.push(rule);
        Ok(true)
    }

    /// What a `$ref` points to within the file.
    fn target(&self, value: &Value) -> Result<&'s Value, String> {
        let place = value.as_str().and_then(|text| text.strip_prefix('#'));
        // With a `%` it would have to be unescaped as part of a URI first.
        let place =
            place.filter(|place| !place.contains('%') && (place.is_empty() || place.starts_with('/')));
        let found = place.and_then(|place| self.root.pointer(place));
        found.ok_or_else(|| "a `$ref` to elsewhere than a place in the file".to_owned())
    }
}

/// Keywords about a value itself. Whether that was one.
fn of_value(check: &mut Check, name: &str, value: &Value) -> Result<bool, String> {
    let count = || value.as_u64().ok_or_else(|| format!("the count of `{name}`"));
    let limit = || exact(value).ok_or_else(|| format!("the limit of `{name}`"));
    match name {
        "type" => check.kinds = kinds(value).ok_or("the names in `type`")?,
        "enum" => check.among.push(among(value.as_array().map(Vec::as_slice))?),
        "const" => check.among.push(among(Some(std::slice::from_ref(value)))?),
        "minimum" => check.bounds.push(Bound::Least(limit()?)),
        "exclusiveMinimum" => check.bounds.push(Bound::Above(limit()?)),
        "maximum" => check.bounds.push(Bound::Most(limit()?)),
        "exclusiveMaximum" => check.bounds.push(Bound::Below(limit()?)),
        "minLength" => check.length.least = count()?,
        "maxLength" => check.length.most = count()?,
        "minItems" => check.elements.least = count()?,
        "maxItems" => check.elements.most = count()?,
        "minProperties" => check.members.least = count()?,
        "maxProperties" => check.members.most = count()?,
        "pattern" => {
            let alone = Value::Object(Map::from_iter([(name.to_owned(), value.clone())]));
            check.patterns.push(Arc::new(store::validator(&alone)?));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn kinds(value: &Value) -> Option<Vec<Kind>> {
    let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let named = names.iter().map(|name| Kind::named(name.as_str()?)).collect::<Option<Vec<_>>>()?;
    Some(Kind::ALL.into_iter().filter(|kind| named.iter().any(|kinds| kinds.contains(kind))).collect())
}

fn among(values: Option<&[Value]>) -> Result<Among, String> {
    values
        .and_then(Among::of)
        .ok_or_else(|| "an `enum` or `const` of other values than small scalars".to_owned())
}
