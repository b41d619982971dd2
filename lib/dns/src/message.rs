//! Reading other servers' answers: whether they belong to a question, their records, their lifetimes.

use std::net::IpAddr;

use crate::name::{LONGEST, Name};
use crate::query::{HEADER, Query, kind, number, skip_name};
use crate::reply::Data;

/// A record of a message, by where its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'m> {
    message: &'m [u8],
    start: usize,
    /// Its type.
    pub kind: u16,
    /// How long it may be remembered, in seconds.
    pub ttl: u32,
    /// Where that is in the message.
    pub ttl_at: usize,
    data_at: usize,
    data_end: usize,
    /// Which section it is in.
    pub section: Section,
}

/// Sections with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// What the authority for it says.
    Authority,
    /// What may help.
    Additional,
}

/// Type, class, lifetime and length of the data.
const FIXED: usize = 10;

/// The records of an answer; none if it is not whole.
pub fn records(message: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut at = HEADER;
    for _ in 0..number(message, 4)? {
        at = skip_name(message, at)?.checked_add(4)?;
    }
    let mut found = Vec::new();
    for (section, count_at) in [
        (Section::Answer, 6),
        (Section::Authority, 8),
        (Section::Additional, 10),
    ] {
        for _ in 0..number(message, count_at)? {
            let fixed_at = skip_name(message, at)?;
            let fixed = message.get(fixed_at..fixed_at + FIXED)?;
            let data_at = fixed_at + FIXED;
            let data_end = data_at + usize::from(number(fixed, 8)?);
            message.get(data_at..data_end)?;
            found.push(Record {
                message,
                start: at,
                kind: number(fixed, 0)?,
                // A number that is too large to be signed counts as none (RFC 2181, section 8).
                ttl: long(fixed, 4).map(|ttl| {
                    if ttl > i32::MAX.unsigned_abs() {
                        0
                    } else {
                        ttl
                    }
                })?,
                ttl_at: fixed_at + 4,
                data_at,
                data_end,
                section,
            });
            at = data_end;
        }
    }
    Some(found)
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(*four.first_chunk()?))
}

/// A name that may be compressed (RFC 1035, section 4.1.4).
fn expanded(message: &[u8], start: usize) -> Option<Name> {
    const MOST_JUMPS: usize = 64;
    let (mut at, mut wire, mut jumps) = (start, Vec::new(), 0);
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(Name::from_wire(&wire)),
            1..=63 => {
                wire.extend(message.get(at..=at + length)?);
                at += length + 1;
            }
            192.. => {
                at = usize::from(number(message, at)? & 0x3fff);
                jumps += 1;
            }
            _ => return None,
        }
        if wire.len() >= LONGEST || jumps > MOST_JUMPS {
            return None;
        }
    }
}

impl Record<'_> {
    /// Whose record it is.
    pub fn owner(&self) -> Option<Name> {
        expanded(self.message, self.start)
    }

    fn data(&self) -> &[u8] {
        (self.message.get(self.data_at..self.data_end)).unwrap_or_default()
    }

    /// For how long an answer without data may be remembered, if it is an SOA record (RFC 2308, section 5).
    pub fn negative_ttl(&self) -> Option<u32> {
        let at = self.data_end.checked_sub(4)?;
        let minimum = long(self.message, at.max(self.data_at))?;
        (self.kind == kind::SOA).then(|| self.ttl.min(minimum))
    }

    /// The data as in a zone file; of types that are not known here, as RFC 3597 has it.
    pub fn data_text(&self) -> String {
        let name = |at| expanded(self.message, at).map(|name| format!("{name}."));
        let word = |offset| number(self.data(), offset);
        let known = match self.kind {
            kind::A => (self.data().first_chunk::<4>()).map(|v4| IpAddr::from(*v4).to_string()),
            kind::AAAA => (self.data().first_chunk::<16>()).map(|v6| IpAddr::from(*v6).to_string()),
            kind::NS | kind::CNAME | kind::PTR => name(self.data_at),
            kind::MX => {
                name(self.data_at + 2).and_then(|target| Some(format!("{} {target}", word(0)?)))
            }
            kind::SRV => name(self.data_at + 6).and_then(|target| {
                Some(format!("{} {} {} {target}", word(0)?, word(2)?, word(4)?))
            }),
            kind::SOA => skip_name(self.message, self.data_at).and_then(|second| {
                let serial_at = skip_name(self.message, second)?;
                let serial = long(self.message, serial_at)?;
                Some(format!(
                    "{} {} {serial}",
                    name(self.data_at)?,
                    name(second)?
                ))
            }),
            kind::TXT => Some(texts(self.data())),
            _ => None,
        };
        known.unwrap_or_else(|| {
            let hex = self.data().iter().map(|byte| format!("{byte:02x}"));
            format!("\\# {} {}", self.data().len(), hex.collect::<String>())
        })
    }
}

fn texts(mut data: &[u8]) -> String {
    let mut all = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (text, next) = rest
            .split_at_checked((*length).into())
            .unwrap_or((rest, &[]));
        all.push(Data::Text(String::from_utf8_lossy(text).into_owned()).to_string());
        data = next;
    }
    all.join(" ")
}

