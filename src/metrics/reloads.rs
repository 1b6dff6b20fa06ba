//! What became of reloads of the configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::families::{Float, Int};
use crate::clock::Timestamp;

/// What became of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Another configuration is in force.
    Applied,
    /// The files say what is in force already.
    Unchanged,
    /// The files hold errors.
    Invalid,
    /// They differ in what only a restart changes.
    RestartNeeded,
    /// The system refused what a new configuration needs, such as a thread; or the certificate alone was another, and ended.
    Failed,
}

impl Reloaded {
    const ALL: [Self; 5] = [Self::Applied, Self::Unchanged, Self::Invalid, Self::RestartNeeded, Self::Failed];

    /// Its name in metrics, the log and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Invalid => "invalid",
            Self::RestartNeeded => "restart_needed",
            Self::Failed => "failed",
        }
    }

    /// Whether what the files say is in force after it.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// The counts of reloads; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    successful: Int,
    succeeded_at: Float,
    total: Family<ByOutcome, Counter>,
}

impl ReloadMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Whether the files of the configuration were in force after the last try to load them";
        registry.register("config_last_reload_successful", help, self.successful.clone());
        let help = "Time of the last load of a configuration that came into force, since the Unix epoch";
        let name = "config_last_reload_success_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.succeeded_at.clone());
        registry.register("config_reloads", "Reloads, by what came of them", self.total.clone());
        for reloaded in Reloaded::ALL {
            drop(self.total.get_or_create(&ByOutcome { outcome: reloaded.name() }));
        }
    }

    /// The configuration that the process started with is in force.
    pub fn started(&self, now: Timestamp) {
        self.successful.set(1);
        self.succeeded_at.set(now.millis() as f64 / 1000.0);
    }

    /// A reload came to that.
    pub fn count(&self, reloaded: Reloaded, now: Timestamp) {
        self.total.get_or_create(&ByOutcome { outcome: reloaded.name() }).inc();
        self.successful.set(i64::from(reloaded.is_success()));
        if reloaded.is_success() {
            self.succeeded_at.set(now.millis() as f64 / 1000.0);
        }
    }
}
