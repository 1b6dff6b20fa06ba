//! The configuration as a type: every section with every key, its meaning, unit and default.
//!
//! Values that are wrong for themselves cannot be read;
//! what only holds between values is looked at in `check`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sink::Sink;
use super::source::{Limit, Source};
use super::tls::Tls;
use super::values::{Network, PublicUrl, address};
use crate::provider::secret::SecretRef;
use crate::units::{ByteSize, Span};

/// An IP address and a port, as editors are told of them.
#[cfg(test)]
const ADDRESS: &str = r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$";

/// The whole configuration.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Settings {
    /// The public listener, which takes deliveries.
    pub ingress: Ingress,
    /// The private listener: inbox, health and metrics.
    pub admin: Admin,
    /// Provider files of your own.
    pub providers: Providers,
    /// Schema files of your own.
    pub schemas: Schemas,
    /// How keys that providers publish are fetched.
    pub fetch: Fetch,
    /// The log on disk that keeps every accepted event.
    pub journal: Journal,
    /// What is kept to search in.
    pub history: History,
    /// How events that were seen before are recognised.
    pub dedup: Dedup,
    /// Where events go.
    pub sink: Sink,
    /// What the gateway says on stderr.
    pub log: Log,
    /// What leaves it for other observers.
    pub telemetry: Telemetry,
    /// What an operator is told of without having looked.
    pub notices: Notices,
    /// When the configuration is loaded again.
    pub reload: Reload,
    /// The endpoints, by name: 1 to 64 of `a-z`, `0-9`, `-`, `_`; not `invalid`, not `dead`.
    pub sources: BTreeMap<String, Source>,
}

/// `[ingress]`: the public listener.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Ingress {
    /// IP address and port to listen on. Default `"0.0.0.0:8080"`.
    #[serde(deserialize_with = "address")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = ADDRESS)))]
    pub listen: SocketAddr,
    /// The URL under which senders reach this listener, for schemes that sign the URL. Default: none.
    pub public_url: Option<PublicUrl>,
    /// HTTPS. Default: none, plain HTTP.
    pub tls: Option<Tls>,
    /// That plain HTTP is meant, though strangers may reach `listen`: a proxy in front speaks TLS. Default `false`: a
    /// warning at the start, unless `trusted_proxies` names one.
    pub plain_http: bool,
    /// Networks of proxies whose `X-Forwarded-For` is believed. Default `[]`: nobody's.
    pub trusted_proxies: Vec<Network>,
    /// The longest body, in bytes. Default `"1MiB"`; a provider's file or a source may say otherwise.
    pub body_bytes_max: ByteSize,
    /// The longest head of a request, in bytes, at most `"96KiB"`. Default `"32KiB"`.
    pub head_bytes_max: ByteSize,
    /// How long the head of a request may take. Default `"10s"`.
    pub head_timeout: Span,
    /// How long the body of a request may take; a second more for every `body_rate_min` bytes of it. Default `"10s"`.
    pub body_timeout: Span,
    /// The bytes a second that a body must come in with once `body_timeout` has passed. Default `"64KiB"`.
    pub body_rate_min: ByteSize,
    /// The bytes that heads and bodies on their way in may take; beyond, of the address that has most of them the one
    /// that has been arriving longest is answered 503. Heads of up to 8 KiB and bodies that come in one piece are not
    /// counted; of the others, 32 KiB beside each. At least what the longest head and body take. Default `"32MiB"`.
    pub bodies_in_flight_max: ByteSize,
    /// How long an idle connection is kept open. Default `"75s"`.
    pub keep_alive: Span,
    /// The most connections; more wait to be accepted. Default 0: 25,000 for each of `workers`, fewer where the process
    /// may open fewer files.
    pub connections_max: u32,
    /// The most connections from one address (of IPv6, from a /64), those of `trusted_proxies` aside; more are closed at
    /// once. Default 0: any number.
    pub connections_per_address: u32,
    /// The requests from one address (of IPv6, from a /64), such as `{ rate = "50/s", burst = 100 }`; more are answered
    /// 429. Default: any number.
    pub requests_per_address: Option<Limit>,
    /// Whether every connection comes from one of `trusted_proxies` and begins with a header of the PROXY protocol,
    /// version 2, that tells who calls. Default `false`.
    pub proxy_protocol: bool,
    /// Threads that serve requests, at most 512. Default 0: as many as there are cores.
    pub workers: u16,
    /// Whether the causes of refusals are looked for, beside the requests. Default true.
    pub explain: bool,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_url: None,
            tls: None,
            plain_http: false,
            trusted_proxies: Vec::new(),
            body_bytes_max: ByteSize::mib(1),
            head_bytes_max: ByteSize::kib(32),
            head_timeout: Span::seconds(10),
            body_timeout: Span::seconds(10),
            body_rate_min: ByteSize::kib(64),
            bodies_in_flight_max: ByteSize::mib(32),
            connections_max: 0,
            connections_per_address: 0,
            requests_per_address: None,
            proxy_protocol: false,
            keep_alive: Span::seconds(75),
            workers: 0,
            explain: true,
        }
    }
}

