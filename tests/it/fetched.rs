//! Keys that a provider publishes: fetched from a real HTTPS server that rotates them, goes away, is slow or lies, while
//! strangers name ids and URLs as fast as they can.

use std::fs;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, PKCS_ED25519};
use serde_json::json;

use crate::gateway::*;
use crate::origin::{Origin, Page};

/// A sender's key, and the id that it has at the provider.
struct SenderKey {
    id: &'static str,
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl SenderKey {
    fn new(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        Self { id, pair: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(), pkcs8: pkcs8.as_ref().to_vec() }
    }

    fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn signs(&self, source: &str, body: &[u8]) -> Signed {
        self.signs_as(source, self.id, body)
    }

    /// With an id (or a URL) that may be anything.
    fn signs_as(&self, source: &str, id: &str, body: &[u8]) -> Signed {
        let signature = hex::encode(self.pair.sign(body));
        Signed::new(source, &[("X-Key", id), ("X-Signature", &signature)], body)
    }

    fn pem(&self) -> String {
        let head: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let der = STANDARD.encode([&head[..], self.public()].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }

    fn certificate(&self, until: i32) -> String {
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&self.pkcs8.clone().into(), &PKCS_ED25519);
        let mut params = CertificateParams::new(vec!["sender.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.self_signed(&pair.unwrap()).unwrap().pem()
    }
}

fn set(keys: &[&SenderKey]) -> Page {
    let jwk = |key: &&SenderKey| json!({ "kty": "OKP", "crv": "Ed25519", "kid": key.id, "x": URL_SAFE_NO_PAD.encode(key.public()) });
    let keys: Vec<_> = keys.iter().map(jwk).collect();
    Page::of(json!({ "keys": keys }).to_string())
}

/// A provider whose `key` is these lines.
fn provider(name: &str, key: &str) -> String {
    format!(
        "name = \"{name}\"\ntitle = \"{name}\"\n[event]\nid = \"json:/id\"\n[[schemes]]\nname = \"published\"\n\
         algorithm = \"ed25519\"\nsecret = \"public-key\"\nsigned = [\"{{body}}\"]\n\
         signature = {{ from = \"header:X-Signature\", encoding = \"hex\" }}\nkey = {{ {key} }}\n"
    )
}

/// Sources by the form of their keys; `fetch` is added to that section of the configuration.
fn gateway(origin: &Origin, fetch: &str) -> Gateway {
    let mut gateway = prepared(origin, fetch);
    gateway.start();
    gateway
}

fn prepared(origin: &Origin, fetch: &str) -> Gateway {
    let url = origin.url();
    let port = url.rsplit(':').next().unwrap();
    let kinds = [
        ("set", format!("id = \"header:X-Key\", fetch = {{ url = \"{url}/jwks\", form = \"jwks\" }}")),
        ("each", format!("id = \"header:X-Key\", fetch = {{ url = \"{url}/keys/{{id}}\", form = \"pem\" }}")),
        ("alone", format!("fetch = {{ url = \"{url}/config\", form = \"json\", pointer = \"/a/key\" }}")),
        (
            "named",
            format!(
                "fetch = {{ from = \"header:X-Key\", form = \"x509\", \
                 pattern = 'https://localhost:{port}/certs/[a-z0-9.-]+\\.pem' }}"
            ),
        ),
        (
            "topics",
            "fetch = { from = \"header:X-Key\", form = \"x509\", \
             pattern = 'https://sns\\.[a-z0-9-]{3,}\\.amazonaws\\.com(\\.cn)?/[A-Za-z0-9-]+\\.pem' }"
                .to_owned(),
        ),
    ];
    let setup = Setup::new().set("providers", "dir = \"providers.d\"");
    let setup = setup.set("fetch", "ca_file = \"ca.pem\"\nallow_private = true").set("fetch", fetch);
    let setup = kinds.iter().fold(setup, |setup, (name, _)| setup.source(name, name, "secrets = []"));
    let gateway = setup.prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    for (name, key) in &kinds {
        fs::write(gateway.path(&format!("providers.d/{name}.toml")), provider(name, key)).unwrap();
    }
    fs::write(gateway.path("ca.pem"), origin.ca()).unwrap();
    gateway
}

fn body(id: usize) -> Vec<u8> {
    format!("{{\"id\":\"evt_{id}\"}}").into_bytes()
}

fn rejected(gateway: &Gateway, source: &str, reason: &str) -> f64 {
    gateway.metric("hookgate_rejected_total", &[("source", source), ("reason", reason)])
}

fn fetches(gateway: &Gateway, source: &str, outcome: &str) -> f64 {
    gateway.metric("hookgate_key_fetches_total", &[("source", source), ("outcome", outcome)])
}

#[test]
fn keys_come_in_every_form_and_are_fetched_once() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", set(&[&key]));
    origin.put("/keys/k1", Page::of(key.pem()));
    origin.put("/config", Page::of(json!({ "a": { "key": key.pem() } }).to_string()));
    origin.put("/certs/a.pem", Page::of(key.certificate(2099)));
    origin.put("/certs/old.pem", Page::of(key.certificate(2020)));
    let gateway = gateway(&origin, "");
    let named = format!("{}/certs/a.pem", origin.url());
    for round in 0..3 {
        for source in ["set", "each", "alone"] {
            assert_eq!(gateway.deliver(&key.signs(source, &body(round))).status, 200, "{source}");
        }
        assert_eq!(gateway.deliver(&key.signs_as("named", &named, &body(round))).status, 200);
    }
    for path in ["/jwks", "/keys/k1", "/config", "/certs/a.pem"] {
        assert_eq!(origin.asked(path), 1, "{path}");
    }
    let used = [("source", "set"), ("secret", "fetched")];
    assert_eq!(gateway.metric("hookgate_secret_used_total", &used), 3.0);
    let old = format!("{}/certs/old.pem", origin.url());
    assert_eq!(gateway.deliver(&key.signs_as("named", &old, &body(9))).status, 401);
    assert_eq!(rejected(&gateway, "named", "no_active_secret"), 1.0);
    for source in ["set", "each", "alone"] {
        let forged = SenderKey::new("k1").signs(source, &body(9));
        assert_eq!(gateway.deliver(&forged).status, 401, "{source}");
        assert_eq!(rejected(&gateway, source, "signature_mismatch"), 1.0, "{source}");
    }
}

#[test]
fn a_reload_asks_for_no_key_again_unless_the_provider_file_is_another() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", set(&[&key]));
    origin.put("/other", set(&[&key]));
    let mut gateway = gateway(&origin, "");
    let sent = |gateway: &Gateway, id| gateway.deliver(&key.signs("set", &body(id))).status;
    let reload =
        |gateway: &Gateway| gateway.admin_call("POST", "/v1/reload", &[], b"").json()["outcome"].clone();
    assert_eq!(sent(&gateway, 1), 200);
    origin.away(true);
    gateway.change(|setup| setup.set("sources.set", "success_status = 202"));
    assert_eq!(reload(&gateway), "applied");
    assert_eq!((sent(&gateway, 2), origin.asked("/jwks")), (202, 1));
    origin.away(false);
    let file = gateway.path("providers.d/set.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("/jwks", "/other")).unwrap();
    assert_eq!(reload(&gateway), "applied");
    assert_eq!((sent(&gateway, 3), origin.asked("/jwks"), origin.asked("/other")), (202, 1, 1));
}

#[test]
fn a_check_tries_the_urls_that_are_known() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", set(&[&key]));
    let gateway = prepared(&origin, "");
    let output = gateway.run(&["check", "--connect"]);
    let (told, wrong) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(told.contains("keys ok: sources.set, 1 key(s)"), "{told}");
    assert!(wrong.contains("sources.alone: no keys from localhost: the server answered 404"), "{wrong}");
    assert_eq!(output.status.code(), Some(69));
    fs::write(gateway.path("ca.pem"), "nothing").unwrap();
    let output = gateway.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let wrong = String::from_utf8(output.stderr).unwrap();
    assert!(wrong.contains("fetch.ca_file") && wrong.contains("no certificate"), "{wrong}");
}

#[test]
fn a_rotated_key_is_known_with_its_first_delivery() {
    let (origin, old, new) = (Origin::start(), SenderKey::new("k1"), SenderKey::new("k2"));
    origin.put("/jwks", set(&[&old]));
    let alone = |key: &SenderKey| Page::of(json!({ "a": { "key": key.pem() } }).to_string());
    origin.put("/config", alone(&old));
    let gateway = gateway(&origin, "");
    assert_eq!(gateway.deliver(&old.signs("set", &body(1))).status, 200);
    assert_eq!(gateway.deliver(&old.signs("alone", &body(1))).status, 200);
    origin.put("/jwks", set(&[&old, &new]));
    origin.put("/config", alone(&new));
    assert_eq!(gateway.deliver(&new.signs("set", &body(2))).status, 200);
    assert_eq!(gateway.deliver(&old.signs("set", &body(3))).status, 200);
    assert_eq!(gateway.deliver(&new.signs("alone", &body(2))).status, 200, "no id tells: a mismatch does");
    assert_eq!(gateway.deliver(&old.signs("alone", &body(3))).status, 401);
    assert_eq!((origin.asked("/jwks"), origin.asked("/config")), (2, 2));
}

#[test]
fn a_hundred_who_want_one_key_make_one_fetch() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/keys/k1", Page { delay: Duration::from_millis(400), ..Page::of(key.pem()) });
    let gateway = gateway(&origin, "");
    std::thread::scope(|scope| {
        for number in 0..100 {
            let (gateway, key) = (&gateway, &key);
            scope.spawn(move || {
                assert_eq!(gateway.deliver(&key.signs("each", &body(number))).status, 200, "{number}");
            });
        }
    });
    assert_eq!(origin.asked("/keys/"), 1);
}

