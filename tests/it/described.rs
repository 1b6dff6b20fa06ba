//! The description of the admin listener, held against what it answers; and what it shows of configuration and counts.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::*;

const TOKEN: &str = "operator-0123456789abcdef";
const READER: &str = "reader-0123456789abcdef";
/// Calls by POST that change nothing of an operator's: open to who may only look, or what workers do. All others are lines of
/// the audit log.
const UNTOLD: [&str; 5] = [
    "/v1/sources/{name}/schema/check",
    "/v1/inbox/{source}/claim",
    "/v1/inbox/{source}/ack",
    "/v1/inbox/{source}/nack",
    "/v1/inbox/{source}/extend",
];
const SOON: Duration = Duration::from_secs(30);
/// A step of the series is four seconds, and the first needs two looks.
const STEPS: Duration = Duration::from_secs(30);

fn setup() -> Setup {
    Setup::new()
        .source("shop", "stripe", "quarantine = \"1MiB\"\nlimit = { rate = \"5000/s\", burst = 9000 }")
        .source("git", "github", "on_twin = \"hold\"")
        .admin_token(TOKEN)
        .env("READ_TOKEN", READER)
        .set("admin", "read_token = { env = \"READ_TOKEN\" }")
}

/// A gateway that has seen some of everything: events, a twin that is held, a forgery, an unknown path.
fn busy() -> Gateway {
    let gateway = setup().start();
    for id in ["evt_1", "evt_2", "evt_3"] {
        assert_eq!(gateway.deliver(&stripe("shop", &stripe_event(id))).status, 200);
    }
    assert_eq!(gateway.deliver(&github("git", "one", "push", b"{\"a\":1}")).status, 200);
    assert_eq!(gateway.deliver(&github("git", "two", "push", b"{\"a\":1}")).status, 200);
    let forged = stripe_at("shop", "whsec_another_0123456789abcdef", now(), &stripe_event("evt_4"));
    assert_eq!(gateway.deliver(&forged).status, 401);
    assert_eq!(gateway.post("/in/nowhere", &[], b"{}").status, 404);
    let filled = |path: &str, list: &str| {
        let answer = gateway.get(path);
        !answer.json()[list].as_array().unwrap().is_empty()
    };
    until("the history is filled", SOON, || {
        gateway.get("/v1/history/events").json()["through"].as_u64() >= Some(5)
            && filled("/v1/history/refusals", "refusals")
            && filled("/v1/quarantine", "requests")
    });
    gateway
}

struct Call<'c> {
    method: &'c str,
    /// As the description has it.
    form: &'c str,
    path: String,
    body: Value,
    status: u16,
}

fn call<'c>(method: &'c str, form: &'c str, path: impl Into<String>, body: Value, status: u16) -> Call<'c> {
    Call { method, form, path: path.into(), body, status }
}

fn looks() -> Vec<Call<'static>> {
    let get = |form: &'static str, path: &str, status| call("get", form, path, Value::Null, status);
    vec![
        get("/livez", "/livez", 200),
        get("/readyz", "/readyz", 200),
        get("/metrics", "/metrics", 200),
        get("/v1", "/v1", 200),
        get("/v1/openapi.json", "/v1/openapi.json", 200),
        get("/v1/stats", "/v1/stats?steps=5", 200),
        get("/v1/stats", "/v1/stats?steps=901", 400),
        get("/v1/sources", "/v1/sources", 200),
        get("/v1/sources/{name}", "/v1/sources/shop", 200),
        get("/v1/sources/{name}", "/v1/sources/shap", 404),
        get("/v1/providers", "/v1/providers", 200),
        get("/v1/config", "/v1/config", 200),
        get("/v1/notices", "/v1/notices", 200),
        get("/v1/events", "/v1/events?limit=2", 200),
        get("/v1/events", "/v1/events?colour=red", 400),
        get("/v1/events/{sequence}", "/v1/events/1", 200),
        get("/v1/events/{sequence}", "/v1/events/4711", 404),
        get("/v1/events/{sequence}/body", "/v1/events/1/body", 200),
        get("/v1/history/events", "/v1/history/events?source=shop", 200),
        get("/v1/history/events/{sequence}", "/v1/history/events/1", 200),
        get("/v1/history/refusals", "/v1/history/refusals", 200),
        get("/v1/history/failures", "/v1/history/failures", 200),
        get("/v1/quarantine", "/v1/quarantine", 200),
        get("/v1/quarantine/{id}", "/v1/quarantine/1", 200),
        get("/v1/quarantine/{id}/body", "/v1/quarantine/1/body", 200),
    ]
}

