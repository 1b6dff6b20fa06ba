"""A receiver as teams write it by hand: proof by Stripe's SDK, SET NX in Redis, a persistent message, RabbitMQ's
confirm, then 200. Settings come in the environment; `tests/bench/run` starts it under uvicorn with two workers."""

import logging
import os
from contextlib import asynccontextmanager

import aio_pika
import stripe
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

QUEUE = os.environ["QUEUE"]
SECRET = os.environ["BENCH_STRIPE_SECRET"]
KEY_SECONDS = 7 * 86_400


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.redis = Redis.from_url(os.environ["REDIS_URL"], max_connections=1_000)
    async with await aio_pika.connect_robust(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        app.state.exchange = channel.default_exchange
        yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/in/stripe")
async def receive(request: Request) -> Response:
    body = await request.body()
    try:
        event = stripe.Webhook.construct_event(body, request.headers["stripe-signature"], SECRET)
    except (KeyError, ValueError, stripe.SignatureVerificationError):
        return Response("signature invalid", 400)
    redis, key = app.state.redis, f"stripe:{event.id}"
    if not await redis.set(key, "1", nx=True, ex=KEY_SECONDS):
        return Response("duplicate")
    message = aio_pika.Message(
        body,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/json",
        message_id=event.id,
        type=event.type,
    )
    try:
        await app.state.exchange.publish(message, routing_key=QUEUE, timeout=10)
    except Exception:
        logging.exception("not published")
        await redis.delete(key)
        return Response("try again", 503)
    return Response("accepted")
