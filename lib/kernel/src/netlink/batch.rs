//! Requests gathered to be sent in one system call.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;

/// A list of requests, each with words for its error message. The kernel carries them out in
/// order, and goes on after a failed one.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) requests: Vec<(NetlinkMessage<RouteNetlinkMessage>, String)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request. `flags` are `NLM_F_CREATE` and the like; request and acknowledgement are
    /// implied. `words` say what it does: "create bridge weft0".
    pub fn push(&mut self, message: RouteNetlinkMessage, flags: u16, words: impl Into<String>) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        self.requests.push((message, words.into()));
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}
