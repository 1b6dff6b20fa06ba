//! Provider files that nobody built in: what the form of provider files can say, proved by recorded requests of real
//! senders. Each file is its own small document in `tests/forms/`, found by its name; of a sender's recorded requests
//! those of the file's schemes are run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::gateway::hookgate;

fn beside_the_checkout(provider: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/vectors/{provider}.json"))
}

/// The names of a file's schemes.
fn schemes(file: &str) -> Vec<String> {
    let document: toml::Table = toml::from_str(file).unwrap();
    let schemes = document["schemes"].as_array().unwrap();
    schemes.iter().map(|scheme| scheme["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn recorded_requests_hold_by_files_that_say_everything_as_data() {
    let forms = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms");
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut wanted) = (Vec::new(), 0);
    for entry in fs::read_dir(&forms).unwrap() {
        let path = entry.unwrap().path();
        let provider = path.file_stem().unwrap().to_str().unwrap();
        let Ok(text) = fs::read_to_string(beside_the_checkout(provider)) else {
            eprintln!("skipped: there are no recorded requests of {provider}");
            continue;
        };
        let schemes = schemes(&fs::read_to_string(&path).unwrap());
        let recorded: Vec<Value> = serde_json::from_str(&text).unwrap();
        let ours = recorded.into_iter().filter(|vector| {
            let scheme = vector["scheme"].as_str().unwrap();
            // A public URL whose path is not the request's is the affair of what runs the vectors.
            let other_url = vector["config"]["public_url"].is_string();
            schemes.iter().any(|known| known == scheme) && vector["expect"] != "handshake" && !other_url
        });
        let ours: Vec<Value> = ours.collect();
        assert!(ours.len() >= 2, "{provider}: {} recorded requests", ours.len());
        wanted += ours.len();
        let file = folder.path().join(format!("{provider}.json"));
        fs::write(&file, serde_json::to_vec(&ours).unwrap()).unwrap();
        files.push(file.to_str().unwrap().to_owned());
    }
    if files.is_empty() {
        return;
    }
    let arguments = ["vectors", "--providers", forms.to_str().unwrap()];
    let output = hookgate(&[&arguments[..], &files.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(" 0 failed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(wanted >= 300, "only {wanted} recorded requests");
}
