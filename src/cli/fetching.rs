//! What is fetched, put together: the client as the configuration has it, and a keyring for each source whose scheme
//! has keys that its provider publishes.

use std::fs;
use std::sync::Arc;

use anyhow::Context;

use super::assemble::Plan;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::metrics::Metrics;
use crate::tasks::Runtime;
use crate::verify::{Client, ClientSettings, Keyring, KeyringParts, Visits};

/// The client that fetches.
pub(super) fn client(loaded: &Loaded) -> anyhow::Result<Client> {
    let fetch = &loaded.settings.fetch;
    let read = |path| fs::read(path).with_context(|| format!("{path:?} cannot be read"));
    let settings = ClientSettings {
        timeout: fetch.timeout.duration(),
        allow_private: fetch.allow_private,
        ca: fetch.ca_file.as_ref().map(read).transpose()?,
    };
    Client::new(&settings).context("its certificates cannot be used")
}

/// The plans with visits, and with keyrings, which begin to be filled; to be called within a Tokio runtime.
pub(super) fn begin(
    loaded: &Loaded,
    plans: Vec<Plan>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> anyhow::Result<Vec<Plan>> {
    let (client, runtime) = (client(loaded)?, Runtime::current());
    let visits = Visits::start(client.clone(), Arc::clone(clock), metrics.visits(), &runtime);
    let fetching = |plan: Plan| {
        let plan = Plan { visits: Some(visits.clone()), ..plan };
        let scheme = plan.verifier.scheme();
        if scheme.key.fetch.is_none() {
            return plan;
        }
        let keyring = Keyring::new(KeyringParts {
            source: plan.name.as_str().into(),
            scheme: Arc::clone(scheme),
            client: client.clone(),
            clock: Arc::clone(clock),
            metrics: metrics.key_fetches(&plan.name),
            runtime: runtime.clone(),
        });
        keyring.iter().for_each(Keyring::warm);
        Plan { verifier: plan.verifier.with_keyring(keyring), ..plan }
    };
    Ok(plans.into_iter().map(fetching).collect())
}

/// What a source's fixed URL holds, in words; nothing where it has none.
pub(super) async fn tried(loaded: &Loaded, plan: &Plan) -> anyhow::Result<Option<String>> {
    let Some(found) = client(loaded)?.keys_of(plan.verifier.scheme()).await else { return Ok(None) };
    let keys = found.with_context(|| format!("sources.{}", plan.name))?;
    Ok(Some(format!("sources.{}, {keys} key(s)", plan.name)))
}
