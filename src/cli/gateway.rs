//! The gateway put together: stores opened, threads and tasks started, listeners bound. The composition root.
//!
//! `confirm` puts together what is there without a journal, `stores` opens what there is with one, `outlet` what the
//! events go to, `listener` says what the public listener may take: each once. `filling` runs what fills the history, `watching` tells of notices, which `letters` sends, `live` holds what a reload swaps, `fixed` what none can, and `reloader` does reloads, for
//! which `prepared` makes a configuration ready, of which `shown` tells operators, `files` notices theirs, and `changes` says what differs.

mod changes;
mod confirm;
mod files;
mod filling;
mod fixed;
mod letters;
mod listener;
mod live;
mod outlet;
mod prepared;
mod reloader;
mod shown;
mod stores;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot, watch};

use self::filling::Filling;
#[cfg(test)]
pub(super) use self::fixed::restarts;
pub(super) use self::letters::Key;
use self::letters::Letters;
use self::live::Live;
pub(super) use self::outlet::{NOBODY, rabbitmq_settings, redis_claims};
use self::outlet::{Outlet, dead_letters};
use self::prepared::Prepared;
pub(super) use self::reloader::Again;
use self::reloader::{CALLS_MAX, Reloader};
pub(super) use self::stores::KEYS;
use self::stores::Stores;
use self::watching::{Watch, Watching};
use super::assemble::Plan;
use crate::accept::{Acceptor, Fault};
use crate::admin::{Admin, AdminParts, Health, Pace, ReloadOrder};
use crate::audit::Audit;
use crate::clock::{Clock, System};
use crate::config::{Ack, Loaded};
use crate::confirm::Confirmer;
use crate::dedup::RedisClaims;
use crate::disk::RealDisk;
use crate::drain::Drain;
use crate::failpoint::{self, Point};
use crate::ingress::{Gate, Ingress};
use crate::journal::Reader;
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::limit::Limits;
use crate::metrics::{ConfirmMetrics, Metrics};
use crate::operate::{Operator, OperatorParts};
use crate::pipeline::Pipeline;
use crate::quarantine::Quarantine;
use crate::relay::{Inbox, InboxParts, Relay, RelayParts, RelaySettings, WATERMARK_STEP};
use crate::sample::Trials;
use crate::sink::Sink;
use crate::sink::rabbitmq::DeadLetters;
use crate::steps::Steps;
use crate::tasks;

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
    watching: Watching,
    filling: Option<Filling>,
    reloader: Option<tokio::task::JoinHandle<()>>,
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
    /// At which pace events of sources go out.
    limits: Limits,
    acceptor: Acceptor,
    /// What becomes of events and requests, told for the history.
    steps: Steps,
}

impl Gateway {
    /// Opens the stores and starts everything; to be called within a Tokio runtime. Requests are served from here on,
    /// and the configuration is loaded `again` when that is asked for.
    pub(super) fn start(loaded: Arc<Loaded>, plans: Vec<Plan>, again: Option<Again>) -> anyhow::Result<Self> {
        let prepared = Prepared::of(loaded, plans)?;
        match prepared.loaded.settings.journal.ack {
            Ack::Journal => Self::with_journal(prepared, again),
            Ack::Confirm => Self::with_confirm(prepared, again),
        }
    }

    fn with_journal(prepared: Prepared, again: Option<Again>) -> anyhow::Result<Self> {
        let loaded = Arc::clone(&prepared.loaded);
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(System::new());
        let shared = Shared {
            steps: filling::steps(&loaded, &clock),
            clock,
            lanes: Arc::new(Lanes::counted_in(metrics.account())),
            limits: Limits::default(),
            metrics,
            acceptor: Acceptor::new(),
        };
        let stores = Stores::open(&loaded, &shared)?;
        let (reader, replica) = (stores.journal.reader(), stores.journal.replica_id().to_owned());
        let outlet = Outlet::open(&loaded, prepared.names(), &shared.clock)?;
        let live = Live::begin(&shared, prepared)?;
        let (stop_relay, stopping) = watch::channel(false);
        let claims = redis_claims(&loaded, &replica)?;
        let operator = shared.operator(reader.clone(), claims.clone());
        let redis = claims.clone().filter(|_| outlet.sink().is_some());
        let relay = outlet.sink().map(|sink| shared.relay(&loaded, reader.clone(), sink, claims));
        let inbox = outlet.sink().is_none().then(|| shared.inbox(&loaded, reader.clone()));
        let inbox = inbox.ok_or(loaded.settings.sink.kind.workers());
        let dead = dead_letters(&loaded, &shared.clock)?;
        let keeper = Keeper::Journal(shared.acceptor.clone());
        let (history, filling) = shared.history(&loaded, reader, &live.known)?.unzip();
        let health = shared.health(keeper.clone(), None, outlet.sink());
        let health = Health { redis, history: history.clone(), ..health };
        let (parts, calls) = admin_parts(&live, (health, shared.steps.clone()), inbox, dead, again.is_some());
        let pipeline = Pipeline::new(keeper.clone(), Arc::clone(&shared.clock));
        let window = loaded.settings.dedup.window.duration();
        let quarantine = history.clone().map(|history| Quarantine::new(history, pipeline, window));
        let parts = AdminParts { operator: Some(operator), history, quarantine, ..parts };
        let watch = shared.watch(&loaded, &live, &parts)?;
        let ended = stores.start(&shared)?;
        let (ingress, admin) = shared.listen(&loaded, &live, keeper, parts)?;
        let relay = relay.map(|relay| tasks::task(relay.run(stopping)));
        let running = Running { acceptor: shared.acceptor.clone(), relay, stop_relay, ended };
        let reloader = shared.reloading((live, outlet.clone()), again, calls);
        let (way, watching) = (Way::Journal(running), watch.start());
        Ok(Self { ingress, admin, outlet, way, watching, filling, reloader })
    }

