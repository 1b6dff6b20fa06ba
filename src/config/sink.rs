//! `[sink]`: where events go, and what each kind of destination needs.
//!
//! A further kind does not compile until every `match` here, and every one on `SinkKind` elsewhere, has a place for it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::provider::secret::SecretRef;
use crate::units::Span;

/// `[sink]`: where events go.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Sink {
    /// The kind of destination. Default `"inbox"`.
    pub kind: SinkKind,
    /// Reference to the URL of RabbitMQ, needed by `kind = "rabbitmq"`. Default: none.
    pub url: Option<SecretRef>,
    /// The durable topic exchange events are published to. Default `"webhooks"`.
    pub exchange: String,
    /// Whether exchanges and queues are declared at start; otherwise only the exchange is looked for. Default `true`.
    pub declare: bool,
    /// The most events published and not yet confirmed. Default 256. With `journal.ack = "confirm"` a delivery beyond
    /// them waits a second at most and is then answered 503.
    pub max_in_flight: NonZeroU32,
    /// How long a confirm may take before the event is published again; with `journal.ack = "confirm"` before its
    /// delivery is answered 503. Default `"30s"`.
    pub confirm_timeout: Span,
    /// Inbox: how long a worker may hold an event before another gets it. Default `"30s"`.
    pub lease: Span,
    /// Inbox: how often an event is handed out before it is held as poison. Default 20.
    pub max_attempts: NonZeroU32,
}

impl Default for Sink {
    fn default() -> Self {
        let number = |count: u32| NonZeroU32::MIN.saturating_add(count - 1);
        Self {
            kind: SinkKind::Inbox,
            url: None,
            exchange: "webhooks".to_owned(),
            declare: true,
            max_in_flight: number(256),
            confirm_timeout: Span::seconds(30),
            lease: Span::seconds(30),
            max_attempts: number(20),
        }
    }
}

/// The kinds of destination; `init` shows the lines below as its help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum SinkKind {
    /// Workers take them over HTTP.
    #[default]
    Inbox,
    /// A RabbitMQ exchange.
    Rabbitmq,
    /// A line of JSON each.
    Stdout,
}

/// A service that `sink.url` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, for people.
    pub title: &'static str,
    /// The variable that its URL is read from, where nobody says otherwise.
    pub variable: &'static str,
}

impl SinkKind {
    /// The kind's name, as it is configured and told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Rabbitmq => "rabbitmq",
            Self::Stdout => "stdout",
        }
    }

    /// The service that it needs the URL of.
    pub const fn service(self) -> Option<Service> {
        match self {
            Self::Rabbitmq => Some(Service { title: "RabbitMQ", variable: "AMQP_URL" }),
            Self::Inbox | Self::Stdout => None,
        }
    }

    /// Whether its confirm is enough for a 2xx: `journal.ack = "confirm"` needs such a kind.
    pub const fn is_safe_alone(self) -> bool {
        match self {
            Self::Rabbitmq => true,
            Self::Inbox | Self::Stdout => false,
        }
    }

    /// How workers come by events.
    pub const fn workers(self) -> &'static str {
        match self {
            Self::Inbox => "workers claim events here",
            Self::Rabbitmq => "workers take events from RabbitMQ (`hookgate consume --from rabbitmq`)",
            Self::Stdout => "workers read events from stdout",
        }
    }

    /// Where events are that workers gave up, unless RabbitMQ has them.
    pub const fn given_up(self) -> &'static str {
        match self {
            Self::Inbox => {
                "this gateway's workers have the inbox, where events that were given back too often are poison: \
                 `hookgate events list --state poison`, and `hookgate events requeue` or `drop`"
            }
            Self::Rabbitmq => "RabbitMQ has them in the queue of its dead-letter exchange",
            Self::Stdout => "this gateway writes events to stdout: nobody can reject them",
        }
    }

    /// The keys of `[sink]` that have an effect with it, `kind` aside.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Inbox => &["lease", "max_attempts"],
            Self::Rabbitmq => &["url", "exchange", "declare", "max_in_flight", "confirm_timeout"],
            Self::Stdout => &["max_in_flight"],
        }
    }

    /// The keys of `[sink]` that have an effect with other kinds alone.
    pub(super) fn keys_of_others(self) -> impl Iterator<Item = &'static str> {
        let all = Self::value_variants().iter().flat_map(|kind| kind.keys());
        let others: BTreeSet<&str> = all.copied().filter(|key| !self.keys().contains(key)).collect();
        others.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::example::known;
    use serde::de::value::{Error, StrDeserializer};

    #[test]
    fn a_kind_has_one_name_in_files_and_on_the_command_line() {
        for kind in SinkKind::value_variants() {
            let read = SinkKind::deserialize(StrDeserializer::<Error>::new(kind.name()));
            assert_eq!(read, Ok(*kind));
            assert_eq!(SinkKind::from_str(kind.name(), false), Ok(*kind));
        }
    }

    #[test]
    fn a_key_has_an_effect_with_some_kind() {
        let kinds = SinkKind::value_variants().iter();
        let told: BTreeSet<&str> = kinds.flat_map(|kind| kind.keys()).copied().chain(["kind"]).collect();
        let known = known(&"sink".into());
        assert_eq!(known.iter().map(String::as_str).collect::<BTreeSet<_>>(), told);
    }

    #[test]
    fn a_key_of_several_kinds_has_no_effect_with_the_rest() {
        let others = |kind: SinkKind| kind.keys_of_others().collect::<Vec<_>>();
        assert_eq!(others(SinkKind::Rabbitmq), ["lease", "max_attempts"]);
        let publishing = ["confirm_timeout", "declare", "exchange", "max_in_flight", "url"];
        assert_eq!(others(SinkKind::Inbox), publishing);
        assert!(!others(SinkKind::Stdout).contains(&"max_in_flight"));
    }
}
