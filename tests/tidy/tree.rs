//! The files of the tree, found without git: what `.gitignore` names is left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer::Source;

/// Made by tools, or kept out by `.gitignore`.
const SKIPPED: &[&str] = &["target", ".git", "data", "node_modules", "__pycache__"];
/// Recorded from elsewhere, byte for byte: no rule about words is for them.
const RECORDED: &[&str] = &[
    "tests/vectors/",
    "tests/fuzz/corpus/",
    "tests/fuzz/Cargo.lock",
    "deploy/workers/rust/Cargo.lock",
    "providers/samples/",
    "Cargo.lock",
];

/// Rust files under the folders given.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let wanted =
        |path: &String| path.ends_with(".rs") && folders.iter().any(|f| path.starts_with(&format!("{f}/")));
    files().into_iter().filter(wanted).map(|path| Source::new(&path, &read(&path))).collect()
}

/// All text files but the recorded ones: path and text.
pub fn texts() -> Vec<(String, String)> {
    let ours = |path: &String| !RECORDED.iter().any(|start| path.starts_with(start));
    let text =
        |path: String| Some((path.clone(), String::from_utf8(fs::read(root().join(&path)).ok()?).ok()?));
    files().into_iter().filter(ours).filter_map(text).collect()
}

/// The names of the built-in providers: `generic` is a scheme, no provider.
pub fn providers() -> Vec<String> {
    let stem = |path: String| Some(path.strip_prefix("providers/")?.strip_suffix(".toml")?.to_owned());
    files().into_iter().filter_map(stem).filter(|name| !name.contains('/') && name != "generic").collect()
}

/// The top-level modules of `src/`.
pub fn rooms() -> Vec<String> {
    let first = |path: String| Some(path.strip_prefix("src/")?.split(['/', '.']).next()?.to_owned());
    let mut rooms: Vec<String> = files().into_iter().filter_map(first).collect();
    rooms.retain(|room| room != "lib" && room != "main");
    rooms.dedup();
    rooms
}

/// The names at the top of the tree.
pub fn top_level() -> Vec<String> {
    let first = |path: String| path.split('/').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = files().into_iter().map(first).collect();
    names.dedup();
    names
}

/// A file's text.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Paths from the root, with `/`, sorted.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the tree can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) || name.ends_with(".log") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        } else if let Ok(inside) = path.strip_prefix(root()) {
            found.push(inside.to_string_lossy().replace('\\', "/"));
        }
    }
}
