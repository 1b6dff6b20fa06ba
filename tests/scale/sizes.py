"""What an event costs at a rate far from the limit: processor time, disk, memory, bytes on each network. A page on sizing stands on it
(deploy/SIZING.md)."""

import contextlib
import json
import subprocess
import time

import meter
from cluster import Cluster
from asking import until
from replicas import SECRET, Replica, Replicas
from report import about, table
from services import free_ports
from stores import Front, Pair, Services, asked

EVENTS, RATE, BYTES = 20_000, 1_000, 1_500
WAYS = {"alone": "alone", "journal": "`journal`, Redis and three RabbitMQ nodes", "confirm": "`confirm`, the same"}


class Alone(Replica):
    """A gateway with its embedded defaults: its workers come to the inbox."""

    def __init__(self, hookgate, folder):
        folder.mkdir()
        self.hookgate, self.folder, self.fleet, self.variables = hookgate, folder, "alone", {"SHOP_SECRET": SECRET}
        self.ingress, self.admin = free_ports(2)
        (folder / "hookgate.toml").write_text(
            f'[ingress]\nlisten = "127.0.0.1:{self.ingress}"\n[admin]\nlisten = "127.0.0.1:{self.admin}"\n[journal]\ndir = "{folder}/journal"\n'
            '[sources.alone]\nprovider = "stripe"\nschema = false\nsecrets = [{ env = "SHOP_SECRET", label = "live" }]\n'
        )
        self.start()


def on_disk(folder):
    """Bytes that files take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


class Reader:
    """Figures of all parts, so far."""

    def __init__(self, gateway, shared=None, front=None):
        self.gateway, self.front = gateway, front
        self.cluster, self.pair, self.services = shared or (None, None, None)

    def read(self):
        cpu = {"gateway": meter.cpu_micros(self.gateway.process.child.pid)}
        net = {}
        if self.cluster:
            cpu["RabbitMQ"] = sum(meter.cpu_micros(node.node.child.pid) for node in self.cluster.nodes.values())
            cpu["Redis"] = sum(meter.cpu_micros(node.process.child.pid) for node in self.pair.nodes)
            cpu["HAProxy"] = sum(meter.cpu_micros(each.process.child.pid) for each in (self.services, self.front))
            net = {"sender": self.front.traffic(self.gateway.fleet), **{name: self.services.traffic(name) for name in ("rabbitmq", "redis")}}
        return {"cpu": cpu, "net": net, **self.stored()}

    def stored(self):
        """Bytes that are kept."""
        folder = self.gateway.folder
        history = sum(path.stat().st_size for path in folder.glob("journal.history*"))
        kept = {"history": history, "journal": self.gateway.metric("hookgate_journal_unconfirmed_bytes")}
        if self.cluster:
            facts = dict(line.split(":") for line in asked(self.pair.master().port, "INFO", "memory") if ":" in line)
            kept["redis"], kept["aof"] = int(facts["used_memory"]), on_disk(self.pair.master().folder)
            kept["rabbitmq"] = on_disk(self.cluster.folder)
        return kept


def loaded(options, reader, port):
    """The difference that so many events make, for each of them; and memory at the end."""
    gateway = reader.gateway
    time.sleep(3)
    before = reader.read()
    command = [
        str(options.sizes), "--url", f"http://127.0.0.1:{port}/in/{gateway.fleet}", "--secret", SECRET, "--body-bytes", str(BYTES),
        "--connections", "64", "--rate", str(RATE), "--count", str(EVENTS), "--timeout", "10",
    ]  # fmt: skip
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=EVENTS / RATE + 60).stdout.splitlines()[-1])
    if reader.cluster:
        until("all is handed over", lambda: not gateway.left(), 60)
    until("the history has all", lambda: not gateway.metric("hookgate_history_behind_events"), 60)
    time.sleep(2)
    after = reader.read()
    each = lambda was, now: {name: (now[name] - was[name]) / EVENTS for name in was}  # noqa: E731
    stored = [name for name in before if name not in ("cpu", "net")]
    return {
        "cpu": each(before["cpu"], after["cpu"]), "stored": each({n: before[n] for n in stored}, {n: after[n] for n in stored}),
        "net": {name: [(now - was) / EVENTS for was, now in zip(before["net"][name], after["net"][name])] for name in before["net"]},
        "statuses": told["statuses"], "p50": told["p50_us"] / 1e3, "p99": told["p99_us"] / 1e3,
        "memory": meter.memory_kib(gateway.process.child.pid, "VmHWM") / 1024,
        "rabbitmq_memory": [meter.memory_kib(node.node.child.pid, "VmRSS") / 1024 for node in reader.cluster.nodes.values()] if reader.cluster else [],
    }  # fmt: skip


def sizes(options, folder):
    found = {}
    with contextlib.closing(Alone(options.hookgate, folder / "alone")) as gateway:
        found["alone"] = loaded(options, Reader(gateway), gateway.ingress)
    with contextlib.ExitStack() as stack:
        kept = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        cluster, pair = kept(Cluster(folder / "rabbitmq", lines=False)), kept(Pair(folder / "redis"))
        shared = cluster, pair, kept(Services(folder / "services", cluster, pair))
        for fleet in ("journal", "confirm"):
            with contextlib.closing(Replicas(options.hookgate, folder / fleet, shared[2], {fleet: 1})) as replicas:
                with contextlib.closing(Front(folder / f"front-{fleet}", replicas.addresses())) as front:
                    found[fleet] = loaded(options, Reader(replicas.all()[0], shared, front), front.ports[fleet])
    for way, cell in found.items():
        print(f"{way}: {json.dumps(cell)}", flush=True)
    text = tables(found)
    print(text)
    return text


def tables(found):
    rows = []
    for way, cell in found.items():
        stored, net = cell["stored"], cell["net"]
        whole = lambda values, name: f"{values[name]:,.0f}" if name in values else "–"  # noqa: E731
        both = lambda name: " / ".join(f"{value:,.0f}" for value in net[name]) if name in net else "–"  # noqa: E731
        rows.append([
            WAYS[way], " / ".join(f"{value:.0f}" for value in cell["cpu"].values()), f"{cell['p50']:.2f} / {cell['p99']:.2f}", f"{cell['memory']:.0f}",
            whole(stored, "journal") if way == "alone" else "–", whole(stored, "history"), whole(stored, "redis"), whole(stored, "aof"),
            whole(stored, "rabbitmq"), both("sender"), both("rabbitmq"), both("redis"),
        ])  # fmt: skip
    memory = "; ".join(f"{way}: {', '.join(f'{value:.0f}' for value in cell['rabbitmq_memory'])}" for way, cell in found.items() if cell["rabbitmq_memory"])
    return (
        f"{about('.')}. {EVENTS:,} events of {BYTES:,} bytes at {RATE:,}/s by 64 connections; one gateway. Memory of the three RabbitMQ nodes with all of these "
        f"in the queue, MiB: {memory}.\n\n"
        + table(["", "µs of processor an event: gateway / RabbitMQ / Redis / HAProxy", "p50 / p99 of the answer, ms", "gateway's memory, most MiB",
                 "journal, bytes an event", "history", "Redis's memory", "Redis's file", "RabbitMQ's disk, all nodes",
                 "network an event, bytes in / out: sender", "RabbitMQ", "Redis"], rows)  # fmt: skip
    )

