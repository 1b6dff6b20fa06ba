//! Tokens and public keys: made by the rules that verify them, and refused for the right reason where a token is
//! another's, over, for something else, or spelled in another way.

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::pairs::{Pair, armoured, pair};
use super::*;
use crate::provider::secret::KEY_BYTES_MIN;

const SIGNED: [&str; 7] = [
    "ed25519",
    "ecdsa-p256-sha256",
    "ecdsa-p384-sha384",
    "rsa-pkcs1-sha256",
    "rsa-pkcs1-sha384",
    "rsa-pkcs1-sha512",
    "rsa-pss-sha256",
];
const TOKENS: [&str; 10] = [
    "jwt-hs256",
    "jwt-hs384",
    "jwt-hs512",
    "jwt-rs256",
    "jwt-rs384",
    "jwt-rs512",
    "jwt-ps256",
    "jwt-es256",
    "jwt-es384",
    "jwt-eddsa",
];

fn rules(algorithm: &str) -> String {
    match algorithm.starts_with("jwt-") {
        true => format!(
            "algorithm = \"{algorithm}\"\nsignature = {{ from = \"header:X-Sig\" }}\n\
             body_digest = {{ from = \"jwt:/sum\", algorithm = \"sha256\", encoding = \"hex\" }}\n\
             timestamp = {{ from = \"jwt:/iat\", unit = \"seconds\" }}\n\
             [schemes.jwt]\nclaims = {{ iss = [\"acme\", \"acme.example\"], aud = \"here\", n = 7, live = true }}\n\
             expires = \"required\"\nrequest_digest = \"jwt:/qsh\"\n"
        ),
        false => format!(
            "algorithm = \"{algorithm}\"\nsecret = \"public-key\"\nsigned = [\"{{method}}.{{body}}\"]\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"base64url\" }}\n"
        ),
    }
}

fn keys(algorithm: &str) -> Pair {
    if algorithm.starts_with("jwt-hs") {
        let secret = "a secret of some length".to_owned();
        return Pair { private: secret.clone(), public: secret };
    }
    pair(algorithm)
}

fn value(delivery: &Delivery) -> String {
    String::from_utf8(delivery.headers.first("x-sig").unwrap().to_vec()).unwrap()
}

#[test]
fn every_algorithm_signs_and_verifies_and_one_changed_byte_is_refused() {
    for algorithm in SIGNED.into_iter().chain(TOKENS) {
        let (scheme, pair) = (scheme(&rules(algorithm)), keys(algorithm));
        let good = signed(&scheme, &pair.private, &[]);
        let verified = verdict(&scheme, &pair.public, good.clone()).unwrap();
        assert!(verified.covers_body(), "{algorithm}");
        let other_body = Delivery { body: Bytes::from_static(b"{\"id\":\"evt_2\"}"), ..good.clone() };
        assert!(verdict(&scheme, &pair.public, other_body).is_err(), "{algorithm}");
        let text = value(&good);
        let step = (text.len() / 40).max(1);
        for at in (0..text.len()).step_by(step) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let found = verdict(&scheme, &pair.public, delivery(&[("x-sig", &changed)]));
            assert!(found.is_err(), "{algorithm}: byte {at}");
        }
    }
}

