//! `sources.<name>.addresses`: who may send to a source, in a list or in a file of lines.
//!
//! Files are read with the rest of the configuration each time that it is loaded: a reload takes a changed file in, and
//! what is wrong in one keeps the configuration that was there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::layers::read_text;
use super::path::KeyPath;
use super::report::{Finding, Place, Report, Wrong, quoted};
use super::settings::Settings;
use crate::addresses::{Addresses, network};

/// The most lines of a file.
const LINES_MAX: usize = 10_000;
/// The most wrong lines of a file that a report tells.
const TOLD_MAX: usize = 20;
const ALLOWED: &str =
    "an address or network such as \"203.0.113.7\" or \"2001:db8::/32\", no bit set beyond its prefix";

/// Who may send to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Whoever has one of these addresses.
    Listed(Vec<Caller>),
    /// Whoever has one of the addresses in a file: an address or a network a line, blank lines, and `#` before what
    /// is for people; at most 10,000 lines. A relative path begins in the folder the gateway was started in.
    File(PathBuf),
}

impl Callers {
    /// The file that has them, where one does.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Listed(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// An address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(IpNet);

impl Serialize for Caller {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Caller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| de::Error::custom(ALLOWED))?;
        network(&text).map(Self).ok_or_else(|| de::Error::custom(ALLOWED))
    }
}

/// The table form.
#[derive(serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { file = \"addresses.txt\" }")]
struct Table {
    file: PathBuf,
}

impl<'de> Deserialize<'de> for Callers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Callers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list such as [\"192.0.2.0/24\", \"203.0.113.7\"], or { file = \"addresses.txt\" }",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Callers, A::Error> {
                let mut listed = Vec::new();
                while let Some(caller) = items.next_element()? {
                    listed.push(caller);
                }
                Ok(Callers::Listed(listed))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Callers, M::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(|table| Callers::File(table.file))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Callers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Listed(callers) => callers.serialize(serializer),
            Self::File(file) => Table { file: file.clone() }.serialize(serializer),
        }
    }
}

/// The addresses of every source that names some; whatever is wrong goes to `report`.
pub(super) fn resolve(settings: &Settings, report: &mut Report) -> BTreeMap<String, Addresses> {
    let mut all = BTreeMap::new();
    for (name, source) in &settings.sources {
        let key = KeyPath::from("sources").key(name).key("addresses");
        let networks = match &source.addresses {
            None => continue,
            Some(Callers::Listed(listed)) => listed.iter().map(|caller| caller.0).collect(),
            Some(Callers::File(path)) => file(path, &key.key("file"), report),
        };
        if networks.is_empty() && !report.tells_of(&key) {
            let allowed = "at least one address or network; leave the key out to let everybody send";
            report.error(&key, "no address", allowed);
        }
        all.insert(name.clone(), Addresses::new(networks));
    }
    all
}

/// The networks of a file.
fn file(path: &Path, key: &KeyPath, report: &mut Report) -> Vec<IpNet> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let found = format!("{}, which cannot be read: {error}", quoted(&path.display().to_string()));
            report.error(key, found, "a file of addresses, one a line");
            return Vec::new();
        }
    };
    let rank = report.rank_beside();
    let mut tell = |line: usize, found: String, allowed: &str| {
        let place = Place::File { path: path.to_owned(), line, column: 0 };
        let finding =
            Finding { place, key: key.clone(), wrong: Wrong::Value(found), allowed: allowed.to_owned() };
        report.insert(rank, finding);
    };
    let (mut networks, mut wrong) = (Vec::new(), 0);
    for (index, line) in text.lines().enumerate() {
        if index == LINES_MAX {
            tell(index + 1, "more lines".to_owned(), &format!("at most {LINES_MAX}"));
            break;
        }
        let entry = line.split('#').next().unwrap_or_default().trim();
        match network(entry) {
            _ if entry.is_empty() => {}
            Some(network) => networks.push(network),
            None if wrong == TOLD_MAX => {
                tell(index + 1, "more lines that are wrong".to_owned(), ALLOWED);
                break;
            }
            None => {
                tell(index + 1, quoted(entry), ALLOWED);
                wrong += 1;
            }
        }
    }
    networks
}
