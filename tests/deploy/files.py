"""What the tools say that read the files: linters, schemas, parsers; and what holds between files."""

import json
import os
import re
import shutil
import tomllib
from itertools import zip_longest
from pathlib import Path

import yaml
from asking import replaced
from common import BIN, DEPLOY, ROOT, LeftOut, check, demand, document, documents, files, json_of, name_of, run, tool, well

# The exposure that systemd counts for the unit, times ten; what is left is the network, which it is there for.
EXPOSURE = 15


@check("JSON, YAML and TOML can be read, and no key stands twice")
def _(_context):
    read = 0
    for path in files():
        if path.suffix == ".json":
            json_of(path)
        elif path.suffix in (".yaml", ".yml"):
            demand(documents(path), f"{name_of(path)}: empty")
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
        else:
            continue
        read += 1
    return f"{read} files"


@check("Containerfile: hadolint")
def _(_context):
    well([BIN / "hadolint", "--failure-threshold", "style", DEPLOY / "Containerfile"])


@check("Containerfile: pinned bases, a number for a user, no ADD, a health check, files that are there")
def _(_context):
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    of = lambda word: [rest for first, rest in lines if first == word]  # noqa: E731
    for base in of("FROM"):
        image = base.split()[0]
        demand(":" in image and not image.endswith(":latest"), f"FROM {image}: name a version")
    demand(not of("ADD"), "ADD fetches and unpacks; COPY does neither")
    demand(re.fullmatch(r"\d+:\d+", of("USER")[-1]), "USER is to be a number, which runAsNonRoot can judge")
    demand(len(of("HEALTHCHECK")) == 1 and "/usr/local/bin/hookgate" in of("HEALTHCHECK")[0], "no health check")
    ignored = {line.strip() for line in (ROOT / ".gitignore").read_text().splitlines()}
    for copied in of("COPY"):
        words = [word for word in copied.split() if not word.startswith("--")]
        for source in [] if "--from=" in copied else words[:-1]:
            demand((ROOT / source).exists() and source not in ignored, f"COPY {source}: it is not in the repository")
    # What include_str! and rust-embed take from outside of src/ has to be copied too.
    copied = {word.rstrip("/") for rest in of("COPY") if "--from=" not in rest for word in rest.split()[:-1]}
    for path in sorted((ROOT / "src").rglob("*.rs")):
        # Tests stand at the end of a file, or in one of their own.
        of_tests = path.name in ("example.rs", "tests.rs") or "tests" in path.parts[len(ROOT.parts):]
        text = "" if of_tests else path.read_text().split("#[cfg(test)]\nmod ")[0]
        included = [path.parent / found for found in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text)]
        included += [ROOT / found for found in re.findall(r'#\[folder = "([^"]+)"', text)]
        for found in included:
            target = str(Path(os.path.normpath(found)).relative_to(ROOT))
            known = any(target == each or target.startswith(f"{each}/") for each in copied)
            demand(known, f"{name_of(path)} includes {target}, which the Containerfile does not copy")


