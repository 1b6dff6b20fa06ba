//! Secrets: where they come from, how one takes over from another, and that none is ever shown.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;

use sha2::Digest as _;

use crate::gateway::*;
use crate::load::drained;
use crate::services::{Drained, RabbitMq, Redis};

/// The sum of verified deliveries under a label.
fn used(gateway: &Gateway, label: &str) -> f64 {
    gateway.metric("hookgate_secret_used_total", &[("source", "shop"), ("secret", label)])
}

#[test]
fn while_a_secret_is_rolled_both_verify_and_afterwards_one() {
    let (old, new) = ("whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef");
    let both = "secrets = [{ env = \"NEW\", label = \"new\" }, { env = \"OLD\", label = \"old\" }]";
    let setup = Setup::new().env("OLD", old).env("NEW", new);
    let mut gateway = setup.source("shop", "stripe", both).start();
    let by = |secret: &str, id: &str| stripe_at("shop", secret, now(), &stripe_event(id));
    assert_eq!(gateway.deliver(&by(old, "evt_1")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&by(new, "evt_2")).outcome(), "accepted");
    assert_eq!(
        gateway.deliver(&by(new, "evt_1")).outcome(),
        "duplicate",
        "one event, whoever signed its copy"
    );
    let two = by(old, "evt_3");
    let second = by("whsec_of_somebody_else", "evt_3").header("stripe-signature");
    let both_signed = format!("{second},v1={}", two.header("stripe-signature").split_once("v1=").unwrap().1);
    assert_eq!(gateway.deliver(&two.with("stripe-signature", &both_signed)).outcome(), "accepted");
    assert_eq!((used(&gateway, "old"), used(&gateway, "new")), (2.0, 2.0));
    let labels: Vec<_> =
        gateway.drain("shop", 3).iter().map(|event| event.header("hookgate-secret")).collect();
    assert_eq!(labels, ["old", "new", "old"]);

    gateway.change(|setup| setup.set("sources.shop", "secrets = [{ env = \"NEW\", label = \"new\" }]"));
    gateway.restart();
    assert_eq!(gateway.deliver(&by(old, "evt_4")).status, 401);
    assert_eq!(gateway.deliver(&by(new, "evt_4")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&by(new, "evt_1")).outcome(), "duplicate");
}

#[test]
fn a_secret_counts_only_within_its_time() {
    let times = |line: &str| format!("secrets = [{{ env = \"SECRET_SHOP\", label = \"live\", {line} }}]");
    let lines = times("not_before = \"2100-01-01T00:00:00Z\"");
    let mut gateway = Setup::new().source("shop", "stripe", &lines).start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).status, 401);
    gateway.change(|setup| setup.set("sources.shop", &times("not_before = \"2020-01-01T00:00:00Z\"")));
    gateway.restart();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
}

#[test]
fn secrets_come_from_files_too() {
    let lines = "secrets = [{ file = \"shop.secret\", label = \"live\" }]";
    let mut gateway = Setup::new()
        .source("shop", "stripe", lines)
        .source("plain", "generic", "secrets = [{ env = \"PLAIN\" }]")
        .prepare();
    fs::write(gateway.path("shop.secret"), format!("{}\n", secret("shop"))).unwrap();
    fs::write(gateway.path("plain.secret"), secret("plain")).unwrap();
    let file = gateway.path("plain.secret").display().to_string();
    gateway.change(|setup| setup.env("PLAIN_FILE", &file));
    gateway.start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    assert_eq!(gateway.deliver(&generic("plain", b"1")).outcome(), "accepted");
}

#[test]
fn tokens_and_passwords_are_proof_of_the_sender_only() {
    let gateway = Setup::new()
        .env("USER", "user:a password with spaces")
        .source("token", "generic", "scheme = \"token\"")
        .source("bearer", "generic", "scheme = \"bearer\"")
        .source("basic", "generic", "scheme = \"basic\"\nsecrets = [{ env = \"USER\" }]")
        .start();
    let sent = |source: &str, name: &str, value: &str| {
        let request = Signed { path: format!("/in/{source}"), ..generic(source, b"{}") };
        gateway.deliver(&request.without("x-signature").with(name, value)).status
    };
    assert_eq!(sent("token", "x-webhook-token", &secret("token")), 200);
    assert_eq!(sent("token", "x-webhook-token", &secret("token")[1..]), 401);
    assert_eq!(sent("bearer", "authorization", &format!("Bearer {}", secret("bearer"))), 200);
    assert_eq!(sent("bearer", "authorization", &format!("bearer {}", secret("bearer"))), 200);
    assert_eq!(sent("bearer", "authorization", &secret("bearer")), 401);
    let basic = |text: &str| format!("Basic {}", base64_of(text.as_bytes()));
    assert_eq!(sent("basic", "authorization", &basic("user:a password with spaces")), 200);
    assert_eq!(sent("basic", "authorization", &basic("user:a password with space")), 401);
    let event = gateway.drain("token", 1).remove(0);
    assert_eq!(event.header("hookgate-source-authenticated"), "true", "{}", event.headers);
}

