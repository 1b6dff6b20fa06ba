//! What a call is answered that is not carried out.

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// A problem document (RFC 9457): what was found, what is allowed and what to do.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Problem {
    #[schema(examples("about:blank"))]
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// Stable, for programs.
    #[schema(examples("malformed"))]
    pub code: String,
    /// For people.
    pub detail: String,
    /// The id that the log has the refusal under.
    pub request_id: Option<String>,
}

/// Why a call is not carried out.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "tells what may be answered")]
pub(in crate::admin) enum Refused {
    /// What was sent is not understood.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The token is missing or another.
    #[response(status = 401, content_type = "application/problem+json")]
    Token(Problem),
    /// A browser was made to call by another site; or what is asked for is not for this token's eyes.
    #[response(status = 403, content_type = "application/problem+json")]
    Foreign(Problem),
    /// There is none, or the gateway has none of it.
    #[response(status = 404, content_type = "application/problem+json")]
    Gone(Problem),
    /// More than is taken; `Retry-After` says how long to wait.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// Not now: something it needs is away, or the gateway is stopping.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
