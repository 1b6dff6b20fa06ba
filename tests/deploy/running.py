"""What is under deploy/, running: real servers started with these files, and a gateway among them."""

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime

from common import DEPLOY, LeftOut, check, demand, document, json_of, replaced, run, tool, well
from names import one_line
from services import Process, RabbitMq, free_ports

SECRET = "whsec_0123456789abcdef0123456789abcdef"
TOKEN = "operator-0123456789abcdef"
HOST = "hooks.example.com"
CALLER = "127.0.0.77"
SHOP = f"""[sources.shop]
provider = "stripe"
schema = false
secrets = [{{ env = "SHOP_SECRET" }}]
addresses = ["{CALLER}/32"]
"""


def environment(**more):
    return {"PATH": os.environ["PATH"], "SHOP_SECRET": SECRET, "STRIPE_WEBHOOK_SECRET": SECRET, "ADMIN_TOKEN": TOKEN, **more}


class Gateway:
    """A gateway with this configuration; ports, and folder of its journal, are its own."""

    def __init__(self, context, name, text, seconds=20, **variables):
        self.folder = context.folder(name)
        self.hookgate, self.variables = context.hookgate, environment(**variables)
        self.ingress, self.admin = free_ports(2)
        text = self.put(text, "ingress", f'listen = "127.0.0.1:{self.ingress}"')
        text = self.put(text, "admin", f'listen = "127.0.0.1:{self.admin}"')
        if 'ack = "confirm"' not in text:
            text = self.put(text, "journal", f'dir = "{self.folder}/journal"')
        self.config = self.folder / "hookgate.toml"
        self.config.write_text(text)
        self.log = self.folder / "log"
        self.start()

    @staticmethod
    def put(text, table, line):
        """A key in its table, in the place of one that is there."""
        name = line.split(" =")[0]
        before, _, after = text.partition(f"[{table}]\n")
        if not after and f"[{table}]\n" not in text:
            return f"[{table}]\n{line}\n{text}"
        own, rest = re.match(r"((?:(?!\[).*\n?)*)((?:.|\n)*)", after).groups()
        own = re.sub(rf"^{name} =.*\n", "", own, flags=re.M)
        return f"{before}[{table}]\n{line}\n{own}{rest}"

    def start(self):
        command = [str(self.hookgate), "serve", "--config", str(self.config)]
        self.process = Process("hookgate", command, self.log, self.ingress, self.variables)

    def command(self, *words, **more):
        return run([self.hookgate, *words, "--config", self.config], env={**self.variables, **more}, cwd=self.folder)

    def get(self, path):
        return self.call("GET", path, TOKEN)

    def call(self, method, path, token):
        """A call of the admin listener: status and body."""
        url, headers = f"http://127.0.0.1:{self.admin}{path}", {"Authorization": f"Bearer {token}"}
        call = urllib.request.Request(url, headers=headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def metric(self, name, **labels):
        total = 0.0
        for found, own, value in re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", self.get("/metrics")[1], re.M):
            if found == name and all(f'{label}="{wanted}"' in own for label, wanted in labels.items()):
                total += float(value)
        return total

    def stop(self):
        self.process.stop()


def until(what, seconds, done):
    end = time.monotonic() + seconds
    while not done():
        demand(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.05)


# Secrets, Redis, RabbitMQ.

@check("new-secrets makes what Compose and RabbitMQ need, and writes nothing over")
def _(context):
    folder = context.folder("new") / "secrets"
    well([DEPLOY / "new-secrets", folder])
    made = {path.name: path.read_text() for path in folder.iterdir()}
    # The unit's own user reads hookgate.toml in there; the secrets are given to it by systemd.
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    demand((stat.S_IMODE(folder.stat().st_mode), modes) == (0o755, {0o600}), f"modes for systemd: {modes}")
    for name in ("admin-token", "read-token", "worker-token", "rabbitmq-password"):
        demand(re.fullmatch(r"[0-9a-f]{48}", made[name]), f"{name}: {made[name]!r}")
    demand(len(set(made.values())) == len(made), "two secrets are the same")
    for user, file in zip(json.loads(made["rabbitmq-users.json"])["users"], ("rabbitmq-password", "rabbitmq-worker-password")):
        salted = base64.b64decode(user["password_hash"])
        demand(hashlib.sha256(salted[:4] + made[file].encode()).digest() == salted[4:], f"the hash of {user['name']}")
        demand(user["tags"] == [], f"{user['name']} is to be no administrator")
    demand(f":{made['rabbitmq-password']}@127.0.0.1:5672/%2f" in made["amqp-url"], made["amqp-url"])
    (folder / "admin-token").write_text("mine")
    well([DEPLOY / "new-secrets", folder])
    again = {path.name: path.read_text() for path in folder.iterdir()}
    demand(again == {**made, "admin-token": "mine"}, "what was there has changed")
    # Beside a copy of the script, so that nothing of an operator's is touched.
    other = context.folder("compose")
    shutil.copy(DEPLOY / "new-secrets", other)
    well([other / "new-secrets"], umask=0o077)
    other /= "secrets"
    demand("@rabbitmq:5672/" in (other / "amqp-url").read_text(), "the gateway would not find RabbitMQ in Compose")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in other.iterdir()}
    demand((stat.S_IMODE(other.stat().st_mode), modes) == (0o700, {0o644}), f"modes for Compose: {modes}")
    names = {secret["file"].removeprefix("./secrets/") for secret in document(DEPLOY / "compose.yaml")["secrets"].values()}
    demand(names - set(made) == {"stripe-webhook-secret"}, f"Compose wants {names}")


