//! Every refusal, one row each: status, public code, reason, Retry-After, log level.
//!
//! Nothing else in the crate knows a rejecting status. The reason is the metric label and the log field;
//! the code is what the sender reads, and it is coarser: it never tells what depends on the secret.

mod advice;

use std::borrow::Cow;

pub use advice::Again;

/// Why a delivery was not accepted. A fault is ours and never a 4xx; everything else is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Reject {
    /// What came is no request, or one that two readers could read differently.
    HeadMalformed,
    /// The request's head is longer than any sender's.
    HeadTooLarge,
    /// The request's head did not arrive in time.
    HeadTooSlow,
    /// No source has this path.
    UnknownPath,
    /// The caller's address is none that may send to this source.
    AddressNotAllowed,
    /// The provider does not send with this method.
    MethodNotAllowed,
    /// The body has a Content-Encoding; signatures cover what was sent, so it is never decoded.
    ContentEncoded,
    /// The body is longer than the source allows.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The request asks to change the protocol, which would change where its body ends.
    UpgradeAsked,
    /// The source wants a client certificate, and the connection has none.
    ClientCertificateMissing,
    /// The client certificate is of another authority or subject than the source wants.
    ClientCertificateRefused,
    /// The connection ended, or its framing broke, before the body was complete.
    BodyIncomplete,
    /// The signature (or token, or credentials) is not where the scheme has it.
    SignatureMissing,
    /// The signature is there, but not in the scheme's form.
    SignatureMalformed,
    /// The signature is there more than once.
    SignatureRepeated,
    /// The signature was made with another secret or over other bytes.
    SignatureMismatch,
    /// A header or value that the scheme demands beside the signature is missing.
    CompanionMissing,
    /// A header or value that the scheme demands beside the signature is none that it allows.
    CompanionWrong,
    /// The time that the scheme signs is missing.
    TimestampMissing,
    /// The time is not in the scheme's form.
    TimestampMalformed,
    /// Signed too long ago.
    Stale,
    /// Signed too far in the future.
    Premature,
    /// The body is empty where the scheme forbids it.
    BodyEmpty,
    /// What is signed names the digest of another body.
    BodyDigestMismatch,
    /// The fields of the body are signed, and it is no form that could have been.
    FormMalformed,
    /// The token's header names another algorithm than the scheme's.
    WrongAlgorithm,
    /// A claim of the token is missing, or not what the scheme demands.
    ClaimMismatch,
    /// The token's own end has passed.
    TokenExpired,
    /// The token does not hold yet.
    TokenPremature,
    /// The token is for another method, path or query.
    RequestDigestMismatch,
    /// The delivery names a key that the source does not have, or none where one must be named.
    UnknownKey,
    /// No secret of the source is valid at this time.
    NoActiveSecret,
    /// The URL of the key that signed is none that the provider's keys have.
    UntrustedKeyUrl,
    /// Fault: the key that signed could not be fetched.
    KeyUnavailable,
    /// A handshake's challenge is longer than what is echoed, or not text that its answer can hold.
    ChallengeRefused,
    /// The payload is not valid by its schema, and the source refuses such.
    SchemaInvalid,
    /// More than the source's own rate, and the source refuses such.
    RateLimited,
    /// More requests than an address may send.
    AddressRateLimited,
    /// Fault: the quota of unconfirmed records is used up, or the disk is full.
    JournalFull,
    /// Fault: a write or sync of the journal failed.
    JournalFailed,
    /// Fault: more deliveries wait for the disk than the gateway lets wait.
    Overloaded,
    /// More events with one content than may be relayed, where there is no journal to hold them.
    TooManyTwins,
    /// Fault: RabbitMQ does not take events, and there is no journal to keep them.
    SinkAway,
    /// Fault: RabbitMQ did not confirm the event in time, refused or returned it.
    Unconfirmed,
    /// Fault: another attempt at the same event has not ended.
    ClaimRunning,
    /// Fault: this machine's clock is wrong.
    ClockWrong,
    /// A handshake that would set the source's secret, while the source is not armed.
    NotArmed,
    /// Fault: a captured secret could not be kept.
    CaptureFailed,
    /// Fault: the gateway is being taken out.
    Draining,
    /// Fault: the gateway is stopping.
    Stopping,
}

/// How a refusal shows: to the sender, in metrics, in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// HTTP status.
    pub status: u16,
    /// Stable public code in the problem document.
    pub code: &'static str,
    /// Exact cause: metric label and log field.
    pub reason: &'static str,
    /// Seconds for `Retry-After`, where a later try may go through.
    pub retry_after: Option<u16>,
    /// True for a fault of ours: logged as an error.
    pub fault: bool,
}

const fn refuse(status: u16, code: &'static str, reason: &'static str) -> Row {
    Row { status, code, reason, retry_after: None, fault: false }
}

