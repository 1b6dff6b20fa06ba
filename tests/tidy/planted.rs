//! Each rule catches what it is for, and lets the proper form pass.

use crate::lexer::Source;

fn file(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

fn caught(bad: &[String], part: &str) {
    assert!(bad.len() == 1 && bad[0].contains(part), "wanted one violation with {part:?}, got {bad:?}");
}

fn clean(bad: &[String]) {
    assert!(bad.is_empty(), "wanted none, got {bad:?}");
}

#[test]
fn a_long_file_is_caught_and_its_tests_do_not_count() {
    caught(&crate::file_size(&file("src/a.rs", &"fn a() {}\n".repeat(501))), "501 lines");
    caught(&crate::file_size(&file("src/a/mod.rs", &"mod a;\n".repeat(61))), "at most 60");
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(600));
    clean(&crate::file_size(&file("src/a.rs", &tests)));
}

#[test]
fn code_in_a_module_file_is_caught() {
    caught(&crate::module_file(&file("src/a/mod.rs", "//! A fn here.\nmod b;\nfn c() {}\n")), "fn c");
    clean(&crate::module_file(&file("src/a/mod.rs", "//! A fn here.\nmod b;\npub use b::C;\n")));
}

#[test]
fn a_long_function_is_caught() {
    let body = "    let a = \"}\"; // }\n".repeat(70);
    caught(
        &crate::function_size(&file("src/a.rs", &format!("\nfn long<'a>() {{\n{body}}}\n"))),
        "src/a.rs:2: fn long",
    );
    clean(&crate::function_size(&file("src/a.rs", "fn a();\nfn b(c: char) -> bool {\n    c == '{'\n}\n")));
}

#[test]
fn a_file_without_a_purpose_is_caught() {
    caught(&crate::opens_with_doc(&file("src/a.rs", "use std::fmt;\n")), "src/a.rs");
}

#[test]
fn imports_up_or_across_are_caught() {
    let check = |path: &str, text: &str| crate::imports_by_layer(&file(path, text));
    caught(
        &check("src/clock.rs", "use crate::verify::Verified;"),
        "`clock` may not import `verify::Verified`",
    );
    caught(
        &check(
            "src/journal/commit.rs",
            "use crate::{\n    clock,\n    sink::{self, Sink},\n    event::Event,\n};",
        )[..1],
        "`sink`",
    );
    caught(&check("src/limit.rs", "fn a() { crate::schema::check(); }"), "`schema::check`");
    caught(&check("src/ingress/server.rs", "use crate::admin::Page;"), "`admin::Page`");
    caught(
        &check("src/dedup/key.rs", "use super::embedded::Index;\nuse super::super::journal::Record;")[..1],
        "`journal",
    );
    caught(&check("src/novel.rs", ""), "no layer");
}

#[test]
fn imports_down_and_of_proofs_pass() {
    let check = |path: &str, text: &str| crate::imports_by_layer(&file(path, text));
    clean(&check("src/dedup/key.rs", "use crate::verify::Verified;\nuse crate::provider::{self, Pointer};"));
    clean(&check("src/dedup/redis.rs", "use crate::event::Keys;\nuse super::key::EventKey;"));
    clean(&check("src/relay/step.rs", "use crate::{journal::Journal, sink::Sink};"));
    clean(&check("src/cli/serve.rs", "use crate::ingress;\nuse crate::config::Config;"));
    clean(&check("src/clock.rs", "#[cfg(test)]\nmod tests {\n    use crate::journal::Record;\n}"));
}

#[test]
fn what_is_out_of_its_room_is_caught() {
    let check = |path: &str, text: &str| crate::containment(&file(path, text));
    caught(&check("src/relay/step.rs", "use lapin::Channel;"), "`lapin`");
    caught(&check("src/dedup/key.rs", "use redis::Client;"), "`redis::`");
    caught(&check("src/relay/step.rs", "let a = tokio::spawn(b);"), "tasks");
    caught(&check("src/limit.rs", "let now = Instant::now();"), "clock");
    caught(&check("src/journal/record.rs", "fs::remove_file(a)?;"), "disk");
    clean(&check("src/sink/rabbitmq.rs", "use lapin::Channel;"));
    clean(&check("src/dedup/mod.rs", "mod redis;\npub use redis::Redis;"));
    caught(&check("src/dedup/mod.rs", "mod embedded;\npub use redis::Redis;"), "`redis::`");
    clean(&check("src/relay/step.rs", "// lapin\nlet a = (\"lapin\", crate::dedup::redis::open());"));
}