/// A text that must be nowhere it does not belong.
fn canary(name: &str) -> String {
    format!("canary-{name}-0123456789abcdef")
}

/// Lines that hold a canary of those `names`, plain, in hexadecimal digits, in base64 or as a list of bytes.
fn shown_in(text: &[u8], names: &[&str]) -> Vec<String> {
    let forms = |name: &&str| {
        let plain = canary(name);
        let list = format!("{:?}", plain.as_bytes());
        [hex::encode(&plain), base64_of(plain.as_bytes())[..24].to_owned(), list, plain]
    };
    let forms: Vec<String> = names.iter().flat_map(forms).collect();
    let text = String::from_utf8_lossy(text);
    let found = |line: &&str| forms.iter().any(|form| line.contains(form));
    text.lines().filter(found).map(str::to_owned).collect()
}

const SECRETS: [&str; 8] = ["source", "token", "amqp", "redis", "admin", "worker", "guessed", "basic"];
const EVERYTHING: [&str; 10] =
    ["source", "token", "amqp", "redis", "admin", "worker", "guessed", "basic", "body", "query"];

fn guarded(amqp: &str, redis: &str) -> Setup {
    let secrets = "secrets = [{ env = \"CANARY\", label = \"live\" }]";
    Setup::new()
        .set("log", "level = \"trace\"")
        .env("CANARY", &canary("source"))
        .env("TOKEN", &canary("token"))
        .env("BASIC", &format!("user:{}", canary("basic")))
        .env("WORKER", &canary("worker"))
        .env("AMQP_URL", amqp)
        .env("REDIS_URL", redis)
        .set("sink", "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }")
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }")
        .set("ingress", "body_timeout = \"300ms\"\npublic_url = \"https://hooks.example.com\"")
        .admin_token(&canary("admin"))
        .set("admin", "worker_token = { env = \"WORKER\" }")
        .source("shop", "stripe", secrets)
        .source("git", "github", secrets)
        .source("sms", "twilio", secrets)
        .source("strict", "stripe", &format!("{secrets}\non_invalid = \"reject\""))
        .source("far", "generic", &format!("{secrets}\naddresses = [\"192.0.2.1\"]"))
        .source(
            "few",
            "generic",
            &format!("{secrets}\nlimit = {{ rate = \"1/h\", burst = 1 }}\non_limit = \"429\""),
        )
        .source("bearer", "generic", "scheme = \"bearer\"\nsecrets = [{ env = \"TOKEN\" }]")
        .source("basic", "generic", "scheme = \"basic\"\nsecrets = [{ env = \"BASIC\" }]")
        .source("token", "generic", "scheme = \"token\"\nsecrets = [{ env = \"TOKEN\", label = \"live\" }]")
}

