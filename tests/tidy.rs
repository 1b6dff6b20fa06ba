//! The house rules, as tests over the files of the tree.
//!
//! Each rule is a function from a text to its violations, so each is also tested on a bad snippet. What the
//! rules know about this project (sizes, layers, who may use what) stands in the tables at the top.

#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/tree.rs"]
mod tree;

use lexer::Source;

/// Lines a file may have, its `#[cfg(test)]` part aside; the first pattern that ends the path counts.
const FILE_LINES: &[(&str, usize)] =
    &[("/mod.rs", 60), ("src/main.rs", 40), ("src/pipeline.rs", 150), ("src/lib.rs", 150), (".rs", 500)];
const FUNCTION_LINES: usize = 70;

/// The layer of each room, lowest first; of two entries that fit a path, the longer counts.
const LAYERS: &[(u8, &[&str])] = &[
    (
        0,
        &[
            "addresses",
            "audit",
            "clock",
            "delivery",
            "disk",
            "exit",
            "failpoint",
            "metrics",
            "reject",
            "tasks",
            "telemetry",
            "units",
        ],
    ),
    (
        1,
        &[
            "batch",
            "dedup::key",
            "event",
            "extract",
            "freshness",
            "limit",
            "mask",
            "provider",
            "schema",
            "steps",
            "verify",
        ],
    ),
    (2, &["dedup", "journal", "sink"]),
    (
        3,
        &[
            "accept",
            "capture",
            "confirm",
            "diagnose",
            "drain",
            "history",
            "keeper",
            "lanes",
            "notice",
            "operate",
            "pipeline",
            "quarantine",
            "relay",
            "sample",
            "source",
        ],
    ),
    (4, &["admin", "cli", "config", "ingress", "main"]),
    (5, &["fuzzing", "simulation"]),
];
/// What rooms of layer 1 may import of their own layer, beside the proof types.
const SHARED_STAGES: &[&str] = &["provider", "extract", "event"];
const PROOF_TYPES: &[&str] = &["Verified", "EventKey", "Event", "Receipt"];
/// Imports between rooms of one layer that are meant.
const MEANT: &[(&str, &str)] = &[
    ("accept", "lanes"),
    ("relay", "lanes"),
    ("relay", "accept"),
    ("operate", "accept"),
    ("operate", "lanes"),
    ("history", "operate"),
    ("source", "accept"),
    ("source", "capture"),
    ("source", "notice"),
    ("confirm", "accept"),
    ("confirm", "relay"),
    ("drain", "accept"),
    ("drain", "keeper"),
    ("keeper", "accept"),
    ("keeper", "confirm"),
    ("pipeline", "accept"),
    ("pipeline", "capture"),
    ("pipeline", "keeper"),
    ("pipeline", "source"),
    ("sample", "accept"),
    ("sample", "pipeline"),
    ("sample", "source"),
    ("quarantine", "history"),
    ("quarantine", "pipeline"),
    ("quarantine", "source"),
];

/// Code that only some files may hold: the texts, the paths in `src/` that may, and where it belongs.
const CONTAINED: &[(&[&str], &[&str], &str)] = &[
    (&["actix_web", "actix_http", "actix_rt"], &["ingress/", "admin/"], "HTTP stays in ingress/ and admin/"),
    (&["lapin"], &["sink/rabbitmq"], "AMQP stays in sink/rabbitmq"),
    (
        &["rustls::", "rustls_acme", "tokio_rustls"],
        &["ingress/tls/", "verify/fetched/", "verify/certificate/"],
        "TLS stays in ingress/tls and verify/fetched; certificates are judged in verify/certificate",
    ),
    (&["rusqlite"], &["history/"], "SQLite stays in history"),
    (&["redis::"], &["dedup/redis"], "Redis stays in dedup/redis; name it `crate::dedup` elsewhere"),
    (
        &["ureq::unversioned", "Agent::with_parts"],
        &["verify/fetched/client.rs"],
        "fetch through `verify::Client`",
    ),
    (&["SystemTime::now", "Instant::now"], &["clock.rs"], "take a `clock::Clock`"),
    (&["std::env", "env::var", "env::vars"], &["config", "provider/secret", "main.rs"], "read it in config"),
    (
        &["::spawn(", "spawn_blocking(", "spawn_local(", "thread::Builder", "JoinSet"],
        &["tasks.rs"],
        "use `tasks`",
    ),
    (
        &[
            "fs::write",
            "File::create",
            "OpenOptions",
            "DirBuilder",
            "fs::rename",
            "fs::remove_",
            "fs::create_dir",
        ],
        &["disk.rs", "cli/"],
        "write through `disk::Disk`",
    ),
];

