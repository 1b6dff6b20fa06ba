"""Three nodes of RabbitMQ as one cluster, each pair of them joined by lines that can be held: so one can be cut off from the others
without the rights that a firewall or a network namespace wants."""

import contextlib
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from asking import until
from lines import Line
from services import RabbitMq, free_ports

SIZE = 3
# Seconds without a sign of life, after which a node gives another up; RabbitMQ's own default is 60.
TICK_TIME = 5
# Names and values of the protocol of epmd, OTP's «erl_epmd».
ALIVE, ALIVE_ANSWER, PORT, PORT_ANSWER, NAMES = 120, 118, 122, 119, 110


class Mapper:
    """The port mapper (epmd) of one node: it tells her the others by the ports of her own lines to them."""

    def __init__(self, known):
        """`known`: what all mappers share, by name: what the node said of herself."""
        self.known, self.lines = known, {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                to = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(to,), daemon=True).start()

    def serve(self, to):
        with to, contextlib.suppress(OSError, struct.error, EOFError):
            (length,) = struct.unpack(">H", exactly(to, 2))
            asked = exactly(to, length)
            if asked[0] == ALIVE:
                self.alive(to, asked)
            elif asked[0] == PORT:
                to.sendall(self.port_of(asked[1:].decode()))
            elif asked[0] == NAMES:
                names = "".join(f"name {name} at port {struct.unpack('>H', said[:2])[0]}\n" for name, said in self.known.items())
                to.sendall(struct.pack(">I", self.port) + names.encode())

    def alive(self, to, asked):
        """A node is known for as long as she keeps this connection."""
        (length,) = struct.unpack(">H", asked[9:11])
        name, said = asked[11 : 11 + length].decode(), bytes(asked[1:9])
        self.known[name] = said
        try:
            to.sendall(struct.pack(">BBI", ALIVE_ANSWER, 0, random.randrange(4, 2**32)))
            while to.recv(64):
                pass
        finally:
            if self.known.get(name) is said:
                del self.known[name]

    def port_of(self, name):
        said = self.known.get(name)
        if said is None:
            return bytes([PORT_ANSWER, 1])
        line = self.lines.get(name)
        port = struct.pack(">H", line.port) if line else said[:2]
        return bytes([PORT_ANSWER, 0]) + port + said[2:] + struct.pack(">H", len(name)) + name.encode() + b"\0\0"

    def close(self):
        self.listener.close()


def exactly(to, length):
    got = b""
    while len(got) < length:
        more = to.recv(length - len(got))
        if not more:
            raise EOFError
        got += more
    return got


