//! An event as the inbox hands it to a worker, read from the answer's JSON.

use serde_json::Value;

use crate::senders::base64_decoded;

/// An event as a worker gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Handed {
    pub token: String,
    pub attempt: u64,
    pub message_id: String,
    pub routing_key: String,
    pub body: Vec<u8>,
    /// `hookgate-…` and `http-…` headers.
    pub headers: Value,
    /// All of the worker's JSON.
    pub json: Value,
}

impl Handed {
    /// One of a claim's `events`.
    pub fn of(json: Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let body = match json["body"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => base64_decoded(json["body_base64"].as_str().unwrap()),
        };
        Self {
            token: text("token"),
            attempt: json["attempt"].as_u64().unwrap(),
            message_id: text("message_id"),
            routing_key: text("routing_key"),
            body,
            headers: json["headers"].clone(),
            json,
        }
    }

    /// A header as text; numbers and flags as JSON writes them, absent ones empty.
    pub fn header(&self, name: &str) -> String {
        match &self.headers[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Whether the event says that a worker may have seen it.
    pub fn possible_duplicate(&self) -> bool {
        self.headers["hookgate-possible-duplicate"] == true
    }
}
