"""What all signers share: a request, random content for it, and changes of one byte.

A signer makes the request that its provider would send, and says of any request what the provider's library says.
Where a library only verifies, Python's or node's own crypto signs as the provider documents it, never hookgate.
"""

import base64
import hashlib
import hmac
import json
import string
import time
import urllib.parse
from dataclasses import dataclass, field, replace

NAMES = ["id", "note", "naïve", "東京", "a b", "a.b[0]", "", "__proto__", "x" * 300]
TEXTS = ["", "plain", "Zoë, 東京, \u2028, <&>", "\\\"/\b\f\n\r\t\x7f", "🦀" * 40, "%7E+~&=", "0" * 500]
BIG = 40_000
LETTERS = string.ascii_letters + string.digits
BASE64 = LETTERS + "+/"
BASE64URL = LETTERS + "-_"
HEX = string.hexdigits[:16]
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Request:
    """What goes over the wire; names of headers in lower case."""

    method: str
    target: str
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    def with_header(self, name, value):
        return replace(self, headers=self.headers | {name: value})


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
    text = text.replace("1.5", "1.50000000000000000000001")
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
    return prefix + "".join(rng.choices(LETTERS, k=24))


def mac(secret, content, digest=hashlib.sha256):
    return hmac.new(secret.encode(), content, digest)


def mac_base64(secret, content):
    return base64.b64encode(mac(secret, content).digest()).decode()


def seconds():
    return str(int(time.time()))


def milliseconds():
    return str(int(time.time() * 1000))


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
    """One source of the gateway and the library at its other end.

    A subclass has at least `make` and `agrees`; the defaults are those of a signature in a header over the body.
    """

    package = None  # "PyPI stripe": where it comes from and its name there
    provider = name = scheme = secret = None
    settings = {}  # of the source; `{url}` is the gateway's own
    kid = tolerance = None  # of the source
    signature = timestamp = None  # headers
    alphabet = HEX  # of the signature
    refusals = ()  # what the library raises, beside ValueError, TypeError and KeyError
    carried = True  # a message has all that the library needs; a bearer token never goes that far

    @property
    def path(self):
        return f"/in/{self.name}"

    def make(self, rng, number, base):
        raise NotImplementedError

    def agrees(self, request, base):
        raise NotImplementedError

    def verdict(self, request, base):
        """What the library says; one that cannot even read a request refuses it."""
        try:
            return bool(self.agrees(request, base))
        except (ValueError, TypeError, KeyError, *self.refusals):
            return False

    def mark(self, headers, body):
        """What tells one request from the others, in what a message has of it."""
        return headers.get(self.signature)

    def begin(self, sent):
        """Where the signature itself begins in its header, behind prefixes and names."""
        return 0

    def end(self, sent):
        """Behind what of it may be changed: the last characters of a base64 text can have bits that say nothing."""
        return len(sent) - 4

    def change(self, rng, request):
        return replace(request, body=changed_body(rng, request.body))

    def broken(self, rng, request):
        """The request with one byte changed: in the body, in the signature, in the time."""
        if request.method != "GET":
            yield "body", self.change(rng, request)
        sent = request.headers[self.signature]
        signature = changed_text(rng, sent, self.begin(sent), self.end(sent), self.alphabet)
        yield "signature", request.with_header(self.signature, signature)
        if self.timestamp:
            # The last digit alone: a time that is still fresh, and not the one that was signed.
            sent = request.headers[self.timestamp]
            later = changed_text(rng, sent, len(sent) - 1, len(sent), string.digits)
            yield "timestamp", request.with_header(self.timestamp, later)


class Prefixed(Signer):
    """A signature behind a fixed prefix, such as `sha256=`."""

    prefix = ""

    def begin(self, sent):
        return len(self.prefix)


class Named(Signer):
    """Time and signature are named values of one header, such as `t=…,v1=…`."""

    separator, time_name, signature_name = ",", "t", "v1"

    def begin(self, sent):
        return sent.index(f"{self.signature_name}=") + len(self.signature_name) + 1

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        sent = request.headers[self.signature]
        last = sent.index(self.separator, sent.index(f"{self.time_name}="))
        later = changed_text(rng, sent, last - 1, last, string.digits)
        yield "timestamp", request.with_header(self.signature, later)


class NodeSigner(Signer):
    """A library of node, asked by way of `sdk.mjs`."""

    def __init__(self, node):
        self.node = node

    def ask(self, op, request=None, **more):
        if request:
            more |= {"body": base64.b64encode(request.body).decode(), "headers": request.headers}
            more |= {"method": request.method, "target": request.target}
        return self.node.ask(op=op, provider=self.provider, secret=self.secret, **more)

    def agrees(self, request, base):
        return self.ask("verify", request)["valid"]
