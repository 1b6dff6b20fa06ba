//! Secrets as they may have been meant: other texts, other ways to read them, other sources'.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::case::Case;
use super::cause::{Cause, Finding};
use crate::delivery::Delivery;
use crate::provider::{Algorithm, Grammar, KeyForm, Scheme};
use crate::verify::Key;

/// Ways to read a secret's text as a key, and what they are called.
const FORMS: [(KeyForm, &str); 4] = [
    (KeyForm::Utf8, "plain text"),
    (KeyForm::Hex, "hexadecimal digits"),
    (KeyForm::Base64, "base64"),
    (KeyForm::Whsec, "whsec_ and base64"),
];

/// What keys of other kinds begin with, and what they are.
const KINDS: [(&[u8], &str); 8] = [
    (b"sk_", "an API key (sk_…)"),
    (b"pk_", "a publishable key (pk_…)"),
    (b"rk_", "a restricted API key (rk_…)"),
    (b"whsk_", "a private key (whsk_…)"),
    (b"whpk_", "a public key (whpk_…)"),
    (b"-----BEGIN", "a key or certificate in PEM"),
    (b"eyJ", "a token (JWT)"),
    (b"Bearer ", "a whole Authorization header"),
];

const COPY_AGAIN: &str = "set the secret to exactly the text that the provider shows";

/// A text that a secret may have been meant as.
struct Meant {
    cause: Cause,
    what: &'static str,
    text: Zeroizing<Vec<u8>>,
}

