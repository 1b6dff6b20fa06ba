//! The layers a configuration is made of, in the order in which the later wins: the main file, the files of
//! `sources.d/`, environment variables, flags. Below them all lie the defaults of `Settings`.
//!
//! Reads files and remembers where each value came from; the `config` crate merges. What a value means is
//! not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, ConfigError, Map, Value, ValueKind};

use super::path::{KeyPath, Step};
use super::report::{Finding, Place, Report, Wrong, shown};
use super::settings::Settings;
use super::tree::{self, Entry, Kind, Node};
use crate::provider::secret::Environment;

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "hookgate.toml";
/// The folder beside it whose `*.toml` files are read after it.
const SOURCES_DIR: &str = "sources.d";
/// How the names of variables begin, and what parts the keys in them.
const PREFIX: &str = "HOOKGATE__";
const SEPARATOR: &str = "__";
/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The most files in `sources.d/`.
const FILES_MAX: usize = 10_000;
/// Keys that hold a secret reference: the later layer's takes the place of the earlier's as a whole, or a
/// variable in one and a file in the other would make a reference to both.
const REFERENCES: [&str; 6] =
    ["admin.token", "admin.read_token", "admin.worker_token", "dedup.url", "notices.secret", "sink.url"];

/// One layer: a file, a variable or a flag, with what it sets.
#[derive(Clone)]
struct Layer {
    place: Place,
    tree: Node,
}

impl fmt::Debug for Layer {
    /// Without the values, among which there may be plain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({})", self.place)
    }
}

impl Layer {
    /// The layer's place, at `line`.
    fn at(&self, line: usize) -> Place {
        match &self.place {
            Place::File { path, .. } => Place::File { path: path.clone(), line, column: 0 },
            other @ (Place::Variable(_) | Place::Flag(_) | Place::Defaults) => other.clone(),
        }
    }

    /// The place of `path` in this layer, if it is set here.
    fn find(&self, path: &KeyPath) -> Option<Place> {
        let start = (0, &self.tree);
        let (line, _) = path.steps().iter().try_fold(start, |(_, node), step| node.child(step))?;
        Some(self.at(line))
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// One key over the whole tree, because the crate takes a first key such as `"a.b"` for a path.
    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.tree.to_value(&self.place.to_string()))]))
    }
}

const ROOT: &str = "settings";

/// Where every value of a configuration came from.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<Vec<Layer>>);

impl Origins {
    /// Where the value of `key` was given: in the last layer that sets it. A key that none sets is placed at
    /// the first mention of the table it belongs to, or in the main file.
    pub fn place(&self, key: &KeyPath) -> Place {
        self.place_of(key).1
    }

    /// The place and the number of its layer.
    pub(super) fn place_of(&self, key: &KeyPath) -> (usize, Place) {
        let layers = || self.0.iter().enumerate();
        let find =
            |(rank, layer): (usize, &Layer), path: &KeyPath| layer.find(path).map(|place| (rank, place));
        let tables = std::iter::successors(Some(key.parent()), |table| Some(table.parent()));
        let mut tables = tables.take_while(|table| !table.steps().is_empty());
        let set = layers().rev().find_map(|layer| find(layer, key));
        let near = || tables.find_map(|table| layers().find_map(|layer| find(layer, &table)));
        if let Some(found) = set.or_else(near) {
            return found;
        }
        let main = self.0.first().filter(|layer| matches!(layer.place, Place::File { .. }));
        main.map_or((self.0.len(), Place::Defaults), |layer| (0, layer.at(0)))
    }

    /// A number after those of all layers, for what files say that the configuration names.
    pub(super) fn rank_beside(&self) -> usize {
        self.0.len() + 1
    }

    /// Whether some layer sets `key` or something in it.
    pub fn is_set(&self, key: &KeyPath) -> bool {
        self.0.iter().any(|layer| layer.find(key).is_some())
    }