def rabbitmq(context, folder):
    """RabbitMQ with the configuration, definitions and users that an operator would give it."""
    secrets, definitions = folder / "secrets", folder / "definitions"
    well([DEPLOY / "new-secrets", secrets])
    definitions.mkdir()
    (definitions / "00-users.json").write_text((secrets / "rabbitmq-users.json").read_text())
    (definitions / "10-webhooks.json").write_text((DEPLOY / "rabbitmq/definitions.json").read_text())
    more = replaced((DEPLOY / "rabbitmq/rabbitmq.conf").read_text(), [
        ("/etc/rabbitmq/definitions", str(definitions)),
        # This machine's disk and memory are not what is tried.
        ("vm_memory_high_watermark.relative = 0.6\n", ""), ("disk_free_limit.absolute = 2GB\n", ""),
    ])
    return RabbitMq(folder / "rabbitmq", more=more), secrets


def redis(folder):
    """Redis with the configuration that an operator would give it."""
    [port] = free_ports(1)
    (folder / "redis").mkdir()
    text = replaced((DEPLOY / "redis.conf").read_text(), [
        ("bind 127.0.0.1 -::1", "bind 127.0.0.1"), ("port 6379", f"port {port}"), ("dir /var/lib/redis", f"dir {folder}/redis"),
    ])
    (folder / "redis.conf").write_text(text)
    process = Process("Redis", [tool("redis-server", "redis-server"), str(folder / "redis.conf")], folder / "redis.log", port)
    return process, port


def asked(port, *words):
    """One answer of Redis, a line each."""
    with socket.create_connection(("127.0.0.1", port), 5) as to:
        to.sendall(f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words))
        return [line for line in to.recv(65536).decode().split("\r\n") if line and line[0] not in "*$"]


def delivered(gateway, count):
    """Sends events to the source `stripe`, and waits until all are confirmed."""
    before = gateway.metric("hookgate_events_confirmed_total", source="stripe")
    for _ in range(count):
        code, said = gateway.command("send", "stripe")
        demand(code == 0, said)
    until("events are confirmed", 20,
          lambda: gateway.metric("hookgate_events_confirmed_total", source="stripe") == before + count)


def taken(gateway, count, url):
    """Takes events as a worker: all of them, and no more."""
    code, said = gateway.command("consume", "stripe", "--from", "rabbitmq", "--url-env", "WORKER_URL", "--output", "json",
                                 WORKER_URL=url)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    demand(code == 0 and len(lines) == count, f"{len(lines)} events in the place of {count}:\n{said}")


