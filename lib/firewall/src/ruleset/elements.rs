//! Which elements an attachment and a network have, as records.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_cni::Mac;
use weft_cni::phases::Phase;
use weft_kernel::nft::{Element, Set, owner_mark};
use weft_store::{AttachmentRecord, NftRecord, SharedObject};

use super::guard;
use super::isolation::{KNOWN4, KNOWN6};
use super::key::{hex, interval_in, ip_bytes, record, unhex};
use super::skeleton::set_of;
use super::tables::{LOCAL4, LOCAL6, MASQ4, MASQ6, SNAT4, SNAT6};
use crate::ruleset::Masquerade;

/// A bridge port whose frames are checked.
#[derive(Debug, Clone, Copy)]
pub struct Guarded<'a> {
    /// Its name.
    pub port: &'a str,
    /// The only source MAC that its frames may have.
    pub mac: Mac,
    /// IP addresses too, not only the MAC.
    pub with_addresses: bool,
}

/// The elements that are one endpoint's alone.
pub fn endpoint_elements(
    addresses: &[IpNetwork],
    masquerade: Option<&Masquerade>,
    guarded: Option<Guarded<'_>>,
) -> Vec<NftRecord> {
    let mut records = Vec::new();
    if let Some(masquerade) = masquerade {
        for ip in addresses.iter().map(IpNetwork::ip) {
            if masquerade.ipv4_only && ip.is_ipv6() {
                continue;
            }
            match masquerade.to.iter().find(|to| to.is_ipv4() == ip.is_ipv4()) {
                Some(to) => {
                    let map = if ip.is_ipv4() { SNAT4 } else { SNAT6 };
                    let value = Some(hex(&ip_bytes(*to)));
                    records.push(NftRecord {
                        value,
                        ..record(map, &ip_bytes(ip))
                    });
                }
                None => {
                    let set = if ip.is_ipv4() { MASQ4 } else { MASQ6 };
                    records.push(record(set, &ip_bytes(ip)));
                }
            }
        }
    }
    if let Some(guarded) = guarded {
        let ips: Vec<IpAddr> = addresses.iter().map(IpNetwork::ip).collect();
        let bound = guarded.with_addresses.then_some(ips.as_slice());
        records.extend(guard::port_elements(guarded.port, guarded.mac, bound));
    }
    records
}

/// The elements that a network's attachments share: from the subnets of an attachment to all of the network's
/// and to what it excludes, nothing is rewritten.
pub fn network_elements(
    addresses: &[IpNetwork],
    subnets: &[IpNetwork],
    masquerade: Option<&Masquerade>,
) -> Vec<NftRecord> {
    let Some(masquerade) = masquerade else {
        return Vec::new();
    };
    let mut records = Vec::new();
    for address in addresses {
        if masquerade.ipv4_only && address.is_ipv6() {
            continue;
        }
        let Ok(subnet) = IpNetwork::new(address.network(), address.prefix()) else {
            continue;
        };
        let of_family = masquerade
            .exclude
            .iter()
            .chain(subnets)
            .filter(|net| net.is_ipv4() == subnet.is_ipv4())
            .copied();
        for destination in disjoint(of_family.chain([subnet]).collect()) {
            records.push(interval(&subnet, &destination));
        }
    }
    records.sort();
    records.dedup();
    records
}

/// Without prefixes that another one contains: the kernel refuses overlapping intervals.
fn disjoint(mut prefixes: Vec<IpNetwork>) -> Vec<IpNetwork> {
    prefixes.sort_by_key(IpNetwork::prefix);
    let mut kept: Vec<IpNetwork> = Vec::new();
    for prefix in prefixes {
        if !kept.iter().any(|wider| wider.contains(prefix.network())) {
            kept.push(prefix);
        }
    }
    kept
}

fn interval(source: &IpNetwork, destination: &IpNetwork) -> NftRecord {
    let set = if source.is_ipv4() { LOCAL4 } else { LOCAL6 };
    interval_in(set, source, destination)
}

/// Whether an element says that outside sees another address.
pub fn is_translation(element: &NftRecord) -> bool {
    [MASQ4, MASQ6, SNAT4, SNAT6]
        .iter()
        .any(|set| set.name == element.set)
}

/// What the elements of records are for, as the operations file names it.
pub(crate) fn phase_of(records: &[&AttachmentRecord]) -> Option<Phase> {
    let is_nat =
        |element: &&NftRecord| is_translation(element) || super::published::is_published(element);
    let all = || {
        records.iter().flat_map(|record| {
            let shared = record.shared.iter().filter_map(SharedObject::nft_element);
            record.nft.iter().chain(shared)
        })
    };
    match (
        all().any(|one| is_nat(&one)),
        !all().all(|one| is_nat(&one)),
    ) {
        (true, true) => Some(Phase::FirewallAndNat),
        (true, false) => Some(Phase::Nat),
        (false, true) => Some(Phase::Firewall),
        (false, false) => None,
    }
}

