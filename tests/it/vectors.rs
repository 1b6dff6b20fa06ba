//! `hookgate vectors`: the recorded requests of every provider get the verdict that they must get.

use std::fs;
use std::path::Path;

use crate::gateway::hookgate;

/// The closing line of a run, its numbers: passed and failed.
fn run(paths: &[&str]) -> (u32, u32) {
    let arguments: Vec<&str> = ["vectors"].into_iter().chain(paths.iter().copied()).collect();
    let output = hookgate(&arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    let last = said.lines().last().unwrap_or_default().to_owned();
    let number = |word: &str| {
        let item = last.split(", ").find(|item| item.ends_with(word));
        item.and_then(|item| item.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {word}: {said}"))
    };
    let (passed, failed) = (number("passed"), number("failed"));
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{said}");
    (passed, failed)
}

#[test]
fn every_recorded_request_gets_its_verdict() {
    let (passed, failed) = run(&["tests/vectors"]);
    assert_eq!(failed, 0);
    assert!(passed >= 100, "only {passed} vectors");
}

#[test]
fn vectors_that_lie_beside_the_checkout_hold_too() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    if !shared.is_dir() {
        eprintln!("skipped: there is no {}", shared.display());
        return;
    }
    let files: Vec<String> = ["stripe", "github", "shopify"]
        .iter()
        .map(|name| shared.join(format!("{name}.json")).display().to_string())
        .collect();
    let (passed, failed) = run(&files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(failed, 0);
    assert!(passed > 0);
}

#[test]
fn a_vector_that_does_not_hold_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/stripe.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut broken = vectors.iter().find(|vector| vector["expect"] == "accept").unwrap().clone();
    broken["secrets"][0]["value"] = "whsec_some_other_secret_of_length".into();
    let path = folder.path().join("stripe.json");
    fs::write(&path, serde_json::to_string(&[broken]).unwrap()).unwrap();
    assert_eq!(run(&[path.to_str().unwrap()]), (0, 1));
}
