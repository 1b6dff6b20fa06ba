"""The providers' own libraries at both ends of a gateway.

What is posted was signed by the library; what came out of RabbitMQ is verified by it, with the body and the
headers of the message and nothing else. Ends with `N passed, M failed`.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pika
import stripe

import signers
from services import Gateway, RabbitMq, Source

SECRETS = {
    "stripe": "whsec_sdk_3f9c2ab17d5e48c09a61",
    "github": "github-sdk-7c1f0d9be2a6453e8d",
    "shopify": "shpss_sdk_5b8e1f7a90c24d36be",
}
DRAIN_SECONDS = 30


class Libraries:
    """One way to call each provider's library."""

    def __init__(self, node_folder):
        script = Path(__file__).with_name("sdk.mjs").read_bytes()
        (Path(node_folder) / "sdk.mjs").write_bytes(script)  # beside its node_modules
        self.node = subprocess.Popen(
            ["node", "sdk.mjs"], cwd=node_folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request):
        self.node.stdin.write(json.dumps(request) + "\n")
        self.node.stdin.flush()
        line = self.node.stdout.readline()
        if not line:
            raise SystemExit("node ended; see its message above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def sign(self, provider, body):
        secret = SECRETS[provider]
        if provider == "stripe":
            return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(body, secret)}
        return self.ask(op="sign", provider=provider, secret=secret, body=body)["headers"]

    def verify(self, provider, body, headers):
        secret = SECRETS[provider]
        if provider == "stripe":
            try:
                stripe.Webhook.construct_event(body, headers.get("stripe-signature"), secret)
                return True
            except stripe.SignatureVerificationError:
                return False
        return self.ask(op="verify", provider=provider, secret=secret, body=body, headers=headers)["valid"]

    def stop(self):
        self.node.stdin.close()
        self.node.wait(10)


def payloads(provider):
    """Bodies that a parser would print differently: spaces, escapes, other scripts, big numbers, 100 KB."""
    for note, indent in (("plain", None), ("Zoë, 東京, \u2028, <&>", 2), ("x" * 100_000, None)):
        fact = {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": "charge.succeeded", "note": note}
        fact |= {"api_version": "2025-03-31", "created": int(time.time()), "data": {"object": {"id": "ch_1", "object": "charge", "amount": 1.10}}}
        text = json.dumps(fact, indent=indent, ensure_ascii=indent is None)
        yield text.replace("1.1", "1.10000000000000000000001") + ("\n" if indent else "")


def headers(provider):
    """The headers that the provider sends beside the signature."""
    own = {
        "stripe": {},
        "github": {"x-github-event": "push", "x-github-delivery": str(uuid.uuid4()), "x-github-hook-id": "1"},
        "shopify": {
            "x-shopify-topic": "orders/create",
            "x-shopify-shop-domain": "example.myshopify.com",
            "x-shopify-api-version": "2025-07",
            "x-shopify-webhook-id": str(uuid.uuid4()),
            "x-shopify-event-id": str(uuid.uuid4()),
        },
    }
    return {"content-type": "application/json"} | own[provider]


def post(url, body, sent):
    request = urllib.request.Request(url, data=body.encode(), headers=sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


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
    """Counts checks; a failed one is told at once."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, found, wanted):
        if found == wanted:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: found {found!r}, wanted {wanted!r}")


def check_provider(provider, url, amqp_url, libraries, account):
    bodies = list(payloads(provider))
    for number, body in enumerate(bodies):
        signed = headers(provider) | libraries.sign(provider, body)
        changed = body.replace("evt_", "evu_", 1)
        account.check(f"{provider} {number}: changed body is refused", post(url, changed, signed), 401)
        account.check(f"{provider} {number}: signed by the library is accepted", post(url, body, signed), 200)
    messages = drain(amqp_url, f"webhooks.{provider}", len(bodies))
    account.check(f"{provider}: messages", len(messages), len(bodies))
    for properties, body in messages:
        carried = carried_headers(properties)
        text = body.decode()
        account.check(f"{provider}: a message has the bytes that were sent", text in bodies, True)
        account.check(f"{provider}: its library verifies the message", libraries.verify(provider, text, carried), True)
        account.check(f"{provider}: and would have seen a change", libraries.verify(provider, text + " ", carried), False)


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
            account.check(f"{what}: so does the gateway, {part}", wire.send(changed)[0], 401)
        account.check(f"{what}: its library agrees", signer.verdict(request, url), True)
        account.check(f"{what}: accepted", wire.send(request)[0], 200)
        sent[request.headers[signer.signature]] = request
    messages = drain(amqp_url, f"webhooks.{signer.name}", events)
    found = collections.Counter(body for _, body in messages)
    account.check(f"{signer.name}: messages", len(messages), events)
    wanted = collections.Counter(request.body for request in sent.values())
    account.check(f"{signer.name}: byte for byte", (found - wanted, wanted - found), ({}, {}))
    for properties, body in messages:
        carried = carried_headers(properties)
        request = sent.get(carried.get(signer.signature))
        account.check(f"{signer.name}: a message carries its proof", request is not None, True)
        if request:
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
        forged = signers.replace(request, body=request.body.replace(b"1", b"2", 1))
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


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hookgate", required=True, help="the release binary")
    arguments.add_argument("--node", required=True, help="the folder that holds node_modules")
    arguments.add_argument("--libraries-only", action="store_true", help="check only that the libraries agree with themselves")
    arguments.add_argument("--events", type=int, default=200, help="random events of each signer")
    arguments.add_argument("--seed", type=int, default=random.randrange(2**32), help="of a run that is to be repeated")
    options = arguments.parse_args()
    rng = random.Random(options.seed)
    print(f"{options.events} random events of each signer, seed {options.seed}")
    account = Account()
    with contextlib.ExitStack() as stack:
        libraries = Libraries(options.node)
        stack.callback(libraries.stop)
        slack, discord = signers.Slack(), signers.Discord(libraries)
        random_ones = [slack, signers.TwilioForm(), signers.TwilioJson(), signers.StandardWebhooks()]
        random_ones += [signers.Asymmetric(libraries), signers.Svix(), discord]
        for provider in SECRETS:
            for body in payloads(provider):
                sent = headers(provider) | libraries.sign(provider, body)
                account.check(f"{provider}: signs and verifies", libraries.verify(provider, body, sent), True)
                account.check(f"{provider}: sees a change", libraries.verify(provider, body + " ", sent), False)
        if options.libraries_only:
            for signer in random_ones:
                check_libraries(signer, account, rng, options.events)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            broker = RabbitMq(folder / "rabbitmq")
            stack.callback(broker.stop)
            sources = [Source(name, name, secret) for name, secret in SECRETS.items()]
            sources += [Source(each.name, each.provider, each.secret, each.scheme) for each in random_ones]
            gateway = Gateway(os.path.abspath(options.hookgate), folder / "hookgate", broker.url, sources)
            stack.callback(gateway.stop)
            for provider in SECRETS:
                check_provider(provider, f"{gateway.url}/in/{provider}", broker.url, libraries, account)
            for signer in random_ones:
                check_signer(signer, gateway.url, broker.url, account, rng, options.events)
            check_handshakes(slack, discord, gateway.url, account)
    print(f"{account.passed} passed, {account.failed} failed")
    return 1 if account.failed or not account.passed else 0


if __name__ == "__main__":
    sys.exit(main())
