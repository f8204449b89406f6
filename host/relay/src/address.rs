//! Which addresses are the public network, and which never are.
//!
//! Owns the table of special ranges. Refuses to know policies: whether a special address may be
//! reached all the same is for a rule to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Of the public network.
    Public,
    /// Of a range that is reached only where it is named literally.
    Special {
        /// The narrowest such range that it lies in: a rule must lie within it to open it.
        range: IpNet,
        /// What the range is, for a sentence: "is WHAT".
        what: &'static str,
    },
}

/// IPv4, from the narrowest to the widest where they overlap. IANA's registry of special-purpose
/// addresses (RFC 6890 and what followed), and where clouds keep credentials.
const RANGES_V4: &[([u8; 4], u8, &str)] = &[
    ([169, 254, 169, 254], 32, "a cloud's metadata service"),
    ([169, 254, 170, 2], 32, "a cloud's metadata service"),
    ([169, 254, 170, 23], 32, "a cloud's metadata service"),
    ([100, 100, 100, 200], 32, "a cloud's metadata service"),
    ([192, 0, 0, 192], 32, "a cloud's metadata service"),
    ([168, 63, 129, 16], 32, "a cloud's metadata service"),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([0, 0, 0, 0], 8, "of this host or network"),
    ([10, 0, 0, 0], 8, "of a private network"),
    ([100, 64, 0, 0], 10, "of a provider's private network"),
    ([127, 0, 0, 0], 8, "the host's loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "of a private network"),
    ([192, 0, 0, 0], 24, "reserved for protocols"),
    ([192, 0, 2, 0], 24, "reserved for documentation"),
    ([192, 88, 99, 0], 24, "reserved for 6to4 relays"),
    ([192, 168, 0, 0], 16, "of a private network"),
    ([198, 18, 0, 0], 15, "reserved for benchmarks"),
    ([198, 51, 100, 0], 24, "reserved for documentation"),
    ([203, 0, 113, 0], 24, "reserved for documentation"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// IPv6, likewise. What is not within `2000::/3` is not public, whether it stands here or not.
const RANGES_V6: &[([u16; 8], u8, &str)] = &[
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, "a cloud's metadata service"),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, "a cloud's metadata service"),
    ([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, "a cloud's metadata service"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "the host's loopback"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "translated to a local IPv4 network (NAT64)"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discarded"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "an IPv4 address in IPv6 form"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "carried over IPv4 (Teredo)"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "reserved for documentation"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "reserved for protocols"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "carried over IPv4 (6to4)"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "reserved for documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "reserved for segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "of a private network"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "of a private network"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address"),
];

/// The well-known prefix of NAT64 (RFC 6052): what stands behind it is in its last four bytes.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The one form in which an address is judged and connected to: an IPv4 address in IPv6 clothes
/// (`::ffff:192.0.2.1`) is that IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What an address is, given the host's own ones.
///
/// It is judged in its canonical form. An address of NAT64's well-known prefix is what stands behind
/// it: on a network without IPv4 that is how public servers are reached; where that is special, only
/// a rule with this very address opens it.
pub fn classify(address: IpAddr, own: &[IpAddr]) -> Class {
    let address = canonical(address);
    let alone = |what| Class::Special { range: address.into(), what };
    let special = |range: IpNet, what| Class::Special { range, what };
    let is_loopback = address.is_loopback();
    if !is_loopback && own.iter().any(|own| canonical(*own) == address) {
        return alone("the host's own address");
    }
    match address {
        IpAddr::V4(_) => {
            let found = RANGES_V4.iter().find_map(|&(base, length, what)| {
                let range = range(Ipv4Addr::from(base).into(), length)?;
                range.contains(&address).then_some(special(range, what))
            });
            found.unwrap_or(Class::Public)
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            if segments[..6] == NAT64 {
                let behind =
                    Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
                return match classify(behind.into(), own) {
                    Class::Public => Class::Public,
                    Class::Special { what, .. } => alone(what),
                };
            }
            let found = RANGES_V6.iter().find_map(|&(base, length, what)| {
                let range = range(Ipv6Addr::from(base).into(), length)?;
                range.contains(&address).then_some(special(range, what))
            });
            match found {
                Some(class) => class,
                None if segments[0] & 0xe000 == 0x2000 => Class::Public,
                None => alone("not of the public network"),
            }
        }
    }
}

fn range(base: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(base, length).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(address: &str) -> Class {
        classify(address.parse().unwrap(), &["198.41.0.4".parse().unwrap()])
    }

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.3",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "198.41.0.4",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "64:ff9b::198.41.0.4",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "1::1",
            "64:ff9c::1",
            "e000::1",
        ] {
            assert!(matches!(class(address), Class::Special { .. }), "{address}");
        }
    }

    #[test]
    fn all_else_is_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2a00::1",
            "3ffe::1",
        ] {
            assert_eq!(class(address), Class::Public, "{address}");
        }
    }

    #[test]
    fn the_narrowest_range_counts() {
        let range = |address: &str| match class(address) {
            Class::Special { range, .. } => range.to_string(),
            Class::Public => "public".to_owned(),
        };
        assert_eq!(range("169.254.169.254"), "169.254.169.254/32");
        assert_eq!(range("169.254.1.1"), "169.254.0.0/16");
        assert_eq!(range("100.100.100.200"), "100.100.100.200/32");
        assert_eq!(range("198.41.0.4"), "198.41.0.4/32");
        assert_eq!(range("64:ff9b::10.0.0.1"), "64:ff9b::a00:1/128");
        assert_eq!(range("fd00:ec2::254"), "fd00:ec2::254/128");
    }

    proptest! {
        #[test]
        fn an_address_is_the_same_in_ipv6_clothes(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(
                classify(v4.into(), &[]),
                classify(v4.to_ipv6_mapped().into(), &[])
            );
        }

        #[test]
        fn a_special_range_holds_its_address(bits: u128) {
            let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
            if let Class::Special { range, .. } = classify(address, &[]) {
                prop_assert!(range.contains(&canonical(address)));
            }
        }
    }
}
