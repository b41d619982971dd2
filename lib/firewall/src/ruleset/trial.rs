//! Weft's own rules, tried with packets in a test: no kernel and no root is needed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_cni::{IpFamily, Mac};
use weft_kernel::nft::{Chain, Expression, Set, SetKind, Verdict};
use weft_store::NftRecord;

use super::element;
use super::key::{ifname_bytes, ip_bytes};

/// A packet, or the frame that it is in.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) input: &'static str,
    pub(crate) output: &'static str,
    pub(crate) destination_mac: Mac,
    pub(crate) source_mac: Mac,
    pub(crate) ether_type: [u8; 2],
    pub(crate) network: Vec<u8>,
    pub(crate) protocol: u8,
    pub(crate) transport: Vec<u8>,
    /// `ct state` and `ct status`, as the kernel's bits.
    pub(crate) state: u32,
    pub(crate) status: u32,
    /// The source of the connection, and that of its answers.
    pub(crate) ends: [IpAddr; 2],
    /// The group of the interface that it came by.
    pub(crate) group: u32,
    /// The group of the one that it leaves by.
    pub(crate) output_group: u32,
    /// It is beyond every limit.
    pub(crate) is_beyond: bool,
}

pub(crate) const NEW: u32 = 1 << 3;
pub(crate) const ESTABLISHED: u32 = 1 << 1;
pub(crate) const INVALID: u32 = 1;
pub(crate) const RELATED: u32 = 1 << 2;
pub(crate) const TRANSLATED: u32 = 1 << 5;

impl Packet {
    /// A TCP packet that begins a connection.
    pub(crate) fn tcp(from: &str, to: &str, port: u16) -> Self {
        let (source, destination): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let is_ipv4 = IpFamily::of(source) == IpFamily::V4;
        let mut network = vec![0; if is_ipv4 { 12 } else { 8 }];
        network.extend(ip_bytes(source));
        network.extend(ip_bytes(destination));
        let mut transport = 40_000_u16.to_be_bytes().to_vec();
        transport.extend(port.to_be_bytes());
        transport.resize(20, 0);
        Self {
            input: "",
            output: "",
            destination_mac: Mac([2, 0, 0, 0, 0, 1]),
            source_mac: Mac([2, 0, 0, 0, 0, 2]),
            ether_type: if is_ipv4 { [0x08, 0] } else { [0x86, 0xdd] },
            network,
            protocol: 6,
            transport,
            state: NEW,
            status: 0,
            ends: [source, destination],
            group: 0,
            output_group: 0,
            is_beyond: false,
        }
    }

    /// The same by interfaces.
    pub(crate) fn by(self, input: &'static str, output: &'static str) -> Self {
        Self {
            input,
            output,
            ..self
        }
    }
}

/// Chains and elements.
pub(crate) struct Trial {
    chains: BTreeMap<String, Vec<Vec<Expression>>>,
    elements: BTreeMap<String, Vec<(SetKind, weft_kernel::nft::Element)>>,
}

type Registers = [u8; 128];

fn place(register: u32) -> usize {
    usize::try_from(register - 8).unwrap() * 4
}

impl Trial {
    pub(crate) fn new(chains: Vec<(Chain, Vec<Vec<Expression>>)>) -> Self {
        let named = chains.into_iter();
        Self {
            chains: named
                .map(|(chain, rules)| (chain.name.to_string(), rules))
                .collect(),
            elements: BTreeMap::new(),
        }
    }

    /// Puts rules into a chain.
    pub(crate) fn fill(&mut self, chain: &str, rules: Vec<Vec<Expression>>) {
        self.chains.insert(chain.to_owned(), rules);
    }

