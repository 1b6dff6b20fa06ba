//! The gateway put together: stores opened, threads and tasks started, listeners bound. The composition root.
//!
//! `confirm` puts together what is there without a journal, `stores` opens what there is with one, `outlet` what the
//! events go to.

mod confirm;
mod outlet;
mod stores;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{oneshot, watch};

use self::outlet::Outlet;
pub(super) use self::outlet::{NOBODY, rabbitmq_settings, redis_claims};
use self::stores::Stores;
use super::assemble::{self, Plan};
use super::{fetching, verify};
use crate::accept::{Acceptor, Fault};
use crate::admin::{Admin, AdminParts, Arming, Guard, Health};
use crate::clock::{Clock, System};
use crate::config::{self, Ack, Loaded};
use crate::confirm::Confirmer;
use crate::dedup::RedisClaims;
use crate::diagnose::{Explainer, Surroundings};
use crate::disk::RealDisk;
use crate::failpoint::{self, Point};
use crate::ingress::{Gate, Ingress, IngressSettings, Table, TrustedProxies};
use crate::journal::Reader;
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::limit::Limit;
use crate::metrics::{ConfirmMetrics, Metrics};
use crate::operate::{Operator, OperatorParts};
use crate::pipeline::Pipeline;
use crate::relay::{Inbox, InboxParts, Relay, RelayParts, RelaySettings, WATERMARK_STEP};
use crate::sink::Sink;
use crate::source::Source;
use crate::tasks;

/// File descriptors kept back for segments, key files, Redis, RabbitMQ and the admin listener.
const FILES_OF_OURS: u64 = 256;
/// Connections that one worker holds at most, whatever the system allows.
const CONNECTIONS_MAX: usize = 25_000;
/// How long a stop waits for the relay to end.
const LAST_CONFIRM: Duration = Duration::from_secs(5);
/// How long open requests get for their refusals once acceptance has ended by a fault.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long a stop waits for the acceptance thread to end.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// A running gateway.
pub(super) struct Gateway {
    ingress: Ingress,
    admin: Admin,
    outlet: Outlet,
    way: Way,
}

/// What runs behind the listeners, by what a 2xx waits for.
enum Way {
    Journal(Running),
    Confirm(Confirmer),
}

/// A gateway with a journal, running.
struct Running {
    acceptor: Acceptor,
    relay: Option<tokio::task::JoinHandle<()>>,
    stop_relay: watch::Sender<bool>,
    /// Yields the fault that ended acceptance, or nothing after an ordered stop.
    ended: oneshot::Receiver<Option<Fault>>,
}

/// What most parts need.
#[derive(Clone)]
struct Shared {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lanes: Arc<Lanes>,
    acceptor: Acceptor,
}

impl Gateway {
    /// Opens the stores and starts everything; to be called within a Tokio runtime. Requests are served from
    /// here on.
    pub(super) fn start(loaded: &Loaded, plans: Vec<Plan>) -> anyhow::Result<Self> {
        match loaded.settings.journal.ack {
            Ack::Journal => Self::with_journal(loaded, plans),
            Ack::Confirm => Self::with_confirm(loaded, plans),
        }
    }

