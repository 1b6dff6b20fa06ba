"""Every metric, label, key of the configuration and command that a file of deploy/ names is one that hookgate has."""

import os
import re
import tomllib

from asking import replaced
from common import BIN, DEPLOY, ROOT, check, demand, document, fenced, files, name_of, run, well
from kubernetes import OVERLAYS, rendered

# What Prometheus itself adds.
OWN_LABELS = {"instance", "job", "le", "alertname"}
SUFFIXES = ("_bucket", "_sum", "_count")
# Where a snippet has secrets and folders of a machine that runs it.
PLACES = ("/run/secrets/hookgate/", "/run/secrets/", "/etc/hookgate/", "/var/lib/hookgate/")
SECRET = "whsec_0123456789abcdef0123456789abcdef"
URLS = {"amqp-url": "amqp://hookgate:password@127.0.0.1:5672/%2f", "redis-url": "redis://127.0.0.1:6379/0"}
SOURCE = '\n[sources.shop]\nprovider = "stripe"\nsecrets = [{ env = "STRIPE_WEBHOOK_SECRET" }]\n'


def known_metrics():
    """Of metrics.md, which src/metrics/tests.rs holds against what is registered: labels, kind and the values that a row tells of, by name."""
    found = {}
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.*) \|$", (DEPLOY / "metrics.md").read_text(), re.M)
    for name, labels, kind, meaning in rows:
        found[name] = set(labels.split(",")) - {""}, kind, set(re.findall(r"`([^`]+)`", meaning))
    return found


def metric(name, known):
    base = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end) and name not in known), name)
    if base not in known or (base != name and known[base][1] != "histogram"):
        return None
    return known[base]


@check("every metric, label and value that is named is one that the gateway has")
def _(_context):
    known, named = known_metrics(), 0
    demand(len(known) > 50, f"only {len(known)} metrics in metrics.md")
    for path in files():
        if name_of(path) == "deploy/metrics.md":
            continue
        text = path.read_text()
        if path.suffix == ".json":
            text = text.replace('\\"', '"')
        for found in re.finditer(r"\b((?:hookgate|process)_[a-z_]*[a-z])\b(?:\{([^}]*)\})?", text):
            name, labels = found.groups()
            if name.startswith("hookgate_relay_{") or (name == "process_start"):
                continue
            row = metric(name, known)
            demand(row, f"{name_of(path)}: no metric is called {name}")
            named += 1
            own, _, values = row
            for label, value in re.findall(r'(\w+)\s*[=!]~?\s*"([^"]*)"', labels or ""):
                demand(label in own | OWN_LABELS, f"{name_of(path)}: {name} has no label {label}")
                # Values of closed sets, which the row lists in part: outcomes and notices in full.
                if label in ("outcome", "notice") and not value.startswith("$"):
                    for one in value.split("|"):
                        demand(one in values, f"{name_of(path)}: {name}{{{label}}} is never {one!r}")
        every = set().union(*(own for own, _, _ in known.values())) | OWN_LABELS
        for names in re.findall(r"\b(?:by|without) \(([\w, ]+)\)", text):
            unknown = {name.strip() for name in names.split(",")} - every
            demand(not unknown, f"{name_of(path)}: no metric has a label {unknown}")
    return f"{named} mentions"


def snippets():
    """Every piece of configuration that somebody may copy: where it stands, and its text."""
    for path in files():
        if path.suffix == ".toml" and path.name != "Cargo.toml":
            yield name_of(path), path.read_text()
    compose = document(DEPLOY / "compose.yaml")
    for name, each in compose["configs"].items():
        yield f"compose.yaml, configs.{name}", each["content"]
    for overlay in OVERLAYS:
        for each in rendered(overlay):
            if each["kind"] == "ConfigMap":
                for name, text in each["data"].items():
                    yield f"kubernetes/overlays/{overlay}, {name} of its ConfigMap", text
    for path in files():
        if path.suffix == ".md":
            for number, text in enumerate(fenced(path.read_text(), "toml")):
                yield f"{name_of(path)}, TOML block {number + 1}", text
        # What a proxy's file says that hookgate.toml needs, on one line.
        if path.suffix in (".cfg", ".conf"):
            for number, text in enumerate(re.findall(r"^#\s+(\[ingress\]  .*)$", path.read_text(), re.M)):
                yield f"{name_of(path)}, line {number + 1} of configuration", one_line(text)


def one_line(text):
    """`[table]  key = value  key = value`, as comments of a proxy have it, on lines of its own."""
    return text.replace("  ", "\n").replace("<address of this machine>", "127.0.0.1") + "\n"


def checked(context, folder, text):
    """The findings of `hookgate check`, and its exit code; secrets and folders are made for it."""
    for name in set(re.findall(r'"(?:%s)([\w.-]+)"' % "|".join(PLACES), text)):
        (folder / name).write_text(URLS.get(name, SECRET))
    for place in PLACES:
        text = text.replace(f'"{place}', f'"{folder}/')
    if "sources" not in tomllib.loads(text):
        text += SOURCE
    (folder / "hookgate.toml").write_text(text)
    environment = {name: SECRET for name in ["STRIPE_WEBHOOK_SECRET", *re.findall(r'env = "(\w+)"', text)]}
    environment |= {"PATH": os.environ["PATH"], "AMQP_URL": URLS["amqp-url"], "REDIS_URL": URLS["redis-url"]}
    code, said = run([context.hookgate, "check", "--config", folder / "hookgate.toml", "--output", "json"],
                     env=environment, cwd=folder)
    return code, said


