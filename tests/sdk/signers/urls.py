"""Signatures over the URL, or over parts of it and of the headers."""

import hashlib
import string
import urllib.parse
from dataclasses import replace

import mercadopago.webhook.validator
import square.utils.webhooks_helper
import twilio.request_validator
from hubspot.utils.signature import Signature as HubSpotSignature

from .base import BASE64, FORM, JSON, LETTERS, TEXTS, Named, NodeSigner, Request, Signer
from .base import changed_text, encoded, mac, mac_base64, milliseconds, other, random_fields, random_json, seconds, token


def changed_query(rng, target, letters=LETTERS):
    """The target with another letter somewhere in its query; none where it has no letter to change."""
    path, _, query = target.partition("?")
    # Within a percent escape the change would be one of case, or no escape any more.
    whole = [at for at in range(len(query)) if query[at] in letters and "%" not in query[max(0, at - 2) : at]]
    if not whole:
        return None
    at = rng.choice(whole)
    return f"{path}?{query[:at]}{other(rng, query[at], letters)}{query[at + 1 :]}"


class Fields:
    """The fields of a form as Twilio's library reads them: several values to a name."""

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

    package = "PyPI twilio"
    provider = "twilio"
    secret = "2bd9e9638872de601313dc77410d3b23"
    signature, alphabet = "x-twilio-signature", BASE64

    def __init__(self):
        self.verifier = twilio.request_validator.RequestValidator(self.secret)

    def signed(self, base, method, target, body, content_type, fields):
        signature = self.verifier.compute_signature(base + target, fields)
        headers = {"content-type": content_type} if content_type else {}
        headers[self.signature] = signature
        return Request(method, target, headers, body)

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        target = changed_query(rng, request.target)
        if target:
            yield "URL", replace(request, target=target)


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
        return self.signed(base, "POST", target, body, FORM, Fields(fields))

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
        return self.signed(base, "POST", f"{self.path}?{query}", body, JSON, {})

    def agrees(self, request, base):
        signature = request.headers[self.signature]
        return self.verifier.validate(base + request.target, request.body.decode(), signature)


class Square(Signer):
    """Signs the URL that is registered with it, which is a setting of the source."""

    package = "PyPI squareup"
    provider = name = "square"
    secret = "sdk-square-asdf1234"
    settings = {"public_url": "{url}/in/square"}
    signature, alphabet = "x-square-hmacsha256-signature", BASE64

    def make(self, rng, number, base):
        body = random_json(rng, number, event_id=token(rng), type="payment.created")
        signature = mac_base64(self.secret, f"{base}{self.path}".encode() + body)
        return Request("POST", self.path, {"content-type": JSON, self.signature: signature}, body)

    def agrees(self, request, base):
        return square.utils.webhooks_helper.verify_signature(
            request_body=request.body.decode(),
            signature_header=request.headers[self.signature],
            signature_key=self.secret,
            notification_url=base + self.path,
        )


class HubSpot(Signer):
    """Method, URL, body and time. The escapes that HubSpot decodes before it signs are not in these URLs."""

    package = "PyPI hubspot-api-client"
    provider = name = "hubspot"
    scheme = "v3"
    secret = "sdk-hubspot-yyyyyyyy-yyyy-yyyy"
    signature, timestamp, alphabet = "x-hubspot-signature-v3", "x-hubspot-request-timestamp", BASE64

    def make(self, rng, number, base):
        body = b"[" + random_json(rng, number, eventId=rng.getrandbits(40), subscriptionType="contact.creation") + b"]"
        target = f"{self.path}?n={number}&t={token(rng)}" if rng.random() < 0.5 else self.path
        at = milliseconds()
        signature = HubSpotSignature.get_signature(self.secret, body.decode(), "v3", base + target, "POST", at)
        return Request("POST", target, {"content-type": JSON, self.timestamp: at, self.signature: signature}, body)

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        yield "method", replace(request, method="PUT")
        target = changed_query(rng, request.target)
        if target:
            yield "URL", replace(request, target=target)

    def agrees(self, request, base):
        sent, at = request.headers[self.signature], request.headers[self.timestamp]
        asked = {"http_uri": base + request.target, "http_method": request.method, "timestamp": at}
        return HubSpotSignature.is_valid(sent, self.secret, request.body.decode(), signature_version="v3", **asked)


class MercadoPago(Named):
    """The id in the query, the request's own id and the time; the body is proved by nothing."""

    package = "PyPI mercadopago"
    provider = name = "mercado_pago"
    secret = "sdk-mp-2f6d3f0a9c1b48e7"
    signature, time_name = "x-signature", "ts"
    refusals = (mercadopago.webhook.validator.InvalidWebhookSignatureError,)

    def make(self, rng, number, base):
        data, request, at = str(rng.getrandbits(40)), token(rng), seconds()
        body = random_json(rng, number, id=rng.getrandbits(40), action="payment.created", data={"id": data})
        target = f"{self.path}?data.id={data}&type=payment"
        signature = mac(self.secret, f"id:{data};request-id:{request};ts:{at};".encode()).hexdigest()
        headers = {"content-type": JSON, "x-request-id": request, self.signature: f"ts={at},v1={signature}"}
        return Request("POST", target, headers, body)

    def broken(self, rng, request):
        yield from (each for each in super().broken(rng, request) if each[0] != "body")
        sent = request.headers["x-request-id"]
        yield "request id", request.with_header("x-request-id", changed_text(rng, sent, 0, len(sent), LETTERS))
        yield "URL", replace(request, target=changed_query(rng, request.target, string.digits))

    def agrees(self, request, base):
        query = dict(urllib.parse.parse_qsl(request.target.partition("?")[2]))
        sent, asked = request.headers[self.signature], request.headers.get("x-request-id")
        validator = mercadopago.webhook.validator.WebhookSignatureValidator
        validator.validate(sent, asked, query.get("data.id"), self.secret)
        return True


class Contentful(NodeSigner):
    """Method, path, body, and the headers that the request itself lists."""

    package = "npm @contentful/node-apps-toolkit"
    provider = name = "contentful"
    secret = "7c1f0d9be2a6453e8d5b8e1f7a90c24d36be3f9c2ab17d5e48c09a618f742231"
    signature, timestamp = "x-contentful-signature", "x-contentful-timestamp"

    def make(self, rng, number, base):
        headers = {
            "x-contentful-topic": rng.choice(["ContentManagement.Entry.publish", "ContentManagement.Asset.save"]),
            "x-contentful-webhook-name": token(rng, "hook "),
        }
        method = rng.choice(["POST", "PUT", "PATCH"])
        request = Request(method, self.path, headers, random_json(rng, number, sys={"id": token(rng)}))
        headers = request.headers | self.ask("sign", request)["headers"]
        headers |= {"content-type": JSON, "x-contentful-idempotency-key": token(rng)}
        return replace(request, headers=headers)

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        for name in ("x-contentful-topic", "x-contentful-webhook-name"):
            sent = request.headers[name]
            yield name, request.with_header(name, changed_text(rng, sent, 0, len(sent), LETTERS))
        yield "method", replace(request, method="DELETE")
