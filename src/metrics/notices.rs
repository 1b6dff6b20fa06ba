//! What an operator should know of without having looked.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::families::{ByOutcome, BySource, Int, Metrics};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceNotice {
    notice: &'static str,
    source: String,
}

/// What became of a notice that is sent; the label `outcome` of `notices_sent_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Answered 2xx.
    Delivered,
    /// Not answered so; tried again.
    Retried,
    /// Given up.
    GivenUp,
    /// Not begun: too many wait.
    Dropped,
}

impl Letter {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Delivered, "delivered"),
        (Self::Retried, "retried"),
        (Self::GivenUp, "given_up"),
        (Self::Dropped, "dropped"),
    ];
}

/// The counts of notices that are sent; cheap to clone.
#[derive(Clone, Debug)]
pub struct LetterMetrics([Counter; Letter::ALL.len()]);

impl LetterMetrics {
    /// One more.
    pub fn count(&self, letter: Letter) {
        self.0[letter as usize].inc();
    }
}

/// The gauges of notices; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct NoticeMetrics {
    notices: Family<SourceNotice, Int>,
    silent: Family<BySource, Int>,
    sent: Family<ByOutcome, Counter>,
}

impl NoticeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Notices that stand or have stood since the start";
        registry.register("notice", help, self.notices.clone());
        let help = "Whether a source is quiet for far longer than it is as a rule";
        registry.register("source_silent", help, self.silent.clone());
        let help = "Notices that are sent, by what came of them";
        registry.register("notices_sent", help, self.sent.clone());
    }

    /// So many notices of that label stand for a source, or with an empty name for the gateway.
    pub fn set(&self, notice: &'static str, source: &str, standing: usize) {
        let labels = SourceNotice { notice, source: source.to_owned() };
        self.notices.get_or_create(&labels).set(i64::try_from(standing).unwrap_or(i64::MAX));
    }

    /// Whether a source is silent.
    pub fn set_silent(&self, source: &str, silent: bool) {
        self.silent.get_or_create(&BySource { source: source.to_owned() }).set(i64::from(silent));
    }

    /// The source is none any more.
    pub fn forget(&self, source: &str) {
        self.silent.remove(&BySource { source: source.to_owned() });
    }
}

impl Metrics {
    /// The gauges of notices.
    pub fn notices(&self) -> NoticeMetrics {
        self.notices.clone()
    }

    /// The counts of notices that are sent.
    pub fn letters(&self) -> LetterMetrics {
        let count = |(_, outcome)| self.notices.sent.get_or_create(&ByOutcome { outcome }).clone();
        LetterMetrics(Letter::ALL.map(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_index_their_counts() {
        for (index, (letter, _)) in Letter::ALL.into_iter().enumerate() {
            assert_eq!(letter as usize, index);
        }
    }
}
