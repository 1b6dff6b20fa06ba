// Private servers for a check: on free loopback ports, in folders of their own, ended by their ids.

import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server";

async function listens(port) {
  return new Promise((resolve) => {
    const probe = net.connect({ port, host: "127.0.0.1" });
    probe.once("connect", () => (probe.destroy(), resolve(true)));
    probe.once("error", () => resolve(false));
  });
}

/** Free ports below the range from which the kernel takes the ports of clients. */
export async function freePorts(count) {
  const held = [];
  while (held.length < count) {
    const server = net.createServer();
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (free) held.push(server);
  }
  const ports = held.map((server) => server.address().port);
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** A server in a process group of its own, so that its children end with it. */
export class Process {
  constructor(what, command, log, environment = {}) {
    const out = openSync(log, "a");
    this.what = what;
    this.log = log;
    this.child = spawn(command[0], command.slice(1), {
      detached: true,
      stdio: ["ignore", out, out],
      env: { ...process.env, ...environment },
    });
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.once("exit", () => (this.gone = true));
    closeSync(out);
  }

  async untilListens(port, seconds = 60) {
    const deadline = Date.now() + seconds * 1000;
    while (!(await listens(port))) {
      if (this.gone) throw new Error(`${this.what} ended at once:\n${readFileSync(this.log, "utf8").slice(-3000)}`);
      if (Date.now() > deadline) throw new Error(`${this.what} does not listen on port ${port} after ${seconds} s; its log: ${this.log}`);
      await sleep(50);
    }
    return this;
  }

  async stop(signals = ["SIGTERM", "SIGKILL"]) {
    for (const signal of signals) {
      if (this.gone) return;
      try {
        process.kill(-this.child.pid, signal);
      } catch {
        return;
      }
      await Promise.race([this.ended, sleep(15_000, null, { ref: false })]);
    }
  }
}

/** A RabbitMQ node with its own epmd, cookie, database and log, which can be killed and started again. */
export class RabbitMq {
  static async start(folder) {
    const one = new RabbitMq();
    mkdirSync(folder);
    const [port, dist, epmd] = await freePorts(3);
    Object.assign(one, { folder, port, url: `amqp://guest:guest@127.0.0.1:${port}/%2f` });
    const inside = (name) => path.join(folder, name);
    writeFileSync(
      inside("rabbitmq.conf"),
      `listeners.tcp.local = 127.0.0.1:${port}\ndisk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 2GB\n`,
    );
    writeFileSync(inside("enabled_plugins"), "[].\n");
    one.environment = {
      HOME: folder,
      RABBITMQ_HOME: "/usr/lib/rabbitmq",
      RABBITMQ_NODENAME: `browser${port}@localhost`,
      RABBITMQ_CONFIG_FILE: inside("rabbitmq.conf"),
      RABBITMQ_CONF_ENV_FILE: inside("none.conf"),
      RABBITMQ_ENABLED_PLUGINS_FILE: inside("enabled_plugins"),
      RABBITMQ_MNESIA_BASE: inside("mnesia"),
      RABBITMQ_LOG_BASE: inside("log"),
      RABBITMQ_GENERATED_CONFIG_DIR: inside("generated"),
      RABBITMQ_PID_FILE: inside("pid"),
      RABBITMQ_DIST_PORT: String(dist),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
      ERL_EPMD_PORT: String(epmd),
      ERL_EPMD_ADDRESS: "127.0.0.1",
    };
    one.epmd = await new Process("epmd", ["epmd", "-port", String(epmd), "-address", "127.0.0.1"], inside("epmd.log")).untilListens(epmd);
    await one.up();
    return one;
  }

  async up() {
    this.node = new Process("RabbitMQ", [RABBITMQ], path.join(this.folder, "node.log"), this.environment);
    await this.node.untilListens(this.port, 90);
  }

  async kill() {
    await this.node.stop(["SIGKILL"]);
  }

  async stop() {
    await this.node?.stop(["SIGKILL"]);
    await this.epmd?.stop();
  }
}

/** hookgate with these tables, and its commands. */
export class Gateway {
  static async start(binary, folder, tables, environment) {
    const one = new Gateway();
    mkdirSync(folder, { recursive: true });
    const [ingress, admin] = await freePorts(2);
    const config = path.join(folder, "hookgate.toml");
    writeFileSync(
      config,
      `[ingress]\nlisten = "127.0.0.1:${ingress}"\n[admin]\nlisten = "127.0.0.1:${admin}"\n${tables.admin ?? ""}[journal]\ndir = "${folder}/journal"\n${tables.rest}`,
    );
    Object.assign(one, {
      binary,
      folder,
      config,
      ingress,
      environment,
      admin: `http://127.0.0.1:${admin}`,
      url: `http://127.0.0.1:${ingress}`,
    });
    one.process = new Process("hookgate", [binary, "serve", "--config", config], path.join(folder, "gateway.txt"), environment);
    await one.process.untilListens(admin);
    await one.process.untilListens(ingress);
    return one;
  }

  /** A command of the same binary and configuration: its exit code and what it printed. */
  run(...words) {
    const done = spawnSync(this.binary, [words[0], "--config", this.config, ...words.slice(1)], {
      env: { ...process.env, ...this.environment },
      encoding: "utf8",
      timeout: 30_000,
    });
    return { code: done.status, out: done.stdout, err: done.stderr };
  }

  async get(path, headers = {}) {
    const answer = await fetch(`${this.admin}/${path}`, { headers });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async stop() {
    await this.process.stop();
  }
}
