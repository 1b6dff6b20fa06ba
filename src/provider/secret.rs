//! Secrets: where they come from ([`SecretRef`]) and what they are ([`Secret`]).
//!
//! The process environment enters the program here, once, as an [`Environment`]; secret files are read here.
//! A resolved secret can be used through [`Secret::expose`] only: it has no equality, no serialization, its
//! debug form is its label, and its memory is wiped when it is dropped. No error here carries secret text.

mod form;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeMap, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Timestamp;

/// The longest secret, in bytes; a longer file is not a secret but a mistake.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The shortest key of a source or token of the admin port, in bytes.
pub const KEY_BYTES_MIN: usize = 16;

/// The environment as it was at one moment, so that nothing reads it later and tests bring their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of `name`, which need not be text.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Every variable whose name is text, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0.iter().filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
    }
}

impl Drop for Environment {
    /// This copy ends with the start; that of the system, which others of this user can read, does not.
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            std::mem::take(value).into_encoded_bytes().zeroize();
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Where a secret is kept. Exactly one of `env`, `file`, `credential` and `value`; a bare string is a `value`.
#[derive(Clone, Debug)]
pub struct SecretRef {
    /// The place it is read from.
    pub place: SecretPlace,
    /// The name it is shown and counted under; default `secret-<position>`.
    pub label: Option<String>,
    /// The id by which deliveries name this key, under a scheme where they do.
    pub kid: Option<String>,
    /// The place of signatures that it goes with, counted from 0, under a scheme that has several; default: any.
    pub slot: Option<u8>,
    /// It verifies nothing before this time (RFC 3339); default: no bound.
    pub not_before: Option<Timestamp>,
    /// It verifies nothing from this time on (RFC 3339); default: no bound.
    pub not_after: Option<Timestamp>,
}

/// The places a secret can be kept in.
#[derive(Clone)]
pub enum SecretPlace {
    /// The environment variable of this name, or the file that `<name>_FILE` names.
    Env(String),
    /// A file; a relative path begins in the folder the gateway was started in.
    File(PathBuf),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The file that a capturing handshake writes; relative as [`SecretPlace::File`] is. There may be none yet.
    Captured(PathBuf),
    /// The configuration itself, as plain text; for development only.
    Value(Zeroizing<String>),
}

impl fmt::Debug for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Captured(path) => write!(f, "captured {}", path.display()),
            Self::Value(_) => f.write_str("value ***"),
        }
    }
}

impl Serialize for SecretRef {
    /// As it is configured, but for a text that stands in the configuration itself.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.place {
            SecretPlace::Env(name) => map.serialize_entry("env", name)?,
            SecretPlace::File(path) => map.serialize_entry("file", path)?,
            SecretPlace::Credential(name) => map.serialize_entry("credential", name)?,
            SecretPlace::Captured(path) => map.serialize_entry("captured", path)?,
            SecretPlace::Value(_) => map.serialize_entry("value", "***")?,
        }
        let Self { place: _, label, kid, slot, not_before, not_after } = self;
        for (key, text) in [("label", label), ("kid", kid)] {
            text.iter().try_for_each(|text| map.serialize_entry(key, text))?;
        }
        slot.iter().try_for_each(|slot| map.serialize_entry("slot", slot))?;
        for (key, time) in [("not_before", not_before), ("not_after", not_after)] {
            time.iter().try_for_each(|time| map.serialize_entry(key, &time.to_string()))?;
        }
        map.end()
    }
}

/// Why a secret cannot be used. Names the place, never the text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither the variable nor its `_FILE` twin is set.
    #[error("environment variable {0} is not set, nor is {0}_FILE")]
    Unset(String),
    /// The variable and its `_FILE` twin are both set.
    #[error("environment variables {0} and {0}_FILE are both set")]
    Ambiguous(String),
    /// The service was not started with credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
    /// The file cannot be read.
    #[error("file {} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// There is no byte in it.
    #[error("{0} is empty")]
    Empty(String),
    /// There is nothing but white space in it.
    #[error("{0} is nothing but white space")]
    Blank(String),
    /// It is too short to be a key.
    #[error("{place} holds {len} bytes")]
    Short {
        /// Where it was read from.
        place: String,
        /// Its length in bytes.
        len: usize,
    },
    /// It is brought by a handshake, and only to a source.
    #[error("a captured secret ({}), which only a source can have", .0.display())]
    Captured(PathBuf),
    /// It is longer than [`SECRET_BYTES_MAX`].
    #[error("{0} holds more than {SECRET_BYTES_MAX} bytes")]
    Long(String),
}

/// A secret with what was odd about its text.
#[derive(Debug)]
pub struct Resolved {
    /// The secret.
    pub secret: Secret,
    /// What an operator should know, such as a newline that was cut off.
    pub warning: Option<String>,
}

impl SecretRef {
    /// What is allowed in its place.
    pub const EXPECTED: &str =
        "a reference such as { env = \"NAME\" }, { file = \"/path\" } or { credential = \"name\" }";

