"""The providers' own libraries at both ends of a gateway.

What is posted was signed by the library, or by Python's or node's crypto where it only verifies, and the library agrees
with it. With one byte changed the library refuses it, and so must the gateway. What came out of RabbitMQ is verified by
the library, with the body and the headers of the message and nothing else. Ends with `N passed, M failed`.
"""

import argparse
import collections
import contextlib
import http.client
import importlib.metadata
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import pika

import signers
from gateway import Gateway, Source
from node import Node
from services import RabbitMq

DRAIN_SECONDS = 30
AT_ONCE = 3  # signers, so that one works while the others wait for the disk


def drain(amqp_url, queue, wanted):
    """Takes `wanted` messages, or what has come within the time; then one more look for too many."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        deadline, taken = time.monotonic() + DRAIN_SECONDS, []
        channel = opened(connection, queue, deadline)
        for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.2):
            if method:
                taken.append((properties, body))
            elif len(taken) >= wanted or time.monotonic() > deadline:
                return taken


def opened(connection, queue, deadline):
    """The gateway takes deliveries before it has reached the broker: the queue comes with the first."""
    while True:
        channel = connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
            return channel
        except pika.exceptions.ChannelClosedByBroker:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Account:
    """Counts the checks of one signer; a failed one is told at once. Beside them, what its events came to."""

    def __init__(self):
        self.passed = self.failed = self.accepted = self.refused = 0

    def check(self, what, found, wanted):
        if found == wanted:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: found {found!r}, wanted {wanted!r}")
        return found == wanted


class Wire:
    """One connection to the gateway, which sends a request as it is."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=15)
        self.sent = 0

    def send(self, request):
        self.sent += 1
        caller = {"X-Forwarded-For": f"10.{self.sent >> 16 & 255}.{self.sent >> 8 & 255}.{self.sent & 255}"}
        self.connection.request(
            request.method, request.target, request.body or None, {**request.headers, **caller}
        )
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def check_signer(signer, account, rng, url, amqp_url, events):
    """Random events, each also with one byte changed here and there: what the library refuses, the gateway does."""
    wire, sent = Wire(url), {}
    for number in range(events):
        request = signer.make(rng, number, url)
        what = f"{signer.name} {number}"
        for part, changed in signer.broken(rng, request):
            account.check(f"{what}: its library refuses a changed {part}", signer.verdict(changed, url), False)
            refused = account.check(f"{what}: so does the gateway, {part}", wire.send(changed)[0], 401)
            account.refused += refused
        account.check(f"{what}: its library agrees", signer.verdict(request, url), True)
        account.accepted += account.check(f"{what}: accepted", wire.send(request)[0], 200)
        sent[signer.mark(request.headers, request.body)] = request
    account.check(f"{signer.name}: no two events alike", len(sent), events)
    check_messages(signer, sent, drain(amqp_url, f"webhooks.{signer.name}", len(sent)), url, account)


def check_messages(signer, sent, messages, url, account):
    """As many as were sent, with their bytes, and with all that their library needs."""
    account.check(f"{signer.name}: messages", len(messages), len(sent))
    found = collections.Counter(body for _, body in messages)
    wanted = collections.Counter(request.body for request in sent.values())
    account.check(f"{signer.name}: byte for byte", (found - wanted, wanted - found), ({}, {}))
    for properties, body in messages if signer.carried else []:
        carried = carried_headers(properties)
        request = sent.get(signer.mark(carried, body))
        if account.check(f"{signer.name}: a message carries its proof", request is not None, True):
            proof = signers.Request(request.method, request.target, carried, body)
            account.check(f"{signer.name}: its library verifies the message", signer.verdict(proof, url), True)


