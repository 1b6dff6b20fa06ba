//! Schemes that no built-in provider has: grammars, units, key forms and alternatives, signed and verified by
//! the same rules, and refused for the right reason where something is missing or changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

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
