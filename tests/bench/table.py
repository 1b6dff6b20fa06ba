"""Makes the tables of tests/bench/RESULTS.md from the cells of a run: medians over the rounds, and what was aimed at."""

import json
from statistics import median

LABELS = {
    "bare": "bare actix-web endpoint",
    "embedded": "hookgate, embedded",
    "embedded+schema": "hookgate, embedded, schema",
    "journal": "hookgate, Redis + RabbitMQ, `journal`",
    "confirm": "hookgate, Redis + RabbitMQ, `confirm`",
    "lapin-64": "bare lapin publisher, 64 in flight",
    "lapin-1000": "bare lapin publisher, 1,000 in flight",
    "lapin-64-topic": "the same through a topic exchange, 64 in flight",
    "lapin-1000-topic": "the same through a topic exchange, 1,000 in flight",
    "express": "Express, one process",
    "fastapi": "FastAPI, two workers",
}
# What was aimed at: words, the figure, the most or the least it may be. `A.B.C` is contestant, cell, value.
AIMS = [
    ("embedded, 64 connections: 2xx/s, of bare", "embedded.closed-64.rps / bare.closed-64.rps", ">=", 0.60),
    ("embedded, 64 connections: p99, ms", "embedded.closed-64.p99_ms", "<=", 3),
    ("embedded with schema: 2xx/s, of bare", "embedded+schema.closed-64.rps / bare.closed-64.rps", ">=", 0.40),
    ("embedded: CPU per event, of bare", "embedded.closed-64.cpu_us / bare.closed-64.cpu_us", "<=", 2.2),
    ("embedded: memory idle, MB", "embedded.closed-64.idle_mb", "<=", 12),
    ("embedded: memory under load, MB", "embedded.closed-64.peak_mb", "<=", 48),
    ("embedded at 2,000/s: p50, ms", "embedded.open-2000.p50_ms", "<=", 0.4),
    ("embedded at 2,000/s: p99, ms", "embedded.open-2000.p99_ms", "<=", 2),
    ("embedded at 10,000/s: p99, ms", "embedded.open-10000.p99_ms", "<=", 3),
    ("embedded at 10,000/s: p99.9, ms", "embedded.open-10000.p999_ms", "<=", 8),
    ("`journal` at 2,000/s: p99, ms", "journal.open-2000.p99_ms", "<=", 2.5),
    ("`journal`, a burst: 2xx/s, of bare", "journal.closed-64.rps / bare.closed-64.rps", ">=", 0.45),
    ("`journal`, a drain: events/s, of lapin with 1,000", "journal.drain.drained_per_second / lapin-1000.drain.rps", ">=", 0.85),
    ("the same, of lapin through a topic exchange", "journal.drain.drained_per_second / lapin-1000-topic.drain.rps", ">=", 0.85),
    ("`confirm`, 64 connections: 2xx/s, of lapin with 64", "confirm.closed-64.rps / lapin-64.closed-64.rps", ">=", 0.65),
    ("the same, of lapin through a topic exchange", "confirm.closed-64.rps / lapin-64-topic.closed-64.rps", ">=", 0.65),
    ("`confirm`, 64 connections: p99, ms", "confirm.closed-64.p99_ms", "<=", 10),
    ("embedded, 64 connections: 2xx/s, times Express", "embedded.closed-64.rps / express.closed-64.rps", ">=", 15),
    ("embedded, 64 connections: p99, of Express", "embedded.closed-64.p99_ms / express.closed-64.p99_ms", "<=", 0.1),
    ("embedded, 64 connections: 2xx/s, times FastAPI", "embedded.closed-64.rps / fastapi.closed-64.rps", ">=", 30),
]


class Cells:
    """All measured lines, by contestant and cell, in their rounds."""

    def __init__(self, path):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.about, self.all = lines[0]["about"], lines[1:]
        self.lines = [line for line in self.all if "failed" not in line]
        for line in self.lines:
            for key in ("p50", "p99", "p999"):
                line[f"{key}_ms"] = line[f"{key}_us"] / 1000
            for key in ("idle", "peak"):
                if f"{key}_kib" in line:
                    line[f"{key}_mb"] = line[f"{key}_kib"] / 1024

    def rows(self, contestant, cell):
        return [line for line in self.lines if (line["contestant"], line["cell"]) == (contestant, cell)]

    def median(self, contestant, cell, key):
        values = [row[key] for row in self.rows(contestant, cell) if key in row]
        return median(values) if values else None

    def present(self, *cells):
        """The contestants of any of these cells, in the order of LABELS."""
        found = {line["contestant"] for line in self.lines if line["cell"] in cells}
        return [name for name in LABELS if name in found]

    def value(self, text):
        """A figure as AIMS writes it: one, or one divided by another."""
        parts = [self.median(*part.strip().split(".")) for part in text.split(" / ")]
        if None in parts or 0 in parts[1:]:
            return None
        return parts[0] / parts[1] if len(parts) > 1 else parts[0]


