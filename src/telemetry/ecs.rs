//! A log line as JSON in the Elastic Common Schema (ECS 8.17, <https://www.elastic.co/docs/reference/ecs>): what has a
//! name there has that name, and everything of ours stands under `hookgate`, where it can be in nobody's way.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const VERSION: &str = "8.17.0";
const MESSAGE: &str = "message";
/// Fields of ours that the schema knows, and what it calls them.
const KNOWN: [(&str, &str); 3] =
    [("error", "error.message"), ("address", "client.ip"), ("status", "http.response.status_code")];

/// Writes lines so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ecs;

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut at = String::new();
        SystemTime.format_time(&mut Writer::new(&mut at))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        writer.write_str(&line(&at, (*metadata.level(), metadata.target()), fields.0))
    }
}

/// The schema wants time, level and message first, for people who read the line as it is.
fn line(at: &str, (level, target): (Level, &str), mut fields: Map<String, Value>) -> String {
    let (level, message) = (level.as_str().to_ascii_lowercase(), fields.remove(MESSAGE).unwrap_or_default());
    let first =
        format!("{{\"@timestamp\":{},\"log.level\":{},\"{MESSAGE}\":{message}", json!(at), json!(level));
    let mut line = Map::new();
    line.insert("ecs.version".to_owned(), VERSION.into());
    line.insert("service.name".to_owned(), env!("CARGO_PKG_NAME").into());
    line.insert("service.version".to_owned(), env!("CARGO_PKG_VERSION").into());
    line.insert("log.logger".to_owned(), target.into());
    for (ours, theirs) in KNOWN {
        line.extend(fields.remove(ours).map(|value| (theirs.to_owned(), value)));
    }
    if !fields.is_empty() {
        line.insert(env!("CARGO_PKG_NAME").to_owned(), Value::Object(fields));
    }
    // Never empty: an object less its opening brace.
    let rest = Value::Object(line).to_string();
    format!("{first},{}\n", rest.get(1..).unwrap_or("}"))
}

/// The fields of one event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, json!(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a subscriber with this format writes.
    fn written(tell: impl FnOnce()) -> Value {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt().event_format(Ecs).with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(subscriber, tell);
        let bytes = kept.0.lock().unwrap().clone();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(
            bytes.starts_with(b"{\"@timestamp\":\"2")
                && bytes.windows(30).any(|w| w.starts_with(b"Z\",\"log.level\":\""))
        );
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_the_schema_knows_has_its_name_there_and_ours_stands_under_ours() {
        let error = std::io::Error::other("no\nroom");
        let line = written(|| {
            tracing::warn!(target: "hookgate::audit", source = "shop", %error, status = 503_u16, address = "192.0.2.1",
                held = true, share = 0.5, left_out = 7_u64, found = ?"a\"b", "refused");
        });
        let mut line = line.as_object().unwrap().clone();
        let at = line.remove("@timestamp").unwrap();
        assert!(at.as_str().unwrap().ends_with('Z') && at.as_str().unwrap().len() == 27, "{at}");
        let expected = json!({
            "log.level": "warn",
            "message": "refused",
            "ecs.version": VERSION,
            "service.name": "hookgate",
            "service.version": env!("CARGO_PKG_VERSION"),
            "log.logger": "hookgate::audit",
            "error.message": "no\nroom",
            "client.ip": "192.0.2.1",
            "http.response.status_code": 503,
            "hookgate": { "source": "shop", "held": true, "share": 0.5, "left_out": 7, "found": "\"a\\\"b\"" },
        });
        assert_eq!(Value::Object(line), expected);
        let bare = written(|| tracing::info!("ready"));
        assert_eq!((&bare["message"], &bare["hookgate"]), (&json!("ready"), &Value::Null));
    }
}
