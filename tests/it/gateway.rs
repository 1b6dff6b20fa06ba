//! The gateway under test: the real binary with a folder and ports of its own, driven from outside only.
//!
//! Nothing here uses the library: signatures are made with `hmac` itself, answers are read from the socket. A
//! gateway keeps its ports and its folder over [`Gateway::kill`] and [`Gateway::restart`], and ends with its value.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::services::free_port;

pub use crate::handed::Handed;
pub use crate::http::{Answer, Client};
pub use crate::senders::*;

/// A gateway that has not answered by then never will; with an empty folder it takes some milliseconds.
const START: Duration = Duration::from_secs(20);
/// The promise for SIGTERM is 10 s; what takes longer is killed and reported as such.
const STOP: Duration = Duration::from_secs(20);

/// The gateway that is tested: the one of `HOOKGATE_IT_BINARY`, which tests/run has built optimised, or else cargo's.
pub fn binary() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| {
        std::env::var("HOOKGATE_IT_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_hookgate").to_owned())
    });
    &BINARY
}

/// Waits until `done`, looking often; panics with `what` when `limit` has passed.
pub fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(10));
    }
}

/// What a gateway is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    sections: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    admin_token: Option<String>,
    /// A command that runs the gateway, such as `prlimit …`; empty for none.
    wrapper: Vec<String>,
}

impl Setup {
    /// The embedded defaults with small segments, and no source yet.
    pub fn new() -> Self {
        Self::default()
            .set("journal", "segment_bytes = \"1MiB\"\nbytes_max = \"64MiB\"")
            .set("ingress", "body_bytes_max = \"512KiB\"\nworkers = 2")
            .set("log", "format = \"json\"")
    }

    /// A source with one secret of [`secret`], unless `lines` name others, and a body limit that suits 1 MiB segments.
    pub fn source(self, name: &str, provider: &str, lines: &str) -> Self {
        let mut text = format!("provider = \"{provider}\"\n{lines}\n");
        if !lines.contains("secrets =") {
            text += &format!("secrets = [{{ env = \"{}\", label = \"live\" }}]\n", secret_env(name));
        }
        if !lines.contains("body_bytes_max =") {
            text.push_str("body_bytes_max = \"512KiB\"\n");
        }
        self.env(&secret_env(name), &secret(name)).set(&format!("sources.{name}"), &text)
    }

    /// Adds lines to a section; a key that the section has already is replaced.
    pub fn set(mut self, section: &str, lines: &str) -> Self {
        let text = self.sections.entry(section.to_owned()).or_default();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let others: Vec<&str> = text.lines().filter(|old| key(old) != key(line)).collect();
            *text = others.into_iter().chain([line]).map(|line| format!("{line}\n")).collect();
        }
        self
    }

    /// The same without a section.
    pub fn without(mut self, section: &str) -> Self {
        self.sections.remove(section);
        self
    }

    /// An environment variable; also one that the configuration refers to, or `HOOKGATE__SECTION__KEY`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What is done at a failpoint (`src/failpoint.rs`), in the words of the crate `fail`: `return` kills the process
    /// there, `pause` lets it go no further, `1*sleep(900)` holds it up once.
    pub fn failpoint(mut self, point: &str, action: &str) -> Self {
        let points = self.env.entry("FAILPOINTS".to_owned()).or_default();
        *points += &format!("{point}={action};");
        self
    }

    /// A token on the admin listener, which the fixture's own calls then send.
    pub fn admin_token(mut self, token: &str) -> Self {
        self.admin_token = Some(token.to_owned());
        self.env("ADMIN_TOKEN", token).set("admin", "token = { env = \"ADMIN_TOKEN\" }")
    }

    /// Runs the gateway by this command, such as `prlimit --fsize=1000`.
    pub fn wrapper(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes the configuration into a new folder; nothing runs yet.
    pub fn prepare(self) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let gateway = Gateway {
            setup: self,
            dir,
            ingress: loopback(free_port()),
            admin: loopback(free_port()),
            child: None,
        };
        gateway.write_config();
        gateway
    }

    /// Starts a gateway and waits until it takes requests.
    pub fn start(self) -> Gateway {
        let mut gateway = self.prepare();
        gateway.start();
        gateway
    }

    /// Runs a subcommand on this configuration until it ends.
    pub fn run(self, arguments: &[&str]) -> Output {
        self.prepare().run(arguments)
    }
}

