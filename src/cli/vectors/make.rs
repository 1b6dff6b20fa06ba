//! `hookgate vectors --make`: vectors for any scheme that can be signed here. A request of the provider's sample is
//! signed, then failed in every way that the scheme allows; each is judged before it is printed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::case::{Case, Verdict};
use super::draft::{Draft, NOW, PUBLIC_URL};
use super::keys::Pair;
use super::questions::Questions;
use super::{Expect, Vector, beside, mistakes, several};
use crate::cli::output;
use crate::cli::stages::{self, Found};
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::exit;
use crate::provider::{Algorithm, Catalog, EventAnswer, KeyUrl};

/// Vectors, and what became none.
#[derive(Debug, Default)]
pub(in crate::cli) struct Made {
    /// In the form of a vector file.
    pub vectors: Vec<Value>,
    /// What does not hold under this provider file, with what was found: mistakes that its scheme lets pass.
    pub left_out: Vec<String>,
}

/// Prints the vectors of `PROVIDER` or `PROVIDER/SCHEME`; the exit code comes back. What is left out is told on stderr.
pub(in crate::cli) fn run(catalog: &Catalog, name: &str, settings: &[(String, String)]) -> u8 {
    let (provider, scheme) = name.split_once('/').map_or((name, None), |(name, scheme)| (name, Some(scheme)));
    let made = match make(catalog, provider, scheme, &settings.iter().cloned().collect()) {
        Ok(made) => made,
        Err(stop) => return stop.tell(),
    };
    made.left_out.iter().for_each(|left| eprintln!("left out {left}"));
    if made.vectors.is_empty() {
        return Stop::data(format!("no vector of {name} can be made here")).tell();
    }
    match write!(io::stdout(), "{}", file(&made.vectors)) {
        Ok(()) => exit::OK,
        Err(error) => Stop::failure(format!("cannot print: {error}")).tell(),
    }
}

/// Makes vectors for the scheme `name` of a provider, or for all its schemes.
///
/// A scheme that nobody can sign for here is left out.
///
/// # Errors
/// Where there is no such provider or scheme.
pub(in crate::cli) fn make(
    catalog: &Catalog,
    provider: &str,
    name: Option<&str>,
    settings: &BTreeMap<String, String>,
) -> Result<Made, Stop> {
    let definition =
        catalog.get(provider).ok_or_else(|| crate::cli::providers::unknown(provider, catalog))?;
    let names = definition.schemes.iter().map(|scheme| scheme.name.as_str());
    let chosen: Vec<&str> = names.filter(|scheme| name.is_none_or(|name| name == *scheme)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = definition.schemes.iter().map(|scheme| scheme.name.as_str()).collect();
        return Err(Stop::usage(format!(
            "{provider} has no scheme {name:?}; there is: {}",
            known.join(", ")
        )));
    }
    let mut made = Made::default();
    for scheme in chosen {
        if let Err(stop) = one(catalog, &Draft::new(definition, scheme, settings), &mut made) {
            made.left_out.push(format!("{provider}/{scheme}: {}", stop.why));
        }
    }
    Ok(made)
}

fn one(catalog: &Catalog, draft: &Result<Draft<'_>, Stop>, made: &mut Made) -> Result<(), Stop> {
    let draft = draft.as_ref().map_err(Clone::clone)?;
    let mut cases = mistakes::cases(draft)?;
    if draft.scheme.algorithm != Algorithm::Unauthenticated {
        cases.extend(several::cases(draft)?);
    }
    cases.extend(beside::cases(draft));
    collect(catalog, draft, &draft.settings, &cases, made);
    if let Some(questions) = Questions::of(draft)? {
        collect(catalog, draft, &questions.settings, &questions.cases(), made);
    }
    Ok(())
}

/// Keeps the cases that hold. Of two of one name the first is kept: a place can be demanded for two reasons.
fn collect(
    catalog: &Catalog,
    draft: &Draft<'_>,
    settings: &BTreeMap<String, String>,
    cases: &[Case],
    made: &mut Made,
) {
    for case in cases {
        let id = id(draft, case);
        if made.vectors.iter().any(|known| known["id"] == id.as_str()) {
            continue;
        }
        match judged(catalog, draft, settings, case) {
            Ok(vector) => made.vectors.push(vector),
            Err(found) => made.left_out.push(format!("{id}: {found:#}")),
        }
    }
}

fn id(draft: &Draft<'_>, case: &Case) -> String {
    format!("{}/{}/made/{}", draft.definition.name, draft.raw.name, case.name)
}

/// The vector of a case, where the code that serves judges it as it must be.
fn judged(
    catalog: &Catalog,
    draft: &Draft<'_>,
    settings: &BTreeMap<String, String>,
    case: &Case,
) -> anyhow::Result<Value> {
    let mut value = written(draft, settings, case)?;
    let read = |value: &Value| serde_json::from_value::<Vector>(value.clone()).context("no vector");
    if let Verdict::Handshake(name) = &case.verdict {
        value["response"] = answer(&read(&value)?, name, catalog)?;
    }
    let vector = read(&value)?;
    vector.judge(catalog).map_err(|found| anyhow::anyhow!(found))?;
    if vector.expect == Expect::Accept {
        let (id, event_type) = event(&vector, catalog)?;
        let facts = [("event_id", id), ("event_type", event_type)];
        for (key, text) in facts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[key] = text.into();
        }
    }
    Ok(value)
}

