//! Addresses of attachments, and ports that lead to them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// An address of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressRecord {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The router for this address's routes, if it has one.
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
    /// On the host, 1 to 65535.
    pub host_port: u16,
    /// The host's address; none for all of the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The container's address.
    pub address: IpAddr,
    /// In the container, 1 to 65535.
    pub container_port: u16,
}

impl PortRecord {
    /// tcp, udp or sctp, as configurations have it.
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
