//! Private Redis and RabbitMQ servers, one process group each, on free loopback ports with folders of their own.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::sleep;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

use process::Process;

// Named, since the crash harness takes this file from another folder.
#[path = "services/front.rs"]
pub mod front;
#[path = "services/process.rs"]
pub mod process;

const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const RABBITMQCTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const REDIS: &str = "/usr/bin/redis-server";
/// A server that is not up by then never will be; the slowest CI machine takes a third of it.
const START: Duration = Duration::from_secs(120);

/// A loopback port that nothing listens on, outside the range that outgoing connections and whoever asks for any port get
/// theirs from: so it is still free when a server starts, and when it starts again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes beside each other begin at other ones.
    let first = std::process::id() * 61 % 18_000;
    for _ in 0..2_000 {
        let number = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let port = 10_000 + u16::try_from(number).unwrap();
        if TcpListener::bind(loopback(port)).is_ok() {
            return port;
        }
    }
    panic!("no port of 2,000 is free");
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub fn installed(binary: &str, package: &str) {
    assert!(Path::new(binary).exists(), "{binary} is missing; install it with: apt-get install {package}");
}

/// Waits until `done`, looking often; panics with `what` when `limit` has passed.
fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let step = Duration::from_millis(25);
    for _ in 0..limit.as_millis() / step.as_millis() {
        if done() {
            return;
        }
        sleep(step);
    }
    panic!("{what}: not within {limit:?}");
}

/// A private RabbitMQ node.
pub struct RabbitMq {
    dir: PathBuf,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    epmd: Option<Process>,
    server: Option<Process>,
    vhosts: Mutex<Vhosts>,
}

/// Virtual hosts `test-<n>`: the next that nobody has, and the first that is not made yet.
#[derive(Default)]
struct Vhosts {
    next: u32,
    unmade: u32,
}

/// Virtual hosts that are made at once: an Erlang tool takes longer to start than they do.
const VHOSTS: u32 = 16;

/// Largest message the fixture's broker takes, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