/// Words of ours that a provider has for a name, and the files of `src/` that say them.
const HOMONYMS: &[(&str, &[&str])] = &[("segment", &["admin/events.rs", "cli/journal/inspect.rs"])];

/// The top level, dot names aside.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "README.md",
    "src",
    "providers",
    "schemas",
    "tests",
    "deploy",
];
/// Crates that must not be in the lock file: the name, the start of the version, and why.
const BANNED_CRATES: &[(&str, &str, &str)] = &[
    ("h2", "0.3.", "open advisory; actix-web without `http2` does not need it"),
    ("rsa", "", "timing advisory without a fix; public keys are aws-lc-rs's"),
    ("native-tls", "", "TLS is rustls"),
    ("openssl", "", "TLS is rustls"),
    ("openssl-sys", "", "TLS is rustls"),
    ("openssl-src", "", "TLS is rustls"),
];

fn file_size(source: &Source) -> Vec<String> {
    let limit = FILE_LINES.iter().find(|(end, _)| source.path.ends_with(end)).map_or(500, |(_, n)| *n);
    let lines = source.lines_outside_tests();
    let say = format!("{}: {lines} lines, at most {limit}; split it by what changes together", source.path);
    if lines > limit { vec![say] } else { Vec::new() }
}

fn module_file(source: &Source) -> Vec<String> {
    let foreign =
        |line: &&str| ["fn ", "struct ", "enum ", "impl ", "trait "].iter().any(|item| line.contains(item));
    let found = source.path.ends_with("/mod.rs").then(|| source.code.lines().find(foreign)).flatten();
    found
        .map(|l| format!("{}: `{}`; mod.rs holds docs, `mod` and `use` only", source.path, l.trim()))
        .into_iter()
        .collect()
}

fn function_size(source: &Source) -> Vec<String> {
    let long = source.functions().into_iter().filter(|f| f.lines > FUNCTION_LINES);
    long.map(|f| {
        format!("{}:{}: fn {} has {} lines, at most {FUNCTION_LINES}", source.path, f.line, f.name, f.lines)
    })
    .collect()
}

fn opens_with_doc(source: &Source) -> Vec<String> {
    let missing = !source.raw.starts_with("//! ");
    missing.then(|| format!("{}: begin with `//!`: what this file is for", source.path)).into_iter().collect()
}

fn layer(path: &[String]) -> Option<u8> {
    let path = path.join("::");
    let fits = |room: &&&str| path == **room || path.starts_with(&format!("{room}::"));
    let best = |(n, rooms): &(u8, &[&str])| rooms.iter().filter(fits).map(|r| (r.len(), *n)).max();
    LAYERS.iter().filter_map(best).max().map(|(_, n)| n)
}

fn may_import(from: &[String], to: &[String]) -> bool {
    let (room, target) = (from[0].as_str(), to[0].as_str());
    let (Some(own), Some(other)) = (layer(from), layer(to)) else { return room == target };
    let proof = to.last().is_some_and(|name| PROOF_TYPES.contains(&name.as_str()));
    match own {
        _ if room == target || other == 0 => true,
        _ if MEANT.contains(&(room, target)) => true,
        1 => other == 1 && (proof || SHARED_STAGES.contains(&target)),
        2 => target == "event",
        4 => other < 4 || room == "cli" || room == "main",
        _ => other < own,
    }
}

