//! Causes: every mistake that a diagnosis can name, under a stable code, and a finding of one.

/// A mistake, on the sender's side or on ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The signature is missing, and so is any other.
    SignatureMissing,
    /// Another provider's signature is there.
    OtherProvider,
    /// Another scheme of the same provider was used.
    OtherScheme,
    /// A value that the scheme demands beside the signature is missing.
    CompanionMissing,
    /// The signature is in no form that was tried.
    SignatureMalformed,
    /// Only signatures of another version are there.
    OtherVersion,
    /// The signature is right in another encoding.
    SignatureEncoding,
    /// The signature is right under another prefix, or without one.
    SignaturePrefix,
    /// The signature is right under another hash.
    SignatureHash,
    /// The signature is right over other bytes than the scheme's.
    SignedOtherwise,
    /// The signature's letters are in another case.
    SignatureCase,
    /// The signature has quotes or white space around it.
    SignatureQuoted,
    /// The signature is shorter than any real one.
    SignatureTruncated,
    /// The signature stands there twice.
    SignatureRepeated,
    /// The secret has white space or a newline around it, or lacks one.
    SecretWhitespace,
    /// The secret has quotes around it, or lacks them.
    SecretQuotes,
    /// The secret has `\n` where a line ends, or the other way round.
    SecretEscaped,
    /// The secret has a prefix that does not belong to it, or lacks one.
    SecretPrefix,
    /// The secret holds more than itself, such as its variable's name.
    SecretVariable,
    /// The secret is in another case.
    SecretCase,
    /// The secret is to be read another way: as text, hexadecimal digits or base64.
    SecretForm,
    /// The secret is a key of another kind.
    SecretKind,
    /// The secret matches, outside the time in which it counts.
    InactiveSecret,
    /// Another source's secret matches.
    OtherSecret,
    /// A newline or white space was added to the body or cut off.
    BodyNewline,
    /// Line ends of the body were changed.
    BodyLineEnds,
    /// A byte order mark was added to the body or cut off.
    BodyBom,
    /// The body was parsed and printed again.
    BodyReserialised,
    /// The body was compressed or expanded on the way.
    BodyCompressed,
    /// The form was decoded and encoded again.
    FormReencoded,
    /// The text was brought into another Unicode form.
    BodyNormalised,
    /// The text was read and written in different charsets.
    BodyCharset,
    /// The body was wrapped once more, in base64 or a JSON string.
    BodyWrapped,
    /// The body ends too early.
    BodyTruncated,
    /// The body is longer than its header says.
    BodyLength,
    /// The body is missing.
    BodyEmpty,
    /// Another protocol in the URL was signed.
    UrlProtocol,
    /// Another host in the URL was signed.
    UrlHost,
    /// Another port in the URL was signed.
    UrlPort,
    /// Another path was signed.
    UrlPath,
    /// The path was signed with a slash at its end, or without one.
    UrlSlash,
    /// The URL was signed without its query, or with it.
    UrlQuery,
    /// The URL was signed in another percent-encoding.
    UrlEncoding,
    /// The time is in another unit.
    TimeUnit,
    /// The time is in no form that was tried.
    TimeMalformed,
    /// The signature is right and old.
    Stale,
    /// The signature is right and ahead of this machine's clock.
    ClockBehind,
    /// The method is not one that the provider sends with.
    Method,
    /// Nothing that was tried verifies: a wrong secret, or forged.
    Unknown,
    /// The refusal's own reason says all there is to say.
    Plain,
}

impl Cause {
    /// Its stable code: metric label, log field, and what scripts compare.
    pub const fn code(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::OtherProvider => "other_provider",
            Self::OtherScheme => "other_scheme",
            Self::CompanionMissing => "companion_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::OtherVersion => "other_version",
            Self::SignatureEncoding => "signature_encoding",
            Self::SignaturePrefix => "signature_prefix",
            Self::SignatureHash => "signature_hash",
            Self::SignedOtherwise => "signed_otherwise",
            Self::SignatureCase => "signature_case",
            Self::SignatureQuoted => "signature_quoted",
            Self::SignatureTruncated => "signature_truncated",
            Self::SignatureRepeated => "signature_repeated",
            Self::SecretWhitespace => "secret_whitespace",
            Self::SecretQuotes => "secret_quotes",
            Self::SecretEscaped => "secret_escaped",
            Self::SecretPrefix => "secret_prefix",
            Self::SecretVariable => "secret_variable",
            Self::SecretCase => "secret_case",
            Self::SecretForm => "secret_form",
            Self::SecretKind => "secret_kind",
            Self::InactiveSecret => "inactive_secret",
            Self::OtherSecret => "other_secret",
            Self::BodyNewline => "body_newline",
            Self::BodyLineEnds => "body_line_ends",
            Self::BodyBom => "body_bom",
            Self::BodyReserialised => "body_reserialised",
            Self::BodyCompressed => "body_compressed",
            Self::FormReencoded => "form_reencoded",
            Self::BodyNormalised => "body_normalised",
            Self::BodyCharset => "body_charset",
            Self::BodyWrapped => "body_wrapped",
            Self::BodyTruncated => "body_truncated",
            Self::BodyLength => "body_length",
            Self::BodyEmpty => "body_empty",
            Self::UrlProtocol => "url_protocol",
            Self::UrlHost => "url_host",
            Self::UrlPort => "url_port",
            Self::UrlPath => "url_path",
            Self::UrlSlash => "url_slash",
            Self::UrlQuery => "url_query",
            Self::UrlEncoding => "url_encoding",
            Self::TimeUnit => "time_unit",
            Self::TimeMalformed => "time_malformed",
            Self::Stale => "stale",
            Self::ClockBehind => "clock_behind",
            Self::Method => "method",
            Self::Unknown => "unknown",
            Self::Plain => "plain",
        }
    }

    /// The finding of this cause.
    pub(super) fn found(self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { cause: self, found: found.into(), advice: advice.into() }
    }
}

/// A cause in one case, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub cause: Cause,
    /// What was found; never with a secret or any of the body in it.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.found, self.advice)
    }
}
