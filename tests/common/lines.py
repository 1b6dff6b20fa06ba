"""Lines between the servers of a check, on which what is said can be lost or held back, and which can be cut."""

import socket
import threading

from asking import until


class Line:
    """A proxy in front of a server on loopback. What clients say can be lost on it, what both say held back, and it can be cut."""

    def __init__(self, port):
        self.target, self.deaf, self.holds, self.pairs = port, False, False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            try:
                pair = Pair(self, client, server)
            except OSError:
                continue  # the client is gone again
            self.pairs = [each for each in self.pairs if not each.over] + [pair]

    def lose(self):
        """From now on, what clients say is lost, on the connections of now to their end."""
        self.deaf = True
        for pair in self.pairs:
            pair.deaf = True

    def heal(self):
        """New connections are whole; what came in before, and waits to be accepted, is still lost."""
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            name = last.getsockname()
            until("the line has accepted all", lambda: any(pair.name == name for pair in self.pairs))
        self.deaf = False

    def hold(self):
        """From now on nothing comes through, either way; nobody is told."""
        self.holds = True

    def resume(self):
        """What was held back comes through, and all that follows it."""
        self.holds = False
        for pair in self.pairs:
            pair.say_kept()

    def cut(self):
        """All connections of now end, and what was held back on them is gone."""
        for pair in self.pairs:
            pair.cut()

    def close(self):
        self.listener.close()
        self.cut()


class Way:
    """One direction of a connection, and what is held back of it."""

    def __init__(self, come, go):
        self.come, self.go, self.kept, self.lock = come, go, bytearray(), threading.Lock()

    def say(self, data, holds):
        with self.lock:
            if holds or self.kept:
                self.kept += data
            else:
                self.go.sendall(data)

    def say_kept(self):
        with self.lock:
            self.go.sendall(self.kept)
            self.kept = bytearray()


class Pair:
    """One connection by way of a line."""

    def __init__(self, line, client, server):
        self.line, self.name, self.deaf, self.over = line, client.getpeername(), line.deaf, False
        self.up, self.down = Way(client, server), Way(server, client)
        for way in (self.up, self.down):
            way.go.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry, args=(way,), daemon=True).start()

    def carry(self, way):
        try:
            while data := way.come.recv(65536):
                if not (way is self.up and self.deaf):
                    way.say(data, self.line.holds)
        except OSError:
            pass
        self.cut()

    def say_kept(self):
        try:
            self.up.say_kept()
            self.down.say_kept()
        except OSError:
            self.cut()

    def cut(self):
        self.over = True
        for way in (self.up, self.down):
            try:
                way.come.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
