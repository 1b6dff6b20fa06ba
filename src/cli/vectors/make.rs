//! `hookgate vectors --make`: vectors for any scheme that can be signed here. A request of the provider's sample is
//! signed, then failed in every way that the scheme allows; each is judged before it is printed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::draft::{Draft, NOW, PUBLIC_URL};
use super::keys::Pair;
use super::mistakes::{self, Case};
use super::{Expect, Vector};
use crate::cli::output;
use crate::cli::stages::{self, Found};
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::exit;
use crate::provider::Catalog;

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
    let definition = catalog.get(provider).ok_or_else(|| crate::cli::files::unknown(provider, catalog))?;
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
    for case in mistakes::cases(draft)? {
        match judged(catalog, draft, &case) {
            Ok(vector) => made.vectors.push(vector),
            Err(found) => made.left_out.push(format!("{}: {found:#}", id(draft, &case))),
        }
    }
    Ok(())
}

fn id(draft: &Draft<'_>, case: &Case<'_>) -> String {
    format!("{}/{}/made/{}", draft.definition.name, draft.raw.name, case.name)
}

/// The vector of a case, where the code that serves judges it as it must be.
fn judged(catalog: &Catalog, draft: &Draft<'_>, case: &Case<'_>) -> anyhow::Result<Value> {
    let mut value = written(draft, case)?;
    let vector: Vector = serde_json::from_value(value.clone()).context("no vector")?;
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

fn written(draft: &Draft<'_>, case: &Case<'_>) -> anyhow::Result<Value> {
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
    let secret = |pair: &&Pair| {
        let mut secret = json!({ "kind": pair.kind, "value": pair.held, "encoding": pair.encoding });
        if let Some(id) = &pair.id {
            secret["kid"] = id.as_str().into();
        }
        secret
    };
    let mut vector = json!({
        "id": id(draft, case),
        "provider": draft.definition.name,
        "scheme": draft.raw.name,
        "expect": if case.why.is_none() { "accept" } else { "reject" },
        "now": NOW.seconds(),
        "secrets": case.secrets.iter().map(secret).collect::<Vec<_>>(),
        "config": draft.settings,
        "request": request,
        "origin": "own",
        "verified_by": ["hookgate vectors --make"],
    });
    if let Some(why) = &case.why {
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

    #[test]
    fn the_same_file_brings_the_same_vectors_and_they_are_a_vector_file() {
        let (one, two) = (made("standard_webhooks", None), made("standard_webhooks", None));
        assert_eq!(file(&one.vectors), file(&two.vectors));
        let read: Vec<Vector> = serde_json::from_str(&file(&one.vectors)).unwrap();
        assert_eq!(read.len(), one.vectors.len());
    }
}
