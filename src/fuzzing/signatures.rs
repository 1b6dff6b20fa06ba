//! Signatures: every header grammar, and every scheme that comes with the binary. What is signed by its rules verifies,
//! and nothing verifies that does not hold a signature made with the key.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::bodies::posted;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{Catalog, Definition, Grammar, Scheme};
use crate::verify::{Key, Verifier, sign};

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(super) const SECRET: &[u8] = b"a secret of some length";
const BODY: &[u8] = b"{}";
/// What stands in a fuzzer's text for the signature, and for the time.
const SIGNATURE: u8 = 1;
const TIME: u8 = 2;

const TIMED: &str =
    "signed = [\"{timestamp}.{body}\"]\ntimestamp = { from = \"signature:t\", unit = \"seconds\" }";
const BARE: &str = "signed = [\"{body}\"]";

/// Grammars, what is signed with them, and one well-formed text for each.
const GRAMMARS: [(&str, &str, &str); 9] = [
    ("kind = \"plain\", prefix = \"sha256=\", ignore_case = true", BARE, "SHA256=\u{1}"),
    ("kind = \"plain\", prefix = \"v1=\", optional = true", BARE, "\u{1}"),
    (
        "kind = \"pairs\", separator = \",\", assign = \"=\", keys = [\"v1\", \"v2\"]",
        TIMED,
        "t=\u{2},v0=a,v1=\u{1}",
    ),
    (
        "kind = \"pairs\", separator = \";\", assign = \":\", keys = [\"s\"], trim = true, first = true",
        TIMED,
        " t : \u{2} ; s : \u{1} ; s : b",
    ),
    (
        "kind = \"sets\", separator = \" \", pairs = { separator = \",\", assign = \"=\", keys = [\"v1\"] }",
        TIMED,
        "t=1,v1=a t=\u{2},v1=\u{1}",
    ),
    ("kind = \"versions\", separator = \" \", assign = \",\", keys = [\"v1\"]", BARE, "v0,a v1,b v1,\u{1}"),
    ("kind = \"positional\", separator = \",\", names = [\"t\"]", TIMED, "\u{2},a,\u{1}"),
    (
        "kind = \"pattern\", pattern = \"t=(?P<t>\\\\d+),(?:v0=[a-z]*,)*v1=(?P<signature>[^, ]+)\"",
        TIMED,
        "t=\u{2},v0=a,v1=\u{1}",
    ),
    (
        "kind = \"choices\", choices = { \"sha256=\" = \"hmac-sha256\", \"sha1=\" = \"hmac-sha1\" }",
        BARE,
        "sha256=\u{1}",
    ),
];

/// The scheme of a provider file with these lines.
pub(super) fn scheme(lines: &str) -> Scheme {
    let file = format!("name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n{lines}");
    let definition: Definition = toml::from_str(&file).expect("the file is in form");
    Scheme::build(&definition, None, &BTreeMap::new()).expect("the scheme is sound")
}

/// Judges by `scheme` with one secret.
pub(super) fn verifier(scheme: Scheme, secret: &[u8]) -> Verifier {
    let key = Key::new(&scheme, "live", secret).expect("the secret is in the scheme's form");
    Verifier::new(Arc::new(scheme), vec![key])
}

fn grammar_of(grammar: &str, signed: &str) -> Verifier {
    let from = "from = [\"header:x-sig\", \"header:x-old\"], encoding = \"hex\", repeated = \"join\"";
    let lines =
        format!("algorithm = \"hmac-sha256\"\nsignature = {{ {from}, grammar = {{ {grammar} }} }}\n{signed}");
    verifier(scheme(&lines), SECRET)
}

static BY_GRAMMAR: LazyLock<Vec<Verifier>> =
    LazyLock::new(|| GRAMMARS.iter().map(|(grammar, signed, _)| grammar_of(grammar, signed)).collect());

/// The signatures over [`BODY`], with a time and without.
static SIGNED: LazyLock<[String; 2]> = LazyLock::new(|| {
    ["{body}", "1800000000.{body}"].map(|template| {
        let plain = format!(
            "algorithm = \"hmac-sha256\"\nsignature = {{ from = \"header:x-sig\", encoding = \"hex\" }}\n\
             signed = [\"{template}\"]"
        );
        let mut delivery = posted(BODY);
        sign(&scheme(&plain), SECRET, &mut delivery, NOW).expect("it has what is signed");
        String::from_utf8(delivery.headers.first("x-sig").unwrap_or_default().to_vec()).expect("hexadecimal")
    })
});

