"""A gateway that has seen some events, and schemathesis at its admin listener: no 5xx, no answer that is not described."""

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "common"))
from services import Process, free_ports  # noqa: E402

TOKEN = "operator-0123456789abcdef"
SECRET = "whsec_0123456789abcdef0123456789abcdef"
# Its answer does not end.
ENDLESS = "/v1/events/tail"
CHECKS = ",".join([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
    "ignored_auth",
])
CONFIG = """
[ingress]
listen = "127.0.0.1:{ingress}"
[admin]
listen = "127.0.0.1:{admin}"
token = {{ env = "ADMIN_TOKEN" }}
[journal]
dir = "{folder}/journal"
[sources.shop]
provider = "stripe"
secrets = [{{ env = "SHOP_SECRET" }}]
quarantine = "1MiB"
[sources.git]
provider = "github"
secrets = [{{ env = "SHOP_SECRET" }}]
on_twin = "hold"
"""


def seed(hookgate, config, environment):
    """Some of everything: events of two sources, a duplicate, forgeries."""
    single = [[source] for source in ("shop", "git") for _ in range(5)]
    for words in [*single, ["shop", "--times", "2"]]:
        subprocess.run([hookgate, "send", *words, "--config", config], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run([hookgate, "send", "shop", "--times", "3", "--break", "signature", "--config", config],
                   env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def schemathesis(url, schema, token, options):
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", str(schema), "--url", url,
        "-H", f"Authorization: Bearer {token}", "--exclude-path", ENDLESS, "--request-timeout", "10",
        "--workers", "1", "--suppress-health-check", "all", "--no-color", *options,
    ]
    return subprocess.run(command, cwd=schema.parent).returncode == 0


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--hookgate", required=True)
    arguments.add_argument("--examples", type=int, default=15)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    hookgate = str(Path(given.hookgate).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ingress, admin = free_ports(2)
        config = folder / "hookgate.toml"
        config.write_text(CONFIG.format(ingress=ingress, admin=admin, folder=folder))
        environment = {**os.environ, "ADMIN_TOKEN": TOKEN, "SHOP_SECRET": SECRET}
        server = Process("hookgate", [hookgate, "serve", "--config", str(config)], folder / "log", admin, environment)
        try:
            seed(hookgate, str(config), environment)
            url = f"http://127.0.0.1:{admin}"
            schema = folder / "openapi.json"
            call = urllib.request.Request(f"{url}/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(call, timeout=10) as answer:
                schema.write_bytes(answer.read())
            common = ["--seed", str(given.seed), "--max-examples", str(given.examples)]
            good = schemathesis(url, schema, TOKEN, [*common, "--checks", CHECKS])
            if server.child.poll() is not None:
                raise SystemExit(f"the gateway has ended:\n{(folder / 'log').read_text(errors='replace')[-4000:]}")
            panics = [line for line in (folder / "log").read_text(errors="replace").splitlines() if "panic" in line]
            if panics:
                raise SystemExit(f"the gateway panicked: {panics[:3]}")
        finally:
            server.stop()
    raise SystemExit(0 if good else 1)


main()
