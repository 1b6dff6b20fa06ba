//! The small commands, as an operator runs them: init, check, sign, verify, providers, healthcheck, completions, man.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::gateway::*;
use crate::services::free_port;

const SECRET: &str = "whsec_3f9a6c1e5b7d2048";
const BODY: &str = "{\"id\": \"evt_1\", \"type\": \"charge.captured\", \"note\": \"50/50 caf\u{e9}\"}";

/// Runs the binary in `dir` with these variables alone.
fn run(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(dir).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Output that must be there.
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A signed request in files: `headers` and `body`.
fn signed(dir: &Path, provider: &str, more: &[&str]) {
    fs::write(dir.join("body"), BODY).unwrap();
    let words = [&["sign", provider, "--secret-env", "S", "--body", "body"], more].concat();
    fs::write(dir.join("headers"), done(&run(dir, &words, &[("S", SECRET)]))).unwrap();
}

/// What `verify` says of the files, with a secret of one's own.
fn verified(dir: &Path, provider: &str, secret: &str, more: &[&str]) -> (Option<i32>, Value) {
    let words = [
        "verify",
        provider,
        "--secret-env",
        "S",
        "--headers",
        "headers",
        "--body",
        "body",
        "--output",
        "json",
    ];
    let output = run(dir, &[&words[..], more].concat(), &[("S", secret)]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!said.contains(secret.trim()), "a secret is shown: {said}");
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}")))
}

#[test]
fn from_init_to_an_event_in_hand() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let told = done(&run(dir, &["init", "shop=stripe", "github", "--output", "json"], &[]));
    let told: Value = serde_json::from_str(&told).unwrap();
    let variables = ["SHOP_WEBHOOK_SECRET", "GITHUB_WEBHOOK_SECRET"];
    assert_eq!(
        told,
        json!({"file": "hookgate.toml", "settings": [], "sources": ["shop", "github"], "variables": variables})
    );
    let written = fs::read(dir.join("hookgate.toml")).unwrap();
    assert!(written.starts_with(b"#:schema ./gateway.schema.json\n"));
    let again = run(dir, &["init", "stripe"], &[]);
    assert_eq!((again.status.code(), fs::read(dir.join("hookgate.toml")).unwrap()), (Some(1), written));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    assert_eq!(run(dir, &["init", "stipe", "--file", "x"], &[]).status.code(), Some(2));
    assert_eq!(run(dir, &["init", "twilio", "--file", "x"], &[]).status.code(), Some(2), "its URL is needed");
    let unset = run(dir, &["check", "--output", "json"], &[]);
    assert_eq!(unset.status.code(), Some(78), "the secrets are not set yet");
    let report: Value = serde_json::from_slice(&unset.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["errors"][0]["key"]),
        (&json!(false), &json!("sources.shop.secrets[0]"))
    );
    assert_eq!(keys(&report["errors"][0]), ["allowed", "key", "place", "wrong"]);
    let (ingress, admin) = (free_port(), free_port());
    let listen = [format!("ingress.listen=127.0.0.1:{ingress}"), format!("admin.listen=127.0.0.1:{admin}")];
    let set = ["--set", &listen[0], "--set", &listen[1], "--set", "journal.segment_bytes=32MiB"];
    let env = variables.map(|name| (name, SECRET));
    let checked: Value =
        serde_json::from_str(&done(&run(dir, &["check", "--output", "json"], &env))).unwrap();
    assert_eq!((&checked["ok"], &checked["sources"][1]["path"]), (&json!(true), &json!("/in/shop")));
    assert_eq!(keys(&checked["sources"][1]), ["methods", "name", "path", "provider", "scheme", "secrets"]);
    let mut gateway = Command::new(binary());
    gateway.arg("serve").args(set).current_dir(dir).env_clear().envs(env).stderr(Stdio::null());
    let mut gateway = gateway.spawn().unwrap();
    let health = |more: &[&str]| run(dir, &[&["healthcheck"], &set[..], more].concat(), &env);
    until("it is healthy", std::time::Duration::from_secs(20), || health(&[]).status.code() == Some(0));
    let healthy: Value = serde_json::from_str(&done(&health(&["--output", "json"]))).unwrap();
    assert_eq!(
        (&healthy["status"], &healthy["ready"], &healthy["checks"]["sink"]),
        (&json!("ready"), &json!(true), &json!("ok (inbox)"))
    );
    let sent =
        done(&run(dir, &[&["send", "shop", "--output", "json", "--times", "2"], &set[..]].concat(), &env));
    let sent: Vec<Value> = sent.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&sent[0]["outcome"], &sent[1]["outcome"]), (&json!("accepted"), &json!("duplicate")));
    let taken = done(&run(dir, &[&["--output", "json", "consume", "shop"], &set[..]].concat(), &env));
    let taken: Vec<Value> = taken.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((taken.len(), &taken[0]["message_id"]), (1, &sent[0]["message_id"]));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert_eq!(health(&[]).status.code(), Some(69));
}

