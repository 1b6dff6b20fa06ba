//! From a loaded configuration to sources that can be served: the checks that need provider files and schemas.
//!
//! `check` and `serve` both stand on this, so what the one approves the other runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{fetching, files, gateway, paths, tls};
use crate::accept::Policy;
use crate::addresses::Addresses;
use crate::capture::Capture;
use crate::clock::Clock;
use crate::config::{self, Ack, KeyPath, Loaded, Report, SinkKind};
use crate::freshness::Tolerance;
use crate::ingress::BODY_OVERHEAD;
use crate::limit::{Limit, Rate};
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::notice::SilentAfter;
use crate::provider::secret::Secret;
use crate::provider::{Algorithm, Batch, Catalog, Definition, Problem, Scheme};
use crate::schema::Schemas;
use crate::source::{OnInvalid, Source, Statuses};
use crate::telemetry::trace;
use crate::verify::{ClientRule, Key, KeyError, Verifier, Visits};

/// Room that a record needs beside its body.
const RECORD_OVERHEAD: u64 = 64 << 10;

/// And for the parts of a split one: what names each of them, and where it is.
const PARTS_OVERHEAD: u64 = 384 << 10;

/// A source of the configuration, with its provider's scheme and keys.
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Scheme and keys.
    pub verifier: Verifier,
    /// The secret that its sender brings, where that is how it gets one.
    pub capture: Option<Arc<Capture>>,
    /// Who may send to it; `None` for everybody.
    pub addresses: Option<Addresses>,
    /// Schemas, where the stage is on.
    pub schemas: Option<Arc<Schemas>>,
    /// Longest body in bytes.
    pub body_bytes_max: usize,
    /// What an operator should know of how it proves.
    pub warnings: Vec<String>,
    /// What calls the URLs that its handshakes ask for, once it is served.
    pub visits: Option<Visits>,
    /// The client certificates that it wants.
    pub client: Option<ClientRule>,
}

/// The catalog with the operator's own provider files; their errors go to `report`.
pub fn catalog(loaded: &Loaded, report: &mut Report) -> Catalog {
    let (catalog, errors) = files::read(loaded.settings.providers.dir.as_deref());
    for error in errors {
        report.error("providers.dir", error.to_string(), "a folder of provider files (see providers/)");
    }
    catalog
}

/// All that `check` looks at and `serve` runs; whatever is wrong goes to `report`.
pub fn all(loaded: &Loaded, report: &mut Report) -> Vec<Plan> {
    let catalog = catalog(loaded, report);
    let plans = plan(loaded, &catalog, report);
    paths::check(loaded, &plans, report);
    served(loaded, report);
    plans
}

/// Plans every source; whatever is wrong goes to `report`, and that source is left out.
pub fn plan(loaded: &Loaded, catalog: &Catalog, report: &mut Report) -> Vec<Plan> {
    let mut planner = Planner { loaded, catalog, report, schemas: BTreeMap::new() };
    loaded.settings.sources.iter().filter_map(|(name, source)| planner.source(name, source)).collect()
}

/// What `serve` needs beyond single sources.
pub fn served(loaded: &Loaded, report: &mut Report) {
    let settings = &loaded.settings;
    match settings.sink.kind {
        SinkKind::Rabbitmq => {
            let names = settings.sources.keys().cloned().collect();
            if loaded.secrets.sink_url.is_some()
                && let Err(error) = gateway::rabbitmq_settings(loaded, names)
            {
                report.error("sink.url", "settings that RabbitMQ cannot have", format!("{error:#}"));
            }
        }
        SinkKind::Inbox | SinkKind::Stdout => {}
    }
    if loaded.secrets.dedup_url.is_some()
        && let Err(error) = gateway::redis_claims(loaded, gateway::NOBODY)
    {
        report.error("dedup.url", "settings that Redis cannot have", format!("{error:#}"));
    }
    notices(loaded, report);
    tls::check(loaded, report);
    if let Err(error) = fetching::client(loaded) {
        report.error("fetch.ca_file", format!("{error:#}"), "a file of certificates in PEM");
    }
}

