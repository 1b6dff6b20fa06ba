//! A request given on the command line: from files, from options, or both. What `sign` signs and `verify` judges.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;

use super::stop::Stop;
use crate::clock::{NoTime, Timestamp};
use crate::delivery::{Delivery, Headers};
use crate::provider::secret::{Environment, Secret, SecretPlace, SecretRef};

/// Longest body or file of headers that is read.
const BYTES_MAX: u64 = 64 << 20;

/// Secrets that the command line names; none of them is ever printed.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    /// The environment variable with the secret; may be repeated
    #[arg(long, value_name = "NAME")]
    secret_env: Vec<String>,
    /// The file with the secret; may be repeated
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<PathBuf>,
    /// The secret itself; other users can see it in the list of processes
    #[arg(long, value_name = "TEXT")]
    secret: Vec<String>,
}

impl SecretArgs {
    /// Reads them; what is odd about one is told on stderr.
    ///
    /// # Errors
    /// Where one is missing, unreadable or empty.
    pub(super) fn read(self) -> Result<Vec<Secret>, Stop> {
        let env = self.secret_env.into_iter().map(|name| (format!("env {name}"), SecretPlace::Env(name)));
        let file = self
            .secret_file
            .into_iter()
            .map(|path| (format!("file {}", path.display()), SecretPlace::File(path)));
        let text =
            self.secret.into_iter().map(|text| ("--secret".to_owned(), SecretPlace::Value(text.into())));
        let environment = Environment::of_process();
        let read = |(label, place)| {
            let reference = SecretRef {
                place,
                label: Some(label),
                kid: None,
                slot: None,
                not_before: None,
                not_after: None,
            };
            let resolved =
                reference.resolve(&environment, 1, 1).map_err(|error| Stop::usage(error.to_string()))?;
            resolved.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
            Ok(resolved.secret)
        };
        env.chain(file).chain(text).map(read).collect()
    }
}

/// Parts of a request.
#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// The file with the body, byte for byte; `-` for stdin [default: -]
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,
    /// A header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The URL that the sender called, for schemes that sign it [default: the configured one]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// The method [default: that of the captured request, else the provider's]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
}

/// Where the rest of a captured request is.
#[derive(Debug, Default, Args)]
pub(super) struct CaptureArgs {
    /// A file with the whole request as it came: request line, headers, an empty line, body
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// A file with headers, a line each; a request line before them is understood
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    headers: Option<PathBuf>,
}

impl CaptureArgs {
    /// The same with `file` as the whole request, or stdin where nothing else names a part of it.
    pub(super) fn or(self, file: Option<PathBuf>, parts: &RequestArgs) -> Self {
        let named = self.request.is_some()
            || self.headers.is_some()
            || parts.body.is_some()
            || !parts.header.is_empty();
        match file {
            None if named => self,
            file => Self { request: Some(file.unwrap_or_else(|| PathBuf::from("-"))), headers: None },
        }
    }
}

/// What a request says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Captured {
    method: Option<String>,
    target: Option<String>,
    headers: Headers,
    body: Option<Vec<u8>>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE, such as X-Request-Id: 7")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl RequestArgs {
    /// The request; `path` and `method` where nothing names others.
    ///
    /// # Errors
    /// Where a file cannot be read, or is no request.
    pub(super) fn read(self, capture: CaptureArgs, method: &str, path: &str) -> Result<Delivery, Stop> {
        let mut captured = match (&capture.request, &capture.headers) {
            (Some(file), _) => Captured::parse(&read(file)?, true)?,
            (None, Some(file)) => Captured::parse(&read(file)?, false)?,
            (None, None) => Captured::default(),
        };
        for (name, value) in &self.header {
            captured.headers.push(name, value.as_bytes());
        }
        let own = self.url.as_deref().map(|url| split(url).1.to_owned());
        let body = match (self.body, captured.body) {
            (Some(file), _) => read(&file)?,
            (None, Some(body)) => body,
            (None, None) => read(Path::new("-"))?,
        };
        Ok(Delivery {
            method: self.method.or(captured.method).unwrap_or_else(|| method.to_owned()),
            target: own.or(captured.target).unwrap_or_else(|| path.to_owned()),
            headers: captured.headers,
            body: Bytes::from(body),
            received_at: Timestamp::from_millis(0),
        })
    }
}

