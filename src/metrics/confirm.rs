//! What only confirm mode counts. Registered where it is in use, so that a scrape shows which mode a gateway is in.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::families::{ByResult, Int, Metrics};

/// What an attempt found in Redis; the label `result` of `claims_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: the claim is its own.
    Mine,
    /// A claim that had ended without a confirm.
    TakenOver,
    /// That the event is done.
    Done,
    /// Another's claim.
    Running,
    /// No answer.
    Away,
}

impl Claimed {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Mine, "mine"),
        (Self::TakenOver, "taken_over"),
        (Self::Done, "done"),
        (Self::Running, "running"),
        (Self::Away, "away"),
    ];
}

/// Confirm mode's handles.
#[derive(Clone, Debug)]
pub struct ConfirmMetrics {
    claims: Arc<[(Claimed, Counter)]>,
    in_progress: Int,
    untold: Int,
    redis_up: Int,
}

impl Metrics {
    /// Registers confirm mode's metrics.
    pub fn confirm(&mut self) -> ConfirmMetrics {
        let claims: Family<ByResult, Counter> = Family::default();
        let handle = |(claimed, result)| (claimed, claims.get_or_create(&ByResult { result }).clone());
        let metrics = ConfirmMetrics {
            claims: Claimed::ALL.map(handle).into(),
            in_progress: Int::default(),
            untold: Int::default(),
            redis_up: Int::default(),
        };
        let registry = self.registry.sub_registry_with_prefix("hookgate");
        registry.register("claims", "Looks at the claims in Redis, by what they found", claims);
        let help = "Deliveries that wait for a claim or RabbitMQ's confirm";
        registry.register("confirm_in_progress", help, metrics.in_progress.clone());
        let help = "Events of which Redis has not been told what became of them";
        registry.register("confirm_untold", help, metrics.untold.clone());
        registry.register("redis_up", "Whether Redis answered the last command", metrics.redis_up.clone());
        metrics
    }
}

impl ConfirmMetrics {
    /// An attempt looked at its event's claim.
    pub fn claimed(&self, claimed: Claimed) {
        if let Some((_, counter)) = self.claims.iter().find(|(known, _)| *known == claimed) {
            counter.inc();
        }
    }

    /// Sets the gauges.
    pub fn set(&self, in_progress: usize, untold: usize, redis_up: bool) {
        let int = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.in_progress.set(int(in_progress));
        self.untold.set(int(untold));
        self.redis_up.set(i64::from(redis_up));
    }
}
