"""MIGRATION.md, tried: its configurations take what the old ones took, and workers get what it says."""

import base64
import hashlib
import hmac
import json
import os
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from asking import until
from common import DEPLOY, check, demand, fenced, run, well
from gateway import Gateway
from services import RabbitMq

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PAGE = DEPLOY / "MIGRATION.md"


def configuration(source):
    """The block of the page that has this source."""
    found = [text for text in fenced(PAGE.read_text(), "toml") if f"[sources.{source}]" in text]
    demand(len(found) == 1, f"MIGRATION.md: {len(found)} configurations with a source {source}")
    return found[0]


def post(gateway, path, body, **headers):
    url = f"http://127.0.0.1:{gateway.ingress}{path}"
    call = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def signed(body, digest="hexdigest"):
    made = hmac.new(SECRET.encode(), body, hashlib.sha256)
    return made.hexdigest() if digest == "hexdigest" else base64.b64encode(made.digest()).decode()


class Handler(BaseHTTPRequestHandler):
    """An endpoint of somebody's application: it fails once, and remembers what it was sent."""

    def do_POST(self):
        self.server.seen.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(500 if len(self.server.seen) == 1 else 200)
        self.end_headers()

    def log_message(self, *_words):
        pass


@check("MIGRATION.md: a receiver of one's own, its path, its signature, its handler")
def _(context):
    variables = {"GITHUB_WEBHOOK_SECRET": SECRET, "BILLING_SECRET": SECRET}
    gateway = Gateway(context, "own", configuration("billing"), **variables)
    application = HTTPServer(("127.0.0.1", 0), Handler)
    application.seen = []
    threading.Thread(target=application.serve_forever, daemon=True).start()
    try:
        body = b'{"id": "b-1", "event": "invoice.paid"}'
        demand(post(gateway, "/in/billing", body, X_Billing_Signature=f"sha256={signed(body)}") == 200, "a signed one is refused")
        demand(post(gateway, "/in/billing", body, X_Billing_Signature=f"sha256={signed(b'')}") == 401, "a forged one is taken")
        code, said = gateway.command("send", "stripe", "--id", "evt_of_before")
        demand(code == 0 and "/stripe" in said and "/in/stripe" not in said, f"not to the old path: {said}")
        [line] = [line for line in fenced(PAGE.read_text(), "console")[0].splitlines() if "--follow" in line]
        words = line.replace("'", "").replace("content-type: ", "content-type:").split()[1:]
        demand(words[-1].endswith(":3000/stripe") and "--" in words, f"the command has changed: {line}")
        cut = words.index("--")
        own = [*words[:cut], "--count", "2", "--config", str(gateway.config)]
        url = f"http://127.0.0.1:{application.server_port}/stripe"
        said = run([context.hookgate, *own, *words[cut:-1], url], env=gateway.variables, cwd=gateway.folder)
        seen = application.seen
        demand(len(seen) == 2 and seen[0] == seen[1], f"the handler was called {len(seen)} times:\n{said}")
        demand(json.loads(seen[1])["id"] == "evt_of_before", "another event")
        until("it is acknowledged", lambda: gateway.metric("hookgate_events_confirmed_total", source="stripe") == 1, 5)
    finally:
        application.shutdown()
        gateway.stop()


@check("MIGRATION.md: svix-bridge's path, and a queue that is there already")
def _(context):
    folder = context.folder("bridge")
    broker = gateway = None
    try:
        broker = RabbitMq(folder / "rabbitmq")
        gateway = Gateway(context, "gateway", configuration("acme"), ACME_ENDPOINT_SECRET=SECRET, AMQP_URL=broker.url)
        until("the sink is connected", lambda: gateway.get("/readyz")[1].startswith("ready"), 20)
        bindings = json.loads(fenced(PAGE.read_text(), "json")[0])
        [binding] = bindings["bindings"]
        queue = {"name": binding["destination"], "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
        binding["routing_key"] = binding["routing_key"].replace(binding["destination"], "acme")
        (folder / "definitions.json").write_text(json.dumps({"queues": [queue], **bindings}))
        ctl = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet"]
        environment = {**os.environ, **broker.environment}
        well([*ctl, "import_definitions", folder / "definitions.json"], env=environment)
        code, said = gateway.command("send", "acme", "--times", "2")
        demand(code == 0 and "/webhook/acme" in said, said)

        def counted():
            listed = json.loads(well([*ctl, "list_queues", "--formatter", "json", "name", "messages"], env=environment))
            return {each["name"]: each["messages"] for each in listed}
        until("both queues have the one event", lambda: [counted().get(name) for name in ("stripe", "webhooks.acme")] == [1, 1], 20)
    finally:
        if gateway:
            gateway.stop()
        if broker:
            broker.close()


@check("MIGRATION.md: what Hookdeck sends on, under the provider's signature and under its own")
def _(context):
    gateway = Gateway(context, "hookdeck", configuration("hookdeck"), SHOPIFY_SECRET=SECRET, HOOKDECK_SIGNING_SECRET=SECRET)
    try:
        body = b'{"id": 820982911946154508, "email": "a@example.com"}'
        through = {"X_Hookdeck_Signature": signed(body, "base64"), "X_Shopify_Topic": "orders/create", "X_Shopify_Event_Id": "e-1",
                   "X_Shopify_Webhook_Id": "w-1", "X_Shopify_Shop_Domain": "a.example", "X_Shopify_Api_Version": "2026-10", "Content_Type": "application/json"}
        direct = {**through, "X_Shopify_Hmac_Sha256": signed(body, "base64")}
        demand(post(gateway, "/in/shopify", body, **direct) == 200, "Shopify's own signature is refused")
        demand(post(gateway, "/in/shopify", body, **through) == 401, "a request without Shopify's signature is taken")
        demand(post(gateway, "/in/hookdeck", body, **through) == 200, "Hookdeck's signature is refused")
        demand(post(gateway, "/in/hookdeck", body + b" ", **through) == 401, "a changed body is taken")
    finally:
        gateway.stop()
