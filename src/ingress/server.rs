//! The public listener: routing by exact path, then body, pipeline, answer.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService};
use actix_server::{GracefulShutdownSignal, ServerHandle};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::{ConnectionType, KeepAlive};
use actix_web::web::{Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt;
use socket2::SockRef;

use super::asked::{Asked, connection, declared};
use super::body::Reading;
use super::connection::{Door, Guarded, Limits, Rules, State};
use super::flood::{self, Flood};
use super::memory::{Memory, Room};
use super::peer::ProxyNotice;
use super::respond;
use super::table::{Live, Table};
use super::tls::Tls;
use crate::audit::{Audit, Refusal};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::diagnose::{Explainer, Turn};
use crate::failpoint::{self, Point};
use crate::limit::{AddressLimit, Rate};
use crate::metrics::{Ending, Request, SourceMetrics};
use crate::pipeline::{Answer, Pipeline};
use crate::reject::{Refused, Reject};
use crate::source::Source;
use crate::steps::{Quarantined, Steps};
use crate::tasks;
use crate::telemetry::trace;

/// Seconds that open requests get to finish at a stop.
const SHUTDOWN_SECONDS: u64 = 5;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 2048;
/// How long what a sender still sends is thrown away after an answer that came before its body's end.
const LINGER: Duration = Duration::from_secs(2);
/// How much of a request that was refused unread is read after all, and for how long, so that its connection can go on.
const LEFT_BYTES_MAX: u64 = 64 * 1024;
const LEFT_TIME: Duration = Duration::from_millis(250);
/// Addresses whose requests are counted apart.
const ADDRESSES: usize = 64 * 1024;

/// How the listener behaves.
#[derive(Clone, Debug)]
pub struct IngressSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Threads that serve requests.
    pub workers: usize,
    /// What a connection may take.
    pub connection: Limits,
    /// Longest time for a body …
    pub body_timeout: Duration,
    /// … and a second more for each so many bytes.
    pub body_bytes_per_second: u64,
    /// Bytes of bodies that arrive in pieces, all together.
    pub bodies_in_flight_max: usize,
    /// Requests from one address, where they are limited.
    pub requests_per_address: Option<Rate>,
}

/// What every request needs.
pub struct Gate {
    /// Sources by path, and what else a reload swaps.
    pub live: Live,
    /// The stages.
    pub pipeline: Pipeline,
    /// Counts of requests that belong to no source.
    pub strangers: SourceMetrics,
    /// How bodies are read.
    reading: Reading,
    /// Who is refused too often.
    flood: Flood,
    /// How often an address may ask, where that is limited.
    per_address: Option<AddressLimit>,
    /// Whether a proxy in front is trusted by nobody.
    untrusted_proxy: ProxyNotice,
    /// What writes the audit log.
    pub audit: Audit,
    /// Where it is told besides what that log has of refusals.
    steps: Steps,
}

impl Gate {
    /// The gate in front of the sources of `live`; to be called within a Tokio runtime, which outlives it.
    pub fn new(
        live: Live,
        pipeline: Pipeline,
        strangers: SourceMetrics,
        settings: &IngressSettings,
        steps: Steps,
    ) -> Self {
        let clock = || Arc::clone(pipeline.clock());
        let reading = Reading {
            timeout: settings.body_timeout,
            bytes_per_second: settings.body_bytes_per_second,
            memory: Arc::new(Memory::new(settings.bodies_in_flight_max)),
            clock: clock(),
        };
        let audit = Audit::new(clock());
        let limit = |rate| AddressLimit::new(rate, ADDRESSES, clock());
        Self {
            live,
            reading,
            flood: Flood::new(clock()),
            per_address: settings.requests_per_address.map(limit),
            pipeline,
            strangers,
            untrusted_proxy: ProxyNotice::default(),
            audit,
            steps,
        }
    }

