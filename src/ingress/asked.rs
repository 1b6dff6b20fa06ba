//! A request as the listener has it, in the light of the table that was in force when it came. Reads what was sent;
//! judges nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue};
use bytes::Bytes;

use super::connection::State;
use super::table::Table;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::source::Source;
use crate::telemetry::trace;

/// Where proxies write for whom they call.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Where a sender names its trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One request and what is in force for it, whatever is reloaded meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    pub request: &'r HttpRequest,
    pub table: &'r Table,
}

impl<'r> Asked<'r> {
    /// The path to the byte, as it was sent.
    pub(super) fn path(self) -> &'r str {
        self.request.uri().path()
    }

    /// Who called, as far as trusted proxies tell.
    pub(super) fn caller(self) -> Option<IpAddr> {
        let lines = self.request.headers().get_all(FORWARDED_FOR).map(HeaderValue::as_bytes);
        let socket = self.request.peer_addr()?.ip();
        Some(self.table.trusted_proxies.caller(socket, lines))
    }

    /// Whose share of what is bounded it takes.
    pub(super) fn party(self) -> IpAddr {
        self.caller().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }

    /// Whether it comes from a trusted proxy.
    pub(super) fn is_of_a_proxy(self) -> bool {
        self.request
            .peer_addr()
            .is_some_and(|socket| self.table.trusted_proxies.contains(socket.ip().to_canonical()))
    }

    /// Whether a proxy says for whom it calls.
    pub(super) fn is_forwarded(self) -> bool {
        self.request.headers().contains_key(FORWARDED_FOR)
    }

    /// Whether the body is said to be compressed. Names of codings have no case (RFC 9110, 8.4.1); an empty list names
    /// none.
    pub(super) fn is_encoded(self) -> bool {
        let plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
        self.request.headers().get_all(CONTENT_ENCODING).any(|value| !plain(value.as_bytes()))
    }

    /// Its connection, where that has a guard.
    pub(super) fn connection(self) -> Option<&'r State> {
        connection(self.request)
    }

    /// What its span tells of it. A sender's trace counts where it is the only one that the sender names.
    pub(super) fn traced(self, source: &'r Source) -> trace::Asked<'r> {
        let mut lines = self.request.headers().get_all(TRACEPARENT);
        let line = lines.next().filter(|_| lines.next().is_none());
        trace::Asked {
            method: self.request.method().as_str(),
            route: &source.path,
            source: &source.name,
            client: if trace::is_on() { self.caller() } else { None },
            context: line.and_then(|line| line.to_str().ok()?.parse().ok()),
            sender: source.traceparent,
        }
    }

    /// The request with this body, as a delivery.
    pub(super) fn delivery(self, body: Bytes, received_at: Timestamp) -> Delivery {
        let request = self.request;
        let mut headers = Headers::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            headers.push(name.as_str(), value.as_bytes());
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let method = request.method().as_str().to_owned();
        Delivery { method, target, headers, body, received_at }
    }
}

/// How long the request says that its body is.
pub(super) fn declared(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// The connection of a request, where it has a guard.
pub(super) fn connection(request: &HttpRequest) -> Option<&State> {
    request.conn_data::<Rc<State>>().map(|state| &**state)
}
