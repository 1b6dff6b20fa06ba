//! One dead letter: what is known of it, and the properties with which it is published again.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::sink::rabbitmq::consumer::number;

/// A letter that was offered so often is published anew. Below the delivery limits that people set by policies, too.
pub(super) const RENEWED_AT: u64 = 5;

/// How often a quorum queue has offered it: the first until RabbitMQ 4.2, both since.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];
/// More queues that a publisher names beside the routing key: they had their copy, and would get another.
const COPIES: [&str; 2] = ["CC", "BCC"];
/// What the broker writes down of deaths.
const DEATHS: [&str; 3] = ["x-death", "x-first-death-", "x-last-death-"];
const POSSIBLE_DUPLICATE: &str = "hookgate-possible-duplicate";

/// A dead letter, its body aside. What a message does not say, such as somebody else's, is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The `message_id`.
    pub id: Option<String>,
    /// The source whose event it is.
    pub source: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The queue in which it died last.
    pub queue: Option<String>,
    /// Why it died there: `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: Option<String>,
    /// When it first died there for that reason; to the second.
    pub died_at: Option<Timestamp>,
    /// How often it died, anywhere.
    pub times: u64,
    /// Length of the body.
    pub bytes: u64,
    /// The event's number in the journal.
    pub sequence: Option<u64>,
}

impl Letter {
    /// What a message says, found in the queue `dead`: deaths in that one tell nothing of where it comes from.
    pub(super) fn of(delivery: &Delivery, dead: &str) -> Self {
        let properties = &delivery.properties;
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none);
        let text = |name: &str| headers.inner().get(name).and_then(words);
        let sequence = headers.inner().get("hookgate-sequence").and_then(number);
        let mut letter = Self {
            id: properties.message_id().as_ref().map(ToString::to_string).filter(|id| !id.is_empty()),
            source: text("hookgate-source"),
            event_type: text("hookgate-event-type").or(properties.kind().as_ref().map(ToString::to_string)),
            bytes: delivery.data.len() as u64,
            sequence,
            ..Self::default()
        };
        let deaths = match headers.inner().get("x-death") {
            Some(AMQPValue::FieldArray(deaths)) => deaths.as_slice(),
            _ => &[],
        };
        let mut deaths = deaths.iter().filter_map(death).filter(|death| death.queue != dead).peekable();
        if let Some(last) = deaths.peek() {
            letter.queue = Some(last.queue.clone());
            letter.reason.clone_from(&last.reason);
            letter.died_at = last.at;
            letter.times = deaths.map(|death| death.count).fold(0, u64::saturating_add);
        } else if let Some(queue) = text("x-first-death-queue").filter(|queue| queue != dead) {
            letter.queue = Some(queue);
            letter.reason = text("x-first-death-reason");
            letter.times = 1;
        }
        letter
    }

    /// As data; what is not known is null.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "source": self.source,
            "type": self.event_type,
            "queue": self.queue,
            "reason": self.reason,
            "died_at": self.died_at.map(|at| at.to_string()),
            "times": self.times,
            "bytes": self.bytes,
            "sequence": self.sequence,
        })
    }
}

/// One entry of `x-death`; the newest stands first.
struct Death {
    queue: String,
    reason: Option<String>,
    at: Option<Timestamp>,
    count: u64,
}

fn death(value: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldTable(table) = value else { return None };
    let at = match table.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok().map(Timestamp::from_seconds),
        _ => None,
    };
    Some(Death {
        queue: table.inner().get("queue").and_then(words).filter(|queue| !queue.is_empty())?,
        reason: table.inner().get("reason").and_then(words),
        at,
        count: table.inner().get("count").and_then(number).unwrap_or(1),
    })
}

