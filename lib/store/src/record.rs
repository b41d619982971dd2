//! The attachment record: everything that DEL, CHECK and GC need, written before anything exists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;
use weft_cni::result::Route;

use crate::elements::{NftRecord, texts_by_set};
use crate::isolation::Isolation;
use crate::shared::SharedObject;

/// One attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentRecord {
    /// Whose record it is.
    pub id: AttachmentId,
    /// The plugin that made it.
    pub plugin: String,
    /// When, in seconds since 1970.
    pub created_at: u64,
    /// What the container is called, if the runtime has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The container's network namespace; none for an IPAM plugin's lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRecord>,
    /// Interfaces on the host that are this attachment's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_links: Vec<HostLink>,
    /// The interface in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_link: Option<ContainerLink>,
    /// What the interface in the container sits on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRecord>,
    /// The interface of the host that was moved into the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceRecord>,
    /// The container is in the host's namespace: nothing of it is Weft's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// The host's way to the container, where there is none by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_routes: Vec<HostRoute>,
    /// What weft-tuning changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRecord>,
    /// Its routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The host is the router of its network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_routed_by_host: bool,
    /// The table that what is sent from its addresses is routed by, where the container has other interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_table: Option<u32>,
    /// Elements of nf_tables sets that are this attachment's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "texts_by_set")]
    pub nft: Vec<NftRecord>,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRecord>,
    /// What weft-bandwidth set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BandwidthRecord>,
    /// What weft-firewall changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<FirewallRecord>,
    /// Connections that are to end with the interface.
    #[serde(default, skip_serializing_if = "Ending::is_nothing")]
    pub ending: Ending,
    /// How closed its network is.
    #[serde(default, skip_serializing_if = "Isolation::is_none")]
    pub isolation: Isolation,
    /// What it shares with other attachments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedObject>,
    /// The IPAM plugin to run DEL of, if it is not Weft's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Delegate>,
    /// A digest of the configuration it was made with.
    pub config_digest: String,
}

impl AttachmentRecord {
    /// Whether both are of one ADD, whatever has been added to the record since.
    pub fn is_of_same_add(&self, other: &Self) -> bool {
        self.id == other.id
            && self.created_at == other.created_at
            && self.netns == other.netns
            && self.addresses == other.addresses
    }

    /// Whether both are in one network namespace.
    pub fn is_beside(&self, other: &Self) -> bool {
        let both = self.netns.as_ref().zip(other.netns.as_ref());
        both.is_some_and(|(own, other)| own.is_same(other))
    }

    /// Whether both are one container's. Its id alone says that only where no namespace is known: ids are given again.
    pub fn is_of_container(&self, other: &Self) -> bool {
        let both = self.netns.as_ref().zip(other.netns.as_ref());
        self.id.container_id == other.id.container_id
            && both.is_none_or(|(own, other)| own.is_same(other))
    }

    /// Whether weft-firewall keeps its container apart from others.
    pub fn is_kept_apart(&self) -> bool {
        self.firewall.as_ref().is_some_and(|one| !one.is_open)
    }

    /// The segment on which each of its addresses is to be its alone, whatever the network's name: the bridge,
    /// with its VLAN if there is one, or the master.
    pub fn segment(&self) -> Option<String> {
        if let Some(parent) = &self.parent {
            return (!parent.in_container).then(|| parent.name.clone());
        }
        let port = self.host_links.first()?;
        Some(segment_of_bridge(port.bridge.as_ref()?, port.vlan))
    }
}

/// The name of the segment that a bridge is, or one of its VLANs.
pub fn segment_of_bridge(bridge: &str, vlan: Option<u16>) -> String {
    match vlan {
        Some(vlan) => format!("{bridge}.{vlan}"),
        None => bridge.to_owned(),
    }
}

/// A container's network namespace, as it was at ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsRecord {
    /// The path.
    pub path: String,
    /// The device number of the namespace file.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
    /// The kernel's own number of it, which is never given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
}

impl NetnsRecord {
    /// Whether both are of one namespace, by whatever paths.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.cookie) == (other.dev, other.ino, other.cookie)
    }
}

/// An interface on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLink {
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: String,
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
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it was brought up.
    pub up: bool,
    /// The MAC was asked for: it does not derive from the address, and whoever has the address
    /// next has another.
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
    /// Its index.
    pub index: u32,
    /// Its address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it was up.
    pub up: bool,
    /// The length of its transmit queue.
    pub tx_queue_len: u32,
    /// Whether it took in all frames.
    pub promiscuous: bool,
    /// Whether it took in all multicast frames.
    pub all_multicast: bool,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNetwork>,
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
    pub macs: Option<(String, String)>,
}

