//! `hookgate providers new`: a provider file to begin with, and vectors that prove it. What is there is not overwritten.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::files::{self, FilesAlone, USUAL_DIR, unknown};
use crate::cli::stop::Stop;
use crate::cli::vectors::make;
use crate::provider::{Catalog, Definition};

/// The type of the sample that a file to begin with names.
const SAMPLE_TYPE: &str = "order.created";
/// Its body.
const SAMPLE: &str = "{\"id\": \"evt_1\", \"type\": \"order.created\"}\n";

/// By what editors explain keys.
const SCHEMA: &str = "#:schema ./provider.schema.json\n";

/// What is known of a sender, to be filled in.
const SENDER: &str = "\
[sender]            # facts for whoever operates the gateway
# retries = \"3d\"    # how long it sends an event again; or never_retries = true
# timeout = \"10s\"   # how long it waits for an answer
# success = \"2xx\"
# pitfalls = [\"what goes wrong with it\"]
# unverified = [\"timeout\"]
";

/// What is wanted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate providers new acme
  hookgate providers new acme --like github --dir providers.d")]
pub(super) struct NewArgs {
    /// Its name: a-z, 0-9 and _
    name: String,
    /// Begin with a copy of this provider's schemes, without what is said of its sender
    #[arg(long, value_name = "PROVIDER")]
    like: Option<String>,
    /// The folder of provider files that it goes to [default: the one that is read, else providers.d]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Take the name of a built-in provider: where the folder is read, the file stands in its place
    #[arg(long)]
    force: bool,
}

/// What was written.
pub(super) struct Written {
    name: String,
    files: Vec<PathBuf>,
    vectors: PathBuf,
    count: usize,
    /// What commands need to read it; empty where they do by themselves.
    flag: String,
    /// The built-in provider that it stands in the place of.
    replaces: bool,
    left_out: Vec<String>,
}

impl Written {
    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { name, flag, count, .. } = self;
        let vectors = self.vectors.display();
        let mut text: String = self.files.iter().map(|file| format!("wrote {}\n", file.display())).collect();
        text.push_str(&format!("wrote {vectors}: {count} vectors, from a request signed by this file\n"));
        if self.replaces {
            text.push_str(&format!(
                "warning: where its folder is read, this file is {name:?}, and the built-in one is not\n"
            ));
        }
        text.push_str(&format!(
            "\nEdit the file, then look at it and prove it:\n  hookgate providers show {name}{flag}\n  \
             hookgate vectors{flag} {vectors}\n\
             and once its signing has changed, make its vectors anew:\n  \
             hookgate vectors{flag} --make {name} --to {vectors}\n"
        ));
        if !flag.is_empty() {
            let dir = flag.trim_start_matches(" --providers ");
            text.push_str(&format!(
                "A source can have it, and no command needs the flag, once the configuration says\n  \
                 [providers]\n  dir = {dir:?}\n"
            ));
        }
        self.left_out.iter().for_each(|left| text.push_str(&format!("left out {left}\n")));
        text
    }

    /// As data.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "file": self.files.first().map(|file| file.display().to_string()),
            "sample": self.files.get(1).map(|file| file.display().to_string()),
            "vectors": self.vectors.display().to_string(),
            "count": self.count,
            "replaces_built_in": self.replaces,
            "flag": self.flag.trim_start(),
            "left_out": self.left_out,
        })
    }
}

/// Writes the file where commands look for such, reads it back as any provider file, and makes its vectors.
///
/// # Errors
/// Where one of the files is there already, the name is a built-in provider's, or the provider to copy is none.
pub(super) fn run(args: &NewArgs, files: &FilesAlone) -> Result<Written, Stop> {
    let read = files.folder()?;
    let dir = args.dir.clone().or_else(|| read.clone()).unwrap_or_else(|| USUAL_DIR.into());
    let known = read.clone().unwrap_or_else(|| dir.clone());
    let catalog = files::sound(Some(&known).filter(|known| known.is_dir()).map(PathBuf::as_path))?;
    let by_itself = files.files.given().is_none() && read.as_ref() == Some(&dir);
    let flag = if by_itself { String::new() } else { format!(" --providers {}", dir.display()) };
    let written = write(args, &dir, &catalog)?;
    Ok(Written { flag, ..written })
}

fn write(args: &NewArgs, dir: &Path, catalog: &Catalog) -> Result<Written, Stop> {
    let name = &args.name;
    let replaces = checked(name, args.force)?;
    let (text, mut left_out) = match &args.like {
        Some(like) => copied(name, like, catalog)?,
        None => (fresh(name), Vec::new()),
    };
    let file = dir.join(format!("{name}.toml"));
    let vectors = dir.join(format!("{name}.vectors.json"));
    let samples = dir.join("samples").join(name);
    let sample = args.like.is_none().then(|| samples.join(format!("{SAMPLE_TYPE}.json")));
    if let Some(there) = [Some(&vectors), sample.as_ref()].into_iter().flatten().find(|path| path.exists()) {
        return Err(exists(there));
    }
    folder(dir)?;
    create(&file, text.as_bytes())?;
    if let Some(sample) = &sample {
        folder(&samples)?;
        create(sample, SAMPLE.as_bytes())?;
    }
    let mut own = Catalog::default();
    own.add_file(&file).map_err(|error| Stop::data(error.to_string()))?;
    let made = make::make(&own, name, None, &BTreeMap::new())?;
    create(&vectors, make::file(&made.vectors).as_bytes())?;
    left_out.extend(made.left_out);
    let files = std::iter::once(file).chain(sample).collect();
    let (name, flag, count) = (name.clone(), String::new(), made.vectors.len());
    Ok(Written { name, files, vectors, count, flag, replaces, left_out })
}

