"""One version of the gateway takes the folder of another over, under load, and what was answered 2xx is compared with what came out.

Four rounds: the other version is stopped (SIGTERM), or killed (SIGKILL), and this one goes on with its folder; and the same the
other way round, as when an upgrade is taken back. Senders go on meanwhile, and repeat events of before; a worker holds leases
when it happens. Started by tests/upgrade/run."""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "common"))
from services import Process, free_ports  # noqa: E402

SECRET = "whsec_upgrade_0123456789abcdef"
MARK = "hookgate-possible-duplicate"
TOML = """[ingress]
listen = "127.0.0.1:{ingress}"
[admin]
listen = "127.0.0.1:{admin}"
[journal]
dir = "{folder}/journal"
segment_bytes = "16MiB"
[sink]
kind = "inbox"
[sources.shop]
provider = "stripe"
schema = false
secrets = [{{ env = "SHOP_SECRET", label = "live" }}]
"""
# Events a second while one version gives way to the other, and for how long before and after.
RATE, BEFORE, AFTER = 2_000, 3, 7
# Of the events of before, so many are sent once more afterwards.
AGAIN = 5_000
# Out with the worker when it happens.
LEASED = 300


class Worker(threading.Thread):
    """Takes events from the inbox and answers for them, and keeps book of each that it was handed."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ends, self.holds, self.most = port, threading.Event(), threading.Event(), None
        self.handed, self.ids, self.wrong, self.done, self.error = defaultdict(list), {}, 0, 0, None

    def call(self, path, body=b""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text) if answer.status in (200, 409) else None
        except (OSError, http.client.HTTPException):
            # The gateway is away, or it hung up.
            return None
        finally:
            connection.close()

    def run(self):
        try:
            while not self.ends.is_set():
                self.turn()
        except Exception as error:  # noqa: BLE001 told by who joins
            self.error = error

    def turn(self):
        if self.most is not None and self.done >= self.most and not self.holds.is_set():
            time.sleep(0.01)
            return
        wanted = LEASED if self.holds.is_set() else 500
        told = self.call(f"/v1/inbox/shop/claim?max={wanted}&lease=4s&wait=1s")
        if told is None:
            time.sleep(0.02)
            return
        events = told["events"]
        for event in events:
            headers, body = event["headers"], event["body"].encode()
            own = headers["hookgate-event-id"]
            self.handed[own].append(headers.get(MARK) in (True, "true"))
            same = self.ids.setdefault(own, event["message_id"]) == event["message_id"]
            whole = hashlib.sha256(body).hexdigest() == headers["hookgate-digest"] and own in event["body"]
            self.wrong += not (same and whole)
        if self.holds.is_set():
            # These are out when the gateway ends; their leases run out, or end with it.
            while self.holds.is_set() and not self.ends.is_set():
                time.sleep(0.01)
            return
        if events:
            self.call("/v1/inbox/shop/ack", json.dumps({"tokens": [event["token"] for event in events]}).encode())
            self.done += len(events)


class Round:
    def __init__(self, plan, name, first, second, how):
        self.plan, self.name, self.first, self.second, self.how = plan, name, first, second, how
        self.folder = Path(tempfile.mkdtemp(prefix="hookgate-upgrade-"))
        self.ingress, self.admin = free_ports(2)
        self.config = self.folder / "hookgate.toml"
        self.config.write_text(TOML.format(ingress=self.ingress, admin=self.admin, folder=self.folder))
        self.starts, self.acked, self.sent = 0, [], 0

    def start(self, binary):
        self.starts += 1
        command = [str(binary), "serve", "--config", str(self.config)]
        log = self.folder / f"log-{self.starts}"
        return Process("hookgate", command, log, self.ingress, {"SHOP_SECRET": SECRET})

    def load(self, *more):
        acked = self.folder / f"acked-{len(self.acked)}"
        self.acked.append(acked)
        url = f"http://127.0.0.1:{self.ingress}/in/shop"
        command = [str(self.plan.bench), "--url", url, "--secret", SECRET, "--acked", str(acked), *map(str, more)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def finished(load):
        out, err = load.communicate(timeout=600)
        if load.returncode != 0:
            raise SystemExit(f"the load ended with {load.returncode}: {err}")
        return json.loads(out.strip().splitlines()[-1])

    def stats(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("GET", "/v1/stats?steps=0")
        totals = json.loads(connection.getresponse().read())["totals"]
        connection.close()
        return totals

    def run(self):
        gateway = self.start(self.first)
        worker = Worker(self.admin)
        try:
            return self.drill(gateway, worker)
        finally:
            worker.ends.set()
            for one in (gateway, getattr(self, "next", None)):
                if one is not None and one.child.poll() is None:
                    one.stop()

    def drill(self, gateway, worker):
        # Two thirds are handed over by the first version; the others wait for the second.
        worker.most = self.plan.events * 2 // 3
        worker.start()
        written = self.finished(self.load("--count", self.plan.events, "--connections", 64, "--id-seed", 7))
        deadline = time.monotonic() + 300
        while worker.done < worker.most and worker.is_alive():
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: the worker has {worker.done} of {worker.most} events after five minutes")
            time.sleep(0.05)
        waiting = self.stats()["pending"]
        under = self.load("--rate", RATE, "--duration", BEFORE + AFTER, "--connections", 32, "--dup-fraction", 0.05)
        time.sleep(BEFORE)
        worker.holds.set()
        time.sleep(0.3)
        began = time.monotonic()
        if self.how == "stop":
            gateway.child.send_signal(signal.SIGTERM)
        else:
            gateway.child.kill()
        code = gateway.child.wait(30)
        self.next = self.start(self.second)
        away = time.monotonic() - began
        recovered = self.stats()["recovered"]
        worker.holds.clear()
        worker.most = None
        loaded = self.finished(under)
        again = self.finished(self.load("--count", AGAIN, "--connections", 16, "--id-seed", 7))
        self.empty(worker)
        totals = self.stats()
        return self.judge(worker, written, loaded, again, totals) | {
            "round": self.name, "exit": code, "waiting": waiting, "recovered": recovered, "away_ms": round(away * 1000),
        }

    def empty(self, worker):
        """By this version's own word where it has one, else by its counts."""
        if self.second == self.plan.next:
            command = [self.second, "drain", "--grace", "0s", "--wait", "5m", "--config", self.config]
            told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SHOP_SECRET": SECRET}, check=False)
            if told.returncode != 0:
                raise SystemExit(f"hookgate drain: {told.returncode}: {told.stdout}{told.stderr}")
        deadline = time.monotonic() + 300
        while (left := self.stats())["pending"] > 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: events are left after five minutes: {left}")
            time.sleep(0.2)
        worker.ends.set()
        worker.join(60)
        if worker.error:
            raise worker.error

    def judge(self, worker, written, loaded, again, totals):
        acked = set()
        for path in self.acked:
            acked.update(path.read_text().split())
        handed = worker.handed
        copies = [marked for times in handed.values() for marked in times[1:]]
        stray = [count for count in ("held", "poison", "parked", "unroutable") if totals[count]]
        answers = sum(run["answered"] for run in (written, loaded, again))
        refused = {status: count for status, count in loaded["statuses"].items() if not status.startswith("2")}
        return {
            "written": written["accepted"], "per_second": round(written["rps"]), "answers": answers, "acked": len(acked),
            "handed": len(handed), "lost": len(acked - handed.keys()), "changed": worker.wrong, "copies": len(copies),
            "unmarked_copies": copies.count(False), "again": again["accepted"], "unanswered": loaded["errors"],
            "refused": refused, "stray": stray, "taken": totals["accepted"],
        }


