//! What sets are of: the fields of their keys, and what is done with them.

/// The type of one field of a key, with the number `nft` knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// ipv4_addr.
    Ipv4,
    /// ipv6_addr.
    Ipv6,
    /// ether_addr.
    Ether,
    /// ifname.
    IfName,
    /// inet_proto.
    Protocol,
    /// inet_service: a port, big-endian.
    Service,
}

impl Key {
    const fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Ether => 9,
            Self::IfName => 41,
            Self::Protocol => 12,
            Self::Service => 13,
        }
    }

    /// A field in words.
    pub fn text(self, bytes: &[u8]) -> String {
        let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Ipv4 => bytes
                .first_chunk::<4>()
                .map_or_else(hex, |ip| std::net::Ipv4Addr::from(*ip).to_string()),
            Self::Ipv6 => bytes
                .first_chunk::<16>()
                .map_or_else(hex, |ip| std::net::Ipv6Addr::from(*ip).to_string()),
            Self::Ether => bytes
                .first_chunk::<6>()
                .map_or_else(hex, |mac| weft_cni::Mac(*mac).to_string()),
            Self::IfName => String::from_utf8_lossy(bytes)
                .trim_end_matches('\0')
                .to_owned(),
            Self::Protocol => bytes.first().map_or_else(hex, |number| match number {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                58 => "icmpv6".to_owned(),
                132 => "sctp".to_owned(),
                other => other.to_string(),
            }),
            Self::Service => bytes
                .first_chunk::<2>()
                .map_or_else(hex, |port| u16::from_be_bytes(*port).to_string()),
        }
    }

    /// How long a field is, without padding.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::IfName => 16,
            Self::Ether => 6,
            Self::Protocol => 1,
            Self::Service => 2,
        }
    }
}

/// The number `nft` knows several fields by.
pub(super) fn type_number(fields: &[Key]) -> u32 {
    fields.iter().fold(0, |all, key| all << 6 | key.number())
}

/// How many bytes a key or a value of these fields has.
pub(super) fn bytes_of(fields: &[Key]) -> u32 {
    match fields {
        [only] => only.bytes(),
        several => several
            .iter()
            .map(|field| field.bytes().next_multiple_of(4))
            .sum(),
    }
}

/// What a set does with its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// A hash of keys.
    Hash,
    /// Ranges of keys. Changing it is not O(1): for few elements only.
    Interval,
    /// A hash from keys to values, which may have several fields too.
    Map(&'static [Key]),
    /// A hash from keys to chains to jump to; an element's value is the chain's name.
    Verdicts,
    /// A hash of keys, each of which counts the packets that find it.
    Counted,
    /// A hash of keys, each with a number of packets a second: found by what is beyond. An element's
    /// value is the rate and the burst, four bytes each, big-endian.
    Rate,
    /// A hash of keys, each with a number of connections: found by what is beyond. An element's value
    /// is the number, four bytes, big-endian.
    Connections,
}
