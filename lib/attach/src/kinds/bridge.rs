//! A port of a bridge: a pair of interfaces, one end in the container.

mod check;
mod record;
mod status;

use std::net::IpAddr;

use weft_cni::result::Interface;
use weft_firewall::ruleset;
use weft_kernel::link::Link;
use weft_node::names::{alias, container_mac, host_mac};
use weft_node::{Container, Host, WeftError};
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, HostLink, LinkRecord, NetworkRecord,
    Transaction, segment_of_bridge,
};

use super::{Checking, LinkKind, Making, NetworkState, PreparedLink};
use crate::add::{Leased, container_interface, host_interface};
use crate::plan::{BridgePlan, Plan};
use crate::steps::bridge::{self, BridgeFacts};
use crate::steps::container::{self, Settings};
use crate::steps::gateway::{self, Forwards};
use crate::steps::veth::{self, ContainerEnd, VlanSettings};
use crate::steps::{carrier, isolation, uplink, vlan_gateway};

impl LinkKind for BridgePlan {
    fn look<'a>(
        &'a self,
        host: &mut Host,
        plan: &'a Plan,
        _inside: &mut Container,
    ) -> Result<Box<dyn PreparedLink + 'a>, WeftError> {
        let bridge = bridge::look(host, self)?;
        let index = bridge.as_ref().map(|link| link.index);
        let uplink = match &self.uplink {
            Some(name) => Some(uplink::look(host, name, index)?),
            None => None,
        };
        let mtu = bridge::mtu(host, self, bridge.as_ref())?;
        Ok(Box::new(Port {
            plan,
            wanted: self,
            bridge,
            uplink,
            mtu,
        }))
    }

    fn check(&self, checking: &mut Checking<'_>) -> Result<(), WeftError> {
        check::check(self, checking)
    }

    fn status(&self, host: &mut Host, network: &NetworkState<'_>) -> Result<(), WeftError> {
        status::status(self, host, network)
    }

    fn gateway(&self, one: &AddressRecord) -> Option<IpAddr> {
        match self.is_gateway {
            true => one.gateway_or_first(),
            false => one.gateway,
        }
    }

    fn closed_network(&self) -> Option<NetworkRecord> {
        (!self.isolation.is_none()).then(|| NetworkRecord {
            link: self.gateway_link(),
            isolation: self.isolation,
            mesh: self.mesh.clone(),
            parent: self.parent.clone(),
            policy: self.policy.clone(),
        })
    }

    fn bridge(&self) -> Option<&str> {
        Some(&self.name)
    }
}

/// A port to be made.
struct Port<'a> {
    plan: &'a Plan,
    wanted: &'a BridgePlan,
    /// The bridge, if it is there.
    bridge: Option<Link>,
    uplink: Option<Link>,
    mtu: u32,
}