impl Case<'_> {
    /// What secret verifies `delivery`, `and` another change of it that is told already.
    pub(super) fn by_secret(&self, delivery: &Delivery, and: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for secret in &self.endpoint.secrets {
            let label = secret.label();
            if !secret.is_active(self.now) && self.holds(&self.endpoint.scheme, secret.text(), delivery) {
                let found =
                    format!("it verifies{and} with the secret {label:?}, which does not count at this time");
                findings.push(Cause::InactiveSecret.found(
                    found,
                    "extend its not_before or not_after, or let the sender sign with the current secret",
                ));
            }
            let meant = texts(secret.text());
            let tried = meant.iter().find(|one| self.holds(&self.endpoint.scheme, &one.text, delivery));
            findings.extend(tried.map(|one| {
                one.cause
                    .found(format!("it verifies{and} with the secret {label:?} {}", one.what), COPY_AGAIN)
            }));
            findings.extend(self.by_form(delivery, and, secret.text(), label));
        }
        findings.extend(self.by_other(delivery, and));
        findings
    }

    /// The secret's text read another way.
    fn by_form(&self, delivery: &Delivery, and: &str, text: &[u8], label: &str) -> Option<Finding> {
        let own = &self.endpoint.scheme;
        let forms = FORMS.iter().filter(|(form, _)| *form != own.key_form && !own.has_public_keys());
        let (_, what) = { forms }.find(|(form, _)| {
            let scheme = Arc::new(Scheme { key_form: *form, ..(**own).clone() });
            self.holds(&scheme, text, delivery)
        })?;
        Some(Cause::SecretForm.found(
            format!("it verifies{and} with the secret {label:?} read as {what}: whoever signed read it like that"),
            format!(
                "the sender must read it as `hookgate providers show {}` says, or the provider's file (secret = …) is \
                 to be changed",
                own.provider
            ),
        ))
    }

    /// Another source's secret, by this source's scheme or by its own.
    fn by_other(&self, delivery: &Delivery, and: &str) -> Option<Finding> {
        let others =
            self.others.iter().filter(|other| other.name != self.endpoint.name || other.name.is_empty());
        let pairs = others.flat_map(|other| other.secrets.iter().map(move |secret| (other, secret)));
        let (other, secret) = { pairs }.find(|(other, secret)| {
            self.holds(&self.endpoint.scheme, secret.text(), delivery)
                || (other.scheme.provider != self.endpoint.scheme.provider
                    && self.holds(&other.scheme, secret.text(), delivery))
        })?;
        let theirs = mode(secret.label());
        let mut own = self.endpoint.secrets.iter().filter_map(|own| mode(own.label()));
        let differs = theirs.is_some_and(|theirs| own.any(|own| own != theirs));
        let told = theirs.filter(|_| differs).map(|theirs| format!(" (a {theirs} one)")).unwrap_or_default();
        Some(Cause::OtherSecret.found(
            format!(
                "it verifies{and} with the secret {:?}{told} of source {:?}: was it sent to the wrong path?",
                secret.label(),
                other.name
            ),
            format!("let the sender call the path of {:?}, or give this source that secret too", other.name),
        ))
    }

    /// A secret that the scheme cannot even read, or that begins as keys of another kind do.
    pub(super) fn wrong_kind(&self) -> Option<Finding> {
        self.endpoint.secrets.iter().find_map(|secret| {
            let label = secret.label();
            if secret.text().trim_ascii().is_empty() {
                let found = format!("the secret {label:?} is empty");
                return Some(Cause::SecretKind.found(found, COPY_AGAIN));
            }
            if let Err(error) = Key::new(&self.endpoint.scheme, label, secret.text()) {
                return Some(self.unreadable(label, secret.text(), &error.to_string()));
            }
            let (start, what) = KINDS.iter().find(|(start, _)| secret.text().starts_with(start))?;
            // A provider whose own description speaks of such keys means them.
            let meant = self.notes().contains(String::from_utf8_lossy(start).as_ref());
            let fits = self.endpoint.scheme.has_public_keys() || self.shows_whole_value() || meant;
            let found = format!("nothing verifies, and the secret {label:?} begins like {what}");
            let advice = "take the signing secret of this endpoint from the provider's page of webhooks";
            (!fits).then(|| Cause::SecretKind.found(found, advice))
        })
    }

    /// Whether the secret is all of a header's value, whatever words that begins with.
    fn shows_whole_value(&self) -> bool {
        let Scheme { algorithm, signature, .. } = &*self.endpoint.scheme;
        *algorithm == Algorithm::Token && signature.grammar == Grammar::default()
    }

    fn unreadable(&self, label: &str, text: &[u8], error: &str) -> Finding {
        let meant = texts(text);
        let readable = |text: &[u8]| Key::new(&self.endpoint.scheme, label, text).is_ok();
        // Another case makes a text of base64 readable by chance, and never right.
        let meant = meant.iter().filter(|one| one.cause != Cause::SecretCase);
        match { meant }.find(|one| readable(&one.text)) {
            Some(one) => one.cause.found(
                format!("the secret {label:?} cannot be read ({error}), and can {}", one.what),
                COPY_AGAIN,
            ),
            None => Cause::SecretKind
                .found(format!("the secret {label:?} is of another kind: {error}"), COPY_AGAIN),
        }
    }
}

/// Whether a secret's label says that it is for tests or for live use.
fn mode(label: &str) -> Option<&'static str> {
    let label = label.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| label.contains(word));
    match (has(&["test", "sandbox"]), has(&["live", "prod"])) {
        (true, false) => Some("test"),
        (false, true) => Some("live"),
        _ => None,
    }
}