@check("compose.yaml: the schema of the Compose specification")
def _(_context):
    well([BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"])


@check("compose.yaml: what services refer to is there, in both profiles")
def _(_context):
    compose = document(DEPLOY / "compose.yaml")
    made = (DEPLOY / "new-secrets").read_text()
    for profile in ("embedded", "full"):
        services = {name: each for name, each in compose["services"].items() if profile in each.get("profiles", [])}
        demand(services, f"no service is in the profile {profile}")
        published = [port for each in services.values() for port in each.get("ports", [])]
        demand(len(published) == len(set(published)), f"{profile}: a port is published twice: {published}")
        for name, each in services.items():
            demand(set(each.get("depends_on", [])) <= set(services), f"{name}: depends on a service of another profile")
            demand(set(each["networks"]) <= set(compose["networks"]), f"{name}: an unknown network")
            demand(":" in each["image"] and not each["image"].endswith(":latest"), f"{name}: its image has no version")
            for kind in ("secrets", "configs"):
                for used in each.get(kind, []):
                    source = used if isinstance(used, str) else used["source"]
                    demand(source in compose[kind], f"{name}: no such thing among {kind}: {source}")
            for volume in each.get("volumes", []):
                source = volume.split(":")[0]
                there = (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
                demand(there, f"{name}: no volume, file or folder {source}")
            for host in re.findall(r"//(?:[^@/\s]*@)?([a-z]+):\d+", json.dumps(each.get("environment", {}))):
                shared = set(services.get(host, {}).get("networks", [])) & set(each["networks"])
                demand(shared, f"{name} cannot reach {host}")
    for name, secret in compose["secrets"].items():
        file = secret["file"].removeprefix("./secrets/")
        demand(file in made, f"secret {name}: new-secrets neither makes {file} nor tells of it")
    used = {volume.split(":")[0] for each in compose["services"].values() for volume in each.get("volumes", [])}
    demand(set(compose["volumes"]) <= used, f"volumes that nobody uses: {set(compose['volumes']) - used}")
    for kind in ("networks", "secrets", "configs"):
        names = {item if isinstance(item, str) else item["source"]
                 for each in compose["services"].values() for item in each.get(kind, [])}
        demand(set(compose[kind]) == names, f"{kind}: {set(compose[kind]) ^ names} on one side alone")
    for gateway in (compose["services"][name] for name in ("embedded", "gateway")):
        demand(gateway["read_only"] and gateway["cap_drop"] == ["ALL"], "a gateway that may write, or has capabilities")
    redis, amqp = compose["services"]["redis"], compose["services"]["rabbitmq"]
    demand(redis["networks"] == ["stores"], "others than the gateway reach Redis, which asks for no password")
    demand("ports" not in redis and "ports" not in amqp, "a store is published")


@check("Compose, Prometheus and Grafana agree on names, ports and folders")
def _(_context):
    compose = document(DEPLOY / "compose.yaml")
    scrape = document(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]
    [target] = scrape["static_configs"][0]["targets"]
    gateway, prometheus, grafana = (compose["services"][name] for name in ("gateway", "prometheus", "grafana"))
    admin = tomllib.loads(compose["configs"]["full"]["content"])["admin"]["listen"]
    demand(target == f"gateway:{admin.rsplit(':', 1)[1]}", f"{target} is scraped, and {admin} is listened on")
    demand(set(gateway["networks"]) & set(prometheus["networks"]), "Prometheus does not reach the gateway")
    token = scrape["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    demand(token in prometheus["secrets"], f"Prometheus has no secret {token}")
    source = document(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    demand(source["url"] == "http://prometheus:9090", source["url"])
    demand(set(grafana["networks"]) & set(prometheus["networks"]), "Grafana does not reach Prometheus")
    provider = document(DEPLOY / "grafana/provisioning/dashboards/hookgate.yml")["providers"][0]
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in grafana["volumes"]}
    demand(mounts.get(provider["options"]["path"]) == "./grafana/dashboards", "Grafana looks for dashboards elsewhere")
    demand("/etc/grafana/provisioning" in mounts, "Grafana is not provisioned")
    redis = (DEPLOY / "redis.conf").read_text()
    demand(re.search(r"^port 6379$", redis, re.M) and ":6379/" in gateway["environment"]["REDIS_URL"], "Redis's port")


@check("hookgate.service: systemd-analyze verify")
def _(context):
    analyze = tool("systemd-analyze", "systemd")
    version = int(re.search(r"systemd (\d+)", well([analyze, "--version"]))[1])
    text = replaced((DEPLOY / "hookgate.service").read_text(), [("/usr/local/bin/hookgate serve", f"{context.hookgate} serve")])
    old, new = "Type=notify\n", "Type=notify-reload\n"
    demand(f"{old}{new}" in text, "the type of systemd before 253 has to stand before the other")

    def verified(name, text, drop_in=None):
        folder = context.folder(name)
        (folder / "hookgate.service").write_text(text)
        if drop_in:
            (folder / "hookgate.service.d").mkdir()
            (folder / "hookgate.service.d/full.conf").write_text(drop_in)
        return run([analyze, "verify", "--man=no", "--recursive-errors=no", folder / "hookgate.service"])

    # Units of packages that this machine need not have.
    drop_in = re.sub(r"^Wants=.*\n", "", (DEPLOY / "hookgate-full.conf").read_text(), flags=re.M)
    if version < 253:
        code, said = verified("whole", text)
        left = re.sub(r"^.*/hookgate.service:\d+: Failed to parse service type, ignoring: notify-reload\n", "", said)
        demand(left == "" != said, f"systemd {version} says more than that it does not know the newer type:\n{said}")
        text = text.replace(new, "")
    for name, more in (("alone", None), ("full", drop_in)):
        code, said = verified(name, text, more)
        demand(code == 0 and not said.strip(), f"systemd {version}, {name}: exit code {code}\n{said}")
    return f"systemd {version}" + (", which knows no notify-reload and says so" if version < 253 else "")


@check("hookgate.service: systemd-analyze security")
def _(context):
    unit = context.folder("unit") / "hookgate.service"
    unit.write_text((DEPLOY / "hookgate.service").read_text())
    analyze = tool("systemd-analyze", "systemd")
    said = well([analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit])
    return re.search(r"Overall exposure level for \S+ (.*)", said)[1].strip()


@check("Prometheus: its configuration, and every alert with what to do")
def _(_context):
    promtool = tool("promtool", "prometheus")
    folder = DEPLOY / "prometheus"
    well([promtool, "check", "rules", "--lint=all", "--lint-fatal", folder / "rules.yml"])
    # Without the files that it names, which are in the container.
    well([promtool, "check", "config", "--syntax-only", folder / "prometheus.yml"])
    demand(document(folder / "prometheus.yml")["rule_files"] == ["rules.yml"], "other rules than those that are tested")
    rules = [rule for group in document(folder / "rules.yml")["groups"] for rule in group["rules"]]
    for rule in rules:
        notes = rule["annotations"]
        demand(notes["summary"] and len(notes["action"]) > 40, f"{rule['alert']}: a summary and what to do, please")
        demand(rule["labels"]["severity"] in ("critical", "warning", "info"), f"{rule['alert']}: no such severity")
    names = {rule["alert"] for rule in rules}
    told = set(re.findall(r'alertname="(\w+)"', (folder / "rules_test.yml").read_text()))
    demand(names == told, f"alerts without a test that they come: {names ^ told}")
    return f"{len(names)} alerts"


@check("Prometheus: alerts come when they should, and not before")
def _(_context):
    well([tool("promtool", "prometheus"), "test", "rules", "rules_test.yml"], cwd=DEPLOY / "prometheus")


@check("Grafana: the dashboard's panels and questions")
def _(context):
    board = json_of(DEPLOY / "grafana/dashboards/hookgate.json")
    variables = {each["name"] for each in board["templating"]["list"]}
    ids, cells, questions = set(), {}, []
    for panel in board["panels"]:
        demand(panel["id"] not in ids, f"two panels have the id {panel['id']}")
        ids.add(panel["id"])
        place = panel["gridPos"]
        demand(place["x"] + place["w"] <= 24, f"{panel['title']}: beyond the edge")
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                demand((x, y) not in cells, f"{panel['title']} lies over {cells.get((x, y))}")
                cells[(x, y)] = panel["title"]
        for target in panel.get("targets", []):
            demand(target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, f"{panel['title']}: its source")
            questions.append((panel["title"], target["expr"]))
    questions += [(each["name"], each["expr"]) for each in board["annotations"]["list"]]
    rules = []
    for title, question in questions:
        known = set(re.findall(r"\$\{?(\w+)", question)) - {"__rate_interval"}
        demand(known <= variables, f"{title}: no variable {known - variables}")
        plain = re.sub(r"\$\{?\w+\}?", ".*", question.replace("$__rate_interval", "5m"))
        rules.append({"record": f"question:{len(rules)}", "expr": plain})
    file = context.folder("questions") / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    well([tool("promtool", "prometheus"), "check", "rules", "--lint=none", file])
    return f"{len(board['panels'])} panels, {len(questions)} questions"


@check("TOML: tombi lint")
def _(_context):
    paths = [path for path in files() if path.suffix == ".toml"] + sorted((ROOT / "providers").glob("*.toml"))
    well([BIN / "tombi", "lint", "--offline", *paths], seconds=60, cwd=ROOT)
    return f"{len(paths)} files"


@check("TOML: tombi format, with comments behind a line where their column is")
def _(context):
    folder = context.folder("formatted")
    # A provider's file has its lists as they are read best.
    copies = {path: folder / str(path.relative_to(DEPLOY)).replace("/", "-") for path in files() if path.suffix == ".toml"}
    for path, copy in copies.items():
        shutil.copy(path, copy)
    well([BIN / "tombi", "format", "--offline", *copies.values()], cwd=folder)
    squeezed = lambda path: re.sub(r" +#", " #", path.read_text()).splitlines()  # noqa: E731
    for path, copy in copies.items():
        differs = [pair for pair in zip_longest(squeezed(path), squeezed(copy)) if pair[0] != pair[1]]
        demand(not differs, f"{name_of(path)}: {differs[0][0]!r} is {differs[0][1]!r} when it is formatted" if differs else "")
    return f"{len(copies)} files"


@check("shell scripts: sh -n")
def _(_context):
    for name, shell in (("new-secrets", "sh"), ("build", "bash")):
        well([shell, "-n", DEPLOY / name])


@check("README.md: a row for every file, and every file that it names")
def _(_context):
    text = (DEPLOY / "README.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.M)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    for name in sorted(named):
        demand((DEPLOY / name).exists(), f"{name} is in the table, and not in the folder")
    for path in files():
        own = path.relative_to(DEPLOY)
        known = any(str(each) in named for each in [own, *own.parents])
        demand(known or str(own) == "README.md", f"{own} is not in the table")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    for link in links:
        demand((DEPLOY / link).exists(), f"a link to {link}, which is not there")


@check("README.md: at most five commands for hookgate alone, at most eight with its services")
def _(_context):
    text = (DEPLOY / "README.md").read_text()
    found = {}
    for title, most in (("alone, by Compose", 5), ("alone, by systemd", 5), ("full, by Compose", 8), ("full, by systemd", 8)):
        block = re.search(rf"\*\*{title}[^\n]*\n```console\n(.*?)```", text, re.S | re.I)
        demand(block, f"no console block under «{title}»")
        commands = [line for line in block[1].replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
        demand(len(commands) <= most, f"{title}: {len(commands)} commands, at most {most}")
        found[title] = len(commands)
        for name in re.findall(r"(?<![\w/])deploy/([\w./-]+)", block[1]):
            demand((DEPLOY / name).exists() or name.startswith("secrets"), f"{title}: no file deploy/{name}")
    return ", ".join(f"{title}: {count}" for title, count in found.items())


@check("logs: Filebeat's configuration and index-template.json agree")
def _(_context):
    filebeat = document(DEPLOY / "logs/filebeat.yml")
    ids = [each["id"] for each in filebeat["filebeat.inputs"]]
    demand(len(ids) == len(set(ids)), "two inputs have one id")
    template = json_of(DEPLOY / "logs/index-template.json")
    index = filebeat["output.elasticsearch"]["index"]
    [pattern] = template["index_patterns"]
    demand(pattern.endswith("*") and index.startswith(pattern[:-1]), f"{index} is none of the template's {pattern}")
    unit = filebeat["filebeat.inputs"][0]["include_matches.match"]
    demand(unit == ["_SYSTEMD_UNIT=hookgate.service"], f"{unit} is another unit")


@check("logs: Filebeat judges its configuration")
def _(_context):
    filebeat = shutil.which("filebeat")
    if not filebeat:
        raise LeftOut("Filebeat is not here, and no package of Debian, PyPI or npm has it")
    well([filebeat, "test", "config", "-c", DEPLOY / "logs/filebeat.yml", "--strict.perms=false"])
