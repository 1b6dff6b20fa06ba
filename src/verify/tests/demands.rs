//! What schemes of the wider form accept and refuse: lists and numbers of places, slots, sets, choices, what must stand
//! beside a signature, and every unit of time.

use super::*;

const SLOTS: &str = r#"
algorithm = "hmac-sha256"
signed = ["{body}"]
signature = { from = ["header:a", "header:b"], slots = true, encoding = "hex" }
"#;

fn mac(scheme: &str, secret: &str) -> String {
    let scheme = self::scheme(scheme);
    let good = signed(&scheme, secret, &[]);
    String::from_utf8(good.headers.first("x-sig").unwrap().to_vec()).unwrap()
}

const PLAIN: &str = r#"
algorithm = "hmac-sha256"
signed = ["{body}"]
signature = { from = "header:x-sig", encoding = "hex" }
"#;

#[test]
fn a_secret_of_a_slot_goes_with_its_place_alone() {
    let scheme = scheme(SLOTS);
    let key = |secret: &str, slot| Key::new(&scheme, "live", secret.as_bytes()).unwrap().in_slot(slot);
    let verifier = Verifier::new(
        Arc::clone(&scheme),
        vec![key("first", Some(0)), key("second", Some(1)), key("any", None)],
    );
    let (first, second, any) = (mac(PLAIN, "first"), mac(PLAIN, "second"), mac(PLAIN, "any"));
    let holds = |headers: &[(&str, &str)]| {
        verifier.verify(delivery(headers), NOW).map_err(|refused| refused.reject).map(|_| ())
    };
    assert_eq!(holds(&[("a", &first)]), Ok(()));
    assert_eq!(holds(&[("b", &second)]), Ok(()));
    assert_eq!(holds(&[("b", &any)]), Ok(()));
    assert_eq!(holds(&[("a", &second), ("b", &first)]), Err(Reject::SignatureMismatch));
    assert_eq!(holds(&[("a", &second), ("b", &second)]), Ok(()));
    assert_eq!(holds(&[]), Err(Reject::SignatureMissing));
}

#[test]
fn the_bodys_digest_may_be_signed_in_its_place() {
    // Computed with Python's hashlib and hmac.
    for (piece, mac) in [
        ("{body:sha256}", "8b403eb4f497b2e75bc99bb0996dc65f0392269968c5692bde8053dbfc5d8720"),
        ("{body:sha512:base64}", "45df6f2b6e29664b3302ba69b7f88548a29fbc2f957ec6a6c9fabeffb05f70ac"),
        ("{body:sha384:raw}", "fcc50e5b69d136b8adf2ad0baf592a3e1f6fa67416f4a83236a30dadc9cff53e"),
    ] {
        let scheme = scheme_of(piece);
        let holds = |delivery| verdict(&scheme, SECRET, delivery).map(|_| ());
        assert_eq!(holds(delivery(&[("x-sig", mac)])), Ok(()), "{piece}");
        let body = Bytes::from_static(b"{\"id\": \"evt_1\"}");
        let changed = Delivery { body, ..delivery(&[("x-sig", mac)]) };
        assert_eq!(holds(changed.clone()), Err(Reject::SignatureMismatch), "{piece}");
        let compact = scheme_of(&piece.replace("body:", "body:compact:"));
        let holds = |delivery| verdict(&compact, SECRET, delivery).map(|_| ());
        assert_eq!(holds(changed), Ok(()), "{piece}: blanks are not signed");
        let none = Delivery { body: Bytes::from_static(b"{"), ..delivery(&[("x-sig", mac)]) };
        assert_eq!(holds(none), Err(Reject::FormMalformed), "{piece}");
    }
}

fn scheme_of(piece: &str) -> Arc<Scheme> {
    scheme(&PLAIN.replace("{body}", &format!("{{method}}:{{path}}:{piece}")))
}

#[test]
fn numbered_headers_count_until_the_first_that_is_not_there() {
    let scheme = scheme(&PLAIN.replace("header:x-sig\"", "header:x-sig-{n}\", count = 3"));
    let good = mac(PLAIN, SECRET);
    let other = "00".repeat(32);
    let holds = |headers: &[(&str, &str)]| verdict(&scheme, SECRET, delivery(headers)).map(|_| ());
    assert_eq!(holds(&[("x-sig-1", &other), ("x-sig-2", &other), ("x-sig-3", &good)]), Ok(()));
    assert_eq!(holds(&[("x-sig-1", &other), ("x-sig-3", &good)]), Err(Reject::SignatureMismatch));
    assert_eq!(holds(&[("x-sig-2", &good)]), Err(Reject::SignatureMissing));
}

#[test]
fn a_list_may_hold_signatures_alone() {
    let grammar = "encoding = \"hex\", grammar = { kind = \"positional\", separator = \", \" }";
    let scheme = scheme(&PLAIN.replace("encoding = \"hex\"", grammar));
    let (good, other) = (mac(PLAIN, SECRET), "00".repeat(32));
    let holds = |value: &str| verdict(&scheme, SECRET, delivery(&[("x-sig", value)])).map(|_| ());
    assert_eq!(holds(&good), Ok(()));
    assert_eq!(holds(&format!("{other}, {good}")), Ok(()));
    assert_eq!(holds(&format!("{other}, {other}")), Err(Reject::SignatureMismatch));
    assert_eq!(signed(&scheme, SECRET, &[]).headers.first("x-sig"), Some(good.as_bytes()));
}

