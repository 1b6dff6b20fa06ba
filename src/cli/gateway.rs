//! The gateway put together: stores opened, threads and tasks started, listeners bound. The composition root.
//!
//! `confirm` puts together what is there without a journal, `listener` says what the public listener may take.

mod confirm;
mod listener;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{oneshot, watch};

use super::assemble::{self, Plan};
use super::{fetching, verify};
use crate::accept::{Acceptor, Core, Fault};
use crate::admin::{Admin, AdminParts, Arming, Guard, Health};
use crate::clock::{Clock, System};
use crate::config::{self, Ack, Backend, Loaded, SinkKind};
use crate::confirm::Confirmer;
use crate::dedup::{self, Index, RedisClaims, RedisSettings};
use crate::diagnose::{Explainer, Surroundings};
use crate::disk::RealDisk;
use crate::failpoint::{self, Point};
use crate::ingress::{Gate, Ingress, IngressSettings};
use crate::journal::{self, Journal, Reader};
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::limit::Limit;
use crate::metrics::{ConfirmMetrics, Metrics};
use crate::operate::{Operator, OperatorParts};
use crate::pipeline::Pipeline;
use crate::relay::{Inbox, InboxParts, Relay, RelayParts, RelaySettings, WATERMARK_STEP};
use crate::sink::Sink;
use crate::sink::rabbitmq::{self, RabbitMq};
use crate::sink::stdout::Stdout;
use crate::tasks;

/// Folder of the dedup index, within the journal's.
const KEYS: &str = "keys";
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

/// Where events go.
enum Outlet {
    RabbitMq(Arc<RabbitMq>),
    Stdout(Arc<Stdout>),
    Inbox,
}

impl Outlet {
    fn open(loaded: &Loaded, sources: Vec<String>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        match loaded.settings.sink.kind {
            SinkKind::Rabbitmq => {
                let settings = rabbitmq_settings(loaded, sources)?;
                Ok(Self::RabbitMq(Arc::new(RabbitMq::start(settings, Arc::clone(clock)))))
            }
            SinkKind::Stdout => {
                Ok(Self::Stdout(Arc::new(Stdout::start(std::io::stdout(), Arc::clone(clock))?)))
            }
            SinkKind::Inbox => Ok(Self::Inbox),
        }
    }

    fn sink(&self) -> Option<Arc<dyn Sink>> {
        match self {
            Self::RabbitMq(sink) => Some(Arc::clone(sink) as Arc<dyn Sink>),
            Self::Stdout(sink) => Some(Arc::clone(sink) as Arc<dyn Sink>),
            Self::Inbox => None,
        }
    }
}

/// What `check --connect` and `serve` tell RabbitMQ.
pub(super) fn rabbitmq_settings(loaded: &Loaded, sources: Vec<String>) -> anyhow::Result<rabbitmq::Settings> {
    let sink = &loaded.settings.sink;
    let url = loaded.secrets.sink_url.as_ref().context("sink.url is missing")?;
    let url = std::str::from_utf8(url.expose()).context("sink.url is not text")?;
    let mut settings = rabbitmq::Settings::new(url, &sink.exchange, sources)?;
    settings.declare = sink.declare;
    settings.confirm_timeout = sink.confirm_timeout.duration();
    settings.max_in_flight = sink.max_in_flight.get() as usize;
    Ok(settings)
}

/// As whom Redis is asked by a check: it claims nothing, so this stands for no replica.
pub(super) const NOBODY: &str = "00000000000000000000000000000000";

