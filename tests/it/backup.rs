//! A journal copied while deliveries come in, and a gateway started on the copy elsewhere after the first was killed: all
//! that was answered before the copy began is handed over, and whatever comes a second time is marked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;
use crate::handed::Handed;
use crate::http::Client;

const SOON: Duration = Duration::from_secs(20);
const MARK: &str = "hookgate-possible-duplicate";

/// Segments that are full after some hundred events, and removed soon after: copies meet every change of the folder.
fn setup() -> Setup {
    Setup::new()
        .set("journal", "segment_bytes = \"256KiB\"\nbytes_max = \"2MiB\"")
        .set("ingress", "body_bytes_max = \"64KiB\"\nworkers = 2")
        .source("shop", "stripe", "body_bytes_max = \"64KiB\"")
}

fn journal(verb: &str, words: &[&Path]) -> Output {
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    hookgate(&[&["--output", "json", "journal", verb], words.as_slice()].concat())
}

fn copied(from: &Path, to: &Path) -> Value {
    let output = journal("backup", &[from, to]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// What senders and workers know.
#[derive(Default)]
struct Book {
    acked: Mutex<BTreeSet<String>>,
    done: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

impl Book {
    fn note(book: &Mutex<BTreeSet<String>>, ids: impl IntoIterator<Item = String>) {
        book.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    fn send(&self, gateway: &Gateway, sender: usize) {
        let mut client = Client::new(gateway.ingress());
        for index in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("evt_{sender}_{index}");
            let answer = client.try_deliver(&stripe("shop", &stripe_event(&id)));
            if answer.is_some_and(|answer| answer.status == 200) {
                Self::note(&self.acked, [id]);
            }
            // Some fifty events stay in the journal: not all that waits is on its way.
            sleep(Duration::from_millis(1));
        }
    }

    /// Acknowledges all but what came in last.
    fn work(&self, gateway: &Gateway) {
        while !self.stop.load(Ordering::Relaxed) {
            let some = gateway.claim_by("shop", "max=60&lease=1s");
            let keep = some.len().saturating_sub(20);
            if keep > 0 {
                assert_eq!(gateway.ack("shop", &some[..keep]).status, 200);
                Self::note(&self.done, some[..keep].iter().map(|event| event.header("hookgate-event-id")));
            }
            if some.len() > keep {
                gateway.nack("shop", &some[keep..], "0s");
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn snapshot(book: &Mutex<BTreeSet<String>>) -> BTreeSet<String> {
        book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A copy, and what was known when it began.
struct Copy {
    acked: BTreeSet<String>,
    done: BTreeSet<String>,
}

/// Copies several times under load, then kills the gateway; the copies are in `folder-N` of another one's folder.
fn copies(gateway: &mut Gateway, elsewhere: &Gateway, copies: usize) -> (Vec<Copy>, BTreeSet<String>) {
    let book = &Book::default();
    let taken = {
        let gateway = &*gateway;
        thread::scope(|scope| {
            (0..4).for_each(|sender| drop(scope.spawn(move || book.send(gateway, sender))));
            scope.spawn(move || book.work(gateway));
            until("segments have come and gone", SOON, || {
                let names = fs::read_dir(gateway.journal()).unwrap().map(|entry| entry.unwrap().file_name());
                !names.map(|name| name.into_string().unwrap()).any(|name| name == "0000000000000001.segment")
            });
            let taken = (0..copies)
                .map(|number| {
                    let acked = Book::snapshot(&book.acked);
                    let done = Book::snapshot(&book.done);
                    let to = elsewhere.path(&format!("copy-{number}"));
                    let told = copied(&gateway.journal(), &to);
                    assert!(told["segments"].as_u64().unwrap() > 0, "{told}");
                    sleep(Duration::from_millis(60));
                    Copy { acked, done }
                })
                .collect();
            book.stop.store(true, Ordering::Relaxed);
            taken
        })
    };
    gateway.kill();
    (taken, Book::snapshot(&book.done))
}

fn all_handed(gateway: &Gateway) -> Vec<Handed> {
    let mut all = Vec::new();
    loop {
        let some = gateway.claim("shop", 500);
        if some.is_empty() {
            return all;
        }
        assert_eq!(gateway.ack("shop", &some).status, 200);
        all.extend(some);
    }
}

#[test]
fn what_was_answered_before_a_copy_began_is_in_it_and_comes_marked() {
    let mut first = setup().start();
    let mut second = setup().prepare();
    let (taken, done_by_first) = copies(&mut first, &second, 8);
    for (number, copy) in taken.iter().enumerate() {
        let folder = second.path(&format!("copy-{number}"));
        let verified = journal("verify", &[&folder]);
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
        fs::rename(&folder, second.journal()).unwrap();
        second.start();
        let handed = all_handed(&second);
        let ids: BTreeSet<String> = handed.iter().map(|event| event.header("hookgate-event-id")).collect();
        assert_eq!(ids.len(), handed.len(), "twice by one gateway");
        let lost: Vec<_> =
            copy.acked.iter().filter(|id| !ids.contains(*id) && !done_by_first.contains(*id)).collect();
        assert!(lost.is_empty(), "copy {number}: answered, and in no gateway's hands: {lost:?}");
        let again: Vec<_> = ids.intersection(&copy.done).collect();
        assert!(again.is_empty(), "copy {number}: acknowledged before it began, and there again: {again:?}");
        let unmarked: Vec<_> = handed.iter().filter(|event| event.header(MARK) != "true").collect();
        assert!(unmarked.is_empty(), "copy {number}: {} events without the mark", unmarked.len());
        // Its keys are there too, and what comes in from here on is nobody's copy.
        for id in copy.acked.iter().rev().take(20).chain(copy.acked.iter().take(20)) {
            let answer = second.deliver(&stripe("shop", &stripe_event(id)));
            assert_eq!(answer.outcome(), "duplicate", "copy {number}: {id}");
        }
        assert_eq!(second.deliver(&stripe("shop", &stripe_event("evt_new"))).outcome(), "accepted");
        let fresh = all_handed(&second);
        assert_eq!((fresh.len(), fresh[0].header(MARK).as_str()), (1, ""));
        second.restart();
        assert!(!second.stderr().contains("damaged"), "{}", second.stderr());
        second.terminate();
        fs::remove_dir_all(second.journal()).unwrap();
    }
    assert_eq!(second.stderr().matches("this folder is a copy").count(), taken.len());
}

#[test]
fn what_the_first_gateway_hands_over_after_the_copy_comes_marked_from_the_copy() {
    let mut first = setup().start();
    for index in 0..5 {
        first.deliver(&stripe("shop", &stripe_event(&format!("evt_{index}"))));
    }
    let mut second = setup().prepare();
    copied(&first.journal(), &second.journal());
    assert_eq!(all_handed(&first).len(), 5, "nothing of them had been tried when the copy was made");
    first.kill();
    second.start();
    // Not only as long as the copy is new.
    second.kill();
    second.start();
    // A copy of the copy is one too.
    let mut third = setup().prepare();
    copied(&second.journal(), &third.journal());
    let handed = all_handed(&second);
    assert_eq!(handed.iter().filter(|event| event.header(MARK) == "true").count(), 5);
    third.start();
    let handed = all_handed(&third);
    assert_eq!(handed.iter().filter(|event| event.header(MARK) == "true").count(), 5);
}

#[test]
fn a_folder_that_is_moved_after_a_stop_goes_on_as_if_nothing_had_been() {
    let mut first = setup().start();
    for index in 0..40 {
        first.deliver(&stripe("shop", &stripe_event(&format!("evt_{index}"))));
    }
    first.terminate();
    let mut second = setup().prepare();
    // Another file system, as another machine has: nothing of the folder but bytes and names.
    fs::create_dir_all(second.journal().join("keys")).unwrap();
    for folder in ["", "keys"] {
        for entry in fs::read_dir(first.journal().join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), second.journal().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    second.start();
    let handed = all_handed(&second);
    assert_eq!(handed.len(), 40);
    assert!(handed.iter().all(|event| event.header(MARK).is_empty()), "nothing had been tried");
    assert_eq!(second.deliver(&stripe("shop", &stripe_event("evt_3"))).outcome(), "duplicate");
}

#[test]
fn a_backup_writes_over_nothing_and_leaves_nothing_half_made() {
    let gateway = setup().start();
    gateway.deliver(&stripe("shop", &stripe_event("evt_1")));
    let to = gateway.path("copy");
    fs::create_dir(&to).unwrap();
    assert_eq!(journal("backup", &[&gateway.journal(), &to]).status.code(), Some(2));
    fs::remove_dir(&to).unwrap();
    assert_eq!(journal("backup", &[&gateway.path("nothing"), &to]).status.code(), Some(2));
    assert_eq!(journal("backup", &[&gateway.path("."), &to]).status.code(), Some(1), "no journal");
    assert!(!to.exists());
    let output = journal("backup", &[&gateway.journal(), &to]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && err.contains("left of a backup that did not end"), "{err}");
    fs::remove_dir_all(gateway.path("copy.part")).unwrap();
    copied(&gateway.journal(), &to);
    assert!(to.join("restored").exists() && !to.join("lock").exists());
}
