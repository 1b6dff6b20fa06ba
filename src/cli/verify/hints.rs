//! Why a request was refused, found by trying what would have verified: other bodies, secrets, schemes, URLs.
//!
//! For the operator, who has the secret: never in an answer over HTTP. No hint holds a secret or any of the body.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::ago;
use super::bodies;
use crate::cli::captured::split;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::Pick;
use crate::provider::secret::Secret;
use crate::provider::{Catalog, Definition, KeyForm, Scheme};
use crate::reject::{Refused, Reject};
use crate::verify::{Key, Verifier};

/// Longest body with which two causes at once are tried.
const BOTH_BYTES_MAX: usize = 256 << 10;

/// A refused request, and everything that is known around it.
pub(super) struct Case<'c> {
    /// The request.
    pub delivery: &'c Delivery,
    /// The scheme that it was judged by.
    pub scheme: &'c Arc<Scheme>,
    /// Its provider.
    pub definition: &'c Definition,
    /// All providers.
    pub catalog: &'c Catalog,
    /// The secrets that it was judged by.
    pub secrets: &'c [&'c Secret],
    /// Secrets of other sources, by the source's name.
    pub others: Vec<(&'c str, &'c Secret)>,
    /// The time that it was judged at.
    pub now: Timestamp,
}

impl Case<'_> {
    /// What an operator can do about it, the likeliest first.
    pub(super) fn hints(&self, refused: &Refused) -> Vec<String> {
        let found = match refused.reject {
            Reject::SignatureMismatch | Reject::BodyDigestMismatch | Reject::FormMalformed => self.mismatch(),
            Reject::SignatureMissing => self.missing(),
            Reject::SignatureMalformed => self.malformed(),
            Reject::SignatureRepeated => vec![
                "the header is there twice: a proxy added its own, or the capture holds two requests"
                    .to_owned(),
            ],
            Reject::Stale | Reject::Premature => self.untimely(refused.reject),
            Reject::BodyEmpty => vec![
                "the body was read before, or --body names another file: give the bytes as they came"
                    .to_owned(),
            ],
            Reject::TimestampMissing | Reject::CompanionMissing => {
                vec![
                    "does the capture hold all headers? Some proxies and loggers drop unknown ones"
                        .to_owned(),
                ]
            }
            _ => Vec::new(),
        };
        self.length().into_iter().chain(found).collect()
    }

    /// Whether the delivery verifies like this, whatever its age.
    fn holds(&self, scheme: &Scheme, secret: &[u8], delivery: &Delivery) -> bool {
        let verifier = |key| Verifier::new(Arc::new(scheme.clone()), vec![key]);
        Key::new(scheme, "", secret).is_ok_and(|key| verifier(key).verify(delivery.clone(), self.now).is_ok())
    }

    fn any_holds(&self, scheme: &Scheme, delivery: &Delivery) -> bool {
        self.secrets.iter().any(|secret| self.holds(scheme, secret.expose(), delivery))
    }

    /// A body that is not as long as its header says was cut or changed.
    fn length(&self) -> Option<String> {
        let said: u64 = text(&self.delivery.headers, "content-length")?.parse().ok()?;
        let found = self.delivery.body.len() as u64;
        (said != found).then(|| {
            format!(
                "Content-Length says {said} bytes and the body has {found}: it was changed or cut on the way"
            )
        })
    }

    fn mismatch(&self) -> Vec<String> {
        let mut hints = self.by_secret(self.delivery, "");
        hints.extend(self.by_scheme());
        hints.extend(self.by_url());
        hints.extend(self.by_body());
        if hints.is_empty() {
            hints.extend(self.by_body_and_secret());
        }
        if hints.is_empty() {
            hints.push(self.likely());
        }
        hints
    }

    /// Another text of the secret, another way to read it, or another source's.
    fn by_secret(&self, delivery: &Delivery, and: &str) -> Vec<String> {
        let mut hints = Vec::new();
        for secret in self.secrets {
            let label = secret.label();
            let tried =
                texts(secret.expose()).into_iter().find(|(_, text)| self.holds(self.scheme, text, delivery));
            hints.extend(tried.map(|(what, _)| format!("it verifies{and} with the secret {label:?} {what}")));
            let read = FORMS.iter().filter(|(form, _)| *form != self.scheme.key_form).find(|(form, _)| {
                let scheme = Scheme { key_form: *form, ..(**self.scheme).clone() };
                self.holds(&scheme, secret.expose(), delivery)
            });
            hints.extend(read.map(|(_, what)| {
                format!("it verifies{and} with the secret {label:?} read as {what}: whoever signed read it like that")
            }));
        }
        let other = self.others.iter().find(|(_, secret)| self.holds(self.scheme, secret.expose(), delivery));
        hints.extend(other.map(|(source, secret)| {
            format!(
                "it verifies{and} with the secret {:?} of source {source:?}: was it sent to the wrong path?",
                secret.label()
            )
        }));
        hints
    }

    fn by_scheme(&self) -> Option<String> {
        let fits = |scheme: &Scheme| scheme.name != self.scheme.name && self.any_holds(scheme, self.delivery);
        let found = self.schemes(self.definition).into_iter().find(fits)?;
        Some(format!(
            "it is signed by another scheme of {}: set scheme = {:?}",
            self.definition.title, found.name
        ))
    }

    /// The schemes of a provider that need no setting, for senders that call what this one called.
    fn schemes(&self, definition: &Definition) -> Vec<Scheme> {
        let built = definition
            .schemes
            .iter()
            .filter_map(|scheme| Scheme::build(definition, Some(&scheme.name), &BTreeMap::new()).ok());
        built.map(|scheme| Scheme { origin: self.scheme.origin.clone(), ..scheme }).collect()
    }

    /// The URL as others may have called it.
    fn by_url(&self) -> Option<String> {
        let origin = self.scheme.origin.as_ref().filter(|_| self.scheme.signs_url())?;
        let configured = origin.text(crate::provider::UrlPort::Configured);
        let bases = bases(configured, &self.delivery.headers);
        let targets = targets(&self.delivery.target);
        let mut urls = bases.iter().flat_map(|base| targets.iter().map(move |target| (base, target)));
        let (base, target) = urls.find(|(base, target)| {
            let delivery = Delivery { target: (*target).clone(), ..self.delivery.clone() };
            self.any_holds(&(**self.scheme).clone().at(base), &delivery)
        })?;
        Some(format!(
            "the sender signed the URL {base}{target}, not {configured}{}: set ingress.public_url, or what the sender \
             calls, so that both are the same",
            self.delivery.target
        ))
    }

    fn by_body(&self) -> Option<String> {
        let fits = |one: &bodies::Before| self.any_holds(self.scheme, &self.with(&one.body));
        let found = bodies::before(&self.delivery.body).into_iter().find(fits)?;
        Some(format!("the body was changed: it verifies {}", found.what))
    }

    fn by_body_and_secret(&self) -> Vec<String> {
        if self.delivery.body.len() > BOTH_BYTES_MAX {
            return Vec::new();
        }
        let mut both = bodies::before(&self.delivery.body)
            .into_iter()
            .map(|one| self.by_secret(&self.with(&one.body), &format!(", the body {},", one.what)));
        both.find(|hints| !hints.is_empty()).unwrap_or_default()
    }

    fn with(&self, body: &Bytes) -> Delivery {
        Delivery { body: body.clone(), ..self.delivery.clone() }
    }

    /// What it most often is, where nothing that was tried verifies.
    fn likely(&self) -> String {
        let body = &self.delivery.body;
        if body.starts_with(&[0x1f, 0x8b]) {
            return "the body is compressed (gzip): was it signed before or after?".to_owned();
        }
        if String::from_utf8_lossy(body).contains('\u{fffd}') {
            return "the body holds replacement characters: something decoded it as text and lost bytes; keep it raw"
                .to_owned();
        }
        if sorted_keys(body) {
            return "the JSON's keys are in alphabetical order: if the sender's are not, something parsed it and printed \
                    it again; else it is another endpoint's secret (test and live ones differ)"
                .to_owned();
        }
        "no other layout of the body, form of the secret or scheme verifies: most likely the secret is another \
         endpoint's, or another mode's (test and live ones differ), or the body is another request's"
            .to_owned()
    }

    /// A signature of another scheme or provider.
    fn missing(&self) -> Vec<String> {
        let carries = |scheme: &Scheme| match &scheme.signature.from {
            Pick::Header(name) => self.delivery.headers.first(name).is_some(),
            place => place.read(self.delivery).is_some(),
        };
        let mut hints = Vec::new();
        let own = self.schemes(self.definition);
        for scheme in own.iter().filter(|scheme| scheme.name != self.scheme.name && carries(scheme)) {
            let signed = if self.any_holds(scheme, self.delivery) { ", and it verifies by that" } else { "" };
            hints.push(format!(
                "{} is there{signed}: that is scheme {:?}; set scheme = {:?}",
                scheme.signature.from, scheme.name, scheme.name
            ));
        }
        let others = self.catalog.iter().filter(|one| one.name != self.definition.name);
        let other = others.flat_map(|one| self.schemes(one).into_iter().map(move |scheme| (one, scheme)));
        let other =
            other.filter(|(_, scheme)| !own.iter().any(|own| own.signature.from == scheme.signature.from));
        if let (true, Some((one, scheme))) = (hints.is_empty(), { other }.find(|(_, scheme)| carries(scheme)))
        {
            hints.push(format!(
                "{} is there, as {} sends it: provider = {:?}?",
                scheme.signature.from, one.title, one.name
            ));
        }
        if hints.is_empty() {
            let names: Vec<_> = self
                .delivery
                .headers
                .iter()
                .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
                .collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            hints.push(format!(
                "it is read from {}; headers that are there: {names}",
                self.scheme.signature.from
            ));
        }
        hints
    }

    fn malformed(&self) -> Vec<String> {
        let Pick::Header(name) = &self.scheme.signature.from else { return Vec::new() };
        let Some(value) = text(&self.delivery.headers, name) else { return Vec::new() };
        let changed: [(&str, String); 3] = [
            ("in lower case: something changed its case", value.to_ascii_lowercase()),
            ("without quotes around it", value.trim_matches(['"', '\'']).to_owned()),
            ("without white space in it", value.split_whitespace().collect()),
        ];
        let with = |value: &str| {
            let mut headers = Headers::default();
            for (line, old) in self.delivery.headers.iter() {
                let value = if line == name.as_bytes() { value.as_bytes() } else { old };
                headers.push(&String::from_utf8_lossy(line), value);
            }
            Delivery { headers, ..self.delivery.clone() }
        };
        let found = changed.iter().find(|(_, value)| self.any_holds(self.scheme, &with(value)));
        match found {
            Some((what, _)) => vec![format!("the header {name} verifies {what}")],
            None => vec![format!(
                "`hookgate providers show {}` tells how {name} is written",
                self.scheme.provider
            )],
        }
    }

    fn untimely(&self, reject: Reject) -> Vec<String> {
        let key = self.secrets.iter().filter_map(|secret| Key::new(self.scheme, "", secret.expose()).ok());
        let verified =
            Verifier::new(Arc::clone(self.scheme), key.collect()).verify(self.delivery.clone(), self.now);
        let Ok(Some(at)) = verified.map(|verified| verified.signed_at()) else { return Vec::new() };
        let age = ago(self.now.millis_since(at));
        let mut hints = vec![format!(
            "the signature itself is right; it was made at {at}, {age}: to judge a capture as of when it came, give --at"
        )];
        if reject == Reject::Premature {
            hints.push("or a clock is wrong: the sender's, or this machine's (NTP?)".to_owned());
        }
        hints
    }
}