/// Texts that a secret may have been meant as.
fn texts(secret: &[u8]) -> Vec<Meant> {
    let mut texts = Vec::new();
    let mut add = |cause, what, text: Option<Vec<u8>>| {
        if let Some(text) = text.filter(|text| text != secret && !text.is_empty()) {
            texts.push(Meant { cause, what, text: Zeroizing::new(text) });
        }
    };
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let quotes = |quote: u8| secret.strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
    let with = |before: &[u8], after: &[u8]| Some([before, secret, after].concat());
    let white = Cause::SecretWhitespace;
    add(white, "without the white space around it", owned(Some(secret.trim_ascii())));
    let text = std::str::from_utf8(secret).ok();
    let visible = text.map(|text| text.trim_matches(is_unseen).as_bytes());
    add(white, "without the invisible characters around it", owned(visible));
    add(white, "with a newline at its end: whoever signed read it from a file", with(b"", b"\n"));
    add(white, "with CR LF at its end: whoever signed read it from a file", with(b"", b"\r\n"));
    let solid: Vec<u8> = secret.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    add(white, "without the white space in it", Some(solid));
    let quoted = Cause::SecretQuotes;
    let trimmed = secret.trim_ascii();
    let inner = |quote: u8| trimmed.strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
    add(quoted, "without the quotes around it", owned(quotes(b'"').or_else(|| quotes(b'\''))));
    add(quoted, "without the quotes and white space around it", owned(inner(b'"').or_else(|| inner(b'\''))));
    add(quoted, "with quotes around it: whoever signed read them as a part of it", with(b"\"", b"\""));
    let changed = |from: &str, to: &str| text.map(|text| text.replace(from, to).into_bytes());
    add(Cause::SecretEscaped, "with line ends for its `\\n`", changed("\\n", "\n"));
    add(Cause::SecretEscaped, "with `\\n` for its line ends", changed("\n", "\\n"));
    add(Cause::SecretEscaped, "without the `\\n` at its end", owned(secret.strip_suffix(b"\\n")));
    add(Cause::SecretPrefix, "without its prefix whsec_", owned(secret.strip_prefix(b"whsec_")));
    add(Cause::SecretPrefix, "with the prefix whsec_", with(b"whsec_", b""));
    add(Cause::SecretPrefix, "without its prefix `Bearer `", owned(secret.strip_prefix(b"Bearer ")));
    add(Cause::SecretPrefix, "with the prefix `Bearer `", with(b"Bearer ", b""));
    let named = owned(after_name(secret));
    add(Cause::SecretVariable, "without what stands before its `=`: it holds the variable's name", named);
    add(Cause::SecretCase, "in lower case", Some(secret.to_ascii_lowercase()));
    add(Cause::SecretCase, "in upper case", Some(secret.to_ascii_uppercase()));
    texts
}

/// White space of any script, byte order marks, and characters of no width: what copying from a page brings along.
fn is_unseen(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
}

/// What follows `NAME=`.
fn after_name(secret: &[u8]) -> Option<&[u8]> {
    let at = secret.iter().position(|byte| *byte == b'=')?;
    let (name, rest) = secret.split_at(at);
    let plain = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    rest.get(1..).filter(|rest| plain && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_under_what_was_done_to_it() {
        for (held, meant, cause) in [
            (" key ", "key", Cause::SecretWhitespace),
            ("key", "key\n", Cause::SecretWhitespace),
            ("\u{feff}key", "key", Cause::SecretWhitespace),
            ("key\u{200b}\u{a0}", "key", Cause::SecretWhitespace),
            ("\"key\"", "key", Cause::SecretQuotes),
            ("'key' ", "key", Cause::SecretQuotes),
            ("a\\nb", "a\nb", Cause::SecretEscaped),
            ("key\\n", "key", Cause::SecretEscaped),
            ("whsec_key", "key", Cause::SecretPrefix),
            ("key", "Bearer key", Cause::SecretPrefix),
            ("Bearer key", "key", Cause::SecretPrefix),
            ("SHOP_KEY=key", "key", Cause::SecretVariable),
            ("KEY", "key", Cause::SecretCase),
        ] {
            let texts = texts(held.as_bytes());
            let found = texts.iter().find(|one| **one.text == *meant.as_bytes());
            assert_eq!(found.map(|one| one.cause), Some(cause), "{held:?}");
            assert!(
                texts.iter().all(|one| **one.text != *held.as_bytes() && !one.text.is_empty()),
                "{held:?}"
            );
        }
    }

    #[test]
    fn labels_tell_tests_from_live_use() {
        assert_eq!((mode("Live key"), mode("sandbox"), mode("secret-1")), (Some("live"), Some("test"), None));
        assert_eq!(mode("live test"), None);
    }
}
