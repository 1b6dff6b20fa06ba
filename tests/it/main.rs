//! Integration tests: one binary, real Redis and RabbitMQ, a fault proxy between them and hookgate.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be set up is a failed test")]
#![expect(clippy::disallowed_methods, reason = "tests measure real time")]
#![cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "some fixtures serve `promises` alone"))]

#[expect(dead_code, reason = "the crash harness uses the rest")]
mod chaos;
mod gateway;
mod handed;
#[expect(dead_code, reason = "the crash harness uses the rest")]
mod http;
mod load;
#[expect(dead_code, reason = "the crash harness uses the rest")]
mod machine;
mod origin;
mod scrape;
mod senders;
mod services;

mod account;
mod addresses;
mod admin;
mod answers;
mod audit;
mod backup;
mod batches;
mod bodies;
mod captured;
mod cli;
mod cli_tools;
mod config_reports;
mod confirm;
mod console;
mod crash;
mod dead;
mod dedup;
mod described;
mod drain;
mod events;
mod explain;
mod faults;
mod fetched;
mod handshake;
mod history;
mod hostile;
mod inbox;
mod ingress;
mod journal_cli;
mod json_suite;
mod lanes;
mod lifecycle;
mod limits;
mod notices;
mod orders;
mod outage;
mod own_files;
mod pending;
#[cfg(feature = "failpoints")]
mod promises;
mod providers;
mod quarantine;
mod redis;
mod reject;
mod relay;
mod reload;
mod replicas;
mod runbook;
mod schema;
mod secrets;
mod sink;
mod stdout;
mod supervised;
mod tail;
mod tls;
mod traces;
mod trial;
mod upgrade;
mod vectors;
mod vectors_of_answers;
mod waiting;
mod workers;
