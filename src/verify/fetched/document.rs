//! From what stands at a key's URL to keys. What cannot be read is no key; nothing of it is ever shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use x509_parser::pem::Pem;

use crate::clock::Timestamp;
use crate::extract;
use crate::provider::{KeyDocument, Scheme};
use crate::verify::Key;

/// Label of the keys that were fetched.
pub(in crate::verify) const LABEL: &str = "fetched";
/// Most keys of a set.
const KEYS_MAX: usize = 64;

/// A document in which there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no set of keys.
    #[error("what came is no JSON with a list `keys`")]
    NotJwks,
    /// It has more keys than are looked at.
    #[error("what came has more than {KEYS_MAX} keys")]
    TooMany,
    /// There is no text at the pointer.
    #[error("what came is no JSON with a text at the pointer")]
    NoText,
    /// It is no certificate.
    #[error("what came is no X.509 certificate in PEM")]
    NotX509,
    /// None of what is there is a key that the scheme's algorithm takes.
    #[error("what came has no key that the scheme's algorithm takes")]
    NoKey,
}

/// Keys that came from one URL.
#[derive(Debug)]
pub struct Document {
    /// Those of one id beside each other.
    keys: Vec<Key>,
    /// Their ids, in the same order; all `None` where keys have none there.
    ids: Vec<Option<String>>,
}

