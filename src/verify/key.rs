//! Keys: from a secret's text to a MAC that is ready to clone.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use sha1::{Digest as _, Sha1};
use unicode_normalization::UnicodeNormalization as _;

use super::algorithm::{Hash, Mac, Output};
use super::handshake::Lent;
use super::public::PublicKey;
use crate::clock::Timestamp;
use crate::provider::{Algorithm, Digest, KeyForm, Scheme, Template};

/// Base64 as secrets come: with or without padding.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many times longer UTF-8 becomes by NFKD at most (U+FDFA: 3 bytes become 33).
const NFKD_GROWTH_MAX: usize = 11;

/// A secret that its scheme cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its text is not in the form that the scheme wants.
    #[error("the secret is not in the form {wanted}{hint}")]
    Form {
        /// The form.
        wanted: &'static str,
        /// What the text is instead, where that is known.
        hint: &'static str,
    },
    /// It is one that everybody knows.
    #[error("the secret is the provider's public one for tests, which everybody knows and can sign with")]
    Known,
}

impl KeyError {
    pub(super) fn new(wanted: &'static str) -> Self {
        Self::hinted(wanted, "")
    }

    /// What to put in its place.
    pub fn allowed(&self) -> &'static str {
        match self {
            Self::Form { .. } => "the secret as the provider shows it",
            Self::Known => {
                "the secret that the provider shows for this endpoint of yours, once it is made there; or one of your own"
            }
        }
    }

    /// With what the text is instead.
    pub(super) fn hinted(wanted: &'static str, hint: &'static str) -> Self {
        Self::Form { wanted, hint }
    }
}

/// A secret of a source, ready to verify with.
#[derive(Clone, Debug)]
pub struct Key {
    label: Arc<str>,
    material: Material,
    id: Option<Arc<str>>,
    /// The MACs of the other algorithms that a signature's prefix may name.
    choices: Vec<(Algorithm, Material)>,
    slot: Option<u8>,
    /// What handshakes make with it.
    lent: Lent,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

/// What a key is at verification.
#[derive(Clone)]
pub(super) enum Material {
    /// A MAC with its key set up.
    Mac(Box<Keyed>),
    /// What stands among the bytes of a plain digest.
    Plain(Arc<PlainKey>),
    /// What a token is compared with.
    Token(Output),
    /// A public key.
    Public(Arc<PublicKey>),
    /// No key: the source proves nothing.
    Nothing,
}

/// A MAC, and the secret where it stands among the signed bytes, too.
#[derive(Clone)]
pub(super) struct Keyed {
    pub(super) mac: Mac,
    pub(super) secret: Arc<Zeroizing<Vec<u8>>>,
}

impl Keyed {
    fn new(scheme: &Scheme, algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let held = scheme.signed.iter().any(Template::holds_secret);
        let secret = if held { bytes.to_vec() } else { Vec::new() };
        Some(Self { mac: Mac::new(algorithm, bytes)?, secret: Arc::new(Zeroizing::new(secret)) })
    }
}

/// The secret of a plain digest.
pub(super) struct PlainKey {
    digest: Digest,
    bytes: Zeroizing<Vec<u8>>,
}

impl PlainKey {
    /// A digest under way, and the bytes that stand for `{secret}` in it.
    pub(super) fn begin(&self) -> (Hash, &[u8]) {
        (Hash::new(self.digest), &self.bytes)
    }
}

impl Drop for Material {
    /// The rest is wiped where it is: MACs and plain keys by their own types, and a public key is no secret.
    fn drop(&mut self) {
        if let Self::Token(token) = self {
            token.wipe();
        }
    }
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
        if scheme.known_secrets.iter().any(|known| known.as_bytes() == secret) {
            return Err(KeyError::Known);
        }
        let material = Material::read(scheme, secret)?;
        let id = match &material {
            Material::Public(public) => public.id().map(Arc::from),
            _ => None,
        };
        let mut choices = Vec::with_capacity(scheme.signature.choices.len());
        for (_, algorithm) in &scheme.signature.choices {
            let keyed = Keyed::new(scheme, *algorithm, &decode(scheme.key_form, secret)?);
            choices.extend(keyed.map(|keyed| (*algorithm, Material::Mac(Box::new(keyed)))));
        }
        Ok(Self { id, choices, lent: Lent::new(scheme, secret), ..Self::bare(label, material) })
    }

