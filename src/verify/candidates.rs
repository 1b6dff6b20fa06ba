//! Header grammars: from the texts that carry signatures to the candidates in them, in sets that share named values.

use regex::Regex;
use smallvec::SmallVec;

use super::algorithm::{self, Output};
use super::header::Carrier;
use crate::provider::{Algorithm, Encoding, Grammar, PairsForm, Scheme, SignatureRule};
use crate::reject::{Refused, Reject};

/// Signatures looked at in one text; senders put one for each secret that is being rolled.
const SIGNATURES_MAX: usize = 16;
/// Signatures looked at in one delivery: of numbered places each has one.
const SIGNATURES_IN_ALL_MAX: usize = 100;
/// Different ones of them that are tried where each takes a pass of its own over the body: a MAC is made once for
/// all, a public-key signature is not, and whoever has no key may send what is dear to refuse.
const PUBLIC_SIGNATURES_MAX: usize = 4;
/// Sets with named values of their own: each takes a pass over the body.
const SETS_MAX: usize = 4;

/// A candidate signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'v> {
    text: &'v str,
    /// How it was made, where its prefix says so.
    algorithm: Option<Algorithm>,
    /// The slot of the secrets that it can be of; `None` for any.
    slot: Option<u8>,
}

/// A candidate's bytes.
#[derive(Clone)]
pub(super) struct Decoded {
    pub(super) output: Output,
    pub(super) algorithm: Algorithm,
    pub(super) slot: Option<u8>,
}

/// Candidates, and the named values that they stand beside.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Set<'v> {
    signatures: SmallVec<[Candidate<'v>; 2]>,
    named: SmallVec<[(&'v str, &'v str); 2]>,
}

/// What the carriers of signatures hold: at least one set, and at least one candidate in each.
#[derive(Debug)]
pub(super) struct Candidates<'v> {
    sets: SmallVec<[Set<'v>; 1]>,
}

