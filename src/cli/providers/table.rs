//! All providers as a table: `hookgate providers list` for people, no wider than most terminals, and the same facts in
//! Markdown, which ends `providers/README.md`.

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

/// The heading of the table in `providers/README.md`.
pub(super) const MARKDOWN_HEADING: &str = "## All providers";

/// The table in Markdown, in the order of the names.
pub(super) fn markdown(catalog: &Catalog) -> String {
    let mut text = format!(
        "{MARKDOWN_HEADING}\nPrinted by `hookgate providers list --markdown`. Handshakes of a scheme alone stand with the others.\n\n"
    );
    text.push_str("| name | provider | schemes | signed by | retries | handshakes |\n| --- | --- | --- | --- | --- | --- |\n");
    for definition in catalog.iter() {
        let code = |names: Vec<&str>| match names.is_empty() {
            true => "-".to_owned(),
            false => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        let title = match &definition.docs {
            Some(docs) => format!("[{}]({docs})", definition.title),
            None => definition.title.clone(),
        };
        let cells = [
            format!("`{}`", definition.name),
            title,
            code(definition.schemes.iter().map(|scheme| scheme.name.as_str()).collect()),
            algorithms(definition).join(", "),
            retries(definition).unwrap_or_else(|| "-".to_owned()),
            code(handshakes(definition)),
        ];
        text.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    text
}

/// How long it retries, where its file says.
pub(in crate::cli) fn retries(definition: &Definition) -> Option<String> {
    match (definition.sender.retries, definition.sender.never_retries) {
        (Some(retries), _) => Some(retries.to_string()),
        (None, true) => Some("never".to_owned()),
        (None, false) => None,
    }
}

/// Each that all schemes have, and then each that one has alone, once.
pub(in crate::cli) fn handshakes(definition: &Definition) -> Vec<&str> {
    let own = definition.schemes.iter().flat_map(|scheme| &scheme.handshakes);
    let mut names: Vec<&str> = Vec::new();
    for handshake in definition.handshakes.iter().chain(own) {
        if !names.contains(&handshake.name.as_str()) {
            names.push(&handshake.name);
        }
    }
    names
}

/// Each that a scheme has, once.
pub(in crate::cli) fn algorithms(definition: &Definition) -> Vec<&str> {
    let mut algorithms: Vec<&str> = Vec::new();
    for scheme in &definition.schemes {
        let name = if scheme.algorithm.contains("${") { "by setting" } else { scheme.algorithm.as_str() };
        if !algorithms.contains(&name) {
            algorithms.push(name);
        }
    }
    algorithms
}

fn row(definition: &Definition) -> [String; 6] {
    let built = Scheme::build(definition, None, &std::collections::BTreeMap::new()).ok();
    let id = built.map_or("by setting", |scheme| match scheme.event.ids() {
        [] => "digest",
        [first, ..] if first.signed => "signed",
        _ => "unsigned",
    });
    let shakes =
        definition.handshakes.len() + definition.schemes.first().map_or(0, |scheme| scheme.handshakes.len());
    [
        definition.name.clone(),
        definition.title.clone(),
        retries(definition).unwrap_or_else(|| "-".to_owned()),
        id.to_owned(),
        if shakes > 0 { "yes" } else { "-" }.to_owned(),
        algorithms(definition).join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_names_its_documentation() {
        let mut odd = Vec::new();
        for definition in Catalog::built_in().unwrap().iter() {
            let name = &definition.name;
            if !definition.docs.as_ref().is_some_and(|docs| docs.starts_with("https://")) && name != "generic"
            {
                odd.push(format!("{name}: docs"));
            }
        }
        assert!(odd.is_empty(), "{}", odd.join("\n"));
    }

    #[test]
    fn the_form_of_provider_files_ends_with_the_table_of_all() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/providers/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let at = readme.find(MARKDOWN_HEADING).expect("no heading of the table");
        let printed = markdown(&Catalog::built_in().unwrap());
        assert_eq!(
            &readme[at..],
            printed,
            "providers/README.md is behind: put what `hookgate providers list --markdown` prints at its end"
        );
    }
}