/// Ways to read a secret's text as a key, and what they are called.
const FORMS: [(KeyForm, &str); 4] = [
    (KeyForm::Utf8, "plain text"),
    (KeyForm::Hex, "hexadecimal digits"),
    (KeyForm::Base64, "base64"),
    (KeyForm::Whsec, "whsec_ and base64"),
];

/// Texts that a secret may have been meant as.
fn texts(secret: &[u8]) -> Vec<(&'static str, Zeroizing<Vec<u8>>)> {
    let owned = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
    let quotes = |quote: u8| secret.strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
    let mut texts = vec![
        ("without the white space around it", owned(secret.trim_ascii())),
        ("with a newline at its end: whoever signed read it from a file", owned(&[secret, b"\n"].concat())),
        ("with the prefix whsec_", owned(&[b"whsec_", secret].concat())),
        ("in lower case", owned(&secret.to_ascii_lowercase())),
    ];
    let cut = [
        ("without its prefix whsec_", secret.strip_prefix(b"whsec_")),
        ("without the quotes around it", quotes(b'"').or_else(|| quotes(b'\''))),
        ("without what stands before its `=`: it holds the variable's name", after_name(secret)),
    ];
    texts.extend(cut.into_iter().filter_map(|(what, text)| Some((what, owned(text?)))));
    texts.retain(|(_, text)| ***text != *secret);
    texts
}