fn imports_by_layer(source: &Source) -> Vec<String> {
    let from = source.module();
    if from.is_empty() {
        return Vec::new();
    }
    let mut bad: Vec<String> = Vec::new();
    if layer(&from).is_none() {
        bad.push(format!("{}: `{}` has no layer; add it to LAYERS in tests/tidy.rs", source.path, from[0]));
    }
    for (line, to) in source.imports(&from) {
        if !may_import(&from, &to) {
            let (from, to) = (from.join("::"), to.join("::"));
            bad.push(format!(
                "{}:{line}: `{from}` may not import `{to}` (LAYERS in tests/tidy.rs)",
                source.path
            ));
        }
    }
    bad
}

fn containment(source: &Source) -> Vec<String> {
    let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let mut bad = Vec::new();
    for (texts, homes, why) in CONTAINED {
        if homes.iter().any(|home| inside.starts_with(home)) {
            continue;
        }
        for text in *texts {
            let hits = source.find_token(text).into_iter().filter(|at| !source.is_own_path(*at));
            bad.extend(hits.map(|at| format!("{}:{}: `{text}`: {why}", source.path, source.line_of(at))));
        }
    }
    bad
}

fn no_unwrap(source: &Source) -> Vec<String> {
    let hits = source.code.match_indices(".unwrap()").map(|(at, _)| source.line_of(at));
    hits.map(|n| {
        format!("{}:{n}: `.unwrap()`; return the error, or `expect` why it cannot fail", source.path)
    })
    .collect()
}

fn no_allow(source: &Source) -> Vec<String> {
    let hits = [concat!("#[", "allow"), concat!("#![", "allow")];
    let lines = source.raw.lines().enumerate().filter(|(_, line)| hits.iter().any(|hit| line.contains(hit)));
    lines.map(|(n, _)| format!("{}:{}: use `#[expect(lint, reason = …)]`", source.path, n + 1)).collect()
}

fn provider_literals(source: &Source, providers: &[String]) -> Vec<String> {
    let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let ours = |text: &str| HOMONYMS.iter().any(|(word, files)| *word == text && files.contains(&inside));
    let named = source.literals.iter().filter(|(_, text)| providers.contains(text) && !ours(text));
    named
        .map(|(line, text)| {
            format!("{}:{line}: {text:?} is a provider's name; providers are data", source.path)
        })
        .collect()
}

fn unfinished_words(path: &str, text: &str) -> Vec<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let has = |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word));
    let lines = text.lines().enumerate().filter(|(_, line)| has(line));
    lines.map(|(n, _)| format!("{path}:{}: finish it or file an issue", n + 1)).collect()
}

fn machine_names(path: &str, text: &str) -> Vec<String> {
    let names = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("registry.", "npmjs"),
        concat!("static.", "crates.io"),
        concat!("index.", "crates.io"),
    ];
    let at_start =
        |line: &str, at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}".contains(c));
    let mut bad = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for name in names {
            if line.match_indices(name).any(|(at, _)| at_start(line, at)) {
                bad.push(format!("{path}:{}: `{name}` names a machine or a registry host", number + 1));
            }
        }
    }
    bad
}

fn unmapped_rooms(map: &str, rooms: &[String]) -> Vec<String> {
    let lines: Vec<&str> = map.lines().collect();
    let words =
        |line: &str, room: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == room);
    let in_docs = |room: &str| lines.iter().any(|line| line.starts_with("//!") && words(line, room));
    let declared = |pair: &[&str], room: &str| {
        pair[0].trim_start().starts_with("///") && pair[1].trim_end().ends_with(&format!("mod {room};"))
    };
    let documented = |room: &str| lines.windows(2).any(|pair| declared(pair, room));
    let missing = rooms.iter().filter(|room| !in_docs(room) && !documented(room));
    missing.map(|room| format!("src/lib.rs: the map says nothing of `{room}`; give it a paragraph")).collect()
}

fn foreign_names(names: &[String]) -> Vec<String> {
    let foreign = names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    foreign
        .map(|name| format!("{name}: not agreed for the top level; see TOP_LEVEL in tests/tidy.rs"))
        .collect()
}

