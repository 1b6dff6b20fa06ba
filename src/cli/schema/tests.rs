//! Makes `schemas/*.schema.json`, `deploy/reference.md`, `src/console/reasons.js` and the admin listener's `openapi.json` of
//! the code, and compares them with what is committed. `cargo test --lib schema::tests::renew -- --ignored` writes them anew.

mod commands;
mod options;
mod reference;
mod schemas;
mod types;
mod validity;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::reject::Reject;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder whose names end so.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let own = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && own != "target" && own != "node_modules" {
                folders.push(path);
            } else if own.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn pretty(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// What the console says of a refusal that nobody looked into.
fn reasons() -> String {
    let row = |reject: Reject| {
        let text = Value::from(reject.advice());
        format!("  {}:\n    {text},\n", reject.row().reason)
    };
    let rows: String = Reject::ALL.map(row).concat();
    format!(
        "// What to do about a refusal, by its reason, where nobody looked into the request itself. Made of src/reject/advice.rs by\n\
         // a test, which fails where this differs and says how it is made anew.\n\n\
         const ADVICE = {{\n{rows}}};\n\n\
         export function adviceFor({{ reason, advice }}) {{\n  \
         return advice ?? ADVICE[reason] ?? \"See the detail of the requests below, and the log under their ids.\";\n}}\n"
    )
}

/// Every file that is made, by its path.
fn made() -> [(&'static str, String); 6] {
    [
        ("schemas/gateway.schema.json", pretty(&schemas::gateway())),
        ("schemas/provider.schema.json", pretty(&schemas::provider())),
        ("schemas/vector.schema.json", pretty(&schemas::vector())),
        ("deploy/reference.md", reference::reference()),
        ("src/console/reasons.js", reasons()),
        ("src/admin/openapi/openapi.json", crate::admin::described()),
    ]
}

#[test]
fn what_editors_and_people_read_is_what_the_code_says() {
    for (path, made) in made() {
        let committed = fs::read_to_string(root().join(path)).unwrap();
        let differs = committed.lines().zip(made.lines()).find(|(old, new)| old != new);
        assert!(
            committed == made,
            "{path} is not what the code says; `cargo test --lib schema::tests::renew -- --ignored` writes it. \
             The first line that differs: {differs:?}"
        );
    }
}

#[test]
#[ignore = "writes the files anew"]
fn renew() {
    for (path, made) in made() {
        fs::write(root().join(path), made).unwrap();
    }
}
