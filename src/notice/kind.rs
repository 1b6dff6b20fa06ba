//! What there can be to tell.

use std::time::Duration;

/// A kind of notice; the label `notice` of `hookgate_notice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A source is quiet for far longer than it is as a rule.
    SourceSilent,
    /// Events find no queue.
    Unroutable,
    /// Events are refused by the destination each time.
    Poison,
    /// Events wait for an operator's word.
    Held,
    /// Unconfirmed events take most of the room that they may.
    JournalFilling,
    /// The destination takes nothing.
    SinkAway,
    /// Redis does not answer.
    RedisAway,
    /// This clock, or a sender's, is wrong.
    ClockOffset,
    /// One of several secrets of a source proves nothing any more, or nothing yet.
    SecretUnused,
    /// The certificate of the public listener ends soon, or has ended.
    CertificateEnding,
    /// The gateway is being taken out.
    Draining,
}

impl Kind {
    /// All of them, with their labels.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::SourceSilent, "source_silent"),
        (Self::Unroutable, "unroutable"),
        (Self::Poison, "poison"),
        (Self::Held, "held"),
        (Self::JournalFilling, "journal_filling"),
        (Self::SinkAway, "sink_away"),
        (Self::RedisAway, "redis_away"),
        (Self::ClockOffset, "clock_offset"),
        (Self::SecretUnused, "secret_unused"),
        (Self::CertificateEnding, "certificate_ending"),
        (Self::Draining, "draining"),
    ];

    /// Its label.
    pub const fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What to do, in a sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SourceSilent => {
                "see whether its provider has disabled the endpoint, and what was refused; sources.<name>.silent_after sets another time"
            }
            Self::Unroutable => {
                "declare the queue and its binding, or let sink.declare = true do it; the events go out by themselves once there is one"
            }
            Self::Poison => {
                "see `hookgate events list --state poison`; then `events requeue` or `events drop`"
            }
            Self::Held => "see `hookgate events list --state held`; then `events release` or `events drop`",
            Self::JournalFilling => {
                "bring back what events are handed over to, or raise journal.bytes_max; without room deliveries are answered 503"
            }
            Self::SinkAway => {
                "bring it back; with a journal events are kept meanwhile, and go out by themselves, with ack = \"confirm\" they are answered 503"
            }
            Self::RedisAway => "bring it back; events go out meanwhile, marked as possible duplicates",
            Self::ClockOffset => {
                "set the clock of this machine by NTP; beyond a source's tolerance its deliveries are refused"
            }
            Self::SecretUnused => {
                "where the provider has been given another one, remove it; where it has not been given this one yet, do that"
            }
            Self::CertificateEnding => "renew it; new files are noticed and shown without a restart",
            Self::Draining => {
                "stop it once `hookgate drain` says that nothing is left; `hookgate drain --cancel` takes deliveries again"
            }
        }
    }

    /// How long it must have lasted to be told: what heals within a moment is none.
    pub(super) const fn patience(self) -> Duration {
        match self {
            Self::Unroutable | Self::SinkAway | Self::RedisAway => Duration::from_secs(10),
            Self::SourceSilent
            | Self::Poison
            | Self::Held
            | Self::JournalFilling
            | Self::ClockOffset
            | Self::SecretUnused
            | Self::CertificateEnding
            | Self::Draining => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_index_their_kinds() {
        for (index, (kind, label)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.label()), (index, label));
        }
    }

    #[test]
    fn the_table_of_metrics_has_all_kinds() {
        let table = include_str!("../../deploy/metrics.md");
        let row = table.lines().find(|line| line.starts_with("| `hookgate_notice{notice,source}` |"));
        let told = row.and_then(|row| row.split("`notice` is one of ").nth(1)?.split(';').next());
        let kinds = Kind::ALL.map(|(_, label)| format!("`{label}`")).join(", ");
        assert_eq!(told, Some(&*kinds), "the row of hookgate_notice in deploy/metrics.md");
    }
}
