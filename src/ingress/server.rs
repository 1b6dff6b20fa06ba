//! The public listener: routing by exact path, then body, pipeline, answer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue, UPGRADE};
use actix_web::web::{Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;

use super::peer::{ProxyNotice, TrustedProxies};
use super::{body, respond};
use crate::audit::{Audit, Refusal};
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::diagnose::{Explainer, Turn};
use crate::failpoint::{self, Point};
use crate::metrics::{Ending, Request, SourceMetrics};
use crate::pipeline::{Answer, Pipeline};
use crate::reject::{Refused, Reject};
use crate::source::Source;
use crate::tasks;

/// Seconds that open requests get to finish at a stop.
const SHUTDOWN_SECONDS: u64 = 5;

/// Where proxies write for whom they call.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How the listener behaves.
#[derive(Clone, Debug)]
pub struct IngressSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Threads that serve requests.
    pub workers: usize,
    /// Connections that one thread serves at once; more wait to be accepted.
    pub connections_max: usize,
    /// Longest time for a request's head, once its connection is open.
    pub head_timeout: Duration,
    /// Longest time for a body.
    pub body_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: TrustedProxies,
}

/// Sources by path.
pub type Routes = HashMap<String, Arc<Source>>;

/// What every request needs.
pub struct Gate {
    /// Sources by exact path.
    pub routes: Routes,
    /// Sources whose handshakes have a path of their own, by that path.
    asked: Routes,
    /// The stages.
    pub pipeline: Pipeline,
    /// Counts of requests that belong to no source.
    pub strangers: SourceMetrics,
    /// Longest time for a body.
    pub body_timeout: Duration,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: TrustedProxies,
    /// Whether a proxy in front is trusted by nobody.
    untrusted_proxy: ProxyNotice,
    /// What writes the audit log.
    pub audit: Audit,
    /// What looks for the causes of refusals, where that is wanted.
    pub explainer: Option<Explainer>,
}

impl Gate {
    /// The gate in front of `routes`; to be called within a Tokio runtime, which outlives it.
    pub fn new(
        routes: Routes,
        pipeline: Pipeline,
        strangers: SourceMetrics,
        settings: &IngressSettings,
    ) -> Self {
        let paths = |source: &Arc<Source>| {
            let scheme = source.verifier.scheme();
            let of = |path: &str| (path.to_owned(), Arc::clone(source));
            scheme.handshakes.paths().map(of).collect::<Vec<_>>()
        };
        let asked = routes.values().flat_map(paths).collect();
        let audit = Audit::new(Arc::clone(pipeline.clock()));
        Self {
            routes,
            asked,
            pipeline,
            strangers,
            body_timeout: settings.body_timeout,
            trusted_proxies: settings.trusted_proxies.clone(),
            untrusted_proxy: ProxyNotice::default(),
            audit,
            explainer: None,
        }
    }

    /// The same, with what looks for the causes of refusals.
    pub fn explained_by(self, explainer: Option<Explainer>) -> Self {
        Self { explainer, ..self }
    }

    async fn serve(&self, request: &HttpRequest, payload: &mut Payload) -> HttpResponse {
        let clock = Arc::clone(self.pipeline.clock());
        let started = clock.monotonic();
        let Some(source) =
            self.routes.get(request.path()).filter(|source| request.uri().path() == source.path)
        else {
            if let Some(source) = self.asked.get(request.uri().path()) {
                return self.serve_path(request, source);
            }
            let refused = Reject::UnknownPath;
            self.strangers.begin().end(Ending::Refused(refused));
            return self.refuse(request, None, &refused.into(), &self.audit.id());
        };
        let mut counted = source.metrics.begin();
        let mut kept = None;
        let answer = match self.delivery(request, payload, source).await {
            Ok(delivery) => {
                kept = self.explainer.as_ref().map(|_| (delivery.body.clone(), delivery.received_at));
                self.pipeline.receive(source, delivery, &mut counted).await
            }
            Err(refused) => Err(refused),
        };
        let response = match answer {
            Ok(answer) => self.accept(request, source, &answer, counted),
            Err(refused) => {
                counted.end(Ending::Refused(refused.reject));
                let turn = kept.and_then(|(body, at)| Some((self.turn(source, &refused, &body)?, body, at)));
                let id = self.audit.id();
                let response = self.refuse(request, Some(source), &refused, &id);
                if let Some((turn, body, received_at)) = turn {
                    turn.take(id, head(request, body, received_at), refused);
                }
                response
            }
        };
        source.metrics.answered(clock.monotonic().saturating_sub(started));
        response
    }

    /// A handshake at a path of its own: it needs no proof and has no body that is read.
    fn serve_path(&self, request: &HttpRequest, source: &Source) -> HttpResponse {
        let counted = source.metrics.begin();
        let delivery = self.without_body(request);
        let answer = |()| source.verifier.answer_at_path(&delivery, delivery.received_at);
        let found = self.admit(request, source).and_then(answer);
        match found.and_then(|answer| answer.ok_or_else(|| Reject::UnknownPath.into())) {
            Ok(answer) => self.accept(request, source, &Answer::Handshake(answer), counted),
            Err(refused) => {
                counted.end(Ending::Refused(refused.reject));
                self.refuse(request, Some(source), &refused, &self.audit.id())
            }
        }
    }

