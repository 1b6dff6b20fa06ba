//! Vectors of handshakes that name no scheme, and of answers to events: judged as a running source would answer.

use std::fs;

use serde_json::{Value, json};

use crate::answers::SCHEME;
use crate::gateway::*;

const FILE: &str = r#"
[[handshakes]]
name = "challenge"
verify = false
match = { methods = ["GET"], matching = { "query:c" = "[0-9]+" } }
computed.mac = { algorithm = "hmac-sha256", of = "{query:c}" }
answer = { text = "{computed:mac}" }
[[handshakes]]
name = "hello"
verify = false
match = { only_keys = ["token"] }
capture = "json:/token"
[[handshakes]]
name = "test"
match = { equal = { "header:X-Test" = "true" } }
visit = { from = "json:/url", pattern = "https://api\\.example\\.com/.*" }
answer = { status = 202 }
[[handshakes]]
name = "well_known"
verify = false
match = { path = "/.well-known/acme" }
answer = { text = "*" }
"#;

/// What `vectors` says of one, with that provider file.
fn judged(answer: &str, vector: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("providers")).unwrap();
    let file = format!("name = \"acme\"\ntitle = \"Acme\"\n{answer}\n{SCHEME}{FILE}");
    fs::write(folder.path().join("providers/acme.toml"), file).unwrap();
    let path = folder.path().join("acme.json");
    fs::write(&path, json!([vector]).to_string()).unwrap();
    let providers = folder.path().join("providers");
    let output = hookgate(&["vectors", "--providers", providers.to_str().unwrap(), path.to_str().unwrap()]);
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
}

fn vector(name: &str, (expect, config): (&str, Value), request: Value, response: Value) -> Value {
    let scheme = if expect == "handshake" { "handshake" } else { "v1" };
    json!({
        "id": format!("acme/{scheme}/{name}"), "provider": "acme", "scheme": scheme, "expect": expect,
        "now": 1_767_225_600, "secrets": [], "config": config, "request": request, "response": response,
    })
}

fn response(status: Value, body: Value) -> Value {
    json!({ "status": status, "headers": [], "body": body, "match": "exact" })
}

fn post(headers: Value, body: &str) -> Value {
    json!({ "method": "POST", "url": "https://hooks.example.com/in/acme", "headers": headers, "body": body })
}

fn get(target: &str) -> Value {
    json!({ "method": "GET", "url": format!("https://hooks.example.com{target}"), "headers": [], "body": null })
}

#[test]
fn a_handshake_without_a_scheme_is_judged_by_the_handshakes_alone() {
    let keyed = json!({ "private_key": "config-secret-0123" });
    let signed = hex::encode(mac("config-secret-0123", &[b"42"]));
    let body = "{\"events\":[]}";
    let proof = hex::encode(mac("config-secret-0123", &[body.as_bytes()]));
    let good = "1 passed, 0 failed";
    let shaped = |status: Value, text: Value| response(status, text);
    for (name, config, request, response, said) in [
        ("mac", &keyed, get("/in/acme?c=42"), shaped(json!(200), json!(signed)), good),
        ("mac", &keyed, get("/in/acme?c=42"), shaped(json!(200), json!("x")), "expected the body \"x\""),
        ("refused", &keyed, get("/in/acme?c=abc"), shaped(json!("4xx"), Value::Null), good),
        ("keyless", &json!({}), get("/in/acme?c=42"), shaped(json!(200), json!(signed)), "no_active_secret"),
        (
            "armed",
            &json!({}),
            post(json!([]), "{\"token\":\"6590f590-3dba-495e\"}"),
            shaped(json!("2xx"), Value::Null),
            good,
        ),
        (
            "unproved",
            &json!({}),
            post(json!([["X-Test", "true"]]), "(signed)"),
            shaped(json!("2xx"), Value::Null),
            good,
        ),
        (
            "unproved",
            &json!({}),
            post(json!([["X-Test", "true"]]), "(signed)"),
            shaped(json!(200), Value::Null),
            "found 202",
        ),
        (
            "another",
            &json!({}),
            post(json!([["X-Test", "no"]]), "(signed)"),
            shaped(json!("2xx"), Value::Null),
            "0 passed, 0 failed, 1 differ",
        ),
        (
            "forged",
            &keyed,
            post(json!([["X-Test", "true"]]), "{}"),
            shaped(json!("2xx"), Value::Null),
            "signature_missing",
        ),
        ("path", &json!({}), get("/.well-known/acme"), shaped(json!(200), json!("*")), good),
        (
            "outbound (outbound)",
            &json!({}),
            get("/elsewhere"),
            shaped(json!(200), Value::Null),
            "0 passed, 0 failed, 1 differ",
        ),
        ("event", &keyed, post(json!([["X-Signature", proof]]), body), shaped(json!(200), json!("")), good),
    ] {
        let told = judged("answer = {}", &vector(name, ("handshake", config.clone()), request, response));
        assert!(told.contains(said), "{name}, {said}:\n{told}");
    }
}

#[test]
fn an_accepted_event_is_judged_by_its_answer_too() {
    let signed = post(json!([["X-Signature", hex::encode(mac("shared-secret-0123", &[b"{}"]))]]), "{}");
    for (answer, response, said) in [
        ("answer = { text = \"Hello\" }", response(json!(200), json!("Hello")), "1 passed, 0 failed"),
        (
            "answer = { text = \"Hello\" }",
            response(json!(200), json!("hello")),
            "expected the body \"hello\"",
        ),
        ("answer = { status = 204 }", response(json!(200), Value::Null), "expected status 200, found 204"),
        ("", response(json!(200), json!("Hello")), "expected the body \"Hello\""),
        ("", response(json!("2xx"), Value::Null), "1 passed, 0 failed"),
    ] {
        let mut vector = vector("event", ("accept", json!({})), signed.clone(), response);
        vector["secrets"] = json!([{ "kind": "shared", "value": "shared-secret-0123", "encoding": "utf8" }]);
        let told = judged(answer, &vector);
        assert!(told.contains(said), "{answer}, {said}:\n{told}");
    }
}
