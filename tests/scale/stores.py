"""Redis with a replica and three Sentinels, and HAProxy: in front of the replicas, and between them and what they share."""

import re
import socket
import time
from pathlib import Path

from asking import asked, replaced, until
from lines import Line
from services import Process, free_ports

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SENTINELS = 3
DOWN_AFTER = 1500
# What a gateway keeps for an event, in any command that writes it.
CLAIM = re.compile(rb"hookgate:([0-9a-f]{64})\b")


class Redis:
    """One of the two, known to the others by the port of a line in front of it."""

    def __init__(self, folder, master=None):
        folder.mkdir()
        self.folder = folder
        [self.port] = free_ports(1)
        self.line = Line(self.port)
        self.conf, self.log = folder / "redis.conf", folder / "log"
        text = replaced((DEPLOY / "redis.conf").read_text(), [
            ("bind 127.0.0.1 -::1", "bind 127.0.0.1"), ("port 6379", f"port {self.port}"), ("dir /var/lib/redis", f"dir {folder}"),
        ])
        # A replica is there at once, and known by the line's port.
        text += f"repl-diskless-sync-delay 0\nreplica-announce-ip 127.0.0.1\nreplica-announce-port {self.line.port}\n"
        self.conf.write_text(text)
        self.start(master)

    def start(self, master=None):
        words = ["--replicaof", "127.0.0.1", str(master.line.port)] if master else []
        self.process = Process("Redis", ["redis-server", str(self.conf), *words], self.log, self.port)

    def is_master(self):
        try:
            return asked(self.port, "INFO", "replication")[1] == "role:master"
        except (OSError, IndexError):
            return False

    def follows(self):
        try:
            return "master_link_status:up" in asked(self.port, "INFO", "replication")
        except OSError:
            return False

    def claims(self):
        return int(asked(self.port, "DBSIZE")[0].lstrip(":"))

    def clients(self):
        """The ports of those who ask this one, but for this check and for who comes by the line."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as to:
            to.sendall(b"CLIENT LIST TYPE normal\r\n")
            ports = {int(port) for port in re.findall(rb" addr=127.0.0.1:(\d+) ", to.recv(65536))}
            return ports - {to.getsockname()[1]} - {pair.up.go.getsockname()[1] for pair in self.line.pairs if not pair.over}

    def untold(self, pairs):
        """The events that this one wrote of and its replica was never told: what these connections by its line hold back, and what
        stands behind that in its append-only file."""
        kept = max((bytes(pair.down.kept) for pair in pairs), key=lambda kept: len(CLAIM.findall(kept)))
        return {one.decode() for one in set(CLAIM.findall(kept)) | self.written_after(kept[-40:])}

    def written_after(self, last):
        files = sorted((self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        text = files[-1].read_bytes() if files else b""
        at = text.rfind(last) if last else -1
        return set(CLAIM.findall(text[at + len(last) :] if at >= 0 else text[-65536:]))

    def close(self):
        self.process.stop()
        self.line.close()


class Pair:
    """A master, its replica, and Sentinels that watch them."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.sentinels, self.nodes = folder, [], []
        self.ports = free_ports(SENTINELS)
        try:
            self.nodes.append(Redis(folder / "1"))
            self.nodes.append(Redis(folder / "2", self.nodes[0]))
            until("Redis has a replica", self.nodes[1].follows)
            for number in range(SENTINELS):
                self.watch(number)
            until("the Sentinels know each other and the replica", self.is_watched)
        except BaseException:
            self.close()
            raise

    def watch(self, number):
        own = self.folder / f"sentinel-{number}"
        own.mkdir()
        port, text = self.ports[number], (DEPLOY / "sentinel.conf").read_text()
        (own / "sentinel.conf").write_text(replaced(text, [
            ("port 26379", f"port {port}"), ("dir /var/lib/redis", f"dir {own}"),
            ("192.0.2.21 6379 2", f"127.0.0.1 {self.nodes[0].line.port} 2"),
            ("down-after-milliseconds hookgate 5000", f"down-after-milliseconds hookgate {DOWN_AFTER}"),
            ("failover-timeout hookgate 30000", "failover-timeout hookgate 6000"),
        ]))
        self.sentinels.append(Process("Sentinel", ["redis-server", str(own / "sentinel.conf"), "--sentinel"], own / "log", port))

    def is_watched(self):
        def knows(port):
            said = asked(port, "SENTINEL", "master", "hookgate")
            facts = dict(zip(said[::2], said[1::2]))
            return facts.get("num-slaves") == "1" and facts.get("num-other-sentinels") == str(SENTINELS - 1)
        return all(knows(port) for port in self.ports)

    def named(self):
        """The one that each Sentinel names."""
        by_port = {str(node.line.port): node for node in self.nodes}
        return [by_port.get(asked(port, "SENTINEL", "get-master-addr-by-name", "hookgate")[1]) for port in self.ports]

    def master(self):
        [found] = set(self.named())
        return found

    def both(self):
        """The master and the other."""
        old = self.master()
        [new] = [node for node in self.nodes if node is not old]
        return old, new

    def until_whole(self):
        """The Sentinels agree on a master, and the other one follows."""
        until("Redis has a master and a replica", lambda: len(set(self.named())) == 1 and self.both()[0].is_master() and self.both()[1].follows(), 40)

    def until_named(self, new):
        until("the Sentinels name another", lambda: all(node is new for node in self.named()) and new.is_master(), 30)

    def kill_master(self, held):
        """The master is killed when nothing has come through to its replica for so many seconds, in which it went on answering. Gives
        who was killed, and the events of which the replica was never told."""
        old, new = self.both()
        old.line.hold()
        time.sleep(held)
        pairs = old.line.pairs
        old.process.kill()
        until("the line has taken what was on its way", lambda: all(pair.over for pair in pairs))
        lost = old.untold(pairs)
        old.line.resume()
        self.until_named(new)
        return old, lost

    def cut_off_master(self):
        """Nothing comes through any more between the master and its replica and the Sentinels, while gateways reach it, until they are
        led away. Gives the events of which the replica was never told."""
        old, new = self.both()
        old.line.hold()
        pairs = old.line.pairs
        self.until_named(new)
        until("nobody asks the one that was cut off", lambda: not old.clients())
        lost = old.untold(pairs)
        old.line.cut()
        old.line.resume()
        return lost

    def close(self):
        for each in [*self.sentinels, *self.nodes]:
            (each.stop if isinstance(each, Process) else each.close)()