/// Whoever reads only the beginning has read enough.
#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    done(&run(dir.path(), &["init", "stripe"], &[]));
    let calls: [&[&str]; 6] = [
        &["check", "--values"],
        &["providers", "list"],
        &["schema", "gateway"],
        &["completions", "bash"],
        &["man"],
        &["vectors", "--make", "stripe"],
    ];
    for words in calls {
        let mut command = Command::new(binary());
        command.args(words).current_dir(dir.path()).env_clear().env("STRIPE_WEBHOOK_SECRET", SECRET);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        let said = text(&output.stderr);
        assert!(
            !said.contains("panicked") && !said.to_lowercase().contains("broken pipe"),
            "{words:?}: {said}"
        );
        let code = if words[0] == "check" { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    }
}

/// What is wrong in a source is told of the source, with what is allowed there.
#[test]
fn check_blames_a_source_for_its_own_settings_and_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = "secrets = [{ env = \"S\" }]\n";
    let file = format!(
        "[sources.bot]\nprovider = \"discord\"\n{secrets}[sources.g]\nprovider = \"generic\"\n{secrets}\
         settings = {{ id = \"/id\", algorithm = \"hmac-md4\" }}\n"
    );
    fs::write(dir.path().join("hookgate.toml"), file).unwrap();
    let checked = run(dir.path(), &["check"], &[("S", "0123456789abcdef")]);
    let said = text(&checked.stderr);
    assert_eq!(checked.status.code(), Some(78), "{said}");
    for part in [
        "sources.g.settings.id: found \"/id\"",
        "64 hexadecimal digits (it has 16 bytes); allowed: the sender's",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("sources.g").count(), 2, "each once: {said}");
    assert!(!said.contains("0123456789abcdef") && !said.contains("whose file"), "{said}");
}

/// Calls of the admin listener need its address, whatever else of the configuration is broken or not there.
#[test]
fn the_admin_listener_is_found_whatever_else_the_configuration_lacks() {
    let gateway = Setup::new().source("shop", "stripe", "").start();
    let dir = gateway.path("");
    let file = gateway.path("hookgate.toml");
    // Another terminal, without the variables; and the default name, so that nobody names the file.
    for call in [&["healthcheck"][..], &["consume", "shop"], &["events", "list"]] {
        let output = run(&dir, call, &[]);
        assert_eq!(output.status.code(), Some(0), "{call:?}: {}", text(&output.stderr));
    }
    let searches: [&[&str]; 5] = [
        &["events", "list", "--source"],
        &["history", "events", "--source"],
        &["events", "replay", "--dry-run", "--source"],
        &["events", "tail", "--limit", "0", "--source"],
        &["listen", "--limit", "0", "--forward-to", "http://127.0.0.1:9"],
    ];
    for search in searches {
        let told = |source| text(&run(&dir, &[search, &[source]].concat(), &[]).stderr);
        assert!(told("shpo").contains("no source is named shpo; there are: shop"), "{}", told("shpo"));
        assert!(!told("shop").contains("no source is named"), "{}", told("shop"));
    }
    let reload = || {
        let output = run(&dir, &["reload"], &[]);
        (output.status.code(), text(&output.stderr))
    };
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}\n[sources.late]\nprovider = \"stripe\"\nsecrets = []\n")).unwrap();
    let (code, told) = reload();
    assert!(code == Some(78) && told.contains("sources.late.secrets"), "the gateway's own report: {told}");
    fs::write(&file, format!("{whole}\n[sources.x")).unwrap();
    let (code, told) = reload();
    assert!(code == Some(78) && told.contains("not TOML") && told.contains("--from URL"), "{told}");
}

