//! Keys: from a secret's text to a MAC that is ready to clone.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use aws_lc_rs::signature::ParsedPublicKey;

use super::algorithm::{Mac, Output};
use super::ed25519;
use super::handshake::Lent;
use crate::clock::Timestamp;
use crate::provider::{Algorithm, KeyForm, Scheme};

/// Base64 as secrets come: with or without padding.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret whose text is not in the form that its scheme wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not in the form {wanted}{hint}")]
pub struct KeyError {
    wanted: &'static str,
    hint: &'static str,
}

impl KeyError {
    pub(super) fn new(wanted: &'static str) -> Self {
        Self::hinted(wanted, "")
    }

    /// With what the text is instead.
    pub(super) fn hinted(wanted: &'static str, hint: &'static str) -> Self {
        Self { wanted, hint }
    }
}

/// A secret of a source, ready to verify with.
#[derive(Clone, Debug)]
pub struct Key {
    label: Arc<str>,
    material: Material,
    /// What handshakes make with it.
    lent: Lent,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

/// What a key is at verification.
#[derive(Clone)]
pub(super) enum Material {
    /// A MAC with its key set up.
    Mac(Box<Mac>),
    /// What a token is compared with.
    Token(Output),
    /// A public key.
    Public(Box<ParsedPublicKey>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material(…)")
    }
}

impl Key {
    /// Makes the key that `scheme` derives from the secret's text.
    ///
    /// # Errors
    /// Where the text is not in the scheme's key form, such as hexadecimal digits.
    pub fn new(scheme: &Scheme, label: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let material = if scheme.algorithm == Algorithm::Ed25519 {
            Material::Public(Box::new(ed25519::public_key(scheme.key_form, secret)?))
        } else {
            let bytes = decode(scheme.key_form, secret)?;
            match Mac::new(scheme.algorithm, &bytes) {
                Some(mac) => Material::Mac(Box::new(mac)),
                None => Material::Token(Output::of_token(&bytes)),
            }
        };
        let lent = Lent::new(scheme, secret);
        Ok(Self { label: label.into(), material, lent, not_before: None, not_after: None })
    }

    /// Limits when the key counts: from `not_before` on, and before `not_after`.
    pub fn valid_between(mut self, not_before: Option<Timestamp>, not_after: Option<Timestamp>) -> Self {
        self.not_before = not_before;
        self.not_after = not_after;
        self
    }

    /// The secret's label.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub(super) fn active_at(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| now >= from) && self.not_after.is_none_or(|until| now < until)
    }

    pub(super) fn lent(&self) -> &Lent {
        &self.lent
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
    }
}

/// The bytes of a key that is shared, wiped when dropped.
pub(super) fn decode(form: KeyForm, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let bytes = match form {
        KeyForm::Utf8 => Some(secret.to_vec()),
        KeyForm::Hex => hex::decode(secret).ok(),
        KeyForm::Base64 => LENIENT.decode(secret).ok(),
        KeyForm::Whpk | KeyForm::Spki => None,
        KeyForm::Whsec => LENIENT.decode(secret.strip_prefix(b"whsec_").unwrap_or(secret)).ok(),
    };
    let wanted = match form {
        KeyForm::Utf8 => "text",
        KeyForm::Hex => "hexadecimal digits",
        KeyForm::Base64 => "base64",
        KeyForm::Whsec => "whsec_ and base64",
        KeyForm::Whpk | KeyForm::Spki => "of a shared key",
    };
    bytes.map(Zeroizing::new).ok_or(KeyError::new(wanted))
}
