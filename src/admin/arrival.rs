//! Bodies of calls: none is read of who may make no call, and each has to arrive in time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::HttpMessage as _;
use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use super::server::AdminParts;

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Refuses a stranger before any of the body is read, for the calls themselves ask for the token once they have it.
pub(super) async fn admit(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return next.call(request).await;
    }
    let parts = request.app_data::<Data<AdminParts>>();
    if let Some(mut refused) = parts.and_then(|parts| parts.stranger(request.request())) {
        refused.head_mut().set_connection_type(ConnectionType::Close);
        return Ok(request.into_response(refused));
    }
    let payload = InTime { payload, end: Box::pin(sleep(ARRIVAL)) };
    request.set_payload(Payload::Stream { payload: Box::pin(payload) });
    next.call(request).await
}

/// A body that ends with an error where it has not arrived in time.
struct InTime {
    payload: Payload,
    end: Pin<Box<Sleep>>,
}

impl Stream for InTime {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.payload).poll_next(context) {
            return Poll::Ready(piece);
        }
        self.end.as_mut().poll(context).map(|()| {
            let slow = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
            Some(Err(PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, slow))))
        })
    }
}
