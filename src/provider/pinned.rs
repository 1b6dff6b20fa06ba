//! URLs that may be fetched: an `https` URL that a provider's file names, or one of a delivery that its pattern
//! matches as a whole. [`PinnedUrl`] is made here alone, so nothing else is ever fetched.
//!
//! A pattern is taken apart at its first slash: one half is matched against the host, the other against the rest. So
//! no part of a path can pass for a host, whatever the pattern's author wrote.

use std::fmt;
use std::sync::Arc;

use regex::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

const HTTPS: &str = "https://";
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;
/// Longest id of a key in a URL, in bytes.
const ID_BYTES_MAX: usize = 128;
/// Compiled size of each half of a pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A URL that may be fetched: `https`, a host in lower case, no user, no fragment, no climbing path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedUrl(Arc<str>);

impl PinnedUrl {
    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, for the log: a path may hold a token.
    pub fn host(&self) -> &str {
        parts(&self.0).map_or("", |parts| parts.host)
    }

    fn parse(text: &str) -> Option<Self> {
        parts(text).map(|_| Self(text.into()))
    }
}

impl fmt::Display for PinnedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Parts<'u> {
    host: &'u str,
    port: Option<&'u str>,
    /// Path and query.
    rest: &'u str,
}

/// The parts of a URL in the one spelling that is taken: two parsers cannot read two hosts in it.
fn parts(text: &str) -> Option<Parts<'_>> {
    let after = text.strip_prefix(HTTPS).filter(|_| text.len() <= URL_BYTES_MAX)?;
    let (authority, rest) = after.split_at(after.find('/')?);
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\#\"<>^`{|}".contains(&byte);
    let path = rest.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    let climbs = path.split('/').any(|segment| segment == "." || segment == "..");
    let holds = is_host(host) && port.is_none_or(is_port) && rest.bytes().all(plain) && !climbs;
    holds.then_some(Parts { host, port, rest })
}

fn is_host(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn is_port(port: &str) -> bool {
    !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Where a key comes from by its id: a URL with `{id}` in its last path segment, or without it.
#[derive(Clone, Debug)]
pub enum UrlTemplate {
    /// One URL for all keys.
    Fixed(PinnedUrl),
    /// One for each: what stands before and after the id.
    ById(Arc<str>, Arc<str>),
}

impl UrlTemplate {
    /// Reads the text of a provider's file.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((before, after)) = text.split_once("{id}") else {
            return PinnedUrl::parse(text).map(Self::Fixed).ok_or_else(allowed_url);
        };
        let last =
            !after.contains(['/', '?']) && parts(before).is_some_and(|parts| !parts.rest.contains('?'));
        let whole = PinnedUrl::parse(&format!("{before}x{after}")).is_some();
        if last && whole { Ok(Self::ById(before.into(), after.into())) } else { Err(allowed_url()) }
    }

    /// The URL of the key with this id. `None` where the id could change what the URL means.
    pub fn url(&self, id: Option<&str>) -> Option<PinnedUrl> {
        let (before, after) = match self {
            Self::Fixed(url) => return Some(url.clone()),
            Self::ById(before, after) => (before, after),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let id = id.filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(legal))?;
        PinnedUrl::parse(&format!("{before}{id}{after}"))
    }
}

fn allowed_url() -> String {
    "an https:// URL with a path, such as \"https://keys.example.com/jwks\": host in lower case, no user, no fragment, \
     no `..`; `{id}` once, in the last segment of the path"
        .to_owned()
}

/// A pattern of URLs that a delivery may name.
#[derive(Clone, Debug)]
pub struct UrlPattern {
    text: Arc<str>,
    host: Regex,
    port: Option<Arc<str>>,
    rest: Regex,
}

impl UrlPattern {
    /// Reads the pattern of a provider's file.
    ///
    /// # Errors
    /// What is allowed, where it does not say which hosts it means.
    pub fn parse(text: &str) -> Result<Self, String> {
        let after = text.strip_prefix(HTTPS).ok_or_else(allowed_pattern)?;
        let (authority, rest) = after.split_at(after.find('/').ok_or_else(allowed_pattern)?);
        let named = authority.rsplit_once(':').filter(|(_, port)| is_port(port) && !port.is_empty());
        let (host, port) = named.map_or((authority, None), |(host, port)| (host, Some(port.into())));
        if !ends_in_a_domain(host) {
            return Err(allowed_pattern());
        }
        Ok(Self { text: text.into(), host: whole(host)?, port, rest: whole(rest)? })
    }

