//! ADD for a port of a bridge.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::result::{Interface, Route};
use weft_firewall::ruleset::{self, Guarded};
use weft_kernel::Mac;
use weft_kernel::link::Link;
use weft_node::names::{alias, container_mac, host_link_name, host_mac};
use weft_node::{Container, Host, WeftError};
use weft_store::{AttachmentRecord, ContainerLink, HostLink, Isolation, SharedObject};

use super::record::{Leased, default_routes};
use super::result::{MadeInterface, interface};
use crate::plan::{BridgePlan, Ipam, Plan};
use crate::steps::bridge::{self, BridgeFacts};
use crate::steps::container::{self, Settings};
use crate::steps::gateway::{self, Forwards};
use crate::steps::veth::{self, ContainerEnd, VlanSettings};
use crate::steps::{Created, carrier, isolation, uplink, vlan_gateway};

pub(super) struct BridgeSide {
    pub(super) bridge: Option<Link>,
    pub(super) uplink: Option<Link>,
    pub(super) mtu: u32,
}

impl BridgeSide {
    pub(super) fn look(host: &mut Host, plan: &BridgePlan) -> Result<Self, WeftError> {
        let bridge = bridge::look(host, plan)?;
        let index = bridge.as_ref().map(|link| link.index);
        let uplink = match &plan.uplink {
            Some(name) => Some(uplink::look(host, name, index)?),
            None => None,
        };
        let mtu = bridge::mtu(host, plan, bridge.as_ref())?;
        Ok(Self {
            bridge,
            uplink,
            mtu,
        })
    }

    /// Makes the pair of interfaces, and the bridge with its uplink; what is known of that.
    pub(super) fn make_link(
        &self,
        host: &mut Host,
        (plan, bridge_plan): (&Plan, &BridgePlan),
        record: &AttachmentRecord,
        inside: &mut Container,
        created: &mut Created,
    ) -> Result<BridgeFacts, WeftError> {
        let facts = self.ensure_bridge(host, bridge_plan, record, created)?;
        make_pair(host, (plan, bridge_plan), record, &facts, inside)?;
        Ok(facts)
    }

    fn ensure_bridge(
        &self,
        host: &mut Host,
        plan: &BridgePlan,
        record: &AttachmentRecord,
        created: &mut Created,
    ) -> Result<BridgeFacts, WeftError> {
        let bridge = self.bridge.as_ref();
        let facts = bridge::ensure(host, (plan, record), bridge, self.mtu, created)?;
        if let Some(uplink) = &self.uplink {
            uplink::ensure(host, uplink, facts.index, created)?;
        }
        Ok(facts)
    }

    pub(super) fn apply(
        &self,
        host: &mut Host,
        (plan, bridge_plan): (&Plan, &BridgePlan),
        record: &AttachmentRecord,
        inside: &mut Container,
        settings: Settings<'_>,
        created: &mut Created,
    ) -> Result<Vec<Interface>, WeftError> {
        let facts = self.ensure_bridge(host, bridge_plan, record, created)?;
        apply_gateway(host, bridge_plan, record, &facts, created)?;
        if let (Some(port), Some(own)) = (record.host_links.first(), &record.container_link) {
            if !created.container_link {
                make_pair(host, (plan, bridge_plan), record, &facts, inside)?;
            }
            container::configure(inside, record, own, settings)?;
            if settings.announces {
                announce(host, &port.name, inside, own)?;
            }
        }
        Ok(interfaces(plan, bridge_plan, record, &facts))
    }
}

fn make_pair(
    host: &mut Host,
    (plan, bridge_plan): (&Plan, &BridgePlan),
    record: &AttachmentRecord,
    facts: &BridgeFacts,
    inside: &Container,
) -> Result<(), WeftError> {
    let (Some(port), Some(own)) = (record.host_links.first(), &record.container_link) else {
        return Ok(());
    };
    let end = ContainerEnd {
        name: &own.name,
        mac: own
            .mac
            .parse()
            .unwrap_or_else(|_| container_mac(&plan.id, None)),
        netns: Some(&inside.netns),
    };
    let made = veth::create(
        host,
        port,
        host_mac(&plan.id),
        &alias(&plan.id),
        (facts.index, facts.mtu),
        &end,
    );
    made.map_err(|error| match error {
        WeftError::Kernel(error) if error.is_full() => WeftError::BridgeFull {
            bridge: bridge_plan.name.clone(),
        },
        error => error,
    })?;
    let vlans = VlanSettings {
        native: bridge_plan.vlan,
        trunk: &bridge_plan.trunk,
        keep_default: bridge_plan.preserve_default_vlan,
    };
    veth::set_vlans(host, &port.name, vlans)
}

