//! rtnetlink over one blocking socket: batches of requests, single answers, steady dumps.

mod batch;
mod socket;
mod transport;

pub use batch::Batch;
pub use socket::RouteSocket;
pub(crate) use transport::{RawMessage, Transport, Wait};
