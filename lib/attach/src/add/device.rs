//! ADD for an interface of the host: moved into the container, or only named, where the container
//! is in the host's namespace.

use weft_cni::result::Interface;
use weft_kernel::address;
use weft_kernel::link::{self, Link};
use weft_node::names::alternative_name;
use weft_node::{Container, Host, WeftError, default_route};
use weft_store::{AddressRecord, AttachmentRecord, ContainerLink, DeviceRecord};

use super::result::{MadeInterface, interface};
use crate::plan::{DevicePlan, Plan};
use crate::steps::container::{self, Settings};
use crate::steps::device;

pub(super) struct DeviceSide {
    pub(super) link: Link,
    /// The host's addresses, if the container shares them.
    pub(super) addresses: Vec<AddressRecord>,
    /// How the interface is, if it is to be moved.
    moved: Option<DeviceRecord>,
}

impl DeviceSide {
    pub(super) fn look(
        host: &mut Host,
        plan: &Plan,
        wanted: &DevicePlan,
    ) -> Result<Self, WeftError> {
        match wanted {
            DevicePlan::Moved(selector) => {
                let link = device::look(host, selector)?;
                let moved = device::record(host, &link, alternative_name(&plan.id))?;
                Ok(Self {
                    link,
                    addresses: Vec::new(),
                    moved: Some(moved),
                })
            }
            DevicePlan::Shared(name) => {
                let link = shared(host, name.as_deref())?;
                let addresses = addresses(host, &link)?;
                Ok(Self {
                    link,
                    addresses,
                    moved: None,
                })
            }
        }
    }

    pub(super) fn complete(&self, record: &mut AttachmentRecord) {
        record.device.clone_from(&self.moved);
        if self.moved.is_none() {
            record.host_network = true;
            record.container_link = Some(ContainerLink {
                name: self.link.name.clone(),
                mac: self.link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                mtu: self.link.mtu,
                up: self.link.is_up,
                has_own_mac: true,
            });
        }
    }

    pub(super) fn apply(
        &self,
        host: &mut Host,
        plan: &Plan,
        record: &AttachmentRecord,
        inside: &mut Container,
        settings: Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError> {
        let Some(own) = &record.container_link else {
            return Ok(Vec::new());
        };
        if let Some(moved) = &record.device {
            device::take(host, inside, moved, &own.name)?;
            let mac = plan.settings.mac;
            container::configure(inside, record, own, Settings { mac, ..settings })?;
        }
        Ok(vec![interface(&MadeInterface {
            name: &own.name,
            mac: &own.mac,
            mtu: own.mtu,
            sandbox: &plan.netns,
        })])
    }
}

/// The interface that stands for the host.
pub(crate) fn shared(host: &mut Host, name: Option<&str>) -> Result<Link, WeftError> {
    let socket = host.route()?;
    let found = match name {
        Some(name) => link::find(socket, name)?,
        None => default_route::interface(socket)?,
    };
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
    let is_shown = |address: &ipnetwork::IpNetwork| match address {
        ipnetwork::IpNetwork::V6(v6) => !v6.ip().is_unicast_link_local(),
        ipnetwork::IpNetwork::V4(_) => true,
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
