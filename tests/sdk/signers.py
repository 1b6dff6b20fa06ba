"""Slack, Twilio, Standard Webhooks, Svix and Discord: random events, signed and judged by their own libraries.

A signer makes the request that its provider would send, and says of any request what the library says. Discord and
the asymmetric Standard Webhooks sign with a private key that only they have, so node's crypto does that here.
"""

import base64
import contextlib
import datetime
import hashlib
import json
import string
import time
import urllib.parse
from dataclasses import dataclass, field, replace

import slack_sdk.signature
import standardwebhooks.webhooks
import svix.webhooks
import twilio.request_validator

NAMES = ["id", "note", "naïve", "東京", "a b", "a.b[0]", "", "__proto__", "x" * 300]
TEXTS = ["", "plain", "Zoë, 東京, \u2028, <&>", "\\\"/\b\f\n\r\t\x7f", "🦀" * 40, "%7E+~&=", "0" * 500]
BIG = 40_000


@dataclass
class Request:
    """What goes over the wire; names of headers in lower case."""

    method: str
    target: str
    headers: dict = field(default_factory=dict)
    body: bytes = b""


def random_value(rng, depth=0):
    kinds = ["text", "number", "flag", "nothing", "empty object", "empty list"]
    kind = rng.choice(kinds + (["object", "list"] * 3 if depth < 3 else []))
    if kind == "object":
        return {rng.choice(NAMES) + str(n): random_value(rng, depth + 1) for n in range(rng.randrange(5))}
    if kind == "list":
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    fixed = {"flag": rng.random() < 0.5, "nothing": None, "empty object": {}, "empty list": []}
    number = rng.choice([0, -1, 1.5, 2**63, 10**30, 1e-300])
    return {"text": rng.choice(TEXTS), "number": number, **fixed}[kind]


def random_json(rng, number, **facts):
    """An object that a parser would print differently; the first has nothing in it, some are big."""
    if number == 0:
        return b"{}"
    event = {rng.choice(NAMES) + str(n): random_value(rng) for n in range(rng.randrange(6))} | facts
    if rng.random() < 0.04:
        event["big"] = "".join(rng.choices(string.printable, k=rng.randrange(BIG, 3 * BIG)))
    layout = {"indent": rng.choice([None, None, 1, 4]), "ensure_ascii": rng.random() < 0.5}
    text = json.dumps(event, separators=rng.choice([None, (",", ":"), (" , ", " : ")]), **layout)
    return (text + rng.choice(["", "", "\n", " \r\n"])).encode()


def random_fields(rng, **facts):
    """Names and values of a form: odd ones, repeated ones, the same one twice."""
    fields = [(rng.choice(NAMES[:8]), rng.choice(TEXTS)) for _ in range(rng.randrange(8))]
    fields += [(name, value + "2") for name, value in fields if rng.random() < 0.2]
    fields += [pair for pair in fields if rng.random() < 0.1] + list(facts.items())
    rng.shuffle(fields)
    return [(name, value) for name, value in fields if name]


def encoded(rng, fields):
    quote = rng.choice([urllib.parse.quote_plus, urllib.parse.quote])
    return urllib.parse.urlencode(fields, quote_via=quote)


def token(rng, prefix=""):
    return prefix + "".join(rng.choices(string.ascii_letters + string.digits, k=24))


def other(rng, character, among):
    return rng.choice([each for each in among if each != character])


def changed_text(rng, text, first, last, among):
    """`text` with another character of `among` somewhere from `first` to before `last`."""
    at = rng.choice([at for at in range(first, last) if text[at] in among])
    return text[:at] + other(rng, text[at], among) + text[at + 1 :]


def changed_body(rng, body):
    if not body:
        return b"x"
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ (1 << rng.randrange(8))]) + body[at + 1 :]


