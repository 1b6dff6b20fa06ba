//! `hookgate vectors`: the recorded requests of every provider get the verdict that they must get.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::gateway::hookgate;
use crate::load::of_others;

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
#[ignore = "reads vectors of others; HOOKGATE_TEST_DATA says where they lie"]
fn vectors_that_lie_beside_the_checkout_hold_too() {
    let (passed, failed) = run(&[&of_others("vectors").display().to_string()]);
    assert_eq!(failed, 0);
    assert!(passed >= 1500, "only {passed} vectors");
}

/// The provider files in the page that describes their form, by name.
fn examples() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers/README.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    let named = blocks.filter_map(|block| {
        let name = block.strip_prefix("name = \"")?.split('"').next()?;
        Some((name.to_owned(), block.to_owned()))
    });
    named.collect()
}

#[test]
fn every_example_of_the_forms_page_verifies_what_it_signs_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let providers = folder.path().join("providers");
    fs::create_dir(&providers).unwrap();
    let examples = examples();
    assert!(examples.len() >= 4, "{}", examples.len());
    for (name, text) in &examples {
        fs::write(providers.join(format!("{name}.toml")), text).unwrap();
    }
    let dir = providers.display().to_string();
    for (name, text) in &examples {
        let mut arguments = vec!["vectors", "--providers", &dir, "--make", name];
        if text.contains("[settings.audience]") {
            arguments.extend(["--setting", "audience=https://hooks.example.com/in/it"]);
        }
        let made = hookgate(&arguments);
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        let vectors: Vec<Value> = serde_json::from_slice(&made.stdout).unwrap();
        let accepts = vectors.iter().filter(|vector| vector["expect"] == "accept").count();
        assert!(accepts >= 1 && vectors.len() >= accepts + 5, "{name}: {} vectors", vectors.len());
        let file = folder.path().join(format!("{name}.json"));
        fs::write(&file, &made.stdout).unwrap();
        assert_eq!(run(&["--providers", &dir, &file.display().to_string()]).1, 0, "{name}");
    }
}

/// A recorded request that is accepted.
fn recorded(provider: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{provider}.json"));
    let vectors: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    vectors.into_iter().find(|vector| vector["expect"] == "accept").unwrap()
}

/// A file with one vector, in a folder of its own.
fn file_of(vector: &Value) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.json");
    fs::write(&path, serde_json::to_string(&[vector]).unwrap()).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn a_vector_that_does_not_hold_fails_the_run() {
    let mut broken = recorded("stripe");
    broken["secrets"][0]["value"] = "whsec_some_other_secret_of_length".into();
    let (_folder, path) = file_of(&broken);
    assert_eq!(run(&[&path]), (0, 1));
}

#[test]
fn a_key_that_nobody_knows_is_reported_and_not_passed_over() {
    for (pointer, key) in [("", "expects"), ("/secrets/0", "format"), ("/request", "bodies")] {
        let mut odd = recorded("slack");
        odd.pointer_mut(pointer).unwrap()[key] = "".into();
        let (_folder, path) = file_of(&odd);
        let output = hookgate(&["vectors", &path]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            !output.status.success()
                && told.starts_with("FAILED")
                && told.contains(&format!("unknown field `{key}`")),
            "{told}"
        );
    }
}

#[test]
fn what_a_vector_says_of_its_source_must_fit_the_provider() {
    let cases: [(&str, &str, &str, Value, &str); 5] = [
        ("slack", "/config", "audience", "x".into(), "settings.audience"),
        ("twilio", "/config", "public_url", "https://a.example/elsewhere".into(), "signature_mismatch"),
        ("slack", "/secrets/0", "kind", "public_key".into(), "no public keys"),
        ("discord", "/secrets/0", "kind", "shared".into(), "public keys"),
        ("slack", "/secrets/0", "encoding", "base85".into(), "allowed: utf8, hex"),
    ];
    for (provider, pointer, key, value, part) in cases {
        let mut odd = recorded(provider);
        odd.pointer_mut(pointer).unwrap()[key] = value;
        let (_folder, path) = file_of(&odd);
        let told = String::from_utf8(hookgate(&["vectors", &path]).stdout).unwrap();
        assert!(told.starts_with("FAILED") && told.contains(part), "{told}");
    }
}

#[test]
fn vectors_are_made_for_every_provider_that_can_be_signed_and_for_a_file_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let list = String::from_utf8(hookgate(&["providers", "list", "--output", "json"]).stdout).unwrap();
    let names = list
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned());
    let path = dir.path().join("made.json");
    let run = |words: &[&str]| {
        let output = hookgate(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // What is only verified, or proves nothing, gives few or none.
    let (mut all, mut few) = (0, Vec::new());
    for name in names {
        all += 1;
        let output = hookgate(&["vectors", "--make", &name]);
        let made = String::from_utf8(output.stdout).unwrap();
        let whole =
            made.matches("\"expect\":\"reject\"").count() >= 6 && made.contains("\"expect\":\"accept\"");
        if !output.status.success() || !whole {
            few.push(name);
            continue;
        }
        fs::write(&path, made).unwrap();
        assert!(run(&["vectors", path.to_str().unwrap()]).contains(" passed, 0 failed"), "{name}");
    }
    assert!(all >= 120 && few.len() <= all / 20, "of {all} these give few: {few:?}");
    let own = dir.path().join("own");
    let own = own.to_str().unwrap();
    run(&["providers", "new", "acme", "--dir", own]);
    assert!(
        run(&["vectors", "--providers", own, &format!("{own}/acme.vectors.json")])
            .ends_with(" passed, 0 failed\n")
    );
    assert_eq!(hookgate(&["providers", "new", "acme", "--dir", own]).status.code(), Some(2));
    assert_eq!(hookgate(&["vectors", "--make", "stripe/nothing"]).status.code(), Some(2));
    let to = path.to_str().unwrap();
    run(&["vectors", "--make", "stripe", "--to", to]);
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, run(&["vectors", "--make", "stripe"]));
    assert_eq!(hookgate(&["vectors", "--make", "strpe", "--to", to]).status.code(), Some(2));
    assert_eq!(fs::read_to_string(&path).unwrap(), written, "a mistake leaves the file");
    fs::write(&path, written.replace("\"provider\":\"stripe\"", "\"provider\":\"strpe\"")).unwrap();
    let said = String::from_utf8(hookgate(&["vectors", to]).stdout).unwrap();
    assert_eq!(said.matches("there is no provider file for").count(), 1, "{said}");
    assert!(said.contains("\n0 passed, ") && !said.contains("0 passed, 1 failed"), "each counts: {said}");
}
