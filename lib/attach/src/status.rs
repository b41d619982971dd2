//! STATUS: whether an ADD would succeed, without trying one.

use weft_cni::{AttachmentId, ContainerId, IfName, Request};
use weft_kernel::child::{ChildKind, has_driver};
use weft_kernel::forwarding::{self, IpFamily};
use weft_kernel::nft::NftSocket;
use weft_store::{AttachmentRecord, HostLink};

use crate::add::shared_device;
use crate::error::AttachError;

use crate::host::Host;
use crate::ipam::{DelegateIpam, IpamConfig, OWN_TYPE, is_exhausted};
use crate::obstacles::obstacles;
use crate::plan::{BridgePlan, ChildPlan, DevicePlan, Ipam, LinkPlan, Settings};
use crate::steps::{bridge, device, parent, uplink};

/// Answers for a network: store, addresses, what its interfaces are connected to, nf_tables,
/// forwarding.
///
/// # Errors
/// [`AttachError::NotReady`] (codes 50 and 51), or what a delegate says.
pub fn status(host: &mut Host, request: &Request, settings: &Settings) -> Result<(), AttachError> {
    let ipam = match &settings.ipam {
        Ipam::Store(config) => Some(&**config),
        Ipam::None | Ipam::Delegate(_) | Ipam::Given(_) => None,
    };
    let records = ipam_status(host, request, ipam)?;
    if let Some(plugin) = request
        .conf
        .ipam_type()
        .filter(|plugin| *plugin != OWN_TYPE)
    {
        DelegateIpam::new(plugin, request)
            .forward("STATUS")
            .or_else(ignore_unknown_verb)?;
    }
    match &settings.link {
        LinkPlan::Bridge(plan) => {
            let uses_nft = settings.masquerade.is_some()
                || settings.mac_spoof_check
                || settings.anti_spoof
                || !plan.isolation.is_none();
            bridge_status(host, plan, &records, ipam, uses_nft)
        }
        LinkPlan::Child(plan) => child_status(host, plan, &records),
        LinkPlan::Device(DevicePlan::Shared(name)) => shared_device(host, name.as_deref())
            .map(drop)
            .map_err(unavailable),
        // While a container has it, it is not there for another.
        LinkPlan::Device(DevicePlan::Moved(selector)) => {
            device::look(host, selector).map(drop).map_err(unavailable)
        }
    }
}

fn child_status(
    host: &mut Host,
    plan: &ChildPlan,
    records: &[AttachmentRecord],
) -> Result<(), AttachError> {
    for kind in [Some(plan.kind), plan.vlan.map(|id| ChildKind::Vlan { id })]
        .into_iter()
        .flatten()
    {
        if !has_driver(host.route()?, kind)? {
            return Err(unavailable(AttachError::NoDriver(kind)));
        }
    }
    // Another container's namespace cannot be looked into in advance.
    if plan.link_in_container {
        return Ok(());
    }
    let found = match parent::look(host, None, plan) {
        Ok(found) => found,
        Err(error) if records.iter().any(|record| record.parent.is_some()) => {
            return suffering(format!("{error}, and has containers"));
        }
        Err(error) => return Err(unavailable(error)),
    };
    let refused = host
        .store
        .read(|transaction| parent::refuse_other_modes(transaction, found.name(), plan.kind));
    refused.map_err(unavailable)
}