def brief(line):
    """A line for people who wait."""
    if "failed" in line:
        return f"FAILED: {line['failed']}"
    words = [f"{line['rps']:,.0f}/s, p50 {line['p50_us'] / 1000:.2f}, p99 {line['p99_us'] / 1000:.2f} ms"]
    for key in ("cpu_us", "syscalls", "switches", "allocations", "backlog", "drained_per_second", "left"):
        words += [f"{key} {line[key]:,}"] if key in line else []
    return ", ".join(words + trouble(line))


def trouble(line):
    """What makes a cell unclean."""
    if "failed" in line:
        return [line["failed"]]
    if "kept" in line:
        forged = [f"{line['forged_accepted']:,} forged were accepted"] if line["forged_accepted"] else []
        return forged + ([f"{line['events']:,} events accepted, {line['kept']:,} kept"] if line["events"] != line["kept"] else [])
    found = [f"{count:,} answers {status}" for status, count in line.get("statuses", {}).items() if status[0] != "2"]
    found += [f"{line[key]:,} {key}" for key in ("errors", "timeouts") if line.get(key)]
    return found + ([f"{line['left']:,.0f} events left after the drain's time"] if line.get("left") else [])


def figure(value, digits=2):
    return "–" if value is None else f"{value:,.{digits}f}"


def markdown(head, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def latency(cells, name, cell):
    if not cells.median(name, cell, "rps"):
        return "–"
    return " / ".join(figure(cells.median(name, cell, key)) for key in ("p50_ms", "p99_ms", "p999_ms"))


def rates(cells, columns, prefix, what):
    """A row for each contestant in each cell of a kind, such as `body-300`."""
    rows = []
    for column in columns:
        cell = f"{prefix}-{column}"
        for name in cells.present(cell):
            rate = figure(cells.median(name, cell, "rps"), 0)
            rows.append([f"{column:,}", LABELS[name], rate, of_bare(cells, name, cell), latency(cells, name, cell)])
    return markdown([what, "", "2xx/s", "of bare", "p50 / p99 / p99.9 ms"], rows)


def of_bare(cells, name, cell):
    """The share of the framework's limit; none for those that take no requests."""
    return "–" if name.startswith("lapin") else figure(cells.value(f"{name}.{cell}.rps / bare.{cell}.rps"))


def closed(cells):
    cell, rows = "closed-64", []
    for name in cells.present(cell):
        rate = figure(cells.median(name, cell, "rps"), 0)
        each = ", ".join(figure(row["rps"], 0) for row in cells.rows(name, cell))
        rows.append([LABELS[name], rate, of_bare(cells, name, cell), latency(cells, name, cell), each])
    return markdown(["", "2xx/s", "of bare", "p50 / p99 / p99.9 ms", "rounds (2xx/s)"], rows)


def open_loops(cells):
    """Latencies at a given rate; where that was not reached, the rate that was."""
    rows = []
    for rate in (500, 2_000, 10_000):
        cell = f"open-{rate}"
        for name in cells.present(cell):
            reached = cells.median(name, cell, "rps")
            answered = figure(cells.median(name, cell, "answered_per_second"), 0)
            kept_up = "yes" if reached >= 0.98 * rate else f"no: {answered}/s"
            rows.append([f"{rate:,}", LABELS[name], kept_up, latency(cells, name, cell)])
    return markdown(["events/s due", "", "kept up", "p50 / p99 / p99.9 ms"], rows)


def costs(cells):
    rows = []
    for name in cells.present("closed-64", "syscalls", "allocations"):
        if name.startswith("lapin"):
            continue
        per_event = [
            figure(cells.median(name, "closed-64", "cpu_us"), 1),
            figure(cells.median(name, "closed-64", "services_cpu_us"), 1),
            figure(cells.median(name, "syscalls", "syscalls"), 1),
            figure(cells.median(name, "syscalls", "switches"), 2),
            figure(cells.median(name, "allocations", "allocations"), 1),
            figure(cells.median(name, "allocations", "allocated_bytes"), 0),
        ]
        memory = [figure(cells.median(name, "closed-64", f"{key}_mb"), 1) for key in ("idle", "peak")]
        rows.append([LABELS[name], *memory, *per_event])
    head = ["", "RSS idle MB", "RSS peak MB", "CPU µs", "Redis' and RabbitMQ's CPU µs", "system calls"]
    return markdown([*head, "context switches", "allocations", "allocated bytes"], rows)


def drain(cells):
    head = ["", "backlog when the burst ended", "events/s"]
    rows = []
    for name in cells.present("drain"):
        key = "rps" if name.startswith("lapin") else "drained_per_second"
        rows.append([LABELS[name], figure(cells.median(name, "drain", "backlog"), 0), figure(cells.median(name, "drain", key), 0)])
    return markdown(head, rows)


def aims(cells):
    rows = []
    for words, text, sense, bound in AIMS:
        value = cells.value(text)
        if value is None:
            continue
        held = value >= bound if sense == ">=" else value <= bound
        least = "at least" if sense == ">=" else "at most"
        rows.append([words, f"{least} {bound:,}", figure(value), "yes" if held else "**no**"])
    return markdown(["", "aim", "measured", "held"], rows)


def proofs(cells):
    rows = []
    for name in cells.present("proof"):
        for row in cells.rows(name, "proof"):
            counts = [row["sent"], row["forged_accepted"], row["events"], row["kept"]]
            rows.append([LABELS[name], *(figure(count, 0) for count in counts)])
    return markdown(["", "requests", "forged and accepted", "events answered 2xx", "events kept"], rows)


def unclean(cells):
    found = [(line, trouble(line)) for line in cells.all]
    lines = [f"- round {line['round']}, {line['cell']}, {line['contestant']}: {', '.join(words)}" for line, words in found if words]
    return "\n".join(lines) or "None: every answer to a valid request was a 2xx."


def head(about):
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['rounds']} round(s) of {about['seconds']:g} s after 1 s of warm-up in each cell, the contestants in turn; medians. "
        f"{about['cores']} cores of {about['cpu']}, {about['memory_gib']} GiB, {about['system']}, disk {about['disk']}; "
        f"the load generator, Redis and RabbitMQ on the same cores; load before it began {about['load_before']:.1f}. "
        f"{about['date']}, commit {about['commit']}, {versions}; bare with {about['bare_workers']} worker(s)"
        f"{'; hookgate guided by a profile (deploy/build)' if about.get('guided') else ''}."
    )


