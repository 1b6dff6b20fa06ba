//! Pieces of what is signed, each against the text that a sender would sign, written out and signed by hand.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;

/// A scheme of one template, with more lines.
fn of(template: &str, more: &str) -> Arc<Scheme> {
    scheme(&format!(
        "algorithm = \"hmac-sha256\"\nsigned = ['{template}']\n\
         signature = {{ from = \"header:x-sig\", encoding = \"hex\" }}\n{more}"
    ))
}

/// A request with that body, whose signature is the MAC of `text`.
fn by_hand(text: &[u8], body: &str) -> Delivery {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text);
    let signature = hex::encode(mac.finalize().into_bytes());
    Delivery { body: body.to_owned().into(), ..delivery(&[("x-sig", &signature), ("x-salt", "s1")]) }
}

#[test]
fn every_piece_is_what_the_sender_signs() {
    let form = "form_sorted = { separator = \"&\", assign = \"=\", except = [\"sign\", \"sign_type\"], empty = false }";
    let values = "form_sorted = { separator = \"|\", except = [\"mac\"] }";
    for (template, more, body, text) in [
        ("{header:x-salt}{secret}{body}", "", "{}", "s1a secret of some length{}"),
        ("{raw json:/data}", "", r#"{"event":"paid","data":{ "id" : 1.50 }}"#, r#"{ "id" : 1.50 }"#),
        ("{raw form:p > json:/a}.", "", "p={\"a\":[1,%202]}", "[1, 2]."),
        ("{body:sorted}", "", r#"{"b": 1, "a": {"d": "x", "c": []}}"#, r#"{"a":{"c":[],"d":"x"},"b":1}"#),
        ("{body:base64url}", "", "{\"a\":\"??>\"}", "eyJhIjoiPz8-In0"),
        ("{body:md5:base64}", "", "abc", "kAFQmDzST7DWlj99KOF/cg=="),
        ("{body:sha1}", "", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("{body:md5:base64url}", "", "abc", "kAFQmDzST7DWlj99KOF_cg"),
        ("{body:sorted:md5}", "", "{\"b\":2, \"a\":1}", "608de49a4600dbb5b173492759792e4a"),
        ("{form_sorted}", form, "sign=x&b=2%203&sign_type=RSA2&a=&c=4", "b=2 3&c=4"),
        ("&{form_sorted}{secret}", form, "b=2&a=1", "&a=1&b=2a secret of some length"),
        ("{form_sorted:all}", values, "b=2&mac=x&a=", "|2"),
    ] {
        let scheme = of(template, more);
        let judged =
            |text: &str, body: &str| verdict(&scheme, SECRET, by_hand(text.as_bytes(), body)).map(|_| ());
        assert_eq!(judged(text, body), Ok(()), "{template}");
        assert_eq!(judged(&format!("{text} "), body), Err(Reject::SignatureMismatch), "{template}");
        let mut sent = Delivery { body: body.to_owned().into(), ..delivery(&[("x-salt", "s1")]) };
        sign(&scheme, SECRET.as_bytes(), &mut sent, NOW).unwrap();
        assert!(verdict(&scheme, SECRET, sent).is_ok(), "{template}: what is signed here is taken here");
    }
}

/// RFC 9421, appendix B.2.5: signed by the RFC's own key.
#[test]
fn an_http_message_signature_is_signed_by_what_its_input_says() {
    let rules = r#"
algorithm = "hmac-sha256"
secret = "base64"
signed = ["\"date\": {header:Date}\n\"@authority\": example.com\n\"content-type\": {header:Content-Type}\n\"@signature-params\": {header:Signature-Input > match:sig-b25=(.*)}"]
matching = { "header:Signature-Input" = 'sig-b25=\("date" "@authority" "content-type"\);created=[0-9]+;keyid="test-shared-secret"' }
signature = { from = "header:Signature", encoding = "base64", grammar = { kind = "pattern", pattern = 'sig-b25=:(?P<signature>[^:]+):' } }
timestamp = { from = 'header:Signature-Input > match:sig-b25=(.*) > match:[^;]*;created=([0-9]+);.*', unit = "seconds" }
"#;
    let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    let input =
        "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
    let judged = |date: &str, input: &str| {
        let headers = [
            ("date", date),
            ("content-type", "application/json"),
            ("signature-input", input),
            ("signature", "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"),
        ];
        let request = Delivery { body: Bytes::from_static(b"{\"hello\": \"world\"}"), ..delivery(&headers) };
        verdict(&scheme(rules), secret, request).map(|verified| verified.signed_at().map(Timestamp::seconds))
    };
    let date = "Tue, 20 Apr 2021 02:07:55 GMT";
    assert_eq!(judged(date, input), Ok(Some(1_618_884_473)));
    assert_eq!(judged("Tue, 20 Apr 2021 02:07:56 GMT", input), Err(Reject::SignatureMismatch));
    assert_eq!(judged(date, &input.replace("4473", "4474")), Err(Reject::SignatureMismatch));
    assert!(judged(date, &input.replace("sig-b25", "sig1")).is_err());
}

#[test]
fn a_body_that_a_piece_cannot_be_made_of_is_refused() {
    let form = "form_sorted = { separator = \"&\", assign = \"=\", except = [\"sign\"] }";
    for (template, more, body, cause) in [
        ("{raw json:/data}", "", "{\"data\":1,\"data\":1}", Reject::CompanionMissing),
        ("{raw json:/data}", "", "{\"event\":1}", Reject::CompanionMissing),
        ("{body:sorted}", "", "{\"a\":1,\"a\":1}", Reject::FormMalformed),
        ("{body:sorted:sha256}", "", "a=1", Reject::FormMalformed),
        ("{form_sorted}", form, "a=1&a=2", Reject::FormMalformed),
        ("{form_sorted}", form, "a=1&sign=1&sign=2", Reject::FormMalformed),
    ] {
        let found = verdict(&of(template, more), SECRET, by_hand(b"a=1&a=2", body));
        assert_eq!(found.unwrap_err(), cause, "{template} {body}");
    }
}

/// The first problem of a scheme of those lines.
fn problem(lines: &str) -> Option<String> {
    let file = format!(
        "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n\
         signature = {{ from = [\"header:x-sig\", \"header:x-sig2\"], encoding = \"hex\" }}\n{lines}"
    );
    let definition: Definition = toml::from_str(&file).unwrap();
    let built = Scheme::build(&definition, None, &BTreeMap::new());
    built.err().map(|problems| problems[0].to_string())
}

#[test]
fn what_would_prove_nothing_is_refused_at_load() {
    let meta = "algorithm = 'hmac-sha256'\nsigned = ['{header:m}.{body}']\n";
    let time = "timestamp = { from = 'header:m > match:.*t=([0-9]+)', unit = 'seconds' }\n";
    let note = meta.replace("{body}", "{header:n}");
    let digest = "body_digest = { from = 'header:m > match:.*d=([0-9a-f]+)', algorithm = 'sha256', encoding = 'hex' }\n";
    let fixed = "matching = { 'header:m' = 'v=1;[td]=[0-9a-f]+' }\n";
    let form = "algorithm = 'hmac-sha256'\nsigned = ['{form_sorted}']\nform_sorted = ";
    for (lines, told) in [
        ("algorithm = 'hmac-sha512'\nsigned = ['{secret}{body}']".to_owned(), None),
        (
            "algorithm = 'ed25519'\nsigned = ['{secret}{body}']".to_owned(),
            Some("with a plain digest or an HMAC"),
        ),
        ("algorithm = 'sha256'\nsigned = ['{body}']".to_owned(), Some("{secret} in every template")),
        (
            "algorithm = 'sha256'\nsigned = ['{if header:a}{secret}{end}{body}']".to_owned(),
            Some("not in an {if …}"),
        ),
        (
            "algorithm = 'hmac-sha256'\nsigned = ['abc{secret}']".to_owned(),
            Some("nothing of a delivery in it"),
        ),
        (
            format!("{meta}{time}"),
            Some("a rule of `matching` that says all of header:m, or {header:m > match"),
        ),
        (format!("{meta}{time}{fixed}"), None),
        (format!("{}{time}", meta.replace("{header:m}", "{header:m > match:.*t=([0-9]+)}")), None),
        (
            format!("{meta}{time}matching = {{ 'header:m > match:.*t=([0-9]+)' = '[0-9]{{10}}' }}"),
            Some("somebody else could move"),
        ),
        (
            format!(
                "{}timestamp = {{ from = 'header:m > match:v=(.*) > match:.*t=([0-9]+)', unit = 'seconds' }}",
                meta.replace("{header:m}", "{header:m > match:v=(.*)}")
            ),
            Some("somebody else could move"),
        ),
        (format!("{note}{digest}"), Some("somebody else could move")),
        (format!("{note}{digest}{fixed}"), None),
        (format!("{meta}timestamp = {{ from = 'json:/m > match:.*t=([0-9]+)', unit = 'seconds' }}"), None),
        (format!("{form}{{ separator = '', assign = '=' }}"), Some("tells fields from their values")),
        (format!("{form}{{ separator = '=', assign = '=' }}"), Some("tells fields from their values")),
        (format!("{form}{{ separator = '&', except = ['form:sign'] }}"), Some("and no places")),
        (form.replace("{form_sorted}", "{body}") + "{ separator = '&' }", Some("or no such table")),
        (
            format!("{form}{{ separator = '&' }}\ntimestamp = {{ from = 'form:t', unit = 'seconds' }}"),
            Some("proved only together"),
        ),
        (
            "algorithm = 'token'\n[forward]\nheaders = ['X-Sig2']".to_owned(),
            Some("nothing that carries the secret itself"),
        ),
    ] {
        let found = problem(&lines);
        assert_eq!(found.is_some(), told.is_some(), "{lines}: {found:?}");
        assert!(told.is_none_or(|told| found.as_ref().unwrap().contains(told)), "{lines}: {found:?}");
    }
    let file =
        "name = \"a\"\ntitle = \"A\"\n[[schemes]]\nname = \"s\"\nalgorithm = \"token\"\nform_sorted = \"&\"";
    assert!(
        toml::from_str::<Definition>(file).unwrap_err().to_string().contains("a table such as { separator")
    );
}

#[test]
fn what_a_piece_leaves_unproved_is_warned_of() {
    let warned = |template: &str, more: &str| of(template, more).warnings().join(" ");
    assert!(warned("{body:md5}", "").contains("MD5 or SHA-1, which are broken"));
    assert!(warned("{form_sorted}", "form_sorted = { separator = \"|\" }").contains("signs no names"));
    assert_eq!(warned("{body:sorted:sha256}", ""), "");
    assert!(
        warned("{form_sorted}", "form_sorted = { separator = \"&\", assign = \"=\" }")
            .contains("proves the fields together")
    );
    assert!(
        warned("{header:a}{header:b}", "").contains("header:a and header:b are signed with nothing between")
    );
    assert_eq!(warned("{header:a}{header:b}", "matching = { \"header:b\" = \"[0-9]{4}\" }"), "");
    assert_eq!(warned("{header:a}.{header:b}", ""), "");
}

#[test]
fn two_numbers_one_after_the_other_are_no_der() {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &aws_lc_rs::rand::SystemRandom::new(),
    );
    let pkcs8 = pkcs8.unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref());
    let point = pair.unwrap().public_key().as_ref().to_vec();
    // SubjectPublicKeyInfo of P-256 (RFC 5480): the same bytes before any point.
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    let (private, public) = (STANDARD.encode(&pkcs8), STANDARD.encode([head, point.clone()].concat()));
    let written = |algorithm: &str| {
        scheme(&format!(
            "algorithm = \"{algorithm}\"\nsigned = [\"{{body}}\"]\n\
             signature = {{ from = \"header:x-sig\", encoding = \"base64url\" }}\n"
        ))
    };
    let (raw, der) = (written("ecdsa-p256-sha256-raw"), written("ecdsa-p256-sha256"));
    let sent = signed(&raw, &private, &[]);
    let signature = URL_SAFE_NO_PAD.decode(sent.headers.first("x-sig").unwrap()).unwrap();
    assert_eq!(signature.len(), 64);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&sent.body, &signature).unwrap();
    assert!(verdict(&raw, &public, sent.clone()).is_ok());
    assert_eq!(verdict(&der, &public, sent).unwrap_err(), Reject::SignatureMismatch);
    assert_eq!(verdict(&raw, &public, signed(&der, &private, &[])).unwrap_err(), Reject::SignatureMismatch);
}

