//! Where events go, and the claims in Redis: what the configuration says of services, as their own settings.
//!
//! `check` comes here too, so what it tries is what `serve` runs.

use std::sync::Arc;

use anyhow::Context;

use crate::clock::Clock;
use crate::config::{Backend, Loaded, SinkKind};
use crate::dedup::{RedisClaims, RedisSettings};
use crate::sink::Sink;
use crate::sink::rabbitmq::{self, DeadLetters, RabbitMq};
use crate::sink::stdout::Stdout;

/// Where events go; cheap to clone.
#[derive(Clone)]
pub(super) enum Outlet {
    RabbitMq(Arc<RabbitMq>),
    Stdout(Arc<Stdout>),
    Inbox,
}

impl Outlet {
    /// Starts it, connected or not; to be called within a Tokio runtime.
    pub(super) fn open(
        loaded: &Loaded,
        sources: Vec<String>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
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

    /// Has room for the events of these sources, and of no others from here on.
    ///
    /// # Errors
    /// Why there is none yet, for an operator: their events wait.
    pub(super) async fn serve_sources(&self, sources: Vec<String>) -> Result<(), String> {
        match self {
            Self::RabbitMq(sink) => sink
                .serve_sources(sources)
                .await
                .map_err(|why| format!("rabbitmq: the queues of other sources are not declared: {why}")),
            Self::Stdout(_) | Self::Inbox => Ok(()),
        }
    }

    /// Ends what holds a connection.
    pub(super) async fn close(&self) {
        match self {
            Self::RabbitMq(sink) => sink.close().await,
            Self::Stdout(_) | Self::Inbox => {}
        }
    }

    /// What the relay publishes to; the inbox has none.
    pub(super) fn sink(&self) -> Option<Arc<dyn Sink>> {
        match self {
            Self::RabbitMq(sink) => Some(Arc::clone(sink) as Arc<dyn Sink>),
            Self::Stdout(sink) => Some(Arc::clone(sink) as Arc<dyn Sink>),
            Self::Inbox => None,
        }
    }
}

/// What workers rejected for good; where RabbitMQ is not the sink, where else such events are.
pub(super) fn dead_letters(
    loaded: &Loaded,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Result<DeadLetters, &'static str>> {
    match loaded.settings.sink.kind {
        SinkKind::Rabbitmq => {
            Ok(Ok(DeadLetters::new(rabbitmq_settings(loaded, Vec::new())?, Arc::clone(clock))))
        }
        kind @ (SinkKind::Stdout | SinkKind::Inbox) => Ok(Err(kind.given_up())),
    }
}

/// What `check --connect` and `serve` tell RabbitMQ.
pub(in crate::cli) fn rabbitmq_settings(
    loaded: &Loaded,
    sources: Vec<String>,
) -> anyhow::Result<rabbitmq::Settings> {
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
pub(in crate::cli) const NOBODY: &str = "00000000000000000000000000000000";

/// The claims in Redis, where they are configured.
pub(in crate::cli) fn redis_claims(loaded: &Loaded, replica: &str) -> anyhow::Result<Option<RedisClaims>> {
    if loaded.settings.dedup.backend != Backend::Redis {
        return Ok(None);
    }
    let url = loaded.secrets.dedup_url.as_ref().context("dedup.url is missing")?;
    let url = std::str::from_utf8(url.expose()).context("dedup.url is not text")?;
    let settings = RedisSettings::new(url, replica, loaded.settings.dedup.window.duration());
    Ok(Some(RedisClaims::new(settings)?))
}
