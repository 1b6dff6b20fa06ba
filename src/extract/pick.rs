//! Where a value is in a delivery, as provider files write it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::cut::Cut;
use super::form;
use super::json::{self, Found, Pointer};
use super::scene::Scene;
use super::xml;
use crate::delivery::Delivery;

/// Between a place and what is looked up in its text.
const INSIDE: &str = " > ";
/// Texts inside each other. JSON in JSON has its quotes escaped, and the escapes of those inside: with each it doubles.
const INSIDE_MAX: usize = 8;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// Padding may be there or not; bits that no byte has must be zero, so that a text has one reading.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A named place in a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `header:NAME`: the only line of that name; a repeated one is no value.
    Header(String),
    /// `json:/pointer`: a string, number or boolean in the JSON body; `json:` is the whole of it.
    Json(Pointer),
    /// `form:NAME`: the first field of that name in an urlencoded or multipart body, decoded.
    Form(String),
    /// `query:NAME`: the first parameter of that name, decoded.
    Query(String),
    /// `xml:/a/b`: the text of an element or attribute of the XML body.
    Xml(xml::Path),
    /// `body`: all of it, where it is text.
    Body,
    /// `signature:NAME`: a named value beside the signature.
    Signature(String),
    /// `item:/pointer`: a value within the element that is looked at.
    Item(Pointer),
    /// `jwt:/pointer`: a claim of the scheme's own token, once that is proved.
    Jwt(Pointer),
    /// `jwt-header:/pointer`: a value of the token's header.
    JwtHeader(Pointer),
    /// `PLACE > json:/pointer`: a value in the JSON that the text at another place is.
    Inside(Box<Self>, Pointer),
    /// `PLACE > xml:/a/b`: the same in XML.
    InsideXml(Box<Self>, xml::Path),
    /// `PLACE > base64`: the text that the text at another place stands for.
    Base64(Box<Self>),
    /// `PLACE > match:REGEX`: a part of the text at another place.
    Match(Box<Self>, Cut),
}

