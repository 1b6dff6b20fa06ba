//! Delivery: one HTTP request of a provider as it arrived. Untrusted, exact bytes, nothing interpreted.

use std::ops::Range;

use bytes::Bytes;

use crate::clock::Timestamp;

/// One HTTP request, complete: nothing is added to it, left out of it or decoded.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Request method, as sent.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// All headers.
    pub headers: Headers,
    /// The body's bytes, as sent.
    pub body: Bytes,
    /// When the last byte had been read.
    pub received_at: Timestamp,
}

impl Delivery {
    /// The query part of the target without its question mark; empty where there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The path part of the target.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }
}

/// Header lines in order of arrival, repeats kept, names in lower case. All text lies in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    text: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    name: Range<usize>,
    value: Range<usize>,
}

impl Headers {
    /// Room for `lines` headers of ordinary length.
    pub fn with_capacity(lines: usize) -> Self {
        Self { text: Vec::with_capacity(lines * 48), lines: Vec::with_capacity(lines) }
    }

    /// Adds a line; the name is kept in lower case.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len();
        self.text.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        let middle = self.text.len();
        self.text.extend_from_slice(value);
        self.lines.push(Line { name: start..middle, value: middle..self.text.len() });
    }

    /// Values of the header `name` (given in lower case), in order of arrival.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(line, _)| *line == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of the header `name` (given in lower case).
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every line, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (&self.text[line.name.clone()], &self.text[line.value.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_repeats_and_ignore_case() {
        let mut headers = Headers::default();
        headers.push("X-One", b"1");
        headers.push("x-two", b"2");
        headers.push("X-ONE", b"3");
        assert_eq!(headers.all("x-one").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(headers.first("x-two"), Some(&b"2"[..]));
        assert_eq!(headers.first("x-three"), None);
    }
}