/// What follows `NAME=`.
fn after_name(secret: &[u8]) -> Option<&[u8]> {
    let at = secret.iter().position(|byte| *byte == b'=')?;
    let (name, rest) = secret.split_at(at);
    let plain = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    rest.get(1..).filter(|rest| plain && !rest.is_empty())
}

fn text<'h>(headers: &'h Headers, name: &'h str) -> Option<&'h str> {
    headers.first(name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Public URLs that the sender may have been given: the other protocol, and the hosts that the request names.
fn bases(configured: &str, headers: &Headers) -> Vec<String> {
    let (base, path) = split(configured);
    let path = if path == "/" { "" } else { path };
    let own = base.split_once("://").map_or(base, |(_, host)| host);
    let named = ["x-forwarded-host", "host"].into_iter().filter_map(|name| text(headers, name));
    let mut bases = Vec::new();
    for host in std::iter::once(own).chain(named) {
        for protocol in ["https", "http"] {
            for path in [path, ""] {
                bases.push(format!("{protocol}://{host}{path}"));
            }
        }
    }
    bases
}

/// Paths that the sender may have called: with and without a slash at the end, with and without the query.
fn targets(target: &str) -> Vec<String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let bare = path.trim_end_matches('/');
    let mut targets = Vec::new();
    for path in [path.to_owned(), format!("{bare}/"), bare.to_owned()] {
        targets.extend(query.map(|query| format!("{path}?{query}")));
        targets.push(path);
    }
    targets
}

/// Whether the body is a JSON object of several keys, all in alphabetical order.
fn sorted_keys(body: &[u8]) -> bool {
    #[derive(Default)]
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(Visitor)
        }
    }
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Keys;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
            let mut keys = Keys::default();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.0.push(key);
            }
            Ok(keys)
        }
    }
    serde_json::from_slice::<Keys>(body).is_ok_and(|keys| keys.0.len() > 2 && keys.0.is_sorted())
}
