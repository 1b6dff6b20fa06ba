//! Versions of the journal's format: a folder that an older binary has written is read as it was, and a newer format is
//! refused, by name, with nothing changed.
//!
//! `upgrade/format-1.tar.gz` was written by the binary of commit 7793c07, with what it said of it. One more for each
//! format to come: `HOOKGATE_IT_BINARY=OLD HOOKGATE_IT_FIXTURE=FILE cargo test --test it -- --ignored upgrade::a_folder_is_made`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;
use crate::handed::Handed;

const SOON: Duration = Duration::from_secs(20);
const MARK: &str = "hookgate-possible-duplicate";
/// The format that this binary writes, which stands in bytes 8 to 12 of a segment.
const FORMAT: u32 = 1;
/// How the fixture's provider sends: some events at once.
const BULK: &str = r#"
name = "bulk"
title = "Bulk"
event = { id = "header:X-Batch", type = "json:/kind" }
batch = { each = "json:/items", id = "item:/id", type = "item:/type" }
[[schemes]]
name = "json"
algorithm = "hmac-sha256"
signed = ["{header:X-Batch}.{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
"#;
/// What the older binary said of each record.
const EXPECTED: &str = "expected.jsonl";

/// Small segments, so that records were moved and segments removed; with `kept`, nothing is ever too old.
fn prepared(journal: &str) -> Gateway {
    let small = "body_bytes_max = \"16KiB\"";
    let gateway = Setup::new()
        .set("journal", &format!("segment_bytes = \"544KiB\"\n{journal}"))
        .set("ingress", "body_bytes_max = \"16KiB\"\nworkers = 1")
        .set("sink", "kind = \"inbox\"\nmax_attempts = 1")
        .set("providers", "dir = \"providers.d\"")
        .source("shop", "stripe", &format!("schema = false\n{small}"))
        .source("git", "github", &format!("on_twin = \"hold\"\nschema = false\n{small}"))
        .source("bulk", "bulk", &format!("split = true\n{small}"))
        .prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    fs::write(gateway.path("providers.d/bulk.toml"), BULK).unwrap();
    gateway
}

fn long(id: &str) -> Vec<u8> {
    let body = String::from_utf8(stripe_event(id)).unwrap();
    let (start, _) = body.rsplit_once('}').unwrap();
    format!("{start},\"filler\":\"{}\"}}", "x".repeat(14_000)).into_bytes()
}

fn split() -> Signed {
    let body = br#"{"items":[{"id":"i1","type":"a"},{"id":"i2","type":"b"}]}"#;
    let signature = hex::encode(mac(&secret("bulk"), &[b"b-1.", body]));
    Signed::new("bulk", &[("x-batch", "b-1"), ("x-signature", &signature)], body)
}

fn export(dir: &Path) -> Output {
    hookgate(&["journal", "export", dir.to_str().unwrap()])
}

fn tar(words: &[&str]) {
    let output = Command::new("tar").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "writes the fixture of a format, once"]
fn a_folder_is_made() {
    let Some(fixture) = std::env::var_os("HOOKGATE_IT_FIXTURE") else { return };
    let mut gateway = prepared("bytes_max = \"2176KiB\"");
    gateway.start();
    let send =
        |id: &str, body: Vec<u8>| assert_eq!(gateway.deliver(&stripe("shop", &body)).status, 200, "{id}");
    for delivery in ["d-1", "d-2", "d-3"] {
        assert_eq!(gateway.deliver(&github("git", delivery, "push", b"{\"ref\":\"main\"}")).status, 200);
    }
    assert_eq!(gateway.deliver(&split()).status, 200);
    // These fill segments that leave again; what lives before them is moved forward.
    for index in 0..240 {
        let id = format!("evt_{index}");
        send(&id, long(&id));
        let one = gateway.claim_within("shop", SOON);
        gateway.ack("shop", &one);
    }
    for id in ["evt_poison", "evt_leased"] {
        send(id, stripe_event(id));
        let one = gateway.claim_within("shop", SOON);
        if id == "evt_poison" {
            gateway.nack("shop", &one, "0s");
        }
    }
    for id in ["evt_waits_1", "evt_dropped", "evt_waits_2"] {
        send(id, stripe_event(id));
    }
    for order in [
        &["events", "drop", "--source", "git", "--sequence", "2", "--yes"][..],
        &["events", "drop", "--source", "shop", "--id", "evt_dropped", "--yes"],
        &["events", "replay", "--source", "shop", "--id", "evt_239"],
    ] {
        let output = gateway.run(order);
        assert!(output.status.success(), "{order:?} {}", String::from_utf8_lossy(&output.stderr));
    }
    std::thread::sleep(Duration::from_secs(1));
    gateway.kill();
    let expected = export(&gateway.journal());
    assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stderr));
    fs::write(gateway.path(EXPECTED), expected.stdout).unwrap();
    let dir = gateway.path("");
    let words = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"];
    tar(&[&words[..], &[fixture.to_str().unwrap(), "-C", dir.to_str().unwrap(), "journal", EXPECTED]]
        .concat());
}

