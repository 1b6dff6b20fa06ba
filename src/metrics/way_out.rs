//! The way out: the relay's handles, and how a lane stands.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::families::Lags;
use crate::clock::Timestamp;

/// What became of an attempt to hand an event over; the label `outcome` of `published_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The destination answers for it.
    Confirmed,
    /// No queue is bound for it.
    Returned,
    /// Nacked.
    Refused,
    /// It may have arrived.
    Unknown,
    /// It never left.
    NotSent,
    /// The channel was closed while it was in flight.
    ChannelClosed,
}

impl Published {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Confirmed, "confirmed"),
        (Self::Returned, "returned"),
        (Self::Refused, "refused"),
        (Self::Unknown, "unknown"),
        (Self::NotSent, "not_sent"),
        (Self::ChannelClosed, "channel_closed"),
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// How the lane of a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Events that are neither ended nor held nor poison.
    pub pending: u64,
    /// Events held for an operator.
    pub held: u64,
    /// Events that the broker refused each time.
    pub poisoned: u64,
    /// Pending events put aside for now: unroutable, or claimed by another replica.
    pub aside: u64,
    /// When the oldest event that is known to be pending came in.
    pub oldest: Option<Timestamp>,
}

/// The relay's handles.
#[derive(Clone, Debug)]
pub struct RelayMetrics {
    pub(super) outcomes: Arc<[(Published, Counter)]>,
    pub(super) duration: Histogram,
    pub(super) lags: Lags,
}

impl RelayMetrics {
    /// An attempt came to its end after that time.
    pub fn published(&self, outcome: Published, took: Duration) {
        if let Some((_, counter)) = self.outcomes.iter().find(|(known, _)| *known == outcome) {
            counter.inc();
        }
        if outcome == Published::Confirmed {
            self.duration.observe(took.as_secs_f64());
        }
    }

    /// The histogram of a source's relay lag: from reception to confirm.
    pub fn lag(&self, source: &str) -> Histogram {
        self.lags.of(source)
    }
}