    async fn serve(&self, request: &HttpRequest, payload: &mut Payload) -> HttpResponse {
        let table = self.live.load_full();
        let asked = Asked { request, table: &table };
        let (mut response, refused) = self.judge(asked, payload).await;
        if refused.is_some_and(Reject::is_of_the_proof)
            && let Some(caller) = asked.caller()
        {
            match self.flood.turn(caller) {
                flood::Turn::Now => {}
                flood::Turn::Later(wait, held) => {
                    response.head_mut().set_connection_type(ConnectionType::Close);
                    tokio::time::sleep(wait).await;
                    drop(held);
                }
                flood::Turn::Never => asked.connection().into_iter().for_each(State::abort),
            }
        }
        response
    }

    async fn judge(&self, asked: Asked<'_>, payload: &mut Payload) -> (HttpResponse, Option<Reject>) {
        let (clock, table) = (self.pipeline.clock(), asked.table);
        let started = clock.monotonic();
        let Some(source) = table.source(asked.path()) else {
            if let Some(source) = table.asked(asked.path()) {
                return self.serve_path(asked, source);
            }
            let refused = self.pace(asked.caller()).err().unwrap_or_else(|| Reject::UnknownPath.into());
            self.strangers.begin().end(Ending::Refused(refused.reject));
            return (self.refuse(asked, None, &refused, &self.audit.id()), Some(refused.reject));
        };
        let mut counted = source.metrics.begin();
        let span = trace::Request::begin(asked.traced(source));
        counted.go_in(span.context());
        let mut kept = None;
        let answer = match self.delivery(asked, payload, source).await {
            Ok((delivery, _room)) => {
                let wanted = table.explainer.is_some() || source.quarantine.is_some();
                kept = wanted.then(|| (delivery.body.clone(), delivery.received_at));
                self.pipeline.receive(source, delivery, &mut counted).await
            }
            Err(refused) => Err(refused),
        };
        let answered = match answer {
            Ok(answer) => {
                let response = self.accept(asked, source, &answer, counted);
                span.end(respond::traced(&answer, response.status().as_u16()));
                (response, None)
            }
            Err(refused) => {
                counted.end(Ending::Refused(refused.reject));
                let id = self.audit.id();
                let response = self.refuse(asked, Some(source), &refused, &id);
                let reject = refused.reject;
                let row = reject.row();
                span.end(trace::Answered { status: row.status, outcome: row.reason, message: None });
                if let Some((body, received_at)) = kept {
                    self.quarantine((asked, source), &id, reject, (&body, received_at));
                    if let Some(turn) = turn(table, source, &refused, &body) {
                        turn.take(id, asked.delivery(body, received_at), refused);
                    }
                }
                (response, Some(reject))
            }
        };
        source.metrics.answered(clock.monotonic().saturating_sub(started));
        answered
    }