    /// Whether the secret's text stands in the configuration itself.
    pub fn is_plain(&self) -> bool {
        matches!(self.place, SecretPlace::Value(_))
    }

    /// The label of this secret at `position`, counted from 1.
    pub fn label_at(&self, position: usize) -> String {
        self.label.clone().unwrap_or_else(|| format!("secret-{position}"))
    }

    /// Reads the secret, the one at `position` (from 1) of its list, and refuses one shorter than `bytes_min`.
    /// One newline at the end is cut off, with a warning.
    ///
    /// # Errors
    /// [`SecretError`] if it is missing, unreadable, empty, blank, too short or too long.
    pub fn resolve(
        &self,
        env: &Environment,
        position: usize,
        bytes_min: usize,
    ) -> Result<Resolved, SecretError> {
        let (place, mut bytes) = self.place.read(env)?;
        let trimmed = trim_newline(&mut bytes);
        if bytes.is_empty() {
            return Err(SecretError::Empty(place));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(SecretError::Blank(place));
        }
        if bytes.len() < bytes_min {
            return Err(SecretError::Short { place, len: bytes.len() });
        }
        // A key in PEM ends with one wherever it comes from.
        let odd = trimmed && !bytes.starts_with(b"-----BEGIN");
        let warning = odd.then(|| format!("{place} ends with a newline, which is not part of the secret"));
        let secret = Secret {
            bytes,
            label: self.label_at(position),
            kid: self.kid.clone(),
            slot: self.slot,
            not_before: self.not_before,
            not_after: self.not_after,
        };
        Ok(Resolved { secret, warning })
    }
}

impl SecretPlace {
    /// The file that a secret of this place is read from, whether it is there or not; a captured one is written by the
    /// gateway itself, and none.
    pub fn file(&self, env: &Environment) -> Option<PathBuf> {
        match self {
            Self::Env(name) => env.get(&format!("{name}_FILE")).map(PathBuf::from),
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => env.get("CREDENTIALS_DIRECTORY").map(|dir| Path::new(dir).join(name)),
            Self::Captured(_) | Self::Value(_) => None,
        }
    }

    /// The name of the place for messages, and the bytes found there.
    fn read(&self, env: &Environment) -> Result<(String, Zeroizing<Vec<u8>>), SecretError> {
        match self {
            Self::Env(name) => read_variable(name, env),
            Self::File(path) => read_file(path),
            Self::Credential(name) => {
                let dir = env.get("CREDENTIALS_DIRECTORY").ok_or(SecretError::NoCredentials)?;
                read_file(&Path::new(dir).join(name))
            }
            Self::Captured(path) => Err(SecretError::Captured(path.clone())),
            Self::Value(text) => bounded("the plain value".to_owned(), text.as_bytes()),
        }
    }
}

fn read_variable(name: &str, env: &Environment) -> Result<(String, Zeroizing<Vec<u8>>), SecretError> {
    match (env.get(name), env.get(&format!("{name}_FILE"))) {
        (Some(value), None) => bounded(format!("environment variable {name}"), value.as_bytes()),
        (None, Some(path)) => read_file(Path::new(path)),
        (None, None) => Err(SecretError::Unset(name.to_owned())),
        (Some(_), Some(_)) => Err(SecretError::Ambiguous(name.to_owned())),
    }
}

fn bounded(place: String, bytes: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), SecretError> {
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(SecretError::Long(place));
    }
    Ok((place, Zeroizing::new(bytes.to_vec())))
}

