//! `hookgate consume`: takes events of a source from the inbox over HTTP, prints them, and acknowledges what it printed.
//!
//! Bodies come from outside: text output escapes what a terminal would obey.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::access::{self, Secret, reachable};
use super::args::ConfigArgs;
use super::http::{Client, Reply, Url};
use super::stop::Stop;
use crate::exit;
use crate::units::Span;

/// Where the admin listener is by default.
const ADMIN_PORT: u16 = 9090;
/// Pauses of `--follow` while the inbox is empty: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Marks of direction that make text read otherwise than it is.
const DIRECTION: [std::ops::RangeInclusive<char>; 3] =
    ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];

/// What is taken, and how it is shown.
#[derive(Debug, Args)]
pub(super) struct ConsumeArgs {
    /// The source
    source: String,
    /// The admin listener [default: the configured one, else http://127.0.0.1:9090]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// End after so many events [default: when the inbox is empty]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Wait for more when the inbox is empty
    #[arg(long)]
    follow: bool,
    /// Events taken at once
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    max: u64,
    /// How long they are this worker's [default: the gateway's]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    lease: Option<Span>,
    /// The environment variable with the admin token [default: the configured token, if any]
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// How events are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    config: ConfigArgs,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line about each event, then its body, control characters escaped
    Text,
    /// A JSON object a line
    Json,
}

fn span(text: &str) -> Result<Span, String> {
    text.parse().map_err(|_| Span::EXPECTED.to_owned())
}

/// Consumes; the exit code comes back.
pub(super) fn run(args: ConsumeArgs) -> anyhow::Result<u8> {
    Ok(consume(args).map_or_else(Stop::tell, |()| exit::OK))
}

fn consume(args: ConsumeArgs) -> Result<(), Stop> {
    let (base, token) = access(args.from.as_deref(), args.token_env.as_deref(), args.config)?;
    let inbox = Inbox { client: Client::new(), base, source: args.source, token };
    let (mut taken, mut pause) = (0, PAUSE.0);
    let mut out = io::stdout().lock();
    while args.count.is_none_or(|count| taken < count) {
        let max = args.count.map_or(args.max, |count| args.max.min(count - taken));
        let events = inbox.claim(max, args.lease)?;
        if events.is_empty() && !args.follow {
            break;
        }
        if events.is_empty() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
            continue;
        }
        pause = PAUSE.0;
        let tokens: Vec<Value> = events.iter().filter_map(|event| event.get("token").cloned()).collect();
        taken += events.len() as u64;
        events
            .into_iter()
            .try_for_each(|event| print(&mut out, event, args.output))
            .and_then(|()| out.flush())
            .map_err(|error| {
                Stop::failure(format!("cannot print, so nothing of this is acknowledged: {error}"))
            })?;
        inbox.ack(&tokens)?;
    }
    Ok(())
}

/// The admin listener and its token: what the command line says, then the configuration, then the defaults. A
/// configuration that nobody named may be missing or broken: a worker's machine lacks the sources' secrets.
fn access(
    from: Option<&str>,
    token: Option<&str>,
    config: ConfigArgs,
) -> Result<(Url, Option<Secret>), Stop> {
    let token = token.map(|name| access::variable("--token-env", name)).transpose()?;
    let loaded = match (config.is_given(), from) {
        (true, _) => Some(config.load().map_err(Stop::told)?),
        (false, None) => config.try_load().ok(),
        (false, Some(_)) => None,
    };
    let listen =
        loaded.as_ref().map(|loaded| loaded.settings.admin.listen).filter(|listen| listen.port() != 0);
    let listen = listen.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)), reachable);
    let url = Url::parse(from.unwrap_or(&format!("http://{listen}"))).map_err(Stop::usage)?;
    let configured = loaded.and_then(|loaded| loaded.secrets.worker_token.or(loaded.secrets.admin_token));
    Ok((url, token.or(configured.map(|token| Zeroizing::new(token.expose().to_vec())))))
}

/// A source's inbox, over HTTP.
pub(super) struct Inbox {
    /// The client.
    pub client: Client,
    /// The admin listener.
    pub base: Url,
    /// The source.
    pub source: String,
    /// The admin token, if it wants one.
    pub token: Option<Secret>,
}

