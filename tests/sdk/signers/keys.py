"""Signatures by private keys, of which the source has the public one."""

import base64
import datetime
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from sendgrid.helpers.eventwebhook import EventWebhook

from .base import BASE64, JSON, NodeSigner, Request, Signer, random_json, seconds, token
from .fields import InBody


class Discord(NodeSigner):
    package = "npm discord-interactions"
    provider = name = "discord"
    scheme = "interactions-ed25519"
    signature, timestamp = "x-signature-ed25519", "x-signature-timestamp"

    def __init__(self, node):
        super().__init__(node)
        self.key = node.ask(op="key", provider="ed25519")
        self.secret = self.key["public"]

    def signed(self, body):
        at = seconds()
        content = base64.b64encode(at.encode() + body).decode()
        signature = self.node.ask(op="sign", provider="ed25519", secret=self.key["private"], body=content)
        headers = {"content-type": JSON, self.timestamp: at, self.signature: signature["signature"]}
        return Request("POST", self.path, headers, body)

    def make(self, rng, number, base):
        return self.signed(random_json(rng, number, type=2, id=str(rng.getrandbits(63)), data={}))


class SendGrid(Signer):
    """ECDSA; the body is a list that ends with CR LF."""

    package = "PyPI sendgrid"
    provider = name = "sendgrid"
    signature, alphabet = "x-twilio-email-event-webhook-signature", BASE64
    timestamp = "x-twilio-email-event-webhook-timestamp"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.secret = base64.b64encode(self.key.public_key().public_bytes(serialization.Encoding.DER, form)).decode()
        self.verifier = EventWebhook(self.secret)

    def make(self, rng, number, base):
        events = [random_json(rng, number, sg_event_id=token(rng), event="delivered") for _ in range(1 + number % 4)]
        at, body = seconds(), b"[" + b",".join(events) + b"]\r\n"
        signature = base64.b64encode(self.key.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
        return Request("POST", self.path, {"content-type": JSON, self.timestamp: at, self.signature: signature}, body)

    def agrees(self, request, base):
        sent, at = request.headers[self.signature], request.headers[self.timestamp]
        return self.verifier.verify_signature(request.body.decode(), sent, at)


class AmazonSns(InBody, NodeSigner):
    """RSA over named lines of the body; the certificate is pinned by its URL, and nothing is fetched for it."""

    package = "npm sns-validator"
    provider = "amazon_sns"
    settings = {"topic_arn": "arn:aws:sns:us-east-1:123456789012:sdk"}
    version = digest = None
    covered = ["Message", "MessageId", "Subject", "Timestamp"]

    def __init__(self, node):
        super().__init__(node)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now, day = datetime.datetime.now(tz=datetime.timezone.utc), datetime.timedelta(days=1)
        unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        unsigned = unsigned.serial_number(x509.random_serial_number())
        certificate = unsigned.not_valid_before(now - day).not_valid_after(now + day).sign(self.key, hashes.SHA256())
        self.secret = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def make(self, rng, number, base):
        at = datetime.datetime.now(tz=datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        message = {
            "Type": "Notification",
            "MessageId": token(rng),
            "TopicArn": self.settings["topic_arn"],
            "Message": random_json(rng, number, note=token(rng)).decode(),
            "Timestamp": at,
            "SignatureVersion": self.version,
        }
        if number % 3:
            message["Subject"] = token(rng, "subject ")
        lines = "".join(f"{name}\n{message[name]}\n" for name in sorted(message) if name != "SignatureVersion")
        signature = self.key.sign(lines.encode(), padding.PKCS1v15(), self.digest)
        message |= {"Signature": base64.b64encode(signature).decode(), "SigningCertURL": self.kid}
        return Request("POST", self.path, {"content-type": "text/plain; charset=UTF-8"}, json.dumps(message).encode())

    def places(self, body):
        """Where the signed values are, and where their signature is."""
        message = json.loads(body)
        return message, [(message, name) for name in self.covered if name in message], (message, "Signature")

    def agrees(self, request, base):
        return self.ask("verify", request, certificate=self.secret)["valid"]


class AmazonSns1(AmazonSns):
    name, scheme = "amazon_sns_1", "v1-notification"
    kid = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-sdk1.pem"
    version, digest = "1", hashes.SHA1()


class AmazonSns2(AmazonSns):
    name, scheme = "amazon_sns_2", "v2-notification"
    kid = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-sdk2.pem"
    version, digest = "2", hashes.SHA256()
