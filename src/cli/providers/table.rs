//! `hookgate providers list` for people: a line for each provider, no wider than most terminals.

use crate::provider::{Catalog, Definition, Scheme};

/// Widest a column may be but the last, in characters.
const WIDTH_MAX: usize = 26;

const HEAD: [&str; 6] = ["NAME", "PROVIDER", "RETRIES", "EVENT ID", "HANDSHAKE", "SIGNED BY"];

/// The table, a line of head first.
pub(super) fn table(catalog: &Catalog) -> String {
    let rows: Vec<[String; 6]> = catalog.iter().map(row).collect();
    let head = HEAD.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).min(WIDTH_MAX)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    [&head].into_iter().chain(&rows).map(line).collect()
}

fn row(definition: &Definition) -> [String; 6] {
    let sender = &definition.sender;
    let retries = match (sender.retries, sender.never_retries) {
        (Some(retries), _) => retries.to_string(),
        (None, true) => "never".to_owned(),
        (None, false) => "-".to_owned(),
    };
    let built = Scheme::build(definition, None, &std::collections::BTreeMap::new()).ok();
    let id = built.map_or("by setting", |scheme| match scheme.event.ids() {
        [] => "digest",
        [first, ..] if first.signed => "signed",
        _ => "unsigned",
    });
    let shakes =
        definition.handshakes.len() + definition.schemes.first().map_or(0, |scheme| scheme.handshakes.len());
    let mut algorithms: Vec<&str> = Vec::new();
    for scheme in &definition.schemes {
        let name = if scheme.algorithm.contains("${") { "by setting" } else { scheme.algorithm.as_str() };
        if !algorithms.contains(&name) {
            algorithms.push(name);
        }
    }
    [
        definition.name.clone(),
        definition.title.clone(),
        retries,
        id.to_owned(),
        if shakes > 0 { "yes" } else { "-" }.to_owned(),
        algorithms.join(", "),
    ]
}
