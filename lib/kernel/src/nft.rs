//! nf_tables over netlink: tables, chains, rules, sets and their elements, changed in atomic
//! batches by pure message builders.
//!
//! Source: linux/netfilter/nf_tables.h. No library of a compatible licence covers what is needed;
//! docs/dependencies.md has the comparison.

mod attribute;
mod batch;
mod expression;
mod linger;
mod name;
mod object;
mod set;
mod set_value;
mod socket;

pub(crate) use attribute::{attribute_bytes, attributes, message};
pub use batch::{Batch, Family};
pub use expression::{Expression, Verdict};
pub use name::interned;
pub use object::{BaseChain, Chain, ForeignChain, RawRule, Table};
pub use set::{Element, Exclusive, Key, Set, SetKind, owner_mark};
pub use socket::NftSocket;
