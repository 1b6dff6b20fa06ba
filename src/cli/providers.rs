//! `hookgate providers list|show|new`: what is known of each provider, from the same files that verify, and a file for
//! another one.

mod detail;
mod grammar;
mod handshake;
mod new;
mod scheme;
pub(super) mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::files::{FilesAlone, unknown};
use super::output::{self, Output};
use super::stop::Stop;
use super::vectors::make;
use crate::exit;
use crate::provider::{Catalog, Definition, SenderFacts, SettingDefinition};

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct ProvidersArgs {
    #[command(subcommand)]
    ask: Ask,
    #[command(flatten)]
    files: FilesAlone,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// All providers, a line each
    List {
        /// As the Markdown table that ends providers/README.md
        #[arg(long)]
        markdown: bool,
    },
    /// One provider: schemes, handshakes, id, settings, facts for operators, samples, vectors
    Show {
        /// Its name
        name: String,
        /// The folder of vector files whose vectors are counted, where it is there
        #[arg(long, value_name = "DIR", default_value = "tests/vectors")]
        vectors: PathBuf,
    },
    /// Write a provider file to begin with, and vectors that prove it
    New(new::NewArgs),
}

/// Answers; the exit code comes back.
pub(super) fn run(args: ProvidersArgs, output: Output) -> anyhow::Result<u8> {
    Ok(answer(args, output).map_or_else(Stop::tell, |()| exit::OK))
}

/// # Errors
/// Everything that is wrong with schemes of `files`: a file in good form may still hold one that no source could use.
fn sound<'d>(files: impl IntoIterator<Item = &'d Definition>) -> Result<(), Stop> {
    let problems: Vec<String> = files.into_iter().flat_map(scheme::problems).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Stop { code: exit::CONFIG, why: problems.join("\n") }),
    }
}

fn answer(args: ProvidersArgs, output: Output) -> Result<(), Stop> {
    match args.ask {
        Ask::List { markdown } => list(&args.files.catalog()?, markdown, output),
        Ask::Show { name, vectors } => show(&args.files.catalog()?, &name, &vectors, output),
        Ask::New(new) => {
            let written = new::run(&new, &args.files)?;
            printed(match output {
                Output::Text => write!(io::stdout(), "{}", output::block(&written.text())),
                Output::Json => output::json(&mut io::stdout(), &written.to_json()),
            })
        }
    }
}

/// All providers; a file that no source could use is told of after them.
fn list(catalog: &Catalog, markdown: bool, output: Output) -> Result<(), Stop> {
    let mut out = io::stdout();
    printed(match (markdown, output) {
        (true, _) => write!(out, "{}", table::markdown(catalog)),
        (false, Output::Text) => write!(out, "{}", output::block(&table::table(catalog))),
        (false, Output::Json) => catalog.iter().try_for_each(|one| output::json(&mut out, &summary(one))),
    })?;
    sound(catalog.iter())
}

/// One provider; nothing is shown of a file that no source could use but what is wrong with it.
fn show(catalog: &Catalog, name: &str, vectors: &Path, output: Output) -> Result<(), Stop> {
    let definition = catalog.get(name).ok_or_else(|| unknown(name, catalog))?;
    sound([definition])?;
    let known = known(catalog, definition, vectors)?;
    let mut out = io::stdout();
    printed(match output {
        Output::Text => write!(out, "{}", output::block(&page(definition, &known))),
        Output::Json => output::json(&mut out, &whole(definition, &known)),
    })
}

fn printed(done: io::Result<()>) -> Result<(), Stop> {
    done.map_err(Stop::unprinted)
}

/// What is known of a provider beside its file.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Vectors of its file in the folder of vectors.
    kept: usize,
    /// Vectors that can be made.
    made: usize,
    /// Event types that have a sample.
    samples: Vec<String>,
}

/// # Errors
/// Where its samples cannot be read.
fn known(catalog: &Catalog, definition: &Definition, dir: &Path) -> Result<Known, Stop> {
    let name = &definition.name;
    let file = fs::read(dir.join(format!("{name}.json"))).ok();
    let kept = file
        .and_then(|text| serde_json::from_slice::<Vec<IgnoredAny>>(&text).ok())
        .map_or(0, |all| all.len());
    let made = make::make(catalog, name, None, &BTreeMap::new()).map_or(0, |made| made.vectors.len());
    let samples = Catalog::samples_of(definition).map_err(Stop::failure)?;
    Ok(Known { kept, made, samples })
}

fn schemes(definition: &Definition) -> impl Iterator<Item = &str> {
    definition.schemes.iter().map(|scheme| scheme.name.as_str())
}

/// Headers and query that go on to the workers.
fn forwarded(definition: &Definition) -> String {
    let query = definition.forward.query.then_some("the query");
    let headers = definition.forward.headers.iter().map(String::as_str);
    headers.chain(query).collect::<Vec<_>>().join(", ")
}

fn summary(definition: &Definition) -> Value {
    json!({
        "name": definition.name,
        "title": definition.title,
        "schemes": schemes(definition).collect::<Vec<_>>(),
        "retries_seconds": definition.sender.retries.map(|retries| retries.duration().as_secs()),
        "docs": definition.docs,
    })
}

