//! Built-in providers end to end: each sample as its provider would send it, and the same one broken.

use std::process::Output;

use crate::gateway::*;

/// A public URL that is not where the gateway listens, as behind a proxy.
const PUBLIC_URL: &str = "https://hooks.example.com/base";
/// An Ed25519 pair: what the sender has, and what a source has, in the forms of two providers.
const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const SEED_WHSK: &str = "whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const PUBLIC_WHPK: &str = "whpk_6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";

/// A source, what is sent to it, and which breaks its scheme can notice.
struct Case {
    source: &'static str,
    provider: &'static str,
    scheme: &'static str,
    events: &'static [&'static str],
    /// The variable of the sender's secret, where a source has another.
    sender: &'static str,
    breaks: &'static [&'static str],
}

const ALL: &[&str] = &["body", "signature", "time"];
const UNDATED: &[&str] = &["body", "signature"];

fn case(
    source: &'static str,
    (provider, scheme): (&'static str, &'static str),
    events: &'static [&'static str],
    sender: &'static str,
    breaks: &'static [&'static str],
) -> Case {
    Case { source, provider, scheme, events, sender, breaks }
}

fn cases() -> Vec<Case> {
    let chat = &["app_mention", "slash_command", "block_actions"];
    let code = &["Push Hook", "Merge Request Hook"];
    let contact = &["contact.created"];
    vec![
        case("slack", ("slack", "signing-secret-v0"), chat, "", ALL),
        case("twilio", ("twilio", "x-twilio-signature-form"), &["received", "delivered"], "", UNDATED),
        case("twilio-json", ("twilio", "x-twilio-signature-bodysha256"), &["received"], "", UNDATED),
        case("gitlab", ("gitlab", "x-gitlab-token"), code, "", &["signature"]),
        case("gitlab-signed", ("gitlab", "signing-token"), code, "", ALL),
        case("standard", ("standard_webhooks", "symmetric"), contact, "", ALL),
        case("standard-public", ("standard_webhooks", "asymmetric"), contact, "SENDER_WHSK", ALL),
        case("svix", ("svix", "symmetric"), contact, "", ALL),
        case("svix-public", ("svix", "asymmetric"), contact, "SENDER_WHSK", ALL),
        case("svix-plain", ("svix", "unbranded-headers"), contact, "", ALL),
        case("discord", ("discord", "interactions-ed25519"), &["2"], "SENDER_HEX", UNDATED),
        case("discord-dated", ("discord", "interactions-ed25519"), &["2"], "SENDER_HEX", ALL),
        case(
            "discord-events",
            ("discord", "webhook-events-ed25519"),
            &["APPLICATION_AUTHORIZED"],
            "SENDER_HEX",
            UNDATED,
        ),
    ]
}

