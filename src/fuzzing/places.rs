//! Texts of provider files that name something: places, templates, URLs; and times. What is read can be written and
//! read again; a URL that is pinned is one that the pattern's author meant.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::bodies::{line, posted};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::{Pick, Scene};
use crate::provider::{Template, UrlPattern, UrlTemplate};

/// A place in the first line, and what stands everywhere that it could mean.
pub fn place(data: &[u8]) {
    let (text, rest) = line(data);
    let Ok(pick) = Pick::parse(&text) else { return };
    assert_eq!(Pick::parse(&pick.to_string()), Ok(pick.clone()), "as it is written");
    let mut delivery = posted(rest);
    let shown = String::from_utf8_lossy(rest);
    delivery.target = format!("/in/acme?{shown}");
    delivery.headers.push("x-a", rest);
    let named = [("a", &*shown), ("b", "1")];
    let scene = Scene { item: Some(&shown), named: &named, claims: Some(rest), ..Scene::of(&delivery) };
    let value = pick.read_in(&scene);
    // Text that is not UTF-8 may be shown with a sign of three bytes in the place of one.
    assert!(value.as_ref().is_none_or(|value| value.len() <= 3 * rest.len().max(1)));
    let other = Pick::parse("json:/a").expect("it is one");
    let all = Pick::read_all([&other, &pick, &other].into_iter(), &scene);
    assert_eq!((all.len(), &all[1], &all[0]), (3, &value, &all[2]), "in whatever company");
    let strict = pick.read_in(&Scene { strict: true, ..scene });
    assert!(strict.is_none() || strict == value, "what is proved is what is read");
    let number = pick.is_number(&scene);
    assert!(!number || value.is_some_and(|value| value.parse::<f64>().is_ok()));
    let inner = pick.read_claim(rest);
    assert!(inner.is_none() || pick.is_claim() || pick.is_token_header());
}

/// A text that may be base64.
pub fn base64(data: &[u8]) {
    let mut delivery = posted(b"");
    delivery.headers.push("x-a", data);
    let pick = Pick::parse("header:x-a > base64").expect("it is one");
    let Some(value) = pick.read(&delivery) else { return };
    let same = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let written = data.iter().filter(|byte| !b"\r\n=".contains(byte)).map(|byte| same(*byte));
    assert_eq!(STANDARD_NO_PAD.encode(&*value).into_bytes(), written.collect::<Vec<_>>(), "the one writing");
}

/// A template.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let literal = Template::parse(&Template::escape(text)).expect("an escaped text is fixed text");
    assert!(literal.pieces.len() <= 1 && literal.picks().next().is_none() && !literal.holds_secret());
    let Ok(read) = Template::parse(text) else { return };
    assert!(read.pieces.len() <= text.len());
    for pick in read.picks() {
        assert!(!read.proves(pick) || read.covers(pick), "what is proved is signed");
        assert!(!read.contains(pick) || read.covers(pick), "what lies in a signed body is signed");
    }
    assert!(!read.covers_body() || read.covers_json());
    assert!(!read.covers_url() || read.covers_target() && read.needs_url());
}

/// A pattern or a template in the first line, a URL in the second, an id in the third.
pub fn url(data: &[u8]) {
    let (pattern, rest) = line(data);
    let (text, rest) = line(rest);
    let (id, _) = line(rest);
    if let Ok(pattern) = UrlPattern::parse(&pattern)
        && let Some(url) = pattern.pin(&text)
    {
        assert_eq!(url.as_str(), text);
        assert_eq!(pattern.pin(url.as_str()), Some(url.clone()), "again the same");
        sound(&text, url.host());
    }
    let Ok(template) = UrlTemplate::parse(&pattern) else { return };
    let Some(url) = template.url(Some(&id)) else { return };
    let host = url.host();
    sound(url.as_str(), host);
    let fixed = pattern.strip_prefix("https://").and_then(|rest| rest.split(['/', ':']).next());
    assert_eq!(fixed, Some(host), "no id changes the host");
    if pattern.contains("{id}") {
        let segments = |text: &str| text.matches('/').count();
        assert_eq!(segments(url.as_str()), segments(&pattern), "nor the path's length");
        assert!(!url.as_str().contains('?') || pattern.contains('?'));
    }
}

/// What any parser of URLs reads the same host in.
fn sound(url: &str, host: &str) {
    let after = url.strip_prefix("https://").expect("https alone");
    let end = after.find(['/', ':']).unwrap_or(after.len());
    assert_eq!(&after[..end], host);
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    assert!(!host.is_empty() && host.bytes().all(legal) && !host.starts_with('.') && !host.contains(".."));
    let authority = after.split('/').next().unwrap_or_default();
    assert!(!authority.contains(['@', '?', '#', '\\', '%']));
    assert!(!url.contains(['#', '\\']) && url.bytes().all(|byte| byte.is_ascii_graphic()));
    // Dots between the slashes of a query lead nowhere.
    let path = after.split('?').next().unwrap_or_default();
    assert!(!path.contains("/../") && !path.ends_with("/.."));
}

/// A time, in any of the ways that senders write it.
pub fn time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let whole = |time: Timestamp| Timestamp::from_seconds(time.seconds());
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time), "as it is written");
        let dated = Timestamp::from_rfc2822(&time.to_http_date());
        assert!(dated.is_none_or(|dated| dated == whole(time)));
        let (date, rest) = text.split_at(10);
        let colons = rest.bytes().filter(|byte| *byte == b':').count();
        assert!(
            date.bytes().filter(|byte| *byte == b'-').count() == 2 && (2..=3).contains(&colons),
            "RFC 3339 alone"
        );
    }
    if let Some(time) = Timestamp::from_rfc2822(text) {
        assert_eq!(time, whole(time), "a whole second");
        // A zone may bring it into the year before 0, which RFC 3339 cannot write.
        let written = time.to_string();
        assert!(written.starts_with('-') || written.parse() == Ok(time));
    }
    let delivery = Delivery { target: text.to_owned(), ..posted(b"") };
    assert_eq!(
        [delivery.path(), delivery.query()].concat().len(),
        text.len() - usize::from(text.contains('?'))
    );
}
