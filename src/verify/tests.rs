//! Schemes that no built-in provider has: grammars, units, key forms and alternatives, signed and verified by
//! the same rules, and refused for the right reason where something is missing or changed. The schemes of the
//! built-in providers are in `tests/properties.rs`.

mod demands;
mod oracle;
mod pairs;
mod pieces;
mod properties;
mod strict;
mod tokens;
mod wycheproof;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::key::Material;
use super::*;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::provider::{Definition, Scheme};
use crate::reject::Reject;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn scheme(text: &str) -> Arc<Scheme> {
    let file = format!("name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n{text}");
    let definition: Definition = toml::from_str(&file).unwrap();
    Arc::new(Scheme::build(&definition, None, &BTreeMap::new()).unwrap())
}

fn delivery(headers: &[(&str, &str)]) -> Delivery {
    let mut lines = Headers::default();
    headers.iter().for_each(|(name, value)| lines.push(name, value.as_bytes()));
    let body = Bytes::from_static(b"{\"id\":\"evt_1\"}");
    Delivery { method: "POST".into(), target: "/in/acme?q=1".into(), headers: lines, body, received_at: NOW }
}

fn verdict(scheme: &Arc<Scheme>, secret: &str, delivery: Delivery) -> Result<Verified, Reject> {
    let key = Key::new(scheme, "live", secret.as_bytes()).unwrap();
    Verifier::new(Arc::clone(scheme), vec![key]).verify(delivery, NOW).map_err(|refused| refused.reject)
}

fn signed(scheme: &Scheme, secret: &str, headers: &[(&str, &str)]) -> Delivery {
    let mut delivery = delivery(headers);
    sign(scheme, secret.as_bytes(), &mut delivery, NOW).unwrap();
    delivery
}

const VERSIONS: &str = r#"
algorithm = "hmac-sha256"
secret = "whsec"
signed = ["{header:webhook-id}.{timestamp}.{body}"]
signature = { from = "header:webhook-signature", encoding = "base64", grammar = { kind = "versions", separator = " ", assign = ",", keys = ["v1"] } }
timestamp = { from = "header:webhook-timestamp", unit = "seconds", past = "5m" }
"#;
const MILLIS: &str = r#"
algorithm = "hmac-sha512"
secret = "hex"
signed = ["{timestamp}:{method}:{query:q}:{body}"]
signature = { from = "header:X-Sig", encoding = "hex", grammar = { kind = "pairs", separator = ",", assign = "=", keys = ["s"] } }
timestamp = { from = "signature:t", unit = "milliseconds" }
"#;
const RFC3339: &str = r#"
algorithm = "hmac-sha1"
secret = "base64"
signed = ["{timestamp}{json:/id}{body}"]
signature = { from = "query:sig", encoding = "hex-any-case" }
timestamp = { from = "header:X-Time", unit = "rfc3339" }
"#;
const ALTERNATIVES: &str = r#"
algorithm = "hmac-sha384"
signed = ["{header:X-New}{body}", "{body}"]
signature = { from = "header:X-Sig", encoding = "hex" }
"#;

/// A scheme, its secret, another one, and the headers beside the signature.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

