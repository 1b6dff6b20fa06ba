// Takes the events of a source from RabbitMQ, and has the effect of each in PostgreSQL once. ../README.md says why it is as it is.

import { setMaxListeners } from "node:events";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

import amqp from "amqplib";
import pg from "pg";

// Milliseconds. Pauses before something is tried again: the first, and the longest.
const PAUSE = { first: 1_000, longest: 5_000 };
// A statement, as the server ends it; any answer of a server; what is in hand at a SIGTERM.
const [STATEMENT, ANSWER, GRACE] = [20_000, 30_000, 10_000];
// A message that came so often without an answer has killed its workers. RabbitMQ 4 ends it by itself then, RabbitMQ 3 never.
const DELIVERIES_MAX = 20;

/** Your part: what an event does. All of it through `client`, so that it is there with the row in `handled`, or not at all. */
async function effect(client, { properties, content }) {
  if (properties.type !== "payment.received") return; // a type that is not for us: done
  if (!properties.contentType?.startsWith("application/json")) throw new TypeError("not JSON");
  const { account, amount } = JSON.parse(content.toString("utf8"));
  await client.query("INSERT INTO entries (account, amount) VALUES ($1, $2)", [account, amount]);
}

/** One try: the effect and the row that says so, in one transaction. `tried.reached` tells that the effect was. */
async function once(pool, message, tried) {
  const client = await pool.connect();
  let failed;
  try {
    await client.query("BEGIN");
    const id = message.properties.messageId;
    const row = await client.query("INSERT INTO handled (message_id) VALUES ($1) ON CONFLICT DO NOTHING", [id]);
    tried.reached = true;
    if (row.rowCount === 1) await effect(client, message);
    else console.error(`${id}: was here before`);
    await client.query("COMMIT");
  } catch (error) {
    failed = error;
    throw error;
  } finally {
    // Closed rather than given back: that rolls back whatever state it is in.
    client.release(failed);
  }
}

/** What is said of an error: its code, or its kind. Texts quote values. */
const name = (error) => error.code ?? error.name;

/** Tries until it is done, or was its own fault too often; where the database is away it waits. */
async function handle({ pool, maxTries }, channel, ended, message) {
  const { messageId: id, headers } = message.properties;
  if (!id || headers["x-delivery-count"] >= DELIVERIES_MAX) {
    console.error(`${id}: no id, or delivered too often: to the dead letters`);
    return channel.reject(message, false);
  }
  for (let failed = 0, pause = PAUSE.first; ; pause = Math.min(2 * pause, PAUSE.longest)) {
    const tried = { reached: false };
    const error = await once(pool, message, tried).then(() => null, (error) => error);
    if (!error) return channel.ack(message);
    failed += Number(tried.reached);
    console.error(`${id}: ${name(error)}, ${tried.reached ? `try ${failed} of ${maxTries}` : "waiting"}`);
    if (failed >= maxTries) return channel.reject(message, false);
    await sleep(pause, null, { signal: ended }).catch(() => {});
    if (ended.aborted) return; // the end of the connection gives it back
  }
}

/** From one connection to its end. */
async function session(settings, stopping, connected) {
  const lost = new AbortController();
  const end = (error) => lost.abort(error ?? new Error("the connection is closed"));
  const ended = AbortSignal.any([stopping, lost.signal]);
  setMaxListeners(0, ended);
  const connection = await amqp.connect(settings.url, { timeout: ANSWER, keepAlive: true });
  connection.on("error", end).on("close", end);
  try {
    const channel = await connection.createChannel();
    channel.on("error", end).on("close", end);
    await channel.prefetch(settings.prefetch);
    const inHand = new Set();
    const { consumerTag } = await channel.consume(settings.queue, (message) => {
      if (message === null) return end(new Error("the queue is gone"));
      // An answer that fails needs no care: the connection is gone, and the message comes again.
      const done = handle(settings, channel, ended, message).catch(() => {}).finally(() => inHand.delete(done));
      inHand.add(done);
    });
    console.error("working");
    connected();
    await new Promise((resolve) => (ended.aborted ? resolve() : ended.addEventListener("abort", resolve)));
    lost.signal.throwIfAborted();
    await channel.cancel(consumerTag);
    await Promise.race([Promise.all(inHand), sleep(GRACE, null, { ref: false })]);
    if (inHand.size) console.error(`${inHand.size} messages are not done and come again`);
    await channel.close(); // behind every answer
  } finally {
    await connection.close().catch(() => {});
  }
}

function set(name, fallback, usable = Boolean) {
  const value = process.env[name] ?? fallback;
  if (!usable(value)) {
    console.error(`${name} is not set, or cannot be used`);
    process.exit(1);
  }
  return value;
}

const positive = (text) => Number.isInteger(Number(text)) && Number(text) > 0 && Number(text) < 65_536;
const prefetch = Number(set("PREFETCH", "10", positive));
const settings = {
  url: set("AMQP_URL", undefined, URL.canParse),
  queue: set("QUEUE"),
  prefetch,
  maxTries: Number(set("MAX_TRIES", "5", positive)),
  pool: new pg.Pool({
    connectionString: set("DATABASE_URL", undefined, URL.canParse),
    max: prefetch,
    connectionTimeoutMillis: ANSWER,
    statement_timeout: STATEMENT,
    query_timeout: ANSWER,
  }),
};
// A connection that breaks fails its query, or the next; without these it would end the process.
settings.pool.on("error", () => {}).on("connect", (client) => client.on("error", () => {}));

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => stop.abort());
stop.signal.addEventListener("abort", () => setTimeout(() => process.exit(1), 2 * GRACE).unref());
for (let pause = PAUSE.first; !stop.signal.aborted; pause = Math.min(2 * pause, PAUSE.longest)) {
  try {
    await session(settings, stop.signal, () => (pause = PAUSE.first / 2));
  } catch (error) {
    console.error(`RabbitMQ: ${error.message || error.code}; again in ${pause} ms`);
    await sleep(pause, null, { signal: stop.signal }).catch(() => {});
  }
}
await settings.pool.end();
