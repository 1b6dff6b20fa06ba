"""Makes the table of tests/bench/GROWTH.md and the plot tests/bench/growth.svg from the cells of a run."""

import math

from contestants import EMBEDDED
from table import Cells, figure, markdown, trouble

# Events per second of the rows that ask what many connections do to the time of an answer.
PACE = 10_000
GROUPS = {
    "sources": "sources",
    "keys": "keys in the dedup index",
    "journal": "journal",
    "connections": "connections",
    "paced": f"connections, {PACE:,} events/s",
}
HEAD = ["what grows", "", "2xx/s", "of the first", "p50 / p99 / p99.9 ms", "RSS MB", "CPU µs", "rounds (2xx/s)"]
ABOUT = """Each cell starts a gateway with its embedded defaults (no schema, the inbox without workers as sink), loads it with signed Stripe events
of 1,500 bytes, each with an id of its own, and ends it. A closed loop of 64 connections, unless the row says otherwise. As many events as were answered 2xx were kept in every
cell; all were synced before their answer."""
NOTES = """**Sources**: one configuration with so many; the events go over all their paths in turn. **Keys**: of earlier events, spread over
six days; their records are gone, but for the youngest 256 MB of 300-byte bodies. **Journal**: so many bytes of records of 1,500-byte bodies, half of
them confirmed and retained, half not yet taken by a worker; their keys are there too. **Connections**: with n connections in a closed loop, n requests
wait at all times, so the time of an answer is n divided by the rate at best: what many connections cost beyond that is seen in the last rows, where
requests are due at even times on all connections in turn, and a time counts from when a request was due."""


class Rows:
    """The cells of a run by group, each group in the order of its sizes."""

    def __init__(self, path):
        self.cells = Cells(path)
        names = dict.fromkeys(line["cell"] for line in self.cells.all)
        split = sorted((*name.split("-"), name) for name in names)
        self.by_group = {
            group: sorted((int(amount), name) for each, amount, name in split if each == group) for group in GROUPS
        }

    def median(self, name, key):
        return self.cells.median(EMBEDDED, name, key)

    def of_first(self, group, name):
        first, this = self.median(self.by_group[group][0][1], "rps"), self.median(name, "rps")
        return this / first if first and this else None


def failed(path):
    return sum("failed" in line for line in Cells(path).all)


def label(group, amount):
    return f"{amount / 1e9:g} GB" if group == "journal" else f"{amount:,}"


def row(rows, group, amount, name):
    times = " / ".join(figure(rows.median(name, f"{key}_ms")) for key in ("p50", "p99", "p999"))
    rounds = ", ".join(figure(line["rps"], 0) for line in rows.cells.rows(EMBEDDED, name))
    return [
        GROUPS[group],
        label(group, amount),
        figure(rows.median(name, "rps"), 0),
        figure(rows.of_first(group, name)),
        times,
        figure(rows.median(name, "peak_mb"), 0),
        figure(rows.median(name, "cpu_us"), 1),
        rounds,
    ]


def unclean(rows):
    found = [(line, trouble(line)) for line in rows.cells.all]
    lines = [f"- round {line['round']}, {line['cell']}: {', '.join(words)}" for line, words in found if words]
    if not lines:
        return "Every request was answered, and every answer was a 2xx."
    return "\n".join(["Answers other than a 2xx, and none (8,192 deliveries may wait for the disk; more are answered 503):", "", *lines])


def render(path):
    rows = Rows(path)
    about = rows.cells.about
    head = (
        f"{about['rounds']} round(s) of {about['seconds']:g} s after 1 s of warm-up in each cell, the cells of a group in turn; medians. "
        f"{about['cores']} cores of {about['cpu']}, {about['memory_gib']} GiB, {about['system']}, disk {about['disk']}; the load "
        f"generator on the same cores; load before it began {about['load_before']:.1f}. {about['date']}, commit {about['commit']}, "
        f"rustc {about['versions'].get('rustc', 'unknown')}."
    )
    lines = [row(rows, group, amount, name) for group, sizes in rows.by_group.items() for amount, name in sizes]
    parts = ["# What a delivery costs as work grows", head, ABOUT, markdown(HEAD, lines), NOTES, unclean(rows)]
    parts.append("Made by `tests/bench/growth`, with the plot `growth.svg`; `--help` shows its options, `--table` makes the table again.")
    return "\n\n".join(parts)


