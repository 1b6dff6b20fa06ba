//! Compact JSON Web Tokens (RFC 7515): three canonical base64url parts, one signature by one pinned algorithm. Takes
//! a token apart and proves nothing: what it holds counts only once `token` has found the key that signed it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::provider::Jws;
use crate::reject::{Refused, Reject, quoted};

/// Longest token in a header; one that is the body itself is bounded as every body is.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest signature in a token: RSA of 8192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;

/// A token taken apart; nothing in it is proved.
pub(super) struct Token<'t> {
    /// What is signed: header and claims as they stand there, with the dot between them.
    pub(super) signed: &'t str,
    /// The header's JSON.
    pub(super) header: Vec<u8>,
    /// The claims' JSON.
    pub(super) claims: Vec<u8>,
    /// The signature's bytes.
    pub(super) signature: Vec<u8>,
}

/// The header's members that change what a token means. One that stands twice is an error of the parser.
#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
}

impl<'t> Token<'t> {
    /// Takes a token apart that must be signed by `jws`.
    ///
    /// # Errors
    /// `SignatureMalformed` where it is no such token, `WrongAlgorithm` where its header says another.
    pub(super) fn parse(text: &'t str, jws: Jws) -> Result<Self, Refused> {
        let malformed = |detail: &'static str| Reject::SignatureMalformed.because(detail);
        let (signed, signature) =
            text.rsplit_once('.').ok_or_else(|| malformed("the token has no three parts"))?;
        let (header, claims) =
            signed.split_once('.').ok_or_else(|| malformed("the token has no three parts"))?;
        if claims.contains('.') {
            return Err(malformed("the token has more than three parts"));
        }
        let part = |text: &str| {
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| malformed("a part of the token is no canonical, unpadded base64url"))
        };
        let header = part(header)?;
        algorithm(&header, jws)?;
        if signature.len() > 2 * SIGNATURE_BYTES_MAX {
            return Err(malformed("the token's signature is longer than any"));
        }
        let (claims, signature) = (part(claims)?, part(signature)?);
        if signature.is_empty() {
            return Err(malformed("the token's signature is empty"));
        }
        Ok(Self { signed, header, claims, signature })
    }
}

/// The header may not choose: it must say what the scheme says.
fn algorithm(header: &[u8], jws: Jws) -> Result<(), Refused> {
    // Members that mean nothing here are passed over, whatever bytes they have.
    let text = std::str::from_utf8(header).ok();
    let header: Header = text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
        Reject::SignatureMalformed.because("the token's header is no JSON object with an alg")
    })?;
    if header.alg != jws.name() {
        let detail =
            format!("the token's alg is {}, and this scheme has {}", quoted(&header.alg), jws.name());
        return Err(Reject::WrongAlgorithm.because(detail));
    }
    if header.crit.is_some() || header.b64.is_some() {
        return Err(Reject::SignatureMalformed.because("the token's header demands extensions (crit, b64)"));
    }
    Ok(())
}

/// A token's parts as its sender writes them, without the signature.
pub(super) fn unsigned(header: &[u8], claims: &[u8]) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// The whole token.
pub(super) fn sealed(unsigned: &str, signature: &[u8]) -> String {
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}