    async fn delivery(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        source: &Source,
    ) -> Result<Delivery, Refused> {
        self.admit(request, source)?;
        if !source.verifier.scheme().takes(request.method().as_str()) {
            return Err(Reject::MethodNotAllowed.into());
        }
        if request.headers().contains_key(UPGRADE) {
            return Err(Reject::UpgradeAsked.because("this endpoint speaks HTTP/1.1 and nothing else"));
        }
        // Names of codings have no case (RFC 9110, 8.4.1); an empty list names none.
        let plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
        let encoded = |value: &HeaderValue| !plain(value.as_bytes());
        if request.headers().get_all(CONTENT_ENCODING).any(encoded) {
            return Err(
                Reject::ContentEncoded.because("signatures cover the bytes on the wire: send them plain")
            );
        }
        let declared =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = body::read(payload, declared, source.body_bytes_max, self.body_timeout).await?;
        Ok(head(request, body, self.pipeline.clock().now()))
    }

    fn without_body(&self, request: &HttpRequest) -> Delivery {
        head(request, Bytes::new(), self.pipeline.clock().now())
    }

    /// The turn of a refused delivery to have its cause looked for.
    fn turn(&self, source: &Source, refused: &Refused, body: &Bytes) -> Option<Turn<'_>> {
        let explainer = self.explainer.as_ref().filter(|_| Explainer::wants(refused.reject, body.len()))?;
        explainer.turn(&source.name)
    }

    fn accept(
        &self,
        request: &HttpRequest,
        source: &Source,
        answer: &Answer,
        counted: Request,
    ) -> HttpResponse {
        match answer {
            // Counted with its commit.
            Answer::Kept { .. } => failpoint::reach(Point::IngressAnswerDecided),
            Answer::Filtered => counted.end(Ending::Filtered),
            Answer::Handshake(answered) => {
                counted.end(Ending::Handshake);
                self.audit.handshake(&source.name, &answered.name, self.caller(request));
            }
        }
        let response = respond::accepted(answer, source);
        failpoint::reach(Point::IngressAnswerMade);
        response
    }

    /// Whether the caller's address may send to the source.
    fn admit(&self, request: &HttpRequest, source: &Source) -> Result<(), Refused> {
        self.notice_proxy(request, source);
        match &source.addresses {
            Some(allowed) if !self.caller(request).is_some_and(|caller| allowed.contains(caller)) => {
                Err(Reject::AddressNotAllowed.into())
            }
            _ => Ok(()),
        }
    }

    /// Tells once of a proxy in front that is not trusted.
    fn notice_proxy(&self, request: &HttpRequest, source: &Source) {
        let Some(socket) = request.peer_addr().filter(|_| self.trusted_proxies.is_empty()) else { return };
        let socket = socket.ip();
        if self.untrusted_proxy.is_due(socket, request.headers().contains_key(FORWARDED_FOR)) {
            source.metrics.untrusted_proxy();
            tracing::warn!(
                address = %socket.to_canonical(),
                "nearly all requests come from one private address and carry X-Forwarded-For, which nobody is trusted to \
                 write: if a proxy stands in front, add its address to ingress.trusted_proxies, or every caller has \
                 the proxy's address in the log, in lists of addresses and in limits"
            );
        }
    }

    /// Who called.
    fn caller(&self, request: &HttpRequest) -> Option<IpAddr> {
        let lines = request.headers().get_all(FORWARDED_FOR).map(HeaderValue::as_bytes);
        request.peer_addr().map(|socket| self.trusted_proxies.caller(socket.ip(), lines))
    }

    /// Answers with a refusal; `id` stands in the answer and in the log.
    fn refuse(
        &self,
        request: &HttpRequest,
        source: Option<&Source>,
        refused: &Refused,
        id: &str,
    ) -> HttpResponse {
        let refusal = Refusal {
            request: id,
            source: source.map_or("", |source| &*source.name),
            address: self.caller(request),
            path: source.is_none().then(|| request.uri().path()),
        };
        self.audit.refused(refusal, refused);
        respond::refused(refused.reject, source, id)
    }
}

/// The request with its body, as a delivery.
fn head(request: &HttpRequest, body: Bytes, received_at: Timestamp) -> Delivery {
    let mut headers = Headers::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        headers.push(name.as_str(), value.as_bytes());
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let method = request.method().as_str().to_owned();
    Delivery { method, target, headers, body, received_at }
}

/// The public listener, running.
pub struct Ingress {
    handle: ServerHandle,
    address: SocketAddr,
}

impl Ingress {
    /// Binds and serves, on threads of its own; to be called within a Tokio runtime.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn start(settings: &IngressSettings, gate: Arc<Gate>) -> io::Result<Self> {
        let gate = Data::from(gate);
        let server =
            HttpServer::new(move || App::new().app_data(gate.clone()).default_service(web::to(serve)))
                .workers(settings.workers)
                .max_connections(settings.connections_max)
                .keep_alive(KeepAlive::Timeout(settings.keep_alive))
                .client_request_timeout(settings.head_timeout)
                .shutdown_timeout(SHUTDOWN_SECONDS)
                .disable_signals()
                .bind(settings.listen)?;
        let address = server.addrs().first().copied().unwrap_or(settings.listen);
        let server = server.run();
        let handle = server.handle();
        drop(tasks::task(server));
        Ok(Self { handle, address })
    }

    /// Where it listens: the real port, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections; open requests get a few seconds if `graceful`.
    pub async fn stop(&self, graceful: bool) {
        self.handle.stop(graceful).await;
    }
}

async fn serve(request: HttpRequest, mut payload: Payload, gate: Data<Gate>) -> HttpResponse {
    gate.serve(&request, &mut payload).await
}
