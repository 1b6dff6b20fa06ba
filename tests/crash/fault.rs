//! Faults beside the gateways' own ends: services killed and paused, links broken, queues taken away; one at a time.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process};

use crate::chaos::Mode;
use crate::check::Blind;
use crate::drain::BEHIND;
use crate::events::SOURCES;
use crate::plan::{Fault, Link, Service, Step};
use crate::services::{MESSAGE_BYTES_MAX, RabbitMq};
use crate::stage::{COPIES, Site};
use crate::topology::WIDE;

/// The gateway waits that long for a confirm, then for another connection.
const CONFIRM: Duration = Duration::from_secs(3);
/// Redis counts as away so long after it is back: what waited for it meanwhile has to go out first.
const BLIND: Duration = Duration::from_secs(5);
/// A queue that was deleted is there again after so long: a gateway declares it with the next message for it.
const DECLARED: Duration = Duration::from_secs(60);
/// What was routed to a queue is in it after so long, on a busy machine.
const ARRIVED: Duration = Duration::from_secs(1);
/// From one look at what the drain has taken to the next.
const LOOK: Duration = Duration::from_millis(50);
const EXCHANGE: &str = "webhooks";

/// Lets the faults of the stage happen, each when so many events are settled.
pub fn run(site: &Site<'_>) {
    for step in &site.stage.steps {
        while site.progress.load(Ordering::SeqCst) < step.at && !site.stopped() {
            sleep(Duration::from_millis(5));
        }
        if site.stopped() {
            break;
        }
        site.tally.fault(&step.fault);
        site.trace(|| format!("{:?} of gateway {} for {:?}", step.fault, step.gateway, step.hold));
        happen(site, step);
        site.trace(|| "that is over".to_owned());
    }
    site.lanes.fetch_sub(1, Ordering::SeqCst);
}

fn happen(site: &Site<'_>, step: &Step) {
    match step.fault {
        Fault::Kill(Service::Broker) => {
            lost_connections(site, site.units.len(), Duration::ZERO);
            let mut broker = site.broker.lock().unwrap();
            broker.kill();
            sleep(step.hold);
            broker.restart();
        }
        Fault::Kill(Service::Redis) => without_redis(site, || {
            let mut redis = site.redis.lock().unwrap();
            redis.kill();
            sleep(step.hold);
            redis.restart();
        }),
        Fault::Pause(Service::Broker) => {
            lost_connections(site, site.units.len(), step.hold);
            let broker = site.broker.lock().unwrap();
            broker.pause();
            sleep(step.hold);
            broker.resume();
        }
        Fault::Pause(Service::Redis) => without_redis(site, || {
            let redis = site.redis.lock().unwrap();
            redis.pause();
            sleep(step.hold);
            redis.resume();
        }),
        Fault::Pause(Service::Gateway) => pause_gateway(site, step),
        Fault::Net(link, mode) => network(site, step, link, mode),
        // That is the reaper's.
        Fault::Kill(Service::Gateway) => {}
        Fault::MemoryAlarm => {
            let set = "set_vm_memory_high_watermark";
            alarm(site, step, &[set, "0.0001"], &[set, "absolute", "2GB"]);
        }
        Fault::DiskAlarm => {
            alarm(site, step, &["set_disk_free_limit", "100000GB"], &["set_disk_free_limit", "1MB"]);
        }
        Fault::Unbind | Fault::Delete => unroute(site, step),
        Fault::Full => full(site, step),
        Fault::Small => small(site, step),
        Fault::Disk => small_disk(site, step),
        Fault::Clock(ahead) => step_clock(site, step, ahead),
    }
}

/// What was in flight on so many connections may come again; and again for each wait for a confirm.
fn lost_connections(site: &Site<'_>, connections: usize, hold: Duration) {
    let times = 1 + (hold.as_millis() / CONFIRM.as_millis()) as u32;
    site.incident(COPIES * connections as u32 * times);
}

fn without_redis(site: &Site<'_>, away: impl FnOnce()) {
    let from = site.now();
    let index = site.blind(Blind { from, to: u64::MAX });
    away();
    site.sees_again(index, site.now() + BLIND.as_millis() as u64);
}

/// A gateway that stops for a while loses connections as one that is cut off does.
fn pause_gateway(site: &Site<'_>, step: &Step) {
    let unit = &site.units[step.gateway];
    let pause = || {
        // Not while it is started anew.
        let gateway = unit.gateway.lock().unwrap();
        if !unit.lives.load(Ordering::SeqCst) {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap())?;
        kill_process(pid, Signal::STOP).ok().map(|()| pid)
    };
    lost_connections(site, 1, step.hold);
    let Some(pid) = pause() else { return };
    sleep(step.hold);
    let gateway = unit.gateway.lock().unwrap();
    if unit.lives.load(Ordering::SeqCst) && Pid::from_raw(i32::try_from(gateway.pid()).unwrap()) == Some(pid)
    {
        // It may have been killed meanwhile.
        kill_process(pid, Signal::CONT).unwrap_or_default();
    }
}

fn network(site: &Site<'_>, step: &Step, link: Link, mode: Mode) {
    let Some(proxy) = site.units[step.gateway].proxy(link) else { return };
    let flaps = match mode {
        Mode::Flap(phase) => step.hold.as_millis() / phase.as_millis(),
        _ => 0,
    };
    let broken = || {
        proxy.set(mode);
        sleep(step.hold);
        proxy.restore();
    };
    match link {
        Link::Sender => broken(),
        Link::Broker => {
            lost_connections(site, 1 + flaps as usize, step.hold);
            broken();
        }
        Link::Redis => without_redis(site, broken),
    }
}