class HaProxy:
    """One that has an admin socket."""

    def start(self, folder, text, port):
        self.socket = folder / "admin.sock"
        (folder / "haproxy.cfg").write_text(text)
        self.process = Process("HAProxy", ["/usr/sbin/haproxy", "-db", "-f", str(folder / "haproxy.cfg")], folder / "log", port)
        until("HAProxy has its admin socket", self.socket.exists)

    def say(self, command):
        with socket.socket(socket.AF_UNIX) as to:
            to.settimeout(5)
            to.connect(str(self.socket))
            to.sendall(f"{command}\n".encode())
            got = b""
            while more := to.recv(65536):
                got += more
        return got.decode()

    def traffic(self, frontend):
        """Bytes that came from its clients, and went to them."""
        [line] = [line.split(",") for line in self.say("show stat").splitlines() if line.startswith(f"{frontend},FRONTEND,")]
        return int(line[8]), int(line[9])

    def close(self):
        self.process.stop()


class Front(HaProxy):
    """HAProxy with deploy/haproxy.cfg and its admin socket, a backend for each fleet of replicas."""

    def __init__(self, folder, fleets):
        """`fleets`: by name: ingress and admin ports of its replicas."""
        folder.mkdir()
        self.ports = dict(zip(fleets, free_ports(len(fleets))))
        text = (DEPLOY / "haproxy.cfg").read_text().split("# TLS through to the gateway")[0]
        head, _, rest = text.partition("frontend hooks\n")
        front, _, back = rest.partition("\nbackend gateways\n")
        front, back = f"frontend hooks\n{front}\n\n", f"backend gateways\n{back}"
        head = replaced(head, [("maxconn 20000", "maxconn 2000"), ("/run/haproxy/admin.sock", f"{folder}/admin.sock")])
        for fleet, replicas in fleets.items():
            head += replaced(front, [
                ("frontend hooks", f"frontend {fleet}"), ("default_backend gateways", f"default_backend {fleet}"),
                ("bind :443 ssl crt /etc/haproxy/hooks.pem alpn h2,http/1.1", f"bind 127.0.0.1:{self.ports[fleet]}"),
            ])
            servers = "".join(
                f"    server gateway-{number} 127.0.0.1:{ingress} port {admin}\n" for number, (ingress, admin) in enumerate(replicas, 1)
            )
            head += replaced(back, [("backend gateways", f"backend {fleet}"), (" check port 9090", " check"),
                                    ("    server gateway-1 127.0.0.1:8080\n", servers)])  # fmt: skip
        self.start(folder, head, max(self.ports.values()))

    def servers(self, fleet):
        """By name: status and sessions."""
        lines = [line.split(",") for line in self.say("show stat").splitlines() if line.startswith(f"{fleet},gateway-")]
        return {line[1]: (line[17], int(line[4])) for line in lines}

    def is_up(self, fleet, server):
        return self.servers(fleet)[server][0].startswith("UP")

    def drain(self, fleet, server):
        """It gets no more requests, and ends those that it has."""
        self.say(f"set server {fleet}/{server} state drain")
        until(f"{server} of {fleet} has no request left", lambda: self.servers(fleet)[server][1] == 0, 20)

    def ready(self, fleet, server):
        """The first good look makes it take requests again."""
        until(f"{server} of {fleet} is seen to be well", lambda: self.servers(fleet)[server][0].startswith(("DRAIN", "UP")), 30)
        self.say(f"set server {fleet}/{server} state ready")
        until(f"{server} of {fleet} takes requests", lambda: self.is_up(fleet, server), 30)


