//! `hookgate sign`: the headers that a provider would put on a body, or a ready curl command. The secret is printed
//! nowhere.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::{ConfigArgs, pair};
use super::captured::{CaptureArgs, RequestArgs, SecretArgs, moment, split};
use super::files::FilesArgs;
use super::output::{self, Output};
use super::send::configuration;
use super::send::target::Target;
use super::stop::Stop;
use crate::clock::{Clock, System, Timestamp};
use crate::delivery::Delivery;
use crate::exit;
use crate::provider::{Algorithm, Scheme};
use crate::verify::Signer;

/// What is signed, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate sign stripe --secret-env STRIPE_WEBHOOK_SECRET --body event.json
  hookgate sign github --secret-file secret -H 'X-GitHub-Event: push' --body push.json --curl
  hookgate sign twilio --secret-env TWILIO_TOKEN --url https://hooks.example.com/in/twilio --body message.form")]
pub(super) struct SignArgs {
    /// A source of the configuration, or a provider
    #[arg(value_name = "PROVIDER_OR_SOURCE")]
    name: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The scheme [default: the source's, else the provider's first]
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
    /// A setting of the scheme, such as header=X-Signature; may be repeated
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// The id of the key, where deliveries name it [default: the kid of the source's first secret]
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Sign as of this time (RFC 3339 or Unix seconds) [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// Print a curl command that sends it, in place of the headers
    #[arg(long)]
    curl: bool,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Signs; the exit code comes back.
pub(super) fn run(args: SignArgs, output: Output) -> anyhow::Result<u8> {
    Ok(sign(args, output).map_or_else(Stop::tell, |()| exit::OK))
}

fn sign(args: SignArgs, output: Output) -> Result<(), Stop> {
    let given = args.secrets.read()?;
    let catalog = args.files.catalog(&args.config)?;
    let loaded = configuration(args.config, !given.is_empty())?;
    let target = Target::find(&args.name, loaded.as_ref(), &catalog)?;
    let scheme = target.scheme_as(args.scheme.as_deref(), &args.settings)?;
    let secret = match (given.first(), target.secrets().first()) {
        (Some(given), _) => given.expose(),
        (None, _) if scheme.algorithm == Algorithm::Unauthenticated => &[],
        (None, _) if scheme.has_public_keys() => return Err(Target::needs_private_key(&scheme)),
        (None, Some(own)) => own.expose(),
        (None, None) => {
            return Err(Stop::usage("no secret: give --secret-env NAME, or the name of a configured source"));
        }
    };
    let base = args.request.url.as_deref().map(|url| split(url).0.to_owned()).filter(|base| !base.is_empty());
    let scheme = at_url(scheme, base.as_deref())?;
    let method = scheme.methods.first().map_or("POST", String::as_str).to_owned();
    let path = target.path();
    let body = args.request.body.clone().unwrap_or_else(|| PathBuf::from("-"));
    let mut delivery = args.request.read(CaptureArgs::default(), &method, &path)?;
    let at = args.at.unwrap_or_else(|| System::new().now());
    let (id, slot) = target.key(args.kid);
    let signer = Signer { secret, id: id.as_deref(), slot };
    signer.sign(&scheme, &mut delivery, at).map_err(|error| Stop::data(error.to_string()))?;
    lacking(&scheme, &delivery);
    let own = target.url().map_err(Stop::failure)?;
    let url = format!("{}{}", base.as_deref().unwrap_or(own.base()), delivery.target);
    // The configured listener has the certificate of its public name.
    let insecure = base.is_none() && url.starts_with("https:");
    let mut out = io::stdout();
    let printed = match (output, args.curl) {
        (Output::Json, _) => output::json(&mut out, &to_json(&scheme, &delivery, at, &url)),
        (Output::Text, true) => writeln!(out, "{}", curl(&delivery, &url, insecure, &body)),
        (Output::Text, false) => lines(&delivery).iter().try_for_each(|line| writeln!(out, "{line}")),
    };
    printed.map_err(Stop::unprinted)
}

/// The scheme for a sender that calls `base`, where the command line says so.
///
/// # Errors
/// Where the URL is signed and nobody says which.
pub(super) fn at_url(scheme: Scheme, base: Option<&str>) -> Result<Scheme, Stop> {
    match base {
        Some(base) => Ok(scheme.at(base)),
        None if scheme.signs_url() && scheme.origin.is_none() => {
            let name = &scheme.name;
            Err(Stop::usage(format!("scheme {name} signs the URL: give --url URL, as the sender calls it")))
        }
        None => Ok(scheme),
    }
}

/// Tells what the delivery still lacks.
fn lacking(scheme: &Scheme, delivery: &Delivery) {
    for pick in &scheme.require {
        if pick.read(delivery).is_none_or(|value| value.is_empty()) {
            eprintln!("note: scheme {} also demands {pick}; give it with -H", scheme.name);
        }
    }
}

fn pairs(delivery: &Delivery) -> impl Iterator<Item = (String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    delivery.headers.iter().map(move |(name, value)| (text(name), text(value)))
}

fn lines(delivery: &Delivery) -> Vec<String> {
    let headers = pairs(delivery).map(|(name, value)| output::line(&format!("{name}: {value}")));
    // Some senders have their signature in the query.
    let target = delivery
        .target
        .contains('?')
        .then(|| output::line(&format!("{} {}", delivery.method, delivery.target)));
    target.into_iter().chain(headers).collect()
}

/// A command for a shell that sends `body`, a file or `-` for stdin: the same bytes as were signed.
fn curl(delivery: &Delivery, url: &str, insecure: bool, body: &Path) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let body = match body.as_os_str() == "-" {
        true => "@-".to_owned(),
        false => quoted(&format!("@{}", body.display())),
    };
    let headers: String =
        pairs(delivery).map(|(name, value)| format!(" -H {}", quoted(&format!("{name}: {value}")))).collect();
    let plain = if delivery.headers.first("content-type").is_none() {
        " -H 'content-type: application/json'"
    } else {
        ""
    };
    let insecure = if insecure { " -k" } else { "" };
    format!("curl -sS{insecure} -X {} {}{plain}{headers} --data-binary {body}", delivery.method, quoted(url))
}

fn to_json(scheme: &Scheme, delivery: &Delivery, at: Timestamp, url: &str) -> Value {
    let headers: Map<String, Value> = pairs(delivery).map(|(name, value)| (name, value.into())).collect();
    json!({
        "provider": *scheme.provider,
        "scheme": scheme.name,
        "method": delivery.method,
        "url": url,
        "target": delivery.target,
        "headers": headers,
        "signed_at": scheme.timestamp.as_ref().map(|_| at.to_string()),
    })
}
