//! Traces: what a real gateway sends to a collector of OTLP, and what of a trace workers are handed.

use crate::gateway::{Client, Gateway, stripe, stripe_event};
use crate::load::{drained, until_drained, with_rabbitmq};
use crate::services::RabbitMq;

const SENDERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACEPARENT: &str = "traceparent";

fn deliver(gateway: &Gateway, id: &str, traceparent: Option<&str>) {
    let mut signed = stripe("shop", &stripe_event(id));
    if let Some(traceparent) = traceparent {
        signed = signed.and(TRACEPARENT, traceparent);
    }
    assert_eq!(Client::new(gateway.ingress()).deliver(&signed).status, 200);
}

#[test]
fn without_spans_of_ours_workers_go_on_from_the_senders_and_never_from_nonsense() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "").start();
    deliver(&gateway, "evt_named", Some(SENDERS));
    deliver(&gateway, "evt_nonsense", Some("00-0-0-01"));
    deliver(&gateway, "evt_none", None);
    let twice =
        stripe("shop", &stripe_event("evt_twice")).and(TRACEPARENT, SENDERS).and(TRACEPARENT, SENDERS);
    assert_eq!(Client::new(gateway.ingress()).deliver(&twice).status, 200);
    until_drained(&gateway);
    let found: Vec<_> = drained(broker, &vhost, "shop")
        .iter()
        .map(|message| {
            (message.headers["hookgate-event-id"].clone(), message.headers.get(TRACEPARENT).cloned())
        })
        .collect();
    let expected =
        [("evt_named", Some(SENDERS)), ("evt_nonsense", None), ("evt_none", None), ("evt_twice", None)];
    let expected = expected.map(|(id, trace)| (id.to_owned(), trace.map(str::to_owned)));
    assert_eq!(found, expected);
}

#[cfg(feature = "otlp")]
mod spans {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    use prost::Message;

    use super::*;
    use crate::gateway::{Setup, until};
    use crate::services::free_port;

    const SOON: Duration = Duration::from_secs(10);

    /// A collector of OTLP over HTTP.
    struct Collector {
        address: SocketAddr,
        spans: Arc<Mutex<Vec<Span>>>,
        services: Arc<Mutex<Vec<String>>>,
    }

