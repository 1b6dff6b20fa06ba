//! Bodies of calls: none is read of who may make no call, and each has to arrive in time.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
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
    let payload = Rc::new(RefCell::new(payload));
    let parts = request.app_data::<Data<AdminParts>>();
    let response = match parts.and_then(|parts| parts.stranger(request.request())) {
        Some(mut refused) => {
            refused.head_mut().set_connection_type(ConnectionType::Close);
            request.into_response(refused)
        }
        None => {
            let payload = InTime { payload: Rc::clone(&payload), end: Box::pin(sleep(ARRIVAL)) };
            request.set_payload(Payload::Stream { payload: Box::pin(payload) });
            next.call(request).await?
        }
    };
    Ok(response.map_body(|_, answer| BoxBody::new(Answered { answer, _unread: payload })))
}

/// An answer, and what is unread of the request: the server closes the connection of a body that was let go of unread only
/// where it is told its length, and waits without an end for the rest of another.
struct Answered {
    answer: BoxBody,
    _unread: Rc<RefCell<Payload>>,
}

impl MessageBody for Answered {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}

/// A body that ends with an error where it has not arrived in time.
struct InTime {
    payload: Rc<RefCell<Payload>>,
    end: Pin<Box<Sleep>>,
}

impl Stream for InTime {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = Pin::new(&mut *self.payload.borrow_mut()).poll_next(context) {
            return Poll::Ready(piece);
        }
        self.end.as_mut().poll(context).map(|()| {
            let slow = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
            Some(Err(PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, slow))))
        })
    }
}
