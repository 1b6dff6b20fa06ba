"""Standard Webhooks and those who send them under names of their own: id, time and body in one HMAC."""

import base64
import datetime

import resend
import standardwebhooks.webhooks
import svix.webhooks

from .base import BASE64, JSON, LETTERS, NodeSigner, Request, Signer, changed_text, random_json, token


class StandardWebhooks(Signer):
    package = "PyPI standardwebhooks"
    provider = name = "standard_webhooks"
    scheme = "symmetric"
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    prefix, version = "webhook", "v1,"
    alphabet = BASE64
    refusals = (standardwebhooks.webhooks.WebhookVerificationError,)

    def __init__(self):
        self.signature, self.timestamp = f"{self.prefix}-signature", f"{self.prefix}-timestamp"

    def begin(self, sent):
        return len(self.version)

    def make(self, rng, number, base):
        event, at = token(rng, "msg_"), datetime.datetime.now(tz=datetime.timezone.utc)
        body = random_json(rng, number, type="invoice.paid", data={})
        headers = {
            "content-type": JSON,
            f"{self.prefix}-id": event,
            self.timestamp: str(int(at.timestamp())),
            self.signature: self.sign(event, at, body),
        }
        return Request("POST", self.path, headers, body)

    def sign(self, event, at, body):
        return standardwebhooks.webhooks.Webhook(self.secret).sign(event, at, body.decode())

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        sent = request.headers[f"{self.prefix}-id"]
        event = changed_text(rng, sent, len("msg_"), len(sent), LETTERS)
        yield "id", request.with_header(f"{self.prefix}-id", event)

    def agrees(self, request, base):
        standardwebhooks.webhooks.Webhook(self.secret).verify(request.body, request.headers)
        return True


class Svix(StandardWebhooks):
    package = "PyPI svix"
    provider = name = "svix"
    scheme, prefix = None, "svix"
    refusals = (svix.webhooks.WebhookVerificationError,)

    def sign(self, event, at, body):
        return svix.webhooks.Webhook(self.secret).sign(event, at, body.decode())

    def agrees(self, request, base):
        svix.webhooks.Webhook(self.secret).verify(request.body, request.headers)
        return True


class Resend(StandardWebhooks):
    package = "PyPI resend"
    provider = name = "resend"
    scheme, prefix = None, "svix"

    def agrees(self, request, base):
        sent = {name: request.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")}
        payload = request.body.decode()
        resend.Webhooks.verify({"payload": payload, "headers": sent, "webhook_secret": self.secret})
        return True


class NodeStandard(NodeSigner, StandardWebhooks):
    scheme = None

    def __init__(self, node):
        NodeSigner.__init__(self, node)
        StandardWebhooks.__init__(self)


class OpenAi(NodeStandard):
    package = "npm openai"
    provider = name = "openai"


class Replicate(NodeStandard):
    package = "npm replicate"
    provider = name = "replicate"


class Asymmetric(NodeStandard):
    """Signatures `v1a`, which the libraries do not know: node's crypto is at both ends."""

    package = "node crypto"
    name, scheme, version = "standard_webhooks_v1a", "asymmetric", "v1a,"

    def __init__(self, node):
        super().__init__(node)
        self.key = node.ask(op="key", provider="ed25519")
        self.secret = "whpk_" + base64.b64encode(bytes.fromhex(self.key["public"])).decode()

    def content(self, event, at, body):
        return base64.b64encode(f"{event}.{at}.".encode() + body).decode()

    def sign(self, event, at, body):
        content = self.content(event, int(at.timestamp()), body)
        signature = self.node.ask(op="sign", provider="ed25519", secret=self.key["private"], body=content)
        return self.version + base64.b64encode(bytes.fromhex(signature["signature"])).decode()

    def agrees(self, request, base):
        sent = request.headers
        content = self.content(sent["webhook-id"], sent[self.timestamp], request.body)
        signature = base64.b64decode(sent[self.signature].removeprefix(self.version), validate=True).hex()
        asked = {"op": "verify", "provider": "ed25519", "secret": self.key["public"]}
        return self.node.ask(**asked, body=content, signature=signature)["valid"]