#[test]
fn while_its_origin_is_away_a_key_stays_and_the_unknown_is_no_fault_of_the_senders() {
    let (origin, key, new) = (Origin::start(), SenderKey::new("k1"), SenderKey::new("k2"));
    origin.put("/jwks", set(&[&key]));
    let gateway = gateway(&origin, "");
    assert_eq!(gateway.deliver(&key.signs("set", &body(1))).status, 200);
    origin.away(true);
    let answer = gateway.deliver(&new.signs("set", &body(2)));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{}", answer.text());
    assert_eq!(answer.code(), "unavailable");
    assert_eq!(rejected(&gateway, "set", "key_unavailable"), 1.0);
    assert_eq!(gateway.deliver(&key.signs("set", &body(3))).status, 200);
    assert_eq!((fetches(&gateway, "set", "failed"), fetches(&gateway, "set", "stale")), (1.0, 1.0));
    assert_eq!(gateway.deliver(&key.signs("each", &body(4))).status, 503);
    origin.away(false);
    origin.put("/keys/k1", Page::of(key.pem()));
    until("the key is fetched", Duration::from_secs(10), || {
        gateway.deliver(&key.signs("each", &body(5))).status == 200
    });
    assert!(!gateway.stderr().contains("/keys/k1"), "no path in the log");
}