fn whole(definition: &Definition, known: &Known) -> Value {
    let mut whole = summary(definition);
    whole["methods"] = definition.methods.clone().into();
    whole["body_bytes_max"] = definition.sender.body_bytes_max.map(|bytes| bytes.bytes()).into();
    whole["notes"] = definition.sender.notes.clone().into();
    whole["sender"] = facts_json(&definition.sender);
    whole["handshakes"] = definition.handshakes.iter().map(handshake::to_json).collect();
    whole["vectors"] = json!({ "kept": known.kept, "made": known.made });
    whole["settings"] = settings_json(&definition.settings);
    whole["forward_headers"] = definition.forward.headers.clone().into();
    whole["forward_query"] = definition.forward.query.into();
    whole["samples"] = known.samples.clone().into();
    whole["schemes"] = definition.schemes.iter().map(|raw| scheme::to_json(definition, raw)).collect();
    whole
}

fn facts_json(sender: &SenderFacts) -> Value {
    json!({
        "retries_seconds": sender.retries.map(|retries| retries.duration().as_secs()),
        "never_retries": sender.never_retries,
        "timeout_seconds": sender.timeout.map(|timeout| timeout.duration().as_secs_f64()),
        "success": sender.success,
        "schedule": sender.schedule,
        "disables": sender.disables,
        "addresses": sender.addresses,
        "pitfalls": sender.pitfalls,
        "unverified": sender.unverified,
    })
}

fn settings_json(settings: &BTreeMap<String, SettingDefinition>) -> Value {
    let one = |(name, setting): (&String, &SettingDefinition)| {
        let facts = json!({
            "help": setting.help, "default": setting.default, "allowed": setting.allowed, "required": setting.required,
        });
        (name.clone(), facts)
    };
    Value::Object(settings.iter().map(one).collect())
}

fn page(definition: &Definition, known: &Known) -> String {
    let Definition { name, title, sender, .. } = definition;
    let mut page = format!("{title} (provider = {name:?})\n");
    let mut fact = |label: &str, text: String| {
        if !text.is_empty() {
            page.push_str(&format!("  {label:<10} {text}\n"));
        }
    };
    fact("docs", definition.docs.clone().unwrap_or_default());
    fact("methods", definition.methods.join(", "));
    facts(sender, &mut fact);
    fact("forwarded", forwarded(definition));
    fact("samples", known.samples.join(", "));
    for one in &definition.handshakes {
        fact("handshake", scheme::with_settings(&handshake::text(one)));
    }
    let kept = if known.kept > 0 { format!("{} in its file; ", known.kept) } else { String::new() };
    fact("vectors", format!("{kept}{} by `hookgate vectors --make {name}`", known.made));
    page.push_str(&settings_text(&definition.settings, "  "));
    for (index, raw) in definition.schemes.iter().enumerate() {
        let default = if index == 0 { " (default)" } else { "" };
        page.push_str(&format!("\n  scheme {:?}{default}\n", raw.name));
        page.push_str(&scheme::text(definition, raw));
    }
    page
}

/// How it sends, as far as it is known.
fn facts(sender: &SenderFacts, fact: &mut dyn FnMut(&str, String)) {
    fact(
        "retries",
        match (sender.retries, sender.never_retries) {
            (Some(retries), _) => format!("for {retries}"),
            (None, true) => "never: what is refused is lost".to_owned(),
            (None, false) => "no, or unknown".to_owned(),
        },
    );
    fact("schedule", sender.schedule.clone().unwrap_or_default());
    fact("timeout", sender.timeout.map(|timeout| timeout.to_string()).unwrap_or_default());
    fact("success", sender.success.clone().unwrap_or_default());
    fact("disables", sender.disables.clone().unwrap_or_default());
    fact("addresses", sender.addresses.join(", "));
    fact("bodies", sender.body_bytes_max.map(|bytes| format!("up to {bytes}")).unwrap_or_default());
    fact("notes", sender.notes.clone().unwrap_or_default());
    sender.pitfalls.iter().for_each(|pitfall| fact("pitfall", pitfall.clone()));
    fact("unverified", sender.unverified.join(", "));
}

