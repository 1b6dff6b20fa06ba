//! `hookgate listen`: verified events handed on to an application under development, a line each. A copy: what workers get
//! stays as it is, and what the application refuses is not sent again.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::caller::{Caller, CallerArgs};
use super::follow::Follow;
use super::http::{Client, Reply, Url};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;

/// Headers of ours, and where their values stand in an event; those of a message (README) have the same names.
const HEADERS: [(&str, &str); 8] = [
    ("hookgate-message-id", "message_id"),
    ("hookgate-source", "source"),
    ("hookgate-provider", "provider"),
    ("hookgate-event-id", "event_id"),
    ("hookgate-event-type", "type"),
    ("hookgate-received-at", "received_at"),
    ("hookgate-sequence", "sequence"),
    ("content-type", "content_type"),
];

/// Headers of the sender's that are ours, or belong to the connection that they came by.
const NOT_HANDED_ON: [&str; 5] =
    ["content-type", "content-length", "transfer-encoding", "connection", "host"];

/// What is handed on, and where.
#[derive(Debug, Args)]
#[command(after_help = "\
Each event is posted with its exact body, its content-type, those headers of its sender that the provider file keeps (its \
signature, mostly), and hookgate-message-id, -source, -provider, -event-id, -event-type, -received-at and -sequence. \
It goes on until it is ended, also while the gateway or the application restarts.

Examples:
  hookgate listen stripe --forward-to http://127.0.0.1:3000/webhooks
  hookgate listen github --type push --since 1h --forward-to http://127.0.0.1:3000/hooks --output json

Exit codes: 0 after --limit events; 69 no gateway was there to begin with.")]
pub(super) struct ListenArgs {
    /// The source
    source: String,
    /// Where events are posted to
    #[arg(long, value_name = "URL")]
    forward_to: String,
    /// Of this event type only
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Begin with what was received at this time or later, such as 2026-11-21T07:00:00Z, or 2h for two hours ago [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Listens; the exit code comes back.
pub(super) fn run(args: ListenArgs, output: Output) -> anyhow::Result<u8> {
    Ok(listen(args, output).unwrap_or_else(Stop::tell))
}

fn listen(args: ListenArgs, output: Output) -> Result<u8, Stop> {
    let url = Url::parse(&args.forward_to).map_err(Stop::usage)?;
    let caller = Caller::new(args.caller)?;
    caller.tell_of_no_source(Some(&args.source));
    let wanted = [("source", Some(args.source)), ("type", args.event_type), ("since", args.since)];
    let fields = wanted.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let (application, mut out) = (Client::new(), io::stdout().lock());
    Follow::new(fields, None, args.limit).run(&caller, &mut |event| {
        let path = format!("/v1/events/{}", event["sequence"]);
        let whole = caller.get(&path).and_then(|whole| Ok((whole, caller.bytes(&format!("{path}/body"))?)));
        let (whole, body) = match whole {
            Ok(whole) => whole,
            Err(stop) if stop.code == exit::UNAVAILABLE => return Err(stop),
            Err(stop) => {
                eprintln!("hookgate: event {} was not handed on: {}", event["sequence"], stop.why);
                return Ok(());
            }
        };
        let answer = application.forward(&url, headers(&whole), &body);
        told(&mut out, event, answer.map_err(|error| error.to_string()), output).map_err(Stop::unprinted)
    })?;
    Ok(exit::OK)
}

/// The headers of an event, those of its sender after ours.
fn headers(event: &Value) -> impl Iterator<Item = (&str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let own = HEADERS.into_iter().map(move |(name, field)| (name, text(&event[field])));
    let own = own.filter(|(_, value)| !value.is_empty());
    let kept = event["headers"].as_array().into_iter().flatten();
    let kept = kept.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?.to_owned())));
    own.chain(kept.filter(|(name, _)| !NOT_HANDED_ON.contains(name)))
}

/// Tells what the application answered.
fn told(out: &mut impl Write, event: &Value, answer: Result<Reply, String>, form: Output) -> io::Result<()> {
    if form == Output::Json {
        let mut line =
            json!({ "sequence": event["sequence"], "type": event["type"], "event_id": event["event_id"] });
        match answer {
            Ok(reply) => {
                line["status"] = reply.status.into();
                line["milliseconds"] = (reply.took.as_secs_f64() * 1000.0).into();
            }
            Err(error) => line["error"] = error.into(),
        }
        return output::json(out, &line);
    }
    let text = |key: &str| match event[key].as_str() {
        Some("") | None => "-".to_owned(),
        Some(text) => output::line(text),
    };
    let answer = match answer {
        Ok(reply) => format!("{} in {} ms", reply.status, reply.millis()),
        Err(error) => output::line(&error),
    };
    writeln!(out, "{}  {}  {}  -> {answer}", text("received_at"), text("type"), text("event_id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_application_gets_what_a_worker_gets() {
        let event = json!({"message_id": "ab", "source": "shop", "sequence": 7, "event_id": "", "content_type": "application/json",
            "type": "a", "headers": [["user-agent", "Stripe/1.0"], ["host", "hooks.example.com"], ["x-b", "c"]]});
        let found: Vec<String> = headers(&event).map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            found,
            [
                "hookgate-message-id: ab",
                "hookgate-source: shop",
                "hookgate-event-type: a",
                "hookgate-sequence: 7",
                "content-type: application/json",
                "user-agent: Stripe/1.0",
                "x-b: c"
            ]
        );
    }

    #[test]
    fn a_line_tells_the_answer_and_nothing_for_a_terminal_to_obey() {
        let event = json!({"sequence": 7, "received_at": "2026-11-21T07:00:00.000Z", "type": "a\u{1b}[2J", "event_id": ""});
        let line = |answer, form| {
            let mut out = Vec::new();
            told(&mut out, &event, answer, form).unwrap();
            String::from_utf8(out).unwrap()
        };
        let reply = || Ok(Reply { status: 204, body: Vec::new(), took: Duration::from_micros(1500) });
        assert_eq!(
            line(reply(), Output::Text),
            "2026-11-21T07:00:00.000Z  a\\u{1b}[2J  -  -> 204 in 1.5 ms\n"
        );
        let json: Value = serde_json::from_str(&line(reply(), Output::Json)).unwrap();
        assert_eq!((json["status"].as_u64(), json["milliseconds"].as_f64()), (Some(204), Some(1.5)));
        let json: Value = serde_json::from_str(&line(Err("gone".to_owned()), Output::Json)).unwrap();
        assert_eq!((json["status"].as_u64(), json["error"].as_str()), (None, Some("gone")));
    }
}
