//! Health: alive, and ready. Ready means «can accept durably»: with a journal, a broker that is away is degraded, not
//! unready; in confirm mode it is unready, and Redis away is degraded.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::accept::{Acceptor, Stores};
use crate::clock::{Clock, Timestamp};
use crate::confirm::Confirmer;
use crate::dedup::RedisClaims;
use crate::drain::{Drain, Phase, Seen};
use crate::history::History;
use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::metrics::{ConfirmMetrics, Metrics};
use crate::sink::{Sink, State};
use crate::telemetry;

/// How ready the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Accepts and hands over.
    Ready,
    /// Accepts; what it hands over to is away.
    Degraded,
    /// Does not accept.
    Unready,
}

impl Readiness {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unready => "unready",
        }
    }
}

/// Something that has to be well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at.
    pub name: &'static str,
    /// How it stands; an error where it is not well.
    pub found: Result<String, String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(text) => write!(f, "{}: ok ({text})", self.name),
            Err(text) => write!(f, "{}: FAILED ({text})", self.name),
        }
    }
}

/// What health is read from.
pub struct Health {
    /// What makes events safe.
    pub keeper: Keeper,
    /// How the gateway is taken out.
    pub drain: Drain,
    /// Confirm mode's gauges, in confirm mode.
    pub confirm: Option<ConfirmMetrics>,
    /// What is pending.
    pub lanes: Arc<Lanes>,
    /// Where events are pushed; `None` with the inbox, where workers come by themselves.
    pub sink: Option<Arc<dyn Sink>>,
    /// Where the relay claims, beside a journal.
    pub redis: Option<RedisClaims>,
    /// What is searched in, where a history is kept.
    pub history: Option<History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// When the process started.
    pub started: Timestamp,
}

impl Health {
    /// The verdict, and what it rests on.
    pub fn readiness(&self) -> (Readiness, Vec<Check>) {
        let (verdict, mut checks) = match &self.keeper {
            Keeper::Journal(acceptor) => self.with_journal(acceptor),
            Keeper::Confirm(confirmer) => self.with_confirm(confirmer),
        };
        let Some(drained) = self.taken_out() else { return (verdict, checks) };
        checks.insert(0, Check { name: "drain", found: Err(drained) });
        (Readiness::Unready, checks)
    }

    /// How far the gateway is taken out, where it is.
    fn taken_out(&self) -> Option<String> {
        let Seen { phase, takes_until, left, .. } = self.drain.seen();
        let until = takes_until.unwrap_or_default();
        match phase {
            Phase::Serving => None,
            Phase::TurningAway => Some(format!("deliveries are taken until {until}, then answered 503")),
            Phase::Draining => Some(format!("deliveries are answered 503; {} events are left", left.total())),
            Phase::Drained => Some("deliveries are answered 503; nothing is left".to_owned()),
        }
    }

    fn with_confirm(&self, confirmer: &Confirmer) -> (Readiness, Vec<Check>) {
        let accepts = if confirmer.stopping() { Err("stopping".to_owned()) } else { self.hands_over() };
        let redis = if confirmer.redis_connected() {
            Ok(format!("{} events to be noted", confirmer.untold()))
        } else {
            Err("no answer; events are published with the duplicate mark".to_owned())
        };
        let verdict = match (&accepts, &redis) {
            (Err(_), _) => Readiness::Unready,
            (Ok(_), Err(_)) => Readiness::Degraded,
            (Ok(_), Ok(_)) => Readiness::Ready,
        };
        let none = "none: ack = \"confirm\", an event is safe once RabbitMQ confirms it";
        let checks = [("journal", Ok(none.to_owned())), ("sink", accepts), ("redis", redis)];
        (verdict, checks.map(|(name, found)| Check { name, found }).into())
    }

