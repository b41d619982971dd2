//! What has passed an interface.

use netlink_packet_route::link::{LinkAttribute, LinkMessage, Stats64};

use crate::error::KernelError;
use crate::netlink::{RouteSocket, bytes_of, kind, parsed};

/// What has passed an interface since it was made, as its namespace sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that were to be sent and were dropped.
    pub tx_dropped: u64,
}

impl From<&Stats64> for Counters {
    fn from(stats: &Stats64) -> Self {
        Self {
            rx_bytes: stats.rx_bytes,
            rx_packets: stats.rx_packets,
            rx_dropped: stats.rx_dropped,
            tx_bytes: stats.tx_bytes,
            tx_packets: stats.tx_packets,
            tx_dropped: stats.tx_dropped,
        }
    }
}

fn read(message: LinkMessage) -> (String, Counters) {
    let (mut name, mut counters) = (String::new(), Counters::default());
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text,
            LinkAttribute::Stats64(stats) => counters = Counters::from(&stats),
            _ => {}
        }
    }
    (name, counters)
}

/// The counters of the interface with this name; none if there is none.
///
/// # Errors
/// The socket's.
pub fn counters(socket: &mut RouteSocket, name: &str) -> Result<Option<Counters>, KernelError> {
    let mut query = LinkMessage::default();
    query
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    let words = format!("read the counters of {name}");
    match socket.get(kind::GET_LINK, &bytes_of(&query), &words) {
        Ok(answer) => Ok(Some(read(parsed(&answer, &words)?).1)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Those of all interfaces of the namespace, with their names.
///
/// # Errors
/// The socket's.
pub fn all_counters(socket: &mut RouteSocket) -> Result<Vec<(String, Counters)>, KernelError> {
    let words = "read the counters of all links";
    let query = bytes_of(&LinkMessage::default());
    let answers = socket.dump(kind::GET_LINK, &query, words)?;
    let one = |answer: &Vec<u8>| Ok(read(parsed(answer, words)?));
    answers.iter().map(one).collect()
}
