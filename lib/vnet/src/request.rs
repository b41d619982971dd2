//! What is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_cni::Mac;

use crate::driver::DriverType;
use crate::error::VNetError;
use crate::isolation::IsolationMode;

/// A network to be made. What is left out is chosen.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// Unique on the host.
    pub name: String,
    /// The kind; else that of the configuration.
    pub driver: Option<DriverType>,
    /// How closed it is to be; else as the configuration says, for kinds that can be closed.
    pub isolation: Option<IsolationMode>,
    /// Its subnets, one of a family.
    pub subnets: Vec<IpNetwork>,
    /// The gateways, each in one of the subnets; else the first address of a bridge's.
    pub gateways: Vec<IpAddr>,
    /// What part of each subnet addresses are given from.
    pub ip_ranges: Vec<IpRange>,
    /// Whether it has IPv6 addresses too; else as the configuration says.
    pub ipv6: Option<bool>,
    /// It has no way to the outside.
    pub is_internal: bool,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// The interface of the host that it sits on: the master of a macvlan or ipvlan, the device of a host network, a
    /// port of the bridge.
    pub uplink: Option<String>,
    /// With isolation mesh: it and the network of this name reach each other.
    pub parent: Option<String>,
    /// With isolation mesh: networks with the same word reach each other.
    pub mesh: Option<String>,
    /// Its containers find each other by name; none: they do not.
    pub names: Option<NamesRequest>,
    /// Words of its maker's.
    pub labels: BTreeMap<String, String>,
    /// Further keys of its interface plugin: docs/configuration.md.
    pub options: BTreeMap<String, Value>,
}

/// How a network's containers find each other by name. The daemon answers them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamesRequest {
    /// The domain of their names; else the network's name below the host's domain.
    pub domain: Option<String>,
    /// What is asked for names of others; else the host's servers. An internal network asks nobody.
    pub upstreams: Vec<IpAddr>,
}

/// A part of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    /// The first address.
    pub start: IpAddr,
    /// The last one.
    pub end: IpAddr,
}

impl FromStr for IpRange {
    type Err = VNetError;

    /// As a prefix, or as `FIRST-LAST`.
    fn from_str(text: &str) -> Result<Self, VNetError> {
        let invalid = || VNetError::Invalid {
            what: format!("range {text:?}"),
            why: "must be a prefix, or the first and the last address with '-' between them".into(),
        };
        if let Some((start, end)) = text.split_once('-') {
            let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| invalid());
            let (start, end) = (address(start)?, address(end)?);
            let is_right = start.is_ipv4() == end.is_ipv4() && start <= end;
            return is_right.then_some(Self { start, end }).ok_or_else(invalid);
        }
        let prefix: IpNetwork = text.parse().map_err(|_| invalid())?;
        Ok(Self {
            start: prefix.network(),
            end: match prefix {
                IpNetwork::V4(v4) => v4.broadcast().into(),
                IpNetwork::V6(v6) => v6.broadcast().into(),
            },
        })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// What is to change of a network. What is left out stays.
#[derive(Debug, Clone, Default)]
pub struct NetworkUpdate {
    /// How closed it is to be. Only while it has no endpoints.
    pub isolation: Option<IsolationMode>,
    /// Labels to be set, or removed where there is no value.
    pub labels: BTreeMap<String, Option<String>>,
    /// Keys of the interface plugin to be set, or removed where there is no value. For endpoints from now on.
    pub options: BTreeMap<String, Option<Value>>,
}

/// An endpoint to be made. What is left out is chosen.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// The container's id, unique among the host's.
    pub container_id: String,
    /// The path of its network namespace.
    pub netns: PathBuf,
    /// The interface's name in it; else the first of eth0, eth1 and so on that is free.
    pub interface_name: Option<String>,
    /// Its addresses, one of a family.
    pub ip_addresses: Vec<IpAddr>,
    /// Its MAC.
    pub mac_address: Option<Mac>,
    /// What policies and DNS call it.
    pub name: Option<String>,
    /// Further names in DNS.
    pub aliases: Vec<String>,
    /// For policies.
    pub labels: BTreeMap<String, String>,
    /// Further capability arguments, such as `portMappings`.
    pub capability_args: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_prefixes_or_two_addresses() {
        let range = |text: &str| text.parse::<IpRange>().map(|range| range.to_string());
        assert_eq!(range("10.0.0.64/26").unwrap(), "10.0.0.64-10.0.0.127");
        assert_eq!(range("10.0.0.5 - 10.0.0.9").unwrap(), "10.0.0.5-10.0.0.9");
        for wrong in [
            "",
            "10.0.0.9-10.0.0.5",
            "10.0.0.1-fd00::1",
            "a-b",
            "10.0.0.0/40",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