TEXT = """# An upgrade drill

`tests/upgrade/run --report tests/upgrade/RESULTS.md`; the other version is {named}, {cores} cores, load, worker and gateway on them.

One version writes {events:,} events with 64 connections while a worker takes two thirds of them; then {rate:,} a second come in, a twentieth
of them repeated, the worker holds {leased} leases, the gateway is stopped or killed, and the other version starts on its folder.
Senders go on throughout. Afterwards {again:,} events of the first hundred thousand are sent once more: all have to be duplicates, or they
would be among the unmarked copies. Where this version comes second, `hookgate drain` has the last word.

{table}

«2xx ids» are events that were answered 2xx at least once; «recovered» those that the second version found waiting; «away» is the time from
the signal to the first connection that the second one takes; «copies» are events that the worker was handed a second time, all of them
leases that were out when the first one ended (W1, W5). A killed gateway may keep an event whose sender had no answer.
"""
HEAD = ["round", "written", "2xx ids", "away", "refused, unanswered", "recovered", "sent again", "handed out", "copies, marked",
        "copies, unmarked", "lost", "changed"]


def row(found):
    refused = ", ".join(f"{count} × {status}" for status, count in found["refused"].items()) or "0"
    return [found["round"], f"{found['written']:,} at {found['per_second']:,}/s", f"{found['acked']:,}", f"{found['away_ms']} ms",
            f"{refused}, {found['unanswered']}", f"{found['recovered']:,}", f"{found['again']:,}", f"{found['handed']:,}",
            f"{found['copies'] - found['unmarked_copies']:,}", str(found["unmarked_copies"]), str(found["lost"]), str(found["changed"])]


