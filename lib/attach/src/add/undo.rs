//! Taking back what a failed ADD did.

use weft_store::{AttachmentRecord, FileLock, HostLink, Sharing};

use crate::del::detach;
use crate::error::AttachError;
use crate::host::Host;
use crate::plan::{Ipam, Plan};
use crate::steps::idle::{self, LINKS_LOCK};
use crate::steps::{Created, bridge, gateway, uplink, vlan_gateway};

/// Takes back what a failed ADD did: first the attachment, as a DEL would, then what was made for
/// it on the host. The lock is let go first: removing takes it for itself.
pub(super) fn undo(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    created: Created,
    lock: FileLock,
    error: AttachError,
) -> AttachError {
    drop(lock);
    let mut failures = Vec::new();
    if let Ipam::Delegate(delegate) = &plan.ipam {
        failures.extend(delegate.del().err().map(AttachError::from));
    }
    failures.extend(detach(host, &[record]).err());
    failures.extend(take_back(host, plan, created).err());
    with_cleanup_failure(
        error,
        AttachError::collect("undoing a failed ADD", failures).err(),
    )
}

fn take_back(host: &mut Host, plan: &Plan, created: Created) -> Result<(), AttachError> {
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    let mut failures = Vec::new();
    for (link, address) in &created.addresses {
        // Somebody who came meanwhile may need the address as well.
        if !is_gateway_of_others(host, link)? {
            failures.extend(gateway::remove_address(host, link, address).err());
        }
    }
    for (link, address) in &created.replaced_addresses {
        let found = weft_kernel::link::find(host.route()?, link)?;
        if let Some(index) = found.map(|link| link.index) {
            let mut none = Created::default();
            let again = [*address];
            let restored = gateway::ensure_addresses(host, link, index, &again, false, &mut none);
            failures.extend(restored.err());
        }
    }
    if let Some(link) = &created.vlan_gateway
        && !is_gateway_of_others(host, link)?
    {
        failures.extend(vlan_gateway::remove(host, link).err());
    }
    if let Some(link) = &created.uplink {
        failures.extend(uplink::remove(host, link, &plan.bridge.name).err());
    }
    if let Some(bridge) = &created.bridge {
        failures.extend(bridge::remove(host, bridge).err());
    }
    for (name, before) in &created.sysctls {
        let restored = weft_kernel::sysctl::write(name, before).map_err(AttachError::from);
        failures.extend(restored.err());
    }
    if created.tables {
        failures.extend(idle::remove_ruleset(host).err());
    }
    AttachError::collect("taking back what was made on the host", failures)
}

/// Whether attachments that are still recorded have this interface as their gateway.
fn is_gateway_of_others(host: &Host, link: &str) -> Result<bool, AttachError> {
    let records = host.store.read(|transaction| transaction.attachments())?;
    let uses = |port: &HostLink| match (&port.bridge, port.vlan) {
        (Some(bridge), Some(vlan)) => format!("{bridge}.{vlan}") == link,
        (Some(bridge), None) => bridge == link,
        (None, _) => false,
    };
    Ok(records
        .iter()
        .any(|record| record.host_links.iter().any(uses)))
}

/// The first error, with what failed while cleaning up after it.
pub(super) fn with_cleanup_failure(
    error: AttachError,
    cleanup: Option<AttachError>,
) -> AttachError {
    match cleanup {
        None => error,
        Some(cleanup) => {
            let mut first = weft_cni::CniError::from(error);
            first.msg = format!("{}; and while undoing it: {cleanup}", first.msg);
            first.into()
        }
    }
}