/// Whoever is told that the interface is there may use it at once: what it sends is not lost.
pub(super) fn await_carrier(host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
    let Some(port) = record.host_links.first() else {
        return Ok(());
    };
    carrier::await_port(host, &port.name)
}

/// What the interface announced when it came up was lost if its port did not forward yet (that
/// follows the carrier, a moment later): once it does, setting the MAC again repeats it.
fn announce(
    host: &mut Host,
    port: &str,
    inside: &mut Container,
    own: &ContainerLink,
) -> Result<(), WeftError> {
    carrier::await_port(host, port)?;
    container::announce(inside, own)
}

fn apply_gateway(
    host: &mut Host,
    plan: &BridgePlan,
    record: &AttachmentRecord,
    facts: &BridgeFacts,
    created: &mut Created,
) -> Result<(), WeftError> {
    if !plan.is_gateway || record.addresses.is_empty() {
        return Ok(());
    }
    let link = plan.gateway_link();
    let (index, forwards) = match plan.vlan {
        Some(vlan) => {
            let bridge = (facts.index, facts.mtu);
            let made = vlan_gateway::ensure(host, &link, vlan, bridge, created)?;
            (made.index, Forwards::of(&made))
        }
        None => (facts.index, facts.forwards),
    };
    let wanted = gateway::gateway_addresses(&record.addresses);
    gateway::ensure_addresses(host, &link, index, &wanted, plan.force_address, created)?;
    gateway::ensure_forwarding(host, (&link, forwards), &record.addresses, created)
}

/// Names the port, its nf_tables elements, and what it shares.
pub(super) fn complete(
    plan: &Plan,
    (bridge, there): (&BridgePlan, Option<&Link>),
    leased: &Leased,
    networks: &[IpNetwork],
    record: &mut AttachmentRecord,
) {
    let port_name = host_link_name(&plan.id);
    let mac = record.container_link.as_ref().map(|own| own.mac.parse());
    let settings = &plan.settings;
    let guarded = match mac {
        Some(Ok(mac)) if settings.mac_spoof_check || settings.anti_spoof => Some(Guarded {
            port: &port_name,
            mac,
            with_addresses: settings.anti_spoof,
        }),
        _ => None,
    };
    let masquerade = plan.settings.masquerade.as_ref();
    record.nft = ruleset::endpoint_elements(networks, masquerade, guarded);
    if bridge.alone {
        record.nft.extend(ruleset::alone_elements(&port_name));
    }
    if bridge.isolation == Isolation::Full {
        let gateway = gateway_mac(bridge, there);
        record
            .nft
            .extend(ruleset::routed_elements(&port_name, gateway));
    }
    record.is_routed_by_host = bridge.is_gateway && !networks.is_empty();
    if bridge.alone && bridge.isolation == Isolation::Apart {
        let addresses: Vec<IpAddr> = networks.iter().map(IpNetwork::ip).collect();
        record.nft.extend(ruleset::apart_elements(&addresses));
    }
    record.host_links = vec![HostLink {
        name: port_name.clone(),
        mac: host_mac(&plan.id).to_string(),
        bridge: Some(bridge.name.clone()),
        hairpin: bridge.port.hairpin,
        isolated: bridge.port.isolated,
        vlan: bridge.vlan,
        trunk: bridge.trunk.clone(),
    }];
    record.isolation = bridge.isolation;
    record.routes = routes(bridge, leased);
    if bridge.isolation == Isolation::Full {
        let mut routes = isolation::alone(&mut record.addresses);
        routes.append(&mut record.routes);
        record.routes = routes;
    }
    let uses_nft = !record.nft.is_empty() || !bridge.isolation.is_none();
    record.shared = shared_objects(plan, bridge, leased, networks, uses_nft);
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

/// Bridge, port, the container's end, the VLAN's gateway.
fn interfaces(
    plan: &Plan,
    bridge: &BridgePlan,
    record: &AttachmentRecord,
    facts: &BridgeFacts,
) -> Vec<Interface> {
    let bridge_mac = facts.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let one = |name: &str, mac: &str, mtu: u32, sandbox: &str| {
        interface(&MadeInterface {
            name,
            mac,
            mtu,
            sandbox,
        })
    };
    let mut interfaces = vec![one(&bridge.name, &bridge_mac, facts.bridge_mtu, "")];
    for port in &record.host_links {
        interfaces.push(one(&port.name, &port.mac, facts.mtu, ""));
    }
    if let Some(own) = &record.container_link {
        interfaces.push(one(&own.name, &own.mac, facts.mtu, &plan.netns));
    }
    if bridge.is_gateway && bridge.vlan.is_some() && !record.addresses.is_empty() {
        let link = bridge.gateway_link();
        let mac = vlan_gateway::mac(&link).to_string();
        interfaces.push(one(&link, &mac, facts.mtu, ""));
    }
    interfaces
}
