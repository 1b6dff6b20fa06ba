//! The public listener: exact bytes in, honest answers out, whatever the request looks like.

use std::time::{Duration, Instant};

use crate::gateway::*;

const MIB: usize = 1 << 20;

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source("plain", "generic", "").source("git", "github", "")
}

/// A request as bytes, body left out.
fn head(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n{lines}\r\n").into_bytes()
}

/// The head of a signed request with a `Content-Length` of one's own.
fn head_of(signed: &Signed, length: usize) -> Vec<u8> {
    let length = length.to_string();
    let own = signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    head(&signed.path, &own.chain([("content-length", length.as_str())]).collect::<Vec<_>>())
}

#[test]
fn bodies_reach_the_worker_byte_for_byte() {
    let gateway = setup().start();
    let bodies: [&[u8]; 6] = [
        b"",
        b"{}",
        b"not json \r\n\r\n\0\0 and a tail\n",
        b"\xff\xfe\x00\x80 no text",
        "{\"n\": 1.0, \"é\" : \"\\u00e9\"}\n\n".as_bytes(),
        &[0xa5; 300_000],
    ];
    for body in bodies {
        let answer = gateway.deliver(&generic("plain", body));
        assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{}", answer.text());
        let handed = gateway.drain("plain", 1);
        assert_eq!(handed.len(), 1);
        assert!(handed[0].body == body, "{} bytes came out of {}", handed[0].body.len(), body.len());
        assert_eq!(handed[0].message_id, answer.message_id());
    }
}

