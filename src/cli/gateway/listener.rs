//! What the public listener may take: by the configuration, by the number of cores, by the files that may be open.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::assemble;
use crate::config;
use crate::ingress::{IngressSettings, Limits};

/// File descriptors kept back for segments, key files, Redis, RabbitMQ and the admin listener.
const FILES_OF_OURS: u64 = 256;
/// Connections that one worker holds at most, whatever the system allows.
const CONNECTIONS_MAX: usize = 25_000;

/// What the public listener takes, by the configuration and the system.
pub(super) fn settings(ingress: &config::Ingress) -> IngressSettings {
    let workers = match usize::from(ingress.workers) {
        0 => available_parallelism().map_or(1, NonZeroUsize::get),
        workers => workers,
    };
    IngressSettings {
        listen: ingress.listen,
        workers,
        connection: Limits {
            connections_max: connections_max(ingress.connections_max, workers),
            connections_per_address: ingress.connections_per_address as usize,
            head_bytes_max: ingress.head_bytes_max.as_usize(),
            head_timeout: ingress.head_timeout.duration(),
            keep_alive: ingress.keep_alive.duration(),
            proxy_protocol: ingress.proxy_protocol,
        },
        body_timeout: ingress.body_timeout.duration(),
        body_bytes_per_second: ingress.body_rate_min.bytes(),
        bodies_in_flight_max: ingress.bodies_in_flight_max.as_usize(),
        requests_per_address: ingress.requests_per_address.as_ref().map(assemble::rate),
    }
}

/// Connections that all workers together may hold, so that files of our own can always be opened; the process first gets
/// as many descriptors as it may have.
fn connections_max(wanted: u32, workers: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let files = limit.current.unwrap_or(u64::MAX).saturating_sub(FILES_OF_OURS);
    let most = if wanted == 0 { CONNECTIONS_MAX * workers } else { wanted as usize };
    usize::try_from(files).unwrap_or(usize::MAX).min(most).max(workers)
}
