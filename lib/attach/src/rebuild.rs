//! A new store from what the kernel still shows.
//!
//! The host ends of Weft's pairs carry their identity as alias. Addresses are those that the host's own nf_tables
//! elements name. Where there are none, a container's interface tells, which it may have given any number of addresses:
//! one of each family is believed, the one that its MAC derives from if there is one. Nothing is invented: what is not
//! found in the kernel is not in the new store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_cni::{AttachmentId, IpFamily, Mac};
use weft_firewall::foreign::admission;
use weft_firewall::ruleset;
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::RouteSocket;
use weft_kernel::{NetNs, address};
use weft_node::names::{container_mac, host_mac, id_of_alias, network_owner, owner};
use weft_node::{Host, WeftError, namespaces};
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, Holder, HostLink, LINKS_LOCK, LinkRecord,
    NftRecord, Pool, SharedObject, Sharing, StoreError, Transaction,
};

use crate::steps::isolation;

/// What a rebuild did.
#[derive(Debug, Clone, Default)]
pub struct RebuildReport {
    /// Where the old store is now.
    pub moved_to: Option<PathBuf>,
    /// The attachments that were found.
    pub found: Vec<AttachmentId>,
    /// Those of them whose container could not be looked into.
    pub without_addresses: Vec<AttachmentId>,
    /// Addresses that containers have and nothing on the host confirms: they are not in the new store.
    pub doubtful: Vec<(AttachmentId, IpAddr)>,
}

/// Moves the store aside and fills a new one: with the records of the old one, as far as it can be
/// read and the kernel still shows what they are of, else with what the kernel shows.
///
/// # Errors
/// The kernel's and the store's; the old store is in its place then.
pub fn rebuild(host: &mut Host) -> Result<RebuildReport, WeftError> {
    // No ADD is under way while this is held: every recorded attachment is in the kernel.
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    let read = host.store.read(|transaction| transaction.attachments());
    // Without its last changes the kernel knows better, of what it shows.
    let is_current = read.is_ok();
    let old = read
        .or_else(|_: StoreError| host.store.read_without_changes(|t| t.attachments()))
        .unwrap_or_default();
    let mut old: BTreeMap<AttachmentId, AttachmentRecord> = old
        .into_iter()
        .map(|record| (record.id.clone(), record))
        .collect();
    let links = link::list(host.route()?)?;
    let bridges: BTreeMap<u32, &str> = links
        .iter()
        .map(|link| (link.index, link.name.as_str()))
        .collect();
    let containers = Containers::find(host)?;
    let elements = ruleset::records_by_owner(host)?;
    let admitted = admission::there(host)?;
    let mut report = RebuildReport::default();
    let mut records = Vec::new();
    for port in &links {
        let Some(id) = id_of_alias(&port.alias) else {
            continue;
        };
        let bridge = port
            .controller
            .and_then(|index| bridges.get(&index).copied());
        let record = match old.remove(&id).filter(|_| is_current) {
            Some(record) => record,
            None => {
                let (record, doubtful) = containers.record(id.clone(), port, bridge, &elements)?;
                let doubtful = doubtful.into_iter().map(|ip| (id.clone(), ip));
                report.doubtful.extend(doubtful);
                with_admissions(record, bridge, &admitted)
            }
        };
        if record.addresses.is_empty() {
            report.without_addresses.push(id.clone());
        }
        report.found.push(id);
        records.push(record);
    }
    // Leases for other people's plugins: their containers have to be there.
    for record in old
        .into_values()
        .filter(|record| record.link.port().is_none())
    {
        if is_alive(&record) {
            report.found.push(record.id.clone());
            records.push(record);
        }
    }
    report.moved_to = host
        .store
        .replace(|transaction| fill(transaction, &records))?;
    Ok(report)
}

