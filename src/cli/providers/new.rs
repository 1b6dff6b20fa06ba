//! `hookgate providers new`: a provider file to begin with, and vectors that prove it. What is there is not overwritten.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::files::unknown;
use crate::cli::stop::Stop;
use crate::cli::vectors::make;
use crate::provider::Catalog;

/// What is wanted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate providers new acme
  hookgate providers new acme --like github --dir providers.d")]
pub(super) struct NewArgs {
    /// Its name: a-z, 0-9 and _
    name: String,
    /// Begin with a copy of this provider's file
    #[arg(long, value_name = "PROVIDER")]
    like: Option<String>,
    /// The folder of provider files that it goes to
    #[arg(long, value_name = "DIR", default_value = "providers.d")]
    dir: PathBuf,
}

/// What was written.
pub(super) struct Written {
    file: PathBuf,
    vectors: PathBuf,
    dir: PathBuf,
    count: usize,
    left_out: Vec<String>,
}

impl Written {
    /// For people.
    pub(super) fn text(&self) -> String {
        let [file, vectors, dir] = [&self.file, &self.vectors, &self.dir].map(|path| path.display());
        let (count, name) = (self.count, self.name());
        let mut text = format!(
            "wrote {file}\nwrote {vectors}: {count} vectors, from a request signed by this file\n\n\
             Edit the file, then prove it:\n  hookgate vectors --providers {dir} {vectors}\n\
             and once its signing has changed, make its vectors anew:\n  \
             hookgate vectors --providers {dir} --make {name} > {vectors}\n"
        );
        self.left_out.iter().for_each(|left| text.push_str(&format!("left out {left}\n")));
        text
    }

    /// As data.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "vectors": self.vectors.display().to_string(),
            "count": self.count,
            "left_out": self.left_out,
        })
    }

    fn name(&self) -> String {
        self.file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Writes the file, reads it back as any provider file, and makes its vectors.
///
/// # Errors
/// Where one of the two is there already, or the provider to copy is none.
pub(super) fn write(args: &NewArgs, catalog: &Catalog) -> Result<Written, Stop> {
    let name = &args.name;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(Stop::usage(format!(
            "{name:?} is no name of a provider; allowed: 1 to 64 of a-z, 0-9 and _"
        )));
    }
    let text = match &args.like {
        Some(like) => copied(name, like, catalog, &args.dir)?,
        None => fresh(name),
    };
    let (file, vectors) =
        (args.dir.join(format!("{name}.toml")), args.dir.join(format!("{name}.vectors.json")));
    if vectors.exists() {
        return Err(exists(&vectors));
    }
    DirBuilder::new().recursive(true).create(&args.dir).map_err(|error| failed(&args.dir, error))?;
    create(&file, text.as_bytes())?;
    let mut own = Catalog::default();
    own.add_file(&file).map_err(|error| Stop::data(error.to_string()))?;
    let made = make::make(&own, name, None, &BTreeMap::new())?;
    create(&vectors, make::file(&made.vectors).as_bytes())?;
    let (dir, count) = (args.dir.clone(), made.vectors.len());
    Ok(Written { file, vectors, dir, count, left_out: made.left_out })
}

fn create(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => failed(path, error),
    })?;
    file.write_all(bytes).map_err(|error| failed(path, error))
}

fn exists(path: &Path) -> Stop {
    Stop::usage(format!(
        "{} is there already, and is left as it is; choose another name or --dir",
        path.display()
    ))
}

fn failed(path: &Path, error: std::io::Error) -> Stop {
    Stop::failure(format!("{}: {error}", path.display()))
}

/// `some_name` as people may write it.
fn title(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('_').filter(|part| !part.is_empty()).map(word).collect::<Vec<_>>().join(" ")
}

