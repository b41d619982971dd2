//! From a message to an answer.

use std::borrow::Cow;

use crate::name::Name;
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
        /// The type that was asked for; 0 for what is no question.
        kind: u16,
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
    /// What was asked of others before.
    Cache,
    /// Another server.
    Forward,
    /// Nowhere: the query is refused.
    Refused,
}

impl Source {
    /// As metrics and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cache => "cache",
            Self::Forward => "forward",
            Self::Refused => "refused",
        }
    }
}

/// What a client may know: the view of its network, and those of other networks that it is in or may reach.
#[derive(Debug, Clone, Copy)]
pub struct Views<'v> {
    /// Asked first; it says whether others are asked for what is unknown.
    pub own: &'v View,
    /// Asked next, in this order.
    pub others: &'v [&'v View],
}

impl<'v> From<&'v View> for Views<'v> {
    fn from(own: &'v View) -> Self {
        Self { own, others: &[] }
    }
}

/// Answers a message by what a client may know. `turn` chooses which of several addresses comes first.
pub fn answer<'q>(
    message: &'q [u8],
    views: Views<'_>,
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
            return Outcome::Answered {
                kind: 0,
                code,
                source: Source::Refused,
            };
        }
    };
    let kind = query.kind;
    if let Some(code) = refused(&query) {
        let mut reply = Reply::new(&query, transport, out);
        reply.code(code).finish(false);
        let source = Source::Refused;
        return Outcome::Answered { kind, code, source };
    }
    let view = views.own;
    let found = view.look_up_with(views.others, &query.name, query.kind);
    let code = match found {
        Lookup::NoName(_) => Code::NoName,
        Lookup::Found(_) | Lookup::NoData(_) => Code::NoError,
        Lookup::Elsewhere => return elsewhere(query, view, transport, out),
    };
    let mut reply = Reply::new(&query, transport, out);
    reply.code(code);
    match found {
        Lookup::Found(data) => {
            let first = first_of(&data, turn);
            let (before, after) = data.split_at_checked(first).unwrap_or((&data, &[]));
            for one in after.iter().chain(before) {
                reply.answer(one, view.ttl);
            }
        }
        Lookup::NoData(zone) | Lookup::NoName(zone) => {
            reply.authority(&zone, &view.authority(), view.ttl);
        }
        Lookup::Elsewhere => {}
    }
    reply.finish(true);
    Outcome::Answered {
        kind,
        code,
        source: Source::Local,
    }
}

/// What is in none of the zones is another server's, unless nobody is asked.
fn elsewhere<'q>(
    query: Query<'q>,
    view: &View,
    transport: Transport,
    out: &mut Vec<u8>,
) -> Outcome<'q> {
    let is_kept = query.name.is_single() && !view.forwards_single_labels;
    if view.forwards && query.wants_recursion && !is_kept {
        return Outcome::Forward(query);
    }
    let (code, source) = match is_kept && view.forwards {
        true => (Code::NoName, Source::Local),
        false => (Code::Refused, Source::Refused),
    };
    let mut reply = Reply::new(&query, transport, out);
    reply.code(code);
    match code {
        Code::NoName => reply.authority(&Name::root(), &view.authority(), view.ttl),
        _ => reply.extended(Extended::Prohibited),
    };
    reply.finish(false);
    let kind = query.kind;
    Outcome::Answered { kind, code, source }
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
fn first_of(data: &[Cow<'_, Data>], turn: u32) -> usize {
    let all_addresses = || (data.iter()).all(|one| matches!(**one, Data::Address(_)));
    match data.len() {
        0 | 1 => 0,
        count if all_addresses() => usize::try_from(turn).unwrap_or(0) % count,
        _ => 0,
    }
}
