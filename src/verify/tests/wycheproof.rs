//! Project Wycheproof through the product's own functions: what it calls valid verifies, what it calls invalid does not, and
//! what it leaves open is listed here with what is made of it. Its files are too many to be copied: `HOOKGATE_TEST_DATA`
//! names a folder that has them, and tests/run runs these tests where one lies beside the checkout.

use serde_json::Value;

use super::*;
use crate::provider::{Algorithm, Jws};
use crate::verify::jwt::Token;
use crate::verify::token::sealed;

/// A file's groups.
fn groups(name: &str) -> Vec<Value> {
    let folder = std::env::var_os("HOOKGATE_TEST_DATA").expect("HOOKGATE_TEST_DATA names the folder");
    let path = std::path::Path::new(&folder).join("test-data/wycheproof").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_slice(&text).unwrap();
    file["testGroups"].as_array().unwrap().clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Runs every case of a file through a scheme; `key` gives the secret of a group and case.
fn run(name: &str, algorithm: &str, form: &str, key: impl Fn(&Value, &Value) -> Option<String>) {
    let text = format!(
        "algorithm = \"{algorithm}\"\nsecret = \"{form}\"\nsigned = [\"{{body}}\"]\n\
         signature = {{ from = \"header:X-Sig\", encoding = \"hex\" }}\n"
    );
    let scheme = scheme(&text);
    let (mut seen, mut open) = (0, Vec::new());
    for group in &groups(name) {
        for case in group["tests"].as_array().unwrap() {
            let Some(secret) = key(group, case) else { continue };
            let signature = case.get("sig").or(case.get("tag")).unwrap().as_str().unwrap();
            let mut delivery = delivery(&[("x-sig", signature)]);
            delivery.body = bytes(&case["msg"]).into();
            let holds = verdict(&scheme, &secret, delivery).is_ok();
            match case["result"].as_str().unwrap() {
                "acceptable" => open.push((case["tcId"].as_u64().unwrap(), holds)),
                wanted => assert_eq!(holds, wanted == "valid", "{name} {case}"),
            }
            seen += 1;
        }
    }
    assert!(seen >= 80, "{name}: {seen} cases only");
    // Of what is left open, nothing holds: one spelling of a signature is enough.
    assert!(open.iter().all(|(_, holds)| !holds), "{name}: {open:?}");
}

#[test]
#[ignore = "reads Project Wycheproof; HOOKGATE_TEST_DATA says where it lies"]
fn macs_get_its_verdicts() {
    for hash in ["sha1", "sha256", "sha384", "sha512"] {
        run(&format!("hmac_{hash}_test.json"), &format!("hmac-{hash}"), "hex", |group, case| {
            // A truncated tag is no signature of any scheme here, so it can only be refused.
            let whole = group["tagSize"].as_u64().unwrap() == case["tag"].as_str().unwrap().len() as u64 * 4;
            let full = [160, 256, 384, 512].contains(&group["tagSize"].as_u64().unwrap());
            let own = format!("sha{}", group["tagSize"]) == hash || hash == "sha1";
            (whole && full && own).then(|| case["key"].as_str().unwrap().to_owned())
        });
    }
}

#[test]
#[ignore = "reads Project Wycheproof; HOOKGATE_TEST_DATA says where it lies"]
fn elliptic_curves_get_its_verdicts() {
    let pem = |group: &Value, _: &Value| Some(group["publicKeyPem"].as_str().unwrap().to_owned());
    run("ecdsa_secp256r1_sha256_test.json", "ecdsa-p256-sha256", "public-key", pem);
    run("ed25519_test.json", "ed25519", "public-key", pem);
    let jwk = |group: &Value, _: &Value| Some(group["publicKeyJwk"].to_string());
    run("ed25519_test.json", "ed25519", "public-key", jwk);
    let raw = |group: &Value, _: &Value| Some(group["publicKey"]["pk"].as_str().unwrap().to_owned());
    run("ed25519_test.json", "ed25519", "hex", raw);
}

#[test]
#[ignore = "reads Project Wycheproof; HOOKGATE_TEST_DATA says where it lies"]
fn rsa_gets_its_verdicts() {
    let pem = |group: &Value, _: &Value| Some(group["publicKeyPem"].as_str().unwrap().to_owned());
    run("rsa_signature_2048_sha256_test.json", "rsa-pkcs1-sha256", "public-key", pem);
}

/// Signatures as tokens have them: two numbers side by side.
#[test]
#[ignore = "reads Project Wycheproof; HOOKGATE_TEST_DATA says where it lies"]
fn signatures_of_fixed_length_get_its_verdicts() {
    let mut seen = 0;
    let scheme = scheme("algorithm = \"jwt-es256\"\nsignature = { from = \"header:X-Sig\" }\n");
    for group in groups("ecdsa_secp256r1_sha256_p1363_test.json") {
        let key = Key::new(&scheme, "live", group["publicKeyPem"].as_str().unwrap().as_bytes()).unwrap();
        let Material::Public(public) = key.material_for(scheme.algorithm) else { panic!("no public key") };
        for case in group["tests"].as_array().unwrap() {
            let mut message = public.message();
            message.update(&bytes(&case["msg"]));
            let holds = public.holds(&message.finish(), &bytes(&case["sig"]));
            assert_eq!(holds, case["result"] == "valid", "{case}");
            seen += 1;
        }
    }
    assert!(seen >= 80, "{seen} cases only");
}

const JWS: [(&str, Jws); 10] = [
    ("HS256", Jws::Hs256),
    ("HS384", Jws::Hs384),
    ("HS512", Jws::Hs512),
    ("RS256", Jws::Rs256),
    ("RS384", Jws::Rs384),
    ("RS512", Jws::Rs512),
    ("PS256", Jws::Ps256),
    ("ES256", Jws::Es256),
    ("ES384", Jws::Es384),
    ("EdDSA", Jws::EdDsa),
];

/// The one that a key is for; where it does not say, that of the file's name for the group.
fn pinned(group: &Value, key: &Value) -> Option<(&'static str, Jws)> {
    let alg = key["alg"].as_str().map(str::to_owned);
    let alg = alg.or_else(|| group["comment"].as_str().map(str::to_uppercase))?;
    JWS.into_iter().find(|(name, _)| *name == alg)
}

/// Valid by the file, refused here: characters that are no base64url are never skipped (372, 373), and a token whose
/// header names another algorithm than its key's is not verified by that other one (346, 350).
const STRICTER: [u64; 4] = [346, 350, 372, 373];
/// Invalid by the file, and byte for byte the token of its valid case 357: the padding that they were to have is not there.
const SAME_AS_VALID: [u64; 2] = [367, 370];

#[test]
#[ignore = "reads Project Wycheproof; HOOKGATE_TEST_DATA says where it lies"]
fn tokens_get_its_verdicts() {
    let (mut seen, mut valid) = (0, 0);
    for group in &groups("json_web_signature_test.json") {
        let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let Some((name, jws)) = pinned(group, key) else { continue };
        let secret = match key["k"].as_str() {
            Some(k) => URL_SAFE_NO_PAD.decode(k).unwrap(),
            None => key.to_string().into_bytes(),
        };
        let scheme = scheme(&format!(
            "algorithm = \"jwt-{}\"\nsignature = {{ from = \"header:X-Sig\" }}\n",
            name.to_lowercase()
        ));
        assert_eq!(scheme.algorithm, Algorithm::Jwt(jws));
        let key = Key::new(&scheme, "live", &secret).ok();
        for case in group["tests"].as_array().unwrap() {
            let Some(text) = case["jws"].as_str() else { continue };
            let holds = |key: &Key| {
                Token::parse(text, jws)
                    .is_ok_and(|token| sealed(key.material_for(Algorithm::Jwt(jws)), &token))
            };
            let found = key.as_ref().is_some_and(holds);
            let id = case["tcId"].as_u64().unwrap();
            let wanted = match id {
                _ if STRICTER.contains(&id) => false,
                _ if SAME_AS_VALID.contains(&id) => true,
                _ => case["result"] == "valid",
            };
            assert_eq!(found, wanted, "{name} {case}");
            seen += 1;
            valid += usize::from(found);
        }
    }
    assert!(seen >= 200 && valid >= 10, "{seen} cases, {valid} valid");
}
