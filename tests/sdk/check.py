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
from dataclasses import replace
from pathlib import Path

import pika

import signers
from node import Node
from services import Gateway, RabbitMq, Source

DRAIN_SECONDS = 30


def drain(amqp_url, queue, wanted):
    """Takes `wanted` messages, or what has come within the time; then one more look for too many."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        channel, taken = connection.channel(), []
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            try:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
            except pika.exceptions.ChannelClosedByBroker:
                # The gateway takes deliveries before it has reached the broker: the queue comes with the first.
                time.sleep(0.1)
                channel = connection.channel()
                continue
            if method:
                taken.append((properties, body))
            elif len(taken) >= wanted:
                break
            else:
                time.sleep(0.1)
        return taken


class Account:
    """Counts checks; a failed one is told at once. Beside them, what each signer's events came to."""

    def __init__(self):
        self.passed = self.failed = 0
        self.accepted, self.refused = collections.Counter(), collections.Counter()

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

    def send(self, request):
        self.connection.request(request.method, request.target, request.body or None, request.headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def check_signer(signer, url, amqp_url, account, rng, events):
    """Random events, each also with one byte changed here and there: what the library refuses, the gateway does."""
    wire, sent = Wire(url), {}
    for number in range(events):
        request = signer.make(rng, number, url)
        what = f"{signer.name} {number}"
        for part, changed in signer.broken(rng, request):
            account.check(f"{what}: its library refuses a changed {part}", signer.verdict(changed, url), False)
            refused = account.check(f"{what}: so does the gateway, {part}", wire.send(changed)[0], 401)
            account.refused[signer.name] += refused
        account.check(f"{what}: its library agrees", signer.verdict(request, url), True)
        account.accepted[signer.name] += account.check(f"{what}: accepted", wire.send(request)[0], 200)
        sent[signer.mark(request.headers, request.body)] = request
    check_messages(signer, sent, drain(amqp_url, f"webhooks.{signer.name}", events), url, account)


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


def check_gateway(binary, every, amqp_url, folder, account, rng, events):
    fields = ("name", "provider", "secret", "scheme", "kid", "tolerance", "settings")
    sources = [Source(**{field: getattr(each, field) for field in fields}) for each in every.values()]
    with contextlib.closing(Gateway(os.path.abspath(binary), folder / "hookgate", amqp_url, sources)) as gateway:
        for signer in every.values():
            check_signer(signer, gateway.url, amqp_url, account, rng, events)
        check_handshakes(every["slack"], every["discord"], gateway.url, account)


def told(every, account, node):
    """A table of who signed and verified how much."""
    for signer in every.values():
        registry, _, library = signer.library.partition(" ")
        versions = {"PyPI": importlib.metadata.version, "npm": node.version}
        version = versions[registry](library) if registry in versions else ""
        counts = f"{account.accepted[signer.name]:5} accepted {account.refused[signer.name]:5} changed and refused"
        print(f"{signer.name:22} {f'{signer.library} {version}':42} {counts}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hookgate", required=True, help="the release binary")
    arguments.add_argument("--node", required=True, help="the folder that holds node_modules")
    arguments.add_argument("--libraries-only", action="store_true", help="check only that the libraries agree with themselves")
    arguments.add_argument("--events", type=int, default=200, help="random events of each signer")
    arguments.add_argument("--seed", type=int, default=random.randrange(2**32), help="of a run that is to be repeated")
    arguments.add_argument("--only", default="", help="names of signers, with commas between them; default: all")
    options = arguments.parse_args()
    rng = random.Random(options.seed)
    account = Account()
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(contextlib.closing(Node(options.node)))
        every = signers.all_signers(node)
        chosen = {name: every[name] for name in options.only.split(",") if name} or every
        print(f"{options.events} random events of each of {len(chosen)} signers, seed {options.seed}")
        if options.libraries_only:
            for signer in chosen.values():
                check_libraries(signer, account, rng, options.events)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            broker = stack.enter_context(contextlib.closing(RabbitMq(folder / "rabbitmq")))
            check_gateway(options.hookgate, chosen, broker.url, folder, account, rng, options.events)
            told(chosen, account, node)
    print(f"{account.passed} passed, {account.failed} failed")
    return 1 if account.failed or not account.passed else 0


if __name__ == "__main__":
    sys.exit(main())
