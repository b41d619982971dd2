//! The tables `[[overlay]]` and `[[peer]]` of weft.toml.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::Deserialize;

/// Overlays of a host, and the hosts that it shares them with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Overlays {
    /// Each a network of its own.
    #[serde(default)]
    pub overlay: Vec<Overlay>,
    /// Other hosts.
    #[serde(default)]
    pub peer: Vec<Peer>,
}

/// One overlay: a bridge of this host, joined with those of the same VNI on other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// VXLAN network identifier, 1 to 16777215: the same on all hosts.
    pub vni: u32,
    /// The VXLAN device; `vxlan` and the VNI by default.
    pub name: Option<String>,
    /// UDP port of all hosts.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Of bridge and device, in bytes; the underlay's less the headers by default.
    pub mtu: Option<u32>,
    /// The device notes from where MACs come; else frames to them go to every host.
    #[serde(default = "default_learning")]
    pub learning: bool,
    /// What containers and virtual machines are plugged into.
    pub bridge: Bridge,
    /// What carries it.
    #[serde(default)]
    pub underlay: Underlay,
}

/// An overlay's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// 15 bytes at most. One that is there is used as it is.
    pub name: String,
    /// This host's address in the overlay, with the prefix length of the whole.
    pub ipv4: Option<Ipv4Network>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Network>,
}

/// Which address of the host other hosts send to. The address of the default route's interface by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Underlay {
    /// It itself.
    pub address: Option<IpAddr>,
    /// The first of these interfaces that is up and has an address.
    #[serde(default)]
    pub prefer_interfaces: Vec<String>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Tells it from the others.
    pub id: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// Overlays that it takes part in; all by default.
    pub vnis: Option<BTreeSet<u32>>,
}

/// IANA's for VXLAN.
pub const PORT: u16 = 4789;
/// 24 bits.
const HIGHEST_VNI: u32 = (1 << 24) - 1;
/// IFNAMSIZ without the zero.
const LONGEST_NAME: usize = 15;
/// What IPv6 needs (RFC 8200), and the largest frame that Ethernet hardware takes.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=9000;
/// Each frame to all is sent once to each host.
pub const MOST_PEERS: usize = 250;

const fn default_port() -> u16 {
    PORT
}

const fn default_learning() -> bool {
    true
}

impl Overlay {
    /// The VXLAN device's name.
    pub fn device(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("vxlan{}", self.vni))
    }

    /// This host's addresses in the overlay.
    pub fn addresses(&self) -> Vec<IpNetwork> {
        let v4 = self.bridge.ipv4.map(IpNetwork::from);
        let v6 = self.bridge.ipv6.map(IpNetwork::from);
        v4.into_iter().chain(v6).collect()
    }
}

impl Peer {
    /// Whether it takes part in an overlay.
    pub fn is_in(&self, vni: u32) -> bool {
        self.vnis.as_ref().is_none_or(|vnis| vnis.contains(&vni))
    }
}

impl Overlays {
    /// Everything that is wrong, each with its key; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut seen = Seen::default();
        for (number, overlay) in self.overlay.iter().enumerate() {
            let key = format!("overlay[{number}]");
            overlay.problems(&key, &mut seen, &mut problems);
            let peers = self.peer.iter().filter(|peer| peer.is_in(overlay.vni));
            let count = peers.count();
            if count > MOST_PEERS {
                problems.push(format!(
                    "{key}: {count} peers are more than {MOST_PEERS}: each frame to all is sent to each of them"
                ));
            }
        }
        let vnis: BTreeSet<u32> = self.overlay.iter().map(|one| one.vni).collect();
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (number, peer) in self.peer.iter().enumerate() {
            let key = format!("peer[{number}]");
            if peer.id.is_empty() {
                problems.push(format!("{key}.id: a peer needs one"));
            } else if !ids.insert(&peer.id) {
                problems.push(format!("{key}.id: {:?} is there twice", peer.id));
            }
            if !addresses.insert(peer.address) {
                problems.push(format!("{key}.address: {} is there twice", peer.address));
            }
            for vni in peer.vnis.iter().flatten().filter(|vni| !vnis.contains(vni)) {
                problems.push(format!("{key}.vnis: there is no overlay with VNI {vni}"));
            }
        }
        problems
    }
}

/// What may be there once only.
#[derive(Debug, Default)]
struct Seen {
    vnis: BTreeSet<u32>,
    names: BTreeSet<String>,
}

impl Overlay {
    fn problems(&self, key: &str, seen: &mut Seen, problems: &mut Vec<String>) {
        let mut add = |name: &str, text: String| problems.push(format!("{key}.{name}: {text}"));
        if !(1..=HIGHEST_VNI).contains(&self.vni) {
            add("vni", format!("{} must be 1 to {HIGHEST_VNI}", self.vni));
        }
        if !seen.vnis.insert(self.vni) {
            add("vni", format!("{} is there twice", self.vni));
        }
        if self.port == 0 {
            add("port", "0 is no port".to_owned());
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !MTUS.contains(mtu)) {
            let (least, most) = (MTUS.start(), MTUS.end());
            add("mtu", format!("{mtu} must be {least} to {most}"));
        }
        for (name, text) in [
            ("name", self.device()),
            ("bridge.name", self.bridge.name.clone()),
        ] {
            let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
            let is_name = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_plain);
            if !is_name || text == "." || text == ".." {
                add(
                    name,
                    format!("{text:?} is no name of an interface: 1 to {LONGEST_NAME} bytes"),
                );
            } else if !seen.names.insert(text.clone()) {
                add(name, format!("{text} is there twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Overlays {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let all =
            read("[[overlay]]\nvni = 7\nbridge = { name = \"br7\", ipv4 = \"10.7.0.1/24\" }\n");
        let overlay = &all.overlay[0];
        assert_eq!((overlay.device().as_str(), overlay.port), ("vxlan7", 4789));
        assert!(overlay.learning && overlay.mtu.is_none());
        assert_eq!(overlay.addresses(), ["10.7.0.1/24".parse().unwrap()]);
        assert!(all.problems().is_empty());
    }

    #[test]
    fn all_problems_are_told_with_their_keys() {
        let all = read(
            "[[overlay]]\nvni = 0\nport = 0\nmtu = 900\nbridge = { name = \"a/b\" }\n\
             [[overlay]]\nvni = 5\nbridge = { name = \"br\" }\n\
             [[overlay]]\nvni = 5\nname = \"br\"\nbridge = { name = \"br5\" }\n\
             [[peer]]\nid = \"\"\naddress = \"192.0.2.1\"\n\
             [[peer]]\nid = \"b\"\naddress = \"192.0.2.1\"\nvnis = [5, 6]\n",
        );
        assert_eq!(
            all.problems(),
            [
                "overlay[0].vni: 0 must be 1 to 16777215",
                "overlay[0].port: 0 is no port",
                "overlay[0].mtu: 900 must be 1280 to 9000",
                "overlay[0].bridge.name: \"a/b\" is no name of an interface: 1 to 15 bytes",
                "overlay[2].vni: 5 is there twice",
                "overlay[2].name: br is there twice",
                "peer[0].id: a peer needs one",
                "peer[1].address: 192.0.2.1 is there twice",
                "peer[1].vnis: there is no overlay with VNI 6",
            ]
        );
        let unknown = toml::from_str::<Overlays>("[[overlay]]\nvni = 7\nbrige = 1\n");
        assert!(unknown.unwrap_err().to_string().contains("brige"));
    }
}
