//! The URL that senders know: what schemes that sign it sign, taken from the configuration and never from a
//! request's Host header, which anybody can choose.

/// Which port the signed URL names; senders that sign one of several forms have a template for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlPort {
    /// As configured.
    Configured,
    /// None, whatever is configured.
    Left,
    /// The configured one, else the one that the URL's scheme stands for: 443 or 80.
    Named,
}

/// The public URL in front of a delivery's path and query, in each of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    configured: String,
    without_port: String,
    with_port: String,
}

impl Origin {
    /// Of a checked public URL such as `https://hooks.example.com/base`, without a slash at its end.
    pub fn new(public_url: &str) -> Self {
        let (scheme, rest) = public_url.split_once("://").unwrap_or(("https", public_url));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The colons inside an IPv6 address are followed by its bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = port.unwrap_or(if scheme == "http" { "80" } else { "443" });
        Self {
            configured: public_url.to_owned(),
            without_port: format!("{scheme}://{host}{path}"),
            with_port: format!("{scheme}://{host}:{port}{path}"),
        }
    }

    /// The text that stands before the path and query as received.
    pub fn text(&self, port: UrlPort) -> &str {
        match port {
            UrlPort::Configured => &self.configured,
            UrlPort::Left => &self.without_port,
            UrlPort::Named => &self.with_port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_forms_with_and_without_a_port() {
        for (url, without, with) in [
            ("https://a.example", "https://a.example", "https://a.example:443"),
            ("http://a.example/base", "http://a.example/base", "http://a.example:80/base"),
            ("https://a.example:8443/b/c", "https://a.example/b/c", "https://a.example:8443/b/c"),
            ("https://[::1]", "https://[::1]", "https://[::1]:443"),
            ("http://[::1]:8080/in", "http://[::1]/in", "http://[::1]:8080/in"),
        ] {
            let origin = Origin::new(url);
            let found = [UrlPort::Configured, UrlPort::Left, UrlPort::Named].map(|port| origin.text(port));
            assert_eq!(found, [url, without, with]);
        }
    }
}