@check("full: RabbitMQ with definitions.json, Redis with redis.conf, a gateway with full.toml, a worker")
def _(context):
    folder = context.folder("full")
    broker = store = gateway = None
    try:
        broker, secrets = rabbitmq(context, folder)
        store, port = redis(folder)
        for name, value in (("appendonly", "yes"), ("appendfsync", "everysec"), ("maxmemory-policy", "noeviction"), ("save", "")):
            demand(asked(port, "CONFIG", "GET", name)[1:] == ([value] if value else []), f"Redis has another {name}")
        password = (secrets / "rabbitmq-password").read_text()
        url = (secrets / "amqp-url").read_text().replace(":5672", f":{broker.port}")
        worker = f"amqp://worker:{(secrets / 'rabbitmq-worker-password').read_text()}@127.0.0.1:{broker.port}/%2f"
        text = (DEPLOY / "full.toml").read_text()
        demand("declare = true" in text and 'listen = "0.0.0.0:8080"' in text, "full.toml has changed")
        variables = {"AMQP_URL": url, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}

        def ctl(*words):
            command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet", *words]
            return well(command, env={**os.environ, **broker.environment})

        listed = json.loads(ctl("list_queues", "--formatter", "json", "name", "type", "policy"))
        found = {each["name"]: (each["type"], each["policy"]) for each in listed}
        demand(found == {"webhooks.stripe": ("quorum", "webhooks"), "webhooks.invalid": ("quorum", "webhooks"),
                         "webhooks.dead": ("quorum", "webhooks-dead")}, f"queues by the definitions: {found}")
        demand(sorted(each["user"] for each in json.loads(ctl("list_users", "--formatter", "json"))) == ["hookgate", "worker"],
               "others than the two users are there")

        # First one that declares nothing, with the rights of such: all that it finds is of the definitions.
        ctl("set_permissions", "hookgate", "^$", "^webhooks$", "^$")
        gateway = Gateway(context, "finding", replaced(text, [("declare = true", "declare = false")]), **variables)
        until("the sink is connected", 20, lambda: gateway.get("/readyz")[1].startswith("ready"))
        delivered(gateway, 2)
        taken(gateway, 2, worker)
        demand(any(key.startswith("hookgate") for key in asked(port, "KEYS", "*")), "nothing was claimed in Redis")
        gateway.stop()

        # With these it can declare nothing; the rights of the definitions are what it needs for that.
        gateway = Gateway(context, "refused", text, **variables)
        until("the refusal is told", 20, lambda: "FAILED (rabbitmq: refused" in gateway.get("/readyz")[1])
        gateway.stop()
        demand(password not in gateway.log.read_text(), "the password is in the log")

        # The way of systemd, after that of Compose: it gives the rights back, and changes nothing else. What the gateway
        # declares is what the definitions have, or RabbitMQ would refuse it with 406.
        ctl("import_definitions", str(DEPLOY / "rabbitmq/definitions.json"))
        gateway = Gateway(context, "declaring", text, **variables)
        until("the sink is connected", 20, lambda: gateway.get("/readyz")[1].startswith("ready"))
        delivered(gateway, 3)
        taken(gateway, 3, worker)
        code, said = gateway.command("check", "--connect")
        demand(code == 0, said)
        gateway.stop()
        claims = asked(port, "DBSIZE")[0].lstrip(":")
        store.stop()
        store = None
        files = [path.name for path in (folder / "redis").rglob("*")]
        demand(any(name.endswith(".aof") for name in files), f"no append-only file: {files}")
        return f"{claims} keys in Redis"
    finally:
        for each in (gateway, store):
            if each:
                each.stop()
        if broker:
            broker.close()


@check("embedded: a gateway with Compose's configuration, and each token opens what it should")
def _(context):
    folder = context.folder("secrets")
    shutil.copy(DEPLOY / "new-secrets", folder)
    well([folder / "new-secrets"])
    (folder / "secrets/stripe-webhook-secret").write_text(SECRET)
    text = document(DEPLOY / "compose.yaml")["configs"]["embedded"]["content"]
    gateway = Gateway(context, "gateway", replaced(text, [("/run/secrets/", f"{folder}/secrets/")]))
    try:
        tokens = {name: (folder / f"secrets/{name}-token").read_text() for name in ("admin", "read", "worker")}
        calls = (("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/v1/reload"), ("POST", "/v1/inbox/stripe/claim"))
        opens = {name: [gateway.call(method, path, token)[0] for method, path in calls]
                 for name, token in {**tokens, "none": "x" * 16}.items()}
        demand(opens == {"admin": [200, 200, 200, 200], "read": [200, 200, 401, 401], "worker": [200, 401, 401, 200],
                         "none": [200, 401, 401, 401]}, f"{opens}")
        code, said = gateway.command("healthcheck")
        demand(code == 0, said)
        code, said = gateway.command("send", "stripe")
        demand(code == 0, said)
        url = f"http://127.0.0.1:{gateway.admin}"
        code, said = gateway.command("consume", "stripe", "--from", url, "--token-env", "WORKER", "--output", "json", WORKER=tokens["worker"])
        demand(code == 0 and '"message_id"' in said, said)
    finally:
        gateway.stop()


