//! Taking back what a failed ADD did.

use ipnetwork::IpNetwork;
use weft_node::{Host, WeftError, with_cleanup_failure};
use weft_store::{AttachmentRecord, FileLock, LINKS_LOCK, SharedObject, Sharing};

use crate::del::{detach, idle, users};
use crate::plan::{Ipam, Plan};
use crate::steps::{Created, bridge, gateway, uplink, vlan_gateway};

/// Takes back what a failed ADD did: first the attachment, as a DEL would, then what was made for
/// it on the host. The lock is let go first: removing takes it for itself.
pub(super) fn undo(
    host: &mut Host,
    plan: &Plan,
    record: &AttachmentRecord,
    created: Created,
    lock: Option<FileLock>,
    error: WeftError,
) -> WeftError {
    drop(lock);
    let mut failures = Vec::new();
    failures.extend(detach(host, &[record]).err());
    if let Ipam::Delegate(delegate) = &plan.settings.ipam {
        failures.extend(delegate.del().err().map(WeftError::from));
    }
    failures.extend(take_back(host, plan, created).err());
    with_cleanup_failure(
        error,
        WeftError::collect("undoing a failed ADD", failures).err(),
    )
}

/// What another attachment needs by now stays.
fn take_back(host: &mut Host, plan: &Plan, created: Created) -> Result<(), WeftError> {
    let _lock = host.store.named_lock(LINKS_LOCK, Sharing::Exclusive)?;
    let bridge = plan.kind().bridge().unwrap_or_default().to_owned();
    let mut failures = Vec::new();
    // An address that replaced another one has no right to stay, whatever is there.
    let has_replaced = !created.replaced_addresses.is_empty();
    for (link, address) in created.addresses {
        let object = SharedObject::GatewayAddress {
            link: link.clone(),
            address,
        };
        if has_replaced || !users::is_needed(host, &object)? {
            failures.extend(gateway::remove_address(host, &link, &address).err());
        }
    }
    for (link, address) in &created.replaced_addresses {
        failures.extend(put_back(host, link, *address).err());
    }
    if let Some(link) = created.vlan_gateway {
        let object = SharedObject::VlanGateway {
            bridge: bridge.clone(),
            link: link.clone(),
        };
        if !users::is_needed(host, &object)? {
            failures.extend(vlan_gateway::remove(host, &link).err());
        }
    }
    if let Some(link) = created.uplink {
        let object = SharedObject::Uplink {
            bridge: bridge.clone(),
            link: link.clone(),
        };
        if !users::is_needed(host, &object)? {
            failures.extend(uplink::remove(host, &link, &bridge).err());
        }
    }
    if let Some(bridge) = &created.bridge {
        failures.extend(bridge::remove(host, bridge).err());
    }
    if host.attachments()?.is_empty() {
        // Backwards: forwarding is off again before advertisements are ignored by a host that forwards.
        for (name, before) in created.sysctls.iter().rev() {
            let restored = weft_kernel::sysctl::write(name, before).map_err(WeftError::from);
            failures.extend(restored.err());
        }
    }
    failures.extend(idle::remove_made_tables(host).err());
    WeftError::collect("taking back what was made on the host", failures)
}

fn put_back(host: &mut Host, link: &str, address: IpNetwork) -> Result<(), WeftError> {
    match weft_kernel::link::find(host.route()?, link)? {
        Some(found) => {
            let mut none = Created::default();
            gateway::ensure_addresses(host, link, found.index, &[address], false, &mut none)
        }
        None => Ok(()),
    }
}
