//! One refusal, and the order in which its causes are looked for: what is cheap and frequent first.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use super::bodies;
use super::cause::{Cause, Finding};
use super::endpoint::Endpoint;
use super::layout;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::provider::{Catalog, Definition, Scheme};
use crate::reject::{Refused, Reject};
use crate::verify::{Key, Verifier};

/// Longest body with which two causes at once are tried.
const BOTH_BYTES_MAX: usize = 64 << 10;
/// What a trial costs beside its body, in bytes.
const TRIAL_BYTES: u64 = 1024;
/// Keys in alphabetical order that are hardly there by chance.
const SORTED_KEYS_MIN: usize = 6;
/// What a body of bytes that nobody could read as text holds.
const REPLACEMENT: &str = "\u{fffd}";
/// Bytes before the first element in which a document type is looked for.
const PROLOG_BYTES_MAX: usize = 4096;
/// How a document type begins, in lower case.
const DOCTYPE: &[u8] = b"<!doctype";
/// How gzip begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A refused delivery, and everything that is known around it.
#[derive(Debug)]
pub struct Case<'c> {
    /// The delivery.
    pub delivery: &'c Delivery,
    /// The source that refused it.
    pub endpoint: &'c Endpoint,
    /// All sources; this one may be among them.
    pub others: &'c [Endpoint],
    /// All providers.
    pub catalog: &'c Catalog,
    /// The time that it was judged at.
    pub now: Timestamp,
    /// Bytes that trials may still read; what is beyond is not tried.
    pub effort: Cell<u64>,
}