fn orders() -> Vec<Call<'static>> {
    let post = |form: &'static str, body, status| call("post", form, form, body, status);
    let select = |selection: Value| json!({ "selection": selection });
    let source = |source: &str| select(json!({ "source": source }));
    let inbox = |form: &'static str, order: &str, body, status| {
        call("post", form, format!("/v1/inbox/shop/{order}"), body, status)
    };
    let sample = |source: &str, body, status| {
        call("post", "/v1/sources/{name}/sample", format!("/v1/sources/{source}/sample"), body, status)
    };
    let check = |asked: &str, body, status| {
        let (source, query) = asked.split_at(asked.find('?').unwrap_or(asked.len()));
        let path = format!("/v1/sources/{source}/schema/check{query}");
        call("post", "/v1/sources/{name}/schema/check", path, body, status)
    };
    let stale = json!({ "tokens": [] });
    vec![
        post("/v1/reload", Value::Null, 200),
        call("get", "/v1/drain", "/v1/drain", Value::Null, 200),
        post("/v1/drain", json!({ "grace": "1h" }), 200),
        post("/v1/drain", json!({ "grace": 1 }), 400),
        post("/v1/drain/cancel", Value::Null, 200),
        call("post", "/v1/sources/{name}/arm", "/v1/sources/shop/arm", Value::Null, 404),
        sample("shop", json!({}), 200),
        sample("shop", json!({ "break": "body" }), 200),
        sample("shop", json!({ "event": "none" }), 409),
        check("shop?type=x", json!({}), 200),
        check("git", json!({}), 200),
        check("shop", json!({ "long": " ".repeat(600 << 10) }), 413),
        post("/v1/events/replay", json!({ "selection": { "source": "shop" }, "dry_run": true }), 200),
        post("/v1/events/replay", source("shop"), 200),
        post("/v1/events/forget", source("shop"), 200),
        post("/v1/events/release", source("git"), 200),
        post("/v1/events/requeue", select(json!({ "state": "poison" })), 200),
        post("/v1/events/drop", select(json!({ "state": "held" })), 200),
        post("/v1/events/drop", json!({}), 400),
        post("/v1/quarantine/requeue", json!({ "source": "shop" }), 200),
        post("/v1/quarantine/drop", json!({ "all": true }), 200),
        call("get", "/v1/dead", "/v1/dead", Value::Null, 404),
        post("/v1/dead/requeue", json!({ "all": true }), 404),
        post("/v1/dead/drop", json!({ "all": true }), 404),
        inbox("/v1/inbox/{source}/claim", "claim?max=1", Value::Null, 200),
        inbox("/v1/inbox/{source}/ack", "ack", stale.clone(), 200),
        inbox("/v1/inbox/{source}/nack", "nack", stale.clone(), 200),
        inbox("/v1/inbox/{source}/extend", "extend", stale, 200),
    ]
}

