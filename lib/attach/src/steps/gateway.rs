//! The host as the containers' router: gateway addresses and forwarding.

use ipnetwork::IpNetwork;
use weft_cni::IpFamily;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::Batch;
use weft_kernel::{forwarding, sysctl};
use weft_node::{Host, WeftError, default_route};
use weft_store::AddressRecord;

use super::{Created, router_advertisements, subnets};

/// The gateway addresses that the host holds for these addresses. One that is in another subnet, or a link-local
/// one, is held alone.
pub(crate) fn gateway_addresses(records: &[AddressRecord]) -> Vec<IpNetwork> {
    let address = |record: &AddressRecord| {
        let gateway = record.gateway_or_first()?;
        let subnet = record.in_subnet();
        match subnet.contains(gateway) {
            true => IpNetwork::new(gateway, subnet.prefix()).ok(),
            false => Some(IpNetwork::from(gateway)),
        }
    };
    let mut addresses: Vec<IpNetwork> = records.iter().filter_map(address).collect();
    addresses.dedup();
    addresses
}

/// Puts the gateway addresses on an interface of the host. Several subnets may be on one; two
/// addresses of overlapping subnets may not, unless `force` replaces the older.
pub(crate) fn ensure_addresses(
    host: &mut Host,
    link_name: &str,
    index: u32,
    wanted: &[IpNetwork],
    force: bool,
    created: &mut Created,
) -> Result<(), WeftError> {
    let there = address::list(host.route()?, index)?;
    let is_missing = |gateway: &&IpNetwork| there.iter().all(|one| one.address != **gateway);
    let missing: Vec<&IpNetwork> = wanted.iter().filter(is_missing).collect();
    let mut batch = Batch::new();
    let mut added = Vec::new();
    for gateway in missing {
        let conflicting = there
            .iter()
            .map(|assigned| assigned.address)
            .filter(|other| overlap(gateway, other));
        for other in conflicting {
            if !force {
                return Err(WeftError::Conflict {
                    key: "bridge",
                    name: link_name.to_owned(),
                    why: format!(
                        "already has an IP address different from {gateway}: {other} \
                         (forceAddress replaces it)"
                    ),
                });
            }
            address::delete(index, &other, &mut batch);
            created
                .replaced_addresses
                .push((link_name.to_owned(), other));
        }
        subnets::claim(host, index, gateway)?;
        address::add(index, gateway, DuplicateDetection::Skip, &mut batch);
        added.push((link_name.to_owned(), *gateway));
    }
    if wanted.iter().any(IpNetwork::is_ipv6) && !added.is_empty() {
        allow_ipv6(link_name)?;
    }
    for outcome in host.route()?.send_all(batch)? {
        match outcome {
            // Another ADD was faster.
            Err(error) if error.is_present() => {}
            other => other?,
        }
    }
    created.addresses.extend(added);
    Ok(())
}

fn overlap(one: &IpNetwork, other: &IpNetwork) -> bool {
    one.is_ipv4() == other.is_ipv4() && (other.contains(one.ip()) || one.contains(other.ip()))
}

fn allow_ipv6(link_name: &str) -> Result<(), WeftError> {
    let name = format!("net/ipv6/conf/{link_name}/disable_ipv6");
    if sysctl::exists(&name) {
        sysctl::write(&name, "0")?;
    }
    Ok(())
}

/// Whether an interface's packets are forwarded, of each family: the namespace's switch is not the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwards {
    ipv4: bool,
    ipv6: bool,
}

impl Forwards {
    /// As the kernel says.
    pub(crate) fn of(link: &Link) -> Self {
        Self {
            ipv4: link.forwards_ipv4,
            ipv6: link.ipv6.is_none_or(|ipv6| ipv6.forwarding != 0),
        }
    }

    fn is_on(self, family: IpFamily) -> bool {
        match family {
            IpFamily::V4 => self.ipv4,
            IpFamily::V6 => self.ipv6,
        }
    }
}

/// Each family that occurs, once.
pub(crate) fn families(addresses: impl Iterator<Item = IpNetwork>) -> Vec<IpFamily> {
    let mut families: Vec<IpFamily> = Vec::new();
    for family in addresses.map(|one| IpFamily::of(one.ip())) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

/// Switches forwarding on for the families in use. It stays on when Weft is done: others may have
/// come to rely on it.
pub(crate) fn ensure_forwarding(
    host: &mut Host,
    (link, forwards): (&str, Forwards),
    addresses: &[AddressRecord],
    created: &mut Created,
) -> Result<(), WeftError> {
    for family in families(addresses.iter().map(|record| record.address)) {
        if !forwarding::is_on(host.route()?, family)? {
            if family == IpFamily::V6 {
                router_advertisements::keep(host, created)?;
            }
            // Of every interface, this one too.
            forwarding::ensure(host.route()?, family)?;
            let name = forwarding::sysctl_of_all(family).to_owned();
            created.sysctls.push((name, "0".to_owned()));
        } else if !forwards.is_on(family) {
            let name = forwarding::sysctl_of(family, link);
            sysctl::write(&name, "1")?;
            created.sysctls.push((name, "0".to_owned()));
        }
    }
    Ok(())
}

/// What keeps the packets of an interface from being forwarded, and the answers of the interface with the default
/// route: the sysctls that are off.
pub(crate) fn not_forwarding(
    host: &mut Host,
    link_name: &str,
    families: &[IpFamily],
) -> Result<Vec<String>, WeftError> {
    let socket = host.route()?;
    let mut off = Vec::new();
    let mut ends: Vec<Link> = link::find(socket, link_name)?.into_iter().collect();
    ends.extend(default_route::interface(socket)?.filter(|one| !one.is_loopback));
    for family in families {
        if !forwarding::is_on(socket, *family)? {
            off.push(forwarding::sysctl_of_all(*family).to_owned());
            continue;
        }
        // Of IPv6 only the first switch decides (Documentation/networking/ip-sysctl.rst).
        let is_off = |end: &&Link| *family == IpFamily::V4 && !Forwards::of(end).is_on(*family);
        let names = ends.iter().filter(is_off);
        off.extend(names.map(|end| forwarding::sysctl_of(*family, &end.name)));
    }
    Ok(off)
}

/// Removes an address that no attachment needs any more, if Weft added it.
pub(crate) fn remove_address(
    host: &mut Host,
    link_name: &str,
    gateway: &IpNetwork,
) -> Result<(), WeftError> {
    let socket = host.route()?;
    let Some(found) = link::find(socket, link_name)? else {
        return Ok(());
    };
    let there = address::list(socket, found.index)?;
    if !there
        .iter()
        .any(|assigned| assigned.address == *gateway && assigned.is_own)
    {
        return Ok(());
    }
    let mut batch = Batch::new();
    address::delete(found.index, gateway, &mut batch);
    match socket.commit(batch) {
        // Another process was faster.
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}