class Services(HaProxy):
    """HAProxy with deploy/haproxy-services.cfg: one port for RabbitMQ, one for Redis."""

    def __init__(self, folder, cluster, pair):
        folder.mkdir()
        self.amqp, self.redis, named = free_ports(3)
        one, two = pair.nodes
        text = replaced((DEPLOY / "haproxy-services.cfg").read_text(), [
            ("bind 127.0.0.1:5672", f"bind 127.0.0.1:{self.amqp}"), ("bind 127.0.0.1:6379", f"bind 127.0.0.1:{self.redis}"),
            ("127.0.0.1:6380", f"127.0.0.1:{named}"), ("port 6380", f"port {named}"),
            ("192.0.2.21:6379", f"127.0.0.1:{one.port}"), ("192.0.2.22:6379", f"127.0.0.1:{two.port}"),
            ("maxconn 4000", f"maxconn 1000\n    stats socket {folder}/admin.sock mode 600 level admin"),
            # Here the two differ by their ports alone.
            ("expect string 192.0.2.21", f"expect string {one.line.port}"), ("expect string 192.0.2.22", f"expect string {two.line.port}"),
            *((f"192.0.2.3{n}:26379", f"127.0.0.1:{port}") for n, port in enumerate(pair.ports, 1)),
            *((f"192.0.2.1{n}:5672", f"127.0.0.1:{node.port}") for n, node in enumerate(map(cluster.nodes.get, cluster.names), 1)),
        ])
        self.start(folder, text, self.amqp)

    @property
    def amqp_url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.amqp}/%2f"

    @property
    def redis_url(self):
        return f"redis://127.0.0.1:{self.redis}/0"
