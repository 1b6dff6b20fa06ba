"""A value with one place in it that is other than before, for each place that a JSON Schema knows: with each value that
the schema or the tree has for it, and with odd ones, which no schema allows."""

import datetime
import json
import random
import re

WHEN = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
ODD = ("", " ", "x", "é", "a\nb", "a" * 300, 0, 1, -1, 2**31, 2**63 - 1, 1.5, float("inf"), True, False, WHEN, WHEN.date(), WHEN.time())
ODD += ([], [[]], [""], ["x"], ["x", "x"], [1, True], {}, {"x": 1}, {"": ""}, [{}], [{"x": "y"}, 1])
# Texts of the kinds that hookgate has of its own, right and wrong.
TEXTS = ("0s", "1s", "1d", "1h30m", "90000000d", "1x", "s", "0B", "1KiB", "7MB", "99999999TiB", "1Kib", "0/s", "5/s", "5/x", "/s", "5/")
TEXTS += ("127.0.0.1:0", "0.0.0.0:80", "[::]:80", "127.0.0.1", "10.0.0.0/8", "10.0.0.1/8", "::ffff:10.0.0.0/104", "fd00::/8", "10.0.0.0/40")
TEXTS += ("::/0", "::ffff:0:0/96", "::ffff:1.2.3.4/128", "0.0.0.0/0", "fd00::1/128", "::ffff:10.0.0.0/95", "1.2.3.4/32", "/8", "1.2.3/8")
TEXTS += ("https://a.example", "https://a.example/b?c#d", "http://a", "https://", "https://a:99999", "https://u:p@a", "a.example", "*.a", "a@b", "@")
TEXTS += ("/", "/a", "/a/", "//", "/a b", "/{x}", "a/b", "/*", "/a/*/b", "/~0", "/~2", "usual", "never", "amq.x", "X-Name", "x y", "é", "{", "}", "{{", "{x}")
TEXTS += ("json:/a", "json:", "json:a", "header:X-A", "header:", "query:a", "form:a", "form:a > json:/b", "item:/a", "xml:/a/b", "xml:a", "jwt:/a", "url", "body")
TEXTS += ("{body}", "{timestamp}.{body}", "{header:X-A}", "{setting}", "{json:/a}{", "{body > sha256 > hex}", "{x > }", "{body|upper}", "computed:a", "setting:a")

SIGNS = ("", " ", "x", "é", "\0", "0", "9" * 25, "-", ".", ":", "/", "@", "{", "}", ">", "|", "*", "~", "%")


def twisted(text, signs):
    """A text with a sign at each of its places, more or in the place of what stands there."""
    tokens = re.findall(r"[^\W\d]+|\d+|<!--|-->|<!\[CDATA\[|]]>|<\?|\?>|</|\s+|.", text)
    for at in range(len(tokens) + 1):
        for sign in signs:
            yield "".join([*tokens[:at], sign, *tokens[at:]])
            yield "".join([*tokens[:at], sign, *tokens[at + 1 :]])


def resolved(root, schema):
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema if isinstance(schema, dict) else {}


def forms(root, schema):
    """What a value may be: the schema, and each of those that it chooses from."""
    schema = resolved(root, schema)
    yield schema
    for one in [*schema.get("oneOf", ()), *schema.get("anyOf", ())]:
        yield from forms(root, one)


def known(root, schema):
    """The values that the schema itself names, or that lie at its bounds."""
    for form in forms(root, schema):
        yield from form.get("examples", ())
        yield from form.get("enum", ())
        yield from (form[name] for name in ("const", "default") if form.get(name) is not None)
        for name, beyond in ("minimum", -1), ("maximum", 1):
            if isinstance(form.get(name), int) and abs(form[name]) < 2**63 - 1:
                yield from (form[name], form[name] + beyond)


def twists(name, some):
    """A few of the longer texts, each with something odd in it; of one key always the same."""
    some = [one.isoformat() if hasattr(one, "isoformat") else one for one in some]
    texts = sorted((text for text in some if isinstance(text, str) and len(text) <= 60), key=len)[-4:]
    found = [other for text in texts for other in twisted(text, SIGNS)]
    return random.Random(name).sample(found, min(len(found), 200))


class Shapes:
    """`seen`: values of keys, by name, from files of the tree; `plain`: what a table of these keys has at least."""

    def __init__(self, root, seen, plain):
        self.root, self.seen, self.plain = root, seen, plain

    def keys(self, schema):
        """The keys of a table with their schemas; where any is allowed, one that stands for them."""
        for form in forms(self.root, schema):
            yield from form.get("properties", {}).items()
            if isinstance(form.get("additionalProperties"), dict):
                yield "shop", form["additionalProperties"]

    def items(self, schema):
        return [form["items"] for form in forms(self.root, schema) if "items" in form]

    def least(self, schema):
        """A table with what it must have, and nothing else."""
        table = {}
        for form in forms(self.root, schema):
            for key in form.get("required", ()) if not table else ():
                table[key] = self.plain.get(key) or next(iter(self.seen.get(key, ())), "x")
        return table

    def others(self, schema, name, value, path=()):
        """(path, other, whole): what may stand in the place of a value, one thing in it changed."""
        some = [*known(self.root, schema), *self.seen.get(name, ())]
        for other in (*some, *TEXTS, *ODD, *twists(name, some)):
            yield path, other, other
        if isinstance(value, dict):
            yield from self.in_table(schema, value, path)
        if isinstance(value, list):
            for item in self.items(schema):
                for where, other, whole in self.others(item, name, value[0] if value else self.least(item), (*path, "*")):
                    yield where, other, [whole, *value[1:]]
                    yield (*where, "more"), other, [*value, whole]

    def of(self, tables):
        """Tables with one change each, each change in the first of these that it can be made in."""
        made = set()
        for table in tables:
            for path, other, whole in self.in_table(self.root, table):
                which = (path, json.dumps(other, default=str))
                if which not in made:
                    made.add(which)
                    yield path, other, whole

    def in_table(self, schema, value, path=()):
        """The same for a table."""
        yield path, "unknown", {**value, "unknown": 1}
        for key in value:
            yield path, f"no {key}", {other: inner for other, inner in value.items() if other != key}
        for key, inner in self.keys(schema):
            here = value.get(key)
            if here is None and any(self.keys(inner)):
                here = self.plain.get(key) or self.least(inner)
            elif here is None and (items := self.items(inner)):
                here = [self.least(items[0])] if any(self.keys(items[0])) else []
            for where, other, whole in self.others(inner, key, here, (*path, key)):
                yield where, other, {**value, key: whole}


def seen_in(tables):
    """Each key's values in these tables, each once, the shortest first."""
    found = {}

    def walk(value):
        for inner in value if isinstance(value, list) else ():
            walk(inner)
        for key, inner in value.items() if isinstance(value, dict) else ():
            some = found.setdefault(key, {})
            some.setdefault(json.dumps(inner, default=str), inner)
            for item in inner if isinstance(inner, list) else ():
                some.setdefault(json.dumps(item, default=str), item)
            walk(inner)

    for table in tables:
        walk(table)
    return {key: [some[text] for text in sorted(some, key=lambda text: (len(text), text))][:60] for key, some in found.items()}
