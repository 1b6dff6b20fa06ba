"""JSON Web Tokens: by libraries of their senders, and by PyJWT where a sender has none."""

import base64
import hashlib
import json
import time
import urllib.parse
from dataclasses import replace

import jwt
import vonage_jwt
from cryptography.hazmat.primitives.asymmetric import ec

from .base import BASE64URL, JSON, NodeSigner, Request, Signer
from .base import changed_text, random_json, token
from .urls import changed_query


class Token(Signer):
    """The token is in a header, and names the body's digest."""

    alphabet, prefix = BASE64URL, ""
    refusals = (jwt.PyJWTError,)

    def token(self, request):
        return request.headers[self.signature].removeprefix(self.prefix)

    def signed(self, request, text):
        return request.with_header(self.signature, self.prefix + text)

    def begin(self, sent):
        return sent.rindex(".") + 1

    def broken(self, rng, request):
        yield from super().broken(rng, request)
        sent = request.headers[self.signature]
        first, last = sent.index(".") + 1, sent.rindex(".") - 4
        yield "claim", request.with_header(self.signature, changed_text(rng, sent, first, last, BASE64URL))


class Vonage(Token):
    package = "PyPI vonage-jwt"
    provider = name = "vonage"
    secret = "sdk-vonage-9f86d081884c7d659a2feaa0c55ad015"
    signature, prefix, carried = "authorization", "Bearer ", False
    refusals = (vonage_jwt.VonageVerifyJwtError,)

    def make(self, rng, number, base):
        body = random_json(rng, number, message_uuid=token(rng), status="delivered")
        now, digest = int(time.time()), hashlib.sha256(body).hexdigest()
        claims = {"iss": "Vonage", "iat": now, "exp": now + 300, "jti": token(rng), "payload_hash": digest}
        text = jwt.encode(claims | {"api_key": "abcd1234"}, self.secret, algorithm="HS256")
        return self.signed(Request("POST", self.path, {"content-type": JSON}, body), text)

    def agrees(self, request, base):
        text = self.token(request)
        if not vonage_jwt.verify_signature(text, self.secret):
            return False
        claims = jwt.decode(text, options={"verify_signature": False})
        return claims["payload_hash"] == hashlib.sha256(request.body).hexdigest()


class Netlify(Token):
    package = "PyPI PyJWT"
    provider = name = "netlify"
    secret = "sdk-netlify-0c55ad0159f86d081884c7d659a2feaa"
    signature = "x-webhook-signature"

    def make(self, rng, number, base):
        body = random_json(rng, number, id=token(rng), state="ready")
        claims = {"iss": "netlify", "sha256": hashlib.sha256(body).hexdigest()}
        request = Request("POST", self.path, {"content-type": JSON, "x-netlify-event": "deploy_created"}, body)
        return self.signed(request, jwt.encode(claims, self.secret, algorithm="HS256"))

    def agrees(self, request, base):
        claims = jwt.decode(self.token(request), self.secret, algorithms=["HS256"], issuer="netlify")
        return claims["sha256"] == hashlib.sha256(request.body).hexdigest()


class Plaid(Token):
    """An elliptic curve, and a key that the token's header names."""

    package = "PyPI PyJWT"
    provider = name = "plaid"
    kid = "sdk-bfbd5111-8e33-4643-8ced-b2e642a72f3c"
    signature, carried = "plaid-verification", False

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(each.to_bytes(32)).rstrip(b"=").decode() for each in (point.x, point.y))
        self.secret = json.dumps({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.kid, "x": x, "y": y})

    def make(self, rng, number, base):
        body = random_json(rng, number, webhook_type="TRANSACTIONS", webhook_code="DEFAULT_UPDATE", item_id=token(rng))
        claims = {"iat": int(time.time()), "request_body_sha256": hashlib.sha256(body).hexdigest()}
        text = jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.kid})
        return self.signed(Request("POST", self.path, {"content-type": JSON}, body), text)

    def agrees(self, request, base):
        claims = jwt.decode(self.token(request), self.key.public_key(), algorithms=["ES256"])
        return claims["request_body_sha256"] == hashlib.sha256(request.body).hexdigest()


class Jira(NodeSigner, Token):
    """A Connect app's token covers method, path and query, and not the body."""

    package = "npm atlassian-jwt"
    provider = name = "jira"
    scheme = "connect-jwt-qsh"
    secret = "sdk-jira-IVVCuKXO7dl8Fs4p1C2a"
    signature, prefix, carried = "authorization", "JWT ", False

    def make(self, rng, number, base):
        # More than `&` and `=` between values is the business of the vectors: here what Jira itself sends.
        fields = [("user_id", token(rng)), ("user_key", "a b/ü"), ("n", str(number))]
        target = f"{self.path}?{urllib.parse.urlencode(fields, quote_via=urllib.parse.quote)}"
        headers = {"content-type": JSON, "x-atlassian-webhook-identifier": token(rng)}
        request = Request("POST", target, headers, random_json(rng, number, webhookEvent="jira:issue_updated"))
        return self.signed(request, self.ask("sign", request)["token"])

    def broken(self, rng, request):
        yield from (each for each in super().broken(rng, request) if each[0] != "body")
        yield "method", replace(request, method="PUT")
        yield "URL", replace(request, target=changed_query(rng, request.target))
