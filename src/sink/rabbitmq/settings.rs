//! What the RabbitMQ sink is told: address, names, deadlines. Checks them and keeps the password to itself.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;
use thiserror::Error;

use super::Names;

/// Seconds between heartbeats where the URL does not say: a dead broker is noticed within twice that.
const HEARTBEAT_SECONDS: u16 = 10;

/// How fast to try again, and for how long to wait for one answer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first pause after a lost connection; doubles at each failure.
    pub retry_min: Duration,
    /// The longest pause between two tries.
    pub retry_max: Duration,
    /// The longest pause between tries that are refused again and again for what only a person can cure (rights,
    /// queues of another kind). The first is a second, for a broker that starts refuses too.
    pub refused: Duration,
    /// Deadline of each step towards a connection: TCP and TLS, handshake, channel, each declaration.
    pub step: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
            refused: Duration::from_secs(30),
            step: Duration::from_secs(10),
        }
    }
}

/// Settings of the RabbitMQ sink. Holds a password: its `Debug` shows host, port and virtual host only.
#[derive(Clone)]
pub struct Settings {
    uri: AMQPUri,
    names: Names,
    sources: Vec<String>,
    /// Declare exchange, queues and bindings (true), or only look whether the exchange is there.
    pub declare: bool,
    /// How long a message may stay without an answer before its channel is given up, or the connection where the broker
    /// answers for no message at all.
    pub confirm_timeout: Duration,
    /// Most messages without an answer; more wait in the caller.
    pub max_in_flight: usize,
    /// Retries and deadlines.
    pub pace: Pace,
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// The address is no AMQP URL. Its text is left out, for it may hold a password.
    #[error("sink.url is not an AMQP URL; expected amqp://user:password@host:5672/vhost or amqps://…")]
    Url,
    /// RabbitMQ keeps these names to itself, or has no room for them.
    #[error("sink.exchange is «{0}»; allowed are 1 to 120 bytes that do not start with «amq.»")]
    Exchange(String),
    /// A source that cannot be a queue and a routing key, or whose queue would have another queue's name.
    #[error(
        "no source can be called «{0}»; allowed are 1 to 64 of a-z, 0-9, _ and -, but not «invalid» or «dead»"
    )]
    Source(String),
}

impl Settings {
    /// Checks `url`, `exchange` and `sources`; everything else starts at its default.
    ///
    /// # Errors
    /// [`SettingsError`] for what can never work. Never contains the URL.
    pub fn new(url: &str, exchange: &str, sources: Vec<String>) -> Result<Self, SettingsError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| SettingsError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        if exchange.is_empty() || exchange.len() > 120 || exchange.starts_with("amq.") {
            return Err(SettingsError::Exchange(exchange.to_owned()));
        }
        if let Some(source) = sources.iter().find(|source| !is_source_name(source)) {
            return Err(SettingsError::Source(source.clone()));
        }
        Ok(Self {
            uri,
            names: Names::of(exchange),
            sources,
            declare: true,
            confirm_timeout: Duration::from_secs(30),
            max_in_flight: 256,
            pace: Pace::default(),
        })
    }

    /// Names of everything in the broker.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The sources that get a queue each.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The same with queues for these sources, whose names have been checked.
    pub(super) fn with_sources(&self, sources: Vec<String>) -> Self {
        Self { sources, ..self.clone() }
    }

    /// `host:port/vhost`, for people.
    pub fn address(&self) -> String {
        let authority = &self.uri.authority;
        format!("{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }

    pub(super) fn uri(&self) -> &AMQPUri {
        &self.uri
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("address", &self.address())
            .field("exchange", &self.names.exchange)
            .field("declare", &self.declare)
            .field("confirm_timeout", &self.confirm_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

/// Names that would be taken for the gateway's own queues.
pub const NAMES_TAKEN: [&str; 2] = ["invalid", "dead"];

/// Whether a source can have this name: 1 to 64 of `a-z`, `0-9`, `-` and `_`, and none of [`NAMES_TAKEN`].
pub fn is_source_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !NAMES_TAKEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password_anywhere() {
        let settings =
            Settings::new("amqp://shop:hunter2@mq.example:5673/hooks", "webhooks", vec!["stripe".into()])
                .unwrap();
        assert_eq!(settings.address(), "mq.example:5673/hooks");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = Settings::new("http://shop:hunter2@mq.example", "webhooks", vec![]).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn refuses_names_that_cannot_work() {
        let url = "amqp://127.0.0.1";
        let exchange = |name: &str| Settings::new(url, name, vec![]).unwrap_err();
        assert_eq!(exchange(""), SettingsError::Exchange(String::new()));
        assert_eq!(exchange("amq.topic"), SettingsError::Exchange("amq.topic".into()));
        for source in ["invalid", "dead", "", "Shop", "a.b", "a b"] {
            let error = Settings::new(url, "webhooks", vec![source.into()]).unwrap_err();
            assert_eq!(error, SettingsError::Source(source.into()));
        }
    }

    #[test]
    fn asks_for_heartbeats_unless_the_url_says_otherwise() {
        let of = |url: &str| Settings::new(url, "webhooks", vec![]).unwrap().uri().query.heartbeat;
        assert_eq!(of("amqp://127.0.0.1"), Some(HEARTBEAT_SECONDS));
        assert_eq!(of("amqp://127.0.0.1?heartbeat=3"), Some(3));
    }
}