/// Reads into one allocation of the final size, so that no copy of the secret is left behind by growing.
fn read_file(path: &Path) -> Result<(String, Zeroizing<Vec<u8>>), SecretError> {
    let unreadable = |error| SecretError::Unreadable(path.to_owned(), error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES_MAX + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    bounded(format!("file {}", path.display()), &bytes[..len])
}

/// Cuts one `\n` or `\r\n` off the end, and tells whether there was one.
fn trim_newline(bytes: &mut Zeroizing<Vec<u8>>) -> bool {
    let kept = match bytes.strip_suffix(b"\n") {
        Some(rest) => rest.strip_suffix(b"\r").unwrap_or(rest).len(),
        None => return false,
    };
    bytes[kept..].zeroize();
    bytes.truncate(kept);
    true
}

/// Bytes of a secret's SHA-256 digest that are shown.
const FINGERPRINT_BYTES: usize = 4;

/// What tells two secrets apart and neither of them: 8 digits of the SHA-256 digest of its text. So everybody has it
/// who can guess the text, and a secret of 16 random bytes or more nobody guesses.
pub fn fingerprint(secret: &[u8]) -> String {
    hex::encode(Sha256::digest(secret).get(..FINGERPRINT_BYTES).unwrap_or_default())
}

/// A secret in memory, wiped when dropped.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    label: String,
    kid: Option<String>,
    slot: Option<u8>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl Secret {
    /// The secret's bytes. What takes them must keep them out of logs, errors and metrics.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// The name it is shown and counted under.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its [`fingerprint`].
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.bytes)
    }

    /// The id by which deliveries name it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The place of signatures that it goes with; `None` = any.
    pub fn slot(&self) -> Option<u8> {
        self.slot
    }

    /// From when on it may verify; `None` = ever.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// From when on it no longer may; `None` = never.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const KEY: &str = "whsec_0123456789abcdef";

    #[derive(Debug, serde::Deserialize)]
    struct Doc {
        at: SecretRef,
    }

    fn reference(text: &str) -> Result<SecretRef, toml::de::Error> {
        toml::from_str::<Doc>(&format!("at = {text}")).map(|doc| doc.at)
    }

    fn resolve(text: &str, env: &[(&str, &str)]) -> Result<Resolved, SecretError> {
        let env = env.iter().copied().collect();
        reference(text).unwrap().resolve(&env, 1, KEY_BYTES_MIN)
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_variable_gives_its_value() {
        let found = resolve("{ env = \"KEY\" }", &[("KEY", KEY)]).unwrap();
        assert_eq!(found.secret.expose(), KEY.as_bytes());
        assert_eq!(found.secret.label(), "secret-1");
        assert!(found.warning.is_none());
    }

    #[test]
    fn a_file_variable_names_a_file_and_its_newline_is_cut_once() {
        let kept = file(format!("{KEY}\n\n").as_bytes());
        let path = kept.path().to_str().unwrap();
        let found = resolve("{ env = \"KEY\" }", &[("KEY_FILE", path)]).unwrap();
        assert_eq!(found.secret.expose(), format!("{KEY}\n").as_bytes());
        assert!(found.warning.unwrap().contains("ends with a newline"));
        let pem = file(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
        let found = resolve(&format!("{{ file = {:?} }}", pem.path()), &[]).unwrap();
        assert_eq!(found.warning, None);
        let dos = file(format!("{KEY}\r\n").as_bytes());
        let found = resolve(&format!("{{ file = {:?} }}", dos.path()), &[]).unwrap();
        assert_eq!(found.secret.expose(), KEY.as_bytes());
    }

    #[test]
    fn a_credential_stays_in_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hook"), KEY).unwrap();
        let env = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap())];
        assert_eq!(resolve("{ credential = \"hook\" }", &env).unwrap().secret.expose(), KEY.as_bytes());
        assert!(matches!(resolve("{ credential = \"hook\" }", &[]), Err(SecretError::NoCredentials)));
        for name in ["../hook", "/etc/passwd", "..", ""] {
            assert!(reference(&format!("{{ credential = {name:?} }}")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn unusable_text_is_refused() {
        let found = |value: &str| resolve("{ env = \"KEY\" }", &[("KEY", value)]).unwrap_err();
        assert!(matches!(found(""), SecretError::Empty(_)));
        assert!(matches!(found("\n"), SecretError::Empty(_)));
        assert!(matches!(found(" \t \n"), SecretError::Blank(_)));
        assert!(matches!(found("123456789012345\n"), SecretError::Short { len: 15, .. }));
        assert!(matches!(found(&"x".repeat(SECRET_BYTES_MAX + 1)), SecretError::Long(_)));
        assert!(matches!(resolve("{ env = \"KEY\" }", &[]), Err(SecretError::Unset(_))));
        let both = [("KEY", KEY), ("KEY_FILE", "/nowhere")];
        assert!(matches!(resolve("{ env = \"KEY\" }", &both), Err(SecretError::Ambiguous(_))));
        assert!(matches!(resolve("{ file = \"/nowhere/at/all\" }", &[]), Err(SecretError::Unreadable(..))));
        let long = file(&vec![b'x'; SECRET_BYTES_MAX + 1]);
        assert!(matches!(
            resolve(&format!("{{ file = {:?} }}", long.path()), &[]),
            Err(SecretError::Long(_))
        ));
    }

    #[test]
    fn bytes_that_are_not_text_are_a_secret_too() {
        let kept = file(&[0xff; 32]);
        let found = resolve(&format!("{{ file = {:?} }}", kept.path()), &[]).unwrap();
        assert_eq!(found.secret.expose(), [0xff; 32]);
    }

    #[test]
    fn exactly_one_place_is_named() {
        for text in [
            "{}",
            "{ label = \"a\" }",
            "{ env = \"A\", file = \"b\" }",
            "{ env = \"\" }",
            "{ env = \"A=B\" }",
            "7",
            "[]",
        ] {
            assert!(reference(text).is_err(), "{text}");
        }
        assert!(reference("{ env = \"A\", lable = \"a\" }").is_err());
        assert!(reference("{ env = \"A\", label = \"a b\" }").is_err());
    }

    #[test]
    fn neither_form_shows_the_secret() {
        let plain = reference(&format!("{KEY:?}")).unwrap();
        assert!(plain.is_plain());
        let secret = plain.resolve(&Environment::default(), 3, KEY_BYTES_MIN).unwrap().secret;
        let env: Environment = [("KEY", KEY)].into_iter().collect();
        let shown = format!("{plain:?} {secret:?} {env:?}");
        assert!(!shown.contains("whsec"), "{shown}");
        assert!(shown.ends_with("Secret(secret-3) Environment(1 variables)"), "{shown}");
    }
}