const fn later(code: &'static str, reason: &'static str, retry_after: u16) -> Row {
    Row { status: 429, code, reason, retry_after: Some(retry_after), fault: false }
}

const fn fault(code: &'static str, reason: &'static str, retry_after: u16) -> Row {
    Row { status: 503, code, reason, retry_after: Some(retry_after), fault: true }
}

impl Reject {
    /// All of them, for tables and for metrics that start at zero.
    pub const ALL: [Self; 51] = [
        Self::HeadMalformed,
        Self::HeadTooLarge,
        Self::HeadTooSlow,
        Self::UnknownPath,
        Self::AddressNotAllowed,
        Self::MethodNotAllowed,
        Self::ContentEncoded,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::UpgradeAsked,
        Self::ClientCertificateMissing,
        Self::ClientCertificateRefused,
        Self::BodyIncomplete,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureRepeated,
        Self::SignatureMismatch,
        Self::CompanionMissing,
        Self::CompanionWrong,
        Self::TimestampMissing,
        Self::TimestampMalformed,
        Self::Stale,
        Self::Premature,
        Self::BodyEmpty,
        Self::BodyDigestMismatch,
        Self::FormMalformed,
        Self::WrongAlgorithm,
        Self::ClaimMismatch,
        Self::TokenExpired,
        Self::TokenPremature,
        Self::RequestDigestMismatch,
        Self::UnknownKey,
        Self::NoActiveSecret,
        Self::UntrustedKeyUrl,
        Self::KeyUnavailable,
        Self::ChallengeRefused,
        Self::SchemaInvalid,
        Self::RateLimited,
        Self::AddressRateLimited,
        Self::JournalFull,
        Self::JournalFailed,
        Self::Overloaded,
        Self::TooManyTwins,
        Self::SinkAway,
        Self::Unconfirmed,
        Self::ClaimRunning,
        Self::ClockWrong,
        Self::NotArmed,
        Self::CaptureFailed,
        Self::Draining,
        Self::Stopping,
    ];

    /// The one place where a refusal gets its status, code, reason, Retry-After and level.
    pub const fn row(self) -> Row {
        match self {
            Self::HeadMalformed => refuse(400, "malformed", "head_malformed"),
            Self::HeadTooLarge => refuse(431, "head_too_large", "head_too_large"),
            Self::HeadTooSlow => refuse(408, "head_too_slow", "head_too_slow"),
            Self::UnknownPath => refuse(404, "not_found", "unknown_path"),
            Self::AddressNotAllowed => refuse(403, "address_not_allowed", "address_not_allowed"),
            Self::MethodNotAllowed => refuse(405, "method_not_allowed", "method_not_allowed"),
            Self::ContentEncoded => refuse(415, "content_encoding", "content_encoded"),
            Self::BodyTooLarge => refuse(413, "body_too_large", "body_too_large"),
            Self::BodyTooSlow => refuse(408, "body_too_slow", "body_too_slow"),
            Self::UpgradeAsked => refuse(400, "malformed", "upgrade_asked"),
            Self::ClientCertificateMissing => refuse(403, "forbidden", "client_certificate_missing"),
            Self::ClientCertificateRefused => refuse(403, "forbidden", "client_certificate_refused"),
            Self::BodyIncomplete => refuse(400, "malformed", "body_incomplete"),
            Self::SignatureMissing => refuse(401, "signature_missing", "signature_missing"),
            Self::SignatureMalformed => refuse(401, "signature_invalid", "signature_malformed"),
            Self::SignatureRepeated => refuse(401, "signature_invalid", "signature_repeated"),
            Self::SignatureMismatch => refuse(401, "signature_invalid", "signature_mismatch"),
            Self::CompanionMissing => refuse(401, "signature_invalid", "companion_missing"),
            Self::CompanionWrong => refuse(401, "signature_invalid", "companion_wrong"),
            Self::TimestampMissing => refuse(401, "signature_invalid", "timestamp_missing"),
            Self::TimestampMalformed => refuse(401, "signature_invalid", "timestamp_malformed"),
            Self::Stale => refuse(401, "signature_invalid", "stale"),
            Self::Premature => refuse(401, "signature_invalid", "premature"),
            Self::BodyEmpty => refuse(401, "signature_invalid", "body_empty"),
            Self::BodyDigestMismatch => refuse(401, "signature_invalid", "body_digest_mismatch"),
            Self::FormMalformed => refuse(401, "signature_invalid", "form_malformed"),
            Self::WrongAlgorithm => refuse(401, "signature_invalid", "wrong_alg"),
            Self::ClaimMismatch => refuse(401, "signature_invalid", "claim_mismatch"),
            Self::TokenExpired => refuse(401, "signature_invalid", "token_expired"),
            Self::TokenPremature => refuse(401, "signature_invalid", "token_premature"),
            Self::RequestDigestMismatch => refuse(401, "signature_invalid", "request_digest_mismatch"),
            Self::UnknownKey => refuse(401, "signature_invalid", "unknown_key"),
            Self::NoActiveSecret => refuse(401, "signature_invalid", "no_active_secret"),
            Self::UntrustedKeyUrl => refuse(401, "signature_invalid", "untrusted_key_url"),
            Self::KeyUnavailable => fault("unavailable", "key_unavailable", 5),
            Self::ChallengeRefused => refuse(400, "malformed", "challenge_refused"),
            Self::SchemaInvalid => refuse(422, "schema_invalid", "schema_invalid"),
            Self::RateLimited => later("rate_limited", "rate_limited", 1),
            Self::AddressRateLimited => later("rate_limited", "address_rate_limited", 1),
            Self::TooManyTwins => later("too_many_twins", "too_many_twins", 300),
            Self::SinkAway => fault("unavailable", "sink_away", 5),
            Self::Unconfirmed => fault("unavailable", "unconfirmed", 5),
            Self::ClaimRunning => fault("unavailable", "claim_running", 5),
            Self::JournalFull => fault("unavailable", "journal_full", 30),
            Self::JournalFailed => fault("unavailable", "journal_failed", 5),
            Self::Overloaded => fault("unavailable", "overloaded", 1),
            Self::ClockWrong => fault("unavailable", "clock_wrong", 30),
            Self::NotArmed => refuse(403, "not_armed", "not_armed"),
            Self::CaptureFailed => fault("unavailable", "capture_failed", 5),
            Self::Draining => fault("unavailable", "draining", 5),
            Self::Stopping => fault("unavailable", "stopping", 5),
        }
    }

