//! The admin listener: routes and wiring.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, JsonConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, web};
use tokio::sync::mpsc;

use super::guard::{Area, Refusal};
use super::health::{Health, Readiness};
use super::known::{Eyes, Live};
use super::pace::Pace;
use super::reload::{self, ReloadOrder};
use super::{
    about, arm, arrival, console, dead, drain, events, history, inbox, notices, openapi, quarantine, sample,
    schema, sources, tail,
};
use crate::audit::{self, Audit};
use crate::disk::RealDisk;
use crate::history::History;
use crate::metrics::classic;
use crate::notice::Board;
use crate::operate::Operator;
use crate::quarantine::Quarantine;
use crate::relay::Inbox;
use crate::sample::Trials;
use crate::sink::rabbitmq::DeadLetters;
use crate::tasks;

/// Longest body of a call: a thousand tokens fit many times.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// What a scraper accepts that reads OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text";
/// Seconds that open calls get to finish at a stop.
const SHUTDOWN_SECONDS: u64 = 1;

/// What the calls need.
pub struct AdminParts {
    /// Who may call, and what else a reload swaps.
    pub live: Live,
    /// How many calls are taken in a second.
    pub pace: Pace,
    /// What writes the audit log.
    pub audit: Audit,
    /// Health and metrics.
    pub health: Arc<Health>,
    /// What an operator should know of.
    pub notices: Arc<Board>,
    /// The inbox, where it is the sink; else how workers come by events.
    pub inbox: Result<Inbox<RealDisk>, &'static str>,
    /// Events listed, shown and acted on, where there is a journal.
    pub operator: Option<Operator<RealDisk>>,
    /// What is searched in, where a history is kept.
    pub history: Option<History>,
    /// Requests whose proof failed, where there is one.
    pub quarantine: Option<Quarantine>,
    /// What takes samples through the stages.
    pub trials: Trials,
    /// What workers rejected for good, where RabbitMQ is the sink; else where such events are.
    pub dead: Result<DeadLetters, &'static str>,
    /// Where calls for a reload go, where there is a configuration to load again.
    pub reloads: Option<mpsc::Sender<ReloadOrder>>,
}

impl AdminParts {
    /// The answer to a call that is not allowed.
    pub(super) fn refusal(&self, request: &HttpRequest, area: Area) -> Option<HttpResponse> {
        let checked = self.live.load().guard.check(request, area);
        if let Err(wait) = self.pace.take(area, checked.is_ok()) {
            return Some(too_many(wait));
        }
        let (status, code, detail) = match checked.err()? {
            Refusal::Token => {
                (StatusCode::UNAUTHORIZED, "token", "send the token that opens this: Authorization: Bearer …")
            }
            Refusal::Foreign => (
                StatusCode::FORBIDDEN,
                "foreign",
                "Host or Origin names another site; call the listener by a loopback name, or set admin.token",
            ),
        };
        let id = self.audit.id();
        let refusal = audit::Refusal {
            request: &id,
            source: "",
            address: address(request),
            path: Some(request.uri().path()),
        };
        self.audit.call_refused(refusal, code, status.as_u16());
        Some(problem_of(status, code, detail, Some(&id)))
    }

    /// The answer to who may make no call at all.
    pub(super) fn stranger(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let known = self.live.load_full();
        let opens = |area: &Area| known.guard.check(request, *area).is_ok();
        let any = [Area::Inbox, Area::Look, Area::Operation].iter().any(opens);
        if any { None } else { self.refusal(request, Area::Operation) }
    }

    /// Whose eyes see the answer: an operator's see all.
    pub(super) fn eyes(&self, request: &HttpRequest) -> Eyes {
        let known = self.live.load_full();
        let all = known.guard.check(request, Area::Operation).is_ok();
        Eyes::of(known, all)
    }

    /// Writes down what an operator did, who may: the selection, of how many, what it came to, and whether it did.
    pub(super) fn did(&self, request: &HttpRequest, action: &str, done: &Done<'_>) {
        self.did_by(&self.who(request), action, done);
    }