/// A token of `claims` under the scheme, whatever the scheme itself would put there.
fn token(claims: &str, header: &str) -> String {
    let unsigned = jwt::unsigned(header.as_bytes(), claims.as_bytes());
    let mac =
        algorithm::Mac::new(crate::provider::Algorithm::HmacSha256, b"a secret of some length").unwrap();
    jwt::sealed(&unsigned, mac.of(unsigned.as_bytes()).as_bytes())
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn judged(rules: &str, claims: &str, header: &str) -> Result<Verified, Reject> {
    let scheme = scheme(&format!(
        "algorithm = \"jwt-hs256\"\nsignature = {{ from = \"header:X-Sig\" }}\n[schemes.jwt]\n{rules}"
    ));
    verdict(&scheme, "a secret of some length", delivery(&[("x-sig", &token(claims, header))]))
}

#[test]
fn a_token_ends_and_begins_when_it_says() {
    let now = NOW.seconds();
    for (rules, claims, wanted) in [
        ("", "{}".to_owned(), None),
        ("", format!("{{\"exp\":{}}}", now + 1), None),
        ("", format!("{{\"exp\":{now}}}"), Some(Reject::TokenExpired)),
        ("leeway = \"2s\"", format!("{{\"exp\":{}}}", now - 1), None),
        ("leeway = \"2s\"", format!("{{\"exp\":{}}}", now - 2), Some(Reject::TokenExpired)),
        ("", format!("{{\"exp\":{now}.5}}"), None),
        ("", "{\"exp\":\"9999999999\"}".to_owned(), Some(Reject::ClaimMismatch)),
        ("", "{\"exp\":1e300}".to_owned(), Some(Reject::ClaimMismatch)),
        ("", "{\"exp\":-1}".to_owned(), Some(Reject::ClaimMismatch)),
        ("", format!("{{\"nbf\":{now}}}"), None),
        ("", format!("{{\"nbf\":{}}}", now + 1), Some(Reject::TokenPremature)),
        ("expires = \"required\"", "{}".to_owned(), Some(Reject::ClaimMismatch)),
        ("expires = \"ignored\"", "{\"exp\":1}".to_owned(), None),
    ] {
        assert_eq!(judged(rules, &claims, HEADER).err(), wanted, "{rules} {claims}");
    }
}

#[test]
fn claims_are_compared_by_kind_and_an_array_holds_if_one_of_it_does() {
    let rules = "claims = { aud = [\"a\", \"b\"], ok = true, n = 3, \"/deep/x\" = \"y\" }";
    let whole = |aud: &str, ok: &str, n: &str, x: &str| {
        format!("{{\"aud\":{aud},\"ok\":{ok},\"n\":{n},\"deep\":{{\"x\":{x}}}}}")
    };
    assert!(judged(rules, &whole("\"b\"", "true", "3", "\"y\""), HEADER).is_ok());
    assert!(judged(rules, &whole("[\"z\",\"a\"]", "true", "3", "\"y\""), HEADER).is_ok());
    for claims in [
        whole("\"c\"", "true", "3", "\"y\""),
        whole("[]", "true", "3", "\"y\""),
        whole("{\"a\":1}", "true", "3", "\"y\""),
        whole("\"a\"", "\"true\"", "3", "\"y\""),
        whole("\"a\"", "true", "\"3\"", "\"y\""),
        whole("\"a\"", "true", "3", "null"),
        "{}".to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        "{\"aud\":\"a\"".to_owned(),
    ] {
        assert_eq!(judged(rules, &claims, HEADER).unwrap_err(), Reject::ClaimMismatch, "{claims}");
    }
}

/// What the log says of a token that is refused.
fn told(rules: &str, claims: &str, header: &str) -> String {
    let scheme = scheme(rules);
    let key = Key::new(&scheme, "live", b"a secret of some length").unwrap().with_id(Some("k1"));
    let sent = delivery(&[("x-sig", &token(claims, header))]);
    Verifier::new(scheme, vec![key]).verify(sent, NOW).unwrap_err().detail.into_owned()
}

#[test]
fn a_refused_token_is_told_with_what_was_found_and_wanted_and_no_more() {
    let rules = |more: &str| {
        format!("algorithm = \"jwt-hs256\"\nsignature = {{ from = \"header:X-Sig\" }}\n{more}\n")
    };
    let iss = rules("jwt = { claims = { iss = [\"acme\", \"acme-eu\"] } }");
    for (claims, found) in [
        ("{\"iss\":\"other\",\"sub\":\"jane\"}", "\"other\""),
        ("{\"sub\":\"jane\"}", "missing"),
        ("{\"iss\":7,\"sub\":\"jane\"}", "7"),
        ("{\"iss\":{\"sub\":\"jane\"}}", "an object"),
        ("{\"iss\":[1,[\"jane\"],null,true,\"jane\"]}", "a list of 5: 1, a list, null, true, …"),
        ("{\"iss\":\"a\\n\\u001b[2J\"}", "\"a\\n\\u{1b}[2J\""),
    ] {
        let said = told(&iss, claims, HEADER);
        let wanted = "; the scheme demands \"acme\" or \"acme-eu\"";
        assert_eq!(said, format!("the claim /iss is {found}{wanted}"));
    }
    let long = format!("{{\"iss\":\"{}\"}}", "x".repeat(5000));
    assert!(told(&iss, &long, HEADER).len() < 200);
    let number = rules("jwt = { claims = { n = 7, ok = true } }");
    assert_eq!(told(&number, "{\"n\":8}", HEADER), "the claim /n is 8; the scheme demands 7");
    assert_eq!(
        told(&number, "{\"n\":7,\"exp\":\"soon\"}", HEADER),
        "the claim /exp is \"\\\"soon\\\"\", which is no time in seconds"
    );
    let kid = rules("key = { id = \"jwt-header:/kid\" }");
    let header = |kid: &str| format!("{{\"alg\":\"HS256\",\"kid\":\"{kid}\"}}");
    assert_eq!(
        told(&kid, "{}", &header("k2\\u202e")),
        "no key that counts here has the id \"k2\\u{202e}\", which the delivery names"
    );
    assert!(told(&kid, "{}", &header(&"k".repeat(5000))).len() < 160);
    let other = told(&kid, "{}", "{\"alg\":\"none\",\"kid\":\"k1\"}");
    assert_eq!(other, "the token's alg is \"none\", and this scheme has HS256");
}

#[test]
fn a_header_chooses_nothing() {
    for (header, wanted) in [
        (r#"{"alg":"none"}"#, Reject::WrongAlgorithm),
        (r#"{"alg":"HS512"}"#, Reject::WrongAlgorithm),
        (r#"{"alg":"hs256"}"#, Reject::WrongAlgorithm),
        (r#"{"alg":"none","alg":"HS256"}"#, Reject::SignatureMalformed),
        (r#"{"alg":"HS256","crit":["exp"]}"#, Reject::SignatureMalformed),
        (r#"{"alg":"HS256","b64":false}"#, Reject::SignatureMalformed),
        (r#"{"typ":"JWT"}"#, Reject::SignatureMalformed),
        (r#"["HS256"]"#, Reject::SignatureMalformed),
        ("", Reject::SignatureMalformed),
    ] {
        assert_eq!(judged("", "{}", header).unwrap_err(), wanted, "{header}");
    }
}

#[test]
fn a_token_has_one_spelling_and_a_bounded_length() {
    let scheme = scheme("algorithm = \"jwt-hs256\"\nsignature = { from = \"header:X-Sig\" }\n");
    let with = |text: &str| {
        verdict(&scheme, "a secret of some length", delivery(&[("x-sig", text)])).map(|_| ()).unwrap_err()
    };
    let good = token("{\"a\":1}", HEADER);
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    for odd in [
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.x"),
        format!("{unsigned}."),
        unsigned.to_owned(),
        format!(" {good}"),
        good.replace('.', ".."),
        "...".to_owned(),
    ] {
        assert_eq!(with(&odd), Reject::SignatureMalformed, "{odd}");
    }
    let long = token(&format!("{{\"a\":\"{}\"}}", "x".repeat(17_000)), HEADER);
    assert_eq!(with(&long), Reject::SignatureMalformed);
}

#[test]
fn a_key_is_chosen_by_its_id_alone() {
    let scheme = scheme(
        "algorithm = \"jwt-hs256\"\nsignature = { from = \"header:X-Sig\" }\nkey = { id = \"jwt-header:/kid\" }\n",
    );
    let key = |label: &str, secret: &str, id: &str| {
        Key::new(&scheme, label, secret.as_bytes()).unwrap().with_id(Some(id))
    };
    let keys =
        vec![key("other", "another of the same kind", "k1"), key("live", "a secret of some length", "k2")];
    let verifier = Verifier::new(Arc::clone(&scheme), keys);
    let judge = |header: &str| {
        let found = verifier.verify(delivery(&[("x-sig", &token("{}", header))]), NOW);
        found.map(|verified| verified.secret().to_string()).map_err(|refused| refused.reject)
    };
    assert_eq!(judge(r#"{"alg":"HS256","kid":"k2"}"#), Ok("live".to_owned()));
    assert_eq!(judge(r#"{"alg":"HS256","kid":"k1"}"#), Err(Reject::SignatureMismatch));
    assert_eq!(judge(r#"{"alg":"HS256","kid":"k3"}"#), Err(Reject::UnknownKey));
    assert_eq!(judge(r#"{"alg":"HS256"}"#), Err(Reject::UnknownKey));
}

#[test]
fn keys_that_prove_nothing_or_are_private_are_refused_at_load() {
    let rsa = scheme(&rules("rsa-pkcs1-sha256"));
    let jwk = |n: &[u8], e: &[u8]| {
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        format!("{{\"kty\":\"RSA\",\"n\":\"{n}\",\"e\":\"{e}\"}}")
    };
    let odd = [&[0xc1][..], &[0x11; 255]].concat();
    let even = [&[0xc1][..], &[0x10; 255]].concat();
    let pair = pair("rsa-pkcs1-sha256");
    let ec = self::pair("ecdsa-p256-sha256");
    let off_curve = {
        let x = URL_SAFE_NO_PAD.encode([1; 32]);
        format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{x}\",\"y\":\"{x}\"}}")
    };
    let p256 = scheme(&rules("ecdsa-p256-sha256"));
    for (scheme, text, part) in [
        (&rsa, jwk(&odd[..127], &[1, 0, 1]), "fewer than 1024 bits"),
        (&rsa, jwk(&even, &[1, 0, 1]), "is even"),
        (&rsa, jwk(&odd, &[1]), "exponent is 1"),
        (&rsa, jwk(&odd, &[1, 0, 0]), "is even"),
        (&rsa, jwk(&odd, &[1, 0, 0, 0, 1]), "more than 32 bits"),
        (&rsa, pair.private.clone(), "only the sender has"),
        (&rsa, ec.public.clone(), "another kind"),
        (&rsa, "not a key".to_owned(), "SubjectPublicKeyInfo"),
        (&p256, off_curve, "not on the curve"),
        (&p256, ec.private.clone(), "only the sender has"),
        (
            &p256,
            "{\"kty\":\"EC\",\"use\":\"enc\",\"crv\":\"P-256\",\"x\":\"\",\"y\":\"\"}".to_owned(),
            "not for verifying",
        ),
    ] {
        let told = Key::new(scheme, "live", text.as_bytes()).unwrap_err().to_string();
        assert!(told.contains(part), "{part}: {told}");
        assert!(!told.contains(&text), "{told}");
    }
    let short = Key::new(&rsa, "live", jwk(&odd[..128], &[1, 0, 1]).as_bytes()).unwrap();
    assert!(short.warning().unwrap().contains("2048"));
}

#[test]
fn pem_may_have_lost_its_line_breaks() {
    let scheme = scheme(&rules("ecdsa-p256-sha256"));
    let pair = pair("ecdsa-p256-sha256");
    let good = signed(&scheme, &pair.private, &[]);
    let der = pair.public.lines().nth(1).unwrap().to_owned();
    for text in [
        pair.public.clone(),
        pair.public.replace('\n', ""),
        pair.public.replace('\n', "\\n"),
        pair.public.replace('\n', "\r\n"),
        der.clone(),
        der.trim_end_matches('=').to_owned(),
    ] {
        assert!(verdict(&scheme, &text, good.clone()).is_ok(), "{text}");
    }
}

#[test]
fn a_token_that_is_the_body_proves_what_it_says() {
    let scheme = scheme(
        "algorithm = \"jwt-hs256\"\nsignature = { from = \"body\" }\nevent = { id = \"jwt:/data > json:/id\" }\n",
    );
    let mut delivery = delivery(&[]);
    delivery.body = format!("{}\n", token(r#"{"data":"{\"id\":\"evt_9\"}"}"#, HEADER)).into();
    let verified = verdict(&scheme, "a secret of some length", delivery).unwrap();
    assert!(verified.covers_body());
    let named = scheme.event.read(verified.delivery(), verified.claims());
    assert_eq!((&*named.id, named.id_signed), ("evt_9", true));
}

#[test]
fn a_digest_that_may_be_left_out_leaves_the_body_unproved() {
    let scheme = scheme(
        "algorithm = \"jwt-hs256\"\nsignature = { from = \"header:X-Sig\" }\n\
         body_digest = { from = \"jwt:/sum\", algorithm = \"sha256\", encoding = \"hex\", optional = true }\n",
    );
    let secret = "a secret of some length";
    let without = verdict(&scheme, secret, delivery(&[("x-sig", &token("{}", HEADER))])).unwrap();
    assert!(!without.covers_body());
    assert!(verdict(&scheme, secret, signed(&scheme, secret, &[])).unwrap().covers_body());
    let wrong = token("{\"sum\":\"00\"}", HEADER);
    let wrong = verdict(&scheme, secret, delivery(&[("x-sig", &wrong)]));
    assert_eq!(wrong.unwrap_err(), Reject::BodyDigestMismatch);
}

#[test]
fn the_sender_names_its_key_where_the_scheme_reads_that() {
    for (algorithm, place) in [
        ("jwt-hs256", "jwt-header:/kid"),
        ("jwt-hs256", "header:X-Key"),
        ("ed25519", "header:X-Key > base64 > json:/kid"),
        ("ed25519", "query:key"),
    ] {
        let text = rules(algorithm).replacen('\n', &format!("\nkey = {{ id = \"{place}\" }}\n"), 1);
        let (scheme, pair) = (scheme(&text), keys(algorithm));
        let mut delivery = delivery(&[]);
        let signer = Signer { id: Some("key-7"), ..Signer::new(pair.private.as_bytes()) };
        signer.sign(&scheme, &mut delivery, NOW).unwrap();
        let judge = |id: &str| {
            let key = Key::new(&scheme, "live", pair.public.as_bytes()).unwrap().with_id(Some(id));
            let verifier = Verifier::new(Arc::clone(&scheme), vec![key]);
            verifier.verify(delivery.clone(), NOW).map(drop).map_err(|refused| refused.reject)
        };
        assert_eq!(
            (judge("key-7"), judge("key-8")),
            (Ok(()), Err(Reject::UnknownKey)),
            "{algorithm} {place}"
        );
    }
}

#[test]
fn every_element_of_an_array_is_signed_where_it_has_its_signature() {
    let scheme = scheme(
        "algorithm = \"hmac-sha256\"\neach = \"json:/items\"\nsigned = [\"{item:/id}\"]\n\
         signature = { from = \"item:/sig\", encoding = \"hex\" }\n",
    );
    let mut good = delivery(&[]);
    good.body = Bytes::from_static(b"{\"items\": [{\"id\": 1, \"sig\": \"\"}, {\"id\": 2}]}");
    sign(&scheme, b"a secret of some length", &mut good, NOW).unwrap();
    assert!(verdict(&scheme, "a secret of some length", good.clone()).is_ok());
    let text = String::from_utf8(good.body.to_vec()).unwrap();
    let moved = Delivery { body: text.replace("\"id\": 2", "\"id\": 3").into(), ..good.clone() };
    assert_eq!(verdict(&scheme, "a secret of some length", moved).unwrap_err(), Reject::SignatureMismatch);
    let none = Delivery { body: Bytes::from_static(b"{\"items\": []}"), ..good };
    assert!(sign(&scheme, b"a secret of some length", &mut none.clone(), NOW).is_err());
}

#[test]
fn basic_and_plain_digests_hold_for_their_secret_only() {
    let basic = scheme("algorithm = \"basic\"\n");
    let good = signed(&basic, "user:a pass:word", &[]);
    assert_eq!(good.headers.first("authorization"), Some(&b"Basic dXNlcjphIHBhc3M6d29yZA=="[..]));
    assert!(verdict(&basic, "user:a pass:word", good.clone()).unwrap().claims().is_none());
    assert_eq!(verdict(&basic, "user:another word", good).unwrap_err(), Reject::SignatureMismatch);
    assert!(Key::new(&basic, "live", b"no colon in this one").is_err());
    for digest in ["md5", "sha1", "sha256", "sha384", "sha512"] {
        let scheme = scheme(&format!(
            "algorithm = \"{digest}\"\nsigned = [\"{{secret}}{{body}}\"]\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"hex\" }}\n"
        ));
        let good = signed(&scheme, "a secret of some length", &[]);
        assert!(verdict(&scheme, "a secret of some length", good.clone()).is_ok(), "{digest}");
        let other = verdict(&scheme, "another of the same kind", good);
        assert_eq!(other.unwrap_err(), Reject::SignatureMismatch, "{digest}");
        assert_eq!(
            scheme.warnings().len(),
            match digest {
                "md5" => 2,
                "sha384" => 0,
                _ => 1,
            },
            "{digest}"
        );
    }
}

#[test]
fn secrets_may_be_hashed_or_normalised_and_public_ones_are_refused() {
    let rules = |form: &str| {
        scheme(&format!(
            "algorithm = \"hmac-sha256\"\nsecret = \"{form}\"\nsigned = [\"{{body}}\"]\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"hex\" }}\nknown_secrets = [\"test-webhook\"]\n"
        ))
    };
    let plain = rules("utf8");
    let composed = signed(&plain, "a pa\u{308}ssword of some length", &[]);
    assert!(verdict(&rules("nfkd"), "a p\u{e4}ssword of some length", composed).is_ok());
    let hashed = hex::decode("a94a8fe5ccb19ba61c4c0873d391e987982fbbd3").unwrap();
    let mut by_hash = delivery(&[]);
    sign(&plain, &hashed, &mut by_hash, NOW).unwrap();
    assert!(verdict(&rules("sha1"), "test", by_hash).is_ok());
    let known = Key::new(&plain, "live", b"test-webhook").unwrap_err();
    let told = format!("{known}; allowed: {}", known.allowed());
    assert!(
        told.contains("everybody knows") && told.contains("that the provider shows for this endpoint"),
        "{told}"
    );
    assert!(!told.contains("not in the form") && !told.contains("test-webhook"), "{told}");
    assert!("test-webhook".len() < KEY_BYTES_MIN);
}

#[test]
fn a_source_that_proves_nothing_says_so_on_every_event() {
    let scheme = scheme("algorithm = \"none\"\n");
    assert!(Key::new(&scheme, "live", b"a secret of some length").is_err());
    let none = Verifier::new(Arc::clone(&scheme), Vec::new()).verify(delivery(&[]), NOW);
    assert_eq!(none.unwrap_err().reject, Reject::NoActiveSecret);
    let verifier = Verifier::new(Arc::clone(&scheme), vec![Key::unauthenticated()]);
    let verified = verifier.verify(delivery(&[]), NOW).unwrap();
    assert!(verified.unauthenticated() && !verified.covers_body());
    let key = crate::dedup::key::EventKey::derive("a", &verified);
    let event = crate::event::Event::new(&"a".into(), verified, key, None);
    assert!(event.envelope().unauthenticated && !event.envelope().source_authenticated);
}

#[test]
fn the_digest_of_a_request_is_atlassians() {
    for (target, wanted) in [
        (
            "/in/jira?user_id=admin&user_key=admin",
            "e13e28f56a1bcb8cb1f0aaeb0a7e8ad18c40d4a90ad358e04c59121684dd26f8",
        ),
        ("/in/jira", "90df0e62bd2192fc40731d3e708e6725735900236dad295399d4dacc66282357"),
        (
            "/in/jira?zee_last=param&repeated=parameter%201&first=param&repeated=parameter%202&x=a%2Fb%2Ac%27d",
            "b082b12493335c3ddd8a65368c6cd79c624496a4357446cf932f76336acf2950",
        ),
    ] {
        let delivery = Delivery { target: target.to_owned(), ..delivery(&[]) };
        assert_eq!(claims::request_digest(&delivery), wanted, "{target}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_called_a_key_or_token_makes_reading_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "[A-Za-z0-9_.\\-={}\":]{0,200}",
    ) {
        spki::read(&bytes).map(|_| ()).unwrap_or(());
        spki::read(STANDARD.encode(&bytes).as_bytes()).map(|_| ()).unwrap_or(());
        spki::read(armoured("CERTIFICATE", &bytes).as_bytes()).map(|_| ()).unwrap_or(());
        prop_assert!(jwt::Token::parse(&text, crate::provider::Jws::Hs256).is_err());
    }
}
