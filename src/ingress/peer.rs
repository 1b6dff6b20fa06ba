//! Who calls: the socket's address, or what trusted proxies say of it; and a word to operators who forgot to trust theirs.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use ipnet::IpNet;

use crate::addresses::Addresses;

/// Networks whose `X-Forwarded-For` is believed; empty by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Addresses);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(Addresses::new(networks))
    }

    /// Whether `address` is one of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address of the caller: from the right of the `X-Forwarded-For` lines, the first that is no trusted proxy.
    /// What stands further left was written by that caller and counts for nothing.
    pub fn caller<'l>(
        &self,
        socket: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'l [u8]>,
    ) -> IpAddr {
        let mut caller = socket.to_canonical();
        let mut hops = forwarded_for.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.0.contains(caller) {
            let Some(hop) = hops.next().and_then(address) else { break };
            caller = hop.to_canonical();
        }
        caller
    }
}

/// The address of a hop, as proxies write it: bare, in brackets, or with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare)
}

/// Requests that are looked at before anything is said.
const LOOKED_AT: u32 = 500;
/// How many of a hundred are nearly all.
const NEARLY_ALL: u32 = 95;

/// Notices a proxy that nobody trusts: nearly all requests come from one private address, with `X-Forwarded-For`.
/// Without that trust every caller has the proxy's address, in the log, in lists of addresses and in limits.
#[derive(Debug, Default)]
pub(super) struct ProxyNotice {
    told: AtomicBool,
    seen: AtomicU32,
    alike: AtomicU32,
    /// The first such address of this round, as a number that is never 0; 0 while there was none.
    first: AtomicU64,
}

impl ProxyNotice {
    /// A request of `socket`; true once, when it is time to tell. Threads may miscount each other's round by a few
    /// requests, which changes nothing of what is nearly all.
    pub(super) fn is_due(&self, socket: IpAddr, forwarded: bool) -> bool {
        if self.told.load(Ordering::Relaxed) {
            return false;
        }
        let socket = socket.to_canonical();
        let like_a_proxy = forwarded && is_private(socket);
        if like_a_proxy {
            let number = number(socket);
            let first = self.first.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            if first.is_ok() || first == Err(number) {
                self.alike.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 < LOOKED_AT {
            return false;
        }
        let nearly_all = self.alike.load(Ordering::Relaxed) >= LOOKED_AT * NEARLY_ALL / 100;
        if like_a_proxy && nearly_all && self.first.load(Ordering::Relaxed) == number(socket) {
            return !self.told.swap(true, Ordering::Relaxed);
        }
        if !nearly_all {
            self.seen.store(0, Ordering::Relaxed);
            self.alike.store(0, Ordering::Relaxed);
            self.first.store(0, Ordering::Relaxed);
        }
        false
    }
}

/// An address in 64 bits: IPv4 whole, of IPv6 both halves over each other.
fn number(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => 1 << 32 | u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            ((bits >> 64) as u64 ^ bits as u64).max(1)
        }
    }
}

/// Whether an address is of this machine or of a private network (RFC 1918, 6598, 4193), as those of proxies are.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: &[&str], socket: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let lines = forwarded.iter().map(|line| line.as_bytes());
        proxies.caller(socket.parse().unwrap(), lines).to_string()
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies_and_from_the_right() {
        assert_eq!(caller(&[], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        let trusted = &["10.0.0.0/8"];
        assert_eq!(caller(trusted, "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(caller(trusted, "10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.9"]), "198.51.100.7");
        assert_eq!(caller(trusted, "10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.9"]), "198.51.100.7");
        assert_eq!(caller(trusted, "::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(caller(trusted, "10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(caller(trusted, "10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(caller(trusted, "10.0.0.1", &["198.51.100.7,"]), "10.0.0.1");
        assert_eq!(caller(trusted, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_hop_may_have_a_port_or_brackets() {
        let trusted = &["10.0.0.0/8"];
        for (hop, told) in [
            ("198.51.100.7:443", "198.51.100.7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("198.51.100.7:", "10.0.0.1"),
            ("198.51.100.7:443:1", "10.0.0.1"),
            ("[198.51.100.7", "10.0.0.1"),
            ("198.51.100.7\u{0}", "10.0.0.1"),
        ] {
            assert_eq!(caller(trusted, "10.0.0.1", &[hop]), told, "{hop:?}");
        }
    }

    /// After which of `requests` it was told, counted from 1.
    fn told(requests: impl Iterator<Item = (&'static str, bool)>) -> Vec<usize> {
        let notice = ProxyNotice::default();
        let due = |(socket, forwarded): (&str, bool)| notice.is_due(socket.parse().unwrap(), forwarded);
        requests.map(due).enumerate().filter(|(_, due)| *due).map(|(at, _)| at + 1).collect()
    }

    #[test]
    fn a_proxy_that_nobody_trusts_is_told_of_once() {
        let all = |socket| std::iter::repeat_n((socket, true), 2_000);
        assert_eq!(told(all("10.0.0.1")), [500]);
        assert_eq!(told(all("::ffff:10.0.0.1")), [500]);
        assert_eq!(told(all("fd00::1")), [500]);
        assert_eq!(told((0..2_000).map(|at| ("10.0.0.1", at % 25 != 0))), [500], "4 of a hundred are probes");
        assert!(told(all("198.51.100.7")).is_empty(), "who is not private is no proxy of ours");
        assert!(told(std::iter::repeat_n(("10.0.0.1", false), 2_000)).is_empty());
        assert!(told((0..2_000).map(|at| (["10.0.0.1", "10.0.0.2"][at % 2], true))).is_empty());
        assert!(told((0..2_000).map(|at| ("10.0.0.1", at % 10 != 0))).is_empty());
        let later = std::iter::repeat_n(("198.51.100.7", false), 700).chain(all("127.0.0.1"));
        assert_eq!(told(later).len(), 1, "what came before does not hide it for ever");
    }
}
