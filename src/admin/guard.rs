//! Who may call the admin listener: a token where there is one, and never a web page of somebody else's.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How far the page that a browser calls for is from us; other callers send none.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Whether it calls to go there, or for something to use in the page.
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// The console's page and its files, which hold nothing of anybody's.
    Page,
    /// Taking events and answering for them; what workers do.
    Inbox,
    /// Metrics and events: what changes nothing.
    Look,
    /// Everything else.
    Operation,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token, or not the right one.
    Token,
    /// The Host, the Origin or the page is another site's: a browser was made to call.
    Foreign,
}

/// What a token is compared by, wiped when dropped.
type Digest = Zeroizing<[u8; 32]>;

/// The tokens that open calls.
#[derive(Clone, Copy, Default)]
pub struct Tokens<'t> {
    /// Every one.
    pub operator: Option<&'t [u8]>,
    /// Those that change nothing: metrics and events.
    pub reader: Option<&'t [u8]>,
    /// Those of the inbox.
    pub worker: Option<&'t [u8]>,
}

/// What is checked before every call but the probes.
#[derive(Clone, Default)]
pub struct Guard {
    operator: Option<Digest>,
    reader: Option<Digest>,
    worker: Option<Digest>,
}

impl Guard {
    /// Demands the operator's token, or where that is enough the reader's or a worker's; where none of them opens a call,
    /// it has to name a loopback host.
    pub fn new(tokens: &Tokens<'_>) -> Self {
        let digest = |token: Option<&[u8]>| token.map(|token| Zeroizing::new(Sha256::digest(token).into()));
        let Tokens { operator, reader, worker } = *tokens;
        Self { operator: digest(operator), reader: digest(reader), worker: digest(worker) }
    }

    /// Whether an operator has to send a token.
    pub(super) fn wants_token(&self) -> bool {
        self.operator.is_some()
    }

    pub(super) fn check(&self, request: &HttpRequest, area: Area) -> Result<(), Refusal> {
        let host = header(request, &HOST).unwrap_or_default();
        if header(request, &ORIGIN)
            .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, o)| o != host))
        {
            return Err(Refusal::Foreign);
        }
        // A page's images and scripts bring no Origin; it would read nothing, and still have us read the journal. A link that
        // leads to the console is harmless: what it leads to does nothing by itself, and is shown in no frame.
        let link = area == Area::Page && header(request, &MODE) == Some("navigate");
        if !link && header(request, &SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Refusal::Foreign);
        }
        if area == Area::Page {
            let open = self.operator.is_some() || self.reader.is_some() || is_loopback(host);
            return if open { Ok(()) } else { Err(Refusal::Foreign) };
        }
        let enough = match area {
            Area::Inbox => &self.worker,
            Area::Look => &self.reader,
            Area::Operation | Area::Page => &None,
        };
        if self.operator.is_none() && enough.is_none() {
            return if is_loopback(host) { Ok(()) } else { Err(Refusal::Foreign) };
        }
        let given = header(request, &AUTHORIZATION).and_then(bearer).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        let opens = |token: &Digest| bool::from(given.ct_eq(&**token));
        if self.operator.iter().chain(enough).any(opens) { Ok(()) } else { Err(Refusal::Token) }
    }
}

/// What cannot be read is no allowed value, and is there all the same.
fn header<'r>(request: &'r HttpRequest, name: &HeaderName) -> Option<&'r str> {
    Some(request.headers().get(name)?.to_str().unwrap_or_default())
}