    /// Whether another secret, another setting of the source or another time might have let the request in: only the answers
    /// to such may be held back, and to all of them alike, or that would tell a true signature that is stale from a wrong one.
    pub const fn is_of_the_proof(self) -> bool {
        self.row().status == 401
    }

    /// The refusal with a sentence for the log: never with a secret or any of the body in it.
    pub fn because(self, detail: impl Into<Cow<'static, str>>) -> Refused {
        Refused { reject: self, detail: detail.into() }
    }
}

/// Characters of a stranger's text that a refusal shows.
const SHOWN_CHARS_MAX: usize = 64;

/// What a stranger wrote, as a refusal shows it: in quotes, in ASCII that no terminal and no log obeys, 64 characters at
/// most.
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(SHOWN_CHARS_MAX).is_some() { " and more" } else { "" };
    format!("\"{shown}\"{more}")
}

/// A refusal and what the log says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub reject: Reject,
    /// What was found, for the log only.
    pub detail: Cow<'static, str>,
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        Self { reject, detail: Cow::Borrowed("") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_are_unique_and_faults_are_503_with_a_retry_after() {
        let mut seen = HashSet::new();
        for reject in Reject::ALL {
            let row = reject.row();
            assert!(seen.insert(row.reason), "{} stands twice", row.reason);
            assert_eq!(row.fault, row.status >= 500, "{}", row.reason);
            assert_eq!(row.fault, row.retry_after.is_some() && row.status == 503, "{}", row.reason);
        }
    }

    #[test]
    fn a_strangers_text_is_short_and_obeyed_by_nobody() {
        assert_eq!(quoted("k-1"), "\"k-1\"");
        assert_eq!(quoted("a\"\n\u{1b}[2J\u{202e}\u{e9}"), "\"a\\\"\\n\\u{1b}[2J\\u{202e}\\u{e9}\"");
        assert_eq!(quoted(&"x".repeat(64)), format!("\"{}\"", "x".repeat(64)));
        assert_eq!(quoted(&"\u{10ffff}".repeat(1 << 20)).len(), 64 * 10 + 11);
    }

    #[test]
    fn all_are_listed_in_order() {
        for (index, reject) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reject as usize, index, "{reject:?}");
        }
        assert_eq!(Reject::ALL.len(), Reject::Stopping as usize + 1, "the last variant ends the list");
    }

    #[test]
    fn the_sender_cannot_tell_a_stale_signature_from_a_wrong_one() {
        let mismatch = Reject::SignatureMismatch.row();
        let others = [
            Reject::Stale,
            Reject::Premature,
            Reject::NoActiveSecret,
            Reject::BodyDigestMismatch,
            Reject::FormMalformed,
            Reject::WrongAlgorithm,
            Reject::ClaimMismatch,
            Reject::TokenExpired,
            Reject::TokenPremature,
            Reject::RequestDigestMismatch,
            Reject::UnknownKey,
        ];
        for other in others {
            assert_eq!((other.row().status, other.row().code), (mismatch.status, mismatch.code));
        }
    }
}