/// What notices are signed with, where they are sent.
fn notices(loaded: &Loaded, report: &mut Report) {
    let settings = &loaded.settings.notices;
    if settings.url.is_some() && settings.secret.is_none() {
        report.missing("notices.secret", format!("a reference to a key: {}", gateway::Key::ALLOWED));
    }
    if let Some(secret) = &loaded.secrets.notices
        && gateway::Key::read(secret.expose()).is_none()
    {
        report.error("notices.secret", "a secret of another form", gateway::Key::ALLOWED);
    }
}

struct Planner<'a> {
    loaded: &'a Loaded,
    catalog: &'a Catalog,
    report: &'a mut Report,
    schemas: BTreeMap<String, Option<Arc<Schemas>>>,
}

impl Planner<'_> {
    fn source(&mut self, name: &str, source: &config::Source) -> Option<Plan> {
        let path = KeyPath::from("sources").key(name);
        let Some(definition) = self.catalog.get(&source.provider) else {
            if !source.provider.is_empty() {
                let known: Vec<&str> = self.catalog.iter().map(|known| known.name.as_str()).collect();
                let near = self.catalog.nearest(&source.provider);
                let meant = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
                let found = format!("{:?}", source.provider);
                let allowed = format!("{meant}a file of your own in providers.dir, or {}", known.join(", "));
                self.report.error(path.key("provider"), found, allowed);
            }
            return None;
        };
        let settings = source.settings.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        let scheme = match Scheme::build(definition, source.scheme.as_deref(), &settings) {
            Ok(scheme) => scheme,
            Err(problems) => {
                problems.iter().for_each(|problem| self.problem(&path, definition, problem));
                return None;
            }
        };
        self.horizon(&scheme);
        self.events(&path, source, &scheme);
        self.split(&path, source, &scheme);
        let scheme = self.origin(name, scheme);
        let keys = self.keys(&path, name, (source, &scheme))?;
        let short = keys.iter().filter_map(|key| Some(format!("{}: {}", key.label(), key.warning()?)));
        let warnings: Vec<String> = scheme
            .warnings()
            .into_iter()
            .chain(short)
            .map(|text| format!("sources.{name}: {text}"))
            .collect();
        let scheme = Arc::new(scheme);
        let capture = self.capture(&path, name, &scheme);
        let verifier = Verifier::new(Arc::clone(&scheme), keys);
        let body_bytes_max = self.body_bytes_max(&path, source, definition);
        let wanted = source.client_certificates.as_ref();
        let client = wanted.and_then(|wanted| tls::client_rule(&path, wanted, self.report));
        let schemas = if source.schema { self.schemas(&definition.name) } else { None };
        Some(Plan {
            name: name.to_owned(),
            verifier: match &capture {
                Some(capture) => verifier.with_captured(capture.keys()),
                None => verifier,
            },
            capture,
            addresses: self.loaded.addresses.get(name).cloned(),
            schemas,
            body_bytes_max,
            warnings,
            visits: None,
            client,
        })
    }

    /// A problem is the source's where it is in what the source says, else the provider file's.
    fn problem(&mut self, path: &KeyPath, definition: &Definition, problem: &Problem) {
        match problem.key.strip_prefix("settings.") {
            Some(setting) => {
                self.report.error(
                    path.key("settings").key(setting),
                    problem.found.as_str(),
                    problem.allowed.as_str(),
                );
            }
            None if problem.key == "scheme" => {
                self.report.error(path.key("scheme"), problem.found.as_str(), problem.allowed.as_str());
            }
            None => {
                let found = format!(
                    "provider {:?}, whose file has {} = {}",
                    definition.name, problem.key, problem.found
                );
                self.report.error(path.key("provider"), found, format!("there {}", problem.allowed));
            }
        }
    }

    /// A redelivery after the window would be a new event.
    fn horizon(&mut self, scheme: &Scheme) {
        let window = self.loaded.settings.dedup.window;
        if let Some(retries) = scheme.retries.filter(|retries| *retries > window.duration()) {
            let allowed = format!(
                "at least {} hours, for so long {} retries",
                retries.as_secs().div_ceil(3600),
                scheme.provider
            );
            self.report.error("dedup.window", format!("\"{window}\""), allowed);
        }
    }

    /// A signed URL is the one that the provider calls, which no request can tell.
    fn origin(&mut self, name: &str, scheme: Scheme) -> Scheme {
        let public_url = self.loaded.settings.ingress.public_url.as_ref();
        if public_url.is_none() && scheme.signs_url() && !self.report.tells_of(&"ingress.public_url".into()) {
            let allowed = format!(
                "the URL that providers call, such as \"https://hooks.example.com\": scheme {:?} of sources.{name} signs it",
                scheme.name
            );
            self.report.missing("ingress.public_url", allowed);
        }
        match public_url {
            Some(url) => scheme.at(url.as_str()),
            None => scheme,
        }
    }

    /// Filtering by type needs a type.
    fn events(&mut self, path: &KeyPath, source: &config::Source, scheme: &Scheme) {
        let by_element = source.split && scheme.batch.as_ref().is_some_and(Batch::tells_types);
        if !source.events.is_empty() && scheme.event.types().is_empty() && !by_element {
            let allowed = "an empty list: this scheme tells no event type (generic: set settings.type)";
            self.report.error(path.key("events"), format!("{} type(s)", source.events.len()), allowed);
        }
    }

    /// Parts need a provider that says where they are.
    fn split(&mut self, path: &KeyPath, source: &config::Source, scheme: &Scheme) {
        if source.split && scheme.batch.is_none() {
            let allowed = format!(
                "false: the file of provider {:?} has no [batch], so a request of it is one event",
                scheme.provider
            );
            self.report.error(path.key("split"), "true", allowed);
        }
    }

    /// A source that proves nothing must say so, and one that says so must be of a scheme that proves nothing.
    fn unauthenticated(
        &mut self,
        path: &KeyPath,
        source: &config::Source,
        scheme: &Scheme,
    ) -> Option<Vec<Key>> {
        let none = scheme.algorithm == Algorithm::Unauthenticated;
        if none && !source.unauthenticated {
            let allowed = format!(
                "true, where anybody who finds the URL may send events: scheme {:?} of {:?} proves nothing",
                scheme.name, scheme.provider
            );
            self.report.error(path.key("unauthenticated"), "false", allowed);
            return None;
        }
        if none && !source.secrets.is_empty() {
            let found = format!("{} secret(s)", source.secrets.len());
            self.report.error(
                path.key("secrets"),
                found,
                "none: this scheme has nothing to compare them with",
            );
            return None;
        }
        Some(vec![Key::unauthenticated()])
    }

    fn keys(
        &mut self,
        path: &KeyPath,
        name: &str,
        (source, scheme): (&config::Source, &Scheme),
    ) -> Option<Vec<Key>> {
        if scheme.algorithm == Algorithm::Unauthenticated {
            return self.unauthenticated(path, source, scheme);
        }
        if source.unauthenticated {
            let allowed = format!("false: scheme {:?} proves its events", scheme.name);
            self.report.error(path.key("unauthenticated"), "true", allowed);
        }
        let secrets = self.loaded.secrets.sources.get(name).map_or(&[][..], Vec::as_slice);
        let captured = self.loaded.secrets.captured.contains_key(name);
        if secrets.is_empty() && !captured && scheme.key.fetch.is_none() {
            self.report.error(
                path.key("secrets"),
                "no usable secret",
                "at least one, such as { env = \"NAME\" }",
            );
            return None;
        }
        let mut keys = Vec::with_capacity(secrets.len());
        for (index, secret) in secrets.iter().enumerate() {
            match key(scheme, secret) {
                Ok(key) if scheme.key.id.is_some() && key.id().is_none() => {
                    let allowed = "the id by which deliveries name this key, such as { …, kid = \"k1\" }";
                    self.report.error(path.key("secrets").index(index), "a key without a kid", allowed);
                }
                Ok(key) => keys.push(key),
                Err(error) => {
                    let at = path.key("secrets").index(index);
                    let found = format!("{error} (it has {} bytes)", secret.expose().len());
                    let allowed = match scheme.has_public_keys() && error != KeyError::Known {
                        true => "the sender's public key for this endpoint, as the provider shows it",
                        false => error.allowed(),
                    };
                    self.report.error(at, found, allowed);
                }
            }
        }
        (keys.len() == secrets.len()).then_some(keys)
    }

    /// The secret that a handshake brings; the provider's file must have such a handshake.
    fn capture(&mut self, path: &KeyPath, name: &str, scheme: &Arc<Scheme>) -> Option<Arc<Capture>> {
        let (file, label) = self.loaded.secrets.captured.get(name)?;
        if !scheme.handshakes.capture() {
            let found = format!("a captured secret, and {:?} never sends one", scheme.provider);
            let allowed = "env, file or credential, or a provider whose file has a handshake with `capture`";
            self.report.error(path.key("secrets"), found, allowed);
            return None;
        }
        match Capture::open(name, Arc::clone(scheme), label, file.clone()) {
            Ok(capture) => Some(Arc::new(capture)),
            Err(error) => {
                let allowed = "a file that a capture wrote, or none yet";
                self.report.error(path.key("secrets"), error.to_string(), allowed);
                None
            }
        }
    }

    fn body_bytes_max(&mut self, path: &KeyPath, source: &config::Source, definition: &Definition) -> usize {
        let settings = &self.loaded.settings;
        let bytes = source
            .body_bytes_max
            .or(definition.sender.body_bytes_max)
            .unwrap_or(settings.ingress.body_bytes_max);
        let segment = settings.journal.segment_bytes;
        let mut most = (segment.bytes() / 8 * 7).saturating_sub(RECORD_OVERHEAD);
        if source.split {
            most = most.saturating_sub(PARTS_OVERHEAD);
        }
        if bytes.bytes() > most && settings.journal.ack == Ack::Journal {
            let allowed = format!(
                "at most {most} bytes: 7/8 of journal.segment_bytes = \"{segment}\", less 64 KiB{}",
                if source.split { ", and 384 KiB where a source splits" } else { "" }
            );
            self.report.error(path.key("body_bytes_max"), format!("\"{bytes}\""), allowed);
        }
        let (room, head) = (settings.ingress.bodies_in_flight_max, settings.ingress.head_bytes_max);
        let most = room.bytes().saturating_sub(head.bytes() + BODY_OVERHEAD);
        if bytes.bytes() > most {
            let allowed = format!(
                "at most {most} bytes: ingress.bodies_in_flight_max = \"{room}\", less ingress.head_bytes_max = \"{head}\" and {} KiB",
                BODY_OVERHEAD >> 10
            );
            self.report.error(path.key("body_bytes_max"), format!("\"{bytes}\""), allowed);
        }
        bytes.as_usize()
    }

    fn schemas(&mut self, provider: &str) -> Option<Arc<Schemas>> {
        if let Some(known) = self.schemas.get(provider) {
            return known.clone();
        }
        let loaded = match Schemas::load(provider, self.loaded.settings.schemas.dir.as_deref()) {
            Ok(schemas) => (!schemas.is_empty()).then(|| Arc::new(schemas)),
            Err(errors) => {
                for error in errors {
                    self.report.error(
                        "schemas.dir",
                        error.to_string(),
                        "a JSON Schema without remote references",
                    );
                }
                None
            }
        };
        self.schemas.insert(provider.to_owned(), loaded.clone());
        loaded
    }
}

