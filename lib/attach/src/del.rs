//! DEL: from a record, else from names that derive from the identity, else from prevResult.

use weft_cni::{AttachmentId, ContainerId, IfName, NetworkName, Request};
use weft_store::{AttachmentRecord, HostLink, StoreError};

use crate::error::AttachError;
use crate::host::Host;
use crate::ipam::{DelegateIpam, OWN_TYPE};
use crate::names::host_link_name;
use crate::ruleset;
use crate::steps::{idle, links};

/// Detaches what the request names. Whatever is absent already is fine; nothing stops at the
/// first failure.
///
/// # Errors
/// Only what could not be removed.
pub fn del(host: &mut Host, request: &Request) -> Result<(), AttachError> {
    let network = request.conf.name.clone();
    let (container, ifname) = request.env.container()?;
    let mut errors = Vec::new();
    // IPAM first: should it fail, the rest is done all the same.
    if let Some(plugin) = request
        .conf
        .ipam_type()
        .filter(|plugin| *plugin != OWN_TYPE)
    {
        let outcome = DelegateIpam::new(plugin, request).del();
        errors.extend(outcome.err().map(AttachError::from));
    }
    errors.extend(detach_container(host, &network, &container, ifname.as_ref()).err());
    AttachError::collect("DEL", errors)
}

/// Detaches one interface of a container from a network, or all of them.
///
/// # Errors
/// Only what could not be removed.
pub fn detach_container(
    host: &mut Host,
    network: &NetworkName,
    container: &ContainerId,
    ifname: Option<&IfName>,
) -> Result<(), AttachError> {
    let records = match read_records(host, network, container, ifname) {
        Ok(records) => records,
        // A store that cannot be read keeps no container from being removed: what its name
        // tells is removed, and what the kernel no longer shows is not rebuilt.
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "DEL without the store: weft store rebuild mends it");
            return match ifname {
                Some(ifname) => remove_derived(host, &identity(network, container, ifname)),
                None => Ok(()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let mut errors = Vec::new();
    match (records.is_empty(), ifname) {
        (true, Some(ifname)) => {
            let id = identity(network, container, ifname);
            errors.extend(remove_derived(host, &id).err());
            errors.extend(idle::remove_idle(host).err());
        }
        _ => {
            let all: Vec<&AttachmentRecord> = records.iter().collect();
            errors.extend(detach(host, &all).err());
        }
    }
    AttachError::collect("DEL", errors)
}

fn identity(network: &NetworkName, container: &ContainerId, ifname: &IfName) -> AttachmentId {
    AttachmentId {
        network: network.clone(),
        container_id: container.clone(),
        ifname: ifname.clone(),
    }
}

fn read_records(
    host: &Host,
    network: &NetworkName,
    container: &ContainerId,
    ifname: Option<&IfName>,
) -> Result<Vec<AttachmentRecord>, StoreError> {
    host.store.read(|transaction| match ifname {
        Some(ifname) => {
            let id = identity(network, container, ifname);
            Ok(transaction.attachment(&id)?.into_iter().collect())
        }
        None => transaction.attachments_of_container(network, container),
    })
}

/// Without a record there can still be a link: its name derives from the identity.
fn remove_derived(host: &mut Host, id: &AttachmentId) -> Result<(), AttachError> {
    let name = host_link_name(id);
    match weft_kernel::link::find(host.route()?, &name)? {
        Some(_) => links::delete(host, &[name]),
        None => Ok(()),
    }
}

/// Removes everything that the records name: elements before links, the records last, so that a
/// crash anywhere in between leaves enough to begin again. What they shared with others goes if
/// they were the last.
///
/// # Errors
/// Only what could not be removed; a record of which something remains stays.
pub(crate) fn detach(host: &mut Host, records: &[&AttachmentRecord]) -> Result<(), AttachError> {
    let mut errors = Vec::new();
    errors.extend(ruleset::remove_elements(host, records).err());
    let names: Vec<String> = records
        .iter()
        .flat_map(|record| {
            record
                .host_links
                .iter()
                .map(|link: &HostLink| link.name.clone())
        })
        .collect();
    errors.extend(links::delete(host, &names).err());
    if errors.is_empty() {
        let removed = host.store.write(|transaction| {
            records
                .iter()
                .try_for_each(|record| transaction.remove_attachment(&record.id))?;
            Ok::<_, AttachError>(!transaction.idle_objects()?.is_empty())
        });
        match removed {
            Ok(true) => errors.extend(idle::remove_idle(host).err()),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
    }
    AttachError::collect("removing an attachment", errors)
}