    /// The same, when the request may be gone.
    pub(super) fn did_by(&self, who: &Who, action: &str, done: &Done<'_>) {
        self.audit.action(audit::Action {
            request: &self.audit.id(),
            operator: who.operator,
            address: who.address,
            action,
            selection: done.selection,
            count: done.count,
            outcome: done.outcome,
            failed: done.failed,
        });
    }

    /// Who calls, for the audit log.
    pub(super) fn who(&self, request: &HttpRequest) -> Who {
        Who { operator: self.operator(), address: address(request) }
    }

    /// Who calls, for the log.
    pub(super) fn caller(&self, request: &HttpRequest) -> String {
        let peer = request.peer_addr().map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        format!("{} from {peer}", self.operator())
    }

    /// What an operator is known by.
    fn operator(&self) -> &'static str {
        if self.live.load().guard.wants_token() { "the admin token" } else { "no token" }
    }
}

/// Who does something.
pub(super) struct Who {
    operator: &'static str,
    pub(super) address: Option<IpAddr>,
}

/// What an operator's action was about and came to.
pub(super) struct Done<'a> {
    pub(super) selection: &'a str,
    pub(super) count: u64,
    pub(super) outcome: &'a str,
    pub(super) failed: bool,
}

fn address(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|peer| peer.ip().to_canonical())
}

/// The admin listener, running.
pub struct Admin {
    handle: ServerHandle,
    address: SocketAddr,
    parts: Data<AdminParts>,
}

impl Admin {
    /// Binds and serves so many connections at once, on a thread of its own; to be called within a Tokio runtime.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn start(listen: SocketAddr, connections_max: usize, parts: AdminParts) -> io::Result<Self> {
        let parts = Data::new(parts);
        let served = parts.clone();
        let json = || {
            JsonConfig::default().limit(BODY_BYTES_MAX).content_type(|_| true).content_type_required(false)
        };
        let app = move || {
            App::new()
                .app_data(served.clone())
                .app_data(json())
                .wrap(from_fn(arrival::admit))
                .service(at("/", "GET").get(console::page))
                .service(at("/console/{file}", "GET").get(console::asset))
                .service(at("/livez", "GET").get(livez))
                .service(at("/readyz", "GET").get(readyz))
                .service(at("/metrics", "GET").get(metrics))
                .service(at("/v1", "GET").get(about::about))
                .service(at("/v1/openapi.json", "GET").get(openapi::document))
                .service(at("/v1/stats", "GET").get(about::stats))
                .service(at("/v1/sources", "GET").get(sources::list))
                .service(at("/v1/sources/{name}", "GET").get(sources::one))
                .service(at("/v1/providers", "GET").get(sources::providers))
                .service(at("/v1/config", "GET").get(sources::config))
                .service(at("/v1/events", "GET").get(events::list))
                .service(at("/v1/events/tail", "GET").get(tail::tail))
                .service(
                    at("/v1/events/{action:replay|forget|release|requeue|drop}", "POST").post(events::act),
                )
                .service(at("/v1/events/{sequence}", "GET").get(events::show))
                .service(at("/v1/events/{sequence}/body", "GET").get(events::body))
                .service(at("/v1/history/events", "GET").get(history::events))
                .service(at("/v1/history/events/{sequence}", "GET").get(history::event))
                .service(at("/v1/history/refusals", "GET").get(history::refusals))
                .service(at("/v1/history/failures", "GET").get(history::failures))
                .service(at("/v1/quarantine", "GET").get(quarantine::list))
                .service(at("/v1/quarantine/requeue", "POST").post(quarantine::requeue))
                .service(at("/v1/quarantine/drop", "POST").post(quarantine::drop))
                .service(at("/v1/quarantine/{id}", "GET").get(quarantine::show))
                .service(at("/v1/quarantine/{id}/body", "GET").get(quarantine::body))
                .service(at("/v1/dead", "GET").get(dead::list))
                .service(at("/v1/dead/requeue", "POST").post(dead::requeue))
                .service(at("/v1/dead/drop", "POST").post(dead::drop))
                .service(at("/v1/notices", "GET").get(notices::list))
                .service(at("/v1/drain", "GET, POST").get(drain::show).post(drain::begin))
                .service(at("/v1/drain/cancel", "POST").post(drain::cancel))
                .service(at("/v1/reload", "POST").post(reload::reload))
                .service(at("/v1/sources/{name}/arm", "POST").post(arm::arm))
                .service(at("/v1/sources/{name}/sample", "POST").post(sample::sample))
                .service(at("/v1/sources/{name}/schema/check", "POST").post(schema::check))
                .service(at("/v1/inbox/{source}/claim", "POST").post(inbox::claim))
                .service(at("/v1/inbox/{source}/ack", "POST").post(inbox::ack))
                .service(at("/v1/inbox/{source}/nack", "POST").post(inbox::nack))
                .service(at("/v1/inbox/{source}/extend", "POST").post(inbox::extend))
                .default_service(web::to(unknown))
        };
        let server = HttpServer::new(app).workers(1).shutdown_timeout(SHUTDOWN_SECONDS);
        let server = server.max_connections(connections_max);
        // A worker that hangs up while it waits is noticed by the end of its side.
        let server = server.h1_allow_half_closed(false);
        let server = server.disable_signals().bind(listen)?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        let server = server.run();
        let handle = server.handle();
        drop(tasks::task(server));
        Ok(Self { handle, address, parts })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: workers that wait and clients that follow events are sent away, open calls get a second.
    pub async fn stop(&self) {
        self.parts.operator.iter().for_each(Operator::end_tails);
        if let Ok(inbox) = &self.parts.inbox {
            inbox.stop();
        }
        self.handle.stop(true).await;
    }
}

