//! Writing an answer.

use std::fmt;
use std::net::IpAddr;

use crate::name::Name;
use crate::query::{HEADER, IN, Query, kind};

/// How an answer ends (RFC 1035, RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// There is data, or none of this type.
    NoError = 0,
    /// The query is not one.
    FormatError = 1,
    /// No server gave an answer.
    ServerFailure = 2,
    /// There is no such name.
    NoName = 3,
    /// The operation is not known.
    NotImplemented = 4,
    /// It is not for this client.
    Refused = 5,
    /// The client's EDNS is newer.
    BadVersion = 16,
}

impl Code {
    /// The code of this number, among those that are told apart here.
    pub fn of_number(number: u8) -> Self {
        let all = [
            Self::NoError,
            Self::FormatError,
            Self::ServerFailure,
            Self::NoName,
            Self::NotImplemented,
        ];
        let found = all
            .into_iter()
            .find(|code| *code as u16 == u16::from(number));
        found.unwrap_or(Self::Refused)
    }

    /// As metrics and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormatError => "FORMERR",
            Self::ServerFailure => "SERVFAIL",
            Self::NoName => "NXDOMAIN",
            Self::NotImplemented => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::BadVersion => "BADVERS",
        }
    }
}

/// More about an error (RFC 8914): `INFO-CODE`s that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Extended {
    /// There are too many questions at once.
    NotReady = 14,
    /// The network has no way to the outside.
    Prohibited = 18,
    /// No server could be reached.
    NoReachableAuthority = 22,
    /// A server's answer could not be used.
    NetworkError = 23,
}

/// The data of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An address, by its family A or AAAA.
    Address(IpAddr),
    /// The name of an address.
    Pointer(Name),
    /// A service's place.
    Service {
        /// Lower ones are tried first.
        priority: u16,
        /// A larger share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// On that machine.
        target: Name,
    },
    /// A text of 255 bytes at most.
    Text(String),
    /// The name server of a zone.
    Server(Name),
    /// What a zone is: its server, its serial number.
    Authority {
        /// The name server.
        server: Name,
        /// It changes with the zone.
        serial: u32,
    },
}

impl Data {
    /// The type of the record.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => kind::A,
            Self::Address(IpAddr::V6(_)) => kind::AAAA,
            Self::Pointer(_) => kind::PTR,
            Self::Service { .. } => kind::SRV,
            Self::Text(_) => kind::TXT,
            Self::Server(_) => kind::NS,
            Self::Authority { .. } => kind::SOA,
        }
    }

    fn put(&self, negative_ttl: u32, out: &mut Vec<u8>) {
        let put_name = |name: &Name, out: &mut Vec<u8>| {
            out.extend(name.wire());
            out.push(0);
        };
        match self {
            Self::Address(IpAddr::V4(v4)) => out.extend(v4.octets()),
            Self::Address(IpAddr::V6(v6)) => out.extend(v6.octets()),
            Self::Pointer(name) | Self::Server(name) => put_name(name, out),
            Self::Service {
                priority,
                weight,
                port,
                target,
            } => {
                for number in [*priority, *weight, *port] {
                    out.extend(number.to_be_bytes());
                }
                put_name(target, out);
            }
            Self::Text(text) => {
                let bytes = text.as_bytes();
                let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
                out.push(length);
                out.extend(bytes.iter().take(usize::from(length)));
            }
            Self::Authority { server, serial } => {
                const HOUR: u32 = 3600;
                put_name(server, out);
                out.extend(b"\x0ahostmaster");
                put_name(server, out);
                for number in [*serial, HOUR, HOUR / 4, 24 * HOUR, negative_ttl] {
                    out.extend(number.to_be_bytes());
                }
            }
        }
    }
}

/// As in a zone file.
impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Pointer(name) | Self::Server(name) => write!(f, "{name}."),
            Self::Service {
                priority,
                weight,
                port,
                target,
            } => write!(f, "{priority} {weight} {port} {target}."),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Authority { server, serial } => {
                write!(f, "{server}. hostmaster.{server}. {serial}")
            }
        }
    }
}

/// By which way a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As a datagram: an answer that is too long is cut, and says so.
    Udp,
    /// As a stream.
    Tcp,
}

/// What this side takes by UDP, and sends at most: it fits into every usual packet.
const OWN_PAYLOAD: u16 = 1232;
/// What a client without EDNS takes.
const OLD_PAYLOAD: u16 = 512;

/// An answer in the making, written into a buffer of the caller's.
#[derive(Debug)]
pub struct Reply<'a, 'q> {
    out: &'a mut Vec<u8>,
    query: &'a Query<'q>,
    limit: usize,
    code: Code,
    extended: Option<Extended>,
    is_cut: bool,
    counts: [u16; 2],
}