@check("every key of every piece of configuration is one that the gateway has")
def _(context):
    count = 0
    for where, text in snippets():
        code, said = checked(context, context.folder(f"snippet-{count}"), text)
        demand(code == 0, f"{where}: exit code {code}\n{said}")
        count += 1
    demand(count >= 9, f"only {count} pieces of configuration were found")
    code, said = checked(context, context.folder("control"), '[ingress]\nlisten = "127.0.0.1:0"\nlisting = 1\n')
    demand(code == 78 and "listing" in said, f"an unknown key was not noticed: exit code {code}\n{said}")
    return f"{count} pieces"


@check("every piece of configuration and every provider file is what the schemas say that `hookgate schema` prints")
def _(context):
    folder = context.folder("schemas")
    for kind in ("gateway", "provider", "vector"):
        schema = folder / f"{kind}.schema.json"
        schema.write_text(well([context.hookgate, "schema", kind]))
        well([BIN / "check-jsonschema", "--check-metaschema", schema])

    def linted(kind, texts):
        named = []
        for number, text in enumerate(texts):
            line = f"#:schema ./{kind}.schema.json\n"
            named.append(folder / f"{kind}-{number}.toml")
            named[-1].write_text(text if text.startswith(line) else line + text)
        return run([BIN / "tombi", "lint", "--offline", "--error-on-warnings", *named], seconds=60, cwd=folder)

    pieces = [text for _, text in snippets()]
    providers = [path.read_text() for path in sorted((ROOT / "providers").glob("*.toml"))]
    for kind, texts in (("gateway", pieces), ("provider", providers)):
        code, said = linted(kind, texts)
        demand(code == 0, f"{kind}: {said[-3000:]}")
    for kind, text, key in (("gateway", '[ingress]\nlisting = 1\n', "listing"),
                            ("gateway", '[journal]\nretention = "7 days"\n', "7 days"),
                            ("provider", replaced(providers[0], [("[[schemes]]\n", '[[schemes]]\nsignatur = "a"\n')]), "signatur")):
        code, said = linted(kind, [text])
        demand(code == 1 and key in said, f"{key!r} was not noticed: exit code {code}\n{said}")
    return f"{len(pieces)} pieces, {len(providers)} files"


@check("every variable of the environment that is named is one that the gateway has")
def _(context):
    def variable(folder, name):
        (folder / "hookgate.toml").write_text(SOURCE)
        words = {"PATH": os.environ["PATH"], "STRIPE_WEBHOOK_SECRET": SECRET, f"HOOKGATE__{name}": "?"}
        return run([context.hookgate, "check"], cwd=folder, env=words)

    code, said = variable(context.folder("control"), "JOURNAL__DIRECTORY")
    demand(code == 78 and "unknown" in said, f"an unknown variable was not noticed: {said}")
    count = 0
    for path in files():
        for name in re.findall(r"\bHOOKGATE__([A-Z_]+)\b", path.read_text()):
            key = name.lower().replace("__", ".")
            code, said = variable(context.folder(f"variable-{count}"), name)
            demand(code == 0 or (key in said and "unknown" not in said), f"{name_of(path)}: HOOKGATE__{name}: {said}")
            count += 1
    return f"{count} variables"


@check("every command of hookgate that is named is there, with its options")
def _(context):
    seen = {}
    for path in files():
        for line in re.findall(r"(?<![\w/.:-])hookgate ((?:[a-z]+ ?)(?:[^`|&;\n\"]*))", path.read_text()):
            line = line.split(" -- ")[0]  # what follows is another program's
            words = line.split()
            command = []
            for word in words[:2]:
                name = word.rstrip(",.;:)`'")
                if not re.fullmatch(r"[a-z]+", name):
                    break
                command.append(name)
                if name != word:
                    break
            seen.setdefault(tuple(command) or ("",), set()).add((name_of(path), tuple(re.findall(r"(?<!\S)(--[a-z-]+)", line))))
    known = re.findall(r"^  ([a-z]+) ", run([context.hookgate, "--help"])[1], re.M)
    demand("serve" in known, f"no commands in the help: {known}")
    count = 0
    for command, places in sorted(seen.items()):
        if command[0] not in known:
            # Prose, such as «hookgate needs».
            start = f"`hookgate {command[0]}"
            marked = [place for place, _ in places if command[0] and start in (DEPLOY.parent / place).read_text()]
            demand(not marked, f"{marked}: no command `hookgate {' '.join(command)}`")
            continue
        code, said = run([context.hookgate, *command, "--help"])
        if code != 0 or (len(command) > 1 and f"Usage: hookgate {' '.join(command)}" not in said):
            code, said = run([context.hookgate, command[0], "--help"])
        demand(code == 0, f"{places}: `hookgate {' '.join(command)}`: {said}")
        for place, options in places:
            for option in options:
                demand(option in said, f"{place}: `hookgate {' '.join(command)}` has no {option}")
        count += 1
    return f"{count} commands"
