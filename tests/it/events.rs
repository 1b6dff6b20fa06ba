//! Hands on the journal: what an operator lists, replays, forgets, releases, requeues and drops, shown by what workers
//! get. `HOOKGATE_IT_REPLAY` makes the large replay larger.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::*;
use crate::load::{Book, drained, number, until_drained, with_rabbitmq};
use crate::services::{RabbitMq, Redis};

const SOON: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Setup::new().source("plain", "generic", "").source("git", "github", "on_twin = \"hold\"")
}

fn send(gateway: &Gateway, bodies: impl Iterator<Item = String>) -> Vec<String> {
    let mut client = Client::new(gateway.ingress());
    bodies.map(|body| client.deliver(&generic("plain", body.as_bytes())).message_id()).collect()
}

fn confirmed(gateway: &Gateway, count: usize) -> Vec<String> {
    let ids = send(gateway, (0..count).map(|index| format!("event {index}")));
    assert_eq!(gateway.drain("plain", count).len(), count);
    ids
}

/// An action by the API: the counts by outcome.
fn act(gateway: &Gateway, action: &str, selection: Value) -> Value {
    let body = json!({ "selection": selection }).to_string();
    let answer = gateway.admin_call("POST", &format!("/v1/events/{action}"), &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["next"], Value::Null);
    answer["outcomes"].clone()
}