def check_handshakes(slack, discord, url, account):
    wire = Wire(url)
    asked = [
        (slack.signed(b'{"type":"url_verification","challenge":"3eZbrw1aBm2r"}', "application/json"), b"3eZbrw1aBm2r"),
        (discord.signed(b'{"type":1}'), b'{"type":1}'),
    ]
    for request, answer in asked:
        account.check(f"{request.target}: a handshake is answered", wire.send(request), (200, answer))
        forged = replace(request, body=request.body.replace(b"1", b"2", 1))
        account.check(f"{request.target}: a forged one is not", wire.send(forged)[0], 401)


def carried_headers(properties):
    """The delivery's own headers that a message has."""
    sent = (properties.headers or {}).items()
    return {name.removeprefix("http-"): value for name, value in sent if name.startswith("http-")}


def check_libraries(signer, account, rng, events):
    """The library against itself: what a gateway then has to agree with."""
    url = "http://hooks.example.com:8080"
    for number in range(events):
        request = signer.make(rng, number, url)
        account.check(f"{signer.name} {number}: signs and verifies", signer.verdict(request, url), True)
        for part, changed in signer.broken(rng, request):
            account.check(f"{signer.name} {number}: sees a changed {part}", signer.verdict(changed, url), False)


def in_turn(chosen, seed, check):
    """`check(signer, account, rng)` for each, some at once; each has a sequence of its own, whoever runs beside it."""
    accounts = {name: Account() for name in chosen}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        jobs = [
            threads.submit(check, signer, accounts[name], random.Random(f"{seed} {name}"))
            for name, signer in chosen.items()
        ]
        for job in jobs:
            job.result()
    return accounts


def check_gateway(binary, every, chosen, options, folder):
    """Each signer against one gateway and one broker."""
    fields = ("name", "provider", "secret", "scheme", "kid", "tolerance", "settings")
    sources = [Source(**{field: getattr(each, field) for field in fields}) for each in every.values()]
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(contextlib.closing(RabbitMq(folder / "rabbitmq")))
        gateway = stack.enter_context(contextlib.closing(Gateway(binary, folder / "hookgate", broker.url, sources)))
        ours = gateway.url, broker.url
        accounts = in_turn(chosen, options.seed, lambda *signer: check_signer(*signer, *ours, options.events))
        check_handshakes(every["slack"], every["discord"], gateway.url, accounts.setdefault("slack", Account()))
    return accounts


def told(chosen, accounts, node):
    """A table of who signed and verified how much."""
    for name, signer in chosen.items():
        registry, _, library = signer.package.partition(" ")
        versions = {"PyPI": importlib.metadata.version, "npm": node.version}
        version = versions[registry](library) if registry in versions else ""
        counts = f"{accounts[name].accepted:5} accepted {accounts[name].refused:5} changed and refused"
        print(f"{name:22} {f'{signer.package} {version}':46} {counts}")


def options_of(arguments):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hookgate", required=True, help="the binary")
    options.add_argument("--node", required=True, help="the folder that holds node_modules")
    options.add_argument("--libraries-only", action="store_true", help="only whether the libraries agree with themselves")
    options.add_argument("--events", type=int, default=200, help="random events of each signer")
    options.add_argument("--seed", type=int, default=random.randrange(2**32), help="of a run that is to be repeated")
    options.add_argument("--only", default="", help="names of signers, with commas between them; default: all")
    return options.parse_args(arguments)


def main():
    options = options_of(sys.argv[1:])
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(contextlib.closing(Node(options.node)))
        every = signers.all_signers(node)
        chosen = {name: every[name] for name in options.only.split(",") if name} or every
        print(f"{options.events} random events of each of {len(chosen)} signers, seed {options.seed}")
        if options.libraries_only:
            accounts = in_turn(chosen, options.seed, lambda *signer: check_libraries(*signer, options.events))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            accounts = check_gateway(os.path.abspath(options.hookgate), every, chosen, options, folder)
            told(chosen, accounts, node)
    passed, failed = (sum(getattr(each, what) for each in accounts.values()) for what in ("passed", "failed"))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
