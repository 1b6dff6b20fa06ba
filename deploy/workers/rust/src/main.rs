//! Takes the events of a source from RabbitMQ, and has the effect of each in PostgreSQL once. ../README.md says why it is as it is.

use std::num::{NonZeroU16, NonZeroU32};
use std::{env, error::Error, str::FromStr, time::Duration};

use deadpool_postgres::{Manager, Pool};
use futures_util::StreamExt;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties, message::Delivery, options::*, uri::AMQPUri};
use serde::Deserialize;
use tokio::signal::{ctrl_c, unix};
use tokio::time::{sleep, timeout};
use tokio::{sync::watch, task::JoinSet};
use tokio_postgres::{Config, NoTls, Transaction};

/// Pauses before something is tried again: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// One try, with everything in it; a statement has two thirds of it.
const TRY: Duration = Duration::from_secs(30);
/// What is in hand at a SIGTERM has so long.
const GRACE: Duration = Duration::from_secs(10);
/// A message that came so often without an answer has killed its workers. RabbitMQ 4 ends it by itself then, RabbitMQ 3 never.
const DELIVERIES_MAX: i64 = 20;

type Failed = Box<dyn Error + Send + Sync>;
type Stopping = watch::Receiver<bool>;

#[derive(Deserialize)]
struct Payment {
    account: String,
    amount: i64,
}

/// Your part: what an event does. All of it through `tx`, so that it is there with the row in `handled`, or not at all.
async fn effect(tx: &Transaction<'_>, message: &Delivery) -> Result<(), Failed> {
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    if text(message.properties.kind()) != "payment.received" {
        return Ok(()); // a type that is not for us: done
    }
    if !text(message.properties.content_type()).starts_with("application/json") {
        return Err("not JSON".into());
    }
    let payment: Payment = serde_json::from_slice(&message.data)?;
    let entry = "INSERT INTO entries (account, amount) VALUES ($1, $2)";
    tx.execute(entry, &[&payment.account, &payment.amount]).await?;
    Ok(())
}

/// One try: the effect and the row that says so, in one transaction. `reached` tells that the effect was.
async fn once(pool: &Pool, id: &str, message: &Delivery, reached: &mut bool) -> Result<(), Failed> {
    let mut client = pool.get().await?;
    let tx = client.transaction().await?;
    let row = "INSERT INTO handled (message_id) VALUES ($1) ON CONFLICT DO NOTHING";
    let first = tx.execute(row, &[&id]).await? == 1;
    *reached = true;
    if first {
        effect(&tx, message).await?;
    } else {
        eprintln!("{id}: was here before");
    }
    Ok(tx.commit().await?)
}

/// Tries until it is done, or was its own fault too often; where the database is away it waits. An answer that fails needs no
/// care: the connection is gone, and the message comes again.
async fn handle(
    pool: Pool,
    message: Delivery,
    max_tries: u32,
    mut stopping: Stopping,
) -> lapin::Result<bool> {
    let dead = BasicRejectOptions { requeue: false };
    let properties = &message.properties;
    let count = properties.headers().as_ref().and_then(|all| all.inner().get("x-delivery-count"));
    let deadly = matches!(count, Some(AMQPValue::LongLongInt(count)) if *count >= DELIVERIES_MAX);
    let Some(id) = properties.message_id().as_ref().filter(|_| !deadly) else {
        eprintln!("{:?}: no id, or delivered too often: to the dead letters", properties.message_id());
        return message.reject(dead).await;
    };
    let (mut failed, mut pause) = (0, PAUSE.0);
    loop {
        let mut reached = false;
        let why = match timeout(TRY, once(&pool, id.as_str(), &message, &mut reached)).await {
            Ok(Ok(())) => return message.ack(BasicAckOptions::default()).await,
            Ok(Err(error)) => name(error.as_ref()),
            Err(_) => "no end in time".to_owned(),
        };
        failed += u32::from(reached);
        let state = if reached { format!("try {failed} of {max_tries}") } else { "waiting".to_owned() };
        eprintln!("{id}: {why}, {state}");
        if failed >= max_tries {
            return message.reject(dead).await;
        }
        tokio::select! {
            () = sleep(pause) => pause = PAUSE.1.min(pause * 2),
            // Its end of the connection gives it back.
            () = stop(&mut stopping) => return Ok(false),
        }
    }
}