/// Rules in other people's chains go with the last container behind their interface.
fn with_admissions(
    mut record: AttachmentRecord,
    bridge: Option<&str>,
    admitted: &[SharedObject],
) -> AttachmentRecord {
    let is_here = |object: &&SharedObject| {
        let link = object.admitted().or_else(|| object.questions());
        link.is_some() && link == bridge
    };
    record
        .shared
        .extend(admitted.iter().filter(is_here).cloned());
    record
}

fn is_alive(record: &AttachmentRecord) -> bool {
    record.netns.as_ref().is_some_and(namespaces::is_there)
}

/// An address that two attachments have is leased to the first; both keep it.
fn fill(transaction: &mut Transaction<'_>, records: &[AttachmentRecord]) -> Result<(), WeftError> {
    for record in records {
        let mut record = record.clone();
        let (id, segment) = (record.id.clone(), record.link.segment());
        let holder = Holder {
            id: &id,
            segment: segment.as_deref(),
        };
        for one in &mut record.addresses {
            if let Some(name) = one.pool.clone() {
                let pool = Pool { name, cool_down: 0 };
                match transaction.lease_static(&pool, one.address.ip(), holder) {
                    Ok(()) => {}
                    Err(StoreError::AddressTaken { .. } | StoreError::AddressOnSegment { .. }) => {
                        one.pool = None
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        transaction.insert_attachment(&record)?;
    }
    Ok(())
}

/// The network namespaces that can be found, by the id this namespace knows them by.
struct Containers {
    by_id: BTreeMap<i32, NetNs>,
    home: NetNs,
}

impl Containers {
    fn find(host: &mut Host) -> Result<Self, WeftError> {
        let mut by_id = BTreeMap::new();
        for path in namespaces::visible() {
            let Ok(netns) = NetNs::open(&path) else {
                continue;
            };
            if let Some(id) = host.route()?.netns_id(&netns)? {
                by_id.entry(id).or_insert(netns);
            }
        }
        Ok(Self {
            by_id,
            home: NetNs::current()?,
        })
    }

    fn record(
        &self,
        id: AttachmentId,
        port: &Link,
        bridge: Option<&str>,
        elements: &BTreeMap<String, Vec<NftRecord>>,
    ) -> Result<(AttachmentRecord, Vec<IpAddr>), WeftError> {
        let owned = |owner: &str| elements.get(owner).cloned().unwrap_or_default();
        let nft = owned(&owner(&id));
        let of_network = owned(&network_owner(&id.network));
        // What closes a bridge bears the name of the first network on it.
        let mode = bridge.and_then(|bridge| {
            let mut all = elements.values().flatten();
            all.find_map(|element| ruleset::mode_of(bridge, element))
        });
        let mut shared: Vec<SharedObject> = of_network
            .into_iter()
            .filter(|_| !nft.is_empty())
            .map(|element| SharedObject::NftElement { element })
            .collect();
        if let (Some(mode), Some(bridge)) = (mode, bridge) {
            let closing = isolation::shared_objects(bridge, bridge, mode);
            shared.retain(|object| !closing.contains(object));
            shared.extend(closing);
        }
        let options = port.port.map(|port| port.options).unwrap_or_default();
        let mut record = AttachmentRecord::new(id, "weft-bridge");
        record.created_at = 0;
        record.instance = 0;
        record.nft = nft;
        record.isolation = mode.unwrap_or_default();
        record.shared = shared;
        let host = HostLink {
            name: port.name.clone(),
            mac: port.mac.unwrap_or_else(|| host_mac(&record.id)),
            bridge: bridge.map(str::to_owned),
            hairpin: options.hairpin,
            isolated: options.isolated,
            vlan: None,
            trunk: Vec::new(),
        };
        let mut container_end = None;
        let mut doubtful = Vec::new();
        let netns = port.peer_netns_id.and_then(|id| self.by_id.get(&id));
        let Some(netns) = netns else {
            let own = container_end;
            record.link = LinkRecord::Port { host, own };
            return Ok((record, Vec::new()));
        };
        let path = netns.path().display().to_string();
        record.netns = Some(namespaces::record(&path, netns, &self.home)?);
        let mut socket = RouteSocket::open_in(netns, &self.home)?;
        if let Some(own) = link::find(&mut socket, record.id.ifname.as_str())? {
            container_end = Some(ContainerLink {
                name: own.name.clone(),
                mac: own.mac,
                mtu: own.mtu,
                up: own.is_up,
                has_own_mac: true,
            });
            let network = record.id.network.to_string();
            let is_own = |a: &address::Assigned| match a.address {
                IpNetwork::V6(v6) => !v6.ip().is_unicast_link_local(),
                IpNetwork::V4(_) => true,
            };
            let assigned = address::list(&mut socket, own.index)?;
            let assigned: Vec<IpNetwork> = assigned
                .into_iter()
                .filter(is_own)
                .map(|a| a.address)
                .collect();
            let known = ruleset::addresses_in(&record.nft);
            let (believed, rest) = believed(&record.id, own.mac, assigned, &known);
            doubtful = rest;
            let lease = |address| AddressRecord {
                address,
                gateway: None,
                pool: Some(network.clone()),
                subnet_prefix: None,
            };
            record.addresses = believed.into_iter().map(lease).collect();
        }
        let own = container_end;
        record.link = LinkRecord::Port { host, own };
        Ok((record, doubtful))
    }
}

/// Which of its addresses a container is believed to have got from Weft, and which not.
fn believed(
    id: &AttachmentId,
    mac: Option<Mac>,
    assigned: Vec<IpNetwork>,
    known: &BTreeSet<IpAddr>,
) -> (Vec<IpNetwork>, Vec<IpAddr>) {
    let mut believed: Vec<IpNetwork> = Vec::new();
    if known.is_empty() {
        for family in IpFamily::ALL {
            let mut of_family = assigned.iter().filter(|one| family.has(one.ip()));
            let is_source = |one: &&&IpNetwork| mac == Some(container_mac(id, Some(one.ip())));
            let first = of_family.clone().next();
            believed.extend(of_family.find(|one| is_source(&one)).or(first));
        }
    } else {
        let is_known = |one: &&IpNetwork| known.contains(&one.ip());
        believed.extend(assigned.iter().filter(is_known));
        // It may have taken one off: it is its own all the same.
        let missing = known
            .iter()
            .filter(|ip| assigned.iter().all(|one| one.ip() != **ip));
        believed.extend(missing.map(|ip| IpNetwork::from(*ip)));
    }
    let rest = assigned.iter().map(IpNetwork::ip);
    let rest = rest.filter(|ip| believed.iter().all(|one| one.ip() != *ip));
    let rest = rest.collect();
    (believed, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_container_is_believed_what_the_host_knows() {
        let id = AttachmentId {
            network: "net1".try_into().unwrap(),
            container_id: "evil".try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let said = nets(&["10.1.0.9/24", "10.1.0.2/24", "10.1.0.3/32", "fd00::2/64"]);
        let known = BTreeSet::from([ip("10.1.0.2"), ip("fd00::2"), ip("10.1.0.7")]);
        let (believes, doubts) = believed(&id, None, said.clone(), &known);
        assert_eq!(
            believes,
            nets(&["10.1.0.2/24", "fd00::2/64", "10.1.0.7/32"])
        );
        assert_eq!(doubts, [ip("10.1.0.9"), ip("10.1.0.3")]);
        // Where the host knows nothing: one of each family.
        let mac = container_mac(&id, Some(ip("10.1.0.2")));
        let (believes, doubts) = believed(&id, Some(mac), said.clone(), &BTreeSet::new());
        assert_eq!(believes, nets(&["10.1.0.2/24", "fd00::2/64"]));
        assert_eq!(doubts.len(), 2);
        let (believes, _) = believed(&id, None, said, &BTreeSet::new());
        assert_eq!(believes, nets(&["10.1.0.9/24", "fd00::2/64"]));
    }
}
