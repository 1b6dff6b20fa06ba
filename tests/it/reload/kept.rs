//! What goes on over a reload, and what belongs to files beside the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{applied, delivered, reload};
use crate::answers::{SCHEME, own};
use crate::gateway::*;

#[test]
fn a_source_that_is_gone_is_answered_404_and_workers_still_get_what_it_had() {
    let mut gateway = Setup::new()
        .source("shop", "stripe", "")
        .source("going", "stripe", "limit = { rate = \"1000/s\" }")
        .start();
    (0..30).for_each(|n| assert_eq!(delivered(&gateway, "going", &format!("evt_{n}")), 200));
    let leased = gateway.claim("going", 10);
    assert_eq!(leased.len(), 10);
    gateway.change(|setup| setup.without("sources.going"));
    assert_eq!(applied(&gateway)["secrets"]["removed"], serde_json::json!(["going/live"]));
    assert_eq!(delivered(&gateway, "going", "evt_x"), 404);
    assert_eq!(gateway.ack("going", &leased).status, 200, "leases outlive it");
    assert_eq!(gateway.drain("going", 20).len(), 20);
    let unknown = gateway.admin_call("POST", "/v1/inbox/never/claim", &[], b"");
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_source".to_owned()));

    // It comes back with its memory of events.
    gateway.change(|setup| setup.source("going", "stripe", ""));
    applied(&gateway);
    assert_eq!(gateway.deliver(&stripe("going", &stripe_event("evt_1"))).outcome(), "duplicate");
    crate::scrape::Scrape::read(&gateway.metrics()).closes();
}

#[test]
fn a_pace_on_the_way_out_is_not_refilled() {
    let lines = "limit = { rate = \"4/h\", burst = 4 }";
    let mut gateway = Setup::new().source("shop", "stripe", lines).start();
    (0..12).for_each(|n| assert_eq!(delivered(&gateway, "shop", &format!("evt_{n}")), 200));
    assert_eq!(gateway.drain("shop", 4).len(), 4);
    gateway.change(|setup| setup.set("sources.shop", "success_status = 202"));
    applied(&gateway);
    assert!(gateway.claim("shop", 10).is_empty());
    gateway.change(|setup| setup.set("sources.shop", "limit = { rate = \"5/h\", burst = 5 }"));
    applied(&gateway);
    assert_eq!(gateway.claim("shop", 10).len(), 5, "another rate is another bucket");
}

const HELLO: &str = "[[handshakes]]\nname = \"hello\"\nverify = false\nmatch = { present = [\"header:X-Hook-Secret\"] }\n\
                     capture = \"header:X-Hook-Secret\"\n\
                     answer = { headers = { X-Hook-Secret = \"{header:X-Hook-Secret}\" } }\n";

#[test]
fn a_source_stays_armed_and_keeps_the_secret_that_it_was_brought() {
    let first = "b537207f20cbfa02357cf448134da559";
    let setup =
        Setup::new().source("acme", "acme", "secrets = [{ captured = \"secrets/acme\", label = \"hook\" }]");
    let mut gateway = own(&format!("{SCHEME}{HELLO}"), setup);
    let event = |body: &[u8]| generic("acme", body).with("x-signature", &hex::encode(mac(first, &[body])));
    assert!(gateway.run(&["secret", "arm", "acme", "--for", "5m"]).status.success());
    gateway.change(|setup| setup.set("sources.acme", "success_status = 202"));
    applied(&gateway);
    let shown =
        Client::call(gateway.ingress(), "POST", "/in/acme", &[("X-Hook-Secret", first)], b"{}").unwrap();
    assert_eq!(shown.status, 200, "it is armed still");
    assert_eq!(gateway.deliver(&event(b"{\"id\":1}")).status, 202);
    gateway.change(|setup| setup.set("sources.acme", "success_status = 201"));
    applied(&gateway);
    assert_eq!(gateway.deliver(&event(b"{\"id\":2}")).status, 201);
}

#[test]
fn provider_and_schema_files_are_loaded_again_and_only_where_they_are_right() {
    let schema =
        |kind: &str| format!("{{\"type\":\"object\",\"properties\":{{\"id\":{{\"type\":\"{kind}\"}}}}}}");
    let setup =
        Setup::new().set("schemas", "dir = \"schemas.d\"").source("acme", "acme", "on_invalid = \"reject\"");
    let gateway = own(SCHEME, setup);
    let sent = |body: &[u8]| gateway.deliver(&generic("acme", body)).status;
    assert_eq!(sent(b"{\"id\":\"a\"}"), 200);
    fs::create_dir_all(gateway.path("schemas.d/acme")).unwrap();
    let file = gateway.path("schemas.d/acme/_envelope.json");
    fs::write(&file, schema("integer")).unwrap();
    assert_eq!(applied(&gateway)["sources"]["changed"], serde_json::json!(["acme"]));
    assert_eq!([sent(b"{\"id\":\"b\"}"), sent(b"{\"id\":2}")], [422, 200]);
    fs::write(&file, "{\"type\": 7}").unwrap();
    assert_eq!(reload(&gateway).status, 422);
    assert_eq!([sent(b"{\"id\":\"c\"}"), sent(b"{\"id\":3}")], [422, 200]);
    fs::remove_file(&file).unwrap();
    applied(&gateway);
    assert_eq!(sent(b"{\"id\":\"d\"}"), 200);

    let provider = fs::read_dir(gateway.path("providers.d")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&provider).unwrap();
    fs::write(&provider, text.replace("X-Signature", "X-Other")).unwrap();
    assert_eq!(applied(&gateway)["sources"]["changed"], serde_json::json!(["acme"]));
    assert_eq!(sent(b"{\"id\":\"e\"}"), 401);
    fs::write(&provider, "name = \"acme\"\n").unwrap();
    assert_eq!(reload(&gateway).status, 422);
    assert_eq!(sent(b"{\"id\":\"f\"}"), 401);
}

