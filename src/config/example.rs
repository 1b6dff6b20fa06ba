//! `deploy/hookgate.toml` explains every key: its claim, held against the types of the settings.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{self, Scope};
use super::load::complete;
use super::path::{KeyPath, Step};
use super::report::{Report, Wrong};
use super::settings::Settings;
use super::tree::{self, Entry, Kind, Node};

const EXAMPLE: &str = include_str!("../../deploy/hookgate.toml");
const SOURCE: &str = "sources.stripe";
/// What no key is called.
const STRANGER: &str = "?";

/// The words at the top of the example, which tell of secrets, and the rest.
fn head_and_body() -> (&'static str, &'static str) {
    EXAMPLE.split_once("\n\n").expect("a head, and an empty line after it")
}

/// The example with every key that is commented out put in force; lines keep their numbers.
fn uncommented() -> String {
    let (head, body) = head_and_body();
    let is_key = |line: &str| {
        let bare = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(name, _)| bare(name))
    };
    let uncommented = |line| str::strip_prefix(line, "# ").filter(|rest| is_key(rest)).unwrap_or(line);
    format!("{head}\n\n{}", body.lines().map(uncommented).collect::<Vec<_>>().join("\n"))
}

fn parsed(text: &str) -> Node {
    tree::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The keys that the table at `path` may have, as told to one who sets another; none where it is no such table.
pub(super) fn known(path: &KeyPath) -> Vec<String> {
    let number = Node { line: 0, kind: Kind::Integer(1) };
    let stranger = path.key(STRANGER);
    let tree = stranger.steps().iter().rev().fold(number, |node, step| match step {
        Step::Key(key) => Node::table(BTreeMap::from([(key.clone(), Entry { line: 0, node })])),
        Step::Index(_) => Node { line: 0, kind: Kind::Array(vec![node]) },
    });
    let mut report = Report::default();
    complete(tree, &mut report);
    let told = report.iter().find(|one| one.key == stranger && matches!(one.wrong, Wrong::UnknownKey(_)));
    told.map_or(Vec::new(), |one| one.allowed.split(", ").map(str::to_owned).collect())
}

/// Every key below `path`.
fn keys(path: &KeyPath) -> BTreeSet<KeyPath> {
    let below = |key: KeyPath| {
        let inner = keys(&key).into_iter().chain(keys(&key.index(0)));
        inner.chain([key.clone()]).collect::<BTreeSet<_>>()
    };
    known(path).iter().flat_map(|key| below(path.key(key))).collect()
}

/// Every key of a configuration with the example's source.
fn all_keys() -> BTreeSet<KeyPath> {
    keys(&KeyPath::default()).into_iter().chain(keys(&SOURCE.into())).collect()
}

/// Whether `key` is set in `tree`; in a table of one line, or a reference to a secret, whether words tell of it.
fn explained(key: &KeyPath, tree: &Node) -> bool {
    let Some(name) = key.last_key() else { return false };
    let (table, said) = (key.parent(), format!("{name} = "));
    let line = || {
        let (_, last) = (table.last_key()?, table.steps().last()?);
        let (line, _) = tree.get(&table.parent())?.child(last)?;
        EXAMPLE.lines().nth(line - 1)
    };
    tree.get(key).is_some()
        || (table.is_secret() && head_and_body().0.contains(&said))
        || line().is_some_and(|line| !line.contains(&format!("[{table}]")) && line.contains(&said))
}

#[test]
fn every_key_is_explained() {
    let (tree, all) = (parsed(&uncommented()), all_keys());
    for key in ["sink.lease", "ingress.tls.acme.domains", "sources.stripe.secrets[0].kid", "admin.token.env"]
    {
        assert!(all.contains(&key.into()), "{key} was not found among {all:?}");
    }
    let missing: Vec<String> =
        all.iter().filter(|key| !explained(key, &tree)).map(KeyPath::to_string).collect();
    assert!(missing.is_empty(), "deploy/hookgate.toml does not explain {missing:#?}");
}

#[test]
fn every_key_that_is_commented_out_would_load() {
    let mut report = Report::default();
    let settings = complete(parsed(&uncommented()), &mut report);
    assert!(report.is_empty(), "{report}");
    check::run(&settings, Scope::Everything, &mut report);
    let told: Vec<String> = report.iter().map(|finding| finding.key.to_string()).collect();
    // These exclude one another: files beside ACME, and plain HTTP beside TLS; and PROXY headers need a proxy.
    let apart =
        ["ingress.plain_http", "ingress.tls.certificate", "ingress.tls.key", "ingress.trusted_proxies"];
    assert_eq!(told, apart, "{report}");
}

#[test]
fn what_is_set_is_the_default() {
    let mut report = Report::default();
    let mut settings = complete(parsed(EXAMPLE), &mut report);
    check::run(&settings, Scope::Everything, &mut report);
    assert!(report.is_empty(), "{report}");
    settings.sources.clear();
    assert_eq!(format!("{settings:#?}"), format!("{:#?}", Settings::default()));
}

#[test]
fn what_is_in_force_reads_as_it_was_written() {
    let mut report = Report::default();
    let settings = complete(parsed(&uncommented()), &mut report);
    let written = toml::to_string(&settings).expect("settings are TOML");
    let again = complete(parsed(&written), &mut report);
    assert!(report.is_empty(), "{report}\n{written}");
    assert_eq!(format!("{again:#?}"), format!("{settings:#?}"));
}

#[test]
fn a_secret_in_plain_text_is_not_shown() {
    let mut report = Report::default();
    let text = "[sources.shop]\nprovider = \"stripe\"\nsecrets = [\"whsec_plain\", { value = \"other\", label = \"old\" }]\n[admin]\ntoken = \"hidden\"";
    let settings = complete(parsed(text), &mut report);
    let shown = serde_json::to_string(&settings).expect("settings are JSON");
    assert!(shown.contains("\"value\":\"***\",\"label\":\"old\""), "{shown}");
    for secret in ["whsec_plain", "other", "hidden"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
