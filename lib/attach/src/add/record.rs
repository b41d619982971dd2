//! The record of an ADD: addresses leased, everything named, before anything is made.

use ipnetwork::IpNetwork;
use weft_cni::CniResult;
use weft_cni::result::{Dns, IpConfig, Route};
use weft_kernel::Mac;
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, Delegate, HostLink, NetnsRecord, SharedObject,
};

use super::Surroundings;
use super::undo::with_cleanup_failure;
use crate::error::AttachError;
use crate::host::{Container, Host};
use crate::ipam::allocate;
use crate::names::{container_mac, host_link_name, host_mac};
use crate::plan::{Ipam, Plan};
use crate::ruleset;
use crate::steps::gateway;

/// The result's parts that come from IPAM.
#[derive(Debug, Clone, Default)]
pub(super) struct Leased {
    pub(super) addresses: Vec<AddressRecord>,
    /// Neighbours may know one of them by another MAC.
    pub(super) is_remembered: bool,
    pub(super) routes: Vec<Route>,
    pub(super) dns: Dns,
}

/// Leases addresses and writes the record, complete, in one transaction. Another IPAM plugin's
/// addresses are known only after it ran: its record is written before and completed after.
pub(super) fn record(
    host: &mut Host,
    plan: &Plan,
    inside: &Container,
    around: &Surroundings,
) -> Result<(AttachmentRecord, Leased), AttachError> {
    let draft = |addresses: &Leased| draft(plan, inside, around, addresses);
    match &plan.ipam {
        Ipam::None => {
            let leased = Leased::default();
            let record = draft(&leased);
            host.store
                .write(|transaction| transaction.insert_attachment(&record))?;
            Ok((record, leased))
        }
        Ipam::Store(config) => {
            let sticky = &host.sticky;
            host.store.write(|transaction| {
                transaction.refuse_duplicate(&plan.id)?;
                let allocation = allocate(config, sticky, &plan.id, transaction)?;
                let leased = Leased {
                    addresses: allocation.addresses,
                    is_remembered: allocation.is_remembered,
                    routes: config.routes.clone(),
                    dns: config.dns.clone(),
                };
                let record = draft(&leased);
                transaction.insert_attachment(&record)?;
                Ok((record, leased))
            })
        }
        Ipam::Delegate(delegate) => {
            let mut before = draft(&Leased::default());
            before.delegate = Some(Delegate {
                plugin: delegate.plugin.clone(),
            });
            host.store
                .write(|transaction| transaction.insert_attachment(&before))?;
            let outcome = delegate
                .add()
                .map_err(AttachError::from)
                .and_then(|answer| {
                    let leased = leased_by_delegate(&answer);
                    let mut record = draft(&leased);
                    record.delegate = before.delegate.clone();
                    host.store.write(|transaction| {
                        transaction.remove_attachment(&plan.id)?;
                        transaction.insert_attachment(&record)
                    })?;
                    Ok((record, leased))
                });
            outcome.map_err(|error| undo_delegate(host, plan, error))
        }
    }
}

/// The specification: a delegate that fails an ADD is called again with DEL.
fn undo_delegate(host: &mut Host, plan: &Plan, error: AttachError) -> AttachError {
    if let Ipam::Delegate(delegate) = &plan.ipam
        && let Err(second) = delegate.del()
    {
        tracing::warn!(%second, "IPAM DEL after a failed ADD");
    }
    let removed = host
        .store
        .write(|transaction| transaction.remove_attachment(&plan.id));
    with_cleanup_failure(error, removed.err().map(AttachError::from))
}

fn leased_by_delegate(answer: &CniResult) -> Leased {
    let address = |ip: &IpConfig| AddressRecord {
        address: ip.address,
        gateway: ip.gateway,
        pool: None,
    };
    Leased {
        addresses: answer.ips.iter().map(address).collect(),
        is_remembered: false,
        routes: answer.routes.clone(),
        dns: answer.dns.clone(),
    }
}

