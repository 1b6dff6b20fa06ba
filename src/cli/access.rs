//! What callers of a gateway need: an address to call for one that is listened on, and secrets from variables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zeroize::Zeroizing;

use super::stop::Stop;
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