/// The file of another provider under this name.
fn copied(name: &str, like: &str, catalog: &Catalog, dir: &Path) -> Result<String, Stop> {
    let definition = catalog.get(like).ok_or_else(|| unknown(like, catalog))?;
    let own = std::fs::read_to_string(dir.join(format!("{like}.toml"))).ok();
    let text = own.or_else(|| Catalog::built_in_text(like)).ok_or_else(|| unknown(like, catalog))?;
    let mut out =
        format!("# {}: begun as a copy of {}. Say here what it signs.\n", title(name), definition.title);
    let names_payloads = definition.sample.as_ref().is_some_and(|sample| sample.payloads.is_some());
    let mut head = true;
    for (index, line) in text.lines().enumerate() {
        head &= !line.starts_with('[');
        match line.split('=').next().map(str::trim) {
            Some("name") if head => out.push_str(&format!("name = {name:?}\n")),
            Some("title") if head => out.push_str(&format!("title = {:?}\n", title(name))),
            _ if index == 0 && line.starts_with('#') => {}
            _ if line.trim_end() == "[sample]" && !names_payloads => {
                out.push_str(&format!("[sample]\npayloads = {like:?}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(out)
}

fn fresh(name: &str) -> String {
    let title = title(name);
    format!(
        r#"# {title}: an HMAC over time and body. Say here what it signs.
# Every key is described in providers/README.md; a mistake in this file is told when it is loaded.
name = "{name}"
title = "{title}"
# docs = "https://example.com/webhooks"
# methods = ["POST"]

[sender]            # facts for whoever operates the gateway
# retries = "3d"    # how long it sends an event again; or never_retries = true
# timeout = "10s"   # how long it waits for an answer
# success = "2xx"
# pitfalls = ["what goes wrong with it"]
# unverified = ["timeout"]

[event]             # an id only where it is unique for an event and equal when the event is sent again
id = "json:/id"
type = "json:/type"

[forward]           # headers that go on to the workers; never one that holds a secret
headers = ["user-agent"]

[[schemes]]
name = "default"
algorithm = "hmac-sha256"
secret = "utf8"                     # how the key is made of the secret's text: utf8, hex, base64, whsec, …
signed = ["{{timestamp}}.{{body}}"]     # or "{{body}}"; several, where any of them may have been signed
signature = {{ from = "header:X-Signature", grammar = {{ kind = "plain", prefix = "sha256=" }}, encoding = "hex" }}
timestamp = {{ from = "header:X-Timestamp", unit = "seconds", past = "5m", future = "1m" }}

# [[handshakes]]    # a question about the endpoint, answered without an event
# name = "challenge"
# match = {{ equal = {{ "json:/type" = "url_verification" }} }}
# answer = {{ text = "{{json:/challenge}}" }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, name: &str, like: Option<&str>) -> NewArgs {
        NewArgs { name: name.to_owned(), like: like.map(str::to_owned), dir: dir.to_owned() }
    }

    #[test]
    fn a_fresh_file_and_a_copy_of_every_provider_load_and_have_vectors() {
        let (dir, catalog) = (tempfile::tempdir().unwrap(), Catalog::built_in().unwrap());
        let all = catalog.iter().map(|one| Some(one.name.as_str())).chain([None]);
        let mut few = Vec::new();
        for (index, like) in all.enumerate() {
            let written = write(&args(dir.path(), &format!("acme_{index}"), like), &catalog);
            let written = written.unwrap_or_else(|stop| panic!("{like:?}: {}", stop.why));
            let definition = like.and_then(|like| catalog.get(like));
            let proves = definition.is_none_or(|one| one.schemes[0].algorithm != "none");
            if written.count < if proves { 10 } else { 1 } {
                few.push((like, written.count, written.left_out));
            }
            let text = std::fs::read_to_string(&written.file).unwrap();
            assert!(
                text.contains(&format!("title = \"Acme {index}\"")) && text.starts_with("# Acme"),
                "{text}"
            );
        }
        let mut own = Catalog::default();
        own.add_folder(dir.path()).unwrap();
        // What is only verified here gets a file and no vectors, and says so.
        few.retain(|(_, count, why)| {
            *count > 0 || why.iter().any(|why| !why.ends_with("any more, only verified"))
        });
        assert!(few.is_empty(), "{few:#?}");
    }

    #[test]
    fn nothing_is_overwritten_and_no_odd_name_taken() {
        let (dir, catalog) = (tempfile::tempdir().unwrap(), Catalog::built_in().unwrap());
        assert!(write(&args(dir.path(), "acme", None), &catalog).is_ok());
        let file = dir.path().join("acme.toml");
        std::fs::write(&file, "own").unwrap();
        for name in ["acme", "../acme", "Acme", ""] {
            assert!(write(&args(dir.path(), name, None), &catalog).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "own");
    }
}
