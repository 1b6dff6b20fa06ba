//! `hookgate verify` and `hookgate explain`: a captured request through the code that serves. Says what it is, or
//! exactly why not, and what would have verified: causes that only the operator with the secret ever gets to see.

mod accepted;

use std::cell::Cell;
use std::io::{self, Write as _};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use self::accepted::Accepted;
use super::args::{ConfigArgs, pair};
use super::captured::{CaptureArgs, RequestArgs, SecretArgs, moment, split};
use super::files::FilesArgs;
use super::output::{self, Output};
use super::send::configuration;
use super::send::target::Target;
use super::sign::at_url;
use super::stages::{self, Found};
use super::stop::Stop;
use crate::clock::{Clock, System, Timestamp};
use crate::config::Loaded;
use crate::delivery::Delivery;
use crate::diagnose::{Case, Endpoint, Finding};
use crate::exit;
use crate::provider::secret::Secret;
use crate::provider::{Algorithm, Catalog, HandshakeAnswer, Scheme};
use crate::reject::{Refused, Reject};
use crate::verify::{Key, Verifier};

/// What is judged.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 accepted, 65 refused.

Examples:
  hookgate verify stripe --request captured.http --at 2026-03-01T12:00:00Z
  hookgate verify github --secret-env GITHUB_SECRET --headers headers.txt --body body.json
  hookgate verify shopify --secret-file secret -H \"X-Shopify-Hmac-Sha256: $SIGNATURE\" --body order.json")]
pub(super) struct VerifyArgs {
    /// A source of the configuration, or a provider
    #[arg(value_name = "PROVIDER_OR_SOURCE")]
    name: String,
    #[command(flatten)]
    pub(super) request: RequestArgs,
    #[command(flatten)]
    pub(super) capture: CaptureArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The scheme [default: the source's, else the provider's first]
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
    /// A setting of the scheme, such as header=X-Signature; may be repeated
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// Judge as of this time (RFC 3339 or Unix seconds): when the request came [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Judges; the exit code comes back.
pub(super) fn run(args: VerifyArgs, output: Output) -> anyhow::Result<u8> {
    Ok(verify(args, output).unwrap_or_else(Stop::tell))
}

fn verify(args: VerifyArgs, output: Output) -> Result<u8, Stop> {
    judged(args, false, |told| {
        let (code, text, data) = match &told.outcome {
            Ok(accepted) => (exit::OK, accepted.text.clone(), accepted.data.clone()),
            Err(refused) => {
                let hints: Vec<String> = told.findings.iter().map(ToString::to_string).collect();
                (exit::DATA, refusal_text(refused, &hints), refusal_json(told.scheme, refused, &hints))
            }
        };
        print(output, &text, &data)?;
        Ok(code)
    })
}

/// Prints text for people, or data.
pub(super) fn print(output: Output, text: &str, data: &Value) -> Result<(), Stop> {
    let mut out = io::stdout();
    let printed = match output {
        Output::Text => write!(out, "{}", output::block(text)),
        Output::Json => output::json(&mut out, data),
    };
    printed.map_err(Stop::unprinted)
}

/// A request that was accepted, in both forms.
pub(super) struct Told {
    /// For people.
    pub text: String,
    /// As data.
    pub data: Value,
}

/// What became of a captured request.
pub(super) struct Judged<'j> {
    /// The scheme that it was judged by.
    pub scheme: &'j Scheme,
    /// What it is, or why it is refused.
    pub outcome: Result<Told, Refused>,
    /// Why it is refused, the likeliest first; empty where it is not.
    pub findings: Vec<Finding>,
}