#[test]
fn a_signature_is_judged_with_the_time_of_its_own_set() {
    let sets = r#"
algorithm = "hmac-sha256"
signed = ["{timestamp}.{body}"]
signature = { from = "header:x-sig", encoding = "hex", grammar = { kind = "sets", separator = " ", pairs = { separator = ",", assign = "=", keys = ["v1"] } } }
timestamp = { from = "signature:t", unit = "seconds" }
"#;
    let scheme = scheme(sets);
    let at = |seconds: i64| {
        let mut delivery = delivery(&[]);
        sign(&scheme, SECRET.as_bytes(), &mut delivery, Timestamp::from_seconds(seconds)).unwrap();
        String::from_utf8(delivery.headers.first("x-sig").unwrap().to_vec()).unwrap()
    };
    let (old, new) = (at(1_700_000_000), at(1_800_000_000));
    let holds = |value: &str| {
        verdict(&scheme, SECRET, delivery(&[("x-sig", value)]))
            .map(|verified| verified.signed_at().unwrap().seconds())
    };
    assert_eq!(holds(&format!("{old} {new}")), Ok(1_800_000_000));
    assert_eq!(holds(&format!("{new} {old}")), Ok(1_800_000_000));
    assert_eq!(holds(&old), Ok(1_700_000_000));
    let mixed = format!("t=1900000000,v1={} {}", "00".repeat(32), old);
    assert_eq!(holds(&mixed), Ok(1_700_000_000));
    let swapped = old.replace("1700000000", "1800000000");
    assert_eq!(holds(&swapped), Err(Reject::SignatureMismatch));
}

#[test]
fn the_prefix_chooses_among_the_algorithms_of_the_list_alone() {
    let choices = PLAIN.replace("encoding = \"hex\"", "encoding = \"hex\", grammar = { kind = \"choices\", choices = { \"sha256=\" = \"hmac-sha256\", \"sha512=\" = \"hmac-sha512\" } }");
    let scheme = scheme(&choices);
    let (short, long) = (mac(PLAIN, SECRET), mac(&PLAIN.replace("sha256", "sha512"), SECRET));
    let holds = |value: String| verdict(&scheme, SECRET, delivery(&[("x-sig", &value)])).map(|_| ());
    assert_eq!(holds(format!("sha256={short}")), Ok(()));
    assert_eq!(holds(format!("sha512={long}")), Ok(()));
    assert_eq!(holds(format!("sha512={short}")), Err(Reject::SignatureMalformed));
    assert_eq!(holds(format!("sha1={short}")), Err(Reject::SignatureMalformed));
    assert!(verdict(&scheme, SECRET, signed(&scheme, SECRET, &[])).is_ok());
}

#[test]
fn what_must_stand_beside_the_signature_is_looked_at_first() {
    let demands = format!(
        "{PLAIN}equal = {{ \"header:x-version\" = [\"1\", \"2\"] }}\nmatching = {{ \"json:/id\" = \"evt_[0-9]+\" }}\n"
    );
    let scheme = scheme(&demands);
    let good = mac(PLAIN, SECRET);
    let with = |version: &str| {
        verdict(&scheme, SECRET, delivery(&[("x-sig", &good), ("x-version", version)])).map(|_| ())
    };
    assert_eq!(with("2"), Ok(()));
    assert_eq!(with("3"), Err(Reject::CompanionWrong));
    assert_eq!(with("1 "), Err(Reject::CompanionWrong));
    assert_eq!(
        verdict(&scheme, SECRET, delivery(&[("x-sig", &good)])).map(|_| ()),
        Err(Reject::CompanionMissing)
    );
    let other = Delivery {
        body: Bytes::from_static(b"{\"id\":\"x evt_1\"}"),
        ..delivery(&[("x-sig", &good), ("x-version", "1")])
    };
    assert_eq!(verdict(&scheme, SECRET, other).map(|_| ()), Err(Reject::CompanionWrong), "the whole value");
}

#[test]
fn every_unit_of_time_is_signed_and_read_and_an_ambiguous_one_is_refused() {
    for unit in ["seconds", "milliseconds", "seconds-or-milliseconds", "rfc3339", "rfc2822"] {
        let rules = PLAIN.replace("{body}", "{timestamp}.{body}")
            + &format!("timestamp = {{ from = \"header:x-time\", unit = \"{unit}\" }}\n");
        let scheme = scheme(&rules);
        let found = verdict(&scheme, SECRET, signed(&scheme, SECRET, &[])).unwrap();
        assert_eq!(found.signed_at(), Some(NOW), "{unit}");
    }
    let touching = PLAIN.replace("{body}", "{timestamp}{body}")
        + "timestamp = { from = \"header:x-time\", unit = \"seconds-or-milliseconds\" }\n";
    let file = format!("name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n{touching}");
    let definition: Definition = toml::from_str(&file).unwrap();
    let problems = Scheme::build(&definition, None, &BTreeMap::new()).unwrap_err();
    assert!(problems[0].to_string().contains("where digits touch the time"), "{problems:?}");
}
