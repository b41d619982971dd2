//! One direction of a connection, as attributes say it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::nft::{attribute_bytes, attributes};

// enum ctattr_tuple, ctattr_ip, ctattr_l4proto.
const IP: u16 = 1;
const PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const IPV6_SOURCE: u16 = 3;
const IPV6_DESTINATION: u16 = 4;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const NESTED: u16 = 1 << 15;

/// One end's view of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP and so on.
    pub protocol: u8,
    /// The sender's address.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The sender's port; 0 for protocols without.
    pub source_port: u16,
    /// The receiver's port; 0 for protocols without.
    pub destination_port: u16,
}

impl Tuple {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut addresses = (None, None);
        let mut ports = (0, 0);
        let mut protocol = 0;
        for (kind, value) in attributes(bytes) {
            match kind {
                IP => addresses = read_addresses(value),
                PROTOCOL => {
                    for (kind, value) in attributes(value) {
                        let port = || {
                            value
                                .first_chunk()
                                .map_or(0, |two| u16::from_be_bytes(*two))
                        };
                        match kind {
                            NUMBER => protocol = value.first().copied().unwrap_or(0),
                            SOURCE_PORT => ports.0 = port(),
                            DESTINATION_PORT => ports.1 = port(),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self {
            protocol,
            source: addresses.0?,
            destination: addresses.1?,
            source_port: ports.0,
            destination_port: ports.1,
        })
    }

    /// The content of the attribute. Complete only for protocols with ports.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let (source, destination) = match self.source {
            IpAddr::V4(_) => (IPV4_SOURCE, IPV4_DESTINATION),
            IpAddr::V6(_) => (IPV6_SOURCE, IPV6_DESTINATION),
        };
        let mut ends = attribute_bytes(source, &octets(self.source));
        ends.extend(attribute_bytes(destination, &octets(self.destination)));
        let mut protocol = attribute_bytes(NUMBER, &[self.protocol]);
        let source_port = self.source_port.to_be_bytes();
        protocol.extend(attribute_bytes(SOURCE_PORT, &source_port));
        let destination_port = self.destination_port.to_be_bytes();
        protocol.extend(attribute_bytes(DESTINATION_PORT, &destination_port));
        let mut bytes = attribute_bytes(IP | NESTED, &ends);
        bytes.extend(attribute_bytes(PROTOCOL | NESTED, &protocol));
        bytes
    }
}

/// Source and destination.
fn read_addresses(bytes: &[u8]) -> (Option<IpAddr>, Option<IpAddr>) {
    let mut addresses = (None, None);
    for (kind, value) in attributes(bytes) {
        let v4 = || {
            value
                .first_chunk()
                .map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into())
        };
        let v6 = || {
            value
                .first_chunk()
                .map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).into())
        };
        match kind {
            IPV4_SOURCE => addresses.0 = v4(),
            IPV4_DESTINATION => addresses.1 = v4(),
            IPV6_SOURCE => addresses.0 = v6(),
            IPV6_DESTINATION => addresses.1 = v6(),
            _ => {}
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (source, destination) in [("10.1.0.2", "192.0.2.7"), ("fd00::2", "fd00::7")] {
            let tuple = Tuple {
                protocol: 17,
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                source_port: 40_000,
                destination_port: 53,
            };
            assert_eq!(Tuple::read(&tuple.bytes()), Some(tuple));
        }
    }
}