/// A gateway on the fixture's folder, not started.
fn on_fixture(name: &str) -> Gateway {
    let gateway = prepared("bytes_max = \"64MiB\"\nretention = \"3650d\"");
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/upgrade").join(name);
    let dir = gateway.path("");
    tar(&["-xzf", archive.to_str().unwrap(), "-C", dir.to_str().unwrap()]);
    gateway
}

fn records(jsonl: &str) -> BTreeMap<u64, Value> {
    let read = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    jsonl.lines().map(read).map(|record| (record["sequence"].as_u64().unwrap(), record)).collect()
}

fn ids(handed: &[Handed]) -> BTreeSet<String> {
    handed.iter().map(|event| event.header("hookgate-event-id")).collect()
}

#[test]
fn a_folder_of_every_format_is_read_as_its_writer_read_it() {
    (1..=FORMAT).for_each(is_read_as_its_writer_read_it);
}

fn is_read_as_its_writer_read_it(format: u32) {
    let mut gateway = on_fixture(&format!("format-{format}.tar.gz"));
    gateway.change(|setup| setup.set("dedup", "window = \"3650d\""));
    let expected = records(&fs::read_to_string(gateway.path(EXPECTED)).unwrap());
    let output = export(&gateway.journal());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let found = records(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (sequence, record) in &expected {
        for (key, value) in record.as_object().unwrap() {
            assert_eq!(&found[sequence][key], value, "{key} of {sequence}");
        }
    }
    let states: BTreeSet<&str> = expected.values().filter_map(|record| record["state"].as_str()).collect();
    assert!(
        ["confirmed", "dropped", "held", "pending", "poison"].iter().all(|state| states.contains(state)),
        "{states:?}"
    );

    gateway.start();
    assert!(!gateway.stderr().contains("damaged"), "{}", gateway.stderr());
    let pending = |source: &str| -> BTreeSet<String> {
        let of = |record: &&Value| record["source"] == source && record["state"] == "pending";
        expected.values().filter(of).map(|record| record["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let handed = gateway.drain("shop", pending("shop").len());
    assert_eq!(ids(&handed), pending("shop"));
    assert!(ids(&handed).contains("evt_leased") && ids(&handed).contains("evt_239"), "leased, and replayed");
    assert!(handed.iter().all(|event| event.header(MARK) == "true"), "one process may have handed them out");
    let parts = gateway.drain("bulk", 2);
    assert_eq!(parts.iter().map(|part| part.header("hookgate-part")).collect::<Vec<_>>(), ["1/2", "2/2"]);
    gateway.drain("git", 1);
    for id in ["evt_230", "evt_239", "evt_poison"] {
        let body = if id == "evt_poison" { stripe_event(id) } else { long(id) };
        assert_eq!(gateway.deliver(&stripe("shop", &body)).outcome(), "duplicate", "{id}");
    }
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_new"))).outcome(), "accepted");
    let output = gateway.run(&["events", "release", "--source", "git"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(gateway.drain("git", 1).len(), 1);
    gateway.restart();
    assert_eq!(ids(&gateway.drain("shop", 1)), BTreeSet::from(["evt_new".to_owned()]));
}

/// Every file of a folder, and of folders in it.
fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut bytes = BTreeMap::new();
    for path in files {
        if path.is_dir() {
            bytes.extend(bytes_of(&path));
        } else {
            bytes.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    bytes
}

#[test]
fn a_newer_format_is_refused_by_name_and_nothing_is_changed() {
    let mut gateway = on_fixture(&format!("format-{FORMAT}.tar.gz"));
    let newest = bytes_of(&gateway.journal())
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "segment"));
    let written = newest.filter(|path| fs::read(path).unwrap()[..8] == *b"hookgate").max().unwrap();
    let mut bytes = fs::read(&written).unwrap();
    assert_eq!(bytes[8..12], FORMAT.to_le_bytes());
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let check = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&check);
    fs::write(&written, &bytes).unwrap();
    let before = bytes_of(&gateway.journal());
    gateway.launch();
    let (code, _) = gateway.ended();
    let refusal = format!("has format version {}, this program reads version {FORMAT}", FORMAT + 1);
    assert!(
        code.is_some_and(|code| code != 0) && gateway.stderr().contains(&refusal),
        "{code:?} {}",
        gateway.stderr()
    );
    let (journal, copy) = (gateway.journal(), gateway.path("copy"));
    let (journal, copy) = (journal.to_str().unwrap(), copy.to_str().unwrap());
    for words in
        [&["inspect", journal][..], &["verify", journal], &["export", journal], &["backup", journal, copy]]
    {
        let verb = words[0];
        let output = hookgate(&[&["journal"], words].concat());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(65) && err.contains(&refusal), "{verb}: {err}");
    }
    assert!(!std::path::Path::new(copy).exists() && !std::path::Path::new(&format!("{copy}.part")).exists());
    assert!(before == bytes_of(&gateway.journal()), "the folder was changed");
}

#[test]
fn the_version_is_told_by_the_command_the_listener_and_the_metrics() {
    let gateway = prepared("bytes_max = \"64MiB\"");
    let mut gateway = gateway;
    gateway.start();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8_lossy(&hookgate(&["--version"]).stdout).trim(),
        format!("hookgate {version}")
    );
    assert_eq!(gateway.get("/v1").json()["version"], version);
    assert_eq!(gateway.metric("hookgate_build_info", &[("version", version)]), 1.0);
}
