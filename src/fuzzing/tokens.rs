//! JSON Web Tokens: taken only where the algorithm is the pinned one and the writing the one that there is.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::bodies::{line, posted};
use super::signatures::{NOW, SECRET, scheme, verifier};
use crate::delivery::Delivery;
use crate::extract::{self, Found, Pointer};
use crate::verify::Verifier;

const CLAIMS: &str = "[schemes.jwt]\nclaims = { iss = [\"acme\", \"b\"], aud = \"here\", live = true }\n";
const BODY: &[u8] = b"{\"id\":1}";

static IN_HEADER: LazyLock<Verifier> = LazyLock::new(|| {
    let lines = format!(
        "algorithm = \"jwt-hs256\"\nsignature = {{ from = \"header:x-sig\", grammar = {{ kind = \"plain\", \
         prefix = \"Bearer \", ignore_case = true }} }}\n\
         body_digest = {{ from = \"jwt:/sum\", algorithm = \"sha256\", encoding = \"hex\", optional = true }}\n\
         timestamp = {{ from = \"jwt:/iat\", unit = \"seconds\" }}\n{CLAIMS}expires = \"required\"\nleeway = \"5s\""
    );
    verifier(scheme(&lines), SECRET)
});

static AS_BODY: LazyLock<Verifier> = LazyLock::new(|| {
    let lines = format!("algorithm = \"jwt-hs256\"\nsignature = {{ from = \"body\" }}\n{CLAIMS}");
    verifier(scheme(&lines), SECRET)
});

/// A header's JSON in the first line, claims in the second (both are signed as they are); beyond it a text that is
/// taken for a token whole.
pub fn token(data: &[u8]) {
    let end = |text: &[u8]| text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (header, rest) = data.split_at(end(data));
    let rest = rest.get(1..).unwrap_or_default();
    let (claims, rest) = rest.split_at(end(rest));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length is a key");
    mac.update(signed.as_bytes());
    let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    for (verifier, delivery) in [(&*IN_HEADER, carried(&text)), (&*AS_BODY, posted(text.as_bytes()))] {
        if verifier.verify(delivery, NOW).is_ok() {
            sound(header, claims);
        }
    }
    for at in [0, text.len() / 2, text.len() - 1] {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("one sign of ASCII for another");
        assert!(IN_HEADER.verify(carried(&changed), NOW).is_err(), "another text");
        assert!(AS_BODY.verify(posted(changed.as_bytes()), NOW).is_err(), "another body");
    }
    let (free, _) = line(rest.get(1..).unwrap_or_default());
    assert!(IN_HEADER.verify(carried(&free), NOW).is_err(), "nobody has the key");
    assert!(AS_BODY.verify(posted(free.as_bytes()), NOW).is_err(), "nobody has the key");
}

fn carried(token: &str) -> Delivery {
    let mut delivery = posted(BODY);
    delivery.headers.push("x-sig", format!("Bearer {token}").as_bytes());
    delivery
}

/// What a token that was taken says, as another parser reads it.
fn sound(header: &[u8], claims: &[u8]) {
    let [algorithm, critical, unencoded] =
        ["/alg", "/crit", "/b64"].map(|text| Pointer::parse(text).expect("it is one"));
    let found = extract::find(header, &[&algorithm, &critical, &unencoded]);
    assert_eq!(found[0].as_ref().and_then(Found::text).as_deref(), Some("HS256"));
    assert!(found[1..].iter().flatten().all(|found| found.raw() == "null"));
    // A number that no float holds stands unread between the claims.
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else { return };
    assert!(claims.is_object());
    let says = |claim: &str, wanted: &[&str]| match &claims[claim] {
        Value::Array(all) => all.iter().any(|one| wanted.iter().any(|wanted| one == wanted)),
        one => wanted.iter().any(|wanted| one == wanted),
    };
    assert!(says("iss", &["acme", "b"]) && says("aud", &["here"]));
    let now = NOW.seconds() as f64;
    assert!(claims["exp"].is_null() || claims["exp"].as_f64().is_some_and(|end| end + 5.0 > now));
}
