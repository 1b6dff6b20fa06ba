//! `hookgate vectors --make`: vectors for any scheme that can be signed here. A request of the provider's sample is
//! signed, then failed in every way that the scheme allows; each is judged before it is printed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::case::{Case, Verdict};
use super::draft::{Draft, NOW, PUBLIC_URL};
use super::keys::Pair;
use super::questions::Questions;
use super::{Expect, Vector, beside, mistakes, several};
use crate::cli::stages::{self, Found};
use crate::cli::stop::Stop;
use crate::cli::{output, places};
use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::exit;
use crate::provider::{Algorithm, Catalog, EventAnswer, KeyUrl};
use crate::verify::Verified;

/// Vectors, and what became none.
#[derive(Debug, Default)]
pub(in crate::cli) struct Made {
    /// In the form of a vector file.
    pub vectors: Vec<Value>,
    /// What does not hold under this provider file, with what was found: mistakes that its scheme lets pass.
    pub left_out: Vec<String>,
    /// Places of the provider file where its sample has nothing.
    pub missed: Vec<String>,
}

/// Prints the vectors of `PROVIDER` or `PROVIDER/SCHEME`, or writes them to a file, which a mistake leaves as it was; the
/// exit code comes back. What is left out is told on stderr, and where the sample has nothing at a place of the file.
pub(in crate::cli) fn run(
    catalog: &Catalog,
    name: &str,
    settings: &[(String, String)],
    to: Option<&Path>,
) -> u8 {
    let (provider, scheme) = name.split_once('/').map_or((name, None), |(name, scheme)| (name, Some(scheme)));
    let made = match make(catalog, provider, scheme, &settings.iter().cloned().collect()) {
        Ok(made) => made,
        Err(stop) => return stop.tell(),
    };
    made.missed.iter().for_each(|missed| eprintln!("warning: {}", output::line(missed)));
    made.left_out.iter().for_each(|left| eprintln!("left out {left}"));
    if made.vectors.is_empty() {
        return Stop::data(format!("no vector of {name} can be made here")).tell();
    }
    let text = file(&made.vectors);
    match to {
        None => io::stdout().write_all(text.as_bytes()).map_err(Stop::unprinted),
        Some(to) => fs::write(to, text)
            .map_err(|error| Stop::failure(format!("cannot write {}: {error}", to.display()))),
    }
    .map_or_else(Stop::tell, |()| exit::OK)
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
    let mut cases = mistakes::cases(draft)?;
    if draft.scheme.algorithm != Algorithm::Unauthenticated {
        cases.extend(several::cases(draft)?);
    }
    cases.extend(beside::cases(draft));
    // Where the right request is refused, a refusal of a wrong one shows nothing.
    if let Some(right) = cases.first() {
        let judged = judged(catalog, draft, &draft.settings, right).and_then(|right| read(&right));
        let verified = judged
            .and_then(|right| event(&right, catalog))
            .map_err(|found| Stop::data(format!("what it signs itself is refused: {found:#}")))?;
        tell_missed(draft, &verified, made);
    }
    collect(catalog, draft, &draft.settings, &cases, made);
    if let Some(questions) = Questions::of(draft)? {
        collect(catalog, draft, &questions.settings, &questions.cases(), made);
    }
    Ok(())
}

/// Tells of each place once, though several schemes have it; a body that was made up has no say.
fn tell_missed(draft: &Draft<'_>, verified: &Verified, made: &mut Made) {
    let Some(sample) = draft.definition.sample.as_ref().filter(|_| draft.is_sample) else { return };
    for (key, places) in places::missed(verified) {
        let (event, title) = (&sample.event, &draft.definition.title);
        let told = format!(
            "{key}: found nothing at {places} in the sample {event}; correct the place, or the sample where it is not \
             what {title} sends"
        );
        if !made.missed.contains(&told) {
            made.missed.push(told);
        }
    }
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
    if let Verdict::Handshake(name) = &case.verdict {
        value["response"] = answer(&read(&value)?, name, catalog)?;
    }
    let vector = read(&value)?;
    vector.judge(catalog).map_err(|found| anyhow::anyhow!(found))?;
    if vector.expect == Expect::Accept {
        let verified = event(&vector, catalog)?;
        let key = EventKey::derive("vector", &verified);
        let facts = [("event_id", key.event_id()), ("event_type", key.event_type())];
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

fn read(value: &Value) -> anyhow::Result<Vector> {
    serde_json::from_value(value.clone()).context("no vector")
}

fn event(vector: &Vector, catalog: &Catalog) -> anyhow::Result<Box<Verified>> {
    let verifier = vector.verifier(catalog).map_err(|found| anyhow::anyhow!(found))?;
    let now = Timestamp::from_seconds(vector.now);
    let delivery = vector.request.delivery(now).map_err(|found| anyhow::anyhow!(found))?;
    match stages::find(&verifier, delivery, now) {
        Ok(Found::Event(verified)) => Ok(verified),
        Ok(Found::Handshake(_)) | Err(_) => anyhow::bail!("no event"),
    }
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
mod tests;
