//! What callers of a gateway need: an address to call for one that is listened on, and secrets from variables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zeroize::Zeroizing;

use super::args::ConfigArgs;
use super::http::Url;
use super::stop::Stop;
use crate::config::{self, Admin, AdminTokens, Report};
use crate::exit;
use crate::provider::secret::Environment;

/// A secret's bytes, wiped when dropped.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// The secret in the environment variable `name`, which the option `flag` names.
///
/// # Errors
/// Where it is not set, or empty.
pub(super) fn variable(flag: &str, name: &str) -> Result<Secret, Stop> {
    match Environment::of_process().get(name) {
        Some(value) if !value.is_empty() => Ok(Zeroizing::new(value.as_encoded_bytes().to_vec())),
        _ => Err(Stop::usage(format!("{flag} {name}: this variable is not set, or empty"))),
    }
}

/// An address to call, for one that is listened on.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Whose configured token is sent, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A worker's, else the operator's.
    Worker,
    /// The operator's.
    Operator,
    /// None.
    Anyone,
}

/// The admin listener and its token: what the command line says, then the configuration, then the defaults. What else a
/// configuration holds may be broken: a worker's machine lacks the sources' secrets.
///
/// # Errors
/// Where what the command line names is not there, or the configuration's word on this listener cannot be read: a guess
/// could call another gateway.
pub(super) fn admin_listener(
    role: Role,
    from: Option<&str>,
    token: Option<&str>,
    config: ConfigArgs,
) -> Result<(Url, Option<Secret>), Stop> {
    let token = token.map(|name| variable("--token-env", name)).transpose()?;
    let found = match (config.is_given(), from) {
        (false, Some(_)) => None,
        _ => Some(config::admin_access(&config.input()).map_err(|report| unread(&report, "--from URL"))?),
    };
    let listen = found.as_ref().map(|found| found.listen);
    // A port of the system's choice is not in the configuration.
    let listen = listen.filter(|listen| listen.port() != 0).unwrap_or(Admin::default().listen);
    let url = from.map_or_else(|| format!("http://{}", reachable(listen)), str::to_owned);
    let url = Url::parse_like(&url, "http://127.0.0.1:9090").map_err(Stop::usage)?;
    if token.is_some() || role == Role::Anyone {
        return Ok((url, token));
    }
    let Some(found) = found else { return Ok((url, None)) };
    let AdminTokens { operator, reader, worker } = found.tokens;
    // Who is given no more than to look can look.
    let configured = if role == Role::Worker { worker.or(operator) } else { operator.or(reader) };
    if configured.is_none() && !found.unread.is_empty() {
        return Err(unread(&found.unread, "--token-env NAME"));
    }
    Ok((url, configured.map(|token| Zeroizing::new(token.expose().to_vec()))))
}

/// Tells what of the configuration cannot be read, and which option does without it.
fn unread(report: &Report, option: &str) -> Stop {
    eprintln!("{report}; {option} does without");
    Stop::told(exit::CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_called_on_loopback() {
        for (listen, called) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), called);
        }
    }
}
