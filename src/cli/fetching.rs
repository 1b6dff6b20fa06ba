//! What is fetched, put together: the client as the configuration has it, and a keyring for each source whose scheme
//! has keys that its provider publishes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::Context;

use super::assemble::Plan;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::metrics::Metrics;
use crate::tasks::Runtime;
use crate::verify::{Client, ClientSettings, Keyring, KeyringParts, Visits};

/// How it is fetched, as the configuration has it.
///
/// # Errors
/// Where the file of certificates cannot be read.
pub(super) fn settings(loaded: &Loaded) -> anyhow::Result<ClientSettings> {
    let fetch = &loaded.settings.fetch;
    let read = |path| fs::read(path).with_context(|| format!("{path:?} cannot be read"));
    Ok(ClientSettings {
        timeout: fetch.timeout.duration(),
        allow_private: fetch.allow_private,
        ca: fetch.ca_file.as_ref().map(read).transpose()?,
    })
}

/// The client that fetches.
pub(super) fn client(loaded: &Loaded) -> anyhow::Result<Client> {
    made(&settings(loaded)?)
}

fn made(settings: &ClientSettings) -> anyhow::Result<Client> {
    Client::new(settings).context("its certificates cannot be used")
}

/// What fetches for all sources of a gateway, and the keys that it has: those of a source outlive a reload, as long as
/// its scheme and `[fetch]` stay the same.
pub(super) struct Fetching {
    settings: ClientSettings,
    client: Client,
    visits: Visits,
    runtime: Runtime,
    keyrings: BTreeMap<String, (String, Keyring)>,
}

impl Fetching {
    /// With no keys yet; to be called within a Tokio runtime.
    ///
    /// # Errors
    /// Where no client can be made of the settings.
    pub(super) fn start(
        settings: ClientSettings,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let (client, runtime) = (made(&settings)?, Runtime::current());
        let visits = Visits::start(client.clone(), Arc::clone(clock), metrics.visits(), &runtime);
        Ok(Self { settings, client, visits, runtime, keyrings: BTreeMap::new() })
    }

    /// Whether it fetches as these say.
    pub(super) fn is_as(&self, settings: &ClientSettings) -> bool {
        self.settings == *settings
    }

    /// The plan with visits, and with its keyring, which begins to be filled where it is none of before.
    pub(super) fn equip(&mut self, plan: Plan, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Plan {
        let plan = Plan { visits: Some(self.visits.clone()), ..plan };
        let scheme = plan.verifier.scheme();
        if scheme.key.fetch.is_none() {
            return plan;
        }
        let form = format!("{scheme:?}");
        let known = self.keyrings.get(&plan.name).filter(|(known, _)| *known == form);
        let keyring = known.map(|(_, keyring)| keyring.clone()).or_else(|| {
            let keyring = Keyring::new(KeyringParts {
                source: plan.name.as_str().into(),
                scheme: Arc::clone(scheme),
                client: self.client.clone(),
                clock: Arc::clone(clock),
                metrics: metrics.key_fetches(&plan.name),
                runtime: self.runtime.clone(),
            })?;
            keyring.warm();
            Some(keyring)
        });
        if let Some(keyring) = &keyring {
            self.keyrings.insert(plan.name.clone(), (form, keyring.clone()));
        }
        Plan { verifier: plan.verifier.with_keyring(keyring), ..plan }
    }

    /// Forgets the keys of sources that are none any more.
    pub(super) fn keep(&mut self, is_source: impl Fn(&str) -> bool) {
        self.keyrings.retain(|name, _| is_source(name));
    }
}

/// What a source's fixed URL holds, in words; nothing where it has none.
pub(super) async fn tried(loaded: &Loaded, plan: &Plan) -> anyhow::Result<Option<String>> {
    let Some(found) = client(loaded)?.keys_of(plan.verifier.scheme()).await else { return Ok(None) };
    let keys = found.with_context(|| format!("sources.{}", plan.name))?;
    Ok(Some(format!("sources.{}, {keys} key(s)", plan.name)))
}