#[test]
fn for_a_key_that_the_source_has_itself_nobody_is_asked() {
    let (origin, key, other) = (Origin::start(), SenderKey::new("k1"), SenderKey::new("k2"));
    origin.put("/keys/k2", Page::of(other.pem()));
    let mut gateway = prepared(&origin, "");
    let url = format!("{}/certs/own.pem", origin.url());
    fs::write(gateway.path("own.pem"), key.pem()).unwrap();
    fs::create_dir_all(gateway.path("sources.d")).unwrap();
    let source = |name: &str, provider: &str, kid: &str| {
        format!(
            "[sources.{name}]\nprovider = \"{provider}\"\nsecrets = [{{ file = \"own.pem\", kid = \"{kid}\" }}]\n"
        )
    };
    let sources = source("own_id", "each", "k1") + &source("own_url", "named", &url);
    fs::write(gateway.path("sources.d/own.toml"), sources).unwrap();
    gateway.start();
    for (name, id) in [("own_id", "k1"), ("own_url", url.as_str())] {
        assert_eq!(gateway.deliver(&key.signs_as(name, id, &body(1))).status, 200, "{name}");
        let forged = Signed { body: body(2), ..key.signs_as(name, id, &body(1)) };
        assert_eq!(gateway.deliver(&forged).status, 401, "{name}");
        assert_eq!(rejected(&gateway, name, "signature_mismatch"), 1.0);
    }
    assert_eq!((origin.asked("/keys/"), origin.asked("/certs/")), (0, 0));
    assert_eq!(gateway.deliver(&other.signs("own_id", &body(3))).status, 200, "another key is fetched");
}