/// Judges what `args` name, and lets `tell` tell of it. A secret that cannot be read is a finding only for one who
/// `explains`.
///
/// # Errors
/// Where there is nothing that can be judged.
pub(super) fn judged<T>(
    args: VerifyArgs,
    explains: bool,
    tell: impl FnOnce(&Judged<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let given = args.secrets.read()?;
    let catalog = args.files.catalog(&args.config)?;
    let loaded = configuration(args.config, !given.is_empty())?;
    let target = Target::find(&args.name, loaded.as_ref(), &catalog)?;
    let scheme = target.scheme_as(args.scheme.as_deref(), &args.settings)?;
    let secrets: Vec<&Secret> =
        if given.is_empty() { target.secrets().iter().collect() } else { given.iter().collect() };
    if secrets.is_empty() && scheme.algorithm != Algorithm::Unauthenticated {
        return Err(Stop::usage("no secret: give --secret-env NAME, or the name of a configured source"));
    }
    let base = args.request.url.as_deref().map(|url| split(url).0.to_owned()).filter(|base| !base.is_empty());
    let scheme = Arc::new(at_url(scheme, base.as_deref())?);
    let method = scheme.methods.first().map_or("POST", String::as_str).to_owned();
    let delivery = args.request.read(args.capture, &method, &target.path())?;
    let now = args.at.unwrap_or_else(|| System::new().now());
    let name = target.name().unwrap_or_default().to_owned();
    let secrets_known = secrets.iter().map(|secret| (*secret).into()).collect();
    let endpoint = Endpoint { name, scheme: Arc::clone(&scheme), secrets: secrets_known };
    let others = loaded.as_ref().map(|loaded| others(loaded, &catalog)).unwrap_or_default();
    let (delivery, effort) = (&delivery, Cell::new(u64::MAX));
    let case = Case { delivery, endpoint: &endpoint, others: &others, catalog: &catalog, now, effort };
    let (outcome, findings) = match judge(&scheme, &secrets, delivery.clone(), now) {
        Ok(Ok(Found::Handshake(answer))) => {
            (Ok(Told { text: handshake_text(&answer), data: handshake_json(&scheme, &answer) }), Vec::new())
        }
        Ok(Ok(Found::Event(verified))) => {
            let told = Accepted::new(&verified, &target, now);
            (Ok(Told { text: told.text(), data: told.to_json() }), Vec::new())
        }
        Ok(Err(refused)) => {
            let findings = case.explain(&refused);
            (Err(refused), findings)
        }
        Err(stop) => match case.unreadable_secret().filter(|_| explains) {
            Some(finding) => (Err(Reject::NoActiveSecret.because(stop.why)), vec![finding]),
            None => return Err(stop),
        },
    };
    tell(&Judged { scheme: &scheme, outcome, findings })
}

/// The sources of the configuration, as a diagnosis knows them.
pub(super) fn others(loaded: &Loaded, catalog: &Catalog) -> Vec<Endpoint> {
    let endpoint = |(name, secrets): (&String, &Vec<Secret>)| {
        let scheme = Target::find(name, Some(loaded), catalog).ok()?.scheme_as(None, &[]).ok()?;
        let secrets = secrets.iter().map(Into::into).collect();
        Some(Endpoint { name: name.clone(), scheme: Arc::new(scheme), secrets })
    };
    loaded.secrets.sources.iter().filter_map(endpoint).collect()
}

/// What `serve` would say.
fn judge(
    scheme: &Arc<Scheme>,
    secrets: &[&Secret],
    delivery: Delivery,
    now: Timestamp,
) -> Result<Result<Found, Refused>, Stop> {
    let key = |secret: &&Secret| {
        let key = Key::new(scheme, secret.label(), secret.expose());
        let key = key.map_err(|error| Stop::data(format!("{}: {error}", secret.label())))?;
        let key = key.with_id(secret.kid()).in_slot(secret.slot());
        Ok(key.valid_between(secret.not_before(), secret.not_after()))
    };
    let keys: Result<Vec<Key>, Stop> = match scheme.algorithm {
        Algorithm::Unauthenticated => Ok(vec![Key::unauthenticated()]),
        _ => secrets.iter().map(key).collect(),
    };
    let verifier = Verifier::new(Arc::clone(scheme), keys?);
    Ok(stages::find(&verifier, delivery, now))
}

fn handshake_text(answer: &HandshakeAnswer) -> String {
    format!(
        "accepted: handshake {:?}, answered with {}; no event stands behind it\n",
        answer.name, answer.status
    )
}

fn handshake_json(scheme: &Scheme, answer: &HandshakeAnswer) -> Value {
    json!({
        "accepted": true,
        "provider": *scheme.provider,
        "scheme": scheme.name,
        "handshake": &*answer.name,
        "status": answer.status,
    })
}

fn refusal_text(refused: &Refused, hints: &[String]) -> String {
    let row = refused.reject.row();
    let detail = if refused.detail.is_empty() { String::new() } else { format!(": {}", refused.detail) };
    let mut text =
        format!("refused: {}{detail}\n  the sender reads {} {:?}\n", row.reason, row.status, row.code);
    hints.iter().for_each(|hint| text.push_str(&format!("  hint: {hint}\n")));
    text
}

fn refusal_json(scheme: &Scheme, refused: &Refused, hints: &[String]) -> Value {
    let row = refused.reject.row();
    json!({
        "accepted": false,
        "provider": *scheme.provider,
        "scheme": scheme.name,
        "reason": row.reason,
        "detail": refused.detail,
        "status": row.status,
        "code": row.code,
        "hints": hints,
    })
}
