//! The journal's folder as a bystander reads it: beside a gateway under load, damaged, and exported byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;
use crate::load::{Load, digest};

fn journal(gateway: &Gateway, arguments: &[&str]) -> Output {
    let dir = gateway.journal();
    let (verb, options) = arguments.split_first().unwrap();
    hookgate(&[&["journal", verb, dir.to_str().unwrap()], options].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Message ids and the digests of the bodies in an export.
fn digests(export: &str) -> BTreeMap<String, String> {
    let line = |line: &str| -> (String, String) {
        let event: Value = serde_json::from_str(line).unwrap();
        let body = base64_decoded(event["body_base64"].as_str().unwrap());
        (event["message_id"].as_str().unwrap().to_owned(), digest(&body))
    };
    export.lines().map(line).collect()
}

#[test]
fn a_live_folder_under_load_is_read_whole_and_undisturbed() {
    let setup = Setup::new().set("journal", "segment_bytes = \"256KiB\"\nbytes_max = \"64MiB\"");
    let gateway = setup.set("ingress", "body_bytes_max = \"64KiB\"").source(
        "shop",
        "stripe",
        "body_bytes_max = \"64KiB\"",
    );
    let gateway = gateway.start();
    let load = Load::start(&[gateway.ingress()], "shop", "archive", 800);
    for _ in 0..6 {
        sleep(Duration::from_millis(250));
        for verb in ["verify", "inspect", "export"] {
            let output = journal(&gateway, &[verb]);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{verb}: {} {}",
                text(&output.stdout),
                text(&output.stderr)
            );
        }
    }
    let book = load.finish();
    assert_eq!((book.refused.as_slice(), book.unanswered), ([].as_slice(), 0));
    let output = journal(&gateway, &["export", "--source", "shop", "--since", "1h"]);
    assert_eq!(digests(&text(&output.stdout)), book.kept, "every event, and the SHA-256 of every body");
    let report: Value =
        serde_json::from_slice(&journal(&gateway, &["inspect", "--output", "json"]).stdout).unwrap();
    let count = book.kept.len() as u64;
    assert_eq!(report["sources"]["shop"]["pending"]["records"].as_u64(), Some(count), "{report}");
    assert_eq!(report["next_sequence"].as_u64(), Some(count + 1));
    assert!(report["segments"].as_array().unwrap().len() > 2, "it went over several segments");
    let handed = gateway.drain("shop", book.kept.len());
    let numbers: Vec<u64> =
        handed.iter().map(|event| event.header("hookgate-sequence").parse().unwrap()).collect();
    let output = journal(&gateway, &["export", "--state", "confirmed"]);
    let exported: Vec<u64> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(exported, numbers, "in order of sequence");
    assert_eq!(journal(&gateway, &["export", "--state", "pending"]).stdout, b"");
    let table = text(&journal(&gateway, &["inspect"]).stdout);
    assert!(table.contains("confirmed") && table.contains("shop"), "{table}");
}

#[test]
fn a_damaged_byte_is_told_set_aside_and_what_is_left_of_it_exported() {
    let mut gateway = Setup::new().source("plain", "generic", "").start();
    let bodies: Vec<String> = (0..5).map(|index| format!("the body of event {index}, quite long")).collect();
    for body in &bodies {
        assert_eq!(gateway.deliver(&generic("plain", body.as_bytes())).status, 200);
    }
    gateway.kill();
    let segment = gateway.journal().join("0000000000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(bodies[2].len()).position(|window| window == bodies[2].as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let output = journal(&gateway, &["verify"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(65), "{told}");
    for word in ["0000000000000001.segment at ", "not whole", "means: ", "do: ", "1 damages"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes, "nothing is changed");
    let output = journal(&gateway, &["export"]);
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(65), 4));

    gateway.start();
    assert!(gateway.log().iter().any(|line| line["level"] == "ERROR" && line["damage"].is_string()));
    let handed = gateway.drain("plain", 4);
    assert_eq!(handed.iter().map(|event| text(&event.body)).filter(|body| bodies.contains(body)).count(), 4);
    let output = journal(&gateway, &["verify", "--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(65));
    let damage = &report["damages"][0];
    assert_eq!(
        (damage["readable_events"][0].as_u64(), damage["bytes"].is_null()),
        (Some(3), true),
        "{report}"
    );
    let copy = PathBuf::from(damage["copy"].as_str().unwrap());
    let output = hookgate(&["journal", "export", copy.to_str().unwrap()]);
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((event["sequence"].as_u64(), event["body_whole"].as_bool()), (Some(3), Some(false)));
    let mut body = base64_decoded(event["body_base64"].as_str().unwrap());
    body[0] ^= 1;
    assert_eq!(text(&body), bodies[2], "its bytes are there, but for the damaged one");

    fs::rename(&copy, gateway.path("looked-at")).unwrap();
    let output = journal(&gateway, &["verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn a_torn_tail_is_no_damage_and_a_folder_that_is_no_journal_is_told() {
    let mut gateway = Setup::new().source("plain", "generic", "").start();
    for index in 0..3 {
        gateway.deliver(&generic("plain", format!("event {index}").as_bytes()));
    }
    gateway.kill();
    let segment = gateway.journal().join("0000000000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end - 20..end].fill(0);
    fs::write(&segment, bytes).unwrap();
    let output = journal(&gateway, &["verify"]);
    let told = text(&output.stdout);
    assert!(output.status.code() == Some(0) && told.contains("never synced"), "{told}");
    let target = gateway.path("events.jsonl");
    let output = journal(&gateway, &["export", "--to", target.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(digests(&fs::read_to_string(&target).unwrap()).len(), 2);
    let again = journal(&gateway, &["export", "--to", target.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "no file is overwritten");
    let empty = gateway.path("empty");
    fs::create_dir(&empty).unwrap();
    let output = hookgate(&["journal", "verify", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("holds no journal"), "{}", text(&output.stderr));
    assert_eq!(hookgate(&["journal", "inspect", "/nonexistent"]).status.code(), Some(2));
}

#[test]
fn a_folder_from_strangers_neither_halts_the_reader_nor_speaks_to_the_terminal() {
    let rules = "settings = { type = \"json:/type\" }";
    let mut gateway = Setup::new().source("plain", "generic", rules).start();
    let body = "{\"type\":\"a\u{9b}31m\u{202e}\u{7f}\"}";
    assert_eq!(gateway.deliver(&generic("plain", body.as_bytes())).status, 200);
    gateway.kill();
    let exported = text(&journal(&gateway, &["export"]).stdout);
    assert!(exported.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{exported:?}");
    let event: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(event["type"], "a\u{9b}31m\u{202e}\u{7f}");

    let pipe = gateway.journal().join("0000000000000007.segment");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for verb in ["verify", "inspect", "export"] {
        let output = journal(&gateway, &[verb]);
        assert_eq!(output.status.code(), Some(65), "{verb}");
        assert!(text(&output.stderr).contains("no regular file"), "{}", text(&output.stderr));
    }
}