#[test]
fn unwrap_is_caught_outside_tests() {
    caught(&crate::no_unwrap(&file("src/a.rs", "\nlet a = b.unwrap();")), "src/a.rs:2");
    clean(&crate::no_unwrap(&file(
        "src/a.rs",
        "// .unwrap()\nb.unwrap_or(1);\n#[cfg(test)]\nmod t { fn a() { b.unwrap(); } }",
    )));
}

#[test]
fn an_allowed_lint_is_caught() {
    caught(&crate::no_allow(&file("src/a.rs", concat!("#[", "allow(dead_code)]"))), "expect");
}

#[test]
fn a_provider_in_the_code_is_caught() {
    let providers = ["acme".to_owned()];
    let check = |text: &str| crate::provider_literals(&file("src/a.rs", text), &providers);
    caught(&check(r#"if name == "acme" {}"#), "acme");
    caught(&check("let a = r#\"acme\"#;"), "acme");
    let segment =
        |path: &str| crate::provider_literals(&file(path, "let a = \"segment\";"), &["segment".to_owned()]);
    caught(&segment("src/provider/scheme.rs"), "segment");
    clean(&segment("src/admin/events.rs"));
    clean(&check("// \"acme\"\nlet a = \"acme-like\";\n#[cfg(test)]\nmod t { const A: &str = \"acme\"; }"));
}

#[test]
fn unfinished_work_is_caught() {
    caught(&crate::unfinished_words("a.md", concat!("a\n(TO", "DO: b)")), "a.md:2");
    clean(&crate::unfinished_words("a.md", concat!("AU", "TO", "DO", "C")));
}

#[test]
fn a_machine_is_caught() {
    caught(&crate::machine_names("a", concat!("see /wo", "rk/a")), "a:1");
    clean(&crate::machine_names("a", concat!("deploy/wo", "rk/a")));
}

#[test]
fn a_wrong_number_of_providers_is_caught() {
    let check = |text: &str| crate::provider_counts("a.md", text, 119);
    caught(&check("118 providers are built in, from A to Z"), "a.md: 118");
    caught(&check("data: 12 of them, and `generic`; 119 providers are built in"), "a.md: 12");
    clean(&check("119 providers are built in; 119 of them, or `generic`; 3 of them, and more"));
}

#[test]
fn a_room_outside_the_map_is_caught() {
    let rooms = ["sink".to_owned(), "relay".to_owned(), "limit".to_owned()];
    let map = "//! `sink`: outlets.\n/// Moves events.\npub mod relay;\npub mod limit;\n";
    caught(&crate::unmapped_rooms(map, &rooms), "`limit`");
}

#[test]
fn a_new_top_level_name_is_caught() {
    caught(&crate::foreign_names(&["src".into(), ".ci".into(), "notes".into()]), "notes");
}

#[test]
fn a_banned_crate_is_caught() {
    let lock = "[[package]]\nname = \"h2\"\nversion = \"0.3.27\"\n\n[[package]]\nname = \"h2\"\nversion = \"0.4.1\"\n";
    caught(&crate::banned_crates(lock), "h2 0.3.27");
    for name in ["rsa", "native-tls", "openssl", "openssl-sys", "openssl-src"] {
        let lock = format!("[[package]]\nname = \"{name}\"\nversion = \"0.9.8\"\nsource = \"registry\"\n");
        caught(&crate::banned_crates(&lock), &format!("{name} 0.9.8"));
    }
    // It looks for the system's certificates and links nothing.
    clean(&crate::banned_crates("[[package]]\nname = \"openssl-probe\"\nversion = \"0.2.2\"\n"));
}
