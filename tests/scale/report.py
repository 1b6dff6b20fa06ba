"""The tables of a run, and where they are kept."""

import re
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import machine
from replicas import FLEETS


@dataclass
class Stage:
    """A fault and the time that it took until all was well again."""

    title: str
    begin: float
    end: float
    said: str


def silence(times, begin, end):
    """The longest time without a 2xx."""
    points = [begin, *sorted(at for at in times if begin <= at <= end), end]
    return max(after - before for before, after in zip(points, points[1:]))


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def row(stages, ledgers):
    """Of one kind of fault, all its rounds: a cell for each column."""
    good, refused, waits, quiet = 0, Counter(), [], {fleet: 0.0 for fleet in FLEETS}
    for stage, ledger in zip(stages, ledgers):
        for fleet in FLEETS:
            times = [at for own, _, _, status, _, at in ledger["tries"] if own == fleet and status // 100 == 2]
            quiet[fleet] = max(quiet[fleet], silence(times, stage.begin, stage.end))
        for _, _, _, status, _, at in ledger["tries"]:
            if stage.begin <= at <= stage.end:
                good += status // 100 == 2
                refused.update([status] if status // 100 != 2 else [])
        waits += [each["waited"] for each in ledger["kept"] if stage.begin <= each["at"] <= stage.end]
    told = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(refused.items())) or "–"
    seconds = sum(stage.end - stage.begin for stage in stages) / len(stages)
    return [
        stages[0].title, f"{seconds:.1f}", f"{good:,}", told, *(f"{quiet[fleet]:.1f}" for fleet in FLEETS),
        f"{quantile(waits, 0.5) * 1000:.0f} / {quantile(waits, 0.99):.1f} / {max(waits, default=0):.1f}",
        "; ".join(dict.fromkeys(stage.said for stage in stages if stage.said)) if len(stages) == 1 else shortest(stages),
    ]  # fmt: skip


def shortest(stages):
    """What the rounds said, numbers that differ as a range."""
    said = [stage.said for stage in stages]
    parts = [re.split(r"(\d+(?:\.\d+)?)", each) for each in said]
    if len({len(each) for each in parts}) != 1:
        return "; ".join(dict.fromkeys(said))
    joined = []
    for words in zip(*parts):
        values = sorted(set(words), key=lambda word: float(word) if re.fullmatch(r"\d+(\.\d+)?", word) else 0)
        joined.append(values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}")
    return "".join(joined)


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def about(folder):
    found = machine.about(SimpleNamespace(rounds=0, seconds=0), folder)
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("Redis", "RabbitMQ", "Python") if name in found["versions"])
    return (
        f"{found['cores']} cores of {found['cpu']}, {found['memory_gib']} GiB, {found['system']}; {found['date']}, commit {found['commit']}; "
        f"{versions}, HAProxy {machine.said('haproxy', '-v').split()[2].split('-')[0]}"
    )


def figures(rounds, options):
    """The tables of all rounds, and what is wrong."""
    ledgers, accounts = [ledger for _, ledger, _ in rounds], [account for _, _, account in rounds]
    rows = [row(list(stages), ledgers) for stages in zip(*(stages for stages, _, _ in rounds))]
    tries = [each for ledger in ledgers for each in ledger["tries"]]
    total = lambda name: sum(getattr(account, name) for account in accounts)  # noqa: E731
    wrong = [each for account in accounts for each in account.wrong]
    kinds = Counter(each.split(":")[0] for each in wrong)
    told = lambda kind: f"{kinds.pop(kind, 0)}"  # noqa: E731
    text = (
        f"{len(rounds)} round(s) of all faults at {options.rate} events/s for each mode, two replicas of each, seed {options.seed}. {about('.')}.\n\n"
        + table(["fault", "s until all was well", "2xx", "other answers", *(f"longest without a 2xx, `{fleet}`, s" for fleet in FLEETS),
                 "an event waited, p50 ms / p99 s / most s", ""], rows)  # fmt: skip
        + "\n\n"
        + table(["events answered 2xx", "tries", "of them copies", "messages", "lost", "changed or invented", "with the mark", "unmarked copies",
                 "of what Redis lost (W3b)", "not answered, and kept", "other"],
                [[f"{total('events'):,}", f"{len(tries):,}", f"{sum(each[2] for each in tries):,}", f"{total('messages'):,}", told("lost"),
                  f"{int(told('changed')) + int(told('invented'))}", f"{total('marked'):,}", told("unmarked"), f"{total('forgotten'):,}",
                  f"{total('unanswered'):,}", sum(kinds.values())]])  # fmt: skip
    )
    return text, wrong


def write(path, part, text):
    """Puts a part of the results in the place of what was there; what people wrote around it stays."""
    begin, end = f"<!-- {part}, written by the program -->", f"<!-- end of {part} -->"
    old = path.read_text() if path.exists() else f"# Scale out\n\n{begin}\n{end}\n"
    if begin not in old:
        old += f"\n{begin}\n{end}\n"
    before, _, rest = old.partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
