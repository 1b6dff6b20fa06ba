//! Types of single values that check themselves while they are read: what exists is right.
//!
//! Each refuses with what would be allowed; the report adds key, place and what was found.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::mask::Pointer;
use crate::units::Span;

/// Reads `T` from text, or refuses with what is allowed.
fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    allowed: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<P>(&'static str, P);

    impl<T, P: Fn(&str) -> Option<T>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::custom(self.0))
        }
    }

    deserializer.deserialize_str(Text(allowed, parse))
}

/// Reads an IP address with a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let allowed = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    from_text(deserializer, allowed, |text| text.parse().ok())
}

/// How long a source may be quiet before an operator is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SilentAfter {
    /// Far longer than it is as a rule.
    #[default]
    Usual,
    /// So long.
    Time(Span),
    /// As long as it likes.
    Never,
}

impl<'de> Deserialize<'de> for SilentAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let allowed = "\"usual\", \"never\", or a time such as \"6h\"";
        from_text(deserializer, allowed, |text| match text {
            "usual" => Some(Self::Usual),
            "never" => Some(Self::Never),
            time => time.parse().ok().filter(|time: &Span| time.millis() > 0).map(Self::Time),
        })
    }
}

impl Serialize for SilentAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usual => serializer.serialize_str("usual"),
            Self::Time(time) => time.serialize(serializer),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

/// A network in CIDR form, `"10.0.0.0/8"`; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// The network itself.
    pub const fn net(self) -> IpNet {
        self.0
    }
}

impl FromStr for Network {
    type Err = ();

    /// Refuses bits beyond the prefix (`10.1.0.0/8` is a slip, and it is not known of which half), and IPv4
    /// written as IPv6, which no caller's address ever is.
    fn from_str(text: &str) -> Result<Self, ()> {
        let net = match text.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(drop)?),
        };
        let mapped = matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        if mapped || net.trunc() != net { Err(()) } else { Ok(Self(net)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let allowed =
            "an address or network such as \"10.0.0.0/8\" or \"fd00::/8\", no bit set beyond its prefix";
        from_text(deserializer, allowed, |text| text.parse().ok())
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The URL under which senders reach the ingress, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Scheme, host, port and path in front, such as `https://hooks.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#@\\\"<>^`{|}".contains(&b));
        let host = rest.split('/').next().unwrap_or_default();
        (plain && is_host(host)).then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Whether `text` is a host name or address, with a port or without.
fn is_host(text: &str) -> bool {
    if text.starts_with('[') {
        let (inside, after) = text.trim_start_matches('[').split_once(']').unwrap_or_default();
        let port = after.strip_prefix(':');
        return inside.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || port.is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !name.is_empty() && name.chars().all(legal) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let allowed = "an https:// or http:// URL without user, query and fragment, such as \"https://hooks.example.com\"";
        from_text(deserializer, allowed, Self::parse)
    }
}

/// The path of a source: one spelling, so that no two paths are the same to a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RoutePath(String);

impl RoutePath {
    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the source `name` listens if its configuration does not say.
    pub(super) fn of_source(name: &str) -> Self {
        Self(format!("/in/{name}"))
    }

    /// Whether the configuration gave none.
    pub(super) fn is_unset(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$'()*,;:@+=&".contains(&b);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(legal);
        let legal = text.len() <= 1_024 && text.strip_prefix('/')?.split('/').all(segment);
        legal.then(|| Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for RoutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let allowed = "a path such as \"/in/orders\": it begins with \"/\", ends without, and has no \"//\", \"..\", \"%\", query or space";
        from_text(deserializer, allowed, Self::parse)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::EXPECTED, |text| text.parse().ok())
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A status that tells the sender that all is well: 200 to 299.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Success(u16);

impl Success {
    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }
}

impl Default for Success {
    fn default() -> Self {
        Self(200)
    }
}

impl<'de> Deserialize<'de> for Success {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Status;

        impl Visitor<'_> for Status {
            type Value = Success;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 200 to 299")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Success, E> {
                match u16::try_from(number) {
                    Ok(code @ 200..=299) => Ok(Success(code)),
                    Ok(_) | Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_i64(Status)
    }
}

/// A value that a provider's file asks of the source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes, a number, true, false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Setting, E> {
                Ok(Setting::Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Setting, E> {
                Ok(Setting::Integer(number))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Setting, E> {
                Ok(Setting::Float(number))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Setting, E> {
                Ok(Setting::Boolean(truth))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Option<Network> {
        text.parse().ok()
    }

    #[test]
    fn a_network_holds_its_addresses_only() {
        let inside = |net: &str, ip: &str| {
            network(net).unwrap().net().contains(&ip.parse::<IpAddr>().unwrap().to_canonical())
        };
        assert!(inside("10.0.0.0/8", "10.255.1.2"));
        assert!(inside("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!inside("10.0.0.0/8", "11.0.0.0"));
        assert!(inside("192.0.2.7", "192.0.2.7"));
        assert!(!inside("192.0.2.7", "192.0.2.6"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("::/0", "2001:db8::1"));
        assert!(!inside("::/0", "10.0.0.1"));
        assert!(inside("fd00::/8", "fdff::1"));
    }

    #[test]
    fn slips_in_networks_are_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "::ffff:0.0.0.0/96",
            "host/8",
        ] {
            assert!(network(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin_and_a_path() {
        let kept = |text: &str| PublicUrl::parse(text).map(|url| url.0);
        for text in ["https://hooks.example.com", "http://localhost:8080", "https://[::1]:8443/base"] {
            assert_eq!(kept(text).as_deref(), Some(text));
        }
        assert_eq!(kept("https://a.example/").as_deref(), Some("https://a.example"));
        for text in [
            "",
            "https://",
            "ftp://a",
            "//a",
            "https://a?b",
            "https://a#b",
            "https://u:p@a",
            "https://a:0",
            "https://a:x",
            "https://a b",
            "https://[a]",
            "https://:80",
            "HTTPS://a",
        ] {
            assert_eq!(kept(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_route_has_one_spelling() {
        for text in ["/in/stripe", "/a", "/a.b/c-d_e"] {
            assert_eq!(RoutePath::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "", "/", "a", "/a/", "//a", "/a//b", "/a?b", "/a#b", "/a%2Fb", "/a b", "/./a", "/a/..", "/{a}",
            "/é",
        ] {
            assert_eq!(RoutePath::parse(text), None, "{text:?}");
        }
    }
}
