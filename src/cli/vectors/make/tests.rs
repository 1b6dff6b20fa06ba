//! Made vectors: of every built-in scheme, and of schemes written for what the built-in ones do not have.

use super::*;

/// The one reason why nobody can sign for a built-in scheme.
const ONLY_VERIFIED: &str = "with a public key and SHA-1 nothing is signed here any more, only verified";

fn made(provider: &str, scheme: Option<&str>) -> Made {
    make(&Catalog::built_in().unwrap(), provider, scheme, &BTreeMap::new()).unwrap()
}

fn names(made: &Made) -> Vec<&str> {
    made.vectors.iter().map(|vector| vector["id"].as_str().unwrap().rsplit('/').next().unwrap()).collect()
}

#[test]
fn every_built_in_scheme_gets_vectors_and_what_is_refused_is_refused_for_its_own_reason() {
    let catalog = Catalog::built_in().unwrap();
    let (mut few, mut unsigned) = (Vec::new(), Vec::new());
    for definition in catalog.iter() {
        let made = made(&definition.name, None);
        for scheme in &definition.schemes {
            let id = format!("{}/{}", definition.name, scheme.name);
            let begins = |vector: &&Value| vector["id"].as_str().unwrap().starts_with(&format!("{id}/made/"));
            let own = made.vectors.iter().filter(begins).count();
            // Where nothing is proved there is little that can be refused.
            let least = if scheme.algorithm == "none" { 1 } else { 6 };
            let why = made.left_out.iter().find_map(|left| left.strip_prefix(&format!("{id}: ")));
            match why {
                Some(why) => unsigned.push((id, why.to_owned())),
                None if own < least => few.push((id, own, made.left_out.clone())),
                None => {}
            }
        }
    }
    assert!(few.is_empty(), "{few:#?}");
    assert!(unsigned.iter().all(|(_, why)| why == ONLY_VERIFIED) && unsigned.len() <= 5, "{unsigned:#?}");
}

#[test]
fn a_scheme_with_a_time_a_prefix_and_a_body_is_failed_in_each_of_them() {
    let (stripe, slack) = (made("stripe", None), made("slack", None));
    for (made, wanted) in [
        (
            &stripe,
            &["accepted", "other-secret", "altered-body", "stale", "altered-time", "missing-signature"][..],
        ),
        (&slack, &["signature-without-prefix", "upper-case-signature", "missing-time", "repeated-signature"]),
    ] {
        let names = names(made);
        assert!(wanted.iter().all(|name| names.contains(name)), "{names:?}, left out {:?}", made.left_out);
    }
    // Its header may be repeated: that is no mistake.
    assert!(stripe.left_out.iter().any(|left| left.contains("repeated-signature")), "{:?}", stripe.left_out);
}

/// A provider of one scheme, written for these tests.
fn own(scheme: &str) -> Made {
    let file = format!("name = \"tea_house\"\ntitle = \"Tea House\"\n{scheme}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tea_house.toml"), file).unwrap();
    let mut catalog = Catalog::built_in().unwrap();
    catalog.add_folder(dir.path()).unwrap();
    make(&catalog, "tea_house", None, &BTreeMap::new()).unwrap()
}

fn holds(made: &Made, wanted: &[&str]) {
    let names = names(made);
    let lacking: Vec<&&str> = wanted.iter().filter(|name| !names.contains(name)).collect();
    assert!(lacking.is_empty(), "{lacking:?} of {names:?}, left out {:?}", made.left_out);
}

