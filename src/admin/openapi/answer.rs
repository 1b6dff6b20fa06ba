//! Answers with the description of all calls.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::refused::Refused;
use crate::admin::events::fresh;
use crate::admin::guard::Area;
use crate::admin::server::AdminParts;

/// Made of the code by a test (`document`).
const DOCUMENT: &str = include_str!("openapi.json");

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "gateway", responses(
    (status = 200, content_type = "application/json"), Refused))]
pub(in crate::admin) async fn document(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    fresh(StatusCode::OK).content_type(ContentType::json()).body(DOCUMENT)
}