/// The claims in Redis, where they are configured.
pub(super) fn redis_claims(loaded: &Loaded, replica: &str) -> anyhow::Result<Option<RedisClaims>> {
    if loaded.settings.dedup.backend != Backend::Redis {
        return Ok(None);
    }
    let url = loaded.secrets.dedup_url.as_ref().context("dedup.url is missing")?;
    let url = std::str::from_utf8(url.expose()).context("dedup.url is not text")?;
    let settings = RedisSettings::new(url, replica, loaded.settings.dedup.window.duration());
    Ok(Some(RedisClaims::new(settings)?))
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
        let settings = listener::settings(&loaded.settings.ingress);
        let plans = fetching::begin(loaded, plans, &self.clock, &self.metrics)?;
        let explainer = self.explainer(loaded)?;
        let gate = Arc::new(self.gate(loaded, plans, keeper, &settings).explained_by(explainer));
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

    fn gate(&self, loaded: &Loaded, plans: Vec<Plan>, keeper: Keeper, settings: &IngressSettings) -> Gate {
        let route = |plan: Plan| {
            let configured = loaded.settings.sources.get(&plan.name)?;
            let source =
                assemble::source(plan, configured, loaded.settings.journal.ack, &self.metrics, &self.clock);
            Some((source.path.clone(), Arc::new(source)))
        };
        let routes = plans.into_iter().filter_map(route).collect();
        let pipeline = Pipeline::new(keeper, Arc::clone(&self.clock));
        let strangers = self.metrics.source("", std::iter::empty());
        Gate::new(routes, pipeline, strangers, settings)
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

/// Journal and index, recovered.
struct Stores {
    journal: Journal<RealDisk>,
    index: Index<RealDisk>,
}

impl Stores {
    fn open(loaded: &Loaded, shared: &Shared) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        let now = shared.clock.now();
        let keys = dedup::Settings::new(settings.journal.dir.join(KEYS), settings.dedup.window.duration());
        let mut index = Index::open(RealDisk, keys, now)?;
        for damage in index.damage() {
            tracing::error!(path = %damage.path.display(), reason = damage.reason,
                "a dedup key file was damaged and is set aside; its keys come back from the journal");
        }
        let journal_settings = journal::Settings {
            dir: settings.journal.dir.clone(),
            segment_bytes: settings.journal.segment_bytes.bytes(),
            bytes_max: settings.journal.bytes_max.bytes(),
            retention: settings.journal.retention.duration(),
            upkeep: journal::Upkeep::Thread,
        };
        let mut refilled = Ok(());
        let opened = Journal::open(RealDisk, journal_settings, now, &mut |entry| {
            if refilled.is_ok() {
                refilled = index.refill(entry);
            }
        });
        let (journal, recovery) = opened?;
        refilled?;
        let (known, next) = (index.durable_through(), recovery.next_sequence);
        anyhow::ensure!(
            known < next,
            "journal.dir = {:?} lacks segments: its dedup keys reach event {known}, and the journal would go on with \
             {next}; put the segments back, or move the folder {KEYS:?} away to forget what was seen",
            settings.journal.dir
        );
        for damage in &recovery.damaged {
            tracing::error!(
                ?damage,
                "the journal was damaged; the bytes are set aside and what is left is served"
            );
        }
        if recovery.truncated_bytes > 0 {
            tracing::warn!(
                bytes = recovery.truncated_bytes,
                "cut a torn tail that no sender was answered for"
            );
        }
        shared.acceptor.recovered(recovery.newest_received_at);
        recover_lanes(shared, &recovery);
        Ok(Self { journal, index })
    }

    /// Starts the acceptance thread.
    fn start(self, shared: &Shared) -> anyhow::Result<oneshot::Receiver<Option<Fault>>> {
        let (done, ended) = oneshot::channel();
        let Shared { clock, metrics, lanes, acceptor } = shared.clone();
        let mut core = Core::new(self.journal, self.index, lanes);
        acceptor.show(&mut core);
        let commit = metrics.commit();
        let thread: JoinHandle<()> = tasks::thread("accept", move || {
            let fault = acceptor.run(core, &*clock, &commit).err();
            drop(done.send(fault));
        })?;
        drop(thread);
        Ok(ended)
    }
}

fn recover_lanes(shared: &Shared, recovery: &journal::Recovery) {
    for (source, live) in &recovery.live {
        let stats = crate::metrics::LaneStats {
            pending: live.pending.records,
            held: live.held.records,
            poisoned: live.poisoned.records,
            ..Default::default()
        };
        shared.lanes.recover(source, stats, recovery.first_live);
    }
    for (source, through) in &recovery.watermarks {
        shared.lanes.recover_watermark(source, *through);
    }
}
