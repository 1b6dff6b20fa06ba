//! `hookgate send`: an event as its provider would send it, signed with the configured secret or a given one, posted.
//!
//! Data on stdout (a line for each answer), talk on stderr; the secret in neither.

pub(super) mod target;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::target::Target;
use super::access::{self, Secret};
use super::args::{ConfigArgs, pair};
use super::files::FilesArgs;
use super::http::{Client, Reply, Trust, Url};
use super::output::{self, Output};
use super::stop::Stop;
use crate::clock::{Clock, System};
use crate::config::Loaded;
use crate::exit;
use crate::provider::{Algorithm, Definition, Scheme};
use crate::sample::{Break, Sample, Wanted};
use crate::verify::Signer;

/// Most times that one call sends.
const TIMES_MAX: u32 = 1_000_000;

/// What is wrong with a delivery on purpose.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Broken {
    /// One byte of the body is changed after signing
    Body,
    /// One character of the signature is changed, its form kept
    Signature,
    /// Signed long ago
    Time,
}

impl From<Broken> for Break {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Body => Self::Body,
            Broken::Signature => Self::Signature,
            Broken::Time => Self::Time,
        }
    }
}

/// What is sent, and where.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 accepted, 1 refused (as what --break broke must be), 69 nobody answers.

Examples:
  hookgate send stripe
  hookgate send stripe invoice.paid --times 2
  hookgate send stripe --break body
  hookgate send github --to http://127.0.0.1:8080/in/code --secret-env GITHUB_SECRET")]
pub(super) struct SendArgs {
    /// A source of the configuration, or a provider
    #[arg(value_name = "PROVIDER_OR_SOURCE")]
    name: String,
    /// The event's type [default: the one that the provider's file names]
    event: Option<String>,
    /// Where to [default: the configured listener and the source's path]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Do not look at the certificate [default: so for the configured listener, which has that of its public name]
    #[arg(long)]
    insecure: bool,
    /// Send the same event so often, each time signed anew
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TIMES_MAX)))]
    times: u32,
    /// The event's id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Break it, to see it refused
    #[arg(long = "break", value_name = "WHAT")]
    broken: Option<Broken>,
    /// Sign with this secret; other users can see it in the list of processes
    #[arg(long, value_name = "TEXT", conflicts_with = "secret_env")]
    secret: Option<String>,
    /// Sign with the secret in this environment variable
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
    /// The id of the key, where deliveries name it [default: the kid of the source's first secret]
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// A setting of the provider's scheme, over the source's; may be repeated
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// Send the bytes of this file in place of the sample
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Sends; the exit code comes back.
pub(super) fn run(args: SendArgs, output: Output) -> anyhow::Result<u8> {
    Ok(prepare(args).and_then(|letter| letter.send(output)).unwrap_or_else(Stop::tell))
}

/// Everything that is needed to send.
struct Letter {
    definition: Definition,
    scheme: Scheme,
    secret: Secret,
    /// The id and the slot of the key that it is.
    key: (Option<String>, Option<u8>),
    to: Url,
    trust: Trust,
    wanted: Wanted,
    broken: Option<Break>,
    times: u32,
}

fn prepare(args: SendArgs) -> Result<Letter, Stop> {
    let given = secret(args.secret, args.secret_env.as_deref())?;
    let to = args.to.as_deref().map(Url::parse).transpose().map_err(Stop::usage)?;
    let catalog = args.files.catalog(&args.config)?;
    let loaded = configuration(args.config, given.is_some())?;
    let target = Target::find(&args.name, loaded.as_ref(), &catalog)?;
    let scheme = target.scheme_to_send(&args.settings)?;
    let secret = match given {
        Some(secret) => secret,
        None if scheme.algorithm == Algorithm::Unauthenticated => Secret::default(),
        None if scheme.has_public_keys() => return Err(Target::needs_private_key(&scheme)),
        None => target.secret().ok_or_else(|| target.needs_secret(&args.name))?,
    };
    let trust = if args.insecure || to.is_none() { Trust::Anybody } else { Trust::Public };
    let to = match to {
        Some(url) if !url.is_bare() => url,
        Some(url) => url.with_path(&target.path()),
        None => target.url().map_err(Stop::failure)?,
    };
    // Without a configuration the URL that is called is the one that the sender knows.
    let scheme = if scheme.origin.is_none() { scheme.at(to.base()) } else { scheme };
    let read =
        |path: &PathBuf| fs::read(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display())));
    let data = args.data.as_ref().map(read).transpose()?;
    let definition = target.definition.clone();
    let wanted = Wanted { event: args.event, id: args.id, data };
    let key = target.key(args.kid);
    Ok(Letter {
        definition,
        scheme,
        secret,
        key,
        to,
        trust,
        wanted,
        broken: args.broken.map(Break::from),
        times: args.times,
    })
}

