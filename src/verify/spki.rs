//! Public keys from the texts they come in: PEM and base64 of SubjectPublicKeyInfo, PKCS #1 and X.509, and JWK. Says
//! what a key is; which algorithm may use it, and whether it proves anything, is `public`'s to judge.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::der::{CONTEXT_0, Der, INTEGER, OBJECT_ID};
use super::key::LENIENT;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// A named curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Bytes of a coordinate.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// A public key's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Modulus and exponent, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point as SEC 1 writes it, not yet known to be on its curve.
    Ec { curve: Curve, point: Vec<u8> },
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

/// A key's numbers, and what its text said of it.
#[derive(Debug)]
pub(super) struct PublicText {
    pub(super) numbers: Numbers,
    /// A JWK's `kid`.
    pub(super) id: Option<String>,
    /// A JWK's `alg`.
    pub(super) algorithm: Option<String>,
}

/// Why a text holds no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is a private key.
    Private,
    /// A JWK for something else than signatures.
    OtherUse,
    /// It is none of the forms.
    Unknown,
}

/// Reads a public key in any of its forms.
///
/// # Errors
/// What the text is instead.
pub(super) fn read(text: &[u8]) -> Result<PublicText, Unread> {
    if text.trim_ascii_start().starts_with(b"{") {
        return jwk(text);
    }
    if ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]
        .iter()
        .any(|kind| armoured(text, kind))
    {
        return Err(Unread::Private);
    }
    let numbers = if armoured(text, "PUBLIC KEY") {
        pem(text, "PUBLIC KEY").and_then(|der| spki(&der))
    } else if armoured(text, "RSA PUBLIC KEY") {
        pem(text, "RSA PUBLIC KEY").and_then(|der| pkcs1(&der))
    } else if armoured(text, "CERTIFICATE") {
        pem(text, "CERTIFICATE").and_then(|der| certificate(&der))
    } else {
        let der = LENIENT.decode(without_blanks(text)?).map_err(|_| Unread::Unknown)?;
        if is_private(&der) {
            return Err(Unread::Private);
        }
        spki(&der).or_else(|| pkcs1(&der)).or_else(|| certificate(&der))
    };
    let numbers = numbers.ok_or(Unread::Unknown)?;
    Ok(PublicText { numbers, id: None, algorithm: None })
}

fn without_blanks(text: &[u8]) -> Result<String, Unread> {
    let text = std::str::from_utf8(text).map_err(|_| Unread::Unknown)?;
    Ok(text.split_ascii_whitespace().collect())
}

/// Whether the text begins a PEM block of that kind.
pub(super) fn armoured(text: &[u8], kind: &str) -> bool {
    text.trim_ascii_start().starts_with(format!("-----BEGIN {kind}-----").as_bytes())
}

/// The bytes of the first PEM block, which is of that kind. Its lines may have been joined, or the breaks between
/// them written as `\n`, as variables of the environment have them. Only a certificate may have others after it.
pub(super) fn pem(text: &[u8], kind: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let text: Cow<'_, str> = match text.contains("\\n") {
        true => Cow::Owned(text.replace("\\r", "").replace("\\n", "\n")),
        false => Cow::Borrowed(text),
    };
    let inside = text.trim().strip_prefix(&format!("-----BEGIN {kind}-----"))?;
    let (inside, rest) = inside.split_once(&format!("-----END {kind}-----"))?;
    if !rest.is_empty() && kind != "CERTIFICATE" {
        return None;
    }
    LENIENT.decode(inside.split_ascii_whitespace().collect::<String>()).ok()
}

/// PKCS #8 or PKCS #1 or SEC 1: a sequence that begins with a small version number.
fn is_private(der: &[u8]) -> bool {
    let version = Der::new(der).sequence().and_then(|mut inside| inside.take(INTEGER));
    matches!(version, Some([0 | 1]))
}

fn spki(der: &[u8]) -> Option<Numbers> {
    let mut outer = Der::new(der);
    let inside = outer.sequence()?;
    outer.end()?;
    info(inside)
}

/// What stands in a SubjectPublicKeyInfo. Curves have names: one that is spelled out could be any.
fn info(mut inside: Der<'_>) -> Option<Numbers> {
    let mut algorithm = inside.sequence()?;
    let bytes = inside.bits()?;
    inside.end()?;
    let name = algorithm.take(OBJECT_ID)?;
    let numbers = match name {
        RSA => {
            algorithm.any().filter(|found| *found == (0x05, &[]))?;
            pkcs1(bytes)?
        }
        EC => {
            let curve = match algorithm.take(OBJECT_ID)? {
                P256 => Curve::P256,
                P384 => Curve::P384,
                _ => return None,
            };
            Numbers::Ec { curve, point: bytes.to_vec() }
        }
        ED25519 => Numbers::Ed25519(bytes.to_vec()),
        _ => return None,
    };
    algorithm.end()?;
    Some(numbers)
}

fn pkcs1(der: &[u8]) -> Option<Numbers> {
    let mut outer = Der::new(der);
    let mut inside = outer.sequence()?;
    outer.end()?;
    let (n, e) = (inside.positive()?, inside.positive()?);
    inside.end()?;
    Some(Numbers::Rsa { n: n.to_vec(), e: e.to_vec() })
}

/// The key of an X.509 certificate; that somebody vouches for it is not looked at here.
fn certificate(der: &[u8]) -> Option<Numbers> {
    let mut outer = Der::new(der);
    let mut signed = outer.sequence()?.sequence()?;
    outer.end()?;
    signed.skip_optional(CONTEXT_0)?;
    signed.take(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        signed.sequence()?;
    }
    info(signed.sequence()?)
}

/// The members of a JWK (RFC 7517) that matter here; one that stands twice is an error of the parser.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
}

fn jwk(text: &[u8]) -> Result<PublicText, Unread> {
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| Unread::Unknown)?;
    if jwk.d.is_some() || jwk.k.is_some() {
        return Err(Unread::Private);
    }
    let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
    let verifies = jwk.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !signs || !verifies {
        return Err(Unread::OtherUse);
    }
    let numbers = jwk.numbers().ok_or(Unread::Unknown)?;
    Ok(PublicText { numbers, id: jwk.kid, algorithm: jwk.alg })
}

impl Jwk {
    fn numbers(&self) -> Option<Numbers> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let curve = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => {
                let whole = |bytes: Vec<u8>| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    bytes.get(zeros..).map(<[u8]>::to_vec)
                };
                return Some(Numbers::Rsa {
                    n: bytes(&self.n).and_then(whole)?,
                    e: bytes(&self.e).and_then(whole)?,
                });
            }
            ("OKP", Some("Ed25519")) => return bytes(&self.x).map(Numbers::Ed25519),
            ("EC", Some("P-256")) => Curve::P256,
            ("EC", Some("P-384")) => Curve::P384,
            _ => return None,
        };
        let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
        if x.len() != curve.bytes() || y.len() != curve.bytes() {
            return None;
        }
        Some(Numbers::Ec { curve, point: [&[4][..], &x, &y].concat() })
    }
}
