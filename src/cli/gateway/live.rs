//! What a reload swaps: sources and everything that belongs to them, whom the admin listener lets in, whose word counts
//! for an address.
//!
//! It is filled at the start as it is at each reload. A source that stays as it was stays the very same; of one that has
//! changed, whatever its own change does not touch goes on: its bucket where the rate is the same, its keys, its captured
//! secret, its counts. Nothing here opens a store or a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shared;
use super::changes::{Changes, Names};
use super::fixed::{Difference, Fixed};
use super::prepared::{Incoming, Prepared, Print};
use super::shown;
use crate::admin::{self, Guard, Known, Shown, Tokens};
use crate::cli::assemble::{self, Plan};
use crate::cli::fetching::Fetching;
use crate::cli::tls;
use crate::config::{self, AdminTokens, Loaded};
use crate::diagnose::Explainer;
use crate::ingress::tls::Tls;
use crate::ingress::{self, Table, TrustedProxies};
use crate::limit::Limit;
use crate::provider::Catalog;
use crate::source::Source;

/// A source in force.
struct Kept {
    print: Print,
    secrets: BTreeMap<String, Print>,
    source: Arc<Source>,
    /// Its pace on the way out, where it has one.
    pace: Option<Arc<Limit>>,
}

/// What is in force.
pub(super) struct Live {
    shared: Shared,
    /// For requests.
    pub table: ingress::Live,
    /// For the admin listener.
    pub known: admin::Live,
    watches: bool,
    fixed: Fixed,
    general: BTreeMap<&'static str, Print>,
    fetching: Fetching,
    tls: Option<Arc<Tls>>,
    kept: BTreeMap<String, Kept>,
}

impl Live {
    /// The configuration of the start; to be called within a Tokio runtime.
    ///
    /// # Errors
    /// Where no client for keys can be made, or the system refuses a thread.
    pub(super) fn begin(shared: &Shared, mut prepared: Prepared) -> anyhow::Result<Self> {
        let fetching = Fetching::start(prepared.fetch.clone(), &shared.clock, &shared.metrics)?;
        let tls = tls::begin(&prepared.loaded, prepared.rules(), &shared.clock, &shared.metrics)?;
        let mut live = Self {
            shared: shared.clone(),
            table: Default::default(),
            known: Default::default(),
            watches: false,
            fixed: std::mem::take(&mut prepared.fixed),
            general: BTreeMap::new(),
            fetching,
            tls,
            kept: BTreeMap::new(),
        };
        live.install(prepared)?;
        Ok(live)
    }

    /// TLS at the public listener, where the configuration has it.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Whether files are looked at.
    pub(super) fn watches(&self) -> bool {
        self.watches
    }

    /// The keys that only a restart can change, where `prepared` differs in them.
    pub(super) fn forbids(&self, prepared: &Prepared) -> Vec<Difference> {
        self.fixed.differences(&prepared.fixed)
    }

    /// How `prepared` differs in everything else.
    pub(super) fn changes(&self, prepared: &Prepared) -> Changes {
        let names: BTreeSet<&str> = prepared.sources.iter().map(|one| one.plan.name.as_str()).collect();
        let gone = |name: &&String| !names.contains(name.as_str());
        let mut changes = Changes {
            removed: self.kept.keys().filter(gone).cloned().collect(),
            settings: differing(&self.general, &prepared.general),
            ..Changes::default()
        };
        for Incoming { plan, print, secrets } in &prepared.sources {
            match self.kept.get(&plan.name) {
                Some(kept) if kept.print == *print => {}
                Some(kept) => {
                    changes.changed.push(plan.name.clone());
                    compare_secrets(&plan.name, &kept.secrets, secrets, &mut changes);
                }
                None => {
                    changes.added.push(plan.name.clone());
                    compare_secrets(&plan.name, &BTreeMap::new(), secrets, &mut changes);
                }
            }
        }
        for name in &changes.removed {
            let labels = self.kept.get(name).into_iter().flat_map(|kept| kept.secrets.keys());
            changes.secrets_removed.extend(labels.map(|label| format!("{name}/{label}")));
        }
        changes
    }

