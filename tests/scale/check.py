"""Replicas of the gateway behind HAProxy, before a RabbitMQ cluster and Redis with Sentinels, with faults under load.

Every event that was answered 2xx has to be in its quorum queue, with the bytes that were sent; a second message of it has to carry the
duplicate mark, unless Redis lost what it had acknowledged about it. Ends with a table, and 1 where anything is otherwise.
"""

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "common"), str(HERE.parent / "bench")]

import pika  # noqa: E402
from account import Message, self_test, settle  # noqa: E402
from asking import until  # noqa: E402
from cluster import Cluster  # noqa: E402
from faults import FAULTS, LONG_ONLY  # noqa: E402
from replicas import FLEETS, SECRET, Replicas  # noqa: E402
from report import Stage, figures, write  # noqa: E402
from sizes import sizes  # noqa: E402
from stores import Front, Pair, Services  # noqa: E402
from throughput import throughput  # noqa: E402

MARK = "hookgate-possible-duplicate"
SHORT, LONG = {"rate": 120, "rounds": 1}, {"rate": 250, "rounds": 5}
REPLICAS = {fleet: 2 for fleet in FLEETS}


class Sender:
    """The process of sender.py."""

    def __init__(self, folder, plan):
        self.ledger = folder / f"ledger-{plan['name']}.json"
        words = [sys.executable, str(HERE / "sender.py"), json.dumps({**plan, "ledger": str(self.ledger)})]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(self, words):
        self.child.stdin.write(f"{words}\n")
        return json.loads(self.child.stdout.readline())

    def again(self, begin, end):
        return self.say(f"again {begin} {end}")["again"]

    def refused(self):
        """Events that were refused, and have not been answered 2xx since."""
        return self.say("refused")["refused"]

    def stop(self):
        self.say("stop")
        self.child.wait(10)
        return json.loads(self.ledger.read_text())

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(10)


class World:
    """All that runs, and what was noted while it did."""

    def __init__(self, options, folder, stack):
        self.options, self.folder, self.rng = options, folder, random.Random(options.seed)
        kept = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        with ThreadPoolExecutor() as threads:
            starting = threads.submit(lambda: kept(Pair(folder / "redis")))
            self.cluster = kept(Cluster(folder / "rabbitmq"))
            self.pair = starting.result()
        self.services = kept(Services(folder / "services", self.cluster, self.pair))
        self.replicas = kept(Replicas(options.hookgate, folder / "replicas", self.services, REPLICAS))
        self.front = kept(Front(folder / "front", self.replicas.addresses()))
        self.queues = [f"webhooks.{fleet}" for fleet in FLEETS]
        self.forgotten, self.unrefused, self.sender, self.kept = set(), [], None, kept
        until("HAProxy sees the replicas", lambda: all(
            status.startswith("UP") for fleet in FLEETS for status, _ in self.front.servers(fleet).values()))
        self.cluster.until_whole(self.queues)
        for queue in self.queues:
            if self.cluster.members(queue) != len(self.cluster.names):
                raise AssertionError(f"{queue} has {self.cluster.members(queue)} members, and is to have one in every node")
        self.cluster.sync()

    def until_well(self):
        """Everything runs, and is seen to."""
        self.cluster.until_whole(self.queues)
        self.replicas.until_ready()
        until("HAProxy sees the replicas", lambda: all(
            self.front.is_up(fleet, server) for fleet in FLEETS for server in self.front.servers(fleet)))

    def round(self, number):
        """Every fault once, then the account. Gives its stages and what is wrong."""
        plan = {"fronts": self.front.ports, "rate": self.options.rate, "seed": self.options.seed, "name": f"r{number}", "secret": SECRET}
        self.sender = self.kept(Sender(self.folder, plan))
        stages, self.forgotten, self.unrefused = [], set(), []
        for title, fault in FAULTS.items():
            if self.options.only not in title or (title in LONG_ONLY and not self.options.long):
                continue
            begun = time.monotonic()
            said = fault(self)
            stages.append(Stage(title, begun, time.monotonic(), said))
            print(f"{time.monotonic() - self.options.begun:6.1f} s  {title}: {said}", flush=True)
        ledger = self.sender.stop()
        self.pair.until_whole()
        begun = time.monotonic()
        self.replicas.until_settled()
        print(f"{time.monotonic() - self.options.begun:6.1f} s  every journal is handed over, {time.monotonic() - begun:.1f} s after the last answer", flush=True)
        messages = [message for queue in self.queues for message in drained(self.services.amqp_url, queue)]
        kept = {each["id"]: each["digest"] for each in ledger["kept"]}
        account = settle(kept, set(kept.values()), messages, self.forgotten)
        account.wrong = [each + told_of(each, ledger, stages) for each in account.wrong] + self.other_wrongs(ledger)
        return stages, ledger, account

    def other_wrongs(self, ledger):
        wrong = []
        if ledger["unanswered"]:
            wrong.append(f"stuck: {ledger['unanswered']} events were not answered 2xx within a minute of the last fault")
        if len(ledger["kept"]) != len({each["id"] for each in ledger["kept"]}):
            wrong.append("changed: two events have one message id")
        for fleet, _, _, status, took, at in ledger["tries"]:
            if status // 100 != 2 and status not in (0, 502, 503, 504):
                wrong.append(f"answer: {status} of the fleet {fleet} to what was signed")
            if status // 100 != 2 and any(begin <= at - took and at <= end for begin, end in self.unrefused):
                wrong.append(f"refused: {status or 'no answer'} by the fleet {fleet} in a rolling upgrade")
        for queue in ("webhooks.invalid", "webhooks.dead"):
            if count(self.services.amqp_url, queue):
                wrong.append(f"astray: {count(self.services.amqp_url, queue)} messages in {queue}")
        for replica in self.replicas.all():
            if not replica.metric("hookgate_requests_total", outcome="accepted"):
                wrong.append(f"idle: {replica.folder.name} has accepted nothing since its start, and should have had its share")
        return wrong


