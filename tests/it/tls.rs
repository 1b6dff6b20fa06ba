//! HTTPS at the public listener: what is spoken and what is refused, certificates swapped under load, and silence.

mod acme;
mod clients;
pub mod https;
pub mod party;
mod pebble;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::gateway::*;
use crate::services::free_port;
use https::{Caller, Https};
use party::Authority;

/// How long a changed file may take to be seen: it is looked at every two seconds, and a wrong one twice.
const SEEN: Duration = Duration::from_secs(20);

/// A gateway with a certificate of `authority`; nothing runs yet.
pub fn certified(authority: &Authority, setup: Setup) -> Gateway {
    let setup = setup.set("ingress.tls", "certificate = \"fullchain.pem\"\nkey = \"key.pem\"");
    let gateway = setup.prepare();
    authority.server().put(&gateway.path(""));
    gateway
}

/// The same with a source.
fn prepared(authority: &Authority, setup: Setup) -> Gateway {
    certified(authority, setup.source("shop", "stripe", ""))
}

fn started(authority: &Authority, setup: Setup) -> Gateway {
    let mut gateway = prepared(authority, setup);
    gateway.start();
    gateway
}

fn event(id: &str) -> Signed {
    stripe("shop", &stripe_event(id))
}

/// Waits until so many handshakes have failed for that reason: a client is told before it is counted.
fn failed(gateway: &Gateway, reason: &str, times: f64) {
    let count = || gateway.metric("hookgate_tls_handshakes_failed_total", &[("reason", reason)]);
    until(&format!("{times} {reason}"), SEEN, || count() >= times);
    assert_eq!(count(), times, "{reason}");
}

fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric("hookgate_tls_certificate_reloads_total", &[("outcome", outcome)])
}

#[test]
fn a_delivery_comes_in_by_1_2_and_by_1_3() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    for (version, wanted) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = Caller { versions: &[version], ..Caller::of(&authority.pem) }.config();
        let mut client = Https::connect(gateway.ingress(), &config).unwrap();
        assert_eq!(client.version(), Some(wanted));
        for number in 0..3 {
            let answer = client.deliver(&event(&format!("evt_{wanted:?}_{number}"))).unwrap();
            assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"));
        }
        let forged = Signed { body: stripe_event("evt_forged"), ..event("evt_x") };
        assert_eq!(client.deliver(&forged).unwrap().status, 401);
        assert_eq!(client.deliver(&event(&format!("evt_{wanted:?}_0"))).unwrap().outcome(), "duplicate");
    }
    assert_eq!(gateway.drain("shop", 6).len(), 6);
    for version in ["1.2", "1.3"] {
        assert_eq!(gateway.metric("hookgate_tls_handshakes_total", &[("version", version)]), 1.0);
    }
    assert!(gateway.metric("hookgate_tls_certificate_expiry_timestamp_seconds", &[]) > 1.8e9);
}

/// The commands of an operator call the configured listener as it is.
#[test]
fn send_and_sign_speak_https_to_the_listener() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    let told = |arguments: &[&str]| {
        let output = gateway.run(arguments);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, talk) = told(&["send", "shop"]);
    assert!(code == Some(0) && out.contains("accepted"), "{out}{talk}");
    let url = format!("https://{}/in/shop", gateway.ingress());
    let (code, _, talk) = told(&["send", "shop", "--to", &url]);
    assert!(code == Some(69) && talk.contains("UnknownIssuer"), "nobody vouches for it: {talk}");
    assert_eq!(told(&["send", "shop", "--to", &url, "--insecure"]).0, Some(0));
    let (code, out, _) = told(&["send", "shop", "--break", "body"]);
    assert!(code == Some(1) && out.contains("request_id"), "{out}");
    fs::write(gateway.path("body"), "{}").unwrap();
    let (code, out, talk) = told(&["sign", "shop", "--body", "body", "--curl"]);
    assert!(code == Some(0) && out.contains(&url) && out.contains(" -k "), "{out}{talk}");
    let plain = format!("http://{}/in/shop", gateway.ingress());
    let (_, out, _) = told(&["send", "shop", "--to", &plain]);
    assert!(out.contains("this port speaks HTTPS"), "{out}");
}