#[test]
fn what_sign_prints_is_accepted_by_a_gateway_and_by_curl() {
    let gateway = Setup::new().source("shop", "stripe", "").source("plain", "generic", "").start();
    let dir = tempfile::tempdir().unwrap();
    let (body, env) = (stripe_event("evt_9"), [("S", secret("shop"))]);
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fs::write(dir.path().join("body"), &body).unwrap();
    let words = ["sign", "stripe", "--secret-env", "S", "--body", "body"];
    let headers = done(&run(dir.path(), &words, &env));
    let (name, value) = headers.trim().split_once(": ").unwrap();
    let answer = gateway.post("/in/shop", &[(name, value), ("content-type", "application/json")], &body);
    assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"));
    let data: Value =
        serde_json::from_str(&done(&run(dir.path(), &[&words[..], &["--output", "json"]].concat(), &env)))
            .unwrap();
    assert_eq!(keys(&data), ["headers", "method", "provider", "scheme", "signed_at", "target", "url"]);
    let url = format!("http://{}/in/shop", gateway.ingress());
    let command = done(&run(
        dir.path(),
        &[&words[..], &["--curl", "--url", &url, "-H", "X-Note: it's"]].concat(),
        &env,
    ));
    assert!(!command.contains(&secret("shop")), "{command}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{} < body", command.trim())]).current_dir(dir.path());
    let Ok(output) = shell.output() else { return };
    // Where there is no curl, the shell says so by 127.
    if output.status.code() != Some(127) {
        assert!(text(&output.stdout).contains("\"outcome\":\"duplicate\""), "{}", text(&output.stdout));
    }
    let stale = [&words[..], &["--at", "2026-01-01T00:00:00Z"]].concat();
    assert!(done(&run(dir.path(), &stale, &env)).starts_with("stripe-signature: t=1767225600,v1="));
    let nobody = run(dir.path(), &["sign", "stripe", "--body", "body"], &[]);
    assert_eq!(nobody.status.code(), Some(78), "{}", text(&nobody.stderr));
    assert!(text(&nobody.stderr).contains("--secret-env NAME"));
}

#[test]
fn verify_tells_what_a_good_request_is() {
    let dir = tempfile::tempdir().unwrap();
    signed(dir.path(), "stripe", &["--at", "1767225600"]);
    let (code, told) = verified(dir.path(), "stripe", SECRET, &["--at", "1767225612"]);
    let expected = json!({
        "accepted": true, "provider": "stripe", "scheme": "default", "event_id": "evt_1",
        "event_type": "charge.captured", "message_id": null, "secret": "env S",
        "signed_at": "2026-01-01T00:00:00.000Z", "age_milliseconds": 12000, "batch": null,
    });
    assert_eq!((code, told), (Some(0), expected));
    let raw = format!(
        "POST /in/stripe HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n{BODY}",
        fs::read_to_string(dir.path().join("headers")).unwrap().trim()
    );
    fs::write(dir.path().join("raw"), raw).unwrap();
    let words = ["verify", "stripe", "--secret-env", "S", "--request", "raw", "--at", "1767225612"];
    let said = done(&run(dir.path(), &words, &[("S", SECRET)]));
    assert!(said.starts_with("accepted: stripe/default\n") && said.contains("12s ago"), "{said}");
    let gateway = Setup::new().source("shop", "stripe", "").start();
    let body = stripe_event("evt_5");
    let request = stripe("shop", &body);
    let answer = gateway.deliver(&request);
    fs::write(gateway.path("body"), &body).unwrap();
    let header = format!("Stripe-Signature: {}", request.header("stripe-signature"));
    let told = gateway.run(&["verify", "shop", "-H", &header, "--body", "body", "--output", "json"]);
    let told: Value = serde_json::from_str(&done(&told)).unwrap();
    assert_eq!(
        (told["message_id"].as_str(), told["secret"].as_str()),
        (Some(answer.message_id().as_str()), Some("live"))
    );
}

