"""What one, two and three replicas take on this machine, which all of them share with HAProxy, RabbitMQ, Redis and the load generator."""

import contextlib
import json
import subprocess
import time
from statistics import median

import meter
import pika
from cluster import Cluster
from replicas import FLEETS, SECRET, Replicas
from report import about, table
from stores import Front, Pair, Services

SIZES = (0, 1, 2, 3)  # 0: one, without HAProxy in front
SECONDS, WARMUP, CONNECTIONS, BYTES, ROUNDS = 3, 1, 64, 1500, 2
PARTS = ("replicas", "RabbitMQ", "Redis", "HAProxy", "generator")


class Cell:
    """One fleet of so many replicas, loaded."""

    def __init__(self, options, folder, shared, fleet, size):
        self.options, self.folder, self.fleet, self.size = options, folder, fleet, size
        self.cluster, self.pair, self.services = shared

    def measure(self):
        self.folder.mkdir()
        with contextlib.ExitStack() as stack:
            kept = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
            replicas = kept(Replicas(self.options.hookgate, self.folder / "replicas", self.services, {self.fleet: max(1, self.size)}))
            front = kept(Front(self.folder / "front", replicas.addresses())) if self.size else None
            port = front.ports[self.fleet] if front else replicas.all()[0].ingress
            self.purge()
            time.sleep(3 if front else 1)  # HAProxy has looked at all
            roots = {
                "replicas": [each.process.child.pid for each in replicas.all()],
                "RabbitMQ": [node.node.child.pid for node in self.cluster.nodes.values()],
                "Redis": [each.process.child.pid for each in self.pair.nodes] + [each.child.pid for each in self.pair.sentinels],
                "HAProxy": [self.services.process.child.pid] + ([front.process.child.pid] if front else []),
            }
            before, begun = self.cpu(roots), time.monotonic()
            told = self.generate(port)
            took, after = time.monotonic() - begun, self.cpu(roots)
            shares = {part: (after[part] - before[part]) / took / 1e4 for part in roots}
            shares["generator"] = told["cpu_us_per_answer"] * told["answered"] / took / 1e4
            memory = sum(meter.memory_kib(pid, "VmHWM") for pid in roots["replicas"]) / 1024
            return {
                "rps": told["rps"], "p50": told["p50_us"] / 1e3, "p99": told["p99_us"] / 1e3, "statuses": told["statuses"], "memory": memory,
                "shares": shares, "drain": self.drain(replicas) if self.fleet == "journal" else None,
            }  # fmt: skip

    def cpu(self, roots):
        return {part: sum(map(meter.cpu_micros, pids)) for part, pids in roots.items()}

    def generate(self, port):
        command = [
            str(self.options.throughput), "--url", f"http://127.0.0.1:{port}/in/{self.fleet}", "--secret", SECRET, "--body-bytes", str(BYTES),
            "--connections", str(CONNECTIONS), "--duration", str(SECONDS), "--warmup", str(WARMUP), "--timeout", "10",
        ]  # fmt: skip
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=SECONDS + 60).stdout
        return json.loads(output.splitlines()[-1])

    def drain(self, replicas):
        """The load is over: events a second that all of them hand over."""
        pending = lambda: sum(each.metric("hookgate_relay_pending") for each in replicas.all())  # noqa: E731
        first, begun = pending(), time.monotonic()
        while pending() and time.monotonic() < begun + 60:
            time.sleep(0.1)
        return (first - pending()) / (time.monotonic() - begun)

    def purge(self):
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.services.amqp_url))) as connection:
            connection.channel().queue_purge(f"webhooks.{self.fleet}")


def throughput(options, folder):
    """The table of all cells, medians of the rounds."""
    found = {}
    with contextlib.ExitStack() as stack:
        kept = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        cluster, pair = kept(Cluster(folder / "rabbitmq", lines=False)), kept(Pair(folder / "redis"))
        shared = cluster, pair, kept(Services(folder / "services", cluster, pair))
        for number in range(1, ROUNDS + 1):
            for fleet in FLEETS:
                for size in SIZES if number % 2 else SIZES[::-1]:
                    cell = Cell(options, folder / f"{fleet}-{size}-{number}", shared, fleet, size).measure()
                    found.setdefault((fleet, size), []).append(cell)
                    print(f"{time.monotonic() - options.begun:6.1f} s  {fleet}, {size or 'one without HAProxy'}: {cell}", flush=True)
    text = tables(found)
    print(text)
    return text


def tables(found):
    rows = []
    for (fleet, size), cells in found.items():
        middle = lambda key: median(cell[key] for cell in cells)  # noqa: E731
        one = median(cell["rps"] for cell in found[fleet, 1])
        other = {status for cell in cells for status in cell["statuses"] if not status.startswith("2")}
        rows.append([
            f"`{fleet}`", size or "1, no HAProxy", f"{middle('rps'):,.0f}", f"{middle('rps') / one:.2f}", f"{middle('p50'):.1f} / {middle('p99'):.1f}",
            f"{middle('drain'):,.0f}" if fleet == "journal" else "–", f"{middle('memory'):.0f}",
            " / ".join(f"{median(cell['shares'][part] for cell in cells):.0f}" for part in PARTS), ", ".join(sorted(other)) or "–",
        ])  # fmt: skip
    return (
        f"{about('.')}. {CONNECTIONS} connections in a closed loop, {BYTES} bytes, {ROUNDS} rounds of {SECONDS} s after {WARMUP} s of warm-up, medians.\n\n"
        + table(["mode", "replicas", "2xx/s", "of one", "p50 / p99 ms", "handed over/s once the load was over", "memory of all replicas, most MiB",
                 f"% of a core: {' / '.join(PARTS)}", "other answers"], rows)  # fmt: skip
    )
