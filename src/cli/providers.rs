//! `hookgate providers list|show|new`: what is known of each provider, from the same files that verify, and a file for
//! another one.

mod detail;
mod new;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::files::{FilesAlone, unknown};
use super::output::{self, Output};
use super::sample::example_settings;
use super::stop::Stop;
use super::vectors::make;
use crate::exit;
use crate::provider::{Catalog, Definition, HandshakeDefinition, Scheme, SenderFacts, SettingDefinition};

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

fn answer(args: ProvidersArgs, output: Output) -> Result<(), Stop> {
    let catalog = args.files.catalog()?;
    let mut out = io::stdout();
    let printed = match (args.ask, output) {
        (Ask::List { markdown: true }, _) => write!(out, "{}", table::markdown(&catalog)),
        (Ask::List { .. }, Output::Text) => write!(out, "{}", output::block(&table::table(&catalog))),
        (Ask::List { .. }, Output::Json) => {
            catalog.iter().try_for_each(|one| output::json(&mut out, &summary(one)))
        }
        (Ask::New(args), output) => {
            let written = new::write(&args, &catalog)?;
            match output {
                Output::Text => write!(out, "{}", output::block(&written.text())),
                Output::Json => output::json(&mut out, &written.to_json()),
            }
        }
        (Ask::Show { name, vectors }, output) => {
            let definition = catalog.get(&name).ok_or_else(|| unknown(&name, &catalog))?;
            match output {
                Output::Text => {
                    write!(out, "{}", output::block(&page(definition, proven(&catalog, &name, &vectors))))
                }
                Output::Json => output::json(&mut out, &whole(definition, proven(&catalog, &name, &vectors))),
            }
        }
    };
    printed.map_err(|error| Stop::failure(format!("cannot print: {error}")))
}

/// How many vectors prove a provider.
#[derive(Clone, Copy, Debug, Default)]
struct Proven {
    /// Those of its file in the folder of vectors.
    kept: usize,
    /// Those that can be made.
    made: usize,
}

fn proven(catalog: &Catalog, name: &str, dir: &Path) -> Proven {
    let file = fs::read(dir.join(format!("{name}.json"))).ok();
    let kept = file
        .and_then(|text| serde_json::from_slice::<Vec<IgnoredAny>>(&text).ok())
        .map_or(0, |all| all.len());
    let made = make::make(catalog, name, None, &BTreeMap::new()).map_or(0, |made| made.vectors.len());
    Proven { kept, made }
}

fn schemes(definition: &Definition) -> impl Iterator<Item = &str> {
    definition.schemes.iter().map(|scheme| scheme.name.as_str())
}