    fn with_journal(loaded: &Loaded, plans: Vec<Plan>) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let shared = Shared {
            clock: Arc::new(System::new()),
            lanes: Arc::new(Lanes::counted_in(metrics.account())),
            metrics,
            acceptor: Acceptor::new(),
        };
        let stores = Stores::open(loaded, &shared)?;
        let (reader, replica) = (stores.journal.reader(), stores.journal.replica_id().to_owned());
        let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
        names.iter().for_each(|name| shared.lanes.open(&Arc::from(name.as_str())));
        let outlet = Outlet::open(loaded, names.clone(), &shared.clock)?;
        let (stop_relay, stopping) = watch::channel(false);
        let claims = redis_claims(loaded, &replica)?;
        let operator = shared.operator(reader.clone(), claims.clone());
        let redis = claims.clone().filter(|_| outlet.sink().is_some());
        let relay = outlet.sink().map(|sink| shared.relay(loaded, reader.clone(), sink, claims));
        let inbox = outlet.sink().is_none().then(|| shared.inbox(loaded, reader));
        let keeper = Keeper::Journal(shared.acceptor.clone());
        let health = Health { redis, ..shared.health(keeper.clone(), None, outlet.sink()) };
        let parts = AdminParts { inbox, operator: Some(operator), ..admin_parts(loaded, &plans, health) };
        let ended = stores.start(&shared)?;
        let (ingress, admin) = shared.listen(loaded, plans, keeper, parts)?;
        let relay = relay.map(|relay| tasks::task(relay.run(stopping)));
        let running = Running { acceptor: shared.acceptor, relay, stop_relay, ended };
        Ok(Self { ingress, admin, outlet, way: Way::Journal(running) })
    }

    /// Where deliveries come in.
    pub(super) fn ingress(&self) -> SocketAddr {
        self.ingress.address()
    }

    /// Where operators and workers call.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Yields once acceptance has ended by a fault, which it returns.
    pub(super) async fn fault(&mut self) -> Option<Fault> {
        match &mut self.way {
            Way::Journal(running) => (&mut running.ended).await.unwrap_or(None),
            Way::Confirm(_) => std::future::pending().await,
        }
    }

    /// Ends after a fault: those who wait are told 503, which takes no more than a moment.
    pub(super) async fn abandon(self) {
        drop(tokio::time::timeout(LAST_ANSWERS, self.ingress.stop(true)).await);
    }

    /// Ends in order: unready, open requests finished, confirms awaited, all of it synced. At most 10 s.
    pub(super) async fn stop(self) -> Option<Fault> {
        let Self { ingress, admin, outlet, way } = self;
        failpoint::reach(Point::StopBegun);
        let running = match way {
            Way::Journal(mut running) => {
                tokio::join!(ingress.stop(true), running.stop_relay());
                Some(running)
            }
            Way::Confirm(confirmer) => {
                tokio::join!(ingress.stop(true), confirmer.close());
                None
            }
        };
        failpoint::reach(Point::StopDrained);
        if let Outlet::RabbitMq(sink) = &outlet {
            sink.close().await;
        }
        admin.stop().await;
        failpoint::reach(Point::StopSinkClosed);
        let Running { acceptor, ended, .. } = running?;
        acceptor.stop();
        let fault = tokio::time::timeout(LAST_COMMIT, ended).await.ok().and_then(Result::ok).flatten();
        failpoint::reach(Point::StopAfter);
        fault
    }
}

impl Running {
    async fn stop_relay(&mut self) {
        self.acceptor.announce_stop();
        self.stop_relay.send_replace(true);
        if let Some(relay) = self.relay.take()
            && tokio::time::timeout(LAST_CONFIRM, relay).await.is_err()
        {
            tracing::warn!("the relay did not end in time; what it had published is republished, marked");
        }
    }
}

impl Shared {
    fn relay(
        &self,
        loaded: &Loaded,
        reader: Reader<RealDisk>,
        sink: Arc<dyn Sink>,
        claims: Option<RedisClaims>,
    ) -> Relay<RealDisk> {
        let settings = RelaySettings {
            max_in_flight: loaded.settings.sink.max_in_flight.get() as usize,
            redis_wait: loaded.settings.dedup.redis_wait.duration(),
            takeover_after: loaded.settings.dedup.takeover_after.duration(),
            watermark_step: WATERMARK_STEP,
        };
        let parts = RelayParts {
            lanes: Arc::clone(&self.lanes),
            reader,
            acceptor: self.acceptor.clone(),
            metrics: self.metrics.relay(sink.name()),
            sink,
            claims,
            limits: self.limits(loaded),
            clock: Arc::clone(&self.clock),
        };
        Relay::new(parts, settings)
    }

    fn inbox(&self, loaded: &Loaded, reader: Reader<RealDisk>) -> Inbox<RealDisk> {
        let parts = InboxParts {
            lanes: Arc::clone(&self.lanes),
            reader,
            acceptor: self.acceptor.clone(),
            limits: self.limits(loaded),
            clock: Arc::clone(&self.clock),
        };
        Inbox::new(parts, loaded.settings.sink.max_attempts.get())
    }

    fn operator(&self, reader: Reader<RealDisk>, claims: Option<RedisClaims>) -> Operator<RealDisk> {
        Operator::new(OperatorParts {
            reader,
            acceptor: self.acceptor.clone(),
            lanes: Arc::clone(&self.lanes),
            claims,
            clock: Arc::clone(&self.clock),
        })
    }

    /// Sources that are handed over at a limited rate.
    fn limits(&self, loaded: &Loaded) -> HashMap<Arc<str>, Limit> {
        let limited = |(name, source): (&String, &config::Source)| {
            let limit = assemble::relay_limit(source, &self.clock)?;
            Some((Arc::from(name.as_str()), limit))
        };
        loaded.settings.sources.iter().filter_map(limited).collect()
    }