async fn stop(stopping: &mut Stopping) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// What is said of an error. Of the database's its code alone: texts quote values.
fn name(error: &(dyn Error + Send + Sync + 'static)) -> String {
    match error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code) {
        Some(code) => format!("SQLSTATE {}", code.code()),
        None if error.is::<serde_json::Error>() => "the body is not as expected".to_owned(),
        None => error.to_string(),
    }
}

/// From one connection to its end.
async fn session(settings: &Settings, stopping: &mut Stopping, pause: &mut Duration) -> Result<(), Failed> {
    let connecting = Connection::connect_uri(settings.url.clone(), ConnectionProperties::default());
    let connection = timeout(TRY, connecting).await??;
    let channel = connection.create_channel().await?;
    channel.basic_qos(settings.prefetch.get(), BasicQosOptions::default()).await?;
    let (queue, options) = (settings.queue.as_str().into(), BasicConsumeOptions::default());
    let mut messages = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
    eprintln!("working");
    *pause = PAUSE.0;
    let mut in_hand = JoinSet::new(); // ends with a lost connection: what is not committed then is rolled back
    loop {
        tokio::select! {
            next = messages.next() => {
                let message = next.ok_or("the queue is gone")??;
                in_hand.spawn(handle(settings.pool.clone(), message, settings.max_tries.get(), stopping.clone()));
            }
            Some(done) = in_hand.join_next() => drop(done.map_err(|_| "a handler panicked")?),
            () = stop(stopping) => break,
        }
    }
    channel.basic_cancel(messages.tag(), BasicCancelOptions::default()).await?;
    if timeout(GRACE, async { while in_hand.join_next().await.is_some() {} }).await.is_err() {
        eprintln!("{} messages are not done and come again", in_hand.len());
    }
    Ok(connection.close(200, "OK".into()).await?)
}

struct Settings {
    url: AMQPUri,
    queue: String,
    prefetch: NonZeroU16,
    max_tries: NonZeroU32,
    pool: Pool,
}

fn set<T: FromStr>(name: &str, default: Option<&str>) -> Result<T, String> {
    let value = env::var_os(name).and_then(|value| value.into_string().ok()).or(default.map(str::to_owned));
    value.and_then(|value| value.parse().ok()).ok_or(format!("{name} is not set, or cannot be used"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let (prefetch, max_tries): (NonZeroU16, _) = (set("PREFETCH", Some("10"))?, set("MAX_TRIES", Some("5"))?);
    let mut database: Config = set("DATABASE_URL", None)?;
    database.options("-c statement_timeout=20s").connect_timeout(GRACE).tcp_user_timeout(TRY);
    let pool = Pool::builder(Manager::new(database, NoTls)).max_size(prefetch.get().into()).build()?;
    let (url, queue) = (set("AMQP_URL", None)?, set("QUEUE", None)?);
    let settings = Settings { url, queue, prefetch, max_tries, pool };
    let (stopper, mut stopping) = watch::channel(false);
    let mut terminated = unix::signal(unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminated.recv() => {} _ = ctrl_c() => {} }
        stopper.send(true)
    });
    let mut pause = PAUSE.0;
    while !*stopping.borrow() {
        if let Err(error) = session(&settings, &mut stopping, &mut pause).await {
            eprintln!("RabbitMQ: {error}; again in {pause:?}");
            tokio::select! { () = sleep(pause) => {} () = stop(&mut stopping) => {} }
            pause = PAUSE.1.min(pause * 2);
        }
    }
    Ok(())
}
