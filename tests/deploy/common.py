"""What all checks of deploy/ share: the list of checks, how they fail, files read strictly."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from asking import Failed

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
CHECKS = []


class LeftOut(Exception):
    """Which tool could not be had, and so what was not checked."""


def check(title):
    """Registers a check, which gets the context."""
    def register(function):
        CHECKS.append((title, function))
        return function
    return register


def demand(holds, why):
    if not holds:
        raise Failed(why)


def tool(name, package):
    """The path of a tool that a package of Debian has; tests/run installs it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    demand(found, f"{name} is missing: tests/run installs Debian's package {package}")
    return found


def run(command, seconds=30, **more):
    """Runs to the end: exit code, and all that was said."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, text=True, errors="replace", **more)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{words} did not end within {seconds} s: {late.stdout}") from late
    return done.returncode, done.stdout


def well(command, **more):
    """Runs what has to end with 0: what it said."""
    code, said = run(command, **more)
    demand(code == 0, f"{' '.join(map(str, command))}: exit code {code}\n{said}")
    return said


class Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key, deep=True)
                demand(name not in seen, f"{key.start_mark}: {name!r} stands there twice")
                seen.add(name)
        return super().construct_mapping(node, deep)


def documents(path):
    return [each for each in yaml.load_all(path.read_text(), Strict) if each is not None]


def document(path):
    found = documents(path)
    demand(len(found) == 1, f"{path}: {len(found)} documents, and one was expected")
    return found[0]


def json_of(path):
    def once(pairs):
        names = [name for name, _ in pairs]
        demand(len(names) == len(set(names)), f"{path}: a key stands twice among {names}")
        return dict(pairs)
    return json.loads(path.read_text(), object_pairs_hook=once)


def files():
    """Every file of deploy/ that is not made by an operator."""
    found = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    made = {"target", "node_modules", "__pycache__"}
    own = [path for path in found if "secrets" not in path.relative_to(DEPLOY).parts[:1]]
    return [path for path in own if not made.intersection(path.relative_to(DEPLOY).parts)]


def name_of(path):
    return str(path.relative_to(ROOT))


def fenced(text, language):
    """What stands in a Markdown text between fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
