//! One rule of nf_tables, tried with one packet.
//!
//! What is not understood is neither true nor false: the caller takes nothing for certain then. Numbers are those of
//! linux/netfilter/nf_tables.h.

use weft_cni::IpFamily;
use weft_kernel::nft::{Attribute, Element, nested};

use super::packet::Packet;

/// What an expression says of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The rule goes on.
    Next,
    /// It does not match.
    Break,
    /// Not known here.
    Unknown,
    /// It ends.
    Verdict(Outcome),
}

/// How a rule ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// What cannot be told: one of several, or none.
    Any,
}

/// Looks into a set or a map by its name: the element that a key has, none if it has none; if that can be told.
pub(super) type Sets<'a> = dyn FnMut(&str, &[u8]) -> Option<Option<Element>> + 'a;

/// The registers: bytes that are known, or not.
struct Registers([Option<u8>; 80]);

fn field(data: &[Attribute], wanted: u16) -> Option<&[u8]> {
    let found = data.iter().find(|(kind, _)| *kind == wanted);
    found.map(|(_, value)| value.as_slice())
}

fn number(data: &[Attribute], wanted: u16) -> Option<u32> {
    field(data, wanted)?
        .first_chunk::<4>()
        .copied()
        .map(u32::from_be_bytes)
}

/// The bytes of a nested value (NFTA_DATA_VALUE).
fn value(data: &[Attribute], wanted: u16) -> Option<Vec<u8>> {
    const VALUE: u16 = 1;
    let inner = nested(field(data, wanted)?);
    field(&inner, VALUE).map(<[u8]>::to_vec)
}

impl Registers {
    /// Where a register begins: NFT_REG_1 to 4 have sixteen bytes, NFT_REG32_00 and so on four.
    fn start(register: u32) -> usize {
        let unit = match register {
            0..=4 => register.saturating_sub(1) * 4,
            many => many - 8,
        };
        usize::try_from(unit * 4).unwrap_or(0).min(64)
    }

    fn put(&mut self, register: u32, bytes: &[u8]) {
        let start = Self::start(register);
        let padded = bytes.len().next_multiple_of(4);
        let bytes = bytes
            .iter()
            .copied()
            .chain(std::iter::repeat(0))
            .take(padded);
        for (place, byte) in self.0.iter_mut().skip(start).zip(bytes) {
            *place = Some(byte);
        }
    }

    fn forget(&mut self, register: u32) {
        let start = Self::start(register);
        self.0
            .iter_mut()
            .skip(start)
            .take(16)
            .for_each(|place| *place = None);
    }

    fn get(&self, register: u32, length: usize) -> Option<Vec<u8>> {
        let bytes = self.0.iter().skip(Self::start(register)).take(length);
        bytes.copied().collect()
    }
}

/// Tries a rule. [`Step::Break`] if it does not match, [`Step::Next`] if it has no verdict; with whether all that
/// it compares is known.
pub(super) fn try_rule(
    rule: &[(String, Vec<Attribute>)],
    packet: &Packet,
    sets: &mut Sets<'_>,
) -> (Step, bool) {
    let mut registers = Registers([None; 80]);
    let mut is_known = true;
    for (name, data) in rule {
        match step(name, data, packet, &mut registers, sets) {
            Step::Next => {}
            Step::Unknown => is_known = false,
            end @ (Step::Break | Step::Verdict(_)) => return (end, is_known),
        }
    }
    (Step::Next, is_known)
}

fn step(
    name: &str,
    data: &[Attribute],
    packet: &Packet,
    registers: &mut Registers,
    sets: &mut Sets<'_>,
) -> Step {
    match name {
        "counter" | "log" | "notrack" => Step::Next,
        "meta" => load(
            registers,
            data,
            number(data, 2).and_then(|key| meta(key, packet)),
        ),
        "payload" => load(registers, data, payload(data, packet)),
        "ct" => load(
            registers,
            data,
            number(data, 2).and_then(|key| connection(key, packet)),
        ),
        "cmp" => compare(data, registers),
        "bitwise" => mask(data, registers),
        "range" => range(data, registers),
        "lookup" => lookup(data, registers, sets),
        "immediate" => immediate(data, registers),
        "reject" => Step::Verdict(Outcome::Drop),
        "match" => xt_match(data, packet),
        "target" => xt_target(data),
        _ => {
            if let Some(register) = number(data, 1) {
                registers.forget(register);
            }
            Step::Unknown
        }
    }
}

