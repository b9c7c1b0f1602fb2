//! Which of a resolver's answers may be connected to: a name whose answers are forged must not lead into the own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which addresses a name may resolve to. An address that the configuration names itself is always used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PrivateAddresses {
    /// Any.
    #[default]
    Allow,
    /// Only those that can be reached from everywhere.
    Refuse,
}

impl PrivateAddresses {
    /// True if this address may be connected to.
    pub fn permits(self, address: SocketAddr) -> bool {
        self == Self::Allow || is_global(address.ip())
    }
}

/// Whether an address can be reached from everywhere: not one of IANA's special-purpose blocks (RFC 6890) that cannot, nor
/// multicast, nor an IPv6 address that only carries such an IPv4 address.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // "This network", shared with a carrier (RFC 6598), protocol assignments, benchmarks (RFC 2544), reserved.
        [0 | 240..=255, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [100, 64..=127, ..] => true,
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_global_v4(mapped);
    }
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_global_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Translated (RFC 6052) and tunnelled (RFC 3056): as good as the address within.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // Documentation (RFC 3849 and 9637).
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Protocol assignments, Teredo among them.
        [0x2001, 0..=0x1ff, ..] => false,
        // Global unicast is all of 2000::/3 that is left; the rest is local, multicast, or not given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_reached_from_everywhere_is_public() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("198.51.99.1", true),
            ("100.63.255.255", true),
            ("172.32.0.1", true),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("192.0.0.8", false),
            ("192.0.2.7", false),
            ("198.19.255.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1", true),
            ("64:ff9b::8.8.8.8", true),
            ("2002:808:808::1", true),
            ("::ffff:8.8.8.8", true),
            ("::1", false),
            ("::", false),
            ("::127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::8.8.8.8", false),
            ("2002:a00:1::1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("3fff:fff::1", false),
        ] {
            let parsed = SocketAddr::new(address.parse().unwrap(), 443);
            let permits = PrivateAddresses::Refuse.permits(parsed);
            assert_eq!(permits, public, "{address}");
            assert!(PrivateAddresses::Allow.permits(parsed));
        }
    }
}
