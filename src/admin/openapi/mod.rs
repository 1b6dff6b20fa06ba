//! The description of all calls (OpenAPI 3.1), which the listener itself answers: `GET /v1/openapi.json`.
//!
//! Calls whose answers are types of their own describe themselves where they are. What is put together from what other
//! rooms show is described here: `calls` has the paths, `shapes` the forms, `refused` what is
//! answered otherwise, `dead` both of the dead letters; a test holds both against real answers.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod dead;
#[cfg(test)]
mod document;
mod refused;
#[cfg(test)]
mod shapes;

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::events::fresh;
use super::guard::Area;
use super::server::AdminParts;
#[cfg(test)]
pub(crate) use document::described;
pub(super) use refused::{Problem, Refused};

/// Made of the code by a test (`document`).
const DOCUMENT: &str = include_str!("openapi.json");

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "gateway", responses(
    (status = 200, content_type = "application/json"), Refused))]
pub(super) async fn document(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    fresh(StatusCode::OK).content_type(ContentType::json()).body(DOCUMENT)
}
