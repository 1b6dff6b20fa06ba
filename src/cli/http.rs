//! The HTTP client of every subcommand that calls a gateway: one request, exact header values and body bytes, the answer
//! whole or as it comes, under a deadline.
//!
//! A thin cover over `ureq`. It follows no redirect and obeys no proxy variable: what it calls is a gateway of one's own,
//! mostly on this machine.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::Body;
use ureq::config::AutoHeaderValue;
use ureq::http::request::Builder;
use ureq::http::{HeaderName, HeaderValue, Request, Response, Uri};

use super::output;
use crate::clock::{Clock, System};
use crate::delivery::Delivery;
use crate::verify::operators_tls;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer; above every wait of the gateway's own.
const WHOLE: Duration = Duration::from_secs(30);
/// Longest answer: a batch of claimed events may be long.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// What to do about a 401 of an admin listener.
const NO_TOKEN: &str = " (give --token-env NAME, or admin.token in the configuration: that goes to the configured address, \
                        and with --from to the one given only where --config names the file)";

/// Where a request goes: a URL that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `http://host:port`, or `https`.
    base: String,
    /// Path and query; at least `/`.
    target: String,
}

impl Url {
    /// Reads `http://host[:port][/path][?query]`, or the same with `https`.
    ///
    /// # Errors
    /// A sentence that tells what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_like(text, "http://127.0.0.1:8080/in/shop")
    }

    /// The same, with a URL of this option's own for an example.
    ///
    /// # Errors
    /// A sentence that tells what is allowed.
    pub(super) fn parse_like(text: &str, example: &str) -> Result<Self, String> {
        let allowed = |found: &str| format!("{text}: {found}; allowed: a URL such as {example}");
        let uri: Uri = text.parse().map_err(|_| allowed("not a URL"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) if !authority.as_str().contains('@') => {
                let target = uri.path_and_query().map_or("/", |target| target.as_str());
                Ok(Self { base: format!("{scheme}://{authority}"), target: target.to_owned() })
            }
            _ => Err(allowed("neither http nor https")),
        }
    }

    /// The same host with `path`, which begins with `/`.
    pub(super) fn with_path(&self, path: &str) -> Self {
        Self { base: self.base.clone(), target: path.to_owned() }
    }

    /// Whether it names a host only.
    pub(super) fn is_bare(&self) -> bool {
        self.target == "/"
    }

    /// Scheme, host and port.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.target)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// From the first byte sent, connecting included, to the last byte read.
    pub took: Duration,
}

impl Reply {
    /// Whether it is a 2xx.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A text of the JSON object that the body is.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(key)?.as_str()?.to_owned())
    }

    /// Why the gateway refused, by its own words, with nothing that a terminal would obey.
    pub(super) fn refusal(&self) -> String {
        let detail = self.text("detail").unwrap_or_else(|| "no reason given".to_owned());
        let hint = if self.status == 401 { NO_TOKEN } else { "" };
        format!("refused with {}: {}{hint}", self.status, output::line(&detail))
    }

    /// The time it took in milliseconds, for people.
    pub(super) fn millis(&self) -> String {
        format!("{:.1}", self.took.as_secs_f64() * 1000.0)
    }
}

/// Nobody answered, or not by HTTP.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {source}")]
pub(super) struct Unreachable {
    url: String,
    source: Box<ureq::Error>,
}

/// Whom a client believes, of those that it calls by `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Hosts that an authority vouches for that Mozilla trusts.
    Public,
    /// Anybody, as fits a listener of one's own that is called by an address and has the certificate of a name.
    Anybody,
}

/// The client; connections are kept between calls.
pub(super) struct Client {
    agent: Agent,
    clock: System,
}

impl Client {
    pub(super) fn new() -> Self {
        Self::within(WHOLE)
    }

    /// A client that believes whom `trust` tells.
    pub(super) fn trusting(trust: Trust) -> Self {
        Self::with(WHOLE, trust)
    }

    /// A client that waits `whole` at most for an answer.
    pub(super) fn within(whole: Duration) -> Self {
        Self::with(whole, Trust::Public)
    }