# Prometheus, and the log.

@check("Prometheus scrapes a gateway with prometheus.yml and read_token, and finds its rules good")
def _(context):
    folder = context.folder("prometheus")
    (folder / "read-token").write_text("reader-0123456789abcdef\n")
    text = '[admin]\ntoken = { env = "ADMIN_TOKEN" }\nread_token = { file = "%s/read-token" }\n%s' % (folder, SHOP)
    gateway = Gateway(context, "gateway", text)
    [port] = free_ports(1)
    server = None
    try:
        (folder / "rules.yml").write_text((DEPLOY / "prometheus/rules.yml").read_text())
        (folder / "prometheus.yml").write_text(replaced((DEPLOY / "prometheus/prometheus.yml").read_text(), [
            ("gateway:9090", f"127.0.0.1:{gateway.admin}"), ("/run/secrets/", f"{folder}/"),
            ("scrape_interval: 15s", "scrape_interval: 1s"), ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        ]))
        command = [tool("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml",
                   f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        server = Process("Prometheus", command, folder / "log", port)

        def is_ready():
            # It listens before it answers, and says 503 meanwhile.
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                    return True
            except urllib.error.HTTPError:
                return False

        until("Prometheus is ready", 20, is_ready)

        def answer(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as reply:
                return json.load(reply)["data"]

        def value(question):
            found = answer(f"query?query={question}")["result"]
            return float(found[0]["value"][1]) if found else None

        until("a scrape", 20, lambda: value("hookgate_sink_up") == 1)
        demand(value("up") == 1, "the gateway is not up")
        until("the rules are evaluated", 20, lambda: all(
            rule["health"] != "unknown" for group in answer("rules")["groups"] for rule in group["rules"]))
        rules = [rule for group in answer("rules")["groups"] for rule in group["rules"]]
        ill = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
        demand(rules and not ill, f"rules that cannot be evaluated: {ill}")
        # For who does not ask for OpenMetrics, as promtool reads it.
        linted = subprocess.run([tool("promtool", "prometheus"), "check", "metrics"], input=gateway.get("/metrics")[1],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        demand(linted.returncode == 0 and not linted.stdout.strip(), f"promtool check metrics: {linted.stdout}")
        return f"{int(value('count({job=%22hookgate%22})') or 0)} series, {len(rules)} rules"
    finally:
        gateway.stop()
        if server:
            server.stop()


@check("logs: what a gateway says fits index-template.json")
def _(context):
    gateway = Gateway(context, "gateway", SHOP.replace(CALLER, "127.0.0.1") + '[log]\nlevel = "debug"\n')
    try:
        gateway.command("send", "shop")
        gateway.command("send", "shop", "--times", "3", "--break", "signature")
        gateway.config.write_text(gateway.config.read_text() + "nothing = 1\n")
        until("a reload is refused", 15, lambda: "not reloaded" in gateway.log.read_text())
    finally:
        gateway.stop()
    properties = json_of(DEPLOY / "logs/index-template.json")["template"]["mappings"]["properties"]
    kinds = {
        "date": lambda value: datetime.fromisoformat(value.replace("Z", "+00:00")),
        "keyword": lambda value: demand(isinstance(value, str), f"{value!r} is no text"),
        "match_only_text": lambda value: demand(isinstance(value, str), f"{value!r} is no text"),
        "ip": ipaddress.ip_address,
        "long": lambda value: demand(type(value) is int, f"{value!r} is no whole number"),
        "flattened": lambda value: demand(isinstance(value, dict), f"{value!r} is no object"),
    }
    lines, seen = [json.loads(line) for line in gateway.log.read_text().splitlines()], set()
    for line in lines:
        for name, value in line.items():
            at, mapping = properties, None
            for part in name.split("."):
                demand(part in at, f"{name} is not in the template: {line}")
                mapping, at = at[part], at[part].get("properties", {})
            kinds[mapping["type"]](value)
            seen.add(name)
    demand({"client.ip", "hookgate", "log.logger", "service.name", "http.response.status_code"} <= seen, f"only {seen} were told")
    return f"{len(lines)} lines, {len(seen)} fields"


# Proxies in front.

class Recorder:
    """In the place of a gateway: keeps what came, byte for byte, and answers, or hangs up without a word."""

    def __init__(self, answers):
        self.answers, self.requests = answers, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                to, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(to,), daemon=True).start()

    def serve(self, to):
        to.settimeout(10)
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = to.recv(65536)
                    if not more:
                        return
                    head += more
                head, _, body = head.partition(b"\r\n\r\n")
                length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
                while len(body) < length:
                    body += to.recv(65536)
                if not head.startswith(b"GET /readyz "):
                    self.requests.append((head.decode("latin-1").split("\r\n"), body))
                    if not self.answers:
                        return
                to.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except OSError:
            return
        finally:
            to.close()

    def close(self):
        self.socket.close()


def certificate(folder):
    well([tool("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
          "-keyout", folder / "hooks.key", "-out", folder / "hooks.crt", "-days", "2", "-subj", f"/CN={HOST}",
          "-addext", f"subjectAltName=DNS:{HOST}"])
    (folder / "hooks.pem").write_text((folder / "hooks.crt").read_text() + (folder / "hooks.key").read_text())


class Front:
    """A proxy with its file of deploy/, in front of these ports."""

    def __init__(self, kind, folder, gateway, admin, through=None, other=None):
        """`through`: both ports of a gateway to which TLS goes through; `other`: the port of a second one."""
        self.folder, self.kind = folder, kind
        certificate(folder)
        self.trusted = folder / "hooks.crt"
        self.port, self.through = free_ports(2)
        if kind == "haproxy":
            text = replaced((DEPLOY / "haproxy.cfg").read_text(), [
                # As many as this machine lets it have.
                ("maxconn 20000", "maxconn 1000"),
                ("bind :443 ssl crt /etc/haproxy/hooks.pem", f"bind 127.0.0.1:{self.port} ssl crt {folder}/hooks.pem"),
                ("bind :8443", f"bind 127.0.0.1:{self.through}"),
                ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
                ("127.0.0.1:8444 send-proxy-v2", f"127.0.0.1:{(through or (gateway, admin))[0]} send-proxy-v2"),
            ])
            demand(text.count("check port 9090") == 2, "two backends are checked at the admin port")
            text = text.replace("check port 9090", f"check port {admin}", 1)
            text = text.replace("check port 9090", f"check port {(through or (gateway, admin))[1]}", 1)
            first = f"    server gateway-1 127.0.0.1:{gateway}\n"
            text = replaced(text, [(first, first + (f"    server gateway-2 127.0.0.1:{other}\n" if other else ""))])
            (folder / "proxy.conf").write_text(text)
            command = [tool("haproxy", "haproxy"), "-db", "-f", str(folder / "proxy.conf")]
            self.checked = [*command[:1], "-c", "-f", command[-1]]
        else:
            temporary = "".join(f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            text = replaced((DEPLOY / "nginx.conf").read_text(), [
                ("/var/log/nginx/", f"{folder}/"), ("/run/nginx.pid", f"{folder}/pid"), ("http {\n", f"http {{\n{temporary}"),
                ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"), ("/etc/nginx/hooks", f"{folder}/hooks"),
                ("server 127.0.0.1:8080", f"server 127.0.0.1:{other}; server 127.0.0.1:{gateway}" if other
                 else f"server 127.0.0.1:{gateway}"),
            ])
            (folder / "proxy.conf").write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
            command = [tool("nginx", "nginx-light"), "-e", f"{folder}/error.log", "-p", f"{folder}/", "-c", f"{folder}/proxy.conf"]
            self.checked = [*command, "-t"]
            command += ["-g", "daemon off;"]
        self.said = well(self.checked)
        self.process = Process(kind, command, folder / "log", self.port)

    def ask(self, target, headers, body=b"", port=None, caller="127.0.0.1", method="POST"):
        """One request over TLS, as bytes: status and body of the answer."""
        trust = ssl.create_default_context(cafile=self.trusted)
        trust.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", port or self.port), 15, source_address=(caller, 0))
        with trust.wrap_socket(plain, server_hostname=HOST) as to:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers)
            start = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{head}Content-Length: {len(body)}\r\n\r\n"
            try:
                to.sendall(start.encode() + body)
            except OSError:
                pass  # It has answered before the end of the body.
            got = b""
            try:
                while more := to.recv(65536):
                    got += more
            except OSError:
                pass
        demand(got.startswith(b"HTTP/1.1 "), f"{self.kind} answered {got[:200]!r}")
        return int(got[9:12]), got.partition(b"\r\n\r\n")[2].decode(errors="replace")

    def stop(self):
        self.process.stop()


def signed(number, pad=0):
    body = json.dumps({"id": f"evt_{number}", "object": "event", "type": "charge.captured", "pad": "x" * pad}).encode()
    at = int(time.time())
    mac = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return [("Stripe-Signature", f"t={at},v1={mac}"), ("Content-Type", "application/json")], body


def told_to_gateways(kind):
    """What the proxy's file says that hookgate.toml needs, for each of its ways."""
    file = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[kind]
    return [one_line(text) for text in re.findall(r"^#\s+(\[ingress\]  .*)$", (DEPLOY / file).read_text(), re.M)]


def judged(front, gateway, port):
    """A signed delivery of the one address that may send, and of others."""
    headers, body = signed(f"{port}_1")
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 200, f"signed, from {CALLER}: {status} {said}")
    headers, body = signed(f"{port}_2")
    forged = [*headers, ("X-Forwarded-For", CALLER)]
    status, said = front.ask("/in/shop", forged, body, port, "127.0.0.5")
    demand(status == 403, f"from 127.0.0.5, which says that it is {CALLER}: {status} {said}")
    demand("127.0.0.5" in gateway.log.read_text(), "the gateway does not know who called")
    status, said = front.ask("/in/shop", headers, body.replace(b"charge.", b"refund."), port, CALLER)
    demand(status == 401, f"with another body: {status} {said}")
    # Near the longest head that the gateway takes.
    headers, body = signed(f"{port}_3")
    long = [(f"X-Pad-{each}", "x" * 7000) for each in range(4)]
    status, said = front.ask("/in/shop", [*headers, *long], body, port, CALLER)
    demand(status == 200, f"a head of 28 KB: {status} {said}")
    headers, body = signed(f"{port}_4", pad=900_000)
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 200, f"a body of 900 KB: {status} {said}")
    headers, body = signed(f"{port}_5", pad=3_000_000)
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 413 and "body_too_large" in said, f"a body of 3 MB: {status} {said}")
    accepted = gateway.metric("hookgate_requests_total", outcome="accepted")
    demand(accepted == 3, f"{accepted} events were accepted, and three were sent")


def passes_on(kind, context):
    """What comes to the gateway is what was sent, once."""
    recorder = Recorder(answers=True)
    front = Front(kind, context.folder("recorded"), recorder.port, recorder.port)
    try:
        target = "/in//shop/../shop%2fA/%7E?b=2&a=%20x+y&&a"
        headers = [("X-Odd_Name", "a\tb  c"), ("x-Signature", "Q==;v=1, w"), ("X-Twice", "1"), ("X-Twice", "2"),
                   ("Content-Type", "application/json")]
        body = b'{"a":  1}\r\n\x00\xff' + bytes(range(256)) * 3000
        status, _ = front.ask(target, headers, body, caller=CALLER)
        demand(status == 200, f"{status}")
        [(lines, got)] = recorder.requests
        demand(lines[0] == f"POST {target} HTTP/1.1", f"{lines[0]!r} in the place of {target!r}")
        demand(got == body, f"{len(got)} bytes in the place of {len(body)}, or others")
        came = [(line.split(":")[0].lower(), line.split(":", 1)[1].strip()) for line in lines[1:]]
        for name, value in headers:
            demand((name.lower(), value) in came, f"{name}: {value!r} did not come: {came}")
        demand([value for name, value in came if name == "x-forwarded-for"] == [CALLER], f"who called: {came}")
        demand(("host", HOST) in came, f"the host: {came}")
    finally:
        front.stop()
        recorder.close()
    # A gateway that ends in the middle of a delivery may have kept it: nobody but its sender may send it again.
    silent = [Recorder(answers=False), Recorder(answers=False)]
    front = Front(kind, context.folder("silent"), silent[0].port, silent[0].port, other=silent[1].port)
    try:
        status, _ = front.ask("/in/shop", *signed(1))
        count = sum(len(each.requests) for each in silent)
        demand(status == 502 and count == 1, f"{status}, and it was sent {count} times")
    finally:
        front.stop()
        for each in silent:
            each.close()
    # One that takes no connection has seen nothing: the other gets the delivery, and the sender its 200.
    recorder, [nobody] = Recorder(answers=True), free_ports(1)
    front = Front(kind, context.folder("one-of-two"), recorder.port, recorder.port, other=nobody)
    try:
        for number in range(4):
            status, _ = front.ask("/in/shop", *signed(number))
            demand(status == 200, f"with one gateway of two away: {status}")
        demand(len(recorder.requests) == 4, f"{len(recorder.requests)} requests in the place of four")
    finally:
        front.stop()
        recorder.close()


def front_check(kind, through):
    context_of = {"haproxy": "HAProxy", "nginx": "nginx"}[kind]
    ways = "TLS that ends there and TLS through it, " if through else ""

    @check(f"{context_of}: {ways}a signed request is 200, and the caller's address arrives; each is passed on as it was, once")
    def _(context):
        lines = told_to_gateways(kind)
        demand(len(lines) == (2 if through else 1), f"{kind} says {lines} of hookgate.toml")
        gateways = []
        front = None
        try:
            gateways.append(Gateway(context, "plain", lines[0] + SHOP))
            second = None
            if through:
                tls_folder = context.folder("tls")
                certificate(tls_folder)
                tls = f'[ingress.tls]\ncertificate = "{tls_folder}/hooks.crt"\nkey = "{tls_folder}/hooks.key"\n'
                gateways.append(Gateway(context, "through", f"{lines[1]}{tls}{SHOP}"))
                second = (gateways[1].ingress, gateways[1].admin)
            folder = context.folder("front")
            front = Front(kind, folder, gateways[0].ingress, gateways[0].admin, second)
            judged(front, gateways[0], front.port)
            if through:
                # Now it is the gateway's own certificate that is shown.
                front.trusted = tls_folder / "hooks.crt"
                judged(front, gateways[1], front.through)
                front.trusted = folder / "hooks.crt"
            gateways[0].stop()
            status, _ = front.ask("/in/shop", *signed("late"))
            demand(status in (502, 503), f"without a gateway: {status}")
        finally:
            for each in [front, *gateways]:
                if each:
                    each.stop()
        passes_on(kind, context)


front_check("haproxy", True)
front_check("nginx", False)


@check("hookgate.service: a gateway has every call of the system that it makes, or does without")
def _(context):
    folder = context.folder("calls")
    groups, name = {}, None
    for line in well([tool("systemd-analyze", "systemd"), "syscall-filter", "--no-pager"]).splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            groups[name] = set()
        elif name and word and not word.startswith("#"):
            groups[name].add(word)

    def expanded(group):
        return set().union(*(expanded(one) if one.startswith("@") else {one} for one in groups[group]))

    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", (DEPLOY / "hookgate.service").read_text(), re.M):
        for group in line.removeprefix("~").split():
            allowed = allowed - expanded(group) if line.startswith("~") else allowed | expanded(group)
    strace = tool("strace", "strace")
    log, demo = folder / "calls", [context.hookgate, "demo", "--exit"]
    code, said = run([strace, "-f", "-qq", "-o", log, *demo], cwd=folder, seconds=60)
    if "ptrace" in said and code:
        raise LeftOut(f"strace may not trace here: {said.strip()[:100]}")
    demand(code == 0, said)
    made = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M))
    demand({"fdatasync", "accept4"} <= made, f"no gateway was traced: {made}")
    # The unit refuses these with EPERM.
    refused = sorted(made - allowed)
    if refused:
        calls = ",".join(refused)
        well([strace, "-f", "-qq", "-o", log, "-e", f"trace={calls}", "-e", f"inject={calls}:error=EPERM", *demo], cwd=folder, seconds=60)
    return f"{len(made)} calls, refused: {', '.join(refused) or 'none'}"
