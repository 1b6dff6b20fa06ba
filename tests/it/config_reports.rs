//! Configurations and the exact report each must give: every file of `tests/config` is a test.
//!
//! A file holds sections, each opened by a line `--- <what>`:
//! `--- file <name>` (a file of the case's folder), `--- env` (`NAME=value` lines), `--- flags` (`key=value`
//! lines), `--- no file` (load without a main file), `--- dev`, and last `--- report`, `--- ok` or
//! `--- values`. `report` is followed by the whole report, `ok` by the warnings, `values` by `key.path place`
//! lines that tell which layer won. `$DIR` stands for the case's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hookgate::config::{self, Input, KeyPath, Loaded};

#[derive(Default)]
struct Case {
    files: BTreeMap<String, String>,
    env: Vec<(String, String)>,
    flags: Vec<(String, String)>,
    no_file: bool,
    dev: bool,
    rule: String,
    expected: String,
}

impl Case {
    fn parse(text: &str, dir: &str) -> Self {
        let mut case = Self::default();
        let text = format!("\n{}", text.replace("$DIR", dir));
        for section in text.split("\n--- ").skip(1) {
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            let pairs = || body.lines().filter_map(|line| line.split_once('=')).map(owned);
            match head.trim() {
                "env" => case.env = pairs().collect(),
                "flags" => case.flags = pairs().collect(),
                "no file" => case.no_file = true,
                "dev" => case.dev = true,
                rule @ ("report" | "ok" | "values") => {
                    case.rule = rule.to_owned();
                    case.expected = body.trim_end().to_owned();
                }
                head => {
                    let name = head.strip_prefix("file ").unwrap_or_else(|| panic!("unknown section {head}"));
                    case.files.insert(name.to_owned(), format!("{body}\n"));
                }
            }
        }
        assert!(!case.rule.is_empty(), "the case has no rule line");
        case
    }

    fn load(&self, dir: &Path) -> Result<Loaded, config::Report> {
        for (name, text) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folder of the case");
            fs::write(path, text).expect("file of the case");
        }
        config::load(Input {
            file: (!self.no_file).then(|| dir.join("hookgate.toml")),
            env: self.env.iter().map(|(name, value)| (name, value)).collect(),
            flags: self.flags.clone(),
            dev: self.dev,
        })
    }

    fn actual(&self, dir: &Path) -> (&'static str, String) {
        match self.load(dir) {
            Err(report) => ("report", report.to_string()),
            Ok(loaded) if self.rule == "values" => ("values", self.values(&loaded)),
            Ok(loaded) => ("ok", loaded.warnings.join("\n")),
        }
    }

    /// The places of the keys that the case asks for.
    fn values(&self, loaded: &Loaded) -> String {
        let keys = self.expected.lines().filter_map(|line| line.split_whitespace().next());
        let place = |key: &str| format!("{key} {}", loaded.origins.place(&KeyPath::from(key)));
        keys.map(place).collect::<Vec<_>>().join("\n")
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// What is wrong with the case in `path`, if anything.
fn run(path: &Path) -> Option<String> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let folder = dir.path().to_str().expect("a folder whose name is text");
    let case = Case::parse(&fs::read_to_string(path).expect("readable case"), folder);
    let (rule, actual) = case.actual(dir.path());
    let actual = actual.replace(&format!("{folder}/"), "").replace(folder, "$DIR");
    let expected = case.expected.replace(&format!("{folder}/"), "").replace(folder, "$DIR");
    let same = rule == case.rule && actual == expected;
    let name = path.display();
    (!same).then(|| format!("=== {name}\n--- expected {}\n{expected}\n--- got {rule}\n{actual}\n", case.rule))
}

#[test]
fn every_configuration_gives_its_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let entries = fs::read_dir(folder).expect("tests/config");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ending| ending == "test"));
    cases.sort();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|path| run(path)).collect();
    assert!(wrong.is_empty(), "{} of {} cases differ\n{}", wrong.len(), cases.len(), wrong.concat());
}