fn bridge_status(
    host: &mut Host,
    plan: &BridgePlan,
    records: &[AttachmentRecord],
    ipam: Option<&IpamConfig>,
    uses_nft: bool,
) -> Result<(), AttachError> {
    let existing = bridge::look(host, plan).map_err(unavailable)?;
    if let Some(name) = &plan.uplink {
        let index = existing.as_ref().map(|link| link.index);
        uplink::look(host, name, index).map_err(unavailable)?;
    }
    if uses_nft {
        NftSocket::open()
            .and_then(|mut socket| socket.generation())
            .map_err(|error| unavailable(error.into()))?;
    }
    let is_here = |port: &HostLink| port.bridge.as_ref() == Some(&plan.name);
    let is_used = records
        .iter()
        .any(|record| record.host_links.iter().any(is_here));
    if plan.is_gateway && !plan.ignores_foreign_firewall {
        refuse_obstacles(host, &plan.gateway_link(), is_used)?;
    }
    if !is_used {
        return Ok(());
    }
    match existing {
        None => suffering(format!(
            "bridge {} is missing and has containers",
            plan.name
        )),
        Some(link) if !link.is_up => {
            suffering(format!("bridge {} is down and has containers", plan.name))
        }
        Some(_) if plan.is_gateway => is_forwarding(host, ipam),
        Some(_) => Ok(()),
    }
}

/// Somebody else's chain drops what is forwarded, and none of its rules names the bridge.
fn refuse_obstacles(host: &mut Host, link: &str, is_used: bool) -> Result<(), AttachError> {
    let found = obstacles(host, &[link.to_owned()]).map_err(unavailable)?;
    let Some(first) = found.first() else {
        return Ok(());
    };
    Err(AttachError::NotReady {
        reason: format!(
            "chain {} drops what is forwarded, and none of its rules names {link}: {}; or set \
             ignoreForeignFirewall if it lets the containers through",
            first.chain, first.remedy
        ),
        existing_suffer: is_used,
    })
}

/// Whether there are addresses left; the attachments that the network has.
pub(crate) fn ipam_status(
    host: &Host,
    request: &Request,
    ipam: Option<&IpamConfig>,
) -> Result<Vec<AttachmentRecord>, AttachError> {
    let network = &request.conf.name;
    let (records, exhausted) = host
        .store
        .read(|transaction| {
            let records = transaction.attachments_of(network)?;
            let exhausted = match (ipam, nobody(request)) {
                (Some(config), Some(id)) => is_exhausted(config, &host.sticky, &id, transaction)?,
                _ => None,
            };
            Ok::<_, AttachError>((records, exhausted))
        })
        .map_err(unavailable)?;
    match exhausted {
        Some(reason) => Err(AttachError::NotReady {
            reason,
            existing_suffer: false,
        }),
        None => Ok(records),
    }
}

/// An identity to try a lease with; it is never written.
fn nobody(request: &Request) -> Option<AttachmentId> {
    Some(AttachmentId {
        network: request.conf.name.clone(),
        container_id: ContainerId::try_from("status").ok()?,
        ifname: IfName::try_from("status").ok()?,
    })
}

/// A delegate of before 1.1.0 does not know the verb: that is no statement about its readiness.
fn ignore_unknown_verb(error: weft_cni::CniError) -> Result<(), weft_cni::CniError> {
    const INVALID_ENVIRONMENT: u32 = 4;
    const INCOMPATIBLE_VERSION: u32 = 1;
    match error.code {
        INVALID_ENVIRONMENT | INCOMPATIBLE_VERSION => Ok(()),
        _ => Err(error),
    }
}

fn is_forwarding(host: &mut Host, ipam: Option<&IpamConfig>) -> Result<(), AttachError> {
    let Some(config) = ipam else { return Ok(()) };
    let has = |is_ipv4: bool| {
        config
            .sets
            .iter()
            .flatten()
            .any(|range| range.subnet().is_ipv4() == is_ipv4)
    };
    for (is_used, family) in [(has(true), IpFamily::V4), (has(false), IpFamily::V6)] {
        if is_used && !forwarding::is_on(host.route()?, family)? {
            let name = family.forwarding_sysctl();
            return suffering(format!(
                "sysctl {name} is off: containers reach nothing outside"
            ));
        }
    }
    Ok(())
}

fn suffering(reason: String) -> Result<(), AttachError> {
    Err(AttachError::NotReady {
        reason,
        existing_suffer: true,
    })
}

pub(crate) fn unavailable(error: AttachError) -> AttachError {
    AttachError::NotReady {
        reason: error.to_string(),
        existing_suffer: false,
    }
}
