//! Spans by OpenTelemetry's SDK. Names of attributes are those of its semantic conventions (HTTP, and messaging, of which
//! RabbitMQ's are still in development); ours begin with `hookgate.`.

use std::sync::OnceLock;

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context as Above, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as Recorded};

use super::{Answered, Asked, Context, Published, Sender};

/// Statuses from which on the fault is ours.
const FAULTS: u16 = 500;
const ERROR: &str = "error.type";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// None where traces are off.
pub(super) type Span = Option<Box<Recorded>>;

/// From here on there are spans, made by this tracer; a second call changes nothing.
pub fn install(tracer: SdkTracer) {
    if TRACER.set(tracer).is_err() {
        tracing::debug!("traces were started before");
    }
}

pub(super) fn is_on() -> bool {
    TRACER.get().is_some()
}

pub(super) fn request(asked: Asked<'_>) -> Span {
    let tracer = TRACER.get()?;
    let mut attributes = vec![
        KeyValue::new("http.request.method", asked.method.to_owned()),
        KeyValue::new("http.route", asked.route.to_owned()),
        KeyValue::new("hookgate.source", asked.source.to_owned()),
    ];
    attributes.extend(asked.client.map(|client| KeyValue::new("client.address", client.to_string())));
    let name = format!("{} {}", asked.method, asked.route);
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let (parent, builder) = match asked.context.map(remote) {
        Some(context) if asked.sender == Sender::Parent => (Some(context), builder),
        Some(context) => (None, builder.with_links(vec![Link::with_context(context)])),
        None => (None, builder),
    };
    Some(begun(tracer, builder, parent))
}

pub(super) fn publish(published: Published<'_>) -> Span {
    let tracer = TRACER.get()?;
    let attributes = vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", published.exchange.to_owned()),
        KeyValue::new("messaging.rabbitmq.destination.routing_key", published.routing_key.to_owned()),
        KeyValue::new("messaging.message.id", hex::encode(published.message)),
        KeyValue::new("messaging.message.body.size", i64::try_from(published.bytes).unwrap_or(i64::MAX)),
    ];
    let name = format!("publish {}", published.exchange);
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Producer).with_attributes(attributes);
    Some(begun(tracer, builder, published.parent.map(remote)))
}

pub(super) fn context(span: &Span) -> Option<Context> {
    let context = span.as_ref()?.span_context();
    Some(Context {
        trace: u128::from_be_bytes(context.trace_id().to_bytes()),
        span: u64::from_be_bytes(context.span_id().to_bytes()),
        sampled: context.is_sampled(),
    })
}

pub(super) fn answered(span: Span, answered: Answered<'_>) {
    let Some(mut span) = span.filter(|span| span.is_recording()) else { return };
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(answered.status)));
    span.set_attribute(KeyValue::new("hookgate.outcome", answered.outcome));
    if let Some(message) = answered.message {
        span.set_attribute(KeyValue::new("hookgate.message_id", hex::encode(message)));
    }
    if answered.status >= FAULTS {
        failed(&mut span, answered.outcome);
    }
    span.end();
}

pub(super) fn published(span: Span, error: Option<&'static str>) {
    let Some(mut span) = span else { return };
    if let Some(error) = error {
        failed(&mut span, error);
    }
    span.end();
}

/// A span without a parent begins a trace, whatever is current in this thread.
fn begun(tracer: &SdkTracer, builder: SpanBuilder, parent: Option<SpanContext>) -> Box<Recorded> {
    let above = parent.map_or_else(Above::new, |parent| Above::new().with_remote_span_context(parent));
    Box::new(tracer.build_with_context(builder, &above))
}

fn failed(span: &mut Recorded, error: &'static str) {
    span.set_attribute(KeyValue::new(ERROR, error));
    span.set_status(Status::error(error));
}

fn remote(context: Context) -> SpanContext {
    let (trace, span) = (context.trace.to_be_bytes(), context.span.to_be_bytes());
    let flags = TraceFlags::default().with_sampled(context.sampled);
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, true, TraceState::NONE)
}
