//! Everything that is wrong with the tables, each with its key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::{Health, MOST_PEERS, MOST_SPEAKING_PEERS, Mode, Overlay, Overlays, Peer};
use crate::policy::{contains, overlaps};

/// 24 bits.
const HIGHEST_VNI: u32 = (1 << 24) - 1;
/// IFNAMSIZ without the zero.
const LONGEST_NAME: usize = 15;
/// What IPv6 needs (RFC 8200), and the largest frame that Ethernet hardware takes.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=9000;
/// Tables that the kernel has by itself (linux/rtnetlink.h): default, main, local.
const KERNELS_TABLES: std::ops::RangeInclusive<u32> = 253..=255;

impl Overlays {
    /// Everything that is wrong; empty if nothing is.
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
            if overlay.mode == Mode::Routed && !self.speaks() {
                problems.push(format!(
                    "{key}.mode: routed needs [security.control_plane]: hosts tell each other what leads to them"
                ));
            }
        }
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
        if let Some(id) = &self.node.id
            && (id.is_empty() || id.len() > 64 || !id.chars().all(is_plain))
        {
            problems.push(format!(
                "node.id: {id:?} is no id: letters, digits, '-', '_' and '.', 64 at most"
            ));
        }
        self.problems_between(&mut problems);
        self.problems_of_peers(&mut problems);
        self.problems_of_control(&mut problems);
        problems
    }

    /// A host routes between its overlays, so that networks of two cannot be the same.
    fn problems_between(&self, problems: &mut Vec<String>) {
        let routed = self.overlay.iter().enumerate();
        let routed: Vec<_> = routed.filter(|(_, one)| one.mode == Mode::Routed).collect();
        for (place, (number, one)) in routed.iter().enumerate() {
            for (other_number, other) in routed.iter().take(place) {
                let shared = (one.networks.iter()).find(|mine| {
                    other
                        .networks
                        .iter()
                        .any(|theirs| overlaps(**mine, *theirs))
                });
                if let Some(shared) = shared {
                    problems.push(format!(
                        "overlay[{number}].networks: {shared} overlaps with overlay[{other_number}]: the host routes between both"
                    ));
                }
            }
        }
    }

    fn problems_of_peers(&self, problems: &mut Vec<String>) {
        let vnis: BTreeSet<u32> = self.overlay.iter().map(|one| one.vni).collect();
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        let mut owners: BTreeMap<IpNetwork, usize> = BTreeMap::new();
        for (number, peer) in self.peer.iter().enumerate() {
            let key = format!("peer[{number}]");
            if peer.id.is_empty() {
                problems.push(format!("{key}.id: a peer needs one"));
            } else if !ids.insert(&peer.id) {
                problems.push(format!("{key}.id: {:?} is there twice", peer.id));
            }
            let ip = peer.address;
            let is_all = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_all {
                problems.push(format!("{key}.address: {ip} is no address of another host"));
            }
            if !addresses.insert(peer.address) {
                problems.push(format!("{key}.address: {} is there twice", peer.address));
            }
            for vni in peer.vnis.iter().flatten().filter(|vni| !vnis.contains(vni)) {
                problems.push(format!("{key}.vnis: there is no overlay with VNI {vni}"));
            }
            for subnet in &peer.subnets {
                let taken = owners
                    .iter()
                    .find(|(other, owner)| **owner != number && overlaps(**other, *subnet));
                if let Some((other, owner)) = taken {
                    problems.push(format!(
                        "{key}.subnets: {subnet} overlaps with {other} of peer[{owner}]"
                    ));
                }
                owners.entry(*subnet).or_insert(number);
            }
            peer.problems(&key, problems);
        }
        if self.speaks() && self.peer.len() > MOST_SPEAKING_PEERS + 1 {
            problems.push(format!(
                "peer: {} hosts are more than {MOST_SPEAKING_PEERS}: each speaks with each, which is a connection for every pair",
                self.peer.len()
            ));
        }
    }

    fn problems_of_control(&self, problems: &mut Vec<String>) {
        let Some(control) = &self.security.control_plane else {
            return;
        };
        let mut add =
            |name: &str, text: &str| problems.push(format!("security.control_plane{name}: {text}"));
        match (&control.tls, control.insecure) {
            (None, false) => add(
                "",
                "name tls.cert_file, tls.key_file and tls.ca_file (weft pki issue makes them), or say insecure = true",
            ),
            (Some(_), true) => add(".insecure", "cannot be beside tls: one of both"),
            _ => {}
        }
        if control.listen.port == 0 {
            add(".listen.port", "0 is no port");
        }
        if let Some(transport) = control.transport.as_deref().filter(|one| *one != "grpc") {
            add(".transport", &format!("{transport:?}: there is only grpc"));
        }
        let observed = &self.observability;
        let both_on = observed.metrics.enabled && observed.healthcheck.enabled;
        if both_on && observed.metrics.listen == observed.healthcheck.listen {
            problems.push(format!(
                "observability: {} cannot be both metrics' and healthcheck's",
                observed.metrics.listen
            ));
        }
    }
}

