//! Reloading over HTTP, for operators: `POST /v1/reload` has the configuration loaded again and waits for what comes of
//! it. It is done elsewhere, one at a time; here it is only asked for.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::guard::Area;
use super::server::{AdminParts, problem};
use crate::metrics::Reloaded;

/// How long a call waits; the reload goes on without it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call for a reload.
pub struct ReloadOrder {
    /// Whose.
    pub who: String,
    /// Where its outcome goes.
    pub answer: oneshot::Sender<ReloadAnswer>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct ReloadAnswer {
    /// In a word.
    pub outcome: Reloaded,
    /// What has changed, or all that is wrong; a problem document where the outcome is no success.
    pub report: Value,
}

pub(super) async fn reload(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Operation) {
        return refused;
    }
    let Some(orders) = &parts.reloads else {
        let detail = "this gateway was started without a configuration that can be loaded again";
        return problem(StatusCode::NOT_FOUND, "not_reloadable", detail);
    };
    let (answer, told) = oneshot::channel();
    match orders.try_send(ReloadOrder { who: parts.caller(&request), answer }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => return later("too many calls for a reload wait"),
        Err(mpsc::error::TrySendError::Closed(_)) => return later("the gateway is stopping"),
    }
    match timeout(PATIENCE, told).await {
        Ok(Ok(ReloadAnswer { outcome, report })) => answered(outcome, &report),
        Ok(Err(_)) => later("the gateway is stopping"),
        Err(_) => {
            later("the reload takes longer than a minute, and goes on; the log and the metrics tell of it")
        }
    }
}

fn answered(outcome: Reloaded, report: &Value) -> HttpResponse {
    let (status, kind) = match outcome {
        Reloaded::Applied | Reloaded::Unchanged => (StatusCode::OK, "application/json"),
        Reloaded::Invalid | Reloaded::RestartNeeded => {
            (StatusCode::UNPROCESSABLE_ENTITY, "application/problem+json")
        }
        Reloaded::Failed => (StatusCode::SERVICE_UNAVAILABLE, "application/problem+json"),
    };
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(kind)
        .body(report.to_string())
}

fn later(detail: &str) -> HttpResponse {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
    answer.headers_mut().insert(RETRY_AFTER, 1.into());
    answer
}
