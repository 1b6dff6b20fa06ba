//! A gateway in confirm mode, put together: no journal, no index, no relay; no folder is touched.

use std::sync::Arc;

use anyhow::Context;

use super::outlet::{Outlet, dead_letters, redis_claims};
use super::{Again, Gateway, Live, Prepared, Shared, Way, admin_parts};
use crate::accept::Acceptor;
use crate::clock::System;
use crate::confirm::{ConfirmParts, ConfirmSettings, Confirmer};
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::limit::Limits;
use crate::metrics::Metrics;
use crate::sample::random;
use crate::steps::Steps;

impl Gateway {
    /// Starts everything that `ack = "confirm"` has.
    pub(super) fn with_confirm(prepared: Prepared, again: Option<Again>) -> anyhow::Result<Self> {
        let loaded = Arc::clone(&prepared.loaded);
        let mut metrics = Metrics::new();
        let counts = metrics.confirm();
        let shared = Shared {
            clock: Arc::new(System::new()),
            // Nothing is pushed and nothing is offered: what is not confirmed was not accepted.
            lanes: Arc::new(Lanes::counted_in(metrics.account())),
            limits: Limits::default(),
            metrics: Arc::new(metrics),
            acceptor: Acceptor::new(),
            steps: Steps::default(),
        };
        let outlet = Outlet::open(&loaded, prepared.names(), &shared.clock)?;
        let live = Live::begin(&shared, prepared)?;
        let sink = outlet.sink().context("ack = \"confirm\" needs a sink that confirms")?;
        let redis = redis_claims(&loaded, &replica()?)?.context("ack = \"confirm\" needs Redis")?;
        let parts = ConfirmParts {
            redis,
            published: shared.metrics.relay(sink.name()),
            sink: Arc::clone(&sink),
            clock: Arc::clone(&shared.clock),
            claims: counts.clone(),
        };
        let settings = ConfirmSettings {
            max_in_flight: loaded.settings.sink.max_in_flight.get() as usize,
            confirm_timeout: loaded.settings.sink.confirm_timeout.duration(),
            takeover_after: loaded.settings.dedup.takeover_after.duration(),
        };
        let confirmer = Confirmer::start(parts, settings);
        let keeper = Keeper::Confirm(confirmer.clone());
        let health = shared.health(keeper.clone(), Some(counts), Some(sink));
        let (inbox, dead) = (Err(loaded.settings.sink.kind.workers()), dead_letters(&loaded, &shared.clock)?);
        let (parts, calls) = admin_parts(&live, (health, shared.steps.clone()), inbox, dead, again.is_some());
        let watch = shared.watch(&loaded, &live, &parts)?;
        let (ingress, admin) = shared.listen(&loaded, &live, keeper, parts)?;
        let reloader = shared.reloading((live, outlet.clone()), again, calls);
        let (way, watching) = (Way::Confirm(confirmer), watch.start());
        Ok(Self { ingress, admin, outlet, way, watching, filling: None, reloader })
    }
}

/// A random id for this process: without a folder to keep it in, none outlives it, and its leases need none.
fn replica() -> anyhow::Result<String> {
    random().map(hex::encode).context("the system gives no random bytes")
}