impl Case<'_> {
    /// Why it was refused, the likeliest first; never empty.
    pub fn explain(&self, refused: &Refused) -> Vec<Finding> {
        let mut found = match refused.reject {
            Reject::SignatureMismatch
            | Reject::BodyDigestMismatch
            | Reject::FormMalformed
            | Reject::NoActiveSecret => self.mismatch(),
            Reject::SignatureMissing => self.missing(),
            Reject::SignatureMalformed => self.malformed(),
            Reject::SignatureRepeated => vec![Cause::SignatureRepeated.found(
                "the header of the signature stands there twice",
                "a proxy added its own, or the capture holds two requests: pass on one",
            )],
            Reject::Stale | Reject::Premature => self.untimely(),
            Reject::TimestampMalformed => self.unreadable_time(),
            Reject::BodyEmpty => vec![self.empty()],
            Reject::TimestampMissing | Reject::CompanionMissing => self.companion(refused),
            Reject::RequestDigestMismatch => self.by_url().into_iter().collect(),
            Reject::MethodNotAllowed => vec![Cause::Method.found(
                format!("the method is {}", self.delivery.method),
                format!("allowed: {}", self.endpoint.scheme.allowed_methods().join(", ")),
            )],
            _ => Vec::new(),
        };
        found.extend(self.length());
        if found.is_empty() {
            found.push(Cause::Plain.found(
                format!("the reason says it all: {}", refused.reject.row().reason),
                format!(
                    "`hookgate providers show {}` tells what its scheme demands",
                    self.endpoint.scheme.provider
                ),
            ));
        }
        found
    }

    /// A secret that the scheme cannot read at all: no source with it would start.
    pub fn unreadable_secret(&self) -> Option<Finding> {
        self.wrong_kind().filter(|_| self.keys().len() < self.endpoint.secrets.len())
    }

    /// Whether the delivery verifies like this, whatever its age.
    pub(super) fn holds(&self, scheme: &Arc<Scheme>, secret: &[u8], delivery: &Delivery) -> bool {
        self.affords(delivery)
            && Key::new(scheme, "", secret).is_ok_and(|key| {
                Verifier::new(Arc::clone(scheme), vec![key]).verify(delivery.clone(), self.now).is_ok()
            })
    }

    /// [`Self::holds`] with any of the source's own secrets.
    pub(super) fn any_holds(&self, scheme: &Arc<Scheme>, delivery: &Delivery) -> bool {
        self.endpoint.secrets.iter().any(|secret| self.holds(scheme, secret.text(), delivery))
    }

    /// The source's keys, each of them counting at any time.
    pub(super) fn keys(&self) -> Vec<Key> {
        let key = |secret: &super::endpoint::KnownSecret| {
            Key::new(&self.endpoint.scheme, secret.label(), secret.text()).ok()
        };
        self.endpoint.secrets.iter().filter_map(key).collect()
    }

    /// Takes the cost of a trial from the effort that is left.
    fn affords(&self, delivery: &Delivery) -> bool {
        let cost = TRIAL_BYTES + delivery.body.len() as u64;
        let left = self.effort.get().checked_sub(cost);
        self.effort.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The provider's file.
    pub(super) fn definition(&self) -> Option<&Definition> {
        self.catalog.get(&self.endpoint.scheme.provider)
    }

    /// What the provider's file says to operators.
    pub(super) fn notes(&self) -> &str {
        self.definition().and_then(|definition| definition.sender.notes.as_deref()).unwrap_or_default()
    }

    fn companion(&self, refused: &Refused) -> Vec<Finding> {
        let told = if refused.detail.is_empty() { "the signed time is missing" } else { &*refused.detail };
        let mut found: Vec<Finding> = self.of_other_scheme().into_iter().collect();
        let place = match (&self.endpoint.scheme.timestamp, refused.reject) {
            (Some(rule), Reject::TimestampMissing) => rule.from.to_string(),
            _ => told.split_whitespace().next().unwrap_or_default().to_owned(),
        };
        found.push(self.absent(&place, told));
        found
    }

    /// A value that is not at the place that a refusal begins with.
    fn absent(&self, place: &str, told: &str) -> Finding {
        let in_body = ["json:", "form:", "xml:", "item:", "body"].iter().any(|root| place.starts_with(root));
        if place.starts_with("xml:")
            && let Some(found) = self.document_type()
        {
            return found;
        }
        let advice = if in_body {
            format!(
                "does the sender write another format or version of its body? `hookgate providers show {}` tells where it is \
                 looked for",
                self.endpoint.scheme.provider
            )
        } else {
            "does the capture hold all headers? Some proxies and loggers drop those that they do not know"
                .to_owned()
        };
        Cause::CompanionMissing.found(told, advice)
    }

    /// An XML body that has no values because it declares a document type.
    pub(super) fn document_type(&self) -> Option<Finding> {
        let body = self.delivery.body.trim_ascii_start();
        let head = body.get(..body.len().min(PROLOG_BYTES_MAX)).unwrap_or_default().to_ascii_lowercase();
        let declared = head.first() == Some(&b'<') && head.windows(DOCTYPE.len()).any(|part| part == DOCTYPE);
        declared.then(|| {
            Cause::CompanionMissing.found(
                "the body is XML with a document type (<!DOCTYPE …>), and such a body has no values here: what its entities \
                 stand for could be anything",
                "let the sender leave the document type out; events need none",
            )
        })
    }

    fn mismatch(&self) -> Vec<Finding> {
        let found = self.by_secret(self.delivery, "");
        if !found.is_empty() {
            return found;
        }
        let tried = self
            .of_other_scheme()
            .filter(|finding| finding.found.contains("verifies"))
            .or_else(|| self.other_hash())
            .or_else(|| self.by_template())
            .or_else(|| self.by_url())
            .or_else(|| self.by_body());
        if let Some(found) = tried {
            return vec![found];
        }
        match self.by_body_and_secret() {
            found if !found.is_empty() => found,
            _ => vec![self.likely()],
        }
    }

    fn by_body(&self) -> Option<Finding> {
        let mut found = None;
        bodies::before(&self.delivery.body, &mut |one| {
            let held = self.any_holds(&self.endpoint.scheme, &self.with(&one.body));
            if held {
                found = Some(one);
            }
            held || self.effort.get() == 0
        });
        found.map(|one| body_finding(one.cause, &format!("the body was changed: it verifies {}", one.what)))
    }

    /// Two mistakes at once.
    fn by_body_and_secret(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.delivery.body.len() <= BOTH_BYTES_MAX {
            bodies::before(&self.delivery.body, &mut |one| {
                found = self.by_secret(&self.with(&one.body), &format!(", the body {},", one.what));
                if let Some(first) = found.first() {
                    let told = format!("the body was changed too: {}", first.found);
                    found.push(body_finding(one.cause, &told));
                }
                !found.is_empty() || self.effort.get() == 0
            });
        }
        found
    }

    fn with(&self, body: &Bytes) -> Delivery {
        Delivery { body: body.clone(), ..self.delivery.clone() }
    }

    /// What it most often is, where nothing that was tried verifies.
    fn likely(&self) -> Finding {
        let of_body = if self.endpoint.scheme.covers_body() { self.likely_of_body() } else { None };
        of_body.or_else(|| self.wrong_kind()).unwrap_or_else(|| self.unknown())
    }

    /// Signs that something happened to the body.
    fn likely_of_body(&self) -> Option<Finding> {
        let body = &self.delivery.body;
        if let Some(found) = self.cut() {
            return Some(found);
        }
        if body.is_empty() && self.delivery.method != "GET" {
            return Some(self.empty());
        }
        let coding = header_text(&self.delivery.headers, "content-encoding").unwrap_or_default();
        if body.starts_with(GZIP) || coding.contains("gzip") {
            return Some(Cause::BodyCompressed.found(
                "the body is compressed (gzip), or says that it was: was it signed before or after?",
                "let nothing on the way compress or expand it: the bytes that were signed must arrive",
            ));
        }
        self.reprinted()
    }

    /// Signs that the body was parsed and printed again, where what it was cannot be found out.
    fn reprinted(&self) -> Option<Finding> {
        let body = &self.delivery.body;
        let keep =
            "hand on the raw bytes, not a parsed body: read the body before any JSON or text middleware";
        if &**body == b"[object Object]" {
            return Some(
                Cause::BodyReserialised.found("the body is the text of an object and not its JSON", keep),
            );
        }
        if String::from_utf8_lossy(body).contains(REPLACEMENT) {
            let found = "the body holds replacement characters: something decoded it as text and lost bytes";
            return Some(Cause::BodyCharset.found(found, keep));
        }
        let (sample, keys) = (self.sample_is_sorted(), layout::sorted_keys(body)?);
        let sorted = match sample {
            Some(sorted) => !sorted && keys >= SORTED_KEYS_MIN / 2,
            None => keys >= SORTED_KEYS_MIN,
        };
        let found = "the JSON's keys are in alphabetical order, and nothing verifies: the sender's order was likely another";
        sorted.then(|| Cause::BodyReserialised.found(found, keep))
    }

    /// Whether the provider's own sample has its keys in alphabetical order.
    fn sample_is_sorted(&self) -> Option<bool> {
        let definition = self.definition()?;
        let sample = Catalog::sample(&definition.name, &definition.sample.as_ref()?.event)?;
        serde_json::from_slice::<serde_json::Value>(&sample.body)
            .ok()
            .filter(serde_json::Value::is_object)?;
        Some(layout::sorted_keys(&sample.body).is_some())
    }

    /// A body that ends before it says that it does, or within its JSON.
    fn cut(&self) -> Option<Finding> {
        let body = &self.delivery.body;
        let advice = "look for a limit on the length of bodies on the way, or a sender that hung up";
        if let Some(found) = self.length().filter(|found| found.cause == Cause::BodyTruncated) {
            return Some(found);
        }
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body);
        let cut = json.is_err_and(|error| error.is_eof()) && body.starts_with(b"{");
        cut.then(|| {
            Cause::BodyTruncated
                .found(format!("the body's JSON breaks off after {} bytes", body.len()), advice)
        })
    }

    /// A body that is not as long as its header says was cut or changed.
    fn length(&self) -> Option<Finding> {
        let said: u64 = header_text(&self.delivery.headers, "content-length")?.parse().ok()?;
        let found = self.delivery.body.len() as u64;
        let told = format!("Content-Length says {said} bytes and the body has {found}");
        match found.cmp(&said) {
            std::cmp::Ordering::Less => Some(
                Cause::BodyTruncated
                    .found(told, "it was cut on the way, or the capture does not hold all of it"),
            ),
            std::cmp::Ordering::Greater => {
                Some(Cause::BodyLength.found(told, "it was changed on the way or by the capture"))
            }
            std::cmp::Ordering::Equal => None,
        }
    }

    fn empty(&self) -> Finding {
        Cause::BodyEmpty.found(
            "the body is empty",
            "the body was read before, or --body names another file: give the bytes as they came",
        )
    }

    fn unknown(&self) -> Finding {
        let prints: Vec<String> = self
            .endpoint
            .secrets
            .iter()
            .map(|secret| format!("{:?} {}", secret.label(), secret.fingerprint()))
            .collect();
        let tried = match (self.effort.get(), prints.is_empty()) {
            (_, true) => "no secret is configured here to try".to_owned(),
            (0, false) => {
                format!("the likeliest changes verify with none of the secrets {}", prints.join(", "))
            }
            (_, false) => format!("nothing that was tried verifies with the secrets {}", prints.join(", ")),
        };
        Cause::Unknown.found(
            format!("wrong secret or forged: {tried} (first digits of their SHA-256)"),
            "compare with the fingerprint of the sender's secret: `hookgate secret fingerprint --stdin`, or there \
             `printf %s \"$SECRET\" | sha256sum`; if it is one of these, what is signed was changed on the way or is another \
             request's; else the secret is another endpoint's, or another mode's (test and live ones differ)",
        )
    }
}