fn draft(
    plan: &Plan,
    inside: &Container,
    around: &Surroundings,
    leased: &Leased,
) -> AttachmentRecord {
    let (dev, ino) = inside.netns.identity();
    let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
    let mac = own_mac(plan, &networks);
    let port_name = host_link_name(&plan.id);
    let guarded = plan.mac_spoof_check.then_some((port_name.as_str(), mac));
    let masquerade = plan.masquerade.as_ref();
    let nft = ruleset::endpoint_elements(&networks, masquerade, guarded);
    AttachmentRecord {
        id: plan.id.clone(),
        plugin: plan.plugin.to_owned(),
        created_at: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        netns: Some(NetnsRecord {
            path: plan.container.netns.clone(),
            dev,
            ino,
        }),
        host_links: vec![HostLink {
            name: port_name.clone(),
            mac: host_mac(&plan.id).to_string(),
            bridge: Some(plan.bridge.name.clone()),
            hairpin: plan.bridge.port.hairpin,
            isolated: plan.bridge.port.isolated,
            vlan: plan.bridge.vlan,
            trunk: plan.bridge.trunk.clone(),
        }],
        container_link: Some(ContainerLink {
            name: plan.id.ifname.to_string(),
            mac: mac.to_string(),
            mtu: around.mtu,
            up: plan.container.up,
            has_own_mac: plan.container.mac.is_some(),
        }),
        routes: routes(plan, leased),
        shared: shared_objects(plan, leased, &networks, !nft.is_empty()),
        addresses: leased.addresses.clone(),
        nft,
        delegate: None,
        config_digest: plan.config_digest.clone(),
    }
}

fn own_mac(plan: &Plan, networks: &[IpNetwork]) -> Mac {
    let derived = || container_mac(&plan.id, networks.first().map(|network| network.ip()));
    plan.container.mac.unwrap_or_else(derived)
}

/// IPAM's routes, and a default route per family where the plan wants one and IPAM gave none.
fn routes(plan: &Plan, leased: &Leased) -> Vec<Route> {
    let mut routes = leased.routes.clone();
    if !plan.bridge.is_default_gateway {
        return routes;
    }
    for one in &leased.addresses {
        let is_ipv4 = one.address.is_ipv4();
        let has_default = routes
            .iter()
            .any(|route| route.is_default() && route.dst.is_ipv4() == is_ipv4);
        if let (false, Some(gateway)) = (has_default, gateway::gateway_of(one)) {
            let everywhere: IpNetwork = match is_ipv4 {
                true => IpNetwork::V4(ipnetwork::Ipv4Network::from(
                    std::net::Ipv4Addr::UNSPECIFIED,
                )),
                false => IpNetwork::V6(ipnetwork::Ipv6Network::from(
                    std::net::Ipv6Addr::UNSPECIFIED,
                )),
            };
            if let Ok(dst) = IpNetwork::new(everywhere.ip(), 0) {
                routes.push(Route::new(dst, Some(gateway)));
            }
        }
    }
    routes
}

fn shared_objects(
    plan: &Plan,
    leased: &Leased,
    networks: &[IpNetwork],
    uses_nft: bool,
) -> Vec<SharedObject> {
    let elements = ruleset::network_elements(networks, plan.masquerade.as_ref());
    let mut shared: Vec<SharedObject> = elements
        .into_iter()
        .map(|element| SharedObject::NftElement { element })
        .collect();
    let bridge = &plan.bridge;
    if !bridge.cleanup {
        return shared;
    }
    if uses_nft {
        shared.push(SharedObject::Ruleset);
    }
    shared.push(SharedObject::Bridge {
        name: bridge.name.clone(),
    });
    if let Some(link) = &bridge.uplink {
        shared.push(SharedObject::Uplink {
            bridge: bridge.name.clone(),
            link: link.clone(),
        });
    }
    if bridge.is_gateway {
        let link = bridge.gateway_link();
        if bridge.vlan.is_some() {
            let bridge = bridge.name.clone();
            shared.push(SharedObject::VlanGateway {
                bridge,
                link: link.clone(),
            });
        }
        shared.extend(
            gateway::gateway_addresses(&leased.addresses)
                .into_iter()
                .map(|address| SharedObject::GatewayAddress {
                    link: link.clone(),
                    address,
                }),
        );
    }
    shared
}
