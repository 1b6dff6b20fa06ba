//! The history in the real binary: what is searched for is found, with what became of it; it follows the journal through
//! restarts and kills, is made anew where it is gone or damaged, and harms nothing where it cannot be written.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;
use crate::load::with_rabbitmq;
use crate::services::RabbitMq;

/// It is filled four times a second, at the lowest priority, on a busy machine.
const FILLED: Duration = Duration::from_secs(30);

const OPERATOR: &str = "operator-0123456789abcdef";
const READER: &str = "reader-0123456789abcdef";

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source("git", "github", "on_twin = \"hold\"")
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.path("journal.history.sqlite")
}

/// The file, and what belongs to it.
fn remove(gateway: &Gateway) {
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", file(gateway).display())).ok();
    }
}

fn ask(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.get(&format!("/v1/history/{path}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn rows(gateway: &Gateway, query: &str) -> Vec<Value> {
    ask(gateway, &format!("events?{query}"))["events"].as_array().unwrap().clone()
}

/// A field of each event that a query finds.
fn each(gateway: &Gateway, query: &str, field: &str) -> Vec<String> {
    let text = |row: &Value| row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned);
    rows(gateway, query).iter().map(text).collect()
}

fn until_states(gateway: &Gateway, query: &str, states: &[&str]) {
    until(&format!("{query:?} finds {states:?}"), FILLED, || each(gateway, query, "state") == states);
}

fn send(gateway: &Gateway, ids: &[&str]) -> Vec<String> {
    let mut client = Client::new(gateway.ingress());
    ids.iter().map(|id| client.deliver(&stripe("shop", &stripe_event(id))).message_id()).collect()
}

/// The steps of an event, without their times.
fn steps(event: &Value) -> Vec<String> {
    let steps = event["steps"].as_array().unwrap().iter();
    steps.map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_event_is_found_by_whatever_is_known_of_it_with_what_became_of_it() {
    let gateway = setup().start();
    let ids = send(&gateway, &["evt_1", "evt_2", "evt_3"]);
    let push = |id: &str| gateway.deliver(&github("git", id, "push", b"{\"ref\":\"main\"}"));
    assert_eq!((push("d-1").status, push("d-2").status), (200, 200));
    until_states(&gateway, "", &["held", "pending", "pending", "pending", "pending"]);
    assert_eq!(gateway.metric("hookgate_history_behind_events", &[]), 0.0);
    assert_eq!(each(&gateway, "source=shop", "event_id"), ["evt_3", "evt_2", "evt_1"], "newest first");
    for query in [
        "id=evt_2".to_owned(),
        format!("key={}", ids[1]),
        "sequence=2".to_owned(),
        format!("id=evt_2&key={}&source=shop&type=charge.captured&since=1h", ids[1]),
    ] {
        assert_eq!(each(&gateway, &query, "event_id"), ["evt_2"], "{query}");
    }
    for query in ["id=evt_9", "id=evt_2&source=git", "type=charge", "until=1h", "state=poison", "source=none"]
    {
        assert_eq!(rows(&gateway, query), Vec::<Value>::new(), "{query}");
    }
    assert_eq!(each(&gateway, "type=push&state=held", "event_id"), ["d-2"]);

    let taken = gateway.claim("shop", 3);
    gateway.nack("shop", &taken[..1], "0s");
    gateway.ack("shop", &taken[1..]);
    until_states(&gateway, "source=shop", &["confirmed", "confirmed", "aside"]);
    assert_eq!(gateway.drain("shop", 1).len(), 1);
    until_states(&gateway, "id=evt_1", &["confirmed"]);
    let event = ask(&gateway, "events/1");
    assert_eq!(steps(&event), ["received", "given_back", "attempted", "confirmed"], "{event}");
    assert_eq!(
        (&event["attempts"], &event["secret"], &event["bytes"]),
        (&2.into(), &"live".into(), &stripe_event("evt_1").len().into())
    );
    assert_eq!(event["digest"], crate::load::digest(&stripe_event("evt_1")));
    let after: Vec<i64> =
        event["steps"].as_array().unwrap().iter().map(|step| step["after_ms"].as_i64().unwrap()).collect();
    assert!(after[0] == 0 && after.is_sorted() && after[3] < 60_000, "{after:?}");
    assert!(event["ended_at"].as_str() >= event["attempted_at"].as_str(), "{event}");

    let page = ask(&gateway, "events?limit=2");
    let next = page["next"].as_str().unwrap();
    assert_eq!(page["through"], 5);
    let rest = rows(&gateway, &format!("limit=3&after={next}"));
    assert_eq!(rest.iter().map(|row| row["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(ask(&gateway, "events?limit=5")["next"], Value::Null);

    let act = |action: &str, body: &str| {
        assert_eq!(
            gateway.admin_call("POST", &format!("/v1/events/{action}"), &[], body.as_bytes()).status,
            200
        );
    };
    act("drop", "{\"selection\": {\"state\": \"held\"}}");
    act("replay", "{\"selection\": {\"id\": \"evt_2\"}}");
    until_states(&gateway, "id=evt_2", &["pending"]);
    assert_eq!(gateway.drain("shop", 1).len(), 1);
    until_states(&gateway, "id=evt_2", &["confirmed"]);
    let first = ["received", "attempted", "confirmed"];
    let again = ["replayed", "attempted", "confirmed"];
    let event = ask(&gateway, "events/2");
    assert_eq!(steps(&event), [first, again].concat(), "{event}");
    assert_eq!((&event["replays"], &event["replays_left_out"]), (&1.into(), &0.into()));
    until_states(&gateway, "id=d-2", &["dropped"]);
}

#[test]
fn what_was_before_a_replay_is_told_after_many_of_them_and_a_restart() {
    let mut gateway = setup().start();
    send(&gateway, &["evt_1"]);
    assert_eq!(gateway.drain("shop", 1).len(), 1);
    until_states(&gateway, "", &["confirmed"]);
    let once = ask(&gateway, "events/1")["steps"].clone();
    for turn in 1..=10 {
        let replay =
            gateway.admin_call("POST", "/v1/events/replay", &[], b"{\"selection\":{\"id\":\"evt_1\"}}");
        assert_eq!(replay.json()["outcomes"]["replayed"], 1, "{}", replay.text());
        assert_eq!(gateway.drain("shop", 1).len(), 1);
        until("the replay is told of", FILLED, || {
            let event = ask(&gateway, "events/1");
            event["replays"] == turn && event["state"] == "confirmed"
        });
        if turn == 5 {
            gateway.restart();
        }
    }
    let event = ask(&gateway, "events/1");
    let told = steps(&event);
    let again = ["replayed", "attempted", "confirmed"];
    let expected: Vec<&str> =
        ["received", "attempted", "confirmed"].into_iter().chain(again.repeat(8)).collect();
    assert_eq!(told, expected, "{event}");
    assert_eq!(
        (&event["replays"], &event["replays_left_out"], &event["attempts"]),
        (&10.into(), &2.into(), &11.into())
    );
    assert_eq!(
        event["steps"].as_array().unwrap()[..3],
        once.as_array().unwrap()[..],
        "as it was told before"
    );
    let after: Vec<i64> =
        event["steps"].as_array().unwrap().iter().map(|step| step["after_ms"].as_i64().unwrap()).collect();
    assert!(after.is_sorted(), "{after:?}");

    // The journal knows how it stands, and no times.
    gateway.terminate();
    remove(&gateway);
    gateway.start();
    until_states(&gateway, "", &["confirmed"]);
    let event = ask(&gateway, "events/1");
    assert_eq!((steps(&event), &event["replays"]), (vec!["received".to_owned()], &0.into()), "{event}");
}

#[test]
fn a_file_of_an_older_version_is_put_aside_and_made_anew() {
    let mut gateway = setup().start();
    send(&gateway, &["evt_1"]);
    until_states(&gateway, "", &["pending"]);
    gateway.terminate();
    let older = rusqlite::Connection::open(file(&gateway)).unwrap();
    let version: i64 = older.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    older.pragma_update(None, "user_version", version - 1).unwrap();
    drop(older);
    gateway.start();
    until("it is made anew", FILLED, || gateway.get("/v1/history/events").status == 200);
    until_states(&gateway, "", &["pending"]);
    assert!(gateway.stderr().contains("of another version"), "{}", gateway.stderr());
    assert!(gateway.path("journal.history.sqlite.old").exists());
}

#[test]
fn it_follows_the_journal_through_kills_and_is_made_anew_where_it_is_gone() {
    let mut gateway = setup().start();
    send(&gateway, &["evt_1", "evt_2", "evt_3", "evt_4"]);
    until_states(&gateway, "source=shop", &["pending"; 4]);
    gateway.ack("shop", &gateway.claim("shop", 2));
    // What nobody has written down yet is asked of the journal.
    gateway.kill();
    gateway.start();
    until_states(&gateway, "", &["pending", "pending", "confirmed", "confirmed"]);
    send(&gateway, &["evt_5"]);
    until_states(&gateway, "id=evt_5", &["pending"]);
    let before: Vec<Value> = rows(&gateway, "");
    gateway.terminate();

    remove(&gateway);
    gateway.start();
    until_states(&gateway, "", &["pending", "pending", "pending", "confirmed", "confirmed"]);
    let known = |rows: &[Value]| -> Vec<Vec<Value>> {
        let fields =
            ["sequence", "message_id", "event_id", "type", "received_at", "secret", "digest", "bytes"];
        rows.iter().map(|row| fields.map(|field| row[field].clone()).to_vec()).collect()
    };
    assert_eq!(known(&rows(&gateway, "")), known(&before));
    gateway.terminate();

    remove(&gateway);
    std::fs::write(file(&gateway), vec![b'x'; 64 << 10]).unwrap();
    gateway.start();
    until("it is made anew", FILLED, || gateway.get("/v1/history/events").status == 200);
    until_states(&gateway, "", &["pending", "pending", "pending", "confirmed", "confirmed"]);
    assert!(gateway.stderr().contains("the history is damaged"), "{}", gateway.stderr());

    // A journal that begins anew has other events under the same numbers.
    gateway.terminate();
    std::fs::remove_dir_all(gateway.journal()).unwrap();
    gateway.start();
    send(&gateway, &["evt_9"]);
    until("only the new journal's", FILLED, || each(&gateway, "", "event_id") == ["evt_9"]);
}

#[test]
fn what_was_refused_is_listed_with_causes_and_summed_up() {
    let gateway = setup().start();
    let forged = stripe("shop", &stripe_event("evt_1")).with("stripe-signature", "t=1,v1=00");
    assert_eq!(gateway.deliver(&forged).status, 401);
    let other = crate::senders::stripe_at("shop", &secret("git"), now(), &stripe_event("evt_2"));
    until("its cause is found", FILLED, || {
        assert_eq!(gateway.deliver(&other).status, 401);
        let known = ask(&gateway, "failures")["failures"].as_array().unwrap().clone();
        known.iter().any(|row| row["reason"] == "signature_mismatch" && row["cause"].is_string())
    });
    let answer = gateway.post("/in/nowhere", &[], b"{}");
    assert_eq!(answer.status, 404);
    until("all three are there", FILLED, || {
        ask(&gateway, "failures")["failures"].as_array().unwrap().len() >= 3
    });

    let mismatch = &ask(&gateway, "refusals?source=shop&reason=signature_mismatch")["refusals"];
    let last = mismatch.as_array().unwrap().iter().find(|row| row["cause"].is_string()).unwrap();
    assert_eq!((&last["status"], &last["address"]), (&401.into(), &"127.0.0.1".into()), "{last}");
    assert!(last["found"].as_str().unwrap().contains("git"), "the secret of another source: {last}");
    let stranger = &ask(&gateway, "refusals?source=&limit=1")["refusals"][0];
    assert!(stranger["path"].as_str().unwrap().starts_with("/in/no"), "{stranger}");
    let page = ask(&gateway, "refusals?limit=1");
    let next = page["next"].as_str().unwrap();
    let older = &ask(&gateway, &format!("refusals?limit=1&after={next}"))["refusals"][0];
    assert!(older["at"].as_str() <= page["refusals"][0]["at"].as_str());
    assert_eq!(ask(&gateway, "failures?since=2020-01-01T00:00:00Z")["since"], "2020-01-01T00:00:00.000Z");
    let all = ask(&gateway, "refusals?limit=1000").to_string();
    assert!(!all.contains(&secret("git")) && !all.contains("charge.captured"), "no secret and no body");

    // A flood is counted, and not listed one by one.
    let listed = || ask(&gateway, "refusals?limit=1000")["refusals"].as_array().unwrap().clone();
    let (before, mut client) = (listed().len(), Client::new(gateway.ingress()));
    for _ in 0..400 {
        client.request("POST", "/in/flood", &[], b"").unwrap();
    }
    until("the flood is told of", FILLED, || {
        client.request("POST", "/in/flood", &[], b"").unwrap();
        let rows = listed();
        let of = |row: &&Value| row["path"] == "/in/flood";
        let told: u64 = rows.iter().filter(of).map(|row| 1 + row["left_out"].as_u64().unwrap()).sum();
        told >= 400 && rows.len() - before < 400
    });
}

#[test]
fn what_the_broker_said_of_an_event_is_a_step_of_it() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    send(&gateway, &["evt_1"]);
    until_states(&gateway, "", &["confirmed"]);
    assert_eq!(steps(&ask(&gateway, "events/1")), ["received", "attempted", "confirmed"]);
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.shop"]);
    send(&gateway, &["evt_2"]);
    until_states(&gateway, "id=evt_2", &["aside"]);
    let event = ask(&gateway, "events/2");
    let returned = event["steps"].as_array().unwrap().iter().find(|step| step["step"] == "returned").unwrap();
    assert_eq!(returned["detail"], "312 NO_ROUTE");
}

#[test]
fn where_it_cannot_be_written_events_are_taken_and_handed_over_all_the_same() {
    let gateway = setup().set("history", "file = \"no/such/folder/history.sqlite\"").start();
    let ids = send(&gateway, &["evt_1", "evt_2"]);
    assert_eq!(gateway.drain("shop", 2).len(), ids.len());
    until("it is told of", FILLED, || gateway.stderr().contains("the history is not written"));
    assert_eq!(gateway.get("/v1/history/events").status, 503);
    assert_eq!(gateway.metric("hookgate_history_behind_events", &[]), 2.0);
    std::fs::create_dir_all(gateway.path("no/such/folder")).unwrap();
    until("it is written again", FILLED, || gateway.get("/v1/history/events").status == 200);
    until_states(&gateway, "", &["confirmed", "confirmed"]);
}

#[test]
fn without_one_there_is_no_file_and_calls_say_so() {
    let gateway = setup().set("history", "enabled = false").start();
    send(&gateway, &["evt_1"]);
    let answer = gateway.get("/v1/history/events");
    assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (404, "no_history"));
    assert!(!file(&gateway).exists());
}

#[test]
fn queries_that_make_no_sense_are_told_what_is_allowed_and_strangers_nothing() {
    let gateway = setup().admin_token("operator-0123456789abcdef").start();
    for (path, told) in [
        (
            "events?sorce=x",
            "allowed: source, type, id, key, state, sequence, since, until, text, after, limit",
        ),
        ("events?limit=0", "from 1 to 1000"),
        ("events?after=7", "the `next` of an earlier answer"),
        ("events?state=lost", "allowed are pending"),
        ("events/x", "/v1/history/events/17"),
        ("refusals?since=yesterday", "a duration before now"),
        ("refusals?after=x", "the `next`"),
        ("failures?until=1h", "allowed: since"),
    ] {
        let answer = gateway.get(&format!("/v1/history/{path}"));
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(told), "{path}: {}", answer.text());
        let stranger = http_get(&gateway, &format!("/v1/history/{path}"));
        assert_eq!(stranger, 401, "{path}");
    }
    let gone = gateway.get("/v1/history/events/99");
    assert_eq!((gone.status, gone.json()["code"].as_str().unwrap()), (404, "gone"));
    // Quotes and wildcards are text like any other.
    for query in ["id=%27%20OR%201%3D1%20--", "type=%25", "source=%22%3B%20DROP%20TABLE%20events"] {
        assert_eq!(rows(&gateway, query), Vec::<Value>::new(), "{query}");
    }
}

/// The status of a call without a token.
fn http_get(gateway: &Gateway, path: &str) -> u16 {
    gateway.admin_call("GET", path, &[("authorization", "Bearer none")], b"").status
}

#[test]
fn the_command_line_searches_it() {
    let gateway = setup().start();
    send(&gateway, &["evt_1", "evt_2"]);
    assert_eq!(gateway.drain("shop", 2).len(), 2);
    until_states(&gateway, "", &["confirmed", "confirmed"]);
    gateway.post("/in/elsewhere", &[], b"");
    until("the refusal is there", FILLED, || {
        !ask(&gateway, "refusals")["refusals"].as_array().unwrap().is_empty()
    });
    let run = |arguments: &[&str]| {
        let output = gateway.run(&[&["history"], arguments].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["events", "--id", "evt_2"]);
    assert!(code == Some(0) && text.contains("shop  confirmed  charge.captured  evt_2"), "{text}");
    assert_eq!(text.lines().count(), 1);
    let (code, text) = run(&["show", "2"]);
    assert!(code == Some(0) && text.contains("confirmed") && text.contains("+0 ms"), "{text}");
    let (_, text) = run(&["refusals"]);
    assert!(text.contains("404  unknown_path  127.0.0.1") && text.contains("/in/elsewhere"), "{text}");
    let (_, text) = run(&["failures", "--since", "1h"]);
    assert!(text.trim_start().starts_with("1  -  unknown_path"), "{text}");
    let (_, text) = run(&["events", "--output", "json", "--limit", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["event_id"], "evt_2");
    assert_eq!(run(&["events", "--state", "lost"]).0, Some(2));
}

#[test]
fn bodies_are_searched_where_their_source_lets_them_and_masked_where_it_hides_them() {
    let lines = "capture_bodies = true\nmask = [\"/customer/email\", \"/cards/*/number\"]";
    let mut gateway = Setup::new()
        .source("shop", "stripe", lines)
        .source("git", "github", "")
        .env("ADMIN_TOKEN", OPERATOR)
        .env("READ_TOKEN", READER)
        .set("admin", "token = { env = \"ADMIN_TOKEN\" }\nread_token = { env = \"READ_TOKEN\" }")
        .start();
    let body = br#"{"id":"evt_1","type":"invoice.paid","customer":{"email":"ada@example.com","name":"Ada Lovelace"},"cards":[{"number":"4242424242424242"}]}"#;
    assert_eq!(gateway.deliver(&stripe("shop", body)).status, 200);
    assert_eq!(gateway.deliver(&stripe("shop", b"name=Ada&not=json")).status, 200);
    assert_eq!(gateway.deliver(&github("git", "one", "push", b"{\"name\":\"Ada\"}")).status, 200);
    let get = |token: &str, path: &str| {
        gateway.admin_call("GET", path, &[("authorization", &format!("Bearer {token}"))], b"")
    };
    until("all are there", FILLED, || {
        get(READER, "/v1/history/events").json()["through"].as_u64() >= Some(3)
    });
    let with = |words: &str| {
        let found = get(READER, &format!("/v1/history/events?text={words}")).json();
        found["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["sequence"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(with("Lovelace"), [1]);
    assert_eq!(with("ada+invoice"), [1], "the sources that do not say so are not searched");
    for hidden in ["example", "4242424242424242", "4242*", "not"] {
        assert_eq!(with(hidden), Vec::<u64>::new(), "{hidden}");
    }
    assert_eq!(get(READER, "/v1/history/events?text=%2A").status, 400);
    let digest = |token: &str| get(token, "/v1/history/events/1").json()["digest"].is_string();
    assert!(digest(OPERATOR) && !digest(READER), "of few bodies a digest tells which");
    let shown = get(READER, "/v1/events/1/body").json();
    assert_eq!(shown["customer"], serde_json::json!({ "email": "***", "name": "Ada Lovelace" }));
    assert_eq!(shown["cards"][0]["number"], "***");
    assert_eq!(get(OPERATOR, "/v1/events/1/body").body, body);
    let hidden = get(READER, "/v1/events/2/body");
    assert_eq!((hidden.status, &*hidden.code()), (403, "masked"), "{}", hidden.text());
    assert_eq!(get(OPERATOR, "/v1/events/2/body").body, b"name=Ada&not=json");
    assert_eq!(
        get(READER, "/v1/events/3/body").json()["name"],
        "Ada",
        "where nothing is hidden, all is shown"
    );

    let more = lines.replace("mask = [", "mask = [\"/customer/name\", ");
    gateway.change(|setup| setup.without("sources.shop").source("shop", "stripe", &more));
    let call = |method: &str, token: &str, path: &str| {
        gateway.admin_call(method, path, &[("authorization", &format!("Bearer {token}"))], b"")
    };
    assert_eq!(call("POST", OPERATOR, "/v1/reload").status, 200);
    let found = || call("GET", READER, "/v1/history/events?text=Lovelace").json()["events"].clone();
    until("what a new mask hides is found no more", FILLED, || found() == serde_json::json!([]));
    let last = call("GET", READER, "/v1/sources/shop").json()["last_event_at"].clone();
    assert!(last.is_string(), "a reload forgets no time");
}
