//! Leasing a container's addresses, all or none.
//!
//! Why it is so: docs/decisions/addresses.md.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::{AttachmentId, CniError, Code};
use weft_node::WeftError;
use weft_store::{AddressRecord, Holder, LeaseRequest, StickyLeases, Transaction};

use super::config::IpamConfig;

/// What a container has got.
#[derive(Debug, Clone)]
pub struct Allocation {
    /// One of each list of ranges, then the fixed ones.
    pub addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    pub is_remembered: bool,
}

/// Leases one address of each set, and the fixed ones: those that a sticky key had, if they are
/// free. The transaction makes it all or nothing.
///
/// # Errors
/// The store's; code 104 for a requested address that no set has.
pub fn allocate(
    config: &IpamConfig,
    sticky: &StickyLeases,
    holder: Holder<'_>,
    transaction: &mut Transaction<'_>,
) -> Result<Allocation, WeftError> {
    let mut is_remembered = false;
    let pool = config.pool();
    let preferred = match &config.sticky_key {
        Some(key) => last_addresses(sticky, &pool.name, key, holder.id),
        None => Vec::new(),
    };
    let mut unserved: Vec<IpAddr> = config.requested.clone();
    let mut addresses = Vec::new();
    for ranges in &config.sets {
        if config.is_sticky {
            transaction.set_aside(&pool, ranges, &|| sticky.all_addresses(&pool.name))?;
        }
        let in_set = |ip: &IpAddr| ranges.iter().any(|range| range.subnet().contains(*ip));
        let wanted = unserved
            .iter()
            .position(in_set)
            .map(|index| unserved.remove(index));
        let request = match (wanted, preferred.iter().copied().find(in_set)) {
            (Some(ip), _) => LeaseRequest::Exactly(ip),
            (None, Some(ip)) => LeaseRequest::Prefer(ip),
            (None, None) => LeaseRequest::Any,
        };
        let granted = transaction.lease(&pool, ranges, request, holder)?;
        let (ip, range) = (granted.address, ranges.get(granted.range));
        is_remembered |= granted.is_remembered;
        let prefix = range.map_or(32, |range| range.subnet().prefix());
        addresses.push(AddressRecord {
            address: IpNetwork::new(ip, prefix).unwrap_or_else(|_| IpNetwork::from(ip)),
            gateway: range.and_then(|range| range.gateway()),
            pool: Some(pool.name.clone()),
            subnet_prefix: None,
        });
    }
    if let Some(ip) = unserved.first() {
        return Err(CniError::new(
            Code::AddressUnavailable,
            format!(
                "requested address {ip} is in none of network {}'s ranges",
                holder.id.network
            ),
        )
        .into());
    }
    for fixed in &config.fixed {
        transaction.lease_static(&pool, fixed.address.ip(), holder)?;
        addresses.push(AddressRecord {
            address: fixed.address,
            gateway: fixed.gateway,
            pool: Some(pool.name.clone()),
            subnet_prefix: None,
        });
        is_remembered = true;
    }
    Ok(Allocation {
        addresses,
        is_remembered,
    })
}

/// The name under which the addresses of one interface of a workload are kept: it may have several.
fn sticky_name(key: &str, id: &AttachmentId) -> String {
    format!("{key} {}", id.ifname)
}

/// Those that an interface had last. Before interfaces were told apart, the workload's were one.
fn last_addresses(sticky: &StickyLeases, pool: &str, key: &str, id: &AttachmentId) -> Vec<IpAddr> {
    let own = sticky.addresses(pool, &sticky_name(key, id));
    match own.is_empty() {
        true => sticky.addresses(pool, key),
        false => own,
    }
}

/// Remembers what a sticky key has got. An address that is not the same next time is no reason to
/// have none this time: a failure is only written to the log.
pub fn remember(
    config: &IpamConfig,
    sticky: &StickyLeases,
    id: &AttachmentId,
    addresses: &[AddressRecord],
) {
    let Some(key) = &config.sticky_key else {
        return;
    };
    let ips: Vec<IpAddr> = addresses.iter().map(|one| one.address.ip()).collect();
    if let Err(error) = sticky.remember(&config.pool().name, &sticky_name(key, id), &ips) {
        tracing::warn!(%error, "sticky lease not remembered");
    }
}

/// Whether the next lease would fail; nothing is leased (the transaction is not committed).
///
/// # Errors
/// The store's.
pub fn is_exhausted(
    config: &IpamConfig,
    sticky: &StickyLeases,
    id: &AttachmentId,
    transaction: &mut Transaction<'_>,
) -> Result<Option<String>, WeftError> {
    let unasked = IpamConfig {
        requested: Vec::new(),
        fixed: Vec::new(),
        ..config.clone()
    };
    match allocate(&unasked, sticky, Holder::anywhere(id), transaction) {
        Ok(_) => Ok(None),
        Err(WeftError::Store(error @ weft_store::StoreError::Exhausted { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