#[test]
fn chunks_and_content_types_change_no_byte() {
    let gateway = setup().start();
    let signed = generic("plain", b"one two three");
    let mut client = Client::new(gateway.ingress());
    let own = signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let chunked = ("transfer-encoding", "chunked");
    client.send(&head(&signed.path, &own.chain([chunked]).collect::<Vec<_>>()));
    client.send(b"4\r\none \r\n");
    client.send(b"9;ext=1\r\ntwo three\r\n0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200);
    for (index, content_type) in
        ["", "text/plain; charset=utf-16", "application/x-www-form-urlencoded"].iter().enumerate()
    {
        let signed = generic("plain", format!("body={index}&é").as_bytes());
        let signed = match *content_type {
            "" => signed.without("content-type"),
            other => signed.with("content-type", other),
        };
        assert_eq!(gateway.deliver(&signed).status, 200, "{content_type}");
    }
    let handed = gateway.drain("plain", 4);
    assert_eq!(handed[0].body, b"one two three");
    let types: Vec<_> = handed.iter().map(|event| event.json["content_type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["application/json", "", "text/plain; charset=utf-16", "application/x-www-form-urlencoded"]
    );
}

#[test]
fn only_the_exact_path_is_a_source() {
    let gateway = setup().start();
    let signed = stripe("shop", &stripe_event("evt_path"));
    let unknown = gateway.deliver(&Signed { path: "/nothing/here".to_owned(), ..signed });
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    for path in [
        "/",
        "/in",
        "/in/shop/",
        "/in//shop",
        "//in/shop",
        "/IN/shop",
        "/in/%73hop",
        "/in/shop%2f",
        "/in/shop/../shop",
        "/in/shop;x",
    ] {
        let signed = stripe("shop", &stripe_event("evt_path"));
        let answer = gateway.deliver(&Signed { path: path.to_owned(), ..signed });
        assert_eq!(answer.without_date(), unknown.without_date(), "{path}");
    }
    let signed = stripe("shop", &stripe_event("evt_path"));
    let queried = Signed { path: "/in/shop?x=1&y=%2F".to_owned(), ..signed };
    assert_eq!(gateway.deliver(&queried).outcome(), "accepted");
}

#[test]
fn the_host_that_a_sender_names_decides_nothing() {
    let gateway = setup().start();
    for (index, host) in ["evil.example", "", "a b", "hooks.example.com:1"].iter().enumerate() {
        let signed = generic("plain", format!("host {index}").as_bytes()).with("host", host);
        let status = gateway.deliver(&signed).status;
        assert!(status == 200 || (status == 400 && *host == "a b"), "{host:?}: {status}");
    }
}

#[test]
fn a_bare_post_is_refused_for_what_it_lacks() {
    let gateway = setup().start();
    let answer = gateway.post("/in/shop", &[("content-type", "application/json")], b"{}");
    assert_eq!((answer.status, answer.code().as_str()), (401, "signature_missing"));
}

#[test]
fn another_method_is_told_which_are_allowed() {
    let gateway = setup().start();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"] {
        let answer = Client::call(gateway.ingress(), method, "/in/shop", &[], b"").unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        assert_eq!(answer.code(), "method_not_allowed");
    }
}

#[test]
fn an_encoded_body_is_refused_and_identity_is_none() {
    let gateway = setup().start();
    for encoding in ["gzip", "br", "deflate", "identity, gzip", "x"] {
        let signed = stripe("shop", &stripe_event("evt_enc")).with("content-encoding", encoding);
        let answer = gateway.deliver(&signed);
        assert_eq!((answer.status, answer.code().as_str()), (415, "content_encoding"), "{encoding}");
    }
    for encoding in ["identity", "Identity", ""] {
        let signed = generic("plain", format!("{encoding:?}").as_bytes()).with("content-encoding", encoding);
        assert_eq!(gateway.deliver(&signed).status, 200, "{encoding:?}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let gateway = setup().start();
    let mut client = Client::new(gateway.ingress());
    client.send(&head("/in/shop", &[("content-length", "104857600")]));
    let answer = client.answer().expect("an answer without a byte of the body");
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));

    let mut client = Client::new(gateway.ingress());
    client.send(&head("/in/shop", &[("transfer-encoding", "chunked")]));
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..9 {
        client.send(&chunk);
    }
    assert_eq!(client.answer().expect("an answer within the stream").status, 413);

    // Many a sender reads no answer before all of its body is sent.
    let mut client = Client::new(gateway.ingress());
    client.send(&head("/in/shop", &[("content-length", "20971520")]));
    client.send(&vec![b'x'; 20 << 20]);
    assert_eq!(client.answer().expect("an answer after all of the body").status, 413);

    let exact = vec![b'x'; 512 * 1024];
    assert_eq!(gateway.deliver(&generic("plain", &exact)).status, 200);
    let over = vec![b'x'; 512 * 1024 + 1];
    assert_eq!(gateway.deliver(&generic("plain", &over)).status, 413);
}

#[test]
fn a_slow_body_is_timed_out_and_its_event_is_still_welcome() {
    let gateway = setup().set("ingress", "body_timeout = \"300ms\"").start();
    let signed = stripe("shop", &stripe_event("evt_slow"));
    let mut client = Client::new(gateway.ingress());
    client.send(&head_of(&signed, signed.body.len()));
    client.send(&signed.body[..20]);
    let begun = Instant::now();
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_too_slow"));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(gateway.deliver(&signed).outcome(), "accepted");
}

#[test]
fn a_cut_body_counts_for_nothing() {
    let gateway = setup().start();
    let signed = stripe("shop", &stripe_event("evt_cut"));
    let mut client = Client::new(gateway.ingress());
    client.send(&head_of(&signed, signed.body.len() + 10));
    client.send(&signed.body);
    client.shut_write();
    let answer = client.answer();
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{answer:?}");

    let mut client = Client::new(gateway.ingress());
    let own = signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    client.send(&head(&signed.path, &own.chain([("transfer-encoding", "chunked")]).collect::<Vec<_>>()));
    client.send(b"zz\r\n");
    let answer = client.answer();
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{answer:?}");

    until("both are counted", Duration::from_secs(5), || {
        gateway.metric("hookgate_rejected_total", &[("reason", "body_incomplete")]) == 2.0
    });
    assert_eq!(gateway.metric("hookgate_dedup_total", &[]), 0.0);
    assert_eq!(gateway.deliver(&signed).outcome(), "accepted");
}

#[test]
fn two_framings_at_once_are_refused() {
    let gateway = setup().start();
    for extra in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "content-length: +3\r\n",
        "content-length: 3, 3\r\n",
    ] {
        let mut client = Client::new(gateway.ingress());
        client.send(format!("POST /in/plain HTTP/1.1\r\nhost: g\r\n{extra}\r\n0\r\n\r\n").as_bytes());
        client.shut_write();
        let answer = client.answer();
        let refused = answer.as_ref().is_none_or(|answer| (400..500).contains(&answer.status));
        assert!(refused, "{extra:?}: {answer:?}");
    }
    assert_eq!(gateway.metric("hookgate_requests_total", &[("outcome", "accepted")]), 0.0);
}

/// Method, path and headers of a request, and the status it gets.
type Refusal<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)], u16);