/// The addresses that an attachment's own elements name: what the host knows of it, whatever the container says.
pub fn addresses_in(elements: &[NftRecord]) -> BTreeSet<IpAddr> {
    const AFTER_NAME: usize = 16;
    let places = [
        (guard::PORT_IPV4, AFTER_NAME),
        (guard::PORT_IPV6, AFTER_NAME),
        (KNOWN4, 0),
        (KNOWN6, 0),
        (MASQ4, 0),
        (MASQ6, 0),
        (SNAT4, 0),
        (SNAT6, 0),
    ];
    let address = |one: &NftRecord| {
        let (_, start) = places.iter().find(|(set, _)| set.name == one.set)?;
        let bytes = unhex(&one.key)?;
        let bytes = bytes.get(*start..)?;
        let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
        v4().or_else(v6)
    };
    let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let addresses = elements.iter().filter_map(address);
    addresses.filter(|ip| !is_link_local(ip)).collect()
}

/// From where to where a container's own address may be seen.
#[derive(Debug)]
pub struct Untranslated(Vec<(Vec<u8>, Vec<u8>)>);

impl Untranslated {
    /// By what the networks of attachments share.
    pub fn of(records: &[AttachmentRecord]) -> Self {
        let shared = records.iter().flat_map(|record| &record.shared);
        let elements: BTreeSet<&NftRecord> = shared.filter_map(SharedObject::nft_element).collect();
        let local = elements
            .into_iter()
            .filter(|one| [LOCAL4, LOCAL6].iter().any(|set| set.name == one.set));
        let bounds =
            local.filter_map(|one| Some((unhex(&one.key)?, unhex(one.key_end.as_deref()?)?)));
        Self(bounds.collect())
    }

    /// Whether it is between these two.
    pub fn contains(&self, source: IpAddr, destination: IpAddr) -> bool {
        let pair = [ip_bytes(source), ip_bytes(destination)].concat();
        let field = pair.len() / 2;
        self.0.iter().any(|(first, last)| {
            first.len() == pair.len()
                && [0..field, field..pair.len()].into_iter().all(|part| {
                    let (low, high) = (first.get(part.clone()), last.get(part.clone()));
                    let there = pair.get(part);
                    low <= there && there <= high
                })
        })
    }
}

/// A record as an element; `None` for one that is damaged.
pub(super) fn element_of(record: &NftRecord, owner: &Arc<str>) -> Option<Element> {
    let mut element = Element::of(unhex(&record.key)?, owner);
    element.key_end = record.key_end.as_deref().and_then(unhex);
    element.value = record.value.as_deref().and_then(unhex);
    Some(element)
}

/// A record as an element of its set; `None` for a set that is not Weft's.
pub fn element(record: &NftRecord, owner: &str) -> Option<(Set, Element)> {
    let set = set_of(&record.set)?;
    Some((set, element_of(record, &owner_mark(owner))?))
}

/// An element of the kernel as a record.
pub(super) fn record_of(set: &Set, element: &Element) -> NftRecord {
    NftRecord {
        set: set.name.clone(),
        key: hex(&element.key),
        key_end: element.key_end.as_deref().map(hex),
        value: element.value.as_deref().map(hex),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_endpoint_has_one_element_per_address() {
        let addresses = nets(&["10.1.0.2/24", "fd00::2/64"]);
        let plain = endpoint_elements(&addresses, Some(&Masquerade::default()), None);
        assert_eq!(
            plain.iter().map(|r| &*r.set).collect::<Vec<_>>(),
            ["masq4", "masq6"]
        );
        assert_eq!(plain[0].key, "0a010002");
        let to = Masquerade {
            to: vec!["192.0.2.9".parse().unwrap()],
            ..Masquerade::default()
        };
        let fixed = endpoint_elements(&addresses, Some(&to), None);
        assert_eq!(fixed[0].value.as_deref(), Some("c0000209"));
        assert_eq!(fixed[1].set, "masq6");
        assert!(endpoint_elements(&addresses, None, None).is_empty());
    }

    #[test]
    fn subnets_of_one_network_see_each_other() {
        let masquerade = Masquerade::default();
        let subnets = nets(&["10.1.0.0/24", "10.2.0.0/24", "fd00::/64"]);
        let records = network_elements(&nets(&["10.1.0.2/24"]), &subnets, Some(&masquerade));
        let keys: Vec<&str> = records.iter().map(|one| &*one.key).collect();
        assert_eq!(keys, ["0a0100000a010000", "0a0100000a020000"]);
    }

    #[test]
    fn excluded_networks_are_merged() {
        let masquerade = Masquerade {
            exclude: nets(&["10.0.0.0/8", "10.2.0.0/16", "fd00::/8"]),
            ..Masquerade::default()
        };
        let records = network_elements(&nets(&["10.1.0.2/24"]), &[], Some(&masquerade));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].key, "0a0100000a000000");
        assert_eq!(records[0].key_end.as_deref(), Some("0a0100ff0affffff"));
        let (set, element) = element(&records[0], "me").unwrap();
        assert_eq!((&*set.name, element.key.len()), ("local4", 8));
        assert!(element.key_end.is_some());
    }
}
