//! hookgate: a receiving gateway for webhooks. This page is the map.
//!
//! The order of the rooms is the order of the types: `Delivery -> Verified -> EventKey -> Event -> Receipt -> 2xx`.
//! (In confirm mode, `Confirmed` or `Done` stand in the place of `Receipt`.) Each proof type has private fields and is made in one room only, so a wrong order does not compile.
//!
//! # Nouns (import only each other)
//! - [`delivery`]: what arrived, untrusted, exact bytes.
//! - [`reject`]: every refusal, one row each: status, code, reason, Retry-After.
//! - [`clock`]: the only reading of time. [`disk`]: the only writing of files. [`tasks`]: the only spawning.
//! - [`addresses`]: sets of IP addresses. [`units`]: sizes, durations and rates as people write them. [`metrics`]: every metric, and the account of all
//!   deliveries and events. [`telemetry`]: the log, and traces. [`audit`]: the part of it that tells every refusal and every action. [`exit`]: exit codes. [`failpoint`]: where a test may kill.
//!
//! # The way in (pure stages, no I/O but where it is said)
//! - [`extract`]: values picked out of a delivery by name, a body walked once and never printed again.
//! - [`provider`]: a sending service's scheme as data, and the handshakes that it answers.
//! - [`verify`]: proof that the sender knows the secret, over the exact bytes; mints `Verified`. Its `fetched` is the one
//!   place here that does I/O: keys that a provider publishes. Its `certificate` judges a client's certificate.
//! - [`freshness`]: how old, how far ahead. [`limit`]: a source's own rate, counted after verification.
//! - [`dedup::key`]: what makes two deliveries one event; minted from a `Verified` only.
//! - [`batch`]: a body with several events cut into parts, where a source splits.
//! - [`schema`]: payload schemas, compiled at start; most payloads are judged without a tree. [`event`]: what is kept.
//! - [`mask`]: what of a body is not shown.
//! - [`steps`]: what becomes of events and requests, told for the history.
//!
//! # Stores and outlets (never import each other)
//! - [`dedup`]: event keys known so far, in memory and key files; claims shared by Redis; mints `Done`.
//! - [`journal`]: the append-only log; mints `Receipt`, the way to a 2xx.
//! - [`sink`]: where events go: `rabbitmq`, `stdout`, and the inbox's leases; mints `Confirmed`.
//!
//! # Flow
//! - [`source`]: one configured endpoint, assembled. [`pipeline`]: the stages in order, one page.
//! - [`capture`]: a secret that the sender brings itself, while the operator has the source armed.
//! - [`accept`]: the one thread that claims keys and writes the journal: check-and-claim is atomic.
//! - [`confirm`]: the other way to a 2xx, without a journal: claim in Redis, publish, RabbitMQ's confirm.
//! - [`keeper`]: which of the two ways a gateway has. [`drain`]: how it is taken out, with nothing left behind.
//! - [`lanes`]: what is pending, a queue for each source, of bounded length in memory.
//! - [`relay`]: from the journal to a sink until it confirms, or to workers until they acknowledge.
//! - [`diagnose`]: why a delivery was refused, found by trying what would have verified; never in an answer.
//! - [`notice`]: what an operator should know of without having looked, found in how the gateway stands.
//! - [`history`]: what came in and what became of it, to search in: a SQLite file, filled behind all of this.
//! - [`quarantine`]: requests whose proof failed, judged again at an operator's word.
//! - [`sample`]: an event as its provider would send it, signed by the rules that verify.
//! - [`operate`]: what an operator sees and does: events found in pages, and orders to [`accept`].
//!
//! # Edges
//! - [`ingress`]: the public listener; its `connection` guards each one in front of the HTTP library, its `tls` shakes hands,
//!   and shows a certificate from files or by ACME.
//! - [`admin`]: health, metrics, events for operators and the inbox for workers, on a listener of their own.
//! - `console`: what the operator's page is made of, served by [`admin`]: plain scripts and styles, a script for each page.
//! - [`config`]: all settings, all errors in one report. [`cli`]: the subcommands, a file each,
//!   and in `cli::gateway` the place where everything is put together.
//! - `simulation`, in tests alone: all of it in one thread, on a disk, a clock and a broker that a seed drives.
//! - `fuzzing`, in tests and for `tests/fuzz/` alone: what every parser holds, whatever bytes come.
//!
//! # Absent on purpose
//! No body is parsed and printed again. No 2xx without a proof that the event is safe. No key from unsigned bytes alone. No Redis and no
//! broker on the way to a journal ACK. No code per provider. No clustering of our own. No fetch
//! of anything but by https, from a URL that a provider's file pins, or from the authority that the operator names.
//!
//! Two rooms stand elsewhere than one might expect: `disk` is a noun, since journal and key files both stand on it;
//! `accept` is a flow of its own, since one thread must own the index and the journal together. That also makes a
//! trait over claims needless: the index is asked in that thread, Redis by the relay or by `confirm`.

pub mod addresses;
pub mod audit;
pub mod clock;
pub mod delivery;
pub mod disk;
pub mod exit;
pub mod failpoint;
pub mod metrics;
pub mod reject;
pub mod tasks;
pub mod telemetry;
pub mod units;

pub mod batch;
pub mod event;
pub mod extract;
pub mod freshness;
pub mod limit;
pub mod mask;
pub mod provider;
pub mod schema;
pub mod steps;
pub mod verify;

pub mod dedup;
pub mod journal;
pub mod sink;

pub mod accept;
pub mod capture;
pub mod confirm;
pub mod diagnose;
pub mod drain;
pub mod history;
pub mod keeper;
pub mod lanes;
pub mod notice;
pub mod operate;
pub mod pipeline;
pub mod quarantine;
pub mod relay;
pub mod sample;
pub mod source;

pub mod admin;
pub mod cli;
pub mod config;
pub mod ingress;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod simulation;
