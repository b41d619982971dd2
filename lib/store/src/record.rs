//! The attachment record: everything that DEL, CHECK and GC need, written before anything exists.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;
use weft_cni::result::Route;

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
    /// The container's network namespace; none for an IPAM plugin's lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRecord>,
    /// Interfaces on the host that are this attachment's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_links: Vec<HostLink>,
    /// The interface in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_link: Option<ContainerLink>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRecord>,
    /// Its routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Elements of nf_tables sets that are this attachment's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nft: Vec<NftRecord>,
    /// What it shares with other attachments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedObject>,
    /// The IPAM plugin to run DEL of, if it is not Weft's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Delegate>,
    /// A digest of the configuration it was made with.
    pub config_digest: String,
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
}

/// An element of one of Weft's nf_tables sets, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NftRecord {
    /// The set.
    pub set: String,
    /// The key, or the first key of a range.
    pub key: String,
    /// The last key of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_end: Option<String>,
    /// A map's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Another IPAM plugin that has to be told of the DEL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Its type.
    pub plugin: String,
}