impl Pick {
    /// Reads a place as it is written in provider files.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.matches(INSIDE).count() > INSIDE_MAX {
            return Err(format!("at most {INSIDE_MAX} `{INSIDE}` in a place"));
        }
        if let Some((outer, inner)) = text.rsplit_once(INSIDE) {
            let outer = Box::new(Self::parse(outer)?);
            if let Some(pattern) = inner.strip_prefix("match:") {
                return Cut::parse(pattern).map(|cut| Self::Match(outer, cut));
            }
            return match inner {
                "base64" => Ok(Self::Base64(outer)),
                inner => match Self::parse(inner)? {
                    Self::Json(pointer) => Ok(Self::Inside(outer, pointer)),
                    Self::Xml(path) => Ok(Self::InsideXml(outer, path)),
                    _ => Err(allowed(text)),
                },
            };
        }
        if text == "body" {
            return Ok(Self::Body);
        }
        let Some((place, name)) = text.split_once(':') else { return Err(allowed(text)) };
        match place {
            "jwt" => Pointer::parse(name).map(Self::Jwt),
            "jwt-header" => Pointer::parse(name).map(Self::JwtHeader),
            "header" if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            "json" if name.is_empty() => Ok(Self::Json(Pointer::root())),
            "json" => Pointer::parse(name).map(Self::Json),
            "form" if !name.is_empty() => Ok(Self::Form(name.to_owned())),
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            "xml" => xml::Path::parse(name).map(Self::Xml),
            "signature" if !name.is_empty() => Ok(Self::Signature(name.to_owned())),
            "item" if name.is_empty() => Ok(Self::Item(Pointer::root())),
            "item" => Pointer::parse(name).map(Self::Item),
            _ => Err(allowed(text)),
        }
    }

    /// The value's text. `None` where it is absent, repeated in the headers, or not UTF-8.
    pub fn read<'d>(&self, delivery: &'d Delivery) -> Option<Cow<'d, str>> {
        self.read_in(&Scene::of(delivery))
    }

    /// The same with what stands beside the delivery.
    pub fn read_in<'d>(&self, scene: &Scene<'d>) -> Option<Cow<'d, str>> {
        match self {
            Self::Header(name) => header(scene.delivery, name).map(Cow::Borrowed),
            Self::Json(_) | Self::Item(_) => self.found(scene)?.text(),
            Self::Form(name) => form::field_in(scene.delivery, name, scene.strict),
            Self::Query(name) => form::parameter_in(scene.delivery.query().as_bytes(), name, scene.strict),
            Self::Xml(path) => xml::find(&scene.delivery.body, &[path], scene.strict).pop()?.map(Cow::Owned),
            Self::Body => std::str::from_utf8(&scene.delivery.body).ok().map(Cow::Borrowed),
            Self::Signature(name) => scene.named(name).map(Cow::Borrowed),
            Self::Jwt(pointer) => json::find(scene.claims?, &[pointer]).pop()??.text(),
            Self::JwtHeader(_) => None,
            Self::Inside(outer, pointer) => {
                let text = outer.read_in(scene)?;
                let value =
                    json::find_in(text.as_bytes(), &[pointer], scene.strict).pop()??.text()?.into_owned();
                Some(Cow::Owned(value))
            }
            Self::InsideXml(outer, path) => {
                xml::find(outer.read_in(scene)?.as_bytes(), &[path], scene.strict).pop()?.map(Cow::Owned)
            }
            Self::Base64(outer) => base64(&outer.read_in(scene)?).map(Cow::Owned),
            Self::Match(outer, cut) => cut_out(outer.read_in(scene)?, cut),
        }
    }

    /// The value's text in a token's `claims` (or, for `jwt-header:`, its header), a JSON text.
    pub fn read_claim<'c>(&self, claims: &'c [u8]) -> Option<Cow<'c, str>> {
        match self {
            Self::Jwt(pointer) | Self::JwtHeader(pointer) => json::find(claims, &[pointer]).pop()??.text(),
            Self::Inside(outer, pointer) => {
                let text = outer.read_claim(claims)?;
                let value = json::find(text.as_bytes(), &[pointer]).pop()??.text()?.into_owned();
                Some(Cow::Owned(value))
            }
            Self::Match(outer, cut) => cut_out(outer.read_claim(claims)?, cut),
            _ => None,
        }
    }

    /// Where the place is in the delivery, if it is one within the element of that number of `array`; other places stay.
    pub fn of_element(&self, array: &Self, index: usize) -> Option<Self> {
        let below = |base: &Pointer, item: &Pointer| Pointer::parse(&format!("{base}/{index}{item}")).ok();
        let outer = |outer: &Self| outer.of_element(array, index).map(Box::new);
        match (self, array) {
            (Self::Item(item), Self::Json(base)) => below(base, item).map(Self::Json),
            (Self::Item(item), Self::Inside(text, base)) => {
                Some(Self::Inside(text.clone(), below(base, item)?))
            }
            (Self::Inside(text, pointer), _) => Some(Self::Inside(outer(text)?, pointer.clone())),
            (Self::InsideXml(text, path), _) => Some(Self::InsideXml(outer(text)?, path.clone())),
            (Self::Base64(text), _) => Some(Self::Base64(outer(text)?)),
            (Self::Match(text, cut), _) => Some(Self::Match(outer(text)?, cut.clone())),
            (Self::Item(_), _) => None,
            (other, _) => Some(other.clone()),
        }
    }

    /// The place whose text it is looked up in.
    pub fn outer(&self) -> Option<&Self> {
        match self {
            Self::Inside(outer, _)
            | Self::InsideXml(outer, _)
            | Self::Base64(outer)
            | Self::Match(outer, _) => Some(outer),
            _ => None,
        }
    }

    /// The place in the delivery that it begins with.
    pub fn root(&self) -> &Self {
        self.outer().map_or(self, Self::root)
    }

    /// Whether the delivery alone has it: neither what stands beside a signature, nor an element, nor a token.
    pub fn is_of_delivery(&self) -> bool {
        !matches!(self.root(), Self::Signature(_) | Self::Item(_) | Self::Jwt(_) | Self::JwtHeader(_))
    }

    /// Whether it is `place`, or lies in the text there.
    pub fn is_within(&self, place: &Self) -> bool {
        self == place || self.outer().is_some_and(|outer| outer.is_within(place))
    }

    /// Whether it is a place of JSON, which has a text as it stands there.
    pub fn is_json(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Item(_) | Self::Inside(..))
    }

    /// Whether it is the JSON value at `place`, or one inside of it.
    pub fn is_below(&self, place: &Self) -> bool {
        match (self, place) {
            (Self::Json(inner), Self::Json(whole)) | (Self::Item(inner), Self::Item(whole)) => {
                inner.below(whole).is_some()
            }
            (Self::Inside(one, inner), Self::Inside(other, whole)) => {
                one == other && inner.below(whole).is_some()
            }
            _ => false,
        }
    }

    /// Whether it is a claim of the scheme's token, or lies in the text of one.
    pub fn is_claim(&self) -> bool {
        matches!(self.root(), Self::Jwt(_))
    }

    /// Whether it is in the header of the scheme's token.
    pub fn is_token_header(&self) -> bool {
        matches!(self.root(), Self::JwtHeader(_))
    }

    /// A value of the JSON body, or of the element that is looked at, as it is written.
    fn found<'d>(&self, scene: &Scene<'d>) -> Option<Found<'d>> {
        match self {
            Self::Json(pointer) => json::find_in(&scene.delivery.body, &[pointer], scene.strict).pop()?,
            Self::Item(pointer) => json::find_in(scene.item?.as_bytes(), &[pointer], scene.strict).pop()?,
            _ => None,
        }
    }

    /// The JSON value there as it is written, of whatever kind. `None` where there is none, or the place is not in
    /// JSON.
    pub fn json<'d>(&self, scene: &Scene<'d>) -> Option<Cow<'d, str>> {
        match self {
            Self::Json(_) | Self::Item(_) => self.found(scene).map(|found| Cow::Borrowed(found.raw())),
            Self::Inside(outer, pointer) => {
                let text = outer.read_in(scene)?;
                let raw = json::find_in(text.as_bytes(), &[pointer], scene.strict).pop()??.raw().to_owned();
                Some(Cow::Owned(raw))
            }
            _ => None,
        }
    }

    /// Whether anything stands there, if not a text that a proof could be of: an object, one of two values, or one under
    /// a name that some parser takes for this one. JSON's null is nothing.
    pub fn is_there(&self, scene: &Scene<'_>) -> bool {
        let delivery = scene.delivery;
        match self {
            Self::Header(name) => delivery.headers.first(name).is_some(),
            Self::Json(pointer) => !delivery.body.is_empty() && json::is_there(&delivery.body, pointer),
            Self::Item(pointer) => scene.item.is_some_and(|item| json::is_there(item.as_bytes(), pointer)),
            Self::Form(name) => form::is_there(delivery, name),
            Self::Query(name) => form::has_alike(delivery.query().as_bytes(), name),
            Self::Xml(path) => xml::find(&delivery.body, &[path], false).pop().flatten().is_some(),
            Self::Body => !delivery.body.is_empty(),
            Self::Signature(name) => scene.named(name).is_some(),
            Self::Jwt(_) | Self::JwtHeader(_) => false,
            Self::Inside(outer, pointer) => match outer.read_in(scene) {
                Some(text) => json::is_there(text.as_bytes(), pointer),
                None => outer.is_there(scene),
            },
            Self::InsideXml(outer, _) | Self::Base64(outer) | Self::Match(outer, _) => outer.is_there(scene),
        }
    }

    /// Whether the value there is a JSON number.
    pub fn is_number(&self, scene: &Scene<'_>) -> bool {
        self.json(scene).is_some_and(|raw| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    }

    /// Whether it lies in the body, so that a signed body proves it.
    pub fn is_in_body(&self) -> bool {
        matches!(self.root(), Self::Json(_) | Self::Form(_) | Self::Xml(_) | Self::Body | Self::Item(_))
    }

    /// Reads several at once, so that a JSON or XML body is walked only once.
    pub fn read_all<'p, 'd>(
        picks: impl Iterator<Item = &'p Self> + Clone,
        scene: &Scene<'d>,
    ) -> Vec<Option<Cow<'d, str>>> {
        let pointers =
            picks.clone().filter_map(|pick| if let Self::Json(at) = pick { Some(at) } else { None });
        let mut json = walked(pointers, scene.delivery.body.as_ref(), scene.strict);
        let pointers =
            picks.clone().filter_map(|pick| if let Self::Item(at) = pick { Some(at) } else { None });
        let mut items = walked(pointers, scene.item.unwrap_or_default().as_bytes(), scene.strict);
        let paths = picks.clone().filter_map(|pick| if let Self::Xml(at) = pick { Some(at) } else { None });
        let paths: Vec<&xml::Path> = paths.collect();
        let elements = match paths.is_empty() {
            true => Vec::new(),
            false => xml::find(&scene.delivery.body, &paths, scene.strict),
        };
        let mut elements = elements.into_iter();
        let read = |pick: &Self| match pick {
            Self::Json(_) => json.next().flatten().and_then(|value| value.text()),
            Self::Item(_) => items.next().flatten().and_then(|value| value.text()),
            Self::Xml(_) => elements.next().flatten().map(Cow::Owned),
            _ => pick.read_in(scene),
        };
        picks.map(read).collect()
    }
}

