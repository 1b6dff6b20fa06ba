//! The broker's limit: lapin alone, persistent messages to a quorum queue, a number of them in flight.
//!
//! What a gateway reaches of this program's rate is what its own work leaves of the broker. It is given a body and
//! nothing to verify, keep or claim. Prints one line of JSON; deletes its queue. `--delete` and `--count` do nothing but
//! that with a queue: so `tests/bench/run` clears the broker between contestants, and looks at what they published.
#![forbid(unsafe_code)]

#[path = "histogram.rs"]
mod histogram;

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hookgate::clock::{Clock, System};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use serde_json::json;

use histogram::Histogram;

const PERSISTENT: u8 = 2;
/// What binds the queue to a topic exchange, and what is published there.
const BINDING: &str = "stripe.#";
const ROUTING_KEY: &str = "stripe.payment_intent.succeeded";
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes to a quorum queue as fast as the broker confirms.
#[derive(Debug, Parser)]
#[command(name = "publisher", version)]
struct Options {
    /// Where the broker is: amqp://user:password@127.0.0.1:PORT/%2f
    #[arg(long)]
    url: String,
    /// The quorum queue; declared, and deleted at the end
    #[arg(long, default_value = "bench.publisher")]
    queue: String,
    /// A topic exchange to publish through, as a gateway does, bound to the queue by `stripe.#`; declared, and deleted at
    /// the end. Without it messages go to the queue by its name, which spares the broker the routing
    #[arg(long)]
    exchange: Option<String>,
    /// Messages published and not confirmed yet
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    in_flight: u32,
    /// Measured seconds
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Seconds of load before the measurement begins
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1500)]
    body_bytes: usize,
    /// Deletes the queue and does nothing else
    #[arg(long)]
    delete: bool,
    /// Prints how many messages wait in the queue and does nothing else
    #[arg(long, conflicts_with = "delete")]
    count: bool,
}

/// What came of it.
struct Outcome {
    latency: Histogram,
    seconds: f64,
    confirmed: u64,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let connection = Connection::connect(&options.url, ConnectionProperties::default());
    let connection = connection.await.context("connecting to the broker")?;
    let channel = connection.create_channel().await?;
    if options.count {
        println!("{}", count(&channel, &options.queue).await?);
        return Ok(connection.close(200, "done".into()).await?);
    }
    if !options.delete {
        declare(&channel, &options.queue).await?;
        if let Some(exchange) = &options.exchange {
            bind(&channel, exchange, &options.queue).await?;
        }
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let outcome = publish(&channel, &options).await?;
        print(&options, &outcome);
    }
    if let Some(exchange) = &options.exchange {
        channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await?;
    }
    channel.queue_delete(options.queue.as_str().into(), QueueDeleteOptions::default()).await?;
    Ok(connection.close(200, "done".into()).await?)
}

async fn declare(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, arguments).await.context("declaring the queue")?;
    Ok(())
}

async fn bind(channel: &Channel, exchange: &str, queue: &str) -> anyhow::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
    channel.exchange_declare(exchange.into(), kind, options, none.clone()).await?;
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(queue.into(), exchange.into(), BINDING.into(), options, none).await;
    bound.context("binding the queue")
}

async fn count(channel: &Channel, queue: &str) -> anyhow::Result<u32> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
    Ok(declared.context("looking at the queue")?.message_count())
}

/// Keeps `in_flight` messages out until the time is over, then waits for the last confirms.
async fn publish(channel: &Channel, options: &Options) -> anyhow::Result<Outcome> {
    let clock = System::new();
    let start = clock.monotonic();
    let measure = start + Duration::try_from_secs_f64(options.warmup)?;
    let end = measure + Duration::try_from_secs_f64(options.duration)?;
    let body = vec![b'x'; options.body_bytes];
    let mut outcome = Outcome { latency: Histogram::new(), seconds: 0.0, confirmed: 0 };
    let mut out = FuturesUnordered::new();
    let route = match &options.exchange {
        Some(exchange) => (exchange.as_str(), ROUTING_KEY),
        None => ("", options.queue.as_str()),
    };
    let mut number = 0_u64;
    loop {
        while out.len() < options.in_flight as usize && clock.monotonic() < end {
            out.push(one(channel, &clock, route, &body, number));
            number += 1;
        }
        let next = tokio::time::timeout(CONFIRM_TIMEOUT, out.next()).await;
        let Some(sent) = next.context("no confirm within 30 s")?.transpose()? else { break };
        let now = clock.monotonic();
        outcome.confirmed += 1;
        if now >= measure && now < end {
            outcome.latency.record((now - sent).as_nanos() as u64);
        }
    }
    outcome.seconds = (end - measure).as_secs_f64();
    Ok(outcome)
}

/// Publishes a message and waits for its confirm; returns when it was handed over.
async fn one(
    channel: &Channel,
    clock: &System,
    (exchange, key): (&str, &str),
    body: &[u8],
    number: u64,
) -> anyhow::Result<Duration> {
    let sent = clock.monotonic();
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(format!("{number:064x}").into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
    match confirm.await? {
        Confirmation::Ack(None) => Ok(sent),
        other => anyhow::bail!("not confirmed: {other:?}"),
    }
}

fn print(options: &Options, outcome: &Outcome) {
    let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
    let quantile = |share: f64| micros(outcome.latency.quantile(share));
    println!(
        "{}",
        json!({
            "rps": (outcome.latency.count() as f64 / outcome.seconds * 10.0).round() / 10.0,
            "p50_us": quantile(0.5),
            "p90_us": quantile(0.9),
            "p99_us": quantile(0.99),
            "p999_us": quantile(0.999),
            "max_us": micros(outcome.latency.max()),
            "answered": outcome.confirmed,
            "connections": options.in_flight,
        })
    );
}