fn setup() -> Setup {
    let senders = Setup::new().env("SENDER_HEX", SEED).env("SENDER_WHSK", SEED_WHSK);
    let mut setup = senders.set("ingress", &format!("public_url = \"{PUBLIC_URL}\""));
    for case in cases() {
        let mut lines = format!("scheme = \"{}\"", case.scheme);
        if case.source == "discord-dated" {
            lines.push_str("\ntolerance = { past = \"5m\" }");
        }
        setup = setup.source(case.source, case.provider, &lines);
        let name = format!("SECRET_{}", case.source.to_ascii_uppercase().replace('-', "_"));
        setup = match (case.sender, case.scheme) {
            ("SENDER_HEX", _) => setup.env(&name, PUBLIC),
            ("SENDER_WHSK", _) => setup.env(&name, PUBLIC_WHPK),
            (_, "symmetric" | "signing-token" | "unbranded-headers") => {
                setup.env(&name, "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
            }
            _ => setup,
        };
    }
    setup
}

fn send(gateway: &Gateway, case: &Case, event: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["send", case.source, event];
    if !case.sender.is_empty() {
        arguments.extend(["--secret-env", case.sender]);
    }
    arguments.extend(more);
    gateway.run(&arguments)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_sample_is_accepted_once_and_every_broken_one_refused() {
    let gateway = setup().start();
    for case in cases() {
        for event in case.events {
            let told = format!("{} {event}", case.source);
            let sent = send(&gateway, &case, event, &["--times", "2"]);
            assert_eq!(sent.status.code(), Some(0), "{told}: {}", said(&sent));
            let outcomes: Vec<bool> =
                said(&sent).lines().take(2).map(|line| line.contains("duplicate")).collect();
            assert_eq!(outcomes, [false, true], "{told}: {}", said(&sent));
            for how in case.breaks {
                let broken = send(&gateway, &case, event, &["--break", how]);
                assert_eq!(broken.status.code(), Some(1), "{told} {how}: {}", said(&broken));
                assert!(said(&broken).starts_with("401"), "{told} {how}: {}", said(&broken));
            }
        }
        let drained = gateway.drain(case.source, case.events.len());
        let mut types: Vec<String> =
            drained.iter().map(|event| event.header("hookgate-event-type")).collect();
        let mut wanted = case.events.to_vec();
        if case.scheme == "x-twilio-signature-bodysha256" {
            wanted = vec![""];
        }
        types.sort();
        wanted.sort_unstable();
        assert_eq!(types, wanted, "{}", case.source);
        assert!(drained.iter().all(|event| event.header("hookgate-provider") == case.provider));
    }
    let mismatch = |source| {
        gateway.metric("hookgate_rejected_total", &[("source", source), ("reason", "body_digest_mismatch")])
    };
    assert_eq!(mismatch("twilio-json"), 1.0, "the exact reason is told to the operator");
}

#[test]
fn what_a_scheme_cannot_notice_is_said_in_place_of_sending() {
    let gateway = setup().start();
    for (source, how, part) in [
        ("twilio", "time", "signs no time"),
        ("gitlab", "body", "does not sign the body"),
        ("discord", "time", "takes any age"),
    ] {
        let case = cases().into_iter().find(|case| case.source == source).unwrap();
        let output = send(&gateway, &case, case.events[0], &["--break", how]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(part), "{}", said(&output));
    }
}

#[test]
fn a_public_key_signs_nothing_and_send_says_what_does() {
    let gateway = setup().start();
    let output = gateway.run(&["send", "discord"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("the sender's private key, --secret-env NAME"), "{}", said(&output));
    assert!(!said(&output).contains(PUBLIC));
}

#[test]
fn without_a_configuration_the_called_url_is_the_signed_one() {
    let gateway = Setup::new().source("sms", "twilio", "").prepare();
    let url = format!("http://{}", gateway.ingress());
    let mut gateway = gateway;
    gateway.change(|setup| setup.set("ingress", &format!("public_url = \"{url}\"")));
    gateway.start();
    let to = format!("{url}/in/sms");
    let output = hookgate(&["send", "twilio", "--to", &to, "--secret", &secret("sms")]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_scheme_that_signs_the_url_needs_the_public_one() {
    let output = Setup::new()
        .source("sms", "twilio", "")
        .source("calls", "twilio", "scheme = \"x-twilio-signature-bodysha256\"")
        .run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    let told = said(&output);
    assert_eq!(told.matches("ingress.public_url").count(), 1, "{told}");
    assert!(told.contains("sources.calls signs it") && told.contains("https://hooks.example.com"), "{told}");
}

#[test]
fn a_public_key_that_is_none_stops_the_start() {
    let low_order = format!("01{}", "00".repeat(31));
    for (provider, scheme, key, part) in [
        ("discord", "interactions-ed25519", &PUBLIC[..62], "64 hexadecimal digits"),
        ("discord", "interactions-ed25519", &low_order, "low order"),
        ("svix", "asymmetric", SEED_WHSK, "only the sender has"),
        ("svix", "asymmetric", "whpk_6kpsY+KcUgq+9VB7Ey7F", "whpk_ and base64"),
    ] {
        let setup = Setup::new().source("app", provider, &format!("scheme = \"{scheme}\""));
        let output = setup.env("SECRET_APP", key).run(&["check"]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains("sources.app.secrets[0]") && told.contains(part), "{told}");
        assert!(!told.contains(key), "{told}");
    }
}