fn banned_crates(lock: &str) -> Vec<String> {
    let mut bad = Vec::new();
    for package in lock.split("[[package]]") {
        let field = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let (name, version) = (field("name"), field("version"));
        let banned = BANNED_CRATES.iter().filter(|(n, v, _)| *n == name && version.starts_with(v));
        bad.extend(banned.map(|(_, _, why)| {
            format!("Cargo.lock: {name} {version}: {why}; `cargo tree -i {name}` shows who brings it")
        }));
    }
    bad
}

/// Where a page says how many providers there are: the words behind the number.
const COUNTED: [&str; 3] = [" providers are built in", " of them, and `generic`", " of them, or `generic`"];

fn said_providers(text: &str) -> Vec<usize> {
    let before = |words| text.match_indices(words).map(|(at, _)| &text[..at]);
    let number = |before: &str| before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    COUNTED.iter().flat_map(before).filter_map(number).collect()
}

fn provider_counts(path: &str, text: &str, providers: usize) -> Vec<String> {
    let wrong = said_providers(text).into_iter().filter(|said| *said != providers);
    wrong.map(|said| format!("{path}: {said} providers; beside `generic` there are {providers}")).collect()
}

/// Fails with all violations of a rule, one a line.
fn hold(bad: Vec<String>) {
    assert!(bad.is_empty(), "{} violations:\n  {}\n", bad.len(), bad.join("\n  "));
}

fn over(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    assert!(!sources.is_empty(), "no source file found: is the tree complete?");
    hold(sources.iter().flat_map(rule).collect());
}

#[test]
fn files_are_short() {
    over(&tree::sources(&["src", "tests"]), file_size);
}

#[test]
fn module_files_only_declare() {
    over(&tree::sources(&["src"]), module_file);
}

#[test]
fn functions_are_short() {
    over(&tree::sources(&["src", "tests"]), function_size);
}

#[test]
fn files_open_with_their_purpose() {
    over(&tree::sources(&["src"]), opens_with_doc);
}

#[test]
fn imports_go_down_the_layers() {
    over(&tree::sources(&["src"]), imports_by_layer);
}

#[test]
fn libraries_and_side_effects_stay_in_their_rooms() {
    over(&tree::sources(&["src"]), containment);
}

#[test]
fn nothing_unwraps() {
    over(&tree::sources(&["src"]), no_unwrap);
}

#[test]
fn lints_are_expected_not_allowed() {
    over(&tree::sources(&["src", "tests"]), no_allow);
}

#[test]
fn providers_are_data() {
    let providers = tree::providers();
    over(&tree::sources(&["src"]), |source| provider_literals(source, &providers));
}

#[test]
fn nothing_is_left_unfinished() {
    hold(tree::texts().iter().flat_map(|(path, text)| unfinished_words(path, text)).collect());
}

#[test]
fn pages_count_the_providers_right() {
    let providers = tree::providers().len();
    let pages: Vec<(String, String)> =
        tree::texts().into_iter().filter(|(path, _)| path.ends_with(".md")).collect();
    hold(pages.iter().flat_map(|(path, text)| provider_counts(path, text, providers)).collect());
    let said = pages.iter().filter(|(_, text)| !said_providers(text).is_empty()).count();
    assert!(said >= 3, "README.md, CHANGELOG.md and deploy/MIGRATION.md say it in other words; see COUNTED");
}

#[test]
fn no_machine_is_named() {
    hold(tree::texts().iter().flat_map(|(path, text)| machine_names(path, text)).collect());
}

#[test]
fn the_map_names_every_room() {
    hold(unmapped_rooms(&tree::read("src/lib.rs"), &tree::rooms()));
}

#[test]
fn the_top_level_is_as_agreed() {
    hold(foreign_names(&tree::top_level()));
}

#[test]
fn the_lock_file_holds_no_banned_crate() {
    hold(banned_crates(&tree::read("Cargo.lock")));
}