impl Document {
    /// Reads the keys of `scheme` out of `bytes`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read(scheme: &Scheme, form: &KeyDocument, bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut read = match form {
            KeyDocument::Jwks => jwks(scheme, bytes)?,
            KeyDocument::Pem => one(key(scheme, bytes)),
            KeyDocument::Json(pointer) => {
                let found = extract::find(bytes, &[pointer]).pop().flatten();
                let text = found.and_then(|value| value.text()).ok_or(DocumentError::NoText)?;
                one(key(scheme, text.as_bytes()))
            }
            KeyDocument::X509 => one(certificate(scheme, bytes)?),
        };
        if read.is_empty() {
            return Err(DocumentError::NoKey);
        }
        read.sort_by(|one, other| one.0.cmp(&other.0));
        let (ids, keys) = read.into_iter().unzip();
        Ok(Self { keys, ids })
    }

    /// The keys with this id; all where none is asked for, or where the document names none, being of one key alone.
    pub fn keys(&self, id: Option<&str>) -> &[Key] {
        let Some(id) = id.filter(|_| self.ids.iter().any(Option::is_some)) else { return &self.keys };
        let wanted = Some(id);
        let from = self.ids.partition_point(|known| known.as_deref() < wanted);
        let to = self.ids.partition_point(|known| known.as_deref() <= wanted);
        &self.keys[from..to]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none, which no document that was read is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

type Read = (Option<String>, Key);

fn one(key: Option<Key>) -> Vec<Read> {
    key.map(|key| (None, key)).into_iter().collect()
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// What a JSON Web Key says of itself, beside its numbers.
#[derive(Deserialize)]
struct KeyHead {
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
}

/// Sets hold keys of several kinds and purposes: what this scheme cannot use is passed over.
fn jwks(scheme: &Scheme, bytes: &[u8]) -> Result<Vec<Read>, DocumentError> {
    let set: KeySet<'_> = serde_json::from_slice(bytes).map_err(|_| DocumentError::NotJwks)?;
    if set.keys.len() > KEYS_MAX {
        return Err(DocumentError::TooMany);
    }
    let read = |jwk: &&RawValue| {
        let head: KeyHead = serde_json::from_str(jwk.get()).ok()?;
        let signs = head.purpose.is_none_or(|purpose| purpose == "sig");
        key(scheme, jwk.get().as_bytes()).filter(|_| signs).map(|key| (head.kid, key))
    };
    Ok(set.keys.iter().filter_map(read).collect())
}

/// A key as the scheme's key form takes it from a source's secret.
fn key(scheme: &Scheme, text: &[u8]) -> Option<Key> {
    Key::new(scheme, LABEL, text.trim_ascii()).ok()
}

/// The key of the first certificate, for as long as that is valid. Who issued it is not looked at: issuers between it
/// and a root seldom come with it, so its origin, an `https` URL that the provider's file pins, is what proves it.
fn certificate(scheme: &Scheme, bytes: &[u8]) -> Result<Option<Key>, DocumentError> {
    let pem = Pem::iter_from_buffer(bytes).next().and_then(Result::ok).ok_or(DocumentError::NotX509)?;
    let certificate = pem.parse_x509().map_err(|_| DocumentError::NotX509)?;
    let text = STANDARD.encode(certificate.public_key().raw);
    let validity = certificate.validity();
    let from = Timestamp::from_seconds(validity.not_before.timestamp());
    // The second that it names is its last.
    let until = Timestamp::from_seconds(validity.not_after.timestamp().saturating_add(1));
    Ok(key(scheme, text.as_bytes()).map(|key| key.valid_between(Some(from), Some(until))))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

    use super::*;
    use crate::extract::Pointer;
    use crate::provider::Catalog;

    const X: &str = "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
                       MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=\n-----END PUBLIC KEY-----\n";

    fn scheme() -> Scheme {
        let catalog = Catalog::built_in().unwrap();
        let scheme = Scheme::build(catalog.get("discord").unwrap(), None, &Default::default()).unwrap();
        Scheme { key_form: crate::provider::KeyForm::PublicKey, ..scheme }
    }

    fn read(form: &KeyDocument, bytes: &[u8]) -> Result<Document, DocumentError> {
        Document::read(&scheme(), form, bytes)
    }

    fn jwk(kid: &str, more: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}","kid":"{kid}"{more}}}"#)
    }

    #[test]
    fn a_set_gives_the_keys_of_an_id_and_passes_over_what_is_of_no_use() {
        let rsa = r#"{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"}"#;
        let keys = [jwk("b", ""), jwk("a", ""), jwk("b", ""), jwk("enc", r#","use":"enc""#), rsa.to_owned()];
        let set = format!(r#"{{"keys":[{}],"more":1}}"#, keys.join(","));
        let document = read(&KeyDocument::Jwks, set.as_bytes()).unwrap();
        let count = |id: Option<&str>| document.keys(id).len();
        assert_eq!((count(Some("a")), count(Some("b")), count(None)), (1, 2, 3));
        for id in ["", "A", "enc", "r", "ab", "zz"] {
            assert_eq!(count(Some(id)), 0, "{id:?}");
        }
    }

    #[test]
    fn what_is_no_set_of_usable_keys_is_refused() {
        let set = |keys: &str| read(&KeyDocument::Jwks, format!(r#"{{"keys":{keys}}}"#).as_bytes()).err();
        assert_eq!(set("[]"), Some(DocumentError::NoKey));
        assert_eq!(set(r#"[{"kty":"oct","k":"AA"},7,null,"x"]"#), Some(DocumentError::NoKey));
        assert_eq!(set(r#"{"a":1}"#), Some(DocumentError::NotJwks));
        let many = vec![jwk("a", ""); KEYS_MAX + 1].join(",");
        assert_eq!(set(&format!("[{many}]")), Some(DocumentError::TooMany));
        for bytes in ["", "<html>", "[]", "{\"keys\":"] {
            assert_eq!(read(&KeyDocument::Jwks, bytes.as_bytes()).err(), Some(DocumentError::NotJwks));
        }
    }

    #[test]
    fn pem_stands_alone_or_in_json() {
        assert_eq!(read(&KeyDocument::Pem, PEM.as_bytes()).unwrap().keys(Some("any")).len(), 1);
        assert_eq!(read(&KeyDocument::Pem, b"<html>").err(), Some(DocumentError::NoKey));
        let json = KeyDocument::Json(Pointer::parse("/config/key").unwrap());
        let body = serde_json::json!({ "config": { "key": PEM } }).to_string();
        assert_eq!(read(&json, body.as_bytes()).unwrap().len(), 1);
        assert_eq!(read(&json, b"{\"config\":{}}").err(), Some(DocumentError::NoText));
        assert_eq!(read(&json, b"{\"config\":{\"key\":\"x\"}}").err(), Some(DocumentError::NoKey));
    }

    #[test]
    fn a_certificate_counts_while_it_is_valid() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec!["sender.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 3, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let pem = params.self_signed(&pair).unwrap().pem();
        let document = read(&KeyDocument::X509, format!("{pem}{pem}").as_bytes()).unwrap();
        let active = |time: &str| document.keys(None)[0].active_at(time.parse().unwrap());
        assert!(active("2026-03-01T00:00:00Z") && active("2026-03-31T23:59:59Z"));
        assert!(!active("2026-02-28T23:59:59Z") && !active("2026-04-01T00:00:01Z"));
        for bytes in [PEM, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(read(&KeyDocument::X509, bytes.as_bytes()).err(), Some(DocumentError::NotX509));
        }
    }
}
