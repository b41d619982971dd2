//! STATUS: whether an ADD would succeed, without trying one.

use ipnetwork::IpNetwork;
use weft_cni::{AttachmentId, ContainerId, IfName, Request};
use weft_firewall::foreign::obstacles::{Behind, has_legacy_rules, obstacles};
use weft_ipam::{IpamConfig, is_exhausted};
use weft_kernel::child::{ChildKind, has_driver};
use weft_kernel::nft::NftSocket;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, HostLink, SharedObject};

use crate::add::shared_device;
use crate::delegate::{DelegateIpam, foreign_type};
use crate::plan::{BridgePlan, ChildPlan, DevicePlan, Ipam, LinkPlan, Settings};
use crate::steps::{bridge, device, gateway, parent, uplink};

/// Answers for a network: store, addresses, what its interfaces are connected to, nf_tables,
/// forwarding.
///
/// # Errors
/// [`WeftError::NotReady`] (codes 50 and 51), or what a delegate says.
pub fn status(host: &mut Host, request: &Request, settings: &Settings) -> Result<(), WeftError> {
    let ipam = match &settings.ipam {
        Ipam::Store(config) => Some(&**config),
        Ipam::None | Ipam::Delegate(_) | Ipam::Given(_) => None,
    };
    let records = ipam_status(host, request, ipam)?;
    if let Some(plugin) = foreign_type(request) {
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
) -> Result<(), WeftError> {
    for kind in [Some(plan.kind), plan.vlan.map(|id| ChildKind::Vlan { id })]
        .into_iter()
        .flatten()
    {
        if !has_driver(host.route()?, kind)? {
            return Err(unavailable(WeftError::NoDriver(kind)));
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
    if !found.master.is_up {
        tracing::warn!(
            master = found.master.name,
            "is down: its containers reach nobody beyond it"
        );
    }
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
) -> Result<(), WeftError> {
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
    match existing {
        None if is_used => {
            return suffering(format!(
                "bridge {} is missing and has containers",
                plan.name
            ));
        }
        // The next ADD brings it up.
        Some(link) if is_used && !link.is_up => {
            tracing::warn!(bridge = plan.name, "is down and has containers");
        }
        _ => {}
    }
    if !plan.is_gateway {
        return Ok(());
    }
    let behind = behind(plan, records, ipam);
    require_forwarding(host, &behind, is_used)?;
    if plan.ignores_foreign_firewall {
        return Ok(());
    }
    refuse_obstacles(host, &behind, is_used)
}

/// The network as others' rules see it: by an address of a container, or one that a container may get.
fn behind(plan: &BridgePlan, records: &[AttachmentRecord], ipam: Option<&IpamConfig>) -> Behind {
    let mut behind = Behind {
        link: plan.gateway_link(),
        addresses: Vec::new(),
    };
    let leased = records.iter().flat_map(|record| &record.addresses);
    leased.for_each(|one| behind.add(one.address.ip()));
    let ranges = ipam.into_iter().flat_map(|config| &config.sets).flatten();
    let next = ranges.filter_map(weft_store::Range::first);
    next.for_each(|address| behind.add(address));
    behind
}

/// Somebody else's chain drops what is forwarded. An ADD succeeds all the same, and with weft-firewall in the list
/// it mends that.
fn refuse_obstacles(host: &mut Host, behind: &Behind, is_used: bool) -> Result<(), WeftError> {
    if has_legacy_rules() {
        tracing::warn!(
            "iptables-legacy has rules, which Weft does not see: if they drop what is forwarded, iptables-legacy \
             -I FORWARD -i {0} -j ACCEPT; iptables-legacy -I FORWARD -o {0} -j ACCEPT",
            behind.link
        );
    }
    let found = obstacles(host, std::slice::from_ref(behind)).map_err(unavailable)?;
    let Some(first) = found.first() else {
        return Ok(());
    };
    let link = behind.link.clone();
    let object = SharedObject::Admitted { link };
    let is_admitted = host
        .store
        .read(|transaction| transaction.users_of(&object))
        .is_ok_and(|users| users > 0);
    let reason = format!("{first}; or set ignoreForeignFirewall if it lets the containers through");
    if is_used && !is_admitted {
        return suffering(reason);
    }
    tracing::warn!("{reason}");
    Ok(())
}

/// Whether there are addresses left; the attachments that the network has.
pub fn ipam_status(
    host: &Host,
    request: &Request,
    ipam: Option<&IpamConfig>,
) -> Result<Vec<AttachmentRecord>, WeftError> {
    let network = &request.conf.name;
    let (records, exhausted) = host
        .store
        .read(|transaction| {
            let records = transaction.attachments_of(network)?;
            let exhausted = match (ipam, nobody(request)) {
                (Some(config), Some(id)) => is_exhausted(config, &host.sticky, &id, transaction)?,
                _ => None,
            };
            Ok::<_, WeftError>((records, exhausted))
        })
        .map_err(unavailable)?;
    match exhausted {
        Some(reason) => Err(WeftError::NotReady {
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

/// What the next ADD switches on is no reason to keep it from coming; that the answers' interface does not forward
/// is the administrator's to mend.
fn require_forwarding(host: &mut Host, behind: &Behind, is_used: bool) -> Result<(), WeftError> {
    let addresses = behind.addresses.iter().map(|ip| IpNetwork::from(*ip));
    let families = gateway::families(addresses);
    let off = gateway::not_forwarding(host, &behind.link, &families).map_err(unavailable)?;
    for name in off {
        let is_mended = families.iter().any(|family| {
            name == family.forwarding_sysctl() || name == family.forwarding_sysctl_of(&behind.link)
        });
        if is_used && !is_mended {
            return suffering(format!(
                "sysctl {name} is off: containers get no answers from outside"
            ));
        }
        tracing::warn!(sysctl = name, "is off: containers reach nothing outside");
    }
    Ok(())
}

fn suffering(reason: String) -> Result<(), WeftError> {
    Err(WeftError::NotReady {
        reason,
        existing_suffer: true,
    })
}

pub(crate) fn unavailable(error: WeftError) -> WeftError {
    WeftError::NotReady {
        reason: error.to_string(),
        existing_suffer: false,
    }
}
