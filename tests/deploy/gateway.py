"""A gateway of its own for a check, and what checks ask of it."""

import os
import re
import urllib.error
import urllib.request

from asking import total
from common import run
from services import Process, free_ports

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
        return total(self.get("/metrics")[1], name, **labels)

    def stop(self):
        self.process.stop()