/// Whether a name that a file can have is a built-in provider's.
///
/// # Errors
/// Where it is, and that is not meant; and where no file can have it.
fn checked(name: &str, force: bool) -> Result<bool, Stop> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(Stop::usage(format!(
            "{name:?} is no name of a provider; allowed: 1 to 64 of a-z, 0-9 and _"
        )));
    }
    let built_in = Catalog::built_in_text(name).is_some();
    if built_in && !force {
        return Err(Stop::usage(format!(
            "{name:?} is a built-in provider, and a file of that name replaces it whole; choose another name, or --force"
        )));
    }
    Ok(built_in)
}

fn folder(dir: &Path) -> Result<(), Stop> {
    DirBuilder::new().recursive(true).create(dir).map_err(|error| failed(dir, error))
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

/// The file of another provider under this name, and what was left out of it: what is true of that sender alone.
fn copied(name: &str, like: &str, catalog: &Catalog) -> Result<(String, Vec<String>), Stop> {
    let definition = catalog.get(like).ok_or_else(|| unknown(like, catalog))?;
    let text = match &definition.folder {
        Some(folder) => {
            let path = folder.join(format!("{like}.toml"));
            Some(std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?)
        }
        None => Catalog::built_in_text(like),
    };
    let text = text.ok_or_else(|| unknown(like, catalog))?;
    let (own, other) = (title(name), &definition.title);
    let mut out = format!(
        "{SCHEMA}# {own}: begun as a copy of {other}. Say here what it signs; until then the schemes are {other}'s.\n\
         name = {name:?}\ntitle = {own:?}\n# docs = \"https://example.com/webhooks\"\n"
    );
    let kept = kept(&text);
    out.push_str(&kept);
    out.push_str(&sample(name, definition, &kept));
    let left = ["docs", "[sender]", "[sample]"]
        .map(|part| format!("{part} of {other}: say there what is so of {own}"));
    Ok((out, left.to_vec()))
}

/// The lines of a provider file but those that name it, tell of its sender, or of its samples.
fn kept(text: &str) -> String {
    let (mut out, mut head, mut own) = (String::new(), true, true);
    for line in text.lines() {
        if line.starts_with('[') {
            let section = line.trim_start_matches('[');
            let is = |name: &str| section.strip_prefix(name).is_some_and(|rest| rest.starts_with([']', '.']));
            if is("sender") {
                out.push_str(SENDER);
                out.push('\n');
            }
            (head, own) = (false, !is("sender") && !is("sample"));
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        let named = head && (["name", "title", "docs"].contains(&key) || line.starts_with('#'));
        if own && !named {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn sample_head(name: &str) -> String {
    format!(
        "\n[sample]            # what `hookgate send` sends: samples/{name}/TYPE.json, .form or .xml beside this file\n\
         event = {SAMPLE_TYPE:?}\n"
    )
}

/// How samples are made, with what the schemes cannot do without: examples of settings, and headers that `kept` lines of
/// the file name, or that tell id and type.
fn sample(name: &str, like: &Definition, kept: &str) -> String {
    let mut text = sample_head(name);
    let Some(rules) = &like.sample else { return text };
    let mut table = |key: &str, pairs: Vec<String>| {
        if !pairs.is_empty() {
            text.push_str(&format!("{key} = {{ {} }}\n", pairs.join(", ")));
        }
    };
    let pair = |(name, value): (&String, &String)| format!("{name:?} = {value:?}");
    table("settings", rules.settings.iter().map(pair).collect());
    let kept = kept.to_ascii_lowercase();
    let needed = |(name, value): &(&String, &String)| {
        let name = name.to_ascii_lowercase();
        name != "user-agent"
            && (["{id}", "{type}", "{now}"].contains(&value.as_str()) || kept.contains(&name))
    };
    table("headers", rules.headers.iter().filter(needed).map(pair).collect());
    text
}

fn fresh(name: &str) -> String {
    let title = title(name);
    format!(
        r#"{SCHEMA}# {title}: an HMAC over time and body. Say here what it signs.
# Every key is described in providers/README.md, and to editors by `hookgate schema provider > provider.schema.json`, in this
# folder; a mistake in this file is told when it is loaded.
name = "{name}"
title = "{title}"
# docs = "https://example.com/webhooks"
# methods = ["POST"]

{SENDER}
[event]             # an id only where it is unique for an event and equal when the event is sent again
id = "json:/id"
type = "json:/type"

[forward]           # headers that go on to the workers; never one that holds a secret
headers = ["user-agent"]

# [batch]           # where the events are, where a request has several; with `split = true` a source hands on each
# each = "json:/events"
# id = "item:/id"
# type = "item:/type"

# [settings.account]  # what a source says for itself: "${{account}}" in [event] or a scheme stands for it
# help = "the account whose events are taken"
# required = true

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
{sample}"#,
        sample = sample_head(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: &str, like: Option<&str>) -> NewArgs {
        NewArgs { name: name.to_owned(), like: like.map(str::to_owned), dir: None, force: false }
    }

    #[test]
    fn a_fresh_file_and_a_copy_of_every_provider_load_and_have_vectors() {
        let (dir, catalog) = (tempfile::tempdir().unwrap(), Catalog::built_in().unwrap());
        let all = catalog.iter().map(|one| Some(one.name.as_str())).chain([None]);
        let mut few = Vec::new();
        for (index, like) in all.enumerate() {
            let written = write(&args(&format!("acme_{index}"), like), dir.path(), &catalog);
            let written = written.unwrap_or_else(|stop| panic!("{like:?}: {}", stop.why));
            let definition = like.and_then(|like| catalog.get(like));
            let proves = definition.is_none_or(|one| one.schemes[0].algorithm != "none");
            if written.count < if proves { 10 } else { 1 } {
                few.push((like, written.count, written.left_out));
            }
            let text = std::fs::read_to_string(&written.files[0]).unwrap();
            assert!(
                text.contains(&format!("title = \"Acme {index}\""))
                    && text.starts_with("#:schema ./provider.schema.json\n# Acme"),
                "{text}"
            );
        }
        let mut own = Catalog::default();
        own.add_folder(dir.path()).unwrap();
        for one in own.iter() {
            // Facts of another sender are none of this one's.
            assert!(one.docs.is_none() && one.sender.pitfalls.is_empty() && one.sender.notes.is_none());
            assert!(one.sender.retries.is_none() && !one.sender.never_retries, "{}", one.name);
            assert!(one.sample.as_ref().is_some_and(|sample| sample.payloads.is_none()), "{}", one.name);
        }
        // What is only verified here gets a file and no vectors, and says so.
        few.retain(|(_, count, why)| {
            *count > 0 || !why.iter().any(|why| why.ends_with("any more, only verified"))
        });
        assert!(few.is_empty(), "{few:#?}");
    }

    #[test]
    fn what_a_fresh_file_only_hints_at_can_be_uncommented() {
        let (dir, fresh) = (tempfile::tempdir().unwrap(), fresh("acme"));
        for table in ["[batch]", "[settings.account]", "[[handshakes]]"] {
            let hint = fresh.split("\n\n").find(|part| part.starts_with(&format!("# {table} ")));
            let hint = hint.unwrap_or_else(|| panic!("no {table}: {fresh}"));
            let bare: Vec<&str> = hint.lines().map(|line| line.trim_start_matches("# ")).collect();
            let file = dir.path().join("acme.toml");
            std::fs::write(&file, fresh.replace(hint, &bare.join("\n"))).unwrap();
            let mut own = Catalog::default();
            own.add_file(&file).unwrap();
            let acme = own.get("acme").unwrap();
            let there = [acme.batch.is_some(), !acme.settings.is_empty(), !acme.handshakes.is_empty()];
            assert_eq!(there.into_iter().filter(|there| *there).count(), 1, "{table}: {hint}");
            let made = make::make(&own, "acme", None, &BTreeMap::new());
            assert!(
                !made.unwrap_or_else(|stop| panic!("{table}: {}", stop.why)).vectors.is_empty(),
                "{table}"
            );
        }
    }

    #[test]
    fn nothing_is_overwritten_and_no_odd_name_taken() {
        let (dir, catalog) = (tempfile::tempdir().unwrap(), Catalog::built_in().unwrap());
        let write = |args: &NewArgs| write(args, dir.path(), &catalog);
        assert!(write(&args("acme", None)).is_ok());
        let file = dir.path().join("acme.toml");
        std::fs::write(&file, "own").unwrap();
        for name in ["acme", "../acme", "Acme", ""] {
            assert!(write(&args(name, None)).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "own");
    }

    #[test]
    fn the_name_of_a_built_in_provider_is_taken_only_where_that_is_meant() {
        let (dir, catalog) = (tempfile::tempdir().unwrap(), Catalog::built_in().unwrap());
        let stop = write(&args("stripe", None), dir.path(), &catalog).err().unwrap();
        assert!(stop.why.contains("replaces it whole") && stop.why.contains("--force"), "{}", stop.why);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let meant = NewArgs { force: true, ..args("stripe", Some("stripe")) };
        let written = write(&meant, dir.path(), &catalog).unwrap_or_else(|stop| panic!("{}", stop.why));
        assert!(written.text().contains("warning: where its folder is read"), "{}", written.text());
    }
}