fn key(scheme: &Scheme, secret: &Secret) -> Result<Key, crate::verify::KeyError> {
    let key = Key::new(scheme, secret.label(), secret.expose())?;
    let key = key.with_id(secret.kid()).in_slot(secret.slot());
    Ok(key.valid_between(secret.not_before(), secret.not_after()))
}

/// The source as it is served, where a 2xx waits for `ack`.
pub fn source(
    plan: Plan,
    source: &config::Source,
    ack: Ack,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
) -> Source {
    let scheme = Arc::clone(plan.verifier.scheme());
    let file = scheme.timestamp.as_ref();
    let tolerance = Tolerance {
        past: source.tolerance.past.map(|span| span.duration()).or(file.and_then(|rule| rule.past)),
        future: source.tolerance.future.map(|span| span.duration()).or(file.and_then(|rule| rule.future)),
    };
    let refused = source.limit.filter(|_| source.on_limit(ack) == config::OnLimit::TooMany);
    let mut secrets: Vec<Arc<str>> = plan.verifier.secrets().collect();
    secrets.extend(plan.capture.iter().flat_map(|capture| capture.labels()));
    Source {
        metrics: metrics.source(&plan.name, secrets.into_iter()),
        name: plan.name.into(),
        path: source.path.as_str().to_owned(),
        addresses: plan.addresses,
        body_bytes_max: plan.body_bytes_max,
        verifier: plan.verifier,
        capture: plan.capture,
        tolerance,
        limit: refused.map(|limit| Arc::new(Limit::new(rate(&limit), Arc::clone(clock)))),
        events: source.events.clone(),
        split: source.split,
        schemas: plan.schemas,
        visits: plan.visits,
        client: plan.client,
        on_invalid: match source.on_invalid {
            config::OnInvalid::Route => OnInvalid::Route,
            config::OnInvalid::Reject => OnInvalid::Refuse,
        },
        policy: Policy {
            forward_duplicates: source.on_duplicate == config::OnDuplicate::Forward,
            hold_twins: source.on_twin == config::OnTwin::Hold,
            refuse_unknown: None,
        },
        statuses: statuses(source, &scheme),
        mask: Mask::new(source.mask.clone()),
        capture_bodies: source.capture_bodies,
        quarantine: source.quarantine.map(|size| size.bytes()),
        traceparent: match source.traceparent {
            config::SenderTrace::Link => trace::Sender::Link,
            config::SenderTrace::Parent => trace::Sender::Parent,
        },
        silent_after: match source.silent_after {
            config::SilentAfter::Usual => SilentAfter::Usual,
            config::SilentAfter::Time(time) => SilentAfter::Time(time.duration()),
            config::SilentAfter::Never => SilentAfter::Never,
        },
    }
}

/// The source's own statuses come over those that its provider demands, which no duplicate may lack either.
fn statuses(source: &config::Source, scheme: &Scheme) -> Statuses {
    let own = source.success_status.map(|status| status.code());
    let accepted = own.or(scheme.answer.as_ref().map(|answer| answer.status)).unwrap_or(200);
    let like_accepted = scheme.answer.as_ref().map_or(200, |_| accepted);
    Statuses { accepted, duplicate: source.duplicate_status.map_or(like_accepted, |status| status.code()) }
}

/// The limit on relaying a source's events, where it accepts beyond its rate.
pub fn relay_limit(source: &config::Source, clock: &Arc<dyn Clock>) -> Option<Limit> {
    let limit = source.limit.filter(|_| source.on_limit(Ack::Journal) == config::OnLimit::Accept)?;
    Some(Limit::pace(rate(&limit), Arc::clone(clock)))
}

/// A limit of the configuration.
pub fn rate(limit: &config::Limit) -> Rate {
    Rate {
        events: limit.rate.count(),
        per: limit.rate.period(),
        burst: limit.burst.unwrap_or(limit.rate.count()),
    }
}
