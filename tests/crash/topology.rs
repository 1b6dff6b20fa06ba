//! A stage's gateways with a proxy on each of their links.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::chaos::Proxy;
use crate::events::{Kind, SOURCES, STANDARD_KEY};
use crate::gateway::{Gateway, Setup};
use crate::load::with_rabbitmq;
use crate::machine::{Clock, SmallDisk};
use crate::plan::{Fault, Link, Stage, Topology};
use crate::services::{RabbitMq, Redis};

/// More than a journal may take; memory is used for what is written only.
pub const WIDE: u64 = 256 << 20;

/// A gateway and what stands around it.
pub struct Unit {
    /// Where its journal is, if that disk shrinks in the stage. Goes first: a folder that is mounted cannot be removed.
    pub disk: Option<SmallDisk>,
    /// Its wall clock, if that steps in the stage.
    pub clock: Mutex<Option<Clock>>,
    pub gateway: Mutex<Gateway>,
    /// It was started and has answered, and has not ended since as far as the reaper knows. Read under its lock.
    pub lives: AtomicBool,
    /// Where senders call: the proxy in front of the ingress.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// Milliseconds of the run at its last start, until it has answered 2xx; 0 then.
    pub reborn: AtomicU64,
    sender: Proxy,
    broker: Option<Proxy>,
    redis: Option<Proxy>,
}

impl Unit {
    /// Configures a gateway; it does not run yet.
    pub fn new(stage: &Stage, services: (&RabbitMq, &Redis, &str)) -> Self {
        let topology = stage.topology;
        let (node, cache, vhost) = services;
        let proxies = topology.has_services().then(|| [node.address(), cache.address()].map(Proxy::start));
        let mut setup = match &proxies {
            None => Setup::new().set("sink", "lease = \"2s\"\nmax_attempts = 1000"),
            Some([broker, redis]) => with_rabbitmq(&node.url_by(broker.address(), vhost))
                .env("REDIS_URL", &cache.url_by(redis.address()))
                .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nredis_wait = \"1s\""),
        };
        if topology == Topology::Confirm {
            setup = setup.set("journal", "ack = \"confirm\"");
        }
        // Small enough to be pruned in a short run, large enough for what waits while RabbitMQ starts again.
        let bytes = if stage.events < 20_000 { "24MiB" } else { "96MiB" };
        setup = setup.set("journal", &format!("bytes_max = \"{bytes}\"")).set("dedup", "window = \"7d\"");
        for source in SOURCES {
            setup = setup.source(source.name, source.provider, "");
            if source.kind == Kind::StandardWebhooks {
                setup = setup.env("SECRET_STD", &format!("whsec_{}", STANDARD.encode(STANDARD_KEY)));
            }
        }
        let shrinks = stage.steps.iter().any(|step| step.fault == Fault::Disk);
        if shrinks {
            setup = setup.set("journal", "dir = \"disk/journal\"");
        }
        let gateway = setup.prepare();
        let disk = shrinks.then(|| SmallDisk::mount(gateway.path("disk"), WIDE).unwrap());
        let steps = stage.steps.iter().any(|step| matches!(step.fault, Fault::Clock(_)));
        let clock = steps.then(|| Clock::at(gateway.path("clock"))).flatten();
        let sender = Proxy::start(gateway.ingress());
        let [broker, redis] = proxies.map_or([None, None], |proxies| proxies.map(Some));
        Self {
            disk,
            clock: Mutex::new(clock),
            address: sender.address(),
            admin: gateway.admin(),
            gateway: Mutex::new(gateway),
            lives: AtomicBool::new(false),
            reborn: AtomicU64::new(0),
            sender,
            broker,
            redis,
        }
    }

    /// The proxy of a link, if the topology has that link.
    pub fn proxy(&self, link: Link) -> Option<&Proxy> {
        match link {
            Link::Sender => Some(&self.sender),
            Link::Broker => self.broker.as_ref(),
            Link::Redis => self.redis.as_ref(),
        }
    }
}
