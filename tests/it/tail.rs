//! Events as they come in: a stream that tells each once, soon, over any number of connections, and takes nothing from others.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::*;

const SOON: Duration = Duration::from_secs(5);
/// What an event may take from its 2xx to the stream; most must, for the machine runs other tests beside.
const SEEN: Duration = Duration::from_secs(1);
/// What is left of a stream's life when a test ends.
const LONG: Duration = Duration::from_secs(60);

fn setup() -> Setup {
    Setup::new().source("plain", "generic", "").source("other", "generic", "")
}

/// A client that follows events.
struct Follower {
    blocks: Receiver<Vec<String>>,
}

impl Follower {
    /// Opens a stream and waits until it has begun; the status where it is refused.
    fn open(gateway: &Gateway, query: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let agent = ureq::Agent::config_builder().timeout_global(Some(LONG)).http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(agent.build());
        let mut request = agent.get(format!("http://{}/v1/events/tail{query}", gateway.admin()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.call().unwrap();
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (tell, blocks) = channel();
        spawn(move || {
            let mut block = Vec::new();
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                match line {
                    Ok(line) if !line.is_empty() => block.push(line),
                    Ok(_) if tell.send(std::mem::take(&mut block)).is_ok() => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
        let follower = Self { blocks };
        let first = follower.block(SOON).unwrap();
        assert!(first[0].starts_with("retry: ") && first[1].starts_with("id: "), "{first:?}");
        Ok(follower)
    }

    fn block(&self, limit: Duration) -> Option<Vec<String>> {
        self.blocks.recv_timeout(limit).ok()
    }

    /// The next event, told under its own number.
    fn next(&self, limit: Duration) -> Option<Value> {
        let block = self.block(limit)?;
        let [id, kind, data] = &block[..] else { panic!("{block:?}") };
        assert_eq!(kind, "event: event");
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(id.strip_prefix("id: ").unwrap(), event["sequence"].to_string());
        Some(event)
    }

    fn is_silent(&self) -> bool {
        self.next(Duration::from_millis(500)).is_none()
    }

    /// Whether the gateway ends it within this time.
    fn ends(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            match self.blocks.recv_timeout(limit) {
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return true,
                Err(_) => return false,
                Ok(_) => {}
            }
        }
        false
    }
}

fn send(gateway: &Gateway, source: &str, text: &str) -> String {
    let answer = gateway.deliver(&generic(source, text.as_bytes()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.message_id()
}

#[test]
fn an_event_is_seen_within_a_second_by_whom_it_concerns() {
    let gateway = setup().start();
    send(&gateway, "plain", "before anybody looked");
    let all = Follower::open(&gateway, "", &[]).unwrap();
    let plain = Follower::open(&gateway, "?source=plain", &[]).unwrap();
    let mut took = Vec::new();
    for index in 0..5 {
        let id = send(&gateway, "plain", &format!("event {index}"));
        let sent = Instant::now();
        for follower in [&all, &plain] {
            let event = follower.next(SOON).unwrap();
            assert_eq!((event["message_id"].as_str(), event["source"].as_str()), (Some(&*id), Some("plain")));
        }
        took.push(sent.elapsed());
    }
    took.sort_unstable();
    assert!(took[2] < SEEN, "{took:?}");
    let other = send(&gateway, "other", "not for everybody");
    assert_eq!(all.next(SOON).unwrap()["message_id"], *other);
    send(&gateway, "plain", "event 0");
    assert!(plain.is_silent() && all.is_silent(), "neither another source's, nor a copy of a known one");
    assert_eq!(gateway.drain("plain", 6).len(), 6, "nothing is taken from workers");
}

#[test]
fn who_comes_back_with_the_last_number_misses_nothing_over_restarts() {
    let mut gateway = setup().start();
    let told = |follower: &Follower, count: usize| -> Vec<u64> {
        (0..count).map(|_| follower.next(SOON).unwrap()["sequence"].as_u64().unwrap()).collect()
    };
    let from_the_start = Follower::open(&gateway, "?since=1h", &[]).unwrap();
    (0..300).for_each(|index| drop(send(&gateway, "plain", &format!("event {index}"))));
    assert_eq!(told(&from_the_start, 300), (1..=300).collect::<Vec<u64>>());
    drop(from_the_start);
    (300..310).for_each(|index| drop(send(&gateway, "plain", &format!("event {index}"))));
    gateway.kill();
    gateway.start();
    (310..320).for_each(|index| drop(send(&gateway, "plain", &format!("event {index}"))));
    let back = Follower::open(&gateway, "?source=plain&since=1h", &[("last-event-id", "300")]).unwrap();
    let numbers = told(&back, 20);
    assert!(numbers[0] > 300 && numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let ids: std::collections::BTreeSet<String> =
        gateway.drain("plain", 320).iter().map(|event| event.message_id.clone()).collect();
    assert_eq!(ids.len(), 320);
    let after = Follower::open(&gateway, &format!("?after={}", numbers[18]), &[]).unwrap();
    assert_eq!(told(&after, 1), [numbers[19]]);
    let ahead = Follower::open(&gateway, "?after=1000000", &[]).unwrap();
    send(&gateway, "plain", "in a journal that has never had so many");
    assert!(ahead.next(SOON).is_some());
}

#[test]
fn there_are_so_many_at_once_and_a_place_is_free_again_when_one_has_gone() {
    let gateway = setup().start();
    let mut open: Vec<Follower> = (0..16).map(|_| Follower::open(&gateway, "", &[]).unwrap()).collect();
    let answer = gateway.get("/v1/events/tail");
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text());
    assert!(answer.text().contains("16 tails"), "{}", answer.text());
    // Its thread hangs up once something comes that nobody takes.
    drop(open.pop());
    until("a place is free again", SOON, || {
        send(&gateway, "plain", &format!("{:?}", Instant::now()));
        Follower::open(&gateway, "", &[]).map(|follower| open.push(follower)).is_ok()
    });
    assert_eq!(gateway.get("/v1/events").status, 200);
}

#[test]
fn a_reload_and_a_stop_end_it_and_nobody_waits() {
    let mut gateway = setup().set("admin", "token = { file = \"token\" }").prepare();
    fs::write(gateway.path("token"), "an-admin-token-of-old").unwrap();
    gateway.start();
    let bearer = [("authorization", "Bearer an-admin-token-of-old")];
    assert_eq!(Follower::open(&gateway, "", &[]).err(), Some(401));
    assert_eq!(Follower::open(&gateway, "", &[("authorization", "Bearer wrong")]).err(), Some(401));
    for wrong in ["?sorce=plain", "?after=x", "?state=lost", "?since=yesterday", "?limit=5"] {
        assert_eq!(Follower::open(&gateway, wrong, &bearer).err(), Some(400), "{wrong}");
    }
    let before = Follower::open(&gateway, "", &bearer).unwrap();
    fs::write(gateway.path("token"), "an-admin-token-of-new").unwrap();
    let reloaded = gateway.admin_call("POST", "/v1/reload", &bearer, b"");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert!(before.ends(SOON), "a token that opens nothing any more must not go on reading");
    assert_eq!(Follower::open(&gateway, "", &bearer).err(), Some(401));
    let bearer = [("authorization", "Bearer an-admin-token-of-new")];
    let after = Follower::open(&gateway, "", &bearer).unwrap();
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(took < SOON && after.ends(SOON), "it took {took:?}");
}

#[test]
fn the_command_prints_each_event_once_while_the_gateway_is_killed_and_started_again() {
    let mut gateway = setup().start();
    let mut tail = gateway.spawn(&["events", "tail", "--since", "1h", "--limit", "40", "--output", "json"]);
    let (tell, lines) = channel();
    let out = BufReader::new(tail.stdout.take().unwrap());
    spawn(move || out.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
    let next = || {
        let line = lines.recv_timeout(Duration::from_secs(20)).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["sequence"].as_u64().unwrap()
    };
    (0..20).for_each(|index| drop(send(&gateway, "plain", &format!("event {index}"))));
    let mut numbers: Vec<u64> = (0..20).map(|_| next()).collect();
    gateway.kill();
    sleep(Duration::from_millis(1500));
    gateway.start();
    (20..40).for_each(|index| drop(send(&gateway, "other", &format!("event {index}"))));
    numbers.extend((0..20).map(|_| next()));
    assert!(lines.recv_timeout(SOON).is_err(), "it ends after so many");
    let mut told = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(0), "{told}");
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(told.contains("trying again") && told.contains("there again"), "{told}");
    gateway.kill();
    let output = gateway.run(&["events", "tail"]);
    assert_eq!(output.status.code(), Some(69), "nobody was there to begin with");
}

/// Answers so many requests, one after the other, with these statuses; what it was asked.
fn application(statuses: &'static [u16]) -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = channel();
    spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
            }
            let length = head
                .to_lowercase()
                .split_once("content-length: ")
                .map_or("0".to_owned(), |(_, rest)| rest.split_once("\r\n").unwrap().0.to_owned());
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
            if tell.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn an_application_under_development_gets_copies_with_exact_bodies_and_its_answers_are_told() {
    let gateway = Setup::new().source("shop", "stripe", "").source("plain", "generic", "").start();
    let (address, asked) = application(&[200, 500, 204]);
    let to = format!("http://{address}/hooks?from=hookgate");
    let listen = gateway.spawn(&["listen", "shop", "--forward-to", &to, "--since", "1h", "--limit", "4"]);
    for index in 0..4 {
        let event = stripe("shop", &stripe_event(&format!("evt_{index}")));
        let answer = gateway.deliver(&event);
        assert_eq!(answer.status, 200, "{}", answer.text());
        send(&gateway, "plain", &format!("not of this source {index}"));
        // The fourth finds nobody.
        let Ok((head, body)) = asked.recv_timeout(Duration::from_secs(20)) else {
            assert_eq!(index, 3);
            break;
        };
        let head = head.to_lowercase();
        assert!(head.starts_with("post /hooks?from=hookgate http/1.1\r\n"), "{head}");
        for line in [
            format!("hookgate-message-id: {}", answer.message_id()),
            "hookgate-source: shop".to_owned(),
            format!("hookgate-event-id: evt_{index}"),
            format!("hookgate-sequence: {}", 2 * index + 1),
            "content-type: application/json".to_owned(),
        ] {
            assert!(head.contains(&format!("\r\n{line}")), "{line} is not in {head}");
        }
        assert!(head.contains("\r\nstripe-signature: t="), "{head}");
        assert_eq!(body, event.body);
    }
    let output = listen.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = told.lines().map(|line| line.split_once("-> ").unwrap().1).collect();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(answers[0].starts_with("200 in ") && answers[1].starts_with("500 in "), "{told}");
    assert!(answers[2].starts_with("204 in ") && answers[3].contains("hooks"), "{told}");
    assert_eq!(gateway.drain("shop", 4).len(), 4, "workers get theirs all the same");
}
