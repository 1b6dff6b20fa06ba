"""Prometheus, the log and the unit, with a gateway that runs."""

import ipaddress
import json
import re
import subprocess
import urllib.error
import urllib.request
from datetime import datetime

from asking import replaced, until
from common import DEPLOY, LeftOut, check, demand, json_of, run, tool, well
from gateway import CALLER, SHOP, Gateway
from services import Process, free_ports


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

        until("Prometheus is ready", is_ready, 20)

        def answer(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as reply:
                return json.load(reply)["data"]

        def value(question):
            found = answer(f"query?query={question}")["result"]
            return float(found[0]["value"][1]) if found else None

        until("a scrape", lambda: value("hookgate_sink_up") == 1, 20)
        demand(value("up") == 1, "the gateway is not up")
        until("the rules are evaluated", lambda: all(
            rule["health"] != "unknown" for group in answer("rules")["groups"] for rule in group["rules"]), 20)
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
        until("a reload is refused", lambda: "not reloaded" in gateway.log.read_text(), 15)
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