#[test]
fn a_server_that_lies_or_dawdles_gives_no_key_and_costs_little() {
    let (origin, key) = (Origin::start(), SenderKey::new("right"));
    origin.put("/keys/right", Page::of(key.pem()));
    let right = format!("{}/keys/right", origin.url());
    let elsewhere = vec![("location".to_owned(), right)];
    let bad = [
        ("redirect", Page { headers: elsewhere, ..Page::status(302) }),
        ("fault", Page::status(500)),
        ("busy", Page::status(429)),
        ("html", Page::of("<html>not found</html>")),
        ("empty", Page::of("")),
        ("endless", Page { endless: true, ..Page::of("") }),
        ("long", Page::of([vec![b' '; 300 << 10], key.pem().into_bytes()].concat())),
        ("slow", Page { delay: Duration::from_secs(8), ..Page::of(key.pem()) }),
        ("dripping", Page { drip: Duration::from_millis(100), ..Page::of(key.pem()) }),
    ];
    let gateway = gateway(&origin, "timeout = \"1s\"");
    for (id, page) in &bad {
        origin.put(&format!("/keys/{id}"), page.clone());
    }
    // Within the budget for unknown keys.
    for (number, (id, _)) in bad.iter().enumerate() {
        let begun = Instant::now();
        let answer = gateway.deliver(&key.signs_as("each", id, &body(number)));
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{id}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{id}: {:?}", begun.elapsed());
    }
    assert_eq!(origin.asked("/keys/right"), 0, "no redirect is followed");
    until("the budget has one more", Duration::from_secs(10), || {
        gateway.deliver(&key.signs("each", &body(100))).status == 200
    });
    until("and another one", Duration::from_secs(10), || {
        gateway.deliver(&key.signs_as("each", "unheard-of", &body(101))).status == 401
    });
    assert_eq!(rejected(&gateway, "each", "unknown_key"), 1.0, "the server says that there is none");
}

/// Asks for a hundred keys that there are not.
fn flood(gateway: &Gateway, key: &SenderKey, thread: usize) {
    for number in 0..50 {
        for source in ["set", "each"] {
            let id = format!("x{thread}-{number}");
            assert_ne!(gateway.deliver(&key.signs_as(source, &id, &body(7))).status, 200);
        }
    }
}

#[test]
fn strangers_ids_cost_the_origin_next_to_nothing_and_delay_nobody() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", Page { delay: Duration::from_millis(500), ..set(&[&key]) });
    origin.put("/keys/k1", Page::of(key.pem()));
    let gateway = gateway(&origin, "");
    assert_eq!(gateway.deliver(&key.signs("set", &body(0))).status, 200);
    assert_eq!(gateway.deliver(&key.signs("each", &body(0))).status, 200);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gateway, key) = (&gateway, &key);
            scope.spawn(move || flood(gateway, key, thread));
        }
        for number in 1..40 {
            for source in ["set", "each"] {
                let asked = Instant::now();
                assert_eq!(gateway.deliver(&key.signs(source, &body(number))).status, 200);
                assert!(asked.elapsed() < Duration::from_millis(400), "{source}: {:?}", asked.elapsed());
            }
        }
    });
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(origin.asked("/jwks") <= 2 + seconds / 30, "{}", origin.asked("/jwks"));
    assert!(origin.asked("/keys/") <= 9 + seconds / 2 + 1, "{}", origin.asked("/keys/"));
}

