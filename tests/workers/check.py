"""The workers of deploy/workers between a real gateway, RabbitMQ and PostgreSQL, killed and cut off in between.

Whatever happens, each event has its effect in the database once: an effect done twice is two entries with one amount, one lost
is an amount without an entry. Ends with `N passed, M failed`.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "common"))

import pika
from asking import until
from lines import Line
from servers import Gateway, Postgres
from services import RabbitMq

TREE = Path(__file__).resolve().parent.parent.parent
WORKERS = TREE / "deploy" / "workers"
SCHEMA = (WORKERS / "schema.sql").read_text()
EVENTS, KILLS, MAX_TRIES = 200, 6, 3
# At the inbox, where each event is some processes of its own.
INBOX_EVENTS, INBOX_KILLS, ATTEMPTS = 40, 4, 4
# Of what must be in no log: passwords, and words of bodies.
PASSWORD, CANARY = "a-password-of-the-servers", "a-word-of-a-body"
STOPPED_WITHIN = 5


class Account:
    """Counts the checks; a failed one is told at once."""

    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def check(self, what, found, wanted):
        with self.lock:
            if found == wanted:
                self.passed += 1
            else:
                self.failed += 1
                print(f"FAILED {what}: found {found!r}, wanted {wanted!r}", flush=True)


class Worker:
    """One worker's process, its log, its database, and what of its events has to be there."""

    def __init__(self, name, command, environment, parts):
        self.name, self.command = name, command
        self.account, self.gateway, self.line, self.database = parts["account"], parts["gateway"], parts["line"], parts["database"]
        self.broker, self.queue = parts.get("broker"), parts.get("broker") and f"webhooks.{name}"
        self.rng, self.log = random.Random(f"{parts['seed']} {name}"), parts["folder"] / f"{name}.log"
        self.environment = {"PATH": os.environ["PATH"], **environment}
        self.child, self.sent, self.amount, self.took = None, set(), 0, []
        self.log.touch()

    def start(self):
        before = self.told("working")
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until(f"{self.name} works", lambda: self.told("working") > before)

    def told(self, words):
        return self.log.read_text(errors="replace").count(words)

    def kill(self):
        """With all that it has started: nothing of it can still be done."""
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def terminate(self, what):
        begun = time.monotonic()
        self.child.terminate()
        try:
            code = self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            code = "none within a minute"
        took = time.monotonic() - begun
        self.check(f"SIGTERM {what}: the exit code", code, 0)
        self.check(f"SIGTERM {what}: ends within {STOPPED_WITHIN} s, after {took:.1f}", took < STOPPED_WITHIN, True)

    def check(self, what, found, wanted):
        self.account.check(f"{self.name}, {what}", found, wanted)

    def events(self, count, account=None):
        """New events, each with an amount of its own."""
        made = []
        for _ in range(count):
            self.amount += 1
            payer = account or f"a{self.amount % 20}"
            made.append(
                {"id": f"{self.name}-{self.amount}", "type": "payment.received", "account": payer, "amount": self.amount, "note": CANARY}
            )
            self.sent.add(self.amount)
        return made

    def send(self, count, **how):
        """Their amounts."""
        events = self.events(count, **how)
        self.gateway.send(self.name, events)
        return [event["amount"] for event in events]

    def done(self, amounts):
        return set(amounts) <= self.database.entries().keys()

    def until_done(self, what, amounts, seconds=30):
        until(f"{self.name}: {what}", lambda: self.done(amounts), seconds)

    def exactly(self, what):
        """Every event's effect is there once, and its row."""
        entries = self.database.entries()
        self.check(f"{what}: lost", sorted(self.sent - entries.keys()), [])
        self.check(f"{what}: too many", {amount: n for amount, n in entries.items() if n != 1 or amount not in self.sent}, {})
        self.check(f"{what}: rows in handled", self.database.handled(), len(self.sent))


