//! Signatures that are almost right, or right and somewhere else: refused for every scheme in the same way.

use super::battery::{Battery, Case, Expected};
use crate::gateway::*;

const FORGED: Expected = Expected::Answered(&[401]);

/// A signed request as bytes.
fn bytes(signed: &Signed) -> Vec<u8> {
    let lines: String = signed.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = signed.body.len();
    let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n{lines}content-length: {length}\r\n\r\n", signed.path);
    [head.as_bytes(), &signed.body].concat()
}

fn case(name: impl Into<String>, signed: &Signed) -> Case {
    Case::new(name, bytes(signed), FORGED)
}

/// A scheme: a valid delivery, its header, and what stands in it before the proof itself.
fn schemes() -> Vec<(Signed, &'static str, String)> {
    let stripe = stripe("shop", &stripe_event("evt_forged"));
    let time = stripe.header("stripe-signature").split_once("v1=").unwrap().0.to_owned();
    vec![
        (generic("plain", b"{\"forged\":1}"), "X-Signature", String::new()),
        (github("git", "d-forged", "push", b"{\"forged\":2}"), "X-Hub-Signature-256", "sha256=".to_owned()),
        (stripe, "Stripe-Signature", format!("{time}v1=")),
        (
            standard_webhooks("std", &secret("std"), "msg_forged", b"{\"forged\":3}"),
            "webhook-signature",
            "v1,".to_owned(),
        ),
        (
            shopify("store", "e-forged", "orders/create", b"{\"forged\":4}"),
            "X-Shopify-Hmac-Sha256",
            String::new(),
        ),
    ]
}

fn almost_right(good: &Signed, name: &str, before: &str) -> Vec<Case> {
    let proof = good.header(name).strip_prefix(before).unwrap().to_owned();
    let turned = |letter: char| if letter == 'a' { 'b' } else { 'a' };
    let change = |at: usize| -> String {
        proof
            .chars()
            .enumerate()
            .map(|(index, letter)| if index == at { turned(letter) } else { letter })
            .collect()
    };
    let half = proof.len() / 2;
    let proofs = [
        ("empty", String::new()),
        ("one character", proof[..1].to_owned()),
        ("half", proof[..half].to_owned()),
        ("all but the last", proof[..proof.len() - 1].to_owned()),
        ("all but the last two", proof[..proof.len() - 2].to_owned()),
        ("one more", format!("{proof}0")),
        ("twice over", format!("{proof}{proof}")),
        ("the first changed", change(0)),
        ("one in the middle changed", change(half)),
        ("the second last changed", change(proof.len() - 2)),
        ("zeros", "0".repeat(proof.len())),
        ("blanks within", format!("{} {}", &proof[..half], &proof[half..])),
        ("a NUL in words", format!("{proof}%00")),
        ("quoted", format!("\"{proof}\"")),
        ("a wildcard", "*".to_owned()),
        ("null", "null".to_owned()),
        ("of 20000 characters", proof.repeat(20_000 / proof.len())),
    ];
    let with = |(what, proof): (&str, String)| {
        case(format!("{name}: {what}"), &good.clone().with(name, &format!("{before}{proof}")))
    };
    proofs.into_iter().map(with).collect()
}

fn elsewhere(good: &Signed, name: &str) -> Vec<Case> {
    let value = good.header(name);
    let bare = good.clone().without(name);
    let query: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let in_query = Signed { path: format!("{}?{name}={query}", bare.path), ..bare.clone() };
    let mut all = vec![
        case(format!("{name}: absent"), &bare),
        case(format!("{name}: in the query"), &in_query),
        case(format!("{name}: with underscores"), &bare.clone().with(&name.replace('-', "_"), &value)),
        case(format!("{name}: with a longer name"), &bare.clone().with(&format!("X-{name}"), &value)),
        case(format!("{name}: in a cookie"), &bare.clone().with("cookie", &format!("{name}={value}"))),
        case(format!("{name}: as a bearer"), &bare.with("authorization", &format!("Bearer {value}"))),
    ];
    // Stripe's file joins them, as Stripe's own libraries read them.
    if name != "Stripe-Signature" {
        all.push(case(format!("{name}: twice"), &good.clone().and(name, &value)));
        all.push(case(format!("{name}: a wrong one behind"), &good.clone().and(name, "0")));
        all.push(case(
            format!("{name}: a wrong one before"),
            &good.clone().with(name, "0").and(name, &value),
        ));
        all.push(case(format!("{name}: an empty one behind"), &good.clone().and(name, "")));
    }
    all
}

