//! What chained plugins have added to an attachment.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_cni::Mac;

use super::address::PortRecord;
use super::names::NamesRecord;
use super::warp::WarpRecord;
use crate::elements::{NftRecord, by_set};

/// What one chained plugin has added. Each kind is there at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// weft-tuning's, or the kernel parameters of an interface plugin.
    Settings(TuningRecord),
    /// weft-portmap's: ports of the host that lead to the container.
    Ports(Vec<PortRecord>),
    /// weft-bandwidth's.
    Limits(BandwidthRecord),
    /// weft-firewall's.
    Apart(FirewallRecord),
    /// weft-dns's.
    Names(NamesRecord),
    /// weft-warp's.
    Warp(WarpRecord),
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
    /// The MAC before weft-tuning changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The MTU before weft-tuning changed it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The host's end of the pair and its MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_mtu: Option<(String, u32)>,
    /// Promiscuous mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promiscuous: Option<bool>,
    /// `allmulti` before weft-tuning changed it.
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
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "by_set")]
    pub nft: Vec<NftRecord>,
}

/// What weft-firewall changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirewallRecord {
    /// No container is kept apart: they are only admitted to the chains of other firewalls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_open: bool,
    /// Elements that are the attachment's alone; `nft` has them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "by_set")]
    pub nft: Vec<NftRecord>,
    /// The container's addresses, which on another suite's interface nothing else here says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
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
