#!/usr/bin/env python3
"""Makes first inputs out of what the tree holds: seeds.py FOLDER [TARGET…] writes FOLDER/TARGET/NAME for the targets whose
format is known. Nothing of it is kept: `run` makes it anew, and hands it to the fuzzer beside the committed corpora."""

import base64
import hashlib
import json
import random
import re
import sys
import tomllib
from pathlib import Path

import der
import shapes
from shapes import twisted

TREE = Path(__file__).resolve().parents[2]
# What a target's input may have at most, as `run` bounds it.
BYTES_MAX = 2048
# The time that the targets have: `NOW` in src/fuzzing/signatures.rs.
NOW = 1_800_000_000
# The secret of references that the target `config` knows.
KNOWN_SECRET = "KEY"


class Seeds:
    """Inputs of one target, each once."""

    def __init__(self, folder, target):
        self.folder = folder / target
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, data):
        data = data.encode() if isinstance(data, str) else data
        if 0 < len(data) <= BYTES_MAX:
            (self.folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def as_key(key):
    return key if re.fullmatch(r"[\w-]+", key, flags=re.A) else json.dumps(key, ensure_ascii=False)


def as_toml(value):
    """A value as it stands behind `=` in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{as_key(key)} = {as_toml(inner)}" for key, inner in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def settings(table, above=""):
    """The lines `key=value` of a configuration; a table below a named thing is written out, too."""
    for key, value in table.items():
        path = f"{above}{as_key(key)}"
        if isinstance(value, dict) and value and path.count(".") < 2:
            yield from settings(value, f"{path}.")
        else:
            known = re.sub(r'env = "[A-Z_]+"', f'env = "{KNOWN_SECRET}"', as_toml(value))
            yield f"{path}={known}"


# What stands in the place of a token of JSON, or before it: blanks, other values, numbers and escapes at their bounds,
# and what breaks off.
ODD = (" ", "\t\r ", "null", "true", "fals", "1", "-", "-0", "0.5", "1.", "1e", "1E+3", "2e-400", "1e400", "01", "9" * 25)
ODD += ('""', '"a"', '"\\u0041\\n\\/"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\ud800\\u0041"', '"\\x"', '"\\u00"', '"\x01"')
ODD += ('"\xe9"', '"', "[]", "[1]", "{}", '{"a":1}', "[" * 130, '{"":' * 130, ",", ":", "]", "}", "x", "\x00", "")

# Signs of markup, of signatures in headers, and of forms.
MARKUP = ("<", "</a>", "<b>", ">", "/", "=", '"', "'", "&", ";", "&#x110000;", "<!--", "-->", "]]>", "<?", "?>", " ", "\0")
SIGNED = ("", "t", "v1", "v1=", "=", ",", " ", "t=", "1800000000", "9" * 25, "YWFh", "ab" * 32, "\0")
FIELDS = ("", "&", "=", "+", "%", "%4", "%41", "%ff", "a", "--", "\r\n", "\n", '"', "\\", ";", ":", 'name="a"', 'filename="b"', "\0", "\xe9")
ORDER = random.Random(1)


def numbers():
    """Numbers that lie between two of those that a computer has, or beyond, with few digits and with more than are read."""
    yield from ("1.7976931348623158e308", "1.7976931348623159e308", "4.9e-324", "2.4703282292062327208e-324", "2.4703282292062328e-324")
    yield from ("2.2250738585072011e-308", "6.02214076e23", "0." + "0" * 400 + "1", "1" + "0" * 400, "9007199254740993.0000000000000000000000001")
    yield from (f"{9007199254740993 << power}.5" for power in (0, 10, 100, 500))
    yield from (f"1e{power}" for power in range(-30, 31))
    for count in (*range(17, 42, 3), 60, 100, 200, 400, 760, 780):
        digits = "".join(ORDER.choices("0123456789", k=count))
        for power in range(-340, 310, 50):
            yield f"1{digits[: count // 2]}.{digits[count // 2 :]}e{power - count // 2}"
            yield f"9{digits}e{power - count}"


def odd(text):
    """A JSON text with something odd at each of its places."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[^\s]', text)
    for at in range(len(tokens) + 1):
        yield "".join(tokens[:at])
        for sign in ODD:
            yield "".join([*tokens[:at], sign, *tokens[at:]])
            yield "".join([*tokens[:at], sign, *tokens[at + 1 :]])
    for at in range(0, len(text), 1 + len(text) // 100):
        yield text[:at]


def commented(text):
    """The settings that are commented out, each with the table that it belongs to."""
    above = ""
    for line in text.splitlines():
        if table := re.match(r"(?:# )?(\[[\w.]+\])", line):
            above = table[1]
        elif setting := re.match(r"# (\w+ = .*)", line):
            yield above, setting[1]


def config(seeds):
    example = (TREE / "deploy/hookgate.toml").read_text()
    tables = []
    # What is commented out there is a setting all the same.
    texts = [example, *(f"{above}\n{line}" for above, line in commented(example))]
    for test in sorted((TREE / "tests/config").glob("*.test")):
        parts = re.split(r"^--- (.*)\n", test.read_text(), flags=re.M)[1:]
        for kind, text in zip(parts[::2], parts[1::2]):
            if kind.startswith("file ") and kind.endswith(".toml"):
                texts.append(text)
            if kind == "flags":
                seeds.add(text)
    for text in texts:
        try:
            lines = list(settings(tomllib.loads(text)))
        except tomllib.TOMLDecodeError:
            continue
        # All that a run takes, and each section by itself with what a configuration needs.
        for start in range(0, len(lines), 30):
            seeds.add("\n".join(lines[start : start + 30]))
        source = [line for line in lines if line.startswith("sources.")][:8]
        for name in dict.fromkeys(line.split(".")[0] for line in lines):
            own = [line for line in lines if line.startswith(f"{name}.") and line not in source]
            seeds.add("\n".join((own + source)[:30]))
        tables.append(tomllib.loads(text))
    other_settings(seeds, tables)


def other_settings(seeds, tables):
    """Each setting with each value that is known of it, and with odd ones; and some of those that are known together."""
    least = {"provider": "stripe", "secrets": [{"env": KNOWN_SECRET}]}
    base = {"sources": {"shop": least}}
    kinds = shapes.Shapes(schema("gateway"), shapes.seen_in(tables), least)
    some = {}
    for path, other, whole in kinds.of([base, *tables]):
        lines = list(settings(whole))
        seeds.add("\n".join(lines))
        seeds.add("\n".join(re.sub(r'="([^"\\]*)"$', r"=\1", line) for line in lines))
        if other in kinds.seen.get(path[-1] if path else "", ()):
            some.update((line, None) for line in lines)
    for count in range(200):
        places = (f"{ORDER.choice((10, 192))}.{ORDER.randrange(4) * 64}.0.0/{ORDER.randrange(10, 33)}" for _ in range(count % 30))
        more = (f"fd0{ORDER.randrange(4)}::/{ORDER.randrange(16, 129)}" for _ in range(count // 8))
        seeds.add("\n".join([*settings(base), f"sources.shop.addresses={as_toml([*places, *more])}"]))
    for count in range(10_000):
        seeds.add("\n".join([*settings(base), *ORDER.sample(list(some), 2 + count % 6)]))


def schema(name):
    return json.loads((TREE / f"schemas/{name}.schema.json").read_text())


def definition(seeds):
    told = re.compile(r"^(docs|notes|pitfalls|schedule|disables|unverified|help)\s*=\s*(\[[^\]]*\]|.*)\n", re.M)
    files = []
    for file in sorted((TREE / "providers").glob("*.toml")):
        text = file.read_text()
        bare = re.sub(r"^\[sender\]\n(?:(?!\[).*\n)*", "", told.sub("", text), flags=re.M)
        seeds.add(text)
        seeds.add(bare)
        head, *schemes = re.split(r"^(?=\[\[schemes\]\])", bare, flags=re.M)
        for scheme in schemes:
            seeds.add(head + scheme)
            files.append(head + scheme)
    other_definitions(seeds, [tomllib.loads(text) for text in sorted(files, key=len)])


def other_definitions(seeds, files):
    """Each key of a provider file with each value that is known of it, and with odd ones, in one of the files."""
    kinds = shapes.Shapes(schema("provider"), shapes.seen_in(files), {})
    for _, _, whole in kinds.of(files):
        seeds.add("".join(f"{as_key(key)} = {as_toml(value)}\n" for key, value in whole.items()))


def der_of(pem):
    inner = re.sub(r"-----[^-]*-----|\s", "", pem)
    return base64.b64decode(inner + "=" * (-len(inner) % 4))


def forms_of(secret):
    """A key's text in every form that can be made of it."""
    value = secret["value"]
    text = json.dumps(value) if isinstance(value, dict) else value
    yield text.encode()
    if "-----BEGIN" in text:
        text = text.replace("\\n", "\n")
        der = der_of(text)
        yield from (text.encode(), der, base64.b64encode(der))
    elif secret.get("encoding") == "hex":
        raw = bytes.fromhex(text)
        yield from (raw, base64.b64encode(raw))
        if len(raw) == 32:
            point = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            yield json.dumps({"kty": "OKP", "crv": "Ed25519", "x": point, "alg": "EdDSA", "kid": "a"}).encode()


def vectors():
    for file in sorted((TREE / "tests/vectors").glob("*.json")):
        yield from json.loads(file.read_text())


def key_and_document(keys, documents):
    known = {}
    for vector in vectors():
        for secret in vector.get("secrets") or []:
            if secret.get("kind") in ("shared", "token", "basic", "bearer"):
                keys.add(str(secret["value"])[:200])
                continue
            for form in forms_of(secret):
                known.setdefault(form, secret)
    for form, secret in known.items():
        keys.add(form)
        for algorithm in range(4):
            text = form.decode(errors="replace")
            for number, document in (
                (1, text),
                (2, json.dumps({"a": {"k": text}})),
                (3, text),
            ):
                documents.add(bytes([number, algorithm]) + document.encode())
            if text.startswith("{"):
                jwk = json.loads(text)
                both = {"keys": [jwk, {**jwk, "kid": "b", "use": "sig", "key_ops": ["verify"]}]}
                documents.add(bytes([0, algorithm]) + json.dumps({"keys": [jwk]}).encode())
                documents.add(bytes([0, algorithm]) + json.dumps(both).encode())
    jwks = [json.loads(form) for form in known if form.startswith(b"{") and len(form) < 300]
    for jwk in {jwk["kty"]: jwk for jwk in jwks}.values():
        for text in odd(json.dumps({**jwk, "use": "sig", "key_ops": ["verify"], "kid": "a"})):
            keys.add(text)
            documents.add(b"\0\0" + f'{{"keys":[{text}]}}'.encode())
    for text in odd('{"keys":[{"kty":"oct"},{}],"a":1}'):
        documents.add(b"\0\0" + text.encode())
    for text in odd('{"b":[1,{"a":2}],"a":{"c":"d","k":"MCow"}}'):
        documents.add(b"\2\0" + text.encode())
    for number in numbers():
        keys.add(f'{{"kty":"RSA","a":{number}}}')
        documents.add(b"\0\0" + f'{{"keys":[{{"a":{number}}}],"a":{number}}}'.encode())
    for text in marks():
        keys.add(text)
    odd_der(known, keys, documents)


def odd_der(known, keys, documents):
    """What is odd in one key of each kind and length, and in a certificate."""
    # The certificates among them are longer, and name less than that one.
    kinds = {(form[:24], len(form)): form for form in known if len(form) < 600 and form[:1] == b"0" and der.values(form)}
    for form in [*kinds.values(), der.certificate()]:
        for data in der.odd(form):
            text = base64.b64encode(data)
            keys.add(text)
            documents.add(b"\3\1-----BEGIN CERTIFICATE-----\n" + text + b"\n-----END CERTIFICATE-----\n")


def marks():
    """Letters with more and more marks over and under them, in no order: what a normal form sorts."""
    some = "\u0300\u0301\u0316\u0327\u0345\u034f\u0591\u05b0\u064b\u0f71\u3099\u20d0\u1e9b\uac01\ufdfa"
    for count in (*range(2, 64), 100, 200, 400, 600):
        yield "a" + "".join(ORDER.choices(some, k=count))
        yield "a" + "".join(sorted(ORDER.choices(some, k=count), reverse=True))


def token(seeds):
    times = {"exp": NOW + 60, "nbf": NOW - 60, "iat": NOW}
    claims = {"iss": "acme", "aud": "here", "live": True, **times}
    some = [claims, {**claims, "iss": ["x", "b"], "aud": ["a", "here"]}, {**claims, "exp": NOW - 3}]
    some += [{**claims, name: value} for name in claims for value in (None, "1", 1.5, [], {}, True, -1, 10**30)]
    some += [{**claims, "sum": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]
    some += [{**claims, "sum": hashlib.sha256(b'{"id":1}').hexdigest()}]
    headers = [{"alg": "HS256", "typ": "JWT"}]
    names = "HS384 HS512 RS256 RS384 RS512 PS256 ES256 ES384 EdDSA none hs256".split()
    headers += [{"alg": name} for name in names]
    headers += [{"alg": "HS256", **more} for more in ({"crit": ["exp"]}, {"b64": False}, {"crit": None}, {"kid": "a"})]
    headers += [{"alg": "HS256", **more} for more in ({"zip": "DEF"}, {"cty": "JWT"}, {"jku": "https://a"}, {"typ": 1})]

    def line(value):
        return json.dumps(value, separators=(",", ":"))

    tokens = []
    for vector in vectors():
        text = json.dumps(vector["request"])
        tokens += re.findall(r"eyJ[\w-]+\.[\w-]*\.[\w-]*", text)
    tokens = list(dict.fromkeys(tokens))[:200] + [""]
    for claim in some:
        seeds.add(f"{line(headers[0])}\n{line(claim)}\n")
    for header in headers:
        seeds.add(f"{line(header)}\n{line(claims)}\n")
    for text in odd('{"alg":"HS256","typ":"JWT","crit":null,"b64":null,"a":[1,{"b":2}]}'):
        seeds.add(f"{text}\n{line(claims)}\n")
    nested = {**claims, "iss": ["b", "x"], "sum": "00", "a": [1, {"b": None}]}
    for text in [*odd(line(claims)), *odd(line(nested))]:
        seeds.add(f"{line(headers[0])}\n{text}\n")
    for one in tokens:
        seeds.add(f"{line(headers[0])}\n{line(claims)}\n{one}")


def place(seeds):
    """Places, and bodies that have a value there, odd or twice."""
    values = '{"a":{"b":1,"b":"\\u0061","c":null},"a":[{"b":true}],"":{"":[]}}'
    markup = '<a b="1" x:b="&lt;"><b>1</b><c/><b x="y">2<!-- -->3</b><a><b/></a></a>'
    parts = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n{"b":1}\r\n--b\r\nA: b\r\ncontent-disposition: form-data; name=a\r\n\r\n2\r\n--b--\r\n'
    fields = 'a=1&b=2&a=%7B"b"%3A1%7D&%61=+'
    kinds = (
        ("json:/a/b json:/a json: item:/a/b jwt:/a/b jwt-header:/a/0/b", odd(values)),
        ("body > json:/a/b,header:x-a > json:/a,signature:a > json:/a/0/b,json:// > json:/", odd(values)),
        ("xml:/a/b xml:/a/@b xml:/a/a/b xml:/a/b/@x", twisted(markup, MARKUP)),
        ("body > xml:/a/b,header:x-a > xml:/a/@b,signature:a > xml:/a", twisted(markup, MARKUP)),
        ("form:a form:b", twisted(parts, FIELDS)),
        ("form:a > json:/b,form:a > base64,form:a > xml:/a", twisted(parts, FIELDS)),
        ("form:a query:a query:b form:%", twisted(fields, FIELDS)),
        ("query:a > json:/b,form:a > json:/b", twisted(fields, FIELDS)),
        ("form:a > match:(.*),query:a > match:[1a](.*),body > match:.*(..)x?,header:x-a > match:a=(1)|b > match:(.)", twisted(fields, FIELDS)),
    )
    for names, texts in kinds:
        bodies = list(texts)
        for name in names.split("," if " > " in names else " "):
            for text in bodies:
                seeds.add(f"{name}\n{text}")


def short(seeds):
    for pointer in "/a", "/*", "/a/1", "/*/*/b", "/m~1n":
        for text in odd('{"a":[1,{"b":null}],"c":"d","m/n":{"b":1.5}}'):
            seeds.add(f"{pointer}\n{text}")
    for order in '{"source":"shop","dry_run":true}', '{"ids":["a","b"],"dry_run":false}', '{"all":true}', '["shop",null]':
        for text in odd(order):
            seeds.add(text)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for at in range(len(trace)):
        for sign in "0f-Fg+":
            seeds.add(trace[:at] + sign + trace[at + 1 :])
            seeds.add("cc" + trace[2:at] + sign + trace[at:] + "-more")


def verify(seeds):
    places, shapes = {}, {}
    for file in sorted((TREE / "providers").glob("*.toml"), key=lambda file: file.stem):
        provider = tomllib.loads(file.read_text())
        for scheme in provider["schemes"]:
            places[(provider["name"], scheme["name"])] = len(places)
    taken = {}
    for vector in vectors():
        which = (vector["provider"], vector.get("scheme"))
        # Of each scheme some; what differs beyond that, differs in the signature.
        taken[which] = taken.get(which, 0) + 1
        if which not in places or taken[which] > 12:
            continue
        request = vector["request"]
        _, _, query = request["url"].partition("?")
        body = request.get("body")
        body = body.encode() if body is not None else base64.b64decode(request.get("body_base64") or "")
        headers = "".join(f"{name}:{value}\n" for name, value in request.get("headers") or [])
        data = f"{query}\n{headers}\n".encode() + body
        if isinstance(vector.get("now"), int):
            data = data.replace(str(vector["now"]).encode(), str(NOW).encode())
        # Schemes for which the target has no key are passed over there: how many stand before, it alone knows.
        for before in range(4):
            number = bytes([max(places[which] - before, 0) % 256])
            seeds.add(number + data)
            kind = body[:1] if body[:1] in (b"{", b"[", b"<", b"-") else b"a"
            shapes.setdefault((kind, "eyJ" in headers + query, which if taken[which] == 1 else None), (number, query, headers, body))
    for (kind, has_token, _), (number, query, headers, body) in shapes.items():
        head = f"{query}\n{headers}\n".encode()
        for name in "urlencoded", "multipart/form-data; boundary=b", "multipart/form-data;boundary=\"b", "multipart/mixed; a=b; Boundary = xYzZY":
            kind_line = f"content-type:{name}\n".replace(":u", ":application/x-www-form-u")
            plain = re.sub(r"(?im)^content-type:.*\n", "", headers)
            seeds.add(number + f"{query}\n{plain}{kind_line}\n".encode() + body)
            seeds.add(number + f"{query}\n{headers}{kind_line}\n".encode() + body)
        # A name twice: first the one, then the other.
        seeds.add(number + f"{query}&{query}\n{headers}\n".encode() + body + (b"&" + body if kind == b"a" else body))
        if kind == b"{":
            seeds.add(number + head + body[:-1] + b"," + body[1:])
        some = list(twisted(f"{query}\n{headers}", SIGNED))
        for text in ORDER.sample(some, min(len(some), 100)):
            seeds.add(number + f"{text}\n".encode() + body)
        text = body.decode(errors="replace")
        bodies = list(odd(text)) if kind in b"{[" else list(twisted(text, MARKUP if kind == b"<" else FIELDS))
        for text in ORDER.sample(bodies, min(len(bodies), 100)):
            seeds.add(number + head + text.encode())
        for token_head in re.findall(r"eyJ[\w-]+", headers + query)[:1] if has_token else []:
            known = base64.urlsafe_b64decode(token_head + "=" * (-len(token_head) % 4)).decode(errors="replace")
            for text in [*odd(known), *(f'{{"a":{one}}}' for one in numbers())]:
                other = base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
                seeds.add(number + head.replace(token_head.encode(), other) + body)


def long(seeds):
    """Shapes of what the readers' own targets have: repeated, and once before blanks."""
    for target in "form", "json", "multipart", "spelling", "xml", "grammar":
        for file in sorted((TREE / "tests/fuzz/corpus" / target).iterdir()):
            data = file.read_bytes()
            # The first line says where to look, in all but one.
            body = data if target == "spelling" else data.partition(b"\n")[2]
            line = body.replace(b"\n", b"\r")
            # Short ones, of which there are many in a body; each run takes its time.
            if 0 < len(line) <= 96:
                seeds.add(b"\n" + line + b"\n")
                seeds.add(line + b"\n \n")
    xml = '<a b = "1" ><a a="&lt;x" /> &#65; <![CDATA[y]]> <!-- c --> <?p q?> </a >'
    pairs = "t=1800000000,v1=abab,v0=x t=1,v1=cd"
    for text, some in (xml, MARKUP), (pairs, SIGNED):
        for other in twisted(text, some):
            seeds.add(f"{other}\n \n")
    parts = '--b\rContent-Disposition: form-data; filename*=c; name="a"; x=y\rA: b\r\r{"a":1}\r--b--'
    members = '{"alg":"HS256","b64":false,"crit":["exp"],"kid":"a","typ":"JWT"}'
    heads = (base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode() for text in odd(members))
    values = odd('{"b":[],"a":[{"a":"\\u0041","c":null},1.5e3]}')
    for texts in twisted(parts, FIELDS), (f"{head}.e30.YWFh" for head in heads), (text.replace("\n", "\r") for text in values):
        some = list(texts)
        for text in ORDER.sample(some, min(len(some), 300)):
            seeds.add(f"{text}\n \n")
            seeds.add(f"\n \n{text}")


MAKERS = {
    ("config",): config,
    ("definition",): definition,
    ("key", "document"): key_and_document,
    ("long",): long,
    ("place",): place,
    ("short",): short,
    ("token",): token,
    ("verify",): verify,
}


def main():
    folder, *targets = sys.argv[1:]
    for names, make in MAKERS.items():
        if not targets or any(name in targets for name in names):
            make(*(Seeds(Path(folder), name) for name in names))


if __name__ == "__main__":
    main()