/// The configuration. One that nobody named may be missing or broken where the secret is `given`: what it
/// most often lacks on another machine than the gateway's is the secrets.
///
/// # Errors
/// Where one that is needed has errors.
pub(super) fn configuration(config: ConfigArgs, given: bool) -> Result<Option<Loaded>, Stop> {
    if given && !config.is_given() {
        return Ok(config.try_load().ok());
    }
    let told = |code| Stop {
        code,
        why: "or do without a configuration: --secret-env NAME (and for send --to URL)".to_owned(),
    };
    config.load().map(Some).map_err(told)
}

/// The secret that the command line gives.
fn secret(text: Option<String>, variable: Option<&str>) -> Result<Option<Secret>, Stop> {
    match (text, variable) {
        (Some(text), _) => Ok(Some(Zeroizing::new(text.into_bytes()))),
        (None, Some(name)) => access::variable("--secret-env", name).map(Some),
        (None, None) => Ok(None),
    }
}

impl Letter {
    fn send(self, output: Output) -> Result<u8, Stop> {
        let clock = System::new();
        let sample = Sample::new(&self.definition, &self.scheme, self.wanted, clock.now())?;
        let title = &self.definition.title;
        eprintln!(
            "{title}{}{}, {} bytes, to {}",
            if sample.event.is_empty() { String::new() } else { format!(" {}", output::line(&sample.event)) },
            if sample.id.is_empty() { String::new() } else { format!(", id {}", output::line(&sample.id)) },
            sample.body().len(),
            self.to
        );
        let client = Client::trusting(self.trust);
        let mut out = io::stdout().lock();
        let mut all = true;
        let signer = Signer { secret: &self.secret, id: self.key.0.as_deref(), slot: self.key.1 };
        for _ in 0..self.times {
            let delivery = sample.sign(self.to.target(), signer, clock.now(), self.broken)?;
            let reply =
                client.deliver(&self.to, &delivery).map_err(|error| Stop::unreachable(error.to_string()))?;
            let shown = match output {
                Output::Text => writeln!(out, "{}", line(&reply)),
                Output::Json => output::json(&mut out, &to_json(&reply, &sample)),
            };
            shown.map_err(Stop::unprinted)?;
            all &= reply.is_success();
        }
        match (self.broken, all) {
            (None, _) => {}
            (Some(_), false) => eprintln!("refused, as a broken delivery must be"),
            (Some(_), true) => eprintln!("accepted, although it was broken: does this gateway verify?"),
        }
        Ok(if all { exit::OK } else { exit::FAILURE })
    }
}

/// What a gateway answered, as data.
fn to_json(reply: &Reply, sample: &Sample<'_>) -> Value {
    json!({
        "status": reply.status,
        "milliseconds": reply.took.as_secs_f64() * 1000.0,
        "accepted": reply.is_success(),
        "outcome": reply.text("outcome"),
        "code": reply.text("code"),
        "detail": reply.text("detail"),
        "request_id": reply.text("request_id"),
        "message_id": reply.text("message_id"),
        "event_id": sample.id,
        "event_type": sample.event,
    })
}

/// What a gateway answered, on one line.
pub(super) fn line(reply: &Reply) -> String {
    let head = format!("{} in {} ms", reply.status, reply.millis());
    match (reply.text("outcome"), reply.text("code")) {
        (Some(outcome), _) => {
            let id = reply.text("message_id").map(|id| format!("  message_id {id}")).unwrap_or_default();
            format!("{head}  {}{}", outcome.escape_debug(), id.escape_debug())
        }
        (None, Some(code)) => {
            let told =
                |before: &str, key| reply.text(key).map(|text| format!("{before}{text}")).unwrap_or_default();
            let (detail, id) = (told(", ", "detail"), told("  request_id ", "request_id"));
            format!("{head}  refused: {}{}{}", code.escape_debug(), detail.escape_debug(), id.escape_debug())
        }
        (None, None) if reply.is_success() => head,
        (None, None) => format!("{head}  refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.as_bytes().to_vec(), took: Duration::from_micros(840) }
    }

    #[test]
    fn answers_are_told_on_a_line() {
        let kept = reply(200, r#"{"outcome":"accepted","message_id":"ab12"}"#);
        assert_eq!(line(&kept), "200 in 0.8 ms  accepted  message_id ab12");
        assert_eq!(
            line(&reply(401, r#"{"code":"signature_invalid","request_id":"a-1"}"#)),
            "401 in 0.8 ms  refused: signature_invalid  request_id a-1"
        );
        assert_eq!(
            line(&reply(400, r#"{"code":"malformed","detail":"this port speaks HTTPS"}"#)),
            "400 in 0.8 ms  refused: malformed, this port speaks HTTPS"
        );
        assert_eq!(line(&reply(204, "")), "204 in 0.8 ms");
        assert_eq!(line(&reply(502, "<html>")), "502 in 0.8 ms  refused");
        assert!(!line(&reply(200, r#"{"outcome":"\u001b[31m"}"#)).contains('\u{1b}'));
    }
}