    /// Puts `prepared` in force. What can fail is done first: after an error all is as it was.
    ///
    /// # Errors
    /// As [`Live::begin`].
    pub(super) fn install(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let Shared { clock, metrics, steps, .. } = self.shared.clone();
        let authorities = tls::authorities(prepared.rules());
        let start = |known| Explainer::start(known, Arc::clone(&metrics), Arc::clone(&clock), steps.clone());
        let explainer = prepared.surroundings.map(start).transpose()?;
        let other = !self.fetching.is_as(&prepared.fetch);
        let fetching = other.then(|| Fetching::start(prepared.fetch, &clock, &metrics)).transpose()?;
        if let Some(tls) = &self.tls {
            tls.trust(authorities)?;
        }
        if let Some(fetching) = fetching {
            self.fetching = fetching;
        }
        let loaded = prepared.loaded;
        let mut before = std::mem::take(&mut self.kept);
        for incoming in prepared.sources {
            let name = incoming.plan.name.clone();
            let Some(configured) = loaded.settings.sources.get(&name) else { continue };
            let kept = match before.remove(&name) {
                Some(kept) if kept.print == incoming.print => kept,
                former => self.build(&loaded, incoming, (configured, former)),
            };
            self.shared.lanes.open(&kept.source.name);
            self.kept.insert(name, kept);
        }
        self.general = prepared.general;
        self.watches = loaded.settings.reload.watch;
        self.swap(&loaded, (&prepared.catalog, prepared.shown), explainer);
        before.iter().for_each(|(name, gone)| self.forget_secrets(name, gone, &BTreeMap::new()));
        self.fetching.keep(|name| self.kept.contains_key(name));
        Ok(())
    }

    /// A source that is not as it was, with what goes on of the one before.
    fn build(
        &mut self,
        loaded: &Loaded,
        incoming: Incoming,
        (configured, former): (&config::Source, Option<Kept>),
    ) -> Kept {
        let Shared { clock, metrics, .. } = &self.shared;
        let Incoming { plan, print, secrets } = incoming;
        let plan = self.fetching.equip(plan, clock, metrics);
        let plan = with_capture(plan, former.as_ref().map(|kept| &*kept.source));
        let mut source = assemble::source(plan, configured, loaded.settings.journal.ack, metrics, clock);
        let former_limit = former.as_ref().and_then(|kept| kept.source.limit.as_ref());
        source.limit = going_on(source.limit.take(), former_limit);
        let pace = assemble::relay_limit(configured, clock).map(Arc::new);
        let pace = going_on(pace, former.as_ref().and_then(|kept| kept.pace.as_ref()));
        if let Some(former) = &former {
            self.forget_secrets(&source.name, former, &secrets);
        }
        Kept { print, secrets, source: Arc::new(source), pace }
    }

    fn swap(&self, loaded: &Loaded, (catalog, shown): (&Catalog, Arc<Shown>), explainer: Option<Explainer>) {
        let pace = |kept: &Kept| Some((Arc::clone(&kept.source.name), Arc::clone(kept.pace.as_ref()?)));
        self.shared.limits.set(self.kept.values().filter_map(pace));
        self.known.store(Arc::new(self.admitted(loaded, (catalog, shown))));
        let proxies = loaded.settings.ingress.trusted_proxies.iter().map(|network| network.net()).collect();
        let sources = self.kept.values().map(|kept| Arc::clone(&kept.source));
        self.table.store(Arc::new(Table::new(sources, TrustedProxies::new(proxies), explainer)));
    }

    fn admitted(&self, loaded: &Loaded, (catalog, shown): (&Catalog, Arc<Shown>)) -> Known {
        let capture =
            |(name, kept): (&String, &Kept)| Some((name.clone(), Arc::clone(kept.source.capture.as_ref()?)));
        let AdminTokens { operator, reader, worker } = &loaded.secrets.admin;
        let [operator, reader, worker] =
            [operator, reader, worker].map(|token| token.as_ref().map(|token| token.expose()));
        Known {
            guard: Guard::new(&Tokens { operator, reader, worker }),
            sources: self.kept.iter().map(|(name, kept)| (name.clone(), Arc::clone(&kept.source))).collect(),
            facts: shown::sources(loaded),
            hands: shown::hands(loaded, catalog),
            captures: self.kept.iter().filter_map(capture).collect(),
            shown,
            lease: loaded.settings.sink.lease.duration(),
        }
    }