fn walked<'p, 'd>(
    pointers: impl Iterator<Item = &'p Pointer>,
    text: &'d [u8],
    strict: bool,
) -> std::vec::IntoIter<Option<Found<'d>>> {
    let pointers: Vec<&Pointer> = pointers.collect();
    if pointers.is_empty() { Vec::new() } else { json::find_in(text, &pointers, strict) }.into_iter()
}

/// The part of a text that `cut` says.
fn cut_out<'d>(text: Cow<'d, str>, cut: &Cut) -> Option<Cow<'d, str>> {
    let span = cut.span(&text)?;
    match text {
        Cow::Borrowed(text) => text.get(span).map(Cow::Borrowed),
        Cow::Owned(text) => text.get(span).map(|part| Cow::Owned(part.to_owned())),
    }
}

/// The text that base64 of either alphabet stands for. Lines may be broken, as mail has them.
fn base64(text: &str) -> Option<String> {
    let mut text = Cow::Borrowed(text);
    if text.contains('\n') {
        text = Cow::Owned(text.replace("\r\n", "").replace('\n', ""));
    }
    let engine = if text.contains(['-', '_']) { URL } else { STANDARD };
    String::from_utf8(engine.decode(text.as_bytes()).ok()?).ok()
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Xml(path) => write!(f, "xml:{path}"),
            Self::Body => f.write_str("body"),
            Self::Signature(name) => write!(f, "signature:{name}"),
            Self::Item(pointer) => write!(f, "item:{pointer}"),
            Self::Jwt(pointer) => write!(f, "jwt:{pointer}"),
            Self::JwtHeader(pointer) => write!(f, "jwt-header:{pointer}"),
            Self::Inside(outer, pointer) => write!(f, "{outer}{INSIDE}json:{pointer}"),
            Self::InsideXml(outer, path) => write!(f, "{outer}{INSIDE}xml:{path}"),
            Self::Base64(outer) => write!(f, "{outer}{INSIDE}base64"),
            Self::Match(outer, cut) => write!(f, "{outer}{INSIDE}match:{cut}"),
        }
    }
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d str> {
    let mut values = delivery.headers.iter().filter(|(line, _)| *line == name.as_bytes());
    match (values.next(), values.next()) {
        (Some((_, only)), None) => std::str::from_utf8(only).ok(),
        _ => None,
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte))
}

