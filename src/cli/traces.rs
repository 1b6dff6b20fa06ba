//! Where traces go: by OTLP over HTTP to the collector that OpenTelemetry's own variables name.
//!
//! The SDK keeps at most 2,048 spans that wait (`OTEL_BSP_MAX_QUEUE_SIZE`), leaves out what comes beyond them, and sends them
//! in a thread of its own: no delivery waits for a collector.

use crate::config::Telemetry;

#[cfg(feature = "otlp")]
pub(super) use by_otlp::Traces;

/// A build without them; the configuration has been refused where it wants them.
#[cfg(not(feature = "otlp"))]
pub(super) struct Traces;

#[cfg(not(feature = "otlp"))]
impl Traces {
    /// Starts nothing.
    pub(super) fn start(_: &Telemetry) -> Result<Self, std::convert::Infallible> {
        Ok(Self)
    }

    /// Ends nothing.
    pub(super) fn end(self) {}
}

#[cfg(feature = "otlp")]
mod by_otlp {
    use std::future::Future;
    use std::pin::Pin;
    use std::time::Duration;

    use opentelemetry::KeyValue;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
    use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use ureq::Agent;

    use super::Telemetry;
    use crate::telemetry::trace;
    use crate::verify::operators_tls;

    /// How long spans that wait at the end may take to leave.
    const LEFT_TO_SPANS: Duration = Duration::from_secs(2);
    /// Longest time for one call of a collector.
    const CALL: Duration = Duration::from_secs(10);
    /// A collector answers with next to nothing.
    const ANSWER_BYTES_MAX: u64 = 64 << 10;
    const NAME: &str = env!("CARGO_PKG_NAME");
    const SERVICE: &str = "service.name";
    /// What the SDK calls a service whose name no variable tells.
    const UNNAMED: &str = "unknown_service";

    /// What makes spans and sends them; none where they are off.
    pub(in crate::cli) struct Traces(Option<SdkTracerProvider>);

    impl Traces {
        /// Starts them, where they are wanted.
        ///
        /// # Errors
        /// A variable that cannot be read.
        pub(in crate::cli) fn start(wanted: &Telemetry) -> Result<Self, ExporterBuildError> {
            if !wanted.otlp {
                return Ok(Self(None));
            }
            let exporter = SpanExporter::builder().with_http().with_http_client(Client::new()).build()?;
            let provider =
                SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
            trace::install(provider.tracer(NAME));
            Ok(Self(Some(provider)))
        }

        /// Sends what still waits, for a moment.
        pub(in crate::cli) fn end(self) {
            let ended = self.0.map_or(Ok(()), |provider| provider.shutdown_with_timeout(LEFT_TO_SPANS));
            if let Err(error) = ended {
                tracing::warn!(%error, "spans were left behind: their collector did not take them");
            }
        }
    }

    /// Who we are, as far as `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do not say.
    fn resource() -> Resource {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let found = Resource::builder().with_attribute(version.clone()).build();
        let named = found.get(&SERVICE.into()).is_some_and(|name| !name.as_str().starts_with(UNNAMED));
        if named {
            return found;
        }
        Resource::builder().with_attribute(version).with_service_name(NAME).build()
    }

    /// Calls collectors; used in the SDK's own thread alone, which may wait.
    #[derive(Debug)]
    struct Client(Agent);

    impl Client {
        fn new() -> Self {
            let config = Agent::config_builder()
                .timeout_global(Some(CALL))
                .max_redirects(0)
                .proxy(None)
                .http_status_as_error(false)
                .tls_config(operators_tls(false));
            Self(config.build().new_agent())
        }

        fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let answer = self.0.run(request.map(|body| body.to_vec()))?;
            let (head, mut body) = answer.into_parts();
            let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
            Ok(Response::from_parts(head, body.into()))
        }
    }

    type Called<'c> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'c>>;

    impl HttpClient for Client {
        fn send_bytes<'c, 'f>(&'c self, request: Request<Bytes>) -> Called<'f>
        where
            'c: 'f,
            Self: 'f,
        {
            Box::pin(async move { self.call(request) })
        }
    }
}
