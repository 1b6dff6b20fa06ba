//! A configuration that has been loaded and checked, made ready to be put in force: all that costs time is done here,
//! beside the requests, and nothing that runs is touched.
//!
//! A print of a source covers everything that makes it: two with the same print are the same source.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::fixed::Fixed;
use super::shown;
use crate::admin::Shown;
use crate::cli::assemble::{self, Plan};
use crate::cli::{fetching, verify};
use crate::config::{self, AdminTokens, Loaded};
use crate::diagnose::Surroundings;
use crate::provider::Catalog;
use crate::provider::secret::Secret;
use crate::verify::{ClientRule, ClientSettings};

/// SHA-256 over what something is made of.
pub(super) type Print = [u8; 32];

/// A source that is to be served.
pub(super) struct Incoming {
    /// Scheme and keys.
    pub plan: Plan,
    /// Over all that makes it.
    pub print: Print,
    /// Its secrets by label.
    pub secrets: BTreeMap<String, Print>,
}

/// A configuration, ready.
pub(super) struct Prepared {
    /// The configuration.
    pub loaded: Arc<Loaded>,
    /// Its sources.
    pub sources: Vec<Incoming>,
    /// What a reload cannot change.
    pub fixed: Fixed,
    /// What belongs to no single source and can be changed, by key.
    pub general: BTreeMap<&'static str, Print>,
    /// How keys are fetched.
    pub fetch: ClientSettings,
    /// What the explainer knows, where the configuration wants one.
    pub surroundings: Option<Surroundings>,
    /// All providers.
    pub catalog: Catalog,
    /// What operators are shown of it.
    pub shown: Arc<Shown>,
    /// What is allowed but odd.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Makes it ready. Blocks: it reads `fetch.ca_file`, and builds the scheme of each source once more.
    ///
    /// # Errors
    /// Where that file cannot be read.
    pub(super) fn of(loaded: Arc<Loaded>, plans: Vec<Plan>) -> anyhow::Result<Self> {
        let fetch = fetching::settings(&loaded)?;
        let catalog = assemble::catalog(&loaded, &mut loaded.report());
        let general = general(&loaded, &fetch, catalog.own());
        let proofs = plans.iter().flat_map(|plan| &plan.warnings);
        let warnings: Vec<String> = loaded.warnings.iter().chain(proofs).cloned().collect();
        let shown = Arc::new(shown::shown(&loaded, &catalog, &warnings)?);
        let surroundings = loaded
            .settings
            .ingress
            .explain
            .then(|| Surroundings { endpoints: verify::others(&loaded, &catalog), catalog: catalog.clone() });
        let incoming = |plan: Plan| Incoming {
            print: print(&loaded, &plan, &fetch),
            secrets: secrets(&loaded, &plan.name),
            plan,
        };
        let sources = plans.into_iter().map(incoming).collect();
        let fixed = Fixed::of(&loaded);
        Ok(Self { fixed, loaded, sources, general, fetch, surroundings, catalog, shown, warnings })
    }

    /// What vouches for the client certificates that sources want.
    pub(super) fn rules(&self) -> impl Iterator<Item = &ClientRule> {
        self.sources.iter().filter_map(|source| source.plan.client.as_ref())
    }

    /// The names of the sources.
    pub(super) fn names(&self) -> Vec<String> {
        self.sources.iter().map(|source| source.plan.name.clone()).collect()
    }
}

/// Text and secrets, each with its length before it.
#[derive(Default)]
struct Printing(Sha256);

impl Printing {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn shown(self, value: &impl Debug) -> Self {
        self.bytes(format!("{value:?}").as_bytes())
    }

    fn secret(self, secret: &Secret) -> Self {
        let times = (secret.not_before(), secret.not_after());
        self.bytes(secret.expose()).shown(&(secret.kid(), secret.slot(), times))
    }

    fn done(self) -> Print {
        self.0.finalize().into()
    }
}

/// Neither form of a source nor of a scheme shows a secret's text: those come by themselves. A plan is taken apart, so that
/// nothing that is added to it is left out here: its captured secret's file is in the configured form, its warnings
/// are of what is printed, and visits go by `fetch`.
fn print(loaded: &Loaded, plan: &Plan, fetch: &ClientSettings) -> Print {
    let Plan {
        name,
        verifier,
        schemas,
        body_bytes_max,
        addresses,
        client,
        capture: _,
        warnings: _,
        visits: _,
    } = plan;
    let configured = loaded.settings.sources.get(name);
    let schemas = schemas.as_ref().map(|schemas| schemas.digest());
    let print = Printing::default().shown(&configured).shown(verifier.scheme()).shown(&schemas);
    let authorities = client.as_ref().map(ClientRule::authorities);
    let print = print.shown(addresses).shown(body_bytes_max).shown(fetch).shown(&authorities);
    let secrets = loaded.secrets.sources.get(name).into_iter().flatten();
    secrets.fold(print, |print, secret| print.shown(&secret.label()).secret(secret)).done()
}

fn secrets(loaded: &Loaded, source: &str) -> BTreeMap<String, Print> {
    let secrets = loaded.secrets.sources.get(source).into_iter().flatten();
    let of = |secret: &Secret| (secret.label().to_owned(), Printing::default().secret(secret).done());
    secrets.map(of).collect()
}

fn general(loaded: &Loaded, fetch: &ClientSettings, own_providers: Print) -> BTreeMap<&'static str, Print> {
    let config::Settings { ingress, admin, sink, reload, providers, .. } = &loaded.settings;
    // A further key of these is either among `Fixed` and named `_` here, or one that a reload changes: that has to be told
    // apart below, or a reload that changes nothing else is none.
    let (config::Reload { watch }, config::Providers { dir: _ }) = (reload, providers);
    let config::Admin { listen: _, token: _, read_token: _, worker_token: _ } = admin;
    let AdminTokens { operator, reader, worker } = &loaded.secrets.admin;
    let config::Sink {
        kind: _,
        url: _,
        exchange: _,
        declare: _,
        max_in_flight: _,
        confirm_timeout: _,
        lease,
        max_attempts: _,
    } = sink;
    let config::Ingress {
        listen: _,
        public_url: _,
        tls: _,
        plain_http,
        trusted_proxies,
        body_bytes_max: _,
        head_bytes_max: _,
        head_timeout: _,
        body_timeout: _,
        body_rate_min: _,
        bodies_in_flight_max: _,
        keep_alive: _,
        connections_max: _,
        connections_per_address: _,
        requests_per_address: _,
        proxy_protocol: _,
        workers: _,
        explain,
    } = ingress;
    let shown = |value: &dyn Debug| Printing::default().bytes(format!("{value:?}").as_bytes()).done();
    let token = |token: &Option<Secret>| {
        token.iter().fold(Printing::default(), |print, token| print.secret(token)).done()
    };
    BTreeMap::from([
        ("ingress.plain_http", shown(plain_http)),
        ("ingress.trusted_proxies", shown(trusted_proxies)),
        ("ingress.explain", shown(explain)),
        ("admin.token", token(operator)),
        ("admin.read_token", token(reader)),
        ("admin.worker_token", token(worker)),
        ("sink.lease", shown(lease)),
        ("reload.watch", shown(watch)),
        ("fetch", shown(fetch)),
        ("providers.dir", own_providers),
    ])
}
