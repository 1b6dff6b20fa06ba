//! Strangers at the admin listener: nothing that they bring is read, and they take nothing from deliveries.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::serves;
use crate::gateway::*;

const TOKEN: &str = "operator-0123456789abcdef";
const BODIES: [&str; 2] = ["content-length: 4000000000", "transfer-encoding: chunked"];

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").admin_token(TOKEN)
}

#[test]
fn no_body_of_a_stranger_is_read() {
    let gateway = setup().start();
    let lines = ["", "authorization: Bearer guessed\r\n", "expect: 100-continue\r\n"];
    for (line, body) in lines.iter().flat_map(|line| BODIES.iter().map(move |body| (line, body))) {
        for path in
            ["/v1/sources/shop/schema/check", "/v1/inbox/shop/ack", "/v1/events/drop", "/livez", "/nothing"]
        {
            let mut client = Client::new(gateway.admin());
            let begun = Instant::now();
            client.send(format!("POST {path} HTTP/1.1\r\nhost: g\r\n{line}{body}\r\n\r\n").as_bytes());
            let answer = last(&mut client);
            let told = (answer.status, answer.code(), answer.header("connection").to_owned());
            assert_eq!(told, (401, "token".into(), "close".into()), "{path} {line:?} {body}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{path}: {:?}", begun.elapsed());
            ends(&mut client, path);
        }
    }
    // With the token, a call that has a body is answered for what is in it.
    let judged = gateway.admin_call("POST", "/v1/sources/shop/schema/check", &[], b"{}");
    assert_eq!((judged.status, judged.json()["verdict"].as_str()), (200, Some("invalid")));
    serves(&gateway, "evt_1");
}

#[test]
fn a_body_that_stalls_ends_whoever_sends_it() {
    let gateway = setup().start();
    thread::scope(|scope| {
        for path in ["/v1/sources/shop/schema/check", "/v1/inbox/shop/ack", "/v1/events/drop"] {
            for (body, piece) in BODIES.iter().zip(["{\"a\":", "5\r\n{\"a\":\r\n"]) {
                let to = gateway.admin();
                scope.spawn(move || {
                    let mut client = Client::new(to).within(Duration::from_secs(45));
                    let head =
                        format!("POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\n");
                    let begun = Instant::now();
                    client.send(format!("{head}{body}\r\n\r\n{piece}").as_bytes());
                    let answer = last(&mut client);
                    assert!((400..500).contains(&answer.status), "{path} {body}: {}", answer.text());
                    assert!(begun.elapsed() < Duration::from_secs(40), "{path} {body}");
                    ends(&mut client, path);
                });
            }
        }
    });
    assert_eq!(gateway.admin_call("GET", "/v1", &[], b"").status, 200);
}

#[test]
fn a_body_that_no_call_wants_ends_with_the_answer() {
    let gateway = Setup::new().source("shop", "stripe", "").start();
    for (path, body) in ["/livez", "/metrics", "/v1/stats"].into_iter().zip(BODIES.into_iter().cycle()) {
        let mut client = Client::new(gateway.admin());
        client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{body}\r\n\r\n").as_bytes());
        assert_eq!(last(&mut client).status, 200, "{path}");
        ends(&mut client, path);
    }
    // Whoever says all that was announced may go on.
    let mut client = Client::new(gateway.admin());
    for _ in 0..3 {
        let order = b"{\"tokens\":[]}";
        let answer = client.request("POST", "/v1/inbox/shop/ack", &[("host", "localhost")], order);
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, ""), "{}", answer.text());
        assert!(client.is_open());
    }
}

#[test]
fn connections_of_strangers_are_bounded_and_take_none_from_deliveries() {
    let gateway = setup().wrapper(&["prlimit", "--nofile=512"]).start();
    let own = open_files(&gateway);
    let mut silent: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(gateway.admin()).unwrap()).collect();
    until("as many as may be are taken", Duration::from_secs(5), || open_files(&gateway) >= own + 60);
    for number in 0..50 {
        serves(&gateway, &format!("evt_{number}"));
    }
    let open = open_files(&gateway);
    assert!(open <= own + 64 + 8, "{open} descriptors, {own} before");
    // Whoever says nothing is sent away, and operators come in again.
    let scrape = gateway.metrics();
    assert!(scrape.ends_with("# EOF\n"));
    let first = silent.first_mut().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut told = Vec::new();
    first.read_to_end(&mut told).unwrap();
    assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 408"), "{told:?}");
}

/// The answer itself, the connection kept.
fn last(client: &mut Client) -> Answer {
    loop {
        let answer = client.one_answer().expect("an answer");
        if answer.status >= 200 {
            return answer;
        }
    }
}

/// Nobody keeps a connection by not sending what it was to send.
fn ends(client: &mut Client, path: &str) {
    until(&format!("{path}: the connection ends"), Duration::from_secs(5), || !client.is_open());
}

fn open_files(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}