fn body_finding(cause: Cause, found: &str) -> Finding {
    let advice = match cause {
        Cause::BodyNewline | Cause::BodyLineEnds | Cause::BodyBom => {
            "keep the body's bytes: no editor, no `echo`, `curl --data-binary @file` in place of `-d @file`"
        }
        Cause::BodyReserialised => {
            "hand on the raw bytes, not a parsed body: read the body before any JSON middleware"
        }
        Cause::FormReencoded => "hand on the raw bytes of the form, not its fields",
        _ => "hand on the bytes as they came: nothing on the way may read them as text",
    };
    cause.found(found, advice)
}

/// The first value of a header, where it is text.
pub(super) fn header_text<'h>(headers: &'h Headers, name: &'h str) -> Option<&'h str> {
    headers.first(name).and_then(|value| std::str::from_utf8(value).ok())
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::KnownSecret;
    use super::*;
    use crate::verify::sign;

    const SECRET: &[u8] = b"a secret of some length";
    const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);

    fn scheme(lines: &str) -> Arc<Scheme> {
        scheme_by("hmac-sha256", lines)
    }

    fn scheme_by(algorithm: &str, lines: &str) -> Arc<Scheme> {
        let text = format!(
            "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"s\"\nalgorithm = \"{algorithm}\"\n{lines}"
        );
        let definition: Definition = toml::from_str(&text).unwrap();
        Arc::new(Scheme::build(&definition, None, &Default::default()).unwrap())
    }

    fn posted(headers: &[(&str, &str)], body: &str) -> Delivery {
        let mut own = Headers::default();
        headers.iter().for_each(|(name, value)| own.push(name, value.as_bytes()));
        let (method, target) = ("POST".to_owned(), "/in/acme".to_owned());
        Delivery { method, target, headers: own, body: body.to_owned().into(), received_at: NOW }
    }

    /// The first finding of a refused delivery, with what refused it, where no secret is known.
    fn explained(scheme: &Arc<Scheme>, delivery: &Delivery) -> (Refused, Finding) {
        explained_with(scheme, delivery, Vec::new())
    }

    /// The same where these are known.
    fn explained_with(
        scheme: &Arc<Scheme>,
        delivery: &Delivery,
        secrets: Vec<KnownSecret>,
    ) -> (Refused, Finding) {
        let text = secrets.first().map_or(SECRET, KnownSecret::text);
        let key = Key::new(scheme, "live", text).unwrap();
        let verifier = Verifier::new(Arc::clone(scheme), vec![key]);
        let refused = verifier.verify(delivery.clone(), NOW).unwrap_err();
        let endpoint = Endpoint { name: "acme".to_owned(), scheme: Arc::clone(scheme), secrets };
        let (catalog, effort) = (Catalog::default(), Cell::new(1 << 20));
        let case = Case { delivery, endpoint: &endpoint, others: &[], catalog: &catalog, now: NOW, effort };
        let first = case.explain(&refused).into_iter().next().unwrap();
        (refused, first)
    }

    const BY_XML: &str =
        "signed = [\"{xml:/a/b}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n";

    #[test]
    fn a_document_type_is_what_leaves_xml_without_values() {
        let inside = "signed = [\"{header:x}\"]\nsignature = { from = \"xml:/a/@s\", encoding = \"hex\" }\n";
        let timed = BY_XML.replace("{xml:/a/b}", "{timestamp}")
            + "timestamp = { from = \"xml:/a/t\", unit = \"seconds\" }\n";
        let body = "<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY e \"x\">]><a s=\"1\"><b>1</b><t>1</t></a>";
        let sig = "0".repeat(64);
        for lines in [BY_XML, inside, &timed] {
            let (_, found) = explained(&scheme(lines), &posted(&[("x-sig", &sig), ("x", "1")], body));
            assert!(found.found.contains("<!DOCTYPE"), "{lines}: {found}");
            assert!(found.advice.contains("leave the document type out"), "{lines}: {found}");
        }
        let (_, found) = explained(&scheme(BY_XML), &posted(&[("x-sig", &sig)], "<a><c/></a>"));
        assert_eq!(found.cause, Cause::CompanionMissing);
        assert!(!found.found.contains("DOCTYPE") && found.advice.contains("format or version of its body"));
        let by_header = scheme(&BY_XML.replace("xml:/a/b", "header:x"));
        let (_, found) = explained(&by_header, &posted(&[("x-sig", &sig)], body));
        assert!(found.found.contains("header:x") && found.advice.contains("all headers"), "{found}");
    }

    #[test]
    fn an_array_is_told_by_how_many_elements_it_has_at_least() {
        let scheme = scheme(
            "each = \"json:/items\"\nsigned = [\"{item:/id}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n",
        );
        let body = |count: usize| format!("{{\"items\":[{}]}}", vec!["{\"id\":1}"; count].join(","));
        let mut whole = posted(&[], &body(1000));
        sign(&scheme, SECRET, &mut whole, NOW).unwrap();
        let sig = std::str::from_utf8(whole.headers.first("x-sig").unwrap()).unwrap().to_owned();
        let key = Key::new(&scheme, "live", SECRET).unwrap();
        assert!(Verifier::new(Arc::clone(&scheme), vec![key]).verify(whole, NOW).is_ok());
        for (body, told) in [
            (body(1001), "json:/items is an array of at least 1001 elements; at most 1000 are judged"),
            (body(5000), "json:/items is an array of at least 1001 elements; at most 1000 are judged"),
            (body(0), "json:/items is no array with an element in it"),
            ("{}".to_owned(), "json:/items is no array with an element in it"),
        ] {
            let (refused, found) = explained(&scheme, &posted(&[("x-sig", &sig)], &body));
            assert_eq!((refused.detail.as_ref(), found.found.as_str()), (told, told));
            assert!(!found.advice.contains("headers"), "{found}");
        }
    }

    #[test]
    fn a_signature_as_long_as_another_hash_makes_it_is_told_by_that() {
        let plain = scheme(
            "signed = [\"{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\", grammar = { kind = \"plain\", \
             prefix = \"sha256=\" } }\n",
        );
        let base64 =
            scheme("signed = [\"{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"base64\" }\n");
        for (scheme, value, cause, told) in [
            (
                &plain,
                format!("sha256={}", "a1".repeat(20)),
                Cause::SignatureHash,
                "40 characters, which is the length of a SHA-1",
            ),
            (&plain, format!("sha256={}", "a1".repeat(64)), Cause::SignatureHash, "the length of a SHA-512"),
            (&base64, format!("{}=", "q".repeat(26) + "g"), Cause::SignatureHash, "the length of a SHA-1"),
            (&plain, format!("sha256={}", "z1".repeat(20)), Cause::SignatureTruncated, "40 of 64 characters"),
            (&plain, format!("sha256={}", "a1".repeat(25)), Cause::SignatureTruncated, "50 of 64 characters"),
        ] {
            let (_, found) = explained(scheme, &posted(&[("x-sig", &value)], "{}"));
            assert_eq!(found.cause, cause, "{value}: {found}");
            assert!(found.found.contains(told), "{value}: {found}");
        }
    }

    /// A scheme that sends its secret, `before` which stands a prefix.
    fn token(before: &str) -> Arc<Scheme> {
        let grammar = format!("grammar = {{ kind = \"plain\", prefix = \"{before}\" }}");
        let lines =
            format!("signature = {{ from = \"header:authorization\", encoding = \"text\", {grammar} }}\n");
        scheme_by("token", &lines)
    }

    #[test]
    fn a_body_that_nobody_signed_is_not_what_a_wrong_token_is_told_by() {
        let sorted = "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8}";
        for body in ["", "{\"id\":", "[object Object]", "\u{1f}\u{8b}", "\u{fffd}", sorted] {
            let secrets = vec![KnownSecret::of(SECRET)];
            let sent = posted(&[("authorization", "Bearer guessed-by-somebody")], body);
            let (_, found) = explained_with(&token("Bearer "), &sent, secrets);
            assert_eq!(found.cause, Cause::Unknown, "{body:?}: {found}");
        }
        let signed =
            scheme("signed = [\"{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n");
        let (_, found) = explained(&signed, &posted(&[("x-sig", &"0".repeat(64))], sorted));
        assert_eq!(found.cause, Cause::BodyReserialised);
    }

    #[test]
    fn a_token_with_bearer_is_another_kind_of_secret_only_where_the_word_is_not_its_part() {
        let held = b"Bearer 0123456789abcdef0123";
        for (before, sent, cause) in [
            ("", "Bearer guessed-by-somebody", Cause::Unknown),
            ("Bearer ", "Bearer guessed-by-somebody", Cause::SecretKind),
            ("Bearer ", "Bearer 0123456789abcdef0123", Cause::SecretPrefix),
            ("", "0123456789abcdef0123", Cause::SecretPrefix),
        ] {
            let sent = posted(&[("authorization", sent)], "{}");
            let (_, found) = explained_with(&token(before), &sent, vec![KnownSecret::of(held)]);
            assert_eq!(found.cause, cause, "{before:?}: {found}");
        }
    }

    #[test]
    fn a_key_cut_short_is_told_as_no_key_and_not_as_one_in_another_case() {
        let scheme = scheme(
            "secret = \"base64\"\nsigned = [\"{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n",
        );
        // The last bits, which must be zeros, are some in lower case alone.
        let secrets = vec![KnownSecret::of(b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoB")];
        let cut = vec![KnownSecret::of(b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVC")];
        let delivery = posted(&[("x-sig", &"0".repeat(64))], "{}");
        let endpoint = |secrets| Endpoint { name: "acme".to_owned(), scheme: Arc::clone(&scheme), secrets };
        let unreadable = |endpoint: &Endpoint| {
            let (catalog, effort) = (Catalog::default(), Cell::new(1 << 20));
            let case =
                Case { delivery: &delivery, endpoint, others: &[], catalog: &catalog, now: NOW, effort };
            case.unreadable_secret().map(|found| found.cause)
        };
        assert_eq!(unreadable(&endpoint(secrets)), None);
        assert_eq!(unreadable(&endpoint(cut)), Some(Cause::SecretKind));
    }

    #[test]
    fn a_path_that_is_signed_without_its_host_is_found_under_what_a_proxy_did_to_it() {
        let target = scheme(
            "signed = [\"{method}.{target}.{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n",
        );
        let digest = scheme_by(
            "jwt-hs256",
            "signature = { from = \"header:x-sig\" }\njwt = { expires = \"ignored\", request_digest = \"jwt:/qsh\" }\n",
        );
        for scheme in [target, digest] {
            for (called, came, cause) in [
                ("/in/acme?a=1", "/in/acme", None),
                ("/in/acme", "/in/acme?a=1", Some(Cause::UrlQuery)),
                ("/in/acme?a=1", "/in/acme?a=1&b=2", Some(Cause::UrlQuery)),
                ("/edge/in/acme", "/in/acme", Some(Cause::UrlPath)),
                ("/acme", "/in/acme", Some(Cause::UrlPath)),
            ] {
                let mut sent = posted(&[("x-forwarded-prefix", "/edge")], "{\"id\":1}");
                called.clone_into(&mut sent.target);
                sign(&scheme, SECRET, &mut sent, NOW).unwrap();
                came.clone_into(&mut sent.target);
                let (refused, found) = explained_with(&scheme, &sent, vec![KnownSecret::of(SECRET)]);
                match cause {
                    Some(cause) => assert_eq!(found.cause, cause, "{called}: {found}"),
                    None => assert!(
                        matches!(found.cause, Cause::Unknown | Cause::Plain),
                        "{called}: {refused:?} {found}"
                    ),
                }
                assert!(cause.is_none() || found.found.contains("signed the path"), "{found}");
            }
        }
    }

    #[test]
    fn a_time_without_a_zone_is_told_wherever_it_stands() {
        let own = "signed = [\"{timestamp}.{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\" }\n\
                   timestamp = { from = \"header:x-time\", unit = \"rfc3339\" }\n";
        let beside = "signed = [\"{timestamp}.{body}\"]\nsignature = { from = \"header:x-sig\", encoding = \"hex\", grammar = { \
                      kind = \"pairs\", separator = \",\", assign = \"=\", keys = [\"v1\"] } }\n\
                      timestamp = { from = \"signature:t\", unit = \"rfc3339\" }\n";
        let (time, sig) = ("2026-03-01T12:00:00", "0".repeat(64));
        let pairs = format!("t={time},v1={sig}");
        for (lines, sig) in [(own, &sig), (beside, &pairs)] {
            let (refused, found) =
                explained(&scheme(lines), &posted(&[("x-sig", sig), ("x-time", time)], "{}"));
            assert_eq!(refused.reject, Reject::TimestampMalformed);
            assert_eq!(
                refused.detail,
                "the signed time is not written as RFC 3339 (such as 2026-11-21T07:00:00Z)"
            );
            assert!(found.cause == Cause::TimeMalformed && found.found.contains("it has no zone"), "{found}");
        }
    }
}