    fn with(whole: Duration, trust: Trust) -> Self {
        let config = Agent::config_builder()
            .tls_config(operators_tls(trust == Trust::Anybody))
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(whole))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .build();
        Self { agent: Agent::new_with_config(config), clock: System::new() }
    }

    /// Sends `delivery` to `host`, whose own path does not count: the delivery's target does.
    ///
    /// # Errors
    /// Where nobody answers, or a header cannot be sent.
    pub(super) fn deliver(&self, host: &Url, delivery: &Delivery) -> Result<Reply, Unreachable> {
        let mut request = Request::builder().method(delivery.method.as_str());
        for (name, value) in delivery.headers.iter() {
            request = request.header(name, value);
        }
        self.run(&host.with_path(&delivery.target), request.body(()), &delivery.body)
    }

    /// Posts bytes with these headers, as far as they can be sent.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(super) fn forward<'h>(
        &self,
        url: &Url,
        headers: impl Iterator<Item = (&'h str, String)>,
        body: &[u8],
    ) -> Result<Reply, Unreachable> {
        let mut request = Request::post("/");
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                request = request.header(name, value);
            }
        }
        self.run(url, request.body(()), body)
    }

    /// Posts JSON, with a bearer token where there is one.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(super) fn post(&self, url: &Url, token: Option<&[u8]>, json: &str) -> Result<Reply, Unreachable> {
        let request = Request::post("/").header("content-type", "application/json");
        self.run(url, bearing(request, token).body(()), json.as_bytes())
    }

    /// Gets what is at `url`, with a bearer token where there is one.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(super) fn get(&self, url: &Url, token: Option<&[u8]>) -> Result<Reply, Unreachable> {
        self.run(url, bearing(Request::get("/"), token).body(()), &[])
    }

    /// Gets what is at `url` and reads it as it comes, with a bearer token where there is one; `last` is the last thing
    /// known of it. What this client waits for an answer is for all of it.
    ///
    /// # Errors
    /// Where nobody answers; the inner one is an answer that is no 2xx.
    pub(super) fn stream(
        &self,
        url: &Url,
        token: Option<&[u8]>,
        last: Option<&str>,
    ) -> Result<Result<impl Read + use<>, Reply>, Unreachable> {
        let mut request = bearing(Request::get("/"), token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let started = self.clock.monotonic();
        let answer = self.send(url, request.body(()), &[])?;
        if !answer.status().is_success() {
            return Ok(Err(self.whole(url, answer, started)?));
        }
        Ok(Ok(answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX).reader()))
    }

    fn run(
        &self,
        url: &Url,
        request: Result<Request<()>, ureq::http::Error>,
        body: &[u8],
    ) -> Result<Reply, Unreachable> {
        let started = self.clock.monotonic();
        let answer = self.send(url, request, body)?;
        self.whole(url, answer, started)
    }

    fn send(
        &self,
        url: &Url,
        request: Result<Request<()>, ureq::http::Error>,
        body: &[u8],
    ) -> Result<Response<Body>, Unreachable> {
        let (mut head, ()) = request.map_err(|error| failed(url, error.into()))?.into_parts();
        head.uri = url.to_string().parse().map_err(|error: ureq::http::uri::InvalidUri| {
            failed(url, ureq::http::Error::from(error).into())
        })?;
        let bodiless = body.is_empty() && matches!(head.method.as_str(), "GET" | "HEAD");
        let answer = if bodiless {
            self.agent.run(Request::from_parts(head, ()))
        } else {
            self.agent.run(Request::from_parts(head, body))
        };
        answer.map_err(|error| failed(url, error))
    }

    /// Reads an answer to its end.
    fn whole(&self, url: &Url, mut answer: Response<Body>, started: Duration) -> Result<Reply, Unreachable> {
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = read.map_err(|error| failed(url, error))?;
        Ok(Reply { status, body, took: self.clock.monotonic().saturating_sub(started) })
    }
}

fn failed(url: &Url, source: ureq::Error) -> Unreachable {
    Unreachable { url: url.to_string(), source: Box::new(source) }
}

fn bearing(request: Builder, token: Option<&[u8]>) -> Builder {
    match token {
        Some(token) => request.header("authorization", [b"Bearer ", token].concat()),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_and_checked() {
        let url = Url::parse("http://127.0.0.1:8080/in/shop?x=1").unwrap();
        assert_eq!(
            (url.target(), url.to_string().as_str()),
            ("/in/shop?x=1", "http://127.0.0.1:8080/in/shop?x=1")
        );
        assert!(Url::parse("http://[::1]:8080").unwrap().is_bare());
        assert_eq!(url.with_path("/readyz").to_string(), "http://127.0.0.1:8080/readyz");
        assert_eq!(Url::parse("https://a.example/in/shop").unwrap().base(), "https://a.example");
        for wrong in
            ["https://u:p@a.example/", "127.0.0.1:8080", "/in/shop", "ftp://a/b", "http://u:p@h/", ""]
        {
            assert!(Url::parse(wrong).unwrap_err().contains("allowed: a URL such as"), "{wrong}");
        }
        let told = Url::parse_like("127.0.0.1:9093", "http://127.0.0.1:9090").unwrap_err();
        assert!(told.ends_with("allowed: a URL such as http://127.0.0.1:9090"), "{told}");
    }

    #[test]
    fn a_401_says_which_token_goes_where() {
        let reply = Reply { status: 401, body: b"{}".to_vec(), took: Duration::ZERO };
        assert!(reply.refusal().contains("with --from to the one given only where --config names"));
        assert!(!Reply { status: 403, ..reply }.refusal().contains("--token-env"));
    }

    #[test]
    fn nobody_there_is_told_with_the_url() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/in/shop")).unwrap();
        let error = Client::new().get(&url, None).unwrap_err().to_string();
        assert!(error.starts_with(&url.to_string()), "{error}");
    }
}
