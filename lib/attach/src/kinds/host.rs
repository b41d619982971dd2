//! The host's network: nothing is made, and the attachment is only recorded.

use ipnetwork::IpNetwork;
use weft_cni::Mac;
use weft_cni::result::Interface;
use weft_kernel::address;
use weft_kernel::link::{self, Link};
use weft_node::{Container, Host, WeftError, default_route};
use weft_store::{AddressRecord, AttachmentRecord, ContainerLink, LinkRecord};

use super::{Checking, LinkKind, Making, NetworkState, PreparedLink};
use crate::add::{Leased, container_interface};
use crate::plan::{HostPlan, Plan};
use crate::status::unavailable;
use crate::steps::container::Settings;

impl LinkKind for HostPlan {
    fn look<'a>(
        &'a self,
        host: &mut Host,
        plan: &'a Plan,
        _inside: &mut Container,
    ) -> Result<Box<dyn PreparedLink + 'a>, WeftError> {
        let link = interface(host, self)?;
        let addresses = addresses(host, &link)?;
        Ok(Box::new(HostLink {
            plan,
            link,
            addresses,
        }))
    }

    /// The record says all.
    fn check(&self, _checking: &mut Checking<'_>) -> Result<(), WeftError> {
        Ok(())
    }

    fn status(&self, host: &mut Host, _network: &NetworkState<'_>) -> Result<(), WeftError> {
        interface(host, self).map(drop).map_err(unavailable)
    }

    fn is_in_host(&self) -> bool {
        true
    }
}

struct HostLink<'a> {
    plan: &'a Plan,
    link: Link,
    /// The host's addresses, which the container shares.
    addresses: Vec<AddressRecord>,
}

impl PreparedLink for HostLink<'_> {
    fn mtu(&self) -> u32 {
        self.link.mtu
    }

    fn fixed_mac(&self) -> Option<Mac> {
        self.link.mac
    }

    fn own_addresses(&self) -> Vec<AddressRecord> {
        self.addresses.clone()
    }

    fn has_neighbours(&self) -> bool {
        true
    }

    fn complete(
        &self,
        _own: ContainerLink,
        _leased: &Leased,
        _record: &mut AttachmentRecord,
    ) -> Result<LinkRecord, WeftError> {
        Ok(LinkRecord::Host {
            own: ContainerLink {
                name: self.link.name.clone(),
                mac: self.link.mac,
                mtu: self.link.mtu,
                up: self.link.is_up,
                has_own_mac: true,
            },
        })
    }

    fn apply(
        &self,
        making: &mut Making<'_>,
        _settings: Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError> {
        let own = making.record.link.own().into_iter();
        Ok(own
            .map(|own| container_interface(own, own.mtu, &self.plan.netns))
            .collect())
    }
}

/// The interface that stands for the host.
fn interface(host: &mut Host, plan: &HostPlan) -> Result<Link, WeftError> {
    let socket = host.route()?;
    let found = match &plan.interface {
        Some(name) => link::find(socket, name)?,
        None => default_route::interface(socket)?,
    };
    let name = plan.interface.as_deref();
    found.ok_or_else(|| WeftError::Conflict {
        key: "interface",
        name: name.unwrap_or("(none)").to_owned(),
        why: match name {
            Some(_) => "does not exist".to_owned(),
            None => "is not set, and there is no default route whose interface could be taken"
                .to_owned(),
        },
    })
}

fn addresses(host: &mut Host, link: &Link) -> Result<Vec<AddressRecord>, WeftError> {
    let there = address::list(host.route()?, link.index)?;
    let is_shown = |address: &IpNetwork| match address {
        IpNetwork::V6(v6) => !v6.ip().is_unicast_link_local(),
        IpNetwork::V4(_) => true,
    };
    Ok(there
        .into_iter()
        .map(|assigned| assigned.address)
        .filter(is_shown)
        .map(|address| AddressRecord {
            address,
            gateway: None,
            pool: None,
            subnet_prefix: None,
        })
        .collect())
}