class Broker:
    """RabbitMQ, as the check looks at it and writes to it."""

    def __init__(self, url):
        self.url = url

    @contextlib.contextmanager
    def channel(self):
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            yield connection.channel()

    def ready(self, queue):
        with self.channel() as channel:
            return channel.queue_declare(queue, passive=True).method.message_count

    def publish(self, queue, properties, body, times=1):
        with self.channel() as channel:
            channel.confirm_delivery()
            for _ in range(times):
                channel.basic_publish("", queue, body, properties)

    def give_back(self, queue, times):
        """As workers do that die of it: takes the first message, and gives it back."""
        with self.channel() as channel:
            for _ in range(times):
                until(f"a message in {queue}", lambda: self.took(channel, queue))

    @staticmethod
    def took(channel, queue):
        method, _, _ = channel.basic_get(queue)
        if method:
            channel.basic_reject(method.delivery_tag, requeue=True)
        return method


def killed_at_random(worker):
    """Killed again and again while it works, some of it done, some in hand."""
    events, kills = (EVENTS, KILLS) if worker.queue else (INBOX_EVENTS, INBOX_KILLS)
    worker.send(events)
    amid = 0
    for _ in range(kills):
        before = worker.database.handled()
        worker.start()
        until(f"{worker.name}: at work", lambda: worker.database.handled() > before)
        time.sleep(worker.rng.uniform(0, 0.15))
        worker.kill()
        amid += 0 < worker.database.handled() < events
    worker.check("kills that found it amid its work, of which some are wanted", amid >= kills // 2, True)
    worker.start()
    worker.until_done("everything after the kills", worker.sent, 60)
    worker.exactly(f"{kills} kills at random")


def killed_between_commit_and_ack(worker):
    """Its answers are lost on the way: for both servers that is a kill after the commit and before the ack."""
    time.sleep(0.5)  # the inbox is asked already
    known = worker.told("was here before")
    worker.line.lose()
    amounts = worker.send(1)
    worker.until_done("a commit without an ack", amounts)
    worker.kill()
    worker.line.heal()
    worker.start()
    until(f"{worker.name}: it comes again, and is known", lambda: worker.told("was here before") > known)
    worker.exactly("a kill between commit and ack")


def until_held_up(worker, effects):
    held_up = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    until(f"{worker.name}: {effects} effects wait", lambda: worker.database.ask(held_up)[0][0] == effects)


def killed_in_a_transaction(worker):
    """A lock holds the effect up when its worker is killed. The server notices only when the lock is gone; a new worker waits."""
    with worker.database.locked("held"):
        amounts = worker.send(1, account="held")
        until_held_up(worker, 1)
        worker.kill()
        worker.start()
        worker.check("in a transaction: nothing is there", worker.done(amounts), False)
    worker.until_done("what a killed worker had begun", amounts)
    worker.exactly("a kill in a transaction")


def terminated_at_work(worker):
    """A lock holds up all that is in hand at the SIGTERM, and lets it go: that is finished, and nothing else begun."""
    in_hand, begun, known = 10 if worker.queue else 1, worker.database.handled(), worker.told("was here before")
    with contextlib.ExitStack() as stack:
        stack.enter_context(worker.database.locked("held"))
        worker.send(in_hand + 5, account="held")
        until_held_up(worker, in_hand)
        release = threading.Timer(0.7, stack.close)
        release.start()
        worker.terminate("at work")
        release.join()
    done = worker.database.handled() - begun
    worker.check("SIGTERM: what was in hand is done", done, in_hand)
    if worker.queue:
        worker.check("SIGTERM: and acknowledged; the rest is in the queue", worker.broker.ready(worker.queue), 5)
    worker.start()
    worker.until_done("the rest after a SIGTERM", worker.sent)
    worker.exactly("a SIGTERM at work")
    worker.check("SIGTERM: nothing that was done came again", worker.told("was here before"), known)


def copies(worker):
    """One message several times, some of them at once, as after an outage of the broker."""
    (event,) = worker.events(1)
    known = worker.told("was here before")
    properties = pika.BasicProperties(
        message_id=worker.rng.randbytes(32).hex(), type=event["type"], content_type="application/json", delivery_mode=2,
        headers={"hookgate-possible-duplicate": True},
    )
    worker.broker.publish(worker.queue, properties, json.dumps(event), times=3)
    until(f"{worker.name}: two of three copies are known", lambda: worker.told("was here before") == known + 2)
    worker.exactly("three copies of a message")


def poison(worker):
    """It fails while others go on, ends in the dead letters, and is done once it is cured and put back."""
    worker.database.ask("DELETE FROM accounts WHERE id = 'missing'")
    amounts = worker.send(1, account="missing")
    until(f"{worker.name}: a first try", lambda: worker.told(f"try 1 of {MAX_TRIES}") == 1)
    worker.terminate("in a pause")
    worker.start()
    begun = time.monotonic()
    others = worker.send(20)
    worker.until_done("others beside poison", others)
    worker.check("poison: others are done before it is dead", worker.told(f"try {MAX_TRIES} of {MAX_TRIES}"), 0)
    until(f"{worker.name}: a last try", lambda: worker.told(f"try {MAX_TRIES} of {MAX_TRIES}") == 1)
    worker.check("poison: with pauses between its tries", time.monotonic() - begun > 2, True)
    until(f"{worker.name}: it is dead", lambda: len(letters(worker)) == 1)
    (letter,) = letters(worker)
    worker.check("poison: where and why", (letter["queue"], letter["reason"]), (worker.queue, "rejected"))
    worker.check("poison: no effect", worker.done(amounts), False)
    worker.database.ask("INSERT INTO accounts VALUES ('missing')")
    requeued(worker)
    worker.until_done("what was cured", amounts)
    worker.exactly("poison that was cured")


def deadly(worker):
    """A message that its workers die of ends in the dead letters unseen; nothing is wrong with it in truth, and put back it is done."""
    worker.terminate("without work")
    (event,) = worker.events(1)
    headers = {"hookgate-source": worker.name}
    properties = pika.BasicProperties(
        message_id=worker.rng.randbytes(32).hex(), type=event["type"], content_type="application/json", delivery_mode=2, headers=headers
    )
    worker.broker.publish(worker.queue, properties, json.dumps(event))
    worker.broker.give_back(worker.queue, 20)
    worker.broker.publish(worker.queue, pika.BasicProperties(headers=headers, delivery_mode=2), "without an id")
    worker.start()
    until(f"{worker.name}: two dead letters", lambda: len(letters(worker)) == 2)
    worker.check("deadly: no effect", worker.done([event["amount"]]), False)
    requeued(worker, "--id", properties.message_id)
    worker.until_done("what was delivered too often", [event["amount"]])
    worker.exactly("a message delivered too often")
    worker.check("a message without an id stays dead", [letter["id"] for letter in letters(worker)], [None])


ONE_CALL = threading.Lock()


def letters(worker):
    with ONE_CALL:
        return worker.gateway.run("dead", "list", "--source", worker.name)


def requeued(worker, *which):
    with ONE_CALL:
        worker.gateway.run("dead", "requeue", *(which or ("--source", worker.name)))


def poison_at_the_inbox(worker):
    """It waits while others go on, is poison after sink.max_attempts, and is done once it is cured and put back."""
    poisoned = lambda: worker.gateway.run("events", "list", "--source", worker.name, "--state", "poison")
    amounts = worker.send(1, account="missing")
    until(f"{worker.name}: a first attempt", lambda: worker.told("failed, attempt 1") == 1)
    others = worker.send(10)
    worker.until_done("others beside poison", others)
    worker.check("poison: others are done before it is given up", worker.told(f"failed, attempt {ATTEMPTS}"), 0)
    until(f"{worker.name}: a last attempt", lambda: worker.told(f"failed, attempt {ATTEMPTS}") == 1)
    until(f"{worker.name}: it is poison", lambda: len(poisoned()) == 1)
    worker.database.ask("INSERT INTO accounts VALUES ('missing')")
    worker.gateway.run("events", "requeue", "--source", worker.name)
    worker.until_done("what was cured", amounts)
    worker.exactly("poison that was cured")


def refused(worker):
    """A URL that cannot be read ends the start; in no case does it stand in the log, which is looked at in the end."""
    bad = {name: value.replace("127.0.0.1:", "127.0.0.1:x") for name, value in worker.environment.items() if name.endswith("_URL")}
    for name, value in bad.items():
        with worker.log.open("ab") as log:
            done = subprocess.run(worker.command, env={**worker.environment, name: value}, stdout=log, stderr=log, timeout=20)
        worker.check(f"a {name} that cannot be read: the exit code", done.returncode, 1)


BY_QUEUE = (
    refused, killed_at_random, killed_between_commit_and_ack, killed_in_a_transaction, copies, terminated_at_work, poison, deadly
)
BY_INBOX = (
    killed_at_random, killed_between_commit_and_ack, killed_in_a_transaction, terminated_at_work, poison_at_the_inbox
)


def own(worker):
    """What a worker goes through by itself, and how long each took."""
    for scenario in BY_QUEUE if worker.queue else BY_INBOX:
        begun = time.monotonic()
        scenario(worker)
        worker.took.append(f"{scenario.__name__} {time.monotonic() - begun:.1f} s")


def outages(workers, rabbitmq, postgres):
    """PostgreSQL is away for longer than all tries take, then RabbitMQ too; then their connections are cut."""
    tries = {worker.name: worker.told(f"try {MAX_TRIES} of") for worker in workers}
    postgres.stop()
    waiting = {worker.name: worker.told("again in") + worker.told("waiting") for worker in workers}
    for worker in workers:
        worker.send(5)
    for worker in workers:
        told = lambda worker=worker: worker.told("again in") + worker.told("waiting") - waiting[worker.name]
        # As often as all tries, each of its messages; the script has one at a time.
        until(f"{worker.name}: waits for PostgreSQL", lambda: told() >= MAX_TRIES * (5 if worker.queue else 1))
    with ThreadPoolExecutor() as threads:
        again = threads.submit(lambda: (rabbitmq.node.stop(), rabbitmq.start()))
        for worker in workers:
            worker.send(10)
        postgres.start()
        again.result()
    for worker in workers:
        worker.until_done("everything after the outages", worker.sent, 60)
        worker.exactly("outages of PostgreSQL and RabbitMQ")
        worker.check("outages: no event was at fault", worker.told(f"try {MAX_TRIES} of"), tries[worker.name])
        worker.line.cut()
        worker.send(5)
    for worker in workers:
        worker.until_done("everything after a cut", worker.sent)
        worker.exactly("a cut connection")


def at_queues(options, common, rabbitmq, postgres, kept):
    """The three at their queues."""
    queues, names = [], {
        "rust": [options.rust],
        "python": [sys.executable, str(WORKERS / "python" / "worker.py")],
        "node": ["node", str(options.node / "worker.mjs")],
    }
    gateway = kept(
        Gateway(options.hookgate, common["folder"] / "queues", names, 'kind = "rabbitmq"\nurl = { env = "WORKERS_AMQP" }', {"WORKERS_AMQP": rabbitmq.url})
    )
    for name, command in names.items():
        parts = {"gateway": gateway, "line": kept(Line(rabbitmq.port)), "broker": Broker(rabbitmq.url), **common}
        parts["database"] = postgres.database(name, SCHEMA, 0.08)
        environment = {
            "AMQP_URL": f"amqp://guest:{PASSWORD}@127.0.0.1:{parts['line'].port}/%2f",
            "DATABASE_URL": postgres.url(name),
            "QUEUE": f"webhooks.{name}",
            "MAX_TRIES": str(MAX_TRIES),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        queues.append(Worker(name, command, environment, parts))
    return queues


def at_inbox(options, common, postgres, kept):
    """The script at the inbox of a gateway of its own."""
    inbox = kept(Gateway(options.hookgate, common["folder"] / "inbox", ["inbox"], f'kind = "inbox"\nmax_attempts = {ATTEMPTS}', {}))
    parts = {"gateway": inbox, "line": kept(Line(inbox.admin)), "database": postgres.database("inbox", SCHEMA, 0.02), **common}
    environment = {
        "INBOX_URL": f"http://127.0.0.1:{parts['line'].port}/v1/inbox/inbox", "LEASE": "2s",
        "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "worker", "PGPASSWORD": PASSWORD, "PGDATABASE": "inbox",
    }
    return Worker("inbox", [str(WORKERS / "inbox.sh")], environment, parts)


def together(chosen, rabbitmq, postgres):
    """What befalls all, and their end."""
    begun = time.monotonic()
    outages(chosen, rabbitmq, postgres)
    print(f"outages {time.monotonic() - begun:.1f} s", flush=True)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda worker: worker.terminate("in the end"), chosen))
    for worker in chosen:
        log = worker.log.read_text(errors="replace")
        worker.check("secrets and words of bodies in the log", [word for word in (PASSWORD, CANARY) if word in log], [])
        if worker.queue:
            worker.check("left in the queue", worker.broker.ready(worker.queue), 0)