/// A subcommand of `events` on the running gateway: exit code, stdout, stderr.
fn events(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = gateway.run(&[&["events"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn list(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer = gateway.get(&format!("/v1/events?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["events"].as_array().unwrap().clone()
}

fn states(gateway: &Gateway, query: &str) -> Vec<String> {
    list(gateway, query).iter().map(|event| event["state"].as_str().unwrap().to_owned()).collect()
}

fn stat(gateway: &Gateway, name: &str, source: &str) -> f64 {
    gateway.metric(&format!("hookgate_relay_{name}"), &[("source", source)])
}

#[test]
fn a_thousand_events_are_replayed_to_rabbitmq_in_order_and_a_kill_loses_none() {
    let count = number("HOOKGATE_IT_REPLAY", 1000);
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    let (mut client, mut book) = (Client::new(gateway.ingress()), Book::default());
    assert!((0..count).all(|index| book.send(&mut client, "shop", &format!("evt_{index}"))));
    until_drained(&gateway);
    let first = drained(broker, &vhost, "shop");
    assert_eq!(first.len(), count as usize);

    let (code, out, _) = events(&gateway, &["replay", "--source", "shop", "--dry-run"]);
    assert_eq!(
        (code, out.trim()),
        (Some(0), &*format!("{count} selected: {count} replayed (dry run, nothing was changed)"))
    );
    assert_eq!(stat(&gateway, "pending", "shop"), 0.0, "a dry run changes nothing");
    let (code, out, told) = events(&gateway, &["replay", "--source", "shop", "--output", "json"]);
    gateway.kill();
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, out["outcomes"]["replayed"].as_u64()), (Some(0), Some(count.into())), "{told}");
    gateway.start();
    until_drained(&gateway);
    let second = drained(broker, &vhost, "shop");
    let key = |message: &crate::services::Drained| (message.message_id.clone(), message.body.clone());
    let ids: BTreeSet<_> = second.iter().map(key).collect();
    assert_eq!(ids, first.iter().map(key).collect(), "the same ids and bytes");
    assert!(second.iter().all(|message| message.headers["hookgate-replay"] == "true"));
    assert!(first.iter().all(|message| !message.headers.contains_key("hookgate-replay")));
    let unmarked =
        second.iter().filter(|message| !message.headers.contains_key("hookgate-possible-duplicate"));
    let numbers: Vec<u64> =
        unmarked.map(|message| message.headers["hookgate-sequence"].parse().unwrap()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "in order, those that may have gone out before the kill aside"
    );

    let (_, out, _) = events(&gateway, &["replay", "--sequence", "3-5"]);
    assert_eq!(out.trim(), "3 selected: 3 replayed");
    until_drained(&gateway);
    let third = drained(broker, &vhost, "shop");
    let numbers: Vec<&str> = third.iter().map(|message| &*message.headers["hookgate-sequence"]).collect();
    assert_eq!(numbers, ["3", "4", "5"]);
    assert!(book.send(&mut client_of(&gateway), "shop", "evt_1"), "and it takes what comes in");
    let lines: Vec<_> = gateway.log().into_iter().filter(|line| line["action"] == "replay").collect();
    assert!(lines.len() >= 3, "every call of an action is logged: {}", lines.len());
    assert!(lines.iter().all(|line| line["level"] == "INFO"
        && line["operator"] == "no token"
        && line["address"] == "127.0.0.1"
        && line["selection"].as_str().is_some()));
}

fn client_of(gateway: &Gateway) -> Client {
    Client::new(gateway.ingress())
}

#[test]
fn a_replay_tells_what_it_could_not_do_and_comes_from_the_inbox_marked() {
    let gateway = setup().start();
    let ids = confirmed(&gateway, 10);
    send(&gateway, ["late 1", "late 2"].map(str::to_owned).into_iter());
    let (code, out, _) = events(&gateway, &["replay", "--source", "plain"]);
    assert_eq!((code, out.trim()), (Some(0), "12 selected: 10 replayed, 2 not confirmed yet"));
    let handed = gateway.drain("plain", 12);
    let (replayed, fresh): (Vec<_>, Vec<_>) =
        handed.iter().partition(|event| event.header("hookgate-replay") == "true");
    assert_eq!((replayed.len(), fresh.len()), (10, 2));
    assert_eq!(replayed.iter().map(|event| event.message_id.clone()).collect::<Vec<_>>(), ids);
    assert!(handed.iter().all(|event| !event.possible_duplicate() && event.attempt == 1));
    assert_eq!(stat(&gateway, "pending", "plain"), 0.0);
    assert_eq!(act(&gateway, "replay", json!({"key": ids[3]})), json!({"replayed": 1}));
    assert_eq!(gateway.drain("plain", 1)[0].body, b"event 3");
    assert_eq!(act(&gateway, "replay", json!({"sequence": "90-99"})), json!({}));
    assert_eq!(act(&gateway, "replay", json!({"type": "nothing"})), json!({}));
    assert_eq!(act(&gateway, "replay", json!({"since": "1h", "until": "30m"})), json!({}));
}

#[test]
fn a_replay_larger_than_a_call_and_than_memory_comes_whole() {
    let gateway = setup().start();
    let bodies = 3000;
    std::thread::scope(|scope| {
        for sender in 0..6 {
            let address = gateway.ingress();
            scope.spawn(move || {
                let mut client = Client::new(address);
                for index in 0..bodies / 6 {
                    let body = format!("{sender}/{index}");
                    assert_eq!(client.deliver(&generic("plain", body.as_bytes())).status, 200);
                }
            });
        }
    });
    assert_eq!(gateway.drain("plain", bodies).len(), bodies);
    let (code, out, _) = events(&gateway, &["replay", "--all"]);
    assert_eq!((code, out.trim()), (Some(0), "3000 selected: 3000 replayed"));
    // What comes in meanwhile waits behind its lane's replay, and is not lost.
    send(&gateway, std::iter::once("fresh".to_owned()));
    let handed = gateway.drain("plain", bodies + 1);
    let numbers: Vec<u64> =
        handed.iter().map(|event| event.header("hookgate-sequence").parse().unwrap()).collect();
    assert_eq!(numbers, (1..=3001).collect::<Vec<u64>>());
    assert_eq!(stat(&gateway, "pending", "plain"), 0.0);
}

#[test]
fn what_retention_removed_is_told_as_gone() {
    let journal = "segment_bytes = \"128KiB\"\nbytes_max = \"512KiB\"";
    let setup = Setup::new().set("journal", journal).set("ingress", "body_bytes_max = \"48KiB\"");
    let gateway = setup.source("plain", "generic", "body_bytes_max = \"48KiB\"").start();
    for index in 0..60_u8 {
        assert_eq!(gateway.deliver(&generic("plain", &vec![index; 20_000])).status, 200);
        assert_eq!(gateway.drain("plain", 1).len(), 1);
    }
    let kept = list(&gateway, "limit=1000").len();
    assert!((1..60).contains(&kept), "{kept} kept");
    let outcomes = act(&gateway, "replay", json!({"sequence": "1-60"}));
    let (replayed, gone) = (outcomes["replayed"].as_u64().unwrap(), outcomes["gone"].as_u64().unwrap());
    assert_eq!(replayed + gone, 60, "{outcomes}");
    assert_eq!(gateway.drain("plain", replayed as usize).len() as u64, replayed);
    let answer = gateway.get("/v1/events/1");
    assert_eq!((answer.status, answer.code().as_str()), (404, "gone"));
}

#[test]
fn a_replay_never_makes_the_journal_refuse_what_comes_in() {
    let journal = "segment_bytes = \"128KiB\"\nbytes_max = \"1MiB\"";
    let setup = Setup::new().set("journal", journal).set("ingress", "body_bytes_max = \"48KiB\"");
    let gateway = setup.source("plain", "generic", "body_bytes_max = \"48KiB\"").start();
    for index in 0..36_u8 {
        assert_eq!(gateway.deliver(&generic("plain", &vec![index; 20_000])).status, 200);
        assert_eq!(gateway.drain("plain", 1).len(), 1);
    }
    let waiting = 12;
    for index in 100..100 + waiting as u8 {
        assert_eq!(gateway.deliver(&generic("plain", &vec![index; 20_000])).status, 200);
    }
    let body = json!({ "selection": {}, "all": true }).to_string();
    let answer = gateway.admin_call("POST", "/v1/events/replay", &[], body.as_bytes()).json();
    assert!(answer["wait"] == true && answer["next"].is_string(), "{answer}");
    assert_eq!(gateway.deliver(&generic("plain", &[0xff; 20_000])).status, 200, "there is room");
    let first = answer["outcomes"]["replayed"].as_u64().unwrap() as usize;
    assert_eq!(gateway.drain("plain", first + waiting + 1).len(), first + waiting + 1);
    let body = json!({ "selection": {}, "all": true, "after": answer["next"] }).to_string();
    let rest = gateway.admin_call("POST", "/v1/events/replay", &[], body.as_bytes()).json();
    assert!(rest["outcomes"]["replayed"].as_u64().unwrap() > 0, "{rest}");
}

#[test]
fn a_forgotten_key_is_a_new_event_when_it_comes_again_even_after_a_kill() {
    let mut gateway = setup().start();
    let signed = generic("plain", b"once");
    let first = gateway.deliver(&signed);
    assert_eq!(gateway.drain("plain", 1).len(), 1);
    assert_eq!(gateway.deliver(&signed).outcome(), "duplicate");
    let (code, out, _) = events(&gateway, &["forget", "--key", &first.message_id()]);
    assert_eq!((code, out.trim()), (Some(0), "1 selected: 1 forgotten"));
    gateway.kill();
    gateway.start();
    let again = gateway.deliver(&signed);
    assert_eq!((again.outcome(), again.message_id()), ("accepted".to_owned(), first.message_id()));
    assert_eq!(gateway.deliver(&signed).outcome(), "duplicate", "once");
    let handed = gateway.drain("plain", 1);
    assert_eq!((handed.len(), handed[0].header("hookgate-replay").as_str()), (1, ""));
    let (code, out, _) = events(&gateway, &["forget", "--key", &"ab".repeat(32)]);
    assert_eq!((code, out.trim()), (Some(1), "1 selected: 1 not known to the dedup index"));
    send(&gateway, (0..50).map(|index| format!("many {index}")));
    assert_eq!(
        act(&gateway, "forget", json!({"source": "plain", "state": "pending"})),
        json!({"forgotten": 50})
    );
}

#[test]
fn with_redis_a_done_claim_stops_neither_a_replay_nor_a_forgotten_event() {
    let (redis, broker) = (Redis::start(), RabbitMq::shared());
    let vhost = broker.vhost();
    let setup =
        with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").env("REDIS_URL", &redis.url());
    let gateway = setup.set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }").start();
    let (mut client, mut book) = (Client::new(gateway.ingress()), Book::default());
    assert!(book.send(&mut client, "shop", "evt_1"));
    until_drained(&gateway);
    assert_eq!(act(&gateway, "replay", json!({"source": "shop"})), json!({"replayed": 1}));
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!(messages.len(), 2, "published, not superseded");
    assert_eq!(messages[1].headers["hookgate-replay"], "true");
    assert_eq!(act(&gateway, "forget", json!({"id": "evt_1"})), json!({"forgotten": 1}));
    assert!(book.send(&mut client, "shop", "evt_1"));
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "shop");
    assert_eq!((messages.len(), messages[0].headers.contains_key("hookgate-replay")), (1, false));
    drop(redis);
    let body = json!({ "selection": {"id": "evt_1"} }).to_string();
    let answer = gateway.admin_call("POST", "/v1/events/forget", &[], body.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert_eq!(
        client.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(),
        "duplicate",
        "nothing changed"
    );
}

#[test]
fn a_held_twin_is_relayed_once_it_is_released() {
    let gateway = setup().start();
    for id in ["d-1", "d-2", "d-3"] {
        assert_eq!(gateway.deliver(&github("git", id, "ping", b"{}")).status, 200);
    }
    assert_eq!(gateway.drain("git", 1).len(), 1);
    assert_eq!(states(&gateway, "source=git"), ["confirmed", "held", "held"]);
    let (code, out, _) = events(&gateway, &["release", "--id", "d-2"]);
    assert_eq!((code, out.trim()), (Some(0), "1 selected: 1 released"));
    let handed = gateway.drain("git", 1);
    assert_eq!((handed.len(), handed[0].header("hookgate-event-id").as_str()), (1, "d-2"));
    assert!(!handed[0].header("hookgate-twin-of").is_empty());
    assert_eq!((stat(&gateway, "held", "git"), stat(&gateway, "pending", "git")), (1.0, 0.0));
    assert_eq!(act(&gateway, "release", json!({"source": "git"})), json!({"released": 1, "ended": 2}));
    assert_eq!(gateway.drain("git", 1)[0].header("hookgate-event-id"), "d-3");
}

#[test]
fn poison_is_offered_again_once_it_is_requeued() {
    let mut gateway = setup().set("sink", "max_attempts = 2").start();
    send(&gateway, ["bad", "good"].map(str::to_owned).into_iter());
    let spoil = |gateway: &Gateway| {
        for _ in 0..2 {
            let handed = gateway.claim_within("plain", SOON);
            let bad: Vec<Handed> = handed.into_iter().filter(|event| event.body == b"bad").collect();
            assert_eq!(bad.len(), 1);
            assert_eq!(gateway.nack("plain", &bad, "0s").status, 200);
        }
    };
    let good = gateway.claim("plain", 2).pop().unwrap();
    gateway.ack("plain", std::slice::from_ref(&good));
    gateway.kill();
    gateway.start();
    spoil(&gateway);
    until("it is poison", SOON, || stat(&gateway, "poison", "plain") == 1.0);
    assert_eq!(states(&gateway, "state=poison"), ["poison"]);
    assert_eq!(gateway.claim("plain", 10).len(), 0);
    assert_eq!(act(&gateway, "requeue", json!({"state": "poison"})), json!({"requeued": 1}));
    let handed = gateway.claim_within("plain", SOON);
    assert_eq!(
        (handed[0].body.as_slice(), handed[0].attempt),
        (b"bad".as_slice(), 1),
        "attempts are cleared"
    );
    assert!(handed[0].possible_duplicate(), "a worker has had it");
    assert_eq!(gateway.nack("plain", &handed, "1h").status, 200);
    assert_eq!(states(&gateway, "source=plain&state=aside"), ["aside"]);
    assert_eq!(gateway.claim("plain", 10).len(), 0);
    let (code, out, _) = events(&gateway, &["requeue", "--state", "aside"]);
    assert_eq!((code, out.trim()), (Some(0), "1 selected: 1 requeued"));
    assert_eq!(gateway.drain("plain", 1)[0].body, b"bad", "at once, not in an hour");
    assert_eq!((stat(&gateway, "poison", "plain"), stat(&gateway, "pending", "plain")), (0.0, 0.0));
}

#[test]
fn a_dropped_event_is_gone_for_good_and_only_an_explicit_yes_drops() {
    let mut gateway = setup().start();
    send(&gateway, (0..5).map(|index| format!("event {index}")));
    let out = gateway.claim("plain", 1);
    let (code, _, told) = events(&gateway, &["drop", "--yes"]);
    assert!(code == Some(2) && told.contains("needs a selection"), "{told}");
    let (code, _, told) = events(&gateway, &["drop", "--source", "plain"]);
    assert!(code == Some(2) && told.contains("5 events") && told.contains("--yes"), "{told}");
    assert_eq!(stat(&gateway, "pending", "plain"), 5.0);
    let (code, text, _) = events(&gateway, &["drop", "--sequence", "1-3", "--yes"]);
    assert_eq!((code, text.trim()), (Some(0), "3 selected: 2 dropped, 1 on their way (try again)"));
    assert_eq!(stat(&gateway, "pending", "plain"), 3.0);
    gateway.kill();
    gateway.start();
    assert_eq!(states(&gateway, ""), ["pending", "dropped", "dropped", "pending", "pending"]);
    let bodies: Vec<_> = gateway.drain("plain", 3).into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, [b"event 0".to_vec(), b"event 3".to_vec(), b"event 4".to_vec()]);
    assert_eq!(out[0].body, b"event 0");
    assert_eq!(gateway.deliver(&generic("plain", b"event 1")).outcome(), "duplicate", "its key stays known");
    for id in ["d-1", "d-2"] {
        gateway.deliver(&github("git", id, "ping", b"{}"));
    }
    assert_eq!(act(&gateway, "drop", json!({"source": "git", "state": "held"})), json!({"dropped": 1}));
    assert_eq!((stat(&gateway, "held", "git"), gateway.drain("git", 1).len()), (0.0, 1));
}

#[test]
fn events_are_listed_in_pages_and_shown_whole() {
    let gateway = setup().source("shop", "stripe", "").start();
    let hostile = b"<script>alert(1)</script>\x1b[2J\xff";
    gateway.deliver(&generic("plain", hostile));
    for index in 0..25 {
        gateway.deliver(&stripe("shop", &stripe_event(&format!("evt_{index}"))));
    }
    let mut numbers = Vec::new();
    let mut after = String::new();
    loop {
        let page = gateway.get(&format!("/v1/events?source=shop&limit=7{after}")).json();
        numbers.extend(
            page["events"].as_array().unwrap().iter().map(|event| event["sequence"].as_u64().unwrap()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(numbers, (2..=26).collect::<Vec<u64>>());
    assert_eq!(list(&gateway, "id=evt_7")[0]["sequence"], 9);
    assert_eq!(list(&gateway, "type=charge.captured&since=1h&limit=3").len(), 3);
    assert_eq!(list(&gateway, "until=1h").len(), 0);
    let shown = gateway.get("/v1/events/1").json();
    assert_eq!((shown["state"].as_str(), shown["bytes"].as_u64()), (Some("pending"), Some(30)));
    assert_eq!(shown["secret"], "live");
    let body = gateway.get("/v1/events/1/body");
    assert_eq!(body.body, hostile);
    assert_eq!(body.header("content-type"), "application/octet-stream");
    assert_eq!(body.header("x-content-type-options"), "nosniff");
    assert!(body.header("content-disposition").starts_with("attachment"));
    let output = gateway.run(&["events", "show", "1", "--body", "-"]);
    assert_eq!(output.stdout, hostile, "exact bytes");
    let (code, out, _) = events(&gateway, &["list", "--source", "shop", "--limit", "20", "--output", "json"]);
    assert_eq!((code, out.lines().count()), (Some(0), 20));
    let (code, _, told) = events(&gateway, &["show", "99"]);
    assert!(code == Some(1) && told.contains("no event of that number"), "{told}");
}

#[test]
fn calls_that_make_no_sense_are_refused_with_what_is_allowed() {
    let gateway = setup().start();
    confirmed(&gateway, 2);
    let post = |action: &str, body: &str| {
        let answer = gateway.admin_call("POST", &format!("/v1/events/{action}"), &[], body.as_bytes());
        (answer.status, answer.code(), answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    for (body, told) in [
        ("", "expected JSON"),
        ("{\"selection\": {\"sorce\": \"x\"}}", "sorce"),
        ("{\"selection\": {}, \"dry\": true}", "dry"),
        ("{\"selection\": {}}", "\"all\": true"),
        ("{\"selection\": {\"state\": \"lost\"}}", "allowed are pending"),
        ("{\"selection\": {\"sequence\": \"9-1\"}}", "5-9"),
        ("{\"selection\": {\"source\": \"plain\"}, \"after\": \"x\"}", "next"),
    ] {
        let (status, code, detail) = post("replay", body);
        assert_eq!((status, code.as_str()), (400, "malformed"), "{body}");
        assert!(detail.contains(told), "{body}: {detail}");
    }
    assert_eq!(post("explode", "{\"selection\": {\"source\": \"plain\"}}").0, 405);
    assert_eq!(
        post("drop", &format!("{{\"selection\": {{\"source\": \"{}\"}}}}", "x".repeat(20_000))).0,
        400
    );
    for query in ["sorce=x", "limit=0", "limit=1001", "after=x", "since=never", "state=lost", "key=ab"] {
        assert_eq!(gateway.get(&format!("/v1/events?{query}")).status, 400, "{query}");
    }
    // A cursor that somebody made up costs an error at most.
    for cursor in
        ["1-65-9", "18446744073709551615-1-1", "0-7-18446744073709551615", "1-18446744073709551615-1"]
    {
        assert!(
            [200, 400, 503].contains(&gateway.get(&format!("/v1/events?after={cursor}")).status),
            "{cursor}"
        );
    }
    assert_eq!(gateway.claim("plain", 10).len(), 0, "none of it changed anything");
    let events = json!({"selection": {"source": "plain"}}).to_string();
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(gateway.admin_call("POST", "/v1/events/replay", &foreign, events.as_bytes()).status, 403);
    assert_eq!(gateway.claim("plain", 10).len(), 0);
}

#[test]
fn only_the_admin_token_opens_events() {
    let gateway = setup()
        .admin_token("an admin token of some length")
        .env("WORKER_TOKEN", "a worker token of some length")
        .set("admin", "worker_token = { env = \"WORKER_TOKEN\" }")
        .start();
    let body = json!({"selection": {"source": "plain"}}).to_string();
    for token in ["a worker token of some length", "wrong", ""] {
        let bearer = [("authorization", &*format!("Bearer {token}"))];
        for path in ["/v1/events", "/v1/events/1", "/v1/events/1/body", "/v1/events/tail"] {
            assert_eq!(gateway.admin_call("GET", path, &bearer, b"").status, 401, "{path} with {token:?}");
        }
        assert_eq!(gateway.admin_call("POST", "/v1/events/replay", &bearer, body.as_bytes()).status, 401);
    }
    assert_eq!(gateway.get("/v1/events").status, 200);
    let (code, _, told) = events(&gateway, &["list"]);
    assert_eq!(code, Some(0), "the configured token is used: {told}");
    let (code, _, told) = events(&gateway, &["list", "--token-env", "WORKER_TOKEN"]);
    assert!(code == Some(1) && told.contains("refused with 401"), "{told}");
}

#[test]
fn with_rabbitmq_poison_is_requeued_or_dropped_and_a_twin_released() {
    let broker = RabbitMq::own();
    let vhost = broker.vhost();
    let limit = |bytes: usize| {
        broker.rabbitmqctl(&["eval", &format!("application:set_env(rabbit, max_message_size, {bytes}).")]);
    };
    limit(100_000);
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "");
    let gateway = setup.source("git", "github", "on_twin = \"hold\"").start();
    for id in ["evt_large", "evt_lost"] {
        let mut large = stripe_event(id);
        large.resize(200_000, b' ');
        assert_eq!(gateway.deliver(&stripe("shop", &large)).status, 200);
    }
    // Each try of theirs closes the channel, and what is on its way then goes out again, marked.
    until("both are poison", Duration::from_secs(30), || stat(&gateway, "poison", "shop") == 2.0);
    for id in ["d-1", "d-2"] {
        assert_eq!(gateway.deliver(&github("git", id, "ping", b"{}")).status, 200);
    }
    until_drained(&gateway);
    limit(crate::services::MESSAGE_BYTES_MAX);
    assert_eq!(drained(&broker, &vhost, "shop").len(), 0);
    assert_eq!(act(&gateway, "requeue", json!({"id": "evt_large"})), json!({"requeued": 1}));
    assert_eq!(act(&gateway, "drop", json!({"state": "poison"})), json!({"dropped": 1}));
    // The open channel goes by the old limit, so the first try closes it once more.
    until_drained(&gateway);
    assert_eq!(act(&gateway, "release", json!({"source": "git"})), json!({"released": 1, "ended": 1}));
    until_drained(&gateway);
    let messages = drained(&broker, &vhost, "shop");
    assert_eq!((messages.len(), messages[0].headers["hookgate-event-id"].as_str()), (1, "evt_large"));
    assert_eq!(messages[0].headers["hookgate-possible-duplicate"], "true", "each try may have arrived");
    assert!(!messages[0].headers.contains_key("hookgate-replay"));
    let twins = drained(&broker, &vhost, "git");
    // What was on its way when the broker closed the channel comes again, marked (W1).
    let first = twins.iter().filter(|message| !message.headers.contains_key("hookgate-possible-duplicate"));
    let ids: Vec<&str> = first.map(|message| &*message.headers["hookgate-event-id"]).collect();
    assert_eq!(ids, ["d-1", "d-2"]);
    assert_eq!((stat(&gateway, "poison", "shop"), stat(&gateway, "held", "git")), (0.0, 0.0));
}