#[test]
fn a_connection_goes_on_after_a_refusal_or_says_that_it_does_not() {
    let gateway = setup().start();
    let big = vec![b'x'; MIB];
    let refusals: [Refusal<'_>; 6] = [
        ("POST", "/in/nobody", &[], 404),
        ("PUT", "/in/shop", &[], 405),
        ("POST", "/in/shop", &[("content-encoding", "gzip")], 415),
        ("POST", "/in/shop", &[], 413),
        ("POST", "/in/plain", &[("x-signature", "00")], 413),
        ("GET", "/", &[("content-length", "1048576")], 404),
    ];
    for (index, (method, path, headers, status)) in refusals.into_iter().enumerate() {
        let mut client = Client::new(gateway.ingress());
        let answer = client.request(method, path, headers, &big);
        assert_eq!(answer.map(|answer| answer.status), Some(status), "{method} {path} with 1 MiB");
        let valid = generic("plain", format!("after {index}").as_bytes());
        assert_eq!(client.deliver(&valid).status, 200, "{method} {path} with 1 MiB, then a valid one");
    }
    let mut client = Client::new(gateway.ingress());
    let small: [Refusal<'_>; 4] = [
        ("POST", "/in/nobody", &[], 404),
        ("PUT", "/in/shop", &[], 405),
        ("POST", "/in/shop", &[("content-encoding", "gzip")], 415),
        ("POST", "/in/shop", &[("stripe-signature", "t=1,v1=00")], 401),
    ];
    for (index, (method, path, headers, status)) in small.into_iter().enumerate() {
        let answer = client.request(method, path, headers, b"{}").unwrap();
        assert_eq!(answer.status, status);
        let told = answer.header("connection") == "close";
        assert!(told != client.is_open(), "{method} {path}: the answer is wrong about the connection");
        assert!(!(told && status == 401), "a wrong signature costs the sender its connection");
        let valid = generic("plain", format!("after small {index}").as_bytes());
        assert_eq!(client.deliver(&valid).status, 200);
    }
}

#[test]
fn requests_in_one_write_are_answered_in_order() {
    let gateway = setup().start();
    let mut bytes = Vec::new();
    for (index, path) in ["/in/plain", "/in/nobody", "/in/plain"].into_iter().enumerate() {
        let signed = generic("plain", format!("pipelined {index}").as_bytes());
        let signed = Signed { path: path.to_owned(), ..signed };
        bytes.extend(head_of(&signed, signed.body.len()));
        bytes.extend(&signed.body);
    }
    let mut client = Client::new(gateway.ingress());
    client.send(&bytes);
    let statuses: Vec<u16> = (0..3).map(|_| client.answer().unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn a_sender_that_waits_for_100_gets_it() {
    let gateway = setup().start();
    let signed = generic("plain", b"after the go-ahead").with("expect", "100-continue");
    let mut client = Client::new(gateway.ingress());
    client.send(&head_of(&signed, signed.body.len()));
    assert_eq!(client.one_answer().unwrap().status, 100);
    client.send(&signed.body);
    assert_eq!(client.answer().unwrap().status, 200);
}

#[test]
fn refusals_are_problem_documents_that_tell_nothing_about_the_secret() {
    let gateway = setup().start();
    let body = stripe_event("evt_told");
    let good = stripe("shop", &body);
    let signature = good.header("stripe-signature");
    let (time, mac) = signature.split_once(",v1=").unwrap();
    let alike = [
        stripe_at("shop", &secret("other"), now(), &body),
        stripe_at("shop", &secret("shop"), now() - 400, &body),
        stripe_at("shop", &secret("other"), now() - 400, &body),
        good.clone().with("stripe-signature", "garbage"),
        good.clone().with("stripe-signature", &format!("v1={mac}")),
        good.clone().with("stripe-signature", &format!("t=x,v1={mac}")),
        good.clone().with("stripe-signature", &format!("{time},v0={mac}")),
        good.clone().with("stripe-signature", &format!("{time},v1={}", &mac[..62])),
        good.clone().with("stripe-signature", &format!("{time},v1={}", &mac[..32])),
        Signed { body: [body.as_slice(), b"\n"].concat(), ..good.clone() },
    ];
    let first = gateway.deliver(&alike[0]);
    assert_eq!((first.status, first.code().as_str()), (401, "signature_invalid"));
    for signed in &alike {
        let answer = gateway.deliver(signed);
        assert_eq!(answer.without_date(), first.without_date(), "{:?}", signed.headers);
    }
    let missing = gateway.deliver(&good.clone().without("stripe-signature"));
    assert_eq!((missing.status, missing.code().as_str()), (401, "signature_missing"));
    assert_eq!(gateway.deliver(&good).outcome(), "accepted");
}

#[test]
fn a_body_of_the_longest_length_that_the_configuration_allows_is_kept() {
    let longest = "body_bytes_max = \"832KiB\"";
    let room = |kib: u32| format!("{longest}\nbodies_in_flight_max = \"{kib}KiB\"");
    let gateway = Setup::new().set("ingress", &room(912)).source("plain", "generic", longest).start();
    let signed = generic("plain", &vec![b'x'; 832 << 10]).with("user-agent", &"u".repeat(30_000));
    let answer = gateway.deliver(&signed);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.drain("plain", 1)[0].body, signed.body);

    let longer = "body_bytes_max = \"840KiB\"";
    for (ingress, source, why) in [
        (longer, longer, "a record is at most 7/8 of journal.segment_bytes"),
        (&room(911), longest, "with its head there is no room for it in ingress.bodies_in_flight_max"),
    ] {
        let output = Setup::new().set("ingress", ingress).source("plain", "generic", source).run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr);
        let key = why.rsplit(' ').next().unwrap();
        assert!(output.status.code() == Some(78) && told.contains(key), "{why}: {told}");
    }
}