#[test]
fn what_is_signed_by_the_rules_verifies_and_nothing_else_does() {
    let cases: [Case; 4] = [
        (
            VERSIONS,
            "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=",
            "whsec_b3RoZXItb3RoZXItb3RoZXItb3Q=",
            &[("webhook-id", "msg_1")],
        ),
        (MILLIS, "00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff", &[]),
        (RFC3339, "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "b3RoZXItb3RoZXItb3RoZXItb3Q", &[]),
        (ALTERNATIVES, "a secret of some length", "another of the same kind", &[("x-new", "1")]),
    ];
    for (text, secret, other, headers) in cases {
        let scheme = scheme(text);
        let good = signed(&scheme, secret, headers);
        let verified = verdict(&scheme, secret, good.clone()).unwrap();
        assert_eq!(verified.signed_at(), scheme.timestamp.is_some().then_some(NOW), "{text}");
        assert_eq!(verdict(&scheme, other, good.clone()).unwrap_err(), Reject::SignatureMismatch, "{text}");
        let changed = Delivery { body: Bytes::from_static(b"{\"id\":\"evt_1\" }"), ..good };
        assert_eq!(verdict(&scheme, secret, changed).unwrap_err(), Reject::SignatureMismatch, "{text}");
    }
}

#[test]
fn any_template_may_match_and_a_missing_value_is_told_where_none_could_be_tried() {
    let both = scheme(ALTERNATIVES);
    let plain = scheme(&ALTERNATIVES.replace("\"{header:X-New}{body}\", ", ""));
    let secret = "a secret of some length";
    let old = signed(&plain, secret, &[]);
    assert!(
        verdict(&both, secret, old.clone()).is_ok(),
        "the second template, without the first one's header"
    );
    assert_eq!(
        verdict(&both, "another of the same kind", old.clone()).unwrap_err(),
        Reject::SignatureMismatch
    );
    let neither = scheme(&ALTERNATIVES.replace("\"{body}\"", "\"{header:X-Old}{body}\""));
    assert_eq!(verdict(&neither, secret, old).unwrap_err(), Reject::CompanionMissing);
}

#[test]
fn a_version_that_is_not_known_counts_for_nothing() {
    let scheme = scheme(VERSIONS);
    let secret = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=";
    let good = signed(&scheme, secret, &[("webhook-id", "msg_1")]);
    let of = |name: &str| String::from_utf8(good.headers.first(name).unwrap().to_vec()).unwrap();
    let (signature, time) = (of("webhook-signature"), of("webhook-timestamp"));
    let with = |value: &str| {
        let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &*time), ("webhook-signature", value)];
        verdict(&scheme, secret, delivery(&headers))
    };
    assert!(with(&format!("v2,AAAA {signature}")).is_ok(), "several, one of them ours");
    let unknown = with(&signature.replace("v1,", "v2,"));
    assert_eq!(unknown.unwrap_err(), Reject::SignatureMalformed);
    let many = with(&[signature.as_str(); 17].join(" "));
    assert_eq!(many.unwrap_err(), Reject::SignatureMalformed, "more than are read");
}

const URL_AND_FORM: &str = r#"
algorithm = "hmac-sha1"
signed = ["{url:no_port}{form_sorted}", "{url:std_port}{form_sorted}"]
signature = { from = "header:X-Sig", encoding = "base64" }
"#;
const URL_AND_DIGEST: &str = r#"
algorithm = "hmac-sha256"
signed = ["{url}"]
signature = { from = "header:X-Sig", encoding = "hex" }
body_digest = { from = "query:digest", algorithm = "sha512", encoding = "base64" }
"#;
const PUBLIC: &str = r#"
algorithm = "ed25519"
secret = "hex"
signed = ["{body}"]
signature = { from = "header:X-Sig", encoding = "hex" }
"#;
const TOKEN: &str = r#"
algorithm = "token"
signature = { from = "header:X-Token", encoding = "text" }
"#;
const SECRET: &str = "a secret of some length";

/// A signed form.
fn form(scheme: &Scheme) -> Delivery {
    let mut form = Delivery { body: Bytes::from_static(b"b=2&a=1"), ..delivery(&[("host", "b.example")]) };
    sign(scheme, SECRET.as_bytes(), &mut form, NOW).unwrap();
    form
}

fn at(text: &str, public_url: &str) -> Arc<Scheme> {
    Arc::new(Scheme::clone(&scheme(text)).at(public_url))
}

#[test]
fn the_signed_url_is_the_configured_one_with_or_without_its_port() {
    for configured in ["https://a.example", "https://a.example:443"] {
        let verifies = at(URL_AND_FORM, configured);
        for called in ["https://a.example", "https://a.example:443"] {
            let one = URL_AND_FORM.replace(":no_port", "").replace(", \"{url:std_port}{form_sorted}\"", "");
            let good = form(&at(&one, called));
            assert!(verdict(&verifies, SECRET, good.clone()).is_ok(), "{called} for {configured}");
            let moved = Delivery { target: "/in/acme?q=2".into(), ..good };
            assert_eq!(verdict(&verifies, SECRET, moved).unwrap_err(), Reject::SignatureMismatch);
        }
        let other = form(&at(URL_AND_FORM, "https://b.example"));
        assert_eq!(verdict(&verifies, SECRET, other).unwrap_err(), Reject::SignatureMismatch);
    }
    let nowhere = scheme(URL_AND_FORM);
    assert!(sign(&nowhere, SECRET.as_bytes(), &mut delivery(&[]), NOW).is_err(), "no public URL is known");
}