    /// Adds elements, as records name them.
    pub(crate) fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a NftRecord>) {
        for record in records {
            let (set, element): (Set, _) = element(record, "").unwrap();
            let there = self.elements.entry(set.name.to_string()).or_default();
            there.push((set.kind, element));
        }
    }

    /// Whether a base chain lets a packet through; its policy is to accept.
    pub(crate) fn passes(&self, chain: &str, packet: &Packet) -> bool {
        self.chain(chain, packet) != Some(Verdict::Drop)
    }

    fn chain(&self, name: &str, packet: &Packet) -> Option<Verdict> {
        for rule in &self.chains[name] {
            let verdict = match self.rule(rule, packet) {
                Some(Verdict::Jump(chain)) => self.chain(&chain, packet),
                Some(Verdict::Return) => return None,
                other => other,
            };
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    fn rule(&self, rule: &[Expression], packet: &Packet) -> Option<Verdict> {
        let mut registers: Registers = [0; 128];
        for expression in rule {
            match expression {
                Expression::Meta { .. }
                | Expression::Payload { .. }
                | Expression::Connection { .. }
                | Expression::ConnectionAddress { .. } => load(expression, packet, &mut registers)?,
                Expression::Compare {
                    register,
                    negated,
                    value,
                } => {
                    let at = place(*register);
                    if (registers[at..at + value.len()] == value[..]) == *negated {
                        return None;
                    }
                }
                Expression::Range { register, from, to } => {
                    let at = place(*register);
                    let there = &registers[at..at + from.len()];
                    if !(from.as_slice() <= there && there <= to.as_slice()) {
                        return None;
                    }
                }
                Expression::Mask { register, mask } => {
                    let at = place(*register);
                    for (byte, mask) in registers[at..].iter_mut().zip(mask) {
                        *byte &= mask;
                    }
                }
                Expression::Lookup {
                    set,
                    register,
                    value_register,
                    negated,
                } => {
                    let found = self.find(set, &registers[place(*register)..], packet);
                    if found.is_some() == *negated {
                        return None;
                    }
                    // A map of verdicts.
                    if *value_register == Some(0) {
                        let chain = found.flatten().unwrap();
                        return Some(Verdict::Jump(String::from_utf8(chain).unwrap().into()));
                    }
                }
                Expression::Verdict(verdict) => return Some(verdict.clone()),
                Expression::Counter => {}
                other @ (Expression::DestinationType { .. }
                | Expression::RateOver { .. }
                | Expression::BytesOver { .. }
                | Expression::ConnectionsOver { .. }
                | Expression::Masquerade
                | Expression::DestinationNat { .. }
                | Expression::SourceNat { .. }) => panic!("{other:?} is not known here"),
            }
        }
        None
    }

    /// The value of an element that a key finds.
    fn find(&self, set: &str, key: &[u8], packet: &Packet) -> Option<Option<Vec<u8>>> {
        let elements = self.elements.get(set)?;
        let is_found = |(kind, element): &&(SetKind, weft_kernel::nft::Element)| {
            let key = &key[..element.key.len()];
            let is_within = match &element.key_end {
                // Fields of one length each.
                Some(end) => {
                    let half = key.len() / 2;
                    [0..half, half..key.len()].into_iter().all(|part| {
                        element.key[part.clone()] <= key[part.clone()]
                            && key[part.clone()] <= end[part]
                    })
                }
                None => element.key == key,
            };
            let is_limit = matches!(kind, SetKind::Rate | SetKind::Connections);
            is_within && (!is_limit || packet.is_beyond)
        };
        let found = elements.iter().find(is_found);
        found.map(|(_, element)| element.value.clone())
    }
}

/// Loads a datum of the packet; none if it has none.
fn load(expression: &Expression, packet: &Packet, registers: &mut Registers) -> Option<()> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the caller's four")]
    let (register, bytes) = match expression {
        Expression::Meta { key, register } => (register, meta(*key, packet)),
        Expression::Payload {
            base,
            offset,
            length,
            register,
        } => {
            let at = usize::try_from(*offset).unwrap();
            let bytes = payload(*base, packet);
            let part = bytes.get(at..at + usize::try_from(*length).unwrap())?;
            (register, part.to_vec())
        }
        // A packet of no connection has no status.
        Expression::Connection { key, .. } if *key != 0 && packet.state == INVALID => return None,
        Expression::Connection { key: 0, register } => {
            (register, packet.state.to_ne_bytes().to_vec())
        }
        Expression::Connection { register, .. } => (register, packet.status.to_ne_bytes().to_vec()),
        Expression::ConnectionAddress {
            of_reply, register, ..
        } => (register, ip_bytes(packet.ends[usize::from(*of_reply)])),
        other => panic!("{other:?} loads nothing"),
    };
    put(registers, *register, &bytes);
    Some(())
}

fn put(registers: &mut Registers, register: u32, bytes: &[u8]) {
    let at = place(register);
    let padded = bytes.len().next_multiple_of(4);
    registers[at..at + padded].fill(0);
    registers[at..at + bytes.len()].copy_from_slice(bytes);
}

fn meta(key: u32, packet: &Packet) -> Vec<u8> {
    match key {
        1 => packet.ether_type.to_vec(),
        6 => ifname_bytes(packet.input),
        7 => ifname_bytes(packet.output),
        8 => 1_u16.to_ne_bytes().to_vec(),
        15 => vec![if packet.ether_type == [0x08, 0] {
            2
        } else {
            10
        }],
        16 => vec![packet.protocol],
        21 => packet.group.to_ne_bytes().to_vec(),
        22 => packet.output_group.to_ne_bytes().to_vec(),
        other => panic!("meta {other} is not known here"),
    }
}

fn payload(base: u32, packet: &Packet) -> Vec<u8> {
    match base {
        0 => [
            &packet.destination_mac.0[..],
            &packet.source_mac.0,
            &packet.ether_type,
        ]
        .concat(),
        1 => packet.network.clone(),
        _ => packet.transport.clone(),
    }
}
