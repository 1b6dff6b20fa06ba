//! How the body's text may be written before it is signed.

use std::fmt;

use super::rules::{DIGESTS, Digest};
use crate::extract::Spelling;

/// A form of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Its bytes in base64: another body has another one.
    Base64,
    /// The same in the alphabet for URLs, without padding.
    Base64Url,
    /// Its CRC-32 in decimal. It proves nothing: whoever wants to, makes another body with the same one.
    Crc32,
    /// Its JSON, spelled in one way of several. JSON in another spelling is signed the same.
    Spelled(Spelling),
    /// Its digest: another body has another one.
    Digest {
        /// Of which hash.
        digest: Digest,
        /// How it is written.
        text: DigestText,
        /// Of the body in that spelling; `None` = of its bytes.
        of: Option<Spelling>,
    },
}

/// How a digest is written among what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestText {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Padded base64.
    Base64,
    /// Base64 of the alphabet for URLs, without padding.
    Base64Url,
    /// The bytes themselves.
    Raw,
}

const TEXTS: [(&str, DigestText); 3] =
    [("base64", DigestText::Base64), ("base64url", DigestText::Base64Url), ("raw", DigestText::Raw)];
const SPELLINGS: [(&str, Option<Spelling>); 2] =
    [("compact:", Some(Spelling::Compact)), ("sorted:", Some(Spelling::Sorted))];
const FORMS: [(&str, BodyForm); 6] = [
    ("base64", BodyForm::Base64),
    ("base64url", BodyForm::Base64Url),
    ("crc32", BodyForm::Crc32),
    ("ascii", BodyForm::Spelled(Spelling::Ascii)),
    ("compact", BodyForm::Spelled(Spelling::Compact)),
    ("sorted", BodyForm::Spelled(Spelling::Sorted)),
];

impl BodyForm {
    /// What a provider file may write, after `body:`.
    pub(super) const ALLOWED: &str = "{body:base64}, {body:base64url}, {body:crc32}, {body:ascii}, {body:compact}, {body:sorted}, {body:sha256} \
         (sha384, sha512, sha1, md5; of {body:compact} with {body:compact:sha256}, of {body:sorted} likewise; then :base64, \
         :base64url or :raw for other than hex)";

    /// Reads what stands after `body:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((_, form)) = FORMS.iter().find(|(name, _)| *name == text) {
            return Some(*form);
        }
        let spelled = SPELLINGS.iter().find_map(|(name, of)| Some((*of, text.strip_prefix(name)?)));
        let (of, text) = spelled.unwrap_or((None, text));
        let (name, written) = text.split_once(':').map_or((text, None), |(name, text)| (name, Some(text)));
        let text = match written {
            None => DigestText::Hex,
            Some(written) => TEXTS.iter().find(|(name, _)| *name == written)?.1,
        };
        let (_, digest) = DIGESTS.iter().find(|(known, _)| *known == name)?;
        Some(Self::Digest { digest: *digest, text, of })
    }

    /// Whether another body would be signed otherwise.
    pub fn binds_bytes(self) -> bool {
        match self {
            Self::Base64 | Self::Base64Url | Self::Digest { of: None, .. } => true,
            Self::Crc32 | Self::Spelled(_) | Self::Digest { of: Some(_), .. } => false,
        }
    }

    /// The spelling that is signed in the place of another of the same JSON.
    pub fn respelled(self) -> Option<Spelling> {
        match self {
            Self::Spelled(of) | Self::Digest { of: Some(of), .. } => Some(of),
            Self::Base64 | Self::Base64Url | Self::Crc32 | Self::Digest { of: None, .. } => None,
        }
    }

    /// The hash that stands for the body.
    pub(super) fn digest(self) -> Option<Digest> {
        match self {
            Self::Digest { digest, .. } => Some(digest),
            _ => None,
        }
    }
}

impl fmt::Display for BodyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Digest { digest, text, of } = self else {
            let name = FORMS.iter().find(|(_, form)| form == self).map(|(name, _)| *name);
            return f.write_str(name.unwrap_or_default());
        };
        let name = DIGESTS.iter().find(|(_, known)| known == digest).map(|(name, _)| *name);
        let spelling = SPELLINGS.iter().find(|(_, known)| known == of).map(|(name, _)| *name);
        write!(f, "{}{}", spelling.unwrap_or_default(), name.unwrap_or_default())?;
        match TEXTS.iter().find(|(_, known)| known == text) {
            Some((name, _)) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_prints_as_it_was_read() {
        for text in [
            "base64",
            "base64url",
            "crc32",
            "ascii",
            "compact",
            "sorted",
            "sha256",
            "sha512:base64",
            "md5:base64url",
            "compact:sha384:raw",
            "sorted:sha1",
        ] {
            assert_eq!(BodyForm::parse(text).map(|form| form.to_string()).as_deref(), Some(text));
        }
        for text in [
            "",
            "md4",
            "sha256:hex",
            "sha256:",
            "compact:",
            "ascii:sha256",
            "compact:base64",
            "sorted:compact:md5",
        ] {
            assert_eq!(BodyForm::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_binds_what_it_is_of() {
        let form = |text| BodyForm::parse(text).unwrap();
        assert_eq!((form("sha256").binds_bytes(), form("sha256").respelled()), (true, None));
        let compact = form("compact:sha256");
        assert_eq!((compact.binds_bytes(), compact.respelled()), (false, Some(Spelling::Compact)));
    }
}
