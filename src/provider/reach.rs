//! Reach: which places of a scheme can ever hold a value, and which signatures can ever be right.
//!
//! A place that nothing fills, or a signature over itself, makes a scheme that refuses everything; such a file is
//! refused at load, where its author sees it. Looks at checked schemes and at no delivery; stands after `build`.

use super::build::Check;
use super::grammar::Grammar;
use super::rules::{Algorithm, TimeSource};
use super::scheme::Scheme;
use super::template::{Piece, Template};
use crate::extract::Pick;

/// Where a place's value is read, which decides what there is beside the delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Before there are named values: the signature itself.
    Signature,
    /// With the signature's named values and its element.
    Beside,
    /// Of the delivery alone, with the claims once a token is proved.
    Event,
    /// Of the delivery alone.
    Delivery,
}

impl Check {
    /// Whether every place of the scheme can hold a value, and its signature be right.
    pub(super) fn reach(&mut self, scheme: &Scheme) {
        for (key, reading, place) in places(scheme) {
            if let Some(allowed) = unreachable(scheme, reading, key, &place) {
                self.add(key, &format!("{place}, which never holds a value there"), &allowed);
            }
        }
        let judged_whole = matches!(scheme.algorithm, Algorithm::Jwt(_) | Algorithm::Unauthenticated);
        if let (true, Some(each)) = (judged_whole, &scheme.each) {
            self.add(
                "each",
                &each.to_string(),
                "nothing, with this algorithm: `[batch]` has the events of a body",
            );
        }
        self.circles(scheme);
    }

    /// What is computed over itself never is what was computed.
    fn circles(&mut self, scheme: &Scheme) {
        if scheme.algorithm.signs_templates() {
            for place in scheme.signature.places() {
                let own = scheme.signed.iter().map(|template| around(scheme, template, place));
                if let Some(around) = own.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next()) {
                    let found = format!("{place}, which {around} has in it: no signature covers itself");
                    self.add("signature.from", &found, "a place outside of what every template signs");
                }
            }
            for template in &scheme.signed {
                let mut own = scheme.signature.places().map(|place| around(scheme, template, place));
                let some_can = scheme.signed.iter().any(|other| {
                    scheme.signature.places().any(|place| around(scheme, other, place).is_none())
                });
                if some_can && own.all(|around| around.is_some()) {
                    let found = format!("\"{template}\", which has the signature itself in it");
                    self.add("signed", &found, "templates without the place of the signature");
                }
            }
        }
        let Some(rule) = &scheme.body_digest else { return };
        let carried = !matches!(scheme.algorithm, Algorithm::Token | Algorithm::Basic);
        if rule.from.is_in_body() {
            let found = format!("{}, within the body whose digest it is", rule.from);
            self.add("body_digest.from", &found, "a place outside of the body");
        } else if carried && scheme.signature.places().all(Pick::is_in_body) {
            let found = format!(
                "the digest of a body that has its own signature in it, at {}",
                scheme.signature.from
            );
            self.add("body_digest", &found, "a signature outside of the body, or no digest of it");
        }
    }
}

/// Every place of the scheme, by its key.
fn places(scheme: &Scheme) -> Vec<(&'static str, Reading, Pick)> {
    let time = scheme.timestamp.as_ref().map(|rule| match &rule.from {
        TimeSource::Signature(name) => Pick::Signature(name.clone()),
        TimeSource::Place(place) => place.clone(),
    });
    let fetched = scheme.key.fetch.is_some();
    let of_key = if fetched { Reading::Delivery } else { Reading::Beside };
    let of_time = if time.as_ref().is_some_and(Pick::is_claim) { Reading::Event } else { Reading::Beside };
    let digest = scheme.body_digest.as_ref().map(|rule| rule.from.clone());
    let of_digest =
        if digest.as_ref().is_some_and(Pick::is_claim) { Reading::Event } else { Reading::Beside };
    let with = |key, reading| move |place: &Pick| (key, reading, place.clone());
    let ids = scheme.event.ids().iter().flat_map(|place| place.picks());
    let types = scheme.event.types().iter().flat_map(|place| place.picks());
    let beside = Reading::Beside;
    scheme
        .values
        .iter()
        .map(with("signed", beside))
        .chain(scheme.require.iter().map(with("require", beside)))
        .chain(scheme.equal.iter().map(|rule| &rule.place).map(with("equal", beside)))
        .chain(scheme.matching.iter().map(|rule| &rule.place).map(with("matching", beside)))
        .chain(scheme.signature.places().map(with("signature.from", Reading::Signature)))
        .chain(time.iter().map(with("timestamp.from", of_time)))
        .chain(digest.iter().map(with("body_digest.from", of_digest)))
        .chain(scheme.key.id.iter().map(with("key.id", of_key)))
        .chain(ids.map(with("event.id", Reading::Event)))
        .chain(types.map(with("event.type", Reading::Event)))
        .collect()
}