impl<'v> Candidates<'v> {
    /// Reads the carriers by the scheme's grammar.
    ///
    /// # Errors
    /// `SignatureMalformed` where the grammar finds no signature in them, or too many.
    pub(super) fn parse(rule: &'v SignatureRule, carriers: &'v [Carrier<'_>]) -> Result<Self, Refused> {
        let mut found = Self { sets: SmallVec::new() };
        for carrier in carriers {
            match &rule.grammar {
                Grammar::Sets { separator, pairs: form } => {
                    let texts = split(&carrier.text, separator).take(SIGNATURES_MAX + 1);
                    texts.for_each(|text| found.add(carrier.slot, |set| pairs(text, form, set)));
                }
                Grammar::Plain { .. }
                | Grammar::Pairs(_)
                | Grammar::Positional { .. }
                | Grammar::Pattern { .. }
                | Grammar::Choices { .. }
                | Grammar::Versions { .. } => found.add(carrier.slot, |set| read(rule, &carrier.text, set)),
            }
        }
        let sets = &found.sets;
        let malformed =
            |found: String| Err(Reject::SignatureMalformed.because(format!("{} {found}", rule.from)));
        let all: usize = sets.iter().map(|set| set.signatures.len()).sum();
        let most = if rule.more.is_empty() { SIGNATURES_MAX } else { SIGNATURES_IN_ALL_MAX };
        match (all, sets.len()) {
            (0, _) => malformed("holds no signature of this scheme".to_owned()),
            (_, many) if many > SETS_MAX => malformed(format!(
                "holds signatures with different values beside them; at most {SETS_MAX} are read"
            )),
            (many, _) if many > most => {
                malformed(format!("holds {many} signatures; at most {most} are read"))
            }
            _ => Ok(found),
        }
    }

    /// Adds the set that `read` finds, if there is any signature in it: to the one with the same named values, where
    /// there is one, so that one pass over the body does for both.
    fn add(&mut self, slot: Option<u8>, read: impl FnOnce(&mut Set<'v>)) {
        // One more than are read is enough to see that they are too many.
        let full = self.sets.len() > SETS_MAX;
        self.sets.push(Set::default());
        let Some((set, known)) = self.sets.split_last_mut() else { return };
        read(set);
        set.signatures.truncate(SIGNATURES_IN_ALL_MAX + 1);
        set.signatures.iter_mut().for_each(|candidate| candidate.slot = slot);
        match known.iter_mut().find(|known| known.named == set.named) {
            Some(known) => known.signatures.append(&mut set.signatures),
            None if full => set.signatures.clear(),
            None => {}
        }
        if set.signatures.is_empty() {
            self.sets.pop();
        }
    }

    /// The only candidate, as it stands there.
    ///
    /// # Errors
    /// `SignatureMalformed` where there are several: a token is one.
    pub(super) fn only(&self) -> Result<&'v str, Refused> {
        let mut all = self.sets.iter().flat_map(|set| &set.signatures);
        match (all.next(), all.next()) {
            (Some(only), None) => Ok(only.text),
            _ => Err(Reject::SignatureMalformed.because("several tokens stand there, where one is read")),
        }
    }

    /// The sets, in order of arrival.
    pub(super) fn sets(&self) -> &[Set<'v>] {
        &self.sets
    }
}

/// Reads the set that one text is.
fn read<'v>(rule: &'v SignatureRule, text: &'v str, set: &mut Set<'v>) {
    match &rule.grammar {
        Grammar::Plain { prefix, ignore_case, optional } => {
            let bare = || Some(text).filter(|_| *optional);
            let signature = plain(text, prefix, *ignore_case).or_else(bare);
            set.signatures.extend(signature.map(Candidate::from));
        }
        Grammar::Pairs(form) | Grammar::Sets { pairs: form, .. } => pairs(text, form, set),
        Grammar::Versions { separator, assign, keys } => {
            let items = split(text, separator).filter_map(|item| cut(item, assign));
            let known = items.filter(|(name, _)| keys.iter().any(|key| key == name));
            set.signatures.extend(known.map(|(_, value)| Candidate::from(value)));
        }
        Grammar::Positional { separator, names } => {
            let mut items = split(text, separator);
            set.named.extend(names.iter().map(String::as_str).zip(items.by_ref()));
            set.signatures.extend(items.filter(|item| !item.is_empty()).map(Candidate::from));
        }
        Grammar::Pattern { .. } => {
            if let Some(pattern) = &rule.pattern {
                captured(pattern, text, set);
            }
        }
        Grammar::Choices { .. } => {
            set.signatures.extend(rule.choices.iter().find_map(|(prefix, algorithm)| {
                let text = text.strip_prefix(prefix.as_str()).filter(|rest| !rest.is_empty())?;
                Some(Candidate { text, algorithm: Some(*algorithm), slot: None })
            }));
        }
    }
}

fn pairs<'v>(text: &'v str, form: &PairsForm, found: &mut Set<'v>) {
    for (name, value) in split(text, &form.separator).filter_map(|item| cut(item, &form.assign)) {
        let (name, value) = if form.trim { (name.trim(), value.trim()) } else { (name, value) };
        if !form.keys.iter().any(|key| key == name) {
            found.named.push((name, value));
        } else if !form.first || found.signatures.is_empty() {
            found.signatures.push(value.into());
        }
    }
}

/// What stands before the first `mark`, and after it. One byte, which most marks are, is found without the set-up that
/// the search for a longer text needs.
fn cut<'v>(text: &'v str, mark: &str) -> Option<(&'v str, &'v str)> {
    match mark.as_bytes() {
        [one] => {
            let at = memchr::memchr(*one, text.as_bytes())?;
            Some((text.get(..at)?, text.get(at + 1..)?))
        }
        _ => text.split_once(mark),
    }
}

/// The items between separators.
fn split<'v>(text: &'v str, separator: &str) -> impl Iterator<Item = &'v str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (item, more) = cut(text, separator).map_or((text, None), |(item, more)| (item, Some(more)));
        rest = more;
        Some(item)
    })
}