/// Into the register that the first attribute names; what only sets something (a mark) loads nothing.
fn load(registers: &mut Registers, data: &[Attribute], bytes: Option<Vec<u8>>) -> Step {
    let Some(register) = number(data, 1) else {
        return Step::Next;
    };
    match bytes {
        Some(bytes) => registers.put(register, &bytes),
        None => registers.forget(register),
    }
    // What compares it will not know.
    Step::Next
}

fn meta(key: u32, packet: &Packet) -> Option<Vec<u8>> {
    let is_ipv4 = packet.family() == IpFamily::V4;
    Some(match key {
        1 => if is_ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] }.to_vec(),
        4 => packet.input.index.to_ne_bytes().to_vec(),
        5 => packet.output.index.to_ne_bytes().to_vec(),
        6 => packet.input.name_bytes(),
        7 => packet.output.name_bytes(),
        15 => vec![if is_ipv4 { 2 } else { 10 }],
        16 => vec![packet.protocol()],
        _ => return None,
    })
}

fn payload(data: &[Attribute], packet: &Packet) -> Option<Vec<u8>> {
    let header = match number(data, 2)? {
        1 => packet.network_header(),
        2 => packet.transport_header(),
        _ => return None,
    };
    let offset = usize::try_from(number(data, 3)?).ok()?;
    let length = usize::try_from(number(data, 4)?).ok()?;
    Some(header.get(offset..offset.checked_add(length)?)?.to_vec())
}

/// NF_CT_STATE_BIT of IP_CT_ESTABLISHED and of IP_CT_NEW.
fn state(packet: &Packet) -> u32 {
    const ESTABLISHED: u32 = 1 << 1;
    const NEW: u32 = 1 << 3;
    if packet.is_answer { ESTABLISHED } else { NEW }
}

fn connection(key: u32, packet: &Packet) -> Option<Vec<u8>> {
    match key {
        0 => Some(state(packet).to_ne_bytes().to_vec()),
        1 => Some(vec![u8::from(packet.is_answer)]),
        _ => None,
    }
}

fn matches(is_match: Option<bool>) -> Step {
    match is_match {
        Some(true) => Step::Next,
        Some(false) => Step::Break,
        None => Step::Unknown,
    }
}

fn compare(data: &[Attribute], registers: &Registers) -> Step {
    let is_match = || {
        let wanted = value(data, 3)?;
        let there = registers.get(number(data, 1)?, wanted.len())?;
        Some(match number(data, 2)? {
            0 => there == wanted,
            1 => there != wanted,
            2 => there < wanted,
            3 => there <= wanted,
            4 => there > wanted,
            _ => there >= wanted,
        })
    };
    matches(is_match())
}

fn range(data: &[Attribute], registers: &Registers) -> Step {
    let is_match = || {
        let (from, to) = (value(data, 3)?, value(data, 4)?);
        let there = registers.get(number(data, 1)?, from.len())?;
        let is_within = from <= there && there <= to;
        Some(is_within == (number(data, 2)? == 0))
    };
    matches(is_match())
}

fn mask(data: &[Attribute], registers: &mut Registers) -> Step {
    const SIMPLE: u32 = 0;
    let (Some(from), Some(to)) = (number(data, 1), number(data, 2)) else {
        return Step::Unknown;
    };
    let result = || {
        if number(data, 6).unwrap_or(SIMPLE) != SIMPLE {
            return None;
        }
        let (mask, flip) = (value(data, 4)?, value(data, 5)?);
        let there = registers.get(from, mask.len())?;
        let bytes = there.iter().zip(&mask).zip(&flip);
        Some(
            bytes
                .map(|((byte, mask), flip)| byte & mask ^ flip)
                .collect::<Vec<u8>>(),
        )
    };
    match result() {
        Some(bytes) => registers.put(to, &bytes),
        None => registers.forget(to),
    }
    Step::Next
}

