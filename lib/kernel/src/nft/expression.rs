//! The expressions rules are made of, as far as Weft's rules need them.

use super::attribute::Attributes;
use super::name::Name;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
pub(super) const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;

/// NFT_JUMP.
const JUMP: i32 = -3;

/// What ends a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// NF_DROP.
    Drop,
    /// NF_ACCEPT.
    Accept,
    /// NFT_RETURN.
    Return,
    /// NFT_JUMP to a chain of the same table.
    Jump(Name),
}

impl Verdict {
    const fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Return => -5,
            Self::Jump(_) => JUMP,
        }
    }

    /// Writes a verdict that jumps, `NFTA_DATA_VERDICT`.
    pub(super) fn put_jump(chain: &str, data: &mut Attributes) {
        data.nest(NFTA_DATA_VERDICT, |verdict| {
            verdict.put(NFTA_VERDICT_CODE, &JUMP.to_be_bytes());
            verdict.put_text(NFTA_VERDICT_CHAIN, chain);
        });
    }

    fn chain(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) => Some(chain),
            Self::Drop | Self::Accept | Self::Return => None,
        }
    }
}

/// An expression. Registers are numbered as `NFT_REG32_*`: four bytes each, from 8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a packet's metadatum (`NFT_META_*`).
    Meta {
        /// `NFT_META_*`.
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Loads bytes of the packet.
    Payload {
        /// Which header (`NFT_PAYLOAD_*`).
        base: u32,
        /// From which byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        register: u32,
    },
    /// Goes on only if a register equals (or, negated, differs from) a value.
    Compare {
        /// The register that is compared.
        register: u32,
        /// Differs instead of equals.
        negated: bool,
        /// In the byte order of the packet.
        value: Vec<u8>,
    },
    /// Goes on only if a register is not below one value and not above another.
    Range {
        /// The register that is compared.
        register: u32,
        /// The least.
        from: Vec<u8>,
        /// The greatest.
        to: Vec<u8>,
    },
    /// Loads a datum of the packet's connection (`NFT_CT_*`).
    Connection {
        /// `NFT_CT_*`.
        key: u32,
        /// Where to.
        register: u32,
    },
    /// Loads an address of the packet's connection, as its first packet or its answers have it.
    ConnectionAddress {
        /// `NFT_CT_SRC_IP` and others like it.
        key: u32,
        /// As answers have it.
        of_reply: bool,
        /// Where to.
        register: u32,
    },
    /// Loads what kind of address the destination is (`RTN_*`), by the routing table.
    DestinationType {
        /// Where to.
        register: u32,
    },
    /// Masks a register.
    Mask {
        /// The register that is masked.
        register: u32,
        /// The bits to keep.
        mask: Vec<u8>,
    },
    /// Goes on only if a register is in a set (or, negated, is not); a map's value is loaded.
    Lookup {
        /// In the same table.
        set: Name,
        /// The key.
        register: u32,
        /// Where a map's value goes.
        value_register: Option<u32>,
        /// Is not in the set.
        negated: bool,
    },
    /// Counts.
    Counter,
    /// Goes on only if there are more packets a second, after a burst of so many.
    RateOver {
        /// Packets a second.
        packets: u32,
        /// What may pass at once beyond the rate, in packets.
        burst: u32,
    },
    /// Goes on only if there are more bytes a second, after a burst of so many.
    BytesOver {
        /// Bytes a second.
        bytes: u64,
        /// What may pass at once beyond the rate, in bytes.
        burst: u32,
    },
    /// Goes on only if there are more connections.
    ConnectionsOver {
        /// How many.
        count: u32,
    },
    /// Ends the rule.
    Verdict(Verdict),
    /// Rewrites the source to the outgoing interface's address.
    Masquerade,
    /// Rewrites destination and port to those in registers.
    DestinationNat {
        /// NFPROTO_IPV4 or NFPROTO_IPV6.
        protocol: u32,
        /// Where the address is.
        address: u32,
        /// Where the port is.
        port: u32,
    },
    /// Rewrites the source to the address in a register.
    SourceNat {
        /// NFPROTO_IPV4 or NFPROTO_IPV6.
        protocol: u32,
        /// Where the address is.
        register: u32,
    },
}

/// A `match` expression (enum nft_match_attributes).
pub(super) fn xt_match(name: &str, revision: u32, info: &[u8]) -> Vec<u8> {
    let mut list = Attributes::default();
    list.nest(NFTA_LIST_ELEM, |element| {
        element.put_text(NFTA_EXPR_NAME, "match");
        element.nest(NFTA_EXPR_DATA, |data| {
            data.put_text(1, name);
            data.put_u32(2, revision);
            data.put(3, info);
        });
    });
    list.into_bytes()
}

/// NFT_LIMIT_F_INV, NFT_CONNLIMIT_F_INV.
const OVER: u32 = 1;

/// What exceeds so many a second.
fn put_limit(data: &mut Attributes, rate: u64, burst: u32, unit: u32) {
    const SECONDS: u64 = 1;
    data.put(1, &rate.to_be_bytes());
    data.put(2, &SECONDS.to_be_bytes());
    for (kind, value) in [(3, burst), (4, unit), (5, OVER)] {
        data.put_u32(kind, value);
    }
}