fn words(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// How often the queue has offered it before.
pub(super) fn offered(properties: &BasicProperties) -> u64 {
    let Some(headers) = properties.headers() else { return 0 };
    let counts = COUNTS.iter().filter_map(|name| headers.inner().get(*name).and_then(number));
    counts.max().unwrap_or(0)
}

/// As the same letter has them at the end of its queue: its deaths stay, its counts begin anew.
pub(super) fn renewed(properties: &BasicProperties) -> BasicProperties {
    let headers = headers(properties, |name| !COUNTS.contains(&name) && !COPIES.contains(&name));
    carried(properties, headers)
}

/// As a worker gets it once more: without its deaths, and marked, for one has seen it.
pub(super) fn requeued(properties: &BasicProperties) -> BasicProperties {
    let mut headers = headers(properties, |name| {
        let died = DEATHS.iter().any(|start| name.starts_with(start));
        !died && !COUNTS.contains(&name) && !COPIES.contains(&name)
    });
    headers.insert(POSSIBLE_DUPLICATE.into(), AMQPValue::Boolean(true));
    carried(properties, headers)
}

fn headers(properties: &BasicProperties, stays: impl Fn(&str) -> bool) -> FieldTable {
    let mut kept = FieldTable::default();
    for (name, value) in properties.headers().iter().flatten() {
        if stays(name.as_str()) {
            kept.insert(name.clone(), value.clone());
        }
    }
    kept
}

/// Sets a property.
type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// All properties but one: the broker refuses a `user_id` that is not the publisher's, which is us.
fn carried(properties: &BasicProperties, headers: FieldTable) -> BasicProperties {
    let mut carried = BasicProperties::default().with_headers(headers);
    let short: [(&Option<ShortString>, With); 9] = [
        (properties.content_type(), BasicProperties::with_content_type),
        (properties.content_encoding(), BasicProperties::with_content_encoding),
        (properties.correlation_id(), BasicProperties::with_correlation_id),
        (properties.reply_to(), BasicProperties::with_reply_to),
        (properties.expiration(), BasicProperties::with_expiration),
        (properties.message_id(), BasicProperties::with_message_id),
        (properties.kind(), BasicProperties::with_type),
        (properties.app_id(), BasicProperties::with_app_id),
        (properties.cluster_id(), BasicProperties::with_cluster_id),
    ];
    for (value, with) in short {
        if let Some(value) = value {
            carried = with(carried, value.clone());
        }
    }
    if let Some(mode) = properties.delivery_mode() {
        carried = carried.with_delivery_mode(*mode);
    }
    if let Some(priority) = properties.priority() {
        carried = carried.with_priority(*priority);
    }
    if let Some(at) = properties.timestamp() {
        carried = carried.with_timestamp(*at);
    }
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(value.into())
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn died(queue: &str, reason: &str, seconds: u64) -> AMQPValue {
        AMQPValue::FieldTable(table(&[
            ("queue", text(queue)),
            ("reason", text(reason)),
            ("time", AMQPValue::Timestamp(seconds)),
            ("count", AMQPValue::LongLongInt(2)),
        ]))
    }

    fn letter(headers: &[(&str, AMQPValue)]) -> Letter {
        let mut delivery = Delivery::mock(1, "".into(), "shop.paid".into(), false, b"body".to_vec());
        delivery.properties =
            BasicProperties::default().with_message_id("ab12".into()).with_headers(table(headers));
        Letter::of(&delivery, "webhooks.dead")
    }

    #[test]
    fn tells_the_last_death_outside_its_own_queue() {
        let deaths = [
            died("webhooks.dead", "expired", 9),
            died("webhooks.shop", "rejected", 1_800_000_000),
            died("other", "maxlen", 5),
        ];
        let found = letter(&[
            ("x-death", AMQPValue::FieldArray(deaths.to_vec().into())),
            ("x-first-death-queue", text("other")),
            ("hookgate-source", text("shop")),
            ("hookgate-sequence", AMQPValue::LongLongInt(7)),
        ]);
        let expected = json!({
            "id": "ab12", "source": "shop", "type": null, "queue": "webhooks.shop", "reason": "rejected",
            "died_at": "2027-01-15T08:00:00.000Z", "times": 4, "bytes": 4, "sequence": 7,
        });
        assert_eq!(found.to_json(), expected);
    }

    #[test]
    fn tells_what_is_known_of_somebody_elses() {
        let known = |found: Letter| (found.queue, found.reason, found.times);
        let first = [("x-first-death-queue", text("a")), ("x-first-death-reason", text("expired"))];
        assert_eq!(known(letter(&first)), (Some("a".to_owned()), Some("expired".to_owned()), 1));
        for nothing in [
            vec![],
            vec![("x-first-death-queue", text("webhooks.dead"))],
            vec![("x-death", text("?"))],
            vec![("x-death", AMQPValue::FieldArray(vec![text("?"), died("", "rejected", 1)].into()))],
        ] {
            assert_eq!(known(letter(&nothing)), (None, None, 0), "{nothing:?}");
        }
    }

    #[test]
    fn a_worker_gets_it_as_it_was_but_for_its_deaths_and_with_a_mark() {
        let before = [
            ("hookgate-source", text("shop")),
            ("x-death", AMQPValue::FieldArray(vec![died("a", "rejected", 1)].into())),
            ("x-first-death-queue", text("a")),
            ("x-last-death-reason", text("rejected")),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("x-acquired-count", AMQPValue::LongLongInt(21)),
            ("x-own", text("kept")),
            ("CC", AMQPValue::FieldArray(vec![text("elsewhere")].into())),
        ];
        let properties = BasicProperties::default()
            .with_message_id("ab12".into())
            .with_type("paid".into())
            .with_app_id("hookgate".into())
            .with_content_type("a/b".into())
            .with_timestamp(5)
            .with_delivery_mode(2)
            .with_priority(1);
        let found = properties.clone().with_user_id("stranger".into()).with_headers(table(&before));
        assert_eq!(offered(&found), 21);
        let expected = [
            ("hookgate-possible-duplicate", AMQPValue::Boolean(true)),
            ("hookgate-source", text("shop")),
            ("x-own", text("kept")),
        ];
        assert_eq!(requeued(&found), properties.clone().with_headers(table(&expected)));
        let [source, death, first, last, .., own, _] = before;
        assert_eq!(renewed(&found), properties.with_headers(table(&[source, death, first, last, own])));
        assert_eq!(offered(&renewed(&found)), 0);
    }
}
