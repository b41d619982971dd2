//! The packets that other people's rules are tried with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_cni::IpFamily;

/// A packet between a container and outside, as it is when it is forwarded, or between a container and the host, as it is
/// when the host gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) input: Interface,
    pub(super) output: Interface,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// It answers; else it begins a connection.
    pub(super) is_answer: bool,
    kind: Kind,
    /// The server's.
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// An interface that the packet passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

const OWN_PORT: u16 = 40_000;
/// Where nothing else is said: the web.
const SERVER_PORT: u16 = 80;
/// Name servers.
pub(super) const NAMES_PORT: u16 = 53;

impl Packet {
    /// What a container sends to begin a connection with outside, and what is answered.
    pub(super) fn pair(link: &Interface, outside: &Interface, address: IpAddr) -> [Self; 2] {
        // Somewhere in the Internet. Nothing is sent there; what is reserved for documentation is often dropped.
        let beyond: IpAddr = match IpFamily::of(address) {
            IpFamily::V4 => Ipv4Addr::new(9, 9, 9, 9).into(),
            IpFamily::V6 => Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe).into(),
        };
        let sent = Self {
            input: link.clone(),
            output: outside.clone(),
            source: address,
            destination: beyond,
            is_answer: false,
            kind: Kind::Tcp,
            port: SERVER_PORT,
        };
        let answer = Self {
            input: outside.clone(),
            output: link.clone(),
            source: beyond,
            destination: address,
            is_answer: true,
            kind: Kind::Tcp,
            port: SERVER_PORT,
        };
        [sent, answer]
    }

    /// A container's questions to a name server of the host, by each protocol.
    pub(super) fn questions(link: &Interface, address: IpAddr, server: IpAddr) -> [Self; 2] {
        [Kind::Udp, Kind::Tcp].map(|kind| Self {
            input: link.clone(),
            output: Interface::new("", 0),
            source: address,
            destination: server,
            is_answer: false,
            kind,
            port: NAMES_PORT,
        })
    }

    /// By its source address.
    pub(super) fn family(&self) -> IpFamily {
        IpFamily::of(self.source)
    }

    /// The IP header.
    pub(super) fn network_header(&self) -> Vec<u8> {
        const HOPS: u8 = 63;
        let protocol = self.protocol();
        let length: u16 = match self.kind {
            Kind::Tcp => 20,
            Kind::Udp => 8,
        };
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [high, low] = (20 + length).to_be_bytes();
                let mut header = vec![0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, protocol, 0, 0];
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [high, low] = length.to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, high, low, protocol, HOPS];
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            _ => Vec::new(),
        }
    }

    /// The header of TCP or UDP.
    pub(super) fn transport_header(&self) -> Vec<u8> {
        const SYN: u8 = 0x02;
        const SYN_ACK: u8 = 0x12;
        let (ports, flags) = match self.is_answer {
            true => ([self.port, OWN_PORT], SYN_ACK),
            false => ([OWN_PORT, self.port], SYN),
        };
        let mut header: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        match self.kind {
            Kind::Tcp => {
                header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Kind::Udp => header.extend([0, 8, 0, 0]),
        }
        header
    }

    /// IPPROTO_TCP or IPPROTO_UDP.
    pub(super) const fn protocol(&self) -> u8 {
        match self.kind {
            Kind::Tcp => 6,
            Kind::Udp => 17,
        }
    }
}

impl Interface {
    /// An interface of the host.
    pub(super) fn new(name: &str, index: u32) -> Self {
        Self {
            name: name.to_owned(),
            index,
        }
    }

    /// The name as the kernel compares it.
    pub(super) fn name_bytes(&self) -> Vec<u8> {
        let mut bytes = self.name.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    }
}