/// What is allowed in the place of one that holds no value where it is read.
fn unreachable(scheme: &Scheme, reading: Reading, key: &str, place: &Pick) -> Option<String> {
    let judged_whole = matches!(scheme.algorithm, Algorithm::Jwt(_) | Algorithm::Unauthenticated);
    match place.root() {
        Pick::Signature(_) if reading != Reading::Beside || judged_whole => {
            Some("a place of the delivery: what stands beside a signature is read only with it".to_owned())
        }
        Pick::Signature(name) => unnamed(&scheme.signature.grammar, name),
        Pick::Item(_) if matches!(reading, Reading::Event | Reading::Delivery) => {
            Some("a place of the delivery: `item:` stands for a part of it, as in `batch.id`".to_owned())
        }
        Pick::Item(_) if scheme.each.is_none() => {
            Some("`item:` with `each`, which says where the elements are; or json:/pointer".to_owned())
        }
        Pick::Jwt(_) if reading != Reading::Event => Some(
            "a claim is known once its token is proved: `jwt.claims` compares it, and event, timestamp and body_digest \
             may read it"
                .to_owned(),
        ),
        Pick::JwtHeader(_) if key != "key.id" => Some("`jwt-header:` in key.id alone".to_owned()),
        _ => None,
    }
}

/// What is allowed where the grammar gives no value of that name.
fn unnamed(grammar: &Grammar, name: &str) -> Option<String> {
    match grammar {
        Grammar::Pairs(form) | Grammar::Sets { pairs: form, .. } => {
            let odd = name.contains(form.separator.as_str()) || name.contains(form.assign.as_str());
            let signs = form.keys.iter().any(|key| key == name);
            (odd || signs).then(|| {
                let keys = form.keys.join(", ");
                format!(
                    "the name of another item than of the signatures ({keys}), without separator and assign"
                )
            })
        }
        Grammar::Positional { names, .. } => (!names.iter().any(|known| known == name))
            .then(|| format!("a name of the grammar: {}", names.join(", "))),
        Grammar::Pattern { pattern } => {
            let pattern = regex::Regex::new(pattern).ok()?;
            let groups: Vec<&str> =
                pattern.capture_names().flatten().filter(|group| *group != "signature").collect();
            let told = || match groups.is_empty() {
                true => "no value: the pattern has no group beside `signature`".to_owned(),
                false => format!("a group of the pattern: {}", groups.join(", ")),
            };
            (!groups.contains(&name)).then(told)
        }
        Grammar::Plain { .. } | Grammar::Versions { .. } | Grammar::Choices { .. } => Some(
            "`signature:` with a grammar that has named values: `pairs`, `sets`, `positional`, `pattern`"
                .to_owned(),
        ),
    }
}

