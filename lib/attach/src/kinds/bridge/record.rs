//! What the record of a bridge port names.

use ipnetwork::IpNetwork;
use weft_cni::Mac;
use weft_cni::result::Route;
use weft_firewall::ruleset::{self, Guarded};
use weft_kernel::link::Link;
use weft_node::names::{host_link_name, host_mac};
use weft_store::{AttachmentRecord, ContainerLink, HostLink, Isolation, LinkRecord, SharedObject};

use super::Port;
use crate::add::{Leased, default_routes};
use crate::plan::{BridgePlan, Ipam, Plan};
use crate::steps::{bridge, gateway, isolation, vlan_gateway};

impl Port<'_> {
    /// Names the port, its nf_tables elements, and what it shares.
    pub(super) fn name_everything(
        &self,
        own: ContainerLink,
        leased: &Leased,
        record: &mut AttachmentRecord,
    ) -> LinkRecord {
        let (plan, bridge) = (self.plan, self.wanted);
        let networks: Vec<IpNetwork> = leased.addresses.iter().map(|one| one.address).collect();
        let port_name = host_link_name(&plan.id);
        record.nft = self.elements(&port_name, &own, &networks);
        record.is_routed_by_host = bridge.is_gateway && !networks.is_empty();
        record.isolation = bridge.isolation;
        record.routes = routes(bridge, leased);
        if bridge.isolation == Isolation::Full {
            let mut routes = isolation::alone(&mut record.addresses);
            routes.append(&mut record.routes);
            record.routes = routes;
        }
        let uses_nft = !record.nft.is_empty() || !bridge.isolation.is_none();
        record.shared = shared_objects(plan, bridge, leased, &networks, uses_nft);
        if !bridge.isolation.is_none() {
            let gateway = gateway_mac(bridge, self.bridge.as_ref());
            let element = ruleset::routed_element(&bridge.gateway_link(), gateway);
            record.shared.push(SharedObject::NftElement { element });
        }
        if bridge.alone && bridge.isolation == Isolation::Apart {
            let gateway = gateway_mac(bridge, self.bridge.as_ref());
            let element = ruleset::apart_element(&bridge.gateway_link(), gateway);
            record.shared.push(SharedObject::NftElement { element });
        }
        if self.bridge.as_ref().is_some_and(bridge::is_to_be_grouped) {
            let link = bridge.name.clone();
            record.shared.push(SharedObject::Grouped { link });
        } else if self
            .bridge
            .as_ref()
            .is_some_and(bridge::is_in_another_group)
        {
            let element = ruleset::inside_element(&bridge.gateway_link());
            record.shared.push(SharedObject::NftElement { element });
        }
        LinkRecord::Port {
            host: HostLink {
                name: port_name,
                mac: host_mac(&plan.id),
                bridge: Some(bridge.name.clone()),
                hairpin: bridge.port.hairpin,
                isolated: bridge.port.isolated,
                vlan: bridge.vlan,
                trunk: bridge.trunk.clone(),
            },
            own: Some(own),
        }
    }

    /// The elements of the port and of its container's addresses.
    fn elements(
        &self,
        port: &str,
        own: &ContainerLink,
        networks: &[IpNetwork],
    ) -> Vec<weft_store::NftRecord> {
        let (settings, bridge) = (&self.plan.settings, self.wanted);
        let guarded = own
            .mac
            .filter(|_| settings.mac_spoof_check || settings.anti_spoof)
            .map(|mac| Guarded {
                port,
                mac,
                with_addresses: settings.anti_spoof,
            });
        let masquerade = settings.masquerade.as_ref();
        let mut elements = ruleset::endpoint_elements(networks, masquerade, guarded);
        if bridge.alone {
            elements.extend(ruleset::alone_elements(port));
        }
        if bridge.isolation == Isolation::Full {
            let gateway = gateway_mac(bridge, self.bridge.as_ref());
            elements.extend(ruleset::routed_elements(port, gateway));
        }
        if !bridge.isolation.is_none() {
            let link = bridge.gateway_link();
            elements.push(ruleset::routed_element(&link, host_mac(&self.plan.id)));
        }
        if bridge.alone && bridge.isolation == Isolation::Apart {
            let link = bridge.gateway_link();
            elements.push(ruleset::apart_element(&link, host_mac(&self.plan.id)));
        }
        elements
    }
}

/// The MAC by which containers reach their gateway: a bridge that is there keeps the one it has.
fn gateway_mac(plan: &BridgePlan, there: Option<&Link>) -> Mac {
    match (plan.vlan, there.and_then(|link| link.mac)) {
        (Some(_), _) => vlan_gateway::mac(&plan.gateway_link()),
        (None, Some(mac)) => mac,
        (None, None) => bridge::derived_mac(&plan.name),
    }
}

/// IPAM's routes, and a default route per family where the plan wants one and IPAM gave none.
fn routes(plan: &BridgePlan, leased: &Leased) -> Vec<Route> {
    let mut routes = leased.routes.clone();
    if plan.is_default_gateway {
        for (dst, one) in default_routes(leased) {
            if let Some(gateway) = one.gateway_or_first() {
                routes.push(Route::new(dst, Some(gateway)));
            }
        }
    }
    routes
}

fn shared_objects(
    plan: &Plan,
    bridge: &BridgePlan,
    leased: &Leased,
    networks: &[IpNetwork],
    uses_nft: bool,
) -> Vec<SharedObject> {
    let subnets: Vec<IpNetwork> = match &plan.settings.ipam {
        Ipam::Store(config) => config.subnets().collect(),
        Ipam::None | Ipam::Delegate(_) | Ipam::Given(_) => Vec::new(),
    };
    let masquerade = plan.settings.masquerade.as_ref();
    let elements = ruleset::network_elements(networks, &subnets, masquerade);
    let mut shared: Vec<SharedObject> = elements
        .into_iter()
        .map(|element| SharedObject::NftElement { element })
        .collect();
    let link = bridge.gateway_link();
    shared.extend(isolation::shared_objects(
        &bridge.name,
        &link,
        bridge.isolation,
    ));
    if let Some(device) = bridge.overlay.as_ref().and_then(|one| one.device.as_ref())
        && matches!(bridge.isolation, Isolation::Peer | Isolation::Mesh)
    {
        let both = [
            ruleset::connection(device, &link),
            ruleset::connection(&link, device),
        ];
        let elements = both
            .into_iter()
            .map(|element| SharedObject::NftElement { element });
        shared.extend(elements);
    }
    if !bridge.cleanup && bridge.overlay.is_none() {
        return shared;
    }
    if uses_nft {
        shared.push(SharedObject::Ruleset);
    }
    if !bridge.cleanup {
        // The daemon makes the bridge, and removes it.
        return shared;
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
