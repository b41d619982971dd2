//! Which attachments still need something of the host: every recorded attachment counts, whether or not it asked
//! for clean-up.

use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, SharedObject};

fn needs(record: &AttachmentRecord, object: &SharedObject) -> bool {
    let mut ports = record.link.port().into_iter();
    match object {
        SharedObject::GatewayAddress { link, address } => {
            ports.any(|port| port.gateway_link().as_ref() == Some(link))
                && record
                    .addresses
                    .iter()
                    .any(|one| address.contains(one.address.ip()))
        }
        SharedObject::VlanGateway { link, .. } => {
            ports.any(|port| port.gateway_link().as_ref() == Some(link))
        }
        SharedObject::Uplink { bridge, .. } => {
            ports.any(|port| port.bridge.as_ref() == Some(bridge))
        }
        // Interfaces that are not Weft's may sit on it.
        SharedObject::Bridge { name } => {
            ports.any(|port| port.bridge.as_ref() == Some(name))
                || record
                    .link
                    .parent()
                    .is_some_and(|parent| parent.name == *name)
        }
        SharedObject::NftElement { .. }
        | SharedObject::HostAccess { .. }
        | SharedObject::VlanLink { .. }
        | SharedObject::RouteLocalnet { .. }
        | SharedObject::HostRoute { .. }
        | SharedObject::Admitted { .. }
        | SharedObject::Questions { .. }
        | SharedObject::Grouped { .. }
        | SharedObject::Isolation { .. }
        | SharedObject::Network { .. }
        | SharedObject::ParentMode { .. } => record.shared.contains(object),
        // What is to be done is never in use.
        SharedObject::PortSuccessor { .. } | SharedObject::LostName { .. } => false,
        SharedObject::Ruleset => {
            let is_element = |one: &SharedObject| matches!(one, SharedObject::NftElement { .. });
            !record.nft.is_empty() || record.shared.iter().any(is_element)
        }
    }
}

/// Whether a recorded attachment needs the object.
pub(crate) fn is_needed(host: &Host, object: &SharedObject) -> Result<bool, WeftError> {
    let records = host.attachments()?;
    Ok(records.iter().any(|record| needs(record, object)))
}