fn bearer(value: &str) -> Option<&str> {
    let (word, token) = value.split_once(' ')?;
    word.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a Host names this machine, port aside: DNS rebinding brings another name.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn call_of(guard: &Guard, area: Area, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = TestRequest::get();
        for header in headers {
            request = request.insert_header(*header);
        }
        guard.check(&request.to_http_request(), area)
    }

    fn call(token: Option<&str>, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let guard = Guard::new(&Tokens { operator: token.map(str::as_bytes), ..Tokens::default() });
        call_of(&guard, Area::Operation, headers)
    }

    #[test]
    fn without_a_token_only_loopback_names_are_served() {
        for host in ["127.0.0.1:9090", "localhost:9090", "[::1]:9090", "LOCALHOST"] {
            assert_eq!(call(None, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example:9090", "192.168.0.1", ""] {
            assert_eq!(call(None, &[("host", host)]), Err(Refusal::Foreign), "{host}");
        }
    }

    #[test]
    fn with_a_token_it_must_be_the_right_one() {
        let host = ("host", "gateway:9090");
        assert_eq!(call(Some("s3cret"), &[host]), Err(Refusal::Token));
        assert_eq!(call(Some("s3cret"), &[host, ("authorization", "Bearer s3cre")]), Err(Refusal::Token));
        assert_eq!(call(Some("s3cret"), &[host, ("authorization", "bearer s3cret")]), Ok(()));
    }

    #[test]
    fn a_workers_token_opens_the_inbox_alone() {
        let (host, other) = (("host", "localhost:9090"), ("host", "gateway:9090"));
        let (worker, operator) = (("authorization", "Bearer worker"), ("authorization", "Bearer operator"));
        let both = Guard::new(&Tokens { operator: Some(b"operator"), reader: None, worker: Some(b"worker") });
        assert_eq!(call_of(&both, Area::Inbox, &[other, worker]), Ok(()));
        assert_eq!(call_of(&both, Area::Inbox, &[other, operator]), Ok(()));
        assert_eq!(call_of(&both, Area::Operation, &[other, worker]), Err(Refusal::Token));
        let alone = Guard::new(&Tokens { worker: Some(b"worker"), ..Tokens::default() });
        assert_eq!(call_of(&alone, Area::Inbox, &[host]), Err(Refusal::Token));
        assert_eq!(call_of(&alone, Area::Inbox, &[host, worker]), Ok(()));
        assert_eq!(call_of(&alone, Area::Operation, &[host]), Ok(()));
        assert_eq!(call_of(&alone, Area::Operation, &[other, worker]), Err(Refusal::Foreign));
    }

    #[test]
    fn a_readers_token_opens_what_changes_nothing() {
        let (other, reader) = (("host", "gateway:9090"), ("authorization", "Bearer reader"));
        let all = Tokens { operator: Some(b"operator"), reader: Some(b"reader"), worker: Some(b"worker") };
        let called = [Area::Look, Area::Inbox, Area::Operation].map(|area| {
            let guard = Guard::new(&all);
            ["reader", "worker", "operator"].map(|token| {
                let bearer = format!("Bearer {token}");
                call_of(&guard, area, &[other, ("authorization", &bearer)]).is_ok()
            })
        });
        assert_eq!(called, [[true, false, true], [false, true, true], [false, false, true]]);
        let alone = Guard::new(&Tokens { reader: Some(b"reader"), ..Tokens::default() });
        let local = ("host", "localhost:9090");
        assert_eq!(call_of(&alone, Area::Look, &[local]), Err(Refusal::Token));
        assert_eq!(call_of(&alone, Area::Look, &[local, reader]), Ok(()));
        assert_eq!(call_of(&alone, Area::Operation, &[local]), Ok(()));
    }

    #[test]
    fn the_page_is_served_without_a_token_and_by_a_link_but_to_no_other_name_and_into_no_other_page() {
        let (host, other) = (("host", "localhost:9090"), ("host", "evil.example:9090"));
        let site = ("sec-fetch-site", "cross-site");
        let open = Guard::new(&Tokens::default());
        let page = |guard: &Guard, headers: &[(&str, &str)]| call_of(guard, Area::Page, headers).is_ok();
        assert!(page(&open, &[host]) && page(&open, &[host, site, ("sec-fetch-mode", "navigate")]));
        assert!(!page(&open, &[host, site, ("sec-fetch-mode", "no-cors")]) && !page(&open, &[host, site]));
        assert!(!page(&open, &[other]) && !page(&open, &[host, ("origin", "https://evil.example")]));
        let token = Guard::new(&Tokens { operator: Some(b"operator"), ..Tokens::default() });
        assert!(page(&token, &[other]));
        assert_eq!(
            call_of(&open, Area::Look, &[host, site, ("sec-fetch-mode", "navigate")]),
            Err(Refusal::Foreign)
        );
    }

    #[test]
    fn another_sites_page_is_refused() {
        let host = ("host", "localhost:9090");
        assert_eq!(call(None, &[host, ("origin", "https://evil.example")]), Err(Refusal::Foreign));
        assert_eq!(call(None, &[host, ("origin", "null")]), Err(Refusal::Foreign));
        assert_eq!(call(None, &[host, ("origin", "http://caf\u{e9}.example")]), Err(Refusal::Foreign));
        assert_eq!(call(None, &[host, ("origin", "http://localhost:9090")]), Ok(()));
        for (site, opens) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            assert_eq!(call(None, &[host, ("sec-fetch-site", site)]).is_ok(), opens, "{site}");
        }
    }
}
