//! Traces: what becomes of a delivery, as spans for OpenTelemetry, and the context in which workers go on.
//!
//! A [`Context`] is read from and written as a W3C `traceparent` (<https://www.w3.org/TR/trace-context/>) in any build. Spans are
//! there with the feature `otlp`, once `install` was called; without it they cost nothing and a sender's context goes
//! through as it came.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

#[cfg(not(feature = "otlp"))]
#[path = "trace/none.rs"]
mod spans;
#[cfg(feature = "otlp")]
#[path = "trace/spans.rs"]
mod spans;

#[cfg(feature = "otlp")]
pub use spans::install;

/// Whether there are spans.
pub fn is_on() -> bool {
    spans::is_on()
}

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace; never zero.
    pub trace: u128,
    /// The span in it; never zero.
    pub span: u64,
    /// Whether whoever came before keeps this trace.
    pub sampled: bool,
}

/// Not a `traceparent` that anything can be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: expected 00, 32 hexadecimal digits, 16, and 2, with hyphens between")]
pub struct NoContext;

impl FromStr for Context {
    type Err = NoContext;

    /// Reads a `traceparent`. Of a version later than 00, what version 00 has of it, as the specification wants.
    fn from_str(text: &str) -> Result<Self, NoContext> {
        let mut parts = text.splitn(5, '-');
        let mut part = |digits: usize| {
            let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            parts.next().filter(|part| part.len() == digits && part.bytes().all(hexadecimal)).ok_or(NoContext)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NoContext);
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0);
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0);
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoContext)?;
        Ok(Self { trace: trace.ok_or(NoContext)?, span: span.ok_or(NoContext)?, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for Context {
    /// A `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// What a sender's own context is to a span of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// Somebody else's trace: named in ours, which begins here.
    #[default]
    Link,
    /// The trace that ours belongs to, sampled or not as the sender says.
    Parent,
}

/// A request as its span names it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The source's path, as it is configured.
    pub route: &'a str,
    /// The source.
    pub source: &'a str,
    /// Who called.
    pub client: Option<IpAddr>,
    /// The sender's context, if it gave one.
    pub context: Option<Context>,
    /// What that is to us.
    pub sender: Sender,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The status of the answer.
    pub status: u16,
    /// What the delivery turned out to be, or why it was refused, by the names that metrics have.
    pub outcome: &'static str,
    /// The workers' idempotency key, where there is an event.
    pub message: Option<&'a [u8; 32]>,
}

/// A message on its way to RabbitMQ as its span names it.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// The exchange.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// The workers' idempotency key.
    pub message: &'a [u8; 32],
    /// Bytes of the body.
    pub bytes: usize,
    /// The span that it belongs to: that of the request.
    pub parent: Option<Context>,
}

/// The span of a request at the public listener. Dropped without an answer, its sender has gone.
#[derive(Debug)]
pub struct Request {
    span: spans::Span,
    context: Option<Context>,
}

impl Request {
    /// Begins now.
    pub fn begin(asked: Asked<'_>) -> Self {
        let span = spans::request(asked);
        Self { context: spans::context(&span).or(asked.context), span }
    }

    /// What workers go on from: this span, or the sender's where there are no traces.
    pub fn context(&self) -> Option<Context> {
        self.context
    }

    /// Ends now.
    pub fn end(self, answered: Answered<'_>) {
        spans::answered(self.span, answered);
    }
}

/// The span of an attempt to publish. Dropped without an outcome, nobody waited for it any more.
#[derive(Debug, Default)]
pub struct Publish(spans::Span);

impl Publish {
    /// Begins now.
    pub fn begin(published: Published<'_>) -> Self {
        Self(spans::publish(published))
    }

    /// What the message carries; none where there are no traces.
    pub fn context(&self) -> Option<Context> {
        spans::context(&self.0)
    }

    /// Ends now, well or with an error by the name that metrics have for it.
    pub fn end(self, error: Option<&'static str>) {
        spans::published(self.0, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_and_written() {
        let read: Context = GOOD.parse().unwrap();
        assert_eq!((read.span, read.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(read.to_string(), GOOD);
        let later = GOOD.replacen("00", "cc", 1) + "-what-comes-with-it";
        assert_eq!(later.parse(), Ok(read), "of a later version, what is known");
    }

    #[test]
    fn nothing_is_read_from_anything_else() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let upper = GOOD.to_ascii_uppercase();
        let more = format!("{GOOD}-more");
        let invalid = GOOD.replacen("00", "ff", 1);
        let signed = GOOD.replacen("00-4", "00-+", 1);
        let bad =
            ["", "00", "00-1-2-3", &GOOD[..54], &zero_trace, &zero_span, &upper, &more, &invalid, &signed];
        for text in bad {
            assert_eq!(text.parse::<Context>(), Err(NoContext), "{text}");
        }
    }
}
