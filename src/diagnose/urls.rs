//! URLs as the sender may have called them, for schemes that sign them.

use std::sync::Arc;

use super::case::{Case, header_text};
use super::cause::{Cause, Finding};
use crate::delivery::{Delivery, Headers};
use crate::provider::UrlPort;

/// Headers in which proxies tell the path that was called before they changed it.
const TARGET_HEADERS: [&str; 4] = ["x-original-uri", "x-original-url", "x-forwarded-uri", "x-rewrite-url"];
/// Headers in which they tell the host.
const HOST_HEADERS: [&str; 3] = ["x-forwarded-host", "x-original-host", "host"];
/// Characters that some senders escape in a URL and others do not.
const ESCAPED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
    ("%20", "+"),
];

impl Case<'_> {
    /// The URL as others may have called it, or its path and query where no more is signed.
    pub(super) fn by_url(&self) -> Option<Finding> {
        let scheme = &self.endpoint.scheme;
        let public = scheme.origin.as_ref().map(|origin| origin.text(UrlPort::Configured));
        let (configured, bases) = match public {
            Some(public) if scheme.signs_url() => (public, bases(public, &self.delivery.headers)),
            _ if scheme.covers_target() || scheme.token.request_digest.is_some() => {
                ("", prefixes(public, &self.delivery.headers))
            }
            _ => return None,
        };
        let targets = targets(self.delivery);
        let held = |base: &str, target: &str| {
            let called = |target: String| Delivery { target, ..self.delivery.clone() };
            if scheme.signs_url() {
                self.any_holds(&Arc::new((**scheme).clone().at(base)), &called(target.to_owned()))
            } else {
                self.any_holds(scheme, &called(format!("{base}{target}")))
            }
        };
        let mut urls = bases.iter().flat_map(|base| targets.iter().map(move |target| (base, target)));
        let (base, target) = urls.find(|(base, target)| held(base, target))?;
        let cause = difference((configured, &self.delivery.target), (base, target));
        // A query can carry what must not be shown; a path is the operator's own.
        let shown = |base: &str, target: &str| {
            format!(
                "{base}{}",
                target.split_once('?').map_or(target.to_owned(), |(path, _)| format!("{path}?…"))
            )
        };
        let (what, advice) = if scheme.signs_url() {
            (
                "URL",
                "set ingress.public_url, or what the sender calls, so that both are the same; a proxy must not change the path",
            )
        } else {
            ("path", "a proxy must hand on path and query as the sender called them")
        };
        Some(cause.found(
            format!(
                "the sender signed the {what} {}, not {}",
                shown(base, target),
                shown(configured, &self.delivery.target)
            ),
            advice,
        ))
    }
}

/// In what two URLs differ first.
fn difference(own: (&str, &str), other: (&str, &str)) -> Cause {
    let named = |(base, target): (&str, &str)| {
        let (protocol, rest) = base.split_once("://").unwrap_or(("", base));
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = format!("/{prefix}{path}");
        [protocol, host, port, &path, query].map(str::to_owned)
    };
    let (
        [protocol, host, port, path, query],
        [other_protocol, other_host, other_port, other_path, other_query],
    ) = (named(own), named(other));
    let plain = |text: &str| {
        ESCAPED.iter().fold(text.to_ascii_uppercase(), |text, (from, to)| text.replace(from, to))
    };
    match () {
        () if host != other_host => Cause::UrlHost,
        () if protocol != other_protocol => Cause::UrlProtocol,
        () if port != other_port => Cause::UrlPort,
        () if path != other_path && path.trim_end_matches('/') == other_path.trim_end_matches('/') => {
            Cause::UrlSlash
        }
        () if path != other_path && plain(&path) != plain(&other_path) => Cause::UrlPath,
        () if parameters(&query) != parameters(&other_query) => Cause::UrlQuery,
        () => Cause::UrlEncoding,
    }
}

/// How many parameters a query has.
fn parameters(query: &str) -> usize {
    query.split('&').filter(|parameter| !parameter.is_empty()).count()
}