/// `[admin]`: the private listener.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Admin {
    /// IP address and port to listen on, never the ingress's. Default `"127.0.0.1:9090"`.
    #[serde(deserialize_with = "address")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = ADDRESS)))]
    pub listen: SocketAddr,
    /// Reference to the bearer token that opens all of it. Needed off loopback. Default: none.
    pub token: Option<SecretRef>,
    /// Reference to a bearer token that opens what changes nothing: metrics, events and their bodies. Default: none.
    pub read_token: Option<SecretRef>,
    /// Reference to a bearer token that opens the inbox only. Default: none.
    pub worker_token: Option<SecretRef>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            token: None,
            read_token: None,
            worker_token: None,
        }
    }
}

/// `[providers]`: provider files of your own.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Providers {
    /// A folder whose `*.toml` files come over the built-in ones. Default: none.
    pub dir: Option<PathBuf>,
}

/// `[schemas]`: schema files of your own.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Schemas {
    /// A folder whose `<provider>/<event>.json` files come over the built-in ones. Default: none.
    pub dir: Option<PathBuf>,
}

/// `[fetch]`: how keys that providers publish are fetched, and URLs called that handshakes ask for.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Fetch {
    /// The longest time for all of a fetch, at most 30 s. Default `"5s"`.
    pub timeout: Span,
    /// A file of certificates in PEM that are trusted beside those that Mozilla trusts. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Whether addresses that are not of the public internet may be called. Default `false`.
    pub allow_private: bool,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { timeout: Span::seconds(5), ca_file: None, allow_private: false }
    }
}

/// `[journal]`: the log on disk.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Journal {
    /// The folder it lives in. Default `"data/journal"`.
    pub dir: PathBuf,
    /// The size of one segment file, in bytes; it must hold the longest event. Default `"64MiB"`.
    pub segment_bytes: ByteSize,
    /// The most disk it may use, in bytes; at least four segments. Default `"10GiB"`.
    pub bytes_max: ByteSize,
    /// How long a confirmed event is kept at most. Default `"7d"`.
    pub retention: Span,
    /// What a 2xx waits for. Default `"journal"`. With `"confirm"` there is no journal: no folder is touched, and the
    /// other keys of this table have no effect (a warning says so).
    pub ack: Ack,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/journal"),
            segment_bytes: ByteSize::mib(64),
            bytes_max: ByteSize::mib(10 * 1024),
            retention: Span::days(7),
            ack: Ack::Journal,
        }
    }
}

