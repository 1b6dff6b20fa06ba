"""Prints the table of tests/bench/run: medians of its rounds, as Markdown."""

import json
import os
import platform
import sys
from statistics import median


def main(path, what):
    rounds = {}
    for line in open(path, encoding="utf-8"):
        contestant, idle, peak, result = line.rstrip("\n").split("\t")
        rounds.setdefault(contestant, []).append((int(idle), int(peak), json.loads(result)))
    problems = [
        f"{name}: {result['statuses']}, {result['errors']} errors, {result['timeouts']} timeouts"
        for name, rows in rounds.items()
        for _, _, result in rows
        if set(result["statuses"]) - {"200"} or result["errors"] or result["timeouts"]
    ]
    limit = median(result["rps"] for _, _, result in rounds["bare"])

    def cell(rows, key):
        return median(result[key] for _, _, result in rows)

    print("# Throughput and latency of the 2xx\n")
    print(f"{what}; closed loop, the generator on the same {os.cpu_count()} cores")
    print(f"({platform.system()} {platform.release()}, {platform.machine()}). Medians. Every 2xx of hookgate is durable:")
    print("verified, deduplicated, in the journal and synced. `bare` reads the body and answers 200: the framework's limit.\n")
    print("| server | 2xx/s | of bare | p50 ms | p99 ms | p999 ms | RSS idle MB | RSS peak MB | rounds (2xx/s) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, rows in rounds.items():
        rates = ", ".join(f"{result['rps']:,.0f}" for _, _, result in rows)
        latency = " | ".join(f"{cell(rows, key) / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us"))
        idle = median(row[0] for row in rows) / 1024
        peak = median(row[1] for row in rows) / 1024
        rate = cell(rows, "rps")
        print(f"| {name} | {rate:,.0f} | {rate / limit:.2f} | {latency} | {idle:.1f} | {peak:.1f} | {rates} |")
    for problem in problems:
        print(f"\nNot clean: {problem}")
    print("\nMeasured by `tests/bench/run`; `--help` shows its options.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
