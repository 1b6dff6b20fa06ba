//! The subjects that a source allows: whole names of a certificate, compared exactly and never by a part of them.

use std::fmt;
use std::net::IpAddr;

use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};
use x509_parser::x509::X509Name;

/// Attributes that have a short name (RFC 4514, 3; and those that authorities write besides).
const ATTRIBUTES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

/// One name that a certificate may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Its whole distinguished name: object identifiers and values, in the certificate's order or the reverse.
    Name(Vec<(String, String)>),
    /// A DNS name among its alternative names, in lower case. A wildcard is only equal to itself.
    Dns(String),
    /// A URI among them.
    Uri(String),
    /// A mail address among them.
    Email(String),
    /// An IP address among them.
    Ip(IpAddr),
}

/// The text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSubject(&'static str);

impl Subject {
    /// Reads a name; its kind is told by its form: `CN=…` or `O=…,CN=…`, a URI with `://`, a mail address, an IP
    /// address, else a DNS name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NoSubject> {
        if text.contains("://") {
            return Ok(Self::Uri(text.to_owned()));
        }
        if text.contains('=') {
            return name(text).map(Self::Name);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let legal = |extra: &'static str| {
            move |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || extra.contains(c)
        };
        match text.split_once('@') {
            Some((local, host)) if !local.is_empty() && !host.is_empty() && host.chars().all(legal("")) => {
                Ok(Self::Email(text.to_owned()))
            }
            None if !text.is_empty() && text.chars().all(legal("*")) => {
                Ok(Self::Dns(text.to_ascii_lowercase()))
            }
            Some(_) | None => {
                Err(NoSubject("neither a distinguished name, a URI, an address nor a DNS name"))
            }
        }
    }

    /// Whether the certificate has this name.
    pub(super) fn is_of(&self, certificate: &X509Certificate<'_>) -> bool {
        match self {
            Self::Name(wanted) => attributes(certificate.subject())
                .is_some_and(|found| found.iter().eq(wanted) || found.iter().rev().eq(wanted)),
            Self::Dns(wanted) => alternatives(certificate).any(
                |name| matches!(name, GeneralName::DNSName(found) if found.eq_ignore_ascii_case(wanted)),
            ),
            Self::Uri(wanted) => alternatives(certificate)
                .any(|name| matches!(name, GeneralName::URI(found) if found == wanted)),
            Self::Email(wanted) => alternatives(certificate)
                .any(|name| matches!(name, GeneralName::RFC822Name(found) if found == wanted)),
            Self::Ip(wanted) => alternatives(certificate)
                .any(|name| matches!(name, GeneralName::IPAddress(found) if *found == octets(*wanted))),
        }
    }
}

/// The names that a certificate has, as the log shows them.
pub(super) struct Names<'a>(pub &'a X509Certificate<'a>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.subject())?;
        alternatives(self.0).try_for_each(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                write!(f, " {name}")
            }
            _ => Ok(()),
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn alternatives<'a>(certificate: &'a X509Certificate<'a>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let lists = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    lists.flatten()
}

/// The attributes of a name in its order; nothing where one has several in a step, or a value that is no text.
fn attributes(name: &X509Name<'_>) -> Option<Vec<(String, String)>> {
    let step = |step: &x509_parser::x509::RelativeDistinguishedName<'_>| {
        let mut attributes = step.iter();
        let (only, none) = (attributes.next()?, attributes.next());
        let text = only.as_str().ok()?;
        none.is_none().then(|| (only.attr_type().to_id_string(), text.to_owned()))
    };
    name.iter_rdn().map(step).collect()
}

/// Reads a distinguished name as RFC 4514 writes it: a backslash before a comma and the like that belongs to a value.
fn name(text: &str) -> Result<Vec<(String, String)>, NoSubject> {
    let mut steps = vec![String::new()];
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let step = steps.last_mut().ok_or(NoSubject("an empty name"))?;
        match c {
            '\\' => step.push(rest.next().ok_or(NoSubject("a backslash at the end"))?),
            ',' => steps.push(String::new()),
            '+' => return Err(NoSubject("a \"+\"; write a plus sign within a value as \"\\+\"")),
            c => step.push(c),
        }
    }
    steps.iter().map(|step| attribute(step)).collect()
}

fn attribute(step: &str) -> Result<(String, String), NoSubject> {
    let (kind, value) =
        step.split_once('=').ok_or(NoSubject("a part without \"=\"; write a comma as \"\\,\""))?;
    // openssl prints `O = Acme, CN = hooks`.
    let (kind, value) = (kind.trim(), value.trim());
    let dotted = kind.contains('.') && kind.chars().all(|c| c.is_ascii_digit() || c == '.');
    let known = ATTRIBUTES.iter().find(|(short, _)| short.eq_ignore_ascii_case(kind));
    let oid = match known {
        Some((_, oid)) => (*oid).to_owned(),
        None if dotted => kind.to_owned(),
        None => {
            return Err(NoSubject(
                "an attribute that is none of CN, O, OU, C, ST, L, STREET, DC, UID, E, SERIALNUMBER or an object identifier",
            ));
        }
    };
    if value.is_empty() {
        Err(NoSubject("an attribute without a value"))
    } else {
        Ok((oid, value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(String, String)> {
        match Subject::parse(text) {
            Ok(Subject::Name(parts)) => parts,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_kind_is_told_by_the_form() {
        assert_eq!(Subject::parse("Sender.Example"), Ok(Subject::Dns("sender.example".into())));
        assert_eq!(Subject::parse("*.a.example"), Ok(Subject::Dns("*.a.example".into())));
        assert_eq!(Subject::parse("spiffe://a/b?c=d"), Ok(Subject::Uri("spiffe://a/b?c=d".into())));
        assert_eq!(Subject::parse("ops@a.example"), Ok(Subject::Email("ops@a.example".into())));
        assert_eq!(Subject::parse("192.0.2.1"), Ok(Subject::Ip("192.0.2.1".parse().unwrap())));
        assert_eq!(named("CN=a"), [("2.5.4.3".into(), "a".into())]);
    }

    #[test]
    fn a_comma_that_belongs_to_a_value_is_escaped() {
        let parts = [("2.5.4.10".to_owned(), "Acme, Inc.".to_owned()), ("2.5.4.3".into(), "a=b+c".into())];
        assert_eq!(named("O=Acme\\, Inc.,cn=a=b\\+c"), parts);
        assert_eq!(named("2.5.4.10=Acme\\, Inc., 2.5.4.3=a=b\\+c"), parts);
        assert_eq!(named("O = Acme\\, Inc., CN = a=b\\+c"), parts);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a b", "@a", "a@", "CN=", "CN=a,b", "X=a", "CN=a\\", "CN=a+O=b", "=a", "a/b"] {
            assert!(Subject::parse(text).is_err(), "{text:?}");
        }
    }
}