/// `[history]`: what has come in and what became of it, kept to search in. Filled from the journal, behind the answers.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct History {
    /// Whether there is one. Default `true`; with `journal.ack = "confirm"` there is none.
    pub enabled: bool,
    /// The SQLite file. Default: beside `journal.dir`, by its name with `.history.sqlite` behind.
    pub file: Option<PathBuf>,
    /// How long an event or a refusal is kept at most. Default `"30d"`.
    pub retention: Span,
    /// The most disk that it may use, nearly, in bytes; beyond, the oldest goes. Default `"1GiB"`.
    pub bytes_max: ByteSize,
}

impl Default for History {
    fn default() -> Self {
        Self { enabled: true, file: None, retention: Span::days(30), bytes_max: ByteSize::mib(1024) }
    }
}

/// What a 2xx waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// The disk.
    #[default]
    Journal,
    /// A claim in Redis and RabbitMQ's confirm; needs `sink.kind = "rabbitmq"` and `dedup.backend = "redis"`, and is
    /// answered 503 while RabbitMQ is away.
    Confirm,
}

/// `[dedup]`: how known events are recognised.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Dedup {
    /// How long an event is remembered; at least as long as its provider retries. Default `"7d"`.
    pub window: Span,
    /// Who remembers across replicas. Default `"embedded"`: nobody, each for itself.
    pub backend: Backend,
    /// Reference to the URL of Redis, needed by `backend = "redis"`. Default: none.
    pub url: Option<SecretRef>,
    /// How long the relay waits for Redis before it publishes with the duplicate mark. Default `"30s"`. With
    /// `journal.ack = "confirm"` nobody waits: it is published so at once.
    pub redis_wait: Span,
    /// How long a replica with a journal must be silent before another takes its claims over. Default `"10m"`.
    pub takeover_after: Span,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            window: Span::days(7),
            backend: Backend::Embedded,
            url: None,
            redis_wait: Span::seconds(30),
            takeover_after: Span::seconds(600),
        }
    }
}

/// Who remembers events across replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The gateway's own index alone.
    #[default]
    Embedded,
    /// Redis as well.
    Redis,
}

/// `[reload]`: when the configuration is loaded again. SIGHUP and `POST /v1/reload` do so in any case.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Reload {
    /// Whether it is when a file of it changes: the main file, those of `sources.d/`, `providers.dir` and `schemas.dir`,
    /// `fetch.ca_file`, and those of secrets, addresses and client authorities. They are looked at every 2 s, and loaded when they have been the same
    /// twice; where they hold errors, what was in force stays so. Default `true`.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// `[notices]`: what an operator is told of without having looked.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Notices {
    /// Where each is sent as a signed webhook when it begins and when it ends, by the specification of Standard Webhooks.
    /// Default: nowhere.
    pub url: Option<PublicUrl>,
    /// Reference to the key that these are signed with: `whsec_` and base64. Needed with `url`. Default: none.
    pub secret: Option<SecretRef>,
    /// For how long one of several secrets of a source proves nothing, while another one does, before it is told of.
    /// Default `"1d"`.
    pub secret_unused_after: Span,
}

impl Default for Notices {
    fn default() -> Self {
        Self { url: None, secret: None, secret_unused_after: Span::days(1) }
    }
}

/// `[log]`: what the gateway says on stderr.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Log {
    /// The form of a line. Default `"auto"`: text on a terminal, JSON by the Elastic Common Schema elsewhere.
    pub format: LogFormat,
    /// The least level that is told. Default `"info"`. The audit log (target `hookgate::audit`: refusals, and what operators
    /// do) is told whatever stands here.
    pub level: Level,
}

/// `[telemetry]`: what leaves the gateway for other observers.
#[derive(Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Telemetry {
    /// Whether traces leave it by OTLP (HTTP, protobuf), to where the environment's `OTEL_EXPORTER_OTLP_ENDPOINT` says; all
    /// else is said by variables of OpenTelemetry, too. Needs a build with the feature `otlp`. Default `false`.
    pub otlp: bool,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere, by the Elastic Common Schema.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Level {
    /// The level's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How much is told, from least to most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Faults that need somebody.
    Error,
    /// And what may become one.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}
