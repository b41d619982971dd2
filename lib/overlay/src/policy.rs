//! Which prefixes of other hosts are taken.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::config::{Mode, Overlay, Peer};

/// Whether all addresses of `inner` are among those of `outer`.
pub fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.is_ipv4() == inner.is_ipv4()
        && outer.prefix() <= inner.prefix()
        && outer.contains(inner.ip())
}

/// Whether two prefixes share an address.
pub fn overlaps(one: IpNetwork, other: IpNetwork) -> bool {
    contains(one, other) || contains(other, one)
}

/// Whether an address is that of a host of a subnet: not all hosts', and not none's.
fn is_host_of(subnet: IpNetwork, ip: IpAddr) -> bool {
    let is_edge = match subnet {
        IpNetwork::V4(v4) => v4.prefix() < 31 && (ip == v4.network() || ip == v4.broadcast()),
        IpNetwork::V6(v6) => ip == v6.network(),
    };
    subnet.contains(ip) && !is_edge
}

/// Why a prefix is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// This host has no overlay with that VNI, or the peer has no part in it.
    UnknownOverlay,
    /// `deny` has it, or `allow` has it not.
    Policy,
    /// It is this host's.
    Own,
    /// The file gives the peer other subnets.
    NotTheirs,
    /// Packets between the hosts themselves would take it.
    Underlay,
    /// Its next hop is not an address in the overlay, or it is this host's.
    NextHop,
    /// The peer does not say what a routed overlay needs.
    NotRouted,
    /// The two hosts have the overlay in different modes.
    OtherMode,
    /// Another host has containers in the same range of addresses.
    SharedRange,
    /// More routes than one host may announce.
    TooMany,
}

impl Refusal {
    /// As a word, for figures.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownOverlay => "unknown_overlay",
            Self::Policy => "policy",
            Self::Own => "own_prefix",
            Self::NotTheirs => "not_theirs",
            Self::Underlay => "underlay",
            Self::NextHop => "next_hop",
            Self::NotRouted => "not_routed",
            Self::OtherMode => "other_mode",
            Self::SharedRange => "shared_range",
            Self::TooMany => "too_many",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownOverlay => "the two hosts do not share an overlay with that VNI",
            Self::Policy => "routing.import does not take it",
            Self::Own => "it overlaps with a prefix of this host",
            Self::NotTheirs => "it is in none of the peer's subnets",
            Self::Underlay => "it has underlay addresses of hosts: tunnel packets would go into the tunnel",
            Self::NextHop => "its next hop is no address of another host in the overlay",
            Self::NotRouted => {
                "the peer does not tell its MAC and gateways, which mode = \"routed\" needs: n-netman's hosts can be peers with mode = \"l2\""
            }
            Self::OtherMode => "the overlay has another mode there",
            Self::SharedRange => "containers there have addresses of the same range as here",
            Self::TooMany => "it announces more routes than one host may",
        })
    }
}

/// What is this host's, and between hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Prefixes that this host announces.
    pub prefixes: Vec<IpNetwork>,
    /// Underlay addresses of all hosts.
    pub endpoints: Vec<IpAddr>,
}

/// Whether a route of a peer may be installed.
///
/// # Errors
/// Why not.
pub fn judge(
    overlay: &Overlay,
    peer: &Peer,
    home: &Home,
    prefix: IpNetwork,
    next_hop: IpAddr,
) -> Result<(), Refusal> {
    if !peer.is_in(overlay.vni) {
        return Err(Refusal::UnknownOverlay);
    }
    let import = &overlay.routing.import;
    if import.deny.iter().any(|one| overlaps(*one, prefix)) {
        return Err(Refusal::Policy);
    }
    let mut allowed = overlay.networks.iter().chain(&import.allow);
    if !import.accept_all && !allowed.any(|one| contains(*one, prefix)) {
        return Err(Refusal::Policy);
    }
    let subnets = overlay.subnets();
    let mut mine = home.prefixes.iter().chain(&subnets);
    // The host's own subnets would leave by a default route: its table comes before the main one.
    if prefix.prefix() == 0 {
        return Err(Refusal::Policy);
    }
    if mine.any(|one| overlaps(*one, prefix)) {
        return Err(Refusal::Own);
    }
    if home.endpoints.iter().any(|one| prefix.contains(*one)) {
        return Err(Refusal::Underlay);
    }
    let is_theirs = |one: &IpNetwork| contains(*one, prefix);
    if !peer.subnets.is_empty() && !peer.subnets.iter().any(is_theirs) {
        return Err(Refusal::NotTheirs);
    }
    if next_hop.is_ipv4() != prefix.is_ipv4() {
        return Err(Refusal::NextHop);
    }
    let is_mine = overlay.addresses().iter().any(|one| one.ip() == next_hop);
    let is_inside = match overlay.mode {
        Mode::L2 => subnets.iter().any(|one| is_host_of(*one, next_hop)),
        Mode::Routed => {
            let is_here = subnets.iter().any(|one| one.contains(next_hop));
            !is_here && overlay.networks.iter().any(|one| one.contains(next_hop))
        }
    };
    match is_inside && !is_mine {
        true => Ok(()),
        false => Err(Refusal::NextHop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overlays;

    fn verdict(keys: &str, prefix: &str, next_hop: &str) -> Result<(), Refusal> {
        let text = format!(
            "[[overlay]]\nvni = 7\nbridge = {{ name = \"br7\", ipv4 = \"10.7.0.1/24\" }}\n{keys}\n\
             [[peer]]\nid = \"b\"\naddress = \"192.0.2.2\"\n"
        );
        let all: Overlays = toml::from_str(&text).unwrap();
        let home = Home {
            prefixes: vec!["10.200.0.0/16".parse().unwrap()],
            endpoints: vec!["192.0.2.2".parse().unwrap()],
        };
        judge(
            &all.overlay[0],
            &all.peer[0],
            &home,
            prefix.parse().unwrap(),
            next_hop.parse().unwrap(),
        )
    }

    #[test]
    fn first_what_is_denied_then_what_is_allowed() {
        let some = "routing.import = { allow = [\"172.16.0.0/12\"], deny = [\"172.16.5.0/24\"] }";
        let all = "routing.import = { accept_all = true, deny = [\"172.16.5.0/24\"] }";
        for (keys, prefix, is) in [
            ("", "172.16.1.0/24", Err(Refusal::Policy)),
            (some, "172.16.1.0/24", Ok(())),
            (some, "172.16.0.0/12", Err(Refusal::Policy)),
            (some, "172.0.0.0/8", Err(Refusal::Policy)),
            (some, "172.16.5.128/25", Err(Refusal::Policy)),
            (some, "192.168.0.0/24", Err(Refusal::Policy)),
            (all, "192.168.0.0/24", Ok(())),
            (all, "172.16.0.0/16", Err(Refusal::Policy)),
            (all, "10.200.3.0/24", Err(Refusal::Own)),
            (all, "192.0.0.0/16", Err(Refusal::Underlay)),
            (
                "routing.import = { accept_all = true }",
                "0.0.0.0/0",
                Err(Refusal::Policy),
            ),
            (all, "10.7.0.128/25", Err(Refusal::Own)),
        ] {
            assert_eq!(verdict(keys, prefix, "10.7.0.2"), is, "{keys} {prefix}");
        }
        for next_hop in ["10.7.0.1", "192.0.2.2", "fd00::1"] {
            assert_eq!(
                verdict(all, "192.168.0.0/24", next_hop),
                Err(Refusal::NextHop)
            );
        }
    }
}