#[test]
fn a_form_that_is_none_could_not_have_been_signed() {
    let scheme = at(URL_AND_FORM, "https://a.example");
    let good = form(&scheme);
    for body in ["a=%FF", "{\"a\":1}", "--b\r\n"] {
        let broken = Delivery { body: Bytes::from_static(body.as_bytes()), ..good.clone() };
        assert_eq!(verdict(&scheme, SECRET, broken).unwrap_err(), Reject::FormMalformed, "{body}");
    }
}

#[test]
fn a_signed_digest_proves_the_body_and_is_told_apart_from_a_wrong_signature() {
    let scheme = at(URL_AND_DIGEST, "https://a.example");
    assert!(scheme.covers_body());
    let good = signed(&scheme, SECRET, &[]);
    assert!(verdict(&scheme, SECRET, good.clone()).is_ok());
    let body = Delivery { body: Bytes::from_static(b"{}"), ..good.clone() };
    assert_eq!(verdict(&scheme, SECRET, body.clone()).unwrap_err(), Reject::BodyDigestMismatch);
    assert_eq!(verdict(&scheme, "another of some length", body).unwrap_err(), Reject::SignatureMismatch);
    let absent = Delivery { target: "/in/acme?q=1".into(), ..good };
    assert_eq!(verdict(&scheme, SECRET, absent).unwrap_err(), Reject::CompanionMissing);
    let mut no_digest = delivery(&[]);
    no_digest.target = "/in/acme?digest=none".into();
    let bare = URL_AND_DIGEST.split_once("body_digest").unwrap().0;
    sign(&at(bare, "https://a.example"), SECRET.as_bytes(), &mut no_digest, NOW).unwrap();
    assert_eq!(verdict(&scheme, SECRET, no_digest).unwrap_err(), Reject::BodyDigestMismatch);
}

