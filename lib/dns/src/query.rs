//! Reading a query.

use crate::name::{LONGEST, Name};

/// Types of records (RFC 1035, 3596, 2782, 6891).
pub mod kind {
    use std::borrow::Cow;

    /// An IPv4 address.
    pub const A: u16 = 1;
    /// The name servers of a zone.
    pub const NS: u16 = 2;
    /// What a zone is.
    pub const SOA: u16 = 6;
    /// Another name of the same.
    pub const CNAME: u16 = 5;
    /// The name of an address.
    pub const PTR: u16 = 12;
    /// Where mail goes.
    pub const MX: u16 = 15;
    /// Texts.
    pub const TXT: u16 = 16;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// Where a service is.
    pub const SRV: u16 = 33;
    /// What both sides can do (EDNS).
    pub const OPT: u16 = 41;
    /// A transfer of the changes of a zone.
    pub const IXFR: u16 = 251;
    /// A transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Everything.
    pub const ANY: u16 = 255;

    /// Types that have a name here.
    const NAMES: [(u16, &str); 15] = [
        (A, "A"),
        (NS, "NS"),
        (CNAME, "CNAME"),
        (SOA, "SOA"),
        (PTR, "PTR"),
        (MX, "MX"),
        (TXT, "TXT"),
        (AAAA, "AAAA"),
        (SRV, "SRV"),
        (OPT, "OPT"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (IXFR, "IXFR"),
        (AXFR, "AXFR"),
        (ANY, "ANY"),
    ];

    /// A type's name, as in a zone file (RFC 3597 for those that have none here).
    pub fn name(kind: u16) -> Cow<'static, str> {
        let known = NAMES.iter().find(|(number, _)| *number == kind);
        known.map_or_else(|| format!("TYPE{kind}").into(), |(_, name)| (*name).into())
    }

    /// The type of this name.
    pub fn parse(name: &str) -> Option<u16> {
        let known = NAMES
            .iter()
            .find(|(_, text)| text.eq_ignore_ascii_case(name));
        let number = || name.to_ascii_uppercase().strip_prefix("TYPE")?.parse().ok();
        known.map_or_else(number, |(kind, _)| Some(*kind))
    }
}

/// The class of all that is answered.
pub(crate) const IN: u16 = 1;
/// A message's header is as long.
pub(crate) const HEADER: usize = 12;

/// A query that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// To be sent back.
    pub id: u16,
    /// The client wants other servers to be asked.
    pub wants_recursion: bool,
    /// The client does not want data to be checked (RFC 4035).
    pub checking_disabled: bool,
    /// The client wants to know whether the data is authenticated (AD; RFC 6840, section 5.7).
    pub wants_authenticated: bool,
    /// The name, in lower case.
    pub name: Name,
    /// The type, as [`kind`] has them.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// The question as it came: the client compares it.
    pub question: &'a [u8],
    /// What the client says of itself, if it knows EDNS.
    pub edns: Option<Edns>,
}

/// What a client says of itself (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// How long an answer by UDP may be, in bytes.
    pub payload: u16,
    /// The version; 0 is all there is.
    pub version: u8,
    /// It wants signatures.
    pub dnssec_ok: bool,
    /// It says more, which an answer may depend on.
    pub has_options: bool,
}

/// Why a message is not answered as a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// No answer at all: it is no query, or there is nothing to answer to.
    Silent,
    /// An answer without a question, of this code ([`crate::reply::Code`]).
    Refuse {
        /// The query's.
        id: u16,
        /// The query's operation, in the place that it has in the header.
        opcode: u8,
        /// FORMERR or NOTIMP.
        code: crate::reply::Code,
    },
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(*two.first_chunk()?))
}

/// Reads a message.
///
/// # Errors
/// What to do with one that is no query of one question.
pub fn read(message: &[u8]) -> Result<Query<'_>, Malformed> {
    const RESPONSE: u8 = 0x80;
    const OPCODE: u8 = 0x78;
    const RECURSION_DESIRED: u8 = 0x01;
    const CHECKING_DISABLED: u8 = 0x10;
    const AUTHENTICATED: u8 = 0x20;
    let (Some(id), Some(&[first, second])) = (
        number(message, 0),
        message.get(2..4).and_then(|flags| flags.first_chunk::<2>()),
    ) else {
        return Err(Malformed::Silent);
    };
    if message.len() < HEADER || first & RESPONSE != 0 {
        return Err(Malformed::Silent);
    }
    let refuse = |code| Malformed::Refuse {
        id,
        opcode: first & OPCODE,
        code,
    };
    if first & OPCODE != 0 {
        return Err(refuse(crate::reply::Code::NotImplemented));
    }
    let wrong = || refuse(crate::reply::Code::FormatError);
    let count = |at| number(message, at).unwrap_or(0);
    let [questions, answers, authorities, additional] = [4, 6, 8, 10].map(count);
    if questions != 1 || answers != 0 {
        return Err(wrong());
    }
    let (name, after) = read_name(message, HEADER).ok_or_else(wrong)?;
    let kind = number(message, after).ok_or_else(wrong)?;
    let class = number(message, after + 2).ok_or_else(wrong)?;
    let end = after + 4;
    let records = usize::from(authorities) + usize::from(additional);
    let edns = read_edns(message, end, records).ok_or_else(wrong)?;
    Ok(Query {
        id,
        wants_recursion: first & RECURSION_DESIRED != 0,
        checking_disabled: second & CHECKING_DISABLED != 0,
        wants_authenticated: second & AUTHENTICATED != 0,
        name,
        kind,
        class,
        question: message.get(HEADER..end).unwrap_or_default(),
        edns,
    })
}

/// A name without compression (a query's question has none), and where it ends.
fn read_name(message: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            let labels = message.get(start..at)?;
            return Some((Name::from_wire(labels), at + 1));
        }
        if length > 63 {
            return None;
        }
        at += length + 1;
        if at - start >= LONGEST {
            return None;
        }
    }
}

/// The client's EDNS among the records behind the question; none if a record is not whole, or there are two.
fn read_edns(message: &[u8], start: usize, records: usize) -> Option<Option<Edns>> {
    /// Type, class, lifetime and length of the data.
    const FIXED: usize = 10;
    /// More than any client sends.
    const MOST: usize = 16;
    let mut at = start;
    let mut found = None;
    if records > MOST {
        return None;
    }
    for _ in 0..records {
        let after = skip_name(message, at)?;
        let fixed = message.get(after..after + FIXED)?;
        let length = usize::from(number(fixed, 8)?);
        let end = after + FIXED + length;
        message.get(after..end)?;
        if number(fixed, 0)? == kind::OPT {
            if found.is_some() || after != at + 1 {
                return None;
            }
            found = Some(Edns {
                payload: number(fixed, 2)?,
                version: *fixed.get(5)?,
                dnssec_ok: fixed.get(6)? & 0x80 != 0,
                has_options: length > 0,
            });
        }
        at = end;
    }
    Some(found)
}

/// Where a name ends, compressed or not.
pub(crate) fn skip_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += length + 1,
            192.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > LONGEST {
            return None;
        }
    }
}