def amiss(found):
    """What is wrong with a round; nothing where all is well."""
    code = 0 if found["how"] == "stop" else -signal.SIGKILL
    holds = {
        f"the first version ends with {code}": found["exit"] == code,
        f"all of {found['asked']} events are written": found["written"] >= found["asked"],
        "the second version finds those that wait": found["recovered"] >= found["waiting"],
        "the second version answers new events with 2xx": found["taken"] >= RATE,
        f"{AGAIN} events of before are answered 2xx again": found["again"] == AGAIN,
        "leases that were out are handed over again": found["copies"] > 0,
        "every copy is marked": found["unmarked_copies"] == 0,
        "nothing is lost": found["lost"] == 0,
        "nothing is changed": found["changed"] == 0,
        "nothing is left aside": not found["stray"],
    }
    return [what for what, held in holds.items() if not held]


def main():
    parser = argparse.ArgumentParser(prog="tests/upgrade/run", description=__doc__.partition("\n")[0])
    for name in ("previous", "next", "bench"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--named", default="the previous version")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--report", type=Path)
    plan = parser.parse_args()
    rounds = [
        (f"{plan.named} stopped, this one takes over", plan.previous, plan.next, "stop"),
        (f"{plan.named} killed, this one takes over", plan.previous, plan.next, "kill"),
        (f"this one stopped, {plan.named} takes over", plan.next, plan.previous, "stop"),
        (f"this one killed, {plan.named} takes over", plan.next, plan.previous, "kill"),
    ]
    all_found = []
    for name, first, second, how in rounds:
        drill = Round(plan, name, first, second, how)
        found = drill.run() | {"asked": plan.events, "how": how}
        all_found.append(found)
        wrong = amiss(found)
        if not wrong:
            shutil.rmtree(drill.folder)
        print(f"{'FAILED, not so: ' + '; '.join(wrong) if wrong else 'ok'}: {json.dumps(found)}", flush=True)
    lines = [HEAD, ["---"] * len(HEAD), *map(row, all_found)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    print(table)
    if plan.report:
        text = TEXT.format(
            named=plan.named, events=plan.events, table=table, cores=os.cpu_count(), rate=RATE, leased=LEASED, again=AGAIN
        )
        plan.report.write_text(text)
    return 1 if any(map(amiss, all_found)) else 0


if __name__ == "__main__":
    sys.exit(main())
