//! What an operator should know of without having looked: `GET /v1/notices`.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::guard::Area;
use super::server::AdminParts;
use crate::notice::Notice;

pub(super) async fn list(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let notices: Vec<Value> = parts.notices.notices().iter().map(Notice::to_json).collect();
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({ "notices": notices }))
}
