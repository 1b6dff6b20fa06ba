//! The subcommands that speak to a gateway, as an operator runs them: the built binary, real sockets, real files.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::binary;
use crate::services::free_port;

const SECRET: &str = "whsec_3f9a6c1e5b7d2048";
const TOKEN: &str = "worker-token-0123456789";

/// The binary, without anything of this process's environment that could configure it.
fn hookgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A served gateway with one Stripe and one GitHub source; ends with its value.
struct Served {
    child: Child,
    dir: tempfile::TempDir,
    ingress: u16,
    admin: u16,
}

impl Served {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ingress, admin) = (free_port(), free_port());
        let config = format!(
            "[ingress]\nlisten = \"0.0.0.0:{ingress}\"\nbody_bytes_max = \"256KiB\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\ntoken = {{ env = \"TOKEN\" }}\n\
             [journal]\ndir = {:?}\nsegment_bytes = \"32MiB\"\n\
             [sources.shop]\nprovider = \"stripe\"\npath = \"/hooks/shop\"\nsecrets = [{{ env = \"SHOP\" }}]\n\
             [sources.code]\nprovider = \"github\"\nsecrets = [{{ env = \"SHOP\" }}]\n",
            dir.path().join("journal")
        );
        fs::write(dir.path().join("hookgate.toml"), config).unwrap();
        let mut served = hookgate(&["serve"]);
        served.current_dir(dir.path()).env("SHOP", SECRET).env("TOKEN", TOKEN).stderr(Stdio::null());
        let served = Self { child: served.spawn().unwrap(), dir, ingress, admin };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", admin)).is_err() {
            assert!(Instant::now() < deadline, "the gateway did not start");
            sleep(Duration::from_millis(20));
        }
        served
    }

    /// Runs a subcommand in the gateway's folder, with the environment that its configuration needs.
    fn run(&self, arguments: &[&str]) -> Output {
        hookgate(arguments)
            .current_dir(self.dir.path())
            .env("SHOP", SECRET)
            .env("TOKEN", TOKEN)
            .output()
            .unwrap()
    }

    /// What is in a source's inbox, taken and acknowledged.
    fn take(&self, source: &str) -> Vec<Value> {
        let taken = self.run(&["consume", source, "--output", "json"]);
        assert_eq!(taken.status.code(), Some(0), "{}", text(&taken.stderr));
        text(&taken.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `status outcome` of each line that `send` printed.
fn answers(output: &Output) -> Vec<String> {
    let short = |line: &str| {
        let mut words = line.split_whitespace();
        let status = words.next().unwrap_or_default();
        format!("{status} {}", words.nth(3).unwrap_or_default())
    };
    text(&output.stdout).lines().map(short).collect()
}

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let demo =
        hookgate(&["demo", "--exit"]).current_dir(dir.path()).env("TMPDIR", dir.path()).output().unwrap();
    let took = started.elapsed();
    let (out, err) = (text(&demo.stdout), text(&demo.stderr));
    assert_eq!(demo.status.code(), Some(0), "{out}{err}");
    for title in ["Stripe", "GitHub", "Shopify"] {
        let lines: Vec<&str> = out.lines().filter(|line| line.starts_with(title)).collect();
        assert_eq!(lines.len(), 6, "{out}");
        let expected = ["accepted", "duplicate recognised", "signature_mismatch", "signature_mismatch"];
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(" ok ") && line.contains(expected), "{line}");
        }
        let stale = if title == "Stripe" { "refused: stale" } else { "the scheme has no time" };
        assert!(lines[4].ends_with(stale), "{}", lines[4]);
        assert!(lines[5].contains(" yes  ok  "), "{}", lines[5]);
    }
    assert!(!out.contains('\u{1b}'), "colours without a terminal");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the demo's folder is gone");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_demo_that_stays_can_be_used_and_ends_with_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hookgate(&["demo"]);
    command.current_dir(dir.path()).env("TMPDIR", dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = command.spawn().unwrap();
    let running = || -> Option<PathBuf> {
        let folder = fs::read_dir(dir.path()).ok()?.next()?.ok()?.path();
        Some(folder.join("running.toml")).filter(|file| file.exists())
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while running().is_none() {
        assert!(Instant::now() < deadline, "the demo did not get so far");
        sleep(Duration::from_millis(20));
    }
    let config = running().unwrap();
    let config = config.to_str().unwrap();
    let sent = hookgate(&["send", "shopify", "--config", config]).output().unwrap();
    assert_eq!(answers(&sent), ["200 accepted"], "{}", text(&sent.stderr));
    let taken = hookgate(&["consume", "shopify", "--config", config]).output().unwrap();
    assert!(text(&taken.stdout).contains(" orders/create ("), "{}", text(&taken.stderr));
    let pid = demo.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the demo's folder is gone");
}

#[test]
fn what_is_sent_is_what_is_consumed() {
    let served = Served::start();
    let sent = served.run(&["send", "stripe", "invoice.paid", "--times", "3", "--id", "evt_cli_1"]);
    assert_eq!(answers(&sent), ["200 accepted", "200 duplicate", "200 duplicate"], "{}", text(&sent.stderr));
    assert!(text(&sent.stderr).contains(&format!("http://127.0.0.1:{}/hooks/shop", served.ingress)));
    let data = served.dir.path().join("own.json");
    let body = "{\"id\" : \"evt_own\",\n \"type\":\"x.y\", \"note\":\"\\u001b[2J é\"}";
    fs::write(&data, body).unwrap();
    let sent = served.run(&["send", "shop", "--data", data.to_str().unwrap()]);
    assert_eq!(answers(&sent), ["200 accepted"]);
    let head = format!("x.y, id evt_own, {} bytes, to ", body.len());
    assert!(text(&sent.stderr).contains(&head), "what is sent, and no sample's: {}", text(&sent.stderr));
    let events = served.take("shop");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["headers"]["hookgate-event-id"], "evt_cli_1");
    assert_eq!(events[1]["body"], body);
    assert!(events.iter().all(|event| event.get("token").is_none()));
    assert!(served.take("shop").is_empty(), "what was printed was acknowledged");
    let told = text(&sent.stdout) + &text(&sent.stderr);
    assert!(!told.contains(SECRET), "{told}");
}

