//! The gateway killed in the midst of long requeues: nothing is lost, and what is there twice is marked.

use std::collections::BTreeMap;
use std::thread::scope;

use serde_json::json;

use super::hands::{DEAD, Hands, SOON, id};
use super::{order, undeclared};
use crate::gateway::*;

const LETTERS: usize = 4_000;
const QUEUE: &str = "webhooks.plain";

#[test]
fn killed_in_the_midst_of_a_long_requeue_no_letter_is_lost_and_copies_are_marked() {
    let hands = Hands::new();
    hands.declare(&[], &[]);
    let mut gateway = undeclared(&hands.url());
    hands.publish(0..LETTERS, |n| format!("body {n}").into_bytes());
    hands.reject(QUEUE, LETTERS as u64);
    let mut midst = 0;
    for kill in 1..=3 {
        let moved = hands.count(QUEUE);
        scope(|scope| {
            let admin = gateway.admin();
            let call = move || Client::call(admin, "POST", "/v1/dead/requeue", &[], b"{\"all\":true}");
            let calling = scope.spawn(call);
            until("some are put back", SOON, || hands.count(QUEUE) >= moved + 700);
            gateway.kill();
            assert!(calling.join().unwrap().is_none(), "kill {kill}: it was done before the kill");
        });
        // What the dead process held goes back once the broker has noticed.
        let mut last = (0, 0);
        until("the broker has noticed", SOON, || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let counts = (hands.count(QUEUE), hands.count(DEAD));
            std::mem::replace(&mut last, counts) == counts && (counts.0 + counts.1) as usize >= LETTERS
        });
        midst += usize::from(last.1 > 0);
        gateway.start();
        super::connected(&gateway);
    }
    assert_eq!(midst, 3, "each kill left some to do");
    let done = order(&gateway, "requeue", &json!({ "all": true }));
    assert_eq!((&done["stopped"], &done["more"]), (&json!(null), &json!(false)), "{done}");
    assert_eq!(hands.count(DEAD), 0);
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for one in hands.drained("plain") {
        assert_eq!(one.headers["hookgate-possible-duplicate"], "true");
        let number: usize = one.message_id.strip_prefix("id-").unwrap().parse().unwrap();
        assert_eq!(one.body, format!("body {number}").into_bytes());
        *copies.entry(one.message_id).or_default() += 1;
    }
    let lost: Vec<String> = (0..LETTERS).map(id).filter(|id| !copies.contains_key(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let twice = copies.values().filter(|count| **count > 1).count();
    assert!(twice <= 3 * 64, "no more than a batch for each kill: {twice}");
    println!("{LETTERS} letters, 3 kills: none lost, {twice} there more than once, all marked");
}