/// Settings as they were before weft-tuning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TuningRecord {
    /// The interface in the container.
    pub ifname: String,
    /// Kernel parameters of the container's namespace: name with slashes, value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<(String, String)>,
    /// What they were set to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_sysctls: Vec<(String, String)>,
    /// The MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The host's end of the pair and its MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_mtu: Option<(String, u32)>,
    /// Promiscuous mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promiscuous: Option<bool>,
    /// All multicast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_multicast: Option<bool>,
    /// The length of the transmit queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_queue_len: Option<u32>,
}

/// What weft-bandwidth set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BandwidthRecord {
    /// The interface in the container.
    pub ifname: String,
    /// The host's interface by which what is sent to the container is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<String>,
    /// What the container sends is limited at its interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sends: bool,
    /// What it receives is limited at its interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receives: bool,
    /// Elements that are the attachment's alone; `nft` of the attachment has them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "texts_by_set")]
    pub nft: Vec<NftRecord>,
}

/// What chained plugins have taken back from an interface of Weft's. Tracked connections that began by it
/// end when the interface goes: one look at the kernel's list then instead of one a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// weft-firewall kept its addresses apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_apart: bool,
    /// weft-portmap published them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRecord>,
}

impl Ending {
    /// Whether nothing was taken back.
    pub fn is_nothing(&self) -> bool {
        !self.kept_apart && self.ports.is_empty()
    }
}

/// What weft-firewall changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirewallRecord {
    /// Nobody is kept apart: the containers are only let through other people's chains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_open: bool,
    /// Elements that are the attachment's alone; `nft` has them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "texts_by_set")]
    pub nft: Vec<NftRecord>,
    /// The container's addresses, which on another suite's interface nothing else here says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl AttachmentRecord {
    /// A record with nothing in it yet.
    pub fn new(id: AttachmentId, plugin: &str) -> Self {
        Self {
            id,
            plugin: plugin.to_owned(),
            created_at: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            name: None,
            labels: BTreeMap::new(),
            netns: None,
            host_links: Vec::new(),
            container_link: None,
            parent: None,
            device: None,
            host_network: false,
            host_routes: Vec::new(),
            tuning: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            is_routed_by_host: false,
            source_table: None,
            nft: Vec::new(),
            ports: Vec::new(),
            bandwidth: None,
            firewall: None,
            ending: Ending::default(),
            isolation: Isolation::None,
            shared: Vec::new(),
            delegate: None,
            config_digest: String::new(),
        }
    }
}

/// An address of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressRecord {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The pool it is leased from; none if another IPAM plugin manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The prefix length of its subnet, where the container has the address alone and reaches its
    /// neighbours by the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_prefix: Option<u8>,
}

impl AddressRecord {
    /// The address with the prefix length of its subnet.
    pub fn in_subnet(&self) -> IpNetwork {
        self.subnet_prefix
            .and_then(|prefix| IpNetwork::new(self.address.ip(), prefix).ok())
            .unwrap_or(self.address)
    }

    /// The gateway: IPAM's, else the first address of the subnet, as the reference's bridge plugin
    /// has it. None for a subnet without room for one, and for a container that has that address
    /// itself.
    pub fn gateway_or_first(&self) -> Option<IpAddr> {
        let network = self.in_subnet();
        let first = |network: IpNetwork| match network {
            IpNetwork::V4(v4) if v4.prefix() < 31 => v4.nth(1).map(IpAddr::from),
            IpNetwork::V6(v6) if v6.prefix() < 127 => Some(IpAddr::from(
                (u128::from(v6.network()).saturating_add(1)).to_be_bytes(),
            )),
            IpNetwork::V4(_) | IpNetwork::V6(_) => None,
        };
        self.gateway
            .or_else(|| first(network))
            .filter(|gateway| *gateway != network.ip())
    }
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRecord {
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// The host's port.
    pub host_port: u16,
    /// The host's address; none for all of the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The container's address.
    pub address: IpAddr,
    /// The container's port.
    pub container_port: u16,
}

impl PortRecord {
    /// The protocol's name.
    pub fn protocol_name(&self) -> &'static str {
        match self.protocol {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            _ => "protocol",
        }
    }
}

impl std::fmt::Display for PortRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        write!(f, "{}/{}", self.host_port, self.protocol_name())
    }
}

/// Another IPAM plugin that has to be told of the DEL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Its type.
    pub plugin: String,
}
