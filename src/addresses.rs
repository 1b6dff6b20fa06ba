//! Sets of IP addresses: networks merged into ranges once, and asked for each request without an allocation.
//!
//! It knows no proxies and no headers: whose address is asked for, its caller knows. IPv4 written as IPv6 counts as IPv4,
//! in a network as in an address that is looked for.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Bits of an IPv6 address in front of an IPv4 one that is written as such.
const MAPPED_BITS: u8 = 96;

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// First and last address of each range; in order, and no two touch.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// An address or a network as people write it: `192.0.2.0/24`, `2001:db8::/32`, `203.0.113.7`. None where it is neither, or
/// has bits set beyond its prefix, since nobody can say which half of it is the slip. IPv4 written as IPv6 comes
/// back as IPv4.
pub fn network(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    (net.trunc() == net).then(|| canonical(net))
}

/// What addresses of one party have in common, where they are counted: IPv4 whole, of IPv6 the /64 that providers give
/// to each customer, within which one can call from any.
pub fn one_party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        v4 => v4,
    }
}

fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let bits = v6.prefix_len().checked_sub(MAPPED_BITS);
    let mapped = v6.addr().to_ipv4_mapped().zip(bits);
    mapped.and_then(|(v4, bits)| IpNet::new(v4.into(), bits).ok()).unwrap_or(net)
}

impl Addresses {
    /// The addresses of all these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut all = Self::default();
        for network in networks {
            match canonical(network) {
                IpNet::V4(net) => all.v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => all.v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        all.v4 = merged(all.v4, |last| last.checked_add(1));
        all.v6 = merged(all.v6, |last| last.checked_add(1));
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, u32::from(address)),
            IpAddr::V6(address) => holds(&self.v6, u128::from(address)),
        }
    }
}

/// The ranges in order, those that overlap or touch made one.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut whole: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match whole.last_mut() {
            Some(before) if next(before.1).is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => whole.push((first, last)),
        }
    }
    whole
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Addresses {
        Addresses::new(networks.iter().map(|text| network(text).unwrap_or_else(|| panic!("{text}"))))
    }

    fn has(networks: &[&str], address: &str) -> bool {
        set(networks).contains(address.parse().unwrap())
    }

    #[test]
    fn a_set_has_the_addresses_of_its_networks_and_no_other() {
        let nets = &["192.0.2.0/24", "2001:db8::/32", "203.0.113.7"];
        for inside in [
            "192.0.2.0",
            "192.0.2.255",
            "203.0.113.7",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(has(nets, inside), "{inside}");
        }
        for outside in
            ["192.0.1.255", "192.0.3.0", "203.0.113.6", "203.0.113.8", "2001:db7:ffff::", "2001:db9::", "::1"]
        {
            assert!(!has(nets, outside), "{outside}");
        }
        assert!(!has(&[], "192.0.2.1"));
    }

    #[test]
    fn ipv4_written_as_ipv6_is_ipv4_on_both_sides() {
        assert!(has(&["192.0.2.0/24"], "::ffff:192.0.2.9"));
        assert!(has(&["::ffff:192.0.2.0/120"], "192.0.2.9"));
        assert!(has(&["::ffff:192.0.2.9"], "::ffff:192.0.2.9"));
        assert!(!has(&["::ffff:192.0.2.0/120"], "192.0.3.9"));
        assert!(!has(&["::/0"], "192.0.2.9") && !has(&["0.0.0.0/0"], "2001:db8::1"));
        assert!(has(&["0.0.0.0/0"], "255.255.255.255") && has(&["::/0"], "::1"));
    }

    #[test]
    fn networks_that_overlap_or_touch_are_one_range() {
        let nets =
            &["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.3.0/24", "255.255.255.255", "2001:db8::/32"];
        let all = set(nets);
        assert_eq!(all.v4.len(), 3);
        assert_eq!(all.v4[0], (0x0a00_0000, 0x0a00_01ff));
        assert_eq!(set(&["0.0.0.0/0", "10.0.0.0/8", "255.0.0.0/8"]).v4, [(0, u32::MAX)]);
        assert_eq!(set(&["::/0", "2001:db8::/32"]).v6, [(0, u128::MAX)]);
    }

    #[test]
    fn slips_are_no_network() {
        for text in
            ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "host", "10.0.0.0/", "::ffff:192.0.2.9/120", "1"]
        {
            assert_eq!(network(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_set_says_what_each_of_its_networks_says(
            nets in proptest::collection::vec((proptest::prelude::any::<u32>(), 0_u8..=32), 0..40),
            bits in proptest::prelude::any::<u32>(),
        ) {
            let net = |(bits, prefix): &(u32, u8)| IpNet::new(IpAddr::V4((*bits).into()), *prefix).unwrap().trunc();
            let nets: Vec<IpNet> = nets.iter().map(net).collect();
            let address = IpAddr::V4(bits.into());
            let wanted = nets.iter().any(|net| net.contains(&address));
            proptest::prop_assert_eq!(Addresses::new(nets).contains(address), wanted);
        }
    }
}
