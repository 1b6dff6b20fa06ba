//! Paths of local names into an XML body: one pass, no tree, no DTD, no entities but XML's own.
//!
//! A body that is not one well-formed element, has a DTD or nests deeper than any sender's has no values at all, so
//! that no two readers find different ones. Namespaces are not looked at: a prefix is whatever its sender likes.

use std::fmt;
use std::ops::Range;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

/// Elements inside each other that are followed.
const DEPTH_MAX: usize = 64;

/// The way to an element or attribute: `/feed/entry/id`, `/feed/entry/@id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    text: String,
    steps: Vec<String>,
    attribute: Option<String>,
}

impl Path {
    /// Reads `/a/b/c` or `/a/b/@attr`.
    ///
    /// # Errors
    /// Where it does not begin with a slash, has an empty step, a prefix, or an attribute before its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no path; it is written `/a/b/c` or `/a/b/@attr`, without prefixes");
        let mut steps: Vec<String> =
            text.strip_prefix('/').ok_or_else(wrong)?.split('/').map(str::to_owned).collect();
        let attribute = steps.pop_if(|last| last.starts_with('@')).map(|last| last[1..].to_owned());
        let plain = |name: &String| !name.is_empty() && !name.contains([':', '@', ' ', '<', '>']);
        let names = steps.iter().chain(&attribute).all(plain);
        if !names || steps.is_empty() || steps.len() > DEPTH_MAX {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), steps, attribute })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks up all `paths` in one pass: the text of the first element, or the first attribute, on each. Where it is
/// `strict`, nothing where there is a second one.
pub(super) fn find(body: &[u8], paths: &[&Path], strict: bool) -> Vec<Option<String>> {
    let walked = std::str::from_utf8(body).ok().and_then(|text| Walk::new(paths, strict).whole(text));
    walked.unwrap_or_else(|| vec![None; paths.len()])
}

/// `body` with `value` as the text of the first element on `path`, every byte around it as it was; an element that is
/// not there is put first into the innermost one that is. `None` for an attribute, and where the body is no XML.
pub(super) fn with(body: &str, path: &Path, value: &str) -> Option<String> {
    if path.attribute.is_some() {
        return None;
    }
    let value = quick_xml::escape::escape(value);
    let known = (1..=path.steps.len()).rev().find_map(|steps| {
        let (known, lacking) = path.steps.split_at_checked(steps)?;
        Some((span(body, known)?, lacking))
    });
    let (span, lacking) = match known {
        Some((span, [])) => (span, &[][..]),
        Some((span, lacking)) => (span.start..span.start, lacking),
        None if body.is_empty() => (0..0, path.steps.as_slice()),
        None => return None,
    };
    let open: String = lacking.iter().map(|step| format!("<{step}>")).collect();
    let close: String = lacking.iter().rev().map(|step| format!("</{step}>")).collect();
    let (before, after) = (body.get(..span.start)?, body.get(span.end..)?);
    Some([before, &open, &value, &close, after].concat())
}

/// Where the first element on the way of `steps` has what is in it.
fn span(body: &str, steps: &[String]) -> Option<Range<usize>> {
    let mut reader = Reader::from_str(body);
    let (mut depth, mut followed, mut start) = (0, 0, None);
    loop {
        let before = usize::try_from(reader.buffer_position()).ok()?;
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let next = steps.get(depth).is_some_and(|step| step == tag.local_name().as_ref());
                if start.is_none() && followed == depth && next {
                    followed += 1;
                    let inside = usize::try_from(reader.buffer_position()).ok()?;
                    start = Some((inside, depth)).filter(|_| followed == steps.len());
                }
                depth += 1;
            }
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                match start {
                    Some((inside, own)) if own == depth => return Some(inside..before),
                    _ => followed = followed.min(depth),
                }
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// A path, how many of its steps the open elements follow, and what was found.
struct Sought<'p> {
    path: &'p Path,
    followed: usize,
    value: Option<String>,
    /// Whether the element is open whose text is read.
    open: bool,
    done: bool,
    twice: bool,
}

