//! How the body's text may be written before it is signed.

use std::fmt;

use super::rules::Digest;

/// A form of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Its bytes in base64: another body has another one.
    Base64,
    /// Its CRC-32 in decimal. It proves nothing: whoever wants to, makes another body with the same one.
    Crc32,
    /// With every character outside ASCII as `\uXXXX`. JSON spelled either way is signed the same.
    Ascii,
    /// JSON without the blanks outside its strings. JSON with any blanks is signed the same.
    Compact,
    /// Its digest: another body has another one.
    Digest {
        /// One that nobody finds two bodies for.
        digest: Digest,
        /// How it is written.
        text: DigestText,
        /// Of the body in the form [`Self::Compact`].
        compact: bool,
    },
}

/// How a digest is written among what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestText {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Padded base64.
    Base64,
    /// The bytes themselves.
    Raw,
}

const DIGESTS: [(&str, Digest); 3] =
    [("sha256", Digest::Sha256), ("sha384", Digest::Sha384), ("sha512", Digest::Sha512)];
const FORMS: [(&str, BodyForm); 4] = [
    ("base64", BodyForm::Base64),
    ("crc32", BodyForm::Crc32),
    ("ascii", BodyForm::Ascii),
    ("compact", BodyForm::Compact),
];

impl BodyForm {
    /// What a provider file may write, after `body:`.
    pub(super) const ALLOWED: &str = "{body:base64}, {body:crc32}, {body:ascii}, {body:compact}, {body:sha256} (sha384, sha512; of {body:compact} with \
         {body:compact:sha256}; then :base64 or :raw for other than hex)";

    /// Reads what stands after `body:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((_, form)) = FORMS.iter().find(|(name, _)| *name == text) {
            return Some(*form);
        }
        let (compact, text) = text.strip_prefix("compact:").map_or((false, text), |rest| (true, rest));
        let (name, text) = match text.split_once(':') {
            None => (text, DigestText::Hex),
            Some((name, "base64")) => (name, DigestText::Base64),
            Some((name, "raw")) => (name, DigestText::Raw),
            Some(_) => return None,
        };
        let (_, digest) = DIGESTS.iter().find(|(known, _)| *known == name)?;
        Some(Self::Digest { digest: *digest, text, compact })
    }

    /// Whether another body would be signed otherwise.
    pub fn binds_bytes(self) -> bool {
        match self {
            Self::Base64 | Self::Digest { compact: false, .. } => true,
            Self::Crc32 | Self::Ascii | Self::Compact | Self::Digest { compact: true, .. } => false,
        }
    }

    /// How JSON may be spelled otherwise and be signed the same.
    pub fn respelled(self) -> Option<Self> {
        match self {
            Self::Ascii => Some(Self::Ascii),
            Self::Compact | Self::Digest { compact: true, .. } => Some(Self::Compact),
            Self::Base64 | Self::Crc32 | Self::Digest { compact: false, .. } => None,
        }
    }
}

impl fmt::Display for BodyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Digest { digest, text, compact } = self else {
            let name = FORMS.iter().find(|(_, form)| form == self).map(|(name, _)| *name);
            return f.write_str(name.unwrap_or_default());
        };
        let name = DIGESTS.iter().find(|(_, known)| known == digest).map(|(name, _)| *name);
        f.write_str(if *compact { "compact:" } else { "" })?;
        f.write_str(name.unwrap_or_default())?;
        f.write_str(match text {
            DigestText::Hex => "",
            DigestText::Base64 => ":base64",
            DigestText::Raw => ":raw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_prints_as_it_was_read() {
        for text in ["base64", "crc32", "ascii", "compact", "sha256", "sha512:base64", "compact:sha384:raw"] {
            assert_eq!(BodyForm::parse(text).map(|form| form.to_string()).as_deref(), Some(text));
        }
        for text in ["", "md5", "sha1", "sha256:hex", "sha256:", "compact:", "ascii:sha256", "compact:base64"]
        {
            assert_eq!(BodyForm::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_binds_what_it_is_of() {
        let form = |text| BodyForm::parse(text).unwrap();
        assert_eq!((form("sha256").binds_bytes(), form("sha256").respelled()), (true, None));
        let compact = form("compact:sha256");
        assert_eq!((compact.binds_bytes(), compact.respelled()), (false, Some(BodyForm::Compact)));
    }
}