fn settings_text(settings: &BTreeMap<String, SettingDefinition>, indent: &str) -> String {
    let one = |(name, setting): (&String, &SettingDefinition)| {
        let default = match (&setting.default, setting.required) {
            (_, true) => " (required)".to_owned(),
            (Some(default), _) => format!(" (default {default:?})"),
            (None, false) => String::new(),
        };
        let allowed = match setting.allowed.is_empty() {
            true => String::new(),
            false => format!("; one of {}", setting.allowed.join(", ")),
        };
        format!("{indent}setting {name}: {}{default}{allowed}\n", setting.help)
    };
    settings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_its_page_and_its_data() {
        let catalog = Catalog::built_in().unwrap();
        for definition in catalog.iter() {
            let (page, data) = (page(definition, &Known::default()), whole(definition, &Known::default()));
            assert!(schemes(definition).all(|scheme| page.contains(&format!("scheme {scheme:?}"))), "{page}");
            assert!(!page.contains("${"), "{page}");
            let schemes = data["schemes"].as_array().unwrap();
            assert_eq!(schemes.len(), definition.schemes.len());
            assert!(schemes.iter().all(|scheme| scheme["algorithm"].is_string()), "{data}");
        }
        assert!(table::table(&catalog).lines().count() == catalog.iter().count() + 1);
        let stripe = whole(catalog.get("stripe").unwrap(), &Known::default());
        assert_eq!(stripe["schemes"][0]["identity"], "the signed id: json:/id");
        let of = |name: &str| whole(catalog.get(name).unwrap(), &Known::default())["schemes"].clone();
        let composite =
            "{json:/notificationItems/0/NotificationRequestItem/pspReference}:{json:/notificationItems/0";
        let identity = of("adyen")[0]["identity"].as_str().unwrap().to_owned();
        assert!(identity.contains("unique = false") && identity.contains(composite), "{identity}");
        assert_eq!(of("adyen")[0]["answer"]["text"], "[accepted]");
        assert_eq!(of("adyen")[0]["batch"]["each"], "json:/notificationItems");
        let pushed = of("google_pubsub");
        assert_eq!(pushed[0]["key"]["fetch"]["form"], "jwks");
        assert_eq!(pushed[0]["jwt"]["claims"]["email_verified"][0], true);
        let pubsub = catalog.get("google_pubsub").unwrap();
        let text = scheme::text(pubsub, &pubsub.schemes[0]);
        assert!(
            text.contains("aud = \"<audience>\"") && text.contains("jwt-header:/kid; fetched from"),
            "{text}"
        );
        assert_eq!(stripe["schemes"][0]["timestamp"]["past_seconds"], 300);
        assert!(unknown("strpe", &catalog).why.contains("did you mean \"stripe\"?"));
    }

    /// Every text of a TOML value, names of keys that are places or claims among them.
    fn texts(value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::String(text) => into.push(text.clone()),
            toml::Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let is_name = key.contains([':', '/', '.']);
                    into.extend(is_name.then(|| key.clone()));
                    texts(value, into);
                }
            }
            _ => {}
        }
    }

    fn strings(value: &Value, into: &mut String) {
        match value {
            Value::String(text) => into.push_str(&format!("{text}\n")),
            Value::Array(values) => values.iter().for_each(|value| strings(value, into)),
            Value::Object(table) => table.iter().for_each(|(key, value)| {
                into.push_str(&format!("{key}\n"));
                strings(value, into);
            }),
            _ => {}
        }
    }

    #[test]
    fn every_text_of_a_scheme_and_of_a_handshake_is_shown_in_both_forms() {
        let mut missing = Vec::new();
        for definition in Catalog::built_in().unwrap().iter() {
            let (page, mut data) = (page(definition, &Known::default()), String::new());
            strings(&whole(definition, &Known::default()), &mut data);
            let file: toml::Table =
                toml::from_str(&Catalog::built_in_text(&definition.name).unwrap()).unwrap();
            let mut wanted = Vec::new();
            ["schemes", "handshakes", "event", "batch", "answer", "forward", "sender"]
                .iter()
                .filter_map(|part| file.get(*part))
                .for_each(|part| texts(part, &mut wanted));
            for text in wanted {
                // A span or a size is written as it is measured, and data in seconds and bytes.
                let span = text.parse::<crate::units::Span>().map(|span| span.to_string());
                let size = text.parse::<crate::units::ByteSize>().map(|size| size.to_string());
                let measured = span.ok().or(size.ok());
                let shown = measured.clone().unwrap_or_else(|| scheme::with_settings(&text));
                let escaped = shown.escape_debug().to_string();
                let word = ["accept", "refuse", "join"].contains(&&*text);
                if !word && !page.contains(&shown) && !page.contains(&escaped) {
                    missing.push(format!("{}: {text:?} on the page", definition.name));
                }
                if measured.is_none() && !data.contains(&text) {
                    missing.push(format!("{}: {text:?} in the data", definition.name));
                }
            }
        }
        assert!(missing.is_empty(), "{} missing:\n{}", missing.len(), missing.join("\n"));
    }

    #[test]
    fn a_file_that_no_source_could_use_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"s\"\nalgorithm = \"hmac-sha256\"\n\
                    signed = [\"{nothing}\"]\nsignature = { from = \"header:x\", encoding = \"hxe\" }\n";
        std::fs::write(dir.path().join("acme.toml"), text).unwrap();
        let mut catalog = Catalog::built_in().unwrap();
        catalog.add_folder(dir.path()).unwrap();
        let stop = show(&catalog, "acme", Path::new("none"), Output::Text).unwrap_err();
        assert_eq!(stop.code, exit::CONFIG);
        for part in ["acme.toml: scheme \"s\": signed", "signature.encoding: found \"hxe\"; allowed: hex"] {
            assert!(stop.why.contains(part), "{}", stop.why);
        }
        assert!(sound(Catalog::built_in().unwrap().iter()).is_ok());
    }
}
