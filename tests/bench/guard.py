"""Guards what an accepted event costs, by counts that do not depend on the clock: allocations, system calls, instructions.

The gateway runs with its embedded defaults, with schemas and without, under one connection; the cost is the difference between
a run with some events and one with more, divided by their number, so that start and stop cancel out. Fails where a
count is more than 5 % above tests/bench/guard.json. The compiler and the C library have a part in the instructions: a new
one is a reason to renew. The build is that of tests/optimised, whose checks have a part in the instructions too. Started by
tests/bench/guard."""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import meter
from contestants import EMBEDDED, SCHEMA, SECRET, Server

HERE = Path(__file__).parent
EXPECTED = HERE / "guard.json"
TOLERANCE = 0.05
FEW, MANY = 500, 2_500
# A machine with other work makes threads wait for each other more often, never less: the least of some tries counts.
TRIES = 3
# Under valgrind an event takes some milliseconds.
FEW_SLOW, MANY_SLOW = 100, 500
STOP_SECONDS = 120
# It is filled beside the events, in batches whose number the clock has a part in.
WITHOUT_HISTORY = {"HOOKGATE__HISTORY__ENABLED": "false"}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/guard", description=__doc__.partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help="write what is measured to tests/bench/guard.json")
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    parser.add_argument("--only", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    return parser.parse_args()


class Guard:
    def __init__(self, contestant, release, folder):
        self.contestant, self.release, self.folder = contestant, release, folder
        self.profiles = {}

    def run(self, events, wrapper=()):
        """Starts a gateway, sends it so many events, ends it in good order; true where all were accepted."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        wrapper = [str(word).format(folder=folder) for word in wrapper]
        plan = SimpleNamespace(release=self.release, hookgate=self.release / "hookgate", wrapper=wrapper)
        server = Server(self.contestant, folder, plan, preload=WITHOUT_HISTORY)
        try:
            command = [str(self.release / "examples/bench"), "--url", server.url, "--secret", SECRET, "--connections", "1"]
            command += ["--count", str(events), "--timeout", "60"]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
            statuses = json.loads(done.stdout.splitlines()[-1])["statuses"]
            if statuses != {"200": events}:
                raise SystemExit(f"tests/bench/guard: {events} events were answered {statuses}; the log: {server.log()}")
            server.end(STOP_SECONDS)
        finally:
            server.stop()
        return folder

    def between(self, few, many, count):
        """What each event beyond the first `few` adds to a count."""
        return (count(many) - count(few)) / (many - few)

    def allocations(self):
        found = self.between(FEW_SLOW, MANY_SLOW, lambda events: self.profile(events)[1])
        if found < 1:
            raise SystemExit("tests/bench/guard: no allocation was seen; has hookgate another allocator? Then count its entries")
        return found

    def system_calls(self):
        def count(events):
            folder = self.run(events, ["strace", "-f", "-c", "-U", "calls,name", "-o", "{folder}/calls"])
            rows = [line.split() for line in (folder / "calls").read_text().splitlines()]
            return sum(int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit() and row[1] != "total")

        return min(self.between(FEW, MANY, count) for _ in range(TRIES))

    def instructions(self):
        return self.between(FEW_SLOW, MANY_SLOW, lambda events: self.profile(events)[0])

    def profile(self, events):
        """Instructions and allocations of one run under valgrind."""
        if events not in self.profiles:
            out = "--callgrind-out-file={folder}/callgrind"
            folder = self.run(events, ["valgrind", "--tool=callgrind", out, "--log-file={folder}/valgrind"])
            found = re.search(r"Collected : (\d+)", (folder / "valgrind").read_text())
            if not found:
                raise SystemExit("tests/bench/guard: valgrind told no count; see " + str(folder / "valgrind"))
            self.profiles[events] = int(found.group(1)), meter.calls_of_allocator(folder / "callgrind")
        return self.profiles[events]


COUNTS = {"allocations": Guard.allocations, "system_calls": Guard.system_calls, "instructions": Guard.instructions}


def compare(what, found, expected):
    """A line for people; false where the count has grown too far."""
    change = found / expected - 1
    held = change <= TOLERANCE
    word = "ok" if abs(change) <= TOLERANCE else "less than expected: renew" if held else "MORE THAN EXPECTED"
    print(f"{what}: {found:,.1f} an event, expected {expected:,.1f} ({change:+.1%}): {word}", flush=True)
    return held


def check(plan, release, folder):
    """Counts; the names of what grew. Where the plan says so, what is found is expected from then on."""
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    grown = []
    for contestant in (EMBEDDED, SCHEMA):
        own = expected.setdefault(contestant, {})
        guard = Guard(contestant, release, folder)
        for name in plan.only:
            found, what = COUNTS[name](guard), f"{contestant}, {name.replace('_', ' ')}"
            if plan.renew:
                print(f"{what}: {found:,.1f} an event, {own.get(name, 0):,.1f} before", flush=True)
                own[name] = round(found, 1)
            elif not compare(what, found, own[name]):
                grown.append(what)
    if plan.renew:
        EXPECTED.write_text(json.dumps(expected, indent=2) + "\n")
    return grown


def main():
    plan = arguments()
    missing = [tool for tool in ("cc", "strace", "valgrind") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"tests/bench/guard: missing: {', '.join(missing)}; `tests/run --prepare` installs them")
    if plan.no_build:
        built = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "optimised"
    else:
        built = Path(subprocess.run(["tests/optimised"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    if platform.machine() != "x86_64":
        print("instructions: expected for x86_64 alone; left out", flush=True)
        plan.only = [name for name in plan.only if name != "instructions"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="guard.", dir=built) as folder:
        grown = check(plan, built, Path(folder))
    print(f"{time.monotonic() - begun:.0f} s", flush=True)
    if grown:
        raise SystemExit(
            f"tests/bench/guard: {', '.join(grown)} grew by more than {TOLERANCE:.0%}. Find what the event pays for, or, where it "
            "is worth that, run `tests/bench/guard --renew` and commit tests/bench/guard.json with the reason."
        )


if __name__ == "__main__":
    main()