fn lookup(data: &[Attribute], registers: &mut Registers, sets: &mut Sets<'_>) -> Step {
    const INVERTED: u32 = 1;
    /// NFT_REG_VERDICT: the value decides.
    const VERDICT: u32 = 0;
    let target = number(data, 3);
    // A map's value could be anything.
    if let Some(register) = target.filter(|register| *register != VERDICT) {
        registers.forget(register);
        return Step::Unknown;
    }
    let name = field(data, 1).map(|name| name.strip_suffix(&[0]).unwrap_or(name));
    let (Some(name), Some(register)) = (name, number(data, 2)) else {
        return Step::Unknown;
    };
    let name = String::from_utf8_lossy(name);
    // How long the key is the set knows: the longest that is known will do for one field.
    let longest = (1..=16)
        .rev()
        .find_map(|length| registers.get(register, length));
    let found = longest.and_then(|key| sets(&name, &key));
    if target.is_some() {
        return match found {
            None => Step::Verdict(Outcome::Any),
            Some(None) => Step::Break,
            Some(Some(element)) => Step::Verdict(outcome(element.verdict, || {
                String::from_utf8_lossy(&element.value.unwrap_or_default()).into_owned()
            })),
        };
    }
    let is_in = found.map(|element| element.is_some());
    let is_inverted = number(data, 5).unwrap_or(0) & INVERTED != 0;
    matches(is_in.map(|is_in| is_in != is_inverted))
}

fn immediate(data: &[Attribute], registers: &mut Registers) -> Step {
    const VERDICT: u16 = 2;
    let Some(content) = field(data, 2).map(nested) else {
        return Step::Unknown;
    };
    let Some(verdict) = field(&content, VERDICT).map(nested) else {
        if let (Some(register), Some(bytes)) = (number(data, 1), value(data, 2)) {
            registers.put(register, &bytes);
        }
        return Step::Next;
    };
    let chain = || {
        let name = field(&verdict, 2).unwrap_or_default();
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        String::from_utf8_lossy(name).into_owned()
    };
    let code = number(&verdict, 1).map(u32::cast_signed);
    Step::Verdict(outcome(code, chain))
}

fn outcome(code: Option<i32>, chain: impl FnOnce() -> String) -> Outcome {
    match code {
        Some(0) => Outcome::Drop,
        Some(1) => Outcome::Accept,
        Some(-3) => Outcome::Jump(chain()),
        Some(-4) => Outcome::Goto(chain()),
        Some(-5) => Outcome::Return,
        // A queue, for example.
        _ => Outcome::Any,
    }
}

/// A match of iptables' that has no expression of nf_tables'.
fn xt_match(data: &[Attribute], packet: &Packet) -> Step {
    let name = field(data, 1).unwrap_or_default();
    match name.strip_suffix(&[0]).unwrap_or(name) {
        b"comment" => Step::Next,
        b"conntrack" => matches(xt_conntrack(field(data, 3).unwrap_or_default(), packet)),
        _ => Step::Unknown,
    }
}

/// struct xt_conntrack_mtinfo3 (linux/netfilter/xt_conntrack.h), as far as states go.
fn xt_conntrack(info: &[u8], packet: &Packet) -> Option<bool> {
    const STATE: u16 = 1;
    let word = |at: usize| {
        info.get(at..)?
            .first_chunk::<2>()
            .copied()
            .map(u16::from_ne_bytes)
    };
    let (flags, inverted, states) = (word(146)?, word(148)?, word(150)?);
    if flags != STATE {
        return None;
    }
    let is_in = u32::from(states) & state(packet) != 0;
    Some(is_in != (inverted & STATE != 0))
}

/// A target of iptables'.
fn xt_target(data: &[Attribute]) -> Step {
    let name = field(data, 1).unwrap_or_default();
    match name.strip_suffix(&[0]).unwrap_or(name) {
        b"REJECT" => Step::Verdict(Outcome::Drop),
        b"LOG" | b"NFLOG" | b"TRACE" | b"CT" | b"MARK" | b"CONNMARK" => Step::Next,
        _ => Step::Verdict(Outcome::Any),
    }
}

/// Whether a rule is for every packet: what stands at the end of a chain in place of a policy.
pub(super) fn is_for_all(rule: &[(String, Vec<Attribute>)]) -> bool {
    const WITHOUT_CONDITION: [&str; 5] = ["counter", "log", "immediate", "reject", "target"];
    rule.iter()
        .all(|(name, _)| WITHOUT_CONDITION.contains(&name.as_str()))
}

/// The chain that a rule without conditions jumps to.
pub(super) fn leads_to(rule: &[(String, Vec<Attribute>)]) -> Option<String> {
    rule.iter()
        .filter(|(name, _)| name == "immediate")
        .find_map(|(_, data)| {
            let step = immediate(data, &mut Registers([None; 80]));
            if let Step::Verdict(Outcome::Jump(chain)) = step {
                return Some(chain);
            }
            None
        })
}
