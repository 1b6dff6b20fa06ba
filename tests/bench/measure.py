"""Measures the contestants in alternating rounds: one line of JSON a cell, then the tables. Started by tests/bench/run."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import meter
import table
from contestants import GATEWAYS, JOURNAL, LAPIN, PEERS, SECRET, SERVERS, WITH_SERVICES, Server, Services

HERE = Path(__file__).parent
USUAL_BYTES = 1500
BODIES = (300, 20_000, 200_000)
CLOSED = (1, 64, 256)
OPEN = (500, 2_000, 10_000)
OPEN_CONNECTIONS = 256
WARMUP = 1.0
ANSWER_SECONDS = 10
DRAIN_SECONDS = 120
PENDING = 'hookgate_relay_pending{source="stripe"}'
CONFIRMED = 'hookgate_events_confirmed_total{source="stripe"}'
# Of the requests that show whether a contestant does its work: how many, and the shares forged and repeated.
PROOF_REQUESTS, PROOF_FORGED, PROOF_REPEATED = 1_000, 0.3, 0.3
PROOF_SECONDS = 20


@dataclass(frozen=True)
class Cell:
    """A way to load a contestant. `kind`: what is looked at beside the answers."""

    name: str
    contestants: tuple
    kind: str = "answers"
    connections: int = 64
    rate: int | None = None
    body: int = USUAL_BYTES
    words: tuple = ()  # more of the generator's command


CELLS = [
    Cell("proof", SERVERS[1:], kind="proof", connections=1),
    Cell("closed-1", SERVERS, connections=1),
    Cell("closed-64", (*SERVERS, "lapin-64", "lapin-64-topic")),
    Cell("closed-256", SERVERS, connections=256),
    *(Cell(f"open-{rate}", SERVERS, connections=OPEN_CONNECTIONS, rate=rate) for rate in OPEN),
    *(Cell(f"body-{size}", SERVERS, body=size) for size in BODIES),
    Cell("drain", (JOURNAL, "lapin-1000", "lapin-1000-topic"), kind="drain"),
    Cell("syscalls", SERVERS, kind="syscalls"),
    Cell("allocations", ("bare", *GATEWAYS), kind="allocations"),
]
QUICK = ("proof", "closed-64", "open-2000", "drain", "syscalls", "allocations")


def add_repetition(parser):
    """How often and how long each cell is measured."""
    parser.add_argument("--rounds", type=int, default=5, help="of each cell (5)")
    parser.add_argument("--seconds", type=float, default=5, help="measured in each cell (5), after 1 of warm-up")


def parse(parser):
    """The plan; a quick one is one round of a second."""
    plan = parser.parse_args()
    if plan.quick:
        plan.rounds, plan.seconds = 1, 1.0
    return plan


def arguments():
    contestants = [*SERVERS, "lapin"]
    cells = [cell.name for cell in CELLS]
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description="Measures hookgate beside a bare server of its framework, a bare publisher and receivers written by "
        "hand. Builds in release and installs the receivers' libraries under target/; starts everything privately on "
        "loopback. A whole run keeps its tables in tests/bench/RESULTS.md and its cells in target/bench/results.jsonl.",
        epilog=f"Contestants: {', '.join(contestants)}. Cells: {', '.join(cells)}. Five rounds of five seconds take "
        "about an hour; leave the machine alone meanwhile.",
    )
    add_repetition(parser)
    parser.add_argument("--only", nargs="+", metavar="CONTESTANT", choices=contestants, default=contestants)
    parser.add_argument("--cells", nargs="+", metavar="CELL", choices=cells, default=cells)
    parser.add_argument("--quick", action="store_true", help="one round of a second, fewer cells: whether all work")
    parser.add_argument(
        "--bare-workers", type=int, default=max(1, (os.cpu_count() or 2) // 2),
        help="half the cores: more would fight with the generator for them",
    )
    parser.add_argument("--guided", action="store_true", help="hookgate as deploy/build makes it, guided by a profile")
    parser.add_argument("--no-build", action="store_true", help="take what is built and installed")
    parser.add_argument("--table", metavar="FILE", help="only makes the tables again, of the cells in FILE")
    plan = parse(parser)
    if plan.quick:
        plan.cells = [name for name in plan.cells if name in QUICK]
    plan.whole = plan.only == contestants and plan.cells == cells and not plan.quick
    return plan


def build(plan):
    if "lapin" in plan.only:
        plan.only = [name for name in plan.only if name != "lapin"] + list(LAPIN)
    peers = [name for name in PEERS if name in plan.only]
    tools = ["cargo", *(["node", "npm"] if "express" in peers else [])]
    tools += ["redis-server", "epmd"] if set(plan.only) & set(WITH_SERVICES) else []
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"tests/bench/run: missing: {', '.join(missing)}; `tests/run --prepare` installs what is needed")
    plan.release.mkdir(parents=True, exist_ok=True)
    plan.peers.mkdir(parents=True, exist_ok=True)
    if plan.no_build:
        return
    cargo_build("bench", "bare", "publisher")
    if plan.guided:
        subprocess.run(["deploy/build"], stdout=subprocess.DEVNULL, check=True)
    install = {"express": install_express, "fastapi": install_fastapi}
    for name in peers:
        install[name](plan.peers)


def cargo_build(*examples):
    words = [word for name in examples for word in ("--example", name)]
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "hookgate", *words], check=True)


def install_express(folder):
    if not fresh(folder / "package.json", HERE / "peers/package.json"):
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
        shutil.copy(HERE / "peers/package.json", folder)
        subprocess.run(command, cwd=folder, check=True, timeout=600)
    # Beside its libraries, where Node looks for them.
    shutil.copy(HERE / "peers/express.mjs", folder)


def install_fastapi(folder):
    if not fresh(folder / "requirements.txt", HERE / "peers/requirements.txt"):
        shutil.rmtree(folder / "python", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True, timeout=120)
        pip = [folder / "python/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "peers/requirements.txt"], check=True, timeout=600)
        shutil.copy(HERE / "peers/requirements.txt", folder)


def fresh(installed, wanted):
    return installed.exists() and installed.read_bytes() == wanted.read_bytes()


class Bench:
    def __init__(self, plan, folder, results):
        self.plan, self.folder, self.results = plan, folder, results
        self.publisher = str(plan.release / "examples/publisher")
        self.services = None
        if set(plan.only) & set(WITH_SERVICES):
            self.services = Services(folder, self.publisher)

    def run(self):
        for number in range(1, self.plan.rounds + 1):
            for cell in CELLS:
                if cell.name in self.plan.cells and (cell.kind != "proof" or number == 1):
                    self.round(number, cell)

    def round(self, number, cell):
        """One cell of all contestants in turn; another begins each time, so that none always follows the same."""
        chosen = [name for name in cell.contestants if name in self.plan.only]
        begin = (number - 1) % len(chosen) if chosen else 0
        for name in chosen[begin:] + chosen[:begin]:
            line = {"round": number, "cell": cell.name, "contestant": name, **self.tried(cell, name)}
            self.results.write(json.dumps(line) + "\n")
            self.results.flush()
            print(f"round {number}: {cell.name}, {name}: {table.brief(line)}", file=sys.stderr, flush=True)

    def tried(self, cell, name):
        """What was measured; a cell that fails costs no other."""
        try:
            return self.measure(cell, name)
        except (subprocess.SubprocessError, OSError) as error:
            return {"failed": str(error)}

    def measure(self, cell, name):
        if name in WITH_SERVICES:
            self.services.clear()
        time.sleep(0.5)
        if name in LAPIN:
            return self.publish(*LAPIN[name])
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        counter = meter.Allocations(folder) if cell.kind == "allocations" else None
        server = Server(name, folder, self.plan, self.services, counter and counter.environment)
        try:
            time.sleep(0.5)
            if cell.kind == "proof":
                return self.proof(cell, name, server)
            return self.load(cell, server, counter, name in WITH_SERVICES)
        finally:
            server.stop()
            shutil.rmtree(folder)

    def publish(self, in_flight, exchange):
        command = [self.publisher, "--url", self.services.amqp_url, "--in-flight", str(in_flight)]
        command += ["--duration", str(self.plan.seconds), "--warmup", str(WARMUP), "--body-bytes", str(USUAL_BYTES)]
        command += ["--exchange", exchange] if exchange else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=self.plan.seconds + 60)
        return json.loads(done.stdout)

    def load(self, cell, server, counter, served):
        idle = meter.memory_kib(server.pid, "VmRSS")
        services = self.services.pids() if served else []
        used = meter.cpu_micros(server.pid), sum(map(meter.cpu_micros, services))
        before = counter.read() if counter else None
        result = self.generate(cell, server)
        events = max(1, result["answered"])
        result["cpu_us"] = round((meter.cpu_micros(server.pid) - used[0]) / events, 2)
        if services:
            result["services_cpu_us"] = round((sum(map(meter.cpu_micros, services)) - used[1]) / events, 2)
        if counter:
            calls, size = (now - then for now, then in zip(counter.read(), before))
            # An allocator of the program's own is not seen there.
            if calls >= events:
                result["allocations"], result["allocated_bytes"] = round(calls / events, 2), round(size / events)
        if cell.kind == "drain":
            result.update(self.drain(server))
        result["idle_kib"], result["peak_kib"] = idle, meter.memory_kib(server.pid, "VmHWM")
        return result

    def proof(self, cell, name, server):
        """Whether the contestant refuses what is forged, and keeps each event once, the repeated too."""
        acked = server.folder / "acked"
        result = self.generate(cell, server, [
            "--count", str(PROOF_REQUESTS), "--bad-fraction", str(PROOF_FORGED),
            "--dup-fraction", str(PROOF_REPEATED), "--acked", str(acked),
        ])  # fmt: skip
        events = len(set(acked.read_text().split()))
        deadline = time.monotonic() + PROOF_SECONDS
        while (kept := self.kept(name, server)) != events and time.monotonic() < deadline:
            time.sleep(0.2)
        return {**result, "events": events, "kept": kept}

    def kept(self, name, server):
        return self.services.messages(name) if name in WITH_SERVICES else int(server.metrics()[PENDING])

    def generate(self, cell, server, only=()):
        """Loads the server, for so many requests `only`; what the generator tells in its last line."""
        command = [str(self.plan.release / "examples/bench"), "--url", server.url, "--secret", SECRET]
        command += ["--connections", str(cell.connections), "--body-bytes", str(cell.body)]
        command += ["--timeout", str(ANSWER_SECONDS), *cell.words]
        command += only or ["--duration", str(self.plan.seconds), "--warmup", str(WARMUP)]
        command += ["--rate", str(cell.rate)] if cell.rate else []
        limit = self.plan.seconds + 2 * ANSWER_SECONDS + 30
        extra = {}
        if cell.kind == "syscalls":
            output, syscalls, switches = meter.counted_syscalls(server.pid, command, limit, server.folder)
            extra = {"syscalls": syscalls, "switches": switches}
        else:
            output = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=limit).stdout
        result = json.loads(output.splitlines()[-1])
        events = max(1, result["answered"])
        # Of one that falls behind, most answers are to requests that were due in the warm-up.
        result["answered_per_second"] = round(result["answered"] / (self.plan.seconds + WARMUP), 1)
        result.update({key: round(count / events, 2) for key, count in extra.items() if count is not None})
        return result

    def drain(self, server):
        """The burst is over: how fast the relay hands over what waits."""
        first, begun = server.metrics(), time.monotonic()
        backlog, ended, last = first[PENDING], begun, first
        while last[PENDING] and ended < begun + DRAIN_SECONDS:
            time.sleep(0.05)
            last, ended = server.metrics(), time.monotonic()
        rate = (last[CONFIRMED] - first[CONFIRMED]) / max(ended - begun, 1e-3)
        return {"backlog": backlog, "left": last[PENDING], "drained_per_second": round(rate, 1)}

    def close(self):
        if self.services:
            self.services.close()


def find_places(plan):
    """Where what is built and measured lies."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    plan.wrapper = []
    plan.release, plan.peers, plan.cells_in = target / "release", target / "bench/peers", target / "bench"
    plan.hookgate = target / "guided/hookgate" if getattr(plan, "guided", False) else plan.release / "hookgate"