#[test]
fn what_may_be_absent_is_absent_to_every_reader() {
    let some = "{\"b\":1";
    for (template, absent, there) in [
        (
            "{optional json:/a}{json:/b}",
            format!("{some},\"a\":null}}"),
            ["\"A\":1", "\"a\":[\"x\"]", "\"a\":1,\"a\":2", "\"a\":1,\"A\":2"],
        ),
        (
            "{if json:/a/c}-{json:/a/c}{end}{json:/b}",
            format!("{some},\"a\":{{}}}}"),
            ["\"a\":{\"c\":{}}", "\"A\":{\"c\":1}", "\"a\":{\"C\":0}", "\"a\":{\"c\":1,\"c\":1}"],
        ),
    ] {
        let scheme = of(template, "");
        let judged = |body: &str| verdict(&scheme, SECRET, by_hand(b"1", body)).map(|_| ());
        assert_eq!(judged(&absent), Ok(()), "{template}");
        for member in there {
            assert_eq!(
                judged(&format!("{some},{member}}}")),
                Err(Reject::CompanionMissing),
                "{template} {member}"
            );
        }
    }
    let scheme = of("{optional form:a}{form:b}", "");
    let judged = |body: &str| verdict(&scheme, SECRET, by_hand(b"1", body)).map(|_| ());
    assert_eq!(judged("b=1&c=2"), Ok(()));
    for body in ["b=1&a=1&a=2", "b=1&a[]=2", "b=1&c=2;a=1"] {
        assert_eq!(judged(body), Err(Reject::CompanionMissing), "{body}");
    }
}
