//! nf_tables over netlink: tables, chains, rules, sets and their elements, changed in atomic
//! batches by pure message builders.
//!
//! Source: linux/netfilter/nf_tables.h. No library of a compatible licence covers what is needed;
//! docs/dependencies.md has the comparison.

mod attribute;
mod batch;
mod comment;
mod expression;
mod linger;
mod name;
mod object;
mod set;
mod set_kind;
mod set_value;
mod socket;

pub(crate) use attribute::{attribute_bytes, attributes, message};
pub use batch::{Batch, Family};
pub use expression::{Expression, Verdict};
pub use name::{Name, name};
pub use object::{Attribute, BaseChain, Chain, ForeignChain, RawRule, Table};
pub use set::{Element, Exclusive, Set, owner_mark};
pub use set_kind::{Key, SetKind};
pub use socket::NftSocket;

/// The attributes in a nested attribute's bytes, up to the first malformed one.
pub fn nested(bytes: &[u8]) -> Vec<Attribute> {
    let parts = attributes(bytes);
    parts.map(|(kind, value)| (kind, value.to_vec())).collect()
}

/// An expression of the kernel's `xt` compatibility layer (a match of iptables'), as part of a rule.
pub fn xt_match(name: &str, revision: u32, info: &[u8]) -> Vec<u8> {
    expression::xt_match(name, revision, info)
}
