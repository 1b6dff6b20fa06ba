"""Secrets, Redis and RabbitMQ as deploy/ sets them up, and a gateway among them."""

import base64
import hashlib
import json
import os
import re
import shutil
import stat

from asking import asked, replaced, until
from common import DEPLOY, check, demand, document, tool, well
from gateway import SECRET, Gateway
from services import Process, RabbitMq, free_ports


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


def delivered(gateway, count):
    """Sends events to the source `stripe`, and waits until all are confirmed."""
    before = gateway.metric("hookgate_events_confirmed_total", source="stripe")
    for _ in range(count):
        code, said = gateway.command("send", "stripe")
        demand(code == 0, said)
    until("events are confirmed",
          lambda: gateway.metric("hookgate_events_confirmed_total", source="stripe") == before + count, 20)


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
        until("the sink is connected", lambda: gateway.get("/readyz")[1].startswith("ready"), 20)
        delivered(gateway, 2)
        taken(gateway, 2, worker)
        demand(any(key.startswith("hookgate") for key in asked(port, "KEYS", "*")), "nothing was claimed in Redis")
        gateway.stop()

        # With these it can declare nothing; the rights of the definitions are what it needs for that.
        gateway = Gateway(context, "refused", text, **variables)
        until("the refusal is told", lambda: "FAILED (rabbitmq: refused" in gateway.get("/readyz")[1], 20)
        gateway.stop()
        demand(password not in gateway.log.read_text(), "the password is in the log")

        # The way of systemd, after that of Compose: it gives the rights back, and changes nothing else. What the gateway
        # declares is what the definitions have, or RabbitMQ would refuse it with 406.
        ctl("import_definitions", str(DEPLOY / "rabbitmq/definitions.json"))
        gateway = Gateway(context, "declaring", text, **variables)
        until("the sink is connected", lambda: gateway.get("/readyz")[1].startswith("ready"), 20)
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
