"""Measures the gateway, embedded, as sources, keys, the journal and connections grow. Started by tests/bench/growth.

The cells of a group alternate, and each begins with the same data: what was filled once is lent to every gateway, its
finished files as links, so that ten gigabytes are on the disk once. That no gateway wrote to a file it was lent is looked
at after each cell, as is that it kept as many events as it answered with a 2xx."""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import growth_table
import measure
from contestants import EMBEDDED, Server, Shape

HERE = Path(__file__).parent
PENDING = "hookgate_relay_pending{"
# What a record of a body of 1,500 bytes takes in the journal.
RECORD_BYTES = 1_800
# Bodies of the events that only leave their keys, and how much of the journal they may take.
KEY_BODY, KEYS_JOURNAL = 300, 256 << 20
JOURNAL_MAX_GIB = 13
# A gateway writes to the segment under way and to the one prepared behind it.
SEGMENTS_WRITTEN = 3
QUICK_SHARE = 100
FILL_SECONDS = 1_800
TURN_SECONDS = 110
DESCRIPTORS_SPARE = 1_000


@dataclass(frozen=True)
class Size(measure.Cell):
    """A row. `amount`: its place on the axis; `keys`, `records`: what lies in the gateway's folder before it starts."""

    contestants: tuple = (EMBEDDED,)
    amount: int = 0
    sources: int = 1
    keys: int = 0
    records: int = 0


def sized_by_connections(count, rate=None):
    # Every connection carries requests, the paced too: by turns.
    words = ("--rotate",) if rate else ()
    group = "paced" if rate else "connections"
    return Size(f"{group}-{count}", connections=count, amount=count, rate=rate, words=words)


def sized_by_sources(count):
    words = ("--paths", str(count))
    return Size(f"sources-{count}", amount=count, sources=count, words=words)


