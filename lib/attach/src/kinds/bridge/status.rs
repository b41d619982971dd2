//! STATUS of a bridge.

use ipnetwork::IpNetwork;
use weft_firewall::foreign::obstacles::{Behind, has_legacy_rules, obstacles};
use weft_firewall::foreign::passage::Passage;
use weft_ipam::IpamConfig;
use weft_kernel::forwarding;
use weft_kernel::nft::NftSocket;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, HostLink, SharedObject};

use crate::kinds::NetworkState;
use crate::plan::BridgePlan;
use crate::status::{suffering, unavailable};
use crate::steps::{bridge, gateway, uplink};

/// The bridge, nf_tables, forwarding, and other people's rules.
pub(super) fn status(
    plan: &BridgePlan,
    host: &mut Host,
    network: &NetworkState<'_>,
) -> Result<(), WeftError> {
    let NetworkState {
        settings,
        records,
        ipam,
    } = *network;
    let uses_nft = settings.masquerade.is_some()
        || settings.mac_spoof_check
        || settings.anti_spoof
        || !plan.isolation.is_none();
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
        .any(|record| record.link.port().into_iter().any(is_here));
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

/// A chain of another firewall drops what is forwarded. An ADD succeeds all the same, and with weft-firewall in the list
/// it mends that.
fn refuse_obstacles(host: &mut Host, behind: &Behind, is_used: bool) -> Result<(), WeftError> {
    if has_legacy_rules() {
        tracing::warn!(
            "iptables-legacy has rules, which Weft does not see: if they drop what is forwarded, iptables-legacy \
             -I FORWARD -i {0} -j ACCEPT; iptables-legacy -I FORWARD -o {0} -j ACCEPT",
            behind.link
        );
    }
    let passage = Passage::Through(behind.clone());
    let found = obstacles(host, &[passage]).map_err(unavailable)?;
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

/// What the next ADD switches on is no reason to keep it from coming; that the answers' interface does not forward
/// is the administrator's to mend.
fn require_forwarding(host: &mut Host, behind: &Behind, is_used: bool) -> Result<(), WeftError> {
    let addresses = behind.addresses.iter().map(|ip| IpNetwork::from(*ip));
    let families = gateway::families(addresses);
    let off = gateway::not_forwarding(host, &behind.link, &families).map_err(unavailable)?;
    for name in off {
        let is_mended = families.iter().any(|family| {
            name == forwarding::sysctl_of_all(*family)
                || name == forwarding::sysctl_of(*family, &behind.link)
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