# Of a panel, rates in the upper band, times in the lower one.
WIDE, RATES_HIGH, TIMES_HIGH, BETWEEN = 290, 84, 96, 22
LEFT, TOP, FOOT = 58, 40, 34
HIGH = RATES_HIGH + BETWEEN + TIMES_HIGH
PANEL_WIDE, PANEL_HIGH = LEFT + WIDE + 22, TOP + HIGH + FOOT
STYLE = """<style>
text{font:11px system-ui,sans-serif;fill:#59636e}.title{font-size:13px;font-weight:600;fill:#1f2328}
.grid{stroke:#d1d9e0}.rate{color:#0969da}.p99{color:#bc4c00}.paced{color:#8250df}
polyline{fill:none;stroke:currentColor;stroke-width:2}.paced polyline{stroke-dasharray:5 4}circle{fill:currentColor}
.rate text,.p99 text,.paced text{fill:currentColor}
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}.grid{stroke:#3d444d}
.rate{color:#4493f8}.p99{color:#f0883e}.paced{color:#ab7df8}}
</style>"""


def plot(path):
    """Four panels: throughput as a share of the first row's, and p99, both against the size on a log axis."""
    rows = Rows(path)
    panels = [group for group in ("sources", "keys", "journal", "connections") if rows.by_group[group]]
    wide, high = 2 * PANEL_WIDE, math.ceil(len(panels) / 2) * PANEL_HIGH + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img">',
        "<title>Throughput and p99 of hookgate as sources, keys, journal and connections grow</title>",
        STYLE,
        *(panel(rows, group, at % 2 * PANEL_WIDE, at // 2 * PANEL_HIGH) for at, group in enumerate(panels)),
        legend(high - 10),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def panel(rows, group, x, y):
    sizes = rows.by_group[group]
    least = min(amount for amount, _ in sizes if amount)
    across = scale([place(amount, least) for amount, _ in sizes])
    rates = [rows.of_first(group, name) or 0 for _, name in sizes]
    top = ceiling(max(rates) * 1.3)
    parts = [f'<g transform="translate({x + LEFT} {y + TOP})">', f'<text class="title" x="0" y="-20">{GROUPS[group]}</text>']
    parts += [rule(RATES_HIGH * (1 - step / 2), f"{top * step / 2:g}") for step in range(3)]
    low, high = decades(rows)

    def down(ms):
        return RATES_HIGH + BETWEEN + TIMES_HIGH * (high - math.log10(ms)) / (high - low)

    parts += [rule(down(10**decade), f"{10.0**decade:g} ms") for decade in range(low, high + 1)]
    for amount, _ in sizes:
        at = across(place(amount, least))
        parts.append(f'<text x="{at:.1f}" y="{HIGH + 20}" text-anchor="middle">{label(group, amount)}</text>')
    points = [
        (across(place(amount, least)), RATES_HIGH * (1 - rate / top), f"{rate:.2f}") for (amount, _), rate in zip(sizes, rates)
    ]
    parts.append(line("rate", points, -8))
    for kind, of, shift in (("p99", group, -8), *((("paced", "paced", 16),) if group == "connections" else ())):
        found = [(amount, rows.median(name, "p99_ms")) for amount, name in rows.by_group[of]]
        points = [(across(place(amount, least)), down(ms), f"{ms:.3g}") for amount, ms in found if ms]
        parts.append(line(kind, points, shift))
    return "\n".join([*parts, "</g>"])


def rule(y, words):
    return f'<path class="grid" d="M0 {y:.1f}H{WIDE}"/><text x="-6" y="{y + 4:.1f}" text-anchor="end">{words}</text>'


def line(kind, points, shift):
    """A curve with its values, so far below their points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/><text x="{x:.1f}" y="{y + shift:.1f}" text-anchor="middle">{words}</text>'
        for x, y, words in points
    )
    return f'<g class="{kind}"><polyline points="{path}"/>{marks}</g>'


def legend(y):
    entries = [("rate", 46, "2xx/s, of the first"), ("p99", 200, "p99"), ("paced", 270, f"p99 at {PACE:,} events/s")]
    return "".join(
        f'<g class="{kind}"><circle cx="{x}" cy="{y - 4}" r="3"/><text x="{x + 8}" y="{y}">{words}</text></g>' for kind, x, words in entries
    )


def place(amount, least):
    """On the log axis; nothing at all lies a decade before the least."""
    return math.log10(amount) if amount else math.log10(least) - 1


def scale(places):
    low, high = min(places), max(places)
    return lambda at: WIDE * (0.06 + 0.88 * (at - low) / ((high - low) or 1))


def ceiling(value):
    """The next value that four even steps divide without many digits."""
    unit = 10 ** math.floor(math.log10(value or 1))
    return next(unit * step for step in (1, 1.2, 1.6, 2, 4, 6, 8, 10) if unit * step >= value)


def decades(rows):
    """The powers of ten between which all times lie: the same in every panel."""
    times = [rows.median(name, "p99_ms") for sizes in rows.by_group.values() for _, name in sizes]
    logs = [math.log10(ms) for ms in times if ms]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return low, max(high, low + 1)