impl RabbitMq {
    /// The node that all tests of the binary share; each takes a virtual host of its own from it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A second node, for the tests that stop it or raise its alarms: one such test at a time. It runs.
    pub fn own() -> MutexGuard<'static, Self> {
        static OWN: OnceLock<Mutex<RabbitMq>> = OnceLock::new();
        let node = OWN.get_or_init(|| Mutex::new(Self::start()));
        let mut node = node.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if node.server.is_none() {
            node.boot();
        }
        node
    }

    /// A node for one test, which may stop it or raise its alarms. Takes 5 to 10 seconds.
    pub fn start() -> Self {
        installed(RABBITMQ, "rabbitmq-server");
        let dir = tempfile::tempdir().unwrap().keep();
        let port = free_port();
        fs::write(
            dir.join("rabbitmq.conf"),
            format!(
                "listeners.tcp.local = 127.0.0.1:{port}\n\
                 max_message_size = {MESSAGE_BYTES_MAX}\n\
                 disk_free_limit.absolute = 1MB\n\
                 vm_memory_high_watermark.absolute = 2GB\n\
                 log.console = false\n"
            ),
        )
        .unwrap();
        fs::write(dir.join("enabled_plugins"), "[].\n").unwrap();
        let mut node = Self {
            dir,
            port,
            dist_port: free_port(),
            epmd_port: free_port(),
            epmd: None,
            server: None,
            vhosts: Mutex::default(),
        };
        node.boot();
        node
    }

    /// The address, for a proxy.
    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// The URL of a virtual host.
    pub fn url(&self, vhost: &str) -> String {
        self.url_by(self.address(), vhost)
    }

    /// The URL of a virtual host through a proxy at `address`.
    pub fn url_by(&self, address: SocketAddr, vhost: &str) -> String {
        format!("amqp://guest:guest@{address}/{}", vhost.replace('/', "%2f"))
    }

    /// Makes a virtual host for one test.
    pub fn vhost(&self) -> String {
        let mut vhosts = self.vhosts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if vhosts.next == vhosts.unmade {
            let (first, last) = (vhosts.unmade, vhosts.unmade + VHOSTS - 1);
            self.rabbitmqctl(&["eval", &format!(
                "lists:foreach(fun(N) -> V = list_to_binary([\"test-\", integer_to_list(N)]), \
                 rabbit_vhost:add(V, <<\"test\">>), rabbit_auth_backend_internal:set_permissions(\
                 <<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>) end, lists:seq({first}, {last}))."
            )]);
            vhosts.unmade += VHOSTS;
        }
        vhosts.next += 1;
        format!("test-{}", vhosts.next - 1)
    }

    /// Runs `rabbitmqctl` against this node and returns what it printed; panics where it fails.
    pub fn rabbitmqctl(&self, args: &[&str]) -> String {
        // Erlang command-line tools are slow and hungry to start: one at a time.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut command = Command::new(RABBITMQCTL);
        self.environment(&mut command);
        let output = command.args(["-q", "-n", &self.name()]).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?}: {} {}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Ends the node in good order.
    pub fn stop(&mut self) {
        self.end("-TERM");
    }

    /// Kills the node at once (SIGKILL), but with what it knows of its queues on disk: RabbitMQ 3.10 writes that down
    /// seconds after it declared one, and killed before, it has that queue without a leader for good.
    pub fn kill(&mut self) {
        self.rabbitmqctl(&["eval", "[ok = dets:sync(T) || T <- dets:all()], ok = mnesia:sync_log()."]);
        self.end("-KILL");
    }

    /// Starts a stopped or killed node again, with the same port and folder.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "stop or kill it first");
        self.boot();
    }

    /// Freezes the node: its sockets stay open and nothing answers.
    pub fn pause(&self) {
        self.server.as_ref().unwrap().freeze();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.server.as_ref().unwrap().signal("-CONT");
    }

    /// Takes everything from a queue, until nothing came for a second.
    pub async fn drain(&self, vhost: &str, queue: &str) -> Vec<Drained> {
        let connection = connect(&self.url(vhost)).await;
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(1000, BasicQosOptions::default()).await.unwrap();
        let mut deliveries = channel
            .basic_consume(
                queue.into(),
                "drain".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        let mut drained = Vec::new();
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), deliveries.next()).await {
            let delivery = delivery.unwrap();
            delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
            drained.push(Drained::of(delivery));
        }
        connection.close(200, "OK".into()).await.unwrap();
        drained
    }

    fn name(&self) -> String {
        format!("hookgate{}@localhost", self.port)
    }

    fn environment(&self, command: &mut Command) {
        let dir = |name: &str| self.dir.join(name);
        command
            .env("HOME", &self.dir)
            .env("RABBITMQ_HOME", "/usr/lib/rabbitmq")
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_CONFIG_FILE", dir("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", dir("none.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", dir("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir("log"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir("generated"))
            .env("RABBITMQ_PID_FILE", dir("pid"))
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    }

    fn boot(&mut self) {
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &self.epmd_port.to_string(), "-address", "127.0.0.1"]);
        self.epmd = Some(Process::start(&self.dir, false, &mut epmd));
        wait_until("epmd listens", START, || TcpStream::connect(loopback(self.epmd_port)).is_ok());
        let mut server = Command::new(RABBITMQ);
        self.environment(&mut server);
        self.server = Some(Process::start(&self.dir, true, &mut server));
        wait_until("RabbitMQ listens", START, || TcpStream::connect(self.address()).is_ok());
    }

    fn end(&mut self, signal: &str) {
        let (mut server, mut epmd) = (self.server.take().unwrap(), self.epmd.take().unwrap());
        server.signal(signal);
        wait_until("RabbitMQ ends", Duration::from_secs(60), || {
            matches!(TcpStream::connect(self.address()), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
                && TcpStream::connect(loopback(self.dist_port)).is_err()
        });
        server.forget();
        server.signal("-KILL");
        epmd.signal("-KILL");
        epmd.forget();
    }
}