#[test]
fn who_takes_no_answer_is_cut() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    let client = Https::connect(gateway.ingress(), &Caller::of(&authority.pem).config()).unwrap();
    let request = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    // Ten seconds once the sockets between the two are full.
    let took = client.never_reads(&request, Duration::from_secs(40));
    assert!(took.is_some_and(|took| took > Duration::from_secs(8)), "{took:?}");
}

#[test]
fn a_certificate_that_has_ended_holds_up_no_other_change() {
    let authority = Authority::new("web");
    let mut gateway = started(&authority, Setup::new().env("SECRET_LATE", &secret("late")));
    let config = Caller::of(&authority.pem).config();
    let first = Https::connect(gateway.ingress(), &config).unwrap().shown();
    authority.ended_server().put(&gateway.path(""));
    gateway.change(|setup| setup.source("late", "generic", ""));
    let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
    let told = answer.json();
    assert_eq!((answer.status, told["outcome"].as_str()), (200, Some("applied")), "{told}");
    assert!(told["warnings"][0].as_str().unwrap().contains("ended at"), "{told}");
    let mut client = Https::connect(gateway.ingress(), &config).unwrap();
    assert_eq!(client.shown(), first);
    assert_eq!(client.deliver(&generic("late", b"in force")).unwrap().status, 200);
    // Alone it is a reload that failed.
    let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (503, "failed"), "{}", answer.text());
    // There is nothing better to show after a restart.
    gateway.restart();
    until("its end is told of", SEEN, || {
        let notices = gateway.get("/v1/notices").json();
        notices["notices"][0]["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("the TLS certificate has ended"))
    });
}

#[test]
fn a_body_of_many_records_comes_in_whole() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    let mut client = Https::connect(gateway.ingress(), &Caller::of(&authority.pem).config()).unwrap();
    let body = [stripe_event("evt_long"), vec![b' '; 400 << 10]].concat();
    for _ in 0..2 {
        assert_eq!(client.deliver(&stripe("shop", &body)).unwrap().status, 200);
    }
    assert_eq!(gateway.drain("shop", 1)[0].body, body);
}

#[test]
fn a_floor_of_1_3_is_kept_and_plain_http_is_told_so() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new().set("ingress.tls", "min_version = \"1.3\""));
    let old = Caller { versions: &[&TLS12], ..Caller::of(&authority.pem) }.config();
    assert!(Https::connect(gateway.ingress(), &old).is_none());
    failed(&gateway, "version", 1.0);
    let answer = gateway.deliver(&event("evt_plain"));
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    assert!(answer.text().contains("HTTPS") && answer.header("connection") == "close");
    failed(&gateway, "plain_http", 1.0);
    assert_eq!(gateway.metric("hookgate_requests_received_total", &[]), 0.0);
}

/// How long the gateway keeps a connection that sends `bytes` and no more.
fn kept_open(gateway: &Gateway, bytes: &[u8]) -> Duration {
    let mut tcp = TcpStream::connect(gateway.ingress()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    tcp.write_all(bytes).unwrap();
    let begun = Instant::now();
    let mut rest = Vec::new();
    // The end may come as a reset.
    drop(tcp.read_to_end(&mut rest));
    begun.elapsed()
}

#[test]
fn silence_and_half_a_hello_end_with_the_time_for_a_head() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new().set("ingress", "head_timeout = \"1s\""));
    let half = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 40]].concat();
    for bytes in [&[][..], &half[..1], &half] {
        let open = kept_open(&gateway, bytes);
        assert!((Duration::from_millis(800)..Duration::from_secs(8)).contains(&open), "{open:?}");
    }
    failed(&gateway, "late", 3.0);
    let mut silent = Https::connect(gateway.ingress(), &Caller::of(&authority.pem).config()).unwrap();
    assert_eq!(silent.deliver(&event("evt_1")).unwrap().status, 200);
}

#[test]
fn noise_on_the_port_harms_nobody() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    for bytes in
        [&b"\x16\x03\x01\xff\xff"[..], b"\x80\x2e\x01\x03\x01", b"\0\0\0\0\0\0", b"\x15\x03\x03\0\x02\x01\0"]
    {
        let noise = [bytes, &[0xa5; 70_000]].concat();
        let mut tcp = TcpStream::connect(gateway.ingress()).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may be refused before all of it is sent.
        drop(tcp.write_all(&noise));
        drop(tcp.read_to_end(&mut Vec::new()));
    }
    failed(&gateway, "malformed", 4.0);
    let mut client = Https::connect(gateway.ingress(), &Caller::of(&authority.pem).config()).unwrap();
    assert_eq!(client.deliver(&event("evt_1")).unwrap().status, 200);
}

