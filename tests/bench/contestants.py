"""Who is measured: how each is started on free loopback ports, with which services, and ended by its id."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "common"))
from services import Process, RabbitMq, free_ports  # noqa: E402

SECRET = "whsec_bench_0123456789abcdef"
EMBEDDED, JOURNAL, CONFIRM = "embedded", "journal", "confirm"
SCHEMA = "embedded+schema"
GATEWAYS = (EMBEDDED, SCHEMA, JOURNAL, CONFIRM)
PEERS = ("express", "fastapi")
SERVERS = ("bare", *GATEWAYS, *PEERS)
# The publisher: messages in flight, and the topic exchange that it publishes through, if any.
LAPIN = {
    "lapin-64": (64, None),
    "lapin-1000": (1000, None),
    "lapin-64-topic": (64, "bench.topic"),
    "lapin-1000-topic": (1000, "bench.topic"),
}
WITH_SERVICES = (JOURNAL, CONFIRM, *PEERS, *LAPIN)
# Where the messages of each come to lie.
QUEUES = {JOURNAL: "webhooks.stripe", CONFIRM: "webhooks.stripe", "express": "bench.express", "fastapi": "bench.fastapi"}
READY_SECONDS = 60

SERVICES_TOML = """[dedup]
backend = "redis"
url = {{ env = "REDIS_URL" }}
[sink]
kind = "rabbitmq"
url = {{ env = "AMQP_URL" }}
"""
TOML = """[ingress]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[journal]
dir = "{folder}/journal"
bytes_max = "{journal_max}"
ack = "{ack}"
{services}
"""
SOURCE_TOML = """[sources.{name}]
provider = "stripe"
schema = {schema}
secrets = [{{ env = "BENCH_STRIPE_SECRET", label = "bench" }}]
"""


@dataclass(frozen=True)
class Shape:
    """What a gateway's configuration differs in. Several sources have numbers behind the name of the only one."""

    sources: int = 1
    journal_max: str = "10GiB"

    def names(self):
        return ["stripe"] if self.sources == 1 else [f"stripe{number}" for number in range(self.sources)]


class Services:
    """A private Redis without a file and a private RabbitMQ, started once for all."""

    def __init__(self, folder, publisher):
        self.publisher = publisher
        (port,) = free_ports(1)
        self.redis_port = port
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
        self.redis = Process("Redis", [*command, "--appendonly", "no"], folder / "redis.log", port)
        try:
            self.rabbitmq = RabbitMq(folder / "rabbitmq")
        except BaseException:
            self.redis.stop()
            raise
        self.amqp_url = self.rabbitmq.url

    def environment(self):
        return {"REDIS_URL": self.redis_url, "AMQP_URL": self.amqp_url}

    def pids(self):
        return [self.redis.child.pid, self.rabbitmq.node.child.pid]

    def clear(self):
        """Forgets all keys and all messages."""
        with socket.create_connection(("127.0.0.1", self.redis_port), 10) as redis:
            redis.sendall(b"FLUSHALL\r\n")
            answer = redis.recv(64)
        if not answer.startswith(b"+OK"):
            raise SystemExit(f"Redis does not clear its keys: {answer!r}")
        for queue in {"bench.publisher", *QUEUES.values()}:
            subprocess.run(
                [self.publisher, "--url", self.amqp_url, "--queue", queue, "--delete"], check=True, timeout=60
            )

    def messages(self, name):
        """How many messages the contestant's queue holds."""
        command = [self.publisher, "--url", self.amqp_url, "--queue", QUEUES[name], "--count"]
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)

    def close(self):
        self.redis.stop()
        self.rabbitmq.close()


class Server:
    """A contestant that takes requests, in a folder of its own."""

    def __init__(self, name, folder, plan, services=None, preload=None, shape=Shape()):
        self.folder, self.shape = folder, shape
        self.port, self.admin = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}/in/stripe"
        environment = {"BENCH_STRIPE_SECRET": SECRET, **(preload or {})}
        if name in WITH_SERVICES:
            environment.update(services.environment(), QUEUE=QUEUES[name], PORT=str(self.port))
        command = self.command(name, plan)
        self.process = Process(name, command, folder / "log", self.port, environment)
        self.pid = self.process.child.pid
        try:
            self.wait_until_ready(f"http://127.0.0.1:{self.admin}/readyz" if name in GATEWAYS else self.url)
        except BaseException:
            self.stop()
            raise

    def command(self, name, plan):
        if name == "bare":
            return [str(plan.release / "examples/bare"), f"127.0.0.1:{self.port}", str(plan.bare_workers)]
        if name == "express":
            return ["node", str(plan.peers / "express.mjs")]
        if name == "fastapi":
            uvicorn = [str(plan.peers / "python/bin/python"), "-m", "uvicorn", "fastapi_receiver:app", "--app-dir"]
            flags = ["--workers", "2", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
            where = ["--host", "127.0.0.1", "--port", str(self.port), "--timeout-keep-alive", "75"]
            # Busy is not dead: no worker is replaced for answering its parent late.
            patience = ["--timeout-worker-healthcheck", "120", "--backlog", "4096", "--log-level", "warning"]
            return [*uvicorn, str(HERE / "peers"), *flags, *where, *patience]
        config = self.folder / "hookgate.toml"
        text = TOML.format(
            port=self.port,
            admin=self.admin,
            folder=self.folder,
            journal_max=self.shape.journal_max,
            ack="confirm" if name == CONFIRM else "journal",
            services=SERVICES_TOML.format() if name in WITH_SERVICES else "",
        )
        schema = "true" if name == SCHEMA else "false"
        config.write_text(text + "".join(SOURCE_TOML.format(name=each, schema=schema) for each in self.shape.names()))
        return [*plan.wrapper, str(plan.hookgate), "serve", "--config", str(config)]

    def wait_until_ready(self, url):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except urllib.error.HTTPError as answer:
                if answer.code in (404, 405):  # of one that takes POST alone
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"{url} is not ready after {READY_SECONDS} s; the server's log:\n{self.log()}")

    def metrics(self):
        """The gateway's samples, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def end(self, seconds):
        """In good order."""
        os.killpg(self.pid, signal.SIGTERM)
        self.process.child.wait(seconds)

    def stop(self):
        """At once: its folder goes too, and a backlog would be relayed first."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.child.wait(20)
