//! What operators are shown of a configuration: its values and their origins, its providers, its secrets without themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use crate::admin::{ConfigValue, ConfiguredSecret, LimitFacts, ProviderFacts, Shown, SourceFacts};
use crate::cli::assemble;
use crate::cli::providers::table;
use crate::config::{self, Ack, InForce, Loaded};
use crate::provider::secret::Secret;
use crate::provider::{Catalog, Definition};
use crate::sample::Hand;

/// All that belongs to no single source.
///
/// # Errors
/// Where a value has no form that could be shown.
pub(super) fn shown(loaded: &Loaded, catalog: &Catalog, warnings: &[String]) -> anyhow::Result<Shown> {
    let value = |InForce { key, value, origin }| ConfigValue { key, value, origin };
    let values = loaded.in_force().context("the configuration cannot be shown")?;
    Ok(Shown {
        public_url: loaded.settings.ingress.public_url.as_ref().map(|url| url.as_str().to_owned()),
        ack: match loaded.settings.journal.ack {
            Ack::Journal => "journal",
            Ack::Confirm => "confirm",
        },
        sink: loaded.settings.sink.kind.name(),
        providers: catalog.iter().map(provider).collect(),
        values: values.into_iter().map(value).collect(),
        warnings: warnings.to_vec(),
    })
}

fn provider(definition: &Definition) -> ProviderFacts {
    let texts = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    ProviderFacts {
        name: definition.name.clone(),
        title: definition.title.clone(),
        docs: definition.docs.clone(),
        own: definition.folder.is_some(),
        schemes: definition.schemes.iter().map(|scheme| scheme.name.clone()).collect(),
        signed_by: texts(table::algorithms(definition)),
        retries: table::retries(definition),
        handshakes: texts(table::handshakes(definition)),
    }
}

/// What is shown of each source besides what it tells itself.
pub(super) fn sources(loaded: &Loaded) -> BTreeMap<String, SourceFacts> {
    let facts = |(name, source): (&String, &config::Source)| {
        let limit = source.limit.as_ref().map(|limit| LimitFacts {
            rate: limit.rate.to_string(),
            burst: assemble::rate(limit).burst.get(),
        });
        let secrets = loaded.secrets.sources.get(name).into_iter().flatten().map(secret).collect();
        (name.clone(), SourceFacts { limit, secrets })
    };
    loaded.settings.sources.iter().map(facts).collect()
}

/// What signs samples of each source.
pub(super) fn hands(loaded: &Loaded, catalog: &Catalog) -> BTreeMap<String, Arc<Hand>> {
    let hand = |(name, source): (&String, &config::Source)| {
        let secrets = loaded.secrets.sources.get(name).cloned().unwrap_or_default();
        Some((name.clone(), Arc::new(Hand::new(catalog, &source.provider, secrets)?)))
    };
    loaded.settings.sources.iter().filter_map(hand).collect()
}

fn secret(secret: &Secret) -> ConfiguredSecret {
    ConfiguredSecret {
        label: secret.label().to_owned(),
        fingerprint: secret.fingerprint(),
        not_before: secret.not_before().map(|at| at.to_string()),
        not_after: secret.not_after().map(|at| at.to_string()),
    }
}