/// A request of every kind that there is an answer to, with canaries in whatever it may hold.
fn requests() -> Vec<Signed> {
    let body = String::from_utf8(stripe_event("evt_1")).unwrap().replace("ch_1", &canary("body"));
    let (body, secret) = (body.as_bytes(), canary("source"));
    let good = stripe_at("shop", &secret, now(), body);
    let at = |source: &str| {
        Signed { path: format!("/in/{source}"), ..generic("shop", body) }.without("x-signature")
    };
    let basic = |password: &str| format!("Basic {}", base64_of(format!("user:{password}").as_bytes()));
    let signature = |secret: &str| hex::encode(mac(secret, &[body]));
    vec![
        good.clone(),
        good.clone(),
        Signed { path: format!("/in/shop?{}", canary("query")), ..stripe_at("shop", &secret, now(), b"{}") },
        Signed { path: format!("/in/none?key={}", canary("query")), ..good.clone() },
        stripe_at("shop", &secret, now() - 9_000, body),
        stripe_at("shop", &secret, now() + 9_000, body),
        stripe_at("shop", "wrong", now(), body),
        stripe_at("shop", &secret, now(), canary("body").as_bytes()),
        good.clone().with("stripe-signature", &secret),
        good.clone().with("stripe-signature", &format!("t={secret},v1={secret}")),
        good.clone().without("stripe-signature").with("authorization", &format!("Bearer {secret}")),
        good.clone().with("content-encoding", &secret),
        Signed {
            path: "/in/strict".to_owned(),
            ..stripe_at("strict", &secret, now(), canary("body").as_bytes())
        },
        github("git", "d-1", "ping", body).with("x-hub-signature-256", &secret),
        github("git", "d-1", "ping", body)
            .with("x-hub-signature-256", &format!("sha256={}", signature(&secret))),
        at("sms").with("x-twilio-signature", &secret),
        at("far").with("x-signature", &format!("sha256={}", signature(&secret))),
        at("few").with("x-signature", &secret),
        at("bearer").with("authorization", &format!("Bearer {}", canary("token"))),
        at("bearer").with("authorization", &format!("Bearer {}", canary("guessed"))),
        at("bearer").with("authorization", &canary("token")),
        at("basic").with("authorization", &basic(&canary("basic"))),
        at("basic").with("authorization", &basic(&canary("guessed"))),
        at("basic").with("authorization", &format!("Basic {}", canary("basic"))),
        at("token").with("x-webhook-token", &canary("token")).with("authorization", &canary("guessed")),
        at("token").with("x-webhook-token", &canary("guessed")),
    ]
}

/// Calls of the admin listener, allowed ones and others: what they show. `bodies` are shown to who asks for one.
fn admin_calls(gateway: &Gateway) -> (String, Vec<u8>) {
    let mut shown = String::new();
    let guessed = format!("Bearer {}", canary("guessed"));
    let worker = format!("Bearer {}", canary("worker"));
    for path in [
        "/metrics",
        "/readyz",
        "/livez",
        "/nothing",
        "/v1/events",
        "/v1/events?limit=5&state=pending",
        "/v1/events/1",
    ] {
        shown.push_str(&gateway.get(path).text());
        for bearer in [&guessed, &worker] {
            let headers = [("authorization", bearer.as_str())];
            shown.push_str(&gateway.admin_call("GET", path, &headers, b"").text());
        }
    }
    let all = br#"{"selection":{},"all":true,"dry_run":true}"#;
    for action in ["replay", "forget", "release", "requeue", "drop", "nothing"] {
        for body in [&all[..], b"{", canary("query").as_bytes()] {
            shown.push_str(&gateway.admin_call("POST", &format!("/v1/events/{action}"), &[], body).text());
        }
    }
    for path in ["/v1/sources/shop/arm", "/v1/reload", "/v1/inbox/shop/claim"] {
        shown.push_str(&gateway.admin_call("POST", path, &[], b"").text());
    }
    (shown, gateway.get("/v1/events/1/body").body)
}

