// A receiver as teams write it by hand, one process: proof by Stripe's SDK, SET NX in Redis, a persistent message,
// RabbitMQ's confirm, then 200. Settings come in the environment; `tests/bench/run` starts it.
import amqplib from 'amqplib';
import express from 'express';
import { Redis } from 'ioredis';
import Stripe from 'stripe';

const { PORT, REDIS_URL, AMQP_URL, QUEUE, BENCH_STRIPE_SECRET } = process.env;
const KEY_SECONDS = 7 * 86_400;

const { webhooks } = new Stripe('sk_test_unused');
const redis = new Redis(REDIS_URL);
const broker = await amqplib.connect(AMQP_URL);
broker.on('error', end);
broker.on('close', () => end(new Error('RabbitMQ closed the connection')));
const channel = await broker.createConfirmChannel();
await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });

function end(error) {
  console.error(error);
  process.exit(1);
}

function publish(event, body) {
  const message = { persistent: true, contentType: 'application/json', messageId: event.id, type: event.type };
  return new Promise((resolve, reject) => {
    channel.publish('', QUEUE, body, message, (error) => (error ? reject(error) : resolve()));
  });
}

async function receive(request, response) {
  let event;
  try {
    event = webhooks.constructEvent(request.body, request.headers['stripe-signature'], BENCH_STRIPE_SECRET);
  } catch {
    return response.status(400).send('signature invalid');
  }
  const key = `stripe:${event.id}`;
  if ((await redis.set(key, '1', 'EX', KEY_SECONDS, 'NX')) === null) {
    return response.send('duplicate');
  }
  try {
    await publish(event, request.body);
  } catch (error) {
    console.error(error);
    await redis.del(key);
    return response.status(503).send('try again');
  }
  return response.send('accepted');
}

const app = express();
app.disable('x-powered-by');
app.set('etag', false);
app.post('/in/stripe', express.raw({ type: () => true, limit: '1mb' }), receive);
const server = app.listen(Number(PORT), '127.0.0.1', 4096);
server.keepAliveTimeout = 75_000;