impl Captured {
    /// Reads a head, and what follows its empty line where that is a `body`.
    fn parse(bytes: &[u8], body: bool) -> Result<Self, Stop> {
        let mut captured = Self::default();
        let mut rest = bytes;
        while let Some((line, after)) = next_line(rest) {
            rest = after;
            let line = std::str::from_utf8(line).map_err(|_| Stop::data("a header that is not UTF-8"))?;
            if line.is_empty() {
                break;
            }
            captured.line(line)?;
        }
        captured.body = body.then(|| rest.to_vec());
        Ok(captured)
    }

    fn line(&mut self, line: &str) -> Result<(), Stop> {
        let words: Vec<&str> = line.split(' ').collect();
        if let [method, target, version] = words[..]
            && version.starts_with("HTTP/")
        {
            (self.method, self.target) = (Some(method.to_owned()), Some(split(target).1.to_owned()));
            return Ok(());
        }
        let (name, value) =
            header(line).map_err(|_| Stop::data(format!("no header: {line:?}; expected NAME: VALUE")))?;
        self.headers.push(&name, value.as_bytes());
        Ok(())
    }
}

/// A line without its end, and what follows; nothing at the end.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let line = bytes.get(..end).unwrap_or_default();
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or_default()))
}

/// A URL's scheme and authority (empty for a bare path), and its path and query.
pub(super) fn split(url: &str) -> (&str, &str) {
    // In a bare path `://` may stand in the query.
    let scheme = url.find("://").filter(|at| url.find(['/', '?']).is_none_or(|first| first > *at));
    let authority = scheme.map_or(0, |at| at + 3);
    let start =
        url.get(authority..).and_then(|rest| rest.find(['/', '?'])).map_or(url.len(), |at| authority + at);
    match url.split_at(start) {
        (base, "") => (base, "/"),
        parts => parts,
    }
}

/// A point in time: RFC 3339, or Unix seconds.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_seconds(seconds));
    }
    text.parse().map_err(|error: NoTime| format!("{error}, or Unix seconds"))
}

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let failed = |error: io::Error| Stop::usage(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        fs::File::open(path)
            .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Stop::usage(format!("{}: longer than {} MiB", path.display(), BYTES_MAX >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_came() {
        let text =
            b"POST https://a.example/in/x?y=1 HTTP/1.1\r\nHost: a.example\r\nX-Two:  b \r\n\r\nbody\n\r\nend";
        let captured = Captured::parse(text, true).unwrap();
        assert_eq!(
            (captured.method.as_deref(), captured.target.as_deref()),
            (Some("POST"), Some("/in/x?y=1"))
        );
        assert_eq!(captured.headers.first("x-two"), Some(&b"b"[..]));
        assert_eq!(captured.body.as_deref(), Some(&b"body\n\r\nend"[..]));
        let headers = Captured::parse(b"A: 1\nb: 2", false).unwrap();
        assert_eq!((headers.headers.iter().count(), headers.body), (2, None));
        assert!(Captured::parse(b"no header\n", false).is_err());
    }

    #[test]
    fn urls_and_times_are_read() {
        for (url, parts) in [
            ("https://a.example/in?x=1", ("https://a.example", "/in?x=1")),
            ("/in/x?next=https://b.example/c", ("", "/in/x?next=https://b.example/c")),
            ("http://a.example", ("http://a.example", "/")),
            ("https://a.example?x", ("https://a.example", "?x")),
            ("/in/x", ("", "/in/x")),
        ] {
            assert_eq!(split(url), parts);
        }
        assert_eq!(moment("1767225600"), moment("2026-01-01T00:00:00Z"));
        assert!(moment("yesterday").is_err());
    }
}