/// Senders that keep their connection, and others that make one for each delivery, until the change is over: deliveries
/// that were answered 200, and those that were not.
fn under_load(gateway: &Gateway, authority: &Authority, change: impl FnOnce()) -> (usize, usize) {
    let (stop, answered, lost) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let config = Caller::of(&authority.pem).config();
    let send = |sender: usize, keeps: bool| {
        let mut client = None;
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let known =
                client.take().filter(|_| keeps).or_else(|| Https::connect(gateway.ingress(), &config));
            let signed = event(&format!("evt_{sender}_{number}"));
            let delivered = known.and_then(|mut https| Some((https.deliver(&signed)?, https)));
            match delivered {
                Some((answer, https)) if answer.status == 200 => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    client = Some(https);
                }
                Some(_) | None => drop(lost.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    std::thread::scope(|scope| {
        for sender in 0..4 {
            scope.spawn(move || send(sender, sender % 2 == 0));
        }
        change();
        stop.store(true, Ordering::Relaxed);
    });
    (answered.into_inner(), lost.into_inner())
}

#[test]
fn a_certificate_is_swapped_under_load_and_no_delivery_is_lost() {
    let authority = Authority::new("web");
    let gateway = started(&authority, Setup::new());
    let shown = || {
        let client = Https::connect(gateway.ingress(), &Caller::of(&authority.pem).config());
        client.unwrap().shown()
    };
    let (dir, config) = (gateway.path(""), Caller::of(&authority.pem).config());
    let mut early = Https::connect(gateway.ingress(), &config).unwrap();
    let before = shown();
    let (answered, lost) = under_load(&gateway, &authority, || {
        let next = authority.server();
        next.put(&dir);
        until("the renamed certificate is shown", SEEN, || shown() == next.der());
        fs::write(dir.join("fullchain.pem"), &before[..40]).unwrap();
        until("half a certificate is refused", SEEN, || reloads(&gateway, "refused") == 1.0);
        assert_eq!(shown(), next.der());
        let last = authority.server();
        fs::create_dir(dir.join("v2")).unwrap();
        last.put(&dir.join("v2"));
        for name in ["fullchain.pem", "key.pem"] {
            symlink(dir.join("v2").join(name), dir.join("link")).unwrap();
            fs::rename(dir.join("link"), dir.join(name)).unwrap();
        }
        until("the linked certificate is shown", SEEN, || shown() == last.der());
    });
    assert_eq!(lost, 0);
    assert!(answered > 20, "{answered}");
    assert_eq!(reloads(&gateway, "swapped"), 2.0);
    assert_eq!(early.deliver(&event("evt_early")).unwrap().status, 200, "an old connection goes on");
    assert_eq!(gateway.drain("shop", answered + 1).len(), answered + 1);
}

#[test]
fn a_start_without_a_usable_certificate_says_why() {
    let authority = Authority::new("web");
    let gateway = prepared(&authority, Setup::new());
    fs::write(gateway.path("key.pem"), authority.server().key).unwrap();
    for command in ["check", "serve"] {
        let output = gateway.run(&[command]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains("ingress.tls.certificate") && told.contains("not that of the first"), "{told}");
    }
    fs::remove_file(gateway.path("key.pem")).unwrap();
    let told = String::from_utf8(gateway.run(&["check"]).stderr).unwrap();
    assert!(told.contains("ingress.tls.key") && told.contains("cannot be read"), "{told}");
}

#[test]
fn plain_http_for_strangers_is_warned_of_once_and_served() {
    let warned = |lines: &str| {
        let port = free_port();
        let listen = format!("listen = \"0.0.0.0:{port}\"\n{lines}");
        let gateway = Setup::new().source("shop", "stripe", "").set("ingress", &listen).start();
        gateway.stderr().matches("speaks plain HTTP to whoever").count()
    };
    assert_eq!(warned(""), 1);
    assert_eq!(warned("plain_http = true"), 0);
    assert_eq!(warned("trusted_proxies = [\"10.0.0.0/8\"]"), 0);
}