class Signer:
    """One source of the gateway and the library at its other end."""

    provider = name = scheme = secret = None
    signature = timestamp = None  # headers
    signature_text = (string.hexdigits[:16], 0)  # its alphabet, and where it begins

    @property
    def path(self):
        return f"/in/{self.name}"

    def make(self, rng, number, base):
        raise NotImplementedError

    def agrees(self, request, base):
        raise NotImplementedError

    def verdict(self, request, base):
        """What the library says; one that cannot even read a request refuses it."""
        with contextlib.suppress(ValueError, TypeError, standardwebhooks.webhooks.WebhookVerificationError):
            return self.agrees(request, base)
        return False

    def change(self, rng, request):
        return replace(request, body=changed_body(rng, request.body))

    def broken(self, rng, request):
        """The request with one byte changed: in the body, in the signature, in the time."""
        if request.method != "GET":
            yield "body", self.change(rng, request)
        alphabet, first = self.signature_text
        sent = request.headers[self.signature]
        signature = changed_text(rng, sent, first, len(sent) - 4, alphabet)
        yield "signature", replace(request, headers=request.headers | {self.signature: signature})
        if self.timestamp:
            # The last digit alone: a time that is still fresh, and not the one that was signed.
            sent = request.headers[self.timestamp]
            later = changed_text(rng, sent, len(sent) - 1, len(sent), string.digits)
            yield "timestamp", replace(request, headers=request.headers | {self.timestamp: later})


class Slack(Signer):
    provider = name = "slack"
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    signature, timestamp = "x-slack-signature", "x-slack-request-timestamp"
    signature_text = (string.hexdigits[:16], len("v0="))

    def __init__(self):
        self.verifier = slack_sdk.signature.SignatureVerifier(self.secret)

    def signed(self, body, content_type):
        at = str(int(time.time()))
        signature = self.verifier.generate_signature(timestamp=at, body=body)
        headers = {"content-type": content_type, self.timestamp: at, self.signature: signature}
        return Request("POST", self.path, headers, body)

    def make(self, rng, number, base):
        if number % 4 == 3:
            fields = random_fields(rng, command="/weather", trigger_id=token(rng))
            return self.signed(encoded(rng, fields).encode(), "application/x-www-form-urlencoded")
        event = {"type": "event_callback", "event_id": token(rng, "Ev"), "event": {"type": "app_mention"}}
        return self.signed(random_json(rng, number, **event), "application/json")

    def agrees(self, request, base):
        return self.verifier.is_valid_request(request.body, request.headers)


class Fields:
    """The fields of a form as the library reads them: several values to a name."""

    def __init__(self, fields):
        self.values = {}
        for name, value in fields:
            self.values.setdefault(name, []).append(value)

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)

    def getall(self, name):
        return self.values[name]


class Twilio(Signer):
    """Signs URL and form; where the body is JSON, URL alone with the body's digest in it."""

    provider = "twilio"
    secret = "2bd9e9638872de601313dc77410d3b23"
    signature = "x-twilio-signature"
    signature_text = (string.ascii_letters + string.digits + "+/", 0)

    def __init__(self):
        self.verifier = twilio.request_validator.RequestValidator(self.secret)

    def signed(self, base, method, target, body, content_type, fields):
        signature = self.verifier.compute_signature(base + target, fields)
        headers = {"content-type": content_type} if content_type else {}
        headers[self.signature] = signature
        return Request(method, target, headers, body)

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        path, _, query = request.target.partition("?")
        letters = string.ascii_letters + string.digits
        # Within a percent escape the change would be one of case, or no escape any more.
        whole = [at for at in range(len(query)) if query[at] in letters and "%" not in query[max(0, at - 2) : at]]
        if whole:
            at = rng.choice(whole)
            query = query[:at] + other(rng, query[at], letters) + query[at + 1 :]
            yield "URL", replace(request, target=f"{path}?{query}")


class TwilioForm(Twilio):
    name, scheme = "twilio_form", "x-twilio-signature-form"

    def make(self, rng, number, base):
        facts = {"MessageSid": token(rng, "SM"), "From": "+15550100", "Body": rng.choice(TEXTS)}
        query = encoded(rng, [("n", str(number)), ("ü", "a b")]) if rng.random() < 0.5 else ""
        if number % 4 == 3:
            target = f"{self.path}?{encoded(rng, random_fields(rng, **facts))}"
            return self.signed(base, "GET", target, b"", None, {})
        target = self.path + (f"?{query}" if query else "")
        fields = random_fields(rng, **facts)
        body = encoded(rng, fields).encode()
        return self.signed(base, "POST", target, body, "application/x-www-form-urlencoded", Fields(fields))

    def agrees(self, request, base):
        fields = Fields(self.fields(request.body)) if request.method == "POST" else {}
        return self.verifier.validate(base + request.target, fields, request.headers[self.signature])

    def fields(self, body):
        return urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)

    def change(self, rng, request):
        """`%2f` for `%2F` is no other form, and what is signed is the form."""
        while True:
            changed = super().change(rng, request)
            if changed.body.isascii() and self.fields(changed.body) != self.fields(request.body):
                return changed


