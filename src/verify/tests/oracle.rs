//! Handshakes that sign for anybody who asks: an attacker asks for a signature and uses it for a delivery.

use super::*;

/// As the provider with the GET challenge has it: one key signs events and challenges.
const CHALLENGED: &str = r#"
algorithm = "hmac-sha1"
secret = "utf8"
signed = ["{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
[[schemes.handshakes]]
name = "challenge"
verify = false
match = { methods = ["GET"], matching = { "query:c" = "[0-9a-f]{20,32}" } }
computed.mac = { algorithm = "hmac-sha1", of = "{query:c}" }
answer = { text = "{computed:mac}" }
"#;
const SECRET: &str = "0123456789abcdef";

fn verifier(text: &str, keys: &[&str]) -> Verifier {
    let scheme = scheme(text);
    let key = |secret: &&str| Key::new(&scheme, "live", secret.as_bytes()).unwrap();
    let keys = keys.iter().map(key).collect();
    Verifier::new(scheme, keys)
}

/// What a stranger is told who asks with this value.
fn asked(verifier: &Verifier, value: &str) -> Option<String> {
    let target = format!("/in/acme?c={value}");
    let question = Delivery { method: "GET".into(), target, body: Bytes::new(), ..delivery(&[]) };
    verifier.answer_anybody(&question, NOW).unwrap().map(|answer| answer.body)
}

fn with(body: &str, signature: &str) -> Delivery {
    Delivery { body: Bytes::copy_from_slice(body.as_bytes()), ..delivery(&[("x-signature", signature)]) }
}

#[test]
fn a_signature_that_a_stranger_was_given_verifies_no_delivery() {
    let verifier = verifier(CHALLENGED, &[SECRET]);
    let challenge = "20f9f8ed05f77439fe955c977e4c8a53";
    let given = asked(&verifier, challenge).unwrap();
    let refused = verifier.verify(with(challenge, &given), NOW).unwrap_err();
    assert_eq!(refused.reject, Reject::SignatureMismatch);
    assert!(refused.detail.contains("a handshake signs for anybody"), "{}", refused.detail);
    for event in ["{\"id\":1}", "20F9F8ED05F77439FE955C977E4C8A53", "20f9f8ed05f77439fe955c977e4c8a53\n"] {
        assert_eq!(asked(&verifier, event), None, "nothing else is signed");
    }
    let mut event = with("{\"id\":1}", "");
    event.headers = Headers::default();
    sign(verifier.scheme(), SECRET.as_bytes(), &mut event, NOW).unwrap();
    verifier.verify(event, NOW).unwrap();
}

#[test]
fn several_places_with_signs_between_them_are_told_too() {
    let text = CHALLENGED
        .replace("{query:c}\" }", "v0:{query:c}.{query:d}:${{x\" }")
        .replace("${{", "{{")
        .replace("\"query:c\" =", "\"query:d\" = \"(?i:a|b)+|c\", \"query:c\" =");
    let verifier = verifier(&text, &[SECRET]);
    let challenge = "20f9f8ed05f77439fe955c977e4c8a53";
    let given = asked(&verifier, &format!("{challenge}&d=aB")).unwrap();
    let body = format!("v0:{challenge}.aB:{{x");
    assert_eq!(verifier.verify(with(&body, &given), NOW).unwrap_err().reject, Reject::SignatureMismatch);
    assert_eq!(asked(&verifier, &format!("{challenge}&d=ac")), None);
}

#[test]
fn the_first_active_secret_signs_and_without_one_nothing_does() {
    let verifier = verifier(CHALLENGED, &[SECRET, "fedcba9876543210"]);
    let given = asked(&verifier, "00000000000000000000").unwrap();
    let first = super::super::handshake::Lent::new(verifier.scheme(), SECRET.as_bytes());
    let mac = first.make(crate::provider::Made::HmacSha1, b"00000000000000000000").unwrap();
    assert_eq!(given, hex::encode(mac));
    let expired =
        Key::new(verifier.scheme(), "live", SECRET.as_bytes()).unwrap().valid_between(None, Some(NOW));
    let nobody = Verifier::new(Arc::clone(verifier.scheme()), vec![expired]);
    let target = "/in/acme?c=00000000000000000000".to_owned();
    let question = Delivery { method: "GET".into(), target, body: Bytes::new(), ..delivery(&[]) };
    assert_eq!(nobody.answer_anybody(&question, NOW).unwrap_err().reject, Reject::NoActiveSecret);
}

#[test]
fn a_known_challenge_has_its_known_answer() {
    // RFC 2202, case 2, and RFC 4231, case 2.
    for (algorithm, answer) in [
        ("hmac-sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("hmac-sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ] {
        let text = CHALLENGED
            .replace("algorithm = \"hmac-sha1\", of", &format!("algorithm = \"{algorithm}\", of"))
            .replace("[0-9a-f]{20,32}", "[a-z ?]+");
        let verifier = verifier(&text, &["Jefe"]);
        assert_eq!(asked(&verifier, "what+do+ya+want+for+nothing%3F").as_deref(), Some(answer));
    }
}
