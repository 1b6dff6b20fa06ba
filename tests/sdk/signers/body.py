"""An HMAC over the body and nothing else."""

import unicodedata

import Adyen.util
import easypost.errors
import easypost.util
import gocardless_pro.errors
import gocardless_pro.webhooks

from .base import BASE64, JSON, NodeSigner, Prefixed, Request, Signer, mac, mac_base64, milliseconds, random_json, token


class GitHub(NodeSigner, Prefixed):
    package = "npm @octokit/webhooks-methods"
    provider = name = "github"
    secret = "github-sdk-7c1f0d9be2a6453e8d"
    signature, prefix = "x-hub-signature-256", "sha256="

    def make(self, rng, number, base):
        headers = {"content-type": JSON, "x-github-event": "push", "x-github-delivery": token(rng)}
        request = Request("POST", self.path, headers, random_json(rng, number, ref="refs/heads/main", after=token(rng)))
        return request.with_header(self.signature, self.ask("sign", request)["signature"])


class Shopify(NodeSigner):
    package = "npm @shopify/shopify-api"
    provider = name = "shopify"
    secret = "shpss_sdk_5b8e1f7a90c24d36be"
    signature, alphabet = "x-shopify-hmac-sha256", BASE64

    def make(self, rng, number, base):
        headers = {
            "content-type": JSON,
            "x-shopify-topic": "orders/create",
            "x-shopify-shop-domain": "example.myshopify.com",
            "x-shopify-api-version": "2025-07",
            "x-shopify-webhook-id": token(rng),
            "x-shopify-event-id": token(rng),
        }
        request = Request("POST", self.path, headers, random_json(rng, number, name=token(rng, "#")))
        return request.with_header(self.signature, self.ask("sign", request)["signature"])


class Line(NodeSigner):
    package = "npm @line/bot-sdk"
    provider = name = "line"
    secret = "8c570fa6dd201bb328f1c1eac23a96d8"
    signature, alphabet = "x-line-signature", BASE64

    def make(self, rng, number, base):
        events = [{"type": "message", "webhookEventId": token(rng)} for _ in range(rng.randrange(4))]
        body = random_json(rng, number, destination=token(rng, "U"), events=events)
        headers = {"content-type": JSON, self.signature: mac_base64(self.secret, body)}
        return Request("POST", self.path, headers, body)


class Linear(NodeSigner):
    """The library also reads the time in the body, so no body is empty."""

    package = "npm @linear/sdk"
    provider = name = "linear"
    secret = "lin_wh_sdk_E7pXv2QyTn5mW0Ad"
    signature = "linear-signature"

    def make(self, rng, number, base):
        facts = {"type": "Issue", "webhookId": token(rng), "webhookTimestamp": int(milliseconds())}
        body = random_json(rng, number + 1, **facts)
        headers = {"content-type": JSON, "linear-delivery": token(rng), "linear-event": "Issue"}
        headers[self.signature] = mac(self.secret, body).hexdigest()
        return Request("POST", self.path, headers, body)


class Notion(NodeSigner, Prefixed):
    package = "npm @notionhq/client"
    provider = name = "notion"
    secret = "secret_sdk_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
    signature, prefix = "x-notion-signature", "sha256="

    def make(self, rng, number, base):
        body = random_json(rng, number, id=token(rng), type="page.created")
        request = Request("POST", self.path, {"content-type": JSON}, body)
        return request.with_header(self.signature, self.ask("sign", request)["signature"])


class GoCardless(Signer):
    """The library reads the events too, so every body has some."""

    package = "PyPI gocardless_pro"
    provider = name = "gocardless"
    secret = "sdk-gc-ED7D658C-D8EB-4941-948B-3973214F2D49"
    signature = "webhook-signature"
    refusals = (gocardless_pro.errors.InvalidSignatureError,)

    def make(self, rng, number, base):
        events = [{"id": token(rng, "EV"), "resource_type": "payments", "action": "paid"} for _ in range(number % 4)]
        body = random_json(rng, number + 1, events=events, meta={"webhook_id": token(rng, "WB")})
        headers = {"content-type": JSON, self.signature: mac(self.secret, body).hexdigest()}
        return Request("POST", self.path, headers, body)

    def agrees(self, request, base):
        gocardless_pro.webhooks.parse(request.body, self.secret, request.headers[self.signature])
        return True


class EasyPost(Prefixed):
    """Its key is the secret in Unicode's form NFKD, which this one is not in."""

    package = "PyPI easypost"
    provider = name = "easypost"
    scheme = "v1"
    secret = "sécrét-ﬁ-①-sdk-5d2e"
    signature, prefix = "x-hmac-signature", "hmac-sha256-hex="
    refusals = (easypost.errors.general.SignatureVerificationError,)

    def make(self, rng, number, base):
        body = random_json(rng, number, id=token(rng, "evt_"), description="tracker.updated")
        digest = mac(unicodedata.normalize("NFKD", self.secret), body).hexdigest()
        return Request("POST", self.path, {"content-type": JSON, self.signature: self.prefix + digest}, body)

    def agrees(self, request, base):
        sent = {"X-Hmac-Signature": request.headers[self.signature]}
        easypost.util.validate_webhook(request.body, sent, self.secret)
        return True


class AdyenPlatform(Signer):
    package = "PyPI Adyen"
    provider, name, scheme = "adyen", "adyen_platform", "platform"
    secret = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
    signature, alphabet = "hmacsignature", BASE64

    def make(self, rng, number, base):
        body = random_json(rng, number, type="balancePlatform.transfer.created", data={"id": token(rng)})
        signature = Adyen.util.generate_payload_sig(body, self.secret).decode()
        return Request("POST", self.path, {"content-type": JSON, self.signature: signature}, body)

    def agrees(self, request, base):
        return Adyen.util.is_valid_hmac_payload(request.headers[self.signature], self.secret, request.body)
