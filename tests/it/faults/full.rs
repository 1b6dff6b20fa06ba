//! A disk of 8 MiB that fills: the gateway sees it before a write fails, answers 503, and serves again once there is room.

use std::fs;
use std::time::Duration;

use super::fixture::*;
use crate::gateway::{Answer, Client, Gateway, Setup, generic, until};
use crate::machine::SmallDisk;

const DISK: u64 = 8 << 20;

/// A gateway whose journal may be larger than its disk.
fn gateway() -> Option<(Gateway, SmallDisk)> {
    let gateway = Setup::new()
        .source("plain", "generic", "")
        .set("journal", "dir = \"small/journal\"\nsegment_bytes = \"1MiB\"\nbytes_max = \"1GiB\"")
        .prepare();
    match SmallDisk::mount(gateway.path("small"), DISK) {
        Ok(disk) => Some((gateway, disk)),
        Err(error) => {
            println!("skipped: a tmpfs cannot be mounted here, which takes root: {error}");
            None
        }
    }
}

fn large(n: usize) -> crate::gateway::Signed {
    generic("plain", format!("{n} {}", "x".repeat(20_000)).as_bytes())
}

/// Sends events from that number on until one is refused: the refusal, and its number.
fn fill(gateway: &Gateway, book: &mut Book, from: usize) -> (Answer, usize) {
    let mut client = Client::new(gateway.ingress());
    for n in from..from + 2_000 {
        let signed = large(n);
        let answer = client.deliver(&signed);
        if !book.note(&signed, Some(&answer)) {
            return (answer, n);
        }
    }
    panic!("the disk does not fill");
}

fn told_to_wait(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
}

/// All that was kept comes out, byte for byte, to workers that had nothing before.
fn drained(gateway: &mut Gateway, book: &Book) {
    let given = Given::default();
    let workers = inbox_workers(gateway.admin(), &["plain"], &given);
    until_empty(gateway);
    given.until_all(book);
    assert_eq!(book.audit(&given), 0, "no worker had any before");
    workers.finish();
    no_panic(gateway);
}

#[test]
fn a_full_disk_is_a_503_before_a_write_fails_and_room_is_a_2xx_again() {
    let Some((mut gateway, _disk)) = gateway() else { return };
    gateway.start();
    let mut book = Book::default();
    let (answer, next) = fill(&gateway, &mut book, 0);
    told_to_wait(&answer);
    assert!(book.kept.len() > 150, "most of the disk is used: {}", book.kept.len());
    assert!(
        gateway.metric("hookgate_rejected_total", &[("reason", "journal_full")]) > 0.0,
        "{}",
        gateway.stderr()
    );
    assert!(!gateway.is_dead(), "it was the check that refused, and no failed write");
    let known = large(0);
    let again = gateway.deliver(&known);
    assert_eq!((again.status, again.outcome().as_str()), (200, "duplicate"), "a copy needs no room");
    gateway.kill();
    gateway.start();
    drained(&mut gateway, &book);
    // What is confirmed makes room as soon as the journal asks for it.
    until("there is room again", Duration::from_secs(30), || {
        let signed = large(next);
        let answer = gateway.deliver(&signed);
        book.note(&signed, Some(&answer))
    });
    let (code, _) = gateway.terminate();
    assert_eq!(code, Some(0), "{}", gateway.stderr());
}

#[test]
fn a_disk_that_others_fill_is_survived_and_their_room_is_used_once_they_leave() {
    let Some((mut gateway, disk)) = gateway() else { return };
    gateway.start();
    let mut book = Book::default();
    let mut client = Client::new(gateway.ingress());
    (0..10).for_each(|n| assert!(book.send(&mut client, &large(n))));
    let ballast = disk.ballast(64 << 10);
    let (answer, next) = fill(&gateway, &mut book, 10);
    told_to_wait(&answer);
    let kept = book.kept.len();
    gateway.kill();
    gateway.start();
    told_to_wait_or_kept(&gateway, &mut book, next);
    fs::remove_file(ballast).unwrap();
    until("there is room again", Duration::from_secs(10), || {
        let signed = large(next + 1);
        let answer = gateway.deliver(&signed);
        book.note(&signed, Some(&answer))
    });
    let mut at = next + 2;
    // The journal asks for room once a second, so this takes some turns.
    until("the room is used", Duration::from_secs(20), || {
        let (answer, refused) = fill(&gateway, &mut book, at);
        told_to_wait(&answer);
        at = refused;
        book.kept.len() > kept + 50
    });
    drained(&mut gateway, &book);
}

/// A restart on a full disk serves: by a small segment, or by asking to wait.
fn told_to_wait_or_kept(gateway: &Gateway, book: &mut Book, n: usize) {
    let signed = large(n);
    let answer = gateway.deliver(&signed);
    if !book.note(&signed, Some(&answer)) {
        told_to_wait(&answer);
    }
}
