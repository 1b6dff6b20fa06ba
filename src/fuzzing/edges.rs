//! The edges: connections, calls of the admin listener, the configuration, payloads against schemas, the journal's bytes.

use std::sync::OnceLock;

use super::bodies::line;
use crate::config::{self, Input};
use crate::provider::Catalog;
use crate::schema::Schemas;

/// Flags that are taken from the data; more lines are left out.
const FLAGS_MAX: usize = 32;

/// Bytes of a connection.
pub fn request(data: &[u8]) {
    crate::ingress::reads_alike(data);
}

/// What a caller of the admin listener sends: a query, an order, tokens.
pub fn admin(data: &[u8]) {
    crate::admin::read_or_told(data);
}

/// What stands in a journal's frames and segments.
pub fn record(data: &[u8]) {
    crate::journal::read_back(data);
}

/// A line `key=value` for each setting: a configuration, or a report that says what is wrong.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut flags: Vec<(String, String)> = text.lines().filter_map(pair).take(FLAGS_MAX).collect();
    flags.retain(|(_, value)| !value.contains("file") && !value.contains("credential"));
    let env = [("KEY", "a secret of this length")].into_iter().collect();
    let input = Input { file: None, env, flags, dev: true };
    if let Err(report) = config::load(input) {
        assert!(!report.to_string().is_empty());
    }
}

/// The type of an event in the first line, and its payload.
pub fn payload(data: &[u8]) {
    static SCHEMAS: OnceLock<Vec<Schemas>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(|| {
        let catalog = Catalog::built_in().expect("the built-in files are sound");
        let loaded = catalog.iter().filter_map(|known| Schemas::load(&known.name, None).ok());
        loaded.filter(|schemas| !schemas.is_empty()).collect()
    });
    let (event_type, body) = line(data);
    schemas.iter().for_each(|schemas| schemas.judged_alike(&event_type, body));
}
