"""Takes the events of a source from RabbitMQ, and has the effect of each in PostgreSQL once. ../README.md says why it is as it is."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import aio_pika
import asyncpg

log = logging.getLogger("worker")

# Seconds. Pauses before something is tried again: the first, and the longest.
PAUSE = (1, 5)
# A statement, as the server ends it; one try, with everything in it; what is in hand at a SIGTERM.
STATEMENT, TRY, GRACE = 20, 30, 10
# A message that came so often without an answer has killed its workers. RabbitMQ 4 ends it by itself then, RabbitMQ 3 never.
DELIVERIES_MAX = 20


async def effect(tx, message):
    """Your part: what an event does. All of it through `tx`, so that it is there with the row in `handled`, or not at all."""
    if message.type != "payment.received":
        return  # a type that is not for us: done
    if not (message.content_type or "").startswith("application/json"):
        raise ValueError("not JSON")
    payment = json.loads(message.body)
    await tx.execute("INSERT INTO entries (account, amount) VALUES ($1, $2)", payment["account"], payment["amount"])


async def once(pool, message, reached):
    """One try: the effect and the row that says so, in one transaction. `reached` is set once the effect is."""
    async with asyncio.timeout(TRY), pool.acquire() as tx, tx.transaction():
        row = "INSERT INTO handled (message_id) VALUES ($1) ON CONFLICT DO NOTHING"
        first = await tx.execute(row, message.message_id) == "INSERT 0 1"
        reached.set()
        if first:
            await effect(tx, message)
        else:
            log.info("%s: was here before", message.message_id)


def name(error):
    """What is said of an error: its code, or its kind. Texts quote values."""
    code = getattr(error, "sqlstate", None)
    return f"SQLSTATE {code}" if code else type(error).__name__


async def handle(pool, max_tries, stopping, message):
    """Tries until it is done, or was its own fault too often; where the database is away it waits."""
    if not message.message_id or message.headers.get("x-delivery-count", 0) >= DELIVERIES_MAX:
        log.error("%s: no id, or delivered too often: to the dead letters", message.message_id)
        return await message.reject(requeue=False)
    failed, pause = 0, PAUSE[0]
    while True:
        reached = asyncio.Event()
        try:
            await once(pool, message, reached)
        except Exception as error:
            failed += reached.is_set()
            state = f"try {failed} of {max_tries}" if reached.is_set() else "waiting"
            log.error("%s: %s, %s", message.message_id, name(error), state)
        else:
            return await message.ack()
        if failed >= max_tries:
            return await message.reject(requeue=False)
        if await within(pause, stopping.wait()):
            return  # the end of the connection gives it back
        pause = min(2 * pause, PAUSE[1])


async def within(seconds, waiting):
    """Whether what is waited for came in time."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True


async def session(settings, pool, stopping):
    """From one connection to its end."""
    in_hand, lost = set(), asyncio.Event()

    async def take(message):
        task = asyncio.current_task()
        in_hand.add(task)
        try:
            await handle(pool, settings.max_tries, stopping, message)
        except aio_pika.exceptions.AMQPError:
            pass  # the answer: the connection is gone, and the message comes again
        finally:
            in_hand.discard(task)

    connection = await aio_pika.connect(settings.url, timeout=TRY)
    try:
        channel = await connection.channel()
        channel.close_callbacks.add(lambda *_: lost.set())
        # Of a consumer that the broker ends, since the queue is gone, the layer below tells.
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda _: lost.set())
        await channel.set_qos(prefetch_count=settings.prefetch)
        queue = await channel.get_queue(settings.queue)
        tag = await queue.consume(take)
        log.info("working")
        ends = [asyncio.ensure_future(each.wait()) for each in (stopping, lost)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if lost.is_set():
            raise ConnectionError("the connection or the queue is gone")
        await queue.cancel(tag)
        if in_hand and (await asyncio.wait(in_hand, timeout=GRACE))[1]:
            log.error("%s messages are not done and come again", len(in_hand))
    finally:
        for task in in_hand:
            task.cancel()  # what is not committed is rolled back
        await within(GRACE, connection.close())


def setting(name, default=None, read=str.strip):
    """What cannot be read is not shown: it may be a secret."""
    try:
        return read(os.environ.get(name, default))
    except (TypeError, ValueError):
        sys.exit(f"{name} is not set, or cannot be used")


def url(text):
    urlsplit(text).port  # raises where it cannot be read
    return text


def positive(text):
    if not 0 < int(text) < 65536:
        raise ValueError
    return int(text)


async def main():
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a lost connection is told here
    prefetch, max_tries = setting("PREFETCH", "10", positive), setting("MAX_TRIES", "5", positive)
    settings = SimpleNamespace(url=setting("AMQP_URL", read=url), queue=setting("QUEUE"), prefetch=prefetch, max_tries=max_tries)
    limits = {"min_size": 0, "max_size": prefetch, "timeout": GRACE, "command_timeout": TRY, "server_settings": {"statement_timeout": f"{STATEMENT}s"}}
    stopping, pause = asyncio.Event(), 0
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pool = await asyncpg.create_pool(setting("DATABASE_URL", read=url), **limits)
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            await session(settings, pool, stopping)
        except (OSError, aio_pika.exceptions.AMQPError) as error:
            pause = PAUSE[0] if time.monotonic() - begun > PAUSE[1] else min(2 * pause or PAUSE[0], PAUSE[1])
            log.error("RabbitMQ: %s %s; again in %s s", type(error).__name__, error, pause)
            await within(pause, stopping.wait())
    pool.terminate()


asyncio.run(main())
