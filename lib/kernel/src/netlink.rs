//! rtnetlink over one blocking socket: batches of requests, single answers, steady dumps.

mod batch;
mod socket;
mod transport;

pub use batch::Batch;
pub(crate) use batch::bytes_of;
pub use socket::RouteSocket;
pub(crate) use socket::parsed;
pub(crate) use transport::{RawMessage, Transport, Wait};

/// Kinds of rtnetlink messages (linux/rtnetlink.h).
pub(crate) mod kind {
    pub(crate) const NEW_LINK: u16 = 16;
    pub(crate) const DELETE_LINK: u16 = 17;
    pub(crate) const GET_LINK: u16 = 18;
    pub(crate) const SET_LINK: u16 = 19;
    pub(crate) const NEW_ADDRESS: u16 = 20;
    pub(crate) const DELETE_ADDRESS: u16 = 21;
    pub(crate) const GET_ADDRESS: u16 = 22;
    pub(crate) const NEW_ROUTE: u16 = 24;
    pub(crate) const DELETE_ROUTE: u16 = 25;
    pub(crate) const GET_ROUTE: u16 = 26;
    pub(crate) const NEW_NEIGHBOUR: u16 = 28;
    pub(crate) const DELETE_NEIGHBOUR: u16 = 29;
    pub(crate) const GET_NEIGHBOUR: u16 = 30;
    pub(crate) const NEW_RULE: u16 = 32;
    pub(crate) const DELETE_RULE: u16 = 33;
    pub(crate) const GET_RULE: u16 = 34;
    pub(crate) const NEW_QDISC: u16 = 36;
    pub(crate) const DELETE_QDISC: u16 = 37;
    pub(crate) const GET_QDISC: u16 = 38;
    pub(crate) const NEW_FILTER: u16 = 44;
    pub(crate) const DELETE_FILTER: u16 = 45;
    pub(crate) const GET_FILTER: u16 = 46;
    pub(crate) const GET_SETTINGS: u16 = 82;
    pub(crate) const GET_NAMESPACE_ID: u16 = 90;
    pub(crate) const NEW_NEXTHOP: u16 = 104;
    pub(crate) const DELETE_NEXTHOP: u16 = 105;
    pub(crate) const GET_NEXTHOP: u16 = 106;
    pub(crate) const NEW_PROPERTY: u16 = 108;
    pub(crate) const DELETE_PROPERTY: u16 = 109;
    pub(crate) const GET_VLAN: u16 = 114;
}