    /// Where deliveries come in.
    pub(super) fn ingress(&self) -> SocketAddr {
        self.ingress.address()
    }

    /// Where operators and workers call.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// What tells, each time, how many rounds the acceptance thread has ended; nothing where there is none.
    pub(super) fn rounds(&self) -> impl Fn() -> Option<u64> + Send + use<> {
        let acceptor = match &self.way {
            Way::Journal(running) => Some(running.acceptor.clone()),
            Way::Confirm(_) => None,
        };
        move || acceptor.as_ref().map(Acceptor::rounds)
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
        self.reloader.iter().for_each(tokio::task::JoinHandle::abort);
        drop(tokio::time::timeout(LAST_ANSWERS, self.ingress.stop(true)).await);
    }

    /// Ends in order: unready, open requests finished, confirms awaited, all of it synced. At most 10 s.
    pub(super) async fn stop(self) -> Option<Fault> {
        let Self { ingress, admin, outlet, way, watching, filling, reloader } = self;
        reloader.iter().for_each(tokio::task::JoinHandle::abort);
        watching.end().await;
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
        failpoint::reach(Point::StopConfirmed);
        outlet.close().await;
        admin.stop().await;
        failpoint::reach(Point::StopSinkClosed);
        let Running { acceptor, ended, .. } = running?;
        acceptor.stop();
        let fault = tokio::time::timeout(LAST_COMMIT, ended).await.ok().and_then(Result::ok).flatten();
        if let Some(filling) = filling {
            filling.end().await;
        }
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
            limits: self.limits.clone(),
            clock: Arc::clone(&self.clock),
            steps: self.steps.clone(),
        };
        Relay::new(parts, settings)
    }

    fn inbox(&self, loaded: &Loaded, reader: Reader<RealDisk>) -> Inbox<RealDisk> {
        let parts = InboxParts {
            lanes: Arc::clone(&self.lanes),
            reader,
            acceptor: self.acceptor.clone(),
            limits: self.limits.clone(),
            clock: Arc::clone(&self.clock),
            steps: self.steps.clone(),
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

    fn health(&self, keeper: Keeper, confirm: Option<ConfirmMetrics>, sink: Option<Arc<dyn Sink>>) -> Health {
        let drain = Drain::new(keeper.clone(), Arc::clone(&self.metrics), Arc::clone(&self.clock));
        Health {
            keeper,
            drain,
            confirm,
            lanes: Arc::clone(&self.lanes),
            sink,
            redis: None,
            history: None,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            started: self.clock.now(),
        }
    }

    /// What looks for what an operator should know of.
    fn watch(&self, loaded: &Loaded, live: &Live, parts: &AdminParts) -> anyhow::Result<Watch> {
        let letters = Letters::start(loaded, &self.clock, &self.metrics)?;
        Ok(Watch::new(self, &loaded.settings, live, (&parts.health, &parts.notices), letters))
    }

    /// Opens both listeners.
    fn listen(
        &self,
        loaded: &Loaded,
        live: &Live,
        keeper: Keeper,
        parts: AdminParts,
    ) -> anyhow::Result<(Ingress, Admin)> {
        let settings = listener::settings(&loaded.settings.ingress);
        let pipeline = Pipeline::new(keeper, Arc::clone(&self.clock));
        let strangers = self.metrics.source("", std::iter::empty());
        let table = Arc::clone(&live.table);
        let gate = Gate::new(table, pipeline, strangers, &settings, self.steps.clone());
        let gate = Arc::new(gate);
        let ingress = Ingress::start(&settings, gate, live.tls())
            .with_context(|| format!("cannot listen on ingress.listen = \"{}\"", settings.listen))?;
        let listen = loaded.settings.admin.listen;
        let admin = Admin::start(listen, listener::admin_connections_max(), parts)
            .with_context(|| format!("cannot listen on admin.listen = \"{listen}\""))?;
        Ok((ingress, admin))
    }

    /// Takes calls for reloads from here on, where there is something to load `again`.
    fn reloading(
        &self,
        (live, outlet): (Live, Outlet),
        again: Option<Again>,
        calls: mpsc::Receiver<ReloadOrder>,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let metrics = self.metrics.reloads();
        metrics.started(self.clock.now());
        let clock = Arc::clone(&self.clock);
        let reloader = Reloader { live, outlet, again: again?, calls, metrics, clock };
        Some(tasks::task(reloader.run()))
    }
}

/// What the admin listener has in either mode, and where calls for reloads come out.
fn admin_parts(
    live: &Live,
    (health, steps): (Health, Steps),
    inbox: Result<Inbox<RealDisk>, &'static str>,
    dead: Result<DeadLetters, &'static str>,
    reloads: bool,
) -> (AdminParts, mpsc::Receiver<ReloadOrder>) {
    let (orders, calls) = mpsc::channel(CALLS_MAX);
    let audit = Audit::new(Arc::clone(&health.clock));
    let pipeline = Pipeline::new(health.keeper.clone(), Arc::clone(&health.clock));
    let trials = Trials { pipeline, steps, audit: audit.clone() };
    let parts = AdminParts {
        live: Arc::clone(&live.known),
        audit,
        pace: Pace::new(&health.clock),
        health: Arc::new(health),
        notices: Arc::default(),
        inbox,
        operator: None,
        history: None,
        quarantine: None,
        trials,
        dead,
        reloads: reloads.then_some(orders),
    };
    (parts, calls)
}
