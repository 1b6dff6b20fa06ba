//! From a handshake's answer to a response, as the provider's file words it. No event stands behind it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::provider::HandshakeAnswer;

/// The answer as it is: status, headers, body.
pub(super) fn answered(answer: &HandshakeAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        response.insert_header((name.as_str(), value.as_str()));
    }
    if answer.body.is_empty() { response.finish() } else { response.body(answer.body.clone()) }
}