impl Port<'_> {
    /// The bridge with its uplink, made if they are missing.
    fn ensure_bridge(&self, making: &mut Making<'_>) -> Result<BridgeFacts, WeftError> {
        let facts = bridge::ensure(
            making.host,
            (self.wanted, making.record),
            self.bridge.as_ref(),
            self.mtu,
            making.created,
        )?;
        if let Some(uplink) = &self.uplink {
            uplink::ensure(making.host, uplink, facts.index, making.created)?;
        }
        Ok(facts)
    }

    /// The pair of interfaces.
    fn make_pair(
        &self,
        making: &mut Making<'_>,
        facts: &BridgeFacts,
        (port, own): (&HostLink, &ContainerLink),
    ) -> Result<(), WeftError> {
        let end = ContainerEnd {
            name: &own.name,
            mac: own
                .mac
                .unwrap_or_else(|| container_mac(&self.plan.id, None)),
            netns: Some(&making.inside.netns),
        };
        let made = veth::create(
            making.host,
            (
                port,
                ruleset::is_guarded(making.record),
                self.wanted.overlay.is_some(),
            ),
            host_mac(&self.plan.id),
            &alias(&self.plan.id),
            (facts.index, facts.mtu),
            &end,
        );
        if let Err(WeftError::Kernel(error)) = &made
            && error.is_full()
        {
            return Err(WeftError::BridgeFull {
                bridge: self.wanted.name.clone(),
            });
        }
        made?;
        let vlans = VlanSettings {
            native: self.wanted.vlan,
            trunk: &self.wanted.trunk,
            keep_default: self.wanted.preserve_default_vlan,
        };
        veth::set_vlans(making.host, &port.name, vlans)
    }

    /// Gateway addresses on the bridge or its VLAN's interface, and forwarding.
    fn make_gateway(&self, making: &mut Making<'_>, facts: &BridgeFacts) -> Result<(), WeftError> {
        let addresses = &making.record.addresses;
        if !self.wanted.is_gateway || addresses.is_empty() {
            return Ok(());
        }
        let (host, created) = (&mut *making.host, &mut *making.created);
        let link = self.wanted.gateway_link();
        let (index, forwards) = match self.wanted.vlan {
            Some(vlan) => {
                let bridge = (facts.index, facts.mtu);
                let vlan = (vlan, bridge::group_of(self.wanted.isolation));
                let made = vlan_gateway::ensure(host, &link, vlan, bridge, created)?;
                (made.index, Forwards::of(&made))
            }
            None => (facts.index, facts.forwards),
        };
        let wanted = gateway::gateway_addresses(addresses);
        let force = self.wanted.force_address;
        gateway::ensure_addresses(host, &link, index, &wanted, force, created)?;
        gateway::ensure_forwarding(host, (&link, forwards), addresses, created)
    }

    /// Bridge, port, the container's end, the VLAN's gateway.
    fn interfaces(&self, record: &AttachmentRecord, facts: &BridgeFacts) -> Vec<Interface> {
        let bridge = &self.wanted.name;
        let mut interfaces = vec![host_interface(bridge, facts.mac, facts.bridge_mtu)];
        if let Some(port) = record.link.port() {
            interfaces.push(host_interface(&port.name, Some(port.mac), facts.mtu));
        }
        if let Some(own) = record.link.own() {
            interfaces.push(container_interface(own, facts.mtu, &self.plan.netns));
        }
        let has_vlan_gateway = self.wanted.is_gateway && self.wanted.vlan.is_some();
        if has_vlan_gateway && !record.addresses.is_empty() {
            let link = self.wanted.gateway_link();
            let mac = vlan_gateway::mac(&link);
            interfaces.push(host_interface(&link, Some(mac), facts.mtu));
        }
        interfaces
    }
}

impl PreparedLink for Port<'_> {
    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn has_neighbours(&self) -> bool {
        self.uplink.is_some()
    }

    fn segment(&self) -> Option<String> {
        Some(segment_of_bridge(&self.wanted.name, self.wanted.vlan))
    }

    fn refuse_conflicts(&self, transaction: &Transaction<'_>) -> Result<(), WeftError> {
        isolation::refuse_other_modes(&self.wanted.name, self.wanted.isolation, transaction)
    }

    fn complete(
        &self,
        own: ContainerLink,
        leased: &Leased,
        record: &mut AttachmentRecord,
    ) -> Result<LinkRecord, WeftError> {
        Ok(self.name_everything(own, leased, record))
    }

    fn make_link(&self, making: &mut Making<'_>) -> Result<(), WeftError> {
        let facts = self.ensure_bridge(making)?;
        let link = &making.record.link;
        match link.port().zip(link.own()) {
            Some(ends) => self.make_pair(making, &facts, ends),
            None => Ok(()),
        }
    }

    fn apply(
        &self,
        making: &mut Making<'_>,
        settings: Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError> {
        let facts = self.ensure_bridge(making)?;
        self.make_gateway(making, &facts)?;
        let record = making.record;
        if let Some((port, own)) = record.link.port().zip(record.link.own()) {
            if !making.created.container_link {
                self.make_pair(making, &facts, (port, own))?;
            }
            container::configure(making.inside, record, own, settings)?;
            if settings.announces {
                announce(making.host, &port.name, making.inside, own)?;
            }
        }
        Ok(self.interfaces(record, &facts))
    }

    /// A container that is told that its interface is there may use it at once: what it sends is not lost.
    fn await_carrier(&self, host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
        match record.link.port() {
            Some(port) => carrier::await_port(host, &port.name),
            None => Ok(()),
        }
    }
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