async fn livez() -> HttpResponse {
    plain(StatusCode::OK, "alive\n".to_owned())
}

async fn readyz(parts: Data<AdminParts>) -> HttpResponse {
    let (readiness, checks) = parts.health.readiness();
    let status = match readiness {
        Readiness::Ready | Readiness::Degraded => StatusCode::OK,
        Readiness::Unready => StatusCode::SERVICE_UNAVAILABLE,
    };
    let lines = checks.iter().map(|check| format!("{check}\n"));
    plain(status, format!("{}\n{}", readiness.as_str(), lines.collect::<String>()))
}

async fn metrics(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let text = parts.health.scrape();
    let wanted = |value: &HeaderValue| value.to_str().is_ok_and(|accept| accept.contains(OPENMETRICS));
    let (form, text) = if request.headers().get_all(ACCEPT).any(wanted) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, form)).insert_header((VARY, "accept")).body(text)
}

/// A path that answers these methods and no others.
fn at(path: &str, allowed: &'static str) -> Resource {
    let other = move |request: HttpRequest| async move {
        let detail = format!("found {}; allowed here: {allowed}", request.method());
        let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &detail);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        answer
    };
    web::resource(path).default_service(web::to(other))
}

async fn unknown() -> HttpResponse {
    let detail = "here are / (the console), /livez, /readyz, /metrics, and below /v1 what /v1/openapi.json tells of: events, history, quarantine, dead, \
                  notices, sources, providers, config, stats, drain, reload and the inbox; deliveries go to ingress.listen";
    problem(StatusCode::NOT_FOUND, "not_found", detail)
}

fn plain(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text)
}

fn too_many(wait: Duration) -> HttpResponse {
    let detail = format!("more calls than the listener takes; wait for {} ms", wait.as_millis().max(1));
    let mut answer = problem(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", &detail);
    answer.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
    answer
}

/// A problem document (RFC 9457).
pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> HttpResponse {
    problem_of(status, code, detail, None)
}

/// The same, of a request that the log tells of under this id.
fn problem_of(status: StatusCode, code: &str, detail: &str, id: Option<&str>) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or("Refused");
    let mut document = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "code": code, "detail": detail,
    });
    if let Some(id) = id {
        document["request_id"] = id.into();
    }
    HttpResponse::build(status).content_type("application/problem+json").json(document)
}