def scenarios(options, common, chosen, kept):
    """Each worker's own, side by side, as soon as its servers are there; then what befalls all."""
    wanted = lambda name: not options.only or name in options.only.split(",")
    with ThreadPoolExecutor(8) as threads:
        starting = threads.submit(lambda: kept(RabbitMq(common["folder"] / "rabbitmq", PASSWORD)))
        postgres = kept(Postgres(common["folder"] / "postgres", PASSWORD))
        chosen += [at_inbox(options, common, postgres, kept)] if wanted("inbox") else []
        jobs = [threads.submit(own, worker) for worker in chosen]
        rabbitmq = starting.result()
        queues = [worker for worker in at_queues(options, common, rabbitmq, postgres, kept) if wanted(worker.name)]
        chosen += queues
        jobs += [threads.submit(own, worker) for worker in queues]
        for job in jobs:
            job.result()
    together(chosen, rabbitmq, postgres)


def check_lock(account):
    """What is compiled here is what the lock file beside the Rust worker names."""
    packages = lambda path: {
        (each["name"], each["version"], each.get("checksum")) for each in tomllib.loads(path.read_text())["package"]
    }
    others = packages(WORKERS / "rust" / "Cargo.lock") - packages(TREE / "Cargo.lock")
    account.check("deploy/workers/rust/Cargo.lock: not in Cargo.lock", sorted(name for name, _, _ in others), ["webhook-worker"])


