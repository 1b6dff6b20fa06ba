"""HAProxy and nginx with the files of deploy/, in front of a gateway."""

import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import threading
import time

from asking import replaced
from common import DEPLOY, check, demand, tool, well
from gateway import CALLER, HOST, SECRET, SHOP, Gateway
from names import one_line
from services import Process, free_ports


class Recorder:
    """In the place of a gateway: keeps what came, byte for byte, and answers, or hangs up without a word."""

    def __init__(self, answers):
        self.answers, self.requests = answers, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                to, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(to,), daemon=True).start()

    def serve(self, to):
        to.settimeout(10)
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = to.recv(65536)
                    if not more:
                        return
                    head += more
                head, _, body = head.partition(b"\r\n\r\n")
                length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
                while len(body) < length:
                    body += to.recv(65536)
                if not head.startswith(b"GET /readyz "):
                    self.requests.append((head.decode("latin-1").split("\r\n"), body))
                    if not self.answers:
                        return
                to.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except OSError:
            return
        finally:
            to.close()

    def close(self):
        self.socket.close()


def certificate(folder):
    well([tool("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
          "-keyout", folder / "hooks.key", "-out", folder / "hooks.crt", "-days", "2", "-subj", f"/CN={HOST}",
          "-addext", f"subjectAltName=DNS:{HOST}"])
    (folder / "hooks.pem").write_text((folder / "hooks.crt").read_text() + (folder / "hooks.key").read_text())


class Front:
    """A proxy with its file of deploy/, in front of these ports."""

    def __init__(self, kind, folder, gateway, admin, through=None, other=None):
        """`through`: both ports of a gateway to which TLS goes through; `other`: the port of a second one."""
        self.folder, self.kind = folder, kind
        certificate(folder)
        self.trusted = folder / "hooks.crt"
        self.port, self.through = free_ports(2)
        if kind == "haproxy":
            text = replaced((DEPLOY / "haproxy.cfg").read_text(), [
                # As many as this machine lets it have.
                ("maxconn 20000", "maxconn 1000"), ("/run/haproxy/admin.sock", f"{folder}/admin.sock"),
                ("bind :443 ssl crt /etc/haproxy/hooks.pem", f"bind 127.0.0.1:{self.port} ssl crt {folder}/hooks.pem"),
                ("bind :8443", f"bind 127.0.0.1:{self.through}"),
                ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
                ("127.0.0.1:8444 send-proxy-v2", f"127.0.0.1:{(through or (gateway, admin))[0]} send-proxy-v2"),
            ])
            demand(text.count("check port 9090") == 2, "two backends are checked at the admin port")
            text = text.replace("check port 9090", f"check port {admin}", 1)
            text = text.replace("check port 9090", f"check port {(through or (gateway, admin))[1]}", 1)
            first = f"    server gateway-1 127.0.0.1:{gateway}\n"
            text = replaced(text, [(first, first + (f"    server gateway-2 127.0.0.1:{other}\n" if other else ""))])
            (folder / "proxy.conf").write_text(text)
            command = [tool("haproxy", "haproxy"), "-db", "-f", str(folder / "proxy.conf")]
            self.checked = [*command[:1], "-c", "-f", command[-1]]
        else:
            temporary = "".join(f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            text = replaced((DEPLOY / "nginx.conf").read_text(), [
                ("/var/log/nginx/", f"{folder}/"), ("/run/nginx.pid", f"{folder}/pid"), ("http {\n", f"http {{\n{temporary}"),
                ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"), ("/etc/nginx/hooks", f"{folder}/hooks"),
                ("server 127.0.0.1:8080", f"server 127.0.0.1:{other}; server 127.0.0.1:{gateway}" if other
                 else f"server 127.0.0.1:{gateway}"),
            ])
            (folder / "proxy.conf").write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
            command = [tool("nginx", "nginx-light"), "-e", f"{folder}/error.log", "-p", f"{folder}/", "-c", f"{folder}/proxy.conf"]
            self.checked = [*command, "-t"]
            command += ["-g", "daemon off;"]
        self.said = well(self.checked)
        self.process = Process(kind, command, folder / "log", self.port)

    def ask(self, target, headers, body=b"", port=None, caller="127.0.0.1", method="POST"):
        """One request over TLS, as bytes: status and body of the answer."""
        trust = ssl.create_default_context(cafile=self.trusted)
        trust.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", port or self.port), 15, source_address=(caller, 0))
        with trust.wrap_socket(plain, server_hostname=HOST) as to:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers)
            start = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{head}Content-Length: {len(body)}\r\n\r\n"
            try:
                to.sendall(start.encode() + body)
            except OSError:
                pass  # It has answered before the end of the body.
            got = b""
            try:
                while more := to.recv(65536):
                    got += more
            except OSError:
                pass
        demand(got.startswith(b"HTTP/1.1 "), f"{self.kind} answered {got[:200]!r}")
        return int(got[9:12]), got.partition(b"\r\n\r\n")[2].decode(errors="replace")

    def stop(self):
        self.process.stop()


def signed(number, pad=0):
    body = json.dumps({"id": f"evt_{number}", "object": "event", "type": "charge.captured", "pad": "x" * pad}).encode()
    at = int(time.time())
    mac = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return [("Stripe-Signature", f"t={at},v1={mac}"), ("Content-Type", "application/json")], body


def told_to_gateways(kind):
    """What the proxy's file says that hookgate.toml needs, for each of its ways."""
    file = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[kind]
    return [one_line(text) for text in re.findall(r"^#\s+(\[ingress\]  .*)$", (DEPLOY / file).read_text(), re.M)]


def judged(front, gateway, port):
    """A signed delivery of the one address that may send, and of others."""
    headers, body = signed(f"{port}_1")
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 200, f"signed, from {CALLER}: {status} {said}")
    headers, body = signed(f"{port}_2")
    forged = [*headers, ("X-Forwarded-For", CALLER)]
    status, said = front.ask("/in/shop", forged, body, port, "127.0.0.5")
    demand(status == 403, f"from 127.0.0.5, which says that it is {CALLER}: {status} {said}")
    demand("127.0.0.5" in gateway.log.read_text(), "the gateway does not know who called")
    status, said = front.ask("/in/shop", headers, body.replace(b"charge.", b"refund."), port, CALLER)
    demand(status == 401, f"with another body: {status} {said}")
    # Near the longest head that the gateway takes.
    headers, body = signed(f"{port}_3")
    long = [(f"X-Pad-{each}", "x" * 7000) for each in range(4)]
    status, said = front.ask("/in/shop", [*headers, *long], body, port, CALLER)
    demand(status == 200, f"a head of 28 KB: {status} {said}")
    headers, body = signed(f"{port}_4", pad=900_000)
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 200, f"a body of 900 KB: {status} {said}")
    headers, body = signed(f"{port}_5", pad=3_000_000)
    status, said = front.ask("/in/shop", headers, body, port, CALLER)
    demand(status == 413 and "body_too_large" in said, f"a body of 3 MB: {status} {said}")
    accepted = gateway.metric("hookgate_requests_total", outcome="accepted")
    demand(accepted == 3, f"{accepted} events were accepted, and three were sent")


