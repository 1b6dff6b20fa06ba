"""What the workers stand between: a private PostgreSQL and gateways."""

import contextlib
import glob
import hashlib
import hmac
import http.client
import json
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from asking import until
from services import Process, free_ports, wait_for_port

SECRET = "a-secret-of-the-sender-of-32-bytes"


class Postgres:
    """A server of its own, run by the package's user where we are root, whom it refuses."""

    def __init__(self, folder: Path, password):
        folder.mkdir()
        self.folder, self.password = folder, password
        (self.port,) = free_ports(1)
        self.bin = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        self.user = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            self.user = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        (folder / "password").write_text(password)
        if self.user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        initdb = ["initdb", "--pgdata", f"{folder}/data", "--username=worker", "--auth=scram-sha-256"]
        self.run(*initdb, f"--pwfile={folder}/password", "--no-sync", "--encoding=UTF8", "--no-locale")
        self.start()

    def run(self, program, *arguments):
        command = [*self.user, f"{self.bin}/{program}", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr}")

    def start(self):
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off", "max_connections": 200}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder.parent / "postgres.log", "ab") as log:
            self.server = subprocess.Popen(
                [*self.user, f"{self.bin}/postgres", "-D", f"{self.folder}/data", *settings],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        wait_for_port(self.port, self.server, "PostgreSQL", self.folder.parent / "postgres.log")
        until("PostgreSQL takes connections", self.answers)

    def answers(self):
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self):
        """At once, its clients' connections cut."""
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(30)

    close = stop

    def url(self, database):
        return f"postgresql://worker:{self.password}@127.0.0.1:{self.port}/{database}"

    def database(self, name, schema, seconds):
        """A database with the schema, each effect slowed down, so that a kill meets many of them."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        database = Database(self.url(name))
        database.ask(schema)
        database.ask("INSERT INTO accounts SELECT 'a' || n FROM generate_series(0, 19) n UNION SELECT 'held'")
        database.ask(
            f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END'; "
            "CREATE TRIGGER slow BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        return database


class Database:
    """A worker's database, as the check looks at it."""

    def __init__(self, url):
        self.url, self.connection = url, None

    def ask(self, query, *values):
        """Rows of a query; by a new connection where the server was restarted."""
        try:
            self.connection = self.connection or psycopg.connect(self.url, autocommit=True)
            cursor = self.connection.execute(query, values or None)
        except psycopg.OperationalError:
            self.connection = psycopg.connect(self.url, autocommit=True)
            cursor = self.connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def locked(self, account):
        """For a while, nothing can be entered in that account."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT id FROM accounts WHERE id = %s FOR UPDATE", (account,))
            yield

    def handled(self):
        return self.ask("SELECT count(*) FROM handled")[0][0]

    def entries(self):
        """How often each amount was entered."""
        return dict(self.ask("SELECT amount, count(*) FROM entries GROUP BY amount"))


class Gateway:
    """hookgate with one source for each name, and the sink given."""

    def __init__(self, binary, folder: Path, sources, sink, environment):
        folder.mkdir()
        self.binary, self.config = binary, folder / "hookgate.toml"
        self.port, self.admin = free_ports(2)
        self.environment = {"WORKERS_SECRET": SECRET, **environment}
        settings = '{ header = "X-Signature", prefix = "sha256=", id = "json:/id", type = "json:/type" }'
        tables = "".join(
            f'[sources.{name}]\nprovider = "generic"\nscheme = "hmac"\nsettings = {settings}\n'
            'secrets = [{ env = "WORKERS_SECRET", label = "test" }]\n'
            for name in sources
        )
        self.config.write_text(
            f'[ingress]\nlisten = "127.0.0.1:{self.port}"\n[admin]\nlisten = "127.0.0.1:{self.admin}"\n'
            f'[journal]\ndir = "{folder}/journal"\n[sink]\n{sink}\n{tables}'
        )
        command = [binary, "serve", "--config", str(self.config)]
        self.process = Process("hookgate", command, folder / "log", self.port, self.environment)

    def run(self, *words):
        """A command of the same binary, with the same configuration: what it printed."""
        done = subprocess.run(
            [self.binary, *words, "--config", str(self.config), "--output", "json"],
            env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=30,
        )
        if done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def send(self, source, events):
        """Posts events, signed; each of them has to be accepted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        for event in events:
            body = json.dumps(event).encode()
            signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {"Content-Type": "application/json", "X-Signature": signature}
            connection.request("POST", f"/in/{source}", body, headers)
            answer = connection.getresponse()
            if answer.read() is None or answer.status != 200:
                raise AssertionError(f"an event was answered with {answer.status}")
        connection.close()

    def close(self):
        self.process.stop()