fn allowed(text: &str) -> String {
    format!(
        "`{text}` names no place; allowed: header:NAME, json:/pointer, form:NAME, query:NAME, xml:/a/b, body, \
         signature:NAME, item:/pointer, and after one of them ` > json:/pointer` or ` > xml:/a/b` for a value inside \
         its text, ` > base64` for the text that it stands for, ` > match:REGEX` for the group of it in that text"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::Headers;

    fn read(place: &str, target: &str, body: &str) -> Option<String> {
        let mut headers = Headers::default();
        headers.push("x-json", b"{\"id\":7}");
        let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned().into());
        let delivery =
            Delivery { method, target, headers, body, received_at: Timestamp::from_seconds(1_800_000_000) };
        let pick = Pick::parse(place).unwrap();
        assert_eq!(pick.to_string(), place);
        pick.read(&delivery).map(Cow::into_owned)
    }

    #[test]
    fn texts_inside_each_other_have_a_bound() {
        let place = |levels: usize| format!("json:/a{}", " > json:/a".repeat(levels));
        assert!(Pick::parse(&place(INSIDE_MAX)).is_ok());
        assert!(Pick::parse(&place(INSIDE_MAX + 1)).unwrap_err().contains("at most 8"));
    }

    #[test]
    fn json_is_read_inside_a_field_a_header_and_a_string() {
        let form = "a=1&payload=%7B%22type%22%3A%22block_actions%22%2C%22n%22%3A2%7D";
        assert_eq!(read("form:payload > json:/type", "/", form).as_deref(), Some("block_actions"));
        assert_eq!(read("form:payload > json:/n", "/", form).as_deref(), Some("2"));
        assert_eq!(read("form:a > json:/n", "/", form), None);
        assert_eq!(read("query:q > json:/0", "/in/x?q=%5B3%5D", "").as_deref(), Some("3"));
        assert_eq!(read("header:x-json > json:/id", "/", "").as_deref(), Some("7"));
        let nested = r#"{"data":"{\"inner\":\"{\\\"id\\\":9}\"}"}"#;
        assert_eq!(read("json:/data > json:/inner", "/", nested).as_deref(), Some("{\"id\":9}"));
        assert_eq!(read("form:payload > json:/type", "/", "{\"payload\":1}"), None);
    }

    #[test]
    fn a_part_of_a_text_is_cut_out() {
        let form = "a=sig1%3Dx%3Bcreated%3D17&b={\"u\":\"/users/7\"}";
        assert_eq!(read("form:a > match:sig1=(.*)", "/", form).as_deref(), Some("x;created=17"));
        assert_eq!(
            read("form:a > match:sig1=(.*) > match:.*created=([0-9]+)", "/", form).as_deref(),
            Some("17")
        );
        assert_eq!(read("form:b > json:/u > match:/users/([^/]+)", "/", form).as_deref(), Some("7"));
        assert_eq!(read("form:a > match:sig2=(.*)", "/", form), None);
        assert_eq!(read("body > match:(a)=.*", "/", form).as_deref(), Some("a"));
        assert_eq!(read("body > match:(a)=.*", "/", &format!("a={}", "x".repeat(16 * 1024))), None);
        assert!(Pick::parse("form:a > match:x").unwrap_err().contains("exactly one group"));
        assert!(Pick::parse("match:(x)").unwrap_err().contains("names no place"));
    }

    #[test]
    fn only_json_lies_inside_and_the_body_is_told_from_the_rest() {
        assert!(Pick::parse("form:a > header:b").is_err());
        assert!(Pick::parse("form:a > body").is_err());
        assert!(Pick::parse("nowhere > json:/a").is_err());
        for (place, inside) in [
            ("json:/a", true),
            ("form:a", true),
            ("form:a > json:/b", true),
            ("header:a", false),
            ("query:a", false),
            ("query:a > json:/b", false),
            ("form:a > base64 > xml:/b/@c", true),
            ("header:a > base64", false),
            ("signature:t", false),
            ("item:/a", true),
            ("body", true),
        ] {
            assert_eq!(Pick::parse(place).unwrap().is_in_body(), inside, "{place}");
        }
    }

    #[test]
    fn text_is_read_through_base64_xml_and_the_whole_body() {
        assert_eq!(read("body", "/", " a\n").as_deref(), Some(" a\n"));
        assert_eq!(read("json:", "/", " \"x\" ").as_deref(), Some("x"));
        assert_eq!(read("json:", "/", "[1]"), None, "an array is no value");
        assert_eq!(read("xml:/a/b", "/", "<a><b>1</b></a>").as_deref(), Some("1"));
        assert_eq!(read("form:p > base64", "/", "p=w6k%3D").as_deref(), Some("\u{e9}"));
        assert_eq!(
            read("form:p > base64 > xml:/a/b", "/", "p=PGE%2BPGI%2B%0AMTwvYj48L2E%2B%0A").as_deref(),
            Some("1")
        );
        assert_eq!(read("json:/d > base64 > json:/id", "/", "{\"d\":\"eyJpZCI6Nn0\"}").as_deref(), Some("6"));
        for (text, why) in
            [("w6l", "a bit too many"), ("w6k*", "no base64"), ("_-/+", "two alphabets"), ("/w", "no text")]
        {
            assert_eq!(read("query:q > base64", &format!("/?q={}", form_encoded(text)), ""), None, "{why}");
        }
    }

    #[test]
    fn many_places_are_read_as_each_alone_and_items_and_names_only_where_there_are_any() {
        let headers = Headers::default();
        let body = "{\"a\":1,\"b\":[\"x\"]}".into();
        let at = Timestamp::from_seconds(1_800_000_000);
        let delivery =
            Delivery { method: "POST".into(), target: "/?q=2".into(), headers, body, received_at: at };
        let named = [("t", "5"), ("u", "6"), ("u", "7"), ("t", "5")];
        let scene =
            Scene { delivery: &delivery, item: Some("{\"id\":9}"), named: &named, ..Scene::of(&delivery) };
        let picks =
            ["json:/a", "item:/id", "query:q", "json:/b/0", "signature:t", "signature:u", "item:/none"];
        let picks: Vec<Pick> = picks.iter().map(|text| Pick::parse(text).unwrap()).collect();
        let all = Pick::read_all(picks.iter(), &scene);
        assert_eq!(all, picks.iter().map(|pick| pick.read_in(&scene)).collect::<Vec<_>>());
        let want = [Some("1"), Some("9"), Some("2"), Some("x"), Some("5"), None, None];
        assert_eq!(all.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
        assert_eq!(picks[1].read(&delivery), None);
        assert!(picks[0].is_number(&scene) && !picks[3].is_number(&scene));
    }

    fn form_encoded(text: &str) -> String {
        form::encoded(text)
    }
}