/// A change of the captured body, and what the hint must say of it.
type Change = (&'static str, fn(&str) -> Vec<u8>, &'static str);

const CHANGED: [Change; 8] = [
    ("newline", |body| format!("{body}\n").into_bytes(), "without the newline at its end"),
    ("line ends", |body| format!("{body}\r\n").into_bytes(), "without the CR LF at its end"),
    (
        "compact",
        |body| body.replace(": ", ":").replace(", ", ",").into_bytes(),
        "with a blank after each comma and colon",
    ),
    (
        "pretty",
        |body| {
            format!(
                "{}\n",
                serde_json::to_string_pretty(&serde_json::from_str::<Ordered>(body).unwrap()).unwrap()
            )
            .into_bytes()
        },
        "with a blank after each comma and colon",
    ),
    ("slashes", |body| body.replace('/', "\\/").into_bytes(), "`\\/` written as `/`"),
    ("escaped", |body| body.replace('\u{e9}', "\\u00e9").into_bytes(), "what is not ASCII written out"),
    ("latin", |body| body.chars().map(|c| c as u8).collect(), "as UTF-8: something wrote it as Latin-1"),
    ("base64", |body| base64_of(body.as_bytes()).into_bytes(), "decoded from base64"),
];

/// The test's body with its keys in their order.
#[derive(serde::Serialize, serde::Deserialize)]
struct Ordered {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    note: String,
}

#[test]
fn verify_finds_what_was_done_to_the_body() {
    let dir = tempfile::tempdir().unwrap();
    signed(dir.path(), "github", &[]);
    assert_eq!(verified(dir.path(), "github", SECRET, &[]).0, Some(0));
    for (name, change, hint) in CHANGED {
        fs::write(dir.path().join("body"), change(BODY)).unwrap();
        let (code, told) = verified(dir.path(), "github", SECRET, &[]);
        assert_eq!((code, told["reason"].as_str()), (Some(65), Some("signature_mismatch")), "{name}");
        assert_eq!(
            keys(&told),
            ["accepted", "code", "detail", "hints", "provider", "reason", "scheme", "status"]
        );
        let hints = told["hints"].as_array().unwrap();
        assert!(hints.iter().any(|told| told.as_str().unwrap().contains(hint)), "{name}: {hints:?}");
    }
    let told =
        [("Content-Length: 7", "Content-Length says 7 bytes"), ("X-Nothing: 1", "decoded from base64")];
    for (header, hint) in told {
        let (_, told) = verified(dir.path(), "github", SECRET, &["-H", header]);
        assert!(told["hints"].to_string().contains(hint), "{told}");
    }
}