    /// The URL, if all of it is as the pattern says.
    pub fn pin(&self, text: &str) -> Option<PinnedUrl> {
        let parts = parts(text)?;
        let port = parts.port == self.port.as_deref();
        let matches = port && self.host.is_match(parts.host) && self.rest.is_match(parts.rest);
        if matches { PinnedUrl::parse(text) } else { None }
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Half a pattern, which must match from the first byte to the last.
fn whole(half: &str) -> Result<Regex, String> {
    // Alone it must be a pattern too, else a closing bracket in it would open the group around it.
    let parsed = regex_syntax::parse(half).map_err(|_| allowed_pattern())?;
    drop(parsed);
    let built = regex::RegexBuilder::new(&format!("\\A(?:{half})\\z")).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|_| allowed_pattern())
}

/// Whether every host of this pattern is named by it in full, or lies below a domain of two labels or more that is.
fn ends_in_a_domain(host: &str) -> bool {
    let Ok(hir) = regex_syntax::parse(host) else { return false };
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Suffix);
    let suffixes = extractor.extract(&hir);
    let pinned = |literal: &regex_syntax::hir::literal::Literal| {
        let Ok(text) = std::str::from_utf8(literal.as_bytes()) else { return false };
        // What stands before the first dot of an open end may be part of a longer label.
        let domain =
            if literal.is_exact() { Some(text) } else { text.split_once('.').map(|(_, domain)| domain) };
        domain.is_some_and(|domain| is_host(domain) && (literal.is_exact() || domain.contains('.')))
    };
    suffixes.literals().is_some_and(|literals| !literals.is_empty() && literals.iter().all(pinned))
}