fn samples(definition: &Definition) -> Vec<String> {
    Catalog::samples_of(definition).unwrap_or_default()
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

fn whole(definition: &Definition, proven: Proven) -> Value {
    let mut whole = summary(definition);
    whole["methods"] = definition.methods.clone().into();
    whole["body_bytes_max"] = definition.sender.body_bytes_max.map(|bytes| bytes.bytes()).into();
    whole["notes"] = definition.sender.notes.clone().into();
    whole["sender"] = facts_json(&definition.sender);
    whole["handshakes"] = definition.handshakes.iter().map(handshake_json).collect();
    whole["vectors"] = json!({ "kept": proven.kept, "made": proven.made });
    whole["settings"] = settings_json(&definition.settings);
    whole["forward_headers"] = definition.forward.headers.clone().into();
    whole["samples"] = samples(definition).into();
    whole["schemes"] =
        definition.schemes.iter().map(|scheme| scheme_json(definition, &scheme.name)).collect();
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

fn handshake_json(handshake: &HandshakeDefinition) -> Value {
    json!({ "name": handshake.name, "verified": handshake.verify, "methods": handshake.conditions.methods })
}

/// A scheme under the defaults and examples of its settings.
fn built(definition: &Definition, name: &str) -> Option<Scheme> {
    let raw = definition.schemes.iter().find(|scheme| scheme.name == name)?;
    let settings = example_settings(definition, raw, &BTreeMap::new());
    Scheme::build(definition, Some(name), &settings).ok()
}

fn scheme_json(definition: &Definition, name: &str) -> Value {
    let Some(raw) = definition.schemes.iter().find(|scheme| scheme.name == name) else { return Value::Null };
    let tolerance = raw.timestamp.as_ref().map(|time| {
        json!({
            "from": time.from,
            "past_seconds": time.past.map(|past| past.duration().as_secs()),
            "future_seconds": time.future.map(|future| future.duration().as_secs()),
        })
    });
    let scheme = built(definition, name);
    json!({
        "name": raw.name,
        "algorithm": raw.algorithm,
        "secret": raw.secret,
        "signature": raw.signature.from.to_string(),
        "signed": raw.signed,
        "require": raw.require,
        "timestamp": tolerance,
        "identity": scheme.as_ref().map(identity),
        "unique": scheme.as_ref().map(|scheme| scheme.unique_ids),
        "batch": detail::batch_json(definition, raw),
        "key": detail::key_json(raw),
        "jwt": detail::token_json(raw),
        "answer": detail::answer_json(definition, raw),
        "handshakes": raw.handshakes.iter().map(handshake_json).collect::<Vec<_>>(),
        "signs_url": scheme.as_ref().map(Scheme::signs_url),
        "public_keys": scheme.as_ref().map(Scheme::has_public_keys),
        "settings": settings_json(&raw.settings),
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

/// What makes two deliveries one event.
fn identity(scheme: &Scheme) -> String {
    let ids = scheme.event.ids();
    let shown = |signed: bool| {
        let places = ids.iter().filter(|place| place.signed == signed).map(ToString::to_string);
        places.collect::<Vec<_>>().join(", else ")
    };
    let (signed, unsigned) = (shown(true), shown(false));
    if !scheme.unique_ids && !ids.is_empty() {
        let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let digest = if scheme.covers_body() { "the digest of what is signed" } else { "the body's digest" };
        return format!("{digest}; several events can have one id (unique = false): {}", all.join(", else "));
    }
    match (signed.is_empty(), unsigned.is_empty(), scheme.covers_body()) {
        (false, _, _) => format!("the signed id: {signed}"),
        (true, false, true) => format!("the digest of what is signed, with the unsigned id: {unsigned}"),
        (true, true, true) => "the digest of what is signed".to_owned(),
        (true, false, false) => {
            format!("the id that the sender declares: {unsigned}; else the body's digest")
        }
        (true, true, false) => "the body's digest".to_owned(),
    }
}

fn page(definition: &Definition, proven: Proven) -> String {
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
    fact("samples", samples(definition).join(", "));
    fact("handshakes", definition.handshakes.iter().map(handshake_text).collect::<Vec<_>>().join(", "));
    let kept = if proven.kept > 0 { format!("{} in its file; ", proven.kept) } else { String::new() };
    fact("vectors", format!("{kept}{} by `hookgate vectors --make {name}`", proven.made));
    page.push_str(&settings_text(&definition.settings, "  "));
    for (index, scheme) in definition.schemes.iter().enumerate() {
        let default = if index == 0 { " (default)" } else { "" };
        page.push_str(&format!("\n  scheme {:?}{default}\n", scheme.name));
        page.push_str(&scheme_text(definition, &scheme.name));
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

/// A handshake in a word or two.
fn handshake_text(handshake: &HandshakeDefinition) -> String {
    let unsigned = if handshake.verify { "" } else { ", unsigned" };
    match handshake.conditions.methods.join("/") {
        methods if methods.is_empty() => format!("{}{}", handshake.name, unsigned.replacen(", ", " ", 1)),
        methods => format!("{} ({methods}{unsigned})", handshake.name),
    }
}

fn scheme_text(definition: &Definition, name: &str) -> String {
    let Some(raw) = definition.schemes.iter().find(|scheme| scheme.name == name) else {
        return String::new();
    };
    let mut text = String::new();
    let mut fact = |label: &str, found: String| {
        if !found.is_empty() {
            text.push_str(&format!("    {label:<10} {}\n", with_settings(&found)));
        }
    };
    fact("algorithm", raw.algorithm.clone());
    fact("secret", raw.secret.clone());
    fact("signature", raw.signature.from.to_string());
    fact("signed", raw.signed.join("  or  "));
    fact("also needs", raw.require.join(", "));
    if let Some(time) = &raw.timestamp {
        let bound =
            |span: Option<crate::units::Span>| span.map_or_else(|| "any".to_owned(), |span| span.to_string());
        fact(
            "time",
            format!("{}, age up to {}, ahead up to {}", time.from, bound(time.past), bound(time.future)),
        );
    }
    fact("key", detail::key(raw));
    fact("token", detail::token(raw));
    fact("batch", detail::batch(definition, raw));
    fact("answer", detail::answer(definition, raw));
    fact("handshakes", raw.handshakes.iter().map(handshake_text).collect::<Vec<_>>().join(", "));
    if let Some(scheme) = built(definition, name) {
        fact("identity", identity(&scheme));
        let url = if scheme.signs_url() { "ingress.public_url, since the URL is signed" } else { "" };
        fact("needs", url.to_owned());
    }
    text.push_str(&settings_text(&raw.settings, "    "));
    text
}

/// `text` with `<name>` for the setting `${name}` that stands there.
fn with_settings(text: &str) -> String {
    let mut parts = text.split("${");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        shown.push_str(&format!("<{name}>{rest}"));
    }
    shown
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
            let (page, data) = (page(definition, Proven::default()), whole(definition, Proven::default()));
            assert!(schemes(definition).all(|scheme| page.contains(&format!("scheme {scheme:?}"))), "{page}");
            assert!(!page.contains("${"), "{page}");
            let schemes = data["schemes"].as_array().unwrap();
            assert_eq!(schemes.len(), definition.schemes.len());
            assert!(schemes.iter().all(|scheme| scheme["algorithm"].is_string()), "{data}");
        }
        assert!(table::table(&catalog).lines().count() == catalog.iter().count() + 1);
        let stripe = whole(catalog.get("stripe").unwrap(), Proven::default());
        assert_eq!(stripe["schemes"][0]["identity"], "the signed id: json:/id");
        let of = |name: &str| whole(catalog.get(name).unwrap(), Proven::default())["schemes"].clone();
        let composite =
            "{json:/notificationItems/0/NotificationRequestItem/pspReference}:{json:/notificationItems/0";
        let identity = of("adyen")[0]["identity"].as_str().unwrap().to_owned();
        assert!(identity.contains("unique = false") && identity.contains(composite), "{identity}");
        assert_eq!(of("adyen")[0]["answer"]["text"], "[accepted]");
        assert_eq!(of("adyen")[0]["batch"]["each"], "json:/notificationItems");
        let pushed = of("google_pubsub");
        assert_eq!(pushed[0]["key"]["fetch"]["form"], "jwks");
        assert_eq!(pushed[0]["jwt"]["claims"]["email_verified"][0], true);
        let text = scheme_text(catalog.get("google_pubsub").unwrap(), "oidc-bearer");
        assert!(
            text.contains("aud = \"<audience>\"") && text.contains("jwt-header:/kid; fetched from"),
            "{text}"
        );
        assert_eq!(stripe["schemes"][0]["timestamp"]["past_seconds"], 300);
        assert!(unknown("strpe", &catalog).why.contains("did you mean \"stripe\"?"));
    }
}
