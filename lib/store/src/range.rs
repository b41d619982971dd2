//! Ranges of addresses: which of a subnet's addresses may be handed out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// A range of one subnet, without the addresses that are never handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    subnet: IpNetwork,
    start: u128,
    end: u128,
    gateway: Option<IpAddr>,
    /// Disjoint, ascending, both ends included.
    segments: Vec<(u128, u128)>,
}

/// Why a range cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Bits behind the prefix are set.
    #[error("has host bits set; the network is {0}")]
    HostBits(IpNetwork),
    /// An address is of another subnet.
    #[error("{0} is not in the subnet")]
    Outside(IpAddr),
    /// The gateway is of the other family.
    #[error("{0} is of the other family")]
    OtherFamily(IpAddr),
    /// The end is before the start.
    #[error("rangeStart is after rangeEnd")]
    Reversed,
    /// Nothing is left.
    #[error("has no address to hand out")]
    Empty,
}

pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        // Numbers come from addresses of the same family: they fit.
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

fn last_of(network: &IpNetwork) -> u128 {
    let bits = if network.is_ipv4() { 32 } else { 128 };
    let host_bits = bits - u32::from(network.prefix());
    let mask = if host_bits == 128 {
        u128::MAX
    } else {
        (1u128 << host_bits) - 1
    };
    number(network.network()) | mask
}

/// What is left from `first` to `last` between cuts, which are in order.
fn between(first: u128, last: u128, cuts: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut segments = Vec::new();
    let mut next = first;
    for (from, to) in cuts {
        if *from > last {
            break;
        }
        if next < *from {
            segments.push((next, from - 1));
        }
        match to.checked_add(1) {
            Some(after) => next = next.max(after),
            None => return segments,
        }
    }
    if next <= last {
        segments.push((next, last));
    }
    segments
}

impl Range {
    /// A range of `subnet` from `start` to `end`, without `gateway` and `exclude`.
    ///
    /// Defaults are the reference's: everything but the network and (IPv4) broadcast addresses, and
    /// the first address as gateway. Neither of the two is given away if `start` or `end` names it, either. A subnet
    /// of one or two addresses has neither network nor broadcast address (RFC 3021, RFC 6164); one of a single
    /// address has no default gateway. A gateway may be in another subnet, or a link-local one.
    ///
    /// # Errors
    /// Any [`RangeError`].
    pub fn new(
        subnet: IpNetwork,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
        exclude: &[IpNetwork],
    ) -> Result<Self, RangeError> {
        if subnet.ip() != subnet.network() {
            let network = IpNetwork::new(subnet.network(), subnet.prefix());
            return Err(RangeError::HostBits(network.unwrap_or(subnet)));
        }
        let (first, last) = (number(subnet.network()), last_of(&subnet));
        let inside = |ip: IpAddr| {
            if subnet.contains(ip) {
                Ok(number(ip))
            } else {
                Err(RangeError::Outside(ip))
            }
        };
        let size = last - first;
        let (low, high) = match size {
            0 | 1 => (first, last),
            _ if subnet.is_ipv4() => (first + 1, last - 1),
            _ => (first + 1, last),
        };
        let start = start.map(inside).transpose()?.unwrap_or(low);
        let end = end.map(inside).transpose()?.unwrap_or(high);
        if start > end {
            return Err(RangeError::Reversed);
        }
        let gateway = match gateway {
            Some(ip) if ip.is_ipv4() == subnet.is_ipv4() => Some(ip),
            Some(ip) => return Err(RangeError::OtherFamily(ip)),
            None if size == 0 => None,
            None => Some(address(low, subnet.is_ipv4())),
        };
        let own_gateway = gateway.filter(|ip| subnet.contains(*ip));
        let mut cuts: Vec<(u128, u128)> = exclude
            .iter()
            .filter(|network| network.is_ipv4() == subnet.is_ipv4())
            .map(|network| (number(network.network()), last_of(network)))
            .chain(own_gateway.map(|ip| (number(ip), number(ip))))
            .collect();
        cuts.sort_unstable();
        // The network's address and its broadcast address stay out, also where they are named.
        let segments = between(start.max(low), end.min(high), &cuts);
        if segments.is_empty() {
            return Err(RangeError::Empty);
        }
        Ok(Self {
            subnet,
            start,
            end,
            gateway,
            segments,
        })
    }

    /// The prefix that the range is a part of.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// The address that is never handed out, if the range has a router.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The first address that may be handed out.
    pub fn first(&self) -> Option<IpAddr> {
        self.next_at(0)
    }