#[test]
fn every_choice_of_a_grammar_is_accepted_and_none_passes_for_another() {
    let made = own(r#"
        [[schemes]]
        name = "default"
        algorithm = "hmac-sha256"
        signed = ["{body}"]
        signature = { from = "header:X-Tea", encoding = "hex", grammar = { kind = "choices", choices = { "sha256=" = "hmac-sha256", "sha1=" = "hmac-sha1", "sha512=" = "hmac-sha512" } } }
    "#);
    holds(
        &made,
        &["accepted", "accepted-as-sha1", "accepted-as-sha512", "passed-off-as-sha1", "unknown-choice"],
    );
}

#[test]
fn an_old_set_may_stand_first_and_makes_no_forged_one_good() {
    let made = own(r#"
        [[schemes]]
        name = "default"
        algorithm = "hmac-sha256"
        signed = ["{timestamp}.{body}"]
        timestamp = { from = "signature:t", unit = "seconds", past = "5m", future = "1m" }
        signature = { from = "header:X-Tea", encoding = "hex", grammar = { kind = "sets", separator = " ", pairs = { separator = ",", assign = "=", keys = ["v1"] } } }
    "#);
    holds(&made, &["accepted-after-another-signature", "stale-set-beside-a-fresh-one", "stale", "premature"]);
}

#[test]
fn a_scheme_that_no_request_can_fulfil_gives_no_refusals_either() {
    // One header that must be two texts.
    let made = own(r#"
        [[schemes]]
        name = "default"
        algorithm = "hmac-sha256"
        signed = ["{body}"]
        signature = { from = "header:X-Tea", encoding = "hex" }
        equal = { "header:X-Kind" = "green" }
        matching = { "header:X-Kind" = "black" }
    "#);
    assert!(made.vectors.is_empty(), "{:?}", names(&made));
    assert!(made.left_out[0].contains("what it signs itself is refused"), "{:?}", made.left_out);
}

#[test]
fn each_slot_takes_its_own_secret_alone_and_each_place_of_a_list_is_read() {
    let slots = names_of(&made("box", None));
    for name in ["accepted-in-slot-0", "accepted-in-slot-1", "slot-0-elsewhere", "slot-1-elsewhere"] {
        assert!(slots.contains(&name.to_owned()), "{slots:?}");
    }
    holds(&made("docusign", None), &["accepted-at-the-second-place", "signature-after-a-gap"]);
}

fn names_of(made: &Made) -> Vec<String> {
    names(made).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_fetched_key_stands_in_the_vector_under_its_url() {
    let made = made("amazon_sns", Some("v2-notification"));
    holds(&made, &["accepted", "strange-key-url", "unnamed-key", "other-topicarn"]);
    let accepted = &made.vectors[0];
    let url = accepted["secrets"][0]["cert_url"].as_str().unwrap();
    assert!(url.starts_with("https://sns.") && accepted["request"]["body"].as_str().unwrap().contains(url));
}

#[test]
fn tokens_are_failed_in_what_they_say_and_in_how_they_are_signed() {
    let names = names_of(&made("plaid", None));
    for name in ["accepted", "algorithm-none", "signed-as-hs256", "unknown-key", "unnamed-key"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
}

#[test]
fn handshakes_of_every_kind_are_asked_and_asked_wrongly() {
    let said = |provider: &str, name: &str| {
        let made = made(provider, None);
        let found = made.vectors.iter().find(|vector| vector["id"].as_str().unwrap().ends_with(name));
        found
            .unwrap_or_else(|| panic!("{provider}: {:?}, left out {:?}", names(&made), made.left_out))
            .clone()
    };
    for (provider, handshake, body) in [
        ("slack", "handshake-url-verification", "made-1"),
        ("discord", "handshake-ping", "{\"type\":1}"),
        ("monday", "handshake-challenge", "{\"challenge\":\"made-1\"}"),
        ("woocommerce", "handshake-ping", ""),
    ] {
        let vector = said(provider, handshake);
        assert_eq!((&vector["expect"], &vector["response"]["body"]), (&json!("handshake"), &json!(body)));
    }
    for (provider, refused) in [
        ("slack", "handshake-url-verification-stale"),
        ("discord", "handshake-ping-of-another-secret"),
        ("whatsapp", "handshake-subscribe-other-hub-verify-token"),
        ("braintree", "handshake-challenge-other-bt-challenge"),
        ("asana", "handshake-secret-without-x-hook-secret"),
    ] {
        assert_eq!(said(provider, refused)["expect"], "reject");
    }
    let captured = said("asana", "handshake-secret");
    assert_eq!(
        (captured["secrets"].as_array().unwrap().len(), &captured["response"]["headers"][0][1]),
        (0, &json!("made-1"))
    );
    let answer = said("zoom", "handshake-endpoint-url-validation");
    let mac = answer["response"]["body"].as_str().unwrap();
    assert!(mac.contains("\"plainToken\":\"a\"") && mac.contains("encryptedToken"), "{mac}");
}

#[test]
fn the_same_file_brings_the_same_vectors_and_they_are_a_vector_file() {
    let (one, two) = (made("standard_webhooks", None), made("standard_webhooks", None));
    assert_eq!(file(&one.vectors), file(&two.vectors));
    let read: Vec<Vector> = serde_json::from_str(&file(&one.vectors)).unwrap();
    assert_eq!(read.len(), one.vectors.len());
}

#[test]
fn a_place_where_the_sample_has_nothing_is_told_once() {
    let told = |id: &str, kind: &str, each: &str| {
        let dir = tempfile::tempdir().unwrap();
        let scheme = |name: &str| {
            format!(
                "[[schemes]]\nname = {name:?}\nalgorithm = \"hmac-sha256\"\nsigned = [\"{{body}}\"]\n\
                 signature = {{ from = \"header:X-Tea\", encoding = \"hex\" }}\n"
            )
        };
        let file = format!(
            "name = \"tea_house\"\ntitle = \"Tea House\"\n[sample]\nevent = \"poured\"\n\
             [event]\nid = {id}\ntype = {kind:?}\n[batch]\neach = {each:?}\n{}{}",
            scheme("one"),
            scheme("two")
        );
        std::fs::write(dir.path().join("tea_house.toml"), file).unwrap();
        let samples = dir.path().join("samples/tea_house");
        std::fs::create_dir_all(&samples).unwrap();
        let body = r#"{"meta": {"event": {"uid": "u1"}, "kind": "poured"}, "data": {"items": [1, 2]}}"#;
        std::fs::write(samples.join("poured.json"), body).unwrap();
        let mut catalog = Catalog::default();
        catalog.add_folder(dir.path()).unwrap();
        let made = make(&catalog, "tea_house", None, &BTreeMap::new()).unwrap();
        assert!(made.vectors.len() > 2, "{:?}", made.left_out);
        made.missed
    };
    let right =
        told("[\"json:/meta/evnt/uid\", \"json:/meta/event/uid\"]", "json:/meta/kind", "json:/data/items");
    assert!(right.is_empty(), "one of several places is enough: {right:?}");
    let claimed = made("vonage", None).missed;
    assert!(claimed.is_empty(), "no sample holds what a token claims: {claimed:?}");
    let wrong = told("[\"json:/meta/evnt/uid\", \"json:/uid\"]", "json:/knd", "json:/data/itemz");
    let begins = [
        "event.id: found nothing at json:/meta/evnt/uid, else json:/uid in the sample poured; correct",
        "event.type: found nothing at json:/knd in the sample poured; correct",
        "batch.each: found nothing at json:/data/itemz in the sample poured; correct",
    ];
    assert_eq!(wrong.len(), begins.len(), "{wrong:?}");
    assert!(wrong.iter().zip(begins).all(|(told, begin)| told.starts_with(begin)), "{wrong:?}");
}
