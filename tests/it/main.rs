//! Integration tests: one binary, real Redis and RabbitMQ, a fault proxy between them and hookgate.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be set up is a failed test")]
#![expect(clippy::disallowed_methods, reason = "tests measure real time")]

mod chaos;
mod gateway;
mod http;
mod load;
mod senders;
mod services;

mod admin;
mod cli;
mod config_reports;
mod confirm;
mod crash;
mod dedup;
mod hostile;
mod inbox;
mod ingress;
mod lifecycle;
mod limits;
mod redis;
mod reject;
mod relay;
mod replicas;
mod schema;
mod secrets;
mod sink;
mod stdout;
mod vectors;