    fn health(&self, keeper: Keeper, confirm: Option<ConfirmMetrics>, sink: Option<Arc<dyn Sink>>) -> Health {
        Health {
            keeper,
            confirm,
            lanes: Arc::clone(&self.lanes),
            sink,
            redis: None,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            started: self.clock.now(),
        }
    }

    /// Opens both listeners.
    fn listen(
        &self,
        loaded: &Loaded,
        plans: Vec<Plan>,
        keeper: Keeper,
        parts: AdminParts,
    ) -> anyhow::Result<(Ingress, Admin)> {
        let settings = ingress_settings(&loaded.settings.ingress);
        let plans = fetching::begin(loaded, plans, &self.clock, &self.metrics)?;
        let table = Table::new(
            self.sources(loaded, plans),
            TrustedProxies::new(
                loaded.settings.ingress.trusted_proxies.iter().map(|network| network.net()).collect(),
            ),
            self.explainer(loaded)?,
        );
        let gate = Arc::new(self.gate(table, keeper, &settings));
        let ingress = Ingress::start(&settings, gate)
            .with_context(|| format!("cannot listen on ingress.listen = \"{}\"", settings.listen))?;
        let listen = loaded.settings.admin.listen;
        let admin = Admin::start(listen, parts)
            .with_context(|| format!("cannot listen on admin.listen = \"{listen}\""))?;
        Ok((ingress, admin))
    }

    /// What looks for the causes of refusals, where the configuration wants it.
    fn explainer(&self, loaded: &Loaded) -> anyhow::Result<Option<Explainer>> {
        if !loaded.settings.ingress.explain {
            return Ok(None);
        }
        let catalog = assemble::catalog(loaded, &mut loaded.report());
        let known = Surroundings { endpoints: verify::others(loaded, &catalog), catalog };
        Ok(Some(Explainer::start(known, Arc::clone(&self.metrics), Arc::clone(&self.clock))?))
    }

    fn sources(&self, loaded: &Loaded, plans: Vec<Plan>) -> Vec<Arc<Source>> {
        let source = |plan: Plan| {
            let configured = loaded.settings.sources.get(&plan.name)?;
            let ack = loaded.settings.journal.ack;
            Some(Arc::new(assemble::source(plan, configured, ack, &self.metrics, &self.clock)))
        };
        plans.into_iter().filter_map(source).collect()
    }

    fn gate(&self, table: Table, keeper: Keeper, settings: &IngressSettings) -> Gate {
        let pipeline = Pipeline::new(keeper, Arc::clone(&self.clock));
        let strangers = self.metrics.source("", std::iter::empty());
        Gate::new(Arc::new(ArcSwap::from_pointee(table)), pipeline, strangers, settings)
    }
}

/// What the admin listener has in either mode.
fn admin_parts(loaded: &Loaded, plans: &[Plan], health: Health) -> AdminParts {
    let capture = |plan: &Plan| Some((plan.name.clone(), Arc::clone(plan.capture.as_ref()?)));
    let arming =
        Arming { captures: plans.iter().filter_map(capture).collect(), clock: Arc::clone(&health.clock) };
    AdminParts {
        guard: Guard::new(
            loaded.secrets.admin_token.as_ref().map(|token| token.expose()),
            loaded.secrets.worker_token.as_ref().map(|token| token.expose()),
        ),
        health,
        inbox: None,
        operator: None,
        arming,
        sources: plans.iter().map(|plan| plan.name.as_str().into()).collect(),
        lease: loaded.settings.sink.lease.duration(),
    }
}

fn ingress_settings(ingress: &config::Ingress) -> IngressSettings {
    let workers = match usize::from(ingress.workers) {
        0 => available_parallelism().map_or(1, NonZeroUsize::get),
        workers => workers,
    };
    IngressSettings {
        listen: ingress.listen,
        workers,
        connections_max: connections_max(workers),
        head_timeout: ingress.head_timeout.duration(),
        body_timeout: ingress.body_timeout.duration(),
        keep_alive: ingress.keep_alive.duration(),
    }
}

/// Connections that each worker may hold, so that files of our own can always be opened; the process first gets
/// as many descriptors as it may have.
fn connections_max(workers: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let files = limit.current.unwrap_or(u64::MAX).saturating_sub(FILES_OF_OURS) / workers.max(1) as u64;
    usize::try_from(files).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX)
}
