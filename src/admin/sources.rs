//! What is configured, for operators: `GET /v1/sources`, `/v1/sources/{name}`, `/v1/providers` and `/v1/config`. Of a secret
//! they show where it is kept, its label and its fingerprint.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::events::fresh;
use super::guard::Area;
use super::known::{ConfigValue, Known, LimitFacts, ProviderFacts};
use super::openapi::Refused;
use super::server::{AdminParts, problem};
use crate::clock::Timestamp;
use crate::source::Source;

/// All sources.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sources {
    sources: Vec<SourceShown>,
}

/// A configured endpoint.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceShown {
    name: String,
    /// The path that its deliveries come to.
    #[schema(examples("/in/stripe"))]
    path: String,
    /// The URL to give to the sender, where `ingress.public_url` is set.
    url: Option<String>,
    provider: String,
    scheme: String,
    /// What deliveries are proved by.
    #[schema(examples("hmac-sha256"))]
    signed_by: &'static str,
    /// Whether it takes events that nothing proves.
    unauthenticated: bool,
    secrets: Vec<SecretShown>,
    /// How old or new a signed time may be.
    tolerance: ToleranceShown,
    /// Event types that are wanted; empty for all.
    events: Vec<String>,
    /// Whether a delivery with several events is handed over in parts.
    split: bool,
    limit: Option<LimitFacts>,
    body_bytes_max: usize,
    /// Bytes of refused requests that are kept; `null` where none are.
    quarantine_bytes: Option<u64>,
    samples: SamplesShown,
    schemas: SchemasShown,
    /// Requests and events by where they stand, since the start.
    counts: BTreeMap<&'static str, u64>,
    /// When the oldest event that is not handed over came in (RFC 3339).
    oldest_pending_at: Option<String>,
    /// When a delivery was verified last, since the start (RFC 3339).
    last_event_at: Option<String>,
}

/// The samples that can be sent to it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SamplesShown {
    /// Their event types, the usual one first.
    events: Vec<String>,
    /// Whether they can be signed here: with public keys only the sender can.
    signable: bool,
}

/// What its payloads are judged by.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SchemasShown {
    /// Event types with a schema of their own.
    types: Vec<String>,
    /// Whether there is one for all others.
    others: bool,
}

/// A secret, without itself.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecretShown {
    label: String,
    /// Eight digits of its SHA-256 digest; `null` for one that a handshake brought or that is fetched.
    fingerprint: Option<String>,
    /// It verifies nothing before (RFC 3339).
    not_before: Option<String>,
    /// It verifies nothing from then on (RFC 3339).
    not_after: Option<String>,
    /// Deliveries that it verified since the start.
    proven: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToleranceShown {
    past_seconds: Option<f64>,
    future_seconds: Option<f64>,
}

/// All sources, with their counts.
#[utoipa::path(get, path = "/v1/sources", tag = "configuration", responses(
    (status = 200, body = Sources), Refused))]
pub(super) async fn list(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let (known, oldest) = (parts.live.load(), oldest(&parts));
    let sources = known.sources.values().map(|source| shown(&known, source, &oldest)).collect();
    fresh(StatusCode::OK).json(Sources { sources })
}

/// One source, with its counts.
#[utoipa::path(get, path = "/v1/sources/{name}", tag = "configuration",
    params(("name" = String, Path, description = "Its name.")), responses(
    (status = 200, body = SourceShown), Refused))]
pub(super) async fn one(request: HttpRequest, parts: Data<AdminParts>, name: Path<String>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let known = parts.live.load();
    match known.sources.get(name.as_str()) {
        Some(source) => fresh(StatusCode::OK).json(shown(&known, source, &oldest(&parts))),
        None => unknown(&known),
    }
}

/// The answer about a source that is none.
pub(super) fn unknown(known: &Known) -> HttpResponse {
    let names: Vec<&str> = known.sources.keys().map(String::as_str).collect();
    let detail = format!("no source has this name; there are: {}", names.join(", "));
    problem(StatusCode::NOT_FOUND, "unknown_source", &detail)
}

fn oldest(parts: &AdminParts) -> BTreeMap<Arc<str>, Timestamp> {
    let stats = parts.health.lanes.stats();
    stats.into_iter().filter_map(|(source, stats)| Some((source, stats.oldest?))).collect()
}

fn shown(known: &Known, source: &Source, oldest: &BTreeMap<Arc<str>, Timestamp>) -> SourceShown {
    let (scheme, seen) = (source.verifier.scheme(), source.metrics.seen());
    let facts = known.facts.get(&*source.name);
    let secret = |(label, proven): &(Arc<str>, u64)| {
        let given = facts.and_then(|facts| facts.secrets.iter().find(|secret| secret.label == **label));
        SecretShown {
            label: label.to_string(),
            fingerprint: given.map(|secret| secret.fingerprint.clone()),
            not_before: given.and_then(|secret| secret.not_before.clone()),
            not_after: given.and_then(|secret| secret.not_after.clone()),
            proven: *proven,
        }
    };
    SourceShown {
        name: source.name.to_string(),
        path: source.path.clone(),
        url: known.shown.public_url.as_ref().map(|url| format!("{url}{}", source.path)),
        provider: scheme.provider.to_string(),
        scheme: scheme.name.to_string(),
        signed_by: scheme.algorithm.name(),
        unauthenticated: scheme.algorithm == crate::provider::Algorithm::Unauthenticated,
        secrets: seen.secrets.iter().map(secret).collect(),
        tolerance: ToleranceShown {
            past_seconds: source.tolerance.past.map(|past| past.as_secs_f64()),
            future_seconds: source.tolerance.future.map(|future| future.as_secs_f64()),
        },
        events: source.events.clone(),
        split: source.split,
        limit: facts.and_then(|facts| facts.limit.clone()),
        body_bytes_max: source.body_bytes_max,
        quarantine_bytes: source.quarantine,
        samples: SamplesShown {
            events: known.hands.get(&*source.name).map_or_else(Vec::new, |hand| hand.events().to_vec()),
            signable: !scheme.has_public_keys(),
        },
        schemas: SchemasShown {
            types: source.schemas.as_ref().map_or_else(Vec::new, |schemas| schemas.types()),
            others: source.schemas.as_ref().is_some_and(|schemas| schemas.has_fallback()),
        },
        counts: seen.standing.counts().collect(),
        oldest_pending_at: oldest.get(&source.name).map(Timestamp::to_string),
        last_event_at: source.metrics.last_proven().map(|at| at.to_string()),
    }
}

/// Providers that a source can have.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Providers<'k> {
    providers: &'k [ProviderFacts],
}

/// All providers that a source can have.
#[utoipa::path(get, path = "/v1/providers", tag = "configuration", responses(
    (status = 200, body = Providers), Refused))]
pub(super) async fn providers(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    fresh(StatusCode::OK).json(Providers { providers: &parts.live.load().shown.providers })
}

/// The configuration in force.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Configuration<'k> {
    /// Every value, in the order of the keys.
    values: &'k [ConfigValue],
    /// What is allowed but odd.
    warnings: &'k [String],
}

/// Every value in force, with where it was given. No secret is among them.
#[utoipa::path(get, path = "/v1/config", tag = "configuration", responses(
    (status = 200, body = Configuration), Refused))]
pub(super) async fn config(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let shown = Arc::clone(&parts.live.load().shown);
    fresh(StatusCode::OK).json(Configuration { values: &shown.values, warnings: &shown.warnings })
}