struct Walk<'p> {
    strict: bool,
    depth: usize,
    roots: usize,
    sought: Vec<Sought<'p>>,
}

impl<'p> Walk<'p> {
    fn new(paths: &[&'p Path], strict: bool) -> Self {
        let sought = |path: &&'p Path| Sought {
            path,
            followed: 0,
            value: None,
            open: false,
            done: false,
            twice: false,
        };
        Self { strict, depth: 0, roots: 0, sought: paths.iter().map(sought).collect() }
    }

    fn whole(mut self, text: &str) -> Option<Vec<Option<String>>> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = true;
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => self.enter(&start)?,
                Event::Empty(start) => {
                    self.enter(&start)?;
                    self.leave();
                }
                Event::End(_) => self.leave(),
                Event::Text(text) => self.text(&text.xml_content(XmlVersion::Implicit1_0))?,
                Event::CData(text) if self.depth > 0 => {
                    self.text(&text.xml_content(XmlVersion::Implicit1_0))?;
                }
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::CData(_) | Event::DocType(_) => return None,
                Event::Eof => break,
            }
        }
        let whole = self.depth == 0 && self.roots == 1;
        let value = |sought: Sought<'p>| sought.value.filter(|_| !sought.twice);
        whole.then(|| self.sought.into_iter().map(value).collect())
    }

    fn enter(&mut self, start: &BytesStart<'_>) -> Option<()> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.roots += usize::from(self.depth == 0);
        let local = start.local_name();
        let wanted = |sought: &&mut Sought<'_>| self.strict || !sought.done;
        for sought in self.sought.iter_mut().filter(wanted).filter(|sought| sought.followed == self.depth) {
            if sought.path.steps.get(self.depth).is_none_or(|step| step != local.as_ref()) {
                continue;
            }
            sought.followed += 1;
            if sought.followed == sought.path.steps.len() {
                let mut values = sought.path.attribute.as_ref().map(|name| attributes(start, name));
                let value = values.as_mut().map_or_else(|| Some(String::new()), Iterator::next);
                let again = self.strict && values.is_some_and(|mut rest| rest.next().is_some());
                sought.twice |= again || sought.done && value.is_some();
                if !sought.done {
                    sought.open = sought.path.attribute.is_none();
                    sought.done = value.is_some();
                    sought.value = value;
                }
            }
        }
        self.depth += 1;
        Some(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        for sought in self.sought.iter_mut().filter(|sought| sought.followed > self.depth) {
            sought.followed = self.depth;
            sought.open = false;
        }
    }

    /// Text of the open element itself; what its children hold is theirs. Outside the root only blanks stand.
    fn text(&mut self, text: &str) -> Option<()> {
        if self.depth == 0 {
            return text.trim_start_matches('\u{feff}').trim().is_empty().then_some(());
        }
        for sought in self.sought.iter_mut().filter(|sought| sought.open && sought.followed == self.depth) {
            sought.value.get_or_insert_default().push_str(text);
        }
        Some(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Option<()> {
        match reference.resolve_char_ref().ok()? {
            Some(character) if self.depth > 0 => self.text(character.encode_utf8(&mut [0; 4])),
            None if self.depth > 0 => self.text(resolve_xml_entity(reference)?),
            _ => None,
        }
    }
}

/// The attributes of that local name.
fn attributes<'s>(start: &'s BytesStart<'_>, name: &'s str) -> impl Iterator<Item = String> + use<'s> {
    let mut attributes = start.attributes();
    // Without the look for repeated names, which is quadratic in their number.
    attributes.with_checks(false);
    let found = attributes.flatten().filter(move |attribute| {
        !attribute.key.as_ref().starts_with("xmlns") && attribute.key.local_name().as_ref() == name
    });
    found.map_while(|attribute| Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str, paths: &[&str]) -> Vec<Option<String>> {
        let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        find(body.as_bytes(), &paths.iter().collect::<Vec<_>>(), false)
    }

    fn text(body: &str, path: &str) -> Option<String> {
        texts(body, &[path]).remove(0)
    }

    #[test]
    fn the_first_element_and_attribute_on_each_path_are_found_in_one_pass() {
        let body = "<?xml version=\"1.0\"?>\n<s:Envelope xmlns:s=\"u:s\"><s:Body><n xmlns=\"u:n\"><Id>a &amp; &#x42;<![CDATA[<c>]]></Id>\
                    <Id>2</Id><x y='1'/><x id=\"q&quot;\" id2='z'/><deep><Id>3</Id></deep></n></s:Body></s:Envelope>\n";
        let found = texts(
            body,
            &[
                "/Envelope/Body/n/Id",
                "/Envelope/Body/n/x/@id",
                "/Envelope/Body/n/x/@y",
                "/Envelope/Body/n/deep",
                "/Envelope/Body/n/deep/Id",
                "/Envelope/n",
                "/n/Id",
            ],
        );
        let want = [Some("a & B<c>"), Some("q\""), Some("1"), Some(""), Some("3"), None, None];
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
    }

    #[test]
    fn only_the_text_of_one_element_changes_and_a_lacking_one_is_put_in() {
        let with = |body: &str, path: &str| with(body, &Path::parse(path).unwrap(), "<1>");
        let body = "<s:a x='1'>\n<b>old</b> <b>2</b><c/></s:a>";
        for (path, want) in [
            ("/a/b", "<s:a x='1'>\n<b>&lt;1&gt;</b> <b>2</b><c/></s:a>"),
            ("/a/d/e", "<s:a x='1'><d><e>&lt;1&gt;</e></d>\n<b>old</b> <b>2</b><c/></s:a>"),
        ] {
            assert_eq!(with(body, path).as_deref(), Some(want));
            assert_eq!(text(want, path).as_deref(), Some("<1>"));
        }
        assert_eq!(with("", "/a/b").as_deref(), Some("<a><b>&lt;1&gt;</b></a>"));
        assert_eq!((with(body, "/a/@x"), with(body, "/z"), with("{}", "/a")), (None, None, None));
    }

    #[test]
    fn what_is_not_one_whole_element_has_no_values() {
        assert_eq!(text("<a><b>1</b></a>", "/a/b").as_deref(), Some("1"));
        for body in [
            "<a><b>1</b>",
            "<a><b>1</a></b>",
            "<a><b>1</b></a><a/>",
            "<a><b>1</b></a>x",
            "x<a><b>1</b></a>",
            "<!DOCTYPE a [<!ENTITY e \"x\">]><a><b>1</b></a>",
            "<a><b>&e;</b></a>",
            "<a><b>1</b>&e;</a>",
            "{\"a\":{\"b\":1}}",
            "",
        ] {
            assert_eq!(text(body, "/a/b"), None, "{body}");
        }
    }

    #[test]
    fn depth_is_bounded_and_paths_are_checked() {
        let deep = |levels: usize| format!("<a>{}{}</a>", "<b>".repeat(levels), "</b>".repeat(levels));
        assert_eq!(text(&deep(DEPTH_MAX - 1), "/a").as_deref(), Some(""));
        assert_eq!(text(&deep(DEPTH_MAX), "/a"), None);
        for wrong in ["a", "/", "/a//b", "/a/@", "/@a", "/@a/b", "/p:a", ""] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(value in "[^\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]{0,20}") {
            let body = format!("<a><b c=\"1\">{}</b></a>", quick_xml::escape::escape(&*value));
            prop_assert_eq!(text(&body, "/a/b"), Some(value));
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64), text in "[<>a&;/!\\[\\]\\-?\"'= x]{0,40}") {
            let path = Path::parse("/a/@x").unwrap();
            find(&body, &[&path], true);
            find(text.as_bytes(), &[&path], false);
        }
    }
}