impl Expression {
    /// The kernel's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Connection { .. } | Self::ConnectionAddress { .. } => "ct",
            Self::DestinationType { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Lookup { .. } => "lookup",
            Self::Counter => "counter",
            Self::RateOver { .. } | Self::BytesOver { .. } => "limit",
            Self::ConnectionsOver { .. } => "connlimit",
            Self::Verdict(_) => "immediate",
            Self::Masquerade => "masq",
            Self::SourceNat { .. } | Self::DestinationNat { .. } => "nat",
        }
    }

    pub(super) fn put(&self, list: &mut Attributes) {
        list.nest(NFTA_LIST_ELEM, |element| self.put_parts(element));
    }

    /// Name and data, as an element of a set has them.
    pub(super) fn put_parts(&self, element: &mut Attributes) {
        element.put_text(NFTA_EXPR_NAME, self.name());
        element.nest(NFTA_EXPR_DATA, |data| self.put_data(data));
    }

    /// Attribute numbers are those of each expression's own enum in nf_tables.h.
    fn put_data(&self, data: &mut Attributes) {
        const FIB_RESULT_ADDRTYPE: u32 = 3;
        const FIB_DESTINATION: u32 = 2;
        const NAT_SOURCE: u32 = 0;
        const NAT_DESTINATION: u32 = 1;
        let mut numbers = |list: &[(u16, u32)]| {
            list.iter()
                .for_each(|(kind, value)| data.put_u32(*kind, *value));
        };
        match self {
            Self::Meta { key, register } | Self::Connection { key, register } => {
                numbers(&[(1, *register), (2, *key)]);
            }
            Self::ConnectionAddress {
                key,
                of_reply,
                register,
            } => {
                numbers(&[(1, *register), (2, *key)]);
                data.put(3, &[u8::from(*of_reply)]);
            }
            Self::Payload {
                base,
                offset,
                length,
                register,
            } => numbers(&[(1, *register), (2, *base), (3, *offset), (4, *length)]),
            Self::DestinationType { register } => {
                numbers(&[
                    (1, *register),
                    (2, FIB_RESULT_ADDRTYPE),
                    (3, FIB_DESTINATION),
                ]);
            }
            Self::DestinationNat {
                protocol,
                address,
                port,
            } => numbers(&[
                (1, NAT_DESTINATION),
                (2, *protocol),
                (3, *address),
                (5, *port),
            ]),
            Self::SourceNat { protocol, register } => {
                numbers(&[(1, NAT_SOURCE), (2, *protocol), (3, *register)]);
            }
            Self::ConnectionsOver { count } => numbers(&[(1, *count), (2, OVER)]),
            Self::RateOver { packets, burst } => {
                const PACKETS: u32 = 0;
                put_limit(data, u64::from(*packets), *burst, PACKETS);
            }
            Self::BytesOver { bytes, burst } => {
                const BYTES: u32 = 1;
                put_limit(data, *bytes, *burst, BYTES);
            }
            Self::Counter | Self::Masquerade => {}
            Self::Compare { .. }
            | Self::Range { .. }
            | Self::Mask { .. }
            | Self::Lookup { .. }
            | Self::Verdict(_) => {
                self.put_nested(data);
            }
        }
    }

    fn put_nested(&self, data: &mut Attributes) {
        match self {
            Self::Compare {
                register,
                negated,
                value,
            } => {
                data.put_u32(1, *register);
                data.put_u32(2, u32::from(*negated));
                data.nest(3, |nest| nest.put(NFTA_DATA_VALUE, value));
            }
            Self::Range { register, from, to } => {
                data.put_u32(1, *register);
                data.put_u32(2, 0);
                data.nest(3, |nest| nest.put(NFTA_DATA_VALUE, from));
                data.nest(4, |nest| nest.put(NFTA_DATA_VALUE, to));
            }
            Self::Mask { register, mask } => {
                data.put_u32(1, *register);
                data.put_u32(2, *register);
                data.put_u32(3, u32::try_from(mask.len()).unwrap_or(0));
                data.nest(4, |nest| nest.put(NFTA_DATA_VALUE, mask));
                data.nest(5, |nest| nest.put(NFTA_DATA_VALUE, &vec![0; mask.len()]));
            }
            Self::Lookup {
                set,
                register,
                value_register,
                negated,
            } => {
                data.put_text(1, set);
                data.put_u32(2, *register);
                if let Some(value_register) = value_register {
                    data.put_u32(3, *value_register);
                }
                if *negated {
                    data.put_u32(5, 1);
                }
            }
            Self::Verdict(verdict) => {
                data.put_u32(1, 0);
                data.nest(2, |nest| {
                    nest.nest(NFTA_DATA_VERDICT, |code| {
                        code.put(NFTA_VERDICT_CODE, &verdict.code().to_be_bytes());
                        if let Some(chain) = verdict.chain() {
                            code.put_text(NFTA_VERDICT_CHAIN, chain);
                        }
                    });
                });
            }
            _ => {}
        }
    }
}
