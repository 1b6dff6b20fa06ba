//! Replays every file of the corpora, and bodies of the largest size in the shapes that parsers dislike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{TARGETS, long};

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_fuzzing_found_holds() {
    for (name, target) in TARGETS {
        let files = files(&corpora().join(name));
        assert!((1..=100).contains(&files.len()), "{name}: {} files", files.len());
        for file in files {
            let data = std::fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "tests/fuzz/corpus/{name}/{}", file.file_name().unwrap().display());
        }
    }
}

/// Prints the table of `tests/fuzz/RESULTS.md`; optimised, it holds each reader to its 50 ms for 1 MiB.
#[test]
fn no_reader_takes_long_for_a_long_body() {
    let mut worst: Vec<(&str, Duration, String)> = Vec::new();
    let files = files(&corpora().join("long"));
    for file in &files {
        let shape = std::fs::read(file).unwrap();
        for (name, taken) in long::times(&shape) {
            let shown = String::from_utf8_lossy(&shape).escape_debug().to_string();
            match worst.iter_mut().find(|(known, ..)| *known == name) {
                Some(known) if known.1 < taken => (known.1, known.2) = (taken, shown),
                Some(_) => {}
                None => worst.push((name, taken, shown)),
            }
        }
    }
    println!("{} shapes", files.len());
    worst.iter().for_each(|(name, taken, shape)| {
        println!("| {name} | {:.2} ms | `{shape}` |", taken.as_secs_f64() * 1e3)
    });
    assert!(files.len() >= 30 && worst.len() >= 12);
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let folders = files(&corpora());
    let found: Vec<_> = folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, names);
    let fuzzers = files(&corpora().join("../targets"));
    let found: Vec<_> = fuzzers.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, names);
    let size = |file: &PathBuf| file.metadata().unwrap().len();
    let bytes: u64 = folders.iter().flat_map(|folder| files(folder)).map(|file| size(&file)).sum();
    assert!(bytes <= 200 << 10, "{bytes} bytes");
}

#[test]
fn every_dictionary_is_of_a_target_and_in_form() {
    let dictionaries = files(&corpora().join("../dictionaries"));
    assert!(!dictionaries.is_empty());
    for file in dictionaries {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(TARGETS.iter().any(|(known, _)| *known == name), "{name}");
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let word = line.strip_prefix('"').and_then(|line| line.strip_suffix('"'));
            assert!(line.starts_with('#') || word.is_some_and(|word| !word.is_empty()), "{name}: {line}");
        }
    }
}
