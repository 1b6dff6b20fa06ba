//! Who may send to a source: lists of addresses, proxies trusted or not, and what a caller writes of itself.

use std::fs;

use crate::gateway::*;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
const LISTED: &str = "addresses = [\"192.0.2.0/24\", \"2001:db8::/32\", \"203.0.113.7\"]";

/// A delivery of its own that carries these `X-Forwarded-For` lines.
fn forwarded(source: &str, lines: &[&str]) -> Signed {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let signed = generic(source, format!("delivery {count}").as_bytes());
    lines.iter().fold(signed, |signed, line| signed.and("x-forwarded-for", line))
}

/// Status and code of the answer to such a delivery.
fn told(gateway: &Gateway, lines: &[&str]) -> (u16, String) {
    let answer = gateway.deliver(&forwarded("shop", lines));
    (answer.status, answer.code())
}

fn refused() -> (u16, String) {
    (403, "address_not_allowed".to_owned())
}

fn accepted() -> (u16, String) {
    (200, String::new())
}

#[test]
fn a_list_lets_its_addresses_in_and_nobody_else() {
    let gateway = Setup::new()
        .source("shop", "generic", "addresses = [\"127.0.0.0/8\"]")
        .source("far", "generic", LISTED)
        .source("open", "generic", "")
        .start();
    assert_eq!(gateway.deliver(&generic("shop", b"1")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&generic("open", b"1")).outcome(), "accepted");
    let answer = gateway.deliver(&generic("far", b"1"));
    assert_eq!((answer.status, answer.code()), refused());
    let by_reason = [("source", "far"), ("reason", "address_not_allowed")];
    assert_eq!(gateway.metric("hookgate_rejected_total", &by_reason), 1.0);
    let line = gateway.log().into_iter().find(|line| line["reason"] == "address_not_allowed").unwrap();
    assert_eq!((&line["address"], &line["source"]), (&"127.0.0.1".into(), &"far".into()), "{line}");
}