/// Signatures that hold in no implementation, or only in lenient ones.
#[test]
fn odd_public_key_signatures_are_refused_and_nothing_panics() {
    let scheme = scheme(PUBLIC);
    let seed = "07".repeat(32);
    let public = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
    let good = signed(&scheme, &seed, &[]);
    let signature = hex::decode(good.headers.first("x-sig").unwrap()).unwrap();
    let with = |bytes: &[u8]| verdict(&scheme, public, delivery(&[("x-sig", &hex::encode(bytes))]));
    assert!(with(&signature).is_ok());
    // The order of the group, added to S: the same signature again, unless S must be below it.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut malleable = signature.clone();
    let mut carry = 0_u16;
    for (byte, add) in malleable[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let mut identity = signature.clone();
    identity[..32].copy_from_slice(&[&[1][..], &[0; 31]].concat());
    for odd in [malleable, identity, vec![0; 64], vec![255; 64]] {
        assert_eq!(with(&odd).unwrap_err(), Reject::SignatureMismatch);
    }
    for len in [0, 63, 65, 128] {
        let wanted = if len == 0 { Reject::SignatureMissing } else { Reject::SignatureMalformed };
        assert_eq!(with(&vec![1; len]).unwrap_err(), wanted, "{len}");
    }
    let low_order = Key::new(&scheme, "live", "00".repeat(32).as_bytes()).unwrap_err();
    assert!(low_order.to_string().contains("low order"));
}

/// Each would be a pass over the whole body, asked for by somebody without a key.
#[test]
fn public_key_signatures_are_tried_so_often_at_most() {
    let scheme = scheme(&PUBLIC.replace(
        "encoding = \"hex\"",
        "encoding = \"hex\", grammar = { kind = \"versions\", separator = \" \", assign = \",\", keys = [\"v1a\"] }",
    ));
    let public = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
    let good = signed(&scheme, &"07".repeat(32), &[]);
    let good = std::str::from_utf8(good.headers.first("x-sig").unwrap()).unwrap();
    let with = |forged: u8, good: &[&str]| {
        let forged = (0..forged).map(|n| format!("v1a,{}", hex::encode([n; 64])));
        let all: Vec<String> = forged.chain(good.iter().map(|text| (*text).to_owned())).collect();
        verdict(&scheme, public, delivery(&[("x-sig", &all.join(" "))])).map(|_| ())
    };
    assert_eq!(with(3, &[good]), Ok(()));
    assert_eq!(with(0, &[good; 16]), Ok(()), "the same one again is not tried again");
    assert_eq!(with(4, &[good]), Err(Reject::SignatureMalformed));
    assert_eq!(with(4, &[]), Err(Reject::SignatureMismatch));
}

#[test]
fn no_digit_of_the_time_can_be_moved_to_the_body_or_back() {
    let touching = PUBLIC.replace("{body}", "{timestamp}{body}")
        + "timestamp = { from = \"header:X-Time\", unit = \"seconds\" }\n";
    let apart = touching.replace("{timestamp}{body}", "{timestamp}.{body}");
    let public = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
    let (touching, apart) = (scheme(&touching), scheme(&apart));
    let good = signed(&touching, &"07".repeat(32), &[]);
    assert!(verdict(&touching, public, good.clone()).is_ok());
    let signature = std::str::from_utf8(good.headers.first("x-sig").unwrap()).unwrap();
    let digits = NOW.millis() / 1000;
    for moved in 1..10 {
        let (time, rest) = (digits / 10_i64.pow(moved), digits % 10_i64.pow(moved));
        let mut changed = delivery(&[("x-sig", signature), ("x-time", &time.to_string())]);
        let width = moved as usize;
        changed.body = [format!("{rest:0width$}").as_bytes(), &good.body].concat().into();
        assert_eq!(verdict(&touching, public, changed).unwrap_err(), Reject::TimestampMalformed, "{time}");
    }
    let mut early = delivery(&[]);
    sign(&apart, "07".repeat(32).as_bytes(), &mut early, Timestamp::from_seconds(7)).unwrap();
    assert!(verdict(&apart, public, early).is_ok(), "what stands between them tells them apart");
}

#[test]
fn a_provider_file_that_cannot_hold_is_told() {
    let told = |text: &str| {
        let file = format!("name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n{text}");
        let definition: Definition = toml::from_str(&file).unwrap();
        let problems = Scheme::build(&definition, None, &BTreeMap::new()).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let ids = "event = { id = [\"header:X-Id\", \"json:/id\"] }";
    for (text, part) in [
        (format!("{ALTERNATIVES}{ids}"), "json:/id after a place that is not signed"),
        (URL_AND_DIGEST.replace("query:digest", "header:digest"), "which is not signed"),
        (URL_AND_DIGEST.replace("sha512", "md4"), "allowed: sha256, sha384, sha512, sha1, md5"),
        (URL_AND_DIGEST.replace("base64", "text"), "allowed: hex, hex-any-case, base64, base64url"),
        (PUBLIC.replace("\"hex\"\nsigned", "\"utf8\"\nsigned"), "allowed: hex, base64, whpk, public-key"),
        (VERSIONS.replace("whsec", "whpk"), "allowed: utf8, nfkd, sha1, hex, base64, whsec"),
        (
            format!("{TOKEN}[forward]\nheaders = [\"x-TOKEN\"]"),
            "header:x-token; allowed: nothing that carries",
        ),
        (
            format!("{}[forward]\nquery = true", TOKEN.replace("header:X-Token", "query:k")),
            "query:k; allowed: nothing that carries",
        ),
    ] {
        assert!(told(&text).contains(part), "{part}: {}", told(&text));
    }
    for good in [ALTERNATIVES, URL_AND_DIGEST] {
        let signed = good.lines().find(|line| line.starts_with("signed")).unwrap();
        let bad = told(&good.replace(signed, "signed = [\"{bdy}\"]"));
        assert!(bad.lines().count() == 1 && bad.contains("{bdy}"), "one mistake is told once: {bad}");
    }
}
