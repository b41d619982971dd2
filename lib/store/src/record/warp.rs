//! What weft-warp records: a container whose traffic goes through another one, or one that leads others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;

use crate::elements::{NftRecord, by_set};

/// A target or a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarpRecord {
    /// What the container is called.
    pub name: String,
    /// Its labels, and what the configuration asks for, as labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its addresses, with the prefix length of the network's subnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNetwork>,
    /// The network's routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<IpAddr>,
    /// It leads others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_gateway: bool,
    /// A gateway's parameters as they were before: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwarding: Vec<(String, String)>,
    /// The attachment of the gateway that a target is opened for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_by: Option<AttachmentId>,
    /// Elements that open it; `nft` of the attachment has them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "by_set")]
    pub nft: Vec<NftRecord>,
}