#[test]
fn only_urls_that_the_pattern_means_are_ever_called() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", set(&[&key]));
    origin.put("/config", Page::of(json!({ "a": { "key": key.pem() } }).to_string()));
    let gateway = gateway(&origin, "");
    let warm = || fetches(&gateway, "set", "fetched") + fetches(&gateway, "alone", "fetched");
    until("what is fetched at the start is there", Duration::from_secs(30), || warm() == 2.0);
    let before = origin.connections();
    let file = "/SimpleNotificationService-0123.pem";
    let own = origin.url().replace("https://", "");
    for authority in [
        "sns.us-east-1.amazonaws.com.evil.com",
        "sns.us-east-1.amazonaws.com.localhost",
        &format!("sns.us-east-1.amazonaws.com@{own}"),
        &format!("{own}#sns.us-east-1.amazonaws.com"),
        &format!("{own}/sns.us-east-1.amazonaws.com"),
        &format!("{own}\\sns.us-east-1.amazonaws.com"),
        &format!("{own}?sns.us-east-1.amazonaws.com"),
        "sns.us-east-1.amazonaws.com.",
        "sns.us-east-1.amazonaws.com:8443",
        "sns.us-east-1.xn--mazonaws-3fg.com",
        "sns.s3.amazonaws.com",
        "SNS.us-east-1.amazonaws.com",
        &own,
    ] {
        let url = format!("https://{authority}{file}");
        let answer = gateway.deliver(&key.signs_as("topics", &url, &body(1)));
        assert_eq!((answer.status, answer.code().as_str()), (401, "signature_invalid"), "{url}");
    }
    let port = own.rsplit(':').next().unwrap();
    for url in [
        format!("http://localhost:{port}/certs/a.pem"),
        format!("https://localhost:{port}/certs/../jwks.pem"),
        format!("https://localhost:{port}/certs/a.pem?x"),
        format!("https://127.0.0.1:{port}/certs/a.pem"),
        format!("https://localhost:{port}/jwks"),
        "https://localhost/certs/a.pem".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        assert_eq!(gateway.deliver(&key.signs_as("named", &url, &body(1))).status, 401, "{url}");
    }
    assert_eq!(rejected(&gateway, "topics", "untrusted_key_url"), 13.0);
    assert_eq!(rejected(&gateway, "named", "untrusted_key_url"), 7.0);
    assert_eq!(origin.connections(), before, "nobody was called");
    let unsigned = Signed::new("named", &[("X-Key", &format!("{}/certs/a.pem", origin.url()))], &body(1));
    assert_eq!(gateway.deliver(&unsigned).code(), "signature_missing");
    assert_eq!(origin.connections(), before, "nor for what no key could save");
}

#[test]
fn neighbours_are_not_called_and_strangers_certificates_not_believed() {
    let (origin, key) = (Origin::start(), SenderKey::new("k1"));
    origin.put("/jwks", set(&[&key]));
    let public = gateway(&origin, "allow_private = false");
    assert_eq!(public.deliver(&key.signs("set", &body(1))).status, 503);
    assert_eq!(origin.connections(), 0);
    assert!(public.stderr().contains("fetch.allow_private"), "the log says what to do");
    let other = Origin::start();
    let mut doubtful = prepared(&origin, "");
    fs::write(doubtful.path("ca.pem"), other.ca()).unwrap();
    doubtful.start();
    assert_eq!(doubtful.deliver(&key.signs("set", &body(1))).status, 503);
    assert_eq!(origin.asked("/"), 0);
}
