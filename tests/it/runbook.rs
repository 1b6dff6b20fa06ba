//! deploy/RUNBOOK.md, carried out: each bad day of it is made to happen to a real gateway, and its commands are read from
//! the page and run, line by line. What stands in for the machine (systemd, a path, a number) is said here and nowhere else.

mod days;

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::gateway::*;

const PAGE: &str = "deploy/RUNBOOK.md";
/// The sections that are carried out, each by a test of its name in `days`.
const DAYS: &[&str] = &[
    "First look",
    "The disk is full",
    "RabbitMQ is gone for hours",
    "Redis is lost",
    "The journal's folder is damaged",
    "The machine is dead, its disk is not",
    "The disk is dead too, there is a backup",
    "A wrong secret was rolled out",
    "The clock is wrong",
    "An event is poison",
];

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap()
}

/// Titles and texts of the page's sections.
fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// The lines of a section's console blocks: the command, and the exit code that its comment names.
fn commands(section: &str) -> VecDeque<(String, i32)> {
    let blocks = section.split("```console\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let line = |line: &str| {
        let (command, comment) = line.split_once("  # ").unwrap_or((line, ""));
        let code = comment.split_once("exit code ").and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        (command.trim().to_owned(), code.unwrap_or(0))
    };
    blocks.flat_map(|(block, _)| block.lines().map(line).collect::<Vec<_>>()).collect()
}

/// Somebody who has the page before him and does as it says.
struct Hands {
    left: VecDeque<(String, i32)>,
    /// What the page says, and what it is here.
    here: Vec<(String, String)>,
    bin: tempfile::TempDir,
}

impl Hands {
    /// At the section of this title.
    fn at(title: &str) -> Self {
        assert!(DAYS.contains(&title), "{title} is not among DAYS");
        let page = page();
        let section = sections(&page).into_iter().find(|(found, _)| *found == title);
        let left = commands(section.unwrap_or_else(|| panic!("{PAGE} has no section «{title}»")).1);
        assert!(!left.is_empty(), "«{title}» has no command");
        let bin = tempfile::tempdir().unwrap();
        symlink(fs::canonicalize(binary()).unwrap(), bin.path().join("hookgate")).unwrap();
        Self { left, here: Vec::new(), bin }
    }

    /// Where the page says `there`, it is `here`.
    fn with(mut self, there: &str, here: impl AsRef<Path>) -> Self {
        self.here.push((there.to_owned(), here.as_ref().display().to_string()));
        self
    }

    /// The next line, which must begin so; none of systemd's.
    fn does(&mut self, begins: &str, gateway: &Gateway) -> String {
        let (mut command, code) = self.left.pop_front().expect("the section has no further line");
        self.here.push(("http://127.0.0.1:9090".to_owned(), format!("http://{}", gateway.admin())));
        for (there, here) in &self.here {
            command = command.replace(there, here);
        }
        self.here.pop();
        assert!(command.starts_with(begins), "the next line is «{command}», not «{begins} …»");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.bin.path().display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(gateway.path("")).env_clear().env("PATH", path);
        let output = shell.envs(gateway.environment()).output().unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "«{command}»: {said}");
        said
    }

    /// The next line, which has systemd do this; whoever calls does it.
    fn has_systemd(&mut self, what: &str) {
        let (command, _) = self.left.pop_front().expect("the section has no further line");
        assert_eq!(command, format!("sudo systemctl {what}"));
    }

    /// All lines have been run.
    fn done(self) {
        assert!(self.left.is_empty(), "not run: {:?}", self.left);
    }
}

#[test]
fn every_section_with_a_command_is_carried_out() {
    let page = page();
    let found: Vec<&str> = sections(&page).into_iter().map(|(title, _)| title).collect();
    assert_eq!(found, DAYS);
    let days =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/runbook/days.rs")).unwrap();
    for day in DAYS {
        assert!(days.contains(&format!("Hands::at(\"{day}\")")), "nothing carries out «{day}»");
    }
}