/// The grammar's number, and a text for it in which a signature and a time may stand.
pub fn grammar(data: &[u8]) {
    let Some((number, text)) = data.split_first() else { return };
    let at = usize::from(*number) % GRAMMARS.len();
    let (verifier, (_, signed, formed)) = (&BY_GRAMMAR[at], GRAMMARS[at]);
    let timed = signed == TIMED;
    let verdict = |text: &[u8]| {
        let filled: Vec<u8> = text
            .iter()
            .flat_map(|byte| match *byte {
                SIGNATURE => SIGNED[usize::from(timed)].as_bytes().to_vec(),
                TIME => b"1800000000".to_vec(),
                other => vec![other],
            })
            .collect();
        let mut delivery = posted(BODY);
        for (line, name) in filled.split(|byte| *byte == b'\n').zip(["x-sig", "x-old", "x-sig"]) {
            delivery.headers.push(name, line);
        }
        verifier.verify(delivery, NOW)
    };
    assert!(verdict(formed.as_bytes()).is_ok(), "a well-formed text verifies");
    if let Ok(verified) = verdict(text) {
        assert!(text.contains(&SIGNATURE), "nothing verifies without a signature");
        assert!(!timed || verified.signed_at() == Some(NOW), "nor with another time");
    }
    agree(verifier, text);
}

/// Signs `body` and has it judged, as it is and with one bit changed.
fn agree(verifier: &Verifier, body: &[u8]) {
    let scheme = verifier.scheme();
    match scheme.signature.grammar {
        // What an expression matches cannot be made of it.
        Grammar::Pattern { .. } => return,
        Grammar::Plain { .. }
        | Grammar::Pairs(_)
        | Grammar::Sets { .. }
        | Grammar::Positional { .. }
        | Grammar::Choices { .. }
        | Grammar::Versions { .. } => {}
    }
    let mut delivery = posted(body);
    sign(scheme, SECRET, &mut delivery, NOW).expect("it has what is signed");
    assert!(verifier.verify(delivery.clone(), NOW).is_ok(), "what signs verifies");
    let mut changed = body.to_vec();
    if let Some(first) = changed.first_mut() {
        *first ^= 1;
        let other = Delivery { body: changed.into(), ..delivery };
        assert!(verifier.verify(other, NOW).is_err(), "another body does not");
    }
}

/// What keys of every kind look like; nobody has the private ones.
const KEYS: [&[u8]; 5] = [
    b"5f1c0e0a0f7a2b5fd3a9c0e7e1f0d4b26a1b8c9d5f1c0e0a0f7a2b5fd3a9c0e7",
    b"user:5f1c0e0a0f7a2b5fd3a9c0e7e1f0d4b2",
    b"MCowBQYDK2VwAyEAnI4px9vyE6+BjqFlBFNU03IKM5mh6orMnoK8Hw9DRu0=",
    b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2tQ2A2KJWGAg0yAp1qoGV+inmoHVgch9wZhR1qzPa8Hga62COfKVI7OA+KJH+bti5UlC5UAgH14vghxppDl9Bw==",
    b"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA5aEFZhIZY/74YpCkfEqLzoecB4VDlS1JfMCcuf3n6I2B9PPry3PLI4+Ix1vCmMrTHkdFUuZac9xqHh/q6SNSs6Shd8vF5jFQr4Hbegp1LXJW7DKdQVHlNlqW0W1xuIznVBSAiS6T18r3R/rDoWj8fw86hD0U7x9nG6Bgz1pD8RdDX+wyM90knDzD9dSWQM79jRWcP3MBUuebX9ECfwibGoeFdsDeFEpUJMFjRIqupOZPBzClOuKDFZe6De4KOUcU0iomfDkaXe/5e5U9eN0qd6wc+6X7SqGndxXZe5PCQTEzjGVsCc6ACXBP4l5uOCwUcAdfCCnkn97d+3XQRhZ+TQIDAQAB",
];

/// Every scheme that comes with the binary, with a key that it takes.
static BUILT_IN: LazyLock<Vec<Verifier>> = LazyLock::new(|| {
    let catalog = Catalog::built_in().expect("the built-in files are sound");
    let schemes = catalog.iter().flat_map(|definition| {
        let built = |name: &str| Scheme::build(definition, Some(name), &BTreeMap::new()).ok();
        definition.schemes.iter().filter_map(move |scheme| built(&scheme.name))
    });
    let keyed = schemes.filter_map(|scheme| {
        let scheme = scheme.at("https://hooks.example.com:8443/base");
        let key = KEYS.iter().find_map(|text| Key::new(&scheme, "live", text).ok())?;
        Some(Verifier::new(Arc::new(scheme), vec![key]))
    });
    keyed.collect()
});

/// A scheme's number, a query, header lines up to an empty one, and a body.
pub fn verify(data: &[u8]) {
    let Some((number, rest)) = data.split_first() else { return };
    let verifier = &BUILT_IN[usize::from(*number) % BUILT_IN.len()];
    let mut lines = rest.split(|byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut delivery = posted(b"");
    delivery.target = format!("/in/acme?{query}");
    let mut at = 1 + query.len();
    for line in lines {
        at += line.len() + 1;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        let (name, value) = line.split_at(colon);
        delivery.headers.push(&String::from_utf8_lossy(name), &value[1..]);
    }
    delivery.body = rest.get(at.min(rest.len())..).unwrap_or_default().to_vec().into();
    assert!(verifier.verify(delivery, NOW).is_err(), "nobody has the key");
}