def told_of(wrong, ledger, stages):
    """Whose the event of a broken promise is, and what befell when it was first answered 2xx."""
    for each in ledger["kept"]:
        if each["id"] in wrong:
            when = [stage.title for stage in stages if stage.begin <= each["at"] <= stage.end]
            return f" ({each['fleet']}, answered during «{''.join(when) or 'the end'}»)"
    return ""


@contextlib.contextmanager
def channel(url):
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


def count(url, queue):
    with channel(url) as to:
        return to.queue_declare(queue, passive=True).method.message_count


def drained(url, queue):
    """All that lies in a queue, acknowledged."""
    with channel(url) as taking:
        taking.basic_qos(prefetch_count=2000)
        taken = 0
        for method, properties, body in taking.consume(queue, inactivity_timeout=1.5):
            if method is None:
                break
            digest, headers = hashlib.sha256(body).hexdigest(), properties.headers or {}
            if headers.get("hookgate-digest") != digest:
                raise AssertionError(f"{properties.message_id} has a digest of other bytes: {headers}")
            taken += 1
            if taken % 500 == 0:
                taking.basic_ack(method.delivery_tag, multiple=True)
            yield Message(properties.message_id, digest, bool(headers.get(MARK)))
        if taken:
            taking.basic_ack(0, multiple=True)
        taking.cancel()
    left = count(url, queue)
    if left:
        raise AssertionError(f"{left} messages are left in {queue}")


def options_of(arguments):
    options = argparse.ArgumentParser(prog="tests/scale/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hookgate", required=True, type=lambda path: Path(path).resolve(), help="the binary")
    options.add_argument("--long", action="store_true", help="five rounds at twice the load; writes tests/scale/RESULTS.md")
    options.add_argument("--throughput", metavar="BENCH", type=lambda path: Path(path).resolve(),
                         help="measures 1, 2 and 3 replicas with this load generator (target/…/examples/bench), and nothing else")  # fmt: skip
    options.add_argument("--sizes", metavar="BENCH", type=lambda path: Path(path).resolve(), help="measures what an event costs, and nothing else")
    options.add_argument("--rounds", type=int, help="of all faults; default: 1, with --long 5")
    options.add_argument("--rate", type=int, help="events a second for each fleet; default: 120, with --long 250")
    options.add_argument("--only", default="", help="faults whose title has these words")
    options.add_argument("--seed", type=int, default=random.randrange(2**32), help="of bodies, copies and victims")
    options.add_argument("--keep", action="store_true", help="leave the folder with all logs")
    given = options.parse_args(arguments)
    usual = LONG if given.long else SHORT
    given.rounds, given.rate = given.rounds or usual["rounds"], given.rate or usual["rate"]
    given.begun = time.monotonic()
    if not given.hookgate.is_file():
        options.error(f"{given.hookgate} is not there: build it, or name another with --hookgate")
    return given


def trial(options, folder):
    """The rounds, and whether all held."""
    rounds = []
    with contextlib.ExitStack() as stack:
        world = World(options, folder, stack)
        print(f"{time.monotonic() - options.begun:6.1f} s  all is started", flush=True)
        for number in range(1, options.rounds + 1):
            rounds.append(world.round(number))
    text, wrong = figures(rounds, options)
    print(text)
    if options.long:
        write(HERE / "RESULTS.md", "faults", text)
    for each in wrong[:20]:
        print(f"FAILED {each}")
    return not wrong


def main():
    options = options_of(sys.argv[1:])
    # Servers have sessions of their own, and would outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    self_test()
    print(f"seed {options.seed}", flush=True)
    folder, well = Path(tempfile.mkdtemp(prefix="hookgate-scale-")), False
    try:
        if options.throughput:
            write(HERE / "RESULTS.md", "throughput", throughput(options, folder))
            well = True
        elif options.sizes:
            write(HERE / "RESULTS.md", "sizes", sizes(options, folder))
            well = True
        else:
            well = trial(options, folder)
    except (Exception, SystemExit):
        traceback.print_exc(file=sys.stdout)
    if well and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what the servers said is in {folder}")
    print(f"{'all held' if well else 'FAILED'} after {time.monotonic() - options.begun:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
