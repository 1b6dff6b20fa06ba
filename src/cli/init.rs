//! `hookgate init`: a commented configuration for the providers named, to begin with. It holds references to
//! secrets and never a secret; what is there already is not overwritten.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::ConfigArgs;
use super::files::{FilesArgs, unknown};
use super::output::{self, Output};
use super::stop::Stop;
use crate::config::SinkKind;
use crate::exit;
use crate::provider::{Algorithm, Catalog, Definition, Scheme, SettingDefinition};
use crate::sample::stand_in_settings;
use crate::sink::rabbitmq::is_source_name;
use crate::units::Span;

/// The window where no provider needs a longer one.
const WINDOW_DAYS: u32 = 7;

/// What is wanted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate init stripe github
  hookgate init billing=stripe shop=shopify --sink rabbitmq --redis")]
pub(super) struct InitArgs {
    /// Providers, each with a source of its name, or SOURCE=PROVIDER
    #[arg(required = true, value_name = "PROVIDER")]
    sources: Vec<String>,
    /// Where events go
    #[arg(long, value_enum, default_value_t = SinkKind::Inbox)]
    sink: SinkKind,
    /// Share what was seen among replicas in Redis
    #[arg(long)]
    redis: bool,
    /// The URL that providers will call, such as https://hooks.example.com
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE", default_value = "hookgate.toml")]
    file: PathBuf,
    #[command(flatten)]
    files: FilesArgs,
}

/// Writes it; the exit code comes back.
pub(super) fn run(args: InitArgs, output: Output) -> anyhow::Result<u8> {
    Ok(init(args, output).map_or_else(Stop::tell, |()| exit::OK))
}

/// A source to be written.
struct Wanted<'c> {
    name: String,
    definition: &'c Definition,
    proof: Proof,
}

/// How a source of it proves who sends, as far as its configuration has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    /// By a secret in this variable; whether deliveries name the key by an id.
    Secret { variable: String, named: bool },
    /// By one that a handshake brings.
    Captured,
    /// By keys that the sender publishes.
    Fetched,
    /// Not at all.
    Nothing,
}

impl Proof {
    fn of(name: &str, definition: &Definition) -> Self {
        let variable = format!("{}_WEBHOOK_SECRET", name.to_ascii_uppercase().replace('-', "_"));
        match scheme(definition) {
            Some(scheme) if scheme.handshakes.capture() => Self::Captured,
            Some(scheme) if scheme.key.fetch.is_some() => Self::Fetched,
            Some(scheme) if scheme.algorithm == Algorithm::Unauthenticated => Self::Nothing,
            scheme => Self::Secret { variable, named: scheme.is_some_and(|scheme| scheme.key.id.is_some()) },
        }
    }

    fn line(&self, source: &str) -> String {
        match self {
            Self::Secret { variable, named } => {
                let kid = if *named { ", kid = \"…\"" } else { "" };
                let also = if *named { "; kid is the key's id at the provider" } else { "" };
                format!(
                    "secrets = [{{ env = {variable:?}{kid}, label = \"current\" }}]   # several while one is being rolled{also}"
                )
            }
            Self::Captured => format!(
                "secrets = [{{ captured = \"secrets/{source}\" }}]   # the sender's handshake brings it: hookgate secret arm {source}"
            ),
            Self::Fetched => "secrets = []   # the sender publishes its keys, and the gateway fetches them".to_owned(),
            Self::Nothing => {
                "unauthenticated = true   # nothing proves who sends: anybody who finds the URL may send events".to_owned()
            }
        }
    }

    fn variable(&self) -> Option<&str> {
        match self {
            Self::Secret { variable, .. } => Some(variable),
            Self::Captured | Self::Fetched | Self::Nothing => None,
        }
    }
}