def passes_on(kind, context):
    """What comes to the gateway is what was sent, once."""
    recorder = Recorder(answers=True)
    front = Front(kind, context.folder("recorded"), recorder.port, recorder.port)
    try:
        target = "/in//shop/../shop%2fA/%7E?b=2&a=%20x+y&&a"
        headers = [("X-Odd_Name", "a\tb  c"), ("x-Signature", "Q==;v=1, w"), ("X-Twice", "1"), ("X-Twice", "2"),
                   ("Content-Type", "application/json")]
        body = b'{"a":  1}\r\n\x00\xff' + bytes(range(256)) * 3000
        status, _ = front.ask(target, headers, body, caller=CALLER)
        demand(status == 200, f"{status}")
        [(lines, got)] = recorder.requests
        demand(lines[0] == f"POST {target} HTTP/1.1", f"{lines[0]!r} in the place of {target!r}")
        demand(got == body, f"{len(got)} bytes in the place of {len(body)}, or others")
        came = [(line.split(":")[0].lower(), line.split(":", 1)[1].strip()) for line in lines[1:]]
        for name, value in headers:
            demand((name.lower(), value) in came, f"{name}: {value!r} did not come: {came}")
        demand([value for name, value in came if name == "x-forwarded-for"] == [CALLER], f"who called: {came}")
        demand(("host", HOST) in came, f"the host: {came}")
    finally:
        front.stop()
        recorder.close()
    # A gateway that ends in the middle of a delivery may have kept it: nobody but its sender may send it again.
    silent = [Recorder(answers=False), Recorder(answers=False)]
    front = Front(kind, context.folder("silent"), silent[0].port, silent[0].port, other=silent[1].port)
    try:
        status, _ = front.ask("/in/shop", *signed(1))
        count = sum(len(each.requests) for each in silent)
        demand(status == 502 and count == 1, f"{status}, and it was sent {count} times")
    finally:
        front.stop()
        for each in silent:
            each.close()
    # One that takes no connection has seen nothing: the other gets the delivery, and the sender its 200.
    recorder, [nobody] = Recorder(answers=True), free_ports(1)
    front = Front(kind, context.folder("one-of-two"), recorder.port, recorder.port, other=nobody)
    try:
        for number in range(4):
            status, _ = front.ask("/in/shop", *signed(number))
            demand(status == 200, f"with one gateway of two away: {status}")
        demand(len(recorder.requests) == 4, f"{len(recorder.requests)} requests in the place of four")
    finally:
        front.stop()
        recorder.close()


def front_check(kind, through):
    context_of = {"haproxy": "HAProxy", "nginx": "nginx"}[kind]
    ways = "TLS that ends there and TLS through it, " if through else ""

    @check(f"{context_of}: {ways}a signed request is 200, and the caller's address arrives; each is passed on as it was, once")
    def _(context):
        lines = told_to_gateways(kind)
        demand(len(lines) == (2 if through else 1), f"{kind} says {lines} of hookgate.toml")
        gateways = []
        front = None
        try:
            gateways.append(Gateway(context, "plain", lines[0] + SHOP))
            second = None
            if through:
                tls_folder = context.folder("tls")
                certificate(tls_folder)
                tls = f'[ingress.tls]\ncertificate = "{tls_folder}/hooks.crt"\nkey = "{tls_folder}/hooks.key"\n'
                gateways.append(Gateway(context, "through", f"{lines[1]}{tls}{SHOP}"))
                second = (gateways[1].ingress, gateways[1].admin)
            folder = context.folder("front")
            front = Front(kind, folder, gateways[0].ingress, gateways[0].admin, second)
            judged(front, gateways[0], front.port)
            if through:
                # Now it is the gateway's own certificate that is shown.
                front.trusted = tls_folder / "hooks.crt"
                judged(front, gateways[1], front.through)
                front.trusted = folder / "hooks.crt"
            gateways[0].stop()
            status, _ = front.ask("/in/shop", *signed("late"))
            demand(status in (502, 503), f"without a gateway: {status}")
        finally:
            for each in [front, *gateways]:
                if each:
                    each.stop()
        passes_on(kind, context)


front_check("haproxy", True)
front_check("nginx", False)