    /// Ends the counts of labels that are none of the source's any more.
    fn forget_secrets(&self, source: &str, former: &Kept, secrets: &BTreeMap<String, Print>) {
        for label in former.secrets.keys().filter(|label| !secrets.contains_key(*label)) {
            self.shared.metrics.forget_secret(source, label);
        }
    }
}

fn differing(
    running: &BTreeMap<&'static str, Print>,
    found: &BTreeMap<&'static str, Print>,
) -> Vec<&'static str> {
    found.iter().filter(|(key, print)| running.get(*key) != Some(print)).map(|(key, _)| *key).collect()
}

fn compare_secrets(
    source: &str,
    running: &BTreeMap<String, Print>,
    found: &BTreeMap<String, Print>,
    changes: &mut Changes,
) {
    let named = |label: &String| format!("{source}/{label}");
    for (label, print) in found {
        let list: Option<&mut Names> = match running.get(label) {
            None => Some(&mut changes.secrets_added),
            Some(known) if known != print => Some(&mut changes.secrets_replaced),
            Some(_) => None,
        };
        if let Some(list) = list {
            list.push(named(label));
        }
    }
    let gone = running.keys().filter(|label| !found.contains_key(*label));
    changes.secrets_removed.extend(gone.map(named));
}

/// The bucket of before, where it holds the same rate: a reload fills none.
fn going_on(limit: Option<Arc<Limit>>, former: Option<&Arc<Limit>>) -> Option<Arc<Limit>> {
    let limit = limit?;
    Some(former.filter(|former| former.rate() == limit.rate()).map_or(limit, Arc::clone))
}

/// Two that keep the same captured secret would each write over what the other has taken: the former goes on.
fn with_capture(plan: Plan, former: Option<&Source>) -> Plan {
    let former = former.and_then(|source| source.capture.as_ref());
    match (&plan.capture, former) {
        (Some(capture), Some(former)) if capture.is_same(former) => Plan {
            verifier: plan.verifier.with_captured(former.keys()),
            capture: Some(Arc::clone(former)),
            ..plan
        },
        _ => plan,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Manual, Timestamp};
    use crate::limit::Rate;

    #[test]
    fn secrets_are_told_apart_by_label_and_then_by_what_they_are() {
        let secrets = |known: &[(&str, u8)]| -> BTreeMap<String, Print> {
            known.iter().map(|(label, byte)| ((*label).to_owned(), [*byte; 32])).collect()
        };
        let mut changes = Changes::default();
        let running = secrets(&[("gone", 1), ("other", 2), ("same", 3)]);
        compare_secrets("shop", &running, &secrets(&[("fresh", 1), ("other", 9), ("same", 3)]), &mut changes);
        let expected = Changes {
            secrets_added: vec!["shop/fresh".to_owned()],
            secrets_removed: vec!["shop/gone".to_owned()],
            secrets_replaced: vec!["shop/other".to_owned()],
            ..Changes::default()
        };
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_bucket_goes_on_with_its_rate_and_with_no_other() {
        let clock = Arc::new(Manual::at(Timestamp::from_seconds(1000)));
        let limit = |burst: u32| {
            let burst = NonZeroU32::new(burst).unwrap();
            Arc::new(Limit::new(Rate { events: burst, per: Duration::from_secs(3600), burst }, clock.clone()))
        };
        let former = limit(1);
        former.take().unwrap();
        assert!(going_on(Some(limit(1)), Some(&former)).unwrap().take().is_err());
        assert!(going_on(Some(limit(2)), Some(&former)).unwrap().take().is_ok());
        assert!(going_on(Some(limit(1)), None).unwrap().take().is_ok());
        assert!(going_on(None, Some(&former)).is_none());
    }
}