class Control:
    """An Erlang node beside the cluster, which says what it is told to: what rabbitmqctl does, without its seconds to start."""

    LOOP = (
        'F = fun(F) -> case io:get_line("") of eof -> halt(); {error, _} -> halt(); Line -> '
        "R = try {ok, T, _} = erl_scan:string(Line), {ok, E} = erl_parse:parse_exprs(T), {value, V, _} = erl_eval:exprs(E, []), V "
        'catch C:X -> {failed, C, X} end, io:format("~0p~n", [R]), F(F) end end, F(F).'
    )

    def __init__(self, folder, mapper, cookie):
        folder.mkdir()
        words = ["-hidden", "-noshell", "-sname", "control@localhost", "-setcookie", cookie]
        words += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "net_ticktime", str(TICK_TIME), "logger_level", "none", "-start_epmd", "false"]
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            ["erl", *words, "-eval", self.LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "log").open("ab"),
            text=True, bufsize=1, start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "ERL_EPMD_PORT": str(mapper.port), "ERL_CRASH_DUMP_SECONDS": "0"},
        )

    def say(self, expression):
        with self.lock:
            self.process.stdin.write(f"{expression}.\n")
            answer = self.process.stdout.readline().strip()
        if not answer:
            raise AssertionError(f"the control node ended at «{expression}»")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Cluster:
    """The three nodes. `lines`: between each two, else they speak to each other directly."""

    def __init__(self, folder, lines=True):
        folder.mkdir()
        self.folder, known, cookie = folder, {}, f"cookie{random.randrange(2**64):x}"
        self.names = [f"r{number}" for number in range(1, SIZE + 1)]
        self.mappers = {name: Mapper(known) for name in [*self.names, "control"]}
        ports = dict(zip(self.names, free_ports(SIZE)))
        self.lines = {}
        if lines:
            self.lines = {(one, two): Line(ports[two]) for one in self.names for two in self.names if one != two}
        for (one, two), line in self.lines.items():
            self.mappers[one].lines[two] = line
        members = "".join(f"cluster_formation.classic_config.nodes.{n} = {name}@localhost\n" for n, name in enumerate(self.names, 1))
        more = (
            f"cluster_formation.peer_discovery_backend = classic_config\n{members}"
            # Who is cut off from the majority stops, so that clients go elsewhere.
            f"cluster_partition_handling = pause_minority\nnet_ticktime = {TICK_TIME}\nlog.console = false\n"
        )

        def start(name):
            variables = {"RABBITMQ_NODENAME": f"{name}@localhost", "ERL_EPMD_PORT": str(self.mappers[name].port),
                         "RABBITMQ_DIST_PORT": str(ports[name])}  # fmt: skip
            self.nodes[name] = RabbitMq(folder / name, more=more, variables=variables, words=f"-setcookie {cookie} -start_epmd false")

        self.nodes, self.control = {}, None
        try:
            with ThreadPoolExecutor(SIZE) as threads:
                list(threads.map(start, self.names))
            self.control = Control(folder / "control", self.mappers["control"], cookie)
            until("the three are one cluster", lambda: all(self.running(name) == SIZE for name in self.names), 60)
        except BaseException:
            self.close()
            raise

    def call(self, name, module, function, *arguments, seconds=5):
        """A call in a node: its answer as Erlang prints it."""
        return self.control.say(
            f"rpc:call('{name}@localhost', {module}, {function}, [{', '.join(arguments)}], {int(seconds * 1000)})"
        )

    def running(self, name):
        """How many nodes run, as this one sees it; 0 where she does not run herself."""
        said = self.call(name, "rabbit_nodes", "all_running", seconds=3)
        return said.count("@localhost") if said.startswith("[") else 0

    def is_stopped(self, name):
        """RabbitMQ has ended in this node, and may still be asked about it."""
        return self.call(name, "rabbit", "is_running") == "false"

    def leader(self, queue, asked=None):
        """The name of the node that leads a queue's members, as one of them sees it; none where she knows of none."""
        for name in [asked] if asked else self.names:
            said = self.call(name, "ra", "members", f"{{{member(queue)}, '{name}@localhost'}}", "2000")
            if said.startswith("{ok,"):
                return said.rpartition("'%2F_")[2].partition(",")[2].strip("'}").split("@")[0]
        return None

    def members(self, queue):
        said = self.call(self.names[0], "ra", "members", f"{{{member(queue)}, '{self.names[0]}@localhost'}}", "2000")
        return said.count(f"'%2F_{queue}'") - 1 if said.startswith("{ok,") else 0

    def is_whole(self, queues):
        """Every node runs and knows that all do, each queue has a leader and a member that works in every node."""
        if any(self.running(name) < SIZE for name in self.names):
            return False
        here = all(self.call(name, "erlang", "whereis", member(queue)).startswith("<") for name in self.names for queue in queues)
        return here and all(self.leader(queue, name) for name in self.names for queue in queues)

    def until_whole(self, queues, seconds=90):
        begun = time.monotonic()
        until("the cluster is whole", lambda: self.is_whole(queues), seconds)
        return time.monotonic() - begun

    def sync(self):
        """What the nodes know of their queues goes to disk. RabbitMQ 3.10 writes that down seconds after it declared one, and killed
        before, it has that queue without a leader for good."""
        for name in self.names:
            tables = self.call(name, "dets", "all")
            for table in tables.strip("[]").split(","):
                if table:
                    self.call(name, "dets", "sync", table)
            self.call(name, "mnesia", "sync_log")

    def move(self, queue, to):
        """Moves the lead to another node, as `rabbitmq-queues rebalance` does."""
        return self.call(
            self.leader(queue), "ra", "transfer_leadership",
            f"{{{member(queue)}, '{self.leader(queue)}@localhost'}}", f"{{{member(queue)}, '{to}@localhost'}}",
        )  # fmt: skip

    def rebalance(self):
        return self.call(self.names[0], "rabbit_amqqueue", "rebalance", "quorum", '<<".*">>', '<<".*">>', seconds=30)

    def isolate(self, name):
        """Nothing comes through any more between this node and the others."""
        for pair, line in self.lines.items():
            if name in pair:
                line.hold()

    def join(self):
        for line in self.lines.values():
            line.resume()

    def freeze(self, name):
        self.nodes[name].node.signal(signal.SIGSTOP)

    def thaw(self, name):
        self.nodes[name].node.signal(signal.SIGCONT)

    def close(self):
        if self.control:
            self.control.close()
        with ThreadPoolExecutor(SIZE) as threads:
            # They hold nothing that anybody wants: no goodbyes.
            list(threads.map(lambda node: node.node.kill(), self.nodes.values()))
        for each in [*self.lines.values(), *self.mappers.values()]:
            each.close()


def member(queue):
    """The name of a queue's members, in every node."""
    return f"'%2F_{queue}'"
