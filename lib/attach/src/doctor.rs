//! What on the host keeps containers from working that no single call would notice.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use weft_cni::file::is_open_to_others;
use weft_firewall::foreign::obstacles::{Behind, has_legacy_rules, obstacles};
use weft_kernel::link;
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

use crate::dead::{Patience, find_dead};
use crate::steps::gateway::{families, gateway_addresses, not_forwarding};
use crate::steps::{host_access, router_advertisements, subnets};

/// Everything that was found, each with what to do.
///
/// # Errors
/// The kernel's and the stores'.
pub fn findings(host: &mut Host) -> Result<Vec<String>, WeftError> {
    let records = host.attachments()?;
    let mut found = dead(host, &records)?;
    let directories = [host.store.dir().to_owned(), host.data_dir.clone()];
    for directory in directories.iter().filter(|one| is_open_to_others(one)) {
        let path = directory.display();
        found.push(format!(
            "{path}: other users than root can change what is in it, and so who reaches whom: chown root {path}; \
             chmod 700 {path}"
        ));
    }
    if let Some(other) = host.store.other() {
        let left = other.read(|transaction| transaction.attachments())?.len();
        found.push(format!(
            "{}: the host's store is {} now, and this one has {left} attachments of before: {}",
            other.path().display(),
            host.store.backend(),
            match left {
                0 => "remove it",
                _ => "restart their containers, or wait for their end, then remove it",
            }
        ));
    }
    let networks = Behind::of(&records);
    for one in obstacles(host, &networks)? {
        found.push(one.to_string());
    }
    if has_legacy_rules() && !networks.is_empty() {
        found.push(
            "iptables-legacy has rules, which Weft does not see: iptables-legacy -S FORWARD shows whether they \
             drop what is forwarded"
                .to_owned(),
        );
    }
    for behind in &networks {
        let addresses = behind.addresses.iter().map(|ip| IpNetwork::from(*ip));
        for name in not_forwarding(host, &behind.link, &families(addresses))? {
            let value = name.replace('/', ".");
            found.push(format!(
                "sysctl {name} is off: containers behind {} reach nothing outside: sysctl -w {value}=1",
                behind.link
            ));
        }
        found.extend(subnets::overlaps(host, &behind.link)?);
    }
    found.extend(bridges(host, &records)?);
    for record in &records {
        for text in host_access::missing(host, record.link.host_routes())? {
            found.push(format!(
                "{}: {text}: weft cni gc {} puts it back",
                record.id, record.id.network
            ));
        }
    }
    Ok(found)
}

fn dead(host: &mut Host, records: &[AttachmentRecord]) -> Result<Vec<String>, WeftError> {
    let dead = find_dead(host, records, Patience::None)?;
    let text = |record: &&AttachmentRecord| {
        format!(
            "{}: its namespace is gone, and what it had is still recorded: weft gc",
            record.id
        )
    };
    Ok(dead.iter().map(text).collect())
}

/// Bridges that are missing or down, and gateway addresses that they lack.
fn bridges(host: &mut Host, records: &[AttachmentRecord]) -> Result<Vec<String>, WeftError> {
    let mut found = BTreeSet::new();
    for record in records {
        let Some(name) = record.gateway_link() else {
            continue;
        };
        let Some(there) = link::find(host.route()?, &name)? else {
            found.insert(format!(
                "{name} is missing and has containers: attach them anew"
            ));
            continue;
        };
        found.extend(router_advertisements::believed(host, &there)?);
        if !there.is_up {
            found.insert(format!(
                "{name} is down and has containers: ip link set {name} up"
            ));
        }
        if !record.is_routed_by_host {
            continue;
        }
        let assigned = weft_kernel::address::list(host.route()?, there.index)?;
        for wanted in gateway_addresses(&record.addresses) {
            if assigned.iter().all(|one| one.address != wanted) {
                found.insert(format!(
                    "gateway address {wanted} is missing on {name}: the next container's ADD sets it, or: ip addr \
                     add {wanted} dev {name}"
                ));
            }
        }
    }
    Ok(found.into_iter().collect())
}
