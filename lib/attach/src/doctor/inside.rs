//! Whether containers have what they were given.

use weft_kernel::netlink::RouteSocket;
use weft_kernel::{KernelError, NetNs, address, link};
use weft_node::{WeftError, namespaces};
use weft_store::AttachmentRecord;

use super::{Finding, Symptom};

/// Interfaces and addresses that are missing in containers that live. A container may have taken them away itself.
pub(super) fn findings(records: &[AttachmentRecord]) -> Result<Vec<Finding>, WeftError> {
    let home = NetNs::current()?;
    let mut found = Vec::new();
    for record in records {
        let Some(own) = record.link.own() else {
            continue;
        };
        // A namespace that is gone is a finding of its own.
        let Some(netns) = record.netns.as_ref().and_then(namespaces::find) else {
            continue;
        };
        if let Some(missing) = missing(record, &own.name, (&netns, &home))? {
            let text = format!(
                "{}: its container has no {missing} any more: weft endpoint inspect {} shows it; delete and add the \
                 attachment to mend it",
                record.id, record.id.container_id
            );
            found.push(Finding::new(Symptom::BetweenContainers, text));
        }
    }
    Ok(found)
}

fn missing(
    record: &AttachmentRecord,
    name: &str,
    (netns, home): (&NetNs, &NetNs),
) -> Result<Option<String>, KernelError> {
    let mut socket = RouteSocket::open_in(netns, home)?;
    let Some(there) = link::find(&mut socket, name)? else {
        return Ok(Some(format!("interface {name}")));
    };
    let assigned = address::list(&mut socket, there.index)?;
    let is_missing = |ip: &std::net::IpAddr| assigned.iter().all(|one| one.address.ip() != *ip);
    let mut addresses = record.addresses.iter().map(|one| one.address.ip());
    let first = addresses.find(is_missing);
    Ok(first.map(|ip| format!("address {ip} on {name}")))
}