/// The piece of a template that has the value at `place` in it, whatever the delivery.
fn around<'t>(scheme: &Scheme, template: &'t Template, place: &Pick) -> Option<&'t Piece> {
    let left_out = matches!(place.root(), Pick::Form(name) if scheme.form_text.except.contains(name));
    template.always().find(|piece| match piece {
        Piece::FormSorted | Piece::FormSortedAll => place.is_in_body() && !left_out,
        Piece::Body | Piece::BodyAs(_) => place.is_in_body(),
        Piece::Raw(of) => place.is_below(of),
        Piece::Url(_) | Piece::UrlUnescaped | Piece::Target => matches!(place.root(), Pick::Query(_)),
        Piece::SignedHeaders(name) => *place.root() == Pick::Header(name.clone()),
        Piece::Value(of) | Piece::Lower(of) | Piece::Optional { pick: of, .. } => {
            place.is_within(of) || *of == Pick::Body && place.is_in_body()
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use crate::provider::{Definition, Scheme};

    /// The problems of a scheme whose lines are given.
    fn problems(lines: &str) -> Vec<String> {
        let text = format!("name = \"a\"\ntitle = \"A\"\n[[schemes]]\nname = \"s\"\n{lines}");
        let definition: Definition = toml::from_str(&text).unwrap();
        let problems = Scheme::build(&definition, None, &Default::default()).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    const HMAC: &str = "algorithm = \"hmac-sha256\"\n";
    const PLAIN: &str = "{ from = \"header:X-Sig\", encoding = \"hex\" }";
    const PAIRS: &str = "{ from = \"header:X-Sig\", encoding = \"hex\", grammar = { kind = \"pairs\", separator = \",\", \
                         assign = \"=\", keys = [\"v1\"] } }";

    fn scheme(signed: &str, signature: &str, more: &str) -> String {
        format!("{HMAC}signed = [{signed}]\nsignature = {signature}\n{more}")
    }

    fn with_grammar(grammar: &str) -> String {
        format!("{{ from = \"header:X-Sig\", encoding = \"hex\", grammar = {grammar} }}")
    }

    #[test]
    fn a_named_value_that_the_grammar_never_gives_is_told() {
        let positional = with_grammar("{ kind = \"positional\", separator = \",\", names = [\"t\", \"n\"] }");
        let pattern = with_grammar("{ kind = \"pattern\", pattern = 't=(?P<t>\\d+) (?P<signature>.+)' }");
        let bare = with_grammar("{ kind = \"pattern\", pattern = '(?P<signature>.+)' }");
        let versions =
            with_grammar("{ kind = \"versions\", separator = \" \", assign = \",\", keys = [\"v1\"] }");
        for (signature, name, told) in [
            (PLAIN, "t", "with a grammar that has named values: `pairs`"),
            (versions.as_str(), "v1", "with a grammar that has named values"),
            (PAIRS, "v1", "another item than of the signatures (v1)"),
            (PAIRS, "a=b", "without separator and assign"),
            (positional.as_str(), "x", "a name of the grammar: t, n"),
            (pattern.as_str(), "signature", "a group of the pattern: t"),
            (bare.as_str(), "t", "the pattern has no group beside `signature`"),
        ] {
            let found = problems(&scheme(&format!("\"{{signature:{name}}}.{{body}}\""), signature, ""));
            let place = format!("signed: found signature:{name}, which never holds a value there; allowed: ");
            assert!(found.len() == 1 && found[0].starts_with(&place) && found[0].contains(told), "{found:?}");
        }
        for (signature, name) in [(PAIRS, "t"), (positional.as_str(), "n"), (pattern.as_str(), "t")] {
            assert!(
                problems(&scheme(&format!("\"{{signature:{name}}}.{{body}}\""), signature, "")).is_empty()
            );
        }
        for more in [
            "require = [\"signature:x\"]",
            "equal = { \"signature:x\" = \"1\" }",
            "matching = { \"signature:x\" = \"1\" }",
            "timestamp = { from = \"signature:x\", unit = \"seconds\" }",
            "key = { id = \"signature:x\" }",
        ] {
            let found =
                problems(&scheme("\"{signature:t}.{body}\"", &positional.replace("\"n\"", "\"u\""), more));
            assert!(found.iter().any(|one| one.contains("a name of the grammar: t, u")), "{more}: {found:?}");
        }
    }

    #[test]
    fn a_place_is_read_where_it_can_hold_a_value() {
        let jwt = "algorithm = \"jwt-hs256\"\nsignature = { from = \"header:X-Sig\" }\n";
        let fetched = "algorithm = \"ed25519\"\nsigned = [\"{body}\"]\nsecret = \"public-key\"\n\
                       key = { id = \"item:/k\", fetch = { url = \"https://k.example.com/a\", form = \"jwks\" } }\n";
        let without = scheme("\"{item:/id}\"", PLAIN, "");
        for (lines, key, told) in [
            (without.clone(), "signed", "`item:` with `each`"),
            (without.replace("header:X-Sig", "item:/sig"), "signature.from", "`item:` with `each`"),
            (scheme("\"{body}\"", PLAIN, "require = [\"item:/a\"]"), "require", "`item:` with `each`"),
            (scheme("\"{body}\"", PLAIN, "event = { id = \"item:/a\" }"), "event.id", "`batch.id`"),
            (
                scheme("\"{body}\"", PAIRS, "event = { type = \"signature:t\" }"),
                "event.type",
                "read only with it",
            ),
            (scheme("\"{body}\"", PLAIN, "require = [\"jwt:/a\"]"), "require", "`jwt.claims` compares it"),
            (format!("{jwt}require = [\"jwt:/a\"]"), "require", "`jwt.claims` compares it"),
            (format!("{jwt}require = [\"signature:a\"]"), "require", "read only with it"),
            (format!("{jwt}each = \"json:/a\""), "each", "nothing, with this algorithm"),
            (format!("{jwt}require = [\"jwt-header:/a\"]"), "require", "key.id alone"),
            (
                format!("{fetched}each = \"json:/a\"\nsignature = {PLAIN}"),
                "key.id",
                "a place of the delivery",
            ),
        ] {
            let found = problems(&lines);
            let own = found.iter().find(|one| one.starts_with(&format!("{key}: ")) && one.contains(told));
            assert!(own.is_some(), "{lines}\n{found:?}");
        }
        let batch = |places: &str| {
            scheme("\"{body}\"", PAIRS, &format!("batch = {{ each = \"json:/a\", {places} }}"))
        };
        for places in ["id = \"signature:t\"", "type = \"{item:/a}{jwt:/b}\"", "id = \"item:/a > json:/b\""] {
            let found = problems(&batch(places));
            assert!(found.len() == 1 && found[0].contains("allowed: item:/pointer"), "{places}: {found:?}");
        }
        assert!(problems(&batch("id = \"{item:/a}{header:x}\"")).is_empty());
    }

    #[test]
    fn no_signature_stands_in_what_it_signs() {
        let from = |place: &str| format!("{{ from = {place}, encoding = \"hex\" }}");
        for (signed, place, around) in [
            ("\"{timestamp}{body}\"", "json:/sig", "{body}"),
            ("\"{body:compact}\"", "json:/a > json:/sig", "{body:compact}"),
            ("\"{body:base64}\"", "xml:/a/@sig", "{body:base64}"),
            ("\"{form_sorted}\"", "form:sig", "{form_sorted}"),
            ("\"{raw json:/a}\"", "json:/a/sig", "{raw json:/a}"),
            ("\"{form:p}\"", "form:p > json:/sig", "{form:p}"),
            ("\"{lower body}\"", "form:sig", "{lower body}"),
            ("\"{optional body}\"", "form:sig", "{optional body}"),
            ("\"{url}.{header:x}\"", "query:sig", "{url}"),
            ("\"{target}\"", "query:sig > base64", "{target}"),
            ("\"{header:x-sig}\"", "header:X-Sig", "{header:x-sig}"),
            ("\"{signed_headers:header:x-sig}\"", "header:X-Sig", "{signed_headers:header:x-sig}"),
        ] {
            let time = if signed.contains("timestamp") {
                "timestamp = { from = \"header:t\", unit = \"seconds\" }"
            } else {
                ""
            };
            let found = problems(&scheme(signed, &from(&format!("\"{place}\"")), time));
            let told = format!("which {around} has in it: no signature covers itself");
            assert!(
                found.iter().any(|one| one.starts_with("signature.from: ") && one.contains(&told)),
                "{found:?}"
            );
        }
        let two = scheme("\"{body}\", \"{json:/id}\"", &from("\"json:/sig\""), "");
        let found = problems(&two);
        assert!(found.len() == 1 && found[0].starts_with("signed: found \"{body}\", which has"), "{found:?}");
        for (signed, place) in [
            ("\"{json:/id}\"", "\"json:/sig\""),
            ("\"{if header:x}{body}{end}{json:/id}\"", "\"json:/sig\""),
            ("\"{path}\"", "\"query:sig\""),
            ("\"{body}\"", "[\"json:/sig\", \"header:x-sig\"]"),
        ] {
            let found = problems(&scheme(signed, &from(place), ""));
            let dead = found.iter().filter(|one| one.starts_with("signed")).count();
            assert_eq!(dead, 0, "{signed} {place}: {found:?}");
        }
        let digest = |place: &str| {
            format!("body_digest = {{ from = \"{place}\", algorithm = \"sha256\", encoding = \"hex\" }}")
        };
        let within = scheme("\"{json:/sum}\"", PLAIN, &digest("json:/sum"));
        assert!(problems(&within).iter().any(|one| one.contains("within the body whose digest it is")));
        let around = scheme("\"{header:sum}\"", &from("\"json:/sig\""), &digest("header:sum"));
        assert!(problems(&around).iter().any(|one| one.contains("its own signature in it, at json:/sig")));
        assert!(problems(&scheme("\"{header:sum}\"", PLAIN, &digest("header:sum"))).is_empty());
    }

    #[test]
    fn one_elements_proof_has_nothing_of_the_others_in_it() {
        let each = |signed: &str, each: &str| {
            problems(&scheme(&format!("\"{signed}\""), PLAIN, &format!("each = \"{each}\"")))
        };
        for piece in [
            "{body}",
            "{optional body}",
            "{lower body}",
            "{optional lower body}",
            "{body:crc32}",
            "{body:ascii}",
            "{form_sorted:all}",
            "{body > base64}",
            "{body > json:/a}",
            "{json:}",
            "{raw json:}",
            "{raw json:/items}",
            "{body:sorted}",
            "{if body}x{end}",
        ] {
            let found = each(&format!("{{item:/id}}{piece}"), "json:/items");
            let told =
                |one: &String| one.starts_with("each: found ") && one.contains("more than one element");
            assert!(found.iter().any(told), "{piece}: {found:?}");
        }
        assert!(!each("{form:p}{item:/id}", "form:p > json:/items").is_empty());
        assert!(each("{header:x}{item:/id}{optional item:/a}", "json:/items").is_empty());
    }
}
