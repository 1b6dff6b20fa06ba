"""Replicas of the gateway, in fleets: one whose 2xx waits for a journal each, one whose 2xx waits for RabbitMQ's confirm."""

import re
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from asking import total, until
from services import Process, free_ports

SECRET = "whsec_0123456789abcdef0123456789abcdef"
FLEETS = ("journal", "confirm")


class Replica:
    """One gateway. Its source has the name of its fleet."""

    def __init__(self, hookgate, folder, fleet, services):
        folder.mkdir()
        self.hookgate, self.folder, self.fleet = hookgate, folder, fleet
        self.ingress, self.admin = free_ports(2)
        journal = f'dir = "{folder}/journal"' if fleet == "journal" else 'ack = "confirm"'
        (folder / "hookgate.toml").write_text(
            f'[ingress]\nlisten = "127.0.0.1:{self.ingress}"\ntrusted_proxies = ["127.0.0.1/32"]\n'
            f'[admin]\nlisten = "127.0.0.1:{self.admin}"\n[journal]\n{journal}\n'
            '[dedup]\nbackend = "redis"\nurl = { env = "REDIS_URL" }\n'
            '[sink]\nkind = "rabbitmq"\nurl = { env = "AMQP_URL" }\nconfirm_timeout = "5s"\n'
            f'[sources.{fleet}]\nprovider = "stripe"\nschema = false\nsecrets = [{{ env = "SHOP_SECRET", label = "live" }}]\n'
        )
        self.variables = {"SHOP_SECRET": SECRET, "REDIS_URL": services.redis_url, "AMQP_URL": services.amqp_url}
        self.start()

    def start(self):
        command = [str(self.hookgate), "serve", "--config", str(self.folder / "hookgate.toml")]
        self.process = Process("hookgate", command, self.folder / "log", self.admin, self.variables)

    def get(self, path):
        """Status and body; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self):
        """Nothing is away, seen from here."""
        return self.get("/readyz")[1].startswith("ready")

    def metric(self, name, **labels):
        return total(self.get("/metrics")[1], name, **labels)

    def left(self):
        """Events that it has not handed over, and is not told that another did."""
        said = self.get("/metrics")[1]
        states = re.findall(r"^hookgate_relay_(pending|parked|unroutable|held|poison)\{.*?\} (\S+)$", said, re.M)
        return {state: int(float(count)) for state, count in states if float(count)} if said else {"silent": 1}

    def kill(self):
        self.process.kill()

    def terminate(self):
        """As a service manager does: how long it took, and its exit code."""
        begun = time.monotonic()
        self.process.signal(signal.SIGTERM)
        code = self.process.child.wait(30)
        return time.monotonic() - begun, code

    def close(self):
        self.process.stop()


class Replicas:
    """All fleets; `sizes`: how many replicas in each."""

    def __init__(self, hookgate, folder, services, sizes):
        folder.mkdir()
        self.fleets = {}

        def start(fleet, number):
            self.fleets[fleet].append(Replica(hookgate, folder / f"{fleet}-{number}", fleet, services))

        try:
            with ThreadPoolExecutor(4) as threads:
                jobs = []
                for fleet, size in sizes.items():
                    self.fleets[fleet] = []
                    jobs += [threads.submit(start, fleet, number) for number in range(1, size + 1)]
                for job in jobs:
                    job.result()
            until("all replicas are ready", lambda: all(each.is_ready() for each in self.all()), 60)
        except BaseException:
            self.close()
            raise

    def all(self):
        return [each for fleet in self.fleets.values() for each in fleet]

    def addresses(self):
        return {fleet: [(each.ingress, each.admin) for each in replicas] for fleet, replicas in self.fleets.items()}

    def until_ready(self, seconds=60):
        until("all replicas are ready", lambda: all(each.is_ready() for each in self.all()), seconds)

    def until_settled(self, seconds=120):
        """Nothing waits in any journal."""
        until("every journal is handed over", lambda: not any(each.left() for each in self.fleets.get("journal", [])), seconds)

    def close(self):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda each: each.close(), self.all()))
