"""An HMAC or a plain digest over a time and the body."""

import hashlib

import cloudinary
import cloudinary.utils
import slack_sdk.signature
import stripe
from paddle_billing.Notifications import PaddleSignature, Secret, Verifier

from .base import BASE64URL, FORM, JSON, Named, NodeSigner, Prefixed, Request, Signer
from .base import encoded, milliseconds, random_fields, random_json, seconds, token


class Slack(Prefixed):
    package = "PyPI slack_sdk"
    provider = name = "slack"
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    signature, timestamp, prefix = "x-slack-signature", "x-slack-request-timestamp", "v0="

    def __init__(self):
        self.verifier = slack_sdk.signature.SignatureVerifier(self.secret)

    def signed(self, body, content_type):
        at = seconds()
        signature = self.verifier.generate_signature(timestamp=at, body=body)
        headers = {"content-type": content_type, self.timestamp: at, self.signature: signature}
        return Request("POST", self.path, headers, body)

    def make(self, rng, number, base):
        if number % 4 == 3:
            fields = random_fields(rng, command="/weather", trigger_id=token(rng))
            return self.signed(encoded(rng, fields).encode(), FORM)
        event = {"type": "event_callback", "event_id": token(rng, "Ev"), "event": {"type": "app_mention"}}
        return self.signed(random_json(rng, number, **event), JSON)

    def agrees(self, request, base):
        return self.verifier.is_valid_request(request.body, request.headers)


class Stripe(Named):
    package = "PyPI stripe"
    provider = name = "stripe"
    secret = "whsec_sdk_3f9c2ab17d5e48c09a61"
    signature = "stripe-signature"
    refusals = (stripe.SignatureVerificationError,)

    def make(self, rng, number, base):
        body = random_json(rng, number, id=token(rng, "evt_"), object="event", type="charge.succeeded")
        signature = stripe.WebhookSignature.generate_signature_header(body.decode(), self.secret)
        return Request("POST", self.path, {"content-type": JSON, self.signature: signature}, body)

    def agrees(self, request, base):
        sent = request.headers[self.signature]
        return stripe.WebhookSignature.verify_header(request.body.decode(), sent, self.secret, 300)


class Sanity(NodeSigner, Named):
    package = "npm @sanity/webhook"
    provider = name = "sanity"
    secret = "sanity-sdk-1f7a90c24d36be"
    signature, alphabet = "sanity-webhook-signature", BASE64URL

    def make(self, rng, number, base):
        headers = {"content-type": JSON, "idempotency-key": token(rng), "sanity-operation": "create"}
        request = Request("POST", self.path, headers, random_json(rng, number, _id=token(rng)))
        sent = self.ask("sign", request, at=int(milliseconds()))
        return request.with_header(self.signature, sent["signature"])


class Paddle(Named):
    """Its five seconds are the source's to widen; what the library judges late is the message, not the delivery."""

    package = "PyPI paddle-python-sdk"
    provider = name = "paddle"
    secret = "pdl_ntfset_sdk_01gkdqj48rys5xsm0sp1xyz_abcDEF"
    tolerance = "1m"
    signature = "paddle-signature"
    separator, time_name, signature_name = ";", "ts", "h1"

    def make(self, rng, number, base):
        body = random_json(rng, number, event_id=token(rng, "evt_"), event_type="transaction.completed")
        at = seconds()
        digest = PaddleSignature.calculate_hmac(self.secret, f"{at}:".encode() + body).hexdigest()
        # While a secret is rotated there is one signature for each.
        old = f"h1={'0' * 64}" if number % 3 == 2 else None
        sent = ";".join(filter(None, [f"ts={at}", f"h1={digest}", old]))
        return Request("POST", self.path, {"content-type": JSON, self.signature: sent}, body)

    def end(self, sent):
        return self.begin(sent) + 64

    def agrees(self, request, base):
        headers = {"Paddle-Signature": request.headers[self.signature]}
        asked = Request(request.method, request.target, headers, request.body)
        return Verifier().verify(asked, Secret(self.secret), verify_time_drift=False)


class Cloudinary(Signer):
    """A plain digest, with the secret at its end."""

    package = "PyPI cloudinary"
    provider = name = "cloudinary"
    scheme = "x-cld-signature-sha256"
    secret = "sdk-cloudinary-X7LLTrsHXWgrGTqfGBsjyZjk"
    signature, timestamp = "x-cld-signature", "x-cld-timestamp"

    def make(self, rng, number, base):
        at, body = seconds(), random_json(rng, number, notification_type="upload", request_id=token(rng))
        digest = hashlib.sha256(body + at.encode() + self.secret.encode()).hexdigest()
        return Request("POST", self.path, {"content-type": JSON, self.timestamp: at, self.signature: digest}, body)

    def agrees(self, request, base):
        cloudinary.config(api_secret=self.secret)
        at, sent = request.headers[self.timestamp], request.headers[self.signature]
        verify = cloudinary.utils.verify_notification_signature
        return verify(request.body.decode(), at, sent, algorithm=cloudinary.utils.SIGNATURE_SHA256)
