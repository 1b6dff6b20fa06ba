//! Tests of the checker: books with one fault planted in each, which it has to tell, and one without, of which it
//! must be silent.

use std::process::ExitCode;

use crate::calls;
use crate::check::{Blind, Broken, Checker, Incident, Message};
use crate::ledger::{Hash, Kept, Notes, digest};

/// What a planted case does to two hundred messages in order.
type Plant = fn(&mut Vec<Message>, &mut Notes);

const CASES: &[(&str, Option<Broken>, Plant)] = &[
    ("a faultless run", None, |_, _| {}),
    ("a marked copy", None, |messages, _| {
        let copy = Message { marked: true, at: 1_500, ..messages[10] };
        messages.push(copy);
    }),
    ("a copy that the broker handed out again", None, |messages, _| {
        messages.push(Message { again: true, connection: 1, ..messages[199] });
    }),
    ("a redelivery that was asked for", None, |messages, _| {
        messages.push(Message { redelivery: true, ..messages[20] });
    }),
    ("an event nobody was answered for", None, |_, notes| {
        notes.kept.remove(&30);
    }),
    ("one lost", Some(Broken::Lost), |messages, _| {
        messages.remove(77);
    }),
    ("one changed", Some(Broken::Changed), |messages, _| messages[78].digest[0] ^= 1),
    ("a copy of other bytes", Some(Broken::Changed), |messages, _| {
        messages.push(Message { marked: true, digest: [9; 32], at: 1_500, ..messages[10] });
    }),
    ("one unmarked copy", Some(Broken::Unmarked), |messages, _| {
        messages.push(Message { sequence: None, ..messages[199] })
    }),
    (
        "an unmarked copy that the broker calls its own, by the same connection",
        Some(Broken::Unmarked),
        |messages, _| {
            messages.push(Message { again: true, ..messages[199] });
        },
    ),
    ("two out of order", Some(Broken::Order), |messages, _| messages.swap(50, 51)),
    ("one that nobody sent", Some(Broken::Invented), |messages, _| {
        messages.push(Message { message_id: [7; 32], digest: [7; 32], sequence: Some(201), ..messages[0] });
    }),
    ("eleven marked after a crash that accounts for ten", Some(Broken::Beyond), |messages, _| {
        let copies = messages[..11].to_vec();
        messages.extend(copies.into_iter().map(|copy| Message { marked: true, at: 1_500, ..copy }));
    }),
    ("one marked before any crash", Some(Broken::Beyond), |messages, _| {
        messages.push(Message { marked: true, at: 500, ..messages[10] });
    }),
    ("eleven marked while Redis is away", None, |messages, _| {
        let copies = messages[..11].to_vec();
        messages.extend(copies.into_iter().map(|copy| Message { marked: true, at: 9_500, ..copy }));
    }),
    ("an unmarked copy of what went out marked while Redis was away", None, |messages, _| {
        messages[199].at = 9_500;
        messages[199].marked = true;
        messages.push(Message { marked: false, sequence: None, ..messages[199] });
    }),
    ("an unmarked copy of what a crash let go out marked", None, |messages, _| {
        messages[199].at = 1_500;
        messages[199].marked = true;
        messages.push(Message { marked: false, sequence: None, ..messages[199] });
    }),
    ("two of them", Some(Broken::Unmarked), |messages, _| {
        messages[199].at = 9_500;
        messages[199].marked = true;
        let copy = Message { marked: false, sequence: None, ..messages[199] };
        messages.extend([copy, copy]);
    }),
    ("an answer with another message id", Some(Broken::Answer), |messages, notes| {
        let kept = Kept { message_id: [8; 32], digest: messages[5].digest, at: 0 };
        notes.keeps(5, kept);
    }),
];

fn book() -> (Vec<Message>, Notes) {
    let mut notes = Notes::default();
    let message = |event: u32| {
        let [message_id, body]: [Hash; 2] =
            ["id", "body"].map(|part| digest(format!("{part} {event}").as_bytes()));
        notes.sends(event, body);
        notes.keeps(event, Kept { message_id, digest: body, at: u64::from(event) });
        Message {
            source: 0,
            message_id,
            digest: body,
            sequence: Some(u64::from(event) + 1),
            marked: false,
            redelivery: false,
            again: false,
            connection: 0,
            at: u64::from(event),
        }
    };
    ((0..200).map(message).collect(), notes)
}

/// Runs all cases; what is not told, or told without reason, fails.
pub fn run() -> ExitCode {
    let mut failed = 0;
    for (name, expected, plant) in CASES {
        let (mut messages, mut notes) = book();
        plant(&mut messages, &mut notes);
        let mut checker = Checker::default();
        messages.iter().for_each(|message| checker.take(message));
        checker.compare(&notes);
        checker.marked(&[Incident { at: 1_000, copies: 10 }], &[Blind { from: 9_000, to: 10_000 }]);
        let mut told: Vec<Broken> = checker.violations.iter().map(|violation| violation.broken).collect();
        told.dedup();
        let right = told == expected.iter().copied().collect::<Vec<_>>();
        if !right {
            eprintln!("{name}: told {told:?}, planted {expected:?}");
            failed += 1;
        }
    }
    let ends = calls::planted();
    for (name, expected, told) in &ends {
        if expected != told {
            eprintln!("{name}: told {told}, expected {expected}");
            failed += 1;
        }
    }
    println!("checker: {} planted cases, {failed} wrong", CASES.len() + ends.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