/// The answer to a call with that token.
fn ask(gateway: &Gateway, one: &Call<'_>, token: &str) -> Answer {
    let authorization = bearer(token);
    let body = if one.body.is_null() { Vec::new() } else { one.body.to_string().into_bytes() };
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    gateway.admin_call(&one.method.to_uppercase(), &one.path, &headers, &body)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Why an answer is not as it is described.
pub fn judged(document: &Value, (method, form): (&str, &str), answer: &Answer) -> Result<(), String> {
    let responses = &document["paths"][form][method]["responses"];
    let described = responses.get(answer.status.to_string()).ok_or("its status is not described")?;
    let kind = answer.header("content-type");
    let Some(content) = described["content"].get(kind) else {
        return Err(format!("its type {kind:?} is not among {}", described["content"]));
    };
    if !kind.contains("json") || content["schema"].is_null() {
        return Ok(());
    }
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    let errors: Vec<String> = validator.iter_errors(&answer.json()).map(|error| error.to_string()).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

#[test]
fn every_answer_is_as_it_is_described() {
    let gateway = busy();
    let document = gateway.get("/v1/openapi.json").json();
    let (mut called, mut wrong) = (BTreeSet::new(), Vec::new());
    for one in looks().into_iter().chain(orders()) {
        let answer = ask(&gateway, &one, TOKEN);
        let shown = format!("{} {}: {} {}", one.method, one.path, answer.status, answer.text());
        assert_eq!(answer.status, one.status, "{shown}");
        wrong.extend(
            judged(&document, (one.method, one.form), &answer).err().map(|why| format!("{why}\n{shown}")),
        );
        called.insert((one.form.to_owned(), one.method.to_owned()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Its answer does not end.
    called.insert(("/v1/events/tail".to_owned(), "get".to_owned()));
    let all: BTreeSet<(String, String)> = each_described(&document).into_iter().collect();
    assert_eq!(called, all, "what is described and was not called, or the other way round");
}

/// Lines of the audit log that tell of an operator's action.
fn actions(gateway: &Gateway) -> usize {
    let log = gateway.log();
    log.iter().filter(|line| line["target"] == "hookgate::audit" && line["audit"] == "action").count()
}

#[test]
fn what_changes_something_is_closed_to_who_may_only_look_and_told_of_who_may() {
    let gateway = busy();
    for one in orders().iter().filter(|one| one.method != "get") {
        let told = actions(&gateway);
        let answer = ask(&gateway, one, READER);
        let open = one.form == "/v1/sources/{name}/schema/check";
        let wanted = if open { (one.status, String::new()) } else { (401, "token".to_owned()) };
        let found = (answer.status, if open { String::new() } else { answer.code() });
        assert_eq!(found, wanted, "{} with a reader's token: {}", one.path, answer.text());
        assert_eq!(actions(&gateway), told, "{} did nothing, and is told as done", one.path);

        let answer = ask(&gateway, one, TOKEN);
        assert_eq!(answer.status, one.status, "{}: {}", one.path, answer.text());
        let lines = usize::from(one.status == 200 && !UNTOLD.contains(&one.form));
        assert_eq!(actions(&gateway), told + lines, "{} {}: lines of the audit log", one.path, one.body);
    }
}

fn each_described(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect()
}

#[test]
fn without_the_token_nothing_opens_and_the_public_listener_has_none_of_it() {
    let gateway = setup().start();
    let document = gateway.get("/v1/openapi.json").json();
    let unknown = gateway.post("/in/nowhere", &[], b"").without_date();
    let plain = |answer: Answer| (answer.status, String::from_utf8(answer.without_date().body).unwrap());
    for (form, method) in each_described(&document) {
        let path = form.replace("{sequence}", "1").replace("{id}", "1").replace("{name}", "shop");
        let path = path.replace("{source}", "shop");
        let method = method.to_uppercase();
        let probe = matches!(&*form, "/livez" | "/readyz");
        for token in ["", "operator-0123456789abcde", "OPERATOR-0123456789ABCDEF"] {
            let authorization = bearer(token);
            let answer = gateway.admin_call(&method, &path, &[("authorization", &authorization)], b"");
            assert_eq!(answer.status, if probe { 200 } else { 401 }, "{method} {path} with {token:?}");
            assert!(probe || answer.code() == "token", "{}", answer.text());
        }
        let public = gateway.post(&path, &[("authorization", &bearer(TOKEN))], b"");
        assert_eq!(plain(public).0, unknown.status, "{path}");
    }
}

#[test]
fn a_configuration_is_shown_with_origins_and_without_secrets() {
    let gateway = setup().env("HOOKGATE__INGRESS__HEAD_TIMEOUT", "7s").start();
    let found = gateway.get("/v1/config");
    for secret in [secret("shop"), secret("git"), TOKEN.to_owned()] {
        for path in ["/v1/config", "/v1/sources", "/v1", "/v1/stats"] {
            assert!(!gateway.get(path).text().contains(&secret), "{path}");
        }
    }
    let found = found.json();
    let value = |key: &str| {
        let values = found["values"].as_array().unwrap().iter();
        let one: Vec<&Value> = values.filter(|value| value["key"] == key).collect();
        assert_eq!(one.len(), 1, "{key}");
        one[0].clone()
    };
    assert_eq!(value("ingress.head_timeout")["value"], "7s");
    assert_eq!(value("ingress.head_timeout")["origin"], "environment HOOKGATE__INGRESS__HEAD_TIMEOUT");
    assert_eq!(
        value("journal.retention"),
        json!({ "key": "journal.retention", "value": "7d", "origin": null })
    );
    assert_eq!(value("admin.token")["value"], json!({ "env": "ADMIN_TOKEN" }));
    let provider = value("sources.shop.provider");
    let origin = provider["origin"].as_str().unwrap();
    let (file, line) = origin.rsplit_once(':').unwrap();
    let text = std::fs::read_to_string(gateway.path(file.rsplit('/').next().unwrap())).unwrap();
    let line = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
    assert_eq!(line.trim(), "provider = \"stripe\"", "{origin}");
    assert_eq!(value("sources.shop.limit.rate")["value"], "5000/s");

    let providers = gateway.get("/v1/providers").json();
    let providers = providers["providers"].as_array().unwrap();
    assert!(providers.len() > 100 && providers.iter().all(|one| one["own"] == false), "{}", providers.len());
}

#[test]
fn a_source_is_shown_with_its_secrets_prints_and_its_counts() {
    let gateway = busy();
    let source = gateway.get("/v1/sources/shop").json();
    assert_eq!(source["path"], "/in/shop");
    assert_eq!((&source["provider"], &source["signed_by"]), (&json!("stripe"), &json!("hmac-sha256")));
    assert_eq!(source["limit"], json!({ "rate": "5000/s", "burst": 9000 }));
    let told = |name: &str| source["counts"][name].as_u64().unwrap();
    assert_eq!((told("received"), told("accepted"), told("rejected"), told("pending")), (4, 3, 1, 3));
    assert!(source["last_event_at"].is_string() && source["oldest_pending_at"].is_string(), "{source}");
    let secrets = source["secrets"].as_array().unwrap();
    assert_eq!((secrets.len(), &secrets[0]["proven"]), (1, &json!(3)));
    let print = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(secret("shop")));
    assert_eq!(secrets[0]["fingerprint"], print[..8]);
    let all = gateway.get("/v1/sources").json();
    assert_eq!(all["sources"].as_array().unwrap().len(), 2);
}

#[test]
fn the_last_hour_adds_up_to_what_came() {
    let gateway = setup().start();
    thread::sleep(Duration::from_secs(3));
    let mut client = Client::new(gateway.ingress());
    for turn in 0..200 {
        let signed = stripe("shop", &stripe_event(&format!("evt_{turn}")));
        assert_eq!(client.deliver(&signed).status, 200);
    }
    let forged = stripe_at("shop", "whsec_another_0123456789abcdef", now(), &stripe_event("evt_x"));
    assert_eq!(client.deliver(&forged).status, 401);
    let sum = |name: &str| {
        let stats = gateway.get("/v1/stats").json();
        let steps = stats["series"].as_array().unwrap().clone();
        steps.iter().map(|step| step[name].as_u64().unwrap()).sum::<u64>()
    };
    until("the series has all of it", STEPS, || sum("received") == 201);
    assert_eq!((sum("accepted"), sum("rejected"), sum("fault")), (200, 1, 0));
    let stats = gateway.get("/v1/stats").json();
    let times: Vec<f64> =
        stats["series"].as_array().unwrap().iter().filter_map(|step| step["p99_ms"].as_f64()).collect();
    assert!(!times.is_empty() && times.iter().all(|ms| (0.01..60_000.0).contains(ms)), "{times:?}");
    assert_eq!(stats["totals"]["received"], 201);
    assert_eq!(stats["refused"][0]["count"], 1, "{}", stats["refused"]);
    assert_eq!(gateway.get("/v1/stats?steps=1").json()["series"].as_array().unwrap().len(), 1);
}

#[test]
fn a_script_gone_wild_is_told_to_wait_and_workers_are_not() {
    let gateway = setup().start();
    let authorization = bearer(TOKEN);
    let headers = [("authorization", &*authorization)];
    let many = |method: &str, path: &str| -> Vec<Answer> {
        let one = || {
            let mut client = Client::new(gateway.admin());
            (0..500)
                .map(|_| client.request(method, path, &headers, b"").expect("an answer"))
                .collect::<Vec<Answer>>()
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    };
    let claims = many("POST", "/v1/inbox/shop/claim");
    assert!(claims.iter().all(|answer| answer.status == 200));
    let looks = many("GET", "/v1/notices");
    let (served, told): (Vec<_>, Vec<_>) = looks.iter().partition(|answer| answer.status == 200);
    assert!(served.len() >= 400 && !told.is_empty(), "{} of 2000 were served", served.len());
    for answer in told {
        assert_eq!((answer.status, &*answer.code()), (429, "too_many_calls"), "{}", answer.text());
        assert!((1..=2).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    }
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).status, 200);
}

#[test]
fn the_command_line_shows_how_it_goes_and_every_value() {
    let gateway = busy();
    let run = |arguments: &[&str]| {
        let output = gateway.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let page = run(&["top", "--once"]);
    assert!(page.starts_with(&format!("hookgate {}  ready", env!("CARGO_PKG_VERSION"))), "{page}");
    let row = page.lines().find(|line| line.starts_with("shop ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[1..7], ["stripe", "-", "3", "0", "1", "3"], "{page}");
    let stats: Value = serde_json::from_str(&run(&["top", "--once", "--output", "json"])).unwrap();
    assert_eq!(stats["totals"]["received"], 7);
    let values = run(&["check", "--values"]);
    for line in [
        "journal.retention = \"7d\"  # default",
        "sources.git.on_twin = \"hold\"  # ",
        "# sink.url is not set",
    ] {
        assert!(values.contains(line), "{line} is missing in\n{values}");
    }
    assert!(!values.contains(&secret("shop")) && !values.contains(TOKEN));
    let found: Value = serde_json::from_str(&run(&["check", "--values", "--output", "json"])).unwrap();
    assert!(found["values"].as_array().unwrap().len() > 80);
}