/// Whether a message answers a question: a response, of the same number, with the same question behind the header.
pub fn is_answer_to(question: &[u8], id: u16, message: &[u8]) -> bool {
    let is_response = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
    /// Type and class are no text.
    const TYPE_AND_CLASS: usize = 4;
    let same = message.get(HEADER..HEADER + question.len());
    let is_same = |one: &[u8]| {
        let end = one.len().saturating_sub(TYPE_AND_CLASS);
        one.eq_ignore_ascii_case(question) && one.get(end..) == question.get(end..)
    };
    number(message, 0) == Some(id)
        && is_response
        && number(message, 4) == Some(1)
        && same.is_some_and(is_same)
}

/// How an answer ends: its RCODE's number, and whether it was cut.
pub fn outcome(message: &[u8]) -> (u8, bool) {
    let byte = |at: usize| message.get(at).copied().unwrap_or(0);
    (byte(3) & 0xf, byte(2) & 0x02 != 0)
}

/// Makes another server's answer one to this query: its number, and the question as it was asked.
pub fn adopt(query: &Query<'_>, message: &mut [u8]) {
    if let Some(id) = message.get_mut(..2) {
        id.copy_from_slice(&query.id.to_be_bytes());
    }
    if let Some(question) = message.get_mut(HEADER..HEADER + query.question.len()) {
        question.copy_from_slice(query.question);
    }
}

/// Cuts an answer that is too long for a client to its question, and says that it is cut (RFC 2181, section 9). EDNS stays
/// (RFC 6891, section 7).
pub fn cut(query: &Query<'_>, message: &mut Vec<u8>) {
    const ADDITIONAL: usize = 11;
    let all = records(message).unwrap_or_default();
    let edns = all.iter().find(|one| one.kind == kind::OPT);
    let edns = edns.and_then(|one| message.get(one.start..one.data_end));
    let edns = edns.unwrap_or_default().to_vec();
    message.truncate(HEADER + query.question.len());
    if let Some(flags) = message.get_mut(2) {
        *flags |= 0x02;
    }
    for count in message.iter_mut().take(HEADER).skip(6) {
        *count = 0;
    }
    if let Some(count) = message.get_mut(ADDITIONAL).filter(|_| !edns.is_empty()) {
        *count = 1;
        message.extend(edns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::read;

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03Www\x07example\0\0\x01\0\x01";

    fn answer(records: &[&[u8]]) -> Vec<u8> {
        let mut message = QUERY.to_vec();
        message[2] = 0x81;
        message[7] = u8::try_from(records.len()).unwrap();
        message.extend(records.concat());
        message
    }

    #[test]
    fn records_are_read_as_a_zone_file_has_them() {
        let message = answer(&[
            b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x10",
            b"\x03web\xc0\x10\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\x02\x03",
            b"\xc0\x0c\0\x10\0\x01\0\0\0\x1e\0\x05\x04a\"b\xff",
            b"\xc0\x0c\0\x63\0\x01\0\0\0\x1e\0\x02\x01\xab",
            b"\xc0\x0c\0\x0f\0\x01\0\0\0\x1e\0\x04\0\x0a\xc0\x0c",
        ]);
        let found = records(&message).unwrap();
        let texts: Vec<String> = found.iter().map(Record::data_text).collect();
        assert_eq!(
            texts,
            [
                "web.example.",
                "10.1.2.3",
                "\"a\\\"b\u{fffd}\"",
                "\\# 2 01ab",
                "10 www.example."
            ]
        );
        assert_eq!(found[1].owner().unwrap().to_string(), "web.example");
        assert_eq!((found[0].ttl, found[1].ttl), (60, 30));
        for length in 0..message.len() {
            assert!(records(&message[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn pointers_in_a_circle_end() {
        let message = answer(&[b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x29"]);
        assert_eq!(message.len(), 0x29 + 2);
        let found = records(&message).unwrap();
        assert!(found[0].data_text().starts_with("\\# 2"));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let query = read(QUERY).unwrap();
        let good = answer(&[]);
        assert!(is_answer_to(query.question, 0x1234, &good));
        assert!(!is_answer_to(query.question, 0x1235, &good));
        assert!(!is_answer_to(query.question, 0x1234, QUERY), "a query");
        let mut other = good.clone();
        other[14] = b'x';
        assert!(!is_answer_to(query.question, 0x1234, &other));
        let mut other = good;
        let kind_at = QUERY.len() - 3;
        other[kind_at] ^= 0x20;
        assert!(
            !is_answer_to(query.question, 0x1234, &other),
            "another type"
        );
        let mut whole = answer(&[b"\xc0\x0c\0\x63\0\x01\x80\0\0\x1e\0\x02\x01\xab"]);
        assert_eq!(records(&whole).unwrap()[0].ttl, 0, "too large a number");
        let mut with_edns = whole.clone();
        with_edns[11] = 1;
        with_edns.extend(b"\0\0\x29\x10\0\0\0\0\0\0\0");
        cut(&query, &mut whole);
        assert_eq!(outcome(&whole), (0, true));
        assert_eq!(records(&whole), Some(Vec::new()));
        cut(&query, &mut with_edns);
        assert_eq!(outcome(&with_edns), (0, true));
        let left = records(&with_edns).unwrap();
        assert_eq!((left.len(), left[0].kind), (1, kind::OPT));
    }
}
