"""Signatures that stand in the body, over some of its values."""

import json
import urllib.parse
from dataclasses import replace

import Adyen.util
import braintree
import braintree.exceptions.invalid_signature_error

from .base import BASE64, FORM, HEX, JSON, LETTERS, TEXTS, Request, Signer, changed_text, encoded, token


class InBody(Signer):
    """A JSON body that is written in one way, so that another value in it is a change of one character."""

    alphabet = BASE64

    def places(self, body):
        """The whole, the places of signed values, and that of a signature: (holder, name) each."""
        raise NotImplementedError

    def mark(self, headers, body):
        return body

    def changed(self, request, whole, holder, name, value):
        holder[name] = value
        return replace(request, body=json.dumps(whole).encode())

    def broken(self, rng, request):
        whole, covered, _ = self.places(request.body)
        holder, name = rng.choice([(holder, name) for holder, name in covered if set(holder[name]) & set(LETTERS)])
        value = changed_text(rng, holder[name], 0, len(holder[name]), LETTERS)
        yield "body", self.changed(request, whole, holder, name, value)
        whole, _, (holder, name) = self.places(request.body)
        value = changed_text(rng, holder[name], 0, len(holder[name]) - 4, self.alphabet)
        yield "signature", self.changed(request, whole, holder, name, value)


class AdyenItems(InBody):
    """Several items, each signed: a change in any of them is one of the whole request."""

    package = "PyPI Adyen"
    provider, name, scheme = "adyen", "adyen", "standard"
    secret = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
    covered = ["pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success"]

    def item(self, rng):
        item = {
            "amount": {"currency": "EUR", "value": rng.randrange(10**6)},
            "eventCode": rng.choice(["AUTHORISATION", "CAPTURE", "REFUND"]),
            "eventDate": "2026-01-01T01:02:01+02:00",
            "merchantAccountCode": "TestMerchant",
            "merchantReference": rng.choice(TEXTS),
            "pspReference": token(rng),
            "reason": rng.choice(TEXTS),
            "success": rng.choice(["true", "false"]),
        }
        if rng.random() < 0.5:
            item["originalReference"] = token(rng)
        signature = Adyen.util.generate_notification_sig(item, self.secret).decode()
        return {"NotificationRequestItem": item | {"additionalData": {"hmacSignature": signature}}}

    def make(self, rng, number, base):
        items = [self.item(rng) for _ in range(1 + number % 5)]
        body = json.dumps({"live": "false", "notificationItems": items}).encode()
        return Request("POST", self.path, {"content-type": JSON}, body)

    def places(self, body):
        whole = json.loads(body)
        items = [item["NotificationRequestItem"] for item in whole["notificationItems"]]
        covered = [(item, name) for item in items for name in self.covered if name in item]
        return whole, covered, (items[len(body) % len(items)]["additionalData"], "hmacSignature")

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        whole, _, _ = self.places(request.body)
        amount = rng.choice(whole["notificationItems"])["NotificationRequestItem"]["amount"]
        yield "amount", self.changed(request, whole, amount, "value", amount["value"] ^ 1)

    def agrees(self, request, base):
        items = json.loads(request.body)["notificationItems"]
        verify = Adyen.util.is_valid_hmac_notification
        return all(verify(item["NotificationRequestItem"], self.secret) for item in items)


class Braintree(Signer):
    """A form of a payload in base64 and its MACs, one for each key pair of the merchant."""

    package = "PyPI braintree"
    provider = name = "braintree"
    secret = "sdk-braintree-private-9f86d081884c7d65"
    settings = {"public_key": "sdkpublic0123456"}
    refusals = (braintree.exceptions.invalid_signature_error.InvalidSignatureError,)

    def __init__(self):
        keys = {"merchant_id": "sdk", "public_key": self.settings["public_key"], "private_key": self.secret}
        self.gateway = braintree.BraintreeGateway(braintree.Configuration(braintree.Environment.Sandbox, **keys))
        kinds = vars(braintree.WebhookNotification.Kind)
        self.kinds = [kind for name, kind in kinds.items() if not name.startswith("_") and isinstance(kind, str)]

    def mark(self, headers, body):
        return body

    def make(self, rng, number, base):
        # Some kinds leave the id out; the merchant's tells two of one second apart.
        kind, ids = rng.choice(self.kinds), (token(rng), token(rng))
        sample = self.gateway.webhook_testing.sample_notification(kind, *ids)
        payload, signature = sample["bt_payload"].decode(), sample["bt_signature"]
        if number % 3 == 1:
            payload = payload.removesuffix("\n")  # some ways lose it
        if number % 3 == 2:
            signature = f"anotherpublickey|{'0' * 40}&{signature}"
        body = encoded(rng, [("bt_signature", signature), ("bt_payload", payload)]).encode()
        return Request("POST", self.path, {"content-type": FORM}, body)

    def broken(self, rng, request):
        fields = dict(urllib.parse.parse_qsl(request.body.decode()))
        payload, signature = fields["bt_payload"], fields["bt_signature"]
        own = signature.index(self.settings["public_key"]) + len(self.settings["public_key"]) + 1
        changes = {
            "payload": {"bt_payload": changed_text(rng, payload, 0, len(payload), BASE64)},
            "signature": {"bt_signature": changed_text(rng, signature, own, len(signature), HEX)},
            "public key": {"bt_signature": changed_text(rng, signature, own - 9, own - 1, LETTERS)},
        }
        for part, change in changes.items():
            yield part, replace(request, body=urllib.parse.urlencode(fields | change).encode())

    def agrees(self, request, base):
        fields = dict(urllib.parse.parse_qsl(request.body.decode()))
        self.gateway.webhook_notification.parse(fields["bt_signature"], fields["bt_payload"])
        return True