def options_of(arguments):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hookgate", required=True, type=os.path.abspath, help="the binary")
    options.add_argument("--rust", required=True, type=os.path.abspath, help="the Rust worker's binary")
    options.add_argument("--node", required=True, type=Path, help="the folder with the Node worker and its node_modules")
    options.add_argument("--seed", type=int, default=random.randrange(2**32), help="of a run that is to be repeated")
    options.add_argument("--only", default="", help="names of workers, with commas between them; default: all")
    return options.parse_args(arguments)


def main():
    options, account, begun = options_of(sys.argv[1:]), Account(), time.monotonic()
    print(f"seed {options.seed}", flush=True)
    check_lock(account)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o711)  # PostgreSQL runs as a user of its own
        common = {"account": account, "seed": options.seed, "folder": folder}
        kept = lambda thing: stack.enter_context(contextlib.closing(thing))
        chosen = []
        try:
            scenarios(options, common, chosen, kept)
        except Exception as error:
            account.check("no scenario ends early", f"{type(error).__name__}: {error}", None)
            traceback.print_exc(file=sys.stdout)
            for worker in chosen:
                print(f"-- log of {worker.name}, its end:\n{worker.log.read_text(errors='replace')[-2000:]}", flush=True)
        finally:
            for worker in chosen:
                if worker.child and worker.child.poll() is None:
                    worker.kill()
        for worker in chosen:
            again = worker.told("was here before")
            print(f"{worker.name:7} {len(worker.sent):4} events, {again:3} of them seen again when they were done; {', '.join(worker.took)}")
    print(f"{account.passed} passed, {account.failed} failed, after {time.monotonic() - begun:.0f} s")
    return 1 if account.failed or not account.passed else 0


if __name__ == "__main__":
    sys.exit(main())