    /// Whether the address may be handed out.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let wanted = number(ip);
        ip.is_ipv4() == self.subnet.is_ipv4()
            && self
                .segments
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&wanted))
    }

    /// Whether two ranges have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.subnet.is_ipv4() == other.subnet.is_ipv4()
            && self.start <= other.end
            && other.start <= self.end
    }

    /// The first address at or after `from` that may be handed out.
    pub(crate) fn next_at(&self, from: u128) -> Option<IpAddr> {
        self.segments
            .iter()
            .find(|(_, high)| *high >= from)
            .map(|(low, _)| address(from.max(*low), self.subnet.is_ipv4()))
    }

    /// How many addresses may be handed out.
    pub fn capacity(&self) -> u128 {
        self.segments
            .iter()
            .map(|(low, high)| (high - low).saturating_add(1))
            .sum()
    }

    /// A name that changes with the range's limits.
    pub(crate) fn cursor_name(&self) -> String {
        format!("{}-{:x}-{:x}", self.subnet, self.start, self.end)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ip = |n| address(n, self.subnet.is_ipv4());
        write!(f, "{} ({}-{})", self.subnet, ip(self.start), ip(self.end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(subnet: &str) -> Range {
        Range::new(subnet.parse().unwrap(), None, None, None, &[]).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn defaults_are_the_references() {
        let v4 = range("10.1.0.0/24");
        assert_eq!((v4.gateway(), v4.capacity()), (Some(ip("10.1.0.1")), 253));
        assert!(!v4.contains(ip("10.1.0.0")) && !v4.contains(ip("10.1.0.255")));
        assert!(!v4.contains(ip("10.1.0.1")) && v4.contains(ip("10.1.0.2")));
        let v6 = range("fd00::/64");
        assert_eq!(v6.gateway(), Some(ip("fd00::1")));
        assert_eq!(v6.capacity(), (1u128 << 64) - 2);
    }

    #[test]
    fn the_smallest_subnets_work() {
        assert_eq!(range("10.0.0.0/31").capacity(), 1);
        assert_eq!(range("10.0.0.0/31").next_at(0), Some(ip("10.0.0.1")));
        assert_eq!(
            (
                range("10.0.0.7/32").capacity(),
                range("10.0.0.7/32").gateway()
            ),
            (1, None)
        );
        assert_eq!(range("fd00::/127").next_at(0), Some(ip("fd00::1")));
        assert_eq!(range("::/0").capacity(), u128::MAX - 1);
    }

    #[test]
    fn the_ends_of_a_subnet_are_never_given_away() {
        let new = |subnet: &str, start: &str, end: &str| {
            let subnet = subnet.parse().unwrap();
            Range::new(subnet, Some(ip(start)), Some(ip(end)), None, &[])
        };
        let last = new("10.1.0.0/24", "10.1.0.252", "10.1.0.255").unwrap();
        assert_eq!(
            (last.capacity(), last.contains(ip("10.1.0.255"))),
            (3, false)
        );
        let first = new("10.1.0.128/25", "10.1.0.128", "10.1.0.131").unwrap();
        assert_eq!(first.next_at(0), Some(ip("10.1.0.130")));
        let only = new("10.1.0.0/24", "10.1.0.255", "10.1.0.255");
        assert_eq!(only.unwrap_err(), RangeError::Empty);
        let anycast = new("fd00::/64", "fd00::", "fd00::3").unwrap();
        assert_eq!(anycast.next_at(0), Some(ip("fd00::2")));
        assert_eq!(
            new("10.1.0.0/31", "10.1.0.0", "10.1.0.1")
                .unwrap()
                .capacity(),
            1
        );
    }

    #[test]
    fn a_gateway_may_be_elsewhere() {
        let new = |subnet: &str, gateway: &str| {
            Range::new(subnet.parse().unwrap(), None, None, Some(ip(gateway)), &[])
        };
        let local = new("2001:db8::/64", "fe80::1").unwrap();
        assert_eq!(local.gateway(), Some(ip("fe80::1")));
        assert!(local.contains(ip("2001:db8::1:0")));
        assert_eq!(new("10.1.0.0/24", "192.0.2.1").unwrap().capacity(), 254);
        let other = new("10.1.0.0/24", "fe80::1");
        assert_eq!(other.unwrap_err(), RangeError::OtherFamily(ip("fe80::1")));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let new = |subnet: &str, start: Option<&str>, end: Option<&str>| {
            Range::new(
                subnet.parse().unwrap(),
                start.map(ip),
                end.map(ip),
                None,
                &[],
            )
            .unwrap_err()
        };
        assert_eq!(
            new("10.0.0.1/24", None, None).to_string(),
            "has host bits set; the network is 10.0.0.0/24"
        );
        assert_eq!(
            new("10.0.0.0/24", Some("10.1.0.1"), None),
            RangeError::Outside(ip("10.1.0.1"))
        );
        assert_eq!(
            new("10.0.0.0/24", Some("10.0.0.9"), Some("10.0.0.8")),
            RangeError::Reversed
        );
        let all = ["10.0.0.0/30".parse().unwrap()];
        let none = Range::new(all[0], None, None, None, &all);
        assert_eq!(none.unwrap_err(), RangeError::Empty);
    }

    proptest! {
        #[test]
        fn excluded_addresses_are_never_next(
            excluded in proptest::collection::vec((0u8..=255, 28u8..=32), 0..6), from in 0u8..=255
        ) {
            let exclude: Vec<IpNetwork> = excluded
                .into_iter()
                .map(|(host, prefix)| IpNetwork::new([10, 0, 0, host].into(), prefix).unwrap())
                .collect();
            let subnet = "10.0.0.0/24".parse().unwrap();
            let Ok(range) = Range::new(subnet, None, None, None, &exclude) else { return Ok(()) };
            if let Some(next) = range.next_at(number([10, 0, 0, from].into())) {
                prop_assert!(range.contains(next));
                prop_assert!(exclude.iter().all(|network| !network.contains(next)));
                prop_assert!(number(next) >= number([10, 0, 0, from].into()));
            }
            let counted = (0..=255u8).filter(|h| range.contains([10, 0, 0, *h].into())).count();
            prop_assert_eq!(range.capacity(), counted as u128);
        }
    }
}