    /// Keeps a request whose proof failed, where the source has room for such.
    fn quarantine(
        &self,
        (asked, source): (Asked<'_>, &Source),
        id: &str,
        reject: Reject,
        (body, received_at): (&Bytes, Timestamp),
    ) {
        if let Some(bytes_max) = source.quarantine.filter(|_| reject.is_of_the_proof()) {
            self.steps.quarantined(Quarantined {
                request: id.to_owned(),
                source: Arc::clone(&source.name),
                address: asked.caller(),
                reason: reject.row().reason,
                delivery: asked.delivery(body.clone(), received_at),
                bytes_max,
            });
        }
    }

    /// A handshake at a path of its own: it needs no proof and has no body that is read.
    fn serve_path(&self, asked: Asked<'_>, source: &Source) -> (HttpResponse, Option<Reject>) {
        let counted = source.metrics.begin();
        let delivery = asked.delivery(Bytes::new(), self.pipeline.clock().now());
        let answer = |()| source.verifier.answer_at_path(&delivery, delivery.received_at);
        let found = self.admit(asked, source).and_then(|()| self.client(asked, source)).and_then(answer);
        match found.and_then(|answer| answer.ok_or_else(|| Reject::UnknownPath.into())) {
            Ok(answer) => (self.accept(asked, source, &Answer::Handshake(answer), counted), None),
            Err(refused) => {
                counted.end(Ending::Refused(refused.reject));
                (self.refuse(asked, Some(source), &refused, &self.audit.id()), Some(refused.reject))
            }
        }
    }

    async fn delivery(
        &self,
        asked: Asked<'_>,
        payload: &mut Payload,
        source: &Source,
    ) -> Result<(Delivery, Option<Room>), Refused> {
        self.admit(asked, source)?;
        self.client(asked, source)?;
        if !source.verifier.scheme().takes(asked.request.method().as_str()) {
            return Err(Reject::MethodNotAllowed.into());
        }
        if asked.is_encoded() {
            return Err(
                Reject::ContentEncoded.because("signatures cover the bytes on the wire: send them plain")
            );
        }
        let (body, room) = self.reading.whole(payload, asked, source.body_bytes_max).await?;
        Ok((asked.delivery(body, self.pipeline.clock().now()), room))
    }

    /// Whether the connection has shown the certificate that the source wants, where it wants one.
    fn client(&self, asked: Asked<'_>, source: &Source) -> Result<(), Refused> {
        let Some(rule) = &source.client else { return Ok(()) };
        let shown = asked.connection().and_then(State::client);
        rule.judge(shown.map(Vec::as_slice), self.pipeline.clock().now())
    }

    fn accept(&self, asked: Asked<'_>, source: &Source, answer: &Answer, counted: Request) -> HttpResponse {
        match answer {
            // Counted with its commit.
            Answer::Kept { .. } => failpoint::reach(Point::IngressAnswerDecided),
            Answer::Filtered => counted.end(Ending::Filtered),
            Answer::Handshake(answered) => {
                counted.end(Ending::Handshake);
                self.audit.handshake(&source.name, &answered.name, asked.caller());
            }
        }
        let response = respond::accepted(answer, source);
        failpoint::reach(Point::IngressAnswerMade);
        response
    }

    /// Whether the caller's address may send to the source, and has not sent too much.
    fn admit(&self, asked: Asked<'_>, source: &Source) -> Result<(), Refused> {
        self.notice_proxy(asked, source);
        if source.addresses.is_none() && self.per_address.is_none() {
            return Ok(());
        }
        let caller = asked.caller();
        match &source.addresses {
            Some(allowed) if !caller.is_some_and(|caller| allowed.contains(caller)) => {
                let unheard = asked.is_forwarded() && !asked.is_of_a_proxy();
                let why =
                    "X-Forwarded-For is there, by an address that ingress.trusted_proxies does not list";
                Err(Reject::AddressNotAllowed.because(if unheard { why } else { "" }))
            }
            _ => self.pace(caller),
        }
    }

    /// Whether the caller has not asked too often, for whatever path.
    fn pace(&self, caller: Option<IpAddr>) -> Result<(), Refused> {
        match (&self.per_address, caller) {
            (Some(limit), Some(caller)) => limit.take(caller).map_err(|_| Reject::AddressRateLimited.into()),
            _ => Ok(()),
        }
    }

    /// Tells once of a proxy in front that is not trusted.
    fn notice_proxy(&self, asked: Asked<'_>, source: &Source) {
        let trusts_nobody = asked.table.trusted_proxies.is_empty();
        let Some(socket) = asked.request.peer_addr().filter(|_| trusts_nobody) else { return };
        let socket = socket.ip();
        if self.untrusted_proxy.is_due(socket, asked.is_forwarded()) {
            source.metrics.untrusted_proxy();
            tracing::warn!(
                address = %socket.to_canonical(),
                "nearly all requests come from one private address and carry X-Forwarded-For, which nobody is trusted to \
                 write: if a proxy stands in front, add its address to ingress.trusted_proxies, or every caller has \
                 the proxy's address in the log, in lists of addresses and in limits"
            );
        }
    }

    /// Counts and logs what was refused before it was a request; yields its last answer, as on the wire.
    fn refuse_connection(&self, refused: &Refused, peer: IpAddr) -> Bytes {
        self.strangers.begin().end(Ending::Refused(refused.reject));
        let id = self.audit.id();
        self.tell(Refusal { request: &id, source: "", address: Some(peer), path: None }, refused);
        respond::raw(refused.reject, &id, &**self.pipeline.clock())
    }

    /// Writes a refusal down, unless a flood has used up what is written.
    fn tell(&self, refusal: Refusal<'_>, refused: &Refused) {
        self.steps.write_down(&self.audit, refusal, refused);
    }

    /// Answers with a refusal; `id` stands in the answer and in the log.
    fn refuse(&self, asked: Asked<'_>, source: Option<&Source>, refused: &Refused, id: &str) -> HttpResponse {
        let refusal = Refusal {
            request: id,
            source: source.map_or("", |source| &*source.name),
            address: asked.caller(),
            path: source.is_none().then(|| asked.path()),
        };
        self.tell(refusal, refused);
        let mut response = respond::refused(refused.reject, source, id);
        if matches!(refused.reject, Reject::ClientCertificateMissing | Reject::ClientCertificateRefused) {
            // The next connection may show another certificate; this one never will.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }
}

/// The turn of a refused delivery to have its cause looked for.
fn turn<'t>(table: &'t Table, source: &Source, refused: &Refused, body: &Bytes) -> Option<Turn<'t>> {
    let explainer = table.explainer.as_ref().filter(|_| Explainer::wants(refused.reject, body.len()))?;
    explainer.turn(&source.name)
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
    pub fn start(settings: &IngressSettings, gate: Arc<Gate>, tls: Option<Arc<Tls>>) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let server = actix_server::Server::build();
        let stop = server.graceful_shutdown_signal();
        let door = {
            let teller = Arc::clone(&gate);
            let rules = Rules {
                limits: settings.connection.clone(),
                clock: Arc::clone(gate.pipeline.clock()),
                refused: Box::new(move |refused: &Refused, peer| teller.refuse_connection(refused, peer)),
                memory: Arc::clone(&gate.reading.memory),
            };
            Door::new(rules, Arc::clone(&gate.live), stop.clone()).under(tls)
        };
        let gate = Data::from(gate);
        let connections = move || {
            let app = App::new().app_data(gate.clone()).default_service(web::to(serve));
            let (door, stop) = (door.clone(), stop.clone());
            let http = HttpService::build()
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(LINGER)
                .graceful_shutdown_signal(move || notified(stop.clone()))
                .on_connect_ext(|io: &Guarded, data: &mut Extensions| drop(data.insert(io.state())))
                .h1(map_config(app, |()| AppConfig::default()));
            let admit = move |tcp| {
                let door = door.clone();
                async move { door.admit(tcp).await.map_err(DispatchError::Io) }
            };
            fn_service(admit).and_then(http)
        };
        let server = server
            .workers(settings.workers)
            .max_concurrent_connections(settings.connection.connections_max / settings.workers.max(1))
            .shutdown_timeout(SHUTDOWN_SECONDS)
            .disable_signals()
            .listen("ingress", listener, connections)?
            .run();
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

async fn notified(stop: GracefulShutdownSignal) {
    stop.notified().await;
}

async fn serve(request: HttpRequest, mut payload: Payload, gate: Data<Gate>) -> HttpResponse {
    let mut response = gate.serve(&request, &mut payload).await;
    if let Some(connection) = connection(&request) {
        // What was refused unread is put out of the next request's way, if it is short and there.
        if connection.is_complete() || declared(&request).is_some_and(|bytes| bytes <= LEFT_BYTES_MAX) {
            let left = async {
                while let Some(Ok(chunk)) = payload.next().await {
                    connection.take(chunk.len());
                }
            };
            drop(tokio::time::timeout(LEFT_TIME, left).await);
        }
        // Who keeps his connection would come back to a gateway that is taken out, whatever a balancer has found.
        if !connection.is_complete() || gate.pipeline.keeper.turns_away() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        connection.answer();
    }
    response
}