#[test]
fn broken_deliveries_are_refused_and_kept_nowhere() {
    let served = Served::start();
    for broken in ["body", "signature", "time"] {
        let sent = served.run(&["send", "shop", "--break", broken]);
        assert_eq!(
            (answers(&sent), sent.status.code()),
            (vec!["401 refused:".to_owned()], Some(1)),
            "{broken}"
        );
        assert!(text(&sent.stderr).contains("as a broken delivery must be"));
    }
    let sent = served.run(&["send", "code", "--break", "time"]);
    assert_eq!(sent.status.code(), Some(2));
    let forged = ["send", "code", "--secret", "not-the-secret-of-it"];
    assert_eq!(answers(&served.run(&forged)), ["401 refused:"]);
    assert!(served.take("shop").is_empty() && served.take("code").is_empty());
}

#[test]
fn two_samples_are_two_events_and_no_twins() {
    let served = Served::start();
    for _ in 0..2 {
        assert_eq!(answers(&served.run(&["send", "github", "issues"])), ["200 accepted"]);
    }
    let events = served.take("code");
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["headers"].get("hookgate-twin-of").is_none()));
}

#[test]
fn an_answer_before_the_whole_body_is_read_is_told() {
    let served = Served::start();
    let data = served.dir.path().join("long.json");
    fs::write(&data, vec![b' '; 4 << 20]).unwrap();
    let sent = served.run(&["send", "shop", "--data", data.to_str().unwrap()]);
    assert_eq!(answers(&sent), ["413 refused:"], "{}", text(&sent.stderr));
}

#[test]
fn a_worker_needs_the_token_and_can_follow() {
    let served = Served::start();
    let from = format!("http://127.0.0.1:{}", served.admin);
    let elsewhere = tempfile::tempdir().unwrap();
    let worker = |more: &[&str]| {
        let mut command = hookgate(&[&["consume", "shop", "--from", &from], more].concat());
        command.current_dir(elsewhere.path()).env("WORKER", TOKEN);
        command
    };
    let refused = worker(&[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("refused with 401"), "{}", text(&refused.stderr));
    let mut command = worker(&["--token-env", "WORKER", "--follow", "--count", "3"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        assert_eq!(answers(&served.run(&["send", "shop"])), ["200 accepted"]);
    }
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    let mut printed = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(
        printed.lines().filter(|line| line.contains("payment_intent.succeeded (")).count(),
        3,
        "{printed}"
    );
}

#[test]
fn without_a_configuration_secret_and_target_come_from_the_command_line() {
    let served = Served::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let send = |arguments: &[&str]| {
        hookgate(arguments).current_dir(elsewhere.path()).env("KEY", SECRET).output().unwrap()
    };
    let to = format!("http://127.0.0.1:{}/hooks/shop", served.ingress);
    let sent = send(&["send", "stripe", "--secret-env", "KEY", "--to", &to]);
    assert_eq!(answers(&sent), ["200 accepted"], "{}", text(&sent.stderr));
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let sent = send(&["send", "stripe", "--secret-env", "KEY", "--to", &nowhere]);
    assert_eq!(sent.status.code(), Some(69), "{}", text(&sent.stderr));
    assert!(text(&sent.stderr).contains(&format!("{nowhere}/in/stripe")));
    assert_eq!(send(&["send", "stripe", "--secret-env", "UNSET", "--to", &to]).status.code(), Some(2));
    assert_eq!(send(&["send", "strip", "--secret-env", "KEY", "--to", &to]).status.code(), Some(2));
    let told = send(&["send", "stripe"]);
    assert_eq!(told.status.code(), Some(78));
    assert!(text(&told.stderr).contains("--secret-env NAME"), "{}", text(&told.stderr));
    let told = hookgate(&["consume", "shop", "--from", &nowhere]).output().unwrap();
    assert_eq!(told.status.code(), Some(69));
}
