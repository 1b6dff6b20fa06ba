"""What the history costs the answers, and how long a search in it takes. Started by tests/bench/history."""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import measure
from contestants import SECRET, Process, free_ports

TOML = """[ingress]
listen = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[journal]
dir = "{folder}/journal"
bytes_max = "30GiB"
[history]
enabled = {enabled}
bytes_max = "40GiB"
[sources.stripe]
provider = "stripe"
schema = false
secrets = [{{ env = "BENCH_STRIPE_SECRET", label = "bench" }}]
"""
RATE, CONNECTIONS, WARMUP = 5000, 64, 1
FILL_SECONDS = 3600
# The filler's: TYPES types in turn, over six days that end when it began.
TYPES, SPAN = 50, timedelta(days=6)
SEARCHES = 200


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/history", description=__doc__.split(" Started")[0] + " Leave the machine alone meanwhile.")
    parser.add_argument("--rounds", type=int, default=12, help=f"of {RATE} events a second, each with a history and without (12)")
    parser.add_argument("--seconds", type=float, default=8, help="measured in each round (8)")
    parser.add_argument("--events", type=int, default=10_000_000, help="in the history that is searched (10,000,000: a quarter of an hour, 20 GB)")
    parser.add_argument("--release", type=Path, help="folder of the programs, in the place of a build")
    parser.add_argument("--dir", type=Path, help="where data lies (target/bench): a disk, for in memory a sync costs nothing")
    return parser.parse_args()


class Gateway:
    """One with a history or without, in a folder that may be filled already."""

    def __init__(self, release, folder, enabled):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self.admin = free_ports(2)
        config = folder / "hookgate.toml"
        config.write_text(TOML.format(port=self.port, admin=self.admin, folder=folder, enabled=str(enabled).lower()))
        command = [str(release / "hookgate"), "serve", "--config", str(config)]
        self.process = Process("hookgate", command, folder / "log", self.port, {"BENCH_STRIPE_SECRET": SECRET})

    def search(self, **filters):
        """Milliseconds until the answer is there, and what it has."""
        url = f"http://127.0.0.1:{self.admin}/v1/history/events?{urllib.parse.urlencode(filters)}"
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:
            body = answer.read()
        return (time.perf_counter() - began) * 1000, json.loads(body)

    def load(self, release, seconds):
        command = [str(release / "examples/bench"), "--url", f"http://127.0.0.1:{self.port}/in/stripe", "--secret", SECRET]
        command += ["--connections", str(CONNECTIONS), "--rate", str(RATE), "--warmup", str(WARMUP), "--duration", str(seconds)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60).stdout
        told = json.loads(said.splitlines()[-1])
        if set(told["statuses"]) != {"200"}:
            raise SystemExit(f"tests/bench/history: answers other than 200: {told['statuses']}")
        return told


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cost(plan, base):
    """Both gateways run all the time; each round loads the one and then the other, in turn first."""
    gateways, found = {name: Gateway(plan.release, base / name, name == "with") for name in ("with", "without")}, {"with": [], "without": []}
    try:
        for number in range(plan.rounds):
            for name in ("with", "without") if number % 2 else ("without", "with"):
                told = gateways[name].load(plan.release, plan.seconds)
                found[name].append((told["p50_us"] / 1000, told["p99_us"] / 1000))
                print(f"round {number + 1} {name}: p50 {told['p50_us']} µs, p99 {told['p99_us']} µs", file=sys.stderr, flush=True)
        through = gateways["with"].search(limit=1)[1]["through"]
    finally:
        for each in gateways.values():
            each.process.stop()
    lines = [f"{plan.rounds} rounds of {plan.seconds:g} s at {RATE:,} events/s over {CONNECTIONS} connections, in turn; {through:,} events in the history at the end.", "",
             "| | with a history | without | change, median of the rounds |", "| --- | --- | --- | --- |"]
    for at, (what, shown) in enumerate((("p50", "{:+.1%}"), ("p99", "{:+.2f} ms"))):
        pairs = list(zip((each[at] for each in found["with"]), (each[at] for each in found["without"])))
        change = statistics.median(a / b - 1 if what == "p50" else a - b for a, b in pairs)
        middle = [statistics.median(side) for side in zip(*pairs)]
        lines.append(f"| {what} of the answer | {middle[0]:.3f} ms | {middle[1]:.3f} ms | {shown.format(change)} |")
    return lines


def searches(plan, base):
    folder = base / "filled"
    command = [str(plan.release / "examples/index"), "--dir", str(base), "restart", "--fill", str(folder), "--count", str(plan.events)]
    ended = datetime.now(timezone.utc)
    subprocess.run([*command, "--journal-bytes", str(30 << 30)], check=True, timeout=FILL_SECONDS)
    began = time.monotonic()
    gateway = Gateway(plan.release, folder, True)
    try:
        while gateway.search(limit=1)[1]["through"] < plan.events:
            if time.monotonic() > began + FILL_SECONDS:
                raise SystemExit(f"tests/bench/history: not filled within {FILL_SECONDS} s")
            time.sleep(1)
        filled = time.monotonic() - began
        pick = random.Random(1)
        rows = []
        for what, wanted, filters in (("id", 20, by_id), ("type and an hour", 200, by_time), ("type alone, the newest", 200, by_type)):
            times = []
            for _ in range(SEARCHES):
                took, answer = gateway.search(**filters(pick, plan, ended))
                if not answer["events"]:
                    raise SystemExit(f"tests/bench/history: a search by {what} found nothing")
                times.append(took)
                time.sleep(0.01)  # beyond 200 calls a second the listener answers 429
            rows.append(f"| {what} | {wanted} ms | {times[0]:.1f} ms | {quantile(times, 0.5):.1f} ms | {quantile(times, 0.99):.1f} ms | {max(times):.1f} ms |")
        bytes_kept = sum(path.stat().st_size for path in folder.glob("*history.sqlite*"))
    finally:
        gateway.process.stop()
    return [f"{plan.events:,} events over six days, of {TYPES} types: {bytes_kept / 1e9:.1f} GB, filled from the journal in {filled:.0f} s ({plan.events / filled:,.0f} events/s). {SEARCHES} searches of each kind "
            "through the admin API, one after the other, the whole answer read.", "",
            "| by | wanted | first | p50 | p99 | longest |", "| --- | --- | --- | --- | --- | --- |", *rows]


def by_id(pick, plan, _ended):
    return {"id": f"evt_{pick.randint(1, plan.events):024}"}


def by_time(pick, _plan, ended):
    since = ended - SPAN * pick.uniform(0.01, 0.95)
    times = {name: at.isoformat().replace("+00:00", "Z") for name, at in (("since", since), ("until", since + timedelta(hours=1)))}
    return {"type": f"charge.kind_{pick.randrange(TYPES)}", **times, "limit": 100}


def by_type(pick, _plan, _ended):
    return {"type": f"charge.kind_{pick.randrange(TYPES)}", "limit": 100}


def main():
    plan = arguments()
    if not plan.release:
        measure.cargo_build("bench", "index")
        plan.release = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "release"
    home = plan.dir or plan.release.parent / "bench"
    home.mkdir(parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix="history-", dir=home))
    try:
        for title, part, wanted in (("What it costs the answers", cost, plan.rounds), ("How fast it is searched", searches, plan.events)):
            if wanted:
                print("\n".join([f"## {title}", *part(plan, base), ""]), flush=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)


main()
