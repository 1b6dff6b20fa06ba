//! Paths: a source has one spelling, and whatever else is asked for is the same 404 to the byte.

use std::time::Duration;

use super::battery::{Battery, Case, Expected, shown, signature};
use super::wire::{Wait, Wire, stranger};
use crate::gateway::Answer;

const BODY: &str = "routed";

/// A signed request to `target` with these lines.
fn to(method: &str, target: &str, lines: &str) -> Vec<u8> {
    let (signature, length) = (signature(BODY.as_bytes()), BODY.len());
    format!(
        "{method} {target} HTTP/1.1\r\nhost: a\r\n{signature}{lines}content-length: {length}\r\n\r\n{BODY}"
    )
    .into_bytes()
}

fn answer(battery: &Battery, bytes: &[u8]) -> Answer {
    let mut wire = Wire::open(stranger(), battery.gateway.ingress()).unwrap();
    wire.say(bytes);
    let mut heard = wire.hear(Wait::Answers(1), Duration::from_secs(5));
    assert_eq!(heard.answers.len(), 1, "{}", shown(bytes));
    heard.answers.remove(0).without_date()
}

/// Where the admin listener has something, and where one might think it has.
const ADMIN: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "/v1",
    "/v1/",
    "/v1/events",
    "/v1/events/1",
    "/v1/events/1/body",
    "/v1/events/tail",
    "/v1/dead",
    "/v1/dead/requeue",
    "/v1/dead/drop",
    "/v1/notices",
    "/v1/events/replay",
    "/v1/events/forget",
    "/v1/events/release",
    "/v1/sources/plain/arm",
    "/v1/sources/plain/sample",
    "/v1/sources/plain/schema/check",
    "/v1/sources/plain/schema/check?type=x",
    "/v1/inbox/plain/claim",
    "/v1/inbox/plain/claim?max=10",
    "/v1/inbox/plain/ack",
    "/v1/inbox/plain/nack",
    "/v1/inbox/plain/extend",
    "/v1/reload",
    "/v1/drain",
    "/v1/drain/cancel",
    "/admin",
    "/console",
    "/console/app.js",
    "/debug/pprof",
    "/favicon.ico",
    "/robots.txt",
    "/.well-known/security.txt",
    "/.env",
    "/.git/config",
];

/// Other spellings of a source's path.
const SPELLINGS: &[&str] = &[
    "/in",
    "/in/",
    "/in/plain/",
    "/in/plain/.",
    "/in/plain/..",
    "/in/./plain",
    "/in/../in/plain",
    "/in//plain",
    "//in/plain",
    "/in/plain//",
    "/IN/plain",
    "/in/PLAIN",
    "/in/Plain",
    "/in/%70lain",
    "/in/%50lain",
    "/%69n/plain",
    "/in%2fplain",
    "/in%2Fplain",
    "/in/plain%2f",
    "/in/plain%20",
    "/in/plain%00",
    "/in/plain%0d%0a",
    "/in/plain%3f",
    "/in/plain%23",
    "/in/%2e/plain",
    "/in/%2e%2e/in/plain",
    "/%2e%2e/in/plain",
    "/in/%252e%252e/plain",
    "/in/plain;x",
    "/in/plain;x=1",
    "/in;x/plain",
    "/in/plain.",
    "/in/plain,",
    "/in/plain&x",
    "/in/plain*",
    "/in/*",
    "/in/plain%c0%ae",
    "/in/%c0%afplain",
    "/in/pl%u0061in",
    "/in/plain/livez",
    "/in/plain/../../livez",
    "/in/plain/%2e%2e/%2e%2e/v1/events",
    "/livez/../in/plain",
];

/// Headers by which some fronts are told another target.
const REWRITES: &[&str] = &[
    "x-original-url: /in/plain\r\n",
    "x-rewrite-url: /in/plain\r\n",
    "x-original-uri: /in/plain\r\n",
    "x-forwarded-uri: /in/plain\r\n",
    "x-forwarded-path: /in/plain\r\n",
    "x-forwarded-prefix: /in\r\n",
    "x-http-method-override: POST\r\n",
    "x-http-method: POST\r\n",
    "x-method-override: POST\r\n",
    "x-http-destinationurl: /in/plain\r\n",
    "x-forwarded-host: admin.example\r\n",
    "forwarded: host=admin.example;proto=https\r\n",
    "x-accel-redirect: /in/plain\r\n",
];

#[test]
fn every_path_but_a_sources_own_is_the_same_404() {
    let battery = Battery::start();
    let unknown = answer(&battery, &to("POST", "/nobody/has/this", ""));
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    for target in ADMIN.iter().chain(SPELLINGS) {
        for method in ["POST", "GET"] {
            assert_eq!(answer(&battery, &to(method, target, "")), unknown, "{method} {target}");
        }
    }
    for lines in REWRITES {
        assert_eq!(answer(&battery, &to("POST", "/nobody", lines)), unknown, "{lines}");
        let turned = lines.replace("/in/plain", "/livez");
        assert_eq!(answer(&battery, &to("POST", "/nobody", &turned)), unknown, "{turned}");
        let method = answer(&battery, &to("GET", "/in/plain", lines));
        assert_eq!(method.status, 405, "GET with {lines}");
    }
    battery.end(&[]);
}

#[test]
fn headers_that_rewrite_a_target_elsewhere_do_nothing_here() {
    let battery = Battery::start();
    let kept = |lines: &&str| {
        let lines = lines.replace("/in/plain", "/livez");
        Case::new(format!("to the source with {lines}"), to("POST", "/in/plain", &lines), Expected::Accepted)
    };
    battery.run(&REWRITES.iter().map(kept).collect::<Vec<_>>());
    let refused = [
        "/in/pl\0ain",
        "/in/plain\x01",
        "\\in\\plain",
        "/in\\plain",
        "in/plain",
        "/in/plain#/livez",
        "http:/in/plain",
    ];
    let refuse = |target: &&str| {
        Case::new(format!("target {target:?}"), to("POST", target, ""), Expected::Refused(&[400]))
    };
    battery.run(&refused.iter().map(refuse).collect::<Vec<_>>());
    battery.end(&[BODY.as_bytes()]);
}
