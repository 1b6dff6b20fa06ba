//! A certificate by ACME, from an authority that runs here: ordered, served, kept, and renewed in time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::https::{Caller, Https};
use super::party::NAME;
use super::pebble::Pebble;
use super::{SEEN, event, failed, reloads};
use crate::gateway::*;
use crate::services::free_port;

/// A gateway that will ask `pebble` once it runs, and the authority.
fn prepared(validity_seconds: u32) -> (Gateway, Pebble) {
    let mut gateway = Setup::new().source("shop", "stripe", "").prepare();
    let pebble = Pebble::start(gateway.ingress().port(), validity_seconds);
    let acme = format!(
        "domains = [{NAME:?}]\ncontact = [\"ops@example.com\"]\ndirectory = {:?}\nca_file = \"pebble.pem\"\n\
         dir = \"acme\"",
        pebble.directory()
    );
    fs::write(gateway.path("pebble.pem"), pebble.ca()).unwrap();
    gateway.change(|setup| setup.set("ingress.tls.acme", &acme));
    (gateway, pebble)
}

/// A client with a certificate of `root` before it, once there is one.
fn connected(gateway: &Gateway, pebble: &Pebble, root: &str) -> Https {
    let config = Caller::of(root).config();
    let mut client = None;
    until("a certificate is served", Duration::from_secs(60), || {
        client = Https::connect(gateway.ingress(), &config);
        client.is_some()
    });
    client.unwrap_or_else(|| panic!("{}", pebble.log()))
}

#[test]
fn a_certificate_is_ordered_once_and_served_again_after_a_restart() {
    let (mut gateway, pebble) = prepared(30 * 24 * 3600);
    gateway.start();
    let root = pebble.root();
    let mut client = connected(&gateway, &pebble, &root);
    let first = client.shown();
    assert_eq!(client.deliver(&event("evt_1")).unwrap().status, 200);
    assert_eq!((pebble.orders(), reloads(&gateway, "swapped")), (1, 1.0));
    let kept: Vec<_> = fs::read_dir(gateway.path("acme")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for file in &kept {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    gateway.restart();
    let mut client = connected(&gateway, &pebble, &root);
    assert_eq!(client.shown(), first, "the kept one");
    assert_eq!(client.deliver(&event("evt_2")).unwrap().status, 200);
    assert_eq!((pebble.orders(), reloads(&gateway, "swapped")), (1, 0.0), "nobody was asked");
    assert!(!gateway.stderr().contains("PRIVATE KEY"));
}

#[test]
fn a_certificate_is_renewed_in_time_and_connections_go_on() {
    let (mut gateway, pebble) = prepared(12);
    gateway.start();
    let root = pebble.root();
    let mut early = connected(&gateway, &pebble, &root);
    let first = early.shown();
    until("another certificate is served", SEEN, || connected(&gateway, &pebble, &root).shown() != first);
    assert_eq!(early.deliver(&event("evt_1")).unwrap().status, 200);
    assert!(reloads(&gateway, "swapped") >= 2.0);
    assert!(gateway.stderr().contains("ends within 14 days"));
}

#[test]
fn without_its_authority_a_gateway_runs_and_tries_again() {
    let (mut gateway, pebble) = prepared(30 * 24 * 3600);
    let nowhere = format!("directory = \"https://127.0.0.1:{}/dir\"", free_port());
    gateway.change(|setup| setup.set("ingress.tls.acme", &nowhere));
    gateway.start();
    until("the order fails", SEEN, || reloads(&gateway, "not_issued") >= 1.0);
    assert!(Https::connect(gateway.ingress(), &Caller::of(pebble.ca()).config()).is_none());
    failed(&gateway, "unserved", 1.0);
    assert_eq!(gateway.ready().0, 200, "events that were kept go on being relayed");
    until("it is tried again", SEEN, || reloads(&gateway, "not_issued") >= 2.0);
    let (code, took) = gateway.terminate();
    assert!(code == Some(0) && took < Duration::from_secs(10), "{code:?} {took:?}");
}