    impl Collector {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let collector = Self {
                address: listener.local_addr().unwrap(),
                spans: Arc::default(),
                services: Arc::default(),
            };
            let (spans, services) = (Arc::clone(&collector.spans), Arc::clone(&collector.services));
            // Ends with the test's process, as its listener does.
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (spans, services) = (Arc::clone(&spans), Arc::clone(&services));
                    thread::spawn(move || serve(stream.unwrap(), &spans, &services));
                }
            });
            collector
        }

        fn url(&self) -> String {
            format!("http://{}", self.address)
        }

        fn spans(&self) -> Vec<Span> {
            self.spans.lock().unwrap().clone()
        }

        /// The only span of that kind, once it is there, that `is` the one.
        fn span(&self, kind: SpanKind, is: impl Fn(&Span) -> bool) -> Span {
            let found =
                || self.spans().into_iter().filter(|span| span.kind == kind as i32 && is(span)).collect();
            let mut those: Vec<Span> = Vec::new();
            until("the span is there", SOON, || {
                those = found();
                !those.is_empty()
            });
            assert_eq!(those.len(), 1, "{those:?}");
            those.remove(0)
        }
    }

    fn serve(mut stream: TcpStream, spans: &Mutex<Vec<Span>>, services: &Mutex<Vec<String>>) {
        let mut bytes = Vec::new();
        let mut piece = [0; 8192];
        loop {
            let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let whole = head.and_then(|head| {
                let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
                assert!(text.starts_with("post /v1/traces http/1.1"), "{text}");
                assert!(text.contains("content-type: application/x-protobuf"), "{text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                Some(head + 4..head + 4 + length.parse::<usize>().unwrap())
                    .filter(|body| bytes.len() >= body.end)
            });
            if let Some(body) = whole {
                let request = ExportTraceServiceRequest::decode(&bytes[body.clone()]).unwrap();
                for resource in request.resource_spans {
                    let attributes = resource.resource.unwrap().attributes;
                    services.lock().unwrap().push(text(&attributes, "service.name"));
                    spans
                        .lock()
                        .unwrap()
                        .extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
                bytes.drain(..body.end);
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                continue;
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
        }
    }

    fn text(attributes: &[KeyValue], key: &str) -> String {
        let value =
            attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
        match value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn is(key: &'static str, value: &str) -> impl Fn(&Span) -> bool {
        move |span| text(&span.attributes, key) == value
    }

    /// The context that a span's children have.
    fn context(span: &Span) -> String {
        format!("00-{}-{}-01", hex::encode(&span.trace_id), hex::encode(&span.span_id))
    }

    fn traced(setup: Setup, collector: &str) -> Setup {
        setup
            .set("telemetry", "otlp = true")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    #[test]
    fn a_delivery_is_a_span_its_publish_another_and_workers_go_on_from_there() {
        let (broker, collector) = (RabbitMq::shared(), Collector::start());
        let vhost = broker.vhost();
        let gateway = traced(with_rabbitmq(&broker.url(&vhost)), &collector.url())
            .source("shop", "stripe", "")
            .source("own", "stripe", "traceparent = \"parent\"")
            .start();
        deliver(&gateway, "evt_1", Some(SENDERS));
        deliver(&gateway, "evt_1", None);
        let forged = stripe("shop", &stripe_event("evt_2")).with("stripe-signature", "t=1,v1=00");
        assert_eq!(Client::new(gateway.ingress()).deliver(&forged).status, 401);
        let own = stripe("own", &stripe_event("evt_3")).and(TRACEPARENT, SENDERS);
        assert_eq!(Client::new(gateway.ingress()).deliver(&own).status, 200);
        until_drained(&gateway);

        let accepted = collector.span(SpanKind::Server, |span| {
            is("hookgate.outcome", "new")(span) && is("hookgate.source", "shop")(span)
        });
        assert_eq!(accepted.name, "POST /in/shop");
        assert!(accepted.parent_span_id.is_empty(), "ours begins a trace");
        assert_eq!(hex::encode(&accepted.links[0].trace_id), SENDERS[3..35], "and names the sender's");
        assert_ne!(hex::encode(&accepted.trace_id), SENDERS[3..35]);
        assert!(accepted.start_time_unix_nano < accepted.end_time_unix_nano);
        for (key, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/in/shop"),
            ("http.response.status_code", "200"),
            ("client.address", "127.0.0.1"),
        ] {
            assert_eq!(text(&accepted.attributes, key), value, "{key}");
        }

        let messages = drained(broker, &vhost, "shop");
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        let id = text(&accepted.attributes, "hookgate.message_id");
        assert_eq!(id, message.message_id);
        let published = collector.span(SpanKind::Producer, is("messaging.message.id", &id));
        assert_eq!((&published.trace_id, &published.parent_span_id), (&accepted.trace_id, &accepted.span_id));
        assert_eq!(published.name, "publish webhooks");
        let key = text(&published.attributes, "messaging.rabbitmq.destination.routing_key");
        assert_eq!(key, message.routing_key);
        assert_eq!(message.headers[TRACEPARENT], context(&published));

        collector.span(SpanKind::Server, is("hookgate.outcome", "duplicate"));
        let refused = collector.span(SpanKind::Server, is("http.response.status_code", "401"));
        assert!(
            refused.status.is_none_or(|status| status.code != StatusCode::Error as i32),
            "no fault of ours"
        );
        let child = collector.span(SpanKind::Server, is("hookgate.source", "own"));
        assert_eq!(hex::encode(&child.trace_id), SENDERS[3..35]);
        assert_eq!(hex::encode(&child.parent_span_id), SENDERS[36..52]);
        assert_eq!(collector.services.lock().unwrap()[0], "hookgate");
    }

    #[test]
    fn a_trace_outlives_the_process_that_began_it() {
        let (broker, collector) = (RabbitMq::shared(), Collector::start());
        let vhost = broker.vhost();
        let nowhere = format!("amqp://127.0.0.1:{}", free_port());
        let mut gateway =
            traced(with_rabbitmq(&nowhere), &collector.url()).source("shop", "stripe", "").start();
        deliver(&gateway, "evt_1", None);
        let accepted = collector.span(SpanKind::Server, |_| true);
        gateway.kill();
        gateway.change(|setup| setup.env("AMQP_URL", &broker.url(&vhost)));
        gateway.start();
        until_drained(&gateway);
        let published = collector.span(SpanKind::Producer, |_| true);
        assert_eq!((&published.trace_id, &published.parent_span_id), (&accepted.trace_id, &accepted.span_id));
    }

    #[test]
    fn what_no_queue_takes_is_an_error_and_what_a_stop_finds_is_sent_first() {
        let (broker, collector) = (RabbitMq::shared(), Collector::start());
        let vhost = broker.vhost();
        broker.rabbitmqctl(&["eval", &declared(&vhost)]);
        let mut gateway =
            traced(with_rabbitmq(&broker.url(&vhost)).set("sink", "declare = false"), &collector.url())
                .env("OTEL_BSP_SCHEDULE_DELAY", "60000")
                .source("shop", "stripe", "")
                .start();
        deliver(&gateway, "evt_1", None);
        until("it came back", SOON, || gateway.metric("hookgate_relay_unroutable", &[]) == 1.0);
        assert_eq!(collector.spans(), [], "the delay has not passed");
        assert_eq!(gateway.terminate().0, Some(0));
        let published = collector.span(SpanKind::Producer, |_| true);
        assert_eq!(text(&published.attributes, "error.type"), "returned");
        assert_eq!(published.status.unwrap().code, StatusCode::Error as i32);
    }

    /// An exchange without a queue.
    fn declared(vhost: &str) -> String {
        format!(
            "rabbit_exchange:declare({{resource, <<\"{vhost}\">>, exchange, <<\"webhooks\">>}}, topic, true, false, \
             false, [], <<\"guest\">>)."
        )
    }

    #[test]
    fn no_delivery_waits_for_a_collector_that_is_away_or_says_nothing() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let away = format!("http://127.0.0.1:{}", free_port());
        for collector in [away, format!("http://{}", silent.local_addr().unwrap())] {
            let mut gateway = traced(Setup::new(), &collector).source("shop", "stripe", "").start();
            // More than the SDK keeps.
            let (mut client, mut slowest) = (Client::new(gateway.ingress()), Duration::ZERO);
            for number in 0..2500 {
                let signed = stripe("shop", &stripe_event(&format!("evt_{number}")));
                let begun = Instant::now();
                assert_eq!(client.deliver(&signed).status, 200);
                slowest = slowest.max(begun.elapsed());
            }
            assert!(slowest < Duration::from_secs(2), "{slowest:?}");
            let (code, took) = gateway.terminate();
            assert_eq!(code, Some(0));
            assert!(took < Duration::from_secs(8), "{took:?}");
        }
    }

    #[test]
    fn what_the_variables_get_wrong_is_told_before_anything_is_taken() {
        let mut gateway = traced(Setup::new(), "no url").source("shop", "stripe", "").prepare();
        gateway.launch();
        assert_eq!(gateway.ended().0, Some(78));
        assert!(gateway.stderr().contains("OTEL_*"), "{}", gateway.stderr());
    }
}