/// What the handshake `name` is answered with.
fn answer(vector: &Vector, name: &str, catalog: &Catalog) -> anyhow::Result<Value> {
    let verifier = vector.verifier(catalog).map_err(|found| anyhow::anyhow!(found))?;
    let now = Timestamp::from_seconds(vector.now);
    let delivery = vector.request.delivery(now).map_err(|found| anyhow::anyhow!(found))?;
    match stages::find(&verifier, delivery, now) {
        Ok(Found::Handshake(answer)) if *answer.name == *name => {
            let EventAnswer { status, headers, body } = answer.into_event_answer();
            Ok(json!({ "status": status, "headers": headers, "body": body }))
        }
        Ok(Found::Handshake(answer)) => anyhow::bail!("expected the handshake {name}, found {}", answer.name),
        Ok(Found::Event(_)) => anyhow::bail!("expected the handshake {name}, found accept"),
        Err(refused) => {
            anyhow::bail!(
                "expected the handshake {name}, found {} ({})",
                refused.reject.row().reason,
                refused.detail
            )
        }
    }
}

fn event(vector: &Vector, catalog: &Catalog) -> anyhow::Result<(String, String)> {
    let verifier = vector.verifier(catalog).map_err(|found| anyhow::anyhow!(found))?;
    let now = Timestamp::from_seconds(vector.now);
    let delivery = vector.request.delivery(now).map_err(|found| anyhow::anyhow!(found))?;
    let Ok(Found::Event(verified)) = stages::find(&verifier, delivery, now) else {
        anyhow::bail!("no event");
    };
    let key = EventKey::derive("vector", &verified);
    Ok((key.event_id().to_owned(), key.event_type().to_owned()))
}

fn written(draft: &Draft<'_>, settings: &BTreeMap<String, String>, case: &Case) -> anyhow::Result<Value> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).context("a header that is not text");
    let delivery = &case.delivery;
    let lines: anyhow::Result<Vec<[String; 2]>> =
        delivery.headers.iter().map(|(name, value)| Ok([text(name)?, text(value)?])).collect();
    let mut request = json!({
        "method": delivery.method,
        "url": format!("{PUBLIC_URL}{}", delivery.target),
        "headers": lines?,
    });
    match std::str::from_utf8(&delivery.body) {
        Ok(body) => request["body"] = body.into(),
        Err(_) => {
            use base64::Engine as _;
            request["body_base64"] = base64::engine::general_purpose::STANDARD.encode(&delivery.body).into();
        }
    }
    let of_url =
        matches!(draft.scheme.key.fetch.as_ref().map(|fetch| &fetch.from), Some(KeyUrl::Delivered(..)));
    let secret = |pair: &Pair| {
        let mut secret = json!({ "kind": pair.kind, "value": pair.held, "encoding": pair.encoding });
        if let Some(id) = &pair.id {
            secret[if of_url { "cert_url" } else { "kid" }] = id.as_str().into();
        }
        if let Some(slot) = pair.slot {
            secret["slot"] = slot.into();
        }
        secret
    };
    let expect = match &case.verdict {
        Verdict::Accepted => "accept",
        Verdict::Refused(_) => "reject",
        Verdict::Handshake(_) => "handshake",
    };
    let mut vector = json!({
        "id": id(draft, case),
        "provider": draft.definition.name,
        "scheme": draft.raw.name,
        "expect": expect,
        "now": NOW.seconds(),
        "secrets": case.secrets.iter().map(secret).collect::<Vec<_>>(),
        "config": settings,
        "request": request,
        "origin": "own",
        "verified_by": ["hookgate vectors --make"],
    });
    if let Verdict::Refused(why) = &case.verdict {
        vector["reject_reason"] = why.as_str().into();
    }
    Ok(vector)
}

/// Vectors as a file has them, a line each.
pub(in crate::cli) fn file(vectors: &[Value]) -> String {
    let lines: Vec<String> = vectors.iter().map(output::json_text).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
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
                let begins =
                    |vector: &&Value| vector["id"].as_str().unwrap().starts_with(&format!("{id}/made/"));
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
            (
                &slack,
                &["signature-without-prefix", "upper-case-signature", "missing-time", "repeated-signature"],
            ),
        ] {
            let names = names(made);
            assert!(
                wanted.iter().all(|name| names.contains(name)),
                "{names:?}, left out {:?}",
                made.left_out
            );
        }
        // Its header may be repeated: that is no mistake.
        assert!(
            stripe.left_out.iter().any(|left| left.contains("repeated-signature")),
            "{:?}",
            stripe.left_out
        );
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
        holds(
            &made,
            &["accepted-after-another-signature", "stale-set-beside-a-fresh-one", "stale", "premature"],
        );
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
        assert!(
            url.starts_with("https://sns.") && accepted["request"]["body"].as_str().unwrap().contains(url)
        );
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
}
