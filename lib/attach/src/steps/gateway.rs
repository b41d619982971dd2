//! The host as the containers' router: gateway addresses and forwarding.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::forwarding::{self, IpFamily};
use weft_kernel::link;
use weft_kernel::netlink::Batch;
use weft_kernel::sysctl;
use weft_store::AddressRecord;

use super::Created;
use crate::error::AttachError;
use crate::host::Host;

/// The gateway of an address: IPAM's, else the first address of the subnet, as in the reference.
pub(crate) fn gateway_of(record: &AddressRecord) -> Option<IpAddr> {
    let network = record.in_subnet();
    let first = |network: IpNetwork| match network {
        IpNetwork::V4(v4) if v4.prefix() < 31 => v4.nth(1).map(IpAddr::from),
        IpNetwork::V6(v6) if v6.prefix() < 127 => Some(IpAddr::from(
            (u128::from(v6.network()).saturating_add(1)).to_be_bytes(),
        )),
        IpNetwork::V4(_) | IpNetwork::V6(_) => None,
    };
    record
        .gateway
        .or_else(|| first(network))
        .filter(|gateway| *gateway != network.ip())
}

/// The gateway addresses that the host holds for these addresses.
pub(crate) fn gateway_addresses(records: &[AddressRecord]) -> Vec<IpNetwork> {
    let mut addresses: Vec<IpNetwork> = records
        .iter()
        .filter_map(|record| IpNetwork::new(gateway_of(record)?, record.in_subnet().prefix()).ok())
        .collect();
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
) -> Result<(), AttachError> {
    let there = address::list(host.route()?, index)?;
    let mut batch = Batch::new();
    let mut added = Vec::new();
    for gateway in wanted {
        if there.iter().any(|assigned| assigned.address == *gateway) {
            continue;
        }
        let conflicting = there
            .iter()
            .map(|assigned| assigned.address)
            .filter(|other| {
                other.is_ipv4() == gateway.is_ipv4()
                    && (other.contains(gateway.ip()) || gateway.contains(other.ip()))
            });
        for other in conflicting {
            if !force {
                return Err(AttachError::Conflict {
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

fn allow_ipv6(link_name: &str) -> Result<(), AttachError> {
    let name = format!("net/ipv6/conf/{link_name}/disable_ipv6");
    if sysctl::exists(&name) {
        sysctl::write(&name, "0")?;
    }
    Ok(())
}

/// Switches forwarding on for the families in use. It stays on when Weft is done: others may have
/// come to rely on it.
pub(crate) fn ensure_forwarding(
    host: &mut Host,
    addresses: &[AddressRecord],
    created: &mut Created,
) -> Result<(), AttachError> {
    let has = |is_ipv4| {
        addresses
            .iter()
            .any(|record| record.address.is_ipv4() == is_ipv4)
    };
    for (is_needed, family) in [(has(true), IpFamily::V4), (has(false), IpFamily::V6)] {
        if is_needed && forwarding::ensure(host.route()?, family)? {
            created.sysctls.push((family.forwarding_sysctl(), "0"));
        }
    }
    Ok(())
}

/// Removes an address that nobody needs any more, if Weft added it.
pub(crate) fn remove_address(
    host: &mut Host,
    link_name: &str,
    gateway: &IpNetwork,
) -> Result<(), AttachError> {
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
        // Somebody was faster.
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}
