//! What a vector file may leave out or write otherwise, and what one bad vector does to the others.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::vectors::run;
use crate::provider::Catalog;

/// A request of a token in a header.
fn vector(change: impl FnOnce(&mut Value)) -> Value {
    let mut vector = json!({
        "id": "generic/token/one", "provider": "generic", "scheme": "token", "expect": "accept",
        "now": 1_772_366_400, "secrets": [{ "kind": "token", "value": "made-token", "encoding": "utf8" }],
        "config": { "header": "X-Token" },
        "request": {
            "method": "POST", "url": "https://hooks.example.com/in/generic",
            "headers": [["X-Token", "made-token"]], "body": "{}",
        },
    });
    change(&mut vector);
    vector
}

/// How many passed, failed and differ, and what was found.
fn ran(vectors: &[Value]) -> ((usize, usize, usize), Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.json");
    std::fs::write(&path, serde_json::to_vec(vectors).unwrap()).unwrap();
    let mut found = Vec::new();
    let catalog = Catalog::built_in().unwrap();
    let tally = run(&catalog, &[path], &mut |judged| found.push(judged.to_string())).unwrap();
    ((tally.passed, tally.failed, tally.differ), found)
}

#[test]
fn a_bad_vector_fails_alone_and_is_named() {
    let bad = vector(|vector| {
        vector["id"] = json!("generic/token/bad");
        vector["sekrets"] = json!([]);
    });
    let strange = vector(|vector| vector["provider"] = json!("nobody"));
    let (tally, found) = ran(&[vector(|_| {}), bad, json!(7), strange, vector(|_| {})]);
    assert_eq!(tally, (2, 3, 0), "{found:?}");
    assert!(found[0].contains("generic/token/bad") && found[0].contains("sekrets"), "{found:?}");
    assert!(found[1].contains("own.json[2]") && found[2].contains("--providers DIR"), "{found:?}");
}

#[test]
fn what_is_null_is_as_if_it_were_not_there() {
    let all = vector(|vector| {
        for key in
            ["event_id", "event_type", "response", "policy_sensitive", "divergent", "reject_reason", "note"]
        {
            vector[key] = Value::Null;
        }
        for key in ["kid", "slot", "cert_url", "encoding"] {
            vector["secrets"][0][key] = Value::Null;
        }
        vector["config"]["id"] = Value::Null;
        vector["request"]["body_base64"] = Value::Null;
        vector["now"] = json!(1_772_366_400.0);
    });
    let nothing = vector(|vector| {
        vector["expect"] = json!("reject");
        vector["secrets"] = Value::Null;
        vector["request"]["headers"] = Value::Null;
        vector["request"]["body"] = Value::Null;
    });
    assert_eq!(ran(&[all, nothing]), ((2, 0, 0), Vec::new()));
}

#[test]
fn a_number_is_compared_as_the_text_of_an_id() {
    let id = |wanted: Value| {
        vector(|vector| {
            vector["config"]["id"] = json!("json:/id");
            vector["request"]["body"] = json!("{\"id\":77}");
            vector["event_id"] = wanted;
        })
    };
    let (tally, found) = ran(&[id(json!(77)), id(json!("77")), id(json!(78))]);
    assert_eq!(tally, (2, 1, 0), "{found:?}");
}

#[test]
fn a_source_is_asked_at_the_path_of_its_public_url() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let signature = |url: &str| {
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"made-token").unwrap();
        mac.update(format!("{url}BodyHi").as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    };
    let asked = |signed: &str, expect: &str| {
        json!({
            "id": "twilio/x-twilio-signature-form/own", "provider": "twilio", "scheme": "x-twilio-signature-form", "expect": expect,
            "now": 1_772_366_400, "secrets": [{ "kind": "shared", "value": "made-token", "encoding": "utf8" }],
            "config": { "public_url": "https://public.example.com/hooks/sms" },
            "request": {
                "method": "POST", "url": "http://10.0.0.7:8080/internal",
                "headers": [
                    ["X-Twilio-Signature", signature(signed)],
                    ["Content-Type", "application/x-www-form-urlencoded"],
                ],
                "body": "Body=Hi",
            },
        })
    };
    let right = asked("https://public.example.com/hooks/sms", "accept");
    let wrong = asked("http://10.0.0.7:8080/internal", "reject");
    assert_eq!(ran(&[right, wrong]), ((2, 0, 0), Vec::new()));
}

#[test]
fn a_vector_of_handshakes_may_be_one_to_refuse() {
    let challenge = |token: &str, expect: &str| {
        json!({
            "id": "whatsapp/handshake/own", "provider": "whatsapp", "scheme": "handshake", "expect": expect,
            "now": 1_772_366_400, "config": { "verify_token": "made-token" },
            "request": {
                "method": "GET",
                "url": format!("https://hooks.example.com/in/whatsapp?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=9"),
            },
            "response": { "status": "200", "headers": null, "body": "9" },
        })
    };
    let (tally, found) = ran(&[challenge("made-token", "handshake"), challenge("other", "reject")]);
    assert_eq!(tally, (2, 0, 0), "{found:?}");
}

#[test]
fn the_page_of_differences_names_every_vector_that_differs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let page = std::fs::read_to_string(dir.join("differ.md")).unwrap();
    let mut differing = Vec::new();
    let catalog = Catalog::built_in().unwrap();
    let tally = run(&catalog, &[dir], &mut |judged| differing.push(judged.to_json())).unwrap();
    assert_eq!((tally.failed, differing.len()), (0, tally.differ), "{differing:?}");
    for one in differing {
        let id = one["id"].as_str().unwrap();
        assert!(page.contains(&format!("`{id}`")), "{id} is not on the page");
    }
}
