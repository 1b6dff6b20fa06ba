//! The gateway behind real proxies that share their connections to it: no request hidden from the proxy ever becomes
//! one of the gateway's, and nobody gets the answer to another's request.
//!
//! The proxy lets nobody ask for the source `hidden`, which every smuggled request is for. Each case is sent through the
//! proxy by somebody; then others come, whose requests go over the same connection to the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::battery::{Battery, Case, shown, whole};
use super::wire::{Wait, Wire, stranger};
use super::{chunks, framing, smuggling};
use crate::gateway::*;
use crate::services::front::{FORBIDDEN, Front, Kind};

/// How long an attacker waits for what a proxy makes of the request. Some it holds, for more to come.
const PATIENCE: Duration = Duration::from_millis(120);

/// A proxy, the gateway behind it, and what honest senders were told.
struct Pair {
    kind: Kind,
    battery: Battery,
    front: Front,
    sent: AtomicUsize,
    told: Mutex<BTreeMap<String, String>>,
}

impl Pair {
    fn start(kind: Kind) -> Self {
        let ingress = "head_timeout = \"2s\"\nbody_timeout = \"2s\"\ntrusted_proxies = [\"127.0.0.1/32\"]";
        let battery = Battery::of(Setup::new().set("ingress", ingress));
        let front = Front::start(kind, battery.gateway.ingress());
        Self { kind, battery, front, sent: AtomicUsize::new(0), told: Mutex::default() }
    }

    /// Sends the bytes of a case.
    fn attack(&self, case: &Case) {
        let Some(mut wire) = Wire::open(stranger(), self.front.address()) else { return };
        wire.say(&case.bytes);
        let heard = wire.hear(Wait::Answers(1), PATIENCE);
        let faults = heard.answers.iter().filter(|answer| answer.status >= 500 && answer.status != 503);
        // What a proxy says of itself is no answer of ours; ours are problem documents.
        let ours: Vec<_> = faults.filter(|answer| !answer.code().is_empty()).collect();
        assert!(ours.is_empty(), "{}: {ours:?}", case.name);
        if case.name.starts_with("upgrade") {
            // HAProxy lends a connection whose refused upgrade said `close` to the next sender until it sees its end, and
            // answers that one 502.
            sleep(Duration::from_millis(50));
        }
    }

    /// Requests of others, each of which must get its own answer.
    fn others(&self, after: &Case) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let body = format!("other {number}");
        let fault = || format!("{:?} behind {} ({})", self.kind, after.name, shown(&after.bytes));
        let refused = [
            "POST /nobody HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
            "PUT /in/plain HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
            "POST /in/plain HTTP/1.1\r\nhost: a\r\nx-signature: 00\r\ncontent-length: 1\r\n\r\nx",
        ];
        let mut wire = Wire::open(stranger(), self.front.address()).unwrap();
        wire.say(&whole("plain", &body));
        for request in refused {
            wire.say(request.as_bytes());
        }
        let heard = wire.hear(Wait::Answers(4), Duration::from_secs(10));
        let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 404, 405, 401], "{}", fault());
        assert_eq!(heard.answers[0].outcome(), "accepted", "{}", fault());
        self.told.lock().unwrap().insert(heard.answers[0].message_id(), body);
    }

    /// What must hold when all is over: every honest sender was told the id of its own event, and nothing was smuggled.
    fn end(mut self) {
        let told = self.told.into_inner().unwrap();
        let gateway = &mut self.battery.gateway;
        assert!(!gateway.is_dead(), "the gateway has ended");
        let port = gateway.ingress().port();
        until("one connection is kept for whoever comes", Duration::from_secs(5), || connections(port) == 1);
        assert_eq!(
            gateway.metric("hookgate_requests_total", &[("source", "hidden")]),
            0.0,
            "a request was smuggled"
        );
        let events = gateway.drain("plain", told.len());
        let kept: BTreeMap<_, _> = events.iter().map(|event| (&event.message_id, &event.body)).collect();
        for (id, body) in &told {
            let found = kept.get(id).map(|body| shown(body));
            assert_eq!(found, Some(shown(body.as_bytes())), "{id} was told to the sender of {body:?}");
        }
        assert!(self.battery.growth() <= super::battery::GROWTH);
        self.battery.log_is_clean();
    }
}

/// Connections that stand at a port of this machine.
fn connections(port: u16) -> usize {
    let local = format!(":{port:04X} ");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let stands = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let here = fields.next().is_some_and(|address| format!("{address} ").ends_with(&local));
        here && fields.nth(1) == Some("01")
    };
    table.lines().filter(stands).count()
}

/// Every case through a proxy, others after each.
fn smuggles_nothing(kind: Kind) {
    let pair = Pair::start(kind);
    let refused = Client::call(pair.front.address(), "POST", FORBIDDEN, &[], b"").unwrap();
    assert_eq!(refused.status, 403, "the proxy lets nobody ask for it");
    for case in framing::all().into_iter().chain(chunks::all()).chain(smuggling::all()) {
        pair.attack(&case);
        pair.others(&case);
    }
    pair.end();
}

#[test]
fn nothing_is_smuggled_past_a_proxy_that_shares_its_connections() {
    std::thread::scope(|scope| {
        for kind in [Kind::Nginx, Kind::LaxNginx, Kind::Haproxy, Kind::LaxHaproxy] {
            let name = format!("{kind:?}");
            std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || smuggles_nothing(kind))
                .unwrap();
        }
    });
}

/// Who called, as the log has it, for a refused request through a proxy with these lines.
fn caller(pair: &Pair, lines: &str) -> (String, String) {
    let from = stranger();
    let mut wire = Wire::open(from, pair.front.address()).unwrap();
    let path = format!("/in/plain?{}", from.to_string().replace('.', "-"));
    wire.say(
        format!("POST {path} HTTP/1.1\r\nhost: a\r\n{lines}x-signature: 00\r\ncontent-length: 1\r\n\r\nx")
            .as_bytes(),
    );
    assert_eq!(wire.hear(Wait::Answered, Duration::from_secs(5)).answers[0].status, 401);
    let mut found = String::new();
    until("the refusal is told", Duration::from_secs(5), || {
        let log = pair.battery.gateway.log();
        let refused = log
            .iter()
            .rev()
            .find(|line| line["reason"] == "signature_malformed" || line["reason"] == "signature_mismatch");
        found = refused.and_then(|line| line["address"].as_str()).unwrap_or_default().to_owned();
        found == from.to_string()
    });
    (found, from.to_string())
}

#[test]
fn a_proxy_tells_who_called_and_nobody_else_does() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let pair = Pair::start(kind);
        let forged = [
            "",
            "x-forwarded-for: 192.0.2.7\r\n",
            "x-forwarded-for: 127.0.0.1\r\nx-forwarded-for: 192.0.2.8, 127.0.0.1\r\n",
            "forwarded: for=192.0.2.9\r\nx-real-ip: 192.0.2.9\r\ntrue-client-ip: 192.0.2.9\r\n",
        ];
        for lines in forged {
            let (told, from) = caller(&pair, lines);
            assert_eq!(told, from, "{kind:?} with {lines:?}");
        }
        pair.end();
    }
}