    /// Reports every value that a later layer's table hides, which would otherwise be dropped in silence.
    pub(super) fn tell_hidden(&self, merged: &Node, report: &mut Report) {
        for (rank, layer) in self.0.iter().enumerate() {
            let mut found = Vec::new();
            hidden(&layer.tree, merged, &KeyPath::default(), &mut found);
            for (key, node) in found {
                let place = layer.find(&key).unwrap_or_else(|| layer.at(0));
                let wrong = Wrong::Value(shown(&key, node));
                report.insert(rank, Finding { place, key, wrong, allowed: "a table".to_owned() });
            }
        }
    }

    /// Sources that several files have, a line each: what is in force then stands in none of them.
    pub(super) fn shared_sources(&self) -> Vec<String> {
        let mut places: BTreeMap<&String, Vec<Place>> = BTreeMap::new();
        let sources = Step::Key("sources".to_owned());
        for layer in self.0.iter().filter(|layer| matches!(layer.place, Place::File { .. })) {
            let Some((_, Node { kind: Kind::Table(entries), .. })) = layer.tree.child(&sources) else {
                continue;
            };
            for (name, entry) in entries {
                places.entry(name).or_default().push(layer.at(entry.line));
            }
        }
        let told = |(name, places): (&String, Vec<Place>)| {
            let (last, before) = places.split_last().filter(|(_, before)| !before.is_empty())?;
            let before: Vec<String> = before.iter().map(ToString::to_string).collect();
            let key = KeyPath::from("sources").key(name);
            let before = before.join(", ");
            Some(format!(
                "{last}: {key}: also in {before}; their keys are merged one by one, the later file's win"
            ))
        };
        places.into_iter().filter_map(told).collect()
    }

    /// All layers in one tree.
    pub(super) fn merged(&self) -> Result<Node, ConfigError> {
        let builder = self.0.iter().fold(Config::builder(), |all, layer| all.add_source(layer.clone()));
        let mut merged = Node::table(BTreeMap::new());
        if let ValueKind::Table(mut root) = builder.build()?.cache.kind {
            merged = root.remove(ROOT).map_or(merged, Node::from_value);
        }
        for path in REFERENCES.map(KeyPath::from) {
            let last = self.0.iter().rev().find_map(|layer| layer.tree.get(&path));
            let slot = path.steps().iter().try_fold(&mut merged, |node, step| node.child_mut(step));
            if let (Some(last), Some(slot)) = (last, slot) {
                *slot = last.clone();
            }
        }
        Ok(merged)
    }
}

/// A single value where the settings have a table: of two layers, the merge keeps the table and drops it.
fn hidden<'a>(layer: &'a Node, merged: &Node, path: &KeyPath, found: &mut Vec<(KeyPath, &'a Node)>) {
    let (Kind::Table(entries), Kind::Table(_)) = (&layer.kind, &merged.kind) else {
        if matches!(merged.kind, Kind::Table(_)) && !path.is_secret() {
            found.push((path.clone(), layer));
        }
        return;
    };
    for (key, entry) in entries {
        if let Some((_, below)) = merged.child(&Step::Key(key.clone())) {
            hidden(&entry.node, below, &path.key(key), found);
        }
    }
}

/// What could be read of the layers.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    layers: Vec<Layer>,
    unreadable: Vec<(usize, Finding)>,
}

impl Gathered {
    /// Reads all layers. With `file` the main file must exist.
    pub(super) fn read(file: Option<&Path>, env: &Environment, flags: &[(String, String)]) -> Self {
        let mut gathered = Self::default();
        let main = main_file(file);
        // Only a file that is certainly not there may be passed over; a dangling link is an error.
        let absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if file.is_some() || !main.symlink_metadata().is_err_and(absent) {
            gathered.file(main);
        }
        gathered.folder(&sources_dir(main));
        gathered.variables(env);
        for (key, value) in flags {
            gathered.bare(Place::Flag(key.clone()), key.split('.').map(str::to_owned).collect(), value);
        }
        gathered
    }