fn init(mut args: InitArgs, output: Output) -> Result<(), Stop> {
    args.files = args.files.settled(&ConfigArgs::default())?;
    let catalog = args.files.catalog(&ConfigArgs::default())?;
    let wanted = wanted(&args.sources, &catalog)?;
    if let (None, Some(one)) = (&args.public_url, wanted.iter().find(|one| signs_url(one.definition))) {
        let title = &one.definition.title;
        return Err(Stop::usage(format!("{title} signs the URL that it calls: give --public-url URL")));
    }
    let text = text(&args, &wanted);
    let created = OpenOptions::new().write(true).create_new(true).open(&args.file);
    let shown = args.file.display();
    created.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Stop::failure(format!(
            "{shown} is there already and stays as it is; move it away, or give --file FILE"
        )),
        _ => Stop::failure(format!("{shown}: {error}")),
    })?;
    tell(&args, &wanted, output).map_err(Stop::unprinted)
}

fn signs_url(definition: &Definition) -> bool {
    scheme(definition).is_some_and(|scheme| scheme.signs_url())
}

/// The first scheme under the settings that are written: the defaults, and something for what must be set.
fn scheme(definition: &Definition) -> Option<Scheme> {
    let first = definition.schemes.first()?;
    let mut settings = stand_in_settings(definition, first, &Default::default());
    let required = |name: &String| settings_of(definition).any(|(known, one)| known == name && one.required);
    settings.retain(|name, _| required(name));
    Scheme::build(definition, None, &settings).ok()
}

fn wanted<'c>(sources: &[String], catalog: &'c Catalog) -> Result<Vec<Wanted<'c>>, Stop> {
    let mut wanted: Vec<Wanted<'c>> = Vec::with_capacity(sources.len());
    for text in sources {
        let (name, provider) = text.split_once('=').unwrap_or((text, text));
        let definition = catalog.get(provider).ok_or_else(|| unknown(provider, catalog))?;
        if !is_source_name(name) {
            return Err(Stop::usage(format!(
                "{name:?} is no name of a source; allowed: 1 to 64 of a-z, 0-9, - and _, not \"invalid\" or \"dead\""
            )));
        }
        if wanted.iter().any(|known| known.name == name) {
            return Err(Stop::usage(format!("two sources are called {name:?}; name them: SOURCE=PROVIDER")));
        }
        wanted.push(Wanted { name: name.to_owned(), definition, proof: Proof::of(name, definition) });
    }
    Ok(wanted)
}