def groups(share):
    """All rows, by what grows; the filled ones divided by `share`."""
    keys = [count // share for count in (0, 1_000_000, 10_000_000)]
    journals = [size // share for size in (100_000_000, 1_000_000_000, 10_000_000_000)]
    return {
        "sources": [sized_by_sources(count) for count in (1, 10, 100, 1_000)],
        "keys": [Size(f"keys-{count}", amount=count, keys=count) for count in keys],
        "journal": [Size(f"journal-{size}", amount=size, records=size // RECORD_BYTES) for size in journals],
        "connections": [sized_by_connections(count) for count in (1, 64, 1_000, 10_000)],
        "paced": [sized_by_connections(count, growth_table.PACE) for count in (64, 1_000, 10_000)],
    }


def arguments():
    names = list(groups(1))
    parser = argparse.ArgumentParser(
        prog="tests/bench/growth",
        description="Measures throughput and p99 of the gateway, embedded, with 1.5 KB Stripe events and 64 connections, as "
        "sources, keys, the journal and connections grow. A whole run keeps its table in tests/bench/GROWTH.md and its plot in "
        "tests/bench/growth.svg; its cells are in target/bench/growth.jsonl.",
        epilog=f"Groups: {', '.join(names)}. Five rounds of five seconds take about a quarter of an hour and 14 GB of "
        "disk meanwhile; leave the machine alone.",
    )
    measure.add_repetition(parser)
    parser.add_argument("--only", dest="groups", nargs="+", metavar="GROUP", choices=names, default=names)
    parser.add_argument(
        "--quick", action="store_true",
        help=f"one round of a second, keys and journals 1/{QUICK_SHARE} as large: whether every cell works",
    )
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    parser.add_argument(
        "--turn", default="", metavar="COMMAND", type=str.split,
        help=f"on a machine with other work: what runs a program in its turn, as `flock FILE` does; taken for {TURN_SECONDS} s at a time",
    )
    parser.add_argument("--table", metavar="FILE", help="only makes table and plot again, of the cells in FILE")
    plan = measure.parse(parser)
    plan.only = [EMBEDDED]
    plan.whole = plan.groups == names and not plan.quick
    return plan


class Turn:
    """The right to the machine, held by a child that does nothing while the command of --turn lets it run."""

    def __init__(self, command):
        self.command, self.child, self.longest = command, None, 0.0

    def __enter__(self):
        """Before each step; the turn is given back first where another step as long as the longest would not fit."""
        if self.child and time.monotonic() + self.longest > self.begun + TURN_SECONDS:
            self.end()
        if self.command and not self.child:
            holder = [*self.command, "sh", "-c", "echo; exec cat"]
            self.child = subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.child.stdout.readline()
            self.begun = time.monotonic()
        self.step = time.monotonic()

    def __exit__(self, *_):
        self.longest = max(self.longest, time.monotonic() - self.step)

    def end(self):
        if self.child:
            self.child.communicate()
            self.child = None


class Filled:
    """A gateway's folder with keys and records, made by the gateway's own rooms, and lent again and again."""

    def __init__(self, plan, folder, size):
        # Records half of which no worker has taken; or keys alone, of events that have all been taken.
        body, journal_bytes = (measure.USUAL_BYTES, JOURNAL_MAX_GIB << 30) if size.records else (KEY_BODY, KEYS_JOURNAL)
        count = size.records or size.keys
        command = [str(plan.release / "examples/index"), "--dir", str(folder.parent), "restart"]
        command += ["--fill", str(folder), "--count", str(count), "--pending", str(size.records // 2)]
        command += ["--body-bytes", str(body), "--journal-bytes", str(journal_bytes)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=FILL_SECONDS).stdout
        print(f"{size.name}: {said.strip()}", file=sys.stderr, flush=True)
        self.journal = folder / "journal"
        self.before = self.written()

    def written(self):
        """When each file was last written, and its length."""
        files = (path for path in self.journal.rglob("*") if path.is_file())
        return {path: (status.st_mtime_ns, status.st_size) for path in files for status in [path.stat()]}

    def lend(self, folder):
        """A journal's folder for a gateway: what it may write to as copies, the rest as links."""
        copied = set(sorted(self.journal.glob("*.segment"))[-SEGMENTS_WRITTEN:])
        for path in self.before:
            to = folder / path.relative_to(self.journal)
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".segment" and path not in copied or path.parent != self.journal:
                os.link(path, to)
            else:
                shutil.copy(path, to)

    def check(self):
        """The trouble, if a gateway wrote to what it was lent."""
        after = self.written()
        return [f"{path.name} was written to by a gateway it was lent to" for path in self.before if after.get(path) != self.before[path]]


class Growth(measure.Bench):
    """The groups one after the other, the cells of each in alternating rounds."""

    def __init__(self, plan, folder, results):
        super().__init__(plan, folder, results)
        self.filled, self.turn = {}, Turn(plan.turn)

    def run(self):
        for group, sizes in self.plan.groups.items():
            self.fill(group, sizes)
            for number in range(1, self.plan.rounds + 1):
                # Another begins each time, so that none always follows the same.
                begin = (number - 1) % len(sizes)
                for size in sizes[begin:] + sizes[:begin]:
                    with self.turn:
                        self.round(number, size)
            shutil.rmtree(self.folder / group, ignore_errors=True)

    def fill(self, group, sizes):
        (self.folder / group).mkdir()
        for size in sizes:
            if size.keys or size.records:
                with self.turn:
                    self.filled[size.name] = Filled(self.plan, self.folder / group / size.name, size)
        self.turn.longest = 0.0  # no cell takes as long as a filling

    def close(self):
        self.turn.end()
        super().close()

    def measure(self, size, name):
        time.sleep(0.5)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        filled, server = self.filled.get(size.name), None
        try:
            if filled:
                filled.lend(folder / "journal")
            server = Server(name, folder, self.plan, shape=Shape(size.sources, f"{JOURNAL_MAX_GIB}GiB"))
            time.sleep(0.5)
            before = pending(server)
            result = self.load(size, server, None, False)
            kept = pending(server) - before
            wrong = [] if kept == result["accepted"] else [f"{result['accepted']:,} events answered 2xx, {kept:,} kept"]
        finally:
            if server:
                server.stop()
            shutil.rmtree(folder)
        wrong += filled.check() if filled else []
        return {**result, "events_kept": kept, **({"failed": "; ".join(wrong)} if wrong else {})}


def pending(server):
    return round(sum(value for name, value in server.metrics().items() if name.startswith(PENDING)))


def raise_descriptors(plan):
    """As many as there may be, for the generator and the gateway, which inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(size.connections for sizes in plan.groups.values() for size in sizes) + DESCRIPTORS_SPARE
    if most != resource.RLIM_INFINITY and most < wanted:
        raise SystemExit(f"tests/bench/growth: a process may open {most:,} files here, {wanted:,} are needed: `ulimit -Hn {wanted}`, as root")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main():
    plan = arguments()
    if plan.table:
        print(growth_table.render(Path(plan.table)))
        return
    measure.find_places(plan)
    plan.groups = {name: sizes for name, sizes in groups(QUICK_SHARE if plan.quick else 1).items() if name in plan.groups}
    raise_descriptors(plan)
    if not plan.no_build:
        measure.cargo_build("bench", "index")
    plan.release.mkdir(parents=True, exist_ok=True)
    plan.cells_in.mkdir(parents=True, exist_ok=True)
    lines = plan.cells_in / "growth.jsonl"
    measure.run(plan, Growth, lines)
    text = growth_table.render(lines)
    print(text)
    failed = growth_table.failed(lines)
    if failed:
        raise SystemExit(f"tests/bench/growth: {failed} cell(s) failed; nothing is written")
    if plan.whole:
        (HERE / "GROWTH.md").write_text(text + "\n", encoding="utf-8")
        (HERE / "growth.svg").write_text(growth_table.plot(lines), encoding="utf-8")
        print("written: tests/bench/GROWTH.md, tests/bench/growth.svg", file=sys.stderr)
    print(f"cells: {lines}", file=sys.stderr)


if __name__ == "__main__":
    main()