fn other_bodies(good: &Signed, name: &str) -> Vec<Case> {
    let body = |what: &str, body: Vec<u8>| case(format!("{name}: {what}"), &Signed { body, ..good.clone() });
    let spaced = String::from_utf8(good.body.clone()).unwrap().replacen(':', " : ", 1);
    vec![
        body("a newline behind", [good.body.as_slice(), b"\n"].concat()),
        body("a blank before", [b" ".as_slice(), &good.body].concat()),
        body("a byte order mark before", [b"\xef\xbb\xbf".as_slice(), &good.body].concat()),
        body("printed anew", spaced.into_bytes()),
        body("cut by a byte", good.body[..good.body.len() - 1].to_vec()),
        body("no body", Vec::new()),
    ]
}

/// Weaker kinds of proof that a sender may have sent beside the one that the source demands.
fn downgrades() -> Vec<Case> {
    let git = github("git", "d-weaker", "push", b"{}");
    let mac = git.header("x-hub-signature-256");
    let digits = mac.strip_prefix("sha256=").unwrap().to_owned();
    let bare = git.clone().without("x-hub-signature-256");
    let stripe = stripe("shop", &stripe_event("evt_weaker"));
    let value = stripe.header("stripe-signature");
    let (time, proof) = value.split_once(",v1=").unwrap();
    let stripe_with = |what: &str, value: String| {
        case(format!("Stripe: {what}"), &stripe.clone().with("stripe-signature", &value))
    };
    vec![
        case(
            "GitHub: SHA-1 alone",
            &bare.clone().with("x-hub-signature", &format!("sha1={}", &digits[..40])),
        ),
        case("GitHub: the proof in the header of SHA-1", &bare.with("x-hub-signature", &mac)),
        case("GitHub: named SHA-1", &git.clone().with("x-hub-signature-256", &format!("sha1={digits}"))),
        case("GitHub: named none", &git.clone().with("x-hub-signature-256", "none")),
        case("GitHub: named nothing", &git.with("x-hub-signature-256", &digits)),
        stripe_with("an unknown version alone", format!("{time},v2={proof}")),
        stripe_with("the test version alone", format!("{time},v0={proof}")),
        stripe_with("no version", format!("{time},{proof}")),
        stripe_with("no time", format!("v1={proof}")),
        stripe_with("two times", format!("t=1,{time},v1={proof}")),
        stripe_with("two times, the true one first", format!("{time},t=1,v1={proof}")),
        stripe_with("a time with a sign", format!("t=+{},v1={proof}", &time[2..])),
        stripe_with("a time in parts", format!("{time}.0,v1={proof}")),
        stripe_with("a time beyond all", format!("t=99999999999999999999,v1={proof}")),
        stripe_with("a time before all", format!("t=-9223372036854775809,v1={proof}")),
    ]
}

#[test]
fn signatures_that_are_almost_right_are_wrong() {
    let key = format!("whsec_{}", base64_of(secret("std").as_bytes()));
    let setup = Setup::new()
        .source("std", "standard_webhooks", "")
        .source("store", "shopify", "")
        .env("SECRET_STD", &key);
    let battery = Battery::of(setup);
    let mut all = downgrades();
    for (good, name, before) in schemes() {
        all.extend(almost_right(&good, name, &before));
        all.extend(elsewhere(&good, name));
        all.extend(other_bodies(&good, name));
    }
    battery.run(&all);
    // What was tried burnt none of their keys, and nothing else of theirs reached a worker.
    for (good, name, _) in schemes() {
        assert_eq!(battery.gateway.deliver(&good).outcome(), "accepted", "{name}");
        let source = good.path.trim_start_matches("/in/");
        if source != "plain" {
            let handed = battery.gateway.drain(source, 1);
            assert!(handed.len() == 1 && handed[0].body == good.body, "{} events of {source}", handed.len());
        }
    }
    battery.end(&[b"{\"forged\":1}"]);
}