    /// What stands in the place of a key for a source that proves nothing.
    pub fn unauthenticated() -> Self {
        Self::bare("none", Material::Nothing)
    }

    fn bare(label: &str, material: Material) -> Self {
        let (label, choices, lent) = (label.into(), Vec::new(), Lent::default());
        Self { label, material, id: None, choices, slot: None, lent, not_before: None, not_after: None }
    }

    /// Gives the key the id that deliveries name it by; without one, a JWK has that of its own text.
    pub fn with_id(mut self, id: Option<&str>) -> Self {
        self.id = id.map(Arc::from).or(self.id);
        self
    }

    /// Ties the key to the signature's place of that number, where the scheme has several with secrets of their own.
    pub fn in_slot(mut self, slot: Option<u8>) -> Self {
        self.slot = slot;
        self
    }

    /// The id that deliveries name it by.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What an operator should know of it, such as that it is short.
    pub fn warning(&self) -> Option<&'static str> {
        match &self.material {
            Material::Public(public) => public.warning(),
            _ => None,
        }
    }

    pub(super) fn lent(&self) -> &Lent {
        &self.lent
    }

    /// Whether a signature found in `slot` can be of this key.
    pub(super) fn fits(&self, slot: Option<u8>) -> bool {
        slot.is_none() || self.slot.is_none() || self.slot == slot
    }

    /// What makes signatures of `algorithm` of this key.
    pub(super) fn material_for(&self, algorithm: Algorithm) -> &Material {
        let other = self.choices.iter().find(|(known, _)| *known == algorithm);
        other.map_or(&self.material, |(_, material)| material)
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
}

impl Material {
    fn read(scheme: &Scheme, secret: &[u8]) -> Result<Self, KeyError> {
        if scheme.has_public_keys() {
            let key = PublicKey::read(scheme.algorithm, scheme.key_form, secret)?;
            return Ok(Self::Public(Arc::new(key)));
        }
        let bytes = decode(scheme.key_form, secret)?;
        match scheme.algorithm {
            Algorithm::Plain(digest) => Ok(Self::Plain(Arc::new(PlainKey { digest, bytes }))),
            Algorithm::Basic if !bytes.contains(&b':') => Err(KeyError::new("user:password")),
            Algorithm::Unauthenticated => Err(KeyError::new("nothing: this scheme has no secrets")),
            algorithm => Ok(match Keyed::new(scheme, algorithm, &bytes) {
                Some(keyed) => Self::Mac(Box::new(keyed)),
                None => Self::Token(Output::of_token(&bytes)),
            }),
        }
    }
}

/// The bytes of a key that is shared, wiped when dropped.
pub(super) fn decode(form: KeyForm, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let bytes = match form {
        KeyForm::Utf8 => Some(secret.to_vec()),
        KeyForm::Hex => hex::decode(secret).ok(),
        KeyForm::Base64 => LENIENT.decode(secret).ok(),
        // No character becomes longer than that, so no copy is left behind by growing.
        KeyForm::Nfkd => std::str::from_utf8(secret).ok().map(|text| {
            let mut whole = String::with_capacity(text.len() * NFKD_GROWTH_MAX);
            whole.extend(text.nfkd());
            whole.into_bytes()
        }),
        KeyForm::Sha1 => Some(Sha1::digest(secret).to_vec()),
        KeyForm::Whpk | KeyForm::PublicKey => None,
        KeyForm::Whsec => LENIENT.decode(secret.strip_prefix(b"whsec_").unwrap_or(secret)).ok(),
    };
    let wanted = match form {
        KeyForm::Utf8 | KeyForm::Sha1 => "text",
        KeyForm::Nfkd => "text in UTF-8",
        KeyForm::Hex => "hexadecimal digits",
        KeyForm::Base64 => "base64",
        KeyForm::Whsec => "whsec_ and base64",
        KeyForm::Whpk | KeyForm::PublicKey => "of a shared key",
    };
    bytes.map(Zeroizing::new).ok_or(KeyError::new(wanted))
}
