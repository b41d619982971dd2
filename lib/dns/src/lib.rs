//! DNS for containers: messages, names, zones, and what each network may know.
//!
//! Nothing here has a socket or a clock. A message comes in as bytes, the answer goes out as bytes; queries for names
//! that are not this server's come out as such, for a forwarder. [`answer()`] is all that a server needs.
//!
//! Sources: RFC 1034, 1035, 2181, 2308, 2782, 3596, 4592, 6303, 6891, 8020, 8914, 9520.

mod answer;
pub mod cache;
pub mod message;
pub mod name;
pub mod query;
pub mod reply;
mod view;

pub use answer::{Outcome, Source, TTL, Views, answer};
pub use name::Name;
pub use query::kind;
pub use reply::{Code, Data, Transport};
pub use view::{Lookup, View};

#[cfg(test)]
mod tests;