#[test]
fn the_command_line_reloads_and_tells() {
    let mut gateway = Setup::new().source("shop", "stripe", "").env("SECRET_LATE", &secret("late")).start();
    let admin = format!("http://{}", gateway.admin());
    let call = || {
        let output = crate::gateway::hookgate(&["reload", "--from", &admin]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(call(), (Some(0), "nothing has changed\n".to_owned(), String::new()));
    gateway.change(|setup| setup.source("late", "stripe", ""));
    let told = "reloaded; sources added: late; secrets added: late/live\n";
    assert_eq!(call(), (Some(0), told.to_owned(), String::new()));
    gateway.change(|setup| setup.set("sources.late", "success_status = 500").set("dedup", "window = \"9d\""));
    let (code, stdout, stderr) = call();
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    assert!(
        stderr.contains("sources.late.success_status") && stderr.contains("what was in force stays so"),
        "{stderr}"
    );
    gateway.kill();
    assert_eq!(call().0, Some(69));
}

#[test]
fn a_secret_that_cannot_be_read_any_more_leaves_the_one_before_in_force() {
    let gateway = Setup::new().source("shop", "stripe", "secrets = [{ file = \"key\" }]").prepare();
    fs::write(gateway.path("key"), secret("shop")).unwrap();
    let mut gateway = gateway;
    gateway.start();
    fs::write(gateway.path("key"), "short").unwrap();
    let told = reload(&gateway);
    assert_eq!(told.status, 422);
    assert!(!told.text().contains("\"short\"") && told.text().contains("holds 5 bytes"), "{}", told.text());
    fs::remove_file(gateway.path("key")).unwrap();
    assert_eq!(reload(&gateway).status, 422);
    assert_eq!(delivered(&gateway, "shop", "evt_1"), 200);
    fs::write(gateway.path("key"), secret("shop")).unwrap();
    fs::set_permissions(gateway.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(reload(&gateway).json()["outcome"], "unchanged");
}

#[test]
fn a_request_that_has_begun_ends_with_what_it_began_with() {
    let (old, new) = ("whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef");
    let setup = Setup::new().env("OLD", old).env("NEW", new).source("going", "stripe", "");
    let mut gateway = setup.source("shop", "stripe", "secrets = [{ env = \"OLD\" }]").start();
    let event = stripe_event("evt_1");
    let begun = |signed: &Signed| {
        let mut client = Client::new(gateway.ingress());
        let headers: String =
            signed.pairs().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (path, length) = (&signed.path, signed.body.len());
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {length}\r\n\r\n");
        client.send(head.as_bytes());
        client.send(&signed.body[..10]);
        client
    };
    let mut halves = [begun(&stripe("going", &event)), begun(&stripe_at("shop", old, now(), &event))];
    until("both have begun", std::time::Duration::from_secs(10), || {
        gateway.metric("hookgate_requests_in_progress", &[]) == 2.0
    });
    gateway
        .change(|setup| setup.without("sources.going").set("sources.shop", "secrets = [{ env = \"NEW\" }]"));
    applied(&gateway);
    assert_eq!(delivered(&gateway, "going", "evt_2"), 404);
    for half in &mut halves {
        half.send(&event[10..]);
        assert_eq!(half.answer().expect("an answer").outcome(), "accepted");
    }
    assert_eq!(gateway.deliver(&stripe_at("shop", old, now(), &stripe_event("evt_3"))).status, 401);
    crate::scrape::Scrape::read(&gateway.metrics()).closes();
}

#[test]
fn those_who_ask_at_once_are_told_of_few_reloads() {
    let gateway = Setup::new().source("shop", "stripe", "").start();
    let calls = 24;
    let told: Vec<u16> = std::thread::scope(|scope| {
        let call = || {
            gateway.signal(rustix::process::Signal::HUP);
            reload(&gateway).status
        };
        let callers: Vec<_> = (0..calls).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(told, vec![200; calls]);
    let done = super::reloads(&gateway, "unchanged");
    assert!((1.0..calls as f64).contains(&done), "{calls} calls and as many signals, {done} reloads");
    assert_eq!(delivered(&gateway, "shop", "evt_1"), 200);
}
