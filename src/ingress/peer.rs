//! Who calls: the socket's address, or what trusted proxies say of it.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks whose `X-Forwarded-For` is believed; empty by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` is one of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the caller: from the right of the `X-Forwarded-For` lines, the first that is no trusted proxy.
    /// What stands further left was written by that caller and counts for nothing.
    pub fn caller(&self, socket: IpAddr, forwarded_for: &[&[u8]]) -> IpAddr {
        let mut caller = socket.to_canonical();
        let mut hops = forwarded_for.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.contains(caller) {
            let hop =
                hops.next().and_then(|hop| std::str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok());
            let Some(hop) = hop else { break };
            caller = hop.to_canonical();
        }
        caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: &[&str], socket: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let lines: Vec<&[u8]> = forwarded.iter().map(|line| line.as_bytes()).collect();
        proxies.caller(socket.parse().unwrap(), &lines).to_string()
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies_and_from_the_right() {
        assert_eq!(caller(&[], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        let trusted = &["10.0.0.0/8"];
        assert_eq!(caller(trusted, "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(caller(trusted, "10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.9"]), "198.51.100.7");
        assert_eq!(caller(trusted, "10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.9"]), "198.51.100.7");
        assert_eq!(caller(trusted, "::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(caller(trusted, "10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(caller(trusted, "10.0.0.1", &[]), "10.0.0.1");
    }
}
