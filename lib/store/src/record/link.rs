//! What an attachment's interface is, with everything that only this kind of interface has.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_cni::Mac;

/// What an attachment's interface is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkRecord {
    /// None of Weft's: the lease of an IPAM plugin, or the interface of another suite to which chained
    /// plugins have added something.
    #[default]
    Foreign,
    /// One end of a pair; the other is on the host, a port of a bridge.
    Port {
        /// The end on the host.
        host: HostLink,
        /// The end in the container. A rebuilt store may not know it.
        own: Option<ContainerLink>,
    },
    /// A macvlan or ipvlan, which ends with its parent or its container.
    OnParent {
        /// The interface in the container.
        own: ContainerLink,
        /// What it sits on.
        parent: ParentRecord,
        /// The host's way to the container, where there is none by itself.
        host_routes: Vec<HostRoute>,
    },
    /// An interface of the host that was moved into the container.
    Moved {
        /// The interface as it is in the container.
        own: ContainerLink,
        /// The interface as it was on the host.
        device: DeviceRecord,
    },
    /// The host's: the container is in the host's namespace.
    Host {
        /// The interface that stands for the host.
        own: ContainerLink,
    },
}

impl LinkRecord {
    /// The interface in the container.
    pub fn own(&self) -> Option<&ContainerLink> {
        match self {
            Self::Foreign => None,
            Self::Port { own, .. } => own.as_ref(),
            Self::OnParent { own, .. } | Self::Moved { own, .. } | Self::Host { own } => Some(own),
        }
    }

    /// The end of a pair on the host.
    pub fn port(&self) -> Option<&HostLink> {
        match self {
            Self::Port { host, .. } => Some(host),
            Self::Foreign | Self::OnParent { .. } | Self::Moved { .. } | Self::Host { .. } => None,
        }
    }

    /// What the interface sits on.
    pub fn parent(&self) -> Option<&ParentRecord> {
        match self {
            Self::OnParent { parent, .. } => Some(parent),
            Self::Foreign | Self::Port { .. } | Self::Moved { .. } | Self::Host { .. } => None,
        }
    }

    /// The host's routes to the container.
    pub fn host_routes(&self) -> &[HostRoute] {
        match self {
            Self::OnParent { host_routes, .. } => host_routes,
            Self::Foreign | Self::Port { .. } | Self::Moved { .. } | Self::Host { .. } => &[],
        }
    }

    /// The interface of the host that is in the container, as it was.
    pub fn device(&self) -> Option<&DeviceRecord> {
        match self {
            Self::Moved { device, .. } => Some(device),
            Self::Foreign | Self::Port { .. } | Self::OnParent { .. } | Self::Host { .. } => None,
        }
    }

    /// The segment on which each address is to be one container's, whatever the network's name: the bridge,
    /// with its VLAN if there is one, or the master.
    pub fn segment(&self) -> Option<String> {
        match self {
            Self::Port { host, .. } => host.gateway_link(),
            Self::OnParent { parent, .. } => (!parent.in_container).then(|| parent.name.clone()),
            Self::Foreign | Self::Moved { .. } | Self::Host { .. } => None,
        }
    }
}

/// The name of the segment that a bridge is, or one of its VLANs.
pub fn segment_of_bridge(bridge: &str, vlan: Option<u16>) -> String {
    match vlan {
        Some(vlan) => format!("{bridge}.{vlan}"),
        None => bridge.to_owned(),
    }
}

/// An interface on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLink {
    /// In the host's namespace.
    pub name: String,
    /// Not the container's.
    pub mac: Mac,
    /// The bridge it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Bridge port: hairpin mode.
    #[serde(default)]
    pub hairpin: bool,
    /// Bridge port: isolated.
    #[serde(default)]
    pub isolated: bool,
    /// The VLAN of untagged frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The VLANs of tagged frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<u16>,
}

impl HostLink {
    /// The interface that holds the gateway addresses of this bridge port: the bridge, or the
    /// interface of the port's VLAN. None for what is no port of a bridge.
    pub fn gateway_link(&self) -> Option<String> {
        let bridge = self.bridge.as_ref()?;
        Some(segment_of_bridge(bridge, self.vlan))
    }
}

/// The interface in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerLink {
    /// In the container.
    pub name: String,
    /// Its MAC; none for an interface without.
    #[serde(with = "mac_text")]
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it was brought up.
    pub up: bool,
    /// The MAC was asked for: it does not derive from the address, and the address's next holder
    /// has another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_own_mac: bool,
}

/// What an interface in a container sits on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRecord {
    /// The parent's name.
    pub name: String,
    /// The parent is in the container too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_container: bool,
    /// The driver of the interface on it: macvlan, ipvlan.
    pub driver: String,
    /// Its mode, and its flag if that is not the usual one: "bridge", "l3 private".
    pub mode: String,
}

/// An interface of the host that is in a container, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRecord {
    /// Its name on the host.
    pub name: String,
    /// The name it has besides, by which it is found wherever it is and whatever it is called.
    pub alternative_name: String,
    /// In the host's namespace.
    pub index: u32,
    /// What it is known by that a container cannot change; none in a record of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<DeviceIdentity>,
    /// Its group of links.
    #[serde(default, skip_serializing_if = "is_default_group")]
    pub group: u32,
    /// Its alias, empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Its other alternative names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternative_names: Vec<String>,
    /// Its MAC; none for an interface without.
    #[serde(with = "mac_text")]
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it was up.
    pub up: bool,
    /// The length of its transmit queue.
    pub tx_queue_len: u32,
    /// Those of its flags (`IFF_*`) that can be changed; none in a record of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
    /// Whether it took in all frames.
    pub promiscuous: bool,
    /// Whether it took in all multicast frames.
    pub all_multicast: bool,
    /// What the device had on the host, to be put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNetwork>,
}

fn is_default_group(group: &u32) -> bool {
    *group == 0
}

/// What an interface is known by: a container that has it can change its names, alias, group and MAC, and make
/// another interface that looks the same by these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentity {
    /// Its driver, as `ip -d link` names it; none for hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The address that the hardware came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent_mac: Option<Mac>,
    /// The interface that it sits on, or the other end of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<DevicePeer>,
    /// Its index in the container.
    pub index_inside: u32,
}

/// The interface that a device sits on, or its pair's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePeer {
    /// Its index in its namespace.
    pub index: u32,
    /// The id of that namespace, seen from the host's; none if it is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_id: Option<i32>,
}

/// A route of the host to one address of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostRoute {
    /// The container's address.
    pub address: IpAddr,
    /// The interface of the host.
    pub link: String,
    /// The host's address.
    pub source: IpAddr,
    /// The container's MAC and the host interface's, where they do not ask each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<(Mac, Mac)>,
}

/// A MAC that there may not be, as a text that may be empty.
mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use weft_cni::Mac;

    pub(super) fn serialize<S: Serializer>(
        mac: &Option<Mac>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => serializer.collect_str(mac),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Mac>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}