#[test]
fn what_a_caller_writes_of_itself_is_no_way_in() {
    let gateway = Setup::new().source("shop", "generic", LISTED).start();
    for lines in [
        &["192.0.2.7"][..],
        &["203.0.113.7"],
        &["127.0.0.1, 192.0.2.7"],
        &["192.0.2.7", "192.0.2.7"],
        &["::ffff:192.0.2.7"],
    ] {
        assert_eq!(told(&gateway, lines), refused(), "{lines:?}");
    }
    for name in ["x-real-ip", "forwarded", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-forwarded"]
    {
        let value = if name == "forwarded" { "for=192.0.2.7" } else { "192.0.2.7" };
        let answer = gateway.deliver(&forwarded("shop", &[]).with(name, value));
        assert_eq!((answer.status, answer.code()), refused(), "{name}");
    }
}

#[test]
fn a_trusted_proxy_is_walked_from_the_right() {
    let gateway = Setup::new().set("ingress", TRUSTED).source("shop", "generic", LISTED).start();
    for lines in [
        &["192.0.2.7"][..],
        &["198.51.100.1, 192.0.2.7"],
        &["198.51.100.1", "192.0.2.7"],
        &["192.0.2.7, 127.0.0.9"],
        &["not an address, 203.0.113.7"],
        &["2001:db8::1"],
        &["[2001:db8::1]:443"],
        &["::ffff:203.0.113.7"],
        &["203.0.113.7:61234"],
    ] {
        assert_eq!(told(&gateway, lines), accepted(), "{lines:?}");
    }
    for lines in [
        &[][..],
        &["198.51.100.1"],
        &["192.0.2.7, 198.51.100.1"],
        &["192.0.2.7", "198.51.100.1"],
        &["192.0.2.7, unknown"],
        &["192.0.2.7,"],
        &["192.0.2.7, 198.51.100.1, 127.0.0.9"],
        &["203.0.113.8"],
        &["::ffff:203.0.113.8"],
    ] {
        assert_eq!(told(&gateway, lines), refused(), "{lines:?}");
    }
}

#[test]
fn an_address_is_judged_before_the_body_is_read() {
    let gateway = Setup::new().source("shop", "generic", LISTED).start();
    let mut client = Client::new(gateway.ingress()).within(std::time::Duration::from_secs(5));
    client.send(b"POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-length: 1000\r\n\r\nno more than this");
    let answer = client.answer().expect("an answer without the rest of the body");
    assert_eq!((answer.status, answer.code()), refused());
}

#[test]
fn a_file_has_one_a_line_and_is_read_at_each_start_and_reload() {
    let mut gateway = Setup::new().source("shop", "generic", "addresses = { file = \"shop.txt\" }").prepare();
    let file = gateway.path("shop.txt");
    fs::write(&file, "# ours\n\n  192.0.2.0/24  # the office\n2001:db8::/32\n::ffff:127.0.0.0/104\n")
        .unwrap();
    gateway.start();
    assert_eq!(told(&gateway, &[]), accepted());
    fs::write(&file, "192.0.2.0/24\n").unwrap();
    let reload = || gateway.admin_call("POST", "/v1/reload", &[], b"");
    assert_eq!((reload().status, told(&gateway, &[])), (200, refused()));
    fs::write(&file, "127.0.0.1\n").unwrap();
    assert_eq!((reload().status, told(&gateway, &[])), (200, accepted()));
    fs::write(&file, "192.0.2.0/24\nnobody\n").unwrap();
    let broken = reload();
    assert!(broken.status == 422 && broken.text().contains("nobody"), "{}", broken.text());
    assert_eq!(told(&gateway, &[]), accepted(), "what was in force stays so");
    fs::write(&file, "192.0.2.0/24\n").unwrap();
    gateway.restart();
    assert_eq!(told(&gateway, &[]), refused());

    fs::write(&file, "192.0.2.0/24\n\n10.0.0.1/8 # a slip\nhooks.example.com\n").unwrap();
    let output = gateway.run(&["check"]);
    let report =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{report}");
    for told in ["shop.txt:3: sources.shop.addresses.file: found \"10.0.0.1/8\";", "shop.txt:4: ", "2 errors"]
    {
        assert!(report.contains(told), "{told}: {report}");
    }
}

#[test]
fn ten_thousand_lines_are_a_list_and_one_more_is_none() {
    let setup = Setup::new().set("ingress", TRUSTED);
    let mut gateway = setup.source("shop", "generic", "addresses = { file = \"shop.txt\" }").prepare();
    let line = |at: usize| format!("100.{}.{}.{}\n", at >> 15, at >> 7 & 0xff, (at & 0x7f) * 2);
    let lines: String = (0..10_000).map(line).collect();
    fs::write(gateway.path("shop.txt"), &lines).unwrap();
    gateway.start();
    for (address, wanted) in
        [("100.0.0.0", accepted()), ("100.0.78.30", accepted()), ("100.0.0.1", refused())]
    {
        assert_eq!(told(&gateway, &[address]), wanted, "{address}");
    }
    fs::write(gateway.path("shop.txt"), format!("{lines}192.0.2.1\n")).unwrap();
    let output = gateway.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let report =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("shop.txt:10001: ") && report.contains("at most 10000"), "{report}");
}

#[test]
fn a_proxy_that_nobody_trusts_is_told_of() {
    let gateway = Setup::new().source("shop", "generic", "").start();
    let gauge = || gateway.metric("hookgate_untrusted_proxy", &[]);
    let mut client = Client::new(gateway.ingress());
    for _ in 0..499 {
        client.deliver(&forwarded("shop", &["198.51.100.7"]));
    }
    assert_eq!(gauge(), 0.0);
    for _ in 0..600 {
        client.deliver(&forwarded("shop", &["198.51.100.7"]));
    }
    assert_eq!(gauge(), 1.0);
    let warnings: Vec<_> = gateway
        .log()
        .into_iter()
        .filter(|line| line.to_string().contains("ingress.trusted_proxies"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["address"], "127.0.0.1");
}
