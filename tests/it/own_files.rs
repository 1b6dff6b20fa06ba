//! A provider file of one's own, from `providers new` to an accepted event: every command finds it, with the flag or by
//! the configuration, on a machine that has no secret too.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::gateway::*;

const SECRET: &str = "made-0123456789abcdef0123456789abcdef";

/// Runs the binary in `dir` with these variables alone.
fn run(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(dir).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A signed request of `acme` in `captured.http`, made with the file that `how` names.
fn captured(dir: &Path, how: &[&str]) {
    let body = "{\"id\": \"evt_7\", \"type\": \"order.created\"}";
    fs::write(dir.join("body"), body).unwrap();
    let words = [&["sign", "acme", "--secret-env", "S", "--body", "body"], how].concat();
    let headers = done(&run(dir, &words, &[("S", SECRET)]));
    fs::write(dir.join("captured.http"), format!("POST /in/acme HTTP/1.1\n{headers}\n{body}")).unwrap();
}

fn joined<'w>(words: &[&'w str], how: &[&'w str]) -> Vec<&'w str> {
    [words, how].concat()
}

/// Every command that reads provider files, with the words that make it read those of one's own.
fn every_command_finds_it(dir: &Path, how: &[&str]) {
    captured(dir, how);
    let secret = [("S", SECRET)];
    for words in
        [&["verify", "acme", "--request", "captured.http"][..], &["explain", "acme", "captured.http"]]
    {
        let told = done(&run(dir, &joined(&[words, &["--secret-env", "S"]].concat(), how), &secret));
        assert!(told.contains("accepted: acme/default") && told.contains("evt_7"), "{words:?}: {told}");
    }
    let forged =
        run(dir, &joined(&["explain", "acme", "captured.http", "--secret", "another-secret-0123"], how), &[]);
    assert!(forged.status.code() == Some(65) && said(&forged).contains("cause"), "{}", said(&forged));
    assert!(done(&run(dir, &joined(&["providers", "list"], how), &[])).contains("\nacme "));
    let page = done(&run(dir, &joined(&["providers", "show", "acme"], how), &[]));
    for part in ["prefix \"sha256=\"", "samples    order.created", "encoding   hex", "header:X-Signature\n"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let proven = done(&run(dir, &joined(&["vectors", "providers.d/acme.vectors.json"], how), &[]));
    assert!(proven.ends_with(" passed, 0 failed\n"), "{proven}");
    assert!(
        done(&run(dir, &joined(&["vectors", "--make", "acme"], how), &[]))
            .contains("acme/default/made/accepted")
    );
    let nobody = ["send", "acme", "--secret-env", "S", "--to", "http://127.0.0.1:9"];
    let sent = run(dir, &joined(&nobody, how), &secret);
    assert!(sent.status.code() == Some(69) && said(&sent).contains("Acme order.created"), "{}", said(&sent));
}

#[test]
fn every_command_finds_a_file_of_ones_own_by_the_flag_or_by_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let told = done(&run(dir, &["providers", "new", "acme"], &[]));
    let shown = "  hookgate providers show acme --providers providers.d\n";
    assert!(told.contains(shown) && told.contains("dir = \"providers.d\""), "{told}");
    for words in [&["providers", "show", "acme"][..], &["vectors", "--make", "acme"]] {
        let lost = run(dir, words, &[]);
        let told = said(&lost);
        assert!(lost.status.code() == Some(2) && told.contains("providers.d/acme.toml is there"), "{told}");
    }
    every_command_finds_it(dir, &["--providers", "providers.d"]);
    // What editors explain the file by is neither a provider file nor one of vectors.
    let schema = done(&run(dir, &["schema", "provider"], &[]));
    fs::write(dir.join("providers.d/provider.schema.json"), schema).unwrap();
    let proven = done(&run(dir, &["vectors", "providers.d", "--providers", "providers.d"], &[]));
    assert!(proven.ends_with(" passed, 0 failed\n"), "{proven}");
    let written = done(&run(dir, &["init", "acme", "--providers", "providers.d"], &[]));
    assert!(written.contains("hookgate check"), "{written}");
    // The configuration's own secret is not on this machine; the files are found all the same.
    every_command_finds_it(dir, &[]);
    let checked = run(dir, &["check"], &[("ACME_WEBHOOK_SECRET", SECRET)]);
    assert!(done(&checked).contains("acme/default"), "{}", said(&checked));
    let more = done(&run(dir, &["providers", "new", "other", "--like", "acme"], &[]));
    assert!(more.contains("wrote providers.d/other.toml") && !more.contains("--providers"), "{more}");
}

#[test]
fn a_sample_beside_the_file_is_sent_and_accepted() {
    let gateway = Setup::new().set("providers", "dir = \"providers.d\"").source("acme", "acme", "").prepare();
    done(&gateway.run(&["providers", "new", "acme", "--dir", "providers.d"]));
    let samples = gateway.path("providers.d/samples/acme");
    fs::write(samples.join("order.paid.json"), "{\"id\": \"evt_2\", \"type\": \"order.paid\", \"n\": 1}")
        .unwrap();
    let mut gateway = gateway;
    gateway.start();
    for event in [&[][..], &["order.paid"]] {
        let sent = gateway.run(&[&["send", "acme"], event].concat());
        assert!(done(&sent).starts_with("200"), "{}", said(&sent));
    }
    let mut types: Vec<String> =
        gateway.drain("acme", 2).iter().map(|event| event.header("hookgate-event-type")).collect();
    types.sort();
    assert_eq!(types, ["order.created", "order.paid"]);
    let none = gateway.run(&["send", "acme", "../acme"]);
    assert_eq!(none.status.code(), Some(2));
    let told = said(&none);
    assert!(told.contains("order.created, order.paid") && told.contains("samples/acme/TYPE.json"), "{told}");
}

#[test]
fn a_broken_file_is_not_shown_and_ids_that_stand_twice_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let own = ["--providers", "providers.d"];
    done(&run(dir, &["providers", "new", "acme"], &[]));
    let path = dir.join("providers.d/acme.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("hmac-sha256", "hmac-md4")).unwrap();
    for form in ["text", "json"] {
        let shown = run(dir, &[&["providers", "show", "acme", "--output", form], &own[..]].concat(), &[]);
        assert_eq!((shown.status.code(), shown.stdout.len()), (Some(78), 0), "{}", said(&shown));
        assert!(said(&shown).contains("acme.toml: scheme \"default\": algorithm"), "{}", said(&shown));
    }
    let listed = run(dir, &[&["providers", "list"], &own[..]].concat(), &[]);
    assert!(listed.status.code() == Some(78) && said(&listed).contains("hmac-md4"), "{}", said(&listed));
    fs::write(&path, good).unwrap();
    let made = fs::read(dir.join("providers.d/acme.vectors.json")).unwrap();
    let once: Vec<Value> = serde_json::from_slice(&made).unwrap();
    let twice: Vec<&Value> = once.iter().chain(once.first()).collect();
    fs::create_dir(dir.join("all")).unwrap();
    fs::write(dir.join("all/a.json"), serde_json::to_vec(&twice).unwrap()).unwrap();
    fs::write(dir.join("all/b.json"), serde_json::to_vec(&once[..1]).unwrap()).unwrap();
    let run_all = run(dir, &[&["vectors", "all"], &own[..]].concat(), &[]);
    let told = said(&run_all);
    assert!(run_all.status.success() && told.contains(" passed, 0 failed"), "{told}");
    let last = once.len() + 1;
    for part in
        [format!("number 1 of all/a.json, and number {last} of all/a.json"), "of all/b.json".to_owned()]
    {
        assert!(told.contains(&part), "{part}: {told}");
    }
}