/// The group `signature`, and the other named ones.
fn captured<'v>(pattern: &'v Regex, text: &'v str, found: &mut Set<'v>) {
    let Some(groups) = pattern.captures(text) else { return };
    for name in pattern.capture_names().flatten() {
        match groups.name(name) {
            Some(group) if name == "signature" => found.signatures.push(group.as_str().into()),
            Some(group) => found.named.push((name, group.as_str())),
            None => {}
        }
    }
}

fn plain<'v>(value: &'v str, prefix: &str, ignore_case: bool) -> Option<&'v str> {
    let head = value.get(..prefix.len())?;
    let matches = if ignore_case { head.eq_ignore_ascii_case(prefix) } else { head == prefix };
    if matches { value.get(prefix.len()..).filter(|rest| !rest.is_empty()) } else { None }
}

impl<'v> From<&'v str> for Candidate<'v> {
    fn from(text: &'v str) -> Self {
        Self { text, algorithm: None, slot: None }
    }
}

impl<'v> Set<'v> {
    /// The named values, in order of arrival.
    pub(super) fn values(&self) -> &[(&'v str, &'v str)] {
        &self.named
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
    pub(super) fn decode(&self, scheme: &Scheme) -> Result<SmallVec<[Decoded; 2]>, Refused> {
        let rule = &scheme.signature;
        let decode = |candidate: &Candidate<'v>| {
            let algorithm = candidate.algorithm.unwrap_or(scheme.algorithm);
            let output = algorithm::decode(algorithm, rule.encoding, candidate.text)?;
            Some(Decoded { output, algorithm, slot: candidate.slot })
        };
        let mut decoded: SmallVec<[Decoded; 2]> = self.signatures.iter().filter_map(decode).collect();
        if scheme.has_public_keys() {
            let order = |one: &Decoded| (one.output.as_bytes().to_vec(), one.slot);
            decoded.sort_unstable_by_key(order);
            decoded.dedup_by_key(|one| order(one));
            if decoded.len() > PUBLIC_SIGNATURES_MAX {
                return Err(Reject::SignatureMalformed.because(format!(
                    "{} holds {} different public-key signatures; at most {PUBLIC_SIGNATURES_MAX} are tried",
                    rule.from,
                    decoded.len()
                )));
            }
        }
        if decoded.is_empty() {
            let form = match rule.encoding {
                Encoding::Hex => "lower-case hexadecimal digits",
                Encoding::HexAnyCase => "hexadecimal digits",
                Encoding::Base64 => "padded base64",
                Encoding::Base64Url => "unpadded base64 of the alphabet for URLs",
                Encoding::Text => "plain text",
            };
            return Err(Reject::SignatureMalformed.because(format!(
                "{} holds {} character(s) that are not {form} of the right length",
                rule.from,
                self.signatures.first().map_or(0, |candidate| candidate.text.len())
            )));
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use std::collections::BTreeMap;

    use crate::provider::Definition;

    fn rule(signature: &str) -> SignatureRule {
        let file = format!(
            "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\nalgorithm = \"hmac-sha256\"\n\
             signed = [\"{{body}}\"]\nsignature = {{ from = [\"header:a\", \"header:b\"], encoding = \"hex\", {signature} }}"
        );
        let definition: Definition = toml::from_str(&file).unwrap();
        Scheme::build(&definition, None, &BTreeMap::new()).unwrap().signature
    }

    /// Each set as `name=value;…>signature,…`, between blanks; the refusal where there is one.
    fn read(rule: &SignatureRule, texts: &[&str]) -> String {
        let carriers: Vec<Carrier<'_>> =
            texts.iter().map(|text| Carrier { text: (*text).into(), slot: None }).collect();
        let set = |set: &Set<'_>| {
            let named: Vec<String> =
                set.named.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let signatures: Vec<String> = set
                .signatures
                .iter()
                .map(|one| match one.algorithm {
                    Some(algorithm) => format!("{}({algorithm:?})", one.text),
                    None => one.text.to_owned(),
                })
                .collect();
            format!("{}>{}", named.join(";"), signatures.join(","))
        };
        match Candidates::parse(rule, &carriers) {
            Ok(found) => found.sets().iter().map(set).collect::<Vec<_>>().join(" "),
            Err(refused) => format!("{:?}", refused.reject),
        }
    }

    const PAIRS: &str = "separator = \",\", assign = \"=\", keys = [\"v1\"]";

    #[test]
    fn every_grammar_finds_its_signatures_and_named_values() {
        let malformed = "SignatureMalformed";
        let pairs = |more: &str| format!("grammar = {{ kind = \"pairs\", {PAIRS}{more} }}");
        let sets = format!("grammar = {{ kind = \"sets\", separator = \" \", pairs = {{ {PAIRS} }} }}");
        let positional = "grammar = { kind = \"positional\", separator = \",\", names = [\"t\"] }";
        let pattern =
            "grammar = { kind = \"pattern\", pattern = \"t=(?P<t>\\\\d+),v1=(?P<signature>[^, ]+)\" }";
        let choices = "grammar = { kind = \"choices\", choices = { \"sha256=\" = \"hmac-sha256\", \"sha1=\" = \"hmac-sha1\" } }";
        let optional = "grammar = { kind = \"plain\", prefix = \"sha256=\", optional = true }";
        for (grammar, texts, want) in [
            (&*pairs(""), &["t=1,v1=a,v1=b,v0=c"][..], "t=1;v0=c>a,b"),
            (&pairs(""), &["t=1, v1=a"], malformed),
            (&pairs(", trim = true"), &["t = 1 , v1= a"], "t=1>a"),
            (&pairs(", first = true"), &["v1=a,t=1,v1=b"], "t=1>a"),
            (&pairs(""), &["t=1,v1=a", "t=2,v1=b"], "t=1>a t=2>b"),
            (&pairs(""), &["t=1,v1=a", "t=1,v1=b"], "t=1>a,b"),
            (&sets, &["t=1,v1=a t=2,v1=b"], "t=1>a t=2>b"),
            (&sets, &["t=1,v1=a t=2"], "t=1>a"),
            (&sets, &["t=1,v1=a t=2,v1=a t=3,v1=a t=4,v1=a"], "t=1>a t=2>a t=3>a t=4>a"),
            (&sets, &["t=1,v1=a t=2,v1=a t=3,v1=a t=4,v1=a t=5,v1=a"], malformed),
            (positional, &["1,a,b"], "t=1>a,b"),
            (positional, &["1"], malformed),
            (positional, &["1,"], malformed),
            (pattern, &["t=1,v1=a"], "t=1>a"),
            (pattern, &["x t=1,v1=a"], malformed),
            (pattern, &["t=1,v1=a,"], malformed),
            (choices, &["sha1=a"], ">a(HmacSha1)"),
            (choices, &["sha256=a", "sha1=b"], ">a(HmacSha256),b(HmacSha1)"),
            (choices, &["md5=a"], malformed),
            (choices, &["sha1="], malformed),
            (optional, &["sha256=a", "b"], ">a,b"),
        ] {
            assert_eq!(read(&rule(grammar), texts), want, "{grammar} {texts:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_carried_makes_a_grammar_panic(text in "[tv10=, a-f]{0,200}|\\PC{0,40}") {
            for grammar in [
                format!("grammar = {{ kind = \"sets\", separator = \" \", pairs = {{ {PAIRS}, trim = true }} }}"),
                "grammar = { kind = \"positional\", separator = \",\", names = [\"t\", \"u\"] }".to_owned(),
                "grammar = { kind = \"pattern\", pattern = \"(?P<t>.*),(?P<signature>.*)\" }".to_owned(),
                "grammar = { kind = \"choices\", choices = { \"a=\" = \"hmac-sha1\" } }".to_owned(),
            ] {
                read(&rule(&grammar), &[&text, &text]);
            }
        }
    }
}
