//! The table of cases and the tests that hold them: every name in it is the name of a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    what: String,
    promise: String,
    /// Names of tests in this binary.
    #[serde(default)]
    tests: Vec<String>,
    /// A file of the sources and the name of a unit test in it.
    #[serde(default)]
    unit: Vec<(String, String)>,
    /// Why no test of the whole gateway can show it.
    reason: Option<String>,
}

fn table() -> Vec<Case> {
    toml::from_str::<Table>(include_str!("cases.toml")).unwrap().case
}

/// The names of all tests in this binary, those left out of a normal run too.
fn tests_here() -> BTreeSet<String> {
    let output = Command::new(std::env::current_exe().unwrap()).args(["--list"]).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Whether a file of the sources has a test of that name.
fn has_unit_test(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    let at = lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&head));
    let attributes = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    at.is_some_and(|at| attributes(at).any(|line| line.contains("test]") || line.contains("tokio::test")))
        || text.contains("proptest!") && at.is_some()
}

#[test]
fn every_case_has_its_tests_or_its_reason_and_every_name_is_a_test() {
    let (here, mut wrong) = (tests_here(), Vec::new());
    for Case { what, promise, tests, unit, reason } in table() {
        let missing = tests.iter().filter(|name| !here.contains(*name));
        wrong.extend(missing.map(|name| format!("{what}: no test is called {name}")));
        let missing = unit.iter().filter(|(file, name)| !has_unit_test(file, name));
        wrong.extend(missing.map(|(file, name)| format!("{what}: no test in {file} is called {name}")));
        if tests.is_empty() && reason.as_ref().is_none_or(String::is_empty) {
            wrong.push(format!("{what}: neither a test nor a reason"));
        }
        if promise.is_empty() {
            wrong.push(format!("{what}: what is promised?"));
        }
    }
    assert!(wrong.is_empty(), "tests/it/promises/cases.toml:\n{}", wrong.join("\n"));
}

#[test]
fn every_promise_tested_here_is_in_the_table() {
    let named: BTreeSet<String> = table().into_iter().flat_map(|case| case.tests).collect();
    let own = |name: &String| name.starts_with("promises::") && !name.starts_with("promises::table::");
    let forgotten: Vec<_> =
        tests_here().into_iter().filter(own).filter(|name| !named.contains(name)).collect();
    assert!(forgotten.is_empty(), "not in tests/it/promises/cases.toml: {forgotten:?}");
}

#[test]
fn what_the_readme_links_to_is_in_the_table() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("## What happens when").nth(1).unwrap().split("\n## ").next().unwrap();
    let all: BTreeSet<String> = table().into_iter().flat_map(|case| case.tests).collect();
    let links = section.split("](tests/it/").skip(1);
    let mut count = 0;
    for link in links {
        let (file, rest) = link.split_once(" \"").unwrap();
        let name = rest.split_once('"').unwrap().0;
        let module = file.trim_end_matches(".rs").replace('/', "::");
        assert!(all.contains(&format!("{module}::{name}")), "{file} {name}: no case has this test");
        count += 1;
    }
    assert!(count > 15, "{count} links");
}
