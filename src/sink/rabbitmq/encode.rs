//! Turns a [`Message`] into AMQP properties. Pure; copies text, never the body.

use std::borrow::Cow;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::sink::{HeaderValue, Message};

/// AMQP's word for «write it to disk».
const PERSISTENT: u8 = 2;

/// Properties and headers of a message; the headers are moved out of it.
pub(super) fn properties(message: &mut Message) -> BasicProperties {
    let seconds = u64::try_from(message.timestamp().seconds()).unwrap_or(0);
    let mut properties = BasicProperties::default()
        .with_message_id(short(message.id().to_string()))
        .with_app_id("hookgate".into())
        .with_timestamp(seconds)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers(message.take_headers()));
    if !message.event_type().is_empty() {
        properties = properties.with_type(short(message.event_type()));
    }
    if !message.content_type().is_empty() {
        properties = properties.with_content_type(short(message.content_type()));
    }
    properties
}

/// A short string of text that [`Message`] has cut already; empty where it did not.
pub(super) fn short(text: impl Into<String>) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

fn headers(entries: Vec<(Cow<'static, str>, HeaderValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        let value = match value {
            HeaderValue::Text(text) => AMQPValue::LongString(text.into()),
            HeaderValue::Number(number) => AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX)),
            HeaderValue::Flag(flag) => AMQPValue::Boolean(flag),
        };
        table.insert(short(name), value);
    }
    table
}
