"""The gateway that the libraries of providers send to, and its sources."""

from dataclasses import dataclass, field
from pathlib import Path

from services import Process, free_ports


@dataclass
class Source:
    """A source of the gateway; its path is `/in/` and its name."""

    name: str
    provider: str
    secret: str
    scheme: str | None = None
    kid: str | None = None
    tolerance: str | None = None
    settings: dict = field(default_factory=dict)

    @property
    def variable(self):
        return f"SDK_{self.name.upper()}_SECRET"

    def table(self, url):
        """Its part of the configuration; `{url}` in a setting is the gateway's own."""
        lines = [f"[sources.{self.name}]", f'provider = "{self.provider}"', "schema = false"]
        if self.scheme:
            lines.append(f'scheme = "{self.scheme}"')
        if self.tolerance:
            lines.append(f'tolerance = {{ past = "{self.tolerance}", future = "{self.tolerance}" }}')
        settings = [f'{name} = "{value.replace("{url}", url)}"' for name, value in self.settings.items()]
        kid = f', kid = "{self.kid}"' if self.kid else ""
        lines.append(f"settings = {{ {', '.join(settings)} }}")
        lines.append(f'secrets = [{{ env = "{self.variable}", label = "sdk"{kid} }}]')
        return "\n".join(lines) + "\n"


class Gateway:
    """hookgate with the sources given, RabbitMQ as its sink."""

    def __init__(self, binary, folder: Path, amqp_url, sources):
        folder.mkdir()
        ingress, admin = free_ports(2)
        self.url = f"http://127.0.0.1:{ingress}"
        tables = "".join(source.table(self.url) for source in sources)
        config = folder / "hookgate.toml"
        config.write_text(
            f'[ingress]\nlisten = "127.0.0.1:{ingress}"\npublic_url = "{self.url}"\n'
            # The refusals of one address that forges so much would be held back: each request comes from another.
            'trusted_proxies = ["127.0.0.1/32"]\n'
            f'[admin]\nlisten = "127.0.0.1:{admin}"\n[journal]\ndir = "{folder}/journal"\n'
            '[dedup]\nwindow = "31d"\n'  # for so long the most patient of them tries again
            f'[sink]\nkind = "rabbitmq"\nurl = {{ env = "SDK_AMQP_URL" }}\n{tables}'
        )
        environment = {source.variable: source.secret for source in sources}
        environment["SDK_AMQP_URL"] = amqp_url
        command = [binary, "serve", "--config", str(config)]
        self.process = Process("hookgate", command, folder / "log", ingress, environment)

    def close(self):
        self.process.stop()