    fn with_journal(&self, acceptor: &Acceptor) -> (Readiness, Vec<Check>) {
        let stores = acceptor.stores();
        let accepts = match (stores.failed, stores.stopping, stores.full) {
            (true, _, _) => Err("a write failed; the process is ending".to_owned()),
            (_, true, _) => Err("stopping".to_owned()),
            (_, _, true) => {
                Err("no room for more unconfirmed events: the quota is used up, or the disk".to_owned())
            }
            _ => Ok(format!("{} bytes unconfirmed", stores.unconfirmed_bytes)),
        };
        let (hands_over, claims) = (self.hands_over(), self.claims());
        let whole = hands_over.is_ok() && claims.as_ref().is_none_or(Result::is_ok);
        let verdict = match (&accepts, whole) {
            (Err(_), _) => Readiness::Unready,
            (Ok(_), false) => Readiness::Degraded,
            (Ok(_), true) => Readiness::Ready,
        };
        let redis = claims.map(|claims| ("redis", claims));
        let checks = [("journal", accepts), ("sink", hands_over)].into_iter().chain(redis);
        (verdict, checks.map(|(name, found)| Check { name, found }).collect())
    }

    /// Whether Redis, if the relay claims there, answered the last time; it is asked every ten seconds at least.
    fn claims(&self) -> Option<Result<String, String>> {
        let away = "no answer; events wait for dedup.redis_wait and go out with the duplicate mark";
        let check = |connected| if connected { Ok("claims".to_owned()) } else { Err(away.to_owned()) };
        self.redis.as_ref().map(|redis| check(redis.connected()))
    }

    /// How the stores stand, with a journal.
    pub fn stores(&self) -> Option<Stores> {
        match &self.keeper {
            Keeper::Journal(acceptor) => Some(acceptor.stores()),
            Keeper::Confirm(_) => None,
        }
    }

    /// Whether Redis is in use and did not answer the last time.
    pub fn redis_away(&self) -> bool {
        match &self.keeper {
            Keeper::Journal(_) => self.redis.as_ref().is_some_and(|redis| !redis.connected()),
            Keeper::Confirm(confirmer) => !confirmer.redis_connected(),
        }
    }

    /// What events are handed over to, where it takes them; else why it does not.
    ///
    /// # Errors
    /// The reason, for an operator.
    pub fn hands_over(&self) -> Result<String, String> {
        match self.sink.as_ref().map(|sink| (sink.name(), sink.health().state)) {
            None => Ok("inbox".to_owned()),
            Some((name, State::Connected)) => Ok(name.to_owned()),
            Some((name, State::Connecting { last_error })) => {
                Err(format!("{name}: connecting ({})", last_error.as_deref().unwrap_or("no error yet")))
            }
            Some((name, State::Blocked { reason })) => {
                Err(format!("{name}: blocked by the broker ({reason})"))
            }
            Some((name, State::Refused { reason, .. })) => Err(format!("{name}: refused ({reason})")),
            Some((name, State::Closed)) => Err(format!("{name}: closed")),
        }
    }

    /// Everything for a scrape, gauges brought up to date.
    pub fn scrape(&self) -> String {
        let now = self.clock.now();
        for (source, stats) in self.lanes.stats() {
            let age = stats.oldest.map_or(0, |oldest| now.millis_since(oldest).max(0));
            self.metrics.set_oldest(&source, Duration::from_millis(age.unsigned_abs()));
        }
        match &self.keeper {
            Keeper::Journal(acceptor) => {
                let stores = acceptor.stores();
                self.metrics.set_stores(stores.journal_bytes, stores.unconfirmed_bytes, stores.dedup_keys);
            }
            Keeper::Confirm(confirmer) => {
                if let Some(gauges) = &self.confirm {
                    gauges.set(confirmer.in_progress(), confirmer.untold(), confirmer.redis_connected());
                }
            }
        }
        if let Some(history) = &self.history {
            self.metrics.set_history(history.bytes(), history.behind());
        }
        let up = self.sink.as_ref().is_none_or(|sink| sink.health().state == State::Connected);
        self.metrics.set_sink(up);
        let process = telemetry::process_stats();
        self.metrics.set_process(
            process.cpu,
            process.resident_bytes,
            process.open_fds,
            self.started.seconds(),
        );
        self.metrics.encode()
    }
}