fn alarm(site: &Site<'_>, step: &Step, on: &[&str], off: &[&str]) {
    lost_connections(site, site.units.len(), step.hold + CONFIRM);
    let broker = site.broker.lock().unwrap();
    broker.rabbitmqctl(on);
    sleep(step.hold);
    broker.rabbitmqctl(off);
}

/// The queue takes nothing more: what is published is refused, and comes later.
fn full(site: &Site<'_>, step: &Step) {
    site.unordered(step.source);
    let broker = site.broker.lock().unwrap();
    let queue = format!("^webhooks\\.{}$", SOURCES[step.source].name);
    let definition = "{\"max-length\":0,\"overflow\":\"reject-publish\"}";
    broker.rabbitmqctl(&[
        "set_policy",
        "-p",
        &site.vhost,
        "full",
        &queue,
        definition,
        "--apply-to",
        "queues",
    ]);
    sleep(step.hold);
    broker.rabbitmqctl(&["clear_policy", "-p", &site.vhost, "full"]);
}

/// Larger messages than that are poison for a while, and are offered again at the end.
fn small(site: &Site<'_>, step: &Step) {
    const BYTES: usize = 12_000;
    // What was in flight beside a refused one is published again, after each of the refusals.
    site.incident(COPIES * site.units.len() as u32 * 20);
    (0..SOURCES.len()).for_each(|source| site.unordered(source));
    let broker = site.broker.lock().unwrap();
    let limit = |bytes: usize| {
        broker.rabbitmqctl(&["eval", &format!("application:set_env(rabbit, max_message_size, {bytes}).")]);
    };
    limit(BYTES);
    sleep(step.hold);
    limit(MESSAGE_BYTES_MAX);
}

/// Nothing is left but the segments there are, and what workers and leases that run out make free.
fn small_disk(site: &Site<'_>, step: &Step) {
    let Some(disk) = &site.units[step.gateway].disk else { return };
    site.tally.while_lasts(&step.fault, || {
        // What is written between the look at it and the change is in the way.
        if !(0..10).any(|_| disk.resize(0).is_ok()) {
            site.stuck("the disk could not be made small".to_owned());
        }
        sleep(step.hold);
    });
    disk.resize(WIDE).unwrap();
}

/// Senders sign by true time, and are refused while the clock is wrong: never as if they were.
fn step_clock(site: &Site<'_>, step: &Step, ahead: i32) {
    let step_to = |ahead: i32| {
        site.units[step.gateway].clock.lock().unwrap().iter().for_each(|clock| clock.step(ahead.into()));
    };
    site.tally.while_lasts(&step.fault, || {
        step_to(ahead);
        sleep(step.hold);
    });
    step_to(0);
}

/// Takes a queue's binding away, and the queue itself once it is drained: messages are returned until a gateway
/// declares both again, or this does.
fn unroute(site: &Site<'_>, step: &Step) {
    site.unordered(step.source);
    // A gateway that starts would declare the queue between the last look at it and its end.
    let calm = site.calm.write().unwrap();
    let broker = site.broker.lock().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let undone = runtime.block_on(async {
        let deletes = step.fault == Fault::Delete;
        tokio::time::timeout(Duration::from_secs(20), unroute_by(site, &broker, step, deletes)).await
    });
    drop(calm);
    if !matches!(undone, Ok(Ok(()))) {
        site.tally.undone.fetch_add(1, Ordering::Relaxed);
    }
    let end = Instant::now() + DECLARED;
    while !site.stopped() && Instant::now() < end && runtime.block_on(exists(site, step)).is_err() {
        sleep(Duration::from_millis(100));
    }
}

/// An error where the source's queue is not there.
async fn exists(site: &Site<'_>, step: &Step) -> lapin::Result<()> {
    let connection = Connection::connect(&site.url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = format!("webhooks.{}", SOURCES[step.source].name);
    let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
    connection.close(200, "OK".into()).await
}

async fn unroute_by(site: &Site<'_>, broker: &RabbitMq, step: &Step, deletes: bool) -> lapin::Result<()> {
    let connection = Connection::connect(&broker.url(&site.vhost), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let name = SOURCES[step.source].name;
    let (queue, key) = (format!("webhooks.{name}"), format!("{name}.#"));
    let (queue, key) = (queue.as_str(), key.as_str());
    channel.queue_unbind(queue.into(), EXCHANGE.into(), key.into(), FieldTable::default()).await?;
    if deletes && is_empty(site, &channel, queue).await? {
        let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        site.deleted.fetch_add(deleted, Ordering::SeqCst);
    }
    tokio::time::sleep(step.hold).await;
    if !deletes {
        let bind = channel.queue_bind(
            queue.into(),
            EXCHANGE.into(),
            key.into(),
            Default::default(),
            FieldTable::default(),
        );
        bind.await?;
    }
    connection.close(200, "OK".into()).await
}

/// Waits until the drain has taken all, as far as it does within some seconds: a message of our own goes behind it, and
/// comes out. What RabbitMQ says of a queue's length is 0, too, where the queue has no answer within a quarter of a second
/// (`rabbit_quorum_queue:stat`), and so would the deletion say.
async fn is_empty(site: &Site<'_>, channel: &Channel, queue: &str) -> lapin::Result<bool> {
    tokio::time::sleep(ARRIVED).await;
    let number = site.now() + 1;
    let own = BasicProperties::default()
        .with_type(BEHIND.into())
        .with_message_id(number.to_string().as_str().into());
    channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), b"", own).await?;
    let end = Instant::now() + CONFIRM + ARRIVED;
    while Instant::now() < end {
        if site.behind.load(Ordering::SeqCst) == number {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}
