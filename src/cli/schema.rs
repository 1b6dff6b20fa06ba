//! `hookgate schema`: the JSON Schemas of the files that people write, for editors and for checks of their own.
//!
//! They are made of the types that read these files, by the tests below, which also make `deploy/reference.md`.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};

use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;

#[cfg(test)]
mod tests;

const GATEWAY: &str = include_str!("../../schemas/gateway.schema.json");
const PROVIDER: &str = include_str!("../../schemas/provider.schema.json");
const VECTOR: &str = include_str!("../../schemas/vector.schema.json");

/// Of which files.
#[derive(Debug, Args)]
#[command(after_help = "\
With such a file beside them, editors explain and complete keys, and mark what is wrong, in TOML files that begin with the line
  #:schema ./gateway.schema.json

Examples:
  hookgate schema gateway > gateway.schema.json        beside hookgate.toml
  hookgate schema provider > providers.d/provider.schema.json
  hookgate schema vector > vector.schema.json")]
pub(super) struct SchemaArgs {
    /// The kind of file
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// hookgate.toml, and files in sources.d
    Gateway,
    /// Provider files
    Provider,
    /// Vector files
    Vector,
}

impl Kind {
    const fn schema(self) -> &'static str {
        match self {
            Self::Gateway => GATEWAY,
            Self::Provider => PROVIDER,
            Self::Vector => VECTOR,
        }
    }
}

/// Prints it; the exit code comes back.
pub(super) fn run(args: SchemaArgs, output: Output) -> anyhow::Result<u8> {
    let schema = args.kind.schema();
    let mut out = io::stdout();
    let written = match output {
        Output::Text => out.write_all(schema.as_bytes()),
        Output::Json => output::json(&mut out, &serde_json::from_str(schema)?),
    };
    Ok(written.map_or_else(|error| Stop::unprinted(error).tell(), |()| exit::OK))
}
