//! What the listeners may take: by the configuration, by the number of cores, by the files that may be open.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::assemble;
use crate::config;
use crate::ingress::{IngressSettings, Limits};

/// File descriptors kept back for segments, key files, Redis and RabbitMQ.
const FILES_OF_OURS: u64 = 192;
/// Connections to the admin listener: the workers that may wait at the inbox, and operators; where the process may open few
/// files, an eighth of them, and no fewer than the other number.
const ADMIN_CONNECTIONS: (u64, u64) = (64, 1_200);
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

/// Connections that all workers together may hold, so that files of our own can always be opened.
fn connections_max(wanted: u32, workers: usize) -> usize {
    let files = files();
    let left = files.saturating_sub(FILES_OF_OURS + admin_share(files));
    let most = if wanted == 0 { CONNECTIONS_MAX * workers } else { wanted as usize };
    usize::try_from(left).unwrap_or(usize::MAX).min(most).max(workers)
}

/// Connections that the admin listener may hold, so that no stranger there takes what deliveries need.
pub(super) fn admin_connections_max() -> usize {
    usize::try_from(admin_share(files())).unwrap_or(usize::MAX)
}

fn admin_share(files: u64) -> u64 {
    let (fewest, most) = ADMIN_CONNECTIONS;
    (files / 8).clamp(fewest, most)
}

/// Descriptors that the process may open, which is first given as many as it may have.
fn files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}