/// What a proxy may have cut off the path: what the public URL or the request says, or nothing.
fn prefixes(public: Option<&str>, headers: &Headers) -> Vec<String> {
    let own = public.map_or("", |public| parts(public).2);
    let told = header_text(headers, "x-forwarded-prefix").unwrap_or_default();
    let mut prefixes = vec![String::new(), own.to_owned(), told.to_owned()];
    prefixes.dedup();
    prefixes
}

/// Protocol, authority and path of a public URL.
fn parts(url: &str) -> (&str, &str, &str) {
    let (protocol, rest) = url.split_once("://").unwrap_or(("https", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (protocol, authority, path)
}

/// Public URLs that the sender may have been given: the other protocol, the hosts that the request names, ports.
fn bases(configured: &str, headers: &Headers) -> Vec<String> {
    let (protocol, own, path) = parts(configured);
    let bare = own.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(own, |(host, _)| host);
    let mut hosts = vec![own.to_owned(), bare.to_owned()];
    if let Some(port) = header_text(headers, "x-forwarded-port") {
        hosts.push(format!("{bare}:{port}"));
    }
    hosts.extend(["443", "80", "8080", "8443"].map(|port| format!("{bare}:{port}")));
    let named = HOST_HEADERS.into_iter().filter_map(|name| header_text(headers, name));
    hosts.extend(named.map(str::to_owned));
    let prefix = header_text(headers, "x-forwarded-prefix").unwrap_or_default();
    let other = if protocol == "https" { "http" } else { "https" };
    let mut bases = Vec::new();
    for host in hosts {
        for protocol in [protocol, other] {
            for path in [path, "", prefix] {
                let base = format!("{protocol}://{host}{path}");
                if !bases.contains(&base) {
                    bases.push(base);
                }
            }
        }
    }
    bases
}

/// Paths that the sender may have called: with and without a slash at the end, the query, its last parameter, a first
/// segment; in another percent-encoding; and as a proxy tells them.
fn targets(delivery: &Delivery) -> Vec<String> {
    let target = delivery.target.as_str();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let bare = path.trim_end_matches('/');
    let shorter = path.get(1..).and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)));
    let told = TARGET_HEADERS.into_iter().filter_map(|name| header_text(&delivery.headers, name));
    let mut targets: Vec<String> = vec![target.to_owned()];
    let paths =
        [Some(path.to_owned()), Some(format!("{bare}/")), Some(bare.to_owned()), shorter.map(str::to_owned)];
    for path in paths.into_iter().flatten() {
        let shorter = query.and_then(|query| query.rsplit_once('&')).map(|(first, _)| first);
        targets.extend([query, shorter].into_iter().flatten().map(|query| format!("{path}?{query}")));
        targets.push(path);
    }
    targets.extend(told.map(str::to_owned));
    for (escape, plain) in [(true, false), (false, true)] {
        let swap = |text: &str, (code, c): &(&str, &str)| match (escape, plain) {
            (true, _) => text.replace(code, c).replace(&code.to_ascii_lowercase(), c),
            _ if *c == "/" => text.to_owned(),
            _ => text.replace(c, code),
        };
        let changed = |text: &str| ESCAPED.iter().fold(text.to_owned(), |text, pair| swap(&text, pair));
        targets.push(match query {
            Some(query) => format!("{}?{}", changed(path), changed(query)),
            None => changed(path),
        });
    }
    let mut known: Vec<String> = Vec::new();
    targets.into_iter().for_each(|target| {
        if !known.contains(&target) {
            known.push(target)
        }
    });
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_differ_in_one_named_thing() {
        let own = ("https://a.example", "/in/x?b=1");
        for (base, target, cause) in [
            ("http://a.example", "/in/x?b=1", Cause::UrlProtocol),
            ("https://b.example", "/in/x?b=1", Cause::UrlHost),
            ("https://a.example:8443", "/in/x?b=1", Cause::UrlPort),
            ("https://a.example", "/in/x/?b=1", Cause::UrlSlash),
            ("https://a.example/base", "/in/x?b=1", Cause::UrlPath),
            ("https://a.example", "/in/x", Cause::UrlQuery),
            ("https://a.example", "/in/x?b=1&c=2", Cause::UrlQuery),
            ("https://a.example", "/in/x?b=%31", Cause::UrlEncoding),
        ] {
            assert_eq!(difference(own, (base, target)), cause, "{base}{target}");
        }
    }
}