/// Variables that the file refers to.
fn variables(args: &InitArgs, wanted: &[Wanted<'_>]) -> Vec<String> {
    let sink = args.sink.service().map(|service| service.variable.to_owned());
    let redis = args.redis.then(|| "REDIS_URL".to_owned());
    let own = wanted.iter().filter_map(|one| one.proof.variable().map(str::to_owned));
    own.chain(sink).chain(redis).collect()
}

fn text(args: &InitArgs, wanted: &[Wanted<'_>]) -> String {
    let mut text = String::from(
        "#:schema ./gateway.schema.json\n\
         # hookgate: `hookgate check` tells everything that is wrong here, `hookgate serve` runs it.\n\
         # For editors, which explain keys by it: hookgate schema gateway > gateway.schema.json\n\
         # Secrets are references, never text: { env = \"NAME\" }, { file = \"/path\" } or { credential = \"name\" }.\n\n",
    );
    text.push_str(
        "[ingress]\nlisten = \"0.0.0.0:8080\"            # deliveries; for HTTPS a proxy in front, or [ingress.tls]\n",
    );
    match &args.public_url {
        Some(url) => text.push_str(&format!("public_url = {url:?}\n")),
        None => {
            text.push_str("# public_url = \"https://hooks.example.com\"   # the URL that providers call\n")
        }
    }
    text.push_str(
        "\n[admin]\nlisten = \"127.0.0.1:9090\"          # inbox, health, metrics; off loopback a token is needed\n\
         # token = { env = \"HOOKGATE_ADMIN_TOKEN\" }\n\n\
         [journal]\ndir = \"data/journal\"               # every accepted event is here before its 2xx\n\
         bytes_max = \"10GiB\"\nretention = \"7d\"                   # of what was handed over\n\n",
    );
    if let Some(dir) = args.files.given() {
        text.push_str(&format!("[providers]\ndir = {dir:?}   # provider files of your own\n\n"));
    }
    text.push_str(&dedup(args, wanted));
    text.push_str(&sink(args.sink));
    wanted.iter().for_each(|one| text.push_str(&source(one)));
    text
}

/// At least as long as the longest of the providers retries.
fn dedup(args: &InitArgs, wanted: &[Wanted<'_>]) -> String {
    let days = wanted.iter().filter_map(|one| one.definition.sender.retries).map(days).max().unwrap_or(0);
    let days = days.max(u64::from(WINDOW_DAYS));
    let backend = match args.redis {
        true => {
            "backend = \"redis\"                 # shared by all replicas\nurl = { env = \"REDIS_URL\" }\n"
        }
        false => "# backend = \"redis\"               # for replicas: url = { env = \"REDIS_URL\" }\n",
    };
    format!(
        "[dedup]\nwindow = \"{days}d\"                      # a repeated event is recognised for so long\n{backend}\n"
    )
}

fn days(retries: Span) -> u64 {
    retries.duration().as_secs().div_ceil(24 * 60 * 60)
}

fn sink(kind: SinkKind) -> String {
    let lines = match kind {
        SinkKind::Inbox => {
            "kind = \"inbox\"                     # `hookgate consume SOURCE`, or POST /v1/inbox/SOURCE/claim\n\
             lease = \"30s\"                      # what a worker takes is its own for so long\n\
             max_attempts = 20                  # then an event is poison, kept and not offered\n"
        }
        SinkKind::Rabbitmq => {
            "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }         # amqp://user:password@host:5672/vhost\n\
             exchange = \"webhooks\"              # a queue webhooks.SOURCE for each source, webhooks.dead, webhooks.invalid\n"
        }
        SinkKind::Stdout => "kind = \"stdout\"                    # a line of JSON for each event\n",
    };
    format!("[sink]\n{lines}")
}

fn source(one: &Wanted<'_>) -> String {
    let Wanted { name, definition, proof } = one;
    let docs = definition.docs.as_ref().map(|docs| format!("# {docs}\n")).unwrap_or_default();
    let notes = definition.sender.notes.as_ref().map(|notes| format!("# {notes}\n")).unwrap_or_default();
    let mut text = format!(
        "\n# {}: deliveries come to /in/{name}\n{docs}{notes}[sources.{name}]\nprovider = {:?}\n{}\n",
        definition.title,
        definition.name,
        proof.line(name),
    );
    let names: Vec<&str> = definition.schemes.iter().map(|scheme| scheme.name.as_str()).collect();
    if let [first, _, ..] = names[..] {
        text.push_str(&format!("# scheme = {first:?}   # of {}\n", names.join(", ")));
    }
    for (name, setting) in settings_of(definition) {
        let default = setting.default.as_deref().unwrap_or("…");
        let (mark, must) = if setting.required { ("", "required: ") } else { ("# ", "") };
        text.push_str(&format!("{mark}settings.{name} = {default:?}   # {must}{}\n", setting.help));
    }
    text
}

/// The settings of a source with the provider's first scheme.
fn settings_of(definition: &Definition) -> impl Iterator<Item = (&String, &SettingDefinition)> {
    let own = definition.schemes.first().map(|scheme| &scheme.settings);
    definition.settings.iter().chain(own.into_iter().flatten())
}

/// Lines of settings in the file that must get a value, as `sources.NAME.settings.KEY`, each with what it is.
fn to_set(wanted: &[Wanted<'_>]) -> Vec<(String, String)> {
    let of = |one: &Wanted<'_>| {
        let required = settings_of(one.definition).filter(|(_, setting)| setting.required);
        let line = |(name, setting): (&String, &SettingDefinition)| {
            (format!("sources.{}.settings.{name}", one.name), setting.help.clone())
        };
        let named = matches!(one.proof, Proof::Secret { named: true, .. });
        let kid = format!("sources.{}.secrets[0].kid", one.name);
        let kid = (kid, "the key's id at the provider".to_owned());
        required.map(line).chain(named.then_some(kid)).collect::<Vec<_>>()
    };
    wanted.iter().flat_map(of).collect()
}

fn tell(args: &InitArgs, wanted: &[Wanted<'_>], form: Output) -> io::Result<()> {
    let (file, variables) = (args.file.display().to_string(), variables(args, wanted));
    let mut out = io::stdout();
    if form == Output::Json {
        let sources: Vec<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
        let settings: Vec<String> = to_set(wanted).into_iter().map(|(key, _)| key).collect();
        let told = json!({ "file": file, "sources": sources, "variables": variables, "settings": settings });
        return output::json(&mut out, &told);
    }
    writeln!(out, "wrote {}\n", output::line(&file))?;
    for (key, help) in to_set(wanted) {
        writeln!(out, "in it, set {key}: {}", output::line(&help))?;
    }
    match variables.is_empty() {
        true => writeln!(out, "check and serve:")?,
        false => writeln!(out, "set these, then check and serve:")?,
    }
    variables.iter().try_for_each(|variable| writeln!(out, "  export {variable}=…"))?;
    let option =
        if file == "hookgate.toml" { String::new() } else { format!(" --config {}", output::line(&file)) };
    writeln!(out, "  hookgate check{option}\n  hookgate serve{option}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::assemble;
    use crate::cli::vectors::keys::Pair;
    use crate::config::{self, Input};
    use crate::provider::secret::Environment;
    use clap::ValueEnum;

    fn args(sources: &[&str], sink: SinkKind, redis: bool) -> InitArgs {
        InitArgs {
            sources: sources.iter().map(|&name| name.to_owned()).collect(),
            sink,
            redis,
            public_url: Some("https://hooks.example.com".to_owned()),
            file: "hookgate.toml".into(),
            files: FilesArgs::default(),
        }
    }

    #[test]
    fn every_provider_and_sink_passes_the_check() {
        let catalog = Catalog::built_in().unwrap();
        let all: Vec<&str> = catalog.iter().map(|one| one.name.as_str()).collect();
        let dir = tempfile::tempdir().unwrap();
        for &sink in SinkKind::value_variants() {
            let args = args(&all, sink, sink != SinkKind::Inbox);
            let wanted = wanted(&args.sources, &catalog).unwrap();
            let file = dir.path().join(format!("{sink:?}.toml"));
            std::fs::write(&file, with_kid(&text(&args, &wanted))).unwrap();
            let url = |name: &str| match name {
                "AMQP_URL" => "amqp://127.0.0.1",
                "REDIS_URL" => "redis://127.0.0.1",
                _ => "0123456789abcdef0123456789abcdef",
            };
            let variables = variables(&args, &wanted);
            let env: Environment = variables.iter().map(|name| (name.as_str(), url(name))).collect();
            let loaded = config::load(Input { file: Some(file), env, ..Input::default() });
            let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
            assert_eq!(loaded.settings.sources.len(), all.len());
            assert_eq!(loaded.warnings, [""; 0]);
        }
    }

    /// The text with the id of a key that `to_set` asks for.
    fn with_kid(text: &str) -> String {
        text.replace("kid = \"…\"", "kid = \"k1\"")
    }

    /// `check` takes all of it once each variable and each place that `to_set` names has a value of the right form, and
    /// wants each of these places.
    #[test]
    fn what_is_written_for_each_provider_needs_no_more_than_its_values() {
        let catalog = Catalog::built_in().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for definition in catalog.iter() {
            let name = &definition.name;
            let args = args(&[name], SinkKind::Inbox, false);
            let wanted = wanted(&args.sources, &catalog).unwrap();
            let scheme = scheme(definition).unwrap();
            let variables = variables(&args, &wanted);
            let secret = variables.iter().map(|_| Pair::of(&scheme, "right").unwrap().held.trim().to_owned());
            let env: Environment =
                variables.iter().map(String::as_str).zip(secret.collect::<Vec<_>>()).collect();
            let check = |text: &str| {
                let file = dir.path().join(format!("{name}.toml"));
                std::fs::write(&file, text).unwrap();
                let input = Input { file: Some(file), env: env.clone(), ..Input::default() };
                config::load_with(input, assemble::all).map(|(loaded, _)| loaded.warnings)
            };
            let written = text(&args, &wanted);
            let mut filled = with_kid(&written);
            for (setting, value) in
                &stand_in_settings(definition, &definition.schemes[0], &Default::default())
            {
                filled = filled.replace(
                    &format!("\nsettings.{setting} = \"…\""),
                    &format!("\nsettings.{setting} = {value:?}"),
                );
            }
            assert_eq!(check(&filled).unwrap_or_else(|report| panic!("{name}: {report}")), [""; 0], "{name}");
            let named = to_set(&wanted).into_iter().any(|(key, _)| key.ends_with(".kid"));
            assert_eq!(named, filled.contains("kid = \"k1\""), "{name}");
            if named {
                let report = check(&written).err().unwrap().to_string();
                assert!(report.contains(&format!("sources.{name}.secrets[0].kid")), "{report}");
            }
        }
    }

    #[test]
    fn a_source_gets_its_secret_as_its_provider_gives_it() {
        let catalog = Catalog::built_in().unwrap();
        let names = ["tasks=asana", "amazon_sns", "strava", "stripe"].map(str::to_owned);
        let wanted = wanted(&names, &catalog).unwrap();
        let lines: Vec<String> = wanted.iter().map(source).collect();
        assert!(lines[0].contains("\nsecrets = [{ captured = \"secrets/tasks\" }]"), "{}", lines[0]);
        assert!(lines[1].contains("\nsecrets = []"), "{}", lines[1]);
        assert!(
            lines[2].contains("\nunauthenticated = true") && !lines[2].contains("secrets ="),
            "{}",
            lines[2]
        );
        assert_eq!(variables(&args(&[], SinkKind::Inbox, false), &wanted), ["STRIPE_WEBHOOK_SECRET"]);
    }

    #[test]
    fn settings_that_must_be_set_are_named_with_what_they_are() {
        let catalog = Catalog::built_in().unwrap();
        let wanted = wanted(&["pay=paypal".to_owned(), "stripe".to_owned()], &catalog).unwrap();
        let [(key, help)] = &to_set(&wanted)[..] else { panic!("{:?}", to_set(&wanted)) };
        assert_eq!(key, "sources.pay.settings.webhook_id");
        assert!(help.starts_with("the id of the webhook"), "{help}");
        let written = text(&args(&[], SinkKind::Inbox, false), &wanted);
        assert!(written.contains("\nsettings.webhook_id = \"…\"   # required: the id"), "{written}");
    }

    #[test]
    fn a_provider_that_signs_the_url_does_so_whatever_must_be_set() {
        let required = "[settings.account]\nhelp = \"the account\"\nrequired = true\n";
        let file = |settings: &str, signed: &str| -> Definition {
            let text = format!(
                "name = \"acme\"\ntitle = \"Acme\"\n{settings}[[schemes]]\nname = \"s\"\nalgorithm = \"hmac-sha256\"\n\
                 signed = [\"{signed}\"]\nsignature = {{ from = \"header:x-sig\", encoding = \"hex\" }}\n"
            );
            toml::from_str(&text).unwrap()
        };
        assert!(signs_url(&file("", "{url}{body}")));
        assert!(
            signs_url(&file(required, "${account}{url}{body}")),
            "a setting must be given, and the URL too"
        );
        assert!(!signs_url(&file(required, "${account}{body}")));
    }

    #[test]
    fn names_are_checked_and_unique() {
        let catalog = Catalog::built_in().unwrap();
        let wanted = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            wanted(&names, &catalog).map(|wanted| {
                wanted.iter().filter_map(|one| one.proof.variable().map(str::to_owned)).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            wanted(&["my-shop=stripe", "stripe"]).unwrap(),
            ["MY_SHOP_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET"]
        );
        assert!(wanted(&["stripe", "stripe"]).unwrap_err().why.contains("two sources"));
        for bad in ["Shop=stripe", "dead=stripe", "=stripe"] {
            assert!(wanted(&[bad]).unwrap_err().why.contains("no name of a source"), "{bad}");
        }
        assert!(wanted(&["gihub"]).unwrap_err().why.contains("\"github\""));
    }
}
