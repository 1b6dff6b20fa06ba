//! `hookgate consume` as processes: three at the inbox of which one is killed, commands that fail, hang or are
//! interrupted, and queues of a real broker.
//!
//! `HOOKGATE_IT_EVENTS` makes the run with a killed worker longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::chaos::{Mode, Proxy};
use crate::gateway::*;
use crate::load::{number, with_rabbitmq};
use crate::services::RabbitMq;
use crate::waiting::{fill, pending, setup};

/// Nothing in these tests takes longer.
const SOON: Duration = Duration::from_secs(20);

/// `hookgate consume` as a process; killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(gateway: &Gateway, dir: &Path, arguments: &[&str]) -> Self {
        let from = format!("http://{}", gateway.admin());
        Self::start_at(dir, &[&["consume", "plain", "--from", &from], arguments].concat(), &[])
    }

    fn start_at(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(env.iter().copied()).env("HOOKGATE_EVENT_ID", "of an outer event");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    fn ended(mut self) -> Output {
        let end = Instant::now() + SOON;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "a worker did not end");
            sleep(Duration::from_millis(10));
        }
        let child = std::mem::replace(&mut self.0, Command::new("true").spawn().unwrap());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Words of each line of a file that commands append to.
fn journal(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// Work that takes a moment: notes its begin, and its end once it is done.
const WORK: &str = "echo \"$HOOKGATE_MESSAGE_ID $HOOKGATE_ATTEMPT ${HOOKGATE_POSSIBLE_DUPLICATE:-no} $1\" >> begun; \
                    sleep 0.05; cat > body.$HOOKGATE_MESSAGE_ID.$1; echo \"$HOOKGATE_MESSAGE_ID\" >> done";

#[test]
fn of_three_workers_one_is_killed_and_every_event_is_done_and_acknowledged() {
    let events = number("HOOKGATE_IT_EVENTS", 60).min(2000);
    let gateway = setup().start();
    fill(&gateway, "plain", 0..events);
    let dir = tempfile::tempdir().unwrap();
    let worker = |name: &str| {
        let arguments =
            ["--follow", "--lease", "2s", "--parallel", "3", "--exec", "sh", "--", "-c", WORK, "-", name];
        Worker::start(&gateway, dir.path(), &arguments)
    };
    let (doomed, first, second) = (worker("doomed"), worker("first"), worker("second"));
    let begun = dir.path().join("begun");
    until("the doomed one works", SOON, || {
        journal(&begun).iter().filter(|line| line[3] == "doomed").count() >= 3
    });
    doomed.signal(Signal::KILL);
    assert_eq!(doomed.ended().status.code(), None);
    until("everything is acknowledged", SOON * 3, || pending(&gateway, "plain") == 0.0);
    for worker in [first, second] {
        worker.signal(Signal::TERM);
        let output = worker.ended();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let done: BTreeSet<String> = journal(&dir.path().join("done")).into_iter().flatten().collect();
    assert_eq!(done.len(), events as usize, "every event's work was done");
    let mut tries: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in journal(&begun) {
        tries.entry(line[0].clone()).or_default().push((line[1].clone(), line[2].clone()));
    }
    let again: Vec<_> = tries.values().filter(|tries| tries.len() > 1).collect();
    assert!((1..=3).contains(&again.len()), "what the killed one held came again: {again:?}");
    for tries in tries.values() {
        assert_eq!(tries[0], ("1".to_owned(), "no".to_owned()));
        tries[1..].iter().for_each(|one| assert_eq!(*one, ("2".to_owned(), "true".to_owned())));
    }
    assert!(gateway.claim("plain", 10).is_empty());
}

#[test]
fn a_command_gets_the_event_and_its_exit_code_is_the_answer() {
    let gateway = setup().admin_token("worker-0123456789abcdef").source("shop", "stripe", "").start();
    let body = stripe_event("evt_7");
    assert_eq!(gateway.deliver(&stripe("shop", &body)).status, 200);
    let dir = tempfile::tempdir().unwrap();
    let script = "cat > body; env > env.$HOOKGATE_ATTEMPT; echo talk; [ $HOOKGATE_ATTEMPT = 2 ] || exit 7";
    let from = format!("http://{}", gateway.admin());
    let words = ["consume", "shop", "--from", &from, "--token-env", "TOKEN", "--output", "json", "--follow"];
    let words = [&words[..], &["--count", "2", "--retry-delay", "300ms", "--exec", "sh", "--", "-c", script]]
        .concat();
    let output = Worker::start_at(dir.path(), &words, &[("TOKEN", "worker-0123456789abcdef")]).ended();
    assert_eq!(output.status.code(), Some(1), "one of the commands failed: {}", text(&output.stderr));
    let told = lines(&output.stdout);
    let short: Vec<_> = told
        .iter()
        .map(|line| (line["outcome"].as_str().unwrap(), line["exit_code"].as_i64(), line["attempt"].as_u64()))
        .collect();
    assert_eq!(short, [("given_back", Some(7), Some(1)), ("done", Some(0), Some(2))]);
    assert_eq!(
        text(&output.stderr).lines().filter(|line| *line == "talk").count(),
        2,
        "stdout is data alone"
    );
    assert_eq!(fs::read(dir.path().join("body")).unwrap(), body);
    let env = fs::read_to_string(dir.path().join("env.1")).unwrap();
    let digest = crate::load::digest(&body);
    for line in [
        "SOURCE=shop",
        "PROVIDER=stripe",
        "EVENT_ID=evt_7",
        "EVENT_TYPE=charge.captured",
        "ATTEMPT=1",
        "SECRET_LABEL=live",
        "ROUTING_KEY=shop.charge.captured",
        "CONTENT_TYPE=application/json",
        &format!("DIGEST={digest}"),
    ] {
        assert!(env.lines().any(|known| known == format!("HOOKGATE_{line}")), "{line}: {env}");
    }
    assert!(
        env.lines()
            .any(|line| line == format!("HOOKGATE_MESSAGE_ID={}", told[0]["message_id"].as_str().unwrap()))
    );
    assert!(!env.contains("worker-0123456789abcdef"), "the command has no business with the worker's token");
    assert!(!env.contains("DUPLICATE"), "the first try is none");
    assert_eq!(pending(&gateway, "shop"), 0.0);
}

#[test]
fn a_command_that_takes_too_long_ends_with_all_its_processes() {
    let gateway = setup().start();
    fill(&gateway, "plain", 0..1);
    let dir = tempfile::tempdir().unwrap();
    // It ignores the polite signal and has a child that would write later.
    let script = "trap '' TERM; (sleep 4; echo late > late) & echo $! > child; sleep 60";
    let arguments =
        ["--timeout", "500ms", "--count", "1", "--output", "json", "--exec", "sh", "--", "-c", script];
    let begun = Instant::now();
    let output = Worker::start(&gateway, dir.path(), &arguments).ended();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output.stdout);
    assert_eq!(
        (told[0]["exit_code"].as_i64(), told[0]["ended"].as_str().unwrap()),
        (None, "ended after 0.5 s (--timeout)")
    );
    let child: i32 = fs::read_to_string(dir.path().join("child")).unwrap().trim().parse().unwrap();
    until("its child is gone", SOON, || {
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
    assert!(!dir.path().join("late").exists());
    assert_eq!(gateway.claim_within("plain", SOON)[0].attempt, 2, "given back");
}

#[test]
fn a_lease_is_kept_while_its_command_runs() {
    let gateway = setup().start();
    fill(&gateway, "plain", 0..1);
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--lease", "1s", "--count", "1", "--exec", "sh", "--", "-c", "sleep 3; echo x >> done"];
    let worker = Worker::start(&gateway, dir.path(), &arguments);
    sleep(Duration::from_millis(500));
    assert!(gateway.claim_by("plain", "wait=2s").is_empty(), "nobody else gets it meanwhile");
    let output = worker.ended();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!((journal(&dir.path().join("done")).len(), pending(&gateway, "plain")), (1, 0.0));
}

#[test]
fn a_signal_lets_what_runs_finish_and_a_second_one_ends_it() {
    let gateway = setup().start();
    let dir = tempfile::tempdir().unwrap();
    let script = "echo x >> begun; sleep ${SLEEP:-1}; echo x >> done";
    let arguments = ["--follow", "--exec", "sh", "--", "-c", script];
    let begins = |count: usize| {
        until("a command runs", SOON, || journal(&dir.path().join("begun")).len() == count);
    };
    let idle = Worker::start(&gateway, dir.path(), &arguments);
    sleep(Duration::from_millis(500));
    idle.signal(Signal::INT);
    assert_eq!(idle.ended().status.code(), Some(0), "one that waits ends at once");
    fill(&gateway, "plain", 0..2);
    let worker = Worker::start(&gateway, dir.path(), &arguments);
    begins(1);
    worker.signal(Signal::INT);
    assert_eq!(worker.ended().status.code(), Some(0));
    assert_eq!((journal(&dir.path().join("done")).len(), pending(&gateway, "plain")), (1, 1.0));
    let from = format!("http://{}", gateway.admin());
    let words = [&["consume", "plain", "--from", &from], &arguments[..]].concat();
    let worker = Worker::start_at(dir.path(), &words, &[("SLEEP", "60")]);
    begins(2);
    worker.signal(Signal::INT);
    sleep(Duration::from_millis(200));
    worker.signal(Signal::INT);
    let output = worker.ended();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(journal(&dir.path().join("done")).len(), 1);
    assert_eq!(gateway.claim("plain", 1)[0].attempt, 2, "given back at once");
}

#[test]
fn a_worker_outlives_its_gateway() {
    let mut gateway = setup().start();
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(&gateway, dir.path(), &["--follow", "--count", "2", "--output", "json"]);
    fill(&gateway, "plain", 0..1);
    until("the first is done", SOON, || pending(&gateway, "plain") == 0.0);
    gateway.kill();
    sleep(Duration::from_millis(500));
    gateway.start();
    fill(&gateway, "plain", 1..2);
    let output = worker.ended();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let got: Vec<_> =
        lines(&output.stdout).iter().map(|event| event["body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(got, ["event 0", "event 1"]);
    let nobody =
        Worker::start_at(dir.path(), &["consume", "plain", "--from", "http://127.0.0.1:1", "--follow"], &[]);
    assert_eq!(nobody.ended().status.code(), Some(69), "nobody was ever there");
}

#[test]
fn from_rabbitmq_failed_work_is_tried_again_once_and_then_dead() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("plain", "generic", "").start();
    fill(&gateway, "plain", 0..6);
    until("all is in the broker", SOON, || pending(&gateway, "plain") == 0.0);
    let proxy = Proxy::start(broker.address());
    let dir = tempfile::tempdir().unwrap();
    let script =
        "body=$(cat); echo \"$HOOKGATE_ATTEMPT $HOOKGATE_SOURCE $body\" >> begun; [ \"$body\" != 'event 3' ]";
    let url = broker.url_by(proxy.address(), &vhost);
    let words =
        ["consume", "plain", "--from", "rabbitmq", "--url-env", "AMQP", "--output", "json", "--follow"];
    let exec = ["--count", "9", "--parallel", "2", "--exec", "sh", "--", "-c", script];
    let worker = Worker::start_at(dir.path(), &[&words[..], &exec].concat(), &[("AMQP", &url)]);
    let begun = || journal(&dir.path().join("begun"));
    until("six events, one of them twice", SOON, || begun().len() == 7);
    sleep(Duration::from_millis(300));
    proxy.set(Mode::Cut);
    sleep(Duration::from_millis(300));
    proxy.restore();
    fill(&gateway, "plain", 6..8);
    let output = worker.ended();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("trying again"), "{}", text(&output.stderr));
    let tried = |event: &str| {
        begun()
            .into_iter()
            .filter(|line| line[2..].join(" ") == event)
            .map(|line| line[0].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(tried("event 3"), ["1", "2"]);
    (0..8).filter(|event| *event != 3).for_each(|event| assert_eq!(tried(&format!("event {event}")), ["1"]));
    let details: Vec<String> = lines(&output.stdout)
        .iter()
        .filter(|line| line["outcome"] == "given_back")
        .map(|line| line["detail"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(details, ["given back to its queue", "rejected, to the dead letters"]);
    let take = |queue: &str, form: &str| {
        let words = ["consume", queue, "--from", "rabbitmq", "--url-env", "AMQP", "--output", form];
        let output = Worker::start_at(dir.path(), &words, &[("AMQP", &broker.url(&vhost))]).ended();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output.stdout
    };
    assert!(take("plain", "json").is_empty(), "nothing is left");
    let dead = lines(&take("dead", "json"));
    assert_eq!(
        (dead.len(), dead[0]["body"].as_str(), dead[0]["headers"]["hookgate-source"].as_str()),
        (1, Some("event 3"), Some("plain"))
    );
    assert!(take("dead", "text").is_empty(), "what was printed is acknowledged");
}

#[test]
fn a_queue_that_is_not_there_is_told() {
    let broker = RabbitMq::shared();
    let (vhost, dir) = (broker.vhost(), tempfile::tempdir().unwrap());
    let words = ["consume", "plain", "--from", "rabbitmq", "--url-env", "AMQP"];
    let output = Worker::start_at(dir.path(), &words, &[("AMQP", &broker.url(&vhost))]).ended();
    assert_eq!(output.status.code(), Some(69));
    assert!(
        text(&output.stderr).contains("is the queue «webhooks.plain» declared?"),
        "{}",
        text(&output.stderr)
    );
    let output = Worker::start_at(dir.path(), &words, &[("AMQP", "http://nowhere")]).ended();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