impl<'a, 'q> Reply<'a, 'q> {
    /// Begins one with the question as it came.
    pub fn new(query: &'a Query<'q>, transport: Transport, out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.resize(HEADER, 0);
        out.extend(query.question);
        Self {
            out,
            query,
            limit: Self::limit_of(query, transport),
            code: Code::NoError,
            extended: None,
            is_cut: false,
            counts: [0, 0],
        }
    }

    /// How it ends.
    pub fn code(&mut self, code: Code) -> &mut Self {
        self.code = code;
        self
    }

    /// Says more about an error, to clients that know EDNS.
    pub fn extended(&mut self, extended: Extended) -> &mut Self {
        self.extended = Some(extended);
        self
    }

    /// Adds a record of the name that was asked for.
    pub fn answer(&mut self, data: &Data, ttl: u32) -> &mut Self {
        const QUESTION: [u8; 2] = [0xc0, 0x0c];
        self.record(&QUESTION, data, ttl, 0)
    }

    /// Adds the authority for an answer without data: the zone that there is none in.
    pub fn authority(&mut self, zone: &Name, data: &Data, ttl: u32) -> &mut Self {
        // A name that the question ends with is not written twice: the answer stays small.
        let start = self.query.name.wire().len().checked_sub(zone.wire().len());
        match start.filter(|_| self.query.name.is_within(zone)) {
            Some(start) if !zone.wire().is_empty() => {
                let at = u16::try_from(HEADER + start).unwrap_or(0) | 0xc000;
                self.record(&at.to_be_bytes(), data, ttl, 1)
            }
            _ => {
                let owner = [zone.wire(), &[0]].concat();
                self.record(&owner, data, ttl, 1)
            }
        }
    }

    fn record(&mut self, owner: &[u8], data: &Data, ttl: u32, section: usize) -> &mut Self {
        let before = self.out.len();
        self.out.extend(owner);
        self.out.extend(data.kind().to_be_bytes());
        self.out.extend(IN.to_be_bytes());
        self.out.extend(ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend([0, 0]);
        data.put(ttl, self.out);
        let length = u16::try_from(self.out.len() - length_at - 2).unwrap_or(u16::MAX);
        if let Some(place) = self.out.get_mut(length_at..length_at + 2) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        if self.is_cut || self.out.len() + self.room_for_edns() > self.limit {
            self.out.truncate(before);
            self.is_cut = true;
        } else if let Some(count) = self.counts.get_mut(section) {
            *count += 1;
        }
        self
    }

    /// How long the answer may be, in bytes.
    pub fn limit_of(query: &Query<'_>, transport: Transport) -> usize {
        match (transport, query.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => OLD_PAYLOAD.into(),
            (Transport::Udp, Some(edns)) => edns.payload.clamp(OLD_PAYLOAD, OWN_PAYLOAD).into(),
        }
    }

    fn room_for_edns(&self) -> usize {
        const OPT: usize = 11;
        const EXTENDED: usize = 6;
        match (self.query.edns, self.extended) {
            (None, _) => 0,
            (Some(_), None) => OPT,
            (Some(_), Some(_)) => OPT + EXTENDED,
        }
    }

    /// Writes what is left: the header, and EDNS for clients that know it. `is_ours` says that this server has the data.
    pub fn finish(&mut self, is_ours: bool) {
        let mut additional = 0;
        if let Some(edns) = self.query.edns {
            additional = 1;
            self.put_edns(edns.dnssec_ok);
        }
        let [answers, authorities] = self.counts;
        let flag = |is: bool, bit: u16| if is { bit } else { 0 };
        let flags = 0x8000
            | flag(is_ours, 0x0400)
            | flag(self.is_cut, 0x0200)
            | flag(self.query.wants_recursion, 0x0100)
            | 0x0080
            | flag(self.query.checking_disabled, 0x0010)
            | (self.code as u16 & 0xf);
        let numbers = [self.query.id, flags, 1, answers, authorities, additional];
        for (place, number) in self.out.chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    fn put_edns(&mut self, dnssec_ok: bool) {
        const EXTENDED_ERROR: u16 = 15;
        let high = (self.code as u16 >> 4).to_be_bytes();
        self.out.push(0);
        self.out.extend(kind::OPT.to_be_bytes());
        self.out.extend(OWN_PAYLOAD.to_be_bytes());
        self.out
            .extend([high[1], 0, if dnssec_ok { 0x80 } else { 0 }, 0]);
        match self.extended {
            None => self.out.extend([0, 0]),
            Some(extended) => {
                for number in [6, EXTENDED_ERROR, 2, extended as u16] {
                    self.out.extend(number.to_be_bytes());
                }
            }
        }
    }
}

/// An answer to what is no query: a header alone.
pub fn refuse(id: u16, opcode: u8, code: Code, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    let code = (code as u16).to_be_bytes();
    out.clear();
    out.extend([high, low, 0x80 | opcode, code[1], 0, 0, 0, 0, 0, 0, 0, 0]);
}
