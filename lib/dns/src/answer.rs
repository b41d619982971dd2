//! From a message to an answer.

use std::net::IpAddr;

use crate::query::{IN, Malformed, Query, kind, read};
use crate::reply::{Code, Data, Extended, Reply, Transport, refuse};
use crate::view::{Lookup, View};

/// How long names of containers may be remembered, in seconds: they come and go.
pub const TTL: u32 = 5;

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'q> {
    /// An answer is in the buffer.
    Answered {
        /// How it ends.
        code: Code,
        /// Where the data is from.
        source: Source,
    },
    /// There is to be no answer.
    Silent,
    /// Other servers are to be asked. The buffer is empty.
    Forward(Query<'q>),
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// This server's own zones.
    Local,
    /// Nowhere: the query is refused.
    Refused,
}

/// Answers a message by what a view knows. `turn` chooses which of several addresses comes first.
pub fn answer<'q>(
    message: &'q [u8],
    view: &View,
    transport: Transport,
    turn: u32,
    out: &mut Vec<u8>,
) -> Outcome<'q> {
    out.clear();
    let query = match read(message) {
        Ok(query) => query,
        Err(Malformed::Silent) => return Outcome::Silent,
        Err(Malformed::Refuse { id, opcode, code }) => {
            refuse(id, opcode, code, out);
            let source = Source::Refused;
            return Outcome::Answered { code, source };
        }
    };
    if let Some(code) = refused(&query) {
        let mut reply = Reply::new(&query, transport, out);
        reply.code(code).finish(false);
        let source = Source::Refused;
        return Outcome::Answered { code, source };
    }
    let found = view.look_up(&query.name, query.kind);
    let code = match found {
        Lookup::NoName(_) => Code::NoName,
        Lookup::Found(_) | Lookup::NoData(_) => Code::NoError,
        Lookup::Elsewhere if view.forwards && query.wants_recursion => {
            return Outcome::Forward(query);
        }
        Lookup::Elsewhere => {
            let mut reply = Reply::new(&query, transport, out);
            reply.code(Code::Refused).extended(Extended::Prohibited);
            reply.finish(false);
            let (code, source) = (Code::Refused, Source::Refused);
            return Outcome::Answered { code, source };
        }
    };
    let mut reply = Reply::new(&query, transport, out);
    reply.code(code);
    match found {
        Lookup::Found(data) => {
            for one in in_turn(data, turn) {
                reply.answer(&one, TTL);
            }
        }
        Lookup::NoData(zone) | Lookup::NoName(zone) => {
            reply.authority(&zone, &view.authority(), TTL);
        }
        Lookup::Elsewhere => {}
    }
    reply.finish(true);
    let source = Source::Local;
    Outcome::Answered { code, source }
}

/// Why a query is not answered, whatever it asks for.
fn refused(query: &Query<'_>) -> Option<Code> {
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Some(Code::BadVersion);
    }
    let is_transfer = matches!(query.kind, kind::AXFR | kind::IXFR);
    let is_meta = query.kind == kind::OPT || query.kind == 0;
    match () {
        () if is_meta => Some(Code::FormatError),
        () if is_transfer || query.class != IN => Some(Code::Refused),
        () => None,
    }
}

/// Another record first each time: clients take the first address.
fn in_turn(mut data: Vec<Data>, turn: u32) -> Vec<Data> {
    let is_address = |one: &Data| matches!(one, Data::Address(IpAddr::V4(_) | IpAddr::V6(_)));
    if data.len() > 1 && data.iter().all(is_address) {
        let turn = usize::try_from(turn).unwrap_or(0) % data.len();
        data.rotate_left(turn);
    }
    data
}