/// Connects to a broker that has just begun to listen, or panics.
pub async fn connect(url: &str) -> Connection {
    for _ in 0..200 {
        match Connection::connect(url, ConnectionProperties::default()).await {
            Ok(connection) => return connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("no connection to the test's own RabbitMQ");
}

/// A message as a worker gets it.
#[derive(Debug)]
pub struct Drained {
    /// The bytes.
    pub body: Vec<u8>,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Properties, empty or zero where absent.
    pub message_id: String,
    pub event_type: String,
    pub app_id: String,
    pub content_type: String,
    pub timestamp: u64,
    pub delivery_mode: u8,
    /// Headers; numbers and flags as text.
    pub headers: BTreeMap<String, String>,
}

impl Drained {
    /// A message that a consumer got.
    pub fn of(delivery: lapin::message::Delivery) -> Self {
        let properties = &delivery.properties;
        let text = |value: &Option<lapin::types::ShortString>| {
            value.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        let shown = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::Boolean(flag) => flag.to_string(),
            AMQPValue::LongLongInt(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let headers = properties.headers().iter().flat_map(|table| table.inner());
        Self {
            routing_key: delivery.routing_key.to_string(),
            message_id: text(properties.message_id()),
            event_type: text(properties.kind()),
            app_id: text(properties.app_id()),
            content_type: text(properties.content_type()),
            timestamp: properties.timestamp().unwrap_or_default(),
            delivery_mode: properties.delivery_mode().unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.to_string(), shown(value))).collect(),
            body: delivery.data,
        }
    }
}

/// A private Redis with an append-only file, unless told otherwise.
pub struct Redis {
    dir: PathBuf,
    port: u16,
    server: Option<Process>,
    /// What it is started with beside the usual.
    options: Vec<String>,
}

impl Redis {
    /// Starts one; takes some milliseconds.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one that keeps nothing over a restart.
    pub fn start_forgetful() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// Starts one that copies what the server at `primary` has, and waits until it has it.
    pub fn start_replica_of(primary: SocketAddr) -> Self {
        let port = primary.port().to_string();
        let redis = Self::start_with(&["--replicaof", "127.0.0.1", &port]);
        wait_until("the copy is complete", START, || {
            redis.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up")
        });
        redis
    }

    fn start_with(options: &[&str]) -> Self {
        installed(REDIS, "redis-server");
        let options = options.iter().map(|&word| word.to_owned()).collect();
        let dir = tempfile::tempdir().unwrap().keep();
        let mut redis = Self { dir, port: free_port(), server: None, options };
        redis.boot();
        redis
    }

    /// Makes a copy a server of its own: what its primary has not told it by then, it never learns.
    pub fn promote(&self) {
        assert_eq!(self.ask::<String>(&["REPLICAOF", "NO", "ONE"]), "OK");
    }

    /// Runs a command.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        command.query(&mut connection).unwrap()
    }

    /// The address, for a proxy.
    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// The URL of database 0.
    pub fn url(&self) -> String {
        self.url_by(self.address())
    }

    /// The URL of database 0 through a proxy at `address`.
    pub fn url_by(&self, address: SocketAddr) -> String {
        format!("redis://{address}/0")
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.end("-TERM");
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.end("-KILL");
    }

    /// Starts a stopped or killed one again, with the same port and data.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "stop or kill it first");
        self.boot();
    }

    /// Freezes it: its sockets stay open and nothing answers.
    pub fn pause(&self) {
        self.server.as_ref().unwrap().freeze();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.server.as_ref().unwrap().signal("-CONT");
    }

    fn boot(&mut self) {
        let mut server = Command::new(REDIS);
        server.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"]).arg(&self.dir);
        server.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]);
        server.args(["--repl-diskless-sync-delay", "0"]).args(&self.options);
        self.server = Some(Process::start(&self.dir, true, &mut server));
        // It listens before it has read its data.
        wait_until("Redis answers", START, || self.answers());
    }

    fn answers(&self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let answer = client
            .get_connection_with_timeout(Duration::from_secs(1))
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
        answer.is_ok()
    }

    fn end(&mut self, signal: &str) {
        let mut server = self.server.take().unwrap();
        server.signal(signal);
        wait_until("Redis ends", Duration::from_secs(30), || TcpStream::connect(self.address()).is_err());
        server.forget();
    }
}

#[test]
fn redis_keeps_its_data_over_a_kill_and_ends_with_its_owner() {
    let mut redis = Redis::start();
    let _: String = redis.ask(&["SET", "k", "v"]);
    redis.kill();
    redis.restart();
    assert_eq!(redis.ask::<String>(&["GET", "k"]), "v");
    redis.pause();
    let client = redis::Client::open(redis.url()).unwrap();
    assert!(client.get_connection_with_timeout(Duration::from_millis(300)).is_err());
    redis.resume();
    redis.stop();
    redis.restart();
    assert_eq!(redis.ask::<String>(&["GET", "k"]), "v");
    let (dir, address) = (redis.dir.clone(), redis.address());
    drop(redis);
    assert!(!dir.exists() && TcpStream::connect(address).is_err());
}