fn allowed_pattern() -> String {
    "a pattern of whole URLs that begins with `https://` and names the end of the host, two labels or more, letter by \
     letter, such as \"https://[a-z0-9-]+\\\\.example\\\\.com/keys/[a-z0-9]+\\\\.pem\"; a port only where it stands there"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNS: &str =
        r"https://sns\.[a-z0-9-]{3,}\.amazonaws\.com(\.cn)?/SimpleNotificationService-[A-Za-z0-9]+\.pem";

    fn pins(pattern: &str, url: &str) -> bool {
        UrlPattern::parse(pattern).unwrap().pin(url).is_some()
    }

    #[test]
    fn a_pattern_says_which_hosts_it_means() {
        for pattern in [
            SNS,
            r"https://keys\.example\.com/[a-z]+",
            r"https://127\.0\.0\.1:8443/[a-z]+\.pem",
            r"https://(api|api\.sandbox)\.paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]+",
            r"https://localhost:8443/.*",
        ] {
            assert!(UrlPattern::parse(pattern).is_ok(), "{pattern}");
        }
        for pattern in [
            "https://.*",
            "https://.*/",
            r"https://.*\.com/x",
            r"https://.*example\.com/x",
            r"https://[a-z.]+/x",
            r"https://[a-z]+\.[a-z]+\.com/x",
            r"https://sns\.[a-z]+\.(amazonaws\.com|.*)/x",
            r"https://(sns\.amazonaws\.com/a|evil\.com/b)/x",
            r"https://a\.example\.com)|(.*/x",
            r"http://keys\.example\.com/x",
            r"^https://keys\.example\.com/x",
            r"(https://keys\.example\.com/x)",
            r"https://user@keys\.example\.com/x",
            r"https://[a-z]+\.example\.com:[0-9]+/x",
            r"https://[a-z]+\.EXAMPLE\.com/x",
            r"https://keys\.example\.com",
            r"https://keys\.example\.com/[",
            "",
        ] {
            assert!(UrlPattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn hosts_that_only_look_alike_are_not_matched() {
        let file = "/SimpleNotificationService-0123abcd.pem";
        for host in ["sns.us-east-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"] {
            assert!(pins(SNS, &format!("https://{host}{file}")), "{host}");
        }
        for authority in [
            "sns.us-east-1.amazonaws.com.evil.com",
            "sns.us-east-1.amazonaws.com@evil.com",
            "user@sns.us-east-1.amazonaws.com",
            "evil.com#sns.us-east-1.amazonaws.com",
            "evil.com/sns.us-east-1.amazonaws.com",
            "evil.com?sns.us-east-1.amazonaws.com",
            "evil.com\\sns.us-east-1.amazonaws.com",
            "evil.com\\@sns.us-east-1.amazonaws.com",
            "sns.us-east-1.amazonaws.com.",
            "sns.us-east-1.amazonaws.com:443",
            "sns.us-east-1.amazonaws.com:8443",
            "sns.us-east-1.amazonaws.com:",
            "SNS.us-east-1.amazonaws.com",
            "sns.us-east-1.amazonaws\u{3002}com",
            "sns.us-east-1.\u{0430}mazonaws.com",
            "sns.us-east-1.amazonaws.com%2eevil.com",
            "sns.us-east-1.amazonaws.com\n.evil.com",
            "sns.s3.amazonaws.com",
            "sns.a.b.amazonaws.com",
            "xsns.us-east-1.amazonaws.com",
            "",
        ] {
            assert!(!pins(SNS, &format!("https://{authority}{file}")), "{authority:?}");
        }
        for url in [
            format!("http://sns.us-east-1.amazonaws.com{file}"),
            format!("HTTPS://sns.us-east-1.amazonaws.com{file}"),
            format!("https:/sns.us-east-1.amazonaws.com{file}"),
            format!(" https://sns.us-east-1.amazonaws.com{file}"),
            format!("https://sns.us-east-1.amazonaws.com{file}#x"),
            format!("https://sns.us-east-1.amazonaws.com{file}?x"),
            format!("https://sns.us-east-1.amazonaws.com{file}\n"),
            format!("https://sns.us-east-1.amazonaws.com/x{file}"),
        ] {
            assert!(!pins(SNS, &url), "{url:?}");
        }
    }

    #[test]
    fn no_path_climbs_out_of_what_the_pattern_means() {
        let pattern = r"https://keys\.example\.com/certs/.*";
        assert!(pins(pattern, "https://keys.example.com/certs/a.b..c/x"));
        for rest in ["../evil", "a/../../evil", "%2e%2e/evil", "a/.%2E/evil", "./a", "a\\b", "a#b", "a b"] {
            assert!(!pins(pattern, &format!("https://keys.example.com/certs/{rest}")), "{rest}");
        }
        assert!(!pins(pattern, &format!("https://keys.example.com/certs/{}", "a".repeat(URL_BYTES_MAX))));
    }

    #[test]
    fn an_id_is_one_word_in_the_last_segment() {
        let template = UrlTemplate::parse("https://keys.example.com/v1/{id}.pem").unwrap();
        let url = |id| template.url(Some(id)).map(|url| url.to_string());
        assert_eq!(url("a-B_1.2").as_deref(), Some("https://keys.example.com/v1/a-B_1.2.pem"));
        for id in ["", "a/b", "a?b", "a#b", "a%2Fb", "a b", "\u{e9}", &"x".repeat(129)] {
            assert_eq!(url(id), None, "{id:?}");
        }
        let bare = UrlTemplate::parse("https://keys.example.com/{id}").unwrap();
        for id in [".", ".."] {
            assert!(bare.url(Some(id)).is_none(), "{id:?}");
        }
        assert!(bare.url(None).is_none());
        for text in [
            "https://keys.example.com/{id}/x",
            "https://{id}.example.com/x",
            "https://keys.example.com/x?kid={id}",
            "https://keys.example.com/{id}?x",
            "https://keys.example.com/{id}{id}",
            "http://keys.example.com/x",
            "https://keys.example.com",
            "https://u:p@keys.example.com/x",
            "https://keys.example.com/x#y",
        ] {
            assert!(UrlTemplate::parse(text).is_err(), "{text}");
        }
    }
}