WHO = """Every request is a signed Stripe event with an id of its own. `bare` reads the body and answers 200: the framework's limit.
Every 2xx of hookgate is durable: verified, deduplicated, and synced in the journal (`confirm`: confirmed by RabbitMQ). With
`journal` the relay claims in Redis and publishes meanwhile. The lapin publisher and all receivers use persistent messages,
confirms and a quorum queue; the receivers written by hand (`tests/bench/peers/`) verify with Stripe's SDK, SET NX in Redis, publish,
wait for the confirm, then answer."""

SECTIONS = [
    (
        "All do the work",
        ["proof"],
        proofs,
        "Three requests in ten have a wrong signature and, drawn independently, three in ten repeat an event: somewhat more than half "
        "of them are events of their own with a right one, another number in each draw. What is kept lies in the quorum queue, or, "
        "embedded, in the journal.",
    ),
    ("Aims", ["closed-64", "open-2000", "open-10000", "drain"], aims, None),
    ("Closed loop, 64 connections, 1,500 bytes", ["closed-64"], closed, None),
    (
        "Closed loop, one and 256 connections, 1,500 bytes",
        ["closed-1", "closed-256"],
        lambda cells: rates(cells, [1, 256], "closed", "connections"),
        None,
    ),
    (
        "Open loop, 256 connections, 1,500 bytes",
        ["open-500", "open-2000", "open-10000"],
        open_loops,
        "Latency counts from when a request was due, not from when a connection was free for it.",
    ),
    (
        "Closed loop by body, 64 connections",
        ["body-300", "body-20000", "body-200000"],
        lambda cells: rates(cells, [300, 20_000, 200_000], "body", "bytes"),
        None,
    ),
    (
        "What an event costs, 64 connections, 1,500 bytes",
        ["closed-64"],
        costs,
        "Memory and CPU of all processes of the contestant, CPU with the work that goes on behind the answers; the generator aside. "
        "System calls by perf, allocations by a counter in front of the C library's `malloc` (hookgate, Node and Python have heaps of their own; hookgate's are counted by `tests/bench/guard`).",
    ),
    (
        "Drain into the quorum queue once the burst is over",
        ["drain"],
        drain,
        "The burst is 64 connections in a closed loop; then the load ends, and the relay has the machine to itself.",
    ),
]


def render(path):
    cells = Cells(path)
    parts = ["# Throughput, latency and cost beside others", head(cells.about), WHO]
    for title, needed, make, note in SECTIONS:
        if cells.present(*needed):
            parts += [f"## {title}", *([note] if note else []), make(cells)]
    parts += ["## Cells that were not clean", unclean(cells)]
    parts.append("Made by `tests/bench/run`; `--help` shows its options, `--table` makes the tables again.")
    return "\n\n".join(parts)
