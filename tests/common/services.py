"""Private servers for a check: on free loopback ports, in a folder of their own, ended by their ids."""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
# Ports that were given out, so that none is given to another before its server listens.
GIVEN = set()


def free_ports(count):
    """Free ports below the range from which the kernel takes the ports of clients."""
    held = []
    while len(held) < count:
        each, port = socket.socket(), random.randrange(20000, 32000)
        try:
            if port in GIVEN:
                continue
            each.bind(("127.0.0.1", port))
            GIVEN.add(port)
            held.append(each)
        except OSError:
            each.close()
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def wait_for_port(port, process, what, log, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{what} ended at once with {process.returncode}:\n{log.read_text(errors='replace')}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"{what} does not listen on port {port} after {seconds} s; its log: {log}")


class Process:
    """A server in a process group of its own, so that its children end with it."""

    def __init__(self, what, command, log, port, environment=None):
        self.what = what
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log.open("ab"), stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, start_new_session=True,
        )
        try:
            wait_for_port(port, self.child, what, log)
        except BaseException:
            self.stop()
            raise

    def signal(self, number):
        os.killpg(self.child.pid, number)

    def kill(self):
        """At once, with all that it has started."""
        self.signal(signal.SIGKILL)
        self.child.wait(10)

    def stop(self):
        for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.child.pid, number)
                self.child.wait(seconds)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


class RabbitMq:
    """A node with its own epmd, cookie, database and log."""

    def __init__(self, folder: Path, password="guest", more="", variables=None, words=""):
        """`more`: further lines of its configuration; `variables`: of its environment, where there may be another's epmd; `words`:
        of its command line."""
        folder.mkdir()
        self.folder = folder
        self.port, dist, epmd_port = free_ports(3)
        self.url = f"amqp://guest:{password}@127.0.0.1:{self.port}/%2f"
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\ndefault_pass = {password}\ndisk_free_limit.absolute = 1MB\n"
            f"vm_memory_high_watermark.absolute = 2GB\n{more}"
        )
        (folder / "enabled_plugins").write_text("[].\n")
        self.environment = {
            "HOME": str(folder),
            "RABBITMQ_HOME": "/usr/lib/rabbitmq",
            "RABBITMQ_NODENAME": f"sdk{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} +S 2:2 {words}",
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            **(variables or {}),
        }
        if "ERL_EPMD_PORT" in (variables or {}):
            self.epmd = None
            self.start()
            return
        epmd = ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"]
        self.epmd = Process("epmd", epmd, folder / "epmd.log", epmd_port)
        try:
            self.start()
        except BaseException:
            self.epmd.stop()
            raise

    def start(self):
        self.node = Process("RabbitMQ", [RABBITMQ], self.folder / "node.log", self.port, self.environment)

    def close(self):
        self.node.stop()
        if self.epmd:
            self.epmd.stop()