/// The variable that holds the secret of a source.
fn secret_env(source: &str) -> String {
    format!("SECRET_{}", source.to_ascii_uppercase().replace('-', "_"))
}

/// A line of the log without the names that the Elastic Common Schema has for things.
fn flat(mut line: serde_json::Map<String, Value>) -> Value {
    let ours = line.remove("hookgate").unwrap_or_default();
    let level = line.remove("log.level").unwrap_or_default();
    line.insert("level".to_owned(), level.as_str().unwrap_or_default().to_uppercase().into());
    for (theirs, plain) in [
        ("log.logger", "target"),
        ("error.message", "error"),
        ("client.ip", "address"),
        ("http.response.status_code", "status"),
    ] {
        let value = line.remove(theirs);
        line.extend(value.map(|value| (plain.to_owned(), value)));
    }
    line.extend(ours.as_object().cloned().unwrap_or_default());
    Value::Object(line)
}

/// The secret of a source, unless its lines named another.
pub fn secret(source: &str) -> String {
    format!("whsec_{source}_0123456789abcdef")
}

/// A gateway: running or not, always with its folder.
pub struct Gateway {
    setup: Setup,
    dir: TempDir,
    ingress: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    /// Where deliveries go.
    pub fn ingress(&self) -> SocketAddr {
        self.ingress
    }

    /// Where operators and workers call.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A file or folder beside the journal.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    /// What the gateway is started with from the next start on.
    pub fn change(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(std::mem::take(&mut self.setup));
        self.write_config();
    }

    fn write_config(&self) {
        let mut sections = self.setup.clone();
        let listeners = [("ingress", self.ingress), ("admin", self.admin)];
        for (section, address) in listeners {
            let named = sections.sections.get(section).is_some_and(|text| text.contains("listen ="));
            if !named {
                sections = sections.set(section, &format!("listen = \"{address}\""));
            }
        }
        if !sections.sections.get("journal").is_some_and(|text| text.contains("dir =")) {
            sections = sections.set("journal", &format!("dir = {:?}", self.journal()));
        }
        let text: String =
            sections.sections.iter().map(|(name, lines)| format!("[{name}]\n{lines}\n")).collect();
        fs::write(self.path("hookgate.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.setup.wrapper.iter().map(String::as_str).chain([binary()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments).arg("--config").arg(self.path("hookgate.toml"));
        command.current_dir(self.dir.path()).env_clear().envs(&self.setup.env).stdin(Stdio::null());
        if !self.setup.wrapper.is_empty() {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        }
        command
    }

    /// The variables that it is started with.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.setup.env
    }

    /// Starts a subcommand on this configuration; whoever called waits for its end.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a subcommand on this configuration until it ends, at most [`START`] long.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut child = self.spawn(arguments);
        let end = Instant::now() + START;
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        let late = child.try_wait().unwrap().is_none();
        if late {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(!late, "{arguments:?} did not end: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Starts it and waits until it takes requests.
    pub fn start(&mut self) {
        self.launch();
        let end = Instant::now() + START;
        while Client::call(self.admin, "GET", "/livez", &[], b"").is_none() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended at its start, {ended:?}:\n{}", self.stderr());
            assert!(Instant::now() < end, "the gateway does not answer:\n{}", self.stderr());
            sleep(Duration::from_millis(5));
        }
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = |name| OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        let mut command = self.command(&["serve"]);
        self.child = Some(command.stdout(log("stdout")).stderr(log("stderr")).spawn().unwrap());
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it did so by itself; then it can be started again.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Waits until it has ended by itself: exit code (none after a signal) and how long that took.
    pub fn ended(&mut self) -> (Option<i32>, Duration) {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > STOP {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the gateway did not end within {STOP:?}:\n{}", self.stderr());
            }
            sleep(Duration::from_millis(2));
        }
        (child.wait().unwrap().code(), begun.elapsed())
    }

    /// Whether it has ended; [`Gateway::ended`] tells how.
    pub fn is_dead(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// SIGTERM: exit code and how long it took.
    pub fn terminate(&mut self) -> (Option<i32>, Duration) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// SIGKILL, and nothing left of it when this returns.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts again with the same folder and ports, after an orderly stop if it runs.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            let (code, _) = self.terminate();
            assert_eq!(code, Some(0), "{}", self.stderr());
        }
        self.start();
    }

    /// Everything it has said on stderr, of all its starts.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Its log lines so far: fields of ours beside `message`, `level`, `target`, `error`, `address` and `status`.
    pub fn log(&self) -> Vec<Value> {
        let line = |line: &str| Some(flat(serde_json::from_str(line).ok()?));
        self.stderr().lines().filter_map(line).collect()
    }

    /// A POST to the ingress on a connection of its own.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        Client::call(self.ingress, "POST", path, headers, body).expect("an answer")
    }