    /// Whether every layer could be read, so that what is missing is really missing.
    pub(super) fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// A report that holds what could not be read.
    pub(super) fn into_report(self) -> (Origins, Report) {
        let origins = Origins(Arc::new(self.layers));
        let mut report = Report::new(origins.clone());
        for (rank, finding) in self.unreadable {
            report.insert(rank, finding);
        }
        (origins, report)
    }

    fn add(&mut self, place: Place, tree: Node) {
        self.layers.push(Layer { place, tree });
    }

    fn unreadable(&mut self, place: Place, why: String) {
        let wrong = Wrong::Unreadable(why);
        let finding = Finding { place, key: KeyPath::default(), wrong, allowed: String::new() };
        self.unreadable.push((self.layers.len(), finding));
    }

    fn file(&mut self, path: &Path) {
        let place = |line, column| Place::File { path: path.to_owned(), line, column };
        match read_text(path) {
            Err(error) => self.unreadable(place(0, 0), format!("cannot be read: {error}")),
            Ok(text) => match tree::parse(&text) {
                Ok(tree) => return self.add(place(0, 0), tree),
                Err(errors) => {
                    for error in errors {
                        let why = format!("not TOML: {}", error.message);
                        self.unreadable(place(error.line, error.column), why);
                    }
                }
            },
        }
        self.add(place(0, 0), Node::table(BTreeMap::new()));
    }

    fn folder(&mut self, dir: &Path) {
        match list(dir) {
            Ok(files) => files.iter().for_each(|file| self.file(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let place = Place::File { path: dir.to_owned(), line: 0, column: 0 };
                self.unreadable(place, format!("cannot be read: {error}"));
            }
        }
    }

    fn variables(&mut self, env: &Environment) {
        for (name, value) in env.iter() {
            let Some(keys) = name.strip_prefix(PREFIX) else { continue };
            let place = Place::Variable(name.to_owned());
            match value.to_str() {
                Some(text) => {
                    self.bare(place, keys.split(SEPARATOR).map(str::to_lowercase).collect(), text);
                }
                None => self.unreadable(place, "its value is not UTF-8".to_owned()),
            }
        }
    }

    /// A layer that sets one key.
    fn bare(&mut self, place: Place, keys: Vec<String>, text: &str) {
        if keys.iter().any(String::is_empty) {
            return self.unreadable(place, "it names an empty key".to_owned());
        }
        let nest = |node, key| Node::table(BTreeMap::from([(key, Entry { line: 0, node })]));
        let tree = keys.into_iter().rev().fold(tree::scalar(text), nest);
        self.add(place, tree);
    }
}

/// Variables that would name a known key with one underscore more, and so are passed over; a line each. Others that begin
/// alike are no mistake: `consume --exec` sets some.
pub(super) fn misnamed(env: &Environment) -> Vec<String> {
    let known = serde_json::to_value(Settings::default()).unwrap_or_default();
    let told = |name: &str| {
        let rest = name.strip_prefix(PREFIX.strip_suffix('_')?)?;
        let (section, key) = rest.split_once(SEPARATOR)?;
        let section = section.to_lowercase();
        let key = key.split(SEPARATOR).next().unwrap_or_default().to_lowercase();
        let is_known = section == "sources" || known[&section].get(&key).is_some();
        is_known.then(|| format!("variable {name}: passed over; did you mean {PREFIX}{rest}?"))
    };
    env.iter().filter_map(|(name, _)| told(name)).collect()
}

/// The main file, where `file` is the one that was named.
pub(super) fn main_file(file: Option<&Path>) -> &Path {
    file.unwrap_or(Path::new(DEFAULT_FILE))
}

/// The folder of further files beside the main one.
pub(super) fn sources_dir(main: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).join(SOURCES_DIR)
}

/// The text of a file of at most 1 MiB.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The folder's `*.toml` files in the order of their names; hidden ones are left out.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        if files.len() == FILES_MAX {
            return Err(io::Error::other(format!("it holds more than {FILES_MAX} files")));
        }
        files.push(path);
    }
    files.sort();
    Ok(files)
}