impl Inbox {
    /// Leases at most `max` events.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(super) fn claim(&self, max: u64, lease: Option<Span>) -> Result<Vec<Map<String, Value>>, Stop> {
        let lease = lease.map(|lease| format!("&lease={lease}")).unwrap_or_default();
        let reply = self.post(&format!("claim?max={max}{lease}"), "")?;
        if !reply.is_success() {
            return Err(self.refused("claim", &reply));
        }
        #[derive(serde::Deserialize)]
        struct Claimed {
            events: Vec<Map<String, Value>>,
        }
        let claimed: Claimed = serde_json::from_slice(&reply.body)
            .map_err(|error| Stop::failure(format!("{}: not the answer of an inbox: {error}", self.base)))?;
        Ok(claimed.events)
    }

    /// Acknowledges; the events are gone for good.
    ///
    /// # Errors
    /// Where nobody answers, or a lease had run out.
    pub(super) fn ack(&self, tokens: &[Value]) -> Result<(), Stop> {
        let again = "the events printed last come again, marked as possible duplicates";
        let body = json!({ "tokens": tokens }).to_string();
        let reply =
            self.post("ack", &body).map_err(|stop| Stop { why: format!("{}; {again}", stop.why), ..stop })?;
        if reply.is_success() {
            return Ok(());
        }
        let stop = self.refused("acknowledgement", &reply);
        let lease = if reply.status == 409 { ": the lease had run out (--lease)" } else { "" };
        Err(Stop { why: format!("{}{lease}; {again}", stop.why), ..stop })
    }

    fn post(&self, call: &str, body: &str) -> Result<Reply, Stop> {
        let url = self.base.with_path(&format!("/v1/inbox/{}/{call}", path_segment(&self.source)));
        let token = self.token.as_ref().map(|token| token.as_slice());
        self.client.post(&url, token, body).map_err(|error| Stop::unreachable(error.to_string()))
    }

    fn refused(&self, what: &str, reply: &Reply) -> Stop {
        let detail = reply.text("detail").unwrap_or_else(|| "no reason given".to_owned());
        let (status, source) = (reply.status, &self.source);
        Stop::failure(format!("{what} for {source} refused with {status}: {}", detail.escape_debug()))
    }
}

/// `name` as one segment of a path.
fn path_segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

fn print(out: &mut impl Write, mut event: Map<String, Value>, output: Output) -> io::Result<()> {
    event.remove("token");
    match output {
        Output::Json => writeln!(out, "{}", harmless_json(&Value::Object(event).to_string())),
        Output::Text => {
            let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
            let encoded = event.get("body_base64").and_then(Value::as_str);
            let (bytes, body) = match encoded {
                Some(encoded) => (STANDARD.decode(encoded).map_or(0, |bytes| bytes.len()), encoded),
                None => (text("body").len(), text("body")),
            };
            let form = if encoded.is_some() { " in base64" } else { "" };
            let attempt = match event.get("attempt").and_then(Value::as_u64) {
                Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
                _ => String::new(),
            };
            let head = format!("{} {} ({bytes} bytes{form}{attempt})", text("message_id"), text("type"));
            writeln!(out, "{}\n{}", harmless(&head, false), harmless(body, true))
        }
    }
}

/// Whether a terminal would obey it, or show what follows otherwise than it is.
fn is_obeyed(c: char) -> bool {
    c.is_control() || DIRECTION.iter().any(|range| range.contains(&c))
}

/// The same JSON: what a terminal would obey can only stand in its strings, where it is escaped.
pub(super) fn harmless_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` without what a terminal would obey; line breaks and tabs stay where it is a `body`.
pub(super) fn harmless(text: &str, body: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let kept = body && matches!(c, '\n' | '\t');
        if !kept && is_obeyed(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(event: Value, output: Output) -> String {
        let Value::Object(event) = event else { panic!("no event") };
        let mut out = Vec::new();
        print(&mut out, event, output).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_shows_a_line_and_the_body() {
        let event = json!({"token": "1-a", "attempt": 1, "message_id": "ab", "type": "push", "body": "{\n\t\"a\":1}"});
        assert_eq!(printed(event, Output::Text), "ab push (9 bytes)\n{\n\t\"a\":1}\n");
        let event =
            json!({"token": "1-a", "attempt": 2, "message_id": "ab", "type": "push", "body_base64": "/wA="});
        assert_eq!(printed(event, Output::Text), "ab push (2 bytes in base64, attempt 2)\n/wA=\n");
    }

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        let nasty = "\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}\u{7f}";
        let event = json!({"message_id": "ab", "type": format!("x\n{nasty}"), "body": nasty});
        let shown = printed(event, Output::Text);
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{shown:?}");
        assert_eq!(shown.lines().count(), 2, "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J\\u{9b}31m\\u{d}"));
    }

    #[test]
    fn json_is_the_event_without_its_token() {
        let event = json!({"token": "1-a", "message_id": "ab", "body": "\u{1b}\u{9b}\u{202e}\u{7f}é\n\"", "headers": {"n": 1}});
        let shown = printed(event, Output::Json);
        assert_eq!(shown.lines().count(), 1);
        let back: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            back,
            json!({"message_id": "ab", "body": "\u{1b}\u{9b}\u{202e}\u{7f}é\n\"", "headers": {"n": 1}})
        );
        assert!(!shown.trim_end().contains(is_obeyed), "{shown:?}");
    }

    #[test]
    fn a_source_is_one_segment() {
        assert_eq!(path_segment("a/../b c"), "a%2F..%2Fb%20c");
    }
}