class TwilioJson(Twilio):
    name, scheme = "twilio_json", "x-twilio-signature-bodysha256"

    def make(self, rng, number, base):
        body = random_json(rng, number, sid=token(rng, "SM"))
        query = encoded(rng, [("n", str(number)), ("bodySHA256", hashlib.sha256(body).hexdigest())])
        return self.signed(base, "POST", f"{self.path}?{query}", body, "application/json", {})

    def agrees(self, request, base):
        signature = request.headers[self.signature]
        return self.verifier.validate(base + request.target, request.body.decode(), signature)


class StandardWebhooks(Signer):
    provider = name = "standard_webhooks"
    scheme = "symmetric"
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    prefix = "webhook"
    signature_text = (string.ascii_letters + string.digits + "+/", len("v1,"))

    def __init__(self):
        self.signature, self.timestamp = f"{self.prefix}-signature", f"{self.prefix}-timestamp"
        self.verifier = self.webhook()

    def webhook(self):
        return standardwebhooks.webhooks.Webhook(self.secret)

    def make(self, rng, number, base):
        event, at = token(rng, "msg_"), datetime.datetime.now(tz=datetime.timezone.utc)
        body = random_json(rng, number, type="invoice.paid", data={})
        headers = {
            "content-type": "application/json",
            f"{self.prefix}-id": event,
            self.timestamp: str(int(at.timestamp())),
            self.signature: self.sign(event, at, body),
        }
        return Request("POST", self.path, headers, body)

    def sign(self, event, at, body):
        return self.verifier.sign(event, at, body.decode())

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        sent = request.headers[f"{self.prefix}-id"]
        event = changed_text(rng, sent, len("msg_"), len(sent), string.ascii_letters)
        yield "id", replace(request, headers=request.headers | {f"{self.prefix}-id": event})

    def agrees(self, request, base):
        self.verifier.verify(request.body, request.headers)
        return True


class Svix(StandardWebhooks):
    provider = name = "svix"
    prefix = "svix"

    def webhook(self):
        return svix.webhooks.Webhook(self.secret)


class Asymmetric(StandardWebhooks):
    """Signatures `v1a`, which the libraries do not know: node's crypto is at both ends."""

    name, scheme = "standard_webhooks_v1a", "asymmetric"
    signature_text = (string.ascii_letters + string.digits + "+/", len("v1a,"))

    def __init__(self, node):
        super().__init__()
        self.node = node
        self.key = node.ask(op="key", provider="ed25519")
        self.secret = "whpk_" + base64.b64encode(bytes.fromhex(self.key["public"])).decode()

    def webhook(self):
        return None

    def content(self, event, at, body):
        return base64.b64encode(f"{event}.{at}.".encode() + body).decode()

    def sign(self, event, at, body):
        content = self.content(event, int(at.timestamp()), body)
        signature = self.node.ask(op="sign", provider="ed25519", secret=self.key["private"], content=content)
        return "v1a," + base64.b64encode(bytes.fromhex(signature["signature"])).decode()

    def agrees(self, request, base):
        sent = request.headers
        content = self.content(sent["webhook-id"], sent[self.timestamp], request.body)
        signature = base64.b64decode(sent[self.signature].removeprefix("v1a,"), validate=True).hex()
        answer = self.node.ask(
            op="verify", provider="ed25519", secret=self.key["public"], content=content, signature=signature
        )
        return answer["valid"]


class Discord(Signer):
    provider = name = "discord"
    scheme = "interactions-ed25519"
    signature, timestamp = "x-signature-ed25519", "x-signature-timestamp"

    def __init__(self, node):
        self.node = node
        self.key = node.ask(op="key", provider="ed25519")
        self.secret = self.key["public"]

    def signed(self, body):
        at = str(int(time.time()))
        content = base64.b64encode(at.encode() + body).decode()
        signature = self.node.ask(op="sign", provider="ed25519", secret=self.key["private"], content=content)
        headers = {"content-type": "application/json", self.timestamp: at, self.signature: signature["signature"]}
        return Request("POST", self.path, headers, body)

    def make(self, rng, number, base):
        return self.signed(random_json(rng, number, type=2, id=str(rng.getrandbits(63)), data={}))

    def agrees(self, request, base):
        body = base64.b64encode(request.body).decode()
        headers = {name: request.headers[name] for name in (self.signature, self.timestamp)}
        answer = self.node.ask(op="verify", provider="discord", secret=self.secret, content=body, headers=headers)
        return answer["valid"]