impl Peer {
    fn problems(&self, key: &str, problems: &mut Vec<String>) {
        const LEAST: u32 = 100;
        let Health {
            keepalive_interval_ms: interval,
            dead_after_ms: dead,
        } = self.health;
        if interval < LEAST {
            problems.push(format!(
                "{key}.health.keepalive_interval_ms: {interval} is less than {LEAST}"
            ));
        }
        if dead <= interval {
            problems.push(format!(
                "{key}.health.dead_after_ms: {dead} must be more than the {interval} between two questions"
            ));
        }
    }
}

/// What may be there once only.
#[derive(Debug, Default)]
struct Seen {
    vnis: BTreeSet<u32>,
    names: BTreeSet<String>,
    tables: BTreeSet<u32>,
}

impl Overlay {
    fn problems(&self, key: &str, seen: &mut Seen, problems: &mut Vec<String>) {
        let mut add = |name: &str, text: String| problems.push(format!("{key}.{name}: {text}"));
        if !(1..=HIGHEST_VNI).contains(&self.vni) {
            add("vni", format!("{} must be 1 to {HIGHEST_VNI}", self.vni));
        }
        let is_new = seen.vnis.insert(self.vni);
        if !is_new {
            add("vni", format!("{} is there twice", self.vni));
        }
        if self.port == 0 {
            add("port", "0 is no port".to_owned());
        }
        if let Some(mtu) = self.wanted_mtu().filter(|mtu| !MTUS.contains(mtu)) {
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
        let table = self.table();
        if table == 0 || KERNELS_TABLES.contains(&table) {
            add(
                "routing.import.install.table",
                format!("{table} must be 1 to 252, or more than 255"),
            );
        } else if !seen.tables.insert(table) && is_new {
            add(
                "routing.import.install.table",
                format!("{table} is there twice"),
            );
        }
        if self.routing.import.install.route_lease_seconds == 0 {
            add(
                "routing.import.install.route_lease_seconds",
                "0 is no time".to_owned(),
            );
        }
        self.problems_of_mode(&mut add);
        self.problems_of_addresses(&mut add);
    }

    fn problems_of_mode(&self, add: &mut impl FnMut(&str, String)) {
        let subnets = self.subnets();
        if self.mode == Mode::L2 {
            if !self.networks.is_empty() {
                add("networks", "is for mode = \"routed\"".to_owned());
            }
            for range in &self.containers {
                if !subnets.iter().any(|subnet| contains(*subnet, *range)) {
                    add(
                        "containers",
                        format!("{range} is in no subnet of the bridge"),
                    );
                }
            }
            return;
        }
        if !self.containers.is_empty() {
            add(
                "containers",
                "is for mode = \"l2\": a host's containers have all of its subnet".to_owned(),
            );
        }
        if subnets.is_empty() {
            add(
                "bridge",
                "mode = \"routed\" needs ipv4 or ipv6: this host's address in a subnet of its own"
                    .to_owned(),
            );
        }
        for subnet in subnets {
            if !self.networks.iter().any(|all| contains(*all, subnet)) {
                add(
                    "networks",
                    format!("{subnet}, this host's subnet, is in none: name all hosts' addresses"),
                );
            }
        }
    }

    fn problems_of_addresses(&self, add: &mut impl FnMut(&str, String)) {
        for address in self.addresses() {
            let ip = address.ip();
            let key = if ip.is_ipv4() {
                "bridge.ipv4"
            } else {
                "bridge.ipv6"
            };
            let is_mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            let is_host =
                !(ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_mapped);
            if !is_host {
                add(key, format!("{ip} is no address of a host"));
            } else if ip == address.network()
                && address.prefix() < if ip.is_ipv4() { 31 } else { 127 }
            {
                let why = match self.mode {
                    Mode::L2 => "the subnet's first, which is no host's",
                    Mode::Routed => "the subnet's first: other hosts route by it",
                };
                add(key, format!("{ip} is {why}"));
            } else if matches!(address, IpNetwork::V4(v4) if v4.prefix() < 31 && v4.broadcast() == v4.ip())
            {
                add(
                    key,
                    format!("{ip} is the subnet's last, which is all hosts'"),
                );
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
