//! Header grammars: from the value that carries signatures to the candidate signatures in it.

use std::borrow::Cow;

use super::algorithm::{self, Output};
use crate::delivery::Delivery;
use crate::extract::Pick;
use crate::provider::{Encoding, Grammar, Repeated, Scheme, SignatureRule};
use crate::reject::{Refused, Reject};

/// Signatures looked at in one delivery; senders put one for each secret that is being rolled.
const SIGNATURES_MAX: usize = 16;
/// Different ones of them that are tried where each takes a pass of its own over the body: a MAC is made once for
/// all, a public-key signature is not, and whoever has no key may send what is dear to refuse.
const PUBLIC_SIGNATURES_MAX: usize = 4;

/// The text that carries the signatures.
///
/// # Errors
/// Where it is missing, empty, repeated or not text.
pub(super) fn value<'d>(rule: &SignatureRule, delivery: &'d Delivery) -> Result<Cow<'d, str>, Refused> {
    let text = match (&rule.from, rule.repeated) {
        (Pick::Header(name), repeated) => header(name, repeated, delivery)?,
        (place, _) => place.read(delivery),
    };
    match text {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Reject::SignatureMissing.because(format!("{} is missing or empty", rule.from))),
    }
}

fn header<'d>(
    name: &str,
    repeated: Repeated,
    delivery: &'d Delivery,
) -> Result<Option<Cow<'d, str>>, Refused> {
    let mut lines = delivery.headers.iter().filter(|(line, _)| *line == name.as_bytes());
    let malformed = || Reject::SignatureMalformed.because(format!("header:{name} is not text"));
    let text = |bytes: &'d [u8]| std::str::from_utf8(bytes).map_err(|_| malformed());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let first = text(first)?;
    let mut joined = Cow::Borrowed(first);
    for (_, next) in lines {
        if repeated == Repeated::Refuse {
            return Err(Reject::SignatureRepeated.because(format!("header:{name} stands more than once")));
        }
        joined.to_mut().push(',');
        joined.to_mut().push_str(text(next)?);
    }
    Ok(Some(joined))
}

/// What a signature's value holds: candidates, and named values beside them.
#[derive(Debug)]
pub(super) struct Candidates<'v> {
    signatures: Vec<&'v str>,
    named: Vec<(&'v str, &'v str)>,
}

impl<'v> Candidates<'v> {
    /// Reads the value by the scheme's grammar.
    ///
    /// # Errors
    /// `SignatureMalformed` where the grammar finds no signature in it, or too many.
    pub(super) fn parse(rule: &SignatureRule, value: &'v str) -> Result<Self, Refused> {
        let found = match &rule.grammar {
            Grammar::Plain { prefix, ignore_case } => Self {
                signatures: plain(value, prefix, *ignore_case).into_iter().collect(),
                named: Vec::new(),
            },
            Grammar::Pairs { separator, assign, keys } => Self::pairs(value, separator, assign, keys),
            Grammar::Versions { separator, assign, keys } => {
                let Self { signatures, .. } = Self::pairs(value, separator, assign, keys);
                Self { signatures, named: Vec::new() }
            }
        };
        match found.signatures.len() {
            0 => Err(Reject::SignatureMalformed
                .because(format!("{} holds no signature of this scheme", rule.from))),
            1..=SIGNATURES_MAX => Ok(found),
            many => Err(Reject::SignatureMalformed.because(format!(
                "{} holds {many} signatures; at most {SIGNATURES_MAX} are read",
                rule.from
            ))),
        }
    }

    fn pairs(value: &'v str, separator: &str, assign: &str, keys: &[String]) -> Self {
        let mut found = Self { signatures: Vec::new(), named: Vec::new() };
        for (name, value) in value.split(separator).filter_map(|item| item.split_once(assign)) {
            if keys.iter().any(|key| key == name) {
                found.signatures.push(value);
            } else {
                found.named.push((name, value));
            }
        }
        found
    }

    /// The only candidate, as it stands there.
    ///
    /// # Errors
    /// `SignatureMalformed` where there are several: a token is one.
    pub(super) fn only(&self) -> Result<&'v str, Refused> {
        match self.signatures.as_slice() {
            [only] => Ok(only),
            several => Err(Reject::SignatureMalformed
                .because(format!("{} tokens stand there, where one is read", several.len()))),
        }
    }

    /// The value of that name beside the signatures.
    ///
    /// # Errors
    /// Where it stands there with several values: SDKs differ in which one they take.
    pub(super) fn named(&self, name: &str) -> Result<Option<&'v str>, Refused> {
        let mut values = self.named.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value);
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(
                Reject::TimestampMalformed.because(format!("`{name}` stands there with several values"))
            );
        }
        Ok(first)
    }

    /// The candidates as bytes, those that have the length of a real one.
    ///
    /// # Errors
    /// `SignatureMalformed` where not one is in the scheme's encoding and length, or more than can be tried.
    pub(super) fn decode(&self, scheme: &Scheme) -> Result<Vec<Output>, Refused> {
        let decode = |text: &&str| algorithm::decode(scheme.algorithm, scheme.signature.encoding, text);
        let mut decoded: Vec<Output> = self.signatures.iter().filter_map(decode).collect();
        if scheme.has_public_keys() {
            decoded.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
            decoded.dedup_by(|one, other| one.as_bytes() == other.as_bytes());
            if decoded.len() > PUBLIC_SIGNATURES_MAX {
                return Err(Reject::SignatureMalformed.because(format!(
                    "{} holds {} different public-key signatures; at most {PUBLIC_SIGNATURES_MAX} are tried",
                    scheme.signature.from,
                    decoded.len()
                )));
            }
        }
        if decoded.is_empty() {
            let form = match scheme.signature.encoding {
                Encoding::Hex => "lower-case hexadecimal digits",
                Encoding::HexAnyCase => "hexadecimal digits",
                Encoding::Base64 => "padded base64",
                Encoding::Base64Url => "unpadded base64 of the URL alphabet",
                Encoding::Text => "plain text",
            };
            return Err(Reject::SignatureMalformed.because(format!(
                "{} holds {} character(s) that are not {form} of the right length",
                scheme.signature.from,
                self.signatures.first().map_or(0, |text| text.len())
            )));
        }
        Ok(decoded)
    }
}

fn plain<'v>(value: &'v str, prefix: &str, ignore_case: bool) -> Option<&'v str> {
    let head = value.get(..prefix.len())?;
    let matches = if ignore_case { head.eq_ignore_ascii_case(prefix) } else { head == prefix };
    if matches { value.get(prefix.len()..).filter(|rest| !rest.is_empty()) } else { None }
}