def run(plan, make, lines):
    """Measures with what `make` gives, in a folder of its own that goes at the end; its cells are kept in `lines`."""
    # On a disk: /tmp may be memory, where a sync costs nothing.
    folder = Path(tempfile.mkdtemp(prefix="bench.", dir=plan.release))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = None
    try:
        with lines.open("w", encoding="utf-8") as results:
            about = {"about": machine.about(plan, folder)}
            results.write(json.dumps(about) + "\n")
            bench = make(plan, folder, results)
            bench.run()
    finally:
        if bench:
            bench.close()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    plan = arguments()
    if plan.table:
        print(table.render(Path(plan.table)))
        return
    find_places(plan)
    build(plan)
    if "syscalls" in plan.cells and not meter.can_count_syscalls():
        print("note: perf cannot count system calls here (is it there, and are you root?); left out", file=sys.stderr)
        plan.cells = [name for name in plan.cells if name != "syscalls"]
    lines = plan.cells_in / "results.jsonl"
    run(plan, Bench, lines)
    text = table.render(lines)
    print(text)
    if plan.whole:
        (HERE / "RESULTS.md").write_text(text + "\n", encoding="utf-8")
        print("written: tests/bench/RESULTS.md", file=sys.stderr)
    print(f"cells: {lines}", file=sys.stderr)


if __name__ == "__main__":
    main()
