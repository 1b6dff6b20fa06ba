"""DER that is odd at one of its places: what stands around it is of the right length, so that a reader comes that far."""

import subprocess
import tempfile
from pathlib import Path

# Tags, lengths and contents at their bounds: other types, tags of several bytes, lengths that are open, too long, too
# short or beyond any number; no content, zeros, signs, a point in a form of its own.
TAGS = bytes((0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x1F, 0x30, 0x31, 0x3F, 0x80, 0xA0, 0xA3, 0xFF))
LENGTHS = (b"", b"\x80", b"\x81", b"\x81\x01", b"\x82\x00\x80", b"\x83\x00\x00\x01", b"\x84\xff\xff\xff\xff", b"\x85" + b"\1" * 5, b"\xff")
CONTENTS = (b"", b"\0", b"\1", b"\x7f", b"\x80", b"\0\0", b"\0\1", b"\0\x80", b"\xff\xff", b"\0" * 128, b"\0\4" + b"\1" * 64)

# One certificate with all that certificates name.
REQUEST = """[req]
distinguished_name = name
x509_extensions = more
prompt = no
[name]
C = DE
O = Acme, Inc.
OU = Möwe
CN = sender
emailAddress = ops@sender.example
[more]
subjectAltName = @names
issuerAltName = URI:https://issuer.example
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = digitalSignature, keyCertSign
extendedKeyUsage = clientAuth, serverAuth, 1.2.3.4
nameConstraints = permitted;DNS:sender.example, excluded;IP:192.0.2.0/255.255.255.0
certificatePolicies = 1.2.3.4, @policy
crlDistributionPoints = URI:http://crl.example/a
authorityInfoAccess = OCSP;URI:http://ocsp.example
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
1.2.3.4.5 = ASN1:UTF8String:more
[names]
DNS = hooks.sender.example
URI = spiffe://sender/hooks
email = ops@sender.example
IP = 192.0.2.7
IP.2 = 2001:db8::1
RID = 1.2.3.4
otherName = 1.2.3.4;UTF8:other
dirName = name
[policy]
policyIdentifier = 1.2.3.5
CPS = https://acme.example
"""


def length(count):
    digits = count.to_bytes((count.bit_length() + 7) // 8 or 1, "big")
    return digits if count < 0x80 else bytes([0x80 | len(digits)]) + digits


def value(tag, content):
    return bytes([tag]) + length(len(content)) + content


def values(data):
    """The values that stand there: tag and content; none where it is no DER."""
    found = []
    while data:
        if len(data) < 2 or data[0] & 0x1F == 0x1F:
            return None
        digits = data[1] & 0x7F if data[1] & 0x80 else 0
        count = int.from_bytes(data[2 : 2 + digits], "big") if data[1] & 0x80 else data[1]
        if digits > 4 or data[1] == 0x80 or len(data) < 2 + digits + count:
            return None
        found.append((data[0], data[2 + digits : 2 + digits + count]))
        data = data[2 + digits + count :]
    return found


def inside(tag, content):
    """The values inside another, and what stands before them; a bit string or an octet string may hold some."""
    before = content[:1] if tag == 0x03 else b""
    inner = values(content[len(before) :]) if tag & 0x20 or tag in (0x03, 0x04) else None
    return (before, inner) if inner else (before, [])


def odd(data):
    """Each DER text that differs from this one at one place."""
    known = values(data)
    if known is not None:
        yield from changed(known)


def changed(known):
    def joined(at, text):
        return b"".join(value(*one) for one in known[:at]) + text + b"".join(value(*one) for one in known[at + 1 :])

    for at, (tag, content) in enumerate(known):
        whole = value(tag, content)
        yield joined(at, b"")
        yield joined(at, whole + whole)
        yield b"".join(value(*one) for one in known[:at])
        for other in TAGS:
            yield joined(at, value(other, content))
            yield joined(at, value(other, b"\0") + whole)
            yield joined(at, whole + value(other, b"\0"))
        for other in LENGTHS:
            yield joined(at, bytes([tag]) + other + content)
            yield joined(at, bytes([tag]) + other)
        for other in CONTENTS:
            yield joined(at, value(tag, other))
            yield joined(at, value(tag, other + content))
            yield joined(at, value(tag, content + other))
        before, inner = inside(tag, content)
        for other in changed(inner):
            yield joined(at, value(tag, before + other))


def certificate():
    """A certificate that names all kinds of things, in DER; none where openssl is not there."""
    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder) / "request"
        request.write_text(REQUEST)
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -days 9999 -outform DER -utf8 -config"
        try:
            return subprocess.run([*words.split(), str(request)], capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return b""
