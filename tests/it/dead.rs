//! Dead letters in the real binary, before a real RabbitMQ: what workers reject is listed, goes back and comes again marked, or
//! goes for good; looking at it loses nothing, nor does any kill.

mod hands;
mod kills;

use std::time::{Duration, Instant};

use lapin::types::AMQPValue;
use serde_json::{Value, json};

use self::hands::{DEAD, Hands, SOON, id};
use crate::chaos::{Mode, Proxy};
use crate::described::judged;
use crate::gateway::*;
use crate::load::{until_drained, with_rabbitmq};

const TOKEN: &str = "operator-0123456789abcdef";
const READER: &str = "reader-0123456789abcdefgh";

fn gateway(url: &str) -> Gateway {
    let gateway = with_rabbitmq(url).source("plain", "generic", "").source("other", "generic", "").start();
    connected(&gateway);
    gateway
}

/// A gateway before queues that somebody else has declared.
fn undeclared(url: &str) -> Gateway {
    let gateway = with_rabbitmq(url).set("sink", "declare = false").source("plain", "generic", "").start();
    connected(&gateway);
    gateway
}

fn connected(gateway: &Gateway) {
    until("it is connected", SOON, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

/// Has events accepted and rejected by a worker, twice each, as workers do.
fn rejected(gateway: &Gateway, source: &str, bodies: &[&str]) {
    for body in bodies {
        assert_eq!(gateway.deliver(&generic(source, body.as_bytes())).status, 200);
    }
    until_drained(gateway);
    let tries = (2 * bodies.len()).to_string();
    let words =
        ["consume", source, "--from", "rabbitmq", "--follow", "--count", &tries, "--exec", "/bin/false"];
    let output = gateway.run(&words);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

fn list(gateway: &Gateway, query: &str) -> (Vec<Value>, bool) {
    let answer = gateway.get(&format!("/v1/dead?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    is_as_described(gateway, ("get", "/v1/dead"), &answer);
    let mut answer = answer.json();
    let more = answer["more"].as_bool().unwrap();
    let Value::Array(letters) = answer["letters"].take() else { panic!("no list: {answer}") };
    (letters, more)
}

fn listed(gateway: &Gateway) -> Vec<Value> {
    let (letters, more) = list(gateway, "limit=10000");
    assert!(!more);
    letters
}

fn order(gateway: &Gateway, verb: &str, order: &Value) -> Value {
    let body = order.to_string();
    let answer = gateway.admin_call("POST", &format!("/v1/dead/{verb}"), &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    is_as_described(gateway, ("post", &format!("/v1/dead/{verb}")), &answer);
    answer.json()
}

fn is_as_described(gateway: &Gateway, call: (&str, &str), answer: &Answer) {
    let document = gateway.get("/v1/openapi.json").json();
    if let Err(why) = judged(&document, call, answer) {
        panic!("{why}\n{}", answer.text());
    }
}

fn cli(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.run(&[&["dead"], arguments].concat());
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn field(letters: &[Value], name: &str) -> Vec<Value> {
    letters.iter().map(|letter| letter[name].clone()).collect()
}

/// What the operator's actions left in the audit log: action, selection, count, outcome.
fn audited(gateway: &Gateway) -> Vec<[String; 4]> {
    let lines = gateway.log();
    let ours = lines.iter().filter(|line| line["audit"] == "action");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ours.map(|line| ["action", "selection", "count", "outcome"].map(|name| text(&line[name]))).collect()
}

#[test]
fn what_a_worker_rejects_is_listed_and_comes_again_marked_once_it_is_put_back() {
    let hands = Hands::new();
    let gateway = gateway(&hands.url());
    rejected(&gateway, "plain", &["one", "two", "three"]);
    rejected(&gateway, "other", &["four"]);
    let letters = listed(&gateway);
    let queues = ["webhooks.plain", "webhooks.plain", "webhooks.plain", "webhooks.other"];
    assert_eq!(field(&letters, "queue"), queues);
    assert_eq!(field(&letters, "sequence"), [1, 2, 3, 4]);
    assert_eq!(field(&letters, "source"), ["plain", "plain", "plain", "other"]);
    assert!(letters.iter().all(|one| one["reason"] == "rejected" && one["times"] == 1), "{letters:?}");
    assert_eq!(field(&letters, "bytes"), [3, 3, 5, 4]);
    assert!(letters.iter().all(|one| one["died_at"].as_str().is_some_and(|at| at.starts_with("20"))));
    assert_eq!(list(&gateway, "source=other"), (letters[3..].to_vec(), false));
    assert_eq!(list(&gateway, "limit=2"), (letters[..2].to_vec(), true));
    assert_eq!(list(&gateway, "source=nobody"), (vec![], false));
    let (code, text) = cli(&gateway, &["list", "--output", "json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, &lines), (Some(0), &letters));

    let dry = order(&gateway, "requeue", &json!({ "source": "plain", "dry_run": true }));
    let expected = json!({ "dry_run": true, "selected": 3, "outcomes": { "requeued": 3 }, "more": false, "ready": 4, "stopped": null });
    assert_eq!(dry, expected);
    assert_eq!(
        order(&gateway, "drop", &json!({ "all": true, "dry_run": true }))["outcomes"],
        json!({ "dropped": 4 })
    );
    assert_eq!(
        (listed(&gateway), hands.count("webhooks.plain")),
        (letters.clone(), 0),
        "a dry run changes nothing"
    );

    let second = letters[1]["id"].as_str().unwrap();
    let done = order(&gateway, "requeue", &json!({ "ids": [second, "unknown"] }));
    assert_eq!((&done["selected"], &done["outcomes"]), (&json!(1), &json!({ "requeued": 1 })));
    let told = cli(&gateway, &["requeue", "--source", "plain"]);
    assert_eq!(told, (Some(0), "2 selected: 2 requeued\n".to_owned()));
    assert_eq!(listed(&gateway), letters[3..]);
    let again = hands.drained("plain");
    let ids: Vec<&str> = again.iter().map(|one| &*one.message_id).collect();
    assert_eq!(ids, [1, 0, 2].map(|n| letters[n]["id"].as_str().unwrap()));
    assert_eq!(again.iter().map(|one| &*one.body).collect::<Vec<_>>(), [&b"two"[..], b"one", b"three"]);
    for one in &again {
        assert_eq!(one.headers["hookgate-possible-duplicate"], "true");
        assert_eq!((&*one.headers["hookgate-source"], one.delivery_mode), ("plain", 2));
        assert!(!one.headers.keys().any(|name| name.starts_with("x-")), "{:?}", one.headers);
    }
    let actions = [
        ["requeue dead letters", "plain", "3", "requeued 3, dry run"],
        ["drop dead letters", "all", "4", "dropped 4, dry run"],
        ["requeue dead letters", &format!("ids {second}, unknown"), "1", "requeued 1"],
        ["requeue dead letters", "plain", "2", "requeued 2"],
    ];
    assert_eq!(audited(&gateway), actions.map(|words| words.map(str::to_owned)));
}

#[test]
fn what_is_dropped_is_gone_and_nothing_else_is() {
    let hands = Hands::new();
    let gateway = gateway(&hands.url());
    rejected(&gateway, "plain", &["one", "two", "three"]);
    rejected(&gateway, "other", &["four"]);
    hands.foreign(b"of somebody else");
    let letters = listed(&gateway);
    let unknown = json!({ "id": null, "source": null, "type": null, "queue": null, "reason": null, "died_at": null,
        "times": 0, "bytes": 16, "sequence": null });
    assert_eq!((letters.len(), &letters[4]), (5, &unknown));
    let first = letters[0]["id"].as_str().unwrap();
    assert_eq!(cli(&gateway, &["drop", "--id", first]), (Some(0), "1 selected: 1 dropped\n".to_owned()));
    assert_eq!(listed(&gateway), letters[1..]);
    assert_eq!(order(&gateway, "drop", &json!({ "source": "other" }))["outcomes"], json!({ "dropped": 1 }));
    let left = [&letters[1..3], &letters[4..]].concat();
    assert_eq!(listed(&gateway), left);
    let told = cli(&gateway, &["requeue", "--all"]);
    let expected = "3 selected: 2 requeued, 1 do not say where they died (kept)\n";
    assert_eq!(told, (Some(0), expected.to_owned()));
    assert_eq!(cli(&gateway, &["requeue", "--all"]).0, Some(1), "none of them could be");
    assert_eq!(order(&gateway, "drop", &json!({ "all": true }))["outcomes"], json!({ "dropped": 1 }));
    assert_eq!(cli(&gateway, &["drop", "--all"]), (Some(0), "0 selected\n".to_owned()));
    assert_eq!((hands.count(DEAD), hands.count("webhooks.plain"), hands.count("webhooks.other")), (0, 2, 0));
}

#[test]
fn a_letter_whose_queue_is_gone_or_full_stays_and_that_is_told() {
    let hands = Hands::new();
    let full =
        [("x-overflow", "reject-publish")].map(|(name, value)| (name, AMQPValue::LongString(value.into())));
    let full = [&full[..], &[("x-max-length", AMQPValue::LongLongInt(3))]].concat();
    hands.declare(&full, &[]);
    let gateway = undeclared(&hands.url());
    for first in [0, 3] {
        hands.publish(first..first + 3, |n| n.to_string().into());
        hands.reject("webhooks.plain", 3);
    }
    hands.publish(6..9, |n| n.to_string().into());
    // The limit is a soft one: beyond it the queue takes none, but nobody knows when it says so.
    let some = json!({ "ids": ["id-0", "id-1", "id-2"] });
    let requeued = order(&gateway, "requeue", &some)["outcomes"]["requeued"].as_u64().unwrap_or_default();
    assert!((1..=3).contains(&requeued), "{requeued}");
    let requeue = json!({ "all": true });
    let before = listed(&gateway);
    assert_eq!(before.len() as u64, 6 - requeued);
    assert_eq!(order(&gateway, "requeue", &requeue)["outcomes"], json!({ "refused": before.len() }));
    assert_eq!(
        (listed(&gateway), hands.count("webhooks.plain")),
        (before.clone(), 3 + requeued),
        "those stay"
    );
    hands.delete("webhooks.plain");
    assert_eq!(order(&gateway, "requeue", &requeue)["outcomes"], json!({ "unroutable": before.len() }));
    let (code, text) = cli(&gateway, &["requeue", "--all"]);
    let expected = format!("{0} selected: {0} whose queue is gone (kept)\n", before.len());
    assert_eq!((code, text), (Some(1), expected));
    assert_eq!(listed(&gateway), before);
}

/// Looks so often, at so many letters that it takes several windows.
fn look_often(limit: i64) {
    const LETTERS: usize = 100;
    let hands = Hands::new();
    let limited = [("x-delivery-limit", AMQPValue::LongLongInt(limit))];
    hands.declare(&[], &limited);
    let gateway = undeclared(&hands.url());
    let body = |n: usize| format!("body {n}").into_bytes();
    hands.publish(0..LETTERS, body);
    hands.reject("webhooks.plain", LETTERS as u64);
    let first = listed(&gateway);
    assert_eq!(field(&first, "id"), (0..LETTERS).map(id).collect::<Vec<_>>());
    for look in 0..40 {
        match look % 4 {
            0 => assert_eq!(list(&gateway, "limit=10"), (first[..10].to_vec(), true), "look {look}"),
            1 => assert_eq!(list(&gateway, "source=nobody"), (vec![], false), "look {look}"),
            2 => drop(order(&gateway, "requeue", &json!({ "all": true, "dry_run": true }))),
            _ => assert_eq!(listed(&gateway), first, "look {look}"),
        }
        assert_eq!(hands.count(DEAD), LETTERS as u64, "look {look}");
    }
    let letters = hands.drained("dead");
    assert_eq!(
        letters.iter().map(|one| one.body.clone()).collect::<Vec<_>>(),
        (0..LETTERS).map(body).collect::<Vec<_>>()
    );
    assert!(letters.iter().all(|one| one.headers.contains_key("x-death") && one.event_type == "paid"));
    // The proof of the proof: looked at so often by somebody else, they are gone.
    hands.publish(0..LETTERS, body);
    hands.reject("webhooks.plain", LETTERS as u64);
    let looks =
        (0..40).take_while(|_| hands.peek(DEAD, LETTERS as u64) && wait_back(&hands, LETTERS as u64)).count();
    assert_eq!(looks as i64, limit, "the broker drops what is offered more often");
}

/// Whether they come back, of a look that gave them back.
fn wait_back(hands: &Hands, count: u64) -> bool {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        if hands.count(DEAD) == count {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn looking_forty_times_loses_nothing_under_the_limit_that_rabbitmq_4_has_by_default() {
    look_often(20);
}

#[test]
fn looking_forty_times_loses_nothing_under_a_limit_of_five() {
    look_often(5);
}

#[test]
fn long_letters_are_looked_at_as_far_as_their_bytes_go_and_dropped_by_several_calls() {
    const LETTERS: usize = 80;
    let hands = Hands::new();
    hands.declare(&[], &[]);
    let gateway = undeclared(&hands.url());
    hands.publish(0..LETTERS, |_| vec![7; 1 << 20]);
    hands.reject("webhooks.plain", LETTERS as u64);
    let (letters, more) = list(&gateway, "limit=1000");
    assert!(more && (64..LETTERS).contains(&letters.len()), "{} letters", letters.len());
    assert_eq!(field(&letters, "id"), (0..letters.len()).map(id).collect::<Vec<_>>());
    let (code, text) = cli(&gateway, &["drop", "--all", "--output", "json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({ "dry_run": false, "selected": LETTERS, "outcomes": { "dropped": LETTERS }, "more": false, "stopped": null });
    assert_eq!((code, told), (Some(0), expected));
    assert_eq!(hands.count(DEAD), 0);
    assert_eq!(audited(&gateway).len(), 2, "two calls");
}

#[test]
fn a_broker_that_is_away_or_silent_is_told_in_bounded_time_and_one_call_goes_at_a_time() {
    let hands = Hands::new();
    let proxy = Proxy::start(hands.broker.address());
    let gateway = gateway(&hands.broker.url_by(proxy.address(), &hands.vhost));
    let requeue = || gateway.admin_call("POST", "/v1/dead/requeue", &[], b"{\"all\":true}");
    proxy.set(Mode::Cut);
    let begun = Instant::now();
    for answer in [gateway.get("/v1/dead"), requeue()] {
        assert_eq!((answer.status, &*answer.code()), (503, "unavailable"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let (code, _) = cli(&gateway, &["list"]);
    assert_eq!(code, Some(1));
    proxy.set(Mode::BlackHole);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.get("/v1/dead"));
        std::thread::sleep(Duration::from_millis(500));
        let second = requeue();
        assert_eq!((second.status, &*second.code()), (503, "busy"), "{}", second.text());
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let first = first.join().unwrap();
        assert_eq!((first.status, &*first.code()), (503, "unavailable"), "{}", first.text());
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    proxy.restore();
    until("the broker is there again", SOON, || gateway.get("/v1/dead").status == 200);
}

#[test]
fn nobody_but_an_operator_may_touch_them() {
    let hands = Hands::new();
    let setup = with_rabbitmq(&hands.url()).admin_token(TOKEN).env("READ_TOKEN", READER);
    let setup = setup.set("admin", "read_token = { env = \"READ_TOKEN\" }").source("plain", "generic", "");
    let gateway = setup.start();
    connected(&gateway);
    let calls = [("GET", "/v1/dead"), ("POST", "/v1/dead/requeue"), ("POST", "/v1/dead/drop")];
    let by = |token: &str| {
        let bearer = format!("Bearer {token}");
        calls.map(|(method, path)| {
            let body: &[u8] = if method == "GET" { b"" } else { b"{\"all\":true}" };
            gateway.admin_call(method, path, &[("authorization", &bearer)], body).status
        })
    };
    assert_eq!(by("none"), [401, 401, 401]);
    assert_eq!(by(READER), [401, 401, 401], "a look writes to the queue, too");
    assert_eq!(by(TOKEN), [200, 200, 200]);
    for body in
        ["{}", "{\"all\":true,\"source\":\"plain\"}", "{\"ids\":[]}", "{\"all\":true,\"dry\":true}", ""]
    {
        for (method, path) in &calls[1..] {
            assert_eq!(gateway.admin_call(method, path, &[], body.as_bytes()).status, 400, "{path} {body}");
        }
    }
    for query in ["limit=0", "limit=10001", "limit=x", "after=1"] {
        assert_eq!(gateway.get(&format!("/v1/dead?{query}")).status, 400, "{query}");
    }
}

#[test]
fn with_another_sink_it_is_told_where_such_events_are() {
    let gateway = Setup::new().source("plain", "generic", "").start();
    for answer in [
        gateway.get("/v1/dead"),
        gateway.admin_call("POST", "/v1/dead/requeue", &[], b"{\"all\":true}"),
        gateway.admin_call("POST", "/v1/dead/drop", &[], b""),
    ] {
        assert_eq!((answer.status, &*answer.code()), (404, "no_dead_letters"));
        assert!(answer.text().contains("hookgate events list --state poison"), "{}", answer.text());
    }
    assert_eq!(
        gateway.run(&["events", "list", "--state", "poison"]).status.code(),
        Some(0),
        "those are the words"
    );
    assert_eq!(cli(&gateway, &["list"]).0, Some(1));
    assert_eq!(cli(&gateway, &["requeue"]).0, Some(2), "nothing is meant by saying nothing");
    assert_eq!(cli(&gateway, &["drop", "--all", "--source", "plain"]).0, Some(2));
}

#[test]
fn a_user_without_the_rights_is_told_which_before_any_letter_is_taken() {
    let hands = Hands::new();
    let gateway = gateway(&hands.url());
    rejected(&gateway, "plain", &["one"]);
    let user = format!("narrow-{}", hands.vhost);
    hands.broker.rabbitmqctl(&["add_user", &user, "secret"]);
    hands.broker.rabbitmqctl(&[
        "set_permissions",
        "-p",
        &hands.vhost,
        &user,
        "webhooks.*",
        "webhooks.*",
        "webhooks.*",
    ]);
    let narrow = undeclared(&hands.url().replace("guest:guest", &format!("{user}:secret")));
    for _ in 0..30 {
        let answer = narrow.get("/v1/dead");
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("403") && answer.text().contains("amq.default"), "{}", answer.text());
        assert!(!answer.text().contains("secret"));
    }
    let letters = hands.drained("dead");
    assert_eq!(letters.len(), 1);
    assert!(!letters[0].headers.contains_key("x-delivery-count"), "it was never offered");
}
