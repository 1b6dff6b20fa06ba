//! Texts that operators and key servers bring: provider files, public keys, documents of keys.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::bodies::posted;
use super::signatures::{NOW, SECRET, scheme};
use crate::extract::Pointer;
use crate::provider::{Definition, KeyDocument, Scheme};
use crate::verify::{Document, Key, Verifier, sign};

/// The families of public keys.
const ALGORITHMS: [&str; 4] = ["ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pkcs1-sha256"];
/// Most keys of a document, and most bytes that one is fetched with.
const KEYS_MAX: usize = 64;

static PUBLIC: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let lines = |algorithm: &str| {
        format!(
            "algorithm = \"{algorithm}\"\nsecret = \"public-key\"\nsigned = [\"{{body}}\"]\n\
             signature = {{ from = \"header:x-sig\", encoding = \"base64\" }}"
        )
    };
    ALGORITHMS.iter().map(|algorithm| scheme(&lines(algorithm))).collect()
});

static SHARED: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let lines = |form: &str| {
        format!(
            "algorithm = \"hmac-sha256\"\nsecret = \"{form}\"\nsigned = [\"{{body}}\"]\n\
             signature = {{ from = \"header:x-sig\", encoding = \"base64\" }}"
        )
    };
    ["utf8", "nfkd", "sha1", "hex", "base64", "whsec"].iter().map(|form| scheme(&lines(form))).collect()
});

/// A public key, or a secret, in any form.
pub fn key(data: &[u8]) {
    let read = |scheme: &Scheme| Key::new(scheme, "live", data).ok();
    let taken: Vec<(&Scheme, Key)> =
        PUBLIC.iter().filter_map(|scheme| Some((scheme, read(scheme)?))).collect();
    assert!(taken.len() <= 1, "a key is of one family");
    for (scheme, key) in taken {
        let verifier = Verifier::new(Arc::new(scheme.clone()), vec![key]);
        for signature in [[0_u8; 64].as_slice(), &[0; 256], &[1; 8], &[0x30, 6, 2, 1, 0, 2, 1, 0]] {
            let mut delivery = posted(b"{}");
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature);
            delivery.headers.push("x-sig", text.as_bytes());
            assert!(verifier.verify(delivery, NOW).is_err(), "a key under which nothing is a signature");
        }
    }
    for scheme in SHARED.iter() {
        let Some(key) = read(scheme) else { continue };
        let mut delivery = posted(b"{}");
        sign(scheme, data, &mut delivery, NOW).expect("the secret is in the scheme's form");
        let verifier = Verifier::new(Arc::new(scheme.clone()), vec![key]);
        assert!(verifier.verify(delivery, NOW).is_ok(), "what signs verifies");
    }
}

/// What stands at a key's URL, after its form's number and its algorithm's.
pub fn document(data: &[u8]) {
    let [form, algorithm, bytes @ ..] = data else { return };
    let json = KeyDocument::Json(Pointer::parse("/a/k").expect("it is one"));
    let forms = [KeyDocument::Jwks, KeyDocument::Pem, json, KeyDocument::X509];
    let form = &forms[usize::from(*form) % forms.len()];
    let scheme = &PUBLIC[usize::from(*algorithm) % PUBLIC.len()];
    let Ok(document) = Document::read(scheme, form, bytes) else { return };
    assert!((1..=KEYS_MAX).contains(&document.len()) && !document.is_empty());
    assert_eq!(document.keys(None).len(), document.len());
    let own: Vec<Option<&str>> = document.keys(None).iter().map(Key::id).collect();
    for id in own.iter().flatten() {
        let same = own.iter().filter(|known| **known == Some(id)).count();
        assert_eq!(document.keys(Some(id)).len(), same, "all keys of an id, and no others");
    }
    let again = Document::read(scheme, form, bytes).expect("it was just read");
    assert_eq!(again.len(), document.len());
}

/// A provider file, from its text to verdicts.
pub fn definition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(definition) = toml::from_str::<Definition>(text) else { return };
    for raw in &definition.schemes {
        match Scheme::build(&definition, Some(&raw.name), &BTreeMap::new()) {
            Err(problems) => {
                assert!(!problems.is_empty(), "it says why");
                assert!(problems.iter().all(|one| !one.key.is_empty() && !one.allowed.is_empty()));
            }
            Ok(scheme) => judge(scheme.at("https://hooks.example.com")),
        }
    }
}

fn judge(scheme: Scheme) {
    let shown = format!("{:?} {:?} {:?}", scheme.warnings(), scheme.allowed_methods(), scheme.respellings());
    assert!(!shown.is_empty());
    let Ok(key) = Key::new(&scheme, "live", SECRET) else { return };
    let verifier = Verifier::new(Arc::new(scheme), vec![key]);
    let scheme = verifier.scheme();
    let bodies: [&[u8]; 4] = [b"{\"id\":\"1\",\"a\":[{}]}", b"id=1&a=2", b"<a><id>1</id></a>", b""];
    for body in bodies {
        let mut delivery = posted(body);
        delivery.target.push_str("?id=1");
        delivery.headers.push("x-id", b"1");
        let unsigned = verifier.verify(delivery.clone(), NOW);
        assert!(unsigned.is_err(), "nothing verifies without a signature");
        if sign(scheme, SECRET, &mut delivery, NOW).is_ok()
            && let Ok(verified) = verifier.verify(delivery, NOW)
        {
            let named = scheme.event.read(verified.delivery(), None);
            assert!(named.id_place.is_some() || named.id.is_empty());
        }
    }
}