#[test]
fn verify_finds_what_is_wrong_with_the_secret_and_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let hint = |provider: &str, secret: &str, more: &[&str]| {
        let (code, told) = verified(dir.path(), provider, secret, more);
        assert_eq!(code, Some(65), "{told}");
        (told["reason"].as_str().unwrap().to_owned(), told["hints"].to_string())
    };
    signed(dir.path(), "github", &[]);
    let quoted = format!("\"{SECRET}\"");
    let named = format!("GITHUB_SECRET={SECRET}");
    for (secret, says) in [
        (" whsec_3f9a6c1e5b7d2048 ", "without the white space around it"),
        ("3f9a6c1e5b7d2048", "with the prefix whsec_"),
        (&quoted, "without the quotes around it"),
        (&named, "it holds the variable's name"),
        ("another-secret-of-somebody", "the secret is another endpoint's"),
    ] {
        let (reason, hints) = hint("github", secret, &[]);
        assert!(reason == "signature_mismatch" && hints.contains(says), "{says}: {hints}");
    }
    let (reason, hints) = hint("stripe", SECRET, &[]);
    assert!(reason == "signature_missing" && hints.contains("as GitHub"), "{hints}");
    let header = fs::read_to_string(dir.path().join("headers")).unwrap();
    let (name, value) = header.trim().split_once(": sha256=").unwrap();
    fs::write(dir.path().join("headers"), format!("{name}: sha256={}\n", value.to_uppercase())).unwrap();
    let (reason, hints) = hint("github", SECRET, &[]);
    assert!(reason == "signature_malformed" && hints.contains("in lower case"), "{hints}");
    signed(dir.path(), "stripe", &["--at", "1767225600"]);
    let (reason, hints) = hint("stripe", SECRET, &["--at", "1767229200"]);
    assert!(reason == "stale" && hints.contains("1h ago") && hints.contains("--at"), "{hints}");
    let url = "https://hooks.example.com/in/twilio";
    fs::write(dir.path().join("body"), "Body=hi&From=%2B1").unwrap();
    let words = ["sign", "twilio", "--secret-env", "S", "--body", "body", "--url", url];
    fs::write(dir.path().join("headers"), done(&run(dir.path(), &words, &[("S", SECRET)]))).unwrap();
    assert_eq!(verified(dir.path(), "twilio", SECRET, &["--url", url]).0, Some(0));
    for wrong in ["http://hooks.example.com/in/twilio", "https://hooks.example.com/in/twilio/"] {
        let (reason, hints) = hint("twilio", SECRET, &["--url", wrong]);
        assert!(
            reason == "signature_mismatch" && hints.contains(&format!("signed the URL {url}")),
            "{hints}"
        );
    }
    let (_, hints) =
        hint("twilio", SECRET, &["--url", "http://10.0.0.7:8080/in/twilio", "-H", "Host: hooks.example.com"]);
    assert!(hints.contains(&format!("signed the URL {url}")), "{hints}");
}

#[test]
fn providers_are_listed_and_shown() {
    let list = done(&hookgate(&["providers", "list", "--output", "json"]));
    let list: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        list.len() >= 4
            && list.iter().all(|one| keys(one) == ["docs", "name", "retries_seconds", "schemes", "title"])
    );
    let table = done(&hookgate(&["providers", "list"]));
    assert!(list.iter().all(|one| table.contains(one["title"].as_str().unwrap())), "{table}");
    let show: Value =
        serde_json::from_str(&done(&hookgate(&["providers", "show", "stripe", "--output", "json"]))).unwrap();
    assert_eq!(show["schemes"][0]["identity"], "the signed id: json:/id");
    assert_eq!(hookgate(&["providers", "show", "strpe"]).status.code(), Some(2));
}

#[test]
fn every_subcommand_is_completed_and_in_the_manual() {
    let help = done(&hookgate(&["--help"]));
    let commands = help.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(&hookgate(&["completions", shell]));
        assert!(names.iter().all(|name| script.contains(name)), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let page = done(&hookgate(&["man"]));
    done(&hookgate(&["man", "--dir", dir.path().to_str().unwrap()]));
    for name in names {
        assert!(page.contains(&format!("hookgate\\-{name}(1)")), "{name}: {page}");
        let page = fs::read_to_string(dir.path().join(format!("hookgate-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{name}");
    }
    assert!(dir.path().join("hookgate-providers-show.1").exists());
    assert_eq!(hookgate(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_schema_of_each_kind_of_file_is_printed_whole() {
    for kind in ["gateway", "provider", "vector"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{kind}.schema.json"));
        let printed = done(&hookgate(&["schema", kind]));
        assert_eq!(printed, fs::read_to_string(file).unwrap());
        let line = done(&hookgate(&["schema", kind, "--output", "json"]));
        assert_eq!(line.lines().count(), 1, "{line}");
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parsed(&line), parsed(&printed));
    }
    assert_eq!(hookgate(&["schema", "journal"]).status.code(), Some(2));
}