    /// A signed request, on a connection of its own.
    pub fn deliver(&self, signed: &Signed) -> Answer {
        Client::new(self.ingress).deliver(signed)
    }

    /// A GET of the admin listener.
    pub fn get(&self, path: &str) -> Answer {
        self.admin_call("GET", path, &[], b"")
    }

    /// A call of the admin listener, with the token if there is one.
    pub fn admin_call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = self.setup.admin_token.as_ref().map(|token| format!("Bearer {token}"));
        let own = bearer.as_ref().map(|bearer| ("authorization", bearer.as_str()));
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let all: Vec<_> = headers.iter().copied().chain(own.filter(|_| !named)).collect();
        Client::call(self.admin, method, path, &all, body).expect("an answer of the admin listener")
    }

    /// Readiness: status and text.
    pub fn ready(&self) -> (u16, String) {
        let answer = self.get("/readyz");
        (answer.status, answer.text())
    }

    /// The text of a scrape.
    pub fn metrics(&self) -> String {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The sum of a metric's samples that have all these labels; 0 where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(&self.metrics(), name, labels)
    }

    /// Up to `max` events of a source, leased as long as the configuration says.
    pub fn claim(&self, source: &str, max: usize) -> Vec<Handed> {
        self.claim_by(source, &format!("max={max}"))
    }

    /// A claim with a query of one's own.
    pub fn claim_by(&self, source: &str, query: &str) -> Vec<Handed> {
        let answer = self.admin_call("POST", &format!("/v1/inbox/{source}/claim?{query}"), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let Value::Array(events) = answer.json()["events"].take() else { panic!("no list of events") };
        events.into_iter().map(Handed::of).collect()
    }

    /// Claims again and again until there is an event; panics after `limit`.
    pub fn claim_within(&self, source: &str, limit: Duration) -> Vec<Handed> {
        let mut handed = Vec::new();
        until("an event is handed out", limit, || {
            handed = self.claim(source, 1000);
            !handed.is_empty()
        });
        handed
    }

    /// Acknowledges events.
    pub fn ack(&self, source: &str, events: &[Handed]) -> Answer {
        self.answer_for(source, "ack", events, json!({}))
    }

    /// Gives events back; `delay` such as `"0s"`.
    pub fn nack(&self, source: &str, events: &[Handed], delay: &str) -> Answer {
        self.answer_for(source, "nack", events, json!({ "delay": delay }))
    }

    fn answer_for(&self, source: &str, verb: &str, events: &[Handed], mut body: Value) -> Answer {
        body["tokens"] = events.iter().map(|event| event.token.as_str()).collect();
        let path = format!("/v1/inbox/{source}/{verb}");
        self.admin_call("POST", &path, &[], body.to_string().as_bytes())
    }

    /// Takes and acknowledges `count` events of a source, waiting for those that are on their way, and whatever
    /// comes beyond them; panics where there are fewer after ten seconds.
    pub fn drain(&self, source: &str, count: usize) -> Vec<Handed> {
        let mut all = Vec::new();
        until(&format!("{count} events of {source}"), Duration::from_secs(10), || {
            let some = self.claim(source, 500);
            let answer = (!some.is_empty()).then(|| self.ack(source, &some));
            assert!(answer.is_none_or(|answer| answer.status == 200));
            let more = !some.is_empty();
            all.extend(some);
            all.len() >= count && !more
        });
        all
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- what the gateway said\n{}", tail(&self.path("stderr")));
        }
    }
}

/// The end of a file, as much as one wants to read.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The sum of a metric's samples in a scrape that have all these labels.
pub fn sum(scrape: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}');
        let all = wanted.iter().all(|wanted| labels.split(',').any(|label| label == wanted));
        (found == name && all).then(|| value.parse::<f64>().unwrap())
    };
    scrape.lines().filter(|line| !line.starts_with('#')).filter_map(sample).sum()
}

/// Runs the binary with these arguments alone, in the root of the sources: output and exit code.
pub fn hookgate(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().stdin(Stdio::null());
    command.output().unwrap()
}