/// Configurations that are wrong where a secret stands: what is said of them.
fn wrong_configurations(setup: &Setup) -> String {
    let secret = canary("source");
    let mut shown = String::new();
    for (section, lines) in [
        ("sources.shop", format!("secrets = [{secret:?}]")),
        ("sources.shop", format!("secrets = {secret:?}")),
        ("sources.shop", format!("secrets = [{{ value = {secret:?} }}]")),
        ("sources.shop", format!("secrets = [{{ env = \"CANARY\", text = {secret:?} }}]")),
        ("sources.shop", format!("secrets = [{{ env = \"CANARY\", kid = 7, label = [{secret:?}] }}]")),
        ("sources.shop", format!("secret = {secret:?}")),
        ("sources.shop", format!("secrets = [{secret:?}")),
        ("sources.git", "scheme = \"nothing\"".to_owned()),
        ("admin", format!("token = {secret:?}")),
        ("admin", format!("worker_token = [{secret:?}]")),
        ("sink", format!("url = {:?}", format!("amqp://u:{}@h", canary("amqp")))),
        ("dedup", format!("url = {{ url = {:?} }}", format!("redis://:{}@h", canary("redis")))),
        ("ingress", format!("public_url = {:?}", format!("https://u:{}@h.example", canary("guessed")))),
    ] {
        let output = setup.clone().set(section, &lines).run(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{section}: {lines}");
        shown.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    for (name, url) in [("AMQP_URL", canary("amqp")), ("REDIS_URL", format!("http://:{}@h", canary("redis")))]
    {
        let output = setup.clone().env(name, &url).run(&["check", "--connect"]);
        assert_eq!(output.status.code(), Some(78), "{name}");
        shown.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    shown
}

/// A reload of a configuration that is wrong beside a secret, and of the right one again.
fn reloads(gateway: &Gateway) -> String {
    let file = gateway.path("hookgate.toml");
    let right = fs::read_to_string(&file).unwrap();
    let wrong = right.replace("[sources.shop]", &format!("[sources.shop]\nsecret = {:?}", canary("source")));
    [&wrong, &right]
        .map(|text| {
            fs::write(&file, text).unwrap();
            gateway.admin_call("POST", "/v1/reload", &[], b"").text()
        })
        .concat()
}

/// Every byte of every file in a folder.
fn files(dir: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all.extend(if path.is_dir() { files(&path) } else { fs::read(&path).unwrap() });
        all.push(b'\n');
    }
    all
}

/// Every key and value of a Redis, as it would write them to disk.
fn dump(redis: &Redis) -> Vec<u8> {
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    assert!(!keys.is_empty(), "claims are there");
    let values = keys.iter().flat_map(|key| redis.ask::<Vec<u8>>(&["DUMP", key]));
    let values: Vec<u8> = values.collect();
    [keys.join("\n").into_bytes(), values].concat()
}

/// The setup with a user of its own in both services, whose passwords are canaries.
fn setup_with(broker: &RabbitMq, vhost: &str, redis: &Redis) -> Setup {
    let (user, amqp) = (format!("canary-of-{vhost}"), canary("amqp"));
    broker.rabbitmqctl(&[
        "eval",
        &format!(
            "rabbit_auth_backend_internal:add_user(<<\"{user}\">>, <<\"{amqp}\">>, <<\"test\">>), \
         rabbit_auth_backend_internal:set_permissions(\
         <<\"{user}\">>, <<\"{vhost}\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)."
        ),
    ]);
    let password = canary("redis");
    let _: String =
        redis.ask(&["ACL", "SETUSER", "canary", "on", &format!(">{password}"), "~*", "&*", "+@all"]);
    guarded(
        &format!("amqp://{user}:{amqp}@{}/{vhost}", broker.address()),
        &format!("redis://canary:{password}@{}/0", redis.address()),
    )
}

#[test]
fn no_secret_and_no_body_is_ever_shown() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let setup = setup_with(broker, &vhost, &redis);
    let mut shown = wrong_configurations(&setup);
    let mut gateway = setup.start();
    let mut statuses = std::collections::BTreeSet::new();
    for signed in requests() {
        let answer = gateway.deliver(&signed);
        statuses.insert(answer.status);
        shown.push_str(&format!("{:?}{}", answer.headers, answer.text()));
        let captured = gateway.path("captured");
        let headers: String =
            signed.pairs().iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let head = format!("POST {} HTTP/1.1\n{headers}\n", signed.path);
        fs::write(&captured, [head.as_bytes(), &signed.body].concat()).unwrap();
        let output = gateway.run(&["explain", captured.to_str().unwrap()]);
        shown.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
        fs::remove_file(&captured).unwrap();
    }
    let mut slow = Client::new(gateway.ingress());
    slow.send(
        format!("POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-length: 99\r\n\r\n{}", canary("body"))
            .as_bytes(),
    );
    statuses.insert(slow.answer().unwrap().status);
    let wanted = [200, 401, 403, 404, 408, 415, 422];
    assert!(wanted.iter().all(|status| statuses.contains(status)), "{statuses:?}");
    until("events are confirmed", std::time::Duration::from_secs(30), || {
        gateway.metric("hookgate_events_confirmed_total", &[]) >= 5.0
    });
    let (calls, body) = admin_calls(&gateway);
    assert!(shown_in(&body, &SECRETS).is_empty() && !shown_in(&body, &["body"]).is_empty(), "{body:?}");
    shown.push_str(&calls);
    shown.push_str(&reloads(&gateway));
    for arguments in [["check"].as_slice(), &["check", "--connect"], &["secret", "fingerprint"]] {
        let output = gateway.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        shown.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    let kept = dump(&redis);
    assert_eq!(gateway.terminate().0, Some(0));
    shown.push_str(&gateway.stderr());
    shown.push_str(&fs::read_to_string(gateway.path("stdout")).unwrap());
    for word in ["accepted", "signature_mismatch", "address_not_allowed", "hookgate_secret_used_total"] {
        assert!(shown.contains(word), "{word} is not shown");
    }
    assert_eq!(shown_in(shown.as_bytes(), &EVERYTHING), [""; 0]);
    assert_eq!(shown_in(&kept, &EVERYTHING), [""; 0], "in Redis");
    assert_eq!(shown_in(&files(&gateway.journal()), &SECRETS), [""; 0], "in the journal's folder");
    for queue in ["shop", "git", "bearer", "basic", "token", "invalid"] {
        for message in drained(broker, &vhost, queue) {
            let told = format!("{:?}", Drained { body: Vec::new(), ..message });
            assert_eq!(shown_in(told.as_bytes(), &EVERYTHING), [""; 0], "in a message of {queue}");
        }
    }
}

#[test]
fn the_memory_of_the_gateway_is_nobody_elses() {
    let setup = Setup::new().wrapper(&["prlimit", "--core=unlimited"]).source("shop", "stripe", "");
    let mut gateway = setup.start();
    let pid = gateway.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // Root may read everything, so root lets go of that right first.
    let own = ["cat"].as_slice();
    let root = &["setpriv", "--inh-caps=-all", "--bounding-set=-all", "cat"];
    let words = if rustix::process::geteuid().is_root() { root } else { own };
    for file in ["environ", "maps", "mem"] {
        let path = format!("/proc/{pid}/{file}");
        let output = std::process::Command::new(words[0]).args(&words[1..]).arg(&path).output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout.is_empty() && why.contains("Permission denied"), "{path}: {why}");
    }
    assert!(gateway.metric("process_open_fds", &[]) > 5.0, "it still sees itself");
    gateway.signal(rustix::process::Signal::ABORT);
    let mut status = None;
    until("it has ended", std::time::Duration::from_secs(10), || {
        status = gateway.has_ended();
        status.is_some()
    });
    let status = status.unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    let found: Vec<_> =
        fs::read_dir(gateway.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(found.iter().all(|name| !name.to_string_lossy().contains("core")), "{found:?}");
}

#[test]
fn a_fingerprint_tells_which_secret_it_is_and_not_what() {
    let digits = |text: &str| hex::encode(&sha2::Sha256::digest(text)[..4]);
    let lines = "secrets = [{ file = \"new.secret\", label = \"new\" }, \
                 { env = \"OLD\", label = \"old\", not_after = \"2027-01-01T00:00:00Z\" }]";
    let gateway = Setup::new()
        .env("OLD", "whsec_old_0123456789abcdef")
        .source("shop", "stripe", lines)
        .source("other", "stripe", "")
        .prepare();
    fs::write(gateway.path("new.secret"), "whsec_new_0123456789abcdef\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = gateway.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (new, old) = (digits("whsec_new_0123456789abcdef"), digits("whsec_old_0123456789abcdef"));
    let told = format!("{new}  shop  new\n{old}  shop  old  not after 2027-01-01T00:00:00.000Z\n");
    assert_eq!(run(&["secret", "fingerprint", "shop"]), (Some(0), told.clone()));
    let other = format!("{}  other  live\n{told}", digits(&secret("other")));
    assert_eq!(run(&["secret", "fingerprint"]), (Some(0), other));
    assert_eq!(run(&["secret", "fingerprint", "nobody"]).0, Some(2));
    let (_, json) = run(&["--output", "json", "secret", "fingerprint", "shop"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["secrets"][1]["fingerprint"], old.as_str(), "{json}");
    let of_stdin = |text: &str| {
        let mut command = std::process::Command::new(binary());
        let command = command.args(["secret", "fingerprint", "--stdin"]).stdin(std::process::Stdio::piped());
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for text in
        ["whsec_new_0123456789abcdef", "whsec_new_0123456789abcdef\n", "whsec_new_0123456789abcdef\r\n"]
    {
        assert_eq!(of_stdin(text), (Some(0), format!("{new}\n")), "{text:?}");
    }
    assert_eq!(of_stdin("\n").0, Some(65));
}

#[test]
fn every_secret_is_counted_from_the_start() {
    let both = "secrets = [{ env = \"SECRET_SHOP\", label = \"new\" }, { env = \"OLD\", label = \"old\" }]";
    let gateway =
        Setup::new().env("OLD", "whsec_old_0123456789abcdef").source("shop", "stripe", both).start();
    let scrape = gateway.metrics();
    for label in ["new", "old"] {
        let line = format!("hookgate_secret_used_total{{source=\"shop\",secret=\"{label}\"}} 0");
        assert!(scrape.lines().any(|found| found == line), "{line}");
    }
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    assert_eq!((used(&gateway, "new"), used(&gateway, "old")), (1.0, 0.0));
}
